"""The pipe between the .NET skin and the Python stub, and what becomes of the stub's process."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from esapi_stub.api import base
from esapi_stub.build import build
from esapi_stub.database import configure
from esapi_stub.sample import Phantom, write_phantom
from esapi_stub.skin import Skin, write_value
from stand_ins import ROOT, assemblies
from support import PATIENCE, end, until

PATIENT = "0004711"
MARK = "TEST_SKIN_MARK"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A host: .NET in a Python, with ESAPI started and a structure at hand.
HOST = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
import stand_ins
api, types, _, system = stand_ins.namespaces("16.1")
def tried(deed):
    try:
        return deed()
    except system.Exception as error:
        print(f"{{type(error).__name__}}: {{error.Message}}", flush=True)
app = tried(lambda: api.CustomScriptExecutable.CreateApplication("test"))
if app is not None:
    patient = app.OpenPatientById("{PATIENT}")
    patient.BeginModifications()
    structure_set = list(patient.StructureSets)[0]
    structure = list(structure_set.Structures)[0]
print("ready", flush=True)
"""
WAIT = "sys.stdin.readline()\n"


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("database")
    write_phantom(folder / "dicom", Phantom(PATIENT))
    build(folder / "dicom", folder / "db")
    configure(folder / "db", clinical=False)
    return folder / "db"


Host = subprocess.Popen[str]
StartHost = Callable[..., Host]


@pytest.fixture
def start(db: Path) -> Iterator[StartHost]:
    """Start a host that goes on with a program; it is ready."""
    assemblies("16.1")
    hosts: list[Host] = []

    def started(program: str, **env: str) -> Host:
        mark = uuid4().hex
        host = subprocess.Popen(
            [sys.executable, "-c", HOST + program, mark],
            env=os.environ | {"ESAPI_STUB_DB": str(db), MARK: mark} | env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        hosts.append(host)
        return host

    yield started
    for host in hosts:
        end(host)


def lines(host: Host) -> list[str]:
    """What a host says until it ends, from when it is ready."""
    out, _ = host.communicate(timeout=PATIENCE)
    return out.splitlines()


def stub_of(host: Host) -> int:
    """Process of the Python stub that serves a host: the other one with the host's mark."""
    mark = f"{MARK}={host.args[-1]}".encode()
    found = [
        int(environment.parent.name)
        for environment in Path("/proc").glob("[0-9]*/environ")
        if mark in content(environment).split(b"\0")
    ]
    found.remove(host.pid)
    (stub,) = found
    return stub


def content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # of another user, or ended meanwhile
        return b""


def is_running(process: int) -> bool:
    status = content(Path(f"/proc/{process}/status"))
    return bool(status) and b"State:\tZ" not in status


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_stub_ends_with_its_host(start: StartHost, how: signal.Signals) -> None:
    host = start(WAIT)
    assert host.stdout.readline() == "ready\n"
    stub = stub_of(host)
    assert is_running(stub)
    host.send_signal(how)
    host.wait(PATIENCE)
    until(lambda: not is_running(stub))


def test_ctrl_c_is_for_the_host(start: StartHost) -> None:
    host = start(WAIT + "print(app.CurrentUser.Id)\n")
    assert host.stdout.readline() == "ready\n"
    os.kill(stub_of(host), signal.SIGINT)
    out, _ = host.communicate("\n", timeout=PATIENCE)
    assert out == "stub\n"


def test_a_stub_that_has_ended_is_told(start: StartHost) -> None:
    host = start(WAIT + "tried(lambda: app.CurrentUser)\ntried(app.Dispose)\n")
    assert host.stdout.readline() == "ready\n"
    os.kill(stub_of(host), signal.SIGKILL)
    out, _ = host.communicate("\n", timeout=PATIENCE)
    first, second = out.splitlines()
    assert first == second
    assert first.startswith("InvalidOperationException: The process of the Python stub has ended")


def test_a_python_that_is_none_is_told(start: StartHost) -> None:
    (told, ready) = lines(start("", ESAPI_STUB_PYTHON="/no/python"))
    assert told.startswith("InvalidOperationException: /no/python cannot be started")
    assert "ESAPI_STUB_PYTHON" in told
    assert ready == "ready"


def test_the_hosts_own_children_keep_their_exit_codes(start: StartHost) -> None:
    """.NET waits for its child, and must not take away what Python waits for."""
    program = """
import subprocess
print({subprocess.run(["sh", "-c", "sleep 0.01; exit 3"]).returncode for _ in range(40)})
"""
    assert lines(start(program)) == ["ready", "{3}"]


def test_null_is_refused_as_dotnet_does(start: StartHost) -> None:
    program = """
image = structure_set.Image
tried(lambda: setattr(structure, "Id", None))
tried(lambda: image.GetVoxels(0, None))
tried(lambda: image.GetImageProfile(image.Origin, image.Origin, None))
tried(lambda: structure.AddContourOnImagePlane(None, 3))
tried(lambda: app.OpenPatient(None))
tried(lambda: structure_set.AddStructure(None, "x"))
tried(lambda: structure_set.AddStructure("GTV", None))
print(structure.Equals(None), structure.Equals("x"), structure == structure_set)
"""
    assert lines(start(program)) == [
        "ready",
        "ArgumentNullException: Value cannot be null. Parameter name: value",
        "ArgumentNullException: Value cannot be null. Parameter name: preallocatedBuffer",
        "ArgumentException: preallocatedBuffer must hold at least two values.",
        "ArgumentException: A contour needs at least three points.",
        "NullReferenceException: Object reference not set to an instance of an object.",
        "ArgumentException: A structure of DICOM type 'None' cannot be added.",
        "ArgumentNullException: Value cannot be null. Parameter name: value",
        "False False False",
    ]


def test_a_host_ends_as_it_likes(start: StartHost) -> None:
    """Mono crashed about every second time where its child ended after it had shut down."""
    for program in ("", "app.Dispose()\n") * 2:
        host = start(program)
        assert lines(host) == ["ready"]
        assert host.returncode == 0


# --- the stub's end, without .NET ---


def question(verb: str, member: str, *arguments: object) -> bytes:
    """A frame that asks the skin itself."""
    asked = write_value([1, verb, None, member, list(arguments), None])
    return struct.pack("<i", len(asked)) + asked


def answer(*values: object) -> bytes:
    given = write_value(list(values))
    return struct.pack("<i", len(given)) + given


@contextmanager
def own_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[Skin]:
    monkeypatch.setattr(base, "asking_thread", base.asking_thread)  # put back afterwards
    yield Skin("16.1")


@pytest.mark.parametrize("before", [b"", BYTE_ORDER_MARK])
def test_what_else_is_printed_is_not_taken_for_an_answer(before: bytes) -> None:
    program = (
        "import os, sys\nfrom esapi_stub import skin\n"
        "def shout(self):\n"
        "    print('loud')\n    os.system('echo louder')\n    return sys.stdin.read()\n"
        "skin.Skin.shout = shout\nskin.main('16.1')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=before + question("call", "shout") + question("get", "_version"),
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    )
    assert done.stdout == answer(True, "") + answer(True, "16.1")
    assert sorted(done.stderr.split()) == [b"loud", b"louder"]


def test_a_fault_of_the_stub_is_told_and_traced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Skin, "fail", lambda _: {}["nothing"], raising=False)
    with own_thread(monkeypatch) as skin:
        found = skin.answer(question("call", "fail")[4:])
    told = "The Python stub failed: KeyError: 'nothing'"
    assert found == answer(False, "System.SystemException", told)[4:]
    assert "Traceback" in capsys.readouterr().err


def test_numbers_and_texts_cross_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Skin, "echo", lambda _, *values: list(values), raising=False)
    values = [None, True, -1, 2**31 - 1, 0.1, float("inf"), "Prüfkörper 漢 \U0001f600 \n", "", []]
    with own_thread(monkeypatch) as skin:
        assert skin.answer(question("call", "echo", *values)[4:]) == write_value([True, values])
