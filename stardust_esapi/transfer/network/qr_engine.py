"""The engine ``qr``: ask the peer what it holds, have it sent to us, and count what arrives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from loguru import logger
from pydicom.dataset import Dataset

from stardust_esapi.choices import Retrieve
from stardust_esapi.errors import TransferError, UsageError
from stardust_esapi.model import TransferRequest
from stardust_esapi.settings import Network
from stardust_esapi.transfer.engine import Fetched
from stardust_esapi.transfer.network.association import (
    Answer,
    PeerAssociation,
    PeerError,
    in_short,
    listing,
)
from stardust_esapi.transfer.network.file_daemon import FolderCollector
from stardust_esapi.transfer.network.inbox import Delivery, Expected, Inbox, Pulse, Quarantined
from stardust_esapi.transfer.network.query import Holding, find_holdings, identifier
from stardust_esapi.transfer.network.receiver import Receiver

# Seconds.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_SETTLE = 1.0  # peers that answer before they have sent everything
_CANCEL_GRACE = 1.0  # for the peer to end by itself
_TICK = 0.1


class QrEngine:
    """Fetch series from a Query/Retrieve SCP, any number of them at the same time.

    A context manager: it listens, and watches over what runs, while the context lasts.

    Args:
        network: The peer, and how to talk to it.
        quarantine: Folder for instances that nobody asked for.

    Raises:
        UsageError: No peer is set.
    """

    name = "qr"

    def __init__(self, network: Network, quarantine: Path) -> None:
        if network.peer is None:
            raise UsageError("No peer is set. Give --peer AE@HOST:PORT, or network.peer.")
        self._network = network
        self._inbox = Inbox(quarantine)
        self._free = threading.BoundedSemaphore(network.associations)
        self._associations: dict[PeerAssociation, Delivery | None] = {}
        self._changed = threading.Condition()
        self._cancelled = threading.Event()
        self._cancelled_at = 0.0
        self._closed = threading.Event()
        self._collector = self._make_collector()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start to listen, where the peer sends to us.

        Raises:
            UsageError: The port cannot be had, or the TLS certificates cannot be used.
        """
        if self._network.retrieve is Retrieve.MOVE and self._collector is None:
            self._stack.enter_context(Receiver(self._network, self._inbox.store))
        watch = threading.Thread(target=self._watch, name="qr-watch", daemon=True)
        watch.start()
        self._stack.callback(watch.join)
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs, and stop to listen."""
        self.cancel()
        self._closed.set()
        self._stack.close()

    def _make_collector(self) -> FolderCollector | None:
        network = self._network
        if not network.deliver or network.retrieve is Retrieve.GET:
            return None
        if network.destination is None:
            raise UsageError(
                "With --deliver folder:PATH, set network.destination to the File Daemon's AE "
                "title, such as VMSFD1."
            )
        root = Path(network.deliver.removeprefix("folder:"))
        return FolderCollector(root, network.timeout, self._cancelled)

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """What arrived and was not taken, so far."""
        return tuple(self._inbox.quarantined)

    def cancel(self) -> None:
        """Have every running fetch end soon, with a TransferError; later ones do not begin."""
        self._cancelled_at = self._cancelled_at or time.monotonic()
        self._cancelled.set()

    def fetch(
        self, request: TransferRequest, folder: Path, advance: Callable[[int], None]
    ) -> Fetched:
        """Fetch the images of a request, its structure set and its registration.

        Args:
            request: The series and what goes with it.
            folder: An existing empty folder.
            advance: Told the number of images so far, from the receiving thread.

        Returns:
            The peer's final responses with their counts, of every attempt.

        Raises:
            TransferError: Not everything arrived, or something else did; whole files of what did
                arrive are in the folder.
        """
        try:
            return self._fetch(request, folder, advance)
        except TransferError as error:
            raise TransferError(
                f"patient {request.patient_id}, {request.kind} series {request.series_uid}, peer "
                f"{self._network.peer}: {error}"
            ) from error

    def _fetch(
        self, request: TransferRequest, folder: Path, advance: Callable[[int], None]
    ) -> Fetched:
        pulse = Pulse()
        holdings = self._query(request, pulse)
        expected = {
            uid: Expected(holding.sop_class_uid, holding.study_uid, holding.series_uid)
            for holding in holdings
            for uid in holding.sop_instance_uids
        }
        with self._inbox.delivery(request.patient_id, folder, expected, advance, pulse) as delivery:
            reports: list[str] = []
            clean = True
            for _ in self._attempts():
                try:
                    with self._collected(request, delivery, folder, pulse):
                        answers = self._retrieve(holdings, delivery, pulse)
                except PeerError as error:
                    if error.permanent:
                        raise
                    reports.append(str(error))
                    clean = False
                else:
                    reports.append(f"{in_short(answers)}.")
                    clean = clean and all(answer.clean for answer in answers)
                if delivery.failure:
                    raise TransferError(delivery.failure)
                missing = delivery.missing
                if not missing:
                    return Fetched(f"{self._service}: {' Asked again: '.join(reports)}", clean)
                clean = False
                logger.warning(
                    f"patient {request.patient_id}, series {request.series_uid}: {len(missing)} of "
                    f"{len(expected)} instances are missing. Last word of the peer: {reports[-1]}"
                )
        raise TransferError(
            f"{len(missing)} of {len(expected)} instances did not arrive in "
            f"{self._network.retries + 1} attempts: {listing(missing)}. Last word of the peer: "
            f"{reports[-1]} Run again; if it stays so, ask the peer's administrator"
            f"{self._reachability()}."
        )

    @contextmanager
    def _collected(
        self, request: TransferRequest, delivery: Delivery, folder: Path, pulse: Pulse
    ) -> Iterator[None]:
        """Have what was asked for meanwhile: at our port, or out of the File Daemon's folder."""
        if self._collector is None:
            yield
            delivery.settle(_SETTLE)
            return
        snapshot = self._collector.expect(request.patient_id)
        yield
        try:
            self._collector.collect(snapshot, delivery.missing, folder, lambda _: pulse.beat())
        except TransferError as error:
            logger.warning(f"patient {request.patient_id}, series {request.series_uid}: {error}")
        delivery.count_files()

    def _query(self, request: TransferRequest, pulse: Pulse) -> list[Holding]:
        trouble = PeerError("")
        for _ in self._attempts():
            try:
                with self._association(pulse, None) as association:
                    return find_holdings(association.find, request)
            except PeerError as error:
                if error.permanent:
                    raise
                trouble = error
        raise trouble

    def _retrieve(self, holdings: list[Holding], delivery: Delivery, pulse: Pulse) -> list[Answer]:
        """Ask once for everything that is missing; gives the peer's final responses."""
        missing = set(delivery.missing)
        with self._association(pulse, delivery) as association:
            answers = [
                association.retrieve(one)
                for holding in holdings
                for one in _identifiers(holding, missing)
            ]
        level = "INFO" if all(answer.clean for answer in answers) else "WARNING"
        words = in_short(answers)
        logger.log(level, f"series {holdings[0].series_uid} and its companions: {words}")
        return answers

    @property
    def _service(self) -> str:
        return "C-GET" if self._network.retrieve is Retrieve.GET else "C-MOVE"

    def _reachability(self) -> str:
        if self._network.retrieve is Retrieve.GET:
            return ""
        over_tls = (
            ', and whether it does a C-MOVE over TLS; if not, set network.retrieve to "get"'
            if self._network.tls
            else ""
        )
        return (
            f" whether it reaches {self._network.aet} at this computer's address, port "
            f"{self._network.port}{over_tls}"
        )

    def _attempts(self) -> Iterator[int]:
        for attempt in range(self._network.retries + 1):
            if attempt:
                self._cancelled.wait(min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE))
            if self._cancelled.is_set():
                raise TransferError("the transfer was cancelled. Run again to go on.")
            yield attempt

    @contextmanager
    def _association(self, pulse: Pulse, delivery: Delivery | None) -> Iterator[PeerAssociation]:
        """An association that is watched over, as soon as there may be one more."""
        association = PeerAssociation(self._network, self._inbox.store, pulse)
        with self._free:
            pulse.beat()
            with self._changed:
                self._associations[association] = delivery
            try:
                with association:
                    yield association
            finally:
                with self._changed:
                    del self._associations[association]

    def _watch(self) -> None:
        while not self._closed.wait(_TICK) or self._associations:
            if self._closed.is_set():
                time.sleep(_TICK)
            with self._changed:
                open_ones = list(self._associations.items())
            for association, delivery in open_ones:
                if self._cancelled.is_set():
                    association.cancel()
                    if time.monotonic() - self._cancelled_at > _CANCEL_GRACE:
                        association.break_off("the transfer was cancelled.")
                elif delivery and delivery.failure:
                    association.break_off(delivery.failure)
                elif association.pulse.silence > self._network.timeout:
                    association.break_off(
                        f"the peer gave no sign of life for {self._network.timeout:g} s."
                    )


def _identifiers(holding: Holding, missing: Collection[str]) -> Iterator[Dataset]:
    """What to ask for: the series as a whole, or those of its instances that are missing.

    Each names one UID of its level: whether Varian's daemons match lists is not known.
    """
    keys = {"StudyInstanceUID": holding.study_uid, "SeriesInstanceUID": holding.series_uid}
    wanted = [uid for uid in holding.sop_instance_uids if uid in missing]
    if holding.whole_series and len(wanted) == len(holding.sop_instance_uids):
        yield identifier("SERIES", **keys)
        return
    for uid in wanted:
        yield identifier("IMAGE", **keys, SOPInstanceUID=uid)
