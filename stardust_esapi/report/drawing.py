"""Draw a section of an image with outlines: the one way in which pictures of cases come about.

A section is sampled on a square grid in its plane, so millimetres are square whatever the voxels
are, and images that are registered with one another lie under the same outlines, pixel on pixel.
What is outlined are masks, as training files have them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from stardust_esapi.errors import CaseError
from stardust_esapi.geometry import FloatArray
from stardust_esapi.mask import IntArray, Mask, Slices
from stardust_esapi.model import Kind, Role
from stardust_esapi.names import LOOKED_FOR

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

# Okabe and Ito's palette: told apart with any colour vision, and both bright on grey.
OUTLINES = {Role.GTV: "#E69F00", Role.TARGET: "#56B4E9"}
"""What is outlined, and in which colour."""

PIXELS = 320
"""Of a side of every picture."""

_GREYS = 40
_MARGIN_MM = 25.0
_SMALLEST_HALF_MM = 50.0
_CT_LEVEL, _CT_WIDTH = 40.0, 400.0  # HU; as the consumer windows it
_MR_PERCENTILES = (0.5, 99.5)  # of the non-zero voxels; as the consumer clips it
_LETTER_COSINE = 0.26  # a direction within 75 degrees of an axis carries that axis' letter
_SCALES_MM = (100, 50, 20, 10)
_LONGEST_SCALE = 0.3  # of a side
_FINER = 3  # what lies over the image is drawn so many times as large, so that lines are smooth
_HALO = (0, 0, 0, 170)


class Plane(StrEnum):
    """How a section cuts the patient."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


# Patient axes (L, P, H) of a section as radiology shows it: along its normal, to the right, down.
_SHOWN = {Plane.AXIAL: (2, 0, 1), Plane.CORONAL: (1, 0, 2), Plane.SAGITTAL: (0, 1, 2)}


@dataclass(frozen=True, eq=False)
class View:
    """The square that a picture shows.

    Attributes:
        centre: Its middle in patient space, mm.
        right: Unit vector that points right in the picture.
        down: Unit vector that points down in it.
        half: Half its side, mm.
    """

    centre: FloatArray
    right: FloatArray
    down: FloatArray
    half: float

    def points(self) -> FloatArray:
        """Patient points (mm) of the pixels' centres, shape (pixels, pixels, 3)."""
        steps = ((np.arange(PIXELS) + 0.5) / PIXELS * 2 - 1) * self.half
        across, down = np.meshgrid(steps, steps)
        points: FloatArray = self.centre + across[..., None] * self.right
        points += down[..., None] * self.down
        return points

    @property
    def scale_mm(self) -> int:
        """How long the scale bar is."""
        longest = _LONGEST_SCALE * 2 * self.half
        return next((mm for mm in _SCALES_MM if mm <= longest), _SCALES_MM[-1])


@dataclass(frozen=True, eq=False)
class Scene:
    """What pictures show of: GTV and target as masks on the slices that they were drawn on.

    Attributes:
        slices: Of the CT.
        masks: What is outlined; the GTV with at least one voxel.
    """

    slices: Slices
    masks: Mapping[Role, Mask]

    def middle(self, axis: int) -> int:
        """Index along an axis (plane, row, column) that has voxels of the GTV, nearest its middle.

        Of a GTV in two parts, or one that is bent, the middle itself may have none.
        """
        gtv = self.masks[Role.GTV]
        others = tuple(other for other in range(3) if other != axis)
        occupied = np.flatnonzero(gtv.inside.any(axis=others)) + gtv.box[axis].start
        middle = (occupied[0] + occupied[-1]) / 2
        return int(min(occupied, key=lambda index: abs(index - middle)))

    def section(self, role: Role, axis: int) -> IntArray:
        """Voxels (plane, row, column) of a structure in the GTV's middle section, shape (n, 3)."""
        mask = self.masks.get(role)
        within = self.middle(axis) - mask.box[axis].start if mask else -1
        if mask is None or not 0 <= within < mask.inside.shape[axis]:
            return np.empty((0, 3), dtype=np.intp)
        voxels = np.argwhere(np.take(mask.inside, [within], axis=axis))
        voxels[:, axis] = within
        voxels += [box.start for box in mask.box]
        return voxels

    def section_view(self, axis: int, right: FloatArray, down: FloatArray) -> View:
        """The square around GTV and target in the GTV's middle section across an axis."""
        every = np.concatenate([self.section(role, axis) for role in self.masks])
        low, high = every.min(axis=0), every.max(axis=0)
        sizes = (high - low + 1) * self.slices.geometry.spacing[::-1]
        side = float(np.delete(sizes, axis).max())
        return View(
            centre=self.slices.to_patient((low + high) / 2),
            right=right,
            down=down,
            half=max(side / 2 + _MARGIN_MM, _SMALLEST_HALF_MM),
        )

    def shown_as(self, plane: Plane) -> View:
        """The same as radiology shows a plane: the patient's right and front, and the head on top.

        Its sides are those of the voxels; of an oblique image each stands for what it is nearest.
        """
        normal, to_right, to_bottom = _SHOWN[plane]
        axes = self.slices.axes[::-1]  # plane, row, column
        nearest = max(
            permutations(range(3)),
            key=lambda order: sum(abs(axes[own][axis]) for axis, own in enumerate(order)),
        )
        left, back, head = (
            axes[nearest[axis]] * np.sign(axes[nearest[axis]][axis]) for axis in range(3)
        )
        towards = (left, back, -head)
        return self.section_view(nearest[normal], towards[to_right], towards[to_bottom])

    def coverage(self, role: Role, points: FloatArray) -> FloatArray:
        """How far patient points lie within a structure: above a half, they do.

        At the centre of a voxel it is 1 or 0, as the training has it; between centres it is
        interpolated, so that the outline runs half-way between voxels in and out.
        """
        from scipy.ndimage import map_coordinates

        mask = self.masks.get(role)
        if mask is None:
            return np.zeros(points.shape[:-1])
        at = np.moveaxis(self.slices.to_index(points) - [box.start for box in mask.box], -1, 0)
        inside = mask.inside.astype(np.float32)
        covered: FloatArray = map_coordinates(inside, at, float, order=1, mode="grid-constant")
        return covered

    def outlines(self, view: View) -> Image:
        """What lies over the images of a view: outlines, letters and scale; an RGBA picture."""
        points = view.points()
        return _overlay(view, {role: self.coverage(role, points) for role in OUTLINES})


def grey(kind: Kind, *sampled: FloatArray) -> list[Image]:
    """Sampled values as grey levels, in one window; what is not finite is black.

    Args:
        kind: What was sampled: a CT has one window for all, an MR one of what it shows.
        sampled: Values of each view, shape (pixels, pixels).

    Returns:
        Pictures with mode L.

    Raises:
        CaseError: There is nothing to see.
    """
    from PIL import Image

    low, high = _CT_LEVEL - _CT_WIDTH / 2, _CT_LEVEL + _CT_WIDTH / 2
    every = np.concatenate([values.ravel() for values in sampled])
    shown = every[np.isfinite(every) & (every != 0)]
    if kind is Kind.MR:
        if not shown.size:
            raise CaseError("the MR shows nothing where the GTV lies on the planning CT.")
        low, high = np.percentile(shown, _MR_PERCENTILES).tolist()
    wide = max(high - low, 1e-6)
    return [
        Image.fromarray(
            np.nan_to_num(np.clip((values - low) / wide, 0, 1) * 255).round().astype(np.uint8)
        )
        for values in sampled
    ]


def png(image: Image, over: Image) -> bytes:
    """An image with what lies over it as a PNG file, in few colours.

    A noisy slice in true colour would take three times the room of the few colours it needs.
    """
    from PIL import Image

    few_colours = Image.new("P", (1, 1))
    few_colours.putpalette(_palette())
    picture = image.convert("RGB")
    picture.paste(over, mask=over)
    file = io.BytesIO()
    picture.quantize(palette=few_colours, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def _palette() -> list[int]:
    """R, G, B, R, G, B, … (0 to 255): greys, and the outlines' colours blending into them."""
    greys = np.repeat(np.linspace(0, 255, _GREYS)[:, None], 3, axis=1)
    bright = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in OUTLINES.values()])
    share = np.linspace(0.2, 1.0, 5)[:, None, None, None]
    under = np.array([0.0, 128.0, 255.0])[:, None]
    blends = share * bright[:, None, :] + (1 - share) * under
    return np.concatenate([greys, blends.reshape(-1, 3)]).round().astype(int).ravel().tolist()


def _overlay(view: View, covered: Mapping[Role, FloatArray]) -> Image:
    # Imported here: a run without pictures needs none of it.
    from contourpy import LineType, contour_generator
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.new("RGBA", (PIXELS * _FINER, PIXELS * _FINER))
    draw = ImageDraw.Draw(canvas)
    lines = {
        role: [
            [((x + 0.5) * _FINER, (y + 0.5) * _FINER) for x, y in np.asarray(line).tolist()]
            for line in contour_generator(z=values, line_type=LineType.Separate).lines(0.5)
        ]
        for role, values in covered.items()
    }
    for width, colour in ((2.8, _HALO), (1.6, None)):
        for role, drawn in lines.items():
            for line in drawn:
                draw.line(line, colour or OUTLINES[role], round(width * _FINER), joint="curve")
    font = ImageFont.load_default(13 * _FINER)
    assert not isinstance(font, ImageFont.ImageFont)  # Pillow's wheels have FreeType
    _legend(draw, font, [role for role, drawn in lines.items() if drawn])
    _letters(draw, font, view)
    _scale(draw, font, view)
    return canvas.reduce(_FINER)


def _text(
    draw: ImageDraw, at: tuple[float, float], text: str, font: FreeTypeFont, anchor: str
) -> None:
    place = (at[0] * _FINER, at[1] * _FINER)
    draw.text(place, text, "white", font, anchor, stroke_width=_FINER, stroke_fill=_HALO)


def _legend(draw: ImageDraw, font: FreeTypeFont, roles: list[Role]) -> None:
    if not roles:
        return
    high, wide = (
        15 * len(roles) + 5,
        26 + max(font.getlength(LOOKED_FOR[r]) for r in roles) / _FINER,
    )
    box = [n * _FINER for n in (4, PIXELS - 4 - high, 8 + wide, PIXELS - 4)]
    draw.rectangle(box, _HALO)
    for row, role in enumerate(roles):
        y = PIXELS - 4 - high + 10 + 15 * row
        line = [(8 * _FINER, y * _FINER), (24 * _FINER, y * _FINER)]
        draw.line(line, OUTLINES[role], round(1.6 * _FINER))
        draw.text((29 * _FINER, y * _FINER), LOOKED_FOR[role], "white", font, "lm")


def _letters(draw: ImageDraw, font: FreeTypeFont, view: View) -> None:
    end, half = PIXELS - 8, PIXELS // 2
    places = {"left": (8, half, "lm"), "right": (end, half, "rm")}
    places |= {"top": (half, 8, "mt"), "bottom": (half, end, "mb")}
    for border, letters in border_letters(view.right, view.down).items():
        x, y, anchor = places[border]
        _text(draw, (x, y), letters, font, anchor)


def _scale(draw: ImageDraw, font: FreeTypeFont, view: View) -> None:
    """A bar of a round length, which ends at the right."""
    long = view.scale_mm / (2 * view.half) * PIXELS
    right, y = PIXELS - 10, PIXELS - 10
    box = [right - long, y - 1.5, right, y + 1.5]
    around = [box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1]
    for edges, colour in ((around, _HALO), (box, "white")):
        # The last pixel of a rectangle belongs to it.
        x0, y0, x1, y1 = (round(edge * _FINER) for edge in edges)
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), colour)
    _text(draw, (right, y - 5), f"{view.scale_mm} mm", font, "rb")


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
