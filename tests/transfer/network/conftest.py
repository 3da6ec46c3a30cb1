"""Peers that run for the whole session, and patients to fill them with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pynetdicom.transport import ThreadedAssociationServer

from dicom_peers import LOOPBACK, OUR_AET, Node, dcmqrscp, free_port, opened_sockets, orthanc, send
from esapi_stub.sample import (
    PatientUids,
    Phantom,
    PhantomContrast,
    PhantomDose,
    PhantomMr,
    write_phantom,
)
from stardust_esapi.model import Kind, TransferRequest
from stardust_esapi.settings import Network
from stardust_esapi.transfer.network import qr_engine
from support import PATIENCE

PATIENT = Phantom(
    "QR Ä-007",
    size=(32, 32, 20),
    contrast=PhantomContrast(slices=12),
    mr=PhantomMr(),
    dose=PhantomDose(size=(20, 16, 12)),
)
OTHER = Phantom("QR-008", size=(32, 32, 20))


@dataclass(frozen=True)
class Archive:
    """DICOM files of two patients.

    The second one's structure set lies in another study than its images.
    """

    patient: PatientUids
    other: PatientUids
    files: tuple[Path, ...]

    def datasets(self, patient_id: str = PATIENT.patient_id) -> list[Dataset]:
        """All of one patient, read anew."""
        return [ds for ds in map(dcmread, self.files) if ds.PatientID == patient_id]

    def request(self, kind: Kind = Kind.CT, uids: PatientUids | None = None) -> TransferRequest:
        """What a case asks for: the CT with its structure set, the MR with its registration, …"""
        uids = uids or self.patient
        objects = {Kind.DOSE: uids.dose_uid, Kind.PLAN: uids.plan_uid}
        if kind in objects:
            [found] = [ds for ds in map(dcmread, self.files) if ds.SOPInstanceUID == objects[kind]]
            return TransferRequest(
                kind=kind,
                patient_id=uids.patient_id,
                plan_id=uids.plan_id,
                study_uid=found.StudyInstanceUID,
                series_uid=found.SeriesInstanceUID,
                images=1,
                plan_uid=uids.plan_uid,
                dose_uid=uids.dose_uid if kind is Kind.DOSE else "",
            )
        series = {
            Kind.CT: uids.series_uid,
            Kind.KM: uids.km_series_uid,
            Kind.MR: uids.mr_series_uid,
        }[kind]
        of_series = [ds for ds in map(dcmread, self.files) if ds.SeriesInstanceUID == series]
        return TransferRequest(
            kind=kind,
            patient_id=uids.patient_id,
            plan_id=uids.plan_id,
            study_uid=of_series[0].StudyInstanceUID,
            series_uid=series,
            structure_set_uid=uids.structure_set_uid if kind is Kind.CT else "",
            registration_uid=uids.registration_uid if kind is Kind.MR else "",
            images=len(of_series),
        )


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("archive")
    patient = write_phantom(folder / "patient", PATIENT)
    other = write_phantom(folder / "other", OTHER)
    for path in (folder / "other").iterdir():
        ds = dcmread(path)
        if ds.SOPInstanceUID == other.structure_set_uid:
            ds.StudyInstanceUID = f"{ds.StudyInstanceUID[:50]}.9"
            ds.save_as(path)
    return Archive(patient, other, tuple(sorted(folder.rglob("*.dcm"))))


@pytest.fixture(scope="session")
def our_port() -> int:
    """Where our storage SCP listens in all tests of this process: the peers must know it."""
    return free_port()


@pytest.fixture(scope="session")
def dcmqrscp_node(
    tmp_path_factory: pytest.TempPathFactory, archive: Archive, our_port: int
) -> Iterator[Node]:
    with dcmqrscp(tmp_path_factory.mktemp("dcmqrscp") / "node", our_port) as node:
        assert set(send(archive.files, node.port, node.ae_title)) == {0}
        yield node


@pytest.fixture(scope="session")
def orthanc_node(
    tmp_path_factory: pytest.TempPathFactory, archive: Archive, our_port: int
) -> Iterator[Node]:
    with orthanc(tmp_path_factory.mktemp("orthanc") / "node", our_port) as node:
        assert set(send(archive.files, node.port, node.ae_title)) == {0}
        yield node


@pytest.fixture
def network_of(our_port: int) -> Callable[..., Network]:
    """Settings for a peer; changes as keywords."""

    def make(address: str, **changes: object) -> Network:
        given = {
            "peer": address,
            "aet": OUR_AET,
            "port": our_port,
            "bind": LOOPBACK,
            "timeout": PATIENCE,
            "retries": 1,
        }
        return Network.model_validate(given | changes)

    return make


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qr_engine, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(qr_engine, "_SETTLE", 0.2)
    serve = ThreadedAssociationServer.serve_forever  # notices after half a second that it is over
    monkeypatch.setattr(
        ThreadedAssociationServer, "serve_forever", partialmethod(serve, poll_interval=0.05)
    )


@pytest.fixture
def without_leaks() -> Iterator[None]:
    """Close what pynetdicom leaves to the garbage collector where it goes its own way."""
    before = opened_sockets()
    yield
    for one in opened_sockets() - before:
        one.close()


@pytest.fixture
def changed() -> Callable[..., Dataset]:
    """A copy of a dataset with some attributes changed."""

    def change(ds: Dataset, **attributes: object) -> Dataset:
        ds = copy.deepcopy(ds)
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
        return ds

    return change
