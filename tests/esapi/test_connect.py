from __future__ import annotations

from pathlib import Path

import pytest

from stardust_esapi.errors import UsageError
from stardust_esapi.esapi.clr_backend import ClrBackend, find_assemblies
from stardust_esapi.esapi.connect import connect

API = "VMS.TPS.Common.Model.API.dll"


def install(root: Path, version: str) -> Path:
    folder = root / version / "esapi" / "API"
    folder.mkdir(parents=True)
    (folder / API).touch()
    return folder


def test_the_newest_esapi_is_found(tmp_path: Path) -> None:
    install(tmp_path / "C", "15.6")
    newest = install(tmp_path / "D", "16.1.3")
    install(tmp_path / "C", "9.0")
    (tmp_path / "C" / "17.0" / "esapi").mkdir(parents=True)
    assert find_assemblies([tmp_path / "C", tmp_path / "D", tmp_path / "absent"]) == newest


def test_no_eclipse_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no Eclipse with ESAPI on this machine"):
        find_assemblies([tmp_path])


def test_assemblies_that_cannot_be_loaded_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be loaded"):
        ClrBackend(install(tmp_path, "15.6"))


@pytest.mark.parametrize("choice", ["", "stub", "stub:", "mosaiq"])
def test_an_unknown_choice(choice: str) -> None:
    with pytest.raises(UsageError, match="--esapi"):
        connect(choice)
