"""A de-identified DICOM copy of a case: PS3.15 Basic Profile, dates shifted, structure names kept.

Which attribute gets which action is table E.1-1 as dicom-anonymizer keeps it. The actions are done
here, because they must reach every sequence (a structure set's references lie nowhere else), and
UIDs and dates must be the same in all of a patient's files. Beyond the table, every UID that DICOM
does not define is replaced, every date is shifted, and what the dictionary does not know is left
out.

Not done: pixels are copied as they are. Images that say that text is burned in are refused; a face
can be made from the slices of a head.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from stardust_esapi.dicom.open_file import read_file
from stardust_esapi.errors import CaseError
from stardust_esapi.files import make_folder, place_folder, remove_tree

TABLE = "dicomfields_2026c"
METHOD = (
    "PS3.15 Basic Profile, table E.1-1 of 2026c",
    "dates shifted by a number of days per patient",
    "ROI names and ROI observation labels kept as they were",
)
"""What Deidentification Method (0012,0063) says."""
PROFILES = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
"""The codes of Deidentification Method Code Sequence (0012,0064): CID 7050."""

_EXTENSION = ".dcm"
_KEPT = frozenset(Tag(keyword) for keyword in ("ROIName", "ROIObservationLabel"))
_WITH_PSEUDONYM = frozenset(Tag(keyword) for keyword in ("PatientID", "PatientName"))
_DICOM_ROOT = "1.2.840.10008."
_PATIENT_GROUP = 0x0010
_TEMPORAL = frozenset({"DA", "DT", "TM"})
_DUMMY_TEXT = "REMOVED"
_DUMMIES: Mapping[str, Any] = {
    "AS": "000Y", "DA": "19000101", "DT": "19000101000000", "TM": "000000", "UR": "about:blank",
    "DS": "0", "IS": "0", "FD": 0.0, "FL": 0.0, "SL": 0, "SS": 0, "SV": 0, "UL": 0, "US": 0,
    "UV": 0, "OB": b"\0\0", "OW": b"\0\0", "UN": b"",
}  # fmt: skip
_TEXTS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"})
# Categories of dicom-anonymizer to what is done here. Where a type decides between an empty value
# and none, the empty value is right for both.
_ACTIONS = {
    "X_TAGS": "X", "Z_TAGS": "Z", "X_Z_TAGS": "Z", "D_TAGS": "D", "Z_D_TAGS": "D",
    "X_D_TAGS": "D", "X_Z_D_TAGS": "D", "U_TAGS": "U", "X_Z_U_STAR_TAGS": "U",
}  # fmt: skip


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
        CaseError: A file cannot be read, is another patient's, or says that text is burned into
            its pixels; or the extra is not installed. The sentence names no patient.
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
            name = f"{path.name[:2]}.{dataset.SOPInstanceUID}{_EXTENSION}"
            dataset.save_as(staging / name, enforce_file_format=True)
        remove_tree(target)
        place_folder(staging, target)
    finally:
        remove_tree(staging)
    return len(paths)


def deidentify(dataset: Dataset, pseudonym: str, patient_id: str, pseudonyms: Replacements) -> None:
    """De-identify one instance in place, its file meta information included.

    Args:
        dataset: As read from a file.
        pseudonym: The patient's.
        patient_id: The patient's id, for the shift of dates.
        pseudonyms: Those of the dataset.

    Raises:
        CaseError: It says that identifying text is burned into its pixels, or the extra is not
            installed.
    """
    if str(dataset.get("BurnedInAnnotation", "NO")).strip().upper() == "YES":
        raise CaseError(
            "An image says that text is burned into its pixels (0028,0301): no DICOM copy may be "
            "made of it. Run without --dicom, or leave the case out."
        )
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
        """Do what the table asks, at this level and in every sequence that stays."""
        rules = _rules()
        for tag in list(dataset.keys()):
            vr = _vr(dataset, tag)
            action = rules.get(tag) or _repeating(tag)
            if tag in _KEPT:
                continue
            if tag.is_private or vr is None or action == "X":
                del dataset[tag]
            elif tag in _WITH_PSEUDONYM:
                dataset[tag].value = self.pseudonym
            elif vr == "SQ":
                self._sequence(dataset, tag, action)
            elif vr == "UI":
                self._uids(dataset[tag])
            elif vr in _TEMPORAL and (action is None or tag.group != _PATIENT_GROUP):
                self._shift(dataset, tag)
            elif action == "Z":
                dataset[tag].value = None
            elif action is not None:
                dataset[tag].value = _dummy(vr)
            elif vr == "PN":  # whoever it is: the table knows of none that would stay
                dataset[tag].value = None

    def _sequence(self, dataset: Dataset, tag: BaseTag, action: str | None) -> None:
        if action == "Z":
            dataset[tag].value = []
        elif action == "D":  # of none of these a dummy says anything
            del dataset[tag]
        else:
            for item in dataset[tag].value:
                self.clean(item)

    def _uids(self, element: Any) -> None:
        if element.is_empty or "SOPClass" in element.keyword:
            return
        value = element.value
        values = value if isinstance(value, MultiValue) else [value]
        new = [
            uid if uid.startswith(_DICOM_ROOT) else UID(self.uid(uid)) for uid in map(str, values)
        ]
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


def _vr(dataset: Dataset, tag: BaseTag) -> str | None:
    """The VR of an element, which is not parsed for that; None where nobody knows it."""
    element = dataset.get_item(tag)
    vr = element.VR if element is not None else None
    if vr in (None, "UN"):
        return dictionary_VR(tag)[:2] if dictionary_has_tag(tag) else None
    return str(vr)[:2]


def _dummy(vr: str) -> Any:
    return _DUMMY_TEXT if vr in _TEXTS else _DUMMIES.get(vr)


def _repeating(tag: BaseTag) -> str | None:
    """Curves and overlays (50xx, 60xx): the table means every one of them."""
    group = tag.group & 0xFF00
    if group == 0x5000:
        return "X"
    return "X" if group == 0x6000 and tag.element in (0x3000, 0x4000) else None


@cache
def _rules() -> dict[int, str]:
    """Table E.1-1: tag to action."""
    try:
        module: Any = import_module(f"dicomanonymizer.dicom_anonymization_databases.{TABLE}")
    except ImportError:
        raise CaseError(
            "A DICOM copy needs dicom-anonymizer. Run: pip install stardust-esapi[dicom]"
        ) from None
    return {
        Tag(*tag): action
        for category, action in _ACTIONS.items()
        for tag in getattr(module, category)
        if len(tag) == 2
    }
