"""A run that loses power at any moment, and with it all that was not synced, loses nothing else."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from esapi_stub.build import build
from esapi_stub.sample import Box, Phantom, PhantomStructure, Sphere, write_phantom
from killing import Result, Runner, World, differences
from power import Disk, traced
from support import row_of, write_case_list

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs strace")

TUMOUR = (-20.0, 10.0, 3.0)
SMALL = Phantom(
    "0815",
    size=(24, 24, 4),
    spacing=(5.0, 5.0, 6.0),
    structures=(
        PhantomStructure("BODY", "EXTERNAL", Box((0, 0, 0), (55, 50, 20)), hu=40),
        PhantomStructure("GTV1", "GTV", Sphere(TUMOUR, 8), hu=75),
        PhantomStructure("PTV1", "PTV", Sphere(TUMOUR, 10)),
    ),
)


@dataclass(frozen=True)
class Traced:
    """A run whose calls were written down.

    Attributes:
        world: What it left.
        before: Its folder as it was before.
        log: The calls.
        result: What the others are compared with.
    """

    world: World
    before: Disk
    log: Path
    result: Result


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner() as started:
        yield started


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    root = tmp_path_factory.mktemp("power")
    patient = write_phantom(root / "dicom", SMALL)
    build(root / "dicom", root / "db")
    cases = write_case_list(root / "cases.csv", [row_of(patient)])
    world = World.make(root / "world", root / "db", cases)
    before = Disk(world.folder, "db")
    ended = traced(world.folder, world.arguments, root / "calls")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return Traced(world, before, root / "calls", world.result())


def test_the_model_of_the_disk_ends_with_what_lies_on_the_real_one(run: Traced) -> None:
    disk = run.before.copy()
    assert list(disk.losses(run.log, names=False))
    real = {
        path.relative_to(run.world.folder).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in run.world.folder.rglob("*")
    }
    assert disk.now() == real


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "which"),
    [(False, slice(0, None, 2)), (False, slice(1, None, 2)), (True, slice(0, None, 6))],
    ids=["nothing unsynced", "nothing unsynced, the others", "names alone"],
)
def test_the_next_run_ends_with_the_same_tree(
    run: Traced, runner: Runner, tmp_path: Path, names: bool, which: slice
) -> None:
    """At every write, where all is lost; ``benchmarks/power_loss.py`` has them all in both ways."""
    found = list(run.before.copy().losses(run.log, names=names))
    assert len(found) >= 60
    for loss in found[which]:
        world = World(tmp_path / "world", run.world.cases, [loss.after])
        world.folder.mkdir()
        loss.lay_out(world.folder)
        wrong = world.problems()
        ended = world.run(runner)
        wrong += world.unfinished() + differences(run.result, world.result())
        assert not wrong, loss.after
        assert ended.code == 0, (loss.after, ended.text)
        shutil.rmtree(world.folder)
