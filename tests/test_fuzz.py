"""A short run of what is run for hours: inputs that are almost right end in a sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support import PATIENCE

FUZZ = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", str(FUZZ), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("target", ["readers", "lists", "stub", "receiver"])
def test_inputs_that_are_almost_right(target: str) -> None:
    """In a process of its own, which no other test has given memory."""
    ended = run(target, "--inputs", "150")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"{target}: 150 inputs, ")


def test_what_fails_is_told_with_the_command_that_repeats_it() -> None:
    sys.path.insert(0, str(FUZZ.parent))
    try:
        import fuzz
    finally:
        sys.path.remove(str(FUZZ.parent))
    taken: list[bytes] = []
    target = fuzz.Target([b"seed" * 10], taken.append)
    assert fuzz.feed(target, "lists", range(20), 1, float("inf")) == 20
    again: list[bytes] = []
    fuzz.feed(fuzz.Target(target.seeds, again.append), "lists", range(7, 8), 1, float("inf"))
    assert again == taken[7:8]
    assert len(set(taken)) > 15
