"""The output folder is this run's alone, and what it writes and removes lies in it."""

from __future__ import annotations

import os
import subprocess
import sys
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


@pytest.mark.skipif(os.name == "nt", reason="permissions of Linux")
@pytest.mark.parametrize("made", [True, False])
def test_the_folder_of_another_user_is_refused(tmp_path: Path, made: bool) -> None:
    shared = tmp_path / "shared"
    out = shared / "out"
    (out if made else shared).mkdir(parents=True)
    for folder in filter(Path.exists, (out, shared)):
        folder.chmod(0o555)
    as_one_who_may_not_all: list[str] = []
    if os.geteuid() == 0:  # whom no permissions stop, as long as these capabilities are held
        rights = ",".join(f"-{right}" for right in ("dac_override", "dac_read_search"))
        as_one_who_may_not_all = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
    claim = (
        "from stardust_esapi.job.workspace import claimed; claimed(Path(sys.argv[1])).__enter__()"
    )
    done = subprocess.run(
        [
            *as_one_who_may_not_all,
            *(sys.executable, "-c", f"import sys; from pathlib import Path; {claim}", out),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    for folder in filter(Path.exists, (out, shared)):
        folder.chmod(0o755)
    refused = out / ".lock" if made else out
    assert done.stderr.splitlines()[-1] == (
        f"stardust_esapi.errors.UsageError: You may not write to --out {out}: Permission denied "
        f"({refused}). Ask who made it for the right to, or choose another."
    )
    assert not list(shared.rglob("*.lock"))
