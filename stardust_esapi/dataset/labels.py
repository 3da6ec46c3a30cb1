"""Labels and grey values as MedSAM2 trains on them.

Label 1 is ``gtv+``, 2 ``target+``, 3 and on are the others, the largest first; smaller ones lie
over larger ones, the target over them, the GTV over all. Others are renamed ``<id>_pos+`` where
they share a voxel with the GTV, and ``<id>_neg+`` where not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.dataset.facts import IntensityFacts, StructureFacts
from stardust_esapi.dicom.read_series import Stack
from stardust_esapi.mask import Mask, overlap
from stardust_esapi.model import Role
from stardust_esapi.names import LOOKED_FOR, role_of

Bytes3D = NDArray[np.uint8]

GTV_LABEL, TARGET_LABEL, FIRST_OTHER = 1, 2, 3
MOST_OTHERS = 253
BACKGROUND = "background"

CT_WINDOW = (-160.0, 240.0)
"""Level 40, width 400 HU."""
MR_PERCENTILES = (0.5, 99.5)
"""Of the voxels that are neither zero nor padding."""

_NO_TISSUE_HU = (-1100.0, 4000.0)
CT_EDGES = tuple(float(edge) for edge in range(-1024, 3073, 64))
"""Of the bins that HU are counted in; all of one width."""
_MR_BINS = 64
_HISTOGRAM_STEP = 4


@dataclass(frozen=True, slots=True)
class Named:
    """A structure's name and voxels, and which share of it the image shows."""

    name: str
    mask: Mask
    in_image: float = 1.0


@dataclass(frozen=True, slots=True)
class Numbered:
    """The structures of a case in one array.

    Attributes:
        gts: Labels, shape (slices, rows, columns).
        names: Label to name; without the background.
        structures: What was measured of each, by label.
        notes: What was left out, and why.
    """

    gts: Bytes3D = field(repr=False)
    names: dict[int, str]
    structures: tuple[StructureFacts, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Labelled:
    """What becomes one training file.

    Attributes:
        imgs: Grey values, shape (slices, rows, columns).
        intensity: How the values they were made of are distributed.
        numbered: The labels.
    """

    imgs: Bytes3D = field(repr=False)
    intensity: IntensityFacts
    numbered: Numbered

    @property
    def gts(self) -> Bytes3D:
        """Labels, shape (slices, rows, columns)."""
        return self.numbered.gts

    @property
    def names(self) -> dict[int, str]:
        """Label to name."""
        return self.numbered.names


def label(stack: Stack, structures: Sequence[Named]) -> Labelled:
    """Grey values and labels of a case."""
    numbered = number(structures, stack)
    imgs, intensity = window(stack)
    if stack.modality == "MR":
        counts = np.sum([np.bincount(plane.ravel(), minlength=256) for plane in imgs], axis=0)
        intensity = replace(intensity, body_greys=_greys(counts[1:255]))
        gtv = imgs[numbered.gts == GTV_LABEL]
        if gtv.size:
            intensity = replace(intensity, gtv_greys=_greys(np.bincount(gtv)))
    return Labelled(imgs, intensity, numbered)


def _greys(counts: NDArray[np.int64]) -> int:
    """How many values the middle nine tenths span, by how often each value occurs."""
    up_to = np.cumsum(counts)
    if not up_to[-1]:
        return 0
    low = np.searchsorted(up_to, 0.05 * up_to[-1], side="right")
    high = np.searchsorted(up_to, 0.95 * up_to[-1])
    return int(high - low) + 1


def number(structures: Sequence[Named], stack: Stack) -> Numbered:
    """Give each structure its label and name, and paint it where no higher one lies."""
    notes: list[str] = []
    chosen: dict[Role, Named] = {}
    others: list[Named] = []
    for one in structures:
        role = role_of(one.name)
        if one.mask.voxels == 0:
            notes.append(f"{one.name} has no voxel and was left out.")
        elif role is Role.OTHER:
            others.append(one)
        elif role in chosen:
            notes.append(
                f"{one.name} was left out: {chosen[role].name} is taken for {LOOKED_FOR[role]}."
            )
        else:
            chosen[role] = one
    others.sort(key=lambda one: -one.mask.voxels)  # stable: equal ones as in the file
    for one in others[MOST_OTHERS:]:
        notes.append(f"{one.name} was left out: 8 bits hold the {MOST_OTHERS} largest others.")
    gtv, target = chosen.get(Role.GTV), chosen.get(Role.TARGET)

    gts = np.zeros(stack.shape, dtype=np.uint8)
    facts = []
    for value, one in enumerate(others[:MOST_OTHERS], FIRST_OTHER):
        touches = gtv is not None and overlap(gtv.mask, one.mask) > 0
        name = f"{one.name}_{'pos' if touches else 'neg'}+"
        facts.append(_measure(one, name, value, Role.OTHER, stack))
        _paint(gts, one.mask, value)
    if target:
        facts.insert(0, _measure(target, "target+", TARGET_LABEL, Role.TARGET, stack))
        _paint(gts, target.mask, TARGET_LABEL)
    if gtv:
        within = overlap(gtv.mask, target.mask) / gtv.mask.voxels if target else 0.0
        facts.insert(0, _measure(gtv, "gtv+", GTV_LABEL, Role.GTV, stack, within))
        _paint(gts, gtv.mask, GTV_LABEL)
    return Numbered(gts, {f.label: f.name for f in facts}, tuple(facts), tuple(notes))


def _measure(
    one: Named, name: str, value: int, role: Role, stack: Stack, in_target: float = 1.0
) -> StructureFacts:
    return StructureFacts(
        name=name,
        label=value,
        role=role,
        voxels=one.mask.voxels,
        volume_ml=one.mask.voxels * float(np.prod(stack.geometry.spacing)) / 1000.0,
        off_slice_mm=one.mask.off_slice_mm,
        left_out_contours=one.mask.left_out,
        in_target=in_target,
        in_image=one.in_image,
        finer_contours=one.mask.finer,
        united_slices=one.mask.united,
    )


def _paint(gts: Bytes3D, mask: Mask, value: int) -> None:
    gts[mask.box][mask.inside] = value


def window(stack: Stack) -> tuple[Bytes3D, IntensityFacts]:
    """Grey values of a series: CT by the window, MR by its percentiles.

    CT is read slice by slice: the whole of its HU is never in memory.
    """
    return _window_mr(stack) if stack.modality == "MR" else _window_ct(stack)


def _window_ct(stack: Stack) -> tuple[Bytes3D, IntensityFacts]:
    imgs = np.empty(stack.shape, dtype=np.uint8)
    counts = np.zeros(len(CT_EDGES) - 1, dtype=np.int64)
    lows, highs, below, above = [], [], 0, 0
    values = np.empty(stack.shape[1:], dtype=np.float32)
    for plane, grey in enumerate(imgs):
        stack.plane(plane, values)
        lows.append(float(values.min()))
        highs.append(float(values.max()))
        if lows[-1] < _NO_TISSUE_HU[0]:
            below += int(np.count_nonzero(values < _NO_TISSUE_HU[0]))
        if highs[-1] > _NO_TISSUE_HU[1]:
            above += int(np.count_nonzero(values > _NO_TISSUE_HU[1]))
        counts += _histogram(values, CT_EDGES)
        _scale(values, CT_WINDOW, grey)
    return imgs, IntensityFacts(
        lowest=min(lows),
        highest=max(highs),
        share_below=below / imgs.size,
        share_above=above / imgs.size,
        window=CT_WINDOW,
        edges=CT_EDGES,
        counts=tuple(counts.tolist()),
    )


def _window_mr(stack: Stack) -> tuple[Bytes3D, IntensityFacts]:
    voxels = stack.values()
    outside = stack.outside(voxels)
    signal = voxels[(voxels != 0) & ~outside]
    low, high = (
        (float(value) for value in np.percentile(signal, MR_PERCENTILES, overwrite_input=True))
        if signal.size
        else (0.0, 0.0)
    )
    voxels[outside] = low
    edges = tuple(np.linspace(low, max(high, low + 1.0), _MR_BINS + 1).tolist())
    counts = np.zeros(_MR_BINS, dtype=np.int64)
    imgs = np.empty(stack.shape, dtype=np.uint8)
    for values, grey in zip(voxels, imgs, strict=True):
        counts += _histogram(values, edges)
        _scale(values.copy(), (low, high), grey)
    return imgs, IntensityFacts(
        lowest=float(voxels.min()),
        highest=float(voxels.max()),
        share_below=0.0,
        share_above=0.0,
        window=(low, high),
        edges=edges,
        counts=tuple(counts.tolist()),
    )


def _histogram(values: NDArray[np.float32], edges: tuple[float, ...]) -> NDArray[np.int64]:
    """Count by bins of one width; what lies beyond the ends goes into the first and last."""
    some = values[::_HISTOGRAM_STEP, ::_HISTOGRAM_STEP]
    bins = len(edges) - 1
    at = (some - edges[0]) * (bins / (edges[-1] - edges[0]))
    return np.bincount(np.clip(at, 0, bins - 1).astype(np.intp).ravel(), minlength=bins)


def _scale(values: NDArray[np.float32], bounds: tuple[float, float], grey: Bytes3D) -> None:
    """Fill ``grey`` with 0 at the lower bound to 255 at the upper one; ``values`` are used up.

    Fractions are cut off, as the consumer's own conversion does.
    """
    low, high = bounds
    if high <= low:
        grey[...] = 0
        return
    np.clip(values, low, high, out=values)
    values -= low
    values *= 255.0  # first, and exact: a value that is whole must not end just below
    values /= high - low
    grey[...] = values
