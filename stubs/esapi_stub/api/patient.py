"""``Patient`` and what hangs on it but images and structure sets."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from esapi_stub.api.base import ApiDataObject, Chart, Enumerable, date
from esapi_stub.api.dose import PlanningItemDose
from esapi_stub.api.image import ORIENTATIONS, Image, Series
from esapi_stub.api.structures import StructureSet
from esapi_stub.records import (
    PatientRecord,
    PlanRecord,
    Record,
    RegistrationRecord,
    SeriesRecord,
    StudyRecord,
    SummaryRecord,
)
from esapi_stub.system import DateTime
from esapi_stub.types import (
    DoseUnit,
    DoseValue,
    PatientOrientation,
    PlanSetupApprovalStatus,
    RegistrationApprovalStatus,
    VVector,
)

_PLAN_APPROVALS = {
    "APPROVED": PlanSetupApprovalStatus.PlanningApproved,
    "UNAPPROVED": PlanSetupApprovalStatus.UnApproved,
    "REJECTED": PlanSetupApprovalStatus.Rejected,
}


class Patient(ApiDataObject):
    """``API.Patient``: the open patient.

    Args:
        chart: The open patient.
        record: All of its records.
    """

    _record: SummaryRecord

    def __init__(self, chart: Chart, record: PatientRecord) -> None:
        super().__init__(chart, record.summary)
        self._all = record

    @property
    def Id2(self) -> str:
        """Second id: none."""
        return ""

    @property
    def SSN(self) -> str:
        """Social security number: none."""
        return ""

    @property
    def FirstName(self) -> str:
        """First name."""
        return self._record.first_name

    @property
    def MiddleName(self) -> str:
        """Middle name."""
        return self._record.middle_name

    @property
    def LastName(self) -> str:
        """Last name."""
        return self._record.last_name

    @property
    def Sex(self) -> str:
        """Sex: Male, Female, Other or empty."""
        return self._record.sex

    @property
    def DateOfBirth(self) -> DateTime | None:
        """Birth date."""
        return date(self._record.birth_date)

    @property
    def CreationDateTime(self) -> DateTime | None:
        """When the patient was made."""
        return date(self._record.created)

    @property
    def Courses(self) -> Enumerable[Course]:
        """The courses."""
        return Enumerable(self._desk.lease, self._courses)

    def _courses(self) -> list[Course]:
        ids = dict.fromkeys(plan.course_id for plan in self._all.plans)
        return [self._desk.make(Course, Record(identifier)) for identifier in ids]

    @property
    def Studies(self) -> Enumerable[Study]:
        """The studies."""
        return Enumerable(
            self._desk.lease, lambda: [self._desk.make(Study, s) for s in self._all.studies]
        )

    @property
    def StructureSets(self) -> Enumerable[StructureSet]:
        """The structure sets."""
        return Enumerable(
            self._desk.lease,
            lambda: [self._desk.make(StructureSet, s) for s in self._all.structure_sets],
        )

    @property
    def Registrations(self) -> Enumerable[Registration]:
        """The registrations."""
        return Enumerable(
            self._desk.lease,
            lambda: [self._desk.make(Registration, r) for r in self._all.registrations],
        )

    @property
    def HasModifiedData(self) -> bool:
        """Whether something was changed and not saved."""
        return self._desk.modified

    def CanModifyData(self) -> bool:
        """Whether script, approval and the user's rights allow changes; says nothing of locks."""
        return self._desk.settings.script_may_write and self._desk.settings.user_can_edit

    def BeginModifications(self) -> None:
        """Open the patient for writing, until the changes are saved; then it may be called again.

        Raises:
            ApplicationException: The script may not write, the user may not, the patient is
                locked, or modifications have begun already.
        """
        self._desk.begin()


class Study(ApiDataObject):
    """``API.Study``."""

    _record: StudyRecord

    @property
    def UID(self) -> str:
        """Study Instance UID."""
        return self._record.uid

    @property
    def CreationDateTime(self) -> DateTime | None:
        """Study Date and Time."""
        return date(self._record.created)

    @property
    def Series(self) -> Enumerable[Series]:
        """The series."""
        return Enumerable(
            self._desk.lease, lambda: [self._desk.make(Series, s) for s in self._records()]
        )

    def _records(self) -> list[SeriesRecord]:
        return [s for s in self._desk.record.series if s.study_uid == self._record.uid]

    @property
    def Images3D(self) -> Enumerable[Image]:
        """The 3-D images of the study (16.1)."""
        return Enumerable(
            self._desk.lease,
            lambda: [
                image
                for record in self._records()
                for image in self._desk.make(Series, record)._volumes()
            ],
        )


class Course(ApiDataObject):
    """``API.Course``."""

    @property
    def Patient(self) -> Patient:
        """The patient."""
        return self._desk.make(Patient, self._desk.record)

    @property
    def PlanSetups(self) -> Enumerable[PlanSetup]:
        """All plans."""
        return Enumerable(self._desk.lease, self._plans)

    @property
    def ExternalPlanSetups(self) -> Enumerable[ExternalPlanSetup]:
        """Plans for external beams: all."""
        return Enumerable(self._desk.lease, self._plans)

    def _plans(self) -> list[ExternalPlanSetup]:
        ours = [p for p in self._desk.record.plans if p.course_id == self._record.id]
        return [self._desk.make(ExternalPlanSetup, p) for p in ours]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Course) and self._record.id == other._record.id

    def __hash__(self) -> int:
        return hash(self._record.id)


class PlanningItem(ApiDataObject):
    """``API.PlanningItem``."""

    _record: PlanRecord

    @property
    def CreationDateTime(self) -> DateTime | None:
        """RT Plan Date and Time."""
        return date(self._record.created)

    @property
    def Course(self) -> Course:
        """The course."""
        return self._desk.make(Course, Record(self._record.course_id))

    @property
    def StructureSet(self) -> StructureSet | None:
        """The structure set it was made on; None where that is not in the database."""
        for record in self._desk.record.structure_sets:
            if record.uid == self._record.structure_set_uid:
                return self._desk.make(StructureSet, record)
        return None

    @property
    def Dose(self) -> PlanningItemDose | None:
        """The dose; None where it was not calculated."""
        for record in self._desk.record.doses:
            if record.plan_uid == self._record.uid and self._desk.settings.doses != "none":
                return self._desk.make(PlanningItemDose, record, self._record)
        return None


class PlanSetup(PlanningItem):
    """``API.PlanSetup``."""

    @property
    def UID(self) -> str:
        """SOP Instance UID of the RT Plan."""
        return self._record.uid

    @property
    def Series(self) -> Series:
        """Series of the RT Plan."""
        uid = self._record.series_uid
        return self._desk.make(Series, next(s for s in self._desk.record.series if s.uid == uid))

    @property
    def SeriesUID(self) -> str:
        """Series Instance UID of the RT Plan."""
        return self._record.series_uid

    @property
    def IsDoseValid(self) -> bool:
        """Whether there is a dose, and it is that of the plan as it is now."""
        return self.Dose is not None and self._desk.settings.doses != "not valid"

    @property
    def ApprovalStatus(self) -> PlanSetupApprovalStatus:
        """Approval."""
        return _PLAN_APPROVALS.get(self._record.approval, PlanSetupApprovalStatus.Unknown)

    @property
    def NumberOfFractions(self) -> int | None:
        """Number of Fractions Planned."""
        return self._record.fractions

    @property
    def TotalDose(self) -> DoseValue:
        """Prescribed dose."""
        dose = self._record.total_dose
        return DoseValue.UndefinedDose() if dose is None else DoseValue(dose, DoseUnit.Gy)

    @property
    def DosePerFraction(self) -> DoseValue:
        """Prescribed dose of one fraction."""
        total, fractions = self.TotalDose, self._record.fractions
        return DoseValue(total.Dose / fractions if fractions else math.nan, total.Unit)

    @property
    def TargetVolumeID(self) -> str:
        """Structure that the dose is prescribed to; empty where the plan does not say."""
        return self._record.target_id

    @property
    def TreatmentOrientation(self) -> PatientOrientation:
        """How the patient lies."""
        return ORIENTATIONS.get(self._record.orientation, PatientOrientation.NoOrientation)


class ExternalPlanSetup(PlanSetup):
    """``API.ExternalPlanSetup``."""


class Registration(ApiDataObject):
    """``API.Registration``: a rigid transform from one frame of reference to another."""

    _record: RegistrationRecord

    @property
    def UID(self) -> str:
        """SOP Instance UID of the Spatial Registration."""
        return self._record.uid

    @property
    def CreationDateTime(self) -> DateTime | None:
        """Content Date and Time."""
        return date(self._record.created)

    @property
    def SourceFOR(self) -> str:
        """Frame of reference that points come from."""
        return self._record.source_for

    @property
    def RegisteredFOR(self) -> str:
        """Frame of reference that they go to."""
        return self._record.registered_for

    @property
    def Status(self) -> RegistrationApprovalStatus:
        """Approval: DICOM does not carry it."""
        return RegistrationApprovalStatus.Unapproved

    @property
    def TransformationMatrix(self) -> NDArray[np.float64]:
        """The transform from SourceFOR to RegisteredFOR or back, shape (4, 4), mm; a copy."""
        there = self._matrix
        forward = self._desk.settings.matrix == "forward"
        return there if forward else np.asarray(np.linalg.inv(there))

    @property
    def _matrix(self) -> NDArray[np.float64]:
        return np.array(self._record.matrix, dtype=float)

    def TransformPoint(self, pt: VVector) -> VVector:
        """Take a point from SourceFOR to RegisteredFOR, mm."""
        return _apply(self._matrix, pt)

    def InverseTransformPoint(self, pt: VVector) -> VVector:
        """Take a point from RegisteredFOR to SourceFOR, mm."""
        return _apply(np.asarray(np.linalg.inv(self._matrix)), pt)


def _apply(matrix: NDArray[np.float64], point: VVector) -> VVector:
    # Not by BLAS, which would round by the processor.
    x, y, z = (a * point.x + b * point.y + c * point.z + d for a, b, c, d in matrix[:3].tolist())
    return VVector(x, y, z)
