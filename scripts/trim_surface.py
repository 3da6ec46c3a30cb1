"""Keep of ESAPI's surface what the stub uses: the versions and types that it knows, whole.

``python scripts/trim_surface.py FILE`` writes ``stubs/esapi_stub/surface.json`` from a file of
the same form that holds more (by default from itself). A type keeps every member, so that one
more can be offered without that file; types that members mention are named there and no more.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from esapi_stub import types
from esapi_stub.api.classes import CLASSES
from esapi_stub.surface import VERSIONS, Surface

ROOT = Path(__file__).resolve().parent.parent
SURFACE = ROOT / "stubs" / "esapi_stub" / "surface.json"
# What .NET alone can have: the stub has no assemblies.
BY_HAND = ("API.CustomScriptExecutable", "API.ESAPIScriptAttribute")


def trimmed(surface: dict[str, Surface]) -> dict[str, Surface]:
    """Versions, and types of each, that the stub knows."""
    used = {*BY_HAND, *(f"API.{name}" for name in CLASSES), *(f"Types.{n}" for n in vars(types))}
    return {
        version: {name: info for name, info in surface[version].items() if name in used}
        for version in VERSIONS
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, default=SURFACE, help="what holds more")
    parser.add_argument("--out", type=Path, default=SURFACE, help="file to write")
    arguments = parser.parse_args()
    kept = trimmed(json.loads(arguments.file.read_text(encoding="utf-8")))
    text = json.dumps(kept, indent=1) + "\n"
    arguments.out.write_text(text, encoding="utf-8", newline="\n")
