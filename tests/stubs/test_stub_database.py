from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from esapi_stub import database, system
from esapi_stub.api.application import open_application
from esapi_stub.build import build
from esapi_stub.database import DatabaseError
from esapi_stub.sample import Phantom, PhantomContrast, Point, write_phantom
from esapi_stub.types import VVector
from support import PATIENCE

PHANTOM = Phantom(
    "Prüfkörper 12",
    patient_name="Gläsern^Ännchen",
    size=(24, 20, 8),
    spacing=(6.0, 6.0, 5.0),
    contrast=PhantomContrast(slices=4, offset=6.5),
)


@pytest.fixture
def db(tmp_path) -> Path:
    write_phantom(tmp_path / "dicom", PHANTOM)
    build(tmp_path / "dicom", tmp_path / "db", version="16.1")
    return tmp_path / "db"


@pytest.fixture
def opened(db):
    """Open the patient anew; at the end everything is disposed of."""
    applications = []

    def start():
        if applications:
            applications.pop().Dispose()
        applications.append(open_application(db))
        return applications[0], applications[0].OpenPatientById(PHANTOM.patient_id)

    yield start
    if applications:
        applications[0].Dispose()


def prepare(patient) -> None:
    """What the product does: structure sets on the planning and the contrast CT."""
    patient.BeginModifications()
    source = next(iter(patient.StructureSets))
    images = {i.Id: i for i in source.Image.Series.Study.Images3D}
    for image, identifier in (("CT_1", "zCopyFromPlan"), ("CT_2", "zCopyFromPlan_KM")):
        created = images[image].CreateNewStructureSet()
        created.Id = identifier
        for structure in source.Structures:
            if not structure.IsEmpty:
                copy = created.AddStructure(structure.DicomType, structure.Id)
                copy.Color = structure.Color
                copy.SegmentVolume = structure.SegmentVolume


def saved_files(db: Path) -> list[Path]:
    return sorted(db.rglob("RS.*.dcm"))


def test_saved_structure_sets_are_real_rtstructs(db, opened, monkeypatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    app, patient = opened()
    prepare(patient)
    sets = {s.Id: s for s in patient.StructureSets}
    app.SaveModifications()
    files = {d.StructureSetLabel: d for d in map(pydicom.dcmread, saved_files(db))}
    assert set(files) == {"zCopyFromPlan", "zCopyFromPlan_KM"}
    for label, series_uid, planes in (
        ("zCopyFromPlan", PHANTOM.uid("CT"), 8),
        ("zCopyFromPlan_KM", PHANTOM.uid("KM"), 4),
    ):
        item = files[label]
        assert item.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        assert item.file_meta.MediaStorageSOPInstanceUID == item.SOPInstanceUID == sets[label].UID
        assert item.SOPClassUID == RTStructureSetStorage
        assert (item.PatientID, item.PatientName) == (PHANTOM.patient_id, PHANTOM.patient_name)
        assert item.StudyInstanceUID == PHANTOM.uid("study")
        assert item.FrameOfReferenceUID == PHANTOM.uid("frame")
        assert (item.StructureSetDate, item.StructureSetTime) == ("20231114", "221320")
        assert item.ApprovalStatus == "UNAPPROVED"
        (frame,) = item.ReferencedFrameOfReferenceSequence
        (study,) = frame.RTReferencedStudySequence
        (series,) = study.RTReferencedSeriesSequence
        assert series.SeriesInstanceUID == series_uid
        named = [i.ReferencedSOPInstanceUID for i in series.ContourImageSequence]
        assert len(set(named)) == planes
        names = ["BODY", "GTV1", "PTV1", "Lung L OAR", "zHelp", "PRV Cord"]
        assert [roi.ROIName for roi in item.StructureSetROISequence] == names
        numbers = [1, 2, 3, 4, 5, 6]
        assert [roi.ROINumber for roi in item.StructureSetROISequence] == numbers
        observations = item.RTROIObservationsSequence
        assert [o.ReferencedROINumber for o in observations] == numbers
        types = ["EXTERNAL", "GTV", "PTV", "ORGAN", "CONTROL", "AVOIDANCE"]
        assert [o.RTROIInterpretedType for o in observations] == types
        assert list(item.ROIContourSequence[1].ROIDisplayColor) == [255, 0, 0]
        for roi in item.ROIContourSequence:
            for contour in roi.ContourSequence:
                assert contour.ContourGeometricType == "CLOSED_PLANAR"
                assert contour.NumberOfContourPoints * 3 == len(contour.ContourData)
                (image,) = contour.ContourImageSequence
                plane = named.index(image.ReferencedSOPInstanceUID)
                first = -17.5 + 6.5 * (label == "zCopyFromPlan_KM")
                assert contour.ContourData[2] == pytest.approx(first + 5 * plane, abs=1e-3)


def test_the_same_changes_make_the_same_files(tmp_path, db, opened, monkeypatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    contents = []
    for _ in range(2):
        build(tmp_path / "dicom", db, version="16.1")
        app, patient = opened()
        prepare(patient)
        app.SaveModifications()
        contents.append({path.name: path.read_bytes() for path in saved_files(db)})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 2


def test_changing_a_set_keeps_what_was_not_changed(tmp_path, db, opened) -> None:
    original = next(p for p in (tmp_path / "dicom").glob("*.dcm") if _is_structure_set(p))
    app, patient = opened()
    patient.BeginModifications()
    (structure_set,) = patient.StructureSets
    found = {s.Id: s for s in structure_set.Structures}
    found["GTV1"].Id = "gtv+"
    found["PTV1"].ClearAllContoursOnImagePlane(4)
    uid = structure_set.UID
    app.SaveModifications()
    before = pydicom.dcmread(original)
    (path,) = saved_files(db)
    after = pydicom.dcmread(path)
    assert after.SOPInstanceUID == uid == before.SOPInstanceUID
    assert after.SeriesInstanceUID == before.SeriesInstanceUID
    assert str(after.ReferencedFrameOfReferenceSequence) == str(
        before.ReferencedFrameOfReferenceSequence
    )
    for number, (one, other) in enumerate(
        zip(before.ROIContourSequence, after.ROIContourSequence, strict=True)
    ):
        if number == 2:
            assert len(other.ContourSequence) == len(one.ContourSequence) - 1
        else:  # also the marker, which is a point
            assert one == other
    assert after.StructureSetROISequence[1].ROIName == "gtv+"
    assert after.StructureSetROISequence[7].ROIName == "Marker"
    assert isinstance(PHANTOM.structures[7].shape, Point)


def _is_structure_set(path: Path) -> bool:
    return pydicom.dcmread(path, stop_before_pixels=True).Modality == "RTSTRUCT"


def test_a_long_contour_survives(db, opened) -> None:
    app, patient = opened()
    patient.BeginModifications()
    (structure_set,) = patient.StructureSets
    structure = structure_set.AddStructure("ORGAN", "Long")
    count = 6000  # over 64 kB of text
    structure.AddContourOnImagePlane(
        [VVector(-30 + 60 * i / count, 1 / (1 + i), 0) for i in range(count)]
        + [VVector(30, -30, 0), VVector(-30, -30, 0)],
        3,
    )
    app.SaveModifications()
    expected = [(p.x, p.y) for p in structure.GetContoursOnImagePlane(3)[0]]
    _, patient = opened()
    (structure_set,) = patient.StructureSets
    (contour,) = list(structure_set.Structures)[-1].GetContoursOnImagePlane(3)
    assert len(contour) == count + 2
    for (x, y), point in zip(expected, contour, strict=True):
        assert (point.x, point.y) == pytest.approx((x, y), abs=1e-8)


KILLED = """
import os, sys
from pathlib import Path
sys.path[:0] = {tests!r}
import test_stub_database as here
victim, count = sys.argv[2], int(sys.argv[3])
app = here.open_application(Path(sys.argv[1]))
patient = app.OpenPatientById(here.PHANTOM.patient_id)
here.prepare(patient)
def dying(original):
    calls = 0
    def wrapped(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return original(*arguments, **named)
    return wrapped
left = count
if victim == "fsync":
    os.fsync = dying(os.fsync)
else:
    Path.replace = dying(Path.replace)
app.SaveModifications()
os._exit(0)
"""


@pytest.mark.parametrize(
    ("victim", "count"), [("fsync", 0), ("replace", 1), ("fsync", 4), ("replace", 2), ("fsync", 5)]
)
def test_killed_save_leaves_the_old_or_the_new_state(db, opened, victim, count) -> None:
    """Two structure sets and the index are each flushed, renamed, and their folder flushed."""
    script = KILLED.format(tests=list(map(str, Path(__file__).parents[:2])))
    command = [sys.executable, "-c", script, str(db), victim, str(count)]
    assert subprocess.run(command, check=False, timeout=PATIENCE).returncode == 9
    app, patient = opened()
    committed = (victim, count) == ("fsync", 5)  # killed after the rename of the index
    ids = {s.Id for s in patient.StructureSets}
    assert ids == {"CT_1", "zCopyFromPlan", "zCopyFromPlan_KM"} if committed else ids == {"CT_1"}
    if not committed:
        prepare(patient)
        app.SaveModifications()
        _, patient = opened()
    assert len(list(patient.StructureSets)) == 3
    assert all(len(list(s.Structures)) in (6, 8) for s in patient.StructureSets)


def test_failing_storage_is_refused_and_changes_nothing(db, opened, mocker) -> None:
    app, patient = opened()
    prepare(patient)
    mocker.patch("esapi_stub.database.write_json", side_effect=OSError("no space left"))
    with pytest.raises(system.ApplicationException, match="no space left"):
        app.SaveModifications()
    assert patient.HasModifiedData
    mocker.stopall()
    app.SaveModifications()
    _, patient = opened()
    assert len(list(patient.StructureSets)) == 3


def test_a_patient_saved_by_someone_else_meanwhile_is_not_overwritten(db, opened) -> None:
    app, patient = opened()
    prepare(patient)
    theirs = database.Database.open(db)
    record = theirs.load(theirs.patients[0])
    record.structure_sets[0].comment = "theirs"
    theirs.save(record)
    with pytest.raises(system.ApplicationException, match="modified by another user"):
        app.SaveModifications()
    _, patient = opened()
    (structure_set,) = patient.StructureSets
    assert structure_set.Comment == "theirs"


def test_damaged_files_are_refused_as_esapi_does(db, opened) -> None:
    for path in db.rglob("*.dcm"):
        path.write_bytes(b"damaged")
    app, patient = opened()
    (structure_set,) = patient.StructureSets
    with pytest.raises(system.ApplicationException, match="structure set CT_1"):
        list(structure_set.Structures)
    app.ClosePatient()
    next(db.rglob("index.json")).write_text("{")
    with pytest.raises(system.ApplicationException, match="index is damaged"):
        app.OpenPatientById(PHANTOM.patient_id)


def test_no_database(tmp_path, db) -> None:
    with pytest.raises(DatabaseError, match="no stub database"):
        open_application(tmp_path / "nowhere")
    (db / "database.json").write_text("[1]")
    with pytest.raises(DatabaseError, match="damaged"):
        open_application(db)
    (db / "database.json").write_text(json.dumps({"format": 9}))
    with pytest.raises(DatabaseError, match="format 9"):
        database.describe(db)


def test_settings_are_kept_and_changed_one_by_one(db) -> None:
    settings = database.configure(db, script_approved=False, locked_patients=["a", "b"])
    assert settings == database.Settings(
        version="16.1", script_approved=False, locked_patients=("a", "b")
    )
    assert database.configure(db, user_can_edit=False) == replace(settings, user_can_edit=False)
    assert database.configure(db, locked_patients=[]).locked_patients == ()
    with pytest.raises(DatabaseError, match=r"15\.6 or 16\.1"):
        database.configure(db, version="17.0")


def test_objects_belong_to_the_thread_that_made_them(opened) -> None:
    _, patient = opened()
    caught = []

    def use() -> None:
        try:
            patient.Id  # noqa: B018
        except system.InvalidOperationException as error:
            caught.append(error.Message)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert caught == [
        "The calling thread cannot access this object because a different thread owns it."
    ]


def test_members_the_stub_has_not_written(opened) -> None:
    _, patient = opened()
    patient.BeginModifications()
    with pytest.raises(system.NotImplementedException):
        patient.LastName = "x"  # 16.1 lets it be set
    with pytest.raises(TypeError, match="read-only"):
        patient.Sex = "Other"
    with pytest.raises(AttributeError):
        patient.Nonsense = 1
    assert "LastName" in dir(patient)
