"""What alone writes, the launchers' RecordWriter and its twin; and whom Eclipse lets write."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from esapi_stub.api.application import open_application
from esapi_stub.database import configure, describe
from esapi_stub.system import InvalidOperationException
from launchers.fake_launcher import refusals
from launchers.installed import ESAPI, PATIENT, Installation
from stand_ins import assemblies
from stardust_esapi.approval.compile import LAUNCHERS
from stardust_esapi.esapi import host
from stardust_esapi.esapi.host import Host
from stardust_esapi.esapi.writer import TwinWriter

NOT_BEGUN = (
    "System.InvalidOperationException: Modifications have not begun: nothing can be changed or "
    "saved."
)
BEGUN = (
    "System.InvalidOperationException: Modifications of this patient have begun already, and are "
    "not saved."
)
FOREIGN_SET = (
    "System.InvalidOperationException: This structure set was not made in this run, and is not "
    "changed."
)
FOREIGN = FOREIGN_SET.replace("structure set", "structure")


def sets(db: Path) -> list[str]:
    (patient,) = describe(db)["patients"]
    return [s["id"] for s in patient["structure_sets"]]


def test_the_twin_answers_as_the_launcher_does(installation: Installation, tmp_path: Path) -> None:
    configure(installation.db, version=ESAPI)
    shutil.copytree(installation.db, tmp_path / "other")
    said = installation.run("refusals", PATIENT)
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)

    application = open_application(tmp_path / "other")
    try:
        patient = application.OpenPatientById(PATIENT)
        wanted = refusals(TwinWriter(InvalidOperationException), application, patient)
    finally:
        application.Dispose()
    assert found == wanted

    refused = [(what, answer) for what, answer in found[:-3] if answer != "done"]
    assert [pair for pair in refused if "InvalidOperation" in pair[1]] == [
        ("save before all", NOT_BEGUN),
        ("create before all", NOT_BEGUN),
        ("name before all", NOT_BEGUN),
        ("begin again", BEGUN),
        ("name a foreign set", FOREIGN_SET),
        ("add to a foreign set", FOREIGN_SET),
        ("remove a foreign set", FOREIGN_SET),
        ("copy onto a foreign structure", FOREIGN),
        ("remove a foreign structure", FOREIGN),
        ("remove it again", FOREIGN),
        ("remove it again", FOREIGN_SET),
        ("copy onto what went with it", FOREIGN),
        ("save again", NOT_BEGUN),
        ("add after saving", NOT_BEGUN),
    ]
    # The others are ESAPI's own, untouched.
    assert [what for what, answer in refused if "System.ArgumentException" in answer] == [
        "name it as the other",
        "add what no version takes",
        "add it again",
    ]
    assert len(refused) == 14 + 3
    assert found[-3:] == [["begun", [True, False]], ["holds", ["gtv+"]], ["sets", ["CT_1", "mine"]]]
    assert sets(installation.db) == ["CT_1", "mine"]


def test_in_a_launcher_there_is_no_twin() -> None:
    with host.entered(Host("StardustExporter", is_launcher=True)):
        with pytest.raises(ValueError, match=r"RecordWriter\.cs alone"):
            TwinWriter(ValueError)


# --- whom Eclipse lets write ---

PAST = "past"
AFTER = "past after the beginning"
NO_LICENSE = "No valid license to modify patient data with script."
NO_CALLER = "The system did not find a calling assembly"


@pytest.mark.parametrize(
    ("settings", "how", "asked", "said"),
    [
        ({"permission": "entry"}, "launcher", "True True", "done"),
        ({"permission": "entry"}, AFTER, "True True", "done"),
        ({"permission": "caller"}, "launcher", "False True", "done"),
        # What Python did before: pythonnet is who calls.
        ({"permission": "caller"}, PAST, "False True", NO_CALLER),
        ({"permission": "caller"}, AFTER, "False True", NO_CALLER),
        ({"permission": "caller", "clinical": False}, PAST, "False True", NO_CALLER),
        ({"permission": "caller", "clinical": False}, "launcher", "False True", "done"),
        ({"permission": "caller", "script_approved": False}, "launcher", "False False", NO_LICENSE),
        ({"permission": "stack"}, "launcher", "False False", NO_LICENSE),
        (
            {"permission": "stack", "approved_assemblies": ["Python.Runtime"]},
            "launcher",
            "True True",
            "done",
        ),
        (
            {
                "permission": "stack",
                "approved_assemblies": ["Python.Runtime"],
                "script_approved": False,
            },
            "launcher",
            "False False",
            NO_LICENSE,
        ),
        ({"permission": "stack", "clinical": False}, "launcher", "True True", "done"),
    ],
)
def test_the_launcher_writes_whichever_assembly_eclipse_looks_at(
    installation: Installation, settings: dict, how: str, asked: str, said: str
) -> None:
    configure(installation.db, version=ESAPI, clinical=True, script_approved=True)
    configure(installation.db, **settings)
    told = installation.run("write", how, PATIENT)
    assert (told.code, told.err) == (0, "")
    first, last = told.out.splitlines()
    assert first == asked
    assert last.startswith(said)
    assert ("made" in sets(installation.db)) == (how == "launcher" and said == "done")


def test_the_read_only_one_has_nothing_that_writes(installation: Installation) -> None:
    (reading,) = installation.read_only("nothing").facts
    (writing,) = installation.run("nothing").facts
    assert (reading["writes"], writing["writes"]) == (False, True)


# --- what stands in the files themselves ---


@pytest.fixture(scope="module")
def metadata(launchers: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What .NET's own reader finds in each launcher, by its name."""
    folder = tmp_path_factory.mktemp("metadata")
    program = folder / "Metadata.exe"
    source = Path(__file__).parent / "csharp" / "Metadata.cs"
    subprocess.run(["mcs", "-nologo", "-warnaserror+", f"-out:{program}", source], check=True)
    for assembly in assemblies(ESAPI).glob("*.dll"):
        shutil.copy(assembly, folder)
    files = [launchers / launcher.file for launcher in LAUNCHERS]
    told = subprocess.run(
        ["mono", program, *files], check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout
    found: dict[str, list[str]] = {launcher.name: [] for launcher in LAUNCHERS}
    for line in told.splitlines():
        name, what = line.split(" ", 1)
        found[name].append(what)
    return found


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda launcher: launcher.name)
def test_every_launcher_refers_to_esapi(metadata: dict[str, list[str]], launcher) -> None:
    assert "refers to VMS.TPS.Common.Model.API" in metadata[launcher.name]


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda launcher: launcher.name)
def test_what_writes_stays_on_the_stack(metadata: dict[str, list[str]], launcher) -> None:
    kept = {line.removeprefix("keeps ") for line in metadata[launcher.name] if "keeps" in line}
    lost = {line.removeprefix("may inline ") for line in metadata[launcher.name] if "may" in line}
    entered = (
        {"Script.Execute", "PlugIn.Run"} if launcher.plug_in else {"Program.Main", "Program.Run"}
    )
    writes = {
        f"RecordWriter.{method}"
        for method in (
            *(
                "CanModify",
                "HasBegun",
                "Begin",
                "CreateStructureSet",
                "NameStructureSet",
                "AddStructure",
            ),
            *("CopyShape", "RemoveStructure", "RemoveStructureSet"),
            *([] if launcher.plug_in else ["Save"]),
            *("RequireBegun", "RequireOwn", "ColorSetter"),
        )
    }
    assert kept >= entered
    assert {name for name in kept if name.startswith("RecordWriter.")} == (
        writes if launcher.writable else set()
    )
    assert not {name for name in lost if name in entered or name.startswith("RecordWriter.")}


def test_a_program_without_the_reference_is_not_let_in(installation: Installation) -> None:
    """The stand-in does look: that the launchers are let in stands in their own tests."""
    source = Path(__file__).parent / "csharp" / "Unreferring.cs"
    program = installation.folder / "Unreferring.exe"
    subprocess.run(["mcs", "-nologo", f"-out:{program}", source], check=True)
    said = installation.run(program=program.name)
    assert said.out.startswith("UnauthorizedScriptingAPIAccessException: ")
    assert "no reference to Eclipse Scripting API" in said.out
