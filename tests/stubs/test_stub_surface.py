"""The stub's members against ESAPI's own signatures, by reflection, for each version."""

from __future__ import annotations

import inspect
import re
from enum import IntEnum

import pytest

from esapi_stub import types
from esapi_stub.api import application, image, patient, structures
from esapi_stub.api.base import ApiDataObject, SerializableObject
from esapi_stub.surface import VERSIONS, load, versioned

CLASSES = {
    kind.__name__: kind
    for module in (application, patient, image, structures)
    for kind in vars(module).values()
    if inspect.isclass(kind) and issubclass(kind, SerializableObject)
} | {"ApiDataObject": ApiDataObject}
OBJECT = {"ToString", "Equals", "GetHashCode", "GetType"}
# What the product calls or may; `Member@version` where it begins later than the first version.
MET = {
    "Application": (
        "OpenPatientById ClosePatient SaveModifications Dispose CurrentUser "
        "PatientSummaries ScriptEnvironment OpenPatient"
    ),
    "ScriptEnvironment": "ApiVersionInfo ApplicationName",
    "PatientSummary": "Id",
    "User": "Id Name",
    "Patient": (
        "Id LastName FirstName MiddleName DateOfBirth Sex Studies StructureSets Courses "
        "Registrations BeginModifications CanModifyData HasModifiedData"
    ),
    "Study": "Id UID Series Images3D@16.1",
    "Series": "Id UID Modality FOR Images Study Comment",
    "Image": (
        "Id Series FOR Origin XDirection YDirection ZDirection XRes YRes ZRes XSize YSize "
        "ZSize ImagingOrientation Level Window DisplayUnit GetVoxels VoxelToDisplayValue "
        "CreateNewStructureSet GetImageProfile UserToDicom DicomToUser HasUserOrigin "
        "UserOrigin CreationDateTime UID@16.1"
    ),
    "StructureSet": (
        "Id UID Image Patient Structures AddStructure CanAddStructure RemoveStructure "
        "CanRemoveStructure Copy Delete HistoryDateTime"
    ),
    "Structure": (
        "Id Name DicomType Color IsEmpty HasSegment ROINumber Volume CenterPoint "
        "GetContoursOnImagePlane AddContourOnImagePlane SubtractContourOnImagePlane "
        "ClearAllContoursOnImagePlane SegmentVolume IsHighResolution "
        "CanConvertToHighResolution ConvertToHighResolution CanEditSegmentVolume "
        "IsPointInsideSegment GetNumberOfSeparateParts ApprovalHistory IsApproved@16.1"
    ),
    "Registration": (
        "UID Id SourceFOR RegisteredFOR TransformationMatrix TransformPoint "
        "InverseTransformPoint Status"
    ),
    "Course": "Id PlanSetups ExternalPlanSetups Patient",
    "PlanSetup": (
        "Id UID StructureSet Course ApprovalStatus NumberOfFractions TotalDose "
        "TargetVolumeID Series SeriesUID"
    ),
    "ExternalPlanSetup": "Id",
}


def signatures(version: str, kind: str) -> dict[str, list[str]]:
    """Signatures of a type and its bases by member name."""
    found: dict[str, list[str]] = {}
    name = f"API.{kind}"
    while name in load(version):
        for signature in load(version)[name]["members"]:
            match = re.search(r"(?:^|\s)(\w+)\s*(?:\{[^}]*\}|\([^)]*\))$", signature)
            if match:
                found.setdefault(match[1], []).append(signature)
        name = load(version)[name]["base"]
    return found


def parameters(signature: str) -> list[str]:
    """Names of a method's parameters: the last word of each, commas within <> and [] aside."""
    inner = signature[signature.index("(") + 1 : -1]
    inner = re.sub(r"<[^()]*?>|\[[^]]*\]", "", inner)
    return [part.split()[-1] for part in inner.split(",") if part.strip()]


def public(kind: type) -> list[str]:
    return [name for name in dir(kind) if not name.startswith("_") and hasattr(kind, name)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"SerializableObject"}))
def test_every_member_offered_is_esapis(version, name) -> None:
    known = signatures(version, name)
    kind = versioned(CLASSES[name], version)
    assert kind.__name__ == name
    offered = public(kind)
    assert set(offered) - OBJECT <= set(known)
    for member in set(offered) - OBJECT:
        value = inspect.getattr_static(kind, member)
        properties = [s for s in known[member] if s.endswith("}")]
        if isinstance(value, property):
            assert properties, member
            settable = any("set;" in s for s in properties)
            assert (value.fset is not None) == settable, member
        else:
            mine = list(inspect.signature(value).parameters)[1:]
            assert mine in [parameters(s) for s in known[member] if s.endswith(")")], member


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", MET)
def test_every_member_the_product_meets_is_offered(version, kind) -> None:
    for met in MET[kind].split():
        name, _, since = met.partition("@")
        offered = hasattr(versioned(CLASSES[kind], version), name)
        assert offered == (not since or float(version) >= float(since)), name


@pytest.mark.parametrize("version", VERSIONS)
def test_enums_and_structs_are_esapis(version) -> None:
    compared = 0
    for name, value in vars(types).items():
        declared = load(version).get(f"Types.{name}")
        if declared is None:
            continue
        compared += 1
        if issubclass(value, IntEnum):
            numbers = [re.search(r"(\w+) = (-?\d+)$", m) for m in declared["members"]]
            assert {m[1]: int(m[2]) for m in numbers if m} == {v.name: int(v) for v in value}
        else:
            text = " ".join(declared["members"])
            for member in public(value):
                assert re.search(rf"\b{member}\b", text), f"{name}.{member}"
    assert compared >= 9
