using System;
using System.IO;

namespace StardustEsapi
{
    /// <summary>A fresh folder where Python finds no compiled files, instead of the __pycache__ folders.</summary>
    /// <remarks>
    /// A __pycache__ is in no manifest, and Python trusts what lies there if it is only dated right.
    /// </remarks>
    internal sealed class EmptyFolder : IDisposable
    {
        internal EmptyFolder()
        {
            Path = System.IO.Path.Combine(
                System.IO.Path.GetTempPath(), "stardust-esapi-" + Guid.NewGuid().ToString("N"));
            Directory.CreateDirectory(Path);
        }

        internal string Path { get; private set; }

        public void Dispose()
        {
            try
            {
                Directory.Delete(Path, true);
            }
            catch (IOException)
            {
                // An empty folder is left behind in the folder for such things.
            }
            catch (UnauthorizedAccessException)
            {
            }
        }
    }
}
