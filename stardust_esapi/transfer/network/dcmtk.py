"""The engine ``dcmtk``: DCMTK's programs ask and move; what arrived is counted on disk.

``movescu`` exits with 0 where a series matches nothing or the peer moved less than it holds: an
exit code is never taken for success.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import pydicom
from loguru import logger
from pydicom.dataset import Dataset
from pydicom.uid import UID

from stardust_esapi import files
from stardust_esapi.choices import Retrieve
from stardust_esapi.dicom.instance import IMAGE_CLASSES, PREFIXES, Identity, identify
from stardust_esapi.errors import TransferError, UsageError, VerifyError
from stardust_esapi.model import TransferRequest
from stardust_esapi.names import folder_name
from stardust_esapi.settings import Network
from stardust_esapi.transfer.engine import Fetched
from stardust_esapi.transfer.network.association import listing
from stardust_esapi.transfer.network.dcmtk_commands import (
    ENVIRONMENT,
    check_network,
    check_uids,
    find_command,
    import_folder,
    retrieve_command,
    uids_of,
    write_commands,
)
from stardust_esapi.transfer.network.file_daemon import CANCELLED, FolderCollector, Snapshot
from stardust_esapi.transfer.network.inbox import Expected
from stardust_esapi.transfer.network.query import (
    Holding,
    QueryRefusedError,
    find_holdings,
    identifier,
)

__all__ = ["DcmtkEngine", "write_commands"]

# Seconds.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_TICK = 0.1
_AFTER_FAILURE = 3.0  # for files that a failed movescu has brought on their way all the same

_WORDS = re.compile(r"^(?:[WEF]|error): (.+)$", re.M)
"""DCMTK's warnings and errors."""


class _TrialError(TransferError):
    """One attempt failed; another may not."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a program ended: nothing to trust, but to tell."""

    program: str
    code: int
    words: str

    @property
    def clean(self) -> bool:
        """Whether it complained of nothing."""
        return self.code == 0 and not self.words

    def __str__(self) -> str:
        return f"{self.program} ended with {self.code}: {self.words or 'no complaint'}."


class _Fetch:
    """One request, over all attempts: what is expected and what is there.

    A file stands in ``folder`` under its final name only when it is whole and the expected one.
    """

    def __init__(
        self, request: TransferRequest, folder: Path, advance: Callable[[int], None]
    ) -> None:
        self.request = request
        self.folder = folder
        self.advance = advance
        self.work = folder.with_name(f".{folder.name}.incoming")
        self.expected: dict[str, Expected] = {}

    def expect(self, holdings: list[Holding]) -> None:
        for holding in holdings:
            # They are the peer's word, and go into command lines.
            check_uids((holding.study_uid, holding.series_uid, *holding.sop_instance_uids))
        self.expected = {
            uid: Expected(holding.sop_class_uid, holding.study_uid, holding.series_uid)
            for holding in holdings
            for uid in holding.sop_instance_uids
        }

    def missing(self, uids: Iterable[str]) -> list[str]:
        return [uid for uid in uids if not self.path(uid).exists()]

    @property
    def images(self) -> int:
        """How many images are there."""
        return sum(
            expected.sop_class_uid in IMAGE_CLASSES.values() and self.path(uid).exists()
            for uid, expected in self.expected.items()
        )

    def path(self, uid: str) -> Path:
        prefix = PREFIXES[self.expected[uid].sop_class_uid]
        return self.folder / f"{prefix}.{folder_name(uid)}.dcm"

    def difference(self, found: Identity) -> str:
        """What tells a file from the one that is expected; empty when nothing does."""
        expected = self.expected[found.sop_instance_uid]
        if UID(found.sop_class_uid) != expected.sop_class_uid:
            return f"it is no {expected.sop_class_uid.name}"
        if found.patient_id != self.request.patient_id:
            return f"it is of another patient ({found.patient_id or 'no id'})"
        if found.series_uid != expected.series_uid:
            return f"it is of another series ({found.series_uid or 'none'})"
        return ""

    def fresh_folder(self, name: str) -> Path:
        folder = self.work / name
        files.remove_tree(folder)
        files.make_folder(folder)
        return folder


class DcmtkEngine:
    """Fetch series from a Query/Retrieve SCP with ``findscu`` and ``movescu`` or ``getscu``.

    ``movescu`` receives on the one port that the peer knows, and files of two requests for one
    instance cannot be told apart in a File Daemon's folder: only one C-MOVE runs at a time,
    whatever ``network.associations`` says. C-GETs run side by side. While ``movescu`` listens it
    takes instances from anyone: what was not asked for goes to the quarantine folder.

    A context manager: what still runs is ended when the context is left.

    Args:
        network: The peer, and how to talk to it.
        quarantine: Folder for files that nobody asked for.
        programs: Folder of DCMTK's programs; None looks on the PATH.

    Raises:
        UsageError: A program is missing, or cannot do what is set.
    """

    name = "dcmtk"

    def __init__(self, network: Network, quarantine: Path, programs: Path | None = None) -> None:
        self._peer = check_network(network)
        self._network = network
        self._quarantine = quarantine
        retrieve = "getscu" if network.retrieve is Retrieve.GET else "movescu"
        self._programs = {name: _program(name, programs) for name in ("findscu", retrieve)}
        self._import = import_folder(network)
        self._turn = threading.BoundedSemaphore(
            network.associations if network.retrieve is Retrieve.GET else 1
        )
        self._quarantine_lock = threading.Lock()
        self._quarantined: list[str] = []
        self._cancelled = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs."""
        self.cancel()

    @property
    def quarantined(self) -> tuple[str, ...]:
        """A sentence for each instance that arrived and was not taken, so far."""
        return tuple(self._quarantined)

    def cancel(self) -> None:
        """Have every running fetch end soon, with a TransferError; later ones do not begin."""
        self._cancelled.set()

    def fetch(
        self, request: TransferRequest, folder: Path, advance: Callable[[int], None]
    ) -> Fetched:
        """Fetch the images of a request, its structure set and its registration.

        Args:
            request: The series and what goes with it.
            folder: An existing empty folder; a hidden one beside it is used meanwhile.
            advance: Told the number of images so far.

        Returns:
            How the programs ended, of every attempt.

        Raises:
            TransferError: Not everything arrived, or something else did; whole files of what did
                arrive are in the folder.
            OSError: The folder cannot be written to.
        """
        fetch = _Fetch(request, folder, advance)
        try:
            return self._fetch(fetch)
        except (TransferError, UsageError) as error:
            raise TransferError(
                f"patient {request.patient_id}, {request.kind} series {request.series_uid}, peer "
                f"{self._peer}: {error}"
            ) from error
        finally:
            files.remove_tree(fetch.work)

    def _fetch(self, fetch: _Fetch) -> Fetched:
        request = fetch.request
        check_uids(uids_of(request))
        snapshot = self._collector().expect(request.patient_id) if self._import else None
        answers: list[str] = []
        for attempt in range(self._network.retries + 1):
            if attempt:
                self._cancelled.wait(min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE))
            try:
                outcomes = self._attempt(fetch, snapshot)
            except (_TrialError, QueryRefusedError) as error:
                answers.append(str(error))
                logger.warning(
                    f"patient {request.patient_id}, series {request.series_uid}, attempt "
                    f"{attempt + 1}: {error}"
                )
            else:
                clean = not answers and all(outcome.clean for outcome in outcomes)
                answers.append(" ".join(dict.fromkeys(map(str, outcomes))))
                return Fetched(" Asked again: ".join(answers), clean)
        raise TransferError(
            f"{answers[-1]} That was attempt {self._network.retries + 1}. Run again; if it stays "
            f"so, ask the peer's administrator{self._reachability()}."
        )

    def _reachability(self) -> str:
        network = self._network
        if network.retrieve is Retrieve.GET:
            return ""
        where = "" if self._import else f" at this computer's address, port {network.port}"
        return f" whether it knows and reaches {network.destination or network.aet}{where}"

    def _attempt(self, fetch: _Fetch, snapshot: Snapshot | None) -> list[_Outcome]:
        """Ask for everything that is missing; returns, with how it went, when nothing is."""
        holdings = find_holdings(partial(self._find, fetch), fetch.request)
        fetch.expect(holdings)
        outcomes, short = [], []
        with self._turn:
            for holding in holdings:
                if fetch.missing(holding.sop_instance_uids):
                    outcomes.append(self._retrieve(fetch, holding, snapshot))
                    if fetch.missing(holding.sop_instance_uids):
                        short.append(outcomes[-1])
        if missing := fetch.missing(fetch.expected):
            raise _TrialError(
                f"{len(missing)} of {len(fetch.expected)} instances did not arrive: "
                f"{listing(missing)}. {short[0]}"
            )
        return outcomes

    def _find(self, fetch: _Fetch, query: Dataset) -> list[Dataset]:
        folder = fetch.fresh_folder("found")
        command = find_command(self._network, query, str(folder))
        outcome = self._run(command, fetch, lambda: len(list(folder.iterdir())))
        if outcome.code:
            raise QueryRefusedError(str(outcome))
        return [pydicom.dcmread(path) for path in sorted(folder.glob("rsp*.dcm"))]

    def _retrieve(self, fetch: _Fetch, holding: Holding, snapshot: Snapshot | None) -> _Outcome:
        """Have one holding sent, and give what came its name."""
        keys = {"StudyInstanceUID": holding.study_uid, "SeriesInstanceUID": holding.series_uid}
        if holding.whole_series:
            query = identifier("SERIES", **keys)
        else:
            [uid] = holding.sop_instance_uids
            query = identifier("IMAGE", **keys, SOPInstanceUID=uid)
        folder = fetch.fresh_folder("received")
        command = retrieve_command(self._network, query, str(folder))
        before = fetch.images

        def progress() -> object:
            if snapshot:
                return self._collector().expect(snapshot.patient_id).marks
            arrived = len(list(folder.iterdir()))
            if holding.whole_series:
                fetch.advance(min(before + arrived, len(holding.sop_instance_uids)))
            return arrived

        try:
            outcome = self._run(command, fetch, progress)
            if snapshot:
                self._collect(fetch, holding, snapshot, outcome)
        finally:
            self._sort(fetch, folder)
        return outcome

    def _collect(
        self, fetch: _Fetch, holding: Holding, snapshot: Snapshot, outcome: _Outcome
    ) -> None:
        before = fetch.images
        wanted = fetch.missing(holding.sop_instance_uids)
        collector = self._collector(_AFTER_FAILURE if outcome.code else self._network.timeout)
        try:
            collector.collect(
                snapshot, wanted, fetch.folder, lambda images: fetch.advance(before + images)
            )
        except TransferError as error:
            raise _TrialError(f"{error} {outcome}") from None

    def _collector(self, patience: float = 0.0) -> FolderCollector:
        assert self._import is not None
        patience = min(patience, self._network.timeout)
        return FolderCollector(self._import, patience, self._cancelled)

    def _sort(self, fetch: _Fetch, folder: Path) -> None:
        """Give expected files their names, and put all others aside.

        Raises:
            TransferError: An expected instance is not what it should be.
        """
        wrong = []
        for path in sorted(folder.iterdir()):
            uid = ""
            try:
                found = identify(path.name, path.read_bytes())
                uid = found.sop_instance_uid
                reason = fetch.difference(found) if uid in fetch.expected else "nobody asked for it"
            except VerifyError as error:
                reason = str(error)
            if not reason:
                files.rename(path, fetch.path(uid))
                continue
            place = self._move_to_quarantine(path, uid)
            sentence = (
                f"While patient {fetch.request.patient_id}, series {fetch.request.series_uid} was "
                f"fetched, instance {uid or path.name} was not taken: {reason}. It is in {place}."
            )
            self._quarantined.append(sentence)
            logger.warning("{}", sentence)
            if uid in fetch.expected:
                wrong.append(f"the peer sent an instance {uid}, but {reason}")
        fetch.advance(fetch.images)
        if wrong:
            raise TransferError(
                f"{wrong[0]}. It was put into {self._quarantine}. Find out where it comes from "
                "before you run the case again."
            )

    def _move_to_quarantine(self, path: Path, uid: str) -> Path:
        name = folder_name(uid or path.name)
        with self._quarantine_lock:
            files.make_folder(self._quarantine)
            place = self._quarantine / f"{name}.dcm"
            number = 1
            while place.exists():
                number += 1
                place = self._quarantine / f"{name}~{number}.dcm"
            files.rename(path, place)
        return place

    def _run(self, command: list[str], fetch: _Fetch, progress: Callable[[], object]) -> _Outcome:
        """Run a program until it ends, is cancelled, or nothing moves any more.

        Raises:
            TransferError: The transfer was cancelled.
            _TrialError: The program gave no sign of life for too long, and was ended.
        """
        if self._cancelled.is_set():
            raise TransferError(CANCELLED)
        name, log = command[0], fetch.work / "output.txt"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - arguments as dcmtk_commands lets through
                [self._programs[name], *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=ENVIRONMENT | os.environ,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
            try:
                self._wait(name, process, lambda: (log.stat().st_size, progress()))
            finally:
                process.kill()
                process.wait()
                said = log.read_text(errors="replace")
                for line in said.splitlines():
                    logger.debug(f"{name}: {line}")
        words = _WORDS.findall(said)
        return _Outcome(name, process.returncode, words[-1].strip() if words else "")

    def _wait(
        self, name: str, process: subprocess.Popen[bytes], pulse: Callable[[], object]
    ) -> None:
        last, since = pulse(), time.monotonic()
        while True:
            try:
                process.wait(_TICK)
            except subprocess.TimeoutExpired:
                now = pulse()
                if now != last:
                    last, since = now, time.monotonic()
                elif time.monotonic() - since > self._network.timeout:
                    raise _TrialError(
                        f"{name} gave no sign of life for {self._network.timeout:g} s and was "
                        "ended."
                    ) from None
                if self._cancelled.is_set():
                    raise TransferError(CANCELLED) from None
            else:
                return


def _program(name: str, folder: Path | None) -> str:
    """Find a program; on Windows an EXE alone, since batch files parse their arguments anew."""
    file = f"{name}.exe" if os.name == "nt" else name
    found = shutil.which(file, path=str(folder) if folder else None)
    if found is None:
        raise UsageError(
            f"DCMTK's program {name} is not {f'in {folder}' if folder else 'on the PATH'}. Install "
            "DCMTK (Debian: apt install dcmtk; Windows: from dicom.offis.de) and put its bin "
            "folder on the PATH, or use the engine qr."
        )
    return str(Path(found).absolute())
