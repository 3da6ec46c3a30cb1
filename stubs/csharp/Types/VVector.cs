using System;

namespace VMS.TPS.Common.Model.Types
{
    /// <summary>A point or direction in DICOM patient space (LPS), mm.</summary>
    /// <remarks>Three doubles and nothing else, so that an array of them can be pinned and copied as a block.</remarks>
    public struct VVector
    {
        private double _x;
        private double _y;
        private double _z;

        public VVector(double xi, double yi, double zi)
        {
            _x = xi;
            _y = yi;
            _z = zi;
        }

        public double x
        {
            get { return _x; }
            set { _x = value; }
        }

        public double y
        {
            get { return _y; }
            set { _y = value; }
        }

        public double z
        {
            get { return _z; }
            set { _z = value; }
        }

        public double this[int index]
        {
            get
            {
                switch (index)
                {
                    case 0: return _x;
                    case 1: return _y;
                    case 2: return _z;
                    default: throw NoComponent(index);
                }
            }
            set
            {
                switch (index)
                {
                    case 0: _x = value; break;
                    case 1: _y = value; break;
                    case 2: _z = value; break;
                    default: throw NoComponent(index);
                }
            }
        }

        public double LengthSquared => ScalarProduct(this);

        public double Length => Math.Sqrt(LengthSquared);

        public static double Distance(VVector left, VVector right) => (left - right).Length;

        /// <summary>Makes the length 1, in place.</summary>
        public void ScaleToUnitLength()
        {
            this /= Length;
        }

        public double ScalarProduct(VVector left) => _x * left._x + _y * left._y + _z * left._z;

        public static VVector operator +(VVector left, VVector right) =>
            new VVector(left._x + right._x, left._y + right._y, left._z + right._z);

        public static VVector operator -(VVector left, VVector right) =>
            new VVector(left._x - right._x, left._y - right._y, left._z - right._z);

        public static VVector operator *(VVector val, double mul) =>
            new VVector(val._x * mul, val._y * mul, val._z * mul);

        public static VVector operator *(double mul, VVector val) => val * mul;

        public static VVector operator /(VVector val, double div) =>
            new VVector(val._x / div, val._y / div, val._z / div);

        private static Exception NoComponent(int index) =>
            new ArgumentOutOfRangeException(null, $"VVector has no component {index}.");
    }
}
