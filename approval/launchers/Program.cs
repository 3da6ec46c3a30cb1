#if CONSOLE
using System;
using System.Runtime.CompilerServices;

namespace StardustEsapi
{
    /// <summary>The program: its arguments are those of stardust-esapi, and so is its exit code.</summary>
    internal static class Program
    {
        // ESAPI wants a single-threaded apartment.
        [STAThread]
        [MethodImpl(MethodImplOptions.NoInlining)]
        private static int Main(string[] arguments)
        {
            try
            {
                return Run(arguments);
            }
            catch (LaunchError error)
            {
                Say(error.Message);
                return error.ExitCode;
            }
            catch (Exception error)
            {
                LaunchError crash = LaunchError.Crashed(error.GetType().Name + ": " + error.Message);
                Say(crash.Message);
                return crash.ExitCode;
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static int Run(string[] arguments)
        {
            Launch launch = Launch.Prepare(Say);
            Assemblies.ResolveEsapi(launch.Configuration.Esapi);
            PythonStart.Ensure(launch, true);
            try
            {
                return Interpreter.RunConsole(launch.Host, arguments);
            }
            finally
            {
                Interpreter.Stop();
            }
        }

        private static void Say(string sentence)
        {
            if (sentence.Length > 0)
            {
                Console.Error.WriteLine(sentence);
            }
        }
    }
}
#endif
