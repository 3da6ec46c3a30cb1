"""A review's folder taken apart, and decisions as its page saves them."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def listed(folder: Path) -> list[dict[str, Any]]:
    """The cases of a review's page."""
    page = (folder / "review.html").read_text(encoding="utf-8")
    found = re.search(r"^const cases = (.*);$", page, re.MULTILINE)
    assert found
    return json.loads(found[1])


def columns(folder: Path) -> list[str]:
    page = (folder / "review.html").read_text(encoding="utf-8")
    found = re.search(r"^const columns = (.*);$", page, re.MULTILINE)
    assert found
    return json.loads(found[1])


def article(folder: Path, row: int = 2) -> str:
    """What is shown of the case in a row."""
    [one] = [case for case in listed(folder) if case["row"] == row]
    text = (folder / "cases" / f"{one['file']}.js").read_text(encoding="utf-8")
    found = re.fullmatch(r'shown\("(\w+)", (".*")\);\n', text)
    assert found
    assert found[1] == one["file"]
    return json.loads(found[2])


def pictures(folder: Path, row: int = 2) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """Grey levels and what lies over them (RGBA), by kind and plane."""
    found = {}
    for kind, section in re.findall(
        r'data-kind="(\w+)">(.*?)</section>', article(folder, row), re.DOTALL
    ):
        for image, over, plane in re.findall(
            r'<img src="([^"]+)".*?<img class="over" src="([^"]+)".*?<figcaption>(\w+)<',
            section,
            re.DOTALL,
        ):
            found[kind, plane] = _pixels(image), _pixels(over)
    return found


def _pixels(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data))).astype(float)


def decide(path: Path, folder: Path, decisions: Mapping[int, str], **changes: str) -> Path:
    """Save decisions by row, ``accept`` or the reason of a rejection, as the page does."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, columns(folder), delimiter=";")
        writer.writeheader()
        for case in listed(folder):
            if not case["file"]:
                continue
            said = decisions.get(case["row"], "")
            what = said and ("accept" if said == "accept" else "reject")
            own = [*case["cells"], what, "" if what == "accept" else said]
            own += ["Dr. Probe" if what else "", "2026-01-01T10:00:00Z" if what else ""]
            row = dict(zip(columns(folder), [*own, case["key"], case["state"]], strict=True))
            writer.writerow(row | changes)
    return path
