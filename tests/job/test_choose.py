"""Which cases a run takes, and that hopeless ones keep nobody else waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from esapi_stub.sample import Phantom
from stardust_esapi.choices import Retry
from stardust_esapi.errors import UsageError
from stardust_esapi.job.choose import Choice, choose, parse_rows
from stardust_esapi.model import Case, CaseState
from support import Clinic, Outcome, row_of, write_case_list

CASES = [Case(row, f"P{row // 2}", plan_id=f"Plan{row}") for row in range(2, 12)]


def rows_of(cases: list[Case]) -> list[int]:
    return [case.row for case in cases]


def chosen(choice: Choice, limit: int | None = None, **states: CaseState) -> list[int]:
    def state(case: Case) -> CaseState:
        return states.get(f"row{case.row}", CaseState.PENDING)

    return rows_of(choose(CASES, state, choice, limit))


def test_all_of_it_without_a_choice() -> None:
    assert chosen(Choice()) == list(range(2, 12))


def test_patients_and_rows() -> None:
    assert chosen(Choice(patients=("P2", "P5"))) == [4, 5, 10, 11]
    assert chosen(Choice(rows=((3, 5), (9, 9)))) == [3, 4, 5, 9]
    assert chosen(Choice(patients=("P2",), rows=((5, 9),))) == [5]


def test_an_id_that_was_a_number_is_meant_by_its_zeros_too() -> None:
    cases = [Case(2, "4711", id_is_number=True), Case(3, "0004711"), Case(4, "4711")]
    assert rows_of(choose(cases, lambda _: CaseState.PENDING, Choice(("0004711",)), None)) == [2, 3]


@pytest.mark.parametrize(
    ("retry", "rows"), [(Retry.ALL, [2, 3, 4]), (Retry.FAILED, [2, 4]), (Retry.NONE, [4])]
)
def test_what_an_earlier_run_gave_up(retry: Retry, rows: list[int]) -> None:
    given_up = {"row2": CaseState.FAILED, "row3": CaseState.DOUBTFUL}
    assert chosen(Choice(rows=((2, 4),), retry=retry), **given_up) == rows


def test_the_limit_counts_patients_and_takes_untried_ones_first() -> None:
    assert chosen(Choice(), 2) == [2, 3, 4, 5]
    failed = dict.fromkeys(("row2", "row3", "row4"), CaseState.FAILED)
    # P2 has an untried case in row 5; with it goes the one that failed.
    assert chosen(Choice(), 2, **failed) == [4, 5, 6, 7]
    assert chosen(Choice(), 9, **failed) == list(range(2, 12))


def test_200_cases_with_4_hopeless_ones_first_are_done_by_runs_of_10() -> None:
    cases = [Case(row, f"P{row}") for row in range(2, 202)]
    states = dict.fromkeys(cases, CaseState.PENDING)
    tried: Counter[Case] = Counter()
    for _ in range(20):
        todo = [case for case in cases if states[case] is not CaseState.EXPORTED]
        taken = choose(todo, states.__getitem__, Choice(), 10)
        assert len(taken) == 10
        tried.update(taken)
        states |= {c: CaseState.FAILED if c.row < 6 else CaseState.EXPORTED for c in taken}
    assert Counter(states.values()) == {CaseState.EXPORTED: 196, CaseState.FAILED: 4}
    assert set(tried.values()) == {1}


@pytest.mark.parametrize(
    ("text", "rows"),
    [("2-9,14", ((2, 9), (14, 14))), (" 7 ", ((7, 7),)), ("3 - 4 , 5-5", ((3, 4), (5, 5)))],
)
def test_rows_are_read(text: str, rows: tuple[tuple[int, int], ...]) -> None:
    assert parse_rows(text) == rows


@pytest.mark.parametrize("text", ["", "x", "2-", "-3", "9-2", "2,,3", "2;3", "1.5"])
def test_rows_that_are_none_are_named(text: str) -> None:
    with pytest.raises(UsageError, match="write rows as 2-9,14"):
        parse_rows(text)


def test_a_run_takes_what_was_named_and_reports_all(
    run: Callable[..., Outcome], clinic_of: Callable[..., Clinic], tmp_path: Path
) -> None:
    phantoms = [Phantom(f"P{n}", size=(24, 24, 6), spacing=(5.0, 5.0, 6.0)) for n in range(3)]
    clinic = clinic_of(*phantoms)
    first, second, third = (row_of(patient) for patient in clinic.patients)
    rows = [first | {"PlanID": "none"}, second, third]
    cases, out = write_case_list(tmp_path / "cases.csv", rows), tmp_path / "out"
    command = ["export", "--cases", cases, "--out", out, "--esapi", f"stub:{clinic.db}", "--write"]

    nothing = run(*command, "--patient", "P9", "--rows", "7")
    assert nothing.code == 2
    assert "--patient P9 and --rows: no case of the list is that" in nothing.err

    one = run(*command, "--limit", 1)  # the hopeless one, once
    assert "[1/1] failed row 2" in one.out
    two = run(*command, "--limit", 1)
    assert "[1/1] exported row 3" in two.out
    left = run(*command, "--rows", "2", "--retry", "none")
    assert "[1/" not in left.out
    assert "1 of 3 cases exported; 1 failed; 1 not reached." in left.out, left.out
    last = run(*command, "--patient", "P2")
    assert "[1/1] exported row 4" in last.out
    assert "2 of 3 cases exported; 1 failed." in last.out
