"""The site folder: this package and its locked dependencies, as pip lays them out, nothing else."""

from __future__ import annotations

import base64
import csv
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import Distribution, distributions
from pathlib import Path

from stardust_esapi.approval.manifest import (
    SITE,
    Manifest,
    Target,
    compare,
    is_covered,
    make_manifest,
)
from stardust_esapi.errors import UsageError
from stardust_esapi.wording import counted

PACKAGE = "stardust-esapi"
RUNTIME = "pythonnet/runtime/Python.Runtime.dll"


@dataclass(frozen=True)
class Dependency:
    """One installed distribution.

    Attributes:
        name: As its metadata write it.
        version: Its version.
    """

    name: str
    version: str


@dataclass(frozen=True)
class Site:
    """What a site folder holds.

    Attributes:
        manifest: Of all its files, and of Python's own.
        dependencies: The distributions beside this package, by name.
    """

    manifest: Manifest
    dependencies: tuple[Dependency, ...]


def read_site(site: Path, home: Path) -> Site:
    """Read what a site folder holds and for which Python it is.

    Every file must be one that pip installed from a wheel, unchanged: what nobody has pinned must
    not come into an approval.

    Args:
        site: The folder.
        home: Folder of the Python installation that is to run it.

    Raises:
        UsageError: The folder lacks this package, or holds what no wheel brought; or the
            installation is of another Python.
        OSError: A file cannot be read.
    """
    found = _distributions(site) if site.is_dir() else {}
    package = found.pop(PACKAGE, None)
    if package is None:
        raise UsageError(f"{site} is no site folder: {PACKAGE} is not installed in it.")
    everything = (package, *found.values())
    manifest = make_manifest(site, home, package.version, _target(everything, site))
    strangers = compare(_brought(manifest, everything), manifest.files)
    if strangers:
        first = ", ".join(str(difference) for difference in strangers[:5])
        raise UsageError(
            f"Not as the wheels brought it: {counted(len(strangers), 'file')} in {site} "
            f"({first}). Make the folder anew."
        )
    dependencies = [Dependency(found[name].name, found[name].version) for name in sorted(found)]
    return Site(manifest, tuple(dependencies))


def _distributions(site: Path) -> dict[str, Distribution]:
    """What is installed in a folder, by normalised name."""
    found: dict[str, Distribution] = {}
    for one in distributions(path=[str(site)]):
        metadata = one.read_text("METADATA")
        name = _normalised(one.name) if metadata else ""
        if not name or name in found:
            problem = f"holds {one.name} twice" if name else "has metadata of a package unknown"
            raise UsageError(f"{site} {problem}. Make the folder anew.")
        found[name] = one
    return found


def _normalised(name: str) -> str:
    """A distribution's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _target(found: tuple[Distribution, ...], site: Path) -> Target:
    """The Python that the compiled packages are for; the running one where none is compiled."""
    pythons, platforms = set(), set()
    for tag in (tag for one in found for tag in _tags(one)):
        python, abi, platform = tag
        if platform != "any":
            platforms.add(_machine(platform))
        if abi == python and re.fullmatch(r"cp3\d+", python):
            pythons.add(f"3.{python[3:]}")
    if len(pythons) > 1 or len(platforms) > 1:
        many = ", ".join(sorted(pythons | platforms))
        raise UsageError(f"{site} holds packages for different Pythons ({many}). Make it anew.")
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Target(*pythons or (running,), *platforms or ("any",))


def _tags(one: Distribution) -> Iterator[tuple[str, str, str]]:
    for line in (one.read_text("WHEEL") or "").splitlines():
        key, _, value = line.partition(":")
        if key == "Tag":
            python, abi, platform = value.strip().split("-")
            yield python, abi, platform


def _machine(platform: str) -> str:
    """A platform without the system's version: ``manylinux_2_17_x86_64`` is ``linux_x86_64``."""
    return re.sub(r"^(many|musl)?linux(\d+|_\d+_\d+)?_", "linux_", platform)


def _brought(manifest: Manifest, found: tuple[Distribution, ...]) -> Manifest:
    """The manifest with the site folder's files as the wheels' own records have them."""
    files = {path: it for path, it in manifest.files.items() if not path.startswith(f"{SITE}/")}
    for one in found:
        for path, digest, _ in csv.reader((one.read_text("RECORD") or "").splitlines()):
            # pip moves data files up to the site folder, and leaves their old path here.
            inside = f"{SITE}/" + re.sub(r"^(\.\./)+", "", path)
            if is_covered(inside):
                files[inside] = _hex(digest)
    return replace(manifest, files=files)


def _hex(recorded: str) -> str:
    """A digest of a wheel's record, such as ``sha256=…`` without padding, in hex."""
    digest = recorded.removeprefix("sha256=")
    return base64.urlsafe_b64decode(digest + "=" * (-len(digest) % 4)).hex()
