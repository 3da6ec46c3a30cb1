"""``approval check`` and the launchers' own check, on the same folders: they must say the same."""

from __future__ import annotations

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
def launcher_says(pristine_site, tmp_path):
    """What the launchers' code says of folders, for a manifest that is compiled in."""

    def ask(manifest: Manifest, *folders: Path) -> list[str]:
        (tmp_path / "manifest").write_bytes(manifest.text.encode())
        program = tmp_path / "differences.exe"
        compiler = find_compiler()
        references = [*compiler.references, pristine_site / RUNTIME]
        command = [compiler.program, "-nologo", "-langversion:5", f"-out:{program}"]
        command += [f"-reference:{reference}" for reference in references]
        resource = f"-resource:{tmp_path / 'manifest'},manifest"
        subprocess.run([*command, resource, *SOURCES, PROGRAM], check=True)
        assert find_manifest(program.read_bytes()) == manifest
        said = subprocess.run(["mono", program, *folders], check=True, stdout=subprocess.PIPE)
        return said.stdout.decode().split("\n")[:-1]

    return ask


def test_the_launchers_say_what_the_check_says(launcher_says, tmp_path) -> None:
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
    manifest = make_manifest(site, "0.1.0", Target("3.12", "win_amd64"))
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
    (site / "top.py").symlink_to("nowhere")
    (site / "package" / "linked").symlink_to(tmp_path)
    (site / "package" / "linked.py").symlink_to("c.py")
    (site / "bin" / "linked").symlink_to(tmp_path)
    (site / "package" / "data" / "again").symlink_to(site)

    differences = [str(one) for one in compare(manifest, read_files(site))]
    assert launcher_says(manifest, site) == differences
    assert {line.split(" ")[0] for line in differences} == {"changed", "missing", "added"}
    assert len(differences) > 20


def test_they_say_the_same_of_a_folder_that_is_not_like_it_at_all(launcher_says, tmp_path) -> None:
    site, other = tmp_path / "site", tmp_path / "other"
    write(site, "a.py", "b/c.py")
    write(other, "d.py", "b/e.py", "b/C.py")
    manifest = make_manifest(site, "0.1.0", Target("3.12", "win_amd64"))
    differences = [str(one) for one in compare(manifest, read_files(other))]
    assert launcher_says(manifest, other) == differences
    assert len(differences) == 5
