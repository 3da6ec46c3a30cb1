"""A recording from beginning to end: a zip file with the trace and a page that explains it."""

from __future__ import annotations

import io
import json
import textwrap
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stardust_esapi import __version__
from stardust_esapi.errors import LocateError, StardustError, UsageError
from stardust_esapi.esapi import host
from stardust_esapi.esapi.backend import Backend
from stardust_esapi.esapi.session import Session
from stardust_esapi.esapi.write_gate import Approval
from stardust_esapi.files import whole_file
from stardust_esapi.trace.conceal import Json
from stardust_esapi.trace.reading import ANSWERS_IN_WORDS, read
from stardust_esapi.trace.recorder import FAILED, Recorder, Thing
from stardust_esapi.trace.writing import experiment

CALLS = "calls.jsonl"
PAGE = "README.txt"

_FORMAT = 1
_PAGE = """\
WHAT IS IN THIS FILE

stardust-esapi {version} asked ESAPI about one patient and wrote down what it answered, so that its
developers, who have no Eclipse, can see where their stand-in errs. It asked {calls} questions
(calls.jsonl, one a line: any text editor shows them).

What is there: numbers of images, structures and plans; sizes, positions and directions of images;
of each plane of voxels the lowest and the highest value and a hash; types, colours and volumes of
structures; of each contour how many points it has, its area and its middle, counted from the corner
of the image; transformation matrices; fractions; what is approved; whether a text or date is
missing, empty or there; how long each answer took; names and versions of ESAPI's and this program's
own assemblies.{wrote}

What is not there: no name, no id, no UID, no date, no comment, no description, no image, no
outline. In place of every id, name and UID of an object stands a number (id#1, id#2, ...), the same
for the same; which number stands for what was forgotten when the program ended. A hash tells those
who have the very same images that they are the same, and nobody else anything.

The only sentences that are not the program's own are the messages of Eclipse below. Ids, names,
quotations, and words with digits were taken out. Read them before you send this file:

{messages}
"""
_WROTE = """

It was also allowed to try writes on a test patient: these answers are there too, and the points of
the squares that it drew itself."""


def record(
    backend: Backend,
    patient_id: str,
    file: IO[str],
    approval: Approval | None,
    say: Callable[[str], None],
) -> None:
    """Ask ESAPI about a patient, and write down what it answers.

    Args:
        backend: How ESAPI is reached.
        patient_id: The patient.
        file: Takes lines of JSON; nothing in them is of the patient.
        approval: What allows this run to try writes; None for reading alone.
        say: Told where the recording is.

    Raises:
        LocateError: Eclipse does not open such a patient.
        StardustError: A write could not be tried, as :func:`~.writing.experiment` says; what was
            recorded until then stands in the file.
    """
    recorder = Recorder(backend, file)
    recorder.conceal.hide(patient_id)
    facts = {"trace": _FORMAT, "program": __version__, "host": host.current().name}
    recorder.note(facts | {"assemblies": backend.assemblies(), "writes": approval is not None})
    with Session(backend) as session:
        application = session.application
        recorder.properties(
            Thing("ScriptEnvironment", "ScriptEnvironment", application.ScriptEnvironment)
        )
        # Not by the session: its reader may be what fails on this very patient.
        patient = recorder.ask(
            "Application",
            "Application.OpenPatientById",
            lambda: application.OpenPatientById(patient_id),
            lambda opened: opened is not None,
        )
        if patient is FAILED or patient is None:
            raise LocateError(
                f"Eclipse does not open patient {patient_id}. Compare the Patient-ID with Eclipse, "
                "and close the patient wherever it is open."
            )
        try:
            read(recorder, patient, say)
        finally:
            application.ClosePatient()
        if approval is not None:
            try:
                with session.open_patient(patient_id) as opened:
                    experiment(recorder, opened, approval, say)
            except StardustError as error:
                recorder.end("Experiments", error)
                raise


def record_file(
    backend: Backend,
    patient_id: str,
    out: Path,
    approval: Approval | None,
    say: Callable[[str], None],
) -> None:
    """Record into a zip file: what there is, also where the recording fails.

    Until it is whole, the calls lie beside it, in a file ``….unfinished``: should Eclipse end the
    process, its last line says at which call.

    Raises:
        StardustError: As :func:`record`.
        OSError: The file cannot be written.
    """
    calls = out.with_name(f"{out.name}.unfinished")
    try:
        with calls.open("w", encoding="utf-8", newline="\n") as file:
            record(backend, patient_id, file, approval, say)
    finally:
        pack(calls, out)
        calls.unlink()


def pack(calls: Path, out: Path) -> None:
    """Put the lines of a recording and the page about it into a zip file."""
    lines = calls.read_text(encoding="utf-8")
    with whole_file(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in ((PAGE, _page(parse(lines))), (CALLS, lines)):
            # Without a date: that of ZipInfo itself is the first day that zip knows.
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)


def _page(trace: Trace) -> str:
    said = {call["throws"]["message"] for call in trace.calls if "throws" in call}
    said |= {call["gives"][1] for call in trace.calls if call["member"] == ANSWERS_IN_WORDS}
    messages = [textwrap.fill(m, 96, initial_indent="- ") for m in sorted(said - {""})]
    return _PAGE.format(
        version=__version__,
        calls=len(trace.calls),
        wrote=_WROTE if trace.facts.get("writes") else "",
        messages="\n".join(messages) or "(none)",
    )


@dataclass(frozen=True, slots=True)
class Trace:
    """What a recording holds.

    Attributes:
        facts: Its first line: how it was made.
        calls: The other lines: ``on``, ``member``, ``args``, and ``gives``, ``throws`` or
            ``absent``.
    """

    facts: dict[str, Json]
    calls: list[dict[str, Json]]


def parse(text: str) -> Trace:
    """Read lines of JSON; a last one that was cut off is left out."""
    lines = [json.loads(line) for line in io.StringIO(text) if line.endswith("}\n")]
    return Trace(lines[0] if lines else {}, lines[1:])


def load(path: Path) -> Trace:
    """Read a recording's zip file.

    Raises:
        UsageError: It is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            trace = parse(archive.read(CALLS).decode("utf-8"))
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} holds no recording: {error}. Take what `record` wrote.") from None
    if trace.facts.get("trace") != _FORMAT:
        raise UsageError(
            f"{path} was recorded by another version of this program "
            f"({trace.facts.get('program', 'unknown')}): compare it with that one."
        )
    return trace
