"""Do the same work on many cases: in processes of this machine, or on a Dask cluster.

One loop serves both. A bounded number of cases is under way at a time, and each worker holds one: a
case's memory bounds the worker's. A worker that dies fails its own case alone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from concurrent import futures
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    ProcessPoolExecutor,
)
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from threading import Thread
from typing import Any, Generic, Protocol, TypeVar

from loguru import logger

from stardust_esapi import __version__
from stardust_esapi.errors import StardustError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

# What Windows can wait for at once, less what the pool needs itself.
_MOST_PROCESSES_ON_WINDOWS = 61
_SECONDS_TO_CONNECT = 30
_SECONDS_WITHOUT_WORKERS = 60


@dataclass(frozen=True, slots=True, repr=False)
class _Parcel(Generic[Item, Result]):
    """Work and what to do it on. Dask logs the repr of arguments: this one names no patient."""

    work: Callable[[Item], Result]
    item: Item
    version: str

    def __repr__(self) -> str:
        return "a case"


def _do(parcel: _Parcel[Item, Result]) -> Result:
    """What a worker does."""
    if parcel.version != __version__:
        raise _other_versions({__version__}, parcel.version)
    return parcel.work(parcel.item)


def _other_versions(versions: Collection[str], wanted: str) -> UsageError:
    return UsageError(
        f"Workers of the Dask cluster have another version of this program than {wanted}: "
        f"{', '.join(sorted(versions))}. Install the same on all."
    )


class _Workers(Protocol):
    """Who does the work. What stands for a case under way is theirs alone to look into."""

    most: int
    """How many cases are under way at the same time."""

    def submit(self, parcel: _Parcel[Any, Any]) -> Any:
        """Begin with a case; raises BrokenExecutor where a worker has died, idle."""

    def wait(self, running: Collection[Any], until: str) -> Collection[Any]:
        """Wait for the first of them, or for all; returns what is done."""

    def result(self, done: Any) -> Any:
        """What came of it; raises BrokenExecutor where a worker died."""

    def renew(self) -> None:
        """Replace what a dead worker has broken."""

    def close(self, running: Collection[Any]) -> None:
        """Begin no further case, and wait for those that are under way.

        They cannot be stopped, and must not write beside the next run.
        """


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
        StardustError: The scheduler has ended.
    """
    pool = _Cluster(scheduler) if scheduler else _Processes(workers or os.cpu_count() or 1)
    run = _Run(work, lost, pool)
    try:
        yield from run.of(items)
    finally:
        pool.close(list(run.running))


class _Run(Generic[Item, Result]):
    """The loop, and what is under way in it."""

    def __init__(
        self, work: Callable[[Item], Result], lost: Callable[[Item], Result], pool: _Workers
    ) -> None:
        self._work = work
        self._lost = lost
        self._pool = pool
        self.running: dict[Any, Item] = {}

    def of(self, items: Iterable[Item]) -> Iterator[Result]:
        """Do it on all of them."""
        for item in items:
            try:
                self._begin(item)
            except BrokenExecutor:  # since the last look, by a worker that had nothing to do, too
                yield from self._after_break(())
                self._begin(item)
            if len(self.running) >= self._pool.most:
                yield from self._settle()
        while self.running:
            yield from self._settle()

    def _begin(self, item: Item) -> None:
        parcel = _Parcel(self._work, item, __version__)
        try:
            begun = self._pool.submit(parcel)
        except BrokenExecutor:
            if self.running:
                raise
            self._pool.renew()
            begun = self._pool.submit(parcel)
        self.running[begun] = item

    def _settle(self) -> Iterator[Result]:
        """Wait for at least one case, and hand out what is ready."""
        suspects = yield from self._hand_out(FIRST_COMPLETED)
        if suspects:
            yield from self._after_break(suspects)

    def _after_break(self, suspects: Iterable[Item]) -> Iterator[Result]:
        """A worker died, and took other cases with it: try each of them alone.

        Only then is it certain whose fault it was. A broken pool fails all that was under way;
        Dask counts the death against all that the worker had been given, and begins them again
        side by side, so that an innocent case may be there each time.
        """
        suspects = (*suspects, *(yield from self._hand_out(ALL_COMPLETED)))
        self._pool.renew()
        for item in suspects:
            self._begin(item)
            for guilty in (yield from self._hand_out(ALL_COMPLETED)):
                self._pool.renew()
                yield self._lost(guilty)

    def _hand_out(self, until: str) -> Generator[Result, None, list[Item]]:
        """Wait, hand out what came of the cases, and return those whose worker died."""
        died = []
        for done in self._pool.wait(list(self.running), until) if self.running else ():
            try:
                result: Result = self._pool.result(done)
            except BrokenExecutor:
                died.append(self.running.pop(done))
            except StardustError:  # not of the case: its worker is not to be used
                raise
            except Exception:  # noqa: BLE001 - the work raises nothing; what carried it there may
                yield self._lost(self.running.pop(done))
            else:
                del self.running[done]
                yield result
        return died


class _Processes:
    """Processes of this machine."""

    def __init__(self, workers: int) -> None:
        if os.name == "nt":
            workers = min(workers, _MOST_PROCESSES_ON_WINDOWS)
        self.most = workers
        self._pool = self._new()

    def submit(self, parcel: _Parcel[Any, Any]) -> futures.Future[Any]:
        with _without_main():  # processes are started as they are needed
            return self._pool.submit(_do, parcel)

    def wait(
        self, running: Collection[futures.Future[Any]], until: str
    ) -> Collection[futures.Future[Any]]:
        return futures.wait(running, return_when=until).done

    def result(self, done: futures.Future[Any]) -> Any:
        return done.result()

    def renew(self) -> None:
        self._pool.shutdown()
        self._pool = self._new()

    def close(self, running: Collection[futures.Future[Any]]) -> None:
        del running  # the pool knows them itself
        self._pool.shutdown(cancel_futures=True)

    def _new(self) -> ProcessPoolExecutor:
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

    The command line brings along matplotlib and more, which no worker needs.
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
        self._wait = distributed.wait
        self._killed: type[Exception] = distributed.KilledWorker
        try:
            self._check_versions()
        except BaseException:
            self._client.close()
            raise
        # Workers may come and go; twice as many cases as there are now keep all of them busy.
        self.most = max(4, 2 * sum(self._client.nthreads().values()))

    # Dask's own executor is not used: where a result is lost with its worker, it hands out an error
    # in its place, or nothing ever.

    def submit(self, parcel: _Parcel[Any, Any]) -> Any:
        return self._client.submit(_do, parcel, pure=False)

    def wait(self, running: Collection[Any], until: str) -> Collection[Any]:
        warned = False
        while True:
            with self._client.as_current(), _ended():
                try:
                    done: Collection[Any] = self._wait(
                        running, timeout=_SECONDS_WITHOUT_WORKERS, return_when=until
                    ).done
                except TimeoutError:
                    pass
                else:
                    return done
                missing = not self._client.nthreads()
            if missing and not warned:
                logger.warning(
                    "The Dask cluster has no workers. Start some and it goes on; or stop here: "
                    "what is done stays."
                )
            warned = missing

    def result(self, done: Any) -> Any:
        with _ended():
            try:
                return self._client.gather(done)  # done again where its worker has died since
            except self._killed as error:
                raise BrokenExecutor from error
            except ImportError:
                raise _other_versions({"none"}, __version__) from None

    def renew(self) -> None:
        """Dask has new workers by itself."""

    def close(self, running: Collection[Any]) -> None:
        with closing(self._client), suppress(StardustError), _ended(), self._client.as_current():
            while running and self._client.nthreads():
                with suppress(TimeoutError):
                    self._wait(running, timeout=1)
                    break

    def _check_versions(self) -> None:
        """Files of one dataset are created by one version."""
        try:
            versions = set(self._client.run(_version).values())
        except ImportError:
            versions = {"none"}
        if versions - {__version__}:
            raise _other_versions(versions - {__version__}, __version__)


@contextmanager
def _ended() -> Iterator[None]:
    """Nobody here cancels what is waited for: the scheduler's end does."""
    try:
        yield
    except (CancelledError, OSError):
        raise StardustError(
            "The Dask scheduler has ended, or somebody has cancelled its work. What is done stays: "
            "run the same command again to go on."
        ) from None


def _version() -> str:
    return __version__
