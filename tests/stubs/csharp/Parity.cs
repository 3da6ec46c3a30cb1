using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text;
using EsapiStub;

// What a test asks of the internal layer of the C# stub; every question has the members it needs.
internal class Question
{
    public string Ask;
    public double[][][] Polygons;
    public double[][] Points;
    public double[][] Field;
    public int[][][] Voxels;
    public double[] Numbers;
    public double[] Weights;
    public List<Drawn> Contours;
    public Grid Grid;
    public Grid Target;
    public int Width;
    public int Height;
    public int Plane;
    public string Text;
    public string Prefix;
    public string[] Texts;
    public string Path;
    public string Folder;
    public string To;
    public SeriesRecord Series;
    public StructureSetRecord Set;
    public List<Structure> Structures;
    public SummaryRecord Summary;
}

internal class Drawn
{
    public int Plane;
    public double[][][] Polygons;
}

internal class Structure
{
    public int Number;
    public string Id;
    public string Name;
    public string DicomType;
    public int[] Color;
    public string Comment;
    public List<Drawn> Contours;
    public bool HighResolution;
    public int OffPlane;
    public bool Redrawn;
}

internal class Failure
{
    public string Kind;
    public string Message;
}

// Reads a question a line from standard input and writes an answer a line, both as JSON.
internal static class Parity
{
    private static void Main()
    {
        var input = new StreamReader(Console.OpenStandardInput(), new UTF8Encoding(false));
        var output = new StreamWriter(Console.OpenStandardOutput(), new UTF8Encoding(false));
        for (string line = input.ReadLine(); line != null; line = input.ReadLine())
        {
            byte[] answer;
            try
            {
                answer = Json.Write(Answer(Json.Read<Question>(Encoding.UTF8.GetBytes(line))));
            }
            catch (Exception error)
            {
                answer = Json.Write(new Failure { Kind = error.GetType().FullName, Message = error.Message });
            }
            output.WriteLine(Encoding.UTF8.GetString(answer));
            output.Flush();
        }
    }

    private static object Answer(Question q)
    {
        switch (q.Ask)
        {
            case "parse":
                return q.Texts.Select(Floats.Parse).ToArray();
            case "repr":
                return q.Numbers.Select(Floats.Repr).ToArray();
            case "decimal":
                return q.Numbers.Select(Floats.DecimalString).ToArray();
            case "round":
                return q.Numbers.Select(Floats.Round4).ToArray();
            case "sum":
                return Floats.Sum(q.Numbers);
            case "average":
                return Floats.Average(Spatial(q.Points), q.Weights).ToArray();
            case "to_patient":
                return q.Points.Select(q.Grid.ToPatient).ToArray();
            case "to_index":
                return q.Points.Select(q.Grid.ToIndex).ToArray();
            case "onto_plane":
                return Plain(q.Grid.OntoPlane(Spatial(q.Points), q.Plane));
            case "same_as":
                return q.Grid.SameAs(q.Target);
            case "coverage":
                return Rows(Polygons.Coverage(Flat(q.Polygons), q.Width, q.Height));
            case "inside":
                return q.Points
                    .Select(point => Polygons.Inside(new Vec2(point[0], point[1]), Flat(q.Polygons)))
                    .ToArray();
            case "area_and_centroid":
                Vec2 centroid;
                double area = Polygons.AreaAndCentroid(Flat(q.Polygons), out centroid);
                return new[] { area, centroid.X, centroid.Y };
            case "find_contours":
                return Isolines.Find(Matrix(q.Field), 0.5)
                    .Select(line => line.Select(point => new[] { point.Row, point.Column }).ToArray())
                    .ToArray();
            case "interpolate":
                double[,,] volume = Volume(q.Voxels, value => (double)value);
                return q.Points
                    .Select(point => Interpolation.Linear(volume, point[0], point[1], point[2], double.NaN))
                    .Select(value => double.IsNaN(value) ? null : (object)value)
                    .ToArray();
            case "label":
                return Components.Count(Volume(q.Voxels, value => value != 0));
            case "resample":
                return Plain(Resample.Resampled(Contours(q.Contours), q.Grid, q.Target));
            case "add":
                return Plain(Resample.Add(q.Polygons.Select(Spatial).ToArray(), Spatial(q.Points), q.Plane, q.Grid));
            case "subtract":
                return Plain(Resample.Subtract(q.Polygons.Select(Spatial).ToArray(), Spatial(q.Points), q.Plane, q.Grid));
            case "derived_uid":
                return Records.DerivedUid(q.Texts.Select(Part).ToArray());
            case "numbered":
                return Records.Numbered(q.Prefix, q.Texts);
            case "unique":
                return Records.Unique(q.Text, q.Prefix, q.Texts);
            case "now":
                Environment.SetEnvironmentVariable("SOURCE_DATE_EPOCH", q.Text);
                return Clock.Digits(Clock.Now());
            case "date":
                DateTime? date = Clock.ParseDicomDate(q.Texts[0], q.Texts[1]);
                return date == null ? null : Clock.Digits(date.Value);
            case "record_date":
                DateTime? recorded = Clock.Date(q.Text);
                return recorded == null ? null : Clock.Digits(recorded.Value);
            case "open":
                Database opened = Database.Open(q.Path);
                return new object[]
                {
                    opened.Generation, opened.Settings, opened.Settings.ScriptMayWrite, opened.Patients,
                    opened.Patients.Select(opened.Folder).ToArray(),
                };
            case "load":
                return Storage.Guard("the index", () => Loaded(q));
            case "save": // the record as it stands in a file: another process may have saved since
                PatientRecord patient = Json.Read<PatientRecord>(File.ReadAllBytes(q.To));
                Database.Open(q.Path).Save(patient);
                return patient.Revision;
            case "relations":
                PatientRecord record = Loaded(q);
                return new object[]
                {
                    record.Images.Select(image => record.SeriesOf(image).Uid).ToArray(),
                    record.StructureSets.Select(set => record.ImageOf(set).Uid).ToArray(),
                    record.Series
                        .Select(series => record.SetsOfSeries(series.Uid).Select(set => set.Uid).ToArray())
                        .ToArray(),
                };
            case "write_durably":
                Database.WriteDurably(q.Path, Encoding.UTF8.GetBytes(q.Text));
                return null;
            case "read":
                return Storage.Guard(
                    "structure set CT_1",
                    () => RtStruct.Read(q.Path, q.Series).Select(Described).ToArray());
            case "copy":
                return RtStruct.Read(q.Path, q.Series).Select(Copied).ToArray();
            case "write":
                DateTime moment = Clock.Date(q.Text).Value;
                List<StructureRecord> structures = q.Structures.Select(Structure).ToList();
                Storage.Guard(
                    "the changes",
                    () => File.WriteAllBytes(q.To, RtStruct.Write(q.Set, structures, q.Series, q.Folder, moment)));
                return null;
            case "pixels":
                return Storage.Guard("image CT_1", () => Pixels.ReadPlane(q.Path, q.Height, q.Width));
            default:
                throw new ArgumentException($"nobody answers {q.Ask}");
        }
    }

    private static PatientRecord Loaded(Question q) => Database.Open(q.Path).Load(q.Summary);

    private static object Part(string text)
    {
        int number;
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number) ? number : (object)text;
    }

    private static Vec3[] Spatial(double[][] points) => points.Select(Vec3.Of).ToArray();

    private static double[][] Plain(Vec3[] points) => points.Select(point => point.ToArray()).ToArray();

    private static double[][][] Plain(IEnumerable<Vec3[]> polygons) => polygons.Select(Plain).ToArray();

    private static Drawn[] Plain(SortedDictionary<int, List<Vec3[]>> contours) =>
        contours.Select(plane => new Drawn { Plane = plane.Key, Polygons = Plain(plane.Value) }).ToArray();

    private static Vec2[][] Flat(double[][][] polygons) =>
        polygons.Select(polygon => polygon.Select(p => new Vec2(p[0], p[1])).ToArray()).ToArray();

    private static SortedDictionary<int, List<Vec3[]>> Contours(IEnumerable<Drawn> planes)
    {
        var found = new SortedDictionary<int, List<Vec3[]>>();
        foreach (Drawn plane in planes)
        {
            found[plane.Plane] = plane.Polygons.Select(Spatial).ToList();
        }
        return found;
    }

    private static double[,] Matrix(double[][] rows)
    {
        var matrix = new double[rows.Length, rows[0].Length];
        for (int row = 0; row < rows.Length; row++)
        {
            for (int column = 0; column < rows[row].Length; column++)
            {
                matrix[row, column] = rows[row][column];
            }
        }
        return matrix;
    }

    private static double[][] Rows(double[,] matrix) =>
        Enumerable.Range(0, matrix.GetLength(0))
            .Select(row => Enumerable.Range(0, matrix.GetLength(1)).Select(column => matrix[row, column]).ToArray())
            .ToArray();

    private static T[,,] Volume<T>(int[][][] voxels, Func<int, T> value)
    {
        var volume = new T[voxels.Length, voxels[0].Length, voxels[0][0].Length];
        for (int z = 0; z < volume.GetLength(0); z++)
        {
            for (int y = 0; y < volume.GetLength(1); y++)
            {
                for (int x = 0; x < volume.GetLength(2); x++)
                {
                    volume[z, y, x] = value(voxels[z][y][x]);
                }
            }
        }
        return volume;
    }

    private static Structure Described(StructureRecord record) => new Structure
    {
        Number = record.Number,
        Id = record.Id,
        Name = record.Name,
        DicomType = record.DicomType,
        Color = record.Color,
        Comment = record.Comment,
        Contours = Plain(record.Contours).ToList(),
        HighResolution = record.HighResolution,
        OffPlane = record.OffPlane,
        Redrawn = record.Redrawn,
    };

    // The copy of a structure whose original is then cleared and repainted.
    private static Structure Copied(StructureRecord record)
    {
        StructureRecord copy = record.Copy();
        record.Color[0] = -1;
        foreach (List<Vec3[]> polygons in record.Contours.Values)
        {
            polygons[0][0] = new Vec3(-1, -1, -1);
            polygons.Clear();
        }
        record.Contours.Clear();
        return Described(copy);
    }

    private static StructureRecord Structure(Structure given) => new StructureRecord
    {
        Number = given.Number,
        Id = given.Id,
        Name = given.Name,
        DicomType = given.DicomType,
        Color = given.Color,
        Comment = given.Comment,
        Contours = Contours(given.Contours),
        HighResolution = given.HighResolution,
        OffPlane = given.OffPlane,
        Redrawn = given.Redrawn,
    };
}
