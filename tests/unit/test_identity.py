"""Identity, case by case: what links, what does not and how that is said, ids, and the table expressions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pytest
from pydantic import ValidationError

from connector import identity, tables
from connector.model import Kind

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SECTION = identity.IdentitySection()
EVIDENCE = pa.schema({"record": pa.string(), "type": pa.string(), "value": pa.string(), "holders": pa.int64()})
FACTS = pa.schema(
    {
        "record": pa.string(),
        "ingestion": pa.int64(),
        "is_live": pa.bool_(),
        "name": pa.string(),
        "merged_into": pa.string(),
    }
)
JUDGEMENTS = pa.schema(
    {"left": pa.string(), "right": pa.string(), "verdict": pa.string(), "decided_at": tables.INSTANT, "by": pa.string()}
)
A, B, C, D = (f"s|Contact|{each}" for each in "abcd")
MAIL = ("email", "ann@x.example")
PHONE = ("phone", "+4730555061")


def facts_of(
    held: dict[str, list[tuple[str, str]]],
    *,
    names: dict[str, str] | None = None,
    gone: dict[str, str | None] | None = None,
    judgements: list[tuple[str, str, str]] | None = None,
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Evidence, facts and decisions of records given as key -> identifiers, as `identity` takes them."""
    counts = Counter(value for values in held.values() for value in values)
    evidence = [
        {"record": key, "type": type_, "value": value, "holders": counts[type_, value]}
        for key, values in held.items()
        for type_, value in values
    ]
    facts = [
        {
            "record": key,
            "ingestion": number,
            "is_live": key not in (gone or {}),
            "name": (names or {}).get(key),
            "merged_into": (gone or {}).get(key),
        }
        for number, key in enumerate(held)
    ]
    decisions = [
        {"left": left, "right": right, "verdict": verdict, "decided_at": NOW.replace(minute=minute), "by": "somebody"}
        for minute, (left, right, verdict) in enumerate(judgements or [])
    ]
    return (
        pa.Table.from_pylist(evidence, schema=EVIDENCE),
        pa.Table.from_pylist(facts, schema=FACTS),
        pa.Table.from_pylist(decisions, schema=JUDGEMENTS),
    )


def resolve(
    held: dict[str, list[tuple[str, str]]],
    *,
    names: dict[str, str] | None = None,
    before: identity.Resolution | None = None,
    gone: dict[str, str | None] | None = None,
    judgements: list[tuple[str, str, str]] | None = None,
    kind: str = "person",
    section: identity.IdentitySection = SECTION,
) -> identity.Resolution:
    """Resolve records given as key -> identifiers, in the order in which they were seen; `gone`: deleted ones."""
    evidence, facts, decisions = facts_of(held, names=names, gone=gone, judgements=judgements)
    return identity.resolve(
        kind,
        evidence,
        facts,
        before.membership if before else tables.MEMBERSHIP.empty_table(),
        issued_after(before),
        decisions,
        section,
        NOW,
    )


def issued_after(*resolutions: identity.Resolution | None) -> pa.Table:
    rows = {row["key"]: row for each in resolutions if each is not None for row in each.issued.to_pylist()}
    return pa.Table.from_pylist(list(rows.values()), schema=tables.ISSUED)


def persons(result: identity.Resolution) -> set[frozenset[str]]:
    owners: dict[str, set[str]] = {}
    for row in result.membership.to_pylist():
        owners.setdefault(row["owner_id"], set()).add(row["key"])
    return {frozenset(each) for each in owners.values()}


def owner(result: identity.Resolution, key: str) -> Any:
    return next(row["owner_id"] for row in result.membership.to_pylist() if row["key"] == key)


def reasons(result: identity.Resolution) -> list[str]:
    return sorted(row["reason"] for row in result.refused.to_pylist())


# ------------------------------------------------------------------------------------------------------------ linking


def test_records_with_one_value_are_one_person() -> None:
    result = resolve({A: [MAIL], B: [MAIL, PHONE], C: [PHONE], D: []})
    assert persons(result) == {frozenset({A, B, C}), frozenset({D})}
    assert result.counts == {"persons": 2, "new": 2, "merged": 0, "split": 0, "retired": 0, "largest_component": 3}


def test_the_key_of_a_record_in_another_record_links_the_two() -> None:
    hubspot = "hubspot|contacts|7"
    assert persons(resolve({A: [("crm_id", hubspot)], hubspot: [], C: []})) == {frozenset({A, hubspot}), frozenset({C})}


def test_a_phone_never_joins_names_that_contradict_each_other_and_that_is_said() -> None:
    result = resolve({A: [PHONE], B: [PHONE]}, names={A: "Ann Meyer", B: "Tom Berg"})
    assert persons(result) == {frozenset({A}), frozenset({B})}
    assert reasons(result) == [
        "phone +4730555061 not used: it is weak evidence, and the names contradict each other"
    ]  # fmt: skip
    assert json.loads(result.refused["records"][0].as_py()) == [A, B]


@pytest.mark.parametrize("other", ["Ann Meyer", "A. Meyer", "MEYER, Ann", "Ann Maria Meyer", "Ánn Meyer"])
def test_a_phone_joins_names_that_agree(other: str) -> None:
    assert len(persons(resolve({A: [PHONE], B: [PHONE]}, names={A: "Ann Meyer", B: other}))) == 1


def test_the_mailbox_of_a_role_is_weak_evidence() -> None:
    held = {A: [("email", "info@x.example")], B: [("email", "info@x.example")]}
    assert len(persons(resolve(held, names={A: "Ann Meyer", B: "Tom Berg"}))) == 2
    assert len(persons(resolve(held, names={A: "Ann Meyer"}))) == 1


@pytest.mark.parametrize("name", [None, "A. Alpha", "Alpha"])
def test_a_mailbox_that_fits_several_who_cannot_be_one_is_evidence_for_none_of_them(name: str | None) -> None:
    mailbox = ("email", "info@x.example")
    names = {B: "Ann Alpha", C: "Anton Alpha"} | ({A: name} if name else {})
    result = resolve({A: [mailbox], B: [mailbox], C: [mailbox]}, names=names)
    assert persons(result) == {frozenset({A}), frozenset({B}), frozenset({C})}
    told = "e-mail info@x.example not used: it is weak evidence, and "
    assert reasons(result) == [
        told + "fits several persons that cannot be one",
        told + "the names contradict each other",
    ]
    with_more = resolve({A: [mailbox], B: [mailbox, PHONE], C: [mailbox], D: [mailbox, PHONE]}, names=names)
    assert persons(with_more) == {frozenset({A}), frozenset({B, D}), frozenset({C})}


def test_a_phone_that_three_names_have_is_a_relationship() -> None:
    held = {A: [PHONE], B: [PHONE], C: [PHONE], D: [PHONE]}
    result = resolve(held, names={A: "Ann Meyer", B: "Tom Meyer", C: "Eva Meyer"})
    assert len(persons(result)) == 4
    assert reasons(result) == ["phone +4730555061 not used: 3 names share it (limit 2)"]


def test_a_value_of_two_customers_is_a_relationship() -> None:
    result = resolve({A: [MAIL, ("customer_number", "C17")], B: [MAIL, ("customer_number", "C28")]})
    assert persons(result) == {frozenset({A}), frozenset({B})}
    assert reasons(result) == [
        "e-mail ann@x.example not used: its holders have 2 ids of a kind of which one person has only one"
    ]


def test_the_edge_that_gives_way_is_the_weakest_and_the_limit_is_told() -> None:
    held = {A: [MAIL, ("customer_number", "C17")], B: [MAIL, PHONE], C: [PHONE, ("customer_number", "C28")]}
    result = resolve(held)
    assert persons(result) == {frozenset({A, B}), frozenset({C})}
    assert reasons(result) == [
        "phone +4730555061 not used: it would put 2 customer numbers into one person (limit 1)"
    ]  # fmt: skip


def test_social_ids_are_limited_by_network() -> None:
    one, other = ("social_id", "linkedin:17"), ("social_id", "linkedin:28")
    elsewhere = ("social_id", "xing:28")
    assert len(persons(resolve({A: [MAIL, one], B: [MAIL, elsewhere]}))) == 1
    assert len(persons(resolve({A: [MAIL, one], B: [MAIL, other]}))) == 2


def test_two_contacts_of_one_system_are_one_person_unless_a_limit_says_no() -> None:
    strict = identity.IdentitySection(limits={"crm_id": 1})
    assert len(persons(resolve({A: [MAIL], B: [MAIL]}))) == 1
    assert len(persons(resolve({A: [MAIL], B: [MAIL]}, section=strict))) == 2
    assert len(persons(resolve({A: [MAIL], "s|Lead|a": [MAIL]}, section=strict))) == 1


def test_a_value_with_too_many_holders_links_nobody() -> None:
    crowd = {f"s|Contact|{number}": [MAIL] for number in range(51)}
    assert len(persons(resolve(crowd))) == 51
    assert len(persons(resolve(dict(list(crowd.items())[:50])))) == 1


def test_a_blocked_values_type_that_is_misspelt_is_refused_and_the_colon_of_a_url_is_none() -> None:
    for wrong, mend in (
        ("emial:ann@x.example", 'did you mean "email"'),
        ("fone:3", 'did you mean "phone"'),
        ("xyz:3", "TYPE:xyz"),
    ):
        with pytest.raises(ValidationError, match=mend):
            identity.IdentitySection(blocked=(wrong,))
    right = ("https://x.example/ann", "mailto:ann@x.example", "device:ios:3", "Ann: the 2nd", "10:30", "ann:")
    assert identity.IdentitySection(blocked=right).blocked == right


@pytest.mark.parametrize("wrong", ["@", "phone:nonsense", "phone:030 555", "email:nobody"])
def test_a_blocked_value_that_nobody_can_have_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match="no value that anybody has"):
        identity.IdentitySection(blocked=(wrong,))


@pytest.mark.parametrize("blocked", ["email:ann@x.example", "ann@x.example", "@x.example", "Ann@X.Example"])
def test_a_blocked_value_links_nobody(blocked: str) -> None:
    section = identity.IdentitySection(blocked=(blocked,))
    assert len(persons(resolve({A: [MAIL], B: [MAIL]}, section=section))) == 2


def test_a_value_typed_to_get_past_a_form_links_nobody() -> None:
    assert len(persons(resolve({A: [("email", "test@test.com")], B: [("email", "test@test.com")]}))) == 2


# ---------------------------------------------------------------------------------------------------------- decisions


def test_a_human_cut_keeps_records_apart_and_is_told() -> None:
    result = resolve({A: [MAIL], B: [MAIL]}, judgements=[(A, B, "cut")])
    assert len(persons(result)) == 2
    assert reasons(result) == ["e-mail ann@x.example not used: a human decision keeps the records apart"]


def test_the_newest_decision_of_a_pair_counts() -> None:
    assert len(persons(resolve({A: [], B: []}, judgements=[(A, B, "cut"), (B, A, "link")]))) == 1
    assert len(persons(resolve({A: [], B: []}, judgements=[(A, B, "link"), (B, A, "cut")]))) == 2


def test_a_human_link_goes_over_limits() -> None:
    held = {A: [("customer_number", "C17")], B: [("customer_number", "C28")]}
    assert len(persons(resolve(held, judgements=[(A, B, "link")]))) == 1


def test_a_decision_that_newer_ones_contradict_is_listed() -> None:
    result = resolve({A: [], B: [], C: []}, judgements=[(A, C, "cut"), (A, B, "link"), (B, C, "link")])
    assert len(persons(result)) == 1
    assert reasons(result) == [
        "decision to cut of 2026-03-01 00:00 not used: newer decisions keep these records together"
    ]  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------- ids


def test_a_merge_keeps_the_older_id_and_the_other_resolves_to_it() -> None:
    before = resolve({A: [], B: []})
    after = resolve({A: [MAIL], B: [MAIL]}, before=before)
    assert owner(after, B) == owner(before, A)
    assert after.changed["key"].to_pylist() == [B], "whose row is as it was is not written"
    assert after.counts["merged"] == 1
    assert not after.issued.num_rows, "the younger id stays with its anchor"


def test_a_split_gives_the_former_id_back() -> None:
    apart = resolve({A: [], B: []})
    together = resolve({A: [MAIL], B: [MAIL]}, before=apart)
    before = identity.Resolution(**{**_fields(together), "issued": issued_after(apart, together)})
    again = resolve({A: [], B: []}, before=before)
    assert owner(again, B) == owner(apart, B)
    assert again.counts["split"] == 1


def _fields(result: identity.Resolution) -> dict[str, Any]:
    return {name: getattr(result, name) for name in identity.Resolution.__slots__}


def test_a_deleted_anchor_hands_its_id_on() -> None:
    before = resolve({A: [MAIL], B: [MAIL]})
    after = resolve({A: [], B: [MAIL]}, before=before, gone={A: None})
    assert owner(after, B) == owner(before, A)
    assert after.left.to_pylist() == [A]
    assert after.issued.select(["anchor", "minted_by", "retired_at"]).to_pylist() == [
        {"anchor": B, "minted_by": A, "retired_at": None}
    ]


def test_the_id_of_a_merged_record_goes_to_its_survivor() -> None:
    before = resolve({A: [MAIL], B: [MAIL], C: []})
    after = resolve({A: [("crm_id", C)], B: [MAIL], C: []}, before=before, gone={A: C})
    assert owner(after, C) == owner(before, A), "the older of the survivor's ids"
    assert owner(after, B) not in {owner(before, A), owner(before, C)}


def test_the_id_of_an_emptied_person_is_retired_until_their_last_record_comes_back() -> None:
    before = resolve({A: []})
    emptied = resolve({A: []}, before=before, gone={A: None})
    assert emptied.issued["retired_at"].to_pylist() == [NOW]
    assert (emptied.counts["retired"], emptied.counts["persons"]) == (1, 0)
    another = resolve({A: [], B: []}, before=emptied, gone={A: None})
    assert owner(another, B) != owner(before, A)
    back = resolve({A: [], B: []}, before=emptied)
    assert owner(back, A) == owner(before, A)
    assert owner(back, B) != owner(before, A)
    assert [row["retired_at"] for row in back.issued.to_pylist() if row["anchor"] == A] == [None]


def test_an_id_is_made_of_its_anchor_and_says_its_kind() -> None:
    assert owner(resolve({A: []}), A) == owner(resolve({A: []}), A)
    assert owner(resolve({A: []}), A) != owner(resolve({B: []}), B)
    assert owner(resolve({A: []}), A).startswith("P")
    assert owner(resolve({A: []}, kind="account"), A).startswith("A")
    assert len(owner(resolve({A: []}), A)) == 17


# ------------------------------------------------------------------------------------------------------------ accounts


def test_accounts_are_joined_by_domain_and_by_name() -> None:
    held = {
        A: [("domain", "x.example")],
        B: [("domain", "x.example"), ("account_name", "acme")],
        C: [("account_name", "acme")],
    }
    assert len(persons(resolve(held, kind="account", names={A: "Acme", B: "Acme Inc.", C: "ACME GmbH"}))) == 1


def test_the_same_name_does_not_join_two_account_numbers() -> None:
    held = {
        A: [("account_name", "acme"), ("account_number", "1017")],
        B: [("account_name", "acme"), ("account_number", "1028")],
    }
    result = resolve(held, kind="account")
    assert len(persons(result)) == 2
    assert "account numbers into one account (limit 1)" in reasons(result)[0]


# ----------------------------------------------------------------------------------------------------- table expressions


def identifier_table(rows: list[dict[str, Any]]) -> Any:
    full = [{"key": f"{row['record']}|{row['type']}|{row['value']}", "record_kind": "person", **row} for row in rows]
    return ibis.memtable(pa.Table.from_pylist(full, schema=tables.IDENTIFIER))


def row(record: str, value: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {"record": record, "type": value[0], "value": value[1], **more}


def touched(dirty: list[str], rows: list[dict[str, Any]], members: list[tuple[str, str]] = []) -> set[str]:  # noqa: B006
    membership = [{"key": key, "kind": "person", "owner_id": "P", "component": component} for key, component in members]
    expression = identity.touched(
        Kind.PERSON,
        ibis.memtable(pa.table({"key": pa.array(dirty, pa.string())})),
        identifier_table(rows),
        ibis.memtable(pa.Table.from_pylist(membership, schema=tables.MEMBERSHIP)),
        identity.IdentitySection(hard_holders=2),
    )
    result = ibis.duckdb.connect().to_pyarrow(expression)
    assert result.column_names == ["record"]
    keys = result["record"].to_pylist()
    assert len(keys) == len(set(keys))
    return set(keys)


def test_holders_of_present_and_former_values_are_touched() -> None:
    rows = [
        row(A, MAIL, withdrawn_at=NOW),
        row(B, MAIL),
        row(A, PHONE),
        row(C, PHONE),
        row(D, ("email", "d@x.example")),
    ]
    assert touched([A], rows) == {A, B, C}
    assert touched([], rows) == set()


def test_whole_components_are_touched() -> None:
    assert touched([A], [], [(A, "1"), (B, "1"), (C, "2")]) == {A, B}
    assert touched([A], [row(A, MAIL, component="1"), row(D, PHONE, component="1")], [(A, "1"), (B, "2")]) == {A, D}


def test_records_that_name_each_other_are_touched() -> None:
    rows = [row(A, ("crm_id", B)), row(C, ("crm_id", A))]
    assert touched([A], rows) == {A, B, C}
    assert touched([B], rows) == {A, B}


def test_a_value_with_too_many_holders_touches_nobody_but_when_that_changes_all() -> None:
    many = [row(key, MAIL, component=key) for key in (A, B, C)]
    assert touched([A], many) == {A}
    becoming = [row(A, MAIL), *many[1:]]
    assert touched([A], becoming) == {A, B, C}
    ceasing = [row(A, MAIL, component=A, withdrawn_at=NOW), *many[1:]]
    assert touched([A], ceasing) == {A, B, C}


def test_the_evidence_counts_holders_over_the_whole_store_and_leaves_withdrawn_values_out() -> None:
    rows = [row(A, MAIL), row(B, MAIL), row(C, MAIL, withdrawn_at=NOW), row(A, PHONE, withdrawn_at=NOW)]
    mine = ibis.memtable(pa.table({"record": [A]}))
    result = ibis.duckdb.connect().to_pyarrow(identity.evidence(Kind.PERSON, mine, identifier_table(rows)))
    assert result.to_pylist() == [{"record": A, "type": "email", "value": "ann@x.example", "holders": 2}]
    assert result.schema.equals(EVIDENCE)


def test_facts_hold_the_full_name_and_whether_a_record_lives() -> None:
    records = [
        {"key": A, "first_name": "Ann", "last_name": "Meyer", "ingestion": 1},
        {"key": B, "last_name": "Berg", "ingestion": 2, "deleted_at": NOW, "merged_into": A},
        {"key": C, "ingestion": 3},
    ]
    record = ibis.memtable(pa.Table.from_pylist(records, schema=tables.record_schema("person")))
    mine = ibis.memtable(pa.table({"record": [A, B]}))
    result = ibis.duckdb.connect().to_pyarrow(identity.facts(Kind.PERSON, mine, record).order_by("record"))
    assert result.schema.equals(FACTS)
    assert result["name"].to_pylist() == ["Ann Meyer", "Berg"]
    assert result["is_live"].to_pylist() == [True, False]
    assert result["merged_into"].to_pylist() == [None, A]


def test_issued_ids_are_found_by_who_carries_and_by_who_minted_them() -> None:
    rows = [
        {"key": "P1", "kind": "person", "anchor": A, "minted_by": B},
        {"key": "P2", "kind": "person", "anchor": C, "minted_by": A},
        {"key": "P3", "kind": "person", "anchor": C, "minted_by": C},
        {"key": "A1", "kind": "account", "anchor": A, "minted_by": A},
    ]
    issued = ibis.memtable(pa.Table.from_pylist(rows, schema=tables.ISSUED))
    mine = ibis.memtable(pa.table({"record": [A]}))
    result = ibis.duckdb.connect().to_pyarrow(identity.issued_of(Kind.PERSON, mine, issued))
    assert sorted(result["key"].to_pylist()) == ["P1", "P2"]


def test_evidence_of_an_unknown_record_is_left_out() -> None:
    evidence = pa.Table.from_pylist(
        [{"record": A, "type": "email", "value": "a@x.example", "holders": 1}], schema=EVIDENCE
    )
    nobody, nothing = tables.MEMBERSHIP.empty_table(), tables.ISSUED.empty_table()
    result = identity.resolve(
        "person", evidence, FACTS.empty_table(), nobody, nothing, JUDGEMENTS.empty_table(), SECTION, NOW
    )  # fmt: skip
    assert result.counts["persons"] == 0


def test_nothing_gives_nothing() -> None:
    result = resolve({})
    assert result.membership.schema.equals(tables.MEMBERSHIP)
    assert result.issued.schema.equals(tables.ISSUED)
    assert result.refused.schema.equals(tables.REFUSED)
    assert result.counts["persons"] == 0


# ---------------------------------------------------------------------------------------------------------------- why


def together(
    held: dict[str, list[tuple[str, str]]],
    *,
    order: list[str] | None = None,
    gone: dict[str, str | None] | None = None,
    refused: pa.Table | None = None,
    judgements: list[tuple[str, str, str]] | None = None,
    section: identity.IdentitySection = SECTION,
) -> list[tuple[str, str, str, str]]:
    """How these records, given as `resolve` takes them, hang together."""
    evidence, facts, decisions = facts_of(held, gone=gone, judgements=judgements)
    nothing = tables.REFUSED.empty_table() if refused is None else refused
    hops = identity.together(order or list(held), evidence, facts, nothing, decisions, section)
    return [(hop.left, hop.type, hop.value, hop.right) for hop in hops]


def test_evidence_is_told_hop_by_hop_from_the_first_record_on() -> None:
    held = {A: [MAIL], B: [MAIL, PHONE], C: [PHONE], D: []}
    assert together(held) == [(A, *MAIL, B), (B, *PHONE, C)]
    assert together(held, order=[C, B, A, D]) == [(C, *PHONE, B), (B, *MAIL, A)]


@pytest.mark.parametrize("order", [[A, B, C], [C, A, B], [B, C, A]])
def test_of_several_ways_the_strongest_is_told_wherever_one_begins(order: list[str]) -> None:
    handle, link = ("social_handle", "linkedin:ann"), ("crm_id", B)
    held = {A: [handle, PHONE, link], B: [handle, PHONE, MAIL], C: [handle, PHONE, MAIL]}
    told = together(held, order=order)
    assert {(type_, value) for _, type_, value, _ in told} == {link, MAIL}


def test_a_value_that_is_nobodys_is_not_told_as_evidence() -> None:
    nobodys = ("email", "test@test.com")
    assert together({A: [nobodys, PHONE], B: [nobodys, PHONE]}) == [(A, *PHONE, B)]


def test_what_people_decided_is_told_before_all_evidence() -> None:
    held = {A: [MAIL], B: [MAIL]}
    assert together(held, judgements=[(B, A, "link")]) == [(A, "judgement", "somebody", B)]
    assert together(held, judgements=[(A, B, "link"), (A, B, "cut")]) == [(A, *MAIL, B)]


def test_records_that_were_merged_away_lead_to_their_survivor() -> None:
    held = {A: [("crm_id", B)], B: [("crm_id", C)], C: []}
    assert together(held, order=[A, C, B], gone={B: C}) == [(A, "crm_id", B, B), (B, "crm_id", C, C)]


def test_a_value_that_kept_a_third_record_out_still_tells_why_two_are_together() -> None:
    link, others = ("crm_id", B), [("email", f"{name}@x.example") for name in ("b", "c", "d")]
    held = {A: [MAIL, link], B: others[:1], C: [*others[1:], link]}
    section = identity.IdentitySection(limits={"email": 2})
    result = resolve(held, section=section)
    assert persons(result) == {frozenset({A, B}), frozenset({C})}
    both = {key: held[key] for key in (A, B)}
    assert together(both, refused=result.refused, section=section) == [(A, *link, B)]


def test_what_keeps_two_persons_apart_is_said() -> None:
    held = {A: [PHONE], B: [PHONE]}
    result = resolve(held, names={A: "Ann Meyer", B: "Tom Berg"})
    table = pa.Table.from_pylist([row(A, PHONE), row(B, PHONE)], schema=tables.IDENTIFIER)
    assert identity.why_apart([A], [B], table, result.refused) == reasons(result)
    assert identity.why_apart([A], [C], table, result.refused) == ["they share no identifier"]
    crowd = identity.why_apart([A], [B], table, tables.REFUSED.empty_table())
    assert crowd == [
        "phone +4730555061 not used: too many records have it, it is a company's, or it is on the list of values that are nobody's"
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- section


@pytest.mark.parametrize(
    "given",
    [
        {"weak": ["fax"]},
        {"limits": {"fax": 1}},
        {"limits": {"email": -1}},
        {"priority": ["email", "email"]},
        {"hard_holders": 1},
    ],
)
def test_a_wrong_option_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        identity.IdentitySection.model_validate(given)


def test_options_are_laid_over_the_defaults() -> None:
    terms = identity.IdentitySection(limits={"email": 9, "phone": 0}, priority=("phone",)).terms("person")
    assert (terms.limits["email"], terms.limits["device"], "phone" in terms.limits) == (9, 6, False)
    assert terms.priority[:2] == ("phone", "crm_id")


SCRIPT = """
import sys; sys.path[:0] = [{root!r}, {here!r}]
from test_identity import resolve, A, B, C, D, MAIL, PHONE
result = resolve({{A: [MAIL, ("customer_number", "C17")], B: [MAIL, PHONE], C: [PHONE, ("customer_number", "C28")], D: [MAIL]}})
print(result.membership.to_pylist(), result.issued.to_pylist(), result.refused.to_pylist())
"""


def test_nothing_depends_on_the_order_of_hashes() -> None:
    here = Path(__file__).parent
    script = SCRIPT.format(root=str(here.parents[1]), here=str(here))
    answers = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1


def _held(record: str, kind: str, value: str, *, is_withdrawn: bool = False) -> dict[str, Any]:
    return {
        "key": f"{record}|phone|{value}", "record": record, "record_kind": kind, "type": "phone", "value": value,
        "withdrawn_at": NOW if is_withdrawn else None,
    }  # fmt: skip


def _identifiers(*rows: dict[str, Any]) -> ir.Table:
    return ibis.memtable(pa.Table.from_pylist(list(rows), schema=tables.IDENTIFIER))


def test_a_companys_own_number_links_nobody_who_works_there() -> None:
    office, mobile = "+49402791900", "+491701234567"
    held = _identifiers(
        _held("a", "person", office),
        _held("a", "person", mobile),
        _held("b", "person", office),
        _held("acme", "account", office),
    )
    touched = ibis.memtable(pa.table({"record": ["a", "b"]}))
    assert identity.evidence("person", touched, held).to_pyarrow()["value"].to_pylist() == [mobile]


def test_a_number_that_the_company_gave_up_is_evidence_again() -> None:
    office = "+49402791900"
    held = _identifiers(_held("a", "person", office), _held("acme", "account", office, is_withdrawn=True))
    touched = ibis.memtable(pa.table({"record": ["a"]}))
    assert identity.evidence("person", touched, held).to_pyarrow()["value"].to_pylist() == [office]


def test_who_has_the_number_that_a_company_takes_or_gives_up_is_looked_at_again() -> None:
    held = _identifiers(
        _held("a", "person", "+491"), _held("b", "person", "+492"), _held("c", "person", "+493"),
        _held("acme", "account", "+491"), _held("acme", "account", "+492", is_withdrawn=True), _held("other", "account", "+493"),
    )  # fmt: skip
    changed = ibis.memtable(pa.table({"key": ["acme"]}))
    assert sorted(identity.exposed(changed, held).to_pyarrow()["record"].to_pylist()) == ["a", "b"]


def test_accounts_are_not_linked_by_a_phone_number() -> None:
    held = _identifiers(_held("acme", "account", "+491"), _held("other", "account", "+491"))
    touched = ibis.memtable(pa.table({"record": ["acme", "other"]}))
    assert identity.evidence("account", touched, held).to_pyarrow().num_rows == 0
