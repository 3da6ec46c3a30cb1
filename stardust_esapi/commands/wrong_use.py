"""What was wrong with a command line: the option, what was given, what is possible."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, cast, get_args, get_type_hints

import typer

from stardust_esapi.wording import did_you_mean, either

CommandLineError = cast("type[Exception]", typer.BadParameter.__mro__[2])
"""What all that typer finds wrong with a command line is; it gives no name to it."""


def sentence(error: Any, arguments: Sequence[str]) -> str:  # noqa: PLR0911 - one a mistake
    """Say in a sentence what is wrong, in place of what the parser's libraries say.

    Args:
        error: A :data:`CommandLineError`.
        arguments: What stood after the program's name.
    """
    context = getattr(error, "ctx", None)
    if context is None:  # it knows the option alone
        needs = "needs a value" if "requires" in error.message else "takes no value"
        return f"{error.option_name} {needs}."
    command: str = context.command_path
    param: Any = getattr(error, "param", None)
    ask = f"`{command} --help` says more."
    match type(error).__name__:
        case "NoArgsIsHelpError":
            return str(context.get_help())
        case "NoSuchOption":
            known = [option for one in context.command.params for option in _options(one)]
            near = did_you_mean(error.option_name, known)
            return f"`{command}` has no option {error.option_name}.{near} {ask}"
        case "MissingParameter":
            name = _options(param)[0] if param.param_type_name == "option" else param.name.upper()
            return f"`{command}` needs {name}: {param.help} {ask}"
        case "BadParameter":
            given = _given(arguments, _options(param))
            takes, words = _takes(get_type_hints(context.command.callback)[param.name])
            near = did_you_mean(given, words)
            return f"{_options(param)[0]} is {given!r}: write {takes}.{near}"
    if groups := getattr(context.command, "commands", {}):
        own = command.split()
        others = (word for word in arguments if not word.startswith("-") and word not in own)
        given = next(others, "")
        near = did_you_mean(given, groups)
        return f"`{command}` has no command {given}.{near} It has {either(list(groups), 'and')}."
    extra = re.sub(r".*\((.*)\)\.?$", r"\1", error.message)
    return f"`{command}` does not take {extra}; what holds blanks needs quotation marks. {ask}"


def _options(param: Any) -> list[str]:
    """How an option may be spelled, the long one first."""
    return sorted([*param.opts, *param.secondary_opts], key=lambda name: not name.startswith("--"))


def _given(arguments: Sequence[str], options: Sequence[str]) -> str:
    """The value that was given to an option."""
    for word, following in zip(reversed(arguments), ["", *reversed(arguments)], strict=False):
        name, equals, value = word.partition("=")
        if name in options:
            return value if equals else following
    return ""


def _takes(annotation: Any) -> tuple[str, list[str]]:
    """What an option takes in words, and the words that it chooses from."""
    types = [kind for kind in (get_args(annotation) or (annotation,)) if kind is not type(None)]
    if issubclass(types[0], StrEnum):
        words = [member.value for member in types[0]]
        return either(words), words
    return "a whole number" if types[0] is int else "a number", []
