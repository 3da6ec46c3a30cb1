"""A CSV file or workbook as a table of untouched cells: nothing is parsed, nothing is dropped."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stardust_esapi.caselist.names import known_names
from stardust_esapi.caselist.workbook import read_sheet
from stardust_esapi.errors import UsageError

SEPARATORS = (";", ",")
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
    def of(cls, cells: pd.Series[Any] | Texts) -> Column:
        """A column of cells; see `as_text`."""
        codes, distinct = pd.factorize(np.asarray(cells, dtype=object), use_na_sentinel=False)
        return cls(tuple(map(as_text, distinct)), codes)

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
        cells: One row a spreadsheet row, one column a field, both counted from 0; no field where
            a row is shorter than others is an empty text. What a workbook holds as number, date
            or error (NaN) is no text.
        widths: How many fields each row has; None for a workbook, where nobody can tell.
        swallowing: Rows of a CSV in which a quote that is not closed hides further rows.
    """

    cells: pd.DataFrame
    widths: NDArray[np.intp] | None
    swallowing: Flags

    @property
    def row_numbers(self) -> NDArray[np.intp]:
        """The number of each row in a spreadsheet, which counts from 1."""
        return np.arange(1, len(self.cells) + 1)

    def column(self, position: int) -> Column:
        """One column; empty texts where the table is not as wide."""
        if position < self.cells.shape[1]:
            return Column.of(self.cells[position])
        return Column(("",), np.zeros(len(self.cells), dtype=np.intp))


def as_text(cell: object) -> str:
    """A cell without outer blanks; an error cell (NaN) as ``#N/A``, 120.0 as ``120``."""
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, float):
        return "#N/A" if math.isnan(cell) else f"{cell:.0f}" if cell.is_integer() else str(cell)
    return str(cell)


def read_table(path: Path) -> Table:
    """Read a ``.csv`` or ``.xlsx`` file.

    Raises:
        UsageError: The file cannot be read, is of another kind or is empty.
    """
    readers = {".csv": _read_csv, ".xlsx": _read_workbook}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"The case list {path} is neither a .csv nor an .xlsx file; "
            "save it as one of these, with that ending."
        )
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name the case list file in it.")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"There is no case list {path}; check the path.") from None
    except OSError as error:
        raise UsageError(
            f"The case list {path} cannot be read ({error.strerror}); close it in other programs "
            "and check that it is a file that you may read."
        ) from None
    table = reader(path, content)
    if table.cells.empty:
        raise UsageError(f"The case list {path} is empty; choose the list with the cases.")
    return table


def _read_csv(path: Path, content: bytes) -> Table:
    text = _decode(path, content)
    separator = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
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
    widest = max(widths, default=0)
    for row in rows:
        row.extend([""] * (widest - len(row)))
    return Table(pd.DataFrame(rows, dtype=object), widths, swallowing)


def _decode(path: Path, content: bytes) -> str:
    if content.startswith(UTF16_MARKS):
        raise UsageError(
            f'The case list {path} is "Unicode text" (UTF-16); save it as "CSV UTF-8".'
        )
    if content.startswith((ZIP_MARK, OLE_MARK)):
        raise UsageError(
            f"The case list {path} is a workbook in spite of its name; save it as .xlsx or as CSV."
        )
    if b"\0" not in content:
        for encoding in ("utf-8-sig", "cp1252"):
            try:
                return content.decode(encoding)
            except UnicodeDecodeError:
                continue
    raise UsageError(
        f'The case list {path} is not a text file in UTF-8 or Windows-1252; save it as "CSV UTF-8".'
    )


def _separator(text: str) -> str:
    """The separator that shows most known column names, else most fields, in the first rows."""

    def score(separator: str) -> tuple[int, int]:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        try:
            rows = [row for row in itertools.islice(reader, 20) if any(row)]
        except csv.Error:
            rows = []
        return len(known_names(rows[0])) if rows else 0, max(map(len, rows), default=0)

    return max(SEPARATORS, key=score)


def _swallowing(rows: list[list[str]], separator: str) -> list[bool]:
    """Which rows have a field of several lines, one of which looks like a row of its own."""
    enough = max(2, len(next((row for row in rows if any(row)), ())) // 2)

    def swallows(field: str) -> bool:
        return any(line.count(separator) >= enough for line in field.splitlines()[1:])

    return [
        any(("\n" in field or "\r" in field) and swallows(field) for field in row) for row in rows
    ]


def _read_workbook(path: Path, content: bytes) -> Table:
    if content.startswith(OLE_MARK):
        raise UsageError(
            f"The workbook {path} has a password or is of an old Excel format; "
            "save it as .xlsx without a password."
        )
    cells = pd.DataFrame(read_sheet(path, content), dtype=object)
    return Table(cells, widths=None, swallowing=np.zeros(len(cells), dtype=np.bool_))
