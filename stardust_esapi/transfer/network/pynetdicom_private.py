"""All that we use of pynetdicom's inside, which it does not promise to keep.

This is written for ``pynetdicom~=3.0.4``. With another version, or where one of the things named
here is missing, :data:`AVAILABLE` is false and pynetdicom goes its own way: slower, and with the
faults that are made good here, which a time-out and another attempt get over.
"""

from __future__ import annotations

import logging
import re
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter
from typing import Any, Final, cast

import pynetdicom
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_P_ABORT
from pynetdicom.transport import AssociationSocket

from stardust_esapi.transfer.network.dimse import (
    P_DATA_TF,
    Context,
    Direct,
    ProtocolError,
    Store,
    check_contexts,
)

PRIVATE: Final = (
    "ae._create_socket",
    "dimse.get_msg",
    "dimse.message",
    "dul._read_pdu_data",
    "dul.socket._shutdown_socket",
    "dul.socket.recv",
    "dul.socket.socket",
    "dul.to_provider_queue",
    "dul.to_user_queue",
)
"""What is used, as it is reached from an association."""

_HEADER: Final = struct.Struct(">BxL")  # of a PDU: its type and length (PS3.8 9.3.1)
_NO_PDU: Final = _HEADER.pack(0, 0)
_ROOM: Final = 1 << 17  # bytes: a PDU of a peer that keeps to the maximum we tell it

# Seconds.
_PATIENCE: Final = 0.02  # with a peer that is about to send the next message
_TURN: Final = 0.5  # until pynetdicom's own loop may see to its timers


def fits(version: str) -> bool:
    """Whether a version of pynetdicom is ``~=3.0.4``."""
    found = re.match(r"3\.0\.(\d+)$", version)
    return found is not None and int(found[1]) >= 4


def missing() -> list[str]:
    """Those of :data:`PRIVATE` that the installed pynetdicom does not have."""
    association = Association(AE(), "requestor")  # without a connection, and not started
    with socket.socket() as unused:
        association.set_socket(AssociationSocket(association, client_socket=unused))
        return [name for name in PRIVATE if not _has(association, name)]


def _has(association: Association, name: str) -> bool:
    try:
        attrgetter(name)(association)
    except AttributeError:
        return False
    return True


AVAILABLE = fits(pynetdicom.__version__) and not missing()

# pynetdicom logs the datasets of queries, names and birth dates in them; what is worth telling,
# this package tells.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
with suppress(ImportError):  # documented, but in a module with a private name
    from pynetdicom import _config

    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False


# --- the connection under an association ---------------------------------------------------------


def open_socket(association: Association) -> socket.socket | None:
    """The connection under an association; None where there is none, or it cannot be had."""
    connection = getattr(association.dul, "socket", None)
    return getattr(connection, "socket", None)


def hang_up(association: Association) -> None:
    """Close the connection under an association; pynetdicom takes it for the peer's doing.

    It wakes whoever waits, also before there is an association that could be aborted.
    """
    connection = open_socket(association)
    if connection is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def wake(association: Association) -> None:
    """Have whoever waits for a message get none.

    pynetdicom sees to that when the peer aborts, not when we do.
    """
    messages = getattr(association.dimse, "msg_queue", None)
    if messages is None:
        hang_up(association)
    else:
        messages.put((None, None))


def end_release(association: Association) -> None:
    """Have whoever waits for the answer to a release take the association for aborted.

    pynetdicom's loop may have taken the news that the connection is gone, and drops it.
    """
    news = getattr(association.dul, "to_user_queue", None)
    if news is not None:
        news.put(A_P_ABORT())


# --- faults that are made good -------------------------------------------------------------------


class Entity(AE):
    """An AE that lets go of its sockets also where nobody takes the connection."""

    def _create_socket(self, *arguments: Any) -> AssociationSocket:
        connection = super()._create_socket(*arguments)
        if AVAILABLE:
            _close_for_good(connection)
        return connection


def make_good(association: Association) -> None:
    """Make good what is wrong in an association whose connection is open."""
    if not AVAILABLE:
        return
    if association.dul.socket is not None:
        _close_for_good(association.dul.socket)
    if association.is_requestor:
        _leave_answers(association)


def _close_for_good(connection: AssociationSocket) -> None:
    """Have the socket closed wherever pynetdicom ends a connection.

    Its own way is to shut the connection down and then to close it. Where there is nothing to
    shut down, since the peer has reset the connection or never took it, it does neither: the
    socket stays open until the garbage collector finds it.
    """

    def shut_down_and_close() -> None:
        opened = connection.socket
        if opened is not None:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    connection._shutdown_socket = shut_down_and_close  # type: ignore[method-assign]


def _leave_answers(association: Association) -> None:
    """Have pynetdicom's loop leave the answers to whoever has asked.

    It is paused for a request, but may be past the point where it notices, and once in some
    thousand requests it takes the answer, and drops it.
    """
    own = association.dimse.get_msg

    def get_message(block: bool = False) -> Any:
        return own(block) if block else (None, None)

    association.dimse.get_msg = get_message  # type: ignore[method-assign]


# --- speed ---------------------------------------------------------------------------------------


def read_directly(association: Association, store: Store, on_pending: Callable[[], None]) -> None:
    """Take what comes with every image past pynetdicom.

    Its own way of an image leads from the thread that reads, by way of queues that are looked
    into a thousand times a second, to the one that stores and back; it reads 4 kB at a time and
    copies each PDU five times. Here one thread reads, stores and answers.

    Args:
        association: One whose connection has just been opened.
        store: Takes each instance.
        on_pending: Told of each pending response to a C-MOVE or C-GET.
    """
    if AVAILABLE:
        _Reader(association, store, on_pending).install()


class _Reader:
    """Stands between the socket of an association and pynetdicom's state machine."""

    def __init__(
        self, association: Association, store: Store, on_pending: Callable[[], None]
    ) -> None:
        connection = association.dul.socket
        assert connection is not None
        assert connection.socket is not None
        self._association = association
        self._send = connection.send
        self._socket: socket.socket = connection.socket
        self._store = store
        self._on_pending = on_pending
        self._direct: Direct | None = None
        self._agreed: list[int] = []
        self._room = memoryview(bytearray(_ROOM))
        self._handed_on = bytearray()
        self._read_own = association.dul._read_pdu_data

    def install(self) -> None:
        dul = self._association.dul
        assert dul.socket is not None
        dul._read_pdu_data = self._read  # type: ignore[method-assign]
        dul.socket.recv = self._receive  # type: ignore[method-assign]

    def _read(self) -> None:
        """Read a PDU, in the reading thread; and more, as long as they come and are for us."""
        until = time.monotonic() + _TURN
        while self._is_taken() and self._more_comes() and time.monotonic() < until:
            pass

    def _is_taken(self) -> bool:
        """Whether the next PDU was for us; otherwise pynetdicom has it."""
        header = self._received(_HEADER.size)
        if len(header) < _HEADER.size:  # the connection has ended
            return self._hand_on(header)
        kind, length = _HEADER.unpack(header)
        association = self._association
        if kind != P_DATA_TF or not association.is_established:
            return self._hand_on(header)
        if length > len(self._room):
            self._room = memoryview(bytearray(length))
        items = self._room[: self._fill(self._room[:length])]
        if len(items) < length:
            return self._hand_on(header + items)
        self._direct = self._direct or Direct(
            _contexts(association), self._store, self._on_pending, self._send
        )
        self._agreed = self._agreed or [
            cast(int, context.context_id) for context in association.accepted_contexts
        ]
        try:
            check_contexts(items, self._agreed)
            # In the middle of a message of pynetdicom's all is its own.
            rest = self._direct.take(items) if association.dimse.message is None else items
        except ProtocolError:
            return self._hand_on(_NO_PDU)  # makes pynetdicom abort
        if rest:
            return self._hand_on(_HEADER.pack(kind, len(rest)) + rest)
        return True

    def _hand_on(self, data: bytes | bytearray) -> bool:
        """Have pynetdicom read a PDU that begins with what was read already."""
        self._handed_on += data
        self._read_own()
        return False

    def _more_comes(self) -> bool:
        """Whether there is more to read, soon, and nothing to send."""
        if self._association.dul.to_provider_queue.queue:
            return False
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        try:
            return bool(select.select([self._socket], [], [], _PATIENCE)[0])
        except (OSError, ValueError):  # closed meanwhile; pynetdicom finds out
            return False

    def _receive(self, nr_bytes: int) -> bytearray:
        """In place of pynetdicom's: first what was handed on, then what comes."""
        data = self._handed_on[:nr_bytes]
        del self._handed_on[:nr_bytes]
        return data + self._received(nr_bytes - len(data))

    def _received(self, count: int) -> bytearray:
        """Read so many bytes; fewer where the connection ends."""
        data = bytearray(count)
        with memoryview(data) as room:
            got = self._fill(room)
        del data[got:]
        return data

    def _fill(self, room: memoryview) -> int:
        """Read as much as there is room for.

        A connection that ends or fails, such as in the handshake of TLS, is closed: pynetdicom
        takes it for closed already.
        """
        got = 0
        while got < len(room):
            try:
                read = self._socket.recv_into(room[got:])
            except OSError:
                read = 0
            if not read:
                self._socket.close()
                break
            got += read
        return got


def _contexts(association: Association) -> dict[int, Context]:
    peer = association.requestor if association.is_acceptor else association.acceptor
    return {
        context.context_id: Context(
            str(context.abstract_syntax), str(context.transfer_syntax[0]), peer.ae_title
        )
        for context in association.accepted_contexts
        if context.as_scp and context.context_id is not None
    }
