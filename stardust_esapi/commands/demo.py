"""``stardust-esapi demo``: the way from a list to training files, on a stand-in of Eclipse."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from stardust_esapi.commands.exit_codes import Exit

_AS_TOLD = (Exit.DONE, Exit.SOME_FAILED)
_MODULES = {"stardust-esapi": "stardust_esapi", "esapi-stub": "esapi_stub"}


def demo(
    folder: Annotated[Path, typer.Argument(help="A new folder.", show_default="demo-out")] = Path(
        "demo-out"
    ),
    *,
    network: Annotated[
        bool,
        typer.Option("--network", help="Also transfer over the network, from a stand-in daemon."),
    ] = False,
) -> None:
    """Show the whole way on a stand-in of Eclipse, in a minute: list, export, training files."""
    from stardust_esapi.commands import dataset
    from stardust_esapi.errors import UsageError
    from stardust_esapi.esapi.stub_backend import require_stub

    dataset.refuse_launcher("demo")
    require_stub()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} exists already. Name another folder: `stardust-esapi demo FOLDER`."
        )
    folder.mkdir(parents=True, exist_ok=True)
    steps = _Steps(folder)
    typer.echo(f"A demo in {folder.absolute()}. What it runs there can be run again by hand.")
    steps.say("Phantoms and one anonymised patient, and a stand-in of Eclipse's database of them:")
    steps.run("esapi-stub", "sample", "sample")
    steps.run("esapi-stub", "build", "--dicom", "sample/dicom", "--db", "db")
    steps.say("What an export would do; without --write it changes nothing:")
    export = ("export", "--cases", "sample/cases.csv", "--out", "export", "--esapi", "stub:db")
    steps.product(*export)
    steps.say("The export. Some cases are faulty on purpose, and fail:")
    steps.product(*export, "--write")
    steps.say("Is every file as it was exported?")
    steps.product("verify", "export")
    if network:
        _transfer(steps)
    steps.say("Training files of it, without names; the gates leave out what is not fit for it:")
    steps.product("dataset", "--from", "export", "--out", "dataset", "--mapping", "who-is-who.csv")
    typer.echo("\nDone. What became of each case, and why some failed, is on these pages:")
    for page in ("export/report.html", "dataset/dataset.html"):
        typer.echo(f"  {folder.absolute() / page}")


def _transfer(steps: _Steps) -> None:
    """Transfer what the export's ready list names, from a daemon in front of the database."""
    own = _free_port()
    steps.say("The same over the network: from a stand-in of the DB Daemon, without ESAPI:")
    destination = f"STARDUST@127.0.0.1:{own}"
    with steps.daemon("serve", "db", "--port", "0", "--destination", destination) as port:
        peer = ("--peer", f"VMSDBD1@127.0.0.1:{port}", "--port", str(own))
        steps.product("doctor", "--esapi", "stub:db", *peer, "--patient", "123456", "--out", ".")
        steps.product("transfer", "--list", "export/export_list.csv", "--out", "transfer", *peer)
    steps.product("verify", "transfer")


class _Steps:
    """Runs programs in a folder, and shows how each is called.

    Each is a process of its own, as a user starts it. No setting of this computer has a say.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("STARDUST_")
        }

    def say(self, text: str) -> None:
        typer.echo(f"\n{text}")

    def product(self, *arguments: str) -> None:
        """Run a command of this program."""
        self.run("stardust-esapi", *arguments)

    def run(self, program: str, *arguments: str) -> None:
        """Run a command to its end.

        Raises:
            StardustError: It ended as no demo does.
        """
        from stardust_esapi.errors import StardustError

        code = subprocess.call(  # noqa: S603 - our own programs
            self._shown(program, *arguments), cwd=self._folder, env=self._environment
        )
        if code not in _AS_TOLD:
            raise StardustError(
                f"This command ended with code {code}: the demo goes no further. Report what it "
                "says above."
            )

    @contextmanager
    def daemon(self, *arguments: str) -> Iterator[int]:
        """The port of a daemon of the stub, which serves while the context lasts."""
        with subprocess.Popen(  # noqa: S603 - our own program
            self._shown("esapi-stub", *arguments),
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                typer.echo(line.rstrip())
                yield int(line.partition(". ")[0].rpartition(":")[2])
            finally:
                process.terminate()

    def _shown(self, program: str, *arguments: str) -> list[str]:
        sys.stdout.write(f"\n$ {subprocess.list2cmdline([program, *arguments])}\n")
        sys.stdout.flush()  # before the program's own words
        return [sys.executable, "-m", _MODULES[program], *arguments]


def _free_port() -> int:
    """A port to listen on, below those that the system gives to outgoing connections."""
    while True:
        port = random.randint(20_000, 32_000)  # noqa: S311 - any will do
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
