"""The pictures of exported cases, kept beside the report's pages, which show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from loguru import logger

from stardust_esapi import files
from stardust_esapi.errors import in_words
from stardust_esapi.model import IMAGE_KINDS, Case, CaseResult, Kind
from stardust_esapi.report.pictures import Pictures, case_pictures

FOLDER = "report"
"""The folder of ``report.html``'s pages."""


def draw(root: Path, case: Case, folders: Mapping[Kind, str]) -> Pictures:
    """Draw a case from its exported files, and keep the pictures; none is worth ending a run."""
    drawn = case_pictures({kind: root / folder for kind, folder in folders.items()})
    try:
        files.make_folder(root / FOLDER)
        for kind, picture in drawn.images.items():
            files.atomic_write(root / FOLDER / _name(case, kind), picture)
    except OSError as error:  # the next report draws them again
        logger.warning("The pictures of {} cannot be kept: {}", case, in_words(error))
    return drawn


def pictures(root: Path, results: Iterable[CaseResult]) -> dict[str, tuple[Kind, ...]]:
    """The kinds with a picture by key of each exported case; drawn now where a kill came before."""
    exported = [result for result in results if result.state.is_exported]
    there = _names(root)
    for result in exported:
        if not any(_name(result.case, kind) in there for kind in IMAGE_KINDS):
            draw(root, result.case, result.folders)
    there = _names(root)
    return {
        result.case.key: tuple(kind for kind in IMAGE_KINDS if _name(result.case, kind) in there)
        for result in exported
    }


def _names(root: Path) -> set[str]:
    try:
        return {path.name for path in (root / FOLDER).iterdir()}
    except OSError:  # there is none, or it cannot be read now
        return set()


def _name(case: Case, kind: Kind) -> str:
    return f"{case.key}-{kind}.png"
