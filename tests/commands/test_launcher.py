"""The Python side of the launchers; the .NET side is in tests/launchers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from esapi_stub import system
from esapi_stub.sample import Phantom
from stardust_esapi.commands.launcher import run_console, run_plugin
from stardust_esapi.esapi import host
from stardust_esapi.esapi.writer import RecordWriter, TwinWriter
from stardust_esapi.record.audit import check
from support import Clinic, row_of, write_case_list

SMALL = Phantom("0815", size=(32, 32, 14))


@dataclass(frozen=True)
class Launcher:
    Name: str = "StardustExporter"
    Version: str = "0.1.0.4711"
    ManifestDigest: str = "ab" * 32
    Verified: bool = True
    Difference: str = ""
    Writer: RecordWriter | None = field(
        default_factory=lambda: TwinWriter(system.InvalidOperationException)
    )


@pytest.fixture
def export(clinic_of: Callable[..., Clinic], tmp_path: Path) -> Callable[..., int]:
    clinic = clinic_of(SMALL)
    cases = write_case_list(tmp_path / "cases.csv", [row_of(clinic.patients[0])])

    def run(launcher: Launcher, *more: str) -> int:
        arguments = ("export", "--cases", cases, "--out", tmp_path / "out", "--esapi", clinic.esapi)
        return run_console(launcher, [*map(str, arguments), *more])

    return run


def test_the_approved_launcher_writes_and_stands_in_the_audit_log(
    export: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert export(Launcher(), "--write") == 0
    text = (tmp_path / "out" / "audit.jsonl").read_text(encoding="utf-8")
    assert '"script": "StardustExporter", "script_version": "0.1.0.4711"' in text
    assert "ab" * 32 in text
    assert [line.split('"event": "')[1].split('"')[0] for line in text.splitlines()] == [
        "begun", "saved", "exported", "listed",
    ]  # fmt: skip
    assert check(tmp_path / "out" / "audit.jsonl").problems == ()
    assert host.current() == host.Host()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Writer": None}, "read-only launcher"),
        ({"Verified": False, "Difference": "added stardust_esapi/evil.py"}, "added stardust_esapi"),
        ({"Verified": False}, "not compared"),
    ],
)
def test_any_other_launcher_does_not_write(
    export: Callable[..., int],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    change: dict[str, object],
    said: str,
) -> None:
    launcher = replace(Launcher(), **change)
    assert export(launcher, "--write") == 3
    assert said in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
    # To look is allowed.
    assert export(launcher) == 0
    assert (tmp_path / "out" / "plan.html").exists()
    assert (tmp_path / "out" / "review" / "review.html").exists()


def test_training_files_are_made_outside(
    export: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert export(Launcher(), "--write", "--dataset", str(tmp_path / "set")) == 2
    assert "stardust-esapi dataset" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run_console(Launcher(), ["dataset", "--from", "x", "--out", "y"]) == 2


class Screen:
    """A progress window that nobody sees."""

    Cancelled = False

    def __init__(self) -> None:
        self.finished: list[tuple[str, bool]] = []

    def Start(self, cases: int) -> None: ...  # noqa: N802

    def Phase(self, text: str, done: int, total: int) -> None: ...  # noqa: N802

    def Finish(self, text: str, failed: bool) -> None:  # noqa: N802
        self.finished.append((text, failed))


def test_a_plug_in_without_a_console_still_has_somewhere_to_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eclipse is a program of windows: there, Python's streams are None."""
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    window = Screen()
    said = run_plugin(Launcher(), None, {"out": "x"}, window)
    import sys

    assert sys.stdout is not None
    assert sys.stderr is not None
    sys.stdout.close()
    sys.stderr.close()
    assert said == "StardustExporter.ini does not say `cases`: add it below [plug-in]."
    assert window.finished == [(said, True)]


def test_exit_codes_come_through(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_console(Launcher(), ["--version"]) == 0
    assert run_console(Launcher(), ["export"]) == 2
    assert run_console(Launcher(), ["verify", "/absent/folder"]) == 2
