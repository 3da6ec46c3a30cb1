using System;
using System.Collections.Generic;
using System.Linq;

namespace EsapiStub
{
    /// <summary>
    /// Lines around what is above a level, by marching squares: a port of
    /// <c>skimage.measure.find_contours</c> (BSD licence), with its order of lines and points.
    /// </summary>
    internal static class Isolines
    {
        /// <summary>Closed and open lines (row, column) through a field [row, column].</summary>
        internal static List<Point[]> Find(double[,] field, double level)
        {
            var lines = new SortedDictionary<int, Line>();
            var starts = new Dictionary<Point, Line>();
            var ends = new Dictionary<Point, Line>();
            int count = 0;
            foreach (KeyValuePair<Point, Point> segment in Segments(field, level))
            {
                Point from = segment.Key, to = segment.Value;
                if (from.Equals(to)) // a corner that is exactly at the level; its neighbours see it too
                {
                    continue;
                }
                Line tail = Pop(starts, to), head = Pop(ends, from);
                if (tail != null && head != null)
                {
                    if (tail == head)
                    {
                        head.Points.AddLast(to);
                    }
                    else if (tail.Number > head.Number)
                    {
                        foreach (Point point in tail.Points)
                        {
                            head.Points.AddLast(point);
                        }
                        lines.Remove(tail.Number);
                        starts[head.Points.First.Value] = head;
                        ends[head.Points.Last.Value] = head;
                    }
                    else
                    {
                        foreach (Point point in head.Points.Reverse())
                        {
                            tail.Points.AddFirst(point);
                        }
                        starts.Remove(head.Points.First.Value);
                        lines.Remove(head.Number);
                        starts[tail.Points.First.Value] = tail;
                        ends[tail.Points.Last.Value] = tail;
                    }
                }
                else if (tail != null)
                {
                    tail.Points.AddFirst(from);
                    starts[from] = tail;
                }
                else if (head != null)
                {
                    head.Points.AddLast(to);
                    ends[to] = head;
                }
                else
                {
                    var line = new Line(count++, from, to);
                    lines[line.Number] = line;
                    starts[from] = line;
                    ends[to] = line;
                }
            }
            return lines.Values.Select(line => line.Points.ToArray()).ToList();
        }

        private static Line Pop(Dictionary<Point, Line> lines, Point key)
        {
            Line found;
            if (lines.TryGetValue(key, out found))
            {
                lines.Remove(key);
            }
            return found;
        }

        /// <summary>What lies in each square of four values; above the level is on the right.</summary>
        private static IEnumerable<KeyValuePair<Point, Point>> Segments(double[,] field, double level)
        {
            for (int row = 0; row < field.GetLength(0) - 1; row++)
            {
                for (int column = 0; column < field.GetLength(1) - 1; column++)
                {
                    double ul = field[row, column], ur = field[row, column + 1];
                    double ll = field[row + 1, column], lr = field[row + 1, column + 1];
                    int square = (ul > level ? 1 : 0) + (ur > level ? 2 : 0)
                        + (ll > level ? 4 : 0) + (lr > level ? 8 : 0);
                    if (square == 0 || square == 15)
                    {
                        continue;
                    }
                    var top = new Point(row, column + Part(ul, ur, level));
                    var bottom = new Point(row + 1, column + Part(ll, lr, level));
                    var left = new Point(row + Part(ul, ll, level), column);
                    var right = new Point(row + Part(ur, lr, level), column + 1);
                    switch (square)
                    {
                        case 1:
                            yield return Segment(top, left);
                            break;
                        case 2:
                            yield return Segment(right, top);
                            break;
                        case 3:
                            yield return Segment(right, left);
                            break;
                        case 4:
                            yield return Segment(left, bottom);
                            break;
                        case 5:
                            yield return Segment(top, bottom);
                            break;
                        case 6: // low values touch across the corner
                            yield return Segment(right, top);
                            yield return Segment(left, bottom);
                            break;
                        case 7:
                            yield return Segment(right, bottom);
                            break;
                        case 8:
                            yield return Segment(bottom, right);
                            break;
                        case 9:
                            yield return Segment(top, left);
                            yield return Segment(bottom, right);
                            break;
                        case 10:
                            yield return Segment(bottom, top);
                            break;
                        case 11:
                            yield return Segment(bottom, left);
                            break;
                        case 12:
                            yield return Segment(left, right);
                            break;
                        case 13:
                            yield return Segment(top, right);
                            break;
                        default:
                            yield return Segment(left, top);
                            break;
                    }
                }
            }
        }

        private static KeyValuePair<Point, Point> Segment(Point from, Point to) =>
            new KeyValuePair<Point, Point>(from, to);

        private static double Part(double from, double to, double level) =>
            to == from ? 0.0 : (level - from) / (to - from);

        internal struct Point : IEquatable<Point>
        {
            internal readonly double Row, Column;

            internal Point(double row, double column)
            {
                Row = row;
                Column = column;
            }

            public bool Equals(Point other) => Row == other.Row && Column == other.Column;

            public override bool Equals(object other) => other is Point && Equals((Point)other);

            public override int GetHashCode() => Row.GetHashCode() * 31 + Column.GetHashCode();
        }

        private class Line
        {
            internal readonly int Number;
            internal readonly LinkedList<Point> Points = new LinkedList<Point>();

            internal Line(int number, Point from, Point to)
            {
                Number = number;
                Points.AddLast(from);
                Points.AddLast(to);
            }
        }
    }
}
