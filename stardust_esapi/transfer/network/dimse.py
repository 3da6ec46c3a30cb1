"""The messages that come for every image, read and answered without pynetdicom.

These are the pending response to the C-FIND that asks for it, the C-STORE request, and the pending
response to the C-MOVE or C-GET that caused that. pynetdicom decodes and encodes their command sets
as pydicom datasets, which takes longer than reading and writing the pixels. Here they are read as
they are (PS3.7 9.1.1, 9.3.1, 9.3.2, 9.3.4 and E.1: Implicit VR Little Endian); anything about them
that is not plain, and every other message, is left to pynetdicom.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Final

from loguru import logger

_C_STORE_RQ: Final = 0x0001
_C_STORE_RSP: Final = 0x8001
_FIND_RSP: Final = 0x8020
_RETRIEVE_RSP: Final = frozenset({0x8021, 0x8010})  # C-MOVE, C-GET
_PENDING: Final = frozenset({0xFF00, 0xFF01})
_NO_DATA_SET: Final = 0x0101
_SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
_CANNOT_BE_TAKEN: Final = 0xC211  # of those that PS3.4 B.2.3 leaves to us, what pynetdicom says

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

P_DATA_TF: Final = 4
"""The type of a PDU that carries messages (PS3.8 9.3.5)."""
_ITEM: Final = struct.Struct(">LBB")  # its length, presentation context and control header
_ELEMENT: Final = struct.Struct("<HHL")

MAX_PDU: Final = 1 << 17
"""Bytes; DCMTK offers no more, and four times its default saves a fifth of the time."""

CommandSet = dict[int, bytes]


class ProtocolError(Exception):
    """The peer does what no reading of the standard allows, or sends more than is taken."""


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context in which the peer may store.

    Attributes:
        sop_class: Its abstract syntax.
        transfer_syntax: The one that was agreed on.
        sender: The peer's AE title.
    """

    sop_class: str
    transfer_syntax: str
    sender: str


@dataclass(frozen=True, slots=True)
class Sent:
    """An instance as a peer sent it.

    Attributes:
        context: How it was sent.
        sop_instance: Affected SOP Instance UID (0000,1000).
        data: The encoded dataset.
    """

    context: Context
    sop_instance: str
    data: BytesIO


Store = Callable[[Sent], int]
"""Takes an instance, and gives the status for the sender (PS3.4 B.2.3)."""


def _store_nothing(_: Sent) -> int:
    return _SOP_CLASS_NOT_SUPPORTED


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Taking:
    """What an association takes, who is told, and within which bounds.

    Attributes:
        timeout: Seconds in which a PDU that has begun must be there, and of every other wait.
        most: Bytes that a message may have.
        store: Takes each instance that the peer sends.
        on_pending: Told of each pending response to a C-MOVE or C-GET: a sign of life, and no more.
        on_row: Given the encoded identifier of each pending response to a C-FIND; may raise a
            ProtocolError. Where there is none, such responses are left to pynetdicom.
        on_refused: Told, in a sentence, of a peer that was cut off for what it sent.
    """

    timeout: float
    most: int
    store: Store = _store_nothing
    on_pending: Callable[[], None] = _nothing
    on_row: Callable[[bytes], None] | None = None
    on_refused: Callable[[str], None] = logger.warning


def check_contexts(items: memoryview, agreed: Collection[int]) -> None:
    """Look at all items of a P-DATA-TF PDU, whoever takes them.

    Args:
        items: The PDU without its header.
        agreed: The ids of the presentation contexts that were negotiated.

    Raises:
        ProtocolError: One is of another presentation context.
    """
    if any(context_id not in agreed for _, context_id, _, _ in _split(items)):
        raise ProtocolError("sent data of a presentation context that was not negotiated")


class Direct:
    """Takes the messages of one association that go the short way.

    Args:
        contexts: By their ids, those in which the peer may store.
        taking: Who takes what.
        send: Sends a PDU.
    """

    def __init__(
        self, contexts: Mapping[int, Context], taking: Taking, send: Callable[[bytes], None]
    ) -> None:
        self._contexts = contexts
        self._taking = taking
        self._send = send
        # Of the message that has begun: context, dataset, and what to do when that is whole.
        self._arriving: tuple[int, BytesIO, Callable[[], None]] | None = None

    def take(self, items: memoryview) -> memoryview:
        """Take the items of a P-DATA-TF PDU (PS3.8 9.3.5.1), each a fragment of a message.

        Returns:
            The items from the first on that is not for us.

        Raises:
            ProtocolError: There is a command in the middle of a dataset, or too much of it.
        """
        at = 0
        for end, context_id, control, fragment in _split(items):
            if not self._take(context_id, control, fragment):
                break
            at = end
        return items[at:]

    def _take(self, context_id: int, control: int, fragment: memoryview) -> bool:
        if self._arriving is None:
            whole = control & (_COMMAND | _LAST) == _COMMAND | _LAST
            return whole and self._begins(context_id, _read(bytes(fragment)))
        expected, data, finish = self._arriving
        if control & _COMMAND or context_id != expected:
            raise ProtocolError("sent a command in the middle of a dataset")
        if data.tell() + len(fragment) > self._taking.most:
            raise ProtocolError(too_large(self._taking.most))
        data.write(fragment)
        if control & _LAST:
            self._arriving = None
            finish()
        return True

    def _answer(self, context_id: int, message_id: int, instance: Sent) -> None:
        response = _store_response(instance, message_id, self._stored(instance))
        self._send(_pdu(context_id, response))

    def _stored(self, instance: Sent) -> int:
        try:
            return self._taking.store(instance)
        except Exception:  # noqa: BLE001 - the peer is answered whatever happens, as by pynetdicom
            logger.exception(f"Instance {instance.sop_instance} could not be taken")
            return _CANNOT_BE_TAKEN

    def _begins(self, context_id: int, command: CommandSet) -> bool:
        """Whether this command is for us; if so, its message has begun."""
        kind = _number(command, _COMMAND_FIELD)
        has_data = _number(command, _DATA_SET_TYPE) not in {None, _NO_DATA_SET}
        is_pending = _number(command, _STATUS) in _PENDING
        data = BytesIO()
        if kind in _RETRIEVE_RSP and is_pending and not has_data:
            self._taking.on_pending()
            return True
        if kind == _FIND_RSP and is_pending and has_data and (on_row := self._taking.on_row):
            self._arriving = context_id, data, lambda: on_row(data.getvalue())
            return True
        context, message_id = self._contexts.get(context_id), _number(command, _MESSAGE_ID)
        if (
            kind != _C_STORE_RQ
            or context is None
            or message_id is None
            or not command.keys() <= _OF_A_STORE
            or not has_data
            or _uid(command, _SOP_CLASS) != context.sop_class
        ):
            return False
        instance = Sent(context, _uid(command, _SOP_INSTANCE), data)
        if not instance.sop_instance:
            return False
        self._arriving = context_id, data, partial(self._answer, context_id, message_id, instance)
        return True


def too_large(most: int) -> str:
    """Say that a message has more than so many bytes, and what to do."""
    return (
        f"sent a message of more than {most >> 20} MB; if it should be taken, set "
        "network.largest_mb higher"
    )


def _split(items: memoryview) -> Iterator[tuple[int, int, int, memoryview]]:
    """Of each item where it ends, its presentation context, control header and fragment."""
    at = 0
    while at + _ITEM.size <= len(items):
        length, context_id, control = _ITEM.unpack_from(items, at)
        end = at + 4 + length
        if length < 2 or end > len(items):
            return
        yield end, context_id, control, items[at + _ITEM.size : end]
        at = end


def _pdu(context_id: int, command: bytes) -> bytes:
    """A P-DATA-TF PDU with one command in one fragment (PS3.8 9.3.5)."""
    item = _ITEM.pack(len(command) + 2, context_id, _COMMAND | _LAST) + command
    return struct.pack(">BBL", P_DATA_TF, 0, len(item)) + item


def _store_response(instance: Sent, message_id: int, status: int) -> bytes:
    """Encode a C-STORE response (PS3.7 9.3.1.2)."""
    elements = b"".join(
        _ELEMENT.pack(0, element, len(value)) + value
        for element, value in (
            (_SOP_CLASS, _padded(instance.context.sop_class)),
            (_COMMAND_FIELD, struct.pack("<H", _C_STORE_RSP)),
            (_RESPONDED_TO, struct.pack("<H", message_id)),
            (_DATA_SET_TYPE, struct.pack("<H", _NO_DATA_SET)),
            (_STATUS, struct.pack("<H", status)),
            (_SOP_INSTANCE, _padded(instance.sop_instance)),
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
        group, element, length = _ELEMENT.unpack_from(data, at)
        at += _ELEMENT.size
        if group or at + length > len(data):
            raise ValueError("no command set")
        yield element, data[at : at + length]
        at += length


def _number(command: CommandSet, element: int) -> int | None:
    value = command.get(element, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None


def _uid(command: CommandSet, element: int) -> str:
    """A UID (PS3.5 9.1); nothing where it is too long, or not made of what makes one."""
    text = command.get(element, b"").rstrip(b"\x00 ")
    return text.decode("ascii") if len(text) <= 64 and set(text) <= set(b"0123456789.") else ""


def _padded(uid: str) -> bytes:
    encoded = uid.encode("ascii")
    return encoded + b"\x00" * (len(encoded) % 2)
