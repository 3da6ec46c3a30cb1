"""What of a value is told, and what of a message."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from stardust_esapi.trace.conceal import Concealer, date, number, presence, version, word


@pytest.fixture
def conceal() -> Concealer:
    concealer = Concealer()
    concealer.name("Schmidt-Überlein")
    concealer.name("Ng")
    for identifier in ("PAT-ÄÖ 77", "CT", "GTV links", "1.2.276.0.7230010"):
        concealer.token(identifier)
    return concealer


def test_the_same_id_is_the_same_number() -> None:
    conceal = Concealer()
    said = [conceal.token(value) for value in ("CT_1", "CT_2", "CT_1", "ct_1", "", None)]
    assert said == ["id#1", "id#2", "id#1", "id#3", "", None]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Patient PAT-ÄÖ 77 is locked.", "patient … is locked."),
        ("patient pat-äö 77 IS LOCKED", "patient … is locked"),
        ("by SCHMIDT, or U\u0308berlein", "by …, or …"),
        ("DrSchmidtPlan", "dr…plan"),
        ("Ng changes nothing", "… changes nothing"),
        ("The CT has no direction", "the … has no direction"),
        ("GTV  links\nParameter name: id", "… parameter name: id"),
        ("of 1.2.276.0.7230010.99 at 12.03.1951", "of # at #"),
        ("in C:\\va_data$\\Meier by KLINIK\\meier, meier@klinik.de", "in # by # #"),
        ("Structure 'Herz Oma' and \"Herz Opa\" don't", "structure … and … don't"),
        ("Plan „Erster“ fehlt", "plan … fehlt"),
        ("", ""),
    ],
)
def test_a_message_names_nobody_and_nothing(conceal: Concealer, said: str, told: str) -> None:
    assert conceal.message(said) == told


def test_of_other_values_no_more_is_told_than_must_be() -> None:
    assert [presence(value) for value in (None, "", "Verlauf bei Oma")] == [None, "", "(some)"]
    assert [
        date(value) for value in (None, SimpleNamespace(Year=1), SimpleNamespace(Year=1951))
    ] == [
        None,
        "(first day)",
        "(some)",
    ]
    assert [number(value) for value in (None, True, 3, 2.5, float("nan"), float("-inf"))] == [
        *(None, True, 3, 2.5, "nan", "-inf")
    ]
    words = ("HeadFirstSupine", "TREATED_VOLUME", "", None, "GTV links", "Ümlaut", "a" * 25)
    assert [word(value) for value in words] == [
        *("HeadFirstSupine", "TREATED_VOLUME", "", None, "(some)", "(some)", "(some)")
    ]
    assert [version(value) for value in ("16.1.2", "16.1 of Würzburg")] == ["16.1.2", "(some)"]
