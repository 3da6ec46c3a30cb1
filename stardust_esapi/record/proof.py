"""Prove an output folder: its files by its manifests, and these by its ledger and audit logs."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from stardust_esapi.files import long_path
from stardust_esapi.record.audit import AUDIT_NAME, AuditReport, Mark, check
from stardust_esapi.record.ledger import LEDGER_NAME, read_cases, read_proof
from stardust_esapi.verify.check import Finding, Problem, VerifyReport, verify_tree
from stardust_esapi.verify.manifest import MANIFEST_NAME, RootEntry
from stardust_esapi.wording import counted_are, in_rows


def prove(root: Path) -> tuple[VerifyReport, list[AuditReport]]:
    """Check an output folder with all that vouches for it, or a series folder with its manifest.

    Args:
        root: The folder.

    Returns:
        What the files are found to be, and every audit log that the ledger knows or that lies in
        the folder.

    Raises:
        UsageError: The folder is neither, or its ledger or an audit log cannot be read.
    """
    root = long_path(root)
    recorded: list[RootEntry] | None = None
    ends: dict[Path, Mark | None] = {}
    if (root / AUDIT_NAME).exists():
        ends[root / AUDIT_NAME] = None
    if (root / LEDGER_NAME).exists():
        recorded, known = read_proof(root)
        ends |= known
    logs = [check(path, end) for path, end in ends.items()]
    report = verify_tree(root, recorded)
    if recorded is not None:
        pending = [case for case in read_cases(root) if not case.state.is_exported]
        if pending:
            cases = counted_are(len(pending), "case")
            rows = in_rows([case.row for case in pending])
            there = f"{cases} not exported: {rows}. `stardust-esapi status` says more."
            report = replace(report, unverified=(*report.unverified, there))
    manifest = root / MANIFEST_NAME
    if logs and manifest.is_file():
        digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
        if not any(digest in log.listed for log in logs):
            unlisted = Finding(
                Problem.CHANGED,
                MANIFEST_NAME,
                "No audit log names its SHA-256: it was not written by a run, or the log is not "
                "the one that the run wrote to.",
            )
            report = replace(report, findings=(*report.findings, unlisted))
    return report, logs
