"""Where the columns of one file stand, by its header or, without one, by the mining's order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from stardust_esapi.caselist.names import (
    LABEL_RUNS,
    LABELS,
    MINING,
    TAIL,
    USED,
    canonical,
    is_header,
)
from stardust_esapi.caselist.table import Table, as_text
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
        header_row: Spreadsheet row of the header; 0 without one.
        tail_follows: Whether labels and tail follow in one of the layouts of `LABEL_RUNS`.
    """

    fixed: dict[str, int]
    fixed_width: int
    header_width: int | None
    padded_width: int
    header_row: int
    tail_follows: bool


def find_columns(table: Table, source: object) -> Columns:
    """Find the header of a list, or see that it has none but the mining's order.

    Args:
        table: The cells.
        source: What messages call the list.

    Raises:
        UsageError: No known columns; a column that is needed is missing or there twice; the
            header hides rows.
    """
    row, cells = _first_filled(table, source)
    if not is_header(cells):
        return _without_header(len(cells), source)
    if table.swallowing[row - 1]:
        raise UsageError(
            f"In the header of the case list {source} a quotation mark is never closed and hides "
            "the rows after it; delete it."
        )
    names = [canonical(cell) for cell in cells]
    _require_columns(names, source)
    end_of_names = 1 + max(i for i, cell in enumerate(cells) if cell)
    after = (*LABELS, *TAIL)
    tail_start = next((i for i, name in enumerate(names) if name in after), end_of_names)
    tail = tuple(names[tail_start:end_of_names])
    # A header written by the mining alone has no tail, and rows that the Case-Selector appended do.
    tail_follows = tail in {(*labels, *TAIL) for labels in LABEL_RUNS} or not tail
    fixed_width = tail_start if tail_follows else end_of_names
    return Columns(
        fixed={name: i for i, name in enumerate(names[:fixed_width]) if name},
        fixed_width=fixed_width,
        header_width=end_of_names,
        padded_width=len(cells),
        header_row=row,
        tail_follows=tail_follows,
    )


def _first_filled(table: Table, source: object) -> tuple[int, list[str]]:
    for index, *cells in table.cells.itertuples(name=None):
        width = len(cells) if table.widths is None else table.widths[index]
        texts = [as_text(cell) for cell in cells[:width]]
        if any(texts):
            return index + 1, texts
    raise UsageError(f"The case list {source} is empty; choose the list with the cases.")


def _without_header(width: int, source: object) -> Columns:
    if width < len(MINING):
        raise UsageError(
            f"The case list {source} has neither a header with Patient-ID nor the mining's "
            f"{len(MINING)} columns (its first row has {width}); check that it is the case list "
            "and that ; or , separates its columns."
        )
    return Columns(
        fixed={name: i for i, name in enumerate(MINING)},
        fixed_width=len(MINING),
        header_width=None,
        padded_width=0,
        header_row=0,
        tail_follows=True,
    )


def _require_columns(names: list[str], source: object) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1 and name in USED]
    if twice:
        raise UsageError(
            f"The case list {source} has the column {twice[0]} more than once; "
            "delete or rename all but the right one."
        )
    missing = [name for name in ("Patient-ID", "TargetID", "GTV") if name not in names]
    if "PlanID" not in names and not {"SeriesUID", "StructureSetID"} <= set(names):
        missing.append("PlanID (or SeriesUID and StructureSetID)")
    if missing:
        raise UsageError(
            f"The case list {source} has no column {', '.join(missing)}; "
            "add it, or correct its name in the first row."
        )
