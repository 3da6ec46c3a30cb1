from __future__ import annotations

import tempfile
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stardust_esapi.dicom.source import PatientIdentity, StudyFacts
from stardust_esapi.dicom.write_images import pixel_encoding, write_image_series
from stardust_esapi.errors import TransferError
from stardust_esapi.geometry import ImageGeometry

# Axes (x, y, z) of a grid for patient positions, as a scanner or Eclipse lays them.
GRIDS = {
    "HFS": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "HFP": ((-1, 0, 0), (0, -1, 0), (0, 0, 1)),
    "HFDR": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
    "FFS": ((-1, 0, 0), (0, 1, 0), (0, 0, -1)),
    "FFP": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1), (-1, 0, 0)),
    "reversed": ((1, 0, 0), (0, 1, 0), (0, 0, -1)),
    "reversed prone": ((-1, 0, 0), (0, -1, 0), (0, 0, -1)),
}


AXIAL = ImageGeometry((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (7, 5, 4))


def rotation(quaternion: tuple[float, float, float, float]) -> np.ndarray:
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


@st.composite
def geometries(draw: st.DrawFn) -> ImageGeometry:
    part = st.floats(-1, 1)
    axes = rotation(
        draw(st.tuples(part, part, part, part).filter(lambda q: np.hypot(*q[:2]) > 0.1))
    )
    axes[:, 2] *= draw(st.sampled_from((1, -1)))
    place, step = st.floats(-1500, 1500), st.floats(0.3, 6)
    return ImageGeometry(
        draw(st.tuples(place, place, place)),
        *(tuple(axis) for axis in axes.T.tolist()),
        spacing=draw(st.tuples(step, step, step)),
        size=draw(st.tuples(st.integers(2, 4), st.integers(2, 4), st.integers(2, 4))),
    )


def values(geometry: ImageGeometry, low: int = -1024, high: int = 3071) -> np.ndarray:
    """Voxels (planes, rows, columns), all different where the range allows it."""
    shape = geometry.size[::-1]
    return np.linspace(low, high, np.prod(shape)).astype(np.int32).reshape(shape)


def corners(geometry: ImageGeometry) -> np.ndarray:
    nx, ny, nz = (n - 1 for n in geometry.size)
    return np.array([(x, y, z) for x in (0, nx) for y in (0, ny) for z in (0, nz)])


def check_with_pydicom(paths: list[Path], geometry: ImageGeometry, display: np.ndarray) -> None:
    """Every voxel value and place, from the attributes of PS3.3 C.7.6.2.1.1 alone."""
    for plane, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        slope = float(dataset.get("RescaleSlope", 1))
        intercept = float(dataset.get("RescaleIntercept", 0))
        np.testing.assert_allclose(
            dataset.pixel_array * slope + intercept, display[plane], rtol=0, atol=0.01
        )
        assert dataset.InstanceNumber == plane + 1
        row_step = np.array(dataset.ImageOrientationPatient[:3], float) * dataset.PixelSpacing[1]
        column_step = np.array(dataset.ImageOrientationPatient[3:], float) * dataset.PixelSpacing[0]
        for column, row in ((0, 0), (geometry.size[0] - 1, 0), (0, geometry.size[1] - 1)):
            place = np.array(dataset.ImagePositionPatient, float)
            place = place + column * row_step + row * column_step
            expected = geometry.to_patient((column, row, plane))
            np.testing.assert_allclose(place, expected, rtol=0, atol=1e-6)


def check_with_simpleitk(folder: Path, geometry: ImageGeometry, display: np.ndarray) -> None:
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = sitk.ReadImage(names)
    # SimpleITK orders planes along the normal of rows and columns, whatever ESAPI's order was.
    normal = np.cross(geometry.x_direction, geometry.y_direction)
    if np.dot(normal, geometry.z_direction) < 0:
        last = geometry.size[2] - 1
        geometry = replace(
            geometry,
            origin=geometry.plane_position(last),
            z_direction=tuple(-np.array(geometry.z_direction)),
        )
        display = display[::-1]
    assert image.GetSize() == geometry.size
    np.testing.assert_allclose(image.GetOrigin(), geometry.origin, rtol=0, atol=1e-6)
    np.testing.assert_allclose(image.GetSpacing(), geometry.spacing, rtol=0, atol=1e-6)
    axes = np.array([geometry.x_direction, geometry.y_direction, geometry.z_direction]).T
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3)), axes, rtol=0, atol=1e-6)
    for index in corners(geometry).tolist():
        place = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(place, geometry.to_patient(index), rtol=0, atol=1e-4)
    np.testing.assert_allclose(sitk.GetArrayFromImage(image), display, rtol=0, atol=0.01)


@pytest.mark.parametrize("position", GRIDS)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_every_voxel_and_place_comes_back(position, modality, make_series, tmp_path):
    x, y, z = (tuple(map(float, axis)) for axis in GRIDS[position])
    geometry = ImageGeometry((-250.5, -300.25, 77.125), x, y, z, (0.8, 1.25, 2.5), (6, 4, 5))
    series = make_series(modality, geometry, values(geometry))
    display = values(geometry) + series.rescale_intercept
    paths = write_image_series(series, tmp_path)
    check_with_pydicom(paths, geometry, display)
    check_with_simpleitk(tmp_path, geometry, display)


@settings(max_examples=30, deadline=None)
@given(
    geometries(),
    st.sampled_from(("CT", "MR")),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 65535),
    st.sampled_from((1.0, 0.5, 1 / 3, 0.00012207)),
)
def test_any_geometry_and_range_comes_back(make_series, geometry, modality, low, width, slope):
    # SimpleITK reads signed values with an intercept of every amount but this one.
    assume((slope, low) != (1.0, -32768))
    voxels = values(geometry, low, min(low + width, 2**31 - 1))
    series = make_series(
        modality, geometry, voxels, rescale_slope=slope, rescale_intercept=-slope * low
    )
    # Where the intercept balances the offset, display values stay small: no digits are at stake.
    display = (voxels - float(low)) * slope
    with tempfile.TemporaryDirectory() as folder:
        paths = write_image_series(series, Path(folder))
        check_with_pydicom(paths, geometry, display)
        check_with_simpleitk(Path(folder), geometry, display)


def test_a_single_plane_is_a_series(make_series, tmp_path):
    geometry = replace(make_series().geometry, size=(3, 2, 1))
    paths = write_image_series(make_series(geometry=geometry, voxels=values(geometry)), tmp_path)
    check_with_pydicom(paths, geometry, values(geometry) - 1024.0)


@pytest.mark.parametrize(
    ("low", "high", "signed", "offset"),
    [
        (-32768, 32767, 1, 0),
        (0, 4095, 1, 0),
        (0, 32768, 0, 0),
        (0, 65535, 0, 0),
        (-1, 32768, 0, -1),
        (-40000, 25535, 0, -40000),
        (70000, 80000, 0, 70000),
        (-(2**31), -(2**31) + 65535, 0, -(2**31)),
    ],
)
def test_sixteen_bits_hold_the_range_without_loss(low, high, signed, offset, make_series, tmp_path):
    voxels = np.full((4, 5, 7), low, np.int32)
    voxels[2, 1, 1] = high  # one plane differs: the encoding is the series', not the plane's
    paths = write_image_series(make_series(voxels=voxels, rescale_slope=2.0), tmp_path)
    for plane, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        assert dataset.PixelRepresentation == signed
        assert dataset.RescaleIntercept == -1024 + 2 * offset
        assert (dataset.pixel_array.astype(np.int64) + offset == voxels[plane]).all()


def test_a_range_beyond_sixteen_bits_is_refused_and_nothing_written(make_series, tmp_path):
    voxels = np.zeros((4, 5, 7), np.int32)
    voxels[3, 0, 0], voxels[0, 0, 0] = 65535, -1
    with pytest.raises(TransferError, match=r"Patient 007 .* from -1 to 65535, which 16 bits"):
        write_image_series(make_series(voxels=voxels), tmp_path)
    assert not list(tmp_path.iterdir())


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 65535))
def test_the_encoding_holds_both_ends(low, width):
    high = low + width
    encoding = pixel_encoding(low, high)
    info = np.iinfo(encoding.dtype)
    assert info.min <= low - encoding.offset <= high - encoding.offset <= info.max


def test_mr_has_a_rescale_only_where_it_is_needed(make_series, tmp_path):
    plain = pydicom.dcmread(write_image_series(make_series("MR"), tmp_path)[0])
    assert "RescaleSlope" not in plain
    assert plain.SpacingBetweenSlices == 3
    scaled = make_series("MR", rescale_slope=0.25, rescale_intercept=-3.0)
    dataset = pydicom.dcmread(write_image_series(scaled, tmp_path)[0])
    assert (dataset.RescaleSlope, dataset.RescaleIntercept) == (0.25, -3.0)


def test_planes_are_held_one_at_a_time_and_progress_is_told(make_series, tmp_path):
    geometry = replace(make_series().geometry, size=(8, 8, 12))
    alive: list[weakref.ref] = []

    def read(plane: int) -> np.ndarray:
        assert sum(ref() is not None for ref in alive) <= 1
        voxels = np.full((8, 8), plane, np.int32)
        alive.append(weakref.ref(voxels))
        return voxels

    told: list[int] = []
    write_image_series(make_series(geometry=geometry, read_plane=read), tmp_path, told.append)
    assert told == list(range(1, 13))
    assert len(alive) == 24


def test_files_are_named_by_modality_and_instance(make_series, tmp_path):
    for modality in ("CT", "MR"):
        series = make_series(modality)
        paths = write_image_series(series, tmp_path)
        assert [path.name for path in paths] == [
            f"{modality}.{uid}.dcm" for uid in series.sop_instance_uids
        ]
        assert [pydicom.dcmread(p).SOPInstanceUID for p in paths] == list(series.sop_instance_uids)


def test_the_same_series_gives_the_same_bytes(make_series, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    one = write_image_series(make_series(), tmp_path / "one")
    two = write_image_series(make_series(), tmp_path / "two")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_umlauts_come_back(make_series, tmp_path):
    dataset = pydicom.dcmread(write_image_series(make_series(), tmp_path)[0])
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    assert dataset.PatientName == "Müller-Öz^Jörg^Ångström"
    assert dataset.PatientName.given_name == "Jörg"
    assert dataset.PatientID == "007 Ä-ß"
    assert dataset.StudyID == "Planung Ü"
    assert dataset.PatientBirthDate == "19500203"
    assert (dataset.StudyDate, dataset.StudyTime) == ("20240102", "030405.678000")


def test_unknown_facts_stay_empty(make_series, tmp_path):
    series = make_series(
        patient=PatientIdentity("1"),
        study=StudyFacts("1.2.3"),
        patient_position="",
        window=None,
        series_number=None,
        series_description="",
        created=None,
    )
    dataset = pydicom.dcmread(write_image_series(series, tmp_path)[0])
    assert dataset.PatientName == ""
    for keyword in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "PatientPosition"):
        assert dataset[keyword].is_empty
    for keyword in ("WindowCenter", "SeriesDescription", "ContentDate", "ContrastBolusAgent"):
        assert keyword not in dataset


def test_describing_texts_are_made_to_fit(make_series, tmp_path):
    patient = PatientIdentity("1", "Ho^henz\\ollern" * 6, "A=B")
    series = make_series(
        patient=patient, series_description="a\\b\tc " + "x" * 80, contrast_agent="Ultravist"
    )
    dataset = pydicom.dcmread(write_image_series(series, tmp_path)[0])
    assert dataset.SeriesDescription == "a b c " + "x" * 58
    assert dataset.ContrastBolusAgent == "Ultravist"
    assert (
        dataset.PatientName == "Ho henz ollern" * 4 + "Ho henz"
    )  # 64 at most, no blank at the end


def test_a_name_never_shows_in_the_repr(make_series):
    assert "007 Ä-ß" in repr(make_series())
    for secret in ("Müller", "Jörg", "Ångström", "1950"):
        assert secret not in repr(make_series())


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"modality": "PT"}, "neither CT nor MR"),
        ({"sop_instance_uids": ["1.2", "1.3"]}, "2 SOP Instance UIDs for 4 planes"),
        ({"sop_instance_uids": ["1.2", "1.3", "1.4", "1.2"]}, "the same SOP Instance UID"),
        ({"sop_instance_uids": ["1.2", "1.3", "1.4", "../5"]}, "SOPInstanceUID"),
        ({"frame_of_reference_uid": ""}, "FrameOfReferenceUID"),
        ({"series_uid": "1." + "2" * 63}, "SeriesInstanceUID"),
        ({"patient_position": "head first"}, "PatientPosition"),
        ({"image_type": ("ORIGINAL", "PRIMARY")}, "at least three values"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "Axial")}, "ImageType"),
        ({"rescale_slope": 0.0}, "rescale is missing or zero"),
        ({"rescale_slope": float("nan")}, "number of the geometry or the rescale"),
        (
            {"geometry": replace(AXIAL, origin=(0.0, 0.0, float("nan")))},
            "number of the geometry or the rescale",
        ),
        ({"geometry": replace(AXIAL, spacing=(1.0, 0.0, 1.0))}, "missing or zero"),
        ({"geometry": replace(AXIAL, y_direction=(0.1, 0.99, 0.0))}, "right angles"),
        ({"geometry": replace(AXIAL, size=(7, 5, 0)), "sop_instance_uids": []}, "no voxels"),
        ({"patient": PatientIdentity("1\\2")}, "PatientID"),
        ({"patient": PatientIdentity("x" * 65)}, "PatientID"),
        ({"patient": PatientIdentity("1", "Secret", sex="Male")}, "sex"),
        ({"study": StudyFacts("1.2", "x" * 17)}, "StudyID"),
    ],
)
def test_what_cannot_be_written_truly_is_refused(facts, message, make_series, tmp_path):
    with pytest.raises(TransferError, match=message) as refusal:
        write_image_series(make_series(**facts), tmp_path)
    assert str(refusal.value).startswith("Patient ")
    assert "Secret" not in str(refusal.value)


def test_a_plane_of_the_wrong_shape_is_refused(make_series, tmp_path):
    planes = [np.zeros((5, 7), np.int32)] * 2 + [np.zeros((7, 5), np.int32)] * 2
    with pytest.raises(TransferError, match=r"plane 2 came as an array of \(7, 5\), not of 5 rows"):
        write_image_series(make_series(read_plane=planes.__getitem__), tmp_path)


def test_a_plane_that_changes_meanwhile_is_refused(make_series, tmp_path):
    reads = iter([100] * 4 + [100, 70000])
    with pytest.raises(TransferError, match="plane 1 changed"):
        write_image_series(
            make_series(read_plane=lambda _: np.full((5, 7), next(reads), np.int32)), tmp_path
        )


def test_a_folder_that_is_not_there_is_an_expected_failure(make_series, tmp_path):
    with pytest.raises(TransferError, match="cannot write"):
        write_image_series(make_series(), tmp_path / "absent")


def test_a_uid_that_breaks_the_rules_stays_the_identity(make_series, tmp_path):
    series = make_series(series_uid="1.2.003.4")
    with pytest.warns(UserWarning, match="Invalid value for VR UI"):
        path = write_image_series(series, tmp_path)[0]
    assert b"1.2.003.4" in path.read_bytes()
