from __future__ import annotations

from dataclasses import replace

import pytest

from stardust_esapi.errors import LocateError
from stardust_esapi.geometry import ImageGeometry
from stardust_esapi.locate import locate
from stardust_esapi.model import Case, Kind
from stardust_esapi.patient import (
    ImageView,
    PatientView,
    PlanView,
    RegistrationView,
    StructureSetView,
)

GRID = ImageGeometry((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 3), (10, 10, 5))
CT = ImageView("CT_1", "1.1", "1", "CT", "1.9", GRID)
OTHER_CT = ImageView("CT_2", "1.2", "1", "CT", "1.9", GRID)
KM = ImageView("CT_3", "1.3", "1", "CT", "1.9", GRID)
MR = ImageView("MR_1", "1.4", "1", "MR", "1.8", GRID)
SET = StructureSetView("CT_1", "1.5", CT)
OTHER_SET = StructureSetView("CT_1", "1.6", OTHER_CT)
PATIENT = PatientView(
    patient_id="0001",
    plans=(PlanView("C1", "B1", "1.7", SET.uid), PlanView("C1", "B2", "1.71", OTHER_SET.uid)),
    structure_sets=(SET, OTHER_SET),
    images=(CT, OTHER_CT, KM, MR),
    registrations=(RegistrationView("1.10", "1.8", "1.9"), RegistrationView("1.11", "1.8", "1.77")),
)
CASE = Case(row=2, patient_id="0001", plan_id="B1", target_id="PTV", gtv_id="GTV")


def test_by_plan() -> None:
    located = locate(CASE, PATIENT)
    assert located.source is SET
    assert located.image is CT
    assert located.contrast is None
    assert located.mr is None


def test_ids_ignore_case_as_eclipse_does() -> None:
    assert locate(replace(CASE, plan_id="b1 "), PATIENT).source is SET


def test_by_series_and_structure_set() -> None:
    case = replace(CASE, plan_id="", series_uid="1.2", structure_set_id="ct_1")
    assert locate(case, PATIENT).source is OTHER_SET


def test_both_agree() -> None:
    case = replace(CASE, series_uid="1.1", structure_set_id="CT_1")
    assert locate(case, PATIENT).source is SET


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plan_id": "B9"}, ["no such plan", "B1, B2"]),
        ({"series_uid": "1.2"}, ["series 1.1", "SeriesUID says 1.2"]),
        ({"structure_set_id": "CT_9"}, ["structure set CT_1", "StructureSetID says CT_9"]),
        ({"plan_id": "", "series_uid": "1.1"}, ["neither a plan nor a series"]),
        (
            {"plan_id": "", "series_uid": "1.1", "structure_set_id": "CT_9"},
            ["no structure set CT_9", "CT_1"],
        ),
        ({"km_series_uid": "1.99"}, ["no 3-D image", "1.99", "KM_Series_UID"]),
        ({"km_series_uid": "1.4"}, ["names a MR series"]),
        ({"km_series_uid": "1.1"}, ["planning CT itself"]),
        ({"mr_series_uid": "1.4"}, ["names no registration"]),
        ({"mr_series_uid": "1.4", "mr_registration_uid": "1.99"}, ["no registration 1.99"]),
        ({"mr_series_uid": "1.4", "mr_registration_uid": "1.11"}, ["does not lead"]),
        ({"mr_series_uid": "1.3", "mr_registration_uid": "1.10"}, ["names a CT series"]),
    ],
)
def test_what_cannot_be_found_says_why_and_where(changes: dict[str, str], words: list[str]) -> None:
    with pytest.raises(LocateError) as caught:
        locate(replace(CASE, **changes), PATIENT)  # type: ignore[arg-type]
    for word in ("row 2", "patient 0001", *words):
        assert word in str(caught.value)


def test_one_plan_id_in_two_courses_is_never_guessed() -> None:
    twice = replace(PATIENT, plans=(*PATIENT.plans, PlanView("C2", "B1", "1.72", OTHER_SET.uid)))
    with pytest.raises(LocateError, match=r"several courses \(C1, C2\)"):
        locate(CASE, twice)
    assert locate(replace(CASE, series_uid="1.2"), twice).source is OTHER_SET


def test_one_plan_id_in_two_courses_over_the_same_structure_set_is_no_doubt() -> None:
    twice = replace(PATIENT, plans=(*PATIENT.plans, PlanView("C2", "B1", "1.72", SET.uid)))
    assert locate(CASE, twice).source is SET


def test_a_plan_without_structure_set() -> None:
    bare = replace(PATIENT, plans=(PlanView("C1", "B1", "1.7", ""),))
    with pytest.raises(LocateError, match="course C1 has no structure set"):
        locate(CASE, bare)


def test_two_structure_sets_of_one_id_on_copies_of_an_image() -> None:
    copy = StructureSetView("CT_1", "1.66", replace(CT, image_id="CT_1a"))
    twice = replace(PATIENT, structure_sets=(SET, copy))
    case = replace(CASE, plan_id="", series_uid="1.1", structure_set_id="CT_1")
    with pytest.raises(LocateError, match="2 structure sets are called CT_1"):
        locate(case, twice)


def test_contrast_ct_in_another_frame_of_reference_is_refused() -> None:
    foreign = replace(KM, frame_of_reference_uid="1.99")
    patient = replace(PATIENT, images=(CT, foreign))
    with pytest.raises(LocateError, match="another frame of reference"):
        locate(replace(CASE, km_series_uid="1.3"), patient)


def test_contrast_ct_and_mr_are_found_and_only_where_asked_for() -> None:
    case = replace(
        CASE,
        km_series_uid="1.3",
        mr_series_uid="1.4",
        mr_registration_uid="1.10",
        mr_slices=7,
    )
    located = locate(case, PATIENT)
    assert located.contrast is KM
    assert located.mr is MR
    assert located.registration is PATIENT.registrations[0]
    assert located.remarks == ("MR_Slices says 7, Eclipse shows 5 planes.",)
    located = locate(case, PATIENT, [Kind.CT])
    assert (located.contrast, located.mr, located.registration) == (None, None, None)


def test_mr_in_the_frame_of_the_ct_needs_no_registration() -> None:
    patient = replace(PATIENT, images=(CT, replace(MR, frame_of_reference_uid="1.9")))
    located = locate(replace(CASE, mr_series_uid="1.4"), patient)
    assert located.mr is not None
    assert located.registration is None


def test_images_of_different_geometry_under_one_series_are_not_chosen_from() -> None:
    coarse = replace(KM, image_id="CT_4", geometry=replace(GRID, spacing=(2.0, 2.0, 3.0)))
    copy = replace(KM, image_id="CT_5")
    case = replace(CASE, km_series_uid="1.3")
    assert locate(case, replace(PATIENT, images=(CT, KM, copy))).contrast is KM
    with pytest.raises(LocateError, match="different geometry"):
        locate(case, replace(PATIENT, images=(CT, KM, coarse)))


def test_a_plan_on_an_mr_is_no_planning_ct() -> None:
    on_mr = replace(PATIENT, structure_sets=(StructureSetView("MR_1", SET.uid, MR),))
    with pytest.raises(LocateError, match="not on a CT"):
        locate(CASE, on_mr)
