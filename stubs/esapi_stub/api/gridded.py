"""What an image and a dose have in common: a grid of voxels in the patient's space."""

from __future__ import annotations

from abc import abstractmethod

from esapi_stub.grid import Grid
from esapi_stub.types import VVector, vector


class Gridded:
    """Size, spacing, origin and directions of ``API.Image`` and ``API.Dose``."""

    @property
    @abstractmethod
    def _grid(self) -> Grid: ...

    @property
    def XSize(self) -> int:
        """Columns."""
        return self._grid.size[0]

    @property
    def YSize(self) -> int:
        """Rows."""
        return self._grid.size[1]

    @property
    def ZSize(self) -> int:
        """Planes."""
        return self._grid.size[2]

    @property
    def XRes(self) -> float:
        """Distance of columns, mm."""
        return self._grid.spacing[0]

    @property
    def YRes(self) -> float:
        """Distance of rows, mm."""
        return self._grid.spacing[1]

    @property
    def ZRes(self) -> float:
        """Distance of planes, mm."""
        return self._grid.spacing[2]

    @property
    def Origin(self) -> VVector:
        """Centre of the first voxel, patient space, mm."""
        return vector(self._grid.origin)

    @property
    def XDirection(self) -> VVector:
        """Direction of a row."""
        return vector(self._grid.x_direction)

    @property
    def YDirection(self) -> VVector:
        """Direction of a column."""
        return vector(self._grid.y_direction)

    @property
    def ZDirection(self) -> VVector:
        """Direction of the planes: XDirection x YDirection."""
        return vector(self._grid.z_direction)
