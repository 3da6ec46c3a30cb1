"""Judge whether a case is good enough to train on, with reasons.

What was measured (:mod:`stardust_esapi.dataset.facts`) meets the site's thresholds
(:class:`~stardust_esapi.settings.Gates`). GTV and target are judged where the export judges them,
in :mod:`stardust_esapi.judge`. The sentences name no patient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stardust_esapi import judge as tumour
from stardust_esapi.dataset.facts import CaseFacts, StructureFacts
from stardust_esapi.dicom.read_series import VolumeFacts
from stardust_esapi.judge import ContourFacts, TumourFacts, percent
from stardust_esapi.model import Finding, Kind, Role
from stardust_esapi.settings import Gate, Gates
from stardust_esapi.wording import counted, counted_are

# Of 256, that GTV and body of an MR must span: noise alone spans more, where the window is right.
_FEWEST_GREYS = 4

# What a gate says: the sentence, and whether the case could stand for all that.
_Said = tuple[str, bool]


def judge(facts: CaseFacts, gates: Gates) -> tuple[Finding, ...]:
    """Hold a case against the thresholds; of a good one there is nothing to say."""
    return tuple(
        Finding(gate, text, fatal and gate not in gates.note_only)
        for gate, look in _GATES.items()
        for text, fatal in look(facts, gates)
    )


def _gtv(facts: CaseFacts, gates: Gates) -> Iterator[_Said]:
    gtv = _structure(facts, Role.GTV)
    if gtv is None or gtv.voxels == 0:
        yield "The GTV is missing or has no voxel within the image.", True
        return
    tiny = [(text, True) for text in tumour.gtv(_tumour(facts, gtv), gates)]
    yield from tiny
    if not tiny and gtv.in_image < gates.gtv_in_image:
        yield (
            f"The {facts.kind} shows {percent(gtv.in_image)} of the GTV; "
            f"it must show {percent(gates.gtv_in_image)}.",
            True,
        )


def _target(facts: CaseFacts, gates: Gates) -> Iterator[_Said]:
    gtv, target = _structure(facts, Role.GTV), _structure(facts, Role.TARGET)
    if target is None or target.voxels == 0:
        yield "The target is missing or has no voxel within the image.", True
        return
    wrong = []
    if gtv is not None and gtv.voxels:
        wrong = [(text, True) for text in tumour.target(_tumour(facts, gtv), gates)]
    yield from wrong
    if not wrong and target.in_image < gates.gtv_in_image:
        yield f"The {facts.kind} shows {percent(target.in_image)} of the target.", False


def _tumour(facts: CaseFacts, gtv: StructureFacts) -> TumourFacts:
    target = _structure(facts, Role.TARGET)
    # What the case list says of the volumes was judged on the planning CT, by the export.
    return TumourFacts(
        gtv_ml=gtv.volume_ml,
        gtv_voxels=gtv.voxels,
        target_ml=target.volume_ml if target is not None else 0.0,
        gtv_in_target=gtv.in_target,
    )


def _listed_volumes(facts: CaseFacts, gates: Gates) -> Iterator[_Said]:  # noqa: ARG001
    for text in facts.not_as_listed:
        yield text, True


def _volumes(facts: CaseFacts) -> Iterator[tuple[VolumeFacts, str]]:
    """What the masks depend on, and how a sentence about it begins."""
    yield facts.volume, ""
    if facts.drawn_on:
        yield facts.drawn_on, "In the CT that the structures were drawn on: "


def _slices(facts: CaseFacts, gates: Gates) -> Iterator[_Said]:
    for volume, where in _volumes(facts):
        for sentence in _slices_of(volume, gates):
            yield f"{where}{sentence}", True


def _slices_of(volume: VolumeFacts, gates: Gates) -> Iterator[str]:
    if volume.missing_slices > gates.missing_slices:
        yield (
            f"{counted_are(volume.missing_slices, 'slice')} missing: the widest gap is "
            f"{max(volume.gaps_mm, default=0.0):.2f} mm, slices lie {volume.spacing_mm:.2f} mm "
            "apart."
        )
    # A gap is a distance that differs: said once.
    elif not volume.gaps_mm and volume.spacing_spread_mm > gates.spacing_spread_mm:
        yield (
            f"The slices lie unevenly: their distances differ by {volume.spacing_spread_mm:.2f} "
            f"mm; {gates.spacing_spread_mm:g} mm are allowed."
        )
    if volume.shear_mm > gates.shear_mm:
        yield (
            f"The slices are shifted against one another by {volume.shear_mm:.2f} mm (a tilted "
            f"gantry?); {gates.shear_mm:g} mm are allowed."
        )


def _duplicates(facts: CaseFacts, gates: Gates) -> Iterator[_Said]:
    for volume, where in _volumes(facts):
        for count, what in (
            (volume.duplicate_positions, "lie where another image lies"),
            (volume.duplicate_uids, "bear the SOP Instance UID of another image"),
        ):
            if count > gates.duplicates:
                of_all = f"{count} of {counted(volume.images, 'image')}"
                yield f"{where}{of_all} {what}: the series is there twice.", True


def _contours(facts: CaseFacts, gates: Gates) -> Iterator[_Said]:
    for one in facts.structures:
        decides = one.role is not Role.OTHER
        drawn = ContourFacts(one.left_out_contours, one.united_slices)
        for text in tumour.contours(one.name, drawn):
            yield text, decides
        if one.finer_contours:
            yield (
                f"{one.name}: passed over {counted(one.finer_contours, 'contour')} between the "
                "slices: it was drawn on finer ones.",
                False,
            )
        if one.off_slice_mm > gates.off_slice_mm:
            yield (
                f"{one.name}: contours lie up to {one.off_slice_mm:.2f} mm off their slices; "
                f"{gates.off_slice_mm:g} mm are allowed.",
                decides,
            )


def _values(facts: CaseFacts, gates: Gates) -> Iterator[_Said]:
    values = facts.intensity
    if values.highest <= values.lowest:
        yield f"All voxels have the same value ({values.lowest:g}).", True
        return
    if facts.kind is Kind.MR:  # its units mean nothing
        for what, greys in (("GTV", values.gtv_greys), ("body", values.body_greys)):
            if greys < _FEWEST_GREYS:
                yield (
                    f"The {what} is nearly one grey value: it spans {greys} of 256, and "
                    f"{_FEWEST_GREYS} are wanted. Something beside the patient has very low or "
                    "very high values, and is not declared as padding.",
                    True,
                )
        return
    if values.lowest > gates.lowest_hu or values.highest < gates.highest_hu:
        yield (
            f"The values are no HU of a body in air: {values.lowest:.0f} to {values.highest:.0f}; "
            f"they must reach from {gates.lowest_hu:g} to {gates.highest_hu:g}.",
            True,
        )
    for share, most, where in (
        (values.share_below, gates.share_below, "below -1100 HU"),
        (values.share_above, gates.share_above, "above 4000 HU"),
    ):
        if share > most:
            yield (
                f"{percent(share)} of the voxels are {where}; {percent(most)} are allowed.",
                True,
            )


_GATES: dict[Gate, Callable[[CaseFacts, Gates], Iterator[_Said]]] = {
    Gate.GTV: _gtv,
    Gate.TARGET: _target,
    Gate.VOLUMES: _listed_volumes,
    Gate.SLICES: _slices,
    Gate.DUPLICATES: _duplicates,
    Gate.CONTOURS: _contours,
    Gate.VALUES: _values,
}


def _structure(facts: CaseFacts, role: Role) -> StructureFacts | None:
    return next((one for one in facts.structures if one.role is role), None)
