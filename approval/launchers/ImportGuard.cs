using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.InteropServices;
using System.Text;

namespace StardustEsapi
{
    /// <summary>Lets Python import the very files that were compared, and nothing else.</summary>
    /// <remarks>
    /// Between the comparison and an import a file can be replaced or added. So Python gets the source
    /// that was compared from memory, and a compiled module is compared once more before it is loaded and
    /// once loaded; files of compiled Python and zip files are not looked at.
    ///
    /// It must be there before the first import. That one is "encodings", which Python asks for
    /// while it starts: so a built-in module of that name stands before the one in a file, sets all
    /// this up, and gives way to it.
    /// </remarks>
    internal static class ImportGuard
    {
        /// <summary>What Python raises where a file is not, or no longer, one that was compared.</summary>
        internal const string Refusal = "NotCompared";

        private const string Source = @"
import sys
from _frozen_importlib import _load
from _frozen_importlib_external import (
    SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, PathFinder, SourceFileLoader)
from _imp import extension_suffixes


class NotCompared(ImportError):
    pass


def require(path):
    content = compared(path)
    if content is False:
        raise NotCompared(f'{path} is not among the files that were compared, or was changed since')
    return content


def get_code(loader, name):
    return loader.source_to_code(require(loader.path), loader.path)


def create_module(loader, spec):
    require(spec.origin)
    module = create(loader, spec)
    require(spec.origin)  # Windows lets nobody change it meanwhile, other systems do
    return module


create = ExtensionFileLoader.create_module
ExtensionFileLoader.create_module = create_module
SourceFileLoader.get_code = get_code
sys.path_hooks[:] = [FileFinder.path_hook(
    (ExtensionFileLoader, extension_suffixes()), (SourceFileLoader, SOURCE_SUFFIXES))]
sys.path_importer_cache.clear()
sys.path[:] = PATH
_load(PathFinder.find_spec('encodings'))
";

        private const int OneArgument = 8; // METH_O
        private const int Execute = 2; // Py_mod_exec
        private const int File = 257; // Py_file_input

        // Python calls these as long as it runs.
        private static readonly List<Delegate> Kept = new List<Delegate>();

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate IntPtr Initialiser();

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate int Executor(IntPtr module);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate IntPtr Function(IntPtr module, IntPtr argument);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate int AppendInittab(IntPtr name, IntPtr initialiser);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate IntPtr OfObject(IntPtr argument);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate IntPtr OfNumber(int argument);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate IntPtr CompileString(byte[] text, byte[] file, int start);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate IntPtr EvalCode(IntPtr code, IntPtr globals, IntPtr locals);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate IntPtr AsText(IntPtr text, out IntPtr size);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate IntPtr FromBytes(byte[] content, IntPtr size);

        /// <summary>Stands before Python's first import; it must not run yet.</summary>
        /// <param name="python">Its library.</param>
        /// <param name="files">What was compared.</param>
        /// <param name="path">For sys.path, instead of what Python finds for it.</param>
        internal static void Install(PythonLibrary python, PythonFiles files, IEnumerable<string> path)
        {
            var getDictionary = python.Function<OfObject>("PyModule_GetDict");
            var compile = python.Function<CompileString>("Py_CompileString");
            var evaluate = python.Function<EvalCode>("PyEval_EvalCode");
            var initialise = python.Function<OfObject>("PyModuleDef_Init");
            var asText = python.Function<AsText>("PyUnicode_AsUTF8AndSize");
            var fromBytes = python.Function<FromBytes>("PyBytes_FromStringAndSize");
            var fromBool = python.Function<OfNumber>("PyBool_FromLong");

            Function compared = (module, place) =>
            {
                IntPtr size;
                IntPtr text = asText(place, out size);
                if (text == IntPtr.Zero)
                {
                    return IntPtr.Zero; // Python has noted the error
                }
                var letters = new byte[(int)size];
                Marshal.Copy(text, letters, 0, letters.Length);
                byte[] content = files.Compared(Encoding.UTF8.GetString(letters));
                return content == null ? fromBool(0) : fromBytes(content, (IntPtr)content.Length);
            };
            string source = Source.Replace("PATH", "[" + string.Join(", ", path.Select(Quoted)) + "]");
            Executor execute = module =>
            {
                IntPtr code = compile(Text(source), Text("ImportGuard.cs"), File);
                IntPtr names = getDictionary(module);
                return code != IntPtr.Zero && evaluate(code, names, names) != IntPtr.Zero ? 0 : -1;
            };
            // PyMethodDef[], PyModuleDef_Slot[] and PyModuleDef, each member as wide as a pointer.
            IntPtr name = Allocated("encodings");
            IntPtr methods = Allocated(
                Allocated("compared"), Pointer(compared), (IntPtr)OneArgument, IntPtr.Zero,
                IntPtr.Zero, IntPtr.Zero, IntPtr.Zero, IntPtr.Zero);
            IntPtr slots = Allocated((IntPtr)Execute, Pointer(execute), IntPtr.Zero, IntPtr.Zero);
            IntPtr definition = Allocated(
                (IntPtr)1, IntPtr.Zero, IntPtr.Zero, IntPtr.Zero, IntPtr.Zero,
                name, IntPtr.Zero, IntPtr.Zero, methods, slots, IntPtr.Zero, IntPtr.Zero, IntPtr.Zero);
            Initialiser begin = () => initialise(definition);
            python.Function<AppendInittab>("PyImport_AppendInittab")(name, Pointer(begin));
        }

        private static IntPtr Pointer(Delegate function)
        {
            Kept.Add(function);
            return Marshal.GetFunctionPointerForDelegate(function);
        }

        /// <summary>A text as Python writes it.</summary>
        private static string Quoted(string text)
        {
            return "'" + text.Replace(@"\", @"\\").Replace("'", @"\'") + "'";
        }

        private static byte[] Text(string text)
        {
            return Encoding.UTF8.GetBytes(text + "\0");
        }

        private static IntPtr Allocated(string text)
        {
            byte[] letters = Text(text);
            IntPtr place = Marshal.AllocHGlobal(letters.Length);
            Marshal.Copy(letters, 0, place, letters.Length);
            return place;
        }

        private static IntPtr Allocated(params IntPtr[] words)
        {
            IntPtr place = Marshal.AllocHGlobal(words.Length * IntPtr.Size);
            Marshal.Copy(words, 0, place, words.Length);
            return place;
        }
    }
}
