"""The stand-ins of ESAPI under one roof: what differs between them when a test uses them.

A process holds one version of the .NET skin and no second, for the .NET runtime lives as long as
the process does.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import subprocess
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from esapi_stub import database
from esapi_stub.api.application import open_application
from esapi_stub.surface import VERSIONS
from esapi_stub.types import Color, VVector

ROOT = Path(__file__).resolve().parent.parent


class StandIn:
    """One way of standing in for ESAPI.

    Args:
        db: Folder of the stub database.
    """

    version: ClassVar[str]
    defaults: ClassVar[dict[str, Any]] = {}
    """Settings under which it starts, where a test does not say otherwise."""

    def __init__(self, db: Path) -> None:
        self.db = db
        self.application: Any = None

    def start(self, **settings: Any) -> Any:
        """Start ESAPI anew under these settings."""
        self.stop()
        database.configure(self.db, **{"version": self.version, **self.defaults, **settings})
        self.application = self.open()
        return self.application

    def stop(self) -> None:
        """End ESAPI."""
        if self.application is not None:
            self.application.Dispose()
            self.application = None

    def open(self) -> Any:
        """Make an Application (``CreateApplication``)."""
        raise NotImplementedError

    def vector(self, x: float, y: float, z: float) -> Any:
        """Make a VVector."""
        raise NotImplementedError

    def contour(self, points: Sequence[Any]) -> Any:
        """Make a VVector[]."""
        raise NotImplementedError

    def color(self, r: int, g: int, b: int) -> Any:
        """Make an opaque Color."""
        raise NotImplementedError

    def buffer(self, x: int, y: int) -> Any:
        """Make an Int32[,]."""
        raise NotImplementedError

    def doubles(self, count: int) -> Any:
        """Make a Double[]."""
        raise NotImplementedError

    def array(self, block: Any) -> NDArray[Any]:
        """Turn what :meth:`buffer` or :meth:`doubles` made, or a matrix, into numpy's."""
        raise NotImplementedError


class Python(StandIn):
    """The Python stub. It stands for a script that is writable and approved."""

    def open(self) -> Any:
        return open_application(self.db)

    def vector(self, x: float, y: float, z: float) -> Any:
        return VVector(x, y, z)

    def contour(self, points: Sequence[Any]) -> Any:
        return list(points)

    def color(self, r: int, g: int, b: int) -> Any:
        return Color.FromRgb(r, g, b)

    def buffer(self, x: int, y: int) -> Any:
        return np.empty((x, y), dtype=np.int32)

    def doubles(self, count: int) -> Any:
        return np.zeros(count)

    def array(self, block: Any) -> NDArray[Any]:
        return np.asarray(block)


class Clr(StandIn):
    """The .NET skin of the Python stub, through pythonnet.

    The host is ``python.exe``, which no one can approve.
    """

    # What such a host runs is read-only on a clinical system.
    defaults: ClassVar[dict[str, Any]] = {"clinical": False}

    def __init__(self, db: Path) -> None:
        super().__init__(db)
        self._api, self._types, self._media, self._system = namespaces(self.version)

    def open(self) -> Any:
        os.environ["ESAPI_STUB_DB"] = str(self.db)
        try:
            return self._api.CustomScriptExecutable.CreateApplication("stand-in")
        finally:
            del os.environ["ESAPI_STUB_DB"]

    def vector(self, x: float, y: float, z: float) -> Any:
        return self._types.VVector(x, y, z)

    def contour(self, points: Sequence[Any]) -> Any:
        return self._system.Array[self._types.VVector](list(points))

    def color(self, r: int, g: int, b: int) -> Any:
        return self._media.Color.FromRgb(r, g, b)

    def buffer(self, x: int, y: int) -> Any:
        return self._system.Array.CreateInstance(self._system.Int32, x, y)

    def doubles(self, count: int) -> Any:
        return self._system.Array.CreateInstance(self._system.Double, count)

    def array(self, block: Any) -> NDArray[Any]:
        return np.array(memoryview(block))


def _of_version(kind: type[StandIn], version: str) -> type[StandIn]:
    return type(f"{kind.__name__}{version}", (kind,), {"version": version})


STAND_INS: dict[str, type[StandIn]] = {
    f"{kind.__name__.lower()}-{version}": _of_version(kind, version)
    for kind in (Python, Clr)
    for version in VERSIONS
}


@cache
def assemblies(version: str) -> Path:
    """Folder of the .NET skin's assemblies, built if they are not up to date."""
    built = subprocess.run(
        [ROOT / "scripts" / "build-stub"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if built.returncode:
        raise RuntimeError(f"The .NET skin could not be built:\n{built.stdout}")
    return ROOT / "build" / f"esapi-{version}"


@cache
def runtime() -> Any:
    """Start .NET (Mono) in this process, for its whole life; the module ``clr``."""
    import pythonnet

    with warnings.catch_warnings():
        # Mono 6.8 is what Debian has, and serves here.
        warnings.filterwarnings("ignore", message="Hosting Mono versions before v6.12 is known")
        pythonnet.load("mono")
        atexit.register(gc.freeze)  # as the product does: else its end takes seconds
        return importlib.import_module("clr")


_loaded: list[str] = []


@cache
def namespaces(version: str) -> tuple[Any, Any, Any, Any]:
    """Load the .NET skin: its API and Types, System.Windows.Media and System."""
    if _loaded:
        raise RuntimeError(f"ESAPI {_loaded[0]} is loaded: this process cannot load {version} too.")
    clr = runtime()
    folder = assemblies(version)
    _loaded.append(version)
    names = ("VMS.TPS.Common.Model.API", "VMS.TPS.Common.Model.Types")
    for name in (*names, "PresentationCore"):
        clr.AddReference(str(folder / name))
    api, types = (importlib.import_module(name) for name in names)
    return (
        api,
        types,
        importlib.import_module("System.Windows.Media"),
        importlib.import_module("System"),
    )
