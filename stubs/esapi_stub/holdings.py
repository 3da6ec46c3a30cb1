"""What a stub database holds as a DICOM archive sees it: files by their headers, found by keys.

Attribute matching is that of PS3.4 C.2.2.2: single value, list of UID, universal, wildcard, range
of dates and times.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.uid import RTStructureSetStorage

from esapi_stub.database import DAMAGE, Database, DatabaseError
from esapi_stub.records import SummaryRecord

LEVELS = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
"""Levels of the Study Root model with their unique keys, from the top (PS3.4 C.6.2.1)."""

_STORED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription"),
    *("AccessionNumber", "ReferringPhysicianName"),
    *("SeriesInstanceUID", "SeriesNumber", "SeriesDate", "SeriesTime", "SeriesDescription"),
    *("Modality", "BodyPartExamined", "ProtocolName", "PatientPosition", "FrameOfReferenceUID"),
    *("Manufacturer", "ManufacturerModelName", "StationName", "OperatorsName"),
    *("SOPInstanceUID", "SOPClassUID", "InstanceNumber", "ImageType"),
    *("AcquisitionNumber", "AcquisitionDate", "AcquisitionTime"),
    *("ContentDate", "ContentTime", "ContentLabel", "ContentDescription"),
    *("InstanceCreationDate", "InstanceCreationTime", "Rows", "Columns", "NumberOfFrames"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("StructureSetLabel", "StructureSetName", "StructureSetDate", "StructureSetTime"),
    *("RTPlanLabel", "RTPlanName", "RTPlanDate", "RTPlanTime", "ApprovalStatus"),
)
_COUNTED = (
    *("ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
    "NumberOfSeriesRelatedInstances",
)
_CONTROL = ("QueryRetrieveLevel", "SpecificCharacterSet", "RetrieveAETitle")
_WITH_WILDCARDS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_WITH_RANGES = frozenset({"DA", "TM"})

Stamp = tuple[int, int, int]
Attributes = Mapping[str, DataElement]


@dataclass(frozen=True)
class Instance:
    """A file that may leave the database.

    Attributes:
        path: The file.
        sop_class: SOP Class UID.
        transfer_syntax: How its dataset is encoded.
        attributes: By keyword, what can be asked of it.
    """

    path: Path
    sop_class: str
    transfer_syntax: str
    attributes: Attributes

    def __getitem__(self, keyword: str) -> str:
        """An attribute as text; empty where the file has none."""
        element = self.attributes.get(keyword)
        return "" if element is None else str(element.value or "")

    @classmethod
    def read(cls, path: Path) -> Instance:
        """Read a file's header.

        Raises:
            OSError: It cannot be read.
            pydicom.errors.InvalidDicomError: It is not DICOM.
        """
        header = dcmread(path, stop_before_pixels=True, specific_tags=list(_STORED))
        attributes = {e.keyword: e for e in header if e.keyword in _STORED}
        syntax = header.file_meta.TransferSyntaxUID
        return cls(path, str(attributes["SOPClassUID"].value), str(syntax), attributes)


class Holdings:
    """All instances of a stub database; what was saved meanwhile is seen at the next look."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._patients: dict[Path, tuple[Stamp, dict[Path, Instance]]] = {}
        self._instances: tuple[Instance, ...] = ()

    def instances(self) -> tuple[Instance, ...]:
        """Every instance, in the order of patients and files.

        Raises:
            DatabaseError: There is no database, or it is damaged.
        """
        with self._lock:
            database = Database.open(self._root)
            try:
                patients = {
                    database.folder(s): self._patient(database, s) for s in database.patients
                }
            except (*DAMAGE, InvalidDicomError) as error:
                raise DatabaseError(f"{self._root}: cannot be read ({error}).") from error
            if patients != self._patients:
                found = [one for _, files in patients.values() for one in files.values()]
                self._patients, self._instances = patients, tuple(_counted(found))
            return self._instances

    def _patient(
        self, database: Database, summary: SummaryRecord
    ) -> tuple[Stamp, dict[Path, Instance]]:
        """A patient's instances, read where the index is another one than last time.

        No file is ever changed in place. Structure sets that a save superseded or deleted lie
        there still: the index tells.
        """
        folder = database.folder(summary)
        status = (folder / "index.json").stat()  # before the index is read: never newer than that
        stamp = status.st_ino, status.st_mtime_ns, status.st_size
        known = self._patients.get(folder)
        if known is not None and known[0] == stamp:
            return known
        headers = known[1] if known else {}
        current = {one.file for one in database.load(summary).structure_sets}
        found = {}
        for path in sorted(folder.glob("*.dcm")):
            one = headers.get(path) or Instance.read(path)
            if one.sop_class != RTStructureSetStorage or path.name in current:
                found[path] = one
        return stamp, found


def find(
    held: Iterable[Instance], keys: Dataset, level: str, *, strict: bool
) -> Iterator[tuple[Dataset, bool]]:
    """Answer a query of the Study Root model.

    Args:
        held: The archive.
        keys: The identifier of a C-FIND request.
        level: One of :data:`LEVELS`.
        strict: As :func:`select`.

    Yields:
        For each match the identifier of its response, and whether all its keys are supported.
    """
    wanted = [key for key in keys if key.keyword not in (*_CONTROL, *LEVELS.values())]
    supported = [key for key in wanted if key.keyword in (*_STORED, *_COUNTED)]
    seen = set()
    for one in select(held, keys, level, strict=strict):
        entity = one[LEVELS[level]]
        if entity not in seen and all(_fits(key, one.attributes) for key in supported):
            seen.add(entity)
            unique = [keys[uid] for uid in LEVELS.values() if uid in keys]
            yield _answer(one, [*unique, *supported], level), len(supported) == len(wanted)


def select(held: Iterable[Instance], keys: Dataset, level: str, *, strict: bool) -> list[Instance]:
    """The instances under the unique keys of a level and of those above it.

    Args:
        held: The archive.
        keys: An identifier.
        level: One of :data:`LEVELS`.
        strict: Whether nothing matches where a unique key of a level above is absent, as in
            DCMTK's dcmqrscp; else it counts as empty, as in Varian's DB Daemon.
    """
    levels = list(LEVELS)
    uids = [LEVELS[one] for one in levels[: levels.index(level) + 1]]
    if strict and any(uid not in keys for uid in uids[:-1]):
        return []
    present = [keys[uid] for uid in uids if uid in keys]
    return [one for one in held if all(_fits(key, one.attributes) for key in present)]


def _counted(found: Sequence[Instance]) -> Iterator[Instance]:
    """Instances with what depends on the others of their study and series."""
    studies: dict[str, list[Instance]] = {}
    series: dict[str, list[Instance]] = {}
    for one in found:
        studies.setdefault(one["StudyInstanceUID"], []).append(one)
        series.setdefault(one["SeriesInstanceUID"], []).append(one)
    of_study = {
        uid: _elements(
            ModalitiesInStudy=sorted({one["Modality"] for one in held}),
            NumberOfStudyRelatedSeries=len({one["SeriesInstanceUID"] for one in held}),
            NumberOfStudyRelatedInstances=len(held),
        )
        for uid, held in studies.items()
    }
    of_series = {
        uid: _elements(NumberOfSeriesRelatedInstances=len(held)) for uid, held in series.items()
    }
    for one in found:
        study, own = of_study[one["StudyInstanceUID"]], of_series[one["SeriesInstanceUID"]]
        yield replace(one, attributes={**one.attributes, **study, **own})


def _elements(**values: object) -> dict[str, DataElement]:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return {element.keyword: element for element in dataset}


def _answer(one: Instance, keys: Iterable[DataElement], level: str) -> Dataset:
    """The keys asked for, with their values."""
    answer = Dataset()
    answer.QueryRetrieveLevel = level
    for key in keys:
        held = one.attributes.get(key.keyword)
        value = None if held is None else held.value
        if key.VR == "PN" and value:
            value = str(value)  # free of the character set it was read in
        answer.add_new(key.tag, dictionary_VR(key.tag), value)
    return answer


def _fits(key: DataElement, attributes: Attributes) -> bool:
    """Whether an instance matches a key."""
    wanted = _texts(key)
    if not wanted or (wanted == ["*"] and key.VR in _WITH_WILDCARDS):
        return True
    held = _texts(attributes[key.keyword]) if key.keyword in attributes else []
    return any(_same(key.VR, one, value) for one in wanted for value in held)


def _texts(element: DataElement) -> list[str]:
    value = element.value
    several = value if isinstance(value, MultiValue) else [value]
    return [str(one) for one in several if one is not None and str(one)]


def _same(vr: str, wanted: str, held: str) -> bool:
    if vr in _WITH_RANGES and "-" in wanted:
        first, last = wanted.split("-", 1)
        return first <= held and (not last or held <= last)
    if vr not in _WITH_WILDCARDS:
        return wanted == held
    pattern = re.escape(wanted).replace(r"\*", ".*").replace(r"\?", ".")
    # Names may be compared without regard to case (PS3.4 C.2.2.2.1).
    return bool(re.fullmatch(pattern, held, re.DOTALL | (re.IGNORECASE if vr == "PN" else 0)))
