"""Tests for a Windows Python: not collected elsewhere. scripts/test-windows runs them."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.name == "nt" else ["test_*.py"]
