using System.Collections;
using System.Collections.Generic;

namespace VMS.TPS.Common.Model.Types
{
    /// <summary>A position (mm) and the value there.</summary>
    public struct ProfilePoint
    {
        internal ProfilePoint(VVector position, double value)
        {
            Position = position;
            Value = value;
        }

        public VVector Position { get; }

        public double Value { get; }
    }

    /// <summary>Values at equal steps along a line.</summary>
    public class LineProfile : IEnumerable<ProfilePoint>
    {
        private readonly VVector _origin;
        private readonly VVector _step;
        private readonly double[] _data;

        public LineProfile(VVector origin, VVector step, double[] data)
        {
            _origin = origin;
            _step = step;
            _data = data;
        }

        public IEnumerator<ProfilePoint> GetEnumerator()
        {
            for (int index = 0; index < _data.Length; index++)
            {
                yield return new ProfilePoint(_origin + _step * index, _data[index]);
            }
        }

        IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
    }

    /// <summary>Display values along a line.</summary>
    public class ImageProfile : LineProfile
    {
        public ImageProfile(VVector origin, VVector step, double[] data, string unit)
            : base(origin, step, data)
        {
            Unit = unit;
        }

        public string Unit { get; }
    }
}
