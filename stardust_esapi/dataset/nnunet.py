"""nnU-Net v2's raw datasets: ``nnunet`` of a dataset is what nnU-Net calls ``nnUNet_raw``.

There are two, for channel names decide how nnU-Net scales values: ``CT`` by the foreground of all
cases, anything else case by case. CT with and without contrast are both HU. Labels are background,
``gtv+`` and ``target+`` alone: the others are other structures in every case, while a label of
nnU-Net's is one thing in all. Its documentation: ``documentation/dataset_format.md``,
``documentation/explanation_normalization.md``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.dataset.entry import Entry
from stardust_esapi.dataset.labels import BACKGROUND, GTV_LABEL, TARGET_LABEL
from stardust_esapi.files import atomic_write, make_folder, remove_tree, rename, sync_folder
from stardust_esapi.model import Kind

FOLDER = "nnunet"
_CHANNELS = {"CT": "Dataset501_CT", "MR": "Dataset502_MR"}
"""Folder of the dataset by the name of its one channel."""
_ENDING = ".nii.gz"

Part = Literal["Tr", "Ts"]


def places(entry: Entry, part: Part) -> tuple[str, str]:
    """Where image and labels of a case lie, relative to the whole dataset's folder.

    Args:
        entry: The case.
        part: ``Tr``: nnU-Net trains on it. ``Ts``: it does not look at it.
    """
    folder = f"{FOLDER}/{_CHANNELS[_channel(entry)]}"
    name = PurePosixPath(entry.name).name
    return f"{folder}/images{part}/{name}_0000{_ENDING}", f"{folder}/labels{part}/{name}{_ENDING}"


def _channel(entry: Entry) -> str:
    return "MR" if entry.kind is Kind.MR else "CT"


def labels_of_all(gts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The labels that mean the same in all cases; the other structures are background."""
    return np.where(gts <= TARGET_LABEL, gts, 0).astype(np.uint8)


def arrange(out: Path, entries: Iterable[Entry], testing: Collection[str]) -> Iterator[Entry]:
    """Put every case into its part, and write what nnU-Net wants to know of each of the datasets.

    Args:
        out: The whole dataset's folder.
        entries: What became of all cases.
        testing: Patients (by pseudonym) that are not for training.

    Yields:
        The entries, with the places where their files lie now.

    Raises:
        OSError: The file system refuses.
    """
    training: dict[str, int] = {}
    for entry in entries:
        written, tested = places(entry, "Tr"), places(entry, "Ts")
        moved = dict(zip(written, tested, strict=True)) if entry.patient in testing else {}
        for before, after in moved.items():
            if before in entry.files:
                make_folder((out / after).parent)
                rename(out / before, out / after)
                sync_folder((out / after).parent)
        files = tuple(moved.get(name, name) for name in entry.files)
        if not {written[0], tested[0]}.isdisjoint(files):
            training.setdefault(_channel(entry), 0)
            training[_channel(entry)] += written[0] in files
        yield replace(entry, files=files)
    for channel, name in _CHANNELS.items():
        if channel not in training:
            remove_tree(out / FOLDER / name)
            continue
        document = {
            "channel_names": {"0": channel},
            "labels": {BACKGROUND: 0, "gtv+": GTV_LABEL, "target+": TARGET_LABEL},
            "numTraining": training[channel],
            "file_ending": _ENDING,
        }
        path = out / FOLDER / name / "dataset.json"
        atomic_write(path, json.dumps(document, indent=1) + "\n")
    if not training:
        remove_tree(out / FOLDER)
