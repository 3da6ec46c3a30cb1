"""``stardust-esapi approval build|show|check``, with a real compiler and a real site folder."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from stand_ins import ROOT
from stardust_esapi.approval.assembly import read_assembly, read_launchers
from stardust_esapi.approval.compile import LAUNCHERS, build_launchers, find_compiler
from stardust_esapi.approval.manifest import find_manifest
from stardust_esapi.approval.site import RUNTIME, read_site
from stardust_esapi.errors import UsageError

FILES = [
    "StardustExporter.exe",
    "StardustExporter.esapi.dll",
    "StardustExporterReadOnly.exe",
    "StardustExporterReadOnly.esapi.dll",
]


@pytest.fixture(scope="session")
def built(pristine_site, home, esapi, approval, tmp_path_factory) -> Path:
    """Folder with the four launchers of the pristine site folder."""
    out = tmp_path_factory.mktemp("built") / "out"
    manifest = read_site(pristine_site, home).manifest
    created = build_launchers(approval / "launchers", esapi, pristine_site / RUNTIME, manifest, out)
    assert [path.name for path in created] == FILES
    assert {path.name for path in out.iterdir()} == set(FILES)
    return out


@pytest.fixture
def build(run, esapi, approval, home):
    """Run ``approval build``."""

    def invoke(site: Path, out: Path, *options: object, **other: Path):
        folders = {"esapi": esapi, "home": home, "launchers": approval / "launchers"} | other
        given = [part for name, path in folders.items() for part in (f"--{name}", path)]
        return run("approval", "build", "--site", site, "--out", out, *given, *options)

    return invoke


def test_the_launchers_and_their_record(build, site, home, tmp_path) -> None:
    out = tmp_path / "a b,c;d" / "Größe"
    said = build(site, out)
    assert said.code == 0, said.text
    manifest = read_site(site, home).manifest
    record = out / f"record-{manifest.version}.md"
    assert {path.name for path in out.iterdir()} == {*FILES, record.name}
    assert said.out.splitlines() == [
        *(f"{out / name}: version {manifest.version}" for name in FILES),
        f"Record: {record}",
    ]
    text = record.read_text(encoding="utf-8")
    for name in FILES:
        data = (out / name).read_bytes()
        assert find_manifest(data) == manifest
        assert hashlib.sha256(data).hexdigest() in text


def test_what_a_launcher_is_stands_in_its_bytes(built, pristine_site, home) -> None:
    manifest = read_site(pristine_site, home).manifest
    for launcher in LAUNCHERS:
        read = read_assembly(built / launcher.file)
        assert read.file == launcher.file
        assert read.version == manifest.version
        assert read.writable is launcher.writable
        assert read.manifest == manifest
        assert not read.stand_in
    assert [(one.plug_in, one.writable) for one in LAUNCHERS] == [
        (False, True),
        (True, True),
        (False, False),
        (True, False),
    ]


def test_the_runtime_agrees_with_what_the_bytes_say(built, esapi, tmp_path) -> None:
    program = tmp_path / "Tell.exe"
    source = Path(__file__).parent / "csharp" / "Tell.cs"
    api = esapi / "VMS.TPS.Common.Model.API.dll"
    subprocess.run(["mcs", "-nologo", f"-r:{api}", f"-out:{program}", source], check=True)
    for assembly in esapi.glob("*.dll"):
        shutil.copy(assembly, tmp_path)
    told = subprocess.run(
        ["mono", program, *(built / name for name in FILES)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.splitlines()
    manifest = read_assembly(built / FILES[0]).manifest
    assert manifest is not None
    assert told == [
        f"{launcher.name} {manifest.version} {launcher.writable} X64 manifest {manifest.digest} "
        f"{'VMS.TPS.Script' if launcher.plug_in else 'Main'}"
        for launcher in LAUNCHERS
    ]


def test_an_assembly_that_is_no_launcher(esapi) -> None:
    read = read_assembly(esapi / "VMS.TPS.Common.Model.API.dll")
    assert read.manifest is None
    assert read.stand_in
    with pytest.raises(UsageError, match="carries no manifest"):
        read_launchers(esapi / "VMS.TPS.Common.Model.API.dll")


def test_a_damaged_launcher(run, built, site, home, tmp_path) -> None:
    data = (built / FILES[0]).read_bytes()
    spoiled = tmp_path / "StardustExporter.exe"
    spoiled.write_bytes(data.replace(b"\npython 3.12\n", b"\npython  3.1\n"))
    said = run("approval", "check", "--home", home, "--site", site, spoiled)
    assert said.code == 2
    assert str(spoiled) in said.err
    assert "This is no manifest" in said.err


def test_show(run, built) -> None:
    said = run("approval", "show", built)
    assert said.code == 0
    for name in FILES:
        read = read_assembly(built / name)
        assert read.manifest is not None
        mode = "read-only" if "ReadOnly" in name else "writable"
        assert (
            f"{name}: version {read.version}, {mode}\n"
            f"  package 0.1.0, Python 3.12, win_amd64, 10 files\n"
            f"  SHA-256 of the manifest  {read.manifest.digest}\n"
            f"  SHA-256 of the file      {read.sha256}\n"
        ) in said.out


def test_show_of_one_launcher(run, built) -> None:
    said = run("approval", "show", built / FILES[2])
    assert said.out.startswith(f"{FILES[2]}: version ")
    assert len(said.out.splitlines()) == 4


def test_show_of_nothing(run, tmp_path) -> None:
    said = run("approval", "show", tmp_path)
    assert (said.code, "holds no assembly with a manifest" in said.err) == (2, True)
    said = run("approval", "show", tmp_path / "nowhere")
    assert (said.code, said.err.startswith("There is no ")) == (2, True)


def test_check_of_files_as_approved(run, built, site, home) -> None:
    said = run("approval", "check", "--home", home, "--site", site, built)
    assert said.code == 0
    assert sorted(said.out.splitlines()) == sorted(
        f"{name}: all 10 files are as approved." for name in FILES
    )


def test_check_names_every_difference(run, built, site, home) -> None:
    (site / "stardust_esapi" / "commands" / "program.py").write_bytes(b"changed")
    (site / "thing" / "Größe µ.txt").unlink()
    (site / "thing" / "evil.py").write_bytes(b"")
    (site / "[red]evil[bold].txt").write_bytes(b"")
    said = run("approval", "check", "--home", home, "--site", site, built)
    assert said.code == 1
    lines = said.out.splitlines()
    for name in FILES:
        assert [line for line in lines if line.startswith(f"{name}: ")] == [
            f"{name}: added site/[red]evil[bold].txt",
            f"{name}: changed site/stardust_esapi/commands/program.py",
            f"{name}: missing site/thing/Größe µ.txt",
            f"{name}: added site/thing/evil.py",
        ]
    assert lines[-1] == "16 differences: the writable launchers will not start."


def test_check_of_a_launcher_whose_version_is_not_its_manifests(
    run, built, site, home, tmp_path
) -> None:
    data = (built / FILES[0]).read_bytes()
    version = read_assembly(built / FILES[0]).version
    other = "9" + version[1:]
    spoiled = tmp_path / "StardustExporter.exe"
    spoiled.write_bytes(data.replace(version.encode("utf-16-le"), other.encode("utf-16-le")))
    said = run("approval", "check", "--home", home, "--site", site, spoiled)
    assert said.code == 1
    assert f"StardustExporter.exe: version {other}, which should be {version}" in said.out


def test_other_files_are_another_version(
    build, run, built, site, home, write_wheel, tmp_path
) -> None:
    wheel = write_wheel(tmp_path / "wheels", "more", "1", {"more.py": b""})
    shutil.unpack_archive(wheel, site, "zip")
    out = tmp_path / "out"
    assert build(site, out).code == 0
    assert read_assembly(out / FILES[0]).version != read_assembly(built / FILES[0]).version
    assert run("approval", "check", "--home", home, "--site", site, out).code == 0
    said = run("approval", "check", "--home", home, "--site", site, built / FILES[0])
    assert said.out.splitlines()[0] == "StardustExporter.exe: added site/more.py"


def test_a_record_is_never_overwritten(build, site, tmp_path) -> None:
    out = tmp_path / "out"
    assert build(site, out).code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    said = build(site, out)
    assert said.code == 2
    assert "exists already: it may be signed" in said.err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_site_folder_that_was_touched_gets_no_launchers(build, site, tmp_path) -> None:
    (site / "evil.py").write_bytes(b"")
    said = build(site, tmp_path / "out")
    assert said.code == 2
    assert "added site/evil.py" in said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("esapi", "holds no VMS.TPS.Common.Model.API.dll and no VMS.TPS.Common.Model.Types.dll"),
        ("launchers", "holds no C# sources of the launchers. Check --launchers."),
    ],
)
def test_an_empty_folder_in_place_of_another(build, site, tmp_path, name, says) -> None:
    (tmp_path / "empty").mkdir()
    said = build(site, tmp_path / "out", **{name: tmp_path / "empty"})
    assert said.code == 2
    assert says in said.err


def test_sources_that_do_not_compile(build, site, approval, tmp_path) -> None:
    sources = shutil.copytree(approval / "launchers", tmp_path / "launchers")
    (sources / "Wrong.cs").write_text("#if WRITABLE && PLUGIN\nnonsense\n#endif\n")
    said = build(site, tmp_path / "out", launchers=sources)
    assert said.code == 2
    assert "StardustExporter.esapi.dll does not compile (mcs says):" in said.err
    assert "Wrong.cs" in said.err
    assert list((tmp_path / "out").iterdir()) == []


def test_sources_newer_than_the_compiler_of_windows(build, site, approval, tmp_path) -> None:
    sources = shutil.copytree(approval / "launchers", tmp_path / "launchers")
    (sources / "New.cs").write_text('class New { string Name => $"{nameof(New)}"; }\n')
    said = build(site, tmp_path / "out", launchers=sources)
    assert said.code == 2
    assert "does not compile" in said.err


def test_a_template_that_is_not_there(build, site, approval, tmp_path) -> None:
    sources = shutil.copytree(approval / "launchers", tmp_path / "launchers")
    said = build(site, tmp_path / "out", launchers=sources)
    assert said.code == 2
    assert "The record cannot be created from" in said.err


def test_what_the_programs_ask_windows_for(
    pristine_site, home, esapi, approval, tmp_path, mocker
) -> None:
    """A stand-in of csc.exe, which Mono's compiler obeys but for the one option that it lacks."""
    asked = ROOT / "approval" / "launchers" / "Program.manifest"
    sources = shutil.copytree(approval / "launchers", tmp_path / "launchers")
    shutil.copy(asked, sources)
    csc = tmp_path / "csc"
    csc.write_text(
        """#!/bin/bash
echo "$@" >>"${0%/*}/said"
for option; do
    [[ $option == -win32manifest:* ]] || kept+=("$option")
done
exec mcs "${kept[@]}"
"""
    )
    csc.chmod(0o755)
    found = replace(find_compiler(), program=csc, win32=True)
    mocker.patch("stardust_esapi.approval.compile.find_compiler", return_value=found)
    manifest = read_site(pristine_site, home).manifest
    build_launchers(sources, esapi, pristine_site / RUNTIME, manifest, tmp_path / "out")
    said = (tmp_path / "said").read_text().splitlines()
    option = f" -win32manifest:{sources / asked.name} "
    assert [option in line for line in said] == [True, False, True, False]
    windows = "{http://schemas.microsoft.com/SMI/2016/WindowsSettings}"
    (long_paths,) = ET.parse(asked).iter(f"{windows}longPathAware")
    assert long_paths.text == "true"


def test_no_compiler(monkeypatch, tmp_path) -> None:
    assert find_compiler().program.name == "mcs"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="install mono-devel and mono-mcs"):
        find_compiler()


def test_the_projects_own_launchers_compile(pristine_site, home, esapi, tmp_path) -> None:
    manifest = read_site(pristine_site, home).manifest
    sources = ROOT / "approval" / "launchers"
    created = build_launchers(sources, esapi, pristine_site / RUNTIME, manifest, tmp_path / "out")
    for launcher, path in zip(LAUNCHERS, created, strict=True):
        read = read_assembly(path)
        assert (read.version, read.writable, read.manifest) == (
            manifest.version,
            launcher.writable,
            manifest,
        )
