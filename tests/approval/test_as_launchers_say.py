"""``approval check`` and the launchers' own check, on the same folders: they must say the same."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from stand_ins import ROOT
from stardust_esapi.approval.compile import find_compiler
from stardust_esapi.approval.manifest import (
    Manifest,
    Target,
    compare,
    find_manifest,
    make_manifest,
    read_files,
)
from stardust_esapi.approval.site import RUNTIME

SOURCES = sorted((ROOT / "approval" / "launchers").glob("*.cs"))
PROGRAM = Path(__file__).parent / "csharp" / "Differences.cs"


def write(site: Path, *paths: str) -> None:
    for path in paths:
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(path.encode())


@pytest.fixture
def launcher_says(pristine_site, esapi, home, tmp_path):
    """What the launchers' code says of folders, for a manifest that is compiled in."""

    def ask(manifest: Manifest, *sites: Path, home: Path = home) -> list[str]:
        (tmp_path / "manifest").write_bytes(manifest.text.encode())
        program = tmp_path / "differences.exe"
        compiler = find_compiler()
        references = [*compiler.references, pristine_site / RUNTIME, *esapi.glob("VMS.*.dll")]
        command = [compiler.program, "-nologo", "-langversion:5", f"-out:{program}"]
        command += [f"-reference:{reference}" for reference in references]
        resource = f"-resource:{tmp_path / 'manifest'},manifest"
        subprocess.run([*command, resource, *SOURCES, PROGRAM], check=True)
        assert find_manifest(program.read_bytes()) == manifest
        command = ["mono", program, home, *sites]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        return said.stdout.decode().split("\n")[:-1]

    return ask


def test_the_launchers_say_what_the_check_says(launcher_says, home, tmp_path) -> None:
    site = tmp_path / "site"
    write(
        site,
        *("package/a.py", "package/b.py", "package/c.py", "package/data/Größe µ \U0001d11e.txt"),
        *(
            "top.py",
            "package/~.py",
            "package/\ufe4f.py",
            "package/\U0001d11e.py",
            "package/a b'c;.txt",
        ),
        *("bin/tool", "Scripts/tool.exe", "x-1.dist-info/RECORD", "package/bin/tool"),
        *("bin/known.py", "package/__pycache__/a.cpython-312.pyc"),
    )
    manifest = make_manifest(site, home, "0.1.0", Target("3.12", "win_amd64"))
    same = tmp_path / "same"
    same.symlink_to(site)
    assert launcher_says(manifest, site, same) == []

    write(site, "package/added.py", "bin/other", "bin/evil.py", "bin/known.pyd", "bin/evil.PyW")
    write(site, "x-1.dist-info/evil.so", "x-1.dist-info/evil.dll", "x-1.dist-info/a.b.py")
    write(site, "package/__pycache__/evil.pyc", "package/__pycache__/b.cpython-312.opt-1.pyc")
    write(site, "package/__pycache__/.pyc", "package/__pycache__/.py", "package/__pycache__/x.")
    write(site, "package/__PYCACHE__/a.cpython-312.pyc", "package/Scripts/tool.exe", "BIN/tool")
    write(
        site,
        "package/\U0001d11e\U0001d11e",
        "package/\ufe4f\ufe4f",
        "package/~~",
        "package/y.dist-info",
        ".hidden",
    )
    (site / "package" / "a.py").write_bytes(b"changed")
    (site / "package" / "b.py").unlink()
    (site / "bin" / "known.py").unlink()
    (site / "top.py").unlink()
    os.mknod(site / "top.py", stat.S_IFSOCK)
    (site / "nowhere").symlink_to("nothing")
    (site / "package" / "linked").symlink_to(tmp_path)
    (site / "package" / "linked.py").symlink_to("c.py")
    (site / "bin" / "linked").symlink_to(tmp_path)
    (site / "package" / "data" / "again").symlink_to(site)

    differences = [str(one) for one in compare(manifest, read_files(site, home, "3.12"))]
    assert launcher_says(manifest, site) == differences
    assert {line.split(" ")[0] for line in differences} == {"changed", "missing", "added"}
    assert len(differences) > 15


@pytest.mark.parametrize("windows", [True, False])
def test_they_say_the_same_of_python_itself(launcher_says, tmp_path, windows) -> None:
    site, home = tmp_path / "site", tmp_path / "home"
    write(site, "a.py")
    if windows:
        modules = home / "Lib"
        write(home, "python312.dll", "python3.dll", "DLLs/_ssl.pyd", "DLLs/libssl-3.dll")
    else:
        modules = home / "lib" / "python3.12"
        write(home, "lib/x86_64-linux-gnu/libpython3.12.so.1.0", "lib/other.so", "lib/other.py")
        write(modules, "lib-dynload/_ssl.cpython-312-x86_64-linux-gnu.so")
    write(modules, "encodings/__init__.py", "os.py", "ctypes/wintypes.py", "LICENSE.txt")
    write(modules, "site-packages/x.py", "dist-packages/x.py", "test/x.py", "json/tests/x.py")
    write(modules, "__pycache__/os.cpython-312.pyc", "json/json.PYW")
    (modules / "linked.py").symlink_to("os.py")
    manifest = make_manifest(site, home, "0.1.0", Target("3.12", "win_amd64"))
    assert launcher_says(manifest, site, home=home) == []
    assert len(manifest.files) == (10 if windows else 8)

    write(home, "beside.dll", "beside.so", "python313.dll", "elsewhere/x.py")
    write(modules, "added.py", "added.pyc", "added.Dll", "json/added.pyd", "site-packages/y.py")
    (modules / "os.py").write_bytes(b"changed, and so is the link to it")
    (modules / "ctypes" / "wintypes.py").unlink()
    (modules / "folder").symlink_to("ctypes")
    (modules / "nowhere.py").symlink_to("nothing")
    differences = [str(one) for one in compare(manifest, read_files(site, home, "3.12"))]
    assert launcher_says(manifest, site, home=home) == differences
    folder = modules.relative_to(home).as_posix()
    assert sorted(differences) == sorted(
        [
            "added home/beside.dll",
            "added home/python313.dll",
            *(f"added home/{folder}/{name}" for name in ("added.py", "added.Dll", "folder")),
            *(f"added home/{folder}/{name}" for name in ("json/added.pyd", "nowhere.py")),
            *(f"changed home/{folder}/{name}" for name in ("os.py", "linked.py")),
            f"missing home/{folder}/ctypes/wintypes.py",
        ]
    )


def test_they_say_the_same_of_a_folder_that_is_not_like_it_at_all(
    launcher_says, home, tmp_path
) -> None:
    site, other = tmp_path / "site", tmp_path / "other"
    write(site, "a.py", "b/c.py")
    write(other, "d.py", "b/e.py", "b/C.py")
    manifest = make_manifest(site, home, "0.1.0", Target("3.12", "win_amd64"))
    differences = [str(one) for one in compare(manifest, read_files(other, home, "3.12"))]
    assert launcher_says(manifest, other) == differences
    assert len(differences) == 5
