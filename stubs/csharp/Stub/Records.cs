using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Numerics;
using System.Security.Cryptography;
using System.Text;

namespace EsapiStub
{
    // What the index of a stub database knows of a patient: plain records, written as JSON (Json.cs
    // makes the names of the fields). Dates are DICOM's digits YYYYMMDDHHMMSS; empty where unknown.

    /// <summary>What every ApiDataObject has.</summary>
    internal class Record
    {
        public string Id = "";
        public string Name = "";
        public string Comment = "";
        public string Created = "";
        public string Modified = "";
    }

    internal class StudyRecord : Record
    {
        public string Uid = "";
    }

    /// <summary>One image file: its path inside the patient's folder, stored value to display value.</summary>
    internal class SliceRecord
    {
        public string Uid = "";
        public string File = "";
        public double Slope = 1.0;
        public double Intercept;
    }

    /// <summary>A series; the fields from FrameOfReferenceUid on are those of image series.</summary>
    internal class SeriesRecord : Record
    {
        public string Uid = "";
        public string StudyUid = "";
        public string Modality = "";
        public string SopClassUid = "";
        public string[] Device = { "", "", "" }; // manufacturer, model, serial number
        public string FrameOfReferenceUid = "";
        public Grid Grid; // null where the series has no images
        public string PatientPosition = "";
        public int Level;
        public int Window;
        public string Unit = "";
        public double Slope = 1.0; // voxel value to display value, for the whole image
        public double Intercept;
        public string Contrast = "";
        public List<SliceRecord> Slices = new List<SliceRecord>(); // in space order along the normal
    }

    /// <summary>A 3-D image: all slices of a series, or a copy of it made for one more structure set.</summary>
    internal class ImageRecord : Record
    {
        public string SeriesUid = "";
        public string Uid = "";
        public double[] UserOrigin; // mm; null where not set
    }

    /// <summary>A structure set; its structures stand in its RTSTRUCT file.</summary>
    internal class StructureSetRecord : Record
    {
        public string Uid = "";
        public string ImageUid = "";
        public string File = ""; // empty before it is first saved
        public bool Approved;
        public string Reviewer = "";
        public List<int> HighResolution = new List<int>(); // ROI numbers
        public bool Removed;
    }

    internal class PlanRecord : Record
    {
        public string Uid = "";
        public string CourseId = "";
        public string SeriesUid = "";
        public string StructureSetUid = "";
        public string Approval = "";
        public string Orientation = "";
        public int? Fractions;
        public double? TotalDose; // Gy
        public string TargetId = "";
    }

    /// <summary>A rigid registration: from the source's frame of reference to the registered one.</summary>
    internal class RegistrationRecord : Record
    {
        public string Uid = "";
        public string SourceFor = "";
        public string RegisteredFor = "";
        public double[][] Matrix = new double[0][]; // four rows of four, mm
    }

    /// <summary>Who a patient is.</summary>
    internal class SummaryRecord : Record
    {
        public string LastName = "";
        public string FirstName = "";
        public string MiddleName = "";
        public string Sex = "";
        public string BirthDate = "";
        public string Folder = "";
    }

    /// <summary>Everything the index knows of one patient.</summary>
    internal class PatientRecord
    {
        public SummaryRecord Summary;
        public int Revision; // counts the saves
        public int NextOrdinal = 1; // feeds the UIDs of new objects; used up by saved changes only
        public List<StudyRecord> Studies;
        public List<SeriesRecord> Series;
        public List<ImageRecord> Images;
        public List<StructureSetRecord> StructureSets;
        public List<PlanRecord> Plans;
        public List<RegistrationRecord> Registrations;

        /// <summary>Whether nothing is missing in the index that it was read of.</summary>
        internal bool IsComplete =>
            !new object[] { Summary, Studies, Series, Images, StructureSets, Plans, Registrations }.Contains(null);

        /// <summary>The series that an image belongs to.</summary>
        internal SeriesRecord SeriesOf(ImageRecord image) => Series.First(s => s.Uid == image.SeriesUid);

        /// <summary>The image that a structure set lies on.</summary>
        internal ImageRecord ImageOf(StructureSetRecord set) => Images.First(i => i.Uid == set.ImageUid);

        /// <summary>The structure sets on a series: on its image and on copies of that.</summary>
        internal List<StructureSetRecord> SetsOfSeries(string uid) =>
            StructureSets.Where(s => ImageOf(s).SeriesUid == uid).ToList();
    }

    internal static class Records
    {
        internal const int MaxId = 16;

        /// <summary>UID that depends on the parts alone, under 2.25 (PS3.5 B.2).</summary>
        internal static string DerivedUid(params object[] parts)
        {
            string text = string.Join(
                "\u001f", parts.Select(part => Convert.ToString(part, CultureInfo.InvariantCulture)));
            using (SHA256 hash = SHA256.Create())
            {
                byte[] digest = hash.ComputeHash(Encoding.UTF8.GetBytes(text));
                // BigInteger wants the lowest byte first, and a zero above so that it is positive.
                return "2.25." + new BigInteger(digest.Take(16).Reverse().Concat(new byte[1]).ToArray());
            }
        }

        /// <summary>First of CT_1, CT_2, … that is free, ignoring case; at most 16 characters.</summary>
        internal static string Numbered(string prefix, IEnumerable<string> taken)
        {
            var folded = new HashSet<string>(taken.Select(Folded));
            for (int number = 1; ; number++)
            {
                string suffix = "_" + number.ToString(CultureInfo.InvariantCulture);
                string candidate = Cut(prefix, MaxId - suffix.Length) + suffix;
                if (!folded.Contains(Folded(candidate)))
                {
                    return candidate;
                }
            }
        }

        /// <summary>What is wanted, cut to 16 characters, where that is free; else a numbered id.</summary>
        internal static string Unique(string wanted, string prefix, IEnumerable<string> taken)
        {
            string id = Cut(wanted, MaxId).Trim();
            if (id.Length == 0)
            {
                return Numbered(prefix, taken);
            }
            return taken.Any(other => Folded(other) == Folded(id)) ? Numbered(id, taken) : id;
        }

        /// <summary>Python's <c>casefold</c>, for the letters of Latin-1.</summary>
        internal static string Folded(string text) =>
            text.ToLowerInvariant().Replace("ß", "ss").Replace('\u00b5', '\u03bc');

        private static string Cut(string text, int length) =>
            text.Length > length ? text.Substring(0, length) : text;
    }
}
