"""What stops a launcher before Python starts: other files, an installation that is not whole."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launchers.installed import (
    HOME,
    INI,
    MODULES,
    RUNTIME,
    TRAP,
    VERSION,
    Installation,
    library_of,
)
from stardust_esapi.approval.manifest import Manifest, compare, read_files

LAUNCHER = "stardust_esapi/commands/launcher.py"


def change(site: Path) -> str:
    (site / LAUNCHER).write_text((site / LAUNCHER).read_text() + "# harmless\n")
    return f"changed site/{LAUNCHER}"


def change_binary(site: Path) -> str:
    content = bytearray((site / RUNTIME).read_bytes())
    content[-1] ^= 1
    (site / RUNTIME).write_bytes(content)
    return f"changed site/{RUNTIME}"


def remove(site: Path) -> str:
    (site / LAUNCHER).unlink()
    return f"missing site/{LAUNCHER}"


def add(site: Path) -> str:
    (site / "stardust_esapi" / "Zusätze.txt").write_text("")
    return "added site/stardust_esapi/Zusätze.txt"


def add_link(site: Path) -> str:
    (site / "linked").symlink_to(site / "stardust_esapi", target_is_directory=True)
    return "added site/linked"


def link_file(site: Path) -> str:
    (site / LAUNCHER).rename(site.parent / "launcher.py")
    (site / LAUNCHER).symlink_to(site.parent / "launcher.py")
    return f"changed site/{LAUNCHER}"


def rename(site: Path) -> str:
    (site / LAUNCHER).rename(site / "stardust_esapi" / "Launcher.py")
    return f"added site/stardust_esapi/Launcher.py, missing site/{LAUNCHER}"


CHANGES = [change, change_binary, remove, add, add_link, link_file, rename]


@pytest.mark.parametrize("spoil", CHANGES, ids=lambda spoil: spoil.__name__)
def test_other_files_stop_the_writable_one(installation, manifest, spoil) -> None:
    difference = spoil(installation.site)
    said = installation.run("nothing")
    assert (said.code, said.out, said.python_started) == (3, "", False)
    (line,) = said.err.splitlines()
    assert line == (
        f"The Python files that {INI} names are not those that StardustExporter {manifest.version} "
        f"was made for: {difference}. Nothing is run. Install the approved files again."
    )
    # As `stardust-esapi approval check` says it.
    found = compare(manifest, read_files(installation.site, HOME, VERSION))
    assert ", ".join(map(str, found)) == difference


def change_module(home: Path) -> str:
    path = f"{MODULES}/encodings/utf_8.py"
    (home / path).unlink()  # Python's own has another name for it
    shutil.copy(HOME / path, home / path)
    with (home / path).open("a") as file:
        file.write("# harmless\n")
    return f"changed home/{path}"


def remove_module(home: Path) -> str:
    (home / MODULES / "json" / "decoder.py").unlink()
    return f"missing home/{MODULES}/json/decoder.py"


def add_modules(home: Path) -> str:
    (home / MODULES / "json" / "decoder.so").touch()
    (home / "beside.dll").touch()
    return f"added home/beside.dll, added home/{MODULES}/json/decoder.so"


def replace_library(home: Path) -> str:
    library = library_of(home)
    library.unlink()
    library.write_text("not loaded")
    return f"changed home/{library.relative_to(home)}"


@pytest.fixture
def at_home(installation: Installation, private_home: Path) -> Installation:
    """An installation whose Python lies in a folder of its own."""
    installation.configure(home=str(private_home))
    return installation


def test_the_same_python_elsewhere_is_the_same(at_home: Installation) -> None:
    (facts,) = at_home.run("nothing").facts
    assert facts["host"]["Verified"]


@pytest.mark.parametrize(
    "spoil",
    [change_module, remove_module, add_modules, replace_library],
    ids=lambda spoil: spoil.__name__,
)
def test_another_python_stops_the_writable_one(
    at_home: Installation, private_home: Path, manifest: Manifest, spoil: Callable[[Path], str]
) -> None:
    difference = spoil(private_home)
    said = at_home.run("nothing")
    assert (said.code, said.python_started) == (3, False)
    assert f"was made for: {difference}. Nothing is run." in said.err
    found = compare(manifest, read_files(at_home.site, private_home, VERSION))
    assert ", ".join(map(str, found)) == difference


def test_what_is_added_to_python_and_not_for_launchers_is_no_difference(
    at_home: Installation, private_home: Path
) -> None:
    for path in ("site-packages/json.py", "test/evil.py", "json/__pycache__/x.pyc", "notes.txt"):
        (private_home / MODULES / path).parent.mkdir(parents=True, exist_ok=True)
        (private_home / MODULES / path).touch()
    assert at_home.run("nothing").code == 0


@pytest.mark.parametrize("spoil", [change, add], ids=lambda spoil: spoil.__name__)
def test_the_read_only_one_warns_and_goes_on(installation, spoil) -> None:
    difference = spoil(installation.site)
    said = installation.read_only("exit", "5")
    assert (said.code, said.out) == (5, "Grüße, ohne Zeilenende")
    (warning,) = said.err.splitlines()
    assert difference in warning
    host = said.facts[0]["host"]
    assert (host["Verified"], host["IsWriteable"]) == (False, False)
    assert host["Difference"] == difference


def test_many_differences_are_counted(installation) -> None:
    for number in range(12):
        (installation.site / f"{number:02}.py").write_text("")
    said = installation.run("nothing")
    assert said.code == 3
    assert ": added site/00.py, added site/01.py, added site/02.py and 9 more. Nothing" in said.err


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("stardust_esapi/__pycache__/evil.py", "stardust_esapi.__pycache__.evil"),
        ("__pycache__/evil.pyc", "__pycache__.evil"),
        ("bin/evil.py", "bin.evil"),
        (f"stardust_esapi/__pycache__/launcher.{sys.implementation.cache_tag}.pyc", ""),
        ("some-1.0.dist-info/RECORD", ""),
    ],
)
def test_what_pip_and_python_leave_is_no_difference_and_never_runs(
    installation: Installation, path: str, module: str
) -> None:
    (installation.site / path).parent.mkdir(parents=True, exist_ok=True)
    (installation.site / path).write_text(TRAP)
    said = installation.run("import", module) if module else installation.run("nothing")
    assert said.python_started
    assert said.code == (0 if not module else 1 if path.endswith(".pyc") else 3)


def test_a_planted_runtime_is_refused(installation) -> None:
    # .NET looks beside the program first.
    shutil.copy(installation.site / RUNTIME, installation.folder)
    said = installation.run("nothing")
    assert (said.code, said.python_started) == (3, False)
    assert str(installation.folder / Path(RUNTIME).name) in said.err


# --- an installation that is not whole ---


def assert_usage(said, *words: str) -> None:
    assert (said.code, said.out, said.python_started) == (2, "", False)
    (line,) = said.err.splitlines()
    for word in words:
        assert word in line


def test_no_ini(installation) -> None:
    (installation.folder / INI).unlink()
    assert_usage(installation.run("nothing"), f"There is no {installation.folder / INI}.")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["does not say `home`", "[python]"]),
        ("nonsense\n", ["line 1", "`key = value`"]),
        ("[python]\nnonsense\n", ["line 2"]),
        ("[pyhton]\n", ["line 1", "no section [pyhton]"]),  # codespell:ignore
        ("[python]\ndll = a\n", ["line 2", "[python] knows no `dll`, only home, site"]),
        ("[python]\nhome = a\nhome = b\n", ["line 3", "`home` stands there twice"]),
        ("[plug-in]\nwrite = true\n", ["line 2", "[plug-in] knows no `write`"]),
        ("[python]\nhome = a\0b\n", ["`home` is no path"]),
        ("[python]\nhome = {0} {1}\n", ["not there", "{0} {1}"]),
    ],
)
def test_odd_ini(installation, text, words) -> None:
    (installation.folder / INI).write_text(text, encoding="utf-8")
    assert_usage(installation.run("nothing"), str(installation.folder / INI), *words)


def test_ini_of_another_encoding(installation) -> None:
    (installation.folder / INI).write_bytes("[python]\nhome = Größe\n".encode("latin-1"))
    assert_usage(installation.run("nothing"), "cannot be read as UTF-8")


def test_ini_as_editors_write_it(installation) -> None:
    path = installation.folder / INI
    text = path.read_text(encoding="utf-8")
    text = "; where Python is\n\n" + text.replace("[python]", "[Python] ").replace(
        "home =", "HOME="
    )
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert installation.run("nothing").code == 0


@pytest.mark.parametrize("key", ["home", "site"])
def test_a_missing_folder(installation, key) -> None:
    installation.configure(**{key: "nowhere"})
    where = str(installation.folder / "nowhere")
    assert_usage(installation.run("nothing"), f"`{key}` names a folder that is not there: {where}")


def test_home_without_python(installation) -> None:
    installation.configure(home=str(installation.folder))
    assert_usage(
        installation.run("nothing"),
        f"{installation.folder} holds no Python {VERSION} with its library and its modules",
    )


@pytest.mark.parametrize(
    ("library", "words"),
    [(None, "cannot be loaded"), ("libm", "is no Python library that this launcher can start")],
)
def test_what_is_no_library_of_python(
    at_home: Installation, private_home: Path, library: str | None, words: str
) -> None:
    replace_library(private_home)
    if library:
        shutil.copy(python_less_library(), library_of(private_home))
    said = at_home.read_only("nothing")  # the other one has refused the file
    assert (said.code, said.python_started) == (2, False)
    assert str(library_of(private_home)) in said.err.splitlines()[-1]
    assert words in said.err.splitlines()[-1]


def python_less_library() -> Path:
    """A library of this process that is none of Python."""
    maps = Path("/proc/self/maps").read_text().split()
    return next(Path(part) for part in maps if "/libm.so" in part or "/libm-" in part)


def test_another_python(installation, launchers) -> None:
    for name in ("StardustExporter.exe", "StardustExporterReadOnly.exe"):
        data = (launchers / name).read_bytes()
        created = data.replace(f"\npython {VERSION}\n".encode(), b"\npython 3.99\n")
        assert created != data
        (installation.folder / name).write_bytes(created)
        said = installation.run("nothing", program=name)
        assert_usage(said, f"{HOME} holds no Python 3.99")


def test_no_runtime_in_the_site_folder(installation: Installation) -> None:
    (installation.site / RUNTIME).unlink()
    assert installation.run("nothing").code == 3
    said = installation.read_only("nothing")
    assert said.code == 2
    assert "The site folder is not whole" in said.err.splitlines()[-1]
