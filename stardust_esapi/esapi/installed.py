"""Where Eclipse keeps ESAPI on this workstation.

Nothing but Python's own modules is needed here: ``approval/bundle/install.py`` asks before any
package is installed. ``approval/launchers/Assemblies.cs`` follows the same rule.
"""

from __future__ import annotations

import ctypes
import re
import string
import sys
from collections.abc import Iterable
from pathlib import Path

API = "VMS.TPS.Common.Model.API.dll"
_DRIVE_FIXED = 3


def program_folders() -> list[Path]:
    """Varian's program folders, as far as there may be any: two on each fixed drive."""
    return [
        Path(drive) / programs / "Varian" / "RTM"
        for drive in _fixed_drives()
        for programs in ("Program Files (x86)", "Program Files")
    ]


def newest_esapi(roots: Iterable[Path]) -> Path | None:
    """The folder of ESAPI's assemblies of the newest Eclipse; None where there is no Eclipse.

    Args:
        roots: Varian's program folders. Of two Eclipses with the same first two numbers the one in
            the later folder counts.
    """
    found = [
        (_version(version.name), version / "esapi" / "API")
        for root in roots
        if root.is_dir()
        for version in sorted(root.iterdir())
        if (version / "esapi" / "API" / API).is_file()
    ]
    return sorted(found, key=lambda one: one[0])[-1][1] if found else None


def _version(folder: str) -> tuple[int, ...]:
    numbers = re.search(r"(\d+)\D+(\d+)", folder)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def _fixed_drives() -> list[str]:
    """Not those of the network: to ask one that is not there takes long."""
    if sys.platform != "win32":
        return []
    kind_of = ctypes.windll.kernel32.GetDriveTypeW
    drives = [f"{letter}:\\" for letter in string.ascii_uppercase]
    return [drive for drive in drives if kind_of(drive) == _DRIVE_FIXED]
