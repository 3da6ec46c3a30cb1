"""Tests for a Windows Python: not collected elsewhere. scripts/test-windows runs them under Wine."""

from __future__ import annotations

import os
import platform
import sys

import pytest

collect_ignore_glob = [] if os.name == "nt" else ["test_*.py"]

# Tests that hold on Windows and not under Wine 8, with why. An unexpected success is a failure.
NOT_UNDER_WINE: dict[str, str] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name, why in NOT_UNDER_WINE.items():
            if item.nodeid.split("[")[0].endswith(name):
                item.add_marker(pytest.mark.xfail(reason=f"Wine: {why}", strict=True))


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line of all: on what, and how many."""
    told = config.pluginmanager.get_plugin("terminalreporter").stats
    counts = ", ".join(
        f"{len(told.get(name, ()))} {name}" for name in ("passed", "failed", "error", "skipped")
    )
    print(f"Python {sys.version} on {platform.platform()}: {counts}")  # noqa: T201
