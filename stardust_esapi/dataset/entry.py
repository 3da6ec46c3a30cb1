"""What became of one conversion: the line that the dataset's journal, split and overview go by.

Nothing in it names the patient: ids are pseudonyms, and reasons are sentences about the data.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter

from stardust_esapi.dataset.facts import StructureFacts
from stardust_esapi.dataset.pseudonym import Pseudonyms
from stardust_esapi.dataset.tasks import State, Task
from stardust_esapi.dataset.words import in_name
from stardust_esapi.model import Kind

UNKNOWN_REGION = "unknown"


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of one task.

    Attributes:
        case: Pseudonym of the case.
        patient: Pseudonym of the patient.
        kind: CT, KM or MR.
        state: What it is; only a created one has files.
        reasons: Why it has none, in sentences; empty when created.
        notes: Sentences worth reading that did not stop it.
        label: The Case-Selector's label; empty without one.
        label2: The pre-filter's ``Label2``, a body region; likewise.
        case_kind: The Case-Selector's ``casekind``; likewise.
        body_region: Body Part Examined (0018,0015), or ``unknown``.
        shape: Slices, rows, columns; zeros where the images could not be read.
        spacing: Along x, y, z of the grid, mm; likewise.
        structures: What is labelled, by label.
        counts: Histogram of the values, over the bins that belong to the kind.
        files: Where its files are, relative to the dataset, POSIX style.
        thumbnail: The one of them that is its picture; empty without one.
        fingerprint: What it was created from and how (:mod:`stardust_esapi.dataset.build`).
        seconds: Time spent on it.
    """

    case: str
    patient: str
    kind: Kind
    state: State
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    label: str = ""
    label2: str = ""
    case_kind: str = ""
    body_region: str = UNKNOWN_REGION
    shape: tuple[int, int, int] = (0, 0, 0)
    spacing: tuple[float, float, float] = (0.0, 0.0, 0.0)
    structures: tuple[StructureFacts, ...] = ()
    counts: tuple[int, ...] = ()
    files: tuple[str, ...] = ()
    thumbnail: str = ""
    fingerprint: str = ""
    seconds: float = 0.0

    @property
    def key(self) -> str:
        """What it is told by, whatever words stand in its name; sorted, patients lie together."""
        return f"{self.patient}/{self.case}_{self.kind}"

    @property
    def name(self) -> str:
        """What its files are called, but for their ending: words that people filter by."""
        region = in_name(self.label2)
        return f"{in_name(self.case_kind)}_case_{self.case}_{region}_{self.kind}"

    @property
    def created(self) -> bool:
        """Whether its training files are there."""
        return self.state is State.CREATED


def failed(task: Task, pseudonyms: Pseudonyms, *reasons: str) -> Entry:
    """The entry of a task that gives no file, or none yet.

    Args:
        task: The task.
        pseudonyms: What the dataset calls patient and case.
        reasons: Why it failed, in sentences that name no patient; by default the task's problem
            says, and its state is the task's.
    """
    return Entry(
        case=pseudonyms.case(task.case_key),
        patient=pseudonyms.patient(task.patient_id),
        kind=task.kind,
        state=State.FAILED if reasons else task.state,
        reasons=reasons or (task.problem,),
        label=task.label,
        label2=task.label2,
        case_kind=task.case_kind,
        fingerprint=task.fingerprint,
    )


_ENTRY = TypeAdapter(Entry)


def entry_line(entry: Entry) -> bytes:
    """One line of JSON, UTF-8, with its line feed."""
    return _ENTRY.dump_json(entry) + b"\n"


def read_entry(line: bytes) -> Entry:
    """Read such a line back.

    Raises:
        ValueError: It is none, such as the last line of a journal that a kill cut off.
    """
    return _ENTRY.validate_json(line)
