"""The report of one run as one self-contained HTML file: no request leaves the page."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from stardust_esapi.files import write_for_people
from stardust_esapi.model import Action, CaseResult, CaseState, Kind, StructureOutcome
from stardust_esapi.names import LOOKED_FOR
from stardust_esapi.report.drawing import OUTLINES
from stardust_esapi.report.summary import PLANNED, RunSummary, row_ranges, shown_state

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
_ACTIONS = [Action.FAILED, Action.RENAMED, Action.COPIED, Action.SKIPPED]


@dataclass(frozen=True, slots=True)
class _CaseView:
    """One case as the template shows it.

    Attributes:
        result: The case's result.
        state: Key of :data:`_STATES`.
        images: Images of all its series.
        digest: What its details hold, in short pieces.
        outcomes: Structures of each kind, failures first, then gtv+ and target+.
        pictures: Kind and ``data:`` URI.
    """

    result: CaseResult
    state: str
    images: int
    digest: list[str]
    outcomes: dict[Kind, list[StructureOutcome]]
    pictures: dict[Kind, str]


def render_report(summary: RunSummary) -> str:
    """Write the report of one run as HTML.

    The page shows ids, UIDs and reasons as text whatever they contain, reads without JavaScript,
    and holds its pictures itself.

    Args:
        summary: The run.

    Returns:
        One HTML document.
    """
    states = list(_STATES)
    cases = [_view(result, summary.pictures) for result in summary.results]
    environment = Environment(
        loader=PackageLoader("stardust_esapi", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        summary=summary,
        cases=sorted(cases, key=lambda case: (states.index(case.state), case.result.case.row)),
        states=_STATES,
        counts=Counter(case.state for case in cases),
        mood=_mood(summary),
        unread=_number(summary.unread_rows, "row"),
        rejected=_number(len(summary.rejected), "row"),
        rejected_rows=row_ranges(summary.rejected),
        kind_names=KIND_NAMES,
        outlines={LOOKED_FOR[role]: colour for role, colour in OUTLINES.items()},
        duration=_duration(summary.duration.total_seconds()),
    )


def write_report(summary: RunSummary, path: Path) -> Path:
    """Write the report to a file, as a whole or not at all.

    Args:
        summary: The run.
        path: The HTML file; its folder exists.

    Returns:
        Where it is; beside ``path`` where that cannot be written (:func:`files.write_for_people`).
    """
    return write_for_people(path, render_report(summary))


def _view(result: CaseResult, pictures: Mapping[str, Mapping[Kind, bytes]]) -> _CaseView:
    outcomes = {
        kind: sorted(
            (outcome for outcome in result.outcomes if outcome.kind is kind),
            key=lambda outcome: (_ACTIONS.index(outcome.action), outcome.new_id not in OUTLINES),
        )
        for kind in Kind
    }
    shown = {
        kind: "data:image/png;base64," + base64.b64encode(png).decode()
        for kind, png in sorted(pictures.get(result.case.key, {}).items(), key=_in_order)
    }
    digest = [
        f"{KIND_NAMES[kind]}: " + ", ".join(_counted(listed))
        for kind, listed in outcomes.items()
        if listed
    ]
    if shown:
        digest.append(_number(len(shown), "picture"))
    if result.notes:
        digest.append(_number(len(result.notes), "note"))
    return _CaseView(
        result=result,
        state=shown_state(result),
        images=result.images,
        digest=digest,
        outcomes={kind: listed for kind, listed in outcomes.items() if listed},
        pictures=shown,
    )


def _in_order(item: tuple[Kind, bytes]) -> int:
    return list(Kind).index(item[0])


def _counted(outcomes: list[StructureOutcome]) -> list[str]:
    counts = Counter(outcome.action for outcome in outcomes)
    return [f"{counts[action]} {action}" for action in _ACTIONS if counts[action]]


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


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
