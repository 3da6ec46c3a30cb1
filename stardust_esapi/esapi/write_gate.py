"""The one place where a write to the clinical database can begin, and where it ends.

:func:`modifications` alone hands out a :class:`~stardust_esapi.esapi.writer.RecordWriter`, and
alone begins and saves with it. It asks for everything that must hold first, and nothing passes it
without two lines in the audit log: one before Eclipse is asked, one for how it ended.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from loguru import logger

from stardust_esapi import __version__
from stardust_esapi.errors import CaseError, NotApprovedError, PrepareError
from stardust_esapi.esapi.host import Host
from stardust_esapi.esapi.session import OpenPatient
from stardust_esapi.esapi.writer import RecordWriter
from stardust_esapi.record.audit import AuditLog, Event
from stardust_esapi.stops import held

if TYPE_CHECKING:
    from stardust_esapi.esapi.backend import Backend

NOT_LET = (
    "The script must be writable and approved in Script Approval, by its name and this version, "
    "and the user needs the right to edit. Where all that holds, this Eclipse looks at more than "
    "the script: approve Python.Runtime.dll of its site folder too (approval/README.md, part 3)."
)
"""What to do where Eclipse lets a script change nothing."""
_NOT_APPROVED = {  # what Eclipse says, and what to do
    "No valid license to modify patient data with script": NOT_LET,
    "did not find a calling assembly": (
        "Eclipse found no script among what called it. Only StardustExporter may write, nothing "
        "that loads it or stands in for it; where that is what ran, approve Python.Runtime.dll of "
        "its site folder too (approval/README.md, part 3), and report this."
    ),
}
_STILL_OPEN = "Eclipse still shows what was begun, unsaved: close the patient there without saving."


@dataclass(frozen=True, slots=True)
class PlannedSet:
    """A structure set that is about to be created.

    Attributes:
        structure_set_id: Its id.
        series_uid: Series Instance UID of the image it goes on.
        structures: Ids of its structures.
    """

    structure_set_id: str
    series_uid: str
    structures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WritePlan:
    """What is about to be written, decided before the gate opens.

    Attributes:
        case: The case, in words.
        structure_sets: What is to be created.
    """

    case: str
    structure_sets: tuple[PlannedSet, ...]


@dataclass(frozen=True, slots=True)
class Approval:
    """What allows a run to write, but for what Eclipse itself says.

    Attributes:
        requested: Whether the user started this run with ``--write``.
        host: The launcher that this Python runs in, or Python itself.
        audit: Where every write is recorded.
        facts: What is recorded with it of who wanted the case written.
    """

    requested: bool
    host: Host
    audit: AuditLog
    facts: Mapping[str, object] = field(default_factory=dict)

    def obstacle(self, backend: Backend) -> str:
        """Why this run may not write, known before anything is opened; empty if it may try."""
        if not self.requested:
            return "This run is without --write and must not change anything."
        return standing_obstacle(self.host, backend)


def may_modify(patient: OpenPatient, host: Host) -> bool:
    """Whether Eclipse lets this script and its user write (``Patient.CanModifyData``)."""
    return _writer(patient, host).CanModify(patient.api)


def standing_obstacle(host: Host, backend: Backend) -> str:
    """Why no run may write from here, whatever its user and Eclipse say; empty if one may."""
    return host.obstacle or backend.write_obstacle()


@dataclass(frozen=True, slots=True)
class Writing:
    """A record that is open for writing.

    Attributes:
        writer: What writes; of no use when the block is done.
        names: By planned id, that of a structure set which Eclipse has let have another only.
    """

    writer: RecordWriter
    names: dict[str, str] = field(default_factory=dict)


@contextmanager
def modifications(patient: OpenPatient, plan: WritePlan, approval: Approval) -> Iterator[Writing]:
    """Open the patient for writing (``Patient.BeginModifications``), save when the block is done.

    Where the block raises, nothing is saved: the patient closes without it. In a plug-in, Eclipse's
    user has the patient open and saves: the message then says what to do. Ctrl-C waits for the end,
    or for the block to look (:mod:`stardust_esapi.stops`): the audit log always says what became of
    the write.

    Args:
        patient: The open patient.
        plan: What will be written; an empty plan is a mistake.
        approval: What allows this run to write.

    Yields:
        The open record; what the block tells it of names goes into the audit log.

    Raises:
        NotApprovedError: The run, the script or the user may not write.
        EsapiRefusedError: Eclipse refuses this patient, such as one that is locked, or the save.
        PrepareError: A write has failed before in the patient, which is still open.
        UsageError: The audit log cannot be written; nothing was changed.
    """
    if not plan.structure_sets:
        raise ValueError("the write gate was asked to open for nothing")
    obstacle = approval.obstacle(patient.backend)
    if obstacle:
        raise NotApprovedError(f"{plan.case}: {obstacle} Nothing was changed.")
    if patient.session.half_written:
        raise PrepareError(
            f"{plan.case}: a case before this one failed while it was written. {_STILL_OPEN} Then "
            "start again."
        )
    if not may_modify(patient, approval.host):
        raise NotApprovedError(
            "Eclipse does not let this script change patient data (CanModifyData is false). "
            f"{NOT_LET} Nothing was changed."
        )
    writing = Writing(_writer(patient, approval.host))
    facts = _facts(patient, plan, approval)
    with held():
        approval.audit.append(Event.BEGUN, facts)
        begun = False
        try:
            # In a plug-in a case before this one may have, in the same, unsaved patient.
            if not writing.writer.HasBegun(patient.api):
                with patient.refusals("opening the record for writing"):
                    writing.writer.Begin(patient.api)
            begun = True
            for created in plan.structure_sets:
                logger.info(
                    "{}: writing {} on {}", plan.case, created.structure_set_id, created.series_uid
                )
            yield writing
            if patient.backend.saves:
                patient.save(writing.writer)
        except BaseException as error:
            event = Event.DROPPED if begun else Event.REFUSED
            approval.audit.append(event, facts | {"reason": _reason(error)})
            if begun and not patient.backend.saves:
                patient.session.half_written = True
                if isinstance(error, CaseError):
                    error.args = (f"{error} {_STILL_OPEN}",)
            for said, remedy in _NOT_APPROVED.items():
                if said in str(error):
                    raise NotApprovedError(f"{error} {remedy}") from error
            raise
        event = Event.SAVED if patient.backend.saves else Event.LEFT
        approval.audit.append(event, facts | ({"named": writing.names} if writing.names else {}))
        patient.refresh()


def _writer(patient: OpenPatient, host: Host) -> RecordWriter:
    """The launcher's own; where Python itself is the host, its twin."""
    return patient.backend.writer() if host.writer is None else host.writer


def _facts(patient: OpenPatient, plan: WritePlan, approval: Approval) -> dict[str, object]:
    """Who, what, and with which program; never a name."""
    host = approval.host
    return {
        "write": uuid.uuid4().hex,
        "eclipse_user": patient.user_id,
        "patient_id": patient.patient_id,
        "case": plan.case,
        "structure_sets": [asdict(created) for created in plan.structure_sets],
        "script": host.name,
        "script_version": host.version,
        "manifest": host.manifest_digest,
        "package_version": __version__,
        **approval.facts,
    }


def _reason(error: BaseException) -> str:
    """A sentence where the error is one of ours; else its kind alone: it could hold anything."""
    return str(error) if isinstance(error, CaseError) else type(error).__name__
