"""What one run did, in one frozen record: the command line and the HTML report both read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from stardust_esapi.caselist import RowProblem
from stardust_esapi.model import Action, CaseResult, CaseState, Kind, StructureOutcome
from stardust_esapi.wording import counted

if TYPE_CHECKING:
    from pydantic import TypeAdapter

ACTIONS = (Action.FAILED, Action.RENAMED, Action.COPIED, Action.SKIPPED)
"""What may become of a structure, what needs a look first."""

PLANNED = "planned"
"""State shown for a case that a run without write found ready."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Everything that the report says of one run.

    Attributes:
        program_version: Version of stardust-esapi.
        started: When the run began.
        finished: When it ended.
        case_list: File name of the case list, without its folders.
        esapi: How ESAPI was reached, such as ``stub:DB`` or ``eclipse``; empty for a transfer
            that needs none.
        engine: What exported the files (``esapi``), or ``none``.
        write: False for a run that only says what it would do.
        rejected: Rows of the list that are marked as rejected.
        row_problems: Why rows of the list are not among the cases.
        duplicates: One sentence for each group of rows that mean the same case.
        results: One result a case, in the order of the list.
        quarantined: One sentence for each instance that arrived and was not taken.
        launcher: Name and version of the launcher it ran in; empty where Python was the host.
        list_notes: How the list was read: which sheet, what was hidden.
        comments: Comments of the accepted rows, and how many carry each. People type names into
            them: for the terminal, not for a report.
        audit: What the audit log holds after the run, and the end of its chain; may be empty.
        audit_problems: What is not as it was in the audit logs; none is well.
        pictures: The kinds that have a picture, by :attr:`Case.key`.
        running: Whether the run goes on, and this is what it has done so far.
        report: Name of the file in the output folder that this is written to; empty before.
        failed_rows: Name of the file there with the rows to be corrected; empty without any.
        review: The page on which a person accepts or rejects the cases; None without one.
    """

    program_version: str
    started: datetime
    finished: datetime
    case_list: str
    esapi: str
    engine: str
    write: bool
    rejected: tuple[int, ...] = ()
    row_problems: tuple[RowProblem, ...] = ()
    duplicates: tuple[str, ...] = ()
    results: tuple[CaseResult, ...] = ()
    quarantined: tuple[str, ...] = ()
    launcher: str = ""
    list_notes: tuple[str, ...] = ()
    comments: tuple[tuple[str, int], ...] = ()
    audit: str = ""
    audit_problems: tuple[str, ...] = ()
    pictures: Mapping[str, tuple[Kind, ...]] = field(default_factory=dict)
    running: bool = False
    report: str = ""
    failed_rows: str = ""
    review: Path | None = None

    @property
    def exported(self) -> int:
        """Cases whose every file is in place and verified."""
        return self._count(CaseState.EXPORTED)

    @property
    def prepared(self) -> int:
        """Cases prepared in Eclipse that still wait for their transfer."""
        return self._count(CaseState.PREPARED)

    @property
    def partial(self) -> int:
        """Exported cases (or planned ones) of which a contrast CT or MR was left out."""
        return self._count(CaseState.PARTIAL)

    @property
    def doubtful(self) -> int:
        """Cases that are not what was accepted, or not plausible; nothing of them is written."""
        return self._count(CaseState.DOUBTFUL)

    @property
    def needs_a_look(self) -> bool:
        """Whether a person has to look: something failed, is doubtful, left out or not read."""
        left_out = self.partial or any(result.left_out for result in self.results)
        return bool(
            self.failed or self.doubtful or left_out or self.row_problems or self.audit_problems
        )

    @property
    def failed(self) -> int:
        """Cases that failed."""
        return self._count(CaseState.FAILED)

    @property
    def planned(self) -> int:
        """Cases that a run without write found ready."""
        return self._count(PLANNED)

    @property
    def pending(self) -> int:
        """Cases that the run did not reach."""
        return self._count(CaseState.PENDING)

    @property
    def series(self) -> int:
        """Series of the cases that are exported, prepared or planned."""
        return sum(len(result.requests) for result in self._good())

    @property
    def images(self) -> int:
        """Images of the cases that are exported, prepared or planned."""
        return sum(result.images for result in self._good())

    @property
    def unread_rows(self) -> int:
        """Rows of the list that could not be used."""
        return len({problem.row for problem in self.row_problems})

    @property
    def duration(self) -> timedelta:
        """Time from start to end."""
        return self.finished - self.started

    @property
    def verdict(self) -> str:
        """The run in one sentence, such as ``12 of 14 cases exported; 2 failed``."""
        total, unread = len(self.results), self.unread_rows
        unused = [f"{counted(unread, 'row')} not read"] if unread else []
        if not total:
            return "; ".join(["No case to export", *unused])
        good: list[tuple[str, str]] = [
            (PLANNED, "ready to export"),
            (CaseState.EXPORTED, "exported" if self.write else "exported before"),
            (CaseState.PARTIAL, "exported in part" if self.write else "ready in part"),
            (CaseState.PREPARED, "prepared for transfer"),
        ]
        if self.write:
            good = good[1:]
        bad = [
            (CaseState.FAILED, "failed"),
            (CaseState.DOUBTFUL, "doubtful"),
            (CaseState.PENDING, "not reached"),
        ]
        # A run with the engine "none" exports nothing, by intent: it leads with what it prepared.
        lead = next((pair for pair in good if self._count(pair[0])), good[0])
        count, cases = self._count(lead[0]), counted(total, "case")
        of_total = f"All {cases}" if count == total > 1 else f"{count:,} of {cases}"
        rest = [(self._count(state), words) for state, words in [*good, *bad] if state != lead[0]]
        others = [f"{n:,} {words}" for n, words in rest if n]
        return "; ".join([f"{of_total} {lead[1]}", *others, *unused])

    def _count(self, state: str) -> int:
        return sum(shown_state(result) == state for result in self.results)

    def _good(self) -> list[CaseResult]:
        wanting = (CaseState.FAILED, CaseState.DOUBTFUL, CaseState.PENDING)
        return [result for result in self.results if shown_state(result) not in wanting]


def as_text(summary: RunSummary) -> str:
    """A summary without cases, pictures and what people typed freely, for the ledger."""
    return _adapter().dump_json(replace(summary, results=(), pictures={}, comments=())).decode()


def from_text(text: str) -> RunSummary:
    """The summary of such a text."""
    return _adapter().validate_json(text)


@cache
def _adapter() -> TypeAdapter[RunSummary]:
    from pydantic import TypeAdapter

    return TypeAdapter(RunSummary)


def by_action(outcomes: Iterable[StructureOutcome]) -> str:
    """How many structures became what, such as ``2 renamed, 5 copied``."""
    counts = Counter(outcome.action for outcome in outcomes)
    return ", ".join(f"{counts[action]} {action}" for action in ACTIONS if counts[action])


def shown_state(result: CaseResult) -> str:
    """The state in one word: that of the ledger, or ``planned`` where nothing was to be written.

    A failure stays a failure and an export of an earlier run an export, also in a run without
    write; a doubtful case and one of which a kind is left out show as such there too.
    """
    settled = result.state not in (CaseState.PENDING, CaseState.PREPARED)
    return PLANNED if result.planned and not settled else result.state.value
