"""What counts as a damaged id, and what must not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.config import IGNORE
from pydicom.uid import UID, generate_uid

from stardust_esapi.caselist.damage import (
    comment_damage,
    count_of,
    is_uid,
    patient_damage,
    text_damage,
    uid_damage,
)

EVERYWHERE = [
    "1.2E+05", "1,2E+05", "1E+05", "9,99999E+15", "1.5E-07",
    "########", "#NAME?", "#NV", "#N/A", "#DIV/0!", "#NULL!", "#ÜBERLAUF!", "2024-01-02 00:00:00",
    "a\nb", "a\tb", "M\ufffdller", "\ufeff0012", "MÃ¼ller",
]  # fmt: skip
FOR_A_PATIENT = [
    "123456.0", "123456,00", "1.2e+05", "12.5E3", "01.02.1960", "1/31/1960", "1960-02-01",
    "01.02.1960 00:00", "01. Feb", "2-Mrz", "Jan 60", "Okt. 12", '="00123"', "'00123",
]  # fmt: skip
SOUND = [
    "000123", "NA", "null", "nan", "None", "TRUE", "-", "1E5", "2024E0012", "12E34", "Müller 07",
    "4711-12", "12.345", "Groß", "#1", "A#", "0", "31.02", "Ångström", "12-34-5678", "1e5", "Mai",
]  # fmt: skip


@pytest.mark.parametrize("text", EVERYWHERE)
def test_damaged_everywhere(text: str) -> None:
    assert text_damage(text)
    assert patient_damage(text)
    assert uid_damage(text)


@pytest.mark.parametrize("text", FOR_A_PATIENT)
def test_damaged_as_a_patient_id_only(text: str) -> None:
    assert patient_damage(text)
    assert uid_damage(text)
    assert text_damage(text) == ""


@pytest.mark.parametrize("text", SOUND)
def test_sound(text: str) -> None:
    assert patient_damage(text) == ""
    assert text_damage(text) == ""


@pytest.mark.parametrize("text", ["PTV 1.2E+05", "Plan 01.02.24", "1-2", "CT_1 2024-01-02"])
def test_sound_as_part_of_an_id(text: str) -> None:
    assert text_damage(text) == ""


def test_the_value_is_shown_unless_it_may_be_a_name() -> None:
    assert "(1.2E+05) is a number in scientific notation" in patient_damage("1.2E+05")
    assert "(01.02.1960) is a date" in patient_damage("01.02.1960")
    assert "(1.02.3) is not a valid" in uid_damage("1.02.3")
    assert "Surname" not in uid_damage("Surname") + uid_damage("'Surname") + uid_damage("Surname\n")


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("1.2.840.10008.1.2", True),
        ("2.25.329800735698586629295641978511506172918", True),
        ("0.1.2", True),
        ("1." + "2" * 30 + "." + "3" * 31, True),
        ("1." + "2" * 30 + "." + "3" * 32, False),
        ("1.2.03", False),
        ("1.2..3", False),
        ("1.2.3.", False),
        (".1.2.3", False),
        ("1.2.x", False),
        ("1.2 .3", False),
        ("1.2.3\n", False),
        ("1.2.\u0663", False),
        ("3.2.1", False),
        ("1.2", False),
        ("123456", False),
        ("123456.0", False),
        ("", False),
    ],
)
def test_uids(text: str, valid: bool) -> None:
    assert is_uid(text) is valid
    assert bool(uid_damage(text)) is (not valid and text != "")


def test_generated_uids_are_sound() -> None:
    assert all(uid_damage(generate_uid(prefix)) == "" for prefix in [None, "1.2.3."])


@given(st.from_regex(r"[0-2](\.[0-9]{1,15}){2,7}\.?", fullmatch=True))
def test_valid_is_what_pydicom_says(text: str) -> None:
    assert is_uid(text) is UID(text, IGNORE).is_valid


@given(st.text(max_size=30))
def test_nothing_that_is_no_uid_passes_for_one(text: str) -> None:
    assert is_uid(text) is False or UID(text, IGNORE).is_valid


def test_counts() -> None:
    assert [count_of(text) for text in ["0", "120", "120.0", "120,0"]] == [0, 120, 120, 120]
    assert {count_of(text) for text in ["", "-1", "1.5", "1.2.3", "x", "9" * 5000]} == {None}


def test_comments() -> None:
    assert comment_damage("#NAME?")
    assert comment_damage("####")
    assert comment_damage("#KALK!")
    assert comment_damage("gut #1") == ""
    assert comment_damage("") == ""
