"""Kill an export of a larger cohort again and again; each one must end like an undisturbed run.

Run ``python benchmarks/kill_cohort.py``; it needs POSIX. After every kill what lies in the output
folder is verified, and what a run that ended by itself leaves is compared with the undisturbed one.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from esapi_stub.build import build
from esapi_stub.sample import write_sample

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from killing import Runner, World, differences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--patients", type=int, default=20)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    chance = random.Random(wanted.seed)
    wrong: list[str] = []
    places: Counter[str] = Counter()
    worlds = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name, Runner() as runner:
        root = Path(name)
        cases = write_sample(root, patients=wanted.patients)
        build(root / "dicom", root / "db")
        undisturbed = World.make(root / "undisturbed", root / "db", cases)
        plain = undisturbed.run(runner)
        expected = undisturbed.result()
        counted = World.make(root / "counted", root / "db", cases)
        points = counted.run(runner, point=0).points
        wrong += differences(expected, counted.result())
        print(plain.text)
        print(f"undisturbed: {plain.seconds:.1f} s, {points} points to be killed at")
        while places.total() < wanted.kills:
            world = World.make(root / "world", root / "db", cases)
            worlds += 1
            while True:
                if chance.random() < 0.5:
                    ended = world.run(runner, point=chance.randint(1, int(points * world.stretch)))
                else:
                    after = chance.uniform(0, plain.seconds * world.stretch)
                    ended = world.run(runner, after=after)
                if ended.code != -signal.SIGKILL:
                    break
                call, *lines = ended.where.split(" < ")
                place = f"{call} at {lines[0]}" if lines else "at a random time"
                places[place] += 1
                found = world.problems()
                wrong += [f"{problem}; {world.history}" for problem in found]
                print(f"world {worlds}, kill {places.total()}: {place}, {len(found)} problems")
            found = [] if ended.code == plain.code else [f"exit code {ended.code}: {ended.text}"]
            found += world.unfinished() + differences(expected, world.result())
            wrong += [f"{problem}; {world.history}" for problem in found]
            print(f"world {worlds} ended by itself after {len(world.history)} kills")
            shutil.rmtree(world.folder)
    print()
    for place, count in places.most_common():
        print(f"{count:5d} {place}")
    seconds = time.monotonic() - began
    print(f"{places.total()} kills in {worlds} worlds, seed {wanted.seed}, {seconds:.0f} s")
    print("\n".join(wrong) if wrong else "Every one ended like the undisturbed run.")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
