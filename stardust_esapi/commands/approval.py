"""``stardust-esapi approval …``: create the launchers, look at them, check what they would load."""

from __future__ import annotations

import sys
from functools import cache, partial
from pathlib import Path
from typing import Annotated

import typer

from stardust_esapi.commands.exit_codes import Exit
from stardust_esapi.wording import counted, counted_are

app = typer.Typer(
    help="The launchers that Eclipse approves, and the Python files they are tied to.",
    no_args_is_help=True,
)

Site = Annotated[
    Path,
    typer.Option("--site", help="Folder of the Python packages.", show_default=False),
]
Home = Annotated[
    Path,
    typer.Option(
        "--home", help="Folder of the Python installation.", show_default="of this Python"
    ),
]


@app.command(short_help="Compile them, and fill the record.")
def build(
    site: Site,
    esapi: Annotated[
        Path, typer.Option("--esapi", help="Folder of the ESAPI assemblies.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the launchers.", show_default=False)
    ],
    launchers: Annotated[
        Path, typer.Option("--launchers", help="Folder of the launchers' sources.")
    ] = Path("approval/launchers"),
    home: Home = Path(sys.base_prefix),
    evidence: Annotated[
        Path | None,
        typer.Option("--evidence", help="Test report of pytest --junit-xml, for the record."),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            help="The settings to be approved: a TOML file.",
            show_default="built-in rules",
        ),
    ] = None,
) -> None:
    """Compile the launchers for a site folder, and fill the record to be signed."""
    from stardust_esapi.approval.assembly import read_assembly
    from stardust_esapi.approval.compile import ASSEMBLIES, build_launchers
    from stardust_esapi.approval.evidence import read_evidence
    from stardust_esapi.approval.record import TEMPLATE, read_rules, render_record
    from stardust_esapi.approval.site import RUNTIME, read_site
    from stardust_esapi.errors import UsageError
    from stardust_esapi.files import atomic_write

    rules = read_rules(settings)
    proof = read_evidence(evidence) if evidence else None
    packages = read_site(site, home)
    version = packages.manifest.version
    record = out / f"record-{version}.md"
    if record.exists():
        raise UsageError(
            f"{record} exists already: it may be signed, and it holds for the launchers that lie "
            "there. Name another --out."
        )
    created = build_launchers(launchers, esapi, site / RUNTIME, packages.manifest, out)
    text = render_record(
        launchers.parent / TEMPLATE,
        packages,
        [read_assembly(path) for path in created],
        [read_assembly(esapi / name) for name in ASSEMBLIES],
        rules,
        proof,
    )
    atomic_write(record, text)
    for path in created:
        typer.echo(f"{path}: version {version}")
    typer.echo(f"Record: {record}")


@app.command(short_help="What are they, and tied to what?")
def show(
    path: Annotated[Path, typer.Argument(help="A launcher, or a folder.", show_default=False)],
) -> None:
    """Say what a launcher, or each launcher in a folder, is and is tied to."""
    from stardust_esapi.approval.assembly import read_launchers

    for launcher, manifest in read_launchers(path):
        mode = "writable" if launcher.writable else "read-only"
        typer.echo(f"{launcher.file}: version {launcher.version}, {mode}")
        typer.echo(
            f"  package {manifest.package}, Python {manifest.target.python}, "
            f"{manifest.target.platform}, {counted(len(manifest.files), 'file')}",
        )
        typer.echo(f"  SHA-256 of the manifest  {manifest.digest}")
        typer.echo(f"  SHA-256 of the file      {launcher.sha256}")


@app.command(short_help="Are the Python files as approved?")
def check(
    site: Site,
    path: Annotated[Path, typer.Argument(help="A launcher, or a folder.", show_default=False)],
    home: Home = Path(sys.base_prefix),
) -> None:
    """Compare the Python files with what launchers were created for: every difference by name."""
    from stardust_esapi.approval.assembly import read_launchers
    from stardust_esapi.approval.manifest import compare, read_files

    files = cache(partial(read_files, site, home))
    wrong = 0
    for launcher, manifest in read_launchers(path):
        found = files(manifest.target.python)
        differences = [str(difference) for difference in compare(manifest, found)]
        if launcher.version != manifest.version:
            differences.append(f"version {launcher.version}, which should be {manifest.version}")
        for difference in differences:
            typer.echo(f"{launcher.file}: {difference}")
        if not differences:
            typer.echo(
                f"{launcher.file}: all {counted_are(len(manifest.files), 'file')} as approved."
            )
        wrong += len(differences)
    if wrong:
        typer.echo(f"{counted(wrong, 'difference')}: the writable launchers will not start.")
        raise typer.Exit(Exit.SOME_FAILED)
