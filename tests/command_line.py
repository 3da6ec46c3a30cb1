"""Every command of the program, for tests that go over all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from stardust_esapi.commands.program import app


def commands() -> Iterator[tuple[list[str], Any]]:
    """Every command with the words that call it."""

    def walk(words: list[str], group: Any) -> Iterator[tuple[list[str], Any]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from walk([*words, name], command)
            else:
                yield [*words, name], command

    return walk([], get_command(app))


COMMANDS = [pytest.param(words, command, id=" ".join(words)) for words, command in commands()]
