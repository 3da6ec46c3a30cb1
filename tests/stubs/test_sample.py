from __future__ import annotations

import csv
import filecmp
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from esapi_stub.sample import (
    Box,
    Empty,
    Grid,
    PatientUids,
    Phantom,
    PhantomContrast,
    PhantomMr,
    PhantomStructure,
    Point,
    Sphere,
    default_structures,
    write_phantom,
    write_real_patient,
    write_sample,
)
from esapi_stub.sample.phantom import ORIENTATIONS
from esapi_stub.sample.real import DATA

OBLIQUE = (0.96, 0.28, 0.0, -0.224, 0.768, 0.6)


def read(folder: Path) -> dict[str, Dataset]:
    return {str(d.SOPInstanceUID): d for d in map(pydicom.dcmread, sorted(folder.iterdir()))}


def series(items: dict[str, Dataset], uid: str) -> list[Dataset]:
    found = [d for d in items.values() if d.SeriesInstanceUID == uid]
    x, y = np.array(found[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    normal = np.cross(x, y)
    return sorted(found, key=lambda d: float(np.array(d.ImagePositionPatient, float) @ normal))


def value_at(images: list[Dataset], point: np.ndarray) -> float:
    """Rescaled value of the voxel that holds a point, read as any consumer of DICOM would."""
    first, second = images[0], images[1]
    x, y = np.array(first.ImageOrientationPatient, dtype=float).reshape(2, 3)
    origin = np.array(first.ImagePositionPatient, dtype=float)
    step = np.array(second.ImagePositionPatient, dtype=float) - origin
    row, column = (float(v) for v in first.PixelSpacing)
    axes = np.column_stack([x * column, y * row, step])
    i, j, k = np.linalg.solve(axes, point - origin).round().astype(int)
    slope, intercept = (
        float(first.get(f"Rescale{n}", d)) for n, d in (("Slope", 1), ("Intercept", 0))
    )
    return float(images[k].pixel_array[j, i]) * slope + intercept


def contours(structure_set: Dataset, name: str) -> list[Dataset]:
    number = next(r.ROINumber for r in structure_set.StructureSetROISequence if r.ROIName == name)
    roi = next(r for r in structure_set.ROIContourSequence if r.ReferencedROINumber == number)
    return list(roi.get("ContourSequence", []))


def points(contour: Dataset) -> np.ndarray:
    return np.array(contour.ContourData, dtype=float).reshape(-1, 3)


def to_ct(items: dict[str, Dataset], uids: PatientUids) -> np.ndarray:
    registration = items[uids.registration_uid]
    # PS3.3 C.20.2.1.1: from the item's frame of reference to that of the object.
    assert registration.FrameOfReferenceUID == uids.frame_of_reference_uid
    matrices = {
        item.FrameOfReferenceUID: item.MatrixRegistrationSequence[0].MatrixSequence[0]
        for item in registration.RegistrationSequence
    }
    assert set(matrices) == {uids.frame_of_reference_uid, uids.mr_frame_of_reference_uid}
    matrix = matrices[uids.mr_frame_of_reference_uid]
    assert matrix.FrameOfReferenceTransformationMatrixType == "RIGID"
    return np.array(matrix.FrameOfReferenceTransformationMatrix, dtype=float).reshape(4, 4)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PatientUids, dict[str, Dataset]]:
    folder = tmp_path_factory.mktemp("real")
    uids = write_real_patient(folder)
    return folder, uids, read(folder)


class TestRealPatient:
    def test_the_structure_set_finds_all_its_98_images(self, real) -> None:
        _, uids, items = real
        structure_set = items[uids.structure_set_uid]
        referenced = structure_set.ReferencedFrameOfReferenceSequence[0]
        referenced = referenced.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
        wanted = {r.ReferencedSOPInstanceUID for r in referenced.ContourImageSequence}
        images = series(items, uids.series_uid)
        assert len(wanted) == 98
        assert {d.SOPInstanceUID for d in images} == wanted
        assert [d.SOPInstanceUID for d in images] == list(uids.sop_instance_uids)
        assert {d.FrameOfReferenceUID for d in images} == {uids.frame_of_reference_uid}
        assert {d.StudyInstanceUID for d in images} == {uids.study_uid}

    def test_every_contour_lies_on_the_image_it_names(self, real) -> None:
        _, uids, items = real
        structure_set = items[uids.structure_set_uid]
        checked = 0
        for roi in structure_set.ROIContourSequence:
            for contour in roi.get("ContourSequence", []):
                image = items[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
                height = float(image.ImagePositionPatient[2])
                assert np.abs(points(contour)[:, 2] - height).max() < 0.001
                checked += 1
        assert checked == 441

    def test_the_given_files_are_written_as_they_are(self, real) -> None:
        folder, _, _ = real
        written = [p for p in folder.iterdir() if p.stat().st_size > 0]
        for name in ("ct.0.dcm", "rtss.dcm", "rtplan.dcm"):
            assert any(filecmp.cmp(DATA / name, path, shallow=False) for path in written), name

    def test_the_made_images_follow_the_real_one(self, real) -> None:
        _, uids, items = real
        images = series(items, uids.series_uid)
        top = images[-1]
        assert top.ImagePositionPatient[2] == pytest.approx(168.5593, abs=1e-9)
        heights = [float(d.ImagePositionPatient[2]) for d in images]
        np.testing.assert_allclose(np.diff(heights), 3.0, atol=1e-6)
        same = ["Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "PatientPosition"]
        same += ["RescaleSlope", "RescaleIntercept", "PixelRepresentation", "PatientID"]
        for image in images:
            assert [image[k].value for k in same] == [top[k].value for k in same]
            assert image.file_meta.TransferSyntaxUID == top.file_meta.TransferSyntaxUID
        assert [int(d.InstanceNumber) for d in images] == list(range(98, 0, -1))

    def test_files_do_not_come_in_the_order_of_space(self, real) -> None:
        folder, uids, _ = real
        heights = [
            float(d.ImagePositionPatient[2])
            for d in map(pydicom.dcmread, sorted(folder.iterdir()))
            if d.SeriesInstanceUID == uids.series_uid
        ]
        assert heights != sorted(heights)
        assert heights != sorted(heights, reverse=True)

    def test_tissue_lies_where_the_contours_say(self, real) -> None:
        _, uids, items = real
        images = series(items, uids.series_uid)
        structure_set = items[uids.structure_set_uid]
        bed = np.concatenate([points(c) for c in contours(structure_set, "Tumor Bed")])
        heart = np.concatenate([points(c) for c in contours(structure_set, "Heart")])
        assert value_at(images, bed.mean(axis=0)) == pytest.approx(65, abs=8)
        assert value_at(images, heart.mean(axis=0)) == pytest.approx(45, abs=8)
        assert value_at(images, np.array([-270.0, -520.0, 0.0])) < -990

    def test_voxels_and_polygons_agree_on_the_area(self, real) -> None:
        _, uids, items = real
        for contour in contours(items[uids.structure_set_uid], "Tumor Bed"):
            image = items[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            x, y, _ = points(contour).T
            area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
            voxels = (image.pixel_array >= 65 - 8).sum() * 1.074219**2
            # Heart reaches 53 HU at most, so these voxels are tumour bed.
            assert voxels == pytest.approx(area, rel=0.1, abs=12)

    def test_contrast_ct_shares_the_frame_and_covers_the_breast(self, real) -> None:
        _, uids, items = real
        images = series(items, uids.km_series_uid)
        structure_set = items[uids.structure_set_uid]
        breast = np.concatenate([points(c) for c in contours(structure_set, "Breast")])
        bed = np.concatenate([points(c) for c in contours(structure_set, "Tumor Bed")])
        heights = [float(d.ImagePositionPatient[2]) for d in images]
        assert len(images) == 60
        assert heights[0] < breast[:, 2].min() - 3
        assert heights[-1] > breast[:, 2].max() + 3
        planning = [float(d.ImagePositionPatient[2]) for d in series(items, uids.series_uid)]
        assert min(abs(a - b) for a in heights for b in planning) == pytest.approx(1.0, abs=1e-6)
        assert {d.FrameOfReferenceUID for d in images} == {uids.frame_of_reference_uid}
        assert {d.StudyInstanceUID for d in images} == {uids.study_uid}
        assert value_at(images, bed.mean(axis=0)) == pytest.approx(130, abs=8)

    def test_registration_maps_the_mr_onto_the_ct(self, real) -> None:
        _, uids, items = real
        images = series(items, uids.mr_series_uid)
        matrix = to_ct(items, uids)
        structure_set = items[uids.structure_set_uid]
        bed = np.concatenate([points(c) for c in contours(structure_set, "Tumor Bed")]).mean(axis=0)
        in_mr = np.linalg.solve(matrix, [*bed, 1.0])[:3]
        assert len(images) == 40
        assert uids.frame_of_reference_uid not in {d.FrameOfReferenceUID for d in images}
        bright = value_at(images, in_mr)
        assert bright > 800
        outside = np.linalg.solve(matrix, [bed[0], bed[1] - 60, bed[2], 1.0])[:3]
        assert value_at(images, outside) < 10

    def test_writes_the_same_bytes_again(self, real, tmp_path: Path) -> None:
        folder, uids, _ = real
        assert write_real_patient(tmp_path) == uids
        names = sorted(p.name for p in folder.iterdir())
        assert sorted(p.name for p in tmp_path.iterdir()) == names
        _, mismatch, errors = filecmp.cmpfiles(folder, tmp_path, names, shallow=False)
        assert (mismatch, errors) == ([], [])

    def test_contrast_and_mr_can_be_left_out(self, tmp_path: Path) -> None:
        uids = write_real_patient(tmp_path, contrast=False, mr=False)
        assert len(list(tmp_path.iterdir())) == 98 + 2
        assert (uids.km_series_uid, uids.mr_series_uid, uids.registration_uid) == ("", "", "")


class TestPhantom:
    @pytest.mark.parametrize("position", ORIENTATIONS)
    @pytest.mark.parametrize("reversed_on_disk", [False, True])
    def test_image_and_contours_agree(
        self, tmp_path: Path, position: str, reversed_on_disk: bool
    ) -> None:
        phantom = Phantom(
            "A/17",
            patient_position=position,
            reversed_on_disk=reversed_on_disk,
            spacing=(2.0, 3.5, 2.5),
            size=(64, 40, 24),
        )
        self.agree(tmp_path, phantom)

    def test_image_and_contours_agree_when_oblique(self, tmp_path: Path) -> None:
        phantom = Phantom("OB", image_orientation=OBLIQUE, spacing=(2.0, 3.0, 2.5))
        self.agree(tmp_path, phantom)

    def agree(self, folder: Path, phantom: Phantom) -> None:
        uids = write_phantom(folder, phantom)
        items = read(folder)
        images = series(items, uids.series_uid)
        assert [d.SOPInstanceUID for d in images] == list(uids.sop_instance_uids)
        for plane, image in enumerate(images):
            np.testing.assert_allclose(
                np.array(image.ImagePositionPatient, float), phantom.grid.position(plane), atol=1e-6
            )
        numbers = [int(d.InstanceNumber) for d in images]
        assert numbers == sorted(numbers, reverse=phantom.reversed_on_disk)
        structure_set = items[uids.structure_set_uid]
        centre = np.array(next(s.shape.centre for s in phantom.structures if s.id == "GTV1"))
        drawn = contours(structure_set, "GTV1")
        assert len(drawn) >= 5
        for contour in drawn:
            image = items[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            x, y = np.array(image.ImageOrientationPatient, dtype=float).reshape(2, 3)
            offset = points(contour) - np.array(image.ImagePositionPatient, dtype=float)
            assert np.abs(offset @ np.cross(x, y)).max() < 1e-5
            assert np.linalg.norm(points(contour) - centre, axis=1) == pytest.approx(9, abs=1e-5)
        assert value_at(images, centre) == pytest.approx(75, abs=8)
        assert value_at(images, np.array([32.0, -8.0, -4.0])) == pytest.approx(-750, abs=8)
        assert value_at(images, centre + np.array([0, 18, 0])) == pytest.approx(40, abs=8)

    def test_another_reader_sees_the_tumour_where_it_is(self, tmp_path: Path) -> None:
        phantom = Phantom("S", image_orientation=OBLIQUE, spacing=(2.0, 3.0, 2.5))
        uids = write_phantom(tmp_path, phantom)
        names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path), uids.series_uid)
        image = SimpleITK.ReadImage(names)
        assert image.GetSize() == phantom.size
        assert image.GetSpacing() == pytest.approx(phantom.spacing, abs=1e-5)
        assert image.GetOrigin() == pytest.approx(phantom.grid.origin, abs=1e-5)
        lung = image.TransformPhysicalPointToIndex((32.0, -8.0, -4.0))
        assert image[lung] == pytest.approx(-750, abs=8)

    def test_structures(self, tmp_path: Path) -> None:
        shell = PhantomStructure("Shell", "ORGAN", Sphere((0, 0, 0), 20, hole=10), (1, 2, 3))
        phantom = Phantom("1", structures=(*default_structures(), shell), approved=True)
        uids = write_phantom(tmp_path, phantom)
        structure_set = read(tmp_path)[uids.structure_set_uid]
        types = {
            roi.ROIName: observation.RTROIInterpretedType
            for roi, observation in zip(
                structure_set.StructureSetROISequence,
                structure_set.RTROIObservationsSequence,
                strict=True,
            )
        }
        assert types == {s.id: s.dicom_type for s in phantom.structures}
        assert "ContourSequence" not in structure_set.ROIContourSequence[6]
        assert contours(structure_set, "Cavity") == []
        (marker,) = contours(structure_set, "Marker")
        assert marker.ContourGeometricType == "POINT"
        assert list(marker.ContourData) == [-20, 10, 3]
        body = contours(structure_set, "BODY")
        assert len(body) == 20
        for contour in body:
            corners = {tuple(np.abs(p[:2])) for p in points(contour)}
            assert (len(points(contour)), corners) == (4, {(60.0, 50.0)})
        # The hollow shows where a plane passes it: two polygons, outer and inner.
        per_image: dict[str, int] = {}
        for contour in contours(structure_set, "Shell"):
            uid = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
            per_image[uid] = per_image.get(uid, 0) + 1
        assert set(per_image.values()) == {1, 2}
        assert list(structure_set.ROIContourSequence[-1].ROIDisplayColor) == [1, 2, 3]
        assert structure_set.ApprovalStatus == "APPROVED"

    @pytest.mark.parametrize(
        ("slope", "intercept", "signed"), [(1.0, -1024.0, 0), (0.5, -1024.0, 0), (1.0, 0.0, 1)]
    )
    def test_rescale(self, tmp_path: Path, slope: float, intercept: float, signed: int) -> None:
        phantom = Phantom("1", rescale_slope=slope, rescale_intercept=intercept)
        uids = write_phantom(tmp_path, phantom)
        images = series(read(tmp_path), uids.series_uid)
        assert {d.PixelRepresentation for d in images} == {signed}
        assert (float(images[0].RescaleSlope), float(images[0].RescaleIntercept)) == (
            slope,
            intercept,
        )
        assert value_at(images, np.array([32.0, -8.0, -4.0])) == pytest.approx(-750, abs=9)

    def test_contrast_ct(self, tmp_path: Path) -> None:
        phantom = Phantom("1", contrast=PhantomContrast(slices=12, offset=7.0))
        uids = write_phantom(tmp_path, phantom)
        images = series(read(tmp_path), uids.km_series_uid)
        assert len(images) == 12
        assert images[0].ImagePositionPatient[2] == pytest.approx(-28.5 + 7)
        assert images[0].FrameOfReferenceUID == uids.frame_of_reference_uid
        assert value_at(images, np.array([-20.0, 10.0, 3.0])) == pytest.approx(135, abs=8)

    def test_contrast_ct_in_another_frame(self, tmp_path: Path) -> None:
        contrast = PhantomContrast(own_frame_of_reference=True)
        uids = write_phantom(tmp_path, Phantom("1", contrast=contrast))
        images = series(read(tmp_path), uids.km_series_uid)
        assert {d.FrameOfReferenceUID for d in images} == {uids.km_frame_of_reference_uid}
        assert uids.km_frame_of_reference_uid != uids.frame_of_reference_uid

    @pytest.mark.parametrize("position", ORIENTATIONS)
    def test_registration_maps_the_mr_onto_the_ct(self, tmp_path: Path, position: str) -> None:
        uids = write_phantom(tmp_path, Phantom("1", patient_position=position, mr=PhantomMr()))
        items = read(tmp_path)
        images = series(items, uids.mr_series_uid)
        matrix = to_ct(items, uids)
        tumour = np.linalg.solve(matrix, [-20.0, 10.0, 3.0, 1.0])[:3]
        assert value_at(images, tumour) > 800
        centroid = self.bright_centroid(images)
        np.testing.assert_allclose((matrix @ [*centroid, 1.0])[:3], [-20, 10, 3], atol=1.0)

    @staticmethod
    def bright_centroid(images: list[Dataset]) -> np.ndarray:
        found = []
        for image in images:
            rows, columns = np.nonzero(image.pixel_array > 700)
            row, column = (float(v) for v in image.PixelSpacing)
            at = np.stack([columns * column, rows * row, np.zeros(len(rows))], axis=-1)
            found.append(at + np.array(image.ImagePositionPatient, dtype=float))
        return np.concatenate(found).mean(axis=0)

    def test_mr_without_registration(self, tmp_path: Path) -> None:
        uids = write_phantom(tmp_path, Phantom("1", mr=PhantomMr(registered=False)))
        assert uids.registration_uid == ""
        assert "REG" not in {d.Modality for d in read(tmp_path).values()}

    def test_two_patients_of_one_id_share_a_folder_and_no_uid(self, tmp_path: Path) -> None:
        one = write_phantom(tmp_path, Phantom("1"))
        files = len(list(tmp_path.iterdir()))
        two = write_phantom(tmp_path, Phantom("1", seed="other"))
        assert len(list(tmp_path.iterdir())) == 2 * files
        assert not set(one.sop_instance_uids) & set(two.sop_instance_uids)

    def test_text_of_any_alphabet_survives(self, tmp_path: Path) -> None:
        uids = write_phantom(tmp_path, Phantom("Prüfkörper/Ł 1", patient_name="Phantom^Ünlü"))
        plan = read(tmp_path)[uids.plan_uid]
        assert (plan.PatientID, plan.PatientName) == ("Prüfkörper/Ł 1", "Phantom^Ünlü")
        reference = plan.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID
        assert reference == uids.structure_set_uid


angle = st.floats(-180, 180)


@settings(max_examples=40, deadline=None)
@given(a=angle, b=angle, c=angle, height=st.floats(-12, 12))
def test_sections_lie_on_plane_and_surface(a: float, b: float, c: float, height: float) -> None:
    axes = SimpleITK.Euler3DTransform((0, 0, 0), *np.radians([a, b, c])).GetMatrix()
    orientation = tuple(np.array(axes).reshape(3, 3)[:2].ravel())
    normal = np.cross(orientation[:3], orientation[3:])
    grid = Grid(tuple(height * normal), orientation, (1, 1, 1), (10, 10, 1))
    box, ball = Box((1, -2, 3), (20, 25, 30)), Sphere((1, -2, 3), 30, hole=20)
    (polygon,) = box.contours(grid, 0)
    relative = np.abs(polygon - box.centre) / box.half
    assert 3 <= len(polygon) <= 6
    np.testing.assert_allclose((polygon - grid.origin) @ normal, 0, atol=1e-9)
    assert (relative <= 1 + 1e-9).all()
    assert ((np.abs(relative - 1) < 1e-9).sum(axis=1) >= 2).all()
    for circle, radius in zip(ball.contours(grid, 0), (30, 20), strict=True):
        np.testing.assert_allclose((circle - grid.origin) @ normal, 0, atol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(circle - ball.centre, axis=1), radius)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[str]]]:
    path = write_sample(tmp_path_factory.mktemp("sample"))
    text = path.read_bytes().decode("utf-8")
    return path, list(csv.reader(text.splitlines(), delimiter=";"))


class TestCohort:
    def test_the_list_has_the_form_that_the_case_selector_writes(self, cohort) -> None:
        _, (header, *rows) = cohort
        assert len(header) == 27 + 4
        assert header[26:] == ["OtherGTV", "Comment", "AcceptedDate", "casekind", "RefinementDate"]
        assert [len(row) for row in rows] == [31, 32] + [31] * 10
        assert [row[0] for row in rows[:4]] == ["123456", "0004711", "Prüfkörper 12", "A/17.b"]
        assert [row[27].lower() for row in rows].count("abgelehnt") == 1
        assert rows[-1][0] == "1.23456E+05"
        exchanged, at = rows[-3], header.index
        for one, other in (("GTV", "TargetID"), ("GTV-Volume", "TargetVolume")):
            assert exchanged[at(one)] == rows[0][at(other)]
            assert exchanged[at(other)] == rows[0][at(one)]

    def test_the_rows_lead_to_what_lies_on_disk(self, cohort) -> None:
        path, (header, *rows) = cohort
        at = {name: header.index(name) for name in header}
        folders = sorted((path.parent / "dicom").iterdir())
        assert len(folders) == 9
        for folder, row in zip(folders, rows, strict=False):
            items = list(read(folder).values())
            found = {d.SeriesInstanceUID for d in items} | {d.SOPInstanceUID for d in items}
            (patient_id,) = {d.PatientID for d in items}
            assert patient_id == {"815": "0000815"}.get(row[0], row[0])
            assert row[at["PNG_Path"]].rpartition("\\")[2].startswith(patient_id.replace("/", "_"))
            for name in ("SeriesUID", "KM_Series_UID", "MR_Series_UID", "MRregUID"):
                assert not row[at[name]] or row[at[name]] in found
            (structure_set,) = [d for d in items if d.Modality == "RTSTRUCT"]
            names = {roi.ROIName for roi in structure_set.StructureSetROISequence}
            assert {row[at["GTV"]], row[at["TargetID"]]} <= names
            assert structure_set.StructureSetLabel == row[at["StructureSetID"]]
            (plan,) = [d for d in items if d.Modality == "RTPLAN"]
            expected = {"PH-PLAN": "Plan9", "Prüfkörper 12": ""}.get(row[0], plan.RTPlanLabel)
            assert row[at["PlanID"]] == expected

    def test_no_tumour_is_the_brightest_of_an_mr(self, cohort) -> None:
        """The window of training files ends where the brightest 0.5 % begin."""
        path, (header, *rows) = cohort
        mrs = [row[header.index("MR_Series_UID")] for row in rows[:9]]
        assert len([uid for uid in mrs if uid]) == 3
        for folder, uid in zip(sorted((path.parent / "dicom").iterdir()), mrs, strict=True):
            if uid:
                signal = np.stack([image.pixel_array for image in series(read(folder), uid)])
                assert np.percentile(signal[signal > 0], 99.5) > 850 + 30

    def test_the_faults_are_there(self, cohort) -> None:
        path, (header, *rows) = cohort
        faults = {}
        for folder, row in zip(sorted((path.parent / "dicom").iterdir()), rows, strict=False):
            items = read(folder)
            (structure_set,) = [d for d in items.values() if d.Modality == "RTSTRUCT"]
            ct = series(items, row[header.index("SeriesUID")])
            target = contours(structure_set, row[header.index("TargetID")])
            heights = [points(c)[0, 2] for c in target]
            km_uid = row[header.index("KM_Series_UID")]
            km = series(items, km_uid) if km_uid else ct
            top = float(km[-1].ImagePositionPatient[2]) + 1.5
            faults[row[0]] = (
                contours(structure_set, row[header.index("GTV")]) == [],
                km[0].FrameOfReferenceUID != ct[0].FrameOfReferenceUID,
                max(heights) > top and min(heights) < top,
            )
        assert faults == {
            "123456": (False, False, False),
            "0004711": (False, False, False),
            "Prüfkörper 12": (False, False, False),
            "A/17.b": (False, False, False),
            "PH-LEER": (True, False, False),
            "PH-FOR": (False, True, False),
            "PH-PLAN": (False, False, False),
            "PH-RAND": (False, False, True),
            "815": (False, False, False),
        }


def test_a_shape_that_is_empty_contains_nothing() -> None:
    grid = Phantom("1").grid
    assert not Empty().contains(grid.points(0)).any()
    assert Point((0, 0, 100)).contours(grid, 0) == []
    assert replace(Phantom("1"), origin=(1, 2, 3)).grid.origin == (1, 2, 3)
