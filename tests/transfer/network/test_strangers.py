"""Who sends more than is right, or slower, costs nothing and keeps nobody out."""

from __future__ import annotations

import socket
import struct
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path

import pytest
from loguru import logger
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF

from dicom_peers import LOOPBACK, OUR_AET, Rogue, send
from stardust_esapi.errors import TransferError
from stardust_esapi.settings import Network
from stardust_esapi.transfer.network import association as peer_association
from stardust_esapi.transfer.network import probe, receiver
from stardust_esapi.transfer.network.association import PeerAssociation, PeerError
from stardust_esapi.transfer.network.inbox import Inbox, Pulse
from stardust_esapi.transfer.network.query import identifier
from stardust_esapi.transfer.network.receiver import Receiver
from support import PATIENCE

pytestmark = pytest.mark.usefixtures("without_leaks")  # of the peers here

PEER = "ROGUE"
MB = 1 << 20
ABORT, REJECT = 7, 3  # types of a PDU (PS3.8 9.3.1)


@pytest.fixture
def told() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING", format="{message}")
    yield lines
    logger.remove(sink)


@pytest.fixture
def network(network_of: Callable[..., Network]) -> Network:
    return network_of(f"{PEER}@{LOOPBACK}:104")


@contextmanager
def receiving(network: Network, folder: Path) -> Iterator[Inbox]:
    inbox = Inbox(folder / "quarantine")
    with Receiver(network, inbox.store):
        yield inbox


@contextmanager
def connected(network: Network) -> Iterator[socket.socket]:
    with socket.create_connection((LOOPBACK, network.port), timeout=PATIENCE) as connection:
        yield connection


@contextmanager
def memory() -> Iterator[Callable[[], int]]:
    """The most that Python has held at a time since it began, in bytes."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def answer(connection: socket.socket) -> bytes:
    """All that is sent until the connection ends."""
    received = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(4096):
            received += piece
    return received


def head(kind: int, length: int) -> bytes:
    return struct.pack(">BxL", kind, length)


def titles(called: str, calling: str) -> bytes:
    """What an A-ASSOCIATE-RQ begins with (PS3.8 9.3.2)."""
    return struct.pack(">HH16s16s32x", 1, 0, *(t.ljust(16).encode() for t in (called, calling)))


def established(network: Network) -> Association:
    entity = AE(PEER)
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate(LOOPBACK, network.port, ae_title=OUR_AET)
    assert association.is_established
    return association


def store_pdus(content: bytes, piece: int = 1 << 16) -> Iterator[bytes]:
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = CTImageStorage
    request.AffectedSOPInstanceUID = "1.2.3"
    request.Priority = 0
    request.DataSet = BytesIO(content)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    for primitive in message.encode_msg(1, piece):
        yield bytes(P_DATA_TF(primitive).encode())


def refused(association: Association, *pdus: bytes) -> None:
    """What is sent has the association aborted."""
    with association.dul.socket.socket as connection:
        with suppress(OSError):  # closed while we are sending
            for pdu in pdus:
                connection.sendall(pdu)
        association.join(PATIENCE)
    assert association.is_aborted


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 6, 7])
def test_what_is_announced_is_not_what_is_allocated(
    network: Network, told: list[str], tmp_path: Path, kind: int
) -> None:
    with memory() as peak, receiving(network, tmp_path), connected(network) as stranger:
        stranger.sendall(head(kind, 0xFFFFFFFF))
        assert answer(stranger)[0] == ABORT
        assert peak() < 4 * MB
    [line] = told
    assert f"{LOOPBACK} announced 4294967295 bytes at once" in line
    assert "aborted" in line


@pytest.mark.parametrize(("called", "calling"), [("OTHER", PEER), (OUR_AET, "OTHER")])
def test_of_a_stranger_who_he_is_alone_is_read(
    network: Network, told: list[str], tmp_path: Path, called: str, calling: str
) -> None:
    items = struct.pack(">BxHBxxx", 0x20, 4, 1) * 130_000  # contexts, 8 bytes each
    items = items[: MB - 68]
    with memory() as peak, receiving(network, tmp_path), connected(network) as stranger:
        request = titles(called, calling) + items
        stranger.sendall(head(1, len(request)) + request)
        assert answer(stranger)[0] == REJECT
        assert peak() < 5 * MB  # two of which are this test's own
    [line] = told
    assert f"calling as '{calling}', was turned away" in line


def test_an_association_request_above_a_megabyte_is_refused(
    network: Network, told: list[str], tmp_path: Path
) -> None:
    with receiving(network, tmp_path), connected(network) as stranger:
        stranger.sendall(head(1, MB + 1) + titles(OUR_AET, PEER))
        answer(stranger)  # an abort, or a reset that overtakes it
    assert f"announced {MB + 1} bytes at once, where {MB} are the most" in told[0]


def test_a_pdu_above_the_maximum_that_was_announced_is_refused(
    network: Network, told: list[str], tmp_path: Path
) -> None:
    with receiving(network, tmp_path):
        refused(established(network), head(4, (1 << 17) + 1))
    assert f"{PEER} at {LOOPBACK} announced 131073 bytes at once, where 131072" in told[0]


def test_the_largest_pdu_that_was_announced_is_taken(network: Network, tmp_path: Path) -> None:
    with receiving(network, tmp_path) as inbox:
        association = established(network)
        sent = list(store_pdus(bytes(MB), 1 << 17))
        assert max(map(len, sent)) == 6 + (1 << 17)
        for pdu in sent:
            association.dul.socket.socket.sendall(pdu)
        association.release()
    [taken] = inbox.quarantined
    assert taken.sop_instance_uid == "1.2.3"
    assert "nobody asked for it" in taken.reason


def test_an_instance_without_end_is_refused(
    network: Network, told: list[str], tmp_path: Path
) -> None:
    network = network.model_copy(update={"largest_mb": 1})
    with receiving(network, tmp_path) as inbox:
        refused(established(network), *store_pdus(bytes(MB + 2)))
    assert inbox.quarantined == []
    assert "a message of more than 1 MB" in told[0]
    assert "network.largest_mb" in told[0]


def test_a_command_without_end_is_refused(
    network: Network, told: list[str], tmp_path: Path
) -> None:
    network = network.model_copy(update={"largest_mb": 1})
    fragment = struct.pack(">LBB", 60_002, 1, 1) + bytes(60_000)  # a command, not its last
    pdu = head(4, len(fragment)) + fragment
    with receiving(network, tmp_path):
        refused(established(network), *([pdu] * 40))
    assert "a message of more than 1 MB" in told[0]


def test_a_byte_now_and_then_is_no_way_to_hold_a_connection(
    network: Network, tmp_path: Path
) -> None:
    network = network.model_copy(update={"timeout": 0.2})
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.sendall(head(1, 1000) + titles(OUR_AET, PEER))
            while not over.wait(0.02):
                connection.sendall(b"\0")

    with receiving(network, tmp_path), connected(network) as stranger:
        sender = threading.Thread(target=drip, args=[stranger])
        sender.start()
        try:
            answer(stranger)  # ends long before the thousand bytes are there
        finally:
            over.set()
            sender.join()


def test_idle_connections_do_not_keep_the_peer_out(
    archive, network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a time-out of PATIENCE, none of them ends for its slowness."""
    monkeypatch.setattr(receiver, "_MOST_ASSOCIATIONS", 4)
    with receiving(network, tmp_path) as inbox, ExitStack() as strangers:
        for _ in range(12):
            strangers.enter_context(connected(network)).sendall(head(1, 1000)[:3])
            with connected(network):  # and one that leaves without a word
                pass
        assert send(archive.files[:1], network.port, OUR_AET, PEER) == [0x0124]
        assert len(inbox.quarantined) == 1


def request_of(context: bytes) -> bytes:
    """An A-ASSOCIATE-RQ of the peer with one presentation context, whose id is 1."""
    item = struct.Struct(">BxH")
    context = b"\1\0\0\0" + context
    request = titles(OUR_AET, PEER) + item.pack(0x10, 21) + b"1.2.840.10008.3.1.1.1"
    request += item.pack(0x20, len(context)) + context
    request += item.pack(0x50, 8) + struct.pack(">BxHL", 0x51, 4, 1 << 14)
    return head(1, len(request)) + request


ABSTRACT = struct.pack(">BxH", 0x30, len(CTImageStorage)) + CTImageStorage.encode()
SYNTAX = struct.pack(">BxH", 0x40, len(ExplicitVRLittleEndian)) + ExplicitVRLittleEndian.encode()


@pytest.mark.parametrize(
    "sent",
    [request_of(ABSTRACT + SYNTAX) + b"".join(store_pdus(b"data")), request_of(ABSTRACT)],
    ids=["does not wait to be accepted", "names no transfer syntax"],
)
def test_what_pynetdicom_did_not_think_of_ends_quietly(
    network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sent: bytes
) -> None:
    """Found by benchmarks/fuzz.py: its threads died, and the socket stayed open."""
    failed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    with receiving(network, tmp_path):
        for _ in range(20):
            with connected(network) as caller:
                caller.sendall(sent)
                # On a busy machine what was sent too early may arrive when it may be sent.
                caller.shutdown(socket.SHUT_WR)
                answer(caller)
    assert failed == []


# The other way round: a peer that we call.


@contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """A peer that answers whatever it is sent with these bytes; its address."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def serve() -> None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(1 << 16)
                connection.sendall(reply)
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"{PEER}@{LOOPBACK}:{server.getsockname()[1]}"
        thread.join(PATIENCE)


def opened(network: Network) -> PeerAssociation:
    return PeerAssociation(network, lambda _: 0, Pulse())


def test_what_a_peer_announces_is_not_what_is_allocated(network_of, told: list[str]) -> None:
    with answering(head(2, 0xFFFFFFFF)) as address, memory() as peak:
        with (
            pytest.raises(PeerError, match="announced 4294967295 bytes at once"),
            opened(network_of(address)),
        ):
            pass
        assert peak() < 4 * MB


def test_nor_is_it_where_the_doctor_asks(network_of, told: list[str]) -> None:
    with answering(head(2, 0xFFFFFFFF)) as address, memory() as peak:
        with (
            pytest.raises(TransferError),
            probe._connected(network_of(address), "1.2.840.10008.1.1"),
        ):
            pass
        assert peak() < 4 * MB
    assert "announced 4294967295 bytes at once" in told[0]


def test_an_answer_without_end_is_refused(
    archive, network_of, our_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_association, "_MOST_ROWS", 20)
    images = identifier("IMAGE", SOPInstanceUID="")
    with Rogue(archive.datasets(), our_port) as rogue:
        with (
            pytest.raises(PeerError, match="more than 20 rows"),
            opened(network_of(rogue.address)) as association,
        ):
            association.find(images)
