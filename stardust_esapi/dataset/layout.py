"""Where in a dataset its files lie, whatever their format.

``train/`` and ``test/`` hold what is trained on and nothing else: trainers take what they find
there. Files wait in :data:`WAITING` until it is known of every patient which part he has, and are
moved then, whole.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Final

from stardust_esapi.dataset import nnunet
from stardust_esapi.dataset.entry import Entry
from stardust_esapi.dataset.split import Part
from stardust_esapi.errors import UsageError
from stardust_esapi.files import make_folder, remove, remove_tree, rename

WAITING: Final = ".new"
"""A folder for each case whose files have no part yet, and the journal that tells of them."""

EITHER: Final = "part"
"""What stands there for ``train`` or ``test``."""

IMAGES: Final = "images"
LABELS: Final = "labels"
"""NIfTI's two folders in each part: a case's files have the same name in both."""

FACTS: Final = "facts"
PICTURES: Final = "pictures"
DICOM: Final = "dicom"

_OF_A_CASE = re.compile(r"_case_c[a-z2-7]{15}_")


def refuse_old(out: Path) -> None:
    """Refuse a dataset whose files lie in ``cases/``, as those of earlier states do.

    Raises:
        UsageError: It is one.
    """
    if (out / "cases").is_dir() or (out / "split.json").exists():
        raise UsageError(
            f"{out} is a dataset of an earlier state of this program: its files lie in cases/, "
            "where no trainer looks. Make it again in a new folder: give another --out, and its "
            "key as --key for the same pseudonyms."
        )


def is_whole(entry: Entry, out: Path, part: Part | None) -> bool:
    """Whether all files of an entry are there: waiting, or moved to their places already."""
    return entry.created and all(
        (out / name).exists() or (part is not None and (out / _placed(name, part)).exists())
        for name in entry.files
    )


def place(entry: Entry, out: Path, part: Part) -> Entry:
    """Move an entry's files, which are all there, to where those of a part lie.

    Returns:
        The entry with their names there.

    Raises:
        OSError: The file system refuses, such as Windows while another program reads a file.
    """
    for name in entry.files:
        source, target = out / name, out / _placed(name, part)
        if source != target and source.exists():  # else a run that was killed has moved it
            make_folder(target.parent)
            if target.is_dir():
                remove_tree(target)
            rename(source, target)
    return replace(
        entry,
        files=tuple(_placed(name, part) for name in entry.files),
        thumbnail=_placed(entry.thumbnail, part),
    )


def sweep(out: Path, kept: Collection[str]) -> None:
    """Remove what belongs to no case any more, the empty folders, and what has waited.

    Only what bears a name of this program's goes: whoever puts files there, they are his.

    Args:
        out: The dataset's folder.
        kept: The files that stay, relative to it.
    """
    for path in (*_files(out), *(out / DICOM).glob("p*/c*")):
        if path.relative_to(out).as_posix() not in kept:
            if path.is_dir():
                remove_tree(path)
            else:
                remove(path)
    patterns = (f"{DICOM}/*/", *(f"{part}/*/" for part in Part), f"{DICOM}/", *nnunet.FOLDERS)
    for pattern in patterns:
        for folder in out.glob(pattern):
            if not any(folder.iterdir()):
                folder.rmdir()
    remove_tree(out / WAITING)


def _files(out: Path) -> list[Path]:
    """The files of cases, whatever case they are of."""
    folders = [out / name for name in (*Part, FACTS, PICTURES, nnunet.FOLDER)]
    return [p for folder in folders for p in folder.rglob("*") if _OF_A_CASE.search(p.name)]


def _placed(name: str, part: Part) -> str:
    """The name of a file where it belongs, wherever it is."""
    there = re.sub(rf"^{re.escape(WAITING)}/[^/]+/", "", name)
    there = re.sub(rf"^(?:{'|'.join((EITHER, *Part))})/", f"{part}/", there)
    return nnunet.in_part(there, part)
