using System;
using System.IO;
using System.Reflection;

/// <summary>Logs in without a word of ESAPI in its metadata.</summary>
internal static class Unreferring
{
    [STAThread]
    private static void Main()
    {
        string here = Path.GetDirectoryName(typeof(Unreferring).Assembly.Location);
        Assembly esapi = Assembly.LoadFrom(Path.Combine(here, "VMS.TPS.Common.Model.API.dll"));
        MethodInfo create = esapi.GetType("VMS.TPS.Common.Model.API.Application")
            .GetMethod("CreateApplication", Type.EmptyTypes);
        try
        {
            create.Invoke(null, null);
            Console.WriteLine("let in");
        }
        catch (TargetInvocationException error)
        {
            Console.WriteLine("{0}: {1}", error.InnerException.GetType().Name, error.InnerException.Message);
        }
    }
}
