"""What the ESAPI engine exports, read back by pydicom and SimpleITK and held against its source.

Nothing here trusts the product's or the stub's geometry: positions, values and references are
taken from the attributes of the files alone (PS3.3 C.7.6.2.1.1, C.8.8.5, C.8.8.6, C.20.2).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from skimage.draw import polygon2mask

from consumer.reader import points_of
from esapi_stub.build import build
from esapi_stub.database import configure, describe
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
    write_phantom,
)
from esapi_stub.sample.dicom import registration, rigid, save, transform
from stardust_esapi.errors import TransferError
from stardust_esapi.esapi.connect import connect
from stardust_esapi.esapi.session import Session
from stardust_esapi.job import run
from stardust_esapi.model import (
    IMAGE_KINDS,
    Action,
    Case,
    CaseResult,
    CaseState,
    Kind,
    TransferRequest,
)
from stardust_esapi.settings import load_settings
from stardust_esapi.transfer.esapi_engine import EsapiEngine
from stardust_esapi.transfer.voxels import Voxels
from support import Clinic, Row, row_of, write_case_list

TUMOUR = (-20.0, 10.0, 3.0)
# Colours that Eclipse would not choose by itself for these types.
STRUCTURES = (
    PhantomStructure("BODY", "EXTERNAL", Box((0, 0, 0), (60, 50, 45)), (9, 9, 9), hu=40),
    PhantomStructure("GTV1", "GTV", Sphere(TUMOUR, 10, hole=4), (1, 2, 254), hu=75),
    PhantomStructure("PTV1", "PTV", Sphere(TUMOUR, 14), (17, 130, 7)),
    PhantomStructure("Lung L OAR", "ORGAN", Sphere((30, -8, -2), 15, hole=6), (5, 66, 77), hu=-750),
    PhantomStructure("Cord", "AVOIDANCE", Box((0, 35, 0), (8, 8, 15)), (3, 141, 59)),
    PhantomStructure("Pad", "BOLUS", Box((0, -40, 0), (20, 5, 9)), (201, 20, 2)),
    PhantomStructure("zHelp", "CONTROL", Box(TUMOUR, (20, 20, 12)), (128, 128, 128)),
    PhantomStructure("PRV Cord", "AVOIDANCE", Box((0, 35, 0), (11, 11, 18)), (255, 128, 0)),
    PhantomStructure("Cavity", "CAVITY", Empty(), (255, 0, 255)),
    PhantomStructure("Marker", "MARKER", Point(TUMOUR), (255, 255, 255)),
)
PREPARED = {
    "GTV1": ("gtv+", "GTV"),
    "PTV1": ("target+", "PTV"),
    "Lung L OAR": ("Lung L", "ORGAN"),
    "Cord": ("Cord", "AVOIDANCE"),
    "Pad": ("Pad", "CONTROL"),  # ESAPI cannot add a BOLUS
}
"""Source id to id and type in the prepared set; no other structure gets there."""

PLAIN = Phantom("PLAIN", structures=STRUCTURES)
MR = PhantomMr(rotation=(4.0, -6.0, 12.0), translation=(10.0, -15.0, 800.0))
PHANTOMS = {
    "HFS": PLAIN,
    "HFP": replace(PLAIN, patient_position="HFP", approved=True, contrast=PhantomContrast()),
    "FFS": replace(PLAIN, patient_position="FFS", rescale_intercept=0.0),
    "FFP": replace(PLAIN, patient_position="FFP", patient_name="Gläsern^Änne^Maria"),
    "HFDR": replace(PLAIN, patient_position="HFDR", image_orientation=(0, 1, 0, -1, 0, 0)),
    "sagittal": replace(PLAIN, image_orientation=(0, 1, 0, 0, 0, -1), size=(48, 48, 24)),
    "oblique": replace(
        PLAIN,
        image_orientation=(0.96, 0.28, 0.0, -0.224, 0.768, 0.6),
        rescale_slope=0.5,
        rescale_intercept=-1000.25,
        contrast=PhantomContrast(),
        mr=MR,
    ),
    "anisotropic": replace(PLAIN, size=(64, 40, 24), spacing=(2.0, 3.5, 2.5)),
    "reversed": replace(PLAIN, patient_position="FFS", reversed_on_disk=True),
    "aside": replace(PLAIN, origin=(-95.312345, -70.4, -31.700001), rescale_slope=0.1),
    "signed": replace(PLAIN, rescale_intercept=0.0, mr=PhantomMr(), contrast=PhantomContrast()),
}
PHANTOMS = {name: replace(p, patient_id=f"Prüf {name}") for name, p in PHANTOMS.items()}
# The versions differ in instance UIDs and colours, not in geometry.
COHORTS = {
    "15.6": tuple(PHANTOMS),
    "16.1": ("HFP", "sagittal", "oblique", "reversed", "signed"),
}
WHOLE = replace(PHANTOMS["oblique"], patient_id="00 whole")


class Silent:
    """A watcher that sees nothing."""

    def start(self, cases: int) -> None: ...

    def phase(self, case: Case, phase: str, done: int = 0, total: int = 0) -> None: ...

    def finish(self, result: CaseResult) -> None: ...


@dataclass(frozen=True)
class Export:
    """One exported case and what it was made of."""

    phantom: Phantom
    version: str
    uids: PatientUids
    dicom: Path
    db: Path
    out: Path
    result: CaseResult

    @property
    def kinds(self) -> dict[Kind, str]:
        """The series of each kind."""
        uids = self.uids
        series = {
            Kind.CT: uids.series_uid,
            Kind.KM: uids.km_series_uid,
            Kind.MR: uids.mr_series_uid,
        }
        return {kind: uid for kind, uid in series.items() if uid}

    def folder(self, kind: Kind) -> Path:
        return self.out / self.result.folders[kind]

    def original(self, kind: Kind) -> list[Dataset]:
        return in_space_order(read(self.dicom, SeriesInstanceUID=self.kinds[kind]))

    def images(self, kind: Kind) -> list[Dataset]:
        found = in_space_order(read(self.folder(kind), Modality=kind.modality))
        assert len(found) == len(list(self.folder(kind).glob(f"{kind.modality}*.dcm")))
        return found

    def structure_set(self, kind: Kind) -> Dataset:
        return one_file(self.folder(kind), "RS*.dcm")


def read(folder: Path, **wanted: str) -> list[Dataset]:
    """Every DICOM file of a folder whose attributes have the wanted values."""
    found = map(pydicom.dcmread, sorted(folder.glob("*.dcm")))
    return [d for d in found if all(d.get(keyword) == wanted[keyword] for keyword in wanted)]


def one_file(folder: Path, pattern: str) -> Dataset:
    (path,) = folder.glob(pattern)
    dataset = pydicom.dcmread(path)
    assert path.name == f"{pattern[:2]}.{dataset.SOPInstanceUID}.dcm"
    return dataset


def position(image: Dataset) -> np.ndarray:
    return np.array(image.ImagePositionPatient, dtype=float)


def axes(image: Dataset) -> np.ndarray:
    """Direction of rows, of columns and their normal, as rows of (3, 3)."""
    row, column = np.array(image.ImageOrientationPatient, dtype=float).reshape(2, 3)
    return np.array([row, column, np.cross(row, column)])


def in_space_order(images: Sequence[Dataset]) -> list[Dataset]:
    return sorted(images, key=lambda image: float(position(image) @ axes(image)[2]))


def display(image: Dataset) -> np.ndarray:
    """Values after the Modality LUT (PS3.3 C.11.1), shape (rows, columns)."""
    slope, intercept = image.get("RescaleSlope", 1), image.get("RescaleIntercept", 0)
    return image.pixel_array * float(slope) + float(intercept)


@dataclass(frozen=True)
class Drawn:
    """One ROI of an RT Structure Set: closed contours with the image that each one names."""

    dicom_type: str
    color: tuple[int, ...]
    contours: tuple[tuple[np.ndarray, str], ...]


def rois(structure_set: Dataset) -> dict[str, Drawn]:
    names = {roi.ROINumber: roi.ROIName for roi in structure_set.StructureSetROISequence}
    observations = structure_set.RTROIObservationsSequence
    types = {o.ReferencedROINumber: o.RTROIInterpretedType for o in observations}
    assert len(set(names.values())) == len(names)
    return {
        names[roi.ReferencedROINumber]: Drawn(
            types[roi.ReferencedROINumber],
            tuple(roi.ROIDisplayColor),
            tuple(
                (
                    points_of(contour),
                    contour.ContourImageSequence[0].ReferencedSOPInstanceUID,
                )
                for contour in roi.get("ContourSequence", [])
                if contour.ContourGeometricType == "CLOSED_PLANAR"
            ),
        )
        for roi in structure_set.ROIContourSequence
    }


def assert_same_contours(drawn: Drawn, original: Drawn) -> None:
    """Each contour of one is in the other, once, point by point, to 0.01 mm."""
    left = [points for points, _ in original.contours]
    assert left
    for points, _ in drawn.contours:
        same = [
            number
            for number, other in enumerate(left)
            if other.shape == points.shape and np.abs(other - points).max() <= 0.01
        ]
        assert same, f"a contour at {points[0]} is not in the source"
        del left[same[0]]
    assert not left, f"{len(left)} contours of the source are missing"


def assert_same_images(exported: list[Dataset], original: list[Dataset]) -> None:
    """Every voxel has the value it had, at the place where it was, and says whose it is."""
    assert len(exported) == len(original)
    for image, source in zip(exported, original, strict=True):
        np.testing.assert_allclose(position(image), position(source), rtol=0, atol=1e-4)
        np.testing.assert_allclose(axes(image), axes(source), rtol=0, atol=1e-9)
        np.testing.assert_allclose(image.PixelSpacing, source.PixelSpacing, rtol=0, atol=1e-6)
        np.testing.assert_allclose(display(image), display(source), rtol=0, atol=1e-6)
        assert float(image.SliceThickness) == pytest.approx(source.SliceThickness, abs=1e-4)
        for keyword in (
            *("PatientID", "PatientName", "PatientSex", "StudyInstanceUID", "SeriesInstanceUID"),
            *("FrameOfReferenceUID", "PatientPosition", "Modality", "SOPClassUID"),
            *("Rows", "Columns", "SeriesDescription"),
        ):
            assert image[keyword].value == source[keyword].value, keyword
        assert image.get("ContrastBolusAgent") == source.get("ContrastBolusAgent")
        assert image.ImageType[0] == "DERIVED"
    instances = {image.SOPInstanceUID for image in exported}
    assert len(instances) == len(exported)


def assert_references_resolve(structure_set: Dataset, images: list[Dataset]) -> None:
    """The set names these images, and each contour one of them on whose plane it lies."""
    head = images[0]
    assert structure_set.PatientID == head.PatientID
    assert structure_set.StudyInstanceUID == head.StudyInstanceUID
    assert structure_set.FrameOfReferenceUID == head.FrameOfReferenceUID
    assert structure_set.SeriesInstanceUID != head.SeriesInstanceUID
    (frame,) = structure_set.ReferencedFrameOfReferenceSequence
    (study,) = frame.RTReferencedStudySequence
    (series,) = study.RTReferencedSeriesSequence
    assert frame.FrameOfReferenceUID == head.FrameOfReferenceUID
    assert study.ReferencedSOPInstanceUID == head.StudyInstanceUID
    assert series.SeriesInstanceUID == head.SeriesInstanceUID
    by_uid = {image.SOPInstanceUID: image for image in images}
    named = [reference.ReferencedSOPInstanceUID for reference in series.ContourImageSequence]
    assert sorted(named) == sorted(by_uid)
    for roi in structure_set.StructureSetROISequence:
        assert roi.ReferencedFrameOfReferenceUID == head.FrameOfReferenceUID
    contours = 0
    for roi in structure_set.ROIContourSequence:
        for contour in roi.get("ContourSequence", []):
            (reference,) = contour.ContourImageSequence
            image = by_uid[reference.ReferencedSOPInstanceUID]
            points = points_of(contour)
            assert reference.ReferencedSOPClassUID == image.SOPClassUID
            assert contour.NumberOfContourPoints == len(points)
            assert np.abs((points - position(image)) @ axes(image)[2]).max() <= 0.01
            contours += 1
    assert contours > 20


def mask(drawn: Drawn, images: list[Dataset], fine: int = 1) -> np.ndarray:
    """Voxels inside by the even-odd rule, (planes, rows, columns), ``fine`` times finer in plane.

    A contour goes on the plane where its points lie, whatever image it names.
    """
    head = images[0]
    rows, columns = head.Rows * fine, head.Columns * fine
    between_rows, between_columns = (float(value) for value in head.PixelSpacing)
    heights = np.array([position(image) @ axes(head)[2] for image in images])
    voxels = np.zeros((len(images), rows, columns), dtype=bool)
    for points, _ in drawn.contours:
        plane = int(np.abs(heights - points[0] @ axes(head)[2]).argmin())
        x, y, _ = axes(head) @ (points - position(images[plane])).T
        index = np.column_stack([y / between_rows, x / between_columns])
        voxels[plane] ^= polygon2mask((rows, columns), (index + 0.5) * fine - 0.5)
    return voxels


def volume(drawn: Drawn, images: list[Dataset], fine: int = 6) -> float:
    """Volume, mm³."""
    distance = float(np.linalg.norm(position(images[1]) - position(images[0])))
    area = float(np.prod(np.array(images[0].PixelSpacing, dtype=float)))
    return float(mask(drawn, images, fine).sum()) * area * distance / fine**2


def with_simpleitk(folder: Path, series_uid: str) -> sitk.Image:
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series_uid)
    return sitk.ReadImage(names)


def export(
    rows: Sequence[Row], folder: Path, db: Path, name: str = "out", **flags: object
) -> list[CaseResult]:
    """Export a list with write, in this process; odd phantoms are wanted as they are."""
    cases = write_case_list(folder / f"{name}.csv", rows)
    loaded = load_settings(None, {"esapi": f"stub:{db}", **flags}, folder)
    job = run.Job(cases, folder / name, loaded, write=True, accept_doubtful=True)
    return list(run.export(job, Silent()).results)


def export_phantoms(
    phantoms: Mapping[str, Phantom], folder: Path, version: str = "15.6"
) -> dict[str, Export]:
    """Bring phantoms into one stub database and export them in one run."""
    dicom, db = folder / "dicom", folder / "db"
    uids = {name: write_phantom(dicom / name, phantom) for name, phantom in phantoms.items()}
    build(dicom, db, version=version)
    results = export([row_of(one) for one in uids.values()], folder, db)
    return {
        name: Export(phantoms[name], version, uids[name], dicom / name, db, folder / "out", result)
        for name, result in zip(phantoms, results, strict=True)
    }


def tree(out: Path) -> dict[str, bytes]:
    """Every file of the exported series."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for kind in IMAGE_KINDS
        for path in (out / kind.folder).rglob("*")
        if path.is_file()
    }


def registered(dataset: Dataset) -> tuple[str, np.ndarray]:
    """Source frame of a Spatial Registration, and the matrix that leads from it to its own."""
    matrices = {
        item.FrameOfReferenceUID: np.array(
            item.MatrixRegistrationSequence[0]
            .MatrixSequence[0]
            .FrameOfReferenceTransformationMatrix,
            dtype=float,
        ).reshape(4, 4)
        for item in dataset.RegistrationSequence
    }
    np.testing.assert_array_equal(matrices.pop(dataset.FrameOfReferenceUID), np.eye(4))
    ((source, matrix),) = matrices.items()
    return source, matrix


Cohorts = Callable[[str], dict[str, Export]]


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> Cohorts:
    """The phantoms of an ESAPI version, exported in one run when first asked for."""

    @cache
    def cohort(version: str) -> dict[str, Export]:
        phantoms = {name: PHANTOMS[name] for name in COHORTS[version]}
        return export_phantoms(phantoms, tmp_path_factory.mktemp("cohort"), version)

    return cohort


@pytest.fixture(
    params=[(version, name) for version in COHORTS for name in COHORTS[version]], ids="-".join
)
def exported(cohorts: Cohorts, request: pytest.FixtureRequest) -> Export:
    version, name = request.param
    return cohorts(version)[name]


@pytest.fixture(params=COHORTS)
def contrast(cohorts: Cohorts, request: pytest.FixtureRequest) -> list[Export]:
    found = [one for one in cohorts(request.param).values() if Kind.KM in one.kinds]
    assert len(found) == 3
    return found


@pytest.fixture(params=COHORTS)
def with_mr(cohorts: Cohorts, request: pytest.FixtureRequest) -> list[Export]:
    found = [one for one in cohorts(request.param).values() if Kind.MR in one.kinds]
    assert len(found) == 2
    return found


class TestImages:
    def test_every_voxel_lies_where_it_lay_and_says_whose_it_is(self, exported: Export) -> None:
        assert exported.result.state is CaseState.EXPORTED, exported.result.reason
        assert set(exported.result.folders) == set(exported.kinds)
        for kind in exported.kinds:
            assert_same_images(exported.images(kind), exported.original(kind))

    def test_simpleitk_reads_the_same_volume_from_both(self, exported: Export) -> None:
        for kind, uid in exported.kinds.items():
            image = with_simpleitk(exported.folder(kind), uid)
            source = with_simpleitk(exported.dicom, uid)
            assert image.GetSize() == source.GetSize()
            np.testing.assert_allclose(image.GetOrigin(), source.GetOrigin(), rtol=0, atol=1e-4)
            np.testing.assert_allclose(image.GetSpacing(), source.GetSpacing(), rtol=0, atol=1e-4)
            np.testing.assert_allclose(
                image.GetDirection(), source.GetDirection(), rtol=0, atol=1e-6
            )
            np.testing.assert_allclose(
                sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(source), rtol=0, atol=1e-6
            )

    def test_the_phantoms_are_as_different_as_they_claim(self, cohorts: Cohorts) -> None:
        cohort = cohorts("15.6")
        heads = {name: one.original(Kind.CT)[0] for name, one in cohort.items()}
        assert {heads[name].PixelRepresentation for name in ("HFS", "signed")} == {0, 1}
        assert heads["oblique"].RescaleSlope == 0.5
        assert heads["oblique"].RescaleIntercept == -1000.25
        assert len({tuple(head.ImageOrientationPatient) for head in heads.values()}) == 7
        files = sorted(cohort["reversed"].dicom.glob("*.dcm"))
        on_disk = [
            image
            for image in map(pydicom.dcmread, files)
            if image.SeriesInstanceUID == cohort["reversed"].uids.series_uid
        ]
        assert on_disk == in_space_order(on_disk)[::-1]

    def test_instances_are_eclipses_own_or_derived_ones(self, exported: Export) -> None:
        for kind in exported.kinds:
            uids = [image.SOPInstanceUID for image in exported.images(kind)]
            source = [image.SOPInstanceUID for image in exported.original(kind)]
            if exported.version != "15.6":  # Image.UID
                assert uids == source
            else:
                assert not set(uids) & set(source)
                assert all(uid.startswith("2.25.") for uid in uids)


class TestStructureSet:
    def test_every_contour_point_is_the_sources(self, exported: Export) -> None:
        original = rois(read(exported.dicom, Modality="RTSTRUCT")[0])
        prepared = rois(exported.structure_set(Kind.CT))
        assert set(original) == {s.id for s in STRUCTURES}
        assert set(prepared) == {new_id for new_id, _ in PREPARED.values()}
        for source_id, (new_id, dicom_type) in PREPARED.items():
            assert_same_contours(prepared[new_id], original[source_id])
            assert prepared[new_id].dicom_type == dicom_type

    def test_a_hole_stays_a_hole(self, exported: Export) -> None:
        images = exported.images(Kind.CT)
        holes = rois(exported.structure_set(Kind.CT))["gtv+"]
        per_plane = [uid for _, uid in holes.contours]
        assert max(per_plane.count(uid) for uid in set(per_plane)) == 2
        # The shell was painted with 75 HU, and its hollow with the body's 40.
        values = np.stack([display(image) for image in images])
        assert np.median(values[mask(holes, images)]) == pytest.approx(75, abs=4)

    def test_its_references_resolve_to_the_images_on_the_right_planes(
        self, exported: Export
    ) -> None:
        for kind in set(exported.kinds) - {Kind.MR}:
            assert_references_resolve(exported.structure_set(kind), exported.images(kind))
            source = read(exported.dicom, Modality="RTSTRUCT")[0]
            assert exported.structure_set(kind).SOPInstanceUID != source.SOPInstanceUID

    def test_it_is_the_one_that_eclipse_shows(self, exported: Export) -> None:
        patients = {patient["id"]: patient for patient in describe(exported.db)["patients"]}
        sets = patients[exported.uids.patient_id]["structure_sets"]
        shown = {one["id"]: one["uid"] for one in sets}
        ids = {Kind.CT: "zCopyFromPlan", Kind.KM: "zCopyFromPlan_KM"}
        for kind in set(exported.kinds) - {Kind.MR}:
            structure_set = exported.structure_set(kind)
            assert structure_set.StructureSetLabel == ids[kind]
            assert structure_set.SOPInstanceUID == shown[ids[kind]]
        assert shown["CT_1"] == exported.uids.structure_set_uid

    def test_colours_are_kept_whether_eclipse_can_or_not(self, exported: Export) -> None:
        colors = {PREPARED[s.id][0]: s.colour for s in STRUCTURES if s.id in PREPARED}
        for kind in set(exported.kinds) - {Kind.MR}:
            drawn = rois(exported.structure_set(kind))
            assert {name: roi.color for name, roi in drawn.items()} == colors

    def test_what_became_of_each_structure_is_told(self, exported: Export) -> None:
        for kind in set(exported.kinds) - {Kind.MR}:
            told = [o for o in exported.result.outcomes if o.kind is kind]
            assert sorted(o.source_id for o in told) == sorted(s.id for s in STRUCTURES)
            created = {o.source_id: o.new_id for o in told if o.new_id}
            assert created == {old: new_id for old, (new_id, _) in PREPARED.items()}
            skipped = {o.source_id: o.reason for o in told if o.action is Action.SKIPPED}
            assert set(skipped) == {"BODY", "zHelp", "PRV Cord", "Cavity", "Marker"}
            assert skipped["Cavity"] == skipped["Marker"] == "it is empty"


class TestContrast:
    def test_structures_hold_the_same_volume_on_its_planes(self, contrast: list[Export]) -> None:
        for one in contrast:
            images, sources = one.images(Kind.KM), one.images(Kind.CT)
            offset = (position(images[0]) - position(sources[0])) @ axes(sources[0])[2]
            assert offset == pytest.approx(4.0, abs=1e-3)  # between planes that are 3 mm apart
            drawn, originals = (
                rois(one.structure_set(Kind.KM)),
                rois(one.structure_set(Kind.CT)),
            )
            assert set(drawn) == set(originals)
            for name in ("gtv+", "target+", "Lung L"):  # the others reach out of some images
                resampled = volume(drawn[name], images)
                assert resampled == pytest.approx(volume(originals[name], sources), rel=0.05), name

    def test_labels_lie_on_what_the_contrast_agent_enhanced(self, contrast: list[Export]) -> None:
        for one in contrast:
            images = one.images(Kind.KM)
            inside = mask(rois(one.structure_set(Kind.KM))["gtv+"], images)
            bright = np.stack([display(image) for image in images]) > 110  # 75 + 60, noise 8
            assert 2 * (inside & bright).sum() / (inside.sum() + bright.sum()) > 0.8


class TestRegistration:
    def test_its_matrix_is_the_sources(self, with_mr: list[Export]) -> None:
        for one in with_mr:
            original = read(one.dicom, Modality="REG")[0]
            written = one_file(one.folder(Kind.MR), "RE*.dcm")
            assert written.SOPInstanceUID == original.SOPInstanceUID == one.uids.registration_uid
            assert written.FrameOfReferenceUID == original.FrameOfReferenceUID
            source, matrix = registered(written)
            wanted_source, wanted = registered(original)
            assert source == wanted_source == one.images(Kind.MR)[0].FrameOfReferenceUID
            np.testing.assert_allclose(matrix, wanted, rtol=0, atol=1e-9)
            assert one.phantom.mr is not None
            painted = rigid(one.phantom.mr.rotation, one.phantom.mr.translation)
            np.testing.assert_allclose(matrix, painted, rtol=0, atol=1e-6)

    def test_it_brings_the_tumour_of_the_mr_onto_the_ct(self, with_mr: list[Export]) -> None:
        for one in with_mr:
            images = one.images(Kind.MR)
            assert one_file(one.folder(Kind.MR), "RS*").ApprovalStatus == "UNAPPROVED"
            values = np.stack([display(image) for image in images])
            plane, row, column = np.argwhere(values > 700).mean(axis=0)  # the enhanced tumour
            head = images[0]
            between_rows, between_columns = (float(value) for value in head.PixelSpacing)
            step = (position(images[-1]) - position(head)) / (len(images) - 1)
            x, y, _ = axes(head)
            centre = position(head) + column * between_columns * x + row * between_rows * y
            _, matrix = registered(one_file(one.folder(Kind.MR), "RE*.dcm"))
            on_ct = transform(matrix, centre + plane * step)
            np.testing.assert_allclose(on_ct, TUMOUR, rtol=0, atol=1.0)

    def test_one_from_ct_to_mr_keeps_its_direction(
        self, clinic_of: Callable[..., Clinic], tmp_path: Path
    ) -> None:
        phantom = replace(PLAIN, size=(32, 32, 14), mr=replace(MR, registered=False))
        clinic = clinic_of(phantom)
        (uids,) = clinic.patients
        to_mr = np.linalg.inv(rigid(MR.rotation, MR.translation))
        study = read(tmp_path / "dicom" / "0", Modality="RTSTRUCT")[0]
        header = Dataset()
        for keyword in ("PatientID", "PatientName", "PatientSex", "StudyInstanceUID", "StudyID"):
            setattr(header, keyword, study[keyword].value)
        header.SpecificCharacterSet = "ISO_IR 192"
        item = registration(
            header,
            "2.25.77",
            to_mr,
            uids.frame_of_reference_uid,
            uids.mr_frame_of_reference_uid,
        )
        save(tmp_path / "dicom" / "0", item, 0)
        build(tmp_path / "dicom", clinic.db)
        (result,) = export([row_of(uids, MRregUID="2.25.77")], tmp_path, clinic.db)
        assert result.state is CaseState.EXPORTED, result.reason
        written = one_file(tmp_path / "out" / result.folders[Kind.MR], "RE*.dcm")
        source, matrix = registered(written)
        assert written.FrameOfReferenceUID == uids.mr_frame_of_reference_uid
        assert source == uids.frame_of_reference_uid
        np.testing.assert_allclose(matrix, to_mr, rtol=0, atol=1e-9)


@pytest.mark.parametrize("esapi", COHORTS)
def test_two_exports_of_one_state_are_equal_byte_by_byte(
    esapi: str,
    clinic_of: Callable[..., Clinic],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    clinic = clinic_of(WHOLE)
    configure(clinic.db, version=esapi)
    copy = shutil.copytree(clinic.db, tmp_path / "copy")
    rows = [row_of(*clinic.patients)]
    for db, name in ((clinic.db, "one"), (copy, "two")):
        (result,) = export(rows, tmp_path, db, name)
        assert result.state is CaseState.EXPORTED, result.reason
    one, two = tree(tmp_path / "one"), tree(tmp_path / "two")
    assert len(one) == 20 + 18 + 14 + 3 + 1 + 3  # images, RS, RE, manifests
    assert one == two


def test_a_set_that_an_earlier_run_prepared_is_exported_with_its_colours(
    clinic_of: Callable[..., Clinic], tmp_path: Path
) -> None:
    clinic = clinic_of(replace(WHOLE, mr=None))
    rows = [row_of(*clinic.patients)]
    (prepared,) = export(rows, tmp_path, clinic.db, "prepared", engine="none")
    assert prepared.state is CaseState.PREPARED
    assert not (tmp_path / "prepared" / "CT_Export").exists()
    folders = []
    for name in ("one", "two"):
        (result,) = export(rows, tmp_path, clinic.db, name)
        assert result.state is CaseState.EXPORTED, result.reason
        assert result.requests == prepared.requests
        folders += [tmp_path / name / result.folders[kind] for kind in (Kind.CT, Kind.KM)]
    for folder in folders:
        colors = {name: roi.color for name, roi in rois(one_file(folder, "RS*.dcm")).items()}
        assert colors == {PREPARED[s.id][0]: s.colour for s in STRUCTURES if s.id in PREPARED}
    # Derived instance UIDs do not depend on the run.
    files = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert files[:2] == files[2:]


@st.composite
def phantoms(draw: st.DrawFn) -> Phantom:
    """Any orientation and spacing; structures in the middle of the image, wherever that is."""
    quaternion = np.array(
        draw(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: abs(q[0]) > 0.1))
    )
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    orientation = (
        *(1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)),
        *(2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w)),
    )
    place, between = st.floats(-900, 900), st.floats(0.7, 3.0)
    size = (draw(st.integers(24, 32)), draw(st.integers(24, 32)), draw(st.integers(10, 14)))
    grid = Grid(
        draw(st.tuples(place, place, place)),
        orientation,
        draw(st.tuples(between, between, st.floats(1.2, 5.0))),
        size,
    )
    off_centre = np.array(draw(st.tuples(*[st.floats(-0.4, 0.4)] * 3)))
    cx, cy, cz = grid.to_patient((np.array(size) - 1) / 2 + off_centre).tolist()
    return Phantom(
        "any",
        size=size,
        spacing=grid.spacing,
        image_orientation=orientation,
        origin=grid.origin,
        patient_position=draw(st.sampled_from(["HFS", "FFP", "HFDL", "SITTING"])),
        rescale_slope=draw(st.sampled_from([1.0, 0.25, 0.1, 2.0])),
        rescale_intercept=draw(st.sampled_from([-1024.0, 0.0, -1000.5, 12.25])),
        reversed_on_disk=draw(st.booleans()),
        structures=(
            PhantomStructure("GTV1", "GTV", Sphere((cx, cy, cz), 4.0, hole=2.0), (1, 2, 3), hu=75),
            PhantomStructure("PTV1", "PTV", Sphere((cx, cy, cz), 5.0), (4, 5, 6)),
            PhantomStructure("Cord", "", Box((cx, cy, cz), (3, 4, 3)), (7, 8, 9)),
        ),
    )


@settings(max_examples=8, deadline=None)
@given(phantom=phantoms(), esapi=st.sampled_from(list(COHORTS)))
def test_any_orientation_and_spacing_comes_back(phantom: Phantom, esapi: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one = export_phantoms({"any": phantom}, Path(folder), esapi)["any"]
        assert one.result.state is CaseState.EXPORTED, one.result.reason
        images = one.images(Kind.CT)
        assert_same_images(images, one.original(Kind.CT))
        original = rois(read(one.dicom, Modality="RTSTRUCT")[0])
        drawn = rois(one.structure_set(Kind.CT))
        for source_id, new_id in (("GTV1", "gtv+"), ("PTV1", "target+"), ("Cord", "Cord")):
            assert_same_contours(drawn[new_id], original[source_id])
        by_uid = {image.SOPInstanceUID: image for image in images}
        for roi in drawn.values():
            for points, uid in roi.contours:
                away = (points - position(by_uid[uid])) @ axes(images[0])[2]
                assert np.abs(away).max() <= 0.01


class TestFetch:
    """The engine alone, on requests that the pipeline would not make."""

    @pytest.fixture
    def engine(self, clinic_of: Callable[..., Clinic]) -> Iterator[tuple[EsapiEngine, PatientUids]]:
        clinic = clinic_of(replace(WHOLE, size=(32, 32, 20)))
        (uids,) = clinic.patients
        with (
            Session(connect(clinic.esapi)) as session,
            session.open_patient(uids.patient_id) as patient,
        ):
            yield EsapiEngine(patient, {}), uids

    def test_it_tells_how_far_it_is(
        self, engine: tuple[EsapiEngine, PatientUids], tmp_path: Path
    ) -> None:
        exporter, uids = engine
        folder = tmp_path / "staging"
        folder.mkdir()
        told: list[int] = []
        exporter.fetch(
            TransferRequest(
                Kind.CT, uids.patient_id, "", uids.study_uid, uids.series_uid,
                uids.structure_set_uid, images=20,
            ),
            folder,
            told.append,
        )  # fmt: skip
        assert told == list(range(1, 21))
        assert len(list(folder.glob("CT*.dcm"))) == 20
        drawn = rois(one_file(folder, "RS*.dcm"))  # any set, as Eclipse holds it
        assert set(drawn) == {s.id for s in STRUCTURES}
        assert {name: roi.color for name, roi in drawn.items()} == {
            s.id: s.colour for s in STRUCTURES
        }

    @pytest.mark.parametrize(
        "wrong",
        [
            {"series_uid": "1.2.3"},
            {"study_uid": "1.2.3"},
            {"structure_set_uid": "1.2.3"},
            {"kind": Kind.KM, "series_uid": "the contrast CT"},
        ],
    )
    def test_a_set_on_another_image_is_not_exported(
        self,
        wrong: dict[str, str],
        engine: tuple[EsapiEngine, PatientUids],
        tmp_path: Path,
    ) -> None:
        exporter, uids = engine
        folder = tmp_path / "staging"
        folder.mkdir()
        right = TransferRequest(
            Kind.CT, uids.patient_id, "", uids.study_uid, uids.series_uid, uids.structure_set_uid
        )
        if wrong.get("series_uid") == "the contrast CT":
            wrong = wrong | {"series_uid": uids.km_series_uid}
        request = replace(right, **wrong)
        with pytest.raises(TransferError, match=f"Eclipse shows no {request.kind} image of series"):
            exporter.fetch(request, folder, lambda _: None)
        assert not list(folder.iterdir())


class TestSliceUids:
    """Which instance UIDs the images get, by what an ESAPI version shows of the slices."""

    class Backend:
        """Gives the voxels that a test put into an image."""

        def read_plane(self, image: SimpleNamespace, plane: int) -> np.ndarray:
            if image.planes is None:
                raise PermissionError("no voxels")
            return image.planes[plane]

        def refusal(self, error: BaseException) -> tuple[str, str] | None:
            return ("System.Exception", "") if isinstance(error, PermissionError) else None

    @staticmethod
    def slice_of(value: int, uid: str | None) -> SimpleNamespace:
        nowhere = SimpleNamespace(x=np.nan, y=np.nan, z=np.nan)
        return SimpleNamespace(UID=uid, ZSize=1, Origin=nowhere, planes=[np.full((2, 3), value)])

    def slices(self) -> list[SimpleNamespace]:
        return [self.slice_of(value, f"1.2.{value}") for value in (3, 1, 2)]

    def uids(self, slices: Sequence[SimpleNamespace], series: str = "1.2") -> tuple[str, ...]:
        volume = SimpleNamespace(UID=None, ZSize=3, planes=[np.full((2, 3), k) for k in (1, 2, 3)])
        backend = self.Backend()
        engine = EsapiEngine(SimpleNamespace(backend=backend), {})
        voxels = Voxels.of(lambda plane: backend.read_plane(volume, plane), 3)
        return engine._slice_uids(SimpleNamespace(UID=series, Images=[volume, *slices]), voxels)

    def derived(self) -> tuple[str, ...]:
        slices = self.slices()
        for one in slices:
            del one.UID  # before 16.1
        return self.uids(slices)

    def test_eclipses_own_go_with_their_planes(self) -> None:
        assert self.uids(self.slices()) == ("1.2.1", "1.2.2", "1.2.3")

    def test_derived_ones_tell_planes_and_series_apart_and_stay(self) -> None:
        derived = self.derived()
        assert derived == self.derived()
        assert len(set(derived)) == 3
        assert not set(self.uids([], series="1.3")) & set(derived)

    @pytest.mark.parametrize(
        "spoil",
        [
            pytest.param(lambda found, _: found.pop(), id="one is missing"),
            pytest.param(lambda found, _: found.clear(), id="all are missing"),
            pytest.param(lambda found, new: found.append(new(2, "1.2.9")), id="two of one plane"),
            pytest.param(lambda found, new: found.append(new(9, "1.2.9")), id="one too many"),
            pytest.param(
                lambda found, new: found.__setitem__(0, new(9, "1.2.3")), id="one looks otherwise"
            ),
            pytest.param(lambda found, _: setattr(found[1], "UID", ""), id="one without UID"),
            pytest.param(lambda found, _: setattr(found[1], "UID", None), id="one with null"),
            pytest.param(lambda found, _: setattr(found[1], "UID", "1.2.3"), id="one UID twice"),
            pytest.param(lambda found, _: setattr(found[1], "planes", None), id="voxels refused"),
        ],
    )
    def test_a_mixture_is_never_made(self, spoil: Callable[..., object]) -> None:
        slices = self.slices()
        spoil(slices, self.slice_of)
        assert self.uids(slices) == self.derived()
