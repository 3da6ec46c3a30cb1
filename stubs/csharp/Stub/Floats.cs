using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Numerics;

namespace EsapiStub
{
    /// <summary>
    /// Numbers as Python and numpy read, write and add them. Mono's own parsing and formatting
    /// miss the last digit at times.
    /// </summary>
    internal static class Floats
    {
        private const double WholeFrom = 4503599627370496.0; // 2^52: doubles have no fraction here
        private const double SmallestNormal = 2.2250738585072014e-308; // below, doubles have fewer digits
        private const int BlockSize = 128;

        private static readonly double[] Powers =
            Enumerable.Range(0, 23).Select(n => Whole(BigInteger.Pow(10, n))).ToArray();

        /// <summary>Sum in the order of numpy's pairwise summation.</summary>
        internal static double Sum(IList<double> values) => Sum(values, 0, values.Count);

        private static double Sum(IList<double> values, int start, int count)
        {
            double total = 0.0;
            if (count < 8)
            {
                for (int i = 0; i < count; i++)
                {
                    total += values[start + i];
                }
                return total;
            }
            if (count > BlockSize)
            {
                int half = count / 2;
                half -= half % 8;
                return Sum(values, start, half) + Sum(values, start + half, count - half);
            }
            var lanes = new double[8];
            int end = start + count;
            int at = start;
            for (; at + 8 <= end; at += 8)
            {
                for (int lane = 0; lane < 8; lane++)
                {
                    lanes[lane] += values[at + lane];
                }
            }
            total = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3]))
                + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
            for (; at < end; at++)
            {
                total += values[at];
            }
            return total;
        }

        /// <summary>Mean of points as <c>numpy.average(axis=0)</c>; without weights all count the same.</summary>
        internal static Vec3 Average(IList<Vec3> values, IList<double> weights)
        {
            double x = 0.0, y = 0.0, z = 0.0;
            for (int i = 0; i < values.Count; i++)
            {
                double weight = weights == null ? 1.0 : weights[i];
                x += values[i].X * weight;
                y += values[i].Y * weight;
                z += values[i].Z * weight;
            }
            double total = weights == null ? values.Count : Sum(weights);
            return new Vec3(x / total, y / total, z / total);
        }

        /// <summary>Round to the nearest whole number, halves to the even one.</summary>
        internal static double Rint(double value)
        {
            if (value == 0.0 || !(Math.Abs(value) < WholeFrom))
            {
                return value;
            }
            return value > 0.0 ? value + WholeFrom - WholeFrom : -(-value + WholeFrom - WholeFrom);
        }

        /// <summary>Round to four decimals as <c>numpy.round</c>.</summary>
        internal static double Round4(double value) => Rint(value * 10000.0) / 10000.0;

        /// <summary>Read a number as Python's <c>float</c>: the nearest double.</summary>
        /// <exception cref="FormatException">It is none.</exception>
        internal static double Parse(string text)
        {
            string number = text.Trim();
            int at = 0;
            bool negative = number.StartsWith("-", StringComparison.Ordinal);
            if (negative || number.StartsWith("+", StringComparison.Ordinal))
            {
                at = 1;
            }
            int start = at;
            int point = -1;
            for (; at < number.Length && (IsDigit(number[at]) || (number[at] == '.' && point < 0)); at++)
            {
                if (number[at] == '.')
                {
                    point = at;
                }
            }
            string digits = number.Substring(start, at - start).Replace(".", "");
            long exponent = point < 0 ? 0 : point + 1 - at;
            if (at < number.Length && (number[at] == 'e' || number[at] == 'E'))
            {
                exponent += long.Parse(
                    number.Substring(at + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
                at = number.Length;
            }
            if (digits.Length == 0 || at < number.Length)
            {
                throw new FormatException($"could not convert string to float: '{text}'");
            }
            double value = Nearest(digits.TrimStart('0'), exponent);
            return negative ? -value : value;
        }

        /// <summary>Write a number as Python's <c>repr</c>: as short as reads back the same.</summary>
        /// <exception cref="ArgumentException">It is infinite or none.</exception>
        internal static string Repr(double value)
        {
            if (double.IsNaN(value) || double.IsInfinity(value))
            {
                throw new ArgumentException("Neither JSON nor DICOM holds a number that is not finite.");
            }
            string sign = value < 0.0 || 1 / value < 0.0 ? "-" : "";
            double size = Math.Abs(value);
            if (size == 0.0)
            {
                return sign + "0.0";
            }
            string digits = "";
            int exponent = -4;
            double fourth = Rint(size * 10000.0);
            if (fourth < 1e15 && fourth / 10000.0 == size)
            {
                digits = ((long)fourth).ToString(CultureInfo.InvariantCulture);
            }
            else
            {
                digits = Shortest(size, out exponent);
            }
            int before = digits.Length + exponent; // how many digits stand before the point
            digits = digits.TrimEnd('0');
            if (before > 16 || before <= -4)
            {
                return sign + Scientific(digits, before - 1);
            }
            if (before <= 0)
            {
                return sign + "0." + new string('0', -before) + digits;
            }
            digits = digits.PadRight(before, '0');
            string fraction = digits.Substring(before);
            return sign + digits.Substring(0, before) + "." + (fraction.Length > 0 ? fraction : "0");
        }

        /// <summary>The fewest digits that read back as a positive number, and of those the nearest.</summary>
        private static string Shortest(double size, out int exponent)
        {
            // Every decimal number of 15 digits has a double of its own, but for the smallest ones.
            for (int count = size < SmallestNormal ? 1 : 15; ; count++)
            {
                string digits = Significant(size, count, out exponent);
                if (Nearest(digits, exponent) == size)
                {
                    return digits;
                }
                // Above a power of two there is more room than below it.
                string above = (BigInteger.Parse(digits, CultureInfo.InvariantCulture) + 1).ToString();
                if (Nearest(above, exponent) == size)
                {
                    return above;
                }
            }
        }

        /// <summary>Write a Decimal String of at most 16 characters (PS3.5 6.2), as pydicom does.</summary>
        internal static string DecimalString(double value)
        {
            string text = Repr(value);
            if (text.Length <= 16)
            {
                return text;
            }
            double size = Math.Abs(value);
            double magnitude = Math.Log10(size);
            string sign = value < 0.0 ? "-" : "";
            if (magnitude < -4 || magnitude >= 14 - sign.Length)
            {
                int decimals = 10 - sign.Length;
                string number = Rounded(size, decimals);
                return sign + (sign.Length + number.Length > 16 ? Rounded(size, decimals - 1) : number);
            }
            int left = 14 - sign.Length - (magnitude >= 1.0 ? (int)Math.Floor(magnitude) : 0);
            BigInteger numerator, denominator;
            Fraction(size, left, out numerator, out denominator);
            string whole = Divide(numerator, denominator).ToString().PadLeft(left + 1, '0');
            return sign + whole.Insert(whole.Length - left, ".");
        }

        /// <summary>As Python's <c>.{decimals}e</c>.</summary>
        private static string Rounded(double size, int decimals)
        {
            int exponent;
            string digits = Significant(size, decimals + 1, out exponent);
            return Scientific(digits, digits.Length - 1 + exponent);
        }

        private static string Scientific(string digits, int exponent)
        {
            string mantissa = digits.Length > 1 ? digits.Insert(1, ".") : digits;
            return $"{mantissa}e{(exponent < 0 ? '-' : '+')}{Math.Abs(exponent):00}";
        }

        private static bool IsDigit(char letter) => letter >= '0' && letter <= '9';

        /// <summary>The double nearest to <c>digits</c> times a power of ten.</summary>
        private static double Nearest(string digits, long exponent)
        {
            if (digits.Length == 0 || digits.Length + exponent < -400)
            {
                return 0.0;
            }
            if (digits.Length + exponent > 400)
            {
                return double.PositiveInfinity;
            }
            if (digits.Length <= 15 && Math.Abs(exponent) < Powers.Length)
            {
                double whole = long.Parse(digits, CultureInfo.InvariantCulture); // both are exact
                return exponent < 0 ? whole / Powers[-exponent] : whole * Powers[exponent];
            }
            BigInteger numerator = BigInteger.Parse(digits, CultureInfo.InvariantCulture);
            BigInteger denominator = BigInteger.Pow(10, (int)Math.Max(-exponent, 0));
            numerator *= BigInteger.Pow(10, (int)Math.Max(exponent, 0));
            const int Smallest = -1074;
            int power = (int)Math.Floor(BigInteger.Log(numerator, 2) - BigInteger.Log(denominator, 2)) - 52;
            power = Math.Max(power, Smallest);
            // The estimate may be one off: what is rounded must have 53 bits.
            while (power > Smallest && Shifted(numerator, denominator, power) < WholeFrom)
            {
                power--;
            }
            while (Shifted(numerator, denominator, power) >= 2 * WholeFrom)
            {
                power++;
            }
            BigInteger mantissa = Divide(
                numerator << Math.Max(-power, 0), denominator << Math.Max(power, 0));
            return Whole(mantissa) * Math.Pow(2.0, power / 2) * Math.Pow(2.0, power - power / 2);
        }

        private static double Shifted(BigInteger numerator, BigInteger denominator, int power) =>
            Whole((numerator << Math.Max(-power, 0)) / (denominator << Math.Max(power, 0)));

        /// <summary>The digits of a positive number rounded to <c>count</c> of them.</summary>
        private static string Significant(double size, int count, out int exponent)
        {
            int decimals = count - 1 - Magnitude(size);
            BigInteger numerator, denominator;
            Fraction(size, decimals, out numerator, out denominator);
            string digits = Divide(numerator, denominator).ToString();
            exponent = digits.Length - count - decimals;
            return digits.Substring(0, count); // 9.96 was rounded to 10.0: one digit more, a zero
        }

        /// <summary>The power of ten of a positive number's first digit.</summary>
        private static int Magnitude(double size)
        {
            int magnitude = (int)Math.Floor(Math.Log10(size)) + 2; // the logarithm itself is rounded
            BigInteger numerator, denominator;
            do
            {
                magnitude--;
                Fraction(size, -magnitude, out numerator, out denominator);
            }
            while (numerator < denominator);
            return magnitude;
        }

        /// <summary>A positive number times a power of ten, exactly.</summary>
        private static void Fraction(
            double size, int decimals, out BigInteger numerator, out BigInteger denominator)
        {
            long bits = BitConverter.DoubleToInt64Bits(size);
            int power = (int)(bits >> 52);
            long mantissa = bits & ((1L << 52) - 1);
            if (power > 0)
            {
                mantissa |= 1L << 52;
                power--;
            }
            power -= 1074;
            numerator = (new BigInteger(mantissa) << Math.Max(power, 0))
                * BigInteger.Pow(10, Math.Max(decimals, 0));
            denominator = (BigInteger.One << Math.Max(-power, 0))
                * BigInteger.Pow(10, Math.Max(-decimals, 0));
        }

        /// <summary>Divide and round to the nearest, halves to the even one.</summary>
        private static BigInteger Divide(BigInteger numerator, BigInteger denominator)
        {
            BigInteger rest;
            BigInteger quotient = BigInteger.DivRem(numerator, denominator, out rest);
            int side = (2 * rest).CompareTo(denominator);
            return side > 0 || (side == 0 && !quotient.IsEven) ? quotient + 1 : quotient;
        }

        /// <summary>A whole number that a double holds exactly, or one far too large.</summary>
        private static double Whole(BigInteger value) => (double)value;
    }
}
