"""``export_list.csv``: the series ready for transfer, for people who run the transfer themselves.

One row a series, with every UID that a Query/Retrieve client needs (PS3.4 C.3.4).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from stardust_esapi.errors import UsageError
from stardust_esapi.files import write_for_people
from stardust_esapi.model import Case, CaseResult, CaseState, Kind, TransferRequest
from stardust_esapi.names import as_cell, from_cell

READY_LIST_NAME = "export_list.csv"
COLUMNS = (
    "Patient-ID",
    "PlanID",
    "Kind",
    "StudyUID",
    "SeriesUID",
    "StructureSetUID",
    "RegistrationUID",
    "Images",
    "PlanUID",
    "DoseUID",
)
_LATER = ("PlanUID", "DoseUID")  # lists of earlier versions lack them

# PS3.5 9.1, but for leading zeros, which it forbids and archives hold all the same. No dot at all
# is what a spreadsheet leaves of a UID.
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_UID_LENGTH = 64


def write_ready_list(path: Path, requests: Iterable[TransferRequest]) -> Path:
    """Write the list as a whole: ``;``-separated UTF-8, in the order given.

    Ids that a spreadsheet would take for formulas begin with an apostrophe
    (:func:`names.as_cell`), which reading takes away.

    Returns:
        Where it is; beside ``path`` where that cannot be written, such as when a spreadsheet holds
        it open (:func:`files.write_for_people`).
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows(
        (
            as_cell(r.patient_id),
            as_cell(r.plan_id),
            r.kind.value,
            r.study_uid,
            r.series_uid,
            r.structure_set_uid,
            r.registration_uid,
            r.images,
            r.plan_uid,
            r.dose_uid,
        )
        for r in requests
    )
    return write_for_people(path, text.getvalue())


def read_ready_list(path: Path) -> list[TransferRequest]:
    """Read the list back; a byte order mark and columns in another order are fine.

    So is a list without PlanUID and DoseUID, as earlier versions wrote it.

    Raises:
        UsageError: The file cannot be read, or a cell makes no sense: row and column are named.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=";"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{path} cannot be read as a ready list: {error}. It must be {';'.join(COLUMNS)} "
            "in UTF-8."
        ) from None
    header = [cell.strip() for cell in rows[0]] if rows else []
    missing = [
        name
        for name in COLUMNS
        if header.count(name) != 1 and (name not in _LATER or name in header)
    ]
    if missing:
        raise UsageError(
            f"{path}: row 1 must name each column once; check {', '.join(missing)}. "
            f"The columns are {';'.join(COLUMNS)}."
        )
    requests = []
    for number, cells in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        where = f"{path}: row {number}"
        if len(cells) != len(header):
            raise UsageError(
                f"{where} has {len(cells)} columns, the header has {len(header)}. Correct the row."
            )
        requests.append(
            _request(
                dict(zip(header, (from_cell(cell.strip()) for cell in cells), strict=True)), where
            )
        )
    return requests


def read_ready_cases(path: Path, kinds: Sequence[Kind]) -> list[CaseResult]:
    """Read a ready list as prepared cases: rows of one patient and plan belong together.

    A plan may stand there for several cases: a kind that comes again begins another one.

    Args:
        path: The list.
        kinds: The kinds that are asked for; the others are left out.

    Raises:
        UsageError: As :func:`read_ready_list` does.
    """
    groups: list[list[tuple[int, TransferRequest]]] = []
    for row, request in enumerate(read_ready_list(path), start=2):
        first = groups[-1][0][1] if groups else None
        if (
            first is None
            or (first.patient_id, first.plan_id) != (request.patient_id, request.plan_id)
            or request.kind in {other.kind for _, other in groups[-1]}
        ):
            groups.append([])
        groups[-1].append((row, request))
    # Only now: without the kinds that are not asked for, cases of one plan would run together, and
    # not be told apart.
    results = [
        CaseResult(
            _case_of(group),
            CaseState.PREPARED,
            requests=tuple(request for _, request in group if request.kind in kinds),
        )
        for group in groups
    ]
    return [result for result in results if result.requests]


def is_ready(request: TransferRequest) -> bool:
    """Whether all that a request asks for is there: only the CTs need something prepared."""
    return request.kind not in (Kind.CT, Kind.KM) or bool(request.structure_set_uid)


def _case_of(group: Sequence[tuple[int, TransferRequest]]) -> Case:
    """The case behind rows of a ready list, as far as they tell it."""
    row, first = group[0]
    series = {request.kind: request.series_uid for _, request in group}
    return Case(
        row=row,
        patient_id=first.patient_id,
        plan_id=first.plan_id,
        series_uid=series.get(Kind.CT, ""),
        structure_set_uid=first.structure_set_uid,
        km_series_uid=series.get(Kind.KM, ""),
        mr_series_uid=series.get(Kind.MR, ""),
    )


def _request(row: dict[str, str], where: str) -> TransferRequest:
    if not row["Patient-ID"]:
        raise UsageError(f"{where}: Patient-ID is empty. Fill it in.")
    if row["Kind"] not in set(Kind):
        raise UsageError(f"{where}: Kind is {row['Kind']!r}; write one of {', '.join(Kind)}.")
    kind = Kind(row["Kind"])
    needed = {"StudyUID", "SeriesUID"}
    if kind in (Kind.DOSE, Kind.PLAN):
        needed |= {"PlanUID"} if kind is Kind.PLAN else {"PlanUID", "DoseUID"}
    for column in ("StudyUID", "SeriesUID", "StructureSetUID", "RegistrationUID", *_LATER):
        value = row.get(column, "")
        if not value and column in needed:
            raise UsageError(f"{where}: {column} is empty. Fill it in.")
        if value and not (_UID.fullmatch(value) and len(value) <= _UID_LENGTH):
            raise UsageError(
                f"{where}: {column} is {value!r}, which is no UID. "
                "A spreadsheet may have damaged it: restore it as text."
            )
    if not re.fullmatch(r"[0-9]{1,9}", row["Images"]) or int(row["Images"]) < 1:
        raise UsageError(
            f"{where}: Images is {row['Images']!r}; write how many images the series has."
        )
    return TransferRequest(
        kind=kind,
        patient_id=row["Patient-ID"],
        plan_id=row["PlanID"],
        study_uid=row["StudyUID"],
        series_uid=row["SeriesUID"],
        structure_set_uid=row["StructureSetUID"],
        registration_uid=row["RegistrationUID"],
        images=int(row["Images"]),
        plan_uid=row.get("PlanUID", ""),
        dose_uid=row.get("DoseUID", ""),
    )
