"""Whatever form a list has: the same cases are exported from it, to the byte."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from esapi_stub.build import build
from esapi_stub.sample import (
    Phantom,
    PhantomContrast,
    PhantomMr,
    Sphere,
    write_phantom,
    write_sample,
)
from list_forms import write_forms
from support import Outcome, exported_tree, report_of, row_of, write_case_list

Run = Callable[..., Outcome]

PHANTOM = Phantom("815", size=(24, 24, 10), spacing=(5.0, 5.0, 5.0))
VOLUMES = {
    "GTV-Volume": f"{Sphere((0, 0, 0), 9).volume:.4f}",
    "TargetVolume": f"{Sphere((0, 0, 0), 14).volume:.4f}",
}


def tree_of(out: Path) -> dict[str, str]:
    """What was exported; the log names rows, and these differ."""
    return {name: digest for name, digest in exported_tree(out).items() if "Output_Log" not in name}


def export(run: Run, db: Path, cases: Path, folder: Path) -> tuple[Outcome, dict[str, str]]:
    """Export on a copy of the database."""
    copy = shutil.copytree(db, folder / "db")
    out = folder / "out"
    done = run("export", "--cases", cases, "--out", out, "--esapi", f"stub:{copy}", "--write")
    return done, tree_of(out)


@pytest.fixture(scope="module", autouse=True)
def one_moment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        yield


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, str]]]:
    """Three cases, and a patient whose id is the number that pandas makes of another's."""
    folder = tmp_path_factory.mktemp("forms")
    phantoms = (
        replace(PHANTOM, patient_id="0004711", contrast=PhantomContrast(slices=10)),
        replace(PHANTOM, patient_id="123456", mr=PhantomMr(size=(20, 20, 6))),
        PHANTOM,
        replace(PHANTOM, patient_id="4711", seed="another"),
    )
    uids = [write_phantom(folder / "dicom" / p.patient_id, p) for p in phantoms]
    build(folder / "dicom", folder / "db")
    rows = [
        row_of(u, **VOLUMES, MR_Slices="7" if u.mr_series_uid else "0", Series="CT", Comment="")
        | {"PNG_Path": rf"\\server\middleSlices\{u.patient_id}_{u.plan_id}_PTV1_GTV1.png"}
        | ({"KM_Series_Comment": "CT KM"} if u.km_series_uid else {})
        | ({"MR_Series_Comment": "T1 KM"} if u.mr_series_uid else {})
        for u in uids[:3]
    ]
    rows[2]["PlanID"] = ""  # found by series and structure set
    return folder / "db", rows


FORMS = sorted(
    [
        *("mined", "filtered", "sep.csv", "title.csv", "tabs.tsv", "pipes.txt", "unicode.txt"),
        "two sheets.xlsx",
        *(
            f"{base}, {form}"
            for base in ("mined", "filtered")
            for form in (
                *("accept", "label", "accept then label", "label then accept", "to Excel"),
                *("refined", "refined twice", "refined label"),
            )
        ),
    ]
)


@pytest.fixture(scope="module")
def forms(
    clinic: tuple[Path, list[dict[str, str]]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    created = write_forms(tmp_path_factory.mktemp("lists"), clinic[1])
    assert sorted(created) == FORMS
    return created


@pytest.fixture
def clean_tree(
    clinic: tuple[Path, list[dict[str, str]]],
    run: Run,
    tmp_path: Path,
    clean_trees: dict[str, dict[str, str]],
) -> dict[str, str]:
    if not clean_trees:
        db, rows = clinic
        cases = write_case_list(tmp_path / "clean.csv", rows)
        done, tree = export(run, db, cases, tmp_path / "clean")
        assert done.code == 0, done.text
        assert {name.split("/")[1] for name in tree if "/" in name} == {"0004711", "123456", "815"}
        clean_trees["tree"] = tree
    return clean_trees["tree"]


@pytest.fixture(scope="module")
def clean_trees() -> dict[str, dict[str, str]]:
    return {}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_export_of_the_clean_list(
    clinic: tuple[Path, list[dict[str, str]]],
    forms: dict[str, Path],
    clean_tree: dict[str, str],
    run: Run,
    tmp_path: Path,
    form: str,
) -> None:
    done, tree = export(run, clinic[0], forms[form], tmp_path)
    assert done.code == 0, done.text
    assert tree == clean_tree


def test_a_second_run_knows_whose_the_numbers_are(
    clinic: tuple[Path, list[dict[str, str]]], forms: dict[str, Path], run: Run, tmp_path: Path
) -> None:
    """And the same cases under their true ids, from another list, are the same cases."""
    db, rows = clinic
    done, tree = export(run, db, forms["mined, accept"], tmp_path)
    assert done.code == 0, done.text
    common = ("--out", tmp_path / "out", "--esapi", f"stub:{tmp_path / 'db'}", "--write")
    report = report_of(tmp_path / "out")
    assert "The list has the number 4711 for the patient id; 0004711 is meant" in report
    for cases in (forms["mined, accept"], write_case_list(tmp_path / "clean.csv", rows)):
        again = run("export", "--cases", cases, *common)
        assert again.code == 0
        assert "[1/" not in again.out, "nothing is left to do"
        assert "All 3 cases exported" in again.out
        assert tree_of(tmp_path / "out") == tree


def test_the_demo_cohort_in_the_form_that_changes_most(run: Run, tmp_path: Path) -> None:
    clean = write_sample(tmp_path / "sample")
    build(tmp_path / "sample" / "dicom", tmp_path / "db")
    with clean.open(encoding="utf-8", newline="") as file:
        listed = [dict(row) for row in csv.DictReader(file, delimiter=";")]
    rows = [row for row in listed if "abgelehnt" not in str(row).lower()]
    forms = write_forms(tmp_path / "lists", rows)
    expected, tree = export(run, tmp_path / "db", clean, tmp_path / "clean")
    assert expected.code == 1
    form = forms["filtered, accept then label"]
    done, found = export(run, tmp_path / "db", form, tmp_path / "other")
    assert done.code == 1
    assert verdict(done) == verdict(expected)
    assert found == tree


def verdict(done: Outcome) -> str:
    """The sentence at the end."""
    return next(line for line in done.out.splitlines() if re.match(r"(\d+ of|All) \d+ cases", line))


@pytest.mark.parametrize("engine", ["esapi", "none"])
def test_one_case_under_both_spellings_comes_once(
    clinic: tuple[Path, list[dict[str, str]]], run: Run, tmp_path: Path, engine: str
) -> None:
    db, rows = clinic
    both = [rows[0], rows[0] | {"Patient-ID": "4711"}]
    for listed in (both, both[::-1]):
        out = tmp_path / listed[0]["Patient-ID"]
        copy = shutil.copytree(db, out / "db")
        cases = write_case_list(out / "cases.csv", listed)
        for _ in range(2):
            done = run(
                *("export", "--cases", cases, "--out", out / "out", "--esapi", f"stub:{copy}"),
                *("--write", "--engine", engine),
            )
            assert done.code == 0, done.text
            assert "Rows 2, 3 mean the same case of patient 0004711" in done.out
            assert "1 of 1 case" in done.out
            assert "[2/" not in done.out
