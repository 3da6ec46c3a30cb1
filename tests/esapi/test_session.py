from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from pytest_mock import MockerFixture

from esapi_stub.database import configure
from esapi_stub.sample import Phantom, PhantomContrast, PhantomMr
from stardust_esapi.errors import EsapiRefusedError, LocateError, NotApprovedError, UsageError
from stardust_esapi.esapi.connect import connect
from stardust_esapi.esapi.session import OpenPatient, Session
from stardust_esapi.esapi.write_gate import WritePlan, begin_modifications
from support import Clinic

PHANTOM = Phantom(
    "0815", size=(32, 32, 14), contrast=PhantomContrast(), mr=PhantomMr(size=(24, 24, 10)),
    patient_name="Kepler^Johanna",
)  # fmt: skip
PLAN = WritePlan("row 2", (("zCopyFromPlan", "1.2.3"),))


@pytest.fixture
def clinic(clinic_of: Callable[..., Clinic]) -> Clinic:
    return clinic_of(PHANTOM, replace(PHANTOM, patient_id="0816", contrast=None, mr=None))


@pytest.fixture
def session(clinic: Clinic) -> Iterator[Session]:
    with Session(connect(clinic.esapi)) as running:
        yield running


def test_a_patient_is_read_into_plain_records(clinic: Clinic, session: Session) -> None:
    uids = clinic.patients[0]
    with session.open_patient("0815") as patient:
        view = patient.view
    assert view.patient_id == "0815"
    assert [(p.course_id, p.plan_id, p.structure_set_uid) for p in view.plans] == [
        ("C1", "Plan1", uids.structure_set_uid)
    ]
    # The slices that Series.Images yields too are no 3-D images.
    assert {i.series_uid: i.geometry.size[2] for i in view.images} == {
        uids.series_uid: 14,
        uids.km_series_uid: 18,
        uids.mr_series_uid: 10,
    }
    assert {i.modality for i in view.images} == {"CT", "MR"}
    [structure_set] = view.structure_sets
    assert structure_set.image is not None
    assert structure_set.image.series_uid == uids.series_uid
    [registration] = view.registrations
    assert registration.links(uids.frame_of_reference_uid, uids.mr_frame_of_reference_uid)


def test_structures_and_contours(clinic: Clinic, session: Session) -> None:
    uid = clinic.patients[0].structure_set_uid
    with session.open_patient("0815") as patient:
        structures = {s.structure_id: s for s in patient.structures(uid)}
        contours = patient.contours(uid)
    assert structures["Cavity"].is_empty
    assert structures["Marker"].is_empty
    assert structures["GTV1"].dicom_type == "GTV"
    assert "Cavity" not in contours
    for plane, polygons in contours["GTV1"].items():
        assert 0 <= plane < 14
        assert all(p.shape[1] == 3 and len(p) > 3 for p in polygons)


def test_one_patient_after_another_and_never_an_unknown_one(session: Session) -> None:
    with session.open_patient("0815"):
        pass
    with session.open_patient("0816"):
        pass
    with (
        pytest.raises(LocateError, match="knows no patient 815"),
        session.open_patient("815"),
    ):
        pass


def test_the_patient_closes_whatever_happens(session: Session) -> None:
    def burst() -> None:
        with session.open_patient("0815"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        burst()
    with session.open_patient("0815"):
        pass


def test_a_dead_object_is_a_refusal_not_a_traceback(session: Session) -> None:
    with session.open_patient("0815") as patient:
        kept = patient
    with pytest.raises(EsapiRefusedError, match="AccessViolationException") as caught:
        kept.refresh()
    assert caught.value.dotnet_type == "System.AccessViolationException"


def test_a_refusal_never_tells_the_patients_name(session: Session) -> None:
    from esapi_stub.system import ApplicationException

    with (
        session.open_patient("0815") as patient,
        pytest.raises(EsapiRefusedError) as caught,
        patient.refusals("locking"),
    ):
        raise ApplicationException("Kepler, Johanna is locked by user X.")
    assert "Kepler" not in str(caught.value)
    assert "Johanna" not in str(caught.value)
    assert "locking of patient 0815" in str(caught.value)


def test_a_session_disposes_and_another_can_follow(clinic: Clinic) -> None:
    for _ in range(2):
        with Session(connect(clinic.esapi)) as session:
            assert session.application is not None
    with pytest.raises(UsageError, match="not running"):
        _ = session.application


def test_unsaved_changes_are_lost_and_saved_ones_stay(clinic: Clinic, session: Session) -> None:
    def make(patient: OpenPatient) -> None:
        begin_modifications(patient, PLAN, write_allowed=True)
        made = patient.image(patient.view.images[0]).CreateNewStructureSet()
        made.Id = "zCopyFromPlan"

    with session.open_patient("0815") as patient:
        make(patient)
    with session.open_patient("0815") as patient:
        assert len(patient.view.structure_sets) == 1
        make(patient)
        patient.save()
        assert len(patient.view.structure_sets) == 2
    with session.open_patient("0815") as patient:
        assert len(patient.view.structure_sets) == 2


def test_the_gate_stays_shut(clinic: Clinic, session: Session, mocker: MockerFixture) -> None:
    with session.open_patient("0815") as patient:
        begin = mocker.spy(type(patient.api), "BeginModifications")
        with pytest.raises(ValueError, match="for nothing"):
            begin_modifications(patient, WritePlan("row 2", ()), write_allowed=True)
        with pytest.raises(NotApprovedError, match="without --write"):
            begin_modifications(patient, PLAN, write_allowed=False)
        assert begin.call_count == 0
    configure(clinic.db, script_approved=False)
    with session.open_patient("0815") as patient:
        with pytest.raises(NotApprovedError, match="Script Approval"):
            begin_modifications(patient, PLAN, write_allowed=True)
        assert begin.call_count == 0


def test_the_gate_is_the_only_caller_of_begin_modifications() -> None:
    import stardust_esapi

    package = Path(stardust_esapi.__file__).parent
    callers = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "BeginModifications()" in path.read_text(encoding="utf-8")
    ]
    assert callers == ["esapi/write_gate.py"]


def test_a_license_refused_after_all_is_not_approved(
    clinic: Clinic, session: Session, mocker: MockerFixture
) -> None:
    """CanModifyData can be true and BeginModifications refuse all the same."""
    from esapi_stub.system import ApplicationException

    with session.open_patient("0815") as patient:
        mocker.patch.object(
            type(patient.api),
            "BeginModifications",
            side_effect=ApplicationException(
                "No valid license to modify patient data with script."
            ),
        )
        with pytest.raises(NotApprovedError, match="Approve the script"):
            begin_modifications(patient, PLAN, write_allowed=True)


def test_a_save_that_waits_for_a_dialog_is_told_of(
    session: Session, mocker: MockerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eclipse's multi-user dialog cannot be provoked here: a save that takes its time can."""
    told = Event()
    monkeypatch.setattr("stardust_esapi.esapi.session._SAVE_PATIENCE_SECONDS", 0.01)
    mocker.patch("loguru.logger.warning", side_effect=lambda text: told.set())
    with session.open_patient("0815") as patient:
        begin_modifications(patient, PLAN, write_allowed=True)
        mocker.patch.object(
            type(session.application), "SaveModifications", side_effect=lambda: told.wait(10)
        )
        patient.save()
    assert told.is_set()
