"""What a user gets from the stub's own program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from esapi_stub.sample import Phantom
from support import Clinic, Outcome

PHANTOM = Phantom("4711 KM", size=(32, 32, 14))


@pytest.mark.parametrize(
    "arguments", [["list", "nowhere"], ["build", "--dicom", "nowhere", "--db", "db"]]
)
def test_wrong_use_is_a_sentence_and_exit_code_2(
    run_stub: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_stub(*arguments)
    assert done.code == 2, done.text
    assert "nowhere" in done.err
    assert "Traceback" not in done.text


def test_list_names_no_patient(
    clinic_of: Callable[..., Clinic], run_stub: Callable[..., Outcome]
) -> None:
    clinic = clinic_of(PHANTOM)
    done = run_stub("list", clinic.db)
    assert done.code == 0
    for words in (PHANTOM.patient_id, "CT_1", "Plan1", clinic.patients[0].series_uid):
        assert words in done.out
    for name in ("Geheim", "Gerda", "Phantom^Wasser", "Wasser"):
        assert name not in done.out
