using System;
using System.Collections.Generic;
using System.Linq;
using EsapiStub;

namespace VMS.TPS.Common.Model.API
{
    /// <summary>Structures on an image. Its id is unique among the structure sets of its series.</summary>
    public class StructureSet : ApiDataObject
    {
        private const string External = "EXTERNAL";

        // What AddStructure takes, and the colour that a new structure of the type gets.
        private static readonly Dictionary<string, int[]> AddableTypes = new Dictionary<string, int[]>
        {
            ["AVOIDANCE"] = new[] { 255, 128, 0 },
            ["CAVITY"] = new[] { 255, 128, 255 },
            ["CONTRAST_AGENT"] = new[] { 128, 255, 255 },
            ["CTV"] = new[] { 255, 128, 192 },
            [External] = new[] { 0, 255, 0 },
            ["GTV"] = new[] { 255, 0, 0 },
            ["IRRAD_VOLUME"] = new[] { 192, 192, 0 },
            ["ORGAN"] = new[] { 0, 0, 255 },
            ["PTV"] = new[] { 0, 255, 255 },
            ["TREATED_VOLUME"] = new[] { 192, 0, 192 },
            ["SUPPORT"] = new[] { 128, 128, 64 },
            ["FIXATION"] = new[] { 128, 64, 0 },
            ["CONTROL"] = new[] { 255, 255, 0 },
            ["DOSE_REGION"] = new[] { 255, 255, 128 },
        };

        private readonly StructureSetRecord _record;

        internal StructureSet(Chart chart, StructureSetRecord record)
            : base(chart, record)
        {
            _record = record;
        }

        internal override bool Removed => _record.Removed;

        private List<StructureRecord> Drawn => Chart.Structures(_record);

        public new string Id
        {
            get { return base.Id; }
            set
            {
                Check();
                Chart.RequireEditable(_record);
                List<StructureSetRecord> siblings =
                    Chart.Record.SetsOfSeries(Chart.SeriesOf(_record).Uid);
                _record.Id = Ids.Check(value, siblings.Where(s => s != _record).Select(s => s.Id));
                Chart.TouchSet(_record);
            }
        }

#if ESAPI_16_1
        public new string Name
        {
            get { return base.Name; }
            set { RefuseToSet(); }
        }

        public new string Comment
        {
            get { return base.Comment; }
            set { RefuseToSet(); }
        }

#endif
        public string UID => Alive(_record).Uid;

        public Image Image => new Image(Chart, Alive(Chart).Record.ImageOf(_record));

        public Patient Patient => new Patient(Alive(Chart));

        public IEnumerable<Structure> Structures =>
            Enumerate(() => Drawn.Select(record => new Structure(Chart, record, _record)));

        /// <summary>Whether AddStructure would take this type and id.</summary>
        public bool CanAddStructure(string dicomType, string id)
        {
            Check();
            try
            {
                CheckNew(dicomType, id);
            }
            catch (Exception e) when (e is ArgumentException || e is ApplicationException)
            {
                return false;
            }
            return true;
        }

        /// <summary>Adds an empty structure.</summary>
        public Structure AddStructure(string dicomType, string id)
        {
            Check();
            Chart.RequireBegun();
            string identifier = CheckNew(dicomType, id);
            var record = new StructureRecord
            {
                Number = Drawn.Select(s => s.Number).DefaultIfEmpty(0).Max() + 1,
                Id = identifier,
                Name = identifier,
                DicomType = dicomType,
                Color = AddableTypes[dicomType],
                Redrawn = true,
            };
            Drawn.Add(record);
            Chart.TouchSet(_record);
            return new Structure(Chart, record, _record);
        }

        /// <summary>Whether RemoveStructure would remove it.</summary>
        public bool CanRemoveStructure(Structure structure) =>
            Alive(this).Holds(structure) && Chart.Obstacle(_record) == "";

        /// <summary>Removes a structure; its objects are dead from then on.</summary>
        public void RemoveStructure(Structure structure)
        {
            Check();
            Chart.RequireEditable(_record);
            if (!Holds(structure))
            {
                throw new ArgumentException($"Structure {structure.Id} is not in {Id}.");
            }
            Drawn.Remove(structure.Record);
            structure.Record.Removed = true;
            Chart.TouchSet(_record);
        }

        /// <summary>Copies the set with its structures' closed contours onto a copy of the image.</summary>
        public StructureSet Copy()
        {
            Check();
            Chart.RequireBegun();
            StructureSetRecord made =
                Chart.NewStructureSet(Chart.Record.ImageOf(_record), _record.Id);
            foreach (StructureRecord structure in Drawn)
            {
                StructureRecord copy = structure.Copy();
                copy.Redrawn = true;
                Chart.Structures(made).Add(copy);
            }
            return new StructureSet(Chart, made);
        }

        /// <summary>Deletes the set; an image copy made for it stays, as an image without a structure set.</summary>
        public void Delete()
        {
            Check();
            Chart.RequireEditable(_record);
            PatientRecord patient = Chart.Record;
            if (patient.Plans.Any(p => p.StructureSetUid == _record.Uid))
            {
                throw new ApplicationException($"Structure set {Id} is used by a plan.");
            }
            patient.StructureSets.Remove(_record);
            Chart.Touch(_record);
            _record.Removed = true;
        }

        private bool Holds(Structure structure) => Drawn.Contains(structure.Record);

        private string CheckNew(string dicomType, string id)
        {
            Chart.RequireNoObstacle(_record);
            if (dicomType == null || !AddableTypes.ContainsKey(dicomType))
            {
                throw new ArgumentException(
                    $"A structure of DICOM type '{dicomType}' cannot be added.");
            }
            if (dicomType == External && Drawn.Any(s => s.DicomType == External))
            {
                throw new ArgumentException(
                    $"Structure set {Id} has an EXTERNAL structure already.");
            }
            return Ids.Check(id, Drawn.Select(s => s.Id));
        }
    }
}
