"""The documentation site: whole, true to the code, and read from the disk without internet."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from browser import a_browser
from esapi_stub import cli
from stand_ins import ROOT
from stardust_esapi import __version__
from stardust_esapi.caselist.column_names import LABELS, MINING, TAIL, USED, USED_AS_CELLS
from stardust_esapi.commands import program
from stardust_esapi.commands.exit_codes import Exit
from stardust_esapi.settings import Settings
from support import PATIENCE

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout
    return folder


class Page(HTMLParser):
    """What a page asks for, where it leads, and what its code and its tables say."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.linked: list[str] = []
        self.ids: set[str] = set()
        self.code: set[str] = set()
        self._in_code = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        if tag == "a":
            self.linked.append(given.get("href", ""))
        elif tag == "link":
            self.asked.append(given.get("href", ""))
        self.asked.append(given.get("src", ""))
        self._in_code = tag == "code"

    def handle_endtag(self, tag: str) -> None:
        self._in_code = False

    def handle_data(self, data: str) -> None:
        if self._in_code:
            self.code.add(data)


def test_no_page_asks_a_server_for_anything_and_every_link_leads_somewhere(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html") if "sample" not in path.parts}
    assert len(pages) > 60
    for path, page in pages.items():
        assert [one for one in page.asked if "//" in one] == [], path
        for target in (*page.asked, *page.linked):
            name, _, anchor = target.partition("#")
            there = (path.parent / name).resolve() if name else path
            if "://" in target:
                continue
            assert there.is_file(), (path, target)
            if anchor and there in pages:
                assert anchor in pages[there].ids, (path, target)


def test_the_reference_names_every_setting_command_option_and_exit_code(site: Path) -> None:
    def keys(model: type[Any]) -> Iterator[str]:
        for name, field in model.model_fields.items():
            yield name
            for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if hasattr(kind, "model_fields") and kind.__name__ != "Peer":
                    yield from keys(kind)

    settings = Page(site / "settings.html").code
    tables = {"caselist", "structures", "rules", "network", "tls", "dataset", "gates"}
    assert set(keys(Settings)) - tables <= settings
    assert {"[[structures.rules]]", "[network.tls]", "[dataset.gates]"} <= settings

    commands = Page(site / "commands.html").code
    flags = {flag for code in commands for flag in code.split("/")}
    for app, name in ((program.app, "stardust-esapi"), (cli.app, "esapi-stub")):
        for command in get_command(app).commands.values():  # type: ignore[attr-defined]
            for one in getattr(command, "commands", {"": command}).values():
                group = "" if one is command else f"{command.name} "
                assert f"{name} {group}{one.name}" in commands
                for parameter in one.params:
                    options = (*parameter.opts, *parameter.secondary_opts)
                    assert {o for o in options if o.startswith("-")} - {"--help", "-h"} <= flags
    output = (site / "output.html").read_text(encoding="utf-8")
    assert [code for code in Exit if f'right;">{code.value}</td>' not in output] == []


def test_every_column_of_the_list_is_explained() -> None:
    text = (DOCS / "list.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| (yes|no) \| ", text, re.MULTILINE)
    assert [name for name, _ in rows] == [*MINING, *LABELS, *TAIL]
    assert {name for name, used in rows if used == "yes"} == {*USED, *USED_AS_CELLS}


def test_typical_problems_are_in_the_words_of_the_code() -> None:
    said = []
    for path in (ROOT / "stardust_esapi").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                constants = (v.value if isinstance(v, ast.Constant) else "…" for v in node.values)
                said.append("".join(map(str, constants)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.append(node.value)
    text = (DOCS / "problems.md").read_text(encoding="utf-8")
    messages = re.findall(r"^\| \*([^|]+)\* \|", text, re.MULTILINE)
    assert len(messages) > 40
    for message in messages:
        pattern = re.compile(".*".join(re.escape(part.strip()) for part in message.split("…")))
        assert any(pattern.search(one) for one in said), message


def test_pictures_are_small() -> None:
    pictures = list(DOCS.rglob("*.png"))
    assert sum(path.stat().st_size for path in pictures) < 400_000


def test_the_citation_is_one() -> None:
    """What the Citation File Format 1.2.0 asks for, and what GitHub makes a citation of."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert all(author.get("name") for author in citation["authors"])
    assert citation["version"] == __version__
    assert citation["license"] == "MIT"
    released = citation.get("date-released")
    assert released is None or isinstance(released, date)


def test_the_search_works_from_the_disk(site: Path) -> None:
    with a_browser() as browser:
        view = browser.new_page(viewport={"width": 390, "height": 800})
        view.set_default_timeout(1000 * PATIENCE)
        asked: list[str] = []
        view.on("request", lambda request: asked.append(request.url))
        view.on("pageerror", lambda error: asked.append(str(error)))
        view.goto((site / "decisions" / "0017-ids-that-were-numbers.html").as_uri())
        wide = view.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, "a phone would scroll to the side"
        view.set_viewport_size({"width": 1300, "height": 900})
        view.keyboard.press("/")
        view.keyboard.type("scientific notation")
        found = view.locator(".md-search-result__link").first
        found.wait_for()
        assert "list.html" in (found.get_attribute("href") or "")
    assert [one for one in asked if not one.startswith(("file:", "data:", "about:"))] == []
