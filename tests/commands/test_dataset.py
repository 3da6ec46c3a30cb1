from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import typer
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from dataset_cohort import write_cohort
from stardust_esapi.commands import dataset, terminal
from stardust_esapi.dataset.entry import Entry
from stardust_esapi.dataset.tasks import State
from stardust_esapi.errors import UsageError
from stardust_esapi.model import Kind


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of three cases; for reading only."""
    root = tmp_path_factory.mktemp("cohort") / "export"
    write_cohort(root, 3)
    return root


def run(*arguments: object) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(dataset.dataset)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_makes_a_dataset_and_says_so(cohort: Path, tmp_path: Path) -> None:
    out, mapping = tmp_path / "dataset", tmp_path / "mapping.csv"
    result = run(
        "--from", cohort, "--out", out, "--format", "npz,nifti", "--split", 0.5, "--seed", 7,
        "--folds", 2, "--workers", 2, "--key", tmp_path / "site.key", "--mapping", mapping,
        "--dicom",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert (
        sum(line.startswith(("[1/3] created", "[2/3] created", "[3/3] created")) for line in lines)
        == 3
    )
    assert lines[-2:] == [
        "3 training cases of 3 patients.",
        f"Overview: {out / 'dataset.html'}",
    ]
    assert "train: 2 cases" in lines
    assert "test: 1 case" in lines
    # Only where the user says does anything name a patient.
    assert "Geheim" not in result.output
    assert "000001" not in result.output
    assert "000001" in mapping.read_text()
    document = json.loads((out / "dataset.json").read_text())
    settings = document["settings"]
    assert (settings["split"], settings["seed"], settings["folds"]) == (0.5, 7, 2)
    assert settings["dicom"] is True
    assert len(json.loads((out / "lists" / "splits_final.json").read_text())) == 2
    assert settings["formats"] == ["npz", "nifti"]
    assert (out / "dicom").is_dir()
    assert (tmp_path / "site.key").exists()
    assert not (tmp_path / "dataset.key").exists()


def test_flags_beat_the_settings_file_which_beats_the_defaults(
    cohort: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "site.toml"
    settings.write_text("[dataset]\nseed = 3\nworkers = 2\n[dataset.gates]\ngtv_ml = 1000.0\n")
    result = run("--from", cohort, "--out", tmp_path / "out", "--settings", settings, "--seed", 4)
    assert result.exit_code == 1
    document = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert document["settings"]["seed"] == 4
    assert document["settings"]["gates"]["gtv_ml"] == 1000.0
    assert document["counts"] == {"left out": 3}
    assert "0 training cases of 0 patients; 3 left out." in result.output
    assert result.output.count("The GTV is tiny") == 6  # a line as it comes, and one at the end
    told = [line for line in result.output.splitlines() if line.startswith("left out p")]
    assert {line.split()[2] for line in told} == {e["patient"] for e in document["entries"]}
    assert "--mapping FILE writes which patient is whose" in result.output


def test_a_second_run_says_what_it_left_alone(cohort: Path, tmp_path: Path) -> None:
    arguments = ("--from", cohort, "--out", tmp_path / "out", "--workers", 2)
    run(*arguments)
    result = run(*arguments)
    assert "3 cases are there already, and left alone." in result.output


def test_wrong_use_is_a_sentence(cohort: Path, tmp_path: Path) -> None:
    result = run("--from", tmp_path / "nothing", "--out", tmp_path / "out")
    assert isinstance(result.exception, UsageError)
    assert "holds no exported case" in str(result.exception)
    result = run("--from", cohort, "--out", tmp_path / "out", "--split", 1.5)
    assert isinstance(result.exception, UsageError)
    assert str(result.exception).startswith("--split is 1.5: write a number")


def test_a_terminal_sees_a_bar() -> None:
    out = Console(file=io.StringIO(), force_terminal=True, width=100)
    entries = [
        Entry(f"c{n}", "p1", Kind.CT, State.FAILED if n else State.CREATED, ("It is odd.",) * n)
        for n in range(2)
    ]
    with terminal.dataset_watcher(out) as watcher:
        assert isinstance(watcher, terminal.TerminalDatasetWatcher)
        watcher.start(2)
        for entry in entries:
            watcher.finish(entry)
    assert isinstance(out.file, io.StringIO)
    assert "2/2" in out.file.getvalue()
    assert "1 failed" in out.file.getvalue()
