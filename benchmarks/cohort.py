"""Make a dataset of a large cohort on two workers: does the cost grow linearly, does it go on?

Run ``python benchmarks/cohort.py``; it needs Linux, and writes docs/performance.md. A cohort of
synthetic cases is converted in growing parts; then the whole of it once more, killed with all its
processes half-way, and started again: it must end with the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from page import write_tables

from stardust_esapi.dataset.build import JOURNAL_NAME
from stardust_esapi.dataset.schedule import run_all

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from dataset_cohort import Size, tree, write_case

WORKERS = 2
SIZE = Size(64, 56, 20)
KEY = bytes(range(32)).hex()


@dataclass(frozen=True)
class Run:
    """One run of the build.

    Attributes:
        seconds: From start to end of its process, start-up and all files included.
        started: Cases that it had to do.
        worker_mb: Largest peak of a worker; 0 where it was not measured.
        parent_mb: Peak of the parent.
    """

    seconds: float
    started: int
    worker_mb: float
    parent_mb: float


def start(source: Path, out: Path, **options: Any) -> subprocess.Popen[str]:
    options = {"workers": WORKERS, "key": str(source.with_name("site.key"))} | options
    code = "import dataset_work; dataset_work.main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, source, out, json.dumps(options)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": sys.path[0]},
    )


def run(source: Path, out: Path, **options: Any) -> Run:
    began = time.perf_counter()
    process = start(source, out, **options)
    said, _ = process.communicate()
    seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"the build ended with {process.returncode}")
    told = json.loads(said)
    return Run(
        seconds, told["started"], max(told["told"], default=0) / 1e3, told["parent_kb"] / 1e3
    )


def kill_half_way(source: Path, out: Path, cases: int) -> int:
    """Kill all processes of a build when half of the cases are in its journal; says how many."""
    process = start(source, out)
    journal = out / JOURNAL_NAME
    while process.poll() is None:
        done = journal.read_bytes().count(b"\n") if journal.exists() else 0
        if done >= cases // 2:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return done
        time.sleep(0.02)
    raise SystemExit("the build ended before it could be killed")


def grow(source: Path, first: int, cases: int) -> None:
    """Add cases to an export, on both processors."""
    for _ in run_all(
        range(first, cases), partial(write_case, source, size=SIZE), str, workers=WORKERS
    ):
        pass


def tables(cases: int) -> Iterator[str]:
    """The tables, line by line, as they are measured."""
    yield (
        f"{cases} synthetic CT of {SIZE.columns} x {SIZE.rows} x {SIZE.slices} voxels with four "
        f"structures, `npz`, on {WORKERS} workers, from the start of the process to its end; "
        f"Python {platform.python_version()}."
    )
    yield ""
    yield (
        "| cases | seconds | ms a case | times that of the first row | peak of a worker, MB | "
        "peak of the parent, MB |"
    )
    yield "| ---: | ---: | ---: | ---: | ---: | ---: |"
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "site.key").write_text(KEY)
        source = root / "export"
        costs: list[float] = []
        before = 0
        for part in (cases // 8, cases // 4, cases // 2, cases):
            grow(source, before, part)
            before = part
            out = root / f"of-{part}"
            done = run(source, out, place="measure")
            costs.append(done.seconds / part * 1e3)
            yield (
                f"| {part} | {done.seconds:.1f} | {costs[-1]:.0f} | {costs[-1] / costs[0]:.2f} | "
                f"{done.worker_mb:.0f} | {done.parent_mb:.0f} |"
            )
        yield ""
        size = statistics.mean(path.stat().st_size for path in out.glob("t*/*.npz")) / 1e6
        yield f"A training file of this cohort has {size:.2f} MB on average."
        yield ""
        again = run(source, out)
        yield (
            f"- The same command again: {again.started} cases to do, {again.seconds:.1f} s for "
            f"looking at {cases}."
        )
        killed = root / "killed"
        done = kill_half_way(source, killed, cases)
        rest = run(source, killed)
        same = _comparable(tree(killed)) == _comparable(tree(out))
        yield (
            f"- Killed (SIGKILL, all processes) after {done} of {cases} cases and started again: "
            f"{rest.started} cases to do, {rest.seconds:.1f} s; "
            + ("every byte as in the undisturbed run." if same else "NOT as the undisturbed run.")
        )
        if not same or rest.started > cases - done:
            raise SystemExit("a run that was killed must go on and end like the undisturbed one")


def _comparable(files: dict[str, str]) -> dict[str, str]:
    """All but the list, where the measured runs note their memory."""
    return {name: digest for name, digest in files.items() if name != "dataset.json"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="40 cases, no page")
    wanted = parser.parse_args()
    lines = []
    for line in tables(40 if wanted.quick else wanted.cases):
        print(line, flush=True)
        lines.append(line)
    if not wanted.quick:
        write_tables("benchmarks/cohort.py", lines)


if __name__ == "__main__":
    main()
