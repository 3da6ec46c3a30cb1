"""``stardust-esapi init``: a folder to begin with, a list to fill in and the settings."""

from __future__ import annotations

from pathlib import Path
from subprocess import list2cmdline
from typing import Annotated

import typer

LIST_NAME = "cases.xlsx"


def init(
    folder: Annotated[Path, typer.Argument(help="Where to begin.", show_default=False)],
) -> None:
    """Create a list to fill in, and a file with every setting; overwrites nothing."""
    from stardust_esapi.caselist.write import template
    from stardust_esapi.errors import UsageError
    from stardust_esapi.files import atomic_write, make_folder
    from stardust_esapi.setting_words import as_template
    from stardust_esapi.settings import TOML_NAME, load_settings, settings_schema

    loaded = load_settings()
    cases, settings = folder / LIST_NAME, folder / TOML_NAME
    for path in (cases, settings):
        if path.exists():
            raise UsageError(f"{path} exists already, and is left as it is. Name another folder.")
    make_folder(folder)
    words = {
        "casekind": loaded.dataset.words,
        "Label2": loaded.dataset.regions,
        "Comment": loaded.caselist.rejected,
    }
    atomic_write(cases, template(words))
    atomic_write(settings, as_template(settings_schema().settings()))
    typer.echo(f"{cases}: a list to fill in; its second sheet explains the columns.")
    typer.echo(f"{settings}: every setting, with its default as a comment.")
    check = ["stardust-esapi", "check", "--cases", LIST_NAME]
    typer.echo(f"Next: fill in the list, then, in {folder}: {list2cmdline(check)}")
