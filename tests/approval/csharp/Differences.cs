using System;
using System.Text;

namespace StardustEsapi
{
    /// <summary>Says how a folder differs from the manifest compiled in, as a launcher would.</summary>
    internal static class DifferencesProgram
    {
        private static int Main(string[] arguments)
        {
            Console.OutputEncoding = new UTF8Encoding(false);
            foreach (string folder in arguments)
            {
                foreach (string difference in Manifest.Embedded().Differences(SiteFolder.Read(folder)))
                {
                    Console.Write(difference + "\n");
                }
            }
            return 0;
        }
    }
}
