"""What all sample patients share: the image grid, derived UIDs and the DICOM objects.

Points are DICOM patient coordinates (LPS, mm; PS3.3 C.7.6.2.1.1), last axis x, y, z.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    RTDoseStorage,
    RTPlanStorage,
    RTStructureSetStorage,
    SpatialRegistrationStorage,
)
from pydicom.valuerep import format_number_as_ds

Vector = tuple[float, float, float]
FloatArray = NDArray[np.float64]
Anatomy = Callable[[FloatArray], NDArray[np.uint8]]
"""Tissue labels, shape (…), at patient points, shape (…, 3)."""

SOP_CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "RTSTRUCT": RTStructureSetStorage,
    "RTPLAN": RTPlanStorage,
    "RTDOSE": RTDoseStorage,
    "REG": SpatialRegistrationStorage,
}
DATE, TIME = "20240102", "120000"
HFS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class PatientUids:
    """What was written for one patient; the UIDs of what was not are empty.

    Attributes:
        patient_id: Patient ID (0010,0020).
        plan_id: RT Plan Label (300A,0002).
        structure_set_label: Structure Set Label (3006,0002).
        study_uid: Study of the planning CT, its structure set, plan, contrast CT, registration.
        series_uid: Series of the planning CT.
        frame_of_reference_uid: Frame of Reference of the planning CT.
        sop_instance_uids: The planning CT's images, in rising plane order (along the normal).
        structure_set_uid: SOP Instance UID of the RT Structure Set.
        plan_uid: SOP Instance UID of the RT Plan.
        dose_uid: SOP Instance UID of the RT Dose.
        km_series_uid: Series of the contrast CT.
        km_frame_of_reference_uid: Frame of Reference of the contrast CT.
        mr_study_uid: Study of the MR.
        mr_series_uid: Series of the MR.
        mr_frame_of_reference_uid: Frame of Reference of the MR.
        registration_uid: SOP Instance UID of the Spatial Registration from MR to planning CT.
    """

    patient_id: str
    plan_id: str
    structure_set_label: str
    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    sop_instance_uids: tuple[str, ...]
    structure_set_uid: str
    plan_uid: str
    km_series_uid: str = ""
    km_frame_of_reference_uid: str = ""
    mr_study_uid: str = ""
    mr_series_uid: str = ""
    mr_frame_of_reference_uid: str = ""
    registration_uid: str = ""
    dose_uid: str = ""


@dataclass(frozen=True)
class Grid:
    """A regular image grid.

    Attributes:
        origin: Centre of the first voxel of the first plane, mm.
        orientation: Image Orientation (Patient) (0020,0037), two orthonormal vectors; planes rise
            along their cross product.
        spacing: Distance of voxel centres along a row, along a column, between planes, mm.
        size: Columns, rows, planes.
    """

    origin: Vector
    orientation: tuple[float, ...]
    spacing: Vector
    size: tuple[int, int, int]

    @property
    def axes(self) -> FloatArray:
        """Unit vectors along a row, along a column and between planes, as rows of (3, 3)."""
        row, column = np.asarray(self.orientation, dtype=float).reshape(2, 3)
        return np.stack([row, column, np.cross(row, column)])

    def to_patient(self, index: FloatArray) -> FloatArray:
        """Map (…, 3) indices (column, row, plane) to patient points, mm."""
        return np.asarray(index * np.asarray(self.spacing) @ self.axes + np.asarray(self.origin))

    def to_index(self, points: FloatArray) -> FloatArray:
        """Map (…, 3) patient points, mm, to fractional indices (column, row, plane)."""
        offset = points - np.asarray(self.origin)
        return np.asarray(offset @ self.axes.T / np.asarray(self.spacing))

    def position(self, plane: int) -> FloatArray:
        """Image Position (Patient) (0020,0032) of a plane, mm."""
        return self.to_patient(np.array([0.0, 0.0, plane]))

    def points(self, plane: int) -> FloatArray:
        """Centres of a plane's voxels, shape (rows, columns, 3), mm."""
        rows, columns = np.mgrid[: self.size[1], : self.size[0]]
        planes = np.full_like(rows, plane)
        return self.to_patient(np.stack([columns, rows, planes], axis=-1, dtype=float))


def centred_grid(
    centre: Vector,
    orientation: tuple[float, ...],
    spacing: Vector,
    size: tuple[int, int, int],
) -> Grid:
    """Make the grid whose middle lies at ``centre`` (mm)."""
    middle = (np.asarray(size) - 1) / 2
    offset = Grid((0.0, 0.0, 0.0), orientation, spacing, size).to_patient(middle)
    x, y, z = (np.asarray(centre) - offset).tolist()
    return Grid((x, y, z), orientation, spacing, size)


def derived_uid(*parts: str) -> str:
    """UID that depends on ``parts`` alone: a name-based UUID under 2.25 (PS3.5 B.2)."""
    return f"2.25.{uuid5(NAMESPACE_OID, chr(31).join(parts)).int}"


def rigid(rotation: Vector, translation: Vector) -> FloatArray:
    """Rigid transform, shape (4, 4).

    Args:
        rotation: Degrees about x, then y, then z.
        translation: Added after the rotation, mm.
    """
    matrix = np.eye(4)
    for axis, angle in enumerate(np.radians(rotation)):
        turn = np.eye(4)
        one, two = (axis + 1) % 3, (axis + 2) % 3
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    matrix[:3, 3] = translation
    return matrix


def transform(matrix: FloatArray, points: FloatArray) -> FloatArray:
    """Map (…, 3) points by a (4, 4) matrix."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def paint(grid: Grid, anatomy: Anatomy, values: Sequence[float]) -> NDArray[np.int16]:
    """Give every voxel of a grid the value of its tissue; shape (planes, rows, columns)."""
    table = np.asarray(values).round().astype(np.int16)
    return np.stack([table[anatomy(grid.points(plane))] for plane in range(grid.size[2])])


def add_noise(
    voxels: NDArray[np.int16], seed: str, lowest: int, most: int = 8
) -> NDArray[np.int16]:
    """Add mild noise, the same for the same seed; no value falls under ``lowest``."""
    generator = np.random.default_rng(int(seed.rpartition(".")[2]))
    noise = generator.integers(-most, most, size=voxels.shape, dtype=np.int16, endpoint=True)
    return np.asarray(np.maximum(voxels + noise, lowest), dtype=np.int16)


def mr_signal(hounsfield: Sequence[float]) -> list[float]:
    """Plausible MR signal of tissues known by their HU: fat and enhanced tumour are bright."""
    units = [-1000.0, -700.0, -60.0, 40.0, 60.0, 150.0]
    return np.interp(hounsfield, units, [0.0, 40.0, 650.0, 350.0, 600.0, 900.0]).tolist()


def series_header(
    study: Dataset, modality: str, series_uid: str, number: int, description: str
) -> Dataset:
    """Start an object: patient and study as given, then the series (PS3.3 C.7.3.1)."""
    header = Dataset()
    header.update(study)
    header.SOPClassUID = SOP_CLASSES[modality]
    header.Modality = modality
    header.Manufacturer = "esapi_stub"
    header.SeriesInstanceUID = series_uid
    header.SeriesNumber = number
    header.SeriesDescription = description
    return header


def image_header(header: Dataset, grid: Grid, frame_of_reference: str, position: str) -> Dataset:
    """Add what all images of a series share (PS3.3 C.7.4.1, C.7.6.2, C.7.6.3)."""
    header.FrameOfReferenceUID = frame_of_reference
    header.PositionReferenceIndicator = ""
    header.PatientPosition = position
    header.ImageOrientationPatient = ds(grid.orientation, digits=12)
    header.PixelSpacing = ds((grid.spacing[1], grid.spacing[0]))
    header.SliceThickness = ds(grid.spacing[2:])
    header.AcquisitionNumber = 1
    header.Columns, header.Rows = grid.size[:2]
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit = 15
    if header.Modality == "CT":
        header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        header.KVP = "120"
        header.RescaleIntercept, header.RescaleSlope = "0", "1"
        header.RescaleType = "HU"
    else:
        header.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        header.ScanningSequence = "SE"
        header.SequenceVariant = "NONE"
        header.ScanOptions = ""
        header.MRAcquisitionType = "2D"
        header.RepetitionTime, header.EchoTime = "500", "10"
        header.EchoTrainLength = 1
    return header


def write_images(
    folder: Path,
    header: Dataset,
    grid: Grid,
    stored: NDArray[np.int16],
    sop_uids: Sequence[str],
    *,
    files: Sequence[int],
    instances: Sequence[int],
    syntax: UID = ExplicitVRLittleEndian,
) -> None:
    """Write one file a plane.

    Args:
        folder: Where.
        header: What the images share; reused for every plane.
        grid: Their geometry.
        stored: Stored values, shape (planes, rows, columns).
        sop_uids: SOP Instance UID of each plane; a plane whose UID is empty is not written.
        files: Number in the file name of each plane: the order on disk.
        instances: Instance Number (0020,0013) of each plane.
        syntax: Transfer syntax, uncompressed little endian.
    """
    header.PixelRepresentation = int(stored.min() < 0)
    for plane, uid in enumerate(sop_uids):
        if not uid:
            continue
        header.SOPInstanceUID = uid
        header.InstanceNumber = instances[plane]
        header.ImagePositionPatient = ds(grid.position(plane))
        header.add_new("PixelData", "OW", stored[plane].astype("<i2").tobytes())
        save(folder, header, files[plane], syntax)


def registration(
    study: Dataset, uid: str, matrix: FloatArray, source_frame: str, registered_frame: str
) -> Dataset:
    """Spatial Registration (PS3.3 A.39.1, C.20.2).

    Args:
        study: Patient and study.
        uid: SOP Instance UID; the series UID is derived from it.
        matrix: (4, 4), maps points of the source frame to the registered frame, mm
            (C.20.2.1.1).
        source_frame: Frame of Reference UID that the matrix starts from.
        registered_frame: Frame of Reference UID that it leads to; the object's own.
    """
    item = series_header(study, "REG", derived_uid(uid, "series"), 9, "MR to CT")
    item.SOPInstanceUID = uid
    item.InstanceNumber = 1
    item.ContentDate, item.ContentTime = DATE, TIME
    item.ContentLabel = "MR_TO_CT"
    item.ContentDescription = ""
    item.ContentCreatorName = ""
    item.FrameOfReferenceUID = registered_frame
    item.PositionReferenceIndicator = ""
    item.RegistrationSequence = [
        _registered(registered_frame, np.eye(4)),
        _registered(source_frame, matrix),
    ]
    return item


def dose(
    study: Dataset, uid: str, plan_uid: str, frame: str, grid: Grid, gray: FloatArray
) -> Dataset:
    """RT Dose of a whole plan (PS3.3 A.18.3, C.8.8.3).

    Args:
        study: Patient and study.
        uid: SOP Instance UID; the series UID is derived from it.
        plan_uid: SOP Instance UID of the RT Plan.
        frame: Frame of Reference UID.
        grid: The dose grid.
        gray: Dose of every voxel, Gy, shape (planes, rows, columns); stored in 16 bits.
    """
    item = series_header(study, "RTDOSE", derived_uid(uid, "series"), 5, "Dose")
    item.SOPInstanceUID = uid
    item.InstanceNumber = 1
    item.OperatorsName = ""
    item.FrameOfReferenceUID = frame
    item.PositionReferenceIndicator = ""
    item.ContentDate, item.ContentTime = DATE, TIME
    item.ImagePositionPatient = ds(grid.position(0))
    item.ImageOrientationPatient = ds(grid.orientation, digits=12)
    item.PixelSpacing = ds((grid.spacing[1], grid.spacing[0]))
    item.SliceThickness = ds(grid.spacing[2:])
    item.Columns, item.Rows, item.NumberOfFrames = grid.size
    item.FrameIncrementPointer = 0x3004000C
    item.GridFrameOffsetVector = ds([plane * grid.spacing[2] for plane in range(grid.size[2])])
    item.SamplesPerPixel = 1
    item.PhotometricInterpretation = "MONOCHROME2"
    item.BitsAllocated = item.BitsStored = 16
    item.HighBit, item.PixelRepresentation = 15, 0
    item.DoseUnits, item.DoseType, item.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    item.DoseGridScaling = format_number_as_ds(float(gray.max()) / 65000)
    plan = Dataset()
    plan.ReferencedSOPClassUID, plan.ReferencedSOPInstanceUID = RTPlanStorage, plan_uid
    item.ReferencedRTPlanSequence = [plan]
    stored = (gray / float(item.DoseGridScaling)).round()
    item.add_new("PixelData", "OW", stored.astype("<u2").tobytes())
    return item


def _registered(frame: str, matrix: FloatArray) -> Dataset:
    transformation = Dataset()
    transformation.FrameOfReferenceTransformationMatrixType = "RIGID"
    transformation.FrameOfReferenceTransformationMatrix = ds(matrix.ravel(), digits=12)
    step = Dataset()
    step.MatrixSequence = [transformation]
    step.RegistrationTypeCodeSequence = []
    step.FrameOfReferenceTransformationComment = ""
    item = Dataset()
    item.FrameOfReferenceUID = frame
    item.MatrixRegistrationSequence = [step]
    return item


def save(folder: Path, item: Dataset, number: int, syntax: UID = ExplicitVRLittleEndian) -> None:
    """Write a DICOM file (PS3.10) named by :func:`file_path`."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = item.SOPClassUID
    meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    item.file_meta = meta
    item.save_as(file_path(folder, item, number), enforce_file_format=True)


def file_path(folder: Path, item: Dataset, number: int) -> Path:
    """A number that tells series apart, then ``number``: the order on disk within a series."""
    series = uuid5(NAMESPACE_OID, item.SeriesInstanceUID).int % 10**9
    return folder / f"{series:09d}{number:05d}.dcm"


def ds(values: Sequence[float] | FloatArray, digits: int = 6) -> list[str]:
    """Decimal Strings of at most 16 characters (PS3.5 6.2)."""
    # Adding 0.0 turns -0.0 into 0.0.
    return [format_number_as_ds(round(float(value), digits) + 0.0) for value in values]
