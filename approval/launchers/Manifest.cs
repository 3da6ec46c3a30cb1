using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Text;

namespace StardustEsapi
{
    /// <summary>The Python files that this launcher was made, and approved, for.</summary>
    /// <remarks>stardust_esapi/approval/manifest.py writes it and describes its text.</remarks>
    internal sealed class Manifest
    {
        private const string Resource = "manifest";
        private const string FirstLine = "stardust-esapi manifest 1";
        private const string LastLine = "end";
        private const string Separator = "  ";
        private const int HeaderLines = 4;

        private readonly Dictionary<string, string> _digests =
            new Dictionary<string, string>(StringComparer.Ordinal);

        private Manifest(byte[] content)
        {
            Digest = Sha256.Of(new MemoryStream(content));
            string[] lines = Encoding.UTF8.GetString(content).Split('\n');
            int last = lines.Length - 2; // the text ends with a line break
            if (last < HeaderLines || lines[0] != FirstLine || lines[last] != LastLine)
            {
                throw Damaged();
            }
            Python = Value(lines[2], "python ");
            for (int at = HeaderLines; at < last; at++)
            {
                int end = lines[at].IndexOf(Separator, StringComparison.Ordinal);
                if (end != Sha256.Length)
                {
                    throw Damaged();
                }
                _digests.Add(lines[at].Substring(end + Separator.Length), lines[at].Substring(0, end));
            }
        }

        /// <summary>SHA-256 of its text, in hex.</summary>
        internal string Digest { get; private set; }

        /// <summary>Version of Python that the files are for, such as 3.12.</summary>
        internal string Python { get; private set; }

        /// <summary>Reads the one that is compiled into this assembly.</summary>
        internal static Manifest Embedded()
        {
            using (Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(Resource))
            using (var content = new MemoryStream())
            {
                if (stream == null)
                {
                    throw Damaged();
                }
                stream.CopyTo(content);
                return new Manifest(content.ToArray());
            }
        }

        /// <summary>How the files of a site folder differ, such as "changed a/b.py", by path.</summary>
        internal List<string> Differences(IDictionary<string, string> files)
        {
            return _digests.Keys.Union(files.Keys)
                .OrderBy(path => path, StringComparer.Ordinal)
                .Select(path => Difference(path, files))
                .Where(difference => difference != null)
                .ToList();
        }

        private string Difference(string path, IDictionary<string, string> files)
        {
            string approved;
            string there;
            if (!_digests.TryGetValue(path, out approved))
            {
                return "added " + path;
            }
            if (!files.TryGetValue(path, out there))
            {
                return "missing " + path;
            }
            return approved == there ? null : "changed " + path;
        }

        private static string Value(string line, string key)
        {
            if (!line.StartsWith(key, StringComparison.Ordinal))
            {
                throw Damaged();
            }
            return line.Substring(key.Length);
        }

        private static LaunchError Damaged()
        {
            return LaunchError.Refused(
                "This launcher carries no list of approved files that makes sense. Build it again with "
                + "`stardust-esapi approval build`.");
        }
    }
}
