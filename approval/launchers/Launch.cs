using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;

namespace StardustEsapi
{
    /// <summary>One start of the launcher: what it was told, and what was found before Python runs.</summary>
    internal sealed class Launch
    {
        private const int NamedDifferences = 3;

        private Launch(Configuration configuration, PythonHome home, PythonFiles files, Host host)
        {
            Configuration = configuration;
            Home = home;
            Files = files;
            Host = host;
        }

        internal Configuration Configuration { get; private set; }

        internal PythonHome Home { get; private set; }

        /// <summary>What was compared, and alone is loaded.</summary>
        internal PythonFiles Files { get; private set; }

        internal Host Host { get; private set; }

        /// <summary>Where Python looks for modules, and nowhere else.</summary>
        internal IEnumerable<string> ModulePaths
        {
            get { return Home.Modules.Select(Home.PathOf).Concat(new[] { Configuration.Site }); }
        }

        /// <summary>Which files Python runs with: other ones must never join them in one process.</summary>
        internal string Identity
        {
            get
            {
                return string.Join(
                    "\n", Host.ManifestDigest, Home.Folder, Configuration.Site, Host.Difference);
            }
        }

        /// <summary>Reads the ini and compares all that Python may load. No Python runs here.</summary>
        /// <param name="warn">Gets the sentence, where files differ and this launcher may go on.</param>
        /// <exception cref="LaunchError">It must not go on.</exception>
        internal static Launch Prepare(Action<string> warn)
        {
            Configuration configuration = Configuration.Read(Assemblies.OwnFolder());
            Manifest manifest = Manifest.Embedded();
            PythonHome home = PythonHome.Find(configuration.Home, manifest.Python);
            PythonFiles files = Read(configuration.Site, home);
            var host = new Host(manifest, Described(manifest.Differences(files.Digests())));
            var launch = new Launch(configuration, home, files, host);
            if (!host.Verified)
            {
                string found = string.Format(
                    "The Python files that {0} names are not those that {1} {2} was made for: {3}.",
                    Configuration.FileName, host.Name, host.Version, host.Difference);
                if (host.IsWriteable)
                {
                    throw LaunchError.Refused("{0} Nothing is run. Install the approved files again.", found);
                }
                warn(found + " This launcher changes no patient data, so it goes on.");
            }
            return launch;
        }

        private static PythonFiles Read(string site, PythonHome home)
        {
            try
            {
                return PythonFiles.Read(site, home);
            }
            catch (Exception error)
            {
                if (error is IOException || error is UnauthorizedAccessException)
                {
                    throw LaunchError.WrongUse(
                        "The Python files that {0} names cannot be read: {1}",
                        Configuration.FileName, error.Message);
                }
                throw;
            }
        }

        private static string Described(List<string> differences)
        {
            string named = string.Join(", ", differences.Take(NamedDifferences));
            int more = differences.Count - NamedDifferences;
            return more > 0 ? string.Format("{0} and {1} more", named, more) : named;
        }
    }
}
