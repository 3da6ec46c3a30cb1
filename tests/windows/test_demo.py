"""A whole demo by a Windows Python: its export is the one that Linux makes."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from killing import EPOCH
from support import Outcome, ending, exported_tree
from windows import demo

ROOT = Path(__file__).parents[2]
LINUX = ROOT / "build" / "windows" / "demo"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("Übung mit Blank") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", EPOCH)
        with (folder.parent / "said.txt").open("w", encoding="utf-8") as said:
            with redirect_stdout(said), redirect_stderr(said):
                demo.main(folder)
    return folder


def test_the_sample_is_linuxs(made: Path) -> None:
    assert digests(made / "sample") == digests(LINUX / "sample")


def test_the_export_is_linuxs_byte_for_byte(made: Path) -> None:
    here, there = exported_tree(made / "export"), exported_tree(LINUX / "export")
    # Times stand in it.
    for tree in (here, there):
        del tree["Output_Log.csv"]
    assert len(there) > 100
    assert here == there


def test_paths_are_shown_as_users_know_them(made: Path) -> None:
    out = made / "export"
    shown = [made.parent / "said.txt", *out.glob("*.html"), *out.glob("*.csv"), *out.glob("logs/*")]
    texts = {path.name: path.read_text("utf-8") for path in shown}
    assert "367 files of 11 series" in texts["said.txt"]
    assert {"plan.html", "report.html", "export_list.csv", "Output_Log.csv"} < texts.keys()
    assert not [name for name, text in texts.items() if "\\\\?\\" in text]


def test_the_network_brings_the_same(made: Path, run: Callable[..., Outcome]) -> None:
    port, own = free_ports()
    daemon = subprocess.Popen(
        [
            *(sys.executable, "-m", "esapi_stub", "serve", made / "db", "--port", str(port)),
            *("--destination", f"STARDUST@127.0.0.1:{own}"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with ending(daemon):
        assert daemon.stdout is not None
        assert daemon.stdout.readline().startswith("Serving")
        out = made / "transfer"
        peer = ("--peer", f"VMSDBD1@127.0.0.1:{port}", "--port", own)
        done = run("transfer", "--list", made / "export" / "export_list.csv", "--out", out, *peer)
        assert done.code == 0, done.text
    assert run("verify", out).code == 0
    assert series(out) == series(made / "export")


def test_training_files_of_it(made: Path, run: Callable[..., Outcome]) -> None:
    done = run("dataset", "--from", made / "export", "--out", made / "dataset")
    assert done.code == 1, done.text
    assert "Traceback" not in done.text
    listed = json.loads((made / "dataset" / "dataset.json").read_text("utf-8"))
    assert listed
    assert list((made / "dataset").rglob("*.npz"))


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def series(out: Path) -> Counter[str]:
    """How many files every series has; through ESAPI, images have SOP Instance UIDs of ours."""
    files = out.glob("*_Export/*/*/*.dcm")
    return Counter(path.parent.relative_to(out).as_posix() for path in files)


def free_ports() -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
