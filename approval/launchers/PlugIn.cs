#if PLUGIN
using System.Runtime.CompilerServices;
using StardustEsapi;
using VMS.TPS.Common.Model.API;

namespace VMS.TPS
{
    /// <summary>What Eclipse looks for in a plug-in, by these very names.</summary>
    public class Script
    {
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Execute(ScriptContext context)
        {
            PlugIn.Run(context);
        }
    }
}

namespace StardustEsapi
{
    /// <summary>The plug-in: does the ini's job in the patient that is open.</summary>
    internal static class PlugIn
    {
        /// <exception cref="LaunchError">It ended early, and there is no window to say so.</exception>
        [MethodImpl(MethodImplOptions.NoInlining)]
        internal static void Run(object context)
        {
            ProgressWindow window = ProgressWindow.Open();
            try
            {
                window.Phase("Checking the program's files …", 0, 0);
                Launch launch = Launch.Prepare(window.Warn);
                PythonStart.Ensure(launch, false);
                window.End(Interpreter.RunPlugIn(
                    launch.Host, context, launch.Configuration.PlugIn, window));
            }
            catch (System.Exception error)
            {
                if (!window.IsShown)
                {
                    throw; // Eclipse shows its text
                }
                window.Finish(Sentence(error), true);
            }
        }

        private static string Sentence(System.Exception error)
        {
            return error is LaunchError
                ? error.Message
                : LaunchError.Crashed(error.GetType().Name + ": " + error.Message).Message;
        }
    }
}
#endif
