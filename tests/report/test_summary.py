from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stardust_esapi.caselist import RowProblem
from stardust_esapi.model import Case, CaseResult, CaseState, Kind, TransferRequest
from stardust_esapi.report.summary import RunSummary, shown_state
from stardust_esapi.wording import row_ranges

START, END = datetime(2026, 3, 4, 10, 0), datetime(2026, 3, 4, 10, 14, 29)


def summary(*states: str, write: bool = True, problems: tuple[RowProblem, ...] = ()) -> RunSummary:
    """``states``: those of the ledger, or ``planned``; each case has a CT of 10 images."""
    results = tuple(
        CaseResult(
            Case(row=row, patient_id=f"P{row}"),
            CaseState.PENDING if state == "planned" else CaseState(state),
            planned=state == "planned",
            requests=(TransferRequest(Kind.CT, f"P{row}", "", "1.2", f"1.2.{row}", images=10),),
        )
        for row, state in enumerate(states, start=2)
    )
    return RunSummary(
        "0.1", START, END, "list.csv", "stub:x", "esapi", write, (), problems, (), results
    )


BROKEN = RowProblem(3, "SeriesUID", "a"), RowProblem(3, "PlanID", "b")


@pytest.mark.parametrize(
    ("given_summary", "verdict"),
    [
        (summary("exported", "failed", "exported"), "2 of 3 cases exported; 1 failed"),
        (summary("exported", "exported"), "All 2 cases exported"),
        (summary("exported"), "1 of 1 case exported"),
        (summary("failed", "failed"), "0 of 2 cases exported; 2 failed"),
        (summary("prepared", "prepared"), "All 2 cases prepared for transfer"),
        (
            summary("pending", "exported", "prepared"),
            ("1 of 3 cases exported; 1 prepared for transfer; 1 not reached"),
        ),
        (summary("planned", "failed", write=False), "1 of 2 cases ready to export; 1 failed"),
        (
            summary("planned", "exported", write=False),
            ("1 of 2 cases ready to export; 1 exported before"),
        ),
        (summary("failed", write=False), "0 of 1 case ready to export; 1 failed"),
        (
            summary("exported", "partial", "doubtful"),
            "1 of 3 cases exported; 1 exported in part; 1 doubtful",
        ),
        (summary("partial", write=False), "1 of 1 case ready in part"),
        (summary(), "No case to export"),
        (summary(problems=BROKEN), "No case to export; 1 row not read"),
        (summary("exported", problems=BROKEN), "1 of 1 case exported; 1 row not read"),
    ],
)
def test_verdict(given_summary: RunSummary, verdict: str) -> None:
    assert given_summary.verdict == verdict


STATES = ["exported", "partial", "prepared", "failed", "doubtful", "pending", "planned"]


@given(st.lists(st.sampled_from(STATES)))
def test_totals_count_every_case_once(states: list[str]) -> None:
    run = summary(*states, write="planned" not in states)
    counts = {
        "exported": run.exported,
        "partial": run.partial,
        "doubtful": run.doubtful,
        "prepared": run.prepared,
        "failed": run.failed,
        "pending": run.pending,
        "planned": run.planned,
    }
    assert counts == {state: states.count(state) for state in counts}
    good = len(states) - run.failed - run.doubtful - run.pending
    assert (run.series, run.images) == (good, good * 10)
    # Each count that is not zero stands in the verdict.
    for count in filter(None, counts.values()):
        assert f"{count}" in run.verdict


@pytest.mark.parametrize(
    ("state", "planned", "shown"),
    [
        (CaseState.PENDING, True, "planned"),
        (CaseState.PREPARED, True, "planned"),
        (CaseState.FAILED, True, "failed"),
        (CaseState.EXPORTED, True, "exported"),
        (CaseState.PENDING, False, "pending"),
    ],
)
def test_a_plan_hides_no_failure(state: CaseState, planned: bool, shown: str) -> None:
    assert shown_state(CaseResult(Case(2, "P"), state, planned=planned)) == shown


@pytest.mark.parametrize(
    ("states", "look"),
    [
        (["exported", "planned", "prepared", "pending"], False),
        (["exported", "failed"], True),
        (["partial"], True),
        (["doubtful"], True),
    ],
)
def test_somebody_has_to_look(states: list[str], look: bool) -> None:
    assert summary(*states).needs_a_look is look
    assert summary("exported", problems=BROKEN).needs_a_look


def test_row_numbers_in_short() -> None:
    assert row_ranges([7, 2, 3, 4, 9, 10]) == "2-4, 7, 9-10"
    assert row_ranges([]) == ""
