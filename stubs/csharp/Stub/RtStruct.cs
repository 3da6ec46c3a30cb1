using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text;

namespace EsapiStub
{
    using Contours = SortedDictionary<int, List<Vec3[]>>;

    /// <summary>One ROI.</summary>
    internal class StructureRecord
    {
        public int Number;
        public string Id = ""; // the ROI Name, cut to 16 characters and unique in its set
        public string Name = "";
        public string DicomType = "";
        public int[] Color = RtStruct.White.ToArray();
        public string Comment = "";
        public Contours Contours = new Contours(); // plane to closed contours, mm, as in the file
        public bool HighResolution;
        public int OffPlane; // closed contours that lie on no plane of the image and are not seen
        public bool Redrawn; // whether contours were changed since the file was read
        public bool Removed;

        /// <summary>A copy that shares nothing with this one.</summary>
        internal StructureRecord Copy()
        {
            var copy = (StructureRecord)MemberwiseClone();
            copy.Color = Color.ToArray();
            copy.Contours = new Contours(
                Contours.ToDictionary(
                    plane => plane.Key,
                    plane => plane.Value.Select(polygon => polygon.ToArray()).ToList()));
            return copy;
        }
    }

    /// <summary>
    /// Reads RT Structure Sets into structures, and writes them (PS3.3 A.19, C.8.8.5 to C.8.8.8). A
    /// port of esapi_stub/rtstruct.py.
    /// </summary>
    internal static class RtStruct
    {
        internal static readonly int[] White = { 255, 255, 255 };

        private const string Closed = "CLOSED_PLANAR";
        private const string StructureSetStorage = "1.2.840.10008.5.1.4.1.1.481.3";

        // Contours of one plane that was drawn once lie this close together, in plane distances.
        private const double SameLevel = 0.01;

        // Study Component Management (retired): what Eclipse writes, and readers expect, in this place.
        private const string StudyComponent = "1.2.840.10008.3.1.2.3.2";

        private static readonly uint[] PatientAndStudy =
        {
            Tags.PatientName, Tags.PatientId, Tags.PatientBirthDate, Tags.PatientSex,
            Tags.StudyDate, Tags.StudyTime, Tags.StudyId, Tags.AccessionNumber,
            Tags.ReferringPhysicianName,
        };

        /// <summary>Read the structures, with their contours on the planes of the series.</summary>
        /// <remarks>
        /// A contour belongs to the nearest plane, within half a plane distance; where contours of
        /// several heights are nearest to one plane, those of the nearest height do.
        /// </remarks>
        internal static List<StructureRecord> Read(string path, SeriesRecord series)
        {
            Dataset dataset = DicomFile.Read(path).Dataset;
            Dictionary<int, Dataset> drawn = ByNumber(dataset, Tags.RoiContourSequence);
            Dictionary<int, Dataset> observed = ByNumber(dataset, Tags.RtRoiObservationsSequence);
            var structures = new List<StructureRecord>();
            foreach (Dataset roi in dataset.Items(Tags.StructureSetRoiSequence))
            {
                int number = roi.Integer(Tags.RoiNumber);
                Dataset contours = Find(drawn, number) ?? new Dataset();
                Dataset observation = Find(observed, number) ?? new Dataset();
                string name = roi.Text(Tags.RoiName) ?? "";
                var structure = new StructureRecord
                {
                    Number = number,
                    Id = Records.Unique(name, "Structure", structures.Select(s => s.Id)),
                    Name = name,
                    DicomType = observation.Text(Tags.RtRoiInterpretedType) ?? "",
                    Color = Color(contours.Text(Tags.RoiDisplayColor)),
                    Comment = roi.Text(Tags.RoiDescription) ?? "",
                };
                string frame = roi.Text(Tags.ReferencedFrameOfReferenceUid) ?? series.FrameOfReferenceUid;
                Place(
                    structure,
                    contours.Items(Tags.ContourSequence).Where(IsClosed).Select(Points),
                    frame == series.FrameOfReferenceUid ? series.Grid : null);
                structures.Add(structure);
            }
            return structures;
        }

        /// <summary>Make the file of a structure set.</summary>
        /// <remarks>
        /// What the set's file already holds and nobody changed is kept as it is; a new set takes
        /// patient and study from the images.
        /// </remarks>
        internal static byte[] Write(
            StructureSetRecord set,
            IList<StructureRecord> structures,
            SeriesRecord series,
            string folder,
            DateTime moment)
        {
            DicomFile file;
            if (set.File.Length > 0)
            {
                file = DicomFile.Read(Path.Combine(folder, set.File));
            }
            else
            {
                string image = Path.Combine(folder, series.Slices[0].File);
                Dataset first = DicomFile.Read(image, Tags.PixelData).Dataset;
                file = new DicomFile { Dataset = New(set, series, first) };
            }
            Dataset dataset = file.Dataset;
            dataset.SetText(Tags.StructureSetLabel, set.Id);
            dataset.SetText(
                Tags.StructureSetDate, moment.ToString("yyyyMMdd", CultureInfo.InvariantCulture));
            dataset.SetText(
                Tags.StructureSetTime, moment.ToString("HHmmss", CultureInfo.InvariantCulture));
            Dictionary<int, Dataset> rois = ByNumber(
                dataset, Tags.StructureSetRoiSequence, Tags.RoiNumber);
            Dictionary<int, Dataset> drawn = ByNumber(dataset, Tags.RoiContourSequence);
            Dictionary<int, Dataset> observed = ByNumber(dataset, Tags.RtRoiObservationsSequence);
            // An item must lie in its sequence before text is put into it: that tells its character set.
            SetItems(dataset, Tags.StructureSetRoiSequence, structures, rois);
            SetItems(dataset, Tags.RoiContourSequence, structures, drawn);
            SetItems(dataset, Tags.RtRoiObservationsSequence, structures, observed);
            for (int i = 0; i < structures.Count; i++)
            {
                Roi(structures[i], dataset.Items(Tags.StructureSetRoiSequence)[i], series);
                Drawn(structures[i], dataset.Items(Tags.RoiContourSequence)[i], series);
                Observation(structures[i], dataset.Items(Tags.RtRoiObservationsSequence)[i]);
            }
            return file.Write();
        }

        private static void SetItems(
            Dataset dataset, uint tag, IList<StructureRecord> structures, Dictionary<int, Dataset> items) =>
            dataset.SetItems(tag, structures.Select(s => Find(items, s.Number) ?? new Dataset()));

        private static Dictionary<int, Dataset> ByNumber(
            Dataset dataset, uint tag, uint number = Tags.ReferencedRoiNumber)
        {
            var found = new Dictionary<int, Dataset>();
            foreach (Dataset item in dataset.Items(tag))
            {
                found[item.Integer(number)] = item;
            }
            return found;
        }

        private static Dataset Find(Dictionary<int, Dataset> items, int number)
        {
            Dataset found;
            items.TryGetValue(number, out found);
            return found;
        }

        private static bool IsClosed(Dataset contour) => contour.Text(Tags.ContourGeometricType) == Closed;

        /// <summary>Contour Data (3006,0050), mm.</summary>
        private static Vec3[] Points(Dataset contour)
        {
            string text = contour.Text(Tags.ContourData);
            if (string.IsNullOrEmpty(text))
            {
                return new Vec3[0];
            }
            double[] numbers = text.Split('\\').Select(Floats.Parse).ToArray();
            if (numbers.Length % 3 != 0)
            {
                throw new InvalidDataException("a contour has no whole points");
            }
            return Enumerable.Range(0, numbers.Length / 3)
                .Select(i => new Vec3(numbers[3 * i], numbers[3 * i + 1], numbers[3 * i + 2]))
                .ToArray();
        }

        private static int[] Color(string text)
        {
            string[] parts = (text ?? "").Split('\\');
            if (parts.Length != 3)
            {
                return White.ToArray();
            }
            return parts
                .Select(part => int.Parse(part, NumberStyles.Integer, CultureInfo.InvariantCulture))
                .Select(part => Math.Min(255, Math.Max(0, part)))
                .ToArray();
        }

        /// <summary>Sort contours by the plane they lie on; count those of none.</summary>
        private static void Place(StructureRecord structure, IEnumerable<Vec3[]> contours, Grid grid)
        {
            var found = new SortedDictionary<int, List<KeyValuePair<double, Vec3[]>>>();
            foreach (Vec3[] points in contours)
            {
                if (grid == null || points.Length < 3)
                {
                    structure.OffPlane++;
                    continue;
                }
                double[] heights = points.Select(point => grid.ToIndex(point).Z).ToArray();
                double height = Floats.Sum(heights) / heights.Length;
                int plane = (int)Math.Min(Math.Max(Floats.Rint(height), 0.0), grid.Size[2] - 1);
                if (heights.Max(one => Math.Abs(one - plane)) > 0.5 + SameLevel)
                {
                    structure.OffPlane++;
                    continue;
                }
                if (!found.ContainsKey(plane))
                {
                    found[plane] = new List<KeyValuePair<double, Vec3[]>>();
                }
                found[plane].Add(new KeyValuePair<double, Vec3[]>(Math.Abs(height - plane), points));
            }
            foreach (KeyValuePair<int, List<KeyValuePair<double, Vec3[]>>> plane in found)
            {
                double nearest = plane.Value.Min(one => one.Key);
                List<Vec3[]> kept = plane.Value
                    .Where(one => one.Key <= nearest + SameLevel)
                    .Select(one => one.Value)
                    .ToList();
                structure.Contours[plane.Key] = kept;
                structure.OffPlane += plane.Value.Count - kept.Count;
            }
        }

        private static Dataset New(StructureSetRecord set, SeriesRecord series, Dataset image)
        {
            var dataset = new Dataset();
            dataset.SetText(Tags.SpecificCharacterSet, "ISO_IR 192");
            foreach (uint tag in PatientAndStudy)
            {
                dataset.SetText(tag, image.Text(tag) ?? "");
            }
            dataset.SetUid(Tags.StudyInstanceUid, image.Text(Tags.StudyInstanceUid) ?? "");
            dataset.SetUid(Tags.SopClassUid, StructureSetStorage);
            dataset.SetUid(Tags.SopInstanceUid, set.Uid);
            dataset.SetText(Tags.Modality, "RTSTRUCT");
            dataset.SetUid(Tags.SeriesInstanceUid, Records.DerivedUid(set.Uid, "series"));
            dataset.SetText(Tags.SeriesNumber, "");
            dataset.SetText(Tags.OperatorsName, "");
            dataset.SetText(Tags.Manufacturer, "esapi_stub");
            dataset.SetUid(Tags.FrameOfReferenceUid, series.FrameOfReferenceUid);
            dataset.SetText(Tags.PositionReferenceIndicator, "");
            dataset.SetText(Tags.InstanceNumber, "1");
            dataset.SetText(Tags.ApprovalStatus, "UNAPPROVED");
            var images = new Dataset();
            images.SetUid(Tags.SeriesInstanceUid, series.Uid);
            images.SetItems(
                Tags.ContourImageSequence,
                Enumerable.Range(0, series.Slices.Count).Select(plane => Reference(series, plane)));
            var study = new Dataset();
            study.SetUid(Tags.ReferencedSopClassUid, StudyComponent);
            study.SetUid(Tags.ReferencedSopInstanceUid, series.StudyUid);
            study.SetItems(Tags.RtReferencedSeriesSequence, new[] { images });
            var frame = new Dataset();
            frame.SetUid(Tags.FrameOfReferenceUid, series.FrameOfReferenceUid);
            frame.SetItems(Tags.RtReferencedStudySequence, new[] { study });
            dataset.SetItems(Tags.ReferencedFrameOfReferenceSequence, new[] { frame });
            return dataset;
        }

        private static void Roi(StructureRecord structure, Dataset item, SeriesRecord series)
        {
            if (!item.Has(Tags.RoiNumber))
            {
                SetInteger(item, Tags.RoiNumber, structure.Number);
                item.SetUid(Tags.ReferencedFrameOfReferenceUid, series.FrameOfReferenceUid);
                item.SetText(Tags.RoiGenerationAlgorithm, "");
            }
            item.SetText(Tags.RoiName, structure.Name);
        }

        private static void Drawn(StructureRecord structure, Dataset item, SeriesRecord series)
        {
            if (!item.Has(Tags.ReferencedRoiNumber))
            {
                SetInteger(item, Tags.ReferencedRoiNumber, structure.Number);
            }
            if (item.Has(Tags.RoiDisplayColor) || !structure.Color.SequenceEqual(White) || structure.Redrawn)
            {
                item.SetText(Tags.RoiDisplayColor, string.Join("\\", structure.Color));
            }
            if (!structure.Redrawn)
            {
                return;
            }
            List<Dataset> contours = item.Items(Tags.ContourSequence).Where(c => !IsClosed(c)).ToList();
            foreach (KeyValuePair<int, List<Vec3[]>> plane in structure.Contours)
            {
                contours.AddRange(plane.Value.Select(points => Contour(points, series, plane.Key)));
            }
            if (contours.Count > 0)
            {
                item.SetItems(Tags.ContourSequence, contours);
            }
            else
            {
                item.Elements.Remove(Tags.ContourSequence);
            }
        }

        private static void Observation(StructureRecord structure, Dataset item)
        {
            if (!item.Has(Tags.ReferencedRoiNumber))
            {
                SetInteger(item, Tags.ObservationNumber, structure.Number);
                SetInteger(item, Tags.ReferencedRoiNumber, structure.Number);
                item.SetText(Tags.RtRoiInterpretedType, structure.DicomType);
                item.SetText(Tags.RoiInterpreter, "");
            }
        }

        private static Dataset Contour(Vec3[] points, SeriesRecord series, int plane)
        {
            var item = new Dataset();
            item.SetItems(Tags.ContourImageSequence, new[] { Reference(series, plane) });
            item.SetText(Tags.ContourGeometricType, Closed);
            SetInteger(item, Tags.NumberOfContourPoints, points.Length);
            IEnumerable<string> numbers = points.SelectMany(p => p.ToArray()).Select(Floats.DecimalString);
            item.SetBytes(Tags.ContourData, Encoding.ASCII.GetBytes(string.Join("\\", numbers)));
            return item;
        }

        private static Dataset Reference(SeriesRecord series, int plane)
        {
            var item = new Dataset();
            item.SetUid(Tags.ReferencedSopClassUid, series.SopClassUid);
            item.SetUid(Tags.ReferencedSopInstanceUid, series.Slices[plane].Uid);
            return item;
        }

        private static void SetInteger(Dataset item, uint tag, int value) =>
            item.SetText(tag, value.ToString(CultureInfo.InvariantCulture));
    }
}
