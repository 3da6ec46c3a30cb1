"""What the writers need to know: frozen records, free of ESAPI and of pydicom.

Points and geometry are in patient space (LPS, mm; PS3.3 C.7.6.2.1.1). Texts that identify
something (ids, ROI names, UIDs) must fit their DICOM attribute: the writers refuse them otherwise.
Texts that only describe are shortened to fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.geometry import FloatArray, ImageGeometry


@dataclass(frozen=True, slots=True)
class PatientIdentity:
    """Patient Module (PS3.3 C.7.1.1). Written into the files; ``repr`` shows the id alone.

    Attributes:
        patient_id: Patient ID (0010,0020), at most 64 characters.
        family_name: First component of Patient's Name (0010,0010).
        given_name: Its second component.
        middle_name: Its third component.
        birth_date: Patient's Birth Date (0010,0030); None where unknown.
        sex: Patient's Sex (0010,0040): ``M``, ``F``, ``O``, or empty where unknown.
    """

    patient_id: str
    family_name: str = field(default="", repr=False)
    given_name: str = field(default="", repr=False)
    middle_name: str = field(default="", repr=False)
    birth_date: date | None = field(default=None, repr=False)
    sex: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """General Study Module (PS3.3 C.7.2.1).

    Attributes:
        study_uid: Study Instance UID (0020,000D).
        study_id: Study ID (0020,0010), at most 16 characters.
        created: Study Date and Time (0008,0020 and 0008,0030); None where unknown.
    """

    study_uid: str
    study_id: str = ""
    created: datetime | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """General Equipment Module (PS3.3 C.7.5.1) of the scanner; empty where unknown.

    Attributes:
        manufacturer: Manufacturer (0008,0070).
        model: Manufacturer's Model Name (0008,1090).
        serial_number: Device Serial Number (0018,1000).
    """

    manufacturer: str = ""
    model: str = ""
    serial_number: str = ""


@dataclass(frozen=True, slots=True)
class ReferencedSeries:
    """The images that a structure set was drawn on.

    Attributes:
        study_uid: Study Instance UID (0020,000D) of the images.
        series_uid: Series Instance UID (0020,000E).
        sop_class_uid: SOP Class UID of every image.
        sop_instance_uids: SOP Instance UID of every image, by plane.
    """

    study_uid: str
    series_uid: str
    sop_class_uid: str
    sop_instance_uids: Sequence[str]


@dataclass(frozen=True, slots=True)
class ImageSeries:
    """One CT or MR series and the way to its voxels.

    Attributes:
        patient: The patient.
        study: The study.
        modality: ``CT`` or ``MR``; begins the names of the files, too.
        series_uid: Series Instance UID (0020,000E).
        frame_of_reference_uid: Frame of Reference UID (0020,0052).
        patient_position: Patient Position (0018,5100) such as ``HFS``; empty where unknown.
        geometry: The voxel grid, mm.
        sop_instance_uids: SOP Instance UID of every image, by plane.
        image_type: Image Type (0008,0008), at least three values (PS3.3 C.8.2.1.1.1, C.8.3.1.1.1).
        read_plane: Gives the raw voxel values of a plane, shape (rows, columns). Called twice a
            plane: what it gives must not change.
        rescale_slope: Display value (HU in CT) = slope * raw value + intercept.
        rescale_intercept: See there.
        window: Window Center and Width (0028,1050 and 0028,1051), in display values.
        series_number: Series Number (0020,0011).
        series_description: Series Description (0008,103E).
        contrast_agent: Contrast/Bolus Agent (0018,0010); empty without one.
        created: Content Date and Time (0008,0023 and 0008,0033).
        device: The scanner.
    """

    patient: PatientIdentity
    study: StudyFacts
    modality: str
    series_uid: str
    frame_of_reference_uid: str
    patient_position: str
    geometry: ImageGeometry
    sop_instance_uids: Sequence[str]
    image_type: Sequence[str]
    read_plane: Callable[[int], NDArray[np.int32]] = field(repr=False)
    rescale_slope: float = 1.0
    rescale_intercept: float = 0.0
    window: tuple[float, float] | None = None
    series_number: int | None = None
    series_description: str = ""
    contrast_agent: str = ""
    created: datetime | None = None
    device: Device = Device()


@dataclass(frozen=True, slots=True)
class RoiSource:
    """One structure.

    Attributes:
        number: ROI Number (3006,0022), unique in the structure set.
        name: ROI Name (3006,0026), at most 64 characters.
        interpreted_type: RT ROI Interpreted Type (3006,00A4), such as ``GTV``; may be empty.
        color: Red, green, blue, each 0-255.
        contours: Closed polygons by plane index, each of shape (n, 3), mm; none in an empty ROI.
    """

    number: int
    name: str
    interpreted_type: str
    color: tuple[int, int, int]
    contours: Mapping[int, Sequence[FloatArray]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class StructureSetSource:
    """One structure set.

    Attributes:
        patient: The patient.
        study: The study the structure set belongs to.
        sop_instance_uid: SOP Instance UID (0008,0018) of the structure set.
        series_uid: Series Instance UID (0020,000E) of the structure set, not of the images.
        label: Structure Set Label (3006,0002), at most 16 characters.
        frame_of_reference_uid: Frame of Reference UID (0020,0052) of the images.
        images: The images it was drawn on.
        rois: The structures; read once.
        created: Structure Set Date and Time (3006,0008 and 3006,0009).
    """

    patient: PatientIdentity
    study: StudyFacts
    sop_instance_uid: str
    series_uid: str
    label: str
    frame_of_reference_uid: str
    images: ReferencedSeries
    rois: Iterable[RoiSource] = field(repr=False)
    created: datetime | None = None


@dataclass(frozen=True, slots=True)
class RegistrationSource:
    """A linear registration of one frame of reference with another.

    Attributes:
        patient: The patient.
        study: The study the registration belongs to.
        sop_instance_uid: SOP Instance UID (0008,0018) of the registration.
        series_uid: Series Instance UID (0020,000E) of the registration.
        source_for: Frame of Reference UID that is transformed.
        registered_for: Frame of Reference UID that it is brought into.
        matrix: Maps a column vector (x, y, z, 1) from source to registered, mm; shape (4, 4).
        created: Content Date and Time (0008,0023 and 0008,0033); the standard wants them.
    """

    patient: PatientIdentity
    study: StudyFacts
    sop_instance_uid: str
    series_uid: str
    source_for: str
    registered_for: str
    matrix: FloatArray = field(repr=False)
    created: datetime


@dataclass(frozen=True, slots=True)
class DoseSource:
    """The dose of a whole plan.

    Attributes:
        patient: The patient.
        study: The study the dose belongs to.
        sop_instance_uid: SOP Instance UID (0008,0018) of the dose.
        series_uid: Series Instance UID (0020,000E) of the dose.
        frame_of_reference_uid: Frame of Reference UID (0020,0052) of the planning CT.
        geometry: The dose grid, mm.
        values: Dose of every voxel in ``units``, none below zero, shape (planes, rows, columns).
        units: Dose Units (3004,0002): ``GY``, or ``RELATIVE`` for percent.
        plan_uid: SOP Instance UID of the RT Plan.
        plan_label: RT Plan Label (300A,0002), at most 16 characters.
        structure_set_uid: SOP Instance UID of the structure set the plan was made on.
        comment: Dose Comment (3004,0006).
        created: Content Date and Time (0008,0023 and 0008,0033).
    """

    patient: PatientIdentity
    study: StudyFacts
    sop_instance_uid: str
    series_uid: str
    frame_of_reference_uid: str
    geometry: ImageGeometry
    values: FloatArray = field(repr=False)
    units: str
    plan_uid: str
    plan_label: str
    structure_set_uid: str
    comment: str = ""
    created: datetime | None = None
