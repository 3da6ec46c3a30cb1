"""``install.py`` and ``uninstall.py``, with real pip, a real compiler and a Python of its own.

What remains in PowerShell is read in ``test_bundle.py``.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from approval_site import module_of
from bundle_here import BASE, MODULES, PROGRAM, VERSION, fill_bundle, isolated, start, write_sums
from stand_ins import ROOT
from stardust_esapi import __version__
from stardust_esapi.approval.assembly import read_launchers
from support import PATIENCE, ending

LAUNCHERS = {
    f"StardustExporter{mode}{kind}" for mode in ("", "ReadOnly") for kind in (".exe", ".esapi.dll")
}


@pytest.fixture(scope="session")
def bundle_here(common) -> Path:
    """The unpacked bundle for this machine."""
    folder = common / "unpacked bundle µ"
    with FileLock(f"{folder}.lock"):
        if not (folder / "SHA256SUMS").exists():
            fill_bundle(folder)
    return folder


def install_once(bundle: Path, folder: Path, esapi: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in bundle.rglob("*")}
    said = start(bundle, "--folder", folder, "--esapi", esapi)
    assert said.returncode == 0, said.stderr
    (version,) = folder.iterdir()
    assert said.stdout.splitlines() == [
        f"Python: {bundle / 'python'}, which is copied",
        f"ESAPI:  {esapi}",
        "Installing the Python packages; this takes a minute or two ...",
        "Making the launchers ...",
        "",
        f"Installed in {version}",
        f"To be approved: StardustExporter, StardustExporter.esapi; version {version.name}",
        f"The record to be signed: record-{version.name}.md; how to proceed: README.md",
    ]
    assert {path: path.stat().st_mtime_ns for path in bundle.rglob("*")} == before


@pytest.fixture(scope="session")
def installed(bundle_here, esapi, common) -> Path:
    """The installed version; not to be changed."""
    folder = common / "stardust-esapi"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            install_once(bundle_here, folder, esapi)
    (version,) = folder.iterdir()
    return version


def test_what_lies_in_the_installed_version(installed, bundle_here, esapi) -> None:
    assert {path.name for path in installed.iterdir()} == LAUNCHERS | {
        *("StardustExporter.ini", "README.md", "installed.txt", "python", "site"),
        *("stardust-esapi.py", "Uninstall.ps1", "uninstall.py", f"record-{installed.name}.md"),
    }
    guide = (bundle_here / "approval" / "README.md").read_bytes()
    assert (installed / "README.md").read_bytes() == guide
    ini = configparser.ConfigParser(interpolation=None)
    ini.read(installed / "StardustExporter.ini", encoding="utf-8")
    assert dict(ini["python"]) == {"home": "python", "site": "site"}
    assert dict(ini["eclipse"]) == {"esapi": str(esapi)}
    assert dict(ini["plug-in"]) == {}
    assert not [*(installed / "python").rglob("pip"), *installed.rglob("__pycache__")]
    assert re.fullmatch(re.escape(__version__) + r"\.\d+", installed.name)
    for launcher, manifest in read_launchers(installed):
        assert launcher.version == installed.name
        assert f"home/{MODULES}/encodings/__init__.py" in manifest.files
        assert "site/stardust_esapi/commands/program.py" in manifest.files


def test_the_list_of_what_was_installed(installed) -> None:
    listed = dict(
        line.split("  ", 1)[::-1] for line in (installed / "installed.txt").read_text().splitlines()
    )
    there = {
        path.relative_to(installed).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in installed.rglob("*")
        if path.is_file() and path.relative_to(installed).parts[0] != "python"
    }
    assert set(there) - set(listed) == {"installed.txt", f"record-{installed.name}.md"}
    assert listed == {name: there[name] for name in listed}


def launch(installed: Path, *arguments: str) -> tuple[int, str]:
    process = subprocess.Popen(
        ["mono", installed / "StardustExporter.exe", *arguments],
        cwd=installed,
        env=os.environ | {"STARDUST_NO_WINDOW": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        start_new_session=True,
    )
    with ending(process):
        text, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, text


def test_the_installed_launcher_runs_with_the_bundles_python_and_no_other(installed) -> None:
    code, text = launch(installed, "some", "words")
    encodings = installed / "python" / MODULES / "encodings" / "__init__.py"
    assert text.splitlines()[-1] == (
        f"StardustExporter {installed.name} True {encodings} some words"
    )
    assert code == 7

    module = installed / "python" / MODULES / "this.py"
    content = module.read_bytes()
    try:
        module.write_bytes(content + b"#")
        code, text = launch(installed, "--help")
    finally:
        module.write_bytes(content)
    assert code == 3, text
    assert f"changed home/{MODULES}/this.py" in text


def test_the_command_line_without_a_launcher(installed) -> None:
    said = isolated(
        installed / "python" / PROGRAM,
        installed / "stardust-esapi.py",
        "approval",
        "show",
        installed,
    )
    assert said.returncode == 0, said.stderr
    assert f"StardustExporter.exe: version {installed.name}, writable" in said.stdout


# --- what is refused, and what leaves things as they are


@pytest.fixture
def small(bundle_here, tmp_path) -> Path:
    """A bundle that brings no Python."""
    folder = tmp_path / "bundle"
    shutil.copytree(
        bundle_here, folder, ignore=shutil.ignore_patterns("python", "typer*", "pydan*")
    )
    write_sums(folder)
    return folder


def refused(small: Path, *options: object) -> str:
    """What install.py says, started by this Python, and that it leaves nothing behind."""
    folder = small.parent / "versions"
    said = start(small, "--folder", folder, *options, python=Path(sys.executable))
    assert (said.returncode, "Traceback" in said.stderr) == (1, False), said.stderr
    assert not folder.exists() or not list(folder.iterdir())
    return said.stderr


def test_what_would_be_done(small, esapi, tmp_path) -> None:
    options = ("--folder", tmp_path / "versions", "--esapi", esapi, "--what-if")
    said = start(small, *options, python=Path(sys.executable))
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == [
        f"Python: {BASE}",
        f"ESAPI:  {esapi}",
        f"Would install stardust-esapi {__version__} below {tmp_path / 'versions'}.",
    ]
    assert not (tmp_path / "versions").exists()


def test_a_bundle_that_is_not_as_it_was_packed(small) -> None:
    (small / "approval" / "launchers" / "Launch.cs").write_text("// another")
    assert refused(small) == (
        "approval/launchers/Launch.cs is not as it was packed. Unpack the zip file again.\n"
    )


def test_a_bundle_that_is_not_whole(small) -> None:
    (small / "approval" / "launchers" / "Launch.cs").unlink()
    assert "there is no approval/launchers/Launch.cs. Unpack the zip file again." in refused(small)


def test_another_python_than_the_packages_are_for(small) -> None:
    (small / "bundle.json").write_text('{"python": "3.99"}')
    write_sums(small)
    assert f"is cpython {VERSION} (64 bit). This bundle needs CPython 3.99 (64 bit)" in refused(
        small
    )


def test_no_eclipse(small, tmp_path) -> None:
    assert "No Eclipse with ESAPI was found on this workstation" in refused(small)
    assert f"{tmp_path} does not hold VMS.TPS.Common.Model.API.dll." in refused(
        small, "--esapi", tmp_path
    )


@pytest.mark.parametrize("option", ["--settings", "--evidence"])
def test_a_file_that_is_not_there(small, esapi, tmp_path, option) -> None:
    missing = tmp_path / "missing"
    assert refused(small, "--esapi", esapi, option, missing) == f"There is no {missing}.\n"


def test_a_backslash_that_took_the_quote_with_it(small) -> None:
    said = start(small, "--folder", 'D:\\my folder" --what-if', python=Path(sys.executable))
    assert said.returncode == 2
    assert "write the path without a backslash at its end" in said.stderr


def test_a_wheel_that_is_not_the_pinned_one(small, esapi) -> None:
    path = small / "requirements.txt"
    path.write_text(re.sub(r"(?m)[0-9a-f]{64}$", "0" * 64, path.read_text()))
    write_sums(small)
    text = refused(small, "--esapi", esapi)
    assert text.startswith("pip could not install the Python packages:\n")
    assert "HASH" in text.upper()


def install_again(small, esapi, folder, mocker, capsys, **options) -> str:
    """All but what takes long; the version is 1.2.3.4."""
    module = module_of(small / "install.py")
    mocker.patch.object(module, "install_packages")
    mocker.patch.object(module, "make_launchers", return_value="1.2.3.4")
    given = {"settings": None, "evidence": None} | options
    module.install([], module.Options(folder=folder, esapi=esapi, **given))
    return capsys.readouterr().out


def test_a_version_that_is_installed_already(small, esapi, tmp_path, mocker, capsys) -> None:
    folder = tmp_path / "versions"
    (folder / "1.2.3.4").mkdir(parents=True)
    (folder / "1.2.3.4" / "ours.txt").touch()
    said = install_again(small, esapi, folder, mocker, capsys)
    assert said.endswith(
        f"Version 1.2.3.4 is installed already in {folder / '1.2.3.4'}. Nothing was changed.\n"
    )
    assert [path.name for path in folder.rglob("*")] == ["1.2.3.4", "ours.txt"]


def test_a_python_that_is_installed_stays_where_it_is(
    small, esapi, tmp_path, mocker, capsys
) -> None:
    settings = tmp_path / "stardust-esapi.toml"
    install_again(small, esapi, tmp_path / "versions", mocker, capsys, settings=settings)
    version = tmp_path / "versions" / "1.2.3.4"
    ini = configparser.ConfigParser(interpolation=None)
    ini.read(version / "StardustExporter.ini", encoding="utf-8")
    assert dict(ini["python"]) == {"home": str(BASE), "site": "site"}
    assert dict(ini["plug-in"]) == {"settings": str(settings)}
    assert not (version / "python").exists()


# --- the way back


@pytest.fixture
def used(installed, tmp_path) -> Path:
    """The installed version as somebody has used it, without its Python."""
    folder = tmp_path / installed.name
    shutil.copytree(installed, folder, ignore=shutil.ignore_patterns("python"))
    (folder / "run.log").write_text("a log")
    return folder


def uninstall(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return isolated(sys.executable, folder / "uninstall.py", *options)


def test_only_what_was_installed_is_removed(used) -> None:
    listed = len((used / "installed.txt").read_text().splitlines())
    said = uninstall(used, "--what-if")
    assert said.stdout.startswith(f"Would remove {listed} files")
    ini = used / "StardustExporter.ini"
    ini.write_text(ini.read_text() + "cases = D:\\list.csv\n")
    said = uninstall(used)
    assert said.returncode == 0, said.stderr
    record = f"record-{used.name}.md"
    assert said.stdout.splitlines() == [
        "Kept, for it was changed: StardustExporter.ini",
        f"Removed: {used}",
        f"Still there: StardustExporter.ini, {record}, run.log",
    ]
    assert {path.name for path in used.rglob("*")} == {ini.name, record, "run.log"}
    assert "nothing was installed there" in uninstall_again(used)


def uninstall_again(used: Path) -> str:
    shutil.copy(ROOT / "approval" / "bundle" / "uninstall.py", used)
    said = uninstall(used)
    assert said.returncode == 1
    return said.stderr


def test_what_eclipse_holds_is_named_and_removed_the_next_time(used, mocker) -> None:
    module = module_of(used / "uninstall.py")
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "StardustExporter.esapi.dll":
            raise PermissionError(13, "in use", str(path))
        unlink(path, missing_ok)

    files = module.read_installed(used)
    mocker.patch.object(Path, "unlink", refuse)
    with pytest.raises(
        module.UninstallError, match=r"removed: StardustExporter\.esapi\.dll\. Leave"
    ):
        module.uninstall(used, files)
    mocker.stopall()
    assert (used / "StardustExporter.esapi.dll").exists()
    assert {path.name for path in used.iterdir() if path.suffix in {".exe", ".ps1", ".py"}} == {
        "Uninstall.ps1",
        "uninstall.py",
    }
    assert module.uninstall(used, module.read_installed(used)) == []
    assert {path.name for path in used.rglob("*")} == {f"record-{used.name}.md", "run.log"}


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/etc/hosts", "C:/outside.txt", "a\\b", "a/../../b"]
)
def test_a_list_that_names_what_lies_elsewhere(tmp_path, name) -> None:
    (tmp_path / "v").mkdir()
    for path in (tmp_path / "outside.txt", tmp_path / "v" / "inside.txt"):
        path.write_text("")
    empty = hashlib.sha256(b"").hexdigest()
    (tmp_path / "v" / "installed.txt").write_text(f"{empty}  inside.txt\n{empty}  {name}\n")
    assert "which is no file of this folder. Nothing is removed." in uninstall_again(tmp_path / "v")
    assert (tmp_path / "outside.txt").exists()
    assert (tmp_path / "v" / "inside.txt").exists()
