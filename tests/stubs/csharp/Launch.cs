using System;
using System.Linq;
using System.Reflection;
using EsapiStub;
using VMS.TPS.Common.Model.API;

/// <summary>Runs a plug-in as Eclipse does: its file, "save" or "drop", patient, plan, structure set.</summary>
/// <remarks>Ids are UIDs but for the patient's; "-" is none. Its assembly must be named EclipseStub.</remarks>
internal static class Launch
{
    private static void Main(string[] arguments)
    {
        string[] ids = arguments.Skip(2).Select(id => id == "-" ? null : id).ToArray();
        Assembly plugIn = Assembly.LoadFrom(arguments[0]);
        Patient patient;
        using (var launcher = new Launcher(plugIn, ids[0]))
        {
            ScriptContext context = launcher.Context(ids[1], ids[2]);
            patient = context.Patient;
            dynamic script = Activator.CreateInstance(plugIn.GetType("VMS.TPS.Script"));
            script.Execute(context);
            Console.WriteLine($"modified: {launcher.Modified}");
            if (arguments[1] == "save")
            {
                launcher.Save();
            }
        }
        try
        {
            Console.WriteLine($"afterwards: {patient?.Id}");
        }
        catch (ObjectDisposedException error)
        {
            Console.WriteLine($"afterwards: {error.Message}");
        }
    }
}
