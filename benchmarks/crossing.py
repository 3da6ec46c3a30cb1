"""What it costs to bring voxels and contours across pythonnet: as blocks, and point by point.

Run ``python benchmarks/crossing.py``: seconds; it needs Mono and the .NET skin of the stub
(``scripts/build-stub``). Only the crossing is timed, not what the stub does behind it, which
says nothing of Eclipse. The table is printed, and written into ``docs/performance.md``.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from page import write_tables

from esapi_stub.build import build
from esapi_stub.sample import Phantom, write_phantom
from stardust_esapi.esapi.clr_backend import ClrBackend
from stardust_esapi.esapi.connect import connect

ROUNDS = 9
SIZE = 512
POINTS = 1000

Way = Callable[[], Any]


def milliseconds(way: Way, repeat: int) -> float:
    began = time.perf_counter()
    for _ in range(repeat):
        way()
    return (time.perf_counter() - began) / repeat * 1e3


def compare(blocks: Way, elements: Way) -> tuple[float, float, float]:
    """Medians of both in ms, and of their ratios; in turns, so that noise hits both."""
    pairs = [(milliseconds(blocks, 20), milliseconds(elements, 1)) for _ in range(ROUNDS)]
    return (
        statistics.median(block for block, _ in pairs),
        statistics.median(element for _, element in pairs),
        statistics.median(element / block for block, element in pairs),
    )


def ways(backend: ClrBackend) -> dict[str, tuple[Way, Way, int]]:
    """What is measured: as blocks, element by element, and how many times faster it shall be."""
    system, types = backend._system, backend._types
    voxels = system.Array.CreateInstance(system.Int32, SIZE, SIZE)
    points = np.random.default_rng(1).uniform(-200, 200, (POINTS, 3))
    vectors = system.Array[types.VVector]([types.VVector(*p) for p in points.tolist()])

    def read_voxels() -> Any:
        return np.array(memoryview(voxels), dtype=np.int32).T

    def read_voxels_one_by_one() -> Any:
        return np.array(list(voxels), dtype=np.int32).reshape(SIZE, SIZE).T

    def read_contour_one_by_one() -> Any:
        return np.array([(p.x, p.y, p.z) for p in vectors])

    assert np.array_equal(read_voxels(), read_voxels_one_by_one())
    assert np.array_equal(backend._read_vectors(vectors), read_contour_one_by_one())
    assert np.array_equal(backend._read_vectors(vectors), points)
    return {
        f"an `int[,]` slice of {SIZE} by {SIZE}, out": (read_voxels, read_voxels_one_by_one, 100),
        f"a contour of {POINTS} points, out": (
            lambda: backend._read_vectors(vectors),
            read_contour_one_by_one,
            4,
        ),
    }


def mono() -> str:
    words = subprocess.run(["mono", "--version"], capture_output=True, text=True, check=True)
    return words.stdout.split()[4]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        write_phantom(Path(name) / "dicom", Phantom("0815", size=(16, 16, 4)))
        build(Path(name) / "dicom", Path(name) / "db")
        backend = connect(f"clr-stub:{Path(name) / 'db'}")
        assert isinstance(backend, ClrBackend)
        lines = [
            f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python "
            f"{sys.version.split()[0]}, Mono {mono()}, median of {ROUNDS} rounds.",
            "",
            "| what crosses | blocks, ms | element by element, ms | times faster | bar |",
            "| --- | ---: | ---: | ---: | --- |",
        ]
        for what, (blocks, elements, bar) in ways(backend).items():
            fast, slow, ratio = compare(blocks, elements)
            met = "met" if ratio >= bar else "**missed**"
            lines.append(f"| {what} | {fast:.3f} | {slow:.1f} | {ratio:.0f} | {bar}, {met} |")
    print("\n".join(lines))
    write_tables("benchmarks/crossing.py", lines)


if __name__ == "__main__":
    main()
