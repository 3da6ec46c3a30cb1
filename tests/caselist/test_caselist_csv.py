"""Case lists as CSV: dialects, encodings, headers, rejected rows, duplicates, unreadable files."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stardust_esapi.caselist import CaseList, read_case_list
from stardust_esapi.caselist.column_names import LABELS, MINING, TAIL
from stardust_esapi.errors import UsageError
from stardust_esapi.model import Case

UID = "1.2.840.113619.2.55.3"
FULL = {
    "Patient-ID": "000123",
    "Nachname": "Surname",
    "Vorname": "Givenname",
    "Series": "Planung",
    "SeriesUID": f"{UID}.1",
    "PlanID": "Plan1",
    "StructureSetID": "CT_1",
    "TargetID": "PTV1",
    "GTV": "GTV",
    "KM_Series_UID": f"{UID}.2",
    "MR_Series_UID": f"{UID}.3",
    "MR_Slices": "120",
    "MRregUID": f"{UID}.4",
    "Comment": "gut",
    "AcceptedDate": "03.01.2024 10:11:12",
    "casekind": "brain",
}
HEADER = (*MINING, *TAIL)


def row(header: tuple[str, ...] = HEADER, **changes: str) -> list[str]:
    """A row under the header; keyword ``Patient_ID`` stands for ``Patient-ID``."""
    values = FULL | {name.replace("Patient_ID", "Patient-ID"): v for name, v in changes.items()}
    return [values.get(name, "") for name in header]


def as_csv(rows: list[list[str]], separator: str = ";", end: str = "\r\n") -> str:
    text = io.StringIO()
    # The writer quotes a line break only where it is the end of its own lines.
    quoting = csv.QUOTE_ALL if end == "\r" else csv.QUOTE_MINIMAL
    csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting).writerows(rows)
    return text.getvalue()


def read(folder: Path, content: str | bytes | list[list[str]]) -> CaseList:
    path = folder / "cases.csv"
    if isinstance(content, list):
        content = as_csv(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_case_list(path)


def only_problem(cases: CaseList) -> tuple[int, str, str]:
    assert cases.cases == ()
    (problem,) = cases.problems
    return problem.row, problem.column, problem.message


def test_every_field_of_a_case(tmp_path: Path) -> None:
    header = (*MINING, "Label", *TAIL)
    cases = read(tmp_path, [list(header), row(header, Label="met")])
    assert cases.cases == (
        Case(
            row=2,
            patient_id="000123",
            plan_id="Plan1",
            series_uid=f"{UID}.1",
            structure_set_id="CT_1",
            target_id="PTV1",
            gtv_id="GTV",
            km_series_uid=f"{UID}.2",
            mr_series_uid=f"{UID}.3",
            mr_registration_uid=f"{UID}.4",
            mr_slices=120,
            label="met",
            case_kind="brain",
        ),
    )
    assert (cases.rejected, cases.problems, cases.duplicates) == ((), (), ())
    assert "name" not in repr(cases).replace(str(tmp_path), "").casefold()


@pytest.mark.parametrize("separator", [";", ","])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_dialects(tmp_path: Path, separator: str, encoding: str, end: str) -> None:
    rows = [
        list(HEADER),
        row(Patient_ID="Müller 07", Comment='sehr "gut"; ja, ja', GTV="GTV, links; kl."),
        row(Patient_ID="NA", PlanID="null", TargetID="1e5", GTV="Nan", Comment="zwei\nZeilen"),
        row(Patient_ID=" 0049 ß "),
    ]
    cases = read(tmp_path, as_csv(rows, separator, end).encode(encoding))
    assert [(c.row, c.patient_id, c.plan_id, c.target_id, c.gtv_id) for c in cases.cases] == [
        (2, "Müller 07", "Plan1", "PTV1", "GTV, links; kl."),
        (3, "NA", "null", "1e5", "Nan"),
        (4, "0049 ß", "Plan1", "PTV1", "GTV"),
    ]
    assert cases.problems == ()


def is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


IDS = st.text(
    st.characters(codec="cp1252", exclude_categories=["Cc", "Cf", "Zs"]) | st.sampled_from(' ;,"'),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150)
@given(
    ids=st.lists(st.tuples(IDS, IDS, IDS, IDS, st.text("ab;,\"\n'", max_size=9)), max_size=6),
    separator=st.sampled_from(";,"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp1252"]),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_any_text_reads_back_equal_or_is_a_problem(
    tmp_path_factory: pytest.TempPathFactory,
    ids: list[tuple[str, ...]],
    separator: str,
    encoding: str,
    end: str,
    quoting: int,
) -> None:
    names = ("Patient-ID", "PlanID", "TargetID", "GTV", "Comment")
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerows([names, *ids])
    path = tmp_path_factory.mktemp("any") / "cases.csv"
    content = text.getvalue().encode(encoding)
    # A few texts in Windows-1252 are others in UTF-8.
    assume(content.decode("utf-8-sig", "ignore") == text.getvalue() or not is_utf8(content))
    path.write_bytes(content)
    cases = read_case_list(path)

    told = {problem.row for problem in cases.problems}
    told |= {number for duplicate in cases.duplicates for number in duplicate.left_out}
    written = {
        number: tuple(value.strip() for value in values[:4])
        for number, values in enumerate(ids, start=2)
        if any(value.strip() for value in values)
    }
    got = {c.row: (c.patient_id, c.plan_id, c.target_id, c.gtv_id) for c in cases.cases}
    assert got == {number: values for number, values in written.items() if number not in told}
    assert told <= written.keys()
    if all(value.isalpha() and value.isascii() for values in ids for value in values[:4]):
        assert not cases.problems


def test_names_of_columns_are_taken_tolerantly_and_in_any_order(tmp_path: Path) -> None:
    text = "\ufeff gtv ;PLANID;Target id;my own;patient_id ;km-series-uid\nG;P;T;x;007;1.2.3.4\n"
    assert read(tmp_path, text).cases == (
        Case(2, "007", "P", target_id="T", gtv_id="G", km_series_uid="1.2.3.4"),
    )


def test_series_and_structure_set_do_without_a_plan(tmp_path: Path) -> None:
    text = f"Patient-ID,SeriesUID,StructureSetID,TargetID,GTV\n1,{UID},S,T,G\n"
    assert read(tmp_path, text).cases == (Case(2, "1", "", UID, "S", "T", "G", id_is_number=True),)


def test_without_header_the_order_decides(tmp_path: Path) -> None:
    label = (*MINING, "Label", *TAIL)
    cases = read(
        tmp_path,
        [row(MINING), row(Patient_ID="2"), row(label, Patient_ID="3", Label="met")],
    )
    assert cases.problems == ()
    assert [(c.row, c.patient_id, c.label, c.case_kind) for c in cases.cases] == [
        (1, "000123", "", ""),
        (2, "2", "", "brain"),
        (3, "3", "met", "brain"),
    ]


def test_rejected_rows_are_numbered_and_nothing_else_of_them_is_told(tmp_path: Path) -> None:
    comments = ["abgelehnt", "ABGELEHNT: zu alt", "leider Abgelehnt", "gut"]
    rows = [row(Comment=comment, Patient_ID=str(i)) for i, comment in enumerate(comments)]
    rows.append(row(Comment="abgelehnt", GTV="", SeriesUID="1,2E+05"))
    cases = read(tmp_path, [list(HEADER), *rows])
    assert [case.patient_id for case in cases.cases] == ["3"]
    assert (cases.rejected, cases.problems) == ((2, 3, 4, 6), ())


def test_rejected_is_seen_wherever_the_comment_stands(tmp_path: Path) -> None:
    text = "Comment;Patient-ID;PlanID;TargetID;GTV\nist abgelehnt;1;P;T;G\nja;2;P;T;G\n"
    cases = read(tmp_path, text)
    assert [case.patient_id for case in cases.cases] == ["2"]
    assert cases.rejected == (2,)


def test_empty_rows_are_no_rows_but_count(tmp_path: Path) -> None:
    rows = [[], list(HEADER), [], [" "] * 31, row(), [""] * 40, [], row(PlanID="2")]
    cases = read(tmp_path, rows)
    assert [case.row for case in cases.cases] == [5, 8]
    assert cases.problems == ()


def test_a_row_with_a_name_alone_is_not_empty(tmp_path: Path) -> None:
    cases = read(tmp_path, [list(HEADER), ["", "Surname", *[""] * 29]])
    assert {problem.column for problem in cases.problems} == {
        "Patient-ID", "PlanID", "TargetID", "GTV",
    }  # fmt: skip
    assert not any("Surname" in problem.message for problem in cases.problems)


def test_row_numbers_are_the_spreadsheet_s(tmp_path: Path) -> None:
    rows = [list(HEADER), row(Comment="a\nb\nc"), row(Patient_ID="2")]
    assert [case.row for case in read(tmp_path, rows).cases] == [2, 3]


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"Patient_ID": ""}, "Patient-ID"),
        ({"Patient_ID": "   "}, "Patient-ID"),
        ({"PlanID": "", "StructureSetID": ""}, "PlanID"),
        ({"PlanID": "", "SeriesUID": ""}, "PlanID"),
        ({"TargetID": ""}, "TargetID"),
        ({"GTV": ""}, "GTV"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, changes: dict[str, str], column: str) -> None:
    found = read(tmp_path, [list(HEADER), row(**changes)])
    number, where, message = only_problem(found)
    assert (number, where) == (2, column)
    assert message.startswith(f"Row 2, column {column}: ")
    assert "enter" in message
    assert message.endswith(".")


def test_every_problem_of_a_row_is_told_in_order(tmp_path: Path) -> None:
    rows = [list(HEADER), row(GTV="", KM_Series_UID="x"), row(), row(Patient_ID="")]
    cases = read(tmp_path, rows)
    assert [(p.row, p.column) for p in cases.problems] == [
        (2, "GTV"),
        (2, "KM_Series_UID"),
        (4, "Patient-ID"),
    ]
    assert [case.row for case in cases.cases] == [3]


def test_duplicates_stay_but_the_very_same_case_comes_once(tmp_path: Path) -> None:
    rows = [
        row(),
        row(GTV="GTV2"),
        row(Comment="noch einmal"),
        row(PlanID="other"),
        row(Patient_ID="2"),
        row(GTV="GTV2"),
    ]
    cases = read(tmp_path, [list(HEADER), *rows])
    assert [case.row for case in cases.cases] == [2, 3, 5, 6]
    (duplicate,) = cases.duplicates
    assert (duplicate.patient_id, duplicate.plan_id) == ("000123", "Plan1")
    assert duplicate.series_uid == f"{UID}.1"
    assert duplicate.rows == (2, 3, 4, 7)
    assert duplicate.left_out == (4, 7)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_quote_that_is_never_closed_hides_no_row_silently(tmp_path: Path, end: str) -> None:
    lines = as_csv([list(HEADER), *(row(Patient_ID=str(i)) for i in range(2, 7))]).splitlines()
    lines[2] = lines[2].replace(";gut;", ';"gut;')
    lines[4] = lines[4].replace(";gut;", ';"abgelehnt;')
    cases = read(tmp_path, end.join(lines))
    assert [case.patient_id for case in cases.cases] == ["2", "6"]
    (problem,) = [p for p in cases.problems if "quotation mark" in p.message]
    assert problem.row == 3
    assert cases.rejected == ()


def test_the_same_at_the_end_of_the_file(tmp_path: Path) -> None:
    lines = as_csv([list(HEADER), row(), row(Patient_ID="2"), row(Patient_ID="3")]).splitlines()
    lines[2] = lines[2].replace(";gut;", ';"gut;')
    cases = read(tmp_path, "\n".join(lines))
    assert [case.patient_id for case in cases.cases] == ["000123"]
    assert any(p.row == 3 and "quotation mark" in p.message for p in cases.problems)


def test_nor_does_one_in_the_header(tmp_path: Path) -> None:
    text = as_csv([list(HEADER), row(), row(Patient_ID="2")])
    with pytest.raises(UsageError, match=r"header .* quotation mark"):
        read(tmp_path, text.replace(";Refinement", ';"Refinement', 1))


def test_a_workbook_s_formula_in_a_csv_is_no_rejection_lost(tmp_path: Path) -> None:
    cases = read(tmp_path, [list(HEADER), row(Comment="#NAME?")])
    assert only_problem(cases)[1] == "Comment"


def test_mixed_encodings_are_told(tmp_path: Path) -> None:
    ansi = as_csv([list(HEADER), row(Patient_ID="Müller")]).encode("cp1252")
    appended = as_csv([row(Patient_ID="Jäger"), row(Patient_ID="3")]).encode("utf-8")
    cases = read(tmp_path, ansi + appended)
    assert [case.patient_id for case in cases.cases] == ["Müller", "3"]
    assert [(p.row, p.column) for p in cases.problems] == [(3, "Patient-ID")]


MANDATORY = "Patient-ID;PlanID;TargetID;GTV"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\r\n \r\n;;;\r\n", "is empty"),
        (b"\x00\x01\x02;\xff", "not a text file"),
        (b"Patient-ID;\x81\x8d\n", "not a text file"),
        ("Patient-ID;PlanID".encode("utf-16")[:-1], "UTF-16"),
        (b"PK\x03\x04rest", "is a workbook"),
        (b"\xd0\xcf\x11\xe0rest", "is a workbook"),
        (b"one;two;three\n1;2;3\n", "neither a header"),
        (b"PlanID;TargetID;GTV\nP;T;G\n", "no column Patient-ID;"),
        (b"Patient-ID;TargetID;GTV\n1;T;G\n", "no column PlanID (or SeriesUID"),
        (b"Patient-ID;SeriesUID;TargetID;GTV\n1;2;T;G\n", "no column PlanID (or SeriesUID"),
        (b"Patient-ID;PlanID\n1;P\n", "no column TargetID, GTV;"),
        (f"{MANDATORY};gtv\n1;P;T;G;G\n".encode(), "column GTV more than once"),
        (f'{MANDATORY}\n1;P;T;"{"x" * 140000}\n'.encode(), "quotation mark"),
    ],
)
def test_unreadable(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(UsageError) as error:
        read(tmp_path, content)
    message = str(error.value)
    assert says in message
    assert "cases.csv" in message
    assert message.endswith(".")


def test_unreadable_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no case list .*; check the path"):
        read_case_list(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        read_case_list(tmp_path / "folder.csv")
    with pytest.raises(UsageError, match=r"neither a \.csv nor an \.xlsx"):
        read_case_list(tmp_path / "cases.pdf")


def test_a_header_alone_is_a_list_without_cases(tmp_path: Path) -> None:
    cases = read(tmp_path, MANDATORY)
    assert (cases.cases, cases.rejected, cases.problems) == ((), (), ())


def test_a_column_twice_that_does_not_matter(tmp_path: Path) -> None:
    text = f"{MANDATORY};Fx;Fx;other;other\n1;P;T;G;1;2;3;4\n"
    assert read(tmp_path, text).cases == (
        Case(2, "1", "P", target_id="T", gtv_id="G", id_is_number=True),
    )


@settings(max_examples=200)
@given(
    st.binary(max_size=200) | st.text("Patient-ID;PlanID,\n\"'GTV1.2", max_size=200).map(str.encode)
)
def test_any_bytes_are_a_list_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "cases.csv"
    path.write_bytes(content)
    try:
        cases = read_case_list(path)
    except UsageError as error:
        told = str(error)
    else:
        told = str(path)
        assert all(problem.message.startswith(f"Row {problem.row}") for problem in cases.problems)
    assert str(path) in told


def test_all_label_columns(tmp_path: Path) -> None:
    header = (*MINING, *LABELS, *TAIL)
    cases = read(tmp_path, [list(header), row(header, Label="a", Label2="b", PTV_Radius="3,5")])
    assert [(c.label, c.label2, c.case_kind) for c in cases.cases] == [("a", "b", "brain")]
