"""Processes that tests have started and not ended: found, named with their test, and ended.

pytest tells every process, in its environment, the test that is running. Linux only: elsewhere
nothing is found.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_RUN = "STARDUST_TEST_RUN"
_TEST = "PYTEST_CURRENT_TEST"
# The standard library starts one when it starts the first process, and keeps it.
_STAYS = b"multiprocessing.resource_tracker"
_SECONDS_TO_END = 60.0  # for those that notice by themselves that they are alone


def mark() -> None:
    """Have all processes that this one starts be known as its own."""
    os.environ[_RUN] = str(os.getpid())


def running(chosen: Callable[[str], bool]) -> dict[int, str]:
    """Processes that were started by these tests, or by what they have started.

    Args:
        chosen: Of pytest's names, such as ``tests/test_x.py::test_y (call)``.
    """
    found: dict[int, str] = {}
    if sys.platform != "linux":  # under Wine, /proc is there, with other numbers
        return found
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            lines = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
            known = dict(line.partition("=")[::2] for line in lines)
            if known.get(_RUN) != str(os.getpid()) or not chosen(known.get(_TEST, "")):
                continue
            command = (folder / "cmdline").read_bytes()
            if command and _STAYS not in command:
                words = command.replace(b"\0", b" ").decode(errors="replace").strip()
                found[int(folder.name)] = f"{known.get(_TEST)}: {words:.200}"
    return found


def end(chosen: Callable[[str], bool]) -> list[str]:
    """End those that are still there after a while, and say which they were."""
    limit = time.monotonic() + _SECONDS_TO_END
    while (left := running(chosen)) and time.monotonic() < limit:
        time.sleep(0.1)
    for number in left:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    return sorted(left.values())
