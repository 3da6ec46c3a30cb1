from __future__ import annotations

import math

import pytest

from esapi_stub import system
from esapi_stub.types import Color, DoseUnit, DoseValue, SeriesModality, VVector


def test_exceptions_read_like_dotnet() -> None:
    for name in (
        *("ApplicationException", "InvalidOperationException", "ArgumentException"),
        *("ArgumentNullException", "ArgumentOutOfRangeException", "NullReferenceException"),
        *("ObjectDisposedException", "AccessViolationException", "NotImplementedException"),
    ):
        kind = getattr(system, name)
        error = kind("what happened")
        assert f"{kind.__module__}.{kind.__name__}" == f"System.{name}"
        assert isinstance(error, system.Exception)
        assert isinstance(error, Exception)
        assert (error.Message, str(error)) == ("what happened", "what happened")
    assert issubclass(system.ArgumentOutOfRangeException, system.ArgumentException)
    assert issubclass(system.ObjectDisposedException, system.InvalidOperationException)


def test_dates() -> None:
    date = system.parse_dicom_date("20240131", "235901.123")
    assert date == system.DateTime(2024, 1, 31, 23, 59, 1)
    assert date.ToString("yyyyMMdd HHmmss") == "20240131 235901"
    assert str(date) == "2024-01-31T23:59:01"
    assert system.parse_dicom_date("2024.01.31") == system.DateTime(2024, 1, 31)
    assert system.parse_dicom_date("") is None
    assert system.parse_dicom_date("20241399") is None


def test_clock_can_be_set(monkeypatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert str(system.now()) == "2023-11-14T22:13:20"
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert system.now().Year >= 2024


def test_vectors() -> None:
    one, two = VVector(1, 2, 3), VVector(4, 6, 3)
    assert two - one == VVector(3, 4, 0)
    assert (two - one).Length == VVector.Distance(one, two) == 5
    assert 2 * one == one * 2 == one + one
    assert two / 2 == VVector(2, 3, 1.5)
    one.ScaleToUnitLength()
    assert math.isclose(one.ScalarProduct(one), 1)
    two[1] = 9
    assert (two.y, two[1]) == (9, 9)
    with pytest.raises(system.ArgumentOutOfRangeException):
        two[3]
    with pytest.raises(TypeError):
        list(two)


def test_enums_show_their_names() -> None:
    assert str(SeriesModality.CT) == f"{SeriesModality.CT}" == SeriesModality.CT.ToString() == "CT"
    assert int(SeriesModality.REG) == 7


def test_colors_are_bytes() -> None:
    assert Color.FromRgb(1, 2, 3) == Color.FromArgb(255, 1, 2, 3)
    with pytest.raises(OverflowError):
        Color.FromRgb(1, 2, 256)


def test_doses() -> None:
    assert DoseValue(50.0, DoseUnit.Gy).ToString() == "50.000 Gy"
    assert DoseValue.UndefinedDose().IsUndefined()
