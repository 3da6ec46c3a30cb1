using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using EsapiStub;
using VMS.TPS.Common.Model.Types;

namespace VMS.TPS.Common.Model.API
{
    /// <summary>A series; those of structure sets, plans and registrations have no images.</summary>
    public class Series : ApiDataObject
    {
        private readonly SeriesRecord _record;

        internal Series(Chart chart, SeriesRecord record)
            : base(chart, record)
        {
            _record = record;
        }

        public string UID => Alive(_record).Uid;

        public SeriesModality Modality =>
            Enum.IsDefined(typeof(SeriesModality), Alive(_record).Modality)
                ? (SeriesModality)Enum.Parse(typeof(SeriesModality), _record.Modality)
                : SeriesModality.Other;

        public string FOR => Alive(_record).FrameOfReferenceUid;

        public string ImagingDeviceManufacturer => Alive(_record).Device[0];

        public string ImagingDeviceModel => Alive(_record).Device[1];

        public string ImagingDeviceSerialNo => Alive(_record).Device[2];

        public Study Study =>
            new Study(Chart, Alive(Chart).Record.Studies.First(s => s.Uid == _record.StudyUid));

        /// <summary>The single slices (ZSize 1) and the 3-D images: the series' own and its copies.</summary>
        public IEnumerable<Image> Images => Enumerate(MakeImages);

        internal IEnumerable<Image> MakeImages()
        {
            if (_record.Slices.Count > 1)
            {
                for (int index = 0; index < _record.Slices.Count; index++)
                {
                    yield return new Image(Chart, _record, index);
                }
            }
            foreach (ImageRecord image in Chart.Record.Images.Where(i => i.SeriesUid == _record.Uid))
            {
                yield return new Image(Chart, image);
            }
        }
    }

    /// <summary>A 3-D image, or a single slice: an image of one plane.</summary>
    /// <remarks>Series.Images yields the slices of a volume beside it; they have no record of their own.</remarks>
    public class Image : ApiDataObject
    {
        private static readonly Dictionary<string, PatientOrientation> Orientations =
            new Dictionary<string, PatientOrientation>
            {
                ["HFS"] = PatientOrientation.HeadFirstSupine,
                ["HFP"] = PatientOrientation.HeadFirstProne,
                ["HFDR"] = PatientOrientation.HeadFirstDecubitusRight,
                ["HFDL"] = PatientOrientation.HeadFirstDecubitusLeft,
                ["FFS"] = PatientOrientation.FeetFirstSupine,
                ["FFP"] = PatientOrientation.FeetFirstProne,
                ["FFDR"] = PatientOrientation.FeetFirstDecubitusRight,
                ["FFDL"] = PatientOrientation.FeetFirstDecubitusLeft,
                ["SITTING"] = PatientOrientation.Sitting,
            };

        private readonly ImageRecord _record;
        private readonly SeriesRecord _series;
        private readonly Grid _grid;
        private readonly List<SliceRecord> _slices;
        private readonly SliceRecord _onlySlice;

        internal Image(Chart chart, ImageRecord record)
            : base(chart, record)
        {
            _record = record;
            _series = chart.Record.SeriesOf(record);
            _grid = _series.Grid;
            _slices = _series.Slices;
        }

        /// <summary>A single slice of a volume.</summary>
        /// <param name="index">Number of the slice, in space order from 0.</param>
        internal Image(Chart chart, SeriesRecord series, int index)
            : this(chart, RecordOfSlice(series, index))
        {
            _grid = new Grid(
                _grid.ToPatient(new double[] { 0, 0, index }),
                _grid.XDirection,
                _grid.YDirection,
                _grid.ZDirection,
                _grid.Spacing,
                new[] { _grid.Size[0], _grid.Size[1], 1 });
            _onlySlice = series.Slices[index];
            _slices = new List<SliceRecord> { _onlySlice };
        }

        internal static PatientOrientation Orientation(string patientPosition) =>
            Orientations.TryGetValue(patientPosition, out PatientOrientation found)
                ? found
                : PatientOrientation.NoOrientation;

        internal override object Identity => (object)_onlySlice ?? _record;

        /// <summary>Unique in the patient; that of a single slice cannot be set.</summary>
        public new string Id
        {
            get { return base.Id; }
            set
            {
                Check();
                if (_onlySlice != null)
                {
                    throw new NotImplementedException("The stub cannot change a single slice.");
                }
                Chart.RequireBegun();
                _record.Id = Ids.Check(
                    value, Chart.Record.Images.Where(i => i != _record).Select(i => i.Id));
                Chart.Touch(_record);
            }
        }

#if ESAPI_16_1
        /// <summary>SOP Instance UID of a single slice; of a 3-D image a UID of Eclipse's own.</summary>
        public string UID => Alive(_record).Uid;

#endif
        public DateTime? CreationDateTime => Clock.Date(Alive(_record).Created);

        public Series Series => new Series(Alive(Chart), _series);

        public string FOR => Alive(_series).FrameOfReferenceUid;

        public int XSize => Alive(_grid).Size[0];

        public int YSize => Alive(_grid).Size[1];

        public int ZSize => Alive(_grid).Size[2];

        public double XRes => Alive(_grid).Spacing[0];

        public double YRes => Alive(_grid).Spacing[1];

        public double ZRes => Alive(_grid).Spacing[2];

        public VVector Origin => Vector(Alive(_grid).Origin);

        public VVector XDirection => Vector(Alive(_grid).XDirection);

        public VVector YDirection => Vector(Alive(_grid).YDirection);

        public VVector ZDirection => Vector(Alive(_grid).ZDirection);

        public PatientOrientation ImagingOrientation => Orientation(Alive(_series).PatientPosition);

        public int Level => Alive(_series).Level;

        public int Window => Alive(_series).Window;

        public string DisplayUnit => Alive(_series).Unit;

        public string ContrastBolusAgentIngredientName => Alive(_series).Contrast;

        public bool IsProcessed => Alive(false);

        public bool HasUserOrigin => Alive(_record).UserOrigin != null;

        /// <summary>DICOM's origin until it is set.</summary>
        public VVector UserOrigin
        {
            get
            {
                double[] origin = Alive(_record).UserOrigin;
                return origin == null ? new VVector() : Vector(origin);
            }
            set
            {
                Check();
                Chart.RequireBegun();
                _record.UserOrigin = new[] { value.x, value.y, value.z };
                Chart.Touch(_record);
            }
        }

        /// <summary>Copies the voxel values of one plane.</summary>
        /// <param name="preallocatedBuffer">Of exactly XSize times YSize.</param>
        public void GetVoxels(int planeIndex, int[,] preallocatedBuffer)
        {
            Check();
            int columns = _grid.Size[0], rows = _grid.Size[1];
            if (preallocatedBuffer == null)
            {
                throw new ArgumentNullException(
                    null, "Value cannot be null. Parameter name: preallocatedBuffer");
            }
            if (preallocatedBuffer.GetLength(0) != columns || preallocatedBuffer.GetLength(1) != rows)
            {
                throw new ArgumentException(
                    $"preallocatedBuffer must be an array of Int32 of size {columns} x {rows}.");
            }
            int[] voxels = Voxels(planeIndex);
            for (int x = 0; x < columns; x++)
            {
                for (int y = 0; y < rows; y++)
                {
                    preallocatedBuffer[x, y] = voxels[y * columns + x];
                }
            }
        }

        /// <summary>Turns a voxel value into the display value (HU for CT).</summary>
        public double VoxelToDisplayValue(int voxelValue) =>
            voxelValue * Alive(_series).Slope + _series.Intercept;

        /// <summary>Samples display values along a line, linearly between voxels; NaN outside the image.</summary>
        /// <param name="preallocatedBuffer">One place a sample; is filled.</param>
        public ImageProfile GetImageProfile(VVector start, VVector stop, double[] preallocatedBuffer)
        {
            Check();
            int count = preallocatedBuffer?.Length ?? 0;
            if (count < 2)
            {
                throw new ArgumentException("preallocatedBuffer must hold at least two values.");
            }
            VVector step = (stop - start) / (count - 1);
            double[][] index = Enumerable.Range(0, count)
                .Select(number => start + step * number)
                .Select(point => _grid.ToIndex(new[] { point.x, point.y, point.z }))
                .ToArray();
            int last = _grid.Size[2] - 1;
            int low = Within(Math.Floor(index.Min(i => i[2])), last);
            int high = Within(Math.Ceiling(index.Max(i => i[2])), last);
            double[,,] planes = Planes(low, high);
            for (int at = 0; at < count; at++)
            {
                double value = Interpolation.Linear(
                    planes, index[at][2] - low, index[at][1], index[at][0], double.NaN);
                preallocatedBuffer[at] = value * _series.Slope + _series.Intercept;
            }
            return new ImageProfile(start, step, (double[])preallocatedBuffer.Clone(), _series.Unit);
        }

        /// <summary>Turns user coordinates into patient coordinates, mm; for head first supine only.</summary>
        public VVector UserToDicom(VVector user, PlanSetup planSetup)
        {
            RequireSupine();
            return user + UserOrigin;
        }

        /// <summary>Turns patient coordinates into user coordinates, mm; for head first supine only.</summary>
        public VVector DicomToUser(VVector dicom, PlanSetup planSetup)
        {
            RequireSupine();
            return dicom - UserOrigin;
        }

        /// <summary>Makes an empty structure set.</summary>
        /// <remarks>
        /// It lies on this image where that has none yet, else on a copy of the image: another Image
        /// with an id of its own on the same series.
        /// </remarks>
        public StructureSet CreateNewStructureSet()
        {
            Check();
            if (_onlySlice != null)
            {
                throw new ArgumentException("A structure set can be created for a 3D image only.");
            }
            Chart.RequireBegun();
            return new StructureSet(Chart, Chart.NewStructureSet(_record));
        }

        private static ImageRecord RecordOfSlice(SeriesRecord series, int index) => new ImageRecord
        {
            Id = $"Slice {index + 1}",
            Name = series.Name,
            Comment = series.Comment,
            Created = series.Created,
            SeriesUid = series.Uid,
            Uid = series.Slices[index].Uid,
        };

        private static VVector Vector(double[] values) => new VVector(values[0], values[1], values[2]);

        private static int Within(double plane, int last) => (int)Math.Max(0, Math.Min(plane, last));

        private void RequireSupine()
        {
            if (ImagingOrientation != PatientOrientation.HeadFirstSupine)
            {
                throw new NotImplementedException("The stub knows user coordinates of HFS images only.");
            }
        }

        private double[,,] Planes(int low, int high)
        {
            int columns = _grid.Size[0], rows = _grid.Size[1];
            var planes = new double[high - low + 1, rows, columns];
            for (int plane = low; plane <= high; plane++)
            {
                int[] voxels = Voxels(plane);
                for (int at = 0; at < voxels.Length; at++)
                {
                    planes[plane - low, at / columns, at % columns] = voxels[at];
                }
            }
            return planes;
        }

        /// <summary>Voxel values of a plane, row by row, on the image's one scale.</summary>
        private int[] Voxels(int plane)
        {
            if (plane < 0 || plane >= _grid.Size[2])
            {
                throw new ArgumentOutOfRangeException(
                    null, $"planeIndex {plane} is out of range: the image has {_grid.Size[2]} planes.");
            }
            SliceRecord slice = _slices[plane];
            int[] stored = Storage.Guard(
                $"image {_record.Id}",
                () => Pixels.ReadPlane(
                    Path.Combine(Chart.Folder, slice.File), _grid.Size[1], _grid.Size[0]));
            if (slice.Slope != _series.Slope || slice.Intercept != _series.Intercept)
            {
                for (int at = 0; at < stored.Length; at++)
                {
                    double display = stored[at] * slice.Slope + slice.Intercept;
                    stored[at] = (int)Math.Round((display - _series.Intercept) / _series.Slope);
                }
            }
            return stored;
        }
    }
}
