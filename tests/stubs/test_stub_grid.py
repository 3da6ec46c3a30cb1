from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from scipy.spatial.transform import Rotation

from esapi_stub.grid import Grid, area_and_centroid, coverage, inside, united
from esapi_stub.resample import add, resample, subtract
from esapi_stub.sample import Sphere

coordinate = st.floats(-4, 14, allow_nan=False)
polygon = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=7).map(np.array)


def grid_of(spacing=(1.0, 1.0, 2.0), size=(60, 60, 30), rotation=(0, 0, 0), shift=(0, 0, 0)):
    axes = Rotation.from_euler("xyz", rotation, degrees=True).as_matrix()
    origin = np.asarray(shift) - (np.array(size) - 1) / 2 * spacing @ axes
    return Grid(*(tuple(v.tolist()) for v in (origin, *axes)), spacing, size)


def contours_of(sphere: Sphere, grid: Grid) -> dict[int, list[np.ndarray]]:
    class Like:  # the sample's shapes want the sample's own grid
        axes = grid.axes
        position = staticmethod(lambda plane: grid.to_patient((0, 0, plane)))

    found = {plane: sphere.contours(Like, plane) for plane in range(grid.size[2])}
    return {plane: polygons for plane, polygons in found.items() if polygons}


def volume(contours, grid: Grid) -> float:
    """Area times plane distance, cm³."""
    scale = np.array(grid.spacing[:2])
    areas = [
        area_and_centroid([grid.to_index(p)[:, :2] * scale for p in polygons])[0]
        for polygons in contours.values()
    ]
    return sum(areas) * grid.spacing[2] / 1000


def center(contours) -> np.ndarray:
    every = np.concatenate([p for polygons in contours.values() for p in polygons])
    return (every.min(axis=0) + every.max(axis=0)) / 2


@given(st.lists(polygon, min_size=1, max_size=3))
@settings(max_examples=30, deadline=None)
def test_coverage_follows_the_even_odd_rule(polygons) -> None:
    found = coverage(polygons, 10, 8)
    assert found.shape == (8, 10)
    samples = (np.arange(32) + 0.5) / 32 - 0.5
    for row, column in ((0, 0), (3, 4), (7, 9)):
        lines = [row + (line + 0.5) / 4 - 0.5 for line in range(4)]
        hits = [inside(np.array([column + x, y]), polygons) for y in lines for x in samples]
        # Each of up to 3 x 7 edges may fall between two of the 32 samples of a line.
        assert found[row, column] == pytest.approx(np.mean(hits), abs=21 / 32)
        if all(hits) or not any(hits):
            assert found[row, column] == pytest.approx(np.mean(hits), abs=3 / 32)


@given(st.floats(0.6, 3), st.floats(3.5, 5), st.floats(5, 6), st.floats(5, 6))
@settings(max_examples=40, deadline=None)
def test_coverage_adds_up_to_the_area(inner, outer, x, y) -> None:
    angle = np.linspace(0, 2 * np.pi, 50, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    ring = [outer * circle + (x, y), inner * circle + (x, y)]
    area, centroid = area_and_centroid(ring)
    assert coverage(ring, 13, 13).sum() == pytest.approx(area, rel=0.03)
    assert area == pytest.approx(np.pi * (outer**2 - inner**2), rel=0.01)
    assert centroid == pytest.approx((x, y))


@given(st.tuples(*[st.floats(-180, 180)] * 3), st.tuples(*[st.floats(-50, 50)] * 3))
def test_index_space_there_and_back(rotation, shift) -> None:
    grid = grid_of((0.7, 1.3, 2.5), rotation=rotation, shift=shift)
    points = np.random.default_rng(1).uniform(-40, 40, (5, 3))
    assert grid.to_patient(grid.to_index(points)) == pytest.approx(points, abs=1e-9)
    flat = grid.onto_plane(points, 3)
    assert grid.to_index(flat)[:, 2] == pytest.approx(3)
    assert grid.to_index(flat)[:, :2] == pytest.approx(grid.to_index(points)[:, :2], abs=1e-9)


def test_same_grid_copies_the_points() -> None:
    grid = grid_of()
    contours = contours_of(Sphere((1, 2, 3), 9), grid)
    moved = Grid(tuple(np.add(grid.origin, 0.005)), *grid.axes.tolist(), grid.spacing, grid.size)
    copy = resample(contours, grid, moved)
    assert copy.keys() == contours.keys()
    assert all(copy[k][0] is contours[k][0] for k in contours)


@pytest.mark.parametrize("hole", [0.0, 6.0])
@pytest.mark.parametrize(
    "target",
    [
        grid_of(shift=(0.3, 0.4, 0.9)),
        grid_of((0.8, 1.1, 3.0)),
        grid_of((1.2, 0.9, 1.5), rotation=(0, 0, 180), shift=(2, 1, 0)),
        grid_of((1.0, 1.0, 2.0), rotation=(90, 0, 0)),
        grid_of((0.9, 1.1, 2.0), rotation=(20, -35, 10)),
    ],
    ids=["shifted", "anisotropic", "turned", "sagittal", "oblique"],
)
def test_shapes_keep_volume_and_place_on_another_grid(target, hole) -> None:
    source = grid_of()
    sphere = Sphere((3, -4, 2), 13, hole)
    drawn = resample(contours_of(sphere, source), source, target)
    assert volume(drawn, target) == pytest.approx(sphere.volume, rel=0.04)
    assert center(drawn) == pytest.approx((3, -4, 2), abs=1.2)
    middle = drawn[round(float(target.to_index((3, -4, 2))[2]))]
    assert len(middle) == (2 if hole else 1)
    for plane, polygons in drawn.items():
        for one in polygons:
            assert target.to_index(one)[:, 2] == pytest.approx(plane, abs=1e-3)


def test_shapes_are_cut_off_where_the_image_ends() -> None:
    source = grid_of()
    sphere = Sphere((0, 0, 0), 13)
    target = grid_of(size=(60, 60, 5), shift=(29.5, 0, 0))  # its first column lies at x = 0
    drawn = resample(contours_of(sphere, source), source, target)
    assert sorted(drawn) == [0, 1, 2, 3, 4]
    assert center({2: drawn[2]}) == pytest.approx((6.25, 0, 0), abs=0.5)
    assert min(p[:, 0].min() for polygons in drawn.values() for p in polygons) >= -0.5001
    assert resample(contours_of(sphere, source), source, grid_of(shift=(500, 0, 0))) == {}
    assert resample({}, source, target) == {}


def square(grid: Grid, low: float, high: float) -> np.ndarray:
    corners = [(low, low, 5), (high, low, 5), (high, high, 5), (low, high, 5)]
    return grid.to_patient(corners)


@pytest.mark.parametrize("rotation", [(0, 0, 0), (20, -35, 10)])
def test_adding_and_subtracting(rotation) -> None:
    grid = grid_of(rotation=rotation)
    area = {"large": 20.0**2, "small": 5.0**2}
    large, small, apart = square(grid, 10, 30), square(grid, 15, 20), square(grid, 40, 45)

    def covered(polygons) -> float:
        return area_and_centroid([grid.to_index(p)[:, :2] for p in polygons])[0]

    assert add([], large, 5, grid) == [large]
    assert add([large], small, 5, grid) == [large]
    assert covered(add([large], apart, 5, grid)) == pytest.approx(area["large"] + area["small"])
    holed = subtract([large], small, 5, grid)
    assert covered(holed) == pytest.approx(area["large"] - area["small"])
    assert covered(add(holed, small, 5, grid)) == pytest.approx(area["large"], rel=0.01)
    assert subtract([large], apart, 5, grid) == [large]
    crossing = square(grid, 25, 35)
    assert covered(add([large], crossing, 5, grid)) == pytest.approx(475, rel=0.02)
    assert covered(subtract([large], crossing, 5, grid)) == pytest.approx(375, rel=0.02)
    assert subtract([large], square(grid, 5, 35), 5, grid) == []


def within(point: np.ndarray, polygon: np.ndarray) -> bool:
    """Whether a point lies in one polygon: matplotlib's own even-odd test, by its winding."""
    return bool(Outline(polygon).contains_point(point))


def convex(middle: tuple[float, float], radius: float, corners: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False) + 0.1
    return np.array(middle) + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


ROUND = st.builds(
    convex, st.tuples(st.floats(2, 8), st.floats(2, 6)), st.floats(1, 3), st.integers(5, 9)
)


@given(ROUND, ROUND)
@settings(max_examples=60, deadline=None)
def test_polygons_that_cross_are_one(one, other) -> None:
    groups = united([one, other])
    steps = np.stack(np.meshgrid(np.arange(-1, 11, 0.1), np.arange(-1, 9, 0.1)), -1).reshape(-1, 2)
    first, second = (Outline(polygon).contains_points(steps) for polygon in (one, other))
    shared, own = (first & second).sum(), (first & ~second).sum()
    apart_or_nested = shared == 0 or own == 0 or (second & ~first).sum() == 0
    if shared > 20 and own > 20 and (second & ~first).sum() > 20:
        assert len(groups) == 1
    if len(groups) == 1:
        assert not apart_or_nested or min(shared, own, (second & ~first).sum()) < 5
        area, centroid = area_and_centroid([one, other])
        assert area == pytest.approx((first | second).sum() * 0.01, rel=0.03)
        assert centroid == pytest.approx(steps[first | second].mean(axis=0), abs=0.05)
        assert coverage([one, other], 11, 9).sum() == pytest.approx(
            float((first | second)[(steps > -0.5).all(axis=1)].sum() * 0.01), rel=0.06
        )
        for point in steps[::97]:
            expected = within(point, one) or within(point, other)
            assert inside(point, [one, other]) == expected


def test_what_crosses_lies_in_a_ring_and_has_a_hole() -> None:
    def box(low: float, high: float) -> np.ndarray:
        return np.array([(low, low), (high, low), (high, high), (low, high)])

    polygons = [box(0, 20), box(2, 18), box(4, 10), box(8, 14), box(8.5, 9.5)]
    assert sorted(len(group) for group in united(polygons)) == [1, 1, 1, 2]
    area, centroid = area_and_centroid(polygons)
    assert area == pytest.approx(400 - 256 + 36 + 36 - 4 - 1, rel=1e-3)
    assert coverage(polygons, 21, 21).sum() == pytest.approx(area, rel=0.02)
    expected = (144 * 10 + 36 * 7 + 36 * 11 - 4 * 9 - 9) / area
    assert centroid == pytest.approx((expected, expected), abs=0.02)
    assert not inside(np.array([9.0, 9.0]), polygons)
    assert inside(np.array([8.2, 9.8]), polygons)
