from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from consumer.segmentation import read_segmentation
from dataset_series import FEET_FIRST, OBLIQUE, PATIENT, grid, write_series
from stardust_esapi.dataset.pseudonym import Pseudonyms
from stardust_esapi.dicom.deidentify import copy_deidentified
from stardust_esapi.dicom.read_series import Stack, read_stack
from stardust_esapi.dicom.write_segmentation import write_segmentation
from stardust_esapi.errors import CaseError
from stardust_esapi.geometry import ImageGeometry

PSEUDONYMS = Pseudonyms(b"k" * 32)
NAMES = ("gtv+", "target+", "Herz Ä_pos+")
GEOMETRY = grid(OBLIQUE, (0.8, 1.3, 2.7), (11, 7, 5))


def copied(folder: Path, geometry: ImageGeometry) -> Stack:
    """The slices of a series, and its de-identified copy in ``folder``."""
    source = folder.with_name("source")
    write_series(source, geometry)
    copy_deidentified(source, folder, PATIENT.patient_id, PSEUDONYMS)
    return read_stack(source)


def write(folder: Path, stack: Stack, labels: np.ndarray, names: tuple[str, ...] = NAMES) -> Path:
    uids = [PSEUDONYMS.uid(uid) for uid in stack.sop_instance_uids]
    return write_segmentation(folder, "CT", uids, labels, names)


def some_labels(stack: Stack) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, stack.shape).astype(np.uint8)


@pytest.mark.parametrize("axes", [FEET_FIRST, OBLIQUE])
def test_segments_lie_where_the_labels_are(axes, tmp_path: Path):
    geometry = grid(axes, (0.8, 1.3, 2.7), (11, 7, 5))
    stack = copied(tmp_path / "copy", geometry)
    labels = some_labels(stack)
    path = write(tmp_path / "copy", stack, labels)
    read = read_segmentation(tmp_path / "copy")
    assert read.path == path
    assert path.name == f"SG.{pydicom.dcmread(path).SOPInstanceUID}.dcm"
    np.testing.assert_array_equal(read.labels, labels)
    there = read.affine @ (10, 6, 4, 1)
    np.testing.assert_allclose(there[:3], stack.geometry.to_patient((10, 6, 4)), atol=1e-3)


def test_a_segment_says_what_it_is(tmp_path: Path):
    stack = copied(tmp_path / "copy", GEOMETRY)
    write(tmp_path / "copy", stack, some_labels(stack))
    segments = read_segmentation(tmp_path / "copy").segments
    assert [(one.number, one.label) for one in segments] == list(enumerate(NAMES, start=1))
    # PS3.16: RT Target with GTV and PTV; Tissue.
    assert [(one.category, one.property) for one in segments] == [
        ("DCM 130041", "SCT 228791009"),
        ("DCM 130041", "SCT 228793007"),
        ("SCT 85756007", "SCT 85756007"),
    ]


def test_a_label_without_a_voxel_keeps_its_number(tmp_path: Path):
    stack = copied(tmp_path / "copy", GEOMETRY)
    labels = np.where(some_labels(stack) == 3, 3, 0).astype(np.uint8)
    write(tmp_path / "copy", stack, labels, (*NAMES[:2], "n" * 70))
    read = read_segmentation(tmp_path / "copy")
    np.testing.assert_array_equal(read.labels, labels)
    assert [one.label for one in read.segments] == [*NAMES[:2], "n" * 64]


def test_the_same_labels_give_the_same_bytes_and_others_another_uid(tmp_path: Path):
    stack = copied(tmp_path / "copy", GEOMETRY)
    labels = some_labels(stack)
    path = write(tmp_path / "copy", stack, labels)
    first = path.read_bytes()
    assert write(tmp_path / "copy", stack, labels) == path
    assert path.read_bytes() == first
    labels[0, 0, 0] = (labels[0, 0, 0] + 1) % 4
    assert write(tmp_path / "copy", stack, labels) != path


def test_images_of_which_little_is_known(tmp_path: Path):
    """Archives have left out what PS3.3 wants of every image; last digits differ."""
    stack = copied(tmp_path / "copy", GEOMETRY)
    for number, path in enumerate(sorted((tmp_path / "copy").iterdir())):
        image = pydicom.dcmread(path)
        for keyword in ("StudyDate", "StudyTime", "StudyID", "PatientSex", "SliceThickness"):
            del image[keyword]
        turned = [round(cosine + number * 1e-6, 6) for cosine in image.ImageOrientationPatient]
        image.ImageOrientationPatient = turned
        image.save_as(path)
    labels = some_labels(stack)
    path = write(tmp_path / "copy", stack, labels)
    assert pydicom.dcmread(path).StudyDate == ""
    np.testing.assert_array_equal(read_segmentation(tmp_path / "copy").labels, labels)


def test_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(CaseError, match=r"stardust-esapi\[seg\]"):
        write_segmentation(tmp_path, "CT", [], np.zeros((0, 0, 0), np.uint8), NAMES)
