"""Where the columns of one file stand, by its header or, without one, by the mining's order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stardust_esapi.caselist.column_names import (
    LABEL_RUNS,
    LABELS,
    MINING,
    TAIL,
    TAILS,
    USED,
    USED_AS_CELLS,
    canonical,
)
from stardust_esapi.caselist.damage import is_uid
from stardust_esapi.caselist.header import early_rows, find_header, missing_columns
from stardust_esapi.caselist.table import Column, Table
from stardust_esapi.errors import UsageError


@dataclass(frozen=True)
class Columns:
    """Where the columns of one file stand.

    Attributes:
        fixed: Position of each named column among the first ``fixed_width``, which stand at the
            same place in every row.
        fixed_width: How many columns come before the labels and the Case-Selector's tail.
        header_width: Fields of a row that has the header's own columns; None without header.
        padded_width: The same with empty columns at the header's end counted, as a spreadsheet
            that saves a CSV pads every row.
        above: How many rows at the top are no cases: the header and what stands above it.
        tail_follows: Whether labels and tail follow in one of the layouts of `LABEL_RUNS`.
        labels: Those that the header names; None without header.
        note: What a reader should know of where the list begins; mostly empty.
    """

    fixed: dict[str, int]
    fixed_width: int
    header_width: int | None
    padded_width: int
    above: int
    tail_follows: bool
    labels: tuple[str, ...] | None
    note: str


def find_columns(table: Table) -> Columns:
    """Find the header of a list, or see that it has none but the mining's order.

    The mining's order counts only where none of the early rows names columns: under a title line, a
    header in another order would else make the target the GTV.

    Raises:
        UsageError: No known columns; a column that is needed is missing or there twice; the first
            rows hide others.
    """
    early = early_rows(table.rows())
    if not early:
        raise UsageError(f"The case list {table.source} is empty; choose the list with the cases.")
    header = find_header(early)
    # A title is a single cell, and never a case.
    row, cells = header or next((row for row in early if sum(map(bool, row[1])) > 1), early[0])
    if table.swallowing[:row].any():  # perhaps the header
        raise UsageError(
            f"In the header of the case list {table.source}, or where it should be, a quotation "
            "mark is never closed and hides the rows after it; delete it."
        )
    if not header:
        return _without_header(row, len(cells), table.source)
    for number, above in early:
        if number < row and any(map(is_uid, above)):
            raise UsageError(
                f"Row {number} of the case list {table.source} stands above the header (row {row}) "
                "and holds a UID, so it seems to be a case. Move the header to the top."
            )
    names = [canonical(cell) for cell in cells]
    _require_columns(names, table.source)
    end_of_names = 1 + max(i for i, cell in enumerate(cells) if cell)
    after = (*LABELS, *TAIL)
    tail_start = next((i for i, name in enumerate(names) if name in after), end_of_names)
    tail = tuple(names[tail_start:end_of_names])
    labels = tuple(name for name in tail if name in LABELS)
    # A header written by the mining alone has no tail, and rows that the Case-Selector appended do.
    tail_follows = tail in {(*run, *end) for run in LABEL_RUNS for end in ((), *TAILS)}
    fixed_width = tail_start if tail_follows else end_of_names
    return Columns(
        fixed={name: i for i, name in enumerate(names[:fixed_width]) if name},
        fixed_width=fixed_width,
        header_width=end_of_names,
        padded_width=len(cells),
        above=row,
        tail_follows=tail_follows,
        labels=labels,
        note=f"The header stands in row {row}; what is above was not read." if row > 1 else "",
    )


def require_one_header(table: Table, columns: Columns, values: Mapping[str, Column]) -> None:
    """Refuse a list that changes the order of its columns on the way.

    Args:
        table: The list.
        columns: Where its columns stand.
        values: The columns that matter, by name, as text.

    Raises:
        UsageError: A later row names columns, and not those that stand there.
    """
    named = {name: column.each(canonical) for name, column in values.items()}
    count = np.sum([names != "" for names in named.values()], axis=0)
    # Their own names again are those of a second list that was appended: a row without a case.
    own = np.sum([names == name for name, names in named.items()], axis=0)
    again = np.flatnonzero((count >= 3) & (own < count) & (table.row_numbers > columns.above))
    if again.size:
        raise UsageError(
            f"Row {table.row_numbers[again[0]]} of the case list {table.source} names columns, and "
            "others than stand there so far: the rows below it would be misread. Move it to the "
            "top, or make two lists of this one."
        )


def _without_header(row: int, width: int, source: str) -> Columns:
    if width < len(MINING):
        raise UsageError(
            f"The case list {source} has neither a header with Patient-ID nor the mining's "
            f"{len(MINING)} columns (row {row} has {width}); check that it is the case list "
            "and that ; , tab or | separates its columns."
        )
    return Columns(
        fixed={name: i for i, name in enumerate(MINING)},
        fixed_width=len(MINING),
        header_width=None,
        padded_width=0,
        above=row - 1,
        tail_follows=True,
        labels=None,
        note=f"There is no header; what is above row {row} was not read." if row > 1 else "",
    )


def _require_columns(names: list[str], source: str) -> None:
    used = (*USED, *USED_AS_CELLS)
    twice = [name for name, count in Counter(names).items() if count > 1 and name in used]
    if twice:
        raise UsageError(
            f"The case list {source} has the column {twice[0]} more than once; "
            "delete or rename all but the right one."
        )
    missing = missing_columns(names)
    if missing:
        raise UsageError(
            f"The case list {source} has no column {', '.join(missing)}; "
            "add it, or correct its name in the header."
        )
