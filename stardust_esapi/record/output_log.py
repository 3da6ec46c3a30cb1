"""``Output_Log.csv`` as the old program kept it: ``Patient-ID;SeriesUID;StructureSetID;Status``.

A row an event, only ever appended. The ledger is what the program goes by; this file is for the
people and scripts that read the old one.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from stardust_esapi.errors import UsageError
from stardust_esapi.files import sync_folder
from stardust_esapi.names import as_cell, from_cell

OUTPUT_LOG_NAME = "Output_Log.csv"
COLUMNS = ("Patient-ID", "SeriesUID", "StructureSetID", "Status")
CUT_OFF = "(row cut off by an interruption)"

# Readers take the file line by line: no cell may hold what any of them takes for a line's end.
_LINE_ENDS = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]+")


class OutputLog:
    """The log of one output folder; every row is durable when :meth:`append` returns."""

    def __init__(self, root: Path) -> None:
        """Open the log, begin it where there is none, and mend a row that a kill cut off.

        A row without its end is kept, filled up and marked in ``Status``: it may also be a whole
        row that someone saved without a last line break.

        Raises:
            UsageError: The file cannot be read or written.
        """
        self.path = root / OUTPUT_LOG_NAME
        try:
            with self.path.open("a+b") as file:
                file.seek(0)
                content = file.read()
                whole = content.rfind(b"\n") + 1
                rest = content[whole:]
                header = _line(COLUMNS)
                if not content.removeprefix(b"\xef\xbb\xbf"):
                    file.write(header)
                elif not whole and header.startswith(rest):
                    file.write(header[len(rest) :])
                elif rest:
                    file.truncate(whole)
                    file.write(_mended(rest))
                file.flush()
                os.fsync(file.fileno())
            sync_folder(root)
        except OSError as error:
            raise self._refused(error) from None

    def append(self, patient_id: str, series_uid: str, structure_set_id: str, status: str) -> None:
        """Add one event.

        Args:
            patient_id: Patient ID (0010,0020).
            series_uid: Series Instance UID (0020,000E); may be empty.
            structure_set_id: ``StructureSet.Id``; may be empty.
            status: What happened. Line breaks in any cell become blanks, and what a spreadsheet
                would take for a formula begins with an apostrophe (:func:`names.as_cell`).

        Raises:
            UsageError: The file cannot be written, such as when a spreadsheet holds it open.
        """
        try:
            with self.path.open("ab") as file:
                file.write(_line((patient_id, series_uid, structure_set_id, status)))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._refused(error) from None

    def complete(self, events: Iterable[tuple[str, str, str, str]]) -> None:
        """Add what is missing of these events: a kill may come between an event and its row.

        Args:
            events: Cells as :meth:`append` takes them; an event of two cases stands there twice.

        Raises:
            UsageError: The file cannot be read or written.
        """
        try:
            there = Counter(self.path.read_bytes().splitlines(keepends=True))
        except OSError as error:
            raise self._refused(error) from None
        for event, count in Counter(events).items():
            for _ in range(count - there[_line(event)]):
                self.append(*event)

    def _refused(self, error: OSError) -> UsageError:
        return UsageError(
            f"{self.path} cannot be written: {error.strerror or error}. "
            "Close it where it is open, check the folder's rights, and run again."
        )


def _line(cells: tuple[str, ...]) -> bytes:
    text = io.StringIO(newline="")
    # The old program ran on Windows only: its line ends.
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    writer.writerow([as_cell(_LINE_ENDS.sub(" ", cell)) for cell in cells])
    return text.getvalue().encode()


def _mended(rest: bytes) -> bytes:
    cells = list(map(from_cell, next(csv.reader([rest.decode(errors="replace")], delimiter=";"))))
    padded = [*cells, *[""] * len(COLUMNS)][: len(COLUMNS)]
    padded[-1] = f"{padded[-1]} {CUT_OFF}".strip()
    return _line(tuple(padded))
