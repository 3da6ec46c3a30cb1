"""Which properties of ESAPI a recording asks for, and by what sort their values are told.

Left out on purpose: everything that describes or dates, but for whether there is something.
"""

from __future__ import annotations

from collections.abc import Mapping

_COMMON = {
    "id": "Id Name",
    "name": "HistoryUserName",
    "presence": "Comment",
    "date": "HistoryDateTime",
}


def _with_common(**own: str) -> Mapping[str, str]:
    return {sort: f"{_COMMON.get(sort, '')} {own.get(sort, '')}" for sort in {**_COMMON, **own}}


MEMBERS: Mapping[str, Mapping[str, str]] = {
    "ScriptEnvironment": {"version": "VersionInfo ApiVersionInfo"},
    "Patient": {
        "name": "LastName FirstName MiddleName SSN HistoryUserName",
        "id": "Id Id2",
        "presence": "Sex Comment",
        "date": "DateOfBirth CreationDateTime HistoryDateTime",
        "number": "HasModifiedData CanModifyData()",
    },
    "Study": _with_common(id="UID", date="CreationDateTime"),
    "Series": _with_common(
        id="UID FOR",
        word="Modality",
        presence="ImagingDeviceManufacturer ImagingDeviceModel ImagingDeviceSerialNo",
    ),
    "Image": _with_common(
        id="UID FOR",
        number="XSize YSize ZSize XRes YRes ZRes Level Window HasUserOrigin IsProcessed",
        vector="Origin XDirection YDirection ZDirection",
        word="ImagingOrientation Modality",
        date="CreationDateTime",
        presence="ContrastBolusAgentIngredientName DisplayUnit",
    ),
    "StructureSet": _with_common(id="UID SeriesUID", presence="Series"),
    "Structure": _with_common(
        word="DicomType",
        number=(
            "ROINumber IsEmpty HasSegment IsHighResolution IsApproved IsTarget Volume "
            "CanConvertToHighResolution()"
        ),
        color="Color",
        approvals="ApprovalHistory",
    ),
    "Registration": _with_common(
        id="UID SourceFOR RegisteredFOR", word="Status", date="CreationDateTime"
    ),
    "Course": {"id": "Id"},
    "PlanSetup": _with_common(
        id="UID SeriesUID TargetVolumeID",
        uid="StructureSet",
        word="ApprovalStatus TreatmentOrientation",
        number="NumberOfFractions",
        date="CreationDateTime",
    ),
}
"""By type and by sort (:attr:`stardust_esapi.trace.conceal.Concealer.sorts`)."""
