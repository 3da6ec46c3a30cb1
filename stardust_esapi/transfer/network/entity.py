"""Our application entity: time-outs everywhere, large PDUs, and nothing of a patient in logs."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    MRImageStorage,
    RLETransferSyntaxes,
    RTStructureSetStorage,
    SpatialRegistrationStorage,
)
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket

from stardust_esapi.settings import Network
from stardust_esapi.transfer.network.dimse import DirectDimse

# pynetdicom logs the datasets of queries, names and birth dates in them; what is worth telling,
# this package tells. Its default handlers also cost about a tenth of the receiver's time.
_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)

_REQUESTOR_TICK: Final = 0.005  # seconds

MAX_PDU: Final = 1 << 17
"""Bytes; DCMTK offers no more, and four times its default saves a fifth of the time."""

_UNCOMPRESSED: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_COMPRESSED = [
    *JPEGTransferSyntaxes,
    *JPEGLSTransferSyntaxes,
    *JPEG2000TransferSyntaxes,
    *RLETransferSyntaxes,
]
IMAGE_CLASSES: Final = {"CT": CTImageStorage, "MR": MRImageStorage}
PREFIXES: Final = {
    CTImageStorage: "CT",
    MRImageStorage: "MR",
    RTStructureSetStorage: "RS",
    SpatialRegistrationStorage: "RE",
}
"""The SOP classes that we take, and how their files' names begin."""


class _Entity(AE):
    """An AE that lets go of its sockets also where nobody takes the connection."""

    def _create_socket(self, *arguments: Any) -> AssociationSocket:
        connection = super()._create_socket(*arguments)
        _close_for_good(connection)
        return connection


def application_entity(network: Network) -> AE:
    """Make an application entity under our AE title, with the site's time-out on every wait."""
    entity = _Entity(network.aet)
    entity.maximum_pdu_size = MAX_PDU
    entity.acse_timeout = network.timeout
    entity.connection_timeout = network.timeout
    entity.dimse_timeout = network.timeout
    entity.network_timeout = network.timeout
    return entity


def supported_contexts() -> list[PresentationContext]:
    """What we accept as a storage SCP: images as the peer has them, compressed or not."""
    return [
        build_context(
            sop_class,
            [*_UNCOMPRESSED, *(_COMPRESSED if sop_class in IMAGE_CLASSES.values() else [])],
        )
        for sop_class in PREFIXES
    ]


def proposed_contexts() -> list[PresentationContext]:
    """The same as we propose it for a C-GET.

    Of one context the peer picks one syntax: one context for all uncompressed ones and one for
    each compressed one let it send every image as it is stored. They stay below the 128 that an
    association can have (PS3.8 9.3.2.2).
    """
    contexts = [build_context(sop_class, _UNCOMPRESSED) for sop_class in PREFIXES]
    contexts += [
        build_context(sop_class, syntax)
        for sop_class in IMAGE_CLASSES.values()
        for syntax in _COMPRESSED
    ]
    return contexts


def tune(event: evt.Event, timeout: float, on_pending: Callable[[], None] = lambda: None) -> None:
    """Handle EVT_CONN_OPEN: bound every wait on the socket, answer at once, waste no time.

    pynetdicom reads a PDU blocking: a peer that stops in the middle of one would hold its thread
    for good.

    Args:
        event: The event.
        timeout: The longest wait, seconds.
        on_pending: Told of each pending response to a C-MOVE or C-GET.
    """
    event.assoc.dimse = DirectDimse(event.assoc, on_pending)
    if event.assoc.is_requestor:
        # pynetdicom looks for news a thousand times a second. Here there are few, and no hurry.
        event.assoc.dul._run_loop_delay = _REQUESTOR_TICK
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        _close_for_good(connection)
        connection.socket.settimeout(timeout)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "linux":
            event.assoc.bind(evt.EVT_DATA_SENT, _acknowledge_at_once, [connection.socket])
        connection.recv = partial(_receive, connection.socket)  # type: ignore[method-assign]


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


def _receive(connection: socket.socket, count: int) -> bytearray:
    """Read so many bytes, or fewer where the peer hangs up.

    In place of pynetdicom's own, which asks for 4 kB at a time: 130 calls for a CT image, with
    the interpreter handed from thread to thread at each. A connection that ends or fails, such
    as in the handshake of TLS, is closed: pynetdicom takes it for closed already.
    """
    data = bytearray(count)
    room, got = memoryview(data), 0
    while got < count:
        try:
            read = connection.recv_into(room[got:])
        except OSError:
            connection.close()
            raise
        if not read:
            connection.close()
            break
        got += read
    room.release()
    del data[got:]
    return data


def hang_up(association: Association) -> None:
    """Close the connection under an association; pynetdicom takes it for the peer's doing.

    It wakes whoever waits, also before there is an association that could be aborted.
    """
    connection = association.dul.socket
    if connection is not None and connection.socket is not None:
        with suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)


def _acknowledge_at_once(_: evt.Event, connection: socket.socket) -> None:
    """Handle EVT_DATA_SENT: have the kernel acknowledge what comes next without delay.

    DCMTK writes the head and the body of a PDU one by one, and with Nagle's algorithm its kernel
    holds back the body until ours has acknowledged the head, which takes it some 40 ms: ten times
    what an image takes. Linux forgets the option whenever we send. Windows has it for a whole
    network card only (TcpAckFrequency in its registry).
    """
    if sys.platform == "linux":
        with suppress(OSError):  # closed meanwhile
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
