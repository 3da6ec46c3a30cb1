"""What the voxels of an ESAPI dose tell: the dose of each, proven by what else Eclipse says.

Eclipse promises little here. Which dose a voxel value stands for depends on how the plan is shown;
whether values begin at 0 Gy, and in which order planes come, no reference says. So nothing of it is
taken for granted: Eclipse's answer for points of the patient must be what the voxels there give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.dicom.read_dose import ABSOLUTE, RELATIVE
from stardust_esapi.errors import TransferError
from stardust_esapi.geometry import FloatArray

Answer = tuple[float, str]
"""A ``DoseValue``: its number, and the name of its unit (``DoseValue.DoseUnit``)."""

_UNITS = {"Gy": (ABSOLUTE, 1.0), "cGy": (ABSOLUTE, 0.01), "Percent": (RELATIVE, 1.0)}
_MOST_ASKED = 1000
# Parts of the highest dose.
_STRAIGHT = 1e-4
_SAME_AT_POINTS = 0.01
_SAME_HIGHEST = 0.1  # whether it is of a voxel, or between voxels, nobody says
_WORTH_ASKING = 0.1
_POINTS = 60
_LEAST_OF_PRESCRIPTION = 0.5

_INSTEAD = "Fetch the dose over the network instead (--engine qr)."


@dataclass(frozen=True, slots=True)
class Doses:
    """The dose of every voxel.

    Attributes:
        values: Gy, or percent, shape (planes, rows, columns).
        units: Dose Units (3004,0002): ``GY`` or ``RELATIVE``.
    """

    values: FloatArray = field(repr=False)
    units: str

    @property
    def highest(self) -> float:
        """The highest of them."""
        return float(self.values.max())


def doses(voxels: NDArray[np.int32], dose_of: Callable[[int], Answer]) -> Doses:
    """Find the dose of every voxel.

    Args:
        voxels: Voxel values, shape (planes, rows, columns).
        dose_of: ``Dose.VoxelToDoseValue``; asked of values that occur alone, and of no more than
            a thousand of them.

    Raises:
        TransferError: They have no dose, no unit that is known, or follow no straight line.
    """
    occurring = np.unique(voxels)
    some = np.unique(np.linspace(0, len(occurring) - 1, _MOST_ASKED).round().astype(int))
    asked = occurring[some].astype(float)
    known = [_known(*dose_of(int(voxel))) for voxel in asked]
    values, units = np.array([value for value, _ in known]), {unit for _, unit in known}
    if len(units) != 1 or asked[0] == asked[-1]:
        raise TransferError(f"its voxels all have one dose, or doses of several units. {_INSTEAD}")
    slope = (values[-1] - values[0]) / (asked[-1] - asked[0])
    line = values[0] + slope * (asked - asked[0])
    highest = float(values.max())
    if not highest > 0 or np.abs(line - values).max() > _STRAIGHT * highest:
        raise TransferError(f"its voxel values follow no straight line to doses. {_INSTEAD}")
    result = values[0] + slope * (voxels - asked[0])
    if float(result.min()) < -_STRAIGHT * highest:
        raise TransferError(f"it has doses below zero. {_INSTEAD}")
    return Doses(np.maximum(result, 0.0), units.pop())


def prove(
    found: Doses,
    highest: Answer,
    at_voxel: Callable[[int, int, int], Answer],
    prescribed: Answer,
) -> None:
    """Hold doses against what else Eclipse says of them: scale, order of planes, all fractions.

    Args:
        found: The doses.
        highest: ``Dose.DoseMax3D``.
        at_voxel: ``Dose.GetDoseToPoint`` where a voxel (column, row, plane) lies; NaN where it
            knows none.
        prescribed: ``PlanSetup.TotalDose``; NaN where there is none.

    Raises:
        TransferError: They contradict one another; the message says what to do.
    """
    if not _agrees(found, found.highest, highest, _SAME_HIGHEST):
        raise TransferError(
            f"its voxels reach {found.highest:.2f}, and Eclipse gives {highest[0]:.2f} "
            f"{highest[1]} as the highest dose ({found.units} counts). {_INSTEAD}"
        )
    worth = np.flatnonzero(found.values > _WORTH_ASKING * found.highest)
    some = worth[np.linspace(0, len(worth) - 1, _POINTS).round().astype(int)]
    compared = 0
    for flat in np.unique(some):
        plane, row, column = map(int, np.unravel_index(flat, found.values.shape))
        said = at_voxel(column, row, plane)
        if np.isnan(said[0]):
            continue
        compared += 1
        if not _agrees(found, float(found.values.flat[flat]), said, _SAME_AT_POINTS):
            raise TransferError(
                "the dose of its voxels is not what Eclipse gives for their places, so where they "
                f"lie or what they mean is not certain. {_INSTEAD}"
            )
    if not compared:
        raise TransferError(f"Eclipse gives no dose for the places of its voxels. {_INSTEAD}")
    total, unit = prescribed
    if found.units == ABSOLUTE and unit in _UNITS and np.isfinite(total):
        gray, is_what = _known(total, unit)
        if is_what == ABSOLUTE and found.highest < _LEAST_OF_PRESCRIPTION * gray:
            raise TransferError(
                f"its highest dose is {found.highest:.2f} Gy, less than half of the "
                f"{gray:.2f} Gy prescribed: it may be of one fraction. {_INSTEAD}"
            )


def _known(value: float, unit: str) -> tuple[float, str]:
    """A dose in a unit of DICOM."""
    if unit not in _UNITS or not np.isfinite(value):
        raise TransferError(
            f"Eclipse gives {value:g} {unit} for one of its voxels, which is no dose. A plan "
            f"without a prescription has none in Gy: check it in Eclipse. {_INSTEAD}"
        )
    name, factor = _UNITS[unit]
    return value * factor, name


def _agrees(found: Doses, value: float, said: Answer, tolerance: float) -> bool:
    other, units = _known(*said)
    return units == found.units and abs(value - other) <= tolerance * found.highest
