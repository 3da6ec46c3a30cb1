"""Which of the cases of a list a run takes, and which first."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stardust_esapi.caselist.decisions import Decisions
from stardust_esapi.choices import Retry
from stardust_esapi.errors import UsageError
from stardust_esapi.model import Case, CaseState
from stardust_esapi.prepare.identify import may_be

_RETRIED = {
    Retry.ALL: frozenset({CaseState.FAILED, CaseState.DOUBTFUL}),
    Retry.FAILED: frozenset({CaseState.FAILED}),
    Retry.NONE: frozenset[CaseState](),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user named of a list; by default all of it.

    Attributes:
        patients: Patient ids; none means all.
        rows: First and last row of each part of the list, as a spreadsheet counts; none means all.
        retry: Which of the cases are tried again that an earlier run has given up.
        decisions: Those of a review, which has to have accepted a case; None without one.
    """

    patients: tuple[str, ...] = ()
    rows: tuple[tuple[int, int], ...] = ()
    retry: Retry = Retry.ALL
    decisions: Decisions | None = None

    def names(self, case: Case) -> bool:
        """Whether a case is of a patient and in a row that the user named, and was accepted."""
        return (
            (not self.patients or any(may_be(case, one) for one in self.patients))
            and (not self.rows or any(first <= case.row <= last for first, last in self.rows))
            and (self.decisions is None or self.decisions.accepts(case))
        )

    def refuse_nothing(self, cases: Sequence[Case]) -> None:
        """Refuse a choice that names no case of a list.

        Raises:
            UsageError: It names none.
        """
        if cases and not any(map(self.names, cases)):
            named = [f"--patient {one}" for one in self.patients]
            named += ["--rows"] if self.rows else []
            named += [f"accepted in {self.decisions.name}"] if self.decisions else []
            raise UsageError(
                f"{' and '.join(named)}: no case of the list is that. Nothing was done: look at "
                "the list, whose rows are counted with the header as row 1."
            )


def parse_rows(text: str) -> tuple[tuple[int, int], ...]:
    """Read rows such as ``2-9,14``.

    >>> parse_rows("2-9, 14")
    ((2, 9), (14, 14))

    Raises:
        UsageError: They are not written like that.
    """
    parts = [re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part) for part in text.split(",")]
    rows = tuple((int(part[1]), int(part[2] or part[1])) for part in parts if part)
    if len(rows) < len(parts) or any(first > last for first, last in rows):
        raise UsageError(f"--rows {text}: write rows as 2-9,14, as the spreadsheet counts them.")
    return rows


def choose(
    cases: Sequence[Case], state: Callable[[Case], CaseState], choice: Choice, limit: int | None
) -> list[Case]:
    """The cases that a run takes of those that are not done, in the order of the list.

    Args:
        cases: In the order of the list.
        state: What earlier runs have made of a case.
        choice: What the user named.
        limit: How many patients; those with a case that was never given up come first, so that
            hopeless cases do not stand in the way of others.
    """
    states = {case: state(case) for case in cases if choice.names(case)}
    taken = [
        case
        for case, state_now in states.items()
        if not state_now.is_given_up or state_now in _RETRIED[choice.retry]
    ]
    fresh_first = sorted(taken, key=lambda case: states[case].is_given_up)
    patients = set(list(dict.fromkeys(case.patient_id for case in fresh_first))[:limit])
    return [case for case in taken if case.patient_id in patients]
