"""Whatever Eclipse does where nobody knows what it does: the same case comes out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from consumer.reader import read_folder
from esapi_stub.api.application import open_application
from esapi_stub.build import build
from esapi_stub.database import MODES, configure, describe
from esapi_stub.sample import Phantom, PhantomContrast, PhantomMr, Sphere, write_phantom
from esapi_stub.surface import VERSIONS
from support import Clinic, Outcome, report_of, row_of, write_case_list

Run = Callable[..., Outcome]

# The contrast CT lies on other planes than the planning CT.
PHANTOM = Phantom(
    "0815", size=(48, 48, 20), contrast=PhantomContrast(), mr=PhantomMr(size=(24, 24, 10))
)
GTV_ML = Sphere((0, 0, 0), 9).volume
ALL_AT_ONCE = {name: known[-1] for name, known in MODES.items()} | {
    "slice_voxels": "as in the volume"
}
ECLIPSES = [
    *({"version": version} for version in VERSIONS),
    *({"version": "16.1", name: value} for name, known in MODES.items() for value in known[1:]),
    *({"version": version} | ALL_AT_ONCE for version in VERSIONS),
]


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    folder = tmp_path_factory.mktemp("clinic")
    uids = write_phantom(folder / "dicom", PHANTOM)
    build(folder / "dicom", folder / "db")
    return Clinic(folder / "db", (uids,))


@pytest.mark.parametrize(
    "eclipse", ECLIPSES, ids=lambda eclipse: ", ".join(map(str, eclipse.values()))
)
def test_a_case_comes_out_whole(
    clinic: Clinic, run: Run, tmp_path: Path, eclipse: dict[str, str]
) -> None:
    db = shutil.copytree(clinic.db, tmp_path / "db")
    configure(db, **eclipse)
    [uids] = clinic.patients
    cases = write_case_list(tmp_path / "cases.csv", [row_of(uids)])
    said = run(
        *("export", "--cases", cases, "--esapi", f"stub:{db}", "--out", tmp_path / "out"),
        "--write",
    )
    assert said.code == 0, said.text
    source = {}
    for path in (clinic.db.parent / "dicom").glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        source[dataset.SOPInstanceUID] = dataset
    shows_uids = eclipse["version"] != "15.6"
    gives_voxels = eclipse.get("slice_voxels", MODES["slice_voxels"][0]) != "refused"
    for kind, series in (
        ("CT", uids.series_uid),
        ("KM", uids.km_series_uid),
        ("MR", uids.mr_series_uid),
    ):
        folder = tmp_path / "out" / f"{kind}_Export" / "0815" / series
        images = [pydicom.dcmread(path) for path in folder.glob("[CM][TR]*.dcm")]
        wanted = [d for d in source.values() if d.SeriesInstanceUID == series]
        assert len(images) == len(wanted)
        own = {image.SOPInstanceUID for image in images} == {d.SOPInstanceUID for d in wanted}
        assert own == (shows_uids and gives_voxels)
        by_height = {tuple(np.round(d.ImagePositionPatient, 3)): d for d in wanted}
        for image in images:
            original = by_height[tuple(np.round(image.ImagePositionPatient, 3))]
            assert np.array_equal(shown(image), shown(original))
            assert not own or image.SOPInstanceUID == original.SOPInstanceUID
        found = read_folder(folder)
        assert found.label_1.name == "gtv+"
        ml = found.label_1.mask.sum() * np.prod(found.spacing) / 1000
        assert ml == pytest.approx(GTV_ML, rel=0.15)
    [registration] = [
        pydicom.dcmread(path) for path in (tmp_path / "out" / "MR_Export").rglob("RE*.dcm")
    ]
    [way] = [
        item.MatrixRegistrationSequence[0].MatrixSequence[0]
        for item in registration.RegistrationSequence
        if item.FrameOfReferenceUID == uids.mr_frame_of_reference_uid
    ]
    matrix = np.array(way.FrameOfReferenceTransformationMatrix, dtype=float).reshape(4, 4)
    assert matrix[:3, 3] == pytest.approx(PhantomMr().translation, abs=1e-6)


def shown(image: pydicom.Dataset) -> np.ndarray:
    slope, intercept = image.get("RescaleSlope", 1), image.get("RescaleIntercept", 0)
    return image.pixel_array * float(slope) + float(intercept)


def changed(db: Path, patient_id: str, change: Callable[[Any], None]) -> None:
    """Change a patient as somebody at another workstation does."""
    app = open_application(db)
    try:
        patient = app.OpenPatientById(patient_id)
        patient.BeginModifications()
        change(patient)
        app.SaveModifications()
    finally:
        app.Dispose()


def named_elsewhere(patient: Any) -> None:
    """A structure set of our id on the contrast CT."""
    image = next(
        i for study in patient.Studies for s in study.Series for i in s.Images if i.Id == "CT_2"
    )
    image.CreateNewStructureSet().Id = "zCopyFromPlan"


@pytest.mark.parametrize(
    ("among", "called"), [("image", "zCopyFromPlan"), ("patient", "zCopyFromPlan_2")]
)
def test_an_id_that_eclipse_refuses_is_tried_numbered(
    clinic: Clinic, run: Run, tmp_path: Path, among: str, called: str
) -> None:
    db = shutil.copytree(clinic.db, tmp_path / "db")
    configure(db, set_ids=among)
    changed(db, "0815", named_elsewhere)
    cases = write_case_list(tmp_path / "cases.csv", [row_of(clinic.patients[0], KM_Series_UID="")])
    out = tmp_path / "out"
    export = ("export", "--cases", cases, "--esapi", f"stub:{db}", "--write", "--out")
    said = run(*export, out)
    assert said.code == 0, said.text
    report = report_of(out)
    assert ("Eclipse refused zCopyFromPlan" in report) == (among == "patient")
    [patient] = describe(db)["patients"]
    ours = [s["id"] for s in patient["structure_sets"] if s["image"].startswith("CT_")][-1]
    assert ours == called
    [begun, saved, *_] = map(json.loads, (out / "audit.jsonl").read_text("utf-8").splitlines())
    assert (begun["event"], saved["event"]) == ("begun", "saved")
    assert saved.get("named") == (None if among == "image" else {"zCopyFromPlan": called})
    # Another run knows it again.
    assert run(*export, tmp_path / "again").code == 0
    assert len(describe(db)["patients"][0]["structure_sets"]) == len(patient["structure_sets"])


FINE = Phantom("0816", size=(260, 260, 8), spacing=(0.6, 0.6, 6.0), contrast=PhantomContrast())


def test_high_resolution_is_kept_on_the_same_grid(run: Run, tmp_path: Path) -> None:
    uids = write_phantom(tmp_path / "dicom", FINE)
    db = tmp_path / "db"
    build(tmp_path / "dicom", db)

    def refine(patient: Any) -> None:
        [structure_set] = patient.StructureSets
        next(s for s in structure_set.Structures if s.Id == "GTV1").ConvertToHighResolution()

    changed(db, "0816", refine)
    cases = write_case_list(tmp_path / "cases.csv", [row_of(uids)])
    export = ("export", "--cases", cases, "--esapi", f"stub:{db}", "--write", "--out")
    said = run(*export, tmp_path / "out")
    assert said.code == 0, said.text
    app = open_application(db)
    try:
        sets = {s.Id: s for s in app.OpenPatientById("0816").StructureSets}
        for name in ("zCopyFromPlan", "zCopyFromPlan_KM"):
            fine = {s.Id for s in sets[name].Structures if s.IsHighResolution}
            assert fine == {"gtv+"}
    finally:
        app.Dispose()
