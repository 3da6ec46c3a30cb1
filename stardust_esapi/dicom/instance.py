"""One DICOM file as a whole: whether it is all there, whose it is, and what it refers to.

What is exported is of four SOP classes, and the consumer knows each by how its file's name begins.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.uid import (
    UID,
    CTImageStorage,
    MRImageStorage,
    RTStructureSetStorage,
    SpatialRegistrationStorage,
)

from stardust_esapi.dicom.open_file import read_file
from stardust_esapi.errors import VerifyError

IMAGE_CLASSES: Final = {"CT": CTImageStorage, "MR": MRImageStorage}
"""The SOP class of the images of each modality."""

PREFIXES: Final = {
    CTImageStorage: "CT",
    MRImageStorage: "MR",
    RTStructureSetStorage: "RS",
    SpatialRegistrationStorage: "RE",
}
"""The SOP classes that are exported, and how their files' names begin, as the consumer wants it."""

# The last of the elements that a whole file of each SOP class has (PS3.3 A): a file that ends
# between two elements lacks it.
_LAST = {
    CTImageStorage: "PixelData",
    MRImageStorage: "PixelData",
    RTStructureSetStorage: "RTROIObservationsSequence",
    SpatialRegistrationStorage: "RegistrationSequence",
}
_UNDEFINED_LENGTH = 0xFFFFFFFF
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose a DICOM file is.

    Attributes:
        sop_instance_uid: SOP Instance UID (0008,0018).
        sop_class_uid: SOP Class UID (0008,0016); one of :data:`PREFIXES`.
        patient_id: Patient ID (0010,0020).
        series_uid: Series Instance UID (0020,000E).
    """

    sop_instance_uid: str
    sop_class_uid: str
    patient_id: str
    series_uid: str


@dataclass(frozen=True, slots=True)
class Instance:
    """A whole DICOM file, and what must agree with the files beside it.

    Attributes:
        identity: Whose it is.
        study_uid: Study Instance UID (0020,000D).
        frames: Frame of Reference UIDs that it lies in or joins.
        image_references: SOP Instance UIDs of the images that it refers to: of a structure set
            those of Contour Image Sequence (3006,0016), PS3.3 C.8.8.5 and C.8.8.6.
    """

    identity: Identity
    study_uid: str
    frames: frozenset[str]
    image_references: frozenset[str]

    @property
    def prefix(self) -> str:
        """How its file's name begins."""
        return PREFIXES[UID(self.identity.sop_class_uid)]


def identify(name: str, data: bytes) -> Identity:
    """Verify that a DICOM file is whole and of a class that is exported, and say whose it is.

    Args:
        name: What messages call it.
        data: The file's whole content.

    Raises:
        VerifyError: It is not whole, or of no class that is exported.
    """
    return _parse(name, data, _identity)


def read_instance(name: str, data: bytes) -> Instance:
    """The same as :func:`identify`, and what the file refers to."""
    return _parse(name, data, _instance)


def owner_of(path: Path) -> tuple[str, str] | None:
    """Patient ID and Series Instance UID of a DICOM file; None where it shows none."""
    try:
        with path.open("rb") as file:  # PS3.10 7.1; a stray archive is not read to its end
            file.seek(128)
            if file.read(4) != b"DICM":
                return None
        return _parse(path.name, path.read_bytes(), _owner)
    except (OSError, VerifyError):
        return None


def _parse(name: str, data: bytes, describe: Callable[[pydicom.Dataset], _T]) -> _T:
    """Read a DICOM file whole and describe it; VerifyError when it is not whole.

    pydicom takes a file that ends early without a word; here that is an error.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities of values that nothing here looks at
            dataset = read_file(data)
            cut_off = any(
                len(element.value or b"") < element.length != _UNDEFINED_LENGTH
                for element in dataset.elements()
                if isinstance(element, RawDataElement)
            )
            if cut_off:
                raise VerifyError("is cut off")
            return describe(dataset)
    except VerifyError as error:
        raise VerifyError(f"{name} {error}") from None
    except Exception as error:  # noqa: BLE001 - a damaged file makes the parser raise anything
        raise VerifyError(f"{name} is damaged or no DICOM file ({error})") from None


def _owner(dataset: pydicom.Dataset) -> tuple[str, str]:
    return str(dataset.get("PatientID") or "").strip(), str(dataset.get("SeriesInstanceUID") or "")


def _identity(dataset: pydicom.Dataset) -> Identity:
    sop_class = UID(str(dataset.get("SOPClassUID", "")))
    if sop_class not in PREFIXES:
        raise VerifyError(f"does not belong here ({sop_class.name or 'no SOP class'})")
    last = _LAST[sop_class]
    if last not in dataset:
        raise VerifyError(f"is cut off: {last} is missing")
    return Identity(str(dataset.SOPInstanceUID), str(sop_class), *_owner(dataset))


def _instance(dataset: pydicom.Dataset) -> Instance:
    return Instance(
        identity=_identity(dataset),
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
