from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from stardust_esapi.model import Kind
from stardust_esapi.report.drawing import border_letters, orientation_letters
from stardust_esapi.report.pictures import case_pictures

PIXELS = 320
ORANGE, BLUE = (230, 159, 0), (86, 180, 233)
GTV, TARGET = 12.0, 20.0  # radii, mm
CENTRE = np.array([15.0, -25.0, 40.0])
Values = Callable[[np.ndarray], np.ndarray]


def rotation(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew


OBLIQUE = rotation((1, 2, 0.5), 35)


@dataclass(frozen=True)
class Grid:
    """A series around a point: unit vectors, mm between rows and between columns, sizes."""

    frame: str
    middle: np.ndarray
    row: tuple[float, ...] = (1, 0, 0)
    column: tuple[float, ...] = (0, 1, 0)
    spacing: tuple[float, float] = (1.0, 1.0)
    step: float = 3.0
    size: tuple[int, int, int] = (160, 160, 25)  # rows, columns, slices

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.row, self.column)

    def origin(self, index: int) -> np.ndarray:
        rows, columns, slices = self.size
        return (
            self.middle
            - np.array(self.row) * self.spacing[1] * (columns - 1) / 2
            - np.array(self.column) * self.spacing[0] * (rows - 1) / 2
            + self.normal * self.step * (index - (slices - 1) / 2)
        )

    def points(self, index: int) -> np.ndarray:
        down, across = np.mgrid[: self.size[0], : self.size[1]][..., None]
        along_row, along_column = np.array(self.row), np.array(self.column)
        offset = across * along_row * self.spacing[1] + down * along_column * self.spacing[0]
        return self.origin(index) + offset


def ball(centre: np.ndarray, radius: float, inside: float, outside: float) -> Values:
    return lambda p: np.where(np.linalg.norm(p - centre, axis=-1) <= radius, inside, outside)


def save(dataset: Dataset, path: Path, sop_class: str) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.get("SOPInstanceUID", generate_uid())
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    dataset.save_as(path, enforce_file_format=True)


def write_images(folder: Path, kind: Kind, grid: Grid, values: Values) -> Path:
    """Write the slices of a series; the order of the names is not the order in space."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(grid.size[2]):
        image = Dataset()
        image.Modality = kind.modality
        image.SeriesInstanceUID = f"{grid.frame}.1"
        image.FrameOfReferenceUID = grid.frame
        image.ImagePositionPatient = [float(f"{v:.9g}") for v in grid.origin(index)]
        image.ImageOrientationPatient = [float(f"{v:.9g}") for v in (*grid.row, *grid.column)]
        image.PixelSpacing = list(grid.spacing)
        image.SliceThickness = grid.step
        image.Rows, image.Columns = grid.size[:2]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 0
        image.RescaleSlope, image.RescaleIntercept = 2, -1024
        stored = np.round((values(grid.points(index)) + 1024) / 2).astype("<u2")
        if kind is Kind.MR:
            del image.RescaleSlope, image.RescaleIntercept
            stored = np.round(values(grid.points(index))).astype("<u2")
        image.PixelData = stored.tobytes()
        sop_class = MRImageStorage if kind is Kind.MR else CTImageStorage
        save(image, folder / f"{kind.modality}.{index * 11 % grid.size[2]:03}.dcm", sop_class)
    return folder


def circles(grid: Grid, centre: np.ndarray, radius: float) -> list[np.ndarray]:
    """Contours of a ball on the slices that cut it."""
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)[:, None]
    found = []
    for index in range(grid.size[2]):
        offset = float((grid.origin(index) - centre) @ grid.normal)
        if abs(offset) < radius:
            reach = np.sqrt(radius**2 - offset**2)
            flat = np.cos(turn) * np.array(grid.row) + np.sin(turn) * np.array(grid.column)
            found.append(centre + grid.normal * offset + reach * flat)
    return found


def write_structures(folder: Path, frame: str, rois: dict[str, list[np.ndarray]]) -> None:
    structures = Dataset()
    structures.StructureSetROISequence, structures.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois.items(), start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, frame
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [float(f"{v:.9g}") for v in points.ravel()]
            drawn.ContourSequence.append(contour)
        structures.StructureSetROISequence.append(roi)
        structures.ROIContourSequence.append(drawn)
    save(structures, folder / "RS.1.dcm", "1.2.840.10008.5.1.4.1.1.481.3")


def write_registration(folder: Path, frame: str, items: dict[str, np.ndarray]) -> None:
    """``items``: matrices into ``frame``, by frame of reference."""
    registration = Dataset()
    registration.FrameOfReferenceUID = frame
    registration.RegistrationSequence = []
    for source, matrix in items.items():
        item, inner, one = Dataset(), Dataset(), Dataset()
        one.FrameOfReferenceTransformationMatrixType = "RIGID"
        one.FrameOfReferenceTransformationMatrix = [float(f"{v:.9g}") for v in matrix.ravel()]
        inner.MatrixSequence = [one]
        item.FrameOfReferenceUID = source
        item.MatrixRegistrationSequence = [inner]
        registration.RegistrationSequence.append(item)
    save(registration, folder / "RE.1.dcm", "1.2.840.10008.5.1.4.1.1.66.1")


def write_ct(folder: Path, grid: Grid, kind: Kind = Kind.CT) -> Path:
    """A CT with a bright ball as GTV, and a target around it."""
    write_images(folder, kind, grid, ball(CENTRE, GTV, 240, -60))
    rois = {
        "Lung": circles(grid, CENTRE, 5),
        "GT V+": circles(grid, CENTRE, GTV),
        "Target_+": circles(grid, CENTRE, TARGET),
    }
    write_structures(folder, grid.frame, rois)
    return folder


def pixels(png: bytes) -> np.ndarray:
    """RGB of a picture, shape (320, 320, 3), 0 to 255."""
    assert png.startswith(b"\x89PNG")
    assert len(png) < 60_000
    image = imread(io.BytesIO(png))[..., :3] * 255
    assert image.shape == (PIXELS, PIXELS, 3)
    return image


def distances(half: float = 50.0) -> tuple[np.ndarray, np.ndarray]:
    """mm from the picture's middle to the right and down, of every pixel."""
    steps = ((np.arange(PIXELS) + 0.5) / PIXELS * 2 - 1) * half
    across, down = np.meshgrid(steps, steps)
    return across, down


def drawn_radii(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """mm from the middle of each pixel in that colour, the legend's left out."""
    across, down = distances()
    legend = (across < 0) & (down > 30)
    mask = (np.abs(image - colour).max(axis=-1) < 40) & ~legend
    return np.hypot(across, down)[mask]


def is_grey(image: np.ndarray) -> np.ndarray:
    return np.ptp(image, axis=-1) < 12


GRIDS = {
    "head first": Grid("1.2.3", CENTRE + np.array([8, -6, 1.5])),
    "feet first": Grid("1.2.3", CENTRE, row=(-1, 0, 0), column=(0, 1, 0)),
    "reversed rows": Grid("1.2.3", CENTRE, row=(1, 0, 0), column=(0, -1, 0)),
    "sagittal": Grid("1.2.3", CENTRE, row=(0, 1, 0), column=(0, 0, -1)),
    "oblique": Grid("1.2.3", CENTRE, row=tuple(OBLIQUE[:, 0]), column=tuple(OBLIQUE[:, 1])),
    "anisotropic": Grid("1.2.3", CENTRE, spacing=(0.8, 1.7), size=(200, 90, 25)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_outlines_lie_where_the_ball_lies(name: str, tmp_path: Path) -> None:
    found = case_pictures({Kind.CT: write_ct(tmp_path, GRIDS[name])})
    assert found.problems == ()
    image = pixels(found.images[Kind.CT])
    gtv, target = drawn_radii(image, ORANGE), drawn_radii(image, BLUE)
    assert len(gtv) > 150
    assert len(target) > 250
    # The middle slice may pass the ball's centre by half a slice.
    assert np.abs(gtv - GTV).max() < 1.2
    assert np.abs(target - TARGET).max() < 1.2
    radius = np.hypot(*distances())
    assert image[radius < GTV - 2].min() > 250  # 240 HU: the top of the window
    between = (radius > GTV + 2) & (radius < TARGET - 2)
    assert np.allclose(image[between], 255 * (-60 + 160) / 400, atol=3)


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("head first", "RLAP"),
        ("feet first", "LRAP"),
        ("reversed rows", "RLPA"),
        ("sagittal", "APHF"),
    ],
)
def test_borders_are_named_and_the_picture_is_not_mirrored(
    name: str, letters: str, tmp_path: Path
) -> None:
    grid = GRIDS[name]
    row, column = np.array(grid.row, dtype=float), np.array(grid.column, dtype=float)
    found = border_letters(row, column)
    assert [found[border] for border in ("left", "right", "top", "bottom")] == list(letters)
    # Markers of unlike size right and below: in the image, and as outlines of the same size.
    right, below = CENTRE + 30 * row, CENTRE + 30 * column
    bright = [ball(right, 8, 300, 0), ball(below, 5, 300, 0)]
    write_images(tmp_path, Kind.CT, grid, lambda p: sum(values(p) for values in bright) - 160)
    write_structures(
        tmp_path, grid.frame, {"gtv+": circles(grid, right, 8) + circles(grid, below, 5)}
    )
    image = pixels(case_pictures({Kind.CT: tmp_path}).images[Kind.CT])
    # Together they reach from -5 to 38 mm across and from -8 to 35 mm down: the picture's middle.
    across, down = distances()
    across, down = across + (38 - 5) / 2, down + (35 - 8) / 2
    for x, y, radius in ((30, 0, 8), (0, 30, 5)):
        away = np.hypot(across - x, down - y)
        assert image[away < radius - 2].min() > 180
        ring = (np.abs(image - ORANGE).max(axis=-1) < 40) & (away < 12)
        assert ring.sum() > 60
        assert np.abs(away[ring] - radius).max() < 1.5


def test_middle_is_an_occupied_slice_and_only_that_slice_is_decoded(tmp_path: Path) -> None:
    # Grey tells the slice: 10 HU a slice. The GTV is on slices 2, 3, 4, 12 and 20: the middle of
    # 2 and 20 is 11, and 12 is the nearest that is occupied.
    grid = Grid("1.2.3", CENTRE)
    bottom = grid.origin(0)[2]
    write_images(tmp_path, Kind.CT, grid, lambda p: (p[..., 2] - bottom) / grid.step * 10)
    ring = circles(replace(grid, size=(160, 160, 1)), CENTRE, GTV)[0]
    rings = [ring + np.array([0, 0, grid.step * (index - 12)]) for index in (2, 3, 4, 12, 20)]
    write_structures(tmp_path, grid.frame, {"gtv+": rings, "target+": rings})
    for path in tmp_path.glob("CT*.dcm"):
        image = dcmread(path)
        if round((image.ImagePositionPatient[2] - bottom) / grid.step) != 12:
            del image.PixelData
            image.save_as(path)
    found = case_pictures({Kind.CT: tmp_path})
    assert found.problems == ()
    centre = pixels(found.images[Kind.CT])[PIXELS // 2, PIXELS // 2]
    assert centre == pytest.approx(255 * (120 + 160) / 400, abs=3)


MATRIX = np.eye(4)
MATRIX[:3, :3] = rotation((0.3, -1, 2), 50)
MATRIX[:3, 3] = (30, -12, 55)
SHIFT = np.eye(4)
SHIFT[:3, 3] = (4, 5, 6)
CT, MR, THIRD = "1.2.3", "1.2.4", "1.2.5"
REGISTRATIONS = {
    "MR into CT": (CT, {MR: np.linalg.inv(MATRIX)}),
    "CT into MR": (MR, {CT: MATRIX}),
    "with identity item": (CT, {CT: np.eye(4), MR: np.linalg.inv(MATRIX)}),
    "both into a third": (THIRD, {CT: SHIFT, MR: SHIFT @ np.linalg.inv(MATRIX)}),
}


def write_mr(folder: Path, frame: str, matrix: np.ndarray) -> Path:
    """An MR with the ball where ``matrix`` takes it, and a marker to the patient's left of it."""
    centre = matrix[:3, :3] @ CENTRE + matrix[:3, 3]
    marker = matrix[:3, :3] @ (CENTRE + np.array([30, 0, 0])) + matrix[:3, 3]
    body, lesion = ball(centre, 70, 200, 0), ball(centre, GTV, 900, 0)
    dot = ball(marker, 5, 700, 0)
    grid = Grid(
        frame, centre + np.array([3, 2, 1]), spacing=(1.2, 0.9), step=2.0, size=(110, 150, 70)
    )
    return write_images(folder, Kind.MR, grid, lambda p: body(p) + lesion(p) + dot(p))


@pytest.mark.parametrize("name", [*REGISTRATIONS, "shared frame"])
def test_mr_lies_under_the_outlines_through_the_registration(name: str, tmp_path: Path) -> None:
    ct = write_ct(tmp_path / "ct", Grid(CT, CENTRE))
    if name == "shared frame":
        mr = write_mr(tmp_path / "mr", CT, np.eye(4))
    else:
        mr = write_mr(tmp_path / "mr", MR, MATRIX)
        write_registration(mr, *REGISTRATIONS[name])
    found = case_pictures({Kind.MR: mr, Kind.CT: ct})
    assert found.problems == ()
    image = pixels(found.images[Kind.MR])
    across, down = distances()
    radius = np.hypot(across, down)
    assert np.abs(drawn_radii(image, ORANGE) - GTV).max() < 1.2
    assert image[radius < GTV - 2.5].min() > 240
    dot = np.hypot(across - 30, down) < 3.5  # to the patient's left, right in the picture
    assert 180 < image[dot].mean() < 240
    rest = (radius > GTV + 3) & (radius < 45) & (np.hypot(across - 30, down) > 8) & is_grey(image)
    rest &= np.abs(across) < 40
    assert np.quantile(image[rest & (down < 25)], 0.99) < 90


def test_what_an_mr_has_not_imaged_is_black_and_no_part_of_the_window(tmp_path: Path) -> None:
    ct = write_ct(tmp_path / "ct", Grid(CT, CENTRE))
    mr = write_mr(tmp_path / "mr", CT, np.eye(4))
    plain = pixels(case_pictures({Kind.CT: ct, Kind.MR: mr}).images[Kind.MR])
    for path in mr.glob("MR*.dcm"):
        image = dcmread(path)
        stored = np.frombuffer(image.PixelData, "<u2").reshape(image.Rows, image.Columns).copy()
        # Beyond 38 mm to the patient's left, and so in two corners of every slice.
        edge = CENTRE[0] + 38 - float(image.ImagePositionPatient[0])
        stored[:, int(edge / image.PixelSpacing[1]) :] = 65535
        image.PixelData = stored.tobytes()
        image.save_as(path)
    found = pixels(case_pictures({Kind.CT: ct, Kind.MR: mr}).images[Kind.MR])
    across, down = distances()
    seen = (across < 36) & is_grey(plain) & is_grey(found)
    assert np.abs(found - plain)[seen].max() <= 8
    beside_the_letter = (across > 40) & (np.abs(down) > 6) & (np.abs(down) < 25)
    assert found[beside_the_letter].max() == 0


def test_contrast_ct_has_its_own_structure_set(tmp_path: Path) -> None:
    ct = write_ct(tmp_path / "ct", Grid(CT, CENTRE))
    km = write_ct(tmp_path / "km", Grid(MR, CENTRE), Kind.KM)
    (ct / "RS.1.dcm").unlink()
    found = case_pictures({Kind.CT: ct, Kind.KM: km})
    assert list(found.images) == [Kind.KM]
    assert found.problems == (
        "No picture of the CT: there is no structure set (RS*.dcm) beside its CT. Export it again.",
    )


def spoil_nothing(ct: Path, mr: Path) -> None:
    """No registration at all."""


def spoil_other_link(ct: Path, mr: Path) -> None:
    write_registration(mr, THIRD, {MR: MATRIX})


def spoil_contradiction(ct: Path, mr: Path) -> None:
    write_registration(mr, CT, {MR: np.linalg.inv(MATRIX)})
    (mr / "RE.1.dcm").rename(mr / "RE.2.dcm")
    write_registration(mr, CT, {MR: SHIFT})


def spoil_chain(ct: Path, mr: Path) -> None:
    write_registration(mr, CT, {MR: MATRIX})
    registration = dcmread(mr / "RE.1.dcm")
    inner = registration.RegistrationSequence[0].MatrixRegistrationSequence[0]
    inner.MatrixSequence.append(inner.MatrixSequence[0])
    registration.save_as(mr / "RE.1.dcm")


def spoil_elsewhere(ct: Path, mr: Path) -> None:
    far = np.eye(4)
    far[:3, 3] = (5000, 0, 0)
    write_registration(mr, MR, {CT: far})


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_nothing, "no registration"),
        (spoil_other_link, "does not name the frame of reference of the CT"),
        (spoil_contradiction, "disagree"),
        (spoil_chain, "chain of several matrices"),
        (spoil_elsewhere, "shows nothing"),
    ],
)
def test_no_mr_picture_rather_than_a_wrong_one(
    spoil: Callable[[Path, Path], None], reason: str, tmp_path: Path
) -> None:
    ct, mr = write_ct(tmp_path / "ct", Grid(CT, CENTRE)), write_mr(tmp_path / "mr", MR, MATRIX)
    spoil(ct, mr)
    found = case_pictures({Kind.CT: ct, Kind.MR: mr})
    assert list(found.images) == [Kind.CT]
    (problem,) = found.problems
    assert problem.startswith("No picture of the MR: ")
    assert reason in problem


def no_images(folder: Path) -> None:
    for path in folder.glob("CT*.dcm"):
        path.unlink()


def other_frame(folder: Path) -> None:
    write_structures(folder, THIRD, {"gtv+": circles(Grid(CT, CENTRE), CENTRE, GTV)})


def other_place(folder: Path) -> None:
    rings = [ring + np.array([0, 0, 500]) for ring in circles(Grid(CT, CENTRE), CENTRE, GTV)]
    write_structures(folder, CT, {"gtv+": rings})


def empty_gtv(folder: Path) -> None:
    write_structures(folder, CT, {"gtv+": [], "target+": circles(Grid(CT, CENTRE), CENTRE, GTV)})


def twice_in_one_place(folder: Path) -> None:
    image = dcmread(folder / "CT.003.dcm")
    image.SOPInstanceUID = generate_uid()
    image.save_as(folder / "CT.again.dcm")


def two_sizes(folder: Path) -> None:
    image = dcmread(folder / "CT.003.dcm")
    image.Rows = 30
    image.save_as(folder / "CT.003.dcm")


def not_dicom(folder: Path) -> None:
    (folder / "CT.003.dcm").write_text("not DICOM")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (no_images, "no images (CT*.dcm, MR*.dcm)"),
        (other_frame, "another frame of reference"),
        (other_place, "no gtv+ with a voxel on any of its images"),
        (empty_gtv, "no gtv+ with a voxel on any of its images"),
        (twice_in_one_place, "lie in one place"),
        (two_sizes, "differ in rows and columns"),
        (not_dicom, "damaged or lacks what a slice needs (InvalidDicomError)"),
    ],
)
def test_says_why_there_is_no_picture(
    spoil: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    write_ct(tmp_path, replace(Grid(CT, CENTRE), size=(60, 60, 25)))
    spoil(tmp_path)
    found = case_pictures({Kind.CT: tmp_path})
    assert found.images == {}
    (problem,) = found.problems
    assert problem.startswith("No picture of the CT: ")
    assert reason in problem


def test_a_missing_target_is_said(tmp_path: Path) -> None:
    grid = Grid(CT, CENTRE)
    write_images(tmp_path, Kind.CT, grid, ball(CENTRE, GTV, 240, -60))
    write_structures(tmp_path, CT, {"gtv+": circles(grid, CENTRE, GTV)})
    found = case_pictures({Kind.CT: tmp_path})
    assert len(drawn_radii(pixels(found.images[Kind.CT]), BLUE)) == 0
    assert "shows no target+" in found.problems[0]


def test_a_noisy_picture_stays_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(1)
    grid = Grid(CT, CENTRE, spacing=(0.5, 0.5), size=(256, 256, 9))
    write_images(tmp_path, Kind.CT, grid, lambda p: noise.normal(40, 60, p.shape[:-1]))
    write_structures(tmp_path, CT, {"gtv+": circles(grid, CENTRE, GTV)})
    assert len(case_pictures({Kind.CT: tmp_path}).images[Kind.CT]) < 60_000


@pytest.mark.parametrize(
    ("direction", "letters"),
    [
        ((1, 0, 0), "L"),
        ((-1, 0, 0), "R"),
        ((0, 1, 0), "P"),
        ((0, -1, 0), "A"),
        ((0, 0, 1), "H"),
        ((0, 0, -1), "F"),
        ((0.8, 0, -0.6), "LF"),
        ((-0.1, 0.99, 0.1), "P"),
    ],
)
def test_letters(direction: tuple[float, float, float], letters: str) -> None:
    assert orientation_letters(np.array(direction, dtype=float)) == letters


@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.01))
def test_opposite_directions_have_opposite_letters(vector: tuple[float, float, float]) -> None:
    direction = np.array(vector) / np.linalg.norm(vector)
    there, back = orientation_letters(direction), orientation_letters(-direction)
    assert there
    assert there.translate(str.maketrans("RLAPHF", "LRPAFH")) == back
