from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    RTStructureSetStorage,
    SpatialRegistrationStorage,
)

from stardust_esapi.model import IMAGE_KINDS, Kind, TransferRequest
from stardust_esapi.verify.inspect import inspect_folder
from stardust_esapi.verify.manifest import manifest_digest, write_manifest

Request = TransferRequest


def dicom(sop_class: str, uid: str, patient_id: str, study: str, series: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = sop_class
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientID, ds.IssuerOfPatientID = patient_id, "KIS"
    ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "Geheim^Gerda", "19510823", "F"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
    return ds


def image(request: Request, number: int, frame: str = "1.9") -> Dataset:
    sop_class = MRImageStorage if request.kind is Kind.MR else CTImageStorage
    uid = f"{request.series_uid}.{number}"
    ds = dicom(sop_class, uid, request.patient_id, request.study_uid, request.series_uid)
    ds.FrameOfReferenceUID = frame
    ds.Rows = ds.Columns = 4
    ds.PixelSpacing, ds.ImageOrientationPatient = [1.5, 1.5], [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [-3, -3, 2.5 * number]
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel = 15, 0, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelData = bytes([number]) * 32
    return ds


def item(**values: object) -> Dataset:
    ds = Dataset()
    for name, value in values.items():
        setattr(ds, name, value)
    return ds


def structure_set(request: Request, frame: str = "1.9") -> Dataset:
    refs = [f"{request.series_uid}.{n}" for n in range(1, request.images + 1)]
    images = [item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=u) for u in refs]
    uid = request.structure_set_uid
    ds = dicom(RTStructureSetStorage, uid, request.patient_id, request.study_uid, f"{uid}.9")
    series = item(SeriesInstanceUID=request.series_uid, ContourImageSequence=Sequence(images))
    study = item(RTReferencedSeriesSequence=Sequence([series]))
    ds.ReferencedFrameOfReferenceSequence = Sequence(
        [item(FrameOfReferenceUID=frame, RTReferencedStudySequence=Sequence([study]))]
    )
    ds.StructureSetROISequence = Sequence(
        [item(ROINumber=1, ROIName="gtv+", ReferencedFrameOfReferenceUID=frame)]
    )
    contour = item(ContourImageSequence=Sequence(images[:1]), ContourData=[0, 0, 0, 1, 0, 0])
    ds.ROIContourSequence = Sequence(
        [item(ReferencedROINumber=1, ContourSequence=Sequence([contour]))]
    )
    ds.RTROIObservationsSequence = Sequence([item(ReferencedROINumber=1)])
    return ds


def registration(request: Request, frames: tuple[str, str] = ("1.8", "1.9")) -> Dataset:
    uid = request.registration_uid
    ds = dicom(SpatialRegistrationStorage, uid, request.patient_id, "1.77", f"{uid}.9")
    ds.FrameOfReferenceUID = frames[0]
    ds.RegistrationSequence = Sequence([item(FrameOfReferenceUID=frame) for frame in frames])
    return ds


def save(ds: Dataset, path: Path) -> Path:
    ds.save_as(path, enforce_file_format=True)
    return path


def fill(folder: Path, request: Request) -> None:
    """Write the complete series that a request asks for."""
    folder.mkdir(parents=True)
    for number in range(1, request.images + 1):
        save(image(request, number), folder / f"{request.kind.modality}.{number}.dcm")
    if request.structure_set_uid:
        save(structure_set(request), folder / "RS.1.dcm")
    if request.registration_uid:
        save(registration(request), folder / "RE.1.dcm")


REQUESTS = {
    Kind.CT: Request(Kind.CT, "0042", "Plan", "1.2", "1.2.1", "1.2.5", "", 3),
    Kind.KM: Request(Kind.KM, "0042", "Plan", "1.2", "1.2.2", "1.2.6", "", 2),
    Kind.MR: Request(Kind.MR, "0042", "Plan", "1.3", "1.2.3", "", "1.2.7", 2),
}


def export(root: Path, request: Request, case_key: str = "case1") -> tuple[str, str]:
    """Put a proven series into an output root; return its folder and its manifest's digest."""
    where = f"{request.kind.folder}/{request.patient_id}/{request.series_uid}"
    fill(root / where, request)
    manifest = inspect_folder(root / where, request, case_key).manifest
    write_manifest(root / where, manifest)
    return where, manifest_digest(manifest)


class Dicom:
    """The makers above, for tests: importlib mode has no imports between test files."""

    image = staticmethod(image)
    structure_set = staticmethod(structure_set)
    registration = staticmethod(registration)
    item = staticmethod(item)
    save = staticmethod(save)
    fill = staticmethod(fill)
    export = staticmethod(export)
    requests = REQUESTS


@pytest.fixture(scope="session")
def make() -> type[Dicom]:
    return Dicom


@pytest.fixture(params=IMAGE_KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param)
