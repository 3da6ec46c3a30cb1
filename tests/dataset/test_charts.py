from __future__ import annotations

import base64
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from stardust_esapi.dataset.charts import COLOURS, SMALLEST_SHARE, picture, shares, spread
from stardust_esapi.dataset.split import Part

VALUES = st.lists(st.floats(1e-6, 1e6), max_size=30)


def heights(figure: Figure) -> dict[Part, float]:
    """How many cases the bars of each part stand for."""
    (axes,) = figure.axes
    parts = {colour: part for part, colour in COLOURS.items()}
    found = dict.fromkeys(Part, 0.0)
    for bar in axes.patches:
        found[parts[to_hex(bar.get_facecolor())]] += bar.get_height()  # type: ignore[attr-defined]
    return found


def drawn(source: str) -> ElementTree.Element:
    kind, _, data = source.partition(",")
    assert kind == "data:image/svg+xml;base64"
    return ElementTree.fromstring(base64.b64decode(data))


@given(VALUES.filter(bool), VALUES, st.booleans())
def test_every_case_is_in_a_bar_of_its_part(train: list[float], val: list[float], log: bool):
    figure = spread({Part.TRAIN: train, Part.TEST: val}, log=log)
    assert heights(figure) == {Part.TRAIN: len(train), Part.TEST: len(val)}


@pytest.mark.parametrize("values", [[0.0], [1e-6], [1000.0] * 3, [0.1, 1e5], [-1.0, 2.0]])
def test_any_values_are_drawn(values: list[float]):
    figure = spread({Part.TEST: values}, log=min(values) > 0)
    assert drawn(picture(figure)).tag.endswith("svg")


def test_volumes_of_many_sizes_are_told_apart():
    (axes,) = spread({Part.TRAIN: [0.01, 0.1, 1.0, 10.0, 100.0]}, log=True).axes
    assert sum(bar.get_height() > 0 for bar in axes.patches) == 5  # type: ignore[attr-defined]
    texts = "".join(drawn(picture(axes.figure)).itertext())
    for tick in ("0.01", "0.1", "1", "10", "100"):
        assert tick in texts


@pytest.mark.parametrize(
    "values", [[2.82, 3.13], [2.0, 50.0], [0.3, 90.0], [1e-3, 1e3], [9000.1, 9000.2]]
)
def test_the_axis_below_is_in_plain_numbers(values: list[float]):
    root = drawn(picture(spread({Part.TRAIN: values}, log=True)))
    ticks = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert len(ticks) > 3
    assert all(0 <= float(tick.replace("\N{MINUS SIGN}", "-")) <= 1e4 for tick in ticks)


def test_shares_stand_over_their_values():
    mean, edges = [0.5, 0.25, 0.0, 1e-4], [-1000.0, 0.0, 1000.0, 2000.0, 3000.0]
    figure = shares(mean, edges)
    (axes,) = figure.axes
    (steps,) = axes.patches
    values, at, baseline = steps.get_data()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(values, mean)
    np.testing.assert_array_equal(at, edges)
    assert baseline == SMALLEST_SHARE
    texts = "".join(drawn(picture(figure)).itertext())
    assert "100 %" in texts
    assert "0.01 %" in texts


def test_the_same_numbers_give_the_same_bytes_and_tell_no_date():
    once, again = (picture(spread({Part.TRAIN: [1.0, 2.0, 3.5]})) for _ in range(2))
    assert once == again
    assert not [e for e in drawn(once).iter() if e.tag.endswith(("}date", "}creator"))]
