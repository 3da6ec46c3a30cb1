#if PLUGIN
namespace StardustEsapi
{
    internal enum Outcome
    {
        Running,
        Done,
        Failed,
    }

    /// <summary>What the window shows at a moment.</summary>
    internal sealed class Progress
    {
        internal Progress(string text, string warning, int done, int total, Outcome outcome)
        {
            Text = text ?? "";
            Warning = warning ?? "";
            Done = done;
            Total = total;
            Outcome = outcome;
        }

        internal string Text { get; private set; }

        internal string Warning { get; private set; }

        internal int Done { get; private set; }

        internal int Total { get; private set; }

        internal Outcome Outcome { get; private set; }
    }
}
#endif
