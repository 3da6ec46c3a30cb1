"""What stands behind the mining's columns: labels and the Case-Selector's tail, often ragged.

The Case-Selector writes the header once, as the first button needs it, and every button appends its
own columns: Comment and AcceptedDate, also casekind, also RefinementDate; a list that was refined
twice carries one more date than its header names. A row is read in the one layout that its contents
bear out; where two would do and differ in what matters, the row stays unread.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.caselist.column_names import LABEL_RUNS, LABELS, TAIL
from stardust_esapi.caselist.columns import Columns
from stardust_esapi.caselist.table import Column, Flags, Table

_DAY = r"(?:\d{4}([-./])\d{1,2}\1\d{1,2}|\d{1,2}([-./])\d{1,2}\2(?:\d{4}|\d{2}))"
_TIME = r"[T ,]+\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?[AaPp]\.?[Mm]\.?)?(?:Z|[+-]\d{2}:?\d{2})?"
_DATE = re.compile(f"{_DAY}(?:{_TIME})?")
_MAYBE_DATE = re.compile(r"(?=.*(?:19|20)\d\d)(?:\D*\d){5,}.*", re.DOTALL)
"""A date in words or in digits alone: a year and more. Allowed for a date, no proof of one."""


@dataclass(frozen=True)
class Tail:
    """What the columns behind the mining's say; one value a row, indexed like the table.

    Attributes:
        label: ``Label``, empty without one.
        label2: ``Label2``, likewise.
        case_kind: ``casekind``.
        comment: ``Comment``.
        short: Whether the row ends before the mining's columns do.
        unclear: Whether no layout fits the row, or several do.
    """

    label: Column
    label2: Column
    case_kind: Column
    comment: Column
    short: Flags
    unclear: Flags


def read_tail(table: Table, columns: Columns) -> Tail:
    """Find the layout of every row behind the columns that stand at the same place in all."""
    first = columns.fixed_width
    count = max(table.cells.shape[1] - first, len(LABELS) + len(TAIL) + 1)
    tail = [table.column(first + i) for i in range(count)]
    filled = np.column_stack([column.filled for column in tail])
    used = np.where(filled.any(axis=1), filled.shape[1] - filled[:, ::-1].argmax(axis=1), 0)
    widths = _widths(table, columns, first + used)

    texts = [column.texts for column in tail]
    chosen = _choose(columns, tail, filled, used, widths - first)
    label, label2, case_kind, comment = (
        np.full(len(table.cells), "", dtype=object) for _ in range(4)
    )
    for number, labels in enumerate(LABEL_RUNS):
        rows = chosen == number
        for name, column in (("Label", label), ("Label2", label2)):
            if name in labels:
                column[rows] = texts[labels.index(name)][rows]
        comment[rows] = texts[len(labels)][rows]
        case_kind[rows] = texts[len(labels) + 2][rows]
    return Tail(
        label=Column.of(label),
        label2=Column.of(label2),
        case_kind=Column.of(case_kind),
        comment=Column.of(comment),
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
    columns: Columns,
    tail: Sequence[Column],
    filled: Flags,
    used: NDArray[np.intp],
    widths: NDArray[np.intp],
) -> NDArray[np.intp]:
    """The number of every row's layout; -1 where it is not known or there is nothing to read.

    A layout fits where all dates are dates or empty, neither a label nor ``casekind`` is a date,
    and nothing stands beyond its end. It also needs a reason: AcceptedDate is a date, the row is as
    wide as all of `TAIL`, or it has the header's layout and width. Most dates win; among equals
    the header's layout does, and others have to agree.

    No two layouts fit a row that the Case-Selector wrote, whatever its comment: where the one has
    AcceptedDate, the other has a label, casekind, or nothing any more.
    """
    chosen = np.full(len(used), -1)
    if not columns.tail_follows:
        return chosen
    is_date = np.column_stack([column.flag(_DATE.fullmatch) for column in tail])
    may_be_date = ~filled | np.column_stack(
        [column.flag(lambda t: _DATE.fullmatch(t) or _MAYBE_DATE.fullmatch(t)) for column in tail]
    )
    has_header_s_width = widths == (columns.header_width or 0) - columns.fixed_width
    scores = np.full((len(LABEL_RUNS), len(used)), -1)
    for number, labels in enumerate(LABEL_RUNS):
        accepted, kind, refined, again = (len(labels) + i for i in range(1, 5))
        dates = [accepted, refined, again]
        fits = may_be_date[:, dates].all(axis=1) & (used <= again + 1)
        fits &= ~is_date[:, [*range(len(labels)), kind]].any(axis=1)
        # Only after the other two a date has been added once more.
        fits &= ~filled[:, again] | is_date[:, dates].all(axis=1)
        own = has_header_s_width & (labels == columns.labels)
        fits &= is_date[:, accepted] | (refined < widths) | own
        scores[number, fits] = (2 * is_date[:, dates].sum(axis=1) + own)[fits]

    best = (scores == scores.max(axis=0)) & (scores >= 0)
    pick = best.argmax(axis=0)
    clear = best.sum(axis=0) == 1
    chosen[clear] = pick[clear]
    for row in np.flatnonzero(~clear & best.any(axis=0) & (used > 0)).tolist():
        readings = {
            (
                *(
                    tail[labels.index(name)].texts[row] if name in labels else ""
                    for name in ("Label", "Label2")
                ),
                tail[len(labels) + 2].texts[row],
            )
            for labels, fits in zip(LABEL_RUNS, best[:, row], strict=True)
            if fits
        }
        if len(readings) == 1:
            chosen[row] = pick[row]
    return chosen
