from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stardust_esapi.dataset.entry import Entry
from stardust_esapi.dataset.split import (
    FOLDS_NAME,
    SPLIT_NAME,
    Part,
    Split,
    assign,
    folds_document,
    read_parts,
    split_bytes,
    update_split,
)
from stardust_esapi.dataset.tasks import State
from stardust_esapi.errors import UsageError
from stardust_esapi.model import Kind
from stardust_esapi.settings import Dataset

KINDS = ["", "Glio", "Lunge", "Meningeom"]
REGIONS = ["", "Kopf", "Thorax"]
Fractions = st.one_of(
    st.sampled_from([0.8, 0.7, 0.5, 0.9, 0.75]), st.floats(0.01, 0.99, allow_nan=False)
)
Seeds = st.integers(0, 2**31)


def entry(
    patient: str, number: int, kind: str = "", region: str = "", state: State = State.CREATED
) -> Entry:
    modality = Kind.MR if number % 3 == 2 else Kind.CT
    return Entry(
        f"c{patient}{number}", patient, modality, state, case_kind=kind, label2=region
    )  # fmt: skip


def patients(count: int, kind: str = "", region: str = "", first: int = 0) -> list[Entry]:
    """So many patients with a case each."""
    return [entry(f"p{kind}{region}{n}", 0, kind, region) for n in range(first, first + count)]


# The words of each patient's cases; some failed.
_Case = st.tuples(
    st.sampled_from(KINDS),
    st.sampled_from(REGIONS),
    st.sampled_from([State.CREATED, State.CREATED, State.CREATED, State.FAILED]),
)
Cohorts = st.dictionaries(
    st.from_regex(r"p[a-z2-7]{4}", fullmatch=True), st.lists(_Case, min_size=1, max_size=4),
    max_size=40,
).map(
    lambda cohort: [
        entry(patient, number, *case)
        for patient, cases in cohort.items()
        for number, case in enumerate(cases)
    ]
)  # fmt: skip


def created(entries: list[Entry]) -> set[str]:
    return {one.patient for one in entries if one.created}


def share(split: Split, of: set[str] | None = None) -> tuple[int, int]:
    """How many patients are for training and for testing."""
    parts = Counter(part for patient, part in split.patients.items() if of is None or patient in of)
    return parts[Part.TRAIN], parts[Part.TEST]


@given(Cohorts, Fractions, Seeds)
def test_no_patient_is_on_both_sides_and_no_file_is_lost(
    entries: list[Entry], fraction: float, seed: int
):
    split = assign(entries, fraction, seed)
    whose = {one.name: one.patient for one in entries if one.created}
    listed = [name for part in Part for name in split.cases[part]]
    assert sorted(listed) == sorted(whose)
    assert split.patients.keys() == created(entries)
    sides = {part: {whose[name] for name in split.cases[part]} for part in Part}
    assert not sides[Part.TRAIN] & sides[Part.TEST]


@given(Cohorts, Fractions, Seeds)
def test_the_share_holds_for_all_together_and_neither_part_is_empty(
    entries: list[Entry], fraction: float, seed: int
):
    count = len(created(entries))
    trained, tested = share(assign(entries, fraction, seed))
    assert trained + tested == count
    assert (
        abs(trained - Fraction(str(fraction)) * count) <= Fraction(1, 2)
        or count < 2
        or (min(trained, tested) == 1)
    )
    if count > 1:
        assert trained
        assert tested


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(KINDS), st.sampled_from(REGIONS)), st.integers(1, 30), min_size=1
    ),
    st.sampled_from([0.8, 0.7, 0.5, 0.9, 0.75]),
    Seeds,
)
def test_it_holds_within_each_casekind_and_in_that_within_each_region(sizes, fraction, seed):
    entries = [one for words, size in sizes.items() for one in patients(size, *words)]
    split = assign(entries, fraction, seed)
    count = sum(sizes.values())
    tested = Fraction(share(split)[1], count)
    for kind in {kind for kind, _ in sizes}:
        of_kind = {one.patient for one in entries if one.case_kind == kind}
        assert abs(share(split, of_kind)[1] - tested * len(of_kind)) < 2
    for (kind, region), size in sizes.items():
        assert split.strata[kind, region].keys() == set(Part)
        assert abs(split.strata[kind, region][Part.TEST] - tested * size) < 3


def test_twenty_strata_of_two_give_as_many_for_testing_as_one_of_forty():
    """Each alone would give none: 1.6 of two patients for training is two."""
    entries = [one for number in range(20) for one in patients(2, f"k{number}")]
    split = assign(entries, 0.8, 0)
    assert share(split) == share(assign(patients(40), 0.8, 0)) == (32, 8)
    assert max(count[Part.TEST] for count in split.strata.values()) == 1
    others = assign(entries, 0.8, 1)
    assert others.strata != split.strata  # another seed lets other strata have their turn


def test_a_casekinds_share_is_taken_from_its_regions_in_turn():
    entries = [one for n in range(5) for one in patients(2, "Lunge", f"r{n}")]
    entries += patients(10, "Glio", "Kopf")
    split = assign(entries, 0.8, 0)
    assert split.strata["Glio", "Kopf"] == {Part.TRAIN: 8, Part.TEST: 2}
    lung = [count[Part.TEST] for (kind, _), count in split.strata.items() if kind == "Lunge"]
    assert sorted(lung) == [0, 0, 0, 1, 1]


@given(Cohorts, Fractions, Seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_entries_does_not_matter(entries, fraction, seed, random):
    shuffled = list(entries)
    random.shuffle(shuffled)
    assert split_bytes(assign(shuffled, fraction, seed)) == split_bytes(
        assign(entries, fraction, seed)
    )


@given(Cohorts, Cohorts, Cohorts, Fractions, Seeds)
def test_who_has_a_part_keeps_it(first, second, third, fraction, seed):
    """Whatever comes, when his stratum changes, and when cases that were there fail or are gone."""
    one = assign(first, fraction, seed)
    two = assign([*first, *second], fraction, seed, one.patients)
    three = assign(third, fraction, seed, two.patients)
    for before, after in ((one, two), (two, three)):
        assert before.patients.items() <= after.patients.items()


def test_a_patient_of_another_stratum_is_not_moved():
    entries = patients(10, "Lunge")
    before = assign(entries, 0.8, 0)
    (one, _) = (p for p, part in before.patients.items() if part is Part.TEST)
    after = assign([*entries, entry(one, 1, "Glio", "Kopf")], 0.8, 0, before.patients)
    assert after.patients == before.patients
    assert after.strata["Glio+Lunge", "+Kopf"] == {Part.TRAIN: 0, Part.TEST: 1}


@given(st.lists(st.integers(1, 20), max_size=6), st.sampled_from([0.8, 0.7, 0.5, 0.9]), Seeds)
def test_the_share_stays_while_a_dataset_grows(steps, fraction, seed):
    parts: dict[str, Part] = {}
    entries: list[Entry] = patients(2, "Lunge")
    for number, step in enumerate(steps):
        entries += patients(step, KINDS[number % 4], "Kopf", first=len(entries))
        split = assign(entries, fraction, seed, parts)
        parts = dict(split.patients)
        trained, tested = share(split)
        assert (
            abs(trained - Fraction(str(fraction)) * len(entries)) <= Fraction(1, 2) or tested == 1
        )


def test_a_half_is_a_half():
    """0.7 * 15 is 10.499… in binary."""
    found = [share(assign(patients(n), f, 0))[0] for n, f in ((15, 0.7), (5, 0.7), (5, 0.5))]
    assert found == [11, 4, 3]


def test_seeds_make_different_splits_and_all_patients_take_their_turn():
    entries = patients(40)
    splits = [assign(entries, 0.8, seed).patients for seed in range(100)]
    assert len({tuple(split.items()) for split in splits}) == 100
    held_out = Counter(
        patient for split in splits for patient, part in split.items() if part is Part.TEST
    )
    assert len(held_out) == 40
    assert sum(held_out.values()) == 800
    assert max(held_out.values()) < 40  # 20 is to be expected


def test_a_known_split_stays_as_it_is():
    """Datasets in use depend on it."""
    split = assign([entry(f"p{number}", 0, "x") for number in range(10)], 0.8, 7)
    held_out = [patient for patient, part in split.patients.items() if part is Part.TEST]
    assert held_out == ["p1", "p6"]


# --- where the share cannot be as asked ----------------------------------------------------


def test_a_good_split_has_nothing_to_say():
    assert assign([*patients(5, "Lunge"), *patients(5, "Glio")], 0.8, 0).remarks == ()


def test_two_patients_are_one_for_each_and_that_is_said():
    split = assign(patients(2, "Lunge"), 0.8, 0)
    assert share(split) == (1, 1)
    assert split.remarks == (
        "1 of 2 patients are for training where --split asks for 2: none of the two parts is to "
        "be empty.",
    )


def test_a_single_patient_is_for_training():
    split = assign(patients(1, "Lunge"), 0.2, 0)
    assert share(split) == (1, 0)
    assert (
        split.remarks[-1]
        == "No patient is for testing of Lunge (1); in brackets, how many there are."
    )


def test_a_casekind_without_a_part_is_named():
    split = assign([*patients(18, "Lunge"), *patients(1, "Milz"), *patients(1)], 0.8, 0)
    assert split.remarks == (
        "No patient is for testing of no casekind (1), Milz (1); in brackets, how many there are.",
    )


def test_parts_that_were_given_may_not_fit_any_more():
    first = assign(patients(10, "Lunge"), 0.8, 0)
    kept = {patient for patient, part in first.patients.items() if part is Part.TRAIN}
    rest = [one for one in patients(10, "Lunge") if one.patient in kept]
    split = assign(rest, 0.8, 0, first.patients)
    assert split.remarks == (
        "8 of 8 patients are for training where --split asks for 6: whoever has a part keeps it.",
        "No patient is for testing of Lunge (8); in brackets, how many there are.",
    )


# --- folds ----------------------------------------------------------------------------------


@given(Cohorts, st.integers(2, 7), Seeds)
def test_every_case_for_training_validates_one_fold_with_all_of_its_patients(entries, folds, seed):
    split = assign(entries, 0.8, seed, folds=folds)
    whose = {one.name: one.patient for one in entries if one.created}
    train = sorted(split.cases[Part.TRAIN])
    patients_of = [{whose[name] for name in fold} for fold in split.folds]
    assert len(split.folds) == min(folds, share(split)[0]) or share(split)[0] < 2
    for number, fold in enumerate(folds_document(split)):
        assert sorted(fold["train"] + fold["val"]) == train
        assert not {whose[n] for n in fold["train"]} & {whose[n] for n in fold["val"]}
        assert fold["val"] == sorted(split.folds[number])
    if split.folds:
        assert sorted(name for fold in split.folds for name in fold) == train
        assert max(map(len, patients_of)) - min(map(len, patients_of)) <= 1


def test_each_fold_has_its_share_of_each_stratum():
    entries = [*patients(25, "Lunge"), *patients(25, "Glio", "Kopf"), *patients(13, "Milz")]
    split = assign(entries, 0.8, 0, folds=5)
    for kind in ("Lunge", "Glio", "Milz"):
        held = [sum(name.startswith(kind) for name in fold) for fold in split.folds]
        assert max(held) - min(held) <= 1


def test_more_folds_than_patients_are_not_made_and_that_is_said():
    split = assign(patients(4, "Lunge"), 0.8, 0, folds=5)
    assert [len(fold) for fold in split.folds] == [1, 1, 1]
    assert "There were to be 5 folds, and the patients for training make 3." in split.remarks


# --- the files ------------------------------------------------------------------------------


def settings(**changes: object) -> Dataset:
    return Dataset(**{"split": 0.8, "seed": 3} | changes)  # type: ignore[arg-type]


def test_the_file_goes_on_and_is_the_same_for_the_same_dataset(tmp_path: Path):
    entries = [entry(f"p{number}", 0, KINDS[number % 2]) for number in range(20)]
    first = update_split(tmp_path, entries[:12], settings())
    before = (tmp_path / SPLIT_NAME).read_bytes()
    update_split(tmp_path, entries[:12], settings())
    assert (tmp_path / SPLIT_NAME).read_bytes() == before
    second = update_split(tmp_path, entries, settings())
    assert first.patients.items() <= second.patients.items()
    assert [path.name for path in (tmp_path / "lists").iterdir()] == ["split.json"]


def test_the_file_says_what_a_trainer_needs(tmp_path: Path):
    entries = [entry(f"p{number}", n, "Ä", "Kopf") for number in range(5) for n in range(3)]
    split = update_split(tmp_path, entries, settings(seed=0))
    document = json.loads((tmp_path / SPLIT_NAME).read_bytes())
    assert document["train"] == list(split.cases[Part.TRAIN])
    assert document["test"] == list(split.cases[Part.TEST])
    assert len(document["train"]) == 12
    assert document["strata"] == [{"casekind": "Ä", "Label2": "Kopf", "train": 4, "test": 1}]
    assert (document["fraction"], document["seed"], document["remarks"]) == (0.8, 0, [])


def test_folds_have_nnunets_form_and_go_when_nobody_asks(tmp_path: Path):
    update_split(tmp_path, patients(10, "Glio"), settings(folds=4))
    document = json.loads((tmp_path / FOLDS_NAME).read_bytes())
    assert [(sorted(fold), len(fold["train"]), len(fold["val"])) for fold in document] == [
        (["train", "val"], 6, 2)
    ] * 4
    update_split(tmp_path, patients(10, "Glio"), settings())
    assert not (tmp_path / FOLDS_NAME).exists()


def test_there_is_nobody_before_the_first_split(tmp_path: Path):
    assert read_parts(tmp_path, 0.8, 0) == {}


@pytest.mark.parametrize("change", [{"split": 0.7}, {"seed": 4}])
def test_another_fraction_or_seed_is_not_mixed_in(tmp_path: Path, change: dict[str, object]):
    update_split(tmp_path, [entry("p1", 0)], settings())
    before = (tmp_path / SPLIT_NAME).read_bytes()
    with pytest.raises(UsageError, match=r"created with --split 0\.8 --seed 3.*remove the file"):
        update_split(tmp_path, [entry("p1", 0)], settings(**change))
    assert (tmp_path / SPLIT_NAME).read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": "x"}', b"\xff"])
def test_a_damaged_file_is_not_overwritten(tmp_path: Path, content: bytes):
    (tmp_path / "lists").mkdir()
    (tmp_path / SPLIT_NAME).write_bytes(content)
    with pytest.raises(UsageError, match="damaged or of another version"):
        update_split(tmp_path, [entry("p1", 0)], settings())
    assert (tmp_path / SPLIT_NAME).read_bytes() == content


def test_a_dataset_without_a_case_has_an_empty_split(tmp_path: Path):
    split = update_split(tmp_path, [entry("p1", 0, state=State.FAILED)], settings())
    assert (split.patients, split.strata, split.remarks) == ({}, {}, ())
