"""A site folder that pip made of real wheels, and launchers that a real compiler made for it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import pythonnet
from filelock import FileLock

from approval_site import BUNDLE, make_bundle, make_site, write_home, write_wheel
from stand_ins import ROOT, assemblies
from stardust_esapi.approval.manifest import Target

SOURCES = Path(__file__).parent / "csharp" / "launchers"
RUNTIME = Path(pythonnet.__file__).parent / "runtime" / "Python.Runtime.dll"

PROGRAM = "import sys\n\n\ndef main():\n    print(__file__, sys.argv[1:])\n"

WriteWheel = Callable[..., Path]


@pytest.fixture(scope="session", name="write_wheel")
def _write_wheel() -> WriteWheel:
    return write_wheel


@pytest.fixture(scope="session")
def wheels(write_wheel, tmp_path_factory) -> Path:
    """A folder with wheels of the package and what it depends on, small ones, and their lock."""
    folder = tmp_path_factory.mktemp("wheels")
    created = [
        write_wheel(
            folder,
            "stardust_esapi",
            "0.1.0",
            {
                "stardust_esapi/__init__.py": b'"""The package."""\n',
                "stardust_esapi/commands/program.py": PROGRAM.encode(),
                "stardust_esapi-0.1.0.dist-info/entry_points.txt": (
                    b"[console_scripts]\nstardust-esapi = stardust_esapi.commands.program:main\n"
                ),
            },
        ),
        write_wheel(
            folder,
            "pythonnet",
            "3.2.1",
            {"pythonnet/runtime/Python.Runtime.dll": RUNTIME.read_bytes()},
        ),
        write_wheel(
            folder,
            "Compiled.Thing",
            "2.0",
            {
                "thing/Größe µ.txt": b"odd name",
                "thing/core.cp312-win_amd64.pyd": b"\x00\xff",
                "Compiled.Thing-2.0.data/data/share/thing.1": b"a page",
                "Compiled.Thing-2.0.data/scripts/thing-tool": b"#!python\nprint()\n",
            },
            "cp312-cp312-win_amd64",
        ),
    ]
    lines = []
    for wheel in created:
        name, version, *_ = wheel.name.split("-")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
    (folder / "requirements.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="session")
def pristine_site(wheels, tmp_path_factory) -> Path:
    """The site folder as pip made it; not to be changed."""
    site = tmp_path_factory.mktemp("pristine") / "site"
    target = Target("3.12", "win_amd64")
    make_site(site, wheels / "requirements.txt", wheels=wheels, target=target)
    return site


@pytest.fixture
def site(pristine_site, tmp_path) -> Path:
    """A site folder of a test's own."""
    return shutil.copytree(pristine_site, tmp_path / "site")


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """The least of a Python 3.12 as its installer for Windows lays it out; not to be changed."""
    home = tmp_path_factory.mktemp("home")
    write_home(home)
    return home


@pytest.fixture(scope="session")
def esapi() -> Path:
    """Folder of the ESAPI that launchers are compiled against."""
    return assemblies("16.1")


@pytest.fixture(scope="session")
def approval(tmp_path_factory) -> Path:
    """A folder like the project's ``approval``, with sources that compile in no time."""
    folder = tmp_path_factory.mktemp("approval")
    shutil.copytree(SOURCES, folder / "launchers")
    shutil.copy(ROOT / "approval" / "record.md.j2", folder)
    return folder


@pytest.fixture(scope="session")
def common(tmp_path_factory, worker_id) -> Path:
    """A folder that all processes of the tests see, for what is made once (under a lock)."""
    root = tmp_path_factory.getbasetemp()
    return root if worker_id == "master" else root.parent


@pytest.fixture(scope="session")
def bundle(common) -> Path:
    """The bundle."""
    folder = common / "bundle"
    with FileLock(f"{folder}.lock"):
        if not (folder / BUNDLE).exists():
            created = make_bundle("--out", folder, SOURCE_DATE_EPOCH="1700000000")
            assert created.returncode == 0, created.stdout
            digest = hashlib.sha256((folder / BUNDLE).read_bytes()).hexdigest()
            assert created.stdout.endswith(f"{folder / BUNDLE}\nSHA-256 {digest}\n")
    return folder / BUNDLE


@pytest.fixture(scope="session")
def unpacked(bundle, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    shutil.unpack_archive(bundle, folder)
    return folder
