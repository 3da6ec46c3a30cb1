"""An installation of launchers as it lies on a workstation, and what comes of starting them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stand_ins import assemblies
from support import PATIENCE, ending

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
# It needs a shared library (Debian: libpython3-dev).
HOME = Path(sys.base_prefix)
MODULES = f"lib/python{VERSION}"
RUNTIME = "pythonnet/runtime/Python.Runtime.dll"
INI = "StardustExporter.ini"
PATIENT = "0004711"
ESAPI = "18.1"
# Executed by whoever imports it: that must be nobody. It works while Python starts, too.
TRAP = (
    "import posix; "
    "posix.close(posix.open(posix.environ[b'FAKE_FACTS'] + b'.trap', posix.O_CREAT))\n"
)


def library_of(home: Path) -> Path:
    """Python as a library: on Debian it lies in a folder of the machine's kind."""
    name = f"libpython{VERSION}.so.1.0"
    (found,) = (
        path for folder in ("lib", "lib/*-linux-gnu") for path in home.glob(f"{folder}/{name}")
    )
    return found


@dataclass(frozen=True)
class Said:
    """What a launcher did."""

    code: int
    out: str
    err: str
    facts: list[dict[str, Any]]

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def python_started(self) -> bool:
        return bool(self.facts)


@dataclass
class Installation:
    """Launchers, ini and site folder as they lie on a workstation."""

    folder: Path
    db: Path

    @property
    def site(self) -> Path:
        return self.folder / "site"

    @property
    def _facts(self) -> Path:
        return self.folder / "facts.json"

    def configure(self, **changes: str | None) -> None:
        """Write the ini; None leaves a key out."""
        python = {"home": str(HOME), "site": "site"}
        eclipse = {"esapi": None}
        plug_in = {"cases": "cases.csv", "out": "out"}
        lines = []
        for section, keys in (("python", python), ("eclipse", eclipse), ("plug-in", plug_in)):
            lines.append(f"[{section}]")
            merged = {key: changes.get(key, value) for key, value in keys.items()}
            lines += [f"{key} = {value}" for key, value in merged.items() if value is not None]
        (self.folder / INI).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def start(self, *command: object, **env: str) -> subprocess.Popen[str]:
        self._facts.unlink(missing_ok=True)
        quiet = {"STARDUST_NO_WINDOW": "1", "FAKE_FACTS": str(self._facts)}
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=self.folder,
            env=os.environ | {"ESAPI_STUB_DB": str(self.db)} | quiet | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )

    def ended(self, process: subprocess.Popen[str]) -> Said:
        with ending(process):
            out, err = process.communicate(timeout=PATIENCE)
        facts = self._facts.read_text(encoding="utf-8").splitlines() if self._facts.exists() else []
        marks = [mark.name for mark in self.folder.glob("*.trap")]
        assert not marks, f"code ran that must never run: {marks}"
        return Said(process.returncode, out, err, [json.loads(line) for line in facts])

    def run(self, *arguments: object, program: str = "StardustExporter.exe", **env: str) -> Said:
        """Run the console program."""
        return self.ended(self.start("mono", self.folder / program, *arguments, **env))

    def read_only(self, *arguments: object, **env: str) -> Said:
        return self.run(*arguments, program="StardustExporterReadOnly.exe", **env)

    def plug_in(
        self,
        *plug_ins: str,
        patient: str = PATIENT,
        screen: str = "C1/Plan1",
        version: str = ESAPI,
        save: bool = False,
        wrapper: tuple[str, ...] = (),
        **env: str,
    ) -> Said:
        """Run plug-ins in the stand-in of Eclipse."""
        names = plug_ins or ("StardustExporter.esapi.dll",)
        return self.ended(
            self.start(
                *wrapper,
                *("mono", assemblies(version) / "EclipseStub.exe", self.db, patient),
                *([screen] if screen else []),
                *(self.folder / name for name in names),
                *(["--save"] if save else []),
                **env,
            )
        )
