"""The real ESAPI through pythonnet: the only module that touches it (``--esapi eclipse``)."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.errors import UsageError
from stardust_esapi.geometry import FloatArray

if TYPE_CHECKING:
    from VMS.TPS.Common.Model import API

SCRIPT_NAME = "stardust-esapi"
_ASSEMBLIES = ("VMS.TPS.Common.Model.API", "VMS.TPS.Common.Model.Types")
_PROGRAM_FOLDERS = tuple(
    Path(f"{drive}:/{folder}/Varian/RTM")
    for drive in ("C", "D")
    for folder in ("Program Files (x86)", "Program Files")
)


def find_assemblies(roots: Iterable[Path] = _PROGRAM_FOLDERS) -> Path:
    """Find the folder of the newest ESAPI under Varian's program folders.

    Raises:
        UsageError: There is none on this machine.
    """
    roots = tuple(roots)
    found = [
        (tuple(int(n) for n in re.findall(r"\d+", version.name)), version / "esapi" / "API")
        for root in roots
        if root.is_dir()
        for version in root.iterdir()
        if (version / "esapi" / "API" / f"{_ASSEMBLIES[0]}.dll").is_file()
    ]
    if not found:
        raise UsageError(
            "There is no Eclipse with ESAPI on this machine (looked under "
            f"{', '.join(str(root) for root in roots)}). Run it on an Eclipse workstation, or "
            "choose a stub database with --esapi stub:DB."
        )
    return max(found)[1]


class ClrBackend:
    """Reach the ESAPI installed on this Eclipse workstation.

    Raises:
        UsageError: No Eclipse, or its assemblies cannot be loaded.
    """

    name = "eclipse"

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or find_assemblies()
        try:
            import pythonnet

            pythonnet.load("netfx")
            import clr

            for assembly in _ASSEMBLIES:
                clr.AddReference(str(folder / assembly))
            self._api: Any = importlib.import_module(_ASSEMBLIES[0])
            self._system: Any = importlib.import_module("System")
        except Exception as error:
            raise UsageError(
                f"ESAPI in {folder} cannot be loaded: {error}. It needs 64-bit Python and "
                ".NET Framework 4 on an Eclipse workstation."
            ) from error

    def create_application(self) -> API.Application:
        """Log in as the Windows user (``CustomScriptExecutable.CreateApplication`` from 15.5).

        What runs so is read-only on a clinical system, whatever is approved.
        """
        try:
            if hasattr(self._api, "CustomScriptExecutable"):
                application = self._api.CustomScriptExecutable.CreateApplication(SCRIPT_NAME)
            else:
                application = self._api.Application.CreateApplication()
        except Exception as error:
            raise UsageError(f"Eclipse did not let this program log in: {error}.") from error
        return cast("API.Application", application)

    def read_plane(self, image: API.Image, plane: int) -> NDArray[np.int32]:
        """Raw voxel values of one plane, shape (YSize, XSize)."""
        buffer = self._system.Array.CreateInstance(self._system.Int32, image.XSize, image.YSize)
        image.GetVoxels(plane, buffer)
        return np.array(memoryview(buffer), dtype=np.int32).T

    def read_contours(self, structure: API.Structure, plane: int) -> list[FloatArray]:
        """Contours on one plane, each (n, 3), mm."""
        return [
            np.array([(p.x, p.y, p.z) for p in contour], dtype=float)
            for contour in structure.GetContoursOnImagePlane(plane)
        ]

    def read_matrix(self, registration: API.Registration) -> FloatArray:
        """The registration's 4x4 matrix, mm."""
        return np.array(memoryview(cast("Any", registration.TransformationMatrix)), dtype=float)

    def can_set(self, target: object, member: str) -> bool:
        """Whether this ESAPI version lets a property be set."""
        return bool(cast("Any", target).GetType().GetProperty(member).CanWrite)

    def refusal(self, error: BaseException) -> tuple[str, str] | None:
        """Name and message of a .NET exception."""
        if not isinstance(error, self._system.Exception):
            return None
        dotnet = cast("Any", error)
        return str(dotnet.GetType().FullName), str(dotnet.Message)
