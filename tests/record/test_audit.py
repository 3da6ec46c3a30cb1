from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stardust_esapi.errors import UsageError
from stardust_esapi.record.audit import AuditLog, Event, Mark, check, lost_since
from support import PATIENCE, ending

FACTS = {"write": "a1", "patient_id": "Prüfkörper 12", "structure_sets": ["zCopyFromPlan"]}


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audit.jsonl")


def lines(log: AuditLog) -> list[str]:
    return log.path.read_text(encoding="utf-8").splitlines()


def fill(log: AuditLog) -> None:
    for number in range(3):
        facts = FACTS | {"write": str(number)}
        log.append(Event.BEGUN, facts)
        log.append(Event.SAVED, facts)


def test_who_when_and_what_stand_in_every_line(log: AuditLog) -> None:
    log.append(Event.BEGUN, FACTS)
    [line] = lines(log)
    entry = json.loads(line)
    assert entry["event"] == "begun"
    assert entry["patient_id"] == "Prüfkörper 12"
    assert entry["os_user"]
    assert entry["computer"]
    assert entry["time"][:2] == "20"
    assert set(entry["previous"]) == {"0"}


def test_the_chain_holds_and_its_end_is_told(log: AuditLog) -> None:
    fill(log)
    end = log.append(Event.EXPORTED, FACTS)
    report = check(log.path)
    assert (report.events, report.last, report.problems, report.open_ends) == (7, end.last, (), ())
    assert end.events == 7


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text.replace('"write": "1"', '"write": "9"', 1), "Line 3 was changed"),
        (lambda text: "".join(text.splitlines(True)[:2] + text.splitlines(True)[3:]), "taken out"),
        (lambda text: "".join(text.splitlines(True)[1:]), "Before line 1"),
        (lambda text: text.replace("\n", "\nnonsense\n", 1), "Line 2 is no event"),
        (lambda text: text[:-40], "cut off"),
    ],
)
def test_what_was_done_to_it_is_found(log: AuditLog, damage, said) -> None:
    fill(log)
    text = log.path.read_text(encoding="utf-8")
    log.path.write_text(damage(text), encoding="utf-8")
    problems = check(log.path).problems
    assert any(said in problem for problem in problems), problems


@given(st.data())
def test_no_byte_can_be_changed_unseen(tmp_path_factory, data: st.DataObject) -> None:
    log = AuditLog(tmp_path_factory.mktemp("audit") / "audit.jsonl")
    fill(log)
    content = bytearray(log.path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    new = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    content[at] = new
    log.path.write_bytes(content)
    assert check(log.path).problems


def test_a_line_cut_off_by_a_kill_is_kept_and_explained(log: AuditLog) -> None:
    fill(log)
    with log.path.open("ab") as file:
        file.write(b'{"time": "2026-')
    assert "cut off" in check(log.path).problems[0]
    log.append(Event.BEGUN, FACTS)
    report = check(log.path)
    assert report.problems == ()
    assert '{"time": "2026-' in lines(log)
    assert json.loads(lines(log)[-2])["event"] == "torn"
    # The cut-off line itself cannot be changed later either.
    log.path.write_bytes(log.path.read_bytes().replace(b'{"time": "2026-\n', b'{"time": "2025-\n'))
    assert check(log.path).problems


def test_a_line_that_lost_only_its_end_stays_an_event(log: AuditLog) -> None:
    fill(log)
    log.path.write_bytes(log.path.read_bytes().removesuffix(b"\n"))
    log.append(Event.BEGUN, FACTS)
    report = check(log.path)
    assert (report.events, report.problems) == (7, ())


@pytest.mark.parametrize("long", [False, True])
def test_only_the_end_of_a_long_log_is_read(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch, long: bool
) -> None:
    """Also where the last event is longer than what is read first."""
    monkeypatch.setattr("stardust_esapi.record.audit._TAIL_BYTES", 1500)
    fill(log)
    log.append(Event.EXPORTED, FACTS | {"series": ["1.2.3"] * (400 if long else 1)})
    log.append(Event.EXPORTED, FACTS)
    with log.path.open("ab") as file:
        file.write(b'{"cut')
    log.append(Event.EXPORTED, FACTS)
    report = check(log.path)
    assert (report.events, report.problems) == (10, ())


def test_a_write_without_an_end_is_told(log: AuditLog) -> None:
    fill(log)
    log.append(Event.BEGUN, FACTS)
    [sentence] = check(log.path).open_ends
    assert "Prüfkörper 12" in sentence
    assert "cut off" in sentence


def test_a_foreign_file_is_never_continued(log: AuditLog) -> None:
    log.path.write_text("a shopping list\n", encoding="utf-8")
    with pytest.raises(UsageError, match="not an audit log"):
        log.append(Event.BEGUN, FACTS)
    assert log.path.read_text(encoding="utf-8") == "a shopping list\n"


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(UsageError, match="Nothing is written to Eclipse without this log"):
        AuditLog(tmp_path / "audit.jsonl").append(Event.BEGUN, FACTS)


def test_two_programs_at_once_make_one_chain(log: AuditLog) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from stardust_esapi.record.audit import AuditLog, Event;"
        "[AuditLog(Path(sys.argv[1])).append(Event.BEGUN, {'write': sys.argv[2] + str(n)})"
        " for n in range(20)]"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, log.path, name], env=os.environ)
        for name in "ab"
    ]
    with ending(both[0]), ending(both[1]):
        assert [process.wait(PATIENCE) for process in both] == [0, 0]
    report = check(log.path)
    assert (report.events, report.problems) == (40, ())


def test_each_event_is_numbered_and_kept_by_who_asked_for_it(tmp_path: Path) -> None:
    ends: list[Mark] = []
    log = AuditLog(tmp_path / "audit.jsonl", ends.append)
    fill(log)
    with log.path.open("ab") as file:
        file.write(b'{"cut')
    log.append(Event.BEGUN, FACTS)
    entries = [json.loads(line) for line in lines(log) if line != '{"cut']
    assert [entry["number"] for entry in entries] == [1, 2, 3, 4, 5, 6, 7, 8]
    torn = entries[6]
    assert torn["event"] == "torn"
    assert ends == [Mark(e["number"], e["hash"]) for e in entries if e is not torn]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: None, "is missing or empty, and held 6 events"),
        (lambda text: "", "is missing or empty, and held 6 events"),
        (lambda text: "".join(text.splitlines(True)[:4]), "it holds 4 events, and held 6"),
        (lambda text: text.replace('"write": "2"', '"write": "9"'), ""),  # the chain tells
    ],
)
def test_what_was_cut_off_is_found_by_where_it_ended(log: AuditLog, damage, said) -> None:
    fill(log)
    report = check(log.path)
    end = Mark(report.events, report.last)
    text = log.path.read_text(encoding="utf-8")
    log.path.unlink()
    if (damaged := damage(text)) is not None:
        log.path.write_text(damaged, encoding="utf-8")
    lost = lost_since(log.path, end)
    assert (said in lost) if said else not lost
    assert check(log.path, end).problems


def test_another_whole_log_in_its_place_is_found(log: AuditLog) -> None:
    fill(log)
    report = check(log.path)
    log.path.unlink()
    fill(log)
    log.append(Event.EXPORTED, FACTS)
    [problem] = check(log.path, Mark(report.events, report.last)).problems
    assert "Event 6" in problem


def test_a_log_that_others_went_on_with_is_whole(log: AuditLog) -> None:
    fill(log)
    report = check(log.path)
    fill(AuditLog(log.path))
    assert check(log.path, Mark(report.events, report.last)).problems == ()


def test_a_log_of_an_earlier_state_is_not_continued(log: AuditLog) -> None:
    log.path.write_text('{"event": "saved", "previous": "0", "hash": "a"}\n', encoding="utf-8")
    with pytest.raises(UsageError, match="earlier state of this program"):
        log.append(Event.BEGUN, FACTS)
