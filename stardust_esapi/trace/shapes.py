"""Voxels and contours in numbers that do not show whose they are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.geometry import FloatArray
from stardust_esapi.trace.conceal import Json, number

_GRIDS = (1, 2, 4, 8, 16, 32, 64)
_ON_GRID = 0.01  # of a part of a pixel: what rounding may do


def voxels(plane: NDArray[np.int32]) -> Json:
    """Minimum, maximum, and a hash of the differences to the minimum.

    So two scales of the same picture, shifted against each other, are seen to be just that.
    """
    above = np.ascontiguousarray(plane - plane.min())
    return {
        "hash": hashlib.sha256(f"{above.shape}".encode() + above.tobytes()).hexdigest()[:16],
        "min": int(plane.min()),
        "max": int(plane.max()),
    }


@dataclass(frozen=True, slots=True)
class Frame:
    """Where an image lies: contours are told relative to it.

    Attributes:
        origin: Its first voxel, mm, patient space; shape (3,).
        axes: Its directions; shape (3, 3), an axis a row.
        spacing: Of its voxels, mm; shape (3,).
        planes: How many it has.
    """

    origin: FloatArray
    axes: FloatArray
    spacing: FloatArray
    planes: int

    @classmethod
    def of(cls, image: Any) -> Frame:
        """Read it of an ``Image``."""
        origin, *axes = (
            np.array([v.x, v.y, v.z])
            for v in (image.Origin, image.XDirection, image.YDirection, image.ZDirection)
        )
        spacing = np.array([image.XRes, image.YRes, image.ZRes])
        return cls(origin, np.array(axes), spacing, image.ZSize)

    def relative(self, contour: FloatArray) -> FloatArray:
        """Points (n, 3) as columns, rows and planes from the first voxel."""
        return np.asarray((contour - self.origin) @ self.axes.T / self.spacing)

    def patient(self, index: FloatArray) -> FloatArray:
        """Points (n, 3) in patient space, mm, of columns, rows and planes."""
        return np.asarray(self.origin + (index * self.spacing) @ self.axes)

    def shapes(self, contours: Sequence[FloatArray], plane: int) -> Json:
        """Of each contour what does not show whose it is: how many points, how large, where.

        In pixels: ``area``, the middle (``x``, ``y``), how far the points lie off the plane
        (``off``), and the coarsest part of a pixel that all lie on (``grid``; None for none).
        """
        return [self._shape(self.relative(contour), plane) for contour in contours]

    def _shape(self, index: FloatArray, plane: int) -> Json:
        x, y, z = index.T
        area = 0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))
        parts = [(n, index[:, :2] * n) for n in _GRIDS]
        fine = [n for n, part in parts if np.abs(part - np.rint(part)).max() < _ON_GRID]
        return {
            "points": len(index),
            "area": number(abs(area)),
            "x": number(x.mean()),
            "y": number(y.mean()),
            "off": number(np.abs(z - plane).max()),
            "grid": fine[0] if fine else None,
        }
