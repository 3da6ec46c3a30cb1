"""Whose case is a row whose patient id was a number on its way?

pandas and Excel make 4711 of the id 0004711 before anyone sees it. Such an id is not believed: the
patient is the one that holds the row's series or, without one, its plan and structure set. Where
none does, or two do, the case fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from stardust_esapi.errors import LocateError
from stardust_esapi.esapi.session import OpenPatient, Session
from stardust_esapi.model import Case
from stardust_esapi.patient import PatientView
from stardust_esapi.prepare.locate import same_id


@contextmanager
def open_patient(session: Session, case: Case) -> Iterator[tuple[Case, OpenPatient]]:
    """Open the patient of a row, verified to be the right one where its id was a number.

    Eclipse's list of all patients is asked for only where the ids at hand do not lead to the row's
    series, or where the row names none: another patient may have a plan of the same name.

    Yields:
        The case with the id of the patient that is open, and the patient.

    Raises:
        LocateError: Eclipse knows no such patient, or none or several can be meant.
        EsapiRefusedError: Eclipse refused to open one.
    """
    if not case.id_is_number:
        with session.open_patient(case.patient_id) as patient:
            yield case, patient
        return
    ids = ids_at_hand(case)
    if case.series_uid and len(ids) == 1:  # the usual case: opened once
        with ExitStack() as stack:
            found = _opened(stack, session, ids[0])
            if found is not None and holds(case, found.view):
                yield identified(case, ids[0]), found
                return
    holders = _holders(session, case, ids)
    if not (case.series_uid or session.backend.saves):
        raise LocateError(
            f"{case}: the Patient-ID was a number on its way, the row names no series, and a "
            "plug-in cannot see whether another patient may be meant. Fill in SeriesUID."
        )
    if not (holders and case.series_uid):
        ids = tuple(dict.fromkeys((*ids, *(i for i in session.patient_ids() if may_be(case, i)))))
        holders = _holders(session, case, ids)
    if len(holders) != 1:
        raise LocateError(_unproven(case, ids, holders))
    with session.open_patient(holders[0]) as patient:
        yield identified(case, holders[0]), patient


def ids_at_hand(case: Case) -> tuple[str, ...]:
    """The ids that the row itself may mean: its own, and the one its picture is named by."""
    return tuple(dict.fromkeys(i for i in (case.picture_id, case.patient_id) if i))


def may_be(case: Case, patient_id: str) -> bool:
    """Whether the row's id may mean a patient: the same but for leading zeros lost on the way."""
    if not case.id_is_number:
        return case.patient_id == patient_id
    digits = {i.lstrip("0") for i in ids_at_hand(case) if i.isascii() and i.isdigit()}
    return patient_id in ids_at_hand(case) or (
        patient_id.isascii() and patient_id.isdigit() and patient_id.lstrip("0") in digits
    )


def holds(case: Case, patient: PatientView) -> bool:
    """Whether a patient holds the row's series or, where it names none, plan and structure set."""
    if case.series_uid:
        return any(image.series_uid == case.series_uid for image in patient.images)
    sources = [
        patient.structure_set(plan.structure_set_uid)
        for plan in patient.plans
        if same_id(plan.plan_id, case.plan_id)
    ]
    return any(
        not case.structure_set_id
        or (source is not None and same_id(source.structure_set_id, case.structure_set_id))
        for source in sources
    )


def identified(case: Case, patient_id: str) -> Case:
    """The case under the id that was verified to be its patient's."""
    notes = case.notes
    if patient_id != case.patient_id:
        note = (
            f"The list has the number {case.patient_id} for the patient id; "
            f"{patient_id} is meant: that patient holds what the row names."
        )
        notes = (*notes, note)
    return replace(case, patient_id=patient_id, id_is_number=False, picture_id="", notes=notes)


def _holders(session: Session, case: Case, ids: Iterable[str]) -> list[str]:
    found = []
    for patient_id in ids:
        with ExitStack() as stack:
            patient = _opened(stack, session, patient_id)
            if patient is not None and holds(case, patient.view):
                found.append(patient_id)
    return found


def _opened(stack: ExitStack, session: Session, patient_id: str) -> OpenPatient | None:
    try:
        return stack.enter_context(session.open_patient(patient_id))
    except LocateError:  # no such patient: another id may be meant
        return None


def _unproven(case: Case, ids: Iterable[str], holders: Iterable[str]) -> str:
    what = f"series {case.series_uid}" if case.series_uid else f"plan {case.plan_id}"
    tried, several = ", ".join(ids), " and ".join(holders)
    if several:
        how = f"patients {several} both hold {what} and can be meant"
    else:
        how = f"no patient that can be meant holds {what} (tried: {tried})"
    return (
        f"{case}: the Patient-ID was a number on its way, which loses leading zeros, and {how}. "
        "Enter the id as text, as Eclipse shows it."
    )
