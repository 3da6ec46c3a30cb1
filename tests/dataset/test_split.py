from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stardust_esapi.dataset.entry import Entry
from stardust_esapi.dataset.split import (
    SPLIT_NAME,
    Part,
    Split,
    assign,
    quota,
    read_parts,
    split_bytes,
    update_split,
)
from stardust_esapi.errors import UsageError
from stardust_esapi.model import Kind

LABELS = ["", "Glioblastom", "Metastase", "Meningeom"]
Fractions = st.one_of(
    st.sampled_from([0.8, 0.7, 0.5, 0.9, 0.75]), st.floats(0.01, 0.99, allow_nan=False)
)
Seeds = st.integers(0, 2**31)


def entry(patient: str, number: int, label: str, state: str = "created") -> Entry:
    kind = Kind.MR if number % 3 == 2 else Kind.CT
    return Entry(f"c{patient}{number}", patient, kind, state, label=label)  # type: ignore[arg-type]


# The labels of each patient's cases; some failed.
_Case = st.tuples(
    st.sampled_from(LABELS), st.sampled_from(["created", "created", "created", "failed"])
)
Cohorts = st.dictionaries(
    st.from_regex(r"p[a-z2-7]{4}", fullmatch=True), st.lists(_Case, min_size=1, max_size=4),
    max_size=40,
).map(
    lambda cohort: [
        entry(patient, number, label, state)
        for patient, cases in cohort.items()
        for number, (label, state) in enumerate(cases)
    ]
)  # fmt: skip
# One label a patient: nobody changes the stratum when cases come.
PlainCohorts = st.dictionaries(
    st.from_regex(r"p[a-z2-7]{4}", fullmatch=True), st.sampled_from(LABELS), max_size=60
)


def strata(entries: Sequence[Entry]) -> dict[tuple[str, ...], set[str]]:
    labels: dict[str, set[str]] = {}
    for one in entries:
        if one.state == "created":
            labels.setdefault(one.patient, set()).add(one.label)
    found: dict[tuple[str, ...], set[str]] = {}
    for patient, own in labels.items():
        found.setdefault(tuple(sorted(own)), set()).add(patient)
    return found


def trained(split: Split, patients: set[str]) -> int:
    return sum(split.patients[patient] is Part.TRAIN for patient in patients)


@given(Cohorts, Fractions, Seeds)
def test_no_patient_is_on_both_sides_and_no_file_is_lost(
    entries: list[Entry], fraction: float, seed: int
):
    split = assign(entries, fraction, seed)
    created = [one for one in entries if one.state == "created"]
    listed = [name for part in Part for name in split.cases[part]]
    assert sorted(listed) == sorted(one.name for one in created)
    assert split.patients.keys() == {one.patient for one in created}
    sides = {part: {name.split("/")[1] for name in split.cases[part]} for part in Part}
    assert not sides[Part.TRAIN] & sides[Part.VALIDATION]


@given(Cohorts, Fractions, Seeds)
def test_every_stratum_gives_its_exact_share(entries: list[Entry], fraction: float, seed: int):
    split = assign(entries, fraction, seed)
    expected = strata(entries)
    assert split.strata.keys() == expected.keys()
    for stratum, patients in expected.items():
        wanted = math.floor(Fraction(str(fraction)) * len(patients) + Fraction(1, 2))
        assert trained(split, patients) == wanted
        assert split.strata[stratum] == {
            Part.TRAIN: wanted, Part.VALIDATION: len(patients) - wanted,
        }  # fmt: skip


@given(Cohorts, Fractions, Seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_entries_does_not_matter(entries, fraction, seed, random):
    shuffled = list(entries)
    random.shuffle(shuffled)
    assert split_bytes(assign(shuffled, fraction, seed)) == split_bytes(
        assign(entries, fraction, seed)
    )


@given(Cohorts, Cohorts, Cohorts, Fractions, Seeds)
def test_who_has_a_part_keeps_it(first, second, third, fraction, seed):
    """Whatever comes, and when cases that were there fail or are gone."""
    one = assign(first, fraction, seed)
    two = assign([*first, *second], fraction, seed, one.patients)
    three = assign(third, fraction, seed, two.patients)
    for before, after in ((one, two), (two, three)):
        assert before.patients.items() <= after.patients.items()


@given(PlainCohorts, st.lists(st.integers(1, 20), max_size=6), Fractions, Seeds)
def test_shares_stay_exact_while_a_dataset_grows(cohort, steps, fraction, seed):
    entries = [entry(patient, 0, label) for patient, label in cohort.items()]
    parts: dict[str, Part] = {}
    at = 0
    for step in [*steps, len(entries)]:
        at += step
        split = assign(entries[:at], fraction, seed, parts)
        parts = dict(split.patients)
        for patients in strata(entries[:at]).values():
            assert trained(split, patients) == quota(len(patients), fraction)


@given(st.integers(0, 500), Fractions)
def test_a_quota_grows_by_one_patient_at_most(patients: int, fraction: float):
    assert quota(patients + 1, fraction) - quota(patients, fraction) in (0, 1)
    assert abs(quota(patients, fraction) - fraction * patients) <= 0.5 + 1e-9


def test_a_half_is_a_half():
    """0.7 * 15 is 10.499… in binary."""
    assert [quota(15, 0.7), quota(5, 0.7), quota(5, 0.5), quota(1, 0.8)] == [11, 4, 3, 1]


@given(PlainCohorts, PlainCohorts, Fractions, Seeds)
def test_other_strata_do_not_matter(cohort, others, fraction, seed):
    entries = [entry(patient, 0, f"a{label}") for patient, label in cohort.items()]
    more = [entry(f"q{patient}", 0, f"b{label}") for patient, label in others.items()]
    alone, together = assign(entries, fraction, seed), assign([*entries, *more], fraction, seed)
    assert alone.patients.items() <= together.patients.items()


def test_seeds_make_different_splits_and_all_patients_take_their_turn():
    entries = [entry(f"p{number}", 0, "x") for number in range(40)]
    splits = [assign(entries, 0.8, seed).patients for seed in range(100)]
    assert len({tuple(split.items()) for split in splits}) == 100
    held_out = Counter(
        patient for split in splits for patient, part in split.items() if part is Part.VALIDATION
    )
    assert len(held_out) == 40
    assert sum(held_out.values()) == 800
    assert max(held_out.values()) < 40  # 20 is to be expected


def test_a_known_split_stays_as_it_is():
    """Datasets in use depend on it."""
    entries = [entry(f"p{number}", 0, "x") for number in range(10)]
    split = assign(entries, 0.8, 7)
    held_out = [patient for patient, part in split.patients.items() if part is Part.VALIDATION]
    assert held_out == ["p1", "p6"]


# --- the file -------------------------------------------------------------------------------


def test_the_file_goes_on_and_is_the_same_for_the_same_dataset(tmp_path: Path):
    entries = [entry(f"p{number}", 0, LABELS[number % 2]) for number in range(20)]
    first = update_split(tmp_path, entries[:12], 0.8, 3)
    before = (tmp_path / SPLIT_NAME).read_bytes()
    update_split(tmp_path, entries[:12], 0.8, 3)
    assert (tmp_path / SPLIT_NAME).read_bytes() == before
    second = update_split(tmp_path, entries, 0.8, 3)
    assert first.patients.items() <= second.patients.items()
    assert [path.name for path in tmp_path.iterdir()] == [SPLIT_NAME]


def test_the_file_says_what_a_trainer_needs(tmp_path: Path):
    entries = [entry(f"p{number}", n, "Ä") for number in range(5) for n in range(3)]
    split = update_split(tmp_path, entries, 0.8, 0)
    document = json.loads((tmp_path / SPLIT_NAME).read_bytes())
    assert document["train"] == list(split.cases[Part.TRAIN])
    assert document["val"] == list(split.cases[Part.VALIDATION])
    assert len(document["train"]) == 12
    assert document["strata"] == [{"labels": ["Ä"], "train": 4, "val": 1}]
    assert (document["fraction"], document["seed"]) == (0.8, 0)


def test_there_is_nobody_before_the_first_split(tmp_path: Path):
    assert read_parts(tmp_path, 0.8, 0) == {}


@pytest.mark.parametrize(("fraction", "seed"), [(0.7, 3), (0.8, 4)])
def test_another_fraction_or_seed_is_not_mixed_in(tmp_path: Path, fraction: float, seed: int):
    update_split(tmp_path, [entry("p1", 0, "")], 0.8, 3)
    before = (tmp_path / SPLIT_NAME).read_bytes()
    with pytest.raises(UsageError, match=r"created with --split 0\.8 --seed 3.*remove the file"):
        update_split(tmp_path, [entry("p1", 0, "")], fraction, seed)
    assert (tmp_path / SPLIT_NAME).read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": "x"}', b"\xff"])
def test_a_damaged_file_is_not_overwritten(tmp_path: Path, content: bytes):
    (tmp_path / SPLIT_NAME).write_bytes(content)
    with pytest.raises(UsageError, match="damaged or of another version"):
        update_split(tmp_path, [entry("p1", 0, "")], 0.8, 3)
    assert (tmp_path / SPLIT_NAME).read_bytes() == content


def test_a_dataset_without_a_case_has_an_empty_split(tmp_path: Path):
    split = update_split(tmp_path, [entry("p1", 0, "", "failed")], 0.8, 3)
    assert (split.patients, split.strata) == ({}, {})
