using System;
using System.Globalization;

namespace EsapiStub
{
    /// <summary>The present, and DICOM's dates.</summary>
    internal static class Clock
    {
        private const string Pattern = "yyyyMMddHHmmss";

        /// <summary>The present, or what <c>SOURCE_DATE_EPOCH</c> says (UTC), so that tests can repeat a run.</summary>
        internal static DateTime Now()
        {
            string epoch = Environment.GetEnvironmentVariable("SOURCE_DATE_EPOCH");
            DateTime moment = string.IsNullOrEmpty(epoch)
                ? DateTime.Now
                : new DateTime(1970, 1, 1).AddSeconds(long.Parse(epoch, CultureInfo.InvariantCulture));
            return new DateTime(moment.Ticks - moment.Ticks % TimeSpan.TicksPerSecond);
        }

        /// <summary>Read DICOM DA and TM (PS3.5 6.2); null where there is no valid date.</summary>
        internal static DateTime? ParseDicomDate(string date, string time = "")
        {
            string clock = time.Split('.')[0].Replace(":", "").PadRight(6, '0');
            DateTime found;
            bool valid = DateTime.TryParseExact(
                date.Replace(".", "") + clock,
                Pattern,
                CultureInfo.InvariantCulture,
                DateTimeStyles.None,
                out found);
            return valid ? found : (DateTime?)null;
        }

        /// <summary>Read a record's date; null where it is unknown.</summary>
        internal static DateTime? Date(string digits)
        {
            int split = Math.Min(8, digits.Length);
            return ParseDicomDate(digits.Substring(0, split), digits.Substring(split));
        }

        /// <summary>Write a record's date.</summary>
        internal static string Digits(DateTime moment) =>
            moment.ToString(Pattern, CultureInfo.InvariantCulture);
    }
}
