"""RT Doses, written and read: by us, and by pydicom where it matters what the file says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from stardust_esapi.dicom.instance import read_instance
from stardust_esapi.dicom.read_dose import read_dose
from stardust_esapi.dicom.write_dose import write_dose
from stardust_esapi.errors import CaseError, TransferError, VerifyError
from stardust_esapi.geometry import ImageGeometry

OBLIQUE = ImageGeometry(
    origin=(-31.5, 12.25, -700.125),
    x_direction=(0.96, 0.28, 0.0),
    y_direction=(-0.224, 0.768, 0.6),
    z_direction=(0.168, -0.576, 0.8),
    spacing=(2.5, 1.25, 3.0),
    size=(6, 4, 5),
)


@pytest.mark.parametrize("geometry", [None, OBLIQUE], ids=["axial", "oblique"])
def test_what_is_written_is_read_back(make_dose, tmp_path: Path, geometry) -> None:
    source = make_dose(geometry) if geometry else make_dose()
    path = write_dose(source, tmp_path)
    found = read_dose(tmp_path)
    assert found.geometry.same_grid(source.geometry, 1e-4)
    assert found.frame_of_reference_uid == source.frame_of_reference_uid
    assert found.gray.dtype == np.float32
    assert np.abs(found.gray - source.values).max() <= 0.00002 * 61.7

    ds = pydicom.dcmread(path)
    assert path.name == f"RD.{source.sop_instance_uid}.dcm"
    assert (ds.NumberOfFrames, ds.Rows, ds.Columns) == source.values.shape
    assert ds.FrameIncrementPointer == 0x3004000C
    assert np.allclose(ds.GridFrameOffsetVector, np.arange(ds.NumberOfFrames) * 3.0)
    instance = read_instance(path.name, path.read_bytes())
    assert (instance.prefix, instance.is_relative) == ("RD", False)
    assert instance.plan_references == {source.plan_uid}


def test_axes_that_dicom_cannot_tell_are_refused(make_dose, tmp_path: Path) -> None:
    turned = replace(OBLIQUE, z_direction=(-0.168, 0.576, -0.8))
    with pytest.raises(TransferError, match="run against the cross product"):
        write_dose(make_dose(turned), tmp_path)
    with pytest.raises(TransferError, match="not at right angles"):
        write_dose(make_dose(replace(OBLIQUE, y_direction=(1.0, 0.0, 0.0))), tmp_path)
    assert not list(tmp_path.iterdir())


def in_patient_coordinates(ds: Dataset) -> None:
    ds.GridFrameOffsetVector = [ds.ImagePositionPatient[2] + 3.0 * plane for plane in range(4)]


def test_offsets_may_be_coordinates_of_an_axial_dose(make_dose, tmp_path: Path) -> None:
    """PS3.3 C.8.8.3.2, b."""
    path = write_dose(make_dose(), tmp_path)
    before = read_dose(tmp_path)
    ds = pydicom.dcmread(path)
    in_patient_coordinates(ds)
    ds.save_as(path)
    assert read_dose(tmp_path).geometry.same_grid(before.geometry, 1e-4)


def change(**values: object) -> Callable[[Dataset], None]:
    def changed(ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return changed


def compressed(ds: Dataset) -> None:
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    ds.PixelData = encapsulate([b"\xff\x4f\xff\x51"])
    ds["PixelData"].is_undefined_length = True


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (change(DoseGridScaling="0"), "Dose Grid Scaling that is no positive number"),
        (change(DoseGridScaling="-1"), "Dose Grid Scaling that is no positive number"),
        (change(GridFrameOffsetVector=[0, 3, 7, 9]), "planes that are not even"),
        (change(GridFrameOffsetVector=[0, -3, -6, -9]), "planes that are not even"),
        (change(GridFrameOffsetVector=[5, 8, 11, 14]), "do not rise from its position"),
        (change(GridFrameOffsetVector=[0, 3, 6]), "3 plane offsets for 4 planes"),
        (change(NumberOfFrames=3), "4 plane offsets for 3 planes"),
        (change(Rows=6), "has 280 bytes of values where its header says 336"),
        (change(PixelRepresentation=1), "no unsigned values"),
        (change(BitsAllocated=8), "no unsigned values"),
        (change(DoseUnits="CGY"), "doses of no known unit (CGY)"),
        (change(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "not at right angles"),
        (compressed, "compressed"),
    ],
)
def test_what_is_no_grid_of_doses_is_neither_proven_nor_read(
    make_dose, tmp_path: Path, fault: Callable[[Dataset], None], words: str
) -> None:
    path = write_dose(make_dose(), tmp_path)
    ds = pydicom.dcmread(path)
    fault(ds)
    # As it is: pydicom would not write a dataset that contradicts itself.
    pydicom.dcmwrite(path, ds, implicit_vr=False, little_endian=True, force_encoding=True)
    with pytest.raises(VerifyError) as unproven:
        read_instance(path.name, path.read_bytes())
    with pytest.raises(CaseError) as unread:
        read_dose(tmp_path)
    assert words in str(unproven.value)
    assert words in str(unread.value)


def test_a_dose_in_percent_is_proven_and_not_read(make_dose, tmp_path: Path) -> None:
    path = write_dose(make_dose(units="RELATIVE"), tmp_path)
    assert read_instance(path.name, path.read_bytes()).is_relative
    with pytest.raises(CaseError, match="in percent"):
        read_dose(tmp_path)


def test_a_file_that_is_cut_off_or_missing(make_dose, tmp_path: Path) -> None:
    path = write_dose(make_dose(), tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[:-10])
    with pytest.raises(VerifyError, match="cut off"):
        read_instance(path.name, path.read_bytes())
    with pytest.raises(CaseError, match=r"bytes of values|damaged"):
        read_dose(tmp_path)
    path.unlink()
    with pytest.raises(CaseError, match=r"0 RD\*\.dcm instead of one"):
        read_dose(tmp_path)
