from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from stardust_esapi.dataset.convert import convert
from stardust_esapi.dataset.entry import entry_line, failed, read_entry
from stardust_esapi.dataset.pseudonym import Pseudonyms
from stardust_esapi.dataset.tasks import find_tasks
from stardust_esapi.settings import Dataset

PSEUDONYMS = Pseudonyms(b"k" * 32)


def test_what_convert_says_comes_back_from_its_line(exported: Path, tmp_path: Path):
    task = next(task for task in find_tasks(exported) if not task.problem)
    entry = convert(task, Dataset(), PSEUDONYMS, tmp_path)
    assert entry.created
    assert entry.structures
    line = entry_line(entry)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert read_entry(line) == entry
    assert all(entry.name in file for file in entry.files)
    for end in range(0, len(line) - 2, 97):  # a kill cuts a line off anywhere
        with pytest.raises(ValueError, match="JSON"):
            read_entry(line[:end])


def test_a_task_with_a_problem_gives_an_entry_that_names_nobody(exported: Path):
    for task in find_tasks(exported):
        entry = failed(task, PSEUDONYMS, *([] if task.problem else ["Its worker died."]))
        assert not entry.created
        assert entry.reasons == (task.problem or "Its worker died.",)
        line = entry_line(entry)
        assert read_entry(line) == entry
        for said in (task.patient_id, task.case_key, task.folder.name):
            assert said.encode() not in line


def test_tasks_and_entries_go_to_workers_and_come_back(exported: Path):
    for task in find_tasks(exported):
        assert pickle.loads(pickle.dumps(task)) == task
        entry = failed(task, PSEUDONYMS, "x")
        assert pickle.loads(pickle.dumps(entry)) == entry
