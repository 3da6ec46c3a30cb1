"""``stardust-esapi stub …``: make and look into stub databases. Needs the stub installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import pydantic
import typer
from rich.console import Console

from stardust_esapi.console import console
from stardust_esapi.errors import UsageError
from stardust_esapi.settings import Peer

app = typer.Typer(help="A stand-in for Eclipse, made from DICOM files.", no_args_is_help=True)


@app.command()
def build(
    dicom: Annotated[Path, typer.Option("--dicom", help="Folder of DICOM files.")],
    db: Annotated[Path, typer.Option("--db", help="Folder of the database to make.")],
    version: Annotated[str, typer.Option(help="ESAPI version to stand for.")] = "15.6",
) -> None:
    """Make a stub database from a folder of DICOM files."""
    out = console()
    with _stub():
        from esapi_stub.build import build as build_database

        report = build_database(dicom, db, version=version)
    for left_out in report.not_taken:
        out.print(f"not taken {left_out.what}: {left_out.reason}", markup=False, soft_wrap=True)
    for remark in report.remarks:
        out.print(f"remark {remark}", markup=False, soft_wrap=True)
    out.print(
        f"{db}: {report.patients} patients, {report.series} series of {report.images} images, "
        f"{report.structure_sets} structure sets, {report.plans} plans, "
        f"{report.registrations} registrations.",
        markup=False,
        soft_wrap=True,
    )


@app.command("list")
def list_(
    db: Annotated[Path, typer.Argument(help="Folder of the database.", show_default=False)],
) -> None:
    """Say what a stub database holds."""
    with _stub():
        from esapi_stub.database import describe

        contents = describe(db)
    out = console()
    for patient in contents["patients"]:
        out.print(f"patient {patient['id']}", style="bold", markup=False)
        for series in patient["series"]:
            details = f"{series['slices']} slices, {series['description']}"
            _line(out, series["modality"], series, details)
        for one in patient["structure_sets"]:
            approved = ", approved" if one["approved"] else ""
            _line(out, "structure set", one, f"on {one['image']}{approved}")
        for plan in patient["plans"]:
            details = f"course {plan['course']}, structure set {plan['structure_set'] or 'none'}"
            _line(out, "plan", plan, details)
        for one in patient["registrations"]:
            _line(out, "registration", one, "")
    out.print(f"ESAPI {contents['version']}, {len(contents['patients'])} patients.")


def _line(out: Console, what: str, item: dict[str, str], details: str) -> None:
    text = f"  {what:14}{item['id']:17}{item['uid']}  {details}".rstrip()
    out.print(text, markup=False, soft_wrap=True)


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Where to write it.", show_default=False)],
    patients: Annotated[int, typer.Option(min=1, help="How many patients.")] = 9,
) -> None:
    """Write a sample cohort: DICOM of a real anonymised patient and phantoms, and a case list."""
    with _stub():
        from esapi_stub.sample import write_sample

        cases = write_sample(folder, patients=patients)
    console().print(f"DICOM: {folder / 'dicom'}\nCase list: {cases}", markup=False, soft_wrap=True)


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
) -> None:
    """Serve a stub database as Varian's DICOM DB Daemon does, until Ctrl-C or SIGTERM."""
    peers = [_peer(text) for text in destination or ()]
    folders = dict(_file_daemon(text) for text in file_daemon or ())
    out = console()
    with _stub():
        from esapi_stub.daemon import Daemon

        try:
            daemon = Daemon(
                db,
                ae_title=aet,
                host=host,
                port=port,
                destinations={peer.ae_title: (peer.host, peer.port) for peer in peers},
                file_daemons=folders,
            )
            daemon.serve_forever(
                lambda: out.print(
                    f"Serving {db} as {aet}@{host}:{daemon.port}. Ctrl-C ends it.",
                    markup=False,
                    soft_wrap=True,
                )
            )
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{aet}@{host}:{port} cannot be served ({error}). "
                "Choose another --aet, --host or --port."
            ) from None
    out.print(f"{aet} has stopped.", markup=False, soft_wrap=True)


def _peer(text: str) -> Peer:
    try:
        return Peer.model_validate(text)
    except pydantic.ValidationError:
        raise UsageError(
            f"--destination {text}: write AE@HOST:PORT, such as STARDUST@127.0.0.1:11112."
        ) from None


def _file_daemon(text: str) -> tuple[str, Path]:
    ae_title, separator, folder = text.partition("=")
    if not (ae_title and separator and folder):
        raise UsageError(f"--file-daemon {text}: write AE=FOLDER, such as VMSFD1=import.")
    return ae_title, Path(folder)


@contextmanager
def _stub() -> Iterator[None]:
    """Turn what the stub says, or its absence, into a sentence."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"The stub ESAPI is not installed here ({error.name}): `pip install ./stubs`."
        ) from None
    except Exception as error:
        if type(error).__module__.startswith("esapi_stub"):
            raise UsageError(str(error)) from None
        raise
