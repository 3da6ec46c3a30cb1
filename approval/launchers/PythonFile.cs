using System;
using System.IO;
using System.Linq;

namespace StardustEsapi
{
    /// <summary>One file that Python may load, as it was when it was compared.</summary>
    internal sealed class PythonFile
    {
        // These are in no manifest, so that they differ from whatever one says.
        private const string Link = "link";
        private const string Unreadable = "unreadable";

        private static readonly string[] SourceSuffixes = { ".py", ".pyw" };

        private readonly byte[] _source;

        /// <summary>On Windows nobody can change, rename or remove the file while this is open.</summary>
        /// <remarks>Elsewhere it would hinder nobody, and handles are few.</remarks>
        private readonly FileStream _held;

        /// <param name="path">How the manifest names it.</param>
        /// <param name="place">Where it lies.</param>
        /// <param name="isLink">What lies behind a link can change without any change here.</param>
        internal PythonFile(string path, string place, bool isLink)
        {
            Path = path;
            Place = place;
            if (isLink)
            {
                Digest = Link;
                return;
            }
            try
            {
                _held = Open();
                if (SourceSuffixes.Contains(System.IO.Path.GetExtension(place).ToLowerInvariant()))
                {
                    _source = Content(_held);
                }
                Digest = _source == null ? Sha256.Of(_held) : Sha256.Of(new MemoryStream(_source));
                if (!Workstation.IsWindows)
                {
                    _held.Dispose();
                }
            }
            catch (IOException)
            {
                Digest = Unreadable;
            }
            catch (UnauthorizedAccessException)
            {
                Digest = Unreadable;
            }
        }

        /// <summary>How the manifest names it.</summary>
        internal string Path { get; private set; }

        /// <summary>Where it lies.</summary>
        internal string Place { get; private set; }

        /// <summary>SHA-256 in hex.</summary>
        internal string Digest { get; private set; }

        /// <summary>Its content, if that is what was compared; else null.</summary>
        internal byte[] Compared()
        {
            if (_source != null)
            {
                return _source;
            }
            try
            {
                using (FileStream stream = Open())
                {
                    byte[] content = Content(stream);
                    return Sha256.Of(new MemoryStream(content)) == Digest ? content : null;
                }
            }
            catch (IOException)
            {
                return null;
            }
            catch (UnauthorizedAccessException)
            {
                return null;
            }
        }

        private FileStream Open()
        {
            // Thousands stay open: without a buffer each.
            return new FileStream(Place, FileMode.Open, FileAccess.Read, FileShare.Read, 1);
        }

        private static byte[] Content(FileStream stream)
        {
            return new BinaryReader(stream).ReadBytes((int)stream.Length);
        }
    }
}
