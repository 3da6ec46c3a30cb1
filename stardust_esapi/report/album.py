"""The pictures of exported cases, kept in the output folder for later reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock

from stardust_esapi import files
from stardust_esapi.model import Case, CaseResult, Kind
from stardust_esapi.report.pictures import Pictures, case_pictures

FOLDER = ".pictures"
_drawing = Lock()  # matplotlib is not made for several threads at once


def draw(root: Path, case: Case, folders: Mapping[Kind, str]) -> Pictures:
    """Draw a case from its exported files, and keep the pictures."""
    with _drawing:
        drawn = case_pictures({kind: root / folder for kind, folder in folders.items()})
    files.make_folder(root / FOLDER)
    for kind, picture in drawn.images.items():
        files.atomic_write(_path(root, case, kind), picture)
    return drawn


def pictures(root: Path, results: Iterable[CaseResult]) -> dict[str, Mapping[Kind, bytes]]:
    """Pictures of the exported cases by key: kept ones, or drawn now where a kill came before."""
    found: dict[str, Mapping[Kind, bytes]] = {}
    for result in results:
        if result.state.is_exported:
            paths = {kind: _path(root, result.case, kind) for kind in Kind}
            kept = {kind: path.read_bytes() for kind, path in paths.items() if path.is_file()}
            found[result.case.key] = kept or draw(root, result.case, result.folders).images
    return found


def _path(root: Path, case: Case, kind: Kind) -> Path:
    return root / FOLDER / f"{case.key}-{kind}.png"
