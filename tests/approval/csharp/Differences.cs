using System;
using System.Linq;
using System.Text;

namespace StardustEsapi
{
    /// <summary>Says how site folders differ from the manifest compiled in, as a launcher would.</summary>
    /// <remarks>The first argument is the folder of Python.</remarks>
    internal static class DifferencesProgram
    {
        private static int Main(string[] arguments)
        {
            Console.OutputEncoding = new UTF8Encoding(false);
            Manifest manifest = Manifest.Embedded();
            PythonHome home = PythonHome.Find(arguments[0], manifest.Python);
            foreach (string site in arguments.Skip(1))
            {
                foreach (string difference in manifest.Differences(PythonFiles.Read(site, home).Digests()))
                {
                    Console.Write(difference + "\n");
                }
            }
            return 0;
        }
    }
}
