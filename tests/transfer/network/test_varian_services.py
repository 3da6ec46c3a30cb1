"""The engines and Varian's DICOM services, in every way that the sources leave open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from loguru import logger
from pynetdicom import AE
from pynetdicom.association import Association

from dicom_peers import LOOPBACK, OUR_AET, Authority, Certificate
from esapi_stub import daemon as daemon_module
from esapi_stub.build import build
from esapi_stub.daemon import Daemon, Faults
from esapi_stub.profiles import PROFILES, MoveOverTls, Profile, Refusal, UidLists
from stardust_esapi.choices import Retrieve
from stardust_esapi.errors import TransferError
from stardust_esapi.model import IMAGE_KINDS, Kind
from stardust_esapi.settings import Network, Tls
from stardust_esapi.transfer.network import probe
from stardust_esapi.transfer.network.dcmtk import DcmtkEngine
from stardust_esapi.transfer.network.qr_engine import QrEngine
from stardust_esapi.verify.inspect import inspect_folder
from support import PATIENCE, until, without_waiting

DBDAEMON, SERVICES = PROFILES["dbdaemon"], PROFILES["dicom-services"]
VERIFICATION = "1.2.840.10008.1.1"


@pytest.fixture(scope="session")
def db(archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("varian") / "db"
    build(archive.files[0].parent.parent, path)
    return path


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "clinic")


@pytest.fixture(scope="module")
def theirs(clinic: Authority) -> Certificate:
    return clinic.certificate("daemon")


@pytest.fixture(scope="module")
def ours(clinic: Authority) -> Tls:
    own = clinic.certificate("stardust")
    return Tls(certificate=own.certificate, key=own.key, ca=own.ca)


@pytest.fixture
def served(db: Path, our_port: int, theirs: Certificate) -> Callable[..., Daemon]:
    """A daemon that knows us, to be entered; changes as keywords."""

    def make(profile: Profile, *, secure: bool = False, **given: object) -> Daemon:
        tls = daemon_module.Tls(theirs.certificate, theirs.key, theirs.ca) if secure else None
        destinations = {OUR_AET: (LOOPBACK, our_port)}
        return Daemon(db, destinations=destinations, profile=profile, tls=tls, **given)

    return make


def address(daemon: Daemon) -> str:
    return f"VMSDBD1@{LOOPBACK}:{daemon.port}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "series").mkdir()
    return tmp_path / "series"


@contextmanager
def warnings() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING", format="{message}")
    try:
        yield lines
    finally:
        logger.remove(sink)


@pytest.mark.parametrize("engine", [QrEngine, DcmtkEngine])
@pytest.mark.parametrize(
    ("profile", "retrieve"), [(DBDAEMON, "move"), (SERVICES, "move"), (SERVICES, "get")]
)
def test_every_kind_arrives_with_the_defaults(
    archive, served, our_port: int, tmp_path: Path, engine, profile: Profile, retrieve: str
) -> None:
    """From a daemon that takes one association, and only lists of one."""
    profile = replace(profile, associations=1, uid_lists=UidLists.FAILURE)
    with served(profile) as daemon:
        network = Network.model_validate(
            {"peer": address(daemon), "port": our_port, "retrieve": retrieve, "timeout": PATIENCE}
        )
        with engine(network, tmp_path / "quarantine") as running:
            for kind in IMAGE_KINDS:
                (tmp_path / kind).mkdir()
                request = archive.request(kind)
                assert running.fetch(request, tmp_path / kind, lambda _: None).clean
                inspect_folder(tmp_path / kind, request, "0" * 16)
            assert running.quarantined == ()


@pytest.mark.parametrize("lists", UidLists)
def test_what_is_missing_is_fetched_whatever_becomes_of_lists(
    archive, served, network_of, tmp_path: Path, folder: Path, lists: UidLists
) -> None:
    with served(replace(DBDAEMON, uid_lists=lists), faults=Faults(close_after=5)) as daemon:

        def recover(count: int) -> None:
            if count == 5:
                daemon.faults = Faults()

        with QrEngine(network_of(address(daemon)), tmp_path / "quarantine") as engine:
            fetched = engine.fetch(archive.request(), folder, recover)
    assert fetched.sender_report.count("Asked again") == 1
    assert "Success, 16 sub-operations completed" in fetched.sender_report
    inspect_folder(folder, archive.request(), "0" * 16)


@contextmanager
def others_at(daemon: Daemon, number: int) -> Iterator[None]:
    """Other programs have associations with the daemon."""
    with ExitStack() as stack:
        for _ in range(number):
            entity = AE("OTHER")
            entity.add_requested_context(VERIFICATION)
            association = entity.associate(LOOPBACK, daemon.port, ae_title="VMSDBD1")
            assert association.is_established
            stack.callback(association.release)
        yield


@pytest.mark.parametrize("refusal", Refusal)
def test_a_daemon_that_others_keep_busy_is_asked_again(
    archive, served, network_of, tmp_path: Path, folder: Path, refusal: Refusal, monkeypatch
) -> None:
    refused = threading.Event()
    refuse = Daemon._refuse

    def noting(daemon: Daemon, association: Association) -> None:
        refuse(daemon, association)
        refused.set()

    monkeypatch.setattr(Daemon, "_refuse", noting)
    request = archive.request(Kind.KM)
    with (
        served(replace(DBDAEMON, refusal=refusal)) as daemon,
        QrEngine(network_of(address(daemon), retries=20), tmp_path / "quarantine") as engine,
        ThreadPoolExecutor() as pool,
    ):
        with others_at(daemon, 2):
            job = pool.submit(engine.fetch, request, folder, lambda _: None)
            if refusal is Refusal.WAIT:
                until(lambda: len(daemon._ae.active_associations) == 3)
            else:
                assert refused.wait(PATIENCE)
        job.result(PATIENCE)
    inspect_folder(folder, request, "0" * 16)


@pytest.mark.parametrize("refusal", [one for one in Refusal if one is not Refusal.WAIT])
def test_a_daemon_that_stays_busy_is_said(
    archive, served, network_of, tmp_path: Path, folder: Path, refusal: Refusal
) -> None:
    with served(replace(DBDAEMON, refusal=refusal)) as daemon, others_at(daemon, 2):
        with (
            QrEngine(network_of(address(daemon)), tmp_path / "quarantine") as engine,
            without_waiting(),
            pytest.raises(TransferError, match="as many associations as it takes"),
        ):
            engine.fetch(archive.request(), folder, lambda _: None)


def test_a_daemon_without_get_says_so_at_once(
    archive, served, network_of, tmp_path: Path, folder: Path
) -> None:
    with served(DBDAEMON) as daemon:
        network = network_of(address(daemon), retrieve="get", retries=20)
        with (
            QrEngine(network, tmp_path / "quarantine") as engine,
            warnings() as lines,
            pytest.raises(
                TransferError, match=r'does not offer .*GET.* Set network\.retrieve to "move"'
            ),
        ):
            engine.fetch(archive.request(), folder, lambda _: None)
    assert lines == []


@pytest.mark.parametrize("how", [one for one in MoveOverTls if one is not MoveOverTls.SERVED])
def test_over_tls_the_services_want_get_and_that_is_said(
    archive, served, network_of, ours: Tls, tmp_path: Path, folder: Path, how: MoveOverTls,
    without_leaks: None,
) -> None:  # fmt: skip
    profile = replace(SERVICES, move_over_tls=how)
    with served(profile, secure=True) as daemon:
        at_once = how is not MoveOverTls.NOTHING
        network = network_of(address(daemon), tls=ours, retries=20 if at_once else 1)
        with (
            QrEngine(network, tmp_path / "quarantine") as engine,
            warnings() as lines,
            pytest.raises(TransferError, match=r'over TLS.*set network\.retrieve to "get"'),
        ):
            engine.fetch(archive.request(), folder, lambda _: None)
        assert len(lines) == (0 if at_once else 2)  # one for each attempt
        assert not list(folder.iterdir())
        network = network.model_copy(update={"retrieve": Retrieve.GET})
        with QrEngine(network, tmp_path / "quarantine") as engine:
            engine.fetch(archive.request(), folder, lambda _: None)
    inspect_folder(folder, archive.request(), "0" * 16)


def test_over_tls_an_archive_that_can_is_asked_to_move(
    archive, served, network_of, ours: Tls, tmp_path: Path, folder: Path
) -> None:
    with served(Profile(), secure=True) as daemon:
        network = network_of(address(daemon), tls=ours)
        with QrEngine(network, tmp_path / "quarantine") as engine:
            fetched = engine.fetch(archive.request(), folder, lambda _: None)
    assert fetched.sender_report.startswith("C-MOVE")
    inspect_folder(folder, archive.request(), "0" * 16)


# What the doctor asks.


@pytest.mark.parametrize(
    ("profile", "retrieve", "words"),
    [
        (Profile(), "move", "It offers C-FIND and C-MOVE and C-GET."),
        (DBDAEMON, "move", "It offers C-FIND and C-MOVE."),
        (SERVICES, "get", "It offers C-FIND and C-MOVE and C-GET."),
    ],
)
def test_the_services_are_told(
    served, network_of, profile: Profile, retrieve: str, words: str
) -> None:
    with served(profile) as daemon:
        assert probe.services(network_of(address(daemon), retrieve=retrieve)) == words


def test_a_service_that_is_set_and_not_offered_is_told(served, network_of) -> None:
    with (
        served(DBDAEMON) as daemon,
        pytest.raises(TransferError, match=r'C-FIND and C-MOVE\. network\.retrieve is "get"'),
    ):
        probe.services(network_of(address(daemon), retrieve="get"))


def test_over_tls_the_doctor_warns_of_moves(
    archive, served, network_of, ours: Tls, tmp_path: Path, folder: Path
) -> None:
    patient_id = archive.patient.patient_id
    with served(SERVICES, secure=True) as daemon:
        network = network_of(address(daemon), tls=ours)
        assert 'set network.retrieve to "get"' in probe.services(network)
        with pytest.raises(TransferError, match=r'set network\.retrieve to "get"'):
            probe.retrieve_one(network, patient_id, folder)
        network = network.model_copy(update={"retrieve": Retrieve.GET})
        assert "TLS" not in probe.services(network)
        assert probe.retrieve_one(network, patient_id, folder).endswith("arrived.")


@pytest.mark.parametrize("refusal", [one for one in Refusal if one is not Refusal.WAIT])
def test_the_associations_are_counted(served, network_of, refusal: Refusal) -> None:
    with served(replace(DBDAEMON, refusal=refusal)) as daemon:
        found = probe.associations(network_of(address(daemon)))
        assert found == "It takes 2 at a time; network.associations is 1."
        until(lambda: not daemon._ae.active_associations)
        with pytest.raises(TransferError, match=r"takes 2 at a time.* is 3: set it to 2"):
            probe.associations(network_of(address(daemon), associations=3))
    with served(Profile()) as daemon:
        found = probe.associations(network_of(address(daemon), associations=2))
        assert found == "It takes 4 or more at a time; network.associations is 2."


def test_a_patient_beyond_ascii_is_found_whatever_the_encoding(archive, served, network_of) -> None:
    for profile in (DBDAEMON, Profile()):
        with served(profile) as daemon:
            found = probe.find_patient(network_of(address(daemon)), archive.patient.patient_id)
            assert found.startswith("2 studies")
