"""The output folder of a job: one run at a time works in it, and keeps its books there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from loguru import logger

from stardust_esapi import __version__, files
from stardust_esapi.choices import EngineName
from stardust_esapi.errors import UsageError, VerifyError, as_given, in_words
from stardust_esapi.logs import log_to
from stardust_esapi.model import Case, CaseState, Kind
from stardust_esapi.record.ledger import Ledger
from stardust_esapi.record.output_log import OutputLog
from stardust_esapi.report import album
from stardust_esapi.report.html import write_report
from stardust_esapi.report.summary import RunSummary
from stardust_esapi.transfer.deliver import STAGING
from stardust_esapi.verify.manifest import damage
from stardust_esapi.wording import counted

REPORT = "report.html"
PLAN_REPORT = "plan.html"
LOGS = "logs"
LOCK = ".lock"

# When to bring the books up to date.
_CASES = 25
_SECONDS = 60.0
_SHARE = 20


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Claim the output folder for this run, and write its log there.

    Raises:
        UsageError: It cannot be created or written to, another run is working in it, or there is a
            link where this one would write or remove.
    """
    try:
        files.make_folder(out)
        if link := files.first_link(out):
            raise UsageError(
                f"{link} is a link: what belongs to the output folder would be written or removed "
                "where it leads. Find out who made it, remove it, and run again; to keep exports "
                "elsewhere, give that folder as --out."
            )
        lock = FileLock(out / LOCK, timeout=0).acquire()
    except Timeout:
        raise UsageError(
            f"Another run is working in {out}. Wait for it, or choose another --out."
        ) from None
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"--out {out} is not a folder. Choose another.") from None
    except PermissionError as error:
        raise UsageError(
            f"You may not write to --out {out}: {in_words(error)}. Ask who made it for the right "
            "to, or choose another."
        ) from None
    with lock, log_to(out / LOGS, datetime.now().astimezone()):
        yield


@contextmanager
def open_records(
    out: Path, *, esapi: str, engine: str, case_list: Path
) -> Iterator[tuple[Ledger, OutputLog]]:
    """Open the ledger, with a run of its own in it, and the log that people read."""
    with Ledger(out) as ledger:
        ledger.begin_run(
            version=__version__,
            esapi=esapi,
            engine=engine,
            case_list=as_given(case_list),
        )
        try:
            yield ledger, OutputLog(out)
        except BaseException as error:
            ledger.end_run("failed" if isinstance(error, Exception) else "stopped")
            raise
        ledger.end_run("done")


def log_row(case: Case, status: str) -> tuple[str, str, str, str]:
    """A case's row in the log that people read."""
    return case.patient_id, case.series_uid, case.structure_set_id or case.structure_set_uid, status


def check_places(case: Case, ledger: Ledger, root: Path) -> None:
    """Look whether the series of a case are still where they were placed, by names and sizes.

    Those whose folder somebody removed are forgotten.

    Raises:
        VerifyError: A folder does not hold what it held when it was placed.
    """
    for kind, folder in ledger.folders(case).items():
        if not (root / folder).exists():
            ledger.withdrawn(case, kind)
            continue
        try:
            found = damage(root / folder)
        except VerifyError as error:
            found = str(error)
        except OSError as error:
            found = in_words(error)
        if found:
            raise VerifyError(
                f"{case}: {folder} was changed after it was exported: {found.rstrip('.')}. "
                "Restore it, or move it away and run again."
            )


def undone(
    cases: Sequence[Case],
    wanted: Callable[[Case, Ledger], Sequence[Kind]],
    out: Path,
    engine: EngineName,
    ledger: Ledger,
    log: OutputLog,
) -> list[Case]:
    """The cases that no earlier run has finished; the log is completed with the others.

    A case with a damaged folder is recorded as failed.

    Args:
        cases: Registered cases.
        wanted: The kinds that a case is to be exported for.
        out: The output folder.
        engine: Who moves the data; where nobody does, a prepared case is finished.
        ledger: Knows what earlier runs have done.
        log: The log that people read.
    """
    for case in cases:
        try:
            check_places(case, ledger, out)
        except VerifyError as error:
            ledger.failed(case, str(error))
    done = {
        case: ledger.state(case)
        for case in cases
        if _is_done(case, wanted(case, ledger), engine, ledger)
    }
    log.complete(log_row(case, state) for case, state in done.items())
    logger.info("{}, {} of them done by earlier runs", counted(len(cases), "case"), len(done))
    return [case for case in cases if case not in done]


def _is_done(case: Case, wanted: Sequence[Kind], engine: EngineName, ledger: Ledger) -> bool:
    """Whether an earlier run has finished the case."""
    state = ledger.state(case)
    if engine is EngineName.NONE:
        asked = {request.kind for request in ledger.requests(case)}
        return state in (CaseState.PREPARED, CaseState.EXPORTED) and asked >= set(wanted)
    return state is CaseState.EXPORTED and ledger.folders(case).keys() >= set(wanted)


class Interval:
    """When a run's books are due to be brought up to date.

    That is after 25 cases or a minute, and never so often that it takes more than a twentieth of
    the run: of a long list it takes a while.
    """

    def __init__(self) -> None:
        self._cases = 0
        self._took = 0.0
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Count a case; whether they are due."""
        self._cases += 1
        gone = time.monotonic() - self._last
        return (self._cases >= _CASES or gone >= _SECONDS) and gone >= _SHARE * self._took

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Bring them up to date while the context lasts."""
        began = time.monotonic()
        yield
        self._cases, self._last = 0, time.monotonic()
        self._took = self._last - began


def tidy(out: Path) -> None:
    """Remove what a run needs on its way only."""
    files.remove_tree(out / STAGING)


def report(summary: RunSummary, out: Path) -> RunSummary:
    """Write the report."""
    pictures = album.pictures(out, summary.results)
    written = write_report(replace(summary, pictures=pictures), out / REPORT)
    return replace(summary, report=written.name)
