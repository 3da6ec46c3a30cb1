"""What keeps a row of the case list from being exported, each with its place and remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stardust_esapi.caselist.cells import is_whole
from stardust_esapi.caselist.column_names import ID_COLUMNS, UID_COLUMNS
from stardust_esapi.caselist.columns import Columns
from stardust_esapi.caselist.damage import (
    cell_damage,
    comment_damage,
    count_of,
    is_uid,
    text_damage,
    uid_damage,
)
from stardust_esapi.caselist.patient_id import PatientId
from stardust_esapi.caselist.table import Column, Flags, Table
from stardust_esapi.caselist.tail import Tail


@dataclass(frozen=True)
class RowProblem:
    """Why a row is not among the cases.

    Attributes:
        row: The row as a spreadsheet numbers it.
        column: The column's name; empty where the row as a whole is meant.
        message: A sentence: where, what is wrong and what to do. Never a patient's name.
    """

    row: int
    column: str
    message: str


def find_problems(
    table: Table,
    columns: Columns,
    tail: Tail,
    values: dict[str, Column],
    patients: Sequence[PatientId],
) -> list[RowProblem]:
    """Everything wrong with any row, rejected and empty ones too, in the rows' order.

    Args:
        table: The list.
        columns: Where its columns stand.
        tail: What stands behind the mining's columns.
        values: The columns by name, as text, among them all of ``ID_COLUMNS``, ``UID_COLUMNS``,
            ``MR_Slices`` and ``Comment``.
        patients: The patient id of every row.
    """
    problems = [
        *_misread_rows(table, columns, tail),
        *_missing_values(values),
        *_damaged_patients(patients),
        *_damaged_values(table, columns, values),
        *_misplaced_uids(table, columns),
    ]
    return sorted(problems, key=lambda problem: problem.row)


def _at(wrong: Flags, column: str, message: str) -> Iterator[RowProblem]:
    for row in (np.flatnonzero(wrong) + 1).tolist():
        yield _problem(row, column, message)


def _problem(row: int, column: str, message: str) -> RowProblem:
    place = f"Row {row}, column {column}" if column else f"Row {row}"
    return RowProblem(row, column, f"{place}: {message}.")


def _misread_rows(table: Table, columns: Columns, tail: Tail) -> Iterator[RowProblem]:
    yield from _at(
        table.swallowing,
        "",
        "a quotation mark that is never closed hides the rows after it; delete or double it",
    )
    yield from _at(
        tail.short,
        "",
        f"the row ends before the {columns.fixed_width} columns that every row has; complete it "
        "(where a spreadsheet left out the separators at its end, save the list as .xlsx)",
    )
    yield from _at(
        tail.unclear & ~tail.short,
        "",
        f"what follows column {columns.fixed_width} is not laid out like the header, nor in "
        "another way that can be told for certain; put it under the header's columns",
    )


def _missing_values(values: dict[str, Column]) -> Iterator[RowProblem]:
    filled = {name: values[name].filled for name in (*ID_COLUMNS, "SeriesUID")}
    yield from _at(~filled["Patient-ID"], "Patient-ID", "the patient id is missing; enter it")
    yield from _at(
        ~filled["PlanID"] & ~(filled["SeriesUID"] & filled["StructureSetID"]),
        "PlanID",
        "the row names neither a plan nor a series with its structure set; "
        "enter PlanID, or SeriesUID and StructureSetID",
    )
    for name in ("TargetID", "GTV"):
        yield from _at(~filled[name], name, "the structure's id is missing; enter it")


def _damaged_patients(patients: Sequence[PatientId]) -> Iterator[RowProblem]:
    for row, patient in enumerate(patients, start=1):
        if patient.damage:
            yield _problem(row, "Patient-ID", f"the value {patient.damage}")


def _damaged_values(
    table: Table, columns: Columns, values: dict[str, Column]
) -> Iterator[RowProblem]:
    checks: dict[str, Callable[[str], str]] = {
        **dict.fromkeys(ID_COLUMNS[1:], text_damage),
        **dict.fromkeys(UID_COLUMNS, uid_damage),
        "Comment": comment_damage,
    }
    for name, check in checks.items():
        found = values[name].each(check)
        if table.widths is None and name in columns.fixed and name != "Comment":
            cells = table.cells[:, columns.fixed[name]].tolist()
            if set(map(type, cells)) != {str}:
                # A plan may be called 3, a series not.
                sound = is_whole if name in ID_COLUMNS else lambda _: False
                lost = np.array(
                    ["" if sound(cell) else cell_damage(cell) for cell in cells], dtype=object
                )
                found = np.where(lost != "", lost, found)
        for index in np.flatnonzero(found != "").tolist():
            yield _problem(index + 1, name, f"the value {found[index]}")
    # Without an MR its count is nobody's business.
    counted = values["MR_Series_UID"].filled
    yield from _at(
        counted & values["MR_Slices"].flag(lambda text: text and count_of(text) is None),
        "MR_Slices",
        "the value is not a whole number; correct it or leave it empty",
    )


def _misplaced_uids(table: Table, columns: Columns) -> Iterator[RowProblem]:
    """UIDs beside the columns for UIDs: one separator too many or too few shifts a row.

    A shifted row may look sound in all else and lose its contrast CT or MR without a word.
    """
    names = {position: name for name, position in columns.fixed.items()}
    beside = {
        columns.fixed[uid] + step for uid in UID_COLUMNS if uid in columns.fixed for step in (-1, 1)
    }
    for position in sorted(beside & names.keys()):
        # The mining may name a series by its UID.
        if names[position] in (*UID_COLUMNS, "Series"):
            continue
        yield from _at(
            table.column(position).flag(is_uid),
            names[position],
            "the value is a UID, which does not belong here; the row seems to be shifted by a "
            "separator too many or too few: put its values under their columns",
        )
