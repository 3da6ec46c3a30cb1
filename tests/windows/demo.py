"""The demo, up to its export: the same commands on every system, in one process.

As a program it leaves a folder, which is the same wherever it was made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from esapi_stub import cli
from stardust_esapi.commands import program


def main(folder: Path) -> None:
    """Make sample, database and export in a folder that is not there yet."""
    cases, esapi = folder / "sample/cases.csv", f"stub:{folder / 'db'}"
    to_export = ["--cases", str(cases), "--esapi", esapi]
    out = ["--out", str(folder / "export")]
    stub("sample", str(folder / "sample"))
    stub("build", "--dicom", str(folder / "sample/dicom"), "--db", str(folder / "db"))
    # The cohort holds faulty cases on purpose.
    run(1, "check", *to_export)
    run(1, "export", *to_export, *out)
    run(1, "export", *to_export, *out, "--write")
    run(0, "verify", str(folder / "export"))


def stub(*arguments: str) -> None:
    """Run the stub's program, which succeeds."""
    _run(0, cli.main, arguments)


def run(code: int, *arguments: str) -> None:
    """Run the program, which ends with this exit code."""
    _run(code, program.main, arguments)


def _run(code: int, main: Callable[[list[str]], None], arguments: tuple[str, ...]) -> None:
    ended: object = None
    try:
        main(list(arguments))
    except SystemExit as left:
        ended = left.code or 0
    if ended != code:
        sys.exit(f"{arguments} ended with {ended}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
