"""The documents that vouch for an export: one in each series folder, one for the output root.

A series folder holds ``manifest.json`` with each file's UIDs, size and SHA-256. The output root
holds another one with the SHA-256 of each series' manifest, so that one file vouches for all.
Both are deterministic: the same files give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import pydantic
from pydantic import BeforeValidator, Field, TypeAdapter

from stardust_esapi.errors import VerifyError
from stardust_esapi.files import atomic_write
from stardust_esapi.model import Kind, TransferRequest
from stardust_esapi.wording import counted_are

MANIFEST_NAME = "manifest.json"
SERIES_FORMAT: Final = "stardust-esapi series manifest 1"
ROOT_FORMAT: Final = "stardust-esapi root manifest 1"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a series folder.

    Attributes:
        name: File name within the folder.
        sop_instance_uid: SOP Instance UID (0008,0018).
        sop_class_uid: SOP Class UID (0008,0016).
        series_uid: Series Instance UID (0020,000E) of the file itself: structure set and
            registration are series of their own.
        size: Bytes.
        sha256: SHA-256 of the bytes, hexadecimal.
    """

    name: str
    sop_instance_uid: str
    sop_class_uid: str
    series_uid: str
    size: int
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class SeriesManifest:
    """What a series folder holds and which case it was exported for.

    Attributes:
        request: What was asked for, and is there.
        files: Every file but the manifest, by name.
        case_key: ``Case.key`` of the case.
    """

    request: TransferRequest
    files: tuple[FileEntry, ...]
    case_key: str


@dataclass(frozen=True, slots=True)
class RootEntry:
    """One series folder of an output root.

    Attributes:
        folder: The folder relative to the root, POSIX style.
        manifest_sha256: SHA-256 of its ``manifest.json``.
        case_key: ``Case.key`` of the case.
        kind: What it is to the case.
        exported: Whether the case is exported as a whole; False while others of its series
            are missing.
    """

    # Never a path that leads out of the root, whoever wrote the manifest.
    folder: Annotated[
        str, Field(pattern=rf"^({'|'.join(Kind)})_Export(/[^/\\]*[^/\\.][^/\\]*){{2}}$")
    ]
    manifest_sha256: Sha256
    case_key: str
    kind: Kind
    exported: bool


def _grouped(flat: Any) -> Any:
    """The request's fields stand beside the others in the file."""
    if not isinstance(flat, dict):
        return flat
    names = {field.name for field in fields(TransferRequest)}
    request = {name: value for name, value in flat.items() if name in names}
    return {"request": request} | {k: v for k, v in flat.items() if k not in names}


@dataclass(frozen=True)
class _SeriesDocument:
    format: Literal["stardust-esapi series manifest 1"]
    manifest: Annotated[SeriesManifest, BeforeValidator(_grouped)]


@dataclass(frozen=True)
class _RootDocument:
    format: Literal["stardust-esapi root manifest 1"]
    series: tuple[RootEntry, ...]


_T = TypeVar("_T")
_SERIES = TypeAdapter(_SeriesDocument)
_ROOT = TypeAdapter(_RootDocument)


def manifest_bytes(manifest: SeriesManifest) -> bytes:
    """The content of ``manifest.json``: sorted JSON, UTF-8, the same for the same files."""
    document = _SERIES.dump_python(_SeriesDocument(SERIES_FORMAT, manifest), mode="json")
    document["manifest"] |= document["manifest"].pop("request")
    return _dump(document)


def manifest_digest(manifest: SeriesManifest) -> str:
    """SHA-256 of :func:`manifest_bytes`, hexadecimal."""
    return hashlib.sha256(manifest_bytes(manifest)).hexdigest()


def write_manifest(folder: Path, manifest: SeriesManifest) -> None:
    """Write a series folder's ``manifest.json``, durably.

    Raises:
        OSError: The file system refuses.
    """
    atomic_write(folder / MANIFEST_NAME, manifest_bytes(manifest))


def read_manifest(folder: Path) -> SeriesManifest:
    """Read a series folder's ``manifest.json``.

    Raises:
        VerifyError: It is missing or is no series manifest.
    """
    return _load(folder / MANIFEST_NAME, _SERIES).manifest


def damage(folder: Path) -> str:
    """What names and sizes in a series folder show to be wrong, in words; empty when nothing is.

    It must hold its files and no other DICOM file. Quick: whether their content is the same, only
    :func:`~stardust_esapi.verify.check.verify_tree` tells.

    Raises:
        VerifyError: There is no manifest, or it is damaged.
        OSError: The folder cannot be read.
    """
    listed = {entry.name: entry.size for entry in read_manifest(folder).files}
    with os.scandir(folder) as entries:
        there = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    found = {
        "missing": listed.keys() - there.keys(),
        "of another size": {name for name, size in listed.items() if there.get(name, size) != size},
        "not of this export": {
            name for name in there.keys() - listed.keys() if name.lower().endswith(".dcm")
        },
    }
    return "; ".join(
        f"{counted_are(len(names), 'file')} {what}, such as {min(names)}"
        for what, names in found.items()
        if names
    )


def root_manifest_bytes(entries: Iterable[RootEntry]) -> bytes:
    """The content of the output root's ``manifest.json``; entries are sorted by folder."""
    document = _RootDocument(ROOT_FORMAT, tuple(sorted(entries, key=lambda e: e.folder)))
    return _dump(_ROOT.dump_python(document, mode="json"))


def write_root_manifest(root: Path, entries: Iterable[RootEntry]) -> None:
    """Write the output root's ``manifest.json``, durably.

    Raises:
        OSError: The file system refuses.
    """
    atomic_write(root / MANIFEST_NAME, root_manifest_bytes(entries))


def read_root_manifest(root: Path) -> tuple[RootEntry, ...]:
    """Read the output root's ``manifest.json``.

    Raises:
        VerifyError: It is missing or is no root manifest.
    """
    return _load(root / MANIFEST_NAME, _ROOT).series


def _dump(document: Any) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _load(path: Path, adapter: TypeAdapter[_T]) -> _T:
    try:
        return adapter.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise VerifyError(f"{path} is missing. Export the series again.") from None
    except OSError as error:
        raise VerifyError(f"{path} cannot be read: {error.strerror or error}.") from None
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise VerifyError(
            f"{path} is damaged or written by another version: {where} {first['msg']}. "
            "Restore it, or export again."
        ) from None
