"""Read an RT Dose: where its voxels lie, and the dose of each."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID

from stardust_esapi.dicom.open_file import read_file
from stardust_esapi.errors import CaseError, VerifyError
from stardust_esapi.geometry import GEOMETRY_TOLERANCE_MM, ImageGeometry

ABSOLUTE, RELATIVE = "GY", "RELATIVE"
"""Dose Units (3004,0002)."""
_COSINE_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class DoseGrid:
    """The dose of a plan.

    Attributes:
        gray: Dose of every voxel, Gy, shape (planes, rows, columns).
        geometry: Where the voxels lie.
        frame_of_reference_uid: Frame of Reference UID (0020,0052).
    """

    gray: NDArray[np.float32] = field(repr=False)
    geometry: ImageGeometry
    frame_of_reference_uid: str


def read_dose(folder: Path) -> DoseGrid:
    """Read the ``RD*.dcm`` of a folder.

    Raises:
        CaseError: There is not one, it is damaged, or its doses are relative: percent of what,
            no attribute says.
    """
    paths = sorted(folder.glob("RD*.dcm"))
    if len(paths) != 1:
        raise CaseError(f"its dose folder holds {len(paths)} RD*.dcm instead of one.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset: Any = read_file(paths[0])
            geometry = dose_geometry(dataset)
            pixels = dataset.PixelData
            bits = int(dataset.BitsAllocated)
            units, scaling = str(dataset.DoseUnits), float(dataset.DoseGridScaling)
            frame = str(dataset.FrameOfReferenceUID)
    except VerifyError as error:
        raise CaseError(f"its dose {error}. Export it again.") from None
    except Exception as error:  # noqa: BLE001 - a damaged file makes the parser raise anything
        raise CaseError(f"its dose is damaged ({type(error).__name__}). Export it again.") from None
    if units != ABSOLUTE:
        raise CaseError(
            "its dose is in percent, and nothing says for certain of how many Gy. Have Eclipse "
            "show absolute dose, and export the dose again."
        )
    columns, rows, planes = geometry.size
    stored = np.frombuffer(pixels, f"<u{bits // 8}", count=columns * rows * planes)
    gray = (stored * scaling).astype(np.float32).reshape(planes, rows, columns)
    return DoseGrid(gray, geometry, frame)


def dose_geometry(dataset: Any) -> ImageGeometry:
    """The grid of an RT Dose (PS3.3 C.8.8.3.2), all of whose voxels are there.

    Its planes must be even and rise along the cross product of rows and columns; its values must
    be uncompressed, unsigned, and of a known unit.

    Raises:
        VerifyError: Anything is not so; the message is the predicate of a sentence.
    """
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if syntax.is_encapsulated or not syntax.is_little_endian:
        raise VerifyError("is compressed or big-endian, which is not read of doses")
    columns, rows = int(dataset.Columns), int(dataset.Rows)
    planes = int(dataset.get("NumberOfFrames") or 1)
    offsets = np.array(dataset.get("GridFrameOffsetVector") or [], dtype=float)
    bits = int(dataset.BitsAllocated)
    position = np.array(dataset.ImagePositionPatient, dtype=float)
    x, y = np.array(dataset.ImageOrientationPatient, dtype=float).reshape(2, 3)
    down, across = (float(value) for value in dataset.PixelSpacing)
    numbers = (*offsets, *position, *x, *y, down, across, float(dataset.DoseGridScaling))
    if not np.isfinite(numbers).all() or min(down, across, float(dataset.DoseGridScaling)) <= 0:
        raise VerifyError("has a spacing or a Dose Grid Scaling that is no positive number")
    if not np.allclose([x @ x, y @ y, x @ y], [1, 1, 0], atol=_COSINE_TOLERANCE):
        raise VerifyError("has rows and columns that are not at right angles (its orientation)")
    if len(offsets) != planes or planes < 2 or min(columns, rows) < 2:
        raise VerifyError(f"has {len(offsets)} plane offsets for {planes} planes, or is no volume")
    # Offsets from the first plane; in axial doses they may be patient coordinates instead.
    step = float(offsets[-1] - offsets[0]) / (planes - 1)
    even = offsets[0] + step * np.arange(planes)
    from_first = offsets[0] == 0
    is_z = np.allclose([*x, *y], [1, 0, 0, 0, 1, 0], atol=_COSINE_TOLERANCE) and (
        abs(offsets[0] - position[2]) <= GEOMETRY_TOLERANCE_MM
    )
    if step <= 0 or np.abs(offsets - even).max() > GEOMETRY_TOLERANCE_MM or not from_first | is_z:
        raise VerifyError("has planes that are not even, or that do not rise from its position")
    if (
        bits not in (16, 32)
        or int(dataset.PixelRepresentation)
        or int(dataset.SamplesPerPixel) != 1
    ):
        raise VerifyError("holds no unsigned values of 16 or 32 bits")
    length = columns * rows * planes * bits // 8
    if len(dataset.PixelData) not in (length, length + length % 2):  # PS3.5 8.1.1
        raise VerifyError(
            f"has {len(dataset.PixelData)} bytes of values where its header says {length}"
        )
    if dataset.DoseUnits not in (ABSOLUTE, RELATIVE):
        raise VerifyError(f"has doses of no known unit ({dataset.DoseUnits or 'none'})")
    return ImageGeometry(
        origin=_vector(position),
        x_direction=_vector(x),
        y_direction=_vector(y),
        z_direction=_vector(np.cross(x, y)),
        spacing=(across, down, step),
        size=(columns, rows, planes),
    )


def _vector(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z
