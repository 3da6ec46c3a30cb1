using System;

namespace StardustEsapi
{
    internal static class Workstation
    {
        private const string NoWindow = "STARDUST_NO_WINDOW";

        /// <summary>Whether this is Windows; Mono runs elsewhere too.</summary>
        internal static bool IsWindows
        {
            get { return Environment.OSVersion.Platform == PlatformID.Win32NT; }
        }

        /// <summary>Whether somebody can see a window, and nobody has ruled them out.</summary>
        internal static bool CanShowWindows
        {
            get
            {
                return string.IsNullOrEmpty(Environment.GetEnvironmentVariable(NoWindow))
                    && (IsWindows
                        ? Environment.UserInteractive
                        : !string.IsNullOrEmpty(Environment.GetEnvironmentVariable("DISPLAY")));
            }
        }
    }
}
