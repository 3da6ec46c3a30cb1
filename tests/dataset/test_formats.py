"""One case in every format: readers that know nothing of one another find the same in each."""

from __future__ import annotations

from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pytest
import SimpleITK

from consumer.nnunet import read_raw
from consumer.segmentation import read_segmentation
from dataset_series import (
    AXIAL,
    FEET_FIRST,
    OBLIQUE,
    Ball,
    contours,
    grid,
    write_series,
    write_structures,
)
from stardust_esapi.dataset import nnunet
from stardust_esapi.dataset.convert import convert
from stardust_esapi.dataset.layout import place
from stardust_esapi.dataset.pseudonym import Pseudonyms
from stardust_esapi.dataset.split import Part, assign
from stardust_esapi.dataset.tasks import Task
from stardust_esapi.model import Kind
from stardust_esapi.settings import Dataset, Format

CENTRE = (12.3, -45.6, 78.9)
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def values(plane: int) -> np.ndarray:
    """HU of which no two neighbours are alike, in air."""
    hu = np.random.default_rng(plane).integers(-100, 300, (30, 36))
    hu[:3] = -1000
    return hu


@pytest.mark.parametrize("axes", [AXIAL, FEET_FIRST, OBLIQUE])
def test_all_formats_hold_the_same_case(axes, tmp_path: Path):
    geometry = grid(axes, (0.9, 1.1, 2.5), (36, 30, 14), CENTRE)
    source, out = tmp_path / "CT_Export" / "0815" / "1.2", tmp_path / "dataset"
    aside = tuple(geometry.to_patient((31, 15, 7)).tolist())
    bodies = {"Niere": Ball(aside, 5), "gtv+": Ball(CENTRE, 5), "target+": Ball(CENTRE, 9)}
    series = write_series(source, geometry, values)
    write_structures(source, series, {n: contours(body, geometry) for n, body in bodies.items()})
    settings = Dataset(formats=tuple(Format), dicom=True)
    task = Task("0123456789abcdef", Kind.CT, "0815", source, source)
    entry = convert(task, settings, Pseudonyms(b"k" * 32), out)
    assert entry.created, entry.reasons
    entry = place(entry, out, Part.TRAIN)
    nnunet.write_documents(out, [entry], assign([entry], 0.5, seed=0))
    assert all((out / name).exists() for name in entry.files)

    with np.load(*out.rglob("*.npz")) as npz:
        gts, names = npz["gts"], npz["label_names"].tolist()
        affine = np.eye(4)
        affine[:3, :3] = npz["direction"].reshape(3, 3) * npz["spacing"]
        affine[:3, 3] = npz["origin"]
    assert names == ["background", "gtv+", "target+", "Niere_neg+"]
    assert np.unique(gts).tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose((affine @ (0, 0, 7, 1))[:3], geometry.plane_position(7), atol=1e-4)
    hu = np.stack([values(plane) for plane in range(14)])

    name = f"{entry.name}.nii.gz"
    for path, expected in ((out / "train/labels" / name, gts), (out / "train/images" / name, hu)):
        nifti = nibabel.load(path)
        np.testing.assert_array_equal(np.asarray(nifti.dataobj).T, expected)
        np.testing.assert_allclose(RAS_TO_LPS @ nifti.affine, affine, atol=1e-3)
        np.testing.assert_array_equal(
            SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path)), expected
        )

    [raw] = read_raw(out / "nnunet").values()
    assert raw.channel == "CT"
    assert raw.labels == {"background": 0, "gtv+": 1, "target+": 2}
    [case] = raw.training.values()
    np.testing.assert_array_equal(case.labels.T, np.where(gts == 3, 0, gts))
    np.testing.assert_array_equal(case.image.T, hu)
    np.testing.assert_allclose(case.affine, affine, atol=1e-3)

    [copy] = (out / "dicom").glob("*/*")
    read = read_segmentation(copy)
    assert [one.label for one in read.segments] == names[1:]
    np.testing.assert_array_equal(read.labels, gts)
    np.testing.assert_allclose(read.affine, affine, atol=1e-3)
    volume = highdicom.seg.segread(read.path).get_volume(combine_segments=True)
    planes = np.argwhere(gts)  # z, y, x; the volume's own axes may lie otherwise
    there = np.column_stack([planes[:, ::-1], np.ones(len(planes))]) @ affine.T
    at = np.rint(there @ np.linalg.inv(volume.affine).T)[:, :3].astype(int)
    np.testing.assert_array_equal(volume.array[tuple(at.T)], gts[gts > 0])
    assert np.count_nonzero(volume.array) == len(planes)
