"""Compile the launchers with the compiler that the machine has.

On Windows that is the ``csc.exe`` of .NET Framework 4 (part of Windows, C# 5), elsewhere ``mcs``.
All sources go into each of the four launchers; symbols tell them apart: ``PLUGIN`` for the
``.esapi.dll`` that Eclipse loads, ``CONSOLE`` for the program, ``WRITABLE`` for the pair that may
change patient data. Title and version of the assembly are written here, not in the sources.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from stardust_esapi.approval.manifest import Manifest
from stardust_esapi.errors import UsageError
from stardust_esapi.files import make_folder, rename, sync_folder

RESOURCE = "manifest"
WIN32_MANIFEST = "Program.manifest"
RUNTIME = "Python.Runtime.dll"
ASSEMBLIES = ("VMS.TPS.Common.Model.API.dll", "VMS.TPS.Common.Model.Types.dll")
_MEDIA = "PresentationCore.dll"  # System.Windows.Media.Color, of which ESAPI speaks
_FRAMEWORK = ("System", "System.Core", "System.Drawing", "System.Windows.Forms")
_WINDOWS = Path("Microsoft.NET")
_NETSTANDARD = (  # Python.Runtime.dll is made for it; part of .NET Framework from 4.7.1
    _WINDOWS / "Framework64/v4.0.30319/netstandard.dll",
    _WINDOWS / "assembly/GAC_MSIL/netstandard/v4.0_2.0.0.0__cc7b13ffcd2ddd51/netstandard.dll",
)
_COMPLAINT = 1500  # characters of what the compiler said, in an error


@dataclass(frozen=True)
class Launcher:
    """One of the assemblies that are created.

    Attributes:
        name: Of the assembly, as Script Approval shows it.
        plug_in: Eclipse loads it; otherwise it is a program.
        writable: It asks for permission to change patient data.
    """

    name: str
    plug_in: bool
    writable: bool

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.name}.dll" if self.plug_in else f"{self.name}.exe"


LAUNCHERS = tuple(
    Launcher(f"StardustExporter{mode}{kind}", plug_in=bool(kind), writable=not mode)
    for mode in ("", "ReadOnly")
    for kind in ("", ".esapi")
)


@dataclass(frozen=True)
class Compiler:
    """A C# compiler and what it needs to be told of its own framework.

    Attributes:
        program: Where it is.
        references: Assemblies that launchers refer to, beside ESAPI and Python.Runtime.
        win32: Whether it can put in what a program asks Windows for; Mono's cannot.
    """

    program: Path
    references: tuple[str, ...]
    win32: bool


def find_compiler() -> Compiler:
    """Find the compiler of this machine.

    Raises:
        UsageError: There is none, or its .NET Framework is too old for Python.Runtime.
    """
    if os.name != "nt":
        found = shutil.which("mcs")
        if found is None:
            raise UsageError("There is no C# compiler: install mono-devel and mono-mcs.")
        return Compiler(Path(found), (*_FRAMEWORK, "Facades/netstandard"), win32=False)
    windows = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"))
    folder = windows / _WINDOWS / "Framework64" / "v4.0.30319"
    if not (folder / "csc.exe").is_file():
        raise UsageError(
            f"There is no C# compiler {folder / 'csc.exe'}: .NET Framework 4 is missing."
        )
    netstandard = next(
        (windows / path for path in _NETSTANDARD if (windows / path).is_file()), None
    )
    if netstandard is None:
        raise UsageError(
            "The .NET Framework of this machine has no netstandard.dll, which Python.Runtime.dll "
            "needs: it must be 4.7.2 or newer."
        )
    names = [str(folder / f"{name}.dll") for name in _FRAMEWORK]
    references = (*names, str(netstandard), str(folder / "WPF" / _MEDIA))
    return Compiler(folder / "csc.exe", references, win32=True)


def build_launchers(
    sources: Path, esapi: Path, runtime: Path, manifest: Manifest, out: Path
) -> list[Path]:
    """Compile the four launchers; files of their names are replaced once all have compiled.

    Args:
        sources: Folder of the ``*.cs`` files and of ``Program.manifest``.
        esapi: Folder of the ESAPI assemblies that they are compiled against.
        runtime: ``Python.Runtime.dll``, or the folder that holds it.
        manifest: What the launchers shall let Python load.
        out: Folder for the launchers; created where missing.

    Returns:
        The launchers' files, in the order of :data:`LAUNCHERS`.

    Raises:
        UsageError: Something is missing, or the sources do not compile.
        OSError: The file system refuses.
    """
    compiler = find_compiler()
    files = sorted(path.absolute() for path in sources.glob("*.cs"))
    if not files:
        raise UsageError(f"{sources} holds no C# sources of the launchers. Check --launchers.")
    references = [*compiler.references, *_references(esapi, runtime)]
    make_folder(out)
    with tempfile.TemporaryDirectory(prefix=".launchers-", dir=out) as name:
        aside = Path(name)
        (aside / RESOURCE).write_bytes(manifest.text.encode())
        for launcher in LAUNCHERS:
            _compile(launcher, compiler, files, references, manifest, aside)
        created = [out / launcher.file for launcher in LAUNCHERS]
        for path in created:
            rename(aside / path.name, path)
    sync_folder(out)
    return created


def _references(esapi: Path, runtime: Path) -> list[str]:
    """The assemblies that are not the framework's own, each one there."""
    missing = [name for name in ASSEMBLIES if not (esapi / name).is_file()]
    if missing:
        raise UsageError(f"{esapi} holds no {' and no '.join(missing)}. Check --esapi.")
    runtime = runtime / RUNTIME if runtime.is_dir() else runtime
    if not runtime.is_file():
        raise UsageError(f"There is no {runtime}: the site folder lacks pythonnet.")
    media = [esapi / _MEDIA] if (esapi / _MEDIA).is_file() else []  # of the stand-in alone
    return [
        str(path.absolute()) for path in (*(esapi / name for name in ASSEMBLIES), runtime, *media)
    ]


def _compile(
    launcher: Launcher,
    compiler: Compiler,
    files: list[Path],
    references: list[str],
    manifest: Manifest,
    aside: Path,
) -> None:
    """Compile one launcher into a folder."""
    about = aside / f"{launcher.name}.cs"
    about.write_text(_about(launcher, manifest.version), encoding="utf-8")
    asked = [f"-win32manifest:{files[0].parent / WIN32_MANIFEST}"]
    symbols = ["PLUGIN" if launcher.plug_in else "CONSOLE", *["WRITABLE"] * launcher.writable]
    command = [
        str(compiler.program),
        "-nologo",
        "-noconfig",
        "-langversion:5",
        "-codepage:65001",
        "-utf8output",
        "-optimize+",
        "-warn:4",
        "-platform:x64",
        f"-target:{'library' if launcher.plug_in else 'exe'}",
        f"-define:{';'.join(symbols)}",
        f"-resource:{RESOURCE},{RESOURCE}",
        *(asked if compiler.win32 and not launcher.plug_in else []),
        f"-out:{launcher.file}",
        *(f"-reference:{reference}" for reference in references),
        *(str(path) for path in files),
        about.name,
    ]
    # From within the folder, so that no comma or semicolon of its path divides an option.
    ended = subprocess.run(  # noqa: S603 - the machine's own compiler, on our own sources
        command,
        cwd=aside,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if ended.returncode or not (aside / launcher.file).is_file():
        said = ended.stdout.strip()[:_COMPLAINT]
        raise UsageError(
            f"{launcher.file} does not compile ({compiler.program.name} says):\n{said}"
        )


def _about(launcher: Launcher, version: str) -> str:
    """What the assembly says of itself."""
    mode = "may change patient data" if launcher.writable else "never changes patient data"
    return (
        "using System.Reflection;\n"
        "using System.Runtime.Versioning;\n"
        f'[assembly: AssemblyTitle("stardust-esapi: {mode}")]\n'
        '[assembly: AssemblyProduct("stardust-esapi")]\n'
        f'[assembly: AssemblyVersion("{version}")]\n'
        f'[assembly: AssemblyFileVersion("{version}")]\n'
        # Without it .NET Framework opens no path of more than 260 characters, as in former times.
        '[assembly: TargetFramework(".NETFramework,Version=v4.7.2")]\n'
    )
