"""Power losses of a run: what the disk holds when everything that was not synced is gone.

``strace`` writes down every call of a run that changes files, SQLite's among them. They are done
again, one by one, on a model of a disk with a cache; what the model's platter holds after each of
them is a state that a power loss may leave. Linux only.

The model is as mean as POSIX allows:

- A file has the content that it had at its last ``fsync``; without one it is empty.
- A folder has the names that it had at its last ``fsync``. A file's own ``fsync`` gives it no name.
- With ``names`` the folders keep all names, as most journals do, and contents alone are lost.

Not in it: sectors that are torn within one write, writes that reach the disk unasked and out of
order, and disks that lie about a flush.
"""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support import PATIENCE

_CALLS = (
    "open openat creat close dup dup2 dup3 read readv lseek write writev pwrite64 pwritev ftruncate"
    " truncate fallocate sendfile copy_file_range fsync fdatasync sync syncfs rename renameat"
    " renameat2 link linkat symlink symlinkat unlink unlinkat mkdir mkdirat rmdir"
    " clone clone3 fork vfork"
)
_CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)")
_OF_DESCRIPTORS = frozenset(
    {"write", "writev", "pwrite64", "pwritev", "ftruncate", "fallocate", "fsync", "fdatasync"}
    | {"sendfile", "copy_file_range"}
)
_WRITES = frozenset({"write", "pwrite64", "ftruncate"})
_SYNCS = frozenset({"fsync", "fdatasync"})
_DESCRIBED = re.compile(r"\d+<([^>]*)>")
_NAMED = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"([^"]*)"')
_DATA = re.compile(r'"([^"]*)"')
_SLASH = "\\x2f"


@dataclass(eq=False)
class File:
    """A file as its readers see it, and as the platter has it."""

    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    _read: bytes | None = None

    def change(self, at: int, data: bytes) -> None:
        """Write something, behind zeros where there was nothing."""
        self.content.extend(bytes(max(0, at - len(self.content))))
        self.content[at : at + len(data)] = data
        self._read = None

    def cut(self, size: int) -> None:
        """Give it a size."""
        del self.content[size:]
        self.change(size, b"")

    def read(self) -> bytes:
        """What is in it; the same object as long as that is the same."""
        if self._read is None:
            self._read = bytes(self.content)
        return self._read


@dataclass(eq=False)
class Folder:
    """A folder, likewise."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    synced: dict[str, File | Folder] = field(default_factory=dict)


@dataclass
class _Open:
    """An open file and the place of its next read or write."""

    file: File
    appends: bool
    at: int = 0


@dataclass(frozen=True)
class Loss:
    """A state that a power loss may leave.

    Attributes:
        after: The call after which it is so first.
        files: Content by path relative to the folder; a folder has None.
    """

    after: str
    files: dict[str, bytes | None]

    def lay_out(self, folder: Path) -> None:
        """Make it real in an empty folder."""
        for name, content in self.files.items():
            path = folder / name
            if content is None:
                path.mkdir()
            else:
                path.write_bytes(content)


class Disk:
    """The model.

    Args:
        folder: The folder that is looked at; what lies in it now is on the platter.
        safe: A folder in it that loses nothing: another computer's.
    """

    def __init__(self, folder: Path, safe: str) -> None:
        self._folder, self._safe = folder.resolve(), safe
        # By number, for each thread; those of one process have the same.
        self._open: dict[str, dict[int, _Open]] = {}
        self.root = _read(self._folder)

    def copy(self) -> Disk:
        """Another one in the same state."""
        return copy.deepcopy(self)

    def losses(self, log: Path, *, names: bool) -> Iterator[Loss]:
        """Do what a log of ``strace`` says; give every other state that the platter has been in.

        Args:
            log: The log.
            names: Whether names survive although nobody synced them.
        """
        seen = set()
        for thread, call, arguments, result in _calls(log):
            if thread not in self._open:  # the first, or one that its maker's call has yet to tell
                self._open[thread] = next(iter(self._open.values()), {})
            self._files = self._open[thread]
            where = self._do(call, arguments, result)
            if where is None:
                continue
            is_safe = where.startswith(f"{self._safe}/")
            if not (is_safe or call in _SYNCS or (names and call not in _WRITES)):
                continue  # nothing has reached the platter
            files = dict(self._left(self.root, "", names=names))
            state = frozenset((name, hash(content)) for name, content in files.items())
            if state not in seen:
                seen.add(state)
                yield Loss(f"{call} {where}", files)

    def now(self) -> dict[str, bytes | None]:
        """What readers see."""
        return dict(self._left(self.root, "", all_of_it=True))

    def _left(
        self, folder: Folder, path: str, *, names: bool = False, all_of_it: bool = False
    ) -> Iterator[tuple[str, bytes | None]]:
        for name, entry in (folder.names if names or all_of_it else folder.synced).items():
            where = f"{path}{name}"
            safe = all_of_it or where == self._safe
            if isinstance(entry, File):
                yield where, entry.read() if safe else entry.synced
            else:
                yield where, None
                yield from self._left(entry, f"{where}/", names=names, all_of_it=safe)

    def _do(self, call: str, arguments: str, result: int) -> str | None:
        """Do one call; give the path that it was about, None where it changed nothing here."""
        if call in ("clone", "clone3", "fork", "vfork"):
            shared = "CLONE_FILES" in arguments
            self._open[str(result)] = self._files if shared else dict(self._files)
            return None
        if call in ("read", "readv", "lseek", "close") or call.startswith("dup"):
            self._follow(call, arguments, result)
            return None
        inside = self._paths(call, arguments)
        if not inside or result < 0:
            return None
        if call in ("open", "openat", "creat"):
            return self._opened(inside[0], arguments, result)
        path = inside[0]
        parent, name = self._parent(path)
        match call:
            case _ if call in _WRITES:
                self._write(call, arguments, result)
            case _ if call in _SYNCS:
                entry = self._entry(path)
                if isinstance(entry, Folder):
                    entry.synced = dict(entry.names)
                elif (held := self._held(arguments)) is not None:
                    held.file.synced = held.file.read()
            case "rename" | "renameat" | "renameat2":
                to, new = self._parent(inside[1])
                to.names[new] = parent.names.pop(name)
            case "unlink" | "unlinkat" | "rmdir":
                del parent.names[name]
            case "mkdir" | "mkdirat":
                parent.names[name] = Folder()
            case _:
                raise NotImplementedError(f"{call}({arguments[:200]})")
        return path

    def _follow(self, call: str, arguments: str, result: int) -> None:
        held = self._held(arguments)
        if held is None or result < 0:
            return
        if call.startswith("dup"):
            self._files[result] = held
        elif call == "close":
            del self._files[int(arguments.partition("<")[0])]
        elif call == "lseek":
            held.at = result
        else:
            held.at += result

    def _opened(self, path: str, arguments: str, result: int) -> str | None:
        entry = self._entry(path)
        if isinstance(entry, Folder):
            return None
        changes = None
        if entry is None:
            entry = File()
            parent, name = self._parent(path)
            parent.names[name] = entry
            changes = path
        elif "O_TRUNC" in arguments:
            entry.cut(0)
            changes = path
        self._files[result] = _Open(entry, "O_APPEND" in arguments)
        return changes

    def _write(self, call: str, arguments: str, result: int) -> None:
        held = self._held(arguments)
        assert held is not None, arguments[:200]
        if call == "ftruncate":
            held.file.cut(int(arguments.rpartition(", ")[2]))
            return
        found = _DATA.search(arguments)
        data = _bytes(found[1])[:result] if found else b""
        if call == "pwrite64":
            held.file.change(int(arguments.rpartition(", ")[2]), data)
            return
        if held.appends:
            held.at = len(held.file.content)
        held.file.change(held.at, data)
        held.at += len(data)

    def _held(self, arguments: str) -> _Open | None:
        number = arguments.partition("<")[0]
        return self._files.get(int(number)) if number.isdigit() else None

    def _paths(self, call: str, arguments: str) -> list[str]:
        """The paths that a call is about, relative to the folder; those outside are left out."""
        if call in _OF_DESCRIPTORS:
            found = [_DESCRIBED.match(arguments)]
            paths = [_text(one[1]) for one in found if one and one[1].startswith(_SLASH)]
        else:
            paths = [
                str(Path(_text(base), _text(name))) for base, name in _NAMED.findall(arguments)
            ]
        inside = [os.path.relpath(self._folder / path, self._folder) for path in paths]
        return [path for path in inside if not path.startswith("..")]

    def _entry(self, path: str) -> File | Folder | None:
        entry: File | Folder | None = self.root
        for name in path.split("/") if path != "." else ():
            entry = entry.names.get(name) if isinstance(entry, Folder) else None
        return entry

    def _parent(self, path: str) -> tuple[Folder, str]:
        parent, _, name = path.rpartition("/")
        folder = self._entry(parent or ".")
        assert isinstance(folder, Folder), path
        return folder, name


def traced(folder: Path, arguments: Sequence[str], log: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder, and write down its calls.

    Raises:
        RuntimeError: There is no strace, or it may not trace here; says what to do.
    """
    try:
        subprocess.run(
            ["strace", "-o", os.devnull, "true"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeError(
            f"strace cannot be used here: {getattr(error, 'stderr', '') or error}. It sees the "
            "writes that a power loss takes away. Install it (as root, scripts/test does), and let "
            "it trace: in a container that takes --cap-add=SYS_PTRACE."
        ) from None
    return subprocess.run(
        [
            *("strace", "-f", "-qq", "-y", "-xx", "-s", "100000000", "-o", str(log)),
            *("-e", f"trace={','.join(_CALLS.split())}", "-e", "raw=read,readv"),
            *(sys.executable, "-m", "stardust_esapi", *arguments),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"},
    )


def _calls(log: Path) -> Iterator[tuple[str, str, str, int]]:
    """Thread, name, arguments and result of each call, in the order in which they ended."""
    begun: dict[str, str] = {}
    with log.open(encoding="ascii") as lines:
        for line in lines:
            thread, _, text = line.rstrip("\n").partition(" ")
            text = text.lstrip()
            if text.endswith("<unfinished ...>"):
                begun[thread] = text.removesuffix("<unfinished ...>")
                continue
            if text.startswith("<... "):
                text = begun.pop(thread) + text.partition(" resumed>")[2]
            if found := _CALL.match(text):
                yield thread, found[1], found[2], int(found[3])


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def _text(escaped: str) -> str:
    return os.fsdecode(_bytes(escaped))


def _read(folder: Path) -> Folder:
    names: dict[str, File | Folder] = {}
    for path in folder.iterdir():
        if path.is_dir():
            names[path.name] = _read(path)
        else:
            content = path.read_bytes()
            names[path.name] = File(bytearray(content), content)
    return Folder(names, dict(names))
