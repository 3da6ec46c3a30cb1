"""DICOM peers for tests, on loopback and free ports: dcmqrscp, Orthanc, and one that misbehaves."""

from __future__ import annotations

import gc
import json
import random
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from pydicom import Dataset, dcmread
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from stardust_esapi.dicom.instance import PREFIXES
from stardust_esapi.transfer.network.dimse import Taking
from stardust_esapi.transfer.network.entity import tune
from support import PATIENCE, end, until

LOOPBACK = "127.0.0.1"
OUR_AET = "STARDUST"


def free_port() -> int:
    """A port that nobody listens on.

    Below those that the system gives to outgoing connections: one of these would be taken before
    anybody listens there.
    """
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port


def wait_for_port(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until somebody listens on a port."""

    def answers() -> bool:
        assert process is None or process.poll() is None, f"{process.args} has ended"
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, port)) == 0

    until(answers)


def reset(connection: socket.socket) -> None:
    """End a connection as the system does for a program that was killed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def opened_sockets() -> set[socket.socket]:
    """All of this process that are open."""
    return {one for one in gc.get_objects() if isinstance(one, socket.socket) and one.fileno() >= 0}


@contextmanager
def no_socket_left() -> Iterator[None]:
    """Whoever opens a socket in here closes it, and leaves none to the garbage collector."""
    before = opened_sockets()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        until(lambda: not opened_sockets() - before)  # other threads may be about to
    finally:
        if was_enabled:
            gc.enable()


@dataclass
class Node:
    """A program that serves DICOM.

    Attributes:
        ae_title: Its AE title.
        port: Where it listens.
    """

    ae_title: str
    port: int
    command: list[str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{self.ae_title}@{LOOPBACK}:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for_port(self.port, self.process)

    def kill(self) -> None:
        """Kill it at once, with the processes it started for associations."""
        if self.process is not None:
            end(self.process)
            self.process = None


@contextmanager
def dcmqrscp(folder: Path, our_port: int) -> Iterator[Node]:
    """DCMTK's archive; it knows our AE title and one where nobody listens."""
    (folder / "db").mkdir(parents=True)
    port = free_port()
    (folder / "dcmqrscp.cfg").write_text(
        f"""
NetworkTCPPort  = {port}
MaxPDUSize      = 131072
MaxAssociations = 32
HostTable BEGIN
ours    = ({OUR_AET}, {LOOPBACK}, {our_port})
nowhere = (NOWHERE, {LOOPBACK}, {free_port()})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
DCMQRSCP {folder / "db"} RW (200, 1024mb) ANY
AETable END
"""
    )
    node = Node("DCMQRSCP", port, ["dcmqrscp", "-c", str(folder / "dcmqrscp.cfg")])
    try:
        node.start()
        yield node
    finally:
        node.kill()


@contextmanager
def orthanc(folder: Path, our_port: int, tls: Certificate | None = None) -> Iterator[Node]:
    """Orthanc; it knows our AE title, and over TLS asks for a certificate."""
    folder.mkdir(parents=True)
    port = free_port()
    modality = {
        "AET": OUR_AET,
        "Host": LOOPBACK,
        "Port": our_port,
        "AllowFind": True,
        "AllowMove": True,
        "AllowGet": True,
        "UseDicomTls": tls is not None,
    }
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpServerEnabled": False,
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": True,
        "DicomModalities": {"ours": modality},
        "DicomScuTimeout": round(PATIENCE),
        "Plugins": [],
    }
    if tls:
        settings |= {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(tls.certificate),
            "DicomTlsPrivateKey": str(tls.key),
            "DicomTlsTrustedCertificates": str(tls.ca),
        }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    node = Node("ORTHANC", port, ["Orthanc", str(folder / "orthanc.json")])
    try:
        node.start()
        yield node
    finally:
        node.kill()


def send(
    files: Iterable[Path | Dataset],
    port: int,
    called: str,
    calling: str = "FILLER",
    tls: ssl.SSLContext | None = None,
) -> list[int]:
    """Store files at a peer; the statuses, or nothing where the association was refused."""
    entity = AE(calling)
    datasets = [f if isinstance(f, Dataset) else dcmread(f) for f in files]
    for sop_class in sorted({ds.SOPClassUID for ds in datasets}):
        entity.add_requested_context(sop_class)
    association = entity.associate(
        LOOPBACK,
        port,
        ae_title=called,
        tls_args=(tls, LOOPBACK) if tls else None,
        evt_handlers=[(evt.EVT_CONN_OPEN, tune, [Taking(PATIENCE, 1 << 28)])],
    )
    if not association.is_established:
        return []
    statuses = [association.send_c_store(ds).Status for ds in datasets]
    association.release()
    return statuses


@dataclass(frozen=True)
class Certificate:
    """A node's certificate, its key and the authority that signed all, as PEM files."""

    certificate: Path
    key: Path
    ca: Path


class Authority:
    """Makes certificates with OpenSSL."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.ca = folder / "ca.pem"
        self._make("ca", ["-x509", "-addext", "keyUsage=critical,keyCertSign"])

    def certificate(self, name: str) -> Certificate:
        key = self._make(
            name,
            ["-x509", "-CA", str(self.ca), "-CAkey", str(self._folder / "ca.key"),
             "-addext", "basicConstraints=critical,CA:FALSE"],
        )  # fmt: skip
        return Certificate(self._folder / f"{name}.pem", key, self.ca)

    def _make(self, name: str, arguments: list[str]) -> Path:
        key = self._folder / f"{name}.key"
        subprocess.run(
            ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "2", "-subj", f"/CN={name}", "-keyout", str(key),
             "-out", str(self._folder / f"{name}.pem"), *arguments],
            check=True,
            capture_output=True,
        )  # fmt: skip
        return key


Script = Callable[[list[Dataset]], Iterable[Dataset]]
"""From the instances that a C-MOVE asks for to what is sent for it."""


@dataclass
class Rogue:
    """A Query/Retrieve SCP that does as a test tells it.

    Attributes:
        datasets: What it holds.
        script: What it sends for a C-MOVE: other things, in another order, less, or later.
        pause: Called before each instance.
        moves: The identifiers of the C-MOVEs, as they came.
        cancelled: Whether it has ended a C-MOVE because of a C-CANCEL.
        over: Set when the test ends: no script waits any longer.
    """

    datasets: list[Dataset]
    our_port: int
    script: Script = field(default=lambda datasets: datasets)
    tls_server: ssl.SSLContext | None = None
    tls_client: ssl.SSLContext | None = None
    pause: Callable[[evt.Event], object] = lambda _: None
    moves: list[Dataset] = field(default_factory=list)
    cancelled: bool = False
    over: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    ae_title: str = "ROGUE"

    @property
    def address(self) -> str:
        return f"{self.ae_title}@{LOOPBACK}:{self.port}"

    def __enter__(self) -> Rogue:
        self._sockets: list[socket.socket] = []
        self._entity = AE(self.ae_title)
        self._entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        self._entity.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
        server = self._entity.start_server(
            (LOOPBACK, 0),
            block=False,
            ssl_context=self.tls_server,
            evt_handlers=[
                (
                    evt.EVT_CONN_OPEN,
                    lambda event: self._sockets.append(event.assoc.dul.socket.socket),
                ),
                (evt.EVT_C_FIND, self._find),
                (evt.EVT_C_MOVE, self._move),
            ],
        )
        self.port = server.server_address[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._entity.shutdown()
        for connection in self._sockets:  # pynetdicom leaves those open whose handshake failed
            connection.close()

    def _matches(self, query: Dataset) -> list[Dataset]:
        found = self.datasets
        for element in query:
            if element.keyword == "QueryRetrieveLevel" or not element.value:
                continue
            values = [element.value] if element.VM == 1 else list(element.value)
            found = [
                ds
                for ds in found
                if any(fnmatchcase(str(ds.get(element.keyword)), value) for value in values)
            ]
        return found

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        query = event.identifier
        seen = set()
        for ds in self._matches(query):
            row = Dataset()
            for element in query:
                setattr(row, element.keyword, ds.get(element.keyword, ""))
            row.QueryRetrieveLevel = query.QueryRetrieveLevel
            if str(row) not in seen:
                seen.add(str(row))
                yield 0xFF00, row

    def _move(self, event: evt.Event) -> Iterator[object]:
        self.moves.append(event.identifier)
        if event.move_destination != OUR_AET:
            yield None, None
            return
        tls = (self.tls_client, LOOPBACK) if self.tls_client else None
        wanted = list(self.script(self._matches(event.identifier)))
        contexts = [build_context(sop_class) for sop_class in PREFIXES]
        handlers = [(evt.EVT_CONN_OPEN, tune, [Taking(PATIENCE, 1 << 28)])]
        yield (
            LOOPBACK,
            self.our_port,
            {"contexts": contexts, "tls_args": tls, "evt_handlers": handlers},
        )
        yield len(wanted)
        for ds in wanted:
            self.pause(event)
            if event.is_cancelled:
                self.cancelled = True
                yield 0xFE00, None
                return
            yield 0xFF00, ds
