"""The decisions of a review: which cases a person has accepted, as they were shown.

The page of a review saves them as CSV; a spreadsheet may have opened and saved it since, with
another separator and encoding, as a workbook, with the zeros of ids gone. So a case is known by
:func:`review_key` alone, which no spreadsheet takes for a number.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stardust_esapi.caselist.cells import as_text
from stardust_esapi.caselist.header import EARLY
from stardust_esapi.caselist.table import read_table
from stardust_esapi.errors import UsageError
from stardust_esapi.model import Case
from stardust_esapi.names import from_cell

CASE_COLUMNS = (
    "Row",
    "Patient-ID",
    "PlanID",
    "SeriesUID",
    "StructureSetID",
    "TargetID",
    "GTV",
    "KM_Series_UID",
    "MR_Series_UID",
    "MRregUID",
)
"""What tells a person which case is meant."""
COLUMNS = (*CASE_COLUMNS, "Decision", "Reason", "Reviewer", "When", "Case-Key", "Shown-State")

_NEEDED = COLUMNS[-6:]
_MOST_BYTES = 64 << 20
_KEY, _STATE = re.compile(r"case-[0-9a-f]{16}"), re.compile(r"state-[0-9a-f]{32}")
_WORDS = {"accept": True, "accepted": True, "reject": False, "rejected": False, "": None}


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided of one case.

    Attributes:
        row: Its row in the file.
        key: :func:`review_key` of the case.
        state: :func:`stardust_esapi.prepare.shown.shown_state` of what was shown.
        accepted: None where nothing was decided.
        reason: Why it was rejected.
        reviewer: Who decided, as typed.
        when: When, as the browser wrote it.
    """

    row: int
    key: str
    state: str
    accepted: bool | None
    reason: str
    reviewer: str
    when: str

    @property
    def is_rejected(self) -> bool:
        """Whether somebody said no, and not merely nothing."""
        return self.accepted is False

    def __str__(self) -> str:
        """The decision in words."""
        if self.accepted is None:
            return "not decided in the review"
        why = f": {self.reason}" if self.reason else ""
        return (
            f"{'accepted' if self.accepted else 'rejected'} in the review by {self.reviewer}{why}"
        )


@dataclass(frozen=True, slots=True)
class Decisions:
    """A file of decisions.

    Attributes:
        name: Of the file, without its folders.
        sha256: Digest of the file.
        by_key: The decisions by :func:`review_key`.
    """

    name: str
    sha256: str
    by_key: Mapping[str, Decision]

    def of(self, case: Case) -> Decision | None:
        """What was decided of a case; None where the file does not know it."""
        return self.by_key.get(review_key(case))

    def accepts(self, case: Case) -> bool:
        """Whether a case was accepted, in the state that was shown."""
        decision = self.of(case)
        return decision is not None and decision.accepted is True

    def why_not(self, case: Case) -> str:
        """Why a case is left out; empty of an accepted one."""
        decision = self.of(case)
        if decision is None:
            return f"Left out: it is not among the decisions of {self.name}. Review it."
        return "" if decision.accepted else f"Left out: {decision}."

    def sentences(self, cases: Iterable[Case]) -> Iterator[str]:
        """What a reader should know: how many were decided how, and which decisions go nowhere."""
        cases = list(cases)
        accepted = sum(map(self.accepts, cases))
        rejected = sum(bool(found and found.is_rejected) for found in map(self.of, cases))
        yield (
            f"Review {self.name} (SHA-256 {self.sha256}): {accepted} accepted, {rejected} "
            f"rejected, {len(cases) - accepted - rejected} not decided."
        )
        keys = {review_key(case) for case in cases}
        lost = [str(d.row) for d in self.by_key.values() if d.key not in keys]
        if lost:
            what = f"Row {lost[0]}" if len(lost) == 1 else f"Rows {', '.join(lost)}"
            yield (
                f"{what} of {self.name} decide{'s' * (len(lost) == 1)} of what is no case of this "
                "list: it is another list, or was changed since."
            )

    def facts(self, case: Case) -> dict[str, object]:
        """What the audit log says of an accepted case: by whom, when, in which file."""
        decision = self.by_key[review_key(case)]
        signed = {"reviewer": decision.reviewer, "when": decision.when}
        return {"review": {"file": self.name, "sha256": self.sha256, **signed}}


def review_key(case: Case) -> str:
    """A case's identity whether or not its patient id has lost leading zeros on the way.

    Which patient was shown is part of the state.
    """
    bare = replace(case, patient_id=case.patient_id.lstrip("0"))
    return f"case-{bare.key}"


def read_decisions(path: Path) -> Decisions:
    """Read what the page of a review has saved, or what a spreadsheet made of it.

    Raises:
        UsageError: It cannot be read, or a row is damaged or contradicts another one.
    """
    table = read_table(path, "", _MOST_BYTES)
    if table.swallowing.any():
        raise UsageError(
            f"{path}: a quotation mark is never closed and hides the rows after it; delete it."
        )
    rows = [[as_text(cell) for cell in row] for row in table.cells]
    top = next((n for n, row in enumerate(rows[:EARLY]) if set(_NEEDED) <= set(row)), None)
    if top is None:
        raise UsageError(
            f"{path} is no file of decisions: it does not name the columns {', '.join(_NEEDED)}. "
            "Save the decisions again on the review's page."
        )
    at = {name: rows[top].index(name) for name in _NEEDED}
    by_key: dict[str, Decision] = {}
    for number, row in enumerate(rows[top + 1 :], start=top + 2):
        if not any(row):
            continue
        found = _decision(path, number, {name: row[place] for name, place in at.items()})
        before = by_key.setdefault(found.key, found)
        if (before.accepted, before.state) != (found.accepted, found.state):
            raise UsageError(
                f"{path}: rows {before.row} and {number} decide of the same case differently. "
                "Leave the right one."
            )
    return Decisions(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), by_key)


def _decision(path: Path, number: int, row: Mapping[str, str]) -> Decision:
    word = row["Decision"].casefold()
    if word not in _WORDS:
        raise UsageError(
            f"{path}: row {number}: Decision is {row['Decision']!r}; it is accept, reject or empty."
        )
    for column, form in (("Case-Key", _KEY), ("Shown-State", _STATE)):
        if not form.fullmatch(row[column]):
            raise UsageError(
                f"{path}: row {number}: {column} is {row[column]!r}, which the review did not "
                "write. Save the decisions again on the review's page."
            )
    if word and not row["Reviewer"]:
        raise UsageError(
            f"{path}: row {number}: Reviewer is empty. Whoever decided signs with a name."
        )
    return Decision(
        row=number,
        key=row["Case-Key"],
        state=row["Shown-State"],
        accepted=_WORDS[word],
        reason=from_cell(row["Reason"]),
        reviewer=from_cell(row["Reviewer"]),
        when=row["When"],
    )
