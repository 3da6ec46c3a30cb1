"""Launchers built over a tiny site folder, and an installation of them for each test."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import pythonnet

from esapi_stub.build import build
from esapi_stub.sample import Phantom, write_phantom
from launchers.installed import (
    ESAPI,
    HOME,
    MODULES,
    PATIENT,
    RUNTIME,
    TRAP,
    VERSION,
    Installation,
    library_of,
)
from stand_ins import ROOT, assemblies
from stardust_esapi.approval.compile import build_launchers
from stardust_esapi.approval.manifest import Manifest, Target, make_manifest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site folder with the least that a launcher needs, and traps in it."""
    site = tmp_path_factory.mktemp("origin") / "site"
    package = site / "stardust_esapi"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "commands").mkdir()
    (package / "commands" / "__init__.py").write_text("")
    shutil.copy(HERE / "fake_launcher.py", package / "commands" / "launcher.py")
    (package / "late.py").write_text("")
    (compiled,) = (HOME / MODULES / "lib-dynload").glob("_json.*.so")
    shutil.copy(compiled, package)
    runtime = site / RUNTIME
    runtime.parent.mkdir(parents=True)
    shutil.copy(Path(pythonnet.__file__).parent / "runtime" / runtime.name, runtime)
    # Approved, and yet not to be run: there is no `site` module.
    (site / "sitecustomize.py").write_text(TRAP)
    (site / "approved.pth").write_text(TRAP)
    # Approved, and yet not before Python's own.
    (site / "json.py").write_text(TRAP)
    return site


@pytest.fixture
def private_home(tmp_path: Path) -> Path:
    """The Python that runs the tests, without its tests and packages, to be spoilt."""
    home = tmp_path / "home"
    ignored = shutil.ignore_patterns("__pycache__", "*-packages", "test", "tests")
    shutil.copytree(
        HOME / MODULES, home / MODULES, ignore=ignored, copy_function=_linked, dirs_exist_ok=True
    )
    source = library_of(HOME)
    library = home / source.relative_to(HOME)
    library.parent.mkdir(exist_ok=True)
    _linked(source, library)
    return home


def _linked(source: str | Path, target: str | Path) -> None:
    """Copy a file that nobody changes: it is only replaced."""
    try:
        os.link(Path(source).resolve(), target)
    except OSError:  # another file system
        shutil.copy(source, target)


@pytest.fixture(scope="session")
def manifest(origin: Path) -> Manifest:
    return make_manifest(origin, HOME, "0.1.0", Target(VERSION, "linux_x86_64"))


@pytest.fixture(scope="session")
def launchers(origin: Path, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("launchers")
    build_launchers(
        ROOT / "approval" / "launchers", assemblies(ESAPI), origin / RUNTIME, manifest, out
    )
    return out


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("database")
    write_phantom(folder / "dicom", Phantom(PATIENT))
    build(folder / "dicom", folder / "db")
    return folder / "db"


@pytest.fixture
def installation(origin: Path, launchers: Path, database: Path, tmp_path: Path) -> Installation:
    folder = tmp_path / "Größe 1"  # as folders are named
    shutil.copytree(launchers, folder)
    shutil.copytree(origin, folder / "site")
    for assembly in assemblies(ESAPI).glob("*.dll"):
        shutil.copy(assembly, folder)
    created = Installation(folder, shutil.copytree(database, tmp_path / "db"))
    created.configure()
    return created
