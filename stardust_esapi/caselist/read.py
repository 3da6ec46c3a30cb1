"""Reads a case list: the accepted cases, what was rejected, and what is wrong, row by row."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stardust_esapi.caselist.columns import Columns, find_columns
from stardust_esapi.caselist.damage import count_of
from stardust_esapi.caselist.names import USED
from stardust_esapi.caselist.problems import RowProblem, find_problems
from stardust_esapi.caselist.table import Column, Flags, Table, read_table
from stardust_esapi.caselist.tail import Tail, read_tail, says_rejected
from stardust_esapi.model import Case

_COLUMNS = {
    "patient_id": "Patient-ID",
    "plan_id": "PlanID",
    "series_uid": "SeriesUID",
    "structure_set_id": "StructureSetID",
    "target_id": "TargetID",
    "gtv_id": "GTV",
    "km_series_uid": "KM_Series_UID",
    "mr_series_uid": "MR_Series_UID",
    "mr_registration_uid": "MRregUID",
    "mr_slices": "MR_Slices",
    "label": "Label",
    "case_kind": "casekind",
}
"""The column of each field of a case but its row, in the order of the fields."""


@dataclass(frozen=True)
class DuplicateRows:
    """Cases of the same patient, plan and series.

    Attributes:
        patient_id: Patient ID (0010,0020).
        plan_id: ``PlanSetup.Id``; may be empty.
        series_uid: Series Instance UID; may be empty.
        rows: All their rows.
        left_out: Those of the rows that say exactly what an earlier one does; these are not among
            the cases.
    """

    patient_id: str
    plan_id: str
    series_uid: str
    rows: tuple[int, ...]
    left_out: tuple[int, ...]


@dataclass(frozen=True)
class CaseList:
    """A case list as read.

    Attributes:
        source: The file.
        cases: The accepted cases without a problem, in the file's order.
        rejected: How many rows the Case-Selector rejected.
        problems: What is wrong with rows that are not exported, in the file's order.
        duplicates: Rows of the same patient, plan and series.
    """

    source: Path
    cases: tuple[Case, ...]
    rejected: int
    problems: tuple[RowProblem, ...]
    duplicates: tuple[DuplicateRows, ...]


def read_case_list(path: Path) -> CaseList:
    """Read a Case-Selector or mining list, CSV (``;`` or ``,``; UTF-8 or Windows-1252) or XLSX.

    Every row that is neither empty nor rejected is a case or has a problem; none is dropped.

    Raises:
        UsageError: The file as a whole cannot be read as a case list.
    """
    table = read_table(path)
    columns = find_columns(table, path)
    tail = read_tail(table, columns)
    values = _values(table, columns, tail)

    rows = (table.row_numbers > columns.header_row) & ~_empty(table, values)
    # Of a row that hides others nobody can say whose comment it carries.
    rejected = tail.rejected | says_rejected(values["Comment"])
    rejected &= rows & ~table.swallowing
    rows &= ~rejected
    problems = [
        problem for problem in find_problems(table, columns, tail, values) if rows[problem.row - 1]
    ]
    rows[[problem.row - 1 for problem in problems]] = False
    cases, duplicates = _without_repeats(_cases(values, rows))
    return CaseList(path, tuple(cases), int(rejected.sum()), tuple(problems), tuple(duplicates))


def _values(table: Table, columns: Columns, tail: Tail) -> dict[str, Column]:
    """The columns that matter by their names, as text; empty where the list has none."""
    nowhere = table.cells.shape[1]
    values = {name: table.column(columns.fixed.get(name, nowhere)) for name in USED}
    if columns.tail_follows:
        values |= {"Label": tail.label, "casekind": tail.case_kind, "Comment": tail.comment}
    return values


def _empty(table: Table, values: dict[str, Column]) -> Flags:
    """Rows without any text."""
    empty: Flags = ~np.logical_or.reduce([column.filled for column in values.values()])
    # The columns that do not matter are looked at only where all others are empty.
    suspects = table.cells[empty]
    filled = [Column.of(cells).filled for _, cells in suspects.items()]
    empty[empty] = ~np.logical_or.reduce(filled)
    return empty


def _cases(values: dict[str, Column], rows: Flags) -> list[Case]:
    numbers = (np.flatnonzero(rows) + 1).tolist()
    fields = {name: values[column].texts for name, column in _COLUMNS.items()}
    fields["mr_slices"] = values["MR_Slices"].each(count_of)
    return [
        Case(row, *rest)
        for row, *rest in zip(numbers, *(f[rows] for f in fields.values()), strict=True)
    ]


def _without_repeats(cases: list[Case]) -> tuple[list[Case], list[DuplicateRows]]:
    """Each case once, and the groups of the same patient, plan and series."""
    ids = [(case.patient_id, case.plan_id, case.series_uid) for case in cases]
    counts = Counter(ids)
    groups: defaultdict[tuple[str, str, str], list[Case]] = defaultdict(list)
    for case, its_ids in zip(cases, ids, strict=True):
        if counts[its_ids] > 1:
            groups[its_ids].append(case)
    duplicates = []
    for its_ids, group in groups.items():
        firsts = {case.key: case.row for case in reversed(group)}
        rows = tuple(case.row for case in group)
        left_out = tuple(sorted(set(rows) - set(firsts.values())))
        duplicates.append(DuplicateRows(*its_ids, rows, left_out))
    left_out_rows = {row for duplicate in duplicates for row in duplicate.left_out}
    return [case for case in cases if case.row not in left_out_rows], duplicates
