"""Which public members ESAPI's types have in a version, from ``surface.json``.

The classes of :mod:`esapi_stub.api` are written once, with the members of every version;
:func:`versioned` makes of such a class the one of a version, so that a member of a later version
is simply not there.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from esapi_stub.system import NotImplementedException

VERSIONS = ("15.6", "16.1")
_OF_SYSTEM_OBJECT = {"ToString": False, "Equals": False, "GetHashCode": False, "GetType": False}
_MEMBER = re.compile(r"(?:^|\s)(?P<name>\w+)\s*(?P<rest>\{[^}]*\}|\(.*\))$")

T = TypeVar("T")


@cache
def load(version: str) -> dict[str, dict[str, Any]]:
    """Types of a version by their shortened name, such as ``API.Image``: base, kind, members."""
    with files("esapi_stub").joinpath("surface.json").open(encoding="utf-8") as file:
        found: dict[str, dict[str, Any]] = json.load(file)[version]
    return found


@cache
def members(version: str, type_name: str) -> dict[str, bool]:
    """Public members of a type and its bases, and which of them are properties that can be set."""
    found: dict[str, bool] = dict(_OF_SYSTEM_OBJECT)
    while type_name in (surface := load(version)):
        for signature in surface[type_name]["members"]:
            match = _MEMBER.search(signature)
            if match:
                settable = "set;" in match["rest"] and match["rest"].startswith("{")
                found[match["name"]] = found.get(match["name"], False) or settable
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
    known = members(version, f"API.{kind.__name__}")
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
