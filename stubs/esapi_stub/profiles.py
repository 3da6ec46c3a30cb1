"""What DICOM services can do and what they refuse: as Varian's, and as an ordinary archive.

Of Varian's the sources say what stands in :data:`PROFILES`. What they do not say is a choice here:
whoever is tested against a daemon should work with each.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


class Refusal(Enum):
    """How one association too many is met."""

    TRANSIENT = "rejected for now: local limit exceeded"
    PERMANENT = "rejected for good, without a reason"
    ABORT = "aborted"
    CLOSE = "the connection is closed without a word"
    WAIT = "it gets no answer until another one ends"


class UidLists(Enum):
    """What becomes of a list of UIDs in one key (PS3.4 C.2.2.2.2)."""

    MATCHED = "each UID is matched"
    ONE_UID = "it is taken for one UID, which nothing has"
    FIRST = "the first UID is matched"
    FAILURE = "the request fails"


class MoveOverTls(Enum):
    """What becomes of a C-MOVE that is asked for over TLS."""

    SERVED = "instances are sent over TLS"
    NOT_OFFERED = "no association over TLS accepts it"
    FAILURE = "it is offered, and fails"
    EACH_FAILS = "it is offered, and each of its instances fails"
    NOTHING = "it is offered, and succeeds without any instance"
    SENT_PLAIN = "instances are sent without TLS, which the destination does not take"


@dataclass(frozen=True)
class Profile:
    """What a daemon can do.

    Attributes:
        strict: A C-FIND, C-MOVE or C-GET matches nothing where the unique key of a level above is
            absent, as in DCMTK's dcmqrscp; Varian's daemon accepts that.
        get: C-GET is offered.
        associations: How many are served at a time; those of the daemon's own do not count.
        refusal: How one more is met.
        uid_lists: What becomes of a list of UIDs.
        series: A C-MOVE or C-GET of more series fails with 0xC001; None for any number.
        one_encoding: All is sent in Implicit VR Little Endian and, where it is beyond ASCII, in
            ISO_IR 100; keys are read so too, whatever they say.
        move_over_tls: What becomes of a C-MOVE over TLS.
    """

    strict: bool = False
    get: bool = True
    associations: int = 64
    refusal: Refusal = Refusal.TRANSIENT
    uid_lists: UidLists = UidLists.MATCHED
    series: int | None = None
    one_encoding: bool = False
    move_over_tls: MoveOverTls = MoveOverTls.SERVED


class ProfileName(StrEnum):
    """A name for a profile."""

    PLAIN = "plain"
    DBDAEMON = "dbdaemon"
    DICOM_SERVICES = "dicom-services"


PROFILES = {
    ProfileName.PLAIN: Profile(),
    ProfileName.DBDAEMON: Profile(
        get=False, associations=2, uid_lists=UidLists.ONE_UID, one_encoding=True
    ),
    ProfileName.DICOM_SERVICES: Profile(series=1, move_over_tls=MoveOverTls.FAILURE),
}
"""An archive that can do all of it, Varian's DICOM DB Daemon, and the ARIA DICOM Services."""
