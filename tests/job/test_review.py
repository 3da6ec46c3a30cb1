"""What a person is shown before anything is written, and that only what was accepted is."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pytest_mock import MockerFixture

from esapi_stub.build import build
from esapi_stub.database import describe
from esapi_stub.sample import (
    Phantom,
    PhantomContrast,
    PhantomMr,
    PhantomStructure,
    Sphere,
    default_structures,
    write_phantom,
)
from esapi_stub.sample.phantom import Box
from reviews import article, decide, listed, pictures
from stardust_esapi.job.run import Job, check
from stardust_esapi.model import Case, CaseResult
from stardust_esapi.settings import load_settings
from support import Clinic, Outcome, contour_anew, row_of, write_case_list

Run = Callable[..., Outcome]
ClinicOf = Callable[..., Clinic]

HALF, PIXELS = 50.0, 320  # mm and pixels of a picture of a small tumour
COS, SIN = np.cos(np.radians(20)), np.sin(np.radians(20))
MIDDLE = (0.0, 0.0, 0.0)
# To the patient's left, back and head of the tumour, of unlike size and brightness.
MARKERS = {"L": ((30.0, 0, 0), 7, 230), "P": ((0, 28.0, 0), 6, 120), "H": ((0, 0, 26.0), 8, -60)}
TUMOUR = (
    PhantomStructure("BODY", "EXTERNAL", Box(MIDDLE, (48, 46, 44)), hu=-140),
    PhantomStructure("GTV1", "GTV", Sphere(MIDDLE, 9), hu=40),
    PhantomStructure("PTV1", "PTV", Sphere(MIDDLE, 14)),
    *(
        PhantomStructure(f"Mark {name}", "ORGAN", Sphere(centre, radius), hu=hu)
        for name, (centre, radius, hu) in MARKERS.items()
    ),
)
# Odd sizes: a voxel's centre is the middle of all. Neither rows, columns nor planes are alike.
ASYMMETRICAL = Phantom(
    "0815",
    size=(57, 41, 25),
    spacing=(2.0, 3.0, 3.75),
    structures=TUMOUR,
    contrast=PhantomContrast(slices=22, offset=5.0),
    mr=PhantomMr(size=(40, 44, 28), spacing=(3.2, 2.8, 4.0), noise=0),
)
TURNED = (COS, SIN, 0.0, -SIN, COS, 0.0)


def series(folder: Path, uid: str) -> sitk.Image:
    """A series as SimpleITK reads it."""
    paths = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
    return sitk.ReadImage(list(paths), sitk.sitkFloat64)


def ct_to_mr(folder: Path) -> sitk.AffineTransform:
    """From the file, PS3.3 C.20.2.1.1: its matrices lead into the CT's frame of reference."""
    read = (pydicom.dcmread(path, stop_before_pixels=True) for path in folder.rglob("*.dcm"))
    [dataset] = [one for one in read if one.Modality == "REG"]
    [item] = [
        i
        for i in dataset.RegistrationSequence
        if i.FrameOfReferenceUID != dataset.FrameOfReferenceUID
    ]
    values = item.MatrixRegistrationSequence[0].MatrixSequence[0]
    matrix = np.linalg.inv(
        np.array(values.FrameOfReferenceTransformationMatrix, dtype=float).reshape(4, 4)
    )
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform


def section(
    image: sitk.Image, right: np.ndarray, down: np.ndarray, way: sitk.Transform
) -> np.ndarray:
    """The picture that there should be, resampled by SimpleITK."""
    step = 2 * HALF / PIXELS
    corner = np.array(MIDDLE) + (right + down) * (step / 2 - HALF)
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize((PIXELS, PIXELS, 1))
    resampler.SetOutputSpacing((step, step, 1.0))
    resampler.SetOutputOrigin(corner.tolist())
    resampler.SetOutputDirection(np.stack([right, down, np.cross(right, down)], 1).ravel().tolist())
    resampler.SetTransform(way)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetDefaultPixelValue(float("nan"))
    return sitk.GetArrayFromImage(resampler.Execute(image))[0]


@pytest.mark.parametrize(
    "phantom",
    [
        ASYMMETRICAL,
        replace(ASYMMETRICAL, patient_position="FFS"),
        replace(ASYMMETRICAL, patient_position="HFP", reversed_on_disk=True),
        replace(ASYMMETRICAL, image_orientation=TURNED),
    ],
    ids=["head first", "feet first", "prone", "oblique"],
)
def test_the_three_sections_show_what_simpleitk_shows(
    clinic_of: ClinicOf, run: Run, tmp_path: Path, phantom: Phantom
) -> None:
    clinic = clinic_of(phantom)
    [uids] = clinic.patients
    cases = write_case_list(tmp_path / "cases.csv", [row_of(uids)])
    said = run("check", "--cases", cases, "--esapi", clinic.esapi, "--review", tmp_path / "review")
    assert said.code == 0, said.text
    found = pictures(tmp_path / "review")
    assert len(found) == 9
    files = {Path(p).parent for p in map(str, (tmp_path / "dicom").rglob("*.dcm"))}
    turn = np.eye(3)
    if phantom.image_orientation:
        turn = np.array([[COS, -SIN, 0], [SIN, COS, 0], [0, 0, 1]])
    left, back, head = turn.T
    ways = {"axial": (left, back), "coronal": (left, -head), "sagittal": (back, -head)}
    sides = {"axial": "RLAP", "coronal": "RLHF", "sagittal": "APHF"}
    steps = ((np.arange(PIXELS) + 0.5) / PIXELS * 2 - 1) * HALF
    for kind, uid in (
        ("CT", uids.series_uid),
        ("KM", uids.km_series_uid),
        ("MR", uids.mr_series_uid),
    ):
        [image] = [
            series(f, uid) for f in files if uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(f))
        ]
        way = ct_to_mr(tmp_path / "dicom") if kind == "MR" else sitk.Transform()
        for plane, (right, down) in ways.items():
            expected = section(image, right, down, way)
            grey, _ = found[kind, plane]
            seen = np.isfinite(expected)
            assert seen.mean() > 0.6
            # What lies beside the image is black.
            assert np.median(grey[~seen]) < 3 if (~seen).sum() > 500 else True
            if kind == "MR":  # its window is its own
                assert np.corrcoef(grey[seen], np.clip(expected[seen], 0, 900))[0, 1] > 0.99
            else:
                levels = np.clip((expected + 160) / 400, 0, 1) * 255
                assert np.abs(grey - levels)[seen].mean() < 2.5
                assert np.quantile(np.abs(grey - levels)[seen], 0.99) < 25
    for plane, (right, down) in ways.items():
        grey, over = found["CT", plane]
        # Nothing of SimpleITK: each marker on its side of the middle, at its distance.
        for name, (centre, radius, hu) in MARKERS.items():
            x, y = float(right @ centre), float(down @ centre)
            # A turned section cuts a marker anywhere; another section cuts it not at all.
            if np.hypot(x, y) < 20 or phantom.image_orientation:
                continue
            level = (hu + 160) / 400 * 255
            within = np.hypot(*np.meshgrid(steps - x, steps - y)) < radius - 3.5
            mirrored = np.hypot(*np.meshgrid(steps + x, steps + y)) < radius - 3.5
            assert abs(np.median(grey[within]) - level) < 6, name
            assert abs(np.median(grey[mirrored]) - 20 / 400 * 255) < 6, name
        # Outlines: a GTV of 9 mm, a target of 14 mm, to a voxel and a line's width.
        for colour, radius in (((230, 159, 0), 9), ((86, 180, 233), 14)):
            line = (np.abs(over[..., :3] - colour).max(axis=-1) < 30) & (over[..., 3] > 200)
            line[PIXELS - 60 :, :120] = False  # the legend
            away = np.hypot(*np.meshgrid(steps, steps))[line]
            assert len(away) > 150
            assert abs(np.median(away) - radius) < 1.5
        assert letters(right, down) == sides[plane]
        # The bar of 20 mm: the longest row of white in its corner.
        white = (over[-20:, 160:, :3].min(axis=-1) > 250) & (over[-20:, 160:, 3] > 250)
        assert white.sum(axis=1).max() == pytest.approx(20 / (2 * HALF) * PIXELS, abs=1.5)


def letters(right: np.ndarray, down: np.ndarray) -> str:
    from stardust_esapi.report.drawing import border_letters

    found = border_letters(np.round(right), np.round(down))
    return "".join(found[side] for side in ("left", "right", "top", "bottom"))


SMALL = Phantom("0815", size=(36, 36, 16), spacing=(4.0, 4.0, 4.0), patient_name="Geheimrat^Gerda")
OTHERS = tuple(replace(SMALL, patient_id=name) for name in ("0004711", "P-3"))


def reviewed(clinic: Clinic, run: Run, tmp_path: Path, **changes: str) -> tuple[str, ...]:
    """A review of all patients; the arguments of an export of the same list."""
    rows = [row_of(one, **changes) for one in clinic.patients]
    cases = write_case_list(tmp_path / "cases.csv", rows)
    said = run("check", "--cases", cases, "--esapi", clinic.esapi, "--review", tmp_path / "review")
    assert "Review: " in said.out
    return "--cases", str(cases), "--esapi", clinic.esapi, "--out", str(tmp_path / "out")


def test_a_review_changes_nothing_and_names_nobody(
    clinic_of: ClinicOf, run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(ASYMMETRICAL)
    before = describe(clinic.db)
    common = reviewed(clinic, run, tmp_path)
    assert describe(clinic.db) == before
    again = run("check", *common[:4], "--review", tmp_path / "review", "--json")
    assert json.loads(again.out)["review"] == str(tmp_path / "review" / "review.html")
    planned = run("export", *common)
    assert planned.code == 0, planned.text
    assert describe(clinic.db) == before
    assert not list((tmp_path / "out").rglob("*.dcm"))
    assert 'href="review/review.html"' in (tmp_path / "out" / "plan.html").read_text("utf-8")
    for folder in (tmp_path / "review", tmp_path / "out" / "review"):
        assert sorted(p.name for p in folder.iterdir()) == ["cases", "review.html"]
        for path in folder.rglob("*.*"):
            text = path.read_text("utf-8")
            for secret in ("Wasser", "Geheim", "Gerda", "19500101", "http://", "https://"):
                assert secret not in text
    # The same state is the same file: nothing is drawn twice.
    one, other = (
        {p.name: p.read_bytes() for p in (f / "cases").iterdir()}
        for f in (tmp_path / "review", tmp_path / "out" / "review")
    )
    assert one == other

    assert run("export", *common, "--no-review").code == 0
    assert "the review" not in (tmp_path / "out" / "plan.html").read_text("utf-8")


def test_only_what_was_accepted_is_exported(clinic_of: ClinicOf, run: Run, tmp_path: Path) -> None:
    clinic = clinic_of(SMALL, *OTHERS)
    common = reviewed(clinic, run, tmp_path)
    file = decide(
        tmp_path / "decisions.csv", tmp_path / "review", {2: "accept", 3: "the MR; is blurred"}
    )
    planned = run("export", *common, "--only", file)
    assert planned.code == 0, planned.text
    assert "1 of 1 case ready to export" in planned.out

    done = run("export", *common, "--only", file, "--write")
    assert done.code == 0, done.text
    out = tmp_path / "out"
    assert [path.parent.name for path in out.glob("CT_Export/*/*")] == ["0815"]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert f"(SHA-256 {digest}): 1 accepted, 1 rejected, 1 not decided." in done.out
    assert "rejected in the review by Dr. Probe: the MR; is blurred" in done.out
    assert "not decided in the review: 4." in done.out
    pages = [out / "report.html", *(out / "report").glob("*.html")]
    report = "".join(page.read_text("utf-8") for page in pages)
    assert "It was accepted in the review by Dr. Probe (decisions.csv)." in report
    assert "rejected in the review by Dr. Probe: the MR; is blurred" in report
    assert "Left out: not decided in the review." in report
    events = [json.loads(line) for line in (out / "audit.jsonl").read_text("utf-8").splitlines()]
    signed = {"file": "decisions.csv", "sha256": digest, "reviewer": "Dr. Probe"}
    signed |= {"when": "2026-01-01T10:00:00Z"}
    assert [e["event"] for e in events if e.get("review") == signed] == [
        "begun",
        "saved",
        "exported",
    ]
    verified = run("verify", out)  # the review of the run without write belongs there
    assert verified.code == 0, verified.text
    # The write itself is no change: what was lost is exported anew by the same decisions.
    [folder] = out.glob("CT_Export/0815/*")
    folder.rename(tmp_path / "moved away")
    again = run("export", *common, "--only", file, "--write")
    assert again.code == 0, again.text
    assert list(out.glob("CT_Export/0815/*"))

    decide(file, tmp_path / "review", {4: "accept"})
    more = run("export", *common, "--only", file, "--write")
    assert more.code == 0, more.text
    assert sorted(p.parent.name for p in out.glob("CT_Export/*/*")) == ["0815", "P-3"]


def change_contour(clinic: Clinic, tmp_path: Path) -> None:
    contour_anew(clinic, "0815", "Lung L OAR", "GTV1")


def change_list(clinic: Clinic, tmp_path: Path) -> None:
    row = row_of(clinic.patients[0], **{"GTV-Volume": "3.05"})
    write_case_list(tmp_path / "cases.csv", [row])


@pytest.mark.parametrize("change", [change_contour, change_list])
def test_what_has_changed_since_is_not_exported(
    clinic_of: ClinicOf,
    run: Run,
    tmp_path: Path,
    change: Callable[[Clinic, Path], None],
) -> None:
    clinic = clinic_of(SMALL)
    common = reviewed(clinic, run, tmp_path, **{"GTV-Volume": "3.04"})
    file = decide(tmp_path / "decisions.csv", tmp_path / "review", {2: "accept"})
    change(clinic, tmp_path)
    before = describe(clinic.db)
    done = run("export", *common, "--only", file, "--write")
    assert done.code == 1
    assert "it has changed since it was reviewed" in done.out
    assert describe(clinic.db) == before
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_another_registration_is_another_state(run: Run, tmp_path: Path) -> None:
    states = []
    for number, rotation in enumerate([(2.0, -3.0, 5.0), (2.0, -3.0, 5.2), (2.0, -3.0, 5.0)]):
        here = tmp_path / str(number)
        phantom = replace(SMALL, mr=PhantomMr(size=(36, 36, 20), rotation=rotation))
        uids = write_phantom(here / "dicom", phantom)
        build(here / "dicom", here / "db")
        reviewed(Clinic(here / "db", (uids,)), run, here)
        states.append(listed(here / "review")[0]["state"])
    assert states[0] == states[2] != states[1]


def test_a_doubtful_case_is_accepted_with_its_doubts(
    clinic_of: ClinicOf, run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(SMALL)
    common = reviewed(clinic, run, tmp_path, **{"GTV-Volume": "14.7"})
    shown = article(tmp_path / "review")
    assert "To accept the case is to accept it as it is" in shown
    assert "GTV-Volume says 14.70 ml" in shown
    assert "Would create <strong>zCopyFromPlan</strong>" in shown
    file = decide(tmp_path / "decisions.csv", tmp_path / "review", {2: "accept"})
    done = run("export", *common, "--only", file, "--write")
    assert done.code == 0, done.text
    assert "Doubtful, and accepted as it is" in done.out


def test_the_numbers_that_are_shown(clinic_of: ClinicOf, run: Run, tmp_path: Path) -> None:
    clinic = clinic_of(replace(ASYMMETRICAL, contrast=None, mr=None))
    reviewed(clinic, run, tmp_path, **{"GTV-Volume": "3,05", "TargetVolume": "11.0"})
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", article(tmp_path / "review")))
    gtv = re.search(r"GTV GTV1 (\S+) 3.05 (\S+) ml", shown)
    target = re.search(r"Target PTV1 (\S+) 11.00 (\S+) ml", shown)
    assert gtv
    assert target
    for (measured, difference), radius, listed_ml in (
        (map(float, gtv.groups()), 9, 3.05),
        (map(float, target.groups()), 14, 11.0),
    ):
        assert measured == pytest.approx(Sphere(MIDDLE, radius).volume, rel=0.05)
        assert difference == pytest.approx(measured - listed_ml, abs=0.011)
    assert "GTV within the target: 100 % of" in shown
    assert "planning CT 25" in shown  # images


def test_ids_that_lost_their_zeros_are_the_case_that_was_reviewed(
    clinic_of: ClinicOf, run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(OTHERS[0])
    common = reviewed(clinic, run, tmp_path, **{"Patient-ID": "4711"})
    assert listed(tmp_path / "review")[0]["patient"] == "0004711"
    file = decide(tmp_path / "decisions.csv", tmp_path / "review", {2: "accept"})
    for _ in range(2):  # the second run knows whose it is before it opens the patient
        done = run("export", *common, "--only", file, "--write")
        assert done.code == 0, done.text
    assert list((tmp_path / "out").glob("CT_Export/0004711/*"))


def as_pandas_leaves_it(file: Path) -> Path:
    read = pd.read_csv(file, sep=";", encoding="utf-8-sig")  # ids become numbers
    read["Reason"] = "schön · groß"
    read.to_csv(file, sep=",", encoding="cp1252", index=False)
    return file


def as_a_workbook(file: Path) -> Path:
    book = openpyxl.Workbook()
    read = pd.read_csv(file, sep=";", encoding="utf-8-sig")
    book.active.append(list(read.columns))
    for row in read.itertuples(index=False):
        book.active.append([None if pd.isna(cell) else cell for cell in row])
    book.save(file.with_suffix(".xlsx"))
    return file.with_suffix(".xlsx")


def with_tabs_and_rows_turned(file: Path) -> Path:
    read = pd.read_csv(file, sep=";", encoding="utf-8-sig", dtype=str)
    read = read.iloc[::-1, ::-1]
    read["Decision"] = read["Decision"].str.upper()
    read.to_csv(file, sep="\t", encoding="utf-16", index=False)
    return file


def test_decisions_that_a_spreadsheet_saved_again(
    clinic_of: ClinicOf, run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(*OTHERS)
    common = reviewed(clinic, run, tmp_path)
    for form in (as_pandas_leaves_it, as_a_workbook, with_tabs_and_rows_turned):
        file = form(decide(tmp_path / "decisions.csv", tmp_path / "review", {2: "accept", 3: "no"}))
        planned = run("export", *common, "--only", file, "--no-review")
        assert planned.code == 0, planned.text
        assert "1 accepted, 1 rejected, 0 not decided." in planned.out


def test_decisions_that_are_none(clinic_of: ClinicOf, run: Run, tmp_path: Path) -> None:
    clinic = clinic_of(*OTHERS)
    common = reviewed(clinic, run, tmp_path)
    for changes, words in (
        ({"Decision": "perhaps"}, "row 2: Decision is 'perhaps'"),
        ({"Case-Key": "1,23E+15"}, "row 2: Case-Key is '1,23E+15'"),
        ({"Shown-State": ""}, "row 2: Shown-State is ''"),
        ({"Reviewer": ""}, "row 2: Reviewer is empty"),
        ({"Case-Key": "case-0123456789abcdef"}, "rows 2 and 3 decide of the same case"),
    ):
        decisions = {2: "accept", 3: "no"}
        file = decide(tmp_path / "decisions.csv", tmp_path / "review", decisions, **changes)
        refused = run("export", *common, "--only", file, "--write")
        assert refused.code == 2
        assert words in refused.err
        assert not (tmp_path / "out").exists()


def test_decisions_of_another_list(clinic_of: ClinicOf, run: Run, tmp_path: Path) -> None:
    clinic = clinic_of(*OTHERS)
    common = reviewed(clinic, run, tmp_path)
    file = decide(tmp_path / "decisions.csv", tmp_path / "review", {2: "accept", 3: "accept"})
    write_case_list(tmp_path / "cases.csv", [row_of(clinic.patients[1])])
    planned = run("export", *common, "--only", file, "--no-review")
    assert planned.code == 0, planned.text
    assert "Row 2 of decisions.csv decides of what is no case of this list" in planned.out

    decide(file, tmp_path / "review", {3: "no"})
    refused = run("export", *common, "--only", file, "--write")
    assert refused.code == 2
    assert "accepted in decisions.csv: no case of the list is that" in refused.err
    assert run("export", *common, "--only", tmp_path / "cases.csv").code == 2


def test_what_cannot_be_drawn_is_said_and_drawn_the_next_time(
    clinic_of: ClinicOf, run: Run, tmp_path: Path, mocker: MockerFixture
) -> None:
    clinic = clinic_of(SMALL)
    broken = mocker.patch(
        "stardust_esapi.esapi.stub_backend.StubBackend.read_plane",
        side_effect=RuntimeError("Gerda Geheimrat"),
    )
    reviewed(clinic, run, tmp_path)
    shown = article(tmp_path / "review")
    assert "There is no picture of the planning CT: something unexpected happened" in shown
    assert "Gerda" not in shown
    assert not pictures(tmp_path / "review")
    mocker.stop(broken)
    reviewed(clinic, run, tmp_path)
    assert len(pictures(tmp_path / "review")) == 3


def test_a_case_that_cannot_be_exported_has_a_reason_and_no_decision(
    clinic_of: ClinicOf, run: Run, tmp_path: Path
) -> None:
    empty = replace(SMALL, structures=default_structures())
    clinic = clinic_of(empty)
    reviewed(clinic, run, tmp_path)
    [file] = (tmp_path / "review" / "cases").iterdir()
    reviewed(clinic, run, tmp_path, PlanID="Plan9")
    [one] = listed(tmp_path / "review")
    assert one["is"] == "failed"
    assert "the patient has no such plan" in one["why"]
    assert one["file"] == one["state"] == ""
    assert not file.exists()  # nothing refers to it any more


def test_a_set_that_is_exported_as_it_is_is_what_is_shown(
    clinic_of: ClinicOf, run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(ASYMMETRICAL)
    cases = write_case_list(tmp_path / "cases.csv", [row_of(clinic.patients[0])])
    settings = tmp_path / "site.toml"
    settings.write_text('on_existing = "reuse"\n', encoding="utf-8")
    common = ("--cases", cases, "--esapi", clinic.esapi, "--settings", settings)
    assert run("export", *common, "--out", tmp_path / "out", "--write").code == 0
    contour_anew(clinic, "0815", "GTV1", "PTV1")  # of 14 mm now, where the set's is of 9

    states = []
    for name in ("one", "other"):
        run("check", *common, "--review", tmp_path / name)
        shown = article(tmp_path / name)
        assert "<strong>zCopyFromPlan</strong> on the planning CT is there" in shown
        _, over = pictures(tmp_path / name)["CT", "axial"]
        line = (np.abs(over[..., :3] - (230, 159, 0)).max(axis=-1) < 30) & (over[..., 3] > 200)
        line[PIXELS - 60 :, :120] = False
        steps = ((np.arange(PIXELS) + 0.5) / PIXELS * 2 - 1) * HALF
        assert abs(np.median(np.hypot(*np.meshgrid(steps, steps))[line]) - 9) < 1.5
        states.append(listed(tmp_path / name)[0]["state"])
        contour_anew(clinic, "0815", "Mark P", "Mark L", "zCopyFromPlan")
    assert states[0] != states[1]


def test_a_review_that_is_stopped_has_what_was_looked_at(
    clinic_of: ClinicOf, run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(SMALL, *OTHERS)
    reviewed(clinic, run, tmp_path)
    before = {path.name for path in (tmp_path / "review" / "cases").iterdir()}

    class Stopping:
        def start(self, cases: int) -> None: ...
        def phase(self, case: Case, phase: str, done: int = 0, total: int = 0) -> None: ...

        def finish(self, result: CaseResult) -> None:
            if result.case.row == 3:
                raise KeyboardInterrupt

    job = Job(
        tmp_path / "cases.csv",
        Path(),
        load_settings(None, {"esapi": clinic.esapi}, folder=tmp_path),
        review=tmp_path / "review",
    )
    with pytest.raises(KeyboardInterrupt) as stop:
        check(job, Stopping())
    assert [one["row"] for one in listed(tmp_path / "review")] == [2]
    assert "review.html" in " ".join(stop.value.__notes__)
    # What an earlier one has drawn is not lost.
    assert {path.name for path in (tmp_path / "review" / "cases").iterdir()} == before


def test_a_folder_that_cannot_be_used_is_told_at_once(
    clinic_of: ClinicOf, run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(SMALL)
    cases = write_case_list(tmp_path / "cases.csv", [row_of(clinic.patients[0])])
    said = run("check", "--cases", cases, "--esapi", clinic.esapi, "--review", cases)
    assert said.code == 2
    assert re.search(r"The review cannot lie in .*cases\.csv: ", said.err)
