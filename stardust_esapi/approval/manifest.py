"""The manifest: every file that a launcher will have Python load, by SHA-256.

As text it is compiled into the launchers, where it stands byte for byte: what follows reads it
without .NET. It names the files by the two folders of ``StardustExporter.ini``:

- ``site/…``: everything in the site folder but what differs from one installation to the next:
  ``__pycache__`` and ``*.dist-info`` anywhere, ``bin`` and ``Scripts`` at the top.
- ``home/…``: what the installed Python itself loads: its library, the DLLs beside it, its modules;
  neither its tests nor packages that were added to it.

A launcher imports nothing else, wherever it lies: ``approval/launchers/PythonFiles.cs``,
``PythonHome.cs`` and ``Manifest.cs`` find and compare the same files.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from stardust_esapi.errors import UsageError
from stardust_esapi.files import long_path

FIRST_LINE = "stardust-esapi manifest 1"
LAST_LINE = "end"
SITE = "site"
HOME = "home"
# These stand for a digest and are in no manifest, so that they differ from whatever one says.
_LINK = "link"
_UNREADABLE = "unreadable"
_PROGRAMS = frozenset({f"{SITE}/bin", f"{SITE}/Scripts"})
_LOADED = frozenset({".py", ".pyw", ".pyd", ".so", ".dll"})
_FOREIGN = frozenset({"__pycache__", "site-packages", "dist-packages", "test", "tests"})
# Of Python's own installer for Windows, and of Linux; with the version, and it without the point.
_LIBRARIES = (
    "python{1}.dll",
    "lib/libpython{0}.so.1.0",
    "lib/x86_64-linux-gnu/libpython{0}.so.1.0",
)
_MODULES = ("Lib", "DLLs", "lib/python{0}")
_FIRST_IMPORT = "encodings/__init__.py"
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
        files: Path, such as ``site/package/module.py``, to SHA-256 in hex.
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


def make_manifest(site: Path, home: Path, package: str, target: Target) -> Manifest:
    """Make the manifest of a site folder and of the Python that is to run it.

    Args:
        site: The site folder.
        home: Folder of the Python installation.
        package: Version of this package.
        target: The Python that the site folder is created for.

    Raises:
        UsageError: A folder is not there or holds another Python; a file is a link, has a name that
            a manifest cannot hold, or cannot be read.
        OSError: A folder cannot be listed.
    """
    files = read_files(site, home, target.python)
    for path, digest in files.items():
        if digest == _LINK:
            raise UsageError(
                f"{path} is a link. A manifest holds files that lie in the folder itself; make the "
                "folder anew."
            )
        if digest == _UNREADABLE:
            raise UsageError(f"{path!r} cannot be read. Make the folder anew.")
        if not _ENTRY.fullmatch(f"{digest}  {path}") or not _is_text(path):
            raise UsageError(
                f"{path!r} has a name that a manifest cannot hold. Make the folder anew."
            )
    return Manifest(package, target, files)


def read_files(site: Path, home: Path, python: str) -> dict[str, str]:
    """Hash every file that a manifest covers.

    A link counts as one file that is in no manifest: what lies behind it can change. A file that
    cannot be read counts as a changed one.

    Args:
        site: The site folder.
        home: Folder of the Python installation.
        python: Its version, such as ``3.12``.

    Raises:
        UsageError: There is no such folder, or no such Python in it.
        OSError: A folder cannot be listed.
    """
    if not site.is_dir():
        raise UsageError(f"There is no site folder {site}. Check --site.")
    found = _site_files(long_path(site)) | _home_files(long_path(home), python)
    return {
        path: _LINK if _counts_as_link(path, entry) else _digest(entry)
        for path, entry in found.items()
    }


def is_covered(path: str) -> bool:
    """Whether a manifest covers a file of this path, such as ``site/package/module.py``."""
    return all(_is_of_site(str(folder), folder=True) for folder in PurePosixPath(path).parents)


def _site_files(site: Path) -> dict[str, Path]:
    return {
        path: entry
        for top in site.iterdir()
        for path, entry in _walk(f"{SITE}/{top.name}", top, _is_of_site)
    }


def _home_files(home: Path, python: str) -> dict[str, Path]:
    """What an installation of Python loads; the places are those of ``PythonHome.cs``."""
    names = (python, python.replace(".", ""))
    libraries = [path.format(*names) for path in _LIBRARIES]
    library = next((path for path in libraries if (home / path).is_file()), None)
    modules = [path.format(*names) for path in _MODULES if (home / path.format(*names)).is_dir()]
    if library is None or not any((home / path / _FIRST_IMPORT).is_file() for path in modules):
        raise UsageError(
            f"{home} holds no Python {python} with its library and its modules. Check --home."
        )
    found = {f"{HOME}/{path}": home / path for path in modules}
    return {
        f"{HOME}/{library}": home / library,
        **{f"{HOME}/{beside.name}": beside for beside in home.glob("*.dll")},
        **{
            path: entry
            for top, folder in found.items()
            for path, entry in _walk(top, folder, _is_of_home)
        },
    }


def _walk(
    path: str, entry: Path, belongs: Callable[[str, bool], bool]
) -> Iterator[tuple[str, Path]]:
    folder = entry.is_dir()
    if not belongs(path, folder):
        return
    if not folder or _is_link(entry):
        yield path, entry
        return
    for below in entry.iterdir():
        yield from _walk(f"{path}/{below.name}", below, belongs)


def _is_of_site(path: str, folder: bool) -> bool:
    """Everything but what differs from one installation by pip to the next."""
    return not (folder and (path.endswith(("/__pycache__", ".dist-info")) or path in _PROGRAMS))


def _is_of_home(path: str, folder: bool) -> bool:
    """What Python could load, but for packages and tests: those are not for launchers."""
    name = PurePosixPath(path)
    return name.name not in _FOREIGN if folder else name.suffix.lower() in _LOADED


def _counts_as_link(path: str, entry: Path) -> bool:
    """Whether an entry counts as a link.

    On Linux, where nothing writes to Eclipse, distributions make links to Python's modules.
    """
    elsewhere = os.name != "nt" and path.startswith(f"{HOME}/") and not entry.is_dir()
    return _is_link(entry) and not elsewhere


def _is_link(entry: Path) -> bool:
    attributes: int = getattr(entry.lstat(), "st_file_attributes", 0)
    # On Windows a junction is one, too.
    return entry.is_symlink() or bool(attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT)


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
    """Say how files differ from a manifest, in the order that .NET gives them.

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
