"""The stub's members against ESAPI's own signatures, by reflection, for each version."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from enum import IntEnum
from pathlib import Path

import pytest

from esapi_members import MET, OBJECT
from esapi_stub import types
from esapi_stub.api.classes import CLASSES, public
from esapi_stub.surface import VERSIONS, load, versioned

ROOT = Path(__file__).resolve().parents[2]


def signatures(version: str, kind: str) -> dict[str, list[str]]:
    """Signatures of a type and its bases by member name."""
    found: dict[str, list[str]] = {}
    name = f"API.{kind}"
    while name in load(version):
        for signature in load(version)[name]["members"]:
            match = re.search(r"(?:^|\s)(\w+)\s*(?:\{[^}]*\}|\([^)]*\))$", signature)
            if match:
                found.setdefault(match[1], []).append(signature)
        name = load(version)[name]["base"]
    return found


def parameters(signature: str) -> list[str]:
    """Names of a method's parameters: the last word of each, commas within <> and [] aside."""
    inner = signature[signature.index("(") + 1 : -1]
    inner = re.sub(r"<[^()]*?>|\[[^]]*\]", "", inner)
    return [part.split()[-1] for part in inner.split(",") if part.strip()]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"SerializableObject", "PlanningItemDose"}))
def test_every_member_offered_is_esapis(version, name) -> None:
    known = signatures(version, name)
    kind = versioned(CLASSES[name], version)
    assert kind.__name__ == name
    offered = public(kind)
    assert set(offered) - OBJECT <= set(known)
    for member in set(offered) - OBJECT:
        value = inspect.getattr_static(kind, member)
        properties = [s for s in known[member] if s.endswith("}")]
        if isinstance(value, property):
            assert properties, member
            settable = any("set;" in s for s in properties)
            assert (value.fset is not None) == settable, member
        else:
            mine = list(inspect.signature(value).parameters)[1:]
            assert mine in [parameters(s) for s in known[member] if s.endswith(")")], member


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", MET)
def test_every_member_the_product_meets_is_offered(version, kind) -> None:
    for met in MET[kind].split():
        name, _, since = met.partition("@")
        offered = hasattr(versioned(CLASSES[kind], version), name)
        assert offered == (not since or float(version) >= float(since)), name


@pytest.mark.parametrize("version", VERSIONS)
def test_enums_and_structs_are_esapis(version) -> None:
    compared = 0
    for name, value in vars(types).items():
        declared = load(version).get(f"Types.{name}")
        if declared is None:
            continue
        compared += 1
        if issubclass(value, IntEnum):
            numbers = [re.search(r"(\w+) = (-?\d+)$", m) for m in declared["members"]]
            assert {m[1]: int(m[2]) for m in numbers if m} == {v.name: int(v) for v in value}
        else:
            text = " ".join(declared["members"])
            for member in public(value):
                assert re.search(rf"\b{member}\b", text), f"{name}.{member}"
    assert compared >= 9


def test_the_surface_holds_what_is_used(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "trim_surface.py"
    subprocess.run([sys.executable, script, "--out", tmp_path / "surface.json"], check=True)
    kept = (ROOT / "stubs" / "esapi_stub" / "surface.json").read_bytes()
    assert (tmp_path / "surface.json").read_bytes() == kept
