"""What the README shows works: its settings load, its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from stand_ins import ROOT
from stardust_esapi.commands.program import app
from stardust_esapi.settings import load_settings

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_block_of_settings_loads(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 3
    for number, block in enumerate(blocks):
        path = tmp_path / f"{number}.toml"
        path.write_text(block, encoding="utf-8")
        load_settings(path, folder=tmp_path)


def test_every_command_and_option_of_the_examples_exists() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    lines = re.findall(r"^stardust-esapi (\w+) ([^#\n]*)", README, re.MULTILINE)
    assert {name for name, _ in lines} >= {"check", "export", "verify", "transfer", "dataset"}
    for name, rest in lines:
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"(--[a-z-]+)", rest)) <= known, (name, rest)
