"""What was measured of a case on its way: plain numbers for the gates, the sidecar, the overview.

Nothing here says whether a number is good; :mod:`stardust_esapi.dataset.gates` does.
"""

from __future__ import annotations

from dataclasses import dataclass

from stardust_esapi.dicom.read_series import VolumeFacts
from stardust_esapi.model import Kind, Role


@dataclass(frozen=True, slots=True)
class IntensityFacts:
    """How the voxel values are distributed (HU in CT).

    Attributes:
        lowest: Smallest value.
        highest: Largest value.
        share_below: Share of voxels below -1100 HU, which no tissue and no air has; 0 for MR.
        share_above: Share of voxels above 4000 HU; 0 for MR.
        window: The values that become 0 and 255.
        edges: Edges of the bins of ``counts``; one more than they are.
        counts: Histogram over every fourth row and column of every slice.
        gtv_greys: How many grey values of 256 the middle nine tenths of the GTV span; 256 of a CT,
            and without a GTV.
        body_greys: The same of what is neither black nor white.
    """

    lowest: float
    highest: float
    share_below: float
    share_above: float
    window: tuple[float, float]
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    gtv_greys: int = 256
    body_greys: int = 256


@dataclass(frozen=True, slots=True)
class StructureFacts:
    """One structure as it stands in the training file.

    Attributes:
        name: Its name in ``label_names``.
        label: Its value in ``gts``.
        role: What it is to the training.
        voxels: Voxels within it, those included that a structure above it takes.
        volume_ml: Their volume, ml.
        off_slice_mm: Largest distance of its contours' points from the slices they went to.
        left_out_contours: Contours with no slice within half the usual distance.
        in_target: Share of its voxels that lie in the target; 1 for all but the GTV.
        in_image: Share of a GTV or target that the image shows; 1 where it was drawn on the image.
        finer_contours: Contours passed over because it was drawn on finer slices.
        united_slices: Slices on which its contours cross and were united.
    """

    name: str
    label: int
    role: Role
    voxels: int
    volume_ml: float
    off_slice_mm: float
    left_out_contours: int
    in_target: float = 1.0
    in_image: float = 1.0
    finer_contours: int = 0
    united_slices: int = 0


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """All that the gates judge a case by.

    Attributes:
        kind: CT, KM or MR.
        transferred: Whether the structures came from the CT through a registration.
        volume: How the slices lie.
        intensity: How the values are distributed.
        structures: What is labelled, by label.
        drawn_on: How the slices of the CT lie that transferred structures were drawn on.
        not_as_listed: Where the export found GTV and target not to be what the case list says.
    """

    kind: Kind
    transferred: bool
    volume: VolumeFacts
    intensity: IntensityFacts
    structures: tuple[StructureFacts, ...]
    drawn_on: VolumeFacts | None = None
    not_as_listed: tuple[str, ...] = ()
