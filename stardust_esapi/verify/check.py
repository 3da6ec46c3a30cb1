"""Verify an exported folder again, from its manifests alone: no Eclipse, no case list.

A file is read in blocks, so that memory holds neither a series nor a large structure set.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from stardust_esapi.dicom.instance import owner_of
from stardust_esapi.errors import UsageError, VerifyError
from stardust_esapi.model import Kind
from stardust_esapi.verify.manifest import (
    MANIFEST_NAME,
    FileEntry,
    RootEntry,
    SeriesManifest,
    read_manifest,
    read_root_manifest,
)


class Problem(StrEnum):
    """What is wrong with a file or folder."""

    MISSING = "missing"
    CHANGED = "changed"
    EXTRA = "extra"  # no manifest names it
    FOREIGN = "foreign"  # it belongs to another series or patient, or no manifest knows the folder
    UNREADABLE = "unreadable"
    INCOMPLETE = "incomplete"  # all that is there is right, but the case has more


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as the manifests say.

    Attributes:
        problem: Of what sort.
        path: The file or folder relative to the checked one, POSIX style.
        detail: A sentence for the reader.
    """

    problem: Problem
    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was verified, what was found wrong, and what cannot be said.

    Attributes:
        root: The checked folder.
        series: How many series folders were checked.
        files: How many files are exactly as their manifest says.
        findings: Everything that is wrong, in the order of paths.
        unverified: Sentences on what this check cannot tell.
    """

    root: Path
    series: int
    files: int
    findings: tuple[Finding, ...]
    unverified: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def verify_tree(root: Path, recorded: Sequence[RootEntry] | None = None) -> VerifyReport:
    """Check an output root, or a single series folder, against its manifests.

    In an output root ``CT_Export``, ``KM_Export`` and ``MR_Export`` must hold exactly what the
    manifests name. Empty folders and whatever lies beside those three are left alone.

    Args:
        root: The folder.
        recorded: What the ledger of an output root says is in its place; None without one.

    Raises:
        UsageError: The folder is neither.
    """
    if not root.is_dir():
        raise UsageError(f"There is no folder {root}. Name an output folder or a series folder.")
    if any((root / kind.folder).is_dir() for kind in Kind):
        return _verify_root(root, recorded)
    if not (root / MANIFEST_NAME).is_file():
        raise UsageError(
            f"{root} is neither an output folder nor a series folder: it holds neither "
            f"{', '.join(kind.folder for kind in Kind)} nor {MANIFEST_NAME}."
        )
    try:
        read_root_manifest(root)
    except VerifyError:
        return _verify_series(root)
    return _verify_root(root, recorded)


def _verify_series(folder: Path) -> VerifyReport:
    findings, verified = _check_series(folder, "", None)
    unverified = (
        f"Whether {MANIFEST_NAME} itself was changed, and whether the case has other series: "
        "only a check of the whole output folder tells.",
    )
    return VerifyReport(folder, 1, verified, _sorted(findings), unverified)


def _verify_root(root: Path, recorded: Sequence[RootEntry] | None) -> VerifyReport:
    findings: list[Finding] = []
    unverified: list[str] = []
    try:
        entries = {entry.folder: entry for entry in read_root_manifest(root)}
    except VerifyError as error:
        entries = {}
        there = (root / MANIFEST_NAME).exists()
        findings.append(
            Finding(
                Problem.CHANGED if there else Problem.MISSING,
                MANIFEST_NAME,
                f"{error} Without it no series folder is known to be part of this export.",
            )
        )
    verified = 0
    for entry in entries.values():
        found, good = _check_series(root / entry.folder, entry.folder, entry)
        findings += found
        verified += good
        if not entry.exported:
            detail = (
                f"The case ({entry.case_key}) that it belongs to is not exported as a whole: "
                "other series of it may be missing. Run the export again."
            )
            findings.append(Finding(Problem.INCOMPLETE, entry.folder, detail))
    for kind in Kind:
        if (root / kind.folder).is_dir():
            findings += _strangers(root, root / kind.folder, entries)
    unverified.append("Whether Eclipse still holds the same data.")
    if recorded is None:
        unverified.append(
            f"Whether someone changed files and {MANIFEST_NAME} together: there is no ledger "
            "beside the manifests, which are all that is compared."
        )
    else:
        findings += _otherwise_recorded(entries, {entry.folder: entry for entry in recorded})
    return VerifyReport(root, len(entries), verified, _sorted(findings), tuple(unverified))


def _check_series(folder: Path, where: str, entry: RootEntry | None) -> tuple[list[Finding], int]:
    """Check one series folder; return what is wrong, and how many files are right."""
    if not folder.is_dir():
        return [Finding(Problem.MISSING, where, "The whole series folder is missing.")], 0
    prefix = f"{where}/" if where else ""
    try:
        present = {path.name: path for path in folder.iterdir()}
        manifest = read_manifest(folder)
        digest = _sha256(folder / MANIFEST_NAME)
    except OSError as error:
        return [_unreadable(where or ".", error)], 0
    except VerifyError as error:
        problem = Problem.CHANGED if MANIFEST_NAME in present else Problem.MISSING
        detail = f"{error} Nothing in this folder can be verified."
        return [Finding(problem, prefix + MANIFEST_NAME, detail)], 0
    findings: list[Finding] = []
    if entry is not None and digest != entry.manifest_sha256:
        findings.append(_changed_manifest(prefix + MANIFEST_NAME, manifest, entry))
    del present[MANIFEST_NAME]
    verified = 0
    for file in manifest.files:
        path = present.pop(file.name, None)
        if path is None:
            detail = "The manifest names this file."
            findings.append(Finding(Problem.MISSING, prefix + file.name, detail))
        elif finding := _check_file(path, prefix + file.name, file, manifest):
            findings.append(finding)
        else:
            verified += 1
    findings += [_unnamed(path, prefix + name, manifest) for name, path in present.items()]
    return findings, verified


def _check_file(
    path: Path, where: str, entry: FileEntry, manifest: SeriesManifest
) -> Finding | None:
    try:
        size = path.stat().st_size
        if size == entry.size and _sha256(path) == entry.sha256:
            return None
    except OSError as error:
        return _unreadable(where, error)
    if stranger := _other_owner(path, manifest):
        return Finding(Problem.FOREIGN, where, stranger)
    detail = "Its SHA-256 is not the one in the manifest."
    if size != entry.size:
        detail = f"It has {size} bytes, the manifest says {entry.size}."
    return Finding(Problem.CHANGED, where, detail)


def _unnamed(path: Path, where: str, manifest: SeriesManifest) -> Finding:
    if stranger := _other_owner(path, manifest):
        return Finding(Problem.FOREIGN, where, stranger)
    return Finding(Problem.EXTRA, where, "The manifest does not name it.")


def _unreadable(where: str, error: OSError) -> Finding:
    return Finding(Problem.UNREADABLE, where, f"It cannot be read: {error.strerror or error}.")


def _other_owner(path: Path, manifest: SeriesManifest) -> str:
    """Say whose a DICOM file is when it is not of this series; else nothing."""
    owner = owner_of(path)
    if owner is None:
        return ""
    (patient_id, series_uid), right = owner, manifest.request.patient_id
    if patient_id != right:
        return f"It belongs to patient {patient_id or 'without id'}, not {right}."
    if series_uid not in {file.series_uid for file in manifest.files}:
        return f"It belongs to series {series_uid or 'without UID'}, which is not of this folder."
    return ""


def _changed_manifest(where: str, manifest: SeriesManifest, entry: RootEntry) -> Finding:
    kind = manifest.request.kind
    if (manifest.case_key, kind) != (entry.case_key, entry.kind):
        return Finding(
            Problem.FOREIGN,
            where,
            f"It was written for case {manifest.case_key} ({kind}), but this folder is "
            f"of case {entry.case_key} ({entry.kind}).",
        )
    return Finding(
        Problem.CHANGED,
        where,
        "Its SHA-256 is not the one in the root manifest: what it says of its files may be false.",
    )


def _otherwise_recorded(
    listed: Mapping[str, RootEntry], recorded: Mapping[str, RootEntry]
) -> Iterator[Finding]:
    """Where the root manifest and the ledger disagree."""
    for folder in sorted(listed.keys() | recorded.keys()):
        if folder not in recorded:
            detail = "The ledger does not know this series, which the root manifest names."
            yield Finding(Problem.FOREIGN, folder, detail)
        elif folder not in listed:
            detail = (
                "The ledger says that it is in its place, but the root manifest does not name it: "
                "a run was cut off, or somebody changed it. Run the export again."
            )
            yield Finding(Problem.CHANGED, MANIFEST_NAME, f"{folder}: {detail}")
        elif listed[folder] != recorded[folder]:
            detail = f"{folder}: the ledger has another digest, case or state of it."
            yield Finding(Problem.CHANGED, MANIFEST_NAME, detail)


def _strangers(root: Path, folder: Path, known: dict[str, RootEntry]) -> list[Finding]:
    """What lies in a kind's folder and no manifest names; series folders known are left out."""
    findings: list[Finding] = []

    def cannot_list(error: OSError) -> None:
        where = Path(error.filename).relative_to(root).as_posix()
        findings.append(_unreadable(where, error))

    for current, subfolders, names in os.walk(folder, onerror=cannot_list):
        here = Path(current)
        where = here.relative_to(root).as_posix()
        if where in known:
            subfolders.clear()
            continue
        if MANIFEST_NAME in names:
            subfolders.clear()
            detail = "The root manifest does not know this series folder."
            findings.append(Finding(Problem.FOREIGN, where, detail))
            continue
        links = [name for name in subfolders if (here / name).is_symlink()]  # walk passes them by
        findings += [
            Finding(Problem.EXTRA, f"{where}/{name}", "No manifest names it.")
            for name in (*names, *links)
        ]
    return findings


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sorted(findings: list[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda f: (f.path, f.problem)))
