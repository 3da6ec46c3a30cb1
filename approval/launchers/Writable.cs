#if WRITABLE
using VMS.TPS.Common.Model.API;

// Eclipse reads it from this assembly; only with it, and approved, can a script change patient data.
[assembly: ESAPIScript(IsWriteable = true)]
#endif
