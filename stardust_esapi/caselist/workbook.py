"""The cells of the sheet of a workbook that holds the case list.

calamine reads a workbook some ten times as fast as openpyxl, but an error such as ``#NAME?`` and a
formula that was never calculated come out as empty texts, and damage to the file goes unnoticed: a
comment that says ``abgelehnt`` could vanish. So what it does not tell is looked for beside it.
"""

from __future__ import annotations

import io
import math
import posixpath
import re
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from python_calamine import CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from stardust_esapi.caselist.column_names import MINING
from stardust_esapi.caselist.damage import is_uid
from stardust_esapi.caselist.header import early_rows, find_header, missing_columns
from stardust_esapi.errors import UsageError

# These run over 150 MB at 100,000 rows: each begins with a literal, which re finds fast.
_ERROR = re.compile(rb"""t\s*=\s*["']e["']""")
_HIDDEN = re.compile(rb"""hidden\s*=\s*["'](?:1|true)["']""")
_ROW = re.compile(rb"""\sr\s*=\s*["']([0-9]+)["']""")
_PLACE = re.compile(rb"""\sr\s*=\s*["']([A-Z]+[0-9]+)["']""")
_FORMULAS = (re.compile(rb"<f[\s/>]"), re.compile(rb":f[\s/>]"))
# calamine makes room for all cells up to the last; Python dies when there is none. Up to column AZ
# and row 149,999 there is; what else there may be is counted.
_UNUSUAL = (
    re.compile(rb"""<c(?! r="A?[A-Z](?:1[0-4][0-9]{4}|[0-9]{1,5})")[\s/>]"""),
    re.compile(rb""":c[\s/>]"""),
)
_LAST_COLUMN = 702  # ZZ
_VALUE = re.compile(rb"v[^<>]*>\s*([0-9]{1,9})\s*<")
_SHORTEST_CELL = 20  # bytes, of one with a value
_USUAL_TEXT = 1 << 30  # bytes: what a list cannot have, however often its longest text stands there
CELL = 32
"""Bytes that a cell takes at least, as it is read."""


@dataclass(frozen=True)
class Sheet:
    """A sheet as it was read.

    Attributes:
        name: Its name.
        cells: Row by row from the sheet's first, all as wide as the sheet. An error is NaN, a
            number a float, an empty cell an empty text.
        hidden: The rows that are hidden, by a filter or by hand, counted from 0.
        note: Which sheet was read, and which not.
    """

    name: str
    cells: list[list[Any]]
    hidden: tuple[int, ...]
    note: str


def read_sheet(path: Path, content: bytes, most: int, name: str = "") -> Sheet:
    """Read the sheet with the case list.

    Args:
        path: What messages call the workbook.
        content: The file.
        most: Bytes that it may have unpacked, and the cells of its sheets in memory.
        name: The sheet. Without one, it is the only visible sheet that is a list; where none is,
            the first that has a header of some sort, else the first.

    Raises:
        UsageError: The file is no workbook or is damaged; there is no such sheet, or several are
            lists; a sheet has more than 702 columns; the sheet has formulas without values; it is
            too large.
    """
    try:
        return _read(path, content, most, name)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - every part of a workbook has errors of its own
        raise UsageError(
            f"The workbook {path} cannot be read ({type(error).__name__}); open it in Excel, "
            "correct cells that show an error, and save it again as .xlsx, or as CSV UTF-8."
        ) from None


def too_large(path: Path, most: int) -> UsageError:
    """Say that a list is larger than so many bytes, unpacked or in memory, and what to do."""
    return UsageError(
        f"The case list {path} is larger than {most >> 20} MB when it is unpacked. Save the list "
        "alone, without other sheets and pictures, and without rows and columns beyond its last, "
        "or set caselist.largest_mb higher."
    )


def _read(path: Path, content: bytes, most: int, wanted: str) -> Sheet:
    parts, left = {}, most
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for part in archive.infolist():
            # Read to where it ends, whatever size it is said to have; its checksum is verified.
            part.file_size = left + 2
            with archive.open(part) as file:
                xml = file.read(left + 1)
            left -= len(xml)
            if left < 0:
                raise too_large(path, most)
            parts[part.filename.lower()] = xml
    paths = _sheet_paths(parts)
    with (
        CalamineWorkbook.from_filelike(io.BytesIO(content)) as book,
        ThreadPoolExecutor(1) as aside,  # calamine lets other threads run
    ):
        names = _candidates(path, book, wanted)
        for name in names:
            sheet = parts[paths[name]]
            rows, columns = _extent(sheet)
            if columns > _LAST_COLUMN:
                raise UsageError(
                    f"The sheet {name} of the workbook {path} has values beyond column ZZ; delete "
                    "them, or choose another sheet with --sheet."
                )
            text = _shared_text(sheet, parts.get("xl/sharedstrings.xml", b""))
            if rows * columns * CELL + text > most:
                raise too_large(path, most)
        marks = {name: aside.submit(_marks, path, parts[paths[name]]) for name in names}
        sheets = {
            name: book.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in names
        }
    name = _the_list(path, sheets)
    cells, (errors, hidden) = sheets[name], marks[name].result()
    for row, column in errors:
        cells[row][column] = math.nan
    others = "".join(f", not {other}" for other in sheets if other != name)
    return Sheet(
        name,
        cells,
        tuple(row for row in hidden if row < len(cells)),
        f"The sheet {name} was read{others}.",
    )


def _extent(xml: bytes) -> tuple[int, int]:
    """The last row and column with a value, counted from 1; none where both are usual."""
    last_row = last_column = row = column = 0
    if not any(pattern.search(xml) for pattern in _UNUSUAL):
        return last_row, last_column
    for event, element in ElementTree.iterparse(io.BytesIO(xml), ("start", "end")):  # noqa: S314 - expat limits what entities unfold to
        kind, place = _local(element.tag), element.get("r")
        if kind == "row" and event == "start":
            row, column = int(place or row + 1), 0
        elif kind == "row":
            element.clear()
        elif kind == "c" and event == "end":
            row, column = _row_and_column(place) if place else (row, column + 1)
            if len(element):
                last_row, last_column = max(row, last_row), max(column, last_column)
    return last_row, last_column


def _shared_text(xml: bytes, strings: bytes) -> int:
    """Bytes of the texts of a sheet that lie in one place for all cells; none where it is usual.

    Each cell gets a copy: a long text is stored once, and may stand in every cell.
    """
    lengths = [len(text) for text in strings.split(b"</si>")]
    if max(lengths) * (len(xml) // _SHORTEST_CELL) < _USUAL_TEXT:
        return 0
    uses = (min(int(value), len(lengths) - 1) for value in _VALUE.findall(xml))
    return sum(lengths[use] for use in uses)


def _row_and_column(place: str) -> tuple[int, int]:
    """Both counted from 1; of B5, 5 and 2."""
    column = 0
    for letter in place.rstrip("0123456789"):
        column = column * 26 + ord(letter) - ord("A") + 1
    return int(place.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")), column


def _marks(path: Path, xml: bytes) -> tuple[list[tuple[int, int]], list[int]]:
    """What calamine does not tell of a sheet: cells with an error, and hidden rows; from 0."""
    _require_values(path, xml)
    return list(_errors(xml)), list(_hidden(xml))


def _candidates(path: Path, book: CalamineWorkbook, wanted: str) -> list[str]:
    sheets = [sheet for sheet in book.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]
    if not wanted:
        return [sheet.name for sheet in sheets if sheet.visible == SheetVisibleEnum.Visible]
    # No two names of a workbook differ in case alone.
    names = [sheet.name for sheet in sheets if sheet.name.casefold() == wanted.casefold()]
    if not names:
        raise UsageError(
            f"The workbook {path} has no sheet {wanted}; choose one of "
            f"{', '.join(sheet.name for sheet in sheets)} with --sheet."
        )
    return names


def _the_list(path: Path, sheets: dict[str, list[list[Any]]]) -> str:
    if len(sheets) == 1:
        return next(iter(sheets))
    early = {name: early_rows(cells) for name, cells in sheets.items()}
    headers = {name: header for name, rows in early.items() if (header := find_header(rows))}
    series = MINING.index("SeriesUID")
    lists = [
        name
        for name, rows in early.items()
        if (
            not missing_columns(headers[name][1])
            if name in headers
            else any(is_uid(cells[series]) for _, cells in rows if len(cells) >= len(MINING))
        )
    ]
    if len(lists) > 1:
        raise UsageError(
            f"The workbook {path} has several sheets that are case lists ({', '.join(lists)}); "
            "--sheet NAME chooses one."
        )
    return next(iter([*lists, *headers, *sheets]))


def _sheet_paths(parts: dict[str, bytes]) -> dict[str, str]:
    """Which part holds the sheet of each name (ECMA-376-1, 12.3.23 and 18.2.19)."""
    workbook, links = (
        ElementTree.fromstring(parts[name])  # noqa: S314 - expat limits what entities unfold to
        for name in ("xl/workbook.xml", "xl/_rels/workbook.xml.rels")
    )
    targets = {link.get("Id"): link.get("Target", "") for link in links}
    paths = {}
    for sheet in workbook.iterfind("{*}sheets/{*}sheet"):
        link = next(value for name, value in sheet.items() if name.endswith("}id"))
        path = posixpath.join("/xl", targets[link]).lstrip("/")
        paths[sheet.attrib["name"]] = path.lower()
    return paths


def _require_values(path: Path, xml: bytes) -> None:
    """Refuse a sheet with a formula that was never calculated (ECMA-376-1, 18.3.1.40).

    Nobody can tell what its cell says. One that gives an empty text is of type ``str``.
    """
    # Python takes seconds to parse 100,000 rows, so it does only where there may be a formula.
    if not any(pattern.search(xml) for pattern in _FORMULAS):
        return
    for _, element in ElementTree.iterparse(io.BytesIO(xml)):  # noqa: S314 - as above
        kind = _local(element.tag)
        if kind == "c" and element.get("t") != "str":
            texts = {_local(child.tag): child.text for child in element}
            if "f" in texts and not texts.get("v"):
                raise UsageError(
                    f"The formula in cell {element.get('r')} of the workbook {path} was never "
                    "calculated; open the workbook in Excel and save it again."
                )
        elif kind == "row":
            element.clear()


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _errors(xml: bytes) -> Iterator[tuple[int, int]]:
    """Row and column, from 0, of the cells with an error (ECMA-376-1, 18.3.1.4)."""
    for tag in _tags(xml, b"c", _ERROR):
        row, column = _row_and_column(_PLACE.findall(tag)[0].decode())
        yield row - 1, column - 1


def _hidden(xml: bytes) -> Iterator[int]:
    """The rows that are hidden, from 0 (ECMA-376-1, 18.3.1.73)."""
    for tag in _tags(xml, b"row", _HIDDEN):
        yield int(_ROW.findall(tag)[0]) - 1


def _tags(xml: bytes, name: bytes, attribute: re.Pattern[bytes]) -> Iterator[bytes]:
    for found in attribute.finditer(xml):
        start = xml.rfind(b"<", 0, found.start())
        tag = xml[start + 1 : xml.find(b">", start)]
        if tag.split()[0].rpartition(b":")[2] == name:  # else it stands in a text
            yield tag
