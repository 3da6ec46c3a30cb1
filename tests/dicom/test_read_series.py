from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from dataset_series import AXIAL, FEET_FIRST, OBLIQUE, SAGITTAL, grid, write_series
from stardust_esapi.dataset.write import direction
from stardust_esapi.dicom.read_series import read_stack
from stardust_esapi.errors import CaseError

AXES = {"axial": AXIAL, "feet first": FEET_FIRST, "sagittal": SAGITTAL, "oblique": OBLIQUE}


def ramp(plane: int) -> np.ndarray:
    rows, columns = np.mgrid[:20, :24]
    return plane * 100 + rows * 3 + columns - 500


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_series(tmp_path, grid(size=(24, 20, 6)), ramp, slope=1.0, intercept=-24.0)
    return tmp_path


def files(folder: Path) -> list[Path]:
    """By plane."""
    return sorted(
        folder.glob("CT*.dcm"),
        key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]),
    )


def change(path: Path, **values: object) -> None:
    image = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(image, keyword, value)
    image.save_as(path)


def shift(path: Path, by: tuple[float, float, float]) -> None:
    position = pydicom.dcmread(path).ImagePositionPatient
    change(path, ImagePositionPatient=[float(p) + d for p, d in zip(position, by, strict=True)])


@pytest.mark.parametrize("axes", AXES)
def test_grid_and_values_are_those_that_simpleitk_reads(axes: str, tmp_path: Path):
    geometry = grid(AXES[axes], (0.8, 1.3, 2.7), (24, 20, 9))
    series = write_series(tmp_path, geometry, ramp, slope=0.5, intercept=-1000.0)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path), series.series_uid))
    image = reader.Execute()
    stack = read_stack(tmp_path)
    np.testing.assert_allclose(stack.geometry.spacing, image.GetSpacing(), atol=1e-6)
    np.testing.assert_allclose(stack.geometry.origin, image.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(direction(stack.geometry), image.GetDirection(), atol=1e-6)
    assert stack.geometry.size == image.GetSize()
    np.testing.assert_array_equal(stack.values(), SimpleITK.GetArrayFromImage(image))
    assert stack.values().dtype == np.float32
    assert stack.sop_instance_uids == tuple(series.sop_instance_uids)
    for index in ([0, 0, 0], [8, 19, 23], [2.5, 7.25, 3.75]):
        there = image.TransformContinuousIndexToPhysicalPoint([float(i) for i in index[::-1]])
        np.testing.assert_allclose(stack.to_patient(np.array(index)), there, atol=1e-4)
        np.testing.assert_allclose(stack.to_index(np.array(there)), index, atol=1e-4)


def test_slices_are_in_order_whatever_files_and_numbers_say(folder: Path):
    for number, path in enumerate(files(folder)):
        change(path, InstanceNumber=100 - number)
        path.rename(folder / f"CT{(number * 5) % 7}.dcm")
    voxels = read_stack(folder).values()
    for plane in range(6):
        np.testing.assert_array_equal(voxels[plane], ramp(plane) - 24)


def test_compressed_slices_are_decoded(folder: Path):
    expected = read_stack(folder).values()
    for path in files(folder):
        image = pydicom.dcmread(path)
        image.compress(RLELossless, generate_instance_uid=False)
        image.save_as(path)
    np.testing.assert_array_equal(read_stack(folder).values(), expected)


def restore(path: Path, stored: np.ndarray, **values: object) -> None:
    """Put other stored values into a file, of 16 bits each."""
    change(path, PixelData=stored.astype("<i4").astype("<u2").tobytes(), **values)


def test_bits_above_the_stored_ones_are_no_grey_values(folder: Path):
    for plane, path in enumerate(files(folder)):
        stored = ramp(plane) + 500
        with_overlay = stored.copy()
        with_overlay[4:9, 3:20] |= 0x9000
        restore(path, with_overlay, BitsStored=12, HighBit=11, PixelRepresentation=0)
    values = read_stack(folder).values()
    for plane in range(6):
        np.testing.assert_array_equal(values[plane], ramp(plane) + 500 - 24)


def test_nor_are_they_where_a_codec_has_kept_all_bits(folder: Path):
    expected = read_stack(folder).values()
    for plane, path in enumerate(files(folder)):
        with_overlay = (ramp(plane) & 0x0FFF).astype(np.uint16)  # no sign extension either
        with_overlay[4:9, 3:20] |= 0x9000
        packed = io.BytesIO()
        Image.fromarray(with_overlay).save(packed, "JPEG2000", no_jp2=True, num_resolutions=1)
        image = pydicom.dcmread(path)
        image.BitsStored, image.HighBit, image.PixelRepresentation = 12, 11, 1
        image.PixelData = encapsulate([packed.getvalue()])
        image["PixelData"].VR = "OB"
        image.file_meta.TransferSyntaxUID = JPEG2000Lossless
        image.save_as(path)
    np.testing.assert_array_equal(read_stack(folder).values(), expected)


@pytest.mark.parametrize("bits", [11, 12, 15, 16])
def test_the_sign_is_that_of_the_stored_bits(folder: Path, bits: int):
    for plane, path in enumerate(files(folder)):
        stored = ramp(plane) & (1 << bits) - 1  # no sign extension
        restore(path, stored, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=1)
    values = read_stack(folder).values()
    for plane in range(6):
        np.testing.assert_array_equal(values[plane], ramp(plane) - 24)


def test_a_high_bit_that_is_elsewhere_is_refused_with_a_reason(folder: Path):
    change(files(folder)[2], BitsStored=12, HighBit=15)
    with pytest.raises(CaseError, match="its High Bit is not the last of its Bits Stored"):
        read_stack(folder)


def test_deflated_slices_are_read(folder: Path):
    expected = read_stack(folder).values()
    for path in files(folder):
        image = pydicom.dcmread(path)
        image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        image.save_as(path)
    np.testing.assert_array_equal(read_stack(folder).values(), expected)


OUTSIDE = np.zeros((20, 24), dtype=bool)
OUTSIDE[:4] = OUTSIDE[:, 20:] = True


class TestPadding:
    @pytest.mark.parametrize(
        ("filler", "vr", "value", "limit"),
        [
            (-2000, "SS", -2000, None),
            (-2000, "US", 63536, None),  # as the wrong representation has it
            (7, "SS", 5, 8),
            (7, "SS", 8, 5),
        ],
    )
    def test_what_is_declared_is_outside(
        self, folder: Path, filler: int, vr: str, value: int, limit: int | None
    ):
        for plane, path in enumerate(files(folder)):
            stored = np.where(OUTSIDE, filler, ramp(plane) + 1000)
            stored[10, 10] = filler  # a hole of the object is outside of it too
            restore(path, stored, PixelRepresentation=1, BitsStored=16, HighBit=15)
            image = pydicom.dcmread(path)
            image.add_new("PixelPaddingValue", vr, value)
            if limit is not None:
                image.add_new("PixelPaddingRangeLimit", vr, limit)
            image.RescaleSlope = "0.5"
            image.save_as(path)
        stack = read_stack(folder)
        expected = OUTSIDE.copy()
        expected[10, 10] = True
        for outside in (stack.outside(stack.values()), stack.outside(stack.values()[2:4], 2)):
            assert all(np.array_equal(one, expected) for one in outside)

    @pytest.mark.parametrize("filler", [-32768, -1, 1, 1100, 32767])
    def test_what_fills_the_corners_is_outside_as_far_as_it_reaches(
        self, folder: Path, filler: int
    ):
        for plane, path in enumerate(files(folder)):
            stored = np.where(OUTSIDE, filler, 2 * ramp(plane) + 1001)
            stored[10, 10] = filler  # a voxel that happens to have the value
            restore(path, stored, PixelRepresentation=1, BitsStored=16, HighBit=15)
            change(path, RescaleIntercept="0")
        stack = read_stack(folder)
        outside = stack.outside(stack.values())
        assert all(np.array_equal(one, OUTSIDE) for one in outside)

    def test_noise_and_nothing_fill_no_corner(self, folder: Path):
        chance = np.random.default_rng(1)
        for path in files(folder):
            noise = chance.integers(0, 3, OUTSIDE.shape)
            restore(path, noise, PixelRepresentation=0)
            change(path, RescaleIntercept="0")
        stack = read_stack(folder)
        assert not stack.outside(stack.values()).any()
        assert not stack.outside(np.zeros(stack.shape, dtype=np.float32)).any()


def test_a_regular_series_is_told_to_be_one(folder: Path):
    stack = read_stack(folder)
    facts = stack.facts
    assert (facts.images, facts.missing_slices, facts.gaps_mm) == (6, 0, ())
    assert (facts.duplicate_positions, facts.duplicate_uids) == (0, 0)
    assert facts.spacing_mm == pytest.approx(3.0)
    assert facts.spacing_spread_mm == pytest.approx(0.0, abs=1e-6)
    assert facts.shear_mm == pytest.approx(0.0, abs=1e-6)
    assert (stack.modality, stack.body_part) == ("CT", "")


def test_missing_slices_are_counted_by_position(folder: Path):
    for plane in (1, 2):
        files(folder)[1].unlink()
        assert plane
    stack = read_stack(folder)
    assert stack.facts.gaps_mm == pytest.approx((9.0,))
    assert stack.facts.missing_slices == 2
    assert stack.facts.spacing_mm == pytest.approx(3.0)
    # Between the slices of the gap an index goes by position.
    middle = stack.to_patient(np.array([0.5, 0.0, 0.0]))
    assert middle[2] == pytest.approx(stack.origins[0][2] + 4.5)
    assert stack.to_index(middle) == pytest.approx([0.5, 0.0, 0.0])


def test_slices_on_one_another_are_counted_and_taken_once(folder: Path):
    first = files(folder)[0]
    twin = folder / "CT.zz.dcm"
    twin.write_bytes(first.read_bytes())
    facts = read_stack(folder).facts
    assert (facts.images, facts.duplicate_positions, facts.duplicate_uids) == (7, 1, 1)
    change(twin, SOPInstanceUID="1.2.3")
    stack = read_stack(folder)
    assert (stack.facts.duplicate_positions, stack.facts.duplicate_uids) == (1, 0)
    assert stack.shape == (6, 20, 24)


def test_shifted_slices_are_told(folder: Path):
    shift(files(folder)[3], (2.0, 0.0, 0.4))
    facts = read_stack(folder).facts
    assert facts.shear_mm == pytest.approx(2.0)
    assert facts.spacing_spread_mm == pytest.approx(0.8)
    assert facts.spacing_mm == pytest.approx(3.0)


def test_a_single_slice_has_its_thickness(tmp_path: Path):
    write_series(tmp_path, grid(size=(24, 20, 1), spacing=(1, 1, 5.0)), 7)
    stack = read_stack(tmp_path)
    assert stack.geometry.spacing[2] == 5.0
    assert stack.facts.spacing_spread_mm == 0.0


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"SeriesInstanceUID": "1.2"}, "Series Instance UID"),
        ({"FrameOfReferenceUID": "1.2"}, "Frame of Reference"),
        ({"PixelSpacing": [1.0, 1.1]}, "Pixel Spacing"),
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, "orientation"),
    ],
)
def test_images_that_are_no_single_volume_are_refused(folder: Path, values: dict, what: str):
    change(files(folder)[2], **values)
    with pytest.raises(CaseError, match=f"differ in {what}"):
        read_stack(folder)


def test_what_is_damaged_is_refused_without_naming_the_patient(folder: Path):
    path = files(folder)[2]
    image = pydicom.dcmread(path)
    del image.PixelSpacing
    image.save_as(path)
    with pytest.raises(CaseError, match="'PixelSpacing'"):
        read_stack(folder)
    path.write_bytes(b"no DICOM")
    with pytest.raises(CaseError, match="InvalidDicomError") as error:
        read_stack(folder)
    assert str(folder) not in str(error.value)


def test_a_slice_that_was_cut_off_is_refused(folder: Path):
    path = files(folder)[2]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CaseError, match="slice 3 of 6 cannot be decoded"):
        read_stack(folder).values()


def test_no_images(tmp_path: Path):
    with pytest.raises(CaseError, match="no images"):
        read_stack(tmp_path)
