"""The bundle's installer on a Windows Python: its own Python, the drives, a file that is in use.

Windows' compiler is not here: a stand-in writes what ``approval`` reads of a launcher.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from bundle_here import BASE, PROGRAM, fill_bundle, isolated, start
from stardust_esapi import __version__

VARIAN = Path("C:/Program Files (x86)/Varian")
FRAMEWORK = Path("C:/Windows/Microsoft.NET/Framework64/v4.0.30319")
COMPILER = r"""
import re, sys
from pathlib import Path

options = dict(word[1:].split(":", 1) for word in sys.argv[1:] if word[0] == "-" and ":" in word)
if options["target"] == "exe":
    assert b"longPathAware" in Path(options["win32manifest"]).read_bytes()
(version,) = re.findall(r'FileVersion\("(.+?)"\)', Path(sys.argv[-1]).read_text())
manifest = Path("manifest").read_bytes()
about = f"FileVersion\0{version}\0".encode("utf-16-le")
Path(options["out"]).write_bytes(len(manifest).to_bytes(4, "little") + manifest + about)
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    fill_bundle(tmp_path / "bundle ü")
    return tmp_path / "bundle ü"


@pytest.fixture
def esapi() -> Iterator[Path]:
    """Two Eclipses that are installed; the newer one's assemblies."""
    for version in ("15.6", "16.1"):
        folder = VARIAN / "RTM" / version / "esapi" / "API"
        folder.mkdir(parents=True)
        for name in ("VMS.TPS.Common.Model.API.dll", "VMS.TPS.Common.Model.Types.dll"):
            (folder / name).write_bytes(b"MZ")
    yield folder
    shutil.rmtree(VARIAN)


@pytest.fixture
def compiler(bundle: Path) -> Iterator[None]:
    """Stands in for csc.exe: the little program of distlib that starts a script, and the script."""
    script = BytesIO()
    with zipfile.ZipFile(script, "w") as file:
        file.writestr("__main__.py", COMPILER)
    (starter,) = (bundle / "python").glob("Lib/site-packages/pip/_vendor/distlib/t64.exe")
    FRAMEWORK.mkdir(parents=True, exist_ok=True)
    created = [FRAMEWORK / "csc.exe", FRAMEWORK / "netstandard.dll"]
    shebang = f'#!"{BASE / PROGRAM}"\n'.encode()
    created[0].write_bytes(starter.read_bytes() + shebang + script.getvalue())
    created[1].write_bytes(b"MZ")
    yield
    for path in created:
        path.unlink()


def test_from_the_bundle_to_a_version_and_back(
    bundle: Path, esapi: Path, compiler: None, tmp_path: Path
) -> None:
    folder = tmp_path / "stardust-esapi"
    said = start(bundle, "--folder", folder, "--what-if")
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == [
        f"Python: {bundle / 'python'}, which is copied",
        f"ESAPI:  {esapi}",
        f"Would install stardust-esapi {__version__} below {folder}.",
    ]
    assert not folder.exists()

    said = start(bundle, "--folder", folder)
    assert said.returncode == 0, said.stderr
    (version,) = folder.iterdir()
    assert f"\nInstalled in {version}\n" in said.stdout
    own = version / "python" / PROGRAM
    checked = isolated(
        *(own, version / "stardust-esapi.py", "approval", "check"),
        *("--site", version / "site", version),
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("files are as approved") == 4

    with (version / "StardustExporter.esapi.dll").open("rb"):  # as Eclipse holds it
        said = isolated(own, version / "uninstall.py")
    assert said.returncode == 1
    assert said.stderr.startswith("In use, and not removed: StardustExporter.esapi.dll.")
    said = isolated(own, version / "uninstall.py")
    assert said.returncode == 0, said.stderr
    record = f"record-{version.name}.md"
    assert {path.name for path in version.iterdir()} == {"python", record}
