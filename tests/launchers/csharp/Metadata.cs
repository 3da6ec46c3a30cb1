using System;
using System.Reflection;

/// <summary>Says what the launchers refer to, and which of their methods stay on the stack.</summary>
internal static class Metadata
{
    private const BindingFlags Own = BindingFlags.DeclaredOnly | BindingFlags.Public
        | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static;

    private static void Main(string[] files)
    {
        foreach (string file in files)
        {
            Assembly assembly = Assembly.LoadFile(file);
            string name = assembly.GetName().Name;
            foreach (AssemblyName reference in assembly.GetReferencedAssemblies())
            {
                Console.WriteLine("{0} refers to {1}", name, reference.Name);
            }
            foreach (string type in new[]
            {
                "VMS.TPS.Script", "StardustEsapi.PlugIn", "StardustEsapi.Program", "StardustEsapi.RecordWriter",
            })
            {
                Type found = assembly.GetType(type);
                foreach (MethodInfo method in found == null ? new MethodInfo[0] : found.GetMethods(Own))
                {
                    bool kept = (method.GetMethodImplementationFlags() & MethodImplAttributes.NoInlining) != 0;
                    if (!method.Name.StartsWith("<"))
                    {
                        Console.WriteLine(
                            "{0} {1} {2}.{3}", name, kept ? "keeps" : "may inline", found.Name, method.Name);
                    }
                }
            }
        }
    }
}
