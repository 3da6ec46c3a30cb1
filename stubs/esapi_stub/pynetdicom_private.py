"""All that the daemon uses of pynetdicom's inside, which it does not promise to keep.

This is written for ``pynetdicom~=3.0.4``. With another version, or where one of the things named
here is missing, :data:`AVAILABLE` is false: the faults that are made good here stay.
"""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from operator import attrgetter
from typing import Any, Final

import pynetdicom
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

PRIVATE: Final = (
    "ae._create_socket",
    "dimse.get_msg",
    "dul.socket._shutdown_socket",
    "dul.socket.socket",
)
"""What is used, as it is reached from an association."""


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

with suppress(ImportError):  # documented, but in a module with a private name
    from pynetdicom import _config

    # A path given to send_c_store leaves in chunks, as it is on disk. (A Dataset does not.)
    _config.STORE_SEND_CHUNKED_DATASET = True


class Entity(AE):
    """An AE that lets go of its sockets also where nobody takes the connection."""

    def _create_socket(self, *arguments: Any) -> AssociationSocket:
        connection = super()._create_socket(*arguments)
        close_for_good(connection)
        return connection


def open_socket(association: Association) -> socket.socket | None:
    """The connection under an association; None where there is none, or it cannot be had."""
    connection = getattr(association.dul, "socket", None)
    return getattr(connection, "socket", None)


def wake(association: Association) -> None:
    """Have whoever waits for a message get none.

    pynetdicom sees to that when the peer aborts, not when we do.
    """
    messages = getattr(association.dimse, "msg_queue", None)
    if messages is not None:
        messages.put((None, None))


def close_for_good(connection: AssociationSocket | None) -> None:
    """Have the socket closed wherever pynetdicom ends a connection.

    Its own way leaves the socket to the garbage collector where there is nothing to shut down:
    the peer has reset the connection, or never took it.
    """
    if connection is None or not AVAILABLE:
        return

    def shut_down_and_close() -> None:
        opened = connection.socket
        if opened is not None:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    connection._shutdown_socket = shut_down_and_close  # type: ignore[method-assign]


def keep_answers(association: Association) -> None:
    """Have pynetdicom's loop leave the answers to whoever has asked.

    It is paused for each request, but where it has not yet noticed that the last pause is over it
    takes the answer, and drops it.
    """
    if not AVAILABLE:
        return
    wait_for_message = association.dimse.get_msg

    def get_message(block: bool = False) -> Any:
        return wait_for_message(block) if block else (None, None)

    association.dimse.get_msg = get_message  # type: ignore[method-assign]
