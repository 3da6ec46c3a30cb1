"""What a single cell says: a text, a number, or nothing."""

from __future__ import annotations

import math

NO_VALUE = frozenset({"nan", "NaN", "None", "<NA>", "NaT"})
"""How pandas, in which the pre-filter and the Case-Selector hold a list, writes an empty cell."""


def as_text(cell: object) -> str:
    """A cell without outer blanks; an error cell (NaN) as ``#N/A``, 120.0 as ``120``."""
    if isinstance(cell, str):
        text = cell.strip()
        return "" if text in NO_VALUE else text
    if isinstance(cell, float | bool):  # True is 1.0 to all that looks for different values
        cell = float(cell)
        return "#N/A" if math.isnan(cell) else f"{cell:.0f}" if cell.is_integer() else str(cell)
    return str(cell)


def is_whole(cell: object) -> bool:
    """Whether a cell is a number without decimals and small enough to have all its digits."""
    return isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53
