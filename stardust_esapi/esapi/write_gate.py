"""The one place where a write to the clinical database can begin."""

from __future__ import annotations

from dataclasses import dataclass

from loguru import logger

from stardust_esapi.errors import EsapiRefusedError, NotApprovedError
from stardust_esapi.esapi.session import OpenPatient

_UNAPPROVED = "No valid license to modify patient data with script"


@dataclass(frozen=True, slots=True)
class WritePlan:
    """What is about to be written, decided before the gate opens.

    Attributes:
        purpose: The case, in words.
        structure_sets: Id of each structure set to make, and the series it goes on.
    """

    purpose: str
    structure_sets: tuple[tuple[str, str], ...]


def begin_modifications(patient: OpenPatient, plan: WritePlan, *, write_allowed: bool) -> None:
    """Open the patient for writing (``Patient.BeginModifications``); nothing else may.

    Args:
        patient: The open patient.
        plan: What will be written; an empty plan is a mistake.
        write_allowed: Whether the user started this run with ``--write``.

    Raises:
        NotApprovedError: The run, the script or the user may not write.
        EsapiRefusedError: Eclipse refuses this patient, such as one that is locked.
    """
    if not plan.structure_sets:
        raise ValueError("the write gate was asked to open for nothing")
    if not write_allowed:
        raise NotApprovedError(
            f"{plan.purpose}: this run is without --write and must not change anything."
        )
    if not patient.api.CanModifyData():
        raise NotApprovedError(
            "Eclipse does not let this script change patient data (CanModifyData is false). "
            "The script must be writable and approved in Script Approval, and the user needs the "
            "right to edit. Nothing was changed."
        )
    try:
        with patient.refusals("opening the record for writing"):
            patient.api.BeginModifications()
    except EsapiRefusedError as error:
        if _UNAPPROVED in str(error):
            raise NotApprovedError(f"{error} Approve the script in Script Approval.") from error
        raise
    for structure_set_id, series_uid in plan.structure_sets:
        logger.info("{}: writing {} on series {}", plan.purpose, structure_set_id, series_uid)
