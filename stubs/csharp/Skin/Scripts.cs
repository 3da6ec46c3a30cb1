using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Runtime.CompilerServices;
using EsapiStub;
using VMS.TPS.Common.Model.API;

[assembly: AssemblyTitle("Stand-in of Varian's ESAPI; not for clinical use")]
[assembly: AssemblyVersion("1.0.0.0")]
// The stand-in of Eclipse's script launcher.
[assembly: InternalsVisibleTo("EclipseStub")]

namespace VMS.TPS.Common.Model.API
{
    /// <summary>On a script's assembly: what the script wants to be allowed.</summary>
    [AttributeUsage(AttributeTargets.Assembly)]
    public class ESAPIScriptAttribute : Attribute
    {
        public bool IsWriteable { get; set; }
    }

    public partial class Application : IDisposable
    {
        /// <summary>Starts ESAPI for an EXE, which is the script.</summary>
        public static Application CreateApplication()
        {
            Assembly entry = Assembly.GetEntryAssembly();
            if (entry == null)
            {
                throw new ApplicationException(
                    "The process was not started from a .NET program: "
                    + "call CustomScriptExecutable.CreateApplication instead.");
            }
            Scripts.RequireReference(entry);
            return Scripts.Start<Application>("create_application", Scripts.Told(entry));
        }
    }

    /// <summary>Starts ESAPI for interpreters and native hosts.</summary>
    public class CustomScriptExecutable
    {
        private CustomScriptExecutable()
        {
        }

        public static Application CreateApplication(string scriptName)
        {
            if (scriptName == null)
            {
                throw new ArgumentNullException(
                    null, "Value cannot be null. Parameter name: scriptName");
            }
            return Scripts.Start<Application>("create_application", null);
        }
    }
}

namespace EsapiStub
{
    /// <summary>What only .NET knows of a script: its assembly, and the environment as it is now.</summary>
    internal static class Scripts
    {
        /// <summary>Names the folder of the stub database.</summary>
        internal const string Variable = "ESAPI_STUB_DB";

        // Beside the properties that are set.
        private static readonly HashSet<string> Writes = new HashSet<string>
        {
            "CanModifyData", "BeginModifications", "SaveModifications", "CreateNewStructureSet", "Copy",
            "Delete", "AddStructure", "RemoveStructure", "ConvertToHighResolution",
            "AddContourOnImagePlane", "SubtractContourOnImagePlane", "ClearAllContoursOnImagePlane",
        };

        /// <summary>Eclipse lets no program in that does not mention ESAPI.</summary>
        internal static void RequireReference(Assembly entry)
        {
            string api = typeof(Scripts).Assembly.GetName().Name;
            if (entry.GetReferencedAssemblies().All(reference => reference.Name != api))
            {
                throw new UnauthorizedScriptingAPIAccessException(
                    "Application was not able to load the required Eclipse Scripting API version. "
                    + "Another reason might be that the script has no reference to Eclipse Scripting API at all.");
            }
        }

        /// <summary>What the stub is told of an assembly: its name, and whether it says that it writes.</summary>
        internal static object[] Told(Assembly assembly)
        {
            bool? writeable = assembly.GetCustomAttribute<ESAPIScriptAttribute>()?.IsWriteable;
            return new object[] { assembly.GetName().Name, writeable ?? false };
        }

        /// <summary>Of a write, the assemblies on the stack, the nearest first; else null.</summary>
        internal static object[] Callers(string verb, string member)
        {
            if (verb != "set" && !Writes.Contains(member))
            {
                return null;
            }
            return new StackTrace().GetFrames()
                .Select(frame => frame.GetMethod()?.Module.Assembly)
                .Where(assembly => assembly != null && !IsFramework(assembly.GetName().Name))
                .Distinct()
                .Select(Told)
                .ToArray();
        }

        /// <summary>The framework, ESAPI, or Eclipse itself.</summary>
        private static bool IsFramework(string name) =>
            name == "mscorlib" || name == "netstandard" || name == "EclipseStub"
            || name.StartsWith("System.") || name == "System" || name.StartsWith("VMS.TPS.");

        internal static T Start<T>(string how, object[] script, params object[] more)
        {
            string folder = Environment.GetEnvironmentVariable(Variable);
            folder = string.IsNullOrEmpty(folder) ? "" : Path.GetFullPath(folder);
            string epoch = Environment.GetEnvironmentVariable("SOURCE_DATE_EPOCH");
            object[] arguments = new object[] { folder, script, epoch }.Concat(more).ToArray();
            return Remote.Call<T>(null, how, arguments);
        }
    }

    /// <summary>What Eclipse says of a script that it does not let use ESAPI.</summary>
    internal sealed class UnauthorizedScriptingAPIAccessException : Exception
    {
        internal UnauthorizedScriptingAPIAccessException(string message)
            : base(message)
        {
        }
    }

    /// <summary>What Eclipse does around a plug-in; for EclipseStub, its stand-in of the script launcher.</summary>
    /// <remarks>
    /// <code>
    /// using (var launcher = new Launcher(plugIn, patientId))   // the database is that of ESAPI_STUB_DB
    /// {
    ///     ScriptContext context = launcher.Context(planUid, structureSetUid);   // each may be null
    ///     …run VMS.TPS.Script.Execute(context) on this thread…
    ///     if (launcher.Modified) { launcher.Save(); }          // or nothing: the changes are dropped
    /// }                                                        // here the patient closes
    /// </code>
    /// The plug-in's own ESAPIScriptAttribute says whether it may write, and on a clinical system
    /// the settings permission and script_approved. While a launcher lives, no Application can be made.
    /// </remarks>
    internal sealed class Launcher : IDisposable
    {
        private readonly object _eclipse;

        /// <param name="plugIn">The assembly that holds the script.</param>
        /// <param name="patientId">The patient to open; null for none.</param>
        internal Launcher(Assembly plugIn, string patientId)
        {
            _eclipse = Scripts.Start<object>("start_eclipse", Scripts.Told(plugIn), patientId);
        }

        /// <summary>Whether the plug-in has left changes that are not saved.</summary>
        internal bool Modified => Remote.Get<bool>(_eclipse, "modified");

        /// <summary>What the plug-in gets to see.</summary>
        /// <param name="planUid">The plan on the screen; its structure set is then there too.</param>
        /// <param name="structureSetUid">The structure set on the screen, if not the plan's.</param>
        internal ScriptContext Context(string planUid, string structureSetUid) =>
            Remote.Call<ScriptContext>(_eclipse, "context", planUid, structureSetUid);

        /// <summary>What the plug-in gets to see.</summary>
        /// <param name="words">COURSE/PLAN, or a structure set's id or UID; null for nothing.</param>
        internal ScriptContext Screen(string words) =>
            Remote.Call<ScriptContext>(_eclipse, "screen", words);

        /// <summary>Saves what the plug-in has changed, as the user does in Eclipse.</summary>
        internal void Save()
        {
            Remote.Call<object>(_eclipse, "save");
        }

        /// <summary>Closes the patient; what is not saved is dropped.</summary>
        public void Dispose()
        {
            Remote.Call<object>(_eclipse, "close");
        }
    }
}
