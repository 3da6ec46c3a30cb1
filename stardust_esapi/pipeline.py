"""The job, read as the workflow goes: case list, locate, prepare, transfer, verify, record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from loguru import logger

from stardust_esapi import __version__, files
from stardust_esapi.case_run import Watcher, deliver_case, guarded, plan_case, prepare_case
from stardust_esapi.caselist import CaseList, DuplicateRows, read_case_list
from stardust_esapi.errors import UsageError
from stardust_esapi.esapi.connect import connect
from stardust_esapi.esapi.session import OpenPatient, Session
from stardust_esapi.logs import log_to
from stardust_esapi.model import Case, CaseResult, CaseState, Kind, TransferRequest
from stardust_esapi.record.ledger import LEDGER_NAME, Ledger
from stardust_esapi.record.output_log import OutputLog
from stardust_esapi.record.ready_list import READY_LIST_NAME, write_ready_list
from stardust_esapi.report import album
from stardust_esapi.report.html import write_report
from stardust_esapi.report.summary import RunSummary
from stardust_esapi.settings import Engine, Settings
from stardust_esapi.transfer.deliver import STAGING
from stardust_esapi.transfer.esapi_engine import EsapiEngine
from stardust_esapi.verify.manifest import write_root_manifest

REPORT = "report.html"
PLAN_REPORT = "plan.html"
LOGS = "logs"
LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Job:
    """What the user asked for.

    Attributes:
        cases: The case list.
        out: The output folder; a check leaves nothing there.
        settings: Everything else.
    """

    cases: Path
    out: Path
    settings: Settings


def check(
    cases: Path, settings: Settings, watcher: Watcher, limit: int | None = None
) -> RunSummary:
    """Locate every case and say what an export would do; leaves nothing behind.

    Raises:
        UsageError: The list cannot be read or ESAPI not be reached.
    """
    started = datetime.now().astimezone()
    listed = read_case_list(cases)

    def work(case: Case, patient: OpenPatient) -> CaseResult:
        return plan_case(case, patient, settings, watcher)

    with Session(connect(settings.esapi)) as session:
        chosen = _first_patients(listed.cases, limit)
        results = list(_each_case(chosen, session, work, watcher, settings))
    return _summary(listed, settings, started, results, write=False)


def rehearse(job: Job, watcher: Watcher) -> RunSummary:
    """Say what an export would change and export, in a report; changes nothing.

    The list of what is ready for transfer is written too, where no export has written one.

    Raises:
        UsageError: The list cannot be read or ESAPI not be reached.
    """
    job = replace(job, out=files.long_path(job.out))
    with _output(job.out):
        summary = check(job.cases, job.settings, watcher, job.settings.limit)
        if not (job.out / LEDGER_NAME).exists():
            ready = [r for result in summary.results for r in result.requests if _is_ready(r)]
            write_ready_list(job.out / READY_LIST_NAME, ready)
        write_report(summary, job.out / PLAN_REPORT)
    return summary


def export(job: Job, watcher: Watcher) -> RunSummary:
    """Prepare and export the cases of a list; this run may change the clinical database.

    Cases that an earlier run has exported are left alone; one that was interrupted goes on.

    Raises:
        UsageError: The list or the output folder cannot be used, or ESAPI not be reached.
        NotApprovedError: Eclipse does not let this run write; nothing was changed.
    """
    started = datetime.now().astimezone()
    job, settings = replace(job, out=files.long_path(job.out)), job.settings
    with _output(job.out):
        listed = read_case_list(job.cases)
        backend = connect(settings.esapi)
        with Ledger(job.out) as ledger, _numbered_run(ledger, job) as run:
            log = OutputLog(job.out)
            ledger.register(listed.cases)
            done = {c: ledger.state(c) for c in listed.cases if _is_done(c, job, ledger)}
            log.complete(_log_row(case, state) for case, state in done.items())
            todo = [case for case in listed.cases if case not in done]
            todo = _first_patients(todo, settings.limit)
            logger.info("run {}: {} cases, {} to do", run, len(listed.cases), len(todo))

            def work(case: Case, patient: OpenPatient) -> CaseResult:
                result, colors = prepare_case(case, patient, settings, ledger, job.out, watcher)
                if settings.engine is Engine.ESAPI:
                    engine = EsapiEngine(patient, colors)
                    result = deliver_case(result, engine, ledger, job.out, watcher)
                return result

            now = []
            with Session(backend) as session:
                for result in _each_case(todo, session, work, watcher, settings):
                    _record(result, ledger, log)
                    now.append(result)
            results = _with_earlier(listed.cases, now, ledger)
            write_ready_list(job.out / READY_LIST_NAME, ledger.ready())
            write_root_manifest(job.out, ledger.series())
        files.remove_tree(job.out / STAGING)
        summary = _summary(listed, settings, started, results, write=True)
        write_report(replace(summary, pictures=album.pictures(job.out, results)), job.out / REPORT)
    return summary


def _each_case(
    cases: Sequence[Case],
    session: Session,
    work: Callable[[Case, OpenPatient], CaseResult],
    watcher: Watcher,
    settings: Settings,
) -> Iterator[CaseResult]:
    """Run every case; a bad one is a result like any other, unless ``fail_fast`` says stop."""
    watcher.start(len(cases))
    for case in cases:

        def opened(case: Case = case) -> CaseResult:
            with session.open_patient(case.patient_id) as patient:
                return work(case, patient)

        result = guarded(case, opened)
        logger.info("{} {}", result.state, result.reason or case)
        yield result
        watcher.finish(result)
        if settings.fail_fast and result.state is CaseState.FAILED:
            break


def _record(result: CaseResult, ledger: Ledger, log: OutputLog) -> None:
    """Keep what became of a case; success is in the ledger already."""
    if result.state is CaseState.FAILED:
        ledger.failed(result.case, result.reason, result.outcomes)
    status = f"{result.state}: {result.reason}" if result.reason else result.state
    log.append(*_log_row(result.case, status))


def _is_ready(request: TransferRequest) -> bool:
    return request.kind is Kind.MR or bool(request.structure_set_uid)


def _log_row(case: Case, status: str) -> tuple[str, str, str, str]:
    return case.patient_id, case.series_uid, case.structure_set_id, status


def _is_done(case: Case, job: Job, ledger: Ledger) -> bool:
    """Whether an earlier run has finished the case, and its folders are still there."""
    state, wanted = ledger.state(case), _wanted(case, job.settings)
    if job.settings.engine is Engine.NONE:
        prepared = {request.kind for request in ledger.requests(case)}
        return state in (CaseState.PREPARED, CaseState.EXPORTED) and prepared.issuperset(wanted)
    folders = ledger.folders(case)
    return state is CaseState.EXPORTED and all(
        kind in folders and (job.out / folders[kind]).is_dir() for kind in wanted
    )


def _wanted(case: Case, settings: Settings) -> list[Kind]:
    """The kinds that a row names and the settings ask for."""
    named = {Kind.CT: True, Kind.KM: case.km_series_uid, Kind.MR: case.mr_series_uid}
    return [kind for kind in settings.kinds if named[kind]]


def _first_patients(cases: Sequence[Case], limit: int | None) -> list[Case]:
    """The cases of the first ``limit`` patients, in list order."""
    chosen = list(dict.fromkeys(case.patient_id for case in cases))[:limit]
    return [case for case in cases if case.patient_id in set(chosen)]


def _with_earlier(
    cases: Sequence[Case], now: Sequence[CaseResult], ledger: Ledger
) -> list[CaseResult]:
    """Results in list order: of this run, else what the ledger knows."""
    fresh = {result.case.key: result for result in now}
    return [
        fresh.get(case.key)
        or CaseResult(
            case,
            ledger.state(case),
            ledger.reason(case),
            requests=ledger.requests(case),
            folders=ledger.folders(case),
            outcomes=ledger.outcomes(case),
            remarks=ledger.remarks(case),
        )
        for case in cases
    ]


def _duplicate(rows: DuplicateRows) -> str:
    numbers = ", ".join(map(str, rows.rows))
    plan = f", plan {rows.plan_id}" if rows.plan_id else ""
    sentence = f"Rows {numbers} are of the same patient {rows.patient_id}{plan} and series."
    if rows.left_out:
        left_out = ", ".join(map(str, rows.left_out))
        sentence += f" What they say stands in an earlier one already: {left_out}."
    return sentence


@contextmanager
def _numbered_run(ledger: Ledger, job: Job) -> Iterator[int]:
    """A run in the ledger, with a word on how it ended."""
    run = ledger.begin_run(
        version=__version__,
        esapi=job.settings.esapi,
        engine=job.settings.engine,
        case_list=job.cases.name,
    )
    try:
        yield run
    except BaseException as error:
        ledger.end_run(type(error).__name__)
        raise
    ledger.end_run("done")


def _summary(
    listed: CaseList,
    settings: Settings,
    started: datetime,
    results: Sequence[CaseResult],
    *,
    write: bool,
) -> RunSummary:
    return RunSummary(
        program_version=__version__,
        started=started,
        finished=datetime.now().astimezone(),
        case_list=listed.source.name,
        esapi=settings.esapi,
        engine=settings.engine,
        write=write,
        rejected_rows=listed.rejected,
        row_problems=listed.problems,
        duplicates=tuple(_duplicate(rows) for rows in listed.duplicates),
        results=tuple(results),
    )


@contextmanager
def _output(out: Path) -> Iterator[None]:
    """Claim the output folder for this run, and write its log there.

    Raises:
        UsageError: It cannot be made, or another run is working in it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / LOCK, timeout=0), log_to(out / LOGS, datetime.now().astimezone()):
            yield
    except Timeout:
        raise UsageError(
            f"Another run is working in {out}. Wait for it, or choose another --out."
        ) from None
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"--out {out} is not a folder. Choose another.") from None
