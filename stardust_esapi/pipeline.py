"""The job, read as the workflow goes: case list, locate, prepare, transfer, verify, record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout
from loguru import logger

from stardust_esapi import __version__, files
from stardust_esapi.case_run import (
    Watcher,
    deliver_case,
    guarded,
    plan_case,
    prepare_case,
    record_prepared,
)
from stardust_esapi.caselist import CaseList, DuplicateRows, read_case_list
from stardust_esapi.errors import NotApprovedError, UsageError
from stardust_esapi.esapi import host
from stardust_esapi.esapi.backend import Backend
from stardust_esapi.esapi.connect import connect
from stardust_esapi.esapi.session import OpenPatient, Session
from stardust_esapi.esapi.write_gate import Approval
from stardust_esapi.identify import identified, open_patient
from stardust_esapi.logs import log_to
from stardust_esapi.model import Case, CaseResult, CaseState, Kind, TransferRequest
from stardust_esapi.record.audit import AUDIT_NAME, AuditLog, Event
from stardust_esapi.record.audit import check as check_audit
from stardust_esapi.record.ledger import LEDGER_NAME, Ledger
from stardust_esapi.record.output_log import OutputLog
from stardust_esapi.record.ready_list import READY_LIST_NAME, read_ready_list, write_ready_list
from stardust_esapi.report import album
from stardust_esapi.report.html import write_report
from stardust_esapi.report.summary import RunSummary
from stardust_esapi.settings import Engine, Settings
from stardust_esapi.transfer.courier import Courier
from stardust_esapi.transfer.deliver import STAGING
from stardust_esapi.transfer.engines import network_engine
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
        write: Whether the user allowed this run to change the clinical database (``--write``).
        accept_doubtful: Whether the user wants doubtful cases as they are (``--accept-doubtful``).
        backend: How ESAPI is reached, where that is not what the settings say: in a plug-in.
        wanted: Which cases of the list are meant; a plug-in takes those that are open.
    """

    cases: Path
    out: Path
    settings: Settings
    write: bool = False
    accept_doubtful: bool = False
    backend: Backend | None = None
    wanted: Callable[[Case], bool] = field(default=lambda case: True)  # noqa: ARG005

    def connect(self) -> Backend:
        """Reach ESAPI.

        Raises:
            UsageError: It cannot be had on this machine.
        """
        return self.backend or connect(self.settings.esapi)


def check(job: Job, watcher: Watcher) -> RunSummary:
    """Locate every case and say what an export would do; leaves nothing behind.

    Raises:
        UsageError: The list cannot be read or ESAPI not be reached.
    """
    started = datetime.now().astimezone()
    settings = job.settings
    listed = _read_list(job)

    def work(case: Case, patient: OpenPatient) -> CaseResult:
        return plan_case(case, patient, settings, watcher, accept_doubtful=job.accept_doubtful)

    chosen = _first_patients(listed.cases, settings.limit)
    watcher.start(len(chosen))
    results = []
    for result in _each_case(chosen, job.connect(), work):
        watcher.finish(result)
        results.append(result)
    return _summary(listed, settings, started, results, write=False)


def rehearse(job: Job, watcher: Watcher) -> RunSummary:
    """Say what an export would change and export, in a report; changes nothing.

    The list of what is ready for transfer is written too, where no export has written one.

    Raises:
        UsageError: The list cannot be read or ESAPI not be reached.
    """
    job = replace(job, out=files.long_path(job.out))
    with _output(job.out):
        summary = check(job, watcher)
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
        NotApprovedError: This run may not write, or Eclipse does not let it; nothing was changed.
    """
    started = datetime.now().astimezone()
    job, settings = replace(job, out=files.long_path(job.out)), job.settings
    backend = job.connect()
    approval = Approval(job.write, host.current(), _audit(job))
    obstacle = approval.obstacle(backend)
    if obstacle:
        raise NotApprovedError(f"{obstacle} Nothing was opened, nothing changed.")
    with _output(job.out):
        listed = _read_list(job)
        aside: list[str] = []
        with _books(job) as (ledger, log), _courier(job, ledger, watcher, aside) as courier:
            cases, _ = _once(_under_proven_ids(listed.cases, ledger, for_good=True))
            ledger.register(cases)

            def work(case: Case, patient: OpenPatient) -> CaseResult:
                result, colors = prepare_case(
                    case,
                    patient,
                    settings,
                    ledger,
                    job.out,
                    watcher,
                    approval,
                    accept_doubtful=job.accept_doubtful,
                )
                if settings.engine is Engine.ESAPI and result.state is CaseState.PREPARED:
                    engine = EsapiEngine(patient, colors)
                    result = deliver_case(result, engine, ledger, job.out, watcher)
                return result

            todo = _first_patients(_undone(cases, job, ledger, log), settings.limit)
            watcher.start(len(todo))
            prepared = _each_case(todo, backend, work, ledger.identified)
            now = _settle(_moved(prepared, courier), ledger, log, watcher, job)
            cases, same = _once(_under_proven_ids(listed.cases, ledger))
            results = _with_earlier(cases, now, ledger)
            write_ready_list(job.out / READY_LIST_NAME, ledger.ready())
            write_root_manifest(job.out, ledger.series())
        summary = _summary(listed, settings, started, results, write=True)
        summary = replace(
            summary,
            duplicates=(*summary.duplicates, *same),
            put_aside=tuple(aside),
            audit=_audited(job),
        )
        return _report(summary, job.out)


def transfer(job: Job, watcher: Watcher) -> RunSummary:
    """Transfer what a ready list names, without ESAPI and without any permission to write.

    Args:
        job: ``job.cases`` is an ``export_list.csv``.
        watcher: Who looks on.

    Raises:
        UsageError: The list or the output folder cannot be used, or the peer is not known.
    """
    started = datetime.now().astimezone()
    job, settings = replace(job, out=files.long_path(job.out)), job.settings
    with _output(job.out):
        ready = {result.case: result for result in _ready_cases(job.cases, settings)}
        aside: list[str] = []
        with _books(job) as (ledger, log), _courier(job, ledger, watcher, aside) as courier:
            ledger.register(ready)
            todo = _first_patients(_undone(list(ready), job, ledger, log), settings.limit)
            watcher.start(len(todo))

            def record(result: CaseResult) -> CaseResult:
                record_prepared(result, ledger, job.out)
                return result

            prepared = (guarded(case, partial(record, ready[case])) for case in todo)
            now = _settle(_moved(prepared, courier), ledger, log, watcher, job)
            results = _with_earlier(list(ready), now, ledger)
            write_root_manifest(job.out, ledger.series())
        listed = CaseList(job.cases, tuple(ready))
        summary = _summary(listed, settings, started, results, write=True)
        summary = replace(summary, esapi="", put_aside=tuple(aside), audit=_audited(job))
        return _report(summary, job.out)


def write_transfer_commands(listed: Path, out: Path, settings: Settings) -> list[Path]:
    """Write the DCMTK commands that transfer a ready list, for a workstation without anything else.

    Raises:
        UsageError: The list cannot be read, or there is no peer in the settings.
    """
    from stardust_esapi.transfer.network.dcmtk import write_commands

    requests = [r for r in read_ready_list(listed) if r.kind in settings.kinds]
    files.make_folder(out)
    return write_commands(requests, settings.network, out)


def _each_case(
    cases: Sequence[Case],
    backend: Backend,
    work: Callable[[Case, OpenPatient], CaseResult],
    identified: Callable[[Case, Case], None] = lambda listed, case: None,  # noqa: ARG005
) -> Iterator[CaseResult]:
    """Do the work of every case on its open patient; a bad one is a result like any other.

    A case that another row has brought already, under another spelling of the patient's id, does
    not come again. ``identified`` is told of each case whose patient has another id than its row
    says.
    """
    done: set[str] = set()
    with Session(backend) as session:
        for listed in cases:
            true, comes_again = listed, False

            def opened(listed: Case = listed) -> CaseResult:
                nonlocal true, comes_again
                with open_patient(session, listed) as (case, patient):
                    if case.key != listed.key:
                        identified(listed, case)
                    true, comes_again = case, case.key in done
                    if comes_again:
                        return CaseResult(case, CaseState.PENDING)
                    return guarded(case, lambda: work(case, patient))

            result = guarded(listed, opened)
            done.add(true.key)
            if not comes_again:
                yield replace(result, case=true)  # also where closing the patient failed


def _under_proven_ids(
    cases: Sequence[Case], ledger: Ledger, *, for_good: bool = False
) -> list[Case]:
    """The cases under the patient ids that were proven.

    Args:
        cases: As listed.
        ledger: Knows what this run or an earlier one has proven.
        for_good: Only what nothing can change any more: a series has one patient, while a plan of
            the same name may come to another one.
    """
    proven = ledger.patient_ids()
    return [
        identified(case, proven[case.key])
        if case.id_is_number and case.key in proven and (case.series_uid or not for_good)
        else case
        for case in cases
    ]


def _once(cases: Sequence[Case]) -> tuple[list[Case], list[str]]:
    """Each case once, and a sentence for rows that turned out to mean the same one."""
    rows: dict[str, list[Case]] = {}
    for case in cases:
        rows.setdefault(case.key, []).append(case)
    return [same[0] for same in rows.values()], [
        f"Rows {', '.join(str(case.row) for case in same)} mean the same case of patient "
        f"{same[0].patient_id}: it is exported once."
        for same in rows.values()
        if len(same) > 1
    ]


def _moved(prepared: Iterator[CaseResult], courier: Courier | None) -> Iterator[CaseResult]:
    """Results as they come through: a case that the courier takes comes out later, moved."""
    for result in prepared:
        if courier is None or result.state is not CaseState.PREPARED:
            yield result
        else:
            yield from courier.submit(result)
    if courier is not None:
        yield from courier.finish()


def _settle(
    results: Iterator[CaseResult],
    ledger: Ledger,
    log: OutputLog,
    watcher: Watcher,
    job: Job,
) -> list[CaseResult]:
    """Record every result as it comes; stop at the first failure where ``fail_fast`` says so."""
    settled = []
    for result in results:
        logger.info("{} {}", result.state, result.reason or result.case)
        if result.state in (CaseState.FAILED, CaseState.DOUBTFUL):
            # Success is in the ledger already.
            ledger.failed(result.case, result.reason, result.outcomes, result.state)
        if result.state.is_exported:
            _audit(job).append(Event.EXPORTED, _export_facts(result))
        status = f"{result.state}: {result.reason}" if result.reason else result.state
        log.append(*_log_row(result.case, status))
        watcher.finish(result)
        settled.append(result)
        if job.settings.fail_fast and result.state is CaseState.FAILED:
            break
    return settled


@contextmanager
def _courier(
    job: Job, ledger: Ledger, watcher: Watcher, aside: list[str]
) -> Iterator[Courier | None]:
    """The network side of a run; None where ESAPI moves the data itself, or nobody does.

    At its end, ``aside`` gets a sentence for each instance that nobody had asked for.

    Raises:
        UsageError: The network cannot be used as the settings say.
    """
    if job.settings.engine in (Engine.ESAPI, Engine.NONE):
        yield None
        return
    with network_engine(job.settings, job.out) as engine:

        def move(prepared: CaseResult) -> CaseResult:
            with ledger.sibling() as own:
                return guarded(
                    prepared.case,
                    lambda: deliver_case(prepared, engine, own, job.out, watcher),
                )

        with Courier(move, job.settings.network.associations, engine.cancel) as courier:
            yield courier
        aside += engine.put_aside


def _read_list(job: Job) -> CaseList:
    rules = job.settings.caselist
    listed = read_case_list(job.cases, rejected=rules.rejected, sheet=rules.sheet)
    return replace(listed, cases=tuple(case for case in listed.cases if job.wanted(case)))


def _audit(job: Job) -> AuditLog:
    return AuditLog(job.settings.audit or job.out / AUDIT_NAME)


def _audited(job: Job) -> str:
    """What the audit log holds: its end, kept elsewhere, proves that nothing was cut off."""
    log = _audit(job)
    if not log.path.exists():
        return ""
    report = check_audit(log.path)
    said = f"Audit log {log.path.name}: {report.events} events, the last one {report.last}."
    return " ".join((said, *report.problems, *report.open_ends))


def _export_facts(result: CaseResult) -> dict[str, object]:
    """Who took what out of Eclipse: ESAPI has no public call that would log it there."""
    return {
        "patient_id": result.case.patient_id,
        "case": str(result.case),
        "series": [request.series_uid for request in result.requests],
        "script": host.current().name,
        "script_version": host.current().version,
        "package_version": __version__,
    }


def _ready_cases(path: Path, settings: Settings) -> list[CaseResult]:
    """The rows of a ready list as prepared cases: rows of one patient and plan belong together.

    A plan may stand there for several cases: a kind that comes again begins another one.
    """
    groups: list[list[tuple[int, TransferRequest]]] = []
    for row, request in enumerate(read_ready_list(path), start=2):
        first = groups[-1][0][1] if groups else None
        if (
            first is None
            or (first.patient_id, first.plan_id) != (request.patient_id, request.plan_id)
            or request.kind in {other.kind for _, other in groups[-1]}
        ):
            groups.append([])
        groups[-1].append((row, request))
    # Only now: without the kinds that are not asked for, cases of one plan would run together.
    wanted = [[pair for pair in group if pair[1].kind in settings.kinds] for group in groups]
    return [
        CaseResult(_case_of(group), CaseState.PREPARED, requests=tuple(r for _, r in group))
        for group in wanted
        if group
    ]


def _case_of(group: Sequence[tuple[int, TransferRequest]]) -> Case:
    """The case behind rows of a ready list, as far as they tell it."""
    row, first = group[0]
    series = {request.kind: request.series_uid for _, request in group}
    return Case(
        row=row,
        patient_id=first.patient_id,
        plan_id=first.plan_id,
        series_uid=series.get(Kind.CT, ""),
        structure_set_id=first.structure_set_uid,
        km_series_uid=series.get(Kind.KM, ""),
        mr_series_uid=series.get(Kind.MR, ""),
    )


def _is_ready(request: TransferRequest) -> bool:
    return request.kind is Kind.MR or bool(request.structure_set_uid)


def _log_row(case: Case, status: str) -> tuple[str, str, str, str]:
    return case.patient_id, case.series_uid, case.structure_set_id, status


def _undone(cases: Sequence[Case], job: Job, ledger: Ledger, log: OutputLog) -> list[Case]:
    """The cases that no earlier run has finished; the log is completed with the others."""
    done = {case: ledger.state(case) for case in cases if _is_done(case, job, ledger)}
    log.complete(_log_row(case, state) for case, state in done.items())
    logger.info("{} cases, {} of them done by earlier runs", len(cases), len(done))
    return [case for case in cases if case not in done]


def _is_done(case: Case, job: Job, ledger: Ledger) -> bool:
    """Whether an earlier run has finished the case, and its folders are still there."""
    requests = {request.kind: request.series_uid for request in ledger.requests(case)}
    state, wanted = ledger.state(case), _wanted(case, job.settings, requests.get(Kind.CT, ""))
    if job.settings.engine is Engine.NONE:
        return state in (CaseState.PREPARED, CaseState.EXPORTED) and requests.keys() >= set(wanted)
    folders = ledger.folders(case)
    return state is CaseState.EXPORTED and all(
        kind in folders and (job.out / folders[kind]).is_dir() for kind in wanted
    )


def _wanted(case: Case, settings: Settings, planning_series: str) -> list[Kind]:
    """The kinds that a row names and the settings ask for."""
    named = {
        # A planning CT goes with every row of a case list; a ready list may do without.
        Kind.CT: case.series_uid or case.target_id,
        Kind.KM: case.km_series_uid not in ("", planning_series),
        Kind.MR: case.mr_series_uid,
    }
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
            told=ledger.told(case),
            outcomes=ledger.outcomes(case),
            left_out=ledger.left_out(case),
            doubts=ledger.doubts(case),
            warnings=ledger.warnings(case),
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
def _books(job: Job) -> Iterator[tuple[Ledger, OutputLog]]:
    """The ledger with a run of its own, and the log."""
    with Ledger(job.out) as ledger:
        ledger.begin_run(
            version=__version__,
            esapi=job.settings.esapi,
            engine=job.settings.engine,
            case_list=job.cases.name,
        )
        try:
            yield ledger, OutputLog(job.out)
        except BaseException as error:
            ledger.end_run(type(error).__name__)
            raise
        ledger.end_run("done")


def _report(summary: RunSummary, out: Path) -> RunSummary:
    """Tidy up and write the report."""
    files.remove_tree(out / STAGING)
    pictures = album.pictures(out, summary.results)
    write_report(replace(summary, pictures=pictures), out / REPORT)
    return summary


def _summary(
    listed: CaseList,
    settings: Settings,
    started: datetime,
    results: Sequence[CaseResult],
    *,
    write: bool,
) -> RunSummary:
    own = host.current()
    return RunSummary(
        program_version=__version__,
        started=started,
        finished=datetime.now().astimezone(),
        case_list=listed.source.name,
        esapi=settings.esapi,
        engine=settings.engine,
        write=write,
        rejected=listed.rejected,
        list_remarks=listed.remarks,
        comments=listed.comments,
        row_problems=listed.problems,
        duplicates=tuple(_duplicate(rows) for rows in listed.duplicates),
        results=tuple(results),
        launcher=f"{own.name} {own.version}" if own.is_launcher else "",
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
