"""The tests' own watch over processes that are left running."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

import left_running
from support import ending, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def test_what_a_test_leaves_running_is_named_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_running, "_SECONDS_TO_END", 0.0)
    here = "test_what_a_test_leaves_running_is_named_and_ended (call)"
    assert left_running.end(lambda test: test.endswith(here)) == []
    with ending(subprocess.Popen(["sh", "-c", "sleep 3600 & echo; wait"], stdout=-1)) as process:
        assert process.stdout.readline() == b"\n"
        left = left_running.end(lambda test: test.endswith(here))
        assert len(left) == 2
        assert all(f"{here}: " in line and "sleep 3600" in line for line in left)
        assert process.wait() == -signal.SIGKILL
    until(lambda: not left_running.running(lambda test: test.endswith(here)))
