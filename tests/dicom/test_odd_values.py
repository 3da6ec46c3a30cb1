"""Values that are not as DICOM wants them are nowhere quoted: they may name a patient."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SpatialRegistrationStorage

from stardust_esapi.dicom.instance import read_instance
from stardust_esapi.errors import VerifyError

ODD = {
    "PatientName": "Geheim=Gerda=Geheim=Geheim",
    "PatientBirthDate": "23.08.Geheim",
    "IssuerOfPatientID": "Geheim" * 20,
    "PatientSex": "Geheim?",
    "StudyInstanceUID": "Geheim",
    "StudyTime": "Geheim",
    "PatientAge": "Geheim",
}
# Where nobody but the product says what becomes of a warning: pytest makes an error of it.
READ = """
import pydicom, sys, threading
import stardust_esapi.{module}

def read():
    str(pydicom.dcmread(sys.argv[1]))

thread = threading.Thread(target=read)
thread.start()
thread.join()
"""


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = SpatialRegistrationStorage, "1.2.3"
    ds.RegistrationSequence = [Dataset()]
    for keyword, value in ODD.items():
        vr = dictionary_VR(keyword)
        ds[keyword] = DataElement(keyword, vr, value, validation_mode=IGNORE)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(tmp_path / "RE.1.dcm", enforce_file_format=True)
    return tmp_path / "RE.1.dcm"


def test_pydicom_would_quote_them(odd: Path) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        str(pydicom.dcmread(odd))
    assert any("Geheim" in str(one.message) for one in said)


@pytest.mark.parametrize("module", ["dicom.instance", "transfer.network.entity"])
def test_they_do_not_reach_the_terminal(odd: Path, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ.format(module=module), odd],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONWARNINGS": "always"},
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_nor_do_they_stand_in_the_message_of_a_damaged_file(odd: Path) -> None:
    """A name that says it is a number of eight bytes: what pydicom says then quotes it."""
    content = odd.read_bytes()
    spoilt = content.replace(b"\x10\x00\x10\x00PN", b"\x10\x00\x10\x00FD")
    assert spoilt != content
    with pytest.raises(VerifyError, match="damaged") as refused:
        read_instance("RE.1.dcm", spoilt)
    assert "Geheim" not in str(refused.value)
