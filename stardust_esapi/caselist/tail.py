"""What stands behind the mining's columns: labels and the Case-Selector's tail, often ragged.

The Case-Selector writes the header once, with or without a label, and appends rows of either kind.
A row is read in the one layout that its contents bear out; where two would do and differ in what
matters, the row stays unread.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.caselist.columns import Columns
from stardust_esapi.caselist.names import LABEL_RUNS, LABELS, TAIL
from stardust_esapi.caselist.table import Column, Flags, Table, Texts

_DAY = r"(?:\d{4}([-./])\d{1,2}\1\d{1,2}|\d{1,2}([-./])\d{1,2}\2(?:\d{4}|\d{2}))"
_TIME = r"[T ,]+\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?[AaPp]\.?[Mm]\.?)?(?:Z|[+-]\d{2}:?\d{2})?"
_DATE = re.compile(f"{_DAY}(?:{_TIME})?")
_MAYBE_DATE = re.compile(r"(?=.*(?:19|20)\d\d)(?:\D*\d){5,}.*", re.DOTALL)
"""A date in words or in digits alone: a year and more. Allowed for a date, no proof of one."""

REJECTED = "abgelehnt"


@dataclass(frozen=True)
class Tail:
    """What the columns behind the mining's say; one value a row, indexed like the table.

    Attributes:
        label: ``Label``, empty without one.
        case_kind: ``casekind``.
        comment: ``Comment``.
        rejected: Whether any of these columns says ``abgelehnt``.
        short: Whether the row ends before the mining's columns do.
        unclear: Whether no layout fits the row, or several do.
    """

    label: Column
    case_kind: Column
    comment: Column
    rejected: Flags
    short: Flags
    unclear: Flags


def says_rejected(values: Column) -> Flags:
    """Where the Case-Selector's ``abgelehnt`` stands, in any case."""
    return values.flag(lambda value: REJECTED in value.casefold())


def read_tail(table: Table, columns: Columns) -> Tail:
    """Find the layout of every row behind the columns that stand at the same place in all."""
    first = columns.fixed_width
    count = max(table.cells.shape[1] - first, len(LABELS) + len(TAIL))
    tail = [table.column(first + i) for i in range(count)]
    filled = np.column_stack([column.filled for column in tail])
    used = np.where(filled.any(axis=1), filled.shape[1] - filled[:, ::-1].argmax(axis=1), 0)
    widths = _widths(table, columns, first + used)

    layouts = LABEL_RUNS if columns.tail_follows else ()
    header_width = (columns.header_width or 0) - first
    texts = [column.texts for column in tail]
    chosen = _choose(layouts, tail, texts, used, widths - first, header_width)
    label, case_kind, comment = (np.full(len(table.cells), "", dtype=object) for _ in range(3))
    for number, labels in enumerate(layouts):
        rows = chosen == number
        if "Label" in labels:
            label[rows] = texts[0][rows]
        comment[rows] = texts[len(labels)][rows]
        case_kind[rows] = texts[len(labels) + 2][rows]
    return Tail(
        label=Column.of(label),
        case_kind=Column.of(case_kind),
        comment=Column.of(comment),
        rejected=np.logical_or.reduce([says_rejected(column) for column in tail]),
        short=widths < first,
        unclear=(chosen < 0) & (used > 0),
    )


def _widths(table: Table, columns: Columns, used: NDArray[np.intp]) -> NDArray[np.intp]:
    """Fields each row is meant to have.

    A workbook, and a CSV that a spreadsheet saved, pads every row to the widest: there a row is as
    wide as the header unless it holds something beyond it.
    """
    header = columns.header_width or columns.fixed_width
    if table.widths is None:  # a workbook
        return np.maximum(used, header)
    padded = (columns.padded_width > header) & (table.widths == columns.padded_width)
    return np.where(padded, np.maximum(used, header), table.widths)


def _choose(
    layouts: Sequence[tuple[str, ...]],
    tail: Sequence[Column],
    texts: Sequence[Texts],
    used: NDArray[np.intp],
    widths: NDArray[np.intp],
    header_width: int,
) -> NDArray[np.intp]:
    """The layout of every row by number; -1 where it is not known or there is nothing to read.

    A layout fits where both dates are dates or empty, neither ``Label`` nor ``casekind`` is a
    date, and nothing stands beyond its end. It also needs a reason: the row is as wide, or a date
    stands where the layout has one. Most dates win; among equals the layout of the row's very
    width wins where there are dates or the row has the header's width; other equals have to agree.
    """
    rows = len(used)
    chosen = np.full(rows, -1)
    if not layouts:
        return chosen
    is_date = [column.flag(_DATE.fullmatch) for column in tail]
    may_be_date = [
        column.flag(lambda text: not text or _DATE.fullmatch(text) or _MAYBE_DATE.fullmatch(text))
        for column in tail
    ]
    dates = np.empty((len(layouts), rows), dtype=np.intp)
    for number, labels in enumerate(layouts):
        accepted, kind, refined = (len(labels) + i for i in (1, 2, 3))
        dates[number] = is_date[accepted].astype(np.intp) + is_date[refined]
        fits = may_be_date[accepted] & may_be_date[refined] & ~is_date[kind] & (used <= refined + 1)
        if "Label" in labels:
            fits &= ~is_date[0]
        fits &= (refined < widths) | (dates[number] > 0)
        dates[number, ~fits] = -1

    most = dates.max(axis=0)
    best = (dates == most) & (most >= 0)
    exact = np.array([[len(labels) + len(TAIL)] for labels in layouts]) == widths
    exact &= best & ((most > 0) | (widths == header_width))
    pick = np.where(exact.any(axis=0), exact.argmax(axis=0), best.argmax(axis=0))
    clear = exact.any(axis=0) | (best.sum(axis=0) == 1)
    chosen[clear] = pick[clear]

    for row in np.flatnonzero(~clear & best.any(axis=0) & (used > 0)).tolist():
        readings = {
            (
                texts[0][row] if "Label" in labels else "",
                texts[len(labels) + 2][row],
            )
            for labels, fits in zip(layouts, best[:, row], strict=True)
            if fits
        }
        if len(readings) == 1:
            chosen[row] = pick[row]
    return chosen
