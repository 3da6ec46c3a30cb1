"""The real package inside the launchers: exports as the Python stub makes them, and as allowed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import stardust_esapi
from esapi_stub.build import build
from esapi_stub.database import configure, describe
from esapi_stub.sample import (
    Phantom,
    PhantomContrast,
    PhantomMr,
    PhantomStructure,
    Sphere,
    default_structures,
    write_phantom,
)
from launchers.installed import ESAPI, HOME, RUNTIME, Installation
from stand_ins import ROOT, assemblies
from stardust_esapi.approval.compile import build_launchers
from stardust_esapi.approval.manifest import Target, make_manifest
from stardust_esapi.record.audit import check
from stardust_esapi.trace.archive import Trace, load
from stardust_esapi.trace.compare import compare
from support import Clinic, exported_tree, row_of, write_case_list

WHOLE = Phantom(
    "0815", size=(32, 32, 14), contrast=PhantomContrast(), mr=PhantomMr(size=(24, 24, 10))
)
SECOND = replace(
    WHOLE, plan_id="Plan2", structure_set_label="CT_2", contrast=None, mr=None, seed="b"
)
TWO_TUMOURS = Phantom(
    "0815",
    size=(32, 32, 14),
    structures=(
        default_structures()[0],
        PhantomStructure("GTV1", "GTV", Sphere((-20.0, 10.0, 3.0), 8), hu=75),
        PhantomStructure("PTV1", "PTV", Sphere((-20.0, 10.0, 3.0), 12)),
        PhantomStructure("GTV2", "GTV", Sphere((22.0, 12.0, 3.0), 8), hu=75),
        PhantomStructure("PTV2", "PTV", Sphere((22.0, 12.0, 3.0), 12)),
    ),
)
ANOTHER = replace(SECOND, patient_id="0816", plan_id="Plan1", seed="c")


# Every start compares every file: without the tests of packages, what `dataset` alone imports, and
# what nobody does of scipy, each is faster.
OF_SCIPY = {"_lib", "ndimage", "special"}
NO_EXPORT_NEEDS = {
    "cycler",
    "fonttools",
    "kiwisolver",
    "matplotlib",
    "pyparsing",
    "python-dateutil",
}


@pytest.fixture(scope="session")
def real_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This package and the locked dependencies that an export needs; no file is copied."""
    site = tmp_path_factory.mktemp("real") / "site"
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for line in re.findall(r"^[A-Za-z0-9._-]+==[^\\\n]*", lock, re.MULTILINE):
        requirement = Requirement(line)
        if requirement.name in NO_EXPORT_NEEDS or (
            requirement.marker and not requirement.marker.evaluate()
        ):
            continue
        found = distribution(requirement.name)
        for file in found.files or ():
            source, target = Path(str(found.locate_file(file))), site / str(file)
            if {"..", "__pycache__", "tests"} & set(file.parts) or not source.is_file():
                continue
            if file.parts[0] == "scipy" and file.parts[1:-1] and file.parts[1] not in OF_SCIPY:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, target)
            except OSError:  # another file system
                shutil.copy(source, target)
    shutil.copytree(
        Path(stardust_esapi.__file__).parent,
        site / "stardust_esapi",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return site


@pytest.fixture(scope="session")
def real_launchers(real_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("real-launchers")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    manifest = make_manifest(real_site, HOME, "0.1.0", Target(python, "linux_x86_64"))
    build_launchers(
        ROOT / "approval" / "launchers", assemblies(ESAPI), real_site / RUNTIME, manifest, out
    )
    return out


@pytest.fixture
def clinic(clinic_of: Callable[..., Clinic]) -> Clinic:
    """A clinical system where the launchers are approved."""
    clinic = clinic_of(WHOLE, SECOND, ANOTHER)
    configure(clinic.db, version=ESAPI, clinical=True, script_approved=True)
    return clinic


@pytest.fixture
def installed(
    real_site: Path, real_launchers: Path, clinic: Clinic, tmp_path: Path
) -> Installation:
    folder = tmp_path / "installed"
    shutil.copytree(real_launchers, folder)
    for assembly in assemblies(ESAPI).glob("*.dll"):
        shutil.copy(assembly, folder)
    created = Installation(folder, shutil.copytree(clinic.db, tmp_path / "eclipse"))
    created.configure(site=str(real_site))
    return created


def set_ids(db: Path) -> dict[str, list[str]]:
    return {p["id"]: [s["id"] for s in p["structure_sets"]] for p in describe(db)["patients"]}


def audited(out: Path) -> list[dict]:
    lines = (out / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_the_console_exports_what_the_python_stub_does_byte_for_byte(
    installed: Installation, clinic: Clinic, tmp_path: Path
) -> None:
    cases = write_case_list(tmp_path / "cases.csv", [row_of(uids) for uids in clinic.patients])
    same = {"SOURCE_DATE_EPOCH": "1700000000"}
    command = ("export", "--cases", cases, "--write", "--out")
    said = installed.run(*command, tmp_path / "found", **same)
    assert said.code == 0, said.text
    assert "All 3 cases exported" in said.out
    python = [sys.executable, "-m", "stardust_esapi", *map(str, command), str(tmp_path / "wanted")]
    subprocess.run(
        [*python, "--esapi", clinic.esapi], check=True, env=os.environ | same, capture_output=True
    )
    assert exported_tree(tmp_path / "found") == exported_tree(tmp_path / "wanted")
    assert (
        sum(path.endswith(".dcm") for path in exported_tree(tmp_path / "found")) > 14 * 3 + 18 + 10
    )
    events = audited(tmp_path / "found")
    assert {e["script"] for e in events} == {"StardustExporter"}
    assert {e["event"] for e in events} == {"begun", "saved", "exported", "listed"}
    assert check(tmp_path / "found" / "audit.jsonl").problems == ()
    assert set_ids(installed.db) == set_ids(clinic.db)


@pytest.mark.slow
def test_what_is_not_approved_writes_nothing_and_says_so(
    installed: Installation, clinic: Clinic, tmp_path: Path
) -> None:
    cases = write_case_list(tmp_path / "cases.csv", [row_of(clinic.patients[0])])
    command = ("export", "--cases", cases, "--write", "--out", tmp_path / "out")
    before = set_ids(installed.db)
    said = installed.read_only(*command)
    assert said.code == 3
    assert "read-only launcher" in said.err
    configure(installed.db, script_approved=False)
    said = installed.run(*command)
    assert said.code == 3
    assert "Script Approval" in said.err
    assert "Traceback" not in said.text
    assert set_ids(installed.db) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"permission": "caller"},
        {"permission": "stack", "approved_assemblies": ["Python.Runtime"]},
    ],
    ids=["caller", "stack"],
)
def test_the_launcher_writes_whichever_assembly_eclipse_looks_at(
    installed: Installation, clinic: Clinic, tmp_path: Path, settings: dict
) -> None:
    cases = write_case_list(tmp_path / "cases.csv", [row_of(clinic.patients[0])])
    configure(installed.db, **settings)
    said = installed.run("export", "--cases", cases, "--write", "--out", tmp_path / "out")
    assert said.code == 0, said.text
    assert "zCopyFromPlan" in set_ids(installed.db)["0815"]
    assert "zCopyFromPlan_KM" in set_ids(installed.db)["0815"]


@pytest.mark.slow
def test_where_every_assembly_counts_pythonnet_must_be_approved_too(
    installed: Installation, clinic: Clinic, tmp_path: Path
) -> None:
    cases = write_case_list(tmp_path / "cases.csv", [row_of(clinic.patients[0])])
    configure(installed.db, permission="stack")
    before = set_ids(installed.db)
    said = installed.run("export", "--cases", cases, "--write", "--out", tmp_path / "out")
    assert said.code == 3
    assert "CanModifyData is false" in said.err
    assert "approve Python.Runtime.dll of its site folder too (approval/README.md" in said.err
    assert "Traceback" not in said.text
    assert set_ids(installed.db) == before
    said = installed.run("doctor", "--patient", "0815")
    assert "approve Python.Runtime.dll" in said.text


@pytest.mark.slow
def test_the_plug_in_writes_where_every_assembly_counts(
    installed: Installation, clinic: Clinic
) -> None:
    write_case_list(installed.folder / "cases.csv", [row_of(clinic.patients[1])])
    configure(installed.db, permission="stack", approved_assemblies=["Python.Runtime"])
    said = installed.plug_in(patient="0815", screen="C1/Plan2", save=True)
    assert said.code == 0, said.text
    assert "zCopyFromPlan" in set_ids(installed.db)["0815"]


@pytest.mark.slow
def test_the_plug_in_exports_just_the_open_plan(
    installed: Installation, clinic: Clinic, tmp_path: Path
) -> None:
    write_case_list(installed.folder / "cases.csv", [row_of(uids) for uids in clinic.patients])
    said = installed.plug_in(patient="0815", screen="C1/Plan2", save=True)
    assert said.code == 0, said.text
    assert "1 of 1 case exported" in said.out
    assert "save the patient there" in said.out
    out = installed.folder / "out"
    second = clinic.patients[1]
    folders = {path.parent.relative_to(out).as_posix() for path in out.rglob("*.dcm")}
    assert folders == {f"CT_Export/0815/{second.series_uid}"}
    assert set_ids(installed.db) == {
        "0815": ["CT_1", "CT_2", "zCopyFromPlan"],
        "0816": ["CT_2"],
    }
    assert [e["event"] for e in audited(out)] == ["begun", "left", "exported", "listed"]
    assert {e["script"] for e in audited(out)} == {"StardustExporter.esapi"}


@pytest.mark.slow
def test_the_plug_in_prepares_all_tumours_of_the_open_plan(
    installed: Installation, tmp_path: Path
) -> None:
    """Nobody saves between two cases in a plug-in: the second goes on where the first has begun."""
    uids = write_phantom(tmp_path / "two", TWO_TUMOURS)
    build(tmp_path / "two", installed.db)
    configure(installed.db, version=ESAPI, clinical=True, script_approved=True)
    rows = [row_of(uids, GTV=f"GTV{n}", TargetID=f"PTV{n}") for n in (1, 2)]
    write_case_list(installed.folder / "cases.csv", rows)
    said = installed.plug_in(patient="0815", screen="C1/Plan1", save=True)
    assert said.code == 0, said.text
    assert "All 2 cases exported" in said.out
    assert set_ids(installed.db) == {"0815": ["CT_1", "zCopyFromPlan", "zCopyFromPlan_2"]}


@pytest.mark.slow
def test_the_plug_in_leaves_a_doubtful_case_and_says_so(
    installed: Installation, clinic: Clinic
) -> None:
    exchanged = row_of(clinic.patients[1], GTV="PTV1", TargetID="GTV1")
    write_case_list(installed.folder / "cases.csv", [exchanged])
    before = set_ids(installed.db)
    said = installed.plug_in(patient="0815", screen="C1/Plan2", save=True)
    assert "1 doubtful" in said.err
    assert "seem to be exchanged" in said.err
    assert set_ids(installed.db) == before
    assert not list((installed.folder / "out").rglob("*.dcm"))


@pytest.mark.slow
def test_the_plug_in_knows_the_open_patient_by_the_series_where_the_id_was_a_number(
    installed: Installation, clinic: Clinic
) -> None:
    number = row_of(clinic.patients[1], **{"Patient-ID": "815"})
    write_case_list(installed.folder / "cases.csv", [number])
    said = installed.plug_in(patient="0815", screen="C1/Plan2", save=True)
    assert said.code == 0, said.text
    assert "0815 is meant" in said.out
    out = installed.folder / "out"
    assert {path.parts[-3] for path in out.rglob("RS*.dcm")} == {"0815"}


@pytest.mark.slow
def test_the_plug_in_does_nothing_where_the_list_means_something_else(
    installed: Installation, clinic: Clinic
) -> None:
    write_case_list(installed.folder / "cases.csv", [row_of(clinic.patients[0])])
    before = set_ids(installed.db)
    said = installed.plug_in(patient="0815", screen="C1/Plan2", save=True)
    assert "no row for what is open" in said.out
    assert set_ids(installed.db) == before


@pytest.mark.slow
def test_the_read_only_plug_in_says_what_it_would_do(
    installed: Installation, clinic: Clinic
) -> None:
    write_case_list(installed.folder / "cases.csv", [row_of(uids) for uids in clinic.patients])
    before = set_ids(installed.db)
    said = installed.plug_in(
        "StardustExporterReadOnly.esapi.dll", patient="0815", screen="C1/Plan1", save=True
    )
    assert said.code == 0, said.text
    assert "Would create structure set zCopyFromPlan" in said.out
    assert (installed.folder / "out" / "plan.html").is_file()
    assert set_ids(installed.db) == before


def record(installed: Installation, out: Path) -> Trace:
    """Record in the writable launcher, writes too, as somebody who types the patient's id."""
    launcher = installed.folder / "StardustExporter.exe"
    typing = ("sh", "-c", 'echo 0815 | mono "$0" "$@"', launcher)
    command = ("record", "--patient", "0815", "--out", out, "--write")
    said = installed.ended(installed.start(*typing, *command))
    assert said.code == 0, said.text
    return load(out)


@pytest.mark.slow
def test_a_recording_is_that_of_the_python_stub(
    installed: Installation, clinic: Clinic, tmp_path: Path
) -> None:
    """With writes in the launcher that may; the read-only one records what it reads."""
    before = set_ids(installed.db)
    command = ("record", "--patient", "0815", "--out")
    reads, wanted = tmp_path / "reads.zip", tmp_path / "wanted.zip"
    assert installed.read_only(*command, reads).code == 0
    python = [sys.executable, "-m", "stardust_esapi", *command, wanted, "--esapi", clinic.esapi]
    subprocess.run([str(part) for part in python], check=True, capture_output=True)
    writes = record(installed, tmp_path / "writes.zip")
    assert set_ids(installed.db) == before

    found = compare(load(reads), load(wanted))
    assert [one.member for one in found] == ["Patient.CanModifyData"]
    assert compare(writes, load(wanted)) == []  # but for the writes themselves
    assert load(reads).facts["host"] == "StardustExporterReadOnly"
    assert writes.facts["host"] == "StardustExporter"
    entry = [name for name in writes.facts["assemblies"] if name.startswith("StardustExporter,")]
    assert len(entry) == 1
    thrown = {call["member"] for call in writes.calls if "throws" in call}
    assert "Structure.ConvertToHighResolution" in thrown  # of an image that is too coarse
    assert "Image.CreateNewStructureSet" not in thrown


@pytest.mark.slow
def test_a_recording_shows_who_may_write(installed: Installation, tmp_path: Path) -> None:
    """Where the caller counts, Python cannot do what our writer can; all is removed again."""
    second = replace(installed, db=shutil.copytree(installed.db, tmp_path / "second"))
    configure(second.db, permission="caller")
    before = set_ids(second.db)
    usual = record(installed, tmp_path / "usual.zip")
    other = record(second, tmp_path / "other.zip")
    assert set_ids(second.db) == before
    found = compare(usual, other)
    assert {one.member for one in found} == {
        "Image.CreateNewStructureSet",
        "Patient.BeginModifications",
        "Patient.CanModifyData",
        "Structure.AddContourOnImagePlane",
        "Structure.ConvertToHighResolution",
        "StructureSet.Delete",
    }
    assert not any("by our writer" in one.where for one in found if one.one != "(not asked)")
