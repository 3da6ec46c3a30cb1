"""The job, read as the workflow goes: case list, locate, prepare, transfer, verify, record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from loguru import logger

from stardust_esapi import __version__, files
from stardust_esapi.caselist import CaseList, read_case_list
from stardust_esapi.caselist.decisions import Decisions
from stardust_esapi.choices import EngineName
from stardust_esapi.errors import (
    NotApprovedError,
    StardustError,
    UsageError,
    as_given,
    in_words,
)
from stardust_esapi.esapi import host
from stardust_esapi.esapi.backend import Backend
from stardust_esapi.esapi.connect import connect
from stardust_esapi.esapi.session import OpenPatient, Session
from stardust_esapi.esapi.write_gate import Approval
from stardust_esapi.job.case import (
    Watcher,
    deliver_case,
    guarded,
    plan_case,
    prepare_case,
    record_prepared,
)
from stardust_esapi.job.choose import Choice, choose
from stardust_esapi.job.courier import Courier
from stardust_esapi.job.review import Review
from stardust_esapi.job.workspace import (
    PLAN_REPORT,
    Interval,
    claimed,
    log_row,
    open_records,
    report,
    tidy,
    undone,
)
from stardust_esapi.model import Case, CaseResult, CaseState, Kind
from stardust_esapi.prepare.identify import identified, open_patient
from stardust_esapi.record.audit import AUDIT_NAME, AuditLog, Event, lost_since
from stardust_esapi.record.audit import check as check_audit
from stardust_esapi.record.ledger import LEDGER_NAME, Ledger
from stardust_esapi.record.output_log import OutputLog
from stardust_esapi.record.ready_list import (
    READY_LIST_NAME,
    is_ready,
    read_ready_cases,
    read_ready_list,
    write_ready_list,
)
from stardust_esapi.report.failed_rows import write_failed_rows
from stardust_esapi.report.html import write_report
from stardust_esapi.report.summary import RunSummary, as_text
from stardust_esapi.settings import Settings
from stardust_esapi.transfer.esapi_engine import EsapiEngine
from stardust_esapi.transfer.network.start import network_engine, require_peer
from stardust_esapi.verify.manifest import root_manifest_bytes, write_root_manifest
from stardust_esapi.wording import counted, row_ranges


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
        choice: Which of these the user named for this run; the report is of all.
        review: Where a run without write leaves the page that a person reviews the cases on; None
            for none.
    """

    cases: Path
    out: Path
    settings: Settings
    write: bool = False
    accept_doubtful: bool = False
    backend: Backend | None = None
    wanted: Callable[[Case], bool] = field(default=lambda case: True)  # noqa: ARG005
    choice: Choice = field(default_factory=Choice)
    review: Path | None = None

    def connect(self) -> Backend:
        """Reach ESAPI.

        Raises:
            UsageError: It cannot be had on this machine.
        """
        return self.backend or connect(self.settings.esapi)

    def with_long_paths(self) -> Job:
        """The same with paths that Windows takes however long they are."""
        return replace(self, cases=files.long_path(self.cases), out=files.long_path(self.out))


def check(job: Job, watcher: Watcher) -> RunSummary:
    """Locate every case and say what an export would do; leaves nothing behind but a review.

    Raises:
        UsageError: The list cannot be read, ESAPI not be reached or the review not be put there.
    """
    job = job.with_long_paths()
    return _planned(job, _read_list(job), job.connect(), watcher)


def _planned(job: Job, listed: CaseList, backend: Backend, watcher: Watcher) -> RunSummary:
    started = datetime.now().astimezone()
    settings, decisions = job.settings, job.choice.decisions
    job.choice.refuse_nothing(listed.cases)
    chosen = choose(listed.cases, lambda case: CaseState.PENDING, job.choice, settings.limit)  # noqa: ARG005
    review = Review(job.review, settings) if job.review else None

    def work(case: Case, patient: OpenPatient) -> CaseResult:
        return plan_case(
            case,
            patient,
            settings,
            watcher,
            accept_doubtful=job.accept_doubtful,
            decisions=decisions,
            review=review,
        )

    def conclude(*, is_whole: bool = False) -> RunSummary:
        summary = _summary(listed, settings, started, results, settings.esapi, write=False)
        summary = _with_decisions(summary, decisions, listed.cases)
        if review is None:
            return summary
        return replace(summary, review=review.finish(summary, is_whole=is_whole))

    watcher.start(len(chosen))
    results: list[CaseResult] = []
    try:
        for result in _each_case(chosen, backend, work):
            watcher.finish(result)
            results.append(result)
    except BaseException as stop:
        if review and results:
            stop.add_note(as_given(f"Review of what was looked at: {conclude().review}"))
        raise
    return conclude(is_whole=True)


def rehearse(job: Job, watcher: Watcher) -> RunSummary:
    """Say what an export would change and export, in a report; changes nothing.

    The list of what is ready for transfer is written too, where no export has written one.

    Raises:
        UsageError: The list cannot be read or ESAPI not be reached.
    """
    _refuse_plans_from_esapi(job)
    job = job.with_long_paths()
    listed = _read_list(job)
    backend = job.connect()
    with claimed(job.out):  # what was wrong so far has left nothing behind
        summary = _planned(job, listed, backend, watcher)
        if not (job.out / LEDGER_NAME).exists():
            ready = [r for result in summary.results for r in result.requests if is_ready(r)]
            write_ready_list(job.out / READY_LIST_NAME, ready)
        written = write_report(summary, job.out / PLAN_REPORT)
    return replace(summary, report=written.name)


def export(job: Job, watcher: Watcher) -> RunSummary:
    """Prepare and export the cases of a list; this run may change the clinical database.

    Cases that an earlier run has exported are left alone; one that was interrupted goes on.

    Raises:
        UsageError: The list or the output folder cannot be used, or ESAPI not be reached.
        NotApprovedError: This run may not write, or Eclipse does not let it; nothing was changed.
    """
    started = datetime.now().astimezone()
    _refuse_plans_from_esapi(job)
    job = job.with_long_paths()
    backend = job.connect()
    approval = Approval(job.write, host.current(), AuditLog(_audit_path(job)))
    obstacle = approval.obstacle(backend)
    if obstacle:
        raise NotApprovedError(f"{obstacle} Nothing was opened, nothing changed.")
    require_peer(job.settings)
    source = _Eclipse(job, backend, approval, watcher)
    with claimed(job.out):
        return _run(job, source, watcher, started)


def transfer(job: Job, watcher: Watcher) -> RunSummary:
    """Transfer what a ready list names, without ESAPI and without any permission to write.

    Args:
        job: ``job.cases`` is an ``export_list.csv``.
        watcher: Who looks on.

    Raises:
        UsageError: The list or the output folder cannot be used, or the peer is not known.
    """
    started = datetime.now().astimezone()
    job = job.with_long_paths()
    require_peer(job.settings)
    source = _ReadyList(job)
    with claimed(job.out):
        return _run(job, source, watcher, started)


def _refuse_plans_from_esapi(job: Job) -> None:
    if job.settings.engine is EngineName.ESAPI and Kind.PLAN in job.settings.kinds:
        raise UsageError(
            "ESAPI shows too little of a plan to write an RT Plan that others could trust. Fetch "
            "it over the network (--engine qr or dcmtk), or take plan out of --kinds."
        )


Results = Generator[CaseResult, None, None]


class _Source(Protocol):
    """Where the prepared cases of a run come from."""

    listed: CaseList
    esapi: str  # how ESAPI is reached; empty where nothing of it is needed

    def cases(self, ledger: Ledger, *, for_good: bool = False) -> tuple[list[Case], list[str]]:
        """Each case once, and a sentence for rows that mean the same one.

        Args:
            ledger: Knows which patients the rows are of, where that had to be checked.
            for_good: Only by what nothing can change any more.
        """

    def wanted(self, case: Case, ledger: Ledger) -> list[Kind]:
        """The kinds that a case is to be exported for."""

    def prepare(self, todo: Sequence[Case], ledger: Ledger) -> Results:
        """Prepare the cases one by one, and record it."""

    def close(self, ledger: Ledger) -> None:
        """Write what goes with the prepared cases of all runs."""


class _Eclipse:
    """Cases of a case list, prepared in Eclipse."""

    def __init__(self, job: Job, backend: Backend, approval: Approval, watcher: Watcher) -> None:
        self.listed, self.esapi = _read_list(job), job.settings.esapi
        self._job, self._backend, self._approval = job, backend, approval
        self._watcher = watcher

    def cases(self, ledger: Ledger, *, for_good: bool = False) -> tuple[list[Case], list[str]]:
        return _once(_under_verified_ids(self.listed.cases, ledger, for_good=for_good))

    def wanted(self, case: Case, ledger: Ledger) -> list[Kind]:
        planning = {r.series_uid for r in ledger.requests(case) if r.kind is Kind.CT}
        named = {
            Kind.CT: True,  # goes with every row
            Kind.KM: case.km_series_uid not in {"", *planning},
            Kind.MR: case.mr_series_uid,
            Kind.DOSE: True,  # of every plan; a row without one is told of it
            Kind.PLAN: True,
        }
        return [kind for kind in self._job.settings.kinds if named[kind]]

    def prepare(self, todo: Sequence[Case], ledger: Ledger) -> Results:
        job = self._job
        approval = replace(self._approval, audit=_audit(job, ledger))

        def work(case: Case, patient: OpenPatient) -> CaseResult:
            result, colors = prepare_case(
                case,
                patient,
                job.settings,
                ledger,
                job.out,
                self._watcher,
                approval,
                accept_doubtful=job.accept_doubtful,
                decisions=job.choice.decisions,
            )
            if job.settings.engine is EngineName.ESAPI and result.state is CaseState.PREPARED:
                engine = EsapiEngine(patient, colors)
                result = deliver_case(result, engine, ledger, job.out, self._watcher)
            return result

        return _each_case(todo, self._backend, work, ledger.identified)

    def close(self, ledger: Ledger) -> None:
        write_ready_list(self._job.out / READY_LIST_NAME, ledger.ready())


class _ReadyList:
    """Cases of a ready list, which somebody has prepared."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._ready = {r.case: r for r in read_ready_cases(job.cases, job.settings.kinds)}
        self.listed, self.esapi = CaseList(job.cases, tuple(self._ready)), ""
        job.choice.refuse_nothing(self.listed.cases)

    def cases(self, ledger: Ledger, *, for_good: bool = False) -> tuple[list[Case], list[str]]:  # noqa: ARG002 - as _Source has it
        return list(self._ready), []

    def wanted(self, case: Case, ledger: Ledger) -> list[Kind]:  # noqa: ARG002 - as _Source has it
        return [request.kind for request in self._ready[case].requests]

    def prepare(self, todo: Sequence[Case], ledger: Ledger) -> Results:
        wanted = self._job.settings.mr_structures

        def record(case: Case) -> CaseResult:
            return record_prepared(self._ready[case], ledger, self._job.out, mr_structures=wanted)

        return (guarded(case, partial(record, case)) for case in todo)

    def close(self, ledger: Ledger) -> None:
        """Nothing: the list is there."""


def _run(job: Job, source: _Source, watcher: Watcher, started: datetime) -> RunSummary:
    """Prepare, transfer, verify and record what earlier runs have not; the report is of all.

    Every minute or 25 cases, and where it is stopped, manifest, ready list and report are brought
    up to what is done. Who stops it is told that by a note on the exception.
    """
    settings = job.settings
    quarantined: list[str] = []
    now: dict[str, CaseResult] = {}
    begun = False
    records = open_records(job.out, esapi=source.esapi, engine=settings.engine, case_list=job.cases)
    with records as (ledger, log):
        _refuse_less_than_was_audited(job, ledger)

        def conclude(*, running: bool = False) -> RunSummary:
            cases, same = source.cases(ledger)
            every = [now.get(case.key) or _as_recorded(case, ledger, job.choice) for case in cases]
            _list_placed(job, ledger)
            source.close(ledger)
            audited, lost = _audited(job, ledger)
            summary = _summary(source.listed, settings, started, every, source.esapi, write=True)
            summary = _with_decisions(summary, job.choice.decisions, cases)
            summary = replace(
                summary,
                duplicates=(*summary.duplicates, *same),
                quarantined=tuple(quarantined),
                audit=audited,
                audit_problems=lost,
                running=running,
            )
            ledger.summarise(as_text(summary))
            summary = report(summary, job.out)
            if running or not source.listed.columns:
                return summary
            failed = write_failed_rows(job.out, source.listed, every)
            return replace(summary, failed_rows=failed.name if failed else "")

        try:
            with _courier(job, ledger, watcher, quarantined) as courier:
                cases, _ = source.cases(ledger, for_good=True)
                job.choice.refuse_nothing(cases)
                ledger.register(cases)
                begun = True
                empty = _summary(source.listed, settings, started, [], source.esapi, write=True)
                ledger.summarise(as_text(empty))
                todo = undone(cases, source.wanted, job.out, settings.engine, ledger, log)
                todo = choose(todo, ledger.state, job.choice, settings.limit)
                watcher.start(len(todo))
                since = Interval()
                with closing(source.prepare(todo, ledger)) as prepared:
                    for result in _settled(_moved(prepared, courier), ledger, log, watcher, job):
                        now[result.case.key] = result
                        if since.is_due():
                            with since.measured():
                                conclude(running=True)
        except BaseException as stop:
            if begun:
                stop.add_note(_concluded(conclude, job.out))
            raise
        summary = conclude()
    tidy(job.out)
    return summary


def _as_recorded(case: Case, ledger: Ledger, choice: Choice) -> CaseResult:
    """What earlier runs have made of a case; one that the review left out says so."""
    result = ledger.result(case)
    if choice.decisions and result.state is CaseState.PENDING:
        return replace(result, reason=choice.decisions.why_not(case))
    return result


def _with_decisions(
    summary: RunSummary, decisions: Decisions | None, cases: Sequence[Case]
) -> RunSummary:
    if decisions is None:
        return summary
    left_out = [case for case in cases if not decisions.accepts(case)]
    rejected = [case for case in left_out if (found := decisions.of(case)) and found.is_rejected]
    notes = [*summary.list_notes, *decisions.sentences(cases)]
    notes += [f"{case}: {decisions.why_not(case)}" for case in rejected]
    if undecided := [case.row for case in left_out if case not in rejected]:
        notes.append(f"Left out, not decided in the review: {row_ranges(undecided)}.")
    return replace(summary, list_notes=tuple(notes))


def _concluded(conclude: Callable[[], RunSummary], out: Path) -> str:
    """Bring the books of a run that ends early up to date; what stops that is said, no more."""
    try:
        summary = conclude()
    except (StardustError, OSError) as error:
        why = in_words(error) if isinstance(error, OSError) else str(error)
        return f"The report could not be brought up to date: {why.rstrip('.')}."
    return as_given(f"{summary.verdict}. Report: {out / summary.report}")


def write_transfer_commands(listed: Path, out: Path, settings: Settings) -> list[Path]:
    """Write the DCMTK commands that transfer a ready list, for a workstation without anything else.

    Raises:
        UsageError: The list cannot be read, or there is no peer in the settings.
    """
    from stardust_esapi.transfer.network.dcmtk import write_commands

    require_peer(settings)
    requests = [r for r in read_ready_list(files.long_path(listed)) if r.kind in settings.kinds]
    out = files.long_path(out)
    files.make_folder(out)
    return write_commands(requests, settings.network, out)


def _each_case(
    cases: Sequence[Case],
    backend: Backend,
    work: Callable[[Case, OpenPatient], CaseResult],
    identified: Callable[[Case, Case], None] = lambda listed, case: None,  # noqa: ARG005
) -> Results:
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


def _under_verified_ids(
    cases: Sequence[Case], ledger: Ledger, *, for_good: bool = False
) -> list[Case]:
    """The cases under the patient ids that were verified.

    Args:
        cases: As listed.
        ledger: Knows what this run or an earlier one has found out.
        for_good: Only what nothing can change any more: a series has one patient, while a plan of
            the same name may come to another one.
    """
    verified = ledger.patient_ids()
    return [
        identified(case, verified[case.key])
        if case.id_is_number and case.key in verified and (case.series_uid or not for_good)
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


def _settled(
    results: Iterator[CaseResult],
    ledger: Ledger,
    log: OutputLog,
    watcher: Watcher,
    job: Job,
) -> Iterator[CaseResult]:
    """Record every result as it comes; stop at the first failure where ``fail_fast`` says so."""
    for result in results:
        logger.info("{} {}", result.state, result.reason or result.case)
        if result.state.is_given_up:
            # Success is in the ledger already.
            ledger.failed(result.case, result.reason, result.outcomes, result.state)
        if result.state.is_exported:
            facts = _export_facts(result)
            if job.choice.decisions:
                facts |= job.choice.decisions.facts(result.case)
            _audit(job, ledger).append(Event.EXPORTED, facts)
        status = f"{result.state}: {result.reason}" if result.reason else result.state
        log.append(*log_row(result.case, status))
        watcher.finish(result)
        yield result
        if job.settings.fail_fast and result.state is CaseState.FAILED:
            break


@contextmanager
def _courier(
    job: Job, ledger: Ledger, watcher: Watcher, quarantined: list[str]
) -> Iterator[Courier | None]:
    """The network side of a run; None where ESAPI moves the data itself, or nobody does.

    At its end, ``quarantined`` gets a sentence for each instance that nobody had asked for.

    Raises:
        UsageError: The network cannot be used as the settings say.
    """
    if job.settings.engine in (EngineName.ESAPI, EngineName.NONE):
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
        quarantined += map(str, engine.quarantined)


def _read_list(job: Job) -> CaseList:
    listed = read_case_list(job.cases, job.settings.caselist)
    cases = tuple(case for case in listed.cases if job.wanted(case))
    job.choice.refuse_nothing(cases)
    whole = len(cases) == len(listed.cases)  # else its failed rows are not those of the list
    return replace(listed, cases=cases, columns=listed.columns if whole else {})


def _audit_path(job: Job) -> Path:
    """The log that this run writes to."""
    named = job.settings.audit
    return files.long_path(named) if named else job.out / AUDIT_NAME


def _audit(job: Job, ledger: Ledger) -> AuditLog:
    """The log, whose end the ledger keeps."""
    path = _audit_path(job)
    return AuditLog(path, partial(ledger.audited, path))


def _refuse_less_than_was_audited(job: Job, ledger: Ledger) -> None:
    path = _audit_path(job)
    mark = ledger.audit_logs().get(path)
    if mark and (lost := lost_since(path, mark)):
        raise UsageError(
            f"The audit log is less than it was. {lost} Nothing was opened, nothing changed: "
            "restore it from a backup, or go on in another (--audit); the report tells of both."
        )


def _list_placed(job: Job, ledger: Ledger) -> None:
    """Write the root manifest. Its digest is in the chain first: a kill leaves none unnamed."""
    entries = ledger.series()
    digest = hashlib.sha256(root_manifest_bytes(entries)).hexdigest()
    facts = {"sha256": digest, "series": len(entries)} | _program_facts()
    _audit(job, ledger).append(Event.LISTED, facts)
    write_root_manifest(job.out, entries)


def _audited(job: Job, ledger: Ledger) -> tuple[str, tuple[str, ...]]:
    """What the audit logs of this folder hold, and what is wrong with them.

    Each one's end, kept elsewhere than ledger and log, proves that nothing was cut off.
    """
    reports = [check_audit(path, mark) for path, mark in ledger.audit_logs().items()]
    said = [
        f"Audit log {r.path.name}: {counted(r.events, 'event')}, "
        f"the last one {r.last or 'unknown'}."
        for r in reports
    ]
    elsewhere = [
        f"Earlier runs wrote to another audit log: {r.path}."
        for r in reports
        if r.path != _audit_path(job)
    ]
    return (
        as_given(" ".join((*said, *elsewhere, *(text for r in reports for text in r.open_ends)))),
        tuple(as_given(problem) for r in reports for problem in r.problems),
    )


def _export_facts(result: CaseResult) -> dict[str, object]:
    """Who took what out of Eclipse: ESAPI has no public call that would log it there."""
    return {
        "patient_id": result.case.patient_id,
        "case": str(result.case),
        "series": [request.series_uid for request in result.requests],
    } | _program_facts()


def _program_facts() -> dict[str, object]:
    return {
        "script": host.current().name,
        "script_version": host.current().version,
        "package_version": __version__,
    }


def _summary(
    listed: CaseList,
    settings: Settings,
    started: datetime,
    results: Sequence[CaseResult],
    esapi: str,
    *,
    write: bool,
) -> RunSummary:
    own = host.current()
    return RunSummary(
        program_version=__version__,
        started=started,
        finished=datetime.now().astimezone(),
        case_list=listed.source.name,
        esapi=esapi,
        engine=settings.engine,
        write=write,
        rejected=listed.rejected,
        list_notes=listed.notes,
        comments=listed.comments,
        row_problems=listed.problems,
        duplicates=tuple(map(str, listed.duplicates)),
        results=tuple(results),
        launcher=f"{own.name} {own.version}" if own.is_launcher else "",
    )
