"""Rows of one plan with different tumours: each its own structure set, known by what it holds."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consumer.reader import read_folder
from esapi_stub.database import describe
from esapi_stub.sample import Phantom, PhantomContrast, PhantomStructure, Sphere, default_structures
from support import Clinic, Outcome, contour_anew, row_of, write_case_list

Run = Callable[..., Outcome]
ClinicOf = Callable[..., Clinic]

TUMOURS = {"GTV1": (-20.0, 10.0, 3.0), "GTV2": (22.0, 12.0, 3.0), "GTV3": (0.0, -25.0, 0.0)}
PHANTOM = Phantom(
    "0815",
    contrast=PhantomContrast(),
    structures=(
        default_structures()[0],
        *(PhantomStructure(n, "GTV", Sphere(at, 8), hu=75) for n, at in TUMOURS.items()),
        *(PhantomStructure(f"PTV{n[-1]}", "PTV", Sphere(at, 12)) for n, at in TUMOURS.items()),
    ),
)


def sets_of(clinic: Clinic) -> list[str]:
    [patient] = describe(clinic.db)["patients"]
    return sorted(s["id"] for s in patient["structure_sets"] if s["id"].startswith("z"))


@pytest.mark.parametrize("order", list(itertools.permutations(TUMOURS))[::2])
def test_each_row_gets_the_set_of_its_tumour_in_any_order_and_again(
    clinic_of: ClinicOf, run: Run, tmp_path: Path, order: tuple[str, ...]
) -> None:
    clinic = clinic_of(PHANTOM)
    [uids] = clinic.patients

    def rows(names: tuple[str, ...]) -> Path:
        listed = [row_of(uids, GTV=name, TargetID=f"PTV{name[-1]}") for name in names]
        return write_case_list(tmp_path / "cases.csv", listed)

    common = ("--esapi", clinic.esapi, "--write")
    # The first two in one run, the third by another list; then all again, in another folder.
    for names, out in ((order[:2], "one"), (order, "one"), (order[::-1], "two")):
        done = run("export", "--cases", rows(names), "--out", tmp_path / out, *common)
        assert done.code == 0, done.text
    assert sets_of(clinic) == [
        *("zCopyFromPl_2_KM", "zCopyFromPl_3_KM"),
        *("zCopyFromPlan", "zCopyFromPlan_2", "zCopyFromPlan_3", "zCopyFromPlan_KM"),
    ]
    for out in ("one", "two"):
        for kind in ("CT", "KM"):
            folders = list((tmp_path / out / f"{kind}_Export" / "0815").iterdir())
            assert len(folders) == 3
            # Every tumour once, under label 1, whatever folder it got.
            assert {tumour_in(folder) for folder in folders} == set(TUMOURS)


def tumour_in(folder: Path) -> str:
    """Which tumour an independent reader finds as label 1."""
    read = read_folder(folder)
    assert read.label_1 is not None
    z, y, x = np.argwhere(read.label_1.mask).mean(axis=0) * read.spacing[::-1]
    middle = read.positions[0] + x * read.along_x + y * read.along_y + z * read.normal
    return min(TUMOURS, key=lambda name: float(((middle - TUMOURS[name]) ** 2).sum()))


def test_a_changed_contour_is_no_other_tumour(
    clinic_of: ClinicOf, run: Run, tmp_path: Path
) -> None:
    """A set whose GTV is nobody's copy is not passed over: somebody has to look."""
    clinic = clinic_of(PHANTOM)
    [uids] = clinic.patients
    common = ("--esapi", clinic.esapi, "--write")
    cases = write_case_list(tmp_path / "cases.csv", [row_of(uids)])
    assert run("export", "--cases", cases, "--out", tmp_path / "1", *common).code == 0
    contour_anew(clinic, "0815", "GTV1", like="PTV1")
    stop = run("export", "--cases", cases, "--out", tmp_path / "2", *common)
    assert stop.code == 1
    assert "does not hold what would be created now" in stop.out


def test_tumours_that_lie_close_together_have_sets_of_their_own_on_the_contrast_ct_too(
    clinic_of: ClinicOf, run: Run, tmp_path: Path
) -> None:
    """The rules leave both out as others, and resampling forgives what tells them apart."""
    middles = {"zGTVa": (-20.0, 10.0, 3.0), "zGTVb": (-17.5, 10.0, 3.0)}
    phantom = replace(
        PHANTOM,
        structures=(
            *(PhantomStructure(name, "GTV", Sphere(at, 8)) for name, at in middles.items()),
            PhantomStructure("PTV", "PTV", Sphere((-19.0, 10.0, 3.0), 14)),
        ),
    )
    clinic = clinic_of(phantom)
    [uids] = clinic.patients
    rows = [row_of(uids, GTV=name, TargetID="PTV") for name in middles]
    cases = write_case_list(tmp_path / "cases.csv", rows)
    common = ("--esapi", clinic.esapi, "--write")
    for out in ("one", "two"):
        done = run("export", "--cases", cases, "--out", tmp_path / out, *common)
        assert done.code == 0, done.text
    assert sets_of(clinic) == [
        *("zCopyFromPl_2_KM", "zCopyFromPlan", "zCopyFromPlan_2", "zCopyFromPlan_KM"),
    ]
    for folder in (tmp_path / "two" / "KM_Export" / "0815").iterdir():
        label = read_folder(folder).label_1
        assert label is not None
