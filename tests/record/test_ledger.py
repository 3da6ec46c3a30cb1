from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from stardust_esapi.errors import CaseError, UsageError
from stardust_esapi.model import (
    Action,
    Case,
    CaseState,
    Finding,
    Kind,
    StructureOutcome,
    TransferRequest,
)
from stardust_esapi.record.ledger import (
    LEDGER_NAME,
    SCHEMA_VERSION,
    Ledger,
    SeriesState,
    read_cases,
)
from stardust_esapi.verify.manifest import FileEntry, SeriesManifest, manifest_digest

CASE = Case(row=2, patient_id="0042", plan_id="Plan", series_uid="1.2.1", gtv_id="GTV")
OTHER = Case(row=3, patient_id="0043", plan_id="Plan", series_uid="1.3.1", gtv_id="GTV")
CT_REQUEST = TransferRequest(Kind.CT, "0042", "Plan", "1.2", "1.2.1", "1.2.5", "", 3)
MR_REQUEST = TransferRequest(Kind.MR, "0042", "Plan", "1.2", "1.2.3", "", "1.2.7", 2)
OUTCOMES = (
    StructureOutcome(Kind.CT, "GTV_1", Action.RENAMED, "gtv+"),
    StructureOutcome(Kind.CT, "zHelp", Action.SKIPPED, "", "helper structure"),
)
RUN = {"version": "1.0", "esapi": "stub:db", "engine": "esapi", "case_list": "cases.csv"}


def manifest(request: TransferRequest, case: Case = CASE) -> SeriesManifest:
    files = tuple(
        FileEntry(f"{request.kind}.{n}.dcm", f"1.9.{n}", "1.2", request.series_uid, n, "a" * 64)
        for n in range(request.images)
    )
    return SeriesManifest(request, files, case.key)


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger(tmp_path / "out") as opened:
        opened.begin_run(**RUN)
        opened.register([CASE, OTHER])
        yield opened


def reopened(ledger: Ledger) -> Ledger:
    """The same ledger in a later run."""
    ledger.close()
    ledger.__init__(ledger.path.parent)  # type: ignore[misc]
    ledger.begin_run(**RUN)
    return ledger


def place(ledger: Ledger, request: TransferRequest, case: Case = CASE) -> None:
    folder = f"{request.kind.folder}/{request.patient_id}/{request.series_uid}"
    ledger.claim_folder(case, request.kind, [folder])
    ledger.staged(case, request.kind, manifest(request, case))
    ledger.placed(case, request.kind)


def query(ledger: Ledger, statement: str) -> list[tuple]:
    with sqlite3.connect(ledger.path) as db:
        rows = db.execute(statement).fetchall()
    db.close()
    return rows


def events(ledger: Ledger, case: Case = CASE) -> list[str]:
    rows = query(
        ledger,
        f"SELECT kind || ' ' || state FROM events WHERE case_key = '{case.key}' ORDER BY event",
    )
    return [row[0].strip() for row in rows]


def test_a_case_goes_its_way_and_every_step_is_an_event(ledger: Ledger) -> None:
    assert ledger.state(CASE) is CaseState.PENDING
    ledger.prepared(CASE, [CT_REQUEST, MR_REQUEST], OUTCOMES, ["MR_Slices says 3."])
    assert ledger.state(CASE) is CaseState.PREPARED
    assert ledger.series() == []
    place(ledger, CT_REQUEST)
    assert [entry.exported for entry in ledger.series()] == [False]
    place(ledger, MR_REQUEST)
    ledger.exported(CASE)
    again = reopened(ledger)
    assert again.state(CASE) is CaseState.EXPORTED
    assert again.requests(CASE) == (CT_REQUEST, MR_REQUEST)
    assert again.result(CASE).outcomes == OUTCOMES
    assert again.result(CASE).notes == ("MR_Slices says 3.",)
    assert again.folders(CASE) == {
        Kind.CT: "CT_Export/0042/1.2.1",
        Kind.MR: "MR_Export/0042/1.2.3",
    }
    assert [(e.folder, e.kind, e.exported, e.manifest_sha256) for e in again.series()] == [
        ("CT_Export/0042/1.2.1", Kind.CT, True, manifest_digest(manifest(CT_REQUEST))),
        ("MR_Export/0042/1.2.3", Kind.MR, True, manifest_digest(manifest(MR_REQUEST))),
    ]
    assert events(again) == [
        "pending",
        "prepared",
        *("CT claimed", "CT staged", "CT placed"),
        *("MR claimed", "MR staged", "MR placed"),
        "exported",
    ]
    assert query(again, "SELECT file, state FROM file_states WHERE kind = 'MR'") == [
        ("MR_Export/0042/1.2.3/MR.0.dcm", "placed"),
        ("MR_Export/0042/1.2.3/MR.1.dcm", "placed"),
    ]
    times = query(again, "SELECT DISTINCT run, length(time) FROM events")
    assert times == [(1, len("2025-01-01T00:00:00.000+00:00"))]


def test_runs_are_numbered_and_a_killed_one_shows(ledger: Ledger) -> None:
    ledger.end_run("all exported")
    reopened(ledger)
    again = reopened(ledger)
    rows = query(again, "SELECT run, outcome, ended <> '', case_list FROM runs")
    assert rows == [
        (1, "all exported", 1, "cases.csv"),
        (2, "interrupted", 0, "cases.csv"),
        (3, "", 0, "cases.csv"),
    ]


def test_a_change_outside_a_run_is_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path) as fresh, pytest.raises(sqlite3.IntegrityError):
        fresh.register([CASE])


def test_registering_again_keeps_states_and_follows_the_list(ledger: Ledger) -> None:
    ledger.prepared(CASE, [CT_REQUEST])
    ledger.failed(OTHER, "no GTV")
    again = reopened(ledger)
    new = Case(row=2, patient_id="0044", plan_id="P")
    again.register([replace(OTHER, row=9), replace(CASE, row=7), new, replace(CASE, row=8)])
    assert [again.state(c) for c in (CASE, OTHER, new)] == [
        CaseState.PREPARED,
        CaseState.FAILED,
        CaseState.PENDING,
    ]
    assert query(again, "SELECT row FROM cases ORDER BY row") == [(2,), (7,), (9,)]


def test_a_large_list_is_registered_quickly(tmp_path: Path) -> None:
    cases = [Case(row=n, patient_id=f"{n:06}", plan_id="P") for n in range(2, 20_002)]
    with Ledger(tmp_path) as fresh:
        fresh.begin_run(**RUN)
        fresh.register(cases)
        fresh.register(cases)
        assert query(fresh, "SELECT state, count(*) FROM cases GROUP BY state") == [
            ("pending", 20_000)
        ]


def test_a_failed_case_says_why_and_is_tried_again(ledger: Ledger) -> None:
    ledger.failed(CASE, "structure GTV is empty", OUTCOMES[1:])
    again = reopened(ledger)
    assert (again.state(CASE), again.result(CASE).reason) == (
        CaseState.FAILED,
        "structure GTV is empty",
    )
    assert again.result(CASE).outcomes == OUTCOMES[1:]
    again.prepared(CASE, [CT_REQUEST], OUTCOMES)
    assert (again.state(CASE), again.result(CASE).reason) == (CaseState.PREPARED, "")
    assert again.result(CASE).outcomes == OUTCOMES


def test_a_case_that_was_never_registered_is_a_fault(ledger: Ledger) -> None:
    with pytest.raises(LookupError, match="row 9, patient X, plan P is not registered"):
        ledger.state(Case(row=9, patient_id="X", plan_id="P"))


def test_the_ready_list_is_in_list_order_without_failed_cases(ledger: Ledger) -> None:
    third = Case(row=4, patient_id="0044", plan_id="P")
    ledger.register([CASE, OTHER, third])
    other = replace(CT_REQUEST, patient_id="0043", series_uid="1.3.1")
    ledger.prepared(third, [replace(CT_REQUEST, patient_id="0044")])
    ledger.failed(third, "transfer broke off")
    ledger.prepared(OTHER, [other])
    ledger.prepared(CASE, [MR_REQUEST, CT_REQUEST])
    assert ledger.ready() == [CT_REQUEST, MR_REQUEST, other]
    ledger.register([replace(CASE, row=20)])
    assert ledger.ready() == [other, CT_REQUEST, MR_REQUEST]


# --- folders --------------------------------------------------------------------------------


def test_a_folder_belongs_to_one_series_for_good(ledger: Ledger) -> None:
    same = replace(CASE, gtv_id="GTV2")
    ledger.register([same])
    assert ledger.claim_folder(CASE, Kind.CT, ["CT_Export/p/1", "CT_Export/p/1_2"]) == (
        "CT_Export/p/1"
    )
    assert ledger.claim_folder(same, Kind.CT, ["CT_Export/P/1", "CT_Export/p/1_2"]) == (
        "CT_Export/p/1_2"
    )
    again = reopened(ledger)
    assert again.claim_folder(CASE, Kind.CT, ["CT_Export/other/1"]) == "CT_Export/p/1"
    assert again.folders(CASE) == {}
    assert again.series_of(CASE)[Kind.CT].state is SeriesState.CLAIMED


def test_patients_whose_ids_differ_in_case_do_not_share_a_folder(ledger: Ledger) -> None:
    upper, lower = replace(CASE, patient_id="ABC"), replace(OTHER, patient_id="abc")
    ledger.register([upper, lower])
    ledger.claim_folder(upper, Kind.CT, ["CT_Export/ABC/1"])
    assert ledger.claim_folder(lower, Kind.CT, ["CT_Export/abc/2", "CT_Export/abc~2/2"]) == (
        "CT_Export/abc~2/2"
    )
    assert ledger.claim_folder(upper, Kind.KM, ["KM_Export/ABC/3"]) == "KM_Export/ABC/3"
    assert ledger.claim_folder(lower, Kind.MR, ["MR_Export/abc/4"]) == "MR_Export/abc/4"


def test_no_folder_left_is_an_error_of_the_case(ledger: Ledger) -> None:
    ledger.claim_folder(CASE, Kind.CT, ["CT_Export/P/1"])
    with pytest.raises(CaseError, match=r"row 3, patient 0043.*hold every folder"):
        ledger.claim_folder(OTHER, Kind.CT, ["CT_Export/P/1", "CT_Export/p/2"])


def test_a_failed_case_gives_back_folders_it_has_not_used(ledger: Ledger) -> None:
    ledger.prepared(CASE, [CT_REQUEST, MR_REQUEST])
    place(ledger, CT_REQUEST)
    ledger.claim_folder(CASE, Kind.MR, ["MR_Export/P/1"])
    ledger.failed(CASE, "MR did not arrive")
    assert list(ledger.series_of(CASE)) == [Kind.CT]
    assert events(ledger)[-2:] == ["MR released", "failed"]
    assert ledger.claim_folder(OTHER, Kind.MR, ["MR_Export/P/1"]) == "MR_Export/P/1"
    assert [(e.kind, e.exported) for e in ledger.series()] == [(Kind.CT, False)]


# --- what must not happen -------------------------------------------------------------------


def test_a_case_is_not_exported_before_all_its_series_are_in_place(ledger: Ledger) -> None:
    ledger.prepared(CASE, [CT_REQUEST, MR_REQUEST])
    place(ledger, CT_REQUEST)
    ledger.claim_folder(CASE, Kind.MR, ["MR_Export/0042/1.2.3"])
    ledger.staged(CASE, Kind.MR, manifest(MR_REQUEST))
    with pytest.raises(CaseError, match="not in place: MR"):
        ledger.exported(CASE)
    assert ledger.state(CASE) is CaseState.PREPARED
    ledger.placed(CASE, Kind.MR)
    ledger.exported(CASE)


def test_a_case_without_series_or_failed_is_not_exported(ledger: Ledger) -> None:
    with pytest.raises(CaseError, match="cannot count as exported"):
        ledger.exported(CASE)
    ledger.prepared(CASE, [CT_REQUEST])
    place(ledger, CT_REQUEST)
    ledger.failed(CASE, "x")
    with pytest.raises(CaseError, match="cannot count as exported"):
        ledger.exported(CASE)


@pytest.mark.parametrize(
    "change",
    [
        {"request": replace(CT_REQUEST, patient_id="0043")},
        {"request": replace(CT_REQUEST, series_uid="1.3.1")},
        {"request": replace(CT_REQUEST, structure_set_uid="1.2.6")},
        {"request": replace(CT_REQUEST, images=4)},
        {"case_key": OTHER.key},
        {"request": replace(CT_REQUEST, kind=Kind.KM)},
    ],
)
def test_files_of_another_series_are_not_staged(ledger: Ledger, change) -> None:
    ledger.prepared(CASE, [CT_REQUEST])
    ledger.claim_folder(CASE, Kind.CT, ["CT_Export/0042/1.2.1"])
    with pytest.raises(CaseError, match="another series or case"):
        ledger.staged(CASE, Kind.CT, replace(manifest(CT_REQUEST), **change))
    assert query(ledger, "SELECT * FROM files") == []


def test_steps_cannot_be_left_out_or_go_back(ledger: Ledger) -> None:
    ledger.prepared(CASE, [CT_REQUEST])
    with pytest.raises(CaseError, match="has no folder"):
        ledger.staged(CASE, Kind.CT, manifest(CT_REQUEST))
    ledger.claim_folder(CASE, Kind.CT, ["CT_Export/0042/1.2.1"])
    with pytest.raises(CaseError, match="not verified"):
        ledger.placed(CASE, Kind.CT)
    ledger.staged(CASE, Kind.CT, manifest(CT_REQUEST))
    ledger.placed(CASE, Kind.CT)
    ledger.placed(CASE, Kind.CT)
    assert events(ledger).count("CT placed") == 1
    with pytest.raises(CaseError, match="is in it already"):
        ledger.staged(CASE, Kind.CT, manifest(CT_REQUEST))


# --- preparing again ------------------------------------------------------------------------


def test_a_staged_series_stays_staged_for_the_same_request_only(ledger: Ledger) -> None:
    ledger.prepared(CASE, [CT_REQUEST])
    ledger.claim_folder(CASE, Kind.CT, ["CT_Export/0042/1.2.1"])
    ledger.staged(CASE, Kind.CT, manifest(CT_REQUEST))
    ledger.failed(CASE, "x")
    ledger.prepared(CASE, [CT_REQUEST])
    assert ledger.series_of(CASE)[Kind.CT].state is SeriesState.STAGED
    ledger.prepared(CASE, [replace(CT_REQUEST, structure_set_uid="1.2.6")])
    series = ledger.series_of(CASE)[Kind.CT]
    assert (series.state, series.manifest_sha256) == (SeriesState.CLAIMED, "")
    assert query(ledger, "SELECT * FROM files") == []


def test_a_placed_series_is_not_passed_off_as_another(ledger: Ledger) -> None:
    ledger.prepared(CASE, [CT_REQUEST, MR_REQUEST])
    place(ledger, CT_REQUEST)
    ledger.prepared(CASE, [CT_REQUEST])
    changed = replace(CT_REQUEST, structure_set_uid="1.2.6")
    with pytest.raises(CaseError, match=r"CT_Export/0042/1\.2\.1 was exported for other UIDs"):
        ledger.prepared(CASE, [changed])
    assert ledger.requests(CASE) == (CT_REQUEST,)
    # A run for other kinds leaves it, and still remembers what it was exported for.
    ledger.prepared(CASE, [MR_REQUEST])
    assert ledger.requests(CASE) == (CT_REQUEST, MR_REQUEST)
    with pytest.raises(CaseError, match="was exported for other UIDs"):
        ledger.prepared(CASE, [changed, MR_REQUEST])


def test_a_withdrawn_series_can_be_exported_anew(ledger: Ledger) -> None:
    ledger.prepared(CASE, [CT_REQUEST])
    place(ledger, CT_REQUEST)
    ledger.exported(CASE)
    ledger.withdrawn(CASE, Kind.CT)
    assert (ledger.state(CASE), ledger.series()) == (CaseState.PENDING, [])
    changed = replace(CT_REQUEST, structure_set_uid="1.2.6")
    ledger.prepared(CASE, [changed])
    place(ledger, changed)
    ledger.exported(CASE)
    assert ledger.folders(CASE) == {Kind.CT: "CT_Export/0042/1.2.1"}


def test_what_the_sender_said_is_kept(ledger: Ledger) -> None:
    ledger.prepared(CASE, [CT_REQUEST])
    ledger.claim_folder(CASE, Kind.CT, ["CT_Export/0042/1.2.1"])
    ledger.staged(CASE, Kind.CT, manifest(CT_REQUEST), "C-MOVE: B000, 1 failed.", clean=False)
    assert ledger.result(CASE).sender_report == {}
    ledger.placed(CASE, Kind.CT)
    ledger = reopened(ledger)
    assert ledger.result(CASE).sender_report == {Kind.CT: "C-MOVE: B000, 1 failed."}
    assert not ledger.series_of(CASE)[Kind.CT].clean
    assert ("transferred", "C-MOVE: B000, 1 failed.") in query(
        ledger, "SELECT state, detail FROM events"
    )


# --- the file -------------------------------------------------------------------------------


def test_the_file_is_set_up_for_network_shares(ledger: Ledger) -> None:
    assert ledger._db.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
    assert ledger._db.execute("PRAGMA synchronous").fetchone()[0] == 3
    assert [p.name for p in ledger.path.parent.iterdir()] == [LEDGER_NAME]


@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_a_ledger_of_another_version_is_refused_and_left_alone(
    ledger: Ledger, version: int
) -> None:
    ledger.close()
    with sqlite3.connect(ledger.path) as db:
        db.execute(f"PRAGMA user_version = {version}")
    db.close()
    before = ledger.path.read_bytes()
    with pytest.raises(UsageError, match=rf"another version.*format {version}.*choose another"):
        Ledger(ledger.path.parent)
    with pytest.raises(UsageError, match=f"its format is {version}"):
        read_cases(ledger.path.parent)
    assert ledger.path.read_bytes() == before


def test_labels_follow_the_list(ledger: Ledger) -> None:
    ledger.register([replace(CASE, label="Glioblastom", label2="Kopf", case_kind="primary"), OTHER])
    assert query(ledger, "SELECT label, label2, case_kind FROM cases ORDER BY label DESC") == [
        ("Glioblastom", "Kopf", "primary"),
        ("", "", ""),
    ]
    ledger.register([replace(CASE, label="Metastase", label2="Hals")])  # corrected in the list
    assert query(ledger, "SELECT max(label), max(label2) FROM cases") == [("Metastase", "Hals")]


def test_a_case_of_which_a_kind_was_left_out_is_exported_in_part(ledger: Ledger) -> None:
    doubt = Finding("volumes", "It is not what the case list says: …")
    ledger.prepared(
        CASE, [CT_REQUEST], warnings=["The MR was left out."], left_out=[Kind.MR], doubts=[doubt]
    )
    place(ledger, CT_REQUEST)
    assert ledger.exported(CASE, warnings=["The MR was left out.", "Twice."]) is CaseState.PARTIAL
    again = reopened(ledger)
    assert again.state(CASE) is CaseState.PARTIAL
    assert again.result(CASE).left_out == (Kind.MR,)
    assert again.result(CASE).warnings == ("The MR was left out.", "Twice.")
    assert again.result(CASE).doubts == (doubt,)
    assert again.ready() == [CT_REQUEST]
    assert [entry.exported for entry in again.series()] == [True]
    record = next(r for r in read_cases(again.path.parent) if r.key == CASE.key)
    assert (record.state, record.doubts) == (CaseState.PARTIAL, (doubt,))

    again.prepared(CASE, [CT_REQUEST, MR_REQUEST])  # found after all
    place(again, MR_REQUEST)
    assert again.exported(CASE) is CaseState.EXPORTED
    assert again.result(CASE).warnings == ()


def test_a_doubtful_case_is_recorded_as_such(ledger: Ledger) -> None:
    ledger.failed(CASE, "the GTV is larger than the target", state=CaseState.DOUBTFUL)
    assert reopened(ledger).state(CASE) is CaseState.DOUBTFUL


def test_a_case_whose_patient_has_another_id_than_its_row_says(ledger: Ledger) -> None:
    listed = Case(row=5, patient_id="44", plan_id="P", id_is_number=True)
    true = replace(listed, patient_id="0044", id_is_number=False)
    ledger.register([listed])
    ledger.failed(listed, "no such patient")
    ledger.identified(listed, true)
    again = reopened(ledger)
    assert again.patient_ids() == {listed.key: "0044"}
    assert again.state(true) is CaseState.PENDING
    with pytest.raises(LookupError):
        again.state(listed)
    assert events(again, true) == ["pending", "failed", "pending", "identified"]
    again.failed(true, "no GTV")
    again.register([listed])  # the same row, in a run that does not know yet
    again.identified(listed, true)
    assert again.state(true) is CaseState.FAILED
    assert again.patient_ids() == {listed.key: "0044"}


def test_another_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / LEDGER_NAME) as db:
        db.execute("CREATE TABLE x (y)")
    db.close()
    with pytest.raises(UsageError, match="is no ledger"):
        Ledger(tmp_path)


def test_a_damaged_ledger_is_refused(ledger: Ledger) -> None:
    ledger.register([Case(row=n, patient_id=f"{n:06}", plan_id="P") for n in range(2, 2000)])
    ledger.close()
    whole = ledger.path.read_bytes()
    for damaged in (b"x" * 5000, whole[: len(whole) // 2], whole[:5000] + b"\xff" * len(whole)):
        ledger.path.write_bytes(damaged)
        with pytest.raises(UsageError, match=r"ledger\.sqlite cannot be used.*backup"):
            Ledger(ledger.path.parent)


def test_another_threads_connection_does_not_check_the_file_again(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    """A check reads the whole file: once a run, not once a case."""
    statements: list[str] = []

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        db = sqlite3.Connection(*args, **kwargs)
        db.set_trace_callback(statements.append)
        return db

    mocker.patch("stardust_esapi.record.ledger.sqlite3.connect", connect)
    with Ledger(tmp_path) as ledger:
        ledger.begin_run(**RUN)
        assert [s for s in statements if "quick_check" in s]
        statements.clear()
        with ledger.sibling() as other:
            other.register([CASE])
        assert statements
        assert not [s for s in statements if "quick_check" in s]


def test_damage_that_shows_later_is_wrong_use_too(ledger: Ledger) -> None:
    ledger._db.execute("DROP TABLE outcomes")
    with pytest.raises(UsageError, match="cannot be used: no such table"):
        ledger.result(CASE)


def test_a_folder_that_cannot_be_made_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be created"):
        Ledger(tmp_path / "file" / "out")


def test_a_ledger_in_use_says_so(ledger: Ledger, mocker) -> None:
    mocker.patch("stardust_esapi.record.ledger._LOCK_SECONDS", 0.05)
    ledger._db.execute("BEGIN IMMEDIATE")
    with pytest.raises(UsageError, match=r"database is locked.*wait for its end"):
        Ledger(ledger.path.parent)
    ledger._db.execute("ROLLBACK")


# --- killed ---------------------------------------------------------------------------------

# Children fork from one interpreter. One half die right before the n-th SQL statement, the other
# half are killed from outside at a random time.
_HARNESS = """
import os, pathlib, random, signal, sys, time
sys.path.insert(0, sys.argv[2])
from test_ledger import CASE, CT_REQUEST, MR_REQUEST, OTHER, OUTCOMES, RUN, Ledger, place, replace
from stardust_esapi.model import CaseState

def work(root, die_at):
    with Ledger(root) as ledger:
        left = [die_at]
        def count(statement):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        ledger._db.set_trace_callback(count)
        ledger.begin_run(**RUN)
        ledger.register([CASE, OTHER])
        for case in (CASE, OTHER):
            if ledger.state(case) is CaseState.EXPORTED:
                continue
            requests = [replace(r, patient_id=case.patient_id) for r in (CT_REQUEST, MR_REQUEST)]
            ledger.prepared(case, requests, OUTCOMES, ["note"])
            for request in requests:
                if request.kind not in ledger.folders(case):
                    place(ledger, request, case)
            ledger.exported(case)
        ledger.end_run("done")

def child(root, die_at=0):
    pid = os.fork()
    if pid == 0:
        work(root, die_at)
        os._exit(0)
    return pid

base = pathlib.Path(sys.argv[1])
point, status = 0, 9
while status:
    point += 4
    _, status = os.waitpid(child(base / f"at{point}", point), 0)
random.seed(1)
for number in range(12):
    pid = child(base / f"after{number}")
    time.sleep(random.uniform(0, 0.06))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
for root in list(base.iterdir()):
    kept = root.with_name(root.name + ".resumed")
    kept.mkdir()
    for path in root.iterdir():
        (kept / path.name).write_bytes(path.read_bytes())
    assert os.waitpid(child(kept), 0)[1] == 0
"""


# A staged series that a kill left behind is thrown away and staged anew.
LEGAL_STEPS = {("claimed", "staged"), ("staged", "placed"), ("staged", "claimed")}


def assert_consistent(root: Path) -> CaseState:
    """Check what must hold whenever a ledger is opened; return the first case's state."""
    with Ledger(root) as ledger:
        for key, state in query(ledger, "SELECT case_key, state FROM cases"):
            last = f"FROM events WHERE case_key = '{key}' AND kind = '' ORDER BY event DESC LIMIT 1"
            assert query(ledger, f"SELECT state {last}") == [(state,)]
        for key, kind, state, digest in query(
            ledger, "SELECT case_key, kind, state, manifest_sha256 FROM series"
        ):
            of = f"WHERE case_key = '{key}' AND kind = '{kind}'"
            steps = query(ledger, f"SELECT state FROM events {of} ORDER BY event")
            steps = [step for (step,) in steps]
            assert steps[0] == "claimed"
            assert set(pairwise(steps)) <= LEGAL_STEPS
            assert steps[-1] == state
            files = query(ledger, f"SELECT count(*) FROM files {of}")[0][0]
            asked = query(ledger, f"SELECT images FROM requests {of}")[0][0]
            assert files == (0 if state == "claimed" else asked)
            assert bool(digest) == (state != "claimed")
        if not query(ledger, "SELECT 1 FROM cases"):
            return CaseState.PENDING
        for case in (CASE, OTHER):
            if ledger.state(case) is CaseState.EXPORTED:
                assert list(ledger.folders(case)) == [Kind.CT, Kind.MR]
            if ledger.state(case) is not CaseState.PENDING:
                assert ledger.result(case).outcomes == OUTCOMES
                assert ledger.result(case).notes == ("note",)
                assert len(ledger.requests(case)) == 2
        return ledger.state(CASE)


@pytest.mark.skipif(os.name == "nt", reason="kills by signal")
def test_killed_anywhere_it_is_consistent_and_the_next_run_completes_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _HARNESS, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    roots = sorted(tmp_path.iterdir())
    killed = [root for root in roots if re.fullmatch(r"(at|after)\d+", root.name)]
    assert len(killed) > 30
    states = {assert_consistent(root) for root in killed}
    assert states == {CaseState.PENDING, CaseState.PREPARED, CaseState.EXPORTED}
    for root in killed:
        resumed = root.with_name(f"{root.name}.resumed")
        assert assert_consistent(resumed) is CaseState.EXPORTED
        with Ledger(resumed) as ledger:
            assert query(ledger, "SELECT count(*) FROM cases WHERE state = 'exported'") == [(2,)]
            assert len(ledger.series()) == 4


def test_what_is_odd_about_a_series_is_kept_for_every_case_of_it(ledger: Ledger) -> None:
    sharing = replace(CASE, row=7, gtv_id="GTV2")
    ledger.register([sharing])
    for case in (CASE, sharing):
        ledger.prepared(case, [CT_REQUEST])
        ledger.claim_folder(case, Kind.CT, ["CT_Export/0042/1.2.1"])
    ledger.staged(CASE, Kind.CT, manifest(CT_REQUEST), remarks=["Über einen Spalt."])
    ledger.placed(CASE, Kind.CT)
    assert ledger.adopted(sharing, Kind.CT)
    ledger = reopened(ledger)
    for case in (CASE, sharing):
        assert ledger.series_of(case)[Kind.CT].remarks == ("Über einen Spalt.",)
