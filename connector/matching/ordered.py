"""The ordered merge: inside a component, from the strongest evidence to the weakest, and never across what forbids it.

As Kruskal's algorithm does, but a step can be refused: by a human cut, by a limit, or, for weak evidence, by names that
contradict each other. Weak evidence that fits several who cannot be one is evidence for none of them. So what gives way is
always the weakest and least specific, always the same, and it is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations

from connector.matching.names import contradict
from connector.matching.terms import Terms


@dataclass(frozen=True, slots=True)
class Judgement:
    """A human decision about two records."""

    left: str
    right: str
    is_link: bool
    decided_at: datetime
    by: str

    @property
    def pair(self) -> tuple[str, str]:
        """Its records in the order of their keys."""
        return (self.left, self.right) if self.left <= self.right else (self.right, self.left)

    @property
    def age(self) -> tuple[datetime, bool, str]:
        """What orders decisions; of two in one instant the cut counts as the newer."""
        return (self.decided_at, not self.is_link, self.by)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A value with its holders (record keys, at least two)."""

    type: str
    value: str
    is_weak: bool
    holders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Evidence that was not used, between which records, and why."""

    type: str
    value: str
    records: tuple[str, ...]
    reason: str


@dataclass(slots=True)
class _Cluster:
    """What a growing person holds; `held` maps a scope to its values, `cuts` are records that must stay out."""

    first: str
    members: set[str]
    names: set[str]
    held: dict[int, set[str]]
    cuts: set[str] = field(default_factory=set)


def newest(judgements: Iterable[Judgement]) -> list[Judgement]:
    """The newest decision of each pair, newest first."""
    kept: dict[tuple[str, str], Judgement] = {}
    for each in judgements:
        if each.pair not in kept or kept[each.pair].age < each.age:
            kept[each.pair] = each
    return sorted(kept.values(), key=lambda each: (each.age, each.pair), reverse=True)


class OrderedMerge:
    """One run over the records of components in which something may be refused. `refusals` tells what was not used.

    `names` maps a record to its folded name, `held` to its values by scope; `scope_types` names the type of each scope.
    """

    def __init__(
        self,
        records: Iterable[str],
        names: Mapping[str, str],
        held: Mapping[str, Mapping[int, set[str]]],
        scope_types: Sequence[str],
        terms: Terms,
    ) -> None:
        self._of: dict[str, _Cluster] = {
            each: _Cluster(
                first=each,
                members={each},
                names={names[each]} if each in names else set(),
                held={scope: set(values) for scope, values in held.get(each, {}).items()},
            )
            for each in records
        }
        self._scope_types = scope_types
        self._terms = terms
        self._priority = {each: place for place, each in enumerate(terms.priority)}
        self.refusals: list[Refusal] = []

    def run(self, judgements: Sequence[Judgement], evidence: Iterable[Evidence]) -> dict[str, str]:
        """For each record the smallest key of its person. `judgements` as `newest` gives them."""
        for judgement in judgements:
            self._judge(judgement)
        for each in sorted(evidence, key=self._order):
            self._use(each)
        return {record: cluster.first for record, cluster in self._of.items()}

    def _order(self, each: Evidence) -> tuple[bool, int, int, str, str]:
        place = self._priority.get(each.type, len(self._priority))
        return (each.is_weak, place, len(each.holders), each.type, each.value)

    def _judge(self, judgement: Judgement) -> None:
        left, right = (self._of.get(each) for each in judgement.pair)
        if left is None or right is None:
            return
        if judgement.is_link and left is not right and _is_cut(left, right):
            self._conflict(judgement, "newer decisions keep these records apart")
        elif judgement.is_link:
            self._join(left, right)
        elif left is right:
            self._conflict(judgement, "newer decisions keep these records together")
        else:
            left.cuts.add(judgement.pair[1])
            right.cuts.add(judgement.pair[0])

    def _conflict(self, judgement: Judgement, why: str) -> None:
        verdict = "link" if judgement.is_link else "cut"
        reason = f"decision to {verdict} of {judgement.decided_at:%Y-%m-%d %H:%M} not used: {why}"
        self.refusals.append(Refusal("judgement", verdict, judgement.pair, reason))

    def _use(self, evidence: Evidence) -> None:
        """Join the clusters of one value, by smallest key; one that fits none before it starts a new group."""
        known = {id(cluster): cluster for cluster in (self._of[each] for each in evidence.holders)}
        clusters = sorted(known.values(), key=lambda each: each.first)
        if evidence.is_weak:
            clusters = self._without_undecided(evidence, clusters)
        groups: list[_Cluster] = []
        for cluster in clusters:
            reasons = []
            for place, group in enumerate(groups):
                reason = self._refuses(group, cluster, evidence.is_weak)
                if reason is None:
                    groups[place] = self._join(group, cluster)
                    break
                reasons.append(reason)
            else:
                if groups:
                    self._refuse(evidence, [groups[0], cluster], reasons[0])
                groups.append(cluster)

    def _without_undecided(self, evidence: Evidence, clusters: list[_Cluster]) -> list[_Cluster]:
        """The clusters without those that fit several of the others which do not fit each other: any of these could be meant."""
        pairs = combinations(range(len(clusters)), 2)
        refused = [(left, right) for left, right in pairs if self._refuses(clusters[left], clusters[right], True)]
        if not refused:
            return clusters
        fitting = [set(range(len(clusters))) for _ in clusters]
        for left, right in refused:
            fitting[left].discard(right)
            fitting[right].discard(left)
        undecided = {place for place, fits in enumerate(fitting) if any(fits - fitting[other] for other in fits)}
        if undecided:
            concerned = sorted(set().union(*(fitting[place] for place in undecided)))
            reason = f"it is weak evidence, and fits several {self._terms.kind}s that cannot be one"
            self._refuse(evidence, [clusters[place] for place in concerned], reason)
        return [cluster for place, cluster in enumerate(clusters) if place not in undecided]

    def _refuse(self, evidence: Evidence, clusters: Iterable[_Cluster], reason: str) -> None:
        holders = tuple(sorted(each for cluster in clusters for each in evidence.holders if each in cluster.members))
        sentence = self._terms.not_used(evidence.type, evidence.value, reason)
        self.refusals.append(Refusal(evidence.type, evidence.value, holders, sentence))

    def _refuses(self, one: _Cluster, other: _Cluster, is_weak: bool) -> str | None:
        if _is_cut(one, other):
            return "a human decision keeps the records apart"
        for scope in sorted(one.held.keys() & other.held.keys()):
            type_ = self._scope_types[scope]
            count = len(one.held[scope] | other.held[scope])
            is_more = count > max(len(one.held[scope]), len(other.held[scope]))
            if is_more and count > self._terms.limits[type_]:
                return self._terms.over_limit(type_, count)
        if is_weak and any(contradict(name, against) for name in one.names for against in other.names):
            return "it is weak evidence, and the names contradict each other"
        return None

    def _join(self, one: _Cluster, other: _Cluster) -> _Cluster:
        if one is other:
            return one
        large, small = (one, other) if len(one.members) >= len(other.members) else (other, one)
        large.first = min(one.first, other.first)
        large.members |= small.members
        large.names |= small.names
        large.cuts |= small.cuts
        for scope, values in small.held.items():
            large.held.setdefault(scope, set()).update(values)
        self._of.update(dict.fromkeys(small.members, large))
        return large


def _is_cut(one: _Cluster, other: _Cluster) -> bool:
    return not (one.cuts.isdisjoint(other.members) and other.cuts.isdisjoint(one.members))
