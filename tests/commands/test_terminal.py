from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from stardust_esapi.caselist import RowProblem
from stardust_esapi.commands.terminal import (
    PlainWatcher,
    TerminalWatcher,
    print_summary,
    print_verification,
    watcher,
)
from stardust_esapi.model import Case, CaseResult, CaseState
from stardust_esapi.report.summary import RunSummary
from stardust_esapi.verify.check import Finding, Problem, VerifyReport

CASE = Case(row=2, patient_id="[b]0815[/b]", plan_id="B1")
DONE = CaseResult(CASE, CaseState.EXPORTED, seconds=1.25)
BAD = CaseResult(
    Case(row=3, patient_id="0816", plan_id="B2"),
    CaseState.FAILED,
    "row 3, patient 0816, plan B2: structure GTV1 is empty.",
)


def screen(*, terminal: bool) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, width=100, color_system=None), text


def summary(*results: CaseResult) -> RunSummary:
    now = datetime(2026, 1, 2)
    return RunSummary(
        "0", now, now, "list.csv", "stub:DB", "esapi", write=True,
        rejected=(5, 6, 9),
        row_problems=(RowProblem(4, "PlanID", "Row 4: something long. " * 8),),
        duplicates=("Rows 2, 3 are one.",),
        results=results,
    )  # fmt: skip


def play(shown: TerminalWatcher | PlainWatcher) -> None:
    with shown as view:
        view.start(2)
        view.phase(CASE, "transfer CT", 4, 98)
        view.phase(CASE, "record")
        view.finish(DONE)
        view.finish(BAD)


def test_a_pipe_gets_plain_lines() -> None:
    out, text = screen(terminal=False)
    shown = watcher(out)
    assert isinstance(shown, PlainWatcher)
    play(shown)
    assert text.getvalue().splitlines() == [
        "[1/2] exported row 2, patient [b]0815[/b], plan B1 (1.2 s)",
        "[2/2] failed row 3, patient 0816, plan B2: structure GTV1 is empty. (0.0 s)",
    ]


def test_a_long_phase_says_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    out, text = screen(terminal=False)
    clock = iter([0.0, 5.0, 11.0, 11.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    shown = PlainWatcher(out)
    shown.start(1)
    shown.phase(CASE, "transfer CT", 10, 98)
    shown.phase(CASE, "transfer CT", 20, 98)
    assert text.getvalue().splitlines() == ["  row 2 transfer CT: 20 of 98 images"]


def test_a_terminal_gets_phases_a_bar_and_the_time_left() -> None:
    out, text = screen(terminal=True)
    shown = watcher(out)
    assert isinstance(shown, TerminalWatcher)
    play(shown)
    for words in ("row 2 record", "cases (1 failed)", "2/2", "elapsed", "remaining"):
        assert words in text.getvalue()


def test_the_summary_on_a_terminal_is_a_table_and_elsewhere_lines() -> None:
    for terminal in (True, False):
        out, text = screen(terminal=terminal)
        print_summary(summary(DONE, BAD), out)
        assert ("[b]0815[/b]" in text.getvalue()) is terminal
        assert ("structure GTV1 is empty" in text.getvalue()) is terminal
        for words in (
            "Row 4: something long.",
            "Rows 2, 3 are one.",
            "3 rejected rows left out: 5-6, 9",
        ):
            assert words in text.getvalue()
        assert text.getvalue().rstrip().endswith("1 of 2 cases exported; 1 failed; 1 row not read.")
        longest = max(map(len, text.getvalue().splitlines()))
        assert (longest <= 100) is terminal


def test_of_a_long_list_the_table_shows_what_did_not_succeed() -> None:
    out, text = screen(terminal=True)
    print_summary(summary(*[DONE] * 60, BAD), out)
    assert text.getvalue().count("0815") == 0
    assert text.getvalue().count("0816") == 1


def test_a_verification() -> None:
    out, text = screen(terminal=False)
    found = (Finding(Problem.MISSING, "CT_Export/1/2/CT.1.dcm", "It is gone."),)
    print_verification(VerifyReport(Path("out"), 1, 7, found, ("Whether [x].",)), out)
    assert text.getvalue().splitlines() == [
        "missing CT_Export/1/2/CT.1.dcm: It is gone.",
        "not verified Whether [x].",
        "7 files of 1 series are as its manifest says; 1 thing is not.",
    ]
