"""How far an output folder has come, from its ledger, and what to do next."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from subprocess import list2cmdline

from stardust_esapi.files import long_path
from stardust_esapi.job.workspace import LOGS, REPORT
from stardust_esapi.model import CaseState
from stardust_esapi.record.ledger import CaseRecord, RunRecord, read_cases, read_last_run
from stardust_esapi.report import failed_rows
from stardust_esapi.settings import Settings


@dataclass(frozen=True, slots=True)
class Status:
    """How far an output folder has come.

    Attributes:
        root: The folder, as it was given.
        cases: Every case of its runs, in list order.
        run: Its last run; None before the first.
        report: The report, where there is one.
        log: The last run's log, where there is one.
        failed_rows: The rows of its list to be corrected, where there are some.
    """

    root: Path
    cases: tuple[CaseRecord, ...]
    run: RunRecord | None
    report: Path | None
    log: Path | None
    failed_rows: Path | None

    @property
    def counts(self) -> Counter[CaseState]:
        """How many cases are in each state."""
        return Counter(case.state for case in self.cases)

    @property
    def reasons(self) -> dict[tuple[CaseState, str], list[CaseRecord]]:
        """The cases that were given up by state and reason, most frequent first."""
        groups: dict[tuple[CaseState, str], list[CaseRecord]] = {}
        for case in self.cases:
            if case.state.is_given_up:
                groups.setdefault((case.state, case.why), []).append(case)
        return dict(sorted(groups.items(), key=lambda item: -len(item[1])))

    @property
    def next_command(self) -> str:
        """What goes on from here."""
        counts = self.counts
        open_ones = counts.total() - counts[CaseState.EXPORTED] - counts[CaseState.PARTIAL]
        if self.run is None or not open_ones:
            words = ["verify", str(self.root)]
        elif esapi := self.run.esapi:
            words = ["export", "--cases", self.run.case_list, "--out", str(self.root), "--write"]
            words += ["--esapi", esapi] if esapi != Settings().esapi else []
        else:
            words = ["transfer", "--list", self.run.case_list, "--out", str(self.root)]
        return list2cmdline(["stardust-esapi", *words])  # quoted as every shell takes it


def read_status(root: Path) -> Status:
    """Read how far an output folder has come; changes nothing, whoever works there.

    Raises:
        UsageError: It holds no ledger, or that cannot be read.
    """
    inside = long_path(root)
    cases, run = tuple(read_cases(inside)), read_last_run(inside)
    logs = sorted((inside / LOGS).glob("run-*.log"))
    return Status(
        root=root,
        cases=cases,
        run=run,
        report=root / REPORT if (inside / REPORT).is_file() else None,
        log=root / LOGS / logs[-1].name if logs else None,
        failed_rows=root / failed_rows.NAME if (inside / failed_rows.NAME).is_file() else None,
    )
