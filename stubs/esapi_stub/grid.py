"""The voxel grid of an image, and polygons on its planes.

Patient space is DICOM's (LPS, mm; PS3.3 C.7.6.2.1.1). Index space is (column, row, plane) with
the centre of the first voxel at (0, 0, 0). Polygons of one plane follow the even-odd rule: one
within another is a hole (PS3.3 C.8.8.6.3). Those that cross one another are united.
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
_MEASURING_LINES = 257
"""How many lines across two polygons measure whether they cross."""
_TOUCHING = 1e-3
"""Of the smaller of two polygons: they cross when they share more, and one has more of its own."""

_Crossings = tuple[NDArray[np.intp], FloatArray, FloatArray]
"""Of lines with the border of polygons: number of the line, x, and 1 (enters) or -1 (leaves)."""


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

    Exact for polygons that do not cross one another; for others to some parts in 10,000.

    Args:
        polygons: Each of shape (n, 2); any unit.

    Returns:
        The area, and the centroid of shape (2,) (of the vertices where the area is 0).
    """
    total, moment = 0.0, np.zeros(2)
    groups = united(polygons)
    for number, group in enumerate(groups):
        depth = sum(inside(group[0][0], other) for at, other in enumerate(groups) if at != number)
        area, centroid = _measured(group)
        sign = -1 if depth % 2 else 1
        total += sign * area
        moment += sign * area * centroid
    if total <= 0.0:
        return 0.0, np.concatenate(list(polygons)).mean(axis=0)
    return total, moment / total


def _measured(group: Sequence[FloatArray]) -> tuple[float, FloatArray]:
    """Area and centroid of one polygon, or of several together."""
    if len(group) > 1:
        every = np.concatenate(list(group))
        low, high = every[:, 1].min(), every[:, 1].max()
        step = (high - low) / _MEASURING_LINES
        line, x, sign = _border(group, low + step / 2, step, _MEASURING_LINES)
        area = -float((sign * x).sum()) * step
        y = low + step / 2 + line * step
        moment = -np.array([(sign * x * x).sum() / 2, (sign * x * y).sum()]) * step
        return area, moment / area
    (polygon,) = group
    here = polygon - polygon[0]
    there = np.roll(here, -1, axis=0)
    cross = here[:, 0] * there[:, 1] - there[:, 0] * here[:, 1]
    area = float(cross.sum()) / 2
    if area == 0.0:
        return 0.0, polygon[0]
    return abs(area), polygon[0] + ((here + there) * cross[:, None]).sum(axis=0) / (6 * area)


def united(polygons: Sequence[FloatArray]) -> list[list[FloatArray]]:
    """Polygons (n, 2) of one plane in groups: those of one group cross, and are one together."""
    groups: list[list[int]] = []
    for number, polygon in enumerate(polygons):
        met = [group for group in groups if any(_cross(polygons[at], polygon) for at in group)]
        groups = [group for group in groups if group not in met]
        groups.append([number, *(at for group in met for at in group)])
    return [[polygons[at] for at in sorted(group)] for group in groups]


def _cross(one: FloatArray, other: FloatArray) -> bool:
    """Whether two polygons share something, and neither lies within the other."""
    low = np.maximum(one.min(axis=0), other.min(axis=0))
    high = np.minimum(one.max(axis=0), other.max(axis=0))
    if (low >= high).any():
        return False
    first = min(one[:, 1].min(), other[:, 1].min())
    step = (max(one[:, 1].max(), other[:, 1].max()) - first) / _MEASURING_LINES
    areas = []
    for polygons in ([one], [other], [one, other]):
        _, x, sign = _border(polygons, first + step / 2, step, _MEASURING_LINES)
        areas.append(-float((sign * x).sum()))
    small, large = sorted(areas[:2])
    return large + _TOUCHING * small < areas[2] < large + (1 - _TOUCHING) * small


def _border(polygons: Sequence[FloatArray], first: float, step: float, count: int) -> _Crossings:
    """Where lines y = first, first + step, … enter and leave what polygons cover together."""
    found = [_crossings(polygon, first, step, count) for polygon in polygons]
    line, x, sign = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((-sign, x, line))
    line, x, sign = line[order], x[order], sign[order]
    within = np.cumsum(sign)
    border = within == (sign > 0)  # from none to one, from one to none
    return line[border], x[border], sign[border]


def _crossings(polygon: FloatArray, first: float, step: float, count: int) -> _Crossings:
    """Where lines enter and leave a polygon, by the even-odd rule; in order of lines and x."""
    end = np.roll(polygon, -1, axis=0)
    up = polygon[:, 1:] < end[:, 1:]
    low, high = np.where(up, polygon, end), np.where(up, end, polygon)
    begin, stop = (
        np.clip(np.ceil((ends[:, 1] - first) / step), 0, count).astype(np.intp)
        for ends in (low, high)
    )
    number = stop - begin
    edge = np.repeat(np.arange(len(polygon)), number)
    line = np.arange(edge.size) + np.repeat(stop - np.cumsum(number), number)
    rise = (first + line * step - low[edge, 1]) / (high[edge, 1] - low[edge, 1])
    x = low[edge, 0] + rise * (high[edge, 0] - low[edge, 0])
    # Every line has an even number of crossings: in order, they enter and leave by turns.
    order = np.lexsort((x, line))
    return line[order], x[order], np.where(np.arange(x.size) % 2, -1.0, 1.0)


def inside(point: FloatArray, polygons: Sequence[FloatArray]) -> bool:
    """Whether (2,) ``point`` lies inside polygons of shape (n, 2)."""
    groups = united(polygons) if len(polygons) > 1 else [polygons]
    return sum(any(_inside(point, polygon) for polygon in group) for group in groups) % 2 == 1


def _inside(point: FloatArray, polygon: FloatArray) -> bool:
    there = np.roll(polygon, -1, axis=0)
    crossed = (polygon[:, 1] > point[1]) != (there[:, 1] > point[1])
    a, b = polygon[crossed], there[crossed]
    x = a[:, 0] + (point[1] - a[:, 1]) * (b[:, 0] - a[:, 0]) / (b[:, 1] - a[:, 1])
    return int(np.count_nonzero(x > point[0])) % 2 == 1


def coverage(polygons: Sequence[FloatArray], width: int, height: int) -> FloatArray:
    """How much of each pixel the polygons cover, 0 to 1.

    Exact along the rows, from four lines a pixel across them.

    Args:
        polygons: At least one, each of shape (n, 2): column, row; pixel centres at integers.
        width: Number of columns.
        height: Number of rows.

    Returns:
        Shape (height, width).
    """
    found = [
        _border(group, (1 / LINES - 1) / 2, 1 / LINES, height * LINES) for group in united(polygons)
    ]
    line, x, _ = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((x, line))
    line, x = line[order], np.clip(x[order] + 0.5, 0, width)
    sign = np.where(np.arange(x.size) % 2, -1.0, 1.0) / LINES
    column = np.floor(x).astype(np.intp)
    steps = np.zeros((height, width + 2))
    np.add.at(steps, (line // LINES, column), sign * (1 - x + column))
    np.add.at(steps, (line // LINES, column + 1), sign * (x - column))
    return np.cumsum(steps, axis=1)[:, :width]
