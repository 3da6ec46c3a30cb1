"""A second reader of a dataset's NPZ files, for tests: what does MedSAM2's training find?

Made from what MedSAM2's loader of NPZ folders does, and from the description of STARDUST's own
tools, which list one flat folder and filter by the words of a name. It shares no code with either,
and none with stardust_esapi.

The loader goes through a folder with all that lies below it and takes every name that ends in
`.npz`, sorted. Of a file it wants two arrays: `imgs`, slices of grey values from 0 to 255, and
`gts`, a number for each voxel. A slice is a frame; each number but 0 that occurs in it an object.
A list of names without endings, one a line, may restrict a folder. What it would take in silence,
and train nonsense on, is an error here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

KINDS = ("CT", "KM", "MR")


@dataclass(frozen=True)
class Words:
    """What a file's name says."""

    casekind: str
    case: str
    region: str
    kind: str


@dataclass(frozen=True)
class Video:
    """A file as the training takes it."""

    name: str
    frames: NDArray[np.float64]
    """frame, colour, y, x: from 0 to 1, three times the same grey."""
    numbers: NDArray[np.integer]
    """frame, y, x."""

    def objects(self, frame: int) -> dict[int, NDArray[np.bool_]]:
        """The objects of a frame: mask (y, x) by number."""
        labels = self.numbers[frame]
        return {int(number): labels == number for number in np.unique(labels) if number}

    def starts(self, length: int) -> Iterator[int]:
        """Where a clip of so many frames can begin: there must be an object in its first one."""
        for frame in range(len(self.frames) - length + 1):
            if self.objects(frame):
                yield frame


def names(folder: Path, listed: Iterable[str] | None = None) -> list[str]:
    """The names that training finds in a folder, without their endings."""
    found = [
        path.relative_to(folder).as_posix().removesuffix(".npz") for path in folder.rglob("*.npz")
    ]
    return sorted(found if listed is None else set(found) & {name.strip() for name in listed})


def flat_names(folder: Path) -> list[str]:
    """The same as tools list it that look into the folder alone and know nothing but NPZ."""
    entries = sorted(path.name for path in folder.iterdir())
    if strange := [name for name in entries if not name.endswith(".npz")]:
        raise ValueError(f"neither NPZ nor anything else that belongs into {folder}: {strange}")
    return [name.removesuffix(".npz") for name in entries]


def words(name: str) -> Words:
    """The words that tools filter by."""
    casekind, case, number, region, kind = name.split("_")
    if case != "case" or kind not in KINDS or not (casekind and number and region):
        raise ValueError(f"not <casekind>_case_<n>_<Label2>_<CT|KM|MR>: {name}")
    return Words(casekind, number, region, kind)


def load(folder: Path, name: str) -> Video:
    """Read a file as the training does."""
    with np.load(folder / f"{name}.npz") as data:  # no pickles, as numpy does by itself
        images, numbers = data["imgs"], data["gts"]
    if images.ndim != 3 or images.shape != numbers.shape:
        raise ValueError(f"not two arrays of frames alike: {images.shape}, {numbers.shape}")
    if images.dtype != np.uint8 or not np.issubdtype(numbers.dtype, np.integer):
        raise ValueError(f"neither grey values nor numbers: {images.dtype}, {numbers.dtype}")
    frames = np.repeat((images / 255.0)[:, np.newaxis], 3, axis=1)
    return Video(name, frames, numbers)
