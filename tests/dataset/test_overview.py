from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pytest_mock import MockerFixture

from browser import barriers, elsewhere, is_as_wide_as_its_window, open_page, wait_for
from dataset_cohort import write_cohort
from stardust_esapi.dataset import charts as charts_module
from stardust_esapi.dataset import overview
from stardust_esapi.dataset.build import DatasetJob, DatasetSummary, build_dataset
from stardust_esapi.dataset.entry import Entry
from stardust_esapi.dataset.facts import StructureFacts
from stardust_esapi.dataset.overview import render_overview, write_overview
from stardust_esapi.dataset.split import Part, assign
from stardust_esapi.dataset.tasks import State
from stardust_esapi.model import IMAGE_KINDS, Kind, Role
from stardust_esapi.settings import Dataset

HOSTILE = """<script>alert(1)</script>"'>&<img src=x onerror=y>{{ 7*7 }}"""
WORDS = (("Lunge", "Thorax"), ("Glio", "Kopf"), ("", ""))


def an_entry(number: int, **changes: Any) -> Entry:
    """A case; two of a patient."""
    kind = IMAGE_KINDS[number % 3]
    patient, case = f"p{number // 2:03}", f"c{number:03}"
    case_kind, region = WORDS[number // 2 % 3]
    entry = Entry(
        case=case,
        patient=patient,
        kind=kind,
        state=State.CREATED,
        case_kind=case_kind,
        label2=region,
        shape=(100 + number, 512, 512),
        spacing=(0.98, 0.98, 1.0 + number % 2),
        structures=(
            StructureFacts("gtv+", 1, Role.GTV, 100, 0.5 * (number + 1), 0, 0),
            StructureFacts("target+", 2, Role.TARGET, 300, 1.5 * (number + 1), 0, 0),
            StructureFacts("Brainstem_neg+", 3, Role.OTHER, 900, 25.0, 0, 0),
        ),
        counts=(1000, *[10] * 15, 5000, *[1] * 47),
        files=(f"pictures/{case}_{kind}.png",),
        thumbnail=f"pictures/{case}_{kind}.png",
    )
    return replace(entry, **changes)


def a_failure(number: int, reason: str = "The GTV is tiny.", state: State = State.FAILED) -> Entry:
    return Entry(f"c{number:03}", f"p{number:03}", Kind.CT, state, (reason,), case_kind="Glio")


def a_summary(*entries: Entry, **settings: Any) -> DatasetSummary:
    return DatasetSummary(entries, assign(entries, 0.8, 0), Dataset(**settings))


class Text(HTMLParser):
    """Visible text, and the attributes of each element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._texts: list[str] = []
        self._hidden = False
        self.feed(html)
        self.text = " ".join(" ".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._hidden = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._texts.append(data)


def pictures_of(page: Text, source: str) -> list[str]:
    """What stands for the pictures whose source begins so."""
    return [
        str(attributes["alt"])
        for tag, attributes in page.elements
        if tag == "img" and str(attributes["src"]).startswith(source)
    ]


def test_counts_the_cohort_by_casekind_and_region() -> None:
    entries = [an_entry(number) for number in range(12)]
    page = Text(render_overview(a_summary(*entries, a_failure(40))))
    assert "12 training cases of 6 patients; 1 failed" in page.text
    # Six patients, two of each casekind: one of the six is for testing (1.2, rounded).
    head = "casekind Label2 Cases Patients in training in test Planning CT Contrast CT MR"
    assert f"{head} GTV, median ml" in page.text
    assert "Glio Kopf 4 2 1 1 2 0 2 3.25 Lunge Thorax 4 2" in page.text
    assert "all 12 6 5 1 4 4 4 3.25" in page.text
    assert "No patient is for testing of " in page.text
    assert "Brainstem_neg+ 12 25" in page.text


def test_shows_every_case_and_every_failure() -> None:
    entries = [an_entry(number, notes=("Mind the gap.",) * (number == 3)) for number in range(8)]
    page = Text(render_overview(a_summary(*entries, a_failure(40), a_failure(41, "It is odd."))))
    sources = [str(attributes["src"]) for tag, attributes in page.elements if tag == "img"]
    shown = [source for source in sources if not source.startswith("data:")]
    assert shown == [entry.thumbnail for entry in entries]
    assert all("GTV and target" in text for text in pictures_of(page, "pictures/"))
    for words in ("c040 p040 CT Glio failed The GTV is tiny.",
                  "c041 p041 CT Glio failed It is odd.", "1 note Mind the gap.",
                  "512 x 512 x 103 voxels of 0.98 x 0.98 x 2 mm",
                  "MR · gtv+ 1.5 ml · target+ 4.5 ml"):  # fmt: skip
        assert words in page.text.replace("\N{MULTIPLICATION SIGN}", "x")
    cards = [a for tag, a in page.elements if tag == "li" and "data-part" in a]
    parts = a_summary(*entries).split.patients
    assert [one["data-part"] for one in cards] == [parts[e.patient].value for e in entries]


def test_charts_say_what_they_show(mocker: MockerFixture) -> None:
    entries = [an_entry(number) for number in range(12)]
    spread, shares = (mocker.spy(charts_module, name) for name in ("spread", "shares"))
    page = Text(render_overview(a_summary(*entries)))
    volumes = spread.call_args_list[0].args[0]
    parts = a_summary(*entries).split.patients
    for part in Part:
        mine = [entry for entry in entries if parts[entry.patient] is part]
        assert volumes[part] == [entry.structures[0].volume_ml for entry in mine]
    assert sum(map(len, volumes.values())) == 12
    mean, edges = shares.call_args_list[0].args
    assert edges[:2] == [-1024.0, -960.0]
    assert mean[0] == pytest.approx(0.161, abs=0.0005)
    assert sum(mean) == pytest.approx(1.0)
    charts = {
        "GTV volume": "12 values from 0.5 to 6 ml, median 3.25 ml",
        "Target volume": "12 values from 1.5 to 18 ml, median 9.75 ml",
        "Slice distance": "12 values from 1 to 2 mm, median 1.5 mm",
        "Pixel spacing": "12 values from 0.98 to 0.98 mm, median 0.98 mm",
        "Planning CT values": "Mean share of voxels with each value, over 4 cases, logarithmic",
        "Contrast CT values": "Mean share of voxels with each value, over 4 cases, logarithmic",
        "MR values": "Mean share of voxels with each value, over 4 cases, logarithmic",
    }
    assert pictures_of(page, "data:image/svg+xml;base64,") == [
        f"{title}: {says}" for title, says in charts.items()
    ]
    assert all(says in page.text for says in charts.values())
    assert "MR values, % of the window" in page.text


@pytest.mark.parametrize("volumes", [[0.0], [1e-6], [1000.0] * 3, [0.1, 1e5], [1.0, 2.0, 5.0]])
def test_charts_take_any_volumes(volumes: list[float]) -> None:
    entries = [
        an_entry(n, structures=(StructureFacts("gtv+", 1, Role.GTV, 1, volume, 0, 0),))
        for n, volume in enumerate(volumes)
    ]
    page = Text(render_overview(a_summary(*entries)))
    assert ("GTV volume" in page.text) == any(volumes)


def test_every_case_without_files_is_named_as_what_it_is_and_pending_ones_are_counted() -> None:
    others = [
        a_failure(40, "It is odd."),
        a_failure(41, "The GTV is tiny.", State.LEFT_OUT),
        a_failure(42, "The export failed with it: no plan.", State.NOT_EXPORTED),
        a_failure(43, "It is not exported yet.", State.PENDING),
    ]
    summary = a_summary(an_entry(0), *others)
    text = Text(render_overview(summary)).text
    assert summary.verdict == (
        "1 training case of 1 patient; 1 pending; 1 not exported; 1 left out; 1 failed"
    )
    for words in ("failed It is odd.", "left out The GTV is tiny.",
                  "not exported The export failed with it: no plan."):  # fmt: skip
        assert words in text
    assert "c043" not in text  # of a large export whole pages would be


def test_ten_thousand_cases_are_a_page_of_a_few_megabytes(mocker: MockerFixture) -> None:
    """A case more is half a kilobyte more, so that a browser opens any cohort of a clinic."""
    mocker.patch.object(overview, "_charts", return_value=[])  # of a size that is always the same
    few, many = (
        len(render_overview(a_summary(*map(as_named, range(count)))).encode())
        for count in (100, 1100)
    )
    assert (many - few) / 1000 < 700


def as_named(number: int) -> Entry:
    """A case with names as long as real ones."""
    entry = an_entry(number)
    entry = replace(entry, patient=f"p{number // 2:015}", case=f"c{number:015}")
    return replace(entry, thumbnail=f"pictures/{entry.name}.png")


def test_an_empty_dataset_says_so() -> None:
    text = Text(render_overview(a_summary(a_failure(1)))).text
    assert "0 training cases of 0 patients; 1 failed" in text
    assert "No case could be converted." in text


def test_names_are_text_whatever_they_contain() -> None:
    structure = StructureFacts(HOSTILE, 1, Role.GTV, 9, 1.0, 0, 0)
    entry = an_entry(
        1, case_kind=HOSTILE, label2=HOSTILE, structures=(structure,), notes=(HOSTILE,)
    )
    page = Text(render_overview(a_summary(entry, a_failure(2, HOSTILE))))
    assert page.text.count(HOSTILE) >= 6
    harmless = an_entry(1, structures=(replace(structure, name="gtv+"),))
    plain = Text(render_overview(a_summary(harmless, a_failure(2))))
    count = [tag for tag, _ in page.elements].count
    assert count("script") == [tag for tag, _ in plain.elements].count("script") == 1
    assert count("img") == [tag for tag, _ in plain.elements].count("img")
    assert not any(name.startswith("on") for _, a in page.elements for name in a)


def test_nothing_comes_from_elsewhere() -> None:
    html = render_overview(a_summary(*[an_entry(number) for number in range(6)], a_failure(9)))
    pictures = re.compile(r"data:image/svg\+xml;base64,[A-Za-z0-9+/]+=*")
    assert not re.search(r"https?://|//[a-z]|@import|url\(", pictures.sub("", html))
    policy = "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'"
    assert policy in html
    for _, attributes in Text(html).elements:
        for name in ("src", "href"):
            value = attributes.get(name) or "pictures/"
            assert value.startswith(("pictures/", "data:image/svg+xml;"))


# --- in a browser ---------------------------------------------------------------------------


def open_all(page: Any, path: Path) -> None:
    """Open a page with all its pictures: lazy ones load when they come into view."""
    open_page(page, path)
    for picture in page.locator(".cases img").all():
        picture.scroll_into_view_if_needed()
    wait_for(page, "[...document.images].every(i => i.hidden || i.complete)")


def test_opens_from_disk_with_its_pictures(page: Any, tmp_path: Path) -> None:
    write_cohort(tmp_path / "export", 4)

    class Watcher:
        def start(self, cases: int) -> None: ...
        def finish(self, entry: Entry) -> None: ...

    out = tmp_path / "data set ä#1"
    job = DatasetJob(tmp_path / "export", out, Dataset(workers=2))
    summary = build_dataset(job, Watcher())
    moved = tmp_path / "moved"
    out.rename(moved)  # it is handed on as a folder
    open_all(page, moved / "dataset.html")
    assert page.wrong == []
    assert elsewhere(page) == []
    assert page.title() == "Dataset: 4 training cases of 4 patients"
    assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
    sizes = page.evaluate(
        "[...document.querySelectorAll('.cases img')].map(i => [i.naturalWidth, i.naturalHeight])"
    )
    expected = []
    for entry in summary.created:
        with Image.open(moved / entry.thumbnail) as picture:
            expected.append(list(picture.size))
    assert sizes == expected
    shot = tmp_path / "page.png"
    page.screenshot(path=shot, full_page=True)
    with Image.open(shot) as image:
        assert image.width == 1300
        # Something was drawn: bars in the colours of both parts, outlines of GTV and target.
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or ()}
    assert {(0x2F, 0x6D, 0xB5), (0xC2, 0x75, 0x0A)} <= colours


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[DatasetSummary, Path]:
    """A dataset with pictures, and where its page is."""
    out = tmp_path_factory.mktemp("dataset")
    entries = [an_entry(number, notes=("Mind the gap.",) * (number == 3)) for number in range(24)]
    for number, entry in enumerate(entries):
        path = out / entry.thumbnail
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (64, 64), 90 + number).save(path)
    summary = a_summary(*entries, a_failure(40), a_failure(41), a_failure(42, "It is odd: very."))
    write_overview(summary, out / "dataset.html")
    return summary, out / "dataset.html"


def test_filters_show_what_is_asked_for(page: Any, cohort: tuple[DatasetSummary, Path]) -> None:
    summary, path = cohort
    entries = summary.created
    open_page(page, path)
    assert page.wrong == []
    shown, said = page.locator(".cases > li:visible"), page.locator(".shown")
    assert shown.count() == 24
    page.get_by_label("casekind", exact=True).select_option("Glio")
    page.get_by_label("Label2", exact=True).select_option("Kopf")
    of_glio = sum(entry.case_kind == "Glio" for entry in entries)
    said.filter(has_text=f"{of_glio} of 24 cases shown").wait_for()
    assert shown.count() == of_glio
    page.get_by_label("Kind", exact=True).select_option("MR")
    expected = [e for e in entries if e.case_kind == "Glio" and e.kind is Kind.MR]
    said.filter(has_text=f"{len(expected)} of 24 cases shown").wait_for()
    assert shown.count() == len(expected)
    page.get_by_label("Part", exact=True).select_option("test")
    parts = summary.split.patients
    for_test = sum(parts[e.patient] is Part.TEST for e in expected)
    said.filter(has_text=f"{for_test} of 24 cases shown").wait_for()
    assert shown.count() == for_test
    for name in ("casekind", "Label2", "Kind", "Part"):
        page.get_by_label(name, exact=True).select_option("")
    page.get_by_label("Show cases").fill("C007")
    said.filter(has_text="1 of 24 cases shown").wait_for()
    assert shown.count() == 1
    page.get_by_label("Show cases").fill("")
    shown.nth(23).wait_for()
    page.get_by_label("Order").select_option("by GTV, largest first")
    wait_for(page, "document.querySelector('.cases code').textContent.includes('c023')")
    volumes = [float(v or 0) for v in shown.evaluate_all("cs => cs.map(c => c.dataset.gtv)")]
    assert volumes == sorted((e.structures[0].volume_ml for e in entries), reverse=True)


def test_only_what_is_looked_at_is_loaded(page: Any, cohort: tuple[DatasetSummary, Path]) -> None:
    page.set_viewport_size({"width": 800, "height": 300})
    open_page(page, cohort[1])
    page.wait_for_load_state()
    assert sum(url.endswith(".png") for url in page.asked) < 24


def test_without_files_cases_stand_by_their_reason(cohort: tuple[DatasetSummary, Path]) -> None:
    groups = re.findall(r"<summary><b>(\d+)</b> (.*?)</summary>", cohort[1].read_text("utf-8"))
    assert groups == [("2", "The GTV is tiny."), ("1", "It is odd.")]


def test_has_the_fingerprint_of_each_kind() -> None:
    entries = [an_entry(number) for number in (0, 3, 6)] + [an_entry(1)]
    text = Text(render_overview(a_summary(*entries))).text.replace("\N{MULTIPLICATION SIGN}", "x")
    middle = "Planning CT 3 512 x 512 103 (100\N{EN DASH}106) 0.98 1 (1\N{EN DASH}2)"
    # 100 voxels of 512 x 512 x 106, 103 and 100.
    assert f"{middle} 0.00037 (0.00036\N{EN DASH}0.00038)" in text
    assert "Contrast CT 1 512 x 512 101 0.98 2" in text


@pytest.mark.parametrize("width", [390, 800, 1300])
def test_fits_any_window_and_any_sight(
    page: Any, cohort: tuple[DatasetSummary, Path], width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    open_all(page, cohort[1])
    assert is_as_wide_as_its_window(page)
    why = page.get_by_text("It is odd: very.").bounding_box()
    assert 0 <= why["x"] <= why["x"] + why["width"] <= width
    assert barriers(page) == []
