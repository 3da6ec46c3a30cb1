from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

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
TIMEOUT = 40.0


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


class Pauses(threading.Event):
    """What would end a collector's pauses; they take no time, and its clock shows them alone.

    Attributes:
        now: What the clock shows, seconds.
        meanwhile: What happens in the next pauses, one after the other.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.meanwhile: list[Callable[[], object]] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout
        self.now += timeout
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return self.is_set()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    pauses = Pauses()
    monkeypatch.setattr(file_daemon, "_PAUSE", TIMEOUT / 8)
    monkeypatch.setattr(file_daemon, "time", SimpleNamespace(monotonic=lambda: pauses.now))
    return pauses


@pytest.fixture
def collector(root: Path, pauses: Pauses) -> FolderCollector:
    return FolderCollector(root, TIMEOUT, pauses)


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


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _expected(source: Source) -> set[str]:
    images = {f"CT.{uid}.dcm" for uid in source.uids.sop_instance_uids}
    return {*images, f"RS.{source.uids.structure_set_uid}.dcm"}


def test_takes_what_was_asked_for_whatever_it_is_called(
    collector: FolderCollector, root: Path, staging: Path, source: Source
) -> None:
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
    collector: FolderCollector, root: Path, staging: Path, source: Source, other: Source
) -> None:
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
    collector: FolderCollector, root: Path, staging: Path, source: Source, tmp_path: Path
) -> None:
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
    collector: FolderCollector, root: Path, staging: Path, source: Source
) -> None:
    uid, folder = source.uids.structure_set_uid, root / PATIENT
    stale = source.send(uid, folder)
    os.utime(stale, ns=(1, 1))
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
    collector: FolderCollector, root: Path, staging: Path, source: Source, pauses: Pauses
) -> None:
    uid = source.uids.structure_set_uid
    data = source.files[uid].read_bytes()
    path = root / PATIENT / "slow.dcm"
    snapshot = collector.expect(PATIENT)

    def write(part: int) -> None:
        with path.open("ab") as file:
            file.write(data[part * len(data) // 5 : (part + 1) * len(data) // 5])

    for part in range(5):
        pauses.meanwhile += [partial(write, part), *[lambda: None] * 5]
    collector.collect(snapshot, [uid], staging, lambda _: None)
    assert pauses.now > 2 * TIMEOUT, "the time-out counts from the last progress"
    assert (staging / f"RS.{uid}.dcm").read_bytes() == data


def test_a_file_that_stays_half_written_is_missing(
    collector: FolderCollector, root: Path, staging: Path, source: Source
) -> None:
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
    tmp_path: Path, staging: Path, patient_id: str, other: Source, pauses: Pauses
) -> None:
    root = tmp_path / "import"
    source = _source(tmp_path / "odd", patient_id)
    (root / "008").mkdir(parents=True)
    (root / "a file.txt").write_text("")
    bystander = other.send(other.uids.structure_set_uid, root / "008")
    collector = FolderCollector(root, TIMEOUT, pauses)
    snapshot = collector.expect(patient_id)
    uid = source.uids.structure_set_uid
    source.send(uid, root / "A_7 as the daemon likes")
    collector.collect(snapshot, [uid], staging, lambda _: None)
    assert _names(staging) == {f"RS.{uid}.dcm"}
    assert bystander.exists()


def test_waits_for_the_patients_first_folder(
    collector: FolderCollector, root: Path, staging: Path, source: Source, pauses: Pauses
) -> None:
    (root / PATIENT).rmdir()
    snapshot = collector.expect(PATIENT)
    uid = source.uids.structure_set_uid
    pauses.meanwhile += [*[lambda: None] * 4, lambda: source.send(uid, root / PATIENT)]
    collector.collect(snapshot, [uid], staging, lambda _: None)
    assert _names(staging) == {f"RS.{uid}.dcm"}
    assert not pauses.meanwhile


def test_what_cannot_be_removed_may_still_be_in_use(
    collector: FolderCollector,
    root: Path,
    staging: Path,
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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
    monkeypatch.setattr(Path, "unlink", unlink)
    collector.collect(snapshot, [uid], staging, lambda _: None)
    assert _names(staging) == {f"RS.{uid}.dcm"}


def test_an_import_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=r"nowhere cannot be read.*network\.deliver"):
        FolderCollector(tmp_path / "nowhere", TIMEOUT).expect(PATIENT)


def test_a_cancelled_wait_ends(
    collector: FolderCollector, root: Path, staging: Path, pauses: Pauses
) -> None:
    snapshot = collector.expect(PATIENT)
    pauses.meanwhile.append(pauses.set)
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
