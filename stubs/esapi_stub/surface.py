"""Which public members ESAPI's types have in a version, from ``surface.json``.

The classes of :mod:`esapi_stub.api` are written once, with the members of every version;
:func:`versioned` makes of such a class the one of a version, so that a member of a later version
is simply not there. The typings and the .NET skin are generated from the same lines, which
:func:`parse` alone reads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, TypedDict, TypeVar

from esapi_stub.system import NotImplementedException

VERSIONS = ("15.6", "16.1", "18.0", "18.1")
_OF_SYSTEM_OBJECT = {"ToString": False, "Equals": False, "GetHashCode": False, "GetType": False}

T = TypeVar("T")


class TypeInfo(TypedDict):
    """One type in ``surface.json``."""

    base: str
    kind: str
    members: list[str]


Surface = dict[str, TypeInfo]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method."""

    name: str
    type: str
    out: bool


@dataclass(frozen=True)
class Member:
    """One parsed line of a type's members.

    Attributes:
        name: Its .NET name; of an indexer ``Item[…]``.
        type: The .NET type that it has or returns.
        parameters: Of a method; None for what is no method.
        static: Whether it belongs to the type.
        settable: Of a property: whether it can be set.
        field: Whether it is a field rather than a property.
        value: Of an enum member.
        note: Which version lacks it, for a comment.
    """

    name: str
    type: str
    parameters: tuple[Parameter, ...] | None = None
    static: bool = False
    settable: bool = False
    field: bool = False
    value: str = ""
    note: str = ""


def split_top(text: str) -> list[str]:
    """Split at commas that stand outside ``<…>`` and ``[…]``."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "<[") - (character in ">]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def parse(line: str) -> Member:
    """Parse one line of a type's members."""
    static = line.startswith("static ")
    text = line.removeprefix("static ").removeprefix("const ")
    if text.endswith(")"):
        head, _, inside = text[:-1].partition("(")
        type_name, name = head.rsplit(" ", 1)
        parameters = []
        for parameter in split_top(inside):
            kind, _, called = parameter.removeprefix("out ").rpartition(" ")
            parameters.append(Parameter(called, kind, parameter.startswith("out ")))
        return Member(name, type_name, tuple(parameters), static)
    text, _, value = text.partition(" = ")
    text, brace, accessors = text.partition(" { ")
    type_name, name = text.rsplit(" ", 1)
    settable = "set;" in accessors
    return Member(name, type_name, static=static, settable=settable, field=not brace, value=value)


@cache
def every_version() -> dict[str, Surface]:
    """What ``surface.json`` holds: versions, and of each its types by their shortened name."""
    with files("esapi_stub").joinpath("surface.json").open(encoding="utf-8") as file:
        found: dict[str, Surface] = json.load(file)
    return found


def load(version: str) -> Surface:
    """Types of a version by their shortened name, such as ``API.Image``."""
    return every_version()[version]


@cache
def members(version: str, type_name: str) -> dict[str, bool]:
    """Public members of a type and its bases, and which of them are properties that can be set."""
    found: dict[str, bool] = dict(_OF_SYSTEM_OBJECT)
    while type_name in (surface := load(version)):
        for member in map(parse, surface[type_name]["members"]):
            found[member.name] = found.get(member.name, False) or member.settable
        type_name = surface[type_name]["base"]
    return found


class _Missing:
    """In place of a member that the version does not have."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> None:
        raise AttributeError(f"'{owner.__name__}' object has no attribute '{self._name}'")


@cache
def versioned(kind: type[T], version: str) -> type[T]:
    """Make the class of a version: without later members, settable only what is settable there."""
    # What the surface merely names has the members of its base.
    names = [f"API.{one.__name__}" for one in kind.__mro__]
    known = members(version, next(name for name in names if name in load(version)))
    changes: dict[str, Any] = {"__module__": "VMS.TPS.Common.Model.API", "__slots__": ()}
    for name in dir(kind):
        member = getattr(kind, name)
        if name.startswith("_"):
            continue
        if name not in known:
            changes[name] = _Missing()
        elif isinstance(member, property) and known[name] != (member.fset is not None):
            changes[name] = property(member.fget, _refuse if known[name] else None)
    return type(kind.__name__, (kind,), changes)


def _refuse(self: object, value: object) -> None:  # noqa: ARG001
    raise NotImplementedException(f"The stub cannot set this property of {type(self).__name__}.")
