"""The output folder of a job: one run at a time works in it, and keeps its books there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from loguru import logger

from stardust_esapi import __version__, files
from stardust_esapi.choices import EngineName
from stardust_esapi.errors import UsageError
from stardust_esapi.logs import log_to
from stardust_esapi.model import Case, CaseState, Kind
from stardust_esapi.record.ledger import Ledger
from stardust_esapi.record.output_log import OutputLog
from stardust_esapi.report import album
from stardust_esapi.report.html import write_report
from stardust_esapi.report.summary import RunSummary
from stardust_esapi.settings import Settings
from stardust_esapi.transfer.deliver import STAGING

REPORT = "report.html"
PLAN_REPORT = "plan.html"
LOGS = "logs"
LOCK = ".lock"


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Claim the output folder for this run, and write its log there.

    Raises:
        UsageError: It cannot be created, another run is working in it, or there is a link where
            this one would write or remove.
    """
    try:
        files.make_folder(out)
        if link := files.first_link(out):
            raise UsageError(
                f"{link} is a link: what belongs to the output folder would be written or removed "
                "where it leads. Find out who made it, remove it, and run again; to keep exports "
                "elsewhere, give that folder as --out."
            )
        with FileLock(out / LOCK, timeout=0), log_to(out / LOGS, datetime.now().astimezone()):
            yield
    except Timeout:
        raise UsageError(
            f"Another run is working in {out}. Wait for it, or choose another --out."
        ) from None
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"--out {out} is not a folder. Choose another.") from None


@contextmanager
def open_records(
    out: Path, settings: Settings, case_list: Path
) -> Iterator[tuple[Ledger, OutputLog]]:
    """Open the ledger, with a run of its own in it, and the log that people read."""
    with Ledger(out) as ledger:
        ledger.begin_run(
            version=__version__,
            esapi=settings.esapi,
            engine=settings.engine,
            case_list=case_list.name,
        )
        try:
            yield ledger, OutputLog(out)
        except BaseException as error:
            ledger.end_run(type(error).__name__)
            raise
        ledger.end_run("done")


def log_row(case: Case, status: str) -> tuple[str, str, str, str]:
    """A case's row in the log that people read."""
    return case.patient_id, case.series_uid, case.structure_set_id or case.structure_set_uid, status


def undone(
    cases: Sequence[Case],
    wanted: Callable[[Case, Ledger], Sequence[Kind]],
    out: Path,
    engine: EngineName,
    ledger: Ledger,
    log: OutputLog,
) -> list[Case]:
    """The cases that no earlier run has finished; the log is completed with the others.

    Args:
        cases: Registered cases.
        wanted: The kinds that a case is to be exported for.
        out: The output folder.
        engine: Who moves the data; where nobody does, a prepared case is finished.
        ledger: Knows what earlier runs have done.
        log: The log that people read.
    """
    done = {
        case: ledger.state(case)
        for case in cases
        if _is_done(case, wanted(case, ledger), out, engine, ledger)
    }
    log.complete(log_row(case, state) for case, state in done.items())
    logger.info("{} cases, {} of them done by earlier runs", len(cases), len(done))
    return [case for case in cases if case not in done]


def _is_done(
    case: Case, wanted: Sequence[Kind], out: Path, engine: EngineName, ledger: Ledger
) -> bool:
    """Whether an earlier run has finished the case, and its folders are still there."""
    state = ledger.state(case)
    if engine is EngineName.NONE:
        asked = {request.kind for request in ledger.requests(case)}
        return state in (CaseState.PREPARED, CaseState.EXPORTED) and asked >= set(wanted)
    folders = ledger.folders(case)
    return state is CaseState.EXPORTED and all(
        kind in folders and (out / folders[kind]).is_dir() for kind in wanted
    )


def finish(summary: RunSummary, out: Path) -> RunSummary:
    """Tidy up and write the report."""
    files.remove_tree(out / STAGING)
    pictures = album.pictures(out, summary.results)
    write_report(replace(summary, pictures=pictures), out / REPORT)
    return summary
