"""Verify that a series folder holds exactly what was asked for, by reading every file of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stardust_esapi.dicom.instance import Instance, read_instance
from stardust_esapi.errors import VerifyError
from stardust_esapi.model import TransferRequest
from stardust_esapi.verify.manifest import MANIFEST_NAME, FileEntry, SeriesManifest

_MOST_PROBLEMS = 5


@dataclass(frozen=True, slots=True)
class _File:
    entry: FileEntry
    instance: Instance


def inspect_folder(folder: Path, request: TransferRequest, case_key: str) -> SeriesManifest:
    """Verify that a folder holds exactly the series asked for, and describe it.

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
    return SeriesManifest(request, tuple(file.entry for file in files), case_key)


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
    images = [file for file in files if file.instance.prefix == request.kind.modality]
    structure_sets = [file for file in files if file.instance.prefix == "RS"]
    registrations = [file for file in files if file.instance.prefix == "RE"]
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
        patient_id = file.instance.identity.patient_id
        if patient_id != request.patient_id:
            yield f"{file.entry.name} is of another patient ({patient_id or 'no id'})"
    for file in images:
        if file.entry.series_uid != request.series_uid:
            yield f"{file.entry.name} is of another series ({file.entry.series_uid})"
        elif file.instance.study_uid != request.study_uid:
            yield f"{file.entry.name} is of another study ({file.instance.study_uid})"
    counted = Counter(f.entry.sop_instance_uid for f in files)
    for uid, count in counted.items():
        if count > 1:
            yield f"{count} files share SOP Instance UID {uid}"
    yield from _companion("structure set", structure_sets, request.structure_set_uid)
    yield from _companion("registration", registrations, request.registration_uid)
    yield from _frame_problems(images, structure_sets, registrations)
    uids = {f.entry.sop_instance_uid for f in images}
    for file in structure_sets:
        lost = file.instance.image_references - uids
        if lost:
            yield (
                f"{file.entry.name} refers to {len(lost)} images that are not in the folder, "
                f"such as {min(lost)}"
            )
        elif not file.instance.image_references:
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
    frames = frozenset[str]().union(*(f.instance.frames for f in images))
    if images and (len(frames) != 1 or not all(f.instance.frames for f in images)):
        yield f"the images lie in {len(frames)} frames of reference, or some in none"
    for file in structure_sets:
        if file.instance.frames != frames:
            yield f"{file.entry.name} lies in another frame of reference than the images"
    for file in registrations:
        if not frames <= file.instance.frames:
            yield f"{file.entry.name} does not register the images' frame of reference"
