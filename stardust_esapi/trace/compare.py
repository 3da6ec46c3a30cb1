"""What differs between two recordings of one patient, by member.

Objects are matched by what they answer, not by where they stand in their collections: the order of
a collection is a fact of its own. Ids and UIDs, of which a trace holds numbers only, are the same
where the numbers of one trace stand for those of the other throughout.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from stardust_esapi.trace.archive import Trace
from stardust_esapi.trace.conceal import TOKEN, Json

_RELATIVE, _ABSOLUTE = 1e-4, 1e-3  # of numbers: mm, pixels, ml
_NOT_ASKED = "(not asked)"


@dataclass(frozen=True, slots=True)
class Difference:
    """One answer that is not the same.

    Attributes:
        member: Type and member, such as ``Image.GetVoxels``.
        where: The object, the arguments: as the first trace has them.
        one: What the first trace says.
        other: What the second says.
    """

    member: str
    where: str
    one: str
    other: str


@dataclass(slots=True)
class _Node:
    """An object: its answers by member and arguments, its children by collection."""

    answers: dict[str, Json] = field(default_factory=dict)
    children: dict[str, list[_Node]] = field(default_factory=lambda: defaultdict(list))
    place: str = ""

    @property
    def features(self) -> frozenset[str]:
        """All that tells it from others, of itself and all below it."""
        own = {f"{key} {json.dumps(_without_names(said))}" for key, said in self.answers.items()}
        below = (n.features for nodes in self.children.values() for n in nodes)
        return frozenset(own).union(*below)


def compare(one: Trace, other: Trace) -> list[Difference]:
    """List every difference between two recordings of the same patient."""
    comparison = _Comparison()
    comparison.nodes(_tree(one), _tree(other), certain=True)
    return sorted([*comparison.differences, *comparison.renamed()], key=lambda found: found.member)


def _tree(trace: Trace) -> _Node:
    nodes = {"": _Node()}
    asked: Counter[tuple[str, str]] = Counter()
    for call in trace.calls:
        place = call["on"]
        key = f"{call['member']}{json.dumps(call['args'])}"
        asked[place, key] += 1  # the same question may have been asked again
        answer = {name: call[name] for name in ("gives", "throws", "absent") if name in call}
        _node(nodes, place).answers[f"{key}{asked[place, key]}"] = answer
    return nodes[""]


def _node(nodes: dict[str, _Node], place: str) -> _Node:
    if place not in nodes:
        above, _, name = place.rpartition(".")
        nodes[place] = _Node(place=place)
        _node(nodes, above).children[name.partition("[")[0]].append(nodes[place])
    return nodes[place]


class _Comparison:
    """What was found so far."""

    def __init__(self) -> None:
        self.differences: list[Difference] = []
        self._names: list[tuple[str, str, str, str]] = []

    def nodes(self, one: _Node, other: _Node, *, certain: bool) -> None:
        """Compare two objects, and whatever lies below them.

        Where it is not certain that they are the same one, their names prove nothing.
        """
        names = len(self._names)
        for key in one.answers | other.answers:
            self._answers(key, one, other)
        if not certain:
            del self._names[names:]
        for collection in one.children.keys() & other.children.keys():
            ours, theirs = one.children[collection], other.children[collection]
            pairs = _matched(ours, theirs)
            order = [there for _, there, _ in pairs]
            if order != sorted(order):
                kind = next(iter(one.answers), "").partition(".")[0]
                self.differences.append(
                    Difference(
                        f"{kind}.{collection}",
                        f"{one.place}: the order",
                        _numbers([here for here, _, _ in pairs]),
                        _numbers(order),
                    )
                )
            for here, there, alone in pairs:
                self.nodes(ours[here], theirs[there], certain=certain and alone)

    def renamed(self) -> Iterator[Difference]:
        """Ids and UIDs that are the same in one trace and not in the other."""
        for at, to in ((0, 1), (1, 0)):
            partners: dict[str, Counter[str]] = defaultdict(Counter)
            for pair in self._names:
                partners[pair[at]][pair[to]] += 1
            for pair in self._names:
                [(usual, _)] = partners[pair[at]].most_common(1)
                if pair[to] != usual:
                    one, other, member, where = pair
                    yield Difference(member, f"{where}: stands for another object", one, other)

    def _answers(self, key: str, one: _Node, other: _Node) -> None:
        member, arguments = key.split("[", 1)
        where = f"{one.place} {arguments[:-1].rpartition(']')[0]}".strip()
        here, there = (node.answers.get(key, _NOT_ASKED) for node in (one, other))
        if self._same(here, there, member, where):
            return
        self.differences.append(Difference(member, where, _shown(here), _shown(there)))

    def _same(self, one: Json, other: Json, member: str, where: str) -> bool:
        if isinstance(one, dict) and isinstance(other, dict):
            return one.keys() == other.keys() and all(
                self._same(one[key], other[key], member, where) for key in one
            )
        if isinstance(one, list) and isinstance(other, list):
            return len(one) == len(other) and all(
                self._same(a, b, member, where) for a, b in zip(one, other, strict=True)
            )
        if isinstance(one, str) and isinstance(other, str):
            if TOKEN.fullmatch(one) and TOKEN.fullmatch(other):
                self._names.append((one, other, member, where))
                return True
            return one == other
        if isinstance(one, float) or isinstance(other, float):
            numbers = isinstance(one, int | float) and isinstance(other, int | float)
            return numbers and math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
        return bool(one == other)


def _matched(ours: list[_Node], theirs: list[_Node]) -> list[tuple[int, int, bool]]:
    """Which of ours is which of theirs: so that most answers agree; by order where that is equal.

    Returns:
        Pairs of positions, in the order of ours, and whether none of both looks like another.
    """
    here, there = ([node.features for node in nodes] for nodes in (ours, theirs))
    agree = np.array([[len(one & other) for other in there] for one in here], dtype=float)
    aside = np.abs(np.subtract.outer(np.arange(len(ours)), np.arange(len(theirs))))
    # All steps aside together weigh less than one answer.
    rows, columns = linear_sum_assignment(aside / (aside.sum() + 1) - agree)
    times = Counter(here), Counter(there)
    return [
        (a, b, times[0][here[a]] == times[1][there[b]] == 1)
        for a, b in zip(rows.tolist(), columns.tolist(), strict=True)
    ]


def _without_names(said: Json) -> Json:
    """An answer whose numbers are rounded and whose names of objects are all the same."""
    if isinstance(said, dict):
        return {key: _without_names(value) for key, value in said.items()}
    if isinstance(said, list):
        return [_without_names(value) for value in said]
    if isinstance(said, float):
        return f"{said:.4g}"
    return re.sub(TOKEN, "id#", said) if isinstance(said, str) else said


def _shown(said: Json) -> str:
    if not isinstance(said, dict):
        return str(said)
    [(kind, answer)] = said.items()
    if kind == "throws":
        return f"{answer['type']}: {answer['message']}"
    return "no such member" if kind == "absent" else json.dumps(answer, ensure_ascii=False)


def _numbers(order: list[int]) -> str:
    return " ".join(map(str, order))
