"""``stardust-esapi stub …``: make and look into stub databases. Needs the stub installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stardust_esapi.console import console
from stardust_esapi.errors import UsageError

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
    patients: Annotated[int, typer.Option(min=1, help="How many patients.")] = 8,
) -> None:
    """Write a sample cohort: DICOM of a real anonymised patient and phantoms, and a case list."""
    with _stub():
        from esapi_stub.sample import write_sample

        cases = write_sample(folder, patients=patients)
    console().print(f"DICOM: {folder / 'dicom'}\nCase list: {cases}", markup=False, soft_wrap=True)


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
