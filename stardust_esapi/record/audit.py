"""``audit.jsonl``: every write to the clinical database, appended, durable, chained by hash.

A line an event, as JSON. ``hash`` is the SHA-256 of the line without it, and ``previous`` is the
``hash`` of the line before: a line that was changed, taken out or put in breaks the chain. A chain
proves nothing of lines cut off at its end; keep ``hash`` of the last line elsewhere for that (the
run's report shows it).

Several runs may share one file, such as on a clinic's file server: a lock file orders them.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from stardust_esapi.errors import UsageError
from stardust_esapi.files import sync_folder

AUDIT_NAME = "audit.jsonl"

_FIRST = "0" * 64
_PATIENCE_SECONDS = 30.0
_TAIL_BYTES = 1 << 16


class Event(StrEnum):
    """What happened to a patient's record."""

    BEGUN = "begun"  # about to be opened for writing
    REFUSED = "refused"  # Eclipse did not open it; nothing was changed
    SAVED = "saved"
    EXPORTED = "exported"  # copied out of Eclipse's database
    LEFT = "left"  # changed, and left to the user of Eclipse to save
    DROPPED = "dropped"  # given up; nothing was saved
    TORN = "torn"  # the line before was cut off by an interruption


_ENDS = frozenset({Event.REFUSED, Event.SAVED, Event.LEFT, Event.DROPPED})


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a check of the chain found.

    Attributes:
        events: How many events the file holds.
        last: ``hash`` of the last line; empty where there is none.
        problems: Sentences on what is not as it was written; none is well.
        open_ends: Sentences on writes whose end is not known: the program was cut off there.
    """

    events: int
    last: str
    problems: tuple[str, ...]
    open_ends: tuple[str, ...]


class AuditLog:
    """The log in one file.

    Args:
        path: The file; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: Event, facts: Mapping[str, object]) -> str:
        """Add an event; it is durable on return.

        Args:
            event: What happened.
            facts: What it happened to; values that JSON can hold. The time, the Windows user and
                the computer are added. Never a patient's name or birth date.

        Returns:
            The line's hash, for whoever wants to keep the chain's end.

        Raises:
            UsageError: The file cannot be written, or does not end as this program left it.
        """
        try:
            aside = self.path.with_name(f".{self.path.name}.lock")
            lock = FileLock(aside, timeout=_PATIENCE_SECONDS)
            with lock, self.path.open("a+b") as file:
                whole, rest = _end(file)
                if _parse(rest) is not None:  # whole, but for the end of its line
                    whole, rest, mend = [*whole, rest], b"", b"\n"
                else:
                    mend = b"\n" if rest else b""
                previous = _last_hash(self.path, whole)
                if rest:
                    torn = {"sha256": hashlib.sha256(rest).hexdigest()}
                    previous, line = _line(previous, Event.TORN, torn)
                    mend += line
                previous, line = _line(previous, event, facts)
                file.write(mend + line)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self.path.parent)
        except Timeout:
            raise UsageError(
                f"{self.path} is in use by another run for more than {_PATIENCE_SECONDS:.0f} s. "
                "Nothing is written to Eclipse without it: wait, and run again."
            ) from None
        except OSError as error:
            raise UsageError(
                f"{self.path} cannot be written: {error.strerror or error}. Nothing is written to "
                "Eclipse without this log: check the folder's rights, and run again."
            ) from None
        return previous


def check(path: Path) -> AuditReport:
    """Check the chain of a log.

    Raises:
        UsageError: The file cannot be read.
    """
    try:
        whole, rest = _split(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from None
    problems: list[str] = []
    open_writes: dict[str, str] = {}
    previous, events = _FIRST, 0
    torn: tuple[int, str] | None = None  # a line that is none, and must be explained by the next

    def unexplained() -> None:
        if torn is not None:
            problems.append(f"Line {torn[0]} is no event of this log.")

    for number, line in enumerate(whole, start=1):
        entry = _parse(line)
        if entry is None:
            unexplained()
            torn = (number, hashlib.sha256(line).hexdigest())
            continue
        if entry.get("event") == Event.TORN:
            if torn is None or entry.get("sha256") != torn[1]:
                problems.append(f"Line {number} tells of a cut-off line that is not before it.")
            torn = None
        unexplained()
        torn = None
        if entry["hash"] != _hash(entry):
            problems.append(f"Line {number} was changed after it was written.")
        if entry.get("previous") != previous:
            problems.append(f"Before line {number}, lines were taken out, put in or changed.")
        previous, events = str(entry["hash"]), events + 1
        _follow(entry, open_writes)
    unexplained()
    if rest:
        problems.append(
            "The last line is cut off, by an interruption or by hand. The next write marks it."
        )
    return AuditReport(
        events, previous if events else "", tuple(problems), tuple(open_writes.values())
    )


def _follow(entry: Mapping[str, object], open_writes: dict[str, str]) -> None:
    write = str(entry.get("write", ""))
    if entry.get("event") == Event.BEGUN:
        open_writes[write] = (
            f"The write to patient {entry.get('patient_id')} begun at {entry.get('time')} has no "
            "end: the program was cut off there. Look at the patient in Eclipse."
        )
    elif entry.get("event") in _ENDS:
        open_writes.pop(write, None)


def _line(previous: str, event: Event, facts: Mapping[str, object]) -> tuple[str, bytes]:
    entry: dict[str, object] = {
        "time": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "event": str(event),
        "os_user": _os_user(),
        "computer": socket.gethostname(),
        **facts,
        "previous": previous,
    }
    entry["hash"] = _hash(entry)
    return str(entry["hash"]), (json.dumps(entry, ensure_ascii=False) + "\n").encode()


def _hash(entry: Mapping[str, object]) -> str:
    bare = {key: value for key, value in entry.items() if key != "hash"}
    return hashlib.sha256(json.dumps(bare, ensure_ascii=False).encode()).hexdigest()


def _split(content: bytes) -> tuple[list[bytes], bytes]:
    """The whole lines, and what stands after the last line's end."""
    *whole, rest = content.split(b"\n")
    return whole, rest


def _end(file: IO[bytes]) -> tuple[list[bytes], bytes]:
    """The last whole lines with an event among them, and what stands after; all if need be."""
    size = file.seek(0, os.SEEK_END)
    start = max(size - _TAIL_BYTES, 0)
    file.seek(start)
    whole, rest = _split(file.read())
    if start == 0:
        return whole, rest
    whole = whole[1:]  # the first may be the end of a longer one
    if any(_parse(line) is not None for line in whole):
        return whole, rest
    file.seek(0)
    return _split(file.read())


def _parse(line: bytes) -> dict[str, object] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("hash"), str) else None


def _last_hash(path: Path, whole: list[bytes]) -> str:
    """``hash`` of the last event; the first line of a chain follows zeros."""
    for line in reversed(whole):
        entry = _parse(line)
        if entry is not None:
            return str(entry["hash"])
    if whole:
        raise UsageError(
            f"{path} is not an audit log of this program. Nothing is written to Eclipse without "
            "one: move the file away, or name another in the settings (audit)."
        )
    return _FIRST


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
