"""What a person sees while a job runs, and what it says at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from stardust_esapi.errors import as_given
from stardust_esapi.model import Case, CaseResult, CaseState
from stardust_esapi.report.summary import PLANNED, RunSummary, shown_state
from stardust_esapi.wording import counted, counted_are, in_rows, row_ranges

if TYPE_CHECKING:
    from stardust_esapi.dataset.build import DatasetSummary
    from stardust_esapi.dataset.entry import Entry
    from stardust_esapi.job.readiness import Diagnosis
    from stardust_esapi.job.status import Status
    from stardust_esapi.record.audit import AuditReport
    from stardust_esapi.verify.check import VerifyReport

_STYLES = {
    CaseState.EXPORTED: "green",
    CaseState.PARTIAL: "yellow",
    CaseState.PREPARED: "cyan",
    CaseState.DOUBTFUL: "magenta",
    CaseState.FAILED: "red",
    CaseState.PENDING: "yellow",
}
_SECONDS_BETWEEN_LINES = 10.0
_MOST_TABLE_ROWS = 50
_MOST_COMMENTS = 40
_MOST_FAILED_SHOWN = 50
_GOOD = (CaseState.EXPORTED, CaseState.PREPARED, PLANNED)


def open_console(*, as_json: bool = False) -> Console:
    """Standard output, or error where JSON goes to the former.

    rich leaves colours and redrawing away where it is not a terminal.
    """
    return Console(file=sys.stderr if as_json else sys.stdout, highlight=False)


class CaseBar:
    """A bar of cases on a terminal: how many failed, time gone and time left.

    Args:
        out: The terminal.
        what: What the bar counts.
    """

    def __init__(self, out: Console, what: str) -> None:
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("elapsed"),
            TimeElapsedColumn(),
            TextColumn("remaining"),
            TimeRemainingColumn(),
            console=out,
        )
        self._what = what
        self._cases = self._progress.add_task(what, total=None)
        self._failed = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, cases: int) -> None:
        """Show the bar of cases."""
        self._progress.reset(self._cases, total=cases)

    def count(self, *, failed: bool) -> None:
        """Count a case, and those that failed."""
        self._failed += failed
        words = f" [red]({self._failed} failed)[/]" if self._failed else ""
        self._progress.update(self._cases, advance=1, description=f"{self._what}{words}")


class CaseLines:
    """One line a case: for logs and pipes.

    Args:
        out: Where to.
    """

    def __init__(self, out: Console) -> None:
        self._out = out
        self._cases = 0
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def start(self, cases: int) -> None:
        """Remember how many cases there are."""
        self._cases = cases

    def line(self, text: str, seconds: float) -> None:
        """Print a case's line."""
        self._done += 1
        say(self._out, escape(f"[{self._done}/{self._cases}] {text} ({seconds:.1f} s)"))


class TerminalWatcher(CaseBar):
    """Progress on a terminal: the cases, and below them each that is under way with its phase."""

    def __init__(self, out: Console) -> None:
        super().__init__(out, "cases")
        self._phases: dict[Case, tuple[str, TaskID]] = {}  # several cases may be under way
        self._lock = Lock()

    def phase(self, case: Case, phase: str, done: int = 0, total: int = 0) -> None:
        """Show the case and the phase it is in."""
        words = f"row {case.row} {phase}"
        with self._lock:
            shown, task = self._phases.get(case, ("", None))
            if task is None or words != shown:
                if task is not None:
                    self._progress.remove_task(task)  # a task never forgets its total
                task = self._progress.add_task(words, total=total or None)
                self._phases[case] = (words, task)
            self._progress.update(task, completed=done)

    def finish(self, result: CaseResult) -> None:
        """Count the case, and those that failed."""
        with self._lock:
            if result.case in self._phases:
                self._progress.remove_task(self._phases.pop(result.case)[1])
            self.count(failed=result.state is CaseState.FAILED)


class PlainWatcher(CaseLines):
    """One line a case, and one now and then in a long phase: for logs and pipes."""

    def __init__(self, out: Console) -> None:
        super().__init__(out)
        self._last = time.monotonic()

    def phase(self, case: Case, phase: str, done: int = 0, total: int = 0) -> None:
        """Say where a long phase stands, not more often than every ten seconds."""
        if total and time.monotonic() - self._last > _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            say(
                self._out,
                escape(f"  row {case.row} {phase}: {done:,} of {counted(total, 'image')}"),
            )

    def finish(self, result: CaseResult) -> None:
        """Print the case's line."""
        self._last = time.monotonic()
        parts = filter(None, (str(result.case), " ".join(result.warnings)))
        words = result.reason or ": ".join(parts)
        self.line(f"{shown_state(result)} {words}", result.seconds)


def say(out: Console, text: str) -> None:
    """Print a sentence with markup: wrapped for a terminal, on one line for anything else."""
    out.print(as_given(text), soft_wrap=not out.is_terminal)


def print_path(out: Console, what: str, path: Path) -> None:
    """Print where something lies; a path is never broken into lines."""
    out.print(f"{what}: {as_given(path)}", markup=False, soft_wrap=True)


def watcher(out: Console) -> TerminalWatcher | PlainWatcher:
    """Progress that suits where the output goes."""
    return TerminalWatcher(out) if out.is_terminal else PlainWatcher(out)


def print_summary(summary: RunSummary, out: Console) -> None:
    """Print what became of the list: problems of rows, the cases, the verdict.

    A terminal gets a table; elsewhere every case has had its line already.
    """
    for note in summary.list_notes:
        say(out, f"[dim]list[/] {escape(note)}")
    for problem in summary.row_problems:
        say(out, f"[red]not read[/] {escape(problem.message)}")
    for sentence in summary.duplicates:
        say(out, f"[yellow]twice[/] {escape(sentence)}")
    if out.is_terminal:
        out.print(_table(summary))
    for sentence in summary.quarantined:
        say(out, f"[yellow]quarantined[/] {escape(sentence)}")
    for sentence in summary.audit_problems:
        say(out, f"[red]audit log[/] {escape(sentence)}")
    if summary.rejected:
        rows = counted(len(summary.rejected), "rejected row")
        say(out, f"{rows} left out: {row_ranges(summary.rejected)}.")
    if not summary.write:  # before anything is done is the time to see "not ok"
        _print_comments(summary, out)
    say(out, f"[bold]{escape(summary.verdict)}.[/]")


def _print_comments(summary: RunSummary, out: Console) -> None:
    shown = summary.comments[:_MOST_COMMENTS]
    for comment, count in shown:
        rows = counted(count, "accepted row")
        say(out, f"[dim]comment[/] “{escape(comment)}” on {rows}")
    if len(summary.comments) > len(shown):
        others = counted(len(summary.comments) - len(shown), "other")
        say(out, f"[dim]comment[/] {others}")


def _table(summary: RunSummary) -> Table:
    """The cases; of a long list those that did not succeed."""
    table = Table(box=None, pad_edge=False)
    for column in ("row", "patient", "plan", "state", "images", "why"):
        table.add_column(column, overflow="fold", justify="right" if column == "images" else "left")
    short = len(summary.results) <= _MOST_TABLE_ROWS
    for result in summary.results:
        if not short and shown_state(result) in _GOOD:
            continue
        style = _STYLES[result.state]
        table.add_row(
            str(result.case.row),
            escape(result.case.patient_id),
            escape(result.case.plan_id),
            f"[{style}]{shown_state(result)}[/]",
            str(result.images or ""),
            escape(" ".join((result.why, *result.warnings, *result.notes)).strip()),
        )
    return table


def print_json(document: object) -> None:
    """Print a document for programs: nothing else is on standard output."""
    from pydantic_core import to_json  # knows dataclasses, paths and moments

    sys.stdout.write(to_json(document, indent=1).decode() + "\n")


def print_status(status: Status, out: Console) -> None:
    """Print how far an output folder has come: counts, reasons, where things are, what is next."""
    counts = status.counts
    words = [f"{counts[state]} {state}" for state in CaseState if counts[state]]
    say(out, f"[bold]{counted(counts.total(), 'case')}: {', '.join(words) or 'none yet'}.[/]")
    for (state, why), given_up in status.reasons.items():
        rows = in_rows([case.row for case in given_up])
        say(out, f"[{_STYLES[state]}]{state}[/] {rows}: {escape(why)}")
    if run := status.run:
        ended = f"ended {run.ended} ({run.outcome})" if run.ended else "has not ended"
        say(
            out,
            escape(
                f"The last run, of {Path(run.case_list).name}, began {run.started} and {ended}."
            ),
        )
    paths = {"Report": status.report, "Log": status.log, "To be corrected": status.failed_rows}
    for what, path in paths.items():
        if path is not None:
            print_path(out, what, path)
    out.print(f"Next: {status.next_command}", markup=False, soft_wrap=True)


def print_check(summary: RunSummary) -> None:
    """Print what a check found, as JSON."""
    print_json(
        {
            "verdict": summary.verdict,
            "cases": [
                {
                    "row": result.case.row,
                    "patient_id": result.case.patient_id,
                    "plan_id": result.case.plan_id,
                    "state": shown_state(result),
                    "why": result.why,
                    "warnings": result.warnings,
                    "notes": result.notes,
                }
                for result in summary.results
            ],
            "rows_not_read": summary.row_problems,
            "rows_rejected": summary.rejected,
            "duplicates": summary.duplicates,
            "list_notes": summary.list_notes,
            "review": as_given(summary.review) if summary.review else None,
        }
    )


def print_verification(report: VerifyReport, out: Console) -> None:
    """Print what a check of an exported folder found, and what it cannot tell."""
    for finding in report.findings:
        where = finding.path or str(report.root)
        say(out, f"[red]{finding.problem}[/] {escape(where)}: {escape(finding.detail)}")
    for sentence in report.unverified:
        say(out, f"[dim]not verified[/] {escape(sentence)}")
    whose = "its manifest says" if report.series == 1 else "their manifests say"
    files = f"{counted(report.files, 'file')} of {counted(report.series, 'series')}"
    verdict = f"{files} {'is' if report.files == 1 else 'are'} as {whose}"
    wrong = f"; {counted_are(len(report.findings), 'thing')} not" if report.findings else ""
    say(out, f"[bold]{verdict}{wrong}.[/]")


def print_audit(report: AuditReport, out: Console) -> None:
    """Print what a check of the audit log found."""
    for sentence in report.problems:
        say(out, f"[red]audit log[/] {escape(sentence)}")
    for sentence in report.open_ends:
        say(out, f"[yellow]audit log[/] {escape(sentence)}")
    whole = "is not as it was written" if report.problems else "is whole, as far as it goes"
    end = f"; its chain ends in {report.last}" if report.last else ""
    say(out, f"The audit log {report.path.name} of {counted(report.events, 'event')} {whole}{end}.")


def print_findings(findings: Iterable[Diagnosis], out: Console) -> None:
    """Print what the doctor found."""
    from stardust_esapi.job.readiness import Health

    styles = {Health.GOOD: "green", Health.BAD: "red", Health.UNKNOWN: "yellow"}
    table = Table(box=None, pad_edge=False)
    for column in ("what", "is", "detail"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        style = styles[finding.health]
        if out.is_terminal:
            table.add_row(
                escape(finding.what), f"[{style}]{finding.health}[/]", escape(finding.detail)
            )
        else:
            say(out, escape(f"{finding.what}: {finding.health}: {finding.detail}"))
    if out.is_terminal:
        out.print(table)


class TerminalDatasetWatcher(CaseBar):
    """Progress on a terminal."""

    def __init__(self, out: Console) -> None:
        super().__init__(out, "training cases")

    def finish(self, entry: Entry) -> None:
        """Count the case."""
        self.count(failed=entry.state == "failed")


class PlainDatasetWatcher(CaseLines):
    """Progress for logs and pipes."""

    def finish(self, entry: Entry) -> None:
        """Print the case's line."""
        text = f"{entry.state} {entry.case} {entry.kind} {' '.join(entry.reasons)}"
        self.line(text.rstrip(), entry.seconds)


def dataset_watcher(out: Console) -> TerminalDatasetWatcher | PlainDatasetWatcher:
    """Progress that suits where the output goes."""
    return TerminalDatasetWatcher(out) if out.is_terminal else PlainDatasetWatcher(out)


def print_dataset(summary: DatasetSummary, out: Console) -> None:
    """Print what lies in the dataset: what is missing and why, the split, the verdict."""
    for entry in summary.missing[:_MOST_FAILED_SHOWN]:
        why = escape(" ".join(entry.reasons))
        say(out, f"[red]{entry.state}[/] {entry.patient} {entry.case} {entry.kind}: {why}")
    if len(summary.missing) > _MOST_FAILED_SHOWN:
        say(out, f"… and {len(summary.missing) - _MOST_FAILED_SHOWN} more: see the overview.")
    if summary.pending:
        say(out, f"{summary.pending} not exported yet: run the same command again when they are.")
    if summary.unchanged:
        say(out, f"{counted_are(summary.unchanged, 'case')} there already, and left alone.")
    for part, names in summary.split.cases.items():
        say(out, f"{part}: {counted(len(names), 'case')}")
    for remark in summary.split.remarks:
        say(out, escape(remark))
    say(out, f"[bold]{escape(summary.verdict)}.[/]")
