"""What holds in a store after every resolve, whatever happened before: the laws of identity as assertions."""

from __future__ import annotations

import pyarrow as pa

from connector import identity
from connector.matching.names import contradict
from tests.property.identity_store import FACTS, JUDGEMENTS, SECTION, Store

WEAK = ("phone", "device")


def check(store: Store) -> None:
    """All laws that can be told from a store that has just been resolved."""
    every_live_record_is_in_one_person(store)
    an_id_names_one_person_and_resolves(store)
    limits_hold(store)
    decisions_hold(store)
    weak_evidence_joins_no_contradicting_names(store)
    everybody_is_reached_by_evidence(store)
    nothing_is_left_to_do(store)


def every_live_record_is_in_one_person(store: Store) -> None:
    assert set(store.membership) == set(store.live())


def an_id_names_one_person_and_resolves(store: Store) -> None:
    for owner in store.persons():
        row = store.issued[owner]
        assert row["retired_at"] is None
        assert store.membership[row["anchor"]]["owner_id"] == owner
    for row in store.issued.values():
        assert row["ingestion"] == store.records[row["minted_by"]]["ingestion"]
        assert (row["anchor"] in store.membership) == (row["retired_at"] is None)
    retired = {key for key, row in store.issued.items() if row["retired_at"] is not None}
    assert not retired & {store.former.get(key) for key in store.live()}, "whoever is left keeps the id"
    for owner, members in store.persons().items():
        carried = [row for row in store.issued.values() if row["anchor"] in members]
        assert store.issued[owner]["ingestion"] == min(row["ingestion"] for row in carried), "the oldest id is kept"


def limits_hold(store: Store) -> None:
    linked = {key for pair, verdict in store.newest_judgements().items() if verdict == "link" for key in pair}
    for members in store.partition():
        for type_, limit in (("customer_number", 1), ("email", 2)):
            held = {key: store.values(key, type_) for key in members}
            allowed = max(limit, *(len(values) for values in held.values()))
            assert linked & members or len(set().union(*held.values())) <= allowed


def decisions_hold(store: Store) -> None:
    conflicts = store.conflicts()
    for pair, verdict in store.newest_judgements().items():
        if pair <= set(store.live()) and pair not in conflicts:
            owners = {store.membership[key]["owner_id"] for key in pair}
            assert len(owners) == (1 if verdict == "link" else 2)


def weak_evidence_joins_no_contradicting_names(store: Store) -> None:
    linked = {frozenset(pair) for pair, verdict in store.newest_judgements().items() if verdict == "link"}
    for members in store.partition():
        groups = [{key} for key in members]
        for one in members:
            for other in members:
                strong = any(
                    store.values(one, type_) & store.values(other, type_) for type_ in ("email", "customer_number")
                )
                crm = other in store.values(one, "crm_id") or store.values(one, "crm_id") & store.values(
                    other, "crm_id"
                )
                if strong or crm or frozenset((one, other)) in linked:
                    joined = [group for group in groups if one in group or other in group]
                    groups = [group for group in groups if group not in joined] + [set().union(*joined)]
        names = [{store.records[key]["name"] for key in group} - {None} for group in groups]
        is_through_the_dead = any(not row["is_live"] and row["merged_into"] for row in store.records.values())
        assert is_through_the_dead or not any(
            contradict(one.lower(), other.lower())
            for place, group in enumerate(names)
            for against in names[place + 1 :]
            for one in group
            for other in against
        )


def everybody_is_reached_by_evidence(store: Store) -> None:
    judgements = pa.Table.from_pylist(store.judgements, schema=JUDGEMENTS)
    gone = {key for key, row in store.records.items() if row["merged_into"]}
    for members in store.partition():
        order = [*sorted(members), *sorted(gone)]
        mine = set(order)
        facts = pa.Table.from_pylist([row for key, row in store.records.items() if key in mine], schema=FACTS)
        hops = identity.together(
            order, store.evidence(mine), facts, store.rows("refused"), judgements, SECTION
        )  # fmt: skip
        reached = {order[0]}
        for hop in hops:
            assert hop.left in reached, "a tree is told from its first record on"
            assert hop.right not in reached, "and each record once"
            reached.add(hop.right)
            for end in (hop.left, hop.right) if hop.type != "judgement" else ():
                row = store.identifiers.get((end, hop.type, hop.value), {"withdrawn_at": None})
                assert row["withdrawn_at"] is None
                assert (end, hop.type, hop.value) in store.identifiers or (hop.type == "crm_id" and end == hop.value)
        assert members <= reached


def nothing_is_left_to_do(store: Store) -> None:
    """Incremental = full; and resolving the same again changes nothing."""
    again = store.anew()
    assert again.membership == store.membership
    assert again.issued == store.issued
    assert again.refused == store.refused
    assert {at: row["component"] for at, row in again.identifiers.items()} == {
        at: row["component"] for at, row in store.identifiers.items()
    }
