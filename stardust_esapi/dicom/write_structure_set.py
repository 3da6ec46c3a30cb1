"""Write an RT Structure Set (PS3.3 A.19)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from stardust_esapi.dicom.elements import (
    naming,
    new_dataset,
    put,
    put_moment,
    put_own_series,
    reference,
    write_file,
)
from stardust_esapi.dicom.source import RoiSource, StructureSetSource
from stardust_esapi.errors import TransferError
from stardust_esapi.geometry import FloatArray

# Retired, but what RT Referenced Study Sequence has always named (PS3.3 C.8.8.5.4).
_DETACHED_STUDY_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"

# 0.0001 mm: a hundredth of what is asked, and ten characters a number at most.
_CONTOUR_DECIMALS = 4
# No patient reaches so far, and each number stays within the 16 characters of a DS.
_FARTHEST_MM = 1e6


def write_structure_set(source: StructureSetSource, folder: Path) -> Path:
    """Write a structure set as ``RS.<SOP Instance UID>.dcm``.

    Args:
        source: The structure set.
        folder: An existing folder.

    Returns:
        The file.

    Raises:
        TransferError: The structure set cannot be written as it is.
    """
    with naming(f"Patient {source.patient.patient_id}, structure set {source.label}"):
        return write_dataset(structure_set_dataset(source), folder)


def structure_set_dataset(source: StructureSetSource) -> Dataset:
    """A structure set as it is written.

    Raises:
        TransferError: It cannot be written as it is.
    """
    dataset = new_dataset(source.patient, source.study, RTStructureSetStorage)

    # RT Series and Frame of Reference Modules: C.8.8.1, C.7.4.1
    put_own_series(
        dataset,
        "RTSTRUCT",
        sop_instance_uid=source.sop_instance_uid,
        series_uid=source.series_uid,
        frame_of_reference_uid=source.frame_of_reference_uid,
    )
    dataset.OperatorsName = ""

    # Structure Set, ROI Contour and RT ROI Observations Modules: C.8.8.5, C.8.8.6, C.8.8.8
    put(dataset, StructureSetLabel=source.label)
    put_moment(dataset, "StructureSet", source.created)
    dataset.ReferencedFrameOfReferenceSequence = [_frame_of_reference(source)]
    dataset.StructureSetROISequence = []
    dataset.ROIContourSequence = []
    dataset.RTROIObservationsSequence = []
    images = [
        reference(source.images.sop_class_uid, uid) for uid in source.images.sop_instance_uids
    ]
    numbers = set()
    for roi in source.rois:
        numbers.add(roi.number)
        dataset.StructureSetROISequence.append(_structure(roi, source.frame_of_reference_uid))
        dataset.ROIContourSequence.append(_roi_contour(roi, images))
        dataset.RTROIObservationsSequence.append(_observation(roi))
    if len(numbers) < len(dataset.StructureSetROISequence):
        raise TransferError(
            "two structures have the same ROI number. "
            "Correct them in Eclipse, then export the case again."
        )
    if not numbers:
        raise TransferError("it has no structures. Prepare the case again.")

    return dataset


def write_dataset(dataset: Dataset, folder: Path) -> Path:
    """Write the dataset of a structure set as ``RS.<SOP Instance UID>.dcm``.

    Raises:
        TransferError: The file cannot be written.
    """
    path = folder / f"RS.{dataset.SOPInstanceUID}.dcm"
    # With explicit VR, Contour Data ends at 65,534 bytes (PS3.5 7.1.2): 2,000 points or so.
    write_file(dataset, path, ImplicitVRLittleEndian)
    return path


def _frame_of_reference(source: StructureSetSource) -> Dataset:
    """The images that the structures were drawn on, whether they carry a contour or not."""
    series = Dataset()
    put(series, SeriesInstanceUID=source.images.series_uid)
    series.ContourImageSequence = [
        reference(source.images.sop_class_uid, uid) for uid in source.images.sop_instance_uids
    ]
    study = reference(_DETACHED_STUDY_MANAGEMENT, source.images.study_uid)
    study.RTReferencedSeriesSequence = [series]
    item = Dataset()
    put(item, FrameOfReferenceUID=source.frame_of_reference_uid)
    item.RTReferencedStudySequence = [study]
    return item


def _structure(roi: RoiSource, frame_of_reference_uid: str) -> Dataset:
    item = Dataset()
    item.ROINumber = roi.number
    item.ReferencedFrameOfReferenceUID = frame_of_reference_uid
    put(item, ROIName=roi.name)
    item.ROIGenerationAlgorithm = ""  # ESAPI does not tell
    return item


def _roi_contour(roi: RoiSource, images: list[Dataset]) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber = roi.number
    item.ROIDisplayColor = list(roi.color)
    contours = list(_contours(roi, images))
    if contours:
        item.ContourSequence = contours
    return item


def _contours(roi: RoiSource, images: list[Dataset]) -> Iterator[Dataset]:
    for plane, polygons in sorted(roi.contours.items()):
        if not 0 <= plane < len(images):
            raise TransferError(
                f"structure {roi.name} has a contour on plane {plane} of an "
                f"image of {len(images)} planes. Check the structure in Eclipse."
            )
        for points in polygons:
            if (
                points.ndim != 2
                or points.shape[1] != 3
                or not (np.abs(points) < _FARTHEST_MM).all()
            ):
                raise TransferError(
                    f"structure {roi.name} has a contour on plane {plane} that "
                    "is not a list of points (x, y, z) in the patient, in mm. Check the structure "
                    "in Eclipse."
                )
            if len(points):
                yield _contour(points, images[plane])


def _contour(points: FloatArray, image: Dataset) -> Dataset:
    """One polygon. Holes are polygons inside others, as Eclipse itself exports them."""
    item = Dataset()
    item.ContourImageSequence = [image]
    item.ContourGeometricType = "CLOSED_PLANAR" if len(points) > 1 else "POINT"
    item.NumberOfContourPoints = len(points)
    # Adding zero turns -0.0 into 0.0. As Decimal String objects of pydicom, the points of a whole
    # structure set would take ten times as long.
    values = (np.round(points, _CONTOUR_DECIMALS) + 0.0).ravel().tolist()
    item.add(DataElement("ContourData", "DS", values, already_converted=True))
    return item


def _observation(roi: RoiSource) -> Dataset:
    item = Dataset()
    item.ObservationNumber = roi.number
    item.ReferencedROINumber = roi.number
    put(item, RTROIInterpretedType=roi.interpreted_type)
    item.ROIInterpreter = ""
    return item
