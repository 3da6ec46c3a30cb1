"""What every way of moving a series has in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stardust_esapi.model import TransferRequest


@dataclass(frozen=True, slots=True)
class Fetched:
    """What the sender said of a series that arrived whole: to be kept and shown, not believed.

    Attributes:
        sender_report: Its answers and counts in words; empty where nobody sends.
        clean: False where it reported trouble, or had to be asked again.
    """

    sender_report: str = ""
    clean: bool = True


class Engine(Protocol):
    """Moves one series with structure set and registration, or one dose or plan, into a folder."""

    name: str

    def fetch(
        self, request: TransferRequest, folder: Path, advance: Callable[[int], None]
    ) -> Fetched:
        """Write the files of a request into an empty staging folder.

        What arrives is verified afterwards, file by file, whatever an engine believes.

        Args:
            request: The series and every UID of what goes with it.
            folder: An existing empty folder; files get names that begin with CT, MR, RS, RE, RD
                or RP.
            advance: Told the number of images written so far.

        Raises:
            TransferError: The engine knows that it did not succeed.
        """


class NetworkEngine(Engine, Protocol):
    """An engine that needs no ESAPI, and that several threads may use at once."""

    @property
    def quarantined(self) -> tuple[object, ...]:
        """The instances that arrived and were not taken, so far: each in words as a sentence."""

    def cancel(self) -> None:
        """End what is under way soon, and refuse what comes; for Ctrl-C."""
