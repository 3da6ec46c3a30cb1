"""``Dose``: voxels are read plane by plane from the RTDOSE file of a plan."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.pixels.utils import pixel_array
from scipy.ndimage import map_coordinates

from esapi_stub.api.base import ApiDataObject, Chart, storage
from esapi_stub.api.gridded import Gridded
from esapi_stub.api.image import Series
from esapi_stub.grid import Grid
from esapi_stub.records import DoseRecord, PlanRecord
from esapi_stub.system import ArgumentException, ArgumentOutOfRangeException
from esapi_stub.types import DoseUnit, DoseValue, VVector

OFFSET = 1000
"""The voxel value of 0 Gy where the database's setting ``doses`` is ``offset``."""


class Dose(Gridded, ApiDataObject):
    """``API.Dose``: the dose of a plan, shown as the database's setting ``doses`` has it.

    Args:
        chart: The open patient.
        record: The dose.
        plan: The plan.
    """

    _record: DoseRecord

    def __init__(self, chart: Chart, record: DoseRecord, plan: PlanRecord) -> None:
        super().__init__(chart, record)
        self._plan = plan

    @property
    def _grid(self) -> Grid:
        return cast("Grid", self._record.grid)

    @property
    def UID(self) -> str:
        """SOP Instance UID of the RT Dose."""
        return self._record.uid

    @property
    def Series(self) -> Series:
        """Series of the RT Dose."""
        uid = self._record.series_uid
        return self._desk.make(Series, next(s for s in self._desk.record.series if s.uid == uid))

    @property
    def SeriesUID(self) -> str:
        """Series Instance UID of the RT Dose."""
        return self._record.series_uid

    @property
    def DoseMax3D(self) -> DoseValue:
        """The highest dose."""
        return self._shown(self._record.highest)

    def GetVoxels(self, planeIndex: int, preallocatedBuffer: NDArray[np.int32]) -> None:
        """Copy the voxel values of one plane.

        Args:
            planeIndex: 0 to ZSize - 1.
            preallocatedBuffer: int32, shape (XSize, YSize); stands for .NET's ``int[,]``.

        Raises:
            ArgumentException: The buffer has another shape.
            ArgumentOutOfRangeException: There is no such plane.
        """
        if not 0 <= planeIndex < self.ZSize:
            raise ArgumentOutOfRangeException(
                f"planeIndex {planeIndex} is out of range: the dose has {self.ZSize} planes."
            )
        if preallocatedBuffer is None or preallocatedBuffer.shape != (self.XSize, self.YSize):
            raise ArgumentException("preallocatedBuffer must be an array of XSize x YSize.")
        mode = self._desk.settings.doses
        plane = self.ZSize - 1 - planeIndex if mode == "backwards" else planeIndex
        preallocatedBuffer[...] = self._stored()[plane].T + (OFFSET if mode == "offset" else 0)

    def VoxelToDoseValue(self, voxelValue: int) -> DoseValue:
        """Turn a voxel value into the dose."""
        offset = OFFSET if self._desk.settings.doses == "offset" else 0
        return self._shown((voxelValue - offset) * self._record.scaling)

    def GetDoseToPoint(self, at: VVector) -> DoseValue:
        """The dose at a point, linearly between voxels; undefined outside the grid."""
        index = self._grid.to_index([(at.x, at.y, at.z)])
        stored = self._stored().astype(float)
        (value,) = map_coordinates(stored, index.T[::-1], order=1, cval=math.nan).tolist()
        if math.isnan(value):
            return DoseValue.UndefinedDose()
        return self._shown(value * self._record.scaling)

    def _stored(self) -> NDArray[np.int64]:
        """The values in the file, shape (planes, rows, columns); read once while it is open."""
        return self._desk.dose_values(self._record, self._read)

    def _read(self) -> NDArray[np.int64]:
        with storage("the dose"):
            pixels = pixel_array(dcmread(self._desk.folder / self._record.file))
            return np.asarray(pixels, dtype=np.int64)

    def _shown(self, gray: float) -> DoseValue:
        """A dose of all fractions, Gy, as it is shown."""
        match self._desk.settings.doses:
            case "centigray":
                return DoseValue(gray * 100, DoseUnit.cGy)
            case "relative":
                return DoseValue(gray / (self._plan.total_dose or math.nan) * 100, DoseUnit.Percent)
            case "of a fraction":
                return DoseValue(gray / (self._plan.fractions or 1), DoseUnit.Gy)
            case "without prescription":
                return DoseValue(math.nan, DoseUnit.Gy)
            case _:
                return DoseValue(gray, DoseUnit.Gy)


class PlanningItemDose(Dose):
    """``API.PlanningItemDose``, of which the surface says no more than its name."""
