"""Case lists as workbooks."""

from __future__ import annotations

import datetime
import itertools
import math
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import openpyxl
import openpyxl.chart
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stardust_esapi.caselist import CaseList, read_case_list
from stardust_esapi.caselist.column_names import LABELS, MINING, TAIL
from stardust_esapi.caselist.workbook import read_sheet
from stardust_esapi.errors import UsageError

MOST = 1 << 28

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


SHEET = "xl/worksheets/sheet1.xml"


Parts = dict[str, str]


def change(path: Path, edit: Callable[[Parts], None]) -> Path:
    """Rewrite the parts of a workbook as another program than openpyxl would write them."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    edit(parts)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def as_it_is(parts: Parts) -> None:
    """As openpyxl writes it: texts within the cells, elements without prefixes."""
    assert "<c " in parts[SHEET]
    assert "<is>" in parts[SHEET]


def with_prefixes(parts: Parts) -> None:
    """Spell every element's name ``s:name``."""
    sheet = ElementTree.fromstring(parts[SHEET])
    parts[SHEET] = ElementTree.tostring(sheet, encoding="unicode")
    assert "<s:c" in parts[SHEET] or "<ns0:c" in parts[SHEET]


def with_shared_strings(parts: Parts) -> None:
    """Keep the texts apart from the sheet, as Excel does."""
    texts = re.findall("<is>(.*?)</is>", parts[SHEET])
    numbers = itertools.count()
    parts[SHEET] = re.sub(
        't="inlineStr"><is>.*?</is>', lambda _: f't="s"><v>{next(numbers)}</v>', parts[SHEET]
    )
    items = "".join(f"<si>{text}</si>" for text in texts)
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    parts["xl/sharedStrings.xml"] = f'<sst xmlns="{main}">{items}</sst>'
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/sharedStrings"
    links = "xl/_rels/workbook.xml.rels"
    link = f'<Relationship Id="strings" Type="{kind}" Target="sharedStrings.xml"/></Relationships>'
    parts[links] = parts[links].replace("</Relationships>", link)


WRITERS = [as_it_is, with_prefixes, with_shared_strings]


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
    assert (cases.rejected, cases.problems) == ((3,), ())


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
    assert cases.rejected == (6,)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (12.5, "is a number, not text: leading zeros"),
        (1.25e20, "is a number, not text"),
        (True, "is a number, not text"),
        (datetime.datetime(2024, 1, 2), "is a date, not text"),
        (datetime.time(1, 2), "is a date, not text"),
        (datetime.timedelta(hours=30), "is a date, not text"),
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


ERRORS = ["#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A"]


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("error", ERRORS)
def test_an_error_in_place_of_the_comment_may_hide_a_rejection(
    tmp_path: Path, error: str, writer: Callable[[Parts], None]
) -> None:
    rows = row(), row(Comment=error), row(Patient_ID="2", HUavg=error)
    path = write(tmp_path, list(HEADER), *rows)
    assert openpyxl.load_workbook(path).active.cell(3, HEADER.index("Comment") + 1).data_type == "e"
    cases = read_case_list(change(path, writer))
    assert [case.row for case in cases.cases] == [2, 4]
    assert [(problem.row, problem.column) for problem in cases.problems] == [(3, "Comment")]
    assert "nobody can tell whether the row was rejected" in cases.problems[0].message


def test_an_error_of_a_newer_excel_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, list(HEADER), row(Comment="#NAME?"))

    def spill(parts: Parts) -> None:
        parts[SHEET] = parts[SHEET].replace("#NAME?", "#SPILL!")

    with pytest.raises(UsageError, match="correct cells that show an error"):
        read_case_list(change(path, spill))


@pytest.mark.parametrize("writer", WRITERS)
def test_a_formula_without_a_value_may_hide_a_rejection(
    tmp_path: Path, writer: Callable[[Parts], None]
) -> None:
    path = write(tmp_path, list(HEADER), row(), row(Comment='=LOWER("ABGELEHNT")'))
    with pytest.raises(UsageError, match=r"formula in cell AB3 .* never calculated; open"):
        read_case_list(change(path, writer))


def test_formulas_with_values(tmp_path: Path) -> None:
    rows = [row(Patient_ID=str(number), Comment="=formula") for number in range(5)]
    path = write(tmp_path, list(HEADER), *rows)
    results = iter(
        [
            ' t="str"><f>A1</f><v>abgelehnt</v>',
            ' t="str"><f t="shared" si="0"/><v>gut</v>',
            ' t="str"><f>A1</f><v></v>',
            ' t="e"><f>A1</f><v>#REF!</v>',
            "><f>A1</f><v>5</v>",
        ]
    )

    def calculate(parts: Parts) -> None:
        parts[SHEET] = re.sub("><f>formula</f><v ?/>", lambda _: next(results), parts[SHEET])

    cases = read_case_list(change(path, calculate))
    assert next(results, None) is None
    assert [case.row for case in cases.cases] == [3, 4, 6]
    assert cases.rejected == (2,)
    assert [(problem.row, problem.column) for problem in cases.problems] == [(5, "Comment")]


def test_other_sheets_may_have_formulas_and_errors(tmp_path: Path) -> None:
    path = write(tmp_path, list(HEADER), row())
    book = openpyxl.load_workbook(path)
    for place in (0, 2):
        book.create_sheet("Auswertung", place)["B2"] = "=COUNTA(A:A)"
        book.worksheets[place]["AB2"] = "#NAME?"
    book.save(path)
    assert [case.row for case in read_case_list(path).cases] == [2]


def test_numbers_as_text_are_written_as_a_person_would(tmp_path: Path) -> None:
    cases = read(tmp_path, list(LABEL), row(LABEL, Label=5, casekind=2.5, MR_Slices=90.0))
    (case,) = cases.cases
    assert (case.label, case.case_kind, case.mr_slices) == ("5", "2.5", 90)


def test_empty_rows_and_columns_before_the_list(tmp_path: Path) -> None:
    rows = [row(), row(Comment="#N/A"), row(Patient_ID=7.5), row(Comment="abgelehnt")]
    shifted = [[None, None, *values] for values in ([], [], list(HEADER), [], *rows)]
    cases = read(tmp_path, *shifted)
    assert [case.row for case in cases.cases] == [5]
    assert [(problem.row, problem.column) for problem in cases.problems] == [
        (6, "Comment"),
        (7, "Patient-ID"),
    ]
    assert cases.rejected == (8,)


def test_cells_without_their_places(tmp_path: Path) -> None:
    path = write(tmp_path, list(HEADER), row(HEADER, **dict.fromkeys(HEADER, "x")))

    def without_places(parts: Parts) -> None:
        parts[SHEET] = re.sub(r' r="[A-Z]*[0-9]+"', "", parts[SHEET])

    expected = read_sheet(path, path.read_bytes(), MOST).cells
    change(path, without_places)
    assert read_sheet(path, path.read_bytes(), MOST).cells == expected
    path = write(tmp_path, list(HEADER), row(Comment="#NAME?"))
    with pytest.raises(UsageError, match="cannot be read"):
        read_case_list(change(path, without_places))


def test_hidden_sheets_do_not_count(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for state, patient_id in [("hidden", "1"), ("veryHidden", "2"), ("visible", "3")]:
        sheet = book.create_sheet(state)
        sheet.sheet_state = state
        sheet.append(list(HEADER))
        sheet.append(row(Patient_ID=patient_id))
    del book["Sheet"]
    book.active = 2
    path = tmp_path / "cases.xlsx"
    book.save(path)
    assert [case.patient_id for case in read_case_list(path).cases] == ["3"]


def test_a_value_far_to_the_right(tmp_path: Path) -> None:
    path = write(tmp_path, list(HEADER), row())
    book = openpyxl.load_workbook(path)
    book.active["XFD2"].number_format = "0.00"
    book.save(path)
    assert len(read_case_list(path).cases) == 1
    book.active["XFD2"] = "x"
    book.save(path)
    with pytest.raises(UsageError, match="beyond column ZZ"):
        read_case_list(path)


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
    del book["Liste"]
    book["Sheet"].delete_rows(1)
    book["Sheet"].append(row())
    book.save(path)
    assert [case.patient_id for case in read_case_list(path).cases] == ["000123"]


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


@pytest.mark.parametrize("writer", WRITERS)
def test_a_damaged_workbook_is_not_believed(
    tmp_path: Path, writer: Callable[[Parts], None]
) -> None:
    path = change(write(tmp_path, list(HEADER), row()), writer)  # stores it uncompressed
    content = path.read_bytes()
    assert content.count(b">000123<") == 1
    path.write_bytes(content.replace(b">000123<", b">000124<"))
    with pytest.raises(UsageError, match="cannot be read"):
        read_case_list(path)


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


CELLS = st.one_of(
    st.none(),
    st.sampled_from(ERRORS),
    TEXTS.filter(lambda text: not text.startswith(("=", "#"))),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(-1e9, 1e9),
    st.datetimes(datetime.datetime(1990, 1, 1), datetime.datetime(2100, 1, 1)),
)


@settings(max_examples=40, deadline=None)
@given(
    grid=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=6),
    down=st.integers(0, 3),
    right=st.integers(0, 30),
)
def test_every_cell_keeps_its_place_and_kind(
    tmp_path_factory: pytest.TempPathFactory, grid: list[list[object]], down: int, right: int
) -> None:
    rows = [[]] * down + [[None] * right + values for values in grid]
    path = write(tmp_path_factory.mktemp("grid"), *rows)
    told = read_sheet(path, path.read_bytes(), MOST).cells
    for number, values in enumerate(rows):
        for column, value in enumerate(values):
            cells = told[number] if number < len(told) else []
            cell = cells[column] if column < len(cells) else ""
            if value is None:
                assert cell == ""
            elif value in ERRORS:
                assert isinstance(cell, float)
                assert math.isnan(cell)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                assert cell == pytest.approx(value)
            elif isinstance(value, datetime.datetime):
                assert isinstance(cell, datetime.date)
            else:
                assert (type(cell), cell) == (type(value), value)
