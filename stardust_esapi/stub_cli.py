"""``stardust-esapi stub …``: make and look into stub databases. Needs the stub installed."""

from __future__ import annotations

import typer

app = typer.Typer(help="A stand-in for Eclipse, made from DICOM files.", no_args_is_help=True)
