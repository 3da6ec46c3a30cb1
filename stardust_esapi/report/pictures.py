"""One small picture a kind and case: the GTV's middle slice with its outlines.

The pictures are drawn from the exported files, not from Eclipse, and with the very readers and
masks that training files are created with: they show what a reader of the export will find. How
they are drawn is :mod:`stardust_esapi.report.drawing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stardust_esapi.dicom.read_registration import read_mr_to_ct
from stardust_esapi.dicom.read_series import Stack, read_stack
from stardust_esapi.dicom.read_structure_set import read_structures_on
from stardust_esapi.errors import CaseError
from stardust_esapi.geometry import FloatArray, moved
from stardust_esapi.mask import Mask, rasterise
from stardust_esapi.model import IMAGE_KINDS, Kind, Role
from stardust_esapi.names import LOOKED_FOR, role_of
from stardust_esapi.report.drawing import OUTLINES, Scene, View, grey, png

if TYPE_CHECKING:
    from PIL.Image import Image

_ACROSS = 0  # slices: the report shows the planes that were imaged


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
    scenes: dict[Kind, _CtScene] = {}
    for kind in IMAGE_KINDS:
        if kind not in folders:
            continue
        try:
            if kind is Kind.MR:
                images[kind] = _draw_mr(folders[kind], scenes.get(Kind.CT))
            else:
                scenes[kind] = _set_scene(folders[kind])
                images[kind] = _draw_ct(kind, scenes[kind])
                problems += [
                    f"The picture of the {kind} shows no {LOOKED_FOR[role]}: it has no voxel on "
                    "the GTV's middle slice."
                    for role in OUTLINES
                    if not len(scenes[kind].section(role, _ACROSS))
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
class _CtScene(Scene):
    """What a picture shows, and the CT that it lies on."""

    stack: Stack

    @cached_property
    def view(self) -> View:
        """The square in the GTV's middle slice, its rows and columns as they are stored."""
        return self.section_view(_ACROSS, *self.slices.axes[:2])

    def drawn(self, kind: Kind, values: FloatArray) -> bytes:
        """A PNG file of values that were sampled in the square."""
        (image,) = grey(kind, values)
        return png(image, self._over)

    @cached_property
    def _over(self) -> Image:
        return self.outlines(self.view)


def _draw_ct(kind: Kind, scene: _CtScene) -> bytes:
    return scene.drawn(kind, scene.stack.sample(scene.view.points()))


def _draw_mr(folder: Path, scene: _CtScene | None) -> bytes:
    if scene is None:
        raise CaseError("it would carry the planning CT's outlines, and there are none.")
    mr = _stack(folder)
    mr_to_ct = read_mr_to_ct(sorted(folder.glob("RE*.dcm")), mr, scene.stack)
    ct_to_mr = np.asarray(np.linalg.inv(mr_to_ct), dtype=float)
    return scene.drawn(Kind.MR, mr.sample(moved(ct_to_mr, scene.view.points())))


def _stack(folder: Path) -> Stack:
    stack = read_stack(folder)
    if stack.facts.duplicate_positions:
        raise CaseError("several of its images lie in one place.")
    return stack


def _is_outlined(name: str) -> bool:
    return role_of(name) in OUTLINES


def _set_scene(folder: Path) -> _CtScene:
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
    return _CtScene(stack, masks, stack)
