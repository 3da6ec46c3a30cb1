"""Find what there is to convert in an output folder of ``export``.

The ledger says which cases are exported; a folder that came without its ledger is read by its
manifests. Everything that is listed there becomes a task: one that cannot be converted says why,
so that no case is silently absent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath

from stardust_esapi.dataset.words import unnamed
from stardust_esapi.errors import UsageError, VerifyError
from stardust_esapi.files import long_path
from stardust_esapi.model import CaseState, Kind
from stardust_esapi.record.ledger import LEDGER_NAME, CaseRecord, read_cases
from stardust_esapi.settings import Gate
from stardust_esapi.verify.manifest import (
    MANIFEST_NAME,
    RootEntry,
    manifest_digest,
    read_manifest,
    read_root_manifest,
)

CHANGED = (
    "Its exported files are not those that were verified. Run stardust-esapi verify on the export."
)


class State(StrEnum):
    """What became of a case, or of one of its kinds."""

    CREATED = "created"  # its files are there, whole
    PENDING = "pending"  # the export has not come to its end with it
    NOT_EXPORTED = "not exported"  # the export failed with it, or holds it for doubtful
    LEFT_OUT = "left out"  # it is not to be trained on: a gate says so, or it would count twice
    FAILED = "failed"  # its exported files cannot be converted


@dataclass(frozen=True, slots=True)
class Task:
    """One conversion: the images of one kind of one case, and where their structures are.

    Attributes:
        case_key: ``Case.key``.
        kind: CT, KM or MR.
        patient_id: Patient ID (0010,0020).
        folder: The images; of CT and KM also the structure set ``RS*.dcm``, of an MR the
            registration ``RE*.dcm`` where it needs one.
        structures_folder: The CT or KM with the structure set: of those itself, of an MR the
            planning CT's, else the contrast CT's.
        dose_folder: The dose of the plan; None where it was not exported.
        label: The Case-Selector's label; empty without one.
        label2: The pre-filter's ``Label2``, a body region; likewise.
        case_kind: The Case-Selector's ``casekind``; likewise.
        not_as_listed: Where the export found GTV and target not to be what the case list says.
        source: SHA-256 over all that the result depends on in the export: equal ones are converted
            of the same files.
        problem: Why it cannot be converted, a sentence that names no patient; else empty.
        state: What it is then.
        fingerprint: What it is created from and how; filled in by who converts.
    """

    case_key: str
    kind: Kind
    patient_id: str
    folder: Path
    structures_folder: Path
    dose_folder: Path | None = None
    label: str = ""
    label2: str = ""
    case_kind: str = ""
    not_as_listed: tuple[str, ...] = ()
    source: str = ""
    problem: str = ""
    state: State = State.FAILED
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class _Listed:
    """A case as ledger or manifests list it.

    Attributes:
        case_key: ``Case.key``.
        patient_id: Patient ID (0010,0020).
        folders: Its series in their places, relative to the root, with the digests of their
            manifests; an empty digest is not known.
        asked: The kinds that were to be exported.
        problem: Why it is not exported as a whole; else empty.
        state: What it is then.
    """

    case_key: str
    patient_id: str
    folders: Mapping[Kind, tuple[str, str]]
    asked: frozenset[Kind] = frozenset()
    label: str = ""
    label2: str = ""
    case_kind: str = ""
    not_as_listed: tuple[str, ...] = ()
    problem: str = ""
    state: State = State.NOT_EXPORTED


@dataclass(slots=True)
class _Proof:
    """Digests of the manifests that were read: cases share series."""

    root: Path
    known: dict[str, str | None] = field(default_factory=dict)

    def digest(self, folder: str) -> str | None:
        """SHA-256 of a series' manifest; None where there is none."""
        if folder not in self.known:
            try:
                data = (self.root / folder / MANIFEST_NAME).read_bytes()
            except OSError:
                self.known[folder] = None
            else:
                self.known[folder] = hashlib.sha256(data).hexdigest()
        return self.known[folder]


def find_tasks(root: Path) -> list[Task]:
    """List every conversion that an output folder asks for, in a stable order.

    A case gives one task of kind KM when it has a contrast CT, else one of kind CT, as the
    consumer picks them; and one of kind MR when it has an MR.

    Args:
        root: The output folder.

    Raises:
        UsageError: It is no output folder of ``export``, or its ledger cannot be read.
    """
    root = long_path(root)
    if (root / LEDGER_NAME).exists():
        cases = [_of_ledger(record) for record in read_cases(root)]
    else:
        cases = list(_of_manifests(root))
    if not cases:
        raise UsageError(
            f"{root} holds no exported case: neither {LEDGER_NAME} nor a manifest names one. "
            "Give the --out of an export as --from."
        )
    proof = _Proof(root)
    tasks = [task for case in cases for task in _tasks(case, proof)]
    return _without_doubles(tasks)


_WAITS = {
    CaseState.PENDING: "It is not exported yet.",
    CaseState.PREPARED: "It is prepared in Eclipse and not transferred yet.",
}
_SAYS = {
    CaseState.FAILED: "The export failed with it",
    CaseState.DOUBTFUL: "The export holds it for doubtful",
}


def _of_ledger(record: CaseRecord) -> _Listed:
    state, problem = State.PENDING, _WAITS.get(record.state, "")
    if says := _SAYS.get(record.state):
        state, problem = State.NOT_EXPORTED, f"{says}: {_why(record)}"
    return _Listed(
        case_key=record.key,
        patient_id=record.patient_id,
        folders={kind: (s.folder, s.manifest_sha256) for kind, s in record.placed.items()},
        asked=frozenset(record.asked),
        label=record.label,
        label2=record.label2,
        case_kind=record.case_kind,
        not_as_listed=tuple(d.text for d in record.doubts if d.gate == Gate.VOLUMES),
        problem=problem,
        state=state,
    )


def _why(record: CaseRecord) -> str:
    """The export's own reason, without what that quotes."""
    if record.state is CaseState.DOUBTFUL:
        return record.why  # the judge's sentences name nobody
    return unnamed(record.why, (record.patient_id, record.plan_id, record.structure_set_id))


def _of_manifests(root: Path) -> Iterator[_Listed]:
    """Cases by the root's manifest where there is one, else by those of the series found."""
    cases: dict[str, list[RootEntry]] = {}
    try:
        entries = read_root_manifest(root) if (root / MANIFEST_NAME).exists() else _found(root)
    except VerifyError as error:
        raise UsageError(str(error)) from None
    for entry in entries:
        cases.setdefault(entry.case_key, []).append(entry)
    for key, series in sorted(cases.items()):
        problem = ""
        if not all(entry.exported for entry in series):
            problem = (
                "By the export's manifests it is not whole: series of it are missing, or a "
                "manifest is damaged."
            )
        folders = {entry.kind: (entry.folder, entry.manifest_sha256) for entry in series}
        yield _Listed(key, _patient(root, series[0].folder), folders, problem=problem)


def _found(root: Path) -> Iterator[RootEntry]:
    for kind in Kind:
        for path in sorted((root / kind.folder).glob(f"*/*/{MANIFEST_NAME}")):
            folder = path.parent.relative_to(root).as_posix()
            try:
                manifest = read_manifest(path.parent)
            except VerifyError:
                yield RootEntry(folder, "", f"damaged {folder}", kind, exported=False)
            else:
                yield RootEntry(folder, manifest_digest(manifest), manifest.case_key, kind, True)


def _patient(root: Path, folder: str) -> str:
    try:
        return read_manifest(root / folder).request.patient_id
    except VerifyError:
        # Of an ordinary id the folder bears the very name (stardust_esapi.names).
        return PurePosixPath(folder).parent.name


def _tasks(case: _Listed, proof: _Proof) -> Iterator[Task]:
    has = {kind: proof.root / folder for kind, (folder, _) in case.folders.items()}
    main = Kind.KM if Kind.KM in has or Kind.KM in case.asked else Kind.CT
    if case.problem:
        folder = has.get(main, proof.root / main.folder)
        yield replace(_task(case, main, folder, folder, case.problem), state=case.state)
        return
    if main in has:
        yield _verified(case, main, main, proof)
    if Kind.MR in has:
        # The registration leads to the planning CT; a contrast CT may lie elsewhere.
        holder = next((kind for kind in (Kind.CT, Kind.KM) if kind in has), None)
        if holder is None:
            problem = "Its CT with the structures was not exported. Export kinds ct,mr together."
            yield _task(case, Kind.MR, has[Kind.MR], has[Kind.MR], problem)
        else:
            yield _verified(case, Kind.MR, holder, proof)


def _verified(case: _Listed, kind: Kind, holder: Kind, proof: _Proof) -> Task:
    """The task of a kind, checked against the manifests that it was exported with."""
    digests = []
    problem = ""
    doses = [Kind.DOSE] if Kind.DOSE in case.folders else []
    for which in dict.fromkeys((kind, holder, *doses)):
        folder, expected = case.folders[which]
        digest = proof.digest(folder)
        if digest is None:
            problem = problem or f"Its {which} folder is gone, or its manifest is. Export it again."
        elif digest != expected:
            problem = problem or CHANGED
        digests.append(digest)
    parts = [kind, *digests, case.label, case.label2, case.case_kind, *case.not_as_listed]
    folders = [proof.root / case.folders[which][0] for which in (kind, holder)]
    task = _task(case, kind, folders[0], folders[1], problem)
    for dose in doses:
        task = replace(task, dose_folder=proof.root / case.folders[dose][0])
    return replace(task, source=hashlib.sha256(json.dumps(parts).encode()).hexdigest())


def _task(case: _Listed, kind: Kind, folder: Path, structures: Path, problem: str) -> Task:
    return Task(
        case_key=case.case_key,
        kind=kind,
        patient_id=case.patient_id,
        folder=folder,
        structures_folder=structures,
        label=case.label,
        label2=case.label2,
        case_kind=case.case_kind,
        not_as_listed=case.not_as_listed,
        problem=problem,
    )


def _without_doubles(tasks: Iterable[Task]) -> list[Task]:
    """Let the first of two tasks over the very same files be converted, and the second say so."""
    kept: list[Task] = []
    seen: set[tuple[Path, Path]] = set()
    for task in tasks:
        files = (task.folder, task.structures_folder)
        if task.problem:
            kept.append(task)
        elif files in seen:
            problem = "Another case has the very same images and structures: it would count twice."
            kept.append(replace(task, problem=problem, state=State.LEFT_OUT))
        else:
            seen.add(files)
            kept.append(task)
    return kept
