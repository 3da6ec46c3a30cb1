"""Proof of one exported series: read every file, check that all belongs together, write it down.

A series folder holds ``manifest.json`` with each file's UIDs, size and SHA-256. The output root
holds another one with the SHA-256 of each series' manifest, so that one file vouches for all.
Both are deterministic: the same files give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import pydantic
import pydicom
from pydantic import Field, TypeAdapter
from pydicom.dataelem import RawDataElement
from pydicom.uid import (
    UID,
    CTImageStorage,
    MRImageStorage,
    RTStructureSetStorage,
    SpatialRegistrationStorage,
)

from stardust_esapi.errors import VerifyError
from stardust_esapi.files import atomic_write
from stardust_esapi.model import Kind, TransferRequest

MANIFEST_NAME = "manifest.json"
SERIES_FORMAT: Final = "stardust-esapi series manifest 1"
ROOT_FORMAT: Final = "stardust-esapi root manifest 1"

_PREFIX = {
    str(CTImageStorage): "CT",
    str(MRImageStorage): "MR",
    str(RTStructureSetStorage): "RS",
    str(SpatialRegistrationStorage): "RE",
}
"""How the file names of each SOP class begin: what the consumer globs for."""

_LAST = {
    str(CTImageStorage): "PixelData",
    str(MRImageStorage): "PixelData",
    str(RTStructureSetStorage): "RTROIObservationsSequence",
    str(SpatialRegistrationStorage): "RegistrationSequence",
}
"""The last of the elements that a whole file of each SOP class has (PS3.3 A): a file that ends
between two elements lacks it."""

_MOST_PROBLEMS = 5
_UNDEFINED_LENGTH = 0xFFFFFFFF

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a series folder.

    Attributes:
        name: File name within the folder.
        sop_instance_uid: SOP Instance UID (0008,0018).
        sop_class_uid: SOP Class UID (0008,0016).
        series_uid: Series Instance UID (0020,000E) of the file itself: structure set and
            registration are series of their own.
        size: Bytes.
        sha256: SHA-256 of the bytes, hexadecimal.
    """

    name: str
    sop_instance_uid: str
    sop_class_uid: str
    series_uid: str
    size: int
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose a DICOM file is.

    Attributes:
        sop_instance_uid: SOP Instance UID (0008,0018).
        sop_class_uid: SOP Class UID (0008,0016).
        patient_id: Patient ID (0010,0020).
        series_uid: Series Instance UID (0020,000E).
    """

    sop_instance_uid: str
    sop_class_uid: str
    patient_id: str
    series_uid: str


@dataclass(frozen=True, slots=True)
class SeriesManifest:
    """What a series folder holds and which case it was made for.

    Attributes:
        kind: CT, KM or MR.
        patient_id: Patient ID (0010,0020) of every file.
        plan_id: ``PlanSetup.Id``; may be empty.
        study_uid: Study Instance UID (0020,000D) of the images.
        series_uid: Series Instance UID (0020,000E) of the images.
        structure_set_uid: SOP Instance UID of the structure set; empty without one.
        registration_uid: SOP Instance UID of the registration; empty without one.
        images: How many of the files are images.
        files: Every file but the manifest, by name.
        case_key: ``Case.key`` of the case.
    """

    kind: Kind
    patient_id: str
    plan_id: str
    study_uid: str
    series_uid: str
    structure_set_uid: str
    registration_uid: str
    images: int
    files: tuple[FileEntry, ...]
    case_key: str


@dataclass(frozen=True, slots=True)
class RootEntry:
    """One series folder of an output root.

    Attributes:
        folder: The folder relative to the root, POSIX style.
        manifest_sha256: SHA-256 of its ``manifest.json``.
        case_key: ``Case.key`` of the case.
        kind: CT, KM or MR.
        exported: Whether the case is exported as a whole; False while others of its series
            are missing.
    """

    # Never a path that leads out of the root, whoever wrote the manifest.
    folder: Annotated[str, Field(pattern=r"^(CT|KM|MR)_Export(/[^/\\]*[^/\\.][^/\\]*){2}$")]
    manifest_sha256: Sha256
    case_key: str
    kind: Kind
    exported: bool


@dataclass(frozen=True)
class _SeriesDocument:
    format: Literal["stardust-esapi series manifest 1"]
    manifest: SeriesManifest


@dataclass(frozen=True)
class _RootDocument:
    format: Literal["stardust-esapi root manifest 1"]
    series: tuple[RootEntry, ...]


_T = TypeVar("_T")
_SERIES = TypeAdapter(_SeriesDocument)
_ROOT = TypeAdapter(_RootDocument)


@dataclass(frozen=True, slots=True)
class _File:
    """A file as read: its manifest entry, and what must agree with the other files."""

    entry: FileEntry
    patient_id: str
    study_uid: str
    frames: frozenset[str]  # Frame of Reference UIDs that it lies in or joins
    image_references: frozenset[str]  # SOP Instance UIDs of the images it refers to


def inspect_folder(folder: Path, request: TransferRequest, case_key: str) -> SeriesManifest:
    """Prove that a folder holds exactly the series asked for, and describe it.

    Every file is read once, whole: that also shows a file that was cut off. The images must be as
    many as asked for, of the kind's SOP class, of the patient, study and series; the structure
    set and the registration those asked for; SOP Instance UIDs unique; frames of reference and
    the structure set's references to images (Contour Image Sequence (3006,0016), PS3.3 C.8.8.5
    and C.8.8.6) resolved within the folder; file names as the consumer expects them; and there
    must be nothing else but a manifest.

    Args:
        folder: The series folder, staged or in place.
        request: What was asked for.
        case_key: ``Case.key`` of the case.

    Raises:
        VerifyError: Anything is not so; the message names what.
    """
    problems: list[str] = []
    files: list[_File] = []
    try:
        for path in sorted(folder.iterdir(), key=lambda path: path.name):
            if path.name == MANIFEST_NAME:
                continue
            try:
                files.append(_read_file(path, partial(_describe, path.name)))
            except VerifyError as error:
                problems.append(str(error))
    except OSError as error:
        problems.append(f"the folder cannot be read ({error.strerror or error})")
    problems += _mismatches(files, request)
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        shown = "; ".join(problems[:_MOST_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
        raise VerifyError(
            f"patient {request.patient_id}, {request.kind} series {request.series_uid}: {shown}. "
            "Nothing of it counts as exported: transfer the series again."
        )
    return SeriesManifest(
        kind=request.kind,
        patient_id=request.patient_id,
        plan_id=request.plan_id,
        study_uid=request.study_uid,
        series_uid=request.series_uid,
        structure_set_uid=request.structure_set_uid,
        registration_uid=request.registration_uid,
        images=request.images,
        files=tuple(file.entry for file in files),
        case_key=case_key,
    )


def manifest_bytes(manifest: SeriesManifest) -> bytes:
    """The content of ``manifest.json``: sorted JSON, UTF-8, the same for the same files."""
    return _dump(_SERIES.dump_python(_SeriesDocument(SERIES_FORMAT, manifest), mode="json"))


def manifest_digest(manifest: SeriesManifest) -> str:
    """SHA-256 of :func:`manifest_bytes`, hexadecimal."""
    return hashlib.sha256(manifest_bytes(manifest)).hexdigest()


def write_manifest(folder: Path, manifest: SeriesManifest) -> None:
    """Write a series folder's ``manifest.json``, durably.

    Raises:
        OSError: The file system refuses.
    """
    atomic_write(folder / MANIFEST_NAME, manifest_bytes(manifest))


def read_manifest(folder: Path) -> SeriesManifest:
    """Read a series folder's ``manifest.json``.

    Raises:
        VerifyError: It is missing or is no series manifest.
    """
    return _load(folder / MANIFEST_NAME, _SERIES).manifest


def holds_what_is_listed(folder: Path) -> bool:
    """Whether a series folder holds its files by name and size, and no other DICOM file.

    Quick: whether their content is the same, only :func:`~stardust_esapi.verify.check.verify_tree`
    tells.

    Raises:
        VerifyError: There is no manifest, or it is damaged.
        OSError: The folder cannot be read.
    """
    listed = {entry.name: entry.size for entry in read_manifest(folder).files}
    with os.scandir(folder) as entries:
        there = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    return all(there.get(name) == size for name, size in listed.items()) and not any(
        name.lower().endswith(".dcm") for name in there.keys() - listed.keys()
    )


def write_root_manifest(root: Path, entries: Iterable[RootEntry]) -> None:
    """Write the output root's ``manifest.json``, durably; entries are sorted by folder.

    Raises:
        OSError: The file system refuses.
    """
    document = _RootDocument(ROOT_FORMAT, tuple(sorted(entries, key=lambda e: e.folder)))
    atomic_write(root / MANIFEST_NAME, _dump(_ROOT.dump_python(document, mode="json")))


def read_root_manifest(root: Path) -> tuple[RootEntry, ...]:
    """Read the output root's ``manifest.json``.

    Raises:
        VerifyError: It is missing or is no root manifest.
    """
    return _load(root / MANIFEST_NAME, _ROOT).series


def owner_of(path: Path) -> tuple[str, str] | None:
    """Patient ID and Series Instance UID of a DICOM file; None where it shows none."""
    try:
        with path.open("rb") as file:  # PS3.10 7.1; a stray archive is not read to its end
            file.seek(128)
            if file.read(4) != b"DICM":
                return None
        return _read_file(path, _owner)
    except (OSError, VerifyError):
        return None


def identify(name: str, data: bytes) -> Identity:
    """Prove that a DICOM file is whole and of a class that is exported, and say whose it is.

    Args:
        name: What messages call it.
        data: The file's whole content.

    Raises:
        VerifyError: It is not whole, or of no class that is exported.
    """
    return _parse(name, data, _identity)


def _read_file(path: Path, describe: Callable[[pydicom.Dataset, bytes], _T]) -> _T:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise VerifyError(f"{path.name} cannot be read ({error.strerror or error})") from None
    return _parse(path.name, data, describe)


def _parse(name: str, data: bytes, describe: Callable[[pydicom.Dataset, bytes], _T]) -> _T:
    """Read a DICOM file whole and describe it; VerifyError when it is not whole.

    pydicom takes a file that ends early without a word; here that is an error.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities of values that nothing here looks at
            dataset = pydicom.dcmread(io.BytesIO(data))
            cut_off = any(
                len(element.value or b"") < element.length != _UNDEFINED_LENGTH
                for element in dataset.elements()
                if isinstance(element, RawDataElement)
            )
            if cut_off:
                raise VerifyError("is cut off")
            return describe(dataset, data)
    except VerifyError as error:
        raise VerifyError(f"{name} {error}") from None
    except Exception as error:  # noqa: BLE001 - a damaged file makes the parser raise anything
        raise VerifyError(f"{name} is damaged or no DICOM file ({error})") from None


def _owner(dataset: pydicom.Dataset, _: bytes) -> tuple[str, str]:
    return str(dataset.get("PatientID") or "").strip(), str(dataset.get("SeriesInstanceUID") or "")


def _identity(dataset: pydicom.Dataset, data: bytes) -> Identity:
    sop_class = str(dataset.get("SOPClassUID", ""))
    if sop_class not in _PREFIX:
        raise VerifyError(f"does not belong here ({UID(sop_class).name or 'no SOP class'})")
    last = _LAST[sop_class]
    if last not in dataset:
        raise VerifyError(f"is cut off: {last} is missing")
    patient_id, series_uid = _owner(dataset, data)
    return Identity(str(dataset.SOPInstanceUID), sop_class, patient_id, series_uid)


def _describe(name: str, dataset: pydicom.Dataset, data: bytes) -> _File:
    identity = _identity(dataset, data)
    prefix = _PREFIX[identity.sop_class_uid]
    if not (name.startswith(prefix) and name.endswith(".dcm")):
        raise VerifyError(f"must be called {prefix}*.dcm")
    return _File(
        entry=FileEntry(
            name=name,
            sop_instance_uid=identity.sop_instance_uid,
            sop_class_uid=identity.sop_class_uid,
            series_uid=identity.series_uid,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        ),
        patient_id=identity.patient_id,
        study_uid=str(dataset.get("StudyInstanceUID") or ""),
        frames=frozenset(_frames(dataset)),
        image_references=frozenset(_image_references(dataset)),
    )


def _frames(dataset: pydicom.Dataset) -> Iterator[str]:
    if dataset.get("FrameOfReferenceUID"):
        yield str(dataset.FrameOfReferenceUID)
    for item in dataset.get("StructureSetROISequence") or []:
        yield str(item.get("ReferencedFrameOfReferenceUID") or "")
    for name in ("ReferencedFrameOfReferenceSequence", "RegistrationSequence"):
        for item in dataset.get(name) or []:
            yield str(item.get("FrameOfReferenceUID") or "")


def _image_references(dataset: pydicom.Dataset) -> Iterator[str]:
    holders: list[Any] = [
        series
        for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []
        for study in frame.get("RTReferencedStudySequence") or []
        for series in study.get("RTReferencedSeriesSequence") or []
    ]
    holders += [
        contour
        for roi in dataset.get("ROIContourSequence") or []
        for contour in roi.get("ContourSequence") or []
    ]
    for holder in holders:
        for image in holder.get("ContourImageSequence") or []:
            yield str(image.ReferencedSOPInstanceUID)


def _mismatches(files: list[_File], request: TransferRequest) -> Iterator[str]:
    image_class = MRImageStorage if request.kind is Kind.MR else CTImageStorage
    images = [f for f in files if f.entry.sop_class_uid == image_class]
    structure_sets = [f for f in files if f.entry.sop_class_uid == RTStructureSetStorage]
    registrations = [f for f in files if f.entry.sop_class_uid == SpatialRegistrationStorage]
    rest = {f.entry.name for f in files}.difference(
        f.entry.name for f in (*images, *structure_sets, *registrations)
    )
    yield from (
        f"{name} is no {request.kind.modality} image and does not belong here"
        for name in sorted(rest)
    )
    if len(images) != request.images or not images:
        yield f"{len(images)} of {request.images} images are there"
    for file in files:
        if file.patient_id != request.patient_id:
            yield f"{file.entry.name} is of another patient ({file.patient_id or 'no id'})"
    for file in images:
        if file.entry.series_uid != request.series_uid:
            yield f"{file.entry.name} is of another series ({file.entry.series_uid})"
        elif file.study_uid != request.study_uid:
            yield f"{file.entry.name} is of another study ({file.study_uid})"
    counted = Counter(f.entry.sop_instance_uid for f in files)
    for uid, count in counted.items():
        if count > 1:
            yield f"{count} files share SOP Instance UID {uid}"
    yield from _companion("structure set", structure_sets, request.structure_set_uid)
    yield from _companion("registration", registrations, request.registration_uid)
    yield from _frame_problems(images, structure_sets, registrations)
    uids = {f.entry.sop_instance_uid for f in images}
    for file in structure_sets:
        lost = file.image_references - uids
        if lost:
            yield (
                f"{file.entry.name} refers to {len(lost)} images that are not in the folder, "
                f"such as {min(lost)}"
            )
        elif not file.image_references:
            yield f"{file.entry.name} refers to no image"


def _companion(what: str, files: list[_File], uid: str) -> Iterator[str]:
    if uid and not files:
        yield f"the {what} {uid} is missing"
    elif not uid and files:
        yield f"{files[0].entry.name} is a {what} that was not asked for"
    elif len(files) > 1:
        yield f"there are {len(files)} {what}s instead of one"
    elif files and files[0].entry.sop_instance_uid != uid:
        yield (
            f"{files[0].entry.name} is another {what} ({files[0].entry.sop_instance_uid}) "
            f"than asked for ({uid})"
        )


def _frame_problems(
    images: list[_File], structure_sets: list[_File], registrations: list[_File]
) -> Iterator[str]:
    frames = frozenset[str]().union(*(f.frames for f in images))
    if images and (len(frames) != 1 or not all(f.frames for f in images)):
        yield f"the images lie in {len(frames)} frames of reference, or some in none"
    for file in structure_sets:
        if file.frames != frames:
            yield f"{file.entry.name} lies in another frame of reference than the images"
    for file in registrations:
        if not frames <= file.frames:
            yield f"{file.entry.name} does not register the images' frame of reference"


def _dump(document: Any) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _load(path: Path, adapter: TypeAdapter[_T]) -> _T:
    try:
        return adapter.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise VerifyError(f"{path} is missing. Export the series again.") from None
    except OSError as error:
        raise VerifyError(f"{path} cannot be read: {error.strerror or error}.") from None
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise VerifyError(
            f"{path} is damaged or written by another version: {where} {first['msg']}. "
            "Restore it, or export again."
        ) from None
