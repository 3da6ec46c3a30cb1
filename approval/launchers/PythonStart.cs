using System;
using System.IO;

namespace StardustEsapi
{
    /// <summary>Starts Python once in a process, after all that must be looked at before.</summary>
    internal static class PythonStart
    {
        // In Eclipse launchers of other versions may have run before: they see each other here.
        private const string Slot = "stardust-esapi";

        /// <summary>Starts Python, or finds it running with the very same files.</summary>
        /// <param name="signals">Whether Ctrl-C is Python's, as in a program; never in Eclipse.</param>
        /// <exception cref="LaunchError">It cannot start, or runs for somebody else.</exception>
        internal static void Ensure(Launch launch, bool signals)
        {
            PythonLibrary library = PythonLibrary.Load(launch.Home.PathOf(launch.Home.Library));
            Assemblies.ResolveRuntime(Path.Combine(
                launch.Configuration.Site, "pythonnet", "runtime", Assemblies.Runtime + ".dll"));
            // Only from here on may a type of Python.Runtime be met.
            Interpreter.RequireRuntime();
            if (library.IsRunning)
            {
                if (launch.Identity != (string)AppDomain.CurrentDomain.GetData(Slot))
                {
                    throw LaunchError.WrongUse(
                        "Python runs in this program already, with other files than {0} {1} found now. "
                        + "Close Eclipse and start it again.", launch.Host.Name, launch.Host.Version);
                }
                return;
            }
            library.Isolate();
            ImportGuard.Install(library, launch.Files, launch.ModulePaths);
            Interpreter.Start(launch, signals);
            AppDomain.CurrentDomain.SetData(Slot, launch.Identity);
        }
    }
}
