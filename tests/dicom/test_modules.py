"""Every mandatory attribute of the modules that PS3.3 makes mandatory for each kind of object."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from stardust_esapi import __version__
from stardust_esapi.dicom.uids import derived_uid
from stardust_esapi.dicom.write_images import write_image_series
from stardust_esapi.dicom.write_registration import write_registration
from stardust_esapi.dicom.write_structure_set import write_structure_set

# Type 1 is there with a value, type 2 is there. Conditional ones are named where they apply here.
PATIENT_STUDY_SOP = (  # C.7.1.1, C.7.2.1, C.12.1
    "SOPClassUID SOPInstanceUID SpecificCharacterSet StudyInstanceUID",
    "PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime "
    "ReferringPhysicianName StudyID AccessionNumber",
)
SERIES_FRAME_EQUIPMENT = (  # C.7.3.1, C.7.4.1, C.7.5.1
    "Modality SeriesInstanceUID FrameOfReferenceUID",
    "SeriesNumber Laterality PositionReferenceIndicator Manufacturer",
)
IMAGE = (  # C.7.6.1, C.7.6.2, C.7.6.3, C.11.2
    "PixelSpacing ImageOrientationPatient ImagePositionPatient SamplesPerPixel "
    "PhotometricInterpretation Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation "
    "PixelData ImageType WindowCenter WindowWidth",
    "InstanceNumber SliceThickness PatientPosition",
)
MANDATORY = {
    "CT": (  # A.3: C.8.2.1
        PATIENT_STUDY_SOP,
        SERIES_FRAME_EQUIPMENT,
        IMAGE,
        ("RescaleIntercept RescaleSlope", "KVP AcquisitionNumber"),
    ),
    "MR": (  # A.4: C.8.3.1
        PATIENT_STUDY_SOP,
        SERIES_FRAME_EQUIPMENT,
        IMAGE,
        (
            "ScanningSequence SequenceVariant",
            "ScanOptions MRAcquisitionType RepetitionTime EchoTime EchoTrainLength",
        ),
    ),
    "RS": (  # A.19: C.8.8.1, C.8.8.5, C.8.8.6, C.8.8.8
        PATIENT_STUDY_SOP,
        (
            "Modality SeriesInstanceUID StructureSetLabel StructureSetROISequence "
            "ROIContourSequence RTROIObservationsSequence FrameOfReferenceUID",
            "SeriesNumber OperatorsName Manufacturer StructureSetDate StructureSetTime "
            "PositionReferenceIndicator",
        ),
    ),
    "RE": (  # A.39.1: C.20.1, C.20.2
        PATIENT_STUDY_SOP,
        SERIES_FRAME_EQUIPMENT,
        (
            "ContentDate ContentTime InstanceNumber ContentLabel RegistrationSequence",
            "ContentDescription ContentCreatorName",
        ),
    ),
}
# By sequence: what each of its items holds.
MANDATORY_IN_ITEMS = {
    "StructureSetROISequence": (
        "ROINumber ReferencedFrameOfReferenceUID",
        "ROIName ROIGenerationAlgorithm",
    ),
    "ROIContourSequence": ("ReferencedROINumber", ""),
    "ContourSequence": ("ContourGeometricType NumberOfContourPoints ContourData", ""),
    "RTROIObservationsSequence": (
        "ObservationNumber ReferencedROINumber",
        "RTROIInterpretedType ROIInterpreter",
    ),
    "ReferencedFrameOfReferenceSequence": ("FrameOfReferenceUID", ""),
    "RTReferencedStudySequence": (
        "ReferencedSOPClassUID ReferencedSOPInstanceUID RTReferencedSeriesSequence",
        "",
    ),
    "RTReferencedSeriesSequence": ("SeriesInstanceUID ContourImageSequence", ""),
    "ContourImageSequence": ("ReferencedSOPClassUID ReferencedSOPInstanceUID", ""),
    "RegistrationSequence": ("FrameOfReferenceUID MatrixRegistrationSequence", ""),
    "MatrixRegistrationSequence": ("MatrixSequence", "RegistrationTypeCodeSequence"),
    "MatrixSequence": (
        "FrameOfReferenceTransformationMatrix FrameOfReferenceTransformationMatrixType",
        "",
    ),
}


@pytest.fixture
def written(make_series, make_structure_set, make_registration, tmp_path) -> dict[str, Path]:
    return {
        "CT": write_image_series(make_series("CT"), tmp_path)[0],
        "MR": write_image_series(make_series("MR"), tmp_path)[0],
        "RS": write_structure_set(make_structure_set(), tmp_path),
        "RE": write_registration(make_registration(), tmp_path),
    }


def check(dataset: pydicom.Dataset, type_1: str, type_2: str) -> None:
    absent = [keyword for keyword in f"{type_1} {type_2}".split() if keyword not in dataset]
    empty = [keyword for keyword in type_1.split() if dataset.get_item(keyword).is_empty]
    assert (absent, empty) == ([], [])


@pytest.mark.parametrize("kind", MANDATORY)
def test_mandatory_attributes_are_there(kind, written):
    dataset = pydicom.dcmread(written[kind])
    list(dataset.iterall())  # reads every element
    for type_1, type_2 in MANDATORY[kind]:
        check(dataset, type_1, type_2)
    sequences = 0
    for element in dataset.iterall():
        for item in element.value if element.keyword in MANDATORY_IN_ITEMS else ():
            check(item, *MANDATORY_IN_ITEMS[element.keyword])
            sequences += 1
    assert bool(sequences) == (kind in {"RS", "RE"})


@pytest.mark.parametrize("kind", MANDATORY)
def test_the_file_says_what_it_is_and_who_wrote_it(kind, written):
    dataset = pydicom.dcmread(written[kind])
    meta = dataset.file_meta
    syntax = ImplicitVRLittleEndian if kind == "RS" else ExplicitVRLittleEndian
    assert meta.TransferSyntaxUID == syntax
    assert meta.MediaStorageSOPClassUID == dataset.SOPClassUID
    assert meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert meta.ImplementationClassUID == derived_uid("stardust-esapi", "implementation class")
    assert meta.ImplementationVersionName == f"STARDUST {__version__}"


def test_kinds_are_told_by_sop_class_and_modality(written):
    told = {
        kind: (pydicom.dcmread(path).SOPClassUID.name, pydicom.dcmread(path).Modality)
        for kind, path in written.items()
    }
    assert told == {
        "CT": ("CT Image Storage", "CT"),
        "MR": ("MR Image Storage", "MR"),
        "RS": ("RT Structure Set Storage", "RTSTRUCT"),
        "RE": ("Spatial Registration Storage", "REG"),
    }
