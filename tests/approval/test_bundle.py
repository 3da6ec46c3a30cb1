"""The bundle for a workstation, as far as it can be proven without Windows.

``scripts/bundle`` is run as it is; its wheels come from ``build/wheels``, where they are downloaded
once.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_sitter_powershell
from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename
from tree_sitter import Language, Node, Parser

from approval_site import BUNDLE, make_bundle, make_site, module_of
from stand_ins import ROOT
from stardust_esapi import __version__
from stardust_esapi.approval.assembly import read_assembly
from stardust_esapi.approval.manifest import Target
from stardust_esapi.approval.site import RUNTIME, read_site

WINDOWS = {
    "implementation_name": "cpython",
    "os_name": "nt",
    "platform_machine": "AMD64",
    "platform_python_implementation": "CPython",
    "platform_system": "Windows",
    "python_full_version": "3.12.10",
    "python_version": "3.12",
    "sys_platform": "win32",
}
TAGS = {
    *cpython_tags((3, 12), platforms=["win_amd64"]),
    *compatible_tags((3, 12), interpreter="cp312", platforms=["win_amd64"]),
}
SCRIPTS = ("Install.ps1", "Uninstall.ps1")
LONGEST_PATH = 259  # what Windows opens without further ado
DEEPEST_FOLDER = r"C:\Users\firstname.familyname\AppData\Local\stardust-esapi\.new-abcdefgh\site"


def wanted() -> dict[str, tuple[str, set[str]]]:
    """What the lock wants on Windows: name to version and hashes."""
    found = {}
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", "")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line.split(" --hash")[0].strip())
            if requirement.marker is None or requirement.marker.evaluate(WINDOWS):
                (pinned,) = requirement.specifier
                name = canonicalize_name(requirement.name)
                assert name not in found
                found[name] = (pinned.version, set(re.findall(r"sha256:(\w+)", line)))
    return found


def test_what_is_in_the_bundle(bundle) -> None:
    with zipfile.ZipFile(bundle) as file:
        names = file.namelist()
        infos = file.infolist()
    assert names == sorted(set(names))
    launchers = {f"approval/launchers/{p.name}" for p in (ROOT / "approval/launchers").iterdir()}
    assert "approval/launchers/Program.manifest" in launchers
    assert {name for name in names if not name.startswith(("wheels/", "docs/"))} == launchers | {
        "README.md",
        "Install.ps1",
        "install.py",
        "Uninstall.ps1",
        "uninstall.py",
        "SHA256SUMS",
        "approval/README.md",
        "approval/StardustExporter.ini",
        "approval/record.md.j2",
        "bundle.json",
        "requirements.txt",
        "stardust-esapi.py",
    }
    documentation = {name for name in names if name.startswith("docs/")}
    assert {"docs/index.html", "docs/approval.html", "docs/search-from-disk.js"} <= documentation
    assert not any(name.endswith(".map") for name in documentation)
    for info in infos:
        assert info.date_time == (2023, 11, 14, 22, 13, 20)
        assert info.external_attr == 0o100644 << 16
        assert (info.create_system, info.compress_type) == (3, zipfile.ZIP_STORED)


def test_every_file_has_its_sum(unpacked) -> None:
    sums = {}
    for line in (unpacked / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        sums[name] = digest
    there = {
        path.relative_to(unpacked).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in unpacked.rglob("*")
        if path.is_file() and path.name != "SHA256SUMS"
    }
    assert sums == there
    assert list(sums) == sorted(sums)
    checked = subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=unpacked, check=True)
    assert checked.returncode == 0


def test_every_pinned_package_has_one_wheel_for_windows_and_nothing_else_is_there(unpacked) -> None:
    wheels: dict[str, list[Path]] = {}
    for path in (unpacked / "wheels").iterdir():
        name, version, _, tags = parse_wheel_filename(path.name)
        assert tags & TAGS, f"{path.name} is not for CPython 3.12 on Windows"
        wheels.setdefault(name, []).append(path)
        if name != "stardust-esapi":
            pinned, digests = wanted()[name]
            assert str(version) == pinned
            assert hashlib.sha256(path.read_bytes()).hexdigest() in digests
    assert wheels.keys() == wanted().keys() | {"stardust-esapi"}
    assert Counter(map(len, wheels.values())) == {1: len(wheels)}
    for name in ("pythonnet", "clr-loader", "cffi", "numpy", "colorama", "win32-setctime"):
        assert name in wheels
    assert wheels["cffi"][0].name.endswith("-cp312-cp312-win_amd64.whl")
    assert wheels["stardust-esapi"][0].name == f"stardust_esapi-{__version__}-py3-none-any.whl"


def test_no_dependency_is_left_out(unpacked) -> None:
    """What the wheels themselves ask for on Windows is there, in a version that they take."""
    wheels = {}
    for path in (unpacked / "wheels").iterdir():
        name, version, *_ = parse_wheel_filename(path.name)
        wheels[name] = (path, version)
    asked = 0
    for path, _ in wheels.values():
        with zipfile.ZipFile(path) as wheel:
            (metadata,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
            text = wheel.read(metadata).decode().replace("\r\n", "\n").split("\n\n")[0]
        for line in re.findall(r"(?m)^Requires-Dist: (.+)$", text):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(WINDOWS | {"extra": ""}):
                version = wheels[canonicalize_name(requirement.name)][1]
                assert requirement.specifier.contains(version, prereleases=True), (path.name, line)
                asked += 1
    assert asked > 30


def test_the_requirements_pin_the_wheels_that_are_there(unpacked) -> None:
    lines = (unpacked / "requirements.txt").read_text().splitlines()
    pinned = {}
    for line in lines:
        found = re.fullmatch(r"([a-z0-9-]+)==(\S+) --hash=sha256:([0-9a-f]{64})", line)
        assert found, line
        pinned[found[1], found[2]] = found[3]
    there = {}
    for path in (unpacked / "wheels").iterdir():
        name, version, *_ = parse_wheel_filename(path.name)
        there[str(name), str(version)] = hashlib.sha256(path.read_bytes()).hexdigest()
    assert pinned == there
    assert lines == sorted(lines)


def test_the_package_is_whole(unpacked) -> None:
    with zipfile.ZipFile(next((unpacked / "wheels").glob("stardust_esapi-*"))) as wheel:
        inside = {name for name in wheel.namelist() if name.startswith("stardust_esapi/")}
    there = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "stardust_esapi").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == there


def test_what_the_bundle_says_of_itself(unpacked) -> None:
    about = json.loads((unpacked / "bundle.json").read_text())
    assert (about["version"], about["python"], about["platform"]) == (
        __version__,
        "3.12",
        "win_amd64",
    )
    assert re.fullmatch(r"[0-9a-f]{40}", about["commit"])
    assert isinstance(about["changed since"], bool)


def test_the_same_sources_make_the_same_bundle(bundle, tmp_path) -> None:
    report = tmp_path / "report.xml"
    report.write_text("<testsuites/>")
    digests = set()
    for folder in ("once", "again"):
        created = make_bundle(
            *("--out", tmp_path / folder, "--evidence", report), SOURCE_DATE_EPOCH="1700000000"
        )
        assert created.returncode == 0, created.stdout
        assert "Downloading" not in created.stdout  # the wheels are there from the first time
        digests.add(hashlib.sha256((tmp_path / folder / BUNDLE).read_bytes()).hexdigest())
    assert len(digests) == 1
    with zipfile.ZipFile(tmp_path / "once" / BUNDLE) as file, zipfile.ZipFile(bundle) as other:
        assert file.read("evidence.xml") == report.read_bytes()
        assert set(file.namelist()) - set(other.namelist()) == {"evidence.xml"}


def test_installed_offline_as_on_the_workstation(unpacked, run, esapi, home, tmp_path) -> None:
    """With the wheels for Windows; ``test_install.py`` has the installer itself."""
    site, out = tmp_path / "site", tmp_path / "out"
    target = Target("3.12", "win_amd64")
    make_site(site, unpacked / "requirements.txt", wheels=unpacked / "wheels", target=target)
    launchers = unpacked / "approval" / "launchers"
    options = ("--site", site, "--home", home, "--esapi", esapi, "--launchers", launchers)
    built = run("approval", "build", *options, "--out", out)
    assert built.code == 0, built.text
    checked = run("approval", "check", "--home", home, "--site", site, out)
    assert checked.code == 0, checked.text

    created = read_site(site, home)
    assert created.manifest.target == target
    assert {
        f"site/{RUNTIME}",
        "site/stardust_esapi/commands/program.py",
        "site/_cffi_backend.cp312-win_amd64.pyd",
        "home/python312.dll",
    } <= set(created.manifest.files)
    assert len(created.dependencies) == len(wanted())
    assert read_assembly(out / "StardustExporter.exe").version == created.manifest.version
    record = (out / f"record-{created.manifest.version}.md").read_text(encoding="utf-8")
    for dependency in created.dependencies:
        assert f"| {dependency.name} | {dependency.version} |" in record
    assert "Not for clinical use" in record

    deepest = max((p for p in site.rglob("*")), key=lambda p: len(str(p.relative_to(site))))
    length = len(DEEPEST_FOLDER) + 1 + len(str(deepest.relative_to(site)))
    assert length <= LONGEST_PATH, deepest


def test_the_command_line_without_a_launcher(site, tmp_path) -> None:
    shutil.copy(ROOT / "approval" / "bundle" / "stardust-esapi.py", tmp_path)
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "stardust-esapi.py", "check", "x y"],
        cwd=tmp_path,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    program = site / "stardust_esapi" / "commands" / "program.py"
    assert said.stdout == f"{program} ['check', 'x y']\n"
    assert not list(site.rglob("__pycache__"))


# --- what makes no bundle


@pytest.fixture
def lock(tmp_path) -> Path:
    """A lock for a package that has its source alone, in a folder that pip looks into."""
    (tmp_path / "index").mkdir()
    source = tmp_path / "index" / "lonely-1.0.tar.gz"
    source.write_bytes(b"no wheel")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    (tmp_path / "requirements.lock").write_text(f"lonely==1.0 \\\n    --hash=sha256:{digest}\n")
    return tmp_path / "requirements.lock"


def make_from(lock: Path) -> subprocess.CompletedProcess[str]:
    folder = lock.parent
    return make_bundle(
        *("--lock", lock, "--wheels", folder / "wheels", "--out", folder / "dist"),
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS=str(folder / "index"),
    )


def test_a_package_that_has_its_source_alone(lock) -> None:
    created = make_from(lock)
    assert created.returncode == 1
    assert (
        "No bundle: pip found no wheels (a package that offers its source alone" in created.stdout
    )
    assert "lonely==1.0" in created.stdout
    assert not (lock.parent / "dist").exists()


def test_a_wheel_whose_hash_is_not_pinned(lock, write_wheel) -> None:
    write_wheel(lock.parent / "index", "lonely", "1.0", {"lonely.py": b""})
    created = make_from(lock)
    assert created.returncode == 1
    assert "HASH" in created.stdout.upper()
    write_wheel(lock.parent / "wheels", "lonely", "1.0", {"lonely.py": b""})
    assert make_from(lock).returncode == 1


def test_a_wheel_for_another_system(lock, write_wheel) -> None:
    tag = "cp312-cp312-manylinux_2_17_x86_64"
    wheel = write_wheel(lock.parent / "wheels", "lonely", "1.0", {"lonely.so": b""}, tag)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock.write_text(f"lonely==1.0 --hash=sha256:{digest}\n")
    created = make_from(lock)
    assert created.returncode == 1
    assert "pip found no wheels" in created.stdout


@pytest.mark.parametrize("line", ["lonely==1.0\n", "lonely>=1.0 --hash=sha256:" + "0" * 64 + "\n"])
def test_a_lock_that_pins_nothing(lock, line) -> None:
    lock.write_text(line)
    created = make_from(lock)
    assert created.returncode == 1
    assert "lonely is not pinned by hash. Run scripts/lock." in created.stdout


def test_a_python_that_is_none() -> None:
    created = make_bundle("--python", "312")
    assert (created.returncode, "write it as 3.12" in created.stdout) == (1, True)


# --- the Python that it brings


def program(machine: int = 0x8664) -> bytes:
    """As much of a PE file as says for which machine it is."""
    return (
        b"MZ".ljust(60, b"\0")
        + (64).to_bytes(4, "little")
        + b"PE\0\0"
        + machine.to_bytes(2, "little")
    )


WANTED = {
    "python.exe": program(),
    "python312.dll": b"library",
    "vcruntime140.dll": b"runtime",
    "LICENSE.txt": b"licence",
    "DLLs/_ssl.pyd": b"extension",
    "Lib/encodings/__init__.py": b"",
    "Lib/site-packages/pip/__main__.py": b"pip",
    "Lib/site-packages/pip-25.0.1.dist-info/METADATA": b"about pip",
}
UNWANTED = {
    "pythonw.exe": b"",
    "NEWS.txt": b"",
    "include/Python.h": b"",
    "libs/python312.lib": b"",
    "Lib/__pycache__/abc.cpython-312.pyc": b"",
    "Lib/test/test_abc.py": b"",
    "Lib/ctypes/test/test_as_parameter.py": b"",
    "Lib/idlelib/idle.py": b"",
    "Lib/site-packages/setuptools/__init__.py": b"",
}


def write_nuget(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("python.nuspec", b"<package/>")
        for name, content in files.items():
            package.writestr(f"tools/{name}", content)
    return path


def test_a_bundle_that_brings_python(bundle, tmp_path) -> None:
    home = write_nuget(tmp_path / "python.3.12.10.nupkg", WANTED | UNWANTED)
    created = make_bundle("--home", home, "--out", tmp_path, SOURCE_DATE_EPOCH="1700000000")
    assert created.returncode == 0, created.stdout
    with zipfile.ZipFile(tmp_path / BUNDLE) as file, zipfile.ZipFile(bundle) as other:
        names = set(file.namelist())
        assert names - set(other.namelist()) == {f"python/{name}" for name in WANTED}
        assert {name: file.read(f"python/{name}") for name in WANTED} == WANTED
        assert json.loads(file.read("bundle.json"))["brings"] == home.name
        sums = file.read("SHA256SUMS").decode()
    assert {line.split("  ")[1] for line in sums.splitlines()} == names - {"SHA256SUMS"}


def test_a_python_that_is_a_folder(tmp_path) -> None:
    shutil.unpack_archive(write_nuget(tmp_path / "p.zip", WANTED | UNWANTED), tmp_path)
    read_home = module_of(ROOT / "scripts" / "make_bundle.py").read_home
    found = read_home((tmp_path / "tools").rename(tmp_path / "Python312"), "3.12")
    assert found == {f"python/{name}": content for name, content in WANTED.items()}


def test_pythons_that_no_bundle_can_bring(tmp_path) -> None:
    read_home = module_of(ROOT / "scripts" / "make_bundle.py").read_home
    missing = {name: data for name, data in WANTED.items() if not name.startswith("Lib/site-")}
    for files, why in (
        ({"python312._pth": b"", "python312.zip": b"", **WANTED}, "embeddable package"),
        (WANTED | {"python.exe": program(0x14C)}, "not for Windows of 64 bit"),
        (missing, "holds no Lib/site-packages/pip"),
        ({}, "holds no python.exe and no python312.dll and no Lib/encodings"),
    ):
        with pytest.raises(Exception, match=why) as refused:
            read_home(write_nuget(tmp_path / "python.nupkg", files), "3.12")
        assert "Take python.org's NuGet package 'python' of version 3.12" in str(refused.value)
    (tmp_path / "python.nupkg").write_bytes(b"no zip file")
    with pytest.raises(Exception, match="is no zip file, and no folder"):
        read_home(tmp_path / "python.nupkg", "3.12")


# --- the scripts for Windows: PowerShell is not here, so they are read


def text_of(script: str) -> str:
    return (ROOT / "approval" / "bundle" / script).read_bytes().decode("ascii")


def nodes(script: str, kind: str) -> Iterator[Node]:
    """The nodes of a kind in a script's syntax tree."""
    tree = Parser(Language(tree_sitter_powershell.language())).parse(text_of(script).encode())
    left = [tree.root_node]
    while left:
        node = left.pop()
        left.extend(reversed(node.children))
        if kind in (node.type, "*"):
            yield node


def words(script: str, kind: str) -> list[str]:
    return [node.text.decode() for node in nodes(script, kind) if node.text is not None]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_are_powershell(script) -> None:
    wrong = [
        f"line {node.start_point[0] + 1}: {node.type}"
        for node in nodes(script, "*")
        if node.is_error or node.is_missing
    ]
    assert wrong == []
    assert "\t" not in text_of(script)


@pytest.mark.parametrize("broken", ["if ($x) { 'a'", "foreach $x in $y { }", "'open"])
def test_a_broken_script_would_be_seen(broken) -> None:
    tree = Parser(Language(tree_sitter_powershell.language())).parse(broken.encode())
    assert tree.root_node.has_error


COMMANDS = {
    "Install.ps1": {
        "ConvertFrom-Json",
        "Get-ChildItem",
        "Get-Command",
        "Get-Content",
        "Get-FileHash",
        "Join-Path",
        "Test-Path",
        "Unblock-File",
        "Write-Host",
    },
    "Uninstall.ps1": {"Get-ChildItem", "Join-Path", "Remove-Item", "Test-Path", "Write-Host"},
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_the_scripts_call(script) -> None:
    """Commands of PowerShell and Python: a policy may forbid scripts the members of .NET."""
    called = {name for name in words(script, "command_name") if re.fullmatch(r"[\w-]+", name)}
    assert called == COMMANDS[script]
    programs = {name for name in words(script, "command_name_expr") if name.startswith("$")}
    assert programs == {"$python"}
    assert words(script, "invokation_expression") == []
    assert words(script, "type_literal") == []


def test_what_is_compared_before_anything_of_the_bundle_runs() -> None:
    order = ("Unblock-File\n", "'SHA256SUMS'", "Get-FileHash", "throw ", "& $python ")
    places = [text_of("Install.ps1").index(part) for part in order]
    assert places == sorted(places)


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_need_no_rights_and_know_no_place(script) -> None:
    for never in (
        r"[A-Za-z]:[\\/]",
        r"HKLM|HKCU|Registry",
        r"RunAs|Verb",
        r"(?i)https?:|Invoke-WebRequest|DownloadFile|WebClient",
        r"(?i)\biex\b|Invoke-Expression|EncodedCommand",
        r"SetEnvironmentVariable|Set-ExecutionPolicy|schtasks|Startup",
    ):
        assert not re.search(never, text_of(script)), never


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_start_what_is_in_the_bundle(script, bundle) -> None:
    with zipfile.ZipFile(bundle) as file:
        names = set(file.namelist())
    literals = {word.strip("'") for word in words(script, "verbatim_string_characters")}
    named = {word for word in literals if re.fullmatch(r"[\w.]+\.\w+|SHA256SUMS", word)}
    assert named - names <= {"python.exe", "installed.txt"}
    (start,) = (line for line in text_of(script).splitlines() if line.startswith("& $python "))
    assert f"'{script.lower().replace('.ps1', '.py')}') @args" in start
    assert " -I -S -B " in start


def test_every_option_of_the_installer_is_described(unpacked) -> None:
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-B", unpacked / "install.py", "--help"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    options = set(re.findall(r"(?m)^  (--[a-z-]+)", said))
    assert options == {"--folder", "--esapi", "--settings", "--evidence", "--what-if"}
    readme = (unpacked / "README.md").read_text(encoding="utf-8")
    for option in options:
        assert f"| `{option}" in readme


# --- the ini


def test_the_ini_says_what_the_launchers_read() -> None:
    text = (ROOT / "approval" / "StardustExporter.ini").read_text(encoding="utf-8")
    assert text.isascii()
    source = (ROOT / "approval" / "launchers" / "Configuration.cs").read_text(encoding="utf-8")
    given = configparser.ConfigParser(interpolation=None)
    given.read_string(text)
    assert {name: list(given[name]) for name in given.sections()} == {
        "python": ["home", "site"],
        "eclipse": [],
        "plug-in": [],
    }
    everything = configparser.ConfigParser(interpolation=None)
    everything.read_string(re.sub(r"(?m)^; (?=\w+ = )", "", text))
    for section in everything.sections():
        assert f'"{section}"' in source
        for key in everything[section]:
            assert f'"{key}"' in source
    assert list(everything["plug-in"]) == ["cases", "out", "settings"]
    assert list(everything["eclipse"]) == ["esapi"]
