using VMS.TPS.Common.Model.API;

namespace StardustEsapi
{
    /// <summary>Makes every launcher refer to ESAPI, also one that meets it through Python alone.</summary>
    /// <remarks>
    /// Eclipse looks into the metadata of the program that logs in, and lets none in that does not
    /// mention the assembly. Nobody calls this.
    /// </remarks>
    public static class EsapiReference
    {
        public static void Hold(Application application)
        {
        }
    }
}
