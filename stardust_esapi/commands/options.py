"""Flags that several commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stardust_esapi.choices import OnMissing, Retrieve, Retry

if TYPE_CHECKING:
    from stardust_esapi.job.choose import Choice

Cases = Annotated[Path, typer.Option("--cases", help="Case list: CSV or XLSX.", show_default=False)]
OutputFolder = Annotated[Path, typer.Option("--out", help="Output folder.", show_default=False)]
Esapi = Annotated[
    str | None,
    typer.Option(
        "--esapi",
        help="How ESAPI is reached: eclipse, or stub:DB, clr-stub:DB.",
        show_default="eclipse",
    ),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        help="Settings: a TOML file, or an old settings.ini.",
        show_default="those of this folder",
    ),
]
Kinds = Annotated[
    str | None,
    typer.Option("--kinds", help="What to export: of ct,km,mr,dose,plan.", show_default="ct,km,mr"),
]
Sheet = Annotated[
    str | None, typer.Option("--sheet", help="Which sheet of a workbook is the case list.")
]
Missing = Annotated[
    OnMissing | None,
    typer.Option(
        "--on-missing",
        help="When a contrast CT, MR or dose cannot be had: leave it out, or fail.",
        show_default="skip",
    ),
]
MrStructures = Annotated[
    bool | None,
    typer.Option(
        "--mr-structures/--no-mr-structures",
        help="Whether a structure set derived from the CT's lies beside an MR; it does.",
        show_default=False,
    ),
]
AcceptDoubtful = Annotated[
    bool,
    typer.Option(
        "--accept-doubtful",
        help="Take cases as they are that are implausible or no longer what the list says.",
    ),
]
Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", help="At most so many patients in this run.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Patients = Annotated[
    list[str] | None,
    typer.Option("--patient", metavar="ID", help="Only this patient; may be given several times."),
]
Rows = Annotated[
    str | None,
    typer.Option("--rows", metavar="ROWS", help="Only these rows of the list, such as 2-9,14."),
]
Only = Annotated[
    Path | None,
    typer.Option("--only", help="Only the cases that a review accepted: the CSV it saved."),
]
Retrying = Annotated[
    Retry, typer.Option("--retry", help="Which cases to try again that an earlier run gave up.")
]
FailFast = Annotated[
    bool | None, typer.Option("--fail-fast", help="Stop at the first failed case.")
]
Audit = Annotated[
    Path | None,
    typer.Option("--audit", help="The audit log.", show_default="audit.jsonl of the output folder"),
]
Peer = Annotated[
    str | None,
    typer.Option("--peer", metavar="AE@HOST:PORT", help="Query/Retrieve SCP to get the data from."),
]
Aet = Annotated[
    str | None, typer.Option("--aet", help="Our own AE title.", show_default="STARDUST")
]
OwnPort = Annotated[
    int | None,
    typer.Option("--port", help="Port our storage SCP listens on.", show_default="11112"),
]
Retrieving = Annotated[
    Retrieve | None,
    typer.Option("--retrieve", help="C-MOVE or C-GET.", show_default="move"),
]
Deliver = Annotated[
    str | None,
    typer.Option("--deliver", help="folder:PATH collects from Varian's File Daemon."),
]


def choice(
    patients: list[str] | None,
    rows: str | None,
    retry: Retry = Retry.ALL,
    only: Path | None = None,
) -> Choice:
    """What the user named of the list.

    Raises:
        UsageError: ``--rows`` or ``--only`` cannot be read.
    """
    from stardust_esapi.caselist.decisions import read_decisions
    from stardust_esapi.job.choose import Choice, parse_rows

    return Choice(
        tuple(patients or ()),
        parse_rows(rows) if rows else (),
        retry,
        read_decisions(only) if only else None,
    )


def given(**flags: object) -> dict[str, object]:
    """The flags of one table of the settings that were given."""
    return {key: value for key, value in flags.items() if value is not None}
