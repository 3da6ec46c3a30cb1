from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stardust_esapi.errors import UsageError
from stardust_esapi.model import IMAGE_KINDS, Kind, TransferRequest
from stardust_esapi.record.ready_list import (
    read_ready_cases,
    read_ready_list,
    write_ready_list,
)

# As earlier versions wrote it, which is still read.
HEADER = "Patient-ID;PlanID;Kind;StudyUID;SeriesUID;StructureSetUID;RegistrationUID;Images"
ROW = "0042;Plan;CT;1.2.3;1.2.3.4;1.2.3.5;;98"
REQUEST = TransferRequest(Kind.CT, "0042", "Plan", "1.2.3", "1.2.3.4", "1.2.3.5", "", 98)

uids = st.from_regex(r"[0-2](\.(0|[1-9][0-9]{0,8})){1,6}", fullmatch=True)
ids = st.text(
    st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20
).map(str.strip)  # fmt: skip
requests = st.builds(
    TransferRequest,
    kind=st.sampled_from(IMAGE_KINDS),
    patient_id=ids.filter(bool),
    plan_id=ids,
    study_uid=uids,
    series_uid=uids,
    structure_set_uid=st.one_of(st.just(""), uids),
    registration_uid=st.one_of(st.just(""), uids),
    images=st.integers(1, 5000),
) | st.builds(
    TransferRequest,
    kind=st.sampled_from((Kind.DOSE, Kind.PLAN)),
    patient_id=ids.filter(bool),
    plan_id=ids,
    study_uid=uids,
    series_uid=uids,
    images=st.just(1),
    plan_uid=uids,
    dose_uid=uids,
)


@given(st.lists(requests, max_size=5))
def test_what_is_written_is_read_back(tmp_path_factory, listed) -> None:
    path = tmp_path_factory.mktemp("list") / "export_list.csv"
    write_ready_list(path, listed)
    assert read_ready_list(path) == listed


@pytest.mark.parametrize(
    "value", ["=1+1", "+1", "-1", "@A1", "'=1", "''@A1", "\uff1d1", "'x", "a=1"]
)
def test_no_cell_is_a_formula_and_none_changes(tmp_path: Path, value: str) -> None:
    path = tmp_path / "export_list.csv"
    written = replace(REQUEST, patient_id=value, plan_id=value)
    write_ready_list(path, [written])
    first = path.read_text(encoding="utf-8").splitlines()[1]
    assert first[0] not in "=+-@\uff1d\uff0b\uff0d\uff20"
    assert first.split(";")[1][0] not in "=+-@\uff1d\uff0b\uff0d\uff20"
    assert read_ready_list(path) == [written]


def test_the_file_has_exactly_the_agreed_form(tmp_path: Path) -> None:
    path = tmp_path / "export_list.csv"
    write_ready_list(path, [REQUEST])
    header = f"{HEADER};PlanUID;DoseUID"
    assert path.read_bytes() == f"{header}\r\n{ROW};;\r\n".encode()
    write_ready_list(path, [])
    assert path.read_bytes() == f"{header}\r\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["export_list.csv"]


@pytest.mark.parametrize(
    "content",
    [
        f"\ufeff{HEADER}\n{ROW}\n",
        f"{HEADER}\r\n{ROW}\r\n\r\n;;;;;;;\r\n",
        f"Note;{HEADER}\nx;{ROW}",
        f'{HEADER}\n"0042"; Plan ;CT;1.2.3;1.2.3.4;1.2.3.5;;98\n',
    ],
)
def test_people_and_spreadsheets_may_touch_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "export_list.csv"
    path.write_bytes(content.encode())
    assert read_ready_list(path) == [REQUEST]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (";Plan;CT;1.2.3;1.2.3.4;;;98", "row 3: Patient-ID is empty"),
        ("P;Plan;PET;1.2.3;1.2.3.4;;;98", "row 3: Kind is 'PET'; write one of CT, KM, MR"),
        ("P;Plan;ct;1.2.3;1.2.3.4;;;98", "row 3: Kind is 'ct'"),
        ("P;Plan;CT;;1.2.3.4;;;98", "row 3: StudyUID is empty"),
        ("P;Plan;CT;1.2.3;1.2E+05;;;98", "row 3: SeriesUID is '1.2E\\+05'"),
        ("P;Plan;CT;1.2.3;1.2.3.4;120000;;98", "row 3: StructureSetUID is '120000'"),
        ("P;Plan;MR;1.2.3;1.2.3.4;;1..2;98", "row 3: RegistrationUID is '1..2'"),
        (f"P;Plan;MR;1.2.3;1.{'2' * 64};;;98", "row 3: SeriesUID"),
        ("P;Plan;CT;1.2.3;1.2.3.4;;;98.5", "row 3: Images is '98.5'"),
        ("P;Plan;CT;1.2.3;1.2.3.4;;;0", "row 3: Images is '0'"),
        ("P;Plan;CT;1.2.3;1.2.3.4;;;-3", "row 3: Images is '-3'"),
        ("P;Plan;CT;1.2.3;1.2.3.4;;;", "row 3: Images is ''"),
        ("P;Plan;CT;1.2.3;1.2.3.4", "row 3 has 5 columns, the header has 8"),
        ("P;Plan;DOSE;1.2.3;1.2.3.4;;;1", "row 3: PlanUID is empty"),
    ],
)
def test_a_bad_cell_is_named_by_row_and_column(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "export_list.csv"
    path.write_text(f"{HEADER}\n{ROW}\n{row}\n")
    with pytest.raises(UsageError, match=message):
        read_ready_list(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "check Patient-ID, PlanID"),
        (HEADER.replace("Kind;", "").encode(), "check Kind"),
        (f"{HEADER};Images".encode(), "check Images"),
        (f"{HEADER};DoseUID;PlanUID;DoseUID".encode(), "check DoseUID"),
        (HEADER.replace(";", ",").encode(), "row 1 must name each column"),
        (f"{HEADER}\nM\xfcller".encode("cp1252"), "cannot be read as a ready list"),
    ],
)
def test_a_file_that_is_no_ready_list(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "export_list.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_ready_list(path)


def test_a_dose_belongs_to_its_case_whatever_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "export_list.csv"
    dose = TransferRequest(
        Kind.DOSE, "0042", "Plan", "1.2.3", "1.2.3.7", images=1, plan_uid="1.2.8", dose_uid="1.2.9"
    )
    other = replace(dose, series_uid="1.2.3.8", plan_uid="1.2.80", dose_uid="1.2.90")
    ct = replace(REQUEST, series_uid="1.2.3.6", structure_set_uid="1.2.3.50")
    write_ready_list(path, [REQUEST, dose, ct, other])
    whole = read_ready_cases(path, tuple(Kind))
    assert [result.requests for result in whole] == [(REQUEST, dose), (ct, other)]
    alone = read_ready_cases(path, (Kind.DOSE,))
    assert [result.requests for result in alone] == [(dose,), (other,)]
    keys = [result.case.key for result in alone]
    assert keys == [result.case.key for result in whole]
    assert len(set(keys)) == 2


def test_a_missing_file_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_ready_list(tmp_path / "none.csv")
