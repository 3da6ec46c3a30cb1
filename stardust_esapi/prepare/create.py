"""Create the structure sets that a survey has found missing, through the write gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from stardust_esapi.errors import EsapiRefusedError, PrepareError
from stardust_esapi.esapi.session import OpenPatient
from stardust_esapi.esapi.write_gate import (
    Approval,
    PlannedSet,
    WritePlan,
    Writing,
    modifications,
)
from stardust_esapi.esapi.writer import RecordWriter
from stardust_esapi.model import Action, Case, StructureOutcome
from stardust_esapi.names import numbered_id
from stardust_esapi.prepare.locate import same_id
from stardust_esapi.prepare.plan import PlannedStructure
from stardust_esapi.prepare.survey import (
    MOST_NUMBERED,
    SetPlan,
    base_id_of,
    differences_of,
    found_in,
    on_same_image,
)
from stardust_esapi.settings import StructureSettings
from stardust_esapi.stops import look
from stardust_esapi.wording import counted

if TYPE_CHECKING:
    from VMS.TPS.Common.Model import API

_BAD_ARGUMENT = "System.ArgumentException"


class FailedStructuresError(PrepareError):
    """Structures that could not be copied, with the outcome of every structure of the set."""

    def __init__(self, message: str, outcomes: Sequence[StructureOutcome]) -> None:
        super().__init__(message)
        self.outcomes = tuple(outcomes)


def create(
    case: Case,
    sets: Sequence[SetPlan],
    patient: OpenPatient,
    settings: StructureSettings,
    approval: Approval,
) -> tuple[SetPlan, ...]:
    """Create the structure sets that are missing, verify them, and save.

    Nothing is saved unless every set holds what was planned: an error leaves the record as it
    was, because closing the patient drops what was not saved.

    Raises:
        NotApprovedError: This run may not write.
        PrepareError: A structure could not be copied, or a copy does not hold what its source
            does. Its ``outcomes`` say what became of each structure.
        EsapiRefusedError: Eclipse refused a step.
    """
    missing = [s for s in sets if not s.uid]
    if not missing:
        return tuple(sets)
    plan = WritePlan(str(case), tuple(_planned(s) for s in missing))
    with modifications(patient, plan, approval) as writing:
        created = {s.kind: _create_set(case, s, patient, writing, settings) for s in missing}
    saved = {kind: replace(s, uid=_find_saved(case, s, patient)) for kind, s in created.items()}
    return tuple(saved.get(s.kind, s) for s in sets)


def _planned(wanted: SetPlan) -> PlannedSet:
    return PlannedSet(
        wanted.structure_set_id,
        wanted.image.series_uid,
        tuple(planned.new_id for planned in wanted.plan.structures),
    )


def _create_set(
    case: Case,
    wanted: SetPlan,
    patient: OpenPatient,
    writing: Writing,
    settings: StructureSettings,
) -> SetPlan:
    writer = writing.writer
    source = {s.Id: s for s in patient.structure_set(wanted.source_uid).Structures}
    with patient.refusals(f"making structure set {wanted.structure_set_id}"):
        created = writer.CreateStructureSet(patient.image(wanted.image))
    wanted = _named(wanted, created, patient, writing, base_id_of(wanted.kind, settings))
    outcomes: list[StructureOutcome] = []
    failed: list[str] = []
    for planned in wanted.plan.structures:
        look()
        try:
            with patient.refusals(f"copying structure {planned.source.structure_id}"):
                coarser = _copy(planned, source[planned.source.structure_id], created, writer)
        except EsapiRefusedError as error:
            outcomes.append(planned.failure(wanted.kind, str(error)))
            failed.append(planned.new_id)
        else:
            if coarser:
                wanted = replace(wanted, outcomes=_told_coarser(wanted.outcomes, planned.new_id))
    done = {p.new_id for p in wanted.plan.structures} - set(failed)
    outcomes += [o for o in wanted.outcomes if not o.new_id or o.new_id in done]
    essential = {settings.target_label, settings.gtv_label}
    if failed and (not settings.allow_failed or essential & set(failed)):
        reasons = " ".join(o.reason for o in outcomes if o.action is Action.FAILED)
        raise FailedStructuresError(
            f"{case}: {counted(len(failed), 'structure')} could not be copied "
            f"({', '.join(failed)}); nothing was saved. {reasons}",
            outcomes,
        )
    result = replace(
        wanted,
        expected=tuple(s for s in wanted.expected if s.structure_id in done),
        outcomes=tuple(outcomes),
    )
    _verify_set(case, result, created, patient)
    return result


def _named(
    wanted: SetPlan,
    created: API.StructureSet,
    patient: OpenPatient,
    writing: Writing,
    base_id: str,
) -> SetPlan:
    """Give the new set its id, or a numbered one where Eclipse refuses that.

    It may want ids to be unique in the whole patient, or among sets that it does not show.
    """
    planned = wanted.structure_set_id
    numbered = (numbered_id(base_id, number) for number in range(2, MOST_NUMBERED + 1))
    for identifier in (planned, *numbered):
        try:
            with patient.refusals(f"the id {identifier} for a structure set"):
                writing.writer.NameStructureSet(created, identifier)
        except EsapiRefusedError as error:
            if error.dotnet_type != _BAD_ARGUMENT:
                raise
            refused = error
        else:
            break
    else:
        raise refused
    if identifier != planned:
        writing.names[planned] = identifier
    return replace(wanted, structure_set_id=identifier)


def _copy(
    planned: PlannedStructure,
    source: API.Structure,
    target: API.StructureSet,
    writer: RecordWriter,
) -> bool:
    """Copy a structure; whether it had to lose its high resolution."""
    structure = writer.AddStructure(target, planned.dicom_type, planned.new_id)
    try:
        # On the same grid a copy that is coarser all the same is found by comparing.
        fine = planned.source.is_high_resolution and structure.CanConvertToHighResolution()
        writer.CopyShape(structure, source, fine)
    except Exception:
        # One that stays all the same is found when the set is compared with its plan.
        writer.RemoveStructure(structure)
        raise
    return planned.source.is_high_resolution and not fine


def _told_coarser(
    outcomes: Sequence[StructureOutcome], new_id: str
) -> tuple[StructureOutcome, ...]:
    why = "of default resolution: the image is too coarse for a high one"
    return tuple(
        replace(o, reason="; ".join(filter(None, (o.reason, why)))) if o.new_id == new_id else o
        for o in outcomes
    )


def _verify_set(
    case: Case, wanted: SetPlan, created: API.StructureSet, patient: OpenPatient
) -> None:
    """Compare what Eclipse holds now with what was planned, before it is saved."""
    patient.refresh()
    differing = differences_of(wanted, found_in(patient, created.UID))
    if differing:
        raise FailedStructuresError(
            f"{case}: the copies in {wanted.structure_set_id} do not hold what their sources do: "
            f"{'; '.join(differing)}. Nothing was saved; compare the structures in Eclipse.",
            wanted.outcomes,
        )


def _find_saved(case: Case, wanted: SetPlan, patient: OpenPatient) -> str:
    """UID of a set that was just saved; it lies on its image or on a copy of it."""
    found = [
        s.uid
        for s in patient.view.structure_sets
        if same_id(s.structure_set_id, wanted.structure_set_id)
        and on_same_image(s.image, wanted.image)
    ]
    if len(found) != 1:
        raise PrepareError(
            f"{case}: {len(found)} structure sets {wanted.structure_set_id} are on the "
            f"{wanted.kind} image after saving. Look at the patient in Eclipse."
        )
    return found[0]
