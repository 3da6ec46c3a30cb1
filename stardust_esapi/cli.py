"""The console program ``stardust-esapi``: arguments in, exit codes and sentences out."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from stardust_esapi import __version__, approval_cli, console, dataset_cli, pipeline, stub_cli
from stardust_esapi.doctor import Health, examine
from stardust_esapi.errors import NotApprovedError, StardustError, UsageError, in_words
from stardust_esapi.logs import log_to_terminal
from stardust_esapi.record.audit import AUDIT_NAME
from stardust_esapi.record.audit import check as check_audit
from stardust_esapi.report.summary import RunSummary
from stardust_esapi.settings import Engine, OnExisting, OnMissing, Retrieve, load_settings
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
app.add_typer(approval_cli.app, name="approval")
app.add_typer(stub_cli.app, name="stub")
app.command()(dataset_cli.dataset)

Cases = Annotated[Path, typer.Option("--cases", help="Case list: CSV or XLSX.", show_default=False)]
Esapi = Annotated[
    str | None,
    typer.Option(
        "--esapi",
        help="How ESAPI is reached: eclipse, or stub:DB, clr-stub:DB.",
        show_default="eclipse",
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
EngineChoice = Annotated[
    Engine | None, typer.Option("--engine", help="Who moves the data.", show_default="esapi")
]
Sheet = Annotated[
    str | None, typer.Option("--sheet", help="Which sheet of a workbook is the case list.")
]
Missing = Annotated[
    OnMissing | None,
    typer.Option(
        "--on-missing",
        help="When a contrast CT or MR cannot be had as the row says: leave it out, or fail.",
        show_default="skip",
    ),
]
AcceptDoubtful = Annotated[
    bool,
    typer.Option(
        "--accept-doubtful",
        help="Take cases as they are that are implausible or no longer what the list says.",
    ),
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help="At most so many patients in this run.")
]
FailFast = Annotated[
    bool | None, typer.Option("--fail-fast", help="Stop at the first failed case.")
]
PeerOption = Annotated[
    str | None,
    typer.Option("--peer", metavar="AE@HOST:PORT", help="Query/Retrieve SCP to get the data from."),
]
Aet = Annotated[
    str | None, typer.Option("--aet", help="Our own AE title.", show_default="STARDUST")
]
OwnPort = Annotated[
    int | None,
    typer.Option("--port", help="Port our storage SCP listens on.", show_default="11112"),
]
Retrieving = Annotated[
    Retrieve | None,
    typer.Option("--retrieve", help="C-MOVE or C-GET.", show_default="move"),
]
Deliver = Annotated[
    str | None,
    typer.Option("--deliver", help="folder:PATH collects from Varian's File Daemon."),
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
    engine: EngineChoice = None,
    *,
    write: Annotated[
        bool,
        typer.Option(
            "--write/--no-write",
            help="Change the clinical database and export; without it nothing is changed.",
        ),
    ] = False,
    accept_doubtful: AcceptDoubtful = False,
    limit: Limit = None,
    settings: SettingsFile = None,
    sheet: Sheet = None,
    kinds: Kinds = None,
    on_missing: Missing = None,
    on_existing: Annotated[
        OnExisting | None,
        typer.Option(
            "--on-existing",
            help="When a prepared structure set exists that holds something else.",
            show_default="stop",
        ),
    ] = None,
    fail_fast: FailFast = None,
    peer: PeerOption = None,
    aet: Aet = None,
    port: OwnPort = None,
    retrieve: Retrieving = None,
    deliver: Deliver = None,
    dataset: Annotated[
        Path | None,
        typer.Option("--dataset", help="Make training files of it too, in this folder."),
    ] = None,
) -> None:
    """Prepare and export the cases of a list. Without --write: only say what it would do."""
    flags = {
        "esapi": esapi,
        "engine": engine,
        "limit": limit,
        "kinds": kinds,
        "on_existing": on_existing,
        "on_missing": on_missing,
        "fail_fast": fail_fast,
        "caselist": _given(sheet=sheet),
        "network": _given(peer=peer, aet=aet, port=port, retrieve=retrieve, deliver=deliver),
    }
    if dataset is not None:
        dataset_cli.refuse_launcher()  # before anything is exported
    job = pipeline.Job(
        cases,
        out,
        load_settings(settings, flags),
        write=write,
        accept_doubtful=accept_doubtful,
    )
    terminal = console.console()
    with console.watcher(terminal) as watcher:
        summary = pipeline.export(job, watcher) if write else pipeline.rehearse(job, watcher)
    console.print_summary(summary, terminal)
    if not write:
        console.say(terminal, "A run without --write: nothing was changed, nothing exported.")
        if dataset is not None:
            console.say(terminal, "So no training files were made either.")
    report = out / (pipeline.REPORT if write else pipeline.PLAN_REPORT)
    terminal.print(f"Report: {report}", markup=False, soft_wrap=True)  # a path is never broken
    if dataset is not None and write:
        dataset_cli.run(out, dataset, {}, settings=settings)
    _leave(summary)


@app.command()
def check(
    cases: Cases,
    esapi: Esapi = None,
    settings: SettingsFile = None,
    sheet: Sheet = None,
    kinds: Kinds = None,
    on_missing: Missing = None,
    *,
    accept_doubtful: AcceptDoubtful = False,
) -> None:
    """Read the list, locate and judge every case, say what is wrong with which. Never writes."""
    flags = {
        "esapi": esapi,
        "kinds": kinds,
        "on_missing": on_missing,
        "caselist": _given(sheet=sheet),
    }
    loaded = load_settings(settings, flags)
    loaded = loaded.model_copy(update={"limit": None})  # the whole list is looked at
    terminal = console.console()
    with console.watcher(terminal) as watcher:
        job = pipeline.Job(cases, Path(), loaded, accept_doubtful=accept_doubtful)
        summary = pipeline.check(job, watcher)
    console.print_summary(summary, terminal)
    _leave(summary)


@app.command()
def transfer(
    listed: Annotated[
        Path, typer.Option("--list", help="Ready list: export_list.csv.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="Output folder.", show_default=False)],
    engine: Annotated[
        Engine | None, typer.Option("--engine", help="qr or dcmtk.", show_default="qr")
    ] = None,
    peer: PeerOption = None,
    aet: Aet = None,
    port: OwnPort = None,
    retrieve: Retrieving = None,
    deliver: Deliver = None,
    limit: Limit = None,
    kinds: Kinds = None,
    settings: SettingsFile = None,
    *,
    fail_fast: FailFast = None,
    commands_only: Annotated[
        bool,
        typer.Option("--commands-only", help="Only write .cmd and .sh files of DCMTK commands."),
    ] = False,
) -> None:
    """Transfer what a ready list names: without ESAPI, without permission to write."""
    flags = {
        "engine": engine,
        "limit": limit,
        "kinds": kinds,
        "fail_fast": fail_fast,
        "network": _given(peer=peer, aet=aet, port=port, retrieve=retrieve, deliver=deliver),
    }
    loaded = load_settings(settings, flags)
    if loaded.engine in (Engine.ESAPI, Engine.NONE):
        if engine is not None:
            raise UsageError(f"A transfer goes with --engine qr or dcmtk, not {engine}.")
        loaded = loaded.model_copy(update={"engine": Engine.QR})
    terminal = console.console()
    if commands_only:
        for path in pipeline.write_transfer_commands(listed, out, loaded):
            terminal.print(f"Commands: {path}", markup=False, soft_wrap=True)
        return
    with console.watcher(terminal) as watcher:
        summary = pipeline.transfer(pipeline.Job(listed, out, loaded), watcher)
    console.print_summary(summary, terminal)
    terminal.print(f"Report: {out / pipeline.REPORT}", markup=False, soft_wrap=True)
    _leave(summary)


@app.command()
def doctor(
    esapi: Esapi = None,
    peer: PeerOption = None,
    aet: Aet = None,
    port: OwnPort = None,
    patient: Annotated[
        str | None, typer.Option("--patient", help="A patient id to ask the peer and ESAPI for.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The output folder to be.")] = None,
    settings: SettingsFile = None,
) -> None:
    """Look whether all that an export needs is there: a table, and what to do about the rest."""
    flags = {"esapi": esapi, "network": _given(peer=peer, aet=aet, port=port)}
    findings = examine(load_settings(settings, flags), patient or "", out or Path())
    console.print_findings(findings, console.console())
    if any(finding.health is Health.BAD for finding in findings):
        raise typer.Exit(Exit.SOME_FAILED)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="An exported folder.", show_default=False)],
) -> None:
    """Prove an exported folder again from its manifest, and its audit log from the chain."""
    report = verify_tree(folder)
    terminal = console.console()
    console.print_verification(report, terminal)
    audit = check_audit(folder / AUDIT_NAME) if (folder / AUDIT_NAME).exists() else None
    if audit is not None:
        console.print_audit(audit, terminal)
    if not report.ok or (audit is not None and audit.problems):
        raise typer.Exit(Exit.SOME_FAILED)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program; expected failures become one sentence and an exit code.

    Args:
        arguments: What stands after the program's name; by default what this process was given.

    Raises:
        SystemExit: Always, with one of :class:`Exit`.
    """
    before = signal.signal(signal.SIGINT, _stop)
    try:
        app(arguments, prog_name="stardust-esapi")
    except NotApprovedError as error:
        _leave_saying(str(error), Exit.NOT_APPROVED)
    except UsageError as error:
        _leave_saying(str(error), Exit.USAGE)
    except StardustError as error:
        _leave_saying(str(error), Exit.SOME_FAILED)
    except OSError as error:
        _leave_saying(f"{in_words(error)}.", Exit.USAGE)
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


def _given(**flags: object) -> dict[str, object]:
    """The flags of one table of the settings that were given."""
    return {key: value for key, value in flags.items() if value is not None}


def _leave(summary: RunSummary) -> None:
    if summary.needs_a_look:
        raise typer.Exit(Exit.SOME_FAILED)


def _leave_saying(message: str, code: Exit) -> NoReturn:
    typer.echo(message, err=True)
    sys.exit(code)
