"""One association with the peer: query, then have it send (C-MOVE) or give (C-GET)."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from types import TracebackType
from typing import Final, Self

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dsutils import decode
from pynetdicom.status import (
    QR_FIND_SERVICE_CLASS_STATUS,
    QR_MOVE_SERVICE_CLASS_STATUS,
    STATUS_FAILURE,
    STATUS_PENDING,
    STATUS_SUCCESS,
    STATUS_WARNING,
    code_to_category,
)

from stardust_esapi.choices import Retrieve
from stardust_esapi.dicom.instance import PREFIXES
from stardust_esapi.errors import TransferError, UsageError
from stardust_esapi.settings import Network
from stardust_esapi.transfer.network.dimse import ProtocolError, Store, Taking
from stardust_esapi.transfer.network.entity import (
    associate,
    proposed_contexts,
    take,
    tune,
)
from stardust_esapi.transfer.network.inbox import Pulse
from stardust_esapi.transfer.network.pynetdicom_private import end_release, hang_up, wake
from stardust_esapi.transfer.network.query import QueryRefusedError

# Study Root Query/Retrieve Information Model (PS3.4 C.6.2.3).
FIND: Final = UID("1.2.840.10008.5.1.4.1.2.2.1")
MODELS: Final = {
    Retrieve.MOVE: UID("1.2.840.10008.5.1.4.1.2.2.2"),
    Retrieve.GET: UID("1.2.840.10008.5.1.4.1.2.2.3"),
}
_WITHOUT: Final = {
    FIND: "Check that it is a Query/Retrieve SCP.",
    MODELS[Retrieve.MOVE]: 'If it offers C-GET, set network.retrieve to "get".',
    MODELS[Retrieve.GET]: 'Set network.retrieve to "move".',
}
_MOST_ROWS: Final = 100_000
_LONGEST_COMMENT: Final = 64  # of a Long String (PS3.5 6.2)
_TOO_MANY_ROWS: Final = (
    "answered a query with more than {} rows, and no series has so many images. Ask its "
    "administrator"
)
_MOVE_DESTINATION_UNKNOWN: Final = 0xA801
# Asking again changes nothing: SOP class not supported, not authorized, destination unknown.
_PERMANENT: Final = frozenset({0x0122, 0x0124, _MOVE_DESTINATION_UNKNOWN})
# Source and reason of a rejection (PS3.8 9.3.4): the calling or the called AE title is not known.
_ABOUT_TITLES: Final = frozenset({(1, 3), (1, 7)})


class PeerError(TransferError):
    """The peer cannot be reached, does not answer or breaks off.

    Attributes:
        permanent: Trying again would change nothing.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class Answer:
    """The final response to a C-MOVE or C-GET (PS3.4 C.4.2.1, C.4.3.1).

    Attributes:
        status: Status (0000,0900).
        completed: Number of sub-operations that the peer takes for completed.
        failed: Number of those that failed.
        warnings: Number of those with a warning.
        failed_uids: Failed SOP Instance UID List (0008,0058).
        comment: Error Comment (0000,0902).
    """

    status: int
    completed: int = 0
    failed: int = 0
    warnings: int = 0
    failed_uids: tuple[str, ...] = ()
    comment: str = ""

    @property
    def permanent(self) -> bool:
        """Whether asking again would change nothing."""
        return self.status in _PERMANENT

    @property
    def clean(self) -> bool:
        """Whether the peer reports neither failures nor warnings."""
        return self.status == 0 and not self.failed and not self.warnings

    def __str__(self) -> str:
        """Status in words and the counts."""
        words = QR_MOVE_SERVICE_CLASS_STATUS.get(self.status, ("", ""))[1]
        text = f"status {self.status:04X} ({words or code_to_category(self.status)})"
        text += f", {self.completed} completed, {self.failed} failed, {self.warnings} with warnings"
        if self.failed_uids:
            text += f", failed: {listing(self.failed_uids)}"
        return f"{text}, comment: {self.comment}" if self.comment else text


def offers(association: Association, service: UID) -> bool:
    """Whether the peer accepted a presentation context for a service."""
    return any(cx.abstract_syntax == service for cx in association.accepted_contexts)


def in_short(answers: Sequence[Answer]) -> str:
    """Say what several responses say together: the counts added up, trouble word by word."""
    troubled = [str(answer) for answer in answers if not answer.clean]
    completed = sum(answer.completed for answer in answers)
    success = f"Success, {completed} sub-operations completed, none failed, none with warnings"
    return "; ".join(troubled) or success


def listing(uids: list[str] | tuple[str, ...], most: int = 3) -> str:
    """Name the first few UIDs."""
    more = f" and {len(uids) - most} more" if len(uids) > most else ""
    return ", ".join(uids[:most]) + more


class PeerAssociation:
    """An association with the peer, open while the context lasts.

    One thread uses it; :meth:`cancel` and :meth:`break_off` come from another, which watches the
    pulse: pynetdicom's own time-out counts responses alone, of which a peer need not send any
    before the last instance has arrived.

    Args:
        network: The peer, and how to talk to it.
        store: Takes each instance of a C-GET.
        pulse: Beats with each answer.
    """

    def __init__(self, network: Network, store: Store, pulse: Pulse) -> None:
        if network.peer is None:
            raise UsageError("No peer is set. Give --peer AE@HOST:PORT, or network.peer.")
        self.pulse = pulse
        self._peer = network.peer
        self._network = network
        self._store = store
        self._model = MODELS[network.retrieve]
        self._destination = network.destination or network.aet
        self._association: Association | None = None
        self._message_ids = itertools.count(1)
        self._rows: list[bytes] = []
        self._running: tuple[int, UID] | None = None
        self._broken = ""
        self._releasing = False

    def __enter__(self) -> Self:
        """Open the association.

        Raises:
            PeerError: The peer does not take it.
            UsageError: The TLS certificates cannot be used.
        """
        contexts = [build_context(FIND), build_context(self._model)]
        handlers: list[evt.EventHandlerType] = [(evt.EVT_CONN_OPEN, self._opened)]
        roles = []
        if self._network.retrieve is Retrieve.GET:
            contexts += proposed_contexts()
            handlers.append((evt.EVT_C_STORE, take, [self._store]))
            roles = [build_role(sop_class, scp_role=True) for sop_class in PREFIXES]
        elif self._network.tls:
            contexts.append(build_context(MODELS[Retrieve.GET]))  # only to know, see _advice
        association = associate(self._network, contexts, handlers, roles)
        self._check_established(association)
        # The pulse decides how long to wait, see above.
        association.dimse_timeout = None
        self._association = association
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the association; after an error, or once broken off, abort it."""
        if self._association is None:
            return
        if error is None:
            # First this, then the look: whoever breaks off does it the other way round.
            self._releasing = True
            if not self._broken:
                self._association.release()
                return
            self._releasing = False
        self.break_off("")

    def find(self, identifier: Dataset) -> list[Dataset]:
        """Send a C-FIND.

        Raises:
            QueryRefusedError: The peer answered with a failure.
            PeerError: It does not answer or broke off.
        """
        rows = []
        self._rows.clear()
        with self._request(FIND) as (association, message_id):
            for status, row in association.send_c_find(identifier, FIND, message_id):
                code = self._code(status)
                category = code_to_category(code)
                if category == STATUS_PENDING and row is not None:
                    rows.append(row)
                    if len(rows) > _MOST_ROWS:
                        raise PeerError(f"the peer {_TOO_MANY_ROWS.format(_MOST_ROWS)}.")
                elif category not in {STATUS_PENDING, STATUS_SUCCESS, STATUS_WARNING}:
                    words = QR_FIND_SERVICE_CLASS_STATUS.get(code, ("", ""))[1] or category
                    said = ", ".join(
                        filter(None, (f"status {code:04X} ({words})", comment(status)))
                    )
                    raise QueryRefusedError(
                        f"the peer refused a query: {said}. Ask its administrator."
                    )
            return [*rows, *self._decoded(association)]

    def _decoded(self, association: Association) -> list[Dataset]:
        """The rows that came past pynetdicom, which has read none of them."""
        [syntax] = {
            one.transfer_syntax[0]
            for one in association.accepted_contexts
            if one.abstract_syntax == FIND
        }
        kind = syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated
        try:
            return [decode(BytesIO(row), *kind) for row in self._rows]
        except Exception:  # noqa: BLE001 - damaged ones make the parser raise anything
            raise PeerError("the peer answered a query with a row that cannot be read.") from None

    def retrieve(self, identifier: Dataset) -> Answer:
        """Send a C-MOVE or a C-GET and wait for its final response.

        Raises:
            PeerError: The peer does not answer or broke off, or asking again is no use.
        """
        answer = Answer(0)
        with self._request(self._model) as (association, message_id):
            if self._network.retrieve is Retrieve.GET:
                responses = association.send_c_get(identifier, self._model, message_id)
            else:
                responses = association.send_c_move(
                    identifier, self._destination, self._model, message_id
                )
            for status, failures in responses:
                answer = _read_answer(self._code(status), status, failures)
        if advice := self._advice(answer):
            raise PeerError(advice, permanent=True)
        return answer

    def cancel(self) -> None:
        """Ask the peer, once, to stop what it does; it may go on, or take a while."""
        running, association = self._running, self._association
        self._running = None
        if running and association:
            message_id, model = running
            with contextlib.suppress(RuntimeError, ValueError):  # it ended meanwhile
                association.send_c_cancel(message_id, query_model=model)

    def break_off(self, reason: str) -> None:
        """Abort the association, so that whoever uses it stops waiting."""
        self._broken = self._broken or reason
        association = self._association
        if association is None:
            return
        if self._releasing:
            hang_up(association)
            end_release(association)
        elif association.is_established:
            association.abort(block=False)
        else:
            hang_up(association)
        wake(association)

    def _opened(self, event: evt.Event) -> None:
        self._association = event.assoc
        tune(
            event,
            Taking(
                self._network.timeout,
                self._network.largest_mb << 20,
                self._store,
                on_pending=self.pulse.beat,
                on_row=self._row,
                on_refused=self._refused,
            ),
        )

    def _refused(self, why: str) -> None:
        self._broken = self._broken or why
        if self._association is not None:
            wake(self._association)

    def _row(self, identifier: bytes) -> None:
        self.pulse.beat()
        self._rows.append(identifier)
        if len(self._rows) > _MOST_ROWS:
            raise ProtocolError(_TOO_MANY_ROWS.format(_MOST_ROWS))

    def _check_established(self, association: Association) -> None:
        if association.is_established:
            self.pulse.beat()
            return
        if self._broken:
            raise PeerError(self._broken)
        refusal = association.acceptor.primitive
        if association.is_rejected and refusal:
            about_titles = (refusal.result_source, refusal.diagnostic) in _ABOUT_TITLES
            busy = (
                "It may serve as many associations as it takes: end others, or set "
                "network.associations lower. If it stays so, check"
            )
            raise PeerError(
                f"the peer refused the association: {refusal.reason_str}. "
                f"{'Check' if about_titles else busy} its AE title {self._peer.ae_title}, and that "
                f"it knows ours, {self._network.aet}.",
                permanent=about_titles,
            )
        tls = ", and that both sides use TLS with certificates of the same CA"
        if self._association is None:
            raise PeerError(
                f"no connection to {self._peer.host}:{self._peer.port}. Check that the peer runs "
                f"there and no firewall is between{tls if self._network.tls else ''}."
            )
        raise PeerError(
            f"{self._peer.host}:{self._peer.port} took the connection, but did not agree to an "
            f"association, or not within {self._network.timeout:g} s. Check that a DICOM peer "
            f"listens there, with or without TLS as set here{tls if self._network.tls else ''}, "
            "and that it does not serve as many associations as it takes."
        )

    @contextmanager
    def _request(self, model: UID) -> Iterator[tuple[Association, int]]:
        association = self._association
        assert association is not None
        message_id = next(self._message_ids)
        if not offers(association, model):
            over_tls = " over TLS" if self._network.tls else ""
            raise PeerError(
                f"the peer does not offer {model.name}{over_tls}. {_WITHOUT[model]}",
                permanent=True,
            )
        if not association.is_established:
            raise PeerError(self._broken or "the peer broke off the association.")
        self.pulse.beat()
        self._running = (message_id, model)
        try:
            yield association, message_id
        finally:
            self._running = None

    def _code(self, status: Dataset) -> int:
        """The status of a response; pynetdicom gives an empty one when there is no more."""
        if "Status" not in status:
            raise PeerError(self._broken or "the peer broke off the association.")
        self.pulse.beat()
        return int(status.Status)

    def _advice(self, answer: Answer) -> str:
        """What to do where asking again would change nothing; empty where it might."""
        if (
            self._network.tls
            and self._network.retrieve is Retrieve.MOVE
            and code_to_category(answer.status) in {STATUS_FAILURE, STATUS_WARNING}
            and not answer.completed
            and not answer.warnings
            and self._association
            and offers(self._association, MODELS[Retrieve.GET])
        ):
            # Varian's DICOM services do no C-MOVE over TLS. How they say so is not known.
            return (
                f"the peer sent nothing for a C-MOVE over TLS ({answer}). Varian's DICOM services "
                'do none. It offers C-GET: set network.retrieve to "get".'
            )
        if answer.status == _MOVE_DESTINATION_UNKNOWN:
            own = self._destination == self._network.aet
            where = f", with this computer's address and port {self._network.port}" if own else ""
            return (
                f"the peer does not know the destination {self._destination} ({answer}). Ask its "
                f"administrator to enter this AE title{where}."
            )
        if answer.permanent:
            return f"the peer refused to send: {answer}. Ask its administrator."
        return ""


def _read_answer(code: int, status: Dataset, failures: Dataset | None) -> Answer:
    failed = (failures.get("FailedSOPInstanceUIDList") if failures else None) or []
    return Answer(
        status=code,
        completed=status.get("NumberOfCompletedSuboperations") or 0,
        failed=status.get("NumberOfFailedSuboperations") or 0,
        warnings=status.get("NumberOfWarningSuboperations") or 0,
        failed_uids=(str(failed),) if isinstance(failed, str) else tuple(map(str, failed)),
        comment=comment(status),
    )


def comment(status: Dataset) -> str:
    """What a peer says of its answer (PS3.7 C.4.1): one line that commands no terminal."""
    said = str(status.get("ErrorComment") or "")
    return "".join(filter(str.isprintable, said))[:_LONGEST_COMMENT]
