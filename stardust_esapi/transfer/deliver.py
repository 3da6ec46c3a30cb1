"""Bring one series under its final name: whole and proven, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from stardust_esapi import files
from stardust_esapi.errors import TransferError
from stardust_esapi.model import Case, TransferRequest
from stardust_esapi.names import folder_name
from stardust_esapi.record.ledger import Ledger
from stardust_esapi.transfer.engine import Engine
from stardust_esapi.verify.manifest import inspect_folder, read_manifest, write_manifest

STAGING = ".staging"
_MOST_NAMESAKES = 99


def deliver(
    case: Case,
    request: TransferRequest,
    engine: Engine,
    ledger: Ledger,
    root: Path,
    advance: Callable[[int], None],
) -> str:
    """Export one series of a case, unless it is there already.

    Files are written to a staging folder, proven against the request, and appear under their
    final name by one rename. Killed at any point, the next run finds the series whole or starts
    it again.

    Returns:
        The series' folder, relative to ``root``, POSIX style.

    Raises:
        TransferError: Files are missing, or what lies in the final folder is something else.
        VerifyError: What arrived is not what was asked for.
    """
    relative = ledger.claim_folder(case, request, _candidates(case, request))
    final = root / relative
    if final.exists():
        _check_present(case, request, final, relative)
    else:
        staging = root / STAGING / f"{case.key}-{request.kind}"
        files.remove_tree(staging)
        staging.mkdir(parents=True)
        engine.fetch(request, staging, advance)
        manifest = inspect_folder(staging, request)
        write_manifest(staging, manifest)
        ledger.staged(case, request, manifest)
        files.place_folder(staging, final)
    advance(request.images)
    ledger.placed(case, request, read_manifest(final))
    return relative


def _check_present(case: Case, request: TransferRequest, final: Path, relative: str) -> None:
    """Accept a folder that an earlier run placed; refuse any other."""
    manifest = read_manifest(final)
    same = (
        manifest.patient_id == request.patient_id
        and manifest.series_uid == request.series_uid
        and manifest.structure_set_uid == request.structure_set_uid
        and manifest.registration_uid == request.registration_uid
        and manifest.images == request.images
    )
    whole = all(
        path.is_file() and path.stat().st_size == entry.size
        for entry in manifest.files
        for path in [final / entry.name]
    )
    if not (same and whole):
        raise TransferError(
            f"{case}: folder {relative} is there, but it is not this series as Eclipse holds it "
            "now. Move the folder away and run again."
        )


def _candidates(case: Case, request: TransferRequest) -> Iterator[str]:
    """Folder names, best first: another case of the same series may have the plain one."""
    patient, series = folder_name(request.patient_id), folder_name(request.series_uid)
    own = folder_name(case.plan_id or case.structure_set_id)
    top = request.kind.folder
    yield f"{top}/{patient}/{series}"
    yield f"{top}/{patient}/{series}~{own}"
    for number in range(2, _MOST_NAMESAKES):
        yield f"{top}/{patient}/{series}~{own}~{number}"
