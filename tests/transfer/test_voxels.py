from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stardust_esapi.errors import TransferError
from stardust_esapi.transfer.voxels import Display, Voxels, display, slices_on_planes

CT = np.arange(-1024, 3072, dtype=np.int32)


def planes(*values: int) -> np.ndarray:
    """Planes of 2 rows and 3 columns, each of one value."""
    return np.stack([np.full((2, 3), value, dtype=np.int32) for value in values])


def shown(
    curve: Callable[[int], float], occurring: np.ndarray = CT, *, curved: bool = False
) -> Display:
    """What becomes of a plane that holds every value that occurs."""
    plane = occurring[None, :]
    answers = (curve(int(voxel)) for voxel in occurring)
    return display(lambda _: plane, occurring, answers, may_be_curved=curved)


class TestVoxels:
    def test_every_value_once_and_every_plane(self) -> None:
        volume = planes(5, -3, 5)
        volume[1, 0, 2] = 70000
        found = Voxels.of(lambda plane: volume[plane], 3)
        assert found.occurring.tolist() == [-3, 5, 70000]
        assert found.digests[0] == found.digests[2] != found.digests[1]

    def test_the_same_values_in_another_shape_are_another_plane(self) -> None:
        one = np.arange(6, dtype=np.int32).reshape(2, 3)
        found = [Voxels.of(lambda _, p=plane: p, 1).digests for plane in (one, one.reshape(3, 2))]
        assert found[0] != found[1]


class TestDisplay:
    @given(
        slope=st.floats(1e-3, 100) | st.floats(-100, -1e-3),
        intercept=st.floats(-2000, 2000),
        occurring=st.sets(st.integers(-32768, 65535), min_size=2, max_size=50),
    )
    def test_it_finds_the_line_behind_the_values(
        self, slope: float, intercept: float, occurring: set[int]
    ) -> None:
        voxels = np.array(sorted(occurring), dtype=np.int32)
        found = shown(lambda voxel: voxel * slope + intercept, voxels)
        assert found.read_plane(0).tolist() == [voxels.tolist()]
        there = found.slope * voxels + found.intercept
        np.testing.assert_allclose(there, voxels * slope + intercept, rtol=0, atol=1e-5)

    @pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (0.1, -1000.5), (0.25, 12.25)])
    def test_what_a_file_said_comes_out_again(self, slope: float, intercept: float) -> None:
        found = shown(lambda voxel: voxel * slope + intercept)
        assert (found.slope, found.intercept) == (slope, intercept)

    def test_values_of_single_precision_are_a_line_too(self) -> None:
        found = shown(lambda voxel: float(np.float32(voxel * 0.1 - 1000.3)))
        assert (found.slope, found.intercept) == pytest.approx((0.1, -1000.3), rel=1e-5)

    def test_one_value_alone(self) -> None:
        found = shown(lambda voxel: voxel - 1000.5, np.array([7], dtype=np.int32))
        assert (found.slope, found.intercept) == (1, -1000.5)

    def test_nothing_is_asked_that_does_not_occur(self) -> None:
        occurring = np.array([-5, 12, 900], dtype=np.int32)
        asked: list[int] = []
        shown(lambda voxel: asked.append(voxel) or voxel * 2.0, occurring)
        assert asked == [-5, 12, 900]

    @pytest.mark.parametrize("nothing", [np.nan, np.inf])
    def test_a_voxel_without_a_display_value_is_refused(self, nothing: float) -> None:
        with pytest.raises(TransferError, match="no display value for the voxel value 12"):
            shown(lambda voxel: nothing if voxel == 12 else voxel, curved=True)

    @pytest.mark.parametrize(
        "curve",
        [
            pytest.param(lambda voxel: voxel * voxel / 1000, id="curved"),
            pytest.param(lambda voxel: max(voxel, 0) - 1024, id="cut off below"),
            pytest.param(lambda voxel: min(voxel, 2000) - 1024, id="cut off above"),
            pytest.param(lambda voxel: round(voxel * 0.3), id="in steps"),
            pytest.param(abs, id="without sign"),
            pytest.param(lambda voxel: 7.0, id="all the same"),
            pytest.param(lambda voxel: voxel + (voxel == 5) * 0.1, id="a single value"),
        ],
    )
    def test_a_curve_is_refused_for_ct_and_stored_for_mr(
        self, curve: Callable[[int], float]
    ) -> None:
        with pytest.raises(TransferError, match="straight line"):
            shown(curve)
        found = shown(curve, curved=True)
        stored = found.read_plane(0)[0]
        wanted = np.array([curve(voxel) for voxel in CT.tolist()], dtype=float)
        assert stored.dtype == np.int32
        assert stored.max() - stored.min() <= 65535
        step = (wanted.max() - wanted.min()) / 65535
        np.testing.assert_allclose(
            found.slope * stored + found.intercept, wanted, rtol=0, atol=step / 2 + 1e-9
        )

    def test_whole_display_values_are_stored_as_they_are(self) -> None:
        found = shown(lambda voxel: abs(voxel) + 3, curved=True)
        assert (found.slope, found.intercept) == (1, 0)
        assert found.read_plane(0).tolist() == [[abs(voxel) + 3 for voxel in CT.tolist()]]


def digests(values: Sequence[int]) -> list[bytes]:
    return [bytes([value]) for value in values]


class TestSlicesOnPlanes:
    @given(data=st.data(), count=st.integers(1, 20))
    def test_each_plane_gets_the_slice_that_looks_like_it(
        self, data: st.DataObject, count: int
    ) -> None:
        order = data.draw(st.permutations(range(count)))
        found = slices_on_planes(digests(range(count)), digests(order))
        assert found is not None
        assert [order[at] for at in found] == list(range(count))

    @given(
        values=st.lists(st.integers(0, 4), min_size=1, max_size=12),
        data=st.data(),
    )
    def test_what_is_given_is_right_whatever_looks_alike(
        self, values: list[int], data: st.DataObject
    ) -> None:
        order = data.draw(st.permutations(range(len(values))))
        found = slices_on_planes(digests(values), digests([values[at] for at in order]))
        if found is not None:
            assert sorted(found) == list(range(len(values)))
            assert [values[order[at]] for at in found] == values
            if len(set(values)) < len(values):  # told by the order alone
                assert found in (sorted(found), sorted(found)[::-1])

    @pytest.mark.parametrize("turned", [False, True])
    def test_planes_of_air_go_by_the_order_of_the_others(self, *, turned: bool) -> None:
        values = [0, 0, 1, 2, 3, 0]
        slices = values[::-1] if turned else values
        expected = [5, 4, 3, 2, 1, 0] if turned else [0, 1, 2, 3, 4, 5]
        assert slices_on_planes(digests(values), digests(slices)) == expected

    @pytest.mark.parametrize(
        ("values", "slices"),
        [
            pytest.param([0, 0, 1, 2], [0, 1, 0, 2], id="alike and in no order"),
            pytest.param([0, 0, 1, 0], [0, 0, 1, 0], id="only one is alone"),
            pytest.param([0, 0], [0, 0], id="none is alone"),
            pytest.param([1, 2, 3], [1, 2], id="one is missing"),
            pytest.param([1, 2, 3], [1, 2, 3, 4], id="one too many"),
            pytest.param([1, 2, 3], [1, 2, 4], id="one is another"),
            pytest.param([1, 2, 3], [1, 2, 2], id="one twice"),
        ],
    )
    def test_nothing_is_guessed(self, values: list[int], slices: list[int]) -> None:
        assert slices_on_planes(digests(values), digests(slices)) is None
