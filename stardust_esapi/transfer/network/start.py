"""Choose the engine that moves data over the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stardust_esapi.choices import EngineName
from stardust_esapi.errors import UsageError
from stardust_esapi.settings import Settings
from stardust_esapi.transfer.engine import NetworkEngine

QUARANTINE = "quarantine"


def require_peer(settings: Settings) -> None:
    """Look whether the settings say where an engine that needs the network gets the data.

    Raises:
        UsageError: They do not.
    """
    network = settings.engine not in (EngineName.ESAPI, EngineName.NONE)
    if network and settings.network.peer is None:
        raise UsageError(
            f"--engine {settings.engine} needs to know where to get the data: give --peer "
            "AE@HOST:PORT, or `peer` under [network] in the settings."
        )


@contextmanager
def network_engine(settings: Settings, root: Path) -> Iterator[NetworkEngine]:
    """Start the engine that the settings name; it is stopped when the context ends.

    Args:
        settings: Names the engine and its peer.
        root: The output folder; what nobody asked for goes into its ``quarantine`` folder.

    Raises:
        UsageError: There is no peer in the settings, the port is taken, or a program is missing.
    """
    require_peer(settings)
    # Each is imported when chosen only: pynetdicom takes its time.
    if settings.engine is EngineName.QR:
        from stardust_esapi.transfer.network.qr_engine import QrEngine

        with QrEngine(settings.network, root / QUARANTINE) as engine:
            yield engine
    else:
        from stardust_esapi.transfer.network.dcmtk import DcmtkEngine

        with DcmtkEngine(settings.network, root / QUARANTINE) as dcmtk:
            yield dcmtk
