"""What ``init`` leaves, for other people's readers: a workbook to fill in, and the settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from stardust_esapi.caselist import read_case_list
from stardust_esapi.caselist.column_names import MEANINGS
from stardust_esapi.settings import BUTTONS, Settings, load_settings, settings_schema
from support import Outcome

Run = Callable[..., Outcome]
ROW = {
    "Patient-ID": "0004711",
    "PlanID": "1e5",
    "SeriesUID": "1.2.840.113619.2.55.1",
    "TargetID": "PTV 007",
    "GTV": "0012",
    "GTV-Volume": "35,25",
    "casekind": "Lunge",
    "Label2": "Thorax",
    "Comment": "gut",
}


@pytest.fixture
def begun(run: Run, tmp_path: Path) -> Path:
    said = run("init", tmp_path / "new" / "job")
    assert said.code == 0, said.text
    assert said.out.splitlines()[-1].endswith("stardust-esapi check --cases cases.xlsx")
    return tmp_path / "new" / "job"


def test_the_list_has_texts_explained_columns_and_words_to_choose_from(begun: Path) -> None:
    book = openpyxl.load_workbook(begun / "cases.xlsx")
    sheet, explained = book["cases"], book["columns"]
    assert [cell.value for cell in sheet[1]] == list(MEANINGS)
    letters = {cell.value: cell.column_letter for cell in sheet[1]}
    texts = [group for group in sheet.column_dimensions.values() if group.number_format == "@"]
    covered = {number for group in texts for number in range(group.min, group.max + 1)}
    assert covered == set(range(1, len(MEANINGS) + 1))
    assert dict(explained.iter_rows(min_row=2, values_only=True)) == MEANINGS
    offered = {}
    for choice in sheet.data_validations.dataValidation:
        sheet_name, _, cells = choice.formula1.partition("!")
        offered[str(choice.sqref)] = [row[0].value for row in book[sheet_name][cells]]
        assert not choice.showErrorMessage  # another word may be written all the same
    assert offered[f"{letters['casekind']}2:{letters['casekind']}10001"] == list(BUTTONS)
    assert "abgelehnt" in offered[f"{letters['Comment']}2:{letters['Comment']}10001"]


def test_a_list_filled_in_is_read_and_again_after_another_program_saved_it(begun: Path) -> None:
    path = begun / "cases.xlsx"
    assert read_case_list(path).cases == ()
    for _ in range(2):  # openpyxl writes all of it anew, as LibreOffice does
        book = openpyxl.load_workbook(path)
        for column, (name, value) in enumerate(
            ((name, ROW.get(name)) for name in MEANINGS), start=1
        ):
            book["cases"].cell(2, column, value)
            if name == "Comment":
                book["cases"].cell(3, column, "abgelehnt")
        book.save(path)
        listed = read_case_list(path)
        [case] = listed.cases
        assert (listed.problems, listed.rejected) == ((), (3,))
        assert (case.patient_id, case.plan_id, case.target_id) == ("0004711", "1e5", "PTV 007")
        assert (case.gtv_id, case.gtv_volume_ml) == ("0012", 35.25)
        assert (case.case_kind, case.label2) == ("Lunge", "Thorax")


def test_the_settings_load_to_the_defaults_as_they_are_and_without_the_marks(
    begun: Path, tmp_path: Path
) -> None:
    path = begun / "stardust-esapi.toml"
    assert load_settings(path) == Settings()
    text = path.read_text("utf-8")
    uncommented = re.sub(r"^#(?! )", "", re.sub(r"^#(?=    )", "", text, flags=re.M), flags=re.M)
    path.write_text(uncommented, "utf-8")
    assert load_settings(path) == Settings()
    for setting in settings_schema().settings():
        assert re.search(rf"^#? ?{setting.key[-1]} (= |is not set)", uncommented, re.M), setting
        assert setting.meaning, f"{setting.name} has no docstring"


@pytest.mark.parametrize("there", ["cases.xlsx", "stardust-esapi.toml"])
def test_nothing_is_overwritten(run: Run, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    said = run("init", tmp_path)
    assert said.code == 2
    assert there in said.err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "mine")]
