"""``stardust-esapi stub …``: make and look into stub databases. Needs the stub installed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from stardust_esapi.esapi.stub_backend import load_stub

app = typer.Typer(help="A stand-in for Eclipse, made from DICOM files.", no_args_is_help=True)
