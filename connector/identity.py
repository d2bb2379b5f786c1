"""Identity: which records are one person, or one account, and by which id it is called.

Three steps, each a pure function:

    touched     what has to be looked at again, closed to whole components         (table expressions)
    evidence    the identifiers of those records, with their number of holders     (table expression)
    resolve     persons, stable ids, what was refused and why                      (Arrow tables)

`resolve` is: build the star of records and values (the first guards), find what is shared, take components, send the
few in which something may be refused through the ordered merge, and let the anchors name the persons. Whatever is
touched, in whatever order it came, gives the same answer as resolving everything anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Annotated, Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute
from pydantic import AfterValidator, Field, field_validator

from connector import identifiers, tables
from connector.expressions import built_once
from connector.matching import anchors, components, partition, star
from connector.matching import evidence as evidences
from connector.matching.evidence import Hop, why_apart
from connector.matching.ordered import Judgement, newest
from connector.matching.terms import Terms
from connector.section import Section, Wrong, one_of

pc: Any = pyarrow.compute  # its published types know neither masks nor chunked columns

__all__ = [
    "ALARM_RECORDS", "RULES", "Hop", "IdentitySection", "Resolution", "evidence", "exposed", "facts", "issued_of", "resolve",
    "together", "touched", "unused", "why_apart",
]  # fmt: skip

PHONE = "phone"
ALARM_RECORDS = 1_000
"""A component with more records than this is a sign of dirt that the guards do not know: an alarm, not an error."""
RULES = 2
"""Raised when the program weighs the same evidence otherwise: everybody is resolved anew, as when the section changes."""

_PRIORITY = (
    "crm_id", "customer_number", "user_id", "account_number", "social_id", "domain", "email", "device", "phone",
    "cookie", "email_base", "social_handle", "account_name",
)  # fmt: skip
_SHARED_NAMES = {"email": 3, "email_base": 3, "phone": 2, "device": 2, "cookie": 2, "social_handle": 2, "domain": 5}
_LIMITS = {
    "customer_number": 1, "user_id": 1, "account_number": 1, "social_id": 1, "email": 5, "phone": 4,
    "device": 6, "domain": 3,
}  # fmt: skip
#: What stands before the colon of an address that has no slashes after it, and what a type would look like there.
_SCHEMES, _TYPE_LIKE = ("mailto", "tel"), re.compile(r"^[a-z_]+$")
_WITH_SYNTAX = ("email", "email_base", "phone", "domain")
_WEAK = ("phone", "device", "cookie", "email_base", "social_handle", "account_name")


def _told(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items())


def _is_a_blocked_value(value: str) -> str:
    """A word before a colon is a type, unless the whole is an address such as https://x.example or mailto:ann@x.example."""
    word, _, rest = value.partition(":")
    is_address = rest.startswith("//") or word in _SCHEMES
    if rest and _TYPE_LIKE.match(word) and word not in identifiers.TYPES and not is_address:
        near = get_close_matches(word, identifiers.TYPES, 1)
        mend = f'did you mean "{near[0]}"?' if near else f'write "TYPE:{word}:…" when it is part of a value'
        raise Wrong((f'unknown identifier type "{word}"', mend))
    if value in ("", "@") or (
        word in _WITH_SYNTAX and rest and not rest.startswith("@") and not identifiers.parse(word, rest)[0]
    ):
        raise Wrong(
            (f'"{value}" is no value that anybody has', 'write "value", "type:value" (a number with +) or "@domain"')
        )
    return value


IdentifierType = Annotated[str, one_of(identifiers.TYPES, "identifier type")]
Count = Annotated[int, Field(ge=0)]


class IdentitySection(Section):
    """`[identity]`: what links records into persons and accounts, and what may not."""

    priority: tuple[IdentifierType, ...] = Field(_PRIORITY, description="identifier types, strongest evidence first")
    hard_holders: int = Field(50, ge=2, description="a value that more records hold links nobody")
    shared_names: dict[IdentifierType, Count] = Field(
        default_factory=dict,
        description=f"distinct names among a value's holders up to which it still links, by type, over {_told(_SHARED_NAMES)}",
    )
    limits: dict[IdentifierType, Count] = Field(
        default_factory=dict,
        description=f"most values of a type in one person (social_id by network, crm_id by object type), over {_told(_LIMITS)}; 0: none",
    )
    weak: tuple[IdentifierType, ...] = Field(
        _WEAK, description="types that never join names that contradict each other"
    )
    blocked: tuple[Annotated[str, AfterValidator(_is_a_blocked_value)], ...] = Field(
        (), description='values that are nobody\'s: "value", "type:value", or "@domain" for all mailboxes of a domain'
    )

    @field_validator("priority")
    @classmethod
    def _has_no_type_twice(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names a type twice")
        return value

    def terms(self, kind: str) -> Terms:
        """The section as the guards want it: given values laid over the defaults, a limit of 0 taken as none."""
        return Terms(
            kind=kind,
            priority=(*self.priority, *(each for each in _PRIORITY if each not in self.priority)),
            hard_holders=self.hard_holders,
            shared_names=_in_force(_SHARED_NAMES, self.shared_names),
            limits=_in_force(_LIMITS, self.limits),
            weak=frozenset(self.weak),
            blocked=frozenset(form for each in self.blocked for form in _blocked(each)),
        )


def _in_force(defaults: Mapping[str, int], given: Mapping[str, int]) -> Mapping[str, int]:
    return {type_: count for type_, count in {**defaults, **given}.items() if count}


def _blocked(text: str) -> Iterable[tuple[str, str]]:
    """As it is written, in lower case, as all but the keys of records are kept, and as its type is normalised."""
    type_, colon, value = text.partition(":")
    scope, value = (type_, value) if colon and type_ in identifiers.TYPES else ("", text)
    normalised = identifiers.parse(scope, value)[0] if scope in _WITH_SYNTAX else None
    return {(scope, value), (scope, value.lower()), (scope, normalised or value)}


# ------------------------------------------------------------------------------------------------------ what is touched


@built_once
def touched(
    kind: str, dirty: ir.Table, identifier: ir.Table, membership: ir.Table, section: IdentitySection
) -> ir.Table:
    """The records that have to be resolved again, in the one column `record`; they make whole components.

    These are the dirty records (`record`, or `key` where the table has no such column), the holders of every value that
    they have or had, the records that a CRM id of theirs names or whose CRM id names them, and all members of the
    components of these. A value with too many holders is left out, unless it has just got too many or stopped having
    them. When the section changes, give all records as dirty.
    """
    rows = identifier.filter(identifier.record_kind == kind)
    if "kind" in dirty.columns:
        dirty = dirty.filter(dirty.kind == kind)
    changed = dirty.select(record=dirty["record" if "record" in dirty.columns else "key"]).distinct()
    crm = ibis.literal(star.CRM_ID)
    values = _union(
        rows.semi_join(changed, "record").select("type", "value"), changed.select(type=crm, value=changed.record)
    )
    holders = rows.semi_join(values, ["type", "value"])
    counts = holders.group_by("type", "value").aggregate(
        now=holders.withdrawn_at.isnull().sum(), before=holders.component.notnull().sum()
    )
    links = counts.filter((counts.now <= section.hard_holders) | (counts.before <= section.hard_holders))
    named = values.filter(values.type == crm)
    reached = _union(
        changed, holders.semi_join(links, ["type", "value"]).select("record"), named.select(record=named.value)
    )
    members = membership.filter(membership.kind == kind)
    placed = [members.select(record=members.key, component=members.component), rows.select("record", "component")]
    components = _union(*(each.semi_join(reached, "record").select("component") for each in placed))
    components = components.filter(components.component.notnull())
    return _union(reached, *(each.semi_join(components, "component").select("record") for each in placed))


def _union(*parts: ir.Table) -> ir.Table:
    return ibis.union(*parts, distinct=True)


@built_once
def evidence(kind: str, touched: ir.Table, identifier: ir.Table) -> ir.Table:
    """What `resolve` reads: record, type, value and `holders`, how many records of the whole store have the value now.

    Withdrawn rows are left out, and a company's own phone numbers: a switchboard says where people work, not who they are.
    The holders are counted over the store, not over the touched records: a value that too many hold does not touch its
    holders.
    """
    live = identifier.filter(identifier.record_kind == kind, identifier.withdrawn_at.isnull())
    live = personal(live, identifier) if kind == "person" else live.filter(live.type != PHONE)
    mine = live.semi_join(touched, "record").select("record", "type", "value")
    counts = live.semi_join(mine, ["type", "value"]).group_by("type", "value").aggregate(holders=ibis._.count())
    return mine.join(counts, ["type", "value"]).select("record", "type", "value", "holders")


def personal(rows: ir.Table, identifier: ir.Table) -> ir.Table:
    """Identifier rows of persons, without the phone numbers that an account has as its own."""
    companys = identifier.filter(
        identifier.record_kind == "account", identifier.type == PHONE, identifier.withdrawn_at.isnull()
    )
    return rows.anti_join(companys.select("type", "value").distinct(), ["type", "value"])


@built_once
def exposed(dirty_accounts: ir.Table, identifier: ir.Table) -> ir.Table:
    """The person records (`record`) with a phone number that one of these accounts (`key`) has, or had until now."""
    phones = identifier.filter(identifier.type == PHONE)
    theirs = phones.filter(phones.record_kind == "account").semi_join(
        dirty_accounts, phones.record == dirty_accounts.key
    )
    return phones.filter(phones.record_kind == "person").semi_join(theirs.view(), "value").select("record").distinct()


@built_once
def facts(kind: str, touched: ir.Table, records: ir.Table) -> ir.Table:
    """What `resolve` has to know of the touched records: record, ingestion, is_live, name, merged_into."""
    mine = records.semi_join(touched, records.key == touched.record)
    if kind == "person":
        first, last = (ibis.coalesce(mine[each], "") for each in ("first_name", "last_name"))
        name = (first + " " + last).strip().nullif("")
    else:
        name = mine.name
    return mine.select(
        record=mine.key,
        ingestion=mine.ingestion,
        is_live=mine.deleted_at.isnull(),
        name=name,
        merged_into=mine.merged_into,
    )


@built_once
def issued_of(kind: str, touched: ir.Table, issued: ir.Table) -> ir.Table:
    """The issued ids that the touched records carry or have minted."""
    mine = issued.filter(issued.kind == kind)
    carried = mine.semi_join(touched, mine.anchor == touched.record)
    return _union(carried, mine.semi_join(touched, mine.minted_by == touched.record))


# ------------------------------------------------------------------------------------------------------------- resolve


@dataclass(frozen=True, slots=True)
class Resolution:
    """What the touched records are now.

    `membership` has a row for every touched record that lives (tables.MEMBERSHIP), `changed` those that differ from
    before, `left` the keys of memberships that end. `issued` are the new or changed ids. `refused` replaces the rows of
    `touched_components`, the labels that these records had and have. `components` has record and component, also for
    records that were merged away: for `identifier.component`. `counts`: persons, new, merged, split, retired,
    largest_component.
    """

    membership: pa.Table
    changed: pa.Table
    left: pa.Array[Any]
    issued: pa.Table
    refused: pa.Table
    components: pa.Table
    touched_components: pa.Array[Any]
    counts: Mapping[str, int]


def resolve(
    kind: str,
    identifiers: pa.Table,
    records: pa.Table,
    former: pa.Table,
    issued: pa.Table,
    judgements: pa.Table,
    section: IdentitySection,
    now: datetime,
) -> Resolution:
    """Resolve the touched records: their persons (or accounts), ids, refused evidence and components.

    `identifiers` is the result of `evidence`, `records` of `facts`, `former` the memberships of the touched records,
    `issued` the result of `issued_of`. `judgements` (left, right, verdict "link" or "cut", decided_at, by) may hold
    more than the touched records'; the newest of a pair counts.
    """
    terms = section.terms(kind)
    graph = star.build(identifiers, records, terms)
    parts = partition.of(graph, terms, newest(_judgements(judgements)))
    members = anchors.Members(
        graph.records, graph.ingestion, graph.is_live, records["merged_into"].combine_chunks(), parts.person
    )
    ids = anchors.assign(kind, members, former, issued, now)
    first = components.first_members(parts.component, graph.ingestion)
    label = graph.records.take(pa.array(first[parts.component]))
    live = pa.array(graph.is_live)
    membership = pa.table(
        [
            graph.records.filter(live),
            pa.repeat(kind, int(graph.is_live.sum())),
            ids.of_record.filter(live),
            label.filter(live),
            pa.array(graph.ingestion).filter(live),
        ],
        schema=tables.MEMBERSHIP,
    )
    placed = pa.array(graph.is_live | (np.bincount(graph.edge_record, minlength=len(graph.records)) > 0))
    return Resolution(
        membership=membership,
        changed=_changed(membership, former),
        left=_left(membership, former),
        issued=ids.issued,
        refused=partition.refused_rows(kind, parts, graph.records, label),
        components=pa.table({"record": graph.records.filter(placed), "component": label.filter(placed)}),
        touched_components=pc.unique(
            pa.concat_arrays([former["component"].combine_chunks().cast(pa.string()), pc.unique(label)])
        ).drop_null(),
        counts=_counts(membership, former, ids.issued, parts.component),
    )


def together(
    order: Sequence[str],
    identifiers: pa.Table,
    records: pa.Table,
    refused: pa.Table,
    judgements: pa.Table,
    section: IdentitySection,
) -> list[Hop]:
    """Why the records of a person are one: the strongest evidence that holds them together, from the first on.

    `order` are the person's records and those that were merged into them; the tables are theirs, as `resolve` takes them,
    with what was `refused`.
    """
    terms = section.terms("person")
    graph = star.build(identifiers, records, terms)
    return evidences.tree(order, graph, terms, refused, newest(_judgements(judgements)))


def unused(identifiers: pa.Table, section: IdentitySection) -> dict[tuple[str, str], str]:
    """Which values of persons link nobody, whoever has them, and why; `identifiers` is the result of `evidence`."""
    return star.unused(identifiers, section.terms("person"))


def _judgements(judgements: pa.Table) -> Sequence[Judgement]:
    return [
        Judgement(row["left"], row["right"], row["verdict"] == "link", row["decided_at"], row["by"] or "")
        for row in judgements.to_pylist()
    ]


def _changed(membership: pa.Table, former: pa.Table) -> pa.Table:
    """The rows that were not there before, or were others."""
    place = pc.index_in(membership["key"], value_set=former["key"].combine_chunks())
    before = former.take(place)
    is_same = [
        pc.fill_null(pc.equal(membership[column], before[column]), False)
        for column in ("owner_id", "component", "ingestion")
    ]
    return membership.filter(pc.invert(pc.and_(pc.and_(is_same[0], is_same[1]), is_same[2])))


def _left(membership: pa.Table, former: pa.Table) -> pa.Array[Any]:
    gone = pc.invert(pc.is_in(former["key"], value_set=membership["key"].combine_chunks()))
    keys: pa.Array[Any] = former["key"].filter(gone).combine_chunks()
    return keys


def _counts(membership: pa.Table, former: pa.Table, issued: pa.Table, component: Any) -> dict[str, int]:
    """How many persons there are, and how many came, were joined, divided and emptied."""
    present = pc.unique(membership["owner_id"])
    before = pc.unique(former["owner_id"])
    retired = issued.filter(pc.is_valid(issued["retired_at"]))["key"]
    still = before.filter(pc.invert(pc.is_in(before, value_set=retired.combine_chunks())))
    owner_before = former["owner_id"].take(pc.index_in(membership["key"], value_set=former["key"].combine_chunks()))
    moves = pa.table({"before": owner_before, "after": membership["owner_id"]})
    known = moves.filter(pc.is_valid(moves["before"])).group_by(["before", "after"]).aggregate([])
    sides = len(known) - len(pc.unique(known["before"]))
    return {
        "persons": len(present),
        "new": len(present) - len(pc.unique(known["after"])),
        "merged": int(pc.sum(pc.invert(pc.is_in(still, value_set=present)), min_count=0).as_py()),
        "split": sides,
        "retired": int(pc.sum(pc.is_in(before, value_set=retired.combine_chunks()), min_count=0).as_py()),
        "largest_component": int(np.bincount(component).max()) if len(component) else 0,
    }
