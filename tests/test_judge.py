from __future__ import annotations

from dataclasses import replace

import pytest

from stardust_esapi.judge import ContourFacts, TumourFacts, judge
from stardust_esapi.settings import Gate, Gates

GOOD = TumourFacts(
    gtv_ml=20.0,
    gtv_voxels=4000,
    target_ml=50.0,
    gtv_in_target=1.0,
    listed_gtv_ml=20.4,
    listed_target_ml=48.0,
)


def test_of_a_good_case_there_is_nothing_to_say() -> None:
    assert judge(GOOD, Gates()) == ()
    assert judge(replace(GOOD, listed_gtv_ml=None, listed_target_ml=None), Gates()) == ()
    assert judge(replace(GOOD, target_ml=20.0, listed_target_ml=None), Gates()) == ()


@pytest.mark.parametrize(
    ("facts", "gate", "words"),
    [
        (replace(GOOD, gtv_voxels=5), Gate.GTV, ["tiny", "20.000 ml in 5 voxels"]),
        (replace(GOOD, gtv_in_target=0.4), Gate.TARGET, ["outside the target: 40 %", "95 %"]),
        (
            replace(GOOD, gtv_ml=400.0, gtv_in_target=0.125, listed_gtv_ml=400.0),
            Gate.TARGET,
            ["GTV (400.00 ml)", "target (50.00 ml)", "exchanged"],
        ),
        (
            replace(GOOD, gtv_ml=400.0, gtv_in_target=0.0, listed_gtv_ml=None),
            Gate.TARGET,
            ["GTV (400.00 ml) is larger", "no GTV should be"],
        ),
        (
            replace(GOOD, gtv_contours=ContourFacts(united=2)),
            Gate.CONTOURS,
            ["The GTV: contours cross one another on 2 slices", "Look whether"],
        ),
        (
            replace(GOOD, target_contours=ContourFacts(left_out=3)),
            Gate.CONTOURS,
            ["The target: 3 contours by no slice"],
        ),
        (
            replace(GOOD, listed_gtv_ml=25.0),
            Gate.VOLUMES,
            ["the GTV has 20.00 ml", "GTV-Volume says 25.00 ml", "10 %", "0.5 ml"],
        ),
        (
            replace(GOOD, listed_gtv_ml=48.0, listed_target_ml=20.4),
            Gate.VOLUMES,
            ["GTV has 20.00 ml", "GTV-Volume says 48.00", "target has 50.00", "says 20.40 ml"],
        ),
    ],
)
def test_each_doubt_has_its_gate_and_its_numbers(
    facts: TumourFacts, gate: Gate, words: list[str]
) -> None:
    [finding] = judge(facts, Gates())
    assert (finding.gate, finding.fatal) == (gate, True)
    for word in words:
        assert word in finding.text
    [finding] = judge(facts, Gates(note_only=(gate,)))
    assert not finding.fatal


def test_small_volumes_may_differ_by_more_than_their_share() -> None:
    small = replace(GOOD, gtv_ml=1.0, listed_gtv_ml=1.5)
    assert judge(small, Gates()) == ()
    assert judge(small, Gates(volume_difference_ml=0.4))
    assert judge(replace(GOOD, listed_gtv_ml=25.0), Gates(volume_difference=0.2)) == ()


def test_a_volume_that_is_no_number_is_doubtful() -> None:
    nan = float("nan")
    assert [f.gate for f in judge(replace(GOOD, gtv_ml=nan), Gates())] == [
        Gate.TARGET,
        Gate.VOLUMES,
    ]
    assert judge(replace(GOOD, target_ml=nan, listed_target_ml=None), Gates())
