"""The rows to be corrected: read by others, given again, without anybody's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from filelock import FileLock

from esapi_stub.sample import Phantom
from stardust_esapi.caselist import read_case_list
from stardust_esapi.model import CaseResult, CaseState
from stardust_esapi.report.failed_rows import failed_rows, write_failed_rows
from support import Clinic, Outcome, row_of, write_case_list

Run = Callable[..., Outcome]
FULL = {
    "Nachname": "Geheim", "Vorname": "Gerda", "Patient-ID": "0815", "PlanID": "B1",
    "SeriesUID": "1.2.3", "TargetID": "PTV", "TargetVolume": "120.5", "GTV": "=GTV",
    "GTV-Volume": "35,25", "PNG_Path": r"\\server\0815_B1_PTV_GTV.png", "MR_Series_UID": "1.2.4",
    "MR_Slices": "12", "Comment": "Frau Geheim", "casekind": "Lunge",
}  # fmt: skip


def test_a_row_that_failed_means_the_same_case_when_it_is_given_again(tmp_path: Path) -> None:
    path = write_case_list(
        tmp_path / "cases.csv", [FULL | {"Patient-ID": n} for n in ("0815", "4711", "9")]
    )
    listed = read_case_list(path)
    results = [
        CaseResult(listed.cases[0], CaseState.FAILED, f"{listed.cases[0]}: the peer rejected it."),
        CaseResult(listed.cases[1], CaseState.DOUBTFUL, "The GTV is larger."),
        CaseResult(listed.cases[2], CaseState.EXPORTED),
    ]
    written = write_failed_rows(tmp_path, listed, results)
    assert written == tmp_path / "failed.xlsx"
    again = read_case_list(written)
    assert [replace(case, row=0) for case in again.cases] == [
        replace(case, row=0) for case in listed.cases[:2]
    ]
    assert not again.rejected  # though a reason says "rejected"
    assert not again.problems
    frame = pd.read_excel(written, dtype=str, engine="calamine")
    assert frame["stardust-esapi row"].tolist() == ["2", "3"]
    assert frame["stardust-esapi state"].tolist() == ["failed", "doubtful"]
    assert frame["stardust-esapi reason"].tolist() == [
        "the peer rejected it.",
        "The GTV is larger.",
    ]
    assert frame["Patient-ID"].tolist() == ["0815", "4711"]
    sheet = openpyxl.load_workbook(written).active
    assert sheet is not None
    cells = [cell for row in sheet.iter_rows() for cell in row]
    assert {cell.data_type for cell in cells} == {"s"}  # texts, also what looks like a formula
    assert not [cell.value for cell in cells if "Geheim" in str(cell.value)]
    # The next file keeps the first list's rows, and lets its own input be.
    [header, *rows] = failed_rows(again, [CaseResult(again.cases[1], CaseState.FAILED, "No.")])
    assert header[0] == "stardust-esapi row"
    assert [row[:3] for row in rows] == [("3", "failed", "No.")]
    before = written.read_bytes()
    following = write_failed_rows(tmp_path, again, [CaseResult(again.cases[1], CaseState.FAILED)])
    assert following == tmp_path / "failed-2.xlsx"
    assert written.read_bytes() == before
    assert write_failed_rows(tmp_path, again, []) is None
    assert not following.exists()
    assert write_failed_rows(tmp_path, listed, []) is None
    assert not written.exists()


def test_a_file_that_others_hold_ends_no_run(tmp_path: Path, warned: list[str]) -> None:
    listed = read_case_list(write_case_list(tmp_path / "cases.csv", [FULL]))
    (tmp_path / "failed.xlsx").mkdir()
    written = write_failed_rows(tmp_path, listed, [CaseResult(listed.cases[0], CaseState.FAILED)])
    assert written == tmp_path / "failed (newer).xlsx"
    assert len(read_case_list(written).cases) == 1
    assert write_failed_rows(tmp_path, listed, []) is None
    assert not written.exists()
    assert "failed.xlsx cannot be written" in warned[0]
    assert "failed.xlsx is of an earlier run" in warned[1]


def test_a_row_that_cannot_be_read_is_there_too(tmp_path: Path) -> None:
    path = write_case_list(tmp_path / "cases.csv", [FULL, FULL | {"Patient-ID": "1.23E+05"}])
    [_, row] = failed_rows(read_case_list(path), [])
    assert row[:2] == ("3", "not read")
    assert "scientific notation" in row[2]
    assert "1.23E+05" in row


@pytest.fixture
def command(clinic_of: Callable[..., Clinic], tmp_path: Path) -> list[object]:
    clinic = clinic_of(
        *(Phantom(f"P{n}", size=(24, 24, 6), spacing=(5.0, 5.0, 6.0)) for n in (1, 2))
    )
    first, second = map(row_of, clinic.patients)
    cases = write_case_list(tmp_path / "cases.csv", [first, second | {"PlanID": "none"}])
    return [
        "export", "--esapi", clinic.esapi, "--write", "--out", tmp_path / "out", "--cases", cases,
    ]  # fmt: skip


def test_what_failed_is_corrected_and_given_again(
    run: Run, command: list[object], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    said = run(*command)
    failed = out / "failed.xlsx"
    assert f"To be corrected: {failed}" in said.out
    checked = run("check", "--cases", failed, "--esapi", command[2])
    assert "failed row 2, patient P2, plan none: the patient has no such plan" in checked.out
    assert run("verify", out).code == 0
    book = openpyxl.load_workbook(failed)
    sheet = book["cases"]
    column = next(cell.column for cell in sheet[1] if cell.value == "PlanID")
    sheet.cell(2, column, "Plan1")
    book.save(failed)
    corrected = failed.read_bytes()
    again = run(*command[:-1], failed)
    assert "1 of 1 case exported." in again.out, again.text
    assert failed.read_bytes() == corrected
    assert not (out / "failed-2.xlsx").exists()


def test_the_report_is_built_again_from_the_ledger(
    run: Run, command: list[object], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run("report", tmp_path).code == 2
    run(*command)
    page = out / "report.html"
    first = page.read_text("utf-8")
    page.unlink()
    Path(str(command[-1])).unlink()
    said = run("report", out)
    assert said.code == 0
    assert said.out.splitlines() == ["1 of 2 cases exported; 1 failed.", f"Report: {page}"]
    # All but how long each case took, which the run alone knew.
    assert without_seconds(page.read_text("utf-8")) == without_seconds(first)


def test_a_run_at_work_keeps_its_report_itself(
    run: Run, command: list[object], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(*command)
    before = (out / "report.html").stat()
    with FileLock(out / ".lock"):
        said = run("report", out)
    assert said.code == 0
    assert "A run is working there" in said.out
    assert (out / "report.html").stat() == before


def without_seconds(page: str) -> str:
    return re.sub(r"\d+(\.\d+)? s\b", "", page)
