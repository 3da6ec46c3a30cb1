"""What differs between one way of reaching ESAPI and another: starting it, and bulk data.

Everything else is ESAPI's own members, the same for every backend. Voxels and contours cross as
blocks (one plane, one list of contours), never point by point: element-wise crossing through
pythonnet costs a hundred times as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.esapi.writer import RecordWriter
from stardust_esapi.geometry import FloatArray

if TYPE_CHECKING:
    from VMS.TPS.Common.Model import API


class Backend(Protocol):
    """One way of reaching ESAPI."""

    name: str
    """How the user chose it, such as ``stub:DB`` or ``eclipse``."""

    saves: bool
    """Whether this program saves; not in a plug-in, where Eclipse's user does."""

    def write_obstacle(self) -> str:
        """Why nothing can be written this way, known before anything is opened; else empty."""

    def writer(self) -> RecordWriter:
        """What writes where no launcher does; each call makes one that has made nothing yet."""

    def create_application(self) -> API.Application:
        """Start ESAPI (``Application.CreateApplication``); call once in a process's life."""

    def read_plane(self, image: API.Image | API.Dose, plane: int) -> NDArray[np.int32]:
        """Raw voxel values of one plane (``GetVoxels``), shape (YSize, XSize)."""

    def read_contours(self, structure: API.Structure, plane: int) -> list[FloatArray]:
        """Contours on one plane (``Structure.GetContoursOnImagePlane``), each (n, 3), mm."""

    def assemblies(self) -> dict[str, list[str]]:
        """Assemblies of ESAPI and of this program that are loaded, by full name and file version.

        Each with the names of those that it refers to; none where there are no assemblies.
        """

    def read_matrix(self, registration: API.Registration) -> FloatArray:
        """``Registration.TransformationMatrix`` as (4, 4), mm."""

    def transform(self, registration: API.Registration, points: FloatArray) -> FloatArray:
        """``Registration.TransformPoint`` of points of shape (n, 3), mm."""

    def refusal(self, error: BaseException) -> tuple[str, str] | None:
        """Full .NET type name and message of an exception that ESAPI raised, else None."""
