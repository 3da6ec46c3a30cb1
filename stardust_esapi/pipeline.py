"""The job, read as the workflow goes: case list, locate, prepare, transfer, verify, record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout
from loguru import logger

from stardust_esapi import __version__, files
from stardust_esapi.caselist import CaseList, read_case_list
from stardust_esapi.errors import CaseError, StardustError, UsageError
from stardust_esapi.esapi.connect import connect
from stardust_esapi.esapi.session import OpenPatient, Session
from stardust_esapi.locate import Located, locate
from stardust_esapi.logs import log_to
from stardust_esapi.model import Case, CaseResult, CaseState, Kind, StructureOutcome, TransferRequest
from stardust_esapi.prepare.apply import FailedStructuresError, SetPlan, create, survey
from stardust_esapi.record.ledger import Ledger
from stardust_esapi.record.output_log import OutputLog
from stardust_esapi.record.ready_list import write_ready_list
from stardust_esapi.report.html import write_report
from stardust_esapi.report.pictures import case_pictures
from stardust_esapi.report.summary import RunSummary
from stardust_esapi.settings import Engine, Settings
from stardust_esapi.transfer.deliver import STAGING, deliver
from stardust_esapi.transfer.esapi_engine import EsapiEngine
from stardust_esapi.verify.manifest import write_root_manifest

READY_LIST = "export_list.csv"
REPORT = "report.html"
PLAN_REPORT = "plan.html"
LOGS = "logs"
PICTURES = ".pictures"
_LOCK = ".lock"


class Watcher(Protocol):
    """Who looks on while the job runs: a terminal, a log, a test."""

    def start(self, cases: int) -> None:
        """The list is read; so many cases are to be done."""

    def phase(self, case: Case, phase: str, done: int = 0, total: int = 0) -> None:
        """A case is in a phase; ``done`` of ``total`` images where that is known."""

    def finish(self, result: CaseResult) -> None:
        """A case is through."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the user asked for.

    Attributes:
        cases: The case list.
        out: The output folder; None for a check, which leaves nothing behind.
        settings: Everything else.
        write: Whether this run may change the clinical database.
    """

    cases: Path
    out: Path | None
    settings: Settings
    write: bool = False
