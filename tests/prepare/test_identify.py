"""Rows whose patient id was a number on its way, against patients of a stub database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from esapi_stub.sample import PatientUids, Phantom
from stardust_esapi.errors import LocateError
from stardust_esapi.esapi.session import Session
from stardust_esapi.esapi.stub_backend import StubBackend
from stardust_esapi.model import Case
from stardust_esapi.prepare.identify import may_be, open_patient
from support import Clinic

SMALL = (32, 24, 6)


def number(uids: PatientUids, listed: str, picture: str = "") -> Case:
    return Case(
        row=2,
        patient_id=listed,
        plan_id=uids.plan_id,
        series_uid=uids.series_uid,
        structure_set_id=uids.structure_set_label,
        id_is_number=True,
        picture_id=picture,
    )


@pytest.fixture
def clinic(clinic_of: Callable[..., Clinic]) -> Clinic:
    return clinic_of(*(Phantom(i, size=SMALL) for i in ("0004711", "4711", "815", "004711x")))


@pytest.fixture
def session(clinic: Clinic) -> Iterator[Session]:
    with Session(StubBackend(clinic.db)) as session:
        yield session


def verified(session: Session, case: Case) -> Case:
    with open_patient(session, case) as (found, patient):
        assert patient.patient_id == found.patient_id
        return found


@pytest.mark.parametrize("picture", ["", "4711", "0004711"])
def test_the_patient_that_holds_the_series_is_the_one(
    clinic: Clinic, session: Session, picture: str
) -> None:
    zeros, plain, _, _ = clinic.patients
    case = verified(session, number(zeros, "4711", picture))
    assert case.patient_id == "0004711"
    assert "the number 4711" in case.notes[0]
    assert "0004711 is meant" in case.notes[0]
    # The same key as of a list that has the id as text: the same case.
    assert case.key == replace(number(zeros, "0004711"), id_is_number=False).key
    case = verified(session, number(plain, "4711", picture))
    assert (case.patient_id, case.notes) == ("4711", ())


def test_all_patients_are_listed_once_and_only_when_needed(
    clinic: Clinic, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros, _, other, _ = clinic.patients
    listed: list[str] = []
    summaries = type(session.application).PatientSummaries.fget
    assert summaries is not None
    counted = property(lambda app: listed.append("asked") or summaries(app))
    monkeypatch.setattr(type(session.application), "PatientSummaries", counted)
    assert verified(session, number(other, "815")).patient_id == "815"
    assert verified(session, number(zeros, "4711", "0004711")).patient_id == "0004711"
    assert listed == []
    assert verified(session, number(zeros, "4711")).patient_id == "0004711"
    assert verified(session, number(zeros, "04711")).patient_id == "0004711"
    assert listed == ["asked"]


def test_without_a_series_two_patients_with_such_a_plan_are_not_chosen_from(
    clinic: Clinic, session: Session
) -> None:
    zeros, _, other, _ = clinic.patients
    with pytest.raises(LocateError, match=r"row 2.*4711 and 0004711 both hold plan") as caught:
        verified(session, replace(number(zeros, "4711"), series_uid=""))
    assert "as text" in str(caught.value)
    case = replace(number(other, "815"), series_uid="")
    assert verified(session, case).patient_id == "815"
    with pytest.raises(LocateError, match=r"no patient that can be meant.*tried: 815"):
        verified(session, replace(case, structure_set_id="another"))


def test_none_that_holds_the_series_fails_and_names_who_was_asked(
    clinic: Clinic, session: Session
) -> None:
    *_, other, _ = clinic.patients
    with pytest.raises(LocateError, match=rf"{other.series_uid} \(tried: 4711, 0004711\)"):
        verified(session, number(other, "4711"))
    with pytest.raises(LocateError, match=r"tried: 99"):
        verified(session, number(other, "99"))


def test_an_id_that_is_text_is_opened_as_it_stands(clinic: Clinic, session: Session) -> None:
    zeros, _, _, _ = clinic.patients
    text = replace(number(zeros, "4711", "0004711"), id_is_number=False)
    assert verified(session, text).patient_id == "4711"
    assert not may_be(text, "0004711")
    assert may_be(number(zeros, "4711"), "0004711")
    assert not may_be(number(zeros, "4711"), "004711x")


def test_a_plug_in_cannot_tell_plans_of_one_name_apart(clinic: Clinic, session: Session) -> None:
    zeros, _, _, _ = clinic.patients
    session.backend.saves = False
    case = number(zeros, "4711", "0004711")
    assert verified(session, case).patient_id == "0004711"
    with pytest.raises(LocateError, match="Fill in SeriesUID"):
        verified(session, replace(case, series_uid=""))
