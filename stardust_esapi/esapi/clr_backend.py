"""ESAPI as .NET assemblies, through pythonnet: the only module that touches it.

Three hosts lead here. Python itself (``python.exe``), which Eclipse lets in through
``CustomScriptExecutable`` and keeps read-only on a clinical system; the launcher
``StardustExporter.exe``, which has started .NET and then Python, and logs in as the script that
was approved; and the plug-in, where Eclipse has logged in and opened the patient already.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import os
import struct
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.errors import UsageError
from stardust_esapi.esapi import host
from stardust_esapi.esapi.installed import newest_esapi, program_folders
from stardust_esapi.esapi.writer import RecordWriter, TwinWriter
from stardust_esapi.geometry import FloatArray

if TYPE_CHECKING:
    from VMS.TPS.Common.Model import API

SCRIPT_NAME = "stardust-esapi"
_ASSEMBLIES = ("VMS.TPS.Common.Model.API", "VMS.TPS.Common.Model.Types")
_MEDIA = "PresentationCore"  # System.Windows.Media.Color; a stand-in has one of its own
# Others may be of the clinic's own making.
_TELLING_ASSEMBLIES = ("VMS.TPS.Common.Model.", "Python.Runtime,", "StardustExporter")
_STUB_DATABASE = "ESAPI_STUB_DB"  # how the C# stand-in is told its database

_LAUNCHER_IS_THE_WAY = (
    "Python itself is the host, and a clinical Eclipse keeps that read-only whatever is approved. "
    "The launcher is the way: start the same command with StardustExporter.exe, which Script "
    "Approval knows (see approval/README.md)."
)

_NO_LOGIN = (  # words of the exception's type or message, the first that fits; and what to do
    (
        ("incorrect version",),
        "This workstation has another version of Eclipse than the system is configured for: start "
        "Eclipse itself, which then updates or says the same, and ask whoever administers ARIA. "
        "Afterwards name the folder of the version that runs, and install launchers again.",
    ),
    (
        ("no reference to Eclipse Scripting API", "required Eclipse Scripting API version"),
        "The program that logs in was compiled against another ESAPI than the one that runs here, "
        "or against none. Install the launchers again on this workstation; with Python itself, "
        "name the folder of the Eclipse that runs (--esapi eclipse:FOLDER).",
    ),
    (
        ("has been modif",),
        "A file of this name and version was approved, and this is another one: each build has an "
        "identity of its own. Copy the approved launchers here instead of building them again.",
    ),
    (
        ("only one Application object", "An Application is alive"),
        "A process has one ESAPI in its life. Close what else uses it in this program, such as a "
        "notebook, and start again; inside Eclipse use the plug-in.",
    ),
    (
        ("ArgumentNullException",),
        "Eclipse failed to start, and this is what it met while it cleaned up: the cause is "
        "another. Start Eclipse itself as this Windows user, which says the cause; then check that "
        "all assemblies come from the folder of that Eclipse.",
    ),
    (
        ("licen",),
        "This workstation or user has no licence for scripting (Eclipse Scripting API): ask "
        "whoever administers ARIA.",
    ),
    (
        ("log in", "login", "logon", "password", "user", "denied"),
        "Check that this Windows user can log in to Eclipse by hand, and is not locked out.",
    ),
)

_COINIT_APARTMENTTHREADED = 0x2
_RPC_E_CHANGED_MODE = 0x80010106


def find_assemblies(roots: Iterable[Path] | None = None) -> Path:
    """Find the folder of the newest ESAPI under Varian's program folders.

    Args:
        roots: Those folders; None for the ones on the fixed drives of this machine.

    Raises:
        UsageError: There is none on this machine.
    """
    found = newest_esapi(program_folders() if roots is None else roots)
    if found is None:
        raise UsageError(
            "There is no Eclipse with ESAPI on this machine (looked for Varian's folder RTM among "
            "the programs on each fixed drive). Run it on an Eclipse workstation, name the folder "
            "with --esapi eclipse:FOLDER, or choose a stub database with --esapi stub:DB."
        )
    return found


class ClrBackend:
    """Reach ESAPI's assemblies, in the runtime of this process.

    Args:
        name: How the user chose it.
        folder: Where the assemblies lie, or how to find out; in a launcher, which has found them
            already, nobody asks.
        stub_database: For the C# stand-in: its stub database.
        clinical: Whether it is a clinical system, as far as that is known beforehand.

    Raises:
        UsageError: No Eclipse, or its assemblies cannot be loaded.
    """

    saves = True

    def __init__(
        self,
        name: str,
        folder: Path | Callable[[], Path],
        *,
        stub_database: Path | None = None,
        clinical: bool = True,
    ) -> None:
        self.name = name
        self._stub_database = stub_database
        self._clinical = clinical
        if host.current().is_launcher:
            where = ""
        else:
            where = str(folder if isinstance(folder, Path) else folder())
            _check_bitness()
            _enter_apartment()
            _start_runtime()
        self._api, self._types, self._system = _load(where)
        self._interop = importlib.import_module("System.Runtime.InteropServices")
        self._vectors_are_doubles = self._probe_vectors()

    def write_obstacle(self) -> str:
        """Why nothing can be written when Python itself is the host of a clinical system."""
        return "" if host.current().is_launcher or not self._clinical else _LAUNCHER_IS_THE_WAY

    def writer(self) -> RecordWriter:
        """The twin of the launchers' writer, for Python itself on a non-clinical system."""
        return TwinWriter(self._system.InvalidOperationException)

    def create_application(self) -> API.Application:
        """Log in as the Windows user.

        Raises:
            UsageError: Eclipse did not let this program in.
        """
        try:
            with self._stub_environment():
                return cast("API.Application", self._log_in())
        except self._system.Exception as error:
            dotnet = cast("Any", error)
            raise UsageError(_login_problem(str(dotnet.GetType().Name), dotnet.Message)) from error

    def _log_in(self) -> object:
        # Asked for by feature: the members differ by version.
        if host.current().is_launcher:
            return self._api.Application.CreateApplication()
        if hasattr(self._api, "CustomScriptExecutable"):  # from 15.5
            return self._api.CustomScriptExecutable.CreateApplication(SCRIPT_NAME)
        try:
            return self._api.Application.CreateApplication()  # from 15.0
        except TypeError:
            return self._api.Application.CreateApplication(None, None)

    @contextlib.contextmanager
    def _stub_environment(self) -> Any:
        if self._stub_database is None:
            yield
            return
        os.environ[_STUB_DATABASE] = str(self._stub_database.absolute())
        try:
            yield
        finally:
            del os.environ[_STUB_DATABASE]

    def read_plane(self, image: API.Image | API.Dose, plane: int) -> NDArray[np.int32]:
        """Raw voxel values of one plane, shape (YSize, XSize)."""
        buffer = self._system.Array.CreateInstance(self._system.Int32, image.XSize, image.YSize)
        image.GetVoxels(plane, buffer)
        return np.array(memoryview(buffer), dtype=np.int32).T

    def read_contours(self, structure: API.Structure, plane: int) -> list[FloatArray]:
        """Contours on one plane, each (n, 3), mm."""
        contours = cast("Any", structure.GetContoursOnImagePlane(plane))
        if not self._vectors_are_doubles:
            return [
                np.array([(p.x, p.y, p.z) for p in contour], dtype=float).reshape(-1, 3)
                for contour in contours
            ]
        return [self._read_vectors(contour) for contour in contours]

    def assemblies(self) -> dict[str, list[str]]:
        """Those that are loaded, by full name and file version, with what they refer to."""
        version = self._system.Diagnostics.FileVersionInfo.GetVersionInfo
        return {
            f"{assembly.FullName}, File={version(assembly.Location).FileVersion}": [
                str(name.Name) for name in assembly.GetReferencedAssemblies()
            ]
            for assembly in self._system.AppDomain.CurrentDomain.GetAssemblies()
            if str(assembly.FullName).startswith(_TELLING_ASSEMBLIES)
        }

    def read_matrix(self, registration: API.Registration) -> FloatArray:
        """The registration's 4x4 matrix, mm."""
        return np.array(memoryview(cast("Any", registration.TransformationMatrix)), dtype=float)

    def transform(self, registration: API.Registration, points: FloatArray) -> FloatArray:
        """Points of shape (n, 3), mm, moved by the registration."""
        there = [registration.TransformPoint(self._types.VVector(*p)) for p in points.tolist()]
        return np.array([(p.x, p.y, p.z) for p in there])

    def refusal(self, error: BaseException) -> tuple[str, str] | None:
        """Name and message of a .NET exception."""
        if not isinstance(error, self._system.Exception):
            return None
        dotnet = cast("Any", error)
        return str(dotnet.GetType().FullName), str(dotnet.Message)

    def _read_vectors(self, vectors: Any) -> FloatArray:
        """A ``VVector[]`` as (n, 3), in one copy."""
        points = np.empty((len(vectors), 3))
        if len(points):
            with self._pinned(vectors) as address:
                ctypes.memmove(points.ctypes.data, address, points.nbytes)
        return points

    @contextlib.contextmanager
    def _pinned(self, array: Any) -> Any:
        """Keep an array where it is in memory, and say where."""
        handle = self._interop.GCHandle.Alloc(array, self._interop.GCHandleType.Pinned)
        try:
            yield handle.AddrOfPinnedObject().ToInt64()
        finally:
            handle.Free()

    def _probe_vectors(self) -> bool:
        """Whether a ``VVector`` lies in memory as three doubles x, y, z: nothing promises it."""
        probe = self._system.Array.CreateInstance(self._types.VVector, 2)
        probe[0], probe[1] = self._types.VVector(1, 2, 3), self._types.VVector(4, 5, 6)
        try:
            if self._interop.Marshal.SizeOf(probe[0]) != 3 * np.dtype(float).itemsize:
                return False
            return bool(np.array_equal(self._read_vectors(probe), [[1, 2, 3], [4, 5, 6]]))
        except self._system.ArgumentException:  # it cannot be pinned
            return False


class PlugInBackend(ClrBackend):
    """Reach ESAPI inside Eclipse, which started a plug-in on what is open on its screen.

    Args:
        context: ``ScriptContext`` of the plug-in.

    Nothing is opened, saved or closed: that is Eclipse's, and its user's.
    """

    saves = False

    def __init__(self, context: API.ScriptContext) -> None:
        super().__init__("plug-in", Path())
        self._context = context

    def create_application(self) -> API.Application:
        """What stands for an application while Eclipse itself is it."""
        return cast("API.Application", _Eclipse(self._context))


class _Eclipse:
    """The running Eclipse as far as a plug-in may use it, under the names of ``Application``."""

    def __init__(self, context: API.ScriptContext) -> None:
        self._context = context
        self.CurrentUser = context.CurrentUser
        self.ScriptEnvironment = SimpleNamespace(ApiVersionInfo=context.VersionInfo)

    @property
    def PatientSummaries(self) -> list[API.Patient]:  # noqa: N802
        """The open patient alone: a plug-in looks at no other."""
        patient = self._context.Patient
        return [patient] if patient is not None else []

    def OpenPatientById(self, patient_id: str) -> API.Patient | None:  # noqa: N802
        """The open patient, if that is the one; never another."""
        patient = self._context.Patient
        return patient if patient is not None and patient.Id == patient_id else None

    def ClosePatient(self) -> None:  # noqa: N802
        """Nothing: Eclipse's user has the patient open."""

    def Dispose(self) -> None:  # noqa: N802
        """Nothing: Eclipse goes on."""


def _check_bitness() -> None:
    bits = 8 * struct.calcsize("P")
    if bits != 64:
        raise UsageError(
            f"This is {bits}-bit Python; ESAPI's assemblies are 64-bit. Install 64-bit Python."
        )


def _enter_apartment() -> None:
    """Make this thread a single-threaded apartment, as ESAPI wants, before .NET chooses."""
    if sys.platform != "win32":
        return
    result = ctypes.windll.ole32.CoInitializeEx(None, _COINIT_APARTMENTTHREADED) & 0xFFFFFFFF
    if result == _RPC_E_CHANGED_MODE:
        raise UsageError(
            "ESAPI needs a single-threaded apartment (STA), and something in this process has made "
            "the thread multi-threaded. Start stardust-esapi in a process of its own."
        )


def _start_runtime() -> None:
    """Start .NET for the whole life of this process: .NET Framework on Windows, else Mono."""
    runtime = "netfx" if sys.platform == "win32" else "mono"
    try:
        import pythonnet

        with warnings.catch_warnings():
            # Mono 6.8 is what Debian has; it serves the stand-in well.
            warnings.filterwarnings("ignore", message="Hosting Mono versions before v6.12")
            pythonnet.load(runtime)
            importlib.import_module("clr")
        # Else pythonnet's end looks for garbage among all objects, again and again, for seconds.
        atexit.register(gc.freeze)
    except Exception as error:
        needed = ".NET Framework 4.7.2 or newer" if runtime == "netfx" else "Mono (mono-devel)"
        raise UsageError(
            f".NET cannot be started from this Python: {error}. It needs pythonnet and {needed}."
        ) from error


def _load(folder: str) -> tuple[Any, Any, Any]:
    """Load ESAPI's assemblies: from a folder, or as the launcher finds them.

    Returns:
        The namespaces API, Types and System.
    """
    clr = importlib.import_module("clr")
    system: Any = importlib.import_module("System")
    where = f"ESAPI in {folder}" if folder else "ESAPI"
    names = list(_ASSEMBLIES)
    if folder and Path(folder, f"{_MEDIA}.dll").is_file():
        names.append(_MEDIA)
    try:
        for name in names:
            clr.AddReference(str(Path(folder, name)) if folder else name)
        api, types = (importlib.import_module(name) for name in _ASSEMBLIES)
    except system.BadImageFormatException as error:
        raise UsageError(
            f"{where} cannot be loaded: {error.Message} Its assemblies are 64-bit .NET "
            "Framework ones: use 64-bit Python, and the folder esapi/API of Eclipse."
        ) from error
    except Exception as error:
        raise UsageError(
            f"{where} cannot be loaded: {str(error).splitlines()[0]}. Check that the folder holds "
            f"{' and '.join(f'{name}.dll' for name in _ASSEMBLIES)} of this workstation's Eclipse."
        ) from error
    return api, types, system


def _login_problem(kind: str, message: str) -> str:
    """What to do about an exception of CreateApplication, as far as its type and words tell."""
    told = f"{kind}: {message}".casefold()
    advice = next(
        (advice for words, advice in _NO_LOGIN if any(word.casefold() in told for word in words)),
        "Check that Eclipse itself starts on this workstation for this Windows user.",
    )
    said = " ".join(message.split()).rstrip(".")
    return f"Eclipse did not let this program log in: {said} ({kind}). {advice}"
