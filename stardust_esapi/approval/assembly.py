"""Read what matters of a .NET assembly from its bytes: no .NET is needed, nothing is loaded."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from stardust_esapi.approval.manifest import Manifest, find_manifest
from stardust_esapi.errors import UsageError

# ESAPIScript(IsWriteable = true) as the metadata encode it (ECMA-335, II.23.3): the prolog, one
# named argument, a property, of type bool, its name behind its length, true.
_WRITABLE = b"\x01\x00\x01\x00\x54\x02\x0bIsWriteable\x01"
_VERSION = re.compile(
    "FileVersion\0".encode("utf-16-le") + rb"(?:\0\0)*" + rb"((?:[0-9.]\0)+)", re.DOTALL
)
_STAND_IN = b"Stand-in of Varian's ESAPI"
_SUFFIXES = (".exe", ".dll")


@dataclass(frozen=True)
class Assembly:
    """An assembly and what it says of itself.

    Attributes:
        file: Name of the file.
        version: Its version; empty where the file does not say.
        sha256: Of the file, in hex.
        writable: Whether it asks for permission to change patient data.
        manifest: What it lets Python load; None for what is no launcher.
        stand_in: Whether it is a stand-in for one of Varian's.
    """

    file: str
    version: str
    sha256: str
    writable: bool
    manifest: Manifest | None
    stand_in: bool


def read_assembly(path: Path) -> Assembly:
    """Read one assembly.

    Raises:
        UsageError: Its manifest is damaged.
        OSError: It cannot be read.
    """
    data = path.read_bytes()
    version = _VERSION.search(data)
    try:
        manifest = find_manifest(data)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return Assembly(
        path.name,
        version[1].decode("utf-16-le") if version else "",
        hashlib.sha256(data).hexdigest(),
        _WRITABLE in data,
        manifest,
        _STAND_IN in data,
    )


def read_launchers(path: Path) -> list[tuple[Assembly, Manifest]]:
    """Read a launcher, or all that lie in a folder, each with its manifest.

    Raises:
        UsageError: There is none.
        OSError: A file cannot be read.
    """
    if not path.exists():
        raise UsageError(f"There is no {path}.")
    if path.is_file():
        files = [path]
    else:
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
    assemblies = [read_assembly(file) for file in files]
    found = [(one, one.manifest) for one in assemblies if one.manifest is not None]
    if not found:
        what = "carries no manifest" if path.is_file() else "holds no assembly with a manifest"
        raise UsageError(f"{path} {what}: there is no launcher of stardust-esapi.")
    return found
