"""Short ways through pynetdicom's DIMSE layer for the messages that come with every image.

pynetdicom decodes and encodes each command set as a pydicom dataset, validating every element:
for the C-STORE request, its response and the pending C-MOVE response of an image that takes longer
than reading and writing its pixels. Here these three are read and written directly (PS3.7 9.1.1,
9.3.1, 9.3.4 and E.1: Implicit VR Little Endian); anything about them that is not plain, and every
other message, goes pynetdicom's own way.
"""

from __future__ import annotations

import queue
import struct
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any, Final

from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA

_C_STORE_RQ: Final = 0x0001
_C_STORE_RSP: Final = 0x8001
_RETRIEVE_RSP: Final = frozenset({0x8021, 0x8010})  # C-MOVE, C-GET
_PENDING: Final = frozenset({0xFF00, 0xFF01})
_NO_DATA_SET: Final = 0x0101

# Elements of group 0000 (PS3.7 E.1).
_GROUP_LENGTH: Final = 0x0000
_SOP_CLASS: Final = 0x0002
_COMMAND_FIELD: Final = 0x0100
_MESSAGE_ID: Final = 0x0110
_RESPONDED_TO: Final = 0x0120
_PRIORITY: Final = 0x0700
_DATA_SET_TYPE: Final = 0x0800
_STATUS: Final = 0x0900
_SOP_INSTANCE: Final = 0x1000
_MOVE_ORIGINATOR: Final = (0x1030, 0x1031)
_OF_A_STORE: Final = frozenset(
    {_GROUP_LENGTH, _SOP_CLASS, _COMMAND_FIELD, _MESSAGE_ID, _PRIORITY, _DATA_SET_TYPE,
     _SOP_INSTANCE, *_MOVE_ORIGINATOR}
)  # fmt: skip

# Message control header (PS3.8 E.2).
_COMMAND: Final = 1
_LAST: Final = 2

_PATIENCE: Final = 0.01  # seconds

CommandSet = dict[int, bytes]


class DirectDimse(DIMSEServiceProvider):
    """The DIMSE provider of one association.

    Args:
        association: The association; this takes the place of its own provider.
        on_pending: Told of each pending response to a C-MOVE or C-GET: a sign of life, and no more.
    """

    def __init__(self, association: Association, on_pending: Callable[[], None]) -> None:
        super().__init__(association)
        self._on_pending = on_pending
        self._store: tuple[int, C_STORE, BytesIO] | None = None

    def get_msg(self, block: bool = False) -> Any:
        """Give the next message.

        pynetdicom's loop asks without blocking, a thousand times a second. Of a requestor it must
        not be given any: it is paused for a request, but may be past the point where it notices,
        and once in some thousand requests it takes the answer, and drops it.
        """
        if block:
            return super().get_msg(block)
        if self.assoc.is_requestor:
            return None, None
        try:
            return self.msg_queue.get(timeout=_PATIENCE)
        except queue.Empty:
            return None, None

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take what the peer sent: one or more fragments of a message."""
        if self.message is not None:  # pynetdicom is in the middle of one
            super().receive_primitive(primitive)
            return
        fragments = primitive.presentation_data_value_list
        if self._store is None:
            if len(fragments) != 1 or not self._is_taken(*fragments[0]):
                super().receive_primitive(primitive)
            return
        self._add(fragments)

    def _is_taken(self, context_id: int, fragment: bytes) -> bool:
        """Whether a message begins here that goes the short way; if so, it has begun."""
        if fragment[0] & (_COMMAND | _LAST) != _COMMAND | _LAST:
            return False
        command = _read(fragment[1:])
        kind = _number(command, _COMMAND_FIELD)
        if kind in _RETRIEVE_RSP and _number(command, _STATUS) in _PENDING:
            if _number(command, _DATA_SET_TYPE) != _NO_DATA_SET:
                return False
            self._on_pending()
            return True
        if kind != _C_STORE_RQ or not command.keys() <= _OF_A_STORE:
            return False
        request = _store_request(command, context_id)
        if request is None:
            return False
        self._store = context_id, request, BytesIO()
        return True

    def _add(self, fragments: list[tuple[int, bytes]]) -> None:
        assert self._store is not None
        context_id, request, data = self._store
        for at, (_, fragment) in enumerate(fragments, start=1):
            if fragment[0] & _COMMAND:  # another message in the middle of this one
                self._store = None
                self.dul.event_queue.put("Evt19")  # an invalid PDU: pynetdicom aborts
                return
            data.write(memoryview(fragment)[1:])
            if fragment[0] & _LAST:
                self._store = None
                request.DataSet = data
                self.msg_queue.put((context_id, request))
                if at < len(fragments):  # the next message begins in the same PDU
                    self.receive_primitive(_primitive(fragments[at:]))
                return

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message."""
        if (
            isinstance(primitive, C_STORE)
            and primitive.MessageIDBeingRespondedTo is not None
            and primitive.ErrorComment is None
            and primitive.OffendingElement is None
            and primitive.Status is not None
        ):
            fragment = bytes([_COMMAND | _LAST]) + _store_response(primitive)
            self.dul.send_pdu(_primitive([(context_id, fragment)]))
        else:
            super().send_msg(primitive, context_id)


def _primitive(fragments: Iterable[tuple[int, bytes]]) -> P_DATA:
    """A P-DATA primitive; pynetdicom wants its pairs as lists, whatever its annotation says."""
    primitive = P_DATA()
    pairs: Any = [list(fragment) for fragment in fragments]
    primitive.presentation_data_value_list = pairs
    return primitive


def _store_request(command: CommandSet, context_id: int) -> C_STORE | None:
    """A C-STORE request; None where it is not as it should be, for pynetdicom to complain of."""
    request = C_STORE()
    message_id, priority = _number(command, _MESSAGE_ID), _number(command, _PRIORITY)
    if message_id is None or priority is None:
        return None
    try:
        request.MessageID = message_id
        request.AffectedSOPClassUID = UID(_text(command, _SOP_CLASS))
        request.AffectedSOPInstanceUID = UID(_text(command, _SOP_INSTANCE))
        request.Priority = priority
    except (KeyError, ValueError, TypeError):
        return None
    if _number(command, _DATA_SET_TYPE) == _NO_DATA_SET:
        return None
    request._context_id = context_id
    return request


def _store_response(response: C_STORE) -> bytes:
    """Encode a C-STORE response (PS3.7 9.3.1.2)."""
    elements = b"".join(
        struct.pack("<HHL", 0, element, len(value)) + value
        for element, value in (
            (_SOP_CLASS, _padded(str(response.AffectedSOPClassUID))),
            (_COMMAND_FIELD, struct.pack("<H", _C_STORE_RSP)),
            (_RESPONDED_TO, struct.pack("<H", response.MessageIDBeingRespondedTo)),
            (_DATA_SET_TYPE, struct.pack("<H", _NO_DATA_SET)),
            (_STATUS, struct.pack("<H", response.Status)),
            (_SOP_INSTANCE, _padded(str(response.AffectedSOPInstanceUID))),
        )
    )
    return struct.pack("<HHLL", 0, _GROUP_LENGTH, 4, len(elements)) + elements


def _read(data: bytes) -> CommandSet:
    """The values of a command set by element number; nothing where it is not one."""
    try:
        return dict(_elements(data))
    except (struct.error, ValueError):
        return {}


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        group, element, length = struct.unpack_from("<HHL", data, at)
        at += 8
        if group or at + length > len(data):
            raise ValueError("no command set")
        yield element, data[at : at + length]
        at += length


def _number(command: CommandSet, element: int) -> int | None:
    value = command.get(element, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None


def _text(command: CommandSet, element: int) -> str:
    return command[element].rstrip(b"\x00 ").decode("ascii")


def _padded(uid: str) -> bytes:
    encoded = uid.encode("ascii", "replace")
    return encoded + b"\x00" * (len(encoded) % 2)
