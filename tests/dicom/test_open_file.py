"""A deflated file (PS3.5 A.5) is read, and one that unpacks to gigabytes is refused."""

from __future__ import annotations

import tracemalloc
import zlib
from pathlib import Path

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian

from stardust_esapi.dicom import open_file
from stardust_esapi.dicom.instance import identify
from stardust_esapi.dicom.open_file import read_file
from stardust_esapi.dicom.read_series import read_stack
from stardust_esapi.dicom.read_structure_set import read_structures
from stardust_esapi.errors import CaseError, VerifyError

MB = 1 << 20


@pytest.fixture
def deflated(tmp_path: Path) -> Path:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientID = CTImageStorage, "1.2.3", "0042"
    ds.BitsAllocated, ds.PixelData = 16, b"\0\0"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dcmwrite(tmp_path / "CT.1.dcm", ds, enforce_file_format=True)
    return tmp_path / "CT.1.dcm"


@pytest.fixture
def bomb(deflated: Path) -> Path:
    """Another dataset in place of the file's: a megabyte of zeros, many times."""
    content = deflated.read_bytes()
    # File Meta Information Group Length (0002,0000), the first element after DICM.
    end = 144 + int.from_bytes(content[140:144], "little")
    deflate = zlib.compressobj(9, wbits=-15)
    pieces = [deflate.compress(bytes(MB)) for _ in range(open_file._MOST // MB + 1)]
    deflated.write_bytes(content[:end] + b"".join(pieces) + deflate.flush())
    return deflated


def test_a_deflated_file_is_read(deflated: Path) -> None:
    assert read_file(deflated).PatientID == "0042"
    assert identify("CT.1.dcm", deflated.read_bytes()).sop_instance_uid == "1.2.3"


@pytest.mark.parametrize("behind", [b"", b"\0"])
def test_a_large_one_is_read_with_the_padding_behind_it(deflated: Path, behind: bytes) -> None:
    ds = read_file(deflated)
    ds.PixelData = bytes(MB)
    ds.save_as(deflated, enforce_file_format=True)
    deflated.write_bytes(deflated.read_bytes() + behind)
    assert len(read_file(deflated).PixelData) == MB


def test_a_bomb_is_refused_without_unpacking_it(bomb: Path) -> None:
    content = bomb.read_bytes()
    assert len(content) < MB
    tracemalloc.start()
    try:
        with pytest.raises(CaseError, match="more than 256 MB"):
            read_file(bomb)
        with pytest.raises(
            VerifyError, match=r"CT\.1\.dcm .*more than 256 MB.*without compression"
        ):
            identify("CT.1.dcm", content)
        assert tracemalloc.get_traced_memory()[1] < 4 * MB
    finally:
        tracemalloc.stop()


def test_every_reader_refuses_it(bomb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_file, "_MOST", MB)
    for read in (read_structures, lambda path: read_stack(path.parent)):
        with pytest.raises(CaseError):
            read(bomb)
