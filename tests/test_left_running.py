"""The tests' own watch over processes that are left running."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

import left_running
from support import ending

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def test_what_a_test_leaves_running_is_named_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_running, "_SECONDS_TO_END", 0.0)
    here = "test_what_a_test_leaves_running_is_named_and_ended (call)"
    assert left_running.end(lambda test: test.endswith(here)) == []
    with ending(subprocess.Popen(["sh", "-c", "sleep 3600 & echo; wait"], stdout=-1)) as process:
        assert process.stdout.readline() == b"\n"
        left = left_running.end(lambda test: test.endswith(here))
        assert [line.partition(here)[2] for line in left] == [
            ": sh -c sleep 3600 & echo; wait",
            ": sleep 3600",
        ]
        assert process.wait() == -signal.SIGKILL
    assert left_running.end(lambda test: test.endswith(here)) == []
