using System;
using System.Reflection;
using VMS.TPS.Common.Model.API;

namespace EsapiStub
{
    /// <summary>What runs, as far as it decides whether patient data may be modified.</summary>
    internal sealed class Script
    {
        private readonly Func<Settings, bool> _mayWrite;

        private Script(Func<Settings, bool> mayWrite)
        {
            _mayWrite = mayWrite;
        }

        /// <summary>An EXE or a plug-in: its own attribute tells, and on a clinical system its approval.</summary>
        internal static Script Of(Assembly assembly)
        {
            bool writeable =
                assembly.GetCustomAttribute<ESAPIScriptAttribute>()?.IsWriteable ?? false;
            return new Script(
                settings => writeable && (!settings.Clinical || settings.ScriptApproved));
        }

        /// <summary>
        /// An interpreter or a native host, which nobody can approve: never writable on a clinical system.
        /// </summary>
        internal static Script Hosted() =>
            new Script(settings => !settings.Clinical && settings.ScriptWritable);

        internal bool MayWrite(Settings settings) => _mayWrite(settings);
    }
}
