"""Bundles and site folders for tests: by pip, from wheels with hashes, as install.py does it."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from filelock import FileLock

from stand_ins import ROOT
from stardust_esapi import __version__
from stardust_esapi.approval.manifest import Target
from stardust_esapi.errors import UsageError
from stardust_esapi.files import make_folder, rename, sync_folder

BUNDLE = f"stardust-esapi-{__version__}-win_amd64.zip"
_COMPLAINT = 1500  # characters of what pip said, in an error


def make_bundle(*options: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/bundle, one at a time: its wheels lie in one place."""
    (ROOT / "build").mkdir(exist_ok=True)
    with FileLock(ROOT / "build" / ".bundle.lock"):
        return subprocess.run(
            [ROOT / "scripts" / "bundle", *map(str, options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=os.environ | environment,
        )


def make_site(
    site: Path,
    requirements: Path,
    package: Path | None = None,
    wheels: Path | None = None,
    target: Target | None = None,
) -> None:
    """Create a site folder by pip, as install.py does; it bears its name only when it is whole.

    Args:
        site: The folder to create.
        requirements: What to install, with a hash for each, such as ``requirements.lock``.
        package: This package, as a wheel or a source folder, where the requirements lack it.
        wheels: Take the requirements from this folder and never from an index.
        target: Another Python than the one that runs. pip then judges the requirements' markers by
            the running Python all the same: leave those out that the target does not need.

    Raises:
        UsageError: The folder exists, or pip cannot install what is asked.
        OSError: The file system refuses.
    """
    if site.exists():
        raise UsageError(f"{site} exists already. Remove it, or name another folder.")
    make_folder(site.parent)
    source = [] if wheels is None else ["--no-index", "--find-links", str(wheels)]
    foreign = (
        []
        if target is None
        else [
            "--python-version", target.python, "--implementation", "cp",
            "--platform", target.platform, "--only-binary", ":all:",
            # pip would ask the Python that runs, whatever it was told of the other one.
            "--ignore-requires-python",
        ]
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix=f".{site.name}-", dir=site.parent) as name:
        created = Path(name) / site.name
        into = ["--no-deps", "--no-compile", "--target", str(created)]
        _pip("install", *into, *source, *foreign, "--require-hashes", "-r", str(requirements))
        if package is not None:
            _pip("install", *into, *foreign, str(package))
        rename(created, site)
    sync_folder(site.parent)


def write_home(home: Path) -> None:
    """Write the least of a Python 3.12 as its installer for Windows lays it out: four files."""
    for path in ("python312.dll", "vcruntime140.dll", "DLLs/_ssl.pyd", "Lib/encodings/__init__.py"):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_bytes(path.encode())


def write_wheel(
    folder: Path, name: str, version: str, files: Mapping[str, bytes], tag: str = "py3-none-any"
) -> Path:
    """Write a wheel; the files' paths as they shall lie in the site folder, or ``*.data/…``."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    content = dict(files) | {
        f"{info}/METADATA": about.encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: t\nTag: {tag}\n".encode(),
    }
    record = "".join(_record(path, data) for path, data in content.items())
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, data in content.items():
            wheel.writestr(inside, data)
    return path


def _record(path: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}\n"


def module_of(path: Path) -> ModuleType:
    """Load a script that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    ended = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if ended.returncode:
        said = ended.stdout.strip()[-_COMPLAINT:]
        raise UsageError(f"pip could not create the site folder:\n{said}")
