from __future__ import annotations

from pathlib import Path

from consumer.nnunet import RawDataset, read_raw
from dataset_cohort import tree
from stardust_esapi.dataset.build import DatasetJob, DatasetSummary, build_dataset
from stardust_esapi.dataset.entry import Entry
from stardust_esapi.dataset.layout import sweep
from stardust_esapi.dataset.nnunet import write_documents
from stardust_esapi.dataset.split import Part
from stardust_esapi.model import Kind
from stardust_esapi.settings import Dataset, Format


class Counter:
    """How many conversions were to be done."""

    started = -1

    def start(self, cases: int) -> None:
        self.started = cases

    def finish(self, entry: Entry) -> None: ...


def make(source: Path, out: Path, watcher: Counter) -> DatasetSummary:
    settings = Dataset(workers=1, split=0.5, formats=(Format.NNUNET,))
    return build_dataset(DatasetJob(source, out, settings), watcher)


def cases(summary: DatasetSummary, kinds: set[Kind], part: Part) -> set[str]:
    return {
        entry.name
        for entry in summary.created
        if entry.kind in kinds and summary.split.patients[entry.patient] is part
    }


def test_one_dataset_of_ct_and_one_of_mr_each_in_two_parts(exported: Path, tmp_path: Path) -> None:
    out, watcher = tmp_path / "dataset", Counter()
    summary = make(exported, out, watcher)
    assert watcher.started == 5
    found = read_raw(out / "nnunet")
    of: dict[str, tuple[RawDataset, set[Kind]]] = {
        "CT": (found["Dataset501_CT"], {Kind.CT, Kind.KM}),
        "MR": (found["Dataset502_MR"], {Kind.MR}),
    }
    for channel, (raw, kinds) in of.items():
        assert raw.channel == channel
        assert raw.labels == {"background": 0, "gtv+": 1, "target+": 2}
        assert set(raw.training) == cases(summary, kinds, Part.TRAIN)
        assert set(raw.testing) == cases(summary, kinds, Part.TEST)
        # Of two patients for training each trains once and validates once; who has no MR does not.
        assert [len(fold["val"]) for fold in raw.splits] == [1] * len(raw.splits)
        assert len(raw.splits) == (len(raw.training) if len(raw.training) > 1 else 0)
    assert sum(len(raw.testing) for raw, _ in of.values())
    assert all((out / name).exists() for entry in summary.created for name in entry.files)

    before = tree(out)
    make(exported, out, watcher)
    assert watcher.started == 0
    assert tree(out) == before

    write_documents(out, [], summary.split)
    sweep(out, set())
    assert not (out / "nnunet").exists()
