"""The job, read as the workflow goes: case list, locate, prepare, transfer, verify, record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout
from loguru import logger

from stardust_esapi import __version__, files
from stardust_esapi.caselist import CaseList, DuplicateRows, read_case_list
from stardust_esapi.errors import CaseError, NotApprovedError, UsageError
from stardust_esapi.esapi.connect import connect
from stardust_esapi.esapi.session import OpenPatient, Session
from stardust_esapi.locate import Located, locate
from stardust_esapi.logs import log_to
from stardust_esapi.model import Case, CaseResult, CaseState, Kind, TransferRequest
from stardust_esapi.prepare.apply import FailedStructuresError, SetPlan, create, survey
from stardust_esapi.record.ledger import LEDGER_NAME, Ledger
from stardust_esapi.record.output_log import OutputLog
from stardust_esapi.record.ready_list import READY_LIST_NAME, write_ready_list
from stardust_esapi.report.html import write_report
from stardust_esapi.report.pictures import Pictures, case_pictures
from stardust_esapi.report.summary import RunSummary
from stardust_esapi.settings import Engine, Settings
from stardust_esapi.transfer.deliver import STAGING, deliver
from stardust_esapi.transfer.esapi_engine import EsapiEngine
from stardust_esapi.verify.manifest import write_root_manifest

REPORT = "report.html"
PLAN_REPORT = "plan.html"
LOGS = "logs"
PICTURES = ".pictures"
LOCK = ".lock"


class Watcher(Protocol):
    """Who looks on while the job runs: a terminal, a log, a test."""

    def start(self, cases: int) -> None:
        """The list is read; so many cases are to be done."""

    def phase(self, case: Case, phase: str, done: int = 0, total: int = 0) -> None:
        """A case is in a phase; ``done`` of ``total`` images where that is known."""

    def finish(self, result: CaseResult) -> None:
        """A case is through."""


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
        return _plan(case, patient, settings, watcher)

    with Session(connect(settings.esapi)) as session:
        chosen = _first_patients(listed.cases, limit)
        results = _each_case(chosen, session, work, watcher, settings)
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
            todo = [c for c in listed.cases if not _is_done(c, job, ledger)]
            todo = _first_patients(todo, settings.limit)
            logger.info("run {}: {} cases, {} to do", run, len(listed.cases), len(todo))

            def work(case: Case, patient: OpenPatient) -> CaseResult:
                return _export_case(case, patient, job, ledger, watcher)

            def record(result: CaseResult) -> None:
                case = result.case
                if result.state is CaseState.FAILED:
                    ledger.failed(case, result.reason, result.outcomes)
                status = f"{result.state}: {result.reason}" if result.reason else result.state
                log.append(case.patient_id, case.series_uid, case.structure_set_id, status)

            with Session(backend) as session:
                now = _each_case(todo, session, work, watcher, settings, record)
            results = _with_earlier(listed.cases, now, ledger)
            write_ready_list(job.out / READY_LIST_NAME, ledger.ready())
            write_root_manifest(job.out, ledger.series())
        files.remove_tree(job.out / STAGING)
        summary = _summary(listed, settings, started, results, write=True)
        write_report(replace(summary, pictures=_pictures(job.out, results)), job.out / REPORT)
    return summary


def _plan(case: Case, patient: OpenPatient, settings: Settings, watcher: Watcher) -> CaseResult:
    """Locate and survey: as far as a run goes without write."""
    watcher.phase(case, "locate")
    located = locate(case, patient.view, settings.kinds)
    sets = survey(case, located, patient, settings)
    return CaseResult(
        case,
        CaseState.PENDING,
        planned=True,
        requests=_requests(case, located, sets, settings),
        outcomes=tuple(outcome for s in sets for outcome in s.outcomes),
        remarks=(*located.remarks, *_intentions(sets)),
    )


def _export_case(
    case: Case, patient: OpenPatient, job: Job, ledger: Ledger, watcher: Watcher
) -> CaseResult:
    settings = job.settings
    watcher.phase(case, "locate")
    located = locate(case, patient.view, settings.kinds)
    watcher.phase(case, "prepare")
    sets = survey(case, located, patient, settings)
    sets = create(case, sets, patient, settings.structures, write_allowed=True)
    result = CaseResult(
        case,
        CaseState.PREPARED,
        requests=_requests(case, located, sets, settings),
        outcomes=tuple(outcome for s in sets for outcome in s.outcomes),
        remarks=(*located.remarks, *(s.remark for s in sets if s.remark)),
    )
    for kind, folder in ledger.folders(case).items():
        if not (job.out / folder).exists():  # somebody removed it: to be exported anew
            ledger.withdrawn(case, kind)
    ledger.prepared(case, result.requests, result.outcomes, result.remarks)
    if settings.engine is Engine.NONE:
        return result
    engine = EsapiEngine(patient, _colors(sets))
    folders: dict[Kind, str] = {}
    for request in result.requests:

        def advance(images: int, request: TransferRequest = request) -> None:
            watcher.phase(case, f"transfer {request.kind}", images, request.images)

        folders[request.kind] = deliver(case, request, engine, ledger, job.out, advance)
    watcher.phase(case, "record")
    drawn = _draw(job.out, case, folders)
    remarks = (*result.remarks, *_shared(folders, result.requests), *drawn.problems)
    ledger.exported(case, remarks)
    return replace(result, state=CaseState.EXPORTED, folders=folders, remarks=remarks)


def _each_case(
    cases: Sequence[Case],
    session: Session,
    work: Callable[[Case, OpenPatient], CaseResult],
    watcher: Watcher,
    settings: Settings,
    record: Callable[[CaseResult], None] | None = None,
) -> list[CaseResult]:
    """Run every case; a bad one is a result like any other, unless ``fail_fast`` says stop."""
    results = []
    watcher.start(len(cases))
    for case in cases:
        result = _one_case(case, session, work)
        if record is not None:
            record(result)
        logger.info("{} {}", result.state, result.reason or case)
        watcher.finish(result)
        results.append(result)
        if settings.fail_fast and result.state is CaseState.FAILED:
            break
    return results


def _one_case(
    case: Case, session: Session, work: Callable[[Case, OpenPatient], CaseResult]
) -> CaseResult:
    began = time.monotonic()
    failed = CaseResult(case, CaseState.FAILED)
    try:
        with session.open_patient(case.patient_id) as patient:
            result = work(case, patient)
    except FailedStructuresError as error:
        result = replace(failed, reason=str(error), outcomes=error.outcomes)
    except CaseError as error:
        result = replace(failed, reason=_placed(case, str(error)))
    except (NotApprovedError, UsageError):
        raise
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        reason = f"{case}: {error.strerror or error}{where}. Check the folder and the disk."
        result = replace(failed, reason=reason)
    except Exception as error:  # noqa: BLE001 - a bad case never stops the run
        logger.opt(exception=True).debug("{}: unexpected", case)
        reason = (
            f"{case}: something unexpected happened ({type(error).__name__}). The run's log file "
            "has the details; please report it."
        )
        result = replace(failed, reason=reason)
    return replace(result, seconds=time.monotonic() - began)


def _placed(case: Case, message: str) -> str:
    return message if str(case) in message else f"{case}: {message}"


def _requests(
    case: Case, located: Located, sets: Sequence[SetPlan], settings: Settings
) -> tuple[TransferRequest, ...]:
    """The series of a case with every UID a transfer needs; no set UID while it is not made."""
    requests = [
        TransferRequest(
            kind=s.kind,
            patient_id=case.patient_id,
            plan_id=case.plan_id,
            study_uid=s.image.study_uid,
            series_uid=s.image.series_uid,
            structure_set_uid=s.uid,
            images=s.image.geometry.size[2],
        )
        for s in sets
    ]
    if located.mr is not None and Kind.MR in settings.kinds:
        requests.append(
            TransferRequest(
                kind=Kind.MR,
                patient_id=case.patient_id,
                plan_id=case.plan_id,
                study_uid=located.mr.study_uid,
                series_uid=located.mr.series_uid,
                registration_uid=located.registration.uid if located.registration else "",
                images=located.mr.geometry.size[2],
            )
        )
    return tuple(requests)


def _is_ready(request: TransferRequest) -> bool:
    return request.kind is Kind.MR or bool(request.structure_set_uid)


def _intentions(sets: Iterable[SetPlan]) -> Iterator[str]:
    """What a run with write would change, in words."""
    for s in sets:
        if s.uid:
            yield f"{s.structure_set_id} on the {s.kind} image is there and would be used."
        else:
            yield (
                f"Would make structure set {s.structure_set_id} with {len(s.plan.structures)} "
                f"structures on the {s.kind} image (or on the copy Eclipse makes of it)."
            )
        if s.remark:
            yield s.remark


def _colors(sets: Iterable[SetPlan]) -> dict[str, Mapping[str, tuple[int, int, int]]]:
    """Source colours by structure set UID and new id: before 16.1 Eclipse cannot keep them."""
    return {s.uid: {p.new_id: p.source.color for p in s.plan.structures} for s in sets}


def _shared(folders: Mapping[Kind, str], requests: Sequence[TransferRequest]) -> Iterator[str]:
    for request in requests:
        if not folders[request.kind].endswith(f"/{request.series_uid}"):
            yield (
                f"Series {request.series_uid} is exported for another case too, with another "
                f"structure set; this case lies in {folders[request.kind]}."
            )


def _is_done(case: Case, job: Job, ledger: Ledger) -> bool:
    """Whether an earlier run has finished the case, and its folders are still there."""
    state = ledger.state(case)
    if job.settings.engine is Engine.NONE:
        return state in (CaseState.PREPARED, CaseState.EXPORTED)
    folders = ledger.folders(case)
    return state is CaseState.EXPORTED and all(
        kind in folders and (job.out / folders[kind]).is_dir()
        for kind in _wanted(case, job.settings)
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


def _draw(root: Path, case: Case, folders: Mapping[Kind, str]) -> Pictures:
    """Draw a case from its exported files, and keep the pictures for later reports."""
    drawn = case_pictures({kind: root / folder for kind, folder in folders.items()})
    files.make_folder(root / PICTURES)
    for kind, picture in drawn.images.items():
        files.atomic_write(_picture_path(root, case, kind), picture)
    return drawn


def _pictures(root: Path, results: Iterable[CaseResult]) -> dict[str, Mapping[Kind, bytes]]:
    """Pictures of the exported cases: kept ones, or drawn now where a kill came before."""
    pictures: dict[str, Mapping[Kind, bytes]] = {}
    for result in results:
        if result.state is CaseState.EXPORTED:
            paths = {kind: _picture_path(root, result.case, kind) for kind in Kind}
            kept = {kind: path.read_bytes() for kind, path in paths.items() if path.is_file()}
            pictures[result.case.key] = kept or _draw(root, result.case, result.folders).images
    return pictures


def _picture_path(root: Path, case: Case, kind: Kind) -> Path:
    return root / PICTURES / f"{case.key}-{kind}.png"


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
