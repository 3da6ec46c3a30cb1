"""Where a run's log goes, and what stays out of it.

Patient names and birth dates are nowhere passed to the logger. Tracebacks, whose values could
hold anything, are written without values, and at DEBUG.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger

from stardust_esapi.errors import as_given, in_words

if TYPE_CHECKING:
    from loguru import Record

_FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS} {level: <7} {message}"


@contextmanager
def log_to(folder: Path, started: datetime) -> Iterator[Path]:
    """Write a log file of this run into ``folder`` while the context lasts, if that can be.

    Yields:
        The file's path.
    """
    path = folder / f"run-{started:%Y%m%d-%H%M%S-%f}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sink = logger.add(
            path, level="DEBUG", format=_FORMAT, encoding="utf-8", backtrace=False, diagnose=False
        )
    except OSError as error:
        logger.warning("This run is not logged: {}", in_words(error))
        yield path
        return
    try:
        yield path
    finally:
        logger.remove(sink)


def log_to_terminal(*, verbose: bool) -> None:
    """Let warnings through to the terminal, and all the steps where the user asks for them."""
    logger.remove()
    logger.configure(patcher=_with_paths_as_given)
    level = "INFO" if verbose else "WARNING"
    logger.add(_write, level=level, format=_FORMAT, backtrace=False, diagnose=False)
    # Where matplotlib keeps its fonts when there is no home is nothing to a user.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def _with_paths_as_given(record: Record) -> None:
    record["message"] = as_given(record["message"])


def _write(line: str) -> None:
    """Print a message; a progress bar may stand in for ``sys.stderr``, so that lines do not mix."""
    sys.stderr.write(line)
