"""Voxels and contours in numbers that do not show whose they are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.geometry import FloatArray, ImageGeometry
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


def shapes(contours: Sequence[FloatArray], plane: int, geometry: ImageGeometry) -> Json:
    """Of each contour what does not show whose it is: how many points, how large, where.

    In pixels from the image's first voxel: ``area``, the middle (``x``, ``y``), how far the points
    lie off the plane (``off``), and the coarsest part of a pixel that all lie on (``grid``; None
    for none).
    """
    return [_shape(geometry.to_index(contour), plane) for contour in contours]


def _shape(index: FloatArray, plane: int) -> Json:
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
