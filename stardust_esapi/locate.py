"""Find what a row means in the open patient: exactly one source, or an error that says why.

Nothing is guessed. A plan and a series that are both given must agree; what is named but not
there, or there twice, stops the case.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from stardust_esapi.errors import LocateError
from stardust_esapi.model import Case, Kind
from stardust_esapi.patient import (
    ImageView,
    PatientView,
    PlanView,
    RegistrationView,
    StructureSetView,
)


@dataclass(frozen=True, slots=True)
class Located:
    """The objects of one case.

    Attributes:
        source: The structure set that the plan or the row names.
        image: The planning CT under it.
        contrast: The contrast CT; None when the case has none or it is not asked for.
        mr: The MR; likewise.
        registration: The registration between MR and planning CT; None where both share a
            frame of reference.
        remarks: Sentences for the reader that do not stop the case.
    """

    source: StructureSetView
    image: ImageView
    contrast: ImageView | None = None
    mr: ImageView | None = None
    registration: RegistrationView | None = None
    remarks: tuple[str, ...] = ()


def same_id(one: str, other: str) -> bool:
    """Whether two Eclipse ids are the same: Eclipse ignores case, and keeps them unique so."""
    return one.strip().casefold() == other.strip().casefold()


def locate(case: Case, patient: PatientView, kinds: Collection[Kind] = tuple(Kind)) -> Located:
    """Find the source structure set and the series that a case names.

    Args:
        case: The row.
        patient: What the open patient holds.
        kinds: The kinds asked for; others are not looked up.

    Raises:
        LocateError: Something is missing, ambiguous or contradictory.
    """
    source = _source(case, patient)
    if source.image is None:
        raise LocateError(
            f"{case}: structure set {source.structure_set_id} lies on no image in Eclipse. "
            "Check the plan in Eclipse."
        )
    image = source.image
    if image.modality != Kind.CT.modality:
        raise LocateError(
            f"{case}: structure set {source.structure_set_id} lies on a {image.modality} series, "
            "not on a CT. Correct the row."
        )
    contrast = mr = registration = None
    remarks: tuple[str, ...] = ()
    if Kind.KM in kinds and case.km_series_uid:
        contrast = _contrast(case, patient, image)
    if Kind.MR in kinds and case.mr_series_uid:
        mr, registration, remarks = _mr(case, patient, image)
    return Located(source, image, contrast, mr, registration, remarks)


def _source(case: Case, patient: PatientView) -> StructureSetView:
    by_plan = _structure_set_of_plan(case, patient) if case.plan_id else None
    if by_plan is not None:
        _check_agreement(case, by_plan)
        return by_plan
    if not (case.series_uid and case.structure_set_id):
        raise LocateError(
            f"{case}: the row names neither a plan nor a series with its structure set. "
            "Fill in PlanID, or SeriesUID and StructureSetID."
        )
    found = [
        s
        for s in patient.structure_sets
        if same_id(s.structure_set_id, case.structure_set_id)
        and s.image is not None
        and s.image.series_uid == case.series_uid
    ]
    if not found:
        raise LocateError(
            f"{case}: there is no structure set {case.structure_set_id} on this series. "
            f"{_known('Structure sets on it', _ids_on_series(patient, case.series_uid))}"
        )
    if len(found) > 1:
        raise LocateError(
            f"{case}: {len(found)} structure sets are called {case.structure_set_id} on this "
            "series. Name the plan in PlanID, or rename one in Eclipse."
        )
    return found[0]


def _structure_set_of_plan(case: Case, patient: PatientView) -> StructureSetView:
    plans = [p for p in patient.plans if same_id(p.plan_id, case.plan_id)]
    if not plans:
        raise LocateError(
            f"{case}: the patient has no such plan. "
            f"{_known('Plans', sorted({p.plan_id for p in patient.plans}))}"
        )
    with_sets = [(p, patient.structure_set(p.structure_set_uid)) for p in plans]
    if len(plans) > 1:
        # Plan ids are unique in a course only: the row's series and structure set may tell apart.
        with_sets = [(p, s) for p, s in with_sets if s is not None and not _disagreement(case, s)]
        sources = {s.uid for _, s in with_sets if s is not None}
        if len(sources) != 1:
            courses = ", ".join(p.course_id for p in plans)
            raise LocateError(
                f"{case}: the plan exists in several courses ({courses}) and the row does not "
                "tell which. Fill in SeriesUID and StructureSetID, or rename a plan."
            )
    plan, source = with_sets[0]
    if source is None:
        raise LocateError(f"{case}: {_describe(plan)} has no structure set. Check it in Eclipse.")
    return source


def _disagreement(case: Case, source: StructureSetView) -> str:
    series_uid = source.image.series_uid if source.image else ""
    if case.series_uid and case.series_uid != series_uid:
        return f"its plan lies on series {series_uid}, but SeriesUID says {case.series_uid}"
    if case.structure_set_id and not same_id(case.structure_set_id, source.structure_set_id):
        return (
            f"its plan uses structure set {source.structure_set_id}, "
            f"but StructureSetID says {case.structure_set_id}"
        )
    return ""


def _check_agreement(case: Case, source: StructureSetView) -> None:
    disagreement = _disagreement(case, source)
    if disagreement:
        raise LocateError(
            f"{case}: {disagreement}. Correct the row, or empty the columns that are wrong."
        )


def _contrast(case: Case, patient: PatientView, planning: ImageView) -> ImageView:
    image = _image_of_series(case, patient, case.km_series_uid, "KM_Series_UID", Kind.KM)
    if image.frame_of_reference_uid != planning.frame_of_reference_uid:
        raise LocateError(
            f"{case}: contrast CT {image.series_uid} has another frame of reference than the "
            "planning CT, so the structures would not lie where they belong. Register and "
            "resample it in Eclipse, or empty KM_Series_UID."
        )
    if image.series_uid == planning.series_uid:
        raise LocateError(
            f"{case}: KM_Series_UID names the planning CT itself. Correct it or empty it."
        )
    return image


def _mr(
    case: Case, patient: PatientView, planning: ImageView
) -> tuple[ImageView, RegistrationView | None, tuple[str, ...]]:
    image = _image_of_series(case, patient, case.mr_series_uid, "MR_Series_UID", Kind.MR)
    remarks: tuple[str, ...] = ()
    if case.mr_slices is not None and case.mr_slices != image.geometry.size[2]:
        remarks = (
            f"MR_Slices says {case.mr_slices}, Eclipse shows {image.geometry.size[2]} planes.",
        )
    frames = (image.frame_of_reference_uid, planning.frame_of_reference_uid)
    if not case.mr_registration_uid:
        if frames[0] == frames[1]:
            return image, None, remarks
        raise LocateError(
            f"{case}: MR {image.series_uid} lies in another frame of reference than the CT and "
            "the row names no registration. Fill in MRregUID, or empty MR_Series_UID."
        )
    registration = next(
        (r for r in patient.registrations if r.uid == case.mr_registration_uid), None
    )
    if registration is None:
        raise LocateError(
            f"{case}: the patient has no registration {case.mr_registration_uid}. "
            "Correct MRregUID, or empty MR_Series_UID."
        )
    if not registration.links(*frames):
        raise LocateError(
            f"{case}: registration {registration.uid} does not lead from MR {image.series_uid} "
            "to the planning CT: it joins other frames of reference. Correct MRregUID."
        )
    return image, registration, remarks


def _image_of_series(
    case: Case, patient: PatientView, series_uid: str, column: str, kind: Kind
) -> ImageView:
    images = [i for i in patient.images if i.series_uid == series_uid]
    if not images:
        raise LocateError(
            f"{case}: the patient has no 3-D image of series {series_uid}, which {column} names. "
            "Correct the column, or empty it."
        )
    first = images[0]
    if first.modality != kind.modality:
        raise LocateError(
            f"{case}: {column} names a {first.modality} series ({series_uid}), "
            f"not a {kind.modality}. Correct the column."
        )
    # A structure set made earlier puts a copy of the image over the same series: copies share
    # the grid, and any of them serves. Different grids under one series are not for us to choose.
    if not all(first.geometry.same_grid(other.geometry) for other in images[1:]):
        raise LocateError(
            f"{case}: series {series_uid} ({column}) holds {len(images)} images of different "
            "geometry in Eclipse. Remove the ones that do not belong to the case."
        )
    return first


def _ids_on_series(patient: PatientView, series_uid: str) -> list[str]:
    return [
        s.structure_set_id
        for s in patient.structure_sets
        if s.image is not None and s.image.series_uid == series_uid
    ]


def _known(what: str, ids: list[str]) -> str:
    return f"{what} it has: {', '.join(ids)}." if ids else f"{what}: none."


def _describe(plan: PlanView) -> str:
    return f"plan {plan.plan_id} of course {plan.course_id}"
