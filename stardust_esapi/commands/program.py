"""The console program ``stardust-esapi``: arguments in, exit codes and sentences out.

A command imports what it needs when it runs, so that ``--help`` and ``--version`` answer at once.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, NoReturn

import typer
from typer.core import TyperGroup

from stardust_esapi import __version__
from stardust_esapi.commands import (
    approval,
    check,
    compare,
    dataset,
    demo,
    doctor,
    export,
    init,
    record,
    report,
    settings,
    status,
    transfer,
    verify,
    wrong_use,
)
from stardust_esapi.commands.exit_codes import Exit
from stardust_esapi.commands.streams import unfailing
from stardust_esapi.errors import NotApprovedError, StardustError, UsageError, in_words
from stardust_esapi.stops import Stopped, stop

# Ctrl-C; Ctrl-Break, which is also what Windows says as it closes a console or logs a user off;
# what ends a job on a server or its terminal.
_STOPS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGBREAK", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
]


class _InOrder(TyperGroup):
    def list_commands(self, ctx: object) -> list[str]:  # noqa: ARG002 - as typer calls it
        return list(_COMMANDS)


app = typer.Typer(
    cls=_InOrder,
    help="Prepare accepted radiotherapy cases inside Eclipse and export them, verified complete.",
    no_args_is_help=True,
    rich_markup_mode=None,  # its frames leave a narrow window no room for words
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# In the order of the workflow, each in as many words as a narrow window has room for.
_COMMANDS: dict[str, tuple[Callable[..., None] | typer.Typer, str]] = {
    "init": (init.init, "A list to fill in, and settings."),
    "demo": (demo.demo, "The whole way, on a stand-in of Eclipse."),
    "settings": (settings.app, "Check settings; show what holds."),
    "doctor": (doctor.doctor, "Is all there that an export needs?"),
    "check": (check.check, "What is wrong with which row?"),
    "export": (export.export, "Prepare and export the cases of a list."),
    "transfer": (transfer.transfer, "Fetch what is prepared, over the network."),
    "status": (status.status, "How far has it come, and what is next?"),
    "report": (report.report, "Build the report again."),
    "verify": (verify.verify, "Is every file as it was exported?"),
    "dataset": (dataset.dataset, "Training files from an export."),
    "record": (record.record, "Record what ESAPI answers."),
    "compare": (compare.compare, "Where a stub answers otherwise."),
    "approval": (approval.app, "Launchers for Eclipse's script approval."),
}


for name, (command, words) in _COMMANDS.items():
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name, short_help=words)
    else:
        app.command(name, short_help=words)(command)


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log to the terminal.")] = False,
) -> None:
    """Prepare accepted radiotherapy cases inside Eclipse and export them, verified complete."""
    if version:
        typer.echo(f"stardust-esapi {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit(Exit.USAGE)
    from stardust_esapi.logs import log_to_terminal

    log_to_terminal(verbose=verbose)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program; expected failures become one sentence and an exit code.

    Args:
        arguments: What stands after the program's name; by default what this process was given.

    Raises:
        SystemExit: Always, with one of :class:`Exit`.
    """
    # What is ignored on purpose stays so, as nohup has it with SIGHUP; None is another's, such as
    # .NET's.
    heard = [one for one in _STOPS if signal.getsignal(one) not in (signal.SIG_IGN, None)]
    before = {one: signal.signal(one, stop) for one in {signal.SIGINT, *heard}}
    sys.stdout, sys.stderr = unfailing(sys.stdout), unfailing(sys.stderr)
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(arguments, prog_name="stardust-esapi", standalone_mode=False)
    except wrong_use.CommandLineError as error:
        _leave_saying(wrong_use.sentence(error, given), Exit.USAGE)
    except typer.Abort:
        _leave_saying("No answer: nothing was done.", Exit.SOME_FAILED)
    except NotApprovedError as error:
        _leave_saying(str(error), Exit.NOT_APPROVED)
    except UsageError as error:
        _leave_saying(str(error), Exit.USAGE)
    except StardustError as error:
        _leave_saying(str(error), Exit.SOME_FAILED)
    except OSError as error:
        _leave_saying(f"{in_words(error)}.", Exit.USAGE)
    except Stopped as stopped:
        done = getattr(stopped, "__notes__", [])
        sentence = "Stopped. Nothing is lost: run the same command again to go on."
        _leave_saying("\n".join((*done, sentence)), Exit.STOPPED)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    sys.exit(code or Exit.DONE)


def _leave_saying(message: str, code: Exit) -> NoReturn:
    typer.echo(message, err=True)
    sys.exit(code)
