using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;

namespace StardustEsapi
{
    /// <summary>StardustExporter.ini, beside the launchers: where Python is, and the plug-in's job.</summary>
    /// <remarks>
    /// It is no part of what is approved, so nothing in it can give a permission: what is checked are
    /// the folders that it names, whichever those are.
    /// </remarks>
    internal sealed class Configuration
    {
        internal const string FileName = "StardustExporter.ini";
        private const string PythonSection = "python";
        private const string PlugInSection = "plug-in";

        private static readonly Dictionary<string, string[]> Known = new Dictionary<string, string[]>
        {
            { PythonSection, new[] { "home", "site" } },
            { "eclipse", new[] { "esapi" } },
            { PlugInSection, new[] { "cases", "out", "settings" } },
        };

        private readonly string _path;
        private readonly Dictionary<string, string> _values =
            new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);

        private Configuration(string path)
        {
            _path = path;
        }

        /// <summary>Folder of the Python installation.</summary>
        internal string Home { get; private set; }

        /// <summary>Folder that holds the package and its dependencies.</summary>
        internal string Site { get; private set; }

        /// <summary>Folder of ESAPI's assemblies; null where the ini does not say.</summary>
        internal string Esapi { get; private set; }

        /// <summary>What the plug-in shall do: cases, out, settings; as paths that are not relative.</summary>
        internal Dictionary<string, string> PlugIn { get; private set; }

        /// <summary>Reads the file beside the launcher.</summary>
        /// <exception cref="LaunchError">It is missing, says nonsense, or names what is not there.</exception>
        internal static Configuration Read(string folder)
        {
            var read = new Configuration(Path.Combine(folder, FileName));
            try
            {
                read.Parse(File.ReadAllLines(read._path, new UTF8Encoding(false, true)));
            }
            catch (FileNotFoundException)
            {
                throw LaunchError.WrongUse(
                    "There is no {0}. Put it beside the launcher; it says where Python is.", read._path);
            }
            catch (Exception error)
            {
                if (error is IOException || error is UnauthorizedAccessException
                    || error is DecoderFallbackException)
                {
                    throw LaunchError.WrongUse(
                        "{0} cannot be read as UTF-8 text: {1}", read._path, error.Message);
                }
                throw;
            }
            read.Home = read.Folder("home");
            read.Site = read.Folder("site");
            read.Esapi = read.PathOf("eclipse", "esapi");
            read.PlugIn = Known[PlugInSection]
                .Where(key => read.PathOf(PlugInSection, key) != null)
                .ToDictionary(key => key, key => read.PathOf(PlugInSection, key));
            return read;
        }

        private void Parse(string[] lines)
        {
            string section = null;
            for (int at = 0; at < lines.Length; at++)
            {
                string line = lines[at].Trim();
                if (line.Length == 0 || line[0] == ';' || line[0] == '#')
                {
                    continue;
                }
                if (line[0] == '[' && line[line.Length - 1] == ']')
                {
                    section = line.Substring(1, line.Length - 2).Trim().ToLowerInvariant();
                    if (!Known.ContainsKey(section))
                    {
                        throw Wrong(at, "it knows no section [{0}]", section);
                    }
                    continue;
                }
                int equals = line.IndexOf('=');
                string key = equals < 0 ? "" : line.Substring(0, equals).Trim().ToLowerInvariant();
                if (section == null || key.Length == 0)
                {
                    throw Wrong(at, "a line must be `[section]` or `key = value`, below a section");
                }
                if (!Known[section].Contains(key))
                {
                    throw Wrong(at, "[{0}] knows no `{1}`, only {2}",
                        section, key, string.Join(", ", Known[section]));
                }
                if (_values.ContainsKey(Name(section, key)))
                {
                    throw Wrong(at, "`{0}` stands there twice", key);
                }
                _values.Add(Name(section, key), line.Substring(equals + 1).Trim());
            }
        }

        /// <summary>A path as it was meant: relative ones start at the ini's folder.</summary>
        private string PathOf(string section, string key)
        {
            string value;
            if (!_values.TryGetValue(Name(section, key), out value) || value.Length == 0)
            {
                return null;
            }
            try
            {
                return Path.GetFullPath(Path.Combine(Path.GetDirectoryName(_path), value));
            }
            catch (Exception error)
            {
                if (error is ArgumentException || error is NotSupportedException || error is IOException)
                {
                    throw LaunchError.WrongUse("{0}: `{1}` is no path: {2}", _path, key, value);
                }
                throw;
            }
        }

        /// <summary>A folder that is there.</summary>
        private string Folder(string key)
        {
            string path = PathOf(PythonSection, key);
            if (path == null)
            {
                throw LaunchError.WrongUse(
                    "{0} does not say `{1}`: add it below [{2}].", _path, key, PythonSection);
            }
            if (!Directory.Exists(path))
            {
                throw LaunchError.WrongUse(
                    "{0}: `{1}` names a folder that is not there: {2}", _path, key, path);
            }
            return path;
        }

        private static string Name(string section, string key)
        {
            return section + "." + key;
        }

        private LaunchError Wrong(int at, string problem, params object[] parts)
        {
            return LaunchError.WrongUse(
                "{0}, line {1}: {2}.", _path, at + 1, string.Format(problem, parts));
        }
    }
}
