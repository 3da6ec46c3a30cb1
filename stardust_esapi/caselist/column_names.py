"""The names of the case list's columns, in their order."""

from __future__ import annotations

from collections.abc import Iterable

MINING = (
    "Patient-ID", "Nachname", "Vorname", "Series", "SeriesUID", "PlanID", "Fx", "GD", "ED",
    "StructureSetID", "LastTreated", "TargetID", "TargetVolume", "GTV#>10GyAndInPTV", "GTV",
    "GTV-Volume", "HUavg", "HU StdDev", "RelVarHU", "PNG_Path", "KM_Series_UID",
    "KM_Series_Comment", "MR_Series_UID", "MR_Slices", "MR_Series_Comment", "MRregUID", "OtherGTV",
)  # fmt: skip
LABELS = (
    "Label", "Label2", "PTV_Percentage_Larger", "PTV_Radius", "GTV_Radius", "Radius_Difference_mm",
)  # fmt: skip
TAIL = ("Comment", "AcceptedDate", "casekind", "RefinementDate")

TAILS = (TAIL[:2], TAIL[:3], TAIL)
"""What the Case-Selector's buttons write into a header: accept, label, refinement."""

LABEL_RUNS = ((), LABELS[:1], LABELS[:2], LABELS[1:], LABELS)
"""The label columns that rows are known to have between the mining's columns and the tail."""

ID_COLUMNS = ("Patient-ID", "PlanID", "StructureSetID", "TargetID", "GTV")
UID_COLUMNS = ("SeriesUID", "KM_Series_UID", "MR_Series_UID", "MRregUID")
USED = (*ID_COLUMNS, *UID_COLUMNS, "MR_Slices", "Label", "Label2", "Comment", "casekind")
USED_AS_CELLS = ("TargetVolume", "GTV-Volume", "PNG_Path")

_NEVER_A_VALUE = frozenset({"Patient-ID", "PlanID", "StructureSetID", "TargetID", *UID_COLUMNS})


def _squeezed(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())


_CANONICAL = {_squeezed(name): name for name in (*MINING, *LABELS, *TAIL)}


def canonical(cell: str) -> str:
    """The column name that a header cell means; empty when it is none of the list's.

    Case, blanks, punctuation and a byte order mark do not matter: a column that is overlooked for
    its spelling would be a series that is not exported.
    """
    return _CANONICAL.get(_squeezed(cell), "")


def known_names(cells: Iterable[str]) -> set[str]:
    """The column names among the cells of a row."""
    return set(map(canonical, cells)) - {""}


def is_header(cells: Iterable[str]) -> bool:
    """Whether a row names columns; ``GTV`` alone proves nothing, a structure may be called so."""
    names = known_names(cells)
    return bool(names & _NEVER_A_VALUE) or len(names) > 2
