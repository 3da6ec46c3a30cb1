"""The .NET skin's types and members against ESAPI's own, by reflection, for each version."""

from __future__ import annotations

import inspect
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from esapi_members import MET
from esapi_stub import types as python_types
from esapi_stub.api.classes import CLASSES, public
from esapi_stub.surface import VERSIONS, load, versioned
from stand_ins import assemblies

SOURCE = Path(__file__).parent / "csharp" / "Surface.cs"
# Types that ESAPI's signatures name and the surface does not describe.
UNDESCRIBED = {
    *("API.ApplicationScript", "API.PlanningItemDose", "Types.LineProfile", "Types.ProfilePoint"),
    "Types.DoseValue/DoseUnit",
}
# These have every member, not only those that the product meets; of those that came after 16.1,
# no one has need.
WHOLE = (
    *("API.ApiDataObject", "API.CustomScriptExecutable", "API.ESAPIScriptAttribute", "API.User"),
    *("Types.VVector", "Types.StructureApprovalHistoryEntry", "Types.ImageProfile"),
)
INT = set(public(int))
CONTEXT = (
    "CurrentUser Course Image StructureSet Patient PlanSetup ExternalPlanSetup PlansInScope "
    "ApplicationName VersionInfo .ctor"
)


@dataclass
class Built:
    """What reflection finds of a type."""

    base: str
    kind: str
    members: set[str] = field(default_factory=set)
    overrides: set[str] = field(default_factory=set)


@pytest.fixture(scope="session")
def lister(tmp_path_factory) -> Path:
    program = tmp_path_factory.mktemp("surface") / "Surface.exe"
    subprocess.run(["mcs", "-nologo", "-warnaserror+", f"-out:{program}", SOURCE], check=True)
    return program


@pytest.fixture(scope="session", params=VERSIONS)
def version(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def built(lister, version) -> dict[str, Built]:
    """Types of the assemblies by name; System.Windows.Media aside."""
    folder = assemblies(version)
    files = [folder / f"VMS.TPS.Common.Model.{name}.dll" for name in ("API", "Types")]
    listed = subprocess.run(
        ["mono", lister, *files], check=True, stdout=subprocess.PIPE, encoding="utf-8"
    )
    found: dict[str, Built] = {}
    for line in listed.stdout.splitlines():
        what, *cells = line.split("\t")
        if what == "type":
            name, base, kind = cells
            current = found[name] = Built(base, kind)
        else:
            (current.members if what == "member" else current.overrides).add(cells[0])
    return found


def name_of(signature: str) -> str:
    found = re.search(r"(\.?\w+)(?:\[[\w.]+\])?(?: \{[^}]*\}|\(.*\)| = -?\d+)?$", signature)
    assert found, signature
    return found[1]


def names(built: dict[str, Built], type_name: str) -> set[str]:
    """Names of a type's members and of its bases'."""
    found = {"ToString", "Equals", "GetHashCode", "GetType"}
    while type_name in built:
        found |= {name_of(s) for s in built[type_name].members | built[type_name].overrides}
        type_name = built[type_name].base
    return found


def test_types_are_esapis(built, version) -> None:
    described = load(version)
    assert set(built) - set(described) == UNDESCRIBED
    for name in set(built) - UNDESCRIBED:
        declared = described[name]
        assert (built[name].base, built[name].kind) == (declared["base"], declared["kind"]), name


def test_every_member_offered_is_esapis(built, version) -> None:
    compared = 0
    for name in set(built) - UNDESCRIBED:
        offered = built[name].members
        assert offered <= set(load(version)[name]["members"]), name
        compared += len(offered)
    assert compared > 200


def test_overrides_that_esapi_does_not_list_are_of_object(built, version) -> None:
    for name in set(built) - UNDESCRIBED:
        unlisted = built[name].overrides - set(load(version)[name]["members"])
        assert unlisted <= {"System.String ToString()"}, name


def test_whole_types_have_every_member(built, version) -> None:
    enums = [name for name in built if built[name].kind == "enum"]
    assert len(enums) == 6
    for name in {*WHOLE, *enums} - UNDESCRIBED:
        every = set(load(version)[name]["members"])
        if float(version) > 16.1:
            every &= set(load("16.1")[name]["members"])
        assert built[name].members | built[name].overrides == every, name


def test_comparisons_are_esapis(built, version) -> None:
    for name in set(built) - UNDESCRIBED:
        if not name.startswith("API."):
            continue
        offered = {name_of(s) for s in built[name].members | built[name].overrides}
        compared = {"Equals", "GetHashCode", "op_Equality", "op_Inequality"}
        listed = {name_of(s) for s in load(version)[name]["members"]}
        assert offered & compared == listed & compared, name


@pytest.mark.parametrize("kind", sorted(CLASSES))
def test_every_member_of_the_python_stub_is_offered(built, version, kind) -> None:
    assert set(public(versioned(CLASSES[kind], version))) <= names(built, f"API.{kind}")


@pytest.mark.parametrize("kind", MET)
def test_every_member_the_product_meets_is_offered(built, version, kind) -> None:
    offered = names(built, f"API.{kind}")
    for met in MET[kind].split():
        name, _, since = met.partition("@")
        assert (name in offered) == (not since or float(version) >= float(since)), name


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("Application", "CreateApplication"),
        ("CustomScriptExecutable", "CreateApplication"),
        ("ESAPIScriptAttribute", "IsWriteable .ctor"),
        ("ScriptContext", CONTEXT),
    ],
)
def test_what_starts_a_script_is_offered(built, version, kind, members) -> None:
    assert set(members.split()) <= names(built, f"API.{kind}")


def test_structs_and_enums_of_the_python_stub_are_offered(built) -> None:
    compared = 0
    for name, value in vars(python_types).items():
        full = "Types.DoseValue/DoseUnit" if name == "DoseUnit" else f"Types.{name}"
        if full in built and inspect.isclass(value):
            compared += 1
            assert {n for n in public(value) if n not in INT} <= names(built, full), name
    assert compared == 11


def test_units_of_dose_have_the_python_stubs_numbers(built) -> None:
    expected = {
        f"static const Types.DoseValue/DoseUnit {unit.name} = {int(unit)}"
        for unit in python_types.DoseUnit
    }
    assert built["Types.DoseValue/DoseUnit"].members == expected
