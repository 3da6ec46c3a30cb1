"""The messages that come with every image are understood and answered exactly as by pynetdicom."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import nullcontext
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom.dimse_messages import C_ECHO_RQ, C_FIND_RSP, C_MOVE_RSP, C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_ECHO, C_FIND, C_MOVE, C_STORE
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA

from stardust_esapi.transfer.network.dimse import (
    Context,
    Direct,
    ProtocolError,
    Sent,
    Taking,
    _read,
    check_contexts,
)

UIDS = st.lists(st.integers(0, 10**9), min_size=2, max_size=5).map(
    lambda parts: "1." + ".".join(map(str, parts))
)
NUMBERS = st.integers(0, 65535)
CONTEXT = Context(str(CTImageStorage), str(ExplicitVRLittleEndian), "PEER")


class Wire:
    """An association without a network: what it has taken, left and answered."""

    def __init__(self, take: Callable[[Sent], int] = lambda instance: 0) -> None:
        self.sent: list[bytes] = []
        self.taken: list[Sent] = []
        self.pending = 0
        self.rows: list[bytes] = []
        self._take = take
        taking = Taking(1, 1 << 20, self._store, on_pending=self._beat, on_row=self.rows.append)
        self.direct = Direct({1: CONTEXT}, taking, self.sent.append)

    def _store(self, instance: Sent) -> int:
        self.taken.append(instance)
        return self._take(instance)

    def _beat(self) -> None:
        self.pending += 1

    def receive(self, *fragments: Any) -> bytes:
        """Take one PDU; what is left of it."""
        return bytes(self.direct.take(memoryview(items_of(*fragments))))

    def receive_message(self, message: Any, length: int = 16384) -> bytes:
        """Take a message in PDUs of such a length; what is left of the last."""
        left = b""
        for primitive in message.encode_msg(1, length):
            left = self.receive(*primitive.presentation_data_value_list)
        return left


def pdu_of(*fragments: Any) -> bytes:
    """A P-DATA-TF PDU as pynetdicom encodes it."""
    primitive = P_DATA()
    primitive.presentation_data_value_list = [list(fragment) for fragment in fragments]
    return bytes(P_DATA_TF(primitive).encode())


def items_of(*fragments: Any) -> bytes:
    return pdu_of(*fragments)[6:]


def store(uid: str, number: int, **more: Any) -> C_STORE:
    primitive = C_STORE()
    primitive.MessageID = number
    primitive.AffectedSOPClassUID = CTImageStorage
    primitive.AffectedSOPInstanceUID = uid
    for name, value in more.items():
        setattr(primitive, name, value)
    return primitive


def message_of(kind: Any, primitive: Any) -> Any:
    message = kind()
    message.primitive_to_message(primitive)
    return message


def fragments_of(message: Any, length: int = 16384) -> list[Any]:
    return [
        fragment
        for primitive in message.encode_msg(1, length)
        for fragment in primitive.presentation_data_value_list
    ]


def request(uid: str = "1.2", number: int = 1, content: bytes = b"data", **more: Any) -> Any:
    more = {"Priority": 0, "DataSet": BytesIO(content)} | more
    return message_of(C_STORE_RQ, store(uid, number, **more))


@given(UIDS, NUMBERS, NUMBERS)
def test_a_response_is_pynetdicoms_to_the_byte(uid: str, number: int, status: int) -> None:
    response = store(uid, number, MessageIDBeingRespondedTo=number, Status=status)
    wire = Wire(lambda instance: status)
    wire.receive_message(request(uid, number))
    assert wire.sent == [pdu_of(*fragments_of(message_of(C_STORE_RSP, response)))]


@given(UIDS, NUMBERS, st.binary(min_size=1, max_size=3000), st.integers(256, 4096))
def test_a_request_is_understood_in_whatever_pieces_it_comes(
    uid: str, number: int, content: bytes, length: int
) -> None:
    wire = Wire()
    for turn in range(1, 3):  # nothing of the first is left in the way of the second
        assert wire.receive_message(request(uid, number, content, Priority=2), length) == b""
        assert len(wire.taken) == len(wire.sent) == turn
        assert wire.taken[-1].context == CONTEXT
        assert wire.taken[-1].sop_instance == uid
        assert wire.taken[-1].data.getvalue() == content


def test_a_command_in_pieces_is_left_to_pynetdicom() -> None:
    command = fragments_of(request(), 64)[0]
    assert Wire().receive(command) == items_of(command)


def test_a_request_of_a_c_move_is_understood() -> None:
    wire = Wire()
    of_a_move = request(
        MoveOriginatorApplicationEntityTitle="PEER", MoveOriginatorMessageID=3, number=7
    )
    wire.receive_message(of_a_move)
    assert [one.data.getvalue() for one in wire.taken] == [b"data"]


def test_a_whole_message_may_come_in_one_pdu() -> None:
    wire = Wire()
    assert wire.receive(*fragments_of(request())) == b""
    assert [one.data.getvalue() for one in wire.taken] == [b"data"]


def test_the_next_message_may_begin_in_the_same_pdu() -> None:
    first, second = (fragments_of(request("1.2", n, c)) for n, c in enumerate((b"one", b"two")))
    wire = Wire()
    wire.receive(first[0])
    wire.receive(first[1], second[0])
    wire.receive(second[1])
    assert [one.data.getvalue() for one in wire.taken] == [b"one", b"two"]


def test_a_message_for_pynetdicom_may_begin_in_the_same_pdu() -> None:
    echo = C_ECHO()
    echo.MessageID = 2
    [other] = fragments_of(message_of(C_ECHO_RQ, echo))
    wire = Wire()
    assert wire.receive(*fragments_of(request()), other) == items_of(other)
    assert len(wire.taken) == 1


def test_a_message_in_the_middle_of_another_is_no_reading_of_the_standard() -> None:
    wire = Wire()
    command, _ = fragments_of(request())
    wire.receive(command)
    with pytest.raises(ProtocolError):
        wire.receive(command)
    assert wire.taken == []


def test_nor_is_one_that_goes_on_in_another_context() -> None:
    wire = Wire()
    command, (_, data) = fragments_of(request())
    wire.receive(command)
    with pytest.raises(ProtocolError):
        wire.receive((3, data))


@pytest.mark.parametrize(("context", "is_fine"), [(1, True), (5, True), (3, False), (99, False)])
def test_whoever_takes_it_is_of_a_negotiated_context(context: int, is_fine: bool) -> None:
    _, (_, data) = fragments_of(request())
    items = memoryview(items_of((1, data), (context, data)))
    with nullcontext() if is_fine else pytest.raises(ProtocolError):
        check_contexts(items, [1, 5])


def test_what_cannot_be_taken_is_answered_as_pynetdicom_does() -> None:
    def fail(instance: Sent) -> int:
        raise ZeroDivisionError("no way")

    told: list[str] = []
    sink = logger.add(told.append, level="ERROR")
    try:
        wire = Wire(fail)
        wire.receive_message(request("1.2.3"))
    finally:
        logger.remove(sink)
    assert b"\x00\x00\x00\x09\x02\x00\x00\x00\x11\xc2" in wire.sent[0]
    assert "1.2.3" in told[0]
    assert "no way" in told[0]


def move_response(status: int, **more: Any) -> C_MOVE:
    response = C_MOVE()
    response.MessageIDBeingRespondedTo = 1
    response.AffectedSOPClassUID = "1.2.840.10008.5.1.4.1.2.2.2"
    response.Status = status
    for name, value in more.items():
        setattr(response, name, value)
    return response


def test_pending_responses_are_signs_of_life_and_final_ones_are_left() -> None:
    wire = Wire()
    for remaining in (2, 1):
        response = move_response(0xFF00, NumberOfRemainingSuboperations=remaining)
        assert wire.receive_message(message_of(C_MOVE_RSP, response)) == b""
    assert wire.pending == 2
    failed = BytesIO(b"\x08\x00\x58\x00\x04\x00\x00\x001.2\x00")
    final = move_response(0xB000, NumberOfFailedSuboperations=1, Identifier=failed)
    command, _ = fragments_of(message_of(C_MOVE_RSP, final))
    assert wire.receive(command) == items_of(command)
    assert wire.pending == 2


def find_response(status: int, row: bytes | None) -> Any:
    response = C_FIND()
    response.MessageIDBeingRespondedTo = 1
    response.AffectedSOPClassUID = "1.2.840.10008.5.1.4.1.2.2.1"
    response.Status = status
    if row is not None:
        response.Identifier = BytesIO(row)
    return message_of(C_FIND_RSP, response)


@given(st.binary(min_size=1, max_size=3000), st.sampled_from([0xFF00, 0xFF01]))
def test_what_a_query_finds_is_taken_row_by_row(row: bytes, status: int) -> None:
    wire = Wire()
    for turn in range(1, 3):
        assert wire.receive_message(find_response(status, row), 256) == b""
        assert wire.rows == turn * [row]
    assert wire.sent == wire.taken == []


@pytest.mark.parametrize(("status", "row"), [(0x0000, None), (0xA700, b"why"), (0xFF00, None)])
def test_every_other_answer_to_a_query_is_left(status: int, row: bytes | None) -> None:
    wire = Wire()
    command = fragments_of(find_response(status, row))[0]
    assert wire.receive(command) == items_of(command)
    assert wire.rows == []


@pytest.mark.parametrize(
    "odd",
    [
        request(DataSet=None),
        message_of(C_STORE_RQ, store("1.2", 1, Priority=0, AffectedSOPClassUID=MRImageStorage,
                                     DataSet=BytesIO(b"data"))),
    ],
)  # fmt: skip
def test_an_odd_request_is_left_to_pynetdicom(odd: Any) -> None:
    wire = Wire()
    command = fragments_of(odd)[0]
    assert wire.receive(command) == items_of(command)


def test_a_uid_that_is_too_long_is_left_to_pynetdicom() -> None:
    uid = ("1." + 62 * "2").encode()
    (_, command), _ = fragments_of(request(uid.decode()))
    head = struct.pack("<HHL", 0, 0x1000, 64) + uid
    longer = command.replace(head, struct.pack("<HHL", 0, 0x1000, 66) + uid + b"22")
    assert longer != command
    assert Wire().receive((1, longer)) == items_of((1, longer))


def test_a_request_in_a_context_that_was_not_agreed_on_is_left_to_pynetdicom() -> None:
    wire = Wire()
    (_, command), _ = fragments_of(request())
    assert wire.receive((3, command)) == items_of((3, command))


@given(st.binary(max_size=200))
def test_what_is_no_command_set_is_left_to_pynetdicom(content: bytes) -> None:
    found = _read(content)
    assert all(len(value) <= len(content) for value in found.values())
    wire = Wire()
    assert wire.receive((1, b"\x03" + content)) or found


@given(st.binary(max_size=60))
def test_what_are_no_items_is_left_to_pynetdicom(content: bytes) -> None:
    wire = Wire()
    left = bytes(wire.direct.take(memoryview(content)))
    assert content.endswith(left)
    assert wire.taken == []


@pytest.mark.parametrize("cut", [3, 9, 40])
def test_a_cut_off_command_set_is_not_taken_for_a_request(cut: int) -> None:
    (_, whole), data = fragments_of(request())
    wire = Wire()
    assert wire.receive((1, whole[:-cut]))
    assert wire.receive((1, whole), data) == b""


def test_a_response_names_uids_of_odd_length_with_a_padding_null() -> None:
    wire = Wire()
    wire.receive_message(request("1.2.3"))
    assert wire.sent[0].endswith(struct.pack("<L", 6) + b"1.2.3\x00")
