"""Rows that are longer or shorter than the header."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stardust_esapi.caselist import CaseList, read_case_list
from stardust_esapi.caselist.column_names import LABELS, MINING, TAIL

VALUES = {
    "Patient-ID": "0001",
    "SeriesUID": "1.2.840.1",
    "PlanID": "Plan",
    "TargetID": "PTV",
    "GTV": "GTV",
    "MR_Series_UID": "1.2.840.2",
    "MR_Slices": "120",
    "MRregUID": "1.2.840.3",
}
MINED = [VALUES.get(name, "") for name in MINING]
NUMBERS = ["12,5", "20.1", "15.3", "4.8"]
RUNS = {
    (): [],
    LABELS[:1]: ["met"],
    LABELS[:2]: ["met", "x"],
    LABELS[1:]: ["x", *NUMBERS],
    LABELS: ["met", "x", *NUMBERS],
}
ACCEPTED = "03.01.2024 10:11:12"
KINDS_OF_HEADER = [None, list(MINING), *([*MINING, *run, *TAIL] for run in RUNS)]


def read(folder: Path, header: list[str] | None, *rows: list[str]) -> CaseList:
    path = folder / "cases.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=";").writerows([*([header] if header else []), *rows])
    return read_case_list(path)


def is_unclear(cases: CaseList) -> bool:
    return not cases.cases and ["for certain" in p.message for p in cases.problems] == [True]


@pytest.mark.parametrize("header", KINDS_OF_HEADER)
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("refined", ["", "2024-02-01T08:00:00"])
@pytest.mark.parametrize("comment", ["", "gut; sehr"])
@pytest.mark.parametrize("blank", [0, 2])
def test_every_layout_under_every_header(
    tmp_path: Path, header: list[str] | None, run: tuple[str, ...], refined: str, comment: str,
    blank: int,
) -> None:  # fmt: skip
    row = [*MINED, *RUNS[run], comment, ACCEPTED, "brain", refined, *[""] * blank]
    cases = read(tmp_path, header, row)
    assert cases.problems == ()
    assert [(c.label, c.case_kind, c.mr_slices) for c in cases.cases] == [
        ("met" if "Label" in run else "", "brain", 120)
    ]
    row[len(MINED) + len(run)] = "Abgelehnt, " + comment
    cases = read(tmp_path, header, row)
    assert (cases.cases, cases.rejected, cases.problems) == ((), (2 if header else 1,), ())


@pytest.mark.parametrize("header", KINDS_OF_HEADER)
def test_rows_of_the_mining_alone(tmp_path: Path, header: list[str] | None) -> None:
    for blanks in range(12):
        cases = read(tmp_path, header, [*MINED, *[""] * blanks])
        assert cases.problems == ()
        assert [(c.label, c.case_kind) for c in cases.cases] == [("", "")]


WITHOUT, WITH = [*MINING, *TAIL], [*MINING, "Label", *TAIL]


@pytest.mark.parametrize(
    ("header", "tail", "label", "kind"),
    [
        # No casekind: only the place of the date tells.
        (WITHOUT, ["met", "", ACCEPTED, "", ""], "met", ""),
        (WITHOUT, ["", ACCEPTED, "", "", ""], "", ""),
        (WITH, ["gut", ACCEPTED, "", ""], "", ""),
        (WITH, ["gut", ACCEPTED, "", "", ""], "", ""),
        # A comment may be a date.
        (WITHOUT, ["01.02.2023", ACCEPTED, "brain", ""], "", "brain"),
        (WITHOUT, ["met", "01.02.2023", ACCEPTED, "brain", ""], "met", "brain"),
        # Nothing contradicts the header where the row is as wide.
        (WITH, ["met", "gut", "", "", ""], "met", ""),
        (WITHOUT, ["gut", "", "brain", ""], "", "brain"),
        (WITHOUT, ["gut", "3. Januar 2024", "brain", ""], "", "brain"),
        (WITHOUT, ["met", "gut", "", "", ""], "met", ""),
        # An empty RefinementDate is left out.
        (WITH, ["met", "gut", ACCEPTED, "brain"], "met", "brain"),
        # Other ways of writing a date.
        (WITH, ["gut", "1/3/2024 10:11:12 AM", "brain", ""], "", "brain"),
        (WITH, ["gut", "2024-01-03 10:11:12.123456", "brain", ""], "", "brain"),
        (WITH, ["gut", "2024-01-03T10:11:12+01:00", "brain", "2024-01-04"], "", "brain"),
    ],
)
def test_what_decides(
    tmp_path: Path, header: list[str], tail: list[str], label: str, kind: str
) -> None:
    cases = read(tmp_path, header, [*MINED, *tail])
    assert cases.problems == ()
    assert [(c.label, c.case_kind) for c in cases.cases] == [(label, kind)]


@pytest.mark.parametrize(
    ("header", "tail"),
    [
        (WITHOUT, ["met", "", "", "", ""]),  # a label, or a comment and an empty field?
        (WITHOUT, ["gut", "", "brain"]),
        (WITH, ["gut", "", ""]),
        (WITHOUT, ["gut", "sehr", "ja", "nein"]),
        (WITHOUT, ["met", "gut", ACCEPTED, "brain", "kein Datum"]),
        (WITHOUT, ["gut", ACCEPTED, "brain", "", "", "", "", "", "", "", "", "noch etwas"]),
        (None, ["gut"]),
    ],
)
def test_what_cannot_be_told_is_not_guessed(
    tmp_path: Path, header: list[str] | None, tail: list[str]
) -> None:
    cases = read(tmp_path, header, [*MINED, *tail])
    assert is_unclear(cases)
    assert cases.problems[0].row == (2 if header else 1)
    tail[0] = "abgelehnt"
    assert read(tmp_path, header, [*MINED, *tail]).rejected == (cases.problems[0].row,)


def test_a_spreadsheet_has_padded_every_row(tmp_path: Path) -> None:
    labelled = [*MINED, "met", "gut", ACCEPTED, "brain", ""]
    cases = read(
        tmp_path,
        [*MINING, *TAIL, "", ""],
        [*labelled, ""],
        [*MINED, "gut", ACCEPTED, "lung", "", "", ""],
        [*MINED, "ohne Datum", "", "bone", "", "", ""],
    )
    assert cases.problems == ()
    assert [c.label for c in cases.cases] == ["met"]
    assert cases.duplicates[0].left_out == (3, 4)


def test_a_row_that_breaks_off_is_not_exported(tmp_path: Path) -> None:
    cut = MINED[: MINING.index("MR_Series_UID")]
    cases = read(tmp_path, WITHOUT, [*MINED, "gut", ACCEPTED, "brain", ""], cut)
    assert [case.row for case in cases.cases] == [2]
    (problem,) = cases.problems
    assert problem.row == 3
    assert "ends before" in problem.message


@pytest.mark.parametrize("uid_column", ["SeriesUID", "MR_Series_UID", "MRregUID"])
@pytest.mark.parametrize("tail", [["gut", ACCEPTED, "brain", ""], []])
@pytest.mark.parametrize("step", [-1, 1])
def test_a_shifted_row_does_not_lose_a_series(
    tmp_path: Path, uid_column: str, tail: list[str], step: int
) -> None:
    at = MINING.index(uid_column)
    shifted = [*MINED[:at], "", *MINED[at:]] if step > 0 else [*MINED[: at - 1], *MINED[at:]]
    cases = read(tmp_path, None, [*shifted, *tail, *[""] * 3])
    assert cases.cases == ()
    assert cases.problems


def test_other_columns_than_the_case_selector_s(tmp_path: Path) -> None:
    header = ["Patient-ID", "PlanID", "TargetID", "Comment", "GTV", "Label"]
    good = ["1", "P", "T", "ja", "G", "met"]
    cases = read(
        tmp_path, header, good, [*good, "", ""], [*good, "more"], good[:5], [*good, "abgelehnt"]
    )
    assert [(case.row, case.label) for case in cases.cases] == [(2, "met")]
    assert cases.duplicates[0].rows == (2, 3)
    assert [(p.row, p.message.split(":")[1].split()[0]) for p in cases.problems] == [
        (4, "what"),
        (5, "the"),
    ]
    assert cases.rejected == (6,)


def test_a_header_without_the_names_columns_still_has_a_tail(tmp_path: Path) -> None:
    header = ["Patient-ID", "PlanID", "TargetID", "GTV", *TAIL]
    fixed = ["1", "P", "T", "G"]
    cases = read(tmp_path, header, [*fixed, "met", "gut", ACCEPTED, "brain", ""])
    assert [(c.label, c.case_kind) for c in cases.cases] == [("met", "brain")]


TEXTS = st.sampled_from(["", "met", "gut", "brain", ACCEPTED, "2024-01-01", "12", "nein"])


@settings(max_examples=150)
@given(
    header=st.sampled_from(KINDS_OF_HEADER),
    tail=st.lists(TEXTS, max_size=13),
    place=st.integers(0, 12),
)
def test_whatever_the_tail_a_row_is_a_case_or_a_problem_and_never_exported_when_rejected(
    tmp_path_factory: pytest.TempPathFactory, header: list[str] | None, tail: list[str], place: int
) -> None:
    folder = tmp_path_factory.mktemp("ragged")
    cases = read(folder, header, [*MINED, *tail])
    assert len(cases.cases) + len(cases.problems) == 1
    for case in cases.cases:
        # Nothing is made up, and what is taken for a label or kind does stand in the tail.
        assert {case.label, case.case_kind} <= {*tail, ""}
        assert not {case.label, case.case_kind} & {ACCEPTED, "2024-01-01"}
    assume(place < len(tail))
    tail[place] += " ABGElehnt"
    cases = read(folder, header, [*MINED, *tail])
    assert (cases.cases, cases.rejected, cases.problems) == ((), (2 if header else 1,), ())
