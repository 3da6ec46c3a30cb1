"""One small picture a kind and case: the GTV's middle slice with its outlines.

The pictures are drawn from the exported files, not from Eclipse: they show what a reader of the
export will find. Everything is sampled on one square grid in the slice's plane, so millimetres are
square whatever the pixels are, and the MR lies under the CT's outlines in the same way.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.pixels.processing import apply_rescale
from pydicom.pixels.utils import pixel_array
from scipy.ndimage import map_coordinates

from stardust_esapi.geometry import FloatArray
from stardust_esapi.model import Kind

# Okabe and Ito's palette: told apart with any colour vision, and both bright on grey.
OUTLINES = {"gtv+": "#E69F00", "target+": "#56B4E9"}
"""What is outlined: the part of the ROI name that the consumer looks for, and its colour."""

_PIXELS = 320
_GREYS = 40
_MARGIN_MM = 25.0
_SMALLEST_HALF_MM = 50.0
_CT_LEVEL, _CT_WIDTH = 40.0, 400.0  # HU; as the consumer windows it
_MR_PERCENTILES = (0.5, 99.5)  # of the non-zero voxels; as the consumer clips it
_SAME_PLACE_MM = 0.01
_LETTER_COSINE = 0.26  # a direction within 75 degrees of an axis carries that axis' letter
_BORDERS = {"left": (0.03, 0.5), "right": (0.97, 0.5), "top": (0.5, 0.97), "bottom": (0.5, 0.03)}

# Read nothing that names the patient: what goes wrong below ends up in the report.
_IMAGE_TAGS = [
    "Columns",
    "FrameOfReferenceUID",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SOPInstanceUID",
    "SliceThickness",
]
_STRUCTURE_TAGS = ["ROIContourSequence", "StructureSetROISequence"]
_REGISTRATION_TAGS = ["FrameOfReferenceUID", "RegistrationSequence"]


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of one case.

    Attributes:
        images: PNG files, at most one a kind.
        problems: One sentence for each kind that has no picture, or lacks an outline, saying why.
    """

    images: dict[Kind, bytes]
    problems: tuple[str, ...]


class _NoPictureError(Exception):
    """Why one kind has no picture."""


def case_pictures(folders: Mapping[Kind, Path]) -> Pictures:
    """Draw the GTV's middle slice on every exported series of a case.

    The slice is the one with a ``gtv+`` contour that lies nearest to the middle of all slices with
    one. CT and contrast CT carry the outlines of their own structure set; the MR is sampled in the
    plane of the planning CT, through the registration beside it (PS3.3 C.20.2), and carries the
    CT's outlines. Only the slices that a picture needs are decoded.

    Args:
        folders: Folder of each exported series, with its ``CT*.dcm`` or ``MR*.dcm``, ``RS*.dcm``
            and ``RE*.dcm``.

    Returns:
        What could be drawn, and why the rest could not. Nothing is raised: a picture is no reason
        to fail a case.
    """
    images: dict[Kind, bytes] = {}
    problems: list[str] = []
    scenes: dict[Kind, _Scene] = {}
    for kind in Kind:
        if kind not in folders:
            continue
        try:
            if kind is Kind.MR:
                images[kind] = _draw_mr(folders[kind], scenes.get(Kind.CT))
            else:
                scenes[kind] = _set_scene(_load_series(folders[kind], kind), folders[kind])
                images[kind] = _draw_ct(scenes[kind])
                problems += [
                    f"The picture of the {kind} shows no {name}: it has no contour on the GTV's "
                    "middle slice."
                    for name, polygons in scenes[kind].outlines.items()
                    if not polygons
                ]
        except _NoPictureError as why:
            problems.append(f"No picture of the {kind}: {why}.")
        # The files have been verified; whatever else is odd in them must not cost the case.
        except Exception as error:  # noqa: BLE001
            problems.append(f"No picture of the {kind}: {type(error).__name__}: {error}")
    return Pictures(images, tuple(problems))


@dataclass(frozen=True, eq=False)
class _Series:
    """The slices of one series in order along their common normal.

    Attributes:
        paths: The files.
        headers: Their headers, without pixels.
        origins: Image Position (Patient), shape (n, 3), mm.
        row: Unit vector along a row (rising column index).
        column: Unit vector along a column (rising row index).
        normal: ``row`` x ``column``.
        distances: ``origins`` along ``normal``, rising, shape (n,), mm.
        gap: Distance from slice to slice (median), mm.
    """

    paths: list[Path]
    headers: list[Dataset]
    origins: FloatArray
    row: FloatArray
    column: FloatArray
    normal: FloatArray
    distances: FloatArray
    gap: float

    @property
    def frame(self) -> str:
        """Frame of Reference UID (0020,0052)."""
        return str(self.headers[0].get("FrameOfReferenceUID", ""))

    def sample(self, points: FloatArray) -> FloatArray:
        """Interpolate linearly at (…, 3) patient points, mm; NaN outside the series.

        Slices may lie at unequal distances, and their origins may shift sideways (a tilted gantry).
        """
        along = points @ self.normal
        plane = np.interp(along, self.distances, np.arange(len(self.paths)))
        origin = np.stack([np.interp(along, self.distances, o) for o in self.origins.T], axis=-1)
        spacing = self.headers[0].PixelSpacing
        rows = (points - origin) @ self.column / float(spacing[0])
        columns = (points - origin) @ self.row / float(spacing[1])
        inside = (
            (along >= self.distances[0] - self.gap / 2)
            & (along <= self.distances[-1] + self.gap / 2)
            & (rows >= -0.5)
            & (rows <= self.headers[0].Rows - 0.5)
            & (columns >= -0.5)
            & (columns <= self.headers[0].Columns - 0.5)
        )
        if not inside.any():
            return np.full(inside.shape, np.nan)
        # Rounded, so that a point on a slice needs that slice alone.
        needed = np.round(plane[inside], 3)
        first, last = int(np.floor(needed.min())), int(np.ceil(needed.max()))
        voxels = np.stack([self._read(index) for index in range(first, last + 1)])
        values = map_coordinates(voxels, [plane - first, rows, columns], order=1, mode="nearest")
        return np.where(inside, values, np.nan)

    def _read(self, index: int) -> NDArray[np.float32]:
        raw = pixel_array(self.paths[index])
        return apply_rescale(raw, self.headers[index]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Scene:
    """What a picture shows: a square in a CT slice's plane, and outlines in it.

    Attributes:
        series: The CT.
        centre: Middle of the square in patient space, mm.
        half: Half its side, mm.
        outlines: By name as in :data:`OUTLINES`: polygons of shape (n, 2), mm along row and column
            from the centre.
    """

    series: _Series
    centre: FloatArray
    half: float
    outlines: dict[str, list[FloatArray]]

    def grid(self) -> FloatArray:
        """Patient points (mm) of the picture's pixels, shape (pixels, pixels, 3)."""
        steps = ((np.arange(_PIXELS) + 0.5) / _PIXELS * 2 - 1) * self.half
        across, down = np.meshgrid(steps, steps)
        series = self.series
        return self.centre + across[..., None] * series.row + down[..., None] * series.column


def _draw_ct(scene: _Scene) -> bytes:
    values = scene.series.sample(scene.grid())
    return _draw(scene, values, _CT_LEVEL - _CT_WIDTH / 2, _CT_LEVEL + _CT_WIDTH / 2)


def _draw_mr(folder: Path, scene: _Scene | None) -> bytes:
    if scene is None:
        raise _NoPictureError("it would carry the planning CT's outlines, and there are none")
    series = _load_series(folder, Kind.MR)
    matrix = _ct_to_mr(scene.series, series, folder)
    values = series.sample(scene.grid() @ matrix[:3, :3].T + matrix[:3, 3])
    shown = values[np.isfinite(values) & (values != 0)]
    if not shown.size:
        raise _NoPictureError("the MR shows nothing where the GTV lies on the planning CT")
    low, high = np.percentile(shown, _MR_PERCENTILES).tolist()
    return _draw(scene, values, low, max(high, low + 1e-6))


def _load_series(folder: Path, kind: Kind) -> _Series:
    paths = sorted(folder.glob(f"{kind.modality}*.dcm"))
    if not paths:
        raise _NoPictureError(f"its folder holds no {kind.modality}*.dcm")
    headers = [dcmread(p, stop_before_pixels=True, specific_tags=_IMAGE_TAGS) for p in paths]
    if any("ImagePositionPatient" not in h or "ImageOrientationPatient" not in h for h in headers):
        raise _NoPictureError("images do not say where they lie (Image Position (Patient))")
    cosines = np.array([h.ImageOrientationPatient for h in headers], dtype=float)
    grids = {(h.Rows, h.Columns, *map(float, h.PixelSpacing)) for h in headers}
    if len(grids) > 1 or np.abs(cosines - cosines[0]).max() > 1e-3:
        raise _NoPictureError("its images differ in size, spacing or orientation")
    row, column = (v / np.linalg.norm(v) for v in cosines[0].reshape(2, 3))
    normal = np.cross(row, column)
    origins = np.array([h.ImagePositionPatient for h in headers], dtype=float)
    order = np.argsort(origins @ normal)
    distances = (origins @ normal)[order]
    steps = np.diff(distances)
    if (steps < _SAME_PLACE_MM).any():
        raise _NoPictureError("several of its images lie in one place")
    thickness = float(headers[0].get("SliceThickness") or 1.0)
    return _Series(
        paths=[paths[i] for i in order],
        headers=[headers[i] for i in order],
        origins=origins[order],
        row=row,
        column=column,
        normal=normal,
        distances=distances,
        gap=float(np.median(steps)) if steps.size else thickness,
    )


def _set_scene(series: _Series, folder: Path) -> _Scene:
    path = next(iter(sorted(folder.glob("RS*.dcm"))), None)
    if path is None:
        raise _NoPictureError("its folder holds no structure set (RS*.dcm)")
    structures = dcmread(path, specific_tags=_STRUCTURE_TAGS)
    by_plane = {name: _contours(structures, name, series) for name in OUTLINES}
    occupied = sorted(by_plane["gtv+"])
    if not occupied:
        raise _NoPictureError("its structure set has no gtv+ contour on any of its images")
    middle = (occupied[0] + occupied[-1]) / 2
    plane = min(occupied, key=lambda index: abs(index - middle))

    axes = np.stack([series.row, series.column], axis=1)
    origin = series.origins[plane]
    drawn = {
        name: [(points - origin) @ axes for points in planes.get(plane, [])]
        for name, planes in by_plane.items()
    }
    every = np.concatenate([polygon for polygons in drawn.values() for polygon in polygons])
    low, high = every.min(axis=0), every.max(axis=0)
    centre = (low + high) / 2
    return _Scene(
        series=series,
        centre=origin + axes @ centre,
        half=max(float((high - low).max()) / 2 + _MARGIN_MM, _SMALLEST_HALF_MM),
        outlines={n: [polygon - centre for polygon in polygons] for n, polygons in drawn.items()},
    )


def _contours(structures: Dataset, name: str, series: _Series) -> dict[int, list[FloatArray]]:
    """Closed contours (n, 3), mm, of the ROIs whose name contains ``name``, by slice index."""
    rois = [
        roi
        for roi in structures.get("StructureSetROISequence", [])
        if name in _folded(str(roi.get("ROIName", "")))
    ]
    if any(roi.get("ReferencedFrameOfReferenceUID", series.frame) != series.frame for roi in rois):
        raise _NoPictureError(f"{name} lies in another frame of reference than the images")
    numbers = {roi.ROINumber for roi in rois}
    found: dict[int, list[FloatArray]] = {}
    for roi in structures.get("ROIContourSequence", []):
        if roi.ReferencedROINumber not in numbers:
            continue
        for contour in roi.get("ContourSequence", []):
            if not contour.ContourGeometricType.startswith("CLOSED"):
                continue
            points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
            offsets = np.abs(series.distances - points.mean(axis=0) @ series.normal)
            plane = int(offsets.argmin())
            if offsets[plane] <= series.gap / 2:
                found.setdefault(plane, []).append(points)
    return found


def _folded(name: str) -> str:
    """The ROI name as the consumer compares it: without case, blanks, ``_`` and ``-``."""
    return "".join(name.casefold().split()).replace("_", "").replace("-", "")


def _ct_to_mr(ct: _Series, mr: _Series, folder: Path) -> FloatArray:
    """The (4, 4) matrix that takes patient points (mm) of the CT to those of the MR."""
    if ct.frame and ct.frame == mr.frame:
        return np.eye(4)
    found = []
    for path in sorted(folder.glob("RE*.dcm")):
        registration = dcmread(path, specific_tags=_REGISTRATION_TAGS)
        from_ct, from_mr = (_to_registered(registration, series) for series in (ct, mr))
        if from_ct is not None and from_mr is not None:
            found.append(np.linalg.inv(from_mr) @ from_ct)
    if not found:
        raise _NoPictureError("no registration (RE*.dcm) beside it links it to the planning CT")
    return _agreed(found)


def _to_registered(registration: Dataset, series: _Series) -> FloatArray | None:
    """The (4, 4) matrix from a series into the registration's own frame of reference.

    PS3.3 C.20.2: each item's matrix maps what the item refers to, a frame of reference or images,
    into the frame of reference of the object. A series that already lies in it needs no item.
    """
    images = {str(header.SOPInstanceUID) for header in series.headers}
    found = []
    for item in registration.get("RegistrationSequence", []):
        referenced = item.get("ReferencedImageSequence", [])
        if "FrameOfReferenceUID" in item:
            if item.FrameOfReferenceUID != series.frame:
                continue
        elif not any(str(r.ReferencedSOPInstanceUID) in images for r in referenced):
            continue
        matrices = item.MatrixRegistrationSequence[0].MatrixSequence
        if len(matrices) != 1:
            # Programs read the order of a chain in both ways, and a wrong picture is worse than
            # none.
            raise _NoPictureError("its registration is a chain of several matrices")
        values = matrices[0].FrameOfReferenceTransformationMatrix
        found.append(np.array(values, dtype=float).reshape(4, 4))
    if found:
        return _agreed(found)
    return np.eye(4) if registration.get("FrameOfReferenceUID") == series.frame else None


def _agreed(matrices: list[FloatArray]) -> FloatArray:
    if not all(np.allclose(matrix, matrices[0], atol=1e-4) for matrix in matrices):
        raise _NoPictureError("several registrations link it to the planning CT and disagree")
    return matrices[0]


def _draw(scene: _Scene, values: FloatArray, low: float, high: float) -> bytes:
    """Draw values as grey levels from ``low`` to ``high`` under the outlines; a PNG file."""
    # Imported here: it takes a second, and a run without pictures needs none of it. The Figure
    # is used by itself because pyplot would keep every figure of a long run alive.
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke
    from PIL import Image

    half = scene.half
    grey = np.nan_to_num(np.clip((values - low) / (high - low), 0.0, 1.0))
    figure = Figure(figsize=(_PIXELS / 100, _PIXELS / 100), dpi=100)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.imshow(
        grey, cmap="gray", vmin=0, vmax=1, extent=(-half, half, half, -half), interpolation="none"
    )
    halo = [withStroke(linewidth=2.6, foreground="#000000a0")]
    for name, colour in OUTLINES.items():
        for number, polygon in enumerate(scene.outlines[name]):
            axes.fill(
                *polygon.T,
                fill=False,
                edgecolor=colour,
                linewidth=1.4,
                label=name if number == 0 else None,
                path_effects=halo,
            )
    axes.set(xlim=(-half, half), ylim=(half, -half))
    axes.legend(
        loc="lower left",
        fontsize=7.5,
        labelcolor="white",
        facecolor="black",
        edgecolor="none",
        framealpha=0.65,
        borderaxespad=0.4,
        handlelength=1.4,
    )
    for border, letters in border_letters(scene.series.row, scene.series.column).items():
        x, y = _BORDERS[border]
        axes.text(
            x,
            y,
            letters,
            transform=axes.transAxes,
            color="white",
            fontsize=9,
            fontweight="bold",
            ha=border if border in ("left", "right") else "center",
            va=border if border in ("top", "bottom") else "center",
            path_effects=halo,
        )
    drawn = io.BytesIO()
    figure.savefig(drawn, format="rgba")
    # A noisy slice in true colour would take three times the room of the few colours it needs.
    few_colours = Image.new("P", (1, 1))
    few_colours.putpalette(_palette())
    picture = Image.frombytes("RGBA", (_PIXELS, _PIXELS), drawn.getvalue()).convert("RGB")
    png = io.BytesIO()
    picture.quantize(palette=few_colours, dither=Image.Dither.NONE).save(png, "PNG", optimize=True)
    return png.getvalue()


def _palette() -> list[int]:
    """R, G, B, R, G, B, … (0 to 255): greys, and the outlines' colours blending into them."""
    greys = np.repeat(np.linspace(0, 255, _GREYS)[:, None], 3, axis=1)
    bright = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in OUTLINES.values()])
    share = np.linspace(0.2, 1.0, 5)[:, None, None, None]
    under = np.array([0.0, 128.0, 255.0])[:, None]
    blends = share * bright[:, None, :] + (1 - share) * under
    return np.concatenate([greys, blends.reshape(-1, 3)]).round().astype(int).ravel().tolist()


def border_letters(row: FloatArray, column: FloatArray) -> dict[str, str]:
    """Name the sides of the patient at the borders of a picture.

    Args:
        row: Unit vector (x, y, z) in LPS that points right in the picture.
        column: Unit vector that points down in it.

    Returns:
        Letters for ``left``, ``right``, ``top`` and ``bottom``.
    """
    directions = {"left": -row, "right": row, "top": -column, "bottom": column}
    return {border: orientation_letters(direction) for border, direction in directions.items()}


def orientation_letters(direction: FloatArray) -> str:
    """Name a direction in patient space as Patient Orientation does (PS3.3 C.7.6.1.1.1).

    Args:
        direction: Unit vector (x, y, z) in LPS.

    Returns:
        Letters of R, L, A, P, H and F, the strongest first; several for an oblique direction.
    """
    strongest_first = np.argsort(-np.abs(direction), kind="stable").tolist()
    return "".join(
        ("LR", "PA", "HF")[axis][int(direction[axis] < 0)]
        for axis in strongest_first
        if abs(direction[axis]) >= _LETTER_COSINE
    )
