"""The demo runs from an installed package: every command that it shows, on small phantoms."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from esapi_stub.sample import Phantom, write_phantom
from stardust_esapi.commands import demo
from stardust_esapi.esapi import stub_backend
from support import Outcome, row_of, write_case_list

Run = Callable[..., Outcome]


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of one phantom, and a row that fails."""
    run_ = demo._Steps.run

    def run(self: demo._Steps, program: str, *arguments: str) -> None:
        if arguments[0] != "sample":
            run_(self, program, *arguments)
            return
        folder = self._folder / "sample"
        phantom = Phantom("123456", size=(24, 24, 6), spacing=(5.0, 5.0, 6.0))
        row = row_of(write_phantom(folder / "dicom", phantom))
        write_case_list(folder / "cases.csv", [row, row | {"PlanID": "none"}])

    monkeypatch.setattr(demo._Steps, "run", run)


@pytest.mark.usefixtures("_small")
def test_the_demo_shows_each_command_and_ends_with_the_pages(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARDUST_ENGINE", "none")  # a setting of this computer has no say
    said = run("demo", tmp_path / "out", "--network")
    assert said.code == 0, said.text
    shown = re.findall(r"^\$ (\S+ \w+)", said.out, re.MULTILINE)
    assert shown == [
        "esapi-stub build", "stardust-esapi export", "stardust-esapi export",
        "stardust-esapi verify", "esapi-stub serve", "stardust-esapi doctor",
        "stardust-esapi transfer", "stardust-esapi verify", "stardust-esapi dataset",
    ]  # fmt: skip
    assert "1 of 2 cases exported; 1 failed." in said.out
    assert said.out.count("7 files of 1 series") == 2, said.out
    for page in said.out.splitlines()[-2:]:
        assert Path(page.strip()).is_file()
    again = run("demo", tmp_path / "out")
    assert again.code == 2
    assert "exists already" in again.err


def test_a_step_that_ends_as_none_should_ends_the_demo(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(demo._MODULES, "esapi-stub", "no_such_program")
    monkeypatch.setattr(demo, "_AS_TOLD", (0,))
    said = run("demo", tmp_path / "out")
    assert said.code == 1
    assert "This command ended with code 1" in said.err


def test_without_the_stub_the_demo_says_how_to_install_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stub_backend, "find_spec", lambda name: None)
    said = run("demo", tmp_path / "out")
    assert said.code == 2
    assert "pip install stardust-esapi[stub]" in said.err
    assert not (tmp_path / "out").exists()
