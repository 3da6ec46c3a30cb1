from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from dataset_series import FRAME, Ball, contours, grid, write_series, write_structures
from esapi_stub.sample.real import DATA
from stardust_esapi.dicom import read_structure_set
from stardust_esapi.dicom.read_structure_set import read_structures
from stardust_esapi.errors import CaseError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    geometry = grid(size=(8, 8, 12))
    series = write_series(tmp_path, geometry)
    point = np.array([[1.0, 2.0, 3.0]])
    structures = {
        "Kugel Ä": contours(Ball((12.3, -45.6, 78.9), 12.0), geometry),
        "empty": {},
        "point": {3: [point]},
    }
    return write_structures(tmp_path, series, structures)


def test_what_was_written_is_read(path: Path):
    structures = read_structures(path)
    ball, nothing, point = structures.rois
    assert [roi.name for roi in structures.rois] == ["Kugel Ä", "empty", "point"]
    assert [roi.number for roi in structures.rois] == [1, 2, 3]
    assert {roi.frame_of_reference_uid for roi in structures.rois} == {FRAME}
    assert ball.interpreted_type == "ORGAN"
    assert len(ball.contours) == 8
    for points in ball.contours:
        assert points.shape == (720, 3)
        away = np.linalg.norm(points - (12.3, -45.6, 78.9), axis=1)
        np.testing.assert_allclose(away, 12.0, atol=1e-3)
    assert nothing.contours == ()
    assert (point.contours, point.not_closed) == ((), 1)


def test_contours_of_others_are_not_parsed(path: Path, monkeypatch: pytest.MonkeyPatch):
    """They are most of a large file's time, and a picture needs two structures."""
    parsed: list[str] = []
    own = read_structure_set._roi

    def counted(item: Any, *more: Any) -> Any:
        parsed.append(str(item.ROIName))
        return own(item, *more)

    monkeypatch.setattr(read_structure_set, "_roi", counted)
    structures = read_structures(path, lambda name: name == "point")
    assert [roi.name for roi in structures.rois] == parsed == ["point"]


def test_the_real_structure_set_is_read_as_pydicom_reads_it():
    structures = read_structures(DATA / "rtss.dcm")
    ds = pydicom.dcmread(DATA / "rtss.dcm")
    by_number = {item.ReferencedROINumber: item for item in ds.ROIContourSequence}
    points = 0
    for roi in structures.rois:
        theirs = [
            np.array(contour.ContourData, dtype=float).reshape(-1, 3)
            for contour in by_number[roi.number].get("ContourSequence", [])
            if contour.ContourGeometricType == "CLOSED_PLANAR"
        ]
        theirs = [one for one in theirs if len(one) > 2]
        assert len(theirs) == len(roi.contours)
        for ours, other in zip(roi.contours, theirs, strict=True):
            np.testing.assert_array_equal(ours, other)
            points += len(ours)
    assert points > 20_000


def edit(path: Path, change) -> None:
    ds = pydicom.dcmread(path)
    change(ds)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, implicit_vr=False, little_endian=True)


def test_explicit_vr_blanks_and_open_lines(path: Path):
    def change(ds: Dataset) -> None:
        sequence = ds.ROIContourSequence[0].ContourSequence
        sequence[0].ContourGeometricType = "OPEN_PLANAR"
        sequence[1].ContourGeometricType = "CLOSEDPLANAR_XOR"
        sequence[2].ContourData = ["1 ", " 2.5", "3e0", "4", "5", "6", "-7", "+8", "9 "]
        sequence[3].ContourData = [1, 2, 3, 4, 5, 6]  # two points
        del sequence[4].ContourData

    edit(path, change)
    roi = read_structures(path).rois[0]
    assert (len(roi.contours), roi.not_closed) == (5, 3)
    assert roi.contours[1].tolist() == [[1, 2.5, 3], [4, 5, 6], [-7, 8, 9]]


def test_structures_without_contours_or_observations_are_empty(path: Path):
    def change(ds: Dataset) -> None:
        del ds.ROIContourSequence
        del ds.RTROIObservationsSequence

    edit(path, change)
    assert [roi.contours for roi in read_structures(path).rois] == [(), (), ()]


@pytest.mark.parametrize("bad", ["1\\2\\x", "1\\2", "1\\\\3", "nan\\1\\2", "1\\2\\3\\"])
def test_coordinates_that_are_no_points_are_refused(path: Path, bad: str):
    data = path.read_bytes()
    sequence = pydicom.dcmread(path).ROIContourSequence[0].ContourSequence
    text = "\\".join(str(value) for value in sequence[0].ContourData).encode()
    start = data.index(text)
    path.write_bytes(data[:start] + bad.encode().rjust(len(text)) + data[start + len(text) :])
    with pytest.raises(CaseError, match="structure set is damaged"):
        read_structures(path)


@pytest.mark.parametrize("name", ["StructureSetROISequence", "ROIContourSequence"])
def test_two_structures_of_one_number_are_refused(path: Path, name: str):
    """Else one would silently take the place, or the contours, of the other."""

    def change(ds: Dataset) -> None:
        for keyword in ("ROINumber", "ReferencedROINumber"):
            if keyword in ds[name][1]:
                setattr(ds[name][1], keyword, getattr(ds[name][0], keyword))

    edit(path, change)
    with pytest.raises(CaseError, match="the same ROI Number"):
        read_structures(path)


def test_another_object_is_refused(path: Path):
    image = next(path.parent.glob("CT*.dcm"))
    with pytest.raises(CaseError, match="StructureSetROISequence"):
        read_structures(image)
    path.write_bytes(b"no DICOM")
    with pytest.raises(CaseError) as error:
        read_structures(path)
    assert str(path) not in str(error.value)


def with_numbers(path: Path, text: str, contour: int = 0) -> None:
    """Put text into the file as the Contour Data of a contour of the first structure."""
    raw = text.encode() + b" " * (len(text) % 2)
    ds = pydicom.dcmread(path)
    tag = Tag("ContourData")
    element = RawDataElement(tag, "DS", len(raw), raw, 0, True, True)
    ds.ROIContourSequence[0].ContourSequence[contour][tag] = element
    ds.save_as(path)


@pytest.mark.parametrize(
    "text",
    [
        "1.0000000000000001\\2.5000000000000002\\3.0000000000000004\\4\\5\\6\\7\\8\\9",
        "+1.00000000E+00\\2.5e0\\300e-2\\ 4 \\5.\\6\\7\\8\\9",
    ],
)
def test_numbers_are_taken_where_their_meaning_is_certain(path: Path, text: str):
    with_numbers(path, text)
    points = read_structures(path).rois[0].contours[0]
    np.testing.assert_allclose(points, [[1, 2.5, 3], [4, 5, 6], [7, 8, 9]], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1e300\\2\\3\\4\\5\\6\\7\\8\\9", "a coordinate is no number, or no place"),
        ("1,5\\2\\3\\4\\5\\6\\7\\8\\9", "a coordinate is no number"),
        ("nan\\2\\3\\4\\5\\6\\7\\8\\9", "a coordinate is no number"),
        ("1\\2\\3\\4\\5\\6\\7\\8", "a point has not three coordinates"),
    ],
)
def test_where_it_is_not_the_structure_is_named(path: Path, text: str, why: str):
    with_numbers(path, text)
    with pytest.raises(
        CaseError, match=f"structure set is damaged: in a contour of Kugel Ä, {why}"
    ):
        read_structures(path)
    assert read_structures(path, lambda name: name != "Kugel Ä").rois


@pytest.mark.parametrize("implicit", [True, False])
def test_an_empty_contour_takes_nothing_from_the_others(path: Path, implicit: bool):
    ds = pydicom.dcmread(path)
    contour = Dataset()
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 0
    contour.ContourData = None
    ds.ROIContourSequence[0].ContourSequence.insert(2, contour)
    if not implicit:
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, implicit_vr=implicit, little_endian=True)
    roi = read_structures(path).rois[0]
    assert (len(roi.contours), roi.not_closed) == (8, 1)


def test_an_item_that_says_nothing_is_passed_over_and_contours_of_nobody_are_refused(path: Path):
    edit(path, lambda ds: ds.ROIContourSequence.append(Dataset()))
    assert [len(roi.contours) for roi in read_structures(path).rois] == [8, 0, 0]

    def nobody(ds: Dataset) -> None:
        del ds.ROIContourSequence[0].ReferencedROINumber

    edit(path, nobody)
    with pytest.raises(CaseError, match="'ReferencedROINumber'"):
        read_structures(path)


def test_contours_without_a_type_are_closed(path: Path):
    def change(ds: Dataset) -> None:
        del ds.ROIContourSequence[0].ContourSequence[0].ContourGeometricType
        ds.ROIContourSequence[0].ContourSequence[1].ContourGeometricType = ""

    edit(path, change)
    assert len(read_structures(path).rois[0].contours) == 8
