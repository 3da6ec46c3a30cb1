"""Find what a row means in the open patient: exactly one source, or an error that says why.

Nothing is guessed. A plan and a series that are both given must agree; what is named but not
there, or there twice, stops the case. The mining names contrast CT and MR by loose rules, and a
plan may have no dose: what is wrong there leaves that kind out, and the rest of the case stands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from stardust_esapi.choices import OnMissing
from stardust_esapi.errors import LocateError
from stardust_esapi.model import IMAGE_KINDS, Case, Kind
from stardust_esapi.patient import (
    ImageView,
    ObjectView,
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
        contrast: The contrast CT; None when the case has none, it is left out or not asked for.
        mr: The MR; likewise.
        registration: The registration between MR and planning CT; None where both share a
            frame of reference.
        plan: The plan that the row names, where its dose or it itself is asked for.
        objects: Of dose and plan what is to be exported, once a survey has found it.
        left_out: Kinds that the row names and that cannot be exported, each with a sentence why.
        notes: Sentences for the reader that do not stop the case.
    """

    source: StructureSetView
    image: ImageView
    contrast: ImageView | None = None
    mr: ImageView | None = None
    registration: RegistrationView | None = None
    plan: PlanView | None = None
    objects: Mapping[Kind, ObjectView] = field(default_factory=dict)
    left_out: Mapping[Kind, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def without(self, kind: Kind, why: str) -> Located:
        """The same without a kind but the planning CT, and the reason for it."""
        left_out = {**self.left_out, kind: why}
        if kind is Kind.KM:
            return replace(self, contrast=None, left_out=left_out)
        if kind is Kind.MR:
            return replace(self, mr=None, registration=None, left_out=left_out)
        return replace(self, left_out=left_out)

    def check_anything(self, case: Case, kinds: Collection[Kind]) -> None:
        """Make sure that something is to be exported.

        Raises:
            LocateError: Nothing of what is asked for can be had.
        """
        of_plan = self.plan and {Kind.DOSE, Kind.PLAN} & set(kinds) - self.left_out.keys()
        if Kind.CT not in kinds and not (self.contrast or self.mr or of_plan):
            why = [*self.left_out.values(), *self.notes] or ["The row names no series of it."]
            asked = " or ".join(kind.words for kind in kinds)
            raise LocateError(f"{case}: there is no {asked} to export. {' '.join(why)}")


def same_id(one: str, other: str) -> bool:
    """Whether two Eclipse ids are the same: Eclipse ignores case, and keeps them unique so."""
    return one.strip().casefold() == other.strip().casefold()


def locate(
    case: Case,
    patient: PatientView,
    kinds: Collection[Kind] = IMAGE_KINDS,
    on_missing: OnMissing = OnMissing.SKIP,
) -> Located:
    """Find the source structure set and the series that a case names.

    Args:
        case: The row.
        patient: What the open patient holds.
        kinds: The kinds asked for; others are not looked up.
        on_missing: Whether a kind that cannot be had is left out or fails the case.

    Raises:
        LocateError: Something is missing, ambiguous or contradictory, or nothing is left.
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
    located = Located(source, image)
    for kind, find in (
        (Kind.KM, _with_contrast),
        (Kind.MR, _with_mr),
        (Kind.DOSE, _with_plan),
        (Kind.PLAN, _with_plan),
    ):
        if kind not in kinds:
            continue
        try:
            located = find(case, patient, located)
        except LocateError as error:
            if on_missing is OnMissing.FAIL:
                raise LocateError(f"{case}: {error}") from None
            located = located.without(kind, str(error))
    located.check_anything(case, kinds)
    return located


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


def _with_contrast(case: Case, patient: PatientView, located: Located) -> Located:
    """Add the contrast CT; the error of one that cannot be had does not name the case."""
    planning = located.image
    if not case.km_series_uid:
        return located
    if case.km_series_uid == planning.series_uid:
        note = "KM_Series_UID names the planning CT itself, so there is no contrast CT."
        return replace(located, notes=(*located.notes, note))
    image = _image_of_series(patient, case.km_series_uid, "KM_Series_UID", Kind.KM)
    if image.frame_of_reference_uid != planning.frame_of_reference_uid:
        raise LocateError(
            f"Contrast CT {image.series_uid} has another frame of reference than the "
            "planning CT, so the structures would not lie where they belong. Register and "
            "resample it in Eclipse, or empty KM_Series_UID."
        )
    return replace(located, contrast=image)


def _with_mr(case: Case, patient: PatientView, located: Located) -> Located:
    """Add the MR and its registration; the error of one that cannot be had does not name the case.

    The mining pairs the largest of all MRs with any registration of the planning CT's frame of
    reference; where one alone joins the two, that is the one.
    """
    if not case.mr_series_uid:
        return located
    image = _image_of_series(patient, case.mr_series_uid, "MR_Series_UID", Kind.MR)
    frames = (image.frame_of_reference_uid, located.image.frame_of_reference_uid)
    joining = [r for r in patient.registrations if r.links(*frames)]
    named = case.mr_registration_uid
    registration = next((r for r in joining if r.uid == named), None)
    notes = [*located.notes, *_miscounted(case, patient, image)]
    if registration is None and frames[0] == frames[1]:
        if named:
            notes.append(
                f"MRregUID {named} is not used: the MR has the planning CT's frame of reference."
            )
    elif registration is None:
        wrong = f"MRregUID {named} does not join" if named else "The row names no registration for"
        if len(joining) != 1:
            do = f"{len(joining)} registrations join" if joining else "no registration joins"
            raise LocateError(
                f"{wrong} MR {image.series_uid} and the planning CT, whose frames of reference "
                f"differ, and {do} the two. Correct MRregUID, or empty MR_Series_UID."
            )
        (registration,) = joining
        notes.append(
            f"{wrong} MR and planning CT; {registration.uid} is used, the only registration of "
            "the patient that joins them."
        )
    return replace(located, mr=image, registration=registration, notes=tuple(notes))


def _with_plan(case: Case, patient: PatientView, located: Located) -> Located:
    """Add the plan; the error of one that is not certain does not name the case."""
    if not case.plan_id:
        raise LocateError("The row names no plan, and a dose is of a plan. Fill in PlanID.")
    plans = [
        p
        for p in patient.plans
        if same_id(p.plan_id, case.plan_id) and p.structure_set_uid == located.source.uid
    ]
    if len(plans) > 1:
        courses = ", ".join(p.course_id for p in plans)
        raise LocateError(
            f"The plan exists in several courses ({courses}) on the same structure set, and the "
            "row does not tell which. Rename one in Eclipse, and correct PlanID."
        )
    return replace(located, plan=plans[0])


def _miscounted(case: Case, patient: PatientView, image: ImageView) -> Iterator[str]:
    """A note where MR_Slices is neither the slices nor, as ``Series.Images``, all images."""
    planes = image.geometry.size[2]
    volumes = sum(other.series_uid == image.series_uid for other in patient.images)
    if case.mr_slices is not None and not planes <= case.mr_slices <= planes + volumes:
        yield f"MR_Slices says {case.mr_slices}, Eclipse shows {planes} planes."


def _image_of_series(patient: PatientView, series_uid: str, column: str, kind: Kind) -> ImageView:
    images = [i for i in patient.images if i.series_uid == series_uid]
    if not images:
        raise LocateError(
            f"The patient has no 3-D image of series {series_uid}, which {column} names. "
            "Correct the column, or empty it."
        )
    first = images[0]
    if first.modality != kind.modality:
        raise LocateError(
            f"{column} names a {first.modality} series ({series_uid}), "
            f"not a {kind.modality}. Correct the column."
        )
    # A structure set created earlier puts a copy of the image over the same series: copies share
    # the grid, and any of them serves. Different grids under one series are not for us to choose.
    if not all(first.geometry.same_grid(other.geometry) for other in images[1:]):
        raise LocateError(
            f"Series {series_uid} ({column}) holds {len(images)} images of different "
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
