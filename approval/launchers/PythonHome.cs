using System.IO;
using System.Linq;

namespace StardustEsapi
{
    /// <summary>An installation of Python: its library, and where it keeps its own modules.</summary>
    /// <remarks>
    /// Python's own installer for Windows has them in other places than Linux.
    /// stardust_esapi/approval/manifest.py looks in the same ones.
    /// </remarks>
    internal sealed class PythonHome
    {
        private PythonHome(string folder, string library, string[] modules)
        {
            Folder = folder;
            Library = library;
            Modules = modules;
        }

        internal string Folder { get; private set; }

        /// <summary>Path below the folder, such as python312.dll.</summary>
        internal string Library { get; private set; }

        /// <summary>Paths below the folder, in the order of sys.path.</summary>
        internal string[] Modules { get; private set; }

        /// <summary>Finds what a version of Python needs to start.</summary>
        /// <remarks>Without its modules Python would end the whole process, be it Eclipse.</remarks>
        /// <param name="folder">Of the installation.</param>
        /// <param name="version">Such as 3.12.</param>
        /// <exception cref="LaunchError">The folder does not hold that.</exception>
        internal static PythonHome Find(string folder, string version)
        {
            string library = new[]
            {
                "python" + version.Replace(".", "") + ".dll",
                "lib/libpython" + version + ".so.1.0",
                "lib/x86_64-linux-gnu/libpython" + version + ".so.1.0",
            }.FirstOrDefault(path => File.Exists(Path.Combine(folder, path)));
            string[] modules = new[] { "Lib", "DLLs", "lib/python" + version, "lib/python" + version + "/lib-dynload" }
                .Where(path => Directory.Exists(Path.Combine(folder, path)))
                .ToArray();
            if (library == null
                || !modules.Any(path => File.Exists(Path.Combine(folder, path, "encodings", "__init__.py"))))
            {
                throw LaunchError.WrongUse(
                    "{0} holds no Python {1} with its library and its modules: correct `home` in {2}.",
                    folder, version, Configuration.FileName);
            }
            return new PythonHome(folder, library, modules);
        }

        /// <summary>A path below the folder, as Python writes it.</summary>
        internal string PathOf(string below)
        {
            return Path.GetFullPath(Path.Combine(Folder, below));
        }
    }
}
