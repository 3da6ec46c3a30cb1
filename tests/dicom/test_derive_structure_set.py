"""What a structure set on an MR holds, as a reader sees it that shares nothing with the product."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from consumer.reader import mask_of, read_image
from dataset_series import (
    FRAME,
    OBLIQUE,
    Ball,
    Block,
    Torus,
    contours,
    grid,
    write_register,
    write_series,
    write_structures,
)
from esapi_stub.sample.dicom import rigid
from stardust_esapi.dataset.pseudonym import Pseudonyms
from stardust_esapi.dicom.deidentify import deidentify
from stardust_esapi.dicom.derive_structure_set import derive_structure_set
from stardust_esapi.dicom.onto_mr import carry
from stardust_esapi.dicom.read_series import read_stack
from stardust_esapi.dicom.read_structure_set import read_structures
from stardust_esapi.dicom.uids import derived_uid
from stardust_esapi.dicom.write_structure_set import write_dataset
from stardust_esapi.errors import CaseError
from stardust_esapi.mask import rasterise

CENTRE = (12.3, -45.6, 78.9)
AWAY = (12.3, -45.6, 110.9)
MR_FRAME = derived_uid("frame of the MR")
MR_TO_CT = rigid((8.0, -12.0, 20.0), (10.0, -15.0, 800.0))
UID = derived_uid("structure set on MR")
BODIES = {
    "target+": Ball(CENTRE, 14.0),
    "gtv+": Ball(CENTRE, 8.3),
    "ring": Torus(CENTRE, 14.0, 4.0, np.eye(3)),
    "away": Block(AWAY, (5.0, 5.0, 2.0), np.eye(3)),
}


def write(folder: Path, frame: str = MR_FRAME) -> tuple[Path, Path]:
    """An oblique MR, its registration unless it shares the frame, and a CT with structures."""
    geometry = grid(spacing=(1.0, 1.2, 2.0), size=(64, 56, 40))
    ct = write_series(folder / "CT", geometry)
    drawn = {name: contours(body, geometry) for name, body in BODIES.items()}
    write_structures(folder / "CT", ct, drawn)
    centre = np.array(CENTRE)
    if frame != FRAME:
        centre = np.linalg.solve(MR_TO_CT, (*CENTRE, 1.0))[:3]
    shape = grid(OBLIQUE, (1.3, 0.9, 3.0), (34, 48, 11), tuple(centre.tolist()))
    write_series(folder / "MR", shape, modality="MR", name="MR", frame=frame)
    if frame != FRAME:
        write_register(folder / "MR", MR_TO_CT, frame, FRAME)
    return folder / "MR", folder / "CT"


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write(tmp_path_factory.mktemp("series"))


def derived(mr: Path, ct: Path, out: Path) -> pydicom.Dataset:
    return pydicom.dcmread(write_dataset(derive_structure_set(mr, ct, UID)[0], out))


def masks(structure_set: pydicom.Dataset, folder: Path) -> dict[str, np.ndarray]:
    image = read_image(folder)
    names = {roi.ROINumber: roi.ROIName for roi in structure_set.StructureSetROISequence}
    return {
        names[roi.ReferencedROINumber]: mask_of(roi, image)
        for roi in structure_set.ROIContourSequence
    }


@pytest.mark.parametrize("frame", [MR_FRAME, FRAME])
def test_another_reader_comes_to_the_masks_of_the_dataset(frame: str, tmp_path: Path) -> None:
    mr_folder, ct_folder = write(tmp_path, frame)
    found = masks(derived(mr_folder, ct_folder, tmp_path), mr_folder)
    assert list(found) == ["target+", "gtv+", "ring"]
    mr, ct = read_stack(mr_folder), read_stack(ct_folder)
    way = MR_TO_CT if frame == MR_FRAME else np.eye(4)
    for roi in read_structures(next(ct_folder.glob("RS*.dcm"))).rois[:3]:
        expected = carry(rasterise(roi.contours, ct), ct, mr, way).full(mr.shape)
        np.testing.assert_array_equal(found[roi.name], expected)
        assert expected.sum() > 300


def test_it_says_what_it_is(series: tuple[Path, Path], tmp_path: Path) -> None:
    mr_folder, ct_folder = series
    dataset, lacking = derive_structure_set(mr_folder, ct_folder, UID)
    assert lacking == ("away",)
    path = write_dataset(dataset, tmp_path)
    read = pydicom.dcmread(path)
    image = pydicom.dcmread(next(mr_folder.glob("MR*.dcm")))
    [drawn] = [pydicom.dcmread(one) for one in ct_folder.glob("RS*.dcm")]
    assert path.name == f"RS.{UID}.dcm"
    assert (read.SOPInstanceUID, read.StructureSetLabel) == (UID, "DERIVED ON MR")
    assert read.SeriesInstanceUID not in {UID, image.SeriesInstanceUID, drawn.SeriesInstanceUID}
    assert read.ApprovalStatus == "UNAPPROVED"
    for words in ("Derived by stardust-esapi", drawn.SOPInstanceUID, "Not for clinical use"):
        assert words in read.StructureSetDescription
    [predecessor] = read.PredecessorStructureSetSequence
    assert predecessor.ReferencedSOPInstanceUID == drawn.SOPInstanceUID
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert read[keyword].value == image[keyword].value
    # In a de-identified copy too.
    pseudonyms = Pseudonyms(bytes(32))
    deidentify(copied := pydicom.dcmread(path), "somebody", "0815", pseudonyms)
    [predecessor] = copied.PredecessorStructureSetSequence
    assert predecessor.ReferencedSOPInstanceUID == pseudonyms.uid(drawn.SOPInstanceUID)
    [frame] = read.ReferencedFrameOfReferenceSequence
    [of_mr] = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert of_mr.SeriesInstanceUID == image.SeriesInstanceUID
    assert len(of_mr.ContourImageSequence) == 11


def test_the_same_files_give_the_same_bytes(series: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    one, other = (
        write_dataset(derive_structure_set(*series, UID)[0], folder)
        for folder in (tmp_path, tmp_path / "again")
    )
    assert one.read_bytes() == other.read_bytes()


def test_whose_it_is_stands_there_in_the_words_of_the_images(tmp_path: Path) -> None:
    mr_folder, ct_folder = write(tmp_path)
    for path in mr_folder.glob("MR*.dcm"):
        image = pydicom.dcmread(path)
        image.SpecificCharacterSet = "ISO_IR 100"
        image.PatientName = "Geheim-Öz^Gerda^Änne^Dr.^jr."
        image.IssuerOfPatientID = "Klinik Süd"
        image.PatientBirthDate = "19510203"
        image.save_as(path)
    read = derived(mr_folder, ct_folder, tmp_path)
    assert read.SpecificCharacterSet == "ISO_IR 192"
    assert read.PatientName == "Geheim-Öz^Gerda^Änne^Dr.^jr."
    assert (read.IssuerOfPatientID, read.PatientBirthDate) == ("Klinik Süd", "19510203")


def test_colour_type_and_number_are_those_of_the_ct(tmp_path: Path) -> None:
    mr_folder, ct_folder = write(tmp_path)
    [path] = ct_folder.glob("RS*.dcm")
    dataset = pydicom.dcmread(path)
    dataset.ROIContourSequence[0].ROIDisplayColor = [1, 2, 3]
    del dataset.ROIContourSequence[1].ROIDisplayColor
    dataset.RTROIObservationsSequence[1].RTROIInterpretedType = "GTV"
    dataset.save_as(path)
    read = derived(mr_folder, ct_folder, tmp_path)
    assert [roi.ROINumber for roi in read.StructureSetROISequence] == [1, 2, 3]
    assert [list(roi.ROIDisplayColor) for roi in read.ROIContourSequence] == [
        [1, 2, 3],
        [255, 255, 0],
        [255, 0, 0],
    ]
    types = [one.RTROIInterpretedType for one in read.RTROIObservationsSequence]
    assert types == ["ORGAN", "GTV", "ORGAN"]


def unregistered(mr: Path, ct: Path) -> None:
    next(mr.glob("RE*.dcm")).unlink()


def elsewhere(mr: Path, ct: Path) -> None:
    away = np.eye(4)
    away[0, 3] = 5000.0
    write_register(mr, away, MR_FRAME, FRAME)


def damaged(mr: Path, ct: Path) -> None:
    min(mr.glob("MR*.dcm")).write_bytes(b"no DICOM")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (unregistered, "there is no registration"),
        (elsewhere, "it shows none of the structures"),
        (damaged, "an image is damaged"),
        (lambda mr, ct: [path.unlink() for path in mr.glob("MR*.dcm")], "there are no images"),
        (lambda mr, ct: [path.unlink() for path in ct.glob("RS*.dcm")], "there is no structure"),
    ],
)
def test_where_it_cannot_be_derived_a_sentence_says_why(
    change: Callable[[Path, Path], None], why: str, tmp_path: Path
) -> None:
    mr_folder, ct_folder = write(tmp_path)
    change(mr_folder, ct_folder)
    with pytest.raises(CaseError, match=why) as error:
        derive_structure_set(mr_folder, ct_folder, UID)
    assert str(tmp_path) not in str(error.value)
