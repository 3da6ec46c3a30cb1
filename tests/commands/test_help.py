"""Help that reads in a narrow window, in the order of the workflow, and completion for shells."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.main import get_command

from command_line import COMMANDS
from stardust_esapi.commands.program import app
from support import Outcome

Run = Callable[..., Outcome]
WIDTH = 60


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))


def as_words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(("words", "command"), COMMANDS)
def test_help_is_whole_at_60_columns(run: Run, words: list[str], command: object) -> None:
    said = run(*words, "--help").out
    assert max(map(len, said.splitlines())) <= WIDTH
    assert not re.search(r"-$|\.\.\.$", said, re.MULTILINE), "a word is broken or cut"
    for param in command.params:  # type: ignore[attr-defined]
        assert as_words(param.help) in as_words(said)
        for option in (*param.opts, *param.secondary_opts):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", said), option
    assert as_words(command.help) in as_words(said)  # type: ignore[attr-defined]


def test_commands_stand_in_the_order_of_the_workflow_and_none_is_cut(run: Run) -> None:
    said = run("--help").out
    listed = re.findall(r"^  ([a-z]+)  +(.*)$", said.partition("Commands:")[2], re.MULTILINE)
    assert [name for name, _ in listed] == [
        "init", "demo", "settings", "doctor", "check", "export", "transfer", "status", "report",
        "verify", "dataset", "record", "compare", "approval",
    ]  # fmt: skip
    assert {name for name, _ in listed} == set(get_command(app).commands)  # type: ignore[attr-defined]
    for group in ("", "settings", "approval"):
        said = run(*filter(None, [group]), "--help").out
        assert not re.search(r"\w\.\.\.$", said.partition("Commands:")[2], re.MULTILINE), said


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell", "pwsh"])
def test_shells_are_told_how_to_complete(shell: str) -> None:
    said = completion(f"source_{shell}")
    assert "stardust-esapi" in said
    assert f"complete_{shell.replace('pwsh', 'powershell')}" in said


def test_powershell_gets_commands_options_and_words() -> None:
    def offered(line: str, word: str) -> list[str]:
        told = {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_WORD_TO_COMPLETE": word}
        said = completion("complete_powershell", **told)
        return [line.partition(":::")[0] for line in said.splitlines()]

    assert offered("stardust-esapi exp", "exp") == ["export"]
    assert "--engine" in offered("stardust-esapi export --en", "--en")
    assert offered("stardust-esapi export --engine d", "d") == ["dcmtk"]


def completion(wanted: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "stardust_esapi"],
        env=os.environ | {"_STARDUST_ESAPI_COMPLETE": wanted} | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
