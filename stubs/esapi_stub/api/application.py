"""``Application`` and what it shows without a patient."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from esapi_stub.api.base import (
    USER_ID,
    Chart,
    Desk,
    Enumerable,
    Lease,
    SerializableObject,
    date,
    storage,
)
from esapi_stub.api.patient import Patient
from esapi_stub.database import Database, Settings
from esapi_stub.records import SummaryRecord
from esapi_stub.system import ApplicationException, DateTime

_alive: list[Application] = []


def open_application(
    db: Path, script: Callable[[Settings], Settings] = lambda settings: settings
) -> Application:
    """Start ESAPI on a stub database; stands for ``Application.CreateApplication``.

    Args:
        db: Folder of the stub database.
        script: What the script that runs makes of the database's settings; by itself the stub is
            the script that they describe.

    Raises:
        DatabaseError: The folder holds no stub database.
        ApplicationException: An Application is alive in this process.
    """
    if _alive:
        raise ApplicationException(
            "An Application is alive in this process already: only one can be. Dispose of it."
        )
    desk = Desk(Database.open(db), Lease(), script)
    application = desk.make(Application)
    _alive.append(application)
    return application


class Application(SerializableObject):
    """``API.Application``: one in a process, used on the thread that made it."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk, None)
        self._chart: Chart | None = None

    @property
    def CurrentUser(self) -> User:
        """Who is logged in."""
        return self._desk.make(User, None)

    @property
    def PatientSummaries(self) -> Enumerable[PatientSummary]:
        """All patients."""
        patients = self._desk.database.patients
        return Enumerable(
            self._desk.lease, lambda: [self._desk.make(PatientSummary, p) for p in patients]
        )

    @property
    def ScriptEnvironment(self) -> ScriptEnvironment:
        """What runs the script."""
        return self._desk.make(ScriptEnvironment, None)

    def OpenPatientById(self, id: str) -> Patient | None:
        """Open a patient; None for an id that is not there, letter by letter.

        Raises:
            ApplicationException: Another patient is open.
        """
        if self._chart is not None:
            raise ApplicationException(
                "A patient is open already: close it before another is opened."
            )
        summary = next((p for p in self._desk.database.patients if p.id == id), None)
        if summary is None:
            return None
        with storage(f"patient {summary.id}"):
            # The settings are read again, so that a lock made meanwhile counts.
            database = Database.open(self._desk.database.root)
            chart = Chart(database, database.load(summary), self._desk)
        self._chart = chart
        return chart.make(Patient, chart.record)

    def OpenPatient(self, patientSummary: PatientSummary) -> Patient | None:
        """Open a patient.

        Raises:
            ApplicationException: Another patient is open.
        """
        return self.OpenPatientById(patientSummary.Id)

    def ClosePatient(self) -> None:
        """Close the patient: its objects die, changes that were not saved are lost."""
        if self._chart is not None:
            self._chart.lease.ended = True
            self._chart = None

    def SaveModifications(self) -> None:
        """Make all changes of the open patient durable, all or none.

        Raises:
            ApplicationException: No patient is open, or another process saved it meanwhile.
        """
        if self._chart is None:
            raise ApplicationException("No patient is open.")
        self._chart.save()

    def Dispose(self) -> None:
        """End ESAPI; every object is dead from then on. A second call does nothing."""
        if self._chart is not None:
            self._chart.lease.ended = True
        self._desk.lease.ended = True
        if any(application is self for application in _alive):
            _alive.clear()


class PatientSummary(SerializableObject):
    """``API.PatientSummary``: who a patient is, without opening it."""

    _record: SummaryRecord

    @property
    def Id(self) -> str:
        """Patient id."""
        return self._record.id

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


class User(SerializableObject):
    """``API.User``."""

    @property
    def Id(self) -> str:
        """Login."""
        return USER_ID

    @property
    def Name(self) -> str:
        """Name."""
        return USER_ID

    @property
    def Language(self) -> str:
        """Language."""
        return "en-US"

    def ToString(self) -> str:
        """The login."""
        return self.Id


class ScriptEnvironment(SerializableObject):
    """``API.ScriptEnvironment``."""

    @property
    def ApplicationName(self) -> str:
        """What runs the script."""
        return "esapi_stub"

    @property
    def VersionInfo(self) -> str:
        """Version of Eclipse."""
        return self._desk.settings.version

    @property
    def ApiVersionInfo(self) -> str:
        """Version of ESAPI."""
        return self._desk.settings.version

    @property
    def Scripts(self) -> Enumerable[Any]:
        """Scripts that are approved: none."""
        return Enumerable[Any](self._desk.lease, list)
