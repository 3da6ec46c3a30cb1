"""The way through a list: a check of 1,000 rows, and 200 cases by runs of ten patients.

Run ``python benchmarks/way_through.py``; it writes docs/performance.md. The cases are small
phantoms in a stub database. Of the 200, the first four are hopeless: every run must get past them,
no case is tried twice before all have been, and the end is 196 exported and 4 failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from page import write_tables

from esapi_stub.build import build
from esapi_stub.sample import Phantom, write_phantom

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support import row_of, write_case_list

PATIENTS = 200
HOPELESS = 4
LIMIT = 10
# Each of a patient's rows names other structures: five cases a patient.
STRUCTURES = (
    ("PTV1", "GTV1"),
    ("GTV1", "GTV1"),
    ("BODY", "GTV1"),
    ("PTV1", "PTV1"),
    ("BODY", "PTV1"),
)


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Its exit code.
        said: What it printed.
        seconds: From start to end of its process.
        peak_mb: Its largest resident memory, or this process' own at its start, if that is more.
    """

    code: int
    said: str
    seconds: float
    peak_mb: float


def run(*arguments: object) -> Ended:
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "stardust_esapi", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Ended(process.returncode, said, time.perf_counter() - began, used.ru_maxrss / 1e3)


def lines(patients: int) -> Iterator[str]:
    """The tables, line by line, as they are measured."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        uids = [
            write_phantom(
                root / "dicom" / str(number),
                Phantom(f"P{number:04}", size=(24, 24, 6), spacing=(5.0, 5.0, 6.0)),
            )
            for number in range(patients)
        ]
        build(root / "dicom", root / "db")
        esapi = ("--esapi", f"stub:{root / 'db'}")
        yield (
            f"Small phantoms of {patients} patients in a stub database; Python "
            f"{platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} "
            "at the start."
        )
        yield ""
        yield "| command | seconds | peak memory, MB |"
        yield "| --- | ---: | ---: |"
        for flag in ("--version", "--help"):
            ended = min((run(flag) for _ in range(5)), key=lambda one: one.seconds)
            yield f"| `{flag}`, the best of 5 | {ended.seconds:.2f} |  |"
        rows = [
            row_of(one) | {"TargetID": target, "GTV": gtv}
            for one in uids
            for target, gtv in STRUCTURES
        ]
        cases = write_case_list(root / "many.csv", rows)
        ended = run("check", "--cases", cases, *esapi, "--json")
        checked = len(json.loads(ended.said[ended.said.index("{") :])["cases"])
        if checked != len(rows):
            raise SystemExit(f"{checked} of {len(rows)} rows were checked")
        yield f"| `check` of {checked} rows | {ended.seconds:.1f} | {ended.peak_mb:.0f} |"
        yield from hopeless_first(root, [row_of(one) for one in uids], esapi)


def hopeless_first(root: Path, rows: list[dict[str, str]], esapi: tuple[str, ...]) -> Iterator[str]:
    rows = [row | {"PlanID": "none"} for row in rows[:HOPELESS]] + rows[HOPELESS:]
    cases, out = write_case_list(root / "cases.csv", rows), root / "out"
    runs, seconds, peak = 0, 0.0, 0.0
    while runs < len(rows) // LIMIT:
        ended = run("export", "--cases", cases, "--out", out, *esapi, "--write", "--limit", LIMIT)
        runs, seconds, peak = runs + 1, seconds + ended.seconds, max(peak, ended.peak_mb)
        if f"[{LIMIT}/{LIMIT}]" not in ended.said:
            raise SystemExit(f"run {runs} did not take {LIMIT} cases:\n{ended.said[-2000:]}")
    counts = json.loads(run("status", out, "--json").said)["counts"]
    if counts != {"failed": HOPELESS, "exported": len(rows) - HOPELESS}:
        raise SystemExit(f"after {runs} runs there are {counts}")
    words = f"`export --limit {LIMIT}`, {runs} runs for {len(rows)} cases, 4 hopeless ones first"
    yield f"| {words} | {seconds:.1f} | {peak:.0f} |"
    ended = run("verify", out)
    if ended.code:
        raise SystemExit(f"verify says: {ended.said[-2000:]}")
    yield f"| `verify` of them | {ended.seconds:.1f} | {ended.peak_mb:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="20 patients, no page")
    wanted = parser.parse_args()
    told = []
    for line in lines(20 if wanted.quick else PATIENTS):
        print(line, flush=True)
        told.append(line)
    if not wanted.quick:
        write_tables("benchmarks/way_through.py", told)


if __name__ == "__main__":
    main()
