from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esapi_stub.sample import PatientUids, Phantom, PhantomMr, write_phantom
from stardust_esapi.dicom.instance import identify
from stardust_esapi.errors import TransferError, VerifyError
from stardust_esapi.transfer.network import file_daemon
from stardust_esapi.transfer.network.file_daemon import FolderCollector

PATIENT = "007 Ä-ß"
TIMEOUT = 0.4


@dataclass(frozen=True)
class Source:
    """What Eclipse's database holds of one patient: files by SOP Instance UID."""

    uids: PatientUids
    files: Mapping[str, Path]

    @property
    def wanted(self) -> list[str]:
        return [*self.uids.sop_instance_uids, self.uids.structure_set_uid]

    def send(self, uid: str, folder: Path, name: str = "") -> Path:
        """Do as the daemon: drop the file, over an older one where there is one."""
        folder.mkdir(exist_ok=True)
        return Path(shutil.copyfile(self.files[uid], folder / (name or f"{uid[-9:]}.dcm")))


def _source(folder: Path, patient_id: str) -> Source:
    phantom = Phantom(patient_id, size=(8, 8, 3), mr=PhantomMr(size=(8, 8, 2)))
    uids = write_phantom(folder, phantom)
    return Source(uids, {pydicom.dcmread(p).SOPInstanceUID: p for p in folder.iterdir()})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return _source(tmp_path_factory.mktemp("source"), PATIENT)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return _source(tmp_path_factory.mktemp("other"), "008")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_daemon, "_PAUSE", 0.05)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "import"
    (root / PATIENT).mkdir(parents=True)
    return root


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    staging = tmp_path / "staging"
    staging.mkdir()
    return staging


@pytest.fixture
def later() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Do something while the collector waits."""
    threads = []

    def start(action: Callable[[], object]) -> None:
        threads.append(threading.Thread(target=action))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _expected(source: Source) -> set[str]:
    images = {f"CT.{uid}.dcm" for uid in source.uids.sop_instance_uids}
    return {*images, f"RS.{source.uids.structure_set_uid}.dcm"}


def test_takes_what_was_asked_for_whatever_it_is_called(
    root: Path, staging: Path, source: Source
) -> None:
    collector = FolderCollector(root, TIMEOUT)
    snapshot = collector.expect(PATIENT)
    for number, uid in enumerate(source.wanted):
        source.send(uid, root / PATIENT, f"RD.{number}.tmp")
    told: list[int] = []
    collector.collect(snapshot, source.wanted, staging, told.append)
    assert _names(staging) == _expected(source)
    for uid in source.uids.sop_instance_uids:
        assert (staging / f"CT.{uid}.dcm").read_bytes() == source.files[uid].read_bytes()
    assert not _names(root / PATIENT), "what was collected would fill the import folder"
    assert told[-1] == 3, "the structure set is no image"
    assert told == sorted(told)


def test_leaves_everything_else_alone(
    root: Path, staging: Path, source: Source, other: Source
) -> None:
    collector = FolderCollector(root, TIMEOUT)
    snapshot = collector.expect(PATIENT)
    folder = root / PATIENT
    source.send(source.uids.plan_uid, folder, "plan.dcm")
    source.send(source.uids.registration_uid, folder, "not asked for.dcm")
    other.send(other.uids.structure_set_uid, folder, "another patient.dcm")
    (folder / "notes.txt").write_text("not DICOM")
    (folder / "sub").mkdir()
    stays = _names(folder)
    for uid in source.wanted:
        source.send(uid, folder)
    collector.collect(snapshot, source.wanted, staging, lambda _: None)
    assert _names(staging) == _expected(source)
    assert _names(folder) == stays


def test_a_wanted_instance_under_another_patient_id_is_foreign(
    root: Path, staging: Path, source: Source, tmp_path: Path
) -> None:
    collector = FolderCollector(root, TIMEOUT)
    snapshot = collector.expect(PATIENT)
    uid = source.uids.structure_set_uid
    mixed_up = pydicom.dcmread(source.files[uid])
    mixed_up.PatientID = "008"
    mixed_up.save_as(root / PATIENT / "RS.dcm")
    with pytest.raises(TransferError, match="1 of 1 instances"):
        collector.collect(snapshot, [uid], staging, lambda _: None)
    assert not _names(staging)
    assert _names(root / PATIENT) == {"RS.dcm"}


def test_what_lay_there_before_is_stale_until_it_is_sent_again(
    root: Path, staging: Path, source: Source
) -> None:
    uid, folder = source.uids.structure_set_uid, root / PATIENT
    stale = source.send(uid, folder)
    os.utime(stale, ns=(1, 1))
    collector = FolderCollector(root, TIMEOUT)
    snapshot = collector.expect(PATIENT)
    with pytest.raises(TransferError, match="before the request are not taken"):
        collector.collect(snapshot, [uid], staging, lambda _: None)
    assert stale.exists()
    assert not _names(staging)
    source.send(uid, folder)  # over the stale one
    collector.collect(snapshot, [uid], staging, lambda _: None)
    assert _names(staging) == {f"RS.{uid}.dcm"}
    assert not stale.exists()


def test_waits_for_a_file_that_is_being_written(
    root: Path, staging: Path, source: Source, later: Callable[[Callable[[], object]], None]
) -> None:
    uid = source.uids.structure_set_uid
    data = source.files[uid].read_bytes()
    path = root / PATIENT / "slow.dcm"
    collector = FolderCollector(root, 1.5)
    snapshot = collector.expect(PATIENT)

    def write_slowly() -> None:
        with path.open("wb", buffering=0) as file:
            for part in range(5):
                file.write(data[part * len(data) // 5 : (part + 1) * len(data) // 5])
                time.sleep(0.4)

    later(write_slowly)
    began = time.monotonic()
    collector.collect(snapshot, [uid], staging, lambda _: None)
    assert time.monotonic() - began > 1.5, "the time-out counts from the last progress"
    assert (staging / f"RS.{uid}.dcm").read_bytes() == data


def test_a_file_that_stays_half_written_is_missing(
    root: Path, staging: Path, source: Source
) -> None:
    collector = FolderCollector(root, TIMEOUT)
    snapshot = collector.expect(PATIENT)
    first, *rest = source.uids.sop_instance_uids
    half = root / PATIENT / "half.dcm"
    half.write_bytes(source.files[first].read_bytes()[:-1])
    for uid in rest:
        source.send(uid, root / PATIENT)
    with pytest.raises(TransferError, match=r"1 of 3 instances, such as .*half\.dcm is cut off"):
        collector.collect(snapshot, source.uids.sop_instance_uids, staging, lambda _: None)
    assert _names(staging) == {f"CT.{uid}.dcm" for uid in rest}
    assert _names(root / PATIENT) == {"half.dcm"}


@pytest.mark.parametrize("patient_id", ["A/7", "..", "NUL", "7."])
def test_finds_a_patient_whose_id_is_no_folder_name(
    tmp_path: Path, staging: Path, patient_id: str, other: Source
) -> None:
    root = tmp_path / "import"
    source = _source(tmp_path / "odd", patient_id)
    (root / "008").mkdir(parents=True)
    (root / "a file.txt").write_text("")
    bystander = other.send(other.uids.structure_set_uid, root / "008")
    collector = FolderCollector(root, TIMEOUT)
    snapshot = collector.expect(patient_id)
    uid = source.uids.structure_set_uid
    source.send(uid, root / "A_7 as the daemon likes")
    collector.collect(snapshot, [uid], staging, lambda _: None)
    assert _names(staging) == {f"RS.{uid}.dcm"}
    assert bystander.exists()


def test_waits_for_the_patients_first_folder(
    root: Path, staging: Path, source: Source, later: Callable[[Callable[[], object]], None]
) -> None:
    (root / PATIENT).rmdir()
    collector = FolderCollector(root, TIMEOUT)
    snapshot = collector.expect(PATIENT)
    uid = source.uids.structure_set_uid

    def send() -> None:
        time.sleep(TIMEOUT / 2)
        source.send(uid, root / PATIENT)

    later(send)
    collector.collect(snapshot, [uid], staging, lambda _: None)
    assert _names(staging) == {f"RS.{uid}.dcm"}


def test_what_cannot_be_removed_may_still_be_in_use(
    root: Path, staging: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = FolderCollector(root, TIMEOUT)
    snapshot = collector.expect(PATIENT)
    uid = source.uids.structure_set_uid
    path = source.send(uid, root / PATIENT)
    unlink = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self == path:  # as Windows does while another process writes to it
            raise PermissionError(13, "in use by another process", str(self))
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(TransferError, match="in use by another process"):
        collector.collect(snapshot, [uid], staging, lambda _: None)
    assert not _names(staging)
    monkeypatch.undo()
    collector.collect(snapshot, [uid], staging, lambda _: None)
    assert _names(staging) == {f"RS.{uid}.dcm"}


def test_an_import_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=r"nowhere cannot be read.*network\.deliver"):
        FolderCollector(tmp_path / "nowhere", TIMEOUT).expect(PATIENT)


def test_a_cancelled_wait_ends(root: Path, staging: Path) -> None:
    cancelled = threading.Event()
    collector = FolderCollector(root, 60, cancelled)
    snapshot = collector.expect(PATIENT)
    cancelled.set()
    with pytest.raises(TransferError, match="cancelled"):
        collector.collect(snapshot, ["1.2.3"], staging, lambda _: None)


@given(st.data())
def test_no_part_of_a_file_passes_for_the_whole(source: Source, data: st.DataObject) -> None:
    whole = source.files[
        data.draw(st.sampled_from([source.uids.sop_instance_uids[0], source.uids.registration_uid]))
    ].read_bytes()
    part = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(VerifyError):
        identify("part.dcm", part)
