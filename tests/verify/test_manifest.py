from __future__ import annotations

import contextlib
import hashlib
import io
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, RLELossless, RTImageStorage

from stardust_esapi.dicom.instance import Person, owner_of
from stardust_esapi.errors import VerifyError
from stardust_esapi.model import Kind
from stardust_esapi.verify.inspect import differing, inspect_folder, persons_of
from stardust_esapi.verify.manifest import (
    RootEntry,
    damage,
    manifest_bytes,
    manifest_digest,
    read_manifest,
    read_root_manifest,
    write_manifest,
    write_root_manifest,
)


def refusal(folder: Path, request) -> str:
    with pytest.raises(VerifyError) as caught:
        inspect_folder(folder, request, "case1")
    message = str(caught.value)
    assert message.startswith(
        f"patient {request.patient_id}, {request.kind} series {request.series_uid}: "
    )
    assert "transfer the series again" in message
    return message


def edit(path: Path, **values: object) -> None:
    ds = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(ds, name, value)
    ds.save_as(path, enforce_file_format=True)


def test_a_whole_series_of_each_kind_is_described(tmp_path: Path, make, kind: Kind) -> None:
    request, folder = make.requests[kind], tmp_path / "s"
    make.fill(folder, request)
    manifest = inspect_folder(folder, request, "case1").manifest
    assert (manifest.request, manifest.case_key) == (request, "case1")
    assert [f.name for f in manifest.files] == sorted(p.name for p in folder.iterdir())
    for file in manifest.files:
        data = (folder / file.name).read_bytes()
        ds = pydicom.dcmread(folder / file.name)
        assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert file.sop_instance_uid == ds.SOPInstanceUID
        assert file.sop_class_uid == ds.SOPClassUID
        assert file.series_uid == ds.SeriesInstanceUID


def test_its_own_manifest_is_no_stranger(tmp_path: Path, make) -> None:
    request, folder = make.requests[Kind.CT], tmp_path / "s"
    make.fill(folder, request)
    manifest = inspect_folder(folder, request, "case1").manifest
    write_manifest(folder, manifest)
    assert inspect_folder(folder, request, "case1").manifest == manifest


def test_a_manifest_is_read_back_and_always_the_same_bytes(tmp_path: Path, make) -> None:
    request, folder = make.requests[Kind.CT], tmp_path / "s"
    make.fill(folder, replace(request, patient_id="Müller 01"))
    manifest = inspect_folder(folder, replace(request, patient_id="Müller 01"), "case1").manifest
    write_manifest(folder, manifest)
    assert read_manifest(folder) == manifest
    data = (folder / "manifest.json").read_bytes()
    assert data == manifest_bytes(manifest)
    assert hashlib.sha256(data).hexdigest() == manifest_digest(manifest)
    assert json.dumps(json.loads(data), indent=1, sort_keys=True, ensure_ascii=False) + "\n" == (
        data.decode()
    )
    assert "Müller 01" in data.decode()


# --- what an inspection must refuse ---------------------------------------------------------


@pytest.fixture
def ct(tmp_path: Path, make):
    make.fill(tmp_path / "s", make.requests[Kind.CT])
    return tmp_path / "s", make.requests[Kind.CT]


@pytest.fixture
def mr(tmp_path: Path, make):
    make.fill(tmp_path / "s", make.requests[Kind.MR])
    return tmp_path / "s", make.requests[Kind.MR]


def test_a_missing_image(ct) -> None:
    (ct[0] / "CT.2.dcm").unlink()
    message = refusal(*ct)
    assert "2 of 3 images are there" in message
    assert "RS.1.dcm refers to 1 image outside the folder, such as 1.2.1.2" in message


def test_an_image_too_many(ct, make) -> None:
    make.save(make.image(ct[1], 4), ct[0] / "CT.4.dcm")
    assert "4 of 3 images are there" in refusal(*ct)


@pytest.mark.parametrize("images", [0, 3])
def test_an_empty_folder_never_passes(tmp_path: Path, make, images: int) -> None:
    request = replace(make.requests[Kind.CT], images=images, structure_set_uid="")
    assert f"0 of {images} images" in refusal(tmp_path, request)


def test_a_folder_that_is_not_there(tmp_path: Path, make) -> None:
    assert "cannot be read" in refusal(tmp_path / "none", make.requests[Kind.CT])


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("CT.1.dcm", {"PatientID": "0043"}, "CT.1.dcm is of another patient (0043)"),
        ("CT.1.dcm", {"PatientID": "42"}, "CT.1.dcm is of another patient (42)"),
        ("CT.1.dcm", {"PatientID": ""}, "CT.1.dcm is of another patient (no id)"),
        ("RS.1.dcm", {"PatientID": "0043"}, "RS.1.dcm is of another patient (0043)"),
        ("CT.1.dcm", {"SeriesInstanceUID": "1.2.2"}, "CT.1.dcm is of another series (1.2.2)"),
        ("CT.1.dcm", {"StudyInstanceUID": "1.4"}, "CT.1.dcm is of another study (1.4)"),
        ("CT.1.dcm", {"SOPInstanceUID": "1.2.1.2"}, "2 files share SOP Instance UID 1.2.1.2"),
        ("CT.1.dcm", {"FrameOfReferenceUID": "1.7"}, "the images lie in 2 frames of reference"),
        ("CT.1.dcm", {"FrameOfReferenceUID": ""}, "or some in none"),
        ("CT.1.dcm", {"SOPClassUID": RTImageStorage}, "(RT Image Storage)"),
        ("RS.1.dcm", {"SOPInstanceUID": "1.2.6"}, "RS.1.dcm is another structure set (1.2.6)"),
        ("RS.1.dcm", {"FrameOfReferenceUID": "1.7"}, "RS.1.dcm lies in another frame of reference"),
    ],
)
def test_a_file_that_does_not_belong(ct, name: str, values, message: str) -> None:
    edit(ct[0] / name, **values)
    assert message in refusal(*ct)


def test_padding_of_the_patient_id_is_no_difference(ct) -> None:
    edit(ct[0] / "CT.1.dcm", PatientID="0042 ")
    assert inspect_folder(*ct, "case1").manifest.request.patient_id == "0042"


def test_contrast_ct_and_planning_ct_do_not_mix(ct, make) -> None:
    make.save(make.image(make.requests[Kind.KM], 1), ct[0] / "CT.9.dcm")
    message = refusal(*ct)
    assert "4 of 3 images" in message
    assert "CT.9.dcm is of another series (1.2.2)" in message


def test_an_mr_image_among_ct_images(ct, make) -> None:
    make.save(make.image(make.requests[Kind.MR], 1), ct[0] / "MR.1.dcm")
    assert "MR.1.dcm is no CT image and does not belong here" in refusal(*ct)


def test_a_missing_structure_set(ct) -> None:
    (ct[0] / "RS.1.dcm").unlink()
    assert "the structure set 1.2.5 is missing" in refusal(*ct)


def test_two_structure_sets(ct, make) -> None:
    make.save(make.structure_set(replace(ct[1], structure_set_uid="1.2.4")), ct[0] / "RS.0.dcm")
    assert "there are 2 structure sets instead of one" in refusal(*ct)


def test_a_structure_set_that_was_not_asked_for(ct) -> None:
    request = replace(ct[1], structure_set_uid="")
    assert "RS.1.dcm is a structure set that was not asked for" in refusal(ct[0], request)


def test_the_structure_set_that_is_derived_onto_an_mr(mr, make) -> None:
    folder, request = mr
    asked = replace(request, derived_structure_set_uid="1.2.8")
    inspect_folder(folder, asked, "case1")  # who could not derive it has said so
    made = make.structure_set(replace(request, structure_set_uid="1.2.8"), frame="1.9")
    path = make.save(made, folder / "RS.1.dcm")
    manifest = inspect_folder(folder, asked, "case1").manifest
    assert manifest.request.derived_structure_set_uid == "1.2.8"
    assert [file.sop_instance_uid for file in manifest.files if file.name == path.name] == ["1.2.8"]
    assert "a structure set that was not asked for" in refusal(folder, request)
    edit(path, SOPInstanceUID="1.2.9")
    assert "another structure set (1.2.9) than asked for (1.2.8)" in refusal(folder, asked)


def test_a_structure_set_of_another_frame(ct, make) -> None:
    make.save(make.structure_set(ct[1], frame="1.7"), ct[0] / "RS.1.dcm")
    assert "RS.1.dcm lies in another frame of reference than the images" in refusal(*ct)


def test_a_contour_on_an_image_that_is_elsewhere(ct, make) -> None:
    ds = make.structure_set(ct[1])
    contour = ds.ROIContourSequence[0].ContourSequence[0]
    contour.ContourImageSequence = Sequence([make.item(ReferencedSOPInstanceUID="1.2.2.1")])
    make.save(ds, ct[0] / "RS.1.dcm")
    assert "refers to 1 image outside the folder, such as 1.2.2.1" in refusal(*ct)


def test_a_structure_set_that_refers_to_nothing(ct, make) -> None:
    ds = make.structure_set(ct[1])
    del ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence
    ds.ROIContourSequence = Sequence([])
    make.save(ds, ct[0] / "RS.1.dcm")
    assert "RS.1.dcm refers to no image" in refusal(*ct)


def test_a_missing_or_wrong_registration(mr, make) -> None:
    (mr[0] / "RE.1.dcm").unlink()
    assert "the registration 1.2.7 is missing" in refusal(*mr)
    make.save(make.registration(mr[1], frames=("1.7", "1.8")), mr[0] / "RE.1.dcm")
    assert "RE.1.dcm does not register the images' frame of reference" in refusal(*mr)
    make.save(make.registration(replace(mr[1], registration_uid="1.2.8")), mr[0] / "RE.1.dcm")
    assert "RE.1.dcm is another registration (1.2.8) than asked for (1.2.7)" in refusal(*mr)


@pytest.mark.parametrize("name", ["IM.1.dcm", "MR.1.dcm", "RS.2.dcm", "CT.1", "ct.1.dcm"])
def test_a_name_that_the_consumer_would_not_find(ct, name: str) -> None:
    (ct[0] / "CT.1.dcm").rename(ct[0] / name)
    assert f"{name} must be called CT*.dcm" in refusal(*ct)


def test_something_that_is_no_dicom_file(ct) -> None:
    (ct[0] / "CT.9.dcm").write_bytes(b"")
    (ct[0] / "thumbs.db").write_bytes(b"x" * 500)
    (ct[0] / "sub").mkdir()
    message = refusal(*ct)
    assert "CT.9.dcm is damaged or no DICOM file" in message
    assert "thumbs.db is damaged or no DICOM file" in message
    assert "sub cannot be read" in message


def test_many_problems_do_not_flood_the_message(ct) -> None:
    for number in range(20):
        (ct[0] / f"x{number:02}").write_bytes(b"x")
    message = refusal(*ct)
    assert message.count(";") == 5
    assert "; and 15 more. Nothing of it counts" in message


@pytest.mark.parametrize("name", ["CT.1.dcm", "RS.1.dcm"])
def test_a_file_cut_off_anywhere_is_never_taken_for_whole(ct, name: str) -> None:
    path = ct[0] / name
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert f"{name} " in refusal(*ct)
    path.write_bytes(whole)
    inspect_folder(*ct, "case1")


@pytest.mark.parametrize("name", ["CT.1.dcm", "RS.1.dcm"])
def test_a_damaged_file_is_described_or_refused_and_nothing_else(ct, name: str) -> None:
    path = ct[0] / name
    whole = path.read_bytes()
    for position in range(128, len(whole), 2):
        damaged = bytearray(whole)
        damaged[position] ^= 0xA5
        path.write_bytes(damaged)
        owner_of(path)
        with contextlib.suppress(VerifyError):
            inspect_folder(*ct, "case1")


@pytest.mark.parametrize("implicit", [True, False])
def test_a_structure_set_with_undefined_lengths_cut_off(ct, make, implicit: bool) -> None:
    path = ct[0] / "RS.1.dcm"
    ds = make.structure_set(ct[1])
    for element in ds.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = True
            for each in element.value:
                each.is_undefined_length_sequence_item = True
    if implicit:
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    make.save(ds, path)
    inspect_folder(*ct, "case1")
    whole = path.read_bytes()
    for length in range(132, len(whole), 3):
        path.write_bytes(whole[:length])
        assert "RS.1.dcm " in refusal(*ct)


# --- one patient's ----------------------------------------------------------------------------

PERSONAL = ("Fremd", "Gerda", "1952", "19510824", "RIS")


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"PatientName": "Fremd^Gerda"}, "patient's name"),
        ({"PatientName": "Geheim^Gerd"}, "patient's name"),
        ({"PatientBirthDate": "19510824"}, "birth date"),
        ({"PatientSex": "M"}, "sex"),
        ({"IssuerOfPatientID": "RIS"}, "issuer of the patient ID"),
    ],
)
@pytest.mark.parametrize("name", ["CT.2.dcm", "RS.1.dcm"])
def test_one_file_of_another_person(ct, name: str, values, what: str) -> None:
    edit(ct[0] / name, **values)
    message = refusal(*ct)
    assert f"{name} bears another {what} than most of its series" in message
    assert not any(word in message for word in PERSONAL)


@pytest.mark.parametrize(
    "values",
    [
        {"PatientName": "GEHEIM^GERDA"},
        {"PatientName": "Geheim ^Gerda^^^"},
        {"PatientName": ""},
        {"PatientBirthDate": None, "PatientSex": "", "IssuerOfPatientID": None},
    ],
)
def test_what_makes_no_other_person(ct, values) -> None:
    edit(ct[0] / "CT.2.dcm", **values)
    edit(ct[0] / "RS.1.dcm", **values)
    inspect_folder(*ct, "case1")


def test_a_name_is_the_same_in_another_character_set(ct) -> None:
    for name in ("CT.1.dcm", "CT.2.dcm", "CT.3.dcm", "RS.1.dcm"):
        edit(ct[0] / name, PatientName="Müller^Änne")
    edit(ct[0] / "RS.1.dcm", SpecificCharacterSet="ISO_IR 100")
    assert "Müller^Änne".encode("latin-1") in (ct[0] / "RS.1.dcm").read_bytes()
    inspect_folder(*ct, "case1")


def test_who_the_patient_is_is_shown_nowhere(ct) -> None:
    assert not any(
        word in repr(inspect_folder(*ct, "case1")).casefold() for word in ("geheim", "1951")
    )


def test_another_persons_registration_is_left_to_who_knows_the_other_series(mr) -> None:
    """It was made where the planning CT is, and may spell the name as they do there."""
    edit(mr[0] / "RE.1.dcm", PatientName="Geheim^G.")
    persons = inspect_folder(*mr, "case1").persons
    assert differing(persons) == ["patient's name"]
    write_manifest(mr[0], inspect_folder(*mr, "case1").manifest)
    assert persons_of(mr[0]) == persons


def test_persons_differ_as_far_as_both_say() -> None:
    known = Person("KIS", "geheim^gerda", "19510823", "F")
    assert differing([known, Person("", "", "", ""), known]) == []
    other = Person("", "geheim^gerda", "19510824", "M")
    assert differing([known, other]) == ["birth date", "sex"]


def test_a_structure_set_of_another_study(ct) -> None:
    edit(ct[0] / "RS.1.dcm", StudyInstanceUID="1.4")
    assert "RS.1.dcm is of another study than the images" in refusal(*ct)


# --- whole and even ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"Rows": 0}, "CT.2.dcm lacks Rows"),
        ({"Rows": None}, "CT.2.dcm lacks Rows"),
        ({"Columns": None}, "CT.2.dcm lacks Columns"),
        ({"BitsAllocated": None}, "CT.2.dcm lacks Bits Allocated"),
        ({"Rows": 5}, "CT.2.dcm has 32 bytes of pixels where its header says 40"),
        ({"BitsAllocated": 8}, "CT.2.dcm has 32 bytes of pixels where its header says 16"),
        ({"PixelData": b"x" * 100}, "CT.2.dcm has 100 bytes of pixels where its header says 32"),
        ({"PixelData": b""}, "CT.2.dcm has 0 bytes of pixels"),
        ({"SamplesPerPixel": 3}, "CT.2.dcm is no single plane of grey values"),
        ({"NumberOfFrames": 2}, "CT.2.dcm is no single plane of grey values"),
        ({"ImagePositionPatient": None}, "CT.2.dcm lacks Image Position (Patient)"),
        ({"ImagePositionPatient": [0, 0]}, "CT.2.dcm lacks Image Position (Patient)"),
        ({"ImageOrientationPatient": None}, "CT.2.dcm lacks Image Orientation (Patient)"),
        ({"ImageOrientationPatient": [0] * 6}, "not at right angles"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "not at right angles"),
        ({"PixelSpacing": None}, "CT.2.dcm lacks Pixel Spacing"),
        ({"PixelSpacing": [0, 1.5]}, "CT.2.dcm says that its pixels have no size"),
        ({"PixelSpacing": [15, 15]}, "CT.2.dcm has another Pixel Spacing than its series"),
        ({"Rows": 2, "Columns": 8}, "CT.2.dcm has another Rows and Columns than its series"),
        (
            {"ImageOrientationPatient": [0, 1, 0, -1, 0, 0]},
            "CT.2.dcm has another orientation than its series",
        ),
        ({"ImagePositionPatient": [-3, -3, 2.5]}, "CT.1.dcm and CT.2.dcm lie at one position"),
        ({"ImagePositionPatient": [9, 9, 7.504]}, "CT.3.dcm and CT.2.dcm lie at one position"),
    ],
)
def test_an_image_that_is_no_part_of_an_even_volume(ct, values, message: str) -> None:
    edit(ct[0] / "CT.2.dcm", **values)
    assert message in refusal(*ct)


def test_positions_that_are_no_numbers(ct) -> None:
    path = ct[0] / "CT.2.dcm"
    whole = path.read_bytes()
    assert whole.count(b"-3.0\\-3.0\\5.0") == 1
    path.write_bytes(whole.replace(b"-3.0\\-3.0\\5.0", b"-3.0\\-3.0\\nan"))
    assert "CT.2.dcm lacks Image Position (Patient)" in refusal(*ct)


def test_another_object_in_the_file_meta_information(ct) -> None:
    path = ct[0] / "CT.2.dcm"
    whole = path.read_bytes()
    assert whole.count(b"1.2.1.2\0") == 2
    path.write_bytes(whole.replace(b"1.2.1.2\0", b"1.2.1.1\0", 1))
    assert "CT.2.dcm is called another object in its File Meta Information" in refusal(*ct)


def test_padding_and_rounding_are_no_differences(ct) -> None:
    edit(ct[0] / "CT.1.dcm", PixelSpacing=[1.50004, 1.5], ImagePositionPatient=[-3, -3, 2.46])
    for number in (1, 2, 3):
        edit(ct[0] / f"CT.{number}.dcm", Rows=3, Columns=3, BitsAllocated=8, PixelData=b"123456789")
    assert (ct[0] / "CT.1.dcm").read_bytes().endswith(b"123456789\0")
    assert inspect_folder(*ct, "case1").remarks == ()


@pytest.mark.parametrize(
    ("position", "words"),
    [
        ([-3, -3, 4.0], "1.50 to 3.50 mm from one to the next"),
        ([-3, 1, 5.0], "4.72 to 4.72 mm from one to the next"),  # 4 mm aside, there and back
    ],
)
def test_images_that_lie_unevenly_are_said(ct, make, position, words: str) -> None:
    edit(ct[0] / "CT.2.dcm", ImagePositionPatient=position)
    (remark,) = inspect_folder(*ct, "case1").remarks
    assert remark.startswith("The images of the planning CT do not lie evenly: ")
    assert words in remark


def test_the_slices_of_a_tilted_gantry_lie_evenly(ct) -> None:
    for number in (1, 2, 3):
        edit(ct[0] / f"CT.{number}.dcm", ImagePositionPatient=[-3, 0.7 * number, 2.5 * number])
    assert inspect_folder(*ct, "case1").remarks == ()


def test_a_gap_is_said(tmp_path: Path, make) -> None:
    request = replace(make.requests[Kind.CT], images=6)
    make.fill(tmp_path / "s", request)
    edit(tmp_path / "s" / "CT.6.dcm", ImagePositionPatient=[-3, -3, 17.5])
    (remark,) = inspect_folder(tmp_path / "s", request, "case1").remarks
    assert "2.50 to 5.00 mm" in remark
    assert "1 of 5 steps are not the usual one of 2.50 mm" in remark


# --- compressed ----------------------------------------------------------------------------------


def compress(path: Path, syntax: str, frame: bytes, offsets: bytes = b"", **values: object) -> None:
    ds = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(ds, name, value)
    ds.file_meta.TransferSyntaxUID = syntax
    items = struct.pack("<HHL", 0xFFFE, 0xE000, len(offsets)) + offsets
    items += struct.pack("<HHL", 0xFFFE, 0xE000, len(frame)) + frame if frame else b""
    ds.PixelData = items
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.save_as(path, enforce_file_format=True)


def jpeg2000(columns: int, rows: int) -> bytes:
    out = io.BytesIO()
    grey = np.arange(columns * rows, dtype=np.uint16).reshape(rows, columns) * 99
    Image.fromarray(grey).save(out, "JPEG2000", no_jp2=True, irreversible=False)
    return out.getvalue() + b"\0" * (len(out.getvalue()) % 2)


JPEG = b"\xff\xd8" + b"x" * 9000 + b"\xff\xd9"  # nobody here can look into it


@pytest.mark.parametrize("offsets", [b"", bytes(4)])
def test_a_compressed_image_is_whole_or_cut_off(ct, offsets: bytes) -> None:
    path = ct[0] / "CT.1.dcm"
    compress(path, JPEGLosslessSV1, JPEG, offsets)
    inspect_folder(*ct, "case1")
    whole = path.read_bytes()
    for cut in (5, 8, 100, 5000, 9000):
        path.write_bytes(whole[:-cut])
        assert "CT.1.dcm" in refusal(*ct)


def test_a_compressed_image_is_framed_as_one(ct) -> None:
    path = ct[0] / "CT.1.dcm"
    compress(path, JPEGLosslessSV1, JPEG)
    whole, framed = path.read_bytes(), pydicom.dcmread(path).PixelData
    assert whole.count(framed) == 1
    longer = framed[:12] + struct.pack("<L", len(JPEG) + 2) + framed[16:]
    two = struct.pack("<HHLLL", 0xFFFE, 0xE000, 8, 0, 9012) + framed[8:]
    for wrong in (framed[:8], b"x" * 32, framed[8:], longer, two, framed + b"\0\0"):
        path.write_bytes(whole.replace(framed, wrong))
        assert "CT.1.dcm" in refusal(*ct)


def test_a_compressed_image_is_decoded_where_that_can_be_done(ct) -> None:
    path = ct[0] / "CT.1.dcm"
    compress(path, JPEG2000Lossless, jpeg2000(4, 4))
    inspect_folder(*ct, "case1")
    whole = jpeg2000(4, 4)
    for wrong in (b"\xff\x4f" + b"x" * 500, jpeg2000(2, 4), whole[: len(whole) // 2 & ~1]):
        compress(path, JPEG2000Lossless, wrong)
        assert "CT.1.dcm is compressed and cannot be decoded" in refusal(*ct)


def rle(*segments: bytes) -> bytes:
    """A frame of RLE segments (PS3.5 G.5), each of which is there as it is encoded."""
    starts = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    header = struct.pack("<16L", len(segments), *starts, *[0] * (15 - len(segments)))
    return header + b"".join(segments)


def test_an_image_in_run_lengths_is_decoded(ct) -> None:
    path = ct[0] / "CT.1.dcm"
    sixteen_times = b"\xf1\x07"
    compress(path, RLELossless, rle(sixteen_times, sixteen_times))
    inspect_folder(*ct, "case1")
    for wrong in (rle(sixteen_times), rle(sixteen_times, b"\0\0")):
        compress(path, RLELossless, wrong)
        assert "CT.1.dcm is compressed and cannot be decoded" in refusal(*ct)


@pytest.mark.parametrize(
    "values", [{"Rows": 65535, "Columns": 65535}, {}], ids=["it says", "it is"]
)
def test_no_compressed_image_is_decoded_that_is_larger_than_any(ct, values) -> None:
    bomb = rle(b"\xf1\x07", b"\x81\x07" * 40_000)  # 80 kB, which become 5 MB
    compress(ct[0] / "CT.1.dcm", RLELossless, bomb, **values)
    assert "CT.1.dcm is compressed, and larger than an image of its kind can be" in refusal(*ct)


# --- manifests as files ---------------------------------------------------------------------

ENTRY = RootEntry("CT_Export/0042/1.2.1", "a" * 64, "case1", Kind.CT, exported=True)


def test_the_root_manifest_is_sorted_and_read_back(tmp_path: Path) -> None:
    other = replace(ENTRY, folder="CT_Export/0041/1.2.1", exported=False)
    write_root_manifest(tmp_path, [ENTRY, other])
    first = (tmp_path / "manifest.json").read_bytes()
    assert read_root_manifest(tmp_path) == (other, ENTRY)
    write_root_manifest(tmp_path, iter([other, ENTRY]))
    assert (tmp_path / "manifest.json").read_bytes() == first


@pytest.mark.parametrize(
    "folder", ["../x/y", "CT_Export/../..", "CT_Export/./x", "/CT_Export/a/b", "CT_Export/a"]
)
def test_a_root_manifest_cannot_lead_elsewhere(tmp_path: Path, folder: str) -> None:
    write_root_manifest(tmp_path, [replace(ENTRY, folder=folder)])
    with pytest.raises(VerifyError, match=r"damaged.*folder"):
        read_root_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"format": "other"}'])
@pytest.mark.parametrize("read", [read_manifest, read_root_manifest])
def test_a_damaged_manifest_is_named(tmp_path: Path, content: bytes, read) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(VerifyError, match=r"manifest\.json is damaged or written by another"):
        read(tmp_path)


def test_one_sort_of_manifest_is_not_the_other(tmp_path: Path, ct) -> None:
    write_root_manifest(tmp_path, [ENTRY])
    with pytest.raises(VerifyError, match="format"):
        read_manifest(tmp_path)
    write_manifest(tmp_path, inspect_folder(*ct, "case1").manifest)
    with pytest.raises(VerifyError, match="format"):
        read_root_manifest(tmp_path)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(VerifyError, match=r"manifest\.json is missing"):
        read_manifest(tmp_path)


def test_quickly_told_what_is_wrong_in_a_folder(ct) -> None:
    folder, request = ct
    write_manifest(folder, inspect_folder(folder, request, "key").manifest)
    assert damage(folder) == ""
    (folder / "Thumbs.db").write_bytes(b"of the system")
    assert damage(folder) == ""
    image = folder / "CT.2.dcm"
    (folder / "CT.other.DCM").write_bytes(image.read_bytes())
    assert damage(folder) == "1 file is not of this export, such as CT.other.DCM"
    (folder / "CT.other.DCM").unlink()
    image.write_bytes(image.read_bytes() + b"0")
    assert damage(folder) == "1 file is of another size, such as CT.2.dcm"
    image.unlink()
    (folder / "CT.1.dcm").unlink()
    assert damage(folder) == "2 files are missing, such as CT.1.dcm"
    (folder / "manifest.json").unlink()
    with pytest.raises(VerifyError, match="is missing"):
        damage(folder)
