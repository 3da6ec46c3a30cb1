"""One case from the exported folder to its training files, and back by a reader's eyes."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dataset_series import Ball, contours, grid, write_series, write_structures
from esapi_stub.sample import PhantomMr
from esapi_stub.sample.dicom import rigid
from stardust_esapi.dataset.convert import convert
from stardust_esapi.dataset.entry import Entry
from stardust_esapi.dataset.pseudonym import Pseudonyms
from stardust_esapi.dataset.tasks import Task, find_tasks
from stardust_esapi.model import IMAGE_KINDS, Kind
from stardust_esapi.settings import Dataset, Format
from stardust_esapi.verify.manifest import MANIFEST_NAME

PSEUDONYMS = Pseudonyms(b"k" * 32)
TUMOUR = np.array([-20.0, 10.0, 3.0])  # where every phantom has its GTV, a ball of 9 mm
EVERYTHING = Dataset(formats=tuple(Format), dicom=True)
GTV_ML = 4 / 3 * np.pi * 9**3 / 1000
TARGET_ML = 4 / 3 * np.pi * 14**3 / 1000


def tasks(root: Path) -> list[Task]:
    found = [task for task in find_tasks(root) if not task.problem]
    assert {task.kind for task in found} == set(IMAGE_KINDS)
    return found


def files(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file()
    }


class Consumer:
    """MedSAM2's loader as the workflow describes the NPZ, and nothing else."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as data:
            self.imgs, self.gts = data["imgs"], data["gts"]
            self.spacing, self.origin = data["spacing"], data["origin"]
            self.direction = data["direction"].reshape(3, 3)
        assert self.imgs.dtype == self.gts.dtype == np.uint8
        assert self.imgs.shape == self.gts.shape
        assert self.imgs.ndim == 3

    def millilitres(self, label: int) -> float:
        return float((self.gts == label).sum() * np.prod(self.spacing) / 1000)

    def centre(self, label: int) -> np.ndarray:
        index = np.argwhere(self.gts == label).mean(axis=0)[::-1]  # x, y, z
        return self.origin + self.direction @ (index * self.spacing)


def test_the_consumer_finds_what_it_trains_on_in_every_case(exported: Path, tmp_path: Path):
    mr = PhantomMr()
    to_ct = rigid(mr.rotation, mr.translation)
    for task in tasks(exported):
        entry = convert(task, Dataset(), PSEUDONYMS, tmp_path)
        assert entry.created, entry.reasons
        (name,) = (name for name in entry.files if name.endswith(".npz"))
        read = Consumer(tmp_path / name)
        centre = read.centre(1)
        if task.kind is Kind.MR:
            centre = to_ct[:3, :3] @ centre + to_ct[:3, 3]
        np.testing.assert_allclose(centre, TUMOUR, atol=1.0)
        assert read.millilitres(1) == pytest.approx(GTV_ML, rel=0.1)
        assert read.millilitres(1) + read.millilitres(2) == pytest.approx(TARGET_ML, rel=0.1)
        inside = read.imgs[read.gts == 1].mean()
        assert inside > read.imgs[read.gts == 0].mean()
        assert entry.shape == read.imgs.shape
        assert entry.spacing == pytest.approx(tuple(read.spacing))
        assert [one.name for one in entry.structures[:2]] == ["gtv+", "target+"]


def test_the_sidecar_tells_the_rest(exported: Path, tmp_path: Path):
    for plain in tasks(exported):
        task = replace(plain, label="Lunge", label2="Thorax", fingerprint="f" * 64)
        entry = convert(task, Dataset(), PSEUDONYMS, tmp_path)
        sidecar = json.loads((tmp_path / entry.files[-1]).read_text(encoding="utf-8"))
        with np.load(tmp_path / entry.files[0]) as read:
            names = {str(n): name for n, name in enumerate(read["label_names"].tolist()) if n}
            assert sidecar["label_names"] == names
            assert sidecar["spacing"] == read["spacing"].tolist()
            assert sidecar["direction"] == read["direction"].tolist()
        series = pydicom.dcmread(next(task.folder.glob("[CM][TR]*.dcm"))).SeriesInstanceUID
        assert sidecar["uids"]["series"] == PSEUDONYMS.uid(series)
        assert sidecar["transferred"] is (task.kind is Kind.MR)
        assert (sidecar["label"], sidecar["fingerprint"]) == ("Lunge", "f" * 64)
        assert (sidecar["label2"], entry.label2) == ("Thorax", "Thorax")
        assert (entry.label, entry.fingerprint) == ("Lunge", "f" * 64)
        assert sidecar["facts"]["structures"][0]["volume_ml"] > 1
        assert sidecar["versions"]["stardust-esapi"]
        assert entry.thumbnail == entry.files[-2]
        assert entry.thumbnail.endswith(f"/pictures/{entry.name}.png")
        assert all((tmp_path / name).is_file() for name in entry.files)


def test_the_same_case_gives_the_same_files(exported: Path, tmp_path: Path):
    for task in tasks(exported):
        for out in ("one", "other"):
            convert(task, Dataset(), PSEUDONYMS, tmp_path / out)
    assert files(tmp_path / "one") == files(tmp_path / "other")
    assert not [name for name in files(tmp_path / "one") if Path(name).name.startswith(".")]


def test_nifti_beside_or_instead(exported: Path, tmp_path: Path):
    task = tasks(exported)[0]
    both = convert(task, Dataset(formats=(Format.NPZ, Format.NIFTI)), PSEUDONYMS, tmp_path / "both")
    alone = convert(task, Dataset(formats=(Format.NIFTI,)), PSEUDONYMS, tmp_path / "alone")
    room = f".new/{both.case}_{both.kind}/"
    assert [name.removeprefix(room) for name in both.files] == [
        f"part/{both.name}.npz",
        f"part/images/{both.name}.nii.gz",
        f"part/labels/{both.name}.nii.gz",
        f"pictures/{both.name}.png",
        f"facts/{both.name}.json",
    ]
    assert alone.files == both.files[1:]
    assert set(files(tmp_path / "alone")) == set(alone.files)


def test_it_goes_to_another_process(exported: Path, tmp_path: Path):
    work = partial(convert, settings=Dataset(), pseudonyms=PSEUDONYMS, out=tmp_path)
    entry = pickle.loads(pickle.dumps(work))(tasks(exported)[0])
    assert pickle.loads(pickle.dumps(entry)) == entry


@pytest.mark.parametrize("fault", ["gone", "cut off", "another", "without its list"])
@pytest.mark.parametrize("kind", [Kind.CT, Kind.MR])
def test_what_was_proven_must_still_be_there(
    exported: Path, tmp_path: Path, fault: str, kind: Kind
):
    """A last slice that is gone leaves no gap to be seen."""
    copy = Path(shutil.copytree(exported, tmp_path / "export"))
    task = next(one for one in tasks(copy) if one.kind is kind)
    folder = task.structures_folder  # of an MR its CT: all that it is made of counts
    last = max(
        folder.glob("CT*.dcm"),
        key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]),
    )
    if fault == "gone":
        last.unlink()
    elif fault == "cut off":
        last.write_bytes(last.read_bytes()[:-2])
    elif fault == "another":
        shutil.copy(last, folder / "CT.another.DCM")
    else:
        (folder / MANIFEST_NAME).write_text("{")
    entry = convert(task, Dataset(), PSEUDONYMS, tmp_path / "out")
    assert "not those that were verified" in entry.reasons[0]
    assert not entry.created
    assert task.patient_id not in repr(entry)
    assert files(tmp_path / "out") == {}


def test_an_mr_that_shows_a_part_of_the_gtv_is_not_made(exported: Path, tmp_path: Path):
    """The tumour's other half is no background; there is just no image of it."""
    copy = Path(shutil.copytree(exported, tmp_path / "export"))
    task = next(one for one in tasks(copy) if one.kind is Kind.MR)
    (task.folder / MANIFEST_NAME).unlink()  # as if Eclipse itself had no more slices
    whole = convert(task, Dataset(), PSEUDONYMS, tmp_path / "whole")
    with np.load(tmp_path / "whole" / whole.files[0]) as read:
        middle = read["origin"][2] + np.argwhere(read["gts"] == 1)[:, 0].mean() * read["spacing"][2]
    for path in task.folder.glob("MR*.dcm"):
        if float(pydicom.dcmread(path).ImagePositionPatient[2]) > middle:
            path.unlink()
    entry = convert(task, Dataset(), PSEUDONYMS, tmp_path / "out")
    assert not entry.created
    assert entry.reasons[0].startswith("The MR shows ")
    assert entry.reasons[0].endswith("% of the GTV; it must show 95 %.")


class TestFailed:
    @pytest.fixture
    def task(self, tmp_path: Path) -> Task:
        """A CT with GTV and target that can be converted."""
        folder = tmp_path / "CT_Export" / "0815" / "1.2"
        geometry = grid(size=(48, 44, 16), centre=(0, 0, 0))
        series = write_series(
            folder,
            geometry,
            lambda plane: np.where(np.mgrid[:44, :48][1] < 4, -1000, 40),
        )
        bodies = {"gtv+": Ball((0, 0, 0), 8), "target+": Ball((0, 0, 0), 12)}
        write_structures(
            folder, series, {name: contours(body, geometry) for name, body in bodies.items()}
        )
        return Task("0123456789abcdef", Kind.CT, "0815", folder, folder)

    @pytest.fixture
    def out(self, tmp_path: Path) -> Path:
        return tmp_path / "dataset"

    def convert(self, task: Task, out: Path) -> Entry:
        return convert(task, Dataset(), PSEUDONYMS, out)

    def fails(self, task: Task, out: Path, *words: str) -> None:
        entry = self.convert(task, out)
        assert (entry.created, entry.files, entry.thumbnail) == (False, (), "")
        text = " ".join(entry.reasons)
        for word in words:
            assert word in text
        for secret in ("0815", "Geheim", str(task.folder), str(out)):
            assert secret not in repr(entry)
        assert files(out) == {}

    def test_it_is_made_when_nothing_is_wrong(self, task: Task, out: Path):
        assert self.convert(task, out).created

    def test_a_gate_stops_it_and_older_files_go(self, task: Task, out: Path):
        assert convert(task, EVERYTHING, PSEUDONYMS, out).created
        made = {name.split("/")[2] for name in files(out)}
        assert made == {"part", "nnunet", "dicom", "pictures", "facts"}
        (path,) = task.folder.glob("RS*.dcm")
        ds = pydicom.dcmread(path)
        ds.StructureSetROISequence[0].ROIName = "Tumor"
        ds.save_as(path)
        self.fails(task, out, "GTV is missing")

    def test_files_of_other_formats_do_not_stay(self, task: Task, out: Path):
        assert convert(task, EVERYTHING, PSEUDONYMS, out).created
        entry = self.convert(task, out)
        assert set(files(out)) == set(entry.files)
        assert len(entry.files) == 3

    def test_no_structure_set(self, task: Task, out: Path):
        next(task.folder.glob("RS*.dcm")).unlink()
        self.fails(task, out, "There is no structure set")

    def test_a_structure_set_of_another_frame_of_reference(self, task: Task, out: Path):
        (path,) = task.folder.glob("RS*.dcm")
        ds = pydicom.dcmread(path)
        for item in ds.StructureSetROISequence:
            item.ReferencedFrameOfReferenceUID = "1.2.3"
        ds.save_as(path)
        self.fails(task, out, "another frame of reference")

    def test_a_damaged_slice(self, task: Task, out: Path):
        path = sorted(task.folder.glob("CT*.dcm"))[5]
        path.write_bytes(path.read_bytes()[:-500])
        self.fails(task, out, "cannot be decoded")

    def test_missing_slices(self, task: Task, out: Path):
        by_height = sorted(
            task.folder.glob("CT*.dcm"),
            key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]),
        )
        by_height[7].unlink()
        self.fails(task, out, "slice")

    def test_no_folder(self, task: Task, out: Path):
        shutil.rmtree(task.folder)
        self.fails(task, out, "There are no images")

    def test_a_place_that_cannot_be_written(self, task: Task, out: Path):
        out.mkdir()
        (out / ".new").write_bytes(b"")
        entry = self.convert(task, out)
        assert not entry.created
        assert entry.reasons[0].startswith("Its files cannot be read or written")
        assert str(out) not in repr(entry)

    def test_a_disk_that_is_full_midway_leaves_nothing(
        self, task: Task, out: Path, monkeypatch: pytest.MonkeyPatch
    ):
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device", str(task.folder))

        monkeypatch.setattr("stardust_esapi.dataset.write.write_picture", full)
        self.fails(task, out, "No space left on device")

    def test_an_mr_without_registration(self, task: Task, out: Path, tmp_path: Path):
        folder = tmp_path / "MR_Export" / "0815" / "1.3"
        write_series(folder, grid(size=(20, 20, 5)), 100, modality="MR", name="MR", frame="1.2.3.4")
        self.fails(replace(task, kind=Kind.MR, folder=folder), out, "no registration")

    def test_points_are_left_out_with_a_note(self, task: Task, out: Path):
        (path,) = task.folder.glob("RS*.dcm")
        ds = pydicom.dcmread(path)
        ds.ROIContourSequence[1].ContourSequence[0].ContourGeometricType = "OPEN_PLANAR"
        ds.save_as(path)
        entry = self.convert(task, out)
        assert entry.created
        assert any("points or open lines" in note for note in entry.notes)
