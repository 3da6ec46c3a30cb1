"""Case lists in the forms that the programs before this one, and people, leave them in.

What the programs do is done with the same calls of pandas and csv (:mod:`list_forms`).
"""

from __future__ import annotations

import csv
import datetime
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from list_forms import Tail, prefiltered, read_excel, refine, select, to_excel
from stardust_esapi.caselist import CaseList, read_case_list
from stardust_esapi.caselist.column_names import LABELS, MINING, TAIL
from stardust_esapi.caselist.damage import comment_damage, volume_of
from stardust_esapi.errors import UsageError
from stardust_esapi.model import Case
from stardust_esapi.settings import CaseListSettings

WHEN = "2026-01-05 10:20:30"
KINDS = ["Glio", "BC", "Metastase-Kopf", "Sonstiges"]
UID = "1.2.840.113619.2.55.3"


def mined(patient_ids: Iterable[str]) -> pd.DataFrame:
    """The mining's rows: texts, and three of four cases without a contrast CT or an MR."""
    rows = []
    for number, patient_id in enumerate(patient_ids):
        has_km, has_mr = number % 4 in (0, 3), number % 4 in (1, 3)
        rows.append(
            dict.fromkeys(MINING, "")
            | {
                "Patient-ID": patient_id,
                "Nachname": "Surname",
                "Vorname": "Givenname",
                "Series": "CT Kopf",
                "SeriesUID": f"{UID}.1{number}",
                "PlanID": f"Plan{number}",
                "Fx": "7",
                "GD": "35",
                "ED": "5",
                "StructureSetID": "CT_1",
                "LastTreated": "20240103",
                "TargetID": "PTV1",
                "TargetVolume": "81.5",
                "GTV#>10GyAndInPTV": "1",
                "GTV": "GTV1",
                "GTV-Volume": "40.25",
                "HUavg": "35.20",
                "HU StdDev": "12.10",
                "RelVarHU": "34.38 %",
                "PNG_Path": rf"\\server\middleSlices\{patient_id}_Plan{number}_PTV1_GTV1.png",
                "KM_Series_UID": f"{UID}.2{number}" if has_km else "",
                "KM_Series_Comment": "Kopf KM" if has_km else "",
                "MR_Series_UID": f"{UID}.3{number}" if has_mr else "",
                "MR_Slices": "180" if has_mr else "0",
                "MR_Series_Comment": "t1 tra" if has_mr else "",
                "MRregUID": f"{UID}.4{number}" if has_mr else "",
                "OtherGTV": "GTV1, ",
            }
        )
    return pd.DataFrame(rows, columns=list(MINING))


def as_workbook(path: Path, *rows: Iterable[object], title: str = "Data") -> Path:
    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(list(row))
    book.save(path)
    return path


def mined_workbook(folder: Path, patient_ids: Iterable[str]) -> Path:
    frame = mined(patient_ids)
    return as_workbook(folder / "mined.xlsx", MINING, *frame.itertuples(index=False))


IDS = ["0004711", "123456", "815", "0000090"]
ACCEPT: list[Tail] = [("", None), ("gut", None), ("KM fehlt; trotzdem", None), ("", None)]
LABEL: list[Tail] = [(comment, kind) for (comment, _), kind in zip(ACCEPT, KINDS, strict=True)]

Form = Callable[[Path, pd.DataFrame], Path]
FORMS: dict[str, tuple[list[Tail], Form]] = {
    "accept": (ACCEPT, lambda at, frame: select(at, frame, ACCEPT)),
    "label": (LABEL, lambda at, frame: select(at, frame, LABEL)),
    "accept, then label": (
        [*ACCEPT[:2], *LABEL[2:]],
        lambda at, frame: select(at, frame, [*ACCEPT[:2], *LABEL[2:]]),
    ),
    "label, then accept": (
        [*LABEL[:2], *ACCEPT[2:]],
        lambda at, frame: select(at, frame, [*LABEL[:2], *ACCEPT[2:]]),
    ),
    "accept, to_excel": (ACCEPT, lambda at, frame: to_excel(select(at, frame, ACCEPT))),
    "label, then accept, to_excel": (
        [*LABEL[:2], *ACCEPT[2:]],
        lambda at, frame: to_excel(select(at, frame, [*LABEL[:2], *ACCEPT[2:]])),
    ),
    "accept, refine": (LABEL, lambda at, frame: refine(select(at, frame, ACCEPT), LABEL)),
    "accept, refine, accept": (ACCEPT, lambda at, frame: refine(select(at, frame, ACCEPT), ACCEPT)),
    "label, refine": (LABEL, lambda at, frame: refine(select(at, frame, LABEL), ACCEPT)),
    "label, refine, to_excel": (
        LABEL,
        lambda at, frame: to_excel(refine(select(at, frame, LABEL), ACCEPT)),
    ),
    "label, then accept, refine": (
        [*LABEL[:2], *ACCEPT[2:]],
        lambda at, frame: refine(select(at, frame, [*LABEL[:2], *ACCEPT[2:]]), ACCEPT),
    ),
    "refine twice": (
        LABEL,
        lambda at, frame: refine(refine(select(at, frame, ACCEPT), ACCEPT), LABEL),
    ),
}


def as_listed(case: Case) -> Case:
    """A case as the mining knows it: under its own id, wherever it stands in the file."""
    return replace(
        case,
        row=0,
        patient_id=case.picture_id or case.patient_id,
        picture_id="",
        id_is_number=False,
        label="",
        label2="",
        case_kind="",
    )


def what_matters(cases: CaseList) -> list[Case]:
    return [as_listed(case) for case in cases.cases]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("is_filtered", [False, True])
def test_every_form_gives_the_cases_of_the_mining(
    tmp_path: Path, form: str, is_filtered: bool
) -> None:
    book = mined_workbook(tmp_path, IDS)
    clean = read_case_list(book)
    assert [case.patient_id for case in clean.cases] == IDS
    assert {case.id_is_number for case in clean.cases if case.patient_id[:1] == "0"} <= {False}
    frame = read_excel(book)
    tails, make = FORMS[form]
    path = make(tmp_path / "list.csv", prefiltered(frame) if is_filtered else frame)

    cases = read_case_list(path)
    assert cases.problems == ()
    assert what_matters(cases) == what_matters(clean)
    assert all(case.id_is_number for case in cases.cases)
    assert [case.patient_id for case in cases.cases] == ["4711", "123456", "815", "90"]
    assert [case.case_kind for case in cases.cases] == [kind or "" for _, kind in tails]
    flags = ["KMct", "MR", "", "KMct+MR"] if is_filtered else [""] * 4
    assert [case.label for case in cases.cases] == flags
    assert {case.label2 for case in cases.cases} == {"Kopf" if is_filtered else ""}
    assert cases.comments == (("gut", 1), ("KM fehlt; trotzdem", 1))
    assert {(case.gtv_volume_ml, case.target_volume_ml) for case in cases.cases} == {(40.25, 81.5)}


def test_a_list_that_was_refined_a_third_time_has_lost_its_ids(tmp_path: Path) -> None:
    frame = read_excel(mined_workbook(tmp_path, IDS))
    twice = refine(refine(select(tmp_path / "list.csv", frame, LABEL), ACCEPT), ACCEPT)
    for path in (to_excel(twice), refine(twice, ACCEPT)):  # pandas takes them for row labels
        cases = read_case_list(path)
        assert cases.cases == ()
        assert {problem.row for problem in cases.problems} == {2, 3, 4, 5}


def test_an_id_column_with_a_gap_or_with_letters(tmp_path: Path) -> None:
    frame = read_excel(mined_workbook(tmp_path, ["0004711", "", "815"]))
    cases = read_case_list(select(tmp_path / "gap.csv", frame, ACCEPT[:3]))
    assert [(case.patient_id, case.picture_id) for case in cases.cases] == [
        ("4711", "0004711"),
        ("815", "815"),
    ]
    assert [(problem.row, problem.column) for problem in cases.problems] == [(3, "Patient-ID")]
    assert "is missing; enter it" in cases.problems[0].message

    frame = read_excel(mined_workbook(tmp_path, ["0004711", "A17", "815"]))
    cases = read_case_list(select(tmp_path / "letters.csv", frame, ACCEPT[:3]))
    assert [(case.patient_id, case.id_is_number) for case in cases.cases] == [
        ("0004711", False),
        ("A17", False),
        ("815", True),
    ]


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[str, list[Case]]:
    """The text of a list, and its cases."""
    frame = read_excel(mined_workbook(tmp_path, IDS))
    path = select(tmp_path / "labelled.csv", frame, LABEL)
    return path.read_text("utf-8"), what_matters(read_case_list(path))


TITLE = "Accepted cases, January"


@pytest.mark.parametrize(
    ("change", "name", "encoding", "row", "note"),
    [
        (lambda text: "sep=;\n" + text, "list.csv", "utf-8", 2, "sep=;"),
        (lambda text: '"sep=;"\r\n' + text, "list.csv", "utf-8-sig", 2, "sep=;"),
        (lambda text: "SEP=^\n" + text.replace(";", "^"), "list.csv", "utf-8", 2, "sep=^"),
        (lambda text: text.replace(";", "\t"), "list.tsv", "utf-8", 2, ""),
        (lambda text: text.replace(";", "|"), "list.txt", "cp1252", 2, ""),
        (lambda text: text.replace(";", "\t"), "list.TXT", "utf-16", 2, ""),
        (lambda text: "\ufeff" + text, "list.csv", "utf-16-le", 2, ""),
        (lambda text: "\ufeff" + text, "list.csv", "utf-16-be", 2, ""),
        (lambda text: f"{TITLE}\n{text}", "list.csv", "utf-8", 3, "row 2"),
        (lambda text: f"{TITLE}{';' * 29}\n\n{text}", "list.csv", "utf-8", 4, "row 3"),
        (lambda text: f"sep=;\n{TITLE}\n{text}", "list.csv", "utf-8", 3, "row 2"),
        (lambda text: "Patient-ID\nas in Eclipse\n" * 9 + text, "list.csv", "utf-8", 20, "row 19"),
    ],
)
def test_what_people_make_of_a_list(
    tmp_path: Path,
    labelled: tuple[str, list[Case]],
    change: Callable[[str], str],
    name: str,
    encoding: str,
    row: int,
    note: str,
) -> None:
    text, expected = labelled
    # The comment with a separator of its own is quoted for that one only.
    text = text.replace('"KM fehlt; trotzdem"', "KM fehlt")
    path = tmp_path / name
    path.write_bytes(change(text).encode(encoding))
    cases = read_case_list(path)
    assert cases.problems == ()
    assert what_matters(cases) == expected
    assert [case.row for case in cases.cases] == [row, row + 1, row + 2, row + 3]
    assert [case.case_kind for case in cases.cases] == KINDS
    assert note in " ".join(cases.notes)
    assert bool(cases.notes) is bool(note)


def test_under_a_title_the_columns_keep_their_names(tmp_path: Path) -> None:
    """By position, the target would be exported as the GTV."""
    names = list(MINING)
    target, gtv = names.index("TargetID"), names.index("GTV")
    names[target], names[gtv] = names[gtv], names[target]
    frame = mined(IDS)[names]
    rows = [[TITLE, "January", *[""] * 25], names, *frame.itertuples(index=False)]
    path = tmp_path / "list.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    for listed in (path, as_workbook(tmp_path / "list.xlsx", *rows)):
        cases = read_case_list(listed)
        assert cases.problems == ()
        assert [(case.target_id, case.gtv_id) for case in cases.cases] == [("PTV1", "GTV1")] * 4
        assert any("header stands in row 2" in note for note in cases.notes)


def test_names_that_are_not_enough_are_no_reason_to_go_by_position(tmp_path: Path) -> None:
    names = [name if name in ("Nachname", "GTV", "Fx", "Vorname") else "?" for name in MINING]
    path = as_workbook(tmp_path / "list.xlsx", names, *mined(IDS).itertuples(index=False))
    with pytest.raises(UsageError, match=r"list.xlsx \(sheet Data\) has no column Patient-ID"):
        read_case_list(path)


@pytest.mark.parametrize("padding", [0, 29])
def test_a_title_above_a_list_without_a_header(tmp_path: Path, padding: int) -> None:
    frame = mined(IDS)
    rows = [[TITLE, *[""] * padding], [], *frame.itertuples(index=False)]
    path = tmp_path / "list.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    cases = read_case_list(path)
    assert [case.row for case in cases.cases] == [3, 4, 5, 6]
    assert cases.problems == ()
    assert any("above row 3" in note for note in cases.notes)


def test_a_title_that_may_hide_the_header_is_refused(tmp_path: Path) -> None:
    frame = mined(IDS)
    path = tmp_path / "list.csv"
    frame.to_csv(path, sep=";", index=False)
    path.write_text(f'"{TITLE}\n{path.read_text("utf-8")}"\n', "utf-8")
    frame.to_csv(path, sep=";", index=False, header=False, mode="a")
    with pytest.raises(UsageError, match="where it should be, a quotation mark is never closed"):
        read_case_list(path)


# Tails


def written(value: datetime.datetime) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S")


DATES = st.datetimes(datetime.datetime(2024, 1, 1), datetime.datetime(2027, 1, 1)).map(
    lambda value: value.replace(microsecond=0)
)
COMMENTS = st.one_of(
    st.just(""),
    st.sampled_from(
        ["nan", "NaN", "<NA>", "abgeklärt", "2024", "31.12.2025", "5.1.2026 10:20", *KINDS]
    ),
    DATES.map(written),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12).filter(
        lambda text: not comment_damage(text.strip())
    ),
)
WRITTEN_FOR_NOTHING = ("nan", "NaN", "None", "<NA>", "NaT")
ROWS = st.lists(
    st.tuples(
        st.booleans(),  # are there label columns?
        st.integers(2, 5),  # how many columns of a tail?
        COMMENTS,
        st.sampled_from([*KINDS, "", "nan"]),
        DATES,
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=300, deadline=None)
@given(
    rows=ROWS, header=st.none() | st.tuples(st.booleans(), st.integers(2, 4)), book=st.booleans()
)
def test_every_accepted_row_is_read_whatever_stands_beside_it(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[bool, int, str, str, datetime.datetime]],
    header: tuple[bool, int] | None,
    book: bool,
) -> None:
    """Rows of every button, of filtered and other lists, under the header of any; in a workbook
    too, as a spreadsheet makes of the CSV: with dates that are dates, and rows of one width.
    """  # fmt: skip
    labels = ["KMct", "Kopf", 228.25, 67.95, 45.71, 22.24]
    # Without a contrast CT or an MR the list says what read_excel makes of None.
    listed: list[list[object]] = []
    expected = []
    for number, (is_filtered, width, comment, kind, date) in enumerate(rows):
        flag = ["KMct", "nan", "KMct+MR"][number % 3]
        kind = kind if width > 3 else kind.replace("nan", "") or KINDS[0]  # noqa: PLW2901
        when = date if book else written(date)
        tail = [comment, when, kind, when, when][:width]
        listed.append(
            [
                *mined([str(number + 1)]).iloc[0],
                *([flag, *labels[1:]] if is_filtered else []),
                *tail,
            ]
        )
        clean = [value.strip() for value in (flag * is_filtered, kind * (width > 2), comment)]
        expected.append(tuple("" if value in WRITTEN_FOR_NOTHING else value for value in clean))
    names = [*MINING, *(LABELS if header[0] else ()), *TAIL[: header[1]]] if header else None
    everything = [*([names] if names else []), *listed]
    folder = tmp_path_factory.mktemp("tails")
    if book:
        path = folder / "list.xlsx"
        workbook = openpyxl.Workbook()
        for row, values in enumerate(everything, start=1):
            for column, value in enumerate(values, start=1):
                if isinstance(value, str):
                    value = "".join(c for c in value if c.isprintable())  # noqa: PLW2901
                cell = workbook.active.cell(row, column, value if value != "" else None)
                if isinstance(value, str) and value.startswith(("=", "#")):
                    cell.data_type = "s"
        workbook.save(path)
        expected = [
            (label, kind, "".join(c for c in comment if c.isprintable()).strip())
            for label, kind, comment in expected
        ]
    else:
        path = folder / "list.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=";").writerows(everything)
    cases = read_case_list(path)
    assert cases.problems == ()
    assert [(case.label, case.case_kind) for case in cases.cases] == [row[:2] for row in expected]
    counts: dict[str, int] = {}
    for _, _, comment in expected:
        counts[comment] = counts.get(comment, 0) + 1
    counts.pop("", None)
    assert dict(cases.comments) == counts


# What the values say


HEADER = (*MINING, *TAIL)


def listed(folder: Path, **changes: object) -> Path:
    """A CSV of one row; ``Patient_ID`` stands for ``Patient-ID``."""
    values = mined(["0004711"]).iloc[0].to_dict() | dict(zip(TAIL, ("", WHEN, "", ""), strict=True))
    values |= {name.replace("_ID", "-ID"): value for name, value in changes.items()}
    path = folder / "list.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows([HEADER, [values[name] for name in HEADER]])
    return path


EMPTY = ["nan", "NaN", "None", "<NA>", "NaT", " nan "]


@pytest.mark.parametrize("empty", EMPTY)
def test_what_pandas_writes_for_an_empty_cell(tmp_path: Path, empty: str) -> None:
    optional = ("KM_Series_UID", "MR_Series_UID", "MRregUID", "MR_Slices", "Comment", "casekind")
    path = listed(tmp_path, **dict.fromkeys(optional, empty))
    (case,) = read_case_list(path).cases
    assert (case.km_series_uid, case.mr_series_uid, case.mr_registration_uid) == ("", "", "")
    assert (case.mr_slices, case.case_kind, case.notes) == (None, "", ())
    for name in ("Patient_ID", "TargetID", "GTV"):
        cases = read_case_list(listed(tmp_path, **{name: empty}))
        assert cases.cases == ()
        assert "is missing; enter it" in cases.problems[0].message


@pytest.mark.parametrize("empty", EMPTY)
def test_a_plan_called_nan_may_be_none(tmp_path: Path, empty: str) -> None:
    (case,) = read_case_list(listed(tmp_path, PlanID=empty)).cases
    assert case.plan_id == ""
    (note,) = case.notes
    assert f"PlanID is {empty.strip()}" in note
    (case,) = read_case_list(listed(tmp_path, PlanID="")).cases
    assert case.notes == ()
    cases = read_case_list(listed(tmp_path, PlanID=empty, StructureSetID=empty))
    assert [problem.column for problem in cases.problems] == ["PlanID"]


@pytest.mark.parametrize("text", ["NAN", "none", "null", "NA", "Nan", "nan 2"])
def test_other_words_are_ids(tmp_path: Path, text: str) -> None:
    (case,) = read_case_list(listed(tmp_path, PlanID=text, GTV=text)).cases
    assert (case.plan_id, case.gtv_id) == (text, text)


def picture(patient_id: str) -> str:
    return rf"\\server\middle_slices\{patient_id}_Plan1_PTV_GTV.png"


@pytest.mark.parametrize(
    ("value", "path", "expected"),
    [
        ("4711", picture("0004711"), ("4711", True, "0004711")),
        ("4711", picture("4711"), ("4711", True, "4711")),
        ("4711", picture("4712"), ("4711", True, "")),
        ("4711", picture("47111"), ("4711", True, "")),
        ("4711", "", ("4711", True, "")),
        ("4711", "nan", ("4711", True, "")),
        ("4711", "C:/slices/0004711_P.png", ("4711", True, "0004711")),
        ("4711", "0004711_P.png", ("4711", True, "0004711")),
        ("4711", "0004711.png", ("4711", True, "")),
        ("4711", r"0004711_x\P.png", ("4711", True, "")),
        ("4711", picture("A_0004711"), ("4711", True, "")),
        ("4711", picture("4711.0"), ("4711", True, "4711.0")),
        ("4711.0", picture("0004711"), ("4711", True, "0004711")),
        ("4711,0", picture("0004711"), ("4711", True, "0004711")),
        ("4711,00", "", ("4711", True, "")),
        ("0", picture("000"), ("0", True, "000")),
        ("12345678901234567", picture("12345678901234568"), ("12345678901234567", True, "")),
        ("9" * 5000, picture("9"), ("9" * 5000, True, "")),
        ("0004711", picture("0004711"), ("0004711", False, "")),
        ("A4711", picture("A4711"), ("A4711", False, "")),
        ("4711-12", picture("4711-12"), ("4711-12", False, "")),
        ("12E34", picture("12E34"), ("12E34", False, "")),
        ("\u0664\u0667", picture("47"), ("\u0664\u0667", False, "")),
        ("0012.5", picture("0012.5"), ("0012.5", False, "")),
    ],
)
def test_patient_ids_that_may_have_been_numbers(
    tmp_path: Path, value: str, path: str, expected: tuple[str, bool, str]
) -> None:
    (case,) = read_case_list(listed(tmp_path, Patient_ID=value, PNG_Path=path)).cases
    assert (case.patient_id, case.id_is_number, case.picture_id) == expected
    assert case.notes == ()


BIG = 2**53
SETTLED = [
    ("1.23456E+05", "123456"),
    ("1,2E+05", "123456"),
    ("1.2E+05", "0123456"),
    ("1.2345678901234568e+16", "12345678901234567"),
    ("1e+16", "10000000000000000"),
    (f"{BIG}.0", f"{BIG + 1}"),
    ("12.5", "12.50"),
    ("12,5", "12.5"),
    ("4.000", "4"),
]
UNSETTLED = [
    ("1.3E+05", "123456"),
    ("1.2E+05", "123456.0"),
    ("1.2E+05", "A123456"),
    ("1.2E+05", ""),
    ("1.5E-07", "0"),
    ("1E+999", "1"),
    (f"{BIG + 2}.0", f"{BIG + 1}"),
    (f"{BIG}.0", ""),
    ("12.5", "12.51"),
    ("12.5", ""),
    ("4.000", "4000"),
    ("01.02.1960", "1"),
]
IN_A_WORKBOOK: list[tuple[object, str]] = [
    (BIG, f"{BIG + 1}"),
    (1.25e20, "125000000000000000000"),
    (12.5, "12.50"),
]
NOT_IN_A_WORKBOOK: list[tuple[object, str]] = [
    (BIG, ""),
    (1.25e20, "125000000000000100000"),
    (12.5, ""),
    (-5, "-5"),
    (True, "1"),
    (datetime.datetime(2024, 1, 2), "45293"),
    ("#N/A", "4711"),
]


def with_id(folder: Path, value: object, picture_id: str) -> list[CaseList]:
    """A list of one row as a workbook and, of a text, as CSV."""
    path = picture(picture_id)
    row = mined(["1"]).iloc[0].to_dict() | {"Patient-ID": value, "PNG_Path": path}
    lists = [as_workbook(folder / "list.xlsx", MINING, row.values())]
    if isinstance(value, str):
        lists.append(listed(folder, Patient_ID=value, PNG_Path=path))
    return list(map(read_case_list, lists))


@pytest.mark.parametrize(("value", "picture_id"), [*SETTLED, *IN_A_WORKBOOK])
def test_the_picture_settles_an_id_that_lost_digits(
    tmp_path: Path, value: object, picture_id: str
) -> None:
    for cases in with_id(tmp_path, value, picture_id):
        (case,) = cases.cases
        assert (case.patient_id, case.id_is_number, case.picture_id) == (
            picture_id,
            True,
            picture_id,
        )
        (note,) = case.notes
        assert f"{picture_id} was taken from PNG_Path" in note


@pytest.mark.parametrize(("value", "picture_id"), [*UNSETTLED, *NOT_IN_A_WORKBOOK])
def test_else_it_is_refused(tmp_path: Path, value: object, picture_id: str) -> None:
    for cases in with_id(tmp_path, value, picture_id):
        assert cases.cases == ()
        (problem,) = cases.problems
        assert problem.column == "Patient-ID"
        assert "format the column as text" in problem.message


def test_numbers_and_texts_of_a_workbook(tmp_path: Path) -> None:
    def read(value: object) -> tuple[str, bool, str]:
        (case,) = with_id(tmp_path, value, "0004711")[0].cases
        return case.patient_id, case.id_is_number, case.picture_id

    assert read(4711) == read(4711.0) == read("4711.0") == ("4711", True, "0004711")
    assert read(BIG - 1) == (f"{BIG - 1}", True, "")
    # Its zeros may have been lost in a list that this one was made of.
    assert read("4711") == ("4711", True, "0004711")
    assert read("0004711") == ("0004711", False, "")


def test_other_ids_that_are_numbers(tmp_path: Path) -> None:
    names = ("PlanID", "StructureSetID", "TargetID", "GTV")

    def read(value: object) -> CaseList:
        row = mined(["0004711"]).iloc[0].to_dict() | dict.fromkeys(names, value)
        first = mined(["2"]).iloc[0].to_dict() | {"PlanID": True}
        rows = [MINING, first.values(), row.values()]
        return read_case_list(as_workbook(tmp_path / "list.xlsx", *rows))

    for value, text in [(3, "3"), (1, "1"), (3.0, "3"), ("3.0", "3.0"), (2**53 - 1, None)]:
        (case,) = read(value).cases
        ids = {case.plan_id, case.structure_set_id, case.target_id, case.gtv_id}
        assert ids == {text or str(value)}
    for value in (2**53, 3.5, False, datetime.datetime(2024, 1, 2), "#REF!"):
        cases = read(value)
        assert cases.cases == ()
        assert {problem.column for problem in cases.problems if problem.row == 3} == set(names)


@pytest.mark.parametrize(
    ("cell", "volume"),
    [
        ("400.05", 400.05), ("400,05", 400.05), ("7", 7.0), (7.25, 7.25), ("1.5e-05", 1.5e-05),
        ("", None), ("nan", None), ("0", None), ("0.0", None), (0.0, None), ("-3", None),
        (-3.0, None), ("inf", None), (math.nan, None), ("1,313.16", None), ("n. a.", None),
        (datetime.datetime(2024, 1, 2), None),
    ],
)  # fmt: skip
def test_volumes(cell: object, volume: float | None) -> None:
    assert volume_of(cell) == volume


# What is said of the list


def test_comments_and_words_for_a_rejection(tmp_path: Path) -> None:
    comments = ["gut", "Nein, zu alt", "", "knapp", "Rejected", "gut", "abgelehnt - alt", "nan"]
    frame = mined([f"0{number}" for number in range(len(comments))])
    path = select(tmp_path / "list.csv", frame, [(comment, None) for comment in comments])
    cases = read_case_list(path)
    assert cases.rejected == (6, 8)
    assert cases.comments == (("gut", 2), ("Nein, zu alt", 1), ("knapp", 1))
    cases = read_case_list(path, CaseListSettings(rejected=("NEIN", "abgelehnt")))
    assert cases.rejected == (3, 8)
    assert cases.comments == (("gut", 2), ("knapp", 1), ("Rejected", 1))
    assert len(cases.cases) == 6


def book_of(folder: Path, **sheets: list[list[object]]) -> Path:
    book = openpyxl.Workbook()
    del book["Sheet"]
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    path = folder / "list.xlsx"
    book.save(path)
    return path


def rows_of(*patient_ids: str) -> list[list[object]]:
    return [list(MINING), *(list(row) for row in mined(patient_ids).itertuples(index=False))]


def test_two_sheets_with_a_list_are_refused(tmp_path: Path) -> None:
    notes: list[list[object]] = [["Patient-ID", "PlanID", "?"], ["01", "Plan1", "ask"]]
    path = book_of(tmp_path, Notes=notes, January=rows_of("01"), February=rows_of("02", "03"))
    with pytest.raises(UsageError, match=r"\(January, February\); --sheet NAME chooses one"):
        read_case_list(path)
    for name, ids in (("January", ["01"]), ("february", ["02", "03"])):
        cases = read_case_list(path, CaseListSettings(sheet=name))
        assert [case.patient_id for case in cases.cases] == ids
        assert f"sheet {name.title()} was read" in cases.notes[0]
    with pytest.raises(UsageError, match="no sheet March; choose one of Notes, January, February"):
        read_case_list(path, CaseListSettings(sheet="March"))
    with pytest.raises(UsageError, match=r"\(sheet Notes\) has no column TargetID, GTV"):
        read_case_list(path, CaseListSettings(sheet="Notes"))


def test_one_list_among_other_sheets(tmp_path: Path) -> None:
    notes: list[list[object]] = [["Patient-ID", "PlanID"], ["01", "Plan1"]]
    titled = [[TITLE], [], *rows_of("01")]
    for rows in (rows_of("01"), titled, rows_of("01")[1:]):
        cases = read_case_list(book_of(tmp_path, Notes=[["?"]], List=rows, More=[["Fx", 3]]))
        assert [case.patient_id for case in cases.cases] == ["01"]
        assert "The sheet List was read, not Notes, not More." in cases.notes
    cases = read_case_list(book_of(tmp_path, Notes=notes, List=rows_of("01")))
    assert [case.patient_id for case in cases.cases] == ["01"]
    with pytest.raises(UsageError, match=r"\(List, Old\)"):
        read_case_list(book_of(tmp_path, List=rows_of("01"), Old=rows_of("02")[1:]))


def test_a_workbook_with_macros(tmp_path: Path) -> None:
    path = mined_workbook(tmp_path, IDS)
    assert len(read_case_list(path.rename(path.with_suffix(".xlsm"))).cases) == 4


def test_hidden_rows_are_read_and_counted(tmp_path: Path) -> None:
    path = as_workbook(tmp_path / "list.xlsx", [TITLE], *rows_of(*IDS), [], [])
    assert not any("idden" in note for note in read_case_list(path).notes)
    book = openpyxl.load_workbook(path)
    book.active.auto_filter.ref = "A2:AA6"
    book.active.auto_filter.add_filter_column(0, [IDS[0]])
    for row in (1, 4, 5, 20):  # the title and an empty row are no cases
        book.active.row_dimensions[row].hidden = True
    book.active.column_dimensions["B"].hidden = True
    book.active["D3"] = 'hidden="1"'
    book.save(path)
    cases = read_case_list(path)
    assert len(cases.cases) == 4
    assert any("by a filter or by hand: 2." in note for note in cases.notes)


def test_a_plain_list_needs_no_note(tmp_path: Path) -> None:
    frame = read_excel(mined_workbook(tmp_path, IDS))
    cases = read_case_list(select(tmp_path / "list.csv", frame, ACCEPT))
    assert cases.notes == ()
    assert all(case.notes == () for case in cases.cases)


@pytest.mark.parametrize("at", [1, 3, 4])
def test_a_header_below_cases_is_refused(tmp_path: Path, at: int) -> None:
    """Somebody has sorted the sheet: the rows above would be passed over."""
    rows: list[list[object]] = [list(row) for row in mined(IDS).itertuples(index=False)]
    rows.insert(at, list(MINING))
    with pytest.raises(UsageError, match=rf"Row 1 .* above the header \(row {at + 1}\)"):
        read_case_list(as_workbook(tmp_path / "list.xlsx", *rows))


def test_a_list_that_changes_its_columns_on_the_way_is_refused(tmp_path: Path) -> None:
    first, second, *_ = ([str(v) for v in row] for row in mined(IDS).itertuples(index=False))
    gtv, target = MINING.index("GTV"), MINING.index("TargetID")
    other = list(MINING)
    other[gtv], other[target] = other[target], other[gtv]
    path = tmp_path / "list.csv"
    for again, refused in ((other, True), (list(MINING), False)):
        lines = [MINING, first, again, second]
        path.write_text("\n".join(map(";".join, lines)), "utf-8")
        if refused:
            with pytest.raises(UsageError, match=r"Row 3 .* names columns, and others"):
                read_case_list(path)
        else:  # two lists, one below the other
            cases = read_case_list(path)
            assert [case.row for case in cases.cases] == [2, 4]
            assert [problem.row for problem in cases.problems][:1] == [3]


@pytest.mark.parametrize("column", ["Notiz", "Bemerkung", "Status"])
@pytest.mark.parametrize("frame", [lambda frame: frame, prefiltered])
def test_a_rejection_is_seen_in_columns_that_people_add(
    tmp_path: Path, column: str, frame: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    listed = frame(read_excel(mined_workbook(tmp_path, IDS)))
    listed[column] = ["", "Abgelehnt", "", "nein: rejected"]
    path = tmp_path / "list.xlsx"
    listed.to_excel(path, index=False)
    cases = read_case_list(path)
    assert cases.rejected == (3, 5)
    assert not {case.row for case in cases.cases} & {3, 5}
