"""Bring the series of a case under their final names: whole and verified, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stardust_esapi import files
from stardust_esapi.dicom.derive_structure_set import derive_structure_set
from stardust_esapi.dicom.instance import Person
from stardust_esapi.dicom.write_structure_set import write_dataset
from stardust_esapi.errors import CaseError, TransferError, VerifyError
from stardust_esapi.model import Case, Kind, Role, TransferRequest, structures_for_mr
from stardust_esapi.names import folder_name, role_of
from stardust_esapi.record.ledger import Ledger, SeriesRecord, SeriesState
from stardust_esapi.transfer.engine import Engine
from stardust_esapi.verify.inspect import NAME, differing, inspect_folder, persons_of
from stardust_esapi.verify.manifest import manifest_digest, read_manifest, write_manifest

STAGING = ".staging"
_MOST_NAMESAKES = 99
# Between a rename and its record another case of the same series would take the folder for foreign.
_placing = threading.Lock()


@dataclass(frozen=True, slots=True)
class Delivered:
    """The series of a case in their places.

    Attributes:
        folders: Of each kind the folder, relative to the output folder, POSIX style.
        warnings: Sentences that must be read.
    """

    folders: dict[Kind, str]
    warnings: tuple[str, ...]


def deliver(
    case: Case,
    requests: Sequence[TransferRequest],
    engine: Engine,
    ledger: Ledger,
    root: Path,
    advance: Callable[[TransferRequest, int], None],
) -> Delivered:
    """Export the series of a prepared case, but those that are in their places already.

    Each is written to a staging folder and verified against its request; an MR gets the structure
    set that is derived from the CT's before, where its request names one. When all are there and
    of one person, each appears under its final name by one rename. Killed at any point, the next
    run finds a series whole or starts it again.

    Args:
        case: The case; the ledger knows it as prepared.
        requests: Its series.
        engine: Who fetches the files.
        ledger: Keeps the state.
        root: The output folder.
        advance: Told the number of images of a series fetched so far.

    Raises:
        TransferError: Files are missing, or what lies in a final folder is something else.
        VerifyError: What arrived is not what was asked for, or of different persons.
    """
    folders: dict[Kind, str] = {}
    persons: set[Person] = set()
    for request in sorted(requests, key=lambda one: one.kind is Kind.MR):  # it needs the CT
        kind = request.kind
        folders[kind] = ledger.claim_folder(case, kind, _candidates(case, request))
        if _is_in_place(case, kind, ledger, root):
            persons |= persons_of(root / folders[kind])
        else:
            persons |= _stage(case, request, engine, ledger, root, advance)
        advance(request, request.images)
    differences = differing(persons)
    if differences not in ([], [NAME]):
        raise VerifyError(
            f"{case}: its series are not of one person: they differ in the "
            f"{' and the '.join(differences)}. None of them counts as exported now: find out whose "
            "each is; folders of an earlier run that are of somebody else must be moved away."
        )
    for kind, folder in folders.items():
        with _placing:
            if not _is_in_place(case, kind, ledger, root):
                files.place_folder(_staging(case, kind, root), root / folder)
                ledger.placed(case, kind)
    return Delivered(folders, _SPELT if differences else ())


_SPELT = (
    "The series of this case do not spell the patient's name alike. Patient ID, birth date and sex "
    "agree as far as they are given: other departments may write names differently. Make sure that "
    "all are of one person.",
)


def _is_in_place(case: Case, kind: Kind, ledger: Ledger, root: Path) -> bool:
    """Whether a series has its final name, which is recorded then.

    Raises:
        TransferError: Something else has that name.
    """
    series = ledger.series_of(case)[kind]
    final = root / series.folder
    if not final.exists():
        return False
    if series.state is SeriesState.PLACED or ledger.adopted(case, kind):
        return True
    if series.state is SeriesState.CLAIMED:
        raise TransferError(
            f"{case}: folder {series.folder} is there, but this program did not export it. Move "
            "it away and run again."
        )
    _check_own(case, final, series)
    ledger.placed(case, kind)
    return True


def _stage(
    case: Case,
    request: TransferRequest,
    engine: Engine,
    ledger: Ledger,
    root: Path,
    advance: Callable[[TransferRequest, int], None],
) -> frozenset[Person]:
    """Fetch a series into its staging folder and verify it; gives whose it says it is."""
    staging = _staging(case, request.kind, root)
    files.remove_tree(staging)
    files.make_folder(staging)
    fetched = engine.fetch(request, staging, lambda images: advance(request, images))
    inspected = inspect_folder(staging, request, case.key)
    remarks: tuple[str, ...] = ()
    if request.derived_structure_set_uid:  # of files that are proven, and then proven itself
        remarks = _derive(case, request, staging, ledger, root)
        inspected = inspect_folder(staging, request, case.key)
    write_manifest(staging, inspected.manifest)
    ledger.staged(
        case,
        request.kind,
        inspected.manifest,
        fetched.sender_report,
        clean=fetched.clean,
        remarks=(*inspected.remarks, *remarks),
    )
    return inspected.persons


def _derive(
    case: Case, request: TransferRequest, staging: Path, ledger: Ledger, root: Path
) -> tuple[str, ...]:
    """Put the derived structure set beside a staged MR; gives sentences that must be read."""
    drawn = structures_for_mr(ledger.requests(case))
    if drawn is None:
        return ()
    series = ledger.series_of(case)[drawn.kind]
    is_placed = series.state is SeriesState.PLACED
    ct = root / series.folder if is_placed else _staging(case, drawn.kind, root)
    try:
        derived, lacking = derive_structure_set(staging, ct, request.derived_structure_set_uid)
    except CaseError as error:  # the MR itself is none the worse
        return (f"The MR has no structure set: {error}",)
    write_dataset(derived, staging)
    labels = [name for name in lacking if role_of(name) is not Role.OTHER]
    return (f"The MR shows nothing of {' and '.join(labels)}.",) if labels else ()


def _staging(case: Case, kind: Kind, root: Path) -> Path:
    return root / STAGING / f"{case.key}-{kind}"


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
