"""The small frozen records that the steps of the workflow hand to one another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property


class Kind(StrEnum):
    """What a series is to a case; the value begins its output folder's name."""

    CT = "CT"
    KM = "KM"  # Kontrastmittel: the contrast-enhanced CT
    MR = "MR"
    DOSE = "DOSE"  # of the plan that the case names
    PLAN = "PLAN"  # that plan itself

    @property
    def folder(self) -> str:
        """Name of the top output folder, such as ``CT_Export``."""
        return f"{self.value}_Export"

    @property
    def words(self) -> str:
        """The kind as a sentence names it."""
        return {
            "CT": "planning CT",
            "KM": "contrast CT",
            "MR": "MR",
            "DOSE": "dose",
            "PLAN": "plan",
        }[self.value]

    @property
    def modality(self) -> str:
        """DICOM Modality (0008,0060) of the objects of this kind."""
        return {"KM": "CT", "DOSE": "RTDOSE", "PLAN": "RTPLAN"}.get(self.value, self.value)


IMAGE_KINDS = (Kind.CT, Kind.KM, Kind.MR)
"""The kinds that are image series; the others are one object each."""


class CaseState(StrEnum):
    """How far a case has come; the ledger keeps it."""

    PENDING = "pending"
    PREPARED = "prepared"  # structure sets saved in Eclipse, ready for transfer
    EXPORTED = "exported"  # every file in place and verified
    PARTIAL = "partial"  # the same, but something that was asked for cannot be had
    DOUBTFUL = "doubtful"  # not what was accepted, or not plausible: nothing written
    FAILED = "failed"

    @property
    def is_exported(self) -> bool:
        """Whether files of the case are in place and verified."""
        return self in (CaseState.EXPORTED, CaseState.PARTIAL)

    @property
    def is_given_up(self) -> bool:
        """Whether a run tried the case and left it: it failed, or waits for a person."""
        return self in (CaseState.FAILED, CaseState.DOUBTFUL)


class Role(StrEnum):
    """What a structure is to the training."""

    GTV = "gtv"
    TARGET = "target"
    OTHER = "other"


class Action(StrEnum):
    """What became of one structure of the source structure set."""

    COPIED = "copied"
    RENAMED = "renamed"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True)
class Case:
    """One tumour of a patient: an accepted row of a case list, or rows of a ready list.

    All ids and UIDs are text, stripped of outer blanks.

    Attributes:
        row: The row as a spreadsheet numbers it (a header is row 1).
        patient_id: Patient ID (0010,0020), as Eclipse shows it.
        plan_id: ``PlanSetup.Id``; may be empty.
        series_uid: Series Instance UID (0020,000E) of the planning CT; may be empty.
        structure_set_id: ``StructureSet.Id`` of the source; may be empty.
        target_id: ``Structure.Id`` that becomes ``target+``.
        gtv_id: ``Structure.Id`` that becomes ``gtv+``.
        km_series_uid: Series Instance UID of the contrast CT; empty without one.
        mr_series_uid: Series Instance UID of the MR; empty without one.
        mr_registration_uid: ``Registration.UID`` between MR and planning CT; empty without one.
        mr_slices: Number of MR images the mining counted, its volumes among them or not; None
            where the list does not say.
        label: Free label given by the Case-Selector.
        label2: The pre-filter's ``Label2``, a body region.
        case_kind: The Case-Selector's ``casekind``.
        gtv_volume_ml: ``GTV-Volume``, ml; None where the list does not say.
        target_volume_ml: ``TargetVolume``, ml; likewise.
        id_is_number: Whether ``patient_id`` may have been a number on its way, which takes
            leading zeros away; it has to be verified then (:mod:`stardust_esapi.prepare.identify`).
        picture_id: The id that the file name in ``PNG_Path`` begins with, where it is the same
            number as ``patient_id`` in other words; else empty.
        notes: What a reader should know of how the row was read.
        structure_set_uid: SOP Instance UID of the prepared RT Structure Set, where a ready list
            names it; a row of a case list never does.
    """

    row: int
    patient_id: str
    plan_id: str = ""
    series_uid: str = ""
    structure_set_id: str = ""
    target_id: str = ""
    gtv_id: str = ""
    km_series_uid: str = ""
    mr_series_uid: str = ""
    mr_registration_uid: str = ""
    mr_slices: int | None = None
    label: str = ""
    label2: str = ""
    case_kind: str = ""
    gtv_volume_ml: float | None = None
    target_volume_ml: float | None = None
    id_is_number: bool = False
    picture_id: str = ""
    notes: tuple[str, ...] = ()
    structure_set_uid: str = ""

    @cached_property
    def key(self) -> str:
        """Stable identity of the case: the same whatever row it stands in, 16 hex digits."""
        parts = (
            self.patient_id,
            self.plan_id,
            self.series_uid,
            self.structure_set_id or self.structure_set_uid,  # no case has both
            self.target_id,
            self.gtv_id,
            self.km_series_uid,
            self.mr_series_uid,
            self.mr_registration_uid,
        )
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        """Name the case as messages do: row, patient id, plan or series."""
        what = f"plan {self.plan_id}" if self.plan_id else f"series {self.series_uid}"
        return f"row {self.row}, patient {self.patient_id}, {what}"


@dataclass(frozen=True, slots=True)
class StructureOutcome:
    """What became of one structure, and why.

    Attributes:
        kind: The image it was prepared for (CT or KM).
        source_id: ``Structure.Id`` in the source structure set.
        action: Copied, renamed, skipped or failed.
        new_id: Id in the prepared structure set; empty when skipped or failed.
        reason: The rule or cause, for a reader; empty for a plain copy.
    """

    kind: Kind
    source_id: str
    action: Action
    new_id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that speaks against a case (:mod:`stardust_esapi.judge`).

    Attributes:
        gate: The value of a :class:`~stardust_esapi.settings.Gate`.
        text: A sentence: what, and what the threshold is. Names no patient.
        fatal: Whether the case stops; else the sentence is a note.
    """

    gate: str
    text: str
    fatal: bool = True


@dataclass(frozen=True, slots=True)
class TransferRequest:
    """One series of a case with every UID a transfer needs: a row of ``export_list.csv``.

    Attributes:
        kind: What it is to the case.
        patient_id: Patient ID (0010,0020).
        plan_id: ``PlanSetup.Id``; empty when the case was found by series.
        study_uid: Study Instance UID (0020,000D).
        series_uid: Series Instance UID (0020,000E) of the images, or of the dose or plan.
        structure_set_uid: SOP Instance UID of the prepared RT Structure Set; of CT and KM alone.
        registration_uid: SOP Instance UID of the Spatial Registration; empty but for MR.
        images: How many images the series has; 1 of a dose or plan, whatever else is in its series.
        plan_uid: SOP Instance UID of the RT Plan; of a dose and of a plan.
        dose_uid: SOP Instance UID of the RT Dose; of a dose.
        derived_structure_set_uid: Of an MR: SOP Instance UID of the structure set that is derived
            from the CT's and lies beside it; Eclipse does not know it. Else empty.
    """

    kind: Kind
    patient_id: str
    plan_id: str
    study_uid: str
    series_uid: str
    structure_set_uid: str = ""
    registration_uid: str = ""
    images: int = 0
    plan_uid: str = ""
    dose_uid: str = ""
    derived_structure_set_uid: str = ""

    @property
    def object_uid(self) -> str:
        """SOP Instance UID of a dose or plan; empty for images, which are many."""
        return {Kind.DOSE: self.dose_uid, Kind.PLAN: self.plan_uid}.get(self.kind, "")


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What one run says of one case, for the summary and the report.

    Attributes:
        case: The row.
        state: State at the end of this run.
        reason: Why it failed or is doubtful; empty when all is well.
        planned: True when the run was without write and only says what it would do.
        requests: The series of the case, ready for transfer.
        folders: Output folder of each exported series, relative to the output root, POSIX style.
        sender_report: What the sender said of each exported series; nothing where ESAPI gave it.
        outcomes: One outcome a structure and kind.
        left_out: Kinds that the row names and that were not exported; ``warnings`` say why.
        doubts: What speaks against the case, accepted or not.
        warnings: Sentences that must be read: what was left out, what was doubtful and accepted.
        notes: Sentences worth reading that did not stop the case.
        seconds: Time spent on the case in this run.
    """

    case: Case
    state: CaseState
    reason: str = ""
    planned: bool = False
    requests: tuple[TransferRequest, ...] = ()
    folders: dict[Kind, str] = field(default_factory=dict)
    sender_report: dict[Kind, str] = field(default_factory=dict)
    outcomes: tuple[StructureOutcome, ...] = ()
    left_out: tuple[Kind, ...] = ()
    doubts: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def images(self) -> int:
        """How many images its series have."""
        return sum(request.images for request in self.requests if request.kind in IMAGE_KINDS)

    @property
    def why(self) -> str:
        """The reason without the case's name, for places that name the case themselves."""
        return self.reason.removeprefix(f"{self.case}: ")


def structures_for_mr(requests: Iterable[TransferRequest]) -> TransferRequest | None:
    """The series whose structures an MR of the case gets; None where none has any.

    The registration leads to the planning CT; a contrast CT may lie elsewhere.
    """
    drawn = {request.kind: request for request in requests if request.structure_set_uid}
    return drawn.get(Kind.CT) or drawn.get(Kind.KM)
