"""Associations over TLS: both sides show a certificate of the same authority, or there is none."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_peers import LOOPBACK, OUR_AET, Authority, Certificate, Rogue, orthanc, send
from stardust_esapi.errors import TransferError, UsageError
from stardust_esapi.model import Kind
from stardust_esapi.settings import Tls
from stardust_esapi.transfer.network import pynetdicom_private
from stardust_esapi.transfer.network.qr_engine import QrEngine
from stardust_esapi.transfer.network.tls import client_context, server_context
from stardust_esapi.verify.inspect import inspect_folder
from support import PATIENCE


def settings(certificate: Certificate) -> Tls:
    return Tls(certificate=certificate.certificate, key=certificate.key, ca=certificate.ca)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "clinic")


@pytest.fixture(scope="module")
def ours(clinic: Authority) -> Tls:
    return settings(clinic.certificate("stardust"))


@pytest.fixture(scope="module")
def peers(clinic: Authority) -> Certificate:
    return clinic.certificate("peer")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return settings(Authority(tmp_path_factory.mktemp("tls") / "elsewhere").certificate("peer"))


@pytest.fixture
def rogue(archive, our_port: int, peers: Certificate) -> Iterator[Rogue]:
    tls = settings(peers)
    with Rogue(
        archive.datasets(),
        our_port,
        tls_server=server_context(tls, 10),
        tls_client=client_context(tls),
    ) as peer:
        yield peer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "series").mkdir()
    return tmp_path / "series"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("available", [True, False])
def test_a_series_arrives_over_tls(
    archive, network_of, rogue: Rogue, ours: Tls, tmp_path: Path, folder: Path,
    available: bool, without_leaks: None, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(pynetdicom_private, "AVAILABLE", available)
    with QrEngine(network_of(rogue.address, tls=ours), tmp_path / "quarantine") as engine:
        engine.fetch(archive.request(), folder, lambda _: None)
    inspect_folder(folder, archive.request(), "0" * 16)


@pytest.mark.parametrize("retrieve", ["move", "get"])
def test_a_series_arrives_from_orthanc_over_tls(
    archive, network_of, our_port: int, ours: Tls, peers: Certificate, tmp_path: Path,
    folder: Path, retrieve: str,
) -> None:  # fmt: skip
    with orthanc(tmp_path / "node", our_port, peers) as node:
        files = [ds for ds in archive.datasets() if ds.Modality in {"MR", "REG"}]
        send(files, node.port, node.ae_title, tls=client_context(ours))
        network = network_of(node.address, tls=ours, retrieve=retrieve)
        with QrEngine(network, tmp_path / "quarantine") as engine:
            engine.fetch(archive.request(Kind.MR), folder, lambda _: None)
    inspect_folder(folder, archive.request(Kind.MR), "0" * 16)


def test_a_peer_with_a_certificate_of_another_authority_gets_nothing_from_us(
    archive, network_of, our_port: int, ours: Tls, foreign: Tls, tmp_path: Path, folder: Path
) -> None:
    with Rogue(archive.datasets(), our_port, tls_server=server_context(foreign, PATIENCE)) as rogue:
        network = network_of(rogue.address, tls=ours, retries=0)
        with (
            QrEngine(network, tmp_path / "quarantine") as engine,
            pytest.raises(TransferError, match="certificates of the same CA"),
        ):
            engine.fetch(archive.request(), folder, lambda _: None)
    assert not list(folder.iterdir())


def test_who_shows_no_certificate_of_ours_stores_nothing(
    archive, network_of, our_port: int, rogue: Rogue, ours: Tls, foreign: Tls, tmp_path: Path,
    folder: Path,
) -> None:  # fmt: skip
    without = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    without.check_hostname = False
    without.verify_mode = ssl.CERT_NONE
    stranger = client_context(foreign)
    stranger.verify_mode = ssl.CERT_NONE
    with (
        QrEngine(network_of(rogue.address, tls=ours), tmp_path / "q") as engine,
        socket.create_connection((LOOPBACK, our_port)),  # says nothing, and keeps nobody out
    ):
        for context in (None, without, stranger):
            assert send(archive.files[:1], our_port, OUR_AET, "ROGUE", context) == []
        assert engine.quarantined == ()
        assert send(archive.files[:1], our_port, OUR_AET, "ROGUE", client_context(ours)) == [0x0124]
        engine.fetch(archive.request(Kind.KM), folder, lambda _: None)
    inspect_folder(folder, archive.request(Kind.KM), "0" * 16)


def test_nothing_older_than_tls_1_2_is_spoken(ours: Tls) -> None:
    for context in (client_context(ours), server_context(ours, 10)):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.verify_mode is ssl.CERT_REQUIRED


def test_certificates_that_cannot_be_used_are_named(
    network_of, ours: Tls, foreign: Tls, clinic: Authority, tmp_path: Path
) -> None:
    nothing = tmp_path / "nothing.pem"
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    for changes in ({"ca": nothing}, {"key": foreign.key}, {"certificate": text}, {"ca": text}):
        network = network_of("ROGUE@127.0.0.1:1", tls=ours.model_copy(update=changes))
        with (
            pytest.raises(UsageError, match=r"network\.tls") as caught,
            QrEngine(network, tmp_path / "quarantine"),
        ):
            pass
        for path in changes.values():
            assert str(path) in str(caught.value)


def test_a_key_with_a_password_is_refused_without_asking(ours: Tls, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", ours.key, "-out", locked, "-passout", "pass:secret"],
        check=True,
        capture_output=True,
    )
    with pytest.raises(UsageError, match="password"):
        client_context(ours.model_copy(update={"key": locked}))
