"""``Output_Log.csv`` as the old program kept it: ``Patient-ID;SeriesUID;StructureSetID;Status``.

A row an event, only ever appended. The ledger is what the program goes by; this file is for the
people and scripts that read the old one. While a spreadsheet holds it open, rows go into a file
beside it, and from there into the log as soon as a run can open that.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from loguru import logger

from stardust_esapi.files import beside, remove, sync_folder
from stardust_esapi.names import as_cell, from_cell

OUTPUT_LOG_NAME = "Output_Log.csv"
COLUMNS = ("Patient-ID", "SeriesUID", "StructureSetID", "Status")
CUT_OFF = "(row cut off by an interruption)"

# Readers take the file line by line: no cell may hold what any of them takes for a line's end.
_LINE_ENDS = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]+")


class OutputLog:
    """The log of one output folder; every row is durable when :meth:`append` returns.

    Nothing that the file system refuses is raised: the log is no reason to end an export.
    """

    def __init__(self, root: Path) -> None:
        """Open the log, begin it where there is none, and mend a row that a kill cut off.

        A row without its end is kept, filled up and marked in ``Status``: it may also be a whole
        row that someone saved without a last line break.
        """
        self.path = root / OUTPUT_LOG_NAME
        self._beside = beside(self.path)
        self._is_said = False
        try:
            late = self._beside.read_bytes() if self._beside.exists() else b""
            with self.path.open("a+b") as file:
                content = _begin(file)
                if not content.endswith(late):  # else a kill came between the two files
                    file.write(late)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(root)
            remove(self._beside)
        except OSError as error:
            self._say(error)

    def append(self, patient_id: str, series_uid: str, structure_set_id: str, status: str) -> None:
        """Add one event.

        Args:
            patient_id: Patient ID (0010,0020).
            series_uid: Series Instance UID (0020,000E); may be empty.
            structure_set_id: ``StructureSet.Id``; may be empty.
            status: What happened. Line breaks in any cell become blanks, and what a spreadsheet
                would take for a formula begins with an apostrophe (:func:`names.as_cell`).
        """
        line = _line((patient_id, series_uid, structure_set_id, status))
        try:
            _append(self.path, line)
        except OSError as error:
            self._say(error)
            with suppress(OSError):
                _append(self._beside, line)

    def complete(self, events: Iterable[tuple[str, str, str, str]]) -> None:
        """Add what is missing of these events: a kill may come between an event and its row.

        Args:
            events: Cells as :meth:`append` takes them; an event of two cases stands there twice.
        """
        try:
            there = Counter(self.path.read_bytes().splitlines(keepends=True))
        except OSError as error:
            self._say(error)
            return
        for event, count in Counter(events).items():
            for _ in range(count - there[_line(event)]):
                self.append(*event)

    def _say(self, error: OSError) -> None:
        if not self._is_said:
            logger.warning(
                "{}",
                f"{self.path} cannot be written: {error.strerror or error}. Its new rows are in "
                f"{self._beside.name}. Close it where it is open: the next run adds them.",
            )
        self._is_said = True


def _begin(file: IO[bytes]) -> bytes:
    """Have a log end with whole rows; what it held."""
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
    return content


def _append(path: Path, line: bytes) -> None:
    with path.open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


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
