"""The stub behind the .NET skin: answers over a pipe what is asked of its objects.

The assemblies that ``scripts/build-stub`` makes start it (``stubs/csharp/Skin/Pipe.cs``). Each
frame is a length (4 bytes, little-endian) and one value; a value is a tag and what follows it, see
:func:`write_value`. A question is a list: the asking thread, the verb, the object (None for
:class:`Skin` itself), the member, the arguments, and of a write the assemblies on the stack, the
nearest first (else None); an object is there a number only, and of a buffer that is to be filled
comes its size. The answer is a list too: True, the result, and the filled buffers; or False, the
name of a .NET exception, and its message. The program ends when its standard input does: with the
process that asks.
"""

from __future__ import annotations

import os
import signal
import struct
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from esapi_stub import system, types
from esapi_stub.api import base
from esapi_stub.api.application import Application, open_application
from esapi_stub.api.context import Eclipse, ScriptContext
from esapi_stub.database import DatabaseError, Settings

_STRUCTS: dict[type, tuple[str, ...]] = {
    types.VVector: ("x", "y", "z"),
    types.Color: ("A", "R", "G", "B"),
    types.DoseValue: ("Dose", "Unit"),
    types.StructureApprovalHistoryEntry: (
        *("ApprovalStatus", "StatusComment", "UserId", "UserDisplayName", "ApprovalDateTime"),
    ),
    types.ImageProfile: ("_origin", "_step", "_data", "_unit"),
    system.DateTime: ("Year", "Month", "Day", "Hour", "Minute", "Second"),
}
_BY_NAME: dict[str, Callable[..., Any]] = {kind.__name__: kind for kind in _STRUCTS}
_ELEMENTS: dict[str, np.dtype[Any]] = {"i": np.dtype("<i4"), "d": np.dtype("<f8")}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Reference:
    """An object that stays here: its number and, for what .NET makes of it, its class."""

    number: int
    kind: str


@dataclass(frozen=True)
class Assembly:
    """A .NET assembly: its name, and whether it has ``ESAPIScript(IsWriteable = true)``."""

    name: str
    writeable: bool


def write_value(value: Any) -> bytes:
    """Encode a value; what is neither plain nor a struct must be a :class:`Reference`."""
    for kinds, write in _WRITERS:
        if isinstance(value, kinds):
            return write(value)
    fields = _STRUCTS[type(value)]
    return b"O" + _text(type(value).__name__) + _items([getattr(value, f) for f in fields])


def _text(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return struct.pack("<i", len(encoded)) + encoded


def _items(values: list[Any] | tuple[Any, ...]) -> bytes:
    return struct.pack("<i", len(values)) + b"".join(map(write_value, values))


def _array(array: NDArray[Any]) -> bytes:
    """Element type, number of dimensions, their sizes, and the block."""
    letter = "i" if array.dtype.kind == "i" else "d"
    head = struct.pack(f"<cB{array.ndim}i", letter.encode(), array.ndim, *array.shape)
    return head + array.astype(_ELEMENTS[letter], copy=False).tobytes()


def _sequence(values: list[Any] | tuple[Any, ...]) -> bytes:
    if values and all(isinstance(value, types.VVector) for value in values):
        points = np.array([(p.x, p.y, p.z) for p in values], dtype="<f8")
        return b"V" + struct.pack("<i", len(points)) + points.tobytes()
    return b"L" + _items(values)


_WRITERS: tuple[tuple[Any, Callable[[Any], bytes]], ...] = (
    (type(None), lambda _: b"N"),
    ((bool, np.bool_), lambda value: b"T" if value else b"F"),
    ((int, np.integer), lambda value: b"I" + struct.pack("<q", value)),
    ((float, np.floating), lambda value: b"D" + struct.pack("<d", value)),
    (str, lambda value: b"S" + _text(value)),
    (Reference, lambda value: b"R" + struct.pack("<i", value.number) + _text(value.kind)),
    (np.ndarray, lambda value: b"A" + _array(value)),
    ((list, tuple), _sequence),
)


class _Reader:
    """Decodes the value of one frame; references are resolved by ``objects``."""

    def __init__(self, frame: bytes, objects: list[Any]) -> None:
        self._frame, self._at, self._objects = frame, 0, objects
        self.buffers: list[NDArray[Any]] = []

    def _take(self, layout: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{layout}", self._frame, self._at)
        self._at += struct.calcsize(f"<{layout}")
        return found

    def _text(self) -> str:
        (length,) = self._take("i")
        return str(self._take(f"{length}s")[0], "utf-8", "surrogatepass")

    def _items(self) -> list[Any]:
        return [self.value() for _ in range(self._take("i")[0])]

    def _vectors(self) -> list[types.VVector]:
        (count,) = self._take("i")
        numbers = iter(self._take(f"{3 * count}d"))
        return [types.VVector(*point) for point in zip(numbers, numbers, numbers, strict=True)]

    def _buffer(self) -> NDArray[Any]:
        """An array to be filled here; only its size has come."""
        letter, dimensions = self._take("cB")
        size = self._take(f"{dimensions}i")
        self.buffers.append(np.zeros(size, _ELEMENTS[letter.decode()]))
        return self.buffers[-1]

    def value(self) -> Any:
        """The next value."""
        tag = self._take("c")[0].decode()
        if tag in "NTF":
            return {"N": None, "T": True, "F": False}[tag]
        if tag in "ID":
            return self._take({"I": "q", "D": "d"}[tag])[0]
        if tag == "R":
            return self._objects[self._take("i")[0]]
        if tag == "O":
            return _BY_NAME[self._text()](*self._items())
        read = {"S": self._text, "L": self._items, "V": self._vectors, "B": self._buffer}
        return read[tag]()


class Skin:
    """What the skin can ask for without having an object yet, and the objects that it has.

    Args:
        version: ESAPI version of the assembly, whatever the databases say.
    """

    def __init__(self, version: str) -> None:
        self._version = version
        self._thread = 0
        self._callers: list[Assembly] = []
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        base.asking_thread = lambda: self._thread

    def answer(self, frame: bytes) -> bytes:
        """Answer a question."""
        reader = _Reader(frame, self._objects)
        self._thread, verb, target, member, arguments, callers = reader.value()
        ask: Callable[..., Any] = getattr(self, f"_{verb}")
        try:
            if callers is not None:
                self._callers = [Assembly(*caller) for caller in callers]
                self._check_permission(target, member)
            result = ask(self if target is None else target, member, *arguments)
            return write_value([True, self._shown(result), *reader.buffers])
        except Exception as error:  # noqa: BLE001 - it is raised again on the other side
            return write_value([False, *_refusal(error)])

    def create_application(
        self, folder: str, script: list[Any] | None, epoch: str | None
    ) -> Application:
        """``CreateApplication``, on the stub database in a folder.

        Args:
            folder: Of the database; empty where nobody named one.
            script: The script's assembly, as of :class:`Assembly`; None for a host that is none.
            epoch: The asking process's ``SOURCE_DATE_EPOCH``, as it is now.
        """
        return open_application(self._begin(folder, epoch), self._script(script))

    def start_eclipse(
        self, folder: str, script: list[Any], epoch: str | None, patient_id: str | None
    ) -> Eclipse:
        """Open a patient as Eclipse has it open while a plug-in runs."""
        return Eclipse(self._begin(folder, epoch), self._script(script), patient_id)

    def _begin(self, folder: str, epoch: str | None) -> Path:
        if not folder:
            raise DatabaseError(
                "The environment variable ESAPI_STUB_DB must name the folder of a stub database."
            )
        os.environ.pop("SOURCE_DATE_EPOCH", None)
        if epoch:
            os.environ["SOURCE_DATE_EPOCH"] = epoch
        return Path(folder)

    def _script(self, told: list[Any] | None) -> Callable[[Settings], Settings]:
        """Who runs, as far as it decides whether patient data may be modified.

        An EXE or a plug-in is a script: its attribute and, on a clinical system, its approval tell,
        or those of who calls (:attr:`Settings.permission`). An interpreter or a native host can be
        approved by nobody.
        """
        script = None if told is None else Assembly(*told)

        def changed(settings: Settings) -> Settings:
            if script is None:
                may = settings.script_writable and not settings.clinical
                return replace(settings, version=self._version, script_writable=may)
            approved = {*settings.approved_assemblies, *[script.name] * settings.script_approved}
            deciding = {
                "entry": [script],
                "caller": self._callers[:1],
                "stack": [script, *self._callers],
            }[settings.permission]
            return replace(
                settings,
                version=self._version,
                script_writable=any(assembly.writeable for assembly in deciding[:1]),
                script_approved=all(assembly.name in approved for assembly in deciding),
            )

        return changed

    def _check_permission(self, target: Any, member: str) -> None:
        """Refuse a write that the script's assembly may make, and those that call may not.

        Raises:
            ApplicationException: Eclipse would not let them.
        """
        settings: Settings = target._desk.settings
        asks = member == "CanModifyData"
        if settings.permission == "entry" or asks or settings.script_may_write:
            return
        if settings.permission == "caller" and not settings.script_writable:
            raise system.ApplicationException(
                "The system did not find a calling assembly while a script tried to modify data."
            )
        raise system.ApplicationException(base.NO_LICENSE)

    # --- verbs ---

    def _get(self, target: Any, member: str) -> Any:
        return getattr(target, member)

    def _set(self, target: Any, member: str, value: Any) -> None:
        setattr(target, member, value)

    def _call(self, target: Any, member: str, *arguments: Any) -> Any:
        return getattr(target, member)(*arguments)

    def _same(self, target: Any, _: str, other: Any) -> bool:
        """Comparing is no access: dead objects stay comparable."""
        return bool(target == other)

    def _hash(self, target: Any, _: str) -> int:
        return hash(target) & 0x7FFFFFFF

    def _enumerate(self, target: Any, _: str) -> Iterator[Any]:
        return iter(target)

    def _next(self, target: Any, _: str) -> list[Any]:
        """The next object of a collection, in a list; an empty one at the end."""
        return [self._shown(item) for item in islice(target, 1)]

    def _shown(self, value: Any) -> Any:
        """A value as it crosses: an object as its reference, the same one for the same object."""
        if not isinstance(
            value, base.SerializableObject | base.Enumerable | ScriptContext | Eclipse | Iterator
        ):
            return value
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return Reference(self._numbers[id(value)], type(value).__name__)


def _refusal(error: Exception) -> tuple[str, str]:
    """Name and message of the .NET exception that says the same."""
    kind = type(error)
    if isinstance(error, system.Exception):
        return f"System.{kind.__name__}", error.Message
    if isinstance(error, DatabaseError):
        return "EsapiStub.DatabaseError", str(error)
    if isinstance(error, AttributeError) and error.obj is None:
        return (
            "System.NullReferenceException",
            "Object reference not set to an instance of an object.",
        )
    traceback.print_exception(error)
    return "System.SystemException", f"The Python stub failed: {kind.__name__}: {error}"


def serve(version: str, source: IO[bytes], target: IO[bytes]) -> None:
    """Answer until there are no more questions."""
    skin = Skin(version)
    # .NET Framework begins a pipe with a byte order mark where the console speaks UTF-8.
    head = source.read(4)
    if head.startswith(_BYTE_ORDER_MARK):
        head = head[3:] + source.read(3)
    while len(head) == 4:
        (size,) = struct.unpack("<i", head)
        answer = skin.answer(source.read(size))
        target.write(struct.pack("<i", len(answer)) + answer)
        target.flush()
        head = source.read(4)


def main(version: str) -> None:
    """Serve on standard input and output, which nothing else may then use."""
    # Ctrl-C goes to the whole group; the asking process decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    serve(version, source, target)
