"""Nothing of a patient is in any byte of a recording, in any form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from esapi_stub.build import build
from esapi_stub.database import configure
from esapi_stub.sample import Phantom, PhantomContrast, PhantomMr, write_phantom
from leaks import leaks
from stardust_esapi.errors import StardustError
from stardust_esapi.trace.archive import CALLS, load
from trace_stub import record

PLAIN = Phantom("0004711", size=(24, 24, 8), spacing=(6.0, 6.0, 9.0))
PATIENTS = [
    replace(
        PLAIN,
        patient_name="Schmidt-Überlein^Gerda^Marie^Dr.",
        contrast=PhantomContrast(slices=6),
        mr=PhantomMr(size=(20, 20, 5)),
    ),
    replace(PLAIN, patient_id="PAT-ÄÖ 778899", patient_name="O'Brien d'Été^Ng-Wong", approved=True),
    replace(PLAIN, patient_id="A/17.bc\N{EM DASH}5566", patient_name="Иванова^Анна"),
    replace(PLAIN, patient_id="id", patient_name="Structure^Image", plan_id="Plan Müller"),
    replace(PLAIN, patient_id="山田 太郎", patient_name="Yamada^Tarou=山田^太郎=やまだ^たろう"),
]
_TEXT = {"PN", "LO", "SH", "ST", "LT", "UT", "UI"}
# Words that are in every recording, whoever the patient is, and codes of DICOM.
_ORDINARY = {"structure", "image", "id"}


def identify(dataset: Dataset, patient: int) -> None:
    """Put into a file what a clinic's archive would."""
    dataset.PatientBirthDate = f"195{patient}0823"
    dataset.StudyDate = dataset.SeriesDate = f"2023041{patient}"
    dataset.StudyDescription = f"Verlauf {patient} bei Überlein"
    dataset.SeriesDescription = f"Aufnahme {patient} mit Kissen der Tochter"
    dataset.StudyID = f"ST-77{patient}31"
    dataset.Manufacturer = f"Werkstatt {patient}"
    dataset.ManufacturerModelName = f"Eigenbau {patient}"
    dataset.DeviceSerialNumber = f"SN-4466{patient}"
    dataset.OperatorsName = "Quandt^Ottokar"
    for number, roi in enumerate(dataset.get("StructureSetROISequence", [])):
        roi.ROIName = f"{number} Lage {patient}"
    if dataset.Modality == "RTSTRUCT":
        dataset.StructureSetLabel = f"Set Oma {patient}"
        dataset.StructureSetDate = dataset.ReviewDate = f"2023051{patient}"
        dataset.ReviewerName = "Vukovic^Mirjana"


def values(dataset: Dataset) -> Iterator[str]:
    """Whatever of a file names or dates something."""
    for element in dataset.iterall():
        for value in element.value if element.VM > 1 else [element.value]:
            text = str(value)
            if element.VR == "DA" and text:
                year, month, day = text[:4], text[4:6], text[6:8]
                yield from (text, f"{year}-{month}-{day}", f"{day}.{month}.{year}")
            elif element.VR in _TEXT and not text.startswith("1.2.840.10008."):
                yield text
                yield from text.replace("=", "^").split("^")


@pytest.fixture(params=range(len(PATIENTS)), ids=[p.patient_id for p in PATIENTS])
def clinic(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str, dict[str, str]]:
    """A stub database, its patient's id, and what must not get out."""
    write_phantom(tmp_path / "dicom", PATIENTS[request.param])
    secret = {str(tmp_path): "a path"}
    for path in sorted((tmp_path / "dicom").rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        identify(dataset, request.param)
        dataset.save_as(path)
        secret |= dict.fromkeys(values(dataset), path.name)
    report = build(tmp_path / "dicom", tmp_path / "db")
    assert report.not_taken == ()
    configure(tmp_path / "db", version="18.1", slice_voxels="refused")
    least = {
        value: where
        for value, where in secret.items()
        if len(value) >= (4 if value.isascii() else 2) and value.casefold() not in _ORDINARY
    }
    return tmp_path / "db", PATIENTS[request.param].patient_id, least


def test_nothing_of_the_patient_is_in_a_recording(
    clinic: tuple[Path, str, dict[str, str]], tmp_path: Path
) -> None:
    db, patient, secret = clinic
    assert len(secret) > 40
    assert any("Kissen" in value for value in secret)
    (tmp_path / "out").mkdir()
    trace = record(db, tmp_path / "out" / "trace.zip", patient=patient)
    assert len(trace.calls) > 400
    assert leaks(tmp_path / "out", secret) == []


def test_nothing_of_the_patient_is_in_one_that_fails(
    clinic: tuple[Path, str, dict[str, str]], tmp_path: Path
) -> None:
    """What was recorded until then is kept; the refusal names the patient to the user alone."""
    db, patient, secret = clinic
    configure(db, locked_patients=[patient])
    (tmp_path / "out").mkdir()
    with pytest.raises(StardustError, match="locked"):
        record(db, tmp_path / "out" / "trace.zip", patient=patient)
    assert len(load(tmp_path / "out" / "trace.zip").calls) > 300
    with pytest.raises(StardustError, match="does not open"):
        record(db, tmp_path / "out" / "other.zip", patient=f"{patient}?")
    assert [call["gives"] for call in load(tmp_path / "out" / "other.zip").calls][-1] is False
    assert leaks(tmp_path / "out", secret) == []


def test_the_search_would_find_a_value(
    clinic: tuple[Path, str, dict[str, str]], tmp_path: Path
) -> None:
    _, _, secret = clinic
    (tmp_path / "out").mkdir()
    for number, value in enumerate(secret):
        line = json.dumps({"gives": f"x {value} y"})
        (tmp_path / "out" / f"{number} {CALLS}").write_text(line, encoding="utf-8")
    assert len({leak.split(": ")[0] for leak in leaks(tmp_path / "out", secret)}) >= len(secret)
