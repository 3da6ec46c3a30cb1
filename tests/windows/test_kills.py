"""Runs that are killed, interrupted or doubled on Windows end like a run that nobody disturbed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest

from esapi_stub.build import build
from esapi_stub.sample import Phantom, PhantomContrast, write_phantom
from killing import EPOCH, KILL, Ended, Result, World, differences
from support import PATIENCE, ending, row_of, write_case_list

KILLS = 20
SENTENCE = "Stopped. Nothing is lost: run the same command again to go on.\n"
PLAIN = Phantom("0815 Ä", size=(24, 24, 6), spacing=(5.0, 5.0, 6.0))
FULL = replace(PLAIN, patient_id="A/17.b", contrast=PhantomContrast(slices=5, offset=3.0))

_CHILD = """
import os, sys
from killing import Points
from stardust_esapi.commands import program
point, number, told, *arguments = sys.argv[1:]
points = Points(int(point), int(number), os.open(told, os.O_CREAT | os.O_TRUNC | os.O_WRONLY))
points.watch()
try:
    program.main(arguments)
finally:
    points.tell()
"""


@dataclass(frozen=True)
class Spawning:
    """Runs the command line in processes that end themselves at a point; 0 is none."""

    told: Path

    def run(self, folder: Path, arguments: Sequence[str], *, point: int = 0) -> Ended:
        """Run it in a folder; as :meth:`killing.Runner.run`."""
        how = [str(point), str(int(KILL)), str(self.told)]
        with ending(start("-c", _CHILD, *how, *arguments, cwd=folder)) as process:
            text, _ = process.communicate(timeout=PATIENCE)
        told = json.loads(self.told.read_bytes())
        return Ended(process.returncode, **told, seconds=0.0, text=text)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Spawning:
    return Spawning(tmp_path_factory.mktemp("runner") / "told")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A database nobody has touched, and a case list."""
    root = tmp_path_factory.mktemp("cohort")
    full, plain = (
        write_phantom(root / "dicom" / str(number), phantom)
        for number, phantom in enumerate((FULL, PLAIN))
    )
    build(root / "dicom", root / "db")
    rows = [row_of(full), row_of(plain), row_of(plain, PlanID="Plan9")]
    return root / "db", write_case_list(root / "cases.csv", rows)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, runner: Spawning, fresh: tuple[Path, Path]
) -> tuple[Ended, Result]:
    world = World.make(tmp_path_factory.mktemp("undisturbed") / "world", *fresh)
    ended = world.run(runner)
    assert ended.code == 1, ended.text
    assert "2 of 3 cases exported; 1 failed." in ended.text
    return ended, world.result()


def check_finished(world: World, undisturbed: tuple[Ended, Result], code: int) -> None:
    assert code == undisturbed[0].code
    found = world.unfinished() + differences(undisturbed[1], world.result())
    assert not found, world.history


def test_killed_all_along_a_run(
    runner: Spawning, fresh: tuple[Path, Path], undisturbed: tuple[Ended, Result], tmp_path: Path
) -> None:
    points = undisturbed[0].points
    assert points > 100
    # Evenly spread over a run, in an order that lets the runs go on.
    places = (1 + round(points * (number * 0.381966 % 1)) for number in count())
    kills = 0
    while kills < KILLS:
        world = World.make(tmp_path / str(kills), *fresh)
        while (ended := world.run(runner, point=next(places))).code == KILL:
            kills += 1
            found = world.problems()
            assert not found, world.history
        check_finished(world, undisturbed, ended.code)
        shutil.rmtree(world.folder)


def test_a_second_run_is_refused_and_leaves_the_first_alone(
    runner: Spawning, fresh: tuple[Path, Path], undisturbed: tuple[Ended, Result], tmp_path: Path
) -> None:
    world = World.make(tmp_path / "world", *fresh)
    # The first run waits where it tells of its first case, until its input ends.
    with ending(start("-c", _WAITS, *world.arguments, cwd=world.folder)) as first:
        assert first.stdout is not None
        said = first.stdout.readline()
        assert said.startswith("[1/3] exported"), said
        second = world.run(runner)
        first.communicate("", timeout=PATIENCE)
    assert second.code == 2, second.text
    assert second.text == (
        f"Another run is working in {world.out}. Wait for it, or choose another --out.\n"
    )
    check_finished(world, undisturbed, first.returncode)


@pytest.mark.parametrize("key", ["CTRL_C_EVENT", "CTRL_BREAK_EVENT"])
def test_a_key_in_a_console_stops_a_run(
    runner: Spawning,
    fresh: tuple[Path, Path],
    undisturbed: tuple[Ended, Result],
    tmp_path: Path,
    key: str,
) -> None:
    world = World.make(tmp_path / "world", *fresh)
    with ending(
        start(
            *("-c", _CONSOLE, key, _WAITS, *world.arguments),
            cwd=world.folder,
            creationflags=subprocess.CREATE_NEW_CONSOLE,
        )
    ) as console:
        text, _ = console.communicate(timeout=PATIENCE)
    assert console.returncode == 130, text
    assert text.startswith("[1/3] exported"), text
    assert text.endswith(SENTENCE), text
    assert "Traceback" not in text
    assert not world.problems()
    check_finished(world, undisturbed, world.run(runner).code)


_WAITS = """
import sys
from stardust_esapi.commands import program

class Output:
    waited = False

    def write(self, text):
        sys.__stdout__.write(text)
        if text.endswith("\\n") and not self.waited:
            self.waited = True
            sys.__stdout__.flush()
            sys.stdin.read()

    def __getattr__(self, name):
        return getattr(sys.__stdout__, name)

sys.stdout = Output()
program.main(sys.argv[1:])
"""

# In a console of its own: starts the run there, and presses a key when it has told of a case.
_CONSOLE = """
import os, signal, subprocess, sys
signal.signal(signal.SIGINT, lambda *_: None)
signal.signal(signal.SIGBREAK, lambda *_: None)
key, program, *arguments = sys.argv[1:]
run = subprocess.Popen(
    [sys.executable, "-c", program, *arguments],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
)
said = run.stdout.readline()
os.kill(0, getattr(signal, key))
rest, _ = run.communicate()
print(said + rest, end="", flush=True)
sys.exit(run.returncode)
"""


def start(*arguments: str, **how: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH},
        **how,
    )
