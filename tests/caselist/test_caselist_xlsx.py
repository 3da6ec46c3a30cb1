"""Case lists as workbooks."""

from __future__ import annotations

import datetime
import zipfile
from pathlib import Path

import openpyxl
import openpyxl.chart
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stardust_esapi.caselist import CaseList, read_case_list
from stardust_esapi.caselist.names import LABELS, MINING, TAIL
from stardust_esapi.errors import UsageError

VALUES: dict[str, object] = {
    "Patient-ID": "000123",
    "SeriesUID": "1.2.840.1",
    "PlanID": "Plan1",
    "Fx": 20,
    "StructureSetID": "CT_1",
    "LastTreated": datetime.datetime(2023, 5, 6),
    "TargetID": "PTV1",
    "GTV": "GTV1",
    "HUavg": 41.5,
    "MR_Series_UID": "1.2.840.3",
    "MR_Slices": 120,
    "MRregUID": "1.2.840.4",
    "Comment": "gut",
    "AcceptedDate": datetime.datetime(2024, 1, 3, 10, 11, 12),
    "casekind": "brain",
}
HEADER = (*MINING, *TAIL)


def row(header: tuple[str, ...] = HEADER, **changes: object) -> list[object]:
    values = VALUES | {name.replace("Patient_ID", "Patient-ID"): v for name, v in changes.items()}
    return [values.get(name) for name in header]


def write(folder: Path, *rows: list[object]) -> Path:
    book = openpyxl.Workbook()
    for values in rows:
        book.active.append(values)
    path = folder / "cases.xlsx"
    book.save(path)
    return path


def read(folder: Path, *rows: list[object]) -> CaseList:
    return read_case_list(write(folder, *rows))


def test_a_workbook_reads_like_a_csv(tmp_path: Path) -> None:
    cases = read(
        tmp_path,
        list(HEADER),
        row(),
        row(Comment="ABGELEHNT"),
        [],
        row(Patient_ID="Müller", Comment=None),
    )
    assert [(c.row, c.patient_id, c.mr_slices, c.case_kind) for c in cases.cases] == [
        (2, "000123", 120, "brain"),
        (5, "Müller", 120, "brain"),
    ]
    assert (cases.rejected, cases.problems) == (1, ())


def test_the_mining_s_own_workbook(tmp_path: Path) -> None:
    cases = read(tmp_path, list(MINING), row(MINING), row(MINING, Patient_ID="NA"))
    assert [(c.row, c.patient_id) for c in cases.cases] == [(2, "000123"), (3, "NA")]
    assert cases.problems == ()


def test_a_workbook_without_header(tmp_path: Path) -> None:
    cases = read(tmp_path, row(), row(Patient_ID="2"))
    assert [(c.row, c.patient_id, c.case_kind) for c in cases.cases] == [
        (1, "000123", "brain"),
        (2, "2", "brain"),
    ]


LABEL = (*MINING, "Label", *TAIL)
ALL = (*MINING, *LABELS, *TAIL)


@pytest.mark.parametrize("header", [MINING, HEADER, LABEL, ALL])
def test_a_workbook_hides_how_wide_its_rows_are(tmp_path: Path, header: tuple[str, ...]) -> None:
    cases = read(
        tmp_path,
        list(header),
        row(HEADER, Patient_ID="1"),
        row(LABEL, Patient_ID="2", Label="met"),
        row(LABEL, Patient_ID="3", Label="met", casekind=None, Comment=None),
        row(ALL, Patient_ID="4", Label="met", PTV_Radius=12.5, RefinementDate="05.01.2024"),
        row(LABEL, Patient_ID="5", Label="met", Comment="abgelehnt", AcceptedDate=None),
    )
    assert cases.problems == ()
    assert [(c.patient_id, c.label, c.case_kind) for c in cases.cases] == [
        ("1", "", "brain"),
        ("2", "met", "brain"),
        ("3", "met", ""),
        ("4", "met", "brain"),
    ]
    assert cases.rejected == 1


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (123, "is a number, not text: leading zeros"),
        (1.25e20, "is a number, not text"),
        (True, "is a number, not text"),
        (datetime.datetime(2024, 1, 2), "is a date, not text"),
        (datetime.time(1, 2), "is a date, not text"),
        ("#N/A", "is what a spreadsheet shows in place of a value"),
    ],
)
@pytest.mark.parametrize(
    "column", ["Patient-ID", "PlanID", "StructureSetID", "TargetID", "GTV", "SeriesUID", "MRregUID"]
)
def test_an_id_that_is_no_text_is_damaged(
    tmp_path: Path, column: str, value: object, says: str
) -> None:
    cases = read(tmp_path, list(HEADER), row(), row(**{column: value}))
    assert [case.row for case in cases.cases] == [2]
    (problem,) = cases.problems
    assert (problem.row, problem.column) == (3, column)
    assert problem.message.startswith(f"Row 3, column {column}: the value ")
    assert says in problem.message
    assert "format the column as text" in problem.message


def test_an_error_in_place_of_the_comment_may_hide_a_rejection(tmp_path: Path) -> None:
    cases = read(tmp_path, list(HEADER), row(Comment="#NAME?"))
    assert cases.cases == ()
    assert [problem.column for problem in cases.problems] == ["Comment"]


def test_the_sheet_with_the_list_is_found(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["Notizen"])
    chart = openpyxl.chart.BarChart()
    chart.add_data(openpyxl.chart.Reference(book.active, 1, 1, 1, 1))
    book.create_chartsheet("Bild", 0).add_chart(chart)
    sheet = book.create_sheet("Liste")
    sheet.append([])
    sheet.append([f" {name.upper()} " for name in HEADER])
    sheet.append(row())
    path = tmp_path / "cases.XLSX"
    book.save(path)
    assert [case.row for case in read_case_list(path).cases] == [3]


def test_unreadable_workbooks(tmp_path: Path) -> None:
    path = tmp_path / "cases.xlsx"
    for content, says in [
        (b"", "cannot be read"),
        (b"Patient-ID;PlanID", "cannot be read"),
        (b"\xd0\xcf\x11\xe0" + bytes(100), "has a password"),
    ]:
        path.write_bytes(content)
        with pytest.raises(UsageError, match=says):
            read_case_list(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("something.txt", "else")
    with pytest.raises(UsageError, match="cannot be read"):
        read_case_list(path)
    with pytest.raises(UsageError, match="is empty"):
        read(tmp_path)
    with pytest.raises(UsageError, match="neither a header"):
        read(tmp_path, ["one", "two"], [1, 2])
    with pytest.raises(UsageError, match="no column Patient-ID"):
        read(tmp_path, ["PlanID", "TargetID", "GTV"])


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), junk=st.binary(min_size=1, max_size=40))
def test_a_broken_workbook_is_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, place: float, junk: bytes
) -> None:
    path = write(tmp_path_factory.mktemp("broken"), list(HEADER), row())
    content = bytearray(path.read_bytes())
    at = int(place * len(content))
    content[at : at + len(junk)] = junk
    path.write_bytes(content)
    try:
        cases = read_case_list(path)
    except UsageError as error:
        told = str(error)
    else:
        told = str(path)
        assert len(cases.cases) + len(cases.problems) <= 1
    assert str(path) in told


TEXTS = st.text(st.characters(codec="cp1252", exclude_categories=["Cc", "Cf", "Zs"]), min_size=1)


@settings(max_examples=40, deadline=None)
@given(ids=st.lists(st.tuples(TEXTS, TEXTS, TEXTS, TEXTS), max_size=5))
def test_any_text_reads_back_equal_or_is_a_problem(
    tmp_path_factory: pytest.TempPathFactory, ids: list[tuple[str, ...]]
) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["Patient-ID", "PlanID", "TargetID", "GTV"])
    for number, values in enumerate(ids, start=2):
        for column, value in enumerate(values, start=1):
            cell = sheet.cell(number, column)
            cell.value = value
            cell.data_type = "s"  # a text that begins with = is a text
    path = tmp_path_factory.mktemp("any") / "cases.xlsx"
    book.save(path)
    cases = read_case_list(path)
    told = {problem.row for problem in cases.problems}
    told |= {number for duplicate in cases.duplicates for number in duplicate.left_out}
    assert {c.row: (c.patient_id, c.plan_id, c.target_id, c.gtv_id) for c in cases.cases} == {
        number: values for number, values in enumerate(ids, start=2) if number not in told
    }
    assert len(told) + len(cases.cases) == len(ids)
