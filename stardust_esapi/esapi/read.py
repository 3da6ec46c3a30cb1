"""Read ESAPI's objects into plain records. Nothing here changes anything."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from stardust_esapi.errors import LocateError
from stardust_esapi.esapi.backend import Backend
from stardust_esapi.geometry import FloatArray, ImageGeometry, Vector
from stardust_esapi.model import IMAGE_KINDS
from stardust_esapi.patient import (
    ImageView,
    ObjectView,
    PatientView,
    PlanView,
    RegistrationView,
    StructureSetView,
    StructureView,
)

if TYPE_CHECKING:
    import System
    from VMS.TPS.Common.Model import API, Types


@dataclass(frozen=True, slots=True)
class PatientContents:
    """A patient's records, and ESAPI's objects behind them while the patient is open."""

    view: PatientView
    images: dict[tuple[str, str], API.Image]
    structure_sets: dict[str, API.StructureSet]
    registrations: dict[str, API.Registration]
    plans: dict[PlanView, API.PlanSetup]


def read_patient(patient: API.Patient) -> PatientContents:
    """Read all that a case can ask for."""
    views: dict[tuple[str, str], ImageView] = {}
    images: dict[tuple[str, str], API.Image] = {}
    structure_sets: dict[str, API.StructureSet] = {}
    set_views: list[StructureSetView] = []

    def add(image: API.Image) -> ImageView:
        view = read_image(image)
        images.setdefault((view.series_uid, view.image_id), image)
        return views.setdefault((view.series_uid, view.image_id), view)

    for study in patient.Studies:
        for image in _volumes_of_study(study):
            add(image)
    for structure_set in patient.StructureSets:
        below = structure_set.Image
        view = add(below) if below is not None and is_volume(below) else None
        structure_sets[structure_set.UID] = structure_set
        set_views.append(StructureSetView(structure_set.Id, structure_set.UID, view))
    registrations = {registration.UID: registration for registration in patient.Registrations}
    plans = dict(_plans(patient))
    patient_view = PatientView(
        patient_id=patient.Id,
        plans=tuple(plans),
        structure_sets=tuple(set_views),
        images=tuple(views.values()),
        registrations=tuple(
            RegistrationView(r.UID, r.SourceFOR, r.RegisteredFOR) for r in registrations.values()
        ),
    )
    return PatientContents(patient_view, images, structure_sets, registrations, plans)


def _volumes_of_study(study: API.Study) -> Iterable[API.Image]:
    """The 3-D images of a study, of which a case can need CT and MR.

    ``Study.Images3D`` (from 16.1 on) spares a look at each 2-D image; before, only the series that
    matter are looked into. A patient may have thousands of portal images.
    """
    if hasattr(study, "Images3D"):
        return study.Images3D
    wanted = {kind.modality for kind in IMAGE_KINDS}
    return (i for s in study.Series if str(s.Modality) in wanted for i in volumes(s))


def volumes(series: API.Series) -> Iterator[API.Image]:
    """The 3-D images of a series: ``Series.Images`` gives the slices too, in no promised order."""
    return filter(is_volume, series.Images)


def is_volume(image: API.Image) -> bool:
    """Whether an image is 3-D: a 2-D one has one plane, and is nowhere (``Origin`` is NaN)."""
    return image.ZSize > 1 or not math.isnan(image.Origin.x)


def read_image(image: API.Image) -> ImageView:
    """Describe a 3-D image."""
    series = image.Series
    return ImageView(
        image_id=image.Id,
        series_uid=series.UID,
        study_uid=series.Study.UID,
        modality=str(series.Modality),
        frame_of_reference_uid=image.FOR,
        geometry=read_geometry(image),
    )


def read_geometry(image: API.Image | API.Dose) -> ImageGeometry:
    """The voxel grid (``Origin``, directions, resolutions in mm, sizes)."""
    return ImageGeometry(
        origin=_vector(image.Origin),
        x_direction=_vector(image.XDirection),
        y_direction=_vector(image.YDirection),
        z_direction=_vector(image.ZDirection),
        spacing=(image.XRes, image.YRes, image.ZRes),
        size=(image.XSize, image.YSize, image.ZSize),
    )


def read_structure(structure: API.Structure) -> StructureView:
    """Describe a structure."""
    color = structure.Color
    is_empty = bool(structure.IsEmpty) or not structure.HasSegment
    return StructureView(
        structure_id=structure.Id,
        dicom_type=structure.DicomType or "",
        color=(int(color.R), int(color.G), int(color.B)),
        is_empty=is_empty,
        is_high_resolution=bool(structure.IsHighResolution),
        volume_ml=0.0 if is_empty else float(structure.Volume),
    )


def read_contours(
    backend: Backend, structure: API.Structure, planes: int
) -> dict[int, list[FloatArray]]:
    """Contours by plane index, only planes that have any; polygons of shape (n, 3), mm."""
    found = {plane: backend.read_contours(structure, plane) for plane in range(planes)}
    return {plane: contours for plane, contours in found.items() if contours}


def read_plan(plan: API.PlanSetup) -> ObjectView:
    """Describe a plan as DICOM knows it.

    Raises:
        LocateError: Eclipse does not show all of that.
    """
    return _object(plan, "plan")


def read_dose(plan: API.PlanSetup) -> ObjectView:
    """Describe the dose of a plan as DICOM knows it.

    Raises:
        LocateError: It was not calculated, is not that of the plan as it is now, or Eclipse does
            not show all of it.
    """
    dose = plan.Dose
    if dose is None:
        raise LocateError(f"Plan {plan.Id} has no dose: it was not calculated in Eclipse.")
    if not plan.IsDoseValid:
        raise LocateError(
            f"The dose of plan {plan.Id} is not valid: the plan was changed afterwards. Calculate "
            "it again in Eclipse."
        )
    return _object(dose, f"dose of plan {plan.Id}")


def _object(item: API.PlanSetup | API.Dose, what: str) -> ObjectView:
    # No reference says that an object made in Eclipse has them before it is first exported.
    series = item.Series
    study_uid = series.Study.UID if series is not None else ""
    found = ObjectView(item.UID or "", item.SeriesUID or "", study_uid)
    if not (found.uid and found.series_uid and found.study_uid):
        raise LocateError(
            f"Eclipse shows no UIDs of the {what}, so it cannot be told from others. Export it "
            "from Eclipse by hand."
        )
    return found


def _plans(patient: API.Patient) -> Iterator[tuple[PlanView, API.PlanSetup]]:
    for course in patient.Courses:
        for plan in course.PlanSetups:
            structure_set = plan.StructureSet
            uid = structure_set.UID if structure_set is not None else ""
            yield PlanView(course.Id, plan.Id, plan.UID, uid), plan


def _vector(vector: Types.VVector) -> Vector:
    return (vector.x, vector.y, vector.z)


def read_datetime(value: System.DateTime | None) -> datetime | None:
    """Turn a ``System.DateTime`` into Python's, in whole seconds; None for null and MinValue."""
    if value is None or value.Year <= 1:
        return None
    return datetime(value.Year, value.Month, value.Day, value.Hour, value.Minute, value.Second)
