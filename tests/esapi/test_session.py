from __future__ import annotations

import contextlib
import itertools
import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any

import pytest
from pytest_mock import MockerFixture

import stardust_esapi
from esapi_stub.database import configure
from esapi_stub.sample import Phantom, PhantomContrast, PhantomMr
from stardust_esapi import __version__, stops
from stardust_esapi.errors import (
    EsapiRefusedError,
    LocateError,
    NotApprovedError,
    PrepareError,
    UsageError,
)
from stardust_esapi.esapi import write_gate
from stardust_esapi.esapi.connect import connect
from stardust_esapi.esapi.host import Host
from stardust_esapi.esapi.session import OpenPatient, Session
from stardust_esapi.esapi.write_gate import Approval, PlannedSet, WritePlan, modifications
from stardust_esapi.esapi.writer import RecordWriter, TwinWriter
from stardust_esapi.record.audit import AuditLog, check
from support import PATIENCE, Clinic

PHANTOM = Phantom(
    "0815", size=(32, 32, 14), contrast=PhantomContrast(), mr=PhantomMr(size=(24, 24, 10)),
    patient_name="Kepler^Johanna",
)  # fmt: skip
PLAN = WritePlan("row 2", (PlannedSet("zCopyFromPlan", "1.2.3", ("gtv+",)),))


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


@pytest.fixture
def approval(tmp_path: Path) -> Approval:
    return Approval(True, Host(), AuditLog(tmp_path / "audit.jsonl"))


def audited(approval: Approval) -> list[dict[str, Any]]:
    if not approval.audit.path.exists():
        return []
    text = approval.audit.path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def make(patient: OpenPatient, writer: RecordWriter, name: str = "zCopyFromPlan") -> None:
    created = writer.CreateStructureSet(patient.image(patient.view.images[0]))
    writer.NameStructureSet(created, name)


def test_what_the_gate_lets_through_is_saved_and_in_the_audit_log(
    clinic: Clinic, session: Session, approval: Approval
) -> None:
    with session.open_patient("0815") as patient:
        with modifications(patient, PLAN, approval) as writing:
            make(patient, writing.writer)
        assert len(patient.view.structure_sets) == 2
    with session.open_patient("0815") as patient:
        assert len(patient.view.structure_sets) == 2
    begun, saved = audited(approval)
    assert (begun["event"], saved["event"]) == ("begun", "saved")
    assert begun["write"] == saved["write"]
    assert saved["patient_id"] == "0815"
    assert saved["eclipse_user"]
    assert saved["structure_sets"] == [
        {"structure_set_id": "zCopyFromPlan", "series_uid": "1.2.3", "structures": ["gtv+"]}
    ]
    assert (saved["script"], saved["script_version"]) == ("python", __version__)
    assert "Kepler" not in approval.audit.path.read_text(encoding="utf-8")
    assert check(approval.audit.path).problems == ()


def test_what_raises_inside_the_gate_saves_nothing_and_is_in_the_audit_log(
    session: Session, approval: Approval
) -> None:
    def fail(writer: RecordWriter) -> None:
        make(patient, writer)
        raise PrepareError("row 2: the copies differ")

    with session.open_patient("0815") as patient, pytest.raises(PrepareError):
        with modifications(patient, PLAN, approval) as writing:
            fail(writing.writer)
    with session.open_patient("0815") as patient:
        assert len(patient.view.structure_sets) == 1
    assert [(e["event"], e.get("reason")) for e in audited(approval)] == [
        ("begun", None),
        ("dropped", "row 2: the copies differ"),
    ]


def test_a_stop_at_any_moment_of_a_write_is_in_the_audit_log(
    session: Session, approval: Approval, tmp_path: Path
) -> None:
    """Ctrl-C may come between any two calls, such as at a block's entry, before its first line."""

    def write() -> None:
        with modifications(patient, PLAN, approval) as writing:
            make(patient, writing.writer, f"z{moment}")
            stops.look()

    ends = set()
    for moment in itertools.count(1):
        approval = replace(approval, audit=AuditLog(tmp_path / f"{moment}.jsonl"))
        with session.open_patient("0815") as patient:
            missing = interrupted_at(moment, write)
        with session.open_patient("0815") as patient:
            saved = f"z{moment}" in {s.structure_set_id for s in patient.view.structure_sets}
        events = [event["event"] for event in audited(approval)]
        assert events in ([], ["begun", "saved"], ["begun", "dropped"]), moment
        assert saved == ("saved" in events), moment
        ends.add(tuple(events))
        if missing:
            break
    assert moment > 50
    assert len(ends) == 3


def interrupted_at(moment: int, action: Callable[[], None]) -> int:
    """Send SIGINT at the n-th call or return in the gate, or in what enters and leaves a block.

    Returns:
        How many were missing.
    """
    gate = {write_gate.__file__, stops.__file__}
    missing = moment

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal missing
        files = [one.f_code.co_filename for one in (frame, frame.f_back) if one]
        if files[0] in gate or (files[0] == contextlib.__file__ and files[1] in {*gate, __file__}):
            missing -= 1
            if missing == 0:
                signal.raise_signal(signal.SIGINT)

    handler = signal.signal(signal.SIGINT, stops.stop)
    sys.setprofile(count)
    try:
        action()
    except stops.Stopped:
        pass
    finally:
        sys.setprofile(None)
        signal.signal(signal.SIGINT, handler)
    return max(missing, 0)


def test_in_a_plug_in_a_case_goes_on_where_another_has_begun_unless_that_failed(
    session: Session, approval: Approval, mocker: MockerFixture
) -> None:
    """Eclipse's user has the patient open and saves: the cases of a run share what is unsaved."""
    mocker.patch.object(session.backend, "saves", new=False)
    writer = TwinWriter(ValueError)
    launcher = Host("Exporter.esapi", is_launcher=True, writer=writer)
    approval = replace(approval, host=launcher)

    def fail(patient: OpenPatient) -> None:
        with modifications(patient, PLAN, approval):
            raise PrepareError("row 4: the copies differ.")

    with session.open_patient("0815") as patient:
        for _ in range(2):
            with modifications(patient, PLAN, approval) as given:
                assert given.writer is writer
        with pytest.raises(PrepareError, match=r"differ\. Eclipse still shows what was begun"):
            fail(patient)
        with pytest.raises(PrepareError, match=r"^row 2: a case before .* without saving"):
            fail(patient)
    assert [e["event"] for e in audited(approval)] == ["begun", "left"] * 2 + ["begun", "dropped"]


def test_what_is_not_ours_leaves_its_kind_alone_in_the_audit_log(
    session: Session, approval: Approval
) -> None:
    """The message of an unexpected error could hold anything."""
    with session.open_patient("0815") as patient, pytest.raises(ZeroDivisionError):
        with modifications(patient, PLAN, approval):
            raise ZeroDivisionError("Kepler, Johanna")
    assert audited(approval)[-1]["reason"] == "ZeroDivisionError"


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (Host("Exporter", "1.2.3.4", is_launcher=True), "read-only launcher"),
        (
            Host(
                "Exporter", "1.2.3.4", is_launcher=True, writer=TwinWriter(ValueError),
                difference="changed stardust_esapi/job/run.py",
            ),
            "changed stardust_esapi/job/run.py",
        ),
    ],
)  # fmt: skip
def test_a_launcher_that_must_not_write_does_not(
    session: Session, approval: Approval, host: Host, said: str
) -> None:
    with session.open_patient("0815") as patient, pytest.raises(NotApprovedError, match=said):
        with modifications(patient, PLAN, replace(approval, host=host)):
            raise AssertionError("the gate is open")
    assert audited(approval) == []


def test_no_audit_log_no_write(session: Session, approval: Approval, tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").write_text("not ours\n", encoding="utf-8")
    with session.open_patient("0815") as patient:
        with pytest.raises(UsageError, match="not an audit log"):
            with modifications(patient, PLAN, approval):
                raise AssertionError("the gate is open")
        assert not patient.api.HasModifiedData


def test_the_gate_stays_shut(
    clinic: Clinic, session: Session, approval: Approval, mocker: MockerFixture
) -> None:
    def try_to(plan: WritePlan, approval: Approval) -> None:
        with modifications(patient, plan, approval):
            raise AssertionError("the gate is open")

    with session.open_patient("0815") as patient:
        begin = mocker.spy(type(patient.api), "BeginModifications")
        with pytest.raises(ValueError, match="for nothing"):
            try_to(WritePlan("row 2", ()), approval)
        with pytest.raises(NotApprovedError, match="without --write"):
            try_to(PLAN, replace(approval, requested=False))
        assert begin.call_count == 0
    configure(clinic.db, script_approved=False)
    with session.open_patient("0815") as patient:
        with pytest.raises(NotApprovedError, match="Script Approval"):
            try_to(PLAN, approval)
        assert begin.call_count == 0
    assert audited(approval) == []


def test_the_gate_alone_begins_and_saves() -> None:
    package = Path(stardust_esapi.__file__).parent
    callers = {
        call: [
            path.relative_to(package).as_posix()
            for path in sorted(package.rglob("*.py"))
            if call in path.read_text(encoding="utf-8")
        ]
        for call in (".Begin(", "patient.save(", ".Save(", "backend.writer()", "host.writer")
    }
    assert callers == {
        ".Begin(": ["esapi/write_gate.py"],
        "patient.save(": ["esapi/write_gate.py"],
        ".Save(": ["esapi/session.py"],
        "backend.writer()": ["esapi/write_gate.py"],
        "host.writer": ["esapi/write_gate.py"],
    }


def test_nothing_but_a_writer_calls_what_changes_a_record() -> None:
    package = Path(stardust_esapi.__file__).parent
    changing = re.compile(
        r"\.(BeginModifications|SaveModifications|CreateNewStructureSet|AddStructure|RemoveStructure"
        r"|Delete|ConvertToHighResolution|Copy)\(|\.(SegmentVolume|Color|Id) = "
    )
    assert [
        path.relative_to(package).as_posix()
        for path in sorted(package.rglob("*.py"))
        if any(
            changing.search(line) and "writer." not in line
            for line in path.read_text(encoding="utf-8").splitlines()
        )
    ] == [
        "esapi/writer.py",
        "trace/writing.py",  # whether Eclipse tells such calls apart; on test systems
    ]


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("No valid license to modify patient data with script.", "approved in Script Approval"),
        (
            "The system did not find a calling assembly while script 'x, Version=1.0.0.0' tried to "
            "modify data. Possible reason is that …",
            "approve Python.Runtime.dll",
        ),
    ],
)
def test_a_license_refused_after_all_is_not_approved(
    session: Session, approval: Approval, mocker: MockerFixture, said: str, remedy: str
) -> None:
    """CanModifyData can be true and BeginModifications refuse all the same."""
    from esapi_stub.system import ApplicationException

    with session.open_patient("0815") as patient:
        mocker.patch.object(
            type(patient.api),
            "BeginModifications",
            side_effect=ApplicationException(said),
        )
        with pytest.raises(NotApprovedError, match=remedy):
            with modifications(patient, PLAN, approval):
                raise AssertionError("the gate is open")
    assert [e["event"] for e in audited(approval)] == ["begun", "refused"]


def test_a_save_that_waits_for_a_dialog_is_told_of(
    session: Session, approval: Approval, mocker: MockerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eclipse's multi-user dialog cannot be provoked here: a save that takes its time can."""
    told = Event()
    monkeypatch.setattr("stardust_esapi.esapi.session._SAVE_PATIENCE_SECONDS", 0.01)
    mocker.patch("loguru.logger.warning", side_effect=lambda text: told.set())
    with session.open_patient("0815") as patient:
        mocker.patch.object(
            type(session.application), "SaveModifications", side_effect=lambda: told.wait(PATIENCE)
        )
        with modifications(patient, PLAN, approval):
            pass
    assert told.is_set()
