from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from stardust_esapi.errors import UsageError
from stardust_esapi.job.courier import Courier
from stardust_esapi.model import Case, CaseResult, CaseState
from support import PATIENCE, until


def prepared(row: int) -> CaseResult:
    return CaseResult(Case(row=row, patient_id=str(row)), CaseState.PREPARED)


def rows(results: Iterator[CaseResult]) -> list[int]:
    return [result.case.row for result in results]


def test_everything_comes_through_once() -> None:
    with Courier(lambda result: result, 2, lambda: None) as courier:
        out = [row for n in range(20) for row in rows(courier.submit(prepared(n)))]
        out += rows(courier.finish())
    assert sorted(out) == list(range(20))


def test_the_queue_is_bounded_and_preparing_goes_on_meanwhile() -> None:
    """One case is moved, one waits; a third is not handed over before there is room."""
    go, under_way = threading.Semaphore(0), []

    def move(result: CaseResult) -> CaseResult:
        under_way.append(result.case.row)
        assert go.acquire(timeout=PATIENCE)
        return result

    with Courier(move, 1, lambda: None) as courier:
        assert rows(courier.submit(prepared(1))) == []
        assert rows(courier.submit(prepared(2))) == []
        third = threading.Thread(target=lambda: rows(courier.submit(prepared(3))))
        third.start()
        try:
            third.join(0.2)  # it could come to its end, if it were let
            assert third.is_alive()
            until(lambda: under_way)
            assert under_way == [1]
        finally:
            go.release(3)
        third.join(PATIENCE)
        assert not third.is_alive()
        assert 3 in rows(courier.finish())


def test_an_error_of_the_run_surfaces_and_cancels() -> None:
    cancelled = threading.Event()

    def move(result: CaseResult) -> CaseResult:
        if result.case.row == 1:
            raise UsageError("the ledger is gone")
        assert cancelled.wait(PATIENCE)
        return result

    def run() -> None:
        with Courier(move, 2, cancelled.set) as courier:
            for n in (2, 1):
                list(courier.submit(prepared(n)))
            list(courier.finish())

    with pytest.raises(UsageError, match="ledger"):
        run()
    assert cancelled.is_set()
