using System;
using System.IO;
using System.Security.Cryptography;

namespace StardustEsapi
{
    internal static class Sha256
    {
        /// <summary>Characters of a digest in hex.</summary>
        internal const int Length = 64;

        internal static string Of(Stream content)
        {
            // Windows' own implementation: several times as fast as the managed one, and FIPS-approved.
            using (var algorithm = new SHA256CryptoServiceProvider())
            {
                byte[] digest = algorithm.ComputeHash(content);
                return BitConverter.ToString(digest).Replace("-", "").ToLowerInvariant();
            }
        }
    }
}
