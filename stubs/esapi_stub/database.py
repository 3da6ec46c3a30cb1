"""The stub's database: a folder that holds everything, and says how the stub refuses.

``database.json`` names the current generation (a folder that one build made), the patients and
the settings. Each patient has a folder with its DICOM files and an ``index.json`` of their facts.
Both JSON files are replaced in one rename, so a process that is killed leaves the old state or
the new one. Files that a save supersedes stay until the next build.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from pydicom.errors import BytesLengthException

from esapi_stub.records import PatientRecord, SummaryRecord
from esapi_stub.surface import VERSIONS
from esapi_stub.system import ApplicationException

_DATABASE = "database.json"
_INDEX = "index.json"
_FORMAT = 1
# What reading a damaged file can raise, in pydicom too.
DAMAGE = (
    *(OSError, EOFError, LookupError, ValueError, TypeError, AttributeError, RuntimeError),
    *(ArithmeticError, struct.error, zlib.error, BytesLengthException),
)


class DatabaseError(Exception):
    """The folder holds no stub database, or none can be made of what was given."""


MODES = {
    "permission": ("entry", "caller", "stack"),
    "image_order": ("slices first", "volumes first", "backwards", "mixed"),
    "slice_voxels": ("as in the volume", "as in the file", "refused"),
    "matrix": ("forward", "backward"),
    "set_ids": ("image", "patient"),
    "drawing": ("exact", "rasterised"),
    "display_values": ("any", "occurring"),
}
"""What is not known of Eclipse, or differs between Eclipses: by setting, how the stub may behave.

The first of each is what the stub does unless it is told otherwise.
"""

DOSES = (
    *("absolute", "centigray", "relative", "offset", "backwards", "of a fraction"),
    *("without prescription", "not valid", "none"),
)
"""How the stub may show a plan's dose: in Gy, cGy or percent of the prescription; in voxel values
of which 0 is not 0 Gy; its planes against their direction; of one fraction instead of all; as
numbers that are none; not valid any more; not calculated. The first is what it does by itself."""


@dataclass(frozen=True)
class Settings:
    """How the database behaves.

    Attributes:
        version: ESAPI version to stand for, one of :data:`~esapi_stub.surface.VERSIONS`.
        clinical: Whether it is a clinical system, where scripts need approval.
        script_writable: Whether the script is writable (``ESAPIScript(IsWriteable = true)``).
        script_approved: Whether it is approved in Script Approval.
        permission: Which assemblies of a script must be writable and approved; matters where .NET
            asks. ``entry``: the script's own, when modifications begin. ``caller``: the nearest on
            the stack that is neither the framework's nor ESAPI's, at each write. ``stack``: the
            script's own must be writable, and it and each one on the stack approved.
        approved_assemblies: Names of the assemblies that are approved beside the script.
        user_can_edit: Whether the user has the right to change patient data.
        locked_patients: Ids of patients that somebody else has locked.
        locked_structure_sets: UIDs of structure sets that are locked.
        image_order: In which order ``Series.Images`` gives the slices and the volumes.
        slice_voxels: What ``GetVoxels`` gives of a single slice: what the volume's plane holds,
            the values as they are stored in its file, or nothing but a refusal.
        matrix: Whether ``Registration.TransformationMatrix`` goes the way of ``TransformPoint``
            or back.
        set_ids: Among which structure sets an id must be unique: those on the images of one
            series, or all of the patient.
        drawing: Whether contours stay as they were drawn, or are rasterised as a planning system
            does it.
        display_values: Whether ``VoxelToDisplayValue`` knows any value, or only those that occur
            in the image (else it is NaN).
        doses: How doses are shown, one of :data:`DOSES`.
    """

    version: str = VERSIONS[0]
    clinical: bool = True
    script_writable: bool = True
    script_approved: bool = True
    permission: str = MODES["permission"][0]
    approved_assemblies: tuple[str, ...] = ()
    user_can_edit: bool = True
    locked_patients: tuple[str, ...] = ()
    locked_structure_sets: tuple[str, ...] = ()
    image_order: str = MODES["image_order"][0]
    slice_voxels: str = MODES["slice_voxels"][0]
    matrix: str = MODES["matrix"][0]
    set_ids: str = MODES["set_ids"][0]
    drawing: str = MODES["drawing"][0]
    display_values: str = MODES["display_values"][0]
    doses: str = DOSES[0]

    def __post_init__(self) -> None:
        for name, known in (*MODES.items(), ("doses", DOSES)):
            if getattr(self, name) not in known:
                raise DatabaseError(
                    f"The stub knows no {name} '{getattr(self, name)}'. Choose one of: "
                    f"{', '.join(known)}."
                )
        if self.version not in VERSIONS:
            raise DatabaseError(
                f"The stub does not know ESAPI {self.version}. Choose {' or '.join(VERSIONS)}."
            )

    @property
    def script_may_write(self) -> bool:
        """Whether Script Approval lets the script change patient data."""
        return self.script_writable and (self.script_approved or not self.clinical)


@dataclass(frozen=True)
class Database:
    """What ``database.json`` says.

    Attributes:
        root: The folder.
        generation: Name of the folder that the last build made.
        settings: How it behaves.
        patients: Who is in it, by Patient ID.
    """

    root: Path
    generation: str
    settings: Settings
    patients: tuple[SummaryRecord, ...]

    @classmethod
    def open(cls, root: Path) -> Database:
        """Read a database.

        Raises:
            DatabaseError: There is none, or it is not of this program's making.
        """
        try:
            data = json.loads((root / _DATABASE).read_bytes())
            if data["format"] != _FORMAT:
                raise DatabaseError(f"{root}: stub database of format {data['format']}, not 1.")
            settings: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in data["settings"].items()
            }
            return cls(
                root,
                data["generation"],
                Settings(**settings),
                tuple(SummaryRecord(**d) for d in data["patients"]),
            )
        except (FileNotFoundError, NotADirectoryError):
            raise DatabaseError(f"{root}: no stub database is here.") from None
        except DAMAGE as error:
            raise DatabaseError(f"{root}: {_DATABASE} is damaged ({error}).") from error

    def write(self) -> None:
        """Replace ``database.json``: from here on this is the database."""
        data = {
            "format": _FORMAT,
            "generation": self.generation,
            "settings": asdict(self.settings),
            "patients": [asdict(patient) for patient in self.patients],
        }
        write_json(self.root / _DATABASE, data)

    def folder(self, patient: SummaryRecord) -> Path:
        """Folder of a patient."""
        return self.root / self.generation / patient.folder

    def load(self, patient: SummaryRecord) -> PatientRecord:
        """Read a patient's index.

        Raises:
            DatabaseError: It is missing or damaged.
        """
        path = self.folder(patient) / _INDEX
        try:
            return PatientRecord.from_json(json.loads(path.read_bytes()))
        except DAMAGE as error:
            raise DatabaseError(f"{path}: the index is damaged ({error}).") from error

    def save(self, patient: PatientRecord) -> None:
        """Replace a patient's index, one revision on.

        Raises:
            ApplicationException: Another process saved the patient since it was read.
        """
        if self.load(patient.summary).revision != patient.revision:
            raise ApplicationException(
                f"Patient {patient.summary.id} was modified by another user. Nothing was saved."
            )
        self.write_index(patient, patient.revision + 1)
        patient.revision += 1

    def write_index(self, patient: PatientRecord, revision: int = 0) -> None:
        """Write a patient's index under a revision."""
        data = patient.to_json() | {"revision": revision}
        write_json(self.folder(patient.summary) / _INDEX, data)


def configure(db: Path, **changes: Any) -> Settings:
    """Change how a database behaves.

    Args:
        db: Folder of the database.
        changes: Attributes of :class:`Settings`; what is None stays as it is.

    Raises:
        DatabaseError: There is no database, or the stub knows no such setting or value.
    """
    database = Database.open(db)
    given: dict[str, Any] = {
        key: value if isinstance(value, bool | str) else tuple(value)
        for key, value in changes.items()
        if value is not None
    }
    if unknown := given.keys() - {field.name for field in fields(Settings)}:
        raise DatabaseError(f"The stub has no setting {', '.join(sorted(unknown))}.")
    changed = replace(database, settings=replace(database.settings, **given))
    changed.write()
    return changed.settings


def describe(db: Path) -> dict[str, Any]:
    """Say what a database holds, as plain data without patient names.

    Returns:
        ``version``, and ``patients``: a list of dictionaries with ``id``, ``series`` (``id``,
        ``uid``, ``modality``, ``slices``, ``frame_of_reference_uid``, ``description``),
        ``structure_sets`` (``id``, ``uid``, ``image``, ``approved``), ``plans`` (``course``,
        ``id``, ``uid``, ``structure_set``) and ``registrations`` (``id``, ``uid``,
        ``source_for``, ``registered_for``).

    Raises:
        DatabaseError: There is no database.
    """
    database = Database.open(db)
    patients = [_describe(database.load(summary)) for summary in database.patients]
    return {"version": database.settings.version, "patients": patients}


def _describe(patient: PatientRecord) -> dict[str, Any]:
    set_ids = {s.uid: s.id for s in patient.structure_sets}
    return {
        "id": patient.summary.id,
        "series": [
            {
                "id": s.id,
                "uid": s.uid,
                "modality": s.modality,
                "slices": len(s.slices),
                "frame_of_reference_uid": s.frame_of_reference_uid,
                "description": s.comment,
            }
            for s in patient.series
            if s.slices
        ],
        "structure_sets": [
            {"id": s.id, "uid": s.uid, "image": patient.image_of(s).id, "approved": s.approved}
            for s in patient.structure_sets
        ],
        "plans": [
            {
                "course": p.course_id,
                "id": p.id,
                "uid": p.uid,
                "structure_set": set_ids.get(p.structure_set_uid, ""),
            }
            for p in patient.plans
        ],
        "registrations": [
            {
                "id": r.id,
                "uid": r.uid,
                "source_for": r.source_for,
                "registered_for": r.registered_for,
            }
            for r in patient.registrations
        ],
    }


def write_json(path: Path, data: object) -> None:
    """Write JSON so that a kill leaves the old file or the new one."""
    write_durably(path, json.dumps(data, ensure_ascii=False).encode())


def write_durably(path: Path, content: bytes) -> None:
    """Write a file aside, flush it to the disk and rename it into place."""
    aside = path.with_name(path.name + ".tmp")
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    if os.name == "posix":  # elsewhere a folder cannot be flushed
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
