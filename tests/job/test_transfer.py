"""The network way of the export, whole, against the stub daemon in front of the stub database."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pytest_mock import MockerFixture

from dicom_peers import free_port
from esapi_stub.daemon import Daemon, Faults
from esapi_stub.profiles import PROFILES
from esapi_stub.sample import Phantom, PhantomContrast, PhantomMr
from stardust_esapi.model import Kind, TransferRequest
from stardust_esapi.record.ready_list import read_ready_cases, write_ready_list
from stardust_esapi.settings import load_settings
from stardust_esapi.transfer.network.file_daemon import FolderCollector
from stardust_esapi.verify.check import verify_tree
from support import (
    PATIENCE,
    Clinic,
    Outcome,
    ending,
    report_of,
    row_of,
    spawn,
    until,
    write_case_list,
)

Run = Callable[..., Outcome]

SMALL = Phantom("0815", size=(32, 32, 14))
WHOLE = replace(
    SMALL, patient_id="4711 KM", contrast=PhantomContrast(), mr=PhantomMr(size=(24, 24, 10))
)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARDUST_NETWORK__TIMEOUT", str(PATIENCE))


@pytest.fixture
def clinic(clinic_of: Callable[..., Clinic]) -> Clinic:
    return clinic_of(WHOLE, SMALL, replace(SMALL, patient_id="Ü/3"))


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def daemon(clinic: Clinic, port: int, request: pytest.FixtureRequest) -> Iterator[Daemon]:
    profile = PROFILES[getattr(request, "param", "plain")]
    where = {"STARDUST": ("127.0.0.1", port)}
    with Daemon(clinic.db, destinations=where, profile=profile) as running:
        yield running


def network(daemon: Daemon, port: int) -> tuple[object, ...]:
    return ("--peer", f"VMSDBD1@127.0.0.1:{daemon.port}", "--port", port)


def dicom_files(out: Path) -> list[str]:
    return sorted(p.relative_to(out).as_posix() for p in out.glob("*_Export/*/*/*.dcm"))


@pytest.mark.parametrize(
    ("daemon", "retrieve"),
    [("plain", "move"), ("dbdaemon", "move"), ("dicom-services", "get")],
    indirect=["daemon"],
)
def test_save_then_transfer_whole(
    clinic: Clinic, daemon: Daemon, port: int, run: Run, tmp_path: Path, retrieve: str
) -> None:
    """Structure sets made a moment ago are transferred with their images."""
    cases = write_case_list(tmp_path / "cases.csv", map(row_of, clinic.patients))
    out = tmp_path / "out"
    arguments = (
        "export", "--cases", cases, "--out", out, "--esapi", clinic.esapi, "--write",
        "--engine", "qr", *network(daemon, port), "--retrieve", retrieve,
    )  # fmt: skip
    done = run(*arguments)
    assert done.code == 0, done.text
    assert "All 3 cases exported" in done.out
    report = verify_tree(out)
    assert report.ok
    assert report.series == 5
    assert len(dicom_files(out)) == 3 * (14 + 1) + 18 + 1 + 10 + 2  # RE and RS of the MR
    # The daemon sends the files as they are: with Eclipse's own SOP Instance UIDs.
    uids = clinic.patients[0].sop_instance_uids
    folder = out / "CT_Export" / "4711 KM" / clinic.patients[0].series_uid
    assert {p.name for p in folder.glob("CT*.dcm")} == {f"CT.{uid}.dcm" for uid in uids}
    before = dicom_files(out)
    assert run(*arguments).code == 0
    assert dicom_files(out) == before


def test_transfer_from_a_ready_list_without_esapi(
    clinic: Clinic, daemon: Daemon, port: int, run: Run, tmp_path: Path, mocker: MockerFixture
) -> None:
    cases = write_case_list(tmp_path / "cases.csv", map(row_of, clinic.patients))
    prepared = tmp_path / "prepared"
    common = ("--cases", cases, "--out", prepared, "--esapi", clinic.esapi)
    assert run("export", *common, "--write", "--engine", "none").code == 0
    esapi = mocker.patch("stardust_esapi.job.run.connect")
    out = tmp_path / "out"
    arguments = (
        "transfer", "--list", prepared / "export_list.csv", "--out", out,
        *network(daemon, port),
    )  # fmt: skip
    done = run(*arguments)
    assert done.code == 0, done.text
    assert "All 3 cases exported" in done.out
    assert not esapi.called
    assert verify_tree(out).ok
    assert len(dicom_files(out)) == 3 * (14 + 1) + 18 + 1 + 10 + 2  # RE and RS of the MR
    assert "without ESAPI" in report_of(out)
    again = run(*arguments)
    assert again.code == 0


def test_cases_of_one_plan_stay_apart_when_their_cts_are_not_asked_for(tmp_path: Path) -> None:
    def of(kind: Kind, series: str) -> TransferRequest:
        return TransferRequest(kind, "0815", "Plan1", "1.2", series, "1.2.9", "", 3)

    listed = [of(Kind.CT, "1.1"), of(Kind.KM, "1.2"), of(Kind.CT, "1.3"), of(Kind.MR, "1.4")]
    write_ready_list(tmp_path / "ready.csv", listed)
    settings = load_settings(None, {"kinds": "km,mr"}, tmp_path)
    cases = read_ready_cases(tmp_path / "ready.csv", settings.kinds)
    assert [case.requests for case in cases] == [(listed[1],), (listed[3],)]


def test_the_file_daemon_delivers_into_a_folder(
    clinic: Clinic, run: Run, tmp_path: Path, port: int
) -> None:
    drop = tmp_path / "import"
    drop.mkdir()
    cases = write_case_list(tmp_path / "cases.csv", [row_of(clinic.patients[0])])
    out = tmp_path / "out"
    settings = tmp_path / "s.toml"
    settings.write_text('[network]\ndestination = "VMSFD1"\n')
    with Daemon(clinic.db, file_daemons={"VMSFD1": drop}) as daemon:
        done = run(
            "export", "--cases", cases, "--out", out, "--esapi", clinic.esapi, "--write",
            "--engine", "qr", *network(daemon, port), "--deliver", f"folder:{drop}",
            "--settings", settings,
        )  # fmt: skip
    assert done.code == 0, done.text
    assert verify_tree(out).ok


def test_a_peer_that_sends_one_less_fails_the_case(
    clinic: Clinic, run: Run, tmp_path: Path, port: int
) -> None:
    cases = write_case_list(tmp_path / "cases.csv", [row_of(clinic.patients[1])])
    out = tmp_path / "out"
    settings = tmp_path / "s.toml"
    settings.write_text("[network]\nretries = 0\n")
    where = {"STARDUST": ("127.0.0.1", port)}
    common = (
        "export", "--cases", cases, "--out", out, "--esapi", clinic.esapi, "--write",
        "--engine", "qr", "--settings", settings,
    )  # fmt: skip
    with Daemon(clinic.db, destinations=where, faults=Faults(drop_last=True)) as daemon:
        done = run(*common, *network(daemon, port))
    assert done.code == 1
    assert "did not arrive" in done.out
    assert not dicom_files(out)
    with Daemon(clinic.db, destinations=where) as daemon:
        assert run(*common, *network(daemon, port)).code == 0
    assert verify_tree(out).ok


def test_what_nobody_asked_for_is_named_to_the_user(
    clinic: Clinic, run: Run, tmp_path: Path, port: int
) -> None:
    """An instance of another patient comes with the case: the case is whole without it."""
    cases = write_case_list(tmp_path / "cases.csv", [row_of(clinic.patients[1])])
    out = tmp_path / "out"
    foreign = next(iter(sorted((tmp_path / "dicom" / "2").rglob("*.dcm"))))
    uid = dcmread(foreign).SOPInstanceUID
    where = {"STARDUST": ("127.0.0.1", port)}
    with Daemon(clinic.db, destinations=where, faults=Faults(foreign=foreign)) as daemon:
        done = run(
            "export", "--cases", cases, "--out", out, "--esapi", clinic.esapi, "--write",
            "--engine", "qr", *network(daemon, port),
        )  # fmt: skip
    assert done.code == 0, done.text
    assert verify_tree(out).ok
    report = report_of(out)
    for text in (done.out, report):
        assert f"Instance {uid} of patient Ü/3 was not taken: nobody asked for it" in text
    assert "C-MOVE: " in report
    assert next(p.name for p in (out / "quarantine").iterdir()).startswith(uid)


def test_ctrl_c_ends_a_transfer_and_the_next_run_goes_on(
    clinic: Clinic, run: Run, tmp_path: Path, port: int
) -> None:
    cases = write_case_list(tmp_path / "cases.csv", map(row_of, clinic.patients))
    out = tmp_path / "out"
    where = {"STARDUST": ("127.0.0.1", port)}
    with Daemon(clinic.db, destinations=where, faults=Faults(stall_after=5)) as daemon:
        arguments = (
            "export", "--cases", cases, "--out", out, "--esapi", clinic.esapi, "--write",
            "--engine", "qr", *network(daemon, port),
        )  # fmt: skip
        process = spawn(*arguments)
        with ending(process):
            until(lambda: len([*(out / ".staging").rglob("*.dcm")]) >= 5)
            process.send_signal(signal.SIGINT)
            text, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130, text
        assert "run the same command again" in text
        assert "Traceback" not in text
        assert not dicom_files(out)
        daemon.faults = Faults()
        assert run(*arguments).code == 0
    assert verify_tree(out).ok
    assert len(dicom_files(out)) == 3 * (14 + 1) + 18 + 1 + 10 + 2  # RE and RS of the MR


def test_an_engine_without_a_peer_is_wrong_use(clinic: Clinic, run: Run, tmp_path: Path) -> None:
    cases = write_case_list(tmp_path / "cases.csv", [row_of(clinic.patients[1])])
    done = run(
        "export", "--cases", cases, "--out", tmp_path / "o", "--esapi", clinic.esapi, "--write",
        "--engine", "qr",
    )  # fmt: skip
    assert done.code == 2
    assert "--peer" in done.err


def test_the_doctor_finds_everything_fine(
    clinic: Clinic, daemon: Daemon, port: int, run: Run, tmp_path: Path
) -> None:
    done = run(
        "doctor", "--esapi", clinic.esapi, "--patient", "0815", "--out", tmp_path,
        *network(daemon, port),
    )  # fmt: skip
    assert done.code == 0, done.text
    for words in (
        "disk space: fine",
        "write approval: fine",
        f"our port: fine: Port {port} is free",
        "It answers a C-ECHO",
        "its services: fine: It offers C-FIND and C-MOVE and C-GET.",
        "its associations: fine: It takes 4 or more at a time; network.associations is 1.",
        "1 studies of patient 0815",
        "a move to STARDUST: fine: One image was asked for and arrived.",
    ):
        assert words in done.out, done.out


def test_the_doctor_says_which_way_of_retrieving_to_set(
    clinic: Clinic, run: Run, port: int, tmp_path: Path
) -> None:
    with Daemon(clinic.db, profile=PROFILES["dbdaemon"]) as daemon:
        arguments = ("doctor", "--esapi", clinic.esapi, "--out", tmp_path, *network(daemon, port))
        assert "its services: fine: It offers C-FIND and C-MOVE." in run(*arguments).out
        done = run(*arguments, "--retrieve", "get")
    assert done.code == 1
    assert 'network.retrieve is "get": set it to what it offers' in done.out
    assert "our port" not in done.out


def test_the_doctor_looks_into_the_file_daemons_folder(
    clinic: Clinic, run: Run, port: int, tmp_path: Path, mocker: MockerFixture
) -> None:
    drop = tmp_path / "import"
    drop.mkdir()
    settings = tmp_path / "s.toml"
    settings.write_text(f'[network]\ndestination = "VMSFD1"\ndeliver = "folder:{drop}"\n')
    arguments = ("doctor", "--esapi", clinic.esapi, "--patient", "0815", "--settings", settings)
    with Daemon(clinic.db, file_daemons={"VMSFD1": drop}) as daemon:
        done = run(*arguments, *network(daemon, port))
    assert done.code == 0, done.text
    assert "One image was asked for, and VMSFD1 delivered it." in done.out
    assert not [*drop.rglob("*.dcm")]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    impatient = mocker.patch("stardust_esapi.transfer.network.probe.FolderCollector")
    impatient.side_effect = lambda root, _: FolderCollector(root, 0.5)
    with Daemon(clinic.db, file_daemons={"VMSFD1": elsewhere}) as daemon:
        done = run(*arguments, *network(daemon, port))
    assert done.code == 1
    assert "did not come whole into the File Daemon's folder" in done.out


def test_the_doctor_says_what_to_do(clinic: Clinic, run: Run, port: int, tmp_path: Path) -> None:
    with Daemon(clinic.db) as daemon:  # it knows no destination
        done = run(
            "doctor", "--esapi", "stub:nowhere", "--patient", "0815",
            *network(daemon, port),
        )  # fmt: skip
    assert done.code == 1
    assert "does not know the destination STARDUST" in done.out
    assert "nowhere" in done.out
    done = run("doctor", "--esapi", clinic.esapi, "--peer", "NOBODY@127.0.0.1:1")
    assert done.code == 1
    assert "does not take our association" in done.out
    assert "Traceback" not in done.text
