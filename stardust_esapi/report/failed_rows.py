"""``failed.xlsx``: the rows of a list that were not exported, to be corrected and given again.

It holds what is read of a list and nothing else: no names, no comments, which may hold some.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from loguru import logger

from stardust_esapi.caselist import CaseList
from stardust_esapi.caselist.column_names import LABELS, MINING, OWN, TAIL
from stardust_esapi.errors import in_words
from stardust_esapi.files import beside, write_for_people
from stardust_esapi.model import CaseResult

NAME = "failed.xlsx"
_NOT_READ = "not read"


def write_failed_rows(out: Path, listed: CaseList, results: Iterable[CaseResult]) -> Path | None:
    """Write the rows that failed, are doubtful or could not be read; where none is, no file stays.

    The rows of such a file are followed by ``failed-2.xlsx`` and so on: what somebody has corrected
    is left as it is.

    Args:
        out: The output folder.
        listed: The list.
        results: What became of its cases.

    Returns:
        Where they are; None where there are none, or they cannot be written.
    """
    from stardust_esapi.caselist.write import workbook

    path = out / _name(out, listed.source)
    rows = failed_rows(listed, results)
    if rows:
        header, *cells = rows
        return write_for_people(path, workbook(header, cells))
    for stale in (path, beside(path)):
        try:
            stale.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("{} is of an earlier run: {}", stale.name, in_words(error))
    return None


def failed_rows(listed: CaseList, results: Iterable[CaseResult]) -> list[Sequence[str]]:
    """The header and the rows; nothing where no row failed."""
    why: dict[int, tuple[str, str]] = {
        result.case.row: (result.state.value, result.why)
        for result in results
        if result.state.is_given_up
    }
    for problem in listed.problems:
        _, before = why.get(problem.row, ("", ""))
        why[problem.row] = (_NOT_READ, f"{before} {problem.message}".strip())
    if not why or not listed.columns:
        return []
    columns = {name: column for name, column in listed.columns.items() if column.filled.any()}
    names = [name for name in (*MINING, *LABELS, *TAIL) if name in columns and name != "Comment"]
    rows = [
        (
            (columns[OWN[0]].texts[row - 1] if OWN[0] in columns else "") or str(row),
            *why[row],
            *(columns[name].texts[row - 1] for name in names),
        )
        for row in sorted(why)
    ]
    return [(*OWN, *names), *rows]


def _name(out: Path, source: Path) -> str:
    """The file's name; the next one where the list is such a file itself."""
    match = re.fullmatch(r"failed(?:-(\d+))?( \(newer\))?\.xlsx", source.name)
    if match is None or source.resolve().parent != out.resolve():
        return NAME
    return f"failed-{int(match[1] or 1) + 1}.xlsx"
