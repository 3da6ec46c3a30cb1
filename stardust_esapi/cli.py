"""The console program ``stardust-esapi``: arguments in, exit codes and sentences out."""

from __future__ import annotations

import signal
import sys
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from stardust_esapi import __version__, console, pipeline, stub_cli
from stardust_esapi.errors import NotApprovedError, StardustError, UsageError
from stardust_esapi.logs import log_to_terminal
from stardust_esapi.report.summary import RunSummary
from stardust_esapi.settings import Engine, OnExisting, load_settings
from stardust_esapi.verify.check import verify_tree


class Exit(IntEnum):
    """Exit codes of the program."""

    DONE = 0
    SOME_FAILED = 1
    USAGE = 2
    NOT_APPROVED = 3
    STOPPED = 130


app = typer.Typer(
    help="Prepare accepted radiotherapy cases inside Eclipse and export them, proven complete.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(stub_cli.app, name="stub")

Cases = Annotated[Path, typer.Option("--cases", help="Case list: CSV or XLSX.", show_default=False)]
Esapi = Annotated[
    str | None,
    typer.Option(
        "--esapi", help="How ESAPI is reached: eclipse, or stub:DB.", show_default="eclipse"
    ),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        help="Settings: a TOML file, or an old settings.ini.",
        show_default="stardust-esapi.toml and settings.ini of this folder",
    ),
]
Kinds = Annotated[
    str | None,
    typer.Option("--kinds", help="What to export, such as ct,km.", show_default="ct,km,mr"),
]


@app.callback(invoke_without_command=True)
def root(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log to the terminal.")] = False,
) -> None:
    """Prepare accepted radiotherapy cases inside Eclipse and export them, proven complete."""
    log_to_terminal(verbose=verbose)
    if version:
        typer.echo(f"stardust-esapi {__version__}")
        raise typer.Exit


@app.command()
def export(
    cases: Cases,
    out: Annotated[Path, typer.Option("--out", help="Output folder.", show_default=False)],
    esapi: Esapi = None,
    engine: Annotated[
        Engine | None,
        typer.Option("--engine", help="Who moves the data.", show_default="esapi"),
    ] = None,
    *,
    write: Annotated[
        bool,
        typer.Option(
            "--write/--no-write",
            help="Change the clinical database and export; without it nothing is changed.",
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="At most so many patients in this run."),
    ] = None,
    settings: SettingsFile = None,
    kinds: Kinds = None,
    on_existing: Annotated[
        OnExisting | None,
        typer.Option(
            "--on-existing",
            help="When a prepared structure set exists that holds something else.",
            show_default="stop",
        ),
    ] = None,
    fail_fast: Annotated[
        bool | None, typer.Option("--fail-fast", help="Stop at the first failed case.")
    ] = None,
) -> None:
    """Prepare and export the cases of a list. Without --write: only say what it would do."""
    flags = {
        "esapi": esapi,
        "engine": engine,
        "limit": limit,
        "kinds": kinds,
        "on_existing": on_existing,
        "fail_fast": fail_fast,
    }
    job = pipeline.Job(cases, out, load_settings(settings, flags))
    terminal = console.console()
    with console.watcher(terminal) as watcher:
        summary = pipeline.export(job, watcher) if write else pipeline.rehearse(job, watcher)
    console.print_summary(summary, terminal)
    if not write:
        console.say(terminal, "A run without --write: nothing was changed, nothing exported.")
    report = out / (pipeline.REPORT if write else pipeline.PLAN_REPORT)
    terminal.print(f"Report: {report}", markup=False, soft_wrap=True)  # a path is never broken
    _leave(summary)


@app.command()
def check(
    cases: Cases, esapi: Esapi = None, settings: SettingsFile = None, kinds: Kinds = None
) -> None:
    """Read the list, locate every case, say row by row what is wrong. Never writes."""
    loaded = load_settings(settings, {"esapi": esapi, "kinds": kinds})
    terminal = console.console()
    with console.watcher(terminal) as watcher:
        summary = pipeline.check(cases, loaded, watcher)
    console.print_summary(summary, terminal)
    _leave(summary)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="An exported folder.", show_default=False)],
) -> None:
    """Prove an exported folder again from its manifest."""
    report = verify_tree(folder)
    terminal = console.console()
    console.print_verification(report, terminal)
    if not report.ok:
        raise typer.Exit(Exit.SOME_FAILED)


def main() -> None:
    """Run the program; expected failures become one sentence and an exit code."""
    before = signal.signal(signal.SIGINT, _stop)
    try:
        app()
    except NotApprovedError as error:
        _leave_saying(str(error), Exit.NOT_APPROVED)
    except UsageError as error:
        _leave_saying(str(error), Exit.USAGE)
    except StardustError as error:
        _leave_saying(str(error), Exit.SOME_FAILED)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _leave_saying(f"{error.strerror or error}{where}.", Exit.USAGE)
    except _Stopped:
        _leave_saying(
            "Stopped. Nothing is lost: run the same command again to go on.", Exit.STOPPED
        )
    finally:
        signal.signal(signal.SIGINT, before)


class _Stopped(BaseException):
    """Ctrl-C: past every handler of errors, up to the end of the program."""


def _stop(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - as signal calls it
    raise _Stopped


def _leave(summary: RunSummary) -> None:
    if summary.failed or summary.row_problems:
        raise typer.Exit(Exit.SOME_FAILED)


def _leave_saying(message: str, code: Exit) -> NoReturn:
    typer.echo(message, err=True)
    sys.exit(code)
