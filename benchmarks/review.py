"""What a review costs: drawing it, and opening its page of many cases.

Usage: ``python benchmarks/review.py [--cases 50] [--write]``; with ``--write`` the table of
``docs/performance.md`` is filled in.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from page import write_tables

from esapi_stub.build import build
from esapi_stub.sample import Phantom, PhantomContrast, PhantomMr, write_phantom
from stardust_esapi.job import run
from stardust_esapi.model import Case, CaseResult, CaseState
from stardust_esapi.report.review import Entry, render_index
from stardust_esapi.report.summary import RunSummary
from stardust_esapi.settings import load_settings

PHANTOM = Phantom(
    "B",
    size=(256, 256, 60),
    spacing=(1.5, 1.5, 2.0),
    contrast=PhantomContrast(slices=56),
    mr=PhantomMr(size=(160, 160, 48), spacing=(1.5, 1.5, 3.0)),
)


class Silent:
    def start(self, cases: int) -> None: ...
    def phase(self, case: Case, phase: str, done: int = 0, total: int = 0) -> None: ...
    def finish(self, result: CaseResult) -> None: ...


def drawing(folder: Path, number: int) -> list[str]:
    """A check of so many cases without, with and again with a review: seconds a case."""
    uids = write_phantom(folder / "dicom", PHANTOM)
    build(folder / "dicom", folder / "db")
    settings = load_settings(None, {"esapi": f"stub:{folder / 'db'}"})
    head = ("Patient-ID", "PlanID", "SeriesUID", "StructureSetID", "TargetID", "GTV")
    head += ("KM_Series_UID", "MR_Series_UID", "MRregUID", "GTV-Volume")
    row = (uids.patient_id, uids.plan_id, uids.series_uid, uids.structure_set_label, "PTV1", "GTV1")
    row += (uids.km_series_uid, uids.mr_series_uid, uids.registration_uid)
    rows = [(*row, f"3.{one:03}") for one in range(number)]  # a state of its own each
    lines = []
    for what, review in (
        ("without a review", None),
        ("with one: 9 pictures a case", folder / "review"),
        ("with one that is there", folder / "review"),
    ):
        took = 0.0
        for one, row in enumerate(rows):  # a list of each: rows of one case would count once
            cases = folder / "cases.csv"
            cases.write_text("\n".join([";".join(head), ";".join(row)]), encoding="utf-8")
            here = review / str(one) if review else None
            began = time.perf_counter()
            run.check(run.Job(cases, folder, settings, review=here), Silent())
            took += time.perf_counter() - began
        size = sum(p.stat().st_size for p in (folder / "review").rglob("*.js")) / number / 1024
        size_words = f"{size:.0f}" if review else ""
        lines.append(f"| check {what} | {took / number:.2f} | {size_words} |")
    return lines


def opening(folder: Path, browser: Any, number: int) -> str:
    """The page of so many cases: its size, and how long it takes to open."""
    now = datetime(2026, 1, 1).astimezone()
    uid = "1.2.840.113619.2.55.3.604688119.868.1234567890.{}"
    case = Case(2, "0", "Plan1", uid, "CT_1", "PTV1", "GTV1", uid, uid, uid)
    listed = [
        (
            CaseResult(replace(case, row=n, patient_id=f"{n:08}"), CaseState.PENDING, planned=True),
            Entry(f"case-{n:016x}", f"state-{n:032x}", f"{n:032x}"),
        )
        for n in range(number)
    ]
    path = folder / "review.html"
    summary = RunSummary("1", now, now, "cases.csv", "eclipse", "esapi", write=False)
    path.write_text(render_index(summary, listed), encoding="utf-8")
    page = browser.new_page()
    times = []
    for _ in range(3):
        began = time.perf_counter()
        page.goto(path.as_uri())
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        times.append(time.perf_counter() - began)
    page.close()
    return f"| {number:,} | {path.stat().st_size / 1e6:.2f} | {min(times):.2f} |"


def main() -> None:
    import playwright.sync_api as playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        lines = ["| cases on the page | MB | opens in, s |", "| ---: | ---: | ---: |"]
        lines += [opening(Path(name), browser, number) for number in (4, 500, 5000)]
        browser.close()
        lines += ["", "| | s a case | KB a case |", "| --- | ---: | ---: |"]
        lines += drawing(Path(name), options.cases)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines += ["", f"Memory of the whole: {memory:.0f} MB at most."]
    print("\n".join(lines))
    if options.write:
        write_tables("benchmarks/review.py", lines)


if __name__ == "__main__":
    main()
