"""A run that is stopped, and one that is under way, leave books that are up to date."""

from __future__ import annotations

import csv
import json
import random
import re
import shlex
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_peers import free_port
from esapi_stub.build import build
from esapi_stub.sample import Phantom, write_phantom
from killing import EPOCH, World, differences
from stardust_esapi.commands import terminal
from stardust_esapi.job import workspace
from stardust_esapi.model import CaseResult
from stardust_esapi.verify.manifest import read_root_manifest
from stardust_esapi.wording import counted_are
from support import Clinic, Outcome, row_of, write_case_list

CASES = 3
STOPS = 20
TINY = Phantom("P", size=(24, 24, 4), spacing=(5.0, 5.0, 6.0))


@pytest.fixture
def command(clinic_of: Callable[..., Clinic], tmp_path: Path) -> list[object]:
    phantoms = [Phantom(f"P{n}", size=(24, 24, 6), spacing=(5.0, 5.0, 6.0)) for n in range(CASES)]
    clinic = clinic_of(*phantoms)
    cases = write_case_list(tmp_path / "cases.csv", map(row_of, clinic.patients))
    out = tmp_path / "out"
    return ["export", "--cases", cases, "--esapi", f"stub:{clinic.db}", "--write", "--out", out]


def states_of(out: Path) -> list[str]:
    """The state of each case as the report has it."""
    return re.findall(r'data-state="(\w+)"', (out / "report.html").read_text("utf-8"))


def watched(monkeypatch: pytest.MonkeyPatch, look: Callable[[int], None]) -> None:
    """Have a look after each case."""
    done = 0
    own = terminal.PlainWatcher.finish

    def finish(self: terminal.PlainWatcher, result: CaseResult) -> None:
        nonlocal done
        own(self, result)
        done += 1
        look(done)

    monkeypatch.setattr(terminal.PlainWatcher, "finish", finish)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"])
def test_a_stop_leaves_books_of_what_is_done(
    run: Callable[..., Outcome], command: list[object], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if not hasattr(signal, name):
        return  # this system knows none: Ctrl-Break is Windows', SIGHUP is not
    out = Path(str(command[-1]))

    def stop_at_the_second(done: int) -> None:
        if done == 2:
            signal.raise_signal(getattr(signal, name))

    before = signal.getsignal(getattr(signal, name))
    with monkeypatch.context() as patch:
        watched(patch, stop_at_the_second)
        stopped = run(*command)
    assert signal.getsignal(getattr(signal, name)) == before
    assert stopped.code == 130
    assert stopped.err.splitlines() == [
        f"2 of 3 cases exported; 1 not reached. Report: {out / 'report.html'}",
        "Stopped. Nothing is lost: run the same command again to go on.",
    ]
    assert len(read_root_manifest(out)) == 2
    assert len((out / "export_list.csv").read_text("utf-8").splitlines()) == 3
    verified = run("verify", out)
    assert verified.code == 0
    assert "1 case is not exported: row 4. `stardust-esapi status` says more." in verified.out
    assert "All 3 cases exported." in run(*command).out
    assert "not exported" not in run("verify", out).out


def test_a_signal_that_is_ignored_on_purpose_stays_ignored(
    run: Callable[..., Outcome], command: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(monkeypatch, lambda _: signal.raise_signal(signal.SIGTERM))
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert run(*command).code == 0
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_stop_is_a_stop_where_the_report_cannot_be_written_any_more(
    run: Callable[..., Outcome], command: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(str(command[-1]))

    def fill_and_stop(done: int) -> None:
        if done == 2:
            (out / "manifest.json").mkdir()
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        watched(patch, fill_and_stop)
        stopped = run(*command)
    (out / "manifest.json").rmdir()
    assert stopped.code == 130
    books, sentence = stopped.err.splitlines()
    assert books.startswith("The report could not be brought up to date: ")
    assert sentence == "Stopped. Nothing is lost: run the same command again to go on."
    assert "All 3 cases exported." in run(*command).out
    assert run("verify", out).code == 0


def stop_at(patch: pytest.MonkeyPatch, moment: int) -> list[int]:
    """Press Ctrl-C when so many phases have begun and cases ended; counts them."""
    passed = [0]

    def watch(own: Callable[..., None]) -> Callable[..., None]:
        def watched(*arguments: object, **named: object) -> None:
            own(*arguments, **named)
            passed[0] += 1
            if passed[0] == moment:
                signal.raise_signal(signal.SIGINT)

        return watched

    for name in ("phase", "finish"):
        patch.setattr(terminal.PlainWatcher, name, watch(getattr(terminal.PlainWatcher, name)))
    return passed


def test_stopped_20_times_over_it_ends_like_an_undisturbed_run(
    run: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uids = [
        write_phantom(tmp_path / "dicom" / str(number), replace(TINY, patient_id=f"P{number}"))
        for number in range(3)
    ]
    build(tmp_path / "dicom", tmp_path / "db")
    rows = [row_of(uids[0]) | {"PlanID": "none"}, *map(row_of, uids[1:])]
    cases = write_case_list(tmp_path / "cases.csv", rows)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    chance, stops, world = random.Random(1), 0, World.make(tmp_path / "0", tmp_path / "db", cases)

    monkeypatch.chdir(world.folder)
    with monkeypatch.context() as patch:
        moments = stop_at(patch, 0)
        assert run(*world.arguments).code == 1
    expected = world.result()
    while stops < STOPS:
        world = World.make(tmp_path / f"after {stops}", tmp_path / "db", cases)
        monkeypatch.chdir(world.folder)
        while stops < STOPS:
            with monkeypatch.context() as patch:
                stop_at(patch, chance.randint(1, moments[0]))
                ended = run(*world.arguments)
            if ended.code != 130:
                break
            stops += 1
            there = [entry.exported for entry in read_root_manifest(world.out)]
            assert states_of(world.out).count("exported") == sum(there)
            verified = json.loads(run("verify", "out", "--json").out)["files"]
            # Stopped between the rename and the ledger, a series is there, and the case not done.
            found = [finding["problem"] for finding in verified["findings"]]
            assert found == ["incomplete"] * there.count(False)
            unfinished = counted_are(len(rows) - sum(there), "case")
            assert f"{unfinished} not exported: row" in verified["unverified"][-1]
        assert run(*world.arguments).code == 1
        assert not world.unfinished() + differences(expected, world.result())


def test_a_run_under_way_keeps_its_books(
    run: Callable[..., Outcome], command: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(str(command[-1]))
    seen: list[tuple[int, bool]] = []

    def look(done: int) -> None:
        if (out / "report.html").exists():
            page = (out / "report.html").read_text("utf-8")
            refreshes = 'http-equiv="refresh"' in page and "The run goes on." in page
            seen.append((len(read_root_manifest(out)), refreshes))

    monkeypatch.setattr(workspace, "_CASES", 1)
    monkeypatch.setattr(workspace, "_SHARE", 0)
    watched(monkeypatch, look)
    done = run(*command)
    assert done.code == 0, done.err
    assert seen == [(1, True), (2, True)]  # before the first and the last case was through
    assert "refresh" not in (out / "report.html").read_text("utf-8")
    assert run("verify", out).code == 0


def test_wrong_use_leaves_an_earlier_report_alone(
    run: Callable[..., Outcome], command: list[object]
) -> None:
    assert run(*command).code == 0
    page = (Path(str(command[-1])) / "report.html").read_bytes()
    assert run(*command, "--rows", "99").code == 2
    assert (Path(str(command[-1])) / "report.html").read_bytes() == page


def test_the_status_of_a_folder_says_where_it_stands_and_what_is_next(
    run: Callable[..., Outcome], command: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(str(command[-1]))
    hopeless = write_case_list(
        out.parent / "with none.csv",
        [
            dict(row) | ({"PlanID": "none"} if row["Patient-ID"] == "P0" else {})
            for row in listed(command)
        ],
    )
    command[command.index("--cases") + 1] = hopeless

    def stop_at_the_second(done: int) -> None:
        if done == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        watched(patch, stop_at_the_second)
        assert run(*command).code == 130
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    said = run("status", out)
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "3 cases: 1 pending, 1 exported, 1 failed."
    assert lines[1] == "failed row 2: the patient has no such plan. Plans it has: Plan1."
    assert lines[2].startswith("The last run, of with none.csv, began 20")
    assert lines[2].endswith("(stopped).")
    assert lines[3] == f"Report: {out / 'report.html'}"
    assert lines[4].startswith(f"Log: {out / 'logs' / 'run-'}")
    assert lines[5] == f"To be corrected: {out / 'failed.xlsx'}"
    esapi = command[command.index("--esapi") + 1]
    assert lines[6] == (
        f'Next: stardust-esapi export --cases "{hopeless}" --out {out} --write --esapi {esapi}'
    )
    document = json.loads(run("status", out, "--json").out)
    assert document["counts"] == {"failed": 1, "exported": 1, "pending": 1}
    assert [case["state"] for case in document["cases"]] == ["failed", "exported", "pending"]
    assert document["next"] == lines[6].removeprefix("Next: ")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert run("status", out.parent).code == 2
    monkeypatch.chdir(out)
    words = [word.strip('"') for word in shlex.split(document["next"], posix=False)]
    done = run(*words[1:])
    assert "2 of 3 cases exported; 1 failed." in done.out


def test_the_status_of_a_transfer_names_a_transfer(
    run: Callable[..., Outcome],
    command: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(*command, "--engine", "none").code == 0
    monkeypatch.setenv("STARDUST_NETWORK__RETRIES", "0")
    ready, out = Path(str(command[-1])) / "export_list.csv", tmp_path / "moved"
    nobody = run("transfer", "--list", ready, "--out", out, "--peer", f"A@127.0.0.1:{free_port()}")
    assert nobody.code == 1
    said = run("status", out).out.splitlines()[-1]
    assert said == f"Next: stardust-esapi transfer --list {ready} --out {out}"


def listed(command: list[object]) -> list[dict[str, str]]:
    with Path(str(command[command.index("--cases") + 1])).open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=";"))


def test_json_for_programs_is_all_that_standard_output_holds(
    run: Callable[..., Outcome], command: list[object]
) -> None:
    cases, esapi = command[2], command[4]
    checked = run("check", "--cases", cases, "--esapi", esapi, "--json")
    assert [case["state"] for case in json.loads(checked.out)["cases"]] == ["planned"] * CASES
    assert run(*command).code == 0
    out = Path(str(command[-1]))
    verified = run("verify", out, "--json")
    assert verified.code == 0
    assert json.loads(verified.out)["ok"] is True
    next(out.glob("CT_Export/*/*/CT*.dcm")).unlink()
    damaged = run("verify", out, "--json")
    assert damaged.code == 1
    assert [one["problem"] for one in json.loads(damaged.out)["files"]["findings"]] == ["missing"]
    found = json.loads(run("doctor", "--esapi", esapi, "--json").out)
    assert {"what", "health", "detail"} == set(found[0])
