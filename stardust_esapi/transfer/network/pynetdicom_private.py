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
from contextlib import suppress
from operator import attrgetter
from typing import Any, Final, cast

import pynetdicom
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_P_ABORT
from pynetdicom.transport import AssociationSocket

from stardust_esapi.transfer.network.dimse import (
    MAX_PDU,
    P_DATA_TF,
    Context,
    Direct,
    ProtocolError,
    Taking,
    check_contexts,
    too_large,
)

PRIVATE: Final = (
    "acse.negotiate_association",
    "ae._create_socket",
    "dimse.get_msg",
    "dimse.message",
    "dul._read_pdu_data",
    "dul.socket._shutdown_socket",
    "dul.socket.recv",
    "dul.socket.socket",
    "dul.state_machine.do_action",
    "dul.to_provider_queue",
    "dul.to_user_queue",
)
"""What is used, as it is reached from an association."""

_HEADER: Final = struct.Struct(">BxL")  # of a PDU: its type and length (PS3.8 9.3.1)
_NO_PDU: Final = _HEADER.pack(0, 0)
# Bytes that a PDU of each type may announce. No association that is asked for or accepted comes
# near its bound, which is DCMTK's; the other types have four bytes (PS3.8 9.3.4, 9.3.6 to 9.3.8).
_ASSOCIATE_RQ: Final = 1
_MOST: Final = {_ASSOCIATE_RQ: 1 << 20, 2: 1 << 20, 3: 4, P_DATA_TF: MAX_PDU, 5: 4, 6: 4, 7: 4}
_TITLES: Final = 68  # bytes of an A-ASSOCIATE-RQ, which name both sides (PS3.8 9.3.2)

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
    _end_in_any_state(association)
    if association.is_requestor:
        _leave_answers(association)


def _close_for_good(connection: AssociationSocket) -> None:
    """Have the socket closed wherever pynetdicom ends a connection.

    Its own way is to shut the connection down and then to close it. Where there is nothing to
    shut down, since the peer has reset the connection or never took it, it does neither: the
    socket stays open until the garbage collector finds it. And where a caller leaves before it has
    said who it is, an association waits on for that, and counts, until a time-out.
    """

    def shut_down_and_close() -> None:
        opened = connection.socket
        if opened is not None:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()
        association = connection.assoc
        if association.is_acceptor and not association.is_established:
            association.dul.to_user_queue.put(None)

    connection._shutdown_socket = shut_down_and_close  # type: ignore[method-assign]


def _end_in_any_state(association: Association) -> None:
    """End the association where an event does not fit its state, or what was asked for fails.

    A caller that does not wait to be accepted, and leaves, brings about the one; a context without
    a transfer syntax the other. pynetdicom's threads die of it, with a traceback, and the socket
    stays open.
    """
    dul = association.dul
    own = dul.state_machine.do_action

    def do_action(event: str) -> None:
        try:
            own(event)
        except Exception:  # noqa: BLE001 - what it does for an event may fail, too
            if dul.socket is not None:
                dul.socket.close()
            dul.kill_dul()

    dul.state_machine.do_action = do_action  # type: ignore[method-assign]
    agree = association.acse.negotiate_association

    def negotiate() -> None:
        try:
            agree()
        except Exception:  # noqa: BLE001 - as above
            hang_up(association)
            association.kill()

    if association.is_acceptor:
        association.acse.negotiate_association = negotiate  # type: ignore[method-assign]


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


def read_directly(association: Association, taking: Taking) -> None:
    """Read what comes in place of pynetdicom, and take what comes with every image past it.

    Its own way of an image leads from the thread that reads, by way of queues that are looked
    into a thousand times a second, to the one that stores and back; it reads 4 kB at a time and
    copies each PDU five times. Here one thread reads, stores and answers.

    It also reads on as long as any byte comes, and as much as was announced, whoever sends it.
    Here a PDU has a deadline and a largest length, and a message a largest size.

    Args:
        association: One whose connection has just been opened.
        taking: What it takes, who is told, and within which bounds.
    """
    if AVAILABLE:
        _Reader(association, taking).install()


class _Reader:
    """Stands between the socket of an association and pynetdicom's state machine."""

    def __init__(self, association: Association, taking: Taking) -> None:
        connection = association.dul.socket
        assert connection is not None
        assert connection.socket is not None
        self._association = association
        self._send = connection.send
        self._socket: socket.socket = connection.socket
        self._taking = taking
        self._until = 0.0
        self._direct: Direct | None = None
        self._agreed: list[int] = []
        self._has_refused = False
        self._unfinished = 0  # bytes of the message that pynetdicom is taking in
        self._room = memoryview(bytearray(MAX_PDU))
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
        if self._has_refused:  # and has said so; what else comes is not read
            self._socket.close()
        self._until = time.monotonic() + self._taking.timeout
        header = self._received(_HEADER.size)
        if len(header) < _HEADER.size:  # the connection has ended
            return self._hand_on(header)
        kind, length = _HEADER.unpack(header)
        most = _MOST.get(kind, length)  # pynetdicom aborts at once where there is no such type
        try:
            if length > most:
                raise ProtocolError(f"announced {length} bytes at once, where {most} are the most")
            if kind == P_DATA_TF and self._association.is_established:
                rest = self._data(header, length)
            else:
                rest = self._request(header, length) if kind == _ASSOCIATE_RQ else header
        except ProtocolError as error:
            self._has_refused = True
            peer = self._association.remote
            self._taking.on_refused(
                f"{peer['ae_title'] or 'Somebody'} at {peer['address']} {error}. The association "
                "was aborted."
            )
            rest = _NO_PDU  # makes pynetdicom abort
        return not rest or self._hand_on(rest)

    def _data(self, header: bytes | bytearray, length: int) -> bytes | bytearray:
        """Take a P-DATA-TF PDU; what of it, and of its header, is for pynetdicom."""
        association = self._association
        ongoing = association.dimse.message is not None
        self._unfinished = length + (self._unfinished if ongoing else 0)
        if self._unfinished > self._taking.most:
            raise ProtocolError(too_large(self._taking.most))
        items = self._room[: self._fill(self._room[:length])]
        if len(items) < length:
            return header + items
        self._agreed = self._agreed or [
            cast(int, context.context_id) for context in association.accepted_contexts
        ]
        check_contexts(items, self._agreed)
        if ongoing:  # then all is pynetdicom's own
            return header + items
        self._direct = self._direct or Direct(_contexts(association), self._taking, self._send)
        rest = self._direct.take(items)
        return _HEADER.pack(P_DATA_TF, len(rest)) + rest if rest else b""

    def _request(self, header: bytes | bytearray, length: int) -> bytes | bytearray:
        """Begin to read an A-ASSOCIATE-RQ; of a caller that will be turned away, nothing more.

        Anyone may send one, and pynetdicom makes fifty times its size of it.
        """
        titles = self._received(min(length, _TITLES))
        called, calling = (titles[at : at + 16].decode("latin-1").strip() for at in (4, 20))
        association = self._association
        entity = association.ae
        if not (
            (entity.require_called_aet and called != association.acceptor.ae_title)
            or (entity.require_calling_aet and calling not in entity.require_calling_aet)
        ):
            return header + titles
        for at in range(len(titles), length, len(self._room)):
            self._fill(self._room[: length - at])
        return _HEADER.pack(_ASSOCIATE_RQ, len(titles)) + titles

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

        A connection that ends, fails, such as in the handshake of TLS, or takes too long is
        closed: pynetdicom takes it for closed already.
        """
        got = 0
        while got < len(room):
            try:
                read = self._socket.recv_into(room[got:])
            except OSError:
                read = 0
            got += read
            if not read or (got < len(room) and time.monotonic() > self._until):
                self._socket.close()
                break
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
