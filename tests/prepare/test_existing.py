from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esapi_stub.grid import Grid
from esapi_stub.resample import rasterise
from stardust_esapi.choices import OnExisting
from stardust_esapi.geometry import FloatArray
from stardust_esapi.prepare.existing import (
    Choice,
    Redrawing,
    Resampling,
    StructureShape,
    choose,
    differences,
    is_of_another_tumour,
    measure,
)

SAME_GRID = Redrawing(pixel=1.0)


def square(z: float, half: float = 10.0, x: float = 0.0) -> FloatArray:
    return np.array(
        [(x - half, -half, z), (x + half, -half, z), (x + half, half, z), (x - half, half, z)]
    )


def block(
    identifier: str = "gtv+", dicom_type: str = "GTV", half: float = 10.0, x: float = 0.0
) -> StructureShape:
    contours = {plane: [square(3.0 * plane, half, x)] for plane in range(5)}
    return measure(identifier, dicom_type, contours)


def test_measuring_counts_holes_out() -> None:
    shape = measure("a", "", {0: [square(0), square(0, half=5)], 1: []})
    assert shape.planes[0].area == pytest.approx(400 - 100)
    assert shape.planes[0].centroid == pytest.approx((0, 0, 0))
    assert 1 not in shape.planes
    assert measure("a", "", {0: [square(0, 2), square(0, 2, x=30)]}).center == pytest.approx(
        (15, 0, 0)
    )


def test_the_same_is_the_same_whatever_case_its_id_has() -> None:
    assert differences([block("gtv+")], [block("GTV+")], SAME_GRID) == ()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], "gtv+ is missing"),
        ([block(), block("Heart")], "Heart is foreign"),
        ([block(dicom_type="CTV")], "type CTV, not GTV"),
        ([block(half=10.6)], "another shape on plane 0"),
        ([block(x=0.6)], "another shape on plane 0"),
        ([measure("gtv+", "GTV", {0: [square(0)]})], "another shape on plane 1"),
    ],
)
def test_differences_are_named(found: list[StructureShape], words: str) -> None:
    [clause] = differences([block()], found, SAME_GRID)
    assert words in clause


# A planning CT of 1 mm pixels and 2 mm planes.
GRID = Grid((-30.0, -30.0, -20.0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1.0, 1.0, 2.0), (60, 60, 20))


def ellipsoid(center: tuple[float, float, float], ml: float, flat: float) -> dict[int, list]:
    """Contours of an ellipsoid on the planes of the grid, ``flat`` times as wide as high."""
    width = (3000 * ml * flat / (4 * np.pi)) ** (1 / 3)
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    found = {}
    for plane in range(GRID.size[2]):
        z = GRID.origin[2] + plane * GRID.spacing[2]
        inside = 1 - ((z - center[2]) / (width / flat)) ** 2
        if inside > 0:
            radius = width * np.sqrt(inside)
            x, y = center[0] + radius * np.cos(turn), center[1] + radius * np.sin(turn)
            found[plane] = [np.column_stack([x, y, np.full_like(x, z)])]
    return found


def moved_by(contours: dict[int, list], pixels: tuple[int, int, int]) -> dict[int, list]:
    step = np.multiply(pixels, GRID.spacing)
    return {k + pixels[2]: [p + step for p in polygons] for k, polygons in contours.items()}


places = st.tuples(*[st.floats(-8, 8)] * 3)


@given(center=places, ml=st.floats(1, 8), flat=st.floats(0.7, 1.5), scale=st.sampled_from([1, 2]))
def test_a_small_tumour_that_is_rasterised_is_the_same_and_one_pixel_aside_is_not(
    center: tuple[float, float, float], ml: float, flat: float, scale: int
) -> None:
    drawn = ellipsoid(center, ml, flat)
    redrawn = rasterise(drawn, GRID, scale)
    source = measure("gtv+", "GTV", drawn)
    how = Redrawing(pixel=1.0)
    assert differences([source], [measure("gtv+", "GTV", redrawn)], how) == ()
    for pixels in ((1, 0, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1), (1, 1, 0)):
        aside = measure("gtv+", "GTV", moved_by(drawn, pixels))
        assert len(differences([source], [aside], how)) == 1, pixels
        both = measure("gtv+", "GTV", moved_by(redrawn, pixels))
        assert len(differences([source], [both], how)) == 1, pixels


def test_on_another_grid_volume_and_centre_decide() -> None:
    resampling = Resampling(3.0, 2.5, volume_tolerance=0.05, center_tolerance=4.0)

    def resampled(half: float = 10.0, x: float = 0.0, planes: int = 6) -> StructureShape:
        contours = {p: [square(2.5 * p, half, x)] for p in range(planes)}
        return measure("gtv+", "GTV", contours)

    assert differences([block()], [resampled()], resampling) == ()
    [clause] = differences([block()], [resampled(half=13)], resampling)
    assert "ml" in clause
    [clause] = differences([block()], [resampled(x=5)], resampling)
    assert "elsewhere" in clause
    cut = frozenset({"gtv+"})
    assert differences([block()], [resampled(planes=2)], resampling, may_be_clipped=cut) == ()


def test_choices() -> None:
    stop, reuse, new = OnExisting.STOP, OnExisting.REUSE, OnExisting.NEW
    for any_of in OnExisting:
        assert choose({}, any_of)[0] is Choice.CREATE
        assert choose({"1": ["x"], "2": []}, any_of) == (Choice.REUSE, "2", "")
    assert choose({"1": ["gtv+ is missing"]}, stop) == (Choice.STOP, "", "gtv+ is missing")
    choice, uid, note = choose({"1": ["x differs"]}, reuse)
    assert (choice, uid) == (Choice.REUSE, "1")
    assert "x differs" in note
    assert choose({"1": ["x"], "2": ["y"]}, reuse)[0] is Choice.STOP
    choice, uid, note = choose({"1": ["x differs"]}, new)
    assert (choice, uid) == (Choice.CREATE, "")
    assert "left as it is" in note


GTV1, GTV2 = block("GTV1", x=0.0), block("GTV2", x=30.0)
PTV = block("PTV", half=25.0)
OWN = {"gtv+": "GTV1", "target+": "PTV"}


def labelled(gtv: StructureShape, target: StructureShape) -> dict[str, StructureShape]:
    return {"gtv+": gtv, "target+": target}


@pytest.mark.parametrize(
    ("gtv", "target", "other"),
    [
        (GTV2, PTV, True),  # the plan's other tumour
        (GTV1, GTV2, True),  # another target
        (GTV1, PTV, False),  # our own, whatever else differs
        (PTV, GTV1, False),  # our own, exchanged
        (block(x=5.0), PTV, False),  # contoured anew: nobody's copy
        (GTV2, block(half=24.0), False),
    ],
)
def test_a_set_of_another_tumour_is_known_by_what_it_holds(
    gtv: StructureShape, target: StructureShape, other: bool
) -> None:
    sources = [GTV2, GTV1, PTV]
    assert is_of_another_tumour(labelled(gtv, target), OWN, sources, SAME_GRID) is other


def test_of_equal_sources_ours_is_the_one_and_a_set_without_labels_is_nobodys() -> None:
    twin = block("GTV1 copy")
    assert not is_of_another_tumour(labelled(GTV1, PTV), OWN, [twin, GTV1, PTV], SAME_GRID)
    assert not is_of_another_tumour({"gtv+": GTV2}, OWN, [GTV1, GTV2, PTV], SAME_GRID)


def test_on_another_grid_the_closest_source_is_the_one() -> None:
    resampling = Resampling(3.0, 3.0, volume_tolerance=0.05, center_tolerance=4.0)
    near = block("GTV2", half=10.4)  # within what resampling may change
    sources = [near, GTV1, PTV]
    assert is_of_another_tumour(labelled(block(half=10.39), PTV), OWN, sources, resampling)
    assert not is_of_another_tumour(labelled(block(half=10.01), PTV), OWN, sources, resampling)
