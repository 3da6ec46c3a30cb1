using VMS.TPS.Common.Model.API;

#if WRITABLE
[assembly: ESAPIScript(IsWriteable = true)]
#endif

#if CONSOLE
internal static class Program
{
    [System.STAThread]
    private static int Main()
    {
        System.Console.WriteLine(typeof(Python.Runtime.PythonEngine).Assembly.GetName().Name);
        return 0;
    }
}
#endif

#if PLUGIN
namespace VMS.TPS
{
    public class Script
    {
        public void Execute(ScriptContext context)
        {
        }
    }
}
#endif
