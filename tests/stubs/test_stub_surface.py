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
# What the product calls; `Type.Member`, with the version it begins in where that is not the first.
MET = """
Application.OpenPatientById Application.ClosePatient Application.SaveModifications
Application.Dispose Application.CurrentUser Application.PatientSummaries
Application.ScriptEnvironment Application.OpenPatient
ScriptEnvironment.ApiVersionInfo ScriptEnvironment.ApplicationName
PatientSummary.Id User.Id User.Name
Patient.Id Patient.LastName Patient.FirstName Patient.MiddleName Patient.DateOfBirth Patient.Sex
Patient.Studies Patient.StructureSets Patient.Courses Patient.Registrations
Patient.BeginModifications Patient.CanModifyData Patient.HasModifiedData
Study.Id Study.UID Study.Series Study.Images3D@16.1
Series.Id Series.UID Series.Modality Series.FOR Series.Images Series.Study Series.Comment
Image.Id Image.Series Image.FOR Image.Origin Image.XDirection Image.YDirection Image.ZDirection
Image.XRes Image.YRes Image.ZRes Image.XSize Image.YSize Image.ZSize Image.ImagingOrientation
Image.Level Image.Window Image.DisplayUnit Image.GetVoxels Image.VoxelToDisplayValue
Image.CreateNewStructureSet Image.GetImageProfile Image.UserToDicom Image.DicomToUser
Image.HasUserOrigin Image.UserOrigin Image.CreationDateTime Image.UID@16.1
StructureSet.Id StructureSet.UID StructureSet.Image StructureSet.Patient StructureSet.Structures
StructureSet.AddStructure StructureSet.CanAddStructure StructureSet.RemoveStructure
StructureSet.CanRemoveStructure StructureSet.Copy StructureSet.Delete StructureSet.HistoryDateTime
Structure.Id Structure.Name Structure.DicomType Structure.Color Structure.IsEmpty
Structure.HasSegment Structure.ROINumber Structure.Volume Structure.CenterPoint
Structure.GetContoursOnImagePlane Structure.AddContourOnImagePlane
Structure.SubtractContourOnImagePlane Structure.ClearAllContoursOnImagePlane
Structure.SegmentVolume Structure.IsHighResolution Structure.CanConvertToHighResolution
Structure.ConvertToHighResolution Structure.CanEditSegmentVolume Structure.IsPointInsideSegment
Structure.GetNumberOfSeparateParts Structure.ApprovalHistory Structure.IsApproved@16.1
Registration.UID Registration.Id Registration.SourceFOR Registration.RegisteredFOR
Registration.TransformationMatrix Registration.TransformPoint Registration.InverseTransformPoint
Registration.Status
Course.Id Course.PlanSetups Course.ExternalPlanSetups Course.Patient
PlanSetup.Id PlanSetup.UID PlanSetup.StructureSet PlanSetup.Course PlanSetup.ApprovalStatus
PlanSetup.NumberOfFractions PlanSetup.TotalDose PlanSetup.TargetVolumeID PlanSetup.Series
PlanSetup.SeriesUID ExternalPlanSetup.Id
""".split()


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
@pytest.mark.parametrize("met", MET)
def test_every_member_the_product_meets_is_offered(version, met) -> None:
    member, _, since = met.partition("@")
    kind, name = member.split(".")
    offered = hasattr(versioned(CLASSES[kind], version), name)
    assert offered == (not since or float(version) >= float(since))


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
