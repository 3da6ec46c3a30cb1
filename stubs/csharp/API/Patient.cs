using System;
using System.Collections.Generic;
using System.Linq;
using EsapiStub;
using VMS.TPS.Common.Model.Types;

namespace VMS.TPS.Common.Model.API
{
    /// <summary>The open patient.</summary>
    public class Patient : ApiDataObject
    {
        private readonly SummaryRecord _record;
        private readonly PatientRecord _all;

        internal Patient(Chart chart)
            : base(chart, chart.Record.Summary)
        {
            _record = chart.Record.Summary;
            _all = chart.Record;
        }

        public string Id2 => Alive("");

        public string SSN => Alive("");

#if ESAPI_16_1
        public string FirstName
        {
            get { return Alive(_record).FirstName; }
            set { RefuseToSet(); }
        }

        public string MiddleName
        {
            get { return Alive(_record).MiddleName; }
            set { RefuseToSet(); }
        }

        public string LastName
        {
            get { return Alive(_record).LastName; }
            set { RefuseToSet(); }
        }
#else
        public string FirstName => Alive(_record).FirstName;

        public string MiddleName => Alive(_record).MiddleName;

        public string LastName => Alive(_record).LastName;
#endif

        public string Sex => Alive(_record).Sex;

        public DateTime? DateOfBirth => Clock.Date(Alive(_record).BirthDate);

        public DateTime? CreationDateTime => Clock.Date(Alive(_record).Created);

        public IEnumerable<Course> Courses =>
            Enumerate(() => _all.Plans.Select(p => p.CourseId).Distinct().Select(id => new Course(Chart, id)));

        public IEnumerable<Study> Studies =>
            Enumerate(() => _all.Studies.Select(s => new Study(Chart, s)));

        public IEnumerable<StructureSet> StructureSets =>
            Enumerate(() => _all.StructureSets.Select(s => new StructureSet(Chart, s)));

        public IEnumerable<Registration> Registrations =>
            Enumerate(() => _all.Registrations.Select(r => new Registration(Chart, r)));

        /// <summary>Whether something was changed and not saved.</summary>
        public bool HasModifiedData => Alive(Chart).Modified;

        /// <summary>Whether script, approval and the user's rights allow changes; says nothing of locks.</summary>
        public bool CanModifyData() => Alive(Chart).MayModify;

        /// <summary>Opens the patient for writing, once.</summary>
        public void BeginModifications()
        {
            Alive(Chart).Begin();
        }
    }

    public class Study : ApiDataObject
    {
        private readonly StudyRecord _record;

        internal Study(Chart chart, StudyRecord record)
            : base(chart, record)
        {
            _record = record;
        }

        public string UID => Alive(_record).Uid;

        public DateTime? CreationDateTime => Clock.Date(Alive(_record).Created);

        public IEnumerable<Series> Series => Enumerate(MakeSeries);

#if ESAPI_16_1
        public IEnumerable<Image> Images3D =>
            Enumerate(() => MakeSeries().SelectMany(s => s.MakeImages()).Where(i => i.ZSize > 1));

#endif
        private IEnumerable<Series> MakeSeries() =>
            Chart.Record.Series.Where(s => s.StudyUid == _record.Uid).Select(s => new Series(Chart, s));
    }

    public class Course : ApiDataObject
    {
        private readonly string _id;

        internal Course(Chart chart, string id)
            : base(chart, new Record { Id = id })
        {
            _id = id;
        }

        // A course has no record that lasts: only its id.
        internal override object Identity => _id;

        public new string Id
        {
            get { return base.Id; }
            set { RefuseToSet(); }
        }

        public Patient Patient => new Patient(Alive(Chart));

        public IEnumerable<PlanSetup> PlanSetups => Enumerate<PlanSetup>(MakePlans);

        public IEnumerable<ExternalPlanSetup> ExternalPlanSetups => Enumerate(MakePlans);

        private IEnumerable<ExternalPlanSetup> MakePlans() =>
            Chart.Record.Plans.Where(p => p.CourseId == _id).Select(p => new ExternalPlanSetup(Chart, p));
    }

    public class PlanningItem : ApiDataObject
    {
        private readonly PlanRecord _record;

        internal PlanningItem(Chart chart, PlanRecord record)
            : base(chart, record)
        {
            _record = record;
        }

        public DateTime? CreationDateTime => Clock.Date(Alive(_record).Created);

#if ESAPI_16_1
        public Course Course => new Course(Alive(Chart), _record.CourseId);

#endif
        /// <summary>The structure set it was made on; null where that is not in the database.</summary>
        public StructureSet StructureSet
        {
            get
            {
                StructureSetRecord found = Alive(Chart).Record.StructureSets
                    .FirstOrDefault(s => s.Uid == _record.StructureSetUid);
                return found == null ? null : new StructureSet(Chart, found);
            }
        }
    }

    public class PlanSetup : PlanningItem
    {
        private readonly PlanRecord _record;

        internal PlanSetup(Chart chart, PlanRecord record)
            : base(chart, record)
        {
            _record = record;
        }

        public new string Id
        {
            get { return base.Id; }
            set { RefuseToSet(); }
        }

        public string UID => Alive(_record).Uid;

#if !ESAPI_16_1
        public Course Course => new Course(Alive(Chart), _record.CourseId);

#endif
        /// <summary>Series of the RT Plan.</summary>
        public Series Series =>
            new Series(Chart, Alive(Chart).Record.Series.First(s => s.Uid == _record.SeriesUid));

        public string SeriesUID => Alive(_record).SeriesUid;

        public PlanSetupApprovalStatus ApprovalStatus
        {
            get
            {
                switch (Alive(_record).Approval)
                {
                    case "APPROVED": return PlanSetupApprovalStatus.PlanningApproved;
                    case "UNAPPROVED": return PlanSetupApprovalStatus.UnApproved;
                    case "REJECTED": return PlanSetupApprovalStatus.Rejected;
                    default: return PlanSetupApprovalStatus.Unknown;
                }
            }
        }

        public int? NumberOfFractions => Alive(_record).Fractions;

        public DoseValue TotalDose =>
            Alive(_record).TotalDose is double dose
                ? new DoseValue(dose, DoseValue.DoseUnit.Gy)
                : DoseValue.UndefinedDose();

        public DoseValue DosePerFraction
        {
            get
            {
                DoseValue total = TotalDose;
                int fractions = _record.Fractions ?? 0;
                return new DoseValue(
                    fractions == 0 ? double.NaN : total.Dose / fractions, total.Unit);
            }
        }

        /// <summary>Structure that the dose is prescribed to; empty where the plan does not say.</summary>
        public string TargetVolumeID => Alive(_record).TargetId;

        public PatientOrientation TreatmentOrientation => Image.Orientation(Alive(_record).Orientation);
    }

    public class ExternalPlanSetup : PlanSetup
    {
        internal ExternalPlanSetup(Chart chart, PlanRecord record)
            : base(chart, record)
        {
        }
    }

    /// <summary>A rigid transform from one frame of reference to another.</summary>
    public class Registration : ApiDataObject
    {
        private readonly RegistrationRecord _record;

        internal Registration(Chart chart, RegistrationRecord record)
            : base(chart, record)
        {
            _record = record;
        }

        public string UID => Alive(_record).Uid;

        public DateTime? CreationDateTime => Clock.Date(Alive(_record).Created);

        public string SourceFOR => Alive(_record).SourceFor;

        public string RegisteredFOR => Alive(_record).RegisteredFor;

        /// <summary>DICOM does not carry it.</summary>
        public RegistrationApprovalStatus Status => Alive(RegistrationApprovalStatus.Unapproved);

        /// <summary>The transform from SourceFOR to RegisteredFOR, mm; a copy.</summary>
        public double[,] TransformationMatrix
        {
            get
            {
                Check();
                var matrix = new double[4, 4];
                for (int at = 0; at < matrix.Length; at++)
                {
                    matrix[at / 4, at % 4] = _record.Matrix[at / 4][at % 4];
                }
                return matrix;
            }
        }

        /// <summary>Takes a point from SourceFOR to RegisteredFOR, mm.</summary>
        public VVector TransformPoint(VVector pt) => Affine.Apply(TransformationMatrix, pt);

        /// <summary>Takes a point from RegisteredFOR to SourceFOR, mm.</summary>
        public VVector InverseTransformPoint(VVector pt) =>
            Affine.Apply(Affine.Inverse(TransformationMatrix), pt);
    }
}
