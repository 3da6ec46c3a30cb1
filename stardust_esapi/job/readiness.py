"""Look whether all that an export needs is there, and say what to do about the rest.

Nothing is changed. With a patient's id one image is fetched from the peer, and thrown away.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from stardust_esapi.choices import Retrieve
from stardust_esapi.errors import StardustError
from stardust_esapi.esapi import host
from stardust_esapi.esapi.connect import connect
from stardust_esapi.esapi.session import Session
from stardust_esapi.esapi.write_gate import NOT_LET, may_modify, standing_obstacle
from stardust_esapi.settings import Network, Settings

_ENOUGH_BYTES = 5 * 1024**3  # some fifty CT series


class Health(StrEnum):
    """How a thing is."""

    GOOD = "fine"
    BAD = "wrong"
    UNKNOWN = "not looked at"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at.

    Attributes:
        what: The thing.
        health: How it is.
        detail: What was found, and what to do where it is not fine.
    """

    what: str
    health: Health
    detail: str


def examine(settings: Settings, patient_id: str, out: Path) -> tuple[Diagnosis, ...]:
    """Look at disk, ESAPI, write approval and the peer.

    Args:
        settings: What a run would use.
        patient_id: A patient to open and to ask the peer for; may be empty.
        out: The output folder to be.
    """
    return (
        _look("disk space", lambda: _disk(out)),
        *_esapi(settings.esapi, patient_id),
        *_network(settings.network, patient_id),
    )


def _look(what: str, look: Callable[[], tuple[Health, str]]) -> Diagnosis:
    try:
        return Diagnosis(what, *look())
    except StardustError as error:
        return Diagnosis(what, Health.BAD, str(error))
    except OSError as error:
        return Diagnosis(what, Health.BAD, f"{error.strerror or error}.")


def _disk(out: Path) -> tuple[Health, str]:
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    text = f"{free / 1024**3:.1f} GiB free at {there}."
    if free < _ENOUGH_BYTES:
        return Health.BAD, f"{text} Make room: a CT series takes some 100 MiB."
    return Health.GOOD, text


def _esapi(choice: str, patient_id: str) -> Iterator[Diagnosis]:
    what, approval = f"ESAPI ({choice})", "write approval"
    try:
        with Session(connect(choice)) as session:
            version = session.application.ScriptEnvironment.ApiVersionInfo
            yield Diagnosis(what, Health.GOOD, f"Version {version}, logged in.")
            if patient_id:
                yield _look(approval, lambda: _approval(session, patient_id))
            else:
                yield Diagnosis(approval, Health.UNKNOWN, "Name a patient with --patient.")
    except StardustError as error:
        yield Diagnosis(what, Health.BAD, str(error))


def _approval(session: Session, patient_id: str) -> tuple[Health, str]:
    obstacle = standing_obstacle(host.current(), session.backend)
    if obstacle:
        return Health.BAD, obstacle
    with session.open_patient(patient_id) as patient:
        if may_modify(patient, host.current()):
            return Health.GOOD, "Eclipse lets this script change patient data."
    return Health.BAD, f"Eclipse does not let this script change patient data. {NOT_LET}"


def _network(network: Network, patient_id: str) -> Iterator[Diagnosis]:
    if network.peer is None:
        yield Diagnosis("peer", Health.UNKNOWN, "Name one with --peer AE@HOST:PORT.")
        return
    # Imported here: pynetdicom takes its time.
    from stardust_esapi.transfer.network import probe

    moves = network.retrieve is Retrieve.MOVE
    if moves and not network.deliver:
        yield _look("our port", lambda: (Health.GOOD, probe.port_is_free(network)))
    peer = _look(f"peer {network.peer}", lambda: (Health.GOOD, probe.echo(network)))
    yield peer
    if peer.health is Health.BAD:
        return
    yield _look("its services", lambda: (Health.GOOD, probe.services(network)))
    yield _look("its associations", lambda: (Health.GOOD, probe.associations(network)))
    retrieving = f"a move to {network.destination or network.aet}" if moves else "a C-GET"
    if not patient_id:
        yield Diagnosis(f"query and {retrieving}", Health.UNKNOWN, "Name a patient with --patient.")
        return
    yield _look("query", lambda: (Health.GOOD, probe.find_patient(network, patient_id)))
    with tempfile.TemporaryDirectory(prefix="stardust-") as folder:
        yield _look(
            retrieving,
            lambda: (Health.GOOD, probe.retrieve_one(network, patient_id, Path(folder))),
        )
