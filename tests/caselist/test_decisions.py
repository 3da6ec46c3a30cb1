"""Decisions of a review, whatever a spreadsheet made of the file."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stardust_esapi.caselist.decisions import COLUMNS, Decision, read_decisions, review_key
from stardust_esapi.errors import UsageError
from stardust_esapi.model import Case
from stardust_esapi.names import as_cell

CASE = Case(5, "0004711", "Plan1", target_id="PTV", gtv_id="GTV")
STATE = "state-" + "0123456789abcdef" * 2
WORDS = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=40)


def written(values: dict[str, str], separator: str = ";", encoding: str = "utf-8") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, restval="", delimiter=separator)
    writer.writeheader()
    writer.writerow(values)
    return text.getvalue().encode(encoding)


def row(**changes: str) -> dict[str, str]:
    said = {"Case-Key": review_key(CASE), "Shown-State": STATE, "Decision": "accept"}
    return said | {"Reviewer": "Dr. Probe", "Patient-ID": "4711", "GTV": "GTV"} | changes


@given(WORDS, WORDS, st.sampled_from(";,\t|"), st.sampled_from(["utf-8-sig", "utf-16", "cp1252"]))
def test_what_was_typed_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    reason: str,
    reviewer: str,
    separator: str,
    encoding: str,
) -> None:
    reason, reviewer = (
        text.encode(encoding, "ignore").decode(encoding).strip() for text in (reason, reviewer)
    )
    assume(reviewer and not {reason, reviewer} & {"nan", "NaN", "None", "<NA>", "NaT"})
    path = tmp_path_factory.getbasetemp() / "decisions.csv"
    said = row(Decision="reject", Reason=as_cell(reason), Reviewer=as_cell(reviewer))
    path.write_bytes(written(said, separator, encoding))
    found = read_decisions(path).of(CASE)
    assert found == Decision(2, review_key(CASE), STATE, False, reason, reviewer, "")


@given(st.binary(max_size=300))
def test_whatever_it_is_it_is_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.csv"
    path.write_bytes(junk)
    with pytest.raises(UsageError):
        read_decisions(path)


def test_a_key_knows_no_zeros_and_no_spreadsheet_knows_it() -> None:
    assert review_key(CASE) == review_key(replace(CASE, patient_id="4711", row=9))
    assert review_key(CASE) != review_key(replace(CASE, gtv_id="GTV2"))
    for text in (review_key(CASE), STATE):
        with pytest.raises(ValueError, match="could not convert"):
            float(text)


def test_a_case_with_the_same_decision_twice_has_one(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    twice = written(row())
    path.write_bytes(twice + twice.splitlines(keepends=True)[1])
    assert read_decisions(path).accepts(CASE)
    other = written(row(**{"Shown-State": "state-" + "f" * 32}))
    path.write_bytes(twice + other.splitlines(keepends=True)[1])
    with pytest.raises(UsageError, match="rows 2 and 3 decide of the same case"):
        read_decisions(path)


def test_an_open_quotation_mark_hides_no_row(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    rows = written(row()).decode() + ";".join(row().get(name, "") for name in COLUMNS) + "\r\n"
    path.write_text(rows.replace("Dr. Probe", '"Dr. Probe', 1), encoding="utf-8", newline="")
    with pytest.raises(UsageError, match="never closed"):
        read_decisions(path)
