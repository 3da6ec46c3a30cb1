"""Write a CT or MR series, one file a plane (PS3.3 A.3, A.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from stardust_esapi.dicom.elements import (
    checked,
    decimals,
    describe,
    naming,
    new_dataset,
    put,
    put_moment,
    write_file,
)
from stardust_esapi.dicom.source import ImageSeries, ReferencedSeries
from stardust_esapi.errors import TransferError

_SOP_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage}
_INT16, _UINT16 = np.iinfo(np.int16), np.iinfo(np.uint16)
# Cosines that were once rounded to four decimals still describe a right angle.
_COSINE_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class PixelEncoding:
    """How the raw values of a whole series are stored in 16 bits without loss.

    Attributes:
        dtype: NumPy type of the stored values.
        offset: Stored value = raw value - offset.
    """

    dtype: type[np.int16 | np.uint16]
    offset: int


def pixel_encoding(lowest: int, highest: int) -> PixelEncoding:
    """Choose the encoding for raw values from ``lowest`` to ``highest``.

    Raises:
        TransferError: The range is wider than 16 bits.
    """
    if _INT16.min <= lowest and highest <= _INT16.max:
        return PixelEncoding(np.int16, 0)
    if lowest >= 0 and highest <= _UINT16.max:
        return PixelEncoding(np.uint16, 0)
    if highest - lowest <= _UINT16.max:
        return PixelEncoding(np.uint16, lowest)
    raise TransferError(
        f"its voxel values reach from {lowest} to {highest}, which 16 bits cannot hold without "
        "loss. Export this series from Eclipse by hand."
    )


def reference(series: ImageSeries) -> ReferencedSeries:
    """Name the images of a series, for a structure set that was drawn on them."""
    return ReferencedSeries(
        study_uid=series.study.study_uid,
        series_uid=series.series_uid,
        sop_class_uid=_SOP_CLASSES[series.modality],
        sop_instance_uids=series.sop_instance_uids,
    )


def write_image_series(
    series: ImageSeries, folder: Path, advance: Callable[[int], None] = lambda _: None
) -> list[Path]:
    """Write every plane of a series as ``<modality>.<SOP Instance UID>.dcm``.

    Planes are read one by one, twice: first for the range of values, as one encoding must hold
    for all of them, then to be written.

    Args:
        series: The series.
        folder: An existing folder.
        advance: Told the number of images written so far.

    Returns:
        The files, by plane.

    Raises:
        TransferError: The series cannot be written as it is; some files may have been written.
    """
    with naming(f"Patient {series.patient.patient_id}, series {series.series_uid}"):
        _check(series)
        planes = range(series.geometry.size[2])
        ranges = [_range(_read(series, plane)) for plane in planes]
        encoding = pixel_encoding(min(low for low, _ in ranges), max(high for _, high in ranges))
        dataset = _series_dataset(series, encoding)
        paths = []
        for plane, uid in zip(planes, series.sop_instance_uids, strict=True):
            voxels = _read(series, plane)
            if _range(voxels) != ranges[plane]:
                raise TransferError(
                    f"plane {plane} changed while it was exported. Close the patient elsewhere "
                    "and run the case again."
                )
            put(dataset, SOPInstanceUID=uid)
            dataset.InstanceNumber = plane + 1
            dataset.ImagePositionPatient = decimals(series.geometry.plane_position(plane))
            stored = (voxels - encoding.offset).astype(encoding.dtype)
            dataset.set_pixel_data(stored, "MONOCHROME2", 16, generate_instance_uid=False)
            paths.append(folder / f"{series.modality}.{uid}.dcm")
            write_file(dataset, paths[-1], ExplicitVRLittleEndian)
            advance(plane + 1)
        return paths


def _check(series: ImageSeries) -> None:
    """Refuse what would make files that contradict one another or the standard."""
    geometry, uids = series.geometry, series.sop_instance_uids
    axes = np.array([geometry.x_direction, geometry.y_direction])
    scales = (*geometry.spacing, series.rescale_slope)
    places = (*geometry.origin, *geometry.z_direction, series.rescale_intercept)
    faults = {
        f"modality {series.modality!r} is neither CT nor MR": series.modality not in _SOP_CLASSES,
        f"the image has no voxels (size {geometry.size})": min(geometry.size) < 1,
        f"{len(uids)} SOP Instance UIDs for {geometry.size[2]} planes": (
            len(uids) != geometry.size[2]
        ),
        "two planes have the same SOP Instance UID": len(set(uids)) < len(uids),
        "the rows and columns are not at right angles": not np.allclose(
            axes @ axes.T, np.eye(2), atol=_COSINE_TOLERANCE
        ),
        "Image Type needs at least three values": len(series.image_type) < 3,
        "a number of the geometry or the rescale is missing or zero": not (
            np.isfinite(scales + places).all() and all(scales)
        ),
    }
    found = [fault for fault, is_so in faults.items() if is_so]
    if found:
        raise TransferError(f"{'; '.join(found)}. Check the image in Eclipse, or export it there.")


def _read(series: ImageSeries, plane: int) -> NDArray[np.int32]:
    columns, rows, _ = series.geometry.size
    voxels = series.read_plane(plane)
    if voxels.shape != (rows, columns):
        raise TransferError(
            f"plane {plane} came as an array of {voxels.shape}, not of {rows} rows and {columns} "
            "columns. Run the case again; report it if it stays so."
        )
    return voxels


def _range(voxels: NDArray[np.int32]) -> tuple[int, int]:
    return int(voxels.min()), int(voxels.max())


def _series_dataset(series: ImageSeries, encoding: PixelEncoding) -> Dataset:
    """All that the images of a series share."""
    geometry = series.geometry
    dataset = new_dataset(series.patient, series.study, _SOP_CLASSES[series.modality])

    # General Series, Frame of Reference and General Equipment Modules: C.7.3.1, C.7.4.1, C.7.5.1
    put(
        dataset,
        Modality=series.modality,
        SeriesInstanceUID=series.series_uid,
        PatientPosition=series.patient_position,
        FrameOfReferenceUID=series.frame_of_reference_uid,
    )
    dataset.SeriesNumber = series.series_number
    dataset.Laterality = ""
    dataset.PositionReferenceIndicator = ""
    dataset.Manufacturer = ""
    describe(
        dataset,
        SeriesDescription=series.series_description,
        Manufacturer=series.device.manufacturer,
        ManufacturerModelName=series.device.model,
        DeviceSerialNumber=series.device.serial_number,
        ContrastBolusAgent=series.contrast_agent,
    )

    # General Image and Image Plane Modules: C.7.6.1, C.7.6.2
    if series.created:
        put_moment(dataset, "Content", series.created)
    dataset.ImageType = [checked("ImageType", value) for value in series.image_type]
    x_spacing, y_spacing, z_spacing = geometry.spacing
    dataset.PixelSpacing = decimals((y_spacing, x_spacing))  # between rows, then columns
    dataset.ImageOrientationPatient = decimals(geometry.x_direction + geometry.y_direction)
    # ESAPI tells the distance of the planes, not their thickness: nominally the same.
    dataset.SliceThickness = decimals([z_spacing])[0]

    slope = series.rescale_slope
    intercept = series.rescale_intercept + slope * encoding.offset
    if series.modality == "CT":
        _put_ct(dataset)
        _put_rescale(dataset, slope, intercept, "HU")
    else:
        _put_mr(dataset, z_spacing)
        # The MR Image IOD has no Modality LUT. Where raw values are not the display values, or
        # were shifted to fit 16 bits, they would be lost without one: a Standard Extended SOP
        # Class (PS3.2 3.11), which common readers honour.
        if (slope, intercept) != (1.0, 0.0):
            _put_rescale(dataset, slope, intercept, "US")

    # VOI LUT Module (C.11.2), which asks for a width of 1 at least
    if series.window and series.window[1] >= 1.0:
        dataset.WindowCenter, dataset.WindowWidth = decimals(series.window)
    return dataset


def _put_rescale(dataset: Dataset, slope: float, intercept: float, kind: str) -> None:
    """Modality LUT (C.11.1): output = slope * stored value + intercept."""
    dataset.RescaleSlope, dataset.RescaleIntercept = decimals((slope, intercept))
    dataset.RescaleType = kind


def _put_ct(dataset: Dataset) -> None:
    """CT Image Module (C.8.2.1): mandatory attributes that ESAPI does not know stay empty."""
    dataset.KVP = None
    dataset.AcquisitionNumber = None


def _put_mr(dataset: Dataset, z_spacing: float) -> None:
    """MR Image Module (C.8.3.1): ESAPI knows nothing of the sequence.

    Scanning Sequence and Sequence Variant may not be empty: research mode and no variant claim
    the least.
    """
    dataset.ScanningSequence = "RM"
    dataset.SequenceVariant = "NONE"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = ""
    dataset.RepetitionTime = None
    dataset.EchoTime = None
    dataset.EchoTrainLength = None
    dataset.SpacingBetweenSlices = decimals([z_spacing])[0]
