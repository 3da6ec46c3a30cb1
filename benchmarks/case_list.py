"""How long a case list of 100,000 rows takes, beside plain pandas calls for the same file.

The list is what the Case-Selector leaves of a list of the mining's: numbers for patient ids,
``nan`` for empty cells, a casekind in some rows and not in others. The workbook is made of it by
pandas, as the Case-Selector does.

Run ``python benchmarks/case_list.py``.
"""

from __future__ import annotations

import csv
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import pandas as pd

from stardust_esapi.caselist import read_case_list
from stardust_esapi.caselist.column_names import MINING, TAIL

ROWS = 100_000
REPEATS = 3
KINDS = ("BC", "Glio", "Lunge", "Metastase-Kopf", "Sonstiges")


def write_list(path: Path) -> None:
    """Write a list as the Case-Selector does: some rows are labelled, some rejected."""
    chance = random.Random(1)

    def uid() -> str:
        return f"1.2.840.113619.2.55.{chance.randrange(10**12)}.{chance.randrange(1, 10**9)}"

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow([*MINING, *TAIL[:3]])
        for number in range(ROWS):
            plan, km, mr = f"Plan{number % 7}", number % 2, number % 3
            volume = round(chance.uniform(40, 400), 4)
            mined = {
                "Patient-ID": number + 1,
                "Nachname": "Nachname",
                "Vorname": "Vorname",
                "Series": "CT Becken",
                "SeriesUID": uid(),
                "PlanID": plan,
                "Fx": 7,
                "GD": 14.0,
                "ED": 2.0,
                "StructureSetID": "CT_1",
                "LastTreated": 20240103,
                "TargetID": "PTV1",
                "TargetVolume": volume * 3,
                "GTV#>10GyAndInPTV": 1,
                "GTV": "GTV1",
                "GTV-Volume": volume,
                "HUavg": round(chance.uniform(20, 60), 2),
                "HU StdDev": 12.1,
                "RelVarHU": "34.38 %",
                "PNG_Path": rf"\\server\middleSlices\{number + 1:08d}_{plan}_PTV1_GTV1.png",
                "KM_Series_UID": uid() if km else math.nan,
                "KM_Series_Comment": "CT KM" if km else math.nan,
                "MR_Series_UID": uid() if mr else math.nan,
                "MR_Slices": 180 if mr else 0,
                "MR_Series_Comment": "t1 tra" if mr else math.nan,
                "MRregUID": uid() if mr else math.nan,
                "OtherGTV": "GTV1, ",
            }
            comment = "abgelehnt - zu alt" if number % 10 == 0 else 'gut; "sehr" gut'
            kind = [KINDS[number % 5]] if number % 2 else []
            writer.writerow([*mined.values(), comment, "2026-01-05 10:20:30", *kind])


def write_workbook(path: Path, csv_path: Path) -> None:
    """Write the same list as a workbook, as the Case-Selector does."""
    pd.read_csv(csv_path, delimiter=";", encoding="utf-8").to_excel(path, index=False)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(path: Path, plain: dict[str, Callable[[], object]]) -> None:
    """Print how long our reader and others take for a file, and how many times as long ours is."""
    cases = read_case_list(path)
    print(f"{path.suffix}: {ROWS} rows, {len(cases.cases)} cases, {len(cases.rejected)} rejected")
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
