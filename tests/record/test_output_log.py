from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stardust_esapi.record.output_log import CUT_OFF, OutputLog
from support import ending

HEADER = b"Patient-ID;SeriesUID;StructureSetID;Status\r\n"
cells = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


def rows_of(path: Path) -> list[list[str]]:
    text = path.read_text(encoding="utf-8-sig")
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=";"))


def test_a_new_log_has_the_old_form(tmp_path: Path) -> None:
    log = OutputLog(tmp_path)
    log.append("0042", "1.2.3", "CT_1", "exported")
    log.append("=1+1", "", "a;b", 'said "no"')
    assert log.path.read_bytes() == (
        HEADER + b'0042;1.2.3;CT_1;exported\r\n\'=1+1;;"a;b";"said ""no"""\r\n'
    )


def test_it_goes_on_where_an_earlier_run_ended(tmp_path: Path) -> None:
    OutputLog(tmp_path).append("1", "2", "3", "failed")
    OutputLog(tmp_path).append("1", "2", "3", "exported")
    assert [row[-1] for row in rows_of(tmp_path / "Output_Log.csv")] == [
        "Status",
        "failed",
        "exported",
    ]


def test_a_log_of_the_old_program_is_not_touched(tmp_path: Path) -> None:
    old = b"\xef\xbb\xbf" + HEADER + "Müller;1.2;CT;Export OK\r\n".encode()
    (tmp_path / "Output_Log.csv").write_bytes(old)
    OutputLog(tmp_path).append("1", "2", "3", "exported")
    assert (tmp_path / "Output_Log.csv").read_bytes() == old + b"1;2;3;exported\r\n"


@given(st.tuples(cells, cells, cells, cells))
def test_any_text_stays_one_line_of_four_cells(tmp_path_factory, row) -> None:
    root = tmp_path_factory.mktemp("log")
    OutputLog(root).append(*row)
    OutputLog(root).append("1", "2", "3", "next")
    assert len((root / "Output_Log.csv").read_text(encoding="utf-8").splitlines()) == 3
    written = rows_of(root / "Output_Log.csv")[1:]
    assert len(written[0]) == 4
    assert written[1] == ["1", "2", "3", "next"]
    if all(cell.isprintable() for cell in row):
        for cell, there in zip(row, written[0], strict=True):
            assert there in (cell, f"'{cell}")
            assert not there.startswith(("=", "+", "-", "@"))


def test_a_row_cut_anywhere_is_mended_and_nothing_before_it_lost(tmp_path: Path) -> None:
    log = OutputLog(tmp_path)
    log.append("0042", "1.2.3", 'C"T;1', "exported")
    whole = log.path.read_bytes()
    log.append("Jörg", "4.5.6", 'a;"b', "failed: no GTV")
    for length in range(len(log.path.read_bytes())):
        content = log.path.read_bytes()[:length]
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / "Output_Log.csv").write_bytes(content)
        OutputLog(folder).append("1", "2", "3", "exported")
        mended = (folder / "Output_Log.csv").read_bytes()
        rows = rows_of(folder / "Output_Log.csv")
        assert mended.startswith(HEADER)
        assert all(len(row) == 4 for row in rows)
        assert rows[-1] == ["1", "2", "3", "exported"]
        kept = content[: content.rfind(b"\n") + 1]
        assert mended.startswith(kept)
        cut = content.removeprefix(kept)
        marked = [row for row in rows if row[-1].endswith(CUT_OFF)]
        assert len(marked) == bool(cut and kept)
    assert log.path.read_bytes().startswith(whole)


def test_events_that_a_kill_kept_from_their_row_get_one(tmp_path: Path) -> None:
    log = OutputLog(tmp_path)
    once, twice, missing = (("1", "2", name, "exported") for name in ("CT_1", "CT_2", 'C"T;3'))
    log.append(*once)
    log.append(*twice)
    for _ in range(2):
        log.complete([once, twice, twice, missing])
    assert rows_of(log.path)[1:] == [list(row) for row in (once, twice, twice, missing)]


def test_a_last_line_saved_without_its_end_is_kept_and_marked(tmp_path: Path) -> None:
    (tmp_path / "Output_Log.csv").write_bytes(HEADER + b"0042;1.2.3;CT_1;exported")
    OutputLog(tmp_path)
    assert rows_of(tmp_path / "Output_Log.csv")[1:] == [
        ["0042", "1.2.3", "CT_1", f"exported {CUT_OFF}"]
    ]


@pytest.mark.skipif(os.name == "nt", reason="kills by signal")
def test_rows_that_were_appended_outlive_a_kill(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib\n"
        "from stardust_esapi.record.output_log import OutputLog\n"
        "log = OutputLog(pathlib.Path(sys.argv[1]))\n"
        "for n in range(10**6):\n"
        "    log.append(str(n), '1.2', 'CT', 'exported')\n"
        "    print(n, flush=True)\n"
    )
    for delay in (0.0, 0.02, 0.05):
        root = tmp_path / str(delay)
        root.mkdir()
        child = subprocess.Popen(
            [sys.executable, "-c", script, str(root)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        with ending(child):
            said = [child.stdout.readline()]
            time.sleep(delay)
            child.kill()
            said += child.stdout.read().splitlines()
        OutputLog(root)
        ids = [row[0] for row in rows_of(root / "Output_Log.csv")[1:]]
        acknowledged = [line.strip() for line in said if line.strip()]
        assert ids[: len(acknowledged)] == acknowledged
        assert len(ids) - len(acknowledged) <= 1


def beside(root: Path) -> Path:
    return root / "Output_Log (newer).csv"


def test_what_a_log_does_not_take_lies_beside_it_until_it_does(
    tmp_path: Path, warned: list[str]
) -> None:
    OutputLog(tmp_path).append("1", "2", "3", "failed")
    locked(tmp_path / "Output_Log.csv")
    log = OutputLog(tmp_path)
    for status in ("failed", "exported"):
        log.append("1", "2", "3", status)
    assert beside(tmp_path).read_bytes() == b"1;2;3;failed\r\n1;2;3;exported\r\n"
    assert len(warned) == 1
    assert "Output_Log.csv cannot be written" in warned[0]
    assert "Output_Log (newer).csv. Close it" in warned[0]
    unlocked(tmp_path / "Output_Log.csv")
    OutputLog(tmp_path).append("1", "2", "3", "next")
    statuses = [row[-1] for row in rows_of(tmp_path / "Output_Log.csv")]
    assert statuses == ["Status", "failed", "failed", "exported", "next"]
    assert not beside(tmp_path).exists()


def test_a_kill_between_the_two_files_doubles_no_row(tmp_path: Path) -> None:
    OutputLog(tmp_path).append("1", "2", "3", "exported")
    beside(tmp_path).write_bytes(b"1;2;3;exported\r\n")  # as it was, had it not been removed
    OutputLog(tmp_path)
    assert [row[-1] for row in rows_of(tmp_path / "Output_Log.csv")] == ["Status", "exported"]


def test_a_log_that_nothing_can_be_written_to_ends_nothing(
    tmp_path: Path, warned: list[str]
) -> None:
    for name in ("Output_Log.csv", "Output_Log (newer).csv"):
        (tmp_path / name).mkdir()
    log = OutputLog(tmp_path)
    log.append("1", "2", "3", "exported")
    log.complete([("1", "2", "3", "exported")])
    assert len(warned) == 1


def locked(path: Path) -> None:
    """As while a spreadsheet holds it open: nobody else can write it."""
    path.rename(path.with_name("held"))
    path.mkdir()


def unlocked(path: Path) -> None:
    path.rmdir()
    path.with_name("held").rename(path)
