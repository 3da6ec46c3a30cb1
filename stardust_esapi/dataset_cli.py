"""``stardust-esapi dataset``: from an export to the files that MedSAM2 trains on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from stardust_esapi.console import CaseBar, CaseLines, console, say
from stardust_esapi.dataset.build import (
    OVERVIEW_NAME,
    DatasetJob,
    DatasetSummary,
    build_dataset,
)
from stardust_esapi.dataset.entry import Entry
from stardust_esapi.errors import UsageError
from stardust_esapi.esapi import host
from stardust_esapi.settings import load_settings

_MOST_FAILED_SHOWN = 50


def dataset(
    source: Annotated[
        Path, typer.Option("--from", help="Output folder of an export.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the dataset.", show_default=False)],
    formats: Annotated[
        str | None,
        typer.Option("--format", help="What to write, such as npz,nifti.", show_default="npz"),
    ] = None,
    split: Annotated[
        float | None,
        typer.Option("--split", help="Share of patients for training.", show_default="0.8"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Another split.", show_default="0")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes.", show_default="one a processor"),
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
            show_default="stardust-esapi.toml of this folder",
        ),
    ] = None,
    *,
    dicom: Annotated[
        bool | None, typer.Option("--dicom", help="Leave a de-identified DICOM copy too.")
    ] = None,
) -> None:
    """Make training files of an export: labelled, judged, without names, split by patient."""
    flags = {
        "formats": formats,
        "split": split,
        "seed": seed,
        "workers": workers,
        "scheduler": scheduler,
        "key": key,
        "dicom": dicom,
    }
    run(source, out, flags, mapping, settings)


def refuse_launcher() -> None:
    """Refuse to work inside a launcher, which cannot start Python's worker processes.

    Raises:
        UsageError: This Python runs in one.
    """
    if host.current().is_launcher:
        raise UsageError(
            f"{host.current().name} makes no training files: that needs no Eclipse and no "
            "approval. Run `stardust-esapi dataset` with Python itself."
        )


def run(
    source: Path,
    out: Path,
    flags: Mapping[str, object],
    mapping: Path | None = None,
    settings: Path | None = None,
) -> None:
    """Make the dataset and say what became of it; leaves with 1 where cases failed.

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
    refuse_launcher()
    given = {name: value for name, value in flags.items() if value is not None}
    loaded = load_settings(settings, {"dataset": given})
    terminal = console()
    with dataset_watcher(terminal) as watcher:
        summary = build_dataset(DatasetJob(source, out, loaded.dataset, mapping), watcher)
    print_dataset(summary, terminal)
    terminal.print(f"Overview: {out / OVERVIEW_NAME}", markup=False, soft_wrap=True)
    if summary.failed:
        raise typer.Exit(1)


class TerminalDatasetWatcher(CaseBar):
    """Progress on a terminal."""

    def __init__(self, out: Console) -> None:
        super().__init__(out, "training cases")

    def finish(self, entry: Entry) -> None:
        """Count the case."""
        self.count(failed=not entry.made)


class PlainDatasetWatcher(CaseLines):
    """Progress for logs and pipes."""

    def finish(self, entry: Entry) -> None:
        """Print the case's line."""
        text = f"{entry.state} {entry.case} {entry.kind} {' '.join(entry.reasons)}"
        self.line(text.rstrip(), entry.seconds)


def dataset_watcher(out: Console) -> TerminalDatasetWatcher | PlainDatasetWatcher:
    """Progress that suits where the output goes."""
    return TerminalDatasetWatcher(out) if out.is_terminal else PlainDatasetWatcher(out)


def print_dataset(summary: DatasetSummary, out: Console) -> None:
    """Print what lies in the dataset: the failed with their reasons, the split, the verdict."""
    for entry in summary.failed[:_MOST_FAILED_SHOWN]:
        why = escape(" ".join(entry.reasons))
        say(out, f"[red]failed[/] {entry.case} {entry.kind}: {why}")
    if len(summary.failed) > _MOST_FAILED_SHOWN:
        say(out, f"… and {len(summary.failed) - _MOST_FAILED_SHOWN} more: see the overview.")
    if summary.unchanged:
        say(out, f"{summary.unchanged} cases were there already and were left alone.")
    for part, names in summary.split.cases.items():
        say(out, f"{part}: {len(names)} cases")
    say(out, f"[bold]{escape(summary.verdict)}.[/]")
