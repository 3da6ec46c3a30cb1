"""A bundle for this machine: as ``scripts/bundle`` makes it, but with this Python and its packages.

Of the package one module is another: the one that a launcher enters, which would ask for every
dependency (``tests/launchers/test_whole_export.py`` has it).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

from approval_site import module_of, write_wheel
from stand_ins import ROOT
from stardust_esapi import __version__
from support import PATIENCE

WINDOWS = os.name == "nt"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
BASE = Path(sys.base_prefix)
MODULES = "Lib" if WINDOWS else f"lib/python{VERSION}"
PROGRAM = "python.exe" if WINDOWS else f"bin/python{VERSION}"
OF_HOME = (  # beside the modules
    ("*.dll", "DLLs/*")
    if WINDOWS
    else (f"lib/libpython{VERSION}.so.1.0", f"lib/x86_64-linux-gnu/libpython{VERSION}.so.1.0")
)
# What `approval` imports. With all that the lock pins, the tests would take minutes.
NEEDED = (
    *("annotated-doc", "annotated-types", "jinja2", "loguru", "markupsafe", "pydantic"),
    *("pydantic-core", "pythonnet", "shellingham", "typer"),
    *("typing-extensions", "typing-inspection"),
    *(("colorama", "win32-setctime") if WINDOWS else ()),
)
ENTERED = b"""
import encodings


def run_console(host, arguments):
    print(host.Name, host.Version, host.Verified, encodings.__file__, *arguments, flush=True)
    return 7
"""


def fill_bundle(folder: Path) -> None:
    """Make the unpacked bundle."""
    for inside, path in module_of(ROOT / "scripts" / "make_bundle.py").FILES.items():
        (folder / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / inside)
    shutil.copytree(ROOT / "approval" / "launchers", folder / "approval" / "launchers")
    wheels = [_own_wheel(folder / "wheels"), *(_wheel(folder / "wheels", name) for name in NEEDED)]
    lines = []
    for wheel in wheels:
        name, version, *_ = wheel.name.split("-")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
    (folder / "requirements.txt").write_text("".join(lines))
    (folder / "bundle.json").write_text(json.dumps({"version": __version__, "python": VERSION}))
    _copy_python(folder / "python")
    write_sums(folder)


def write_sums(folder: Path) -> None:
    """List the files as they are now."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in files
        if path.name != "SHA256SUMS"
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


def start(
    bundle: Path, *options: object, python: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Start install.py as Install.ps1 does."""
    program = python or bundle / "python" / PROGRAM
    return isolated(program, bundle / "install.py", *options)


def isolated(*command: object) -> subprocess.CompletedProcess[str]:
    """Run a script of Python alone: the program, the script, its arguments."""
    program, *arguments = map(str, command)
    return subprocess.run(
        [program, "-I", "-S", "-B", "-X", "utf8", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=PATIENCE,
    )


def _own_wheel(folder: Path) -> Path:
    package = ROOT / "stardust_esapi"
    files = {
        path.relative_to(ROOT).as_posix(): path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    files["stardust_esapi/commands/launcher.py"] = ENTERED
    return write_wheel(folder, "stardust_esapi", __version__, files)


def _wheel(folder: Path, name: str) -> Path:
    """Pack again what is installed here."""
    one = distribution(name)
    files = {
        path.as_posix(): path.locate().read_bytes()
        for path in one.files or ()
        if not {"..", "__pycache__"} & set(path.parts) and ".dist-info" not in str(path)
    }
    tag = "py3-none-any"
    if any(path.endswith((".so", ".pyd")) for path in files):
        python = f"cp{VERSION.replace('.', '')}"
        tag = f"{python}-{python}-{re.sub('[-.]', '_', sysconfig.get_platform())}"
    return write_wheel(folder, name.replace("-", "_"), one.version, files, tag)


def _copy_python(home: Path) -> None:
    """Copy this Python with pip, as much as NuGet's package has."""
    for path in (path for pattern in (PROGRAM, *OF_HOME) for path in BASE.glob(pattern)):
        target = home / path.relative_to(BASE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    left_out = ("site-packages", "__pycache__", "test", "idlelib", "ensurepip", "config-*")
    shutil.copytree(BASE / MODULES, home / MODULES, ignore=shutil.ignore_patterns(*left_out))
    where = isolated(home / PROGRAM, "-c", "import site; print(site.getsitepackages()[-1])")
    (pip,) = (ROOT / ".venv").glob("lib/python*/site-packages/pip")  # the tests' Python has one
    shutil.copytree(
        pip, Path(where.stdout.strip()) / "pip", ignore=shutil.ignore_patterns("__pycache__")
    )
