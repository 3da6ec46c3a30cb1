from __future__ import annotations

import os
import pickle
import re
import stat
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stardust_esapi.dataset.pseudonym import (
    PSEUDONYMS_NAME,
    Pseudonyms,
    check_mapping,
    default_key_file,
    open_pseudonyms,
    write_mapping,
)
from stardust_esapi.errors import UsageError

ONE, OTHER = Pseudonyms(b"1" * 32), Pseudonyms(b"2" * 32)
POSIX = pytest.mark.skipif(os.name == "nt", reason="permissions and links as POSIX knows them")
Ids = st.text(min_size=1, max_size=64)


def contents(folder: Path) -> bytes:
    return b"".join(
        str(path).encode() + (path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    )


# --- names ----------------------------------------------------------------------------------


@given(Ids)
def test_pseudonyms_are_short_and_safe_as_file_names_anywhere(value: str):
    for pseudonym in (ONE.patient(value), ONE.case(value)):
        assert re.fullmatch(r"[pc][a-z2-7]{15}", pseudonym)


@given(Ids)
def test_they_depend_on_the_key_and_on_what_is_named(value: str):
    assert ONE.patient(value) == Pseudonyms(ONE.key).patient(value)
    assert ONE.patient(value) != OTHER.patient(value)
    assert ONE.uid(value) != OTHER.uid(value)
    assert ONE.patient(value)[1:] != ONE.case(value)[1:]


@given(st.lists(Ids, max_size=200, unique=True))
def test_different_patients_have_different_pseudonyms(ids: list[str]):
    assert len({ONE.patient(value) for value in ids}) == len(ids)
    ONE.check_distinct([*ids, *ids])  # a patient with two cases is no collision


def test_a_large_cohort_has_no_collision():
    ids = [f"{number:06}" for number in range(100_000)]
    assert len({ONE.patient(value) for value in ids}) == len(ids)


def test_a_collision_would_be_said_without_naming_patients(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Pseudonyms, "_short", lambda *_: "same")
    with pytest.raises(UsageError, match="Two patients have the pseudonym psame") as error:
        ONE.check_distinct(["Anna", "Berta"])
    assert "Anna" not in str(error.value)
    assert "Berta" not in str(error.value)


@given(st.from_regex(r"[1-9][0-9]*(\.[1-9][0-9]*){3,8}", fullmatch=True))
def test_uids_are_valid_and_follow_the_old_ones(uid: str):
    hashed = ONE.uid(uid)
    assert re.fullmatch(r"2\.25\.(0|[1-9][0-9]*)", hashed)  # PS3.5 9.1: no leading zero
    assert len(hashed) <= 64
    assert int(hashed.rpartition(".")[2]) < 2**128
    assert hashed == ONE.uid(uid)


def test_no_uid_stays_none():
    assert ONE.uid("") == ""


@given(Ids, st.dates(date(1950, 1, 1), date(2030, 1, 1)), st.integers(0, 4000))
def test_dates_move_into_the_past_and_keep_their_distances(value: str, first: date, days: int):
    shift = timedelta(ONE.days(value))
    assert -3650 <= shift.days <= -365
    second = first + timedelta(days)
    assert (second + shift) - (first + shift) == second - first


def test_patients_are_moved_by_different_numbers_of_days():
    shifts = [ONE.days(f"{number:06}") for number in range(1000)]
    assert len(set(shifts)) > 800
    assert [OTHER.days(f"{number:06}") for number in range(1000)] != shifts


def test_the_key_shows_in_no_message_and_goes_to_workers():
    assert "1" * 8 not in repr(ONE)
    assert str(ONE.key) not in repr(ONE)
    assert pickle.loads(pickle.dumps(ONE)) == ONE
    assert ONE.key_id != OTHER.key_id


# --- the key --------------------------------------------------------------------------------


def test_the_key_is_made_beside_the_dataset_and_kept(tmp_path: Path):
    out = tmp_path / "dataset"
    first = open_pseudonyms(out)
    assert default_key_file(out) == tmp_path / "dataset.key"
    assert [path.name for path in out.iterdir()] == [PSEUDONYMS_NAME]
    assert open_pseudonyms(out) == first
    assert len(first.key) == 32
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "dataset.key"]


@POSIX
def test_the_key_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path):
    before = os.umask(0)
    try:
        open_pseudonyms(tmp_path / "dataset", tmp_path / "keys" / "site")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys" / "site").stat().st_mode) == 0o600


def test_every_site_has_its_own_key(tmp_path: Path):
    assert open_pseudonyms(tmp_path / "a").key != open_pseudonyms(tmp_path / "b").key


def test_one_key_serves_two_datasets(tmp_path: Path):
    key = tmp_path / "key"
    one, other = (open_pseudonyms(tmp_path / name, key) for name in "ab")
    assert one == other


def test_nothing_of_the_key_is_in_the_dataset(tmp_path: Path):
    out = tmp_path / "dataset"
    key = open_pseudonyms(out).key
    found = contents(out)
    assert key not in found
    assert key.hex().encode() not in found
    assert key.hex().upper().encode() not in found


@pytest.mark.parametrize("place", [".", "key", "cases/key", "cases/../key"])
def test_a_key_in_the_dataset_is_refused(tmp_path: Path, place: str):
    out = tmp_path / "dataset"
    (out / "cases").mkdir(parents=True)
    with pytest.raises(UsageError, match="must not lie in the dataset"):
        open_pseudonyms(out, out / place)
    assert not list(out.rglob("*key*"))


def test_so_it_is_before_the_dataset_is_there(tmp_path: Path):
    with pytest.raises(UsageError, match="must not lie in the dataset"):
        open_pseudonyms(tmp_path / "dataset", tmp_path / "dataset" / "key")
    assert not list(tmp_path.iterdir())


@POSIX
@pytest.mark.parametrize("through", ["out", "key"])
def test_links_do_not_deceive(tmp_path: Path, through: str):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "dataset")
    out, key = tmp_path / "dataset", tmp_path / "link" / "key"
    if through == "out":
        out, key = tmp_path / "link", tmp_path / "dataset" / "key"
    with pytest.raises(UsageError, match="must not lie in the dataset"):
        open_pseudonyms(out, key)


@POSIX
def test_a_link_in_the_dataset_to_a_key_outside_is_refused(tmp_path: Path):
    """Who copies the dataset may follow it."""
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "key").symlink_to(tmp_path / "key")
    with pytest.raises(UsageError, match="must not lie in the dataset"):
        open_pseudonyms(tmp_path / "dataset", tmp_path / "dataset" / "key")


def test_a_lost_key_is_not_silently_made_anew(tmp_path: Path):
    """Its patients would come twice, under two names, perhaps in both parts of the split."""
    out = tmp_path / "dataset"
    open_pseudonyms(out)
    default_key_file(out).unlink()
    with pytest.raises(UsageError, match=r"was created with a key that is not at.*--key"):
        open_pseudonyms(out)
    assert not default_key_file(out).exists()


def test_another_key_is_refused(tmp_path: Path):
    open_pseudonyms(tmp_path / "a")
    open_pseudonyms(tmp_path / "b")
    before = contents(tmp_path / "a")
    with pytest.raises(UsageError, match="was created with another key"):
        open_pseudonyms(tmp_path / "a", default_key_file(tmp_path / "b"))
    assert contents(tmp_path / "a") == before


@pytest.mark.parametrize("content", [b"", b"x" * 64, b"ab" * 31, b"ab" * 33, b"\xff" * 32])
def test_a_damaged_key_is_refused_and_left_alone(tmp_path: Path, content: bytes):
    key = tmp_path / "key"
    key.write_bytes(content)
    with pytest.raises(UsageError, match="is no key of this program"):
        open_pseudonyms(tmp_path / "dataset", key)
    assert key.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"[]", b'{"format": "other", "key_id": ""}', b"\xff"])
def test_a_damaged_record_of_the_key_is_refused(tmp_path: Path, content: bytes):
    open_pseudonyms(tmp_path / "dataset")
    (tmp_path / "dataset" / PSEUDONYMS_NAME).write_bytes(content)
    with pytest.raises(UsageError, match="damaged"):
        open_pseudonyms(tmp_path / "dataset")


def test_a_key_that_cannot_be_read_is_wrong_use(tmp_path: Path):
    (tmp_path / "key").mkdir()
    with pytest.raises(UsageError, match="cannot be read or written"):
        open_pseudonyms(tmp_path / "dataset", tmp_path / "key")


def test_a_key_file_of_a_kill_does_not_stand_in_the_way(tmp_path: Path):
    (tmp_path / ".key.part").write_bytes(b"half")
    open_pseudonyms(tmp_path / "dataset", tmp_path / "key")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "key"]


# --- the mapping ----------------------------------------------------------------------------


def test_the_mapping_lies_where_the_user_says_and_nowhere_else(tmp_path: Path):
    out, mapping = tmp_path / "dataset", tmp_path / "secret" / "mapping.csv"
    pseudonyms = open_pseudonyms(out)
    mapping.parent.mkdir()
    write_mapping(mapping, out, pseudonyms, ["0815", "Ä;17", "0815"])
    lines = mapping.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "Pseudonym;Patient-ID"
    assert sorted(lines[1:]) == sorted(
        [f"{pseudonyms.patient('0815')};0815", f'{pseudonyms.patient("Ä;17")};"Ä;17"']
    )
    assert [path.name for path in out.iterdir()] == [PSEUDONYMS_NAME]
    if os.name != "nt":
        assert stat.S_IMODE(mapping.stat().st_mode) == 0o600


def test_who_was_mapped_before_stays_mapped(tmp_path: Path):
    out, mapping = tmp_path / "dataset", tmp_path / "mapping.csv"
    pseudonyms = open_pseudonyms(out)
    write_mapping(mapping, out, pseudonyms, ["a"])
    write_mapping(mapping, out, pseudonyms, ["b", "c"])
    text = mapping.read_text(encoding="utf-8")
    assert {line.partition(";")[2] for line in text.splitlines()[1:]} == {"a", "b", "c"}
    write_mapping(mapping, out, pseudonyms, ["c", "b"])
    assert mapping.read_text(encoding="utf-8") == text


def test_a_mapping_in_the_dataset_is_refused(tmp_path: Path):
    out = tmp_path / "dataset"
    pseudonyms = open_pseudonyms(out)
    (out / "cases").mkdir()
    before = contents(out)
    for path in (out / "mapping.csv", out / "cases" / "mapping.csv", out):
        with pytest.raises(UsageError, match=r"mapping.*must not lie in the dataset"):
            check_mapping(path, out)
        with pytest.raises(UsageError, match=r"mapping.*must not lie in the dataset"):
            write_mapping(path, out, pseudonyms, ["0815"])
    assert contents(out) == before


@pytest.mark.parametrize("content", [b"", b"Patient;Fx\r\n1;2\r\n", b"\xff\xfe", b"a;b;c"])
def test_another_file_is_not_overwritten(tmp_path: Path, content: bytes):
    path = tmp_path / "cases.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="no mapping of this program"):
        write_mapping(path, tmp_path / "dataset", ONE, ["0815"])
    assert path.read_bytes() == content


def test_a_mapping_that_cannot_be_written_is_wrong_use(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        write_mapping(tmp_path / "file" / "mapping.csv", tmp_path / "dataset", ONE, ["0815"])
