"""What voxels and Eclipse's other words make of a dose, on arrays worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from stardust_esapi.errors import TransferError
from stardust_esapi.transfer.doses import Answer, Doses, doses, prove

# Planes that differ, and rows that differ from columns; 0 to 4700.
VOXELS = np.arange(48, dtype=np.int32).reshape(4, 3, 4) * 100


def line(slope: float, offset: float = 0.0, unit: str = "Gy") -> Callable[[int], Answer]:
    return lambda voxel: (slope * (voxel - offset), unit)


@pytest.mark.parametrize(
    ("answer", "highest", "units"),
    [
        (line(0.01), 47.0, "GY"),
        (line(1.0, unit="cGy"), 47.0, "GY"),
        (line(0.02, unit="Percent"), 94.0, "RELATIVE"),
        (line(0.01, offset=-300), 50.0, "GY"),
    ],
)
def test_a_straight_line_is_followed(answer, highest: float, units: str) -> None:
    found = doses(VOXELS, answer)
    assert found.units == units
    assert found.highest == pytest.approx(highest)
    ends = found.values[0, 0, 0], found.values[3, 2, 3]
    assert (ends[1] - ends[0]) == pytest.approx(highest * 47 / (50 if highest == 50 else 47))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda voxel: (voxel**1.01, "Gy"), "no straight line"),
        (lambda voxel: (0.01 * voxel, "Gy" if voxel < 2000 else "cGy"), "no straight line"),
        (lambda voxel: (0.01 * voxel, "Gy" if voxel < 2000 else "Percent"), "several units"),
        (lambda voxel: (0.01 * voxel, "Unknown"), "0 Unknown for one of its voxels"),
        (lambda voxel: (float("nan"), "Gy"), "nan Gy for one of its voxels"),
        (lambda voxel: (-0.01 * voxel, "Gy"), "no straight line"),
        (line(0.01, offset=1000), "below zero"),
    ],
)
def test_what_is_no_dose_is_refused(answer, words: str) -> None:
    with pytest.raises(TransferError, match=words):
        doses(VOXELS, answer)


def test_voxels_of_one_value_tell_no_scale() -> None:
    with pytest.raises(TransferError, match="all have one dose"):
        doses(np.zeros((2, 2, 2), dtype=np.int32), line(0.01))


def test_eclipse_is_asked_of_no_more_than_a_thousand_values() -> None:
    asked = []

    def answer(voxel: int) -> Answer:
        asked.append(voxel)
        return 0.001 * voxel, "Gy"

    found = doses(np.arange(64_000, dtype=np.int32).reshape(40, 40, 40), answer)
    assert len(asked) <= 1000
    assert found.highest == pytest.approx(63.999)


FOUND = Doses(VOXELS * 0.01, "GY")


def at_voxel(column: int, row: int, plane: int) -> Answer:
    return float(FOUND.values[plane, row, column]), "Gy"


def test_what_agrees_is_proven_in_any_absolute_unit() -> None:
    prove(FOUND, (47.0, "Gy"), at_voxel, (50.0, "Gy"))
    prove(
        FOUND,
        (4700.0, "cGy"),
        lambda *voxel: (at_voxel(*voxel)[0] * 100, "cGy"),
        (float("nan"), "Unknown"),  # without a prescription
    )


def test_points_that_eclipse_does_not_know_are_passed_over() -> None:
    def at(column: int, row: int, plane: int) -> Answer:
        return at_voxel(column, row, plane) if plane == 2 else (float("nan"), "Unknown")

    prove(FOUND, (47.0, "Gy"), at, (50.0, "Gy"))
    with pytest.raises(TransferError, match="no dose for the places"):
        prove(FOUND, (47.0, "Gy"), lambda *_: (float("nan"), "Unknown"), (50.0, "Gy"))


@pytest.mark.parametrize(
    ("highest", "at", "prescribed", "words"),
    [
        ((1.9, "Gy"), at_voxel, (50.0, "Gy"), r"47\.00.*1\.90 Gy as the highest"),
        ((94.0, "Percent"), at_voxel, (50.0, "Gy"), "as the highest"),
        ((47.0, "Gy"), lambda i, j, k: at_voxel(i, j, 3 - k), (50.0, "Gy"), "for their places"),
        ((47.0, "Gy"), lambda i, j, k: at_voxel(j, min(i, 2), k), (50.0, "Gy"), "their places"),
        ((47.0, "Gy"), lambda *v: (at_voxel(*v)[0] * 1.1, "Gy"), (50.0, "Gy"), "their places"),
        ((47.0, "Gy"), at_voxel, (9500.0, "cGy"), "may be of one fraction"),
    ],
)
def test_what_contradicts_is_refused(highest, at, prescribed, words: str) -> None:
    with pytest.raises(TransferError, match=words):
        prove(FOUND, highest, at, prescribed)
