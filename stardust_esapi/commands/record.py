"""``stardust-esapi record``: what ESAPI answers of a patient, without anything of the patient."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stardust_esapi.commands import options

if TYPE_CHECKING:
    from stardust_esapi.esapi.backend import Backend
    from stardust_esapi.esapi.write_gate import Approval

PatientId = Annotated[
    str, typer.Option("--patient", help="Id of the patient to ask about.", show_default=False)
]
TryWrites = Annotated[
    bool,
    typer.Option(
        "--write", help="Try writes too: only on a test patient, and where nobody is treated."
    ),
]
_WARNING = (
    "This makes structure sets in patient {patient}, and removes them again. Do so only on a test "
    "patient of an Eclipse with which nobody is treated. If this is one, type the patient's id "
    "again"
)


def record(
    patient: PatientId,
    out: Annotated[Path, typer.Option("--out", help="The zip file to be.", show_default=False)],
    esapi: options.Esapi = None,
    *,
    write: TryWrites = False,
    settings: options.SettingsFile = None,
) -> None:
    """Record what ESAPI answers of one patient, for the developers: no name, id, UID or date."""
    from stardust_esapi.esapi.connect import connect
    from stardust_esapi.settings import load_settings
    from stardust_esapi.trace.archive import record_file

    backend = connect(load_settings(settings, {"esapi": esapi}).esapi)
    approval = confirmed(patient, out.parent, backend) if write else None
    record_file(backend, patient, out, approval, typer.echo)
    typer.echo(f"{out}: look into its README.txt, then send it.")


def confirmed(patient: str, folder: Path, backend: Backend) -> Approval:
    """Ask whether writes may be tried on a patient.

    Args:
        patient: Its id.
        folder: Where the audit log lies, or will.
        backend: How ESAPI is reached.

    Raises:
        NotApprovedError: They may not, or nothing can be written this way.
    """
    from stardust_esapi.errors import NotApprovedError
    from stardust_esapi.esapi import host
    from stardust_esapi.esapi.write_gate import Approval
    from stardust_esapi.record.audit import AUDIT_NAME, AuditLog

    approval = Approval(requested=True, host=host.current(), audit=AuditLog(folder / AUDIT_NAME))
    if obstacle := approval.obstacle(backend):
        raise NotApprovedError(f"{obstacle} Nothing was recorded.")
    if typer.prompt(_WARNING.format(patient=patient), default="", show_default=False) != patient:
        raise NotApprovedError("That is not the patient's id. Nothing was recorded or changed.")
    return approval
