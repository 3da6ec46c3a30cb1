"""ESAPI's members that the product meets."""

from __future__ import annotations

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
        "UserOrigin CreationDateTime UID@16.1 Modality@18.0"
    ),
    "StructureSet": (
        "Id UID Image Patient Structures AddStructure CanAddStructure RemoveStructure "
        "CanRemoveStructure Copy Delete HistoryDateTime Series@18.0 SeriesUID@18.0"
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
        "TargetVolumeID Series SeriesUID Dose IsDoseValid"
    ),
    "Dose": (
        "UID Series SeriesUID Origin XDirection YDirection ZDirection XRes YRes ZRes XSize YSize "
        "ZSize DoseMax3D GetVoxels VoxelToDoseValue GetDoseToPoint HistoryDateTime"
    ),
    "ExternalPlanSetup": "Id",
}
