from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest

import dataset_work
import schedule_work
from dataset_cohort import Size, tree, write_case, write_cohort
from stardust_esapi.dataset import build, schedule
from stardust_esapi.dataset.build import (
    DATASET_NAME,
    JOURNAL_NAME,
    Conversion,
    DatasetJob,
    DatasetSummary,
    build_dataset,
)
from stardust_esapi.dataset.entry import Entry
from stardust_esapi.dataset.pseudonym import open_pseudonyms
from stardust_esapi.dataset.split import Part
from stardust_esapi.dataset.tasks import Task
from stardust_esapi.errors import UsageError
from stardust_esapi.model import Kind
from stardust_esapi.settings import Dataset, Gates
from support import PATIENCE, ending

TESTS = Path(__file__).parents[1]
KEY = bytes(range(32))


class Watcher:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.started = -1
        self.entries: list[Entry] = []

    def start(self, cases: int) -> None:
        self.started = cases

    def finish(self, entry: Entry) -> None:
        self.entries.append(entry)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of five cases; for reading only."""
    root = tmp_path_factory.mktemp("cohort") / "export"
    write_cohort(root, 5)
    return root


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The same key for every dataset of a test: so are all names and bytes."""
    path = tmp_path / "site.key"
    path.write_text(KEY.hex())
    return path


@pytest.fixture(autouse=True)
def one_worker_is_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes of it is the same, without a second of imports for each; two are processes."""
    processes = schedule.ProcessPoolExecutor

    def pool(workers: int, context: BaseContext, initializer: Callable[[], None]) -> Executor:
        if workers == 1:
            return ThreadPoolExecutor(1)
        return processes(workers, context, initializer)

    monkeypatch.setattr(schedule, "ProcessPoolExecutor", pool)


def make(
    source: Path, out: Path, watcher: Watcher | None = None, **settings: Any
) -> DatasetSummary:
    settings = {"workers": 1} | settings
    job = DatasetJob(source, out, Dataset(**settings))
    return build_dataset(job, watcher or Watcher())


def test_makes_what_an_export_holds(exported: Path, tmp_path: Path, key: Path) -> None:
    out, watcher = tmp_path / "dataset", Watcher()
    summary = make(exported, out, watcher, key=key, workers=2, dicom=True, formats="npz,nifti")
    assert sorted(entry.kind for entry in summary.created) == ["CT", "CT", "KM", "MR", "MR"]
    assert summary.counts == {"created": 5, "not exported": 1, "left out": 1}
    assert watcher.started == len(watcher.entries) == 5
    for entry in summary.created:
        part = summary.split.patients[entry.patient]
        assert entry.name == f"other_case_{entry.case}_other_{entry.kind}"
        assert entry.files[:5] == (
            f"{part}/{entry.name}.npz",
            f"{part}/images/{entry.name}.nii.gz",
            f"{part}/labels/{entry.name}.nii.gz",
            f"pictures/{entry.name}.png",
            f"facts/{entry.name}.json",
        )
        assert all((out / name).exists() for name in entry.files)
        assert json.loads((out / f"facts/{entry.name}.json").read_text())["case"] == entry.case
    named = {name for entry in summary.created for name in entry.files}
    listed = {path for path in tree(out) if path.startswith(("train", "test", "fact", "pict"))}
    assert listed == {name for name in named if not name.startswith("dicom/")}
    assert {path.name for path in out.iterdir()} == {
        "train", "test", "facts", "pictures", "lists", "dicom",
        "dataset.json", "dataset.html", "pseudonyms.json", ".in-use",
    }  # fmt: skip
    # Of the case with a contrast CT the planning CT is no task: its copy goes with the MR.
    (km,) = (entry for entry in summary.created if entry.kind is Kind.KM)
    (mr,) = (e for e in summary.created if e.case == km.case and e.kind is Kind.MR)
    assert mr.files[-2:] == (
        f"dicom/{mr.patient}/{mr.case}_MR",
        f"dicom/{mr.patient}/{mr.case}_MR_structures",
    )
    assert list((out / mr.files[-1]).glob("RS*.dcm"))
    others = [e for e in summary.created if e.kind is Kind.MR and e.case != km.case]
    assert [entry.files[-1] for entry in others] == [
        f"dicom/{e.patient}/{e.case}_MR" for e in others
    ]


def test_says_what_lies_there(cohort: Path, tmp_path: Path, key: Path) -> None:
    out = tmp_path / "dataset"
    summary = make(cohort, out, key=key)
    assert summary.verdict == "5 training cases of 5 patients"
    document = json.loads((out / DATASET_NAME).read_text())
    assert document["counts"] == {"created": 5}
    assert document["settings"]["split"] == 0.8
    assert "key" not in document["settings"]
    keys = [(e["patient"], e["case"], e["kind"]) for e in document["entries"]]
    assert keys == sorted(keys)
    assert sum(map(len, summary.split.cases.values())) == 5
    assert set(summary.split.patients.values()) == set(Part)
    assert not (out / JOURNAL_NAME).exists()


def test_leaves_alone_what_is_there(cohort: Path, tmp_path: Path, key: Path) -> None:
    out, watcher = tmp_path / "dataset", Watcher()
    make(cohort, out, key=key)
    before = {path: path.stat().st_mtime_ns for path in out.glob("[tfp]*/*")}
    assert len(before) == 15
    bytes_before = tree(out)
    summary = make(cohort, out, watcher, key=key)
    assert watcher.started == 0
    assert summary.unchanged == 5
    assert {path: path.stat().st_mtime_ns for path in out.glob("[tfp]*/*")} == before
    assert tree(out) == bytes_before


def test_makes_anew_what_lacks_a_file(cohort: Path, tmp_path: Path, key: Path) -> None:
    out, watcher = tmp_path / "dataset", Watcher()
    make(cohort, out, key=key)
    before = tree(out)
    lost = next(out.glob("train/*.npz"))
    lost.unlink()
    make(cohort, out, watcher, key=key)
    (made,) = watcher.entries
    assert made.files[0] == f".new/{made.case}_{made.kind}/part/{lost.name}"
    assert tree(out) == before


@pytest.mark.parametrize(
    "change", [{"formats": "npz,nifti"}, {"dicom": True}, {"gates": Gates(gtv_ml=0.02)}]
)
def test_makes_all_anew_with_other_settings(
    cohort: Path, tmp_path: Path, key: Path, change: dict[str, Any]
) -> None:
    out, watcher = tmp_path / "dataset", Watcher()
    make(cohort, out, key=key)
    make(cohort, out, watcher, key=key, **change)
    assert watcher.started == 5
    fresh = tmp_path / "fresh"
    make(cohort, fresh, key=key, **change)
    assert tree(out) == tree(fresh)


def test_a_case_that_fails_leaves_nothing_of_before(
    cohort: Path, tmp_path: Path, key: Path
) -> None:
    out = tmp_path / "dataset"
    make(cohort, out, key=key, dicom=True, formats="npz,nifti")
    summary = make(cohort, out, key=key, dicom=True, gates=Gates(gtv_ml=1.0))
    assert 0 < summary.counts["left out"] == len(summary.missing) < 5
    for entry in summary.missing:
        assert "The GTV is tiny" in entry.reasons[0]
        assert not list(out.rglob(f"*{entry.case}*"))
        assert not (out / "dicom" / entry.patient).exists()
    assert not list(out.rglob("*.nii.gz"))
    assert len(list(out.glob("t*/*"))) == len(summary.created)
    # Tried again, and made, when the gate opens again.
    assert len(make(cohort, out, key=key).created) == 5


def test_grows_with_its_export(cohort: Path, tmp_path: Path, key: Path) -> None:
    source, out, watcher = tmp_path / "export", tmp_path / "dataset", Watcher()
    shutil.copytree(cohort, source)
    first = make(source, out, key=key)
    write_case(source, 77)
    second = make(source, out, watcher, key=key)
    assert watcher.started == 1
    assert len(second.created) == 6
    parts = second.split.patients
    assert {patient: parts[patient] for patient in first.split.patients} == first.split.patients
    files = {name for entry in second.created for name in entry.files}
    assert {name for entry in first.created for name in entry.files} < files
    # To split anew, remove the list: files follow.
    (out / "lists" / "split.json").unlink()
    third = make(source, out, watcher, key=key, split=0.5)
    assert watcher.started == 0
    assert [len(list(out.glob(f"{part}/*"))) for part in Part] == [3, 3]
    assert all((out / name).exists() for entry in third.created for name in entry.files)


def test_keeps_cases_that_the_export_no_longer_lists(
    cohort: Path, tmp_path: Path, key: Path
) -> None:
    source, out = tmp_path / "export", tmp_path / "dataset"
    shutil.copytree(cohort, source)
    make(source, out, key=key)
    shutil.rmtree(source / "CT_Export" / "000002")
    summary = make(source, out, key=key)
    assert summary.verdict == ("5 training cases of 5 patients; 1 of them no longer in the export")
    # Whoever takes its files away takes it out of the dataset.
    gone = open_pseudonyms(out, key).patient("000002")
    (entry,) = (entry for entry in summary.created if entry.patient == gone)
    (out / entry.files[0]).unlink()
    assert len(make(source, out, key=key).created) == 4
    assert not list(out.rglob(f"*{entry.case}*"))  # what was left of them goes too


def test_a_case_of_another_kind_takes_the_place_of_its_earlier_one(
    exported: Path, tmp_path: Path, key: Path
) -> None:
    """The export came without contrast CT at first: the same patient would count twice."""
    out = tmp_path / "dataset"
    before = tmp_path / "before"
    shutil.copytree(exported, before)
    for name in ("ledger.sqlite", "manifest.json"):
        (before / name).unlink()
    shutil.rmtree(before / "KM_Export")
    first = make(before, out, key=key, dicom=True)
    summary = make(exported, out, key=key, dicom=True)
    fresh = make(exported, tmp_path / "fresh", key=key, dicom=True)
    assert {entry.key for entry in first.created} != {entry.key for entry in fresh.created}
    assert [entry.key for entry in summary.created] == [entry.key for entry in fresh.created]
    same = ("facts/", "pictures/", "dicom/")
    assert {n for n in tree(out) if n.startswith(same)} == {
        n for n in tree(tmp_path / "fresh") if n.startswith(same)
    }


def test_what_was_there_stays_until_all_is_done(cohort: Path, tmp_path: Path, key: Path) -> None:
    """Nobody may find half a dataset, least of all a training that runs."""
    out = tmp_path / "dataset"
    make(cohort, out, key=key)
    before = {name: digest for name, digest in tree(out).items() if not name.startswith(".")}

    class Looks(Watcher):
        def finish(self, entry: Entry) -> None:
            super().finish(entry)
            now = tree(out)
            assert {name: now[name] for name in now if not name.startswith(".")} == before

    watcher = Looks()
    make(cohort, out, watcher, key=key, gates=Gates(gtv_ml=1.0))
    assert len(watcher.entries) == 5


def test_a_worker_that_dies_fails_its_case_alone(
    cohort: Path, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "dataset"
    undisturbed = make(cohort, tmp_path / "undisturbed", key=key)
    with monkeypatch.context() as patch:
        patch.setattr(build, "Conversion", partial(dataset_work.Deadly, patient_id="000003"))
        summary = make(cohort, out, key=key, workers=2)
    patient = open_pseudonyms(out, key).patient("000003")
    assert [(entry.patient, entry.state) for entry in summary.missing] == [(patient, "failed")]
    assert "died" in summary.missing[0].reasons[0]
    assert len(list(out.rglob("*.npz"))) == len(summary.created) == 4
    assert not list(out.rglob(f"*{summary.missing[0].case}*"))
    again = make(cohort, out, key=key).created
    assert [entry.key for entry in again] == [entry.key for entry in undisturbed.created]
    # Who came later got what part was left; all else is the same.
    assert contents(out) == contents(tmp_path / "undisturbed")


def test_a_case_whose_files_vanish_meanwhile_is_not_called_made(
    cohort: Path, tmp_path: Path, key: Path
) -> None:
    """Such as by a worker that an earlier run has left behind on a cluster."""
    out = tmp_path / "dataset"

    class Thief(Watcher):
        def finish(self, entry: Entry) -> None:
            super().finish(entry)
            if len(self.entries) == 2:
                (out / self.entries[0].files[0]).unlink()

    thief = Thief()
    summary = make(cohort, out, thief, key=key)
    (failed,) = summary.missing
    assert failed.key == thief.entries[0].key
    assert "no longer all there" in failed.reasons[0]
    assert not list(out.rglob(f"*{failed.case}*"))
    assert len(summary.created) == sum(map(len, summary.split.cases.values())) == 4
    assert json.loads((out / DATASET_NAME).read_text())["counts"] == {"created": 4, "failed": 1}
    assert len(make(cohort, out, key=key).created) == 5


def contents(out: Path) -> dict[str, str]:
    """Every file of a case by its name, whatever part it is in."""
    return {path.rpartition("/")[2]: d for path, d in tree(out).items() if "_case_" in path}


def test_what_no_one_expects_is_a_reason_without_a_value(tmp_path: Path) -> None:
    from stardust_esapi.dataset.pseudonym import Pseudonyms

    class Odd:
        """Settings that break the conversion from within."""

        dicom = False

        def __getattr__(self, name: str) -> object:
            raise RuntimeError("about PAT-SECRET-4711")

    folder = write_case(tmp_path / "export", 1)
    task = Task("key", Kind.CT, "000001", folder, folder, source="x")
    work = Conversion(Odd(), Pseudonyms(KEY), tmp_path / "out")  # type: ignore[arg-type]
    entry = work(task)
    assert entry.state == "failed"
    assert entry.reasons[0].startswith(
        "Something unexpected happened (RuntimeError in dataset.convert line "
    )
    assert "SECRET" not in str(entry)


# --- the same bytes, whoever works ----------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_dask_makes_the_same_bytes(exported: Path, tmp_path: Path, key: Path) -> None:
    make(exported, tmp_path / "processes", key=key, workers=2, dicom=True)
    with schedule_work.cluster(2) as cluster:
        address = cluster.scheduler_address
        make(exported, tmp_path / "dask", key=key, scheduler=address, dicom=True)
    assert tree(tmp_path / "dask") == tree(tmp_path / "processes")


# --- killed ---------------------------------------------------------------------------------


def start(source: Path, out: Path, key: Path, **options: Any) -> subprocess.Popen[str]:
    """Make a dataset in a process group of its own."""
    text = json.dumps({"workers": 1, "key": str(key)} | options)
    return subprocess.Popen(
        [sys.executable, "-c", "import dataset_work; dataset_work.main()", source, out, text],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    with ending(process):
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert err == ""
    said: dict[str, Any] = json.loads(out)
    return said


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of two small cases; for reading only."""
    root = tmp_path_factory.mktemp("pair") / "export"
    write_cohort(root, 2, Size(32, 28, 16))
    return root


def _some(points: int, count: int) -> Iterator[int]:
    """Points spread over all of them, the first and the last included."""
    yield from sorted({1 + round(n * (points - 1) / (count - 1)) for n in range(count)})


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kills process groups")
@pytest.mark.parametrize("place", ["worker", "parent"])
def test_killed_at_any_moment_it_goes_on(pair: Path, tmp_path: Path, key: Path, place: str) -> None:
    """All processes at once, as when the machine fails: at points of the worker's and parent's."""
    make(pair, tmp_path / "undisturbed", key=key, dicom=True)
    expected = tree(tmp_path / "undisturbed")
    counted = ended(start(pair, tmp_path / "counted", key, dicom=True, place=place, last=-1))
    points = counted["points"] or max(counted["told"])
    assert points > 8
    for point in _some(points, 4):
        out = tmp_path / f"at-{point}"
        killed = start(pair, out, key, dicom=True, place=place, last=point)
        with ending(killed):
            killed.communicate(timeout=PATIENCE)
        assert killed.returncode == -signal.SIGKILL
        # Whatever bears a final name is whole.
        for name, digest in tree(out).items():
            if name.startswith(("train", "test", "facts", "pictures")):
                assert digest == expected[name], (point, name)
        summary = make(pair, out, key=key, dicom=True)
        assert len(summary.created) == 2
        assert tree(out) == expected, point


# --- memory ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads peaks from /proc")
def test_one_cases_memory_bounds_the_whole(tmp_path: Path, key: Path) -> None:
    """A worker that kept a case would need at least its arrays more: two volumes of bytes."""
    size = Size(256, 256, 48)
    write_cohort(tmp_path / "export", 8, size)
    said = ended(start(tmp_path / "export", tmp_path / "dataset", key, place="measure"))
    peaks = said["told"]
    case_kb = 2 * size.columns * size.rows * size.slices / 1024
    assert len(peaks) == 8
    assert peaks == sorted(peaks)
    # The second case finds the heap as the first one left it.
    assert peaks[-1] - peaks[1] < case_kb
    # The parent never holds a volume.
    assert said["parent_kb"] < min(peaks)


# --- refused --------------------------------------------------------------------------------


def test_export_and_dataset_never_lie_in_one_another(cohort: Path, tmp_path: Path) -> None:
    for source, out in (
        (cohort, cohort),
        (cohort, cohort / "dataset"),
        (tmp_path / "all" / "export", tmp_path / "all"),
    ):
        with pytest.raises(UsageError, match="must not lie in one another"):
            make(source, out)
    assert not (cohort / "dataset").exists()


def test_a_second_run_is_kept_out(cohort: Path, tmp_path: Path, key: Path) -> None:
    out = tmp_path / "dataset"

    class Second(Watcher):
        def start(self, cases: int) -> None:
            with pytest.raises(UsageError, match="Another run is making"):
                make(cohort, out, key=key)
            super().start(cases)

    watcher = Second()
    make(cohort, out, watcher, key=key)
    assert watcher.started == 5


def test_says_that_its_list_is_damaged(cohort: Path, tmp_path: Path, key: Path) -> None:
    out = tmp_path / "dataset"
    make(cohort, out, key=key)
    (out / DATASET_NAME).write_text("{}")
    with pytest.raises(UsageError, match=r"dataset\.json is damaged"):
        make(cohort, out, key=key)


def test_another_split_is_refused_before_any_work(cohort: Path, tmp_path: Path, key: Path) -> None:
    out, watcher = tmp_path / "dataset", Watcher()
    make(cohort, out, key=key)
    with pytest.raises(UsageError, match=r"--split 0\.8"):
        make(cohort, out, watcher, key=key, split=0.5)
    assert watcher.started == -1


def test_a_dataset_of_the_old_layout_is_refused_before_any_work(
    cohort: Path, tmp_path: Path
) -> None:
    (tmp_path / "cases").mkdir()
    with pytest.raises(UsageError, match="again in a new folder"):
        make(cohort, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cases"]


def test_the_mapping_is_written_where_the_user_says(
    cohort: Path, tmp_path: Path, key: Path
) -> None:
    out = tmp_path / "dataset"
    settings = Dataset(workers=1, key=key)
    with pytest.raises(UsageError, match="must not lie in the dataset"):
        build_dataset(DatasetJob(cohort, out, settings, out / "mapping.csv"), Watcher())
    assert not out.exists()
    summary = build_dataset(DatasetJob(cohort, out, settings, tmp_path / "m.csv"), Watcher())
    lines = (tmp_path / "m.csv").read_text().splitlines()[1:]
    assert {line.partition(";")[0] for line in lines} == {e.patient for e in summary.created}
    assert {line.partition(";")[2] for line in lines} == {f"{n:06}" for n in range(5)}
