"""ESAPI's stand-in for laptops, demos and tests (``--esapi stub:DB``).

The only module of the product that meets the stub; a clinical installation does not contain it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.errors import UsageError
from stardust_esapi.esapi.writer import RecordWriter, TwinWriter
from stardust_esapi.geometry import FloatArray

if TYPE_CHECKING:
    from VMS.TPS.Common.Model import API

_NOT_INSTALLED = (
    "The stub ESAPI is not installed here. Install it: `pip install stardust-esapi[stub]`, or "
    "`pip install ./stubs` in a checkout."
)
_BUILD_ONE = "Create one with `esapi-stub build`."


def require_stub() -> None:
    """Look whether the stub is there.

    Raises:
        UsageError: It is not installed.
    """
    if find_spec("esapi_stub") is None:
        raise UsageError(_NOT_INSTALLED)


def clr_stand_in(database: Path) -> tuple[Path, bool]:
    """Folder of the stub's .NET assemblies for a stub database, and whether that is clinical.

    Raises:
        UsageError: The stub is not installed, or the folder holds no stub database.
    """
    try:
        import esapi_stub
        from esapi_stub.database import Database, DatabaseError
    except ImportError:
        raise UsageError(_NOT_INSTALLED) from None
    try:
        settings = Database.open(database).settings
    except DatabaseError as error:
        raise UsageError(f"{error} {_BUILD_ONE}") from error
    checkout = Path(esapi_stub.__file__).parents[2]
    return checkout / "build" / f"esapi-{settings.version}", settings.clinical


class StubBackend:
    """Reach the Python stub, filled from the database in a folder.

    Raises:
        UsageError: The stub is not installed, or the folder holds no stub database.
    """

    saves = True

    def __init__(self, database: Path) -> None:
        try:
            from esapi_stub.api.application import open_application
            from esapi_stub.database import Database, DatabaseError
            from esapi_stub.system import InvalidOperationException
            from esapi_stub.types import VVector
        except ImportError:
            raise UsageError(_NOT_INSTALLED) from None
        try:
            Database.open(database)
        except DatabaseError as error:
            raise UsageError(f"{error} {_BUILD_ONE}") from error
        self._open, self._refusal = open_application, DatabaseError
        self._invalid = InvalidOperationException
        self._vector: Callable[[float, float, float], Any] = VVector
        self._database = database
        self.name = f"stub:{database}"

    def write_obstacle(self) -> str:
        """None: the stub stands for a script that may be approved; its database says so."""
        return ""

    def writer(self) -> RecordWriter:
        """The twin of the launchers' writer."""
        return TwinWriter(self._invalid)

    def create_application(self) -> API.Application:
        """Start the stub on its database."""
        try:
            return cast("API.Application", self._open(self._database))
        except self._refusal as error:
            raise UsageError(f"{error} {_BUILD_ONE}") from error

    def read_plane(self, image: API.Image | API.Dose, plane: int) -> NDArray[np.int32]:
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

    def assemblies(self) -> dict[str, list[str]]:
        """None: the stub is Python."""
        return {}

    def read_matrix(self, registration: API.Registration) -> FloatArray:
        """The registration's 4x4 matrix, mm."""
        return np.array(registration.TransformationMatrix, dtype=float)

    def transform(self, registration: API.Registration, points: FloatArray) -> FloatArray:
        """Points of shape (n, 3), mm, moved by the registration."""
        there = [registration.TransformPoint(self._vector(*p)) for p in points.tolist()]
        return np.array([(p.x, p.y, p.z) for p in there])

    def refusal(self, error: BaseException) -> tuple[str, str] | None:
        """Name and message of an exception that the stub raised as .NET would."""
        kind = type(error)
        if kind.__module__ != "System":
            return None
        return f"System.{kind.__name__}", str(getattr(error, "Message", error))
