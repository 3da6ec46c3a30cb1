"""Who started this program: Python itself, or a launcher that Eclipse knows by name and version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stardust_esapi import __version__

if TYPE_CHECKING:
    from stardust_esapi.esapi.writer import RecordWriter


@dataclass(frozen=True, slots=True)
class Host:
    """The program around this Python.

    Attributes:
        name: Name of the launcher's assembly, as Script Approval shows it; ``python`` without one.
        version: Version of the launcher's assembly, or of this package.
        is_launcher: Whether it is a launcher: a .NET program that Eclipse can approve.
        manifest_digest: SHA-256 of the manifest compiled into the launcher, in hex.
        difference: How the Python files differ from that manifest; empty if they do not.
        writer: What alone writes in a launcher; None in one that never does, and outside launchers.
    """

    name: str = "python"
    version: str = __version__
    is_launcher: bool = False
    manifest_digest: str = ""
    difference: str = ""
    writer: RecordWriter | None = None

    @property
    def obstacle(self) -> str:
        """Why nothing may be written from here, whatever Eclipse says; empty if it may."""
        if self.is_launcher and self.writer is None:
            return (
                f"{self.name} is the read-only launcher: it locates and exports, and changes "
                "nothing. Start the writable one (StardustExporter)."
            )
        if self.is_launcher and self.difference:
            return (
                f"The Python files are not those that {self.name} {self.version} was approved "
                f"with: {self.difference}. Install the approved version again."
            )
        return ""


_hosts = [Host()]


def current() -> Host:
    """The host of this process."""
    return _hosts[-1]


@contextmanager
def entered(host: Host) -> Iterator[None]:
    """Run under a launcher while the context lasts (Eclipse may start a plug-in again)."""
    _hosts.append(host)
    try:
        yield
    finally:
        _hosts.pop()
