"""Bring the dose of a plan onto the grid of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.dicom.read_dose import DoseGrid
from stardust_esapi.dicom.read_series import Stack
from stardust_esapi.geometry import FloatArray, moved


def dose_on(stack: Stack, dose: DoseGrid, to_dose: FloatArray) -> NDArray[np.float32]:
    """The dose in the middle of every voxel, interpolated linearly between those of the dose grid.

    Args:
        stack: The slices of the image.
        dose: The dose.
        to_dose: Takes points of the image's frame of reference into the dose's, shape (4, 4), mm.

    Returns:
        Gy, shape (z, y, x); 0 outside the dose grid.
    """
    from scipy.ndimage import map_coordinates  # takes a while, and is not needed without a dose

    result = np.empty(stack.shape, dtype=np.float32)
    rows, columns = np.indices(stack.shape[1:], dtype=float)
    for plane, into in enumerate(result):
        index = np.stack([np.full_like(rows, plane), rows, columns], axis=-1)
        at = dose.geometry.to_index(moved(to_dose, stack.to_patient(index)))
        map_coordinates(dose.gray, np.moveaxis(at[..., ::-1], -1, 0), output=into, order=1)
    return result
