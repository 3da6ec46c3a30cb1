"""Bring one series under its final name: whole and verified, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from stardust_esapi import files
from stardust_esapi.errors import TransferError
from stardust_esapi.model import Case, TransferRequest
from stardust_esapi.names import folder_name
from stardust_esapi.record.ledger import Ledger, SeriesRecord, SeriesState
from stardust_esapi.transfer.engine import Engine
from stardust_esapi.verify.inspect import inspect_folder
from stardust_esapi.verify.manifest import manifest_digest, read_manifest, write_manifest

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
    """Export one series of a prepared case, unless it is in its place already.

    Files are written to a staging folder, verified against the request, and appear under their
    final name by one rename. Killed at any point, the next run finds the series whole or starts
    it again.

    Args:
        case: The case; the ledger knows it as prepared.
        request: Which of its series.
        engine: Who fetches the files.
        ledger: Keeps the state.
        root: The output folder.
        advance: Told the number of images fetched so far.

    Returns:
        The series' folder, relative to ``root``, POSIX style.

    Raises:
        TransferError: Files are missing, or what lies in the final folder is something else.
        VerifyError: What arrived is not what was asked for.
    """
    relative = ledger.claim_folder(case, request.kind, _candidates(case, request))
    final, staging = root / relative, root / STAGING / f"{case.key}-{request.kind}"
    series = ledger.series_of(case)[request.kind]
    if final.exists():
        if series.state is SeriesState.CLAIMED and not ledger.adopted(case, request.kind):
            raise TransferError(
                f"{case}: folder {relative} is there, but this program did not export it. Move "
                "it away and run again."
            )
        if series.state is SeriesState.STAGED:
            _check_own(case, final, series)
    else:
        files.remove_tree(staging)
        files.make_folder(staging)
        fetched = engine.fetch(request, staging, advance)
        manifest = inspect_folder(staging, request, case.key)
        write_manifest(staging, manifest)
        ledger.staged(case, request.kind, manifest, fetched.sender_report, clean=fetched.clean)
        files.place_folder(staging, final)
    ledger.placed(case, request.kind)
    advance(request.images)
    return relative


def _check_own(case: Case, final: Path, series: SeriesRecord) -> None:
    """Make sure that a folder is the one an interrupted run was about to place."""
    if manifest_digest(read_manifest(final)) != series.manifest_sha256:
        raise TransferError(
            f"{case}: folder {series.folder} is there, but it is not what was staged for it. Move "
            "it away and run again."
        )


def _candidates(case: Case, request: TransferRequest) -> Iterator[str]:
    """Folder names, best first: another case of the same series may have the plain one."""
    patient, series = folder_name(request.patient_id), folder_name(request.series_uid)
    own = folder_name(case.plan_id or case.structure_set_id or case.structure_set_uid)
    parent = f"{request.kind.folder}/{patient}"
    yield f"{parent}/{series}"
    yield f"{parent}/{series}~{own}"
    for number in range(2, _MOST_NAMESAKES):
        yield f"{parent}/{series}~{own}~{number}"
    for number in range(2, _MOST_NAMESAKES):  # another patient's id differs in case alone
        yield f"{parent}~{number}/{series}"
