"""``stardust-esapi verify``: an exported folder against its manifest, and its audit log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stardust_esapi.commands.exit_codes import Exit


def verify(
    folder: Annotated[Path, typer.Argument(help="An exported folder.", show_default=False)],
) -> None:
    """Verify an exported folder again from its manifest, and its audit log from the chain."""
    from stardust_esapi.commands import terminal
    from stardust_esapi.record.audit import AUDIT_NAME
    from stardust_esapi.record.audit import check as check_audit
    from stardust_esapi.verify.check import verify_tree

    report = verify_tree(folder)
    console = terminal.open_console()
    terminal.print_verification(report, console)
    audit = check_audit(folder / AUDIT_NAME) if (folder / AUDIT_NAME).exists() else None
    if audit is not None:
        terminal.print_audit(audit, console)
    if not report.ok or (audit is not None and audit.problems):
        raise typer.Exit(Exit.SOME_FAILED)
