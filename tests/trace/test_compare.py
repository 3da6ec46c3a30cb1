"""Which differences are found between two traces, and which are none."""

from __future__ import annotations

from typing import Any

from stardust_esapi.trace.archive import Trace
from stardust_esapi.trace.compare import Difference, compare


def call(on: str, member: str, gives: Any, *arguments: Any) -> dict[str, Any]:
    return {"on": on, "member": member, "args": list(arguments), "gives": gives, "ms": 1}


def images(*hashes: tuple[str, str]) -> Trace:
    """A series of images, each with an id and a hash of its voxels."""
    calls = [call("Series", "Series.Images", len(hashes))]
    for at, (name, voxels) in enumerate(hashes):
        calls += [
            call(f"Series.Images[{at}]", "Image.Id", name),
            call(f"Series.Images[{at}]", "Image.GetVoxels", {"hash": voxels, "min": 0}, 0),
        ]
    return Trace({}, calls)


ONE = images(("id#1", "aa"), ("id#2", "bb"), ("id#3", "cc"))


def test_numbers_in_place_of_names_may_be_others() -> None:
    assert compare(ONE, images(("id#7", "aa"), ("id#2", "bb"), ("id#9", "cc"))) == []


def test_another_order_is_one_difference() -> None:
    [found] = compare(ONE, images(("id#1", "bb"), ("id#2", "cc"), ("id#3", "aa")))
    assert found == Difference("Series.Images", "Series: the order", "0 1 2", "2 0 1")


def test_the_order_is_of_a_collection_of_its_owner() -> None:
    def studies(*names: str) -> Trace:
        calls = [call("Patient.Studies[0]", "Study.Series", len(names))]
        return Trace(
            {},
            calls
            + [
                call(f"Patient.Studies[0].Series[{at}]", "Series.Modality", name)
                for at, name in enumerate(names)
            ],
        )

    [found] = compare(studies("CT", "MR"), studies("MR", "CT"))
    assert found == Difference("Study.Series", "Patient.Studies[0]: the order", "0 1", "1 0")


def test_one_object_for_two_is_a_difference() -> None:
    [found] = compare(ONE, images(("id#1", "aa"), ("id#2", "bb"), ("id#1", "cc")))
    assert found.member == "Image.Id"
    assert found.where == "Series.Images[2]: stands for another object"
    [found] = compare(images(("id#1", "aa"), ("id#2", "bb"), ("id#1", "cc")), ONE)
    assert found.member == "Image.Id"


def test_objects_that_look_alike_prove_nothing_by_their_names() -> None:
    """Two series with slices of the same ids, in another order, whose voxels are refused."""

    def series(*names: str, refused: bool) -> Trace:
        calls = []
        for number in range(2):
            for at, name in enumerate(names):
                place = f"Series[{number}].Images[{at}]"
                voxels = "refused" if refused else f"{number}{name}"
                calls += [call(place, "Image.Id", name), call(place, "Image.GetVoxels", voxels, 0)]
            names = names[::-1] if refused else names
        return Trace({}, calls)

    whole = series("id#1", "id#2", "id#3", refused=False)
    found = compare(whole, series("id#1", "id#2", "id#3", refused=True))
    assert {one.member for one in found} == {"Image.GetVoxels"}


def test_an_object_more_is_told_by_the_number_and_hides_no_other() -> None:
    more = images(("id#1", "xx"), ("id#2", "aa"), ("id#3", "bb"), ("id#4", "cc"))
    [found] = compare(ONE, more)
    assert found == Difference("Series.Images", "Series", "3", "4")


def test_numbers_have_a_tolerance_and_whole_ones_have_none() -> None:
    def trace(volume: Any, size: Any = 5) -> Trace:
        shapes = [{"area": volume, "points": size}]
        return Trace({}, [call("S", "Structure.Volume", {"shapes": shapes})])

    assert compare(trace(100.0), trace(100.005)) == []
    assert compare(trace(0.0), trace(0.0005)) == []
    assert compare(trace(3), trace(3.0)) == []
    assert len(compare(trace(100.0), trace(100.1))) == 1
    assert len(compare(trace(1.0), trace("nan"))) == 1
    assert compare(trace("nan"), trace("nan")) == []
    assert len(compare(trace(1.0, 10_000_000), trace(1.0, 10_000_001))) == 1
    assert len(compare(trace(1.0), trace(None))) == 1


def test_refusals_missing_members_and_questions() -> None:
    def trace(**answer: Any) -> Trace:
        return Trace({}, [{"on": "I", "member": "Image.UID", "args": ["a [b]"], **answer}])

    gives, absent = trace(gives=""), trace(absent=True)
    thrown = trace(throws={"type": "System.Exception", "message": "no"})
    where = 'I "a [b]"'
    assert compare(gives, absent) == [Difference("Image.UID", where, '""', "no such member")]
    assert compare(thrown, gives) == [Difference("Image.UID", where, "System.Exception: no", '""')]
    assert compare(trace(gives=None), gives) == [Difference("Image.UID", where, "null", '""')]
    assert compare(Trace({}, []), gives) == []  # no such object
    twice = Trace({}, gives.calls * 2)
    assert compare(twice, gives) == [Difference("Image.UID", where, '""', "(not asked)")]
