from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from stardust_esapi.dataset.pseudonym import Pseudonyms
from stardust_esapi.dicom.deidentify import copy_deidentified, deidentify
from stardust_esapi.dicom.read_series import read_stack
from stardust_esapi.dicom.read_structure_set import read_structures
from stardust_esapi.errors import CaseError

PSEUDONYMS = Pseudonyms(bytes(range(32)))
PATIENT = "0815"
PSEUDONYM = PSEUDONYMS.patient(PATIENT)
DAYS = PSEUDONYMS.days(PATIENT)

# PS3.15 table E.1-1 (2024), Basic Profile, for what CT, MR, RT Structure Set and Spatial
# Registration bear: written down here by hand, so that the library's table is held against it. The
# product has neither: it lists what is kept, and must not do less than the table asks.
TABLE = """
AccessionNumber Z, AcquisitionComments X, AcquisitionDate X/Z, AcquisitionDateTime X/Z/D,
AcquisitionTime X/Z, AdditionalPatientHistory X, AdmissionID X, Allergies X, ContentCreatorName Z/D,
ContentDate Z/D, ContentTime Z/D, ContrastBolusAgent Z/D, CurrentPatientLocation X,
DerivationDescription X, DeviceSerialNumber X/Z/D, DeviceUID U, EthnicGroup X, FrameComments X,
FrameOfReferenceUID U, IconImageSequence X, ImageComments X, InstanceCreationDate X/D,
InstanceCreatorUID U, InstitutionAddress X, InstitutionName X/Z/D, InstitutionalDepartmentName X,
IrradiationEventUID U, IssuerOfPatientID X, MedicalAlerts X, MedicalRecordLocator X,
NameOfPhysiciansReadingStudy X, Occupation X, OperatorsName X/Z/D, OtherPatientIDs X,
OtherPatientIDsSequence X, OtherPatientNames X, PatientAddress X, PatientAge X, PatientBirthDate Z,
PatientBirthName X, PatientBirthTime X, PatientComments X, PatientID Z/D, PatientName Z,
PatientSex Z, PatientSize X, PatientTelephoneNumbers X, PatientWeight X, PerformedStationName X,
PerformingPhysicianName X, PhysiciansOfRecord X, PregnancyStatus X, ProtocolName X/D,
ROIDescription X, ROIGenerationDescription X, ROIInterpreter Z, ROIName Z, ROIObservationLabel X,
ROIObservationDescription X, ReferencedFrameOfReferenceUID U, ReferencedImageSequence X/Z/U*,
ReferencedSOPInstanceUID U, ReferencedStudySequence X/Z, ReferringPhysicianName Z,
RequestAttributesSequence X, RequestingPhysician X, ReviewDate Z, ReviewTime Z, ReviewerName X/Z,
SOPInstanceUID U, SeriesDate X/D, SeriesDescription X, SeriesInstanceUID U, SeriesTime X/D,
SourceImageSequence X/Z/U*, StationName X/Z/D, StructureSetDate Z, StructureSetDescription X,
StructureSetLabel D, StructureSetName X, StructureSetTime Z, StudyDate Z, StudyDescription X,
StudyID Z, StudyInstanceUID U, StudyTime Z, SynchronizationFrameOfReferenceUID U,
TimezoneOffsetFromUTC X, UID U
"""
EXPECTED = dict(item.split() for item in TABLE.replace("\n", " ").split(","))
CATEGORIES = {
    "X": "X_TAGS", "Z": "Z_TAGS", "D": "D_TAGS", "U": "U_TAGS", "Z/D": "Z_D_TAGS",
    "X/Z": "X_Z_TAGS", "X/D": "X_D_TAGS", "X/Z/D": "X_Z_D_TAGS", "X/Z/U*": "X_Z_U_STAR_TAGS",
}  # fmt: skip
VALUES = {
    "DA": "20230411", "TM": "101112.131", "DT": "20230411101112.131+0200", "UI": "1.2.276.0.77",
    "AS": "071Y", "DS": "7771", "IS": "7772", "US": 7773, "OB": b"SECRET", "UN": b"SECRET",
    "PN": "Secret^Sue", "UR": "http://secret", "CS": "SECRET",
}  # fmt: skip
# What PS3.3 has in the modules of the four objects, that training needs and that names nobody.
STAY = """
AcquisitionNumber BitsAllocated BitsStored BurnedInAnnotation Columns ContourData
ContourGeometricType ContourNumber ConvolutionKernel EchoNumbers EchoTime EchoTrainLength
FlipAngle FrameOfReferenceTransformationMatrix FrameOfReferenceTransformationMatrixType
GantryDetectorTilt HighBit ImageOrientationPatient ImagePositionPatient ImageType ImagedNucleus
ImagingFrequency InstanceNumber InversionTime KVP LargestImagePixelValue Laterality
LossyImageCompression LossyImageCompressionMethod LossyImageCompressionRatio MRAcquisitionType
MagneticFieldStrength Manufacturer ManufacturerModelName Modality NumberOfAverages
NumberOfContourPoints ObservationNumber PatientPosition PhotometricInterpretation PixelBandwidth
PixelData PixelPaddingRangeLimit PixelPaddingValue PixelRepresentation PixelSpacing
ROIDisplayColor ROIGenerationAlgorithm ROIName ROINumber ROIObservationLabel ROIVolume
RTROIInterpretedType ReconstructionDiameter ReferencedFrameNumber ReferencedROINumber
ReferencedSOPClassUID RepetitionTime RescaleIntercept RescaleSlope RescaleType Rows SOPClassUID
SamplesPerPixel ScanOptions ScanningSequence SequenceVariant SeriesNumber SliceLocation
SliceThickness SmallestImagePixelValue SpacingBetweenSlices SpecificCharacterSet VOILUTFunction
WindowCenter WindowWidth
"""
KEPT = {"ROIName", "ROIObservationLabel"}
TABLE_NAME = "dicomfields_2026c"


def all_attributes() -> Iterator[tuple[int, str]]:
    """Tags of the whole table that the dictionary knows, with their keywords."""
    module = importlib.import_module(f"dicomanonymizer.dicom_anonymization_databases.{TABLE_NAME}")
    for tag in module.ALL_TAGS:
        if len(tag) == 2 and tag[0] > 4 and keyword_for_tag(tag):
            yield Tag(*tag), keyword_for_tag(tag)


def fill(dataset: Dataset) -> Dataset:
    """Give a dataset every attribute of the table, with a value that can be told again."""
    for tag, keyword in all_attributes():
        vr = dictionary_VR(tag)
        if vr == "SQ":
            item = Dataset()
            item.CodeMeaning = "A code"
            item.ReferencedSOPInstanceUID = VALUES["UI"]
            item.PersonName = VALUES["PN"]
            dataset.add_new(tag, vr, Sequence([item]))
        else:
            dataset.add_new(tag, vr, VALUES.get(vr, f"Secret {keyword}"[:16]))
    return dataset


def an_instance(*, implicit: bool = False) -> Dataset:
    """An image with all attributes of the table, at the top and in a sequence that stays."""
    dataset = fill(Dataset())
    dataset.PatientID = PATIENT
    dataset.SOPClassUID = CTImageStorage
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = (
        ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    )
    dataset.ReferencedFrameOfReferenceSequence = Sequence([fill(Dataset())])
    return dataset


def cleaned(dataset: Dataset) -> Dataset:
    deidentify(dataset, PSEUDONYM, PATIENT, PSEUDONYMS)
    return dataset


def test_the_librarys_table_is_that_of_the_standard() -> None:
    module = importlib.import_module(f"dicomanonymizer.dicom_anonymization_databases.{TABLE_NAME}")
    assert len(EXPECTED) > 80
    wrong = {}
    for keyword, action in EXPECTED.items():
        tag = Tag(tag_for_keyword(keyword))  # type: ignore[arg-type]
        has = [a for a, c in CATEGORIES.items() if (tag.group, tag.element) in getattr(module, c)]
        if has != [action]:
            wrong[keyword] = (action, has)
    assert wrong == {}


@pytest.mark.parametrize("implicit", [False, True])
def test_does_to_every_attribute_what_the_table_says(tmp_path: Path, implicit: bool) -> None:
    """At the top and within sequences, read from a file, as parsed and as raw elements."""
    path = tmp_path / "all.dcm"
    an_instance(implicit=implicit).save_as(path, enforce_file_format=True)
    dataset = cleaned(pydicom.dcmread(path))
    for level in (dataset, dataset.ReferencedFrameOfReferenceSequence[0]):
        for tag, keyword in all_attributes():
            _check(level, tag, keyword, EXPECTED.get(keyword, ""))


def _check(level: Dataset, tag: int, keyword: str, action: str) -> None:
    element = level.get(tag)
    original = VALUES.get(dictionary_VR(tag), f"Secret {keyword}"[:16])
    if keyword in KEPT:
        assert element.value == original, keyword
        return
    if element is not None and element.VR != "SQ":
        assert element.value != original, keyword
    assert "Secret" not in str(element), keyword
    assert str(VALUES["UI"]) not in str(element).split("'"), keyword
    if keyword in ("PatientID", "PatientName"):
        assert element.value == PSEUDONYM
    elif action == "X":
        assert element is None, keyword
    elif action == "U" and element is not None:
        assert element.value == PSEUDONYMS.uid(VALUES["UI"]), keyword
    elif action == "X/Z/U*" and element is not None:
        (item,) = element.value
        assert item.ReferencedSOPInstanceUID == PSEUDONYMS.uid(str(VALUES["UI"]))
    elif action == "D" and element is not None:  # with Z or X beside it, empty is right too
        assert not element.is_empty, keyword
    elif action == "Z" and element is not None and dictionary_VR(tag) not in ("DA", "TM"):
        assert element.is_empty, keyword


def test_says_what_was_done() -> None:
    dataset = cleaned(an_instance())
    assert dataset.PatientIdentityRemoved == "YES"
    assert dataset.LongitudinalTemporalInformationModified == "MODIFIED"
    codes = [(code.CodeValue, code.CodingSchemeDesignator)
             for code in dataset.DeidentificationMethodCodeSequence]  # fmt: skip
    assert codes == [("113100", "DCM"), ("113107", "DCM")]
    assert "ROI names" in dataset.DeidentificationMethod[-1]
    assert all(len(text) <= 64 for text in dataset.DeidentificationMethod)


def test_leaves_out_what_nobody_knows_and_every_person() -> None:
    dataset = an_instance()
    inner = dataset.ReferencedFrameOfReferenceSequence[0]
    for level in (dataset, inner):
        block = level.private_block(0x0099, "STATION", create=True)
        block.add_new(0x01, "LO", "Hidden station")
        level.add_new(0x00189ABC, "UN", b"Hidden of tomorrow")
        level.add_new(0x60003000, "OW", b"Hidden overlay..")
        level.add_new(0x60204000, "LT", "Hidden overlay")
        level.add_new(0x50021234, "LO", "Hidden curve")
        level.DistributionName = "Hidden^Hugo"
    cleaned(dataset)
    assert "Hidden" not in str(dataset)
    assert not any(element.tag.is_private for element in dataset.iterall())


def test_keeps_what_training_needs() -> None:
    dataset = an_instance()
    dataset.BodyPartExamined, dataset.Manufacturer = "BRAIN", "Maker"
    dataset.PixelSpacing, dataset.ImagePositionPatient = [1, 1], [1.5, 2.5, 3.5]
    dataset.PixelData = bytes(range(64))
    dataset["PixelData"].VR = "OW"
    dataset.BitsAllocated = dataset.BitsStored = 16
    cleaned(dataset)
    assert (dataset.BodyPartExamined, dataset.Manufacturer) == ("BRAIN", "Maker")
    assert dataset.ImagePositionPatient == [1.5, 2.5, 3.5]
    assert dataset.PixelData == bytes(range(64))
    assert dataset.SOPClassUID == CTImageStorage  # DICOM's own UIDs stay


def with_pixels(values: np.ndarray, *, signed: bool, compressed: bool) -> Dataset:
    """An image of 12 of 16 bits."""
    dataset = Dataset()
    dataset.PatientID, dataset.SOPClassUID = PATIENT, CTImageStorage
    dataset.SOPInstanceUID = "1.2.276.2"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = int(signed)
    dataset.add_new("PixelData", "OW", values.astype("<u2").tobytes())
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if compressed:
        dataset.compress(RLELossless, generate_instance_uid=False)
    return dataset


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_keeps_of_pixels_the_stored_bits_alone(signed: bool, compressed: bool) -> None:
    """An overlay in the bits above may be a name; a sign without extension stays what it is."""
    stored = np.arange(48).reshape(6, 8) - (24 if signed else 0)
    odd = stored & 0x0FFF
    odd[2:4, 1:7] |= 0x9000
    dataset = cleaned(with_pixels(odd, signed=signed, compressed=compressed))
    left = np.frombuffer(dataset.PixelData, "<i2").reshape(6, 8)
    np.testing.assert_array_equal(left, stored)
    assert dataset["PixelData"].VR == "OW"
    assert (dataset.BitsStored, dataset.HighBit) == (12, 11)
    assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert dataset.SOPInstanceUID == PSEUDONYMS.uid("1.2.276.2")


def test_pixels_that_nobody_can_decode_have_no_copy() -> None:
    dataset = with_pixels(np.zeros((6, 8)), signed=False, compressed=True)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.57"  # which they are not
    with pytest.raises(CaseError, match="cannot be decoded"):
        cleaned(dataset)
    dataset = with_pixels(np.zeros((6, 8)), signed=False, compressed=False)
    dataset.HighBit = 15
    with pytest.raises(CaseError, match="cannot be decoded"):
        cleaned(dataset)


def test_replaces_uids_but_those_of_dicom_and_of_what_an_object_is() -> None:
    dataset = an_instance()
    dataset.SeriesInstanceUID = "1.2.276.1"
    dataset.FrameOfReferenceUID = "1.2.840.10008.1.4.1.1"  # that of an atlas
    dataset.StudyInstanceUID = "1.2.840.10008.19510823"  # of nothing
    dataset.ReferencedSOPClassUID = "1.2.276.99.1"  # private
    cleaned(dataset)
    assert dataset.SeriesInstanceUID == PSEUDONYMS.uid("1.2.276.1")
    assert dataset.StudyInstanceUID == PSEUDONYMS.uid("1.2.840.10008.19510823")
    assert dataset.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"
    assert dataset.ReferencedSOPClassUID == "1.2.276.99.1"


def planted() -> Dataset:
    """Every attribute of the dictionary with a value of its own; no sequence has an item."""
    dataset = Dataset()
    for tag, (vrs, *_) in DicomDictionary.items():
        vr = vrs[:2]
        if tag >> 16 > 4 and vr not in ("NONE", "NO", "SQ"):
            value = VALUES.get(vr, b"SECRET" if vr[0] == "O" else 7773)
            if vr in ("LO", "LT", "SH", "ST", "UC", "UT", "AE"):
                value = "Secret"
            dataset.add_new(tag, vr, value)
    return dataset


def test_of_all_that_the_dictionary_knows_only_what_training_needs_stays() -> None:
    dataset = planted()
    count = len(dataset)
    dataset.PatientID, dataset.SOPClassUID = PATIENT, CTImageStorage
    dataset.BurnedInAnnotation = "NO"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    inner, before = planted(), planted()
    dataset.ROIContourSequence = Sequence([inner])
    cleaned(dataset)
    assert count > 2800
    stay, stay_inside = (
        {e.keyword for e in level if e.tag in before and e.value == before[e.tag].value}
        for level in (dataset, inner)
    )
    assert stay_inside == set(STAY.split())
    assert stay == stay_inside - {"SOPClassUID", "BurnedInAnnotation"}  # which were given others


def test_what_stands_where_something_else_should_goes(tmp_path: Path) -> None:
    """Text in a number, another type of value, and a body part that is none."""
    dataset = an_instance()
    dataset.BodyPartExamined = "GEHEIM"
    dataset.add_new(0x00180050, "LO", "Geheim, Gerda")  # Slice Thickness, a DS
    dataset.add_new(0x0008103E, "LO", "Geheim, Gerda")
    item = Dataset()
    item.PatientComments = "Geheim, Gerda"
    dataset.add_new(0x00080008, "SQ", Sequence([item]))  # Image Type, a CS
    dataset.save_as(tmp_path / "odd.dcm", enforce_file_format=True)
    content = (tmp_path / "odd.dcm").read_bytes()
    odd = content.replace(b"IS\x04\x007772", b"IS\x04\x00Geh ")
    assert odd != content
    (tmp_path / "odd.dcm").write_bytes(odd)
    cleaned(pydicom.dcmread(tmp_path / "odd.dcm")).save_as(tmp_path / "clean.dcm")
    content = (tmp_path / "clean.dcm").read_bytes()
    assert b"Geh" not in content
    assert b"GEHEIM" not in content


# --- dates ----------------------------------------------------------------------------------


def shifted(keyword: str, value: object, patient: str = PATIENT) -> object:
    dataset = an_instance()
    setattr(dataset, keyword, value)
    deidentify(dataset, "p", patient, PSEUDONYMS)
    return getattr(dataset, keyword)


def test_shifts_dates_so_that_the_time_between_them_stays() -> None:
    first, second = "20230411", "20240229"
    moved = [str(shifted("StudyDate", value)) for value in (first, second)]
    assert not {first, second} & set(moved)
    days = [date(int(d[:4]), int(d[4:6]), int(d[6:])) for d in moved]
    assert (days[0] - date(2023, 4, 11)).days == DAYS
    assert (days[1] - days[0]) == date(2024, 2, 29) - date(2023, 4, 11)
    assert shifted("ContentDate", first) == moved[0]
    assert str(shifted("AcquisitionDateTime", f"{first}101112.1314+0200")) == f"{moved[0]}101112"
    assert shifted("StudyDate", first, "4711") != moved[0]


def test_times_lose_their_fractions_and_nothing_else() -> None:
    assert shifted("StudyTime", "101112.131415") == "101112"
    assert shifted("AcquisitionTime", "1011") == "1011"


@pytest.mark.filterwarnings("ignore:Invalid value")
@pytest.mark.parametrize("value", ["2023.04.11", "20231341", "00010101", "20230411-20230412"])
def test_a_date_that_is_none_is_emptied(value: str) -> None:
    assert not shifted("StudyDate", value)


def test_the_patients_own_dates_follow_the_table() -> None:
    assert shifted("PatientBirthDate", "19510823") in (None, "")
    assert cleaned(an_instance()).get("LastMenstrualDate") is None


# --- folders --------------------------------------------------------------------------------


def folders(exported: Path, kind: str) -> dict[str, Path]:
    """Series folders of a kind by patient."""
    found = {}
    for folder in sorted((exported / f"{kind}_Export").glob("*/*")):
        header = pydicom.dcmread(next(folder.glob("*.dcm")), stop_before_pixels=True)
        found[str(header.PatientID)] = folder
    return found


def copied(folder: Path, out: Path, patient: str) -> Path:
    target = out / folder.parents[1].name
    copy_deidentified(folder, target, patient, PSEUDONYMS)
    return target


def test_references_hold_across_all_files_of_a_case(exported: Path, tmp_path: Path) -> None:
    patient = "A/17.bc-5566"
    ct_source = folders(exported, "CT")[patient]
    mr_source = folders(exported, "MR")[patient]
    ct, mr = (copied(folder, tmp_path, patient) for folder in (ct_source, mr_source))
    images = {kind: [pydicom.dcmread(path) for path in sorted(folder.glob(f"{kind}*.dcm"))]
              for kind, folder in (("CT", ct), ("MR", mr))}  # fmt: skip
    assert len(images["CT"]) == len(list(ct_source.glob("CT*.dcm"))) > 5
    (structures,) = (pydicom.dcmread(path) for path in ct.glob("RS*.dcm"))
    (registration,) = (pydicom.dcmread(path) for path in mr.glob("RE*.dcm"))
    frames = {kind: {image.FrameOfReferenceUID for image in own} for kind, own in images.items()}

    # The structure set: its images, its frame of reference, its study.
    instances = {image.SOPInstanceUID for image in images["CT"]}
    referenced = {
        image.ReferencedSOPInstanceUID
        for roi in structures.ROIContourSequence
        for contour in roi.ContourSequence
        for image in contour.ContourImageSequence
    }
    assert referenced
    assert referenced <= instances
    (frame,) = structures.ReferencedFrameOfReferenceSequence
    assert {frame.FrameOfReferenceUID} == frames["CT"]
    (study,) = frame.RTReferencedStudySequence
    assert study.ReferencedSOPInstanceUID == images["CT"][0].StudyInstanceUID
    (series,) = study.RTReferencedSeriesSequence
    assert series.SeriesInstanceUID == images["CT"][0].SeriesInstanceUID
    assert {i.ReferencedSOPInstanceUID for i in series.ContourImageSequence} == instances
    assert {roi.ReferencedFrameOfReferenceUID for roi in structures.StructureSetROISequence} == (
        frames["CT"]
    )
    # The registration: from one frame of reference into the other.
    assert {item.FrameOfReferenceUID for item in registration.RegistrationSequence} == (
        frames["CT"] | frames["MR"]
    )
    # All of them are one patient's, none of whose UIDs stand there.
    originals = {
        str(element.value)
        for path in (*ct_source.glob("*.dcm"), *mr_source.glob("*.dcm"))
        for element in pydicom.dcmread(path).iterall()
        if element.VR == "UI" and not str(element.value).startswith("1.2.840.10008.")
    }
    for dataset in (*images["CT"], *images["MR"], structures, registration):
        assert dataset.PatientID == dataset.PatientName == PSEUDONYMS.patient(patient)
        uids = {str(element.value) for element in dataset.iterall() if element.VR == "UI"}
        assert not uids & originals
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.SOPInstanceUID in Path(dataset.filename).name


def test_images_and_contours_are_the_same(exported: Path, tmp_path: Path) -> None:
    """As the training's own readers see them; so are the names of structures."""
    patient = "0000471108150042"
    for kind in ("CT", "KM"):
        source = folders(exported, kind)[patient]
        target = copied(source, tmp_path, patient)
        before, after = read_stack(source), read_stack(target)
        assert after.geometry == before.geometry
        assert all(
            np.array_equal(before.plane(number), after.plane(number))
            for number in range(before.shape[0])
        )
        assert after.series_uid == PSEUDONYMS.uid(before.series_uid)
        old, new = (read_structures(next(folder.glob("RS*.dcm"))) for folder in (source, target))
        assert [roi.name for roi in new.rois] == [roi.name for roi in old.rois]
        for one, other in zip(old.rois, new.rois, strict=True):
            assert len(one.contours) == len(other.contours)
            for points, same in zip(one.contours, other.contours, strict=True):
                assert np.array_equal(points, same)


def test_the_same_case_gives_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    patient = "PAT-ÄÖ-778899"
    source = folders(exported, "CT")[patient]
    copies = [copied(source, tmp_path / name, patient) for name in ("one", "two")]
    copied(source, tmp_path / "one", patient)  # takes the place of the earlier one
    one, two = ({path.name: path.read_bytes() for path in copy.iterdir()} for copy in copies)
    assert one == two


def test_no_value_of_the_files_is_left(exported: Path, tmp_path: Path) -> None:
    """Byte by byte: no id, name, date or description that the export's files bear."""
    patient = "PAT-ÄÖ-778899"
    source = Path(shutil.copytree(folders(exported, "CT")[patient], tmp_path / "source" / "CT"))
    secrets = {b"Secret", b"Geheim", b"778899"}
    for path in source.glob("*.dcm"):
        path_set = pydicom.dcmread(path)
        path_set.InstitutionName, path_set.StationName = "Secret clinic", "SECRET-1"
        path_set.StudyDescription = path_set.SeriesDescription = "Secret course"
        path_set.ReferringPhysicianName = "Secret^Doctor"
        path_set.preamble = b"Secret preamble.".ljust(128, b"\0")
        path_set.file_meta.SourceApplicationEntityTitle = "SECRET-2"
        secrets |= {
            str(path_set[keyword].value).encode()
            for keyword in ("StudyDate", "SOPInstanceUID", "StudyInstanceUID")
            if path_set.get(keyword)
        }
        path_set.save_as(path)
    copy_deidentified(source, tmp_path / "copy", patient, PSEUDONYMS)
    for path in (tmp_path / "copy").iterdir():
        data = path.read_bytes().lower() + path.name.encode().lower()
        assert not [secret for secret in secrets if secret.lower() in data], path.name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"BurnedInAnnotation": "YES"}, "burned into its pixels"),
        ({"PatientID": "another"}, "another patient's"),
    ],
)
def test_refuses_what_it_must_not_copy(
    exported: Path, tmp_path: Path, change: dict[str, str], says: str
) -> None:
    patient = "PAT-ÄÖ-778899"
    source = Path(shutil.copytree(folders(exported, "CT")[patient], tmp_path / "source"))
    path = sorted(source.glob("CT*.dcm"))[-1]
    dataset = pydicom.dcmread(path)
    for keyword, value in change.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)
    with pytest.raises(CaseError, match=says) as caught:
        copy_deidentified(source, tmp_path / "copy", patient, PSEUDONYMS)
    assert "778899" not in str(caught.value)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["source"]


def test_says_that_a_file_is_damaged(exported: Path, tmp_path: Path) -> None:
    patient = "PAT-ÄÖ-778899"
    source = Path(shutil.copytree(folders(exported, "CT")[patient], tmp_path / "source"))
    sorted(source.glob("CT*.dcm"))[-1].write_bytes(b"no DICOM")
    with pytest.raises(CaseError, match="is damaged"):
        copy_deidentified(source, tmp_path / "copy", patient, PSEUDONYMS)
