"""``stardust-esapi report``: the pages of an output folder once more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(help="An output folder.", show_default=False)],
) -> None:
    """Build the report of an output folder again, from its ledger: without Eclipse and the list."""
    from stardust_esapi.commands import terminal
    from stardust_esapi.job.rebuild import rebuild_report
    from stardust_esapi.job.workspace import REPORT

    console = terminal.open_console()
    summary = rebuild_report(folder)
    if summary is None:
        terminal.say(console, "A run is working there, and keeps its report up to date.")
    else:
        terminal.say(console, f"{summary.verdict}.")
    terminal.print_path(console, "Report", folder / (summary.report if summary else REPORT))
