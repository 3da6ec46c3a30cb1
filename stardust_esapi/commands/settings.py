"""``stardust-esapi settings …``: whether they fit, and what holds in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stardust_esapi.commands import options

app = typer.Typer(help="Check the settings, and show what holds.", no_args_is_help=True)


@app.command(short_help="Do they fit?")
def check(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A TOML file, or an old settings.ini.",
            show_default="those of this folder",
        ),
    ] = None,
) -> None:
    """Say what is wrong with the settings, each with what was given and what is possible."""
    from stardust_esapi.settings import gather, merged

    sources = gather(file)
    merged(sources)
    given = ", ".join(sorted(source.where for source in sources if source.values))
    typer.echo(f"All settings fit: of {given}." if given else "No settings are given.")


@app.command(short_help="What holds, and where does it come from?")
def show(settings: options.SettingsFile = None) -> None:
    """Show each setting that holds here, and where it comes from, as a TOML file has it."""
    from stardust_esapi.setting_words import as_toml
    from stardust_esapi.settings import gather, merged, settings_schema

    sources = gather(settings)
    values = merged(sources).model_dump(mode="json")
    for setting in settings_schema().settings():
        value = values
        for key in setting.key:
            value = value[key]
        origin = next((s.where for s in sources if s.has(setting.key)), "default")
        line = (
            f"# {setting.name} is not set"
            if value is None
            else (f"{setting.name} = {as_toml(value)}")
        )
        typer.echo(f"{line}  # {origin}")
