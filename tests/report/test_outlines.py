"""The picture that a physicist checks and the mask that is trained on are one and the same."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.ndimage import binary_dilation, label

from dataset_series import AXIAL, OBLIQUE, Ball, Torus, contours, grid, write_series
from dataset_series import write_structures as write_set
from stardust_esapi.dataset.convert import convert
from stardust_esapi.dataset.pseudonym import Pseudonyms
from stardust_esapi.dataset.tasks import find_tasks
from stardust_esapi.dicom.read_series import read_stack
from stardust_esapi.dicom.read_structure_set import read_structures
from stardust_esapi.mask import rasterise
from stardust_esapi.model import Kind
from stardust_esapi.report.pictures import case_pictures
from stardust_esapi.settings import Dataset

PIXELS = 320
LINE = 9  # pixels: more than the width of a line, less than what it encloses
ORANGE, BLUE = (230, 159, 0), (86, 180, 233)


def middle_of(gtv: np.ndarray) -> int:
    planes = np.flatnonzero(gtv.any(axis=(1, 2)))
    return int(min(planes, key=lambda plane: abs(plane - (planes[0] + planes[-1]) / 2)))


def pixels_of_voxels(drawn: np.ndarray, spacing: tuple[float, float]) -> tuple[np.ndarray, ...]:
    """Where the picture shows the centre of each voxel of a slice: row, column of the picture.

    The picture shows 50 mm to each side of the middle of all that is outlined; of more than 5 cm,
    25 mm more than that.
    """
    found = np.argwhere(drawn)
    low, high = found.min(axis=0), found.max(axis=0)
    half = max(float(((high - low + 1) * spacing).max()) / 2 + 25, 50.0)
    offsets = np.indices(drawn.shape) - ((low + high) / 2)[:, None, None]
    at = (offsets * np.array(spacing)[:, None, None] / half + 1) / 2 * PIXELS - 0.5
    return tuple(at.round().astype(int))


def enclosed(png: bytes, colour: tuple[int, int, int]) -> np.ndarray:
    """What lies within the lines of one colour, an odd number of times."""
    image = imread(io.BytesIO(png))[..., :3] * 255
    line = np.abs(image - colour).max(axis=-1) < 60
    line[PIXELS * 3 // 4 :, : PIXELS // 2] = False  # the legend
    regions, _ = label(~line)
    reached, inside = regions == regions[0, 0], np.zeros_like(line)
    parts = np.unique(regions[~line & ~reached])
    within = False
    while len(parts):  # from the border inwards, over one line at a time
        near = binary_dilation(reached, iterations=LINE)
        crossed = [part for part in parts if (near & (regions == part)).any()]
        assert crossed
        within = not within
        inside |= np.isin(regions, crossed) & within
        reached |= np.isin(regions, crossed)
        parts = np.setdiff1d(parts, crossed)
    return inside


def same(png: bytes, colour: tuple[int, int, int], mask: np.ndarray, at: tuple[np.ndarray, ...]):
    rows, columns = at
    shown = (rows >= 0) & (rows < PIXELS) & (columns >= 0) & (columns < PIXELS)
    assert not mask[~shown].any()
    inside = enclosed(png, colour)
    np.testing.assert_array_equal(inside[rows[shown], columns[shown]], mask[shown])


def test_of_a_whole_export(exported: Path, tmp_path: Path) -> None:
    """From the exported folder, by the two programs that a user runs."""
    checked = 0
    for task in find_tasks(exported):
        if task.problem or task.kind is Kind.MR:
            continue
        entry = convert(task, Dataset(), Pseudonyms(b"k" * 32), tmp_path)
        assert entry.created, entry.reasons
        with np.load(tmp_path / entry.files[0]) as trained:
            gts, (across, down, _) = trained["gts"], trained["spacing"]
        png = case_pictures({task.kind: task.folder}).images[task.kind]
        plane = middle_of(gts == 1)
        gtv, both = gts[plane] == 1, np.isin(gts[plane], (1, 2))  # the target lies around the GTV
        at = pixels_of_voxels(both, (down, across))
        same(png, ORANGE, gtv, at)
        same(png, BLUE, both, at)
        checked += 1
    assert checked >= 3


@pytest.mark.parametrize("axes", [AXIAL, OBLIQUE])
def test_of_a_ring_and_an_island(axes, tmp_path: Path) -> None:
    geometry = grid(axes, (1.5, 1.9, 3.0), (72, 60, 12))
    centre = np.array((12.3, -45.6, 78.9))
    x, y = np.array(geometry.x_direction), np.array(geometry.y_direction)
    series = write_series(tmp_path, geometry, 1000, intercept=-1024)
    ring = contours(Torus(tuple(centre), 17.0, 6.0, np.array([x, y, np.cross(x, y)])), geometry)
    island = contours(Ball(tuple(centre + 36 * x + 4 * y), 6.0), geometry)
    gtv = {
        plane: [*ring.get(plane, ()), *island.get(plane, ())]
        for plane in ring.keys() | island.keys()
    }
    write_set(tmp_path, series, {"gtv+": gtv})
    stack = read_stack(tmp_path)
    (roi,) = read_structures(min(tmp_path.glob("RS*.dcm"))).rois
    mask = rasterise(roi.contours, stack).full(stack.shape)
    plane = middle_of(mask)
    assert label(mask[plane])[1] == 2
    assert label(~mask[plane])[1] == 2
    png = case_pictures({Kind.CT: tmp_path}).images[Kind.CT]
    same(png, ORANGE, mask[plane], pixels_of_voxels(mask[plane], (1.9, 1.5)))
