"""Export through ESAPI's object model alone: no daemon, no network, no second permission.

ESAPI shows no SOP Instance UIDs of slices before 16.1, and later not where each slice lies. So the
images of this engine may carry derived ones: stable, the same in every run, and the ones the
structure set refers to. Study, series, structure set and registration keep Eclipse's own UIDs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stardust_esapi.dicom.elements import naming
from stardust_esapi.dicom.read_dose import RELATIVE
from stardust_esapi.dicom.source import (
    Device,
    DoseSource,
    ImageSeries,
    PatientIdentity,
    ReferencedSeries,
    RegistrationSource,
    RoiSource,
    StructureSetSource,
    StudyFacts,
)
from stardust_esapi.dicom.uids import derived_uid
from stardust_esapi.dicom.write_dose import write_dose
from stardust_esapi.dicom.write_images import reference, write_image_series
from stardust_esapi.dicom.write_registration import write_registration
from stardust_esapi.dicom.write_structure_set import write_structure_set
from stardust_esapi.errors import TransferError
from stardust_esapi.esapi import read
from stardust_esapi.esapi.session import OpenPatient
from stardust_esapi.geometry import GEOMETRY_TOLERANCE_MM, FloatArray, moved
from stardust_esapi.model import Kind, TransferRequest
from stardust_esapi.patient import ImageView
from stardust_esapi.transfer import doses
from stardust_esapi.transfer.engine import Fetched
from stardust_esapi.transfer.voxels import Voxels, digest, display, slices_on_planes

if TYPE_CHECKING:
    from VMS.TPS.Common.Model import API, Types

# Types.PatientOrientation to Patient Position (0018,5100), PS3.3 C.7.3.1.1.2.
_PATIENT_POSITIONS = {
    "HeadFirstSupine": "HFS",
    "HeadFirstProne": "HFP",
    "HeadFirstDecubitusRight": "HFDR",
    "HeadFirstDecubitusLeft": "HFDL",
    "FeetFirstSupine": "FFS",
    "FeetFirstProne": "FFP",
    "FeetFirstDecubitusRight": "FFDR",
    "FeetFirstDecubitusLeft": "FFDL",
    "Sitting": "SITTING",
}
# What MedSAM2's reader takes (level 40, width 400 HU). ESAPI's own Level and Window may be meant in
# voxel or in display values; a viewer's first impression is not worth a guess.
_CT_WINDOW = (40.0, 400.0)
_SEXES = {"male": "M", "female": "F", "other": "O"}

# Four points that lie in no plane, mm: they tell one affine map from any other.
_REACH = 200.0
_PROBES = np.vstack([np.zeros(3), _REACH * np.eye(3)])

Colors = Mapping[str, tuple[int, int, int]]


class EsapiEngine:
    """Write what a request names from the open patient.

    Args:
        patient: The open patient; the engine lives no longer than it is open.
        colors: By structure set UID, colours by structure id that Eclipse could not keep
            (``Structure.Color`` is read-only before 16.1).
    """

    name = "esapi"

    def __init__(self, patient: OpenPatient, colors: Mapping[str, Colors]) -> None:
        self._patient = patient
        self._colors = colors

    def fetch(
        self, request: TransferRequest, folder: Path, advance: Callable[[int], None]
    ) -> Fetched:
        """Write images, structure set and registration of a request into a folder, or its dose.

        Raises:
            TransferError: The open patient does not hold it, or it cannot be told in DICOM.
            EsapiRefusedError: Eclipse refused to read.
        """
        if request.kind is Kind.DOSE:
            with self._patient.refusals("reading the dose"):
                write_dose(self._dose(request), folder)
            return Fetched()
        view = self._image(request)
        with self._patient.refusals(f"reading series {request.series_uid}"):
            series = self._series(view)
            write_image_series(series, folder, advance)
        if request.structure_set_uid:
            with self._patient.refusals("reading the structure set"):
                write_structure_set(
                    self._structure_set(request.structure_set_uid, series, reference(series)),
                    folder,
                )
        if request.registration_uid:
            with self._patient.refusals("reading the registration"):
                write_registration(self._registration(request.registration_uid, series), folder)
        return Fetched()

    def _image(self, request: TransferRequest) -> ImageView:
        """The image under the structure set, which may be a copy; else the series' first."""
        view = self._patient.view
        if request.structure_set_uid:
            structure_set = view.structure_set(request.structure_set_uid)
            images = [structure_set.image] if structure_set and structure_set.image else []
        else:
            images = list(view.images)
        for image in images:
            if image.series_uid == request.series_uid and image.study_uid == request.study_uid:
                return image
        raise TransferError(
            f"patient {request.patient_id}: Eclipse shows no {request.kind} image of series "
            f"{request.series_uid} (structure set {request.structure_set_uid or 'none'}) any more. "
            "Run the export again."
        )

    def _series(self, view: ImageView) -> ImageSeries:
        image = self._patient.image(view)
        series = image.Series
        planes = partial(self._patient.backend.read_plane, image)
        voxels = Voxels.of(planes, view.geometry.size[2])
        with naming(f"Patient {self._patient.patient_id}, series {view.series_uid}"):
            shown = display(
                planes,
                voxels.occurring,
                (float(image.VoxelToDisplayValue(voxel)) for voxel in voxels.occurring.tolist()),
                may_be_curved=view.modality != "CT",
            )
        return ImageSeries(
            patient=self._identity(),
            study=_study(series.Study),
            modality=view.modality,
            series_uid=view.series_uid,
            frame_of_reference_uid=view.frame_of_reference_uid,
            patient_position=_PATIENT_POSITIONS.get(str(image.ImagingOrientation), ""),
            geometry=view.geometry,
            sop_instance_uids=self._slice_uids(series, voxels),
            # Pixels as scanned, but written by us: a derived image (PS3.3 C.7.6.1.1.2).
            image_type=("DERIVED", "PRIMARY", "AXIAL" if view.modality == "CT" else "OTHER"),
            read_plane=shown.read_plane,
            rescale_slope=shown.slope,
            rescale_intercept=shown.intercept,
            window=_CT_WINDOW if view.modality == "CT" else None,
            series_description=series.Comment or "",
            contrast_agent=image.ContrastBolusAgentIngredientName or "",
            # Of the oldest: copies that Eclipse makes for structure sets have dates of their own.
            created=min(
                filter(
                    None, (read.read_datetime(i.CreationDateTime) for i in read.volumes(series))
                ),
                default=None,
            ),
            device=Device(
                manufacturer=series.ImagingDeviceManufacturer or "",
                model=series.ImagingDeviceModel or "",
                serial_number=series.ImagingDeviceSerialNo or "",
            ),
        )

    def _slice_uids(self, series: API.Series, voxels: Voxels) -> tuple[str, ...]:
        """SOP Instance UID of every plane: Eclipse's own where it is proven, else derived.

        All or none: a mixture of own and derived UIDs would help nobody.
        """
        planes = len(voxels.digests)
        return self._own_uids(series, voxels) or tuple(
            derived_uid("image", series.UID, str(planes), str(plane)) for plane in range(planes)
        )

    def _own_uids(self, series: API.Series, voxels: Voxels) -> tuple[str, ...]:
        """``Image.UID`` of every plane's slice, from 16.1 on; none where one is not proven."""
        slices = [image for image in series.Images if not read.is_volume(image)]
        uids = [image.UID or "" for image in slices if hasattr(image, "UID")]
        if not len(set(uids) - {""}) == len(slices) == len(voxels.digests):
            return ()
        backend = self._patient.backend
        found: list[bytes] = []
        try:
            for image in slices:
                found.append(digest(backend.read_plane(image, 0)))
                if found[-1] not in voxels.digests:
                    return ()
        except Exception as error:
            if backend.refusal(error) is None:
                raise
            return ()  # whether voxels of a 2-D image are given is not documented
        order = slices_on_planes(voxels.digests, found)
        return tuple(uids[at] for at in order) if order else ()

    def _dose(self, request: TransferRequest) -> DoseSource:
        """The dose of the plan of a request, held against what else Eclipse says of it."""
        view = next((p for p in self._patient.view.plans if p.uid == request.plan_uid), None)
        plan = self._patient.plan_setup(view) if view else None
        dose = plan.Dose if plan is not None else None
        drawn = plan.StructureSet if plan is not None else None
        below = drawn.Image if drawn is not None else None
        if (
            plan is None
            or dose is None
            or drawn is None
            or below is None
            or request.dose_uid != dose.UID
        ):
            raise TransferError(
                f"patient {request.patient_id}: Eclipse shows no dose {request.dose_uid} of plan "
                f"{request.plan_uid} any more. Run the export again."
            )
        with naming(f"Patient {request.patient_id}, dose of plan {plan.Id}"):
            if hasattr(plan, "IonBeams"):
                raise TransferError(
                    "it is one of protons or ions. Whether Eclipse weights it by their biological "
                    "effect, which DICOM must say (Dose Type), is not known. Fetch it over the "
                    "network instead (--engine qr)."
                )
            x, y, z = (
                direction * distance
                for direction, distance in (
                    (dose.XDirection, dose.XRes),
                    (dose.YDirection, dose.YRes),
                    (dose.ZDirection, dose.ZRes),
                )
            )
            planes = [self._patient.backend.read_plane(dose, n) for n in range(dose.ZSize)]
            found = doses.doses(
                np.stack(planes), lambda voxel: _answer(dose.VoxelToDoseValue(voxel))
            )
            doses.prove(
                found,
                _answer(dose.DoseMax3D),
                lambda column, row, plane: _answer(
                    dose.GetDoseToPoint(dose.Origin + x * column + y * row + z * plane)
                ),
                _answer(plan.TotalDose),
            )
        return DoseSource(
            patient=self._identity(),
            study=_study(dose.Series.Study),
            sop_instance_uid=dose.UID,
            series_uid=dose.SeriesUID,
            frame_of_reference_uid=below.FOR,
            geometry=read.read_geometry(dose),
            values=found.values,
            units=found.units,
            plan_uid=plan.UID,
            plan_label=plan.Id,
            structure_set_uid=drawn.UID,
            comment="Percent as Eclipse shows it" if found.units == RELATIVE else "",
            created=read.read_datetime(dose.HistoryDateTime),
        )

    def _identity(self) -> PatientIdentity:
        patient = self._patient.api
        birth = read.read_datetime(patient.DateOfBirth)
        return PatientIdentity(
            patient_id=patient.Id,
            family_name=patient.LastName or "",
            given_name=patient.FirstName or "",
            middle_name=patient.MiddleName or "",
            birth_date=birth.date() if birth else None,
            sex=_SEXES.get((patient.Sex or "").casefold(), ""),
        )

    def _structure_set(
        self, uid: str, series: ImageSeries, images: ReferencedSeries
    ) -> StructureSetSource:
        structure_set = self._patient.structure_set(uid)
        return StructureSetSource(
            patient=series.patient,
            study=series.study,
            sop_instance_uid=uid,
            series_uid=derived_uid("series of structure set", uid),
            label=structure_set.Id,
            frame_of_reference_uid=series.frame_of_reference_uid,
            images=images,
            rois=self._rois(structure_set, series.geometry.size[2]),
            created=read.read_datetime(structure_set.HistoryDateTime),
        )

    def _rois(self, structure_set: API.StructureSet, planes: int) -> Iterator[RoiSource]:
        colors = self._colors.get(structure_set.UID, {})
        for structure in structure_set.Structures:
            view = read.read_structure(structure)
            yield RoiSource(
                number=structure.ROINumber,
                name=view.structure_id,
                interpreted_type=view.dicom_type,
                color=colors.get(view.structure_id, view.color),
                contours={}
                if view.is_empty
                else read.read_contours(self._patient.backend, structure, planes),
            )

    def _registration(self, uid: str, series: ImageSeries) -> RegistrationSource:
        registration = self._patient.registration(uid)
        created = read.read_datetime(registration.CreationDateTime) or read.read_datetime(
            registration.HistoryDateTime
        )
        return RegistrationSource(
            patient=series.patient,
            study=series.study,
            sop_instance_uid=uid,
            series_uid=derived_uid("series of registration", uid),
            source_for=registration.SourceFOR,
            registered_for=registration.RegisteredFOR,
            matrix=registration_matrix(self._patient, registration),
            created=created or datetime.min,
        )


def registration_matrix(patient: OpenPatient, registration: API.Registration) -> FloatArray:
    """The (4, 4) matrix from ``SourceFOR`` to ``RegisteredFOR``, mm, proven by four points.

    That ``TransformPoint`` goes this way is documented; of ``TransformationMatrix`` nothing is.

    Raises:
        TransferError: It is not rigid, or not what it seems.
    """
    backend = patient.backend
    matrix = backend.read_matrix(registration)
    start, *ends = backend.transform(registration, _PROBES)
    way = np.eye(4)
    way[:3, :3] = (np.array(ends) - start).T / _REACH
    way[:3, 3] = start
    if np.abs(moved(matrix, _PROBES) - moved(way, _PROBES)).max() <= GEOMETRY_TOLERANCE_MM:
        return matrix
    if np.abs(moved(matrix @ way, _PROBES) - _PROBES).max() <= GEOMETRY_TOLERANCE_MM:
        return way  # the matrix goes back
    raise TransferError(
        f"patient {patient.patient_id}: registration {registration.UID} does not move "
        "points as its matrix says, so it is not rigid or not what it seems. Export the case "
        "without the MR, or through DICOM."
    )


def _answer(value: Types.DoseValue) -> doses.Answer:
    return float(value.Dose), str(value.Unit)


def _study(study: API.Study) -> StudyFacts:
    return StudyFacts(study.UID, study.Id or "", read.read_datetime(study.CreationDateTime))
