"""What the tests proved, from the report that pytest writes (``--junit-xml``)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from stardust_esapi.errors import UsageError


@dataclass(frozen=True)
class Evidence:
    """One run of the tests.

    Attributes:
        report: Name of the report's file.
        date: When it ran, as the report says it.
        tests: How many tests there were.
        skipped: Names of those that were left out.
        failed: Names of those that failed.
    """

    report: str
    date: str
    tests: int
    skipped: tuple[str, ...]
    failed: tuple[str, ...]

    @property
    def passed(self) -> int:
        """How many tests passed."""
        return self.tests - len(self.skipped) - len(self.failed)


def read_evidence(path: Path) -> Evidence:
    """Read a report.

    Raises:
        UsageError: It is none, or tells of no test.
        OSError: It cannot be read.
    """
    try:
        root = ET.fromstring(path.read_bytes())  # noqa: S314 - the builder's own test report
    except ET.ParseError as error:
        raise UsageError(f"{path} is no test report in junit's form: {error}.") from None
    cases = list(root.iter("testcase"))
    if not cases:
        raise UsageError(f"{path} tells of no test. Make it by pytest --junit-xml={path.name}.")
    suite = root if root.tag == "testsuite" else root.find("testsuite")
    date = "" if suite is None else suite.get("timestamp", "")
    return Evidence(
        path.name,
        date,
        len(cases),
        _named(cases, "skipped"),
        _named(cases, "failure", "error"),
    )


def _named(cases: list[ET.Element], *outcomes: str) -> tuple[str, ...]:
    return tuple(
        f"{case.get('classname', '')}.{case.get('name', '')}".strip(".")
        for case in cases
        if any(case.find(outcome) is not None for outcome in outcomes)
    )
