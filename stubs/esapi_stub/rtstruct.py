"""Read RT Structure Sets into structures, and write them (PS3.3 A.19, C.8.8.5 to C.8.8.8)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.datadict import dictionary_description
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage
from pydicom.valuerep import format_number_as_ds

from esapi_stub.grid import FloatArray, Grid
from esapi_stub.records import SeriesRecord, StructureSetRecord, derived_uid, unique
from esapi_stub.system import DateTime

WHITE = (255, 255, 255)
_CONTOUR_DATA = Tag(0x3006, 0x0050)
_DISPLAY_COLOR = Tag(0x3006, 0x002A)
# An outline that encloses; some systems leave the type empty.
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "")
_LONGEST_DS = 16
# Contours of one plane that was drawn once lie this close together, in plane distances.
_SAME_LEVEL = 0.01
# Of the longer of two steps between planes that a structure was drawn on: how far they may differ.
_EVEN = 0.25
_FARTHEST_MM = 1e6
# Of index coordinates, where outlines are compared.
_DIGITS = 3
# Study Component Management (retired): what Eclipse writes, and readers expect, in this place.
_STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.2"
_PATIENT_AND_STUDY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)


class UnusableError(Exception):
    """A structure set cannot be read as it is meant; says which ROI, and why."""


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
        between: How many lie between its planes, over others, of a structure drawn on finer planes.
        again: How many are outlines that are there already.
        pointless: How many have fewer than three points.
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
    between: int = 0
    again: int = 0
    pointless: int = 0
    redrawn: bool = False
    removed: bool = False


def read(path: Path, series: SeriesRecord) -> list[StructureRecord]:
    """Read the structures of an RT Structure Set, with their contours on the planes of its image.

    A contour belongs to the nearest plane, within half a plane distance. Of a structure that was
    drawn on finer planes, the nearest height counts; an outline that is stored again counts once.

    Args:
        path: The file.
        series: The series that the structure set lies on.

    Raises:
        UnusableError: A number cannot be read, or it is not said whose contours some are.
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
            items = contours.get("ContourSequence") or []
            try:
                points = [points_of(item) for item in items if _closed(item)]
            except ValueError as error:
                raise UnusableError(f"ROI {name!r}: {error}") from None
            structure = StructureRecord(
                number=int(roi.ROINumber),
                id=unique(name, "Structure", [s.id for s in structures]),
                name=name,
                dicom_type=str(observation.get("RTROIInterpretedType") or ""),
                color=_color(contours),
                comment=str(roi.get("ROIDescription") or ""),
            )
            frame = roi.get("ReferencedFrameOfReferenceUID", series.frame_of_reference_uid)
            assert series.grid is not None
            _place(
                structure,
                points,
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
    """The items of ROI Contour and of RT ROI Observations Sequence by ROI Number.

    Raises:
        UnusableError: It is not said whose contours some are.
    """
    drawn: dict[int, Dataset] = {}
    for item in dataset.get("ROIContourSequence") or []:
        if "ReferencedROINumber" in item:
            drawn[item.ReferencedROINumber] = item
        elif item.get("ContourSequence"):
            raise UnusableError("contours without a Referenced ROI Number")
    observed = {
        item.ReferencedROINumber: item
        for item in dataset.get("RTROIObservationsSequence") or []
        if "ReferencedROINumber" in item
    }
    return drawn, observed


def _closed(item: Dataset) -> bool:
    return str(item.get("ContourGeometricType") or "") in _CLOSED


def points_of(item: Dataset) -> FloatArray:
    """Contour Data (3006,0050) as (n, 3), mm.

    Raises:
        ValueError: A number is none, or they are no points.
    """
    values = _numbers(item, _CONTOUR_DATA)
    if values.size % 3:
        raise ValueError(f"{values.size} coordinates in a contour are no points of three")
    if (np.abs(values) > _FARTHEST_MM).any():
        raise ValueError("a contour lies at no place in a patient")
    return values.reshape(-1, 3)


def _numbers(item: Dataset, tag: BaseTag) -> FloatArray:
    """A Decimal or Integer String as it is written, past pydicom's slow and stricter conversion.

    Raises:
        ValueError: One of its values is no number.
    """
    element = item.get_item(tag) if tag in item else None
    value = element.value if element is not None else None
    if isinstance(value, bytes):
        value = value.rstrip(b" \0").split(b"\\") if value.strip(b" \0") else None
    if value is None or value == "":
        return np.array([])
    try:
        numbers = np.atleast_1d(np.array(value, dtype=float))
    except (TypeError, ValueError):
        numbers = np.array([np.nan])
    if not np.isfinite(numbers).all():
        raise ValueError(f"{dictionary_description(tag)} holds what is no number")
    return numbers


def _color(item: Dataset) -> tuple[int, int, int]:
    """ROI Display Color (3006,002A); white where it says none."""
    try:
        red, green, blue = (round(part) for part in np.clip(_numbers(item, _DISPLAY_COLOR), 0, 255))
    except ValueError:
        return WHITE
    return red, green, blue


def _place(structure: StructureRecord, contours: list[FloatArray], grid: Grid | None) -> None:
    """Sort contours by the plane they lie on; count those that are not seen."""
    found: dict[int, list[tuple[float, FloatArray, FloatArray]]] = {}
    for points in contours:
        if len(points) < 3:
            structure.pointless += 1
            continue
        if grid is None:
            structure.off_plane += 1
            continue
        index = grid.to_index(points)
        height = float(index[:, 2].mean())
        plane = min(max(round(height), 0), grid.size[2] - 1)
        if np.abs(index[:, 2] - plane).max() > 0.5 + _SAME_LEVEL:
            structure.off_plane += 1
        else:
            found.setdefault(plane, []).append((height, index[:, :2], points))
    finer = _finer(sorted(height for drawn in found.values() for height, _, _ in drawn))
    for plane in sorted(found):
        drawn = sorted(found[plane], key=lambda one: round(abs(one[0] - plane), 4))
        nearest = [one for one in drawn if abs(one[0] - drawn[0][0]) <= _SAME_LEVEL]
        outlines: set[frozenset[tuple[float, ...]]] = set()
        for height, flat, points in drawn:
            is_nearest = abs(height - drawn[0][0]) <= _SAME_LEVEL
            outline = frozenset(map(tuple, flat.round(_DIGITS).tolist()))
            if height in finer and not is_nearest and any(_over(flat, one[1]) for one in nearest):
                structure.between += 1
            elif outline in outlines:
                structure.again += 1
            else:
                outlines.add(outline)
                structure.contours.setdefault(plane, []).append(points)


def _finer(heights: list[float]) -> set[float]:
    """Those of rising heights, in plane distances, that are of planes finer than the image's.

    Three in a row at even steps of less than a plane distance are; contours that were only moved
    off their planes make no such row.
    """
    levels: list[list[float]] = []
    for height in heights:
        if levels and height - levels[-1][-1] <= _SAME_LEVEL:
            levels[-1].append(height)
        else:
            levels.append([height])
    finer: set[float] = set()
    for row in zip(levels, levels[1:], levels[2:], strict=False):
        one, two = row[1][0] - row[0][-1], row[2][0] - row[1][-1]
        longer = max(one, two)
        if longer < 1 - _SAME_LEVEL and abs(one - two) <= _EVEN * longer:
            finer.update(height for level in row for height in level)
    return finer


def _over(one: FloatArray, other: FloatArray) -> bool:
    """Whether the bounding boxes of two polygons (n, 2) overlap."""
    return bool((one.min(axis=0) <= other.max(axis=0)).all()) and bool(
        (other.min(axis=0) <= one.max(axis=0)).all()
    )


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
