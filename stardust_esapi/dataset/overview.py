"""The dataset on one page: what is in it, how it is spread, what failed and why.

The page lies in the dataset and shows the pictures that lie there; nothing comes from elsewhere.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from stardust_esapi import __version__
from stardust_esapi.dataset import charts
from stardust_esapi.dataset.entry import Entry
from stardust_esapi.dataset.labels import CT_EDGES
from stardust_esapi.dataset.split import Part
from stardust_esapi.files import atomic_write
from stardust_esapi.model import Kind, Role
from stardust_esapi.page import in_general, template

if TYPE_CHECKING:
    from stardust_esapi.dataset.build import DatasetSummary

KIND_NAMES = {Kind.CT: "Planning CT", Kind.KM: "Contrast CT", Kind.MR: "MR"}
PART_NAMES = {Part.TRAIN: "training", Part.TEST: "test"}
NO_WORD = "none"

_MOST_STRUCTURES = 40


@dataclass(frozen=True, slots=True)
class _Chart:
    """A histogram.

    Attributes:
        title: What is counted.
        unit: Of the axis below.
        says: What it shows, for who cannot see it.
        picture: Source of the image.
    """

    title: str
    unit: str
    says: str
    picture: str


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the cohort's table."""

    case_kind: str
    region: str
    cases: int
    patients: int
    parts: Mapping[Part, int]
    kinds: Mapping[Kind, int]
    gtv_ml: float | None


@dataclass(frozen=True, slots=True)
class _Card:
    """One case as the page shows it."""

    entry: Entry
    part: Part
    case_kind: str
    region: str
    picture: str
    volumes: Mapping[str, float]
    gtv_ml: float | None


def write_overview(summary: DatasetSummary, path: Path) -> None:
    """Write the page, as a whole or not at all.

    Raises:
        OSError: The file system refuses; an older page still stands.
    """
    atomic_write(path, render_overview(summary))


def render_overview(summary: DatasetSummary) -> str:
    """The page as HTML: names as text whatever they contain, readable without JavaScript."""
    parts = summary.split.patients
    cards = [_card(entry, parts) for entry in summary.created]
    strata: dict[tuple[str, str], list[_Card]] = {}
    for card in cards:
        strata.setdefault((card.case_kind, card.region), []).append(card)
    return template("dataset", "overview.html.j2").render(
        summary=summary,
        version=__version__,
        cards=cards,
        case_kinds=sorted({card.case_kind for card in cards}),
        regions=sorted({card.region for card in cards}),
        rows=[_row(*words, own) for words, own in sorted(strata.items())],
        total=_row("all", "", cards),
        charts=_charts(cards),
        structures=_structures(summary.created),
        kinds=KIND_NAMES,
        parts=PART_NAMES,
        colours=charts.COLOURS,
        dark_colours=charts.DARK_COLOURS,
        missing=_missing(summary.missing),
        fingerprint=_fingerprint(summary.created),
        mood="good" if not summary.missing and summary.created else "bad",
    )


def _card(entry: Entry, parts: Mapping[str, Part]) -> _Card:
    return _Card(
        entry=entry,
        part=parts[entry.patient],
        case_kind=entry.case_kind or NO_WORD,
        region=entry.label2 or NO_WORD,
        picture=quote(entry.thumbnail),
        volumes={one.name: one.volume_ml for one in entry.structures if one.role is not Role.OTHER},
        gtv_ml=next((one.volume_ml for one in entry.structures if one.role is Role.GTV), None),
    )


def _row(case_kind: str, region: str, cards: Sequence[_Card]) -> _Row:
    patients = {card.entry.patient: card.part for card in cards}
    volumes = _volumes(cards, Role.GTV)
    return _Row(
        case_kind=case_kind,
        region=region,
        cases=len(cards),
        patients=len(patients),
        parts=Counter(patients.values()),
        kinds=Counter(card.entry.kind for card in cards),
        gtv_ml=statistics.median(volumes) if volumes else None,
    )


def _volumes(cards: Iterable[_Card], role: Role) -> list[float]:
    return [one.volume_ml for card in cards for one in card.entry.structures if one.role is role]


def _structures(entries: Sequence[Entry]) -> list[tuple[str, int, float]]:
    """The most frequent structures: name, number of cases, median volume."""
    volumes: dict[str, list[float]] = {}
    for entry in entries:
        for one in entry.structures:
            volumes.setdefault(one.name, []).append(one.volume_ml)
    listed = sorted(volumes.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        (name, len(values), statistics.median(values)) for name, values in listed[:_MOST_STRUCTURES]
    ]


def _missing(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Those without files by what their reasons have in common, most frequent first."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(in_general(entry.reasons[0]), []).append(entry)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def _fingerprint(entries: Iterable[Entry]) -> dict[Kind, tuple[int, list[str]]]:
    """What nnU-Net calls a dataset's fingerprint: number, sizes and spacings of each kind.

    Its grey values are among the charts.
    """
    by_kind: dict[Kind, list[Entry]] = {}
    for entry in entries:
        by_kind.setdefault(entry.kind, []).append(entry)
    return {
        kind: (
            len(own),
            [
                _middle(entry.shape[2] for entry in own)
                + " \N{MULTIPLICATION SIGN} "
                + _middle(entry.shape[1] for entry in own),
                _middle(entry.shape[0] for entry in own),
                _middle(entry.spacing[0] for entry in own),
                _middle(entry.spacing[2] for entry in own),
                _middle(share for entry in own for share in _gtv_percent(entry)),
            ],
        )
        for kind in Kind
        if (own := by_kind.get(kind))
    }


def _gtv_percent(entry: Entry) -> list[float]:
    """How much of the image the GTV is, %, to two digits."""
    voxels = math.prod(entry.shape)
    return [
        float(f"{100 * one.voxels / voxels:.2g}")
        for one in entry.structures
        if one.role is Role.GTV and voxels
    ]


def _middle(values: Iterable[float]) -> str:
    """Median, smallest and largest; only one of them where they are the same."""
    every = sorted(values)
    if not every:
        return "\N{EN DASH}"
    low, middle, high = (_short(v) for v in (every[0], statistics.median(every), every[-1]))
    return middle if low == high else f"{middle} ({low}\N{EN DASH}{high})"


# --- charts ---------------------------------------------------------------------------------


def _charts(cards: Sequence[_Card]) -> list[_Chart]:
    by_part = {part: [card for card in cards if card.part is part] for part in Part}

    def spread(
        title: str, unit: str, values_of: Callable[[list[_Card]], list[float]], *, log: bool = False
    ) -> _Chart | None:
        values = {part: values_of(own) for part, own in by_part.items()}
        return _spread(title, unit, values, log=log)

    every = [
        spread("GTV volume", "ml", lambda own: _volumes(own, Role.GTV), log=True),
        spread("Target volume", "ml", lambda own: _volumes(own, Role.TARGET), log=True),
        spread("Slice distance", "mm", lambda own: [card.entry.spacing[2] for card in own]),
        spread("Pixel spacing", "mm", lambda own: [card.entry.spacing[0] for card in own]),
        *(_values(kind, [c.entry for c in cards if c.entry.kind is kind]) for kind in Kind),
    ]
    return [chart for chart in every if chart is not None]


def _spread(
    title: str, unit: str, values: Mapping[Part, Sequence[float]], *, log: bool
) -> _Chart | None:
    """How many cases have which value; on a logarithmic axis those that have a place there."""
    shown = {part: [v for v in own if v > 0 or not log] for part, own in values.items()}
    every = [value for own in shown.values() for value in own]
    if not every:
        return None
    says = (
        f"{len(every)} values from {_short(min(every))} to {_short(max(every))} {unit}, "
        f"median {_short(statistics.median(every))} {unit}"
    )
    return _Chart(title, unit, says, charts.picture(charts.spread(shown, log=log)))


def _values(kind: Kind, entries: Sequence[Entry]) -> _Chart | None:
    """The share of voxels with which value, every case as heavy as any other."""
    counts = [np.asarray(entry.counts, dtype=float) for entry in entries if sum(entry.counts)]
    if not counts or len({len(own) for own in counts}) > 1:
        return None
    mean = np.mean([own / own.sum() for own in counts], axis=0)
    if kind is Kind.MR:
        title, unit, edges = "MR values", "% of the window", np.linspace(0, 100, len(mean) + 1)
    else:
        title, unit, edges = f"{KIND_NAMES[kind]} values", "HU", np.asarray(CT_EDGES)
    over = "case" if len(counts) == 1 else "cases"
    says = f"Mean share of voxels with each value, over {len(counts)} {over}, logarithmic"
    return _Chart(title, unit, says, charts.picture(charts.shares(mean.tolist(), edges.tolist())))


def _short(value: float) -> str:
    return f"{value:.4g}" if value < 1000 else f"{value:,.0f}"
