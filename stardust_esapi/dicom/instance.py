"""One DICOM file as a whole: whether it is all there, whose it is, and what it refers to.

What is exported is of six SOP classes, and the consumer knows each by how its file's name begins.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import pydicom
from PIL import Image
from pydicom.datadict import dictionary_description
from pydicom.dataelem import RawDataElement
from pydicom.encaps import get_frame
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    CTImageStorage,
    JPEGExtended12Bit,
    MRImageStorage,
    RLELossless,
    RTDoseStorage,
    RTPlanStorage,
    RTStructureSetStorage,
    SpatialRegistrationStorage,
)

from stardust_esapi.dicom.open_file import read_file
from stardust_esapi.dicom.read_dose import RELATIVE, dose_geometry
from stardust_esapi.errors import CaseError, VerifyError

IMAGE_CLASSES: Final = {"CT": CTImageStorage, "MR": MRImageStorage}
"""The SOP class of the images of each modality."""

PREFIXES: Final = {
    CTImageStorage: "CT",
    MRImageStorage: "MR",
    RTStructureSetStorage: "RS",
    SpatialRegistrationStorage: "RE",
    RTDoseStorage: "RD",
    RTPlanStorage: "RP",
}
"""The SOP classes that are exported, and how their files' names begin, as the consumer wants it."""

# The last of the elements that a whole file of each SOP class has (PS3.3 A): a file that ends
# between two elements lacks it.
_LAST = {
    CTImageStorage: "PixelData",
    MRImageStorage: "PixelData",
    RTStructureSetStorage: "RTROIObservationsSequence",
    SpatialRegistrationStorage: "RegistrationSequence",
    RTDoseStorage: "PixelData",
    RTPlanStorage: "RTPlanLabel",  # all later ones may be absent
}
_UNDEFINED_LENGTH = 0xFFFFFFFF
_COSINE_TOLERANCE = 0.01  # they are rounded, sometimes to two decimals
_MOST_BITS = 4096 * 4096 * 32  # no CT or MR slice comes near
_MOST_OVERHEAD = 8 * 65536  # bits beyond twice the pixels' own
_ITEM = struct.Struct("<HHL")  # tag and length
_ITEM_TAG = (0xFFFE, 0xE000)
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
class Person:
    """Who a file says its patient is, beside the Patient ID; empty where it does not say.

    To be compared, and told to nobody: ``repr`` shows nothing of it.

    Attributes:
        issuer: Issuer of Patient ID (0010,0021).
        name: Patient's Name (0010,0010), without what makes no other name: case, blanks at the
            ends of its components, and components left empty at the end (PS3.5 6.2.1).
        birth_date: Patient's Birth Date (0010,0030).
        sex: Patient's Sex (0010,0040).
    """

    issuer: str = field(repr=False)
    name: str = field(repr=False)
    birth_date: str = field(repr=False)
    sex: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Plane:
    """How large an image is and where it lies (PS3.3 C.7.6.2).

    Attributes:
        size: Rows (0028,0010) and Columns (0028,0011).
        spacing: Pixel Spacing (0028,0030): of rows and of columns, mm.
        orientation: Image Orientation (Patient) (0020,0037): direction cosines of a row and of a
            column.
        position: Image Position (Patient) (0020,0032): of the first voxel's centre, mm.
    """

    size: tuple[int, int]
    spacing: tuple[float, ...]
    orientation: tuple[float, ...]
    position: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Instance:
    """A whole DICOM file, and what must agree with the files beside it.

    Attributes:
        identity: Whose it is.
        person: Who that is.
        plane: How an image lies; None of what is no image.
        study_uid: Study Instance UID (0020,000D).
        frames: Frame of Reference UIDs that it lies in or joins.
        image_references: SOP Instance UIDs of the images that it refers to: of a structure set
            those of Contour Image Sequence (3006,0016), PS3.3 C.8.8.5 and C.8.8.6.
        plan_references: SOP Instance UIDs of the plans that a dose is of (300C,0002).
        is_relative: Whether its doses are percent, of what it does not say (3004,0002).
    """

    identity: Identity
    person: Person
    plane: Plane | None
    study_uid: str
    frames: frozenset[str]
    image_references: frozenset[str]
    plan_references: frozenset[str]
    is_relative: bool

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
    """The same as :func:`identify`, and all that must agree with the files beside it.

    The File Meta Information must name the same object as the dataset (PS3.10 7.1). An image must
    say how large it is and where it lies, and its pixels must be there: uncompressed ones as long
    as it says; compressed ones framed as PS3.5 A.4 has it, and decoded where that can be done. A
    dose must be a grid (:func:`~stardust_esapi.dicom.read_dose.dose_geometry`).

    Raises:
        VerifyError: Anything is not so.
    """
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
        # What is missing is named; other messages may quote a value, such as a birth date.
        is_plain = isinstance(error, CaseError | AttributeError | InvalidDicomError)
        why = str(error) if is_plain else type(error).__name__
        raise VerifyError(f"{name} is damaged or no DICOM file ({why})") from None


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
    identity = _identity(dataset)
    meta: Any = dataset.file_meta
    named = meta.get("MediaStorageSOPClassUID"), meta.get("MediaStorageSOPInstanceUID")
    if named != (identity.sop_class_uid, identity.sop_instance_uid):
        raise VerifyError("is called another object in its File Meta Information")
    plane = None
    if identity.sop_class_uid in IMAGE_CLASSES.values():
        plane = _plane(dataset)
        _check_pixels(dataset, plane, meta.TransferSyntaxUID)
    elif identity.sop_class_uid == RTDoseStorage:
        dose_geometry(dataset)
    return Instance(
        identity=identity,
        person=_person(dataset),
        plane=plane,
        study_uid=str(dataset.get("StudyInstanceUID") or ""),
        frames=frozenset(_frames(dataset)),
        image_references=frozenset(_image_references(dataset)),
        plan_references=frozenset(
            str(plan.ReferencedSOPInstanceUID)
            for plan in dataset.get("ReferencedRTPlanSequence") or []
        ),
        is_relative=dataset.get("DoseUnits") == RELATIVE,
    )


def _person(dataset: pydicom.Dataset) -> Person:
    def said(keyword: str) -> str:
        return str(dataset.get(keyword) or "").strip()

    parts = said("PatientName").casefold().split("^")
    return Person(
        issuer=said("IssuerOfPatientID"),
        name="^".join(part.strip() for part in parts).rstrip("^"),
        birth_date=said("PatientBirthDate"),
        sex=said("PatientSex"),
    )


def _plane(dataset: pydicom.Dataset) -> Plane:
    spacing = _numbers(dataset, "PixelSpacing", 2)
    if min(spacing) <= 0:
        raise VerifyError("says that its pixels have no size (Pixel Spacing)")
    orientation = _numbers(dataset, "ImageOrientationPatient", 6)
    x, y = orientation[:3], orientation[3:]
    if max(abs(_dot(x, x) - 1), abs(_dot(y, y) - 1), abs(_dot(x, y))) > _COSINE_TOLERANCE:
        raise VerifyError("has rows and columns that are not at right angles (its orientation)")
    return Plane(
        size=(_count(dataset, "Rows"), _count(dataset, "Columns")),
        spacing=spacing,
        orientation=orientation,
        position=_numbers(dataset, "ImagePositionPatient", 3),
    )


def _numbers(dataset: pydicom.Dataset, keyword: str, count: int) -> tuple[float, ...]:
    element: Any = dataset.get_item(keyword)
    raw = element.value if element else None
    # What pydicom makes of a Decimal String takes ten times as long.
    given = raw.rstrip(b"\x00 ").split(b"\\") if isinstance(raw, bytes) and raw else raw
    values = tuple(map(float, given or ()))
    if len(values) != count or not all(map(math.isfinite, values)):
        raise VerifyError(f"lacks {dictionary_description(keyword)}, or has no numbers there")
    return values


def _dot(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return sum(one * other for one, other in zip(a, b, strict=True))


def _count(dataset: pydicom.Dataset, keyword: str) -> int:
    value = int(dataset.get(keyword) or 0)
    if value < 1:
        raise VerifyError(f"lacks {dictionary_description(keyword)}, or has none")
    return value


def _check_pixels(dataset: pydicom.Dataset, plane: Plane, syntax: UID) -> None:
    """Make sure that the pixels of an image with one sample and one frame are there."""
    if _count(dataset, "SamplesPerPixel") != 1 or int(dataset.get("NumberOfFrames") or 1) != 1:
        raise VerifyError("is no single plane of grey values")
    bits = plane.size[0] * plane.size[1] * _count(dataset, "BitsAllocated")
    pixels = dataset["PixelData"].value or b""
    if not syntax.is_encapsulated:
        length = math.ceil(bits / 8)
        if len(pixels) not in (length, length + length % 2):  # PS3.5 8.1.1
            raise VerifyError(f"has {len(pixels)} bytes of pixels where its header says {length}")
        return
    if not _is_framed(pixels):
        raise VerifyError("is compressed, and its pixels are not framed as one image (PS3.5 A.4)")
    # What decoders allocate must not be for the sender to say.
    if bits > _MOST_BITS or len(pixels) * 8 > 2 * bits + _MOST_OVERHEAD:
        raise VerifyError("is compressed, and larger than an image of its kind can be")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return
    # Of JPEG Extended, Pillow does 8 bits only.
    if not decoder.is_available or syntax == JPEGExtended12Bit:
        return
    try:
        if syntax != RLELossless:
            frame = io.BytesIO(get_frame(pixels, 0, number_of_frames=1))
            with Image.open(frame, formats=("JPEG", "JPEG2000")) as image:
                if image.size[::-1] != plane.size:
                    raise ValueError("another size inside")
        decoder.as_array(dataset, index=0, raw=True)
    except Exception:  # noqa: BLE001 - decoders raise anything
        raise VerifyError("is compressed and cannot be decoded as its header says") from None


def _is_framed(pixels: bytes) -> bool:
    """Whether there are items and nothing else: an offset table for one frame, and its fragments.

    The delimiter at the end is not in the value.
    """
    lengths, at = [], 0
    while at + _ITEM.size <= len(pixels):
        *tag, length = _ITEM.unpack_from(pixels, at)
        if tuple(tag) != _ITEM_TAG:
            return False
        lengths.append(length)
        at += _ITEM.size + length
    return at == len(pixels) and lengths[:1] in ([0], [4]) and any(lengths[1:])


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
