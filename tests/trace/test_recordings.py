"""Recordings of the stub: of each version and mode, by each way of reaching it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from esapi_stub.api.application import open_application
from esapi_stub.database import configure
from esapi_stub.surface import VERSIONS, members
from stand_ins import assemblies
from stardust_esapi.esapi.connect import connect
from stardust_esapi.trace.archive import load, parse, record_file
from stardust_esapi.trace.compare import compare
from stardust_esapi.trace.members import MEMBERS
from trace_stub import CHANGES, GOLDEN, LAST, PATIENT, build_stub, change, record

NAMED: dict[str, set[str]] = {
    "permission": set(),  # no assemblies here; tests/launchers/test_whole_export.py has some
    "image_order": {"Series.Images"},
    "slice_voxels": {"Image.GetVoxels"},
    "matrix": {"Registration.TransformationMatrix"},
    "set_ids": {"StructureSet.Id"},
    "drawing": {"Structure.AddContourOnImagePlane", "Structure.SegmentVolume"},
    "display_values": {"Image.VoxelToDisplayValue"},
}
"""By mode of the stub, the members that show it, and no others."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_stub(tmp_path_factory.mktemp("stub"))


@pytest.mark.parametrize("name", CHANGES)
def test_the_stub_answers_as_it_was_recorded(template: Path, tmp_path: Path, name: str) -> None:
    trace = record(change(template, tmp_path / "db", name), tmp_path / "trace.zip")
    assert compare(load(GOLDEN / f"{name}.zip"), trace) == []


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in VERSIONS])
def test_another_mode_is_found_by_the_members_that_show_it(name: str) -> None:
    usual, other = load(GOLDEN / f"{LAST}.zip"), load(GOLDEN / f"{name}.zip")
    named = NAMED[name.partition("-")[0]]
    assert {found.member for found in compare(usual, other)} == named
    assert {found.member for found in compare(other, usual)} == named


def test_another_version_is_found_by_what_it_has_more() -> None:
    found = compare(load(GOLDEN / "15.6.zip"), load(GOLDEN / "16.1.zip"))
    assert {one.member for one in found} == {
        "Image.UID",
        "ScriptEnvironment.ApiVersionInfo",
        "ScriptEnvironment.VersionInfo",
        "Structure.IsApproved",
        "Study.Images3D",
    }
    assert {one.one for one in found if one.member == "Image.UID"} == {"no such member"}


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_through_net_the_answers_are_the_same(template: Path, tmp_path: Path, version: str) -> None:
    assemblies(version)
    db, out = change(template, tmp_path / "db", version), tmp_path / "trace.zip"
    configure(db, clinical=False)  # there alone Python itself may write
    command = ["record", "--patient", PATIENT, "--out", out, "--esapi", f"clr-stub:{db}", "--write"]
    # A process of its own: .NET stays in one for good.
    subprocess.run(
        [sys.executable, "-m", "stardust_esapi", *map(str, command)],
        input=f"{PATIENT}\n",
        text=True,
        check=True,
    )
    trace = load(out)
    assert compare(load(GOLDEN / f"{version}.zip"), trace) == []
    referred = {name.partition(",")[0]: found for name, found in trace.facts["assemblies"].items()}
    assert "VMS.TPS.Common.Model.Types" in referred["VMS.TPS.Common.Model.API"]
    assert "Python.Runtime" in referred


def test_what_is_recorded_lies_on_the_disk_at_once(template: Path, tmp_path: Path) -> None:
    """For Eclipse may end the process."""
    db, out = change(template, tmp_path / "db", LAST), tmp_path / "trace.zip"
    unfinished = tmp_path / "trace.zip.unfinished"
    sizes: list[int] = []

    def say(_: str) -> None:
        sizes.append(len(parse(unfinished.read_text(encoding="utf-8")).calls))

    record_file(connect(f"stub:{db}"), PATIENT, out, None, say)
    assert sizes == sorted(sizes)
    assert 20 < sizes[0] < sizes[-1] < len(load(out).calls)
    assert not unfinished.exists()


def test_what_was_tried_is_removed_again(template: Path, tmp_path: Path) -> None:
    db = change(template, tmp_path / "db", LAST)
    before = contents(db)
    record(db, tmp_path / "trace.zip")
    assert contents(db) == before


def contents(db: Path) -> dict[str, list[str]]:
    """The structure sets of the patient, with their structures."""
    app = open_application(db)
    try:
        patient = app.OpenPatientById(PATIENT)
        assert patient is not None
        return {f"{s.Id} {s.UID}": [t.Id for t in s.Structures] for s in patient.StructureSets}
    finally:
        app.Dispose()


def test_every_member_that_is_asked_for_exists() -> None:
    for kind, sorts in MEMBERS.items():
        known = {name for version in VERSIONS for name in members(version, f"API.{kind}")}
        assert {name.removesuffix("()") for names in sorts.values() for name in names.split()} <= (
            known
        ), kind


def test_slices_are_matched_with_those_of_another_order() -> None:
    """The order alone differs, and what it is stands there."""
    [series, *_] = compare(load(GOLDEN / f"{LAST}.zip"), load(GOLDEN / "image_order-backwards.zip"))
    assert series.where.endswith("the order")
    assert series.one == "0 1 2 3 4"
    assert series.other == "4 3 2 1 0"
