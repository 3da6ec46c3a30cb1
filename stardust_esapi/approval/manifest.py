"""The manifest of a site folder: every file that a launcher will have Python load, by SHA-256.

As text it is compiled into the launchers, where it stands byte for byte: what follows reads it
without .NET. Left out are folders that differ from one installation to the next: ``__pycache__``
and ``*.dist-info`` anywhere, ``bin`` and ``Scripts`` at the top. But not what Python could import
from there all the same: ``__pycache__.evil`` is as good a module's name as any other.

``approval/launchers/SiteFolder.cs`` and ``Manifest.cs`` do the same in a launcher.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from stardust_esapi.errors import UsageError
from stardust_esapi.files import long_path

FIRST_LINE = "stardust-esapi manifest 1"
LAST_LINE = "end"
PROGRAMS = frozenset({"bin", "Scripts"})
# These stand for a digest and are in no manifest, so that they differ from whatever one says.
_LINK = "link"
_UNREADABLE = "unreadable"
_IMPORTED = frozenset({"py", "pyw", "pyd", "so"})
_HEADER = re.compile(
    rf"{FIRST_LINE}\npackage (?P<package>[^\n]+)\npython (?P<python>\d+\.\d+)\n"
    r"platform (?P<platform>[^\n]+)\n"
)
_ENTRY = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<path>[^\x00-\x1f\x7f]+)")


@dataclass(frozen=True)
class Target:
    """The Python that a site folder is created for.

    Attributes:
        python: Its version, such as ``3.12``.
        platform: As wheels name it, such as ``win_amd64``.
    """

    python: str
    platform: str


@dataclass(frozen=True)
class Manifest:
    """What a launcher may load.

    Attributes:
        package: Version of this package, such as ``0.1.0``.
        target: The Python that the files are for.
        files: Path below the site folder, with ``/``, to SHA-256 in hex.
    """

    package: str
    target: Target
    files: Mapping[str, str]

    @property
    def text(self) -> str:
        """The manifest as it is compiled in."""
        lines = [
            FIRST_LINE,
            f"package {self.package}",
            f"python {self.target.python}",
            f"platform {self.target.platform}",
            *(f"{digest}  {path}" for path, digest in sorted(self.files.items())),
            LAST_LINE,
        ]
        return "\n".join(lines) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def version(self) -> str:
        """Version of the launchers: other content is another version, to be approved anew.

        Raises:
            UsageError: The package's version does not start with three numbers.
        """
        numbers = re.match(r"\d+\.\d+\.\d+", self.package)
        if numbers is None:
            raise UsageError(
                f"The package version {self.package} is no base for an assembly version: it must "
                "start with three numbers."
            )
        # .NET takes no part above 65534.
        return f"{numbers[0]}.{int(self.digest[:4], 16) % 65535}"


class Change(StrEnum):
    """How a file differs from the manifest."""

    CHANGED = "changed"
    MISSING = "missing"
    ADDED = "added"


@dataclass(frozen=True)
class Difference:
    """One file that is not as the manifest says."""

    change: Change
    path: str

    def __str__(self) -> str:
        """As a person reads it; what a terminal would obey or cannot show stands there in codes."""
        shown = "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape").decode()
            for letter in self.path
        )
        return f"{self.change} {shown}"


def make_manifest(site: Path, package: str, target: Target) -> Manifest:
    """Make the manifest of a site folder.

    Args:
        site: The folder.
        package: Version of this package.
        target: The Python that the folder is created for.

    Raises:
        UsageError: A file has a name that a manifest cannot hold or cannot be read, or a folder is
            a link.
        OSError: A folder cannot be listed.
    """
    files = read_files(site)
    for path, digest in files.items():
        if digest == _LINK:
            raise UsageError(
                f"{path} in {site} is a link to a folder. A manifest holds files that lie in the "
                "site folder itself; create the folder anew."
            )
        if digest == _UNREADABLE:
            raise UsageError(f"{path!r} in {site} cannot be read. Make the folder anew.")
        if not _ENTRY.fullmatch(f"{digest}  {path}") or not _is_text(path):
            raise UsageError(
                f"{path!r} in {site} has a name that a manifest cannot hold. Make the folder anew."
            )
    return Manifest(package, target, files)


def read_files(site: Path) -> dict[str, str]:
    """Hash every file of a site folder that a manifest covers.

    A link to a folder counts as one file that is in no manifest: what lies behind it is not known.
    A file that cannot be read counts as a changed one.

    Raises:
        UsageError: There is no such folder.
        OSError: A folder cannot be listed.
    """
    if not site.is_dir():
        raise UsageError(f"There is no site folder {site}. Check --site.")
    return dict(_walk(long_path(site), "", covered=True))


def is_covered(path: str) -> bool:
    """Whether a manifest covers a file of this path below the site folder."""
    *folders, name = path.split("/")
    covered = all(_covered(folder, top=depth == 0) for depth, folder in enumerate(folders))
    return covered or _can_be_imported(name)


def _walk(folder: Path, prefix: str, *, covered: bool) -> Iterator[tuple[str, str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            if _is_link_to_folder(entry):
                yield path, _LINK
            elif entry.is_dir(follow_symlinks=False):
                below = covered and _covered(entry.name, top=not prefix)
                yield from _walk(Path(entry.path), f"{path}/", covered=below)
            elif covered or _can_be_imported(entry.name):
                yield path, _digest(Path(entry.path))


def _covered(name: str, *, top: bool) -> bool:
    """Whether the manifest names a folder's files. It does not where pip writes its own."""
    excluded = name == "__pycache__" or name.endswith(".dist-info") or (top and name in PROGRAMS)
    return not excluded


def _can_be_imported(name: str) -> bool:
    """Whether ``import`` could load a file: from any folder, for it needs no ``__init__.py``.

    What Python itself leaves in ``__pycache__`` has its version in the name, ``x.cpython-312.pyc``,
    and that is no name of a module.
    """
    stem, dot, suffix = name.rpartition(".")
    if not dot:
        return False
    suffix = suffix.lower()
    return "." not in stem if suffix == "pyc" else suffix in _IMPORTED


def _is_link_to_folder(entry: os.DirEntry[str]) -> bool:
    attributes: int = getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0)
    if attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT:  # on Windows a junction is one, too
        return bool(attributes & stat.FILE_ATTRIBUTE_DIRECTORY)
    return entry.is_symlink() and entry.is_dir()


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return _UNREADABLE


def _is_text(path: str) -> bool:
    """Whether UTF-8 can hold a name; a file system of bytes has others."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def compare(manifest: Manifest, files: Mapping[str, str]) -> list[Difference]:
    """Say how the files of a site folder differ from a manifest, in the order that .NET gives them.

    Args:
        manifest: What was approved.
        files: What is there, from :func:`read_files`.
    """
    return [
        Difference(change, path)
        for path in sorted(manifest.files.keys() | files.keys(), key=_as_net_orders)
        if (change := _change(manifest.files.get(path), files.get(path)))
    ]


def _as_net_orders(path: str) -> bytes:
    return path.encode("utf-16-be", "surrogatepass")


def _change(approved: str | None, there: str | None) -> Change | None:
    if approved == there:
        return None
    if approved is None:
        return Change.ADDED
    return Change.MISSING if there is None else Change.CHANGED


def parse_manifest(text: str) -> Manifest:
    """Read a manifest's text.

    Raises:
        UsageError: It is none, or was cut off.
    """
    header = _HEADER.match(text)
    if header is None:
        raise UsageError(f"This is no manifest: it does not start with '{FIRST_LINE}'.")
    body = text[header.end() :]
    if not f"\n{body}".endswith(f"\n{LAST_LINE}\n"):
        raise UsageError(f"The manifest is not whole: it does not end with '{LAST_LINE}'.")
    lines = body.split("\n")[:-2]
    files: dict[str, str] = {}
    for number, line in enumerate(lines, start=5):
        entry = _ENTRY.fullmatch(line)
        if entry is None or entry["path"] in files:
            raise UsageError(f"Line {number} of the manifest makes no sense: {line!r}.")
        files[entry["path"]] = entry["sha256"]
    target = Target(header["python"], header["platform"])
    manifest = Manifest(header["package"], target, files)
    if manifest.text != text:
        raise UsageError("The manifest's lines are not in the order of their paths.")
    return manifest


def find_manifest(assembly: bytes) -> Manifest | None:
    """Find the manifest that is compiled into an assembly; None where there is none.

    A resource stands in an assembly as it is, behind its length in four bytes.

    Raises:
        UsageError: What is there is not whole.
    """
    start = f"{FIRST_LINE}\n".encode()
    at = assembly.find(start)
    while at >= 0:
        length = int.from_bytes(assembly[max(at - 4, 0) : at], "little")
        text = assembly[at : at + length]
        if len(text) == length and length > len(start):
            try:
                return parse_manifest(text.decode())
            except UnicodeDecodeError as error:
                raise UsageError(f"The manifest is not UTF-8: {error}.") from None
        at = assembly.find(start, at + 1)
    return None
