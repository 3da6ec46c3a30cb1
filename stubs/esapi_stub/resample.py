"""Contours on another grid than the one they were drawn on, and added or subtracted contours.

What cannot be done with the polygons themselves is done with coverage: how much of each pixel
lies inside (:func:`esapi_stub.grid.coverage`), traced again at one half.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, map_coordinates
from skimage.measure import find_contours

from esapi_stub.grid import Contours, FloatArray, Grid, coverage

SCALE = 4
"""How many times finer than the image contours are drawn where they are cut or united."""

DECIMALS = 4
"""Of a millimetre, in traced contours: more would be false precision."""


def resample(contours: Contours, source: Grid, target: Grid) -> dict[int, list[FloatArray]]:
    """Draw contours of one image on another in the same frame of reference.

    Args:
        contours: Plane of the source to polygons of shape (n, 3), mm.
        source: Grid they were drawn on.
        target: Grid to draw them on.

    Returns:
        Plane of the target to polygons. On the same grid the very same points; else the section
        of the source's volume with each plane of the target, cut off where the target ends.
    """
    if not contours or source.same_as(target):
        return {plane: list(polygons) for plane, polygons in contours.items()}
    low, volume = _volume(contours, source)
    corners = np.array([low - 1, low + volume.shape[::-1]])
    box = np.array([(x, y, z) for x in corners[:, 0] for y in corners[:, 1] for z in corners[:, 2]])
    there = target.to_index(source.to_patient(box))
    first = np.clip(np.floor(there.min(axis=0)), 0, target.size).astype(int)
    last = np.clip(np.ceil(there.max(axis=0)) + 1, 0, target.size).astype(int)
    if (last <= first).any():
        return {}
    rows, columns = np.mgrid[first[1] : last[1], first[0] : last[0]]
    found = {}
    for plane in range(first[2], last[2]):
        index = np.stack([columns, rows, np.full_like(rows, plane)], axis=-1)
        at = source.to_index(target.to_patient(index)) - low
        # A contour reaches half a plane distance up and down: between planes the nearer holds.
        at[..., 2] = np.floor(at[..., 2] + 0.5)
        field = map_coordinates(volume, at.T[::-1].transpose(0, 2, 1), order=1, cval=0.0)
        polygons = _trace(field, (int(first[0]), int(first[1])), plane, target)
        if polygons:
            found[plane] = polygons
    return found


def add(old: Sequence[FloatArray], new: FloatArray, plane: int, grid: Grid) -> list[FloatArray]:
    """Unite a polygon with those of a plane: one that lies apart is kept point by point.

    Args:
        old: Polygons of the plane, shape (n, 3), mm.
        new: The polygon to add.
        plane: Plane index.
        grid: Grid of the image.
    """
    before, drawn = _masks(old, new, grid)
    if not (before & binary_dilation(drawn)).any():
        return [*old, new]
    if not (drawn & ~before).any():
        return list(old)
    return _retrace(before | drawn, plane, grid)


def subtract(
    old: Sequence[FloatArray], new: FloatArray, plane: int, grid: Grid
) -> list[FloatArray]:
    """Take a polygon away from those of a plane: one that lies within is kept as a hole.

    Args:
        old: Polygons of the plane, shape (n, 3), mm.
        new: The polygon to take away.
        plane: Plane index.
        grid: Grid of the image.
    """
    before, drawn = _masks(old, new, grid)
    if not (before & drawn).any():
        return list(old)
    if not (binary_dilation(drawn) & ~before).any():
        return [*old, new]
    return _retrace(before & ~drawn, plane, grid)


def rasterise(contours: Contours, grid: Grid, scale: int) -> dict[int, list[FloatArray]]:
    """Draw contours as a planning system does, which keeps no more than how full each pixel is.

    Outlines move by up to half a pixel, most where they are small; what fills no pixel by half
    is gone.

    Args:
        contours: Plane to polygons of shape (n, 3), mm.
        grid: Grid of the image.
        scale: How many of its own pixels the system has across one of the image.
    """
    drawn = {k: _trace(_fine(p, grid, scale), (0, 0), k, grid, scale) for k, p in contours.items()}
    return {plane: polygons for plane, polygons in drawn.items() if polygons}


def _volume(contours: Contours, grid: Grid) -> tuple[NDArray[np.intp], FloatArray]:
    """Coverage (z, y, x) of the contours' bounding box, and the box's first index (x, y, z)."""
    index = {k: [grid.to_index(p)[:, :2] for p in polygons] for k, polygons in contours.items()}
    every = np.concatenate([polygon for polygons in index.values() for polygon in polygons])
    low = np.floor(every.min(axis=0)).astype(int) - 1
    width, height = np.ceil(every.max(axis=0)).astype(int) + 2 - low
    first, last = min(index), max(index)
    volume = np.zeros((last - first + 1, height, width))
    for plane, polygons in index.items():
        volume[plane - first] = coverage([p - low for p in polygons], width, height)
    return np.array([*low, first]), volume


def _trace(
    field: FloatArray, first: tuple[int, int], plane: int, grid: Grid, scale: int = 1
) -> list[FloatArray]:
    """Polygons (n, 3), mm, around what is above one half; ``field`` begins at pixel ``first``."""
    if not (field > 0.5).any():
        return []
    polygons = []
    for line in find_contours(np.pad(field, 1), 0.5):  # type: ignore[no-untyped-call]
        rows, columns = (line[:-1] - 1).T
        x = (columns + 0.5) / scale - 0.5 + first[0]
        y = (rows + 0.5) / scale - 0.5 + first[1]
        points = grid.to_patient(np.stack([x, y, np.full_like(x, plane)], axis=-1))
        polygons.append(np.round(points, DECIMALS))
    return [polygon for polygon in polygons if len(polygon) > 2]


def _masks(
    old: Sequence[FloatArray], new: FloatArray, grid: Grid
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which quarter pixels the old polygons cover, and which the new one."""
    drawn = _fine([new], grid) > 0.5
    return (_fine(old, grid) > 0.5 if old else np.zeros_like(drawn)), drawn


def _fine(polygons: Sequence[FloatArray], grid: Grid, scale: int = SCALE) -> FloatArray:
    columns, rows, _ = grid.size
    scaled = [(grid.to_index(polygon)[:, :2] + 0.5) * scale - 0.5 for polygon in polygons]
    return coverage(scaled, columns * scale, rows * scale)


def _retrace(fine: NDArray[np.bool_], plane: int, grid: Grid) -> list[FloatArray]:
    return _trace(fine.astype(float), (0, 0), plane, grid, scale=SCALE)
