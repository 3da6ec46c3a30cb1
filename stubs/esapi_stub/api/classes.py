"""ESAPI's classes that the stub has, by name: what the .NET skin is made of, and tests look at."""

from __future__ import annotations

import inspect

from esapi_stub.api import application, context, dose, image, patient, structures
from esapi_stub.api.base import ApiDataObject, SerializableObject

CLASSES: dict[str, type] = {
    kind.__name__: kind
    for module in (application, patient, image, structures, dose)
    for kind in vars(module).values()
    if inspect.isclass(kind)
    and issubclass(kind, SerializableObject)
    and kind is not image.SliceImage
} | {"ApiDataObject": ApiDataObject, "ScriptContext": context.ScriptContext}


def public(kind: type) -> list[str]:
    """Names of a class's public members."""
    return [name for name in dir(kind) if not name.startswith("_") and hasattr(kind, name)]
