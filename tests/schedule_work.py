"""Work for the workers of the schedule's tests: they import it by this name, and little with it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEADLY = 3


def cluster(workers: int) -> Any:
    """A Dask cluster of processes of this machine, reached as any other: by its address."""
    import distributed

    return distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
    )


def square(number: int) -> int:
    return number**2


def die(number: int) -> int:
    """Die as out of memory, whenever it is asked to do this number."""
    if number == DEADLY:
        # Not at once, as no real case does: a Dask scheduler that was about to fetch an earlier
        # result from the worker tries for half a minute to reach it.
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


@dataclass(frozen=True)
class DieOnce:
    """Die the first time."""

    marker: Path

    def __call__(self, number: int) -> int:
        if number == DEADLY and not self.marker.exists():
            self.marker.touch()
            time.sleep(0.5)  # as above
            os.kill(os.getpid(), signal.SIGKILL)
        return number**2


def fail(secret: str) -> str:
    raise ValueError("no case")


def process(_: int) -> int:
    return os.getpid()


def report_and_wait(folder: str) -> None:
    """Wait for a file ``go`` beside the folder."""
    _mark(folder, "begun")
    while not Path(folder).with_name("go").exists():
        time.sleep(0.05)
    _mark(folder, "ended")


def report_and_doze(folder: str) -> None:
    _mark(folder, "begun")
    time.sleep(1)
    _mark(folder, "ended")


def _mark(folder: str, word: str) -> None:
    Path(folder, f"{os.getpid()}.{word}.{time.monotonic_ns()}").touch()
