"""What mkdocs asks while it builds the documentation site (``hooks`` of ``mkdocs.yml``).

Pages that lie outside ``docs/`` become part of the site; links are written as GitHub follows them,
and lead to the same place in the site; tables of settings, commands and exit codes are made
from the code.
"""

from __future__ import annotations

import inspect
import json
import posixpath
import re
from collections.abc import Callable, Iterator
from enum import Enum, StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.models import ArgumentInfo

from esapi_stub import cli
from stardust_esapi.commands import program
from stardust_esapi.commands.exit_codes import Exit
from stardust_esapi.settings import Peer, Rule, Settings

ROOT = Path(__file__).absolute().parent.parent
OUTSIDE = {  # in the site, and in the repository
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
    "approval.md": "approval/README.md",
    "bundle.md": "approval/bundle/README.md",
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
_SHIM = "https://unpkg.com/iframe-worker/shim"
_IN_WORDS: dict[type, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true`, `false`",
    Path: "path",
    Peer: "`AE@HOST:PORT`",
}
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take in the pages that lie elsewhere in the repository."""
    for uri, path in OUTSIDE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Fill in the tables, and lead the links to where their targets are in the site."""
    for name, table in TABLES.items():
        marker = f"<!-- {name} -->"
        if marker in markdown:
            markdown = markdown.replace(marker, "\n".join(table()))
    uris = {Path(file.abs_src_path or ""): file.src_uri for file in files}
    folder = Path(page.file.abs_src_path or "").parent

    def lead(match: re.Match[str]) -> str:
        image, text, target, anchor = match.groups(default="")
        uri = uris.get(Path(posixpath.normpath((folder / target).as_posix())))
        if uri is None:  # a file of the source code, which a reader of the site need not have
            return text
        there = posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")
        return f"{image}[{text}]({there}{anchor})"

    return _LINK.sub(lead, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001
    """Have the search load what it needs from the site, where the theme names a server."""
    return output.replace(_SHIM, get_relative_url("search-from-disk.js", page.url))


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:  # noqa: ARG001
    """Leave out what a web server alone needs: a page for wrong addresses, a map of the site."""
    return ""


def described(kind: type) -> dict[str, str]:
    """What the section ``Attributes`` of a docstring says of each attribute."""
    return {
        name: " ".join(text.split())
        for name, text in _ATTRIBUTE.findall(inspect.getdoc(kind) or "")
    }


def _exit_codes() -> Iterator[str]:
    yield from ("| code | meaning |", "| ---: | --- |")
    meanings = described(Exit)
    for code in Exit:
        yield f"| {code.value} | {meanings[code.name]} |"


def _settings(model: type[BaseModel] = Settings, table: str = "") -> Iterator[str]:
    """A section for each table of the settings file."""
    heading = f"`[[{table}]]`" if model is Rule else f"`[{table}]`"
    yield f"\n### {heading if table else 'At the top of the file'}\n"
    yield from ("| key | values | default | meaning |", "| --- | --- | --- | --- |")
    meanings, below = described(model), []
    for name, field in model.model_fields.items():
        kind = _table_of(field)
        if kind is not None:
            below.append((kind, f"{table}.{name}".lstrip(".")))
        else:
            yield f"| `{name}` | {_values(field)} | {_literal(field)} | {meanings[name]} |"
    for kind, inner in below:
        yield from _settings(kind, inner)


def _table_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a setting that is a table of its own in the file."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not Peer:
            return kind
    return None


def _values(field: FieldInfo) -> str:
    kinds = [kind for kind in _flat(field.annotation) if kind is not NoneType]
    words = [f"`{member.value}`" for kind in kinds for member in _members(kind)]
    if words:
        return ", ".join(words)
    bounds = [
        f"{sign} {limit:g}"
        for constraint in field.metadata
        for name, sign in (("gt", "&gt;"), ("ge", "≥"), ("lt", "&lt;"), ("le", "≤"))
        if (limit := getattr(constraint, name, None)) is not None
    ]
    of = dict.fromkeys(
        _IN_WORDS.get(kind, kind.__name__) for kind in kinds if isinstance(kind, type)
    )
    several = "list of " if "tuple" in str(field.annotation) else ""
    return several + " ".join([" or ".join(of), *bounds])


def _members(kind: object) -> list[StrEnum]:
    return list(kind) if isinstance(kind, type) and issubclass(kind, StrEnum) else []


def _flat(annotation: object) -> Iterator[object]:
    arguments = get_args(annotation)
    if arguments:
        for argument in arguments:
            yield from _flat(argument)
    elif annotation is not Ellipsis:
        yield annotation


def _literal(field: FieldInfo) -> str:
    """A default as a TOML file has it."""
    value: Any = field.get_default(call_default_factory=True)
    if field.is_required():
        return "needed"
    if value is None:
        return "none"
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {json.dumps(text)}" for key, text in value.items())
        return f"`{{{', '.join(pairs)}}}`"
    plain = [_plain(one) for one in value] if isinstance(value, tuple) else _plain(value)
    return f"`{json.dumps(plain, ensure_ascii=False)}`"


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _commands(app: typer.Typer = program.app, name: str = "stardust-esapi") -> Iterator[str]:
    """A section for each command, with its arguments and options."""
    if app.registered_callback and app.registered_callback.callback:
        yield from _command(app.registered_callback.callback, f"{name} COMMAND")
    for info in app.registered_commands:
        function: Any = info.callback
        yield from _command(function, f"{name} {info.name or function.__name__}")
    for group in app.registered_groups:
        yield from _commands(group.typer_instance or typer.Typer(), f"{name} {group.name}")


def _command(function: Callable[..., object], usage: str) -> Iterator[str]:
    sentences = (inspect.getdoc(function) or "").split("\n\n")[0]
    yield f"\n### `{usage}`\n\n{sentences}\n"
    yield from ("| option | meaning | default |", "| --- | --- | --- |")
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        kind, info = get_args(parameter.annotation)
        is_flag = bool in (kind, *get_args(kind))
        # In Annotated typer takes the first flag for a default, and puts that right when it runs.
        first = info.default if isinstance(info.default, str) else f"--{name.replace('_', '-')}"
        declared = (first, *(info.param_decls or ()))
        if isinstance(info, ArgumentInfo):
            declared = (name.upper(),)
        option = ", ".join(f"`{one}`" for one in declared)
        words = [f"`{word.value}`" for one in (kind, *get_args(kind)) for word in _members(one)]
        meaning = (info.help or "") + (f" One of {', '.join(words)}." if words else "")
        default = info.show_default
        if not isinstance(default, str):
            value = parameter.default
            default = f"`{_plain(value)}`" if value else "off" if is_flag else "none"
            default = "needed" if value is parameter.empty else default
        yield f"| {option} | {meaning} | {default} |"


TABLES = {
    "table of exit codes": _exit_codes,
    "tables of settings": _settings,
    "tables of commands": _commands,
    "tables of stub commands": lambda: _commands(cli.app, "esapi-stub"),
}
