"""Choose how ESAPI is reached from what the user wrote after ``--esapi``."""

from __future__ import annotations

from pathlib import Path

from stardust_esapi.errors import UsageError
from stardust_esapi.esapi.backend import Backend

_STUB = "stub:"


def connect(choice: str) -> Backend:
    """Return the backend for ``eclipse`` or ``stub:DB``.

    Each kind is imported when chosen only: the clinic has no stub, a laptop no Eclipse.

    Raises:
        UsageError: The choice is unknown, or cannot be had on this machine.
    """
    if choice == "eclipse":
        from stardust_esapi.esapi.clr_backend import ClrBackend

        return ClrBackend()
    if choice.startswith(_STUB) and choice != _STUB:
        from stardust_esapi.esapi.stub_backend import StubBackend

        return StubBackend(Path(choice.removeprefix(_STUB)))
    raise UsageError(
        f"--esapi {choice}: write `eclipse`, or `stub:` and the folder of a stub database."
    )
