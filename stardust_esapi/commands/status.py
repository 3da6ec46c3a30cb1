"""``stardust-esapi status``: how far an output folder has come, and what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stardust_esapi.commands import options


def status(
    folder: Annotated[Path, typer.Argument(help="An output folder.", show_default=False)],
    *,
    as_json: options.AsJson = False,
) -> None:
    """Say how far an output folder has come, by its ledger, and what to do next. Never writes."""
    from stardust_esapi.commands import terminal
    from stardust_esapi.job.status import read_status

    found = read_status(folder)
    if as_json:
        terminal.print_json(
            {
                "folder": folder,
                "counts": found.counts,
                "cases": found.cases,
                "last_run": found.run,
                "report": found.report,
                "log": found.log,
                "failed_rows": found.failed_rows,
                "next": found.next_command,
            }
        )
        return
    terminal.print_status(found, terminal.open_console())
