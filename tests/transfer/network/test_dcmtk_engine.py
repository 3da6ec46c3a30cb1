"""The engine that runs DCMTK's programs, against dcmqrscp, Orthanc and a peer that misbehaves."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from pydicom import Dataset, dcmread

from dicom_peers import OUR_AET, Node, Rogue, wait_for_port
from stardust_esapi.errors import TransferError, UsageError
from stardust_esapi.model import Kind, TransferRequest
from stardust_esapi.settings import Network
from stardust_esapi.transfer.network import dcmtk, file_daemon
from stardust_esapi.transfer.network.dcmtk import DcmtkEngine, write_commands
from stardust_esapi.verify.inspect import inspect_folder
from support import PATIENCE, ending, until, without_waiting


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dcmtk, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(dcmtk, "_AFTER_FAILURE", 0.5)
    monkeypatch.setattr(file_daemon, "_PAUSE", 0.05)


@pytest.fixture
def dcmtk_network(network_of: Callable[..., Network]) -> Callable[..., Network]:
    """Settings for a peer, without an address that movescu could not keep to."""
    return lambda address, **changes: network_of(address, **({"bind": ""} | changes))


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / ".staging" / "case-CT"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def quarantine(tmp_path: Path) -> Path:
    return tmp_path / "quarantine"


@pytest.fixture
def rogue(archive, our_port: int) -> Iterator[Rogue]:
    with Rogue(archive.datasets(), our_port) as peer:
        yield peer


@contextmanager
def file_daemon_at(port: int, root: Path, patient_id: str) -> Iterator[None]:
    """Varian's File Daemon for one patient, played by storescp."""
    folder = root / patient_id
    folder.mkdir(parents=True, exist_ok=True)
    daemon = subprocess.Popen(["storescp", "-od", str(folder), str(port)])
    with ending(daemon):
        wait_for_port(port, daemon)
        yield


def fetch(engine: DcmtkEngine, request: TransferRequest, folder: Path) -> list[int]:
    """Fetch and prove; gives the progress."""
    told: list[int] = []
    engine.fetch(request, folder, told.append)
    inspect_folder(folder, request, "0" * 16)
    assert [p.name for p in folder.parent.iterdir()] == [folder.name], "something is left beside"
    return told


def programs(folder: Path, **fakes: str) -> Path:
    """DCMTK's programs, some of them replaced by shell scripts."""
    folder.mkdir()
    for name in ("findscu", "movescu", "getscu"):
        (folder / name).symlink_to(str(shutil.which(name)))
    for name, script in fakes.items():
        (folder / name).unlink()
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Node:
    node: Node = request.getfixturevalue(request.param)
    return node


@pytest.mark.parametrize(
    ("peer", "retrieve", "kind"),
    [
        ("dcmqrscp_node", "move", Kind.MR),
        ("dcmqrscp_node", "get", Kind.CT),
        ("orthanc_node", "move", Kind.KM),
        ("orthanc_node", "get", Kind.MR),
    ],
    indirect=["peer"],
)
def test_a_series_arrives_whole_with_what_belongs_to_it(
    archive,
    dcmtk_network: Callable[..., Network],
    staging: Path,
    quarantine: Path,
    peer: Node,
    kind: Kind,
    retrieve: str,
) -> None:
    network = dcmtk_network(peer.address, retrieve=retrieve)
    wanted = archive.request(kind)
    with DcmtkEngine(network, quarantine) as engine:
        told = fetch(engine, wanted, staging)
    assert told[-1] == max(told) == wanted.images
    sent = {ds.SOPInstanceUID: ds for ds in archive.datasets()}
    for path in staging.iterdir():
        ds = dcmread(path)
        assert path.name[3:] == f"{ds.SOPInstanceUID}.dcm"
        assert ds == sent[ds.SOPInstanceUID]
    assert not quarantine.exists()


def test_threads_take_turns_at_the_one_port(
    archive,
    dcmqrscp_node: Node,
    dcmtk_network: Callable[..., Network],
    tmp_path: Path,
    quarantine: Path,
) -> None:
    folders = [tmp_path / name / "staging" for name in ("case 1", "case 2")]
    with (
        ThreadPoolExecutor() as pool,
        DcmtkEngine(dcmtk_network(dcmqrscp_node.address, retries=0), quarantine) as engine,
    ):
        for folder in folders:
            folder.mkdir(parents=True)
        list(pool.map(lambda folder: fetch(engine, archive.request(Kind.KM), folder), folders))


def test_collects_what_the_file_daemon_was_sent(
    archive,
    dcmqrscp_node: Node,
    dcmtk_network: Callable[..., Network],
    our_port: int,
    tmp_path: Path,
    staging: Path,
    quarantine: Path,
) -> None:
    wanted, root = archive.request(Kind.MR), tmp_path / "import"
    network = dcmtk_network(
        dcmqrscp_node.address, aet="READER", destination=OUR_AET, deliver=f"folder:{root}"
    )
    with (
        file_daemon_at(our_port, root, wanted.patient_id),
        DcmtkEngine(network, quarantine) as engine,
    ):
        foreign = root / wanted.patient_id / "foreign.dcm"
        shutil.copyfile(archive.files[0], foreign)
        told = fetch(engine, wanted, staging)
    assert told[-1] == max(told) == wanted.images
    assert list(foreign.parent.iterdir()) == [foreign]


def test_a_file_daemon_that_gets_nothing_leaves_only_stale_files(
    archive,
    dcmqrscp_node: Node,
    dcmtk_network: Callable[..., Network],
    tmp_path: Path,
    staging: Path,
    quarantine: Path,
) -> None:
    wanted, root = archive.request(), tmp_path / "import"
    stale = root / wanted.patient_id
    stale.mkdir(parents=True)
    for path in archive.files:
        shutil.copyfile(path, stale / path.name)
    network = dcmtk_network(
        dcmqrscp_node.address, destination="ELSEWHERE", deliver=f"folder:{root}"
    )
    with (
        DcmtkEngine(network, quarantine) as engine,
        pytest.raises(TransferError, match=r"20 of 20 instances.*ELSEWHERE"),
    ):
        engine.fetch(wanted, staging, lambda _: None)
    assert not list(staging.iterdir())
    assert len(list(stale.iterdir())) == len(archive.files)


def test_an_unknown_destination_is_told_in_the_peers_words(
    archive,
    dcmqrscp_node: Node,
    dcmtk_network: Callable[..., Network],
    staging: Path,
    quarantine: Path,
) -> None:
    network = dcmtk_network(dcmqrscp_node.address, destination="ELSEWHERE")
    with (
        DcmtkEngine(network, quarantine) as engine,
        pytest.raises(
            TransferError, match=r"21 of 21.*MoveDestinationUnknown.*knows and reaches ELSEWHERE"
        ),
    ):
        engine.fetch(archive.request(), staging, lambda _: None)


def test_an_unknown_series_or_structure_set_is_told_before_anything_moves(
    archive,
    dcmqrscp_node: Node,
    dcmtk_network: Callable[..., Network],
    staging: Path,
    quarantine: Path,
) -> None:
    known = archive.request()
    with DcmtkEngine(dcmtk_network(dcmqrscp_node.address), quarantine) as engine:
        for change, message in (
            ({"series_uid": "1.2.3"}, "holds 0 of its 20 images"),
            ({"images": 21}, "holds 20 of its 21 images"),
            ({"structure_set_uid": "1.2.3"}, r"structure set 1\.2\.3"),
            ({"series_uid": "*"}, "is no UID"),
            ({"study_uid": "1.2\\1.3"}, "is no UID"),
        ):
            with pytest.raises(TransferError, match=message):
                engine.fetch(replace(known, **change), staging, lambda _: None)
    assert not list(staging.iterdir())


def test_success_with_less_than_was_asked_for_is_none(
    archive,
    rogue: Rogue,
    dcmtk_network: Callable[..., Network],
    staging: Path,
    quarantine: Path,
) -> None:
    rogue.script = lambda datasets: datasets[1:]  # and a C-MOVE status of success
    with (
        DcmtkEngine(dcmtk_network(rogue.address, retries=0), quarantine) as engine,
        pytest.raises(TransferError, match=r"1 of 12 instances.*movescu ended with 0"),
    ):
        engine.fetch(archive.request(Kind.KM), staging, lambda _: None)
    assert len(list(staging.iterdir())) == 11
    assert not quarantine.exists()


def test_a_second_attempt_asks_for_what_is_missing(
    archive,
    rogue: Rogue,
    dcmtk_network: Callable[..., Network],
    staging: Path,
    quarantine: Path,
) -> None:
    calls = []

    def forgetful(datasets: list[Dataset]) -> Iterable[Dataset]:
        calls.append(len(datasets))
        return datasets[:-1] if len(calls) == 1 else datasets

    rogue.script = forgetful
    with DcmtkEngine(dcmtk_network(rogue.address, retries=1), quarantine) as engine:
        fetch(engine, archive.request(), staging)
    assert calls == [20, 1, 20], "the structure set had come in the first attempt"


def test_what_nobody_asked_for_goes_to_quarantine(
    archive,
    rogue: Rogue,
    dcmtk_network: Callable[..., Network],
    staging: Path,
    quarantine: Path,
) -> None:
    [stranger, *_] = archive.datasets("QR-008")
    rogue.script = lambda datasets: [stranger, *datasets]
    heard: list[str] = []
    sink = logger.add(heard.append, level="DEBUG", format="{message}")
    try:
        with DcmtkEngine(dcmtk_network(rogue.address), quarantine) as engine:
            fetch(engine, archive.request(Kind.KM), staging)
    finally:
        logger.remove(sink)
    [aside] = quarantine.iterdir()
    assert dcmread(aside) == stranger
    text = "".join(heard)
    assert f"{stranger.SOPInstanceUID} was not taken: nobody asked for it" in text
    assert "Received Final Move Response" in text, "what the program said is in the log"
    assert "Phantom" not in text, "a patient's name"


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("PatientID", "QR-008", r"of another patient \(QR-008\)"),
        ("SeriesInstanceUID", "1.2.3", r"of another series \(1\.2\.3\)"),
    ],
)
def test_an_instance_that_is_not_what_it_should_be_stops_the_case(
    archive,
    rogue: Rogue,
    dcmtk_network: Callable[..., Network],
    changed: Callable[..., Dataset],
    staging: Path,
    quarantine: Path,
    keyword: str,
    value: str,
    message: str,
) -> None:
    rogue.script = lambda datasets: [changed(datasets[0], **{keyword: value}), *datasets[1:]]
    with (
        DcmtkEngine(dcmtk_network(rogue.address, retries=20), quarantine) as engine,
        pytest.raises(TransferError, match=message),
    ):
        engine.fetch(archive.request(Kind.KM), staging, lambda _: None)
    assert len(rogue.moves) == 1, "another attempt is no use"
    assert len(list(quarantine.iterdir())) == 1


def test_a_peer_that_is_not_there_is_told(
    archive, dcmtk_network: Callable[..., Network], staging: Path, quarantine: Path
) -> None:
    with (
        DcmtkEngine(dcmtk_network("NOBODY@127.0.0.1:1"), quarantine) as engine,
        pytest.raises(TransferError, match=r"NOBODY@127\.0\.0\.1:1.*Connection refused"),
    ):
        engine.fetch(archive.request(), staging, lambda _: None)


def test_a_missing_program_says_what_to_install(
    dcmtk_network: Callable[..., Network], tmp_path: Path, quarantine: Path
) -> None:
    network = dcmtk_network("PEER@127.0.0.1:1")
    with pytest.raises(UsageError, match=r"findscu is not in .*Install DCMTK"):
        DcmtkEngine(network, quarantine, tmp_path)
    some = programs(tmp_path / "bin")
    (some / "movescu").unlink()
    with pytest.raises(UsageError, match="movescu is not in"):
        DcmtkEngine(network, quarantine, some)
    DcmtkEngine(dcmtk_network("PEER@127.0.0.1:1", retrieve="get"), quarantine, some)


HANGS = 'echo $$ > "$(dirname "$0")/pid"; exec sleep 3600'


def _started(pid_file: Path) -> bool:
    return pid_file.exists() and pid_file.read_text().endswith("\n")


def _ended(pid_file: Path) -> bool:
    return not Path("/proc", pid_file.read_text().strip()).exists()


@pytest.mark.parametrize("program", ["findscu", "movescu"])
def test_a_program_that_hangs_is_ended(
    archive,
    dcmqrscp_node: Node,
    dcmtk_network: Callable[..., Network],
    tmp_path: Path,
    staging: Path,
    quarantine: Path,
    program: str,
) -> None:
    folder = programs(tmp_path / "bin", **{program: HANGS})
    network = dcmtk_network(dcmqrscp_node.address, retries=0)

    class Engine(DcmtkEngine):
        """Short of time only where it waits in vain."""

        def _wait(self, name: str, *arguments: Any) -> None:
            if name == program:
                until(lambda: _started(folder / "pid"))
                self._network = network.model_copy(update={"timeout": 0.5})
            super()._wait(name, *arguments)

    with (
        Engine(network, quarantine, folder) as engine,
        pytest.raises(TransferError, match=rf"{program} gave no sign of life for 0\.5 s"),
    ):
        engine.fetch(archive.request(), staging, lambda _: None)
    assert _ended(folder / "pid")
    assert not list(staging.iterdir())


def test_a_cancelled_fetch_ends_soon(
    archive,
    dcmqrscp_node: Node,
    dcmtk_network: Callable[..., Network],
    tmp_path: Path,
    staging: Path,
    quarantine: Path,
) -> None:
    folder = programs(tmp_path / "bin", movescu=HANGS)
    network = dcmtk_network(dcmqrscp_node.address, retries=20)
    with ThreadPoolExecutor() as pool, DcmtkEngine(network, quarantine, folder) as engine:
        running = pool.submit(engine.fetch, archive.request(), staging, lambda _: None)
        until(lambda: _started(folder / "pid"))
        engine.cancel()
        with without_waiting(), pytest.raises(TransferError, match="cancelled"):
            running.result(PATIENCE)
        assert _ended(folder / "pid")
        with pytest.raises(TransferError, match="cancelled"):
            engine.fetch(archive.request(), staging, lambda _: None)


@pytest.mark.parametrize(("retrieve", "kinds"), [("move", [Kind.KM]), ("get", [Kind.CT, Kind.MR])])
def test_the_scripts_move_the_same_without_this_program(
    archive,
    dcmqrscp_node: Node,
    dcmtk_network: Callable[..., Network],
    tmp_path: Path,
    retrieve: str,
    kinds: list[Kind],
) -> None:
    network = dcmtk_network(dcmqrscp_node.address, retrieve=retrieve)
    requests = [archive.request(kind) for kind in kinds]
    _, script = write_commands(requests, network, tmp_path)
    subprocess.run([script], check=True, capture_output=True, timeout=PATIENCE)
    received = tmp_path / "received"
    for request in requests:
        folder = received / request.kind.folder / "QR %C3%84-007" / request.series_uid
        found = [dcmread(path) for path in folder.iterdir()]
        companion = request.structure_set_uid or request.registration_uid
        uids = {ds.SOPInstanceUID for ds in found}
        assert len(uids) == request.images + bool(companion)
        assert not companion or companion in uids
        assert {ds.PatientID for ds in found} == {request.patient_id}
    assert len(list(received.iterdir())) == len(kinds)
