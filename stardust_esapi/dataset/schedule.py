"""Do the same work on many cases: in processes of this machine, or on a Dask cluster.

Both are executors of :mod:`concurrent.futures`, so one loop serves both. A bounded number of cases
is under way at a time, and each worker holds one: a case's memory bounds the worker's. A worker
that dies fails its own case alone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from threading import Thread
from typing import Any, Generic, Protocol, TypeVar

from stardust_esapi import __version__
from stardust_esapi.errors import StardustError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

# What Windows can wait for at once, less what the pool needs itself.
_MOST_PROCESSES_ON_WINDOWS = 61
_SECONDS_TO_CONNECT = 30


@dataclass(frozen=True, slots=True, repr=False)
class _Parcel(Generic[Item, Result]):
    """Work and what to do it on. Dask logs the repr of arguments: this one names no patient."""

    work: Callable[[Item], Result]
    item: Item

    def __repr__(self) -> str:
        return "a case"


def _do(parcel: _Parcel[Item, Result]) -> Result:
    """What a worker does."""
    # pydicom's warnings quote values, and standard error of a worker may be a log.
    warnings.filterwarnings("ignore", module="pydicom")
    return parcel.work(parcel.item)


class _Hands(Protocol):
    """Who does the work."""

    most: int
    """How many cases are under way at the same time."""

    def submit(self, parcel: _Parcel[Item, Result]) -> Future[Result]:
        """Begin with a case."""

    def renew(self) -> None:
        """Replace what a dead worker has broken."""

    def close(self) -> None:
        """Begin no further case, and wait for those that are under way."""


def run_all(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    lost: Callable[[Item], Result],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
) -> Generator[Result, None, None]:
    """Do the work on every item; results come as they are ready.

    Args:
        items: What to do it on; read as workers become free.
        work: A picklable function that raises nothing.
        lost: Makes the result of an item whose worker died, alone and again.
        workers: Processes on this machine; None for one a processor.
        scheduler: Address of a Dask scheduler, instead of processes.

    Raises:
        UsageError: The scheduler cannot be reached, or its workers are of another version.
    """
    hands = _Cluster(scheduler) if scheduler else _Processes(workers or os.cpu_count() or 1)
    with closing(hands):
        yield from _run(items, work, lost, hands)


def _run(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    lost: Callable[[Item], Result],
    hands: _Hands,
) -> Iterator[Result]:
    running: dict[Future[Result], Item] = {}
    for item in items:
        try:
            future = hands.submit(_Parcel(work, item))
        except BrokenExecutor:  # since the last look, by a worker that had nothing to do, too
            yield from _after_break(running, work, lost, hands)
            future = hands.submit(_Parcel(work, item))
        running[future] = item
        if len(running) >= hands.most:
            yield from _settle(running, work, lost, hands)
    while running:
        yield from _settle(running, work, lost, hands)


def _settle(
    running: dict[Future[Result], Item],
    work: Callable[[Item], Result],
    lost: Callable[[Item], Result],
    hands: _Hands,
) -> Iterator[Result]:
    """Wait for at least one case, and hand out what is ready."""
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    if any(_broken(future) for future in done):
        yield from _after_break(running, work, lost, hands)
        return
    for future in done:
        yield _result(future, running.pop(future), lost)


def _after_break(
    running: dict[Future[Result], Item],
    work: Callable[[Item], Result],
    lost: Callable[[Item], Result],
    hands: _Hands,
) -> Iterator[Result]:
    """A process died, and took all cases under way with it: try each of them alone.

    Only then is it certain whose fault it was.
    """
    wait(running)
    ended, suspects = dict(running), []
    running.clear()
    for future, item in ended.items():
        if _broken(future):
            suspects.append(item)
        else:
            yield _result(future, item, lost)
    hands.renew()
    for item in suspects:
        alone = hands.submit(_Parcel(work, item))
        wait([alone])
        if _broken(alone):
            hands.renew()
        yield _result(alone, item, lost)


def _result(future: Future[Result], item: Item, lost: Callable[[Item], Result]) -> Result:
    return future.result() if _error(future) is None else lost(item)


def _broken(future: Future[Result]) -> bool:
    return isinstance(_error(future), BrokenExecutor)


def _error(future: Future[Result]) -> BaseException | None:
    try:
        error = future.exception()
    except CancelledError as cancelled:
        error = cancelled
    if isinstance(error, CancelledError):  # nobody here cancels what is waited for
        raise StardustError(
            "The Dask scheduler has ended, or somebody has cancelled its work. What is done stays: "
            "run the same command again to go on."
        )
    return error


class _Processes:
    """Processes of this machine."""

    def __init__(self, workers: int) -> None:
        if os.name == "nt":
            workers = min(workers, _MOST_PROCESSES_ON_WINDOWS)
        self.most = workers
        self._pool: Executor = self._new()

    def submit(self, parcel: _Parcel[Item, Result]) -> Future[Result]:
        with _without_main():  # processes are started as they are needed
            return self._pool.submit(_do, parcel)

    def renew(self) -> None:
        self._pool.shutdown()
        self._pool = self._new()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _new(self) -> Executor:
        # Spawned on every system alike: what was imported and opened here stays here.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.most, context, initializer=_begin)


def _begin() -> None:
    """Prepare a process: Ctrl-C is the parent's matter, and a parent's death the process's end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without it, a process whose parent was killed would wait for its next case for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep new processes from importing the main program: the work does not lie in it.

    The command line brings along pandas, matplotlib and more, which no worker needs.
    """
    main = vars(sys.modules["__main__"])
    names = main.keys() & {"__spec__", "__file__"}
    kept: dict[str, Any] = {name: main.pop(name) for name in names}
    main["__spec__"] = None
    try:
        yield
    finally:
        main |= kept


class _Cluster:
    """Workers of a Dask scheduler. They see the same folders under the same names."""

    def __init__(self, address: str) -> None:
        try:
            distributed: Any = import_module("distributed")
        except ImportError:
            raise UsageError(
                "A Dask scheduler needs dask.distributed. Run: pip install stardust-esapi[dask]"
            ) from None
        try:
            self._client = distributed.Client(
                address, timeout=_SECONDS_TO_CONNECT, set_as_default=False
            )
        except (OSError, ValueError, TimeoutError) as error:
            why = str(error).partition("\n")[0] or type(error).__name__
            raise UsageError(
                f"There is no Dask scheduler at {address} ({why}). Check --scheduler, or leave it "
                "out to use processes of this machine."
            ) from None
        try:
            self._check_versions(address)
        except BaseException:
            self._client.close()
            raise
        self._executor = self._client.get_executor(pure=False)
        # Workers may come and go; twice as many cases as there are now keep all of them busy.
        self.most = max(4, 2 * sum(self._client.nthreads().values()))

    def submit(self, parcel: _Parcel[Item, Result]) -> Future[Result]:
        future: Future[Result] = self._executor.submit(_do, parcel)
        return future

    def renew(self) -> None:
        """Dask has new workers by itself, and lets a case fail that killed several of them."""

    def close(self) -> None:
        self._executor.shutdown(wait=False)
        self._client.close()

    def _check_versions(self, address: str) -> None:
        """Files of one dataset are made by one version."""
        try:
            versions = set(self._client.run(_version).values())
        except ImportError:
            versions = {"none"}
        if versions - {__version__}:
            raise UsageError(
                f"Workers of {address} have another version of this program than {__version__}: "
                f"{', '.join(sorted(versions - {__version__}))}. Install the same on all."
            )


def _version() -> str:
    return __version__
