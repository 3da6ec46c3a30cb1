"""The engine against DCMTK's dcmqrscp and against Orthanc: what a clinic's peer would do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_peers import Node
from stardust_esapi.errors import TransferError, UsageError, VerifyError
from stardust_esapi.model import IMAGE_KINDS, Kind, TransferRequest
from stardust_esapi.settings import Network
from stardust_esapi.transfer.network.qr_engine import QrEngine
from stardust_esapi.verify.inspect import inspect_folder


@pytest.fixture(params=["dcmqrscp", "orthanc"])
def node(request: pytest.FixtureRequest) -> Node:
    return request.getfixturevalue(f"{request.param}_node")


@pytest.fixture(params=["move", "get"])
def network(
    request: pytest.FixtureRequest, node: Node, network_of: Callable[..., Network]
) -> Network:
    return network_of(node.address, retrieve=request.param)


def fetch(engine: QrEngine, request: TransferRequest, folder: Path) -> list[int]:
    """Fetch into a new folder and prove it; gives the progress."""
    folder.mkdir()
    progress: list[int] = []
    engine.fetch(request, folder, progress.append)
    inspect_folder(folder, request, "0" * 16)
    return progress


def test_every_kind_arrives_whole(archive, network: Network, tmp_path: Path) -> None:
    with QrEngine(network, tmp_path / "quarantine") as engine:
        for kind in Kind:
            request = archive.request(kind)
            images = request.images if kind in IMAGE_KINDS else 0
            assert fetch(engine, request, tmp_path / kind) == list(range(1, images + 1))
        assert engine.quarantined == ()
    assert not (tmp_path / "quarantine").exists()
    names = {kind: sorted(p.name[:3] for p in (tmp_path / kind).iterdir()) for kind in Kind}
    assert names == {
        Kind.CT: ["CT."] * 20 + ["RS."],
        Kind.KM: ["CT."] * 12,
        Kind.MR: ["MR."] * 14 + ["RE."],
        Kind.DOSE: ["RD."],
        Kind.PLAN: ["RP."],
    }
    sent = {ds.SOPInstanceUID: ds for ds in archive.datasets()}
    for path in tmp_path.rglob("*.dcm"):
        ds = dcmread(path)
        assert path.name[3:] == f"{ds.SOPInstanceUID}.dcm"
        assert ds == sent[ds.SOPInstanceUID]


def test_series_arrive_side_by_side_in_their_own_folders(
    archive, network: Network, tmp_path: Path
) -> None:
    requests = [archive.request(kind) for kind in IMAGE_KINDS]
    requests.append(replace(archive.request(uids=archive.other), structure_set_uid=""))
    requests.append(archive.request())  # another case of the same series
    with QrEngine(network, tmp_path / "quarantine") as engine, ThreadPoolExecutor(5) as pool:
        jobs = [
            pool.submit(fetch, engine, request, tmp_path / str(number))
            for number, request in enumerate(requests)
        ]
        for job, request in zip(jobs, requests, strict=True):
            assert job.result(60)[-1] == request.images
        assert engine.quarantined == ()


def test_a_structure_set_in_another_study_is_found_and_refused(
    archive, network: Network, tmp_path: Path
) -> None:
    request = archive.request(uids=archive.other)
    with (
        QrEngine(network, tmp_path / "quarantine") as engine,
        pytest.raises(VerifyError, match=r"RS\..* is of another study than the images"),
    ):
        fetch(engine, request, tmp_path / "ct")
    assert engine.quarantined == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"series_uid": "1.2.3"}, "holds 0 of its 20 images"),
        ({"images": 21}, "holds 20 of its 21 images"),
        ({"structure_set_uid": "1.2.4"}, "does not hold its structure set 1.2.4"),
        ({"registration_uid": "1.2.5"}, "does not hold its registration 1.2.5"),
    ],
)
def test_what_the_peer_does_not_hold_is_said(
    archive, node: Node, network_of, tmp_path: Path, changes, words: str
) -> None:
    request = replace(archive.request(), **changes)
    (tmp_path / "ct").mkdir()
    with (
        QrEngine(network_of(node.address), tmp_path / "quarantine") as engine,
        pytest.raises(TransferError, match=words) as caught,
    ):
        engine.fetch(request, tmp_path / "ct", lambda _: None)
    for part in (request.patient_id, request.series_uid, node.address):
        assert part in str(caught.value)
    assert not list((tmp_path / "ct").iterdir())


def test_an_unknown_destination_is_said_once_and_in_words(
    archive, dcmqrscp_node: Node, network_of, tmp_path: Path
) -> None:
    network = network_of(dcmqrscp_node.address, destination="ELSEWHERE", retries=20)
    (tmp_path / "ct").mkdir()
    with (
        QrEngine(network, tmp_path / "quarantine") as engine,
        pytest.raises(TransferError, match=r"does not know the destination ELSEWHERE.*A801"),
    ):
        engine.fetch(archive.request(), tmp_path / "ct", lambda _: None)
    assert not list((tmp_path / "ct").iterdir())


def test_a_destination_that_the_peer_cannot_reach_is_said(
    archive, dcmqrscp_node: Node, network_of, tmp_path: Path
) -> None:
    network = network_of(dcmqrscp_node.address, destination="NOWHERE")
    (tmp_path / "ct").mkdir()
    with (
        QrEngine(network, tmp_path / "quarantine") as engine,
        pytest.raises(
            TransferError, match=r"21 of 21 instances did not arrive in 2 attempts.*A702"
        ) as caught,
    ):
        engine.fetch(archive.request(), tmp_path / "ct", lambda _: None)
    assert f"port {network.port}" in str(caught.value)


def test_an_ae_title_that_the_peer_refuses_is_said(
    archive, orthanc_node: Node, network_of, tmp_path: Path
) -> None:
    address = orthanc_node.address.replace("ORTHANC", "OTHANC")
    with (
        QrEngine(network_of(address, retries=20), tmp_path / "quarantine") as engine,
        pytest.raises(TransferError, match=r"Called AE title not recognised.*OTHANC"),
    ):
        engine.fetch(archive.request(), tmp_path, lambda _: None)


def test_a_port_that_is_taken_is_said(dcmqrscp_node: Node, network_of, tmp_path: Path) -> None:
    network = network_of(dcmqrscp_node.address, port=dcmqrscp_node.port)
    with (
        pytest.raises(UsageError, match=f"port {dcmqrscp_node.port}.*in use"),
        QrEngine(network, tmp_path / "quarantine"),
    ):
        pass


def test_without_a_peer_there_is_no_engine(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--peer"):
        QrEngine(Network(), tmp_path)
