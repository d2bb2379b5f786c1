"""Laws of identity over whatever may happen to a store; and planted bugs, each of which the laws must find."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector import identity, tables
from connector.matching import anchors, guards, ordered, partition, star
from tests.property.identity_laws import check
from tests.property.identity_store import EVIDENCE, FACTS, JUDGEMENTS, SECTION, START, Store

KEYS = tuple(f"s|Contact|{each}" for each in "abcdefg")
NAMES = (None, "Ann Meyer", "Tom Berg", "A. Meyer")
VALUES = (
    *((("email", f"{each}@x.example")) for each in "pqr"),
    *((("phone", f"+473055501{each}")) for each in (61, 72)),
    *((("customer_number", each)) for each in ("C17", "C28")),
    ("device", "dev-17"),
    ("crm_id", KEYS[0]),
    ("crm_id", KEYS[1]),
)

keys = st.sampled_from(KEYS)
held = st.lists(st.sampled_from(VALUES), max_size=3, unique=True).map(tuple)
puts = st.tuples(st.just("put"), keys, st.sampled_from(NAMES), held)
resolves = st.just(("resolve",))
decisions = st.tuples(st.just("judge"), keys, keys, st.sampled_from(("link", "cut")))
ends = st.one_of(st.tuples(st.just("delete"), keys), st.tuples(st.just("merge"), keys, keys))
stories = st.lists(st.one_of(puts, puts, puts, resolves, decisions, ends), min_size=4, max_size=14)


def tell(story: list[tuple[Any, ...]]) -> Store:
    """A store to which all this happened; it is resolved, and checked, at each `resolve` and at the end."""
    store = Store()
    for operation in [*story, ("resolve",)]:
        store.do(operation)
        if operation[0] == "resolve":
            check(store)
    store.resolve()
    assert not store.was_touched, "a replay touches nothing"
    return store


@settings(max_examples=20, deadline=None)
@given(stories)
def test_the_laws_hold_after_every_resolve(story: list[tuple[Any, ...]]) -> None:
    assert set(tell(story).membership) <= set(KEYS), "nobody is in a person who was never put"


@settings(max_examples=15, deadline=None)
@given(
    st.lists(puts, min_size=3, max_size=8),
    st.lists(decisions, max_size=2),
    st.randoms(use_true_random=False),
    st.data(),
)
def test_neither_order_nor_batches_change_persons_or_ids(
    facts: list[tuple[Any, ...]], decided: list[tuple[Any, ...]], shuffle: random.Random, data: st.DataObject
) -> None:
    final = {operation[1]: operation for operation in facts}
    numbers = {key: number for number, key in enumerate(sorted(final), start=1)}
    shuffled = list(final.values())
    shuffle.shuffle(shuffled)
    one, other = Store(numbers=numbers), Store(numbers=numbers)
    for operation in [*final.values(), *decided, ("resolve",)]:
        one.do(operation)
    for operation in shuffled:
        other.do(operation)
        if data.draw(st.booleans(), label="resolve here"):
            other.resolve()
    for operation in [*decided, ("resolve",)]:
        other.do(operation)
    assert one.membership == other.membership
    assert one.refused == other.refused


@settings(max_examples=15, deadline=None)
@given(st.lists(puts, min_size=2, max_size=7), puts)
@example(  # who is deleted again had a name that contradicts
    facts=[
        ("put", KEYS[0], "Ann Meyer", (("phone", "+47305550161"),)),
        ("put", KEYS[2], None, (("phone", "+47305550161"), ("crm_id", KEYS[1]))),
    ],
    passing=("put", KEYS[1], "Tom Berg", ()),
)
def test_evidence_that_comes_and_goes_leaves_persons_and_ids_as_they_were(
    facts: list[tuple[Any, ...]], passing: tuple[Any, ...]
) -> None:
    store = Store()
    for operation in [*facts, ("resolve",)]:
        store.do(operation)
    before, key = dict(store.membership), passing[1]
    was = next((operation for operation in reversed(facts) if operation[1] == key), None)
    for operation in [passing, ("resolve",), was or ("delete", key), ("resolve",)]:
        store.do(operation)
    assert store.membership == before


@settings(max_examples=15, deadline=None)
@given(st.lists(puts, min_size=2, max_size=6), st.lists(puts, min_size=1, max_size=3))
def test_a_new_arrival_renames_nobody(old: list[tuple[Any, ...]], arriving: list[tuple[Any, ...]]) -> None:
    store = Store()
    for operation in [*old, ("resolve",)]:
        store.do(operation)
    before = set(store.records)
    for operation in [each for each in arriving if each[1] not in before] + [("resolve",)]:
        store.do(operation)
    for owner, members in store.persons().items():
        assert not members & before or store.issued[owner]["minted_by"] in before


# --------------------------------------------------------------------------------------------------- pure, without store

graphs = st.dictionaries(keys, st.tuples(st.sampled_from(NAMES), held), min_size=1)
verdicts = st.lists(
    st.tuples(keys, keys, st.sampled_from(("link", "cut"))).filter(lambda each: each[0] != each[1]), max_size=3
)


def built(graph: dict[str, Any], section: identity.IdentitySection = SECTION) -> tuple[pa.Table, pa.Table]:
    """Evidence and facts of records given as key -> (name, identifiers)."""
    counts = Counter(value for _, held_values in graph.values() for value in held_values)
    evidence = [
        {"record": key, "type": type_, "value": value, "holders": counts[type_, value]}
        for key, (_, held_values) in graph.items()
        for type_, value in held_values
    ]
    facts = [
        {"record": key, "ingestion": KEYS.index(key), "is_live": True, "name": name, "merged_into": None}
        for key, (name, _) in graph.items()
    ]
    return pa.Table.from_pylist(evidence, schema=EVIDENCE), pa.Table.from_pylist(facts, schema=FACTS)


def decided(pairs: list[tuple[str, str, str]]) -> list[ordered.Judgement]:
    return ordered.newest(
        ordered.Judgement(left, right, verdict == "link", START.replace(minute=minute), "somebody")
        for minute, (left, right, verdict) in enumerate(pairs)
    )


@settings(max_examples=150, deadline=None)
@given(graphs, verdicts)
def test_the_fast_path_gives_the_answer_of_the_ordered_merge(
    graph: dict[str, Any], pairs: list[tuple[str, str, str]]
) -> None:
    terms = SECTION.terms("person")
    built_star = star.build(*built(graph), terms)
    fast = partition.of(built_star, terms, decided(pairs))
    slow = partition.of(built_star, terms, decided(pairs), is_ordered_only=True)
    assert as_sets(built_star, fast) == as_sets(built_star, slow)
    assert sorted(map(str, fast.refusals)) == sorted(map(str, slow.refusals))


def as_sets(built_star: star.Star, parts: partition.Parts) -> set[frozenset[str]]:
    keys_of = np.array(built_star.records.to_pylist())
    return {frozenset(keys_of[parts.person == each].tolist()) for each in np.unique(parts.person)}


def resolved(
    evidence: pa.Table, facts: pa.Table, section: identity.IdentitySection = SECTION, kind: str = "person"
) -> identity.Resolution:
    nobody, nothing = tables.MEMBERSHIP.empty_table(), tables.ISSUED.empty_table()
    return identity.resolve(kind, evidence, facts, nobody, nothing, JUDGEMENTS.empty_table(), section, START)


@settings(max_examples=60, deadline=None)
@given(graphs, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(graph: dict[str, Any], shuffle: random.Random) -> None:
    evidence, facts = built(graph)
    first = resolved(evidence, facts)
    again = resolved(*(shuffled(each, shuffle) for each in (evidence, facts)))
    for name in ("membership", "issued", "refused"):
        rows = [sorted(getattr(each, name).to_pylist(), key=lambda row: row["key"]) for each in (first, again)]
        assert rows[0] == rows[1]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(keys, st.sampled_from((*NAMES, "Anton Meyer", "Meyer")), min_size=2),
    st.permutations(range(len(KEYS))),
)
@example(named={KEYS[0]: None, KEYS[1]: "Ann Meyer", KEYS[2]: "Tom Berg"}, order=[1, 0, 2, 3, 4, 5, 6])
def test_whom_a_weak_value_joins_is_no_matter_of_keys(named: dict[str, str | None], order: list[int]) -> None:
    other_key = {key: KEYS[place] for key, place in zip(KEYS, order, strict=True)}
    terms = SECTION.model_copy(update={"hard_holders": 50, "shared_names": {"device": 50}}).terms("person")

    def joined(people: dict[str, str | None]) -> set[frozenset[str]]:
        graph = star.build(*built({key: (name, (("device", "dev-17"),)) for key, name in people.items()}), terms)
        return as_sets(graph, partition.of(graph, terms, []))

    moved = joined({other_key[key]: name for key, name in named.items()})
    assert moved == {frozenset(other_key[key] for key in members) for members in joined(named)}


def shuffled(table: pa.Table, shuffle: random.Random) -> pa.Table:
    return table.take(pa.array(shuffle.sample(range(len(table)), len(table)), pa.int64()))


@settings(max_examples=60, deadline=None)
@given(graphs, st.sampled_from([each for each in VALUES if each[0] != "crm_id"]))
def test_a_blocked_value_changes_nothing(graph: dict[str, Any], value: tuple[str, str]) -> None:
    blocking = SECTION.model_copy(update={"blocked": (":".join(value),)})
    without = {
        key: (name, tuple(each for each in held_values if each != value)) for key, (name, held_values) in graph.items()
    }
    assert resolved(*built(graph), blocking).membership == resolved(*built(without)).membership


# ------------------------------------------------------------------------------------------------------ planted bugs

A, B, C, D, E = KEYS[:5]
MAIL = ("email", "p@x.example")
MOTIFS: dict[str, list[tuple[Any, ...]]] = {
    "a chain whose ends exclude each other": [
        ("put", A, None, (("customer_number", "C17"), MAIL)),
        ("put", B, None, (MAIL, ("phone", "+4730555061"))),
        ("put", C, None, (("phone", "+4730555061"), ("customer_number", "C28"))),
        ("resolve",),
        ("put", B, None, (("phone", "+4730555061"),)),
    ],
    "a number that is given up at the far end of a chain": [
        ("put", A, None, (("customer_number", "C17"), MAIL)),
        ("put", B, None, (MAIL, ("phone", "+4730555061"))),
        ("put", C, None, (("phone", "+4730555061"), ("customer_number", "C28"))),
        ("resolve",),
        ("put", A, None, (MAIL,)),
    ],
    "a value that gets one holder too many, and loses it again": [
        *(("put", key, None, (MAIL,)) for key in (A, B, C)),
        ("resolve",),
        ("put", D, None, (MAIL,)),
        ("resolve",),
        ("put", D, None, ()),
    ],
    "an anchor that is deleted": [
        ("put", A, None, (MAIL,)), ("put", B, None, (MAIL,)), ("resolve",), ("delete", A), ("resolve",), ("put", A, None, ()),
    ],
    "the last record of a person that is deleted and comes back": [
        ("put", A, None, ()), ("put", B, None, ()), ("resolve",), ("delete", A), ("resolve",), ("put", A, None, ()),
    ],
    "a record that is merged away": [
        ("put", A, None, (MAIL,)), ("put", B, None, ()), ("put", C, None, (("crm_id", A),)), ("resolve",), ("merge", A, B),
    ],
    "a value that is given up": [
        ("put", A, None, (MAIL,)), ("put", B, None, (MAIL,)), ("put", C, None, (MAIL,)), ("resolve",), ("put", B, None, ()),
    ],
    "names that contradict each other over a phone": [
        ("put", A, "Ann Meyer", (("phone", "+4730555061"),)), ("put", B, "Tom Berg", (("phone", "+4730555061"),)),
    ],
    "a cut and a later link": [
        ("put", A, None, (MAIL,)), ("put", B, None, (MAIL,)), ("judge", A, B, "cut"), ("resolve",), ("judge", B, A, "link"),
    ],
    "a key that is smaller than the older one's": [
        ("put", B, None, (MAIL,)), ("resolve",), ("put", A, None, (MAIL,)), ("resolve",), ("put", C, None, (MAIL,)),
    ],
}  # fmt: skip


@pytest.mark.parametrize("motif", MOTIFS)
def test_the_laws_hold_for_the_motif(motif: str) -> None:
    assert tell(MOTIFS[motif]).persons(), "a motif leaves somebody, or its laws are about nobody"


def old_values_are_not_touched(patch: pytest.MonkeyPatch) -> None:
    _touched(
        patch, lambda rows: rows.filter(rows.withdrawn_at.isnull()), lambda members: members.filter(ibis.literal(False))
    )


def neighbours_are_not_resolved_again(patch: pytest.MonkeyPatch) -> None:
    _touched(
        patch,
        lambda rows: rows.mutate(component=ibis.null("string")),
        lambda members: members.filter(ibis.literal(False)),
    )


def becoming_generic_is_missed(patch: pytest.MonkeyPatch) -> None:
    """Everything looks as if it had been generic before; and components are not looked at."""
    _touched(patch, _without_full_values, lambda members: members.filter(ibis.literal(False)))


def _without_full_values(rows: Any) -> Any:
    live = rows.filter(rows.withdrawn_at.isnull())
    full = live.group_by("type", "value").aggregate(held=ibis._.count()).filter(ibis._.held > SECTION.hard_holders)
    return rows.anti_join(full, ["type", "value"])


def ceasing_to_be_generic_is_missed(patch: pytest.MonkeyPatch) -> None:
    def before_only(rows: Any) -> Any:
        was = rows.filter(rows.component.notnull()).group_by("type", "value").aggregate(held=ibis._.count())
        return rows.anti_join(was.filter(was.held > SECTION.hard_holders), ["type", "value"])

    _touched(patch, before_only, lambda members: members)


def _touched(patch: pytest.MonkeyPatch, rows: Callable[[Any], Any], members: Callable[[Any], Any]) -> None:
    real = identity.touched
    patch.setattr(
        identity, "touched",
        lambda kind, dirty, identifier, membership, section: real(kind, dirty, rows(identifier), members(membership), section),
    )  # fmt: skip


def cuts_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ordered, "_is_cut", lambda one, other: False)


def a_limit_is_off_by_one(patch: pytest.MonkeyPatch) -> None:
    real = identity.IdentitySection.terms
    patch.setattr(
        identity.IdentitySection,
        "terms",
        lambda self, kind: replace(
            real(self, kind), limits={each: count + 1 for each, count in real(self, kind).limits.items()}
        ),
    )


def an_anchor_is_not_handed_over(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(anchors, "_heirs", lambda members, former, gone: np.full(len(gone), -1))


def ids_come_from_the_smallest_key(patch: pytest.MonkeyPatch) -> None:
    real = anchors.assign

    def by_key(kind: str, members: anchors.Members, *rest: Any) -> anchors.Ids:
        order = np.argsort(np.argsort(np.array(members.keys.to_pylist())))
        return real(kind, replace(members, ingestion=order.astype(np.int64)), *rest)

    patch.setattr(anchors, "assign", by_key)


def names_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ordered, "contradict", lambda one, other: False)
    patch.setattr(guards, "contradict", lambda one, other: False)


BUGS = (
    old_values_are_not_touched, neighbours_are_not_resolved_again, becoming_generic_is_missed,
    ceasing_to_be_generic_is_missed, cuts_are_ignored, a_limit_is_off_by_one, an_anchor_is_not_handed_over,
    ids_come_from_the_smallest_key, names_are_ignored,
)  # fmt: skip


def tell_all() -> None:
    for motif in MOTIFS.values():
        tell(motif)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_the_laws_find_the_planted_bug(
    bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    bug(monkeypatch)
    with pytest.raises((AssertionError, KeyError, IndexError)):
        tell_all()


CHAIN = {
    A: (None, (("customer_number", "C17"), MAIL)),
    B: (None, (MAIL, ("email", "q@x.example"))),
    C: (None, (("email", "q@x.example"), ("customer_number", "C28"))),
}


def answers() -> set[frozenset[frozenset[str]]]:
    """The partitions of the chain for all orders in which its records may come."""
    terms = SECTION.terms("person")
    found = set()
    for order in permutations(CHAIN):
        graph = star.build(*built({key: CHAIN[key] for key in order}), terms)
        found.add(frozenset(as_sets(graph, partition.of(graph, terms, []))))
    return found


def test_a_chain_whose_ends_exclude_each_other_breaks_at_one_place_only() -> None:
    assert answers() == {frozenset({frozenset({A, B}), frozenset({C})})}


def test_a_leak_of_the_order_of_arrival_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "_evidence", _by_arrival(partition._evidence))
    monkeypatch.setattr(ordered.OrderedMerge, "_order", lambda self, each: 0)
    assert len(answers()) > 1


def _by_arrival(real: Callable[..., Any]) -> Callable[..., Any]:
    """Evidence in the order in which its first holder stands among the rows."""

    def first(graph: star.Star, holders: tuple[str, ...]) -> int:
        keys_of = graph.records.to_pylist()
        return min(keys_of.index(each) for each in holders)

    return lambda graph, *rest: sorted(real(graph, *rest), key=lambda each: first(graph, each.holders))
