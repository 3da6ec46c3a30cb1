"""The output folder is this run's alone, and what it writes and removes lies in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stardust_esapi.errors import UsageError
from stardust_esapi.job.workspace import claimed


@pytest.mark.parametrize(
    "place",
    [
        ".staging", "CT_Export", "CT_Export/0042", ".staging/case-CT", "logs", ".lock",
        "Output_Log.csv", "CT_Export/file",
    ],
)  # fmt: skip
@pytest.mark.parametrize("target", ["folder", "file", "nowhere"])
def test_a_planted_link_is_refused(tmp_path: Path, place: str, target: str) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    (outside / "folder").mkdir()
    (outside / "file").write_text("precious")
    link = out / place
    link.parent.mkdir(parents=True)
    link.symlink_to(outside / target)
    before = sorted(out.rglob("*"))
    with pytest.raises(UsageError, match="is a link") as caught, claimed(out):
        pass
    assert str(link) in str(caught.value)
    assert sorted(out.rglob("*")) == before
    assert (outside / "file").read_text() == "precious"


def test_the_output_folder_itself_may_be_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    for _ in range(2):
        with claimed(tmp_path / "out"):
            (tmp_path / "out" / "CT_Export" / "0042").mkdir(parents=True, exist_ok=True)
