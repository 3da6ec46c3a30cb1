"""Generate the classes of the .NET skin: of ``surface.json`` what the Python stub offers.

Every member forwards to the stub in its own process; what carries it there, and what only .NET
can do, is written by hand in ``stubs/csharp``. ``scripts/build-stub`` runs this and compiles both:
``python scripts/generate_skin.py 16.1 FOLDER``.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from esapi_stub import types
from esapi_stub.api.classes import CLASSES, public
from esapi_stub.surface import (
    Member,
    Parameter,
    Surface,
    every_version,
    load,
    parse,
    split_top,
    versioned,
)

NAMESPACE = "VMS.TPS.Common.Model"
# Values with members of their own, in stubs/csharp/Types.
BY_HAND = {"Types.VVector", "Types.DoseValue", "Types.ImageProfile"}
PLAIN = {
    "System.Void": "void",
    "System.Object": "object",
    "System.String": "string",
    "System.Boolean": "bool",
    "System.Int32": "int",
    "System.Double": "double",
}
# How objects compare, which the stub answers by its own ``==`` and ``hash``.
COMPARING = {
    "ToString": "public override string ToString() {{ return Remote.Text(this); }}",
    "Equals": "public override bool Equals(object obj) {{ return Remote.Same(this, obj); }}",
    "GetHashCode": "public override int GetHashCode() {{ return Remote.Hash(this); }}",
    "op_Equality": "public static bool operator ==({0} a, {0} b) {{ return Equals(a, b); }}",
    "op_Inequality": "public static bool operator !=({0} a, {0} b) {{ return !Equals(a, b); }}",
}


def cs_type(text: str) -> str:
    """Translate a .NET type to C#."""
    if text in PLAIN:
        return PLAIN[text]
    if text.endswith("[]"):
        return f"{cs_type(text[:-2])}[]"
    if text.endswith("[0...,0...]"):
        return f"{cs_type(text.removesuffix('[0...,0...]'))}[,]"
    if text.endswith(">"):
        name, _, inside = text[:-1].partition("<")
        arguments = ", ".join(cs_type(argument) for argument in split_top(inside))
        return f"global::{name.partition('`')[0]}<{arguments}>"
    own = text.startswith(("API.", "Types."))
    return f"global::{f'{NAMESPACE}.' if own else ''}{text.replace('/', '.')}"


def offers(kind: type, member: Member) -> bool:
    """Whether the Python stub has a member, and of a method these parameters."""
    if member.static or member.name not in public(kind):
        return False
    if member.parameters is None:
        return True
    offered = list(inspect.signature(getattr(kind, member.name)).parameters)[1:]
    return offered == [parameter.name for parameter in member.parameters]


def property_lines(member: Member) -> Iterator[str]:
    """A property that asks."""
    kind = cs_type(member.type)
    yield f"public {kind} {member.name}"
    yield "{"
    yield f'    get {{ return Remote.Get<{kind}>(this, "{member.name}"); }}'
    if member.settable:
        yield f'    set {{ Remote.Set(this, "{member.name}", value); }}'
    yield "}"


def declared(parameter: Parameter) -> str:
    """A parameter in a signature."""
    return f"{'out ' if parameter.out else ''}{cs_type(parameter.type)} @{parameter.name}"


def method_lines(member: Member) -> Iterator[str]:
    """A method that asks; with ``out`` parameters the stub answers with all results in a row."""
    assert member.parameters is not None
    outs = [parameter for parameter in member.parameters if parameter.out]
    given = ", ".join("null" if p.out else f"@{p.name}" for p in member.parameters)
    asked = f'(this, "{member.name}", new object[] {{ {given} }})'
    returns = cs_type(member.type)
    yield f"public {returns} {member.name}({', '.join(map(declared, member.parameters))})"
    yield "{"
    if outs:
        yield f"    object[] answer = Remote.Call<object[]>{asked};"
        for at, out in enumerate(outs, 1):
            yield f"    @{out.name} = Remote.As<{cs_type(out.type)}>(answer[{at}]);"
        yield f"    return Remote.As<{returns}>(answer[0]);"
    elif returns == "void":
        yield f"    Remote.Call<object>{asked};"
    else:
        yield f"    return Remote.Call<{returns}>{asked};"
    yield "}"


def constructor_lines(name: str, member: Member) -> Iterator[str]:
    """A constructor that ESAPI has, and calls itself."""
    parameters = ", ".join(map(declared, member.parameters or ()))
    yield f"public {name}({parameters})"
    yield "{"
    yield '    throw new System.NotImplementedException("Only the stand-in itself makes one.");'
    yield "}"


def member_lines(name: str, kind: type, member: Member) -> Iterator[str]:
    """One member, if the stub has it."""
    if member.name == ".ctor":
        if all(parameter.type in PLAIN for parameter in member.parameters or ()):
            yield from constructor_lines(name, member)
    elif member.name in COMPARING:
        yield COMPARING[member.name].format(name)
    elif offers(kind, member):
        yield from property_lines(member) if member.parameters is None else method_lines(member)


def class_lines(surface: Surface, name: str, kind: type) -> Iterator[str]:
    """A class of API."""
    info = surface[f"API.{name}"]
    members = [parse(line) for line in info["members"]]
    if info["base"] == "System.Object" and "ToString" in public(kind):
        members.append(Member("ToString", "System.String", ()))  # it tells the living from the dead
    yield f"public partial class {name} : {cs_type(info['base'])}"
    yield "{"
    yield f"    internal {name}() {{ }}"
    for member in members:
        yield from (f"    {line}" for line in member_lines(name, kind, member))
    yield "}"


def data_lines(surface: Surface, name: str) -> Iterator[str]:
    """An enum or a struct of fields."""
    info = surface[f"Types.{name}"]
    yield f"public {info['kind']} {name}"
    yield "{"
    for member in map(parse, info["members"]):
        if info["kind"] == "enum":
            yield f"    {member.name} = {member.value},"
        else:
            yield f"    public {cs_type(member.type)} {member.name};"
    yield "}"


def file(namespace: str, lines: list[str], uses: str = "") -> str:
    """The source of a namespace."""
    body = "\n".join(f"    {line}" for line in lines)
    return (
        f"// Generated by scripts/generate_skin.py.\n{uses}namespace {namespace}\n{{\n{body}\n}}\n"
    )


def generate(version: str, target: Path) -> None:
    """Write the sources of a version's assemblies into the folders ``API`` and ``Types``."""
    surface = load(version)
    api = [
        line
        for name, kind in sorted(CLASSES.items())
        if f"API.{name}" in surface
        for line in class_lines(surface, name, versioned(kind, version))
    ]
    # Names that signatures mention and the surface does not describe.
    api += [
        f"public class {name} : {base} {{ internal {name}() {{ }} }}"
        for name, base in (("ApplicationScript", "ApiDataObject"), ("PlanningItemDose", "Dose"))
    ]
    data = [
        line
        for name in vars(types)
        if f"Types.{name}" in surface and f"Types.{name}" not in BY_HAND
        for line in data_lines(surface, name)
    ]
    build = [
        "internal static class Build",
        "{",
        f'    internal const string Version = "{version}";',
        # This one has the stub; elsewhere ESAPI_STUB_PYTHON names one that has.
        '    internal const string Python = @"{}";'.format(sys.executable.replace('"', '""')),
        "}",
    ]
    for path, text in (
        ("API/API.cs", file(f"{NAMESPACE}.API", api, "using EsapiStub;\n")),
        ("API/Build.cs", file("EsapiStub", build)),
        ("Types/Types.cs", file(f"{NAMESPACE}.Types", data)),
    ):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("version", choices=every_version())
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    generate(arguments.version, arguments.folder)
