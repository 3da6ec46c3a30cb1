"""Collect from the folder of Varian's File Daemon what one request asked for, and nothing else.

The daemon is a storage SCP that drops files into ``<import folder>/<Patient-ID>/``, beside what
other people import. A file is taken when all of this holds:

* it appeared after the request, or its size or time of change differ from what was noted before:
  what lies there unchanged may be of an earlier export, and is stale even where its UID fits;
* neither size nor time of change moved between two looks and while it was read;
* it is whole, and its SOP Instance UID and Patient ID, read from the file, are the wanted ones.

What is taken is removed from there; everything else stays as it is. A transfer of the same
instance that someone else began before the request and that ends after it cannot be told from
our own: its content is what the database held at that time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from pydicom.uid import UID

from stardust_esapi.dicom.instance import IMAGE_CLASSES, PREFIXES, identify
from stardust_esapi.errors import TransferError, VerifyError
from stardust_esapi.files import atomic_write, remove
from stardust_esapi.names import folder_name

_PAUSE: Final = 0.25
"""Seconds between two looks."""

CANCELLED: Final = "the transfer was cancelled. Run again to go on."


class Mark(NamedTuple):
    """What tells that a file was written to. The inode does not: network shares invent it."""

    size: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What lay in the daemon's folder before a request.

    Attributes:
        patient_id: Patient ID (0010,0020) of the request.
        marks: The files, by path.
    """

    patient_id: str
    marks: Mapping[Path, Mark]


class FolderCollector:
    """Takes delivered files out of a File Daemon's import folder.

    No two requests at the same time may want the same instance: the daemon writes it once, or
    one copy over the other.

    Args:
        root: The import folder, with a folder for each patient.
        timeout: Seconds to wait since something last moved.
        cancelled: Ends the waiting when it is set.
    """

    def __init__(
        self, root: Path, timeout: float, cancelled: threading.Event | None = None
    ) -> None:
        self._root = root
        self._timeout = timeout
        self._cancelled = cancelled or threading.Event()

    def expect(self, patient_id: str) -> Snapshot:
        """Note what lies there; to be called before the peer is asked to send.

        Raises:
            TransferError: The import folder cannot be read.
        """
        return Snapshot(patient_id, self._look(patient_id))

    def collect(
        self,
        snapshot: Snapshot,
        wanted: Collection[str],
        folder: Path,
        advance: Callable[[int], None],
    ) -> None:
        """Move the wanted files into a folder, as ``CT.<SOP Instance UID>.dcm`` and so on.

        Args:
            snapshot: From before the request.
            wanted: SOP Instance UIDs.
            folder: An existing folder.
            advance: Told the number of images taken by this call.

        Raises:
            TransferError: Some have not come; those that have are in ``folder``.
            OSError: The folder cannot be written to.
        """
        missing, images = set(wanted), 0
        seen: Mapping[Path, Mark] = {}
        foreign: dict[Path, Mark] = {}
        obstacle = ""
        moved = time.monotonic()
        while missing:
            now = self._look(snapshot.patient_id)
            for path, mark in now.items():
                if mark in (snapshot.marks.get(path), foreign.get(path)):
                    continue
                if mark != seen.get(path):
                    moved = time.monotonic()
                    continue
                try:
                    data = path.read_bytes()
                    if _mark(path) != mark:
                        continue
                    instance = identify(path.name, data)
                except (OSError, VerifyError) as error:
                    obstacle = str(error)  # in use, or not whole yet
                    continue
                uid, sop_class = instance.sop_instance_uid, UID(instance.sop_class_uid)
                if uid not in missing or instance.patient_id != snapshot.patient_id:
                    foreign[path] = mark
                    continue
                target = folder / f"{PREFIXES[sop_class]}.{folder_name(uid)}.dcm"
                atomic_write(target, data)
                try:
                    remove(path)
                except OSError as error:
                    # Windows refuses while somebody writes, even where size and time stand still.
                    target.unlink()
                    obstacle = str(error)
                    continue
                missing.remove(uid)
                moved = time.monotonic()
                images += sop_class in IMAGE_CLASSES.values()
                advance(images)
            seen = now
            if missing and time.monotonic() - moved > self._timeout:
                raise TransferError(
                    f"{len(missing)} of {len(wanted)} instances, such as {min(missing)}, did not "
                    f"come whole into the File Daemon's folder {self._root} within "
                    f"{self._timeout:g} s"
                    f"{f' (last obstacle: {obstacle})' if obstacle else ''}. Files that lay there "
                    "before the request are not taken. Check the daemon and its folder, where "
                    "this program must be allowed to delete, then run again."
                )
            if missing and self._cancelled.wait(_PAUSE):
                raise TransferError(CANCELLED)

    def _look(self, patient_id: str) -> dict[Path, Mark]:
        try:
            marks = {}
            for folder in self._folders(patient_id):
                for path in folder.iterdir():
                    with suppress(FileNotFoundError):
                        if path.is_file():
                            marks[path] = _mark(path)
        except OSError as error:
            raise TransferError(
                f"The File Daemon's folder {self._root} cannot be read: "
                f"{error.strerror or error}. Check network.deliver and the access rights."
            ) from None
        return marks

    def _folders(self, patient_id: str) -> Iterator[Path]:
        """Where the daemon may put this patient: how it names odd ids is its own secret."""
        if not self._root.is_dir():
            raise FileNotFoundError("there is no such folder")
        named = folder_name(patient_id) == patient_id
        for folder in [self._root / patient_id] if named else self._root.iterdir():
            if folder.is_dir():
                yield folder


def _mark(path: Path) -> Mark:
    stat = path.stat()
    return Mark(stat.st_size, stat.st_mtime_ns)
