"""A de-identified DICOM copy of a case: what training needs is listed, everything else goes.

The list names attributes of the modules of PS3.3 that CT, MR, RT Structure Set and Spatial
Registration consist of, and what becomes of each. That is never less than PS3.15 table E.1-1 (Basic
Profile) asks: UIDs that DICOM does not define are replaced, dates shifted, the same in all of a
patient's files. Nothing has to be known of what is not listed, whoever invented it.

Of pixels the grey values are copied, uncompressed, and nothing of what may lie beside them: old
overlays in unused bits, a codec's comments. What they show stays: images that say that text is
burned in are refused; a face can be made from the slices of a head.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.pixels.utils import pixel_array, set_pixel_data
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from stardust_esapi.dicom.body_parts import BODY_PARTS
from stardust_esapi.dicom.open_file import read_file
from stardust_esapi.dicom.read_series import keep_stored_bits
from stardust_esapi.errors import CaseError
from stardust_esapi.files import make_folder, place_folder, remove_tree

METHOD = (
    "PS3.15 Basic Profile, by a list of what is kept",
    "dates shifted by a number of days per patient",
    "ROI names and ROI observation labels kept as they were",
)
"""What Deidentification Method (0012,0063) says."""
PROFILES = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
"""The codes of Deidentification Method Code Sequence (0012,0064): CID 7050."""

KEPT = {
    # C.12.1, C.7.2.1, C.7.3.1, C.7.4.1, C.7.5.1 and C.12.2
    "every object": """
        SpecificCharacterSet SOPClassUID SOPInstanceUID StudyInstanceUID StudyDate StudyTime
        SeriesInstanceUID SeriesNumber SeriesDate SeriesTime Modality Laterality BodyPartExamined
        FrameOfReferenceUID Manufacturer ManufacturerModelName InstanceNumber ContentDate
        ContentTime ReferencedSOPClassUID ReferencedSOPInstanceUID ReferencedSeriesSequence
        ReferencedInstanceSequence StudiesContainingOtherReferencedInstancesSequence""",
    # C.7.6.1 to C.7.6.3, C.8.2.1 and C.8.3.1, C.11.1 and C.11.2
    "images": """
        ImageType AcquisitionNumber AcquisitionDate AcquisitionTime AcquisitionDateTime
        PatientPosition PixelSpacing ImageOrientationPatient ImagePositionPatient SliceThickness
        SliceLocation SpacingBetweenSlices SamplesPerPixel PhotometricInterpretation Rows Columns
        BitsAllocated BitsStored HighBit PixelRepresentation PixelPaddingValue
        PixelPaddingRangeLimit SmallestImagePixelValue LargestImagePixelValue PixelData
        RescaleIntercept RescaleSlope RescaleType WindowCenter WindowWidth VOILUTFunction
        BurnedInAnnotation LossyImageCompression LossyImageCompressionRatio
        LossyImageCompressionMethod ReferencedImageSequence ReferencedFrameNumber
        KVP ReconstructionDiameter ConvolutionKernel GantryDetectorTilt
        ScanningSequence SequenceVariant ScanOptions MRAcquisitionType RepetitionTime EchoTime
        EchoTrainLength InversionTime FlipAngle MagneticFieldStrength EchoNumbers
        ImagingFrequency ImagedNucleus NumberOfAverages PixelBandwidth""",
    # C.8.8.5, C.8.8.6 and C.8.8.8
    "structure sets": """
        StructureSetDate StructureSetTime ReferencedFrameOfReferenceSequence
        RTReferencedStudySequence RTReferencedSeriesSequence ContourImageSequence
        StructureSetROISequence ROINumber ROIName ROIGenerationAlgorithm ROIVolume
        ReferencedFrameOfReferenceUID ROIContourSequence ReferencedROINumber ROIDisplayColor
        ContourSequence ContourNumber ContourGeometricType NumberOfContourPoints ContourData
        RTROIObservationsSequence ObservationNumber ROIObservationLabel RTROIInterpretedType
        PredecessorStructureSetSequence""",
    # C.20.2
    "registrations": """
        RegistrationSequence MatrixRegistrationSequence MatrixSequence
        FrameOfReferenceTransformationMatrix FrameOfReferenceTransformationMatrixType""",
}
"""What stays, by the sort of object it belongs to; within listed sequences too."""
EMPTIED = """
    AccessionNumber ReferringPhysicianName StudyID PatientBirthDate PatientSex OperatorsName
    PositionReferenceIndicator ContrastBolusAgent ROIInterpreter ContentDescription
    ContentCreatorName RegistrationTypeCodeSequence"""
"""What stays without a value: an object is not whole without it."""
DUMMIES = "StructureSetLabel ContentLabel"
"""What an object must have a value of, which says nothing here."""

_EXTENSION = ".dcm"


def _tags(keywords: str) -> frozenset[BaseTag]:
    return frozenset(map(Tag, keywords.split()))


_KEPT = _tags(" ".join(KEPT.values()))
_EMPTIED, _DUMMIES = _tags(EMPTIED), _tags(DUMMIES)
_PSEUDONYM = _tags("PatientID PatientName")
_BODY_PART = Tag("BodyPartExamined")
_DUMMY_TEXT = "REMOVED"
_TEMPORAL = frozenset({"DA", "DT", "TM"})
_NUMBERS = re.compile(rb"[0-9eE+\-.\\ \0]*")
"""Decimal and integer strings, as they stand in a file (PS3.5 6.2)."""


class Replacements(Protocol):
    """What stands for what names a patient, such as the dataset's pseudonyms."""

    def patient(self, patient_id: str, /) -> str:
        """The patient's pseudonym."""

    def days(self, patient_id: str, /) -> int:
        """By how many days all of the patient's dates are moved."""

    def uid(self, uid: str, /) -> str:
        """The UID that stands for another one."""


def copy_deidentified(source: Path, target: Path, patient_id: str, pseudonyms: Replacements) -> int:
    """Copy the DICOM files of a folder, all of them or none; an earlier copy is replaced.

    Args:
        source: A folder of the export; its files are named by modality (``CT*.dcm``).
        target: The folder to create.
        patient_id: Whose files they are: decides by how much dates are shifted.
        pseudonyms: Those of the dataset.

    Returns:
        How many files there are.

    Raises:
        CaseError: A file cannot be read, is another patient's, says that text is burned into its
            pixels, or has pixels that cannot be decoded. The sentence names no patient.
        OSError: The file system refuses.
    """
    staging = target.with_name(f".{target.name}.part")
    remove_tree(staging)
    make_folder(staging)
    paths = sorted(source.glob(f"*{_EXTENSION}"))
    try:
        for path in paths:
            dataset = _read(path)
            if str(dataset.get("PatientID", "")).strip() != patient_id.strip():
                raise CaseError("One of its DICOM files is another patient's. Export it again.")
            deidentify(dataset, pseudonyms.patient(patient_id), patient_id, pseudonyms)
            name = copied_name(path.name, dataset.SOPInstanceUID)
            dataset.save_as(staging / name, enforce_file_format=True)
        remove_tree(target)
        place_folder(staging, target)
    finally:
        remove_tree(staging)
    return len(paths)


def copied_name(sort: str, uid: str) -> str:
    """The name of a file in a copy: what sort of object it is, by two letters, and its new UID."""
    return f"{sort[:2]}.{uid}{_EXTENSION}"


def deidentify(dataset: Dataset, pseudonym: str, patient_id: str, pseudonyms: Replacements) -> None:
    """De-identify one instance in place, its file meta information included.

    Args:
        dataset: As read from a file.
        pseudonym: The patient's.
        patient_id: The patient's id, for the shift of dates.
        pseudonyms: Those of the dataset.

    Raises:
        CaseError: It says that identifying text is burned into its pixels, or these cannot be
            decoded.
    """
    if str(dataset.get("BurnedInAnnotation", "NO")).strip().upper() == "YES":
        raise CaseError(
            "An image says that text is burned into its pixels (0028,0301): no DICOM copy may be "
            "made of it. Run without --dicom, or leave the case out."
        )
    if "PixelData" in dataset:
        _keep_grey_values(dataset)
    _Cleaner(pseudonym, timedelta(days=pseudonyms.days(patient_id)), pseudonyms.uid).clean(dataset)
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = list(METHOD)
    dataset.DeidentificationMethodCodeSequence = Sequence(map(_code, PROFILES))
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"
    # Anew: its preamble and private information may hold anything.
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128


def _keep_grey_values(dataset: Dataset) -> None:
    """Leave nothing in Pixel Data but the stored bits of each pixel (PS3.5 8.1.1)."""
    try:
        bits = dataset.BitsStored
        is_compressed = dataset.file_meta.TransferSyntaxUID.is_encapsulated
        if bits == dataset.BitsAllocated and not is_compressed:
            return
        if dataset.get("HighBit", bits - 1) != bits - 1:
            raise ValueError("the stored bits lie elsewhere")
        values = pixel_array(dataset)
        keep_stored_bits(values, bits)
        set_pixel_data(
            dataset, values, dataset.PhotometricInterpretation, bits, generate_instance_uid=False
        )
    except Exception:  # noqa: BLE001 - decoders and damaged files raise anything
        raise CaseError(
            "The pixels of an image cannot be decoded, and may hold more than grey values: no "
            "DICOM copy may be made of it. Run without --dicom, or leave the case out."
        ) from None


def _code(code: tuple[str, str]) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = code
    item.CodingSchemeDesignator = "DCM"
    return item


def _read(path: Path) -> Dataset:
    try:
        return read_file(path)
    except (InvalidDicomError, EOFError):
        raise CaseError("One of its DICOM files is damaged. Export it again.") from None


@dataclass(frozen=True, slots=True)
class _Cleaner:
    """The actions for one patient.

    Attributes:
        pseudonym: What stands for name and id.
        shift: What is added to dates.
        uid: Gives the UID that stands for another one.
    """

    pseudonym: str
    shift: timedelta
    uid: Callable[[str], str]

    def clean(self, dataset: Dataset) -> None:
        """Keep what is listed, at this level and in every sequence that stays."""
        for tag in list(dataset.keys()):
            if tag in _PSEUDONYM:
                dataset[tag].value = self.pseudonym
            elif tag in _EMPTIED:
                dataset[tag].value = [] if dictionary_VR(tag) == "SQ" else None
            elif tag in _DUMMIES:
                dataset[tag].value = _DUMMY_TEXT
            elif tag in _KEPT and _is_what_its_tag_says(dataset, tag):
                self._keep(dataset, tag)
            else:
                del dataset[tag]

    def _keep(self, dataset: Dataset, tag: BaseTag) -> None:
        vr = dictionary_VR(tag)
        if vr == "SQ":
            for item in dataset[tag].value:
                self.clean(item)
        elif vr == "UI":
            self._uids(dataset[tag])
        elif vr in _TEMPORAL:
            self._shift(dataset, tag)
        elif _says_something_else(dataset, tag, vr):
            dataset[tag].value = None

    def _uids(self, element: Any) -> None:
        if element.is_empty or "SOPClass" in element.keyword:
            return
        value = element.value
        values = value if isinstance(value, MultiValue) else [value]
        new = [uid if UID(uid).name != uid else UID(self.uid(uid)) for uid in map(str, values)]
        element.value = new if len(new) > 1 else new[0]

    def _shift(self, dataset: Dataset, tag: BaseTag) -> None:
        element = dataset[tag]
        if element.is_empty:
            return
        value = element.value
        values = value if isinstance(value, MultiValue) else [value]
        move = _clock if element.VR == "TM" else self._moved
        moved = [move(str(one).strip()) for one in values]
        if None in moved:  # it says when, in whatever way: nothing of it stays
            element.value = None
        else:
            element.value = moved if len(moved) > 1 else moved[0]

    def _moved(self, text: str) -> str | None:
        """A DA or DT on another day, without fractions of a second and offset from UTC."""
        found = re.fullmatch(r"(\d{8})(\d{0,6})(\.\d*)?([+-]\d{4})?", text)
        if found is None:
            return None
        try:
            day = datetime.strptime(found[1], "%Y%m%d")
            return f"{day + self.shift:%Y%m%d}{found[2]}"
        except (ValueError, OverflowError):
            return None


def _clock(text: str) -> str | None:
    """A TM without fractions of a second: those alone can tell one image from all others."""
    found = re.fullmatch(r"(\d{2,6})(\.\d*)?", text.replace(":", ""))
    return found[1] if found else None


def _is_what_its_tag_says(dataset: Dataset, tag: BaseTag) -> bool:
    """Whether an element has the VR of the dictionary, or one that nobody has written down."""
    vr = dataset.get_item(tag).VR
    return vr in (None, "UN") or str(vr)[:2] in dictionary_VR(tag)


def _says_something_else(dataset: Dataset, tag: BaseTag, vr: str) -> bool:
    """Whether a text stands where a number or one of the standard's body parts should."""
    if tag == _BODY_PART:
        return str(dataset[tag].value or "").strip() not in BODY_PARTS
    # As read, so that the points of a large structure set are not parsed for it.
    value = dataset.get_item(tag).value
    return vr in {"DS", "IS"} and isinstance(value, bytes) and not _NUMBERS.fullmatch(value)
