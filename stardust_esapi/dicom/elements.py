"""What all kinds of files have in common: text, numbers, the common modules, the file itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path

from pydicom import dcmwrite
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from pydicom.valuerep import MAX_VALUE_LEN, format_number_as_ds

from stardust_esapi import __version__
from stardust_esapi.dicom.source import PatientIdentity, StudyFacts
from stardust_esapi.dicom.uids import derived_uid
from stardust_esapi.errors import TransferError

IMPLEMENTATION_CLASS_UID = UID(derived_uid("stardust-esapi", "implementation class"))

_NAME_LENGTH = 64  # of one component group of a PN (PS3.5 Table 6.2-1)
# A backslash begins another value, control characters belong to the encoding (PS3.5 6.1.3, 6.2).
_NOT_IN_TEXT = re.compile(r"[\\\x00-\x1f\x7f]")
_NOT_IN_NAMES = re.compile(r"[\\^=\x00-\x1f\x7f]")
# UIDs with leading zeros are wrong, but scanners have made them, and they are the identity.
_ALLOWED = {"UI": re.compile(r"[0-9.]+"), "CS": re.compile(r"[A-Z0-9 _]*")}


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Begin the message of every ``TransferError`` from within with what it is about."""
    try:
        yield
    except TransferError as error:
        raise TransferError(f"{what}: {error}") from error


def checked(keyword: str, value: str) -> str:
    """The value itself, if a DICOM attribute holds it exactly and as one value.

    Args:
        keyword: Keyword of the attribute; its value representation is CS, LO, SH or UI.
        value: What it is to hold; a UID may not be empty.

    Raises:
        TransferError: The value is too long or has a character the attribute cannot hold.
    """
    vr = dictionary_VR(keyword)
    allowed = _ALLOWED.get(vr)
    if (
        len(value) > MAX_VALUE_LEN[vr]
        or _NOT_IN_TEXT.search(value)
        or (allowed and not allowed.fullmatch(value))
    ):
        raise TransferError(
            f"the DICOM attribute {keyword} ({vr}, at most {MAX_VALUE_LEN[vr]} characters) cannot "
            f"hold {value!r}. Correct it in Eclipse, then export the case again."
        )
    return value


def put(dataset: Dataset, **texts: str) -> None:
    """Set attributes that identify something, each ``checked``.

    Raises:
        TransferError: As ``checked`` says.
    """
    for keyword, value in texts.items():
        setattr(dataset, keyword, checked(keyword, value))


def describe(dataset: Dataset, **texts: str) -> None:
    """Set attributes that only describe: shortened to fit, blanks for what they cannot hold.

    Empty ones are left out.
    """
    for keyword, value in texts.items():
        fitting = _NOT_IN_TEXT.sub(" ", value)[: MAX_VALUE_LEN[dictionary_VR(keyword)]].strip()
        if fitting:
            setattr(dataset, keyword, fitting)


def decimals(values: Iterable[float]) -> list[str]:
    """Decimal Strings (DS) with every digit that 16 characters hold (PS3.5 Table 6.2-1)."""
    return [format_number_as_ds(float(value)) for value in values]


def put_moment(dataset: Dataset, name: str, moment: datetime | None) -> None:
    """Set ``<name>Date`` and ``<name>Time``; both are empty where the moment is unknown."""
    setattr(dataset, f"{name}Date", _digits(moment))
    setattr(dataset, f"{name}Time", f"{moment:%H%M%S.%f}" if moment else "")


def _digits(day: date | None) -> str:
    return f"{day.year:04}{day.month:02}{day.day:02}" if day else ""


def new_dataset(patient: PatientIdentity, study: StudyFacts, sop_class_uid: str) -> Dataset:
    """Begin an object: Patient, General Study and SOP Common Modules (C.7.1.1, C.7.2.1, C.12.1).

    Raises:
        TransferError: The patient's id or sex, or the study's id or UID, cannot be written.
    """
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = sop_class_uid
    if patient.sex not in {"M", "F", "O", ""}:
        raise TransferError(
            "the patient's sex is not one of M, F, O or empty, which PatientSex (0010,0040) asks "
            "for. Correct it in Eclipse, then export the case again."
        )
    # The name identifies nobody here, the id does: what PN cannot hold is left out of the name.
    components = (patient.family_name, patient.given_name, patient.middle_name)
    name = "^".join(_NOT_IN_NAMES.sub(" ", part).strip() for part in components)
    dataset.PatientName = name[:_NAME_LENGTH].rstrip("^ ")
    put(dataset, PatientID=patient.patient_id, PatientSex=patient.sex)
    dataset.PatientBirthDate = _digits(patient.birth_date)
    put(dataset, StudyInstanceUID=study.study_uid, StudyID=study.study_id)
    put_moment(dataset, "Study", study.created)
    dataset.ReferringPhysicianName = ""
    dataset.AccessionNumber = ""
    return dataset


def put_own_series(
    dataset: Dataset,
    modality: str,
    *,
    sop_instance_uid: str,
    series_uid: str,
    frame_of_reference_uid: str,
) -> None:
    """What objects that this program composes have in common of their series and equipment.

    Of the Series, Frame of Reference and General Equipment Modules (PS3.3 C.7.3.1, C.7.4.1,
    C.7.5.1).

    Raises:
        TransferError: A UID cannot be written.
    """
    put(
        dataset,
        SOPInstanceUID=sop_instance_uid,
        SeriesInstanceUID=series_uid,
        FrameOfReferenceUID=frame_of_reference_uid,
    )
    dataset.Modality = modality
    dataset.SeriesNumber = None
    dataset.PositionReferenceIndicator = ""
    dataset.Manufacturer = "STARDUST"
    dataset.ManufacturerModelName = "stardust-esapi"
    dataset.SoftwareVersions = __version__


def reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """An item that refers to an instance (PS3.3 10.8).

    Raises:
        TransferError: The UID cannot be written.
    """
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    put(item, ReferencedSOPInstanceUID=sop_instance_uid)
    return item


def write_file(dataset: Dataset, path: Path, transfer_syntax_uid: UID) -> None:
    """Write a DICOM file (PS3.10 7.1) durably: flushed and synced.

    Raises:
        TransferError: The file cannot be written.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax_uid
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = f"STARDUST {__version__}"
    dataset.file_meta = meta
    try:
        with path.open("wb") as file:
            dcmwrite(file, dataset, enforce_file_format=True)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise TransferError(
            f"cannot write {path}: {error.strerror or error}. "
            "Check free space and access rights, then run again."
        ) from error
