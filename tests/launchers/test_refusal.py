"""What stops a launcher before Python starts: other files, an installation that is not whole."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from launchers.installed import INI, RUNTIME, VERSION, Installation, shared_python
from stardust_esapi.approval.manifest import compare, read_files

LAUNCHER = "stardust_esapi/commands/launcher.py"


def change(site: Path) -> str:
    (site / LAUNCHER).write_text((site / LAUNCHER).read_text() + "# harmless\n")
    return f"changed {LAUNCHER}"


def change_binary(site: Path) -> str:
    content = bytearray((site / RUNTIME).read_bytes())
    content[-1] ^= 1
    (site / RUNTIME).write_bytes(content)
    return f"changed {RUNTIME}"


def remove(site: Path) -> str:
    (site / LAUNCHER).unlink()
    return f"missing {LAUNCHER}"


def add(site: Path) -> str:
    (site / "stardust_esapi" / "Zusätze.txt").write_text("")
    return "added stardust_esapi/Zusätze.txt"


def add_link(site: Path) -> str:
    (site / "linked").symlink_to(site / "stardust_esapi", target_is_directory=True)
    return "added linked"


def rename(site: Path) -> str:
    (site / LAUNCHER).rename(site / "stardust_esapi" / "Launcher.py")
    return f"added stardust_esapi/Launcher.py, missing {LAUNCHER}"


CHANGES = [change, change_binary, remove, add, add_link, rename]


@pytest.mark.parametrize("spoil", CHANGES, ids=lambda spoil: spoil.__name__)
def test_other_files_stop_the_writable_one(installation, manifest, spoil) -> None:
    difference = spoil(installation.site)
    said = installation.run("nothing")
    assert (said.code, said.out, said.python_started) == (3, "", False)
    (line,) = said.err.splitlines()
    assert line == (
        f"The Python files in {installation.site} are not those that StardustExporter "
        f"{manifest.version} was made for: {difference}. Nothing is run. Install the approved "
        "files again."
    )
    # As `stardust-esapi approval check` says it.
    found = compare(manifest, read_files(installation.site))
    assert ", ".join(map(str, found)) == difference


def test_python_is_not_even_loaded(installation) -> None:
    change(installation.site)
    library = installation.folder / "no-library.so"
    library.write_text("")
    installation.configure(dll=str(library))
    assert installation.run("nothing").code == 3


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
    assert ": added 00.py, added 01.py, added 02.py and 9 more. Nothing" in said.err


@pytest.mark.parametrize(
    "path",
    [
        "stardust_esapi/__pycache__/evil.py",
        "__pycache__/evil.pyc",
        "some-1.0.dist-info/evil.py",
        "some-1.0.dist-info/evil.cpython-311-x86_64-linux-gnu.so",
        "bin/evil.PYD",
        "Scripts/deep/evil.pyw",
    ],
)
def test_what_python_could_import_is_added_wherever_it_lies(installation, path) -> None:
    (installation.site / path).parent.mkdir(parents=True)
    (installation.site / path).write_text("")
    said = installation.run("nothing")
    assert (said.code, said.python_started) == (3, False)
    assert f": added {path}." in said.err


def test_what_pip_and_python_leave_is_no_difference(installation) -> None:
    for path in (
        f"stardust_esapi/__pycache__/launcher.{sys.implementation.cache_tag}.pyc",
        "some-1.0.dist-info/RECORD",
        "bin/f2py",
    ):
        (installation.site / path).parent.mkdir(parents=True)
        (installation.site / path).write_text("")
    assert installation.run("nothing").code == 0


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
        ("", ["does not say `dll`", "[python]"]),
        ("nonsense\n", ["line 1", "`key = value`"]),
        ("[python]\nnonsense\n", ["line 2"]),
        ("[pyhton]\n", ["line 1", "no section [pyhton]"]),  # codespell:ignore
        ("[python]\ndll = a\ndll = b\n", ["line 3", "`dll` stands there twice"]),
        ("[plug-in]\nwrite = true\n", ["line 2", "[plug-in] knows no `write`"]),
        ("[python]\ndll = nowhere.so\n", ["`dll` names a file that is not there", "nowhere.so"]),
        ("[python]\ndll = a\0b\n", ["`dll` is no path"]),
        ("[python]\ndll = {0} {1}\n", ["not there", "{0} {1}"]),
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
    text = "; where Python is\n\n" + text.replace("[python]", "[Python] ").replace("dll =", "DLL=")
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
        f"{installation.folder} holds no standard library of Python {VERSION}",
    )


def test_no_library(installation) -> None:
    installation.configure(dll=INI)
    assert_usage(installation.run("nothing"), str(installation.folder / INI), "cannot be loaded")


def test_a_library_of_something_else(installation) -> None:
    installation.configure(dll=str(python_less_library()))
    assert_usage(installation.run("nothing"), "has no Py_IsInitialized")


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
        assert_usage(said, str(shared_python()), f"is Python {VERSION}.", "for Python 3.99")


def test_no_runtime_in_the_site_folder(installation: Installation) -> None:
    (installation.site / RUNTIME).unlink()
    assert installation.run("nothing").code == 3
    said = installation.read_only("nothing")
    assert said.code == 2
    assert "The site folder is not whole" in said.err.splitlines()[-1]
