"""Whatever Eclipse does where nobody knows what it does: the same case comes out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from consumer.reader import read_folder
from esapi_stub.build import build
from esapi_stub.database import MODES, configure
from esapi_stub.sample import Phantom, PhantomContrast, PhantomMr, Sphere, write_phantom
from esapi_stub.surface import VERSIONS
from support import Clinic, Outcome, row_of, write_case_list

Run = Callable[..., Outcome]

# The contrast CT lies on other planes than the planning CT.
PHANTOM = Phantom(
    "0815", size=(48, 48, 20), contrast=PhantomContrast(), mr=PhantomMr(size=(24, 24, 10))
)
GTV_ML = Sphere((0, 0, 0), 9).volume
ALL_AT_ONCE = {name: known[-1] for name, known in MODES.items()} | {
    "slice_voxels": "as in the volume"
}
ECLIPSES = [
    *({"version": version} for version in VERSIONS),
    *({"version": "16.1", name: value} for name, known in MODES.items() for value in known[1:]),
    *({"version": version} | ALL_AT_ONCE for version in VERSIONS),
]


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    folder = tmp_path_factory.mktemp("clinic")
    uids = write_phantom(folder / "dicom", PHANTOM)
    build(folder / "dicom", folder / "db")
    return Clinic(folder / "db", (uids,))


@pytest.mark.parametrize(
    "eclipse", ECLIPSES, ids=lambda eclipse: ", ".join(map(str, eclipse.values()))
)
def test_a_case_comes_out_whole(
    clinic: Clinic, run: Run, tmp_path: Path, eclipse: dict[str, str]
) -> None:
    db = shutil.copytree(clinic.db, tmp_path / "db")
    configure(db, **eclipse)
    [uids] = clinic.patients
    cases = write_case_list(tmp_path / "cases.csv", [row_of(uids)])
    said = run(
        *("export", "--cases", cases, "--esapi", f"stub:{db}", "--out", tmp_path / "out"),
        "--write",
    )
    assert said.code == 0, said.text
    source = {}
    for path in (clinic.db.parent / "dicom").glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        source[dataset.SOPInstanceUID] = dataset
    shows_uids = eclipse["version"] != "15.6"
    gives_voxels = eclipse.get("slice_voxels", MODES["slice_voxels"][0]) != "refused"
    for kind, series in (
        ("CT", uids.series_uid),
        ("KM", uids.km_series_uid),
        ("MR", uids.mr_series_uid),
    ):
        folder = tmp_path / "out" / f"{kind}_Export" / "0815" / series
        images = [pydicom.dcmread(path) for path in folder.glob("[CM][TR]*.dcm")]
        wanted = [d for d in source.values() if d.SeriesInstanceUID == series]
        assert len(images) == len(wanted)
        own = {image.SOPInstanceUID for image in images} == {d.SOPInstanceUID for d in wanted}
        assert own == (shows_uids and gives_voxels)
        by_height = {tuple(np.round(d.ImagePositionPatient, 3)): d for d in wanted}
        for image in images:
            original = by_height[tuple(np.round(image.ImagePositionPatient, 3))]
            assert np.array_equal(shown(image), shown(original))
            assert not own or image.SOPInstanceUID == original.SOPInstanceUID
        if kind != "MR":
            found = read_folder(folder)
            assert found.label_1.name == "gtv+"
            ml = found.label_1.mask.sum() * np.prod(found.spacing) / 1000
            assert ml == pytest.approx(GTV_ML, rel=0.15)
    [registration] = [
        pydicom.dcmread(path) for path in (tmp_path / "out" / "MR_Export").rglob("RE*.dcm")
    ]
    [way] = [
        item.MatrixRegistrationSequence[0].MatrixSequence[0]
        for item in registration.RegistrationSequence
        if item.FrameOfReferenceUID == uids.mr_frame_of_reference_uid
    ]
    matrix = np.array(way.FrameOfReferenceTransformationMatrix, dtype=float).reshape(4, 4)
    assert matrix[:3, 3] == pytest.approx(PhantomMr().translation, abs=1e-6)


def shown(image: pydicom.Dataset) -> np.ndarray:
    slope, intercept = image.get("RescaleSlope", 1), image.get("RescaleIntercept", 0)
    return image.pixel_array * float(slope) + float(intercept)
