"""Verify that a series folder holds exactly what was asked for, by reading every file of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stardust_esapi.dicom.instance import Instance, Person, Plane, read_instance
from stardust_esapi.errors import VerifyError
from stardust_esapi.geometry import FloatArray
from stardust_esapi.mask import SAME_PLACE_MM, IntArray
from stardust_esapi.model import IMAGE_KINDS, Kind, TransferRequest
from stardust_esapi.verify.manifest import (
    MANIFEST_NAME,
    FileEntry,
    SeriesManifest,
    read_manifest,
)
from stardust_esapi.wording import counted, counted_are

_MOST_PROBLEMS = 5

_PREFIXES = {Kind.KM: "CT", Kind.DOSE: "RD", Kind.PLAN: "RP"}
"""How the files of a kind begin, where not as the kind is called."""

NAME = "patient's name"
_PERSON = {
    "issuer": "issuer of the patient ID",
    "name": NAME,
    "birth_date": "birth date",
    "sex": "sex",
}
"""What a message calls the fields of a :class:`Person`: never what they hold."""

# Field of Plane: what a message calls it, and how far those of a series may differ (in mm, or as
# cosines), for they are rounded in the files.
_ALIKE = {
    "size": ("Rows and Columns", 0.0),
    "spacing": ("Pixel Spacing", 1e-4),
    "orientation": ("orientation", 1e-4),
}
_UNEVEN_MM = 0.1  # positions are rounded too


@dataclass(frozen=True, slots=True)
class _File:
    entry: FileEntry
    instance: Instance


@dataclass(frozen=True, slots=True)
class Inspected:
    """A series folder that holds what was asked for.

    Attributes:
        manifest: What it holds.
        persons: Who its files say the patient is.
        remarks: Sentences on what is odd about the series, and must be read.
    """

    manifest: SeriesManifest
    persons: frozenset[Person]
    remarks: tuple[str, ...]


def inspect_folder(folder: Path, request: TransferRequest, case_key: str) -> Inspected:
    """Verify that a folder holds exactly the series asked for, and describe it.

    Every file is read once, whole: that also shows a file that was cut off. The images must be as
    many as asked for, of the kind's SOP class, of the patient, study and series, of one size,
    spacing and orientation, each at a place of its own; the structure set and the registration
    those asked for, the structure set of the same study; images and structure set of one person,
    as far as they say; a dose or plan the one asked for, a dose of the plan asked for; SOP Instance
    UIDs unique; frames of reference and the structure set's
    references to images (Contour Image Sequence (3006,0016), PS3.3 C.8.8.5 and C.8.8.6) resolved
    within the folder; file names as the consumer expects them; and there must be nothing else but
    a manifest.

    Args:
        folder: The series folder, staged or in place.
        request: What was asked for; a structure set that is derived may be missing.
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
                files.append(_read(path))
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
    return Inspected(
        SeriesManifest(request, tuple(file.entry for file in files), case_key),
        frozenset(file.instance.person for file in files),
        (
            *_unevenness([f.instance.plane for f in files if f.instance.plane], request),
            *(_RELATIVE for file in files if file.instance.is_relative),
        ),
    )


_RELATIVE = (
    "The dose is in percent (Dose Units RELATIVE), and the file does not say of how many Gy. Have "
    "Eclipse show absolute dose for the plan, if Gy are wanted."
)


def persons_of(folder: Path) -> frozenset[Person]:
    """Who the patient is, as a series folder says that was inspected before.

    One file of each class is read: those of a class agree.

    Raises:
        VerifyError: The manifest or a file cannot be read.
    """
    each = {file.sop_class_uid: file.name for file in read_manifest(folder).files}
    return frozenset(_read(folder / name).instance.person for name in each.values())


def differing(persons: Collection[Person]) -> list[str]:
    """In what persons differ, in words, as far as each says anything."""
    return [
        what
        for name, what in _PERSON.items()
        if len({getattr(person, name) for person in persons} - {""}) > 1
    ]


def _read(path: Path) -> _File:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise VerifyError(f"{path.name} cannot be read ({error.strerror or error})") from None
    instance = read_instance(path.name, data)
    if not (path.name.startswith(instance.prefix) and path.name.endswith(".dcm")):
        raise VerifyError(f"{path.name} must be called {instance.prefix}*.dcm")
    entry = FileEntry(
        name=path.name,
        sop_instance_uid=instance.identity.sop_instance_uid,
        sop_class_uid=instance.identity.sop_class_uid,
        series_uid=instance.identity.series_uid,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    return _File(entry, instance)


def _mismatches(files: list[_File], request: TransferRequest) -> Iterator[str]:
    images = [
        file
        for file in files
        if file.instance.prefix == _PREFIXES.get(request.kind, request.kind.value)
    ]
    structure_sets = [file for file in files if file.instance.prefix == "RS"]
    registrations = [file for file in files if file.instance.prefix == "RE"]
    rest = {f.entry.name for f in files}.difference(
        f.entry.name for f in (*images, *structure_sets, *registrations)
    )
    of_images = request.kind in IMAGE_KINDS
    what = f"{request.kind.modality} image" if of_images else request.kind.words
    yield from (f"{name} is no {what} and does not belong here" for name in sorted(rest))
    if not of_images:
        yield from _object_problems(images, request)
    elif len(images) != request.images or not images:
        yield f"{len(images):,} of {counted_are(request.images, 'image')} there"
    for file in files:
        patient_id = file.instance.identity.patient_id
        if patient_id != request.patient_id:
            yield f"{file.entry.name} is of another patient ({patient_id or 'no id'})"
    for file in images:
        if file.entry.series_uid != request.series_uid:
            yield f"{file.entry.name} is of another series ({file.entry.series_uid})"
        elif file.instance.study_uid != request.study_uid:
            yield f"{file.entry.name} is of another study ({file.instance.study_uid})"
    yield from (
        f"{file.entry.name} is of another study than the images"
        for file in structure_sets
        if file.instance.study_uid != request.study_uid
    )
    yield from _person_problems([*images, *structure_sets])
    yield from _plane_problems(images)
    counted = Counter(f.entry.sop_instance_uid for f in files)
    for uid, count in counted.items():
        if count > 1:
            yield f"{count} files share SOP Instance UID {uid}"
    # A derived one may be missing: who could not derive it has said so.
    derived = request.derived_structure_set_uid if structure_sets else ""
    yield from _companion("structure set", structure_sets, request.structure_set_uid or derived)
    yield from _companion("registration", registrations, request.registration_uid)
    if request.kind is not Kind.PLAN:  # which need not say where it lies
        yield from _frame_problems(images, structure_sets, registrations)
    yield from _reference_problems(images, structure_sets)


def _reference_problems(images: list[_File], structure_sets: list[_File]) -> Iterator[str]:
    uids = {f.entry.sop_instance_uid for f in images}
    for file in structure_sets:
        lost = file.instance.image_references - uids
        if lost:
            yield (
                f"{file.entry.name} refers to {counted(len(lost), 'image')} outside the folder, "
                f"such as {min(lost)}"
            )
        elif not file.instance.image_references:
            yield f"{file.entry.name} refers to no image"


def _object_problems(files: list[_File], request: TransferRequest) -> Iterator[str]:
    """What keeps a dose or plan from being the one asked for."""
    yield from _companion(request.kind.words, files, request.object_uid)
    yield from (
        f"{file.entry.name} is not the dose of plan {request.plan_uid} alone"
        for file in files
        if request.kind is Kind.DOSE and file.instance.plan_references != {request.plan_uid}
    )


def _person_problems(files: Iterable[_File]) -> Iterator[str]:
    for name, what in _PERSON.items():
        said = {f.entry.name: value for f in files if (value := getattr(f.instance.person, name))}
        usual = Counter(said.values()).most_common(1)
        for file, value in said.items():
            if value != usual[0][0]:
                yield f"{file} bears another {what} than most of its series"


def _plane_problems(images: list[_File]) -> Iterator[str]:
    """What keeps images from being one even volume."""
    planes = [file.instance.plane for file in images if file.instance.plane]
    if not planes:
        return
    for name, (what, tolerance) in _ALIKE.items():
        values = np.array([getattr(plane, name) for plane in planes])
        astray = np.abs(values - np.median(values, axis=0)).max(axis=1) > tolerance
        for number in np.flatnonzero(astray):
            yield f"{images[number].entry.name} has another {what} than its series"
    order, along = _order(planes)
    for number in np.flatnonzero(np.diff(along) <= SAME_PLACE_MM):
        first, second = (images[at].entry.name for at in order[number : number + 2])
        yield f"{first} and {second} lie at one position"


def _order(planes: list[Plane]) -> tuple[IntArray, FloatArray]:
    """Number and position along the normal, mm, of planes as they follow one another there."""
    cosines = np.median([plane.orientation for plane in planes], axis=0)
    normal = np.cross(cosines[:3], cosines[3:])
    along = np.array([plane.position for plane in planes]) @ normal
    order = np.argsort(along, kind="stable")
    return order, along[order]


def _unevenness(planes: list[Plane], request: TransferRequest) -> Iterator[str]:
    """Say that images do not follow one another evenly: along their normal, or across it."""
    if len(planes) < 2:
        return
    order, _ = _order(planes)
    steps = np.diff(np.array([plane.position for plane in planes])[order], axis=0)
    odd = np.linalg.norm(steps - np.median(steps, axis=0), axis=1) > _UNEVEN_MM
    if odd.any():
        apart = np.linalg.norm(steps, axis=1)
        yield (
            f"The images of the {request.kind.words} do not lie evenly: {apart.min():.2f} to "
            f"{apart.max():.2f} mm from one to the next, where {odd.sum()} of {len(odd)} steps "
            f"are not the usual one of {np.median(apart):.2f} mm. Look at the series in Eclipse."
        )


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
    frames = frozenset[str]().union(*(f.instance.frames for f in images))
    if images and (len(frames) != 1 or not all(f.instance.frames for f in images)):
        yield f"the images lie in {len(frames)} frames of reference, or some in none"
    for file in structure_sets:
        if file.instance.frames != frames:
            yield f"{file.entry.name} lies in another frame of reference than the images"
    for file in registrations:
        if not frames <= file.instance.frames:
            yield f"{file.entry.name} does not register the images' frame of reference"
