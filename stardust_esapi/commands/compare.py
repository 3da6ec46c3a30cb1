"""``stardust-esapi compare``: where a stand-in of ESAPI answers otherwise than a recording."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from stardust_esapi.commands import options
from stardust_esapi.commands.exit_codes import Exit
from stardust_esapi.commands.record import PatientId, TryWrites, confirmed

_LONGEST = 200


def compare(
    trace: Annotated[Path, typer.Argument(help="A recording.", show_default=False)],
    patient: PatientId,
    esapi: options.Esapi = None,
    *,
    write: TryWrites = False,
    settings: options.SettingsFile = None,
) -> None:
    """Ask the same of a stub that holds the same patient, and list what it answers otherwise."""
    import io

    from stardust_esapi.esapi.connect import connect
    from stardust_esapi.settings import load_settings
    from stardust_esapi.trace import archive
    from stardust_esapi.trace.compare import compare as differences

    recorded = archive.load(trace)
    backend = connect(load_settings(settings, {"esapi": esapi}).esapi)
    approval = confirmed(patient, trace.parent, backend) if write else None
    lines = io.StringIO()
    archive.record(backend, patient, lines, approval, typer.echo)
    found = differences(recorded, archive.parse(lines.getvalue()))
    for member, same in groupby(found, key=lambda difference: difference.member):
        first, *more = same
        typer.echo(f"{member}: {len(more) + 1} differ, first at {first.where}")
        typer.echo(f"  recorded: {first.one[:_LONGEST]}")
        typer.echo(f"  here:     {first.other[:_LONGEST]}")
    if recorded.facts["writes"] and not write:
        typer.echo("The writes of the recording were not tried: --write does so.")
    if found:
        raise typer.Exit(Exit.SOME_FAILED)
    typer.echo("No difference.")
