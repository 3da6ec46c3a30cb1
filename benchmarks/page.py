"""Where the benchmarks put their tables: ``docs/performance.md``, between markers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def write_tables(benchmark: str, lines: Iterable[str]) -> None:
    """Replace what stands between the markers of a benchmark (``benchmarks/transfer.py``)."""
    begin, end = f"<!-- {benchmark} begins -->", f"<!-- {benchmark} ends -->"
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{PAGE} lacks the markers {begin} and {end}")
    text = "\n".join([f"{before}{begin}", "", *lines, "", f"{end}{after}"])
    PAGE.write_text(text, encoding="utf-8")
