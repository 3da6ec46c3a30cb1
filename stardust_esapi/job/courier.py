"""Move prepared cases over the network while ESAPI's thread prepares the next ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from stardust_esapi.model import CaseResult

_TICK = 0.5  # seconds


class Courier:
    """A few workers and a bounded queue before them, so that memory stays flat.

    Only plain records cross to the workers: ESAPI's objects never leave their thread.

    Args:
        deliver: Moves the series of one prepared case and says how it went; must not raise for a
            case that fails.
        workers: How many cases are moved at the same time.
        cancel: Ends what is under way; called when the context ends by an error.
    """

    def __init__(
        self,
        deliver: Callable[[CaseResult], CaseResult],
        workers: int,
        cancel: Callable[[], None],
    ) -> None:
        self._deliver = deliver
        self._cancel = cancel
        self._most = workers + 1  # one more, prepared and waiting
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="courier")
        self._flying: set[Future[CaseResult]] = set()

    def __enter__(self) -> Courier:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(self, prepared: CaseResult) -> Iterator[CaseResult]:
        """Hand a prepared case over, waiting for room first; yields what has come through."""
        yield from self._finished(self._most - 1)
        self._flying.add(self._pool.submit(self._deliver, prepared))

    def finish(self) -> Iterator[CaseResult]:
        """Wait for all that is under way."""
        yield from self._finished(0)

    def _finished(self, most: int) -> Iterator[CaseResult]:
        """Results that are there, waiting until at most so many are under way."""
        while True:
            done = {future for future in self._flying if future.done()}
            while not done and len(self._flying) > most:
                # In short waits: Windows lets nothing interrupt a long one, not even Ctrl-C.
                done, _ = wait(self._flying, _TICK, return_when=FIRST_COMPLETED)
            self._flying -= done
            for future in done:
                yield future.result()
            if not done:
                return
