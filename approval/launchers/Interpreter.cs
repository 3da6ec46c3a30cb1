using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Runtime.CompilerServices;
using Python.Runtime;

namespace StardustEsapi
{
    /// <summary>Python in this process. All that touches Python.Runtime stands here.</summary>
    /// <remarks>
    /// .NET loads Python.Runtime when it compiles the first method that names one of its types: so
    /// none of these may be inlined into what runs before the files are checked.
    /// </remarks>
    internal static class Interpreter
    {
        private const string Entry = "stardust_esapi.commands.launcher";

        /// <summary>Refuses another Python.Runtime than the one that was checked.</summary>
        /// <remarks>.NET looks beside the program first, and Eclipse may hold one from another script.</remarks>
        [MethodImpl(MethodImplOptions.NoInlining)]
        internal static void RequireRuntime()
        {
            string loaded = typeof(PythonEngine).Assembly.Location;
            if (!Assemblies.IsRuntime(loaded))
            {
                throw LaunchError.Refused(
                    "{0} is loaded, and not the one of the site folder, which was checked. Remove it if it "
                    + "lies beside the launcher; if it is another script's, close Eclipse and start again.",
                    loaded);
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        internal static void Start(Launch launch, bool signals)
        {
            // Before pythonnet's own handler, and so in front of it.
            AppDomain.CurrentDomain.ProcessExit += (sender, about) => PrepareShutdown();
            Runtime.PythonDLL = launch.Home.PathOf(launch.Home.Library);
            PythonEngine.PythonHome = launch.Home.Folder;
            PythonEngine.Initialize(Enumerable.Empty<string>(), false, signals);
            using (PyObject sys = Py.Import("sys"))
            {
                // pythonnet adds the folder of .NET.
                Set(sys, "path", List(launch.ModulePaths));
            }
            // Who wants Python takes its lock, on whichever thread.
            PythonEngine.BeginAllowThreads();
        }

        /// <summary>Runs the command line; its exit code.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        internal static int RunConsole(Host host, string[] arguments)
        {
            using (Py.GIL())
            {
                return Translated(() =>
                {
                    using (PyObject sys = Py.Import("sys"))
                    {
                        Set(sys, "argv", List(new[] { host.Name }.Concat(arguments)));
                    }
                    using (PyObject module = Py.Import(Entry))
                    using (PyObject python = host.ToPython())
                    using (PyObject list = List(arguments))
                    using (PyObject code = module.InvokeMethod("run_console", python, list))
                    {
                        return code.As<int>();
                    }
                });
            }
        }

        /// <summary>Runs the plug-in's job; the sentence to show at the end.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        internal static string RunPlugIn(
            Host host, object context, IDictionary<string, string> options, object window)
        {
            using (Py.GIL())
            {
                return Translated(() =>
                {
                    using (PyObject module = Py.Import(Entry))
                    using (var dictionary = new PyDict())
                    {
                        foreach (KeyValuePair<string, string> option in options)
                        {
                            using (var value = new PyString(option.Value))
                            {
                                dictionary.SetItem(option.Key, value);
                            }
                        }
                        using (PyObject python = host.ToPython())
                        using (PyObject screen = context.ToPython())
                        using (PyObject progress = window.ToPython())
                        using (PyObject sentence = module.InvokeMethod(
                            "run_plugin", python, screen, dictionary, progress))
                        {
                            return sentence.ToString();
                        }
                    }
                });
            }
        }

        /// <summary>Ends Python as the end of a Python program does. It cannot start again.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        internal static void Stop()
        {
            using (Py.GIL())
            {
                // pythonnet leaves these out.
                Call("threading", "_shutdown");
                Call("atexit", "_run_exitfuncs");
                using (PyObject sys = Py.Import("sys"))
                {
                    foreach (string name in new[] { "stdout", "stderr" })
                    {
                        using (PyObject stream = sys.GetAttr(name))
                        {
                            if (!stream.IsNone())
                            {
                                stream.InvokeMethod("flush").Dispose();
                            }
                        }
                    }
                }
            }
            PrepareShutdown();
            PythonEngine.Shutdown();
        }

        /// <summary>Else pythonnet looks for garbage among all objects, again and again, for seconds.</summary>
        private static void PrepareShutdown()
        {
            if (PythonEngine.IsInitialized)
            {
                using (Py.GIL())
                {
                    Call("gc", "freeze");
                }
            }
        }

        private static T Translated<T>(Func<T> run)
        {
            try
            {
                return run();
            }
            catch (PythonException error)
            {
                throw Translated(error);
            }
        }

        private static LaunchError Translated(PythonException error)
        {
            switch (error.Type.Name)
            {
                case "KeyboardInterrupt":
                    return LaunchError.Stopped();
                case "SystemExit":
                    return Ended(error.Value);
                case ImportGuard.Refusal:
                    return LaunchError.Refused(
                        "{0}. Nothing more is run. Install the approved files again.", error.Message);
                default:
                    return LaunchError.Crashed(string.Format(
                        "{0}: {1}{2}", error.Type.Name, error.Message.Trim(), Place(error.Traceback)));
            }
        }

        /// <summary>sys.exit(): a number, a sentence, or nothing.</summary>
        private static LaunchError Ended(PyObject exit)
        {
            using (PyObject code = exit.GetAttr("code"))
            {
                return code.IsNone() ? LaunchError.Ended(0, "")
                    : PyInt.IsIntType(code) ? LaunchError.Ended(code.As<int>(), "")
                    : LaunchError.Ended(1, code.ToString());
            }
        }

        /// <summary>Where in the Python files it happened.</summary>
        private static string Place(PyObject traceback)
        {
            if (traceback == null || traceback.IsNone())
            {
                return "";
            }
            using (PyObject module = Py.Import("traceback"))
            using (PyObject frames = module.InvokeMethod("extract_tb", traceback))
            using (PyObject last = frames[(int)frames.Length() - 1])
            using (PyObject file = last.GetAttr("filename"))
            using (PyObject line = last.GetAttr("lineno"))
            {
                return string.Format(" ({0}, line {1})", Path.GetFileName(file.ToString()), line);
            }
        }

        private static void Call(string module, string function)
        {
            using (PyObject imported = Py.Import(module))
            {
                imported.InvokeMethod(function).Dispose();
            }
        }

        private static void Set(PyObject target, string name, PyObject value)
        {
            using (value)
            {
                target.SetAttr(name, value);
            }
        }

        private static PyList List(IEnumerable<string> texts)
        {
            var list = new PyList();
            foreach (string text in texts)
            {
                using (var item = new PyString(text))
                {
                    list.Append(item);
                }
            }
            return list;
        }
    }
}
