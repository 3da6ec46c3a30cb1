from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stardust_esapi.errors import PrepareError
from stardust_esapi.model import Action, Case, Kind
from stardust_esapi.names import folding
from stardust_esapi.patient import StructureView
from stardust_esapi.prepare.plan import PreparePlan, plan_structures, reads_as
from stardust_esapi.settings import ADDABLE_TYPES, Rule, StructureSettings, Then, When

RULES = StructureSettings()
CASE = Case(row=5, patient_id="0001", plan_id="B1", target_id="PTV1", gtv_id="GTV1")


def structure(identifier: str, dicom_type: str = "ORGAN", *, empty: bool = False) -> StructureView:
    return StructureView(identifier, dicom_type, (1, 2, 3), is_empty=empty)


GTV, PTV = structure("GTV1", "GTV"), structure("PTV1", "PTV")


def plan(*others: StructureView, settings: StructureSettings = RULES) -> PreparePlan:
    return plan_structures(CASE, (GTV, PTV, *others), settings)


def new_ids(created: PreparePlan) -> dict[str, str]:
    return {p.source.structure_id: p.new_id for p in created.structures}


def test_gtv_and_target_get_the_labels_and_keep_their_types() -> None:
    created = plan()
    assert new_ids(created) == {"GTV1": "gtv+", "PTV1": "target+"}
    assert [p.dicom_type for p in created.structures] == ["GTV", "PTV"]
    assert created.structures[0].outcome(Kind.CT).action is Action.RENAMED


@pytest.mark.parametrize(
    ("identifier", "word"),
    [
        ("zOpti", "z"),
        ("ZHelp", "z"),
        ("PRV Cord", "prv"),
        ("Ring_1", "ring"),
        ("BODY", "body"),
        ("Haut 3mm", "haut"),
        ("Saum", "saum"),
        ("CouchSurface", "couch"),
        ("Helper", "help"),
    ],
)
def test_todays_words_leave_a_structure_out_and_say_which(identifier: str, word: str) -> None:
    created = plan(structure(identifier))
    assert identifier not in new_ids(created)
    [outcome] = created.skipped_outcomes(Kind.KM)
    assert outcome.source_id == identifier
    assert outcome.action is Action.SKIPPED
    assert f"“{word}”" in outcome.reason


def test_an_empty_structure_is_left_out() -> None:
    assert plan(structure("Heart", empty=True)).skipped == (("Heart", "it is empty"),)


def test_the_suffix_oar_goes() -> None:
    assert new_ids(plan(structure("Lung L OAR")))["Lung L OAR"] == "Lung L"


def test_the_suffix_stays_where_the_short_id_is_taken() -> None:
    created = plan(structure("Lung L"), structure("Lung L OAR"))
    assert new_ids(created)["Lung L OAR"] == "Lung L OAR"
    assert "taken" in created.structures[-1].reason


@pytest.mark.parametrize(
    ("identifier", "new_id", "word"),
    [
        ("GTV2", "GT2", "gtv"),
        ("iGTV", "iGT", "gtv"),
        ("CTV aus GTV", "CTV aus GT", "gtv"),
        ("g-t_V alt", "GT alt", "gtv"),
        ("Target alt", "Targ alt", "target"),
        ("GTV+ old", "GT+ old", "gtv"),
        ("target_+", "Targ_+", "target"),
        ("GGTVTV", "GGTTV", "gtv"),
        ("GTV target", "GT Targ", "target"),
        ("Targe\u1e97 2", "Targ\u03082", "target"),  # t with diaeresis, folded to two
    ],
)
def test_an_id_that_the_reader_would_take_for_a_label_is_changed_and_recognisable(
    identifier: str, new_id: str, word: str
) -> None:
    created = plan(structure(identifier))
    outcome = created.structures[-1].outcome(Kind.CT)
    assert (outcome.action, outcome.new_id) == (Action.RENAMED, new_id)
    assert f"“{word}”" in outcome.reason


def test_ids_that_become_the_same_are_told_apart() -> None:
    created = plan(structure("GTV2"), structure("G TV2"), structure("GT2"))
    assert list(new_ids(created).values())[2:] == ["GT2_2", "GT2_3", "GT2"]
    assert "taken" in created.structures[2].reason


def test_a_rule_may_take_all_of_a_reserved_id() -> None:
    rule = Rule(name="all", when=When.STARTS_WITH, words=("GTV",), then=Then.REMOVE)
    settings = StructureSettings(rules=(rule,))
    created = plan(structure("GTV"), structure("GTV "), settings=settings)
    ids = list(new_ids(created).values())[2:]
    assert len(set(ids)) == 2
    assert all(i.startswith("GT") and not reads_as(i, "gtv") for i in ids)


def test_the_words_are_a_clinics_choice() -> None:
    settings = StructureSettings(reserved={"gtv": "TV", "target": "Ziel"})
    created = plan(structure("GTV2"), structure("Target 3"), settings=settings)
    assert list(new_ids(created).values())[2:] == ["TV2", "Ziel 3"]


def test_a_person_named_the_target_so_no_rule_takes_it_away() -> None:
    case = Case(row=5, patient_id="1", plan_id="B", target_id="zPTV ring", gtv_id="GTV1")
    created = plan_structures(case, (GTV, structure("zPTV ring", "PTV")), RULES)
    assert new_ids(created)["zPTV ring"] == "target+"


@pytest.mark.parametrize("own", ["", "BOLUS", "MARKER", "ISOCENTER"])
def test_a_type_that_cannot_be_added_is_mapped_and_said(own: str) -> None:
    created = plan(structure("Thing", own))
    assert created.structures[-1].dicom_type == "CONTROL"
    assert "CONTROL" in created.structures[-1].reason


@pytest.mark.parametrize(
    ("sources", "target", "gtv", "words"),
    [
        ((PTV,), "PTV1", "GTV1", ["no structure GTV1", "PTV1"]),
        ((GTV,), "PTV1", "GTV1", ["no structure PTV1"]),
        ((GTV, PTV), "PTV1", "", ["column GTV names no GTV"]),
        ((GTV, PTV), "", "GTV1", ["column TargetID names no target"]),
        ((structure("GTV1", empty=True), PTV), "PTV1", "GTV1", ["GTV1", "is empty"]),
        ((GTV, PTV), "GTV1", "gtv1", ["both name structure GTV1"]),
    ],
)
def test_without_target_or_gtv_the_case_stops(
    sources: tuple[StructureView, ...], target: str, gtv: str, words: list[str]
) -> None:
    case = Case(row=5, patient_id="0001", plan_id="B1", target_id=target, gtv_id=gtv)
    with pytest.raises(PrepareError) as caught:
        plan_structures(case, sources, RULES)
    for word in ("row 5", *words):
        assert word in str(caught.value)


names = st.text(st.sampled_from("azRrGgTtVv+ _-OAR"), min_size=1, max_size=16).filter(str.strip)
structures = st.builds(
    structure,
    names,
    st.sampled_from(["ORGAN", "", "MARKER", "CTV"]),
    empty=st.booleans(),
)


@given(st.lists(structures, unique_by=lambda s: folding(s.structure_id.strip()), max_size=12))
def test_every_structure_has_one_outcome_and_the_prepared_set_is_legal(
    others: list[StructureView],
) -> None:
    others = [s for s in others if folding(s.structure_id.strip()) not in {"gtv1", "ptv1"}]
    created = plan(*others)
    kept = [p.source.structure_id for p in created.structures]
    left_out = [source for source, _ in created.skipped]
    assert sorted(kept + left_out) == sorted(s.structure_id for s in (GTV, PTV, *others))
    ids = [p.new_id for p in created.structures]
    assert len({folding(i) for i in ids}) == len(ids)
    assert all(0 < len(i) <= 16 for i in ids)
    assert all(p.dicom_type in ADDABLE_TYPES for p in created.structures)
    assert [i for i in ids if reads_as(i, "gtv")] == ["gtv+"]
    assert [i for i in ids if reads_as(i, "target")] == ["target+"]
