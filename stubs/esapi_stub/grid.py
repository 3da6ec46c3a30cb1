"""The voxel grid of an image, and polygons on its planes.

Patient space is DICOM's (LPS, mm; PS3.3 C.7.6.2.1.1). Index space is (column, row, plane) with
the centre of the first voxel at (0, 0, 0). Polygons of one plane follow the even-odd rule: one
within another is a hole (PS3.3 C.8.8.6.3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = tuple[float, float, float]
FloatArray = NDArray[np.float64]
Contours = Mapping[int, Sequence[FloatArray]]
"""Plane index to polygons of shape (n, 3), mm, in patient space."""

SAME_PLACE_MM = 0.01
LINES = 4
"""How many lines across a pixel measure what a polygon covers of it."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A regular grid.

    Attributes:
        origin: Centre of the first voxel, mm.
        x_direction: Unit vector along a row.
        y_direction: Unit vector along a column.
        z_direction: Unit vector from plane to plane: x_direction x y_direction.
        spacing: Distance of voxel centres along x, y, z of the grid, mm.
        size: Columns, rows, planes.
    """

    origin: Vector
    x_direction: Vector
    y_direction: Vector
    z_direction: Vector
    spacing: Vector
    size: tuple[int, int, int]

    @property
    def axes(self) -> FloatArray:
        """The three directions as rows of (3, 3)."""
        return np.array([self.x_direction, self.y_direction, self.z_direction], dtype=float)

    def to_patient(self, index: ArrayLike) -> FloatArray:
        """Map (…, 3) indices to patient points, mm."""
        steps = np.asarray(index, dtype=float) * np.asarray(self.spacing)
        return np.asarray(_turned(steps, self.axes) + np.asarray(self.origin))

    def to_index(self, points: ArrayLike) -> FloatArray:
        """Map (…, 3) patient points, mm, to fractional indices."""
        offset = np.asarray(points, dtype=float) - np.asarray(self.origin)
        return np.asarray(_turned(offset, self.axes.T) / np.asarray(self.spacing))

    def onto_plane(self, points: FloatArray, plane: int) -> FloatArray:
        """Move (n, 3) patient points along the normal onto a plane."""
        away = (plane - self.to_index(points)[:, 2]) * self.spacing[2]
        return np.asarray(points + away[:, None] * np.asarray(self.z_direction))

    def same_as(self, other: Grid) -> bool:
        """Whether both put every voxel at the same place, to 0.01 mm."""
        if self.size != other.size:
            return False
        x, y, z = (n - 1 for n in self.size)
        corners = [(a, b, c) for a in (0, x) for b in (0, y) for c in (0, z)]
        moved = np.abs(self.to_patient(corners) - other.to_patient(corners))
        return bool(moved.max() <= SAME_PLACE_MM)


def _turned(vectors: FloatArray, axes: FloatArray) -> FloatArray:
    """``vectors @ axes``, which BLAS would round by the processor and by how many there are."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    turned = np.empty(vectors.shape)
    for at, (a, b, c) in enumerate(axes.T.tolist()):
        turned[..., at] = x * a + y * b + z * c
    return turned


def area_and_centroid(polygons: Sequence[FloatArray]) -> tuple[float, FloatArray]:
    """Area and centroid that the polygons of one plane cover.

    Exact for polygons that do not cross one another.

    Args:
        polygons: Each of shape (n, 2); any unit.

    Returns:
        The area, and the centroid of shape (2,) (of the vertices where the area is 0).
    """
    total, moment = 0.0, np.zeros(2)
    for number, polygon in enumerate(polygons):
        depth = sum(
            inside(polygon[0], [other]) for at, other in enumerate(polygons) if at != number
        )
        here = polygon - polygon[0]
        there = np.roll(here, -1, axis=0)
        cross = here[:, 0] * there[:, 1] - there[:, 0] * here[:, 1]
        area = float(cross.sum()) / 2
        if area == 0.0:
            continue
        centroid = polygon[0] + ((here + there) * cross[:, None]).sum(axis=0) / (6 * area)
        sign = -1 if depth % 2 else 1
        total += sign * abs(area)
        moment += sign * abs(area) * centroid
    if total <= 0.0:
        return 0.0, np.concatenate(list(polygons)).mean(axis=0)
    return total, moment / total


def inside(point: FloatArray, polygons: Sequence[FloatArray]) -> bool:
    """Whether (2,) ``point`` lies inside polygons of shape (n, 2), by the even-odd rule."""
    crossings = 0
    for polygon in polygons:
        there = np.roll(polygon, -1, axis=0)
        crossed = (polygon[:, 1] > point[1]) != (there[:, 1] > point[1])
        a, b = polygon[crossed], there[crossed]
        x = a[:, 0] + (point[1] - a[:, 1]) * (b[:, 0] - a[:, 0]) / (b[:, 1] - a[:, 1])
        crossings += int(np.count_nonzero(x > point[0]))
    return crossings % 2 == 1


def coverage(polygons: Sequence[FloatArray], width: int, height: int) -> FloatArray:
    """How much of each pixel the polygons cover, 0 to 1, by the even-odd rule.

    Exact along the rows, from four lines a pixel across them.

    Args:
        polygons: At least one, each of shape (n, 2): column, row; pixel centres at integers.
        width: Number of columns.
        height: Number of rows.

    Returns:
        Shape (height, width).
    """
    start = np.concatenate(list(polygons))
    end = np.concatenate([np.roll(polygon, -1, axis=0) for polygon in polygons])
    up = start[:, 1:] < end[:, 1:]
    low, high = np.where(up, start, end), np.where(up, end, start)
    first, last = (
        np.clip(np.ceil((ends[:, 1] + 0.5) * LINES - 0.5), 0, height * LINES).astype(np.intp)
        for ends in (low, high)
    )
    crossings = last - first
    edge = np.repeat(np.arange(len(start)), crossings)
    line = np.arange(edge.size) + np.repeat(last - np.cumsum(crossings), crossings)
    rise = ((line + 0.5) / LINES - 0.5 - low[edge, 1]) / (high[edge, 1] - low[edge, 1])
    x = np.clip(low[edge, 0] + rise * (high[edge, 0] - low[edge, 0]) + 0.5, 0, width)
    # Every line has an even number of crossings: in order, they enter and leave by turns.
    order = np.lexsort((x, line))
    line, x = line[order], x[order]
    sign = np.where(np.arange(x.size) % 2, -1.0, 1.0) / LINES
    column = np.floor(x).astype(np.intp)
    steps = np.zeros((height, width + 2))
    np.add.at(steps, (line // LINES, column), sign * (1 - x + column))
    np.add.at(steps, (line // LINES, column + 1), sign * (x - column))
    return np.cumsum(steps, axis=1)[:, :width]
