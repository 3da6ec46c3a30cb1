"""The one place for durable file work: a file or folder bears its final name only when whole.

Write aside, fsync, rename, fsync the folder: killed at any moment, a reader finds the old content
or the new one, never a part. What a kill leaves aside is overwritten or removed by the next run.
"""

from __future__ import annotations

import errno
import ntpath
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

from loguru import logger

from stardust_esapi.errors import CaseError, UsageError
from stardust_esapi.names import is_device

T = TypeVar("T")

_MOUNT_POINT = 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT, which marks a junction
# A virus scanner or indexer holds new files open for a moment, and Windows refuses to rename or
# remove them (or a folder with them) meanwhile.
# Seconds, ten in all.
_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.5, 2.0, 2.5, 2.5) if os.name == "nt" else ()
_IN_USE = frozenset({errno.EACCES, errno.EPERM, errno.ENOTEMPTY})


def patiently(work: Callable[[], T]) -> T:
    """Do what Windows may refuse for a moment, again for ten seconds; elsewhere once.

    Raises:
        OSError: The file system still refuses, or for another reason.
    """
    for pause in _PAUSES:
        try:
            return work()
        except OSError as error:
            if error.errno not in _IN_USE:
                raise
            time.sleep(pause)
    return work()


def long_path(path: Path) -> Path:
    """Make a path that Windows accepts beyond 260 characters; elsewhere the absolute path.

    Patient folder, series UID and SOP instance UID together come close to that limit. Paths
    joined to the result are as safe, so the root of a tree alone needs this.

    Raises:
        UsageError: On Windows, a folder of it has a name that is kept for devices.
    """
    return Path(_verbatim(str(path))) if os.name == "nt" else path.absolute()


def _verbatim(path: str) -> str:
    r"""A path as it is after ``\\?\``, where Windows takes every letter as it stands.

    So what it would make of ``..``, of ``D:out``, and of blanks and dots at the end comes first.
    """
    if path.startswith("\\\\?\\"):
        return path
    absolute = ntpath.abspath(path).rstrip(" .")
    if device := next(filter(is_device, absolute.split("\\")), ""):
        raise UsageError(f"{path} cannot be used: Windows keeps the name {device} for a device.")
    return f"\\\\?\\UNC\\{absolute[2:]}" if absolute.startswith("\\\\") else f"\\\\?\\{absolute}"


def atomic_write(path: Path, data: bytes | str) -> None:
    """Give a file its new content as a whole, durably; text is written as UTF-8.

    Args:
        path: The file; its folder exists.
        data: The whole content.

    Raises:
        OSError: The file system refuses; the old content still stands.
    """
    with whole_file(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def beside(path: Path) -> Path:
    """Where what a file should hold lies while it cannot be written."""
    return path.with_name(f"{path.stem} (newer){path.suffix}")


def write_for_people(path: Path, data: bytes | str) -> Path:
    """Give a file that only people read its new content; no refusal ends what else is done.

    While a spreadsheet holds it open, say, the content goes into a file beside it, and a warning
    tells so. The next time it can be written, the one beside it goes.

    Args:
        path: The file; its folder exists.
        data: The whole content.

    Returns:
        Where the content is; where it could not be written at all, ``path``.
    """
    other = beside(path)
    try:
        atomic_write(path, data)
    except OSError as error:
        refused = f"{path} cannot be written: {error.strerror or error}."
        close = "Close it where it is open; the next run writes it."
        try:
            atomic_write(other, data)
        except OSError:
            logger.warning("{}", f"{refused} {close}")
            return path
        logger.warning("{}", f"{refused} What it should hold is in {other.name}. {close}")
        return other
    with suppress(OSError):
        other.unlink(missing_ok=True)
    return path


@contextmanager
def whole_file(path: Path, mode: int | None = None) -> Iterator[IO[bytes]]:
    """A file to write to, which bears its name only when all is written and durable.

    Args:
        path: The file; its folder exists.
        mode: Its permissions, such as 0o600 for a secret; None for the usual ones.

    Raises:
        OSError: The file system refuses; the old content still stands.
    """
    aside = path.with_name(f".{path.name}.part")
    try:
        with _open_anew(aside, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        rename(aside, path)
    except BaseException:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _open_anew(path: Path, mode: int | None) -> IO[bytes]:
    if mode is None:
        return path.open("wb")
    path.unlink(missing_ok=True)  # the permissions of one that is there would stay
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, mode), "wb")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; Windows does so by itself and offers no call for it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network shares know no fsync of a folder: theirs is the server's promise.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, durably.

    Raises:
        OSError: The file system refuses, or a file has that name.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def first_link(folder: Path) -> Path | None:
    """A link, or Windows' junction, in a folder or in one of the folders in it."""
    for entry in _entries(folder):
        if _is_link(entry):
            return Path(entry.path)
        if entry.is_dir():
            for inner in _entries(entry.path):
                if _is_link(inner):
                    return Path(inner.path)
    return None


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:  # another run works there, as its lock will tell
        return []


def _is_link(entry: os.DirEntry[str]) -> bool:
    if os.name != "nt":
        return entry.is_symlink()
    tag = getattr(entry.stat(follow_symlinks=False), "st_reparse_tag", 0)  # known without a call
    return entry.is_symlink() or tag == _MOUNT_POINT


def place_folder(staged: Path, final: Path) -> None:
    """Give a complete folder its final name: everything in it is made durable first.

    Args:
        staged: The folder with its files, on the same file system as ``final``.
        final: Its final name; missing parents are created.

    Raises:
        CaseError: Something has the final name already.
        OSError: The file system refuses; ``final`` does not exist then.
    """
    if os.path.lexists(final):
        raise CaseError(
            f"{final} exists already and is not known to be this export. Move it away, run again."
        )
    for parent, _, names in os.walk(staged, topdown=False):
        for name in names:
            _sync_file(Path(parent) / name)
        sync_folder(Path(parent))
    make_folder(final.parent)
    rename(staged, final)
    sync_folder(final.parent)
    sync_folder(staged.parent)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all it holds, such as stale staging; none there is fine.

    Raises:
        OSError: The file system refuses.
    """
    if os.path.lexists(folder):
        patiently(partial(shutil.rmtree, folder))


def remove(path: Path) -> None:
    """Remove a file; none there is fine.

    Raises:
        OSError: The file system refuses.
    """
    patiently(partial(path.unlink, missing_ok=True))


def rename(source: Path, target: Path) -> None:
    """Give a file or folder its final name.

    Raises:
        OSError: The file system refuses.
    """
    patiently(partial(source.replace, target))


def _sync_file(path: Path) -> None:
    def sync() -> None:
        # Windows flushes a file only through a handle that may write.
        with path.open("r+b" if os.name == "nt" else "rb") as file:
            os.fsync(file.fileno())

    patiently(sync)
