using System;
using System.Collections.Generic;
using System.Linq;

namespace EsapiStub
{
    /// <summary>A point in patient space (mm) or in index space.</summary>
    internal struct Vec3
    {
        internal double X, Y, Z;

        internal Vec3(double x, double y, double z)
        {
            X = x;
            Y = y;
            Z = z;
        }

        internal static Vec3 Of(double[] values) => new Vec3(values[0], values[1], values[2]);

        internal double[] ToArray() => new[] { X, Y, Z };
    }

    /// <summary>A point on a plane.</summary>
    internal struct Vec2
    {
        internal double X, Y;

        internal Vec2(double x, double y)
        {
            X = x;
            Y = y;
        }
    }

    /// <summary>
    /// The voxel grid of an image. Patient space is DICOM's (LPS, mm; PS3.3 C.7.6.2.1.1). Index
    /// space is (column, row, plane) with the centre of the first voxel at (0, 0, 0). Sums run in
    /// the order of esapi_stub/grid.py, so that both give the very same doubles.
    /// </summary>
    internal class Grid
    {
        public double[] Origin; // centre of the first voxel, mm
        public double[] XDirection; // unit vector along a row
        public double[] YDirection; // unit vector along a column
        public double[] ZDirection; // unit vector from plane to plane: x cross y
        public double[] Spacing; // distance of voxel centres along x, y, z of the grid, mm
        public int[] Size; // columns, rows, planes

        private const double SamePlaceMm = 0.01;

        internal Grid(
            double[] origin,
            double[] xDirection,
            double[] yDirection,
            double[] zDirection,
            double[] spacing,
            int[] size)
        {
            Origin = origin;
            XDirection = xDirection;
            YDirection = yDirection;
            ZDirection = zDirection;
            Spacing = spacing;
            Size = size;
        }

        private Grid()
        {
        }

        internal Vec3 ToPatient(Vec3 index)
        {
            double x = index.X * Spacing[0], y = index.Y * Spacing[1], z = index.Z * Spacing[2];
            return new Vec3(
                x * XDirection[0] + y * YDirection[0] + z * ZDirection[0] + Origin[0],
                x * XDirection[1] + y * YDirection[1] + z * ZDirection[1] + Origin[1],
                x * XDirection[2] + y * YDirection[2] + z * ZDirection[2] + Origin[2]);
        }

        internal Vec3 ToIndex(Vec3 point)
        {
            double x = point.X - Origin[0], y = point.Y - Origin[1], z = point.Z - Origin[2];
            return new Vec3(
                (x * XDirection[0] + y * XDirection[1] + z * XDirection[2]) / Spacing[0],
                (x * YDirection[0] + y * YDirection[1] + z * YDirection[2]) / Spacing[1],
                (x * ZDirection[0] + y * ZDirection[1] + z * ZDirection[2]) / Spacing[2]);
        }

        internal double[] ToPatient(double[] index) => ToPatient(Vec3.Of(index)).ToArray();

        internal double[] ToIndex(double[] point) => ToIndex(Vec3.Of(point)).ToArray();

        /// <summary>Move patient points along the normal onto a plane.</summary>
        internal Vec3[] OntoPlane(Vec3[] points, int plane) =>
            points.Select(point => OntoPlane(point, plane)).ToArray();

        private Vec3 OntoPlane(Vec3 point, int plane)
        {
            double away = (plane - ToIndex(point).Z) * Spacing[2];
            return new Vec3(
                point.X + away * ZDirection[0],
                point.Y + away * ZDirection[1],
                point.Z + away * ZDirection[2]);
        }

        /// <summary>A polygon in index space, its plane left out, times a scale.</summary>
        internal Vec2[] Flat(Vec3[] polygon, double scaleX = 1.0, double scaleY = 1.0) =>
            polygon
                .Select(ToIndex)
                .Select(index => new Vec2(index.X * scaleX, index.Y * scaleY))
                .ToArray();

        /// <summary>Whether both put every voxel at the same place, to 0.01 mm.</summary>
        internal bool SameAs(Grid other)
        {
            if (!Size.SequenceEqual(other.Size))
            {
                return false;
            }
            foreach (int x in new[] { 0, Size[0] - 1 })
            {
                foreach (int y in new[] { 0, Size[1] - 1 })
                {
                    foreach (int z in new[] { 0, Size[2] - 1 })
                    {
                        Vec3 here = ToPatient(new Vec3(x, y, z));
                        Vec3 there = other.ToPatient(new Vec3(x, y, z));
                        double moved = Math.Max(
                            Math.Abs(here.X - there.X),
                            Math.Max(Math.Abs(here.Y - there.Y), Math.Abs(here.Z - there.Z)));
                        if (!(moved <= SamePlaceMm))
                        {
                            return false;
                        }
                    }
                }
            }
            return true;
        }
    }

    /// <summary>
    /// Polygons of one plane. They follow the even-odd rule: one within another is a hole
    /// (PS3.3 C.8.8.6.3).
    /// </summary>
    internal static class Polygons
    {
        private const int Lines = 4; // how many lines across a pixel measure what is covered of it

        /// <summary>Area and centroid (of the vertices where the area is 0) that polygons cover.</summary>
        internal static double AreaAndCentroid(IList<Vec2[]> polygons, out Vec2 centroid)
        {
            double total = 0.0, momentX = 0.0, momentY = 0.0;
            for (int number = 0; number < polygons.Count; number++)
            {
                Vec2[] polygon = polygons[number];
                Vec2 first = polygon[0];
                int depth = polygons
                    .Where((other, at) => at != number && Inside(first, new[] { other }))
                    .Count();
                var cross = new double[polygon.Length];
                double sumX = 0.0, sumY = 0.0;
                for (int i = 0; i < polygon.Length; i++)
                {
                    Vec2 next = polygon[(i + 1) % polygon.Length];
                    double hereX = polygon[i].X - first.X, hereY = polygon[i].Y - first.Y;
                    double thereX = next.X - first.X, thereY = next.Y - first.Y;
                    cross[i] = hereX * thereY - thereX * hereY;
                    sumX += (hereX + thereX) * cross[i];
                    sumY += (hereY + thereY) * cross[i];
                }
                double area = Floats.Sum(cross) / 2;
                if (area == 0.0)
                {
                    continue;
                }
                double weight = (depth % 2 == 1 ? -1 : 1) * Math.Abs(area);
                total += weight;
                momentX += weight * (first.X + sumX / (6 * area));
                momentY += weight * (first.Y + sumY / (6 * area));
            }
            if (total <= 0.0)
            {
                Vec3[] every = polygons.SelectMany(p => p).Select(p => new Vec3(p.X, p.Y, 0.0)).ToArray();
                Vec3 mean = Floats.Average(every, null);
                centroid = new Vec2(mean.X, mean.Y);
                return 0.0;
            }
            centroid = new Vec2(momentX / total, momentY / total);
            return total;
        }

        /// <summary>Whether a point lies inside, by the even-odd rule.</summary>
        internal static bool Inside(Vec2 point, IList<Vec2[]> polygons)
        {
            bool inside = false;
            foreach (Vec2[] polygon in polygons)
            {
                for (int i = 0; i < polygon.Length; i++)
                {
                    Vec2 a = polygon[i], b = polygon[(i + 1) % polygon.Length];
                    if ((a.Y > point.Y) != (b.Y > point.Y)
                        && a.X + (point.Y - a.Y) * (b.X - a.X) / (b.Y - a.Y) > point.X)
                    {
                        inside = !inside;
                    }
                }
            }
            return inside;
        }

        /// <summary>How much of each pixel [row, column] the polygons cover, 0 to 1, by the even-odd rule.</summary>
        /// <remarks>Exact along the rows, from four lines a pixel across them.</remarks>
        internal static double[,] Coverage(IList<Vec2[]> polygons, int width, int height)
        {
            var lines = new List<double>[height * Lines];
            foreach (Vec2[] polygon in polygons)
            {
                for (int i = 0; i < polygon.Length; i++)
                {
                    Cross(polygon[i], polygon[(i + 1) % polygon.Length], width, lines);
                }
            }
            // What a crossing adds to its own pixel and to the next, in the order of numpy.add.at.
            var steps = new double[height, width + 2];
            foreach (int next in new[] { 0, 1 })
            {
                for (int line = 0; line < lines.Length; line++)
                {
                    if (lines[line] == null)
                    {
                        continue;
                    }
                    if (next == 0)
                    {
                        lines[line].Sort();
                    }
                    // Every line has an even number of crossings: in order, they enter and leave by turns.
                    double sign = 1.0 / Lines;
                    foreach (double x in lines[line])
                    {
                        int column = (int)Math.Floor(x);
                        double part = next == 0 ? 1 - x + column : x - column;
                        steps[line / Lines, column + next] += sign * part;
                        sign = -sign;
                    }
                }
            }
            var covered = new double[height, width];
            for (int row = 0; row < height; row++)
            {
                double sum = 0.0;
                for (int column = 0; column < width; column++)
                {
                    sum += steps[row, column];
                    covered[row, column] = sum;
                }
            }
            return covered;
        }

        /// <summary>Note where an edge crosses the lines.</summary>
        private static void Cross(Vec2 start, Vec2 end, int width, List<double>[] lines)
        {
            Vec2 low = start.Y < end.Y ? start : end;
            Vec2 high = start.Y < end.Y ? end : start;
            int first = FirstLine(low.Y, lines.Length), last = FirstLine(high.Y, lines.Length);
            for (int line = first; line < last; line++)
            {
                double rise = ((line + 0.5) / Lines - 0.5 - low.Y) / (high.Y - low.Y);
                double x = low.X + rise * (high.X - low.X) + 0.5;
                if (lines[line] == null)
                {
                    lines[line] = new List<double>();
                }
                lines[line].Add(Math.Min(Math.Max(x, 0.0), width));
            }
        }

        private static int FirstLine(double y, int count) =>
            (int)Math.Min(Math.Max(Math.Ceiling((y + 0.5) * Lines - 0.5), 0.0), count);
    }
}
