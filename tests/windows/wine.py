"""A plugin of pytest for scripts/test-windows: what fails under Wine, and on what it all ran."""

from __future__ import annotations

import platform
import sys

import pytest

# Beginnings of tests that hold on Windows and not under Wine 8, with why; docs/windows.md has more.
# An unexpected success is a failure.
NOT_UNDER_WINE = {
    "test_a_planted_link_is_refused": "it makes no links that Windows programs see",
    "test_a_key_in_a_console_stops_a_run[CTRL_BREAK_EVENT]": "its C library hears Ctrl-C alone",
    "test_a_name_that_the_consumer_would_not_find[ct.1.dcm]": "it changes no name in case alone",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name, why in NOT_UNDER_WINE.items():
            if item.name.startswith(name):
                item.add_marker(pytest.mark.xfail(reason=f"Wine: {why}", strict=True))


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line of all: on what, and how many."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # a worker
        return
    words = ("passed", "failed", "error", "xfailed", "skipped")
    counts = ", ".join(f"{len(reporter.stats.get(word, ()))} {word}" for word in words)
    reporter.write_line(f"Python {sys.version} on {platform.platform()}: {counts}")
    reporter.flush()
