"""Take the pictures of the documentation anew: the report's, the examples', the sample report.

``python scripts/pictures.py`` exports the demo cohort and four examples from a stub, and puts what
the documentation shows into ``docs/``. Chromium takes the picture of the page. Look at what it has
made before you commit it.
"""

from __future__ import annotations

import csv
import io
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from pydicom import dcmread

from esapi_stub.build import build
from esapi_stub.sample import (
    Phantom,
    PhantomMr,
    Sphere,
    default_structures,
    write_phantom,
    write_real_patient,
    write_sample,
)
from esapi_stub.sample.cohort import COLUMNS
from esapi_stub.sample.dicom import PatientUids
from stardust_esapi.caselist.read import read_case_list
from stardust_esapi.commands import program

DOCS = Path(__file__).absolute().parent.parent / "docs"
SHIFT = 18.0  # mm: how far the wrong registration is off
OPEN = """
    const count = one => one.dataset.pictures.length;
    const all = [...document.querySelectorAll('[data-pictures]')];
    all.sort((a, b) => count(b) - count(a))[0].querySelector('a').click();
"""
TUMOUR = replace(default_structures()[1], shape=Sphere((-20.0, -6.0, 3.0), 9))  # not in its target


def main() -> None:
    """Make the pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = demo(folder / "demo")
        sample = DOCS / "sample"
        shutil.rmtree(sample, ignore_errors=True)
        shutil.copytree(report.with_suffix(""), sample / "report")
        shutil.copy(report, sample)
        photograph(report, DOCS / "report.png")
        (DOCS / "pictures").mkdir(exist_ok=True)
        for example, picture in examples(folder / "examples").items():
            shutil.copy(picture, DOCS / "pictures" / f"{example}.png")


def demo(folder: Path) -> Path:
    """The report of the demo cohort, as ``scripts/demo`` makes it."""
    return export(write_sample(folder), folder)


def export(cases: Path, folder: Path, *options: str) -> Path:
    """Export a list from a stub that is filled with the DICOM files beside it."""
    with chdir(folder):  # the report names no path of this machine
        build(Path("dicom"), Path("db"))
        where = ("--cases", cases.name, "--out", "export", "--esapi", "stub:db")
        try:
            program.main(["export", *where, "--write", *options])
        except SystemExit as left:
            if left.code not in (0, 1):
                raise
    return folder / "export" / "report.html"


def examples(folder: Path) -> dict[str, Path]:
    """The report's pictures of what is right, and of what a look at it finds."""
    dicom = folder / "dicom"
    good = write_real_patient(dicom / "good")
    outside = tuple(TUMOUR if s.id == "GTV1" else s for s in default_structures())
    marrow = tuple(replace(s, hu=300) if s.id == "PRV Cord" else s for s in default_structures())
    wrong = (
        Phantom("OUTSIDE", structures=outside),
        Phantom("EXCHANGED"),
        Phantom("SHIFTED", structures=marrow, mr=PhantomMr()),
    )
    uids = [write_phantom(dicom / phantom.patient_id, phantom) for phantom in wrong]
    for path in (dicom / "SHIFTED").rglob("*.dcm"):
        shift(path)
    labels = {"TargetID": "PTV1", "GTV": "GTV1"}
    rows = [
        row(good, {"TargetID": "Breast", "GTV": "Tumor Bed"}),
        row(uids[0], labels),
        row(uids[1], {"TargetID": "GTV1", "GTV": "PTV1"}),
        row(uids[2], labels),
    ]
    cases = folder / "cases.csv"
    with cases.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    export(cases, folder, "--accept-doubtful")
    keys = [case.key for case in read_case_list(cases).cases]
    names = {
        "good-ct": (0, "CT"),
        "good-km": (0, "KM"),
        "good-mr": (0, "MR"),
        "outside": (1, "CT"),
        "exchanged": (2, "CT"),
        "shifted": (3, "MR"),
    }
    kept = folder / "export" / "report"
    return {name: kept / f"{keys[number]}-{kind}.png" for name, (number, kind) in names.items()}


def row(uids: PatientUids, labels: Mapping[str, str]) -> dict[str, str]:
    """A row of a case list for a patient."""
    return {
        "Patient-ID": uids.patient_id,
        "SeriesUID": uids.series_uid,
        "PlanID": uids.plan_id,
        "StructureSetID": uids.structure_set_label,
        "KM_Series_UID": uids.km_series_uid,
        "MR_Series_UID": uids.mr_series_uid,
        "MRregUID": uids.registration_uid,
        **labels,
    }


def shift(path: Path) -> None:
    """Move what a registration (C.20.2) moves, by `SHIFT` along the patient's left."""
    dataset = dcmread(path)
    for item in dataset.get("RegistrationSequence", ()):
        for one in item.MatrixRegistrationSequence[0].MatrixSequence:
            matrix: Sequence[float] = list(one.FrameOfReferenceTransformationMatrix)
            if matrix[3]:  # the identity belongs to the CT
                one.FrameOfReferenceTransformationMatrix = [
                    *matrix[:3],
                    matrix[3] + SHIFT,
                    *matrix[4:],
                ]
                dataset.save_as(path)


def photograph(page: Path, picture: Path) -> None:
    """Take the picture of a report, with the case beside it that has most pictures."""
    chromium = shutil.which("chromium") or sys.exit("There is no chromium here: install it.")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 1400, "height": 1200})
        view.goto(page.as_uri())
        view.evaluate(OPEN)
        view.frame_locator(".look iframe").get_by_role("img").last.wait_for()
        view.wait_for_load_state("networkidle")
        taken = view.screenshot()
        browser.close()
    # A picture of a page has few colours: a palette makes it a third as large.
    Image.open(io.BytesIO(taken)).convert("RGB").quantize(128).save(picture, optimize=True)


if __name__ == "__main__":
    main()
