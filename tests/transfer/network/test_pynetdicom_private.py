"""What is used of pynetdicom's inside is there, and where it is not everything works without."""

from __future__ import annotations

import inspect
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from operator import attrgetter
from pathlib import Path

import pynetdicom
import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.transport import AssociationSocket

import esapi_stub.pynetdicom_private as of_the_stub
from dicom_peers import LOOPBACK, OUR_AET, Node, Rogue
from stardust_esapi.errors import TransferError
from stardust_esapi.settings import Network
from stardust_esapi.transfer.network import association as peer_association
from stardust_esapi.transfer.network import entity, pynetdicom_private, receiver
from stardust_esapi.transfer.network.inbox import Inbox
from stardust_esapi.transfer.network.qr_engine import QrEngine
from stardust_esapi.transfer.network.receiver import Receiver
from stardust_esapi.verify.inspect import inspect_folder
from support import PATIENCE, until, without_waiting


def takes(it: object, *names: str) -> bool:
    return callable(it) and list(inspect.signature(it).parameters) == list(names)


# Where pynetdicom goes its own way it leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

SHAPES: dict[str, Callable[[object], bool]] = {
    "acse.negotiate_association": takes,
    "ae._create_socket": lambda it: takes(it, "assoc", "address", "tls_args"),
    "dimse.get_msg": lambda it: takes(it, "block"),
    "dimse.message": lambda it: it is None,
    "dul._read_pdu_data": takes,
    "dul.socket._shutdown_socket": takes,
    "dul.socket.recv": lambda it: takes(it, "nr_bytes"),
    "dul.state_machine.do_action": lambda it: takes(it, "event"),
    "dul.socket.socket": lambda it: isinstance(it, socket.socket),
    "dul.to_provider_queue": lambda it: isinstance(it, queue.Queue),
    "dul.to_user_queue": lambda it: isinstance(it, queue.Queue),
}


@pytest.fixture
def association() -> Iterator[Association]:
    created = Association(AE(), "requestor")
    with socket.socket() as unused:
        created.set_socket(AssociationSocket(created, client_socket=unused))
        yield created


@pytest.mark.parametrize("name", pynetdicom_private.PRIVATE)
def test_what_is_used_is_there_in_its_shape(association: Association, name: str) -> None:
    assert SHAPES[name](attrgetter(name)(association))


@pytest.mark.parametrize("name", of_the_stub.PRIVATE)
def test_what_the_stub_uses_is_there_in_its_shape(association: Association, name: str) -> None:
    assert SHAPES[name](attrgetter(name)(association))


def test_the_bodies_of_what_is_replaced_are_as_we_take_them_to_be() -> None:
    read = inspect.getsource(DULServiceProvider._read_pdu_data)
    assert read.count("self.socket.recv(") == 2  # the head of a PDU, and what it holds
    assert "self._read_pdu_data()" in inspect.getsource(DULServiceProvider._is_transport_event)
    assert "self._shutdown_socket()" in inspect.getsource(AssociationSocket.close)
    assert "self.dimse.get_msg(block=False)" in inspect.getsource(Association._run_reactor)


@pytest.mark.parametrize("module", [pynetdicom_private, of_the_stub])
def test_it_is_available_here(module) -> None:
    assert module.fits(pynetdicom.__version__)
    assert module.missing() == []
    assert module.AVAILABLE


@pytest.mark.parametrize("module", [pynetdicom_private, of_the_stub])
@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ("3.0.4", True),
        ("3.0.10", True),
        ("3.0.3", False),
        ("3.1.0", False),
        ("4.0.0", False),
        ("3.0.5.dev0", False),
        ("13.0.4", False),
    ],
)
def test_other_versions_do_not_fit(module, version: str, fits: bool) -> None:
    assert module.fits(version) is fits


@pytest.mark.parametrize("module", [pynetdicom_private, of_the_stub])
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, module) -> None:
    monkeypatch.delattr(AssociationSocket, "_shutdown_socket")
    assert module.missing() == ["dul.socket._shutdown_socket"]


# With it and without it, by the same means: only the way is another.


@pytest.fixture(params=["available", "absent"])
def available(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, without_leaks: None
) -> bool:
    monkeypatch.setattr(pynetdicom_private, "AVAILABLE", request.param == "available")
    return pynetdicom_private.AVAILABLE


@pytest.fixture
def by_pynetdicom(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """UIDs of the instances that pynetdicom has read."""
    uids: list[str] = []

    def take(event, store) -> int:
        uids.append(event.request.AffectedSOPInstanceUID)
        return entity.take(event, store)

    monkeypatch.setattr(receiver, "take", take)
    monkeypatch.setattr(peer_association, "take", take)
    return uids


@pytest.fixture(params=["dcmqrscp", "orthanc"])
def node(request: pytest.FixtureRequest) -> Node:
    return request.getfixturevalue(f"{request.param}_node")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("retrieve", ["move", "get"])
def test_a_fetch_brings_the_same_bytes_either_way(
    archive,
    node: Node,
    network_of: Callable[..., Network],
    by_pynetdicom: list[str],
    without_leaks: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    retrieve: str,
) -> None:
    found = []
    for available in (True, False):
        monkeypatch.setattr(pynetdicom_private, "AVAILABLE", available)
        folder = tmp_path / str(available)
        folder.mkdir()
        network = network_of(node.address, retrieve=retrieve)
        with QrEngine(network, tmp_path / "quarantine") as engine:
            fetched = engine.fetch(archive.request(), folder, lambda _: None)
            assert engine.quarantined == ()
        assert fetched.clean
        inspect_folder(folder, archive.request(), "0" * 16)
        assert len(by_pynetdicom) == (0 if available else 21)
        found.append(contents(folder))
    assert found[0] == found[1]


@pytest.mark.parametrize("length", [64, 256, 1024])
def test_messages_arrive_in_whatever_pieces(
    archive,
    network_of,
    our_port: int,
    by_pynetdicom: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    length: int,
) -> None:
    """A command in pieces is pynetdicom's, and a dataset in pieces is not."""
    monkeypatch.setattr(entity, "MAX_PDU", length)
    with Rogue(archive.datasets(), our_port) as rogue:
        with QrEngine(network_of(rogue.address), tmp_path / "quarantine") as engine:
            engine.fetch(archive.request(), tmp_path, lambda _: None)
    inspect_folder(tmp_path, archive.request(), "0" * 16)
    assert len(by_pynetdicom) == (21 if length == 64 else 0)


def test_what_nobody_asked_for_is_set_aside_either_way(
    archive, network_of, our_port: int, available: bool, changed, tmp_path: Path
) -> None:
    (tmp_path / "series").mkdir()
    foreign = changed(archive.datasets()[0], SOPInstanceUID="1.2.3")
    with Rogue(archive.datasets(), our_port, lambda wanted: [*wanted, foreign]) as rogue:
        with QrEngine(network_of(rogue.address), tmp_path / "quarantine") as engine:
            engine.fetch(archive.request(), tmp_path / "series", lambda _: None)
            aside = engine.quarantined
    assert len(aside) == len(rogue.moves)  # it comes with the images and with the structure set
    for one in aside:
        assert one.sop_instance_uid == "1.2.3"
        assert "nobody asked for it (sent by ROGUE)" in one.reason
    assert len(list((tmp_path / "series").iterdir())) == 21


def test_a_peer_that_is_silent_is_given_up_either_way(
    archive, network_of, our_port: int, available: bool, tmp_path: Path
) -> None:
    def fall_silent(_: evt.Event) -> None:
        engine._network = network.model_copy(
            update={"timeout": 0.5}
        )  # what came before took longer
        rogue.over.wait(PATIENCE)

    with Rogue(archive.datasets(), our_port, pause=fall_silent) as rogue:
        network = network_of(rogue.address, retries=0)
        with QrEngine(network, tmp_path / "quarantine") as engine, without_waiting():
            with pytest.raises(TransferError, match="did not arrive in 1 attempts"):
                engine.fetch(archive.request(), tmp_path, lambda _: None)


def test_a_cancel_ends_a_fetch_either_way(
    archive, network_of, our_port: int, available: bool, tmp_path: Path
) -> None:
    first = threading.Event()

    def wait_after_the_first(event: evt.Event) -> None:
        if first.is_set():
            until(lambda: event.assoc.dimse.cancel_req or rogue.over.is_set())
        first.set()

    with Rogue(archive.datasets(), our_port, pause=wait_after_the_first) as rogue:
        with QrEngine(network_of(rogue.address), tmp_path / "quarantine") as engine:
            with without_waiting(), pytest.raises(TransferError, match="cancelled"):
                engine.fetch(archive.request(), tmp_path, lambda _: engine.cancel())


def test_a_peer_that_breaks_the_protocol_is_cut_off(network_of, tmp_path: Path) -> None:
    network = network_of(f"ROGUE@{LOOPBACK}:104")
    entity = AE("ROGUE")
    entity.add_requested_context(CTImageStorage)
    with Receiver(network, Inbox(tmp_path / "quarantine").store):
        association = entity.associate(LOOPBACK, network.port, ae_title=OUR_AET)
        association.dul.socket.socket.sendall(2 * store_command())
        association.join(PATIENCE)
    assert association.is_aborted
    assert not (tmp_path / "quarantine").exists()


def store_command() -> bytes:
    """The PDU with which a C-STORE request begins."""
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = CTImageStorage
    request.AffectedSOPInstanceUID = "1.2.3"
    request.Priority = 0
    request.DataSet = BytesIO(b"data")
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    return bytes(P_DATA_TF(next(message.encode_msg(1, 16384))).encode())
