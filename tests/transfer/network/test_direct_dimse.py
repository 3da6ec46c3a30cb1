"""The short ways through DIMSE say and understand exactly what pynetdicom does."""

from __future__ import annotations

from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage
from pynetdicom.dimse_messages import C_MOVE_RSP, C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_MOVE, C_STORE
from pynetdicom.pdu_primitives import P_DATA

from stardust_esapi.transfer.network.dimse import DirectDimse, _read, _store_response

UIDS = st.lists(st.integers(0, 10**9), min_size=2, max_size=5).map(
    lambda parts: "1." + ".".join(map(str, parts))
)
NUMBERS = st.integers(0, 65535)


class Wire:
    """An association without a network: what it would send, and what it has taken."""

    def __init__(self, *, acceptor: bool = True) -> None:
        self.sent: list[P_DATA] = []
        association: Any = SimpleNamespace(
            is_requestor=not acceptor,
            is_acceptor=acceptor,
            dul=SimpleNamespace(send_pdu=self.sent.append, event_queue=Queue()),
            dimse_timeout=1,
            acceptor=SimpleNamespace(maximum_length=16384),
            requestor=SimpleNamespace(maximum_length=16384),
            get_handlers=lambda event: [],
        )
        self.pending = 0
        self.dimse = DirectDimse(association, self._beat)

    def _beat(self) -> None:
        self.pending += 1

    def receive(self, message: Any, length: int = 16384) -> None:
        for primitive in message.encode_msg(1, length):
            self.dimse.receive_primitive(primitive)

    def taken(self) -> list[Any]:
        queue = self.dimse.msg_queue
        return [queue.get_nowait() for _ in range(queue.qsize())]


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


def body(content: bytes) -> Any:
    from io import BytesIO

    return BytesIO(content)


@given(UIDS, NUMBERS, NUMBERS)
def test_a_response_is_pynetdicoms_to_the_byte(uid: str, number: int, status: int) -> None:
    response = store(uid, number, MessageIDBeingRespondedTo=number, Status=status)
    [wanted] = message_of(C_STORE_RSP, response).encode_msg(1, 16384)
    wire = Wire()
    wire.dimse.send_msg(response, 1)
    [found] = wire.sent
    assert [tuple(pdv) for pdv in found.presentation_data_value_list] == [
        tuple(pdv) for pdv in wanted.presentation_data_value_list
    ]


def test_a_response_with_a_comment_goes_pynetdicoms_way() -> None:
    wire = Wire()
    response = store("1.2", 1, MessageIDBeingRespondedTo=1, Status=0xA700)
    response.ErrorComment = "disk full"
    wire.dimse.send_msg(response, 1)
    assert b"disk full" in wire.sent[0].presentation_data_value_list[0][1]


@given(UIDS, NUMBERS, st.binary(min_size=1, max_size=3000), st.integers(64, 4096))
def test_a_request_is_understood_in_whatever_pieces_it_comes(
    uid: str, number: int, content: bytes, length: int
) -> None:
    wire = Wire()
    for _ in range(2):  # nothing of the first is left in the way of the second
        request = store(uid, number, Priority=2, DataSet=body(content))
        wire.receive(message_of(C_STORE_RQ, request), length)
        [(context_id, taken)] = wire.taken()
        assert context_id == taken._context_id == 1
        assert taken.MessageID == number
        assert taken.AffectedSOPClassUID == CTImageStorage
        assert taken.AffectedSOPInstanceUID == uid
        assert taken.Priority == 2
        assert taken.DataSet.getvalue() == content
        assert taken.is_valid_request


def test_a_request_of_a_c_move_is_understood() -> None:
    wire = Wire()
    request = store(
        "1.2", 7, Priority=0, DataSet=body(b"data"),
        MoveOriginatorApplicationEntityTitle="PEER", MoveOriginatorMessageID=3,
    )  # fmt: skip
    wire.receive(message_of(C_STORE_RQ, request))
    [(_, taken)] = wire.taken()
    assert taken.DataSet.getvalue() == b"data"


def primitive_of(*fragments: Any) -> P_DATA:
    primitive = P_DATA()
    primitive.presentation_data_value_list = [list(fragment) for fragment in fragments]
    return primitive


def fragments_of(request: C_STORE) -> list[Any]:
    return [
        fragment
        for primitive in message_of(C_STORE_RQ, request).encode_msg(1, 16384)
        for fragment in primitive.presentation_data_value_list
    ]


def test_the_next_message_may_begin_in_the_same_pdu() -> None:
    first, second = (
        fragments_of(store("1.2", number, Priority=0, DataSet=body(content)))
        for number, content in enumerate((b"one", b"two"))
    )
    wire = Wire()
    wire.dimse.receive_primitive(primitive_of(first[0]))
    wire.dimse.receive_primitive(primitive_of(first[1], second[0]))
    wire.dimse.receive_primitive(primitive_of(second[1]))
    assert [(r.MessageID, r.DataSet.getvalue()) for _, r in wire.taken()] == [
        (0, b"one"),
        (1, b"two"),
    ]


def test_a_message_in_the_middle_of_another_ends_the_association() -> None:
    wire = Wire()
    command, _ = fragments_of(store("1.2", 1, Priority=0, DataSet=body(b"one")))
    wire.dimse.receive_primitive(primitive_of(command))
    wire.dimse.receive_primitive(primitive_of(command))
    assert wire.dimse.dul.event_queue.get_nowait() == "Evt19"
    assert wire.taken() == []


def move_response(status: int, **more: Any) -> C_MOVE:
    response = C_MOVE()
    response.MessageIDBeingRespondedTo = 1
    response.AffectedSOPClassUID = "1.2.840.10008.5.1.4.1.2.2.2"
    response.Status = status
    for name, value in more.items():
        setattr(response, name, value)
    return response


def test_pending_responses_are_signs_of_life_and_final_ones_come_through() -> None:
    wire = Wire(acceptor=False)
    for remaining in (2, 1):
        response = move_response(0xFF00, NumberOfRemainingSuboperations=remaining)
        wire.receive(message_of(C_MOVE_RSP, response))
    assert wire.pending == 2
    assert wire.taken() == []
    failed = body(b"\x08\x00\x58\x00\x04\x00\x00\x001.2\x00")
    final = move_response(0xB000, NumberOfFailedSuboperations=1, Identifier=failed)
    wire.receive(message_of(C_MOVE_RSP, final))
    [(_, taken)] = wire.taken()
    assert taken.Status == 0xB000
    assert taken.NumberOfFailedSuboperations == 1
    assert taken.Identifier.getvalue() == failed.getvalue()
    assert wire.pending == 2


@given(st.binary(max_size=200))
def test_what_is_no_command_set_is_left_to_pynetdicom(content: bytes) -> None:
    found = _read(content)
    assert all(len(value) <= len(content) for value in found.values())
    wire = Wire()
    assert not wire.dimse._is_taken(1, b"\x03" + content) or found


@pytest.mark.parametrize("cut", [3, 9, 40])
def test_a_cut_off_command_set_is_not_taken_for_a_request(cut: int) -> None:
    [primitive, *_] = message_of(C_STORE_RQ, store("1.2", 1, DataSet=body(b"x"))).encode_msg(1, 0)
    whole = primitive.presentation_data_value_list[0][1]
    assert Wire().dimse._is_taken(1, whole)
    assert not Wire().dimse._is_taken(1, whole[:-cut])


def test_the_loop_of_a_requestor_is_given_nothing() -> None:
    wire = Wire(acceptor=False)
    wire.receive(message_of(C_MOVE_RSP, move_response(0)))
    assert wire.dimse.get_msg() == (None, None)
    assert wire.dimse.get_msg(block=True)[1].Status == 0


def test_a_response_names_uids_of_odd_length_with_a_padding_null() -> None:
    response = store("1.2.3", 1, MessageIDBeingRespondedTo=1, Status=0)
    assert _store_response(response).endswith(b"\x06\x00\x00\x001.2.3\x00")
