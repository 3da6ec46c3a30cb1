"""``ScriptContext``: what Eclipse shows to a plug-in, and what Eclipse does around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from esapi_stub.api import patient
from esapi_stub.api.application import Application, User, open_application
from esapi_stub.api.base import Enumerable
from esapi_stub.api.image import Image
from esapi_stub.api.patient import Course, ExternalPlanSetup, Patient
from esapi_stub.api.structures import StructureSet
from esapi_stub.database import DatabaseError, Settings


class ScriptContext:
    """``API.ScriptContext``: the open patient, and what is chosen on the screen.

    Args:
        application: The running Eclipse.
        patient: The open patient, if one is open.
        plan: The plan on the screen, if any.
        structure_set: The structure set on the screen, if it is not the plan's.
    """

    def __init__(
        self,
        application: Application,
        patient: Patient | None,
        plan: ExternalPlanSetup | None,
        structure_set: StructureSet | None,
    ) -> None:
        environment = application.ScriptEnvironment
        self._name, self._version = environment.ApplicationName, environment.VersionInfo
        self._lease = application._desk.lease
        self._user = application.CurrentUser
        self._patient = patient
        self._plan = plan
        self._structure_set = structure_set if plan is None else plan.StructureSet

    @property
    def CurrentUser(self) -> User:
        """Who is logged in."""
        return self._user

    @property
    def Patient(self) -> Patient | None:
        """The open patient."""
        return self._patient

    @property
    def Course(self) -> Course | None:
        """Course of the plan."""
        return None if self._plan is None else self._plan.Course

    @property
    def PlanSetup(self) -> patient.PlanSetup | None:
        """The plan on the screen."""
        return self._plan

    @property
    def ExternalPlanSetup(self) -> ExternalPlanSetup | None:
        """The plan on the screen."""
        return self._plan

    @property
    def PlansInScope(self) -> Enumerable[patient.PlanSetup]:
        """The plans on the screen."""
        return Enumerable(self._lease, lambda: [] if self._plan is None else [self._plan])

    @property
    def StructureSet(self) -> StructureSet | None:
        """The structure set on the screen."""
        return self._structure_set

    @property
    def Image(self) -> Image | None:
        """Image of the structure set."""
        return None if self._structure_set is None else self._structure_set.Image

    @property
    def ApplicationName(self) -> str:
        """What runs the script."""
        return self._name

    @property
    def VersionInfo(self) -> str:
        """Version of Eclipse."""
        return self._version


class Eclipse:
    """A running Eclipse with a patient open, as far as a plug-in meets it.

    While it lives no ``Application`` can be made: Eclipse is the one of its process.

    Args:
        db: Folder of the stub database.
        script: What the plug-in makes of the database's settings.
        patient_id: The patient to open; None for none.

    Raises:
        DatabaseError: The folder holds no stub database, or that no such patient.
    """

    def __init__(
        self, db: Path, script: Callable[[Settings], Settings], patient_id: str | None
    ) -> None:
        self._application = open_application(db, script)
        self._patient: Patient | None = None
        if patient_id is None:
            return
        try:
            self._patient = self._application.OpenPatientById(patient_id)
            if self._patient is None:
                raise DatabaseError(f"The stub database holds no patient {patient_id}.")
        except BaseException:
            self.close()
            raise

    @property
    def modified(self) -> bool:
        """Whether the plug-in has left changes that are not saved."""
        return self._patient is not None and self._patient.HasModifiedData

    def context(self, plan_uid: str | None, structure_set_uid: str | None) -> ScriptContext:
        """What the plug-in gets to see; either may be None."""
        plan = next((p for p in self._plans() if plan_uid == p.UID), None)
        chosen = next((s for s in self._structure_sets() if structure_set_uid == s.UID), None)
        return ScriptContext(self._application, self._patient, plan, chosen)

    def screen(self, words: str | None) -> ScriptContext:
        """What the plug-in gets to see, by ``COURSE/PLAN``, or a structure set's id or UID.

        Raises:
            DatabaseError: There is none, or several.
        """
        if words is None:
            return self.context(None, None)
        if self._patient is None:
            raise DatabaseError(f"Without a patient there is no {words}.")
        plans = [p.UID for p in self._plans() if f"{p.Course.Id}/{p.Id}" == words]
        sets = [s.UID for s in self._structure_sets() if words in (s.Id, s.UID)]
        found = plans or sets
        if not found:
            raise DatabaseError(
                f"Patient {self._patient.Id} has no plan and no structure set {words}."
            )
        if len(found) > 1:
            raise DatabaseError(f"{words} is ambiguous: {', '.join(found)}.")
        return self.context(found[0] if plans else None, None if plans else found[0])

    def save(self) -> None:
        """Save what the plug-in has changed, as the user does."""
        if self._patient is not None:
            self._application.SaveModifications()

    def close(self) -> None:
        """Close the patient and end; what is not saved is dropped."""
        self._application.Dispose()

    def _plans(self) -> list[ExternalPlanSetup]:
        courses = () if self._patient is None else self._patient.Courses
        return [plan for course in courses for plan in course.ExternalPlanSetups]

    def _structure_sets(self) -> list[StructureSet]:
        return [] if self._patient is None else list(self._patient.StructureSets)
