"""Our application entity: time-outs everywhere, large PDUs, and nothing of a patient in logs."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from io import BytesIO
from typing import cast

from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLETransferSyntaxes,
)
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from stardust_esapi.dicom.instance import IMAGE_CLASSES, PREFIXES
from stardust_esapi.errors import UsageError
from stardust_esapi.settings import Network
from stardust_esapi.transfer.network.dimse import MAX_PDU, Context, Sent, Store, Taking
from stardust_esapi.transfer.network.pynetdicom_private import (
    Entity,
    make_good,
    open_socket,
    read_directly,
)
from stardust_esapi.transfer.network.tls import client_context

_UNCOMPRESSED: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_COMPRESSED = [
    *JPEGTransferSyntaxes,
    *JPEGLSTransferSyntaxes,
    *JPEG2000TransferSyntaxes,
    *RLETransferSyntaxes,
]


def application_entity(network: Network) -> AE:
    """Make an application entity under our AE title, with the site's time-out on every wait."""
    entity = Entity(network.aet)
    entity.maximum_pdu_size = MAX_PDU
    entity.acse_timeout = network.timeout
    entity.connection_timeout = network.timeout
    entity.dimse_timeout = network.timeout
    entity.network_timeout = network.timeout
    return entity


def associate(
    network: Network,
    contexts: Iterable[PresentationContext],
    handlers: Iterable[evt.EventHandlerType],
    roles: Iterable[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Association:
    """Ask the peer for an association; whether it is established is for the caller to see.

    Raises:
        UsageError: No peer is set, or the TLS certificates cannot be used.
    """
    peer = network.peer
    if peer is None:
        raise UsageError("No peer is set. Give --peer AE@HOST:PORT, or network.peer.")
    return application_entity(network).associate(
        peer.host,
        peer.port,
        contexts=list(contexts),
        ae_title=peer.ae_title,
        max_pdu=MAX_PDU,
        ext_neg=list(roles),
        evt_handlers=list(handlers),
        tls_args=(client_context(network.tls), peer.host) if network.tls else None,
    )


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


def tune(event: evt.Event, taking: Taking) -> None:
    """Handle EVT_CONN_OPEN: bound every wait and every PDU, answer at once, waste no time."""
    connection = open_socket(event.assoc)
    if connection is not None:
        connection.settimeout(taking.timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "linux":
            event.assoc.bind(evt.EVT_DATA_SENT, _acknowledge_at_once, [connection])
    make_good(event.assoc)
    read_directly(event.assoc, taking)


def take(event: evt.Event, store: Store) -> int:
    """Handle EVT_C_STORE, which only comes where pynetdicom has read the instance itself."""
    request = cast(C_STORE, event.request)
    context = Context(
        str(request.AffectedSOPClassUID),
        event.context.transfer_syntax,
        event.assoc.remote["ae_title"],
    )
    data = cast(BytesIO, request.DataSet)
    return store(Sent(context, str(request.AffectedSOPInstanceUID), data))


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
