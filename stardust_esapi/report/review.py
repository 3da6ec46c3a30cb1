"""The page of a review: cases to look at and to decide on, before anything is written.

One light page lists the cases and keeps the decisions in the browser; what is shown of a case lies
in a file of its own beside it, loaded when it is looked at. From a folder a page may load scripts
and nothing else, so that file is one. No request leaves the folder.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from stardust_esapi import __version__
from stardust_esapi.caselist.decisions import COLUMNS
from stardust_esapi.judge import TumourFacts, percent
from stardust_esapi.model import IMAGE_KINDS, Case, CaseResult, Kind
from stardust_esapi.names import as_cell
from stardust_esapi.page import template
from stardust_esapi.report.drawing import Plane
from stardust_esapi.report.summary import RunSummary, by_action, shown_state

if TYPE_CHECKING:
    from PIL.Image import Image

LACKING = "data-lacking"
"""Stands in the file of a case of which something could not be drawn."""

_QUALITY = 88


@dataclass(frozen=True, slots=True)
class PlannedSet:
    """A structure set that would be created, or is there already.

    Attributes:
        kind: CT or KM.
        structure_set_id: Its id.
        uid: Its UID; empty of one that would be created.
        note: What a reader should know of it.
        source_id: The structure set that it is copied from.
    """

    kind: Kind
    structure_set_id: str
    uid: str
    note: str
    source_id: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """What is shown of a case.

    Attributes:
        planned: The case as it would be exported.
        facts: GTV and target, measured.
        sets: Its structure sets.
        pictures: Each kind's sections, grey.
        overlays: Outlines, letters and scale of each section.
        problems: Why pictures are lacking.
    """

    planned: CaseResult
    facts: TumourFacts
    sets: tuple[PlannedSet, ...]
    pictures: Mapping[Kind, Mapping[Plane, Image]] = field(default_factory=dict)
    overlays: Mapping[Plane, Image] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def digest(self, state: str) -> str:
        """The same for what is shown in the same way, of the same state of the case."""
        bare = replace(self, pictures={}, overlays={}, problems=())
        said = "\n".join((__version__, state, _article(bare)))
        return hashlib.sha256(said.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Entry:
    """A case in the list of the page.

    Attributes:
        key: What tells it from others, whatever becomes of the list.
        state: Digest of what is shown; a decision is about that.
        file: Name of its file, without ``.js``; empty where nothing can be decided.
        problem: Why not.
    """

    key: str = ""
    state: str = ""
    file: str = ""
    problem: str = ""


def render_case(sheet: Sheet, name: str) -> str:
    """Write the file of a case: a script that hands its page over."""
    return f"shown({json.dumps(name)}, {json.dumps(_article(sheet))});\n"


def render_index(summary: RunSummary, listed: Iterable[tuple[CaseResult, Entry | None]]) -> str:
    """Write the page.

    Args:
        summary: The run.
        listed: Its cases; None where one could not be located or prepared.
    """
    cases = [
        {
            "key": entry.key if entry else "",
            "state": entry.state if entry else "",
            "file": entry.file if entry else "",
            "row": result.case.row,
            "patient": result.case.patient_id,
            "plan": result.case.plan_id,
            "is": shown_state(result),
            "why": entry.problem if entry and entry.problem else result.why,
            "cells": _cells(result.case),
        }
        for result, entry in listed
    ]
    return template("report", "review.html.j2").render(
        summary=summary,
        # Within a script no text may end it, nor begin a comment.
        cases=json.dumps(cases, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        columns=json.dumps(COLUMNS),
    )


def _cells(case: Case) -> list[str]:
    """:data:`caselist.decisions.CASE_COLUMNS` of a case."""
    return [
        str(case.row),
        *map(
            as_cell,
            (
                case.patient_id,
                case.plan_id,
                case.series_uid,
                case.structure_set_id,
                case.target_id,
                case.gtv_id,
                case.km_series_uid,
                case.mr_series_uid,
                case.mr_registration_uid,
            ),
        ),
    ]


def _article(sheet: Sheet) -> str:
    planned, facts = sheet.planned, sheet.facts
    outcomes = {
        planned_set.kind: [o for o in planned.outcomes if o.kind is planned_set.kind]
        for planned_set in sheet.sets
    }
    return template("report", "review_case.html.j2").render(
        sheet=sheet,
        case=planned.case,
        planned=planned,
        lacking=LACKING,
        images=IMAGE_KINDS,
        volumes=(
            ("GTV", planned.case.gtv_id, facts.gtv_ml, facts.listed_gtv_ml),
            ("Target", planned.case.target_id, facts.target_ml, facts.listed_target_ml),
        ),
        inside=percent(facts.gtv_in_target),
        outcomes=outcomes,
        counts={kind: by_action(listed) for kind, listed in outcomes.items()},
        pictures={
            kind: {plane: _uri(image, "JPEG") for plane, image in views.items()}
            for kind, views in sheet.pictures.items()
        },
        overlays={plane: _uri(image, "PNG") for plane, image in sheet.overlays.items()},
    )


def _uri(image: Image, form: str) -> str:
    file = io.BytesIO()
    image.save(file, form, quality=_QUALITY)
    return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
