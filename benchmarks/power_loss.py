"""Cut the power after every write of an export, a transfer, a dataset; the next run ends the same.

Run ``python benchmarks/power_loss.py``; it needs Linux and strace. ``tests/power.py`` says what a
power loss takes away, and what it leaves in this model.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from esapi_stub.build import build
from esapi_stub.daemon import Daemon
from esapi_stub.sample import write_sample

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from dicom_peers import LOOPBACK, OUR_AET, free_port
from killing import Ended, Runner, Transfer, World, differences
from power import Disk, traced


@dataclass(frozen=True)
class Work:
    """One command, and how its end is judged.

    Attributes:
        name: What it is called.
        folder: The folder it works in, as it is before it.
        arguments: The command line.
        safe: What lies in the folder and belongs to another computer.
        judge: What is wrong with a folder after a run in it, compared with the undisturbed one.
    """

    name: str
    folder: Path
    arguments: list[str]
    safe: str
    judge: Callable[[Path, Ended], list[str]]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".in-use"
    }


def cut(work: Work, runner: Runner, most: int) -> tuple[int, list[str]]:
    """Cut the power everywhere or at so many places; gives their number and what is wrong."""
    log = work.folder.with_name(f"{work.name}.calls")
    disk = Disk(work.folder, work.safe)
    done = traced(work.folder, work.arguments, log)
    print(f"{work.name}: {done.stdout.strip().splitlines()[-2:]}", flush=True)
    wrong: list[str] = []
    count = 0
    for names in (False, True):
        losses = list(disk.copy().losses(log, names=names))
        chosen = losses[:: max(1, len(losses) // most)]
        for loss in chosen:
            folder = work.folder.with_name("cut")
            folder.mkdir()
            loss.lay_out(folder)
            ended = runner.run(folder, work.arguments)
            found = work.judge(folder, ended)
            wrong += [f"{work.name}, after {loss.after}: {one}" for one in found]
            shutil.rmtree(folder)
        count += len(chosen)
        kept = "names alone survive" if names else "nothing unsynced survives"
        print(f"{work.name}: {kept}: {len(losses)} states, {len(chosen)} cut", flush=True)
    return count, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--patients", type=int, default=3)
    parser.add_argument("--most", type=int, default=10**6, help="states of each sort to cut at")
    wanted = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name, Runner() as runner:
        root = Path(name)
        cases = write_sample(root, patients=wanted.patients)
        build(root / "dicom", root / "db")
        world = World.make(root / "export", root / "db", cases)

        def judged(whole: World) -> Callable[[Path, Ended], list[str]]:
            def judge(folder: Path, ended: Ended) -> list[str]:
                one = replace(whole, folder=folder)
                found = one.unfinished() + differences(whole.result(), one.result())
                return found if ended.code in (0, 1) else [*found, ended.text]

            return judge

        cuts, wrong = cut(
            Work("export", world.folder, world.arguments, "db", judged(world)), runner, wanted.most
        )

        db, port = world.folder / "db", free_port()
        moved = Transfer.make(root / "transfer", db, world.out / "export_list.csv")
        with Daemon(db, destinations={OUR_AET: (LOOPBACK, port)}) as peer:
            moved.network = ("--peer", f"VMSDBD1@{LOOPBACK}:{peer.port}", "--port", str(port))
            more, also = cut(
                Work("transfer", moved.folder, moved.arguments, "db", judged(moved)),
                runner,
                wanted.most,
            )
        cuts, wrong = cuts + more, wrong + also

        second = root / "dataset"
        shutil.copytree(world.out, second / "out")
        # Another key, made anew after a loss, would give other pseudonyms.
        (second / "set.key").write_text("00112233445566778899aabbccddeeff" * 2 + "\n")
        arguments = ["dataset", "--from", "out", "--out", "set", "--workers", "1"]
        more, also = cut(
            Work(
                "dataset",
                second,
                arguments,
                "out",
                lambda folder, _: different(contents(second), contents(folder)),
            ),
            runner,
            wanted.most,
        )
    seconds = time.monotonic() - began
    print(f"{cuts + more} power losses, {len(wrong + also)} without a good end, {seconds:.0f} s")
    print("\n".join(wrong + also))
    sys.exit(bool(wrong + also))


def different(expected: dict[str, bytes], found: dict[str, bytes]) -> list[str]:
    return [
        f"{name} differs"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]


if __name__ == "__main__":
    main()
