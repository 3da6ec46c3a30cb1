"""Where arriving instances go: into the folder of the case that asked for them, or aside.

What nobody asked for, or what is of another patient or series than it should be, lands in the
quarantine folder and is named; it never comes near a case.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from loguru import logger
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID
from pynetdicom.dsutils import create_file_meta, encode_file_meta

from stardust_esapi import files
from stardust_esapi.dicom.instance import IMAGE_CLASSES, PREFIXES
from stardust_esapi.names import folder_name
from stardust_esapi.transfer.network.dimse import Sent

# Statuses of the storage service (PS3.4 B.2.3, PS3.7 C).
SUCCESS: Final = 0x0000
NOT_AUTHORIZED: Final = 0x0124
OUT_OF_RESOURCES: Final = 0xA700
DOES_NOT_MATCH: Final = 0xA900

_SERIES_TAG = 0x0020000E
_STUDY_TAG = 0x0020000D
_HEADER_TAGS: list[BaseTag | int] = [
    BaseTag(0x00080005),  # Specific Character Set
    BaseTag(0x00080016),  # SOP Class UID
    BaseTag(0x00080018),  # SOP Instance UID
    BaseTag(0x00100020),  # Patient ID
    BaseTag(_STUDY_TAG),
    BaseTag(_SERIES_TAG),
]


class Pulse:
    """When a peer last gave a sign of life in one fetch."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def beat(self) -> None:
        """The peer answered, or an instance arrived."""
        self._last = time.monotonic()

    @property
    def silence(self) -> float:
        """Seconds since the last sign of life."""
        return time.monotonic() - self._last


@dataclass(frozen=True, slots=True)
class Expected:
    """What an instance must be, beside its SOP Instance UID.

    Attributes:
        sop_class_uid: SOP Class UID (0008,0016).
        study_uid: Study Instance UID (0020,000D).
        series_uid: Series Instance UID (0020,000E).
    """

    sop_class_uid: UID
    study_uid: str
    series_uid: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An instance that was quarantined.

    Attributes:
        path: Where it lies; None where that failed too.
        sop_instance_uid: As the sender named it.
        patient_id: Patient ID (0010,0020) as read from it.
        reason: Why it was not taken.
    """

    path: Path | None
    sop_instance_uid: str
    patient_id: str
    reason: str

    def __str__(self) -> str:
        """Say it in a sentence."""
        return (
            f"Instance {self.sop_instance_uid} of patient {self.patient_id or 'without id'} was "
            f"not taken: {self.reason}. It is in {self.path or 'no place'}."
        )


class Delivery:
    """The instances that one fetch waits for; made by :meth:`Inbox.delivery`.

    Attributes:
        failure: Why it can no longer succeed; empty while it can.
    """

    def __init__(
        self,
        changed: threading.Condition,
        patient_id: str,
        folder: Path,
        expected: Mapping[str, Expected],
        advance: Callable[[int], None],
        pulse: Pulse,
    ) -> None:
        self.failure = ""
        self._changed = changed
        self._patient_id = patient_id
        self._folder = folder
        self._expected = dict(expected)
        self._advance = advance
        self._pulse = pulse
        self._arrived: set[str] = set()
        self._images = 0
        self._busy: set[str] = set()

    @property
    def missing(self) -> list[str]:
        """SOP Instance UIDs of what has not arrived, in the order they were asked for."""
        with self._changed:
            return [uid for uid in self._expected if uid not in self._arrived]

    def count_files(self) -> None:
        """Count what another way has brought into the folder, under the names used here."""
        for uid in self.missing:
            if self._path(uid).exists():
                self._accept(uid)

    def settle(self, quiet: float) -> None:
        """Wait until all is there, or nothing has come for ``quiet`` seconds, or it failed."""
        with self._changed:
            before = -1
            while before < len(self._arrived) < len(self._expected) and not self.failure:
                before = len(self._arrived)
                self._changed.wait(quiet)

    def _fail(self, reason: str) -> None:
        with self._changed:
            self.failure = self.failure or reason
            self._changed.notify_all()

    def _accept(self, uid: str) -> None:
        with self._changed:
            self._arrived.add(uid)
            # Under the lock, so that the numbers rise whatever thread tells them.
            if self._expected[uid].sop_class_uid in IMAGE_CLASSES.values():
                self._images += 1
                self._advance(self._images)
            self._changed.notify_all()
        self._pulse.beat()

    def _path(self, uid: str) -> Path:
        prefix = PREFIXES[self._expected[uid].sop_class_uid]
        return self._folder / f"{prefix}.{folder_name(uid)}.dcm"

    def _difference(self, instance: Sent, header: Dataset) -> str:
        """What tells an instance from the one that is expected; empty when nothing does."""
        uid = instance.sop_instance
        expected = self._expected[uid]
        patient_id = str(header.get("PatientID") or "").strip()
        study = str(header.get("StudyInstanceUID") or "")
        series = str(header.get("SeriesInstanceUID") or "")
        if header.get("SOPInstanceUID") != uid:
            return f"it calls itself {header.get('SOPInstanceUID') or 'nothing'} inside"
        if not header.get("SOPClassUID") == instance.context.sop_class == expected.sop_class_uid:
            return f"it is no {expected.sop_class_uid.name}"
        if patient_id != self._patient_id:
            return f"it is of another patient ({patient_id or 'no id'})"
        if study != expected.study_uid:
            return f"it is of another study ({study or 'none'})"
        if series != expected.series_uid:
            return f"it is of another series ({series or 'none'})"
        return ""


class Inbox:
    """Takes instances from any association, of any number of fetches at the same time.

    Args:
        quarantine: Folder for what does not belong to any; made when needed.
    """

    def __init__(self, quarantine: Path) -> None:
        self.quarantined: list[Quarantined] = []
        self._quarantine = quarantine
        self._changed = threading.Condition(threading.RLock())
        self._deliveries: dict[str, Delivery] = {}
        self._numbers = itertools.count(1)

    @contextmanager
    def delivery(
        self,
        patient_id: str,
        folder: Path,
        expected: Mapping[str, Expected],
        advance: Callable[[int], None],
        pulse: Pulse,
    ) -> Iterator[Delivery]:
        """Take the expected instances into a folder while the context lasts.

        An instance belongs to one delivery at a time: another that asks for the same waits here.
        Nothing is written into the folder any more when the context is left.

        Args:
            patient_id: Patient ID (0010,0020) that every instance must carry.
            folder: An existing folder.
            expected: By SOP Instance UID.
            advance: Told the number of images so far, from the receiving thread.
            pulse: Beats with each arrival.
        """
        delivery = Delivery(self._changed, patient_id, folder, expected, advance, pulse)
        with self._changed:
            self._changed.wait_for(lambda: self._deliveries.keys().isdisjoint(expected))
            self._deliveries |= dict.fromkeys(expected, delivery)
        try:
            yield delivery
        finally:
            with self._changed:
                for uid in expected:
                    del self._deliveries[uid]
                self._changed.notify_all()
                self._changed.wait_for(lambda: not delivery._busy)

    def store(self, instance: Sent) -> int:
        """Write an instance as it was sent, without decoding it.

        Returns:
            The status for the sender (PS3.4 B.2.3).
        """
        uid = instance.sop_instance
        with self._changed:
            delivery = self._deliveries.get(uid)
            while delivery and uid in delivery._busy:  # its twin is being written
                self._changed.wait()
                delivery = self._deliveries.get(uid)
            if delivery:
                delivery._busy.add(uid)
        header = _read_header(instance)
        if delivery is None:
            self._set_aside(instance, header, "nobody asked for it")
            return NOT_AUTHORIZED
        try:
            return self._take(delivery, uid, instance, header)
        finally:
            with self._changed:
                delivery._busy.discard(uid)
                self._changed.notify_all()

    def _take(self, delivery: Delivery, uid: str, instance: Sent, header: Dataset) -> int:
        if delivery.failure:
            return OUT_OF_RESOURCES
        if difference := delivery._difference(instance, header):
            self._set_aside(instance, header, difference)
            delivery._fail(
                f"the peer sent an instance {uid}, but {difference}. It was put into "
                f"{self._quarantine}. Find out where it comes from before you run the case again."
            )
            return DOES_NOT_MATCH
        path = delivery._path(uid)
        try:
            if uid not in delivery._arrived:
                _write(path, instance)
                delivery._accept(uid)
                return SUCCESS
            if path.read_bytes() == _head(instance) + instance.data.getbuffer():
                return SUCCESS
        except OSError as error:
            delivery._fail(
                f"{path} cannot be written: {error.strerror or error}. Check the free space and "
                f"the access rights of that disk, then run again."
            )
            return OUT_OF_RESOURCES
        self._set_aside(instance, header, "it differs from the one that came before it")
        delivery._fail(
            f"the peer sent the instance {uid} twice, with different content. The second was put "
            f"into {self._quarantine}. Find out which one is right before you run the case again."
        )
        return DOES_NOT_MATCH

    def _set_aside(self, instance: Sent, header: Dataset, reason: str) -> None:
        uid = instance.sop_instance
        patient_id = str(header.get("PatientID") or "")
        path: Path | None = None
        try:
            self._quarantine.mkdir(parents=True, exist_ok=True)
            path = self._quarantine / f"{folder_name(uid)}.dcm"
            with self._changed:
                while path.exists():
                    path = self._quarantine / f"{folder_name(uid)}~{next(self._numbers)}.dcm"
                path.touch()
            _write(path, instance)
        except OSError as error:
            reason += f", and it could not be kept: {error.strerror or error}"
            path = None
        reason += f" (sent by {instance.context.sender})"
        quarantined = Quarantined(path, uid, patient_id, reason)
        self.quarantined.append(quarantined)
        logger.warning("{}", quarantined)


def _write(path: Path, instance: Sent) -> None:
    """Write an instance as a file (PS3.10 7.1), its dataset as it was sent."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file, instance.data.getbuffer() as data:
            file.write(_head(instance))
            file.write(data)
        files.rename(part, path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _head(instance: Sent) -> bytes:
    """Encode what comes before the dataset in a file: preamble, prefix and File Meta Information.

    Only the SOP Instance UID differs from one to the next of a series, and often not in length:
    encoding it anew would take longer than writing the pixels.
    """
    uid, context = instance.sop_instance, instance.context
    pattern = _meta_pattern(context.sop_class, context.transfer_syntax, len(uid))
    meta = pattern.replace(_placeholder(len(uid)).encode(), uid.encode("ascii", "replace"))
    return b"\x00" * 128 + b"DICM" + meta


@lru_cache(maxsize=64)
def _meta_pattern(sop_class: str, syntax: str, length: int) -> bytes:
    meta = create_file_meta(
        sop_class_uid=UID(sop_class),
        sop_instance_uid=UID(_placeholder(length)),
        transfer_syntax=UID(syntax),
    )
    return encode_file_meta(meta)


def _placeholder(length: int) -> str:
    """A UID of this length that no real instance has: 9 is no root."""
    return "9" * length


def _read_header(instance: Sent) -> Dataset:
    """Read what tells whose an instance is; nothing where it cannot be read.

    Elements are in rising order: reading ends after the series, long before the pixels.
    """
    syntax = UID(instance.context.transfer_syntax)
    stream = instance.data
    stream.seek(0)
    try:
        return read_dataset(
            stream,
            is_implicit_VR=syntax.is_implicit_VR,
            is_little_endian=syntax.is_little_endian,
            stop_when=lambda tag, _vr, _length: tag > _SERIES_TAG,
            specific_tags=_HEADER_TAGS,
        )
    except Exception:  # noqa: BLE001 - a damaged dataset makes the parser raise anything
        return Dataset()
