"""The report as a person uses it, in a browser, from disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from browser import barriers, elsewhere, is_as_wide_as_its_window, open_page, wait_for
from stardust_esapi.model import (
    Action,
    Case,
    CaseResult,
    CaseState,
    Kind,
    StructureOutcome,
    TransferRequest,
)
from stardust_esapi.report.html import write_report
from stardust_esapi.report.summary import RunSummary
from support import PATIENCE

LONG = "The MR was left out: its registration with the planning CT is of another frame of reference"
PICTURES = (Kind.CT, Kind.MR)


def a_result(row: int, state: CaseState, reason: str = "", *warnings: str) -> CaseResult:
    case = Case(row, f"00{row}", f"Plan{row}", gtv_id="GTV 1", target_id="PTV", gtv_volume_ml=4.2)
    requests = tuple(
        TransferRequest(k, case.patient_id, "", "1.2", f"1.2.{row}.{k}", images=40 + row)
        for k in PICTURES
    )
    outcome = StructureOutcome(Kind.CT, "GTV 1", Action.RENAMED, "gtv+", "the GTV")
    skipped = StructureOutcome(Kind.CT, "zRing", Action.SKIPPED, "", "begins with z")
    return CaseResult(case, state, reason, requests=requests, outcomes=(outcome, skipped),
                      warnings=warnings, notes=("Mind the gap.",))  # fmt: skip


RESULTS = (
    a_result(2, CaseState.EXPORTED),
    a_result(3, CaseState.FAILED, "the patient has no such plan. It has: Plan7."),
    a_result(4, CaseState.PARTIAL, "", LONG),
    a_result(5, CaseState.FAILED, "the patient has no such plan. It has: Plan8."),
)
SUMMARY = RunSummary(
    program_version="0.1.0",
    started=datetime(2026, 3, 4, 10, 2, 11),
    finished=datetime(2026, 3, 4, 11, 16, 40),
    case_list="list.csv",
    esapi="stub:x",
    engine="esapi",
    write=True,
    rejected=(9,),
    quarantined=("Instance 1.2.3 was not taken.",),
    results=RESULTS,
    pictures={r.case.key: PICTURES for r in RESULTS if r.state.is_exported},
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report in a folder that was handed on as a whole."""
    out = tmp_path_factory.mktemp("out") / "data set ä#1"
    write_pictures(out)
    write_report(SUMMARY, out / "report.html")
    return out.rename(out.with_name("moved")) / "report.html"


def write_pictures(out: Path) -> None:
    (out / "report").mkdir(parents=True)
    for number, (key, kinds) in enumerate(SUMMARY.pictures.items()):
        for kind in kinds:  # no two are the same: a PDF holds such ones once
            colour = (40 * number, 120, 80 * list(Kind).index(kind))
            Image.new("RGB", (320, 320), colour).save(out / "report" / f"{key}-{kind}.png")


@pytest.fixture
def listed(page: Any, report: Path) -> Any:
    """The page of the list, wide."""
    page.set_viewport_size({"width": 1300, "height": 900})
    open_page(page, report)
    return page


@pytest.fixture
def apart(page: Any) -> Iterator[Any]:
    """Makes a page that shares nothing with others."""
    contexts = []

    def make(**how: Any) -> Any:
        contexts.append(page.context.browser.new_context(**how))
        contexts[-1].set_default_timeout(1000 * PATIENCE)
        return contexts[-1].new_page()

    yield make
    for context in contexts:
        context.close()


def rows(page: Any) -> list[str]:
    """Rows of the cases that are shown, as they stand."""
    return page.locator(".cases [data-case]:visible .row").all_inner_texts()


def loaded(page: Any) -> bool:
    """Whether all pictures there are and are drawn."""
    pictures = "[...document.querySelectorAll('img')]"
    wait_for(page, f"{pictures}.every(picture => picture.complete)")
    return bool(page.evaluate(f"{pictures}.every(picture => picture.naturalWidth === 320)"))


def test_search_filters_and_order(listed: Any) -> None:
    assert rows(listed) == ["3", "5", "4", "2"]
    shown = listed.locator(".shown")
    listed.get_by_label("Show cases").fill("PLAN8 such")
    shown.filter(has_text="1 of 4 cases shown").wait_for()
    assert rows(listed) == ["5"]
    listed.get_by_label("Show cases").fill("")
    listed.locator(".cases [data-case]:visible").nth(3).wait_for()
    listed.get_by_text("in part 1").click()
    listed.get_by_text("exported 1").click()
    shown.filter(has_text="2 of 4 cases shown").wait_for()
    assert rows(listed) == ["4", "2"]
    listed.get_by_label("Order").select_option("by row")
    wait_for(listed, "document.querySelector('.cases [data-case] .row').innerText === '2'")
    assert rows(listed) == ["2", "4"]
    listed.reload()  # as the page of a running job does: what was asked for stays
    shown.filter(has_text="2 of 4 cases shown").wait_for()
    assert rows(listed) == ["2", "4"]
    listed.get_by_label("Order").select_option("by images, most first")
    wait_for(listed, "document.querySelector('.cases [data-case] .row').innerText === '5'")
    assert listed.wrong == []


def test_groups_by_reason(listed: Any) -> None:
    groups = listed.locator(".group:visible")
    assert groups.count() == 0
    listed.get_by_label("Order").select_option("grouped by reason")
    groups.nth(2).wait_for()
    assert [text.strip() for text in groups.all_inner_texts()] == [
        "2 The patient has no such plan.",
        "1 The MR was left out.",
        "1 Nothing to look at",
    ]
    order = listed.locator(".cases > tbody:visible").evaluate_all("bs => bs.map(b => b.className)")
    assert order == ["group", "", "", "group", "", "group", ""]
    listed.get_by_text("exported 1").click()
    groups.nth(1).wait_for(state="hidden")
    assert [text.strip() for text in groups.all_inner_texts()] == ["1 Nothing to look at"]


def test_a_case_is_looked_at_beside_the_list(listed: Any, report: Path) -> None:
    assert not [url for url in listed.asked if "/report/" in url]  # nothing of any case yet
    beside = listed.frame_locator(".look iframe")
    listed.keyboard.press("j")
    beside.get_by_role("heading", name="003, Plan3").wait_for()
    listed.keyboard.press("j")
    beside.get_by_role("heading", name="005, Plan5").wait_for()
    listed.keyboard.press("j")
    beside.get_by_role("heading", name="004, Plan4").wait_for()
    beside.get_by_text("Mind the gap.").wait_for()
    frame = next(f for f in listed.frames if f.url.endswith(f"{RESULTS[2].case.key}.html"))
    assert loaded(frame)
    assert listed.locator(".current .row").inner_text().strip() == "4"
    assert is_as_wide_as_its_window(listed)
    listed.keyboard.press("k")
    beside.get_by_role("heading", name="005, Plan5").wait_for()
    listed.keyboard.press("Escape")
    listed.locator(".look").wait_for(state="hidden")
    listed.locator("#row-2 .reason").click()
    beside.get_by_role("heading", name="002, Plan2").wait_for()
    listed.get_by_role("button", name="Previous").click()
    beside.get_by_role("heading", name="004, Plan4").wait_for()
    beside.get_by_role("link", name="All cases").click()
    listed.locator(".look").wait_for(state="hidden")
    assert listed.url == report.as_uri()
    assert listed.wrong == []
    assert elsewhere(listed) == []


@pytest.mark.parametrize("width", [390, 800])
def test_where_there_is_no_room_beside_it_its_link_leads_to_a_case(listed: Any, width: int) -> None:
    listed.set_viewport_size({"width": width, "height": 800})
    listed.get_by_text("failed 2").click()
    listed.get_by_role("link", name="003").click()
    listed.get_by_role("heading", name="003, Plan3").wait_for()
    assert is_as_wide_as_its_window(listed)
    listed.go_back()
    listed.locator(".shown").filter(has_text="2 of 4 cases shown").wait_for()


@pytest.mark.parametrize("width", [390, 800, 1300])
def test_the_reason_is_read_at_any_width(listed: Any, width: int) -> None:
    listed.set_viewport_size({"width": width, "height": 800})
    assert is_as_wide_as_its_window(listed)
    for text in (LONG, RESULTS[1].reason):
        reason = listed.locator(".cases").get_by_text(text)
        reason.scroll_into_view_if_needed()
        box = reason.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["height"] < 120  # no column of single words


def test_pictures_of_the_cases_shown_are_on_paper_and_on_demand(
    listed: Any, tmp_path: Path
) -> None:
    listed.get_by_text("in part 1").click()
    listed.locator(".shown").filter(has_text="1 of 4 cases shown").wait_for()
    listed.pdf(path=tmp_path / "one.pdf")
    assert (tmp_path / "one.pdf").read_bytes().count(b"/Subtype /Image") == len(PICTURES)
    assert not listed.locator("img").first.is_visible()
    listed.get_by_text("in part 1").click()
    listed.get_by_text("Pictures", exact=True).click()
    for picture in listed.locator("img").all():
        picture.scroll_into_view_if_needed()
    assert loaded(listed)
    assert listed.locator("img:visible").count() == 2 * len(PICTURES)
    listed.pdf(path=tmp_path / "all.pdf")
    assert (tmp_path / "all.pdf").read_bytes().count(b"/Subtype /Image") == 2 * len(PICTURES)
    assert listed.wrong == []


def test_people_with_any_sight_and_a_keyboard_can_use_it(listed: Any, report: Path) -> None:
    listed.get_by_label("Order").select_option("grouped by reason")
    listed.get_by_text("Pictures", exact=True).click()
    listed.get_by_text("failed 2").focus()
    listed.get_by_role("link", name="004").focus()
    listed.keyboard.press("Enter")
    listed.frame_locator(".look iframe").get_by_role("heading", name="004, Plan4").wait_for()
    assert barriers(listed) == []
    open_page(listed, report.parent / "report" / f"{RESULTS[2].case.key}.html")
    assert loaded(listed)
    assert barriers(listed) == []
    assert listed.wrong == []


@pytest.mark.parametrize("width", [390, 800])
def test_small_windows_have_no_barriers(listed: Any, width: int) -> None:
    listed.set_viewport_size({"width": width, "height": 800})
    assert barriers(listed) == []


def test_the_page_of_a_plan_has_no_barriers(page: Any, tmp_path: Path) -> None:
    planned = tuple(replace(one, state=CaseState.PENDING, planned=True) for one in RESULTS)
    summary = replace(SUMMARY, write=False, running=True, results=planned, pictures={})
    write_report(summary, tmp_path / "plan.html")
    page.set_viewport_size({"width": 1300, "height": 900})
    open_page(page, tmp_path / "plan.html")
    assert barriers(page) == []
    page.get_by_role("link", name="003").click()
    page.frame_locator(".look iframe").get_by_role("heading", name="003, Plan3").wait_for()


def test_reads_without_javascript(apart: Any, report: Path) -> None:
    page = apart(java_script_enabled=False)
    page.goto(report.as_uri())
    assert rows(page) == ["3", "5", "4", "2"]
    assert not page.locator(".filters").is_visible()
    page.get_by_role("link", name="004").click()
    page.get_by_role("heading", name="004, Plan4").wait_for()
    assert page.get_by_role("img").count() == len(PICTURES)
    page.get_by_role("link", name="All cases").click()
    page.get_by_role("heading", name="Cases", exact=True).wait_for()


def test_the_page_of_a_running_job_loads_itself_again(apart: Any, tmp_path: Path) -> None:
    page = apart(viewport={"width": 1300, "height": 900})
    page.clock.install()
    write_report(replace(SUMMARY, running=True), tmp_path / "report.html")
    page.goto((tmp_path / "report.html").as_uri())
    page.get_by_text("exported 1").click()
    page.get_by_role("link", name="002").click()
    write_report(replace(SUMMARY, results=RESULTS[:3], running=True), tmp_path / "report.html")
    page.clock.fast_forward(31_000)
    assert page.get_by_role("heading", name="1 of 4 cases exported").count() == 1
    page.keyboard.press("Escape")  # now nobody looks at a case
    page.clock.fast_forward(31_000)
    page.get_by_role("heading", name="1 of 3 cases exported").wait_for()
    page.locator(".shown").filter(has_text="1 of 3 cases shown").wait_for()
    assert rows(page) == ["2"]
