from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dsutils import split_dataset

from dicom_peers import Authority, no_socket_left, reset
from esapi_stub import daemon as daemon_module
from esapi_stub.api.application import open_application
from esapi_stub.build import build
from esapi_stub.daemon import Daemon, Faults, Tls
from esapi_stub.database import DatabaseError
from esapi_stub.holdings import Instance, find
from esapi_stub.profiles import PROFILES, MoveOverTls, Profile, Refusal, UidLists
from esapi_stub.pynetdicom_private import keep_answers
from esapi_stub.sample import Phantom, PhantomContrast, PhantomMr, write_phantom
from support import PATIENCE, ending, until, without_waiting

VERIFICATION = "1.2.840.10008.1.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
RS = "1.2.840.10008.5.1.4.1.1.481.3"
STORAGE = (CT, MR, RS, "1.2.840.10008.5.1.4.1.1.481.5", "1.2.840.10008.5.1.4.1.1.66.1")
ANY = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless)

PHANTOM = Phantom(
    "Prüfkörper 12",
    patient_name="Gläsern^Ännchen",
    size=(24, 20, 8),
    spacing=(6.0, 6.0, 5.0),
    contrast=PhantomContrast(slices=4, offset=6.5),
    mr=PhantomMr(size=(12, 10, 5)),
)
OTHER = Phantom("0012", patient_name="Muster^Max", size=(12, 10, 3), spacing=(9.0, 9.0, 9.0))


@pytest.fixture(scope="module")
def clinic(tmp_path_factory) -> Path:
    """Databases are made once and copied where a test changes them."""
    folder = tmp_path_factory.mktemp("clinic")
    write_phantom(folder / "dicom" / "a", PHANTOM)
    write_phantom(folder / "dicom" / "b", OTHER)
    build(folder / "dicom", folder / "db")
    return folder


@pytest.fixture(scope="module")
def originals(clinic) -> dict[str, Path]:
    """The files that went into the database, by SOP Instance UID."""
    found = sorted((clinic / "dicom").rglob("*.dcm"))
    return {str(pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID): p for p in found}


@pytest.fixture(scope="module")
def series(originals) -> list[str]:
    """SOP Instance UIDs of the planning CT."""
    heads = {uid: pydicom.dcmread(p, stop_before_pixels=True) for uid, p in originals.items()}
    return [uid for uid, d in heads.items() if d.SeriesInstanceUID == PHANTOM.uid("CT")]


@dataclass
class Receiver:
    """A storage SCP."""

    port: int
    stored: list[tuple[str, bytes, str]] = field(default_factory=list)
    answer: Callable[[str], int] = lambda _: 0x0000

    @property
    def uids(self) -> list[str]:
        return [uid for uid, _, _ in self.stored]


@contextmanager
def receiving(
    ae_title: str = "RECV", syntaxes=ANY, port: int = 0, tls: Tls | None = None
) -> Iterator[Receiver]:
    ae = AE(ae_title)
    ae.require_called_aet = True
    for sop_class in STORAGE:
        ae.add_supported_context(sop_class, list(syntaxes))

    def store(event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        by = event.request.MoveOriginatorApplicationEntityTitle
        receiver.stored.append((uid, event.encoded_dataset(include_meta=False), str(by)))
        return receiver.answer(uid)

    server = ae.start_server(
        ("127.0.0.1", port),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, store)],
        ssl_context=tls.server_context() if tls else None,
    )
    receiver = Receiver(server.server_address[1])
    try:
        yield receiver
    finally:
        server.shutdown()


@contextmanager
def asking(daemon: Daemon, *, syntaxes=ANY, tls: Tls | None = None):
    """An association that can find, move and get; what it gets lands in ``.stored``."""
    ae = AE("ASKER")
    stored: list[tuple[str, bytes]] = []

    def store(event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        stored.append((uid, event.encoded_dataset(include_meta=False)))
        return 0x0000

    association = ae.associate(
        "127.0.0.1",
        daemon.port,
        # One context for each transfer syntax, as the peer takes only one of each.
        contexts=[build_context(model) for model in (VERIFICATION, FIND, MOVE, GET)]
        + [build_context(one, syntax) for one in STORAGE for syntax in syntaxes],
        ae_title="VMSDBD1",
        ext_neg=[build_role(one, scp_role=True) for one in STORAGE],
        evt_handlers=[(evt.EVT_C_STORE, store)],
        tls_args=(tls.client_context(), "127.0.0.1") if tls else None,
    )
    assert association.is_established
    keep_answers(association)
    association.stored = stored
    try:
        yield association
    finally:
        association.release()


def keys(level: str, **values) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    if any(not value.isascii() for value in values.values() if isinstance(value, str)):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in values.items():
        setattr(identifier, keyword, value)
    return identifier


def found(association, identifier: Dataset) -> list[Dataset]:
    """The answers of a C-FIND that ends well."""
    *pending, (last, _) = association.send_c_find(identifier, FIND)
    assert last.Status == 0x0000
    assert all(status.Status in (0xFF00, 0xFF01) for status, _ in pending)
    return [answer for _, answer in pending]


def moved(association, identifier: Dataset, to: str = "RECV") -> tuple[Dataset, Dataset | None]:
    """The last response of a C-MOVE and its identifier."""
    *_, last = association.send_c_move(identifier, to, MOVE)
    return last


def counts(status: Dataset) -> tuple[int, int, int]:
    """Completed, failed, warning."""
    return tuple(
        status[f"NumberOf{what}Suboperations"].value for what in ("Completed", "Failed", "Warning")
    )


def content(path: Path) -> bytes:
    """A file's dataset as it is encoded."""
    return path.read_bytes()[split_dataset(path)[1] :]


def ct_of(phantom: Phantom) -> Dataset:
    return keys(
        "SERIES", StudyInstanceUID=phantom.uid("study"), SeriesInstanceUID=phantom.uid("CT")
    )


def dcmtk(program: str, daemon: Daemon, *arguments: object, cwd: Path | None = None) -> None:
    command = [program, "-aec", "VMSDBD1", *map(str, arguments), "127.0.0.1", str(daemon.port)]
    subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True, cwd=cwd)


@pytest.fixture(scope="module")
def shared(clinic) -> Iterator[tuple[Daemon, Receiver]]:
    """A daemon and a receiver for the tests that leave both as they are."""
    with (
        receiving() as receiver,
        Daemon(clinic / "db", destinations={"RECV": ("127.0.0.1", receiver.port)}) as daemon,
    ):
        yield daemon, receiver


@pytest.fixture
def pair(shared) -> tuple[Daemon, Receiver]:
    daemon, receiver = shared
    receiver.stored.clear()
    receiver.answer = lambda _: 0x0000
    daemon.faults = Faults()
    return daemon, receiver


def test_it_answers_to_its_name_only(shared) -> None:
    daemon, _ = shared
    with asking(daemon) as association:
        assert association.send_c_echo().Status == 0x0000
    dcmtk("echoscu", daemon)
    ae = AE()
    ae.add_requested_context(VERIFICATION)
    assert ae.associate("127.0.0.1", daemon.port, ae_title="OTHER").is_rejected


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        (keys("STUDY", StudyInstanceUID=""), 3),
        (keys("STUDY", StudyInstanceUID="", PatientID="0012"), 1),
        (keys("STUDY", PatientID="12"), 0),
        (keys("STUDY", PatientID="Prüf*1?"), 2),
        (keys("STUDY", PatientID="Prüf*?2?"), 0),
        (keys("STUDY", PatientID="*"), 3),
        (keys("STUDY", PatientName="gläsern^*"), 2),
        (keys("STUDY", PatientName="gläsern"), 0),
        (keys("STUDY", ModalitiesInStudy="MR"), 1),
        (keys("STUDY", StudyDate="19000101-"), 3),
        (keys("STUDY", StudyDate="-19000101"), 0),
        (keys("STUDY", StudyDate="19000101-19000102"), 0),
        (keys("STUDY", StudyInstanceUID=[PHANTOM.uid("study"), OTHER.uid("study")]), 2),
        (keys("SERIES", StudyInstanceUID=PHANTOM.uid("study")), 5),
        (keys("SERIES", StudyInstanceUID=PHANTOM.uid("study"), Modality="CT"), 2),
        (keys("SERIES", StudyInstanceUID=OTHER.uid("study"), Modality="MR"), 0),
        (keys("SERIES", SeriesInstanceUID=PHANTOM.uid("CT")), 1),
        (keys("SERIES", SeriesInstanceUID="1.2.3"), 0),
        (keys("IMAGE", SeriesInstanceUID=PHANTOM.uid("CT")), 8),
        (keys("IMAGE", SeriesInstanceUID=PHANTOM.uid("CT"), InstanceNumber="3"), 1),
        (keys("IMAGE", StudyInstanceUID=OTHER.uid("study"), Modality="CT"), 3),
    ],
    ids=lambda value: "-" if isinstance(value, int) else "_".join(e.keyword for e in value),
)
def test_find(pair, identifier, expected) -> None:
    with asking(pair[0]) as association:
        answers = found(association, identifier)
    assert len(answers) == expected
    asked = {e.keyword for e in identifier} - {"SpecificCharacterSet"}
    for answer in answers:
        extra = {e.keyword for e in answer} - asked
        assert extra - {"SpecificCharacterSet"} == {"RetrieveAETitle"}


def test_find_tells_what_the_files_say(pair, originals) -> None:
    wanted = ("SOPInstanceUID", "SOPClassUID", "Modality", "SeriesInstanceUID", "PatientName")
    values = dict.fromkeys(("PatientID", "PatientBirthDate", "InstanceNumber", *wanted), "")
    with asking(pair[0]) as association:
        answers = found(association, keys("IMAGE", StudyInstanceUID="", **values))
    assert {a.SOPInstanceUID for a in answers} == set(originals)
    assert len(answers) == len(originals)
    for answer in answers:
        truth = pydicom.dcmread(originals[answer.SOPInstanceUID], stop_before_pixels=True)
        for keyword in (*values, "StudyInstanceUID"):
            assert str(answer[keyword].value or "") == str(truth.get(keyword) or ""), keyword


def test_find_counts(pair) -> None:
    with asking(pair[0]) as association:
        (study,) = found(
            association,
            keys(
                "STUDY",
                StudyInstanceUID=PHANTOM.uid("study"),
                ModalitiesInStudy="",
                NumberOfStudyRelatedSeries="",
                NumberOfStudyRelatedInstances="",
            ),
        )
        (one,) = found(
            association,
            keys("SERIES", SeriesInstanceUID=PHANTOM.uid("KM"), NumberOfSeriesRelatedInstances=""),
        )
    assert list(study.ModalitiesInStudy) == ["CT", "REG", "RTPLAN", "RTSTRUCT"]
    assert study.NumberOfStudyRelatedSeries == 5
    assert study.NumberOfStudyRelatedInstances == 8 + 4 + 3
    assert one.NumberOfSeriesRelatedInstances == 4


def test_find_says_which_requests_it_cannot_serve(pair) -> None:
    with asking(pair[0]) as association:
        unsupported = keys("STUDY", StudyInstanceUID="", PatientComments="secret")
        *pending, _ = association.send_c_find(unsupported, FIND)
        assert [status.Status for status, _ in pending] == [0xFF01] * 3
        assert all("PatientComments" not in answer for _, answer in pending)
        ((status, _),) = association.send_c_find(keys("PATIENT", PatientID=""), FIND)
        assert status.Status == 0xA900


def test_findscu(pair, tmp_path) -> None:
    query = ("-S", "-k", "0008,0052=SERIES", "-k", f"0020,000D={PHANTOM.uid('MR study')}")
    dcmtk(
        "findscu", pair[0], *query, "-k", "0020,000E", "-k", "0008,0060=MR", "-X", "-od", tmp_path
    )
    (answer,) = (pydicom.dcmread(path, force=True) for path in tmp_path.iterdir())
    assert (answer.SeriesInstanceUID, answer.Modality) == (PHANTOM.uid("MR"), "MR")


# With a wildcard at either end it still fits into LO's 64 characters.
TEXT = st.characters(exclude_categories=["C"], exclude_characters="\\*?")


@given(text=st.text(TEXT, min_size=1, max_size=62))
def test_wildcards_match_what_they_stand_for(text) -> None:
    text = text.strip() or "x"
    held = Dataset()
    held.SOPInstanceUID = held.StudyInstanceUID = held.SeriesInstanceUID = "1.2"
    held.StudyDescription = text
    one = Instance(Path(), CT, "", {element.keyword: element for element in held})
    for pattern, fits in (
        (text, True),
        ("*" + text[1:], True),
        (text[:-1] + "?", True),
        ("?" * len(text), True),
        ("?" * (len(text) + 1), False),
        (text + "?", False),
        ("*" + text + "*", True),
        (text + "x", False),
    ):
        identifier = keys("STUDY", StudyDescription=pattern)
        assert bool(list(find([one], identifier, "STUDY", strict=False))) is fits, pattern


def test_strict_wants_the_keys_of_the_levels_above(clinic, series) -> None:
    alone = keys("SERIES", SeriesInstanceUID=PHANTOM.uid("CT"))
    empty = keys("SERIES", SeriesInstanceUID=PHANTOM.uid("CT"), StudyInstanceUID="")
    image = keys("IMAGE", SOPInstanceUID=series[0])
    with (
        receiving() as receiver,
        Daemon(
            clinic / "db",
            destinations={"RECV": ("127.0.0.1", receiver.port)},
            profile=Profile(strict=True),
        ) as daemon,
        asking(daemon) as association,
    ):
        assert [len(found(association, one)) for one in (alone, empty, image)] == [0, 1, 0]
        for identifier, expected in ((alone, 0), (image, 0), (empty, 8)):
            status, _ = moved(association, identifier)
            assert (status.Status, counts(status)) == (0x0000, (expected, 0, 0))


def test_move_delivers_the_files_as_they_are(pair, originals) -> None:
    daemon, receiver = pair
    with asking(daemon) as association:
        for identifier, expected in (
            (keys("STUDY", StudyInstanceUID=PHANTOM.uid("study")), 15),
            (keys("SERIES", SeriesInstanceUID=PHANTOM.uid("CT")), 8),
            (ct_of(OTHER), 3),
            (keys("IMAGE", SOPInstanceUID=PHANTOM.uid("RTSTRUCT")), 1),
            (keys("SERIES", SeriesInstanceUID=[PHANTOM.uid("KM"), PHANTOM.uid("MR")]), 9),
            (keys("SERIES", SeriesInstanceUID="1.2.3"), 0),
            (keys("SERIES", StudyInstanceUID=PHANTOM.uid("study")), 0),
        ):
            receiver.stored.clear()
            responses = list(association.send_c_move(identifier, "RECV", MOVE))
            assert [s.Status for s, _ in responses] == [0xFF00] * expected + [0x0000]
            remaining = [s.NumberOfRemainingSuboperations for s, _ in responses[:-1]]
            assert remaining == list(range(expected))[::-1]
            assert counts(responses[-1][0]) == (expected, 0, 0)
            assert len(set(receiver.uids)) == len(receiver.stored) == expected
            for uid, encoded, mover in receiver.stored:
                assert encoded == content(originals[uid])
                assert mover == "ASKER"


def test_move_to_nobody(clinic) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        closed = reserved.getsockname()
    with (
        no_socket_left(),
        Daemon(clinic / "db", destinations={"DEAF": closed}) as daemon,
        asking(daemon) as association,
    ):
        for name in ("DEAF", "UNKNOWN"):
            status, _ = moved(association, ct_of(PHANTOM), name)
            assert status.Status == 0xA801
        absent = keys("SERIES", SeriesInstanceUID="1.2.3")
        assert moved(association, absent, "UNKNOWN")[0].Status == 0xA801
        assert association.send_c_echo().Status == 0x0000


def test_what_the_receiver_refuses_is_named(pair, series) -> None:
    daemon, receiver = pair
    refused = sorted(series)[2:4]
    receiver.answer = lambda uid: 0xA700 if uid in refused else 0x0000
    with asking(daemon) as association:
        status, identifier = moved(association, ct_of(PHANTOM))
        assert (status.Status, counts(status)) == (0xB000, (6, 2, 0))
        assert sorted(identifier.FailedSOPInstanceUIDList) == refused
        receiver.answer = lambda _: 0xA700
        status, identifier = moved(association, ct_of(PHANTOM))
        assert (status.Status, counts(status)) == (0xA702, (0, 8, 0))
        assert sorted(identifier.FailedSOPInstanceUIDList) == sorted(series)
        receiver.answer = lambda _: 0xB000
        status, identifier = moved(association, ct_of(PHANTOM))
        assert (status.Status, counts(status)) == (0xB000, (0, 0, 8))


def cancelled(daemon: Daemon) -> bool:
    """Whether a C-CANCEL has come, and waits to be seen."""
    return any(association.dimse.cancel_req for association in daemon._ae.active_associations)


def test_a_cancelled_move_stops(pair) -> None:
    daemon, receiver = pair

    def wait_in_the_middle(_: str) -> int:
        if len(receiver.stored) > 1:
            until(lambda: cancelled(daemon))
        return 0x0000

    receiver.answer = wait_in_the_middle
    with asking(daemon) as association:
        responses = association.send_c_move(ct_of(PHANTOM), "RECV", MOVE, msg_id=7)
        assert next(responses)[0].Status == 0xFF00
        association.send_c_cancel(7, query_model=MOVE)
        *_, (last, _) = responses
        assert last.Status == 0xFE00
        assert last.NumberOfCompletedSuboperations == len(receiver.stored) == 2
        assert last.NumberOfRemainingSuboperations == 8 - len(receiver.stored)
        receiver.answer = lambda _: 0x0000
        assert counts(moved(association, ct_of(OTHER))[0]) == (3, 0, 0)


def test_get_delivers_the_files_as_they_are(pair, originals) -> None:
    with asking(pair[0]) as association:
        responses = list(
            association.send_c_get(keys("STUDY", StudyInstanceUID=PHANTOM.uid("study")), GET)
        )
        assert responses[-1][0].Status == 0x0000
        assert counts(responses[-1][0]) == (15, 0, 0)
        assert len(dict(association.stored)) == len(association.stored) == 15
        for uid, encoded in association.stored:
            assert encoded == content(originals[uid])
        assert association.send_c_echo().Status == 0x0000


@pytest.mark.parametrize("program", ["movescu", "getscu"])
def test_dcmtk_receives_the_files_as_they_are(clinic, originals, tmp_path, program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    with Daemon(clinic / "db", destinations={"DCMTK": ("127.0.0.1", port)}) as daemon:
        own = ("-aem", "DCMTK", "+P", port) if program == "movescu" else ()
        query = ("-S", "-k", "0008,0052=SERIES", "-k", f"0020,000E={PHANTOM.uid('CT')}")
        # movescu 3.6.7 takes no notice of -od with +B: it writes where it is started.
        dcmtk(program, daemon, "-aet", "DCMTK", *own, "+B", *query, cwd=tmp_path)
    stored = sorted(tmp_path.iterdir())
    assert len(stored) == 8
    for path in stored:
        uid = str(split_dataset(path)[0].MediaStorageSOPInstanceUID)
        assert content(path) == content(originals[uid])


def test_movescu_cancels(clinic, tmp_path) -> None:
    with receiving("SLOW") as receiver:

        def wait_in_the_middle(_: str) -> int:
            if len(receiver.stored) > 3:
                until(lambda: cancelled(daemon))
            return 0x0000

        receiver.answer = wait_in_the_middle
        with Daemon(clinic / "db", destinations={"SLOW": ("127.0.0.1", receiver.port)}) as daemon:
            query = ("-S", "-k", "0008,0052=SERIES", "-k", f"0020,000E={PHANTOM.uid('CT')}")
            dcmtk("movescu", daemon, "--cancel", 2, "-aem", "SLOW", *query)
    assert 2 <= len(receiver.stored) <= 4


def test_decoded_only_where_the_receiver_cannot_take_the_file(tmp_path) -> None:
    write_phantom(tmp_path / "dicom", OTHER)
    compressed = 0
    for path in (tmp_path / "dicom").rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        if dataset.SOPClassUID == CT and dataset.InstanceNumber != 1:
            dataset.compress(RLELossless, generate_instance_uid=False)
            dataset.save_as(path)
            compressed += 1
    assert compressed == 2
    build(tmp_path / "dicom", tmp_path / "db")
    truth = {str(d.SOPInstanceUID): d for d in map(pydicom.dcmread, tmp_path.glob("dicom/*.dcm"))}
    with (
        receiving(syntaxes=[ImplicitVRLittleEndian]) as receiver,
        Daemon(tmp_path / "db", destinations={"RECV": ("127.0.0.1", receiver.port)}) as daemon,
        asking(daemon, syntaxes=[ImplicitVRLittleEndian]) as association,
    ):
        study = keys("STUDY", StudyInstanceUID=OTHER.uid("study"))
        assert counts(moved(association, study)[0]) == (5, 0, 0)
        *_, (status, _) = association.send_c_get(study, GET)
        assert counts(status) == (5, 0, 0)
        received = [(uid, encoded) for uid, encoded, _ in receiver.stored] + association.stored
    assert Counter(uid for uid, _ in received) == dict.fromkeys(truth, 2)
    for uid, encoded in received:
        (tmp_path / "received").write_bytes(encoded)
        dataset = pydicom.dcmread(tmp_path / "received", force=True)
        assert dataset.SOPInstanceUID == uid
        if dataset.SOPClassUID == CT:
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            assert (dataset.pixel_array == truth[uid].pixel_array).all()
        else:
            assert dataset == truth[uid]


@pytest.fixture
def application(clinic, tmp_path):
    """ESAPI on a copy of the database."""
    shutil.copytree(clinic / "db", tmp_path / "db")
    opened = open_application(tmp_path / "db")
    yield opened
    opened.Dispose()


def test_structure_sets_saved_a_second_ago_are_delivered(application, tmp_path) -> None:
    patient = application.OpenPatientById(OTHER.patient_id)
    with (
        receiving() as receiver,
        Daemon(tmp_path / "db", destinations={"RECV": ("127.0.0.1", receiver.port)}) as daemon,
        asking(daemon) as association,
    ):

        def labels() -> set[str]:
            query = {"PatientID": OTHER.patient_id, "Modality": "RTSTRUCT", "StructureSetLabel": ""}
            return {a.StructureSetLabel for a in found(association, keys("IMAGE", **query))}

        before = labels()
        assert len(before) == 1
        patient.BeginModifications()
        (source,) = patient.StructureSets
        created = source.Image.CreateNewStructureSet()
        for revision, identifier in ((1, "zCopyFromPlan"), (2, "again")):
            known = labels()
            created.Id = identifier
            assert labels() == known
            application.SaveModifications()
            patient.BeginModifications()
            assert labels() == before | {identifier}
            status, _ = moved(association, keys("IMAGE", SOPInstanceUID=created.UID))
            assert counts(status) == (1, 0, 0)
            (saved,) = tmp_path.rglob(f"RS.{created.UID}.{revision}.dcm")
            assert receiver.stored.pop()[:2] == (created.UID, content(saved))
        created.Delete()
        application.SaveModifications()
        assert labels() == before


def test_a_database_built_anew_is_served(tmp_path) -> None:
    write_phantom(tmp_path / "one", OTHER)
    write_phantom(tmp_path / "two", Phantom("P2", size=(12, 10, 3), spacing=(9.0, 9.0, 9.0)))
    build(tmp_path / "one", tmp_path / "db")
    query = keys("STUDY", PatientID="")
    with Daemon(tmp_path / "db") as daemon, asking(daemon) as association:
        assert [a.PatientID for a in found(association, query)] == ["0012"]
        build(tmp_path / "two", tmp_path / "db")
        assert [a.PatientID for a in found(association, query)] == ["P2"]
        shutil.rmtree(tmp_path / "db")
        *_, (status, _) = association.send_c_find(query, FIND)
        assert status.Status == 0xC311
    with pytest.raises(DatabaseError, match="no stub database"):
        Daemon(tmp_path / "db").start()


def test_file_daemon(clinic, originals, tmp_path) -> None:
    with (
        Daemon(clinic / "db", file_daemons={"VMSFD1": tmp_path / "in"}) as daemon,
        asking(daemon) as association,
    ):
        for study in (PHANTOM.uid("study"), PHANTOM.uid("MR study"), OTHER.uid("study")):
            identifier = keys("STUDY", StudyInstanceUID=study)
            assert moved(association, identifier, "VMSFD1")[0].Status == 0x0000
    # Whatever the C-MOVE says, the folder is complete only when the File Daemon is through.
    written = sorted(path for path in (tmp_path / "in").rglob("*") if path.is_file())
    assert len(written) == len(originals)
    for path in written:
        prefix, uid = re.fullmatch(r"(CT|MR|RS|RP|RE)\.([0-9.]+)\.dcm", path.name).groups()
        assert path.read_bytes() == originals[uid].read_bytes()
        dataset = pydicom.dcmread(path)
        assert path.parent == tmp_path / "in" / dataset.PatientID
        names = {"RTSTRUCT": "RS", "RTPLAN": "RP", "REG": "RE"}
        assert names.get(dataset.Modality, dataset.Modality) == prefix


def test_file_daemon_writes_in_place(clinic, originals, tmp_path, monkeypatch) -> None:
    go_on = threading.Event()
    pause = SimpleNamespace(sleep=lambda _: go_on.wait(PATIENCE))
    monkeypatch.setattr(daemon_module, "time", pause)
    uid = PHANTOM.uid("RTSTRUCT")
    with (
        Daemon(clinic / "db", file_daemons={"VMSFD1": tmp_path}) as daemon,
        asking(daemon) as association,
    ):
        moved(association, keys("IMAGE", SOPInstanceUID=uid), "VMSFD1")
        path = tmp_path / PHANTOM.patient_id / f"RS.{uid}.dcm"
        try:
            until(lambda: path.is_file() and path.stat().st_size)
            assert path.stat().st_size < originals[uid].stat().st_size
        finally:
            go_on.set()
    assert path.read_bytes() == originals[uid].read_bytes()


@pytest.mark.parametrize("patient_id", ["..", "../../x", "a/b", "C:\\x"])
def test_file_daemon_stays_in_its_folder(tmp_path, patient_id) -> None:
    write_phantom(tmp_path / "dicom", OTHER)
    for path in (tmp_path / "dicom").rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.PatientID = patient_id
        dataset.save_as(path)
    build(tmp_path / "dicom", tmp_path / "db")
    with (
        Daemon(tmp_path / "db", file_daemons={"VMSFD1": tmp_path / "in"}) as daemon,
        asking(daemon) as association,
    ):
        moved(association, ct_of(OTHER), "VMSFD1")
    (patient,) = (tmp_path / "in").iterdir()
    assert len(list(patient.glob("CT.*.dcm"))) == 3
    assert {p.name for p in tmp_path.iterdir()} == {"dicom", "db", "in"}


def test_faults_of_what_arrives(pair, series, originals, tmp_path) -> None:
    daemon, receiver = pair
    foreign = originals[OTHER.uid("RTSTRUCT")]
    with asking(daemon) as association:

        def arriving(**faults) -> list[str]:
            daemon.faults = Faults(**faults)
            receiver.stored.clear()
            status, _ = moved(association, ct_of(PHANTOM))
            assert status.Status == 0x0000
            claimed.append(counts(status))
            return receiver.uids

        claimed = []
        whole = arriving()
        assert sorted(whole) == sorted(series)
        assert arriving(drop_last=True) == whole[:-1]
        assert arriving(duplicate=True) == [whole[0], *whole]
        assert arriving(reorder=True) == whole[::-1]
        assert arriving(foreign=foreign) == [*whole, OTHER.uid("RTSTRUCT")]
        assert claimed == [(8, 0, 0), (8, 0, 0), (9, 0, 0), (8, 0, 0), (9, 0, 0)]
        daemon.faults = Faults(drop_last=True)
        *_, (status, _) = association.send_c_get(ct_of(PHANTOM), GET)
        assert counts(status) == (8, 0, 0)
        assert len(association.stored) == 7


@pytest.mark.parametrize("request_name", ["send_c_move", "send_c_get"])
def test_fault_of_a_daemon_that_is_killed(pair, request_name) -> None:
    daemon, receiver = pair
    daemon.faults = Faults(close_after=3)
    with asking(daemon) as association:
        to = ("RECV",) if request_name == "send_c_move" else ()
        model = MOVE if request_name == "send_c_move" else GET
        *_, (status, _) = getattr(association, request_name)(ct_of(PHANTOM), *to, model)
        assert "Status" not in status
        until(lambda: association.is_aborted)
        assert len(receiver.stored) + len(association.stored) == 3
    daemon.faults = Faults()
    with asking(daemon) as association:
        assert counts(moved(association, ct_of(PHANTOM))[0]) == (8, 0, 0)


@pytest.mark.parametrize("after", [0, 8])
def test_fault_of_a_daemon_that_falls_silent(pair, after) -> None:
    daemon, receiver = pair
    daemon.faults = Faults(stall_after=after)
    with asking(daemon) as association:
        responses = association.send_c_move(ct_of(PHANTOM), "RECV", MOVE)
        for _ in range(after):
            assert next(responses)[0].Status == 0xFF00
        association.dimse_timeout = 0.5  # nothing will come
        [(status, _)] = responses
        assert "Status" not in status
        assert association.is_aborted
    assert len(receiver.stored) == after
    until(lambda: not busy())
    daemon.faults = Faults()
    with asking(daemon) as association:
        assert counts(moved(association, ct_of(OTHER))[0]) == (3, 0, 0)


@pytest.mark.parametrize("after", [0, 3])
def test_no_socket_is_left_of_a_peer_that_is_killed_in_a_move(pair, after) -> None:
    daemon, receiver = pair
    daemon.faults = Faults(stall_after=after)
    with no_socket_left(), asking(daemon) as association:
        responses = association.send_c_move(ct_of(PHANTOM), "RECV", MOVE)
        until(lambda: len(receiver.stored) == after)
        reset(association.dul.socket.socket)
        assert "Status" not in list(responses)[-1][0]
        until(lambda: not busy())


def test_no_socket_is_left_of_a_destination_that_is_killed(clinic) -> None:
    with no_socket_left(), socket.create_server(("127.0.0.1", 0)) as server:
        destinations = {"KILLED": server.getsockname()}
        with (
            Daemon(clinic / "db", destinations=destinations) as daemon,
            asking(daemon) as association,
        ):
            answers = association.send_c_move(ct_of(PHANTOM), "KILLED", MOVE)
            connection, _ = server.accept()
            assert connection.recv(1) == b"\x01"  # A-ASSOCIATE-RQ
            reset(connection)
            assert [status.Status for status, _ in answers] == [0xA801]


class LateEvent(threading.Event):
    """Whoever waits for it is slow to get going."""

    def wait(self, timeout: float | None = None) -> bool:
        waited = not self.is_set()
        happened = super().wait(timeout)
        if waited:
            time.sleep(0.02)
        return happened


def test_no_answer_is_lost_where_the_sending_loop_is_late(pair, monkeypatch) -> None:
    """As on a busy computer: it wakes when the next request is already under way."""
    daemon, receiver = pair
    make = Association.__init__

    def make_late(association, *arguments, **named) -> None:
        make(association, *arguments, **named)
        association._reactor_checkpoint = LateEvent()
        association._reactor_checkpoint.set()

    with asking(daemon) as association:
        monkeypatch.setattr(Association, "__init__", make_late)
        assert counts(moved(association, ct_of(PHANTOM))[0]) == (8, 0, 0)
    assert len(receiver.stored) == 8


_others: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def _note_others() -> None:
    """Threads of other tests may still wait for a peer that is gone."""
    _others.update(threading.enumerate())


def busy() -> list[str]:
    """Threads of this test that serve an association."""
    names = [thread.name for thread in threading.enumerate() if thread not in _others]
    return [name for name in names if name.startswith(("AcceptorThread", "RequestorThread"))]


@pytest.mark.parametrize("silent", ["daemon", "receiver"])
def test_it_stops_though_somebody_is_silent(clinic, silent) -> None:
    released = threading.Event()
    with receiving() as receiver:
        faults = Faults(stall_after=2) if silent == "daemon" else Faults()
        receiver.answer = lambda _: (silent == "receiver" and released.wait(PATIENCE)) and 0
        daemon = Daemon(
            clinic / "db", destinations={"RECV": ("127.0.0.1", receiver.port)}, faults=faults
        )
        try:
            with daemon, asking(daemon) as association:
                responses = association.send_c_move(ct_of(PHANTOM), "RECV", MOVE)
                until(lambda: len(receiver.stored) == (2 if silent == "daemon" else 1))
                with without_waiting():
                    daemon.stop()
                assert "Status" not in list(responses)[-1][0]
        finally:
            released.set()
    until(lambda: not busy())


def test_nothing_is_sent_on_for_somebody_who_is_gone(pair) -> None:
    daemon, receiver = pair

    def gone() -> bool:
        served = [one for one in daemon._ae.active_associations if one.is_acceptor]
        return all(map(daemon._over, served))

    def wait_in_the_middle(_: str) -> int:
        if len(receiver.stored) > 1:
            until(gone)
        return 0x0000

    receiver.answer = wait_in_the_middle
    with asking(daemon) as association:
        responses = association.send_c_move(ct_of(PHANTOM), "RECV", MOVE)
        next(responses)
        association.abort()
    until(lambda: not busy())
    assert len(receiver.stored) == 2


def test_several_at_once(pair) -> None:
    daemon, receiver = pair
    ended = []

    def move() -> None:
        with asking(daemon) as association:
            ended.append(counts(moved(association, ct_of(PHANTOM))[0]))

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [(8, 0, 0)] * 4
    assert set(Counter(receiver.uids).values()) == {4}


def accepted(association) -> set[str]:
    """The services that an association may ask for."""
    offered = {str(context.abstract_syntax) for context in association.accepted_contexts}
    return offered & {VERIFICATION, FIND, MOVE, GET}


def test_the_db_daemon_offers_no_get_and_has_one_encoding(clinic, originals, tmp_path) -> None:
    with (
        receiving() as receiver,
        Daemon(
            clinic / "db",
            destinations={"RECV": ("127.0.0.1", receiver.port)},
            profile=PROFILES["dbdaemon"],
        ) as daemon,
        asking(daemon) as association,
    ):
        assert accepted(association) == {VERIFICATION, FIND, MOVE}
        syntaxes = {context.transfer_syntax[0] for context in association.accepted_contexts}
        assert syntaxes == {ImplicitVRLittleEndian}
        asked = {"PatientID": PHANTOM.patient_id, "PatientName": ""}
        assert found(association, keys("STUDY", **asked)) == []  # asked in Unicode
        latin = Dataset()
        latin.QueryRetrieveLevel, latin.SpecificCharacterSet = "STUDY", "ISO_IR 100"
        latin.PatientID, latin.PatientName = PHANTOM.patient_id, ""
        answers = found(association, latin)
        assert len(answers) == 2
        for answer in answers:
            assert answer.SpecificCharacterSet == "ISO_IR 100"
            assert (answer.PatientID, answer.PatientName) == (
                PHANTOM.patient_id,
                PHANTOM.patient_name,
            )
        study = keys("STUDY", StudyInstanceUID=PHANTOM.uid("study"))
        assert counts(moved(association, study)[0]) == (15, 0, 0)
    for uid, encoded, _ in receiver.stored:
        (tmp_path / "received").write_bytes(encoded)
        dataset = pydicom.dcmread(tmp_path / "received", force=True)
        assert dataset.is_implicit_VR
        assert dataset.SpecificCharacterSet == "ISO_IR 100"
        truth = pydicom.dcmread(originals[uid])
        truth.decode()
        truth.SpecificCharacterSet = "ISO_IR 100"
        assert dataset == truth


@pytest.mark.parametrize("lists", UidLists)
def test_a_list_of_uids_is_matched_or_not(clinic, lists) -> None:
    found_of = {UidLists.MATCHED: 2, UidLists.ONE_UID: 0, UidLists.FIRST: 1}
    moved_of = {UidLists.MATCHED: 9, UidLists.ONE_UID: 0, UidLists.FIRST: 4}
    several = keys("SERIES", SeriesInstanceUID=[PHANTOM.uid("KM"), PHANTOM.uid("MR")])
    with (
        receiving() as receiver,
        Daemon(
            clinic / "db",
            destinations={"RECV": ("127.0.0.1", receiver.port)},
            profile=Profile(uid_lists=lists),
        ) as daemon,
        asking(daemon) as association,
    ):
        *rows, (last, _) = association.send_c_find(several, FIND)
        status, _ = moved(association, several)
        if lists is UidLists.FAILURE:
            assert (last.Status, status.Status) == (0xA900, 0xA900)
        else:
            assert (last.Status, len(rows)) == (0x0000, found_of[lists])
            assert (status.Status, counts(status)) == (0x0000, (moved_of[lists], 0, 0))
        assert counts(moved(association, ct_of(OTHER))[0]) == (3, 0, 0)


@pytest.mark.parametrize("refusal", Refusal)
def test_one_association_too_many_is_refused(clinic, refusal) -> None:
    def third() -> Association:
        entity = AE("THIRD")
        entity.acse_timeout = entity.connection_timeout = PATIENCE
        entity.add_requested_context(VERIFICATION)
        return entity.associate("127.0.0.1", daemon.port, ae_title="VMSDBD1")

    profile = Profile(associations=2, refusal=refusal)
    with Daemon(clinic / "db", profile=profile) as daemon, ExitStack() as others:
        for _ in range(2):
            others.enter_context(asking(daemon))
        if refusal is Refusal.WAIT:
            with ThreadPoolExecutor() as pool:
                waiting = pool.submit(third)
                until(lambda: len(daemon._ae.active_associations) == 3)
                others.close()
                association = waiting.result(PATIENCE)
        else:
            with without_waiting():
                refused = third()
            assert not refused.is_established
            assert refused.is_rejected is (refusal in (Refusal.TRANSIENT, Refusal.PERMANENT))
            others.close()
            association = third()
        assert association.send_c_echo().Status == 0x0000
        association.release()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Tls:
    one = Authority(tmp_path_factory.mktemp("tls") / "clinic").certificate("node")
    return Tls(one.certificate, one.key, one.ca)


def test_the_dicom_services_fail_with_many_series_at_once(clinic) -> None:
    study = keys("STUDY", StudyInstanceUID=PHANTOM.uid("study"))
    with (
        receiving() as receiver,
        Daemon(
            clinic / "db",
            destinations={"RECV": ("127.0.0.1", receiver.port)},
            profile=PROFILES["dicom-services"],
        ) as daemon,
        asking(daemon) as association,
    ):
        assert accepted(association) == {VERIFICATION, FIND, MOVE, GET}
        *_, (got, _) = association.send_c_get(study, GET)
        for status in (got, moved(association, study)[0]):
            assert status.Status == 0xC001
            assert status.ErrorComment == "Unexpected exception during MOVE"
        assert counts(moved(association, ct_of(PHANTOM))[0]) == (8, 0, 0)
        *_, (got, _) = association.send_c_get(ct_of(PHANTOM), GET)
        assert counts(got) == (8, 0, 0)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of pynetdicom's own receiver
@pytest.mark.parametrize("how", MoveOverTls)
def test_a_move_over_tls_is_served_or_not(clinic, certificates, how) -> None:
    profile = Profile(move_over_tls=how)
    with (
        receiving(tls=certificates) as receiver,
        Daemon(
            clinic / "db",
            destinations={"RECV": ("127.0.0.1", receiver.port)},
            profile=profile,
            tls=certificates,
        ) as daemon,
        asking(daemon, tls=certificates) as association,
    ):
        assert (MOVE in accepted(association)) is (how is not MoveOverTls.NOT_OFFERED)
        if how is not MoveOverTls.NOT_OFFERED:
            expected = {
                MoveOverTls.SERVED: 0x0000,
                MoveOverTls.FAILURE: 0xC001,
                MoveOverTls.EACH_FAILS: 0xB000,
                MoveOverTls.SENT_PLAIN: 0xA801,
                MoveOverTls.NOTHING: 0x0000,
            }
            assert moved(association, ct_of(PHANTOM))[0].Status == expected[how]
        assert len(receiver.stored) == (8 if how is MoveOverTls.SERVED else 0)
        *_, (got, _) = association.send_c_get(ct_of(PHANTOM), GET)
        assert counts(got) == (8, 0, 0)


def serve(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "esapi_stub", "serve", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_line(clinic, tmp_path, number) -> None:
    arguments = ("--aet", "VMSDBD1", "--port", 0, "--file-daemon", f"VMSFD1={tmp_path}")
    with receiving() as receiver:
        destination = ("--destination", f"RECV@127.0.0.1:{receiver.port}")
        process = serve(clinic / "db", *arguments, *destination, "--profile", "dbdaemon")
        with ending(process):
            line = process.stdout.readline()
            port = int(re.search(r"as VMSDBD1@127\.0\.0\.1:(\d+)\.", line)[1])
            query = ("-S", "-k", "0008,0052=SERIES", "-k", f"0020,000E={OTHER.uid('CT')}")
            for name in ("RECV", "VMSFD1"):
                command = [
                    "movescu",
                    "-aec",
                    "VMSDBD1",
                    "-aem",
                    name,
                    *query,
                    "127.0.0.1",
                    str(port),
                ]
                subprocess.run(command, check=True, timeout=PATIENCE)
            process.send_signal(number)
            rest, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, rest) == (0, "VMSDBD1 has stopped.\n")
    assert len(receiver.stored) == len(list((tmp_path / "0012").glob("CT.*.dcm"))) == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--destination", "RECV"], "AE@HOST:PORT"),
        (["--file-daemon", "VMSFD1"], "AE=FOLDER"),
        (["--aet", "A" * 17], "Choose another --aet"),
        (["--profile", "siemens"], "dicom-services"),
        (["--tls", "own.pem", "own.key", "ca.pem"], "own.pem"),
        (["--host", "192.0.2.1"], "Choose another --aet, --host or --port"),
    ],
)
def test_command_line_mistakes(clinic, run_stub, arguments, told) -> None:
    done = run_stub("serve", clinic / "db", "--port", 0, *arguments)
    assert done.code == 2
    assert told in done.err
    assert "Traceback" not in done.text


def test_a_port_in_use_is_told(clinic, run_stub) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_stub("serve", clinic / "db", "--port", taken.getsockname()[1])
    assert done.code == 2
    assert "cannot be served" in done.err
