"""What the index of a stub database knows of a patient: plain records, written as JSON.

Dates are DICOM's digits ``YYYYMMDDHHMMSS``; empty where unknown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from esapi_stub.grid import Grid

MAX_ID = 16


@dataclass
class Record:
    """What every ``ApiDataObject`` has.

    Attributes:
        id: At most 16 characters.
        name: ``Name``.
        comment: ``Comment``.
        created: Date of creation.
        modified: Date of the last change.
    """

    id: str
    name: str = ""
    comment: str = ""
    created: str = ""
    modified: str = ""


@dataclass
class StudyRecord(Record):
    """A study."""

    uid: str = ""


@dataclass
class SliceRecord:
    """One image file.

    Attributes:
        uid: SOP Instance UID.
        file: Path inside the patient's folder.
        slope: Stored value to display value.
        intercept: Stored value to display value.
    """

    uid: str
    file: str
    slope: float = 1.0
    intercept: float = 0.0


@dataclass
class SeriesRecord(Record):
    """A series; the fields from ``frame_of_reference_uid`` on are those of image series.

    Attributes:
        uid: Series Instance UID.
        study_uid: Study Instance UID.
        modality: DICOM Modality.
        sop_class_uid: SOP Class UID of its instances.
        device: Manufacturer, model, serial number.
        grid: The voxel grid; None where the series has no images.
        patient_position: Patient Position (0018,5100).
        level: Window Center of the first slice.
        window: Window Width of the first slice.
        unit: Unit of the display values.
        slope: Voxel value to display value, for the whole image.
        intercept: Voxel value to display value, for the whole image.
        contrast: Contrast/Bolus Agent.
        slices: In space order along the normal.
    """

    uid: str = ""
    study_uid: str = ""
    modality: str = ""
    sop_class_uid: str = ""
    device: tuple[str, str, str] = ("", "", "")
    frame_of_reference_uid: str = ""
    grid: Grid | None = None
    patient_position: str = ""
    level: int = 0
    window: int = 0
    unit: str = ""
    slope: float = 1.0
    intercept: float = 0.0
    contrast: str = ""
    slices: list[SliceRecord] = field(default_factory=list)


@dataclass
class ImageRecord(Record):
    """A volume: all slices of a series, or a copy of it made for one more structure set.

    Attributes:
        series_uid: The series.
        uid: What tells it from others here; Eclipse shows none.
        user_origin: ``UserOrigin``, mm; None where not set.
    """

    series_uid: str = ""
    uid: str = ""
    user_origin: tuple[float, float, float] | None = None


@dataclass
class StructureSetRecord(Record):
    """A structure set; its structures stand in its RTSTRUCT file.

    Attributes:
        uid: SOP Instance UID.
        image_uid: UID of the image it lies on; no other structure set lies there.
        series_uid: Its own Series Instance UID; empty of one that was created here.
        file: Path inside the patient's folder; empty before it is first saved.
        approved: Whether its Approval Status is APPROVED.
        reviewer: Who approved it.
        high_resolution: ROI numbers of its high-resolution structures (DICOM has no word for it).
        removed: Whether it was deleted, before that is saved.
    """

    uid: str = ""
    image_uid: str = ""
    series_uid: str = ""
    file: str = ""
    approved: bool = False
    reviewer: str = ""
    high_resolution: list[int] = field(default_factory=list)
    removed: bool = False


@dataclass
class PlanRecord(Record):
    """A plan.

    Attributes:
        uid: SOP Instance UID.
        course_id: The course it stands in.
        series_uid: Series Instance UID of the RT Plan.
        structure_set_uid: SOP Instance UID of its structure set.
        approval: Approval Status (300E,0002).
        orientation: Patient Position of the treatment.
        fractions: Number of Fractions Planned.
        total_dose: Target Prescription Dose, Gy.
        target_id: Structure that the dose is prescribed to.
    """

    uid: str = ""
    course_id: str = ""
    series_uid: str = ""
    structure_set_uid: str = ""
    approval: str = ""
    orientation: str = ""
    fractions: int | None = None
    total_dose: float | None = None
    target_id: str = ""


@dataclass
class DoseRecord(Record):
    """The dose of a plan; its values stand in its RTDOSE file.

    Attributes:
        uid: SOP Instance UID.
        series_uid: Series Instance UID of the RT Dose.
        plan_uid: SOP Instance UID of its plan.
        grid: The dose grid.
        scaling: Dose Grid Scaling (3004,000E): stored value to Gy.
        highest: Highest dose, Gy.
        file: Path inside the patient's folder.
    """

    uid: str = ""
    series_uid: str = ""
    plan_uid: str = ""
    grid: Grid | None = None
    scaling: float = 0.0
    highest: float = 0.0
    file: str = ""


@dataclass
class RegistrationRecord(Record):
    """A rigid registration.

    Attributes:
        uid: SOP Instance UID.
        source_for: Frame of Reference that points come from.
        registered_for: Frame of Reference that they go to.
        matrix: Four rows of four, mm.
    """

    uid: str = ""
    source_for: str = ""
    registered_for: str = ""
    matrix: list[list[float]] = field(default_factory=list)


@dataclass
class SummaryRecord(Record):
    """Who a patient is."""

    last_name: str = ""
    first_name: str = ""
    middle_name: str = ""
    sex: str = ""
    birth_date: str = ""
    folder: str = ""


@dataclass
class PatientRecord:
    """Everything the index knows of one patient.

    Attributes:
        summary: Who it is.
        revision: Counts the saves.
        next_ordinal: Feeds the UIDs of new objects; used up by saved changes only.
    """

    summary: SummaryRecord
    revision: int = 0
    next_ordinal: int = 1
    studies: list[StudyRecord] = field(default_factory=list)
    series: list[SeriesRecord] = field(default_factory=list)
    images: list[ImageRecord] = field(default_factory=list)
    structure_sets: list[StructureSetRecord] = field(default_factory=list)
    plans: list[PlanRecord] = field(default_factory=list)
    doses: list[DoseRecord] = field(default_factory=list)
    registrations: list[RegistrationRecord] = field(default_factory=list)

    def series_of(self, image: ImageRecord) -> SeriesRecord:
        """The series that an image belongs to."""
        return next(s for s in self.series if s.uid == image.series_uid)

    def image_of(self, structure_set: StructureSetRecord) -> ImageRecord:
        """The image that a structure set lies on."""
        return next(i for i in self.images if i.uid == structure_set.image_uid)

    def sets_of_series(self, series_uid: str) -> list[StructureSetRecord]:
        """The structure sets on a series: on its image and on copies of that."""
        return [s for s in self.structure_sets if self.image_of(s).series_uid == series_uid]

    def to_json(self) -> dict[str, Any]:
        """Make plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PatientRecord:
        """Read back what :meth:`to_json` made."""
        return cls(
            summary=SummaryRecord(**data["summary"]),
            revision=data["revision"],
            next_ordinal=data["next_ordinal"],
            studies=[StudyRecord(**d) for d in data["studies"]],
            series=[_series(d) for d in data["series"]],
            images=[ImageRecord(**d) for d in data["images"]],
            structure_sets=[StructureSetRecord(**d) for d in data["structure_sets"]],
            plans=[PlanRecord(**d) for d in data["plans"]],
            doses=[_dose(d) for d in data.get("doses", [])],
            registrations=[RegistrationRecord(**d) for d in data["registrations"]],
        )


def _series(data: dict[str, Any]) -> SeriesRecord:
    grid = data["grid"] and Grid(**_tuples(data["grid"]))
    slices = [SliceRecord(**d) for d in data["slices"]]
    return SeriesRecord(**data | {"grid": grid, "slices": slices})


def _dose(data: dict[str, Any]) -> DoseRecord:
    return DoseRecord(**data | {"grid": Grid(**_tuples(data["grid"]))})


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) for key, value in data.items()}


def derived_uid(*parts: object) -> str:
    """UID that depends on ``parts`` alone, under 2.25 (PS3.5 B.2)."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16])}"


def numbered(prefix: str, taken: Collection[str]) -> str:
    """First of ``CT_1``, ``CT_2``, … that is free, ignoring case; at most 16 characters."""
    folded = {identifier.casefold() for identifier in taken}
    number = 1
    while True:
        suffix = f"_{number}"
        candidate = prefix[: MAX_ID - len(suffix)] + suffix
        if candidate.casefold() not in folded:
            return candidate
        number += 1


def unique(wanted: str, prefix: str, taken: Collection[str]) -> str:
    """``wanted`` cut to 16 characters where that is free, else a numbered id."""
    identifier = wanted[:MAX_ID].strip()
    if not identifier:
        return numbered(prefix, taken)
    if identifier.casefold() in {other.casefold() for other in taken}:
        return numbered(identifier, taken)
    return identifier
