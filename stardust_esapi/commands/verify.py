"""``stardust-esapi verify``: an exported folder against its manifests, ledger and audit logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stardust_esapi.commands import options
from stardust_esapi.commands.exit_codes import Exit


def verify(
    folder: Annotated[Path, typer.Argument(help="An exported folder.", show_default=False)],
    *,
    as_json: options.AsJson = False,
) -> None:
    """Verify an exported folder again: from its manifests, its ledger and its audit logs."""
    from stardust_esapi.commands import terminal
    from stardust_esapi.record.proof import prove

    report, logs = prove(folder)
    console = terminal.open_console()
    if as_json:
        terminal.print_json({"ok": report.ok, "files": report, "audit_logs": logs})
    else:
        terminal.print_verification(report, console)
        for log in logs:
            terminal.print_audit(log, console)
    if not report.ok or any(log.problems for log in logs):
        raise typer.Exit(Exit.SOME_FAILED)
