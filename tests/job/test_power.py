"""A run that loses power at any moment, and with it all that was not synced, loses nothing else."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dicom_peers import LOOPBACK, OUR_AET, free_port
from esapi_stub.build import build
from esapi_stub.daemon import Daemon
from esapi_stub.sample import Box, Phantom, PhantomStructure, Sphere, write_phantom
from killing import Result, Runner, Transfer, World, differences
from power import Disk, traced
from support import PATIENCE, row_of, write_case_list

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
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STARDUST_NETWORK__TIMEOUT", str(PATIENCE))
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


@pytest.mark.parametrize(
    "strace",
    ["", "#!/bin/sh\necho PTRACE_TRACEME: not permitted >&2; exit 1\n"],
    ids=["not there", "not allowed"],
)
def test_without_strace_a_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strace: str
) -> None:
    if strace:
        (tmp_path / "strace").write_text(strace)
        (tmp_path / "strace").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"(No such file|not permitted)(.|\n)*Install it"):
        traced(tmp_path, ["--version"], tmp_path / "calls")


def on_disk(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


def test_the_model_of_the_disk_ends_with_what_lies_on_the_real_one(run: Traced) -> None:
    disk = run.before.copy()
    assert list(disk.losses(run.log, names=False))
    assert disk.now() == on_disk(run.world.folder)


def test_a_transfer_goes_on_after_a_power_loss(run: Traced, runner: Runner, tmp_path: Path) -> None:
    """At a few places, by either model; ``benchmarks/power_loss.py`` has them all."""
    db, ready = run.world.folder / "db", run.world.out / "export_list.csv"
    port = free_port()
    whole = Transfer.make(tmp_path / "whole", db, ready)
    before = Disk(whole.folder, "db")
    with Daemon(db, destinations={OUR_AET: (LOOPBACK, port)}) as peer:
        whole.network = ("--peer", f"VMSDBD1@{LOOPBACK}:{peer.port}", "--port", str(port))
        ended = traced(whole.folder, whole.arguments, tmp_path / "calls")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        found = list(before.copy().losses(tmp_path / "calls", names=False))
        named = list(before.losses(tmp_path / "calls", names=True))
        assert before.now() == on_disk(whole.folder)
        assert len(found) >= 50
        for loss in found[::10] + named[::25]:
            cut = replace(whole, folder=tmp_path / "cut")
            cut.folder.mkdir()
            loss.lay_out(cut.folder)
            wrong = cut.problems()
            again = cut.run(runner)
            wrong += cut.unfinished() + differences(whole.result(), cut.result())
            assert not wrong, loss.after
            assert again.code == 0, (loss.after, again.text)
            shutil.rmtree(cut.folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "which"),
    [(False, slice(0, None, 3)), (True, slice(1, None, 9))],
    ids=["nothing unsynced", "names alone"],
)
def test_the_next_run_ends_with_the_same_tree(
    run: Traced, runner: Runner, tmp_path: Path, names: bool, which: slice
) -> None:
    """At many writes; ``benchmarks/power_loss.py`` has them all in both ways."""
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
