"""What a peer holds of a request: every SOP Instance UID, before anything is moved.

Study Root queries with the full hierarchy of unique keys (PS3.4 C.4.1, C.6.2). What is found is
compared with what was asked for: peers may ignore a key, and ids may hold wildcards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    RTDoseStorage,
    RTPlanStorage,
    RTStructureSetStorage,
    SpatialRegistrationStorage,
)

from stardust_esapi.dicom.instance import IMAGE_CLASSES
from stardust_esapi.errors import TransferError
from stardust_esapi.model import Kind, TransferRequest
from stardust_esapi.wording import counted

Find = Callable[[Dataset], list[Dataset]]
"""Sends one C-FIND identifier and gives what matched."""


class QueryRefusedError(TransferError):
    """The peer answered a C-FIND with a failure."""


@dataclass(frozen=True, slots=True)
class Holding:
    """Instances of one series, as the peer has them.

    Attributes:
        study_uid: Study Instance UID (0020,000D).
        series_uid: Series Instance UID (0020,000E).
        sop_class_uid: SOP Class UID (0008,0016) they must be of.
        sop_instance_uids: SOP Instance UIDs (0008,0018).
        whole_series: Whether they are all that the series has.
    """

    study_uid: str
    series_uid: str
    sop_class_uid: UID
    sop_instance_uids: tuple[str, ...]
    whole_series: bool = False


def identifier(level: str, **keys: str | list[str]) -> Dataset:
    """Make the identifier of a C-FIND, C-MOVE or C-GET; empty keys match anything."""
    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dataset


def find_holdings(find: Find, request: TransferRequest) -> list[Holding]:
    """Find the images of a request, its structure set and its registration, or its dose or plan.

    Raises:
        TransferError: The peer does not hold exactly what the request names.
    """
    if request.kind in _OBJECTS:
        return [_find_instance(find, request, request.object_uid, _OBJECTS[request.kind])]
    holdings = [_find_images(find, request)]
    if request.structure_set_uid:
        holdings.append(
            _find_instance(find, request, request.structure_set_uid, RTStructureSetStorage)
        )
    if request.registration_uid:
        holdings.append(
            _find_instance(find, request, request.registration_uid, SpatialRegistrationStorage)
        )
    return holdings


def _find_images(find: Find, request: TransferRequest) -> Holding:
    rows = find(
        identifier(
            "IMAGE",
            StudyInstanceUID=request.study_uid,
            SeriesInstanceUID=request.series_uid,
            SOPInstanceUID="",
        )
    )
    found = tuple(
        dict.fromkeys(
            uid
            for row in rows
            if row.get("SeriesInstanceUID", request.series_uid) == request.series_uid
            and (uid := _text(row, "SOPInstanceUID"))
        )
    )
    if len(found) != request.images or not found:
        raise TransferError(
            f"the peer holds {len(found):,} of its {counted(request.images, 'image')}. Wait until "
            "Eclipse and the peer agree (an import may be going on), or check the series there, "
            "then run again."
        )
    return Holding(
        request.study_uid,
        request.series_uid,
        IMAGE_CLASSES[request.kind.modality],
        found,
        whole_series=True,
    )


_OBJECTS = {Kind.DOSE: RTDoseStorage, Kind.PLAN: RTPlanStorage}
_WORDS = {
    RTStructureSetStorage: ("structure set", "RTSTRUCT"),
    SpatialRegistrationStorage: ("registration", "REG"),
    RTDoseStorage: ("dose", "RTDOSE"),
    RTPlanStorage: ("plan", "RTPLAN"),
}


def _find_instance(find: Find, request: TransferRequest, uid: str, sop_class: UID) -> Holding:
    """Find the series of one instance.

    Most peers match an instance whatever its series. Strict ones need the series: they are asked
    for all of the modality, first in the request's study, then in the patient's others.
    """
    what, modality = _WORDS[sop_class]
    try:
        series = _series_of(find, request.study_uid, "", uid)
    except QueryRefusedError:
        series = ""
    if series:
        return Holding(request.study_uid, series, sop_class, (uid,))
    for study in _studies(find, request):
        for row in find(
            identifier("SERIES", StudyInstanceUID=study, SeriesInstanceUID="", Modality=modality)
        ):
            candidate = _text(row, "SeriesInstanceUID")
            if row.get("Modality", modality) == modality and candidate:
                series = _series_of(find, study, candidate, uid)
                if series:
                    return Holding(study, series, sop_class, (uid,))
    raise TransferError(
        f"the peer does not hold its {what} {uid}, neither in study {request.study_uid} nor in "
        "others of the patient. Check that it was saved in Eclipse, then run again."
    )


def _series_of(find: Find, study: str, series: str, uid: str) -> str:
    """The series that an instance lies in; empty where the peer does not tell."""
    rows = find(
        identifier("IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=uid)
    )
    for row in rows:
        if row.get("SOPInstanceUID") == uid:
            return _text(row, "SeriesInstanceUID") or series
    return ""


def _studies(find: Find, request: TransferRequest) -> Iterator[str]:
    yield request.study_uid
    for study in studies_of(find, request.patient_id):
        if study != request.study_uid:
            yield study


def studies_of(find: Find, patient_id: str) -> Iterator[str]:
    """The Study Instance UIDs that a peer has of a patient."""
    # Bytes beyond ASCII match or not by the character set of either side: leave them open, and
    # compare what comes back.
    pattern = "".join(c if c.isascii() else "*" for c in patient_id)
    for row in find(identifier("STUDY", PatientID=pattern, StudyInstanceUID="")):
        study = _text(row, "StudyInstanceUID")
        if study and _text(row, "PatientID") == patient_id:
            yield study


def _text(row: Dataset, keyword: str) -> str:
    return str(row.get(keyword) or "").strip()
