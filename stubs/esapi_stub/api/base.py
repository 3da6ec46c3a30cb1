"""What all API objects share: how long they live, how they refuse, how they compare.

Members hold the names and parameter names of ``surface.json``. Each class is written with the
members of every version; :func:`esapi_stub.surface.versioned` takes away what a version lacks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from esapi_stub import rtstruct
from esapi_stub.database import DAMAGE, Database, DatabaseError, Settings, write_durably
from esapi_stub.records import (
    MAX_ID,
    DoseRecord,
    PatientRecord,
    Record,
    SeriesRecord,
    StructureSetRecord,
    derived_uid,
)
from esapi_stub.rtstruct import StructureRecord
from esapi_stub.surface import versioned
from esapi_stub.system import (
    AccessViolationException,
    ApplicationException,
    ArgumentException,
    ArgumentNullException,
    DateTime,
    InvalidOperationException,
    ObjectDisposedException,
    now,
    parse_dicom_date,
)

T = TypeVar("T")

USER_ID = "stub"
_DEAD = (
    "Attempted to read or write protected memory. "
    "This is often an indication that other memory is corrupt."
)
# Which thread asks; where the callers live in another process, that tells (esapi_stub.skin).
asking_thread: Callable[[], int] = threading.get_ident
NO_LICENSE = "No valid license to modify patient data with script."


class Lease:
    """How long objects live: until their patient closes, or the application is disposed of.

    Args:
        above: The lease that this one cannot outlive.
    """

    def __init__(self, above: Lease | None = None) -> None:
        self.above = above
        self.ended = False
        self._thread = asking_thread()

    def check(self) -> None:
        """Raise what a dead object raises, or one that is used on a foreign thread."""
        if self.above is not None:
            self.above.check()
        if self.ended:
            if self.above is None:
                raise ObjectDisposedException("Cannot access a disposed object.")
            raise AccessViolationException(_DEAD)
        if asking_thread() != self._thread:
            raise InvalidOperationException(
                "The calling thread cannot access this object because a different thread owns it."
            )


def _as_they_are(settings: Settings) -> Settings:
    return settings


class Desk:
    """What API objects stand on: the database, who runs, and how long they live.

    Args:
        database: The stub database.
        lease: How long its objects live.
        script: What the script that runs makes of the database's settings.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        script: Callable[[Settings], Settings] = _as_they_are,
    ) -> None:
        self.database = database
        self.lease = lease
        self.script = script

    @property
    def settings(self) -> Settings:
        """How the database refuses."""
        return self.script(self.database.settings)

    def make(self, kind: type[T], *arguments: Any) -> T:
        """Make an API object of this database's version."""
        created: Any = versioned(cast("Any", kind), self.settings.version)
        return cast("T", created(self, *arguments))


class Chart(Desk):
    """The open patient behind the API objects: records, what was changed, what may be changed."""

    def __init__(self, database: Database, record: PatientRecord, application: Desk) -> None:
        super().__init__(database, Lease(application.lease), application.script)
        self.record = record
        self.begun = False
        self.changed_sets: set[str] = set()
        self.modified = False
        self._structures: dict[str, list[StructureRecord]] = {}
        self._voxel_values: dict[str, frozenset[int]] = {}
        self._dose_values: dict[str, NDArray[np.int64]] = {}

    @property
    def folder(self) -> Path:
        """Folder of the patient's files."""
        return self.database.folder(self.record.summary)

    def begin(self) -> None:
        """Open the patient for writing (``Patient.BeginModifications``), until it is saved."""
        patient_id = self.record.summary.id
        if not self.settings.script_may_write:
            raise ApplicationException(NO_LICENSE)
        if not self.settings.user_can_edit:
            raise ApplicationException("The user has no right to modify patient data.")
        if patient_id in self.settings.locked_patients:
            raise ApplicationException(f"Patient {patient_id} is locked by another user.")
        if self.begun:
            raise ApplicationException(f"Modifications of patient {patient_id} have begun already.")
        self.begun = True

    def require_begun(self) -> None:
        """Refuse a change before ``BeginModifications``.

        Raises:
            ApplicationException: It was not called.
        """
        if not self.begun:
            raise ApplicationException(
                "Patient data cannot be modified before Patient.BeginModifications() is called."
            )

    def touch(self, record: Record, structure_set: StructureSetRecord | None = None) -> None:
        """Note that a record was changed now, and with it a structure set's file."""
        record.modified = digits(now())
        self.modified = True
        if structure_set is not None:
            structure_set.modified = record.modified
            self.changed_sets.add(structure_set.uid)

    def new_uid(self, parent_uid: str) -> str:
        """UID of a new object below another; the same for the same changes."""
        uid = derived_uid(parent_uid, self.record.next_ordinal)
        self.record.next_ordinal += 1
        return uid

    def obstacle(self, structure_set: StructureSetRecord) -> str:
        """Why a structure set cannot be edited; empty when it can."""
        if structure_set.approved:
            return f"Structure set {structure_set.id} is approved."
        if structure_set.uid in self.settings.locked_structure_sets:
            return f"Structure set {structure_set.id} is locked by another user."
        return ""

    def require_editable(self, structure_set: StructureSetRecord) -> None:
        """Refuse a change of a structure set that cannot be edited.

        Raises:
            ApplicationException: Modifications have not begun, or it is approved or locked.
        """
        self.require_begun()
        if obstacle := self.obstacle(structure_set):
            raise ApplicationException(obstacle)

    def structures(self, structure_set: StructureSetRecord) -> list[StructureRecord]:
        """Structures of a set; its file is read when first asked."""
        if structure_set.uid not in self._structures:
            found = []
            if structure_set.file:
                series = self.series_of(structure_set)
                with storage(f"structure set {structure_set.id}"):
                    found = rtstruct.read(self.folder / structure_set.file, series)
                for structure in found:
                    structure.high_resolution = structure.number in structure_set.high_resolution
            self._structures[structure_set.uid] = found
        return self._structures[structure_set.uid]

    def voxel_values(self, series_uid: str, read: Callable[[], Iterable[int]]) -> frozenset[int]:
        """The voxel values that occur in a series; read when first asked."""
        if series_uid not in self._voxel_values:
            self._voxel_values[series_uid] = frozenset(read())
        return self._voxel_values[series_uid]

    def dose_values(
        self, dose: DoseRecord, read: Callable[[], NDArray[np.int64]]
    ) -> NDArray[np.int64]:
        """The stored values of a dose, shape (planes, rows, columns); read when first asked."""
        if dose.uid not in self._dose_values:
            self._dose_values[dose.uid] = read()
        return self._dose_values[dose.uid]

    def siblings(self, series_uid: str) -> list[StructureSetRecord]:
        """The structure sets among which the id of one on this series must be unique."""
        if self.settings.set_ids == "patient":
            return self.record.structure_sets
        return self.record.sets_of_series(series_uid)

    def series_of(self, structure_set: StructureSetRecord) -> SeriesRecord:
        """Series of the image that a structure set lies on."""
        return self.record.series_of(self.record.image_of(structure_set))

    def save(self) -> None:
        """Write the changed structure sets beside the old, then replace the index.

        Raises:
            ApplicationException: Another process saved the patient since it was opened.
        """
        if not self.modified:
            self.begun = False
            return
        changed = [s for s in self.record.structure_sets if s.uid in self.changed_sets]
        before = [s.file for s in changed]
        try:
            with storage("the changes"):
                for structure_set in changed:
                    structure_set.file = self._write(structure_set)
                self.database.save(self.record)
        except BaseException:
            for structure_set, file in zip(changed, before, strict=True):
                structure_set.file = file
            raise
        for structure_set in changed:
            for structure in self.structures(structure_set):
                structure.redrawn = False
        self.changed_sets.clear()
        self.modified = self.begun = False

    def _write(self, structure_set: StructureSetRecord) -> str:
        structures = self.structures(structure_set)
        structure_set.high_resolution = [s.number for s in structures if s.high_resolution]
        name = f"RS.{structure_set.uid}.{self.record.revision + 1}.dcm"
        content = rtstruct.write(
            structure_set, structures, self.series_of(structure_set), self.folder, now()
        )
        write_durably(self.folder / name, content)
        return name


class SerializableObject:
    """Base of all API objects: every access to a public member asks first whether it is alive.

    Args:
        desk: What it stands on; for objects of a patient the :class:`Chart`.
        record: What the object shows.
    """

    def __init__(self, desk: Desk, record: Any) -> None:
        self._desk = desk
        self._record = record

    def _check(self) -> None:
        self._desk.lease.check()
        if getattr(self._record, "removed", False):
            raise AccessViolationException(_DEAD)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "Dispose":
            object.__getattribute__(self, "_check")()
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            self._check()
            member = getattr(type(self), name)  # AttributeError where there is no such member
            if not isinstance(member, property) or member.fset is None:
                raise TypeError("property is read-only")  # in pythonnet's words
        object.__setattr__(self, name, value)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if hasattr(type(self), name)]

    def ToString(self) -> str:
        """Name of the type; objects with an id give that."""
        return f"VMS.TPS.Common.Model.API.{type(self).__name__}"

    def Equals(self, obj: object) -> bool:
        """Whether both show the same object of the patient."""
        return self == obj

    def GetHashCode(self) -> int:
        """Hash that equal objects share."""
        return hash(self)

    def __str__(self) -> str:
        return self.ToString()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SerializableObject) and self._record is other._record

    def __hash__(self) -> int:
        return id(self._record)


class ApiDataObject(SerializableObject):
    """``API.ApiDataObject``: an object of the open patient."""

    _desk: Chart
    _record: Record

    @property
    def Id(self) -> str:
        """Id, at most 16 characters."""
        return self._record.id

    @property
    def Name(self) -> str:
        """Name."""
        return self._record.name

    @property
    def Comment(self) -> str:
        """Comment."""
        return self._record.comment

    @property
    def HistoryUserName(self) -> str:
        """Who changed it last."""
        return USER_ID

    @property
    def HistoryUserDisplayName(self) -> str:
        """Who changed it last."""
        return USER_ID

    @property
    def HistoryDateTime(self) -> DateTime:
        """When it was changed last; the first day of all where that is not known."""
        return date(self._record.modified) or date(self._record.created) or DateTime()

    def ToString(self) -> str:
        """The id."""
        return self.Id


class Enumerable(Generic[T]):
    """``IEnumerable<T>``: can be iterated as often as one likes, and nothing else.

    Args:
        lease: How long the objects live.
        items: What makes the objects, asked anew by every iteration.
    """

    def __init__(self, lease: Lease, items: Callable[[], Iterable[T]]) -> None:
        self._lease = lease
        self._items = items

    def __iter__(self) -> Iterator[T]:
        self._lease.check()
        for item in list(self._items()):
            self._lease.check()
            yield item


def date(text: str) -> DateTime | None:
    """Read a record's date; None where it is unknown."""
    return parse_dicom_date(text[:8], text[8:])


def digits(moment: DateTime) -> str:
    """Write a record's date."""
    return moment.ToString("yyyyMMddHHmmss")


@contextmanager
def storage(what: str) -> Iterator[None]:
    """Refuse as ESAPI does where its database fails: with an ApplicationException."""
    try:
        yield
    except (DatabaseError, InvalidDicomError, *DAMAGE) as error:
        raise ApplicationException(f"The database failed on {what}: {error}") from error


def check_id(value: str, taken: Iterable[str]) -> str:
    """Check a new id as Eclipse does.

    Args:
        value: The id wanted.
        taken: Ids of the others below the same parent.

    Returns:
        The id.

    Raises:
        ArgumentNullException: There is none.
        ArgumentException: It is empty, longer than 16 characters, or taken (ignoring case).
    """
    if value is None:
        raise ArgumentNullException("Value cannot be null. Parameter name: value")
    if not isinstance(value, str):
        raise TypeError("value cannot be converted to System.String")
    identifier = value.strip()
    if not identifier or "\\" in identifier or not identifier.isprintable():
        raise ArgumentException(f"'{value}' is not a valid id.")
    if len(identifier) > MAX_ID:
        raise ArgumentException(
            f"Id '{identifier}' is too long: at most {MAX_ID} characters are allowed."
        )
    if identifier.casefold() in {other.casefold() for other in taken}:
        raise ArgumentException(f"Id '{identifier}' is already in use.")
    return identifier
