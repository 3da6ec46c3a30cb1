"""Where the launchers enter: .NET started this Python, not the other way round.

``StardustExporter.exe`` is the command line under a name that Script Approval knows.
``StardustExporter.esapi.dll`` is a plug-in: Eclipse has a patient open, and of the case list the
rows are exported that mean exactly what is on the screen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stardust_esapi.choices import EngineName
from stardust_esapi.commands.exit_codes import Exit
from stardust_esapi.commands.program import main
from stardust_esapi.commands.streams import unfailing
from stardust_esapi.errors import StardustError, UsageError, in_words
from stardust_esapi.esapi import host
from stardust_esapi.esapi.clr_backend import PlugInBackend
from stardust_esapi.esapi.writer import RecordWriter
from stardust_esapi.job import run
from stardust_esapi.job.review import REVIEW
from stardust_esapi.logs import log_to_terminal
from stardust_esapi.model import Case, CaseResult
from stardust_esapi.prepare.identify import may_be
from stardust_esapi.prepare.locate import same_id
from stardust_esapi.report.summary import RunSummary
from stardust_esapi.settings import load_settings

if TYPE_CHECKING:
    from VMS.TPS.Common.Model import API


class LauncherHost(Protocol):
    """What the launcher says of itself: a .NET object."""

    Name: str
    Version: str
    ManifestDigest: str
    Verified: bool
    Difference: str
    Writer: RecordWriter | None


class Window(Protocol):
    """The plug-in's progress window: a .NET object, safe to call from any thread."""

    Cancelled: bool

    def Start(self, cases: int) -> None:  # noqa: N802
        """So many cases are to be done."""

    def Phase(self, text: str, done: int, total: int) -> None:  # noqa: N802
        """What is being done; ``total`` is 0 where it is not known."""

    def Finish(self, text: str, failed: bool) -> None:  # noqa: N802
        """The last sentence."""


def run_console(launcher: LauncherHost, arguments: Iterable[str]) -> int:
    """Run the command line inside ``StardustExporter.exe``.

    Args:
        launcher: What the launcher says of itself.
        arguments: Its arguments.

    Returns:
        The exit code.
    """
    with host.entered(_host(launcher)):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            return _exit_code(end)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
    return Exit.DONE


def run_plugin(
    launcher: LauncherHost,
    context: API.ScriptContext,
    options: Mapping[str, str],
    window: Window,
) -> str:
    """Export what is open in Eclipse; the writable launcher prepares it first.

    Args:
        launcher: What the launcher says of itself.
        context: The plug-in's ``ScriptContext``.
        options: ``cases``, ``out`` and perhaps ``settings``: paths.
        window: Shows progress, and can cancel.

    Returns:
        The sentence to show at the end.
    """
    # Eclipse has no console, and libraries write all the same.
    sys.stdout, sys.stderr = unfailing(sys.stdout), unfailing(sys.stderr)
    with host.entered(_host(launcher)):
        log_to_terminal(verbose=False)
        try:
            sentence, failed = _export_open(context, options, window)
        except StardustError as error:
            sentence, failed = str(error), True
        except OSError as error:
            sentence, failed = f"{in_words(error)}.", True
        except _Cancelled as stop:
            done = getattr(stop, "__notes__", [])
            sentence = "Cancelled. Close the patient without saving; start again to go on."
            sentence, failed = "\n".join((*done, sentence)), True
    window.Finish(sentence, failed)
    return sentence


def _host(launcher: LauncherHost) -> host.Host:
    difference = str(launcher.Difference)
    if not launcher.Verified and not difference:
        difference = "they were not compared"
    return host.Host(
        name=str(launcher.Name),
        version=str(launcher.Version),
        is_launcher=True,
        manifest_digest=str(launcher.ManifestDigest),
        difference=difference,
        writer=launcher.Writer,
    )


def _exit_code(end: SystemExit) -> int:
    if end.code is None:
        return Exit.DONE
    return end.code if isinstance(end.code, int) else Exit.SOME_FAILED


def _export_open(
    context: API.ScriptContext, options: Mapping[str, str], window: Window
) -> tuple[str, bool]:
    cases, out = (_option(options, name) for name in ("cases", "out"))
    settings = load_settings(Path(options["settings"]) if options.get("settings") else None)
    if settings.engine not in (EngineName.ESAPI, EngineName.NONE):
        raise UsageError(
            f"The plug-in exports with the engine esapi, not {settings.engine}: what it makes is "
            "not in Eclipse's database yet. Correct `engine` in the settings."
        )
    open_case = _open_case(context)
    write = host.current().writer is not None
    job = run.Job(
        cases=Path(cases),
        out=Path(out),
        settings=settings,
        write=write,
        review=None if write else Path(out) / REVIEW,
        backend=PlugInBackend(context),
        wanted=open_case,
    )
    watcher = _WindowWatcher(window)
    summary = run.export(job, watcher) if job.write else run.rehearse(job, watcher)
    # Rows that were not read are no matter of the one that is open.
    return _last_sentence(summary, job.out / summary.report), replace(
        summary, row_problems=()
    ).needs_a_look


def _option(options: Mapping[str, str], name: str) -> str:
    value = options.get(name)
    if not value:
        raise UsageError(f"StardustExporter.ini does not say `{name}`: add it below [plug-in].")
    return value


def _open_case(context: API.ScriptContext) -> Callable[[Case], bool]:
    """Which rows mean what is open: the patient, and its plan, or its series and structure set.

    Raises:
        UsageError: Nothing is open that a row could mean.
    """
    patient, plan, structure_set = context.Patient, context.PlanSetup, context.StructureSet
    if patient is None:
        raise UsageError("No patient is open. Open the patient and the plan, then start again.")
    if plan is None and structure_set is None:
        raise UsageError(
            f"Patient {patient.Id} is open, but no plan and no structure set. Open one of them."
        )
    patient_id = patient.Id
    plan_id = plan.Id if plan is not None else None
    set_id = structure_set.Id if structure_set is not None else None
    image = structure_set.Image if structure_set is not None else None
    series_uid = image.Series.UID if image is not None else None

    def is_open(case: Case) -> bool:
        if not may_be(case, patient_id):
            return False
        if case.plan_id:
            return plan_id is not None and same_id(case.plan_id, plan_id)
        return (
            set_id is not None
            and same_id(case.structure_set_id, set_id)
            and case.series_uid == series_uid
        )

    return is_open


def _last_sentence(summary: RunSummary, report: Path) -> str:
    if not summary.results:
        return (
            "The case list holds no row for what is open in Eclipse. Nothing was done: open the "
            "plan that the row names, or correct `cases` in StardustExporter.ini."
        )
    reasons = [result.reason for result in summary.results if result.reason]
    notes = [text for result in summary.results for text in (*result.warnings, *result.notes)]
    parts = [f"{summary.verdict}.", *reasons, *notes, f"Report: {report}"]
    return "\n".join(parts)


class _Cancelled(BaseException):
    """The user pressed Cancel: past every handler of errors."""


class _WindowWatcher:
    """Progress in the plug-in's window."""

    def __init__(self, window: Window) -> None:
        self._window = window

    def start(self, cases: int) -> None:
        """Say how many cases there are."""
        self._window.Start(cases)

    def phase(self, case: Case, phase: str, done: int = 0, total: int = 0) -> None:
        """Say what is being done; the only place where Cancel is looked at."""
        if self._window.Cancelled:
            raise _Cancelled
        self._window.Phase(f"{case}: {phase}", done, total)

    def finish(self, result: CaseResult) -> None:
        """Nothing: the last sentence says it."""
