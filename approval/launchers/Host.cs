using System.Reflection;
using System.Runtime.CompilerServices;

namespace StardustEsapi
{
    /// <summary>What Python is told of the launcher that it runs in.</summary>
    public sealed class Host
    {
#if WRITABLE
        private RecordWriter _writer;
#endif

        internal Host(Manifest manifest, string difference)
        {
            AssemblyName launcher = Assembly.GetExecutingAssembly().GetName();
            Name = launcher.Name;
            Version = launcher.Version.ToString();
            ManifestDigest = manifest.Digest;
            Difference = difference;
        }

        /// <summary>Name of the assembly, as Script Approval shows it.</summary>
        public string Name { get; private set; }

        /// <summary>Version of the assembly, as Script Approval shows it.</summary>
        public string Version { get; private set; }

        /// <summary>Whether the assembly asks Eclipse for the permission to write.</summary>
        public bool IsWriteable
        {
            get
            {
#if WRITABLE
                return true;
#else
                return false;
#endif
            }
        }

        /// <summary>What alone can change a patient's record; null in a launcher that never does.</summary>
        /// <remarks>Made when Python asks: only then does .NET know where ESAPI's assemblies are.</remarks>
        public object Writer
        {
            [MethodImpl(MethodImplOptions.NoInlining)]
            get
            {
#if WRITABLE
                return _writer = _writer ?? new RecordWriter();
#else
                return null;
#endif
            }
        }

        /// <summary>SHA-256 of the manifest that is compiled in, in hex.</summary>
        public string ManifestDigest { get; private set; }

        /// <summary>Whether every Python file is as the manifest says.</summary>
        public bool Verified
        {
            get { return Difference.Length == 0; }
        }

        /// <summary>How the files differ from the manifest; empty if they do not.</summary>
        public string Difference { get; private set; }
    }
}
