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

        private Launch(Configuration configuration, Manifest manifest, string difference)
        {
            Configuration = configuration;
            PythonVersion = manifest.Python;
            Host = new Host(manifest, difference);
        }

        internal Configuration Configuration { get; private set; }

        /// <summary>Version of Python that the site folder is for, such as 3.12.</summary>
        internal string PythonVersion { get; private set; }

        internal Host Host { get; private set; }

        /// <summary>Which files Python runs with: other ones must never join them in one process.</summary>
        internal string Identity
        {
            get
            {
                return string.Join(
                    "\n", Host.ManifestDigest, Configuration.Dll, Configuration.Site, Host.Difference);
            }
        }

        /// <summary>Reads the ini and compares the site folder with the manifest. No Python runs here.</summary>
        /// <param name="warn">Gets the sentence, where files differ and this launcher may go on.</param>
        /// <exception cref="LaunchError">It must not go on.</exception>
        internal static Launch Prepare(Action<string> warn)
        {
            Configuration configuration = Configuration.Read(Assemblies.OwnFolder());
            Manifest manifest = Manifest.Embedded();
            var launch = new Launch(configuration, manifest, Compared(manifest, configuration.Site));
            if (!launch.Host.Verified)
            {
                string found = string.Format(
                    "The Python files in {0} are not those that {1} {2} was made for: {3}.",
                    configuration.Site, launch.Host.Name, launch.Host.Version, launch.Host.Difference);
                if (launch.Host.IsWriteable)
                {
                    throw LaunchError.Refused("{0} Nothing is run. Install the approved files again.", found);
                }
                warn(found + " This launcher changes no patient data, so it goes on.");
            }
            return launch;
        }

        private static string Compared(Manifest manifest, string site)
        {
            try
            {
                return Described(manifest.Differences(SiteFolder.Read(site)));
            }
            catch (Exception error)
            {
                if (error is IOException || error is UnauthorizedAccessException)
                {
                    throw LaunchError.WrongUse("The site folder {0} cannot be read: {1}", site, error.Message);
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
