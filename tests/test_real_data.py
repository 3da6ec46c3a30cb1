"""The whole job on the real RT data: 98 CT slices, one of them and the structure set real."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from skimage.draw import polygon2mask

from consumer.reader import mask_of, points_of, read_folder
from esapi_stub.database import configure, describe
from esapi_stub.sample import PatientUids
from esapi_stub.sample.real import DATA, MR_TO_CT
from stardust_esapi.job.run import Job, export
from stardust_esapi.model import IMAGE_KINDS, Action, Case, CaseResult, CaseState, Kind
from stardust_esapi.record.ready_list import READY_LIST_NAME, read_ready_list
from stardust_esapi.settings import load_settings
from support import Clinic, Outcome, row_of, write_case_list

Run = Callable[..., Outcome]

PREPARED = {
    "Borders": "Borders",
    "Breast": "target+",
    "Heart": "Heart",
    "Lt Lung": "Lt Lung",
    "Nodes": "Nodes",
    "Scar": "Scar",
    "Tumor Bed": "gtv+",
    "Tumor Bed Block": "Tumor Bed Block",
}


class Silent:
    """A watcher that sees nothing."""

    def start(self, cases: int) -> None: ...

    def phase(self, case: Case, phase: str, done: int = 0, total: int = 0) -> None: ...

    def finish(self, result: CaseResult) -> None: ...


@dataclass(frozen=True)
class Exported:
    """The exported case, and the files it came from."""

    uids: PatientUids
    dicom: Path
    db: Path
    cases: Path
    out: Path
    result: CaseResult
    version: str

    def folder(self, kind: Kind) -> Path:
        """The only series folder of a kind."""
        series = {Kind.CT: self.uids.series_uid, Kind.KM: self.uids.km_series_uid}
        wanted = series.get(kind, self.uids.mr_series_uid)
        assert [p.name for p in (self.out / kind.folder).iterdir()] == ["123456"]
        (found,) = (self.out / kind.folder / "123456").iterdir()
        assert found.name == wanted
        return found

    def images(self, kind: Kind) -> list[Dataset]:
        return rising(read(self.folder(kind), f"{kind.modality}*.dcm"))

    def original(self, series_uid: str) -> list[Dataset]:
        return rising([d for d in read(self.dicom) if d.SeriesInstanceUID == series_uid])

    def structure_set(self, kind: Kind) -> Dataset:
        (found,) = read(self.folder(kind), "RS*.dcm")
        return found


def read(folder: Path, pattern: str = "*.dcm") -> list[Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.glob(pattern))]


def rising(images: list[Dataset]) -> list[Dataset]:
    orientations = [image.ImageOrientationPatient for image in images]
    np.testing.assert_allclose(orientations, [(1, 0, 0, 0, 1, 0)] * len(images), atol=1e-9)
    return sorted(images, key=lambda image: float(image.ImagePositionPatient[2]))


def hounsfield(image: Dataset) -> np.ndarray:
    slope, intercept = image.get("RescaleSlope", 1), image.get("RescaleIntercept", 0)
    return image.pixel_array * float(slope) + float(intercept)


def contours(structure_set: Dataset) -> dict[str, list[np.ndarray]]:
    """Contours (n, 3), mm, by ROI name, in the order of the file."""
    names = {roi.ROINumber: roi.ROIName for roi in structure_set.StructureSetROISequence}
    return {
        names[roi.ReferencedROINumber]: [
            points_of(contour) for contour in roi.get("ContourSequence", [])
        ]
        for roi in structure_set.ROIContourSequence
    }


def mask(polygons: list[np.ndarray], images: list[Dataset]) -> np.ndarray:
    """Voxels inside by the even-odd rule, shape (planes, rows, columns)."""
    head = images[0]
    x, y, _ = (float(value) for value in head.ImagePositionPatient)
    between_rows, between_columns = (float(value) for value in head.PixelSpacing)
    heights = np.array([float(image.ImagePositionPatient[2]) for image in images])
    inside = np.zeros((len(images), head.Rows, head.Columns), dtype=bool)
    for points in polygons:
        plane = int(np.abs(heights - points[0, 2]).argmin())
        assert abs(heights[plane] - points[0, 2]) < 0.01
        index = np.column_stack(
            [(points[:, 1] - y) / between_rows, (points[:, 0] - x) / between_columns]
        )
        inside[plane] ^= polygon2mask(inside.shape[1:], index)
    return inside


def volume(polygons: list[np.ndarray], images: list[Dataset]) -> float:
    """Volume, cm³."""
    first, second = (float(image.ImagePositionPatient[2]) for image in images[:2])
    area = float(np.prod(np.array(images[0].PixelSpacing, dtype=float)))
    return float(mask(polygons, images).sum()) * area * (second - first) / 1000


def times(out: Path) -> dict[str, int]:
    """When each file of the exported series was last changed, ns."""
    return {
        path.relative_to(out).as_posix(): path.stat().st_mtime_ns
        for kind in IMAGE_KINDS
        for path in (out / kind.folder).rglob("*")
        if path.is_file()
    }


# One Eclipse that shows little, and one that is as unhelpful as it may be.
ECLIPSES = {
    "15.6": {"version": "15.6"},
    "18.1": {
        "version": "18.1",
        "image_order": "mixed",
        "matrix": "backward",
        "set_ids": "patient",
        "display_values": "occurring",
    },
}


@pytest.fixture(scope="module", params=ECLIPSES)
def exported(
    request: pytest.FixtureRequest, real_clinic: Clinic, tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    """One export of the case on a copy of the database; for reading only."""
    folder = tmp_path_factory.mktemp("exported")
    db = shutil.copytree(real_clinic.db, folder / "db")
    configure(db, **ECLIPSES[request.param])
    (uids,) = real_clinic.patients
    row = row_of(uids, TargetID="Breast", GTV="Tumor Bed", MR_Slices="41")
    cases = write_case_list(folder / "cases.csv", [row])
    job = Job(
        cases, folder / "out", load_settings(None, {"esapi": f"stub:{db}"}, folder), write=True
    )
    (result,) = export(job, Silent()).results
    dicom = real_clinic.db.parent / "dicom"
    return Exported(uids, dicom, db, cases, job.out, result, request.param)


class TestPlanningCt:
    def test_all_98_slices_that_the_structure_set_references_are_exported(
        self, exported: Exported
    ) -> None:
        assert exported.result.state is CaseState.EXPORTED, exported.result.reason
        real = pydicom.dcmread(DATA / "rtss.dcm")
        frame = real.ReferencedFrameOfReferenceSequence[0]
        series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
        referenced = {image.ReferencedSOPInstanceUID for image in series.ContourImageSequence}
        originals = exported.original(series.SeriesInstanceUID)
        assert {image.SOPInstanceUID for image in originals} == referenced
        assert len(referenced) == 98
        images = exported.images(Kind.CT)
        assert len(images) == 98
        for image, original in zip(images, originals, strict=True):
            np.testing.assert_allclose(
                image.ImagePositionPatient, original.ImagePositionPatient, rtol=0, atol=1e-3
            )
            np.testing.assert_array_equal(hounsfield(image), hounsfield(original))
            for keyword in (
                *("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID"),
                *("FrameOfReferenceUID", "PatientPosition", "PixelSpacing"),
            ):
                assert image[keyword].value == original[keyword].value, keyword
        # 15.6 does not show them, later ones not where they belong.
        own = [image.SOPInstanceUID for image in images] == [i.SOPInstanceUID for i in originals]
        assert own == (exported.version == "18.1")

    def test_the_real_slice_has_its_hounsfield_units_byte_by_byte(self, exported: Exported) -> None:
        real = pydicom.dcmread(DATA / "ct.0.dcm")
        (image,) = [
            image
            for image in exported.images(Kind.CT)
            if abs(image.ImagePositionPatient[2] - real.ImagePositionPatient[2]) < 0.01
        ]
        values, wanted = hounsfield(image).astype("<i2"), hounsfield(real).astype("<i2")
        assert np.unique(wanted).size > 1000  # a scanner's, not a painter's
        assert values.tobytes() == wanted.tobytes()
        assert image.PixelSpacing == real.PixelSpacing

    def test_contour_points_are_the_real_ones(self, exported: Exported) -> None:
        real = contours(pydicom.dcmread(DATA / "rtss.dcm"))
        assert set(real) == {*PREPARED, "BODY", "Areola"}
        drawn = contours(exported.structure_set(Kind.CT))
        assert set(drawn) == set(PREPARED.values())
        points = 0
        for source_id, new_id in PREPARED.items():
            # The prepared set lists contours by plane, the real one as they were drawn.
            ours = sorted(drawn[new_id], key=_order)
            theirs = sorted(real[source_id], key=_order)
            assert [c.shape for c in ours] == [c.shape for c in theirs], source_id
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(one, other, rtol=0, atol=0.01)
                points += len(one)
        assert points > 20_000

    def test_every_contour_names_the_image_on_its_plane(self, exported: Exported) -> None:
        for kind in (Kind.CT, Kind.KM):
            heights = {
                image.SOPInstanceUID: float(image.ImagePositionPatient[2])
                for image in exported.images(kind)
            }
            for roi in exported.structure_set(kind).ROIContourSequence:
                for contour in roi.ContourSequence:
                    (reference,) = contour.ContourImageSequence
                    z = points_of(contour)[:, 2]
                    assert np.abs(z - heights[reference.ReferencedSOPInstanceUID]).max() < 0.01

    def test_what_became_of_each_structure_is_told(self, exported: Exported) -> None:
        for kind in (Kind.CT, Kind.KM):
            told = {o.source_id: o for o in exported.result.outcomes if o.kind is kind}
            assert {o.source_id: o.new_id for o in told.values() if o.new_id} == PREPARED
            assert (told["Areola"].action, told["Areola"].reason) == (
                Action.SKIPPED,
                "it is empty",
            )
            assert told["BODY"].action is Action.SKIPPED
            assert "planning structure" in told["BODY"].reason
            assert told["Breast"].action is told["Tumor Bed"].action is Action.RENAMED
            assert told["Tumor Bed Block"].action is Action.COPIED

    def test_the_ready_list_names_plan_and_prepared_sets(self, exported: Exported) -> None:
        assert exported.result.case.plan_id == "B1"
        ready = read_ready_list(exported.out / READY_LIST_NAME)
        # The MR's own structure set is derived here: nobody can be asked for it.
        known = [replace(r, derived_structure_set_uid="") for r in exported.result.requests]
        assert list(ready) == known
        assert [(r.kind, r.plan_id, r.images) for r in ready] == [
            (Kind.CT, "B1", 98),
            (Kind.KM, "B1", 60),
            (Kind.MR, "B1", 40),
        ]
        sets = {s["id"]: s["uid"] for s in describe(exported.db)["patients"][0]["structure_sets"]}
        assert [r.structure_set_uid for r in ready] == [
            sets["zCopyFromPlan"],
            sets["zCopyFromPlan_KM"],
            "",
        ]
        for kind, request in zip((Kind.CT, Kind.KM), ready, strict=False):
            assert exported.structure_set(kind).SOPInstanceUID == request.structure_set_uid


def _order(points: np.ndarray) -> tuple[float, ...]:
    return (round(float(points[0, 2]), 1), len(points), *points[0].round(1).tolist())


class TestContrastCt:
    def test_every_voxel_is_the_sources(self, exported: Exported) -> None:
        images, originals = (
            exported.images(Kind.KM),
            exported.original(exported.uids.km_series_uid),
        )
        assert len(images) == 60
        for image, original in zip(images, originals, strict=True):
            np.testing.assert_allclose(
                image.ImagePositionPatient, original.ImagePositionPatient, rtol=0, atol=1e-3
            )
            np.testing.assert_array_equal(hounsfield(image), hounsfield(original))
            assert image.ContrastBolusAgent == "Iodine"

    def test_its_set_holds_the_same_volumes_between_the_planes_of_the_ct(
        self, exported: Exported
    ) -> None:
        structure_set = exported.structure_set(Kind.KM)
        assert structure_set.StructureSetLabel == "zCopyFromPlan_KM"
        images, sources = exported.images(Kind.KM), exported.images(Kind.CT)
        offset = images[0].ImagePositionPatient[2] - sources[0].ImagePositionPatient[2]
        assert offset % 3 == pytest.approx(1.0, abs=0.01)
        drawn, originals = contours(structure_set), contours(exported.structure_set(Kind.CT))
        assert set(drawn) == set(originals)
        cut = {o.new_id for o in exported.result.outcomes if "is cut there" in o.reason}
        assert cut == {"Borders", "Lt Lung"}
        for name in ("gtv+", "target+", "Heart", "Tumor Bed Block"):
            assert volume(drawn[name], images) == pytest.approx(
                volume(originals[name], sources), rel=0.05
            ), name


class TestMr:
    def test_every_voxel_is_the_sources(self, exported: Exported) -> None:
        images = exported.images(Kind.MR)
        originals = exported.original(exported.uids.mr_series_uid)
        assert len(images) == 40
        for image, original in zip(images, originals, strict=True):
            np.testing.assert_allclose(
                image.ImagePositionPatient, original.ImagePositionPatient, rtol=0, atol=1e-3
            )
            np.testing.assert_array_equal(hounsfield(image), hounsfield(original))
            assert image.StudyInstanceUID == exported.uids.mr_study_uid
            assert image.FrameOfReferenceUID == exported.uids.mr_frame_of_reference_uid

    def test_its_structures_have_the_volumes_of_those_on_the_ct(self, exported: Exported) -> None:
        structure_set = exported.structure_set(Kind.MR)
        assert structure_set.ApprovalStatus == "UNAPPROVED"
        drawn, originals = contours(structure_set), contours(exported.structure_set(Kind.CT))
        images, sources = exported.images(Kind.MR), exported.images(Kind.CT)
        for name in ("gtv+", "target+"):
            assert volume(drawn[name], images) == pytest.approx(
                volume(originals[name], sources), rel=0.05
            ), name

    def test_the_registration_brings_the_label_onto_the_enhanced_tumour_bed(
        self, exported: Exported
    ) -> None:
        (written,) = read(exported.folder(Kind.MR), "RE*.dcm")
        assert written.SOPInstanceUID == exported.uids.registration_uid
        assert written.FrameOfReferenceUID == exported.uids.frame_of_reference_uid
        (step,) = [
            item.MatrixRegistrationSequence[0].MatrixSequence[0]
            for item in written.RegistrationSequence
            if item.FrameOfReferenceUID == exported.uids.mr_frame_of_reference_uid
        ]
        to_ct = np.array(step.FrameOfReferenceTransformationMatrix, dtype=float).reshape(4, 4)
        np.testing.assert_allclose(to_ct, MR_TO_CT, rtol=0, atol=1e-6)
        ct, mr = exported.images(Kind.CT), exported.images(Kind.MR)
        label = contours(exported.structure_set(Kind.CT))["gtv+"]
        plane, row, column = np.argwhere(mask(label, ct)).T
        on_ct = np.column_stack(
            [
                column * float(ct[0].PixelSpacing[1]) + float(ct[0].ImagePositionPatient[0]),
                row * float(ct[0].PixelSpacing[0]) + float(ct[0].ImagePositionPatient[1]),
                np.array([float(image.ImagePositionPatient[2]) for image in ct])[plane],
                np.ones(len(plane)),
            ]
        )
        x, y, z, _ = np.linalg.solve(to_ct, on_ct.T)
        first, second = (np.array(image.ImagePositionPatient, dtype=float) for image in mr[:2])
        index = np.rint(
            [
                (z - first[2]) / (second - first)[2],
                (y - first[1]) / float(mr[0].PixelSpacing[0]),
                (x - first[0]) / float(mr[0].PixelSpacing[1]),
            ]
        ).astype(int)
        values = np.stack([hounsfield(image) for image in mr])
        inside = values[tuple(index)]
        # Fat is bright too (650), the enhanced tumour bed brighter.
        assert np.median(inside) == pytest.approx(833, abs=10)
        assert np.mean(inside > 750) > 0.9


@pytest.mark.parametrize(
    ("kind", "tumour_bed", "breast"), [(Kind.KM, 130, -50), (Kind.CT, 65, -60)]
)
def test_the_consumer_finds_what_it_trains_on(
    kind: Kind, tumour_bed: int, breast: int, exported: Exported
) -> None:
    """Read as MedSAM2's conversion does: prefixes, first RS file, names that contain a label."""
    with_contrast = {Kind.KM: exported.uids.km_series_uid, Kind.CT: ""}[kind]
    top = "KM_Export" if with_contrast else "CT_Export"
    series = with_contrast or exported.uids.series_uid
    folder = exported.out / top / exported.uids.patient_id / series
    images = rising([pydicom.dcmread(path) for path in folder.glob("CT*.dcm")])
    structure_sets = sorted(folder.glob("RS*.dcm"))
    assert len(structure_sets) == 1
    found = contours(pydicom.dcmread(structure_sets[0]))
    squeezed = {re.sub(r"[\s_-]", "", name).lower(): name for name in found}
    gtvs = [name for key, name in squeezed.items() if "gtv+" in key]
    targets = [name for key, name in squeezed.items() if "target+" in key]
    assert (gtvs, targets) == (["gtv+"], ["target+"])
    values = np.stack([hounsfield(image) for image in images])
    labels = np.zeros(values.shape, dtype=np.uint8)
    labels[mask(found["target+"], images)] = 2
    voxel = float(np.prod(np.array(images[0].PixelSpacing, dtype=float))) * 3.0
    breast_volume = 400.05  # cm³, as the mining says
    assert (labels == 2).sum() * voxel / 1000 == pytest.approx(breast_volume, rel=0.03)
    labels[mask(found["gtv+"], images)] = 1
    assert np.median(values[labels == 1]) == pytest.approx(tumour_bed, abs=2)
    assert np.median(values[labels == 2]) == pytest.approx(breast, abs=2)


def test_an_independent_reader_finds_the_source_s_masks_under_the_labels(
    exported: Exported,
) -> None:
    read = read_folder(exported.folder(Kind.CT))
    source = pydicom.dcmread(DATA / "rtss.dcm")
    numbers = {roi.ROIName: roi.ROINumber for roi in source.StructureSetROISequence}
    drawn = {roi.ReferencedROINumber: roi for roi in source.ROIContourSequence}
    for label, name in ((read.label_1, "Tumor Bed"), (read.label_2, "Breast")):
        assert label is not None
        assert len(label.candidates) == 1
        np.testing.assert_array_equal(label.mask, mask_of(drawn[numbers[name]], read))
    contrast = read_folder(exported.folder(Kind.KM))
    assert contrast.label_1 is not None
    volume = contrast.label_1.mask.sum() * np.prod(contrast.spacing) / 1000
    assert volume == pytest.approx(13.16, rel=0.05)


def test_verify_proves_the_tree(exported: Exported, run: Run) -> None:
    said = run("verify", exported.out)
    assert said.code == 0, said.text
    assert "202" in said.text  # 98 + 60 + 40 images, three structure sets, a registration


def test_a_second_run_exports_nothing_again(exported: Exported, run: Run) -> None:
    before, sets = times(exported.out), describe(exported.db)
    assert len(before) == 202 + 3
    said = run(
        *("export", "--write", "--cases", exported.cases, "--out", exported.out),
        *("--esapi", f"stub:{exported.db}"),
    )
    assert said.code == 0, said.text
    assert times(exported.out) == before
    assert describe(exported.db) == sets
