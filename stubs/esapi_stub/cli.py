"""``esapi-stub``: create stub databases, look into them, and serve them over the network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from esapi_stub.profiles import PROFILES, ProfileName

app = typer.Typer(
    help="A stand-in for Eclipse, filled from DICOM files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_USAGE, _STOPPED = 2, 130
_PEER = re.compile(r"(?P<ae_title>[^@\\]{1,16})@(?P<host>.+):(?P<port>[0-9]{1,5})")


@app.command()
def build(
    dicom: Annotated[Path, typer.Option("--dicom", help="Folder of DICOM files.")],
    db: Annotated[Path, typer.Option("--db", help="Folder of the database to create.")],
    version: Annotated[str, typer.Option(help="ESAPI version to stand for.")] = "15.6",
) -> None:
    """Create a stub database from a folder of DICOM files."""
    from esapi_stub.build import build as build_database

    report = build_database(dicom, db, version=version)
    for left_out in report.not_taken:
        typer.echo(f"not taken {left_out.what}: {left_out.reason}")
    for note in report.notes:
        typer.echo(f"note {note}")
    typer.echo(
        f"{db}: {report.patients} patients, {report.series} series of {report.images} images, "
        f"{report.structure_sets} structure sets, {report.plans} plans, {report.doses} doses, "
        f"{report.registrations} registrations."
    )


@app.command("list")
def list_(
    db: Annotated[Path, typer.Argument(help="Folder of the database.", show_default=False)],
) -> None:
    """Say what a stub database holds."""
    from esapi_stub.database import describe

    contents = describe(db)
    for patient in contents["patients"]:
        typer.echo(f"patient {patient['id']}")
        for series in patient["series"]:
            details = f"{series['slices']} slices, {series['description']}"
            _line(series["modality"], series, details)
        for one in patient["structure_sets"]:
            approved = ", approved" if one["approved"] else ""
            _line("structure set", one, f"on {one['image']}{approved}")
        for plan in patient["plans"]:
            details = f"course {plan['course']}, structure set {plan['structure_set'] or 'none'}"
            _line("plan", plan, details)
        for one in patient["registrations"]:
            _line("registration", one, "")
    typer.echo(f"ESAPI {contents['version']}, {len(contents['patients'])} patients.")


def _line(what: str, item: dict[str, str], details: str) -> None:
    typer.echo(f"  {what:14}{item['id']:17}{item['uid']}  {details}".rstrip())


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Where to write it.", show_default=False)],
    patients: Annotated[int, typer.Option(min=1, help="How many patients.")] = 9,
) -> None:
    """Write a sample cohort: DICOM of a real anonymised patient and phantoms, and a case list."""
    from esapi_stub.sample import write_sample

    cases = write_sample(folder, patients=patients)
    typer.echo(f"DICOM: {folder / 'dicom'}\nCase list: {cases}")


@app.command()
def serve(
    db: Annotated[Path, typer.Argument(help="Folder of the database.", show_default=False)],
    aet: Annotated[str, typer.Option(help="AE title of the daemon.")] = "VMSDBD1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any.")] = 51402,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    destination: Annotated[
        list[str] | None,
        typer.Option(metavar="AE@HOST:PORT", help="A node that a C-MOVE may name; repeatable."),
    ] = None,
    file_daemon: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AE=FOLDER", help="A folder that a File Daemon would fill; repeatable."
        ),
    ] = None,
    profile: Annotated[
        ProfileName,
        typer.Option(help="Whose services it has: an archive's that can do all, or Varian's."),
    ] = ProfileName.PLAIN,
    tls: Annotated[
        tuple[Path, Path, Path] | None,
        typer.Option(
            metavar="CERTIFICATE KEY CA",
            exists=True,
            dir_okay=False,
            help="Serve over TLS alone, with these PEM files.",
        ),
    ] = None,
) -> None:
    """Serve a stub database as Varian's DICOM services do, until Ctrl-C or SIGTERM."""
    destinations = dict(_peer(text) for text in destination or ())
    folders = dict(_file_daemon(text) for text in file_daemon or ())
    from esapi_stub.daemon import Daemon, Tls

    try:
        daemon = Daemon(
            db,
            ae_title=aet,
            host=host,
            port=port,
            destinations=destinations,
            file_daemons=folders,
            profile=PROFILES[profile],
            tls=Tls(*tls) if tls else None,
        )
        daemon.serve_forever(
            lambda: print(  # noqa: T201 - flushed: who starts a daemon waits for this line
                f"Serving {db} as {aet}@{host}:{daemon.port}. Ctrl-C ends it.", flush=True
            )
        )
    except (OSError, ValueError) as error:
        _fail(
            f"{aet}@{host}:{port} cannot be served ({error}). "
            "Choose another --aet, --host or --port."
        )
    typer.echo(f"{aet} has stopped.")


def _peer(text: str) -> tuple[str, tuple[str, int]]:
    match = _PEER.fullmatch(text.strip())
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        _fail(f"--destination {text}: write AE@HOST:PORT, such as STARDUST@127.0.0.1:11112.")
    return match["ae_title"].strip(), (match["host"], int(match["port"]))


def _file_daemon(text: str) -> tuple[str, Path]:
    ae_title, separator, folder = text.partition("=")
    if not (ae_title and separator and folder):
        _fail(f"--file-daemon {text}: write AE=FOLDER, such as VMSFD1=import.")
    return ae_title, Path(folder)


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise SystemExit(_USAGE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program; what the stub refuses becomes one sentence and exit code 2.

    Args:
        arguments: What stands after the program's name; by default what this process was given.

    Raises:
        SystemExit: Always.
    """
    try:
        app(arguments, prog_name="esapi-stub")
    except KeyboardInterrupt:
        typer.echo("Stopped.", err=True)
        raise SystemExit(_STOPPED) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}.")
    except Exception as error:
        if not type(error).__module__.startswith("esapi_stub"):
            raise
        _fail(str(error))
