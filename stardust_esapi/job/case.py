"""What is done with one case, step by step, and how what goes wrong becomes a sentence."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from loguru import logger

from stardust_esapi.caselist.decisions import Decisions
from stardust_esapi.dicom.uids import derived_uid
from stardust_esapi.errors import (
    CaseError,
    NotApprovedError,
    PrepareError,
    UsageError,
    in_words,
)
from stardust_esapi.esapi.session import OpenPatient
from stardust_esapi.esapi.write_gate import Approval
from stardust_esapi.job.review import Review
from stardust_esapi.job.workspace import check_places
from stardust_esapi.model import (
    Case,
    CaseResult,
    CaseState,
    Kind,
    StructureOutcome,
    TransferRequest,
    structures_for_mr,
)
from stardust_esapi.prepare.create import FailedStructuresError, create
from stardust_esapi.prepare.locate import Located, locate
from stardust_esapi.prepare.shown import shown_state
from stardust_esapi.prepare.survey import SetPlan, Survey, survey
from stardust_esapi.record.ledger import Ledger, SeriesRecord, sender_reports
from stardust_esapi.report import album
from stardust_esapi.settings import Settings
from stardust_esapi.transfer.deliver import deliver
from stardust_esapi.transfer.engine import Engine
from stardust_esapi.transfer.esapi_engine import Colors

_IF_RIGHT = (
    "Nothing was written. Look at the case in Eclipse and correct the row; if it is right as it "
    "is, run with --accept-doubtful."
)


class Watcher(Protocol):
    """Who looks on while the job runs: a terminal, a log, a test."""

    def start(self, cases: int) -> None:
        """The list is read; so many cases are to be done."""

    def phase(self, case: Case, phase: str, done: int = 0, total: int = 0) -> None:
        """A case is in a phase; ``done`` of ``total`` images where that is known."""

    def finish(self, result: CaseResult) -> None:
        """A case is through."""


def plan_case(
    case: Case,
    patient: OpenPatient,
    settings: Settings,
    watcher: Watcher,
    *,
    accept_doubtful: bool,
    decisions: Decisions | None = None,
    review: Review | None = None,
) -> CaseResult:
    """Locate, survey and judge: as far as a run goes without write.

    Args:
        case: The case.
        patient: Its patient, open.
        settings: The settings.
        watcher: Who looks on.
        accept_doubtful: Whether to take a doubtful case as it is.
        decisions: Those of a review, where only what it accepted is taken.
        review: Gets a page of the case.

    Raises:
        CaseError: The case cannot be located or prepared, or is not what was reviewed.
    """
    watcher.phase(case, "locate")
    surveyed, result = _examined(
        case, patient, settings, accept_doubtful=accept_doubtful, decisions=decisions
    )
    if review is not None:
        watcher.phase(case, "review")
        shown = surveyed, result
        if result.state is CaseState.DOUBTFUL:
            # Whoever sees the doubts may accept the case: shown is what would be created then.
            with suppress(CaseError):  # not even then could it be
                shown = _examined(case, patient, settings, accept_doubtful=True)
        if shown[1].state is not CaseState.DOUBTFUL:
            review.add(*shown, patient)
    if result.state is CaseState.PREPARED:
        state = CaseState.PARTIAL if result.left_out else CaseState.PENDING
        result = replace(result, state=state)
    notes = (*result.notes, *_intentions(surveyed.sets))
    return replace(result, planned=True, notes=notes)


def prepare_case(
    case: Case,
    patient: OpenPatient,
    settings: Settings,
    ledger: Ledger,
    root: Path,
    watcher: Watcher,
    approval: Approval,
    *,
    accept_doubtful: bool,
    decisions: Decisions | None = None,
) -> tuple[CaseResult, dict[str, Colors]]:
    """Locate, judge and prepare a case; on return its structure sets are saved in Eclipse.

    In a plug-in they are created, and left to Eclipse's user to save: a note says so.

    Returns:
        The case as prepared, or as doubtful with nothing written; and the colours that its
        structure sets should have (see :class:`~stardust_esapi.transfer.esapi_engine.EsapiEngine`).

    Raises:
        CaseError: The case cannot be located or prepared, or is not what was reviewed.
        NotApprovedError: This run may not write.
    """
    watcher.phase(case, "locate")
    surveyed, result = _examined(
        case, patient, settings, accept_doubtful=accept_doubtful, decisions=decisions
    )
    if result.state is CaseState.DOUBTFUL:
        return result, {}
    watcher.phase(case, "prepare")
    if decisions is not None:
        approval = replace(approval, facts=decisions.facts(case))
    sets = create(case, surveyed.sets, patient, settings.structures, approval)
    created = {
        planned.structure_set_id: made.structure_set_id
        for planned, made in zip(surveyed.sets, sets, strict=True)
        if not planned.uid
    }
    result = replace(
        result,
        requests=_requests(case, surveyed.located, sets, settings),
        outcomes=_outcomes(sets),
        notes=(
            *result.notes,
            *(
                f"The structure set is called {identifier}: Eclipse refused {planned}."
                for planned, identifier in created.items()
                if identifier != planned
            ),
            *_unsaved(created.values(), patient),
        ),
    )
    result = record_prepared(result, ledger, root, mr_structures=settings.mr_structures)
    return result, _colors(sets)


def _examined(
    case: Case,
    patient: OpenPatient,
    settings: Settings,
    *,
    accept_doubtful: bool,
    decisions: Decisions | None = None,
) -> tuple[Survey, CaseResult]:
    """What a case needs, and the case: good to be prepared, or doubtful.

    What a review has accepted was accepted with its doubts, which it showed.
    """
    accept_doubtful = accept_doubtful or decisions is not None
    located = locate(case, patient.view, settings.kinds, settings.on_missing)
    surveyed = survey(case, located, patient, settings, accept_doubtful=accept_doubtful)
    decision = decisions.of(case) if decisions else None
    if decisions and (not decision or decision.state != shown_state(case, surveyed, patient)):
        raise PrepareError(
            f"{case}: it has changed since it was reviewed: in Eclipse, in the list or in the "
            "settings. Nothing was written. Review it again."
        )
    doubts = tuple(finding for finding in surveyed.findings if finding.fatal)
    doubtful = bool(doubts) and not accept_doubtful
    words = " ".join(doubt.text for doubt in doubts)
    left_out = surveyed.located.left_out
    return surveyed, CaseResult(
        case,
        CaseState.DOUBTFUL if doubtful else CaseState.PREPARED,
        reason=f"{case}: {words} {_IF_RIGHT}" if doubtful else "",
        requests=() if doubtful else _requests(case, surveyed.located, surveyed.sets, settings),
        outcomes=_outcomes(surveyed.sets),
        left_out=tuple(left_out),
        doubts=doubts,
        warnings=(
            *(f"The {kind.words} was left out. {why}" for kind, why in left_out.items()),
            *(s.note for s in surveyed.sets if s.note),
            *((f"Doubtful, and accepted as it is: {words}",) if doubts and not doubtful else ()),
        ),
        notes=(
            *case.notes,
            *surveyed.located.notes,
            *(finding.text for finding in surveyed.findings if not finding.fatal),
            *((f"It was {decision} ({decisions.name}).",) if decisions and decision else ()),
        ),
    )


def record_prepared(
    result: CaseResult, ledger: Ledger, root: Path, *, mr_structures: bool
) -> CaseResult:
    """Record that a case is ready for transfer.

    Args:
        result: The case.
        ledger: Keeps it.
        root: The output folder.
        mr_structures: Whether an MR gets a structure set that is derived from the CT's.

    Returns:
        The case; the request of its MR names the structure set that it gets.

    Raises:
        CaseError: One of its folders is damaged, or was exported for something else.
    """
    check_places(result.case, ledger, root)
    result = _with_mr_structures(result, ledger, wanted=mr_structures)
    ledger.prepared(
        result.case,
        result.requests,
        result.outcomes,
        result.notes,
        result.warnings,
        left_out=result.left_out,
        doubts=result.doubts,
    )
    return result


def _with_mr_structures(result: CaseResult, ledger: Ledger, *, wanted: bool) -> CaseResult:
    """The same with the UID of the structure set on the MR: of its own content always the same."""
    placed = ledger.folders(result.case)
    before = {r.kind: r for r in ledger.requests(result.case) if r.kind in placed}
    now = {r.kind: r for r in result.requests}
    if Kind.MR not in now or not (wanted or Kind.MR in before):
        return result
    mr, drawn = now[Kind.MR], structures_for_mr((before | now).values())
    uid = ""
    if wanted and drawn:
        parts = (drawn.structure_set_uid, mr.registration_uid, mr.series_uid)
        uid = derived_uid("structure set on MR", *parts)
    # An MR that is in its place stays as it is, with one or without.
    if Kind.MR in before and not (uid and before[Kind.MR].derived_structure_set_uid):
        uid = before[Kind.MR].derived_structure_set_uid
    now[Kind.MR] = replace(mr, derived_structure_set_uid=uid)
    notes = result.notes if uid or not wanted else (*result.notes, _NO_MR_STRUCTURES)
    return replace(result, requests=tuple(now.values()), notes=notes)


_NO_MR_STRUCTURES = (
    "The MR has no structure set: it is exported without the CT that the structures are drawn on. "
    "To have one, export kinds ct,mr together; move the MR's folder away first, where it is there."
)


def deliver_case(
    prepared: CaseResult, engine: Engine, ledger: Ledger, root: Path, watcher: Watcher
) -> CaseResult:
    """Move, verify and place every series of a prepared case.

    Raises:
        CaseError: A series did not arrive whole.
    """
    case = prepared.case

    def advance(request: TransferRequest, images: int) -> None:
        watcher.phase(case, f"transfer {request.kind}", images, request.images)

    delivered = deliver(case, prepared.requests, engine, ledger, root, advance)
    folders = delivered.folders
    watcher.phase(case, "record")
    series = ledger.series_of(case)
    drawn = album.draw(root, case, folders)
    notes = (*prepared.notes, *_troubled(series), *drawn.problems)
    warnings = (
        *prepared.warnings,
        *delivered.warnings,
        *(remark for kind in folders for remark in series[kind].remarks),
        *_shared(folders, prepared.requests),
    )
    return replace(
        prepared,
        state=ledger.exported(case, notes, warnings),
        folders=folders,
        sender_report=sender_reports(series),
        warnings=warnings,
        notes=notes,
    )


def guarded(case: Case, work: Callable[[], CaseResult]) -> CaseResult:
    """Do the work of a case; whatever goes wrong with it is a failed case with a reason.

    Raises:
        NotApprovedError: The run may not write: no case could be prepared.
        UsageError: The run cannot go on.
    """
    began = time.monotonic()
    failed = CaseResult(case, CaseState.FAILED)
    try:
        result = work()
    except FailedStructuresError as error:
        result = replace(failed, reason=str(error), outcomes=error.outcomes)
    except CaseError as error:
        result = replace(failed, reason=_placed(case, str(error)))
    except (NotApprovedError, UsageError):
        raise
    except OSError as error:
        reason = f"{case}: {in_words(error)}. Check the folder and the disk."
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
    """The series of a case with every UID a transfer needs; no set UID until it is created."""
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
    requests += [
        TransferRequest(
            kind=kind,
            patient_id=case.patient_id,
            plan_id=case.plan_id,
            study_uid=found.study_uid,
            series_uid=found.series_uid,
            images=1,
            plan_uid=located.plan.uid if located.plan else "",
            dose_uid=found.uid if kind is Kind.DOSE else "",
        )
        for kind, found in located.objects.items()
    ]
    return tuple(requests)


def _outcomes(sets: Iterable[SetPlan]) -> tuple[StructureOutcome, ...]:
    return tuple(outcome for s in sets for outcome in s.outcomes)


def _intentions(sets: Iterable[SetPlan]) -> Iterator[str]:
    """What a run with write would change, in words."""
    for s in sets:
        if s.uid:
            yield f"{s.structure_set_id} on the {s.kind} image is there and would be used."
        else:
            yield (
                f"Would create structure set {s.structure_set_id} with {len(s.plan.structures)} "
                f"structures on the {s.kind} image (or on the copy Eclipse makes of it)."
            )


def _unsaved(created: Collection[str], patient: OpenPatient) -> Iterator[str]:
    if created and not patient.backend.saves:
        yield (
            f"Eclipse shows {' and '.join(created)} unsaved: save the patient there, or what was "
            "exported has no counterpart in its database."
        )


def _colors(sets: Iterable[SetPlan]) -> dict[str, Colors]:
    """Source colours by structure set UID and new id: before 16.1 Eclipse cannot keep them."""
    return {s.uid: {p.new_id: p.source.color for p in s.plan.structures} for s in sets}


def _troubled(series: Mapping[Kind, SeriesRecord]) -> Iterator[str]:
    for kind, record in series.items():
        if not record.clean:
            yield (
                f"All of the {kind} series is here, but its transfer went not without trouble: "
                f"{record.sender_report}"
            )


def _shared(folders: Mapping[Kind, str], requests: Sequence[TransferRequest]) -> Iterator[str]:
    for request in requests:
        if not folders[request.kind].endswith(f"/{request.series_uid}"):
            yield (
                f"Series {request.series_uid} is exported for another case too, with another "
                f"structure set; this case lies in {folders[request.kind]}, and a reader that "
                "looks for the series alone finds the other one."
            )
