"""What the doctor asks of the network; each check gives a sentence, or raises one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from threading import Timer
from typing import Final

from pydicom.uid import UID
from pynetdicom import build_context, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from stardust_esapi.choices import Retrieve
from stardust_esapi.dicom.instance import IMAGE_CLASSES
from stardust_esapi.errors import TransferError, UsageError
from stardust_esapi.settings import Network
from stardust_esapi.transfer.network.association import FIND, MODELS, PeerAssociation, offers
from stardust_esapi.transfer.network.dimse import Taking
from stardust_esapi.transfer.network.entity import associate, tune
from stardust_esapi.transfer.network.file_daemon import FolderCollector
from stardust_esapi.transfer.network.inbox import Expected, Inbox, Pulse
from stardust_esapi.transfer.network.query import identifier, studies_of
from stardust_esapi.transfer.network.receiver import Receiver
from stardust_esapi.wording import counted

_SERVICES: Final = {
    "C-FIND": FIND,
    "C-MOVE": MODELS[Retrieve.MOVE],
    "C-GET": MODELS[Retrieve.GET],
}
_ENOUGH: Final = 4  # associations at a time; more would be a load on a clinic's daemon


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
    with _connected(network, Verification) as association:
        status = association.send_c_echo()
    if "Status" not in status or status.Status != 0:
        raise TransferError(f"{network.peer} does not answer a C-ECHO as it should.")
    return f"It answers a C-ECHO from {network.aet}."


def services(network: Network) -> str:
    """Which services the peer offers.

    Raises:
        TransferError: Not those that an export needs.
    """
    with _connected(network, *_SERVICES.values()) as association:
        offered = [name for name, model in _SERVICES.items() if offers(association, model)]
    found = f"It offers {' and '.join(offered) or 'neither C-FIND nor C-MOVE nor C-GET'}."
    if "C-FIND" not in offered:
        raise TransferError(f"{found} Check that it is a Query/Retrieve SCP.")
    if f"C-{network.retrieve.upper()}" not in offered:
        raise TransferError(
            f'{found} network.retrieve is "{network.retrieve}": set it to what it offers.'
        )
    if network.tls and network.retrieve is Retrieve.MOVE:
        found += (
            " Varian's DICOM services do no C-MOVE over TLS, whatever they offer: with them, set "
            'network.retrieve to "get".'
        )
    return found


def associations(network: Network) -> str:
    """How many associations the peer takes at a time, as far as a few of them tell.

    Raises:
        TransferError: Fewer than are set.
    """
    most = max(_ENOUGH, network.associations)
    taken = 0
    with ExitStack() as stack:
        try:
            while taken < most:
                stack.enter_context(_connected(network, Verification))
                taken += 1
        except TransferError:
            pass
    found = f"It takes {taken}{' or more' if taken == most else ''} at a time"
    if taken < network.associations:
        raise TransferError(
            f"{found}, and network.associations is {network.associations}: set it to {taken or 1}, "
            "or end what others have open."
        )
    return f"{found}; network.associations is {network.associations}."


def find_patient(network: Network, patient_id: str) -> str:
    """Whether the peer has studies of a patient.

    Raises:
        TransferError: It has none, or does not answer.
    """
    with _association(network) as association:
        studies = list(studies_of(association.find, patient_id))
    if not studies:
        raise TransferError(f"The peer has no study of patient {patient_id}. Check the id.")
    return f"{counted(len(studies), 'study')} of patient {patient_id}."


def retrieve_one(network: Network, patient_id: str, folder: Path) -> str:
    """Have the peer send one image: for a C-MOVE it must know our AE title, address and port.

    Where a File Daemon delivers, the image is collected from its folder.

    Args:
        network: The peer, and where it sends to.
        patient_id: A patient that has images there.
        folder: An existing empty folder for what arrives.

    Raises:
        TransferError: It did not arrive.
    """
    moves = network.retrieve is Retrieve.MOVE
    if moves and not network.deliver and network.destination not in (None, network.aet):
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
    if moves and network.deliver:
        collector = FolderCollector(Path(network.deliver.removeprefix("folder:")), network.timeout)
        before = collector.expect(patient_id)
        with _association(network) as association:
            answer = association.retrieve(wanted)
        try:
            collector.collect(before, [uid], folder, lambda _: None)
        except TransferError as error:
            raise TransferError(f"{error} The peer said: {answer}.") from None
        return f"One image was asked for, and {network.destination} delivered it."
    expected = {uid: Expected(sop_class, study, series)}
    with (
        Receiver(network, inbox.store) if moves else nullcontext(),
        inbox.delivery(patient_id, folder, expected, lambda _: None, pulse) as delivery,
        _association(network, inbox) as association,
    ):
        answer = association.retrieve(wanted)
        delivery.settle(1.0)
        if delivery.failure or delivery.missing:
            reached = (
                f"Check that the peer knows {network.aet} with this computer's address and port "
                f"{network.port}, and the firewall."
            )
            raise TransferError(
                f"One image was asked for and did not arrive: {delivery.failure or answer}. "
                f"{reached if moves else 'Ask its administrator.'}"
            )
    return "One image was asked for and arrived."


def _an_image(association: PeerAssociation, patient_id: str) -> tuple[str, str, UID, str]:
    for study in studies_of(association.find, patient_id):
        for modality, sop_class in IMAGE_CLASSES.items():
            keys = {"StudyInstanceUID": study, "SeriesInstanceUID": ""}
            for series in association.find(identifier("SERIES", **keys, Modality=modality)):
                keys["SeriesInstanceUID"] = str(series.SeriesInstanceUID)
                for image in association.find(identifier("IMAGE", **keys, SOPInstanceUID="")):
                    uid = str(image.SOPInstanceUID)
                    return study, keys["SeriesInstanceUID"], sop_class, uid
    raise TransferError(f"The peer has no CT or MR image of patient {patient_id}.")


@contextmanager
def _connected(network: Network, *services: UID) -> Iterator[Association]:
    """An association that proposes services, of which the peer may take some."""
    taking = Taking(network.timeout, network.largest_mb << 20)
    association = associate(
        network, map(build_context, services), [(evt.EVT_CONN_OPEN, tune, [taking])]
    )
    if not association.is_established:
        raise TransferError(
            f"{network.peer} does not take our association as {network.aet}. Check that it runs, "
            "its AE title, that it knows ours, and the firewall."
        )
    try:
        yield association
    finally:
        association.release()


@contextmanager
def _association(network: Network, inbox: Inbox | None = None) -> Iterator[PeerAssociation]:
    """An association that is broken off when the peer takes longer than the time-out."""
    association = PeerAssociation(network, (inbox or Inbox(Path())).store, Pulse())
    limit = Timer(network.timeout, association.break_off, ["the peer does not answer."])
    limit.start()
    try:
        with association:
            yield association
    finally:
        limit.cancel()
