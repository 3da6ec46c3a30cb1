"""The pictures of exported cases, kept in the output folder for later reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from loguru import logger

from stardust_esapi import files
from stardust_esapi.errors import in_words
from stardust_esapi.model import Case, CaseResult, Kind
from stardust_esapi.report.pictures import Pictures, case_pictures

FOLDER = ".pictures"


def draw(root: Path, case: Case, folders: Mapping[Kind, str]) -> Pictures:
    """Draw a case from its exported files, and keep the pictures; none is worth ending a run."""
    drawn = case_pictures({kind: root / folder for kind, folder in folders.items()})
    try:
        files.make_folder(root / FOLDER)
        for kind, picture in drawn.images.items():
            files.atomic_write(_path(root, case, kind), picture)
    except OSError as error:  # the next report draws them again
        logger.warning("The pictures of {} cannot be kept: {}", case, in_words(error))
    return drawn


def pictures(root: Path, results: Iterable[CaseResult]) -> dict[str, Mapping[Kind, bytes]]:
    """Pictures of the exported cases by key: kept ones, or drawn now where a kill came before."""
    found: dict[str, Mapping[Kind, bytes]] = {}
    for result in results:
        if result.state.is_exported:
            paths = {kind: _path(root, result.case, kind) for kind in Kind}
            kept = {kind: picture for kind, path in paths.items() if (picture := _kept(path))}
            found[result.case.key] = kept or draw(root, result.case, result.folders).images
    return found


def _kept(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # there is none, or it cannot be read now
        return b""


def _path(root: Path, case: Case, kind: Kind) -> Path:
    return root / FOLDER / f"{case.key}-{kind}.png"
