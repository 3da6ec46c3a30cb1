"""A CSV file or workbook as a table of untouched cells: nothing is parsed, nothing is dropped."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.caselist.cells import as_text
from stardust_esapi.caselist.column_names import known_names
from stardust_esapi.caselist.header import early_rows
from stardust_esapi.caselist.workbook import CELL, read_sheet, too_large
from stardust_esapi.errors import UsageError

SEPARATORS = (";", ",", "\t", "|")
SEPARATOR_LINE = re.compile(r'("?)sep=([^"\w\r\n])\1[ \t]*(?:\r\n|\r|\n|\Z)', re.IGNORECASE)
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
ZIP_MARK = b"PK\x03\x04"  # every .xlsx is a zip archive
OLE_MARK = b"\xd0\xcf\x11\xe0"  # the old .xls, and an .xlsx with a password

Flags = NDArray[np.bool_]
Texts = NDArray[np.object_]


@dataclass(frozen=True)
class Column:
    """One column as text without outer blanks, a value a row.

    Attributes:
        distinct: The different values.
        codes: Which of them each row has, shape (rows,).
    """

    distinct: tuple[str, ...]
    codes: NDArray[np.intp]

    @classmethod
    def of(cls, cells: NDArray[np.object_]) -> Column:
        """A column of cells; see `as_text`."""
        numbers: defaultdict[object, int] = defaultdict(count().__next__)
        codes = np.fromiter(map(numbers.__getitem__, cells.tolist()), np.intp, len(cells))
        return cls(tuple(map(as_text, numbers)), codes)

    def each(self, function: Callable[[str], object]) -> Texts:
        """The function of every row's value; it runs once a distinct value."""
        results = np.empty(len(self.distinct), dtype=object)
        results[:] = [function(value) for value in self.distinct]
        return results[self.codes]

    def flag(self, test: Callable[[str], object]) -> Flags:
        """Where the test holds; it runs once a distinct value."""
        return np.array([bool(test(value)) for value in self.distinct], dtype=np.bool_)[self.codes]

    @cached_property
    def texts(self) -> Texts:
        """The value of every row."""
        return np.array(self.distinct, dtype=object)[self.codes]

    @cached_property
    def filled(self) -> Flags:
        """Where there is a value."""
        return np.array([value != "" for value in self.distinct], dtype=np.bool_)[self.codes]


@dataclass(frozen=True)
class Table:
    """The cells of a list.

    Attributes:
        source: What messages call the list.
        cells: Shape (rows, columns), a row a spreadsheet row, both counted from 0; no field where
            a row is shorter than others is an empty text. What a workbook holds as number, date
            or error (NaN) is no text.
        widths: How many fields each row has; None for a workbook, where nobody can tell.
        swallowing: Rows of a CSV in which a quote that is not closed hides further rows.
        hidden: Rows that the spreadsheet does not show.
        notes: What a reader should know of how the file was read.
    """

    source: str
    cells: NDArray[np.object_]
    widths: NDArray[np.intp] | None
    swallowing: Flags
    hidden: Flags
    notes: tuple[str, ...]

    @property
    def row_numbers(self) -> NDArray[np.intp]:
        """The number of each row in a spreadsheet, which counts from 1."""
        return np.arange(1, len(self.cells) + 1)

    def rows(self) -> Iterator[Sequence[object]]:
        """The rows one by one, each as wide as it is."""
        for index, cells in enumerate(self.cells):
            yield (cells if self.widths is None else cells[: self.widths[index]]).tolist()

    def column(self, position: int | None) -> Column:
        """One column; empty texts where there is none, or the table is not as wide."""
        if position is not None and position < self.cells.shape[1]:
            return Column.of(self.cells[:, position])
        return Column(("",), np.zeros(len(self.cells), dtype=np.intp))


def read_table(path: Path, sheet: str, most: int) -> Table:
    """Read a file of separated values (``.csv``, ``.txt``, ``.tsv``) or a workbook.

    Args:
        path: The file.
        sheet: The sheet of a workbook; empty for the only one that holds a list.
        most: Bytes that it may have, unpacked and in memory.

    Raises:
        UsageError: The file cannot be read, is of another kind, is empty or too large.
    """
    kind = path.suffix.lower()
    if kind not in {".csv", ".txt", ".tsv", ".xlsx", ".xlsm"}:
        raise UsageError(
            f"The case list {path} is neither a .csv nor an .xlsx file (nor .txt, .tsv or .xlsm); "
            "save it as one of these, with that ending."
        )
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name the case list file in it.")
    try:
        if path.stat().st_size > most:
            raise too_large(path, most)
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"There is no case list {path}; check the path.") from None
    except OSError as error:
        raise UsageError(
            f"The case list {path} cannot be read ({error.strerror}); close it in other programs "
            "and check that it is a file that you may read."
        ) from None
    table = (
        _read_workbook(path, content, sheet, most)
        if kind.startswith(".xls")
        else _read_csv(path, content, most)
    )
    if not table.cells.size:
        raise UsageError(f"The case list {path} is empty; choose the list with the cases.")
    return table


def _read_csv(path: Path, content: bytes, most: int) -> Table:
    text = _decode(path, content)
    line = SEPARATOR_LINE.match(text)
    start = line.end() if line else 0
    lines = io.StringIO(text, newline="")
    separator = line[2] if line else _separator(lines)
    lines.seek(start)
    reader = csv.reader(lines, delimiter=separator)
    # pandas' own CSV reader pads short rows and so hides how many fields a row has, which tells
    # the layouts of ragged rows apart.
    try:
        rows = list(reader)
    except csv.Error as error:
        raise UsageError(
            f"The case list {path} breaks off at line {reader.line_num} ({error}); look for a "
            "quotation mark that is never closed at or above that line."
        ) from None
    widths = np.fromiter(map(len, rows), dtype=np.intp)
    swallowing = np.zeros(len(rows), dtype=np.bool_)
    if reader.line_num > len(rows):
        swallowing[:] = _swallowing(rows, separator)
    widest = int(max(widths, default=0))
    if len(rows) * widest * CELL > most:
        raise too_large(path, most)
    for row in rows:
        row.extend([""] * (widest - len(row)))
    hidden = np.zeros(len(rows), dtype=np.bool_)
    note = (
        f"The first line, sep={separator}, only names the separator: as in a spreadsheet, it is "
        "no row."
    )
    notes = (note,) if line else ()
    return Table(str(path), np.array(rows, dtype=object), widths, swallowing, hidden, notes)


def _decode(path: Path, content: bytes) -> str:
    if content.startswith((ZIP_MARK, OLE_MARK)):
        raise UsageError(
            f"The case list {path} is a workbook in spite of its name; save it as .xlsx or as CSV."
        )
    for encoding in ("utf-16",) if content.startswith(UTF16_MARKS) else ("utf-8-sig", "cp1252"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise UsageError(
        f"The case list {path} is not a text file in UTF-8, UTF-16 or Windows-1252; save it as "
        '"CSV UTF-8".'
    )


def _separator(lines: io.StringIO) -> str:
    """The separator that shows most column names, else most fields, in one of the first rows."""

    def score(separator: str) -> tuple[int, int]:
        lines.seek(0)
        try:
            rows = [cells for _, cells in early_rows(csv.reader(lines, delimiter=separator))]
        except csv.Error:
            rows = [[]]
        names = max((len(known_names(cells)) for cells in rows), default=0)
        # Nothing but this separator is no list at all.
        return names, max(map(len, rows), default=sys.maxsize)

    return max(SEPARATORS, key=score)


def _swallowing(rows: list[list[str]], separator: str) -> list[bool]:
    """Which rows have a field of several lines, one of which looks like a row of its own."""
    # A title line is narrow.
    enough = max(2, max((len(row) for _, row in early_rows(rows)), default=0) // 2)

    def swallows(field: str) -> bool:
        return any(line.count(separator) >= enough for line in field.splitlines()[1:])

    return [
        any(("\n" in field or "\r" in field) and swallows(field) for field in row) for row in rows
    ]


def _read_workbook(path: Path, content: bytes, name: str, most: int) -> Table:
    if content.startswith(OLE_MARK):
        raise UsageError(
            f"The workbook {path} has a password or is of an old Excel format; "
            "save it as .xlsx without a password."
        )
    sheet = read_sheet(path, content, most, name)
    cells = np.array(sheet.cells, dtype=object)
    swallowing, hidden = np.zeros((2, len(cells)), dtype=np.bool_)
    hidden[list(sheet.hidden)] = True
    source = f"{path} (sheet {sheet.name})"
    return Table(source, cells, None, swallowing, hidden, (sheet.note,))
