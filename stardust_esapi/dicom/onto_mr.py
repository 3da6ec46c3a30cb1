"""Bring structures from the CT onto the grid of the MR, through the registration between them.

A structure is carried as the signed distance to its surface: interpolated between voxel centres,
its zero lies where the surface does, between voxels too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.dicom.read_series import Stack
from stardust_esapi.geometry import FloatArray, moved
from stardust_esapi.mask import Mask, empty

# Interpolation looks one voxel further; a second one keeps a cut from being taken for a surface.
_MARGIN = 2
_OUTSIDE_MM = -1000.0
_ENOUGH_VOXELS = 100_000


def carry(mask: Mask, ct: Stack, mr: Stack, mr_to_ct: FloatArray) -> Mask:
    """Find the voxels of the MR whose centres lie within a structure of the CT.

    Args:
        mask: The structure on the CT.
        ct: The slices of the CT.
        mr: The slices of the MR.
        mr_to_ct: Takes points of the MR's frame of reference into the CT's, shape (4, 4).
    """
    from scipy.ndimage import map_coordinates  # takes a while, and a CT needs none of it

    if not mask.inside.size:
        return mask
    # What the MR shows of it, in voxels of the CT: a whole body need not be carried for a head.
    seen = ct.to_index(moved(mr_to_ct, mr.to_patient(_corners([-1, -1, -1], mr.shape))))
    starts = [axis.start for axis in mask.box]
    stops = [axis.stop for axis in mask.box]
    low = np.maximum(starts, np.floor(seen.min(axis=0))).astype(int) - _MARGIN
    high = np.minimum(stops, np.ceil(seen.max(axis=0)) + 1).astype(int) + _MARGIN
    if (high - low <= 2 * _MARGIN).any():
        return replace(mask, box=empty().box, inside=empty().inside)
    distance = _signed_distance(_cut(mask, low, high), ct)

    ct_to_mr = np.asarray(np.linalg.inv(mr_to_ct), dtype=float)
    where = mr.to_index(moved(ct_to_mr, ct.to_patient(_corners(low.tolist(), high.tolist()))))
    first = np.clip(np.floor(where.min(axis=0)).astype(int) - 1, 0, mr.shape)
    last = np.clip(np.ceil(where.max(axis=0)).astype(int) + 2, 0, mr.shape)
    inside = np.zeros(np.maximum(last - first, 0), dtype=np.bool_)
    rows, columns = np.mgrid[first[1] : last[1], first[2] : last[2]].astype(float)
    for number, plane in enumerate(range(first[0], last[0])):
        index = np.stack([np.full_like(rows, plane), rows, columns], axis=-1)
        at = ct.to_index(moved(mr_to_ct, mr.to_patient(index))) - low
        map_coordinates(
            distance,
            np.moveaxis(at, -1, 0),
            order=1,
            mode="constant",
            cval=_OUTSIDE_MM,
            output=(values := np.empty(rows.shape, dtype=np.float32)),
        )
        inside[number] = values > 0
    box = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    return replace(mask, box=cast(Any, box), inside=inside)


def share_shown(mask: Mask, ct: Stack, mr: Stack, mr_to_ct: FloatArray) -> float:
    """Which share of a structure of the CT lies within the voxels of the MR; 1 of an empty one.

    Args:
        mask: The structure on the CT; of a large one a part of its voxels is looked at.
        ct: The slices of the CT.
        mr: The slices of the MR.
        mr_to_ct: Takes points of the MR's frame of reference into the CT's, shape (4, 4).
    """
    some = np.flatnonzero(mask.inside)
    if not some.size:
        return 1.0
    some = some[:: max(1, some.size // _ENOUGH_VOXELS)]
    index = np.stack(np.unravel_index(some, mask.inside.shape), axis=-1).astype(float)
    index += [axis.start for axis in mask.box]
    ct_to_mr = np.asarray(np.linalg.inv(mr_to_ct), dtype=float)
    at = mr.to_index(moved(ct_to_mr, ct.to_patient(index)))
    shown = ((at > -0.5) & (at < np.array(mr.shape) - 0.5)).all(axis=-1)
    return float(shown.mean())


def _corners(low: list[int], high: Any) -> FloatArray:
    """The eight corners of a box of voxels, shape (8, 3)."""
    pairs = np.stack([low, high]).astype(float)
    return np.stack(np.meshgrid(*pairs.T, indexing="ij"), axis=-1).reshape(-1, 3)


def _cut(mask: Mask, low: NDArray[np.int_], high: NDArray[np.int_]) -> NDArray[np.bool_]:
    """The mask from voxel ``low`` to before ``high`` of the volume, without where it has none."""
    part = np.zeros(high - low, dtype=np.bool_)
    there, here = [], []
    for axis, start, stop in zip(mask.box, low.tolist(), high.tolist(), strict=True):
        begin, end = max(axis.start, start), min(axis.stop, stop)
        there.append(slice(begin - start, end - start))
        here.append(slice(begin - axis.start, end - axis.start))
    part[tuple(there)] = mask.inside[tuple(here)]
    return part


def _signed_distance(inside: NDArray[np.bool_], ct: Stack) -> NDArray[np.float32]:
    """Distance to the surface, mm: positive inside, negative outside."""
    from scipy.ndimage import distance_transform_edt

    if inside.all():  # no surface in sight
        return np.full(inside.shape, -_OUTSIDE_MM, dtype=np.float32)
    across, down, step = ct.geometry.spacing
    sampling = (step, down, across)
    distance = cast(Any, distance_transform_edt(inside, sampling)).astype(np.float32)
    outside: Any = distance_transform_edt(~inside, sampling)
    distance -= outside
    return cast(NDArray[np.float32], distance)
