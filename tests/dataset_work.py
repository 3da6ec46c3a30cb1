"""Work for the workers of the dataset's tests: they import it by this name.

``main`` makes a dataset in a process of its own, and may be killed at a point of its way: each file
that is opened to be written, renamed or removed below the dataset is one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from stardust_esapi.dataset import build
from stardust_esapi.dataset.build import DatasetJob, build_dataset
from stardust_esapi.dataset.convert import Conversion
from stardust_esapi.dataset.entry import Entry
from stardust_esapi.dataset.tasks import Task
from stardust_esapi.settings import Dataset


def modules(_: int) -> list[str]:
    return sorted(sys.modules)


@dataclass(frozen=True)
class Deadly(Conversion):
    """Conversion whose process dies of one patient."""

    patient_id: str = ""

    def __call__(self, task: Task) -> Entry:
        if task.patient_id == self.patient_id:
            # As far as a real one comes: something is there already, something is half-written.
            case = self.pseudonyms.case(task.case_key)
            waiting = self.out / ".new" / f"{case}_{task.kind}" / "part"
            waiting.mkdir(parents=True, exist_ok=True)
            name = f"other_case_{case}_other_{task.kind}.npz"
            (waiting / name).write_bytes(b"whole")
            (waiting / f".{name}.part").write_bytes(b"half of it")
            os.kill(os.getpid(), signal.SIGKILL)
        return Conversion.__call__(self, task)


# --- killed at a point ----------------------------------------------------------------------

_WRITES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}


class _Points:
    """Counts the points of a process, and kills its whole group at one of them."""

    def __init__(self, below: Path, last: int) -> None:
        self.passed = 0
        self._below = str(below)
        self._last = last
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if event not in _WRITES or not str(arguments[0]).startswith(self._below):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE):
            return
        self.passed += 1
        if self.passed == self._last:
            os.killpg(os.getpgid(0), signal.SIGKILL)


_points: _Points | None = None


@dataclass(frozen=True)
class Watched(Conversion):
    """Conversion in a process that is killed, with all others, at its n-th point."""

    last: int = 0

    def __call__(self, task: Task) -> Entry:
        global _points  # noqa: PLW0603 - as long as the process lives
        if _points is None:
            _points = _Points(self.out, self.last)
        entry = Conversion.__call__(self, task)
        return replace(entry, label=str(_points.passed)) if self.last < 0 else entry


class Measured(Conversion):
    """Conversion that tells the peak memory of its process so far, kB."""

    def __call__(self, task: Task) -> Entry:
        return replace(Conversion.__call__(self, task), label=str(peak_kb()))


def peak_kb() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


class _Quiet:
    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.peak_kb = 0

    def start(self, cases: int) -> None:
        self.started = cases

    def finish(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.peak_kb = peak_kb()  # before the end, which brings along what draws the charts


def main() -> None:
    """Arguments SOURCE OUT OPTIONS: the options as JSON; says what came of it as JSON."""
    source, out, options = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    place, last = options.pop("place", ""), options.pop("last", 0)
    points = None
    if place == "worker":

        def watched(*arguments: object) -> Watched:
            return Watched(*arguments, last=last)  # type: ignore[arg-type]

        build.Conversion = watched  # type: ignore[misc, assignment]
    elif place == "measure":
        build.Conversion = Measured  # type: ignore[misc]
    elif place == "parent":
        points = _Points(out, last)
    watcher = _Quiet()
    summary = build_dataset(DatasetJob(source, out, Dataset(**options)), watcher)
    said = {
        "started": watcher.started,
        "verdict": summary.verdict,
        "points": points.passed if points else None,
        "told": [int(e.label) for e in watcher.entries if e.label],
        "parent_kb": watcher.peak_kb,
    }
    sys.stdout.write(json.dumps(said))
