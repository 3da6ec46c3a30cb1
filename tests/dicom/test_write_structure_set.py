from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stardust_esapi.dicom.source import RoiSource
from stardust_esapi.dicom.write_images import write_image_series
from stardust_esapi.dicom.write_structure_set import write_structure_set
from stardust_esapi.errors import TransferError
from stardust_esapi.geometry import ImageGeometry

OBLIQUE = ImageGeometry(
    origin=(-100.0, -80.0, 12.5),
    x_direction=(0.8, 0.6, 0.0),
    y_direction=(-0.48, 0.64, 0.6),
    z_direction=(-0.36, 0.48, -0.8),
    spacing=(0.9, 1.1, 2.5),
    size=(6, 5, 4),
)


def points_of(contour: pydicom.Dataset) -> np.ndarray:
    return np.array(contour.ContourData, float).reshape(-1, 3)


def test_every_point_comes_back_on_its_plane(make_structure_set, tmp_path):
    source = make_structure_set()
    dataset = pydicom.dcmread(write_structure_set(source, tmp_path))
    item = dataset.ROIContourSequence[0]
    expected = [
        (source.images.sop_instance_uids[plane], polygon)
        for plane, polygons in source.rois[0].contours.items()
        for polygon in polygons
    ]
    assert len(item.ContourSequence) == len(expected) == 3
    for contour, (uid, polygon) in zip(item.ContourSequence, expected, strict=True):
        assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID == uid
        assert contour.ContourGeometricType == "CLOSED_PLANAR"
        assert contour.NumberOfContourPoints == len(polygon)
        np.testing.assert_allclose(points_of(contour), polygon, rtol=0, atol=0.0001)


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.integers(0, 3),
        st.lists(
            arrays(
                float, st.tuples(st.integers(2, 6), st.just(3)), elements=st.floats(-3000, 3000)
            ),
            min_size=1,
            max_size=3,
        ),
        min_size=1,
    )
)
def test_any_point_comes_back(make_structure_set, contours):
    source = make_structure_set(rois=[RoiSource(1, "target+", "PTV", (0, 0, 0), contours)])
    with tempfile.TemporaryDirectory() as folder:
        dataset = pydicom.dcmread(write_structure_set(source, Path(folder)))
    written = iter(dataset.ROIContourSequence[0].ContourSequence)
    for plane, polygons in sorted(contours.items()):
        for polygon in polygons:
            contour = next(written)
            uid = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
            assert uid == source.images.sop_instance_uids[plane]
            np.testing.assert_allclose(points_of(contour), polygon, rtol=0, atol=0.0001)
            assert all(len(value.original_string) <= 16 for value in contour.ContourData)
    assert next(written, None) is None


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_references_lead_to_the_images(modality, make_series, make_structure_set, tmp_path):
    series = make_series(modality, OBLIQUE)
    images = {
        dataset.SOPInstanceUID: dataset
        for dataset in map(pydicom.dcmread, write_image_series(series, tmp_path))
    }
    # Drawn in the planes of the images, as contours are.
    square = [(1, 1), (4.5, 1), (4.5, 3.25), (1, 3)]
    contours = {plane: [OBLIQUE.to_patient([(*at, plane) for at in square])] for plane in range(4)}
    rois = [RoiSource(1, "gtv+", "GTV", (255, 0, 0), contours)]
    dataset = pydicom.dcmread(write_structure_set(make_structure_set(series, rois=rois), tmp_path))

    image = next(iter(images.values()))
    frame = dataset.ReferencedFrameOfReferenceSequence[0]
    study = frame.RTReferencedStudySequence[0]
    listed = study.RTReferencedSeriesSequence[0]
    assert frame.FrameOfReferenceUID == image.FrameOfReferenceUID == dataset.FrameOfReferenceUID
    assert study.ReferencedSOPInstanceUID == image.StudyInstanceUID
    assert listed.SeriesInstanceUID == image.SeriesInstanceUID != dataset.SeriesInstanceUID
    assert [item.ReferencedSOPInstanceUID for item in listed.ContourImageSequence] == list(images)
    assert dataset.StructureSetROISequence[0].ReferencedFrameOfReferenceUID == (
        image.FrameOfReferenceUID
    )
    for contour in dataset.ROIContourSequence[0].ContourSequence:
        item = contour.ContourImageSequence[0]
        below = images[item.ReferencedSOPInstanceUID]
        assert item.ReferencedSOPClassUID == below.SOPClassUID
        cosines = np.array(below.ImageOrientationPatient, float)
        normal = np.cross(cosines[:3], cosines[3:])
        away = (points_of(contour) - np.array(below.ImagePositionPatient, float)) @ normal
        np.testing.assert_allclose(away, 0.0, atol=0.001)


def test_structures_keep_name_type_color_and_number(make_structure_set, tmp_path):
    dataset = pydicom.dcmread(write_structure_set(make_structure_set(), tmp_path))
    names = [(item.ROINumber, item.ROIName) for item in dataset.StructureSetROISequence]
    assert names == [(1, "gtv+"), (7, "Rückenmark leer")]
    types = [
        (item.ReferencedROINumber, item.RTROIInterpretedType)
        for item in dataset.RTROIObservationsSequence
    ]
    assert types == [(1, "GTV"), (7, "")]
    colors = [(c.ReferencedROINumber, list(c.ROIDisplayColor)) for c in dataset.ROIContourSequence]
    assert colors == [(1, [255, 0, 127]), (7, [0, 255, 0])]
    assert dataset.StructureSetLabel == "zCopyFromPlan_KM"
    assert (dataset.StructureSetDate, dataset.StructureSetTime) == ("20240506", "070809.000000")


def test_an_empty_structure_has_no_contours(make_structure_set, tmp_path):
    nothing = RoiSource(1, "gtv+", "GTV", (1, 2, 3), {2: [np.empty((0, 3))]})
    source = make_structure_set(rois=[nothing])
    dataset = pydicom.dcmread(write_structure_set(source, tmp_path))
    assert "ContourSequence" not in dataset.ROIContourSequence[0]


def test_a_single_point_is_no_polygon(make_structure_set, tmp_path):
    source = make_structure_set(
        rois=[RoiSource(1, "Marker", "MARKER", (1, 2, 3), {2: [np.array([[1.0, 2.0, 3.0]])]})]
    )
    dataset = pydicom.dcmread(write_structure_set(source, tmp_path))
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    assert contour.ContourGeometricType == "POINT"


def test_a_contour_beyond_64_kilobytes_stays_one_contour(make_structure_set, tmp_path):
    angle = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    circle = np.stack([250 * np.cos(angle), 250 * np.sin(angle), 0 * angle - 123.4567], axis=1)
    source = make_structure_set(rois=[RoiSource(1, "Body", "EXTERNAL", (1, 2, 3), {0: [circle]})])
    dataset = pydicom.dcmread(write_structure_set(source, tmp_path))
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    assert contour["ContourData"].VR == "DS"
    np.testing.assert_allclose(points_of(contour), circle, rtol=0, atol=0.0001)


def test_the_same_structure_set_gives_the_same_bytes(make_structure_set, tmp_path):
    one = write_structure_set(make_structure_set(), tmp_path)
    first = one.read_bytes()
    two = write_structure_set(make_structure_set(), tmp_path)
    assert one == two == tmp_path / f"RS.{make_structure_set().sop_instance_uid}.dcm"
    assert two.read_bytes() == first


def roi(number: int, name: str, interpreted_type: str, planes: dict) -> RoiSource:
    return RoiSource(number, name, interpreted_type, (0, 0, 0), planes)


SQUARE = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0]])


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"label": "x" * 17}, "StructureSetLabel"),
        ({"rois": []}, "no structures"),
        (
            {"rois": [roi(1, "a", "", {}), roi(1, "b", "", {})]},
            "same ROI",
        ),
        ({"rois": [roi(1, "x" * 65, "", {})]}, "ROIName"),
        ({"rois": [roi(1, "a\\b", "", {})]}, "ROIName"),
        ({"rois": [roi(1, "a", "gtv", {})]}, "RTROIInterpretedType"),
        (
            {"rois": [roi(1, "a", "", {4: [SQUARE]})]},
            "plane 4 of an image of 4 planes",
        ),
        ({"rois": [roi(1, "a", "", {-1: [SQUARE]})]}, "plane -1"),
        (
            {"rois": [roi(1, "a", "", {0: [SQUARE * np.nan]})]},
            "not a list of points",
        ),
        (
            {"rois": [roi(1, "a", "", {0: [SQUARE[:, :2]]})]},
            "not a list of points",
        ),
        ({"rois": [roi(1, "a", "", {0: [SQUARE * 1e6]})]}, "not a list of points"),
    ],
)
def test_what_cannot_be_written_truly_is_refused(facts, message, make_structure_set, tmp_path):
    with pytest.raises(TransferError, match=message):
        write_structure_set(make_structure_set(**facts), tmp_path)
    assert not list(tmp_path.iterdir())
