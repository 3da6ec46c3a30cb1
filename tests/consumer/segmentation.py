"""A reader of DICOM segmentations for tests: what does a program make of one that lies in a folder?

Made from PS3.3 C.8.20 and PS3.5 8.1.1, with pydicom as a parser alone. It shares no code with
stardust_esapi, nor with the library that writes the segmentations.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


@dataclass(frozen=True)
class Segment:
    """One item of the Segment Sequence."""

    number: int
    label: str
    category: str
    property: str
    """Code values with their schemes, such as ``SCT 85756007``."""


@dataclass(frozen=True)
class Segmentation:
    """A BINARY segmentation of the images of a folder."""

    path: Path
    segments: tuple[Segment, ...]
    labels: NDArray[np.uint8]
    """Number of the segment of each voxel: as many planes as there are images, by their positions
    along the normal, and their rows and columns; 0 for none."""
    affine: NDArray[np.float64]
    """Column, row, plane to the patient's frame, mm: 4 x 4."""


def read_segmentation(folder: Path) -> Segmentation:
    """The one segmentation in a folder, on the grid of the images that it refers to."""
    headers = {path: pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))}
    ((path, found),) = ((p, d) for p, d in headers.items() if d.SOPClassUID == SEGMENTATION)
    images = {d.SOPInstanceUID: d for d in headers.values() if "ImagePositionPatient" in d}
    [series] = found.ReferencedSeriesSequence
    named = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
    assert named == set(images), "it refers to other images than those beside it"
    for image in images.values():
        for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
            assert found[keyword].value == image[keyword].value, keyword
        assert series.SeriesInstanceUID == image.SeriesInstanceUID != found.SeriesInstanceUID

    [shared] = found.SharedFunctionalGroupsSequence
    across = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    normal = np.cross(across[:3], across[3:])
    order = sorted(images, key=lambda uid: normal @ _place(images[uid]))
    places = np.array([_place(images[uid]) for uid in order])

    assert (found.SegmentationType, found.BitsAllocated) == ("BINARY", 1)
    shape = int(found.NumberOfFrames), int(found.Rows), int(found.Columns)
    bits = np.unpackbits(np.frombuffer(found.PixelData, np.uint8), bitorder="little")
    frames = bits[: np.prod(shape)].reshape(shape).astype(bool)
    labels = np.zeros((len(order), *shape[1:]), np.uint8)
    for frame, about in zip(frames, found.PerFrameFunctionalGroupsSequence, strict=True):
        plane = np.linalg.norm(places - _place(about.PlanePositionSequence[0]), axis=1)
        [source] = about.DerivationImageSequence[0].SourceImageSequence
        assert plane.min() < 1e-3
        assert order[plane.argmin()] == source.ReferencedSOPInstanceUID
        assert not labels[plane.argmin()][frame].any(), "two segments share a voxel"
        [segment] = about.SegmentIdentificationSequence
        labels[plane.argmin()][frame] = segment.ReferencedSegmentNumber

    down, right = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3] = np.column_stack(
        [across[:3] * right, across[3:] * down, places[1] - places[0], places[0]]
    )
    return Segmentation(path, tuple(map(_segment, found.SegmentSequence)), labels, affine)


def _place(item: Dataset) -> NDArray[np.float64]:
    return np.array(item.ImagePositionPatient, float)


def _segment(item: Dataset) -> Segment:
    [category], [kind] = (
        item.SegmentedPropertyCategoryCodeSequence,
        item.SegmentedPropertyTypeCodeSequence,
    )
    return Segment(
        int(item.SegmentNumber),
        str(item.SegmentLabel),
        *(f"{code.CodingSchemeDesignator} {code.CodeValue}" for code in (category, kind)),
    )
