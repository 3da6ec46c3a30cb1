"""Put together what an Eclipse workstation without internet needs; ``scripts/bundle`` calls it.

Every wheel is one that ``requirements.lock`` pins by hash, chosen for the workstation's Python and
not for the one that runs here: markers such as ``sys_platform == 'win32'`` are judged for Windows.
No package is built from source, save this one.

Python comes along where ``--home`` names one: python.org's NuGet package ``python``
(``python.3.12.10.nupkg``, a zip file), or the folder of an installed one. Not its embeddable
package: that has compiled modules alone, and the launchers compare and run source files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).absolute().parent.parent
NAME = "stardust-esapi"
PLATFORM = "win_amd64"
SUMS = "SHA256SUMS"
FILES = {  # in the bundle, and here
    "README.md": "approval/bundle/README.md",
    "Install.ps1": "approval/bundle/Install.ps1",
    "Uninstall.ps1": "approval/bundle/Uninstall.ps1",
    "install.py": "approval/bundle/install.py",
    "uninstall.py": "approval/bundle/uninstall.py",
    "stardust-esapi.py": "approval/bundle/stardust-esapi.py",
    "approval/README.md": "approval/README.md",
    "approval/StardustExporter.ini": "approval/StardustExporter.ini",
    "approval/record.md.j2": "approval/record.md.j2",
}
LAUNCHERS = "approval/launchers"
DOCUMENTATION = "docs"
EVIDENCE = "evidence.xml"
HOME = "python"
# Of Python itself: what nobody imports at work.
_LEFT_OUT = frozenset({"__pycache__", "ensurepip", "idlelib", "test", "tests", "turtledemo"})
_AMD64 = 0x8664  # Machine in the header of a PE file
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class BundleError(Exception):
    """Why there is no bundle: a sentence."""


@dataclass(frozen=True)
class Pin:
    """One line of the lock that holds for the workstation.

    Attributes:
        name: The package, as pip compares names.
        version: Its version.
        digests: SHA-256 of the files that may be installed, in hex.
    """

    name: str
    version: str
    digests: frozenset[str]

    def line(self, digests: frozenset[str]) -> str:
        """As pip's requirements have it, for some of the files."""
        hashes = "".join(f" --hash=sha256:{digest}" for digest in sorted(digests))
        return f"{self.name}=={self.version}{hashes}\n"


def read_lock(lock: Path, python: str) -> list[Pin]:
    """Read the pins that hold for a Python on Windows."""
    environment = {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "nt",
        "platform_machine": "AMD64",
        "platform_python_implementation": "CPython",
        "platform_release": "10",
        "platform_system": "Windows",
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "win32",
    }
    pins = []
    for line in lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        wanted = Requirement(line.split("--hash")[0])
        if wanted.marker is not None and not wanted.marker.evaluate(environment):
            continue
        (pinned,) = wanted.specifier
        digests = frozenset(_HASH.findall(line))
        if pinned.operator != "==" or not digests:
            raise BundleError(f"{lock}: {wanted.name} is not pinned by hash. Run scripts/lock.")
        pins.append(Pin(canonicalize_name(wanted.name), pinned.version, digests))
    return pins


def tags_of(python: str) -> frozenset[Tag]:
    """What a Python on Windows takes."""
    version = [int(number) for number in python.split(".")]
    interpreter = "cp" + python.replace(".", "")
    return frozenset(
        [
            *cpython_tags(version, platforms=[PLATFORM]),
            *compatible_tags(version, interpreter=interpreter, platforms=[PLATFORM]),
        ]
    )


def find_wheels(folder: Path, pins: Sequence[Pin], tags: frozenset[Tag]) -> dict[Pin, Path]:
    """Find a pinned and fitting wheel for each pin, where there is one."""
    by_name = {(pin.name, pin.version): pin for pin in pins}
    found = {}
    for wheel in sorted(folder.glob("*.whl")):
        name, version, _, offered = parse_wheel_filename(wheel.name)
        pin = by_name.get((name, str(version)))
        if pin is not None and offered & tags and _sha256(wheel) in pin.digests:
            found[pin] = wheel
    return found


def get_wheels(folder: Path, pins: Sequence[Pin], python: str) -> dict[Pin, Path]:
    """Find the wheels, and download those that are not there yet."""
    tags = tags_of(python)
    folder.mkdir(parents=True, exist_ok=True)
    found = find_wheels(folder, pins, tags)
    missing = [pin for pin in pins if pin not in found]
    if missing:
        print(f"Downloading {len(missing)} wheels …", flush=True)  # noqa: T201
        _download(folder, missing, python)
        found = find_wheels(folder, pins, tags)
    still = [f"{pin.name} {pin.version}" for pin in pins if pin not in found]
    if still:
        raise BundleError(
            f"There is no wheel for Windows of {', '.join(still)} whose hash is pinned."
        )
    return found


def _download(folder: Path, pins: Sequence[Pin], python: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        wanted = Path(name) / "requirements.txt"
        wanted.write_text("".join(pin.line(pin.digests) for pin in pins), encoding="utf-8")
        _run(
            *(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"),
            *("download", "--no-deps", "--require-hashes", "--only-binary=:all:"),
            *("--platform", PLATFORM, "--implementation", "cp"),
            *("--python-version", python.replace(".", "")),
            *("--dest", str(folder), "--requirement", str(wanted)),
            problem="pip found no wheels (a package that offers its source alone cannot be in a "
            "bundle: leave it out, or pin another version)",
        )


def make_wheel(folder: Path, date: datetime) -> Path:
    """Build this package's own wheel."""
    _run(
        *(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"),
        *("wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)),
        problem="This package's wheel could not be built",
        environment={"SOURCE_DATE_EPOCH": str(int(date.timestamp()))},
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def make_documentation(date: datetime) -> dict[str, bytes]:
    """Build the documentation site; its files by their path in the bundle."""
    with tempfile.TemporaryDirectory() as name:
        site = Path(name)
        _run(
            *(sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", name),
            problem="The documentation could not be built",
            environment={"SOURCE_DATE_EPOCH": str(int(date.timestamp()))},
        )
        return {
            f"{DOCUMENTATION}/{path.relative_to(site).as_posix()}": path.read_bytes()
            for path in site.rglob("*")
            if path.is_file() and path.suffix != ".map"  # for developers of the theme
        }


def read_home(path: Path, python: str) -> dict[str, bytes]:
    """Read what a workstation needs of a CPython for Windows, pip included.

    Args:
        path: A zip file such as the NuGet package, or a folder.
        python: The version that it must be, such as ``3.12``.

    Returns:
        The files' content by their path in the bundle.

    Raises:
        BundleError: It is another Python, none, or the embeddable package.
        OSError: It cannot be read.
    """
    with tempfile.TemporaryDirectory() as name:
        root = path
        if path.is_file():
            root = Path(name)
            try:
                shutil.unpack_archive(path, root, "zip")
            except shutil.ReadError:
                raise BundleError(f"{path} is no zip file, and no folder.") from None
        if (root / "tools" / "python.exe").is_file():  # as NuGet has it
            root = root / "tools"
        _check_home(path, root, python)
        files = {file.relative_to(root).as_posix(): file for file in root.rglob("*")}
        return {
            f"{HOME}/{within}": file.read_bytes()
            for within, file in files.items()
            if _is_needed(within) and file.is_file()
        }


def _check_home(path: Path, root: Path, python: str) -> None:
    library = f"python{python.replace('.', '')}"
    package = f"Take python.org's NuGet package 'python' of version {python}, or pass --python."
    if (root / f"{library}._pth").exists():
        raise BundleError(
            f"{path} is Python's embeddable package, which has compiled modules alone; the "
            f"launchers compare and run source files. {package}"
        )
    needed = ("python.exe", f"{library}.dll", "Lib/encodings/__init__.py", "Lib/site-packages/pip")
    if missing := [name for name in needed if not (root / name).exists()]:
        raise BundleError(f"{path} holds no {' and no '.join(missing)}. {package}")
    program = (root / "python.exe").read_bytes()
    header = int.from_bytes(program[0x3C:0x40], "little")
    if int.from_bytes(program[header + 4 : header + 6], "little") != _AMD64:
        raise BundleError(f"{path} is not for Windows of 64 bit (x64). {package}")


def _is_needed(within: str) -> bool:
    *folders, name = within.split("/")
    if not folders:
        return name in {"python.exe", "LICENSE.txt"} or name.endswith(".dll")
    if "site-packages" in folders:
        return within.startswith("Lib/site-packages/pip")
    return folders[0] in {"Lib", "DLLs"} and _LEFT_OUT.isdisjoint(folders)


def _run(*command: str, problem: str, environment: Mapping[str, str] | None = None) -> str:
    ended = subprocess.run(  # noqa: S603 - pip and git
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise BundleError(f"{problem}:\n{ended.stdout.strip()}")
    return ended.stdout.strip()


def _git(*arguments: str) -> str:
    return _run("git", *arguments, problem="git cannot tell the commit; set SOURCE_DATE_EPOCH")


def date_of_commit() -> datetime:
    """The date that the files bear: of the commit, or as SOURCE_DATE_EPOCH has it."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct")
    return datetime.fromtimestamp(int(epoch), UTC)


def origin() -> dict[str, object]:
    """Which commit this is, as far as anyone can tell."""
    try:
        commit, changed = _git("rev-parse", "HEAD"), bool(_git("status", "--porcelain"))
    except (BundleError, FileNotFoundError):
        return {"commit": "unknown"}
    return {"commit": commit, "changed since": changed}


def gather(
    python: str,
    lock: Path,
    wheels: Path,
    home: Path | None,
    evidence: Path | None,
    date: datetime,
) -> dict[str, bytes]:
    """Gather the bundle's files, by their path in it."""
    pins = read_lock(lock, python)
    found = get_wheels(wheels, pins, python)
    with tempfile.TemporaryDirectory() as name:
        own = make_wheel(Path(name), date)
        version = str(parse_wheel_filename(own.name)[1])
        chosen = [*found.items(), (Pin(NAME, version, frozenset()), own)]
        content = {f"wheels/{wheel.name}": wheel.read_bytes() for _, wheel in chosen}
        lines = [pin.line(frozenset({_sha256(wheel)})) for pin, wheel in chosen]
    content["requirements.txt"] = "".join(sorted(lines)).encode()
    about = {"version": version, "python": python, "platform": PLATFORM, **origin()}
    if home is not None:
        about["brings"] = home.name
    content["bundle.json"] = (json.dumps(about, indent=2) + "\n").encode()
    content |= {name: (ROOT / path).read_bytes() for name, path in FILES.items()}
    content |= make_documentation(date)
    for source in (ROOT / LAUNCHERS).iterdir():
        content[f"{LAUNCHERS}/{source.name}"] = source.read_bytes()
    if home is not None:
        content |= read_home(home, python)
    if evidence is not None:
        content[EVIDENCE] = evidence.read_bytes()
    sums = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in content.items()]
    content[SUMS] = "".join(sorted(sums, key=lambda line: line.split("  ")[1])).encode()
    return content


def write_zip(path: Path, content: Mapping[str, bytes], date: datetime) -> None:
    """Write a zip file that depends on its content and date alone.

    Nothing is compressed: a wheel is already, and what a compressor makes depends on its version.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    with zipfile.ZipFile(aside, "w", zipfile.ZIP_STORED) as file:
        for name in sorted(content):
            info = zipfile.ZipInfo(name, max(date.timetuple()[:6], (1980, 1, 1, 0, 0, 0)))
            info.create_system = 3  # the same wherever it is made
            info.external_attr = 0o100644 << 16
            file.writestr(info, content[name])
    aside.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    """Make the bundle."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default="3.12", help="the workstation's CPython (%(default)s)")
    parser.add_argument(
        "--home", type=Path, help="a CPython for Windows to bring along: folder, zip"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the zip file")
    parser.add_argument("--evidence", type=Path, help="report of pytest --junit-xml to put in")
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements.lock")
    parser.add_argument("--wheels", type=Path, default=ROOT / "build" / "wheels")
    given = parser.parse_args()
    try:
        if not re.fullmatch(r"3\.\d+", given.python):
            raise BundleError(f"--python {given.python}: write it as 3.12.")
        date = date_of_commit()
        content = gather(given.python, given.lock, given.wheels, given.home, given.evidence, date)
        version = json.loads(content["bundle.json"])["version"]
        path = given.out / f"{NAME}-{version}-{PLATFORM}.zip"
        write_zip(path, content, date)
    except (BundleError, OSError) as error:
        sys.exit(f"No bundle: {error}")
    print(f"{path}\nSHA-256 {_sha256(path)}")  # noqa: T201


if __name__ == "__main__":
    main()
