from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from dataset_series import OBLIQUE, grid, write_series
from stardust_esapi.dataset.labels import Labelled, Named, label
from stardust_esapi.dataset.write import write_nifti, write_npz, write_picture, write_sidecar
from stardust_esapi.dicom.read_series import Stack, read_stack
from stardust_esapi.errors import CaseError
from stardust_esapi.mask import Mask

GEOMETRY = grid(OBLIQUE, (0.8, 1.3, 2.7), (30, 24, 8))


def values(plane: int) -> np.ndarray:
    return np.random.default_rng(plane).integers(-1000, 1000, (24, 30))


def body(name: str, low: int, high: int) -> Named:
    where = (slice(1, 7), slice(low, high), slice(low, high))
    return Named(name, Mask(where, np.ones((6, high - low, high - low), dtype=bool)))


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    write_series(tmp_path / "CT", GEOMETRY, values)
    return read_stack(tmp_path / "CT")


@pytest.fixture
def labelled(stack: Stack) -> Labelled:
    return label(stack, [body("gtv+", 8, 12), body("target+", 6, 14), body("Herz Ä", 2, 10)])


def test_npz_has_these_keys_and_types(labelled: Labelled, stack: Stack, tmp_path: Path):
    write_npz(tmp_path / "a.npz", labelled, stack)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as read:
        assert sorted(read) == ["direction", "gts", "imgs", "label_names", "origin", "spacing"]
        assert read["imgs"].dtype == read["gts"].dtype == np.uint8
        np.testing.assert_array_equal(read["imgs"], labelled.imgs)
        np.testing.assert_array_equal(read["gts"], labelled.gts)
        np.testing.assert_allclose(read["spacing"], (0.8, 1.3, 2.7))
        np.testing.assert_allclose(read["origin"], GEOMETRY.origin, atol=1e-6)
        assert read["direction"].shape == (9,)
        assert read["label_names"].tolist() == ["background", "gtv+", "target+", "Herz Ä_pos+"]


def test_simpleitk_puts_the_arrays_where_the_slices_lie(
    labelled: Labelled, stack: Stack, tmp_path: Path
):
    write_npz(tmp_path / "a.npz", labelled, stack)
    read = np.load(tmp_path / "a.npz")
    image = SimpleITK.GetImageFromArray(read["gts"])
    image.SetSpacing(read["spacing"].tolist())
    image.SetOrigin(read["origin"].tolist())
    image.SetDirection(read["direction"].tolist())
    there = image.TransformIndexToPhysicalPoint((5, 7, 3))
    np.testing.assert_allclose(there, GEOMETRY.to_patient((5, 7, 3)), atol=1e-5)


def test_a_label_that_is_not_there_has_no_name(stack: Stack, tmp_path: Path):
    write_npz(tmp_path / "a.npz", label(stack, [body("Herz", 2, 10)]), stack)
    names = np.load(tmp_path / "a.npz")["label_names"]
    assert names.tolist() == ["background", "", "", "Herz_neg+"]


def test_the_same_case_gives_the_same_bytes(labelled: Labelled, stack: Stack, tmp_path: Path):
    for name in "ab":
        write_npz(tmp_path / f"{name}.npz", labelled, stack)
        write_picture(tmp_path / f"{name}.png", labelled, stack)
        write_sidecar(tmp_path / f"{name}.json", {"b": 1, "a": ["ä"]})
        write_nifti(
            tmp_path / f"{name}.nii.gz", tmp_path / f"{name}_gts.nii.gz", labelled.gts, stack
        )
    for ending in (".npz", ".png", ".json", ".nii.gz", "_gts.nii.gz"):
        one, other = (tmp_path / f"{name}{ending}" for name in "ab")
        assert one.read_bytes() == other.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_an_npz_is_packed_as_zlib_itself_would(labelled: Labelled, stack: Stack, tmp_path: Path):
    write_npz(tmp_path / "case.npz", labelled, stack)
    with zipfile.ZipFile(tmp_path / "case.npz") as archive:
        for member in archive.infolist():
            data = archive.read(member)
            packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, strategy=zlib.Z_RLE)
            assert member.compress_size == len(packer.compress(data) + packer.flush())
        with archive.open("imgs.npy") as member:
            buffer = io.BytesIO()
            np.save(buffer, labelled.imgs)
            assert member.read() == buffer.getvalue()


def test_nifti_is_where_the_series_is(labelled: Labelled, stack: Stack, tmp_path: Path):
    image, labels = tmp_path / "a.nii.gz", tmp_path / "a_gts.nii.gz"
    write_nifti(image, labels, labelled.gts, stack)
    for path, expected in (
        (image, np.stack([values(n) for n in range(8)])),
        (labels, labelled.gts),
    ):
        read = SimpleITK.ReadImage(path)
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(read), expected)
        np.testing.assert_allclose(read.GetSpacing(), (0.8, 1.3, 2.7), atol=1e-5)
        np.testing.assert_allclose(read.GetOrigin(), GEOMETRY.origin, atol=1e-4)
        there = read.TransformIndexToPhysicalPoint((29, 23, 7))
        np.testing.assert_allclose(there, GEOMETRY.to_patient((29, 23, 7)), atol=1e-3)
    assert SimpleITK.ReadImage(image).GetPixelID() == SimpleITK.sitkInt16
    assert SimpleITK.ReadImage(labels).GetPixelID() == SimpleITK.sitkUInt8


def test_nifti_keeps_fractions(tmp_path: Path):
    write_series(tmp_path / "CT", GEOMETRY, values, slope=0.25)
    stack = read_stack(tmp_path / "CT")
    write_nifti(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", label(stack, []).gts, stack)
    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(read[5], values(5) * 0.25)


def test_nifti_says_what_to_install(
    labelled: Labelled, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(CaseError, match=r"stardust-esapi\[nifti\]"):
        write_nifti(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", labelled.gts, stack)


def test_the_picture_shows_the_middle_of_the_gtv_with_outlines(
    labelled: Labelled, stack: Stack, tmp_path: Path
):
    write_picture(tmp_path / "a.png", labelled, stack)
    picture = Image.open(tmp_path / "a.png")
    assert max(picture.size) == 256
    # Millimetres are square: 30 columns of 0.8 mm, 24 rows of 1.3 mm.
    assert picture.size[0] / picture.size[1] == pytest.approx(30 * 0.8 / (24 * 1.3), rel=0.01)
    pixels = np.asarray(picture)
    scale_x, scale_y = picture.size[0] / 30, picture.size[1] / 24
    for colour, low, high in (((230, 159, 0), 8, 12), ((86, 180, 233), 6, 14)):
        rows, columns = np.nonzero((pixels == colour).all(axis=-1))
        assert columns.min() == pytest.approx(low * scale_x, abs=1)
        assert columns.max() == pytest.approx(high * scale_x, abs=2)
        assert rows.min() == pytest.approx(low * scale_y, abs=1)
        assert rows.max() == pytest.approx(high * scale_y, abs=2)


def test_a_file_that_cannot_be_written_leaves_nothing(
    labelled: Labelled, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full_disk)
    (tmp_path / "a.npz").write_bytes(b"old")
    with pytest.raises(OSError, match="No space"):
        write_npz(tmp_path / "a.npz", labelled, stack)
    assert (tmp_path / "a.npz").read_bytes() == b"old"
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_the_sidecar_is_plain_json(tmp_path: Path):
    write_sidecar(tmp_path / "a.json", {"names": {"1": "gtv+"}, "ö": [1, 2.5]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.load(io.StringIO(text)) == {"names": {"1": "gtv+"}, "ö": [1, 2.5]}
    assert "ö" in text
