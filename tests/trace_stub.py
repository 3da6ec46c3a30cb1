"""The stub's own recordings: of every version, and of every mode that it can be put into.

They lie in ``tests/trace/golden``. Where the stub was changed on purpose, ``compare`` says how it
answers now, and ``python tests/trace_stub.py`` records anew.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import pydicom

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "stubs")]

from esapi_stub.build import build
from esapi_stub.database import MODES, configure
from esapi_stub.sample import Phantom, PhantomContrast, PhantomMr, write_phantom
from esapi_stub.surface import VERSIONS
from stardust_esapi.esapi import host
from stardust_esapi.esapi.connect import connect
from stardust_esapi.esapi.write_gate import Approval
from stardust_esapi.record.audit import AuditLog
from stardust_esapi.trace import archive

GOLDEN = ROOT / "tests" / "trace" / "golden"
PATIENT = "0004711"
# So fine that structures can be of high resolution, and few planes.
PHANTOM = Phantom(
    PATIENT,
    size=(260, 260, 5),
    spacing=(0.5, 0.5, 9.0),
    contrast=PhantomContrast(slices=4),
    mr=PhantomMr(size=(20, 20, 4)),
)
LAST = VERSIONS[-1]
CHANGES = {
    **{version: {"version": version} for version in VERSIONS},
    **{
        f"{mode}-{value}".replace(" ", "-"): {"version": LAST, mode: value}
        for mode, values in MODES.items()
        for value in values[1:]
    },
}
"""By name, the settings of the stub that a recording is of."""


def build_stub(folder: Path) -> Path:
    """A stub database with a patient; one slice of the MR has a scale of its own.

    Of which ``GetVoxels`` may give the stored values or those on the scale of the volume.
    """
    write_phantom(folder / "dicom", PHANTOM)
    for path in (folder / "dicom").rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        if dataset.Modality == "MR" and dataset.InstanceNumber == 1:
            dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 2, 0, "US"
            dataset.save_as(path)
    report = build(folder / "dicom", folder / "db")
    assert report.not_taken == ()
    return folder / "db"


def change(template: Path, db: Path, name: str) -> Path:
    """A copy of a stub database, put into what :data:`CHANGES` says."""
    shutil.copytree(template, db)
    configure(db, **CHANGES[name])
    return db


def record(db: Path, out: Path, esapi: str = "stub", patient: str = PATIENT) -> archive.Trace:
    """Record a stub's patient, writes too."""
    approval = Approval(requested=True, host=host.current(), audit=AuditLog(db / "audit.jsonl"))
    archive.record_file(connect(f"{esapi}:{db}"), patient, out, approval, lambda _: None)
    return archive.load(out)


def main() -> None:
    """Record all anew."""
    shutil.rmtree(GOLDEN, ignore_errors=True)
    GOLDEN.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        template = build_stub(folder)
        for name in CHANGES:
            calls, out = folder / "calls", GOLDEN / f"{name}.zip"
            db = change(template, folder / name, name)
            record(db, out)
            # How long it took is of no interest: the same stub gives the same bytes.
            with zipfile.ZipFile(out) as recorded:
                lines = recorded.read(archive.CALLS).decode()
            calls.write_text(re.sub(r'"ms": [\d.]+', '"ms": 0', lines), encoding="utf-8")
            archive.pack(calls, out)


if __name__ == "__main__":
    main()
