"""A headless Chromium, and what every page is held to in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import PATIENCE, until

LEVEL_AA = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")


@contextmanager
def a_browser() -> Iterator[Any]:
    """A headless Chromium."""
    import playwright.sync_api as playwright

    chromium = next((p for n in ("chromium", "google-chrome") if (p := shutil.which(n))), None)
    assert chromium, "there is no Chromium here: scripts/test installs it"
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"], timeout=1000 * PATIENCE
        )
        yield browser
        browser.close()


@contextmanager
def a_page() -> Iterator[Any]:
    """A page that notes what goes wrong: messages, failed requests, any that is not of a file."""
    with a_browser() as browser:
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        page.set_default_timeout(1000 * PATIENCE)
        page.wrong = []
        page.asked = []
        page.on("console", lambda message: page.wrong.append(message.text))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("requestfailed", lambda request: page.wrong.append(request.url))
        page.on("request", lambda request: page.asked.append(request.url))
        yield page


def open_page(page: Any, path: Path) -> None:
    """Open a page for the first time: what was asked for on it before is not asked for."""
    page.goto("about:blank")
    page.wrong.clear()
    page.asked.clear()
    page.goto(path.as_uri())


def wait_for(page: Any, expression: str) -> None:
    """Wait until an expression is true.

    ``page.wait_for_function`` asks from within the page, whose policy forbids that from the second
    time on.
    """
    until(lambda: page.evaluate(expression))


def elsewhere(page: Any) -> list[str]:
    """What was asked of anything but files and the page itself."""
    return [url for url in page.asked if not url.startswith(("file:", "data:", "about:"))]


def barriers(page: Any) -> list[str]:
    """What axe-core finds against WCAG 2.2 AA, in light and in dark."""
    from axe_playwright_python.sync_playwright import Axe

    found = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        said = Axe().run(page, options={"runOnly": LEVEL_AA}).response
        assert said["passes"]
        found += [
            f"{scheme}: {violation['help']}: {node['html'][:200]}"
            for violation in said["violations"]
            for node in violation["nodes"]
        ]
    page.emulate_media(color_scheme="light")
    return found


def is_as_wide_as_its_window(page: Any) -> bool:
    """Whether nothing has to be scrolled sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
