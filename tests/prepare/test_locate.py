from __future__ import annotations

import re
from dataclasses import replace

import pytest

from stardust_esapi.choices import OnMissing
from stardust_esapi.errors import LocateError
from stardust_esapi.geometry import ImageGeometry
from stardust_esapi.model import Case, Kind
from stardust_esapi.patient import (
    ImageView,
    PatientView,
    PlanView,
    RegistrationView,
    StructureSetView,
)
from stardust_esapi.prepare.locate import locate

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


def test_the_plan_is_looked_up_where_its_dose_is_asked_for() -> None:
    assert locate(CASE, PATIENT).plan is None
    located = locate(CASE, PATIENT, (Kind.DOSE,))
    assert (located.plan, located.left_out) == (PATIENT.plans[0], {})


@pytest.mark.parametrize("kind", [Kind.DOSE, Kind.PLAN])
@pytest.mark.parametrize(
    ("case", "plans", "words"),
    [
        (
            replace(CASE, plan_id="", series_uid="1.1", structure_set_id="CT_1"),
            PATIENT.plans,
            "names no plan.*Fill in PlanID",
        ),
        # The same structure set, so the case stands; but which of the two doses?
        (
            CASE,
            (*PATIENT.plans, PlanView("C2", "B1", "1.72", SET.uid)),
            r"several courses \(C1, C2",
        ),
    ],
)
def test_a_dose_of_no_certain_plan_is_left_out(kind: Kind, case, plans, words: str) -> None:
    patient = replace(PATIENT, plans=plans)
    located = locate(case, patient, (Kind.CT, kind))
    assert re.search(words, located.left_out[kind])
    for kinds, missing in (((kind,), OnMissing.SKIP), ((Kind.CT, kind), OnMissing.FAIL)):
        with pytest.raises(LocateError, match=words):
            locate(case, patient, kinds, missing)


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
    ],
)
def test_what_cannot_be_found_says_why_and_where(changes: dict[str, str], words: list[str]) -> None:
    with pytest.raises(LocateError) as caught:
        locate(replace(CASE, **changes), PATIENT)  # type: ignore[arg-type]
    for word in ("row 2", "patient 0001", *words):
        assert word in str(caught.value)


JOINING, FOREIGN = PATIENT.registrations
FAR_KM = replace(KM, frame_of_reference_uid="1.99")
COARSE_KM = replace(KM, image_id="CT_4", geometry=replace(GRID, spacing=(2.0, 2.0, 3.0)))


@pytest.mark.parametrize(
    ("changes", "patient", "kind", "words"),
    [
        ({"km_series_uid": "1.99"}, PATIENT, Kind.KM, ["no 3-D image", "1.99", "KM_Series_UID"]),
        ({"km_series_uid": "1.4"}, PATIENT, Kind.KM, ["names a MR series"]),
        (
            {"km_series_uid": "1.3"},
            replace(PATIENT, images=(CT, FAR_KM)),
            Kind.KM,
            ["another frame of reference"],
        ),
        (
            {"km_series_uid": "1.3"},
            replace(PATIENT, images=(CT, KM, COARSE_KM)),
            Kind.KM,
            ["different geometry"],
        ),
        ({"mr_series_uid": "1.99"}, PATIENT, Kind.MR, ["no 3-D image", "1.99", "MR_Series_UID"]),
        (
            {"mr_series_uid": "1.3", "mr_registration_uid": "1.10"},
            PATIENT,
            Kind.MR,
            ["names a CT series"],
        ),
        (
            {"mr_series_uid": "1.4", "mr_registration_uid": "1.11"},
            replace(PATIENT, registrations=(FOREIGN,)),
            Kind.MR,
            ["1.11 does not join", "no registration joins the two"],
        ),
        (
            {"mr_series_uid": "1.4"},
            replace(PATIENT, registrations=(JOINING, replace(JOINING, uid="1.12"))),
            Kind.MR,
            ["names no registration", "2 registrations"],
        ),
    ],
)
def test_what_is_wrong_with_one_kind_leaves_that_one_out(
    changes: dict[str, str], patient: PatientView, kind: Kind, words: list[str]
) -> None:
    case = replace(CASE, **changes)  # type: ignore[arg-type]
    located = locate(case, patient)
    assert located.source is SET
    assert (located.contrast, located.mr, located.registration) == (None, None, None)
    assert list(located.left_out) == [kind]
    for word in words:
        assert word in located.left_out[kind]
    with pytest.raises(LocateError) as caught:
        locate(case, patient, on_missing=OnMissing.FAIL)
    for word in ("row 2", "patient 0001", *words):
        assert word in str(caught.value)
    with pytest.raises(LocateError, match="row 2"):  # nothing would be left
        locate(case, patient, [kind])


def test_the_planning_ct_is_no_contrast_ct() -> None:
    located = locate(replace(CASE, km_series_uid="1.1"), PATIENT)
    assert located.contrast is None
    assert not located.left_out
    assert "planning CT itself" in located.notes[0]


@pytest.mark.parametrize("named", ["", "1.11", "1.99"])
def test_where_one_registration_alone_joins_the_frames_it_is_the_one(named: str) -> None:
    located = locate(replace(CASE, mr_series_uid="1.4", mr_registration_uid=named), PATIENT)
    assert located.mr is MR
    assert located.registration is JOINING
    assert JOINING.uid in located.notes[0]


def test_the_registration_that_the_row_names_goes_before_others_that_join() -> None:
    other = replace(JOINING, uid="1.12")
    case = replace(CASE, mr_series_uid="1.4", mr_registration_uid="1.12")
    located = locate(case, replace(PATIENT, registrations=(JOINING, other)))
    assert located.registration is other
    assert located.notes == ()


@pytest.mark.parametrize(("counted", "agrees"), [(4, False), (5, True), (6, True), (7, False)])
def test_mr_slices_counts_the_slices_with_or_without_the_volume(counted: int, agrees: bool) -> None:
    case = replace(CASE, mr_series_uid="1.4", mr_registration_uid="1.10", mr_slices=counted)
    assert (locate(case, PATIENT).notes == ()) == agrees


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
    assert located.notes == ("MR_Slices says 7, Eclipse shows 5 planes.",)
    located = locate(case, PATIENT, [Kind.CT])
    assert (located.contrast, located.mr, located.registration) == (None, None, None)


def test_mr_in_the_frame_of_the_ct_needs_no_registration() -> None:
    patient = replace(PATIENT, images=(CT, replace(MR, frame_of_reference_uid="1.9")))
    for named in ("", "1.10"):  # the mining takes any registration of the frame
        case = replace(CASE, mr_series_uid="1.4", mr_registration_uid=named)
        located = locate(case, patient)
        assert located.mr is not None
        assert located.registration is None
        assert [named in note for note in located.notes] == [True] * bool(named)


def test_a_copy_of_an_image_is_as_good_as_the_image() -> None:
    copy = replace(KM, image_id="CT_5")
    case = replace(CASE, km_series_uid="1.3")
    assert locate(case, replace(PATIENT, images=(CT, KM, copy))).contrast is KM


def test_a_plan_on_an_mr_is_no_planning_ct() -> None:
    on_mr = replace(PATIENT, structure_sets=(StructureSetView("MR_1", SET.uid, MR),))
    with pytest.raises(LocateError, match="not on a CT"):
        locate(CASE, on_mr)
