"""``stardust-esapi dataset``: from an export to the files that MedSAM2 trains on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from stardust_esapi.commands import options
from stardust_esapi.commands.exit_codes import Exit


def dataset(
    source: Annotated[
        Path, typer.Option("--from", help="Output folder of an export.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the dataset.", show_default=False)],
    formats: Annotated[
        str | None,
        typer.Option(
            "--format", help="What to write: npz, nifti, nnunet, seg.", show_default="npz"
        ),
    ] = None,
    split: Annotated[
        float | None,
        typer.Option("--split", help="Share of patients for training.", show_default="0.8"),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option("--folds", help="Lists for cross-validation.", show_default="none"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Another split.", show_default="0")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", help="Processes.", show_default="one a processor"),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="ADDRESS", help="A Dask scheduler, instead."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", help="The pseudonyms' secret.", show_default="OUT.key beside OUT"),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option("--mapping", help="Write here which pseudonym is whose; never in OUT."),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            help="Settings: a TOML file.",
            show_default="that of this folder",
        ),
    ] = None,
    *,
    dicom: Annotated[
        bool | None, typer.Option("--dicom", help="Leave a de-identified DICOM copy too.")
    ] = None,
    dose: Annotated[
        bool | None,
        typer.Option("--dose", help="The dose too, in Gy on the image's grid, in the NPZ."),
    ] = None,
) -> None:
    """Create training files from an export: labelled, judged, without names, split by patient."""
    flags = {
        "formats": formats,
        "split": split,
        "folds": folds,
        "seed": seed,
        "workers": workers,
        "scheduler": scheduler,
        "key": key,
        "dicom": dicom,
        "dose": dose,
    }
    convert(source, out, flags, mapping, settings)


def refuse_launcher(command: str) -> None:
    """Refuse to work inside a launcher, which cannot start Python's worker processes.

    Args:
        command: The command that needs them.

    Raises:
        UsageError: This Python runs in one.
    """
    from stardust_esapi.errors import UsageError
    from stardust_esapi.esapi import host

    if host.current().is_launcher:
        raise UsageError(
            f"{host.current().name} does not run `{command}`: that needs no Eclipse and no "
            f"approval. Run `stardust-esapi {command}` with Python itself."
        )


def convert(
    source: Path,
    out: Path,
    flags: Mapping[str, object],
    mapping: Path | None = None,
    settings: Path | None = None,
) -> None:
    """Create the dataset and say what became of it; leaves with 1 where somebody has to look.

    Args:
        source: Output folder of an export.
        out: The dataset's folder.
        flags: Fields of the settings' ``dataset`` that the command line gave; None counts as not
            given.
        mapping: Where to write which pseudonym is whose.
        settings: The settings file.

    Raises:
        UsageError: Something stands against it that no case can help.
    """
    from stardust_esapi.commands import terminal
    from stardust_esapi.dataset.build import OVERVIEW_NAME, DatasetJob, build_dataset
    from stardust_esapi.settings import load_settings

    refuse_launcher("dataset")
    loaded = load_settings(settings, {"dataset": options.given(**flags)})
    console = terminal.open_console()
    with terminal.dataset_watcher(console) as watcher:
        summary = build_dataset(DatasetJob(source, out, loaded.dataset, mapping), watcher)
    terminal.print_dataset(summary, console)
    terminal.print_path(console, "Overview", out / OVERVIEW_NAME)
    if summary.missing and mapping is None:
        terminal.say(
            console,
            "What is missing is named by pseudonyms: `stardust-esapi dataset` with --mapping FILE "
            "writes which patient is whose.",
        )
    if summary.missing:
        raise typer.Exit(Exit.SOME_FAILED)
