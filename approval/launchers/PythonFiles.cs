using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;

namespace StardustEsapi
{
    /// <summary>All files that Python may load, as stardust_esapi/approval/manifest.py finds them.</summary>
    internal sealed class PythonFiles
    {
        private static readonly string[] LoadedSuffixes = { ".py", ".pyw", ".pyd", ".so", ".dll" };

        private static readonly string[] ForeignFolders =
        {
            "__pycache__", "site-packages", "dist-packages", "test", "tests",
        };

        private readonly Dictionary<string, PythonFile> _byPlace;

        private PythonFiles(IEnumerable<PythonFile> files)
        {
            _byPlace = files.ToDictionary(file => file.Place, StringComparer.Ordinal);
        }

        /// <summary>SHA-256 of every file by the path that a manifest has for it.</summary>
        internal IDictionary<string, string> Digests()
        {
            return _byPlace.Values.ToDictionary(file => file.Path, file => file.Digest, StringComparer.Ordinal);
        }

        /// <summary>Reads the site folder and Python's own files.</summary>
        /// <exception cref="IOException">A folder cannot be listed.</exception>
        internal static PythonFiles Read(string site, PythonHome home)
        {
            var found = new Dictionary<string, FileSystemInfo>(StringComparer.Ordinal);
            foreach (FileSystemInfo entry in new DirectoryInfo(site).EnumerateFileSystemInfos())
            {
                Add("site/" + entry.Name, entry, IsOfSite, found);
            }
            found["home/" + home.Library] = new FileInfo(home.PathOf(home.Library));
            foreach (FileInfo beside in new DirectoryInfo(home.Folder).EnumerateFiles("*.dll"))
            {
                found["home/" + beside.Name] = beside;
            }
            foreach (string modules in home.Modules)
            {
                Add("home/" + modules, new DirectoryInfo(home.PathOf(modules)), IsOfHome, found);
            }
            return new PythonFiles(found.AsParallel().Select(
                file => new PythonFile(file.Key, file.Value.FullName, CountsAsLink(file.Key, file.Value))));
        }

        /// <summary>What Python may load from a place, if it is what was compared; else null.</summary>
        internal byte[] Compared(string place)
        {
            PythonFile file;
            return _byPlace.TryGetValue(place, out file) ? file.Compared() : null;
        }

        private static void Add(
            string path,
            FileSystemInfo entry,
            Func<string, bool, bool> belongs,
            Dictionary<string, FileSystemInfo> found)
        {
            var folder = entry as DirectoryInfo;
            if (!belongs(path, folder != null))
            {
                return;
            }
            if (folder == null || IsLink(folder))
            {
                found[path] = entry;
                return;
            }
            foreach (FileSystemInfo below in folder.EnumerateFileSystemInfos())
            {
                Add(path + "/" + below.Name, below, belongs, found);
            }
        }

        /// <summary>Everything but what differs from one installation by pip to the next.</summary>
        private static bool IsOfSite(string path, bool isFolder)
        {
            return !isFolder
                || !(path.EndsWith("/__pycache__", StringComparison.Ordinal)
                    || path.EndsWith(".dist-info", StringComparison.Ordinal)
                    || path == "site/bin"
                    || path == "site/Scripts");
        }

        /// <summary>What Python could load, but for packages and tests: those are not for launchers.</summary>
        private static bool IsOfHome(string path, bool isFolder)
        {
            return isFolder
                ? !ForeignFolders.Contains(Path.GetFileName(path))
                : LoadedSuffixes.Contains(Path.GetExtension(path).ToLowerInvariant());
        }

        /// <summary>What lies behind a link can change without any change here.</summary>
        /// <remarks>On Linux, where nothing writes to Eclipse, distributions make links to modules.</remarks>
        private static bool CountsAsLink(string path, FileSystemInfo entry)
        {
            return IsLink(entry)
                && (Workstation.IsWindows || entry is DirectoryInfo
                    || path.StartsWith("site/", StringComparison.Ordinal));
        }

        private static bool IsLink(FileSystemInfo entry)
        {
            return (entry.Attributes & FileAttributes.ReparsePoint) != 0;
        }
    }
}
