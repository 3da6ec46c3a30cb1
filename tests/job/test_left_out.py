"""A contrast CT or MR that cannot be had as the row says: left out, and not to be overlooked."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from esapi_stub.sample import Phantom, PhantomContrast, PhantomMr
from stardust_esapi.model import CaseState, Kind
from stardust_esapi.record.ledger import read_cases
from support import Clinic, Outcome, contour_anew, report_of, row_of, write_case_list

Run = Callable[..., Outcome]
ClinicOf = Callable[..., Clinic]

PLAIN = Phantom("0815", size=(32, 32, 14))
WHOLE = replace(PLAIN, contrast=PhantomContrast(), mr=PhantomMr(size=(24, 24, 10)))


def kinds_of(out: Path) -> set[str]:
    return {path.parts[-4][:2] for path in out.rglob("*_Export/*/*/manifest.json")}


@pytest.fixture
def export(tmp_path: Path, run: Run) -> Callable[..., Outcome]:
    def exported(clinic: Clinic, row: dict[str, str], *arguments: object) -> Outcome:
        cases = write_case_list(tmp_path / "cases.csv", [row])
        return run(
            *("export", "--cases", cases, "--out", tmp_path / "out", "--esapi", clinic.esapi),
            *arguments,
        )

    return exported


@pytest.mark.parametrize(
    ("phantom", "changes", "kind", "words"),
    [
        (WHOLE, {"KM_Series_UID": "1.2.840.99"}, "KM", "no 3-D image of series 1.2.840.99"),
        (
            replace(WHOLE, contrast=PhantomContrast(own_frame_of_reference=True)),
            {},
            "KM",
            "another frame of reference",
        ),
        (replace(WHOLE, contrast=PhantomContrast(slices=4)), {}, "KM", "would be cut off"),
        (WHOLE, {"MR_Series_UID": "1.2.840.99"}, "MR", "no 3-D image of series 1.2.840.99"),
        (
            replace(WHOLE, mr=PhantomMr(size=(24, 24, 10), registered=False)),
            {"MRregUID": "1.2.840.98"},
            "MR",
            "1.2.840.98 does not join",
        ),
    ],
)
def test_the_rest_of_the_case_is_exported_and_nobody_overlooks_what_is_not(
    clinic_of: ClinicOf,
    export: Callable[..., Outcome],
    tmp_path: Path,
    run: Run,
    phantom: Phantom,
    changes: dict[str, str],
    kind: str,
    words: str,
) -> None:
    clinic = clinic_of(phantom)
    row = row_of(clinic.patients[0], **changes)
    out = tmp_path / "out"

    planned = export(clinic, row)
    assert planned.code == 1
    assert "1 of 1 case ready in part" in planned.out

    done = export(clinic, row, "--write")
    assert done.code == 1, done.text
    assert "1 of 1 case exported in part" in done.out
    assert f"The {Kind(kind).words} was left out." in done.out
    assert words in done.out
    assert kinds_of(out) == {"CT", "KM", "MR"} - {kind}
    report = report_of(out)
    assert f'<p class="warning">The {Kind(kind).words} was left out.' in report
    [case] = read_cases(out)
    assert case.state is CaseState.PARTIAL
    with (out / "Output_Log.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file, delimiter=";"))[-1][-1] == "partial"
    assert run("verify", out).code == 0
    # The training files of what is there are made all the same.
    assert run("dataset", "--from", out, "--out", tmp_path / "dataset", "--workers", 1).code == 0

    failed = export(clinic, row, "--write", "--on-missing", "fail", "--out", tmp_path / "strict")
    assert failed.code == 1
    assert words in failed.out
    assert not kinds_of(tmp_path / "strict")


def test_what_was_left_out_is_tried_again_by_the_next_run_and_said_again(
    clinic_of: ClinicOf, export: Callable[..., Outcome], tmp_path: Path
) -> None:
    clinic = clinic_of(replace(WHOLE, mr=PhantomMr(size=(24, 24, 10), registered=False)))
    [uids] = clinic.patients
    first = export(clinic, row_of(uids), "--write")
    assert first.code == 1
    assert kinds_of(tmp_path / "out") == {"CT", "KM"}
    again = export(clinic, row_of(uids), "--write")
    assert again.code == 1
    assert "The MR was left out." in again.out
    assert export(clinic, row_of(uids), "--write", "--kinds", "ct,km").code == 0


def test_a_contrast_ct_that_is_the_planning_ct_is_none(
    clinic_of: ClinicOf, export: Callable[..., Outcome], tmp_path: Path
) -> None:
    clinic = clinic_of(PLAIN)
    [uids] = clinic.patients
    for series in (uids.series_uid, ""):  # also where the row is located by its plan
        row = row_of(uids, KM_Series_UID=uids.series_uid, SeriesUID=series)
        out = tmp_path / f"out {series[:1]}"
        done = export(clinic, row, "--write", "--out", out)
        assert done.code == 0, done.text
        assert kinds_of(out) == {"CT"}
        assert "names the planning CT itself" in report_of(out)
        again = export(clinic, row, "--write", "--out", out)
        assert again.code == 0
        assert "[1/" not in again.out  # done, and not tried again


def test_the_only_registration_that_joins_is_exported_in_place_of_a_wrong_one(
    clinic_of: ClinicOf, export: Callable[..., Outcome], tmp_path: Path
) -> None:
    clinic = clinic_of(WHOLE)
    [uids] = clinic.patients
    done = export(clinic, row_of(uids, MRregUID="1.2.840.98"), "--write")
    assert done.code == 0, done.text
    [case] = read_cases(tmp_path / "out")
    assert Kind.MR in case.placed
    assert len(list((tmp_path / "out").rglob("RE*.dcm"))) == 1
    report = report_of(tmp_path / "out")
    assert "the only registration of the patient that joins them" in report


def test_what_an_earlier_run_exported_and_cannot_be_had_now_stops_the_case(
    clinic_of: ClinicOf, export: Callable[..., Outcome], tmp_path: Path
) -> None:
    """Its folder would still be there, with contours that are no longer the structure's."""
    clinic = clinic_of(replace(WHOLE, contrast=PhantomContrast(slices=12)))
    [uids] = clinic.patients
    assert export(clinic, row_of(uids), "--write", "--kinds", "km").code == 0
    contour_anew(clinic, uids.patient_id, "PTV1", like="PRV Cord")
    done = export(clinic, row_of(uids), "--write", "--accept-doubtful")
    assert done.code == 1
    assert "was exported by an earlier run, and cannot be had" in done.out


def test_prepared_only_is_no_reason_to_overlook_it(
    clinic_of: ClinicOf, export: Callable[..., Outcome]
) -> None:
    clinic = clinic_of(replace(WHOLE, mr=PhantomMr(size=(24, 24, 10), registered=False)))
    done = export(clinic, row_of(clinic.patients[0]), "--write", "--engine", "none")
    assert done.code == 1
    assert "The MR was left out." in done.out


def test_where_nothing_of_the_kinds_is_named_it_says_so(
    clinic_of: ClinicOf, export: Callable[..., Outcome]
) -> None:
    clinic = clinic_of(PLAIN)
    done = export(clinic, row_of(clinic.patients[0]), "--write", "--kinds", "km")
    assert done.code == 1
    assert "there is no contrast CT to export" in done.out
