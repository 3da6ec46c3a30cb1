using System;
using System.Linq;
using VMS.TPS.Common.Model.API;

#if WRITEABLE
[assembly: ESAPIScript(IsWriteable = true)]
#endif

/// <summary>An EXE that is a script. Says what it may do: "own" or "hosted", and the patient's id.</summary>
internal static class Tool
{
    private static void Main(string[] arguments)
    {
        using (Application application = arguments[0] == "own"
            ? Application.CreateApplication()
            : CustomScriptExecutable.CreateApplication("Tool"))
        {
            Say("second application", () => Application.CreateApplication());
            Patient patient = application.OpenPatientById(arguments[1]);
            Console.WriteLine($"may modify: {patient.CanModifyData()}");
            Say("begin", patient.BeginModifications);
            Say("make", () => patient.StructureSets.First().Image.CreateNewStructureSet());
            Say("save", application.SaveModifications);
        }
    }

    private static void Say(string what, Action action)
    {
        try
        {
            action();
            Console.WriteLine($"{what}: done");
        }
        catch (ApplicationException error)
        {
            Console.WriteLine($"{what}: {error.Message}");
        }
    }
}
