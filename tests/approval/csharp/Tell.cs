using System;
using System.IO;
using System.Reflection;
using System.Security.Cryptography;
using VMS.TPS.Common.Model.API;

/// <summary>Says what .NET itself finds in each launcher.</summary>
internal static class Tell
{
    private static void Main(string[] files)
    {
        foreach (string file in files)
        {
            Assembly assembly = Assembly.LoadFile(Path.GetFullPath(file));
            var attribute = (ESAPIScriptAttribute)Attribute.GetCustomAttribute(
                assembly, typeof(ESAPIScriptAttribute));
            PortableExecutableKinds kind;
            ImageFileMachine machine;
            assembly.ManifestModule.GetPEKind(out kind, out machine);
            Type script = assembly.GetType("VMS.TPS.Script");
            Console.WriteLine(
                "{0} {1} {2} {3} {4} {5}",
                assembly.GetName().Name,
                assembly.GetName().Version,
                attribute != null && attribute.IsWriteable,
                machine == ImageFileMachine.AMD64 ? "X64" : machine.ToString(),
                string.Join(",", assembly.GetManifestResourceNames()) + " " + Digest(assembly),
                script != null ? script.FullName : assembly.EntryPoint.Name);
        }
    }

    private static string Digest(Assembly assembly)
    {
        using (Stream manifest = assembly.GetManifestResourceStream("manifest"))
        using (SHA256 algorithm = SHA256.Create())
        {
            return BitConverter.ToString(algorithm.ComputeHash(manifest)).Replace("-", "").ToLower();
        }
    }
}
