"""Open a DICOM file, but not one that unpacks to more than memory should hold."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from stardust_esapi.errors import CaseError
from stardust_esapi.settings import LARGEST_MB

_DEFLATED = DeflatedExplicitVRLittleEndian.encode()
_MOST = LARGEST_MB << 20
_PIECE = 1 << 16
_PREAMBLE = 128  # bytes (PS3.10 7.1)


def read_file(source: Path | bytes, **arguments: Any) -> pydicom.FileDataset:
    """Read a DICOM file with pydicom, which unpacks a deflated one (PS3.5 A.5) whole.

    Args:
        source: The file, or its content.
        arguments: As ``pydicom.dcmread`` takes them.

    Raises:
        CaseError: It is deflated, and larger than any object should be.
        Exception: Whatever pydicom raises where it is damaged.
    """
    may_be_deflated = isinstance(source, Path) or _DEFLATED in source
    with _opened(source) as file:
        if may_be_deflated and _is_bomb(file):
            raise CaseError(
                f"it unpacks to more than {LARGEST_MB} MB. If that is what it should be, have it "
                "sent without compression"
            )
    return pydicom.dcmread(_opened(source) if isinstance(source, bytes) else source, **arguments)


def _opened(source: Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _is_bomb(file: BinaryIO) -> bool:
    file.seek(_PREAMBLE)
    if file.read(4) != b"DICM":
        return False
    meta = read_dataset(
        file,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _vr, _length: tag.group != 2,
    )
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return False
    inflate, size, packed = zlib.decompressobj(-zlib.MAX_WBITS), 0, b""
    # What stands behind the end, such as a byte of padding, stays in the tail for good.
    while size <= _MOST and not inflate.eof and (packed := packed or file.read(_PIECE)):
        size += len(inflate.decompress(packed, _PIECE))
        packed = inflate.unconsumed_tail
    return size > _MOST
