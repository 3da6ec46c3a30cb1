"""What a training on the NPZ files of a dataset finds, counted against what the dataset says."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumer import npz_dataset
from consumer.npz_dataset import Words
from stardust_esapi.dataset.build import DatasetJob, build_dataset
from stardust_esapi.settings import Dataset

WORDS = {
    "0000471108150042": ("Glio", "Kopf"),
    "PAT-ÄÖ-778899": ("Lunge", "Thorax"),
    "A/17.bc-5566": ("Lunge", "Geheim Gerda"),
}


class Watcher:
    def start(self, cases: int) -> None: ...

    def finish(self, entry: object) -> None: ...


@pytest.fixture(scope="module")
def dataset(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three patients, whose words stand in the case list; for reading only."""
    root = tmp_path_factory.mktemp("npz")
    source = shutil.copytree(exported, root / "export")
    with sqlite3.connect(source / "ledger.sqlite") as db:
        for patient, (kind, region) in WORDS.items():
            db.execute(
                "UPDATE cases SET case_kind = ?, label2 = ? WHERE patient_id = ?",
                (kind, region, patient),
            )
    db.close()
    settings = Dataset(workers=1, split=0.6, folds=2)
    build_dataset(DatasetJob(source, root / "dataset", settings), Watcher())
    return root / "dataset"


def said(dataset: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((dataset / name).read_bytes()))


def test_both_parts_are_flat_and_hold_what_the_dataset_says(dataset: Path):
    found = {part: npz_dataset.flat_names(dataset / part) for part in ("train", "test")}
    assert all(found.values())
    for part, names in found.items():
        assert names == npz_dataset.names(dataset / part)
        assert names == sorted(said(dataset, "lists/split.json")[part])
    document = said(dataset, "dataset.json")
    listed = [
        Path(name) for e in document["entries"] for name in e["files"] if name.endswith(".npz")
    ]
    assert sorted((path.parent.name, path.stem) for path in listed) == [
        (part, name) for part in ("test", "train") for name in found[part]
    ]
    assert sum(map(len, found.values())) == document["counts"]["created"] == 5


def test_names_can_be_filtered_by_their_words(dataset: Path):
    names = [name for part in ("train", "test") for name in npz_dataset.names(dataset / part)]
    found = list(map(npz_dataset.words, names))
    assert sorted((one.casekind, one.region, one.kind) for one in found) == [
        ("Glio", "Kopf", "KM"),
        ("Glio", "Kopf", "MR"),
        ("Lunge", "Thorax", "CT"),
        ("Lunge", "other", "CT"),
        ("Lunge", "other", "MR"),
    ]
    cases = {one.case for one in found}
    assert len(cases) == 3  # a case's MR bears its CT's number


def test_what_is_trained_on_is_whole(dataset: Path):
    entries = {
        Path(name).stem: entry
        for entry in said(dataset, "dataset.json")["entries"]
        for name in entry["files"]
    }
    for part in ("train", "test"):
        for name in npz_dataset.names(dataset / part):
            video = npz_dataset.load(dataset / part, name)
            entry = entries[name]
            assert list(video.numbers.shape) == entry["shape"]
            assert video.frames.shape == (entry["shape"][0], 3, *entry["shape"][1:])
            assert 0 <= video.frames.min() < video.frames.max() <= 1
            frames = range(len(video.frames))
            numbers = {number for frame in frames for number in video.objects(frame)}
            assert {1, 2} <= numbers <= {one["label"] for one in entry["structures"]}
            assert (video.numbers == 1).sum() == entry["structures"][0]["voxels"]
            assert list(video.starts(8))


def test_folds_restrict_the_training_to_whole_patients(dataset: Path):
    whose = {
        Path(name).stem: entry["patient"]
        for entry in said(dataset, "dataset.json")["entries"]
        for name in entry["files"]
    }
    train = npz_dataset.names(dataset / "train")
    folds = json.loads((dataset / "lists/splits_final.json").read_bytes())
    assert len(folds) == 2
    for fold in folds:
        trains, validates = (
            npz_dataset.names(dataset / "train", fold[name]) for name in ("train", "val")
        )
        assert sorted(trains + validates) == train
        assert not {whose[name] for name in trains} & {whose[name] for name in validates}
    in_test = {whose[name] for name in npz_dataset.names(dataset / "test")}
    assert not in_test & {whose[name] for name in train}


def test_the_reader_refuses_what_training_would_take_in_silence(tmp_path: Path):
    (tmp_path / "a.npz").touch()
    (tmp_path / "notes.json").touch()
    with pytest.raises(ValueError, match=r"notes\.json"):
        npz_dataset.flat_names(tmp_path)
    assert npz_dataset.words("Lunge_case_c1_Thorax_MR") == Words("Lunge", "c1", "Thorax", "MR")
    for name in ("Lunge_case_c1_Thorax", "Lunge__c1_Thorax_MR", "Lunge_case_c1_Thorax_PET"):
        with pytest.raises(ValueError, match=r"casekind|unpack"):
            npz_dataset.words(name)
    grey = np.zeros((2, 3, 4), np.uint8)
    np.savez(tmp_path / "b.npz", imgs=grey, gts=grey.transpose(0, 2, 1))
    with pytest.raises(ValueError, match="not two arrays"):
        npz_dataset.load(tmp_path, "b")
