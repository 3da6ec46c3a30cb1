"""The page of a review in a browser: keys, decisions, images in one place, and what it saves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from browser import a_browser, barriers, is_as_wide_as_its_window
from esapi_stub.build import build
from esapi_stub.sample import Phantom, PhantomContrast, PhantomMr, write_phantom
from stardust_esapi.model import Case, CaseResult, CaseState
from stardust_esapi.report.review import Entry, render_index
from stardust_esapi.report.summary import RunSummary
from support import PATIENCE, Outcome, row_of, spawn, write_case_list

Run = Callable[..., Outcome]

WHOLE = Phantom(
    "0004711",
    size=(36, 36, 16),
    spacing=(4.0, 4.0, 4.0),
    contrast=PhantomContrast(slices=14),
    mr=PhantomMr(size=(40, 40, 18)),
)
PLAIN = replace(WHOLE, patient_id="A/17.b", contrast=None, mr=None)


@dataclass(frozen=True)
class Made:
    """A review of three cases, the last of which cannot be exported."""

    folder: Path
    cases: Path
    esapi: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("a review ä#1")
    uids = [
        write_phantom(folder / "dicom" / str(number), phantom)
        for number, phantom in enumerate((WHOLE, PLAIN))
    ]
    build(folder / "dicom", folder / "db")
    rows = [*map(row_of, uids), row_of(uids[1], PlanID="Plan9")]
    cases = write_case_list(folder / "cases.csv", rows)
    esapi = f"stub:{folder / 'db'}"
    process = spawn("check", "--cases", cases, "--esapi", esapi, "--review", folder / "first")
    said, _ = process.communicate()
    assert process.returncode == 1, said  # one failed, as it should
    (folder / "first").rename(folder / "handed on")
    return Made(folder / "handed on", cases, esapi)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with a_browser() as started:
        yield started


@pytest.fixture
def page(browser: Any, made: Made) -> Iterator[Any]:
    """The review, opened by a person who has not seen it; notes what goes wrong."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(request.url))
    page.on(
        "request",
        lambda r: r.url.startswith(("file:", "data:", "blob:")) or wrong.append(r.url),
    )
    page.goto((made.folder / "review.html").as_uri())
    page.wait_for_selector(".views")
    yield page
    assert wrong == []
    context.close()


def sign(page: Any) -> None:
    page.fill("#name", "Dr. Probe")
    page.keyboard.press("Escape")


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def count(page: Any, selector: str, number: int) -> None:
    """Wait until there are so many."""
    import playwright.sync_api as playwright

    playwright.expect(page.locator(selector)).to_have_count(number, timeout=1000 * PATIENCE)


def text(page: Any, selector: str) -> str:
    return str(page.inner_text(selector))


def test_decided_with_the_keyboard_kept_and_saved(
    page: Any, made: Made, run: Run, tmp_path: Path
) -> None:
    assert text(page, "#what") == "0004711 · Plan1 · row 2 (1 of 3)"
    press(page, "a")
    assert text(page, "#told") == "Type your name first: a decision is signed with it."
    assert text(page, "#count") == "0 accepted, 0 rejected, 2 undecided"
    page.keyboard.type("Dr. a j k")  # into the field, where no letter is a command
    assert page.input_value("#name") == "Dr. a j k"
    sign(page)
    press(page, "a")
    assert text(page, "#verdict") == "Accepted by Dr. Probe"
    press(page, "j")
    count(page, ".kind", 1)
    assert text(page, "#what").startswith("A/17.b · Plan1 · row 3")
    press(page, "r", "Enter")  # without a reason it is none
    assert text(page, "#count") == "1 accepted, 0 rejected, 1 undecided"
    page.keyboard.type('=1+1; the "MR" is blurred')
    press(page, "Enter")
    assert text(page, "#verdict") == 'Rejected by Dr. Probe: =1+1; the "MR" is blurred'
    press(page, "j", "a")
    assert text(page, "#verdict") == "Nothing to decide"
    assert "the patient has no such plan" in text(page, "#case")
    press(page, "j")  # there is no further one
    press(page, "k", "k")
    assert text(page, "#what").startswith("0004711")
    assert text(page, "#count") == "1 accepted, 1 rejected, 0 undecided"

    page.reload()
    page.wait_for_selector(".views")
    assert text(page, "#count") == "1 accepted, 1 rejected, 0 undecided"
    assert text(page, "#verdict") == "Accepted by Dr. Probe"
    with page.expect_download() as started:
        page.click("#save")
    assert started.value.suggested_filename == "decisions cases.csv"
    file = tmp_path / "decisions.csv"
    started.value.save_as(file)
    saved = pd.read_csv(file, sep=";", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    assert saved["Patient-ID"].tolist() == ["0004711", "A/17.b"]
    assert saved["Decision"].tolist() == ["accept", "reject"]
    assert saved["Reason"].tolist() == ["", '\'=1+1; the "MR" is blurred']
    assert saved["Reviewer"].tolist() == ["Dr. Probe"] * 2
    assert datetime.fromisoformat(saved["When"][0]).year >= 2024
    planned = run(
        *("export", "--cases", made.cases, "--esapi", made.esapi, "--out", tmp_path / "out"),
        *("--only", file, "--no-review"),
    )
    assert planned.code == 0, planned.text
    assert "1 accepted, 1 rejected, 1 not decided." in planned.out
    assert 'by Dr. Probe: =1+1; the "MR" is blurred' in planned.out

    press(page, "u")
    assert text(page, "#verdict") == "Undecided"
    page.reload()
    page.wait_for_selector(".views")
    assert text(page, "#count") == "0 accepted, 1 rejected, 1 undecided"
    page.click("[data-filter=undecided]")
    assert page.locator("#list li:visible").count() == 1
    page.click("[data-filter='']")
    page.fill("#search", "17.b")
    count(page, "#list li:not([hidden])", 2)


def test_registered_images_flicker_in_one_place(page: Any) -> None:
    def shown() -> list[str]:
        return [str(one.get_attribute("data-kind")) for one in page.locator(".kind:visible").all()]

    def place() -> Any:
        return page.locator(".kind:visible .picture").first.bounding_box()

    page.clock.install()
    page.reload()
    page.wait_for_selector(".views")
    assert shown() == ["CT", "KM", "MR"]
    assert page.evaluate("[...document.images].every(i => i.naturalWidth === 320)")
    press(page, "Space")
    assert shown() == ["CT"]
    before = place()
    press(page, "Space")
    assert shown() == ["KM"]
    assert place() == before
    press(page, "Space")
    assert shown() == ["MR"]
    assert place() == before
    press(page, "f")
    for kind in ("CT", "KM", "MR", "CT"):
        assert shown() == [kind]
        page.clock.run_for(700)
    press(page, "f")
    page.clock.run_for(7000)
    assert shown() == ["KM"]
    assert page.get_attribute("#flicker", "aria-pressed") == "false"
    page.click("#switch [data-kind='']")
    assert shown() == ["CT", "KM", "MR"]
    assert page.locator(".over").first.is_visible()
    press(page, "o")
    assert not page.locator(".over").first.is_visible()
    # A case with one image has nothing to switch to.
    press(page, "o", "j")
    count(page, ".kind", 1)
    assert not page.locator("#flicker").is_visible()
    press(page, "Space", "f")
    assert shown() == ["CT"]


def test_it_is_read_on_any_screen(page: Any) -> None:
    sign(page)
    press(page, "a", "j")
    count(page, ".kind", 1)
    press(page, "r")
    page.keyboard.type("why")
    press(page, "Enter", "k")
    for width in (1280, 800, 390):
        page.set_viewport_size({"width": width, "height": 800})
        assert barriers(page) == []
        assert is_as_wide_as_its_window(page)
        for button in ("#accept", "#reject", "#next"):
            assert page.locator(button).is_visible()


def test_a_case_without_its_file_says_so(browser: Any, made: Made, tmp_path: Path) -> None:
    (tmp_path / "review.html").write_bytes((made.folder / "review.html").read_bytes())
    page = browser.new_page()
    page.goto((tmp_path / "review.html").as_uri())
    page.wait_for_selector(".problem")
    assert "a review is handed on as a folder" in text(page, "#case")
    sign(page)
    press(page, "a")  # what was not seen is not accepted
    assert text(page, "#count").startswith("0 accepted")
    page.close()


def test_what_a_list_says_is_text(browser: Any, tmp_path: Path) -> None:
    hostile = "</script><img src=x onerror=alert(1)>"
    case = Case(2, hostile, plan_id=hostile, target_id="A", gtv_id="B")
    result = CaseResult(case, CaseState.FAILED, reason=f"{case}: {hostile}")
    now = datetime(2026, 1, 1).astimezone()
    summary = RunSummary("1", now, now, hostile, hostile, "esapi", write=False)
    path = tmp_path / "review.html"
    path.write_text(render_index(summary, [(result, Entry())]), encoding="utf-8")
    page = browser.new_page()
    said: list[str] = []
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    assert hostile in text(page, "#what")
    assert hostile in text(page, "#case")
    assert hostile in text(page, "h1")
    assert page.locator("img").count() == 0
    assert said == []
    page.close()
