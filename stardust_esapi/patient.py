"""What an open patient holds, read once from ESAPI into plain records.

Decisions (which plan, which series, may it be prepared) are taken on these records, so that they
can be understood and tested without ESAPI.
"""

from __future__ import annotations

from dataclasses import dataclass

from stardust_esapi.geometry import ImageGeometry


@dataclass(frozen=True, slots=True)
class ImageView:
    """A 3-D image (:func:`stardust_esapi.esapi.read.is_volume`).

    Attributes:
        image_id: ``Image.Id``; together with ``series_uid`` it names the image.
        series_uid: Series Instance UID; copies of an image share it.
        study_uid: Study Instance UID.
        modality: ``Series.Modality`` by name, such as ``CT`` or ``MR``.
        frame_of_reference_uid: ``Image.FOR``.
        geometry: The voxel grid.
    """

    image_id: str
    series_uid: str
    study_uid: str
    modality: str
    frame_of_reference_uid: str
    geometry: ImageGeometry


@dataclass(frozen=True, slots=True)
class StructureSetView:
    """A structure set and the image it lies on (None where Eclipse shows none)."""

    structure_set_id: str
    uid: str
    image: ImageView | None


@dataclass(frozen=True, slots=True)
class PlanView:
    """A plan: ``PlanSetup.Id`` is unique in its course only."""

    course_id: str
    plan_id: str
    uid: str
    structure_set_uid: str


@dataclass(frozen=True, slots=True)
class ObjectView:
    """An RT Plan or RT Dose as DICOM knows it.

    Attributes:
        uid: SOP Instance UID (0008,0018).
        series_uid: Series Instance UID (0020,000E).
        study_uid: Study Instance UID (0020,000D).
    """

    uid: str
    series_uid: str
    study_uid: str


@dataclass(frozen=True, slots=True)
class RegistrationView:
    """A registration from one frame of reference to another."""

    uid: str
    source_for: str
    registered_for: str

    def links(self, one: str, other: str) -> bool:
        """Whether it leads between the two frames of reference, in either direction."""
        return {self.source_for, self.registered_for} == {one, other}


@dataclass(frozen=True, slots=True)
class PatientView:
    """Everything of an open patient that a case can ask for."""

    patient_id: str
    plans: tuple[PlanView, ...]
    structure_sets: tuple[StructureSetView, ...]
    images: tuple[ImageView, ...]
    registrations: tuple[RegistrationView, ...]

    def structure_set(self, uid: str) -> StructureSetView | None:
        """The structure set with this UID."""
        return next((s for s in self.structure_sets if s.uid == uid), None)


@dataclass(frozen=True, slots=True)
class StructureView:
    """One structure of a structure set.

    Attributes:
        structure_id: ``Structure.Id``.
        dicom_type: ``Structure.DicomType``: an RT ROI Interpreted Type (3006,00A4) or empty.
        color: Red, green, blue, 0 to 255.
        is_empty: No segment, or a segment without volume.
        is_high_resolution: ``Structure.IsHighResolution``.
        volume_ml: ``Structure.Volume``, ml: what the mining writes into a list.
    """

    structure_id: str
    dicom_type: str
    color: tuple[int, int, int]
    is_empty: bool
    is_high_resolution: bool = False
    volume_ml: float = 0.0
