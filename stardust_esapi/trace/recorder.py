"""Asks ESAPI and writes down what it answered: one line of JSON a call.

A line's first half, the question, is on the disk before ESAPI is asked. Should a call end the
process, as a call on a dead object does, the last line names it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, Any, TypeVar

from stardust_esapi.errors import StardustError
from stardust_esapi.esapi.backend import Backend
from stardust_esapi.trace.conceal import Concealer, Json, Show
from stardust_esapi.trace.members import MEMBERS

T = TypeVar("T")

FAILED: Any = object()
"""What :meth:`Recorder.ask` returns where there is no answer."""


@dataclass(frozen=True, slots=True)
class Thing:
    """An object of ESAPI, and where it was met.

    Attributes:
        place: The way to it, such as ``Patient.Studies[0].Series[2]``.
        kind: ESAPI's type.
        api: The object.
    """

    place: str
    kind: str
    api: Any


class Recorder:
    """Writes a trace.

    Args:
        backend: How ESAPI is reached.
        file: Takes the lines.
    """

    def __init__(self, backend: Backend, file: IO[str]) -> None:
        self.backend = backend
        self.conceal = Concealer()
        self._file = file

    def note(self, facts: Json) -> None:
        """Write a line."""
        self._file.write(json.dumps(facts) + "\n")

    def ask(
        self, place: str, member: str, run: Callable[[], T], show: Show, *arguments: Json
    ) -> T | Any:
        """Make one call and write it down, whatever comes of it.

        Args:
            place: Of which object, as :attr:`Thing.place`.
            member: Type and member, such as ``Image.GetVoxels``.
            run: Makes the call.
            show: What of its result is told.
            arguments: What is told of the arguments.

        Returns:
            The result, or :data:`FAILED`.
        """
        question = json.dumps({"on": place, "member": member, "args": arguments})
        self._file.write(question[:-1])
        self._file.flush()
        began = time.perf_counter()
        result = FAILED
        try:
            result = run()
            answer = {"gives": show(result)}
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            # Pythonnet's word for a member that is not there, and the stub's.
            absent = isinstance(error, AttributeError) and result is FAILED
            answer = {"absent": True} if absent else {"throws": self._exception(error)}
        milliseconds = round((time.perf_counter() - began) * 1000, 2)
        self._file.write(", " + json.dumps(answer | {"ms": milliseconds})[1:] + "\n")
        return result

    def end(self, place: str, error: StardustError) -> None:
        """Write down why nothing more is asked."""
        answer = {"throws": self._exception(error)}
        self.note({"on": place, "member": "(end)", "args": [], **answer})

    def _exception(self, error: Exception) -> Json:
        named = self.backend.refusal(error)
        if named is None:
            dotnet = getattr(error, "dotnet_type", "") if isinstance(error, StardustError) else ""
            named = dotnet or type(error).__name__, str(error)
        return {"type": named[0], "message": self.conceal.message(named[1])}

    def properties(self, thing: Thing) -> dict[str, Any]:
        """Ask for all that :data:`~stardust_esapi.trace.members.MEMBERS` names.

        Returns:
            The values, by name; :data:`FAILED` where there is none.
        """
        return {
            name: self._property(thing, name, sort)
            for sort, names in MEMBERS[thing.kind].items()
            for name in names.split()
        }

    def _property(self, thing: Thing, name: str, sort: str) -> Any:
        attribute = name.removesuffix("()")

        def get() -> Any:
            value = getattr(thing.api, attribute)
            return value if attribute == name else value()

        member = f"{thing.kind}.{attribute}"
        return self.ask(thing.place, member, get, self.conceal.sorts[sort])

    def children(self, parent: Thing, collection: str, kind: str) -> list[Thing]:
        """Ask for all objects of a collection, in ESAPI's order."""
        found: Iterable[Any] = self.ask(
            parent.place,
            f"{parent.kind}.{collection}",
            lambda: list(getattr(parent.api, collection)),
            len,
        )
        return [
            Thing(f"{parent.place}.{collection}[{at}]", kind, api)
            for at, api in enumerate(() if found is FAILED else found)
        ]
