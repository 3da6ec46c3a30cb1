"""Bring structures from the CT onto the grid of the MR, through the registration between them.

A structure is carried as the signed distance to its surface: interpolated between voxel centres,
its zero lies where the surface does, between voxels too.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import pydicom
from numpy.typing import NDArray

from stardust_esapi.dicom.read_series import Stack
from stardust_esapi.errors import CaseError
from stardust_esapi.geometry import FloatArray
from stardust_esapi.mask import Mask, empty

# Interpolation looks one voxel further; a second one keeps a cut from being taken for a surface.
_MARGIN = 2
_OUTSIDE_MM = -1000.0
_ENOUGH_VOXELS = 100_000
_TAGS = ["FrameOfReferenceUID", "RegistrationSequence"]


def read_mr_to_ct(registration: Path | None, mr: Stack, ct: Stack) -> FloatArray:
    """The (4, 4) matrix that takes points of the MR into the frame of reference of the CT, mm.

    PS3.3 C.20.2.1.1: the matrix of an item takes points of the frame of reference that the item
    names into the object's own; a series that lies in that one needs no item.

    Args:
        registration: The ``RE*.dcm``; None where there is none.
        mr: The MR.
        ct: The CT that the structures were drawn on.

    Raises:
        CaseError: They share no frame of reference and nothing registers one with the other.
    """
    if mr.frame_of_reference_uid and mr.frame_of_reference_uid == ct.frame_of_reference_uid:
        return np.eye(4)
    if registration is None:
        raise CaseError(
            "MR and CT lie in different frames of reference and there is no registration (RE*.dcm) "
            "beside the MR. Export the case again with MRregUID."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The list of tags may be of keywords; pydicom's annotation says numbers.
            ds: Any = pydicom.dcmread(registration, specific_tags=cast(Any, _TAGS))
            from_mr, from_ct = (_to_registered(ds, stack) for stack in (mr, ct))
    except CaseError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file makes the parser raise anything
        raise CaseError(
            f"its registration is damaged ({type(error).__name__}). Export it again."
        ) from None
    return np.asarray(np.linalg.solve(from_ct, from_mr), dtype=float)


def _to_registered(ds: Any, stack: Stack) -> FloatArray:
    """From a series into the frame of reference of the registration."""
    uids, found = set(stack.sop_instance_uids), []
    for item in ds.RegistrationSequence:
        if "FrameOfReferenceUID" in item:
            meant = str(item.FrameOfReferenceUID) == stack.frame_of_reference_uid
        else:
            images = item.get("ReferencedImageSequence") or []
            meant = any(str(image.ReferencedSOPInstanceUID) in uids for image in images)
        if not meant:
            continue
        matrices = item.MatrixRegistrationSequence[0].MatrixSequence
        if len(matrices) != 1:
            # Programs read the order of a chain in both ways.
            raise CaseError(
                "its registration is a chain of several matrices, which is not read. Register "
                "the MR anew in Eclipse."
            )
        values = matrices[0].FrameOfReferenceTransformationMatrix
        found.append(np.array(values, dtype=float).reshape(4, 4))
    if not found and str(ds.FrameOfReferenceUID) == stack.frame_of_reference_uid:
        return np.eye(4)
    if not found or not all(np.allclose(matrix, found[0], atol=1e-4) for matrix in found):
        what = "contradicts itself about" if found else "does not name"
        raise CaseError(
            f"its registration {what} the frame of reference of the {stack.modality}. "
            "Check MRregUID in the case list."
        )
    return found[0]


def transfer(mask: Mask, ct: Stack, mr: Stack, mr_to_ct: FloatArray) -> Mask:
    """Find the voxels of the MR whose centres lie within a structure of the CT.

    Args:
        mask: The structure on the CT.
        ct: The slices of the CT.
        mr: The slices of the MR.
        mr_to_ct: Takes points of the MR's frame of reference into the CT's, shape (4, 4).
    """
    from scipy.ndimage import map_coordinates  # takes a while, and a CT needs none of it

    if not mask.inside.size:
        return empty(mask.off_slice_mm, mask.left_out)
    # What the MR shows of it, in voxels of the CT: a whole body need not be carried for a head.
    seen = ct.to_index(_move(mr_to_ct, mr.to_patient(_corners([-1, -1, -1], mr.shape))))
    starts = [axis.start for axis in mask.box]
    stops = [axis.stop for axis in mask.box]
    low = np.maximum(starts, np.floor(seen.min(axis=0))).astype(int) - _MARGIN
    high = np.minimum(stops, np.ceil(seen.max(axis=0)) + 1).astype(int) + _MARGIN
    if (high - low <= 2 * _MARGIN).any():
        return empty(mask.off_slice_mm, mask.left_out)
    distance = _signed_distance(_cut(mask, low, high), ct)

    ct_to_mr = np.asarray(np.linalg.inv(mr_to_ct), dtype=float)
    where = mr.to_index(_move(ct_to_mr, ct.to_patient(_corners(low.tolist(), high.tolist()))))
    first = np.clip(np.floor(where.min(axis=0)).astype(int) - 1, 0, mr.shape)
    last = np.clip(np.ceil(where.max(axis=0)).astype(int) + 2, 0, mr.shape)
    inside = np.zeros(np.maximum(last - first, 0), dtype=np.bool_)
    rows, columns = np.mgrid[first[1] : last[1], first[2] : last[2]].astype(float)
    for number, plane in enumerate(range(first[0], last[0])):
        index = np.stack([np.full_like(rows, plane), rows, columns], axis=-1)
        at = ct.to_index(_move(mr_to_ct, mr.to_patient(index))) - low
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
    return Mask(cast(Any, box), inside, mask.off_slice_mm, mask.left_out)


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
    at = mr.to_index(_move(ct_to_mr, ct.to_patient(index)))
    shown = ((at > -0.5) & (at < np.array(mr.shape) - 0.5)).all(axis=-1)
    return float(shown.mean())


def _move(matrix: FloatArray, points: FloatArray) -> FloatArray:
    moved: FloatArray = points @ matrix[:3, :3].T + matrix[:3, 3]
    return moved


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
