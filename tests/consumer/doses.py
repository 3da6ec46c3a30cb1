"""A reader of doses that knows DICOM and nothing of the product or the stub: RT Dose, and its DVH.

PS3.3 C.8.8.3: dose = stored value * Dose Grid Scaling; planes lie at Image Position (Patient) plus
Grid Frame Offset along the cross product of rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from consumer.reader import Image

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ReadDose:
    """One RT Dose file.

    Attributes:
        dataset: All of it.
        gray: (planes, rows, columns), in the file's Dose Units.
    """

    dataset: pydicom.Dataset
    gray: Floats

    def voxels(self) -> Floats:
        """Where the voxels lie, (planes, rows, columns, 3), mm."""
        ds = self.dataset
        x, y = np.array(ds.ImageOrientationPatient, dtype=float).reshape(2, 3)
        down, across = (float(value) for value in ds.PixelSpacing)
        k, j, i = (
            np.array(ds.GridFrameOffsetVector, dtype=float)[:, None, None, None],
            np.arange(ds.Rows)[None, :, None, None] * down,
            np.arange(ds.Columns)[None, None, :, None] * across,
        )
        position = np.array(ds.ImagePositionPatient, dtype=float)
        return np.asarray(position + k * np.cross(x, y) + j * y + i * x)

    def at(self, points: Floats) -> Floats:
        """Dose at points (n, 3), mm, linearly between voxels."""
        ds = self.dataset
        x, y = np.array(ds.ImageOrientationPatient, dtype=float).reshape(2, 3)
        down, across = (float(value) for value in ds.PixelSpacing)
        away = points - np.array(ds.ImagePositionPatient, dtype=float)
        axes = (
            np.array(ds.GridFrameOffsetVector, dtype=float),
            np.arange(ds.Rows) * down,
            np.arange(ds.Columns) * across,
        )
        where = np.stack([away @ np.cross(x, y), away @ y, away @ x], axis=-1)
        return np.asarray(RegularGridInterpolator(axes, self.gray)(where))


def read_rtdose(folder: Path) -> ReadDose:
    """Read the only ``RD*.dcm`` of a folder."""
    (path,) = folder.glob("RD*.dcm")
    dataset = pydicom.dcmread(path)
    return ReadDose(dataset, dataset.pixel_array * float(dataset.DoseGridScaling))


def points_in(mask: NDArray[np.bool_], image: Image) -> Floats:
    """Centres of the voxels of a mask (planes, rows, columns), (n, 3), mm."""
    plane, row, column = np.nonzero(mask)
    across, down, _ = image.spacing
    in_plane = np.outer(column * across, image.along_x) + np.outer(row * down, image.along_y)
    return np.asarray(image.positions[plane] + in_plane)


def dose_to_volume(doses: Floats, share: float) -> float:
    """The dose that a share of the points gets at least: of a cumulative DVH, such as D95."""
    return float(np.quantile(doses, 1 - share))
