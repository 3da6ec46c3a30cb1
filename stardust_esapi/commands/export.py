"""``stardust-esapi export``: prepare and export the cases of a list."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stardust_esapi.choices import EngineName, OnExisting, Retry
from stardust_esapi.commands import options
from stardust_esapi.commands.exit_codes import leave


def export(
    cases: options.Cases,
    out: options.OutputFolder,
    esapi: options.Esapi = None,
    engine: Annotated[
        EngineName | None,
        typer.Option("--engine", help="Who moves the data.", show_default="esapi"),
    ] = None,
    *,
    write: Annotated[
        bool,
        typer.Option(
            "--write/--no-write",
            help="Change the clinical database and export; without it nothing is changed.",
            show_default=False,
        ),
    ] = False,
    accept_doubtful: options.AcceptDoubtful = False,
    limit: options.Limit = None,
    patients: options.Patients = None,
    rows: options.Rows = None,
    retry: options.Retrying = Retry.ALL,
    only: options.Only = None,
    review: Annotated[
        bool,
        typer.Option(
            "--review/--no-review",
            help="Without --write: leave pages with pictures, to accept or reject each case.",
        ),
    ] = True,
    settings: options.SettingsFile = None,
    audit: options.Audit = None,
    sheet: options.Sheet = None,
    kinds: options.Kinds = None,
    on_missing: options.Missing = None,
    mr_structures: options.MrStructures = None,
    on_existing: Annotated[
        OnExisting | None,
        typer.Option(
            "--on-existing",
            help="When a prepared structure set exists that holds something else.",
            show_default="stop",
        ),
    ] = None,
    fail_fast: options.FailFast = None,
    peer: options.Peer = None,
    aet: options.Aet = None,
    port: options.OwnPort = None,
    retrieve: options.Retrieving = None,
    deliver: options.Deliver = None,
    dataset: Annotated[
        Path | None,
        typer.Option("--dataset", help="Create training files from it too, in this folder."),
    ] = None,
) -> None:
    """Prepare and export the cases of a list. Without --write: only say what it would do."""
    from stardust_esapi.commands import dataset as dataset_command
    from stardust_esapi.commands import terminal
    from stardust_esapi.job import run
    from stardust_esapi.job.review import REVIEW
    from stardust_esapi.settings import load_settings

    flags = {
        "esapi": esapi,
        "engine": engine,
        "limit": limit,
        "audit": audit,
        "kinds": kinds,
        "on_existing": on_existing,
        "on_missing": on_missing,
        "mr_structures": mr_structures,
        "fail_fast": fail_fast,
        "caselist": options.given(sheet=sheet),
        "network": options.given(peer=peer, aet=aet, port=port, retrieve=retrieve, deliver=deliver),
    }
    if dataset is not None:
        dataset_command.refuse_launcher("dataset")  # before anything is exported
    job = run.Job(
        cases,
        out,
        load_settings(settings, flags),
        write=write,
        accept_doubtful=accept_doubtful,
        choice=options.choice(patients, rows, retry, only),
        review=out / REVIEW if review and not write else None,
    )
    console = terminal.open_console()
    with terminal.watcher(console) as watcher:
        summary = run.export(job, watcher) if write else run.rehearse(job, watcher)
    terminal.print_summary(summary, console)
    if not write:
        terminal.say(console, "A run without --write: nothing was changed, nothing exported.")
        if dataset is not None:
            terminal.say(console, "So no training files were created either.")
    terminal.print_path(console, "Report", out / summary.report)
    if summary.failed_rows:
        terminal.print_path(console, "To be corrected", out / summary.failed_rows)
    if summary.review:
        terminal.print_path(console, "Review", summary.review)
    if dataset is not None and write:
        dataset_command.convert(out, dataset, {}, settings=settings)
    leave(summary)
