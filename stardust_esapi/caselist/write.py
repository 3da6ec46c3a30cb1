"""Writes lists as workbooks that people fill in or correct, and that are read again."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from stardust_esapi.caselist.column_names import MEANINGS

if TYPE_CHECKING:
    from xlsxwriter import Workbook

_ROWS = 10_000
"""As far down as an empty row offers words to choose from."""


def template(words: Mapping[str, Sequence[str]]) -> bytes:
    """An empty list with its columns explained on a second sheet.

    Args:
        words: By column, the words that it offers; another one may be written all the same.

    Returns:
        The XLSX file.
    """
    text = io.BytesIO()
    with _workbook(text) as book:
        _write_sheet(book, "cases", list(MEANINGS), ())
        sheet = book.get_worksheet_by_name("cases")
        assert sheet is not None
        rows = [(name, meaning) for name, meaning in MEANINGS.items()]
        _write_sheet(book, "columns", ("column", "what to write"), rows)
        offered = book.add_worksheet("words")  # a drop-down holds 255 characters by itself
        for number, (column, listed) in enumerate(words.items()):
            offered.write_column(0, number, [column, *listed])
            place = list(MEANINGS).index(column)
            letter = chr(ord("A") + number)
            source = f"=words!${letter}$2:${letter}${len(listed) + 1}"
            choice = {"validate": "list", "source": source, "show_error": False}
            sheet.data_validation(1, place, _ROWS, place, choice)
    return text.getvalue()


def workbook(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """A list with rows.

    Args:
        columns: The header.
        rows: As many texts each.

    Returns:
        The XLSX file.
    """
    text = io.BytesIO()
    with _workbook(text) as book:
        _write_sheet(book, "cases", columns, rows)
    return text.getvalue()


def _workbook(text: io.BytesIO) -> Workbook:
    from xlsxwriter import Workbook

    # Nothing is guessed of what stands in a cell: an id is text, whatever it looks like.
    return Workbook(text, {"in_memory": True})


def _write_sheet(
    book: Workbook, name: str, columns: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    """A sheet of texts: what is typed into it stays as it is, also a number with leading zeros."""
    sheet = book.add_worksheet(name)
    as_text, bold = book.add_format({"num_format": "@"}), book.add_format({"bold": True})
    widths = [len(column) for column in columns]
    for number, column in enumerate(columns):
        sheet.write_string(0, number, column, bold)
    for row, cells in enumerate(rows, start=1):
        for number, cell in enumerate(cells):
            sheet.write_string(row, number, cell, as_text)
            widths[number] = max(widths[number], len(cell))
    for number, width in enumerate(widths):
        sheet.set_column(number, number, min(width, _WIDEST) + 2, as_text)
    sheet.freeze_panes(1, 0)
    sheet.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})


_WIDEST = 70
