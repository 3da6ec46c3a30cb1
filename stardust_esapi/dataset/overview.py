"""The dataset on one page: what is in it, how it is spread, what failed and why.

The page lies in the dataset and shows the pictures that lie there; nothing comes from elsewhere.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from stardust_esapi import __version__
from stardust_esapi.dataset.entry import UNKNOWN_REGION, Entry
from stardust_esapi.dataset.facts import Role
from stardust_esapi.dataset.labels import CT_EDGES
from stardust_esapi.dataset.split import Part
from stardust_esapi.files import atomic_write
from stardust_esapi.model import Kind

if TYPE_CHECKING:
    from stardust_esapi.dataset.build import DatasetSummary

KIND_NAMES = {Kind.CT: "Planning CT", Kind.KM: "Contrast CT", Kind.MR: "MR"}
PART_NAMES = {Part.TRAIN: "training", Part.VALIDATION: "validation"}
NO_LABEL = "no label"

_MOST_STRUCTURES = 40
_BINS = 16
_CT_LOWEST, _CT_BIN = int(CT_EDGES[0]), int(CT_EDGES[1] - CT_EDGES[0])
_SMALLEST_SHARE = 1e-5

# A chart's inside, in the units of its picture.
_WIDTH, _HEIGHT = 400.0, 120.0


@dataclass(frozen=True, slots=True)
class _Bar:
    """A bar of a chart, in the units of its picture."""

    x: float
    y: float
    width: float
    height: float
    style: str
    says: str


@dataclass(frozen=True, slots=True)
class _Chart:
    """A histogram.

    Attributes:
        title: What is counted.
        unit: Of the axis below.
        bars: Drawn bars.
        below: Position and text of the ticks below.
        left: The same on the left.
        says: What it shows, for who cannot see it.
        styles: What the colours mean.
    """

    title: str
    unit: str
    bars: tuple[_Bar, ...]
    below: tuple[tuple[float, str], ...]
    left: tuple[tuple[float, str], ...]
    says: str
    styles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the cohort's table."""

    name: str
    cases: int
    patients: int
    parts: Mapping[Part, int]
    kinds: Mapping[Kind, int]
    regions: Mapping[str, int]
    gtv_ml: float | None


@dataclass(frozen=True, slots=True)
class _Card:
    """One case as the page shows it."""

    entry: Entry
    part: Part
    label: str
    picture: str
    volumes: Mapping[str, float]


def write_overview(summary: DatasetSummary, path: Path) -> None:
    """Write the page, as a whole or not at all.

    Raises:
        OSError: The file system refuses; an older page still stands.
    """
    atomic_write(path, render_overview(summary))


def render_overview(summary: DatasetSummary) -> str:
    """The page as HTML: names as text whatever they contain, readable without JavaScript."""
    environment = Environment(
        loader=PackageLoader("stardust_esapi", "dataset"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parts = summary.split.patients
    cards = [_card(entry, parts) for entry in summary.made]
    labels = sorted({card.label for card in cards})
    return environment.get_template("overview.html.j2").render(
        summary=summary,
        version=__version__,
        cards=cards,
        labels=labels,
        regions=sorted({entry.body_region for entry in summary.made}, key=_unknown_last),
        rows=[_row(name, [c for c in cards if c.label == name]) for name in labels],
        total=_row("all", cards),
        charts=_charts(cards),
        structures=_structures(summary.made),
        kinds=KIND_NAMES,
        parts=PART_NAMES,
        no_label=NO_LABEL,
        mood="good" if not summary.failed and summary.made else "bad",
    )


def _card(entry: Entry, parts: Mapping[str, Part]) -> _Card:
    return _Card(
        entry=entry,
        part=parts[entry.patient],
        label=entry.label or NO_LABEL,
        picture=quote(entry.thumbnail),
        volumes={one.name: one.volume_ml for one in entry.structures if one.role is not Role.OTHER},
    )


def _row(name: str, cards: Sequence[_Card]) -> _Row:
    patients = {card.entry.patient: card.part for card in cards}
    volumes = _volumes(cards, Role.GTV)
    return _Row(
        name=name,
        cases=len(cards),
        patients=len(patients),
        parts=Counter(patients.values()),
        kinds=Counter(card.entry.kind for card in cards),
        regions=Counter(card.entry.body_region for card in cards),
        gtv_ml=statistics.median(volumes) if volumes else None,
    )


def _unknown_last(region: str) -> tuple[bool, str]:
    return region == UNKNOWN_REGION, region


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


# --- charts ---------------------------------------------------------------------------------


def _charts(cards: Sequence[_Card]) -> list[_Chart]:
    by_part: Mapping[Part, list[_Card]] = {
        part: [card for card in cards if card.part is part] for part in Part
    }

    def spread(
        title: str, unit: str, values_of: Callable[[list[_Card]], list[float]], *, log: bool = False
    ) -> _Chart | None:
        values = {part: values_of(own) for part, own in by_part.items()}
        return _spread(title, unit, values, log=log)

    charts = [
        spread("GTV volume", "ml", lambda own: _volumes(own, Role.GTV), log=True),
        spread("Target volume", "ml", lambda own: _volumes(own, Role.TARGET), log=True),
        spread("Slice distance", "mm", lambda own: [card.entry.spacing[2] for card in own]),
        spread("Pixel spacing", "mm", lambda own: [card.entry.spacing[0] for card in own]),
        *(_values(kind, [c.entry for c in cards if c.entry.kind is kind]) for kind in Kind),
    ]
    return [chart for chart in charts if chart is not None]


def _spread(
    title: str, unit: str, values: Mapping[Part, Sequence[float]], *, log: bool
) -> _Chart | None:
    """How many cases have which value, stacked by part."""
    every = sorted(value for own in values.values() for value in own if value > 0 or not log)
    if not every:
        return None
    edges = _log_edges(every) if log else _edges(every)
    counts = {
        part: _count([value for value in own if value > 0 or not log], edges)
        for part, own in values.items()
    }
    most = max(map(sum, zip(*counts.values(), strict=True)))
    step = _WIDTH / (len(edges) - 1)
    bars = []
    for number in range(len(edges) - 1):
        top = _HEIGHT
        for part, own in counts.items():
            height = own[number] / most * _HEIGHT
            top -= height
            if height:
                where = f"{_short(edges[number])} to {_short(edges[number + 1])} {unit}"
                says = f"{where}: {own[number]} for {PART_NAMES[part]}"
                bars.append(_Bar(number * step + 1, top, step - 2, height, part.value, says))
    every_other = max(1, (len(edges) - 1) // 6)
    below = [(n * step, _short(edges[n])) for n in range(0, len(edges), every_other)]
    middle = statistics.median(every)
    return _Chart(
        title,
        unit,
        tuple(bars),
        tuple(below),
        ((_HEIGHT, "0"), (0.0, str(most))),
        f"{len(every)} values from {_short(every[0])} to {_short(every[-1])} {unit}, "
        f"median {_short(middle)} {unit}",
        {part.value: PART_NAMES[part] for part in Part},
    )


def _edges(values: Sequence[float]) -> list[float]:
    """Round edges of bins that hold all (sorted) values."""
    extent = values[-1] - values[0]
    step = _round(max(extent / _BINS, 0.05))
    first = math.floor(values[0] / step + 1e-9)
    last = max(math.floor(values[-1] / step + 1e-9), first) + 1
    return [round(number * step, 9) for number in range(first, last + 1)]


def _log_edges(values: Sequence[float]) -> list[float]:
    """Edges at 1, 2, 5 times the powers of ten, around all (sorted) values."""
    edges = [
        round(digit * 10.0**power, 9)
        for power in range(math.floor(math.log10(values[0])), math.ceil(math.log10(values[-1])) + 2)
        for digit in (1, 2, 5)
    ]
    first = max(n for n, edge in enumerate(edges) if edge <= values[0])
    last = min(n for n, edge in enumerate(edges) if edge > values[-1])
    return edges[first : last + 1]


def _round(step: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= step * (1 - 1e-9))


def _count(values: Iterable[float], edges: Sequence[float]) -> list[int]:
    counts = [0] * (len(edges) - 1)
    for value in values:
        bin_ = next(n for n in range(len(counts)) if value < edges[n + 1] or n == len(counts) - 1)
        counts[bin_] += 1
    return counts


def _values(kind: Kind, entries: Sequence[Entry]) -> _Chart | None:
    """The share of voxels with which value, every case as heavy as any other; logarithmic."""
    shares = [
        [count / sum(entry.counts) for count in entry.counts]
        for entry in entries
        if sum(entry.counts)
    ]
    if not shares or len({len(one) for one in shares}) > 1:
        return None
    mean = [sum(bin_) / len(shares) for bin_ in zip(*shares, strict=True)]
    step = _WIDTH / len(mean)
    decades = -math.log10(_SMALLEST_SHARE)
    bars = []
    for number, share in enumerate(mean):
        if share > _SMALLEST_SHARE:
            height = (math.log10(share) / decades + 1) * _HEIGHT
            says = f"{_value_name(kind, number, len(mean))}: {100 * share:.3g} % of the voxels"
            bars.append(
                _Bar(number * step, _HEIGHT - height, max(step - 1, 0.5), height, "all", says)
            )
    if kind is Kind.MR:
        title, unit, below = "MR values", "% of the window", [0, 25, 50, 75, 100]
        at = [value / 100 * _WIDTH for value in below]
    else:
        title, unit, below = f"{KIND_NAMES[kind]} values", "HU", [-1000, 0, 1000, 2000, 3000]
        at = [(value - _CT_LOWEST) / _CT_BIN * step for value in below]
    return _Chart(
        title,
        unit,
        tuple(bars),
        tuple((x, f"{value}") for x, value in zip(at, below, strict=True)),
        tuple((n / decades * _HEIGHT, f"{100 * 10.0**-n:g} %") for n in range(0, 5, 2)),
        f"Mean share of voxels with each value, over {len(shares)} cases, logarithmic",
    )


def _value_name(kind: Kind, number: int, bins: int) -> str:
    if kind is Kind.MR:
        return f"{100 * number / bins:.0f} to {100 * (number + 1) / bins:.0f} %"
    low = _CT_LOWEST + number * _CT_BIN
    return f"{low} to {low + _CT_BIN} HU"


def _short(value: float) -> str:
    return f"{value:.4g}" if value < 1000 else f"{value:,.0f}"
