using System.Reflection;
using System.Runtime.CompilerServices;

[assembly: AssemblyTitle("Stand-in of Varian's ESAPI; not for clinical use")]
[assembly: AssemblyVersion("1.0.0.0")]
// The stand-in of Eclipse's script launcher; see EsapiStub.Launcher.
[assembly: InternalsVisibleTo("EclipseStub")]
