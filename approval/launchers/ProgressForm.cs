#if PLUGIN
using System;
using System.Drawing;
using System.Windows.Forms;

namespace StardustEsapi
{
    /// <summary>The window itself. Looks at the state ten times a second.</summary>
    internal sealed class ProgressForm : Form
    {
        private const int Interval = 100; // ms
        private const int LongText = 400; // characters, which may not fit

        private readonly ProgressWindow _window;
        private readonly Label _warning = new Label();
        private readonly TextBox _text = new TextBox();
        private readonly ProgressBar _bar = new ProgressBar();
        private readonly Label _count = new Label();
        private readonly Button _button = new Button();
        private readonly Timer _timer = new Timer();
        private Progress _seen;

        internal ProgressForm(ProgressWindow window)
        {
            _window = window;
            Text = Assemblies.OwnName();
            AutoScaleMode = AutoScaleMode.Font;
            ClientSize = new Size(560, 230);
            MinimumSize = new Size(420, 220);
            StartPosition = FormStartPosition.CenterScreen;
            MaximizeBox = false;
            TopMost = true; // Eclipse's own window cannot be moved away while the script runs
            Controls.Add(Arranged());
            _button.Click += (sender, about) => CancelOrClose();
            _timer.Interval = Interval;
            _timer.Tick += (sender, about) => Look();
            _timer.Start();
            Look();
        }

        private bool IsRunning
        {
            get { return _seen.Outcome == Outcome.Running; }
        }

        protected override void OnFormClosing(FormClosingEventArgs about)
        {
            // The cross at the top is Cancel while the work goes on.
            if (about.CloseReason == CloseReason.UserClosing && IsRunning && !_window.Dismissed)
            {
                about.Cancel = true;
                _window.Cancel();
            }
            base.OnFormClosing(about);
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                _timer.Dispose();
            }
            base.Dispose(disposing);
        }

        private Control Arranged()
        {
            var rows = new TableLayoutPanel
            {
                ColumnCount = 2,
                RowCount = 4,
                Dock = DockStyle.Fill,
                Padding = new Padding(12),
            };
            rows.ColumnStyles.Add(new ColumnStyle(SizeType.Percent, 100));
            rows.ColumnStyles.Add(new ColumnStyle(SizeType.AutoSize));
            rows.RowStyles.Add(new RowStyle(SizeType.AutoSize));
            rows.RowStyles.Add(new RowStyle(SizeType.Percent, 100));
            rows.RowStyles.Add(new RowStyle(SizeType.AutoSize));
            rows.RowStyles.Add(new RowStyle(SizeType.AutoSize));

            _warning.AutoSize = true;
            _warning.ForeColor = Color.DarkRed;
            _warning.Dock = DockStyle.Fill;
            // A text box, so that the last sentence can be copied.
            _text.Multiline = true;
            _text.ReadOnly = true;
            _text.TabStop = false;
            _text.BorderStyle = BorderStyle.None;
            _text.BackColor = BackColor;
            _text.Dock = DockStyle.Fill;
            _bar.Dock = DockStyle.Fill;
            _count.AutoSize = true;
            _count.Anchor = AnchorStyles.Right;
            _button.AutoSize = true;
            _button.Anchor = AnchorStyles.Right;

            rows.Controls.Add(_warning, 0, 0);
            rows.SetColumnSpan(_warning, 2);
            rows.Controls.Add(_text, 0, 1);
            rows.SetColumnSpan(_text, 2);
            rows.Controls.Add(_bar, 0, 2);
            rows.Controls.Add(_count, 1, 2);
            rows.Controls.Add(_button, 0, 3);
            rows.SetColumnSpan(_button, 2);
            return rows;
        }

        private void CancelOrClose()
        {
            if (IsRunning)
            {
                _window.Cancel();
                Look();
            }
            else
            {
                Close();
            }
        }

        private void Look()
        {
            if (_window.Dismissed)
            {
                Close();
                return;
            }
            Progress now = _window.Current;
            ShowButton(now.Outcome == Outcome.Running, _window.Cancelled);
            if (ReferenceEquals(now, _seen))
            {
                return;
            }
            _seen = now;
            _warning.Text = now.Warning;
            _warning.Visible = now.Warning.Length > 0;
            _text.Text = now.Text.Replace("\r\n", "\n").Replace("\n", Environment.NewLine);
            _text.ScrollBars = now.Text.Length > LongText ? ScrollBars.Vertical : ScrollBars.None;
            _text.ForeColor = now.Outcome == Outcome.Failed ? Color.DarkRed : SystemColors.ControlText;
            _count.Text = IsRunning && now.Total > 0 ? now.Done + " / " + now.Total : "";
            _bar.Visible = IsRunning;
            _bar.Style = now.Total > 0 ? ProgressBarStyle.Continuous : ProgressBarStyle.Marquee;
            _bar.Maximum = Math.Max(1, now.Total);
            _bar.Value = Math.Min(Math.Max(0, now.Done), _bar.Maximum);
        }

        private void ShowButton(bool running, bool cancelled)
        {
            _button.Enabled = !running || !cancelled;
            _button.Text = !running ? "Close" : cancelled ? "Cancelling …" : "Cancel";
        }
    }
}
#endif
