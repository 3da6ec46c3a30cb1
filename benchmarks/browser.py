"""How large the pages of many cases are, and how long a browser takes to open and to search them.

    python benchmarks/browser.py [--cases 4 500 5000] [--keep FOLDER]

Needs Chromium, which ``scripts/test`` installs. Every case has its own pictures; they are
fetched when they are looked at.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import page as performance_page
from PIL import Image, ImageDraw

from stardust_esapi.dataset.entry import Entry
from stardust_esapi.dataset.facts import StructureFacts
from stardust_esapi.dataset.overview import write_overview
from stardust_esapi.dataset.split import assign
from stardust_esapi.dataset.tasks import State
from stardust_esapi.model import (
    IMAGE_KINDS,
    Action,
    Case,
    CaseResult,
    CaseState,
    Kind,
    Role,
    StructureOutcome,
    TransferRequest,
)
from stardust_esapi.report.html import write_report
from stardust_esapi.report.summary import RunSummary

ROUNDS = 5
TYPED = "0012"
ORGANS = ("Lunge", "Thorax"), ("Glio", "Kopf"), ("Metastase-Kopf", "Kopf"), ("Prostata", "Becken")
REASONS = (
    "the patient has no such plan. Plans it has: Plan1, Plan{0}.",
    "the GTV ({0}.3 ml) has another volume than the list's (21.0 ml).",
    "Eclipse has no structure set for CT_{0}.",
)
MISSED = "The MR was left out. It has no registration with the planning CT that Eclipse knows."


def a_result(row: int) -> CaseResult:
    """A case; one of 25 failed, one of 20 exported in part, one of 40 doubtful."""
    uid = f"1.2.840.113619.2.278.3.{100_000_000 + row}"
    case = Case(
        row, f"{1000 + row:07}", f"Plan{row % 3}", f"{uid}.1", "CT_1", f"PTV{row % 4}", "GTV 1",
        gtv_volume_ml=5 + row % 37, target_volume_ml=30 + row % 91, label="KMct+KMmr",
        case_kind=ORGANS[row % 4][0],
    )  # fmt: skip
    state = CaseState.EXPORTED
    for every, other in ((20, CaseState.PARTIAL), (25, CaseState.FAILED), (40, CaseState.DOUBTFUL)):
        if row % every == 0:
            state = other
    bad = state in (CaseState.FAILED, CaseState.DOUBTFUL)
    kinds = IMAGE_KINDS[: 2 if state is CaseState.PARTIAL else 3]
    requests = tuple(
        TransferRequest(
            kind,
            case.patient_id,
            case.plan_id,
            f"{uid}.0",
            f"{uid}.{n}",
            f"{uid}.9.{n}",
            images=80 + 7 * n + row % 60,
        )
        for n, kind in enumerate(kinds, start=1)
    )
    names = [f"Organ {n}" for n in range(24)]
    outcomes = [
        StructureOutcome(Kind.CT, "GTV 1", Action.RENAMED, "gtv+", "the GTV of the list"),
        StructureOutcome(Kind.CT, case.target_id, Action.RENAMED, "target+", "the list's target"),
        *(StructureOutcome(Kind.CT, name, Action.COPIED, name) for name in names),
        StructureOutcome(Kind.CT, "zRing", Action.SKIPPED, reason="begins-with “z”"),
    ]
    return CaseResult(
        case,
        state,
        f"{case}: {REASONS[row % 3].format(row)}" if bad else "",
        requests=() if bad else requests,
        folders={} if bad else {r.kind: f"{r.kind}_Export/{case.patient_id}" for r in requests},
        outcomes=() if bad else tuple(outcomes),
        warnings=(MISSED,) if state is CaseState.PARTIAL else (),
        notes=("The MR has 2 images fewer than the list says.",) if row % 3 else (),
    )


def a_summary(results: list[CaseResult]) -> RunSummary:
    return RunSummary(
        program_version="0.1.0",
        started=datetime(2026, 3, 4, 10, 2, 11),
        finished=datetime(2026, 3, 4, 14, 16, 40),
        case_list="accepted.csv",
        esapi="eclipse",
        engine="esapi",
        write=True,
        rejected=tuple(range(9000, 9137)),
        results=tuple(results),
        pictures={r.case.key: IMAGE_KINDS[: len(r.requests)] for r in results if r.requests},
    )


def an_entry(number: int) -> Entry:
    kind, (case_kind, region) = IMAGE_KINDS[number % 3], ORGANS[number // 3 % 4]
    entry = Entry(
        case=f"c{number:015}".translate({48 + n: 97 + n for n in range(10)}),
        patient=f"p{number // 3:015}",
        kind=kind,
        state=State.CREATED,
        case_kind=case_kind,
        label2=region,
        shape=(80 + number % 90, 512, 512),
        spacing=(0.98 - number % 5 / 20, 0.98 - number % 5 / 20, 1.0 + number % 4 / 2),
        structures=(
            StructureFacts("gtv+", 1, Role.GTV, 100, 0.5 + number % 61, 0, 0),
            StructureFacts("target+", 2, Role.TARGET, 300, 4.5 + number % 173, 0, 0),
            *(StructureFacts(f"Organ {n}", 3 + n, Role.OTHER, 900, 25.0, 0, 0) for n in range(5)),
        ),
        counts=(1000, *[10] * 15, 5000, *[1] * 47),
        notes=("The GTV touches the border of the target.",) if number % 9 == 0 else (),
    )
    if number % 30 == 0:
        why = f"The GTV ({number} voxels) is smaller than 10 voxels."
        return Entry(entry.case, entry.patient, kind, State.FAILED, (why,), case_kind=case_kind)
    name = f"pictures/{entry.name}.png"
    return Entry(
        **{**{f: getattr(entry, f) for f in Entry.__slots__}, "files": (name,), "thumbnail": name}
    )


def draw(path: Path, number: int) -> None:
    """A picture as large as a real one."""
    noise = np.random.default_rng(number % 40).normal(90, 18, (320, 320)).clip(0, 255)
    image = Image.fromarray(noise.astype(np.uint8)).convert("RGB")
    middle = 100 + 3 * (number % 40)
    for colour, half in (("#E69F00", 30), ("#56B4E9", 46)):
        box = (middle - half, 160 - half, middle + half, 160 + half)
        ImageDraw.Draw(image).ellipse(box, outline=colour, width=2)
    image.quantize(64).save(path)


def draw_all(paths: list[Path]) -> None:
    drawn: list[Path] = []
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < 40:
            draw(path, number)
            drawn.append(path)
        else:
            shutil.copyfile(drawn[number % 40], path)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# --- in the browser -------------------------------------------------------------------------

_PAINTED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


@contextmanager
def a_browser() -> Iterator[Any]:
    import playwright.sync_api as playwright

    chromium = next((p for n in ("chromium", "google-chrome") if (p := shutil.which(n))), None)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser: Any, path: Path) -> tuple[float, float, float]:
    """Seconds until the page is there and painted, after a search, and after a sort."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(600_000)

    def goto() -> None:
        page.goto(path.as_uri())
        page.evaluate(_PAINTED)

    def changed(control: str, value: str) -> float:
        # From the event to the paint that follows it: typing waits 0.2 s for the next letter.
        work = f"""() => new Promise(done => {{
            const control = document.querySelector("[name={control}]"), began = performance.now();
            const painted = () => requestAnimationFrame(() => requestAnimationFrame(
                () => done(performance.now() - began)));
            control.form.addEventListener("updated", painted, {{ once: true }});
            control.value = "{value}";
            control.dispatchEvent(new Event("input", {{ bubbles: true }}));
        }})"""
        return float(page.evaluate(work)) / 1000

    there = seconds(goto)
    searched = changed("text", TYPED)
    changed("text", "")
    order = page.eval_on_selector(
        "[name=order]", "select => select.options[select.length - 1].value"
    )
    ordered = changed("order", order)
    page.close()
    return there, searched, ordered


def measure(browser: Any, what: str, count: int, path: Path, write: Callable[[], object]) -> str:
    first, again = seconds(write), seconds(write)
    rounds = [opened(browser, path) for _ in range(ROUNDS)]
    there, searched, ordered = (statistics.median(one) for one in zip(*rounds, strict=True))
    cells = [
        f"`{what}`",
        f"{count:,}",
        f"{path.stat().st_size / 1e6:.2f}",
        *(f"{value:.2f}" for value in (first, again, there, searched, ordered)),
    ]
    return "| " + " | ".join(cells) + " |"


def measure_report(browser: Any, count: int, out: Path) -> str:
    results = [a_result(row) for row in range(2, count + 2)]
    summary = a_summary(results)
    draw_all(
        [
            out / "report" / f"{key}-{kind}.png"
            for key, kinds in summary.pictures.items()
            for kind in kinds
        ]
    )
    path = out / "report.html"
    return measure(browser, path.name, count, path, lambda: write_report(summary, path))


def measure_dataset(browser: Any, count: int, out: Path) -> str:
    from stardust_esapi.dataset.build import DatasetSummary
    from stardust_esapi.settings import Dataset

    entries = tuple(an_entry(number) for number in range(count))
    draw_all([out / entry.thumbnail for entry in entries if entry.created])
    summary = DatasetSummary(entries, assign(entries, 0.8, 0), Dataset())
    path = out / "dataset.html"
    return measure(browser, path.name, count, path, lambda: write_overview(summary, path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, nargs="*", default=[4, 500, 5000])
    parser.add_argument("--keep", type=Path, help="write the pages here, and leave them")
    parser.add_argument("--note", default="")
    arguments = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as temporary, a_browser() as browser:
        root = arguments.keep or Path(temporary)
        for count in arguments.cases:
            lines.append(measure_report(browser, count, root / f"{count}"))
        for count in arguments.cases:
            lines.append(measure_dataset(browser, count, root / f"{count}"))
        version = browser.version
    head = "| page | cases | MB | write, s | again, s | open, s | search, s | sort, s |"
    table = [
        f"Chromium {version}, headless, 2 cores, from disk, median of {ROUNDS}.{arguments.note}",
        "",
        head,
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *lines,
    ]
    print("\n".join(table))
    if not arguments.keep:
        performance_page.write_tables("benchmarks/browser.py", table)


if __name__ == "__main__":
    main()
