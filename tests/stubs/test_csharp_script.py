"""The .NET skin under scripts of its own: an EXE, a plug-in, and Python as the host."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from esapi_stub.build import build
from esapi_stub.database import configure, describe
from esapi_stub.sample import Phantom, write_phantom
from esapi_stub.surface import VERSIONS
from stand_ins import ROOT, assemblies

SOURCES = Path(__file__).parent / "csharp"
PATIENT = "0004711"
NO_LICENSE = "No valid license to modify patient data with script."
APPROVED = {"clinical": True, "script_approved": True}

# Where what is allowed does not depend on the version.
oldest_and_newest = pytest.mark.parametrize(
    "version", [VERSIONS[0], VERSIONS[-1]], indirect=True, scope="session"
)

Run = Callable[..., dict[str, str]]


@pytest.fixture(scope="session", params=VERSIONS)
def version(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def programs(version, tmp_path_factory) -> Path:
    """Folder with ESAPI and the test's programs, each with the attribute and without."""
    folder = tmp_path_factory.mktemp("programs")
    for assembly in assemblies(version).glob("*.dll"):
        shutil.copy(assembly, folder)

    def compile_to(output: str, source: str, *options: str) -> None:
        references = [f"-r:{path}" for path in assemblies(version).glob("*.dll")]
        command = ["mcs", "-nologo", "-warnaserror+", f"-out:{folder / output}", *references]
        subprocess.run([*command, *options, SOURCES / source], check=True)

    compile_to("Tool.exe", "Tool.cs")
    compile_to("WriteableTool.exe", "Tool.cs", "-define:WRITEABLE")
    compile_to("PlugIn.esapi.dll", "PlugIn.cs", "-target:library")
    compile_to("WriteablePlugIn.esapi.dll", "PlugIn.cs", "-target:library", "-define:WRITEABLE")
    compile_to("EclipseStub.exe", "Launch.cs", "-r:Microsoft.CSharp")
    return folder


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("database")
    write_phantom(folder / "dicom", Phantom(PATIENT))
    build(folder / "dicom", folder / "db")
    return folder / "db"


@pytest.fixture
def db(template, tmp_path) -> Path:
    return shutil.copytree(template, tmp_path / "db")


@pytest.fixture
def run(programs, db) -> Run:
    """Run a program on the database; what it said, by what it said it of."""

    def invoke(*command: str | Path) -> dict[str, str]:
        done = subprocess.run(
            command,
            cwd=programs,
            env=os.environ | {"ESAPI_STUB_DB": str(db)},
            check=True,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        return dict(line.split(": ", 1) for line in done.stdout.splitlines())

    return invoke


def sets(db: Path) -> list[str]:
    (patient,) = describe(db)["patients"]
    return [s["id"] for s in patient["structure_sets"]]


@oldest_and_newest
@pytest.mark.parametrize(
    ("program", "settings", "allowed"),
    [
        ("WriteableTool.exe", APPROVED, True),
        # The EXE's attribute tells, not the database.
        ("WriteableTool.exe", APPROVED | {"script_writable": False}, True),
        ("WriteableTool.exe", {"clinical": True, "script_approved": False}, False),
        ("WriteableTool.exe", {"clinical": False, "script_approved": False}, True),
        ("Tool.exe", APPROVED | {"script_writable": True}, False),
        ("Tool.exe", {"clinical": False, "script_writable": True}, False),
    ],
)
def test_an_exe_writes_by_its_attribute_and_its_approval(
    run, db, program, settings, allowed
) -> None:
    configure(db, **settings)
    said = run("mono", program, "own", PATIENT)
    assert said["may modify"] == str(allowed)
    assert said["begin"] == ("done" if allowed else NO_LICENSE)
    assert ("BeginModifications" in said["make"]) == (not allowed)
    assert said["save"] == "done"
    assert len(sets(db)) == 1 + allowed
    assert "alive" in said["second application"]


@oldest_and_newest
@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        (APPROVED, False),
        ({"clinical": False, "script_approved": False}, True),
        ({"clinical": False, "script_writable": False}, False),
    ],
)
def test_what_an_exe_hosts_is_read_only_on_a_clinical_system(run, db, settings, allowed) -> None:
    configure(db, **settings)
    said = run("mono", "WriteableTool.exe", "hosted", PATIENT)
    assert said["may modify"] == str(allowed)
    assert len(sets(db)) == 1 + allowed


def test_python_has_no_exe_that_is_a_script(run, version) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
import stand_ins
api, *_ = stand_ins.namespaces({version!r})
try:
    api.Application.CreateApplication()
except Exception as error:
    print(f"refused: {{type(error).__module__}}.{{type(error).__name__}} {{error.Message}}")
"""
    said = run(sys.executable, "-c", program)
    assert said["refused"].startswith("System.ApplicationException")
    assert "CustomScriptExecutable.CreateApplication" in said["refused"]


def test_vectors_cross_as_a_block_of_doubles(run, version) -> None:
    program = f"""
import ctypes
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
import stand_ins
_, types, _, system = stand_ins.namespaces({version!r})
from System.Runtime.InteropServices import GCHandle, GCHandleType
vectors = system.Array.CreateInstance(types.VVector, 2)
pinned = GCHandle.Alloc(vectors, GCHandleType.Pinned)
block = (ctypes.c_double * 6)(1, 2, 3, 4, 5, 6)
ctypes.memmove(pinned.AddrOfPinnedObject().ToInt64(), block, 48)
pinned.Free()
print("vectors:", *((v.x, v.y, v.z, v[1]) for v in vectors))
"""
    assert run(sys.executable, "-c", program) == {
        "vectors": "(1.0, 2.0, 3.0, 2.0) (4.0, 5.0, 6.0, 5.0)"
    }


@oldest_and_newest
@pytest.mark.parametrize(("variable", "word"), [("", "ESAPI_STUB_DB"), ("nowhere", "nowhere")])
def test_no_database(programs, variable, word) -> None:
    done = subprocess.run(
        ["mono", "Tool.exe", "own", PATIENT],
        cwd=programs,
        env=os.environ | {"ESAPI_STUB_DB": variable},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert done.returncode != 0
    assert "DatabaseError" in done.stdout
    assert word in done.stdout


@pytest.mark.parametrize("outcome", ["save", "drop"])
def test_a_plug_in_sees_the_screen_and_writes_into_the_open_patient(
    run, db, version, outcome
) -> None:
    configure(db, **APPROVED)
    (patient,) = describe(db)["patients"]
    said = run(
        *("mono", "EclipseStub.exe", "WriteablePlugIn.esapi.dll", outcome),
        *(PATIENT, patient["plans"][0]["uid"], "-"),
    )
    assert "alive" in said.pop("application of its own")
    assert said == {
        "user": "stub",
        "application": f"esapi_stub {version}",
        "patient": PATIENT,
        "same patient": "True",
        "course": "C1",
        "plan": "Plan1 Plan1",
        "plans": "Plan1",
        "structure set": "CT_1",
        "image": "CT_1",
        "modified": "True",
        "afterwards": "Cannot access a disposed object.",
    }
    assert sets(db) == (["CT_1", "made"] if outcome == "save" else ["CT_1"])


def test_a_plug_in_without_a_plan_sees_the_structure_set(run, db) -> None:
    (patient,) = describe(db)["patients"]
    said = run(
        *("mono", "EclipseStub.exe", "PlugIn.esapi.dll", "save"),
        *(PATIENT, "-", patient["structure_sets"][0]["uid"]),
    )
    assert (said["patient"], said["course"], said["plan"]) == (PATIENT, "", " ")
    assert (said["plans"], said["structure set"], said["image"]) == ("", "CT_1", "CT_1")
    assert said["modified"] == "False"


def test_a_plug_in_without_a_patient(run) -> None:
    said = run("mono", "EclipseStub.exe", "WriteablePlugIn.esapi.dll", "save", "-", "-", "-")
    assert (said["user"], said["patient"], said["image"]) == ("stub", "", "")
    assert said["modified"] == "False"


@oldest_and_newest
@pytest.mark.parametrize(
    ("plug_in", "settings", "allowed"),
    [
        ("PlugIn.esapi.dll", APPROVED, False),
        ("PlugIn.esapi.dll", {"clinical": False}, False),
        ("WriteablePlugIn.esapi.dll", {"clinical": True, "script_approved": False}, False),
        ("WriteablePlugIn.esapi.dll", {"clinical": False, "script_approved": False}, True),
    ],
)
def test_a_plug_in_writes_by_its_attribute_and_its_approval(
    run, db, plug_in, settings, allowed
) -> None:
    configure(db, **settings)
    (patient,) = describe(db)["patients"]
    uid = patient["structure_sets"][0]["uid"]
    said = run("mono", "EclipseStub.exe", plug_in, "save", PATIENT, "-", uid)
    assert said["modified"] == str(allowed)
    assert len(sets(db)) == 1 + allowed
