"""David Clunie's dciodvfy, which knows PS3.3 by itself, finds no error in any file we write."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from stardust_esapi.dataset.pseudonym import Pseudonyms
from stardust_esapi.dicom.deidentify import copy_deidentified
from stardust_esapi.dicom.read_series import read_stack
from stardust_esapi.dicom.source import Device, PatientIdentity, RoiSource, StudyFacts
from stardust_esapi.dicom.write_dose import write_dose
from stardust_esapi.dicom.write_images import write_image_series
from stardust_esapi.dicom.write_registration import write_registration
from stardust_esapi.dicom.write_segmentation import write_segmentation
from stardust_esapi.dicom.write_structure_set import write_structure_set

OBJECTS = {"CT": "CTImage", "MR": "MRImage", "RS": "RTStructureSet", "RE": "SpatialRegistration"}
EXPORTED = set(OBJECTS)
OBJECTS["SG"] = "Segmentation"  # beside a de-identified copy
DOSE = {"RD": "RTDose"}


def errors(path: Path) -> list[str]:
    """What it says against a file; warnings are not among it."""
    done = subprocess.run(
        ["dciodvfy", "-input-file", path], capture_output=True, text=True, check=False
    )
    lines = (done.stdout + done.stderr).splitlines()
    found = [line for line in lines if line.startswith(("Error", "Abort"))]
    meant = (OBJECTS | DOSE)[path.name[:2]]
    if meant not in lines:
        found.append(f"it is no {meant}")
    return found


def checked(files: list[Path]) -> set[str]:
    """Every kind of file among them that was checked."""
    wrong = {path.name: found for path in files if (found := errors(path))}
    assert wrong == {}
    return {path.name[:2] for path in files}


def test_no_error_in_any_exported_file(exported: Path) -> None:
    assert checked(sorted(exported.rglob("*_Export/**/*.dcm"))) == EXPORTED


def test_no_error_in_a_deidentified_copy(exported: Path, tmp_path: Path) -> None:
    patient, pseudonyms = "A/17.bc-5566", Pseudonyms(bytes(32))
    for kind in ("CT", "MR"):
        [source] = exported.glob(f"{kind}_Export/A*/*")
        copy_deidentified(source, tmp_path / kind, patient, pseudonyms)
        stack = read_stack(source)
        labels = np.zeros(stack.shape, np.uint8)
        labels[2:4] = 1
        uids = [pseudonyms.uid(uid) for uid in stack.sop_instance_uids]
        write_segmentation(tmp_path / kind, kind, uids, labels, ["gtv+", "target+", "Lunge_neg+"])
    assert checked(sorted(tmp_path.rglob("*.dcm"))) == set(OBJECTS)


def test_no_error_where_hardly_anything_is_known(
    make_series, make_structure_set, make_registration, tmp_path: Path
) -> None:
    """Nor where facts are odd: no device, no dates, a body drawn by points alone."""
    nothing: dict[str, object] = {
        "patient": PatientIdentity("1", "", ""),
        "study": StudyFacts("1.2.3"),
        "created": None,
    }
    for modality in ("CT", "MR"):
        series = make_series(modality, device=Device("", "", ""), window=None, **nothing)
        write_image_series(series, tmp_path)
    points = RoiSource(2, "point", "", (0, 0, 0), {0: [series.geometry.to_patient([(1, 1, 0)])]})
    write_structure_set(make_structure_set(series, rois=[points], **nothing), tmp_path)
    write_registration(make_registration(**nothing), tmp_path)
    assert checked(sorted(tmp_path.glob("*.dcm"))) == EXPORTED


@pytest.mark.parametrize("units", ["GY", "RELATIVE"])
def test_no_error_in_a_dose(make_dose, tmp_path: Path, units: str) -> None:
    nothing = StudyFacts("1.2.3")
    path = write_dose(make_dose(units=units, study=nothing, created=None), tmp_path)
    assert checked([path]) == set(DOSE)


def test_it_finds_what_is_wrong(exported: Path, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(next(exported.rglob("CT_Export/**/CT*.dcm")))
    del dataset.ImagePositionPatient
    path = tmp_path / "CT.dcm"
    dataset.save_as(path)
    [error] = errors(path)
    assert "ImagePositionPatient" in error
