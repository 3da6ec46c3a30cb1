using System;
using System.Collections.Generic;
using System.Linq;
using System.Windows.Media;
using EsapiStub;
using VMS.TPS.Common.Model.Types;

namespace VMS.TPS.Common.Model.API
{
    /// <summary>The shape of a structure at the time it was asked for.</summary>
    public class SegmentVolume : SerializableObject
    {
        internal SegmentVolume(
            Desk desk,
            SortedDictionary<int, List<Vec3[]>> contours,
            Grid grid,
            string frameOfReferenceUid,
            bool highResolution)
            : base(desk)
        {
            Contours = contours;
            Grid = grid;
            FrameOfReferenceUid = frameOfReferenceUid;
            HighResolution = highResolution;
        }

        internal SortedDictionary<int, List<Vec3[]>> Contours { get; }

        /// <summary>Grid of the image that they were drawn on.</summary>
        internal Grid Grid { get; }

        internal string FrameOfReferenceUid { get; }

        internal bool HighResolution { get; }
    }

    /// <summary>A structure. Its id is unique in its structure set.</summary>
    public class Structure : ApiDataObject
    {
        private readonly StructureSetRecord _set;

        /// <param name="structureSet">The set it stands in.</param>
        internal Structure(Chart chart, StructureRecord record, StructureSetRecord structureSet)
            : base(chart, null)
        {
            Record = record;
            _set = structureSet;
        }

        internal StructureRecord Record { get; }

        internal override bool Removed => Record.Removed || _set.Removed;

        internal override object Identity => Record;

        internal override string IdText => Record.Id;

        internal override string NameText => Record.Name;

        internal override string CommentText => Record.Comment;

        /// <summary>When its structure set was changed.</summary>
        internal override DateTime? Changed => Clock.Date(_set.Modified);

        private Grid Grid => Chart.SeriesOf(_set).Grid;

        public new string Id
        {
            get { return base.Id; }
            set
            {
                RequireEditable();
                IEnumerable<StructureRecord> others =
                    Chart.Structures(_set).Where(s => s != Record);
                Record.Id = Record.Name = Ids.Check(value, others.Select(s => s.Id));
                Touch();
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
        public int ROINumber => Alive(Record).Number;

        /// <summary>RT ROI Interpreted Type; may be empty.</summary>
        public string DicomType => Alive(Record).DicomType;

        public Color Color
        {
            get
            {
                int[] color = Alive(Record).Color;
                return Color.FromRgb((byte)color[0], (byte)color[1], (byte)color[2]);
            }
#if ESAPI_16_1
            set
            {
                RequireEditable();
                Record.Color = new int[] { value.R, value.G, value.B };
                Touch();
            }
#endif
        }

        /// <summary>Its approval; the last entry holds.</summary>
        public IEnumerable<StructureApprovalHistoryEntry> ApprovalHistory
        {
            get
            {
                string user = Alive(_set).Reviewer == "" ? Desk.UserId : _set.Reviewer;
                var entry = new StructureApprovalHistoryEntry
                {
                    ApprovalStatus = _set.Approved
                        ? StructureApprovalStatus.Approved
                        : StructureApprovalStatus.UnApproved,
                    StatusComment = "",
                    UserId = user,
                    UserDisplayName = user,
                    ApprovalDateTime = HistoryDateTime,
                };
                return Enumerate(() => new[] { entry });
            }
        }

#if ESAPI_16_1
        public bool IsApproved => Alive(_set).Approved;

#endif
        /// <summary>Whether nothing is drawn; a point or an open line is not a segment.</summary>
        public bool IsEmpty => Alive(Record).Contours.Count == 0;

        public bool HasSegment => !IsEmpty;

        public bool IsHighResolution => Alive(Record).HighResolution;

        /// <summary>Volume, cm³: area on every plane times the plane distance.</summary>
        public double Volume =>
            Floats.Sum(Alive(this).Sections().Select(s => s.Area).ToList()) * Grid.Spacing[2] / 1000;

        /// <summary>Centre of the volume, patient space, mm; NaN of an empty structure.</summary>
        public VVector CenterPoint
        {
            get
            {
                Check();
                List<Section> sections = Sections();
                if (sections.Count == 0)
                {
                    return new VVector(double.NaN, double.NaN, double.NaN);
                }
                Grid grid = Grid;
                List<Vec3> centers = sections
                    .Select(s => new Vec3(
                        s.Centroid.X / grid.Spacing[0], s.Centroid.Y / grid.Spacing[1], s.Plane))
                    .ToList();
                List<double> weights = sections.Select(s => s.Area).ToList();
                Vec3 middle = Floats.Average(centers, weights.Sum() == 0 ? null : weights);
                return Vector(grid.ToPatient(middle));
            }
        }

        /// <summary>Its shape. Can be set, also to that of a structure on another image.</summary>
        /// <remarks>
        /// On the same grid the points are taken as they are; else, in the same frame of reference,
        /// the shape is drawn again on the planes of this image and cut off where that ends.
        /// </remarks>
        public SegmentVolume SegmentVolume
        {
            get
            {
                Check();
                var contours = new SortedDictionary<int, List<Vec3[]>>();
                foreach (KeyValuePair<int, List<Vec3[]>> plane in Record.Contours)
                {
                    contours[plane.Key] = plane.Value.ToList();
                }
                return new SegmentVolume(
                    Chart, contours, Grid, Chart.SeriesOf(_set).FrameOfReferenceUid, Record.HighResolution);
            }
            set
            {
                Check();
                if (value == null)
                {
                    throw new ArgumentNullException(null, "Value cannot be null. Parameter name: value");
                }
                value.Check();
                RequireEditable();
                if (value.FrameOfReferenceUid != Chart.SeriesOf(_set).FrameOfReferenceUid)
                {
                    throw new ArgumentException(
                        $"The segment volume lies in another frame of reference than structure {Id}.");
                }
                if (value.HighResolution && !Record.HighResolution)
                {
                    throw new ApplicationException(
                        $"The segment volume is of high resolution, structure {Id} is not: call "
                        + "ConvertToHighResolution() first.");
                }
                Record.Contours = Resample.Resampled(value.Contours, value.Grid, Grid);
                Redraw();
            }
        }

        /// <summary>Whether contours can be changed, and why not.</summary>
        public bool CanEditSegmentVolume(out string errorMessage)
        {
            Check();
            errorMessage = Chart.Obstacle(_set);
            return errorMessage == "";
        }

        /// <summary>Whether it is not of high resolution yet and can be edited.</summary>
        public bool CanConvertToHighResolution() =>
            !Alive(Record).HighResolution && Chart.Obstacle(_set) == "";

        public void ConvertToHighResolution()
        {
            Check();
            Chart.RequireBegun();
            if (!CanConvertToHighResolution())
            {
                throw new InvalidOperationException(
                    $"Structure {Id} cannot be converted to high resolution.");
            }
            Record.HighResolution = true;
            Touch();
        }

        /// <summary>Closed contours on a plane, patient space, mm; none on a plane that is not there.</summary>
        public VVector[][] GetContoursOnImagePlane(int z) =>
            Alive(this).OnPlane(z).Select(polygon => polygon.Select(Vector).ToArray()).ToArray();

        /// <summary>Unites the structure with a contour; the points are moved onto the plane.</summary>
        public void AddContourOnImagePlane(VVector[] contour, int z)
        {
            Vec3[] points = Points(contour, z);
            Draw(z, Resample.Add(OnPlane(z), points, z, Grid));
        }

        /// <summary>Takes a contour away from the structure.</summary>
        public void SubtractContourOnImagePlane(VVector[] contour, int z)
        {
            Vec3[] points = Points(contour, z);
            Draw(z, Resample.Subtract(OnPlane(z), points, z, Grid));
        }

        /// <summary>Removes what is drawn on a plane.</summary>
        public void ClearAllContoursOnImagePlane(int z)
        {
            RequireEditable();
            CheckPlane(z);
            Draw(z, new List<Vec3[]>());
        }

        /// <summary>Whether a point (patient space, mm) lies inside; a contour reaches half a plane distance.</summary>
        public bool IsPointInsideSegment(VVector point)
        {
            Check();
            Vec3 index = Grid.ToIndex(new Vec3(point.x, point.y, point.z));
            return Polygons.Inside(
                new Vec2(index.X, index.Y), Flat((int)Math.Round(index.Z), 1, 1));
        }

        /// <summary>How many parts do not touch one another, seen voxel by voxel.</summary>
        public int GetNumberOfSeparateParts()
        {
            if (IsEmpty)
            {
                return 0;
            }
            int width = Grid.Size[0], height = Grid.Size[1];
            int first = Record.Contours.Keys.First(), last = Record.Contours.Keys.Last();
            var voxels = new bool[last - first + 1, height, width];
            foreach (int plane in Record.Contours.Keys)
            {
                double[,] covered = Polygons.Coverage(Flat(plane, 1, 1), width, height);
                for (int row = 0; row < height; row++)
                {
                    for (int column = 0; column < width; column++)
                    {
                        voxels[plane - first, row, column] = covered[row, column] >= 0.5;
                    }
                }
            }
            return Math.Max(1, Components.Count(voxels));
        }

        /// <summary>What is drawn on a plane: area (mm²), centroid (mm along x and y of the grid).</summary>
        private struct Section
        {
            internal int Plane;
            internal double Area;
            internal Vec2 Centroid;
        }

        private static VVector Vector(Vec3 point) => new VVector(point.X, point.Y, point.Z);

        private List<Section> Sections() => Record.Contours.Keys.Select(MeasurePlane).ToList();

        private Section MeasurePlane(int plane)
        {
            Grid grid = Grid;
            double area = Polygons.AreaAndCentroid(
                Flat(plane, grid.Spacing[0], grid.Spacing[1]), out Vec2 centroid);
            return new Section { Plane = plane, Area = area, Centroid = centroid };
        }

        private List<Vec3[]> OnPlane(int plane) =>
            Record.Contours.TryGetValue(plane, out List<Vec3[]> polygons)
                ? polygons
                : new List<Vec3[]>();

        /// <summary>Polygons of a plane in index space, times a scale.</summary>
        private List<Vec2[]> Flat(int plane, double scaleX, double scaleY)
        {
            Grid grid = Grid;
            return OnPlane(plane).Select(polygon => grid.Flat(polygon, scaleX, scaleY)).ToList();
        }

        private Vec3[] Points(VVector[] contour, int z)
        {
            RequireEditable();
            CheckPlane(z);
            if (contour == null || contour.Length < 3)
            {
                throw new ArgumentException("A contour needs at least three points.");
            }
            return Grid.OntoPlane(contour.Select(p => new Vec3(p.x, p.y, p.z)).ToArray(), z);
        }

        private void CheckPlane(int z)
        {
            int planes = Grid.Size[2];
            if (z < 0 || z >= planes)
            {
                throw new ArgumentOutOfRangeException(
                    null, $"z {z} is out of range: the image has {planes} planes.");
            }
        }

        private void RequireEditable()
        {
            Check();
            Chart.RequireEditable(_set);
        }

        private void Draw(int plane, List<Vec3[]> polygons)
        {
            if (polygons.Count > 0)
            {
                Record.Contours[plane] = polygons;
            }
            else
            {
                Record.Contours.Remove(plane);
            }
            Redraw();
        }

        private void Redraw()
        {
            Record.Redrawn = true;
            Touch();
        }

        private void Touch()
        {
            Chart.TouchSet(_set);
        }
    }
}
