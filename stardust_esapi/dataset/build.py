"""Create a dataset from an export: find the tasks, do those that are not done, write the lists.

What became of a case is written to a journal, durably, as soon as it is known; a run that was
killed finds its cases there and goes on. Files, names and pages hold nothing that differs from run
to run: the same export, settings and key give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final, Literal, Protocol

import pydantic
from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from stardust_esapi import __version__
from stardust_esapi.dataset import nnunet
from stardust_esapi.dataset.convert import Conversion
from stardust_esapi.dataset.entry import Entry, entry_line, failed, read_entry
from stardust_esapi.dataset.layout import WAITING, is_whole, place, refuse_old, sweep
from stardust_esapi.dataset.pseudonym import (
    Pseudonyms,
    check_mapping,
    open_pseudonyms,
    write_mapping,
)
from stardust_esapi.dataset.schedule import run_all
from stardust_esapi.dataset.split import Part, Split, read_parts, update_split
from stardust_esapi.dataset.tasks import State, Task, find_tasks
from stardust_esapi.dataset.words import MODALITIES, OTHER, listed
from stardust_esapi.dicom.body_parts import BODY_PARTS
from stardust_esapi.errors import UsageError
from stardust_esapi.files import atomic_write, long_path, make_folder, sync_folder
from stardust_esapi.model import Kind
from stardust_esapi.settings import Dataset
from stardust_esapi.wording import counted

DATASET_NAME = "dataset.json"
OVERVIEW_NAME = "dataset.html"
JOURNAL_NAME = f"{WAITING}/journal.jsonl"
LOCK_NAME = ".in-use"
FORMAT: Final = "stardust-esapi dataset 3"

_DIED = (
    "The process that converted it died, and again when it was tried once more. Most often memory "
    "has run out: run it with fewer --workers, or on a machine with more memory."
)
_VANISHED = (
    "Its files were created, and are no longer all there: another program or a worker of an "
    "earlier run has removed them. Run the same command again."
)
# The settings that decide what becomes of a case; the others say who does it, and where.
_DECIDING = {"formats", "dicom", "dose", "gates", "words", "regions"}


@dataclass(frozen=True, slots=True)
class DatasetJob:
    """What to create from what.

    Attributes:
        source: Output folder of an export.
        out: The dataset's folder.
        settings: How.
        mapping: Where to write which pseudonym is whose; None for nowhere.
    """

    source: Path
    out: Path
    settings: Dataset = field(default_factory=Dataset)
    mapping: Path | None = None


class DatasetWatcher(Protocol):
    """Who looks on: a terminal, a log, a test."""

    def start(self, cases: int) -> None:
        """So many conversions are to be done now; the others are done already."""

    def finish(self, entry: Entry) -> None:
        """One is through."""


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """What lies in the dataset now.

    Attributes:
        entries: What became of every conversion, those of a patient together.
        split: Who is for what.
        settings: How it was created.
        unchanged: How many of the converted ones were there already, and were left alone.
        from_before: How many of them are of an earlier export that this one does not list.
    """

    entries: tuple[Entry, ...]
    split: Split
    settings: Dataset
    unchanged: int = 0
    from_before: int = 0

    @property
    def created(self) -> tuple[Entry, ...]:
        """Those with training files."""
        return tuple(entry for entry in self.entries if entry.created)

    @property
    def missing(self) -> tuple[Entry, ...]:
        """Those without, but for what is pending: somebody has to look at them."""
        fine = (State.CREATED, State.PENDING)
        return tuple(entry for entry in self.entries if entry.state not in fine)

    @property
    def pending(self) -> int:
        """How many the export has not come to its end with."""
        return self.counts.get(str(State.PENDING), 0)

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each state that occurs."""
        counts = Counter(entry.state for entry in self.entries)
        return {str(state): counts[state] for state in State if counts[state]}

    @property
    def unlisted(self) -> int:
        """How many training cases have a word that became :data:`~.words.OTHER`."""
        return sum(
            OTHER in (entry.label, entry.label2, entry.case_kind, entry.body_region)
            for entry in self.created
        )

    @property
    def words(self) -> dict[str, dict[str, int]]:
        """How many training cases have which label, ``Label2``, ``casekind`` and body region."""
        return {
            name: dict(sorted(Counter(getattr(entry, name) for entry in self.created).items()))
            for name in ("label", "label2", "case_kind", "body_region")
        }

    @property
    def verdict(self) -> str:
        """One sentence, without its full stop."""
        patients = len({entry.patient for entry in self.created})
        parts = [f"{counted(len(self.created), 'training case')} of {counted(patients, 'patient')}"]
        if self.from_before:
            parts.append(f"{self.from_before} of them no longer in the export")
        if self.unlisted:
            parts.append(f"{self.unlisted} with a word that is not listed")
        parts += [f"{n} {state}" for state, n in self.counts.items() if state != State.CREATED]
        return "; ".join(parts)


def build_dataset(job: DatasetJob, watcher: DatasetWatcher) -> DatasetSummary:
    """Create a dataset, or bring one up to date with its export.

    Cases that are there, created from the same files in the same way, are left alone; failed ones
    are tried again. What was there stays until all is done, and is replaced then.

    Args:
        job: What to create from what.
        watcher: Who looks on.

    Returns:
        What lies in the dataset now.

    Raises:
        UsageError: Something stands against it that no case can help: nothing is changed then.
        OSError: The dataset cannot be written.
    """
    source, out, settings = long_path(job.source), long_path(job.out), job.settings
    _refuse_nested(source, out)
    if job.mapping is not None:
        check_mapping(job.mapping, out)
    refuse_old(out)
    tasks = _in_listed_words(find_tasks(source), settings)
    make_folder(out)
    with _alone(out):
        pseudonyms = open_pseudonyms(out, settings.key)
        pseudonyms.check_distinct({task.patient_id for task in tasks})
        parts = read_parts(out, settings.split, settings.seed)
        lonely = _lonely(tasks) if settings.dicom else frozenset()
        tasks = _with_fingerprints(tasks, settings, pseudonyms, lonely)
        known = _known(out)
        known = {key: e for key, e in known.items() if is_whole(e, out, parts.get(e.patient))}
        entries, rest = _sort_out(tasks, known, pseudonyms)
        unchanged = sum(entry.created for entry in entries.values())
        work = Conversion(settings, pseudonyms, out, lonely)
        for entry in _convert(rest, work, watcher):
            entries[entry.key] = entry
        before = _from_before(known, entries)
        entries |= before
        return _finish(
            job, out, pseudonyms, tasks, entries, parts, unchanged=unchanged, gone=len(before)
        )


def _in_listed_words(tasks: Iterable[Task], settings: Dataset) -> list[Task]:
    return [
        replace(
            task,
            label=listed(task.label, [*settings.words, *MODALITIES]),
            label2=listed(task.label2, [*BODY_PARTS, *settings.regions]),
            case_kind=listed(task.case_kind, settings.words),
        )
        for task in tasks
    ]


def _refuse_nested(source: Path, out: Path) -> None:
    inner, outer = source.resolve(), out.resolve()
    if inner == outer or inner in outer.parents or outer in inner.parents:
        raise UsageError(
            f"The dataset {out} and the export {source} must not lie in one another: the export "
            "names patients. Choose another --out."
        )


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep a second run out of the dataset."""
    try:
        with FileLock(out / LOCK_NAME, timeout=0):
            yield
    except Timeout:
        raise UsageError(
            f"Another run is making {out}. Wait for its end, or choose another --out."
        ) from None


def _lonely(tasks: Sequence[Task]) -> frozenset[str]:
    """MR whose CT with the structures is no task of its own: the contrast CT is."""
    copied = {task.folder for task in tasks if not task.problem and task.kind is not Kind.MR}
    return frozenset(
        task.case_key
        for task in tasks
        if task.kind is Kind.MR and task.structures_folder not in copied
    )


def _with_fingerprints(
    tasks: Iterable[Task], settings: Dataset, pseudonyms: Pseudonyms, lonely: frozenset[str]
) -> list[Task]:
    """Say of each task what it is created from and how."""
    how = [settings.model_dump_json(include=_DECIDING), __version__, pseudonyms.key_id]

    def fingerprint(task: Task) -> str:
        alone = task.kind is Kind.MR and task.case_key in lonely
        return hashlib.sha256(json.dumps([task.source, *how, alone]).encode()).hexdigest()

    return [replace(task, fingerprint=fingerprint(task)) for task in tasks]


def _sort_out(
    tasks: Iterable[Task], known: Mapping[str, Entry], pseudonyms: Pseudonyms
) -> tuple[dict[str, Entry], list[Task]]:
    """Tell the tasks whose end is known from those to be done."""
    entries: dict[str, Entry] = {}
    rest = []
    for task in tasks:
        entry = failed(task, pseudonyms)  # that is what it is until something comes of it
        earlier = known.get(entry.key)
        if task.problem:
            entries[entry.key] = entry
        elif earlier and earlier.fingerprint == task.fingerprint:
            entries[entry.key] = earlier
        else:
            rest.append(task)
    return entries, rest


def _convert(rest: Sequence[Task], work: Conversion, watcher: DatasetWatcher) -> Iterator[Entry]:
    """Do what is to be done; each entry is in the journal before it is handed on."""
    out, settings = work.out, work.settings
    watcher.start(len(rest))
    if not rest:
        return

    def lost(task: Task) -> Entry:
        return failed(task, work.pseudonyms, _DIED)

    with _journal(out) as journal:
        results = run_all(rest, work, lost, workers=settings.workers, scheduler=settings.scheduler)
        with closing(results):
            for entry in results:
                journal.write(entry_line(entry))
                journal.flush()
                os.fsync(journal.fileno())
                watcher.finish(entry)
                yield entry


@contextmanager
def _journal(out: Path) -> Iterator[IO[bytes]]:
    path = out / JOURNAL_NAME
    make_folder(path.parent)
    with path.open("ab") as journal:
        sync_folder(path.parent)
        if journal.tell():  # a kill may have cut its last line
            journal.write(b"\n")
        yield journal


def _from_before(known: Mapping[str, Entry], entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Cases of an earlier export that this one does not list: theirs is somebody else's to say.

    Of a case that is listed, under another kind maybe, the earlier files go.
    """
    cases = {entry.case for entry in entries.values()}
    return {key: entry for key, entry in known.items() if entry.case not in cases}


def _finish(
    job: DatasetJob,
    out: Path,
    pseudonyms: Pseudonyms,
    tasks: Iterable[Task],
    entries: Mapping[str, Entry],
    parts: Mapping[str, Part],
    *,
    unchanged: int,
    gone: int,
) -> DatasetSummary:
    """Split the cases, put their files into their places, and write what tells of them.

    Until the last step the journal tells all of it: a kill costs nothing.
    """
    from stardust_esapi.dataset.overview import write_overview  # no worker needs it

    settings = job.settings
    ordered = [
        _looked_for(replace(entries[key], seconds=0.0), out, parts.get(entries[key].patient))
        for key in sorted(entries)
    ]
    split = update_split(out, ordered, settings)
    placed = tuple(
        place(entry, out, split.patients[entry.patient]) if entry.created else entry
        for entry in ordered
    )
    for folder in {(out / name).parent for entry in placed for name in entry.files}:
        sync_folder(folder)
    for part in Part:  # a trainer looks into both, should one be empty
        make_folder(out / part)
    nnunet.write_documents(out, placed, split)
    summary = DatasetSummary(placed, split, settings, unchanged, gone)
    atomic_write(out / DATASET_NAME, _document_bytes(summary, pseudonyms))
    write_overview(summary, out / OVERVIEW_NAME)
    if job.mapping is not None:
        write_mapping(job.mapping, out, pseudonyms, {task.patient_id for task in tasks})
    sweep(out, {name for entry in placed for name in entry.files})
    sync_folder(out)
    return summary


@dataclass(frozen=True)
class _Document:
    """``dataset.json``: what became of every conversion, and how they were created."""

    format: Literal["stardust-esapi dataset 3"]
    version: str
    key_id: str
    settings: dict[str, Any]
    counts: dict[str, int]
    words: dict[str, dict[str, int]]
    entries: tuple[Entry, ...]


_DOCUMENT = TypeAdapter(_Document)


def _looked_for(entry: Entry, out: Path, part: Part | None) -> Entry:
    """The entry as its files tell it now, whatever became of them since it was created."""
    if not entry.created or is_whole(entry, out, part):
        return entry
    return replace(entry, state=State.FAILED, reasons=(_VANISHED,), files=(), thumbnail="")


def _document_bytes(summary: DatasetSummary, pseudonyms: Pseudonyms) -> bytes:
    document = _Document(
        FORMAT,
        __version__,
        pseudonyms.key_id,
        summary.settings.model_dump(mode="json", include={*_DECIDING, "split", "seed", "folds"}),
        summary.counts,
        summary.words,
        summary.entries,
    )
    return _DOCUMENT.dump_json(document, indent=1) + b"\n"


def _known(out: Path) -> dict[str, Entry]:
    """What earlier runs created, by key: what the last whole one wrote, then its journal."""
    known: dict[str, Entry] = {}
    path = out / DATASET_NAME
    try:
        document = _DOCUMENT.validate_json(path.read_bytes())
    except FileNotFoundError:
        pass
    except pydantic.ValidationError:
        raise UsageError(
            f"{path} is damaged or of another version. Restore it, or remove it: all cases are "
            "created anew then."
        ) from None
    else:
        known |= {entry.key: entry for entry in document.entries}
    journal = out / JOURNAL_NAME
    for line in journal.read_bytes().splitlines() if journal.exists() else ():
        try:
            entry = read_entry(line)
        except ValueError:  # cut off by a kill
            continue
        known[entry.key] = entry
    return known
