"""How the program leaves."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from stardust_esapi.report.summary import RunSummary


class Exit(IntEnum):
    """Exit codes of the program.

    Attributes:
        DONE: All is done and nobody has to look.
        SOME_FAILED: Somebody has to look: cases failed, are doubtful or were exported in part, rows
            could not be read, `verify` or `doctor` found something wrong.
        USAGE: Wrong use: an option, a setting, or a list or folder that cannot be read.
        NOT_APPROVED: Not approved to write to the clinical database.
        STOPPED: Stopped with Ctrl-C. Run the same command again to go on.
    """

    DONE = 0
    SOME_FAILED = 1
    USAGE = 2
    NOT_APPROVED = 3
    STOPPED = 130


def leave(summary: RunSummary) -> None:
    """Leave with :attr:`Exit.SOME_FAILED` where somebody has to look at a case or a row.

    Raises:
        typer.Exit: Somebody has to.
    """
    if summary.needs_a_look:
        raise typer.Exit(Exit.SOME_FAILED)
