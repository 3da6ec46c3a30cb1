"""Phantoms: simple bodies in patient space, imaged on any grid, contoured exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from esapi_stub.sample.dicom import (
    DATE,
    HFS,
    SOP_CLASSES,
    TIME,
    Anatomy,
    FloatArray,
    Grid,
    PatientUids,
    Vector,
    add_noise,
    centred_grid,
    derived_uid,
    dose,
    ds,
    image_header,
    mr_signal,
    paint,
    registration,
    rigid,
    save,
    series_header,
    transform,
    write_images,
)

# Rows and columns as a scanner sends them for each Patient Position (0018,5100).
ORIENTATIONS = {
    "HFS": HFS,
    "HFP": (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
    "FFS": (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "FFP": (1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
}
AIR = -1000
ENHANCEMENT = 60


class Shape(Protocol):
    """A body in patient space."""

    def contains(self, points: FloatArray) -> NDArray[np.bool_]:
        """Which of (…, 3) points, mm, lie inside; shape (…)."""

    def contours(self, grid: Grid, plane: int) -> list[FloatArray]:
        """Polygons (n, 3), mm, of the section with a plane of the grid; holes are polygons too."""


@dataclass(frozen=True)
class Sphere:
    """A ball, or with ``hole`` a shell: its sections are then rings of two polygons.

    Attributes:
        centre: Patient coordinates, mm.
        radius: mm.
        hole: Radius of the concentric hollow, mm.
    """

    centre: Vector
    radius: float
    hole: float = 0.0

    @property
    def volume(self) -> float:
        """Volume, cm³."""
        return 4 / 3 * np.pi * (self.radius**3 - self.hole**3) / 1000

    def contains(self, points: FloatArray) -> NDArray[np.bool_]:
        """Which points lie inside."""
        distance = np.linalg.norm(points - np.asarray(self.centre), axis=-1)
        return np.asarray((distance <= self.radius) & (distance >= self.hole))

    def contours(self, grid: Grid, plane: int) -> list[FloatArray]:
        """Circles; their vertices lie on the sphere, not more than about 1 mm apart."""
        x, y, normal = grid.axes
        height = float((np.asarray(self.centre) - grid.position(plane)) @ normal)
        middle = np.asarray(self.centre) - height * normal
        circles = []
        for radius in (self.radius, self.hole):
            if abs(height) >= radius:
                continue
            r = np.sqrt(radius**2 - height**2)
            angle = np.linspace(0, 2 * np.pi, max(16, int(2 * np.pi * r)), endpoint=False)
            circles.append(middle + r * (np.outer(np.cos(angle), x) + np.outer(np.sin(angle), y)))
        return circles


@dataclass(frozen=True)
class Box:
    """A box along the patient axes.

    Attributes:
        centre: Patient coordinates, mm.
        half: Half its extent along x, y, z, mm.
    """

    centre: Vector
    half: Vector

    def contains(self, points: FloatArray) -> NDArray[np.bool_]:
        """Which points lie inside."""
        inside = np.abs(points - np.asarray(self.centre)) <= np.asarray(self.half)
        return np.asarray(inside.all(axis=-1))

    def contours(self, grid: Grid, plane: int) -> list[FloatArray]:
        """The convex polygon through the edges that the plane cuts."""
        x, y, normal = grid.axes
        cuts = []
        for axis in range(3):
            for one in (-1, 1):
                for two in (-1, 1):
                    end = np.roll((1.0, one, two), axis) * self.half + self.centre
                    start = np.roll((-1.0, one, two), axis) * self.half + self.centre
                    rise = (end - start) @ normal
                    height = (grid.position(plane) - start) @ normal
                    if abs(rise) > 1e-9 and 0 <= height / rise < 1:
                        cuts.append(start + (end - start) * (height / rise))
        if len(cuts) < 3:
            return []
        around = np.array(cuts) - np.mean(cuts, axis=0)
        return [np.array(cuts)[np.argsort(np.arctan2(around @ y, around @ x))]]


@dataclass(frozen=True)
class Empty:
    """A structure that was named and never drawn."""

    def contains(self, points: FloatArray) -> NDArray[np.bool_]:
        """No point lies inside."""
        return np.zeros(points.shape[:-1], dtype=bool)

    def contours(self, grid: Grid, plane: int) -> list[FloatArray]:  # noqa: ARG002
        """None."""
        return []


@dataclass(frozen=True)
class Point(Empty):
    """A point, written on the nearest plane (Contour Geometric Type POINT).

    Attributes:
        position: Patient coordinates, mm.
    """

    position: Vector

    def contours(self, grid: Grid, plane: int) -> list[FloatArray]:
        """The point, on the plane that is nearest."""
        nearest = grid.to_index(np.asarray(self.position))[2].round()
        return [np.array([self.position])] if nearest == plane else []


@dataclass(frozen=True)
class PhantomStructure:
    """One ROI.

    Attributes:
        id: ROI Name (3006,0026).
        dicom_type: RT ROI Interpreted Type (3006,00A4).
        shape: Where it lies.
        colour: ROI Display Color (3006,002A), RGB.
        hu: What it looks like on CT, HU; None leaves the image alone. Later structures lie over
            earlier ones.
    """

    id: str
    dicom_type: str
    shape: Shape
    colour: tuple[int, int, int] = (255, 255, 0)
    hu: int | None = None


def default_structures() -> tuple[PhantomStructure, ...]:
    """A body with a tumour, its margin, a lung and what the structure rules leave out."""
    tumour = (-20.0, 10.0, 3.0)
    return (
        PhantomStructure("BODY", "EXTERNAL", Box((0, 0, 0), (60, 50, 45)), (0, 255, 0), hu=40),
        PhantomStructure("GTV1", "GTV", Sphere(tumour, 9), (255, 0, 0), hu=75),
        PhantomStructure("PTV1", "PTV", Sphere(tumour, 14), (0, 0, 255)),
        PhantomStructure("Lung L OAR", "ORGAN", Sphere((32, -8, -4), 18), (0, 200, 255), hu=-750),
        PhantomStructure("zHelp", "CONTROL", Box(tumour, (20, 20, 12)), (128, 128, 128)),
        PhantomStructure("PRV Cord", "AVOIDANCE", Box((0, 35, 0), (8, 8, 45)), (255, 128, 0)),
        PhantomStructure("Cavity", "CAVITY", Empty(), (255, 0, 255)),
        PhantomStructure("Marker", "MARKER", Point(tumour), (255, 255, 255)),
    )


@dataclass(frozen=True)
class PhantomContrast:
    """A contrast CT on planes parallel to the planning CT's, the GTVs enhanced.

    Attributes:
        own_frame_of_reference: Whether it has another Frame of Reference than the planning CT.
        slices: Number of planes; their spacing is the planning CT's.
        offset: From the planning CT's first plane to the contrast CT's, along the normal, mm.
    """

    own_frame_of_reference: bool = False
    slices: int = 18
    offset: float = 4.0


@dataclass(frozen=True)
class PhantomMr:
    """An axial MR in its own study and frame of reference, centred on the planning CT.

    Attributes:
        rotation: Of the transform from MR to CT: degrees about x, then y, then z.
        translation: Of that transform, after the rotation, mm.
        registered: Whether a Spatial Registration with it is written.
        spacing: As :attr:`Grid.spacing`.
        size: As :attr:`Grid.size`.
        noise: The largest, where the brightest tissue has 900.
    """

    rotation: Vector = (2.0, -3.0, 5.0)
    translation: Vector = (10.0, -15.0, 800.0)
    registered: bool = True
    spacing: Vector = (3.0, 2.5, 4.0)
    size: tuple[int, int, int] = (48, 56, 14)
    noise: int = 8


@dataclass(frozen=True)
class PhantomDose:
    """A dose that falls off from the middle of the PTV as a Gaussian, on a grid of its own.

    Attributes:
        highest: Dose in the middle, Gy.
        width: Distance from the middle at which exp(-1/2) of it is left, mm.
        spacing: As :attr:`Grid.spacing`.
        size: As :attr:`Grid.size`; the grid has the planning CT's directions.
    """

    highest: float = 54.0
    width: float = 25.0
    spacing: Vector = (2.5, 2.5, 2.5)
    size: tuple[int, int, int] = (40, 36, 32)

    def gray(self, points: FloatArray, middle: Vector) -> FloatArray:
        """Dose, Gy, shape (…), at points of shape (…, 3), mm."""
        distance = np.linalg.norm(points - np.asarray(middle), axis=-1)
        return np.asarray(self.highest * np.exp(-((distance / self.width) ** 2) / 2))


@dataclass(frozen=True)
class Phantom:
    """A patient to invent.

    Attributes:
        patient_id: Patient ID (0010,0020).
        plan_id: RT Plan Label (300A,0002).
        structure_set_label: Structure Set Label (3006,0002).
        patient_name: Patient's Name (0010,0010).
        size: Columns, rows, planes of the planning CT.
        spacing: Along a row, along a column, between planes, mm.
        patient_position: Patient Position (0018,5100).
        image_orientation: Image Orientation (Patient), two orthonormal vectors; None takes the
            one usual for ``patient_position`` (HFS, HFP, FFS or FFP).
        origin: Centre of the first voxel, mm; None centres the grid on (0, 0, 0).
        reversed_on_disk: Whether files and Instance Numbers run against the planes.
        rescale_slope: Rescale Slope (0028,1053) of the planning and the contrast CT.
        rescale_intercept: Rescale Intercept (0028,1052), HU.
        structures: The ROIs.
        approved: Whether structure set and plan are approved (Approval Status (300E,0002)).
        contrast: The contrast CT.
        mr: The MR.
        dose: The dose of the plan.
        seed: Tells patients of the same id apart; all UIDs depend on both.
    """

    patient_id: str
    plan_id: str = "Plan1"
    structure_set_label: str = "CT_1"
    patient_name: str = "Phantom^Wasser"
    size: tuple[int, int, int] = (48, 48, 20)
    spacing: Vector = (3.0, 3.0, 3.0)
    patient_position: str = "HFS"
    image_orientation: tuple[float, ...] | None = None
    origin: Vector | None = None
    reversed_on_disk: bool = False
    rescale_slope: float = 1.0
    rescale_intercept: float = -1024.0
    structures: tuple[PhantomStructure, ...] = default_structures()
    approved: bool = False
    contrast: PhantomContrast | None = None
    mr: PhantomMr | None = None
    dose: PhantomDose | None = None
    seed: str = ""

    @property
    def grid(self) -> Grid:
        """Geometry of the planning CT."""
        orientation = self.image_orientation or ORIENTATIONS[self.patient_position]
        if self.origin is None:
            return centred_grid((0, 0, 0), orientation, self.spacing, self.size)
        return Grid(self.origin, orientation, self.spacing, self.size)

    def uid(self, role: str) -> str:
        """The UID of one role, such as ``study``."""
        return derived_uid(self.seed, self.patient_id, role)

    def anatomy(self, points: FloatArray) -> NDArray[np.uint8]:
        """Label (…) of (…, 3) patient points: 0 for air, else 1 + the structure's index."""
        labels = np.zeros(points.shape[:-1], dtype=np.uint8)
        for number, structure in enumerate(self.structures, start=1):
            if structure.hu is not None:
                labels[structure.shape.contains(points)] = number
        return labels

    def hounsfield(self, *, enhanced: bool = False) -> list[int]:
        """HU of each label of :meth:`anatomy`, with contrast agent in the GTVs or without."""
        return [AIR] + [
            (s.hu or 0) + (ENHANCEMENT if enhanced and s.dicom_type == "GTV" else 0)
            for s in self.structures
        ]


def write_phantom(folder: Path, phantom: Phantom) -> PatientUids:
    """Write CT, RT Structure Set and RT Plan, and what else the phantom has, into a folder.

    Args:
        folder: Made if missing; files of other patients in it are left alone.
        phantom: The patient.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study = _study(phantom, "study")
    grid, frame = phantom.grid, phantom.uid("frame")
    sop_uids = tuple(phantom.uid(f"CT {plane}") for plane in range(grid.size[2]))
    ct = series_header(study, "CT", phantom.uid("CT"), 1, "Planning CT")
    _write_ct(folder, phantom, image_header(ct, grid, frame, phantom.patient_position), grid)
    structure_set = _structure_set(phantom, study, sop_uids)
    save(folder, structure_set, 0)
    plan = _plan(phantom, study)
    save(folder, plan, 0)
    if phantom.dose:
        save(folder, _dose(phantom, phantom.dose, study), 0)

    km_series = km_frame = mr_study = mr_series = mr_frame = registration_uid = ""
    if phantom.contrast:
        km_series = phantom.uid("KM")
        km_frame = phantom.uid("KM frame") if phantom.contrast.own_frame_of_reference else frame
        first = grid.position(0) + phantom.contrast.offset * grid.axes[2]
        x, y, z = first.tolist()
        size = (grid.size[0], grid.size[1], phantom.contrast.slices)
        km_grid = Grid((x, y, z), grid.orientation, grid.spacing, size)
        km = series_header(study, "CT", km_series, 2, "CT KM")
        km.ContrastBolusAgent = "Iodine"
        _write_ct(
            folder, phantom, image_header(km, km_grid, km_frame, phantom.patient_position), km_grid
        )
    if phantom.mr:
        mr_study, mr_series = phantom.uid("MR study"), phantom.uid("MR")
        mr_frame = phantom.uid("MR frame")
        to_ct = rigid(phantom.mr.rotation, phantom.mr.translation)
        middle = grid.to_patient((np.asarray(grid.size) - 1) / 2)
        write_mr(
            folder,
            series_header(_study(phantom, "MR study"), "MR", mr_series, 1, "T1 KM"),
            mr_grid(to_ct, middle, phantom.mr.spacing, phantom.mr.size),
            mr_frame,
            lambda points: phantom.anatomy(transform(to_ct, points)),
            mr_signal(phantom.hounsfield(enhanced=True)),
            phantom.mr.noise,
        )
        if phantom.mr.registered:
            registration_uid = phantom.uid("REG")
            save(folder, registration(study, registration_uid, to_ct, mr_frame, frame), 0)
    return PatientUids(
        patient_id=phantom.patient_id,
        plan_id=phantom.plan_id,
        structure_set_label=phantom.structure_set_label,
        study_uid=phantom.uid("study"),
        series_uid=phantom.uid("CT"),
        frame_of_reference_uid=frame,
        sop_instance_uids=sop_uids,
        structure_set_uid=phantom.uid("RTSTRUCT"),
        plan_uid=phantom.uid("RTPLAN"),
        km_series_uid=km_series,
        km_frame_of_reference_uid=km_frame,
        mr_study_uid=mr_study,
        mr_series_uid=mr_series,
        mr_frame_of_reference_uid=mr_frame,
        registration_uid=registration_uid,
        dose_uid=phantom.uid("RTDOSE") if phantom.dose else "",
    )


def mr_grid(
    to_ct: FloatArray, centre: FloatArray, spacing: Vector, size: tuple[int, int, int]
) -> Grid:
    """Axial grid in the MR frame whose middle lies at ``centre`` of the CT frame, mm."""
    x, y, z = np.linalg.solve(to_ct, (*centre, 1.0))[:3].tolist()
    return centred_grid((x, y, z), HFS, spacing, size)


def write_mr(
    folder: Path,
    header: Dataset,
    grid: Grid,
    frame: str,
    anatomy: Anatomy,
    signal: Sequence[float],
    noise: int = 8,
) -> None:
    """Paint and write an MR series.

    Args:
        folder: Where.
        header: Patient, study and series.
        grid: Geometry in the MR's frame of reference.
        frame: Its Frame of Reference UID.
        anatomy: Labels at points of the MR's frame of reference.
        signal: Signal of each label.
        noise: The largest.
    """
    series, planes = header.SeriesInstanceUID, grid.size[2]
    write_images(
        folder,
        image_header(header, grid, frame, "HFS"),
        grid,
        add_noise(paint(grid, anatomy, signal), series, lowest=0, most=noise),
        [derived_uid(series, str(plane)) for plane in range(planes)],
        files=range(planes),
        instances=range(1, planes + 1),
    )


def _write_ct(folder: Path, phantom: Phantom, header: Dataset, grid: Grid) -> None:
    enhanced = "ContrastBolusAgent" in header
    role = "KM" if enhanced else "CT"
    hounsfield = add_noise(
        paint(grid, phantom.anatomy, phantom.hounsfield(enhanced=enhanced)),
        header.SeriesInstanceUID,
        lowest=AIR - 20,
    )
    slope, intercept = phantom.rescale_slope, phantom.rescale_intercept
    header.RescaleSlope, header.RescaleIntercept = ds((slope, intercept))
    planes = list(range(grid.size[2]))
    order = planes[::-1] if phantom.reversed_on_disk else planes
    write_images(
        folder,
        header,
        grid,
        ((hounsfield - intercept) / slope).round().astype(np.int16),
        [phantom.uid(f"{role} {plane}") for plane in planes],
        files=order,
        instances=[number + 1 for number in order],
    )


def _study(phantom: Phantom, role: str) -> Dataset:
    study = Dataset()
    study.SpecificCharacterSet = "ISO_IR 192"
    study.PatientName = phantom.patient_name
    study.PatientID = phantom.patient_id
    study.PatientBirthDate = ""
    study.PatientSex = "O"
    study.StudyInstanceUID = phantom.uid(role)
    study.StudyID = "1"
    study.StudyDate, study.StudyTime = DATE, TIME
    study.AccessionNumber = ""
    study.ReferringPhysicianName = ""
    return study


def _approval(phantom: Phantom) -> Dataset:
    approval = Dataset()
    approval.ApprovalStatus = "APPROVED" if phantom.approved else "UNAPPROVED"
    if phantom.approved:
        approval.ReviewDate, approval.ReviewTime = DATE, TIME
        approval.ReviewerName = "Phantom^Reviewer"
    return approval


def _structure_set(phantom: Phantom, study: Dataset, sop_uids: Sequence[str]) -> Dataset:
    """RT Structure Set (PS3.3 A.19.3)."""
    item = series_header(study, "RTSTRUCT", phantom.uid("RTSTRUCT series"), 3, "Structures")
    item.update(_approval(phantom))
    item.SOPInstanceUID = phantom.uid("RTSTRUCT")
    item.InstanceNumber = 1
    item.StructureSetLabel = phantom.structure_set_label
    item.StructureSetDate, item.StructureSetTime = DATE, TIME
    series = Dataset()
    series.SeriesInstanceUID = phantom.uid("CT")
    series.ContourImageSequence = [_reference("CT", uid) for uid in sop_uids]
    referenced_study = Dataset()
    # The class Eclipse writes here: Study Component Management, retired.
    referenced_study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.2"
    referenced_study.ReferencedSOPInstanceUID = study.StudyInstanceUID
    referenced_study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = phantom.uid("frame")
    frame.RTReferencedStudySequence = [referenced_study]
    item.ReferencedFrameOfReferenceSequence = [frame]
    item.StructureSetROISequence = []
    item.ROIContourSequence = []
    item.RTROIObservationsSequence = []
    for number, structure in enumerate(phantom.structures, start=1):
        roi = Dataset()
        roi.ROINumber = number
        roi.ReferencedFrameOfReferenceUID = phantom.uid("frame")
        roi.ROIName = structure.id
        roi.ROIGenerationAlgorithm = "MANUAL"
        item.StructureSetROISequence.append(roi)
        observation = Dataset()
        observation.ObservationNumber = number
        observation.ReferencedROINumber = number
        observation.RTROIInterpretedType = structure.dicom_type
        observation.ROIInterpreter = ""
        item.RTROIObservationsSequence.append(observation)
        drawn = Dataset()
        drawn.ROIDisplayColor = list(structure.colour)
        drawn.ReferencedROINumber = number
        contours = [
            _contour(points, uid)
            for plane, uid in enumerate(sop_uids)
            for points in structure.shape.contours(phantom.grid, plane)
        ]
        if contours:
            drawn.ContourSequence = contours
        item.ROIContourSequence.append(drawn)
    return item


def _contour(points: FloatArray, image_uid: str) -> Dataset:
    contour = Dataset()
    contour.ContourImageSequence = [_reference("CT", image_uid)]
    contour.ContourGeometricType = "POINT" if len(points) == 1 else "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(points)
    # pydicom would check every number on its own.
    contour.add(DataElement("ContourData", "DS", ds(points.ravel()), already_converted=True))
    return contour


def _plan(phantom: Phantom, study: Dataset) -> Dataset:
    """RT Plan (PS3.3 A.20.3) without beams; its target is the first PTV."""
    item = series_header(study, "RTPLAN", phantom.uid("RTPLAN series"), 4, "Plan")
    item.update(_approval(phantom))
    item.SOPInstanceUID = phantom.uid("RTPLAN")
    item.InstanceNumber = 1
    item.FrameOfReferenceUID = phantom.uid("frame")
    item.PositionReferenceIndicator = ""
    item.RTPlanLabel = phantom.plan_id
    item.RTPlanDate, item.RTPlanTime = DATE, TIME
    item.RTPlanGeometry = "PATIENT"
    item.ReferencedStructureSetSequence = [_reference("RTSTRUCT", phantom.uid("RTSTRUCT"))]
    fractions = Dataset()
    fractions.FractionGroupNumber = 1
    fractions.NumberOfFractionsPlanned = 25
    fractions.NumberOfBeams = 0
    fractions.NumberOfBrachyApplicationSetups = 0
    item.FractionGroupSequence = [fractions]
    for number, structure in enumerate(phantom.structures, start=1):
        if structure.dicom_type == "PTV":
            dose = Dataset()
            dose.DoseReferenceNumber = 1
            dose.ReferencedROINumber = number
            dose.DoseReferenceStructureType = "VOLUME"
            dose.DoseReferenceDescription = structure.id
            dose.DoseReferenceType = "TARGET"
            dose.TargetPrescriptionDose = "50"
            item.DoseReferenceSequence = [dose]
            break
    return item


def _dose(phantom: Phantom, shape: PhantomDose, study: Dataset) -> Dataset:
    """RT Dose around the first PTV that is a ball."""
    middle = next(
        s.shape.centre
        for s in phantom.structures
        if s.dicom_type == "PTV" and isinstance(s.shape, Sphere)
    )
    # Off the middle by fractions of a voxel: a grid is the plan's affair, not the tumour's.
    x, y, z = middle
    grid = centred_grid(
        (x + 0.7, y - 0.4, z + 0.9), phantom.grid.orientation, shape.spacing, shape.size
    )
    gray = np.stack([shape.gray(grid.points(plane), middle) for plane in range(grid.size[2])])
    return dose(
        study, phantom.uid("RTDOSE"), phantom.uid("RTPLAN"), phantom.uid("frame"), grid, gray
    )


def _reference(modality: str, uid: str) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = SOP_CLASSES[modality]
    reference.ReferencedSOPInstanceUID = uid
    return reference
