using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;

namespace StardustEsapi
{
    /// <summary>The files of a site folder, as stardust_esapi/approval/manifest.py reads them.</summary>
    internal static class SiteFolder
    {
        // These are in no manifest, so that they differ from whatever one says.
        private const string Link = "link";
        private const string Unreadable = "unreadable";

        private static readonly string[] ImportedSuffixes = { ".py", ".pyw", ".pyd", ".so" };

        /// <summary>SHA-256 of every file by its path below the folder, with "/".</summary>
        /// <exception cref="IOException">The folder cannot be listed.</exception>
        internal static IDictionary<string, string> Read(string folder)
        {
            var files = new List<KeyValuePair<string, FileSystemInfo>>();
            Walk(new DirectoryInfo(folder), "", true, files);
            return files.AsParallel()
                .Select(file => new KeyValuePair<string, string>(file.Key, Digest(file.Value)))
                .ToDictionary(file => file.Key, file => file.Value, StringComparer.Ordinal);
        }

        private static void Walk(
            DirectoryInfo folder,
            string prefix,
            bool covered,
            List<KeyValuePair<string, FileSystemInfo>> files)
        {
            foreach (FileSystemInfo entry in folder.EnumerateFileSystemInfos())
            {
                string path = prefix + entry.Name;
                var below = entry as DirectoryInfo;
                if (below != null && !IsLink(below))
                {
                    Walk(below, path + "/", covered && Covered(entry.Name, prefix.Length == 0), files);
                }
                else if (covered || below != null || CanBeImported(entry.Name))
                {
                    files.Add(new KeyValuePair<string, FileSystemInfo>(path, entry));
                }
            }
        }

        /// <summary>Whether the manifest names a folder's files. It does not where pip writes its own.</summary>
        private static bool Covered(string name, bool top)
        {
            return name != "__pycache__"
                && !name.EndsWith(".dist-info", StringComparison.Ordinal)
                && !(top && (name == "bin" || name == "Scripts"));
        }

        /// <summary>Whether "import" could load a file: from any folder, for a folder needs no __init__.py.</summary>
        /// <remarks>
        /// It would take "__pycache__.evil" for a module, which an environment variable such as
        /// MPLBACKEND may name. What Python itself leaves in such folders has the version in its
        /// name, "x.cpython-312.pyc", and that is no name of a module.
        /// </remarks>
        private static bool CanBeImported(string name)
        {
            string suffix = Path.GetExtension(name).ToLowerInvariant();
            return suffix == ".pyc"
                ? Path.GetFileNameWithoutExtension(name).IndexOf('.') < 0
                : ImportedSuffixes.Contains(suffix);
        }

        /// <summary>What lies behind a link to a folder can change without any change in this one.</summary>
        private static bool IsLink(FileSystemInfo entry)
        {
            return (entry.Attributes & FileAttributes.ReparsePoint) != 0;
        }

        private static string Digest(FileSystemInfo file)
        {
            if (file is DirectoryInfo)
            {
                return Link;
            }
            try
            {
                using (var stream = new FileStream(
                    file.FullName, FileMode.Open, FileAccess.Read, FileShare.Read))
                {
                    return Sha256.Of(stream);
                }
            }
            catch (IOException)
            {
                return Unreadable;
            }
            catch (UnauthorizedAccessException)
            {
                return Unreadable;
            }
        }
    }
}
