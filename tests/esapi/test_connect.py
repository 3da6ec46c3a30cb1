from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from stardust_esapi.errors import UsageError
from stardust_esapi.esapi import clr_backend, installed
from stardust_esapi.esapi.clr_backend import find_assemblies
from stardust_esapi.esapi.connect import connect
from support import write_case_list

API = "VMS.TPS.Common.Model.API.dll"


def install(root: Path, version: str) -> Path:
    folder = root / version / "esapi" / "API"
    folder.mkdir(parents=True)
    (folder / API).touch()
    return folder


def test_the_newest_esapi_is_found(tmp_path: Path) -> None:
    install(tmp_path / "C", "15.6")
    newest = install(tmp_path / "D", "16.1.3")
    install(tmp_path / "C", "9.0")
    (tmp_path / "C" / "17.0" / "esapi").mkdir(parents=True)
    assert find_assemblies([tmp_path / "C", tmp_path / "D", tmp_path / "absent"]) == newest


def test_eclipse_is_looked_for_on_each_fixed_drive(tmp_path: Path, mocker: MockerFixture) -> None:
    drives = [str(tmp_path / letter) for letter in "CE"]
    mocker.patch.object(installed, "_fixed_drives", return_value=drives)
    install(tmp_path / "C" / "Program Files (x86)" / "Varian" / "RTM", "16.1")
    install(tmp_path / "E" / "Program Files (x86)" / "Varian" / "RTM", "18.0")
    newest = install(tmp_path / "E" / "Program Files" / "Varian" / "RTM", "18.1")
    assert find_assemblies() == newest


def test_no_eclipse_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no Eclipse with ESAPI on this machine"):
        find_assemblies([tmp_path])


def command_line(*arguments: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own: .NET, once started, stays until the process ends."""
    return subprocess.run(
        [sys.executable, "-m", "stardust_esapi", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def case_list(tmp_path: Path) -> Path:
    return write_case_list(tmp_path / "cases.csv", [{"Patient-ID": "0815", "PlanID": "P1"}])


def test_assemblies_that_are_none_are_a_sentence(tmp_path: Path, case_list: Path) -> None:
    folder = install(tmp_path, "15.6")
    done = command_line("check", "--cases", case_list, "--esapi", f"eclipse:{folder}")
    assert done.returncode == 2
    assert f"ESAPI in {folder} cannot be loaded" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_eclipse_is_told_without_a_traceback(case_list: Path) -> None:
    done = command_line("check", "--cases", case_list)
    assert done.returncode == 2
    assert "no Eclipse with ESAPI on this machine" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_is_none_is_told(tmp_path: Path, case_list: Path) -> None:
    done = command_line("check", "--cases", case_list, "--esapi", f"clr-stub:{tmp_path}")
    assert done.returncode == 2
    assert "no stub database" in done.stderr


def test_python_of_another_size_is_told(mocker: MockerFixture) -> None:
    mocker.patch("struct.calcsize", return_value=4)
    with pytest.raises(UsageError, match="32-bit Python"):
        clr_backend._check_bitness()


@pytest.mark.parametrize(
    ("kind", "said", "advice"),
    [
        (
            "ApplicationException",
            "No license for Eclipse Scripting API.",
            "whoever administers ARIA",
        ),
        ("ApplicationException", "Login failed: the user is locked.", "log in to Eclipse by hand"),
        ("COMException", "RPC server unavailable", "Eclipse itself starts"),
        # As people have met them.
        (
            "TpsNetInitializationException",
            "The application Eclipse Client is running an incorrect version (16.1.3). The system "
            "is configured to run version 16.1.4 of this application family.",
            "name the folder of the version that runs",
        ),
        ("ArgumentNullException", "Value cannot be null.", "the cause is another"),
        ("ApplicationException", "Only one Application object is allowed.", "Close what else"),
        (
            "UnauthorizedScriptingAPIAccessException",
            "Application was not able to load the required Eclipse Scripting API version. Another "
            "reason might be that the script has no reference to Eclipse Scripting API at all.",
            "Install the launchers again",
        ),
        (
            "UnauthorizedScriptingAPIAccessException",
            "The script 'StardustExporter (0.1.0.4711)' has been modified.",
            "Copy the approved launchers",
        ),
    ],
)
def test_what_keeps_a_script_out_comes_with_advice(kind: str, said: str, advice: str) -> None:
    """Next to none of it can be provoked here: type and words are all there is to go by."""
    sentence = clr_backend._login_problem(kind, said)
    assert f"{said.rstrip('.')} ({kind})" in sentence
    assert advice in sentence


@pytest.mark.parametrize("choice", ["", "stub", "stub:", "clr-stub:", "eclipse:", "mosaiq"])
def test_an_unknown_choice(choice: str) -> None:
    with pytest.raises(UsageError, match="--esapi"):
        connect(choice)
