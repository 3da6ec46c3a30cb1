"""Judge GTV and target: plausible, and still what was accepted?

The one place for it: a run without write, the export and the dataset hold the same facts against
the same thresholds (:class:`~stardust_esapi.settings.Gates`). The sentences name no patient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stardust_esapi.model import Finding
from stardust_esapi.settings import Gate, Gates
from stardust_esapi.wording import counted

_LARGER = 1.001  # volumes that differ by less are the same


@dataclass(frozen=True, slots=True)
class ContourFacts:
    """What of a structure's contours its voxels do not show.

    Attributes:
        left_out: Contours that lie by no slice.
        united: Slices on which contours cross and were united.
    """

    left_out: int = 0
    united: int = 0


@dataclass(frozen=True, slots=True)
class TumourFacts:
    """GTV and target as they are, and as the case list has them; volumes in ml.

    Attributes:
        gtv_ml: Volume of the GTV, …
        gtv_voxels: … and its voxels, at least one.
        target_ml: Volume of the target.
        gtv_in_target: Share of the GTV's voxels that lie in the target.
        listed_gtv_ml: ``GTV-Volume`` of the case list; None where it is not known.
        listed_target_ml: ``TargetVolume``; likewise.
        gtv_contours: How the GTV is drawn.
        target_contours: How the target is.
    """

    gtv_ml: float
    gtv_voxels: int
    target_ml: float
    gtv_in_target: float
    listed_gtv_ml: float | None = None
    listed_target_ml: float | None = None
    gtv_contours: ContourFacts = ContourFacts()
    target_contours: ContourFacts = ContourFacts()


def judge(facts: TumourFacts, gates: Gates) -> tuple[Finding, ...]:
    """Hold GTV and target against the thresholds; of good ones there is nothing to say."""
    looks: dict[Gate, Callable[[TumourFacts, Gates], Iterator[str]]] = {
        Gate.GTV: gtv,
        Gate.TARGET: target,
        Gate.VOLUMES: volumes,
        Gate.CONTOURS: _contours,
    }
    return tuple(
        Finding(gate, text, gate not in gates.note_only)
        for gate, look in looks.items()
        for text in look(facts, gates)
    )


def gtv(facts: TumourFacts, gates: Gates) -> Iterator[str]:
    """A GTV of a few voxels."""
    if facts.gtv_voxels < gates.gtv_voxels or facts.gtv_ml < gates.gtv_ml:
        yield (
            f"The GTV is tiny: {facts.gtv_ml:.3f} ml in {counted(facts.gtv_voxels, 'voxel')}; it "
            f"must have {gates.gtv_ml:g} ml and {counted(gates.gtv_voxels, 'voxel')}."
        )


def target(facts: TumourFacts, gates: Gates) -> Iterator[str]:
    """A GTV that leaves its target, or is larger than it."""
    # "Not larger" is false of a volume that is no number, too.
    if not facts.gtv_ml <= _LARGER * facts.target_ml:
        within = facts.gtv_in_target * facts.gtv_ml / facts.target_ml if facts.target_ml else 0.0
        exchanged = (
            "and the target lies within it: TargetID and GTV seem to be exchanged"
            if within >= gates.gtv_in_target
            else "which no GTV should be"
        )
        yield (
            f"The GTV ({facts.gtv_ml:.2f} ml) is larger than the target "
            f"({facts.target_ml:.2f} ml), {exchanged}."
        )
    elif facts.gtv_in_target < gates.gtv_in_target:
        yield (
            f"The GTV lies outside the target: {percent(facts.gtv_in_target)} of it are inside; "
            f"{percent(gates.gtv_in_target)} must be."
        )


def volumes(facts: TumourFacts, gates: Gates) -> Iterator[str]:
    """Volumes that are no longer those of the case list."""

    def differ(volume: float, listed: float) -> bool:
        allowed = max(gates.volume_difference_ml, gates.volume_difference * listed)
        return not abs(volume - listed) <= allowed

    changed = [
        f"the {name} has {volume:.2f} ml, {column} says {listed:.2f} ml"
        for name, volume, listed, column in (
            ("GTV", facts.gtv_ml, facts.listed_gtv_ml, "GTV-Volume"),
            ("target", facts.target_ml, facts.listed_target_ml, "TargetVolume"),
        )
        if listed is not None and differ(volume, listed)
    ]
    if changed:
        yield (
            f"It is not what the case list says: {'; '.join(changed)}; "
            f"{percent(gates.volume_difference)} or {gates.volume_difference_ml:g} ml are allowed."
        )


def _contours(facts: TumourFacts, gates: Gates) -> Iterator[str]:  # noqa: ARG001
    yield from contours("The GTV", facts.gtv_contours)
    yield from contours("The target", facts.target_contours)


def contours(name: str, drawn: ContourFacts) -> Iterator[str]:
    """Contours that are not in a structure's voxels, or that cross one another."""
    if drawn.left_out:
        lost = counted(drawn.left_out, "contour")
        yield f"{name}: {lost} by no slice, and not in the mask."
    if drawn.united:
        yield (
            f"{name}: contours cross one another on {counted(drawn.united, 'slice')} and were "
            "united. Look whether one of them was meant to take something away."
        )


def percent(share: float) -> str:
    """As many digits as tell a share from its threshold."""
    return f"{100 * share:.4g} %"
