"""How long a case list of 100,000 rows takes, beside plain pandas calls for the same file.

Run ``python benchmarks/case_list.py``.
"""

from __future__ import annotations

import csv
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import openpyxl
import pandas as pd

from stardust_esapi.caselist import read_case_list
from stardust_esapi.caselist.names import LABELS, MINING, TAIL

ROWS = 100_000
REPEATS = 3


def write_list(path: Path) -> None:
    """Write a list as the Case-Selector does: labels come and go, some rows are rejected."""
    chance = random.Random(1)

    def uid() -> str:
        return f"1.2.840.113619.2.55.{chance.randrange(10**12)}.{chance.randrange(1, 10**9)}"

    lines = [";".join((*MINING, LABELS[0], *TAIL))]
    for number in range(ROWS):
        values = {
            "Patient-ID": f"{number:08d}",
            "Nachname": "Nachname",
            "Vorname": "Vorname",
            "SeriesUID": uid(),
            "PlanID": f"Plan{number % 7}",
            "StructureSetID": "CT_1",
            "LastTreated": "03.01.2024 10:11:12",
            "TargetID": "PTV1",
            "GTV": "GTV1",
            "HUavg": f"{chance.random():.4f}",
            "KM_Series_UID": uid() if number % 2 else "",
            "MR_Series_UID": uid() if number % 3 else "",
            "MR_Slices": "180" if number % 3 else "",
            "MRregUID": uid() if number % 3 else "",
        }
        # The header has a label; every other row has none and is one field shorter.
        label = [] if number % 2 else ["met"]
        comment = "abgelehnt, zu alt" if number % 10 == 0 else 'gut; "sehr" gut'
        quoted = f'"{comment.replace(chr(34), chr(34) * 2)}"'
        tail = [*label, quoted, f"2024-01-03 10:{number % 60:02d}:00", "brain", ""]
        lines.append(";".join([*(values.get(name, "") for name in MINING), *tail]))
    path.write_text("\n".join(lines), encoding="utf-8")


def write_workbook(path: Path, csv_path: Path) -> None:
    """Write the same list as a workbook, every cell a text."""
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    with csv_path.open(encoding="utf-8", newline="") as lines:
        for row in csv.reader(lines, delimiter=";"):
            sheet.append(row)
    book.save(path)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(path: Path, plain: dict[str, Callable[[], object]]) -> None:
    """Print how long our reader and others take for a file, and how many times as long ours is."""
    cases = read_case_list(path)
    print(f"{path.suffix}: {ROWS} rows, {len(cases.cases)} cases, {cases.rejected} rejected")
    work = {"read_case_list": lambda: read_case_list(path), **plain}
    # In turns, so that a busy moment of the machine hits them all.
    turns = [[seconds(read) for read in work.values()] for _ in range(REPEATS)]
    taken = {
        name: sorted(times) for name, times in zip(work, zip(*turns, strict=True), strict=True)
    }
    ours = statistics.median(taken["read_case_list"])
    for name, times in taken.items():
        ratio = ours / statistics.median(times)
        print(f"  {name:28} {times[0]:6.2f} to {times[-1]:6.2f} s   ours / this {ratio:5.2f}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cases.csv"
        write_list(path)
        compare(path, {"pandas.read_csv": lambda: pd.read_csv(path, dtype=str, sep=";")})
        book = path.with_suffix(".xlsx")
        write_workbook(book, path)
        engines: tuple[Literal["calamine", "openpyxl"], ...] = ("calamine", "openpyxl")
        compare(
            book,
            {
                f"pandas.read_excel, {engine}": partial(
                    pd.read_excel, book, dtype=str, engine=engine
                )
                for engine in engines
            },
        )


if __name__ == "__main__":
    main()
