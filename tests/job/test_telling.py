"""What a job tells, on the screen and in files that people read, never ends what it does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from esapi_stub.sample import Phantom
from killing import EPOCH
from stardust_esapi.verify.manifest import read_root_manifest
from support import Clinic, Outcome, exported_tree, row_of, write_case_list

PHANTOM = Phantom("0815-☃", size=(24, 24, 6), spacing=(5.0, 5.0, 6.0))
FOR_PEOPLE = ("Output_Log.csv", "export_list.csv", "report.html", "report", "logs")


@pytest.fixture
def clinic(clinic_of: Callable[..., Clinic]) -> Clinic:
    return clinic_of(PHANTOM)


@pytest.fixture
def command(clinic: Clinic, tmp_path: Path) -> list[object]:
    cases = write_case_list(tmp_path / "cases.csv", [row_of(clinic.patients[0])])
    return ["export", "--cases", cases, "--esapi", f"stub:{clinic.db}", "--write", "--out"]


def test_files_that_others_hold_end_no_run_and_the_next_mends_them(
    run: Callable[..., Outcome], command: list[object], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for name in ("Output_Log.csv", "export_list.csv", "report.html"):
        (out / name).mkdir(parents=True)
    for name in ("report", "logs"):
        (out / name).touch()
    done = run(*command, out)
    assert done.code == 0, done.err
    assert "1 of 1 case exported." in done.out
    assert done.out.endswith(f"Report: {out / 'report (newer).html'}\n")
    for name in FOR_PEOPLE:
        assert f"{out / name}" in done.err, name
    assert len(read_root_manifest(out)) == 1
    assert "0815-☃" in (out / "report (newer).html").read_text("utf-8")
    assert "0815-☃" in (out / "export_list (newer).csv").read_text("utf-8")
    assert "exported" in (out / "Output_Log (newer).csv").read_text("utf-8")
    for name in FOR_PEOPLE:
        (out / name).rmdir() if (out / name).is_dir() else (out / name).unlink()
    again = run(*command, out)
    assert again.code == 0, again.err
    assert again.err == ""
    assert not list(out.glob("*(newer)*"))
    assert all((out / name).exists() for name in FOR_PEOPLE)
    assert "exported" in (out / "Output_Log.csv").read_text("utf-8")
    assert run("verify", out).code == 0


@pytest.mark.parametrize("encoding", ["ascii", "cp437"])
def test_letters_that_a_console_lacks_are_escapes(
    command: list[object], tmp_path: Path, encoding: str
) -> None:
    done = start(command, tmp_path / "out", PYTHONIOENCODING=f"{encoding}:strict")
    out, err = (stream.decode(encoding) for stream in done.communicate())
    assert done.returncode == 0, err
    assert r"exported row 2, patient 0815-\u2603, plan Plan1" in out
    assert err == ""


@pytest.mark.skipif(os.name == "nt", reason="/dev/full")
@pytest.mark.parametrize("stream", ["a pipe that nobody reads", "a full disk"])
def test_output_that_nobody_takes_ends_no_run(
    run: Callable[..., Outcome], command: list[object], tmp_path: Path, stream: str
) -> None:
    if stream == "a full disk":
        output = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, output = os.pipe()
        os.close(reading)
    try:
        done = start(command, tmp_path / "out", stdout=output)
    finally:
        os.close(output)
    _, err = done.communicate()
    assert (done.returncode, err) == (0, b"")
    undisturbed = start(command, tmp_path / "other")
    undisturbed.communicate()
    assert exported_tree(tmp_path / "out") == exported_tree(tmp_path / "other")


def test_a_job_without_names_in_its_environment(command: list[object], tmp_path: Path) -> None:
    done = subprocess.Popen(
        [sys.executable, "-m", "stardust_esapi", *map(str, command), str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join(sys.path), "HOME": os.devnull},
        cwd=tmp_path,
    )
    _, err = done.communicate()
    assert (done.returncode, err) == (0, b"")
    assert '"os_user": "' in (tmp_path / "out" / "audit.jsonl").read_text("utf-8")


def start(command: list[object], out: Path, **how: object) -> subprocess.Popen[bytes]:
    stdout = how.pop("stdout", subprocess.PIPE)
    return subprocess.Popen(
        [sys.executable, "-m", "stardust_esapi", *map(str, command), str(out)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH} | how,
    )
