using System;
using System.Linq;
using VMS.TPS.Common.Model.API;

#if WRITEABLE
[assembly: ESAPIScript(IsWriteable = true)]
#endif

namespace VMS.TPS
{
    /// <summary>A plug-in as Eclipse runs it: says what it sees and makes a structure set if it may.</summary>
    public class Script
    {
        public void Execute(ScriptContext context)
        {
            Console.WriteLine($"user: {context.CurrentUser.Id}");
            Console.WriteLine($"application: {context.ApplicationName} {context.VersionInfo}");
            Console.WriteLine($"patient: {context.Patient?.Id}");
            Console.WriteLine($"same patient: {ReferenceEquals(context.Patient, context.Patient)}");
            Console.WriteLine($"course: {context.Course?.Id}");
            Console.WriteLine($"plan: {context.PlanSetup?.Id} {context.ExternalPlanSetup?.Id}");
            Console.WriteLine($"plans: {string.Join(" ", context.PlansInScope.Select(p => p.Id))}");
            Console.WriteLine($"structure set: {context.StructureSet?.Id}");
            Console.WriteLine($"image: {context.Image?.Id}");
            try
            {
                Application.CreateApplication();
            }
            catch (ApplicationException error)
            {
                Console.WriteLine($"application of its own: {error.Message}");
            }
            if (context.Patient != null && context.Patient.CanModifyData())
            {
                context.Patient.BeginModifications();
                context.StructureSet.Image.CreateNewStructureSet().Id = "made";
            }
        }
    }
}
