"""``audit.jsonl``: every write to the clinical database, appended, durable, chained by hash.

A line an event, as JSON, numbered from 1. ``hash`` is the SHA-256 of the line without it, and
``previous`` is the ``hash`` of the line before: a line that was changed, taken out or put in breaks
the chain. A chain proves nothing of lines cut off at its end: the ledger keeps number and ``hash``
of the last line for that, and the run's report shows them.

Several runs may share one file, such as on a clinic's file server: a lock file orders them.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from stardust_esapi.errors import UsageError
from stardust_esapi.files import sync_folder
from stardust_esapi.wording import counted

if sys.platform != "win32":
    import pwd

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
    LISTED = "listed"  # the output folder's manifest was written, with this digest
    LEFT = "left"  # changed, and left to the user of Eclipse to save
    DROPPED = "dropped"  # given up; nothing was saved
    TORN = "torn"  # the line before was cut off by an interruption


_ENDS = frozenset({Event.REFUSED, Event.SAVED, Event.LEFT, Event.DROPPED})


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a log ended at some time; it holds that event for ever, whatever came after.

    Attributes:
        events: How many events there were: the number of the last one.
        last: ``hash`` of it.
    """

    events: int
    last: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a check of the chain found.

    Attributes:
        path: The file.
        events: How many events the file holds.
        last: ``hash`` of the last line; empty where there is none.
        problems: Sentences on what is not as it was written; none is well.
        open_ends: Sentences on writes whose end is not known: the program was cut off there.
        listed: SHA-256 of the root manifests that it names.
    """

    path: Path
    events: int
    last: str
    problems: tuple[str, ...]
    open_ends: tuple[str, ...]
    listed: frozenset[str]


class AuditLog:
    """The log in one file.

    Args:
        path: The file; its folder exists.
        keep: Keeps where the log ends after each event.
    """

    def __init__(self, path: Path, keep: Callable[[Mark], None] = lambda _: None) -> None:
        self.path = path
        self._keep = keep

    def append(self, event: Event, facts: Mapping[str, object]) -> Mark:
        """Add an event; it is durable on return.

        Args:
            event: What happened.
            facts: What it happened to; values that JSON can hold. The time, the Windows user and
                the computer are added. Never a patient's name or birth date.

        Returns:
            Where the log ends now.

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
                end = _mark(self.path, whole)
                if rest:
                    torn = {"sha256": hashlib.sha256(rest).hexdigest()}
                    end, line = _line(end, Event.TORN, torn)
                    mend += line
                end, line = _line(end, event, facts)
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
        self._keep(end)
        return end


def check(path: Path, mark: Mark | None = None) -> AuditReport:
    """Check the chain of a log, and whether it goes on from where it is known to have ended.

    Args:
        path: The file; one that is missing holds nothing.
        mark: Where it ended once, as somebody else has kept it.

    Raises:
        UsageError: The file cannot be read.
    """
    whole, rest = _split(_content(path))
    problems = [lost] if mark and (lost := lost_since(path, mark)) else []
    open_writes: dict[str, str] = {}
    listed: set[str] = set()
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
        if entry.get("event") == Event.LISTED:
            listed.add(str(entry.get("sha256")))
    unexplained()
    if rest:
        problems.append(
            "The last line is cut off, by an interruption or by hand. The next write marks it."
        )
    return AuditReport(
        path=path,
        events=events,
        last=previous if events else "",
        problems=tuple(problems),
        open_ends=tuple(open_writes.values()),
        listed=frozenset(listed),
    )


def lost_since(path: Path, mark: Mark) -> str:
    """Say how a log is less than it once was; empty where all of that is still there.

    Raises:
        UsageError: The file cannot be read.
    """
    events = [entry for line in _content(path).split(b"\n") if (entry := _parse(line))]
    if not events:
        return f"{path} is missing or empty, and held {counted(mark.events, 'event')}."
    if len(events) < mark.events:
        return f"{path} was cut: it holds {counted(len(events), 'event')}, and held {mark.events}."
    if events[mark.events - 1]["hash"] != mark.last:
        return f"Event {mark.events} of {path} is not the one that was written there."
    return ""


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from None


def _follow(entry: Mapping[str, object], open_writes: dict[str, str]) -> None:
    write = str(entry.get("write", ""))
    if entry.get("event") == Event.BEGUN:
        open_writes[write] = (
            f"The write to patient {entry.get('patient_id')} begun at {entry.get('time')} has no "
            "end: the program was cut off there. Look at the patient in Eclipse."
        )
    elif entry.get("event") in _ENDS:
        open_writes.pop(write, None)


def _line(end: Mark, event: Event, facts: Mapping[str, object]) -> tuple[Mark, bytes]:
    """The line that follows, and where the log ends with it."""
    entry: dict[str, object] = {
        "number": end.events + 1,
        "time": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "event": str(event),
        "os_user": _os_user(),
        "computer": socket.gethostname(),
        **facts,
        "previous": end.last,
    }
    entry["hash"] = _hash(entry)
    line = (json.dumps(entry, ensure_ascii=False) + "\n").encode()
    return Mark(end.events + 1, str(entry["hash"])), line


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


def _mark(path: Path, whole: list[bytes]) -> Mark:
    """Where the log ends, by its last whole lines; the first line of a chain follows zeros."""
    for line in reversed(whole):
        entry = _parse(line)
        if entry is not None:
            number = entry.get("number")
            if not isinstance(number, int):
                raise UsageError(
                    f"{path} was begun by an earlier state of this program. Nothing is written to "
                    "Eclipse without a log: move the file away, or name another (--audit)."
                )
            return Mark(number, str(entry["hash"]))
    if whole:
        raise UsageError(
            f"{path} is not an audit log of this program. Nothing is written to Eclipse without "
            "one: move the file away, or name another (--audit)."
        )
    return Mark(0, _FIRST)


def _os_user() -> str:
    """The account that runs this, whatever the environment calls it; empty where it has no name."""
    try:
        if sys.platform == "win32":
            return os.getlogin()
        return pwd.getpwuid(os.getuid()).pw_name
    except (OSError, KeyError):
        return ""
