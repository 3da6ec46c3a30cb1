"""The words that a flag or a setting chooses from; importing them takes no time."""

from __future__ import annotations

from enum import StrEnum


class EngineName(StrEnum):
    """Who moves the data."""

    ESAPI = "esapi"  # ESAPI's object model, file by file
    QR = "qr"  # DICOM Query/Retrieve from a peer such as the DB Daemon
    DCMTK = "dcmtk"  # the same through DCMTK's programs
    NONE = "none"  # prepare only


class OnExisting(StrEnum):
    """What to do with a prepared structure set that does not hold what would be created now."""

    STOP = "stop"
    REUSE = "reuse"
    NEW = "new"


class OnMissing(StrEnum):
    """What to do where a contrast CT or MR that a row names cannot be had as the row says."""

    SKIP = "skip"  # that kind is left out, with a warning
    FAIL = "fail"  # the case fails


class Retry(StrEnum):
    """Which cases are tried again that an earlier run has given up."""

    ALL = "all"  # failed and doubtful ones
    FAILED = "failed"
    NONE = "none"


class Retrieve(StrEnum):
    """How instances are asked for."""

    MOVE = "move"
    GET = "get"
