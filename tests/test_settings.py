from __future__ import annotations

from pathlib import Path

import pytest

from stardust_esapi.choices import EngineName, OnExisting
from stardust_esapi.errors import UsageError
from stardust_esapi.model import Kind
from stardust_esapi.settings import Settings, Then, load_settings


def test_defaults(tmp_path: Path) -> None:
    settings = load_settings(folder=tmp_path)
    assert settings.model_dump() == Settings().model_dump()
    assert settings.kinds == (Kind.CT, Kind.KM, Kind.MR)
    assert settings.engine is EngineName.ESAPI
    assert settings.on_existing is OnExisting.STOP


def test_a_flag_beats_the_environment_beats_toml_beats_ini(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.ini").write_text("COUNTER=4\nEXPORT_MR=false\nEXPORT_DICOM=false\n")
    (tmp_path / "stardust-esapi.toml").write_text('limit = 3\nengine = "esapi"\n')
    settings = load_settings(folder=tmp_path)
    assert (settings.limit, settings.engine) == (3, EngineName.ESAPI)
    assert settings.kinds == (Kind.CT, Kind.KM)
    monkeypatch.setenv("STARDUST_LIMIT", "2")
    monkeypatch.setenv("STARDUST_KINDS", "ct,mr")
    settings = load_settings(folder=tmp_path)
    assert settings.limit == 2
    assert settings.kinds == (Kind.CT, Kind.MR)
    settings = load_settings(flags={"limit": 1, "kinds": "km", "engine": None}, folder=tmp_path)
    assert settings.limit == 1
    assert settings.kinds == (Kind.KM,)


@pytest.mark.parametrize(
    "text",
    [
        "EXPORT_DICOM=true\nEXPORT_MR=false\nCOUNTER=20\n",
        "[Settings]\nexport_dicom = TRUE ; images\nExport_MR = no\nCOUNTER = 20 # patients\n",
        "\ufeffEXPORT_MR=0\nCOUNTER=20",
    ],
)
def test_the_old_settings_ini(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.ini"
    path.write_text(text, encoding="utf-8")
    settings = load_settings(path)
    assert settings.engine is EngineName.ESAPI
    assert settings.kinds == (Kind.CT, Kind.KM)
    assert settings.limit == 20


def test_export_dicom_false_prepares_only(tmp_path: Path) -> None:
    path = tmp_path / "settings.ini"
    path.write_text("EXPORT_DICOM=false")
    assert load_settings(path).engine is EngineName.NONE


def test_a_clinic_changes_words_without_code(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        """
        [structures]
        gtv_label = "gtv+"
        [[structures.rules]]
        name = "Hilfsstruktur"
        when = "starts-with"
        words = ["x_"]
        [[structures.rules]]
        name = "Endung"
        when = "ends-with"
        words = ["_RT"]
        then = "remove"
        """
    )
    rules = load_settings(path).structures.rules
    assert [rule.name for rule in rules] == ["Hilfsstruktur", "Endung"]
    assert rules[1].then is Then.REMOVE


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("limit = 0", ["limit"]),
        ("writ = true", ["writ"]),
        ("write = true", ["write"]),
        ('kinds = ["pet"]', ["kinds"]),
        ("limit = ", ["own.toml"]),
        ('[structures]\ngtv_label = "a label that is too long"', ["gtv_label"]),
        ('[structures.types]\nBOLUS = "BOLUS"', ["BOLUS", "AVOIDANCE"]),
        (
            '[[structures.rules]]\nname="a"\nwhen="contains"\nwords=["x"]\nthen="remove"',
            ["rules", "ends-with"],
        ),
        ('[[structures.rules]]\nname="a"\nwhen="contains"\nwords=[""]', ["rules", "empty word"]),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, names: list[str]) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_settings(path)
    for name in names:
        assert name in str(caught.value)


def test_a_missing_file_and_a_wrong_truth(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no settings file"):
        load_settings(tmp_path / "absent.toml")
    path = tmp_path / "settings.ini"
    path.write_text("EXPORT_MR=maybe")
    with pytest.raises(UsageError, match="EXPORT_MR"):
        load_settings(path)
