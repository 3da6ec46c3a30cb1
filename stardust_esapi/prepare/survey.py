"""Decide, reading only, what one case needs and what of it is there already.

A run without write goes as far, and tells the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from stardust_esapi.choices import OnMissing
from stardust_esapi.errors import LocateError, PrepareError
from stardust_esapi.esapi.session import OpenPatient
from stardust_esapi.geometry import FloatArray
from stardust_esapi.judge import ContourFacts, TumourFacts, judge
from stardust_esapi.mask import overlap, rasterise, regular_slices
from stardust_esapi.model import Case, Finding, Kind, StructureOutcome
from stardust_esapi.names import folding, numbered_id
from stardust_esapi.patient import ImageView
from stardust_esapi.prepare.existing import (
    Choice,
    Redrawing,
    Resampling,
    StructureShape,
    choose,
    differences,
    is_of_another_tumour,
    measure,
)
from stardust_esapi.prepare.locate import Located, same_id
from stardust_esapi.prepare.plan import (
    PlannedStructure,
    PreparePlan,
    plan_structures,
    reads_as,
)
from stardust_esapi.settings import GTV_WORD, TARGET_WORD, Settings, StructureSettings

if TYPE_CHECKING:
    pass

MOST_NUMBERED = 99
_OUTSIDE_TOLERANCE_MM = 0.01

Contours = Mapping[int, Sequence[FloatArray]]


@dataclass(frozen=True, slots=True)
class Survey:
    """What a case needs, and what speaks against it.

    Attributes:
        located: The objects of the case; a contrast CT that cuts off a label is left out.
        sets: Its prepared structure sets; none of a case that is doubtful and not accepted.
        findings: What speaks against GTV and target; nothing in a good case.
        facts: GTV and target, measured.
        source: The structure set it is all about.
    """

    located: Located
    sets: tuple[SetPlan, ...]
    findings: tuple[Finding, ...]
    facts: TumourFacts
    source: Source


@dataclass(frozen=True, slots=True)
class SetPlan:
    """One prepared structure set: what it shall hold, and whether it is there already.

    Attributes:
        kind: CT or KM.
        image: The image it goes on (or on a copy of it).
        structure_set_id: Its id.
        source_uid: The structure set it is copied from.
        plan: Which structures, under which ids.
        expected: The shapes it shall hold.
        how: How closely.
        clipped: New ids of the structures that reach out of the image.
        uid: UID of the structure set that serves already; empty until it is created.
        outcomes: What became of each structure.
        note: A sentence for the reader; may be empty.
    """

    kind: Kind
    image: ImageView
    structure_set_id: str
    source_uid: str
    plan: PreparePlan
    expected: tuple[StructureShape, ...]
    how: Redrawing | Resampling
    clipped: frozenset[str]
    uid: str = ""
    outcomes: tuple[StructureOutcome, ...] = ()
    note: str = ""


def survey(
    case: Case,
    located: Located,
    patient: OpenPatient,
    settings: Settings,
    *,
    accept_doubtful: bool,
) -> Survey:
    """Judge the case; decide, reading only, which structure sets it needs and which exist already.

    Raises:
        PrepareError: The rules cannot be met, the target or GTV reaches out of an image, or an
            existing structure set stands in the way.
        EsapiRefusedError: Eclipse refused to read.
    """
    source_uid = located.source.uid
    plan = plan_structures(case, patient.structures(source_uid), settings.structures)
    source = Source(located, plan, patient.contours(source_uid))
    # The labels of an MR-only export come through the planning CT too.
    cut_off = _cut_off(source, located.image, settings.structures)
    if cut_off:
        raise PrepareError(f"{case}: {cut_off}")
    images = [(Kind.CT, located.image)] if Kind.CT in settings.kinds else []
    contrast = located.contrast
    if contrast is not None:
        cut_off = _cut_off(source, contrast, settings.structures)
        if cut_off and (settings.on_missing is OnMissing.FAIL or not (images or located.mr)):
            raise PrepareError(f"{case}: {cut_off}")
        if cut_off:
            located = located.without(Kind.KM, cut_off)
        else:
            images.append((Kind.KM, contrast))
    located = _with_objects(case, located, patient, settings)
    facts = _tumour(case, source, settings.structures)
    findings = judge(facts, settings.dataset.gates)
    if any(finding.fatal for finding in findings) and not accept_doubtful:
        return Survey(located, (), findings, facts, source)
    sets = tuple(
        _survey_set(case, kind, image, source, patient, settings) for kind, image in images
    )
    return Survey(located, sets, findings, facts, source)


def _with_objects(
    case: Case, located: Located, patient: OpenPatient, settings: Settings
) -> Located:
    """The same with the dose and the plan that are asked for, as far as Eclipse shows them."""
    for kind in (Kind.DOSE, Kind.PLAN):
        if located.plan is None or kind not in settings.kinds:
            continue
        try:
            found = patient.dose(located.plan) if kind is Kind.DOSE else patient.plan(located.plan)
        except LocateError as error:
            if settings.on_missing is OnMissing.FAIL:
                raise PrepareError(f"{case}: {error}") from None
            located = located.without(kind, str(error))
        else:
            located = replace(located, objects={**located.objects, kind: found})
    located.check_anything(case, settings.kinds)
    return located


@dataclass(frozen=True, slots=True)
class Source:
    """The source structure set: where it lies, what shall become of it, its contours by id."""

    located: Located
    plan: PreparePlan
    contours: Mapping[str, Contours]

    def polygons(self, planned: PlannedStructure) -> list[FloatArray]:
        """The contours of a structure, each of shape (n, 3), mm."""
        contours = self.contours.get(planned.source.structure_id, {})
        return [polygon for polygons in contours.values() for polygon in polygons]

    def points(self, planned: PlannedStructure) -> FloatArray:
        """All contour points of a structure, shape (n, 3), mm."""
        return np.concatenate(self.polygons(planned) or [np.empty((0, 3))])

    def labelled(self, settings: StructureSettings) -> dict[str, PlannedStructure]:
        """What becomes GTV and target, by label."""
        labels = (settings.gtv_label, settings.target_label)
        by_id = {planned.new_id: planned for planned in self.plan.structures}
        return {label: by_id[label] for label in labels}


def _survey_set(
    case: Case,
    kind: Kind,
    image: ImageView,
    source: Source,
    patient: OpenPatient,
    settings: Settings,
) -> SetPlan:
    rules = settings.structures
    plan, clipped = _fit(source, image)
    base_id = base_id_of(kind, rules)
    wanted = SetPlan(
        kind=kind,
        image=image,
        structure_set_id=base_id,
        source_uid=source.located.source.uid,
        plan=plan,
        expected=tuple(
            measure(
                p.new_id,
                p.dicom_type,
                source.contours.get(p.source.structure_id, {}),
                is_high_resolution=p.source.is_high_resolution,
            )
            for p in plan.structures
        ),
        how=_how_closely(source.located.image, image, rules),
        clipped=clipped,
    )
    ours = {folding(base_id)} | {
        folding(numbered_id(base_id, n)) for n in range(2, MOST_NUMBERED + 1)
    }
    there = {
        s.uid: found_in(patient, s.uid)
        for s in patient.view.structure_sets
        if folding(s.structure_set_id) in ours and on_same_image(s.image, image)
    }
    # Asked of a set that holds what would be created too: on another grid, tumours that lie close
    # together are the same within the tolerance.
    candidates = {
        uid: differences_of(wanted, shapes)
        for uid, shapes in there.items()
        if not _is_of_another_tumour(shapes, source, wanted.how, rules)
    }
    choice, uid, note = choose(candidates, settings.on_existing)
    if choice is Choice.STOP:
        raise PrepareError(
            f"{case}: a structure set {base_id} lies on the {kind} image already and does not "
            f"hold what would be created now: {note}. Look at it in Eclipse, then choose: remove "
            "it, run with --on-existing new (create another one), or --on-existing reuse (export "
            "it as it is)."
        )
    if choice is Choice.REUSE:
        if not note:
            return replace(wanted, uid=uid, outcomes=_outcomes(wanted))
        _check_labels(case, uid, patient, rules)
        # What became of each structure is not known of a set that was not created by these rules.
        return replace(wanted, uid=uid, note=f"{base_id} on the {kind} image: {note}.")
    if there:
        wanted = replace(wanted, structure_set_id=_free_id(case, base_id, patient))
    note = f"{base_id} on the {kind} image: {note}." if note else ""
    return replace(wanted, outcomes=_outcomes(wanted), note=note)


def base_id_of(kind: Kind, rules: StructureSettings) -> str:
    """The id of the prepared set on an image of a kind, before it is numbered."""
    return rules.structure_set_id_km if kind is Kind.KM else rules.structure_set_id


def _is_of_another_tumour(
    shapes: Sequence[StructureShape],
    source: Source,
    how: Redrawing | Resampling,
    settings: StructureSettings,
) -> bool:
    labelled = source.labelled(settings)
    return is_of_another_tumour(
        {label: s for label in labelled for s in shapes if same_id(s.structure_id, label)},
        {label: planned.source.structure_id for label, planned in labelled.items()},
        [measure(identifier, "", contours) for identifier, contours in source.contours.items()],
        how,
    )


def _check_labels(case: Case, uid: str, patient: OpenPatient, settings: StructureSettings) -> None:
    """Make sure that MedSAM2's reader finds GTV and target in an existing set, and no other."""
    filled = [s.structure_id for s in patient.structures(uid) if not s.is_empty]
    for word, label in ((GTV_WORD, settings.gtv_label), (TARGET_WORD, settings.target_label)):
        read = [identifier for identifier in filled if reads_as(identifier, word)]
        if not any(same_id(identifier, label) for identifier in read):
            problem = f"it has no {label}"
        elif len(read) > 1:
            problem = (
                f"it has {' and '.join(read)}, and MedSAM2's reader takes the largest structure "
                f"whose name contains “{word}”"
            )
        else:
            continue
        raise PrepareError(
            f"{case}: the existing structure set cannot be reused, {problem}. Run with "
            "--on-existing new."
        )


def _cut_off(source: Source, image: ImageView, settings: StructureSettings) -> str:
    """Why an image does not hold the whole of target and GTV; empty where it does."""
    for planned in source.labelled(settings).values():
        points = source.points(planned)
        if not len(points):
            return (
                f"Structure {planned.source.structure_id} ({planned.new_id}) has no "
                "contour on any plane of its image. Contour it in Eclipse or correct the row."
            )
        outside = image.geometry.overshoot(points)
        if outside > _OUTSIDE_TOLERANCE_MM:
            return (
                f"Structure {planned.source.structure_id} ({planned.new_id}) reaches "
                f"{outside:.1f} mm out of the image of series {image.series_uid}, so its label "
                "would be cut off. Choose another image or correct the contour."
            )
    return ""


def _tumour(case: Case, source: Source, settings: StructureSettings) -> TumourFacts:
    """GTV and target: their volumes as Eclipse has them, and the voxels of the planning CT."""
    slices = regular_slices(source.located.image.geometry)
    labelled = source.labelled(settings)
    gtv, target = labelled[settings.gtv_label], labelled[settings.target_label]
    gtv_mask, target_mask = (rasterise(source.polygons(one), slices) for one in (gtv, target))
    voxels = gtv_mask.voxels
    return TumourFacts(
        gtv_ml=gtv.source.volume_ml,
        gtv_voxels=voxels,
        target_ml=target.source.volume_ml,
        gtv_in_target=overlap(gtv_mask, target_mask) / voxels if voxels else 0.0,
        listed_gtv_ml=case.gtv_volume_ml,
        listed_target_ml=case.target_volume_ml,
        gtv_contours=ContourFacts(gtv_mask.left_out, gtv_mask.united),
        target_contours=ContourFacts(target_mask.left_out, target_mask.united),
    )


def _fit(source: Source, image: ImageView) -> tuple[PreparePlan, frozenset[str]]:
    """Leave out what lies wholly outside the image; name what reaches out of it."""
    if source.located.image.geometry.same_grid(image.geometry):
        return source.plan, frozenset()  # copied plane by plane, nothing is cut
    kept: list[PlannedStructure] = []
    skipped = list(source.plan.skipped)
    clipped: set[str] = set()
    for planned in source.plan.structures:
        points = source.points(planned)
        if image.geometry.overshoot(points) <= _OUTSIDE_TOLERANCE_MM:
            kept.append(planned)
            continue
        index = image.geometry.to_index(points)
        low, high = index.min(axis=0), index.max(axis=0)
        if np.any(high < -0.5) or np.any(low > np.asarray(image.geometry.size) - 0.5):
            skipped.append((planned.source.structure_id, "it lies outside the image"))
        else:
            kept.append(planned)
            clipped.add(planned.new_id)
    return PreparePlan(tuple(kept), tuple(skipped)), frozenset(clipped)


def _how_closely(
    source: ImageView, target: ImageView, settings: StructureSettings
) -> Redrawing | Resampling:
    if source.geometry.same_grid(target.geometry):
        return Redrawing(max(target.geometry.spacing[:2]))
    return Resampling(
        source_spacing=source.geometry.spacing[2],
        target_spacing=target.geometry.spacing[2],
        volume_tolerance=settings.volume_tolerance,
        center_tolerance=float(np.linalg.norm(target.geometry.spacing)),
    )


def found_in(patient: OpenPatient, uid: str) -> tuple[StructureShape, ...]:
    """The structures of a set as they are now."""
    contours = patient.contours(uid)
    return tuple(
        measure(
            s.structure_id,
            s.dicom_type,
            contours.get(s.structure_id, {}),
            is_high_resolution=s.is_high_resolution,
        )
        for s in patient.structures(uid)
    )


def differences_of(wanted: SetPlan, found: Sequence[StructureShape]) -> tuple[str, ...]:
    """How a set differs from what is wanted, a clause each."""
    return differences(wanted.expected, found, wanted.how, may_be_clipped=wanted.clipped)


def on_same_image(one: ImageView | None, other: ImageView) -> bool:
    """Whether two images are one or copies of one: CreateNewStructureSet copies the image."""
    return (
        one is not None
        and one.series_uid == other.series_uid
        and one.geometry.same_grid(other.geometry)
    )


def _outcomes(wanted: SetPlan) -> tuple[StructureOutcome, ...]:
    clip = "it reaches out of the image and is cut there"
    created = tuple(
        planned.outcome(wanted.kind, clip if planned.new_id in wanted.clipped else "")
        for planned in wanted.plan.structures
    )
    return created + wanted.plan.skipped_outcomes(wanted.kind)


def _free_id(case: Case, base_id: str, patient: OpenPatient) -> str:
    taken = {folding(s.structure_set_id) for s in patient.view.structure_sets}
    for number in range(2, MOST_NUMBERED + 1):
        candidate = numbered_id(base_id, number)
        if folding(candidate) not in taken:
            return candidate
    raise PrepareError(f"{case}: there are {MOST_NUMBERED} structure sets {base_id}. Remove some.")
