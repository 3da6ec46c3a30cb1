"""Reads a case list: the accepted cases, what was rejected, and what is wrong, row by row."""

from __future__ import annotations

import gc
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stardust_esapi.caselist.cells import NO_VALUE
from stardust_esapi.caselist.column_names import MINING, USED
from stardust_esapi.caselist.columns import Columns, find_columns, require_one_header
from stardust_esapi.caselist.damage import count_of, volume_of
from stardust_esapi.caselist.patient_id import PatientId, read_patient_id
from stardust_esapi.caselist.problems import RowProblem, find_problems
from stardust_esapi.caselist.table import Column, Flags, Table, Texts, read_table
from stardust_esapi.caselist.tail import Tail, read_tail
from stardust_esapi.model import Case
from stardust_esapi.settings import CaseListSettings

_USUAL = CaseListSettings()
_NO_PLAN = "PlanID is {}, which stands for no plan; the series and its structure set count."

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
    "label2": "Label2",
    "case_kind": "casekind",
}
"""The column of each field of a case from `Case.patient_id` on, in the order of the fields."""


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

    def __str__(self) -> str:
        """A sentence that names the rows."""
        plan = f", plan {self.plan_id}" if self.plan_id else ""
        numbers, left_out = (", ".join(map(str, rows)) for rows in (self.rows, self.left_out))
        sentence = f"Rows {numbers} are of the same patient {self.patient_id}{plan} and series."
        if left_out:
            sentence += f" What they say stands in an earlier one already: {left_out}."
        return sentence


@dataclass(frozen=True)
class CaseList:
    """A case list as read.

    Attributes:
        source: The file.
        cases: The accepted cases without a problem, in the file's order.
        rejected: The rows that the Case-Selector rejected.
        problems: What is wrong with rows that are not exported, in the file's order.
        duplicates: Rows of the same patient, plan and series.
        comments: The comments on accepted rows without a problem, and on how many each stands; most
            frequent first.
        notes: What a reader should know of how the file was read.
    """

    source: Path
    cases: tuple[Case, ...]
    rejected: tuple[int, ...] = ()
    problems: tuple[RowProblem, ...] = ()
    duplicates: tuple[DuplicateRows, ...] = ()
    comments: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Keep Python from looking for cycles while a list is read.

    It makes millions of objects and no cycle; the search takes a tenth to a fifth of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_nothing_collected()
def read_case_list(path: Path, settings: CaseListSettings = _USUAL) -> CaseList:
    """Read a list of the Case-Selector, the pre-filter or the mining, as people hand it over.

    It may be a workbook or a text file (UTF-8, Windows-1252 or UTF-16; separated by ``;``, ``,``,
    tab or ``|``, or as a first line ``sep=`` says), with title lines above its header. Every row
    that is neither empty nor rejected is a case or has a problem; none is dropped.

    Rows are numbered as a spreadsheet shows them: a row of several lines is one, and the line
    ``sep=``, which a spreadsheet takes in and does not show, is none.

    Args:
        path: The file.
        settings: How it is read.

    Raises:
        UsageError: The file as a whole cannot be read as a case list.
    """
    table = read_table(path, settings.sheet, settings.largest_mb << 20)
    columns = find_columns(table)
    tail = read_tail(table, columns)
    patients = [
        read_patient_id(cell, picture)
        for cell, picture in zip(
            _cells(table, columns, "Patient-ID"), _cells(table, columns, "PNG_Path"), strict=True
        )
    ]
    values = _values(table, columns, tail, patients)
    require_one_header(table, columns, values)

    rows = (table.row_numbers > columns.above) & ~_empty(table, values)
    hidden = int((rows & table.hidden).sum())
    # Of a row that hides others nobody can say whose comment it carries.
    is_rejected = _rejected(table, columns, settings.rejected) & rows & ~table.swallowing
    rows &= ~is_rejected
    problems = [
        problem
        for problem in find_problems(table, columns, tail, values, patients)
        if rows[problem.row - 1]
    ]
    rows[[problem.row - 1 for problem in problems]] = False
    cases, duplicates = _without_repeats(_cases(table, columns, values, patients, rows))
    comments = Counter(comment for comment in values["Comment"].texts[rows] if comment)
    notes = [*table.notes, columns.note]
    if hidden:
        notes.append(
            f"Rows hidden in the sheet, by a filter or by hand: {hidden}. They were read like all."
        )
    return CaseList(
        path,
        tuple(cases),
        tuple(table.row_numbers[is_rejected].tolist()),
        tuple(problems),
        tuple(duplicates),
        tuple(comments.most_common()),
        tuple(filter(None, notes)),
    )


def _cells(table: Table, columns: Columns, name: str) -> Texts:
    """The untouched cells of a column; empty texts where the list has none."""
    if name in columns.fixed:
        cells: Texts = table.cells[:, columns.fixed[name]]
        return cells
    return np.full(len(table.cells), "", dtype=object)


def _values(
    table: Table, columns: Columns, tail: Tail, patients: Sequence[PatientId]
) -> dict[str, Column]:
    """The columns that matter by their names, as text; empty where the list has none."""
    values = {name: table.column(columns.fixed.get(name)) for name in USED if name != "Patient-ID"}
    values["Patient-ID"] = Column.of(np.array([patient.text for patient in patients], dtype=object))
    if columns.tail_follows:
        values |= {
            "Label": tail.label,
            "Label2": tail.label2,
            "casekind": tail.case_kind,
            "Comment": tail.comment,
        }
    return values


def _rejected(table: Table, columns: Columns, words: Sequence[str]) -> Flags:
    """Rows with a word for a rejection in any column but the mining's: people add some."""
    folded = [word.casefold() for word in words]
    mined = {columns.fixed[name] for name in MINING if name in columns.fixed}
    others = set(range(table.cells.shape[1])) - mined
    rejected = np.zeros(len(table.cells), dtype=np.bool_)
    for position in others:
        rejected |= table.column(position).flag(
            lambda value: any(word in value.casefold() for word in folded)
        )
    return rejected


def _empty(table: Table, values: dict[str, Column]) -> Flags:
    """Rows without any text."""
    empty: Flags = ~np.logical_or.reduce([column.filled for column in values.values()])
    # The columns that do not matter are looked at only where all others are empty.
    suspects = table.cells[empty]
    filled = [Column.of(cells).filled for cells in suspects.T]
    empty[empty] = ~np.logical_or.reduce(filled)
    return empty


def _cases(
    table: Table,
    columns: Columns,
    values: dict[str, Column],
    patients: Sequence[PatientId],
    rows: Flags,
) -> list[Case]:
    fields = {name: values[column].texts for name, column in _COLUMNS.items()}
    fields["mr_slices"] = values["MR_Slices"].each(count_of)
    volumes = [_cells(table, columns, name)[rows] for name in ("GTV-Volume", "TargetVolume")]
    chosen = list(itertools.compress(patients, rows))
    # Somebody may have called a plan so, but pandas writes it where there is none.
    no_plan = [
        (_NO_PLAN.format(plan.strip()),) if not text and str(plan).strip() in NO_VALUE else ()
        for plan, text in zip(
            _cells(table, columns, "PlanID")[rows], fields["plan_id"][rows], strict=True
        )
    ]
    values_of_cases = zip(
        table.row_numbers[rows].tolist(),
        *(field[rows] for field in fields.values()),
        *(map(volume_of, cells) for cells in volumes),
        [patient.is_number for patient in chosen],
        [patient.picture for patient in chosen],
        [(p.note, *n) if p.note else n for p, n in zip(chosen, no_plan, strict=True)],
        strict=True,
    )
    return list(itertools.starmap(Case, values_of_cases))


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
