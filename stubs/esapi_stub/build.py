"""Fill a stub database from a folder of DICOM files.

What is not taken is told with its reason, file by file or series by series; nothing is dropped in
silence. Taken are CT, MR and PET image series that make one even 3-D grid, RT Structure Sets, RT
Plans, the RT Dose of each plan, and Spatial Registrations.
"""

from __future__ import annotations

import re
import shutil
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    RTDoseStorage,
    RTPlanStorage,
    RTStructureSetStorage,
    SpatialRegistrationStorage,
)

from esapi_stub import rtstruct
from esapi_stub.database import DAMAGE, Database, DatabaseError, Settings
from esapi_stub.grid import SAME_PLACE_MM, Grid, united
from esapi_stub.records import (
    DoseRecord,
    ImageRecord,
    PatientRecord,
    PlanRecord,
    RegistrationRecord,
    SeriesRecord,
    SliceRecord,
    StructureSetRecord,
    StudyRecord,
    SummaryRecord,
    derived_uid,
    numbered,
    unique,
)

_IMAGES = (CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage)
_TAKEN = (
    *_IMAGES,
    *(RTStructureSetStorage, RTPlanStorage, RTDoseStorage, SpatialRegistrationStorage),
)
_NEEDED = (
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"),
    "Modality",
)
_NEEDED_BY_IMAGES = (
    *("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient"),
    *("PixelSpacing", "Rows", "Columns", "PixelData"),
)
_GENERATION = "generation-"
_OURS = re.compile(r"database\.json(\.tmp)?|" + _GENERATION + r"\d+")
_PARALLEL = 1e-4
_PIECE = 1 << 16
_SEXES = {"M": "Male", "F": "Female", "O": "Other"}
_LARGEST_COMMON_VALUE = 65535
LARGEST_MB = 256
"""What a deflated file may unpack to; pydicom unpacks it whole."""
_LARGEST_VOXEL = np.iinfo(np.int32).max

Files = list[tuple[str, Dataset]]
"""Path relative to the folder and the dataset (without its pixels)."""


@dataclass(frozen=True)
class NotTaken:
    """A file or series that is not in the database.

    Attributes:
        what: Path of the file relative to the folder, or ``series`` and its UID.
        reason: Why.
    """

    what: str
    reason: str


@dataclass(frozen=True)
class BuildReport:
    """What a build took and what it did not.

    Attributes:
        patients: Patients in the database.
        series: Image series taken.
        images: Image files taken.
        structure_sets: Structure sets taken.
        plans: Plans taken.
        doses: Doses taken.
        registrations: Registrations taken.
        not_taken: Everything else in the folder.
        notes: What a reader should know of what was taken.
    """

    patients: int
    series: int
    images: int
    structure_sets: int
    plans: int
    doses: int
    registrations: int
    not_taken: tuple[NotTaken, ...]
    notes: tuple[str, ...]


def build(dicom: Path, db: Path, *, version: str = "15.6") -> BuildReport:
    """Make a stub database from all DICOM files below a folder, in place of an earlier one.

    The files are copied. The new database comes into being in one rename at the end: a build that
    is killed leaves the old one, or none. Settings return to their defaults.

    Args:
        dicom: Folder to read; must exist.
        db: Folder of the database: missing, empty, or a stub database.
        version: ESAPI version that the database stands for.

    Raises:
        DatabaseError: The folders cannot be used, or there is nothing to take.
    """
    settings = Settings(version=version)
    if not dicom.is_dir():
        raise DatabaseError(f"{dicom}: no such folder. Name a folder of DICOM files.")
    earlier = _generations(db)
    builder = _Builder(dicom)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on values that it reads nevertheless
        builder.read(db)
        builder.arrange()
        if not builder.patients:
            first = "".join(f" {n.what}: {n.reason}." for n in builder.not_taken[:3])
            raise DatabaseError(f"{dicom}: nothing there can be taken into a database.{first}")
        number = 1 + max((int(g.name.removeprefix(_GENERATION)) for g in earlier), default=0)
        summaries = tuple(patient.summary for patient in builder.patients)
        database = Database(db, f"{_GENERATION}{number}", settings, summaries)
        try:
            builder.write(database)
            database.write()
            for old in earlier:
                shutil.rmtree(old, ignore_errors=True)  # what stays goes with the next build
        except OSError as error:
            raise DatabaseError(f"{db}: the database cannot be written ({error}).") from error
    return builder.report()


def _generations(db: Path) -> list[Path]:
    """What earlier builds left, finished or killed.

    Raises:
        DatabaseError: The folder holds something else.
    """
    if not db.exists():
        return []
    entries = sorted(db.iterdir()) if db.is_dir() else [db]
    foreign = [entry for entry in entries if entry == db or not _OURS.fullmatch(entry.name)]
    if foreign:
        raise DatabaseError(
            f"{db}: is not a stub database, it holds {foreign[0].name}. Choose another folder."
        )
    return [entry for entry in entries if entry.is_dir()]


class _Refused(Exception):
    """A file or series cannot be taken; says why."""


@contextmanager
def _usable() -> Iterator[None]:
    """Refuse what a value cannot be read of, whatever reading it raises."""
    try:
        yield
    except DAMAGE as error:
        raise _Refused(f"cannot be used ({error})") from None
    except rtstruct.UnusableError as error:
        raise _Refused(f"cannot be used: {error}") from None


def _unpacks_to_more(path: Path, most: int) -> bool:
    """Whether a file is deflated (PS3.5 A.5), and longer than that many bytes."""
    with path.open("rb") as file:
        file.seek(128)
        if file.read(4) != b"DICM":
            return False
        # To its end, whatever its length claims to be; the packed dataset follows.
        meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != 2)
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return False
        inflate, size, packed = zlib.decompressobj(-zlib.MAX_WBITS), 0, b""
        # What stands behind the end stays in the tail for good.
        while size <= most and not inflate.eof and (packed := packed or file.read(_PIECE)):
            size += len(inflate.decompress(packed, _PIECE))
            packed = inflate.unconsumed_tail
    return size > most


class _Builder:
    """Reads the files of a folder, sorts them into patients, copies what is taken."""

    def __init__(self, dicom: Path) -> None:
        self._dicom = dicom
        self.not_taken: list[NotTaken] = []
        self.notes: list[str] = []
        self.patients: list[PatientRecord] = []
        self._files: dict[str, tuple[str, Dataset]] = {}
        self._ranges: dict[str, tuple[int, int]] = {}
        self._sources: list[tuple[PatientRecord, str, str]] = []

    def read(self, db: Path) -> None:
        """Read every file, refuse what cannot be used by itself."""
        for path in sorted(self._dicom.rglob("*")):
            if path.is_dir() or path.resolve().is_relative_to(db.resolve()):
                continue
            name = path.relative_to(self._dicom).as_posix()
            try:
                with _usable():
                    dataset = self._read(path)
            except _Refused as refusal:
                self._refuse(name, str(refusal))
                continue
            uid = str(dataset.SOPInstanceUID)
            if uid in self._files:
                first = self._files[uid][0]
                same = path.read_bytes() == (self._dicom / first).read_bytes()
                content = "the same content" if same else "other content"
                self._refuse(
                    name, f"duplicate SOP instance: {first} has the same UID and {content}"
                )
                continue
            self._files[uid] = (name, dataset)

    def _read(self, path: Path) -> Dataset:
        try:
            if _unpacks_to_more(path, LARGEST_MB << 20):
                raise _Refused(f"unpacks to more than {LARGEST_MB} MB")
            dataset = dcmread(path)
        except InvalidDicomError:
            raise _Refused("not DICOM") from None
        except DAMAGE as error:
            raise _Refused(f"cannot be read ({error})") from None
        sop_class = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
        if sop_class not in _TAKEN:
            raise _Refused(f"unsupported SOP class: {getattr(sop_class, 'name', 'none')}")
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        if syntax == ExplicitVRBigEndian:
            raise _Refused(f"unsupported transfer syntax: {syntax.name}")
        is_image = sop_class in _IMAGES
        missing = [k for k in _NEEDED if not str(dataset.get(k) or "").strip()]
        missing += [k for k in _NEEDED_BY_IMAGES if is_image and not dataset.get(k)]
        if missing:
            raise _Refused(f"{', '.join(missing)} missing")
        _series_order(dataset)  # of every file, before anything is sorted by it
        if is_image:
            self._look_at_pixels(dataset)
        elif sop_class == RTDoseStorage:
            self._decode(dataset)
        return dataset

    def _look_at_pixels(self, dataset: Dataset) -> None:
        if int(dataset.get("NumberOfFrames") or 1) != 1 or dataset.get("SamplesPerPixel", 1) != 1:
            raise _Refused("unsupported image: more than one frame or sample a pixel")
        if dataset.get("HighBit", dataset.BitsStored - 1) != dataset.BitsStored - 1:
            raise _Refused("unsupported image: its High Bit is not the last of its Bits Stored")
        self._decode(dataset)

    def _decode(self, dataset: Dataset) -> None:
        """Decode the pixels once, so that every voxel can be read later; then let go of them."""
        try:
            pixels = pixel_array(dataset)
        except DAMAGE as error:
            raise _Refused(f"the pixels cannot be decoded ({error})") from None
        self._ranges[str(dataset.SOPInstanceUID)] = (int(pixels.min()), int(pixels.max()))
        del dataset.PixelData

    def arrange(self) -> None:
        """Sort the files into patients, series, structure sets, plans and registrations."""
        by_patient: dict[str, Files] = {}
        for name, dataset in self._files.values():
            by_patient.setdefault(str(dataset.PatientID), []).append((name, dataset))
        owners: dict[str, set[tuple[str, str]]] = {}
        for patient_id, files in by_patient.items():
            for _, dataset in files:
                owner = (patient_id, str(dataset.StudyInstanceUID))
                owners.setdefault(str(dataset.SeriesInstanceUID), set()).add(owner)
        mixed = {series for series, found in owners.items() if len(found) > 1}
        for patient_id in sorted(by_patient):
            taken = len(self._sources)
            try:
                with _usable():
                    self._add_patient(by_patient[patient_id], mixed)
            except _Refused as refusal:  # by a value that nobody thought could be unreadable
                del self._sources[taken:]
                self._refuse_all(by_patient[patient_id], f"of its patient, a file {refusal}")

    def _add_patient(self, files: Files, mixed: set[str]) -> None:
        summary = _summary(files[0][1], f"patient-{len(self.patients) + 1}")
        if len({(str(d.get("PatientName")), str(d.get("PatientBirthDate"))) for _, d in files}) > 1:
            self.notes.append(
                f"Patient {summary.id}: files disagree on name or birth date; {files[0][0]} counts."
            )
        patient = PatientRecord(summary)
        by_series: dict[str, Files] = {}
        for name, dataset in files:
            by_series.setdefault(str(dataset.SeriesInstanceUID), []).append((name, dataset))
        ordered = sorted(by_series.values(), key=lambda found: _series_order(found[0][1]))
        for kind in (
            self._add_images,
            self._add_structure_sets,
            self._add_plans,
            self._add_doses,
            self._add_registrations,
        ):
            for found in ordered:
                if str(found[0][1].SeriesInstanceUID) in mixed:
                    continue
                kind(patient, found)
        for found in ordered:
            uid = str(found[0][1].SeriesInstanceUID)
            if uid in mixed:
                self._refuse_all(found, f"series {uid} stands in several patients or studies")
        if patient.series:
            self.patients.append(patient)

    def _add_images(self, patient: PatientRecord, files: Files) -> None:
        files = _of_class(files, *_IMAGES)
        if not files:
            return
        head = files[0][1]
        uid = str(head.SeriesInstanceUID)
        try:
            with _usable():
                grid, ordered = _volume(files)
                slope, intercept = self._scale(patient, uid, [dataset for _, dataset in ordered])
                level, window = _first(head, "WindowCenter"), _first(head, "WindowWidth")
        except _Refused as refusal:
            self._refuse(f"series {uid} of patient {patient.summary.id}", str(refusal))
            for name, _ in files:
                self._refuse(name, f"belongs to series {uid}, which is not taken")
            return
        series = self._add_series(patient, head)
        series.frame_of_reference_uid = str(head.FrameOfReferenceUID)
        series.grid = grid
        series.patient_position = str(head.get("PatientPosition", ""))
        series.level, series.window = level, window
        series.unit = "HU" if series.modality == "CT" else str(head.get("Units", ""))
        series.slope, series.intercept = slope, intercept
        series.contrast = str(head.get("ContrastBolusAgent") or "")
        for name, dataset in ordered:
            file = self._take(patient, name)
            own = SliceRecord(str(dataset.SOPInstanceUID), file, *_rescale(dataset))
            series.slices.append(own)
        single = len(ordered) == 1
        patient.images.append(
            ImageRecord(
                id=numbered(series.modality, [image.id for image in patient.images]),
                name=series.name,
                comment=series.comment,
                created=series.created,
                modified=series.modified,
                series_uid=uid,
                uid=series.slices[0].uid if single else derived_uid(uid, "image"),
            )
        )

    def _scale(
        self, patient: PatientRecord, uid: str, slices: Sequence[Dataset]
    ) -> tuple[float, float]:
        """The one rescale of an image; what 16 bits can tell apart where slices differ."""
        scales = {_rescale(dataset) for dataset in slices}
        if len(scales) == 1:
            slope, intercept = scales.pop()
            if slope == 0.0:
                raise _Refused("Rescale Slope is 0")
            return slope, intercept
        ends = [
            slope * value + intercept
            for dataset in slices
            for slope, intercept in [_rescale(dataset)]
            for value in self._ranges[str(dataset.SOPInstanceUID)]
        ]
        finest = min((abs(slope) for slope, _ in scales if slope), default=1.0)
        slope = max(finest, (max(ends) - min(ends)) / _LARGEST_COMMON_VALUE)
        self.notes.append(
            f"Patient {patient.summary.id}, series {uid}: its slices have {len(scales)} different "
            f"rescales; they were brought onto one, which moves a display value by "
            f"{slope / 2:.3g} at most."
        )
        return slope, min(ends)

    def _add_structure_sets(self, patient: PatientRecord, files: Files) -> None:
        for name, dataset in sorted(_of_class(files, RTStructureSetStorage), key=_date_order):
            try:
                with _usable():
                    series = _series_under(dataset, patient)
                    structures = rtstruct.read(self._dicom / name, series)
                    absent = _images_named(dataset, series.uid) - {s.uid for s in series.slices}
            except _Refused as refusal:
                self._refuse(name, str(refusal))
                continue
            self._series_of(patient, dataset)
            image = next(i for i in patient.images if i.series_uid == series.uid)
            if any(s.image_uid == image.uid for s in patient.structure_sets):
                image = ImageRecord(
                    id=numbered(series.modality, [i.id for i in patient.images]),
                    name=image.name,
                    comment=image.comment,
                    created=image.created,
                    modified=image.modified,
                    series_uid=series.uid,
                    uid=derived_uid(image.uid, str(dataset.SOPInstanceUID)),
                )
                patient.images.append(image)
            label = str(dataset.get("StructureSetLabel") or "")
            taken = [s.id for s in patient.sets_of_series(series.uid)]
            approved = str(dataset.get("ApprovalStatus")) == "APPROVED"
            date = _date(dataset, "StructureSet")
            record = StructureSetRecord(
                id=unique(label, image.id, taken),
                name=str(dataset.get("StructureSetName") or ""),
                comment=str(dataset.get("StructureSetDescription") or ""),
                created=date,
                modified=date,
                uid=str(dataset.SOPInstanceUID),
                image_uid=image.uid,
                series_uid=str(dataset.SeriesInstanceUID),
                file=self._take(patient, name),
                approved=approved,
                reviewer=str(dataset.get("ReviewerName") or "") if approved else "",
            )
            patient.structure_sets.append(record)
            if record.id != label:
                self._remark(patient, record.id, f"its label is {label!r}")
            if absent:
                self._remark(patient, record.id, f"{len(absent)} images it names are absent")
            for structure in structures:
                for text in _not_as_drawn(structure, series.grid):
                    self._remark(patient, record.id, text)

    def _add_plans(self, patient: PatientRecord, files: Files) -> None:
        for name, dataset in sorted(_of_class(files, RTPlanStorage), key=_date_order):
            label = str(dataset.get("RTPlanLabel") or "").strip()
            if not label:
                self._refuse(name, "RTPlanLabel missing")
                continue
            course = 1
            folded = {(p.course_id, p.id.casefold()) for p in patient.plans}
            while (f"C{course}", label.casefold()) in folded:
                course += 1
            try:
                with _usable():
                    plan = _plan(dataset, f"C{course}", self._rois(patient, dataset))
            except _Refused as refusal:
                self._refuse(name, str(refusal))
                continue
            self._series_of(patient, dataset)
            self._take(patient, name)
            patient.plans.append(plan)

    def _rois(self, patient: PatientRecord, plan: Dataset) -> dict[int, str]:
        """ROI names of a plan's structure set by number."""
        uid = _referenced_set(plan)
        if uid not in {s.uid for s in patient.structure_sets}:
            return {}
        rois = self._files[uid][1].get("StructureSetROISequence", [])
        return {int(roi.ROINumber): str(roi.get("ROIName", "")) for roi in rois}

    def _add_doses(self, patient: PatientRecord, files: Files) -> None:
        for name, dataset in _of_class(files, RTDoseStorage):
            try:
                with _usable():
                    dose = _dose(dataset, self._ranges[str(dataset.SOPInstanceUID)])
                    if dose.plan_uid not in {p.uid for p in patient.plans}:
                        raise _Refused("its plan is absent")
                    if dose.plan_uid in {d.plan_uid for d in patient.doses}:
                        raise _Refused("its plan has another dose")
            except _Refused as refusal:
                self._refuse(name, str(refusal))
                continue
            self._series_of(patient, dataset)
            dose.file = self._take(patient, name)
            patient.doses.append(dose)

    def _add_registrations(self, patient: PatientRecord, files: Files) -> None:
        for name, dataset in sorted(_of_class(files, SpatialRegistrationStorage), key=_date_order):
            try:
                with _usable():
                    record = _registration(dataset, [r.id for r in patient.registrations])
            except _Refused as refusal:
                self._refuse(name, str(refusal))
                continue
            self._series_of(patient, dataset)
            self._take(patient, name)
            patient.registrations.append(record)

    def _series_of(self, patient: PatientRecord, dataset: Dataset) -> SeriesRecord:
        """The series record of an object without images, made when first met."""
        uid = str(dataset.SeriesInstanceUID)
        found = next((s for s in patient.series if s.uid == uid), None)
        return found or self._add_series(patient, dataset)

    def _add_series(self, patient: PatientRecord, head: Dataset) -> SeriesRecord:
        study_uid = str(head.StudyInstanceUID)
        if study_uid not in {study.uid for study in patient.studies}:
            identifier = unique(
                str(head.get("StudyID") or ""), "Study", [s.id for s in patient.studies]
            )
            comment = str(head.get("StudyDescription") or "")
            date = _date(head, "Study")
            patient.studies.append(
                StudyRecord(identifier, comment, comment, date, date, uid=study_uid)
            )
        modality = str(head.Modality)
        description = str(head.get("SeriesDescription") or "")
        date = _date(head, "Series") or _date(head, "Study")
        series = SeriesRecord(
            id=numbered(modality, [s.id for s in patient.series]),
            name=description,
            comment=description,
            created=date,
            modified=date,
            uid=str(head.SeriesInstanceUID),
            study_uid=study_uid,
            modality=modality,
            sop_class_uid=str(head.SOPClassUID),
            device=(
                str(head.get("Manufacturer") or ""),
                str(head.get("ManufacturerModelName") or ""),
                str(head.get("DeviceSerialNumber") or ""),
            ),
        )
        patient.series.append(series)
        return series

    def write(self, database: Database) -> None:
        """Copy the files that were taken and write the patients' indexes."""
        for patient in self.patients:
            database.folder(patient.summary).mkdir(parents=True)
        for patient, name, file in self._sources:
            shutil.copyfile(self._dicom / name, database.folder(patient.summary) / file)
        for patient in self.patients:
            database.write_index(patient)

    def report(self) -> BuildReport:
        """Count what was taken."""
        series = [s for p in self.patients for s in p.series if s.slices]
        return BuildReport(
            patients=len(self.patients),
            series=len(series),
            images=sum(len(s.slices) for s in series),
            structure_sets=sum(len(p.structure_sets) for p in self.patients),
            plans=sum(len(p.plans) for p in self.patients),
            doses=sum(len(p.doses) for p in self.patients),
            registrations=sum(len(p.registrations) for p in self.patients),
            not_taken=tuple(self.not_taken),
            notes=tuple(self.notes),
        )

    def _take(self, patient: PatientRecord, name: str) -> str:
        file = f"{len(self._sources) + 1:06}.dcm"
        self._sources.append((patient, name, file))
        return file

    def _refuse(self, what: str, reason: str) -> None:
        self.not_taken.append(NotTaken(what, reason))

    def _refuse_all(self, files: Files, reason: str) -> None:
        for name, _ in files:
            self._refuse(name, reason)

    def _remark(self, patient: PatientRecord, set_id: str, text: str) -> None:
        self.notes.append(f"Patient {patient.summary.id}, structure set {set_id}: {text}.")


def _of_class(files: Files, *classes: str) -> Files:
    return [(name, dataset) for name, dataset in files if dataset.SOPClassUID in classes]


def _summary(dataset: Dataset, folder: str) -> SummaryRecord:
    name: Any = dataset.get("PatientName") or ""
    return SummaryRecord(
        id=str(dataset.PatientID),
        name=str(name),
        last_name=getattr(name, "family_name", ""),
        first_name=getattr(name, "given_name", ""),
        middle_name=getattr(name, "middle_name", ""),
        sex=_SEXES.get(str(dataset.get("PatientSex") or ""), ""),
        birth_date=str(dataset.get("PatientBirthDate") or ""),
        folder=folder,
    )


def _volume(files: Files) -> tuple[Grid, Files]:
    """The grid that slices make, and the slices in space order along the normal.

    Raises:
        _Refused: They do not make one even grid.
    """
    head = files[0][1]
    for keyword in ("Modality", "FrameOfReferenceUID", "Rows", "Columns", "SOPClassUID"):
        if len({str(dataset.get(keyword)) for _, dataset in files}) > 1:
            raise _Refused(f"mixed geometry: slices differ in {keyword}")
    orientations = np.array([d.ImageOrientationPatient for _, d in files], dtype=float)
    spacings = np.array([d.PixelSpacing for _, d in files], dtype=float)
    positions = np.array([d.ImagePositionPatient for _, d in files], dtype=float)
    if np.abs(orientations - orientations[0]).max() > _PARALLEL:
        raise _Refused("mixed geometry: slices differ in ImageOrientationPatient")
    # Over the width of an image this must stay below what counts as the same place.
    if np.abs(spacings - spacings[0]).max() * max(head.Rows, head.Columns) > SAME_PLACE_MM:
        raise _Refused("mixed geometry: slices differ in PixelSpacing")
    x, y = (axis / np.linalg.norm(axis) for axis in orientations[0].reshape(2, 3))
    if abs(x @ y) > _PARALLEL or spacings[0].min() <= 0:
        raise _Refused("ImageOrientationPatient or PixelSpacing is not valid")
    z = np.cross(x, y)
    z /= np.linalg.norm(z)
    order = np.argsort(positions @ z, kind="stable")
    positions = positions[order]
    heights = positions @ z
    step = _step(heights, head)
    even = positions[0] + (np.arange(len(order)) * step)[:, None] * z
    if np.abs(positions - even).max() > SAME_PLACE_MM:
        raise _Refused("slices do not lie straight above one another (tilted gantry)")
    row_distance, column_distance = spacings[0].tolist()
    grid = Grid(
        _vector(positions[0]),
        _vector(x),
        _vector(y),
        _vector(z),
        (column_distance, row_distance, step),
        (int(head.Columns), int(head.Rows), len(order)),
    )
    return grid, [files[i] for i in order]


def _step(heights: NDArray[np.float64], head: Dataset) -> float:
    """The one distance of slices at rising heights, mm.

    Raises:
        _Refused: There are several distances.
    """
    count = len(heights)
    if count == 1:
        return float(head.get("SpacingBetweenSlices") or head.get("SliceThickness") or 1.0)
    step = float(heights[-1] - heights[0]) / (count - 1)
    if np.abs(heights - heights[0] - step * np.arange(count)).max() <= SAME_PLACE_MM and step > 0:
        return step
    gaps = np.diff(heights)
    if gaps.min() <= SAME_PLACE_MM:
        twice = heights[gaps.argmin()]
        raise _Refused(f"two slices at one position ({twice:.2f} mm along the normal)")
    usual = float(np.median(gaps))
    for below, above in pairwise(heights.tolist()):
        missing = round((above - below) / usual) - 1
        if missing and abs(above - below - (missing + 1) * usual) <= SAME_PLACE_MM * (missing + 1):
            raise _Refused(
                f"missing slice: {missing} between {below:.2f} and {above:.2f} mm along the normal"
            )
    raise _Refused(f"unevenly spaced slices: usually {usual:.3f} mm apart, but not always")


def _series_under(dataset: Dataset, patient: PatientRecord) -> SeriesRecord:
    """The image series that a structure set lies on.

    Raises:
        _Refused: It names none of the patient's, or several.
    """
    images = {s.uid: s for s in patient.series if s.slices}
    named = list(dict.fromkeys(str(s.SeriesInstanceUID) for s in _series_items(dataset)))
    found = [uid for uid in named if uid in images]
    if len(found) == 1:
        return images[found[0]]
    if found:
        raise _Refused(f"references {len(found)} image series; the stub takes one")
    raise _Refused(f"its image series is absent: {', '.join(named) or 'it references none'}")


def _not_as_drawn(structure: rtstruct.StructureRecord, grid: Grid | None) -> Iterator[str]:
    """What of a structure ESAPI does not show as the file has it."""
    assert grid is not None
    for count, what in (
        (structure.off_plane, "lie on no plane of the image and are not seen"),
        (structure.between, "lie between the planes, over others, and are not seen"),
        (structure.again, "are stored again and count once"),
        (structure.pointless, "have fewer than three points and are not seen"),
    ):
        if count:
            yield f"{count} of {structure.id}'s contours {what}"
    planes = [[grid.to_index(p)[:, :2] for p in found] for found in structure.contours.values()]
    if crossing := sum(len(united(found)) < len(found) for found in planes):
        yield f"contours of {structure.id} cross on {crossing} planes and are taken together"
    if structure.id != structure.name:
        yield f"ROI {structure.name!r} is structure {structure.id!r}"


def _series_items(dataset: Dataset) -> Iterable[Dataset]:
    for frame in dataset.get("ReferencedFrameOfReferenceSequence", []):
        for study in frame.get("RTReferencedStudySequence", []):
            yield from study.get("RTReferencedSeriesSequence", [])


def _images_named(dataset: Dataset, series_uid: str) -> set[str]:
    return {
        str(image.ReferencedSOPInstanceUID)
        for series in _series_items(dataset)
        if series.SeriesInstanceUID == series_uid
        for image in series.get("ContourImageSequence", [])
    }


def _referenced_set(plan: Dataset) -> str:
    references = plan.get("ReferencedStructureSetSequence", [])
    return str(references[0].ReferencedSOPInstanceUID) if references else ""


def _plan(dataset: Dataset, course: str, rois: Mapping[int, str]) -> PlanRecord:
    targets = [
        d
        for d in dataset.get("DoseReferenceSequence", [])
        if d.get("DoseReferenceType") == "TARGET"
    ]
    drawn = [d for d in targets if d.get("ReferencedROINumber") is not None]
    # A point's dose is the dose there, not the prescription, if there is anything else.
    dosed = [d for d in targets if d.get("TargetPrescriptionDose") is not None]
    dosed.sort(key=lambda d: d.get("DoseReferenceStructureType") == "COORDINATES")
    groups = dataset.get("FractionGroupSequence", [])
    fractions = groups[0].get("NumberOfFractionsPlanned") if groups else None
    setups = dataset.get("PatientSetupSequence", [])
    date = _date(dataset, "RTPlan")
    return PlanRecord(
        id=str(dataset.RTPlanLabel).strip(),
        name=str(dataset.get("RTPlanName") or ""),
        comment=str(dataset.get("RTPlanDescription") or ""),
        created=date,
        modified=date,
        uid=str(dataset.SOPInstanceUID),
        course_id=course,
        series_uid=str(dataset.SeriesInstanceUID),
        structure_set_uid=_referenced_set(dataset),
        approval=str(dataset.get("ApprovalStatus") or ""),
        orientation=str(setups[0].get("PatientPosition") or "") if setups else "",
        fractions=None if fractions is None else int(fractions),
        total_dose=float(dosed[0].TargetPrescriptionDose) if dosed else None,
        target_id=rois.get(int(drawn[0].ReferencedROINumber), "") if drawn else "",
    )


def _dose(dataset: Dataset, stored: tuple[int, int]) -> DoseRecord:
    """Read an RT Dose (PS3.3 C.8.8.3), but for its values.

    Args:
        dataset: The file without its pixels.
        stored: The lowest and the highest of them.

    Raises:
        _Refused: It is not the dose of one whole plan, in Gy, on an even grid.
    """
    plans = dataset.get("ReferencedRTPlanSequence", [])
    if dataset.get("DoseSummationType") != "PLAN" or len(plans) != 1:
        raise _Refused("not the dose of one whole plan")
    if dataset.get("DoseUnits") != "GY" or stored[1] > _LARGEST_VOXEL:
        raise _Refused("unsupported dose: not in Gy, or of more than 31 bits")
    x, y = np.array(dataset.ImageOrientationPatient, dtype=float).reshape(2, 3)
    offsets = np.array(dataset.GridFrameOffsetVector, dtype=float)
    step = float(offsets[-1]) / (len(offsets) - 1)
    if step <= 0 or np.abs(offsets - step * np.arange(len(offsets))).max() > SAME_PLACE_MM:
        raise _Refused("unsupported dose: its planes are not even, or do not begin at its position")
    row_distance, column_distance = (float(value) for value in dataset.PixelSpacing)
    date = _date(dataset, "Content")
    return DoseRecord(
        id="Dose",
        created=date,
        modified=date,
        uid=str(dataset.SOPInstanceUID),
        series_uid=str(dataset.SeriesInstanceUID),
        plan_uid=str(plans[0].ReferencedSOPInstanceUID),
        grid=Grid(
            _vector(np.array(dataset.ImagePositionPatient, dtype=float)),
            _vector(x),
            _vector(y),
            _vector(np.cross(x, y)),
            (column_distance, row_distance, step),
            (int(dataset.Columns), int(dataset.Rows), len(offsets)),
        ),
        scaling=float(dataset.DoseGridScaling),
        highest=stored[1] * float(dataset.DoseGridScaling),
    )


def _registration(dataset: Dataset, taken: Sequence[str]) -> RegistrationRecord:
    """Read a Spatial Registration (PS3.3 C.20.2).

    Raises:
        _Refused: It is not one rigid transform between two frames of reference.
    """
    target = str(dataset.get("FrameOfReferenceUID") or "")
    sources = []
    for item in dataset.get("RegistrationSequence", []):
        matrix = np.eye(4)
        for step in item.get("MatrixRegistrationSequence", []):
            for one in step.get("MatrixSequence", []):
                values = one.FrameOfReferenceTransformationMatrix
                matrix = np.array(values, dtype=float).reshape(4, 4) @ matrix
        frame = str(item.get("FrameOfReferenceUID") or "")
        if frame != target or not np.allclose(matrix, np.eye(4), atol=1e-9):
            sources.append((frame, matrix))
    if not target or len(sources) != 1 or not sources[0][0]:
        raise _Refused("not a registration of one frame of reference to another")
    frame, matrix = sources[0]
    if abs(np.linalg.det(matrix)) < 1e-9:
        raise _Refused("its matrix cannot be inverted")
    date = _date(dataset, "Content")
    return RegistrationRecord(
        id=unique(str(dataset.get("ContentLabel") or ""), "REG", taken),
        comment=str(dataset.get("ContentDescription") or ""),
        created=date,
        modified=date,
        uid=str(dataset.SOPInstanceUID),
        source_for=frame,
        registered_for=target,
        matrix=matrix.tolist(),
    )


def _rescale(dataset: Dataset) -> tuple[float, float]:
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    return (
        1.0 if slope is None else float(slope),
        0.0 if intercept is None else float(intercept),
    )


def _first(dataset: Dataset, keyword: str) -> int:
    """A number that may stand several times, or not at all (0)."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return 0
    return round(float(value[0] if isinstance(value, MultiValue) else value))


def _date(dataset: Dataset, prefix: str) -> str:
    day = str(dataset.get(f"{prefix}Date") or "")
    return day + str(dataset.get(f"{prefix}Time") or "")[:6] if day else ""


def _date_order(file: tuple[str, Dataset]) -> tuple[str, str]:
    dataset = file[1]
    date = max(_date(dataset, kind) for kind in ("StructureSet", "RTPlan", "Content"))
    return date, str(dataset.SOPInstanceUID)


def _series_order(dataset: Dataset) -> tuple[str, int, str]:
    number = dataset.get("SeriesNumber")
    return _date(dataset, "Study"), int(number or 0), str(dataset.SeriesInstanceUID)


def _vector(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z
