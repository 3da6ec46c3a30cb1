"""What tests import from one another: rows and case lists, a clinic in a stub database."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumer.reader import read_folder
from esapi_stub.api.application import open_application
from esapi_stub.sample import PatientUids

MINING_COLUMNS = (
    """
    Patient-ID;Nachname;Vorname;Series;SeriesUID;PlanID;Fx;GD;ED;StructureSetID;LastTreated;
    TargetID;TargetVolume;GTV#>10GyAndInPTV;GTV;GTV-Volume;HUavg;HU StdDev;RelVarHU;PNG_Path;
    KM_Series_UID;KM_Series_Comment;MR_Series_UID;MR_Slices;MR_Series_Comment;MRregUID;OtherGTV
""".replace("\n    ", "")
    .strip()
    .split(";")
)
COLUMNS = [*MINING_COLUMNS, "Comment", "AcceptedDate", "casekind", "RefinementDate"]

PATIENCE = 600.0
"""Seconds: whoever takes longer hangs. No machine is so busy that a test fails by it."""

Row = Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """What the command line did."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def report_of(out: Path, name: str = "report.html") -> str:
    """A report as a reader has it: the list, and the pages that it leads to."""
    listed = (out / name).read_text("utf-8")
    pages = re.findall(r'<a href="([^"#]+)"', listed)
    return "\n".join([listed, *((out / page).read_text("utf-8") for page in pages)])


def row_of(uids: PatientUids, **changes: str) -> dict[str, str]:
    """A case list's row for a phantom, by plan and series, with all its series."""
    row = {
        "Patient-ID": uids.patient_id,
        "Nachname": "Geheim",
        "Vorname": "Gerda",
        "SeriesUID": uids.series_uid,
        "PlanID": uids.plan_id,
        "StructureSetID": uids.structure_set_label,
        "TargetID": "PTV1",
        "GTV": "GTV1",
        "KM_Series_UID": uids.km_series_uid,
        "MR_Series_UID": uids.mr_series_uid,
        "MRregUID": uids.registration_uid,
        "Comment": "ok",
    }
    return row | changes


def write_case_list(path: Path, rows: Iterable[Row]) -> Path:
    """Write a Case-Selector CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    return path


@dataclass(frozen=True)
class Clinic:
    """A stub database and what was put into it."""

    db: Path
    patients: tuple[PatientUids, ...]

    @property
    def esapi(self) -> str:
        return f"stub:{self.db}"


def spawn(*arguments: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start the command line as a process of its own, to be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "stardust_esapi", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
    )


def until(condition: Callable[[], object]) -> None:
    """Wait until something has happened."""
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, "it never happened"
        time.sleep(0.01)


@contextmanager
def without_waiting() -> Iterator[None]:
    """What happens in here happens at once: it sits out no time-out, which is PATIENCE."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < PATIENCE / 2


def end(process: subprocess.Popen[Any]) -> None:
    """End a process that may have ended already, and the group that it leads."""
    with suppress(ProcessLookupError):
        # Not waited for yet, or its number could be another's. Windows has no groups.
        waited = os.name == "nt" or process.returncode is not None
        if not waited and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with suppress(OSError):  # what nobody reads any more
                stream.close()


@contextmanager
def ending(process: subprocess.Popen[Any]) -> Iterator[subprocess.Popen[Any]]:
    """The process does not outlive the context, whatever happens in it."""
    try:
        yield process
    finally:
        end(process)


def contour_anew(
    clinic: Clinic, patient_id: str, structure: str, like: str, structure_set: str = "CT_1"
) -> None:
    """Give a structure of a set the shape of another one, as a person would in Eclipse."""
    app = open_application(clinic.db)
    try:
        patient = app.OpenPatientById(patient_id)
        assert patient is not None
        patient.BeginModifications()
        [source] = [s for s in patient.StructureSets if s.Id == structure_set]
        structures = {s.Id: s for s in source.Structures}
        structures[structure].SegmentVolume = structures[like].SegmentVolume
        app.SaveModifications()
    finally:
        app.Dispose()


def check_labels(out: Path) -> None:
    """An independent reader finds one structure for each label in every folder with contours."""
    for kind in ("CT", "KM"):
        for structure_set in out.glob(f"{kind}_Export/*/*/RS*.dcm"):
            read = read_folder(structure_set.parent)
            found = [(one.name, one.candidates) for one in (read.label_1, read.label_2) if one]
            assert found == [("gtv+", ("gtv+",)), ("target+", ("target+",))], structure_set


def exported_tree(out: Path) -> dict[str, str]:
    """SHA-256 of what an export leaves for its readers."""
    kept = [out / "export_list.csv", out / "Output_Log.csv", out / "manifest.json"]
    kept += [path for folder in out.glob("*_Export") for path in folder.rglob("*")]
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in kept
        if path.is_file()
    }
