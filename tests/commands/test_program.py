"""What a user gets from the console program, end to end on phantoms."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from esapi_stub.database import configure, describe
from esapi_stub.sample import (
    Box,
    Empty,
    Phantom,
    PhantomContrast,
    PhantomMr,
    PhantomStructure,
    Sphere,
    default_structures,
)
from stardust_esapi.record.ready_list import read_ready_list
from stardust_esapi.verify.check import verify_tree
from support import PATIENCE, Clinic, Outcome, ending, report_of, row_of, spawn, write_case_list

Run = Callable[..., Outcome]
ClinicOf = Callable[..., Clinic]

SMALL = Phantom("0815", size=(32, 32, 14))
WHOLE = replace(
    SMALL, patient_id="4711 KM", contrast=PhantomContrast(), mr=PhantomMr(size=(24, 24, 10))
)
SECRET_NAMES = ("Geheim", "Gerda", "Phantom^Wasser", "Wasser")


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its size and time of change."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def exported_files(out: Path) -> list[str]:
    return sorted(
        path.relative_to(out).as_posix()
        for kind in ("CT", "KM", "MR")
        for path in (out / f"{kind}_Export").rglob("*.dcm")
    )


@pytest.fixture
def cases(tmp_path: Path) -> Callable[..., Path]:
    return lambda *rows: write_case_list(tmp_path / "cases.csv", rows)


def test_without_write_nothing_is_changed_and_all_is_said(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(WHOLE)
    before = snapshot(clinic.db)
    out = tmp_path / "out"
    done = run(
        "export", "--cases", cases(row_of(clinic.patients[0])), "--out", out,
        "--esapi", clinic.esapi,
    )  # fmt: skip
    assert done.code == 0, done.text
    assert "1 of 1 case ready to export" in done.out
    assert "nothing was changed, nothing exported" in done.out
    assert snapshot(clinic.db) == before
    assert not exported_files(out)
    assert not (out / "ledger.sqlite").exists()
    plan = report_of(out, "plan.html")
    assert "Would create structure set zCopyFromPlan with 3 structures" in plan
    assert "zCopyFromPlan_KM" in plan
    # Only the MR needs nothing written: its row is ready as it is.
    assert [r.kind.value for r in read_ready_list(out / "export_list.csv")] == ["MR"]


def test_the_whole_job(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(WHOLE, SMALL)
    whole, small = clinic.patients
    listed = cases(row_of(whole), row_of(small))
    out = tmp_path / "out"
    arguments = ("export", "--cases", listed, "--out", out, "--esapi", clinic.esapi, "--write")
    done = run(*arguments)
    assert done.code == 0, done.text
    assert "All 2 cases exported" in done.out

    for kind, series, images in (
        ("CT", whole.series_uid, 14),
        ("KM", whole.km_series_uid, 18),
        ("MR", whole.mr_series_uid, 10),
    ):
        folder = out / f"{kind}_Export" / whole.patient_id / series
        prefix = "MR" if kind == "MR" else "CT"
        assert len(list(folder.glob(f"{prefix}*.dcm"))) == images
        assert len(list(folder.glob("RS*.dcm"))) == 1  # that of the MR is derived
        assert len(list(folder.glob("RE*.dcm"))) == (kind == "MR")

    ready = read_ready_list(out / "export_list.csv")
    assert [(r.patient_id, r.kind.value, r.images) for r in ready] == [
        ("4711 KM", "CT", 14),
        ("4711 KM", "KM", 18),
        ("4711 KM", "MR", 10),
        ("0815", "CT", 14),
    ]
    sets = {s["uid"]: s["id"] for p in describe(clinic.db)["patients"] for s in p["structure_sets"]}
    assert [sets.get(r.structure_set_uid) for r in ready] == [
        "zCopyFromPlan", "zCopyFromPlan_KM", None, "zCopyFromPlan",
    ]  # fmt: skip
    assert ready[2].registration_uid == whole.registration_uid

    with (out / "Output_Log.csv").open(encoding="utf-8", newline="") as file:
        log = list(csv.reader(file, delimiter=";"))
    assert log == [
        ["Patient-ID", "SeriesUID", "StructureSetID", "Status"],
        ["4711 KM", whole.series_uid, "CT_1", "exported"],
        ["0815", small.series_uid, "CT_1", "exported"],
    ]
    assert run("verify", out).code == 0
    report = report_of(out)
    assert len(set(re.findall(r'src="(\w+-\w+\.png)"', report))) == 4
    assert len(list((out / "report").glob("*.png"))) == 4

    before = {name: stat for name, stat in snapshot(out).items() if "_Export/" in name}
    database = snapshot(clinic.db)
    again = run(*arguments)
    assert again.code == 0
    assert {n: s for n, s in snapshot(out).items() if "_Export/" in n} == before
    assert snapshot(clinic.db) == database


def test_no_name_of_a_patient_is_left_anywhere_but_in_the_dicom(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(WHOLE)
    out = tmp_path / "out"
    done = run(
        "--verbose", "export", "--cases", cases(row_of(clinic.patients[0], GTV="no such")),
        "--out", out, "--esapi", clinic.esapi, "--write",
    )  # fmt: skip
    assert done.code == 1
    run("export", "--cases", cases(row_of(clinic.patients[0])), "--out", out,
        "--esapi", clinic.esapi, "--write")  # fmt: skip
    texts = [done.text, *map(str, out.rglob("*"))]
    texts += [
        path.read_bytes().decode("latin-1")
        for path in out.rglob("*")
        if path.is_file() and path.suffix != ".dcm"
    ]
    for name in SECRET_NAMES:
        assert not [text for text in texts if name in text]
    assert any(b"Wasser" in path.read_bytes() for path in out.rglob("*.dcm"))


def test_bad_cases_do_not_stop_the_good_ones(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    no_gtv = tuple(replace(s, shape=Empty()) if s.id == "GTV1" else s for s in default_structures())
    clinic = clinic_of(
        replace(SMALL, patient_id="EMPTY", structures=no_gtv),
        replace(SMALL, patient_id="FOR", contrast=PhantomContrast(own_frame_of_reference=True)),
        SMALL,
    )
    empty, foreign, good = clinic.patients
    out = tmp_path / "out"
    listed = cases(
        row_of(good, **{"Patient-ID": "nobody"}),
        row_of(empty),
        row_of(foreign),
        row_of(good, PlanID="Plan9"),
        row_of(good, SeriesUID="1.2.3"),
        row_of(good, GTV="zHelp", TargetID="PRV Cord"),
        row_of(good, Comment="Abgelehnt, zu alt"),
        row_of(good),
    )
    done = run("export", "--cases", listed, "--out", out, "--esapi", clinic.esapi, "--write")
    assert done.code == 1
    for words in (
        "row 2, patient nobody, plan Plan1: Eclipse knows no patient nobody",
        "row 3, patient EMPTY, plan Plan1: structure GTV1, which GTV names as GTV, is empty",
        "partial row 4, patient FOR, plan Plan1: The contrast CT was left out. Contrast CT",
        "has another frame of reference",
        "row 5, patient 0815, plan Plan9: the patient has no such plan",
        "row 6, patient 0815, plan Plan1: its plan lies on series",
        "1 rejected row left out: 8",
    ):
        assert words in done.out, done.out
    assert "Traceback" not in done.text
    assert {name.split("/")[1] for name in exported_files(out)} == {"0815", "FOR"}
    stopped = run(
        "export", "--cases", listed, "--out", tmp_path / "fast", "--esapi", clinic.esapi,
        "--write", "--fail-fast",
    )  # fmt: skip
    assert stopped.code == 1
    assert not exported_files(tmp_path / "fast")
    assert "not reached" in stopped.out


def test_a_script_that_may_not_write_changes_nothing(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(SMALL)
    for refusal in (
        {"script_approved": False},
        {"script_approved": True, "script_writable": False},
        {"script_writable": True, "user_can_edit": False},
    ):
        configure(clinic.db, **refusal)
        before = snapshot(clinic.db)
        out = tmp_path / "out"
        done = run(
            "export", "--cases", cases(row_of(clinic.patients[0])), "--out", out,
            "--esapi", clinic.esapi, "--write",
        )  # fmt: skip
        assert done.code == 3, done.text
        assert "Script Approval" in done.err
        assert snapshot(clinic.db) == before
        assert not exported_files(out)


def test_a_locked_patient_is_one_failed_case(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(SMALL, replace(SMALL, patient_id="LOCKED"))
    configure(clinic.db, locked_patients=["LOCKED"])
    good, locked = clinic.patients
    done = run(
        "export", "--cases", cases(row_of(locked), row_of(good)), "--out", tmp_path / "out",
        "--esapi", clinic.esapi, "--write",
    )  # fmt: skip
    assert done.code == 1
    assert "row 2, patient LOCKED, plan Plan1: Eclipse refused" in done.out
    assert "1 of 2 cases exported; 1 failed" in done.out


def test_an_existing_set_that_holds_something_else(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(SMALL)
    [uids] = clinic.patients
    common = ("--esapi", clinic.esapi, "--write")
    first = run("export", "--cases", cases(row_of(uids)), "--out", tmp_path / "1", *common)
    assert first.code == 0
    swapped = row_of(uids, GTV="PTV1", TargetID="GTV1")
    common = (*common, "--accept-doubtful")  # a GTV that is larger than its target
    stop = run("export", "--cases", cases(swapped), "--out", tmp_path / "2", *common)
    assert stop.code == 1
    assert "does not hold what would be created now" in stop.out
    assert "--on-existing new" in stop.out
    assert "gtv+" in stop.out
    new = run(
        "export", "--cases", cases(swapped), "--out", tmp_path / "2", *common,
        "--on-existing", "new",
    )  # fmt: skip
    assert new.code == 0, new.text
    [patient] = describe(clinic.db)["patients"]
    ids = [s["id"] for s in patient["structure_sets"]]
    assert sorted(ids) == ["CT_1", "zCopyFromPlan", "zCopyFromPlan_2"]
    # What was made by choice is found again without choosing again.
    again = run("export", "--cases", cases(swapped), "--out", tmp_path / "3", *common)
    assert again.code == 0, again.text
    assert len(describe(clinic.db)["patients"][0]["structure_sets"]) == 3


def test_reuse_takes_an_existing_set_as_it_is_and_says_so(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(SMALL)
    [uids] = clinic.patients
    common = ("--esapi", clinic.esapi, "--write")
    run("export", "--cases", cases(row_of(uids)), "--out", tmp_path / "1", *common)
    swapped = row_of(uids, GTV="PTV1", TargetID="GTV1")
    reuse = run(
        "export", "--cases", cases(swapped), "--out", tmp_path / "2", *common,
        "--on-existing", "reuse", "--accept-doubtful",
    )  # fmt: skip
    assert reuse.code == 0, reuse.text
    report = report_of(tmp_path / "2")
    assert "an older one was reused as it is" in report
    assert len(describe(clinic.db)["patients"][0]["structure_sets"]) == 2


def test_two_cases_of_one_series_never_share_a_folder_with_two_structure_sets(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(WHOLE)
    [uids] = clinic.patients
    out = tmp_path / "out"
    listed = cases(row_of(uids), row_of(uids, GTV="PTV1", TargetID="GTV1"))
    done = run(
        "export", "--cases", listed, "--out", out, "--esapi", clinic.esapi, "--write",
        "--on-existing", "new", "--accept-doubtful",
    )  # fmt: skip
    assert done.code == 0, done.text
    assert "Rows 2, 3 are of the same patient" in done.out
    patient = out / "CT_Export" / uids.patient_id
    assert sorted(p.name for p in patient.iterdir()) == [
        uids.series_uid,
        f"{uids.series_uid}~Plan1",
    ]
    for folder in patient.iterdir():
        assert len(list(folder.glob("RS*.dcm"))) == 1
    # So does the MR: what is derived onto it is of the one or of the other.
    of_mr = list((out / "MR_Export" / uids.patient_id).iterdir())
    assert len({path.name for folder in of_mr for path in folder.glob("RS*.dcm")}) == 2
    assert run("verify", out).code == 0


def test_an_mr_gets_structures_where_its_ct_is_exported(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(WHOLE)
    listed = cases(row_of(clinic.patients[0]))

    def derived(out: Path, kinds: str, *flags: str) -> list[str]:
        done = run(
            "export", "--cases", listed, "--out", out, "--esapi", clinic.esapi, "--write",
            "--kinds", kinds, *flags,
        )  # fmt: skip
        assert done.code == 0, done.text
        return [path.name for path in (out / "MR_Export").rglob("RS*.dcm")]

    # The CT may have come by an earlier run.
    one, other = tmp_path / "one", tmp_path / "other"
    derived(one, "ct")
    [name] = derived(one, "mr")
    # An MR that is in its place stays as it is, with structures or without.
    assert derived(one, "ct,km,mr", "--no-mr-structures") == [name]
    said = "The MR has no structure set"
    assert derived(other, "mr", "--no-mr-structures") == []
    assert said not in report_of(other)
    assert derived(other, "ct,mr") == []
    assert said in report_of(other)
    shutil.rmtree(other / "MR_Export")
    assert derived(other, "ct,mr") == [name]  # of the same input the same UID
    assert run("verify", other).code == 0


@pytest.mark.parametrize("hostile", ["../../outside", "CON", "dots.", "x" * 64, "Ü/ö"])
def test_a_hostile_patient_id_stays_inside(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path, hostile: str
) -> None:
    clinic = clinic_of(replace(SMALL, patient_id=hostile))
    out = tmp_path / "deep" / "out"
    done = run(
        "export", "--cases", cases(row_of(clinic.patients[0])), "--out", out,
        "--esapi", clinic.esapi, "--write",
    )  # fmt: skip
    assert done.code == 0, done.text
    assert {p.name for p in (tmp_path / "deep").iterdir()} == {"out"}
    assert len(list((out / "CT_Export").iterdir())) == 1
    assert verify_tree(out).ok


def test_patients_that_differ_in_case_alone_get_folders_of_their_own(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(replace(SMALL, patient_id="abc"), replace(SMALL, patient_id="ABC"))
    out = tmp_path / "out"
    done = run(
        "export", "--cases", cases(*map(row_of, clinic.patients)), "--out", out,
        "--esapi", clinic.esapi, "--write",
    )  # fmt: skip
    assert done.code == 0, done.text
    names = sorted(p.name.casefold() for p in (out / "CT_Export").iterdir())
    assert len(set(names)) == 2


def test_prepare_only_then_transfer_later(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(WHOLE)
    out = tmp_path / "out"
    listed = cases(row_of(clinic.patients[0]))
    common = ("export", "--cases", listed, "--out", out, "--esapi", clinic.esapi, "--write")
    prepared = run(*common, "--engine", "none")
    assert prepared.code == 0
    assert "1 of 1 case prepared for transfer" in prepared.out
    assert not exported_files(out)
    ready = (out / "export_list.csv").read_bytes()
    assert len(ready.splitlines()) == 4
    done = run(*common)
    assert done.code == 0
    assert (out / "export_list.csv").read_bytes() == ready
    assert run("verify", out).code == 0
    assert len(describe(clinic.db)["patients"][0]["structure_sets"]) == 3


def test_kinds_and_limit(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(WHOLE, SMALL)
    listed = cases(*map(row_of, clinic.patients))
    out = tmp_path / "out"
    common = ("export", "--cases", listed, "--out", out, "--esapi", clinic.esapi, "--write")
    first = run(*common, "--limit", "1", "--kinds", "ct")
    assert first.code == 0
    assert "1 of 2 cases exported; 1 not reached" in first.out
    assert not (out / "KM_Export").exists()
    assert run(*common, "--limit", "1", "--kinds", "ct").code == 0
    assert len(list((out / "CT_Export").iterdir())) == 2
    rest = run(*common)
    assert rest.code == 0
    assert (out / "KM_Export" / "4711 KM").is_dir()
    assert (out / "MR_Export" / "4711 KM").is_dir()
    assert run("verify", out).code == 0


def test_a_folder_that_went_missing_is_exported_again_and_a_strange_one_is_not_touched(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(SMALL)
    [uids] = clinic.patients
    out = tmp_path / "out"
    folder = out / "CT_Export" / uids.patient_id / uids.series_uid
    folder.mkdir(parents=True)
    (folder / "CT.stale.dcm").write_bytes(b"of an earlier program")
    common = ("export", "--cases", cases(row_of(uids)), "--out", out, "--esapi", clinic.esapi,
              "--write")  # fmt: skip
    refused = run(*common)
    assert refused.code == 1
    assert "this program did not export it" in refused.out
    assert [p.name for p in folder.iterdir()] == ["CT.stale.dcm"]
    shutil.rmtree(folder)
    assert run(*common).code == 0
    shutil.rmtree(folder)
    assert run(*common).code == 0
    assert run("verify", out).code == 0


def test_check_says_row_by_row_and_leaves_nothing_behind(
    clinic_of: ClinicOf,
    cases: Callable[..., Path],
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clinic = clinic_of(SMALL)
    [uids] = clinic.patients
    listed = cases(row_of(uids), row_of(uids, GTV="absent"))
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    before = snapshot(clinic.db)
    done = run("check", "--cases", listed, "--esapi", clinic.esapi)
    assert done.code == 1
    assert "planned row 2" in done.out
    assert "row 3, patient 0815, plan Plan1: the structure set has no structure absent" in done.out
    assert snapshot(clinic.db) == before
    assert not list(empty.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export", "--out", "o"], "--cases"),
        (["export", "--cases", "absent.csv", "--out", "o", "--esapi", "stub:x"], "absent.csv"),
        (["export", "--cases", "c.csv", "--out", "o", "--esapi", "mosaiq"], "mosaiq"),
        (["export", "--cases", "c.csv", "--out", "o", "--esapi", "stub:nowhere"], "nowhere"),
        (["export", "--cases", "c.csv", "--out", "o", "--esapi", "eclipse"], "no Eclipse"),
        (["export", "--cases", "c.csv", "--out", "c.csv", "--esapi", "stub:x"], "not a folder"),
        (["export", "--cases", "c.csv", "--out", "o", "--kinds", "pet"], "kinds"),
        (["export", "--cases", "c.csv", "--out", "o", "--settings", "no.toml"], "no.toml"),
        (["check", "--cases", "broken.csv", "--esapi", "stub:x"], "broken.csv"),
        (["verify", "nowhere"], "nowhere"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_wrong_use_is_a_sentence_and_exit_code_2(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_case_list(Path("c.csv"), [])
    Path("broken.csv").write_bytes(b"\x00\xff\x00 not a list")
    done = run(*arguments)
    assert done.code == 2, done.text
    assert words in done.err
    assert "Traceback" not in done.text


def test_the_module_runs_and_tells_its_version() -> None:
    process = spawn("--version")
    with ending(process):
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert out.startswith("stardust-esapi ")


def test_the_product_runs_without_the_stub(tmp_path: Path) -> None:
    """A clinical installation has no stub: the program starts and says what is missing."""
    (tmp_path / "esapi_stub.py").write_text("raise ModuleNotFoundError(name='esapi_stub')")
    cases = write_case_list(tmp_path / "c.csv", [])
    done = subprocess.run(
        [sys.executable, "-m", "stardust_esapi", "check", "--cases", cases, "--esapi", "stub:x"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "The stub ESAPI is not installed" in done.stderr


def test_a_clinics_own_words(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    extra = (
        *default_structures(),
        PhantomStructure("Herz Hilfe", "ORGAN", Box((0, 0, 0), (9, 9, 9))),
        PhantomStructure("Leber", "", Sphere((0, 0, 0), 9)),
    )
    clinic = clinic_of(replace(SMALL, structures=extra))
    settings = tmp_path / "own.toml"
    settings.write_text(
        '[structures]\n[[structures.rules]]\nname = "Hilfsstruktur"\nwhen = "ends-with"\n'
        'words = ["hilfe"]\n'
    )
    out = tmp_path / "out"
    done = run(
        "export", "--cases", cases(row_of(clinic.patients[0])), "--out", out,
        "--esapi", clinic.esapi, "--write", "--settings", settings,
    )  # fmt: skip
    assert done.code == 0, done.text
    report = report_of(out)
    assert "Hilfsstruktur: ends-with “hilfe”" in report
    assert "type (none) cannot be added by a script, CONTROL taken" in report
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert [entry["exported"] for entry in manifest["series"]] == [True]


@pytest.fixture
def export_small(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path
) -> Callable[..., Outcome]:
    """Export one case into a folder; to be called again for another run."""
    clinic = clinic_of(SMALL)
    listed = cases(row_of(clinic.patients[0]))

    def export(out: str | Path = "out", *more: object) -> Outcome:
        return run(
            "export", "--cases", listed, "--out", tmp_path / out, "--esapi", clinic.esapi,
            "--write", *more,
        )  # fmt: skip

    return export


def events(log: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def test_verify_checks_the_audit_log_too(
    export_small: Callable[..., Outcome], run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = export_small()
    assert done.code == 0, done.text
    log = out / "audit.jsonl"
    last = events(log)[-1]
    assert last["event"] == "listed"
    assert last["sha256"] == hashlib.sha256((out / "manifest.json").read_bytes()).hexdigest()
    said = f"4 events, the last one {last['hash']}"
    assert said in report_of(out)
    verified = run("verify", out)
    assert verified.code == 0, verified.text
    assert last["hash"] in verified.out
    log.write_text(log.read_text(encoding="utf-8").replace("0815", "0816", 1), encoding="utf-8")
    verified = run("verify", out)
    assert verified.code == 1
    assert "Line 1 was changed" in verified.out
    assert export_small().code == 1
    assert "Line 1 was changed" in report_of(out)


@pytest.mark.parametrize("kept", [0, 2])
def test_a_log_that_was_cut_or_deleted_is_said_and_stops_a_run(
    export_small: Callable[..., Outcome], run: Run, tmp_path: Path, kept: int
) -> None:
    out = tmp_path / "out"
    export_small()
    log = out / "audit.jsonl"
    text = log.read_text(encoding="utf-8").splitlines(keepends=True)
    log.unlink()
    if kept:
        log.write_text("".join(text[:kept]), encoding="utf-8")
    said = f"holds {kept} events, and held 4" if kept else "is missing or empty, and held 4"
    verified = run("verify", out)
    assert verified.code == 1
    assert said in verified.out
    again = export_small()
    assert again.code == 2
    assert said in again.text
    assert "Nothing was opened" in again.text
    # Another log is a way on, and never an unsaid one.
    elsewhere = tmp_path / "elsewhere.jsonl"
    assert export_small("out", "--audit", elsewhere).code == 1
    report = report_of(out)
    assert said in report
    # On Windows in its long form.
    assert re.search(rf"Earlier runs wrote to another audit log: \S*{re.escape(str(log))}", report)
    assert [e["event"] for e in events(elsewhere)] == ["listed"]
    verified = run("verify", out)
    assert verified.code == 1
    assert said in verified.out


def test_no_variable_says_where_the_audit_log_lies(
    export_small: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARDUST_AUDIT", str(tmp_path / "other.jsonl"))
    done = export_small()
    assert done.code == 2
    assert "no variable says where the audit log lies" in done.text
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "other.jsonl").exists()


@pytest.mark.parametrize("way", ["flag", "settings"])
def test_the_audit_log_lies_where_flag_or_settings_say(
    export_small: Callable[..., Outcome], run: Run, tmp_path: Path, way: str
) -> None:
    (tmp_path / "clinic").mkdir()
    log = tmp_path / "clinic" / "writes.jsonl"
    settings = tmp_path / "site.toml"
    settings.write_text(f'audit = "{log.as_posix()}"\n', encoding="utf-8")
    more = ("--audit", log) if way == "flag" else ("--settings", settings)
    done = export_small("out", *more)
    assert done.code == 0, done.text
    assert len(events(log)) == 4
    assert not (tmp_path / "out" / "audit.jsonl").exists()
    # Two folders may share it; each goes on from where the other has ended.
    assert export_small("other", *more).code == 0
    assert export_small("out", *more).code == 0
    assert run("verify", tmp_path / "out").code == 0
    log.unlink()
    verified = run("verify", tmp_path / "out")
    assert verified.code == 1
    assert "writes.jsonl is missing" in verified.out


def test_manifests_that_were_changed_together_disagree_with_the_ledger(
    export_small: Callable[..., Outcome], run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_small()
    path = next(out.glob("CT_Export/*/*/manifest.json"))
    own = json.loads(path.read_bytes())
    image = next(path.parent.glob("CT*.dcm"))
    image.write_bytes(image.read_bytes()[:-1] + b"\x7f")
    [entry] = [f for f in own["manifest"]["files"] if f["name"] == image.name]
    entry["sha256"] = hashlib.sha256(image.read_bytes()).hexdigest()
    text = json.dumps(own, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
    root = json.loads((out / "manifest.json").read_bytes())
    root["series"][0]["manifest_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (out / "manifest.json").write_text(json.dumps(root), encoding="utf-8")
    assert verify_tree(out).ok  # to themselves they are right
    verified = run("verify", out)
    assert verified.code == 1
    assert "the ledger has another digest" in verified.out
    assert "No audit log names its SHA-256" in verified.out
    # Without the ledger the chain still tells.
    (out / "ledger.sqlite").unlink()
    verified = run("verify", out)
    assert verified.code == 1
    assert "there is no ledger beside the manifests" in verified.out
    assert "No audit log names its SHA-256" in verified.out


def test_export_and_training_files_in_one_go(
    clinic_of: ClinicOf, cases: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(WHOLE)
    command = (
        "export", "--cases", cases(row_of(clinic.patients[0])), "--out", tmp_path / "out",
        "--esapi", clinic.esapi, "--dataset", tmp_path / "set",
    )  # fmt: skip
    planned = run(*command)
    assert planned.code == 0
    assert "no training files were created" in planned.out
    assert not (tmp_path / "set").exists()
    done = run(*command, "--write")
    assert done.code == 0, done.text
    assert "2 training cases of 1 patient" in done.out
    assert len(list((tmp_path / "set").rglob("*.npz"))) == 2
    assert (tmp_path / "set" / "dataset.html").is_file()
    assert (tmp_path / "set.key").is_file()
