using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Text.RegularExpressions;

namespace StardustEsapi
{
    /// <summary>Where .NET finds assemblies that do not lie beside the program.</summary>
    internal static class Assemblies
    {
        internal const string Runtime = "Python.Runtime";
        private const string Esapi = "VMS.TPS.Common.Model.API.dll";

        private static string _runtime;
        private static string _esapi;

        /// <summary>Name of this launcher, as Script Approval shows it.</summary>
        internal static string OwnName()
        {
            return Assembly.GetExecutingAssembly().GetName().Name;
        }

        /// <summary>Folder of this launcher's own file.</summary>
        internal static string OwnFolder()
        {
            string own = Assembly.GetExecutingAssembly().Location;
            if (string.IsNullOrEmpty(own))
            {
                own = new Uri(Assembly.GetExecutingAssembly().CodeBase).LocalPath;
            }
            return Path.GetDirectoryName(own);
        }

        /// <summary>Lets .NET find Python.Runtime in the site folder, where it was checked.</summary>
        internal static void ResolveRuntime(string file)
        {
            if (!File.Exists(file))
            {
                throw LaunchError.WrongUse("The site folder is not whole: there is no {0}.", file);
            }
            if (_runtime == null)
            {
                AppDomain.CurrentDomain.AssemblyResolve += FindRuntime;
            }
            _runtime = file;
        }

        /// <summary>Whether a file is that Python.Runtime.</summary>
        internal static bool IsRuntime(string file)
        {
            return file.Length > 0 && string.Equals(
                Path.GetFullPath(file), Path.GetFullPath(_runtime),
                Workstation.IsWindows ? StringComparison.OrdinalIgnoreCase : StringComparison.Ordinal);
        }

        /// <summary>Lets .NET find ESAPI's assemblies. In Eclipse itself they are there already.</summary>
        /// <param name="folder">Their folder; null for that of the newest Eclipse.</param>
        internal static void ResolveEsapi(string folder)
        {
            _esapi = folder ?? NewestEsapi();
            if (_esapi != null)
            {
                AppDomain.CurrentDomain.AssemblyResolve += FindEsapi;
            }
        }

        private static Assembly FindRuntime(object sender, ResolveEventArgs wanted)
        {
            return new AssemblyName(wanted.Name).Name == Runtime ? Load(_runtime) : null;
        }

        private static Assembly FindEsapi(object sender, ResolveEventArgs wanted)
        {
            string file = Path.Combine(_esapi, new AssemblyName(wanted.Name).Name + ".dll");
            return File.Exists(file) ? Load(file) : null;
        }

        /// <summary>Loads a file also where Windows has marked it as downloaded, or as of a network drive.</summary>
        /// <remarks>LoadFrom refuses such files; which ones are loaded, the manifest and the ini say.</remarks>
        private static Assembly Load(string file)
        {
            return Assembly.UnsafeLoadFrom(file);
        }

        /// <summary>As stardust_esapi/esapi/installed.py finds it.</summary>
        private static string NewestEsapi()
        {
            IEnumerable<string> found =
                from drive in DriveInfo.GetDrives()
                where drive.DriveType == DriveType.Fixed && drive.IsReady
                from programs in new[] { "Program Files (x86)", "Program Files" }
                let root = Path.Combine(drive.Name, programs, "Varian", "RTM")
                where Directory.Exists(root)
                from version in Directory.GetDirectories(root).OrderBy(path => path, StringComparer.Ordinal)
                let folder = Path.Combine(version, "esapi", "API")
                where File.Exists(Path.Combine(folder, Esapi))
                orderby Version(Path.GetFileName(version))
                select folder;
            return found.LastOrDefault();
        }

        private static Version Version(string name)
        {
            Match numbers = Regex.Match(name, @"([0-9]+)[^0-9]+([0-9]+)");
            return numbers.Success
                ? new Version(int.Parse(numbers.Groups[1].Value), int.Parse(numbers.Groups[2].Value))
                : new Version(0, 0);
        }
    }
}
