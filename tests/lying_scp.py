"""A Query/Retrieve SCP that lies: what it sends for a C-MOVE is made byte by byte, as a test says.

Queries and the C-MOVE itself are pynetdicom's; the association to our port is a socket. Nothing of
the product is used.
"""

from __future__ import annotations

import copy
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pydicom import Dataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    MRImageStorage,
    RTStructureSetStorage,
)
from pynetdicom import AE, evt
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from support import until

LOOPBACK = "127.0.0.1"
# Presentation contexts: by abstract syntax and transfer syntax.
CONTEXTS = {
    (str(CTImageStorage), str(ExplicitVRLittleEndian)): 1,
    (str(RTStructureSetStorage), str(ExplicitVRLittleEndian)): 3,
    (str(MRImageStorage), str(ExplicitVRLittleEndian)): 5,
    (str(CTImageStorage), str(JPEGLosslessSV1)): 7,
}
FRAGMENT = 4000  # bytes


class BrokenOffError(Exception):
    """The receiver has aborted the association or closed the connection."""


@dataclass(frozen=True)
class Message:
    """A C-STORE request.

    Attributes:
        dataset: What is sent.
        sop_class: Affected SOP Class UID of the command set.
        sop_instance: Affected SOP Instance UID of the command set.
        context: The presentation context of the command set.
        data_context: That of the dataset; None for the same.
        halved: Whether the command set comes in two fragments.
        cut: Bytes that the dataset lacks at its end.
    """

    dataset: Dataset
    sop_class: str
    sop_instance: str
    context: int
    data_context: int | None = None
    halved: bool = False
    cut: int = 0

    def but(self, **values: object) -> Message:
        """The same with other attributes in its dataset; None takes one out."""
        dataset = copy.deepcopy(self.dataset)
        for keyword, value in values.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        return replace(self, dataset=dataset)

    @property
    def command(self) -> bytes:
        """The command set (PS3.7 9.3.1.1)."""
        elements = b"".join(
            struct.pack("<HHL", 0, element, len(value)) + value
            for element, value in (
                (0x0002, even(self.sop_class)),
                (0x0100, struct.pack("<H", 0x0001)),
                (0x0110, struct.pack("<H", 1)),
                (0x0700, struct.pack("<H", 0)),
                (0x0800, struct.pack("<H", 0x0001)),
                (0x1000, even(self.sop_instance)),
            )
        )
        return struct.pack("<HHLL", 0, 0, 4, len(elements)) + elements

    @property
    def data(self) -> bytes:
        encoded = encode(self.dataset, False, True)
        assert encoded is not None
        return encoded[: len(encoded) - self.cut]


def message_of(dataset: Dataset) -> Message:
    """The honest request for a dataset."""
    sop_class = str(dataset.SOPClassUID)
    context = CONTEXTS[sop_class, str(ExplicitVRLittleEndian)]
    return Message(dataset, sop_class, str(dataset.SOPInstanceUID), context)


def even(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


class Wire:
    """An association with a storage SCP, on a connected socket (PS3.8 9.3)."""

    def __init__(self, connection: socket.socket, called: str, calling: str) -> None:
        self._socket = connection
        contexts = b"".join(
            item(0x20, bytes([number, 0, 0, 0]) + item(0x30, of.encode()) + item(0x40, by.encode()))
            for (of, by), number in CONTEXTS.items()
        )
        user = item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.276.0.1")
        self._send(
            1,
            struct.pack(">HH16s16s32x", 1, 0, *(t.ljust(16).encode() for t in (called, calling)))
            + item(0x10, b"1.2.840.10008.3.1.1.1")
            + contexts
            + item(0x50, user),
        )
        assert self._receive()[0] == 2  # A-ASSOCIATE-AC

    def store(self, message: Message) -> int:
        """Send a C-STORE request; gives the status of the response."""
        command = message.command
        if message.halved:
            self._send(4, fragment(message.context, 1, command[:40]))
            command = command[40:]
        self._send(4, fragment(message.context, 3, command))
        data = message.data
        for at in range(0, len(data), FRAGMENT):
            last = 2 if at + FRAGMENT >= len(data) else 0
            piece = data[at : at + FRAGMENT]
            self._send(4, fragment(message.data_context or message.context, last, piece))
        kind, response = self._receive()
        assert kind == 4
        at = response.index(struct.pack("<HHL", 0, 0x0900, 2)) + 8
        return int.from_bytes(response[at : at + 2], "little")

    def release(self) -> None:
        self._send(5, bytes(4))
        assert self._receive()[0] == 6

    def _send(self, kind: int, body: bytes) -> None:
        try:
            self._socket.sendall(struct.pack(">BxL", kind, len(body)) + body)
        except OSError:
            raise BrokenOffError from None

    def _receive(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxL", self._read(6))
        body = self._read(length)
        if kind == 7:  # A-ABORT
            raise BrokenOffError
        return kind, body

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                more = self._socket.recv(count - len(data))
            except OSError:
                more = b""
            if not more:
                raise BrokenOffError
            data += more
        return data


def item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def fragment(context: int, control: int, data: bytes) -> bytes:
    return struct.pack(">LBB", len(data) + 2, context, control) + data


@dataclass
class Liar:
    """The SCP; a context manager.

    Attributes:
        truth: What it holds, and what it says that it holds.
        our_port: Where it sends.
        lie: From what a C-MOVE asks for to what is sent.
        statuses: What it was answered; nothing for a message after which it was cut off.
        broken_off: How often it was cut off.
    """

    truth: list[Dataset]
    our_port: int
    our_title: str
    lie: Callable[[list[Message]], Iterable[Message]] = lambda messages: messages
    statuses: list[int] = field(default_factory=list)
    broken_off: int = 0
    ae_title: str = "LIAR"
    port: int = 0

    @property
    def address(self) -> str:
        return f"{self.ae_title}@{LOOPBACK}:{self.port}"

    def __enter__(self) -> Liar:
        self._entity = AE(self.ae_title)
        self._entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        self._entity.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
        self._sockets: list[socket.socket] = []
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_MOVE, self._move),
        ]
        server = self._entity.start_server((LOOPBACK, 0), block=False, evt_handlers=handlers)
        self.port = server.server_address[1]
        return self

    def __exit__(self, *_: object) -> None:
        # Those who called end their associations; one that is ending must not be aborted.
        until(lambda: not self._entity.active_associations)
        self._entity.shutdown()
        for connection in self._sockets:  # pynetdicom leaves those open that were broken off
            connection.close()

    def _opened(self, event: evt.Event) -> None:
        self._sockets.append(event.assoc.dul.socket.socket)

    def _matches(self, query: Dataset) -> list[Dataset]:
        asked = [e for e in query if e.keyword != "QueryRetrieveLevel" and e.value]
        return [
            ds for ds in self.truth if all(str(ds.get(e.keyword)) == str(e.value) for e in asked)
        ]

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        for ds in self._matches(event.identifier):
            row = Dataset()
            for element in event.identifier:
                setattr(row, element.keyword, ds.get(element.keyword, ""))
            row.QueryRetrieveLevel = event.identifier.QueryRetrieveLevel
            yield 0xFF00, row

    def _move(self, event: evt.Event) -> Iterator[object]:
        try:
            with socket.create_connection((LOOPBACK, self.our_port)) as connection:
                wire = Wire(connection, event.move_destination, self.ae_title)
                for message in self.lie([message_of(ds) for ds in self._matches(event.identifier)]):
                    self.statuses.append(wire.store(message))
                wire.release()
        except (BrokenOffError, ConnectionError):
            self.broken_off += 1
        yield LOOPBACK, self.our_port
        yield 0  # pynetdicom says success, whatever was sent
