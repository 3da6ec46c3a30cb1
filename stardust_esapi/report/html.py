"""The report of one run: a light page that lists the cases, and a page for each of them.

The pages of cases and the pictures lie in a folder beside the list, which is named like it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from stardust_esapi.errors import in_words
from stardust_esapi.files import make_folder, write_for_people
from stardust_esapi.model import CaseResult, CaseState, Kind, StructureOutcome
from stardust_esapi.names import LOOKED_FOR
from stardust_esapi.page import in_general, template
from stardust_esapi.report.drawing import OUTLINES
from stardust_esapi.report.summary import ACTIONS, PLANNED, RunSummary, by_action, shown_state
from stardust_esapi.wording import counted, row_ranges

KIND_NAMES = {kind: kind.words[:1].upper() + kind.words[1:] for kind in Kind}

# What needs a person comes first, in the table as in the totals.
_STATES = {
    CaseState.FAILED.value: "failed",
    CaseState.DOUBTFUL.value: "doubtful",
    CaseState.PARTIAL.value: "in part",
    CaseState.PENDING.value: "not reached",
    CaseState.PREPARED.value: "prepared",
    PLANNED: "planned",
    CaseState.EXPORTED.value: "exported",
}
_NO_REASON = "Nothing to look at"
_SHOWN_OUTLINES = {LOOKED_FOR[role]: colour for role, colour in OUTLINES.items()}


@dataclass(frozen=True, slots=True)
class _CaseView:
    """One case as the list shows it.

    Attributes:
        result: The case's result.
        state: Key of :data:`_STATES`.
        group: Number of the reason that it shares with others.
        digest: What its page holds, in short pieces.
        pictures: The kinds that it has a picture of.
        page: Where its page is, relative to the list; empty without one.
    """

    result: CaseResult
    state: str
    group: int
    digest: list[str]
    pictures: Collection[Kind]
    page: str


def render_report(summary: RunSummary, name: str, pages: Mapping[str, str]) -> str:
    """Write the list of one run's cases as HTML.

    It shows ids, UIDs and reasons as text whatever they contain, and reads without JavaScript.

    Args:
        summary: The run.
        name: Of the folder beside the page that holds pages and pictures.
        pages: Name of the page in there by :attr:`Case.key`; a case without one has no link.

    Returns:
        One HTML document.
    """
    states = list(_STATES)
    results = sorted(
        summary.results, key=lambda result: (states.index(shown_state(result)), result.case.row)
    )
    reasons = {result.case.key: _reason(result) for result in results}
    frequent = Counter(reasons.values())
    ordered = sorted(frequent, key=lambda text: (text == _NO_REASON, -frequent[text], text))
    groups = {text: number for number, text in enumerate(ordered)}
    cases = [
        _CaseView(
            result,
            shown_state(result),
            groups[reasons[result.case.key]],
            _digest(result, summary.pictures.get(result.case.key, ())),
            summary.pictures.get(result.case.key, ()),
            f"{name}/{pages[result.case.key]}" if result.case.key in pages else "",
        )
        for result in results
    ]
    return template("report", "report.html.j2").render(
        summary=summary,
        cases=cases,
        groups=groups,
        states=_STATES,
        counts=Counter(case.state for case in cases),
        mood=_mood(summary),
        unread=counted(summary.unread_rows, "row"),
        rejected=counted(len(summary.rejected), "row"),
        rejected_rows=row_ranges(summary.rejected),
        pictured=any(summary.pictures.values()),
        folder=name,
        duration=_duration(summary.duration.total_seconds()),
    )


def render_case(result: CaseResult, pictures: Iterable[Kind], report: str) -> str:
    """Write the page of one case as HTML: no time and no run in it, so that it lasts.

    Args:
        result: The case's result.
        pictures: The kinds that have a picture beside the page.
        report: Name of the list that leads here.

    Returns:
        One HTML document.
    """
    state = shown_state(result)
    return template("report", "case.html.j2").render(
        result=result,
        state=state,
        state_name=_STATES[state],
        outcomes=_outcomes(result),
        pictures=list(pictures),
        kind_names=KIND_NAMES,
        outlines=_SHOWN_OUTLINES,
        index=report,
        mood="",
    )


def write_report(summary: RunSummary, path: Path) -> Path:
    """Write the list, and the pages of those cases of which there is something new to say.

    A case that was not reached has no page.

    Each file is written as a whole or not at all; none is worth ending a run.

    Args:
        summary: The run.
        path: The list's file; its folder exists. The pages lie in a folder of its name beside it.

    Returns:
        Where the list is; beside ``path`` where that cannot be written
        (:func:`files.write_for_people`).
    """
    folder = path.with_suffix("")
    pages: dict[str, str] = {}
    try:
        make_folder(folder)
    except OSError as error:
        logger.warning(
            "{} cannot be a folder: {}. The report has no pages of cases.", folder, in_words(error)
        )
    else:
        for result in summary.results:
            if shown_state(result) == CaseState.PENDING:
                continue  # the list says all that is known
            key = result.case.key
            page = render_case(result, summary.pictures.get(key, ()), path.name)
            pages[key] = _kept(folder / f"{key}.html", page).name
    return write_for_people(path, render_report(summary, folder.name, pages))


def _kept(path: Path, page: str) -> Path:
    """Where a page is; one that says the same already is left alone, for there may be thousands."""
    try:
        if path.read_bytes() == page.encode():
            return path
    except OSError:  # there is none, or it cannot be read now
        pass
    return write_for_people(path, page)


def _reason(result: CaseResult) -> str:
    """What the case has in common with others that need the same look."""
    said = next(filter(None, (result.why, *result.warnings)), "")
    return in_general(said) if said else _NO_REASON


def _outcomes(result: CaseResult) -> dict[Kind, list[StructureOutcome]]:
    """Structures of each kind that has some: failures first, then gtv+ and target+."""
    outcomes = {
        kind: sorted(
            (outcome for outcome in result.outcomes if outcome.kind is kind),
            key=lambda outcome: (
                ACTIONS.index(outcome.action),
                outcome.new_id not in _SHOWN_OUTLINES,
            ),
        )
        for kind in Kind
    }
    return {kind: listed for kind, listed in outcomes.items() if listed}


def _digest(result: CaseResult, pictures: Collection[Kind]) -> list[str]:
    digest = [
        f"{KIND_NAMES[kind]}: {by_action(listed)}" for kind, listed in _outcomes(result).items()
    ]
    if pictures:
        digest.append(counted(len(pictures), "picture"))
    if result.notes:
        digest.append(counted(len(result.notes), "note"))
    return digest


def _mood(summary: RunSummary) -> str:
    if summary.failed or summary.row_problems:
        return "bad"
    if summary.needs_a_look or summary.pending or not summary.results:
        return "waiting"
    return "good" if summary.write else PLANNED


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
