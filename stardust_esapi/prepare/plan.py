"""Decide, before anything is written, what becomes of every structure of a source set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stardust_esapi.errors import PrepareError
from stardust_esapi.model import Action, Case, Kind, StructureOutcome
from stardust_esapi.names import MAX_ESAPI_ID, as_read, folding, numbered_id
from stardust_esapi.patient import StructureView
from stardust_esapi.prepare.locate import same_id
from stardust_esapi.settings import ADDABLE_TYPES, Rule, StructureSettings, Then, When


@dataclass(frozen=True, slots=True)
class PlannedStructure:
    """One structure to create.

    Attributes:
        source: The structure it is copied from.
        new_id: Its id in the prepared set.
        dicom_type: The type it is added under.
        reason: Why id or type differ from the source's; empty when they do not.
    """

    source: StructureView
    new_id: str
    dicom_type: str
    reason: str = ""

    def outcome(self, kind: Kind, note: str = "") -> StructureOutcome:
        """What to record once it has been created."""
        action = Action.COPIED if self.new_id == self.source.structure_id else Action.RENAMED
        reason = "; ".join(part for part in (self.reason, note) if part)
        return StructureOutcome(kind, self.source.structure_id, action, self.new_id, reason)

    def failure(self, kind: Kind, reason: str) -> StructureOutcome:
        """What to record when it could not be created."""
        return StructureOutcome(kind, self.source.structure_id, Action.FAILED, "", reason)


@dataclass(frozen=True, slots=True)
class PreparePlan:
    """What a prepared structure set shall hold, and which structures stay out by which rule."""

    structures: tuple[PlannedStructure, ...]
    skipped: tuple[tuple[str, str], ...]  # source id, rule

    def skipped_outcomes(self, kind: Kind) -> tuple[StructureOutcome, ...]:
        """Outcomes of the structures left out."""
        return tuple(
            StructureOutcome(kind, source_id, Action.SKIPPED, "", rule)
            for source_id, rule in self.skipped
        )


def plan_structures(
    case: Case, sources: Sequence[StructureView], settings: StructureSettings
) -> PreparePlan:
    """Apply the rules to the structures of the source set.

    The structures that the row names as target and GTV are taken whatever the rules say of their
    ids: a person chose them.

    Raises:
        PrepareError: Target or GTV is not named, not there, empty, or one and the same.
    """
    target = _named(case, sources, case.target_id, "TargetID", "target")
    gtv = _named(case, sources, case.gtv_id, "GTV", "GTV")
    if target is gtv:
        raise PrepareError(
            f"{case}: TargetID and GTV both name structure {gtv.structure_id}. Correct the row."
        )
    labels = {id(target): settings.target_label, id(gtv): settings.gtv_label}
    skipped: list[tuple[str, str]] = []
    others: list[StructureView] = []
    for source in sources:
        rule = "" if id(source) in labels else _rule_against(source, settings)
        if rule:
            skipped.append((source.structure_id, rule))
        elif id(source) not in labels:
            others.append(source)
    ids = {key: (label, "") for key, label in labels.items()} | _new_ids(others, settings)
    planned: list[PlannedStructure] = []
    for source in sources:
        if id(source) not in ids:
            continue
        new_id, id_reason = ids[id(source)]
        dicom_type, type_reason = _addable_type(source, settings)
        reason = "; ".join(part for part in (id_reason, type_reason) if part)
        planned.append(PlannedStructure(source, new_id, dicom_type, reason))
    return PreparePlan(tuple(planned), tuple(skipped))


def reads_as(identifier: str, word: str) -> bool:
    """Whether MedSAM2's reader finds a word in a ROI's name."""
    return as_read(word) in as_read(identifier)


def _named(
    case: Case, sources: Sequence[StructureView], identifier: str, column: str, what: str
) -> StructureView:
    if not identifier:
        raise PrepareError(f"{case}: column {column} names no {what}. Fill it in.")
    found = [s for s in sources if same_id(s.structure_id, identifier)]
    if not found:
        there = ", ".join(s.structure_id for s in sources) or "none"
        raise PrepareError(
            f"{case}: the structure set has no structure {identifier}, which {column} names as "
            f"{what}. Structures it has: {there}."
        )
    if found[0].is_empty:
        raise PrepareError(
            f"{case}: structure {identifier}, which {column} names as {what}, is empty. "
            "Contour it in Eclipse or correct the row."
        )
    return found[0]


def _rule_against(source: StructureView, settings: StructureSettings) -> str:
    """The rule that leaves a structure out, in words; empty when it is kept."""
    if source.is_empty:
        return "it is empty"
    for rule in settings.rules:
        word = _match(rule, source.structure_id) if rule.then is Then.SKIP else ""
        if word:
            return f"{rule.name}: {rule.when.value} “{word}”"
    return ""


def _match(rule: Rule, identifier: str) -> str:
    """The first word of the rule that applies to an id; empty when none does."""
    text = identifier.lower()
    test = {
        When.STARTS_WITH: text.startswith,
        When.CONTAINS: text.__contains__,
        When.ENDS_WITH: text.endswith,
        When.EQUALS: text.__eq__,
    }[rule.when]
    return next((word for word in rule.words if test(word.lower())), "")


def _new_ids(
    sources: Sequence[StructureView], settings: StructureSettings
) -> dict[int, tuple[str, str]]:
    """Ids in the prepared set, and a reason where a reader may wonder about one; by ``id()``."""
    wishes = {id(source): _wish(source.structure_id, settings) for source in sources}
    taken = {folding(settings.target_label), folding(settings.gtv_label)}
    # An id that stays as it is goes before one that is changed into the same.
    taken |= {folding(s.structure_id) for s in sources if wishes[id(s)][0] == s.structure_id}
    for source in sources:
        own, (wish, reason) = source.structure_id, wishes[id(source)]
        if wish == own:
            continue
        new_id = wish
        if not wish or folding(wish) in taken:
            base = wish or _unreserved(own, settings)[0]
            choices = [own, *(numbered_id(base, n) for n in range(2, len(sources) + 3))]
            new_id = next(
                c for c in choices if folding(c) not in taken and not _reserved_word(c, settings)
            )
            how = "the source's is kept" if new_id == own else "it got a number"
            reason = "; ".join(r for r in (reason, f"the id “{wish}” is taken, so {how}") if r)
        taken.add(folding(new_id))
        wishes[id(source)] = new_id, reason
    return wishes


def _wish(identifier: str, settings: StructureSettings) -> tuple[str, str]:
    """What the rules make of an id, and why where that is no matter of course."""
    new_id = identifier
    for rule in settings.rules:
        word = _match(rule, new_id) if rule.then is Then.REMOVE else ""
        if word:
            new_id = new_id[: -len(word)] if rule.when is When.ENDS_WITH else new_id[len(word) :]
    new_id, reason = _unreserved(new_id, settings)
    return new_id.strip()[:MAX_ESAPI_ID], reason


def _unreserved(identifier: str, settings: StructureSettings) -> tuple[str, str]:
    """An id without the words that the reader looks for, and why it is changed."""
    new_id, reason = identifier, ""
    while word := _reserved_word(new_id, settings):
        instead = settings.reserved[word]
        # The reader ignores what may stand between the letters, and odd letters fold to others.
        spelled = r"[\s_-]*".join(map(re.escape, word))
        changed = re.sub(spelled, instead, new_id, flags=re.IGNORECASE)
        new_id = changed if changed != new_id else as_read(new_id).replace(word, instead)
        reason = f"its id contains “{word}”, by which MedSAM2's reader finds the label"
    return new_id, reason


def _reserved_word(identifier: str, settings: StructureSettings) -> str:
    return next((word for word in settings.reserved if reads_as(identifier, word)), "")


def _addable_type(source: StructureView, settings: StructureSettings) -> tuple[str, str]:
    own = source.dicom_type
    if own in ADDABLE_TYPES:
        return own, ""
    mapped = settings.types.get(own) or settings.types.get("*")
    if mapped is None:
        return own, ""  # Eclipse will refuse it, and the outcome will say so
    return mapped, f"type {own or '(none)'} cannot be added by a script, {mapped} taken"
