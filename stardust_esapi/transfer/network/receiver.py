"""Our storage SCP: the peer's C-MOVE sends here."""

from __future__ import annotations

import threading
from contextlib import suppress
from socketserver import BaseServer
from typing import Self

from loguru import logger
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

from stardust_esapi.errors import UsageError
from stardust_esapi.settings import Network
from stardust_esapi.transfer.network.dimse import Store, Taking
from stardust_esapi.transfer.network.entity import (
    application_entity,
    supported_contexts,
    take,
    tune,
)
from stardust_esapi.transfer.network.pynetdicom_private import hang_up
from stardust_esapi.transfer.network.tls import server_context

# One peer for all; it may well open an association for every instance. As many connections may be
# open besides that have not said yet whose they are.
_MOST_ASSOCIATIONS = 64
_TICK = 0.05  # seconds


class Receiver:
    """Listens on our port while the context lasts; only the configured peer may store.

    The peer must call with its own AE title, and call us by ours; over TLS it must show a
    certificate of the site's CA.

    Args:
        network: The peer, our AE title, address and port.
        store: Takes each instance.
    """

    def __init__(self, network: Network, store: Store) -> None:
        self._network = network
        self._store = store
        self._entity: AE | None = None
        self._server: ThreadedAssociationServer | None = None
        self._unknown: list[Association] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Start to listen.

        Raises:
            UsageError: The port cannot be had, or the TLS certificates cannot be used.
        """
        network = self._network
        entity = application_entity(network)
        entity.require_called_aet = True
        entity.require_calling_aet = [network.peer.ae_title] if network.peer else []
        entity.maximum_associations = 2 * _MOST_ASSOCIATIONS
        tls = server_context(network.tls, network.timeout) if network.tls else None
        try:
            server = entity.make_server(
                (network.bind, network.port),
                server_class=ThreadedAssociationServer,
                ssl_context=tls,
                contexts=supported_contexts(),
                evt_handlers=[
                    (evt.EVT_CONN_OPEN, self._opened),
                    (evt.EVT_C_STORE, take, [self._store]),
                    (evt.EVT_REJECTED, _tell_rejection),
                ],
            )
        except OSError as error:
            raise UsageError(
                f"Cannot listen on port {network.port} ({network.bind or 'all addresses'}): "
                f"{error.strerror or error}. Another program may use it: stop that, or set another "
                "port here and at the peer."
            ) from None
        # pynetdicom's start_server looks up twice a second only: that long it would take to end.
        threading.Thread(
            target=server.serve_forever,
            kwargs={"poll_interval": _TICK},
            name="receiver",
            daemon=True,
        ).start()
        self._entity, self._server = entity, server
        return self

    def __exit__(self, *_: object) -> None:
        """Stop to listen, and end the associations that are open."""
        if self._entity is None or self._server is None:
            return
        for association in self._entity.active_associations:
            hang_up(association)  # pynetdicom fails to abort one that begins or ends
            with suppress(RuntimeError):  # about to be started, to find the connection closed
                association.dul.join(self._network.timeout)
        BaseServer.shutdown(self._server)  # pynetdicom's own is for servers it has started
        self._server.server_close()

    def _opened(self, event: evt.Event) -> None:
        """Handle EVT_CONN_OPEN; the peer says at once whose it is, and gets the place of others."""
        network = self._network
        tune(event, Taking(network.timeout, network.largest_mb << 20, self._store))
        with self._lock:  # each connection has a thread of its own
            waiting = [one for one in self._unknown if _is_unknown(one)]
            self._unknown = [*waiting, event.assoc]
        for one in waiting[: 1 - _MOST_ASSOCIATIONS]:
            hang_up(one)


def _is_unknown(association: Association) -> bool:
    is_running = association.ident is None or association.is_alive()  # or about to be started
    return is_running and not association.is_established


def _tell_rejection(event: evt.Event) -> None:
    requestor = event.assoc.requestor
    logger.warning(
        f"{requestor.address}, calling as {requestor.ae_title!r}, was turned away from our port: "
        "it is not the peer that is set, or it called us by another AE title"
    )
