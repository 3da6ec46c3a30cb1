"""A Query/Retrieve SCP in front of a stub database: stands in for Varian's DICOM DB Daemon.

C-ECHO, and C-FIND, C-MOVE, C-GET of the Study Root model at STUDY, SERIES and IMAGE level (PS3.4
Annex C). Files leave as they lie in the database: their datasets are neither decoded nor encoded
where the peer takes their transfer syntax. A structure set can be fetched as soon as it is saved.

A C-MOVE destination is another node, or a folder as Varian's File Daemon fills it. A profile says
what it can do and what it refuses.
"""

from __future__ import annotations

import re
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from socketserver import BaseServer
from types import FrameType
from typing import Any, Protocol

from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

from esapi_stub.holdings import LEVELS, Holdings, Instance, find, select
from esapi_stub.profiles import (
    PROFILES,
    MoveOverTls,
    Profile,
    ProfileName,
    Refusal,
    UidLists,
)
from esapi_stub.pynetdicom_private import Entity, close_for_good, keep_answers, open_socket, wake

_VERIFICATION = "1.2.840.10008.1.1"
_FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root, as the two that follow
_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
_GET = "1.2.840.10008.5.1.4.1.2.2.3"
_PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
_SUCCESS, _CANCEL, _PENDING, _PENDING_UNSUPPORTED = 0x0000, 0xFE00, 0xFF00, 0xFF01
_IDENTIFIER_DOES_NOT_MATCH = 0xA900
_SUBOPERATIONS_FAILED = 0xB000
_CANNOT_UNDERSTAND = 0xC001
_MOST_AT_ALL = 1024  # associations, with those that wait or are being refused
_POLL_S = 0.1
# What Varian's File Daemon begins file names with, where it is not the modality.
_PREFIXES = {"RTSTRUCT": "RS", "RTPLAN": "RP", "RTDOSE": "RD", "RTIMAGE": "RI", "REG": "RE"}
# Between the two halves of a file: whoever collects from the folder meets half-written ones.
_FILE_DAEMON_PAUSE_S = 0.005
_NOT_IN_A_NAME = re.compile(r'[\x00-\x1f<>:"/\\|?*]|^\.+$')


@dataclass(frozen=True)
class Faults:
    """How a daemon misbehaves when instances are fetched; for tests of whoever receives.

    Attributes:
        drop_last: The last instance is counted as sent and is not sent.
        duplicate: The first instance is sent twice.
        reorder: The instances are sent from the last to the first.
        stall_after: After so many instances nothing happens any more; the connections stay.
        close_after: After so many instances all connections are aborted.
        foreign: A DICOM file that is sent after the others, as if it were one of them.
    """

    drop_last: bool = False
    duplicate: bool = False
    reorder: bool = False
    stall_after: int | None = None
    close_after: int | None = None
    foreign: Path | None = None


@dataclass(frozen=True)
class Tls:
    """PEM files: a certificate, its key, and who must have signed the other side's."""

    certificate: Path
    key: Path
    ca: Path

    def server_context(self) -> ssl.SSLContext:
        """For associations that others request."""
        return self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def client_context(self) -> ssl.SSLContext:
        """For associations that the daemon requests."""
        return self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def _load(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.certificate, self.key)
        context.load_verify_locations(self.ca)
        return context


class Daemon:
    """The daemon; a context manager that serves while the context lasts.

    Attributes:
        faults: How it misbehaves; can be replaced at any time, for the requests that follow.
    """

    def __init__(
        self,
        db: Path,
        *,
        ae_title: str = "VMSDBD1",
        host: str = "127.0.0.1",
        port: int = 0,
        destinations: Mapping[str, tuple[str, int]] | None = None,
        file_daemons: Mapping[str, Path] | None = None,
        profile: Profile = PROFILES[ProfileName.PLAIN],
        tls: Tls | None = None,
        faults: Faults = Faults(),
    ) -> None:
        """Describe a daemon.

        Args:
            db: Folder of the stub database.
            ae_title: What it is called; it serves nobody who calls it otherwise.
            host: Address to listen on.
            port: Port to listen on; 0 for any that is free.
            destinations: Host and port of the nodes a C-MOVE may name, by AE title.
            file_daemons: Folders that stand for File Daemons, by AE title.
            profile: What it can do and what it refuses.
            tls: Certificates for all associations, those with destinations too; None for plain
                ones.
            faults: How it misbehaves.
        """
        self.faults = faults
        self._holdings = Holdings(db)
        self._address = host, port
        self._destinations = dict(destinations or {})
        self._file_daemons = dict(file_daemons or {})
        self._profile = profile
        self._tls = tls
        self._stopping = threading.Event()
        self._served: list[Association] = []
        self._entering = threading.Lock()
        self._ae = _Ae(ae_title)
        self._ae.require_called_aet = True
        self._ae.maximum_associations = _MOST_AT_ALL
        services = [_VERIFICATION, _FIND]
        if not (tls and profile.move_over_tls is MoveOverTls.NOT_OFFERED):
            services.append(_MOVE)
        if profile.get:
            services.append(_GET)
        plain = [ImplicitVRLittleEndian] if profile.one_encoding else None
        for service in services:
            self._ae.add_supported_context(service, plain)
        self._server: ThreadedAssociationServer | None = None
        self._thread: threading.Thread | None = None
        self._writer = ThreadPoolExecutor(1, "file-daemon")

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        if self._server is None:
            raise RuntimeError("The daemon has not been started.")
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Listen and serve, in threads.

        Raises:
            DatabaseError: There is no database, or it is damaged.
            OSError: The port is taken.
        """
        self._holdings.instances()
        self._server = self._ae.make_server(
            self._address,
            evt_handlers=[
                (evt.EVT_CONN_OPEN, _opened),
                (evt.EVT_REQUESTED, self._on_requested),
                (evt.EVT_C_FIND, self._on_find),
                (evt.EVT_C_MOVE, self._on_move),
                (evt.EVT_C_GET, self._on_get),
            ],
            server_class=ThreadedAssociationServer,
            ssl_context=self._tls.server_context() if self._tls else None,
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": _POLL_S}
        )
        self._thread.start()

    def stop(self) -> None:
        """Abort all associations and let go of the port; what is in the folders is finished."""
        self._stopping.set()
        if self._server is not None and self._thread is not None:
            BaseServer.shutdown(self._server)  # its own wants to have been made by start_server
            self._server.server_close()
            self._thread.join()
        associations = self._ae.active_associations
        for association in associations:
            association.abort()
            wake(association)  # it need not wait for an answer
        for association in associations:
            association.join()
        self._writer.shutdown()

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def serve_forever(self, started: Callable[[], object]) -> None:
        """Serve until SIGINT or SIGTERM; to be called in the main thread.

        Args:
            started: Called when the daemon listens.

        Raises:
            DatabaseError: As :meth:`start`.
            OSError: As :meth:`start`.
        """
        ended = threading.Event()

        def end(_number: int, _frame: FrameType | None) -> None:
            ended.set()

        before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with self:
                started()
                while not ended.wait(1.0):  # on Windows a signal does not wake a longer one
                    pass
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_requested(self, event: evt.Event) -> None:
        """Serve an association, or not; offer what is held for C-GET, as it lies there first."""
        association = event.assoc
        while not self._serves(association):
            if self._profile.refusal is not Refusal.WAIT or self._over(association):
                self._refuse(association)
                return
            time.sleep(_POLL_S)
        contexts = []
        for sop_class, syntaxes in self._encodings(self._holdings.instances()).items():
            context = build_context(sop_class, syntaxes)
            context.scu_role, context.scp_role = False, True
            contexts.append(context)
        association.acceptor.supported_contexts += contexts

    def _serves(self, association: Association) -> bool:
        """Whether there is room for one more; from then on it counts."""
        with self._entering:
            self._served = [one for one in self._served if one.is_alive() and not one.is_released]
            room = len(self._served) < self._profile.associations
            if room:
                self._served.append(association)
            return room

    def _refuse(self, association: Association) -> None:
        match self._profile.refusal:
            case Refusal.TRANSIENT:
                association.acse.send_reject(0x02, 0x03, 0x02)
            case Refusal.PERMANENT:
                association.acse.send_reject(0x01, 0x01, 0x01)
            case Refusal.ABORT:
                association.acse.send_abort(0x02)
            case _:
                association.is_aborted = True  # else pynetdicom would go on
                if connection := open_socket(association):
                    connection.close()
        association.kill()

    def _encodings(self, instances: Iterable[Instance]) -> dict[str, list[str]]:
        """Transfer syntaxes of each SOP class: as the files are, the most frequent first."""
        counts: dict[str, Counter[str]] = {}
        for one in instances:
            counts.setdefault(one.sop_class, Counter())[one.transfer_syntax] += 1
        if self._profile.one_encoding:
            return {sop_class: [ImplicitVRLittleEndian] for sop_class in counts}
        return {
            sop_class: list(dict.fromkeys([*(s for s, _ in c.most_common()), *_PLAIN]))
            for sop_class, c in counts.items()
        }

    def _on_find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        keys, level = self._asked(event)
        if level not in LEVELS:
            yield _IDENTIFIER_DOES_NOT_MATCH, None
            return
        text = "ISO_IR 100" if self._profile.one_encoding else "ISO_IR 192"
        for answer, supported in find(
            self._holdings.instances(), keys, level, strict=self._profile.strict
        ):
            if event.is_cancelled:
                yield _CANCEL, None
                return
            answer.RetrieveAETitle = self._ae.ae_title
            if not all(str(element.value).isascii() for element in answer):
                answer.SpecificCharacterSet = text
            yield _PENDING if supported else _PENDING_UNSUPPORTED, answer

    def _on_move(self, event: evt.Event) -> Iterator[Any]:
        """What pynetdicom wants: the destination, how many sub-operations, and each of them."""
        sending, failure = self._sending(event)
        if self._tls:
            match self._profile.move_over_tls:
                case MoveOverTls.FAILURE:
                    failure = _unexpected()
                case MoveOverTls.EACH_FAILS:
                    failure = _SUBOPERATIONS_FAILED
                case MoveOverTls.NOTHING:
                    sending = []
        if failure:
            yield "", 0, {"receiver": _Folder(Path(), self._writer)}  # which is never asked
            yield 1
            yield failure, None
            return
        destination = str(event.move_destination)
        known = destination in self._file_daemons or destination in self._destinations
        if known and not sending:
            yield "", 0
            yield 0
            return
        mover = event.assoc.requestor.ae_title
        receiver = self._receiver(destination, sending, mover) if known else None
        if receiver is None:
            yield None, None  # it answers 0xA801, Move Destination unknown
            return
        yield "", 0, {"receiver": receiver}
        yield len(sending)
        yield from self._suboperations(event, sending, receiver)

    def _on_get(self, event: evt.Event) -> Iterator[Any]:
        """As :meth:`_on_move`, without a destination."""
        sending, failure = self._sending(event)
        if failure:
            yield 1
            yield failure, None
            return
        receiver = _Node(event.assoc, recode=self._profile.one_encoding)
        event.assoc.send_c_store = receiver.send_c_store  # type: ignore[method-assign, assignment]
        yield len(sending)
        yield from self._suboperations(event, sending, receiver)

    def _asked(self, event: evt.Event) -> tuple[Dataset, str]:
        """The keys of a request and its level, which is empty where the request fails."""
        keys = event.identifier
        if self._profile.one_encoding:
            keys.set_original_encoding(None, None, "iso8859")
        level = str(keys.get("QueryRetrieveLevel", ""))
        lists = [keys[uid] for uid in LEVELS.values() if uid in keys and keys[uid].VM > 1]
        for key in lists:
            match self._profile.uid_lists:
                case UidLists.ONE_UID:
                    key.value = ".".join(key.value)[:64]
                case UidLists.FIRST:
                    key.value = key.value[0]
                case UidLists.FAILURE:
                    level = ""
        return keys, level

    def _sending(self, event: evt.Event) -> tuple[list[_Sending], int | Dataset | None]:
        """What a C-MOVE or C-GET asks for, or why it fails.

        Nothing is asked for where the unique key of its level is empty.
        """
        keys, level = self._asked(event)
        if level not in LEVELS:
            return [], _IDENTIFIER_DOES_NOT_MATCH
        if not keys.get(LEVELS[level]):
            return [], None
        found = select(self._holdings.instances(), keys, level, strict=self._profile.strict)
        series = {one["SeriesInstanceUID"] for one in found}
        if self._profile.series is not None and len(series) > self._profile.series:
            return [], _unexpected()
        sending = [_Sending(one) for one in found]
        if sending:
            if self.faults.drop_last:
                sending[-1].dropped = True
            if self.faults.duplicate:
                sending.insert(0, _Sending(found[0]))
            if self.faults.reorder:
                sending.reverse()
            if self.faults.foreign:
                sending.append(_Sending(Instance.read(self.faults.foreign)))
        return sending, None

    def _receiver(
        self, destination: str, sending: Sequence[_Sending], mover: str
    ) -> _Receiver | None:
        """Whoever stands behind a destination's AE title; None where it does not answer."""
        if destination in self._file_daemons:
            return _Folder(self._file_daemons[destination], self._writer)
        host, port = self._destinations[destination]
        contexts = [
            build_context(sop_class, syntax)
            for sop_class, syntaxes in self._encodings(one.instance for one in sending).items()
            for syntax in syntaxes
        ]
        secure = self._tls and self._profile.move_over_tls is MoveOverTls.SERVED
        association = AE.associate(
            self._ae,
            host,
            port,
            contexts=contexts,
            ae_title=destination,
            evt_handlers=[(evt.EVT_CONN_OPEN, _opened)],
            tls_args=(self._tls.client_context(), host) if self._tls and secure else None,
        )
        if not association.is_established:
            return None
        keep_answers(association)
        return _Node(association, mover, recode=self._profile.one_encoding)

    def _suboperations(
        self, event: evt.Event, sending: Sequence[_Sending], receiver: _Receiver
    ) -> Iterator[tuple[int, _Sending | None]]:
        """One C-STORE after the other, until the peer has enough or a fault sets in."""
        faults = self.faults
        for number in range(len(sending) + 1):
            if number == faults.stall_after:
                while not self._over(event.assoc):
                    time.sleep(_POLL_S)
            if number == faults.close_after or self._over(event.assoc):
                receiver.abort()
                event.assoc.abort()  # else pynetdicom would now report success
                return
            if number == len(sending):
                return
            if event.is_cancelled:
                yield _CANCEL, None
                return
            yield _PENDING, sending[number]

    def _over(self, association: Association) -> bool:
        """Whether the peer is gone or the daemon ends; pynetdicom asks only between requests."""
        return (
            self._stopping.is_set()
            or association.acse.is_aborted()
            or not association.dul.is_alive()
        )


class _Sending(Dataset):
    """Stands for an instance on its way through pynetdicom, which takes datasets alone."""

    def __init__(self, instance: Instance) -> None:
        super().__init__()
        self.SOPInstanceUID = instance["SOPInstanceUID"]  # for the list of what failed
        self.instance = instance
        self.dropped = False


class _Receiver(Protocol):
    """What pynetdicom needs of an association for the sub-operations of a C-MOVE."""

    @property
    def is_established(self) -> bool:
        """Whether instances can be sent."""

    def send_c_store(
        self,
        dataset: _Sending,
        msg_id: int = 1,
        *,
        originator_aet: str | None = None,
        originator_id: int | None = None,
    ) -> Dataset:
        """Send one instance; the status of the response."""

    def release(self) -> None:
        """End in order."""

    def abort(self) -> None:
        """End at once."""


class _Ae(Entity):
    """An AE whose C-MOVE sub-operations go to the receiver that the handler names."""

    def associate(self, *_: object, receiver: _Receiver, **__: object) -> Any:  # type: ignore[override]
        """Called by pynetdicom between the handler's first and second yield."""
        return receiver


class _Node:
    """A DICOM node: sent to as the file lies on disk, where it takes that transfer syntax."""

    def __init__(self, association: Association, mover: str | None = None, *, recode: bool) -> None:
        self._association = association
        self._mover = mover
        self._recode = recode

    @property
    def is_established(self) -> bool:
        return self._association.is_established

    def send_c_store(
        self,
        dataset: _Sending,
        msg_id: int = 1,
        *,
        originator_aet: str | None = None,  # noqa: ARG002 - pynetdicom gives the daemon's, not
        originator_id: int | None = None,  # the one of who asked (PS3.7 9.1.1.1.6)
    ) -> Dataset:
        if dataset.dropped:
            return _stored()
        one = dataset.instance
        as_it_is = not self._recode and any(
            context.as_scu
            and context.abstract_syntax == one.sop_class
            and context.transfer_syntax[0] == one.transfer_syntax
            for context in self._association.accepted_contexts
        )
        dataset_or_path: Path | Dataset = one.path
        if not as_it_is:
            dataset_or_path = _uncompressed(one.path)
            if self._recode:
                dataset_or_path.decode()
                dataset_or_path.SpecificCharacterSet = "ISO_IR 100"
        return Association.send_c_store(
            self._association,
            dataset_or_path,
            msg_id,
            originator_aet=self._mover,
            originator_id=originator_id,
        )

    def release(self) -> None:
        self._association.release()

    def abort(self) -> None:
        self._association.abort()


class _Folder:
    """A File Daemon: takes every instance, and writes it when it gets to it."""

    is_established = True

    def __init__(self, folder: Path, writer: ThreadPoolExecutor) -> None:
        self._folder = folder
        self._writer = writer

    def send_c_store(
        self,
        dataset: _Sending,
        msg_id: int = 1,  # noqa: ARG002
        *,
        originator_aet: str | None = None,  # noqa: ARG002
        originator_id: int | None = None,  # noqa: ARG002
    ) -> Dataset:
        if not dataset.dropped:
            self._writer.submit(_write_in_place, self._folder, dataset.instance)
        return _stored()

    def release(self) -> None:
        pass

    def abort(self) -> None:
        pass


def _write_in_place(folder: Path, one: Instance) -> None:
    patient = folder / _NOT_IN_A_NAME.sub("_", one["PatientID"])
    patient.mkdir(parents=True, exist_ok=True)
    prefix = _PREFIXES.get(one["Modality"], one["Modality"])
    content = one.path.read_bytes()
    with (patient / f"{prefix}.{one['SOPInstanceUID']}.dcm").open("wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        time.sleep(_FILE_DAEMON_PAUSE_S)
        file.write(content[len(content) // 2 :])


def _uncompressed(path: Path) -> Dataset:
    """A file's dataset, in an encoding that pynetdicom can turn into any plain one."""
    dataset = dcmread(path)
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        dataset.decompress(generate_instance_uid=False)
    return dataset


def _unexpected() -> Dataset:
    """What ARIA's services say where they cannot; users know the comment, not the cause."""
    failure = Dataset()
    failure.Status = _CANNOT_UNDERSTAND
    failure.ErrorComment = "Unexpected exception during MOVE"
    return failure


def _stored() -> Dataset:
    status = Dataset()
    status.Status = _SUCCESS
    return status


def _opened(event: evt.Event) -> None:
    """Have the socket closed in the end, and small messages sent at once.

    Else they wait for the peer's acknowledgement of those before (Nagle).
    """
    close_for_good(event.assoc.dul.socket)
    connection = open_socket(event.assoc)
    if connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
