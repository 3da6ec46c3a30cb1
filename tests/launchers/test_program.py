"""The console launchers: they start Python, and nothing but the approved Python."""

from __future__ import annotations

import os
import py_compile
import signal
import sys
from pathlib import Path

import pytest

from esapi_stub.database import configure
from launchers.installed import ESAPI, HOME, MODULES, PATIENT, TRAP
from stand_ins import assemblies

STDLIB = HOME / MODULES


def test_facts(installation, manifest) -> None:
    said = installation.run("nothing", "--cases", "a b.csv", "ü", "")
    assert (said.code, said.text) == (0, "")
    (facts,) = said.facts
    assert facts["host"] == {
        "Name": "StardustExporter",
        "Version": manifest.version,
        "IsWriteable": True,
        "ManifestDigest": manifest.digest,
        "Verified": True,
        "Difference": "",
    }
    assert (facts["entry"], facts["apartment"]) == ("StardustExporter", "STA")
    assert facts["arguments"] == ["nothing", "--cases", "a b.csv", "ü", ""]
    assert facts["kinds"] == ["str"]
    assert facts["argv"] == ["StardustExporter", *facts["arguments"]]


def test_the_read_only_one(installation) -> None:
    said = installation.read_only("nothing")
    assert (said.code, said.text) == (0, "")
    (facts,) = said.facts
    assert facts["host"]["Name"] == facts["entry"] == "StardustExporterReadOnly"
    assert (facts["host"]["IsWriteable"], facts["host"]["Verified"]) == (False, True)


@pytest.mark.parametrize("code", [0, 1, 42])
def test_exit_code_and_output(installation, code) -> None:
    said = installation.run("exit", code)
    assert (said.code, said.out, said.err) == (code, "Grüße, ohne Zeilenende", "")


@pytest.mark.parametrize(
    ("given", "code", "err"), [("7", 7, ""), ("A sentence.", 1, "A sentence.\n")]
)
def test_sys_exit(installation, given, code, err) -> None:
    said = installation.run("leave", given)
    assert (said.code, said.out, said.err) == (code, "", err)


@pytest.mark.parametrize(
    ("deed", "what"),
    [
        (("fail", "no such thing."), "ValueError: no such thing. (launcher.py, line "),
        (("fail_in_dotnet",), "FormatException: "),
    ],
)
def test_an_error_is_a_sentence(installation, deed, what) -> None:
    said = installation.run(*deed)
    assert said.code == 1
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"StardustExporter ended with an error that was not foreseen: {what}")


def test_ctrl_c(installation) -> None:
    # Whoever runs the tests in the background may have SIGINT ignored, and a child inherits that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = installation.start("mono", installation.folder / "StardustExporter.exe", "wait")
    signal.signal(signal.SIGINT, before)
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    said = installation.ended(process)
    assert (said.code, said.err) == (130, "Stopped.\n")


def test_the_end_is_that_of_python(installation) -> None:
    late = installation.folder / "late.txt"
    assert installation.run("end_late", late).code == 0
    assert late.read_text() == "thread exit function"


def test_nothing_is_left_behind(installation, tmp_path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    before = sorted(installation.site.rglob("*"))
    assert installation.run("nothing", TMPDIR=str(temporary)).code == 0
    assert list(temporary.iterdir()) == []
    assert sorted(installation.site.rglob("*")) == before


# --- isolation ---


def assert_isolated(facts, site: Path) -> None:
    assert facts["path"] == [str(STDLIB), str(STDLIB / "lib-dynload"), str(site)]
    flags = facts["flags"]
    names = ("isolated", "ignore_environment", "no_site", "no_user_site", "dont_write_bytecode")
    assert {name: flags[name] for name in (*names, "utf8_mode")} == dict.fromkeys(
        (*names, "utf8_mode"), 1
    )
    assert not {"site", "sitecustomize", "usercustomize"} & set(facts["modules"])


def test_only_the_standard_library_and_the_site_folder(installation) -> None:
    (facts,) = installation.run("nothing").facts
    assert_isolated(facts, installation.site)


def test_the_environment_has_no_effect(installation, tmp_path) -> None:
    traps = tmp_path / "traps"
    user = tmp_path / "user"
    packages = user / "lib" / STDLIB.name / "site-packages"
    for folder in (traps, packages, installation.folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("sitecustomize.py", "usercustomize.py", "json.py", "start.py", "encodings.py"):
            (folder / name).write_text(TRAP)
    (packages / "trap.pth").write_text(TRAP)
    said = installation.run(
        "nothing",
        PYTHONPATH=os.pathsep.join([str(traps), "."]),
        PYTHONHOME=str(traps),
        PYTHONSTARTUP=str(traps / "start.py"),
        PYTHONUSERBASE=str(user),
        PYTHONPYCACHEPREFIX=str(traps),
        PYTHONINSPECT="1",
        PYTHONVERBOSE="1",
        PYTHONOPTIMIZE="2",
        PYTHONWARNINGS="error",
        PYTHONPLATLIBDIR="elsewhere",
        PYTHONNET_PYDLL=str(traps / "libpython.so"),
        PYTHONNET_RUNTIME="coreclr",
        HOME=str(user),
    )
    assert (said.code, said.text) == (0, "")
    (facts,) = said.facts
    assert_isolated(facts, installation.site)
    assert (facts["flags"]["verbose"], facts["flags"]["optimize"]) == (0, 0)


def test_compiled_files_are_not_trusted(installation, tmp_path) -> None:
    module = installation.site / "stardust_esapi" / "commands" / "launcher.py"
    trap = tmp_path / "trap.py"
    trap.write_text(TRAP)
    compiled = module.parent / "__pycache__" / f"launcher.{sys.implementation.cache_tag}.pyc"
    # Python would take it without a look at the source.
    py_compile.compile(
        str(trap), str(compiled), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    said = installation.run("nothing")
    assert (said.code, len(said.facts)) == (0, 1)


# --- ESAPI ---


@pytest.mark.parametrize(
    ("program", "may_write"),
    [("StardustExporter.exe", True), ("StardustExporterReadOnly.exe", False)],
)
def test_esapi_takes_the_program_for_the_script(installation, program, may_write) -> None:
    configure(installation.db, clinical=True, script_approved=True)
    said = installation.run("open", PATIENT, program=program)
    assert (said.code, said.text) == (0, f"{PATIENT} {may_write}")


def test_esapi_where_the_ini_says(installation, tmp_path) -> None:
    for assembly in assemblies(ESAPI).glob("*.dll"):
        (installation.folder / assembly.name).rename(tmp_path / assembly.name)
    installation.configure(esapi=str(tmp_path))
    # Not the writable one: Mono looks for its attribute before the program runs, and never again.
    said = installation.read_only("open", PATIENT)
    assert (said.code, said.text) == (0, f"{PATIENT} False")
