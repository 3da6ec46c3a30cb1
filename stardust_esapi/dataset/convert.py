"""Convert one case: read, label, judge, write. One function in one process, whole files or none."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stardust_esapi import __version__
from stardust_esapi.dataset import gates, labels, nnunet, write
from stardust_esapi.dataset.dose import dose_on
from stardust_esapi.dataset.entry import UNKNOWN_REGION, Entry, failed
from stardust_esapi.dataset.facts import CaseFacts
from stardust_esapi.dataset.labels import GTV_LABEL, TARGET_LABEL, Labelled, Named
from stardust_esapi.dataset.layout import (
    DICOM,
    EITHER,
    FACTS,
    IMAGES,
    LABELS,
    PICTURES,
    WAITING,
)
from stardust_esapi.dataset.pseudonym import Pseudonyms
from stardust_esapi.dataset.tasks import CHANGED, State, Task
from stardust_esapi.dataset.words import OTHER, listed
from stardust_esapi.dicom import onto_mr
from stardust_esapi.dicom.body_parts import BODY_PARTS
from stardust_esapi.dicom.deidentify import copy_deidentified
from stardust_esapi.dicom.read_dose import read_dose
from stardust_esapi.dicom.read_registration import read_mr_to_ct
from stardust_esapi.dicom.read_series import Stack, VolumeFacts, read_stack
from stardust_esapi.dicom.read_structure_set import Roi, Structures, read_structures_on
from stardust_esapi.dicom.write_segmentation import write_segmentation
from stardust_esapi.errors import CaseError, StardustError, VerifyError
from stardust_esapi.files import remove_tree
from stardust_esapi.geometry import FloatArray
from stardust_esapi.mask import rasterise
from stardust_esapi.model import Kind, Role
from stardust_esapi.names import role_of
from stardust_esapi.settings import Dataset, Format
from stardust_esapi.verify.manifest import MANIFEST_NAME, damage
from stardust_esapi.wording import counted

SIDECAR_FORMAT = "stardust-esapi training case 3"
_LIBRARIES = ("numpy", "pydicom", "scipy")


@dataclass(frozen=True, slots=True)
class _Case:
    """A case as read from its files."""

    stack: Stack
    structures: Structures
    named: tuple[Named, ...]
    notes: tuple[str, ...]
    ct_frame: str
    to_ct: FloatArray
    drawn_on: VolumeFacts | None = None


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a worker does with a task, as it is sent to the worker: see :func:`convert`."""

    settings: Dataset
    pseudonyms: Pseudonyms
    out: Path
    with_structures: frozenset[str] = frozenset()

    def __call__(self, task: Task) -> Entry:
        """Convert it."""
        return convert(task, self.settings, self.pseudonyms, self.out, self.with_structures)


def convert(
    task: Task,
    settings: Dataset,
    pseudonyms: Pseudonyms,
    out: Path,
    with_structures: Collection[str] = (),
) -> Entry:
    """Create one case's files, where they wait until the dataset is split.

    Args:
        task: The case and where its files lie.
        settings: Formats, whether a DICOM copy is wanted, and the thresholds of the gates.
        pseudonyms: What the dataset calls the patient, the case and UIDs.
        out: The dataset's folder.
        with_structures: Cases whose MR's DICOM copy takes along the CT with the structures.

    Returns:
        What became of it. Whatever goes wrong with a case is not raised: it is the entry's reason,
        in a sentence without anything that names the patient.
    """
    started = time.perf_counter()
    room = out / WAITING / f"{pseudonyms.case(task.case_key)}_{task.kind}"
    try:
        remove_tree(room)  # what a kill left of it
        entry = _created(task, settings, pseudonyms, room, task.case_key in with_structures)
    except StardustError as error:
        entry = failed(task, pseudonyms, f"{str(error)[:1].upper()}{str(error)[1:]}")
    except OSError as error:
        # Its own words hold the path, and that the patient's id.
        why = error.strerror or type(error).__name__
        entry = failed(task, pseudonyms, f"Its files cannot be read or written ({why}).")
    except MemoryError:
        reason = "It does not fit into memory. Run it with fewer --workers."
        entry = failed(task, pseudonyms, reason)
    except Exception as error:  # noqa: BLE001 - a bad case never stops the run
        reason = f"Something unexpected happened ({_place(error)}). Please report it."
        entry = failed(task, pseudonyms, reason)
    if not entry.created:
        with suppress(OSError):  # what cannot be removed now is when the dataset is done
            remove_tree(room)
    return replace(entry, seconds=time.perf_counter() - started)


def _place(error: Exception) -> str:
    """What was raised, and where in this program: never what it says, which may quote a value."""
    lines = [f"{type(error).__name__}"]
    trace = error.__traceback__
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", ""))
        if name.startswith("stardust_esapi."):
            lines.append(f"{name.removeprefix('stardust_esapi.')} line {trace.tb_lineno}")
        trace = trace.tb_next
    return " in ".join([lines[0], *lines[-1:]]) if len(lines) > 1 else lines[0]


def _copy_dicom(
    entry: Entry, task: Task, pseudonyms: Pseudonyms, room: Path, structures_too: bool
) -> list[Path]:
    """Leave de-identified copies; the first is that of the images."""
    copy = room / DICOM / entry.patient / f"{entry.case}_{entry.kind}"
    folders = {copy: task.folder}
    if structures_too and task.kind is Kind.MR:
        folders[copy.with_name(f"{copy.name}_structures")] = task.structures_folder
    for target, source in folders.items():
        copy_deidentified(source, target, task.patient_id, pseudonyms)
    return list(folders)


def _write_segmentation(
    labelled: Labelled, stack: Stack, pseudonyms: Pseudonyms, copy: Path
) -> Path:
    uids = [pseudonyms.uid(uid) for uid in stack.sop_instance_uids]
    names = {GTV_LABEL: "gtv+", TARGET_LABEL: "target+"} | labelled.names
    return write_segmentation(copy, stack.modality, uids, labelled.gts, list(names.values()))


def _created(
    task: Task, settings: Dataset, pseudonyms: Pseudonyms, room: Path, structures_too: bool
) -> Entry:
    """The entry of a case whose files have been written, or that a gate has stopped."""
    case = _read(task)
    stack, labelled = case.stack, labels.label(case.stack, case.named)
    facts = CaseFacts(
        kind=task.kind,
        transferred=task.kind is Kind.MR,
        volume=stack.facts,
        intensity=labelled.intensity,
        structures=labelled.numbered.structures,
        drawn_on=case.drawn_on,
        not_as_listed=task.not_as_listed,
    )
    findings = gates.judge(facts, settings.gates)
    minor = tuple(finding.text for finding in findings if not finding.fatal)
    entry = replace(
        failed(task, pseudonyms),
        state=State.LEFT_OUT,
        reasons=tuple(finding.text for finding in findings if finding.fatal),
        body_region=listed(stack.body_part, BODY_PARTS) or UNKNOWN_REGION,
        shape=stack.shape,
        spacing=stack.geometry.spacing,
        structures=facts.structures,
        counts=facts.intensity.counts,
    )
    notes = (*minor, *case.notes, *labelled.numbered.notes, *_unlisted(entry))
    entry = replace(entry, notes=notes)
    if entry.reasons:
        return entry
    picture = _within(room, f"{PICTURES}/{entry.name}.png")
    sidecar = _within(room, f"{FACTS}/{entry.name}.json")
    dose = _dose(task, case) if settings.dose else None
    arrays = _write_arrays(settings, labelled, stack, dose, room, entry)
    written = [*arrays, picture, sidecar]
    if settings.dicom:
        copies = _copy_dicom(entry, task, pseudonyms, room, structures_too)
        written += copies
        if Format.SEG in settings.formats:
            written.append(_write_segmentation(labelled, stack, pseudonyms, copies[0]))
    write.write_picture(picture, labelled, stack)
    entry = replace(
        entry,
        state=State.CREATED,
        files=tuple(_name(room, path) for path in written),
        thumbnail=_name(room, picture),
    )
    write.write_sidecar(sidecar, _sidecar(entry, case, facts, pseudonyms))
    return entry


def _within(room: Path, name: str) -> Path:
    """The path of a file to be, in a folder that is there."""
    (room / name).parent.mkdir(parents=True, exist_ok=True)
    return room / name


def _name(room: Path, path: Path) -> str:
    """What an entry calls a file in it."""
    return path.relative_to(room.parents[1]).as_posix()


def _unlisted(entry: Entry) -> Iterator[str]:
    for name, word, where in (
        ("label", entry.label, "the setting dataset.words lists"),
        ("Label2", entry.label2, "the setting dataset.regions or DICOM lists"),
        ("casekind", entry.case_kind, "the setting dataset.words lists"),
        ("body part (0018,0015)", entry.body_region, "DICOM defines"),
    ):
        if word == OTHER:
            yield f"Its {name} is none of the words that {where}: “{OTHER}” stands for it."


def _dose(task: Task, case: _Case) -> NDArray[np.float32]:
    """The dose on the image's grid, Gy."""
    if task.dose_folder is None:
        raise CaseError("Its dose was not exported. Export kinds ct,dose, or do without --dose.")
    _check_files(task.dose_folder)
    dose = read_dose(task.dose_folder)
    if dose.frame_of_reference_uid != case.ct_frame:
        raise CaseError("its dose lies in another frame of reference than its CT.")
    return dose_on(case.stack, dose, case.to_ct)


def _write_arrays(
    settings: Dataset,
    labelled: Labelled,
    stack: Stack,
    dose: NDArray[np.float32] | None,
    room: Path,
    entry: Entry,
) -> list[Path]:
    """Write a case in every format that is asked for, and say where."""
    written = []
    if Format.NPZ in settings.formats:
        written.append(_within(room, f"{EITHER}/{entry.name}.npz"))
        write.write_npz(written[-1], labelled, stack, dose)
    if Format.NIFTI in settings.formats:
        image = _within(room, f"{EITHER}/{IMAGES}/{entry.name}.nii.gz")
        gts = _within(room, f"{EITHER}/{LABELS}/{entry.name}.nii.gz")
        write.write_nifti(image, gts, labelled.gts, stack)
        written += [image, gts]
    if Format.NNUNET in settings.formats:
        image, gts = (_within(room, name) for name in nnunet.places(entry))
        write.write_nifti(image, gts, nnunet.labels_of_all(labelled.gts), stack)
        written += [image, gts]
    return written


def _read(task: Task) -> _Case:
    for folder in dict.fromkeys((task.folder, task.structures_folder)):
        _check_files(folder)
    stack = read_stack(task.folder)
    if task.kind is not Kind.MR:
        structures = read_structures_on(stack, task.structures_folder)
        named = tuple(Named(roi.name, rasterise(roi.contours, stack)) for roi in structures.rois)
        notes, frame = _not_closed(structures.rois), stack.frame_of_reference_uid
        return _Case(stack, structures, named, notes, frame, np.eye(4))
    ct = read_stack(task.structures_folder)
    structures = read_structures_on(ct, task.structures_folder)
    mr_to_ct = read_mr_to_ct(sorted(task.folder.glob("RE*.dcm")), stack, ct)
    # One at a time: a mask on the CT is not kept once it is on the MR.
    named = tuple(_carried(roi, ct, stack, mr_to_ct) for roi in structures.rois)
    notes, frame = _not_closed(structures.rois), ct.frame_of_reference_uid
    return _Case(stack, structures, named, notes, frame, mr_to_ct, ct.facts)


def _carried(roi: Roi, ct: Stack, mr: Stack, mr_to_ct: FloatArray) -> Named:
    """A structure of the CT on the MR."""
    mask = rasterise(roi.contours, ct)
    decides = role_of(roi.name) is not Role.OTHER
    shown = onto_mr.share_shown(mask, ct, mr, mr_to_ct) if decides else 1.0
    return Named(roi.name, onto_mr.carry(mask, ct, mr, mr_to_ct), shown)


def _check_files(folder: Path) -> None:
    """Whatever is missing, or lies there besides, since the export was verified."""
    try:
        whole = not (folder / MANIFEST_NAME).exists() or not damage(folder)
    except VerifyError:  # its message holds the path, and that the patient's id
        whole = False
    if not whole:
        raise CaseError(CHANGED)


def _not_closed(rois: tuple[Roi, ...]) -> tuple[str, ...]:
    return tuple(
        f"{roi.name}: left out {counted(roi.not_closed, 'contour')}: points or open lines, or "
        "empty."
        for roi in rois
        if roi.not_closed
    )


def _sidecar(entry: Entry, case: _Case, facts: CaseFacts, pseudonyms: Pseudonyms) -> dict[str, Any]:
    stack = case.stack
    return {
        "format": SIDECAR_FORMAT,
        "patient": entry.patient,
        "case": entry.case,
        "kind": str(entry.kind),
        "modality": stack.modality,
        "label": entry.label,
        "label2": entry.label2,
        "case_kind": entry.case_kind,
        "body_region": entry.body_region,
        "fingerprint": entry.fingerprint,
        "shape": list(stack.shape),
        "spacing": list(stack.geometry.spacing),
        "origin": list(stack.geometry.origin),
        "direction": write.direction(stack.geometry).tolist(),
        "positions": stack.positions.tolist(),
        "uids": {
            "series": pseudonyms.uid(stack.series_uid),
            "frame_of_reference": pseudonyms.uid(stack.frame_of_reference_uid),
            "structure_set": pseudonyms.uid(case.structures.sop_instance_uid),
        },
        "label_names": {str(one.label): one.name for one in facts.structures},
        "transferred": facts.transferred,
        "facts": asdict(facts),
        "notes": list(entry.notes),
        "rules": dict(write.RULES),
        "versions": {
            "stardust-esapi": __version__,
            **{name: version(name) for name in _LIBRARIES},
        },
    }
