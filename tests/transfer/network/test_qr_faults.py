"""What goes wrong on a network: each ends with nothing lost and nothing wrong on disk."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from loguru import logger
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, evt
from pynetdicom.acse import ACSE

from dicom_peers import (
    LOOPBACK,
    OUR_AET,
    Rogue,
    Script,
    dcmqrscp,
    no_socket_left,
    reset,
    send,
)
from stardust_esapi.errors import TransferError
from stardust_esapi.model import Kind, TransferRequest
from stardust_esapi.transfer.network import inbox, qr_engine
from stardust_esapi.transfer.network.association import PeerAssociation
from stardust_esapi.transfer.network.qr_engine import QrEngine
from stardust_esapi.verify.inspect import inspect_folder
from support import PATIENCE, until, without_waiting


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "series").mkdir()
    return tmp_path / "series"


@pytest.fixture
def quarantine(tmp_path: Path) -> Path:
    return tmp_path / "quarantine"


@pytest.fixture
def rogue_of(archive, our_port: int) -> Iterator[Callable[..., Rogue]]:
    """Start a peer that holds the patient and follows a script."""
    started = []

    def make(script: Script = lambda datasets: datasets, **given: object) -> Rogue:
        given = {"datasets": archive.datasets()} | given
        started.append(Rogue(our_port=our_port, script=script, **given).__enter__())
        return started[-1]

    yield make
    for rogue in started:
        rogue.__exit__()


def files_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def assert_nothing_wrong(folder: Path, archive, request: TransferRequest) -> None:
    """What is there is whole and of the request, under its final name."""
    sent = {ds.SOPInstanceUID: ds for ds in archive.datasets(request.patient_id)}
    for path in folder.iterdir():
        ds = dcmread(path)
        assert path.name[2:] == f".{ds.SOPInstanceUID}.dcm"
        assert ds == sent[ds.SOPInstanceUID]


def refuse(engine: QrEngine, request: TransferRequest, folder: Path, words: str) -> str:
    with pytest.raises(TransferError, match=words) as caught:
        engine.fetch(request, folder, lambda _: None)
    for part in (request.patient_id, request.series_uid):
        assert part in str(caught.value)
    return str(caught.value)


# The peer breaks off.


def test_a_peer_killed_in_the_middle_is_said(
    archive, network_of, our_port: int, tmp_path: Path, folder: Path, quarantine: Path
) -> None:
    with dcmqrscp(tmp_path / "node", our_port) as node:
        send(archive.files, node.port, node.ae_title)
        with (
            QrEngine(network_of(node.address), quarantine) as engine,
            pytest.raises(TransferError, match=r"\d+ of 21 instances did not arrive in 2 attempts"),
        ):
            engine.fetch(archive.request(), folder, lambda n: node.kill() if n == 5 else None)
    assert 5 <= len(files_in(folder)) < 21
    assert_nothing_wrong(folder, archive, archive.request())
    assert not quarantine.exists()


def test_a_peer_that_comes_back_is_asked_for_the_rest(
    archive, network_of, our_port: int, tmp_path: Path, folder: Path, quarantine: Path
) -> None:
    counts: list[int] = []

    def advance(count: int) -> None:
        counts.append(count)
        if count == 5:
            node.kill()
            node.start()

    with dcmqrscp(tmp_path / "node", our_port) as node:
        send(archive.files, node.port, node.ae_title)
        with QrEngine(network_of(node.address), quarantine) as engine:
            engine.fetch(archive.request(), folder, advance)
    assert counts == list(range(1, 21))
    inspect_folder(folder, archive.request(), "0" * 16)
    assert not quarantine.exists()


@contextmanager
def silent_server() -> Iterator[int]:
    """Takes connections and says nothing."""
    with socket.create_server((LOOPBACK, 0), backlog=50) as server:
        yield server.getsockname()[1]


def test_a_peer_that_never_answers_is_given_up(
    archive, network_of, folder: Path, quarantine: Path
) -> None:
    with silent_server() as port:
        network = network_of(f"SILENT@{LOOPBACK}:{port}", timeout=0.5, retries=1)
        with QrEngine(network, quarantine) as engine:
            with without_waiting():
                refuse(engine, archive.request(), folder, "SILENT.*(did not agree|no sign of life)")
    assert files_in(folder) == []


def test_a_peer_that_is_not_there_is_said(
    archive, network_of, folder: Path, quarantine: Path
) -> None:
    with silent_server() as port:
        pass
    network = network_of(f"GONE@{LOOPBACK}:{port}")
    with no_socket_left(), QrEngine(network, quarantine) as engine:
        refuse(engine, archive.request(), folder, f"no connection to {LOOPBACK}:{port}")


def test_no_socket_is_left_of_peers_that_are_killed(
    archive, network_of, our_port: int, folder: Path, quarantine: Path
) -> None:
    """Neither where we have called, nor where we were called: at once or in the middle of a PDU."""
    with no_socket_left(), socket.create_server((LOOPBACK, 0)) as server:
        network = network_of(f"KILLED@{LOOPBACK}:{server.getsockname()[1]}", retries=0)
        with ThreadPoolExecutor() as pool, QrEngine(network, quarantine) as engine:
            job = pool.submit(engine.fetch, archive.request(), folder, lambda _: None)
            connection, _ = server.accept()
            assert connection.recv(1) == b"\x01"  # A-ASSOCIATE-RQ
            for sent in (b"", b"\x01\x00\x00\x00\x01"):
                caller = socket.create_connection((LOOPBACK, our_port))
                caller.sendall(sent)
                reset(caller)
            storing = AE("KILLED")
            storing.add_requested_context(CTImageStorage)
            association = storing.associate(LOOPBACK, our_port, ae_title=OUR_AET)
            assert association.is_established
            association.dul.socket.socket.sendall(b"\x04\x00\x00\x00\x10\x00")  # P-DATA-TF
            reset(association.dul.socket.socket)
            reset(connection)
            with pytest.raises(TransferError, match="KILLED"):
                job.result(PATIENCE)


def test_a_transfer_that_stalls_is_broken_off(
    archive, network_of, rogue_of, folder: Path, quarantine: Path
) -> None:
    def stall(datasets: list[Dataset]) -> list[Dataset]:
        engine._network = network.model_copy(
            update={"timeout": 0.5}
        )  # what came before took longer
        rogue.over.wait(PATIENCE)
        return datasets

    rogue = rogue_of(stall)
    network = network_of(rogue.address, retries=0)
    with QrEngine(network, quarantine) as engine, without_waiting():
        refuse(engine, archive.request(Kind.KM), folder, "no sign of life for 0.5 s")
    assert files_in(folder) == []


def test_a_slow_transfer_is_not_broken_off(
    archive, network_of, rogue_of, folder: Path, quarantine: Path, monkeypatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(inbox, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def take_time(_: evt.Event) -> None:
        now[0] += 0.9 * PATIENCE
        time.sleep(0.1)  # for whoever watches to look

    network = network_of(rogue_of(pause=take_time).address, retries=0)
    with QrEngine(network, quarantine) as engine:
        engine.fetch(archive.request(Kind.KM), folder, lambda _: None)
    assert now[0] > 10 * network.timeout
    inspect_folder(folder, archive.request(Kind.KM), "0" * 16)


def test_cancelling_ends_what_runs_and_tells_the_peer(
    archive, network_of, rogue_of, folder: Path, quarantine: Path, monkeypatch
) -> None:
    monkeypatch.setattr(qr_engine, "_CANCEL_GRACE", PATIENCE)
    running = threading.Event()

    def wait_once_it_runs(event: evt.Event) -> None:
        if running.is_set():
            until(lambda: event.assoc.dimse.cancel_req or rogue.over.is_set())

    rogue = rogue_of(pause=wait_once_it_runs)
    with (
        ThreadPoolExecutor() as pool,
        QrEngine(network_of(rogue.address, retries=9), quarantine) as engine,
    ):
        job = pool.submit(engine.fetch, archive.request(), folder, lambda _: running.set())
        assert running.wait(PATIENCE)
        engine.cancel()
        with without_waiting(), pytest.raises(TransferError, match="cancelled"):
            job.result(PATIENCE)
        refuse(engine, archive.request(), folder, "cancelled")
    assert rogue.cancelled
    assert len(files_in(folder)) < 21
    assert_nothing_wrong(folder, archive, archive.request())


def test_cancelling_does_not_wait_for_a_peer_that_ignores_it(
    archive, network_of, rogue_of, folder: Path, quarantine: Path, monkeypatch
) -> None:
    monkeypatch.setattr(qr_engine, "_CANCEL_GRACE", 0.2)
    asked = threading.Event()

    def ignore(datasets: list[Dataset]) -> list[Dataset]:
        asked.set()
        rogue.over.wait(PATIENCE)
        return datasets

    rogue = rogue_of(ignore)
    with (
        ThreadPoolExecutor() as pool,
        QrEngine(network_of(rogue.address), quarantine) as engine,
    ):
        job = pool.submit(engine.fetch, archive.request(), folder, lambda _: None)
        assert asked.wait(PATIENCE)
        engine.cancel()
        with without_waiting(), pytest.raises(TransferError, match="cancelled"):
            job.result(PATIENCE)


@pytest.mark.parametrize("when", ["before", "meanwhile", "again"])
def test_breaking_off_does_not_wait_for_a_release(
    archive, network_of, rogue_of, monkeypatch, when: str
) -> None:
    """Whoever watches does not know how far the other thread is."""
    with (
        without_waiting(),
        PeerAssociation(network_of(rogue_of().address), lambda _: 0, inbox.Pulse()) as peer,
    ):
        if when == "before":
            peer.break_off("enough")
        else:
            release = ACSE.send_release

            def send_release(acse: ACSE, is_response: bool = False) -> None:
                if not is_response and acse.assoc is peer._association:
                    peer.break_off("enough")
                    if when == "again":  # pynetdicom's loop may take the news for itself
                        until(lambda: not acse.assoc.dul.is_alive())
                        while acse.assoc.dul.receive_pdu():
                            pass
                        threading.Timer(0.1, peer.break_off, ["enough"]).start()
                else:
                    release(acse, is_response)

            monkeypatch.setattr(ACSE, "send_release", send_release)


# The peer says one thing and does another.


def test_a_slice_less_than_reported_is_noticed(
    archive, network_of, rogue_of, folder: Path, quarantine: Path
) -> None:
    lost = archive.patient.sop_instance_uids[7]
    rogue = rogue_of(lambda datasets: [ds for ds in datasets if ds.SOPInstanceUID != lost])
    with QrEngine(network_of(rogue.address, retries=2), quarantine) as engine:
        message = refuse(engine, archive.request(), folder, f"1 of 21 instances.*{lost}.*Success")
    assert "3 attempts" in message
    assert len(files_in(folder)) == 20
    assert_nothing_wrong(folder, archive, archive.request())


def test_only_what_is_missing_is_asked_for_again(
    archive, network_of, rogue_of, folder: Path, quarantine: Path
) -> None:
    lost = set(archive.patient.sop_instance_uids[3:5])

    def lose_once(datasets: list[Dataset]) -> list[Dataset]:
        if len(rogue.moves) > 1:
            return datasets
        return [ds for ds in datasets if ds.SOPInstanceUID not in lost]

    rogue = rogue_of(lose_once)
    with QrEngine(network_of(rogue.address), quarantine) as engine:
        fetched = engine.fetch(archive.request(), folder, lambda _: None)
    inspect_folder(folder, archive.request(), "0" * 16)
    assert not fetched.clean
    assert fetched.sender_report == (
        "C-MOVE: Success, 19 sub-operations completed, none failed, none with warnings."
        " Asked again: Success, 2 sub-operations completed, none failed, none with warnings."
    )
    series, structure_set, *rest = rogue.moves
    assert series.QueryRetrieveLevel == "SERIES"
    assert series.StudyInstanceUID == archive.patient.study_uid
    assert series.SeriesInstanceUID == archive.patient.series_uid
    assert structure_set.QueryRetrieveLevel == "IMAGE"
    assert structure_set.SOPInstanceUID == archive.patient.structure_set_uid
    assert {move.QueryRetrieveLevel for move in rest} == {"IMAGE"}
    assert sorted(move.SOPInstanceUID for move in rest) == sorted(lost)


def test_instances_that_come_after_the_answer_count(
    archive, network_of, rogue_of, our_port: int, folder: Path, quarantine: Path, monkeypatch
) -> None:
    monkeypatch.setattr(qr_engine, "_SETTLE", PATIENCE)
    threads = []

    def later(datasets: list[Dataset]) -> list[Dataset]:
        arguments = (datasets, our_port, OUR_AET, "ROGUE")
        threads.append(threading.Thread(target=send, args=arguments))
        threads[-1].start()
        return []

    rogue = rogue_of(later)
    with QrEngine(network_of(rogue.address, retries=0), quarantine) as engine:
        engine.fetch(archive.request(), folder, lambda _: None)
        for thread in threads:
            thread.join()
        assert engine.quarantined == ()
    inspect_folder(folder, archive.request(), "0" * 16)


def test_failed_sub_operations_are_read_and_shown(
    archive, network_of, rogue_of, changed, folder: Path, quarantine: Path
) -> None:
    lost = archive.patient.sop_instance_uids[0]

    def spoil(datasets: list[Dataset]) -> list[Dataset]:
        return [
            changed(ds, SOPClassUID=SecondaryCaptureImageStorage)  # no context for it: it fails
            if ds.SOPInstanceUID == lost
            else ds
            for ds in datasets
        ]

    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING", format="{message}")
    try:
        with QrEngine(network_of(rogue_of(spoil).address, retries=0), quarantine) as engine:
            refuse(engine, archive.request(), folder, f"B000.*19 completed, 1 failed.*{lost}")
    finally:
        logger.remove(sink)
    assert any("B000" in line and lost in line for line in lines)
    assert_nothing_wrong(folder, archive, archive.request())


def test_failures_of_a_transfer_that_succeeded_in_the_end_are_told(
    archive, network_of, rogue_of, changed, folder: Path, quarantine: Path
) -> None:
    lost = archive.patient.sop_instance_uids[0]

    def spoil_once(datasets: list[Dataset]) -> list[Dataset]:
        if len(rogue.moves) > 1:
            return datasets
        return [
            changed(ds, SOPClassUID=SecondaryCaptureImageStorage)
            if ds.SOPInstanceUID == lost
            else ds
            for ds in datasets
        ]

    rogue = rogue_of(spoil_once)
    with QrEngine(network_of(rogue.address), quarantine) as engine:
        fetched = engine.fetch(archive.request(), folder, lambda _: None)
    inspect_folder(folder, archive.request(), "0" * 16)
    assert not fetched.clean
    first, again = fetched.sender_report.split(" Asked again: ")
    assert "19 completed, 1 failed" in first
    assert lost in first
    assert again.startswith("Success, 1 sub-operations completed")


def test_order_and_repetition_do_not_matter(
    archive, network_of, rogue_of, folder: Path, quarantine: Path
) -> None:
    rogue = rogue_of(lambda datasets: [*reversed(datasets), *datasets[::3]])
    progress: list[int] = []
    with QrEngine(network_of(rogue.address), quarantine) as engine:
        engine.fetch(archive.request(), folder, progress.append)
        assert engine.quarantined == ()
    assert progress == list(range(1, 21))
    inspect_folder(folder, archive.request(), "0" * 16)


# What arrives is not what was asked for.


def test_a_second_copy_with_other_content_stops_the_case(
    archive, network_of, rogue_of, changed, folder: Path, quarantine: Path
) -> None:
    rogue = rogue_of(lambda datasets: [*datasets, changed(datasets[0], PixelData=b"\0" * 2048)])
    with QrEngine(network_of(rogue.address), quarantine) as engine:
        refuse(engine, archive.request(Kind.KM), folder, "twice, with different content")
        (aside,) = engine.quarantined
    assert dcmread(aside.path).PixelData == b"\0" * 2048
    assert files_in(quarantine) == [f"{aside.sop_instance_uid}.dcm"]
    assert_nothing_wrong(folder, archive, archive.request(Kind.KM))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"PatientID": "QR Ä-070"}, r"of another patient \(QR Ä-070\)"),
        ({"PatientID": ""}, r"of another patient \(no id\)"),
        ({"SeriesInstanceUID": "1.2.3"}, r"of another series \(1.2.3\)"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "no CT Image Storage"),
    ],
)
def test_an_instance_that_is_not_what_its_uid_promises_stops_the_case(
    archive, network_of, rogue_of, changed, folder: Path, quarantine: Path, changes, words: str
) -> None:
    rogue = rogue_of(lambda datasets: [*datasets[:3], changed(datasets[3], **changes)])
    with QrEngine(network_of(rogue.address, retries=20), quarantine) as engine:
        refuse(engine, archive.request(Kind.KM), folder, words)
        (aside,) = engine.quarantined
    assert files_in(quarantine) == [f"{aside.sop_instance_uid}.dcm"]
    assert len(files_in(folder)) == 3
    assert_nothing_wrong(folder, archive, archive.request(Kind.KM))


def test_what_nobody_asked_for_is_quarantined_and_named(
    archive, network_of, rogue_of, our_port: int, folder: Path, quarantine: Path
) -> None:
    strangers = archive.datasets(archive.other.patient_id)[:2]
    rogue = rogue_of(lambda datasets: [strangers[0], *datasets])
    lines: list[str] = []
    sink = logger.add(lines.append, level="DEBUG", format="{message}")
    try:
        with QrEngine(network_of(rogue.address), quarantine) as engine:
            assert send([strangers[1]] * 2, our_port, OUR_AET, "ROGUE") == [0x0124] * 2
            engine.fetch(archive.request(Kind.KM), folder, lambda _: None)
            aside = engine.quarantined
    finally:
        logger.remove(sink)
    inspect_folder(folder, archive.request(Kind.KM), "0" * 16)
    assert {q.patient_id for q in aside} == {archive.other.patient_id}
    assert sorted(q.path.name for q in aside) == files_in(quarantine)
    assert len(aside) == 3
    for one in aside:
        assert dcmread(one.path).SOPInstanceUID == one.sop_instance_uid
        assert any(str(one.path) in line and "nobody asked for it" in line for line in lines)
    assert not any(str(strangers[0].PatientName) in line for line in lines)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("uid", ["../../../escaped", "con", "."])
def test_no_name_leads_out_of_the_quarantine(
    archive, network_of, rogue_of, changed, our_port: int, quarantine: Path, uid: str
) -> None:
    evil = changed(archive.datasets()[0])
    evil.file_meta.MediaStorageSOPInstanceUID = uid
    evil.SOPInstanceUID = uid
    with QrEngine(network_of(rogue_of().address), quarantine) as engine:
        assert send([evil], our_port, OUR_AET, "ROGUE") == [0x0124]
        (aside,) = engine.quarantined
    assert aside.path.resolve().parent == quarantine.resolve()
    assert files_in(quarantine) == [aside.path.name]
    assert aside.path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("called", "calling"), [(OUR_AET, "INTRUDER"), (OUR_AET, "FILLER"), ("OTHER", "ROGUE")]
)
def test_only_the_peer_may_store_and_only_to_us(
    archive, network_of, rogue_of, our_port: int, quarantine: Path, called: str, calling: str
) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING", format="{message}")
    try:
        with QrEngine(network_of(rogue_of().address), quarantine) as engine:
            assert send(archive.files[:1], our_port, called, calling) == []
            assert engine.quarantined == ()
    finally:
        logger.remove(sink)
    assert any(repr(calling) in line and LOOPBACK in line for line in lines)
    assert not quarantine.exists()


# Our own side.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that holds some of the images; without root, one that behaves so."""
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0:
        pytest.fail("a small file system can only be mounted as root, as scripts/test runs")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def test_a_full_disk_is_said_and_leaves_no_part(
    archive, network_of, rogue_of, small_disk: Path, quarantine: Path
) -> None:
    rogue = rogue_of()
    with QrEngine(network_of(rogue.address, retries=20), quarantine) as engine:
        message = refuse(engine, archive.request(), small_disk, "No space left on device")
    assert str(small_disk) in message
    assert 0 < len(files_in(small_disk)) < 20
    assert_nothing_wrong(small_disk, archive, archive.request())


def test_a_full_disk_at_the_end_is_told_to_the_sender(
    archive, network_of, rogue_of, our_port: int, small_disk: Path, folder: Path
) -> None:
    with QrEngine(network_of(rogue_of().address), small_disk) as engine:
        assert set(send(archive.files[:20], our_port, OUR_AET, "ROGUE")) == {0x0124}
        reasons = [q.reason for q in engine.quarantined if q.path is None]
    assert reasons
    assert all("No space left on device" in reason for reason in reasons)


def test_a_silent_client_does_not_keep_others_out(
    archive, network_of, rogue_of, our_port: int, folder: Path, quarantine: Path
) -> None:
    with (
        QrEngine(network_of(rogue_of().address), quarantine) as engine,
        socket.create_connection((LOOPBACK, our_port)),
    ):
        engine.fetch(archive.request(Kind.KM), folder, lambda _: None)
    inspect_folder(folder, archive.request(Kind.KM), "0" * 16)


def test_no_more_associations_than_allowed(
    archive, network_of, our_port: int, tmp_path: Path, quarantine: Path
) -> None:
    """Three series at the same time over two associations."""
    datasets = archive.datasets(archive.other.patient_id) + archive.datasets()
    requests = [archive.request(kind) for kind in (Kind.KM, Kind.MR)]
    requests.append(archive.request(uids=archive.other))
    most, running, lock = [0], [0], threading.Lock()

    def count(found: list[Dataset]) -> Iterator[Dataset]:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        until(lambda: most[0] >= 2)
        time.sleep(0.3)  # for one too many to come
        with lock:
            running[0] -= 1
        return iter(found)

    with Rogue(datasets, our_port, count) as rogue:
        network = network_of(rogue.address, associations=2)
        with ThreadPoolExecutor() as pool, QrEngine(network, quarantine) as engine:
            for number in range(3):
                (tmp_path / str(number)).mkdir()
            list(
                pool.map(
                    lambda n: engine.fetch(requests[n], tmp_path / str(n), lambda _: None), range(3)
                )
            )
    assert most == [2]


def test_names_stay_out_of_every_log(
    archive, network_of, rogue_of, folder: Path, quarantine: Path, caplog, capfd
) -> None:
    caplog.set_level("DEBUG")
    lines: list[str] = []
    sink = logger.add(lines.append, level="DEBUG")
    try:
        with QrEngine(network_of(rogue_of().address), quarantine) as engine:
            engine.fetch(archive.request(), folder, lambda _: None)
            refuse(engine, replace(archive.request(), images=3), folder, "holds 20")
    finally:
        logger.remove(sink)
    captured = capfd.readouterr()
    everything = "".join((*lines, caplog.text, captured.out, captured.err))
    assert "completed" in "".join(lines)
    assert "Phantom" not in everything
    assert "pynetdicom" not in caplog.text


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of pynetdicom's own server
def test_a_peer_without_the_service_is_said(
    archive, network_of, folder: Path, quarantine: Path
) -> None:
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

    entity = AE("FINDER")
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    server = entity.start_server((LOOPBACK, 0), block=False)
    try:
        network = network_of(f"FINDER@{LOOPBACK}:{server.server_address[1]}", retries=0)
        with QrEngine(network, quarantine) as engine:  # no handler: pynetdicom answers C311
            refuse(engine, archive.request(), folder, "refused a query: status C311")
    finally:
        entity.shutdown()
