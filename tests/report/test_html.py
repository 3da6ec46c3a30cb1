from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from stardust_esapi.caselist import RowProblem
from stardust_esapi.model import (
    IMAGE_KINDS,
    Action,
    Case,
    CaseResult,
    CaseState,
    Kind,
    StructureOutcome,
    TransferRequest,
)
from stardust_esapi.page import in_general
from stardust_esapi.report import html
from stardust_esapi.report.html import render_case, write_report
from stardust_esapi.report.summary import RunSummary

HOSTILE = """<script>alert(1)</script>"'>&<img src=x onerror=y>{{ 7*7 }}"""
VOID = {"meta", "img", "input", "link", "br"}


class Page(HTMLParser):
    """The page as a browser takes it apart: elements, attributes and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def a_result(row: int, state: CaseState = CaseState.EXPORTED, text: str = "") -> CaseResult:
    case = Case(row, text or f"00{row}", text or f"Plan{row}", gtv_id=text or "GTV 1", label=text)
    requests = tuple(
        TransferRequest(kind, case.patient_id, case.plan_id, "1.2", f"1.2.{row}.{n}", images=50)
        for n, kind in enumerate(IMAGE_KINDS)
    )
    outcomes = (
        StructureOutcome(Kind.CT, "zRing", Action.SKIPPED, reason=text or "begins with z"),
        StructureOutcome(Kind.CT, text or "GTV 1", Action.RENAMED, "gtv+", "the GTV"),
        StructureOutcome(Kind.KM, "Lens", Action.FAILED, reason="Eclipse said no"),
    )
    return CaseResult(
        case,
        state,
        reason=text or ("It went wrong." if state is CaseState.FAILED else ""),
        requests=requests,
        folders={request.kind: f"{request.kind}_Export/{row}" for request in requests},
        outcomes=outcomes,
        warnings=(text,) if text else (),
        notes=(text or "Mind the gap.",),
    )


def a_summary(*results: CaseResult, text: str = "") -> RunSummary:
    return RunSummary(
        program_version=text or "0.1.0",
        started=datetime(2026, 3, 4, 10, 2, 11),
        finished=datetime(2026, 3, 4, 11, 16, 40),
        case_list=text or "list.csv",
        esapi=text or "stub:x",
        engine=text or "esapi",
        write=True,
        rejected=tuple(range(100, 137)),
        row_problems=(RowProblem(19, "SeriesUID", text or "Row 19: the UID is lost."),),
        duplicates=(text or "Rows 4 and 12 mean the same case.",),
        list_notes=(text or "The sheet Data was read.",),
        results=results,
        pictures={r.case.key: (Kind.CT, Kind.MR) for r in results},
    )


def pages_of(summary: RunSummary) -> dict[str, str]:
    return {result.case.key: f"{result.case.key}.html" for result in summary.results}


def render_report(summary: RunSummary) -> str:
    """The list, where every case has a page."""
    return html.render_report(summary, "report", pages_of(summary))


def page_of(result: CaseResult) -> str:
    return render_case(result, (Kind.CT, Kind.MR), "report.html")


def test_a_labelled_structure_has_the_colour_of_its_outline() -> None:
    page = page_of(a_result(2))
    assert page.count('<span class="swatch" style="background:#E69F00"></span>gtv+') == 1
    assert "with the outlines of gtv+ and target+" in page


def test_says_what_the_sender_said_and_what_was_quarantined() -> None:
    result = replace(a_result(2), sender_report={Kind.CT: f"C-MOVE: 50 completed {HOSTILE}"})
    summary = replace(a_summary(result), quarantined=(f"Instance 1.2.3 was not taken {HOSTILE}",))
    assert f"C-MOVE: 50 completed {HOSTILE}" in Page(page_of(result)).text
    assert f"Instance 1.2.3 was not taken {HOSTILE}" in Page(render_report(summary)).text
    assert "Quarantined" not in Page(render_report(a_summary(a_result(2)))).text
    assert "Transfer" not in Page(page_of(a_result(2))).text


def test_says_what_happened() -> None:
    page = render_report(a_summary(a_result(2), a_result(7, CaseState.FAILED), a_result(9)))
    text = Page(page).text
    for words in (
        "2 of 3 cases exported; 1 failed; 1 row not read",
        "with write",
        "It took 1 h 14 min.",
        "1 row of the case list could not be used.",
        "Row 19: the UID is lost.",
        "Rows 4 and 12 mean the same case.",
        "37 rows marked as rejected (100-136)",
        "The sheet Data was read.",
        "It went wrong.",
        "Planning CT: 1 renamed, 1 skipped",
        "Contrast CT: 1 failed",
        "2 pictures",
        "1 note",
    ):
        assert words in text
    totals = page[page.index('class="totals"') : page.index("</dl>")]
    assert re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", totals) == [
        ("exported", "2"),
        ("failed", "1"),
        ("series", "6"),
        ("images", "300"),
        ("rejected rows", "37"),
    ]


def test_a_page_says_all_of_its_case() -> None:
    failed = replace(a_result(9, CaseState.FAILED), warnings=("Somebody has to look.",))
    text = Page(page_of(failed)).text
    for words in (
        "row 9",
        "009, Plan9",
        "failed It went wrong. Somebody has to look.",
        "Planning CT MR, sampled in the planning CT's slice",
        "Structures on the Contrast CT",
        "Eclipse said no",
        "begins with z",
        "Mind the gap.",
        "GTV in the list GTV 1",
        "CT_Export/9",
        "1.2.9.0",
        "All cases",
    ):
        assert words in text


def test_gtv_and_target_stand_before_other_structures_but_failures() -> None:
    page = page_of(a_result(2))
    planning = page[page.index("Structures on the Planning CT") :]
    assert planning.index("gtv+") < planning.index("zRing")


def test_a_warning_stands_beside_the_state_and_not_among_the_notes() -> None:
    partial = replace(
        a_result(2, CaseState.PARTIAL), warnings=("The MR was left out.", "Somebody has to look.")
    )
    doubtful = replace(a_result(3, CaseState.DOUBTFUL), reason="The GTV (400 ml) is larger.")
    page = render_report(a_summary(partial, doubtful))
    first_rows = re.findall(r'<tbody id="row.*?</tr>', page, re.DOTALL)
    assert [re.findall(r'<p class="warning">(.*?)</p>', row) for row in first_rows] == [
        [],
        ["The MR was left out.", "Somebody has to look."],
    ]
    assert "The GTV (400 ml) is larger." in first_rows[0]
    assert ">in part</span>" in first_rows[1]
    totals = page[page.index('class="totals"') : page.index("</dl>")]
    assert {("in part", "1"), ("doubtful", "1")} <= set(
        re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", totals)
    )
    assert '<body class="bad">' in page  # rows were not read
    assert '<body class="waiting">' in render_report(replace(a_summary(partial), row_problems=()))


def test_failed_cases_come_first_and_every_case_once() -> None:
    states = [CaseState.EXPORTED, CaseState.FAILED, CaseState.PENDING, CaseState.PREPARED] * 3
    text = render_report(a_summary(*(a_result(n, s) for n, s in enumerate(states, start=2))))
    order = re.findall(r'<tbody id="row-(\d+)" data-case="\w+" data-state="(\w+)"', text)
    assert [state for _, state in order] == [
        *["failed"] * 3,
        *["pending"] * 3,
        *["prepared"] * 3,
        *["exported"] * 3,
    ]
    assert sorted(int(row) for row, _ in order) == list(range(2, 14))


def test_a_run_without_write_says_so_loudly() -> None:
    planned = replace(a_result(2, CaseState.PENDING), planned=True, folders={})
    text = Page(render_report(replace(a_summary(planned), write=False, row_problems=()))).text
    assert "Plan only: nothing was changed and nothing was exported." in text
    assert "1 of 1 case ready to export" in text
    assert "not exported" in Page(page_of(planned)).text
    assert "Plan only" not in Page(render_report(a_summary(a_result(2)))).text


def test_no_case_at_all() -> None:
    assert "The list holds no case to export." in Page(render_report(a_summary())).text


def test_hostile_text_stays_text() -> None:
    hostile, harmless = a_result(2, CaseState.FAILED, HOSTILE), a_result(2, CaseState.FAILED)
    for page, plain, scripts, times in (
        (Page(render_report(a_summary(hostile, text=HOSTILE))),
         Page(render_report(a_summary(harmless))), 1, 11),
        (Page(page_of(hostile)), Page(page_of(harmless)), 0, 7),
    ):  # fmt: skip
        # The same elements as with harmless text, but for what depends on a text being there.
        assert page.count("script") == plain.count("script") == scripts
        assert page.count("img") == plain.count("img")
        assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
        assert page.text.count(HOSTILE) >= times


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1))
def test_any_text_leaves_the_page_whole(text: str) -> None:
    page = Page(render_report(a_summary(a_result(2, text=text), text=text)))
    assert page.count("tbody") == Page(render_report(a_summary(a_result(2)))).count("tbody")
    assert Page(page_of(a_result(2, text=text))).count("tbody") == 3


def test_nothing_is_requested_from_anywhere() -> None:
    pages = [render_report(a_summary(a_result(2), a_result(3))), page_of(a_result(2))]
    for text in pages:
        targets = [
            value
            for _, attributes in Page(text).elements
            for name, value in attributes.items()
            if name in ("src", "href", "srcset", "action", "data", "poster", "background")
        ]
        assert targets
        # Pages, pictures and places beside it or in it.
        allowed = re.compile(r"#\w+|report/\w+\.html|\.\./report\.html|\w+-(CT|KM|MR)\.png")
        assert all(allowed.fullmatch(target) for target in targets if target)
        assert not re.search(r"https?:|//[a-z]|url\(|@import|fetch\(|XMLHttp", text)
        assert "default-src 'none'; img-src 'self' file: data:;" in text
        assert Page(text).count("link") == 0


def test_pictures_are_named_in_the_order_of_kinds() -> None:
    result = a_result(2)
    page = Page(page_of(result))
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert [(image["alt"] or "").split(" of ")[0] for image in images] == ["Planning CT", "MR"]
    assert [image["src"] for image in images] == [
        f"{result.case.key}-CT.png",
        f"{result.case.key}-MR.png",
    ]
    assert 'data-pictures="CT MR"' in render_report(a_summary(result))


def test_reads_without_javascript() -> None:
    text = render_report(a_summary(a_result(2)))
    without_script = text[text.index("<body") : text.index("<script>")]
    # The filters are of no use without the script, which shows them.
    assert re.findall(r"<[^>]*\bhidden\b[^>]*>", without_script) == [
        '<form class="filters" hidden>',
        '<tbody class="group" data-why="0" hidden>',
        '<aside class="look" aria-label="The chosen case" hidden>',
    ]
    key = a_result(2).case.key
    assert f'<a href="report/{key}.html">002</a>' in without_script
    assert "<script" not in page_of(a_result(2))


def test_500_cases_are_a_light_list() -> None:
    reason = "The GTV (12.5 ml) has another volume than the list says (21 ml). Look at both."
    results = [replace(a_result(row), reason=reason) for row in range(2, 502)]
    assert len(render_report(a_summary(*results)).encode()) < 600_000


def test_cases_that_need_the_same_look_are_a_group() -> None:
    reasons = [
        "no plan of this name. It has: Plan1.",
        "no plan of this name. It has: Plan2.",
        "The GTV (4 ml) is small.",
    ]
    failed = [
        replace(a_result(n, CaseState.FAILED), reason=reason)
        for n, reason in enumerate(reasons, start=2)
    ]
    page = render_report(a_summary(a_result(9), *failed))
    assert re.findall(r'<tbody class="group" data-why="(\d)".*?</b> (.*?)</th>', page) == [
        ("0", "No plan of this name."),
        ("1", "The GTV (…) is small."),
        ("2", "Nothing to look at"),
    ]
    assert re.findall(r'id="row-(\d+)".*data-why="(\d)"', page) == [
        ("2", "0"),
        ("3", "0"),
        ("4", "1"),
        ("9", "2"),
    ]


@given(st.text())
def test_every_reason_has_a_group(reason: str) -> None:
    assert in_general(reason)
    assert not re.search(r"\d", re.sub(r"[^ -~]", "", in_general(reason)))


def test_writes_a_page_a_case_and_only_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    results = [a_result(2, text="Müller-Süß ½"), a_result(3)]
    summary = a_summary(*results, a_result(4, CaseState.PENDING))  # this one was not reached
    assert write_report(summary, path) == path
    names = pages_of(a_summary(*results))
    assert path.read_text(encoding="utf-8") == html.render_report(summary, "report", names)
    pages = {key: tmp_path / "report" / name for key, name in names.items()}
    for result in results:
        assert pages[result.case.key].read_text("utf-8") == page_of(result)
    assert {p.name for p in tmp_path.rglob("*")} == {
        "report.html",
        "report",
        *(page.name for page in pages.values()),
    }
    written = {page: page.stat().st_mtime_ns for page in pages.values()}
    changed = replace(results[1], state=CaseState.FAILED, reason="It is gone.")
    write_report(replace(summary, results=(results[0], changed), running=True), path)
    now = {page: page.stat().st_mtime_ns for page in pages.values()}
    assert [page for page in written if written[page] != now[page]] == [pages[changed.case.key]]


def test_a_report_ends_no_run(tmp_path: Path, warned: list[str]) -> None:
    summary = a_summary(a_result(2), a_result(3))
    (tmp_path / "report").touch()
    write_report(summary, tmp_path / "report.html")
    assert sum("has no pages of cases" in text for text in warned) == 1
    assert "<a href" not in (tmp_path / "report.html").read_text("utf-8").split("<table")[1]
    (tmp_path / "report").unlink()
    (held := tmp_path / "report" / f"{a_result(2).case.key}.html").mkdir(parents=True)
    write_report(summary, tmp_path / "report.html")
    beside = f"report/{held.stem} (newer).html"
    assert (tmp_path / beside).read_text("utf-8") == page_of(a_result(2))
    assert f'href="{beside}"' in (tmp_path / "report.html").read_text("utf-8")
