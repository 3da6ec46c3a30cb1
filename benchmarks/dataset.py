"""From DICOM to masks and training files: ours beside rt-utils, dcmrtstruct2nii and plastimatch.

Run ``python benchmarks/dataset.py``: some minutes; it needs Linux and plastimatch (Debian), and
puts rt-utils and dcmrtstruct2nii into a virtual environment of their own. All read the same CT of
200 slices with 10 structures, each in a process of its own. The tables are printed, and written
into ``docs/performance.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from page import write_tables

ROOT = Path(__file__).parents[1]
RIVALS = ROOT / "build" / "benchmark-dataset"
SLICES = 200
MASKS, WHOLE = "masks", "whole conversion"


@dataclass(frozen=True)
class Taken:
    """Seconds of the work, and of the process with its start; its peak memory (VmHWM), MB."""

    seconds: float
    process: float
    memory: float


# --- the case ------------------------------------------------------------------------------------


def make_case(folder: Path) -> None:
    """A CT with noise in a body, and a structure set; images alone, and images with the set."""
    sys.path.insert(0, str(ROOT / "tests"))
    import numpy as np

    from dataset_series import Ball, Torus, contours, grid, write_series, write_structures

    geometry = grid(spacing=(0.977, 0.977, 2.0), size=(512, 512, SLICES), centre=(0, 0, 0))
    rows, columns = np.mgrid[-255.5:256, -255.5:256] * 0.977
    inside = (columns / 190) ** 2 + (rows / 120) ** 2 < 1
    chance = np.random.default_rng(1)

    def values(plane: int) -> np.ndarray:
        noise = np.random.default_rng(plane).normal(0, 20, (512, 512))
        return np.where(inside, 40 + noise, -1000 + noise / 4).astype(np.int32)

    # The others want the images alone.
    images, case = folder / "images", folder / "case"
    series = write_series(images, geometry, values)
    bodies = {
        "gtv+": Ball((-60, 20, 10), 18),
        "target+": Ball((-60, 20, 10), 27),
        "Lung L": Ball((80, 0, 20), 75),
        "Lung R": Ball((-80, 0, 20), 75),
        "Heart": Ball((20, -30, -30), 45),
        "Liver": Ball((-70, -10, -110), 70),
        "Vessel": Torus((0, 40, 0), 60, 12, np.eye(3)),
        "Bowel": Torus((10, 0, -130), 50, 14, np.eye(3), standing=True),
        "Node": Ball((110, 40, 90), 9),
        "Stomach": Ball((60, -20, -90), 50),
    }

    def thinned(points: np.ndarray) -> np.ndarray:
        around = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
        return points[:: max(1, len(points) // max(16, int(around)))]

    drawn = {}
    for name, body in bodies.items():
        # A vertex a millimetre; sections that are not quite concentric.
        drawn[name] = {
            plane: [np.add(thinned(one), (*chance.normal(0, 0.3, 2), 0)) for one in polygons]
            for plane, polygons in contours(body, geometry).items()
        }
    path = write_structures(folder, series, drawn)
    path.rename(folder / "RS.dcm")
    shutil.copytree(images, case, copy_function=os.link)
    shutil.copy(folder / "RS.dcm", case / "RS.dcm")


# --- what is compared ----------------------------------------------------------------------------


def our_masks(root: Path, _: Path) -> dict[str, Any]:
    from stardust_esapi.dicom.read_series import read_stack
    from stardust_esapi.dicom.read_structure_set import read_structures
    from stardust_esapi.mask import rasterise

    stack = read_stack(root / "case")
    rois = read_structures(root / "case" / "RS.dcm").rois
    return {roi.name: rasterise(roi.contours, stack) for roi in rois}


def our_whole(root: Path, out: Path) -> None:
    from stardust_esapi.dataset.convert import convert
    from stardust_esapi.dataset.pseudonym import Pseudonyms
    from stardust_esapi.dataset.tasks import Task
    from stardust_esapi.model import Kind
    from stardust_esapi.settings import Dataset

    task = Task("0123456789abcdef", Kind.CT, "0815", root / "case", root / "case")
    entry = convert(task, Dataset(), Pseudonyms(b"k" * 32), out)
    if not entry.created:
        raise SystemExit("; ".join(entry.reasons))


def rt_utils_masks(root: Path, _: Path) -> dict[str, Any]:
    from rt_utils import RTStructBuilder

    structures = RTStructBuilder.create_from(
        dicom_series_path=str(root / "images"), rt_struct_path=str(root / "RS.dcm")
    )
    return {name: structures.get_roi_mask_by_name(name) for name in structures.get_roi_names()}


def dcmrtstruct2nii_whole(root: Path, out: Path) -> None:
    from dcmrtstruct2nii import dcmrtstruct2nii

    dcmrtstruct2nii(str(root / "RS.dcm"), str(root / "images"), str(out))


# Imported before the clock starts: a worker imports once for all its cases.
IMPORTS: dict[Callable[[Path, Path], object], list[str]] = {
    our_masks: ["stardust_esapi.mask", "stardust_esapi.dicom.read_structure_set"],
    our_whole: ["stardust_esapi.dataset.convert", "PIL.Image"],
    rt_utils_masks: ["rt_utils"],
    dcmrtstruct2nii_whole: ["dcmrtstruct2nii"],
}
WORK = {work.__name__: work for work in IMPORTS}


def be_child(name: str, root: Path, out: Path, keep: bool) -> None:
    import importlib

    for module in IMPORTS[WORK[name]]:
        importlib.import_module(module)
    started = time.perf_counter()
    masks = WORK[name](root, out)
    told = {"seconds": time.perf_counter() - started, "memory": peak("self")}
    if keep and masks:
        import numpy as np

        # rt-utils has the slices last.
        np.savez_compressed(
            out / "masks.npz", **{k: np.moveaxis(v, -1, 0) for k, v in masks.items()}
        )
    print(json.dumps(told))


def peak(process: int | str) -> float:
    """Most memory that a process has had, MB. Not getrusage: it begins with the parent's peak."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def python(interpreter: str | Path, name: str, root: Path, out: Path, keep: bool = False) -> Taken:
    started = time.perf_counter()
    command = [interpreter, __file__, "--child", name, "--root", root, "--out", out]
    done = subprocess.run(
        [*map(str, command), *(["--keep"] if keep else [])],
        capture_output=True,
        text=True,
        check=False,
    )
    process = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return Taken(told["seconds"], process, told["memory"])


def plastimatch(root: Path, out: Path) -> Taken:
    command = ["plastimatch", "convert", "--input", root / "RS.dcm"]
    command += ["--referenced-ct", root / "images", "--output-img", "image.nii.gz"]
    command += ["--output-prefix", "masks", "--prefix-format", "nii.gz", "--xor-contours"]
    started = time.perf_counter()
    running = subprocess.Popen([*map(str, command)], cwd=out, stdout=subprocess.DEVNULL)
    memory = 0.0
    while running.poll() is None:  # VmHWM only rises: a look every 10 ms misses next to nothing
        try:
            memory = max(memory, peak(running.pid))
        except (OSError, IndexError):  # between its end and our noticing it
            break
        time.sleep(0.01)
    if running.wait():
        raise SystemExit("plastimatch failed")
    seconds = time.perf_counter() - started
    return Taken(seconds, seconds, memory)


@dataclass(frozen=True)
class Method:
    """One way to do a job."""

    name: str
    job: str
    run: Callable[[Path, Path], Taken]
    ours: bool = False


def all_methods(rivals: Path) -> list[Method]:
    def child(interpreter: str | Path, name: str) -> Callable[[Path, Path], Taken]:
        return lambda root, out: python(interpreter, name, root, out)

    return [
        Method("**ours**", MASKS, child(sys.executable, "our_masks"), ours=True),
        Method("rt-utils", MASKS, child(rivals, "rt_utils_masks")),
        Method("**ours**, NPZ", WHOLE, child(sys.executable, "our_whole"), ours=True),
        Method("plastimatch, NIfTI", WHOLE, plastimatch),
        Method("dcmrtstruct2nii, NIfTI", WHOLE, child(rivals, "dcmrtstruct2nii_whole")),
    ]


def rivals_python() -> Path:
    """The interpreter of the environment that holds the other programs; made when missing."""
    interpreter = RIVALS / "bin" / "python"
    if not interpreter.exists():
        subprocess.run([sys.executable, "-m", "venv", str(RIVALS)], check=True)
        wanted = ["rt-utils==1.2.7", "dcmrtstruct2nii==5", "opencv-python-headless", "pydicom<3"]
        subprocess.run([str(interpreter), "-m", "pip", "-q", "install", *wanted], check=True)
    return interpreter


# --- do they do the same? ------------------------------------------------------------------------


def agreement(root: Path, rivals: Path) -> Iterator[str]:
    """Dice of each mask of ours with each of the others'."""
    import numpy as np
    import SimpleITK

    from stardust_esapi.dicom.read_series import read_stack

    stack = read_stack(root / "case")
    ours = {name: mask.full(stack.shape) for name, mask in our_masks(root, root).items()}

    def key(name: str) -> str:
        return re.sub("[^a-z]", "", name.lower())

    def files(folder: Path) -> dict[str, Any]:
        masks = {}
        for path in folder.rglob("*.nii.gz"):
            if not path.name.startswith("image"):
                values = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))
                masks[key(path.name.removesuffix(".nii.gz").removeprefix("mask_"))] = values > 0
        return masks

    def arrays(folder: Path) -> dict[str, Any]:
        with np.load(folder / "masks.npz") as read:
            return {key(name): read[name] for name in read}

    theirs = {}
    for name, run, load in (
        ("rt-utils", lambda o: python(rivals, "rt_utils_masks", root, o, keep=True), arrays),
        ("plastimatch", lambda o: plastimatch(root, o), files),
        ("dcmrtstruct2nii", lambda o: python(rivals, "dcmrtstruct2nii_whole", root, o), files),
    ):
        out = root / "out"
        out.mkdir()
        run(out)
        theirs[name] = load(out)
        shutil.rmtree(out)
    yield f"| Dice of our masks with | ml | {' | '.join(theirs)} |"
    yield f"| --- | ---: {'| ---: ' * len(theirs)}|"
    volume = float(np.prod(stack.geometry.spacing)) / 1000
    for name, mine in ours.items():
        cells = []
        for masks in theirs.values():
            other = masks[key(name)]
            cells.append(f"{2 * (mine & other).sum() / (mine.sum() + other.sum()):.4f}")
        yield f"| {name} | {mine.sum() * volume:.1f} | {' | '.join(cells)} |"


# --- the measurement -----------------------------------------------------------------------------

Results = dict[str, list[Taken]]


def measure(methods: list[Method], root: Path, repeat: int) -> Results:
    """Let the methods take turns, so that a busy moment of the machine hits them all."""
    results: Results = {method.name: [] for method in methods}
    for turn in range(repeat):
        for method in methods:
            out = root / "out"
            out.mkdir()
            os.sync()
            taken = method.run(root, out)
            shutil.rmtree(out)
            results[method.name].append(taken)
            print(
                f"round {turn + 1}: {taken.seconds:7.2f} s ({taken.process:.2f} s) "
                f"{taken.memory:5.0f} MB  {method.job}: {method.name}",
                flush=True,
            )
    return results


def table(methods: list[Method], results: Results) -> Iterator[str]:
    yield "| job | by | s | with its start, s | times ours | memory, MB | memory / ours |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for method in methods:
        mine = own(methods, method.job)
        taken = results[method.name]
        yield (
            f"| {method.job} | {method.name} "
            f"| {statistics.median(t.seconds for t in taken):.2f} "
            f"| {statistics.median(t.process for t in taken):.2f} "
            f"| {ratio(results, method, mine):.1f} "
            f"| {most(taken):.0f} | {most(taken) / most(results[mine.name]):.2f} |"
        )


def own(methods: list[Method], job: str) -> Method:
    return next(method for method in methods if method.ours and method.job == job)


def ratio(results: Results, method: Method, mine: Method) -> float:
    """How many times as long as ours it took: the median over the rounds."""
    pairs = zip(results[method.name], results[mine.name], strict=True)
    return statistics.median(theirs.seconds / ours.seconds for theirs, ours in pairs)


def most(taken: list[Taken]) -> float:
    return max(one.memory for one in taken)


def bars(methods: list[Method], results: Results) -> Iterator[str]:
    """What was promised, and whether it is so."""
    yield "| bar | measured | met |"
    yield "| --- | --- | --- |"
    for method in methods:
        if not method.ours:
            times = ratio(results, method, own(methods, method.job))
            met = "yes" if times >= 5 else "**no**"
            bar = f"{method.job}: at least 5 times faster than {method.name}"
            yield f"| {bar} | {times:.1f} | {met} |"
    for job in (MASKS, WHOLE):
        leanest = min(
            (m for m in methods if m.job == job and not m.ours), key=lambda m: most(results[m.name])
        )
        share = most(results[own(methods, job).name]) / most(results[leanest.name])
        met = "yes" if share <= 1 else "**no**"
        yield f"| {job}: no more memory than the leanest ({leanest.name}) | {share:.2f} | {met} |"


def versions() -> str:
    from importlib.metadata import version

    words = subprocess.run(
        ["plastimatch", "--version"], capture_output=True, text=True, check=False
    )
    return (
        f"{os.cpu_count()} cores, Linux {os.uname().release.partition('-')[0]}, "
        f"Python {sys.version.split()[0]}, numpy {version('numpy')}, pydicom {version('pydicom')}, "
        f"rt-utils 1.2.7, dcmrtstruct2nii 5, {words.stdout.strip() or 'plastimatch'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=3, help="rounds")
    parser.add_argument("--quick", action="store_true", help="1 round, no page")
    for name in ("--child", "--root", "--out"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.child:
        be_child(wanted.child, Path(wanted.root), Path(wanted.out), wanted.keep)
        return
    if shutil.which("plastimatch") is None:
        raise SystemExit("plastimatch is missing. Run: apt-get install plastimatch")
    rivals = rivals_python()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_case(root)
        methods = all_methods(rivals)
        results = measure(methods, root, 1 if wanted.quick else wanted.repeat)
        same = list(agreement(root, rivals))
    lines = [
        f"{SLICES} slices of 512 by 512, 10 structures; {versions()}.",
        "",
        *bars(methods, results),
        "",
        *table(methods, results),
        "",
        *same,
    ]
    print("\n".join(lines))
    if not wanted.quick:
        write_tables("benchmarks/dataset.py", lines)


if __name__ == "__main__":
    main()
