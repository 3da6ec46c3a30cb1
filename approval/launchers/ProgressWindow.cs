#if PLUGIN
using System;
using System.Threading;
using System.Windows.Forms;

namespace StardustEsapi
{
    /// <summary>What the user sees of the plug-in, and where it can be cancelled.</summary>
    /// <remarks>
    /// Python works on Eclipse's own thread, so the window lives on another one. They meet in a
    /// state that each looks at; neither ever waits for the other.
    /// </remarks>
    public sealed class ProgressWindow
    {
        private static ProgressWindow _last;

        private readonly object _gate = new object();
        private readonly ManualResetEvent _decided = new ManualResetEvent(false);
        private Progress _progress = new Progress("", "", 0, 0, Outcome.Running);
        private volatile bool _shown;
        private volatile bool _cancelled;
        private volatile bool _dismissed;

        private ProgressWindow()
        {
        }

        /// <summary>Whether the user wants it to stop.</summary>
        public bool Cancelled
        {
            get { return _cancelled; }
        }

        /// <summary>Whether there is a window on the screen.</summary>
        internal bool IsShown
        {
            get { return _shown; }
        }

        internal bool Dismissed
        {
            get { return _dismissed; }
        }

        internal Progress Current
        {
            get
            {
                lock (_gate)
                {
                    return _progress;
                }
            }
        }

        /// <summary>Says how many cases there are.</summary>
        public void Start(int cases)
        {
            Phase(cases == 1 ? "1 case" : cases + " cases", 0, cases);
        }

        /// <summary>Says what is being done, and how far it is; of 0 in total: nobody knows.</summary>
        public void Phase(string text, int done, int total)
        {
            Change(now => new Progress(text, now.Warning, done, total, Outcome.Running));
        }

        /// <summary>Says how it ended. The window stays until the user closes it.</summary>
        public void Finish(string text, bool failed)
        {
            Change(now => new Progress(
                text, now.Warning, now.Done, now.Total, failed ? Outcome.Failed : Outcome.Done));
            if (!_shown)
            {
                (failed ? Console.Error : Console.Out).WriteLine(text);
            }
        }

        /// <summary>Opens the window where one can be seen; the one of the last run goes.</summary>
        internal static ProgressWindow Open()
        {
            if (_last != null)
            {
                _last._dismissed = true;
            }
            var opened = new ProgressWindow();
            _last = opened;
            if (Workstation.CanShowWindows)
            {
                var thread = new Thread(opened.Show) { IsBackground = true, Name = "StardustExporter" };
                thread.SetApartmentState(ApartmentState.STA);
                thread.Start();
                opened._decided.WaitOne();
            }
            return opened;
        }

        /// <summary>Says how it ended, if Python has not said so.</summary>
        internal void End(string sentence)
        {
            if (Current.Outcome == Outcome.Running)
            {
                Finish(sentence, false);
            }
        }

        /// <summary>Says what the user must know whatever else is said.</summary>
        internal void Warn(string sentence)
        {
            Change(now => new Progress(now.Text, sentence, now.Done, now.Total, now.Outcome));
            if (!_shown)
            {
                Console.Error.WriteLine(sentence);
            }
        }

        internal void Cancel()
        {
            _cancelled = true;
        }

        private void Change(Func<Progress, Progress> change)
        {
            lock (_gate)
            {
                _progress = change(_progress);
            }
        }

        private void Show()
        {
            try
            {
                Application.SetUnhandledExceptionMode(UnhandledExceptionMode.ThrowException, true);
                using (var form = new ProgressForm(this))
                {
                    form.Shown += (sender, about) =>
                    {
                        _shown = true;
                        _decided.Set();
                    };
                    Application.Run(form);
                }
            }
            catch (Exception)
            {
                // Without a window the work goes on all the same.
            }
            finally
            {
                _shown = false;
                _decided.Set();
            }
        }
    }
}
#endif
