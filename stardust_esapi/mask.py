"""Contours to voxels, and back: a voxel is a structure's when its centre lies in its contours.

Within means an odd number of times: an inner ring is a hole, a ring in it an island, and the
channel of a keyhole contour, walked once each way, is nothing (PS3.3 C.8.8.6.3). What is inside is
found row by row: every edge that a row's line crosses toggles all voxels to the right.

By that rule alone, contours that meet would take voxels from one another. So a ring that is stored
again counts once, and contours of a slice that cross are united, and counted: that one of them was
meant to take something away is not likely, and not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.errors import CaseError
from stardust_esapi.geometry import FloatArray, ImageGeometry

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]
Box = tuple[slice, slice, slice]

SAME_PLACE_MM = 0.01
# Heights that are rounded differ by less; what lies farther apart was drawn apart.
_ONE_HEIGHT_MM = 0.1
# Of the longer one of two steps between finer slices: how far they may differ.
_EVEN = 0.25
# No structure that somebody drew has so many; a file that is made to take time has.
_MOST_MEETINGS = 1_000_000
# Of a voxel: what is thinner is no wall with a hole in it, but one ring stored with other points.
_THINNEST = 0.1
# Of a voxel: far below what a contour's digits tell, far above rounding on the way into the index
# space. Without it an edge through voxel centres would fall to either side by chance.
_DIGITS = 6
# Of a voxel: how far outlines lie beyond the centres of the outermost voxels. Half a voxel is their
# edge, which a reader that rounds may round away from them; the rest leaves room for its rounding.
_BEYOND = 0.45


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

    def to_index(self, points: FloatArray) -> FloatArray:
        """Fractional (plane, row, column) of (…, 3) patient points, shape (…, 3).

        Between two slices by their own positions and origins, so that it is right for slices that
        are not regular; beyond the first and the last by the usual distance.
        """
        x, y, normal = self.axes
        across, down, step = self.geometry.spacing
        position, ends = points @ normal, self.positions[[0, -1]]
        plane = np.interp(position, self.positions, np.arange(len(self.positions), dtype=float))
        plane += (position - np.clip(position, *ends)) / step
        column = (points @ x - np.interp(position, self.positions, self.origins @ x)) / across
        row = (points @ y - np.interp(position, self.positions, self.origins @ y)) / down
        return np.stack([plane, row, column], axis=-1)

    def to_patient(self, index: FloatArray) -> FloatArray:
        """Patient points of fractional (…, 3) indices (plane, row, column): turns `to_index`."""
        x, y, normal = self.axes
        across, down, step = self.geometry.spacing
        plane, row, column = np.moveaxis(np.asarray(index, dtype=float), -1, 0)
        planes = np.arange(len(self.positions), dtype=float)
        beyond = (plane - np.clip(plane, 0, planes[-1])) * step
        origin = np.stack(
            [np.interp(plane, planes, self.origins[:, axis]) for axis in range(3)], axis=-1
        )
        steps = np.stack([column * across, row * down, beyond], axis=-1)
        return np.asarray(origin + steps @ np.array([x, y, normal]), dtype=float)


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
        finer: Contours passed over because the structure was drawn on finer slices, and one that
            lies nearer to the slice overlaps them.
        united: Slices on which contours cross and were united.
    """

    box: Box
    inside: BoolArray = field(repr=False)
    off_slice_mm: float = 0.0
    left_out: int = 0
    finer: int = 0
    united: int = 0

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
    however regular they are. Of a structure that was drawn on finer slices, the nearest sections
    count. What lies outside the image is cut off.

    Args:
        contours: Polygons of shape (n, 3) in patient space, mm, in any order.
        stack: The slices.

    Raises:
        CaseError: Its contours lie over one another more often than those of any structure.
    """
    if not contours:
        return empty()
    lengths = np.array([len(contour) for contour in contours])
    points = np.concatenate(contours)
    starts = np.cumsum(lengths) - lengths
    planes, heights, off = _assign(points, starts, lengths, stack)
    left_out = int(np.count_nonzero(planes < 0))
    if left_out == len(planes):
        return empty(left_out=left_out)

    x, y, _ = stack.axes
    across, down, _ = stack.geometry.spacing
    of_point = np.repeat(np.maximum(planes, 0), lengths)
    u = np.round((points @ x - (stack.origins @ x)[of_point]) / across, _DIGITS)
    v = np.round((points @ y - (stack.origins @ y)[of_point]) / down, _DIGITS)
    flat = np.stack([u, v])
    low, high = (ends.reduceat(flat, starts, axis=1) for ends in (np.minimum, np.maximum))
    pairs = _meeting(planes, low, high)
    finer = _between_slices(planes, heights, stack)
    if finer.any():
        # What nothing nearer overlaps is a part of its own.
        finer &= np.isin(np.arange(len(finer)), pairs[finer[pairs].sum(axis=1) == 1])
        pairs = pairs[~finer[pairs].any(axis=1)]
    used = (planes >= 0) & ~finer

    following = np.arange(1, len(points) + 1)
    following[starts + lengths - 1] = starts
    edges = np.flatnonzero(np.repeat(used, lengths))
    owners = np.repeat(np.arange(len(lengths)), lengths)[edges]
    _, rows, columns = stack.shape
    crossed = _crossings(owners, flat[:, edges], flat[:, following[edges]], rows, columns)
    outlines = {
        one: flat[:, starts[one] :][:, : lengths[one]] for one in set(pairs.ravel().tolist())
    }
    mask, united = _combine(crossed, planes, heights, pairs.tolist(), outlines)
    return replace(
        mask,
        off_slice_mm=float(off[used].max()),
        left_out=left_out,
        finer=int(np.count_nonzero(finer)),
        united=united,
    )


def outlines(mask: Mask, stack: Slices) -> dict[int, list[FloatArray]]:
    """Contours of which :func:`rasterise` makes the very voxels of a mask.

    They lie just within the voxels' edges, so that every point of them is nearest to a voxel of the
    mask: who rounds points to voxels and fills what they enclose, borders included, as MedSAM2's
    reader does, comes to the same voxels. A hole is a contour in another one (PS3.3 C.8.8.6.3), and
    voxels that meet at a corner alone lie in contours of their own.

    Args:
        mask: The mask.
        stack: The slices that it is of.

    Returns:
        By slice, closed polygons of shape (n, 3) in patient space, mm.
    """
    from contourpy import contour_generator  # takes a while, and few need it

    x, y, _ = stack.axes
    across, down, _ = stack.geometry.spacing
    planes, rows, columns = mask.box
    found = {}
    for number, inside in enumerate(mask.inside, start=planes.start):
        # One voxel more all around: lines are closed also where the image ends.
        generator = contour_generator(
            np.arange(columns.start - 1, columns.stop + 1),
            np.arange(rows.start - 1, rows.stop + 1),
            np.pad(inside, 1).astype(float),
        )
        polygons = []
        for line in cast("list[FloatArray]", generator.lines(1 - _BEYOND)):
            u, v = _turns(line[:-1]).T[:, :, None]
            polygons.append(stack.origins[number] + u * across * x + v * down * y)
        if polygons:
            found[number] = polygons
    return found


def _turns(polygon: FloatArray) -> FloatArray:
    """A polygon (n, 2) without the points that lie on the line between their neighbours."""
    before = polygon - np.roll(polygon, 1, axis=0)
    after = np.roll(polygon, -1, axis=0) - polygon
    crosses = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    turns: FloatArray = polygon[np.abs(crosses) > 10**-_DIGITS]
    return turns


def _assign(
    points: FloatArray, starts: IntArray, lengths: IntArray, stack: Slices
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Each contour's slice (-1: none), its height, and how far it is off its slice at most, mm."""
    along = points @ stack.axes[2]
    heights = np.add.reduceat(along, starts) / lengths
    positions = stack.positions
    planes = np.searchsorted((positions[1:] + positions[:-1]) / 2, heights)
    off = np.maximum.reduceat(np.abs(along - np.repeat(positions[planes], lengths)), starts)
    far = off > stack.geometry.spacing[2] / 2 + SAME_PLACE_MM
    return np.where(far, -1, planes), heights, off


def _between_slices(planes: IntArray, heights: FloatArray, stack: Slices) -> BoolArray:
    """Which contours lie at a height of finer slices, and not at the nearest one to their slice.

    Three heights in a row at even steps, smaller than ours, are of finer slices. Contours that were
    only moved off their slices make no such row.
    """
    order = np.argsort(heights, kind="stable")
    steps = np.append(np.inf, np.diff(heights[order]))
    is_next = steps > SAME_PLACE_MM
    level = np.empty(len(order), dtype=np.intp)
    level[order] = np.cumsum(is_next) - 1
    steps = steps[is_next][1:]
    longer = np.maximum(steps[1:], steps[:-1])
    row = (longer < stack.geometry.spacing[2] - SAME_PLACE_MM) & (
        np.abs(np.diff(steps)) <= _EVEN * longer
    )
    fine = np.zeros(len(steps) + 1, dtype=np.bool_)
    for first in range(3):
        fine[first:][: len(row)] |= row
    if not fine.any():
        return fine[level]
    off = np.round(np.abs(heights - stack.positions[planes]), 3)
    order = np.lexsort((level, off, planes))
    nearest = np.empty(len(stack.positions), dtype=np.intp)
    nearest[planes[order][::-1]] = level[order][::-1]  # the last one written is the first
    between: BoolArray = fine[level] & (level != nearest[planes]) & (planes >= 0)
    return between


def _meeting(planes: IntArray, low: FloatArray, high: FloatArray) -> IntArray:
    """Pairs of contours of one slice whose bounding boxes overlap, shape (n, 2).

    Raises:
        CaseError: There are more than any structure has.
    """
    order = np.lexsort((low[1], planes))
    order = order[planes[order] >= 0]
    found = [np.empty((0, 2), dtype=np.intp)]
    at, ahead = np.arange(len(order)), 0
    while len(at):
        ahead += 1
        at = at[at < len(order) - ahead]
        one, other = order[at], order[at + ahead]
        # They are sorted by their first rows: what ends above the next one meets none after it.
        beside = (planes[one] == planes[other]) & (low[1, other] <= high[1, one])
        at, one, other = at[beside], one[beside], other[beside]
        meet = (low[0, one] <= high[0, other]) & (low[0, other] <= high[0, one])
        found.append(np.stack([one[meet], other[meet]], axis=1))
        if sum(map(len, found)) > _MOST_MEETINGS:
            raise CaseError(
                "a structure's contours lie over one another more than a million times. Look at "
                "its structure set in Eclipse."
            )
    return np.concatenate(found)


def _combine(
    crossed: _Crossed,
    planes: IntArray,
    heights: FloatArray,
    pairs: list[list[int]],
    outlines: Mapping[int, FloatArray],
) -> tuple[Mask, int]:
    """The voxels of all contours together, and on how many slices some were united.

    Args:
        crossed: Where each contour crosses the lines through voxel centres.
        planes: Slice of each contour.
        heights: Its height, mm.
        pairs: Contours that may meet.
        outlines: Their vertices, shape (2, n), voxels.
    """
    owners, rows, columns = crossed
    alone = {}
    for one in outlines:
        own = slice(*np.searchsorted(owners, [one, one + 1]))
        alone[one] = _fill(planes[owners[own]], rows[own], columns[own])
    again: set[int] = set()
    groups: list[set[int]] = []
    for one, other in pairs:
        large, small = sorted((one, other), key=lambda which: -alone[which].voxels)
        shared = overlap(alone[one], alone[other])
        if shared == alone[large].voxels:
            again.add(max(one, other))
        elif shared and (
            shared < alone[small].voxels
            or abs(heights[one] - heights[other]) > _ONE_HEIGHT_MM
            or _is_one_ring(outlines[large], outlines[small])
        ):
            joined = [group for group in groups if group & {one, other}]
            groups = [group for group in groups if group not in joined]
            groups.append({one, other}.union(*joined))
    apart = ~np.isin(owners, [*again, *(one for group in groups for one in group)])
    parts = [_fill(planes[owners[apart]], rows[apart], columns[apart])]
    parts += [_joined([alone[one] for one in group], np.logical_or) for group in groups]
    united = len({int(planes[one]) for group in groups for one in group})
    return _joined(parts, np.logical_xor), united


def _is_one_ring(large: FloatArray, small: FloatArray) -> bool:
    """Whether there is no wall between two outlines, of shape (2, n), one within the other."""
    areas = [
        abs(float(np.sum(u * np.roll(v, -1) - np.roll(u, -1) * v))) / 2 for u, v in (large, small)
    ]
    around = float(np.hypot(*(np.roll(large, -1, axis=1) - large)).sum())
    return abs(areas[0] - areas[1]) < _THINNEST * around


def _joined(masks: Sequence[Mask], how: np.ufunc) -> Mask:
    """Several masks as one: united, or what belongs to an odd number of them."""
    filled = [mask for mask in masks if mask.inside.size]
    if len(filled) < 2:
        return filled[0] if filled else empty()
    low = np.min([[axis.start for axis in mask.box] for mask in filled], axis=0)
    high = np.max([[axis.stop for axis in mask.box] for mask in filled], axis=0)
    inside = np.zeros(high - low, dtype=np.bool_)
    for mask in filled:
        part = inside[
            tuple(slice(a.start - s, a.stop - s) for a, s in zip(mask.box, low, strict=True))
        ]
        how(part, mask.inside, out=part)
    planes, rows, columns = (slice(*ends) for ends in zip(low.tolist(), high.tolist(), strict=True))
    return Mask((planes, rows, columns), inside)


_Crossed = tuple[IntArray, IntArray, IntArray]
"""Contour, row, first column to the right."""


def _crossings(
    owners: IntArray, one: FloatArray, other: FloatArray, rows: int, columns: int
) -> _Crossed:
    """Where edges of contours cross the lines through voxel centres.

    A line crosses an edge from its upper end to just before its lower one, and a centre on an
    edge is to its right: neighbours that share an edge never share a voxel, nor leave one out.
    """
    # Both ways along an edge must come to the very same numbers.
    turned = (one[1] > other[1]) | ((one[1] == other[1]) & (one[0] > other[0]))
    (u0, v0), (u1, v1) = np.where(turned, other, one), np.where(turned, one, other)
    first = np.clip(np.ceil(v0), 0, rows).astype(np.intp)
    counts = np.clip(np.ceil(v1), 0, rows).astype(np.intp) - first
    edge = np.repeat(np.arange(len(owners)), counts)
    row = np.arange(len(edge)) + (first - (np.cumsum(counts) - counts))[edge]
    at = u0[edge] + (row - v0[edge]) * (u1 - u0)[edge] / (v1 - v0)[edge]
    return owners[edge], row, np.clip(np.ceil(at), 0, columns).astype(np.intp)


def _fill(planes: IntArray, rows: IntArray, columns: IntArray) -> Mask:
    """Toggle everything to the right of each crossing, within the box of all of them."""
    if not len(planes) or columns.min() == columns.max():
        return empty()
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
    return Mask(box, toggles.view(np.bool_)[:, :, :-1])
