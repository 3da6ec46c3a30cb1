"""The pages of an output folder once more: from its ledger and the pictures that it keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from stardust_esapi.errors import UsageError
from stardust_esapi.files import long_path
from stardust_esapi.job.workspace import LOCK, report
from stardust_esapi.record.ledger import read_results
from stardust_esapi.report.summary import RunSummary, from_text


def rebuild_report(out: Path) -> RunSummary | None:
    """Build the report again, with each case as the ledger knows it now.

    Args:
        out: The output folder.

    Returns:
        What the report says; None where a run is working in the folder: it keeps the report up to
        date itself.

    Raises:
        UsageError: The folder has no ledger, or no run in it has come as far as its cases.
    """
    out = long_path(out)
    text, results = read_results(out)
    if not text:
        raise UsageError(f"No run in {out} has begun with its cases: there is nothing to report.")
    summary = replace(from_text(text), results=tuple(results), running=False)
    try:
        with FileLock(out / LOCK, timeout=0):
            return report(summary, out)
    except Timeout:
        return None
