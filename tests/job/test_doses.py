"""Doses and plans, whole ways: through ESAPI, over the network, into a dataset.

The phantom's dose is a formula, and so is its DVH: in a ball of radius R around its middle, the
share s with the highest doses is a ball of radius R * s^(1/3).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from consumer.doses import dose_to_volume, points_in, read_rtdose
from consumer.reader import read_folder
from dicom_peers import free_port
from esapi_stub.build import build
from esapi_stub.daemon import Daemon
from esapi_stub.database import configure
from esapi_stub.sample import (
    PatientUids,
    Phantom,
    PhantomDose,
    PhantomMr,
    default_structures,
    write_phantom,
)
from stardust_esapi.record.ready_list import read_ready_list
from support import PATIENCE, Clinic, Outcome, row_of, write_case_list

Run = Callable[..., Outcome]

DOSE = PhantomDose()
MIDDLE = (-20.0, 10.0, 3.0)  # of GTV1 and PTV1, whose radii are 9 and 14 mm
# Oblique, so that no axis can be taken for another; fine, so that the mask is a ball.
PHANTOM = Phantom(
    "D 007",
    dose=DOSE,
    image_orientation=(0.96, 0.28, 0.0, -0.224, 0.768, 0.6),
    size=(56, 52, 44),
    spacing=(1.5, 1.5, 1.5),
    structures=tuple(s for s in default_structures() if s.dicom_type in ("GTV", "PTV")),
)
SMALL = Phantom(
    "D-008",
    size=(32, 32, 14),
    dose=DOSE,
    mr=PhantomMr(size=(24, 24, 10)),
)


def gray(points: np.ndarray) -> np.ndarray:
    """The phantom's dose, Gy, at points (…, 3), mm."""
    return at_radius(np.linalg.norm(points - np.array(MIDDLE), axis=-1))


def at_radius(distance: np.ndarray | float) -> np.ndarray:
    """The same at distances from its middle, mm."""
    return np.asarray(DOSE.highest * np.exp(-((np.asarray(distance) / DOSE.width) ** 2) / 2))


def clinic_at(folder: Path, phantom: Phantom) -> Clinic:
    uids = write_phantom(folder / "dicom", phantom)
    build(folder / "dicom", folder / "db", version="18.1")
    return Clinic(folder / "db", (uids,))


@dataclass(frozen=True)
class Exported:
    """A case exported through ESAPI."""

    clinic: Clinic
    out: Path
    said: Outcome

    @property
    def uids(self) -> PatientUids:
        return self.clinic.patients[0]

    @property
    def dose_folder(self) -> Path:
        [manifest] = (self.out / "DOSE_Export").glob("*/*/manifest.json")
        return manifest.parent


def export(run: Run, clinic: Clinic, out: Path, *flags: object) -> Exported:
    cases = write_case_list(out.with_suffix(".csv"), [row_of(clinic.patients[0])])
    said = run("export", "--cases", cases, "--esapi", clinic.esapi, "--out", out, "--write", *flags)
    return Exported(clinic, out, said)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """For reading only."""
    return clinic_at(tmp_path_factory.mktemp("small"), SMALL)


def test_the_dose_through_esapi_is_the_stubs(run: Run, tmp_path: Path) -> None:
    done = export(run, clinic_at(tmp_path, PHANTOM), tmp_path / "out", "--kinds", "ct,dose")
    assert done.said.code == 0, done.said.text
    folder = done.dose_folder
    assert folder.parent.name == PHANTOM.patient_id
    read = read_rtdose(folder)
    ds = read.dataset
    [source] = [
        d
        for d in map(pydicom.dcmread, (tmp_path / "dicom").glob("*.dcm"))
        if d.Modality == "RTDOSE"
    ]
    most = 0.001 * DOSE.highest

    # pydicom, by voxel and by the formula at the places that the file itself gives
    stored = source.pixel_array * float(source.DoseGridScaling)
    assert np.abs(read.gray - stored).max() <= most
    assert np.abs(read.gray - gray(read.voxels())).max() <= most

    # SimpleITK, at a voxel in no corner
    image = sitk.ReadImage(str(folder / f"RD.{ds.SOPInstanceUID}.dcm"))
    voxel = (20, 11, 17)
    point = np.array(image.TransformIndexToPhysicalPoint(voxel))
    scaled = image.GetPixel(voxel) * float(image.GetMetaData("3004|000e"))
    assert scaled == pytest.approx(float(gray(point)), abs=most)

    # whose it is, and of what
    for keyword in (
        *("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"),
        *("PatientID", "PatientName", "DoseUnits", "DoseSummationType"),
    ):
        assert ds[keyword].value == source[keyword].value, keyword
    [plan] = ds.ReferencedRTPlanSequence
    assert plan.ReferencedSOPInstanceUID == done.uids.plan_uid
    [overview] = ds.PlanOverviewSequence
    [drawn] = overview.ReferencedStructureSetSequence
    assert drawn.ReferencedSOPInstanceUID == done.uids.structure_set_uid

    # the DVH of the exported target on the exported dose, by formula and by numbers
    [ct] = done.out.glob("CT_Export/*/*")
    target = read_folder(ct)
    assert target.label_2 is not None
    doses = read.at(points_in(target.label_2.mask, target))
    for share in (0.02, 0.5, 0.95):
        expected = float(at_radius(14 * share ** (1 / 3)))
        assert dose_to_volume(doses, share) == pytest.approx(expected, rel=0.01), share
    radii = (np.arange(2000) + 0.5) / 2000 * 14
    assert doses.mean() == pytest.approx(np.average(at_radius(radii), weights=radii**2), rel=0.01)


@pytest.mark.parametrize(
    ("shown", "state", "words"),
    [
        ("centigray", 0, ""),
        ("offset", 0, ""),
        ("relative", 0, "The dose is in percent"),
        ("backwards", 1, "is not what Eclipse gives for their places"),
        ("of a fraction", 1, "it may be of one fraction"),
        ("without prescription", 1, "A plan without a prescription has none in Gy"),
        ("not valid", 1, "The dose was left out. The dose of plan Plan1 is not valid"),
        ("none", 1, "The dose was left out. Plan Plan1 has no dose"),
    ],
)
def test_whatever_eclipse_shows_is_exported_right_or_said(
    run: Run, small: Clinic, tmp_path: Path, shown: str, state: int, words: str
) -> None:
    clinic = replace(small, db=shutil.copytree(small.db, tmp_path / "db"))
    configure(clinic.db, doses=shown)
    done = export(run, clinic, tmp_path / "out", "--kinds", "dose,ct")
    assert (done.said.code, words in " ".join(done.said.text.split())) == (state, True)
    if shown in ("centigray", "offset", "relative"):
        read = read_rtdose(done.dose_folder)
        per_gray = 2.0 if shown == "relative" else 1.0  # 50 Gy are 100 %
        assert np.abs(read.gray - per_gray * gray(read.voxels())).max() <= 0.05 * per_gray
        assert read.dataset.DoseUnits == ("RELATIVE" if shown == "relative" else "GY")
    else:
        assert not list((done.out / "DOSE_Export").glob("*"))


def test_a_dose_comes_to_what_was_exported_before(run: Run, tmp_path: Path) -> None:
    clinic = clinic_at(tmp_path, SMALL)
    first = export(run, clinic, tmp_path / "out", "--kinds", "ct,mr")
    [ct] = first.out.glob("CT_Export/*/*/manifest.json")
    before = ct.stat().st_mtime_ns
    again = export(run, clinic, tmp_path / "out", "--kinds", "ct,mr,dose")
    assert (first.said.code, again.said.code) == (0, 0), again.said.text
    assert ct.stat().st_mtime_ns == before
    assert read_rtdose(again.dose_folder).gray.max() > 50
    assert run("verify", again.out).code == 0

    # The dataset has it where it is asked for: on the CT, and through the registration on the MR.
    for name, flags in (("plain", ()), ("dosed", ("--dose",))):
        made = ("--from", again.out, "--out", tmp_path / name, "--workers", 1)
        said = run("dataset", *made, *flags)
        assert said.code == 0, said.text
    assert all("dose" not in np.load(path) for path in (tmp_path / "plain").rglob("*.npz"))
    files = list((tmp_path / "dosed").rglob("*.npz"))
    assert len(files) == 2
    for path in files:
        case = np.load(path)
        assert case["dose"].dtype == np.float32
        assert case["dose"].shape == case["imgs"].shape
        # The labels lie where the dose is known by formula, whatever the frame of reference.
        for label, radius in ((1, 9.0), (2, 14.0)):
            inside = case["dose"][case["gts"] == label]
            assert inside.max() <= DOSE.highest
            assert inside.min() >= at_radius(radius + 3)
    [mean] = {round(float(np.load(p)["dose"][np.load(p)["gts"] == 1].mean())) for p in files}
    assert mean == 52


def test_dose_and_plan_over_the_network(run: Run, small: Clinic, tmp_path: Path) -> None:
    [uids] = small.patients
    clinic = replace(small, db=shutil.copytree(small.db, tmp_path / "db"))
    port = free_port()
    with Daemon(clinic.db, destinations={"STARDUST": ("127.0.0.1", port)}) as daemon:
        peer = ("--peer", f"VMSDBD1@127.0.0.1:{daemon.port}", "--port", port)
        done = export(
            run, clinic, tmp_path / "out", "--engine", "qr", "--kinds", "ct,dose,plan", *peer
        )
        assert done.said.code == 0, done.said.text
        listed = done.out / "export_list.csv"
        asked = {request.kind.value: request for request in read_ready_list(listed)}
        assert (asked["DOSE"].dose_uid, asked["DOSE"].plan_uid) == (uids.dose_uid, uids.plan_uid)
        assert asked["PLAN"].plan_uid == uids.plan_uid
        said = run(
            "transfer", "--list", listed, "--out", tmp_path / "again", *peer
        )  # fmt: skip
        assert said.code == 0, said.text
    source = {
        d.SOPInstanceUID: d for d in map(pydicom.dcmread, (small.db.parent / "dicom").glob("*.dcm"))
    }
    for root in (done.out, tmp_path / "again"):
        for kind, prefix, uid in (("DOSE", "RD", uids.dose_uid), ("PLAN", "RP", uids.plan_uid)):
            [path] = (root / f"{kind}_Export").glob("*/*/*.dcm")
            assert path.name == f"{prefix}.{uid}.dcm"
            assert path.parent.name == source[uid].SeriesInstanceUID
            assert pydicom.dcmread(path) == source[uid]


def test_a_plan_is_not_asked_of_esapi(run: Run, small: Clinic, tmp_path: Path) -> None:
    done = export(run, small, tmp_path / "out", "--kinds", "ct,plan")
    assert done.said.code == 2
    assert "--engine qr or dcmtk), or take plan out of --kinds" in done.said.text
    assert not done.out.exists()


def test_a_row_without_a_plan_has_no_dose(run: Run, small: Clinic, tmp_path: Path) -> None:
    clinic = replace(small, db=shutil.copytree(small.db, tmp_path / "db"))
    row = row_of(clinic.patients[0], PlanID="")
    cases = write_case_list(tmp_path / "cases.csv", [row])
    given = ("--cases", cases, "--esapi", clinic.esapi, "--out", tmp_path / "out", "--write")
    said = run("export", *given, "--kinds", "ct,dose")
    assert (said.code, "Fill in PlanID" in said.text) == (1, True), said.text
    said = run("export", *given, "--kinds", "dose", "--on-missing", "skip")
    assert (said.code, "there is no dose to export" in said.text) == (1, True), said.text


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARDUST_NETWORK__TIMEOUT", str(PATIENCE))
