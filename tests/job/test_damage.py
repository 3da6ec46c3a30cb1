"""What became of exported folders since: each run looks, and the report tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from esapi_stub.sample import Phantom, PhantomContrast
from stardust_esapi.verify.check import verify_tree
from support import Clinic, Outcome, report_of, row_of, write_case_list

PLAIN = Phantom("0815", size=(32, 32, 14))
WHOLE = replace(PLAIN, patient_id="4711", contrast=PhantomContrast())


@pytest.fixture
def clinic(clinic_of: Callable[..., Clinic]) -> Clinic:
    return clinic_of(WHOLE, PLAIN)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def export(clinic: Clinic, run: Callable[..., Outcome], out: Path) -> Callable[..., Outcome]:
    cases = write_case_list(out.parent / "cases.csv", map(row_of, clinic.patients))

    def exported(*arguments: object) -> Outcome:
        common = ("--cases", cases, "--out", out, "--esapi", clinic.esapi, "--write")
        return run("export", *common, *arguments)

    return exported


def folder_of(out: Path, kind: str, patient_id: str = "4711") -> Path:
    (folder,) = (out / f"{kind}_Export" / patient_id).iterdir()
    return folder


def lose_a_file(folder: Path) -> None:
    min(folder.glob("CT*.dcm")).unlink()


def edit_a_file(folder: Path) -> None:
    path = min(folder.glob("CT*.dcm"))
    dataset = dcmread(path)
    dataset.ImageComments = "looked at"
    dataset.save_as(path)


def get_another(folder: Path) -> None:
    (folder / "IM.9.dcm").write_bytes(min(folder.glob("CT*.dcm")).read_bytes())


def lose_its_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lose_a_file, "1 files are missing, such as CT."),
        (edit_a_file, "1 files are of another size, such as CT."),
        (get_another, "1 files are not of this export, such as IM.9.dcm"),
        (lose_its_manifest, "manifest.json is missing"),
    ],
)
def test_a_damaged_folder_is_not_exported_and_said(
    export: Callable[..., Outcome],
    out: Path,
    damage: Callable[[Path], None],
    words: str,
    tmp_path: Path,
) -> None:
    assert export().code == 0
    folder = folder_of(out, "KM")
    damage(folder)

    again = export()
    assert again.code == 1
    assert "1 of 2 cases exported; 1 failed" in again.out
    report = report_of(out)
    where = folder.relative_to(out).as_posix()
    for text in (" ".join(again.out.split()), report):
        assert f"{where} was changed after it was exported" in text
        assert words in text
    assert "4711" in (out / "Output_Log.csv").read_text(encoding="utf-8-sig").splitlines()[-1]
    found = [finding.problem for finding in verify_tree(out).findings]
    assert found.count("incomplete") == 2  # both series of the case
    assert export().code == 1  # and it stays so

    folder.rename(tmp_path / "aside")
    assert export().code == 0
    assert verify_tree(out).ok


def test_damage_is_told_by_a_run_that_does_not_ask_for_the_kind_or_comes_not_so_far(
    export: Callable[..., Outcome], out: Path
) -> None:
    assert export().code == 0
    lose_a_file(folder_of(out, "KM"))
    lose_a_file(folder_of(out, "CT", "0815"))
    again = export("--kinds", "ct", "--limit", 1)
    assert again.code == 1
    assert "0 of 2 cases exported; 2 failed" in again.out
    assert report_of(out).count("was changed after it") >= 2


def test_a_folder_that_was_taken_away_is_exported_again(
    export: Callable[..., Outcome], out: Path, tmp_path: Path
) -> None:
    assert export().code == 0
    folder = folder_of(out, "KM")
    folder.rename(tmp_path / "aside")
    assert export("--kinds", "ct").code == 0  # it is not asked for, and not said to be there
    assert not folder.exists()
    assert verify_tree(out).ok
    assert export().code == 0
    assert folder.is_dir()
    assert verify_tree(out).ok


def test_the_content_alone_is_left_to_verify(export: Callable[..., Outcome], out: Path) -> None:
    assert export().code == 0
    path = min(folder_of(out, "KM").glob("CT*.dcm"))
    path.write_bytes(path.read_bytes()[:-2] + b"\x55\x55")
    assert export().code == 0
    assert [finding.problem for finding in verify_tree(out).findings] == ["changed"]
