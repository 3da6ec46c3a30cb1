"""``stardust-esapi transfer``: what a ready list names, over the network and without ESAPI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stardust_esapi.choices import EngineName, Retry
from stardust_esapi.commands import options
from stardust_esapi.commands.exit_codes import leave


def transfer(
    listed: Annotated[
        Path, typer.Option("--list", help="Ready list: export_list.csv.", show_default=False)
    ],
    out: options.OutputFolder,
    engine: Annotated[
        EngineName | None, typer.Option("--engine", help="qr or dcmtk.", show_default="qr")
    ] = None,
    peer: options.Peer = None,
    aet: options.Aet = None,
    port: options.OwnPort = None,
    retrieve: options.Retrieving = None,
    deliver: options.Deliver = None,
    limit: options.Limit = None,
    patients: options.Patients = None,
    rows: options.Rows = None,
    retry: options.Retrying = Retry.ALL,
    kinds: Annotated[
        str | None,
        typer.Option("--kinds", help="What to transfer, such as ct,km.", show_default="all listed"),
    ] = None,
    settings: options.SettingsFile = None,
    audit: options.Audit = None,
    *,
    mr_structures: options.MrStructures = None,
    fail_fast: options.FailFast = None,
    commands_only: Annotated[
        bool,
        typer.Option("--commands-only", help="Only write .cmd and .sh files of DCMTK commands."),
    ] = False,
) -> None:
    """Transfer what a ready list names: without ESAPI, without permission to write."""
    from stardust_esapi.commands import terminal
    from stardust_esapi.errors import UsageError
    from stardust_esapi.job import run
    from stardust_esapi.model import Kind
    from stardust_esapi.settings import load_settings

    flags = {
        "engine": engine,
        "limit": limit,
        "audit": audit,
        "kinds": kinds,
        "mr_structures": mr_structures,
        "fail_fast": fail_fast,
        "network": options.given(peer=peer, aet=aet, port=port, retrieve=retrieve, deliver=deliver),
    }
    loaded = load_settings(settings, flags)
    if loaded.engine in (EngineName.ESAPI, EngineName.NONE):
        if engine is not None:
            raise UsageError(f"A transfer goes with --engine qr or dcmtk, not {engine}.")
        loaded = loaded.model_copy(update={"engine": EngineName.QR})
    if "kinds" not in loaded.model_fields_set:  # whoever wrote the list has chosen
        loaded = loaded.model_copy(update={"kinds": tuple(Kind)})
    console = terminal.open_console()
    if commands_only:
        for path in run.write_transfer_commands(listed, out, loaded):
            terminal.print_path(console, "Commands", path)
        return
    with terminal.watcher(console) as watcher:
        job = run.Job(listed, out, loaded, choice=options.choice(patients, rows, retry))
        summary = run.transfer(job, watcher)
    terminal.print_summary(summary, console)
    terminal.print_path(console, "Report", out / summary.report)
    leave(summary)
