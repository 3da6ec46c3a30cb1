"""Is it still what was accepted? A doubtful case is shown, and written only by choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from consumer.reader import read_folder
from esapi_stub.database import describe
from esapi_stub.sample import Phantom, PhantomStructure, Sphere, default_structures
from esapi_stub.sample.dicom import Grid
from stardust_esapi.model import CaseState
from stardust_esapi.record.ledger import read_cases
from support import Clinic, Outcome, report_of, row_of, write_case_list

Run = Callable[..., Outcome]
ClinicOf = Callable[..., Clinic]

PHANTOM = Phantom("0815", size=(48, 48, 20))
OUTSIDE = replace(
    PHANTOM,
    structures=(
        *default_structures(),
        PhantomStructure("GTV2", "GTV", Sphere((-20.0, 10.0, 20.0), 8)),
    ),
)
GTV_ML = Sphere((0, 0, 0), 9).volume


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"GTV": "PTV1", "TargetID": "GTV1"}, ["is larger than the target", "exchanged"]),
        ({"GTV": "GTV2"}, ["The GTV lies outside the target", "95 % must be"]),
        ({"GTV-Volume": "14,71"}, ["is not what the case list says", "GTV-Volume says 14.71 ml"]),
        ({"TargetVolume": "3.05"}, ["TargetVolume says 3.05 ml"]),
    ],
)
def test_a_doubtful_case_is_shown_with_its_numbers_and_not_written(
    clinic_of: ClinicOf, run: Run, tmp_path: Path, changes: dict[str, str], words: list[str]
) -> None:
    clinic = clinic_of(OUTSIDE)
    cases = write_case_list(tmp_path / "cases.csv", [row_of(clinic.patients[0], **changes)])
    before = describe(clinic.db)
    out = tmp_path / "out"
    common = ("--cases", cases, "--esapi", clinic.esapi)
    for arguments in (
        ("check", *common),
        ("export", *common, "--out", out),
        ("export", *common, "--out", out, "--write"),
    ):
        said = run(*arguments)
        assert said.code == 1, said.text
        assert "1 doubtful" in said.out or "doubtful row 2" in said.out
        for word in (*words, "--accept-doubtful"):
            assert word in said.out
    assert describe(clinic.db) == before
    [case] = read_cases(out)
    assert case.state is CaseState.DOUBTFUL
    report = report_of(out)
    assert words[0] in report
    assert not list(out.rglob("*.dcm"))

    accepted = run("export", *common, "--out", out, "--write", "--accept-doubtful")
    assert accepted.code == 0, accepted.text
    assert "Doubtful, and accepted as it is" in accepted.out
    assert '<p class="warning">Doubtful, and accepted' in report_of(out)
    assert list(out.rglob("RS*.dcm"))
    # Nobody accepted it for training: the dataset judges by the same table.
    created = run("dataset", "--from", out, "--out", tmp_path / "data", "--workers", 1)
    assert created.code == 1
    assert words[0] in (tmp_path / "data" / "dataset.html").read_text("utf-8")


@dataclass(frozen=True)
class Pair:
    """Two balls, each drawn by itself; they may overlap."""

    one: Sphere
    other: Sphere

    def contains(self, points: np.ndarray) -> np.ndarray:
        return self.one.contains(points) | self.other.contains(points)

    def contours(self, grid: Grid, plane: int) -> list[np.ndarray]:
        return [*self.one.contours(grid, plane), *self.other.contours(grid, plane)]


def test_contours_that_cross_are_united_and_doubtful(
    clinic_of: ClinicOf, run: Run, tmp_path: Path
) -> None:
    pair = Pair(Sphere((-23.0, 10.0, 3.0), 7), Sphere((-15.0, 10.0, 3.0), 7))
    others = [one for one in default_structures() if one.id != "GTV1"]
    ptv = PhantomStructure("PTV2", "PTV", Sphere((-19.0, 10.0, 3.0), 16))
    gtv = PhantomStructure("GTV1", "GTV", pair, hu=75)
    clinic = clinic_of(replace(PHANTOM, structures=(*others, ptv, gtv)))
    row = row_of(clinic.patients[0], TargetID="PTV2")
    cases = write_case_list(tmp_path / "cases.csv", [row])
    common = ("--cases", cases, "--esapi", clinic.esapi)
    said = run("check", *common)
    assert said.code == 1
    assert "The GTV: contours cross one another on 4 slices and were united" in said.out

    out = tmp_path / "out"
    accepted = run("export", *common, "--out", out, "--write", "--accept-doubtful")
    assert accepted.code == 0, accepted.text
    [found] = {path.parent for path in (out / "CT_Export").rglob("RS*.dcm")}
    case = read_folder(found)
    assert case.label_1 is not None
    down, along, across = np.argwhere(case.label_1.mask).T
    points = (
        case.positions[down]
        + across[:, None] * case.spacing[0] * case.along_x
        + along[:, None] * case.spacing[1] * case.along_y
    )
    assert pair.contains(points).mean() > 0.9  # no corner of a voxel is asked
    lens = np.linalg.norm(points - (-19.0, 10.0, 3.0), axis=1) < 3
    assert lens.sum() >= 3
    created = run("dataset", "--from", out, "--out", tmp_path / "data", "--workers", 1)
    assert created.code == 1
    assert "gtv+: contours cross" in (tmp_path / "data" / "dataset.html").read_text("utf-8")


def test_a_site_sets_the_thresholds_in_one_table(
    clinic_of: ClinicOf, run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(OUTSIDE)
    row = row_of(clinic.patients[0], **{"GTV-Volume": f"{1.3 * GTV_ML:.2f}"})
    cases = write_case_list(tmp_path / "cases.csv", [row])
    common = ("check", "--cases", cases, "--esapi", clinic.esapi)
    assert run(*common).code == 1
    settings = tmp_path / "wide.toml"
    settings.write_text("[dataset.gates]\nvolume_difference = 0.5\n", "utf-8")
    assert run(*common, "--settings", settings).code == 0
    settings.write_text('[dataset.gates]\nnote_only = ["volumes"]\n', "utf-8")
    said = run(*common, "--settings", settings)
    assert said.code == 0, said.text


def test_volumes_as_the_list_has_them_are_no_doubt(
    clinic_of: ClinicOf, run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(OUTSIDE)
    volumes = {
        "GTV-Volume": f"{GTV_ML:.4f}",
        "TargetVolume": f"{Sphere((0, 0, 0), 14).volume:.4f}".replace(".", ","),
    }
    cases = write_case_list(tmp_path / "cases.csv", [row_of(clinic.patients[0], **volumes)])
    assert run("check", "--cases", cases, "--esapi", clinic.esapi).code == 0
