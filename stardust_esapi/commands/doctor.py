"""``stardust-esapi doctor``: whether all that an export needs is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stardust_esapi.commands import options
from stardust_esapi.commands.exit_codes import Exit


def doctor(
    esapi: options.Esapi = None,
    peer: options.Peer = None,
    aet: options.Aet = None,
    port: options.OwnPort = None,
    retrieve: options.Retrieving = None,
    patient: Annotated[
        str | None, typer.Option("--patient", help="A patient id to ask the peer and ESAPI for.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The output folder to be.")] = None,
    settings: options.SettingsFile = None,
    *,
    as_json: options.AsJson = False,
) -> None:
    """Look whether all that an export needs is there: a table, and what to do about the rest."""
    from stardust_esapi.commands import terminal
    from stardust_esapi.job.readiness import Health, examine
    from stardust_esapi.settings import load_settings

    network = options.given(peer=peer, aet=aet, port=port, retrieve=retrieve)
    flags = {"esapi": esapi, "network": network}
    findings = examine(load_settings(settings, flags), patient or "", out or Path())
    if as_json:
        terminal.print_json(findings)
    else:
        terminal.print_findings(findings, terminal.open_console())
    if any(finding.health is Health.BAD for finding in findings):
        raise typer.Exit(Exit.SOME_FAILED)
