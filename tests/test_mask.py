from __future__ import annotations

from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scipy.ndimage import binary_fill_holes, gaussian_filter
from skimage.draw import polygon2mask

from dataset_series import (
    AXIAL,
    FEET_FIRST,
    OBLIQUE,
    SAGITTAL,
    Ball,
    Block,
    Torus,
    centres,
    contours,
    grid,
    write_series,
    write_structures,
)
from esapi_stub.sample import write_real_patient
from esapi_stub.sample.real import DATA
from stardust_esapi.dicom.read_series import Stack, read_stack
from stardust_esapi.dicom.read_structure_set import read_structures
from stardust_esapi.errors import CaseError
from stardust_esapi.mask import Mask, empty, outlines, overlap, rasterise, regular_slices

AXES = {"axial": AXIAL, "feet first": FEET_FIRST, "sagittal": SAGITTAL, "oblique": OBLIQUE}
SPACINGS = {"even": (1.0, 1.0, 1.0), "slices": (0.9, 0.9, 3.0), "anisotropic": (0.7, 1.6, 2.5)}
CENTRE = (12.3, -45.6, 78.9)
# A polygon of 720 points strays this far from its circle of 25 mm, and files have four decimals.
CHORD_MM = 0.002


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """16 columns, 12 rows, 3 slices; patient space is index space."""
    folder = tmp_path_factory.mktemp("plain")
    geometry = grid(spacing=(1.0, 1.0, 1.0), size=(16, 12, 3), centre=(7.5, 5.5, 1.0))
    write_series(folder, geometry)
    return read_stack(folder)


def polygon(*points: tuple[float, float], z: float = 0.0) -> np.ndarray:
    return np.array([(x, y, z) for x, y in points], dtype=float)


def square(low: float, high: float, z: float = 0.0) -> np.ndarray:
    return polygon((low, low), (high, low), (high, high), (low, high), z=z)


def full(mask: Mask, stack: Stack) -> np.ndarray:
    return mask.full(stack.shape)


def bodies(stack: Stack):
    axes = stack.axes
    yield Ball(CENTRE, 14.2)
    yield Block(CENTRE, (11.3, 9.1, 8.3), axes)
    yield Torus(CENTRE, 14.0, 5.3, axes)
    yield Torus(CENTRE, 13.0, 4.6, axes, standing=True)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("axes", AXES)
def test_bodies_are_exact_to_less_than_half_a_voxel(axes: str, spacing: str, tmp_path: Path):
    steps = SPACINGS[spacing]
    size = tuple(int(np.ceil(44 / step)) for step in steps)
    geometry = grid(AXES[axes], steps, size)
    series = write_series(tmp_path, geometry)
    stack = read_stack(tmp_path)
    points = centres(stack)
    for body in bodies(stack):
        path = write_structures(tmp_path, series, {"body": contours(body, geometry)})
        (roi,) = read_structures(path).rois
        mask = rasterise(roi.contours, stack)
        depth = body.depth(points)
        sure = np.abs(depth) > CHORD_MM
        assert sure.mean() > 0.99
        # Far stricter than half a voxel: the right side of the surface for every centre.
        np.testing.assert_array_equal(full(mask, stack)[sure], depth[sure] > 0)
        assert mask.voxels > 1000
        assert mask.off_slice_mm < 0.001
        assert mask.left_out == 0


class TestGaps:
    def test_contours_go_by_position_where_slices_are_missing(self, tmp_path: Path):
        geometry = grid(OBLIQUE, (1.0, 1.2, 2.0), (60, 50, 24))
        series = write_series(tmp_path, geometry)
        body = Ball(CENTRE, 16.0)
        path = write_structures(tmp_path, series, {"body": contours(body, geometry)})
        whole = read_stack(tmp_path)
        expected = full(rasterise(read_structures(path).rois[0].contours, whole), whole)
        missing = [7, 8, 13]
        for plane in missing:
            (tmp_path / f"CT.{series.sop_instance_uids[plane]}.dcm").unlink()
        stack = read_stack(tmp_path)
        mask = rasterise(read_structures(path).rois[0].contours, stack)
        np.testing.assert_array_equal(full(mask, stack), np.delete(expected, missing, axis=0))
        assert mask.left_out == len(missing)

    def test_thin_slices_far_apart_are_a_regular_series(self, tmp_path: Path):
        # A gap between slices is a matter of Slice Thickness, which decides nothing.
        geometry = grid(spacing=(1.0, 1.0, 6.0), size=(50, 50, 9))
        series = write_series(tmp_path, geometry)
        for path in tmp_path.glob("CT*.dcm"):
            image = pydicom.dcmread(path)
            image.SliceThickness = "1"
            image.save_as(path)
        body = Ball(CENTRE, 18.0)
        path = write_structures(tmp_path, series, {"body": contours(body, geometry)})
        stack = read_stack(tmp_path)
        mask = full(rasterise(read_structures(path).rois[0].contours, stack), stack)
        depth = body.depth(centres(stack))
        sure = np.abs(depth) > CHORD_MM
        np.testing.assert_array_equal(mask[sure], depth[sure] > 0)


class TestShapes:
    def test_a_square_takes_the_centres_within(self, plain: Stack):
        mask = rasterise([square(1.5, 4.5)], plain)
        assert mask.box == (slice(0, 1), slice(2, 5), slice(2, 5))
        assert mask.inside.all()

    def test_an_edge_through_centres_gives_them_to_one_side_only(self, plain: Stack):
        left = full(rasterise([polygon((1, 1), (5, 1), (5, 7), (1, 7))], plain), plain)
        right = full(rasterise([polygon((5, 1), (9, 1), (9, 7), (5, 7))], plain), plain)
        assert not (left & right).any()
        both = full(rasterise([polygon((1, 1), (9, 1), (9, 7), (1, 7))], plain), plain)
        np.testing.assert_array_equal(left | right, both)
        assert both.sum() == 8 * 6

    def test_an_inner_ring_is_a_hole_and_a_ring_in_it_an_island(self, plain: Stack):
        rings = [square(0.5, 10.5), square(2.5, 8.5), square(4.5, 6.5)]
        mask = full(rasterise(rings, plain), plain)[0]
        assert mask.sum() == 100 - 36 + 4
        assert mask[5, 5]
        assert not mask[3, 3]
        assert mask[1, 1]

    def test_a_keyhole_is_the_same_as_the_ring_it_stands_for(self, plain: Stack):
        outer, inner = square(0.3, 10.7)[:, :2], square(3.4, 7.6)[::-1, :2]
        # Along the channel, around the hole, and back along the very same channel.
        path = [*outer, outer[0], inner[0], *inner[1:], inner[0], outer[0]]
        keyhole = rasterise([polygon(*map(tuple, path))], plain)
        rings = rasterise([square(0.3, 10.7), square(3.4, 7.6)], plain)
        np.testing.assert_array_equal(full(keyhole, plain), full(rings, plain))
        assert keyhole.voxels == 100 - 16

    def test_several_parts_share_a_slice(self, plain: Stack):
        mask = full(rasterise([square(0.5, 2.5), square(6.5, 9.5)], plain), plain)[0]
        assert mask.sum() == 4 + 9
        assert not mask[:, 3:7].any()

    def test_a_ring_that_is_stored_again_counts_once(self, plain: Stack):
        ring, hole = square(0.5, 10.5), square(2.5, 8.5)
        closed = np.concatenate([ring[2:], ring[:3]])  # begins elsewhere, and ends where it began
        for rings, voxels in (
            ([ring, ring], 100),
            ([ring, ring[::-1], closed], 100),
            ([ring, hole, closed, hole], 64),
        ):
            mask = rasterise(rings, plain)
            assert (mask.voxels, mask.united) == (voxels, 0)

    def test_a_ring_that_is_stored_with_fewer_points_is_no_hole(self, plain: Stack):
        around = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        ring = polygon(*zip(7.2 + 5 * np.cos(around), 5.4 + 5 * np.sin(around), strict=True))
        mask = rasterise([ring, ring[::4]], plain)
        np.testing.assert_array_equal(full(mask, plain), full(rasterise([ring], plain), plain))

    def test_contours_that_cross_are_united_and_told(self, plain: Stack):
        one, other = square(0.5, 5.5), square(3.5, 8.5)
        mask = rasterise([one, other, square(0.5, 5.5, z=1.0)], plain)
        assert mask.voxels == 25 + 25 - 4 + 25
        assert mask.united == 1
        chain = rasterise([one, other, square(7.5, 10.5)], plain)
        assert (chain.voxels, chain.united) == (25 + 25 - 4 + 9 - 1, 1)

    def test_what_crosses_may_have_holes_and_lie_in_one(self, plain: Stack):
        around, hole = (
            polygon((0.5, 0.5), (15.5, 0.5), (15.5, 11.5), (0.5, 11.5)),
            square(1.5, 10.5),
        )
        mask = rasterise(
            [around, hole, square(2.5, 6.5), square(4.5, 8.5), square(5.5, 6.5)], plain
        )
        # The last one lies where the two before it cross: a hole of one voxel.
        assert mask.voxels == 15 * 11 - 81 + (16 + 16 - 4) - 1
        assert mask.united == 1

    def test_neighbours_that_share_an_edge_do_not_cross(self, plain: Stack):
        mask = rasterise([square(1, 5), polygon((5, 1), (9, 1), (9, 5), (5, 5))], plain)
        assert (mask.voxels, mask.united) == (32, 0)

    def test_direction_and_start_of_a_polygon_do_not_matter(self, plain: Stack):
        points = polygon((1.2, 0.7), (9.1, 2.2), (7.7, 8.9), (4.4, 3.3), (0.6, 9.3))
        expected = full(rasterise([points], plain), plain)
        for turned in (points[::-1], np.roll(points, 2, axis=0)):
            np.testing.assert_array_equal(full(rasterise([turned], plain), plain), expected)

    def test_what_lies_outside_the_image_is_cut_off(self, plain: Stack):
        mask = rasterise([square(-20.0, 40.0, z=1.0)], plain)
        assert mask.voxels == 16 * 12
        assert mask.box == (slice(1, 2), slice(0, 12), slice(0, 16))
        for outside in (polygon((20, 1), (30, 1), (30, 9)), polygon((-9, 1), (-2, 1), (-2, 9))):
            assert rasterise([outside], plain).voxels == 0

    def test_too_small_for_a_centre_is_empty(self, plain: Stack):
        assert rasterise([square(2.1, 2.9)], plain).voxels == 0

    def test_no_contours_no_voxels(self, plain: Stack):
        mask = rasterise([], plain)
        assert mask.voxels == 0
        assert not full(mask, plain).any()


def test_contours_that_take_time_alone_are_refused(plain: Stack):
    with pytest.raises(CaseError, match="more than a million times"):
        rasterise([square(0.5, 5.5)] * 1500, plain)


class TestSlices:
    def test_half_a_slice_off_is_used_and_told(self, plain: Stack):
        mask = rasterise([square(1.5, 4.5, z=1.4)], plain)
        assert mask.box[0] == slice(1, 2)
        assert mask.off_slice_mm == pytest.approx(0.4)
        assert mask.left_out == 0

    def test_farther_off_is_left_out_and_counted(self, plain: Stack):
        mask = rasterise([square(1.5, 4.5, z=2.0), square(1.5, 4.5, z=2.6)], plain)
        assert mask.voxels == 9
        assert mask.left_out == 1
        alone = rasterise([square(1.5, 4.5, z=-0.7)], plain)
        assert (alone.voxels, alone.left_out) == (0, 1)

    def test_a_contour_across_slices_is_left_out(self, plain: Stack):
        tilted = np.array([(1.0, 1, 0), (9, 1, 2), (9, 9, 2), (1, 9, 0)])
        assert rasterise([tilted], plain).left_out == 1

    def test_of_a_finer_series_the_nearest_plane_counts(self, plain: Stack):
        # Nested polygons of three planes by one slice would cancel out by the even-odd rule.
        fine = [square(0.5, 9.5, z=0.7), square(1.5, 8.5, z=1.05), square(2.5, 7.5, z=1.35)]
        mask = rasterise(fine, plain)
        assert mask.box[0] == slice(1, 2)
        assert mask.voxels == 49
        assert mask.off_slice_mm == pytest.approx(0.05)

    def test_what_is_passed_over_of_a_finer_series_is_counted(self, plain: Stack):
        fine = [square(0.5, 9.5, z=z / 5) for z in range(11)]
        mask = rasterise(fine, plain)
        assert mask.voxels == 3 * 81
        assert (mask.finer, mask.left_out, mask.united) == (8, 0, 0)

    def test_an_island_at_a_height_of_its_own_is_kept(self, plain: Stack):
        one = [square(0.5, 3.5, z=z) for z in (0.0, 1.0, 2.0)]
        other = [square(6.5, 9.5, z=z) for z in (0.3, 1.3, 2.3)]
        mask = rasterise(one + other, plain)
        assert mask.voxels == 3 * (9 + 9)
        assert mask.off_slice_mm == pytest.approx(0.3)
        assert (mask.finer, mask.left_out, mask.united) == (0, 0, 0)

    def test_islands_half_way_between_the_slices_are_no_finer_series(self, plain: Stack):
        one = [square(0.5, 3.5, z=z) for z in (0.0, 1.0, 2.0)]
        other = [square(6.5, 9.5, z=z) for z in (0.49, 1.49)]
        mask = rasterise(one + other, plain)
        assert mask.voxels == 3 * 9 + 2 * 9
        assert (mask.finer, mask.left_out, mask.united) == (0, 0, 0)

    def test_contours_over_one_another_at_odd_heights_are_united_and_told(self, plain: Stack):
        # A hole, or another section of the same: who can tell?
        mask = rasterise([square(0.5, 9.5), square(2.5, 5.5, z=0.3)], plain)
        assert (mask.voxels, mask.united) == (81, 1)
        # Rounded heights are one height.
        mask = rasterise([square(0.5, 9.5), square(2.5, 5.5, z=0.04)], plain)
        assert (mask.voxels, mask.united) == (81 - 9, 0)

    def test_planes_on_both_sides_at_one_distance_do_not_cancel(self, plain: Stack):
        assert rasterise([square(0.5, 9.5, z=0.75), square(0.5, 9.5, z=1.25)], plain).voxels == 81


def test_a_sheared_stack_has_each_slice_at_its_own_place(tmp_path: Path):
    """Gantry tilt: slices are parallel, but their first voxels lie on a slanted line."""
    geometry = grid(spacing=(1.0, 1.0, 3.0), size=(64, 64, 14))
    series = write_series(tmp_path, geometry)
    for plane, uid in enumerate(series.sop_instance_uids):
        path = tmp_path / f"CT.{uid}.dcm"
        image = pydicom.dcmread(path)
        x, y, z = (float(value) for value in image.ImagePositionPatient)
        image.ImagePositionPatient = [x, y + 0.8 * plane - 5, z]
        image.save_as(path)
    body = Ball(CENTRE, 15.0)
    path = write_structures(tmp_path, series, {"body": contours(body, geometry)})
    stack = read_stack(tmp_path)
    mask = full(rasterise(read_structures(path).rois[0].contours, stack), stack)
    depth = body.depth(centres(stack))
    sure = np.abs(depth) > CHORD_MM
    np.testing.assert_array_equal(mask[sure], depth[sure] > 0)
    assert stack.facts.shear_mm == pytest.approx(0.8 * 13)


def test_overlap_counts_shared_voxels(plain: Stack):
    one = rasterise([square(0.5, 5.5)], plain)
    other = rasterise([square(3.5, 8.5)], plain)
    assert overlap(one, other) == overlap(other, one) == 4
    assert overlap(one, rasterise([square(6.5, 9.5)], plain)) == 0
    assert overlap(one, rasterise([square(0.5, 5.5, z=1.0)], plain)) == 0
    assert overlap(one, empty()) == 0


# --- against a slow exact reference ---------------------------------------------------------------

COORDINATE = st.integers(-24, 96).map(lambda eighths: eighths / 8)
POLYGON = st.lists(st.tuples(COORDINATE, COORDINATE), min_size=3, max_size=9)


def exact(polygons: list[list[tuple[float, float]]], rows: int, columns: int) -> np.ndarray:
    """Row by row, edge by edge, voxel by voxel, with fractions."""
    inside = np.zeros((rows, columns), dtype=bool)
    for points in polygons:
        for ends in zip(points, [*points[1:], points[0]], strict=True):
            (u0, v0), (u1, v1) = sorted(ends, key=lambda end: end[1])
            for row in range(max(0, ceil(v0)), min(rows, ceil(v1))):
                if not v0 <= row < v1:
                    continue
                slope = (Fraction(u1) - Fraction(u0)) / (Fraction(v1) - Fraction(v0))
                at = Fraction(u0) + (row - Fraction(v0)) * slope
                for column in range(columns):
                    inside[row, column] ^= column >= at
    return inside


def together(polygons: list[list[tuple[float, float]]]) -> tuple[np.ndarray, bool]:
    """The voxels of polygons of one slice, and whether some of them cross."""
    kept: list[np.ndarray] = []
    outlines: list[list[tuple[float, float]]] = []
    for points in polygons:
        voxels = exact([points], 12, 16)
        if not any(np.array_equal(voxels, other) for other in kept):
            kept.append(voxels)
            outlines.append(points)
    groups: list[list[int]] = []
    for one in range(len(kept)):
        met = [group for group in groups if any(cross(kept, outlines, one, o) for o in group)]
        groups = [group for group in groups if group not in met]
        groups.append([one, *(other for group in met for other in group)])
    result = np.zeros((12, 16), dtype=bool)
    for group in groups:
        result ^= np.logical_or.reduce([kept[one] for one in group])
    return result, any(len(group) > 1 for group in groups)


def cross(kept: list[np.ndarray], outlines: list, one: int, other: int) -> bool:
    shared = int((kept[one] & kept[other]).sum())
    large, small = (one, other) if kept[one].sum() >= kept[other].sum() else (other, one)
    if shared == 0 or shared < kept[small].sum():
        return shared > 0
    # A wall of less than a tenth of a voxel between the two.
    ends = [list(zip(points, [*points[1:], points[0]], strict=True)) for points in outlines]
    areas = [abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in edges)) / 2 for edges in ends]
    around = sum(float(np.hypot(b[0] - a[0], b[1] - a[1])) for a, b in ends[large])
    return abs(areas[large] - areas[small]) < 0.1 * around


@given(POLYGON)
def test_any_polygon_is_filled_as_the_exact_reference_does(plain: Stack, points):
    found = full(rasterise([polygon(*points)], plain), plain)
    np.testing.assert_array_equal(found[0], exact([points], 12, 16))
    assert not found[1:].any()


@given(st.lists(POLYGON, min_size=2, max_size=4))
def test_several_polygons_are_taken_together_by_the_same_rules(plain: Stack, polygons):
    mask = rasterise([polygon(*points) for points in polygons], plain)
    expected, crossing = together(polygons)
    np.testing.assert_array_equal(full(mask, plain)[0], expected)
    assert mask.united == crossing


@given(POLYGON, POLYGON)
def test_a_polygon_twice_is_one(plain: Stack, one, other):
    alone = rasterise([polygon(*one), polygon(*other)], plain)
    again = rasterise([polygon(*one), polygon(*other), polygon(*np.roll(other[::-1], 2, 0))], plain)
    np.testing.assert_array_equal(full(again, plain), full(alone, plain))
    assert again.united == alone.united


# --- against other programs on the same files -----------------------------------------------------


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("axes", AXES)
def test_masks_agree_with_simpleitk_and_scikit_image(axes: str, tmp_path: Path):
    """ITK reads the series and places the points, scikit-image fills: none of it is our code."""
    geometry = grid(AXES[axes], (0.9, 1.1, 2.5), (72, 64, 20))
    series = write_series(tmp_path, geometry)
    stack = read_stack(tmp_path)
    found = {str(n): contours(body, geometry) for n, body in enumerate(bodies(stack))}
    path = write_structures(tmp_path, series, found)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path), series.series_uid))
    image = reader.Execute()
    columns, rows, planes = image.GetSize()
    for roi in read_structures(path).rois:
        theirs = np.zeros((planes, rows, columns), dtype=bool)
        for points in roi.contours:
            index = np.array(
                [image.TransformPhysicalPointToContinuousIndex(point) for point in points.tolist()]
            )
            plane = round(float(index[:, 2].mean()))
            theirs[plane] ^= polygon2mask((rows, columns), index[:, 1::-1])
        ours = full(rasterise(roi.contours, stack), stack)
        assert ours.sum() * np.prod(geometry.spacing) > 1000
        assert dice(ours, theirs) >= 0.995, roi.name


def test_the_real_breast_has_the_volume_that_eclipse_says(tmp_path: Path):
    uids = write_real_patient(tmp_path / "patient")
    (tmp_path / "CT").mkdir()
    for path in (tmp_path / "patient").iterdir():
        header = pydicom.dcmread(path, specific_tags=["SeriesInstanceUID"])
        if header.SeriesInstanceUID == uids.series_uid:
            path.rename(tmp_path / "CT" / f"CT{path.name}")
    stack = read_stack(tmp_path / "CT")
    assert stack.shape[0] == 98
    (breast,) = (roi for roi in read_structures(DATA / "rtss.dcm").rois if roi.name == "Breast")
    mask = rasterise(breast.contours, stack)
    millilitres = mask.voxels * np.prod(stack.geometry.spacing) / 1000
    assert millilitres == pytest.approx(400.05, rel=0.01)
    assert mask.off_slice_mm < 0.01


def marked(kind: str, shape: tuple[int, int, int]) -> np.ndarray:
    """Voxels in blobs with holes and islands, without any order, or up to the rim."""
    random = np.random.default_rng(7).random(shape)
    if kind == "blobs":
        return gaussian_filter(random, (0, 1.5, 1.5)) > 0.5
    return random < {"noise": 0.5, "dense": 0.9, "all": 2.0}[kind]


@pytest.mark.parametrize("kind", ["blobs", "noise", "dense", "all"])
def test_outlines_hold_the_very_voxels_for_us_and_for_who_rounds_them(kind: str) -> None:
    geometry = grid(OBLIQUE, (0.7, 0.9, 3.3), (40, 34, 3))
    stack = regular_slices(geometry)
    inside = marked(kind, stack.shape)
    mask = Mask((slice(0, 3), slice(0, 34), slice(0, 40)), inside)
    # As files hold them.
    found = {n: [one.round(4) for one in all_] for n, all_ in outlines(mask, stack).items()}
    assert list(found) == [0, 1, 2]
    back = rasterise([polygon for polygons in found.values() for polygon in polygons], stack)
    assert back.united == 0
    np.testing.assert_array_equal(back.full(stack.shape), inside)
    # MedSAM2's reader: points become voxels, borders belong to it, and so do holes.
    for number, polygons in found.items():
        image = Image.new("1", geometry.size[:2])
        for polygon in polygons:
            points = geometry.to_index(polygon)[:, :2].round().astype(int)
            ImageDraw.Draw(image).polygon(list(map(tuple, points.tolist())), fill=1, outline=1)
        filled = binary_fill_holes(inside[number], np.ones((3, 3)))
        np.testing.assert_array_equal(np.array(image), filled)


def test_outlines_of_a_part_of_the_volume_lie_where_it_does(plain: Stack) -> None:
    ring = np.ones((1, 5, 6), dtype=bool)
    ring[0, 1:4, 1:5] = False
    mask = Mask((slice(2, 3), slice(3, 8), slice(4, 10)), ring)
    found = outlines(mask, plain)
    assert {n: len(polygons) for n, polygons in found.items()} == {2: 2}
    outer, hole = sorted(found[2], key=np.ptp, reverse=True)
    assert outer.min(axis=0) == pytest.approx((3.55, 2.55, 2.0))
    assert outer.max(axis=0) == pytest.approx((9.45, 7.45, 2.0))
    assert len(outer) == 8  # no points along straight lines
    assert hole.min(axis=0) == pytest.approx((4.45, 3.45, 2.0))
    np.testing.assert_array_equal(
        rasterise([outer, hole], plain).full(plain.shape), mask.full(plain.shape)
    )
    assert outlines(empty(), plain) == {}
