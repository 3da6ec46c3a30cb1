"""What the doctor asks of the network; each check gives a sentence, or raises one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from stardust_esapi.dicom.instance import IMAGE_CLASSES
from stardust_esapi.errors import TransferError, UsageError
from stardust_esapi.settings import Network
from stardust_esapi.transfer.network.association import PeerAssociation
from stardust_esapi.transfer.network.entity import application_entity, tune
from stardust_esapi.transfer.network.file_daemon import FolderCollector
from stardust_esapi.transfer.network.inbox import Expected, Inbox, Pulse
from stardust_esapi.transfer.network.query import identifier
from stardust_esapi.transfer.network.receiver import Receiver
from stardust_esapi.transfer.network.tls import client_context


def port_is_free(network: Network) -> str:
    """Whether our storage SCP could listen.

    Raises:
        UsageError: Another program has the port.
    """
    with socket.socket() as probe:
        try:
            probe.bind((network.bind, network.port))
        except OSError as error:
            raise UsageError(
                f"Port {network.port} cannot be used: {error.strerror or error}. Stop what uses "
                "it, or set another one here and at the peer."
            ) from None
    return f"Port {network.port} is free for {network.aet}."


def echo(network: Network) -> str:
    """Whether the peer answers a C-ECHO (PS3.4 A.4).

    Raises:
        TransferError: It does not.
    """
    peer = network.peer
    if peer is None:
        raise UsageError("No peer is set. Give --peer AE@HOST:PORT, or network.peer.")
    entity = application_entity(network)
    entity.add_requested_context(Verification)
    association = entity.associate(
        peer.host,
        peer.port,
        ae_title=peer.ae_title,
        evt_handlers=[(evt.EVT_CONN_OPEN, tune, [network.timeout])],
        tls_args=(client_context(network.tls), peer.host) if network.tls else None,
    )
    if not association.is_established:
        raise TransferError(
            f"{peer} does not take our association as {network.aet}. Check that it runs, its AE "
            "title, that it knows ours, and the firewall."
        )
    status = association.send_c_echo()
    association.release()
    if "Status" not in status or status.Status != 0:
        raise TransferError(f"{peer} does not answer a C-ECHO as it should.")
    return f"It answers a C-ECHO from {network.aet}."


def find_patient(network: Network, patient_id: str) -> str:
    """Whether the peer has studies of a patient.

    Raises:
        TransferError: It has none, or does not answer.
    """
    with _association(network) as association:
        studies = _find(association, "STUDY", PatientID=patient_id, StudyInstanceUID="")
    if not studies:
        raise TransferError(f"The peer has no study of patient {patient_id}. Check the id.")
    return f"{len(studies)} studies of patient {patient_id}."


def move_one(network: Network, patient_id: str, folder: Path) -> str:
    """Have the peer send one image: shows that it knows our AE title, address and port.

    Where a File Daemon delivers, the image is collected from its folder.

    Args:
        network: The peer, and where it sends to.
        patient_id: A patient that has images there.
        folder: An existing empty folder for what arrives.

    Raises:
        TransferError: It did not arrive.
    """
    if not network.deliver and network.destination not in (None, network.aet):
        raise UsageError(
            f"The peer would send to {network.destination}, and nothing says where that puts it. "
            "Set network.deliver to its folder, or take network.destination away."
        )
    inbox, pulse = Inbox(folder / "quarantine"), Pulse()
    with _association(network) as association:
        study, series, sop_class, uid = _an_image(association, patient_id)
    wanted = identifier(
        "IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=uid
    )
    if network.deliver:
        collector = FolderCollector(Path(network.deliver.removeprefix("folder:")), network.timeout)
        before = collector.expect(patient_id)
        with _association(network) as association:
            answer = association.retrieve(wanted)
        try:
            collector.collect(before, [uid], folder, lambda _: None)
        except TransferError as error:
            raise TransferError(f"{error} The peer said: {answer}.") from None
        return f"One image was asked for, and {network.destination} delivered it."
    expected = {uid: Expected(sop_class, series)}
    with (
        Receiver(network, inbox.store),
        inbox.delivery(patient_id, folder, expected, lambda _: None, pulse) as delivery,
        _association(network, inbox) as association,
    ):
        answer = association.retrieve(wanted)
        delivery.settle(1.0)
        if delivery.failure or delivery.missing:
            raise TransferError(
                f"One image was asked for and did not arrive: {delivery.failure or answer}. Check "
                f"that the peer knows {network.aet} with this computer's address and port "
                f"{network.port}, and the firewall."
            )
    return "One image was asked for and arrived."


def _an_image(association: PeerAssociation, patient_id: str) -> tuple[str, str, UID, str]:
    for study in _find(association, "STUDY", PatientID=patient_id, StudyInstanceUID=""):
        study_uid = str(study.StudyInstanceUID)
        for modality, sop_class in IMAGE_CLASSES.items():
            for series in _find(
                association,
                "SERIES",
                StudyInstanceUID=study_uid,
                SeriesInstanceUID="",
                Modality=modality,
            ):
                series_uid = str(series.SeriesInstanceUID)
                for image in _find(
                    association,
                    "IMAGE",
                    StudyInstanceUID=study_uid,
                    SeriesInstanceUID=series_uid,
                    SOPInstanceUID="",
                ):
                    return study_uid, series_uid, sop_class, str(image.SOPInstanceUID)
    raise TransferError(f"The peer has no CT or MR image of patient {patient_id}.")


def _find(association: PeerAssociation, level: str, **keys: str) -> list[Dataset]:
    return association.find(identifier(level, **keys))


@contextmanager
def _association(network: Network, inbox: Inbox | None = None) -> Iterator[PeerAssociation]:
    """A association that is broken off when the peer takes longer than the time-out."""
    association = PeerAssociation(network, (inbox or Inbox(Path())).store, Pulse())
    limit = Timer(network.timeout, association.break_off, ["the peer does not answer."])
    limit.start()
    try:
        with association:
            yield association
    finally:
        limit.cancel()
