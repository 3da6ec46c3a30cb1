using System;
using System.ComponentModel;
using System.Diagnostics;
using System.IO;

namespace EsapiStub
{
    /// <summary>The process of the Python stub that answers: one for the life of this process.</summary>
    /// <remarks>It ends when its standard input does, so also when this process is killed.</remarks>
    internal sealed class Pipe
    {
        /// <summary>Which Python has esapi_stub, if not the one that built this assembly.</summary>
        internal const string Variable = "ESAPI_STUB_PYTHON";

        // On POSIX a child of the child serves: when that ends, with this process, .NET is told nothing.
        // Mono would handle the signal of a child's end, and crash where it has shut down already.
        private const string Serve =
            "import os; os.name == 'posix' and os.fork() and os._exit(0); "
            + "from esapi_stub import skin; skin.main('" + Build.Version + "')";

        private readonly Stream _to;
        private readonly Stream _from;

        internal Pipe()
        {
            string named = Environment.GetEnvironmentVariable(Variable);
            string python = string.IsNullOrEmpty(named) ? Build.Python : named;
            // Isolated: the folder and the environment of a script are none of the stub's.
            string arguments = $"-I -W ignore -c \"{Serve}\"";
            Process process;
            try
            {
                process = Process.Start(new ProcessStartInfo(python, arguments)
                {
                    UseShellExecute = false,
                    CreateNoWindow = true,
                    RedirectStandardInput = true,
                    RedirectStandardOutput = true,
                });
            }
            catch (Win32Exception error)
            {
                throw new InvalidOperationException(
                    $"{python} cannot be started: {error.Message}. {Variable} must name a Python that "
                    + "has esapi_stub.");
            }
            _to = process.StandardInput.BaseStream;
            _from = process.StandardOutput.BaseStream;
        }

        /// <summary>Sends a frame and waits for the one that answers it.</summary>
        internal byte[] Ask(byte[] question)
        {
            try
            {
                _to.Write(BitConverter.GetBytes(question.Length), 0, sizeof(int));
                _to.Write(question, 0, question.Length);
                _to.Flush();
                return Read(BitConverter.ToInt32(Read(sizeof(int)), 0));
            }
            catch (IOException)
            {
                throw new InvalidOperationException(
                    "The process of the Python stub has ended; its standard error may say why.");
            }
        }

        private byte[] Read(int size)
        {
            var frame = new byte[size];
            for (int at = 0; at < size;)
            {
                int read = _from.Read(frame, at, size - at);
                if (read <= 0)
                {
                    throw new EndOfStreamException();
                }
                at += read;
            }
            return frame;
        }
    }
}
