"""What each setting means and takes, and what is wrong with one, in words: from their own model.

Everything is read from the JSON schema of the pydantic model, so that a new field needs no words
but those of its class' docstring.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stardust_esapi.wording import did_you_mean, either

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

Place = tuple[str | int, ...]
"""Names of tables and numbers of entries that lead to a value."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        key: Its tables' names and its own.
        meaning: What it is.
        takes: What may be written.
        default: As a file has it; None where nothing is set.
    """

    key: tuple[str, ...]
    meaning: str
    takes: str
    default: Any

    @property
    def name(self) -> str:
        """The key as a file has it, such as ``network.port``."""
        return ".".join(self.key)


class Schema:
    """The settings as their model describes them.

    Args:
        model: A model whose fields are settings, or tables of settings.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        self._root = model.model_json_schema()
        self._defaults = model().model_dump(mode="json")

    def settings(self) -> list[Setting]:
        """Every setting, in the order of the fields; a table that is not set by default is one."""
        return list(self._settings(self._root, self._defaults, ()))

    def _settings(
        self, node: Mapping[str, Any], defaults: Mapping[str, Any], key: tuple[str, ...]
    ) -> Iterator[Setting]:
        meanings = _meanings(node.get("description", ""))
        for name, field in node["properties"].items():
            inner, default = self._resolved(field), defaults[name]
            if "properties" in inner and default is not None:
                yield from self._settings(inner, default, (*key, name))
            else:
                yield Setting((*key, name), meanings.get(name, ""), self.takes(inner), default)

    def at(self, place: Place) -> Mapping[str, Any]:
        """What the model says of a place; nothing where it has none."""
        node = self._root
        for part in place:
            if isinstance(part, int):
                node = node.get("items", {})
            elif "properties" in node:
                node = node["properties"].get(part, {})
            else:
                node = node.get("additionalProperties") or {}
            node = self._resolved(node)
        return node

    def takes(self, node: Mapping[str, Any]) -> str:  # noqa: PLR0911 - one a type
        """What may be written at a place, such as ``a whole number from 1 to 65535``."""
        if words := node.get("enum"):
            return either(words)
        example = f" such as {node['examples'][0]}" if "examples" in node else ""
        match node.get("type"):
            case "boolean":
                return "true or false"
            case "integer":
                return f"a whole number{_range(node)}"
            case "number":
                return f"a number{_range(node)}"
            case "array":
                filled = ", not empty" if node.get("minItems") else ""
                return f"a list{filled}, each entry {self.takes(self._resolved(node['items']))}"
            case "object" if example:
                return f"text{example}"
            case "object" if "properties" in node:
                return f"a table with {either(list(node['properties']), 'and')}"
            case "object":
                return "a table of texts"
        if node.get("format") == "path":
            return "a path"
        longest = f" of at most {node['maxLength']} characters" if "maxLength" in node else ""
        filled = ", not empty" if node.get("minLength") else ""
        return f"text{longest}{filled}{example}"

    def says(self, error: ErrorDetails, name: str) -> str:
        """Say what is wrong with a setting.

        Args:
            error: What pydantic found.
            name: What the setting is called where it was given, such as ``--port``.
        """
        place, parent = error["loc"], self.at(error["loc"][:-1])
        match error["type"]:
            case "extra_forbidden":
                return f"{name} is no setting.{self._meant(str(place[-1]), parent)}"
            case "missing":
                words = self.takes(self.at(place))
                return f"{name} is missing: write {words}."
        node, given = self.at(place), error["input"]
        if error["type"] == "value_error":
            name += f" is {_shown(given)}" if isinstance(given, str) else ""
            return f"{name}: {error['ctx']['error']}."
        near = did_you_mean(str(given), node.get("enum", ()))
        return f"{name} is {_shown(given)}: write {self.takes(node)}.{near}"

    def _meant(self, given: str, table: Mapping[str, Any]) -> str:
        """Which setting was meant by one that is none: of its table, or else of another."""
        known = list(table.get("properties", ()))
        elsewhere = {s.key[-1]: s.name for s in self.settings() if s.key[-1] not in known}
        if given in elsewhere:
            return f" Did you mean {elsewhere[given]}?"
        return did_you_mean(given, known) or f" There are {either(known, 'and')}."

    def _resolved(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """The node that is meant by a reference, or by a choice of something and nothing."""
        for choice in node.get("anyOf", ()):
            if choice.get("type") != "null":
                return self._resolved(choice)
        if "$ref" in node:
            return dict(self._root["$defs"][node["$ref"].rpartition("/")[2]])
        return dict(node)


def _meanings(description: str) -> dict[str, str]:
    """What a class' docstring says of its attributes."""
    listed = description.partition("\nAttributes:\n")[2]
    parts = re.split(r"^    (\w+): ", listed, flags=re.MULTILINE)[1:]
    return {
        name: " ".join(text.split()).replace("``", "`").replace("None for", "not set:")
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def _range(node: Mapping[str, Any]) -> str:
    lowest, highest = node.get("minimum"), node.get("maximum")
    above, below = node.get("exclusiveMinimum"), node.get("exclusiveMaximum")
    start = f" above {above}" if above is not None else f" from {lowest}"
    if highest is not None:
        return f"{start} to {highest}"
    if below is not None:
        return f"{start}, below {below}"
    if above is not None:
        return start
    return f", {lowest} or more" if lowest is not None else ""


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else as_toml(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


_LONGEST = 60


def as_toml(value: object) -> str:
    """A value as TOML (v1.0.0) has it, on one line.

    >>> as_toml({"a": [1, 0.5, True, "x"]})
    '{ a = [1, 0.5, true, "x"] }'
    """
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_key(key)} = {as_toml(inner)}" for key, inner in value.items())
        return f"{{ {pairs} }}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, float):
        return repr(value)  # inf is no JSON
    return json.dumps(value, ensure_ascii=False, default=str)


def as_template(settings: Iterable[Setting]) -> str:
    """A TOML file in which every setting stands as a comment, with what it is and its default."""
    lines: list[str] = [
        "# Every setting with its default. Take away the # before one to change it."
    ]
    tables: tuple[str, ...] = ()
    for setting in settings:
        if setting.key[:-1] != tables:
            tables = setting.key[:-1]
            lines += ["", f"[{'.'.join(tables)}]"]
        meaning = f"{setting.meaning} Write {setting.takes}."
        lines += ["", *textwrap.wrap(meaning, 98, initial_indent="# ", subsequent_indent="# ")]
        if setting.default is None:
            lines.append(f"# {setting.key[-1]} is not set.")
        else:
            text = f"{setting.key[-1]} = {_in_lines(setting.default)}"
            lines += [f"#{line}" for line in text.splitlines()]
    return "\n".join((*lines, ""))


def _in_lines(value: object) -> str:
    """A value as TOML; a list of tables has a line for each."""
    if isinstance(value, Sequence) and value and isinstance(value[0], Mapping):
        return "".join(("[\n", *(f"    {as_toml(entry)},\n" for entry in value), "]"))
    return as_toml(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
