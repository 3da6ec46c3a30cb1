using System;

namespace StardustEsapi
{
    /// <summary>Why a launch ends early: a sentence for the user, and the exit code.</summary>
    public sealed class LaunchError : Exception
    {
        // As stardust_esapi.commands.exit_codes.Exit has them.
        private const int Failed = 1;
        private const int Usage = 2;
        private const int NotApproved = 3;
        private const int Interrupted = 130;

        private LaunchError(int exitCode, string sentence)
            : base(sentence)
        {
            ExitCode = exitCode;
        }

        internal int ExitCode { get; private set; }

        /// <summary>Something is not installed or configured as it must be.</summary>
        internal static LaunchError WrongUse(string sentence, params object[] parts)
        {
            return new LaunchError(Usage, string.Format(sentence, parts));
        }

        /// <summary>What would run is not what was approved.</summary>
        internal static LaunchError Refused(string sentence, params object[] parts)
        {
            return new LaunchError(NotApproved, string.Format(sentence, parts));
        }

        /// <summary>Something went wrong that nobody has foreseen.</summary>
        internal static LaunchError Crashed(string what)
        {
            return new LaunchError(Failed, string.Format(
                "{0} ended with an error that was not foreseen: {1}. Please report it.",
                Assemblies.OwnName(), what.TrimEnd('.', ' ', '\n', '\r')));
        }

        /// <summary>The user has stopped it.</summary>
        internal static LaunchError Stopped()
        {
            return new LaunchError(Interrupted, "Stopped.");
        }

        /// <summary>Python wants to end with this exit code.</summary>
        internal static LaunchError Ended(int exitCode, string sentence)
        {
            return new LaunchError(exitCode, sentence);
        }
    }
}
