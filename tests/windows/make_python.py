"""Makes a Python for Windows of wheels: PyPI has no CPython, but has wheels that bring one.

panda3d's wheel brings, for the programs that are made with it, the DLL and the extension modules
that python.org has built and signed; what they lack is the library that is written in Python, and
python.exe. The library is that of a Python 3.11 here.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

NOT_HERE = ("site-packages", "lib-dynload", "__pycache__", "test", "tests", "config-*", "idlelib")


def main(wheels: Path, home: Path) -> None:
    """Make ``home``, with python.exe in it, of a folder of wheels."""
    here = Path(__file__).parent
    library = home / "Lib"
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=shutil.ignore_patterns(*NOT_HERE))
    (home / "DLLs").mkdir()
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            if wheel.name.startswith("panda3d-"):
                _unpack_python(archive, home)
            else:
                archive.extractall(library / "site-packages")
    for name, libraries in (("python.exe", ["-municode"]), ("bcryptprimitives.dll", ["-shared"])):
        source = here / Path(name).with_suffix(".c")
        subprocess.run(
            ["x86_64-w64-mingw32-gcc", "-O1", "-o", home / name, source, *libraries, "-ladvapi32"],
            check=True,
        )


def _unpack_python(archive: zipfile.ZipFile, home: Path) -> None:
    for name in archive.namelist():
        file = Path(name)
        if file.parent.name != "deploy_libs" or file.name.startswith("api-ms-"):
            continue  # Wine has those itself
        if file.suffix in (".pyd", ".dll"):
            beside = file.name.lower().startswith(("python3", "vcruntime"))
            target = home if beside else home / "DLLs"
            (target / file.name).write_bytes(archive.read(name))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
