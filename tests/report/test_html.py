from __future__ import annotations

import re
import time
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
from stardust_esapi.report.html import render_report, write_report
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
        pictures={r.case.key: {Kind.MR: b"\x89PNG mr", Kind.CT: b"\x89PNG ct"} for r in results},
    )


def test_a_labelled_structure_has_the_colour_of_its_outline() -> None:
    html = render_report(a_summary(a_result(2)))
    assert html.count('<span class="swatch" style="background:#E69F00"></span>gtv+') == 1
    assert "with the outlines of gtv+ and target+" in html


def test_says_what_the_sender_said_and_what_was_quarantined() -> None:
    result = replace(a_result(2), sender_report={Kind.CT: f"C-MOVE: 50 completed {HOSTILE}"})
    summary = replace(a_summary(result), quarantined=(f"Instance 1.2.3 was not taken {HOSTILE}",))
    page = Page(render_report(summary))
    assert f"C-MOVE: 50 completed {HOSTILE}" in page.text
    assert f"Instance 1.2.3 was not taken {HOSTILE}" in page.text
    clean = Page(render_report(a_summary(a_result(2))))
    assert "Quarantined" not in clean.text
    assert "Transfer" not in clean.text


def test_says_what_happened() -> None:
    html = render_report(a_summary(a_result(2), a_result(7, CaseState.FAILED), a_result(9)))
    text = Page(html).text
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
        "Eclipse said no",
        "begins with z",
        "Mind the gap.",
        "CT_Export/2",
        "1.2.9.0",
    ):
        assert words in text
    totals = html[html.index('class="totals"') : html.index("</dl>")]
    assert re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", totals) == [
        ("exported", "2"),
        ("failed", "1"),
        ("series", "6"),
        ("images", "300"),
        ("rejected rows", "37"),
    ]


def test_a_warning_stands_beside_the_state_and_not_among_the_notes() -> None:
    partial = replace(
        a_result(2, CaseState.PARTIAL), warnings=("The MR was left out.", "Somebody has to look.")
    )
    doubtful = replace(a_result(3, CaseState.DOUBTFUL), reason="The GTV (400 ml) is larger.")
    html = render_report(a_summary(partial, doubtful))
    first_rows = re.findall(r'<tbody id="row.*?</tr>', html, re.DOTALL)
    assert [re.findall(r'<p class="warning">(.*?)</p>', row) for row in first_rows] == [
        [],
        ["The MR was left out.", "Somebody has to look."],
    ]
    assert "The GTV (400 ml) is larger." in first_rows[0]
    assert ">in part</span>" in first_rows[1]
    totals = html[html.index('class="totals"') : html.index("</dl>")]
    assert {("in part", "1"), ("doubtful", "1")} <= set(
        re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", totals)
    )
    assert '<body class="bad">' in html  # rows were not read
    assert '<body class="waiting">' in render_report(replace(a_summary(partial), row_problems=()))


def test_failed_cases_come_first_and_every_case_once() -> None:
    states = [CaseState.EXPORTED, CaseState.FAILED, CaseState.PENDING, CaseState.PREPARED] * 3
    text = render_report(a_summary(*(a_result(n, s) for n, s in enumerate(states, start=2))))
    order = re.findall(r'<tbody id="row-(\d+)" data-state="(\w+)"', text)
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
    assert "not exported" in text
    assert "Plan only" not in Page(render_report(a_summary(a_result(2)))).text


def test_no_case_at_all() -> None:
    assert "The list holds no case to export." in Page(render_report(a_summary())).text


def test_hostile_text_stays_text() -> None:
    page = Page(render_report(a_summary(a_result(2, CaseState.FAILED, HOSTILE), text=HOSTILE)))
    harmless = Page(render_report(a_summary(a_result(2, CaseState.FAILED))))
    # The same elements as with harmless text, but for what depends on a text being there.
    assert page.count("script") == harmless.count("script") == 1
    assert page.count("img") == harmless.count("img")
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
    assert page.text.count(HOSTILE) >= 11


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1))
def test_any_text_leaves_the_page_whole(text: str) -> None:
    page = Page(render_report(a_summary(a_result(2, text=text), text=text)))
    assert page.count("tbody") == Page(render_report(a_summary(a_result(2)))).count("tbody")


def test_nothing_is_requested_from_anywhere() -> None:
    text = render_report(a_summary(a_result(2), a_result(3)))
    page = Page(text)
    targets = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster", "background")
    ]
    assert targets
    assert all(target.startswith(("data:image/png;base64,", "#")) for target in targets if target)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|fetch\(|XMLHttp", text)
    assert "default-src 'none'; img-src data:" in text
    assert page.count("link") == 0


def test_pictures_are_inside_in_the_order_of_kinds_and_lazy() -> None:
    page = Page(render_report(a_summary(a_result(2))))
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert [(image["alt"] or "").split(" of ")[0] for image in images] == ["Planning CT", "MR"]
    assert images[0]["src"] == "data:image/png;base64,iVBORyBjdA=="
    assert all(image["loading"] == "lazy" for image in images)


def test_reads_without_javascript() -> None:
    text = render_report(a_summary(a_result(2)))
    without_script = text[text.index("<body") : text.index("<script>")]
    # The filters are of no use without the script, which shows them.
    assert re.findall(r"<[^>]*\bhidden\b[^>]*>", without_script) == ['<div class="filters" hidden>']
    assert "<details>" in without_script


def test_500_cases_take_little_time() -> None:
    summary = a_summary(*(a_result(row) for row in range(2, 502)))
    start = time.process_time()  # others' work does not count
    text = render_report(summary)
    assert time.process_time() - start < 5
    assert text.count("<details>") == 500


def test_writes_the_whole_file_or_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    summary = a_summary(a_result(2, text="Müller-Süß ½"))
    write_report(summary, path)
    assert path.read_text(encoding="utf-8") == render_report(summary)
    write_report(summary, tmp_path / "missing" / "report.html")  # a report ends no run
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]
