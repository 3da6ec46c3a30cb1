"""Histograms of a cohort, as pictures that stand on their own: SVG without a date or a source."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from stardust_esapi.dataset.split import Part

COLOURS = {Part.TRAIN: "#2f6db5", Part.TEST: "#c2750a"}
DARK_COLOURS = {Part.TRAIN: "#7fb0ee", Part.TEST: "#f0a848"}
SMALLEST_SHARE = 1e-5

_ALL = "#5a6b80"
_INK = "#566272"
# What the picture is drawn in on a dark page.
_DARK = {_INK: "#a0acba", _ALL: "#8794a5"} | {
    COLOURS[part]: colour for part, colour in DARK_COLOURS.items()
}
_BINS = 16
_LOG_FROM = 30  # times the smallest value: below, powers of ten are too few to read
_SIZE = (4.6, 1.6)  # inches
# The same bytes for the same numbers; text as text, in the reader's own font.
_STYLE: Any = {  # its keys are literals of matplotlib's stubs
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "stardust-esapi",
    "xtick.color": _INK,
    "ytick.color": _INK,
}


@rc_context(_STYLE)
def spread(values: Mapping[Part, Sequence[float]], *, log: bool = False) -> Figure:
    """How many cases have which value, stacked by part.

    Args:
        values: Of the cases of each part; not empty as a whole.
        log: Whether the axis below may be logarithmic, as for volumes of many sizes; all values are
            positive then.
    """
    by_part = [np.asarray(own, dtype=float) for own in values.values()]
    every = np.concatenate(by_part)
    low, high = float(every.min()), float(every.max())
    figure, axes = _figure()
    if log and high > _LOG_FROM * low:
        edges = np.geomspace(low / 1.1, high * 1.1, _BINS + 1)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        room = max(0.05, 0.02 * (high - low))  # values that are all the same have a width too
        edges = np.linspace(low - room, high + room, _BINS + 1)
        axes.ticklabel_format(axis="x", style="plain", useOffset=False)
    axes.hist(
        by_part,
        bins=edges.tolist(),
        stacked=True,
        color=[COLOURS[part] for part in values],
        rwidth=0.94,
    )
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    return figure


@rc_context(_STYLE)
def shares(mean: Sequence[float], edges: Sequence[float]) -> Figure:
    """The share of voxels with which value, on a logarithmic axis.

    Args:
        mean: The share of each bin.
        edges: Of the bins; one more than they are.
    """
    figure, axes = _figure()
    axes.stairs(mean, edges, fill=True, color=_ALL, baseline=SMALLEST_SHARE)
    axes.set_yscale("log")
    axes.set_ylim(SMALLEST_SHARE, 1)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.set_xlim(edges[0], edges[-1])
    return figure


@rc_context(_STYLE)
def picture(figure: Figure) -> str:
    """A figure as the source of an HTML image, which is light or dark as the page is."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue().decode()
    for light in _DARK:
        drawn = drawn.replace(light, f"var(--{light[1:]}, {light})")
    dark = " ".join(f"--{light[1:]}: {colour};" for light, colour in _DARK.items())
    scheme = f"<style>@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}</style>"
    drawn = drawn.replace("<defs>", f"{scheme}<defs>", 1)
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.encode()).decode()}"


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=_INK, alpha=0.3)
    return figure, axes
