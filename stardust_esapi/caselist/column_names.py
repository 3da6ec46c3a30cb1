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

OWN = ("stardust-esapi row", "stardust-esapi state", "stardust-esapi reason")
"""What a list of failed rows says of each: where it stood, and what became of it."""

MEANINGS = {
    "Patient-ID": "Needed. The id as Eclipse shows it, with its leading zeros.",
    "SeriesUID": "Series Instance UID of the planning CT. Needed where PlanID is empty; together "
    "with a plan it is compared.",
    "PlanID": "The plan. Needed where SeriesUID and StructureSetID are empty.",
    "StructureSetID": "The structure set on the planning CT. Needed where PlanID is empty.",
    "TargetID": "Needed. The structure that becomes target+.",
    "TargetVolume": "Its volume in ml; the case waits where it is another one now.",
    "GTV": "Needed. The structure that becomes gtv+.",
    "GTV-Volume": "Its volume in ml; likewise.",
    "KM_Series_UID": "Series Instance UID of the contrast CT; empty without one.",
    "MR_Series_UID": "Series Instance UID of the MR; empty without one.",
    "MR_Slices": "How many images the MR has; may be empty.",
    "MRregUID": "UID of the registration of the MR with the planning CT.",
    "Label": "A label of your own for the training files; may be empty.",
    "Label2": "The body region.",
    "Comment": "Anything. A word for a rejection leaves the row out.",
    "casekind": "The kind of the case.",
}
"""What to write into the columns that matter, in the order of a list to fill in."""

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


_CANONICAL = {_squeezed(name): name for name in (*MINING, *LABELS, *TAIL, *OWN)}


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
