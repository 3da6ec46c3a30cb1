"""What the voxels of an ESAPI image tell: its display values, and which slice lies on which plane.

Eclipse promises little here. A slice (a 2-D image) does not say where it lies, its voxels may be
given or refused, and ``Image.VoxelToDisplayValue`` is known to be a straight line for CT alone. So
nothing is taken from a rule that can be seen in the voxels themselves.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.errors import TransferError

ReadPlane = Callable[[int], NDArray[np.int32]]
"""Gives the raw voxel values of a plane, shape (rows, columns)."""

# Of a step from one voxel value to the next: so far a display value may lie off the straight line.
_STRAIGHT = 0.01
_STEPS = np.iinfo(np.uint16).max


@dataclass(frozen=True, slots=True)
class Voxels:
    """One look at all planes of an image.

    Attributes:
        occurring: The voxel values that there are, rising.
        digests: What tells one plane's voxels from another's, by plane.
    """

    occurring: NDArray[np.int32]
    digests: tuple[bytes, ...]

    @classmethod
    def of(cls, read_plane: ReadPlane, planes: int) -> Voxels:
        """Read every plane once."""
        occurring = np.empty(0, dtype=np.int32)
        digests = []
        for plane in range(planes):
            voxels = read_plane(plane)
            occurring = np.union1d(occurring, values_of(voxels))
            digests.append(digest(voxels))
        return cls(occurring, tuple(digests))


def values_of(voxels: NDArray[np.int32]) -> NDArray[np.int32]:
    """The values in a plane, rising; counting them is many times as fast as sorting all voxels."""
    low, high = int(voxels.min()), int(voxels.max())
    if high - low > _STEPS:  # 16 bits cannot hold them anyway
        return np.unique(voxels)
    counts = np.bincount((voxels - low).ravel())
    return (np.flatnonzero(counts) + low).astype(np.int32)


def digest(voxels: NDArray[np.int32]) -> bytes:
    """The same for the same voxels in the same shape."""
    return hashlib.sha256(f"{voxels.shape}".encode() + voxels.tobytes()).digest()


def slices_on_planes(planes: Sequence[bytes], slices: Sequence[bytes]) -> list[int] | None:
    """Which slice lies on which plane, where the voxels prove it.

    Planes that look the same, such as those of air alone, prove nothing by themselves. Then the
    slices must lie in the order of the planes, or against it, and two that no other looks like
    tell which.

    Args:
        planes: The digest of every plane of the volume.
        slices: The digest of every slice.

    Returns:
        By plane, the position of its slice; None where it is not proven for every one.
    """
    count = Counter(planes)
    if count != Counter(slices):
        return None
    alone = sum(times == 1 for times in count.values())
    if alone == len(planes):
        return [slices.index(plane) for plane in planes]
    for order in (range(len(planes)), range(len(planes))[::-1]):
        if alone >= 2 and [slices[at] for at in order] == list(planes):
            return list(order)
    return None


@dataclass(frozen=True, slots=True)
class Display:
    """How voxels become display values: value = slope * stored value + intercept.

    Attributes:
        read_plane: Gives the stored values of a plane, shape (rows, columns): the voxels
            themselves, where a straight line leads from them to the display values.
        slope: Rescale Slope (0028,1053).
        intercept: Rescale Intercept (0028,1052).
    """

    read_plane: ReadPlane
    slope: float
    intercept: float


def display(
    read_plane: ReadPlane,
    occurring: NDArray[np.int32],
    answers: Iterable[float],
    *,
    may_be_curved: bool,
) -> Display:
    """Find what DICOM's rescale must say.

    Args:
        read_plane: Gives the voxels.
        occurring: The voxel values that there are, rising; at least one.
        answers: The display value of each (``Image.VoxelToDisplayValue``, which is asked of no
            other: it need not know any).
        may_be_curved: Whether the answers are stored themselves where they follow no straight
            line: whole numbers as they are, others in 65,535 steps.

    Raises:
        TransferError: A voxel has no display value, or they follow no straight line and must.
    """
    values = np.fromiter(answers, dtype=float, count=len(occurring))
    if not np.isfinite(values).all():
        voxel = int(occurring[np.flatnonzero(~np.isfinite(values))[0]])
        raise TransferError(
            f"Eclipse gives no display value for the voxel value {voxel}, which occurs in the "
            "image. Export it through DICOM instead."
        )
    slope, intercept = _line(occurring, values)
    if slope and np.abs(slope * occurring + intercept - values).max() <= abs(slope) * _STRAIGHT:
        return Display(read_plane, slope, intercept)
    if not may_be_curved:
        raise TransferError(
            "its voxel values do not follow a straight line to display values. Export it through "
            "DICOM instead."
        )
    low, high = float(values.min()), float(values.max())
    whole = bool((values == np.rint(values)).all()) and high - low <= _STEPS
    slope, intercept = (1.0, 0.0) if whole else ((high - low) / _STEPS, low)
    stored = np.rint((values - intercept) / slope).astype(np.int32)
    return Display(
        lambda plane: stored[np.searchsorted(occurring, read_plane(plane))], slope, intercept
    )


def _line(voxels: NDArray[np.int32], values: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and intercept of the line through both ends; one value alone says nothing of slope."""
    if len(voxels) == 1:
        return 1.0, float(values[0] - voxels[0])
    slope = float((values[-1] - values[0]) / (int(voxels[-1]) - int(voxels[0])))
    slope = float(f"{slope:.12g}")  # what the division added
    return slope, float(f"{values[0] - slope * voxels[0]:.12g}")
