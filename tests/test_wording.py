"""What sentences are made of."""

from __future__ import annotations

import doctest
import tomllib
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stardust_esapi import setting_words, wording
from stardust_esapi.wording import counted, counted_are, did_you_mean, nearest


@pytest.mark.parametrize("module", [wording, setting_words], ids=lambda module: module.__name__)
def test_the_examples_of_the_docstrings(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize(
    ("count", "noun", "says"),
    [
        (1, "rejected row", "1 rejected row is"),
        (2, "rejected row", "2 rejected rows are"),
        (0, "file", "0 files are"),
        (1, "series", "1 series is"),
        (3, "series", "3 series are"),
        (12345, "study", "12,345 studies are"),
    ],
)
def test_one_is_no_plural(count: int, noun: str, says: str) -> None:
    assert counted_are(count, noun) == says
    assert says.startswith(counted(count, noun))


def test_nothing_is_meant_by_a_word_that_is_like_none() -> None:
    assert nearest("zzzz", ["esapi", "qr"]) == ""
    assert did_you_mean("", ["esapi", "qr"]) == ""
    assert did_you_mean("ESAPI ", ["esapi", "qr"]) == " Did you mean esapi?"


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"))
values = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=8,
)


@given(values)
def test_what_is_written_as_toml_is_read_as_it_was(value: object) -> None:
    assert tomllib.loads(f"value = {setting_words.as_toml(value)}")["value"] == value
