"""How ESAPI behaves, as far as the product relies on it: every stand-in must pass these tests.

Only ESAPI's own members are used. What differs between stand-ins is in :mod:`stand_ins`; another
stand-in is another class there. By default the Python stub is held against it in all versions;
``ESAPI_CONTRACT=clr-16.1`` and the like choose the .NET skin over it, of which a process can load
one version only.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from esapi_stub.build import build
from esapi_stub.database import MODES
from esapi_stub.sample import Phantom, PhantomContrast, PhantomDose, PhantomMr, write_phantom
from esapi_stub.surface import VERSIONS
from stand_ins import STAND_INS, Clr

PHANTOM = Phantom("0004711", contrast=PhantomContrast(), mr=PhantomMr(), dose=PhantomDose())
APPROVED = Phantom("Prüfkörper 12", patient_position="FFS", approved=True)
FOREIGN = Phantom("PH-FOR", contrast=PhantomContrast(own_frame_of_reference=True))
FINE = Phantom("PH-FINE", size=(260, 260, 6), spacing=(0.5, 0.5, 3.0))
EVERY_PHANTOM = (PHANTOM, APPROVED, FOREIGN, FINE)
TYPES = (
    *("AVOIDANCE", "CAVITY", "CONTRAST_AGENT", "CTV", "EXTERNAL", "GTV", "IRRAD_VOLUME", "ORGAN"),
    *("PTV", "TREATED_VOLUME", "SUPPORT", "FIXATION", "CONTROL", "DOSE_REGION"),
)


CHOSEN = os.environ.get("ESAPI_CONTRACT")
if CHOSEN and CHOSEN not in STAND_INS:
    raise ValueError(f"ESAPI_CONTRACT={CHOSEN}: choose one of {', '.join(STAND_INS)}.")
TESTED = [CHOSEN] if CHOSEN else [f"python-{version}" for version in VERSIONS]


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("contract")
    for phantom in EVERY_PHANTOM:
        write_phantom(folder / "dicom", phantom)
    report = build(folder / "dicom", folder / "db")
    assert report.not_taken == ()
    return folder / "db"


@pytest.fixture(params=TESTED)
def esapi(request, template, tmp_path):
    shutil.copytree(template, tmp_path / "db")
    stand_in = STAND_INS[request.param](tmp_path / "db")
    yield stand_in
    stand_in.stop()


@pytest.fixture
def other(esapi):
    """Another stand-in on the same database: without the skin, of another version."""
    versions = [version for version in VERSIONS if version != esapi.version]
    stand_in = STAND_INS[f"python-{versions[0]}"](esapi.db)
    yield stand_in
    stand_in.stop()


@pytest.fixture
def is_new(esapi) -> bool:
    """Whether this is 16.1 or later, which can do more than 15.6."""
    return esapi.version != "15.6"


@pytest.fixture
def app(esapi):
    return esapi.start()


@pytest.fixture
def patient(app):
    return app.OpenPatientById(PHANTOM.patient_id)


@pytest.fixture
def writable(patient):
    patient.BeginModifications()
    return patient


@contextmanager
def refused(name: str, message: str = "") -> Iterator[None]:
    """Expect a .NET exception by its full name and a part of its message."""
    with pytest.raises(Exception, match=re.escape(message) or ".") as caught:
        yield
    assert f"{caught.type.__module__}.{caught.type.__name__}" == name
    assert message in caught.value.Message


def volumes(patient) -> dict:
    """3-D images by id."""
    images = (i for study in patient.Studies for series in study.Series for i in series.Images)
    return {image.Id: image for image in images if image.ZSize > 1}


def structures(structure_set) -> dict:
    return {structure.Id: structure for structure in structure_set.Structures}


def only(items):
    (item,) = items
    return item


def points(contours) -> list[np.ndarray]:
    return [np.array([(p.x, p.y, p.z) for p in contour]) for contour in contours]


def square(esapi, half=4.0, at=(0.0, 0.0), z=0.0):
    corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    return esapi.contour([esapi.vector(at[0] + x, at[1] + y, z) for x, y in corners])


# --- the application and its one patient ---


def test_who_runs_it(esapi) -> None:
    app = esapi.start()
    assert app.CurrentUser.Id
    assert app.CurrentUser == app.CurrentUser
    assert app.ScriptEnvironment.ApiVersionInfo.startswith(esapi.version)
    assert app.ScriptEnvironment.ApplicationName


def test_unknown_id_opens_nothing(app) -> None:
    assert app.OpenPatientById("4711") is None
    assert app.OpenPatientById("0004711 ") is None


def test_ids_are_text_letter_by_letter(app) -> None:
    assert app.OpenPatientById("Prüfkörper 12").Id == "Prüfkörper 12"


def test_one_patient_at_a_time(app, patient) -> None:
    with refused("System.ApplicationException"):
        app.OpenPatientById(APPROVED.patient_id)
    app.ClosePatient()
    assert app.OpenPatientById(APPROVED.patient_id).Id == APPROVED.patient_id


def test_one_application_in_a_process(esapi, app) -> None:
    with refused("System.ApplicationException"):
        esapi.open()


def test_objects_belong_to_the_thread_that_made_the_application(app, patient) -> None:
    raised: list[BaseException] = []

    def use() -> None:
        for access in (lambda: app.CurrentUser, lambda: patient.Id, lambda: list(patient.Studies)):
            try:
                access()
            except Exception as error:  # noqa: BLE001
                raised.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(raised) == 3
    for error in raised:
        with refused("System.InvalidOperationException", "a different thread owns it"):
            raise error
    assert patient.Id == PHANTOM.patient_id


def test_summaries_open_patients(app) -> None:
    summaries = {summary.Id: summary for summary in app.PatientSummaries}
    assert set(summaries) == {p.patient_id for p in EVERY_PHANTOM}
    assert summaries["0004711"].LastName == "Phantom"
    assert app.OpenPatient(summaries["0004711"]).FirstName == "Wasser"


def test_objects_of_a_closed_patient_are_dead(app, patient) -> None:
    structure_set = only(patient.StructureSets)
    structure = structures(structure_set)["GTV1"]
    segment = structure.SegmentVolume
    dead = [
        (lambda: patient.Id),
        (lambda: patient.Studies),
        (lambda: structure_set.Image),
        (lambda: structure.GetContoursOnImagePlane(3)),
        (lambda: structure.ToString()),  # noqa: PLW0108
        (lambda: list(structure_set.Structures)),
        (lambda: segment.ToString()),  # noqa: PLW0108
    ]
    running = iter(patient.Studies)
    app.ClosePatient()
    for access in (*dead, lambda: next(running)):
        with refused(
            "System.AccessViolationException",
            "Attempted to read or write protected memory. "
            "This is often an indication that other memory is corrupt.",
        ):
            access()
    # Opening the same patient again does not bring the old objects back.
    assert app.OpenPatientById(PHANTOM.patient_id).Id == PHANTOM.patient_id
    with refused("System.AccessViolationException"):
        structure.Id  # noqa: B018
    # Comparing is no access.
    assert structure != structure_set
    assert structure in {structure}


def test_everything_is_dead_after_dispose(app, patient) -> None:
    app.Dispose()
    app.Dispose()
    for access in (lambda: app.CurrentUser, lambda: patient.Id):
        with refused("System.ObjectDisposedException"):
            access()


def test_collections_are_enumerable_and_nothing_else(patient) -> None:
    study = next(iter(patient.Studies))
    series = next(iter(study.Series))
    structure_set = only(patient.StructureSets)
    for collection in (
        *(patient.Studies, patient.StructureSets, patient.Courses, patient.Registrations),
        *(study.Series, series.Images, structure_set.Structures),
        structures(structure_set)["GTV1"].ApprovalHistory,
    ):
        assert list(collection) == list(collection) != []
        with pytest.raises(TypeError):
            len(collection)
        with pytest.raises(TypeError):
            collection[0]


# --- images ---


def test_image_geometry(patient) -> None:
    image = volumes(patient)["CT_1"]
    grid = PHANTOM.grid
    origin = (image.Origin.x, image.Origin.y, image.Origin.z)
    assert origin == pytest.approx(grid.origin, abs=1e-5)
    axes = [(v.x, v.y, v.z) for v in (image.XDirection, image.YDirection, image.ZDirection)]
    assert np.array(axes) == pytest.approx(grid.axes)
    assert (image.XSize, image.YSize, image.ZSize) == grid.size
    assert (image.XRes, image.YRes, image.ZRes) == pytest.approx(grid.spacing)
    assert str(image.ImagingOrientation) == "HeadFirstSupine"
    assert image.FOR == image.Series.FOR
    assert image.DisplayUnit == "HU"
    assert str(image.Series.Modality) == "CT"


def slices(series) -> list:
    """The 2-D images of a series, in the order in which it gives them."""
    return [image for image in series.Images if image.ZSize == 1]


def read(esapi, image, plane: int = 0) -> np.ndarray:
    """Voxels of a plane, shape (XSize, YSize)."""
    buffer = esapi.buffer(image.XSize, image.YSize)
    image.GetVoxels(plane, buffer)
    return esapi.array(buffer)


def test_slices_stand_beside_the_volume_and_do_not_say_where_they_lie(patient) -> None:
    series = volumes(patient)["CT_1"].Series
    assert sorted(image.ZSize for image in series.Images) == [1] * 20 + [20]
    for image in slices(series):
        assert (image.XSize, image.YSize) == PHANTOM.size[:2]
        for vector in (image.Origin, image.XDirection, image.YDirection, image.ZDirection):
            assert np.isnan([vector.x, vector.y, vector.z]).all()


def test_the_voxels_of_a_slice_are_those_of_its_plane(esapi, patient, is_new) -> None:
    image = volumes(patient)["CT_1"]
    planes = {read(esapi, image, plane).tobytes() for plane in range(20)}
    found = slices(image.Series)
    assert {read(esapi, one).tobytes() for one in found} == planes
    assert len(planes) == 20
    if is_new:
        assert len({one.UID for one in found}) == 20


@pytest.mark.parametrize("order", MODES["image_order"])
def test_images_come_in_whatever_order(esapi, order) -> None:
    patient = esapi.start(image_order=order).OpenPatientById(PHANTOM.patient_id)
    sizes = [image.ZSize for image in volumes(patient)["CT_1"].Series.Images]
    assert sorted(sizes) == [1] * 20 + [20]
    assert (sizes[-1] == 20) == (order == "slices first")
    assert (sizes[0] == 20) == (order in ("volumes first", "backwards"))


@pytest.mark.parametrize("given", MODES["slice_voxels"])
def test_what_the_voxels_of_a_slice_may_be(esapi, given) -> None:
    image = volumes(esapi.start(slice_voxels=given).OpenPatientById(PHANTOM.patient_id))["MR_1"]
    one = slices(image.Series)[0]
    if given == "refused":
        with refused("System.ApplicationException"):
            read(esapi, one)
    else:
        assert len(np.unique(read(esapi, one))) > 1


def test_display_values_may_be_known_of_voxels_that_occur_only(esapi) -> None:
    app = esapi.start(display_values="occurring")
    image = volumes(app.OpenPatientById(PHANTOM.patient_id))["CT_1"]
    voxel = int(read(esapi, image, 10)[24, 24])
    assert image.VoxelToDisplayValue(voxel) == voxel - 1024
    assert np.isnan(image.VoxelToDisplayValue(30000))


def test_voxels_and_display_values(esapi, patient) -> None:
    image = volumes(patient)["CT_1"]
    buffer = esapi.buffer(image.XSize, image.YSize)
    tumour = image.XSize // 2 - 7, image.YSize // 2 + 3, 10
    image.GetVoxels(tumour[2], buffer)
    voxel = int(buffer[tumour[0], tumour[1]])
    assert voxel == image.VoxelToDisplayValue(voxel) + 1024
    assert image.VoxelToDisplayValue(voxel) == pytest.approx(75, abs=8)
    assert image.VoxelToDisplayValue(int(buffer[0, 0])) == pytest.approx(-1000, abs=8)


@pytest.mark.parametrize("plane", [-1, 20])
def test_voxels_of_no_plane(esapi, patient, plane) -> None:
    with refused("System.ArgumentOutOfRangeException"):
        volumes(patient)["CT_1"].GetVoxels(plane, esapi.buffer(48, 48))


def test_voxels_want_a_buffer_of_exactly_their_size(esapi, app) -> None:
    image = volumes(app.OpenPatientById(PHANTOM.patient_id))["MR_1"]
    assert (image.XSize, image.YSize) == (48, 56)
    for x, y in ((56, 48), (48, 57), (47, 56)):
        with refused("System.ArgumentException"):
            image.GetVoxels(0, esapi.buffer(x, y))
    image.GetVoxels(0, esapi.buffer(48, 56))


def test_profile_runs_through_the_image(esapi, patient) -> None:
    image = volumes(patient)["CT_1"]
    buffer = esapi.doubles(61)
    profile = image.GetImageProfile(
        esapi.vector(-20.0, 10.0, -30.0), esapi.vector(-20.0, 10.0, 30.0), buffer
    )
    found = list(profile)
    values = esapi.array(buffer)
    assert profile.Unit == "HU"
    assert [point.Value for point in found[2:-2]] == values[2:-2].tolist()
    assert [point.Position.z for point in found] == pytest.approx(range(-30, 31))
    assert np.isnan(values[[0, -1]]).all()  # the image ends at 28.5 mm
    heights = np.arange(-30, 31)
    assert values[abs(heights - 3) <= 5] == pytest.approx(75, abs=8)  # the tumour
    assert values[2:-2][abs(heights[2:-2] - 3) > 12] == pytest.approx(40, abs=8)  # the body


def test_user_origin_shifts_user_coordinates(esapi, writable) -> None:
    image = volumes(writable)["CT_1"]
    assert not image.HasUserOrigin
    image.UserOrigin = esapi.vector(10.0, 20.0, 30.0)
    assert image.HasUserOrigin
    there = image.UserToDicom(esapi.vector(1.0, 2.0, 3.0), None)
    assert (there.x, there.y, there.z) == (11, 22, 33)
    back = image.DicomToUser(there, None)
    assert (back.x, back.y, back.z) == (1, 2, 3)


def test_uids_and_volumes_of_a_study_from_16_1_only(patient, is_new) -> None:
    images = list(volumes(patient)["CT_1"].Series.Images)
    study = next(s for s in patient.Studies if any(str(x.Modality) == "MR" for x in s.Series))
    if is_new:
        # Of slices alone.
        assert sum(image.UID is None for image in images) == 1
        assert len({image.UID for image in images if image.ZSize == 1}) == 20
        assert [image.Id for image in study.Images3D] == ["MR_1"]
    else:
        for access in (lambda: images[0].UID, lambda: study.Images3D):
            with pytest.raises(AttributeError):
                access()


def test_what_18_0_says_of_series_and_modality(esapi, writable) -> None:
    structure_set = only(writable.StructureSets)
    image = structure_set.Image
    if esapi.version in ("15.6", "16.1"):
        for access in (lambda: image.Modality, lambda: structure_set.SeriesUID):
            with pytest.raises(AttributeError):
                access()
        return
    assert str(image.Modality) == "CT"
    assert structure_set.SeriesUID == structure_set.Series.UID
    created = image.CreateNewStructureSet()  # is connected with no series yet
    assert (created.Series, created.SeriesUID) == (None, None)


# --- structures, plans, registrations ---


def test_structures(patient) -> None:
    structure_set = only(patient.StructureSets)
    assert structure_set.Id == "CT_1"
    assert structure_set.Patient.Id == patient.Id
    assert structure_set.Image.Id == "CT_1"
    found = structures(structure_set)
    assert [s.Id for s in structure_set.Structures] == [s.id for s in PHANTOM.structures]
    gtv = found["GTV1"]
    assert (gtv.DicomType, gtv.HasSegment, gtv.IsEmpty) == ("GTV", True, False)
    assert (gtv.Color.R, gtv.Color.G, gtv.Color.B) == (255, 0, 0)
    assert gtv.Volume == pytest.approx(PHANTOM.structures[1].shape.volume, rel=0.03)
    center = gtv.CenterPoint
    assert (center.x, center.y, center.z) == pytest.approx((-20, 10, 3), abs=0.1)
    assert gtv.IsPointInsideSegment(center)
    assert gtv.GetNumberOfSeparateParts() == 1


@pytest.mark.parametrize("identifier", ["Cavity", "Marker"])
def test_what_has_no_segment(patient, identifier) -> None:
    structure = structures(only(patient.StructureSets))[identifier]
    assert structure.IsEmpty
    assert not structure.HasSegment
    assert structure.Volume == 0.0
    assert all(len(structure.GetContoursOnImagePlane(z)) == 0 for z in range(20))


def test_contours_are_the_points_of_the_file(patient) -> None:
    gtv = structures(only(patient.StructureSets))["GTV1"]
    for plane in range(20):
        drawn = PHANTOM.structures[1].shape.contours(PHANTOM.grid, plane)
        found = points(gtv.GetContoursOnImagePlane(plane))
        assert len(found) == len(drawn)
        for one, other in zip(found, drawn, strict=True):
            assert one == pytest.approx(other, abs=1e-5)
    assert len(gtv.GetContoursOnImagePlane(99)) == 0


def test_plans(patient) -> None:
    course = only(patient.Courses)
    plan = only(course.PlanSetups)
    assert (course.Id, plan.Id, plan.Course.Id) == ("C1", "Plan1", "C1")
    assert plan.StructureSet == only(patient.StructureSets)
    assert plan.TargetVolumeID == "PTV1"
    assert (plan.NumberOfFractions, plan.TotalDose.Dose) == (25, 50.0)
    assert str(plan.ApprovalStatus) == "UnApproved"
    assert plan.SeriesUID == plan.Series.UID


def test_the_dose_of_a_plan(esapi, patient) -> None:
    plan = only(only(patient.Courses).PlanSetups)
    dose = plan.Dose
    assert plan.IsDoseValid
    assert dose.SeriesUID == dose.Series.UID
    assert str(dose.Series.Modality) == "RTDOSE"
    assert (dose.XSize, dose.YSize, dose.ZSize) == PHANTOM.dose.size
    assert (dose.XRes, dose.YRes, dose.ZRes) == PHANTOM.dose.spacing
    assert str(dose.DoseMax3D.Unit) == "Gy"
    assert dose.DoseMax3D.Dose == pytest.approx(54, rel=0.01)
    # Each voxel has the dose of its place, by the formula of the phantom.
    x, y, z = dose.XDirection * dose.XRes, dose.YDirection * dose.YRes, dose.ZDirection * dose.ZRes
    for plane in (0, 16):
        voxels = read(esapi, dose, plane)
        for column, row in ((0, 0), (20, 18), (39, 7)):
            place = dose.Origin + x * column + y * row + z * plane
            expected = PHANTOM.dose.gray(np.array([place.x, place.y, place.z]), (-20, 10, 3))
            shown = dose.VoxelToDoseValue(int(voxels[column, row])).Dose
            assert shown == pytest.approx(float(expected), abs=0.01)
            assert dose.GetDoseToPoint(place).Dose == pytest.approx(shown, abs=1e-6)
    assert np.isnan(dose.GetDoseToPoint(dose.Origin - x * 2).Dose)


def test_a_plan_without_a_dose(app) -> None:
    plan = only(only(app.OpenPatientById(APPROVED.patient_id).Courses).PlanSetups)
    assert plan.Dose is None
    assert not plan.IsDoseValid


def test_registration(esapi, patient) -> None:
    registration = only(patient.Registrations)
    images = volumes(patient)
    assert registration.SourceFOR == images["MR_1"].FOR
    assert registration.RegisteredFOR == images["CT_1"].FOR
    there = registration.TransformPoint(esapi.vector(1.0, 2.0, 3.0))
    back = registration.InverseTransformPoint(there)
    assert (back.x, back.y, back.z) == pytest.approx((1, 2, 3))
    start = registration.TransformPoint(esapi.vector(0.0, 0.0, 0.0))
    assert (start.x, start.y, start.z) == pytest.approx(PHANTOM.mr.translation)


@pytest.mark.parametrize("way", MODES["matrix"])
def test_the_matrix_may_go_either_way(esapi, way) -> None:
    patient = esapi.start(matrix=way).OpenPatientById(PHANTOM.patient_id)
    registration = only(patient.Registrations)
    matrix = esapi.array(registration.TransformationMatrix)
    transform = {
        "forward": registration.TransformPoint,
        "backward": registration.InverseTransformPoint,
    }[way]
    point = transform(esapi.vector(1.0, 2.0, 3.0))
    assert (matrix @ (1, 2, 3, 1))[:3] == pytest.approx((point.x, point.y, point.z))


# --- may it write? ---


def test_nothing_changes_before_begin_modifications(esapi, patient, is_new) -> None:
    structure_set = only(patient.StructureSets)
    gtv = structures(structure_set)["GTV1"]
    segment = gtv.SegmentVolume
    changes = [
        structure_set.Image.CreateNewStructureSet,
        lambda: structure_set.AddStructure("GTV", "new"),
        lambda: structure_set.RemoveStructure(gtv),
        structure_set.Copy,
        structure_set.Delete,
        lambda: setattr(structure_set, "Id", "x"),
        lambda: setattr(structure_set.Image, "Id", "x"),
        lambda: setattr(gtv, "Id", "x"),
        lambda: setattr(gtv, "SegmentVolume", segment),
        lambda: gtv.AddContourOnImagePlane(square(esapi), 3),
        lambda: gtv.SubtractContourOnImagePlane(square(esapi), 3),
        lambda: gtv.ClearAllContoursOnImagePlane(10),
        gtv.ConvertToHighResolution,
    ]
    if is_new:
        changes.append(lambda: setattr(gtv, "Color", esapi.color(1, 2, 3)))
    for change in changes:
        with refused("System.ApplicationException", "BeginModifications"):
            change()
    assert not patient.HasModifiedData


@pytest.mark.parametrize(
    "settings",
    [
        {"script_writable": False, "clinical": True},
        {"script_writable": False, "clinical": False},
        {"script_approved": False, "clinical": True},
    ],
)
def test_script_that_may_not_write(esapi, settings) -> None:
    patient = esapi.start(**settings).OpenPatientById(PHANTOM.patient_id)
    assert not patient.CanModifyData()
    with refused(
        "System.ApplicationException", "No valid license to modify patient data with script."
    ):
        patient.BeginModifications()


def test_approval_counts_on_a_clinical_system_only(esapi) -> None:
    app = esapi.start(script_approved=False, clinical=False)
    patient = app.OpenPatientById(PHANTOM.patient_id)
    assert patient.CanModifyData()
    patient.BeginModifications()


def test_what_may_write_on_a_clinical_system(esapi) -> None:
    patient = esapi.start(clinical=True, script_approved=True).OpenPatientById(PHANTOM.patient_id)
    # The Python stub is a script that can be approved; what python.exe hosts is none.
    assert patient.CanModifyData() == (not isinstance(esapi, Clr))


def test_user_without_rights(esapi) -> None:
    patient = esapi.start(user_can_edit=False).OpenPatientById(PHANTOM.patient_id)
    assert not patient.CanModifyData()
    with refused("System.ApplicationException", "right"):
        patient.BeginModifications()


def test_locked_patient(esapi) -> None:
    app = esapi.start(locked_patients=[PHANTOM.patient_id])
    patient = app.OpenPatientById(PHANTOM.patient_id)
    assert patient.CanModifyData()  # it tells of rights, not of locks
    with refused("System.ApplicationException", "locked"):
        patient.BeginModifications()


def test_modifications_begin_once_until_they_are_saved(app, writable) -> None:
    with refused("System.ApplicationException"):
        writable.BeginModifications()
    first = only(writable.StructureSets).Image.CreateNewStructureSet()
    app.SaveModifications()
    writable.BeginModifications()
    first.AddStructure("GTV", "gtv+")
    app.SaveModifications()


def assert_not_editable(structure_set, word: str) -> None:
    gtv = structures(structure_set)["GTV1"]
    allowed, reason = gtv.CanEditSegmentVolume("")
    assert not allowed
    assert word in reason
    assert not structure_set.CanAddStructure("GTV", "new")
    assert not structure_set.CanRemoveStructure(gtv)
    assert not gtv.CanConvertToHighResolution()
    segment = gtv.SegmentVolume
    for change in (
        lambda: structure_set.AddStructure("GTV", "new"),
        lambda: structure_set.RemoveStructure(gtv),
        lambda: setattr(gtv, "SegmentVolume", segment),
        lambda: setattr(gtv, "Id", "x"),
        lambda: gtv.ClearAllContoursOnImagePlane(0),
        structure_set.Delete,
    ):
        with refused("System.ApplicationException", word):
            change()


def test_approved_structure_set(app) -> None:
    patient = app.OpenPatientById(APPROVED.patient_id)
    patient.BeginModifications()
    structure_set = only(patient.StructureSets)
    last = list(structures(structure_set)["GTV1"].ApprovalHistory)[-1]
    assert str(last.ApprovalStatus) == "Approved"
    assert_not_editable(structure_set, "approved")
    # What is new beside it is not approved.
    created = structure_set.Image.CreateNewStructureSet()
    structure = created.AddStructure("GTV", "GTV1")
    assert structure.CanEditSegmentVolume("") == (True, "")
    assert str(list(structure.ApprovalHistory)[-1].ApprovalStatus) == "UnApproved"


def test_locked_structure_set(esapi) -> None:
    patient = esapi.start().OpenPatientById(PHANTOM.patient_id)
    uid = only(patient.StructureSets).UID
    patient = esapi.start(locked_structure_sets=[uid]).OpenPatientById(PHANTOM.patient_id)
    patient.BeginModifications()
    assert_not_editable(only(patient.StructureSets), "locked")


def test_can_edit_takes_something_for_its_out_argument(esapi, patient) -> None:
    gtv = structures(only(patient.StructureSets))["GTV1"]
    assert gtv.CanEditSegmentVolume("") == (True, "")
    # Pythonnet 3.2 can do without it; the Python stub holds us to what every pythonnet takes.
    if isinstance(esapi, Clr):
        assert gtv.CanEditSegmentVolume() == (True, "")
    else:
        with pytest.raises(TypeError):
            gtv.CanEditSegmentVolume()


# --- making structure sets ---


def test_first_structure_set_of_an_image_lies_on_it(writable) -> None:
    image = volumes(writable)["CT_2"]
    created = image.CreateNewStructureSet()
    assert created.Image == image
    assert created.Image.Id == "CT_2"
    assert writable.HasModifiedData


def test_second_structure_set_lies_on_a_copy_of_the_image(writable) -> None:
    image = volumes(writable)["CT_1"]
    created = image.CreateNewStructureSet()
    copy = created.Image
    assert copy != image
    assert copy.Id.casefold() not in {"ct_1", "ct_2", "mr_1"}
    assert copy.Series == image.Series
    assert copy.Series.UID == image.Series.UID
    assert (copy.XSize, copy.YSize, copy.ZSize, copy.FOR) == (48, 48, 20, image.FOR)
    assert copy.Id in volumes(writable)
    assert created.UID not in {s.UID for s in writable.StructureSets if s != created}
    assert list(created.Structures) == []
    assert {s.Image.Id for s in writable.StructureSets} == {"CT_1", copy.Id}


def test_structure_types_that_can_be_added(writable) -> None:
    created = volumes(writable)["CT_2"].CreateNewStructureSet()
    for number, dicom_type in enumerate(TYPES):
        assert created.CanAddStructure(dicom_type, f"S{number}")
        assert created.AddStructure(dicom_type, f"S{number}").DicomType == dicom_type
    for dicom_type in ("BOLUS", "MARKER", "", "gtv", "NONE"):
        assert not created.CanAddStructure(dicom_type, "other")
        with refused("System.ArgumentException"):
            created.AddStructure(dicom_type, "other")
    assert not created.CanAddStructure("EXTERNAL", "Body 2")
    with refused("System.ArgumentException"):
        created.AddStructure("EXTERNAL", "Body 2")
    assert [s.ROINumber for s in created.Structures] == list(range(1, 15))


@pytest.mark.parametrize("identifier", ["", "   ", "a" * 17, "GTV1", "gtv1", "gTv1 "])
def test_structure_ids_that_are_refused(writable, identifier) -> None:
    structure_set = only(writable.StructureSets)
    assert not structure_set.CanAddStructure("CTV", identifier)
    with refused("System.ArgumentException"):
        structure_set.AddStructure("CTV", identifier)
    ptv = structures(structure_set)["PTV1"]
    with refused("System.ArgumentException"):
        ptv.Id = identifier
    assert ptv.Id == "PTV1"


def test_sixteen_characters_are_allowed(writable) -> None:
    structure_set = only(writable.StructureSets)
    structure_set.Id = "zCopyFromPlan_KM"
    assert structure_set.Id == "zCopyFromPlan_KM"
    structures(structure_set)["PTV1"].Id = "ptv1"  # its own id in other letters is free
    assert structure_set.AddStructure("CTV", "a" * 16).Id == "a" * 16


def test_structure_set_ids_are_unique_in_their_series(writable) -> None:
    images = volumes(writable)
    created = images["CT_1"].CreateNewStructureSet()
    with refused("System.ArgumentException"):
        created.Id = "ct_1"
    with refused("System.ArgumentException"):
        created.Id = "z" * 17
    created.Id = "zCopyFromPlan"
    on_other_series = images["CT_2"].CreateNewStructureSet()
    on_other_series.Id = "zCopyFromPlan"


def test_image_ids_are_unique(writable) -> None:
    image = volumes(writable)["CT_2"]
    for identifier in ("ct_1", "MR_1", "x" * 17):
        with refused("System.ArgumentException"):
            image.Id = identifier
    image.Id = "KM"
    assert "KM" in volumes(writable)


def test_color_can_be_set_from_16_1_on(esapi, writable, is_new) -> None:
    gtv = structures(only(writable.StructureSets))["GTV1"]
    if is_new:
        gtv.Color = esapi.color(1, 2, 3)
        assert (gtv.Color.R, gtv.Color.G, gtv.Color.B, gtv.Color.A) == (1, 2, 3, 255)
    else:
        with pytest.raises(TypeError, match="read-only"):
            gtv.Color = esapi.color(1, 2, 3)


def test_what_the_stand_ins_cannot_set(writable, is_new) -> None:
    course = only(writable.Courses)
    structure_set = only(writable.StructureSets)
    for target in (course, only(course.PlanSetups)):
        with refused("System.NotImplementedException"):
            target.Id = "x"
    for target in (structure_set, structures(structure_set)["GTV1"]):
        # ESAPI 16.1 lets them be set, 15.6 does not.
        with refused("System.NotImplementedException") if is_new else pytest.raises(TypeError):
            target.Comment = "x"
    slices = (i for i in structure_set.Image.Series.Images if i.ZSize == 1)
    with refused("System.NotImplementedException"):
        next(slices).Id = "x"


def test_removed_structures_are_dead(writable) -> None:
    structure_set = only(writable.StructureSets)
    gtv = structures(structure_set)["GTV1"]
    assert structure_set.CanRemoveStructure(gtv)
    structure_set.RemoveStructure(gtv)
    assert "GTV1" not in structures(structure_set)
    with refused("System.AccessViolationException"):
        gtv.Id  # noqa: B018
    assert structure_set.AddStructure("GTV", "GTV1").IsEmpty


def test_copy_and_delete(writable) -> None:
    source = only(writable.StructureSets)
    copy = source.Copy()
    assert copy.Image != source.Image
    assert copy.Image.Series == source.Image.Series
    assert [s.Id for s in copy.Structures] == [s.Id for s in source.Structures]
    assert structures(copy)["GTV1"].Volume == structures(source)["GTV1"].Volume
    structures(copy)["GTV1"].ClearAllContoursOnImagePlane(10)
    assert structures(copy)["GTV1"].Volume < structures(source)["GTV1"].Volume
    gtv = structures(copy)["GTV1"]
    copy.Delete()
    assert only(writable.StructureSets) == source
    for dead in (copy, gtv):
        with refused("System.AccessViolationException"):
            dead.Id  # noqa: B018
    with refused("System.ApplicationException", "plan"):
        source.Delete()


# --- drawing ---


@pytest.fixture
def drawn(writable):
    """An empty structure on the planning CT's grid."""
    return volumes(writable)["CT_1"].CreateNewStructureSet().AddStructure("GTV", "drawn")


def test_added_contour_lies_on_its_plane(esapi, drawn) -> None:
    drawn.AddContourOnImagePlane(square(esapi, z=999.0), 4)
    found = points(drawn.GetContoursOnImagePlane(4))[0]
    height = PHANTOM.grid.position(4)[2]
    assert found[:, 2] == pytest.approx(height)
    assert found[:, :2] == pytest.approx(np.array([(-4, -4), (4, -4), (4, 4), (-4, 4)]))
    assert drawn.Volume == pytest.approx(64 * 3 / 1000)
    assert not drawn.IsEmpty
    assert drawn.IsPointInsideSegment(esapi.vector(3.5, -3.5, height + 1.4))
    assert not drawn.IsPointInsideSegment(esapi.vector(3.5, -3.5, height + 1.6))
    assert not drawn.IsPointInsideSegment(esapi.vector(4.5, 0.0, height))


def test_adding_unites_and_subtracting_cuts(esapi, drawn) -> None:
    drawn.AddContourOnImagePlane(square(esapi, 12), 4)
    drawn.AddContourOnImagePlane(square(esapi, 6), 4)  # within: nothing new, no hole
    assert drawn.Volume == pytest.approx(24**2 * 3 / 1000)
    drawn.SubtractContourOnImagePlane(square(esapi, 6), 4)
    assert drawn.Volume == pytest.approx((24**2 - 12**2) * 3 / 1000)
    assert not drawn.IsPointInsideSegment(esapi.vector(0.0, 0.0, PHANTOM.grid.position(4)[2]))
    drawn.AddContourOnImagePlane(square(esapi, 6, at=(40, 0)), 4)  # apart
    assert drawn.Volume == pytest.approx(24**2 * 3 / 1000)
    assert drawn.GetNumberOfSeparateParts() == 2
    drawn.AddContourOnImagePlane(square(esapi, 12, at=(12, 0)), 6)
    drawn.AddContourOnImagePlane(square(esapi, 12, at=(24, 0)), 6)  # overlapping
    drawn.ClearAllContoursOnImagePlane(4)
    assert drawn.Volume == pytest.approx(36 * 24 * 3 / 1000, rel=0.02)
    drawn.SubtractContourOnImagePlane(square(esapi, 12, at=(24, 0)), 6)
    assert drawn.Volume == pytest.approx(12 * 24 * 3 / 1000, rel=0.05)
    drawn.ClearAllContoursOnImagePlane(6)
    assert drawn.IsEmpty


def test_contours_that_are_refused(esapi, drawn) -> None:
    for plane in (-1, 20):
        with refused("System.ArgumentOutOfRangeException"):
            drawn.AddContourOnImagePlane(square(esapi), plane)
    with refused("System.ArgumentException"):
        drawn.AddContourOnImagePlane(esapi.contour(list(square(esapi))[:2]), 4)
    assert drawn.IsEmpty


def test_segment_on_the_same_grid_is_the_same_points(writable, drawn) -> None:
    source = structures(next(iter(writable.StructureSets)))["GTV1"]
    drawn.SegmentVolume = source.SegmentVolume
    for plane in range(20):
        mine = points(drawn.GetContoursOnImagePlane(plane))
        theirs = points(source.GetContoursOnImagePlane(plane))
        assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))
    # A copy, not a view.
    drawn.ClearAllContoursOnImagePlane(10)
    assert source.Volume > drawn.Volume


def test_segment_on_another_grid_is_resampled_and_clipped(writable) -> None:
    created = volumes(writable)["CT_2"].CreateNewStructureSet()
    sources = structures(next(iter(writable.StructureSets)))
    gtv = created.AddStructure("GTV", "GTV1")
    gtv.SegmentVolume = sources["GTV1"].SegmentVolume
    assert gtv.Volume == pytest.approx(sources["GTV1"].Volume, rel=0.08)  # 3 mm voxels
    center = gtv.CenterPoint
    assert (center.x, center.y, center.z) == pytest.approx((-20, 10, 3), abs=1.5)
    body = created.AddStructure("EXTERNAL", "BODY")
    body.SegmentVolume = sources["BODY"].SegmentVolume
    # 120 mm x 100 mm on each of the 18 planes.
    assert body.Volume == pytest.approx(120 * 100 * 18 * 3 / 1000, rel=0.01)
    empty = created.AddStructure("ORGAN", "empty")
    empty.SegmentVolume = sources["Cavity"].SegmentVolume
    assert empty.IsEmpty


def test_segment_of_another_frame_of_reference_is_refused(app) -> None:
    patient = app.OpenPatientById(FOREIGN.patient_id)
    patient.BeginModifications()
    created = volumes(patient)["CT_2"].CreateNewStructureSet()
    gtv = created.AddStructure("GTV", "GTV1")
    source = structures(next(iter(patient.StructureSets)))["GTV1"]
    with refused("System.ArgumentException", "frame of reference"):
        gtv.SegmentVolume = source.SegmentVolume
    assert gtv.IsEmpty


def test_high_resolution(app) -> None:
    patient = app.OpenPatientById(FINE.patient_id)
    patient.BeginModifications()
    structure_set = only(patient.StructureSets)
    source = structures(structure_set)["GTV1"]
    assert source.CanConvertToHighResolution()
    source.ConvertToHighResolution()
    assert source.IsHighResolution
    assert not source.CanConvertToHighResolution()
    with refused("System.InvalidOperationException"):
        source.ConvertToHighResolution()
    created = structure_set.Image.CreateNewStructureSet()
    coarse, fine = (created.AddStructure("GTV", name) for name in ("coarse", "fine"))
    # Nothing is thrown: it stays what it is.
    coarse.SegmentVolume = source.SegmentVolume
    assert not coarse.IsHighResolution
    assert coarse.Volume == pytest.approx(source.Volume, rel=0.05)
    fine.ConvertToHighResolution()
    fine.SegmentVolume = source.SegmentVolume
    assert fine.IsHighResolution
    assert fine.Volume == pytest.approx(source.Volume)
    app.SaveModifications()
    app.ClosePatient()
    saved = list(app.OpenPatientById(FINE.patient_id).StructureSets)[-1]
    assert {s.Id: s.IsHighResolution for s in saved.Structures} == {"coarse": False, "fine": True}


def test_no_high_resolution_on_a_coarse_image(writable) -> None:
    source = structures(only(writable.StructureSets))["GTV1"]
    assert not source.CanConvertToHighResolution()
    with refused("System.InvalidOperationException"):
        source.ConvertToHighResolution()
    assert not source.IsHighResolution


def test_contours_may_be_rasterised_where_they_are_drawn(esapi) -> None:
    patient = esapi.start(drawing="rasterised").OpenPatientById(PHANTOM.patient_id)
    patient.BeginModifications()
    structure_set = only(patient.StructureSets)
    source = structures(structure_set)["GTV1"]
    copy = structure_set.Image.CreateNewStructureSet().AddStructure("GTV", "gtv+")
    copy.SegmentVolume = source.SegmentVolume
    moved = []
    for plane in range(PHANTOM.size[2]):
        for drawn in points(copy.GetContoursOnImagePlane(plane)):
            [outline] = points(source.GetContoursOnImagePlane(plane))
            closed = np.linspace(outline, np.roll(outline, -1, axis=0), 20).reshape(-1, 3)
            moved += [np.linalg.norm(closed - point, axis=1).min() for point in drawn]
    # By less than a pixel of 3 mm, but by something.
    assert 0.3 < max(moved) < 3 * 0.75
    assert copy.Volume == pytest.approx(source.Volume, rel=0.15)


@pytest.mark.parametrize("among", MODES["set_ids"])
def test_among_which_sets_an_id_is_unique(esapi, among) -> None:
    patient = esapi.start(set_ids=among).OpenPatientById(PHANTOM.patient_id)
    patient.BeginModifications()
    created = volumes(patient)["CT_2"].CreateNewStructureSet()
    if among == "image":
        created.Id = "CT_1"
    else:
        with refused("System.ArgumentException", "in use"):
            created.Id = "ct_1"


# --- saving ---


def prepare(patient) -> tuple[str, str]:
    """Copy the GTV into new structure sets on both CTs; their UIDs."""
    source = structures(next(iter(patient.StructureSets)))["GTV1"]
    uids = []
    for image, identifier in (("CT_1", "zCopyFromPlan"), ("CT_2", "zCopyFromPlan_KM")):
        created = volumes(patient)[image].CreateNewStructureSet()
        created.Id = identifier
        created.AddStructure("GTV", "gtv+").SegmentVolume = source.SegmentVolume
        uids.append(created.UID)
    return tuple(uids)


def test_unsaved_changes_are_lost(app, writable) -> None:
    first = prepare(writable)
    assert writable.HasModifiedData
    app.ClosePatient()
    patient = app.OpenPatientById(PHANTOM.patient_id)
    assert not patient.HasModifiedData
    assert only(patient.StructureSets).Id == "CT_1"
    assert set(volumes(patient)) == {"CT_1", "CT_2", "MR_1"}
    # The same changes get the same UIDs, for nothing was used up.
    patient.BeginModifications()
    assert prepare(patient) == first


def test_saved_changes_last(esapi, app, writable) -> None:
    uids = prepare(writable)
    source = structures(next(iter(writable.StructureSets)))["GTV1"]
    before = [points(source.GetContoursOnImagePlane(z)) for z in range(20)]
    app.SaveModifications()
    assert not writable.HasModifiedData
    patient = esapi.start().OpenPatientById(PHANTOM.patient_id)
    sets = {s.Id: s for s in patient.StructureSets}
    assert set(sets) == {"CT_1", "zCopyFromPlan", "zCopyFromPlan_KM"}
    assert uids == (sets["zCopyFromPlan"].UID, sets["zCopyFromPlan_KM"].UID)
    assert sets["zCopyFromPlan_KM"].Image.Id == "CT_2"
    gtv = only(sets["zCopyFromPlan"].Structures)
    assert (gtv.Id, gtv.DicomType) == ("gtv+", "GTV")
    for plane, expected in enumerate(before):
        found = points(gtv.GetContoursOnImagePlane(plane))
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    # Used-up UIDs do not come again.
    patient.BeginModifications()
    again = volumes(patient)["CT_1"].CreateNewStructureSet()
    assert again.UID not in uids


def test_changes_of_an_existing_set_last(esapi, app, writable, is_new) -> None:
    structure_set = only(writable.StructureSets)
    uid = structure_set.UID
    found = structures(structure_set)
    found["GTV1"].Id = "gtv+"
    if is_new:
        found["GTV1"].Color = esapi.color(1, 2, 3)
    found["PTV1"].ClearAllContoursOnImagePlane(10)
    structure_set.RemoveStructure(found["BODY"])
    organ = structure_set.AddStructure("ORGAN", "Organ")
    organ.AddContourOnImagePlane(square(esapi), 3)
    volume = found["PTV1"].Volume
    app.SaveModifications()
    patient = esapi.start().OpenPatientById(PHANTOM.patient_id)
    structure_set = only(patient.StructureSets)
    assert uid == structure_set.UID
    found = structures(structure_set)
    assert "BODY" not in found
    assert "GTV1" not in found
    color = found["gtv+"].Color
    expected = (1, 2, 3) if is_new else (255, 0, 0)
    assert expected == (color.R, color.G, color.B)
    assert found["PTV1"].Volume == pytest.approx(volume)
    assert found["Organ"].Volume == pytest.approx(64 * 3 / 1000)
    assert found["Marker"].IsEmpty


def test_saving_goes_on_in_the_same_patient(esapi, app, writable) -> None:
    prepare(writable)
    app.SaveModifications()
    app.SaveModifications()  # nothing to save is nothing wrong
    writable.BeginModifications()
    structure = only(next(s for s in writable.StructureSets if s.Id == "zCopyFromPlan").Structures)
    structure.Id = "GTV"
    app.SaveModifications()
    patient = esapi.start().OpenPatientById(PHANTOM.patient_id)
    created = next(s for s in patient.StructureSets if s.Id == "zCopyFromPlan")
    assert only(created.Structures).Id == "GTV"


def test_saving_without_a_patient(app) -> None:
    with refused("System.ApplicationException"):
        app.SaveModifications()


# --- the stand-ins side by side ---


def edit(esapi, patient) -> None:
    """Change a patient in every way that leaves contours behind."""
    prepare(patient)
    planning, *_, contrast = patient.StructureSets
    found = structures(planning)
    found["PTV1"].SubtractContourOnImagePlane(square(esapi, 6, at=(-20, 10)), 10)
    found["PTV1"].AddContourOnImagePlane(square(esapi, 5, at=(3.3, -7.7)), 10)
    found["GTV1"].ClearAllContoursOnImagePlane(11)
    found["GTV1"].Id = "Prüf GTV"
    copy = planning.Copy()
    copy.RemoveStructure(structures(copy)["Marker"])
    body = contrast.AddStructure("EXTERNAL", "Körper")
    body.SegmentVolume = found["BODY"].SegmentVolume
    body.SubtractContourOnImagePlane(square(esapi, 12.3, at=(5.1, 2.2)), 6)
    volumes(patient)["MR_1"].UserOrigin = esapi.vector(0.1, -1 / 3, 2e-7)


def shown(value):
    """Turn what ESAPI gives into something plain: an API object into its id."""
    if type(value).__name__ == "VVector":
        return (value.x, value.y, value.z)
    if type(value).__name__ == "DateTime":
        return value.ToString("yyyy-MM-ddTHH:mm:ss")
    return value if value is None or type(value) in {bool, int, float, str} else str(value)


def members(target, names: str) -> dict:
    return {name: shown(getattr(target, name)) for name in names.split()}


DATA = "Id Name Comment HistoryUserName HistoryDateTime"


def describe_image(esapi, image) -> dict:
    buffer = esapi.buffer(image.XSize, image.YSize)
    planes = []
    for plane in range(image.ZSize):
        image.GetVoxels(plane, buffer)
        planes.append(esapi.array(buffer).tolist())
    far = 300.0
    line = esapi.doubles(101)
    if image.ZSize > 1:
        image.GetImageProfile(esapi.vector(-far, -8.1, -20), esapi.vector(far, 9.3, 23.7), line)
    described = members(
        image,
        f"{DATA} CreationDateTime FOR XSize YSize ZSize XRes YRes ZRes Origin XDirection "
        "YDirection ZDirection ImagingOrientation Level Window DisplayUnit IsProcessed "
        "ContrastBolusAgentIngredientName HasUserOrigin UserOrigin",
    )
    return described | {
        "voxels": planes,
        "scale": [image.VoxelToDisplayValue(value) for value in (-1, 0, 1000)],
        "profile": esapi.array(line).tolist(),
    }


def describe_structure(structure, planes: int) -> dict:
    center = structure.CenterPoint
    color = structure.Color
    described = members(
        structure,
        f"{DATA} ROINumber DicomType IsEmpty HasSegment IsHighResolution Volume",
    )
    return described | {
        "color": (color.A, color.R, color.G, color.B),
        "center": None if structure.IsEmpty else shown(center),
        "inside": structure.HasSegment and structure.IsPointInsideSegment(center),
        "parts": structure.GetNumberOfSeparateParts(),
        "contours": [
            [polygon.tolist() for polygon in points(structure.GetContoursOnImagePlane(plane))]
            for plane in range(planes)
        ],
        "approval": [
            members(e, "ApprovalStatus StatusComment UserId UserDisplayName ApprovalDateTime")
            for e in structure.ApprovalHistory
        ],
    }


def describe(esapi, patient) -> dict:
    """All that a patient shows."""
    return members(
        patient,
        f"{DATA} Id2 SSN FirstName MiddleName LastName Sex DateOfBirth CreationDateTime "
        "HasModifiedData",
    ) | {
        "studies": [
            members(study, f"{DATA} UID CreationDateTime")
            | {
                "series": [
                    members(
                        series,
                        f"{DATA} UID Modality FOR ImagingDeviceManufacturer ImagingDeviceModel "
                        "ImagingDeviceSerialNo Study",
                    )
                    | {"images": [describe_image(esapi, image) for image in series.Images]}
                    for series in study.Series
                ]
            }
            for study in patient.Studies
        ],
        "structure sets": [
            members(structure_set, f"{DATA} UID Image Patient")
            | {
                "structures": [
                    describe_structure(structure, structure_set.Image.ZSize)
                    for structure in structure_set.Structures
                ]
            }
            for structure_set in patient.StructureSets
        ],
        "courses": [
            members(course, "Id Patient")
            | {
                "plans": [
                    members(
                        plan,
                        f"{DATA} UID Course StructureSet Series SeriesUID ApprovalStatus "
                        "NumberOfFractions TotalDose DosePerFraction TargetVolumeID "
                        "TreatmentOrientation CreationDateTime",
                    )
                    for plan in course.PlanSetups
                ]
            }
            for course in patient.Courses
        ],
        "registrations": [
            members(registration, f"{DATA} UID SourceFOR RegisteredFOR Status CreationDateTime")
            | {
                "matrix": esapi.array(registration.TransformationMatrix).tolist(),
                "moved": shown(registration.TransformPoint(esapi.vector(1.1, -20.2, 300.3))),
                "moved back": shown(
                    registration.InverseTransformPoint(esapi.vector(1.1, -20.2, 300.3))
                ),
            }
            for registration in patient.Registrations
        ],
    }


def differences(one, other, where: str = "", rounding: float = 0.0) -> Iterator[str]:
    """Where two descriptions differ; numbers by more than ``rounding``."""
    if isinstance(one, (dict, list, tuple)) and type(one) is type(other) and len(one) == len(other):
        keys = one if isinstance(one, dict) else range(len(one))
        for key in keys:
            yield from differences(one[key], other[key], f"{where}/{key}", rounding)
    elif isinstance(one, float) and isinstance(other, float):
        if not abs(one - other) <= rounding and not (np.isnan(one) and np.isnan(other)):
            yield f"{where}: {one!r}, {other!r}"
    elif type(one) is not type(other) or one != other:
        yield f"{where}: {one!r}, {other!r}"


@pytest.mark.parametrize("phantom", [PHANTOM, APPROVED, FOREIGN], ids=lambda p: p.patient_id)
def test_stand_ins_show_the_same(esapi, other, phantom) -> None:
    mine = describe(esapi, esapi.start().OpenPatientById(phantom.patient_id))
    esapi.stop()
    others = describe(other, other.start().OpenPatientById(phantom.patient_id))
    assert list(differences(mine, others)) == []
    assert mine["structure sets"][0]["structures"][1]["Volume"] > 0


def test_stand_ins_save_the_same_files(esapi, other, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    other.db = shutil.copytree(esapi.db, tmp_path / "other")
    saved = []
    for stand_in in (esapi, other):
        app = stand_in.start()
        patient = app.OpenPatientById(PHANTOM.patient_id)
        patient.BeginModifications()
        edit(stand_in, patient)
        app.SaveModifications()
        stand_in.stop()
        files = (path for path in stand_in.db.rglob("*") if path.is_file())
        saved.append({str(path.relative_to(stand_in.db)): path.read_bytes() for path in files})
    mine, others = saved
    # It holds the settings, and the version among them.
    assert mine.pop("database.json")
    assert others.pop("database.json")
    assert sum("RS." in name and name.endswith(".1.dcm") for name in mine) == 4
    assert set(mine) == set(others)
    assert [name for name in mine if mine[name] != others[name]] == []


def test_stand_ins_read_what_the_other_saved(esapi, other) -> None:
    for writer, reader, name in ((esapi, other, "one"), (other, esapi, "two")):
        app = writer.start()
        patient = app.OpenPatientById(PHANTOM.patient_id)
        patient.BeginModifications()
        if writer is esapi:
            edit(writer, patient)
        created = volumes(patient)["CT_2"].CreateNewStructureSet()
        created.Id = name
        source = structures(next(iter(patient.StructureSets)))["PTV1"]
        created.AddStructure("PTV", "target+").SegmentVolume = source.SegmentVolume
        app.SaveModifications()
        written = describe(writer, patient)
        writer.stop()
        read = describe(reader, reader.start().OpenPatientById(PHANTOM.patient_id))
        reader.stop()
        # In a file a coordinate has sixteen characters.
        assert list(differences(read, written, rounding=1e-9)) == []
        assert name in {s["Id"] for s in read["structure sets"]}
