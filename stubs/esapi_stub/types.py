"""``VMS.TPS.Common.Model.Types``: the structs and enums that the stub hands out.

Names, members and numbers are those of ``surface.json``. Structs are values: they stay readable
after the patient has closed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from esapi_stub.system import ArgumentOutOfRangeException, DateTime


@dataclass(slots=True)
class VVector:
    """``Types.VVector``: a point or direction in DICOM patient space (LPS), mm."""

    x: float
    y: float
    z: float

    @property
    def LengthSquared(self) -> float:
        """Squared length, mm²."""
        return self.ScalarProduct(self)

    @property
    def Length(self) -> float:
        """Length, mm."""
        return math.sqrt(self.LengthSquared)

    @staticmethod
    def Distance(left: VVector, right: VVector) -> float:
        """Distance of two points, mm."""
        return (left - right).Length

    def ScaleToUnitLength(self) -> None:
        """Make the length 1, in place."""
        length = self.Length
        self.x, self.y, self.z = self.x / length, self.y / length, self.z / length

    def ScalarProduct(self, left: VVector) -> float:
        """Scalar product."""
        return self.x * left.x + self.y * left.y + self.z * left.z

    def __getitem__(self, index: int) -> float:
        if index not in (0, 1, 2):
            raise ArgumentOutOfRangeException(f"VVector has no component {index}.")
        return (self.x, self.y, self.z)[index]

    def __setitem__(self, index: int, value: float) -> None:
        if index not in (0, 1, 2):
            raise ArgumentOutOfRangeException(f"VVector has no component {index}.")
        setattr(self, "xyz"[index], value)

    def __add__(self, other: VVector) -> VVector:
        return VVector(self.x + other.x, self.y + other.y, self.z + other.z)

    def __sub__(self, other: VVector) -> VVector:
        return VVector(self.x - other.x, self.y - other.y, self.z - other.z)

    def __mul__(self, factor: float) -> VVector:
        return VVector(self.x * factor, self.y * factor, self.z * factor)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> VVector:
        return VVector(self.x / divisor, self.y / divisor, self.z / divisor)

    # Without it Python would iterate through __getitem__, which a .NET struct does not allow.
    __iter__ = None


class _Enum(IntEnum):
    """A .NET enum: ``str`` and ``ToString`` give the name, ``int`` the number."""

    def __str__(self) -> str:
        return self.name

    def ToString(self) -> str:
        """Name of the value."""
        return self.name


class SeriesModality(_Enum):
    """``Types.SeriesModality``."""

    CT = 0
    MR = 1
    PT = 2
    RTIMAGE = 3
    RTSTRUCT = 4
    RTPLAN = 5
    RTDOSE = 6
    REG = 7
    Other = 8


class PatientOrientation(_Enum):
    """``Types.PatientOrientation``."""

    NoOrientation = 0
    HeadFirstSupine = 1
    HeadFirstProne = 2
    HeadFirstDecubitusRight = 3
    HeadFirstDecubitusLeft = 4
    FeetFirstSupine = 5
    FeetFirstProne = 6
    FeetFirstDecubitusRight = 7
    FeetFirstDecubitusLeft = 8
    Sitting = 9


class StructureApprovalStatus(_Enum):
    """``Types.StructureApprovalStatus``."""

    UnApproved = 0
    Approved = 1
    Rejected = 2
    Reviewed = 3


class RegistrationApprovalStatus(_Enum):
    """``Types.RegistrationApprovalStatus``."""

    Unapproved = 0
    Approved = 1
    Retired = 2
    Reviewed = 3


class PlanSetupApprovalStatus(_Enum):
    """``Types.PlanSetupApprovalStatus``."""

    Rejected = 0
    UnApproved = 1
    Reviewed = 2
    PlanningApproved = 3
    TreatmentApproved = 4
    CompletedEarly = 5
    Completed = 6
    Retired = 7
    UnPlannedTreatment = 8
    ExternallyApproved = 9
    Unknown = 999


@dataclass(frozen=True, slots=True)
class StructureApprovalHistoryEntry:
    """``Types.StructureApprovalHistoryEntry``."""

    ApprovalStatus: StructureApprovalStatus
    StatusComment: str
    UserId: str
    UserDisplayName: str
    ApprovalDateTime: DateTime


@dataclass(frozen=True, slots=True)
class Color:
    """``System.Windows.Media.Color``: alpha, red, green, blue, 0 to 255."""

    A: int
    R: int
    G: int
    B: int

    @staticmethod
    def FromArgb(a: int, r: int, g: int, b: int) -> Color:
        """Make a colour; values outside a byte raise OverflowError, as pythonnet does."""
        if not all(0 <= value <= 255 for value in (a, r, g, b)):
            raise OverflowError("a colour component is a byte, 0 to 255")
        return Color(a, r, g, b)

    @staticmethod
    def FromRgb(r: int, g: int, b: int) -> Color:
        """Make an opaque colour."""
        return Color.FromArgb(255, r, g, b)


class DoseUnit(_Enum):
    """``Types.DoseValue.DoseUnit``."""

    Unknown = 0
    Gy = 1
    cGy = 2
    Percent = 3


@dataclass(frozen=True, slots=True)
class DoseValue:
    """``Types.DoseValue``: a dose with its unit; NaN and Unknown where undefined."""

    Dose: float
    Unit: DoseUnit

    @property
    def UnitAsString(self) -> str:
        """Unit as Eclipse writes it."""
        return "%" if self.Unit is DoseUnit.Percent else self.Unit.name

    @property
    def ValueAsString(self) -> str:
        """The number."""
        return "N/A" if self.IsUndefined() else f"{self.Dose:.3f}"

    def IsUndefined(self) -> bool:
        """Whether there is no dose."""
        return math.isnan(self.Dose)

    @staticmethod
    def UndefinedDose() -> DoseValue:
        """No dose."""
        return DoseValue(math.nan, DoseUnit.Unknown)

    def ToString(self) -> str:
        """Number and unit."""
        return f"{self.ValueAsString} {self.UnitAsString}"

    __str__ = ToString


@dataclass(frozen=True, slots=True)
class ProfilePoint:
    """``Types.ProfilePoint``: a position (mm) and the value there."""

    Position: VVector
    Value: float


class ImageProfile:
    """``Types.ImageProfile``: display values along a line.

    Args:
        origin: First point, mm.
        step: From one point to the next, mm.
        data: One value a point.
        unit: Unit of the values, such as ``HU``.
    """

    def __init__(
        self, origin: VVector, step: VVector, data: NDArray[np.float64], unit: str
    ) -> None:
        self._origin, self._step, self._data, self._unit = origin, step, data, unit

    @property
    def Unit(self) -> str:
        """Unit of the values."""
        return self._unit

    def __iter__(self) -> Iterator[ProfilePoint]:
        for index, value in enumerate(self._data.tolist()):
            yield ProfilePoint(self._origin + self._step * index, value)


def vector(values: tuple[float, float, float]) -> VVector:
    """Turn three numbers into a VVector."""
    return VVector(*values)


def coordinates(points: Sequence[VVector]) -> NDArray[np.float64]:
    """Turn VVectors into an array of shape (n, 3), mm.

    Raises:
        TypeError: Something else than a VVector is among them, as pythonnet does.
    """
    if not all(isinstance(point, VVector) for point in points):
        raise TypeError("No method matches given arguments: VVector[] expected")
    return np.array([(p.x, p.y, p.z) for p in points], dtype=float).reshape(-1, 3)
