"""Contours to voxels: a voxel belongs to a structure when its centre lies within its contours.

Within means an odd number of times: an inner ring is a hole, a ring in it an island, and the
channel of a keyhole contour, walked once each way, is nothing (PS3.3 C.8.8.6.3). What is inside is
found row by row: every edge that a row's line crosses toggles all voxels to the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.geometry import FloatArray, ImageGeometry

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]
Box = tuple[slice, slice, slice]

SAME_PLACE_MM = 0.01
# Of a voxel: far below what a contour's digits tell, far above rounding on the way into the index
# space. Without it an edge through voxel centres would fall to either side by chance.
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Slices:
    """Where the slices of an image lie.

    Attributes:
        geometry: The regular grid that comes closest: first slice, usual distance.
        positions: Of each slice along the third axis, rising, mm; what decides where slices are
            not regular.
        origins: Image Position (Patient) of each slice, shape (n, 3), mm.
    """

    geometry: ImageGeometry
    positions: FloatArray = field(repr=False)
    origins: FloatArray = field(repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        columns, rows, planes = self.geometry.size
        return planes, rows, columns

    @property
    def axes(self) -> FloatArray:
        """Unit vectors along a row, along a column and along the normal, as rows of (3, 3)."""
        return axes_of(self.geometry)


def axes_of(geometry: ImageGeometry) -> FloatArray:
    """Unit vectors of a grid, as rows of (3, 3)."""
    return np.array([geometry.x_direction, geometry.y_direction, geometry.z_direction], dtype=float)


def regular_slices(geometry: ImageGeometry) -> Slices:
    """The slices of a regular grid, such as an ``Image`` of ESAPI."""
    origins = np.array([geometry.plane_position(plane) for plane in range(geometry.size[2])])
    return Slices(geometry, origins @ axes_of(geometry)[2], origins)


@dataclass(frozen=True, slots=True)
class Mask:
    """The voxels of one structure, within their bounding box.

    Attributes:
        box: Slices, rows and columns of the whole volume that ``inside`` stands for.
        inside: Which voxels of the box belong to the structure.
        off_slice_mm: Largest distance of a contour's points from the slice it went to.
        left_out: Contours that no slice lies within half the usual distance of.
    """

    box: Box
    inside: BoolArray = field(repr=False)
    off_slice_mm: float = 0.0
    left_out: int = 0

    @property
    def voxels(self) -> int:
        """How many voxels belong to it."""
        return int(np.count_nonzero(self.inside))

    def plane(self, number: int, shape: tuple[int, int, int]) -> BoolArray:
        """The same for one slice of a whole volume, shape (rows, columns)."""
        whole = np.zeros(shape[1:], dtype=np.bool_)
        within = number - self.box[0].start
        if 0 <= within < len(self.inside):
            whole[self.box[1:]] = self.inside[within]
        return whole

    def full(self, shape: tuple[int, int, int]) -> BoolArray:
        """The same for a whole volume."""
        whole = np.zeros(shape, dtype=np.bool_)
        whole[self.box] = self.inside
        return whole


def empty(off_slice_mm: float = 0.0, left_out: int = 0) -> Mask:
    """A mask without voxels."""
    nothing = (slice(0, 0), slice(0, 0), slice(0, 0))
    return Mask(nothing, np.zeros((0, 0, 0), dtype=np.bool_), off_slice_mm, left_out)


def overlap(one: Mask, other: Mask) -> int:
    """How many voxels two masks of the same volume share."""
    starts = [max(a.start, b.start) for a, b in zip(one.box, other.box, strict=True)]
    stops = [min(a.stop, b.stop) for a, b in zip(one.box, other.box, strict=True)]
    if any(start >= stop for start, stop in zip(starts, stops, strict=True)):
        return 0
    parts = [
        mask.inside[
            tuple(
                slice(start - own.start, stop - own.start)
                for start, stop, own in zip(starts, stops, mask.box, strict=True)
            )
        ]
        for mask in (one, other)
    ]
    return int(np.count_nonzero(parts[0] & parts[1]))


def rasterise(contours: Sequence[FloatArray], stack: Slices) -> Mask:
    """Find the voxels whose centres lie within closed contours.

    Each contour goes to the slice that is nearest by position, whatever the slices' numbers and
    however regular they are. Where contours of several positions fall on one slice (drawn on a
    finer series), those of the nearest position count. What lies outside the image is cut off.

    Args:
        contours: Polygons of shape (n, 3) in patient space, mm, in any order.
        stack: The slices.
    """
    if not contours:
        return empty()
    lengths = np.array([len(contour) for contour in contours])
    points = np.concatenate(contours)
    starts = np.cumsum(lengths) - lengths
    planes, used, off_slice = _assign(points, starts, lengths, stack)
    left_out = int(np.count_nonzero(planes < 0))
    if not used.any():
        return empty(0.0, left_out)

    x, y, _ = stack.axes
    across, down, _ = stack.geometry.spacing
    of_point = np.repeat(np.maximum(planes, 0), lengths)
    u = np.round((points @ x - (stack.origins @ x)[of_point]) / across, _DIGITS)
    v = np.round((points @ y - (stack.origins @ y)[of_point]) / down, _DIGITS)
    following = np.arange(1, len(points) + 1)
    following[starts + lengths - 1] = starts
    edges = np.flatnonzero(np.repeat(used, lengths))
    ends = following[edges]
    _, rows, columns = stack.shape
    at_plane, at_row, at_column = _crossings(
        of_point[edges], np.stack([u[edges], v[edges]]), np.stack([u[ends], v[ends]]), rows, columns
    )
    if not len(at_row):
        return empty(off_slice, left_out)
    inside, box = _fill(at_plane, at_row, at_column)
    return Mask(box, inside, off_slice, left_out) if inside.size else empty(off_slice, left_out)


def _assign(
    points: FloatArray, starts: IntArray, lengths: IntArray, stack: Slices
) -> tuple[IntArray, BoolArray, float]:
    """Give each contour its slice (-1: none), say which ones count, and how far they are off."""
    heights = points @ stack.axes[2]
    middles = np.add.reduceat(heights, starts) / lengths
    positions = stack.positions
    between = (positions[1:] + positions[:-1]) / 2
    planes = np.searchsorted(between, middles)
    off = np.maximum.reduceat(np.abs(heights - np.repeat(positions[planes], lengths)), starts)
    far = off > stack.geometry.spacing[2] / 2 + SAME_PLACE_MM

    # Of contours at several positions by one slice, those that lie with the nearest of them.
    signed = middles - positions[planes]
    order = np.lexsort((signed, np.abs(signed).round(3), far, planes))
    first_of_plane = np.full(len(positions), np.nan)
    first_of_plane[planes[order][::-1]] = signed[order][::-1]  # the last one written is the first
    used = ~far & (np.abs(signed - first_of_plane[planes]) <= SAME_PLACE_MM)
    planes = np.where(far, -1, planes)
    return planes, used, float(off[used].max()) if used.any() else 0.0


def _crossings(
    planes: IntArray, one: FloatArray, other: FloatArray, rows: int, columns: int
) -> tuple[IntArray, IntArray, IntArray]:
    """Where edges cross the lines through voxel centres: slice, row, first column to the right.

    A line crosses an edge from its upper end to just before its lower one, and a centre on an
    edge is to its right: neighbours that share an edge never share a voxel, nor leave one out.
    """
    # Both ways along an edge must come to the very same numbers.
    turned = (one[1] > other[1]) | ((one[1] == other[1]) & (one[0] > other[0]))
    (u0, v0), (u1, v1) = np.where(turned, other, one), np.where(turned, one, other)
    first = np.clip(np.ceil(v0), 0, rows).astype(np.intp)
    counts = np.clip(np.ceil(v1), 0, rows).astype(np.intp) - first
    edge = np.repeat(np.arange(len(planes)), counts)
    row = np.arange(len(edge)) + (first - (np.cumsum(counts) - counts))[edge]
    at = u0[edge] + (row - v0[edge]) * (u1 - u0)[edge] / (v1 - v0)[edge]
    return planes[edge], row, np.clip(np.ceil(at), 0, columns).astype(np.intp)


def _fill(planes: IntArray, rows: IntArray, columns: IntArray) -> tuple[BoolArray, Box]:
    """Toggle everything to the right of each crossing, within the box of all of them."""
    low = [int(axis.min()) for axis in (planes, rows, columns)]
    high = [int(axis.max()) for axis in (planes, rows, columns)]
    # One column more than the box: what is toggled there is toggled beyond it.
    shape = (high[0] - low[0] + 1, high[1] - low[1] + 1, high[2] - low[2] + 1)
    toggles = np.zeros(shape, dtype=np.uint8)
    at = np.ravel_multi_index((planes - low[0], rows - low[1], columns - low[2]), shape)
    # Sums modulo 256 keep what is odd.
    np.add.at(toggles.reshape(-1), at, np.uint8(1))
    np.add.accumulate(toggles, axis=2, out=toggles)
    np.bitwise_and(toggles, 1, out=toggles)
    box = (
        slice(low[0], high[0] + 1),
        slice(low[1], high[1] + 1),
        slice(low[2], high[2]),
    )
    return toggles.view(np.bool_)[:, :, :-1], box
