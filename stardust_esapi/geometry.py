"""Where voxels lie: index space to DICOM patient space and back, and plane polygons.

Patient space is the DICOM patient coordinate system (LPS, millimetres; PS3.3 C.7.6.2.1.1).
Index space is (column, row, plane) with the centre of the first voxel at (0, 0, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = tuple[float, float, float]
FloatArray = NDArray[np.float64]

GEOMETRY_TOLERANCE_MM = 0.01
_SAMPLES = 200  # each way, across polygons that cross


def moved(matrix: FloatArray, points: FloatArray) -> FloatArray:
    """Points of shape (…, 3), mm, moved by a (4, 4) matrix."""
    result: FloatArray = points @ matrix[:3, :3].T + matrix[:3, 3]
    return result


@dataclass(frozen=True, slots=True)
class ImageGeometry:
    """The grid of a 3-D image, as ESAPI's ``Image`` describes it.

    Attributes:
        origin: Centre of the first voxel (x, y, z) in patient space, mm.
        x_direction: Unit vector along a row (rising column index).
        y_direction: Unit vector along a column (rising row index).
        z_direction: Unit vector from plane to plane (rising plane index).
        spacing: Distance between voxel centres along x, y, z of the grid, mm.
        size: Number of columns, rows, planes.
    """

    origin: Vector
    x_direction: Vector
    y_direction: Vector
    z_direction: Vector
    spacing: Vector
    size: tuple[int, int, int]

    @property
    def matrix(self) -> FloatArray:
        """Columns are the patient-space steps (mm) of one voxel along x, y, z; shape (3, 3)."""
        axes = np.array([self.x_direction, self.y_direction, self.z_direction], dtype=float)
        steps: FloatArray = axes.T * np.asarray(self.spacing, dtype=float)
        return steps

    def to_patient(self, index: ArrayLike) -> FloatArray:
        """Map (…, 3) indices (column, row, plane) to patient space, mm."""
        points: FloatArray = np.asarray(index, dtype=float) @ self.matrix.T + self.origin
        return points

    def to_index(self, points: ArrayLike) -> FloatArray:
        """Map (…, 3) patient points (mm) to fractional indices (column, row, plane)."""
        inverse = np.linalg.inv(self.matrix)
        index: FloatArray = (np.asarray(points, dtype=float) - self.origin) @ inverse.T
        return index

    def plane_position(self, plane: int) -> Vector:
        """Image Position (Patient) (0020,0032) of one plane, mm."""
        x, y, z = self.to_patient((0, 0, plane)).tolist()
        return (x, y, z)

    def same_grid(self, other: ImageGeometry, tolerance: float = GEOMETRY_TOLERANCE_MM) -> bool:
        """Whether both grids put every voxel at the same place, within ``tolerance`` mm."""
        if self.size != other.size:
            return False
        last = [n - 1 for n in self.size]
        corners = np.array(
            [(x, y, z) for x in (0, last[0]) for y in (0, last[1]) for z in (0, last[2])]
        )
        distance = np.abs(self.to_patient(corners) - other.to_patient(corners)).max()
        return bool(distance <= tolerance)

    def overshoot(self, points: ArrayLike) -> float:
        """How far (mm) the farthest of (n, 3) patient points lies outside the image; 0 if none.

        The image reaches half a voxel beyond the centres of its border voxels.
        """
        index = self.to_index(points)
        if index.size == 0:
            return 0.0
        outside = np.maximum(-0.5 - index, index - (np.asarray(self.size) - 0.5))
        return float(max(0.0, (outside * np.asarray(self.spacing)).max()))


def polygon_area_centroid(points: FloatArray) -> tuple[float, FloatArray]:
    """Area (mm²) and centroid of a closed planar polygon in patient space.

    Args:
        points: Vertices in order, shape (n, 3), mm; the last joins the first.

    Returns:
        The area, and the centroid of shape (3,); of fewer than three points the area is 0.
    """
    if len(points) < 3:
        return 0.0, points.mean(axis=0) if len(points) else np.zeros(3)
    corner = points[0]
    a, b = points[1:-1] - corner, points[2:] - corner
    crosses = np.cross(a, b)
    total = crosses.sum(axis=0)
    length = float(np.linalg.norm(total))
    # Below rounding, the direction of the normal and with it the centroid mean nothing.
    if length <= 1e-9 * float(np.abs(points - corner).max()) ** 2:
        return 0.0, points.mean(axis=0)
    weights = crosses @ (total / length)
    centroid = corner + ((a + b) / 3.0 * weights[:, None]).sum(axis=0) / weights.sum()
    return length / 2.0, centroid


def covered_area_centroid(polygons: Sequence[FloatArray]) -> tuple[float, FloatArray]:
    """Area (mm²) and centroid that polygons of one plane cover together.

    A polygon inside another is a hole in it, one inside that hole is an island again (the
    even-odd rule, which RT structure sets follow; PS3.3 C.8.8.6.3). One that is there again counts
    once; those that cross are united, to some parts in a thousand.

    Args:
        polygons: At least one polygon of shape (n, 3), mm, all in one plane.
    """
    polygons = list(
        {frozenset(map(tuple, one.round(3).tolist())): one for one in polygons}.values()
    )
    measured = [polygon_area_centroid(polygon) for polygon in polygons]
    if len(polygons) == 1:
        return measured[0]
    axes = _plane_axes(max(polygons, key=lambda one: polygon_area_centroid(one)[0]))
    flat = [(polygon - polygons[0][0]) @ axes.T for polygon in polygons]
    shares = [
        [_share_inside(one, other) if one is not other else 0.0 for other in flat] for one in flat
    ]
    if any(0 < share < 1 for row in shares for share in row):
        area, middle = _sampled_area_centroid(flat)
        return area, polygons[0][0] + middle @ axes
    areas = np.array([area for area, _ in measured]) * [(-1) ** int(sum(row)) for row in shares]
    centroids = np.array([centroid for _, centroid in measured])
    total = float(areas.sum())
    if total <= 0.0:
        return 0.0, centroids.mean(axis=0)
    return total, areas @ centroids / total


def _plane_axes(polygon: FloatArray) -> FloatArray:
    """Two unit vectors in the plane of a polygon, as rows of (2, 3)."""
    normal = np.cross(polygon[1:-1] - polygon[0], polygon[2:] - polygon[0]).sum(axis=0)
    least = np.eye(3)[np.abs(normal).argmin()]
    x = np.cross(least, normal)
    y = np.cross(normal, x)
    axes = np.array([x, y])
    length = np.linalg.norm(axes, axis=1, keepdims=True)
    return np.asarray(axes / np.where(length > 0, length, 1.0))


def _share_inside(one: FloatArray, other: FloatArray) -> float:
    """Which share of the vertices of a polygon, and of the middles of its edges, lie in another."""
    if (one.max(axis=0) <= other.min(axis=0)).any() or (other.max(axis=0) <= one.min(axis=0)).any():
        return 0.0
    outline = np.concatenate([one, (one + np.roll(one, -1, axis=0)) / 2])
    return float(_inside(outline, other).mean())


def _inside(points: FloatArray, polygon: FloatArray) -> NDArray[np.bool_]:
    """Which of (n, 2) points lie in a polygon (m, 2), by the even-odd rule."""
    here, there = polygon, np.roll(polygon, -1, axis=0)
    u, v = points[:, :1], points[:, 1:]
    crosses = (here[:, 1] > v) != (there[:, 1] > v)
    rise = np.where(here[:, 1] == there[:, 1], 1.0, there[:, 1] - here[:, 1])
    at = here[:, 0] + (v - here[:, 1]) * (there[:, 0] - here[:, 0]) / rise
    odd: NDArray[np.bool_] = np.count_nonzero(crosses & (at > u), axis=1) % 2 == 1
    return odd


def _sampled_area_centroid(polygons: Sequence[FloatArray]) -> tuple[float, FloatArray]:
    """The same of polygons (n, 2) that cross: which points of a fine grid they cover."""
    every = np.concatenate(polygons)
    low, step = every.min(axis=0), np.ptp(every, axis=0) / _SAMPLES
    u, v = (low + (np.arange(_SAMPLES)[:, None] + 0.5) * step).T
    points = np.stack(np.meshgrid(u, v), axis=-1)
    covered = [np.array([_inside(row, polygon) for row in points]) for polygon in polygons]
    united: list[NDArray[np.bool_]] = []
    for one in covered:
        met = [other for other in united if not _apart_or_nested(one, other)]
        united = [other for other in united if all(other is not each for each in met)]
        united.append(np.any([one, *met], axis=0))
    inside = np.logical_xor.reduce(united)
    if not inside.any():
        return 0.0, every.mean(axis=0)
    return float(inside.sum() * step.prod()), points[inside].mean(axis=0)


def _apart_or_nested(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    return np.count_nonzero(one & other) in (0, one.sum(), other.sum())
