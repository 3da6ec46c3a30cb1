"""One ESAPI application, one open patient at a time, and every refusal as a sentence.

ESAPI is single-threaded: a session is made, used and closed on one thread. When a patient closes,
every object read from it is dead; :class:`OpenPatient` therefore hands out plain records and keeps
ESAPI's own objects to itself and to the modules of this package and above that need them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Timer
from typing import TYPE_CHECKING

from loguru import logger

from stardust_esapi.errors import EsapiRefusedError, LocateError, UsageError
from stardust_esapi.esapi import read
from stardust_esapi.esapi.backend import Backend
from stardust_esapi.esapi.writer import RecordWriter
from stardust_esapi.geometry import FloatArray
from stardust_esapi.patient import ImageView, ObjectView, PatientView, PlanView, StructureView

if TYPE_CHECKING:
    from VMS.TPS.Common.Model import API

_SHORTEST_NAME_TO_HIDE = 2
_SAVE_PATIENCE_SECONDS = 60.0


class Session(AbstractContextManager["Session"]):
    """A running ESAPI; a context manager that always disposes of it.

    Args:
        backend: How ESAPI is reached.

    Attributes:
        half_written: Whether a write has failed in a patient that stays open, as in a plug-in.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.half_written = False
        self._app: API.Application | None = None
        self._patient_ids: tuple[str, ...] | None = None

    def __enter__(self) -> Session:
        self._app = self.backend.create_application()
        return self

    def __exit__(self, *_: object) -> None:
        if self._app is not None:
            self._app.Dispose()
            self._app = None

    @property
    def application(self) -> API.Application:
        """The running application."""
        if self._app is None:
            raise UsageError("ESAPI is not running: use the session in a with statement.")
        return self._app

    def patient_ids(self) -> tuple[str, ...]:
        """Ids of all patients (``Application.PatientSummaries``), asked for once in a session.

        Raises:
            EsapiRefusedError: Eclipse refused to list them.
        """
        if self._patient_ids is None:
            with self.refusals("listing the patients"):
                self._patient_ids = tuple(str(s.Id) for s in self.application.PatientSummaries)
        return self._patient_ids

    @contextmanager
    def open_patient(self, patient_id: str) -> Iterator[OpenPatient]:
        """Open a patient (``Application.OpenPatientById``) and close it whatever happens.

        Closing throws away what was not saved.

        Raises:
            LocateError: Eclipse knows no such patient.
            EsapiRefusedError: Eclipse refused to open it.
        """
        with self.refusals(f"opening patient {patient_id}"):
            patient = self.application.OpenPatientById(patient_id)
        if patient is None:
            raise LocateError(
                f"Eclipse knows no patient {patient_id}. Compare the Patient-ID with Eclipse: "
                "leading zeros and blanks count."
            )
        try:
            if patient.Id != patient_id:
                raise LocateError(
                    f"Eclipse opened another patient than {patient_id}. Correct the Patient-ID."
                )
            opened = OpenPatient(self, patient)
            with opened.refusals("a step"):
                yield opened
        finally:
            self.application.ClosePatient()

    @contextmanager
    def refusals(self, what: str, names: tuple[str, ...] = ()) -> Iterator[None]:
        """Turn the .NET exceptions that ESAPI raises into one of ours that says what was tried.

        Args:
            what: The step, such as ``adding structure gtv+``.
            names: Names of the patient that must not appear in the message.
        """
        try:
            yield
        except Exception as error:
            refusal = self.backend.refusal(error)
            if refusal is None:
                raise
            dotnet_type, message = refusal
            for name in names:
                if len(name) >= _SHORTEST_NAME_TO_HIDE:
                    message = message.replace(name, "…")
            raise EsapiRefusedError(
                f"Eclipse refused {what}: {message.rstrip('.')} ({dotnet_type}).", dotnet_type
            ) from error


class OpenPatient:
    """The open patient: plain records for decisions, ESAPI's objects by their UIDs.

    Args:
        session: The session that opened it.
        patient: ``API.Patient``.
    """

    def __init__(self, session: Session, patient: API.Patient) -> None:
        self.session = session
        self.api = patient
        self.patient_id = str(patient.Id)
        self.backend = session.backend
        self.user_id = str(session.application.CurrentUser.Id)
        self._names = (patient.LastName or "", patient.FirstName or "", patient.MiddleName or "")
        self.refresh()

    def refresh(self) -> None:
        """Read again what the patient holds (after structure sets were created)."""
        with self.refusals("reading the patient"):
            self._contents = read.read_patient(self.api)

    @property
    def view(self) -> PatientView:
        """What the patient held when last read."""
        return self._contents.view

    def refusals(self, what: str) -> AbstractContextManager[None]:
        """Turn ESAPI's exceptions into ours, without the patient's name."""
        return self.session.refusals(f"{what} of patient {self.patient_id}", self._names)

    def image(self, view: ImageView) -> API.Image:
        """ESAPI's image behind a record."""
        return self._contents.images[view.series_uid, view.image_id]

    def structure_set(self, uid: str) -> API.StructureSet:
        """ESAPI's structure set by its UID."""
        return self._contents.structure_sets[uid]

    def registration(self, uid: str) -> API.Registration:
        """ESAPI's registration by its UID."""
        return self._contents.registrations[uid]

    def plan_setup(self, view: PlanView) -> API.PlanSetup:
        """ESAPI's plan behind a record."""
        return self._contents.plans[view]

    def plan(self, view: PlanView) -> ObjectView:
        """A plan as DICOM knows it; LocateError where Eclipse does not show that."""
        with self.refusals("reading the plan"):
            return read.read_plan(self.plan_setup(view))

    def dose(self, view: PlanView) -> ObjectView:
        """The dose of a plan; LocateError where there is none that can be had."""
        with self.refusals("reading the dose"):
            return read.read_dose(self.plan_setup(view))

    def structures(self, structure_set_uid: str) -> tuple[StructureView, ...]:
        """The structures of a set, in ESAPI's order."""
        with self.refusals("reading the structures"):
            return tuple(
                read.read_structure(s) for s in self.structure_set(structure_set_uid).Structures
            )

    def contours(self, structure_set_uid: str) -> dict[str, dict[int, list[FloatArray]]]:
        """Contours of every structure of a set that has any.

        Returns:
            Structure id to plane index to polygons of shape (n, 3), mm, patient space.
        """
        structure_set = self.structure_set(structure_set_uid)
        with self.refusals("reading the contours"):
            image = structure_set.Image
            return {
                s.Id: read.read_contours(self.backend, s, image.ZSize)
                for s in structure_set.Structures
                if image is not None and not s.IsEmpty
            }

    def save(self, writer: RecordWriter) -> None:
        """Make the changes durable (``Application.SaveModifications``).

        Where somebody else has changed the patient meanwhile, Eclipse asks in a dialog. Nobody may
        be there to see it, so a save that takes long is told of.
        """
        warning = (
            f"Saving patient {self.patient_id} takes long. Eclipse may be asking something in a "
            "dialog window: look at the workstation's screen."
        )
        reminder = Timer(_SAVE_PATIENCE_SECONDS, logger.warning, [warning])
        reminder.daemon = True
        reminder.start()
        try:
            with self.refusals("saving the structure sets"):
                writer.Save(self.session.application)
        finally:
            reminder.cancel()
