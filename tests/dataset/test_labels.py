from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_series import grid, write_series
from stardust_esapi.dataset.labels import (
    MOST_OTHERS,
    Named,
    label,
    number,
    role_of,
    window,
)
from stardust_esapi.dicom.read_series import Stack, read_stack
from stardust_esapi.mask import Mask, empty
from stardust_esapi.model import Role

SIZE = (20, 16, 4)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    folder = tmp_path_factory.mktemp("ct")
    write_series(folder, grid(spacing=(2.0, 2.5, 4.0), size=SIZE), 40)
    return read_stack(folder)


def box(name: str, planes: tuple, rows: tuple, columns: tuple) -> Named:
    where = tuple(slice(*axis) for axis in (planes, rows, columns))
    return Named(name, Mask(where, np.ones([b.stop - b.start for b in where], dtype=bool)))


GTV = box("gtv+", (1, 3), (4, 8), (4, 8))
TARGET = box("target+", (1, 3), (3, 10), (3, 10))
LARGE = box("Lung", (0, 4), (0, 16), (0, 12))
SMALL = box("Heart", (0, 2), (2, 6), (9, 14))


def test_order_priority_and_names(stack: Stack):
    numbered = number([SMALL, TARGET, LARGE, GTV], stack)
    assert numbered.names == {1: "gtv+", 2: "target+", 3: "Lung_pos+", 4: "Heart_neg+"}
    expected = np.zeros(stack.shape, dtype=np.uint8)
    for value, one in ((3, LARGE), (4, SMALL), (2, TARGET), (1, GTV)):
        expected[one.mask.box] = value
    np.testing.assert_array_equal(numbered.gts, expected)
    assert numbered.gts.dtype == np.uint8
    assert [fact.label for fact in numbered.structures] == [1, 2, 3, 4]
    assert [fact.role for fact in numbered.structures] == [
        Role.GTV,
        Role.TARGET,
        Role.OTHER,
        Role.OTHER,
    ]
    gtv = numbered.structures[0]
    assert gtv.voxels == 32
    assert gtv.volume_ml == pytest.approx(32 * 2.0 * 2.5 * 4.0 / 1000)
    assert gtv.in_target == 1.0
    assert numbered.notes == ()


def test_one_shared_voxel_is_an_overlap(stack: Stack):
    corner = box("Corner", (2, 3), (7, 9), (7, 9))
    beside = box("Beside", (2, 3), (8, 9), (8, 9))
    names = number([GTV, corner, beside], stack).names
    assert set(names.values()) == {"gtv+", "Corner_pos+", "Beside_neg+"}


def test_the_share_of_the_gtv_in_the_target(stack: Stack):
    half = box("target+", (1, 3), (4, 8), (6, 12))
    facts = number([GTV, half], stack).structures
    assert facts[0].in_target == 0.5
    assert number([GTV], stack).structures[0].in_target == 0.0


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("gtv+", Role.GTV),
        ("GTV +", Role.GTV),
        ("G_T-V+ 1", Role.GTV),
        ("old gtv+ left", Role.GTV),
        ("Target_+", Role.TARGET),
        ("gtv", Role.OTHER),
        ("targets", Role.OTHER),
        ("Heart", Role.OTHER),
    ],
)
def test_names_are_read_as_the_consumer_reads_them(name: str, role: Role):
    assert role_of(name) is role


def test_a_second_gtv_and_an_empty_structure_are_told(stack: Stack):
    second = box("GTV+ 2", (0, 1), (0, 2), (0, 2))
    numbered = number([GTV, second, Named("Node", empty()), LARGE], stack)
    assert numbered.names == {1: "gtv+", 3: "Lung_pos+"}
    assert numbered.notes == (
        "GTV+ 2 was left out: gtv+ is taken for gtv+.",
        "Node has no voxel and was left out.",
    )


def test_without_gtv_and_target_nothing_bears_their_labels(stack: Stack):
    numbered = number([LARGE], stack)
    assert numbered.names == {3: "Lung_neg+"}
    assert set(np.unique(numbered.gts)) == {0, 3}


def test_the_smallest_of_too_many_are_left_out(stack: Stack):
    cells = np.argwhere(np.ones(stack.shape, dtype=bool))[: MOST_OTHERS + 2]
    many = [box(f"s{n}", (z, z + 1), (y, y + 1), (x, x + 1)) for n, (z, y, x) in enumerate(cells)]
    numbered = number([*many, LARGE], stack)
    assert max(numbered.names) == 255
    assert numbered.names[3] == "Lung_neg+"
    assert len(numbered.names) == MOST_OTHERS
    assert len(numbered.notes) == 3
    assert "s254 was left out" in numbered.notes[-1]


BOXES = st.tuples(*[st.tuples(st.integers(0, n - 1), st.integers(1, n)) for n in (4, 16, 20)])


@given(st.lists(BOXES, max_size=6), BOXES, BOXES)
def test_smaller_over_larger_target_over_them_gtv_over_all(stack: Stack, others, gtv, target):
    def named(name: str, axes) -> Named:
        return box(name, *((low, max(high, low + 1)) for low, high in axes))

    structures = [named(f"s{n}", axes) for n, axes in enumerate(others)]
    structures += [named("gtv+", gtv), named("target+", target)]
    numbered = number(structures, stack)
    full = {one.name: one.mask.full(stack.shape) for one in structures}
    by_name = {name.rpartition("_")[0] or name: value for value, name in numbered.names.items()}
    for place in np.ndindex(*stack.shape):
        here = [name for name, mask in full.items() if mask[place]]
        value = numbered.gts[place]
        if "gtv+" in here:
            assert value == 1
        elif "target+" in here:
            assert value == 2
        elif here:
            smallest = min(full[name].sum() for name in here)
            name = next(name for name, label in by_name.items() if label == value)
            assert name in here
            assert full[name].sum() == smallest
        else:
            assert value == 0


class TestWindow:
    def test_ct(self, tmp_path: Path):
        values = [-3000, -1024, -161, -160, -80, 0, 40, 239, 240, 241, 3071, 5000]
        row = np.array([*values, *range(-160, 241, 50), 1, 2, 3])[None, :].repeat(4, axis=0)
        write_series(tmp_path, grid(size=(row.shape[1], 4, 2)), lambda _: row)
        imgs, facts = window(read_stack(tmp_path))
        consumer = np.uint8((np.clip(row, -160, 240) + 160.0) / 400.0 * 255.0)
        np.testing.assert_array_equal(imgs, np.stack([consumer, consumer]))
        assert imgs[0, 0, :12].tolist() == [0, 0, 0, 0, 51, 102, 127, 254, 255, 255, 255, 255]
        assert (facts.lowest, facts.highest) == (-3000.0, 5000.0)
        assert facts.share_below == pytest.approx(1 / row.shape[1])
        assert facts.share_above == pytest.approx(1 / row.shape[1])
        assert len(facts.edges) == len(facts.counts) + 1
        assert sum(facts.counts) == 2 * len(row[0][::4])

    def test_mr(self, tmp_path: Path):
        chance = np.random.default_rng(1)
        signal = chance.integers(1, 2000, (3, 40, 50))
        signal[:, :, :20] = 0
        write_series(tmp_path, grid(size=(50, 40, 3)), lambda plane: signal[plane], modality="MR")
        imgs, facts = window(read_stack(tmp_path))
        low, high = np.percentile(signal[signal != 0], (0.5, 99.5))
        assert facts.window == pytest.approx((low, high))
        expected = np.uint8((np.clip(signal, low, high) - low) / (high - low) * 255.0)
        assert np.abs(imgs.astype(int) - expected).max() <= 1
        assert (imgs == expected).mean() > 0.999
        assert imgs[:, :, :20].max() == 0

    @pytest.mark.parametrize("filler", [-32768, 32767, 700])
    def test_what_fills_the_outside_of_an_mr_is_black_and_no_part_of_its_window(
        self, tmp_path: Path, filler: int
    ):
        signal = np.random.default_rng(1).integers(1, 2000, (3, 40, 50))
        outside = np.zeros(signal.shape, dtype=bool)
        outside[:, :, 40:] = outside[:, :6] = True
        signal[~outside & (signal % 5 == 0)] = 0
        stored = np.where(outside, filler, signal)
        write_series(tmp_path, grid(size=(50, 40, 3)), lambda plane: stored[plane], modality="MR")
        imgs, facts = window(read_stack(tmp_path))
        imaged = signal[~outside & (signal != 0)]
        assert facts.window == pytest.approx(tuple(np.percentile(imaged, (0.5, 99.5))))
        assert (facts.lowest, facts.highest) == (0.0, imaged.max())
        assert imgs[outside].max() == 0
        assert imgs[~outside].max() == 255

    def test_greys_of_an_mr_are_counted_where_the_tumour_is(self, tmp_path: Path):
        signal = np.random.default_rng(1).integers(400, 600, (4, 16, 20))
        signal[1:3, 4:8, 4:8] = 500 + np.arange(32).reshape(2, 4, 4) % 3
        signal[:, 0] = 30000  # an artefact that takes the window
        write_series(tmp_path, grid(size=SIZE), lambda plane: signal[plane], modality="MR")
        intensity = label(read_stack(tmp_path), [GTV, TARGET]).intensity
        assert intensity.gtv_greys == 1
        assert intensity.body_greys <= 2
        signal[:, 0] = 500
        write_series(tmp_path, grid(size=SIZE), lambda plane: signal[plane], modality="MR")
        intensity = label(read_stack(tmp_path), [GTV, TARGET]).intensity
        assert intensity.gtv_greys == 3  # 500, 501 and 502, of 400 to 600
        assert 200 < intensity.body_greys < 250

    def test_an_empty_mr_is_black(self, tmp_path: Path):
        write_series(tmp_path, grid(size=(8, 8, 3)), 0, modality="MR")
        imgs, facts = window(read_stack(tmp_path))
        assert imgs.max() == 0
        assert facts.window == (0.0, 0.0)

    def test_a_case_has_both(self, stack: Stack):
        labelled = label(stack, [GTV, TARGET])
        assert labelled.imgs.shape == labelled.gts.shape == stack.shape
        assert labelled.imgs.dtype == labelled.gts.dtype == np.uint8
        assert (labelled.imgs == 127).all()
        assert labelled.names == {1: "gtv+", 2: "target+"}
