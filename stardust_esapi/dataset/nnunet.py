"""nnU-Net v2's raw datasets: ``nnunet`` of a dataset is what nnU-Net calls ``nnUNet_raw``.

There are two, for channel names decide how nnU-Net scales values: ``CT`` by the foreground of all
cases, anything else case by case. CT with and without contrast are both HU. Labels are background,
``gtv+`` and ``target+`` alone: the others are other structures in every case, while a label of
nnU-Net's is one thing in all. Its documentation: ``documentation/dataset_format.md``,
``documentation/explanation_normalization.md``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.dataset.entry import Entry
from stardust_esapi.dataset.labels import BACKGROUND, GTV_LABEL, TARGET_LABEL
from stardust_esapi.dataset.split import Part, Split, folds_document
from stardust_esapi.files import atomic_write, remove
from stardust_esapi.model import Kind

FOLDER: Final = "nnunet"
FOLDERS: Final = (f"{FOLDER}/*/*/", f"{FOLDER}/*/", f"{FOLDER}/")
"""All that it may hold, the inner ones first."""

_DATASETS = {"CT": "Dataset501_CT", "MR": "Dataset502_MR"}
"""Folder of the dataset by the name of its one channel."""
_ENDING = ".nii.gz"
_PARTS = {Part.TRAIN: "Tr", Part.TEST: "Ts"}


def places(entry: Entry) -> tuple[str, str]:
    """Where image and labels of a case lie below the dataset, were it for training."""
    folder = f"{FOLDER}/{_DATASETS['MR' if entry.kind is Kind.MR else 'CT']}"
    return (
        f"{folder}/imagesTr/{entry.name}_0000{_ENDING}",
        f"{folder}/labelsTr/{entry.name}{_ENDING}",
    )


def in_part(name: str, part: Part) -> str:
    """Where such a file lies in a part: nnU-Net does not look at those for testing.

    Any other name stays what it is.
    """
    return re.sub(rf"^({FOLDER}/\w+/[a-z]+)T[rs]/", rf"\g<1>{_PARTS[part]}/", name)


def labels_of_all(gts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The labels that mean the same in all cases; the other structures are background."""
    return np.where(gts <= TARGET_LABEL, gts, 0).astype(np.uint8)


def write_documents(out: Path, entries: Iterable[Entry], split: Split) -> None:
    """Write what nnU-Net wants to know of each dataset; of one without a case it goes.

    Args:
        out: The whole dataset's folder.
        entries: All cases, their files in their places.
        split: Its folds are nnU-Net's ``splits_final.json``, which it takes over when it plans.

    Raises:
        OSError: The file system refuses.
    """
    files = [Path(name) for entry in entries for name in entry.files]
    for channel, dataset in _DATASETS.items():
        folder = Path(FOLDER) / dataset
        training = {
            file.name.removesuffix(_ENDING) for file in files if file.parent == folder / "labelsTr"
        }
        about = {
            "channel_names": {"0": channel},
            "labels": {BACKGROUND: 0, "gtv+": GTV_LABEL, "target+": TARGET_LABEL},
            "numTraining": len(training),
            "file_ending": _ENDING,
        }
        folds = [
            {part: [name for name in names if name in training] for part, names in fold.items()}
            for fold in folds_document(split)
        ]
        folds = [fold for fold in folds if all(fold.values())]  # a patient may have no MR
        there = any(folder in file.parents for file in files)
        for name, document in (("dataset.json", about), ("splits_final.json", folds)):
            _write_or_remove(out / folder / name, document if there else None)


def _write_or_remove(path: Path, document: Any) -> None:
    if document:
        atomic_write(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    else:
        remove(path)
