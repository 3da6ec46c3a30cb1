from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dataset_series import (
    AXIAL,
    FRAME,
    OBLIQUE,
    SAGITTAL,
    Ball,
    Block,
    Body,
    Torus,
    centres,
    contours,
    grid,
    write_register,
    write_series,
)
from esapi_stub.sample.dicom import rigid
from stardust_esapi.dicom.onto_mr import carry, share_shown
from stardust_esapi.dicom.read_registration import read_mr_to_ct
from stardust_esapi.dicom.read_series import Stack, read_stack
from stardust_esapi.dicom.uids import derived_uid
from stardust_esapi.errors import CaseError
from stardust_esapi.geometry import ImageGeometry
from stardust_esapi.mask import Mask, empty, rasterise

CENTRE = (12.3, -45.6, 78.9)
MR_FRAME = derived_uid("frame of the MR")
MR_TO_CT = rigid((8.0, -12.0, 20.0), (10.0, -15.0, 800.0))
CT_SPACING = (1.0, 1.2, 2.0)


def series(folder: Path, geometry: ImageGeometry, modality: str, frame: str) -> Stack:
    write_series(folder, geometry, modality=modality, name=modality, frame=frame)
    return read_stack(folder)


@pytest.fixture
def ct(tmp_path: Path) -> Stack:
    return series(tmp_path / "CT", grid(AXIAL, CT_SPACING, (64, 56, 30)), "CT", FRAME)


def mr_of(
    tmp_path: Path, axes=AXIAL, spacing=(1.3, 1.3, 3.0), size=(50, 48, 22), frame=MR_FRAME
) -> Stack:
    centre = np.linalg.solve(MR_TO_CT, (*CENTRE, 1.0))[:3] if frame == MR_FRAME else CENTRE
    geometry = grid(axes, spacing, size, tuple(centre.tolist()) if frame == MR_FRAME else CENTRE)
    return series(tmp_path / "MR", geometry, "MR", frame)


def to_ct(points: np.ndarray) -> np.ndarray:
    return points @ MR_TO_CT[:3, :3].T + MR_TO_CT[:3, 3]


def on_ct(body: Body, ct: Stack) -> Mask:
    polygons = [polygon for plane in contours(body, ct.geometry).values() for polygon in plane]
    return rasterise(polygons, ct)


@pytest.mark.parametrize("axes", [AXIAL, SAGITTAL, OBLIQUE])
@pytest.mark.parametrize(
    "body",
    [
        Ball(CENTRE, 15.3),
        Block(CENTRE, (12.0, 9.6, 12.0), np.eye(3)),
        Torus(CENTRE, 14.0, 6.0, np.eye(3)),
        Torus(CENTRE, 14.0, 6.0, np.eye(3), standing=True),
    ],
)
def test_bodies_come_over_to_half_a_voxel(body: Body, axes, ct: Stack, tmp_path: Path):
    mr = mr_of(tmp_path, axes)
    path = write_register(tmp_path / "MR", MR_TO_CT, MR_FRAME, FRAME)
    matrix = read_mr_to_ct([path], mr, ct)
    np.testing.assert_allclose(matrix, MR_TO_CT, atol=1e-6)
    mask = carry(on_ct(body, ct), ct, mr, matrix).full(mr.shape)
    depth = body.depth(to_ct(centres(mr)))
    sure = np.abs(depth) > max(CT_SPACING) / 2
    np.testing.assert_array_equal(mask[sure], depth[sure] > 0)
    assert mask.sum() == pytest.approx((depth > 0).sum(), rel=0.02)
    assert mask.sum() > 1000


def test_a_shared_frame_of_reference_needs_no_registration(ct: Stack, tmp_path: Path):
    mr = mr_of(tmp_path, frame=FRAME)
    np.testing.assert_array_equal(read_mr_to_ct([], mr, ct), np.eye(4))
    body = Ball(CENTRE, 14.0)
    mask = carry(on_ct(body, ct), ct, mr, np.eye(4)).full(mr.shape)
    depth = body.depth(centres(mr))
    sure = np.abs(depth) > max(CT_SPACING) / 2
    np.testing.assert_array_equal(mask[sure], depth[sure] > 0)


def test_on_the_very_same_grid_nothing_changes(ct: Stack, tmp_path: Path):
    mr = series(tmp_path / "MR", ct.geometry, "MR", FRAME)
    for body in (Ball(CENTRE, 15.0), Block(CENTRE, (60.0, 8.0, 60.0), np.eye(3))):
        mask = on_ct(body, ct)
        over = carry(mask, ct, mr, np.eye(4))
        np.testing.assert_array_equal(over.full(mr.shape), mask.full(ct.shape))


def test_a_structure_that_the_mr_sees_a_part_of(ct: Stack, tmp_path: Path):
    mr = mr_of(tmp_path, OBLIQUE, size=(14, 12, 5))
    body = Block(CENTRE, (25.0, 22.0, 20.0), np.eye(3))
    mask = carry(on_ct(body, ct), ct, mr, MR_TO_CT).full(mr.shape)
    depth = body.depth(to_ct(centres(mr)))
    sure = np.abs(depth) > max(CT_SPACING) / 2
    np.testing.assert_array_equal(mask[sure], depth[sure] > 0)
    inside = carry(on_ct(Ball(CENTRE, 29.0), ct), ct, mr, MR_TO_CT).full(mr.shape)
    assert inside.all()


def test_how_much_of_a_structure_the_mr_shows(ct: Stack, tmp_path: Path):
    block = on_ct(Block(CENTRE, (10.0, 10.0, 10.0), np.eye(3)), ct)
    half = series(
        tmp_path / "half", grid(AXIAL, (1.0, 1.0, 2.0), (40, 40, 15), CENTRE), "MR", FRAME
    )
    assert share_shown(block, ct, half, np.eye(4)) == 1.0
    for moved in np.eye(3):
        moves = np.eye(4)
        moves[:3, 3] = 20.0 * moved if moved[2] == 0 else 15.0 * moved  # half of the MR's width
        assert share_shown(block, ct, half, moves) == pytest.approx(0.5, abs=0.06)
    moves[:3, 3] = 60.0
    assert share_shown(block, ct, half, moves) == 0.0
    mr = mr_of(tmp_path, OBLIQUE, size=(14, 12, 5))
    everything = on_ct(Ball(CENTRE, 100.0), ct)
    volume = np.prod(mr.shape) * np.prod(mr.geometry.spacing)
    expected = volume / (everything.voxels * np.prod(CT_SPACING))
    assert share_shown(everything, ct, mr, MR_TO_CT) == pytest.approx(expected, rel=0.1)
    assert share_shown(empty(), ct, mr, MR_TO_CT) == 1.0


def test_what_is_wrong_with_the_contours_comes_along(ct: Stack, tmp_path: Path):
    mask = replace(on_ct(Ball(CENTRE, 8.0), ct), off_slice_mm=0.7, left_out=2)
    mr = mr_of(tmp_path)
    away = mr_of(tmp_path / "away", size=(2, 2, 2))
    for one, to in ((mask, mr), (replace(mask, inside=mask.inside & False), mr), (mask, away)):
        over = carry(one, ct, to, MR_TO_CT)
        assert (over.off_slice_mm, over.left_out) == (0.7, 2)
    nothing = carry(empty(0.7, 2), ct, mr, MR_TO_CT)
    assert (nothing.off_slice_mm, nothing.left_out) == (0.7, 2)


def test_what_the_mr_does_not_see_is_empty(ct: Stack, tmp_path: Path):
    mr = mr_of(tmp_path, size=(10, 10, 4))
    away = Ball((CENTRE[0] + 24.0, CENTRE[1] + 20.0, CENTRE[2] + 20.0), 6.0)
    mask = on_ct(away, ct)
    assert mask.voxels > 0
    assert carry(mask, ct, mr, MR_TO_CT).voxels == 0
    assert carry(empty(), ct, mr, MR_TO_CT).voxels == 0


def test_missing_slices_of_the_ct_shift_nothing(ct: Stack, tmp_path: Path):
    for plane in (3, 4):  # below the body
        (tmp_path / "CT" / f"CT.{ct.sop_instance_uids[plane]}.dcm").unlink()
    gapped = read_stack(tmp_path / "CT")
    mr = mr_of(tmp_path)
    body = Ball(CENTRE, 14.0)
    polygons = [one for plane in contours(body, ct.geometry).values() for one in plane]
    mask = carry(rasterise(polygons, gapped), gapped, mr, MR_TO_CT).full(mr.shape)
    depth = body.depth(to_ct(centres(mr)))
    sure = np.abs(depth) > max(CT_SPACING) / 2
    np.testing.assert_array_equal(mask[sure], depth[sure] > 0)


class TestRegistration:
    def test_from_the_ct_to_the_mr_it_is_turned_round(self, ct: Stack, tmp_path: Path):
        mr = mr_of(tmp_path)
        path = write_register(tmp_path, np.linalg.inv(MR_TO_CT), FRAME, MR_FRAME)
        np.testing.assert_allclose(read_mr_to_ct([path], mr, ct), MR_TO_CT, atol=1e-6)

    def test_over_a_third_frame_of_reference(self, ct: Stack, tmp_path: Path):
        mr = mr_of(tmp_path)
        other = rigid((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
        path = write_register(tmp_path, other @ MR_TO_CT, MR_FRAME, "1.2.3")
        ds = pydicom.dcmread(path)
        first = ds.RegistrationSequence[0]
        first.FrameOfReferenceUID = FRAME
        step = first.MatrixRegistrationSequence[0].MatrixSequence[0]
        step.FrameOfReferenceTransformationMatrix = [round(v, 10) for v in other.ravel().tolist()]
        ds.save_as(path)
        np.testing.assert_allclose(read_mr_to_ct([path], mr, ct), MR_TO_CT, atol=1e-6)

    def test_images_may_stand_for_a_frame_of_reference(self, ct: Stack, tmp_path: Path):
        mr = mr_of(tmp_path)
        path = write_register(tmp_path, MR_TO_CT, MR_FRAME, FRAME)
        ds = pydicom.dcmread(path)
        item = ds.RegistrationSequence[1]
        del item.FrameOfReferenceUID
        image = pydicom.Dataset()
        image.ReferencedSOPInstanceUID = mr.sop_instance_uids[4]
        item.ReferencedImageSequence = [image]
        ds.save_as(path)
        np.testing.assert_allclose(read_mr_to_ct([path], mr, ct), MR_TO_CT, atol=1e-6)

    def test_none(self, ct: Stack, tmp_path: Path):
        with pytest.raises(CaseError, match="there is no registration"):
            read_mr_to_ct([], mr_of(tmp_path), ct)

    @pytest.mark.parametrize(
        ("source", "registered", "which"), [("1.2.3", FRAME, "MR"), (MR_FRAME, "1.2.3", "CT")]
    )
    def test_of_others(self, source: str, registered: str, which: str, ct: Stack, tmp_path: Path):
        path = write_register(tmp_path, MR_TO_CT, source, registered)
        with pytest.raises(CaseError, match=f"does not name the frame of reference of the {which}"):
            read_mr_to_ct([path], mr_of(tmp_path), ct)

    def test_a_chain(self, ct: Stack, tmp_path: Path):
        path = write_register(tmp_path, MR_TO_CT, MR_FRAME, FRAME)
        ds = pydicom.dcmread(path)
        sequence = ds.RegistrationSequence[1].MatrixRegistrationSequence[0].MatrixSequence
        sequence.append(sequence[0])
        ds.save_as(path)
        with pytest.raises(CaseError, match="chain"):
            read_mr_to_ct([path], mr_of(tmp_path), ct)

    def test_a_contradiction(self, ct: Stack, tmp_path: Path):
        path = write_register(tmp_path, MR_TO_CT, MR_FRAME, FRAME)
        ds = pydicom.dcmread(path)
        ds.RegistrationSequence[0].FrameOfReferenceUID = MR_FRAME
        ds.save_as(path)
        with pytest.raises(CaseError, match="contradicts itself"):
            read_mr_to_ct([path], mr_of(tmp_path), ct)

    def test_damaged(self, ct: Stack, tmp_path: Path):
        path = tmp_path / "RE.dcm"
        path.write_bytes(b"no DICOM")
        with pytest.raises(CaseError, match="registration is damaged") as error:
            read_mr_to_ct([path], mr_of(tmp_path), ct)
        assert str(tmp_path) not in str(error.value)
