from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

import schedule_work
from stardust_esapi.dataset.schedule import run_all
from stardust_esapi.errors import StardustError, UsageError
from support import PATIENCE, end, ending, until

TESTS = Path(__file__).parents[1]
PATIENT = "PAT-SECRET-4711"

# distributed warns of its own sockets and of ours that it cannot have.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", autouse=True)
def patient_clusters() -> Iterator[None]:
    """A local cluster gives up, for good, a worker that it misses 15 s after one has died.

    It does not look whether another has died since; where many do, that is how it loses them all.
    """
    import dask
    import distributed  # noqa: F401 - brings its settings along, which else were gone at the end

    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}):
        yield


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """One of two processes for all tests that leave it as it is."""
    with schedule_work.cluster(2) as cluster:
        yield cluster


@pytest.fixture(params=["processes", "dask"])
def hands(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Who works: the same code for both."""
    if request.param == "dask":
        return {"scheduler": request.getfixturevalue("cluster").scheduler_address}
    return {"workers": 2}


def lost(number: int) -> int:
    return -number


def test_does_all_of_it(hands: dict[str, Any]) -> None:
    results = list(run_all(range(20), schedule_work.square, lost, **hands))
    assert sorted(results) == [number**2 for number in range(20)]


def test_of_nothing_comes_nothing(hands: dict[str, Any]) -> None:
    assert list(run_all([], schedule_work.square, lost, **hands)) == []


def test_a_worker_that_dies_fails_its_own_case_alone(hands: dict[str, Any]) -> None:
    results = list(run_all(range(12), schedule_work.die, lost, **hands))
    expected = {number**2 for number in range(12)} - {9} | {-schedule_work.DEADLY}
    assert sorted(results) == sorted(expected)


def test_a_case_whose_worker_died_is_tried_again(hands: dict[str, Any], tmp_path: Path) -> None:
    work = schedule_work.DieOnce(tmp_path / "marker")
    results = list(run_all(range(8), work, lost, **hands))
    assert (tmp_path / "marker").exists()
    assert sorted(results) == [number**2 for number in range(8)]


def test_a_worker_that_dies_idle_costs_nothing() -> None:
    """The pool breaks between two cases: the next one is given to a new pool."""
    workers: list[int] = []

    def items() -> Iterator[int]:
        yield 1
        yield 2
        os.kill(workers[-1], signal.SIGKILL)
        until(lambda: not _alive(workers[-1]))
        yield 3

    for worker in run_all(items(), schedule_work.process, lost, workers=1):
        workers.append(worker)  # one by one: items() looks
    first, second, third = workers
    assert first == second != third > 0


def test_takes_no_more_than_the_workers_can_do(hands: dict[str, Any]) -> None:
    """The cases wait where they are listed, not in memory."""
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(30):
            taken += 1
            yield number

    ahead = [
        taken - done for done, _ in enumerate(run_all(items(), schedule_work.square, lost, **hands))
    ]
    assert max(ahead) <= 4


def test_ends_properly_what_is_under_way(hands: dict[str, Any], tmp_path: Path) -> None:
    """Whoever goes on at once finds nobody who still writes."""
    folder = tmp_path / "pids"
    folder.mkdir()
    results = run_all([str(folder)] * 9, schedule_work.report_and_doze, str, **hands)
    next(results)
    results.close()
    begun, ended = (sorted(folder.glob(f"*.{word}.*")) for word in ("begun", "ended"))
    assert 2 <= len(begun) == len(ended) < 9


def script(tmp_path: Path, text: str) -> subprocess.Popen[str]:
    """Start a program without a guard: a child that imported it would start it again."""
    path = tmp_path / "program.py"
    path.write_text(text)
    return subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )


def test_workers_import_neither_the_program_nor_what_it_brings_along(tmp_path: Path) -> None:
    process = script(
        tmp_path,
        "import pandas, dataset_work, json\n"
        "import stardust_esapi.commands.program, stardust_esapi.dataset.build\n"
        "from stardust_esapi.dataset.schedule import run_all\n"
        "print(json.dumps(list(run_all([0], dataset_work.modules, str, workers=1))))\n",
    )
    with ending(process):
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert '"stardust_esapi.dataset.convert"' in out
    for heavy in ("pandas", "matplotlib", "jinja2", "distributed", "pynetdicom", "typer"):
        assert f'"{heavy}"' not in out
    for own in ("commands.program", "job.run", "report.html", "dataset.overview", "esapi.session"):
        assert f'"stardust_esapi.{own}"' not in out


SLEEPER = """
import pathlib, signal, sys, schedule_work
from stardust_esapi.dataset.schedule import run_all
class Stopped(BaseException): pass
def stop(*_):
    pathlib.Path({folder!r}).with_name("go").touch()
    raise Stopped
signal.signal(signal.SIGINT, stop)
try:
    list(run_all([{folder!r}] * 3, schedule_work.report_and_wait, str, workers=2))
except Stopped:
    sys.exit("Stopped.")
"""


def _alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"  # whoever takes it away


def _wait_for_workers(folder: Path, count: int) -> list[int]:
    until(lambda: len(list(folder.iterdir())) >= count)
    return [int(path.name.partition(".")[0]) for path in folder.iterdir()]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """Else they would wait for ever, and write beside the next run."""
    folder = tmp_path / "pids"
    folder.mkdir()
    process = script(tmp_path, SLEEPER.format(folder=str(folder)))
    try:
        pids = _wait_for_workers(folder, 2)
        process.kill()
        process.communicate(timeout=PATIENCE)
        until(lambda: not any(map(_alive, pids)))
    finally:
        (tmp_path / "go").touch()
        end(process)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_ends_it_without_a_word_of_the_workers(tmp_path: Path) -> None:
    """A terminal sends it to all of them; the cases under way are ended properly."""
    folder = tmp_path / "pids"
    folder.mkdir()
    process = script(tmp_path, SLEEPER.format(folder=str(folder)))
    with ending(process):
        pids = _wait_for_workers(folder, 2)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert err == "Stopped.\n"
    assert not any(map(_alive, pids))
    assert len(list(folder.glob("*.begun.*"))) == 2
    assert len(list(folder.glob("*.ended.*"))) == 2


# --- Dask alone -----------------------------------------------------------------------------


def test_says_that_there_is_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed  # noqa: F401

    monkeypatch.setattr("stardust_esapi.dataset.schedule._SECONDS_TO_CONNECT", 1)
    with pytest.raises(UsageError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:9 .*--schedu"):
        list(run_all([1], schedule_work.square, lost, scheduler="tcp://127.0.0.1:9"))


def test_says_that_dask_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install stardust-esapi\[dask\]"):
        list(run_all([1], schedule_work.square, lost, scheduler="tcp://127.0.0.1:9"))


def test_refuses_workers_of_another_version(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stardust_esapi.dataset.schedule.__version__", "99.0")
    with pytest.raises(UsageError, match="another version of this program than 99"):
        list(run_all([1], schedule_work.square, lost, scheduler=cluster.scheduler_address))


def test_refuses_a_worker_of_another_version_that_comes_later(
    hands: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stardust_esapi.dataset.schedule._Cluster._check_versions", lambda _: None)
    monkeypatch.setattr("stardust_esapi.dataset.schedule.__version__", "99.0")
    with pytest.raises(UsageError, match=r"another version of this program than 99\.0: \d"):
        list(run_all([1], schedule_work.square, lost, **hands))


def test_cases_that_waited_behind_the_deadly_one_are_not_blamed() -> None:
    """Dask gives a worker a case more than it can do, and fails both when it has died for long."""
    with schedule_work.cluster(1) as cluster:
        items = [schedule_work.DEADLY, 4, 5, 6]
        results = run_all(items, schedule_work.die, lost, scheduler=cluster.scheduler_address)
        assert sorted(results) == [-schedule_work.DEADLY, 16, 25, 36]


def test_says_that_there_are_no_workers_and_goes_on_when_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stardust_esapi.dataset.schedule._SECONDS_WITHOUT_WORKERS", 0.2)
    said: list[str] = []
    with schedule_work.cluster(0) as cluster:

        def hear(message: str) -> None:
            said.append(message)
            cluster.scale(1)

        sink = logger.add(hear, level="WARNING", format="{message}")
        try:
            results = run_all([2], schedule_work.square, lost, scheduler=cluster.scheduler_address)
            assert list(results) == [4]
        finally:
            logger.remove(sink)
    assert said == [
        "The Dask cluster has no workers. Start some and it goes on; or stop here: what is done "
        "stays.\n"
    ]


def test_a_workers_log_names_no_patient(cluster: Any) -> None:
    """Dask logs the arguments of what fails."""
    logged = cluster.get_logs()
    results = run_all([PATIENT], schedule_work.fail, str, scheduler=cluster.scheduler_address)
    assert list(results) == [PATIENT]
    text = "".join(map(str, cluster.get_logs().values()))
    assert len(text) > len("".join(map(str, logged.values())))
    assert "no case" in text
    assert PATIENT not in text


def test_says_that_the_scheduler_has_ended(tmp_path: Path) -> None:
    from distributed import Client

    folder = tmp_path / "pids"
    folder.mkdir()
    with schedule_work.cluster(1) as cluster:
        address = cluster.scheduler_address
        results = run_all([str(folder)] * 6, schedule_work.report_and_doze, str, scheduler=address)
        next(results)
        for client in Client._instances:
            client._timeout = 0.5  # so long it would look for the scheduler
    with pytest.raises(StardustError, match="The Dask scheduler has ended"):
        list(results)
