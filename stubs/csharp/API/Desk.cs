using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;

namespace EsapiStub
{
    /// <summary>What API objects stand on: the database, who runs, and how long they live.</summary>
    internal class Desk
    {
        internal const string UserId = "stub";
        internal const string ApplicationName = "esapi_stub";
#if ESAPI_16_1
        internal const string Version = "16.1";
#else
        internal const string Version = "15.6";
#endif

        internal Desk(Database database, Script script, Lease lease)
        {
            Database = database;
            Script = script;
            Lease = lease;
        }

        internal Database Database { get; }

        internal Script Script { get; }

        internal Lease Lease { get; }

        internal bool ScriptMayWrite => Script.MayWrite(Database.Settings);

        /// <summary>Opens a patient; null for an id that is not there, letter by letter.</summary>
        internal Chart Open(string patientId)
        {
            SummaryRecord summary = Database.Patients.FirstOrDefault(p => p.Id == patientId);
            if (summary == null)
            {
                return null;
            }
            return Storage.Guard(
                $"patient {summary.Id}",
                () =>
                {
                    // The settings are read again, so that a lock made meanwhile counts.
                    Database database = Database.Open(Database.Root);
                    return new Chart(database, database.Load(summary), Script, Lease);
                });
        }
    }

    /// <summary>The open patient behind the API objects: records, what was changed, what may be changed.</summary>
    internal sealed class Chart : Desk
    {
        private readonly HashSet<string> _changedSets = new HashSet<string>();
        private readonly Dictionary<string, List<StructureRecord>> _structures =
            new Dictionary<string, List<StructureRecord>>();

        private bool _begun;

        internal Chart(Database database, PatientRecord record, Script script, Lease application)
            : base(database, script, new Lease(application))
        {
            Record = record;
        }

        internal PatientRecord Record { get; }

        internal bool Modified { get; private set; }

        internal bool MayModify => ScriptMayWrite && Database.Settings.UserCanEdit;

        internal string Folder => Database.Folder(Record.Summary);

        /// <summary>Opens the patient for writing (Patient.BeginModifications).</summary>
        internal void Begin()
        {
            string patientId = Record.Summary.Id;
            Settings settings = Database.Settings;
            if (!ScriptMayWrite)
            {
                throw new ApplicationException(
                    "No valid license to modify patient data with script.");
            }
            if (!settings.UserCanEdit)
            {
                throw new ApplicationException("The user has no right to modify patient data.");
            }
            if (settings.LockedPatients.Contains(patientId))
            {
                throw new ApplicationException($"Patient {patientId} is locked by another user.");
            }
            if (_begun)
            {
                throw new ApplicationException(
                    $"Modifications of patient {patientId} have begun already.");
            }
            _begun = true;
        }

        /// <summary>Refuses a change before BeginModifications.</summary>
        internal void RequireBegun()
        {
            if (!_begun)
            {
                throw new ApplicationException(
                    "Patient data cannot be modified before Patient.BeginModifications() is called.");
            }
        }

        /// <summary>Notes that a record was changed now.</summary>
        internal void Touch(Record record)
        {
            record.Modified = Clock.Digits(Clock.Now());
            Modified = true;
        }

        /// <summary>Notes that a structure set and its file were changed now.</summary>
        internal void TouchSet(StructureSetRecord structureSet)
        {
            Touch(structureSet);
            _changedSets.Add(structureSet.Uid);
        }

        /// <summary>UID of a new object below another; the same for the same changes.</summary>
        internal string NewUid(string parentUid) =>
            Records.DerivedUid(parentUid, Record.NextOrdinal++);

        /// <summary>Why a structure set cannot be edited; empty when it can.</summary>
        internal string Obstacle(StructureSetRecord structureSet)
        {
            if (structureSet.Approved)
            {
                return $"Structure set {structureSet.Id} is approved.";
            }
            if (Database.Settings.LockedStructureSets.Contains(structureSet.Uid))
            {
                return $"Structure set {structureSet.Id} is locked by another user.";
            }
            return "";
        }

        /// <summary>Refuses a change of a structure set that cannot be edited.</summary>
        internal void RequireEditable(StructureSetRecord structureSet)
        {
            RequireBegun();
            RequireNoObstacle(structureSet);
        }

        internal void RequireNoObstacle(StructureSetRecord structureSet)
        {
            string obstacle = Obstacle(structureSet);
            if (obstacle != "")
            {
                throw new ApplicationException(obstacle);
            }
        }

        /// <summary>Structures of a set; its file is read when first asked.</summary>
        internal List<StructureRecord> Structures(StructureSetRecord structureSet)
        {
            if (!_structures.TryGetValue(structureSet.Uid, out List<StructureRecord> found))
            {
                found = structureSet.File == "" ? new List<StructureRecord>() : Read(structureSet);
                _structures[structureSet.Uid] = found;
            }
            return found;
        }

        /// <summary>Series of the image that a structure set lies on.</summary>
        internal SeriesRecord SeriesOf(StructureSetRecord structureSet) =>
            Record.SeriesOf(Record.ImageOf(structureSet));

        /// <summary>Makes the record of a new structure set on an image, or on a new copy of it.</summary>
        /// <param name="wantedId">Id to give it if free; null for the image's.</param>
        internal StructureSetRecord NewStructureSet(ImageRecord image, string wantedId = null)
        {
            if (Record.StructureSets.Any(s => s.ImageUid == image.Uid))
            {
                image = CopyOf(image);
            }
            var taken = Record.SetsOfSeries(image.SeriesUid).Select(s => s.Id).ToList();
            var made = new StructureSetRecord
            {
                Id = Records.Unique(string.IsNullOrEmpty(wantedId) ? image.Id : wantedId, "", taken),
                Uid = NewUid(image.SeriesUid),
                ImageUid = image.Uid,
            };
            Record.StructureSets.Add(made);
            TouchSet(made);
            made.Created = made.Modified;
            return made;
        }

        /// <summary>Writes the changed structure sets beside the old, then replaces the index.</summary>
        internal void Save()
        {
            if (!Modified)
            {
                return;
            }
            var changed = Record.StructureSets.Where(s => _changedSets.Contains(s.Uid)).ToList();
            var before = changed.Select(s => s.File).ToList();
            try
            {
                Storage.Guard(
                    "the changes",
                    () =>
                    {
                        foreach (StructureSetRecord structureSet in changed)
                        {
                            structureSet.File = Write(structureSet);
                        }
                        Database.Save(Record);
                    });
            }
            catch
            {
                for (int index = 0; index < changed.Count; index++)
                {
                    changed[index].File = before[index];
                }
                throw;
            }
            foreach (StructureRecord structure in changed.SelectMany(Structures))
            {
                structure.Redrawn = false;
            }
            _changedSets.Clear();
            Modified = false;
        }

        private List<StructureRecord> Read(StructureSetRecord structureSet)
        {
            List<StructureRecord> found = Storage.Guard(
                $"structure set {structureSet.Id}",
                () => RtStruct.Read(
                    Path.Combine(Folder, structureSet.File), SeriesOf(structureSet)));
            foreach (StructureRecord structure in found)
            {
                structure.HighResolution = structureSet.HighResolution.Contains(structure.Number);
            }
            return found;
        }

        private ImageRecord CopyOf(ImageRecord image)
        {
            var taken = Record.Images.Select(i => i.Id).ToList();
            var copy = new ImageRecord
            {
                Id = Records.Numbered(Record.SeriesOf(image).Modality, taken),
                Name = image.Name,
                Comment = image.Comment,
                SeriesUid = image.SeriesUid,
                Uid = NewUid(image.Uid),
                UserOrigin = image.UserOrigin,
            };
            Touch(copy);
            copy.Created = copy.Modified;
            Record.Images.Add(copy);
            return copy;
        }

        private string Write(StructureSetRecord structureSet)
        {
            List<StructureRecord> structures = Structures(structureSet);
            structureSet.HighResolution =
                structures.Where(s => s.HighResolution).Select(s => s.Number).ToList();
            string name = $"RS.{structureSet.Uid}.{Record.Revision + 1}.dcm";
            byte[] content = RtStruct.Write(
                structureSet, structures, SeriesOf(structureSet), Folder, Clock.Now());
            Database.WriteDurably(Path.Combine(Folder, name), content);
            return name;
        }
    }
}
