"""ESAPI's stand-in for laptops, demos and tests (``--esapi stub:DB``).

The only module of the product that meets the stub; a clinical installation does not contain it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.errors import UsageError
from stardust_esapi.geometry import FloatArray

if TYPE_CHECKING:
    from VMS.TPS.Common.Model import API


class StubBackend:
    """Reach the Python stub, filled from the database in a folder.

    Raises:
        UsageError: The stub is not installed, or the folder holds no stub database.
    """

    def __init__(self, database: Path) -> None:
        try:
            import esapi_stub
        except ImportError:
            raise UsageError(
                "The stub ESAPI is not installed here. Run scripts/demo once, or "
                "`pip install ./stubs` in a checkout."
            ) from None
        self._stub = esapi_stub
        self._database = database
        self.name = f"stub:{database}"

    def create_application(self) -> API.Application:
        """Start the stub on its database."""
        try:
            return cast("API.Application", self._stub.open_application(self._database))
        except self._stub.DatabaseError as error:
            raise UsageError(f"{error} Make one with `stardust-esapi stub build`.") from error

    def read_plane(self, image: API.Image, plane: int) -> NDArray[np.int32]:
        """Raw voxel values of one plane, shape (YSize, XSize)."""
        buffer: NDArray[np.int32] = np.empty((image.XSize, image.YSize), dtype=np.int32)
        image.GetVoxels(plane, cast("Any", buffer))
        return buffer.T

    def read_contours(self, structure: API.Structure, plane: int) -> list[FloatArray]:
        """Contours on one plane, each (n, 3), mm."""
        return [
            np.array([(p.x, p.y, p.z) for p in contour], dtype=float)
            for contour in structure.GetContoursOnImagePlane(plane)
        ]

    def read_matrix(self, registration: API.Registration) -> FloatArray:
        """The registration's 4x4 matrix, mm."""
        return np.array(registration.TransformationMatrix, dtype=float)

    def can_set(self, target: object, member: str) -> bool:
        """Whether the stub's version lets a property be set."""
        return getattr(getattr(type(target), member, None), "fset", None) is not None

    def refusal(self, error: BaseException) -> tuple[str, str] | None:
        """Name and message of an exception that the stub raised as .NET would."""
        kind = type(error)
        if kind.__module__ != "System":
            return None
        return f"System.{kind.__name__}", str(getattr(error, "Message", error))
