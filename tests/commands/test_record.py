"""``record`` and ``compare`` on the command line."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from esapi_stub.database import configure
from esapi_stub.sample import Phantom
from support import Clinic, Outcome

PHANTOM = Phantom("0815-471199", size=(24, 24, 6), spacing=(6.0, 6.0, 12.0))


@pytest.fixture
def clinic(clinic_of: Callable[..., Clinic]) -> Clinic:
    return clinic_of(PHANTOM)


@pytest.fixture
def command(
    clinic: Clinic, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Run a command on the phantom, with what is typed."""

    def invoke(name: str, *arguments: object, typed: str = "") -> Outcome:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        return run(name, *arguments, "--patient", PHANTOM.patient_id, "--esapi", clinic.esapi)

    return invoke


def calls(path: Path) -> list[dict[str, object]]:
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["README.txt", "calls.jsonl"]
        return [json.loads(line) for line in archive.read("calls.jsonl").splitlines()]


def test_recorded_and_compared(command, clinic, tmp_path: Path) -> None:
    out = tmp_path / "trace.zip"
    recorded = command("record", "--out", out)
    assert recorded.code == 0
    assert "README.txt" in recorded.out
    assert not any(call.get("on") == "Experiments" for call in calls(out))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db", "dicom", "trace.zip"]

    same = command("compare", out)
    assert (same.code, same.out.splitlines()[-1]) == (0, "No difference.")

    configure(clinic.db, display_values="occurring", version="16.1")
    other = command("compare", out)
    assert other.code == 1
    lines = other.out.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("Image.VoxelToDisplayValue: "))
    assert lines[at].endswith(f'Patient.Studies[0].Series[0].Images[{PHANTOM.size[2]}] "below"')
    assert json.loads(lines[at + 2].removeprefix("  here: "))["value"] == "nan"
    assert "Image.UID: 7 differ, first at Patient.Studies[0].Series[0].Images[0]" in lines


def test_writes_are_tried_when_the_id_is_typed_again(command, clinic, tmp_path: Path) -> None:
    out = tmp_path / "trace.zip"
    done = command("record", "--out", out, "--write", typed=f"{PHANTOM.patient_id}\n")
    assert done.code == 0
    assert "nobody is treated" in done.out
    assert any(call.get("member") == "Structure.SegmentVolume" for call in calls(out))
    events = [
        json.loads(line)["event"] for line in (tmp_path / "audit.jsonl").read_text().splitlines()
    ]
    assert events == ["begun", "saved"] * 2

    without = command("compare", out)
    assert without.code == 1  # copies of the image were left
    assert "Series.Images" in without.out
    assert "--write" in without.out


@pytest.mark.parametrize("typed", ["", "\n", "yes\n", "0815\n"])
def test_nothing_is_tried_when_it_is_not(command, tmp_path: Path, typed: str) -> None:
    done = command("record", "--out", tmp_path / "trace.zip", "--write", typed=typed)
    assert done.code != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db", "dicom"]


def test_a_script_that_may_not_write_records_what_it_may(command, clinic, tmp_path: Path) -> None:
    configure(clinic.db, script_approved=False)
    out = tmp_path / "trace.zip"
    done = command("record", "--out", out, "--write", typed=f"{PHANTOM.patient_id}\n")
    assert done.code == 3
    assert "CanModifyData is false" in done.err
    *before, end = calls(out)
    assert len(before) > 200
    assert (end["on"], end["member"]) == ("Experiments", "(end)")
    assert "(canmodifydata is false)" in str(end["throws"])


def test_an_unknown_patient_and_a_file_that_is_no_recording(
    run: Callable[..., Outcome], command, clinic, tmp_path: Path
) -> None:
    none = run("record", "--out", tmp_path / "t.zip", "--patient", "9", "--esapi", clinic.esapi)
    assert none.code == 1
    assert none.err.startswith("Eclipse does not open patient 9.")
    foreign = tmp_path / "foreign.zip"
    foreign.write_text("no zip")
    assert command("compare", foreign).code == 2
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("calls.jsonl", '{"trace": 99, "program": "7.1"}\n')
    newer = command("compare", foreign)
    assert newer.code == 2
    assert "7.1" in newer.err
    assert command("compare", tmp_path / "missing.zip").code == 2
