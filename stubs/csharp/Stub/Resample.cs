using System;
using System.Collections.Generic;
using System.Linq;

namespace EsapiStub
{
    using Contours = SortedDictionary<int, List<Vec3[]>>;

    /// <summary>
    /// Contours on another grid than the one they were drawn on, and added or subtracted contours.
    /// What cannot be done with the polygons themselves is done with coverage: how much of each
    /// pixel lies inside, traced again at one half. A port of esapi_stub/resample.py.
    /// </summary>
    internal static class Resample
    {
        private const int Scale = 4; // how many times finer than the image contours are cut or united

        /// <summary>Draw contours of one image on another in the same frame of reference.</summary>
        /// <returns>
        /// On the same grid the very same points; else the section of the source's volume with each
        /// plane of the target, cut off where the target ends.
        /// </returns>
        internal static Contours Resampled(Contours contours, Grid source, Grid target)
        {
            var found = new Contours();
            if (contours.Count == 0 || source.SameAs(target))
            {
                foreach (KeyValuePair<int, List<Vec3[]>> plane in contours)
                {
                    found[plane.Key] = plane.Value.ToList();
                }
                return found;
            }
            int[] low;
            double[,,] volume = Volume(contours, source, out low);
            int[] first, last;
            Box(volume, low, source, target, out first, out last);
            if (Enumerable.Range(0, 3).Any(axis => last[axis] <= first[axis]))
            {
                return found;
            }
            for (int plane = first[2]; plane < last[2]; plane++)
            {
                var field = new double[last[1] - first[1], last[0] - first[0]];
                for (int row = first[1]; row < last[1]; row++)
                {
                    for (int column = first[0]; column < last[0]; column++)
                    {
                        Vec3 at = source.ToIndex(target.ToPatient(new Vec3(column, row, plane)));
                        // A contour reaches half a plane distance up and down: between planes the nearer holds.
                        field[row - first[1], column - first[0]] = Interpolation.Linear(
                            volume,
                            Math.Floor(at.Z - low[2] + 0.5),
                            at.Y - low[1],
                            at.X - low[0],
                            0.0);
                    }
                }
                List<Vec3[]> polygons = Trace(field, first[0], first[1], plane, target, 1);
                if (polygons.Count > 0)
                {
                    found[plane] = polygons;
                }
            }
            return found;
        }

        /// <summary>Unite a polygon with those of a plane: one that lies apart is kept point by point.</summary>
        internal static List<Vec3[]> Add(IList<Vec3[]> old, Vec3[] added, int plane, Grid grid)
        {
            bool[,] before = Fine(old, grid), drawn = Fine(new[] { added }, grid);
            if (!Any(before, Dilated(drawn), (b, near) => b && near))
            {
                return old.Concat(new[] { added }).ToList();
            }
            if (!Any(drawn, before, (d, b) => d && !b))
            {
                return old.ToList();
            }
            return Retrace(before, drawn, (b, d) => b || d, plane, grid);
        }

        /// <summary>Take a polygon away from those of a plane: one that lies within is kept as a hole.</summary>
        internal static List<Vec3[]> Subtract(IList<Vec3[]> old, Vec3[] taken, int plane, Grid grid)
        {
            bool[,] before = Fine(old, grid), drawn = Fine(new[] { taken }, grid);
            if (!Any(before, drawn, (b, d) => b && d))
            {
                return old.ToList();
            }
            if (!Any(Dilated(drawn), before, (near, b) => near && !b))
            {
                return old.Concat(new[] { taken }).ToList();
            }
            return Retrace(before, drawn, (b, d) => b && !d, plane, grid);
        }

        /// <summary>Coverage [z, y, x] of the contours' bounding box, and the box's first index (x, y, z).</summary>
        private static double[,,] Volume(Contours contours, Grid grid, out int[] low)
        {
            Dictionary<int, Vec2[][]> index = contours.ToDictionary(
                plane => plane.Key, plane => plane.Value.Select(p => grid.Flat(p)).ToArray());
            Vec2[] every = index.Values.SelectMany(polygons => polygons).SelectMany(p => p).ToArray();
            int left = (int)Math.Floor(every.Min(p => p.X)) - 1;
            int top = (int)Math.Floor(every.Min(p => p.Y)) - 1;
            int width = (int)Math.Ceiling(every.Max(p => p.X)) + 2 - left;
            int height = (int)Math.Ceiling(every.Max(p => p.Y)) + 2 - top;
            int first = index.Keys.Min(), last = index.Keys.Max();
            var volume = new double[last - first + 1, height, width];
            foreach (KeyValuePair<int, Vec2[][]> plane in index)
            {
                double[,] covered = Polygons.Coverage(
                    plane.Value
                        .Select(polygon => polygon.Select(p => new Vec2(p.X - left, p.Y - top)).ToArray())
                        .ToArray(),
                    width,
                    height);
                Buffer.BlockCopy(
                    covered,
                    0,
                    volume,
                    (plane.Key - first) * covered.Length * sizeof(double),
                    covered.Length * sizeof(double));
            }
            low = new[] { left, top, first };
            return volume;
        }

        /// <summary>Which of the target's indices can see a volume of the source.</summary>
        private static void Box(
            double[,,] volume, int[] low, Grid source, Grid target, out int[] first, out int[] last)
        {
            var corners =
                from x in new[] { low[0] - 1, low[0] + volume.GetLength(2) }
                from y in new[] { low[1] - 1, low[1] + volume.GetLength(1) }
                from z in new[] { low[2] - 1, low[2] + volume.GetLength(0) }
                select target.ToIndex(source.ToPatient(new Vec3(x, y, z))).ToArray();
            double[][] there = corners.ToArray();
            first = new int[3];
            last = new int[3];
            for (int axis = 0; axis < 3; axis++)
            {
                double least = Math.Floor(there.Min(corner => corner[axis]));
                double most = Math.Ceiling(there.Max(corner => corner[axis])) + 1;
                first[axis] = (int)Math.Min(Math.Max(least, 0.0), target.Size[axis]);
                last[axis] = (int)Math.Min(Math.Max(most, 0.0), target.Size[axis]);
            }
        }

        /// <summary>Polygons (mm) around what is above one half; the field begins at a pixel.</summary>
        private static List<Vec3[]> Trace(
            double[,] field, int firstColumn, int firstRow, int plane, Grid grid, int scale)
        {
            int height = field.GetLength(0), width = field.GetLength(1);
            var padded = new double[height + 2, width + 2];
            for (int row = 0; row < height; row++)
            {
                Buffer.BlockCopy(
                    field,
                    row * width * sizeof(double),
                    padded,
                    ((row + 1) * (width + 2) + 1) * sizeof(double),
                    width * sizeof(double));
            }
            var polygons = new List<Vec3[]>();
            foreach (Isolines.Point[] line in Isolines.Find(padded, 0.5))
            {
                var polygon = new Vec3[line.Length - 1]; // the last point is the first again
                for (int i = 0; i < polygon.Length; i++)
                {
                    double x = (line[i].Column - 1 + 0.5) / scale - 0.5 + firstColumn;
                    double y = (line[i].Row - 1 + 0.5) / scale - 0.5 + firstRow;
                    Vec3 point = grid.ToPatient(new Vec3(x, y, plane));
                    polygon[i] = new Vec3(
                        Floats.Round4(point.X), Floats.Round4(point.Y), Floats.Round4(point.Z));
                }
                if (polygon.Length > 2)
                {
                    polygons.Add(polygon);
                }
            }
            return polygons;
        }

        /// <summary>Which quarter pixels polygons cover.</summary>
        private static bool[,] Fine(IList<Vec3[]> polygons, Grid grid)
        {
            Vec2[][] scaled = polygons
                .Select(polygon => grid.Flat(polygon).Select(Finer).ToArray())
                .ToArray();
            int width = grid.Size[0] * Scale, height = grid.Size[1] * Scale;
            double[,] covered = Polygons.Coverage(scaled, width, height);
            var mask = new bool[height, width];
            for (int row = 0; row < height; row++)
            {
                for (int column = 0; column < width; column++)
                {
                    mask[row, column] = covered[row, column] > 0.5;
                }
            }
            return mask;
        }

        private static Vec2 Finer(Vec2 p) =>
            new Vec2((p.X + 0.5) * Scale - 0.5, (p.Y + 0.5) * Scale - 0.5);

        /// <summary>A mask and the pixels that share an edge with it.</summary>
        private static bool[,] Dilated(bool[,] mask)
        {
            int height = mask.GetLength(0), width = mask.GetLength(1);
            var grown = (bool[,])mask.Clone();
            for (int row = 0; row < height; row++)
            {
                for (int column = 0; column < width; column++)
                {
                    if (mask[row, column])
                    {
                        grown[Math.Max(row - 1, 0), column] = true;
                        grown[Math.Min(row + 1, height - 1), column] = true;
                        grown[row, Math.Max(column - 1, 0)] = true;
                        grown[row, Math.Min(column + 1, width - 1)] = true;
                    }
                }
            }
            return grown;
        }

        private static bool Any(bool[,] one, bool[,] other, Func<bool, bool, bool> test)
        {
            for (int row = 0; row < one.GetLength(0); row++)
            {
                for (int column = 0; column < one.GetLength(1); column++)
                {
                    if (test(one[row, column], other[row, column]))
                    {
                        return true;
                    }
                }
            }
            return false;
        }

        private static List<Vec3[]> Retrace(
            bool[,] before, bool[,] drawn, Func<bool, bool, bool> kept, int plane, Grid grid)
        {
            var field = new double[before.GetLength(0), before.GetLength(1)];
            for (int row = 0; row < field.GetLength(0); row++)
            {
                for (int column = 0; column < field.GetLength(1); column++)
                {
                    field[row, column] = kept(before[row, column], drawn[row, column]) ? 1.0 : 0.0;
                }
            }
            return Trace(field, 0, 0, plane, grid, Scale);
        }
    }
}
