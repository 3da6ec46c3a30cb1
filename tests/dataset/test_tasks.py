from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from stardust_esapi.dataset.tasks import Task, find_tasks
from stardust_esapi.errors import UsageError
from stardust_esapi.model import CaseState, Kind
from stardust_esapi.record.ledger import LEDGER_NAME, read_cases
from stardust_esapi.verify.manifest import MANIFEST_NAME, read_manifest

CONTRAST, PLAIN, MAGNET, LOST = (
    "0000471108150042",
    "PAT-ÄÖ-778899",
    "A/17.bc-5566",
    "PAT-LOST-334455",
)


@pytest.fixture
def out(exported: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(exported, tmp_path / "out"))


def series(out: Path, kind: str, patient: str) -> Path:
    (found,) = (out / f"{kind}_Export" / patient.replace("/", "%2F")).iterdir()
    return found


def change(out: Path, statement: str, *values: str) -> None:
    with sqlite3.connect(out / LEDGER_NAME) as db:
        db.execute(statement, values)
    db.close()


def sound(tasks: list[Task]) -> dict[tuple[str, Kind], Task]:
    return {(task.patient_id, task.kind): task for task in tasks if not task.problem}


def test_the_contrast_ct_where_there_is_one_else_the_ct_and_every_mr(exported: Path):
    tasks = find_tasks(exported)
    found = sound(tasks)
    assert {key: (task.folder, task.structures_folder) for key, task in found.items()} == {
        (CONTRAST, Kind.KM): (series(exported, "KM", CONTRAST),) * 2,
        (CONTRAST, Kind.MR): (
            series(exported, "MR", CONTRAST),
            series(exported, "CT", CONTRAST),  # that the registration leads to
        ),
        (PLAIN, Kind.CT): (series(exported, "CT", PLAIN),) * 2,
        (MAGNET, Kind.CT): (series(exported, "CT", MAGNET),) * 2,
        (MAGNET, Kind.MR): (series(exported, "MR", MAGNET), series(exported, "CT", MAGNET)),
    }
    for task in found.values():
        assert list(task.folder.glob(f"{task.kind.modality}*.dcm"))
        assert len(list(task.structures_folder.glob("RS*.dcm"))) == 1
        if task.kind is Kind.MR:
            assert len(list(task.folder.glob("RE*.dcm"))) == 1
    assert len({task.source for task in found.values()}) == len(found)


def test_what_cannot_be_converted_is_listed_with_its_reason_and_names_nobody(exported: Path):
    problems = {task.patient_id: task.problem for task in find_tasks(exported) if task.problem}
    assert problems == {
        LOST: "The export failed with it: the patient has no such plan. Plans it has: … The "
        "export's report has the whole.",
        PLAIN: "Another case has the very same images and structures: it would count twice.",
    }


def test_a_case_says_what_it_is(exported: Path):
    states = {task.patient_id: task.state for task in find_tasks(exported) if task.problem}
    assert states == {LOST: "not exported", PLAIN: "left out"}


def test_while_an_export_runs_what_is_whole_is_taken_and_the_rest_waits(out: Path):
    before = sound(find_tasks(out))
    # As a run leaves them that is in the middle of its second and third patient.
    change(out, "UPDATE runs SET ended = ''")
    change(out, "UPDATE cases SET state = 'prepared' WHERE patient_id = ?", PLAIN)
    change(out, "UPDATE series SET state = 'staged' WHERE folder LIKE ?", f"%{PLAIN}%")
    change(out, "UPDATE cases SET state = 'pending' WHERE patient_id = ?", MAGNET)
    (out / MANIFEST_NAME).unlink()
    tasks = find_tasks(out)
    assert sound(tasks) == {key: task for key, task in before.items() if key[0] == CONTRAST}
    waiting = {task.patient_id: task.state for task in tasks if task.problem}
    assert waiting == {PLAIN: "pending", MAGNET: "pending", LOST: "not exported"}


def test_a_doubtful_case_brings_the_doubt_along(out: Path):
    said = "The GTV is tiny (0.002 ml). The target is too. Nothing was written."
    reason = f"row 3, patient {PLAIN}, plan Plan1: {said}"
    change(
        out, "UPDATE cases SET state = 'doubtful', reason = ? WHERE patient_id = ?", reason, PLAIN
    )
    first = next(task for task in find_tasks(out) if task.patient_id == PLAIN)
    assert first.state == "not exported"
    assert first.problem == f"The export holds it for doubtful: {said}"


def test_every_case_of_the_ledger_is_accounted_for(exported: Path):
    keys = {record.key for record in read_cases(exported)}
    assert {task.case_key for task in find_tasks(exported)} == keys
    assert len(keys) == 5


def test_a_case_that_was_only_prepared_is_no_task(out: Path):
    before = {task.patient_id for task in find_tasks(out) if not task.problem}
    change(out, "UPDATE cases SET state = 'prepared' WHERE patient_id = ?", CONTRAST)
    tasks = find_tasks(out)
    (task,) = (task for task in tasks if task.patient_id == CONTRAST)
    assert task.kind is Kind.KM  # what it would have been
    assert (task.state, task.problem) == (
        "pending",
        "It is prepared in Eclipse and not transferred yet.",
    )
    assert {task.patient_id for task in tasks if not task.problem} == before - {CONTRAST}


@pytest.mark.parametrize("with_root", [True, False])
def test_without_a_ledger_the_manifests_say_the_same(out: Path, with_root: bool):
    before = sound(find_tasks(out))
    (out / LEDGER_NAME).unlink()
    if not with_root:
        (out / MANIFEST_NAME).unlink()
    tasks = find_tasks(out)
    assert not [task for task in tasks if task.problem]
    after = sound(tasks)
    assert after.keys() == before.keys()
    for key, task in after.items():
        assert (task.folder, task.structures_folder, task.source) == (
            before[key].folder,
            before[key].structures_folder,
            before[key].source,
        )


@pytest.mark.parametrize("with_ledger", [True, False])
def test_a_folder_that_is_gone_is_a_listed_failure(out: Path, with_ledger: bool):
    if not with_ledger:
        (out / LEDGER_NAME).unlink()
    shutil.rmtree(series(out, "CT", CONTRAST))
    shutil.rmtree(series(out, "CT", MAGNET))
    shutil.rmtree(series(out, "KM", CONTRAST))
    tasks = find_tasks(out)
    assert sound(tasks).keys() == {(PLAIN, Kind.CT)}
    problems = {(task.patient_id.replace("%2F", "/"), task.kind): task.problem for task in tasks}
    gone = "Its {} folder is gone, or its manifest is. Export it again."
    assert problems[CONTRAST, Kind.KM] == gone.format("KM")
    assert problems[CONTRAST, Kind.MR] == gone.format("CT")
    assert problems[MAGNET, Kind.CT] == problems[MAGNET, Kind.MR] == gone.format("CT")


def test_files_that_are_not_those_that_were_proven_are_not_used(out: Path):
    path = series(out, "CT", MAGNET) / MANIFEST_NAME
    path.write_bytes(path.read_bytes().replace(b'"images": 14', b'"images": 13'))
    tasks = find_tasks(out)
    changed = {task.kind: task.problem for task in tasks if task.patient_id == MAGNET}
    assert changed.keys() == {Kind.CT, Kind.MR}
    assert all("not those that were verified" in problem for problem in changed.values())


def test_a_damaged_manifest_costs_its_own_case_alone(out: Path):
    (out / LEDGER_NAME).unlink()
    (out / MANIFEST_NAME).unlink()
    (series(out, "CT", PLAIN) / MANIFEST_NAME).write_text("{")
    tasks = find_tasks(out)
    (task,) = (task for task in tasks if task.problem)
    assert (task.patient_id, task.kind) == (PLAIN, Kind.CT)
    assert "damaged" in task.problem
    assert len(sound(tasks)) == 4


def test_a_case_whose_other_series_lack_is_not_used(out: Path):
    """By the root's manifest: without its contrast CT it would pass for a case that has none."""
    (out / LEDGER_NAME).unlink()
    key = read_manifest(series(out, "CT", CONTRAST)).case_key
    path = out / MANIFEST_NAME
    parts = path.read_text(encoding="utf-8").split('"case_key": ')
    unfinished = [
        part.replace('"exported": true', '"exported": false')
        if part.startswith(f'"{key}"')
        else part
        for part in parts
    ]
    path.write_text('"case_key": '.join(unfinished), encoding="utf-8")
    tasks = find_tasks(out)
    (task,) = (task for task in tasks if task.patient_id == CONTRAST)
    assert task.state == "not exported"
    assert "series of it are missing" in task.problem


def test_an_mr_without_its_ct_says_so(out: Path):
    change(out, "UPDATE series SET state = 'claimed' WHERE kind IN ('CT', 'KM')")
    change(out, "DELETE FROM requests WHERE kind IN ('CT', 'KM')")
    problems = [task.problem for task in find_tasks(out) if task.kind is Kind.MR]
    assert (
        problems
        == ["Its CT with the structures was not exported. Export kinds ct,mr together."] * 2
    )


def test_what_is_found_depends_on_the_files(out: Path):
    before = sound(find_tasks(out))
    path = series(out, "CT", MAGNET) / MANIFEST_NAME
    path.write_bytes(path.read_bytes() + b"\n")
    (out / LEDGER_NAME).unlink()
    (out / MANIFEST_NAME).unlink()
    after = sound(find_tasks(out))
    # Another layout of the same facts is no other manifest, but its bytes are not the proven ones.
    assert before.keys() - after.keys() == {(MAGNET, Kind.CT), (MAGNET, Kind.MR)}


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_without_an_export_is_wrong_use(tmp_path: Path, there: bool):
    folder = tmp_path / "nothing"
    if there:
        (folder / "CT_Export").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds no exported case"):
        find_tasks(folder)


def test_a_damaged_ledger_is_wrong_use(out: Path):
    (out / LEDGER_NAME).write_bytes(b"x" * 5000)
    with pytest.raises(UsageError, match=r"ledger\.sqlite cannot be read.*backup"):
        find_tasks(out)


def test_a_newer_ledger_is_wrong_use(out: Path):
    change(out, "PRAGMA user_version = 99")
    with pytest.raises(UsageError, match="its format is 99"):
        find_tasks(out)


def test_a_damaged_root_manifest_is_wrong_use(out: Path):
    (out / LEDGER_NAME).unlink()
    (out / MANIFEST_NAME).write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        find_tasks(out)


def test_reading_the_ledger_changes_no_byte_and_leaves_nothing(out: Path):
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert len(read_cases(out)) == 5
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_what_the_export_found_not_to_be_as_listed_goes_along(out: Path):
    before = sound(find_tasks(out))[PLAIN, Kind.CT]
    assert before.not_as_listed == ()
    doubts = '[["target", "The GTV is too large."], ["volumes", "It is not what the list says."]]'
    change(out, "UPDATE cases SET doubts = ? WHERE patient_id = ?", doubts, PLAIN)
    after = sound(find_tasks(out))[PLAIN, Kind.CT]
    # GTV and target themselves are judged again, on the voxels.
    assert after.not_as_listed == ("It is not what the list says.",)
    assert after.source != before.source


def test_a_case_exported_in_part_is_converted_as_far_as_it_goes(out: Path):
    before = sound(find_tasks(out))
    change(out, "UPDATE cases SET state = 'partial' WHERE patient_id = ?", PLAIN)
    assert sound(find_tasks(out)) == before


def test_labels_come_from_the_ledger_and_make_another_source(out: Path):
    before = sound(find_tasks(out))[PLAIN, Kind.CT]
    change(
        out,
        "UPDATE cases SET label = 'KMct', label2 = 'Kopf', case_kind = 'Glio' WHERE patient_id = ?",
        PLAIN,
    )
    after = sound(find_tasks(out))[PLAIN, Kind.CT]
    assert (after.label, after.label2, after.case_kind) == ("KMct", "Kopf", "Glio")
    assert after.source != before.source


def test_the_order_is_that_of_the_list(exported: Path):
    patients = list(dict.fromkeys(task.patient_id for task in find_tasks(exported)))
    assert patients == [CONTRAST, PLAIN, MAGNET, LOST]
    assert [record.state for record in read_cases(exported)].count(CaseState.EXPORTED) == 4
