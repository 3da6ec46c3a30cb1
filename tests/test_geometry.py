from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stardust_esapi.geometry import (
    ImageGeometry,
    covered_area_centroid,
    polygon_area_centroid,
)

PLACE = st.floats(-1000, 1000)
POINT = st.tuples(PLACE, PLACE, PLACE)
INDEX = st.tuples(*[st.floats(-100, 600)] * 3)
ANGLE = st.floats(-np.pi, np.pi)
ROTATIONS = st.tuples(ANGLE, ANGLE, ANGLE).map(lambda angles: rotation(*angles))

GRID = ImageGeometry(
    origin=(-100.0, -50.0, 20.0),
    x_direction=(1.0, 0.0, 0.0),
    y_direction=(0.0, 1.0, 0.0),
    z_direction=(0.0, 0.0, -1.0),
    spacing=(1.0, 2.0, 3.0),
    size=(10, 20, 30),
)
SQUARE = np.array([[0.0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]])


def rotation(x: float, y: float, z: float) -> np.ndarray:
    turns = []
    for axis, angle in enumerate((x, y, z)):
        i, j = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        turns.append(turn)
    return turns[0] @ turns[1] @ turns[2]


@st.composite
def geometries(draw: st.DrawFn) -> ImageGeometry:
    axes = draw(ROTATIONS)
    axes[:, 2] *= draw(st.sampled_from((1, -1)))
    return ImageGeometry(
        draw(POINT),
        *(tuple(axis) for axis in axes.T.tolist()),
        spacing=draw(st.tuples(*[st.floats(0.3, 10)] * 3)),
        size=draw(st.tuples(*[st.integers(1, 512)] * 3)),
    )


def test_patient_space_of_a_known_voxel():
    assert GRID.to_patient((3, 4, 5)).tolist() == [-97.0, -42.0, 5.0]
    assert GRID.to_index((-97.0, -42.0, 5.0)).tolist() == [3.0, 4.0, 5.0]
    assert GRID.plane_position(5) == (-100.0, -50.0, 5.0)
    assert GRID.to_patient([[(0, 0, 0)], [(1, 1, 1)]]).shape == (2, 1, 3)


@given(geometries(), st.lists(INDEX, min_size=1, max_size=5))
def test_index_to_patient_and_back(geometry, index):
    there = geometry.to_patient(index)
    np.testing.assert_allclose(geometry.to_index(there), index, rtol=0, atol=1e-6)


@given(geometries(), INDEX, st.integers(0, 2))
def test_a_step_of_one_voxel_is_the_spacing_along_its_axis(geometry, index, axis):
    step = geometry.to_patient(np.add(index, np.eye(3)[axis])) - geometry.to_patient(index)
    direction = (geometry.x_direction, geometry.y_direction, geometry.z_direction)[axis]
    expected = np.multiply(direction, geometry.spacing[axis])
    np.testing.assert_allclose(step, expected, rtol=0, atol=1e-8)


@given(geometries(), st.tuples(*[st.floats(0, 1)] * 3))
def test_nothing_in_the_image_overshoots(geometry, part):
    index = np.multiply(part, geometry.size) - 0.5
    assert geometry.overshoot([geometry.to_patient(index)]) == pytest.approx(0.0, abs=1e-6)


@given(geometries(), st.integers(0, 2), st.booleans(), st.floats(0.001, 500))
def test_overshoot_is_the_distance_beyond_the_border(geometry, axis, beyond_last, distance):
    last = np.array(geometry.size) - 1.0
    index = last / 2
    away = 0.5 + distance / geometry.spacing[axis]
    index[axis] = last[axis] + away if beyond_last else -away
    inside = geometry.to_patient(last / 2)
    points = [inside, geometry.to_patient(index), inside]
    assert geometry.overshoot(points) == pytest.approx(distance, abs=1e-6)


def test_no_points_do_not_overshoot():
    assert GRID.overshoot(np.empty((0, 3))) == 0.0


@given(geometries(), ROTATIONS, st.floats(0, 1))
def test_a_shifted_grid_is_the_same_up_to_the_tolerance(geometry, turn, part):
    assume(abs(part - 0.5) > 0.001)
    shift = 0.02 * part * turn[0] / np.abs(turn[0]).max()
    other = replace(geometry, origin=tuple(np.add(geometry.origin, shift).tolist()))
    assert geometry.same_grid(other) is other.same_grid(geometry) is (part < 0.5)
    assert geometry.same_grid(other, tolerance=0.03)


def test_the_far_corner_decides_on_the_same_grid():
    assert GRID.same_grid(replace(GRID, spacing=(1.001, 2.0, 3.0)))  # 9 steps: 0.009 mm
    assert not GRID.same_grid(replace(GRID, spacing=(1.0, 2.0, 3.001)))  # 29 steps: 0.029 mm
    assert not GRID.same_grid(replace(GRID, x_direction=(0.999, 0.0447, 0.0)))


@pytest.mark.parametrize("size", [(9, 20, 30), (10, 20, 31), (20, 10, 30)])
def test_another_size_is_another_grid(size):
    assert not GRID.same_grid(replace(GRID, size=size), tolerance=1e6)


def test_one_grid_read_from_the_other_end_is_not_the_same():
    turned = replace(GRID, origin=GRID.plane_position(29), z_direction=(0.0, 0.0, 1.0))
    assert not GRID.same_grid(turned)


@given(
    ROTATIONS,
    POINT,
    st.floats(0.5, 200),
    st.floats(0.5, 200),
    st.integers(0, 5),
    st.booleans(),
)
def test_area_and_centroid_of_an_l_shape_anywhere(turn, shift, width, height, start, backwards):
    # A rectangle without its upper right quarter: not convex, centroid off the vertices' mean.
    corners = [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]
    shape = np.array([(x * width / 2, y * height / 2, 0.0) for x, y in corners])
    points = np.roll(shape, start, axis=0)[:: -1 if backwards else 1] @ turn.T + shift
    centroid = np.array([5 / 12 * width, 5 / 12 * height, 0.0]) @ turn.T + shift
    area, found = polygon_area_centroid(points)
    assert area == pytest.approx(0.75 * width * height, rel=1e-6)
    np.testing.assert_allclose(found, centroid, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("points", "centroid"),
    [
        (np.empty((0, 3)), [0, 0, 0]),
        (np.array([[1.0, 2, 3]]), [1, 2, 3]),
        (np.array([[0.0, 0, 5], [2, 4, 5]]), [1, 2, 5]),
        (np.array([[0.0, 0, 0], [1, 1, 1], [2, 2, 2]]), [1, 1, 1]),
    ],
)
def test_what_encloses_nothing_has_no_area(points, centroid):
    area, found = polygon_area_centroid(points)
    assert area == 0.0
    assert found.tolist() == centroid


def square(side: float, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    return (SQUARE - [1, 1, 0]) * side / 2 + [x, y, 0]


@given(ROTATIONS, POINT, st.permutations(range(3)))
def test_a_hole_counts_out_and_an_island_in(turn, shift, order):
    # 100 - 16 + 4 square millimetres; only the hole and its island lie off the centre.
    polygons = [square(10), square(4, 2, 1), square(2, 2.5, 1)]
    placed = [polygons[n] @ turn.T + shift for n in order]
    area, centroid = covered_area_centroid(placed)
    assert area == pytest.approx(88.0, rel=1e-6)
    expected = np.array([(-16 * 2 + 4 * 2.5) / 88, (-16 * 1 + 4 * 1) / 88, 0])
    np.testing.assert_allclose(centroid, expected @ turn.T + shift, rtol=0, atol=1e-6)


def test_separate_parts_add_up():
    area, centroid = covered_area_centroid([square(2), square(4, 10)])
    assert area == pytest.approx(20.0)
    np.testing.assert_allclose(centroid, [8.0, 0.0, 0.0], atol=1e-9)


def test_one_polygon_is_what_it_is():
    assert covered_area_centroid([square(3, 1, 1)])[0] == pytest.approx(9.0)


def test_polygons_of_no_area_cover_nothing():
    line = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    area, centroid = covered_area_centroid([line, np.add(line, (0, 2, 0))])
    assert area == 0.0
    np.testing.assert_allclose(centroid, [1.0, 1.0, 0.0])


@given(ROTATIONS, POINT)
def test_a_polygon_that_is_there_again_counts_once(turn, shift):
    one, hole = square(10), square(4, 2, 1)
    polygons = [one, hole, np.roll(one[::-1], 1, axis=0), np.concatenate([hole, hole[:1]])]
    area, centroid = covered_area_centroid([p @ turn.T + shift for p in polygons])
    assert area == pytest.approx(84.0, rel=1e-6)
    expected = np.array([-16 * 2 / 84, -16 / 84, 0])
    np.testing.assert_allclose(centroid, expected @ turn.T + shift, rtol=0, atol=1e-6)


@given(ROTATIONS, POINT)
@settings(max_examples=10, deadline=None)
def test_polygons_that_cross_are_united(turn, shift):
    # The second one shares edges with the first, the third crosses the second without a corner in
    # it, and the last is a hole.
    polygons = [square(2), square(2, 1), square(2, 2) * [0.25, 2, 1] + [1, 0, 0], square(0.5, -0.5)]
    area, centroid = covered_area_centroid([p @ turn.T + shift for p in polygons])
    assert area == pytest.approx(3 * 2 + 2 * 0.5 * 1 - 0.25, rel=0.02)
    moment = 6 * 0.5 + 1 * 1.5 - 0.25 * -0.5
    np.testing.assert_allclose(
        centroid, np.array([moment / 6.75, 0, 0]) @ turn.T + shift, rtol=0, atol=0.02
    )
