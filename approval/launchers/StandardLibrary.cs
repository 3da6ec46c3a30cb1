using System.IO;
using System.Linq;

namespace StardustEsapi
{
    /// <summary>Where an installation of Python keeps its own modules.</summary>
    internal static class StandardLibrary
    {
        /// <summary>Whether they are there.</summary>
        /// <param name="home">Folder of the installation.</param>
        /// <param name="version">Of Python, such as 3.12.</param>
        internal static bool IsIn(string home, string version)
        {
            return File.Exists(Zip(home, version))
                || File.Exists(Path.Combine(Modules(home, version), "encodings", "__init__.py"));
        }

        /// <summary>What belongs on sys.path for them.</summary>
        internal static string[] Paths(string home, string version)
        {
            string modules = Modules(home, version);
            string compiled = !Workstation.IsWindows ? Path.Combine(modules, "lib-dynload")
                : Directory.Exists(modules) ? Path.Combine(home, "DLLs")
                : home; // the embeddable package has all in one folder
            return new[] { Zip(home, version), modules, compiled }
                .Where(path => File.Exists(path) || Directory.Exists(path))
                .ToArray();
        }

        private static string Modules(string home, string version)
        {
            return Workstation.IsWindows
                ? Path.Combine(home, "Lib")
                : Path.Combine(home, "lib", "python" + version);
        }

        private static string Zip(string home, string version)
        {
            string name = "python" + version.Replace(".", "") + ".zip";
            return Workstation.IsWindows ? Path.Combine(home, name) : Path.Combine(home, "lib", name);
        }
    }
}
