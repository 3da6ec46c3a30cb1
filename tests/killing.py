"""Runs of the command line that are ended early, and what must be true of what they leave.

Run as a program, this file is a warm parent: it has imported everything and forks a child for each
run, so that a run costs no start-up. POSIX only.
"""

from __future__ import annotations

import difflib
import gc
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import esapi_stub
import stardust_esapi
from esapi_stub.database import describe
from stardust_esapi.commands import program
from stardust_esapi.errors import StardustError, VerifyError
from stardust_esapi.page import template
from stardust_esapi.record.audit import check as check_audit
from stardust_esapi.record.output_log import CUT_OFF
from stardust_esapi.record.ready_list import read_ready_list
from stardust_esapi.settings import settings_schema
from stardust_esapi.verify.check import verify_tree
from stardust_esapi.verify.inspect import inspect_folder
from stardust_esapi.verify.manifest import manifest_digest, read_manifest, read_root_manifest
from support import PATIENCE

EPOCH = "1700000000"
# Windows has no such signal: there any number ends a process at once.
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
KINDS = ("CT_Export", "KM_Export", "MR_Export")

# Whoever wants to meet it in the middle need not hurry.
_STOPS = """
import os, signal, sys
from stardust_esapi.commands.program import main

class Output:
    stopped = False

    def write(self, text):
        written = sys.__stdout__.write(text)
        if text.endswith("\\n") and not self.stopped:
            self.stopped = True
            sys.__stdout__.flush()
            os.kill(os.getpid(), signal.SIGSTOP)
        return written

    def __getattr__(self, name):
        return getattr(sys.__stdout__, name)

sys.stdout = Output()
main()
"""
_OURS = re.compile(r"(stardust_esapi|esapi_stub)[/\\]")

Result = dict[str, dict[str, Any] | list[str]]


@dataclass(frozen=True)
class Ended:
    """How one run ended.

    Attributes:
        code: Exit code; negative for a signal.
        points: How many points it passed, where they were watched.
        places: The places in the code where they lie, in the order of the first points.
        where: The place at which it was sent a signal, or the time.
        seconds: How long it took.
        text: What it printed.
    """

    code: int
    points: int
    places: list[str]
    where: str
    seconds: float
    text: str


class Runner:
    """The warm parent, from outside; a context manager."""

    def __enter__(self) -> Runner:
        self._output = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._output.cleanup()

    def run(
        self,
        folder: Path,
        arguments: Sequence[str],
        *,
        point: int | str | None = None,
        after: float | None = None,
        number: signal.Signals = KILL,
    ) -> Ended:
        """Run the command line in a folder.

        Args:
            folder: The working directory.
            arguments: What follows the program's name.
            point: Send it a signal at this point: counted from 1, or the first one at a place;
                0 only watches.
            after: Kill it after so many seconds, wherever it is.
            number: Which signal to send at the point.
        """
        output = Path(self._output.name) / "output"
        order = [str(folder), list(arguments), point, after, int(number), str(output)]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Ended(**answer, text=output.read_text("utf-8", errors="replace"))


@dataclass
class World:
    """A database, an output folder, and the command that brings one into the other.

    Attributes:
        folder: Holds ``db`` and, once a run was started, ``out``.
        cases: The case list.
        history: Where the runs so far were ended.
    """

    folder: Path
    cases: Path
    history: list[str]

    @classmethod
    def make(cls, folder: Path, db: Path, cases: Path) -> World:
        """Begin with a copy of a database."""
        shutil.copytree(db, folder / "db")
        return cls(folder, cases, [])

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def stretch(self) -> float:
        """How far the next run may come before it is ended, as a part of a whole run.

        Further each time, or a slow machine might never finish a case.
        """
        return 0.15 + 0.03 * len(self.history)

    @property
    def arguments(self) -> list[str]:
        return [
            *("export", "--cases", str(self.cases), "--out", "out", "--esapi", "stub:db"),
            "--write",
        ]

    def start(self) -> subprocess.Popen[str]:
        """Start a process of its own, as a user does; it stops when it has told of one case."""
        return subprocess.Popen(
            [sys.executable, "-c", _STOPS, *self.arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH},
        )

    def run(self, runner: Runner, **how: Any) -> Ended:
        """Run it from the warm parent; see :meth:`Runner.run`."""
        ended = runner.run(self.folder, self.arguments, **how)
        if ended.where:
            self.history.append(ended.where)
        return ended

    def problems(self) -> list[str]:
        """What is wrong here although a run may have been ended at any moment."""
        return [
            *_of_folders(self.out),
            *_of_single_files(self.out),
            *_of_ledger(self.out),
            *_of_audit(self.out, ended=False),
            *_of_database(self.folder / "db"),
        ]

    def unfinished(self) -> list[str]:
        """What is wrong here once a run has ended by itself."""
        left = [
            path.relative_to(self.folder).as_posix()
            for path in (*self.out.rglob("*"), *(self.folder / "db").rglob("*"))
            if path.suffix in (".part", ".tmp") or path.name.endswith("-journal")
        ]
        staging = self.out / ".staging"
        return [
            *(f"{name} is left over" for name in left),
            *([f"{staging} is left over"] if staging.exists() else []),
            *(f"verify: {finding}" for finding in verify_tree(self.out).findings),
            *_of_audit(self.out, ended=True),
        ]

    def result(self) -> Result:
        """What a run that ended by itself leaves, but for times and the numbers of runs."""
        database = self.folder / "db"
        return {
            "files": _contents(self.out, [*KINDS, "manifest.json", "export_list.csv"]),
            "names": sorted(path.name for path in self.out.iterdir()),
            "pictures": {p.name: p.read_bytes() for p in (self.out / "report").glob("*.png")},
            "pages": {p.name: _report(p) for p in (self.out / "report").glob("*.html")},
            "ledger": _ledger_state(self.out / "ledger.sqlite"),
            "database": _contents(database, [path.name for path in database.iterdir()]),
            "report": _report(self.out / "report.html"),
            "log": _log(self.out / "Output_Log.csv"),
        }


@dataclass
class Transfer(World):
    """The same for ``transfer``: ``cases`` is a ready list, and the database is the peer's.

    Attributes:
        network: The options that name the peer.
    """

    network: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        return ["transfer", "--list", str(self.cases), "--out", "out", *self.network]


def differences(one: Result, other: Result) -> list[str]:
    """Say in what two results differ."""
    found = []
    for part, expected in one.items():
        actual = other[part]
        if isinstance(expected, dict) and isinstance(actual, dict):
            keys = {k for k in expected.keys() | actual.keys() if expected.get(k) != actual.get(k)}
            found += [
                f"{part}, {key}: {_short(expected.get(key))} became {_short(actual.get(key))}"
                for key in sorted(keys)
            ]
        else:
            lines = difflib.unified_diff(list(expected), list(actual), n=0, lineterm="")
            found += [f"{part}: {_short(line)}" for line in lines]
    return found


def _short(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) < 2000 else f"{text[:2000]}…"


def _of_folders(out: Path) -> list[str]:
    """Whatever has a final name is a whole series folder, proven by reading every file."""
    found = []
    for path in sorted(path for kind in KINDS for path in (out / kind).rglob("*")):
        where = path.relative_to(out)
        depth = len(where.parts)
        if path.is_dir() != (depth < 4) or depth > 4 or where.name.startswith("."):
            found.append(f"{where} should not be there")
        if depth != 3:
            continue
        try:
            manifest = read_manifest(path)
            inspected = inspect_folder(path, manifest.request, manifest.case_key)
            if inspected.manifest != manifest:
                found.append(f"{where} is not what its manifest says")
        except VerifyError as error:
            found.append(f"{where}: {error}")
    return found


def _of_single_files(out: Path) -> list[str]:
    found = []
    try:
        if (out / "manifest.json").exists():
            read_root_manifest(out)
        if (out / "export_list.csv").exists():
            read_ready_list(out / "export_list.csv")
    except StardustError as error:
        found.append(str(error))
    found += [
        f"{page.name} is not whole"
        for page in (*out.glob("report.html"), *(out / "report").glob("*.html"))
        if not page.read_text("utf-8").rstrip().endswith("</html>")
    ]
    found += [
        f"{picture.name} is not whole"
        for picture in (out / "report").glob("*.png")
        if not picture.read_bytes().endswith(b"IEND\xaeB`\x82")
    ]
    log = out / "Output_Log.csv"
    if log.exists():
        lines = log.read_bytes().split(b"\r\n")
        found += [
            f"Output_Log.csv holds {line!r}"
            for line in lines[:-1]
            if line.count(b";") < 3 or b"\n" in line or b"\r" in line
        ]
    return found


def _of_ledger(out: Path) -> list[str]:
    """The ledger promises nothing that is not there, and knows all that is."""
    if not (out / "ledger.sqlite").exists():
        return []
    # Looked at in a copy: to open a ledger that was left in the middle mends it.
    with tempfile.TemporaryDirectory() as folder:
        for path in out.glob("ledger.sqlite*"):
            shutil.copy(path, folder)
        with sqlite3.connect(Path(folder) / "ledger.sqlite") as db:
            check = db.execute("PRAGMA integrity_check").fetchone()[0]
            if not db.execute("SELECT * FROM sqlite_master").fetchall():
                return []  # ended before it held anything
            series = db.execute("SELECT folder, state, manifest_sha256, case_key FROM series")
            placed = series.fetchall()
            exported = db.execute("SELECT case_key FROM cases WHERE state = 'exported'").fetchall()
            wanted = db.execute("SELECT case_key, count(*) FROM requests GROUP BY case_key")
            requests = dict(wanted.fetchall())
        db.close()
    found = [] if check == "ok" else [f"the ledger is damaged: {check}"]
    there = {
        path.relative_to(out).as_posix(): manifest_digest(read_manifest(path))
        for kind in KINDS
        for path in (out / kind).glob("*/*")
    }
    found += [
        f"the ledger says that {name} is in its place"
        for name, state, digest, _ in placed
        if state == "placed" and there.get(name) != digest
    ]
    known = {(name, digest) for name, _, digest, _ in placed}
    found += [f"the ledger does not know {item[0]}" for item in there.items() - known]
    in_place = Counter(key for _, state, _, key in placed if state == "placed")
    found += [
        f"case {key} counts as exported with {in_place[key]} of {requests.get(key)} series"
        for (key,) in exported
        if in_place[key] != requests.get(key)
    ]
    return found


def _of_audit(out: Path, *, ended: bool) -> list[str]:
    """The chain holds; the very last line alone may be cut off, until a run ends by itself."""
    path = out / "audit.jsonl"
    if not path.exists():
        return []
    return [p for p in check_audit(path).problems if ended or "last line is cut off" not in p]


def _of_database(db: Path) -> list[str]:
    """No structure set twice, and those of one case all or none."""
    found = []
    for patient in describe(db)["patients"]:
        ids = [s["id"] for s in patient["structure_sets"]]
        found += [
            f"{patient['id']} has {count} structure sets {name}"
            for name, count in Counter(ids).items()
            if count > 1
        ]
        for ct, km in (
            ("zCopyFromPlan", "zCopyFromPlan_KM"),
            ("zCopyFromPlan_2", "zCopyFromPl_2_KM"),
        ):
            if km in ids and ct not in ids:
                found.append(f"{patient['id']} has {km} without {ct}")
    return found


def _contents(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    paths = [path for name in names for path in (folder / name, *(folder / name).rglob("*"))]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths if p.is_file()}


def _ledger_state(path: Path) -> dict[str, Any]:
    with sqlite3.connect(path) as db:
        columns = "case_key, row, patient_id, plan_id, series_uid, structure_set_id, state, reason"
        state: dict[str, Any] = {
            "cases": db.execute(f"SELECT {columns} FROM cases ORDER BY case_key").fetchall()
        }
        for table in ("requests", "outcomes", "series", "files", "file_states"):
            state[table] = sorted(db.execute(f"SELECT * FROM {table}").fetchall())
        state["last run"] = db.execute(
            "SELECT outcome FROM runs ORDER BY run DESC LIMIT 1"
        ).fetchall()
    db.close()
    return state


def _log(path: Path) -> dict[str, int]:
    """The old program's log: how often each event stands there, but for failures.

    A case that fails or is doubtful is so again in every run; a row that a kill cut off was not the
    event.
    """
    rows = path.read_text("utf-8").splitlines()
    again = re.compile(r';"?(failed|doubtful): ')
    return dict(Counter(row for row in rows if not again.search(row) and CUT_OFF not in row))


def _report(path: Path) -> list[str]:
    """The report's lines without times, and without what only the first of two runs can know.

    A run that goes on after a kill finds the structure set that is its own, and no longer says
    that it was made beside an older one.
    """
    text = path.read_text("utf-8")
    for pattern in (
        r'(?<=<p class="eyebrow">).*',
        r"It took .*",
        r"<li>zCopyFromPlan.*: an older one was left as it is .*",
        r"(?: · )?\d+ notes?",
        r" · began .*",
        r"<p>Audit log .*",
    ):
        text = re.sub(pattern, "", text)
    return [line for line in text.splitlines() if line.strip()]


class Points:
    """Watches the points of this process and sends it a signal at one of them.

    A point lies before and after each call that changes what is on the disk, or may do so. Its
    place is what is called, and the lines of the program and the stub that led there.
    """

    def __init__(self, point: int | str, number: int, answer: int) -> None:
        self._point = point
        self._number = number
        self._answer = answer
        self._passed = 0
        self._told = False
        self._places: dict[str, None] = {}

    def watch(self) -> None:
        """Put points into what the program and the stub use; the process is never the same."""
        for name in ("fsync", "mkdir", "replace", "rmdir", "unlink"):
            setattr(os, name, self._watched(getattr(os, name)))

        class Connection(sqlite3.Connection):
            execute = self._watched(sqlite3.Connection.execute)
            executemany = self._watched(sqlite3.Connection.executemany)

        class Writer(io.BufferedWriter):
            flush = self._watched(io.BufferedWriter.flush)  # closing a file calls it too

        def open_watched(*arguments: Any, **named: Any) -> Any:
            file = plain_open(*arguments, **named)
            return Writer(file.detach()) if type(file) is io.BufferedWriter else file

        plain_open = io.open
        io.open = open_watched
        sqlite3.connect = partial(sqlite3.connect, factory=Connection)  # type: ignore[assignment]

    def tell(self, where: str = "") -> None:
        """Answer what was seen until now; only the first answer counts."""
        if not self._told:
            told = {"points": self._passed, "places": list(self._places), "where": where}
            os.write(self._answer, json.dumps(told).encode())
        self._told = True

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **named: Any) -> Any:
            if any(str(argument).startswith("SELECT") for argument in arguments[1:2]):
                return call(*arguments, **named)
            self._pass(f"before {call.__name__}")
            result = call(*arguments, **named)
            self._pass(f"after {call.__name__}")
            return result

        return watched

    def _pass(self, what: str) -> None:
        lines = (
            f"{Path(frame.f_code.co_filename).name}:{line}"
            for frame, line in traceback.walk_stack(sys._getframe(2))
            if _OURS.search(frame.f_code.co_filename)
        )
        place = " < ".join([what, *lines])
        self._passed += 1
        self._places.setdefault(place)
        if self._point in (self._passed, place) and not self._told:
            self.tell(place)
            os.kill(os.getpid(), self._number)


def _child(order: list[Any], answer: int) -> None:
    folder, arguments, point, _, number, output = order
    descriptor = os.open(output, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(folder)
    sys.argv = ["stardust-esapi", *arguments]
    points = Points(point or 0, number, answer)
    code: object = None
    try:
        if point is not None:
            points.watch()
        program.main()
    except SystemExit as error:
        code = error.code
    except BaseException:  # noqa: BLE001 - the child ends here; what a user would see is kept
        sys.excepthook(*sys.exc_info())
    finally:
        points.tell()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 70)


def _fork(order: list[Any]) -> dict[str, Any]:
    after: float | None = order[3]
    reading, writing = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if not child:
        os.close(reading)
        signal.alarm(round(PATIENCE))  # ends a run that hangs
        _child(order, writing)
    os.close(writing)
    if after is not None:
        time.sleep(after)
        # Not waited for yet, so the number is still the child's, even if it has ended.
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading, "rb") as pipe:
        told: dict[str, Any] = json.loads(pipe.read() or '{"points": 0, "places": [], "where": ""}')
    _, status = os.waitpid(child, 0)
    told["code"] = os.waitstatus_to_exitcode(status)
    told["seconds"] = time.monotonic() - began
    if told["code"] == -signal.SIGKILL and after is not None:
        told["where"] = f"after {after:.3f} s"
    return told


def main() -> None:
    """Answer orders, one a line, until there are no more."""
    for package in (stardust_esapi, esapi_stub):
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                import_module(module.name)
    for name in ("contourpy", "PIL.ImageDraw", "PIL.ImageFont", "scipy.ndimage"):
        import_module(name)  # the report's pictures import them on their way
    settings_schema()
    for page in Path(stardust_esapi.__file__).parent.glob("*/*.html.j2"):
        template(page.parent.name, page.name)  # compiled once, not in each child
    gc.freeze()  # what the children share stays shared
    for line in sys.stdin:
        print(json.dumps(_fork(json.loads(line))), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
