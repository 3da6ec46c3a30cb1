"""``stardust-esapi check``: what an export of a list would do, and what is wrong with which row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stardust_esapi.commands import options
from stardust_esapi.commands.exit_codes import leave


def check(
    cases: options.Cases,
    esapi: options.Esapi = None,
    settings: options.SettingsFile = None,
    sheet: options.Sheet = None,
    kinds: options.Kinds = None,
    on_missing: options.Missing = None,
    patients: options.Patients = None,
    rows: options.Rows = None,
    only: options.Only = None,
    review: Annotated[
        Path | None,
        typer.Option(
            "--review",
            help="Leave pages with pictures here, on which a person accepts or rejects each case.",
        ),
    ] = None,
    *,
    accept_doubtful: options.AcceptDoubtful = False,
    as_json: options.AsJson = False,
) -> None:
    """Read the list, locate and judge every case, say what is wrong with which. Never writes."""
    from stardust_esapi.commands import terminal
    from stardust_esapi.job import run
    from stardust_esapi.settings import load_settings

    flags = {
        "esapi": esapi,
        "kinds": kinds,
        "on_missing": on_missing,
        "caselist": options.given(sheet=sheet),
    }
    loaded = load_settings(settings, flags)
    loaded = loaded.model_copy(update={"limit": None})  # the whole list is looked at
    console = terminal.open_console(as_json=as_json)
    with terminal.watcher(console) as watcher:
        job = run.Job(
            cases,
            Path(),
            loaded,
            accept_doubtful=accept_doubtful,
            choice=options.choice(patients, rows, only=only),
            review=review,
        )
        summary = run.check(job, watcher)
    if as_json:
        terminal.print_check(summary)
    else:
        terminal.print_summary(summary, console)
    if summary.review:
        terminal.print_path(console, "Review", summary.review)
    leave(summary)
