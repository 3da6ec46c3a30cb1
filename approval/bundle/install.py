r"""Install stardust-esapi for the user who runs it, and make its launchers.

``Install.ps1`` starts this. By hand, in the unpacked bundle:
``python\python.exe -I -S -B install.py --what-if``. It needs no administrator rights, no internet,
and nothing but Python's own modules.

Everything comes into a folder of its own below ``--folder``, named after the version of the
launchers: Python, the packages (``site``), the four launchers, ``StardustExporter.ini``, the
approval record, the guide. Other versions are left as they are. Nothing is written anywhere else,
save for temporary files that are removed again; nothing is entered in the registry, in PATH or in
the start menu.

The Python that runs this is the one that the launchers start: the bundle's own, which is copied, or
an installed one, which stays where it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BUNDLE = Path(__file__).absolute().parent
PYTHON = "python"  # the bundle's own, there and in the installed version
_PACKAGES = {"site-packages", "dist-packages"}  # where pip lies in it
SITE = "site"
INI = "StardustExporter.ini"
UNPACK = "Unpack the zip file again."
INSTALLED = "installed.txt"
GUIDE = ("stardust-esapi.py", "uninstall.py", "Uninstall.ps1", "approval/README.md")
# A virus scanner holds new files open for a moment, and Windows refuses to rename meanwhile.
PAUSES = (1, 2, 4, 8) if os.name == "nt" else ()  # seconds


class InstallError(Exception):
    """Why nothing was installed: a sentence."""


@dataclass(frozen=True)
class Options:
    """What the user asks for.

    Attributes:
        folder: Where the versions lie.
        esapi: Folder of ESAPI's assemblies.
        settings: The settings file whose rules are to be approved; None for the built-in rules.
        evidence: The report of the automatic tests, for the record; None where there is none.
    """

    folder: Path
    esapi: Path
    settings: Path | None
    evidence: Path | None


def check_bundle() -> list[str]:
    """Compare every file with ``SHA256SUMS``, and name them: others are not touched."""
    names = []
    for line in (BUNDLE / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ", 1)
        if not (BUNDLE / name).is_file():
            raise InstallError(f"The bundle is not whole: there is no {name}. {UNPACK}")
        if _sha256(BUNDLE / name) != digest:
            raise InstallError(f"{name} is not as it was packed. {UNPACK}")
        names.append(name)
    return names


def check_python(wanted: str) -> None:
    """Refuse to run in another Python than the packages are for."""
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if (sys.implementation.name, running) != ("cpython", wanted) or sys.maxsize < 2**32:
        bits = 64 if sys.maxsize > 2**32 else 32
        raise InstallError(
            f"{sys.executable} is {sys.implementation.name} {running} ({bits} bit). This bundle "
            f"needs CPython {wanted} (64 bit): start install.py with that."
        )


def find_esapi(given: Path | None) -> Path:
    """Find ESAPI's assemblies: where the user says, or those of the newest Eclipse."""
    wheel = next(BUNDLE.glob("wheels/stardust_esapi-*.whl"))
    sys.path.insert(0, str(wheel))  # Python imports from a wheel as it is
    from stardust_esapi.esapi.installed import API, newest_esapi, program_folders

    if given and not (given / API).is_file():
        raise InstallError(f"{given} does not hold {API}. Check --esapi.")
    found = given or newest_esapi(program_folders())
    if found is None:
        raise InstallError(
            "No Eclipse with ESAPI was found on this workstation. Name the folder of its "
            "assemblies by --esapi."
        )
    return found


def install(names: Sequence[str], options: Options) -> None:
    """Make a version, and give it its name when it is whole.

    Args:
        names: The bundle's files.
        options: What the user asks for.
    """
    # Not by tempfile: its folders are closed to other users, who may have to read the version.
    new = options.folder / f".new-{secrets.token_hex(4)}"
    new.mkdir(parents=True)
    try:
        home = copy_python(names, new) if brings_python() else Path(sys.base_prefix)
        print("Installing the Python packages; this takes a minute or two ...", flush=True)
        install_packages(new / SITE)
        for name in GUIDE:
            shutil.copy(BUNDLE / name, new)
        print("Making the launchers ...", flush=True)
        version = make_launchers(new, home, options)
        values = {"home": str(PYTHON if brings_python() else home), "esapi": str(options.esapi)}
        if options.settings:
            values["settings"] = str(options.settings)
        write_ini(new / INI, values)
        write_installed(new)
        final = options.folder / version
        if final.exists():
            print(f"Version {version} is installed already in {final}. Nothing was changed.")
            return
        rename(new, final)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    print(f"\nInstalled in {final}")
    print(f"To be approved: StardustExporter, StardustExporter.esapi; version {version}")
    print(f"The record to be signed: record-{version}.md; how to proceed: README.md")


def brings_python() -> bool:
    """Whether the Python that runs is the bundle's own."""
    own = BUNDLE / PYTHON
    return own.is_dir() and own.samefile(sys.base_prefix)


def copy_python(names: Sequence[str], new: Path) -> Path:
    """Copy the bundle's Python, without pip, which nobody needs any more."""
    for name in names:
        folder, *folders = name.split("/")
        if folder == PYTHON and _PACKAGES.isdisjoint(folders):
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(BUNDLE / name, new / name)
    return new / PYTHON


def install_packages(site: Path) -> None:
    """Have pip lay out the bundle's wheels, each with its pinned hash."""
    run(
        *("-m", "pip", "--isolated", "--quiet", "--disable-pip-version-check", "--no-input"),
        *("--no-cache-dir", "install", "--no-index", "--find-links", BUNDLE / "wheels"),
        *("--require-hashes", "--no-deps", "--no-compile", "--only-binary", ":all:"),
        *("--target", site, "--requirement", BUNDLE / "requirements.txt"),
        problem="pip could not install the Python packages",
    )
    if os.name == "nt":
        # pip moves the files from the user's temporary folder, and they bring along who may read
        # them there: now it is who may read this folder.
        icacls = Path(os.environ["SYSTEMROOT"], "System32", "icacls.exe")
        subprocess.run([icacls, site, "/reset", "/t", "/q"], stdout=subprocess.DEVNULL, check=False)  # noqa: S603


def make_launchers(new: Path, home: Path, options: Options) -> str:
    """Compile the launchers and fill in the record; returns the version."""
    given = [
        *(("--settings", options.settings) if options.settings else ()),
        *(("--evidence", options.evidence) if options.evidence else ()),
    ]
    run(
        *("-S", new / "stardust-esapi.py", "approval", "build", "--site", new / SITE),
        *("--home", home, "--esapi", options.esapi, "--out", new),
        *("--launchers", BUNDLE / "approval" / "launchers", *given),
        problem="The launchers could not be created",
    )
    (record,) = new.glob("record-*.md")
    return record.stem.removeprefix("record-")


def run(*arguments: object, problem: str) -> None:
    """Run this Python, isolated; what it says is shown where it fails."""
    ended = subprocess.run(  # noqa: S603 - this very Python
        [sys.executable, "-I", "-B", "-X", "utf8", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if ended.returncode:
        raise InstallError(f"{problem}:\n{ended.stdout.strip()}")


def write_ini(path: Path, values: Mapping[str, str]) -> None:
    """Write the template with these values; their lines may be comments there."""
    text = (BUNDLE / "approval" / INI).read_text(encoding="utf-8")
    for key, value in values.items():
        line = f"{key} = {value}".replace("\\", "\\\\")
        text, count = re.subn(rf"(?m)^;? ?{key} = .*$", line, text)
        if count != 1:
            raise InstallError(f"The template {INI} has {count} lines for '{key}', not one.")
    path.write_text(text, encoding="utf-8")


def write_installed(new: Path) -> None:
    """List what ``uninstall.py`` may remove: what it finds as it was left here.

    Records are kept. Python's own folder goes as a whole, when Python has ended.
    """
    files = sorted(path for path in new.rglob("*") if path.is_file())
    lines = [
        f"{_sha256(path)}  {path.relative_to(new).as_posix()}\n"
        for path in files
        if not path.match("record-*.md") and path.relative_to(new).parts[0] != PYTHON
    ]
    (new / INSTALLED).write_text("".join(lines), encoding="utf-8")


def rename(new: Path, final: Path) -> None:
    """Give the version its name, as soon as Windows lets us."""
    for pause in PAUSES:
        try:
            new.rename(final)
        except OSError:
            time.sleep(pause)
        else:
            return
    new.rename(final)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _path(text: str) -> Path:
    if '"' in text:  # "D:\my folder\" in PowerShell or cmd: the backslash goes with the quote
        raise argparse.ArgumentTypeError(f"{text}: write the path without a backslash at its end")
    return Path(text).absolute()


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="install.py", description=__doc__.splitlines()[0])
    local = os.environ.get("LOCALAPPDATA")
    parser.add_argument(
        "--folder",
        type=_path,
        default=Path(local, "stardust-esapi") if local else None,
        required=not local,
        help="where to install (%%LOCALAPPDATA%%\\stardust-esapi)",
    )
    parser.add_argument(
        "--esapi", type=_path, help="folder of Varian's ESAPI assemblies (of the newest Eclipse)"
    )
    parser.add_argument(
        "--settings", type=_path, help="TOML file whose rules are to be approved (built-in rules)"
    )
    parser.add_argument(
        "--evidence", type=_path, help="report of the automatic tests (of the bundle, if there)"
    )
    parser.add_argument("--what-if", action="store_true", help="say what would be done")
    return parser.parse_args()


def main() -> None:
    """Install, or say what would be done."""
    sys.stdout.reconfigure(errors="backslashreplace")
    given = _given()
    try:
        names = check_bundle()
        about = json.loads((BUNDLE / "bundle.json").read_text(encoding="utf-8"))
        check_python(about["python"])
        for path in filter(None, (given.settings, given.evidence)):
            if not path.is_file():
                raise InstallError(f"There is no {path}.")
        evidence = given.evidence or BUNDLE / "evidence.xml"
        options = Options(
            given.folder,
            find_esapi(given.esapi),
            given.settings,
            evidence if given.evidence or evidence.is_file() else None,
        )
        print(f"Python: {sys.base_prefix}{', which is copied' if brings_python() else ''}")
        print(f"ESAPI:  {options.esapi}")
        if given.what_if:
            print(f"Would install stardust-esapi {about['version']} below {options.folder}.")
            return
        install(names, options)
    except (InstallError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped. Nothing was installed.")


if __name__ == "__main__":
    main()
