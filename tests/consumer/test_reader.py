"""The second reader on its own, with DICOM that these tests write themselves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from consumer.reader import (
    inside,
    labels_of,
    mr_folder,
    read_case,
    read_folder,
    read_image,
    series_folder,
)

Points = list[tuple[float, float]]
Roi = tuple[str, list[tuple[int | float, Points]]]

SERIES = "1.2.826.0.1.3680043.8.498.1"
ORIGIN = np.array([-30.0, -50.0, 100.0])
X_MM, Y_MM, Z_MM = 0.5, 0.75, 3.0
DEPTH, HEIGHT, WIDTH = 5, 30, 24
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
HEAD_DOWN = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
TILTED = (1.0, 0.0, 0.0, 0.0, 0.8, 0.6)


def save(dataset: Dataset, path: Path, storage: str) -> None:
    dataset.SOPClassUID = storage
    dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def in_patient(x: float, y: float, z: float, cosines: Sequence[float] = AXIAL) -> list[float]:
    along_x, along_y = np.array(cosines[:3]), np.array(cosines[3:])
    normal = np.cross(along_x, along_y)
    point = ORIGIN + x * X_MM * along_x + y * Y_MM * along_y + z * Z_MM * normal
    return [round(float(value), 6) for value in point]


def write_images(
    folder: Path,
    series: str = SERIES,
    prefix: str = "CT",
    cosines: Sequence[float] = AXIAL,
    names: str = "42013",
) -> None:
    """Slice z has the stored value 1000 + 100 z and a mark; names are not in order."""
    for z in range(DEPTH):
        one = Dataset()
        one.Modality = prefix
        one.SeriesInstanceUID = series
        one.ImagePositionPatient = in_patient(0, 0, z, cosines)
        one.ImageOrientationPatient = list(cosines)
        one.PixelSpacing = [Y_MM, X_MM]
        one.SliceThickness = 1
        one.Rows, one.Columns = HEIGHT, WIDTH
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
        if prefix == "CT":
            one.RescaleSlope, one.RescaleIntercept = 2, -1024
        pixels = np.full((HEIGHT, WIDTH), 1000 + 100 * z, dtype="<u2")
        pixels[3, 7] = 4000
        one.PixelData = pixels.tobytes()
        save(one, folder / f"{prefix}{names[z]}.dcm", CTImageStorage)


def write_structures(
    folder: Path, *rois: Roi, name: str = "RS.1.dcm", cosines: Sequence[float] = AXIAL
) -> None:
    one = Dataset()
    one.Modality = "RTSTRUCT"
    one.StructureSetROISequence, one.ROIContourSequence = [], []
    for number, (roi_name, contours) in enumerate(rois, start=1):
        head, body = Dataset(), Dataset()
        head.ROINumber, head.ROIName = number, roi_name
        body.ReferencedROINumber = number
        if contours:
            body.ContourSequence = []
        for z, points in contours:
            contour = Dataset()
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [v for x, y in points for v in in_patient(x, y, z, cosines)]
            body.ContourSequence.append(contour)
        one.StructureSetROISequence.append(head)
        one.ROIContourSequence.append(body)
    save(one, folder / name, RTStructureSetStorage)


def box(x0: int, y0: int, x1: int, y1: int) -> Points:
    """The outline of pixels x0 <= x < x1, y0 <= y < y1."""
    a, b, c, d = x0 - 0.5, y0 - 0.5, x1 - 0.5, y1 - 0.5
    return [(a, b), (c, b), (c, d), (a, d)]


def roi(name: str, voxels: int, z: int = 2, y: int = 5) -> Roi:
    """A bar of so many voxels."""
    return name, [(z, box(2, y, 2 + voxels, y + 1))]


def row(**cells: str) -> dict[str, str]:
    return {"Patient-ID": "0004711", "SeriesUID": SERIES, **cells}


@pytest.mark.parametrize("cosines", [AXIAL, HEAD_DOWN, TILTED])
def test_a_case_is_read_by_positions(tmp_path: Path, cosines: Sequence[float]) -> None:
    folder = tmp_path / "CT_Export" / "0004711" / SERIES
    write_images(folder, cosines=cosines)
    gtv: Roi = "gtv+", [(1, box(4, 6, 9, 8)), (3, box(0, 0, 3, 30))]
    write_structures(folder, gtv, roi("target+", 12), ("Empty", []), cosines=cosines)

    case = read_case(tmp_path, row())

    assert case.folder == folder
    assert (case.modality, case.series_uid) == ("CT", SERIES)
    assert case.shape == (DEPTH, HEIGHT, WIDTH)
    assert case.spacing == pytest.approx((X_MM, Y_MM, Z_MM))
    assert case.volume[:, 0, 0].tolist() == [976, 1176, 1376, 1576, 1776]
    assert (case.volume[:, 3, 7] == 6976).all()
    assert case.roi_names == ("gtv+", "target+", "Empty")
    expected = np.zeros(case.shape, dtype=bool)
    expected[1, 6:8, 4:9] = True
    expected[3, :, 0:3] = True
    assert case.label_1 is not None
    assert np.array_equal(case.label_1.mask, expected)
    assert case.label_2 is not None
    assert (case.label_2.name, case.label_2.mask.sum()) == ("target+", 12)
    assert case.others == ()


def test_the_contrast_ct_goes_before_the_planning_ct(tmp_path: Path) -> None:
    write_images(tmp_path / "CT_Export" / "0004711" / SERIES)
    write_images(tmp_path / "KM_Export" / "0004711" / "1.2.3", series="1.2.3")

    assert read_case(tmp_path, row(KM_Series_UID="1.2.3")).series_uid == "1.2.3"
    for unset in ("", "nan", " "):
        assert read_case(tmp_path, row(KM_Series_UID=unset)).series_uid == SERIES


def test_the_names_of_folders() -> None:
    root = Path("out")
    of_mr = root / "MR_Export" / "0004711" / "4.5"
    assert series_folder(root, row()) == root / "CT_Export" / "0004711" / SERIES
    assert series_folder(root, row(KM_Series_UID="1.2")) == root / "KM_Export" / "0004711" / "1.2"
    assert mr_folder(root, row(MR_Series_UID="4.5")) == of_mr
    assert mr_folder(root, row(MR_Series_UID="nan")) is None
    assert mr_folder(root, row()) is None


@pytest.mark.parametrize("patient", ["4711", "0004711_", "x0004711"])
def test_a_folder_of_another_name_is_not_found(tmp_path: Path, patient: str) -> None:
    write_images(tmp_path / "CT_Export" / patient / SERIES)
    with pytest.raises(FileNotFoundError):
        read_case(tmp_path, row())


def test_no_planning_ct_in_the_place_of_a_missing_contrast_ct(tmp_path: Path) -> None:
    write_images(tmp_path / "CT_Export" / "0004711" / SERIES)
    with pytest.raises(FileNotFoundError):
        read_case(tmp_path, row(KM_Series_UID="1.2.3"))


def test_the_first_structure_set_by_name_is_read(tmp_path: Path) -> None:
    write_images(tmp_path)
    write_structures(tmp_path, roi("gtv second", 12), name="RS.2.dcm")
    write_structures(tmp_path, roi("gtv first", 12), name="RS.10.dcm")
    write_structures(tmp_path, roi("gtv other prefix", 12), name="A_RS.dcm")

    case = read_folder(tmp_path)

    assert case.roi_names == ("gtv first",)
    assert case.structure_set == tmp_path / "RS.10.dcm"


def test_mr_without_structures_has_stored_values_and_no_labels(tmp_path: Path) -> None:
    write_images(tmp_path, prefix="MR")
    case = read_folder(tmp_path)
    assert case.modality == "MR"
    assert case.volume[:, 0, 0].tolist() == [1000, 1100, 1200, 1300, 1400]
    assert case.structure_set is None
    assert case.roi_names == case.others == ()
    assert case.label_1 is case.label_2 is None


def test_images_that_the_trainer_would_mix_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "empty" / "x")
    with pytest.raises(ValueError, match="neither CT nor MR"):
        read_image(tmp_path / "empty")
    write_images(tmp_path / "kinds")
    write_images(tmp_path / "kinds", prefix="MR")
    with pytest.raises(ValueError, match="neither CT nor MR alone"):
        read_image(tmp_path / "kinds")
    write_images(tmp_path / "series")
    write_images(tmp_path / "series", series="1.2.3", names="56789")
    with pytest.raises(ValueError, match="two series"):
        read_image(tmp_path / "series")
    write_images(tmp_path / "places")
    write_images(tmp_path / "places", names="56789")
    with pytest.raises(ValueError, match="one place"):
        read_image(tmp_path / "places")
    write_images(tmp_path / "grids")
    write_images(tmp_path / "grids", names="56789", cosines=HEAD_DOWN)
    with pytest.raises(ValueError, match="two grids"):
        read_image(tmp_path / "grids")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("gtv+", 1),
        ("GTV2", 1),
        ("G T-V_", 1),
        ("PTV minus Gtv", 1),
        ("target GTV", 1),
        ("target+", 2),
        ("TARGET", 2),
        ("my tar-get_1", 2),
        ("PTV", None),
        ("g.tv", None),
        ("targt", None),  # codespell:ignore
    ],
)
def test_what_names_are_candidates(tmp_path: Path, name: str, label: int | None) -> None:
    write_images(tmp_path)
    write_structures(tmp_path, roi(name, 12))
    case = read_folder(tmp_path)
    found = {1: case.label_1, 2: case.label_2}
    assert {key: one.name for key, one in found.items() if one} == ({label: name} if label else {})
    assert case.others == (() if label else (name,))


def test_the_largest_candidate_wins_and_the_others_are_other_structures(tmp_path: Path) -> None:
    write_images(tmp_path)
    write_structures(
        tmp_path,
        roi("gtv+", 12),
        roi("Lung", 20),
        roi("GTV2", 15),
        roi("target+", 16),
        roi("Target old", 13),
        roi("gtv_3", 14),
    )
    case = read_folder(tmp_path)
    assert case.label_1 is not None
    assert (case.label_1.name, case.label_1.number, case.label_1.mask.sum()) == ("GTV2", 3, 15)
    assert case.label_1.candidates == ("gtv+", "GTV2", "gtv_3")
    assert case.label_2 is not None
    assert case.label_2.name == "target+"
    assert case.label_2.candidates == ("target+", "Target old")
    assert case.others == ("gtv+", "Lung", "Target old", "gtv_3")


def test_of_equal_candidates_the_first_of_the_file_wins(tmp_path: Path) -> None:
    write_images(tmp_path)
    write_structures(tmp_path, roi("gtv b", 12), roi("gtv a", 12, y=9))
    case = read_folder(tmp_path)
    assert case.label_1 is not None
    assert case.label_1.name == "gtv b"


def test_ten_voxels_are_too_few_and_eleven_are_not(tmp_path: Path) -> None:
    write_images(tmp_path)
    write_structures(tmp_path, roi("gtv+", 10), roi("target+", 11), roi("Nerve", 10))
    case = read_folder(tmp_path)
    assert case.label_1 is None
    assert case.label_2 is not None
    assert case.label_2.mask.sum() == 11
    assert case.others == ()


def test_a_hole_stays_unless_holes_are_to_be_filled(tmp_path: Path) -> None:
    write_images(tmp_path)
    outer, hole, island = box(2, 2, 12, 12), box(4, 4, 10, 10), box(6, 6, 8, 8)
    write_structures(tmp_path, ("gtv+", [(2, outer), (2, hole), (2, island)]))
    case, filled = read_folder(tmp_path), read_folder(tmp_path, fill_holes=True)
    assert case.label_1 is not None
    assert case.label_1.mask.sum() == 100 - 36 + 4
    assert not case.label_1.mask[2, 5, 5]
    assert case.label_1.mask[2, 6, 6]
    assert filled.label_1 is not None
    assert filled.label_1.mask.sum() == 100


def test_a_hole_with_a_channel_is_a_hole_too(tmp_path: Path) -> None:
    write_images(tmp_path)
    keyhole = [*box(2, 2, 12, 12), (1.5, 1.5), (3.5, 3.5), *box(4, 4, 10, 10)[::-1][:3], (3.5, 3.5)]
    write_structures(tmp_path, ("gtv+", [(2, keyhole)]))
    for fill_holes in (False, True):
        label = read_folder(tmp_path, fill_holes=fill_holes).label_1
        assert label is not None
        assert label.mask.sum() == 100 - 36


def test_a_contour_that_is_stored_again_and_contours_that_cross(tmp_path: Path) -> None:
    write_images(tmp_path)
    outer, hole = box(2, 2, 12, 12), box(4, 4, 10, 10)
    twice = [(1, outer), (1, hole), (1, [*outer[2:], *outer[:2]][::-1])]
    crossing = [(3, box(2, 2, 8, 8)), (3, box(6, 6, 12, 12))]
    write_structures(tmp_path, ("gtv+", twice + crossing))
    label = read_folder(tmp_path).label_1
    assert label is not None
    assert label.mask.sum(axis=(1, 2)).tolist() == [0, 100 - 36, 0, 36 + 36 - 4, 0]


def test_contours_go_to_the_nearest_slice_and_planes_do_not_cancel(tmp_path: Path) -> None:
    write_images(tmp_path)
    near = [(1.7, box(2, 5, 14, 6)), (2, box(2, 5, 14, 6)), (2.3, box(2, 6, 14, 7))]
    outside = [(-0.7, box(2, 5, 14, 6)), (4.7, box(2, 5, 14, 6)), (40, box(2, 5, 14, 6))]
    write_structures(tmp_path, ("gtv+", near + outside))
    label = read_folder(tmp_path).label_1
    assert label is not None
    assert label.mask.sum(axis=(1, 2)).tolist() == [0, 0, 24, 0, 0]


def test_points_and_lines_enclose_nothing(tmp_path: Path) -> None:
    write_images(tmp_path)
    write_structures(tmp_path, ("gtv+", [(2, [(5, 5)]), (2, [(1, 1), (9, 9)]), (2, [(1, 1)] * 3)]))
    assert read_folder(tmp_path).label_1 is None
    assert labels_of(Dataset(), read_image(tmp_path)).others == ()


def test_centres_on_an_edge_are_in_on_one_side_only() -> None:
    left = inside([np.array([(2.0, 2), (5, 2), (5, 6), (2, 6)])], (10, 10))
    right = inside([np.array([(5.0, 2), (9, 2), (9, 6), (5, 6)])], (10, 10))
    assert (left.sum(), right.sum(), (left & right).sum()) == (12, 16, 0)


def test_inside_agrees_with_matplotlib() -> None:
    """Any polygon, those that cross themselves and leave the image among them."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:25, :40]
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    for corners in [3, 4, 5, 8, 13] * 20:
        polygon = rng.uniform(-8, 45, (corners, 2))
        expected = Outline(np.vstack([polygon, polygon[:1]]), closed=True).contains_points(centres)
        assert np.array_equal(inside([polygon], (25, 40)), expected.reshape(25, 40))
