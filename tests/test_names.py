from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stardust_esapi.names import MAX_ESAPI_ID, folder_name, folding, numbered_id

ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=80).filter(str.strip)


@pytest.mark.parametrize("ordinary", ["0012345", "AB 12", "Müller-7", "1.2.840.113619.2.55"])
def test_an_ordinary_id_keeps_its_name(ordinary: str) -> None:
    assert folder_name(ordinary) == ordinary


@pytest.mark.parametrize(
    ("hostile", "name"),
    [
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("../../etc", "%2E.%2F..%2Fetc"),
        ("a/b", "a%2Fb"),
        ("a\\b", "a%5Cb"),
        ("C:x", "C%3Ax"),
        ("CON", "%43ON"),
        ("nul.txt", "%6Eul.txt"),
        ("lpt1 .x", "%6Cpt1 .x"),
        ("end.", "end%2E"),
        ("end ", "end%20"),
        ("100%", "100%25"),
    ],
)
def test_a_hostile_id_is_encoded(hostile: str, name: str) -> None:
    assert folder_name(hostile) == name


@given(ids)
def test_a_folder_name_is_one_plain_component_everywhere(identifier: str) -> None:
    name = folder_name(identifier)
    assert PurePosixPath(name).parts == (name,)
    assert PureWindowsPath(name).parts == (name,)
    assert name not in {".", ".."}
    assert not name.endswith((".", " "))
    assert PureWindowsPath(name).drive == ""
    assert len(name.encode()) <= 113


@given(ids, ids)
def test_different_ids_get_different_names(one: str, other: str) -> None:
    assert (folder_name(one) == folder_name(other)) == (one == other)


def test_an_empty_id_names_nothing() -> None:
    with pytest.raises(ValueError, match="empty id"):
        folder_name("  ")


def test_folding_finds_what_windows_and_macos_take_for_the_same() -> None:
    assert folding("Patient") == folding("PATIENT")
    assert folding("Mu\u0308ller") == folding("M\u00fcller")
    assert folding("a") != folding("b")


@given(st.text(min_size=1, max_size=MAX_ESAPI_ID), st.integers(2, 99))
@example("_0000000000000", 10)
@example("x_000000000000", 10)
def test_numbered_ids_fit_eclipse(identifier: str, number: int) -> None:
    numbered = numbered_id(identifier, number)
    assert len(numbered) <= MAX_ESAPI_ID
    assert f"_{number}" in numbered


def test_numbered_ids_of_ct_and_contrast_ct_stay_apart() -> None:
    assert numbered_id("zCopyFromPlan", 2) == "zCopyFromPlan_2"
    assert numbered_id("zCopyFromPlan_KM", 12) == "zCopyFromP_12_KM"
