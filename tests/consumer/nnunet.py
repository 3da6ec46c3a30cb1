"""A reader of nnU-Net's raw datasets for tests: does a folder hold what nnU-Net asks for?

Made from nnU-Net v2's documentation (``documentation/dataset_format.md``) and from what its own
check of a dataset looks at (``verify_dataset_integrity``), with nibabel as a parser alone. It
shares no code with stardust_esapi.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Case:
    """One image of one channel with its labels; arrays are (x, y, z)."""

    image: NDArray[Any]
    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]
    """Index to the patient's frame as DICOM has it (LPS), mm: 4 x 4."""


@dataclass(frozen=True)
class RawDataset:
    """What ``DatasetNNN_NAME`` holds."""

    channel: str
    labels: dict[str, int]
    training: dict[str, Case]
    testing: dict[str, Case]
    splits: list[dict[str, list[str]]]
    """Of ``splits_final.json``, which nnU-Net takes over when it plans; empty without one."""


def read_raw(folder: Path) -> dict[str, RawDataset]:
    """All datasets of a folder that ``nnUNet_raw`` may name."""
    found = {}
    for one in sorted(folder.iterdir()):
        assert re.fullmatch(r"Dataset\d{3}_\w+", one.name)
        found[one.name] = read_dataset(one)
    return found


def read_dataset(folder: Path) -> RawDataset:
    about = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    [(number, channel)] = about["channel_names"].items()
    assert number == "0"
    numbers = list(about["labels"].values())
    assert about["labels"]["background"] == 0
    assert numbers == list(range(len(numbers))), "labels are to be consecutive"
    ending = about["file_ending"]
    parts = {
        part: _cases(folder / f"images{part}", folder / f"labels{part}", ending, set(numbers))
        for part in ("Tr", "Ts")
    }
    assert len(parts["Tr"]) == about["numTraining"]
    known = {"dataset.json", "splits_final.json", "imagesTr", "labelsTr", "imagesTs", "labelsTs"}
    assert {path.name for path in folder.iterdir()} <= known
    splits = folder / "splits_final.json"
    folds = json.loads(splits.read_text(encoding="utf-8")) if splits.exists() else []
    for fold in folds:
        assert not set(fold["train"]) & set(fold["val"])
        assert set(fold["train"]) | set(fold["val"]) <= set(parts["Tr"])
    return RawDataset(channel, about["labels"], parts["Tr"], parts["Ts"], folds)


def _cases(images: Path, labels: Path, ending: str, allowed: set[int]) -> dict[str, Case]:
    if not images.exists():
        return {}
    tail = f"_0000{ending}"  # its one channel
    names = {path.name for path in images.iterdir()}
    assert all(name.endswith(tail) for name in names)
    identifiers = {name.removesuffix(tail) for name in names}
    assert {path.name for path in labels.iterdir()} == {f"{one}{ending}" for one in identifiers}
    return {
        one: _case(images / f"{one}{tail}", labels / f"{one}{ending}", allowed)
        for one in sorted(identifiers)
    }


def _case(image: Path, labels: Path, allowed: set[int]) -> Case:
    values, marked = nibabel.load(image), nibabel.load(labels)
    assert values.ndim == 3
    assert values.shape == marked.shape
    np.testing.assert_allclose(values.affine, marked.affine)
    np.testing.assert_allclose(values.header.get_zooms(), marked.header.get_zooms())
    array, numbers = np.asarray(values.dataobj), np.asarray(marked.dataobj)
    assert np.isfinite(array).all()
    assert set(np.unique(numbers).tolist()) <= allowed
    return Case(array, numbers, np.diag([-1.0, -1.0, 1.0, 1.0]) @ values.affine)
