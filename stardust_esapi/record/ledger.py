"""The ledger of an output folder: one SQLite file with the state of every case and every file.

Every change of state is one transaction, durable when the method returns, and leaves an event
with time and run number. Killed at any moment, the next run finds where the last one stood.

A series goes from ``claimed`` (its folder's name is reserved) to ``staged`` (its files lie verified
in the staging folder) to ``placed`` (the folder has its final name). The folder is renamed as a
whole, so a file's state is its series' state: the view ``file_states`` shows both together.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, astuple, dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from stardust_esapi.errors import CaseError, UsageError
from stardust_esapi.files import make_folder
from stardust_esapi.model import (
    Action,
    Case,
    CaseResult,
    CaseState,
    Finding,
    Kind,
    StructureOutcome,
    TransferRequest,
)
from stardust_esapi.names import folding
from stardust_esapi.record.audit import Mark
from stardust_esapi.verify.manifest import RootEntry, SeriesManifest, manifest_digest
from stardust_esapi.wording import counted

LEDGER_NAME = "ledger.sqlite"
SCHEMA_VERSION = 8

_LOCK_SECONDS = 10.0

# Columns of requests, outcomes and files stand in the order of the records' fields.
_SCHEMA = """
CREATE TABLE runs (
    run INTEGER PRIMARY KEY, started TEXT NOT NULL, ended TEXT NOT NULL DEFAULT '',
    outcome TEXT NOT NULL DEFAULT '', version TEXT NOT NULL, esapi TEXT NOT NULL,
    engine TEXT NOT NULL, case_list TEXT NOT NULL, summary TEXT NOT NULL DEFAULT '');
CREATE TABLE cases (
    case_key TEXT PRIMARY KEY, listed INTEGER NOT NULL, row INTEGER NOT NULL,
    patient_id TEXT NOT NULL, plan_id TEXT NOT NULL, series_uid TEXT NOT NULL,
    structure_set_id TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
    notes TEXT NOT NULL DEFAULT '[]',
    label TEXT NOT NULL DEFAULT '', label2 TEXT NOT NULL DEFAULT '',
    case_kind TEXT NOT NULL DEFAULT '',
    listed_key TEXT NOT NULL DEFAULT '', warnings TEXT NOT NULL DEFAULT '[]',
    left_out TEXT NOT NULL DEFAULT '[]', doubts TEXT NOT NULL DEFAULT '[]',
    whole TEXT NOT NULL DEFAULT '');
CREATE TABLE requests (
    case_key TEXT NOT NULL REFERENCES cases, kind TEXT NOT NULL, patient_id TEXT NOT NULL,
    plan_id TEXT NOT NULL, study_uid TEXT NOT NULL, series_uid TEXT NOT NULL,
    structure_set_uid TEXT NOT NULL, registration_uid TEXT NOT NULL, images INTEGER NOT NULL,
    plan_uid TEXT NOT NULL, dose_uid TEXT NOT NULL, derived_structure_set_uid TEXT NOT NULL,
    PRIMARY KEY (case_key, kind));
CREATE TABLE outcomes (
    case_key TEXT NOT NULL REFERENCES cases, number INTEGER NOT NULL, kind TEXT NOT NULL,
    source_id TEXT NOT NULL, action TEXT NOT NULL, new_id TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (case_key, number));
CREATE TABLE series (
    case_key TEXT NOT NULL REFERENCES cases, kind TEXT NOT NULL, folder TEXT NOT NULL,
    folded TEXT NOT NULL, folded_parent TEXT NOT NULL, state TEXT NOT NULL,
    manifest_sha256 TEXT NOT NULL DEFAULT '',
    sender_report TEXT NOT NULL DEFAULT '', clean INTEGER NOT NULL DEFAULT 1,
    remarks TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (case_key, kind));
CREATE INDEX series_folder ON series (folded);
CREATE INDEX series_parent ON series (folded_parent);
CREATE TABLE files (
    case_key TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL, sop_class_uid TEXT NOT NULL, series_uid TEXT NOT NULL,
    size INTEGER NOT NULL, sha256 TEXT NOT NULL,
    PRIMARY KEY (case_key, kind, name), FOREIGN KEY (case_key, kind) REFERENCES series);
CREATE VIEW file_states AS
    SELECT case_key, kind, series.folder || '/' || name AS file, state
    FROM files JOIN series USING (case_key, kind);
CREATE TABLE events (
    event INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs, time TEXT NOT NULL,
    case_key TEXT NOT NULL REFERENCES cases, kind TEXT NOT NULL, state TEXT NOT NULL,
    detail TEXT NOT NULL);
CREATE TABLE audit_logs (path TEXT PRIMARY KEY, events INTEGER NOT NULL, last TEXT NOT NULL);
"""


class SeriesState(StrEnum):
    """How far one series of a case, and with it each of its files, has come."""

    CLAIMED = "claimed"
    STAGED = "staged"
    PLACED = "placed"


@dataclass(frozen=True, slots=True)
class SeriesRecord:
    """What the ledger knows of one series of a case.

    Attributes:
        folder: Its output folder relative to the root, POSIX style.
        state: Claimed, staged or placed.
        manifest_sha256: SHA-256 of its ``manifest.json``; empty while only claimed.
        sender_report: What the sender said of the transfer; empty where nobody sent.
        clean: Whether it reported no trouble and was asked but once.
        remarks: Sentences on what is odd about it, and must be read.
    """

    folder: str
    state: SeriesState
    manifest_sha256: str
    sender_report: str = ""
    clean: bool = True
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """What the ledger knows of one case, for those who only read.

    Attributes:
        key: ``Case.key``.
        row: Where it stands in its list.
        patient_id: Patient ID (0010,0020).
        state: How far it has come.
        reason: Why it failed or is doubtful, in words that may name the patient; else empty.
        plan_id: ``PlanSetup.Id``; may be empty.
        structure_set_id: ``StructureSet.Id`` of the source; may be empty.
        label: The Case-Selector's label; empty without one.
        label2: The pre-filter's ``Label2``; likewise.
        case_kind: The Case-Selector's ``casekind``; likewise.
        doubts: What spoke against the case when it was prepared.
        asked: The kinds it was last prepared for.
        placed: The series of it that are in their places.
    """

    key: str
    row: int
    patient_id: str
    state: CaseState
    reason: str
    plan_id: str
    structure_set_id: str
    label: str
    label2: str
    case_kind: str
    doubts: tuple[Finding, ...]
    asked: tuple[Kind, ...]
    placed: dict[Kind, SeriesRecord]

    @property
    def why(self) -> str:
        """The reason without the case's name."""
        what = rf"(?:plan {re.escape(self.plan_id)}|series [\d.]*)"
        return re.sub(rf"^row \d+, patient {re.escape(self.patient_id)}, {what}: ", "", self.reason)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What the ledger knows of a run.

    Attributes:
        started: When it began, ISO 8601.
        ended: When it ended; empty while it runs, or where it was killed.
        outcome: ``done``, ``stopped`` or ``failed``.
        esapi: How ESAPI was reached; empty for a transfer.
        case_list: The list, as a full path.
    """

    started: str
    ended: str
    outcome: str
    esapi: str
    case_list: str


class Ledger:
    """The ledger of one output folder; use it as a context manager.

    Methods that change something need :meth:`begin_run` first, and the case to be registered.
    Every method raises UsageError when the file cannot be read or written.
    """

    def __init__(self, root: Path, *, of_run: int = 0) -> None:
        """Open the ledger, or begin one.

        Args:
            root: The output folder.
            of_run: The run that has checked the file already; 0 to check it, which takes the
                longer the more it holds.

        Raises:
            UsageError: The file is damaged, of a newer version, in use, or no ledger.
        """
        self.path = root / LEDGER_NAME
        self._run = of_run
        with self._readable():
            try:
                make_folder(root)
            except OSError as error:
                raise UsageError(f"{root} cannot be created: {error.strerror or error}.") from None
            # Transactions are begun by hand: one a state change.
            self._db = sqlite3.connect(self.path, timeout=_LOCK_SECONDS, isolation_level=None)
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sibling(self) -> Ledger:
        """The same ledger in the same run for another thread: a connection serves only its own."""
        return Ledger(self.path.parent, of_run=self._run)

    def close(self) -> None:
        """Close the file; a run that was not ended counts as interrupted."""
        self._db.close()

    def begin_run(self, *, version: str, esapi: str, engine: str, case_list: str) -> int:
        """Begin a run and return its number; runs that never ended are marked as interrupted.

        Args:
            version: Version of this program.
            esapi: How ESAPI was chosen, such as ``stub:DB`` or ``eclipse``; empty for a transfer.
            engine: Who moves the data.
            case_list: The case list's full path.
        """
        with self._transaction():
            self._db.execute("UPDATE runs SET outcome = 'interrupted' WHERE ended = ''")
            number = self._db.execute(
                "INSERT INTO runs (started, version, esapi, engine, case_list)"
                " VALUES (?, ?, ?, ?, ?)",
                (_now(), version, esapi, engine, case_list),
            ).lastrowid
        assert number is not None
        self._run = number
        return number

    def end_run(self, outcome: str) -> None:
        """End the run with a word on how it went."""
        with self._transaction():
            self._db.execute(
                "UPDATE runs SET ended = ?, outcome = ? WHERE run = ?", (_now(), outcome, self._run)
            )

    def summarise(self, summary: str) -> None:
        """Keep what a report says of the run besides its cases, in words of the report's own."""
        with self._transaction():
            self._db.execute("UPDATE runs SET summary = ? WHERE run = ?", (summary, self._run))

    def register(self, cases: Iterable[Case]) -> None:
        """Take in the rows of a list: new cases are pending, known ones keep their state.

        Row numbers and labels follow the list; of two rows with the same case the first counts.
        """
        listed: dict[str, Case] = {}
        for case in cases:
            listed.setdefault(case.key, case)
        known = {row["case_key"] for row in self._rows("SELECT case_key FROM cases")}
        with self._transaction():
            for key, case in listed.items():
                if key in known:
                    self._db.execute(
                        "UPDATE cases SET listed = ?, row = ?, label = ?, label2 = ?,"
                        " case_kind = ?, whole = ? WHERE case_key = ?",
                        (
                            self._run,
                            case.row,
                            case.label,
                            case.label2,
                            case.case_kind,
                            _as_text(case),
                            key,
                        ),
                    )
                    continue
                self._db.execute(
                    "INSERT INTO cases (case_key, listed_key, listed, row, patient_id, plan_id,"
                    " series_uid, structure_set_id, state, label, label2, case_kind, whole)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        key,
                        key,
                        self._run,
                        case.row,
                        case.patient_id,
                        case.plan_id,
                        case.series_uid,
                        case.structure_set_id,
                        CaseState.PENDING,
                        case.label,
                        case.label2,
                        case.case_kind,
                        _as_text(case),
                    ),
                )
                self._event(key, "", CaseState.PENDING)

    def identified(self, listed: Case, case: Case) -> None:
        """Record whose case a listed one is: what is known of it stands under the verified id.

        Args:
            listed: The case as registered, under the patient id of its row.
            case: The same under the id that was verified to be the patient's.
        """
        self.register([case])
        with self._transaction():
            self._db.execute(
                "UPDATE cases SET listed_key = ?, listed = ? WHERE case_key = ?",
                (listed.key, self._run, case.key),
            )
            self._db.execute(
                "UPDATE events SET case_key = ? WHERE case_key = ?", (case.key, listed.key)
            )
            self._db.execute("DELETE FROM cases WHERE case_key = ?", (listed.key,))
            self._event(case.key, "", "identified", f"listed as patient {listed.patient_id}")

    def patient_ids(self) -> dict[str, str]:
        """The patient id that was verified, by :attr:`Case.key` under the id that was listed."""
        rows = self._rows(
            "SELECT listed_key, patient_id FROM cases WHERE listed_key NOT IN ('', case_key)"
        )
        return {row["listed_key"]: row["patient_id"] for row in rows}

    def claim_folder(self, case: Case, kind: Kind, candidates: Iterable[str]) -> str:
        """Reserve the output folder of one series.

        A case keeps the folder it has. Else it gets the first candidate that no series with other
        content holds and whose parent is no other patient's: names are compared as file systems
        do that ignore case. Two cases that ask for the very same series share its folder.

        Args:
            case: The case; prepared.
            kind: Which of its series.
            candidates: Folders relative to the root, POSIX style, the best one first.

        Raises:
            CaseError: Every candidate is taken.
        """
        own = self._rows(
            "SELECT folder FROM series WHERE case_key = ? AND kind = ?", case.key, kind
        )
        if own:
            return str(own[0]["folder"])
        for folder in candidates:
            folded, parent = folding(folder), folding(str(PurePosixPath(folder).parent))
            holders = self._rows("SELECT case_key FROM series WHERE folded = ?", folded)
            foreign = self._rows(
                "SELECT 1 FROM series JOIN cases USING (case_key)"
                " WHERE folded_parent = ? AND patient_id <> ? LIMIT 1",
                parent,
                case.patient_id,
            )
            content = self._content(case.key, kind)
            if foreign or any(self._content(h["case_key"], kind) != content for h in holders):
                continue
            with self._transaction():
                self._db.execute(
                    "INSERT INTO series (case_key, kind, folder, folded, folded_parent, state)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (case.key, kind, folder, folded, parent, SeriesState.CLAIMED),
                )
                self._event(case.key, kind, SeriesState.CLAIMED, folder)
            return folder
        raise CaseError(
            f"{case}: other cases hold every folder that its {kind} series could have. "
            "Choose another --out for this case."
        )

    def prepared(
        self,
        case: Case,
        requests: Sequence[TransferRequest],
        outcomes: Sequence[StructureOutcome] = (),
        notes: Sequence[str] = (),
        warnings: Sequence[str] = (),
        *,
        left_out: Sequence[Kind] = (),
        doubts: Sequence[Finding] = (),
    ) -> None:
        """Record that a case is ready for transfer: its structure sets are saved in Eclipse.

        A series that was staged for another request than now is only claimed again. One in its
        place stays, with its request, also when this run does not ask for its kind.

        Raises:
            CaseError: A series in its place was exported for another request than now, or is left
                out now.
        """
        before = {request.kind: request for request in self.requests(case)}
        now = {request.kind: request for request in requests}
        series = self.series_of(case)
        placed = {kind for kind, record in series.items() if record.state is SeriesState.PLACED}
        for kind in placed & now.keys():
            if now[kind] != before[kind]:
                raise CaseError(
                    f"{case}: {series[kind].folder} was exported for other UIDs than the case has "
                    "now. Choose another --out for this case."
                )
        for kind in placed & set(left_out):
            raise CaseError(
                f"{case}: {series[kind].folder} was exported by an earlier run, and cannot be "
                f"had as the row says now. Look at the {kind.words} in Eclipse; if the folder is "
                "no longer right, choose another --out."
            )
        with self._transaction():
            for kind in series.keys() - placed:
                if now.get(kind) != before.get(kind):
                    self._forget_files(case, kind)
            self._db.executemany(
                "DELETE FROM requests WHERE case_key = ? AND kind = ?",
                [(case.key, kind) for kind in before if kind in now or kind not in placed],
            )
            self._db.executemany(
                "INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(case.key, *astuple(request)) for request in requests],
            )
            self._set_outcomes(case, outcomes)
            self._set_list(case, "notes", notes)
            self._set_list(case, "warnings", warnings)
            self._set_list(case, "left_out", left_out)
            self._set_list(case, "doubts", [(doubt.gate, doubt.text) for doubt in doubts])
            self._set_state(case, CaseState.PREPARED)

    def staged(
        self,
        case: Case,
        kind: Kind,
        manifest: SeriesManifest,
        sender_report: str = "",
        *,
        clean: bool = True,
        remarks: Sequence[str] = (),
    ) -> None:
        """Record that the files of a series lie complete and verified in the staging folder.

        Args:
            case: The case.
            kind: Which of its series.
            manifest: What lies there.
            sender_report: What the sender said of the transfer.
            clean: Whether it reported no trouble and was asked but once.
            remarks: Sentences on what is odd about the series.

        Raises:
            CaseError: The manifest is not of the series that the case asked for, or the series
                is in its place already.
        """
        request = next((r for r in self.requests(case) if r.kind is kind), None)
        if request is None or request != manifest.request or manifest.case_key != case.key:
            raise CaseError(
                f"{case}: the files staged as {kind} are those of another series or case. "
                "Run the export again; if it stays so, report this message."
            )
        series = self.series_of(case).get(kind)
        if series is None or series.state is SeriesState.PLACED:
            raise CaseError(
                f"{case}: the {kind} series has no folder, or is in it already. "
                "Run the export again; if it stays so, report this message."
            )
        with self._transaction():
            self._forget_files(case, kind)
            self._db.executemany(
                "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(case.key, kind, *astuple(file)) for file in manifest.files],
            )
            self._set_series_state(case, kind, SeriesState.STAGED, manifest_digest(manifest))
            self._db.execute(
                "UPDATE series SET sender_report = ?, clean = ?, remarks = ?"
                " WHERE case_key = ? AND kind = ?",
                (sender_report, clean, json.dumps(list(remarks)), case.key, kind),
            )
            if sender_report:
                self._event(case.key, kind, "transferred", sender_report)

    def placed(self, case: Case, kind: Kind) -> None:
        """Record that the folder of a staged series has its final name.

        Raises:
            CaseError: The series was not staged.
        """
        series = self.series_of(case).get(kind)
        if series is None or series.state is SeriesState.CLAIMED:
            raise CaseError(f"{case}: the {kind} series was not verified before it was placed.")
        if series.state is SeriesState.STAGED:
            with self._transaction():
                self._set_series_state(case, kind, SeriesState.PLACED, series.manifest_sha256)

    def adopted(self, case: Case, kind: Kind) -> bool:
        """Take over a series that another case with the same request has in the shared folder.

        Returns:
            Whether there is one; the series counts as placed then.
        """
        owners = self._rows(
            "SELECT theirs.case_key, theirs.manifest_sha256, theirs.remarks FROM series AS mine"
            " JOIN series AS theirs USING (folded)"
            " WHERE mine.case_key = ? AND mine.kind = ? AND theirs.case_key <> mine.case_key"
            " AND theirs.state = ?",
            case.key,
            kind,
            SeriesState.PLACED,
        )
        if not owners:
            return False
        with self._transaction():
            self._forget_files(case, kind)
            self._db.execute(
                "INSERT INTO files SELECT ?, kind, name, sop_instance_uid, sop_class_uid,"
                " series_uid, size, sha256 FROM files WHERE case_key = ? AND kind = ?",
                (case.key, owners[0]["case_key"], kind),
            )
            self._db.execute(
                "UPDATE series SET remarks = ? WHERE case_key = ? AND kind = ?",
                (owners[0]["remarks"], case.key, kind),
            )
            digest = owners[0]["manifest_sha256"]
            self._set_series_state(case, kind, SeriesState.PLACED, digest)
        return True

    def withdrawn(self, case: Case, kind: Kind) -> None:
        """Record that a placed series is gone from its folder: the case is pending again."""
        with self._transaction():
            self._forget_files(case, kind)
            self._set_state(case, CaseState.PENDING, f"{kind} series withdrawn")

    def exported(
        self,
        case: Case,
        notes: Sequence[str] | None = None,
        warnings: Sequence[str] | None = None,
    ) -> CaseState:
        """Record that every series of a prepared case is in its place.

        Args:
            case: The case.
            notes: What the reader should know; None keeps those of the preparation.
            warnings: What the reader must know; likewise.

        Returns:
            Exported, or partial where a kind that the row names was left out.

        Raises:
            CaseError: One is not, or the case is not prepared.
        """
        series = self.series_of(case)
        requests = self.requests(case)
        lacking = [
            request.kind.value
            for request in requests
            if request.kind not in series or series[request.kind].state is not SeriesState.PLACED
        ]
        state = self.state(case)
        is_prepared = state is CaseState.PREPARED or state.is_exported
        if lacking or not requests or not is_prepared:
            raise CaseError(
                f"{case}: it cannot count as exported, not in place: "
                f"{', '.join(lacking) or 'the prepared case'}. Run the export again."
            )
        left_out = json.loads(self._case(case)["left_out"])
        state = CaseState.PARTIAL if left_out else CaseState.EXPORTED
        with self._transaction():
            if notes is not None:
                self._set_list(case, "notes", notes)
            if warnings is not None:
                self._set_list(case, "warnings", warnings)
            self._set_state(case, state)
        return state

    def failed(
        self,
        case: Case,
        reason: str,
        outcomes: Sequence[StructureOutcome] = (),
        state: CaseState = CaseState.FAILED,
    ) -> None:
        """Record that a case failed in this run, or is doubtful; the next run tries it again.

        Folders that are claimed and still unused are given back.
        """
        unused = {k: s for k, s in self.series_of(case).items() if s.state is SeriesState.CLAIMED}
        with self._transaction():
            if outcomes:
                self._set_outcomes(case, outcomes)
            for kind, series in unused.items():
                self._db.execute(
                    "DELETE FROM series WHERE case_key = ? AND kind = ?", (case.key, kind)
                )
                self._event(case.key, kind, "released", series.folder)
            self._set_state(case, state, reason)

    def state(self, case: Case) -> CaseState:
        """State of a registered case."""
        return CaseState(self._case(case)["state"])

    def requests(self, case: Case) -> tuple[TransferRequest, ...]:
        """The series of the case when it was last prepared, in the order of their kinds' names."""
        return _requests(self._rows, case)

    def series_of(self, case: Case) -> dict[Kind, SeriesRecord]:
        """The series of a case that have a folder, whatever their state."""
        return _series_of(self._rows, case)

    def folders(self, case: Case) -> dict[Kind, str]:
        """Folder of each series that is in its place, relative to the root, POSIX style."""
        return {kind: one.folder for kind, one in _placed(self.series_of(case)).items()}

    def result(self, case: Case) -> CaseResult:
        """All that is recorded of a case, as the run that recorded it said it."""
        return _result(self._rows, case)

    def ready(self) -> list[TransferRequest]:
        """The series of all prepared and exported cases, in list order, for the ready list."""
        rows = self._rows(
            "SELECT requests.* FROM requests JOIN cases USING (case_key)"
            " WHERE state IN (?, ?, ?) ORDER BY listed, row, case_key, kind",
            CaseState.PREPARED,
            CaseState.EXPORTED,
            CaseState.PARTIAL,
        )
        return [_request(row) for row in rows]

    def series(self) -> list[RootEntry]:
        """Every series that is in its place, for the root manifest; a shared one once."""
        return _root_entries(self._rows(*_PLACED))

    def audited(self, path: Path, end: Mark) -> None:
        """Record where an audit log ends.

        Args:
            path: The log; one in the output folder stays known when the folder is moved.
            end: Its last event.

        Raises:
            UsageError: The log has become shorter since it was last recorded.
        """
        before = self.audit_logs().get(path)
        if before and end.events <= before.events:
            raise UsageError(
                f"{path} was cut while this program wrote to it: it held "
                f"{counted(before.events, 'event')}, and holds {end.events}. Find out who did that "
                "before you run it again."
            )
        root = self.path.parent
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO audit_logs VALUES (?, ?, ?)", (name, end.events, end.last)
            )

    def audit_logs(self) -> dict[Path, Mark]:
        """The audit logs that runs of this folder wrote to, and where each ended then."""
        return _audit_logs(self.path.parent, self._rows("SELECT * FROM audit_logs"))

    def _open(self) -> None:
        self._db.row_factory = sqlite3.Row
        # Output folders lie on network shares, where SQLite's WAL does not work. EXTRA is FULL
        # and makes the journal's end durable too: what was said to be recorded stays recorded.
        self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.execute("PRAGMA synchronous = EXTRA")
        self._db.execute("PRAGMA foreign_keys = ON")
        with self._transaction():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if version == 0 and tables == 0:
                for statement in _SCHEMA.split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif version == 0:
                raise UsageError(f"{self.path} is no ledger of this program. Move it away.")
            elif version != SCHEMA_VERSION:
                raise UsageError(
                    f"{self.path} was written by another version of this program (format "
                    f"{version}, this one knows {SCHEMA_VERSION}). Use that version, or choose "
                    "another --out."
                )
        if self._run:
            return
        check = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if check != "ok":
            raise sqlite3.DatabaseError(str(check).splitlines()[0])

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise  # a fault of this program, not of the file
        except sqlite3.DatabaseError as error:
            raise UsageError(
                f"The ledger {self.path} cannot be used: {error}. If another run is using this "
                "folder, wait for its end; if the file is damaged, restore it from a backup or "
                "choose another --out."
            ) from None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._readable():
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, statement: str, *values: object) -> list[Any]:
        with self._readable():
            return self._db.execute(statement, values).fetchall()

    def _content(self, case_key: str, kind: Kind) -> tuple[object, ...]:
        """What a request asks for, whichever plan it is for."""
        rows = self._rows(
            "SELECT patient_id, study_uid, series_uid, structure_set_uid, registration_uid, images,"
            " plan_uid, dose_uid, derived_structure_set_uid FROM requests"
            " WHERE case_key = ? AND kind = ?",
            case_key,
            kind,
        )
        return tuple(rows[0]) if rows else (case_key,)

    def _case(self, case: Case) -> Any:
        rows = self._rows("SELECT * FROM cases WHERE case_key = ?", case.key)
        if not rows:
            raise LookupError(f"{case} is not registered")
        return rows[0]

    def _event(self, key: str, kind: str, state: str, detail: str = "") -> None:
        self._db.execute(
            "INSERT INTO events (run, time, case_key, kind, state, detail)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (self._run, _now(), key, kind, state, detail),
        )

    def _set_state(self, case: Case, state: CaseState, reason: str = "") -> None:
        self._db.execute(
            "UPDATE cases SET state = ?, reason = ? WHERE case_key = ?", (state, reason, case.key)
        )
        self._event(case.key, "", state, reason)

    def _set_series_state(
        self, case: Case, kind: Kind, state: SeriesState, manifest_sha256: str = ""
    ) -> None:
        self._db.execute(
            "UPDATE series SET state = ?, manifest_sha256 = ? WHERE case_key = ? AND kind = ?",
            (state, manifest_sha256, case.key, kind),
        )
        self._event(case.key, kind, state, manifest_sha256)

    def _forget_files(self, case: Case, kind: Kind) -> None:
        """Take a series back to claimed."""
        known = self._db.execute(
            "DELETE FROM files WHERE case_key = ? AND kind = ?", (case.key, kind)
        )
        if known.rowcount:
            self._set_series_state(case, kind, SeriesState.CLAIMED)

    def _set_list(self, case: Case, column: str, values: Sequence[object]) -> None:
        self._db.execute(
            f"UPDATE cases SET {column} = ? WHERE case_key = ?",  # noqa: S608 - our own names
            (json.dumps(list(values), ensure_ascii=False), case.key),
        )

    def _set_outcomes(self, case: Case, outcomes: Sequence[StructureOutcome]) -> None:
        self._db.execute("DELETE FROM outcomes WHERE case_key = ?", (case.key,))
        self._db.executemany(
            "INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(case.key, number, *astuple(outcome)) for number, outcome in enumerate(outcomes)],
        )


def read_cases(root: Path) -> list[CaseRecord]:
    """Read every case of an output folder's ledger, in list order, and change nothing.

    The folder may be write-protected.

    Raises:
        UsageError: The ledger is not there, damaged, of a newer version, or in use.
    """
    with _reading(root) as db:
        cases = db.execute("SELECT * FROM cases ORDER BY listed, row, case_key").fetchall()
        requests = db.execute("SELECT case_key, kind FROM requests ORDER BY kind").fetchall()
        series = db.execute(
            "SELECT * FROM series WHERE state = ? ORDER BY kind", (SeriesState.PLACED,)
        ).fetchall()
    asked: dict[str, list[Kind]] = {}
    for row in requests:
        asked.setdefault(row["case_key"], []).append(Kind(row["kind"]))
    placed: dict[str, dict[Kind, SeriesRecord]] = {}
    for row in series:
        placed.setdefault(row["case_key"], {})[Kind(row["kind"])] = _series_record(row)
    return [
        CaseRecord(
            key=row["case_key"],
            row=row["row"],
            patient_id=row["patient_id"],
            state=CaseState(row["state"]),
            reason=row["reason"],
            plan_id=row["plan_id"],
            structure_set_id=row["structure_set_id"],
            label=row["label"],
            label2=row["label2"],
            case_kind=row["case_kind"],
            doubts=_findings(row["doubts"]),
            asked=tuple(asked.get(row["case_key"], ())),
            placed=placed.get(row["case_key"], {}),
        )
        for row in cases
    ]


def read_last_run(root: Path) -> RunRecord | None:
    """Read what an output folder's ledger knows of its last run, and change nothing.

    Raises:
        UsageError: The ledger is not there, damaged, of a newer version, or in use.
    """
    with _reading(root) as db:
        row = db.execute("SELECT * FROM runs ORDER BY run DESC LIMIT 1").fetchone()
    if row is None:
        return None
    return RunRecord(row["started"], row["ended"], row["outcome"], row["esapi"], row["case_list"])


def read_results(root: Path) -> tuple[str, list[CaseResult]]:
    """Read what a report is made of, and change nothing.

    Returns:
        What :meth:`Ledger.summarise` kept of the last run, empty where none came so far; and all
        that is known of each case of its list, in list order.

    Raises:
        UsageError: The ledger is not there, damaged, of a newer version, or in use.
    """
    with _reading(root) as db:

        def rows(statement: str, *values: object) -> list[Any]:
            return db.execute(statement, values).fetchall()

        run = rows("SELECT run, summary FROM runs WHERE summary <> '' ORDER BY run DESC LIMIT 1")
        if not run:
            return "", []
        listed = rows(
            "SELECT whole FROM cases WHERE listed = ? ORDER BY row, case_key", run[0]["run"]
        )
        return run[0]["summary"], [_result(rows, _from_text(row["whole"])) for row in listed]


def read_proof(root: Path) -> tuple[list[RootEntry], dict[Path, Mark]]:
    """Read what the manifests and audit logs of an output folder are compared with.

    Changes nothing; the folder may be write-protected.

    Returns:
        Every series that is in its place, and where each audit log ended.

    Raises:
        UsageError: The ledger is not there, damaged, of a newer version, or in use.
    """
    with _reading(root) as db:
        placed, *values = _PLACED
        series = db.execute(placed, values).fetchall()
        logs = db.execute("SELECT * FROM audit_logs").fetchall()
    return _root_entries(series), _audit_logs(root, logs)


@contextmanager
def _reading(root: Path) -> Iterator[sqlite3.Connection]:
    """The ledger, all of it as of one moment, should an export be running."""
    path = root / LEDGER_NAME
    if not path.is_file():
        raise UsageError(f"{path} is missing. Give the output folder of an export.")
    try:
        # SQLite opens it for writing where it may: only so can what a kill left be rolled back.
        with closing(sqlite3.connect(path, timeout=_LOCK_SECONDS)) as db:
            db.row_factory = sqlite3.Row
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"its format is {version}, not {SCHEMA_VERSION}")
            db.execute("BEGIN")
            yield db
    except sqlite3.Error as error:
        raise UsageError(
            f"The ledger {path} cannot be read: {error}. If an export is using this folder, wait "
            "for its end; if the file is damaged, restore it from a backup."
        ) from None


_PLACED = (
    "SELECT folder, manifest_sha256, min(case_key) AS case_key, kind,"
    " min(cases.state IN (?, ?)) AS exported FROM series JOIN cases USING (case_key)"
    " WHERE series.state = ? GROUP BY folder, manifest_sha256, kind ORDER BY folder",
    CaseState.EXPORTED,
    CaseState.PARTIAL,
    SeriesState.PLACED,
)


_Rows = Callable[..., list[Any]]
"""Runs a statement with values, and returns its rows."""


def _result(rows: _Rows, case: Case) -> CaseResult:
    known = rows("SELECT * FROM cases WHERE case_key = ?", case.key)
    if not known:
        raise LookupError(f"{case} is not registered")
    row = known[0]
    outcomes = rows("SELECT * FROM outcomes WHERE case_key = ? ORDER BY number", case.key)
    placed = _placed(_series_of(rows, case))
    return CaseResult(
        case,
        CaseState(row["state"]),
        row["reason"],
        requests=_requests(rows, case),
        folders={kind: one.folder for kind, one in placed.items()},
        sender_report=sender_reports(placed),
        outcomes=tuple(map(_outcome, outcomes)),
        left_out=tuple(map(Kind, json.loads(row["left_out"]))),
        doubts=_findings(row["doubts"]),
        warnings=tuple(json.loads(row["warnings"])),
        notes=tuple(json.loads(row["notes"])),
    )


def _requests(rows: _Rows, case: Case) -> tuple[TransferRequest, ...]:
    found = rows("SELECT * FROM requests WHERE case_key = ? ORDER BY kind", case.key)
    return tuple(map(_request, found))


def _series_of(rows: _Rows, case: Case) -> dict[Kind, SeriesRecord]:
    found = rows("SELECT * FROM series WHERE case_key = ? ORDER BY kind", case.key)
    return {Kind(row["kind"]): _series_record(row) for row in found}


def _as_text(case: Case) -> str:
    return json.dumps(asdict(case), ensure_ascii=False)


def _from_text(text: str) -> Case:
    values = json.loads(text)
    return Case(**values | {"notes": tuple(values["notes"])})


def _root_entries(rows: Iterable[Any]) -> list[RootEntry]:
    return [
        RootEntry(
            folder=row["folder"],
            manifest_sha256=row["manifest_sha256"],
            case_key=row["case_key"],
            kind=Kind(row["kind"]),
            exported=bool(row["exported"]),
        )
        for row in rows
    ]


def _audit_logs(root: Path, rows: Iterable[Any]) -> dict[Path, Mark]:
    return {root / row["path"]: Mark(row["events"], row["last"]) for row in rows}


def _series_record(row: Any) -> SeriesRecord:
    return SeriesRecord(
        row["folder"],
        SeriesState(row["state"]),
        row["manifest_sha256"],
        row["sender_report"],
        bool(row["clean"]),
        tuple(json.loads(row["remarks"])),
    )


def _placed(series: Mapping[Kind, SeriesRecord]) -> dict[Kind, SeriesRecord]:
    """Those that are in their places."""
    return {kind: one for kind, one in series.items() if one.state is SeriesState.PLACED}


def sender_reports(series: Mapping[Kind, SeriesRecord]) -> dict[Kind, str]:
    """What the sender said of those that are in their places."""
    return {kind: one.sender_report for kind, one in _placed(series).items() if one.sender_report}


def _outcome(row: Any) -> StructureOutcome:
    return StructureOutcome(
        Kind(row["kind"]), row["source_id"], Action(row["action"]), row["new_id"], row["reason"]
    )


def _findings(text: str) -> tuple[Finding, ...]:
    return tuple(Finding(gate, sentence) for gate, sentence in json.loads(text))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _request(row: Any) -> TransferRequest:
    values = {field.name: row[field.name] for field in fields(TransferRequest)}
    return TransferRequest(**values | {"kind": Kind(row["kind"])})
