"""An export made through the stub ESAPI, as a site would make it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from esapi_stub.build import build
from esapi_stub.sample import Phantom, PhantomContrast, PhantomMr, write_phantom
from support import row_of, spawn, write_case_list

CONTRAST = Phantom(
    "0000471108150042",
    size=(32, 32, 14),
    contrast=PhantomContrast(slices=12, offset=3.0),
    mr=PhantomMr(size=(24, 24, 10)),
    patient_name="Geheimrat^Gerda",
)
PLAIN = replace(CONTRAST, patient_id="PAT-ÄÖ-778899", contrast=None, mr=None)
MAGNET = replace(CONTRAST, patient_id="A/17.bc-5566", contrast=None)
LOST = replace(PLAIN, patient_id="PAT-LOST-334455")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of an export; for reading only.

    A case with contrast CT and MR, a plain one, one with an MR alone, one that failed (no such
    plan), and the plain one again under other words: the same series and structure set.
    """
    folder = tmp_path_factory.mktemp("export")
    uids = [
        write_phantom(folder / "dicom" / phantom.patient_id.replace("/", "_"), phantom)
        for phantom in (CONTRAST, PLAIN, MAGNET, LOST)
    ]
    build(folder / "dicom", folder / "db")
    contrast, plain, magnet, lost = (row_of(patient) for patient in uids)
    rows = [contrast, plain, magnet, lost | {"PlanID": "Plan9"}, plain | {"PlanID": ""}]
    cases = write_case_list(folder / "cases.csv", rows)
    process = spawn(
        "export", "--cases", cases, "--out", folder / "out", "--esapi", f"stub:{folder / 'db'}",
        "--write",
    )  # fmt: skip
    said, _ = process.communicate()
    assert process.returncode == 1, said  # one failed, as it should
    return folder / "out"
