"""Choose how ESAPI is reached from what the user wrote after ``--esapi``."""

from __future__ import annotations

from pathlib import Path

from stardust_esapi.errors import UsageError
from stardust_esapi.esapi.backend import Backend
from stardust_esapi.wording import did_you_mean

_KINDS = ("eclipse", "stub", "clr-stub")


def connect(choice: str) -> Backend:
    """Return the backend for a choice.

    Args:
        choice: ``eclipse`` (the newest ESAPI of this workstation), ``eclipse:FOLDER`` (the one in
            a folder), ``stub:DB`` (the Python stub on a stub database) or ``clr-stub:DB`` (the C#
            stand-in on it, through pythonnet).

    Each kind is imported when chosen only: the clinic has no stub, a laptop no Eclipse.

    Raises:
        UsageError: The choice is unknown, or cannot be had on this machine.
    """
    kind, _, place = choice.partition(":")
    if choice == "eclipse" or (kind == "eclipse" and place):
        from stardust_esapi.esapi.clr_backend import ClrBackend, find_assemblies

        return ClrBackend(choice, Path(place) if place else find_assemblies)
    if kind == "clr-stub" and place:
        from stardust_esapi.esapi.clr_backend import ClrBackend
        from stardust_esapi.esapi.stub_backend import clr_stand_in

        folder, clinical = clr_stand_in(Path(place))
        return ClrBackend(choice, folder, stub_database=Path(place), clinical=clinical)
    if kind == "stub" and place:
        from stardust_esapi.esapi.stub_backend import StubBackend

        return StubBackend(Path(place))
    meant = did_you_mean(kind, [] if kind in _KINDS else _KINDS)
    raise UsageError(
        f"--esapi {choice}: write `eclipse`, `eclipse:` and the folder of its assemblies, or "
        f"`stub:` (`clr-stub:`) and the folder of a stub database.{meant}"
    )
