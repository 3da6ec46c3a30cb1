"""Case lists that are small as files and would fill the memory."""

from __future__ import annotations

import re
import struct
import tracemalloc
import zipfile
from pathlib import Path

import openpyxl
import pytest

from stardust_esapi.caselist import read_case_list
from stardust_esapi.caselist.column_names import MINING
from stardust_esapi.errors import UsageError
from stardust_esapi.settings import CaseListSettings

SMALL = CaseListSettings(largest_mb=1)
MB = 1 << 20
SHEET = "xl/worksheets/sheet1.xml"


@pytest.fixture
def workbook(tmp_path: Path) -> Path:
    book = openpyxl.Workbook()
    book.active.append(list(MINING))
    book.active.append(["7", "Nachname", "Vorname", "CT", "1.2.840.1", "Plan1"])
    book.save(tmp_path / "cases.xlsx")
    return tmp_path / "cases.xlsx"


def assert_refused(path: Path, settings: CaseListSettings = SMALL, mb: int = 8) -> None:
    """Reading it is refused with what to do, and takes little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match=r"larger than [0-9]+ MB .* caselist\.largest_mb"):
            read_case_list(path, settings)
        assert tracemalloc.get_traced_memory()[1] < mb * MB
    finally:
        tracemalloc.stop()


def edit(path: Path, old: str, new: str) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    parts[SHEET], count = re.subn(old, new, parts[SHEET])
    assert count == 1
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def with_zeros(path: Path, size: int) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/image1.png", bytes(size))


def test_a_workbook_that_unpacks_to_much(workbook: Path) -> None:
    with_zeros(workbook, 20 * MB)
    assert workbook.stat().st_size < MB / 20
    assert_refused(workbook)


def test_a_workbook_may_be_as_large_as_the_settings_say(workbook: Path) -> None:
    with_zeros(workbook, 20 * MB)
    assert {problem.row for problem in read_case_list(workbook).problems} == {2}


def test_a_workbook_that_lies_about_its_size(workbook: Path) -> None:
    with_zeros(workbook, 20 * MB)
    content = bytearray(workbook.read_bytes())
    # Uncompressed size in the central directory (APPNOTE 4.3.12).
    struct.pack_into("<L", content, content.rindex(b"PK\x01\x02") + 24, 10)
    workbook.write_bytes(content)
    assert_refused(workbook)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('r="B2"', 'r="ZZ1048576"'),
        ('r="B2"', "r='ZZ1048576'"),
        ('<row r="2"><c r="A2"', '<row r="1048576"><c'),
        (r'<c r="A2".*?</c>', '<c r="A1048570" t="n"><v>7</v></c>'),
    ],
)
def test_two_cells_far_apart(workbook: Path, old: str, new: str) -> None:
    """calamine makes room for every cell between them, and Python dies where there is none."""
    edit(workbook, old, new)
    assert_refused(workbook, CaseListSettings())


def test_a_far_cell_without_a_value_takes_no_room(workbook: Path) -> None:
    edit(workbook, "</sheetData>", '<row r="1048576"><c r="ZZ1048576" s="0"/></row></sheetData>')
    assert {problem.row for problem in read_case_list(workbook).problems} == {2}


@pytest.mark.parametrize("length", [4, MB])
def test_a_text_in_many_cells(workbook: Path, length: int) -> None:
    """It is stored once (ECMA-376-1, 18.4.9), and each cell that shows it gets a copy."""
    cell = '<c r="{}{}" t="s"><v>0</v></c>'
    rows = (
        f'<row r="{row}">' + "".join(cell.format(letter, row) for letter in "ABCDEFGHIJ") + "</row>"
        for row in range(3, 203)
    )
    edit(workbook, "</sheetData>", "".join(rows) + "</sheetData>")
    with zipfile.ZipFile(workbook, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", f"<sst><si><t>{'x' * length}</t></si></sst>")
    assert workbook.stat().st_size < MB
    if length == MB:
        assert_refused(workbook, CaseListSettings())
    else:
        assert len({problem.row for problem in read_case_list(workbook).problems}) == 201


def test_many_short_rows_and_a_wide_one(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(";".join(MINING) + "\n" + ";" * 20_000 + "\n" * 20_000)
    assert_refused(path, CaseListSettings(), mb=20)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    with path.open("wb") as file:
        file.truncate(2 * MB)
    assert_refused(path, mb=1)
