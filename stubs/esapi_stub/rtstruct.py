"""Read RT Structure Sets into structures, and write them (PS3.3 A.19, C.8.8.5 to C.8.8.8)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage
from pydicom.valuerep import format_number_as_ds

from esapi_stub.grid import FloatArray, Grid
from esapi_stub.records import SeriesRecord, StructureSetRecord, derived_uid, unique
from esapi_stub.system import DateTime

WHITE = (255, 255, 255)
_CONTOUR_DATA = Tag(0x3006, 0x0050)
_LONGEST_DS = 16
# Contours of one plane that was drawn once lie this close together, in plane distances.
_SAME_LEVEL = 0.01
# Study Component Management (retired): what Eclipse writes, and readers expect, in this place.
_STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.2"
_PATIENT_AND_STUDY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)


@dataclass(eq=False)
class StructureRecord:
    """One ROI.

    Attributes:
        number: ROI Number.
        id: Its id in ESAPI: the ROI Name, cut to 16 characters and unique in its set.
        name: ROI Name.
        dicom_type: RT ROI Interpreted Type; may be empty.
        color: Red, green, blue.
        comment: ROI Description.
        contours: Plane index to closed contours, (n, 3), mm, as in the file.
        high_resolution: Whether it is a high-resolution structure.
        off_plane: How many closed contours lie on no plane of the image and are not seen.
        redrawn: Whether contours were changed since the file was read.
        removed: Whether it was taken out of its set.
    """

    number: int
    id: str
    name: str
    dicom_type: str
    color: tuple[int, int, int] = WHITE
    comment: str = ""
    contours: dict[int, list[FloatArray]] = field(default_factory=dict)
    high_resolution: bool = False
    off_plane: int = 0
    redrawn: bool = False
    removed: bool = False


def read(path: Path, series: SeriesRecord) -> list[StructureRecord]:
    """Read the structures of an RT Structure Set, with their contours on the planes of its image.

    A contour belongs to the nearest plane, within half a plane distance; where contours of
    several heights are nearest to one plane, those of the nearest height do.

    Args:
        path: The file.
        series: The series that the structure set lies on.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on values that it reads nevertheless
        dataset = dcmread(path)
        drawn, observed = _by_number(dataset)
        structures: list[StructureRecord] = []
        for roi in dataset.get("StructureSetROISequence", []):
            contours = drawn.get(roi.ROINumber, Dataset())
            observation = observed.get(roi.ROINumber, Dataset())
            name = str(roi.get("ROIName", ""))
            structure = StructureRecord(
                number=int(roi.ROINumber),
                id=unique(name, "Structure", [s.id for s in structures]),
                name=name,
                dicom_type=str(observation.get("RTROIInterpretedType") or ""),
                color=_color(contours.get("ROIDisplayColor")),
                comment=str(roi.get("ROIDescription") or ""),
            )
            frame = roi.get("ReferencedFrameOfReferenceUID", series.frame_of_reference_uid)
            assert series.grid is not None
            _place(
                structure,
                [_points(item) for item in contours.get("ContourSequence", []) if _closed(item)],
                series.grid if frame == series.frame_of_reference_uid else None,
            )
            structures.append(structure)
    return structures


def write(
    structure_set: StructureSetRecord,
    structures: Sequence[StructureRecord],
    series: SeriesRecord,
    folder: Path,
    moment: DateTime,
) -> bytes:
    """Make the RT Structure Set file of a structure set.

    What the set's file already holds and nobody changed is kept as it is; a new set takes patient
    and study from the images.

    Args:
        structure_set: The set; ``file`` names the file it was last saved in, if any.
        structures: Its structures.
        series: The series it lies on.
        folder: Folder of the patient's files.
        moment: The time to write into it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset: Dataset
        if structure_set.file:
            dataset = dcmread(folder / structure_set.file)
        else:
            dataset = _new(structure_set, series, dcmread(folder / series.slices[0].file))
        dataset.StructureSetLabel = structure_set.id
        dataset.StructureSetDate = moment.ToString("yyyyMMdd")
        dataset.StructureSetTime = moment.ToString("HHmmss")
        rois = {item.ROINumber: item for item in dataset.get("StructureSetROISequence", [])}
        drawn, observed = _by_number(dataset)
        dataset.StructureSetROISequence = [
            _roi(s, rois.get(s.number), series.frame_of_reference_uid) for s in structures
        ]
        dataset.ROIContourSequence = [_drawn(s, drawn.get(s.number), series) for s in structures]
        dataset.RTROIObservationsSequence = [
            _observation(s, observed.get(s.number)) for s in structures
        ]
        meta = FileMetaDataset()
        # Explicit VR would hold no more than 64 kB of points in a contour.
        meta.TransferSyntaxUID = ImplicitVRLittleEndian
        dataset.file_meta = meta
        buffer = BytesIO()
        dcmwrite(buffer, dataset, implicit_vr=True, little_endian=True, enforce_file_format=True)
        return buffer.getvalue()


def _by_number(dataset: Dataset) -> tuple[dict[int, Dataset], dict[int, Dataset]]:
    """The items of ROI Contour and of RT ROI Observations Sequence by ROI Number."""
    drawn = {i.ReferencedROINumber: i for i in dataset.get("ROIContourSequence", [])}
    observed = {i.ReferencedROINumber: i for i in dataset.get("RTROIObservationsSequence", [])}
    return drawn, observed


def _closed(item: Dataset) -> bool:
    return str(item.get("ContourGeometricType")) == "CLOSED_PLANAR"


def _points(item: Dataset) -> FloatArray:
    """Contour Data (3006,0050) as (n, 3), mm; past pydicom's slow conversion where it can."""
    element = item.get_item(_CONTOUR_DATA)
    value = element.value if element is not None else None
    if isinstance(value, bytes):
        value = value.rstrip(b" \0").split(b"\\") if value.strip(b" \0") else None
    return np.array([] if value is None else value, dtype=float).reshape(-1, 3)


def _color(value: Sequence[object] | None) -> tuple[int, int, int]:
    if value is None or len(value) != 3:
        return WHITE
    red, green, blue = (min(255, max(0, int(str(part)))) for part in value)
    return red, green, blue


def _place(structure: StructureRecord, contours: list[FloatArray], grid: Grid | None) -> None:
    """Sort contours by the plane they lie on; count those of none."""
    found: dict[int, list[tuple[float, FloatArray]]] = {}
    for points in contours:
        if grid is None or len(points) < 3:
            structure.off_plane += 1
            continue
        heights = grid.to_index(points)[:, 2]
        height = float(heights.mean())
        plane = min(max(round(height), 0), grid.size[2] - 1)
        if np.abs(heights - plane).max() > 0.5 + _SAME_LEVEL:
            structure.off_plane += 1
        else:
            found.setdefault(plane, []).append((abs(height - plane), points))
    for plane in sorted(found):
        nearest = min(away for away, _ in found[plane])
        kept = [points for away, points in found[plane] if away <= nearest + _SAME_LEVEL]
        structure.contours[plane] = kept
        structure.off_plane += len(found[plane]) - len(kept)


def _new(structure_set: StructureSetRecord, series: SeriesRecord, image: Dataset) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _PATIENT_AND_STUDY:
        value = image.get(keyword)
        setattr(dataset, keyword, "" if value is None else str(value))
    dataset.SOPClassUID = RTStructureSetStorage
    dataset.SOPInstanceUID = structure_set.uid
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesInstanceUID = derived_uid(structure_set.uid, "series")
    dataset.SeriesNumber = None
    dataset.OperatorsName = ""
    dataset.Manufacturer = "esapi_stub"
    dataset.FrameOfReferenceUID = series.frame_of_reference_uid
    dataset.PositionReferenceIndicator = ""
    dataset.InstanceNumber = 1
    dataset.ApprovalStatus = "UNAPPROVED"
    images = Dataset()
    images.SeriesInstanceUID = series.uid
    images.ContourImageSequence = [_reference(series, i) for i in range(len(series.slices))]
    study = Dataset()
    study.ReferencedSOPClassUID = _STUDY_COMPONENT
    study.ReferencedSOPInstanceUID = series.study_uid
    study.RTReferencedSeriesSequence = [images]
    frame = Dataset()
    frame.FrameOfReferenceUID = series.frame_of_reference_uid
    frame.RTReferencedStudySequence = [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    return dataset


def _roi(structure: StructureRecord, item: Dataset | None, frame: str) -> Dataset:
    if item is None:
        item = Dataset()
        item.ROINumber = structure.number
        item.ReferencedFrameOfReferenceUID = frame
        item.ROIGenerationAlgorithm = ""
    item.ROIName = structure.name
    return item


def _drawn(structure: StructureRecord, item: Dataset | None, series: SeriesRecord) -> Dataset:
    if item is None:
        item = Dataset()
        item.ReferencedROINumber = structure.number
    if "ROIDisplayColor" in item or structure.color != WHITE or structure.redrawn:
        item.ROIDisplayColor = list(structure.color)
    if structure.redrawn:
        kept = [c for c in item.get("ContourSequence", []) if not _closed(c)]
        new = [
            _contour(points, series, plane)
            for plane, polygons in sorted(structure.contours.items())
            for points in polygons
        ]
        if kept or new:
            item.ContourSequence = [*kept, *new]
        elif "ContourSequence" in item:
            del item.ContourSequence
    return item


def _observation(structure: StructureRecord, item: Dataset | None) -> Dataset:
    if item is None:
        item = Dataset()
        item.ObservationNumber = structure.number
        item.ReferencedROINumber = structure.number
        item.RTROIInterpretedType = structure.dicom_type
        item.ROIInterpreter = ""
    return item


def _contour(points: FloatArray, series: SeriesRecord, plane: int) -> Dataset:
    item = Dataset()
    item.ContourImageSequence = [_reference(series, plane)]
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(points)
    value = "\\".join(_decimal(number) for number in points.ravel().tolist()).encode()
    value += b" " * (len(value) % 2)
    # As bytes, since pydicom would check every number on its own.
    item[_CONTOUR_DATA] = RawDataElement(_CONTOUR_DATA, "DS", len(value), value, 0, True, True)
    return item


def _decimal(number: float) -> str:
    """Write a DS (PS3.5 6.2): at most 16 characters, so that reading gives the number again."""
    text = repr(number)
    return text if len(text) <= _LONGEST_DS else str(format_number_as_ds(number))


def _reference(series: SeriesRecord, plane: int) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = series.sop_class_uid
    item.ReferencedSOPInstanceUID = series.slices[plane].uid
    return item
