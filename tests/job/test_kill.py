"""Runs that are killed, interrupted or doubled end like a run that nobody disturbed."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from esapi_stub.build import build
from esapi_stub.database import describe
from esapi_stub.sample import (
    Box,
    Phantom,
    PhantomContrast,
    PhantomMr,
    PhantomStructure,
    Sphere,
    write_phantom,
)
from killing import KINDS, Ended, Result, Runner, World, differences
from support import PATIENCE, ending, row_of, write_case_list

pytestmark = pytest.mark.skipif(os.name == "nt", reason="forks and kills")

KILLS = 9  # at least, in each test that kills
SENTENCE = "Stopped. Nothing is lost: run the same command again to go on."

TUMOUR = (-20.0, 10.0, 3.0)
PLAIN = Phantom(
    "0815",
    size=(24, 24, 6),
    spacing=(5.0, 5.0, 6.0),
    structures=(
        PhantomStructure("BODY", "EXTERNAL", Box((0, 0, 0), (55, 50, 20)), hu=40),
        PhantomStructure("GTV1", "GTV", Sphere(TUMOUR, 8), hu=75),
        PhantomStructure("PTV1", "PTV", Sphere(TUMOUR, 10)),
        PhantomStructure("Boost OAR", "ORGAN", Sphere(TUMOUR, 12)),
    ),
)
FULL = replace(
    PLAIN,
    patient_id="A/17.b",
    contrast=PhantomContrast(slices=5, offset=3.0),
    mr=PhantomMr(size=(20, 20, 5), spacing=(5.0, 5.0, 8.0)),
)
FAULTY = replace(PLAIN, patient_id="PH-PLAN")


@dataclass(frozen=True)
class Cohort:
    """A database nobody has touched, its case list, and a run that nobody disturbed.

    Attributes:
        db: The database.
        cases: The list.
        undisturbed: What the run left.
        ended: How it ended.
        result: What the others are compared with.
        watched: How the same run ended while its points were watched.
    """

    db: Path
    cases: Path
    undisturbed: World
    ended: Ended
    result: Result
    watched: Ended

    def world(self, folder: Path) -> World:
        return World.make(folder, self.db, self.cases)

    def check_finished(self, world: World, ended: Ended) -> None:
        """A run has ended by itself: all is as if it had been the only one."""
        assert ended.code == self.ended.code, (ended, world.history)
        found = world.unfinished() + differences(self.result, world.result())
        assert not found, world.history


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner() as started:
        yield started


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory, runner: Runner) -> Cohort:
    root = tmp_path_factory.mktemp("cohort")
    full, faulty, plain = (
        write_phantom(root / "dicom" / str(number), phantom)
        for number, phantom in enumerate((FULL, FAULTY, PLAIN))
    )
    build(root / "dicom", root / "db")
    rows = [
        row_of(full),
        row_of(full, TargetID="Boost OAR"),  # the same images, another structure set
        row_of(plain),
        row_of(plain, PlanID=""),  # the same structure set, found by series
        row_of(faulty, PlanID="Plan9"),  # there is no such plan
    ]
    cases = write_case_list(root / "cases.csv", rows)
    undisturbed = World.make(root / "undisturbed", root / "db", cases)
    ended = undisturbed.run(runner)
    assert ended.code == 1, ended.text
    result = undisturbed.result()
    again = World.make(root / "again", root / "db", cases)
    watched = again.run(runner, point=0)
    assert not differences(result, again.result()), "two runs alike do not give the same"
    return Cohort(root / "db", cases, undisturbed, ended, result, watched)


def test_the_undisturbed_run_holds_what_the_others_are_compared_with(cohort: Cohort) -> None:
    assert "4 of 5 cases exported; 1 failed." in cohort.ended.text
    assert not cohort.undisturbed.problems() + cohort.undisturbed.unfinished()
    ids = {
        patient["id"]: sorted(s["id"] for s in patient["structure_sets"])
        for patient in describe(cohort.undisturbed.folder / "db")["patients"]
    }
    ct, km = ["zCopyFromPlan", "zCopyFromPlan_2"], ["zCopyFromPl_2_KM", "zCopyFromPlan_KM"]
    assert ids == {
        "A/17.b": sorted(["CT_1", *ct, *km]),
        "PH-PLAN": ["CT_1"],
        "0815": ["CT_1", "zCopyFromPlan"],
    }
    out = cohort.undisturbed.out
    series = [
        f"{kind}/{path.parent.name}" for kind in KINDS for path in sorted((out / kind).glob("*/*"))
    ]
    # The two cases of A/17.b share nothing but images, those of 0815 everything.
    assert series == [
        "CT_Export/0815",
        *["CT_Export/A%2F17.b"] * 2,
        *["KM_Export/A%2F17.b"] * 2,
        *["MR_Export/A%2F17.b"] * 2,
    ]


def send_everywhere(
    cohort: Cohort, runner: Runner, folder: Path, places: list[str], number: signal.Signals
) -> Iterator[Ended]:
    """Send a signal at every place, in one world as long as there is something left to do there."""
    worlds = (cohort.world(folder / str(count)) for count in itertools.count())
    world = next(worlds)
    for place in places:
        ended = world.run(runner, point=place, number=number)
        if ended.where != place:
            cohort.check_finished(world, ended)
            world = next(worlds)
            ended = world.run(runner, point=place, number=number)
        assert ended.where == place
        yield ended
        found = world.problems()
        assert not found, world.history
    cohort.check_finished(world, world.run(runner))


@pytest.mark.slow
def test_killed_at_every_place_that_changes_the_disk(
    cohort: Cohort, runner: Runner, tmp_path: Path
) -> None:
    places = [place for place in cohort.watched.places if place.startswith("before ")]
    assert len(places) >= 50
    for ended in send_everywhere(cohort, runner, tmp_path, places, signal.SIGKILL):
        assert ended.code == -signal.SIGKILL


@pytest.mark.slow
def test_interrupted_at_many_places_it_says_so_and_goes_on(
    cohort: Cohort, runner: Runner, tmp_path: Path
) -> None:
    places = [place for place in cohort.watched.places if place.startswith("after ")]
    for ended in send_everywhere(cohort, runner, tmp_path, places[::6], signal.SIGINT):
        assert ended.code == 130, ended
        assert ended.text.endswith(f"{SENTENCE}\n"), ended
        assert "Traceback" not in ended.text, ended


def killed_until_it_ends(
    cohort: Cohort, runner: Runner, folder: Path, how: Callable[[float], dict[str, Any]]
) -> None:
    """Kill runs in fresh worlds, each until one ends by itself, until there were enough kills."""
    kills = 0
    while kills < KILLS:
        world = cohort.world(folder / "world")
        while (ended := world.run(runner, **how(world.stretch))).code == -signal.SIGKILL:
            kills += 1
            found = world.problems()
            assert not found, world.history
        cohort.check_finished(world, ended)
        shutil.rmtree(world.folder)


@pytest.mark.parametrize("seed", [1])
def test_killed_at_random_points(cohort: Cohort, runner: Runner, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    def how(stretch: float) -> dict[str, Any]:
        return {"point": chance.randint(1, round(cohort.watched.points * stretch))}

    killed_until_it_ends(cohort, runner, tmp_path, how)


@pytest.mark.parametrize("seed", [2])
def test_killed_at_random_times(cohort: Cohort, runner: Runner, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    def how(stretch: float) -> dict[str, Any]:
        return {"after": chance.uniform(0.0, cohort.ended.seconds * stretch)}

    killed_until_it_ends(cohort, runner, tmp_path, how)


def stopped(process: subprocess.Popen[str]) -> str:
    """Wait until the process has stopped; gives what it has said."""
    assert process.stdout is not None
    said = process.stdout.readline()
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    return said


def test_ctrl_c_on_a_terminal_of_its_own(cohort: Cohort, runner: Runner, tmp_path: Path) -> None:
    world = cohort.world(tmp_path)
    process = world.start()
    with ending(process):
        first = stopped(process)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        rest, _ = process.communicate(timeout=PATIENCE)
    assert first.startswith("[1/5] exported")
    assert process.returncode == 130, rest
    assert rest.endswith(f"{SENTENCE}\n")
    assert "Traceback" not in rest
    assert not world.problems()
    cohort.check_finished(world, world.run(runner))


def test_a_second_run_is_refused_and_leaves_the_first_alone(
    cohort: Cohort, runner: Runner, tmp_path: Path
) -> None:
    world = cohort.world(tmp_path)
    process = world.start()
    with ending(process):
        first = stopped(process)
        before = snapshot(tmp_path)
        second = world.run(runner)
        after = snapshot(tmp_path)
        process.send_signal(signal.SIGCONT)
        rest, _ = process.communicate(timeout=PATIENCE)
    assert first.startswith("[1/5] exported")
    assert second.code == 2
    assert second.text == (
        f"Another run is working in {world.out}. Wait for it, or choose another --out.\n"
    )
    assert after == before
    cohort.check_finished(world, replace(second, code=process.returncode, text=first + rest))


def snapshot(folder: Path) -> dict[Path, tuple[int, int]]:
    """Every file and folder with its size and time of change."""
    found = {path: path.stat() for path in folder.rglob("*")}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}
