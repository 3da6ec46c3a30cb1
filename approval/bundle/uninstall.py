"""Remove the installed version that this file lies in: what ``install.py`` wrote, nothing else.

``Uninstall.ps1`` starts it, with the version's own Python where there is one, and removes that
afterwards: Windows removes no program that runs.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from contextlib import suppress
from pathlib import Path

INSTALLED = "installed.txt"
PYTHON = "python"
SCRIPTS = ("Uninstall.ps1", "uninstall.py")  # wanted again where something is in use


class UninstallError(Exception):
    """Why something is left: a sentence."""


def read_installed(root: Path) -> dict[str, str]:
    """What was installed: path below the folder, and SHA-256 in hex."""
    list_of_files = root / INSTALLED
    if not list_of_files.is_file():
        raise UninstallError(f"{root} holds no {INSTALLED}: nothing was installed there.")
    files = {}
    for line in list_of_files.read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ", 1)
        if re.search(r"(^|/)\.\.(/|$)|[:\\]|^/", name):
            raise UninstallError(
                f"{INSTALLED} names '{name}', which is no file of this folder. Nothing is removed."
            )
        files[name] = digest
    return files


def uninstall(root: Path, files: dict[str, str]) -> list[str]:
    """Remove the files that are as they were installed, and the folders that are empty then.

    Returns:
        What was kept, since it was changed.
    """
    changed, held = [], []
    for name in sorted(files, key=SCRIPTS.__contains__):
        path = root / name
        if held and name in SCRIPTS:
            break
        try:
            if path.is_file():
                if hashlib.sha256(path.read_bytes()).hexdigest() == files[name]:
                    path.unlink()
                else:
                    changed.append(name)
        except OSError:
            held.append(name)
    if held:
        raise UninstallError(
            f"In use, and not removed: {', '.join(held)}. Leave Eclipse and run this again."
        )
    (root / INSTALLED).unlink()
    parents = {parent for name in files for parent in Path(name).parents} - {Path()}
    for parent in sorted(parents, key=lambda path: len(path.parts), reverse=True):
        with suppress(OSError):  # it holds what was not installed
            (root / parent).rmdir()
    return changed


def main() -> None:
    """Remove it, or say what would be removed."""
    sys.stdout.reconfigure(errors="backslashreplace")
    parser = argparse.ArgumentParser(prog="uninstall.py", description=__doc__.splitlines()[0])
    parser.add_argument("--what-if", action="store_true", help="say what would be done")
    given = parser.parse_args()
    root = Path(__file__).absolute().parent
    try:
        files = read_installed(root)
        if given.what_if:
            print(
                f"Would remove {len(files)} files, and the folder {PYTHON} if there is one: {root}"
            )
            return
        for name in uninstall(root, files):
            print(f"Kept, for it was changed: {name}")
    except (UninstallError, OSError) as error:
        sys.exit(str(error))
    left = sorted({path.name for path in root.iterdir()} - {PYTHON})
    print(f"Removed: {root}" + (f"\nStill there: {', '.join(left)}" if left else ""))


if __name__ == "__main__":
    main()
