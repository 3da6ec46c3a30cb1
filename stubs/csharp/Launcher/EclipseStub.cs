using System;
using System.Linq;
using System.Reflection;
using VMS.TPS.Common.Model.API;

namespace EsapiStub
{
    /// <summary>A stand-in of Eclipse's script launcher: a patient is open, and a user starts plug-ins.</summary>
    internal static class EclipseStub
    {
        private const int Failed = 1;
        private const int Usage = 2;
        private const string Help =
            "EclipseStub.exe DB PATIENT [COURSE/PLAN | STRUCTURESET] PLUGIN.dll... [--save]\n"
            + "Opens a patient of the stub database DB (none for -) and what the next argument names: a\n"
            + "plan, or a structure set by id or UID. Runs each plug-in in turn; the same one again runs\n"
            + "in the patient as it left it. Then the patient is closed, with --save after saving.";

        // As Eclipse's own thread.
        [STAThread]
        private static int Main(string[] arguments)
        {
            bool save = arguments.Contains("--save");
            string[] words = arguments.Where(word => word != "--save").ToArray();
            string[] plugIns = words.Skip(2).SkipWhile(word => !IsPlugIn(word)).ToArray();
            int screen = words.Length - plugIns.Length - 2;
            if (screen < 0 || screen > 1 || plugIns.Length == 0 || !plugIns.All(IsPlugIn))
            {
                Console.Error.WriteLine(Help);
                return Usage;
            }
            Environment.SetEnvironmentVariable(Scripts.Variable, words[0]);
            string patient = words[1] == "-" ? null : words[1];
            try
            {
                return Run(patient, screen == 1 ? words[2] : null, plugIns, save) ? 0 : Failed;
            }
            catch (DatabaseError error)
            {
                Console.Error.WriteLine(error.Message);
                return Usage;
            }
        }

        private static bool IsPlugIn(string word) =>
            word.EndsWith(".dll", StringComparison.OrdinalIgnoreCase);

        private static bool Run(string patient, string screen, string[] plugIns, bool save)
        {
            bool fine = true;
            for (int at = 0; at < plugIns.Length;)
            {
                string file = plugIns[at];
                Assembly plugIn = Assembly.LoadFrom(file);
                using (var launcher = new Launcher(plugIn, patient))
                {
                    for (; at < plugIns.Length && plugIns[at] == file; at++)
                    {
                        fine &= Execute(plugIn, launcher.Screen(screen));
                    }
                    Close(launcher, save);
                }
            }
            return fine;
        }

        /// <summary>Runs a script; Eclipse shows what it throws, and goes on.</summary>
        private static bool Execute(Assembly plugIn, ScriptContext context)
        {
            Type script = plugIn.GetType("VMS.TPS.Script")
                ?? throw new DatabaseError($"{plugIn.Location} holds no class VMS.TPS.Script.");
            MethodInfo execute = script.GetMethod("Execute", new[] { typeof(ScriptContext) })
                ?? throw new DatabaseError($"{plugIn.Location}: Script has no Execute(ScriptContext).");
            try
            {
                execute.Invoke(Activator.CreateInstance(script), new object[] { context });
                return true;
            }
            catch (TargetInvocationException error)
            {
                Console.Error.WriteLine($"The script ended with an error: {error.InnerException.Message}");
                return false;
            }
        }

        private static void Close(Launcher launcher, bool save)
        {
            bool modified = launcher.Modified;
            if (modified && save)
            {
                launcher.Save();
            }
            Console.WriteLine(
                !modified ? "The patient was not changed."
                : save ? "The changes were saved."
                : "The changes were dropped.");
        }
    }
}
