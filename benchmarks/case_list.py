"""How long a case list of 100,000 rows takes, beside a plain ``pandas.read_csv`` of the same file.

Run ``python benchmarks/case_list.py``.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

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


def seconds(work: object) -> float:
    started = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cases.csv"
        write_list(path)
        cases = read_case_list(path)
        print(
            f"{len(cases.cases)} cases, {cases.rejected} rejected, {len(cases.problems)} problems"
        )
        plain, ours = (
            sorted(seconds(work) for _ in range(REPEATS))
            for work in (
                lambda: pd.read_csv(path, dtype=str, sep=";"),
                lambda: read_case_list(path),
            )
        )
        print(f"pandas.read_csv {plain[0]:.2f}-{plain[-1]:.2f} s")
        print(f"read_case_list  {ours[0]:.2f}-{ours[-1]:.2f} s for {ROWS} rows")
        print(f"ratio           {ours[0] / plain[0]:.1f}")


if __name__ == "__main__":
    main()
