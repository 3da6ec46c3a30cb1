using System;
using System.ComponentModel;
using System.Runtime.InteropServices;

namespace StardustEsapi
{
    /// <summary>Python's library, before Python starts.</summary>
    /// <remarks>
    /// pythonnet would load it, but cannot tell it to leave the environment alone. Environment
    /// variables cannot simply be removed: the C runtime of a process that runs already, as Eclipse's
    /// does, holds a copy of its own.
    /// </remarks>
    internal sealed class PythonLibrary
    {
        private static readonly string[] Switches =
        {
            "Py_IsolatedFlag",
            "Py_IgnoreEnvironmentFlag", // no PYTHONPATH, PYTHONHOME and their kin
            "Py_NoSiteFlag", // no site-packages of the installation, no .pth files, no sitecustomize
            "Py_NoUserSiteDirectory",
            "Py_DontWriteBytecodeFlag",
            "Py_UTF8Mode", // the same output whatever the workstation's code page
        };

        private readonly string _path;
        private readonly IntPtr _handle;

        private PythonLibrary(string path, IntPtr handle)
        {
            _path = path;
            _handle = handle;
        }

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate int NumberFunction();

        /// <summary>Whether Python runs in this process already.</summary>
        internal bool IsRunning
        {
            get { return Function<NumberFunction>("Py_IsInitialized")() != 0; }
        }

        /// <summary>Loads the library; no Python runs by that.</summary>
        /// <exception cref="LaunchError">It cannot be loaded.</exception>
        internal static PythonLibrary Load(string path)
        {
            IntPtr handle;
            string problem = null;
            if (Workstation.IsWindows)
            {
                // The search for what it needs (vcruntime140.dll) starts in its own folder.
                handle = Windows.LoadLibraryEx(path, IntPtr.Zero, Windows.LoadWithAlteredSearchPath);
                if (handle == IntPtr.Zero)
                {
                    problem = new Win32Exception(Marshal.GetLastWin32Error()).Message;
                }
            }
            else
            {
                // Compiled modules look for its symbols in what is global.
                handle = Posix.dlopen(path, Posix.Now | Posix.Global);
                if (handle == IntPtr.Zero)
                {
                    problem = Marshal.PtrToStringAnsi(Posix.dlerror());
                }
            }
            if (handle == IntPtr.Zero)
            {
                throw LaunchError.WrongUse(
                    "Python's library {0} cannot be loaded: {1} It must be of a {2}-bit Python; correct `home` "
                    + "in {3}.",
                    path, problem, 8 * IntPtr.Size, Configuration.FileName);
            }
            return new PythonLibrary(path, handle);
        }

        /// <summary>Lets Python start without anything from outside its own standard library.</summary>
        internal void Isolate()
        {
            foreach (string name in Switches)
            {
                Marshal.WriteInt32(Symbol(name), 1);
            }
        }

        /// <summary>One of its functions.</summary>
        /// <exception cref="LaunchError">It has none of that name.</exception>
        internal T Function<T>(string name)
        {
            return (T)(object)Marshal.GetDelegateForFunctionPointer(Symbol(name), typeof(T));
        }

        private IntPtr Symbol(string name)
        {
            IntPtr found = Workstation.IsWindows
                ? Windows.GetProcAddress(_handle, name)
                : Posix.dlsym(_handle, name);
            if (found == IntPtr.Zero)
            {
                throw LaunchError.WrongUse(
                    "{0} is no Python library that this launcher can start: it has no {1}.", _path, name);
            }
            return found;
        }

        private static class Windows
        {
            internal const uint LoadWithAlteredSearchPath = 8;

            [DllImport("kernel32", CharSet = CharSet.Unicode, SetLastError = true)]
            internal static extern IntPtr LoadLibraryEx(string path, IntPtr reserved, uint flags);

            [DllImport("kernel32", CharSet = CharSet.Ansi, ExactSpelling = true, BestFitMapping = false)]
            internal static extern IntPtr GetProcAddress(IntPtr library, string name);
        }

        private static class Posix
        {
            internal const int Now = 2;
            internal const int Global = 0x100;

            [DllImport("libdl.so.2")]
            internal static extern IntPtr dlopen(string path, int flags);

            [DllImport("libdl.so.2")]
            internal static extern IntPtr dlsym(IntPtr library, string name);

            [DllImport("libdl.so.2")]
            internal static extern IntPtr dlerror();
        }
    }
}
