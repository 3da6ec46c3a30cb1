"""The row that names the columns: what may stand above it, and what it has to name."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from stardust_esapi.caselist.cells import as_text
from stardust_esapi.caselist.column_names import canonical, is_header, known_names

EARLY = 20
"""How many filled rows are looked at for a header."""

Row = tuple[int, list[str]]
"""A row's number, from 1, and its texts."""


def early_rows(rows: Iterable[Iterable[object]]) -> list[Row]:
    """The first filled rows of a list."""
    numbered = ((number, list(map(as_text, row))) for number, row in enumerate(rows, start=1))
    return list(islice((row for row in numbered if any(row[1])), EARLY))


def find_header(rows: Iterable[Row]) -> Row | None:
    """The header among the early rows; None without one.

    A single name may be a title, such as ``Patient-ID`` above a few notes. So it makes a header
    only where no row has more.
    """
    headers = [row for row in rows if is_header(row[1])]
    return next((row for row in headers if len(known_names(row[1])) > 1), next(iter(headers), None))


def missing_columns(cells: Iterable[str]) -> list[str]:
    """The columns that a list needs and this header does not name."""
    names = set(map(canonical, cells))
    missing = [name for name in ("Patient-ID", "TargetID", "GTV") if name not in names]
    if "PlanID" not in names and not {"SeriesUID", "StructureSetID"} <= names:
        missing.append("PlanID (or SeriesUID and StructureSetID)")
    return missing
