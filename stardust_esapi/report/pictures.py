"""One small picture a kind and case: the GTV's middle slice with its outlines.

The pictures are drawn from the exported files, not from Eclipse, and with the very readers and
masks that training files are created with: they show what a reader of the export will find.
Everything is sampled on one square grid in the slice's plane, so millimetres are square whatever
the pixels are, and the MR lies under the CT's outlines in the same way.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.dicom.read_registration import read_mr_to_ct
from stardust_esapi.dicom.read_series import Stack, read_stack
from stardust_esapi.dicom.read_structure_set import read_structures_on
from stardust_esapi.errors import CaseError
from stardust_esapi.geometry import FloatArray, moved
from stardust_esapi.mask import Mask, empty, rasterise
from stardust_esapi.model import IMAGE_KINDS, Kind, Role
from stardust_esapi.names import LOOKED_FOR, role_of

# Okabe and Ito's palette: told apart with any colour vision, and both bright on grey.
OUTLINES = {Role.GTV: "#E69F00", Role.TARGET: "#56B4E9"}
"""What is outlined, and in which colour."""

_PIXELS = 320
_GREYS = 40
_MARGIN_MM = 25.0
_SMALLEST_HALF_MM = 50.0
_CT_LEVEL, _CT_WIDTH = 40.0, 400.0  # HU; as the consumer windows it
_MR_PERCENTILES = (0.5, 99.5)  # of the non-zero voxels; as the consumer clips it
_LETTER_COSINE = 0.26  # a direction within 75 degrees of an axis carries that axis' letter
_BORDERS = {"left": (0.03, 0.5), "right": (0.97, 0.5), "top": (0.5, 0.97), "bottom": (0.5, 0.03)}


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of one case.

    Attributes:
        images: PNG files, at most one a kind.
        problems: One sentence for each kind that has no picture, or lacks an outline, saying why.
    """

    images: dict[Kind, bytes]
    problems: tuple[str, ...]


def case_pictures(folders: Mapping[Kind, Path]) -> Pictures:
    """Draw the GTV's middle slice on every exported series of a case.

    The slice is the one with voxels of ``gtv+`` that lies nearest to the middle of all slices with
    some. CT and contrast CT carry the outlines of their own structure set; the MR is sampled in the
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
    for kind in IMAGE_KINDS:
        if kind not in folders:
            continue
        try:
            if kind is Kind.MR:
                images[kind] = _draw_mr(folders[kind], scenes.get(Kind.CT))
            else:
                scenes[kind] = _set_scene(folders[kind])
                images[kind] = _draw_ct(scenes[kind])
                problems += [
                    f"The picture of the {kind} shows no {LOOKED_FOR[role]}: it has no voxel on "
                    "the GTV's middle slice."
                    for role in OUTLINES
                    if not scenes[kind].inside(role).any()
                ]
        except CaseError as why:
            problems.append(f"No picture of the {kind}: {why}")
        # The files have been verified; whatever else is odd in them must not cost the case. What
        # an error says is not shown: it may hold a name.
        except Exception as error:  # noqa: BLE001
            problems.append(
                f"No picture of the {kind}: it cannot be read ({type(error).__name__})."
            )
    return Pictures(images, tuple(problems))


@dataclass(frozen=True, eq=False)
class _Scene:
    """What a picture shows: a square in a CT slice's plane, and outlines in it.

    Attributes:
        stack: The CT.
        plane: Which of its slices.
        masks: What is outlined.
        centre: Middle of the square in patient space, mm.
        half: Half its side, mm.
    """

    stack: Stack
    plane: int
    masks: dict[Role, Mask]
    centre: FloatArray
    half: float

    def steps(self) -> FloatArray:
        """Millimetres from the centre to each pixel of a row or column."""
        return ((np.arange(_PIXELS) + 0.5) / _PIXELS * 2 - 1) * self.half

    def grid(self) -> FloatArray:
        """Patient points (mm) of the picture's pixels, shape (pixels, pixels, 3)."""
        across, down = np.meshgrid(self.steps(), self.steps())
        x, y, _ = self.stack.axes
        points: FloatArray = self.centre + across[..., None] * x + down[..., None] * y
        return points

    def inside(self, role: Role) -> NDArray[np.bool_]:
        """Which voxels of the slice belong to a structure, shape (rows, columns)."""
        return self.masks.get(role, empty()).plane(self.plane, self.stack.shape)

    def coverage(self, role: Role) -> FloatArray:
        """How far each pixel of the picture lies within a structure: above a half, it does.

        At the centre of a voxel it is 1 or 0, as the training has it; between centres it is
        interpolated, so that the outline runs half-way between voxels in and out.
        """
        from scipy.ndimage import map_coordinates

        rows, columns = np.moveaxis(self.stack.to_index(self.grid())[..., 1:], -1, 0)
        inside = self.inside(role).astype(float)
        covered: FloatArray = map_coordinates(inside, [rows, columns], order=1, mode="constant")
        return covered


def _draw_ct(scene: _Scene) -> bytes:
    values = scene.stack.sample(scene.grid())
    return _draw(scene, values, _CT_LEVEL - _CT_WIDTH / 2, _CT_LEVEL + _CT_WIDTH / 2)


def _draw_mr(folder: Path, scene: _Scene | None) -> bytes:
    if scene is None:
        raise CaseError("it would carry the planning CT's outlines, and there are none.")
    mr = _stack(folder)
    mr_to_ct = read_mr_to_ct(sorted(folder.glob("RE*.dcm")), mr, scene.stack)
    values = mr.sample(moved(np.asarray(np.linalg.inv(mr_to_ct), dtype=float), scene.grid()))
    shown = values[np.isfinite(values) & (values != 0)]
    if not shown.size:
        raise CaseError("the MR shows nothing where the GTV lies on the planning CT.")
    low, high = np.percentile(shown, _MR_PERCENTILES).tolist()
    return _draw(scene, values, low, max(high, low + 1e-6))


def _stack(folder: Path) -> Stack:
    stack = read_stack(folder)
    if stack.facts.duplicate_positions:
        raise CaseError("several of its images lie in one place.")
    return stack


def _is_outlined(name: str) -> bool:
    return role_of(name) in OUTLINES


def _set_scene(folder: Path) -> _Scene:
    stack = _stack(folder)
    masks: dict[Role, Mask] = {}
    for roi in read_structures_on(stack, folder, _is_outlined).rois:
        role = role_of(roi.name)
        if role not in masks:  # as the training takes the first
            mask = rasterise(roi.contours, stack)
            if mask.voxels:
                masks[role] = mask
    if Role.GTV not in masks:
        raise CaseError("its structure set has no gtv+ with a voxel on any of its images.")
    gtv = masks[Role.GTV]
    occupied = np.flatnonzero(gtv.inside.any(axis=(1, 2))) + gtv.box[0].start
    middle = (occupied[0] + occupied[-1]) / 2
    plane = int(min(occupied, key=lambda index: abs(index - middle)))

    every = np.concatenate([np.argwhere(m.plane(plane, stack.shape)) for m in masks.values()])
    low, high = every.min(axis=0), every.max(axis=0)
    across, down, _ = stack.geometry.spacing
    side = float(((high - low + 1) * (down, across)).max())
    return _Scene(
        stack=stack,
        plane=plane,
        masks=masks,
        centre=stack.to_patient(np.array([plane, *(low + high) / 2])),
        half=max(side / 2 + _MARGIN_MM, _SMALLEST_HALF_MM),
    )


def _draw(scene: _Scene, values: FloatArray, low: float, high: float) -> bytes:
    """Draw values as grey levels from ``low`` to ``high`` under the outlines; a PNG file."""
    # Imported here: it takes a second, and a run without pictures needs none of it. The Figure
    # is used by itself because pyplot would keep every figure of a long run alive.
    from matplotlib.figure import Figure
    from matplotlib.patheffects import AbstractPathEffect, withStroke
    from PIL import Image

    half = scene.half
    grey = np.nan_to_num(np.clip((values - low) / (high - low), 0.0, 1.0))
    figure = Figure(figsize=(_PIXELS / 100, _PIXELS / 100), dpi=100)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.imshow(
        grey, cmap="gray", vmin=0, vmax=1, extent=(-half, half, half, -half), interpolation="none"
    )
    halo: list[AbstractPathEffect] = [withStroke(linewidth=2.6, foreground="#000000a0")]
    for role, colour in OUTLINES.items():
        if scene.inside(role).any():
            outline = axes.contour(
                scene.steps(),
                scene.steps(),
                scene.coverage(role),
                levels=[0.5],
                colors=[colour],
                linewidths=1.4,
            )
            outline.set_path_effects(halo)
            axes.plot([], [], color=colour, linewidth=1.4, label=LOOKED_FOR[role])
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
    for border, letters in border_letters(*scene.stack.axes[:2]).items():
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
