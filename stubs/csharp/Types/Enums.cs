namespace VMS.TPS.Common.Model.Types
{
    public enum SeriesModality
    {
        CT = 0,
        MR = 1,
        PT = 2,
        RTIMAGE = 3,
        RTSTRUCT = 4,
        RTPLAN = 5,
        RTDOSE = 6,
        REG = 7,
        Other = 8,
    }

    public enum PatientOrientation
    {
        NoOrientation = 0,
        HeadFirstSupine = 1,
        HeadFirstProne = 2,
        HeadFirstDecubitusRight = 3,
        HeadFirstDecubitusLeft = 4,
        FeetFirstSupine = 5,
        FeetFirstProne = 6,
        FeetFirstDecubitusRight = 7,
        FeetFirstDecubitusLeft = 8,
        Sitting = 9,
    }

    public enum StructureApprovalStatus
    {
        UnApproved = 0,
        Approved = 1,
        Rejected = 2,
        Reviewed = 3,
    }

    public enum RegistrationApprovalStatus
    {
        Unapproved = 0,
        Approved = 1,
        Retired = 2,
        Reviewed = 3,
    }

    public enum PlanSetupApprovalStatus
    {
        Rejected = 0,
        UnApproved = 1,
        Reviewed = 2,
        PlanningApproved = 3,
        TreatmentApproved = 4,
        CompletedEarly = 5,
        Completed = 6,
        Retired = 7,
        UnPlannedTreatment = 8,
        ExternallyApproved = 9,
        Unknown = 999,
    }
}
