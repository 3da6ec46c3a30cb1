"""A folder with a dose or a plan: what is one, and what is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from esapi_stub.sample import Phantom, PhantomDose, write_phantom
from stardust_esapi.errors import VerifyError
from stardust_esapi.model import Kind, TransferRequest
from stardust_esapi.verify.inspect import inspect_folder

PHANTOM = Phantom("0042", size=(8, 8, 4), dose=PhantomDose(size=(6, 5, 4), spacing=(20, 20, 20)))


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, tuple[TransferRequest, bytes]]:
    """The requests of both, and the files."""
    folder = tmp_path_factory.mktemp("phantom")
    uids = write_phantom(folder, PHANTOM)
    found = {}
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        for kind, uid in ((Kind.DOSE, uids.dose_uid), (Kind.PLAN, uids.plan_uid)):
            if ds.SOPInstanceUID == uid:
                request = TransferRequest(
                    kind, "0042", "Plan1", ds.StudyInstanceUID, ds.SeriesInstanceUID, images=1,
                    plan_uid=uids.plan_uid, dose_uid=uids.dose_uid if kind is Kind.DOSE else "",
                )  # fmt: skip
                found[kind] = request, path.read_bytes()
    return found


NAMES = {Kind.DOSE: "RD.1.dcm", Kind.PLAN: "RP.1.dcm"}


@pytest.mark.parametrize("kind", NAMES)
def test_a_dose_and_a_plan_are_proven(requests, tmp_path: Path, kind: Kind) -> None:
    request, data = requests[kind]
    (tmp_path / NAMES[kind]).write_bytes(data)
    inspected = inspect_folder(tmp_path, request, "case1")
    [file] = inspected.manifest.files
    assert (file.name, file.sop_instance_uid) == (NAMES[kind], request.object_uid)
    assert (inspected.remarks, len(inspected.persons)) == ((), 1)


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        (Kind.DOSE, {"dose_uid": "1.2.3"}, "is another dose .* than asked for"),
        (Kind.PLAN, {"plan_uid": "1.2.3"}, "is another plan .* than asked for"),
        (Kind.DOSE, {"plan_uid": "1.2.3"}, r"is not the dose of plan 1\.2\.3 alone"),
        (Kind.DOSE, {"patient_id": "0043"}, "is of another patient"),
        (Kind.DOSE, {"study_uid": "1.2.3"}, "is of another study"),
        (Kind.PLAN, {"series_uid": "1.2.3"}, "is of another series"),
    ],
)
def test_another_one_than_asked_for(
    requests, tmp_path: Path, kind: Kind, changes: dict[str, str], words: str
) -> None:
    request, data = requests[kind]
    (tmp_path / NAMES[kind]).write_bytes(data)
    with pytest.raises(VerifyError, match=words):
        inspect_folder(tmp_path, replace(request, **changes), "case1")


def test_what_does_not_belong_beside_it(requests, tmp_path: Path) -> None:
    (request, dose), (_, plan) = requests[Kind.DOSE], requests[Kind.PLAN]
    (tmp_path / "RP.1.dcm").write_bytes(plan)
    with pytest.raises(VerifyError, match=r"RP\.1\.dcm is no dose.*the dose .* is missing"):
        inspect_folder(tmp_path, request, "case1")
    (tmp_path / "RP.1.dcm").unlink()
    for name in ("RD.1.dcm", "RD.2.dcm"):
        (tmp_path / name).write_bytes(dose)
    with pytest.raises(VerifyError, match="there are 2 doses instead of one"):
        inspect_folder(tmp_path, request, "case1")
