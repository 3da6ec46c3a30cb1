using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;

namespace EsapiStub
{
    /// <summary>Ids as Eclipse takes them.</summary>
    internal static class Ids
    {
        private static readonly HashSet<UnicodeCategory> NotPrintable = new HashSet<UnicodeCategory>
        {
            UnicodeCategory.Control,
            UnicodeCategory.Format,
            UnicodeCategory.Surrogate,
            UnicodeCategory.PrivateUse,
            UnicodeCategory.OtherNotAssigned,
            UnicodeCategory.LineSeparator,
            UnicodeCategory.ParagraphSeparator,
            UnicodeCategory.SpaceSeparator,
        };

        /// <summary>Checks a new id: not empty, at most 16 characters, not taken (ignoring case).</summary>
        /// <param name="taken">Ids of the others below the same parent.</param>
        /// <returns>The id.</returns>
        internal static string Check(string value, IEnumerable<string> taken)
        {
            if (value == null)
            {
                throw new ArgumentNullException(null, "Value cannot be null. Parameter name: value");
            }
            string identifier = value.Trim();
            if (identifier == "" || identifier.Contains('\\') || !IsPrintable(identifier))
            {
                throw new ArgumentException($"'{value}' is not a valid id.");
            }
            if (identifier.Count(c => !char.IsLowSurrogate(c)) > Records.MaxId)
            {
                throw new ArgumentException(
                    $"Id '{identifier}' is too long: at most {Records.MaxId} characters are allowed.");
            }
            string folded = Records.Folded(identifier);
            if (taken.Any(other => Records.Folded(other) == folded))
            {
                throw new ArgumentException($"Id '{identifier}' is already in use.");
            }
            return identifier;
        }

        private static bool IsPrintable(string text)
        {
            for (int at = 0; at < text.Length; at += char.IsSurrogatePair(text, at) ? 2 : 1)
            {
                if (text[at] != ' ' && NotPrintable.Contains(CharUnicodeInfo.GetUnicodeCategory(text, at)))
                {
                    return false;
                }
            }
            return true;
        }
    }
}
