"""Resolve: who is one person, who one account, and what is known of them. Only what is dirty, and what that touches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute

from connector import identity, survivorship, tables
from connector.expressions import among, built_once, missing, only, together
from connector.mart import Mart, merges
from connector.model import Kind
from connector.state import State
from connector.steps.portions import dirty_rows
from connector.steps.setup import Moment, Setup

pc: Any = pyarrow.compute
RESOLVED = (Kind.ACCOUNT, Kind.PERSON)
GOLDEN = 10_000  # persons whose golden values are found at once: all their values are sorted side by side


@dataclass(frozen=True)
class Resolved:
    """What the step did: `records` looked at; persons whose members or values may differ are kept as scratch `subjects`."""

    records: int = 0
    counts: dict[str, dict[str, int]] = field(default_factory=dict)

    def __add__(self, other: Resolved) -> Resolved:
        kinds = dict.fromkeys([*self.counts, *other.counts])
        counts = {kind: _together(self.counts.get(kind, {}), other.counts.get(kind, {})) for kind in kinds}
        return Resolved(self.records + other.records, counts)


def _together(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    """The counts of two portions: sums, but the largest of what is the largest."""
    return {
        name: (max if name.startswith("largest") else sum)((left.get(name, 0), right.get(name, 0)))
        for name in {**left, **right}
    }


def resolve(setup: Setup, mart: Mart, moment: Moment, *, is_whole: bool = True) -> Resolved:
    """Resolve the accounts and persons of the scratch table `work` (dirty rows), and give them their golden values.

    Leaves three more scratch tables: `resolved_records`, `subjects` (person ids), and `parted` (persons of whom a record went
    `into` another, or came back as another). Unless it `is_whole`, it is widened by what is dirty and touched anyway, and persons
    whose accounts changed are queued instead of being computed at once.
    """
    work = mart.kept("work")
    mart.keep("resolved_records", work.filter(ibis.literal(False)).select("record"))
    mart.keep("parted", work.filter(ibis.literal(False)).select(subject="record", into="record"))
    counts: dict[str, dict[str, int]] = {}
    records = 0
    nobody = mart.keep("nobody", work.filter(ibis.literal(False)).select(owner_id="record"))
    owners = dict.fromkeys(RESOLVED, nobody)
    mart.keep("moved_accounts", nobody.select(key="owner_id"))
    accounts = work.filter(work.kind == Kind.ACCOUNT.value).select(key="record")
    exposed = mart.keep("exposed", identity.exposed(accounts, mart.table("identifier")))
    for kind in RESOLVED:
        dirty = work.filter(work.kind == kind.value).select(key="record")
        if kind is Kind.PERSON and is_whole:
            dirty = dirty.union(exposed.select(key="record"), distinct=True)
        if not mart.count(dirty):
            continue
        touched = _touched(setup, mart, kind, dirty)
        if not is_whole:
            dirty, touched = _closed(setup, mart, kind, touched)
        owners[kind], counts[kind] = _resolve_kind(setup, mart, kind, dirty, touched, moment)
        records += mart.count(touched)
    employees = _employees(mart, _keep_accounts(setup, mart, owners[Kind.ACCOUNT]))
    if not is_whole:
        mart.merge("dirty", dirty_rows(exposed.union(employees.select(record="key"), distinct=True), Kind.PERSON))
        employees = employees.limit(0)
    _keep_persons(setup, mart, owners[Kind.PERSON], employees)
    return Resolved(records, counts)


def _touched(setup: Setup, mart: Mart, kind: Kind, dirty: ir.Table) -> ir.Table:
    touched = identity.touched(kind, dirty, mart.table("identifier"), mart.table("membership"), setup.identity)
    return mart.keep(f"touched_{kind}", touched)


def _closed(setup: Setup, mart: Mart, kind: Kind, touched: ir.Table) -> tuple[ir.Table, ir.Table]:
    """The dirty records among the touched ones taken into `work`, so that no later portion looks at them again; and what they
    touch. Returns both."""
    work, dirty = mart.kept("work"), mart.table("dirty")
    more = dirty.semi_join(touched, "record").anti_join(work, "key")
    before = mart.count(work)
    work = mart.keep("work", work.union(more))
    of_kind = work.filter(work.kind == kind.value).select(key="record")
    return of_kind, touched if mart.count(work) == before else _touched(setup, mart, kind, of_kind)


def _resolve_kind(
    setup: Setup, mart: Mart, kind: Kind, dirty: ir.Table, touched: ir.Table, moment: Moment
) -> tuple[ir.Table, dict[str, int]]:
    """Resolve the touched components of one kind; returns the owners that were or are concerned (scratch table)."""
    identifier, membership, issued = mart.table("identifier"), mart.table("membership"), mart.table("issued")
    record = mart.table(tables.record_table(kind))
    former = membership.filter(membership.kind == kind.value).semi_join(touched, membership.key == touched.record)
    known = mart.keep("former_membership", former)
    issued_before = mart.arrow(identity.issued_of(kind, touched, issued))
    resolution = identity.resolve(
        kind,
        mart.arrow(identity.evidence(kind, touched, identifier)),
        mart.arrow(identity.facts(kind, touched, record)),
        mart.arrow(known),
        issued_before,
        judgements(setup.state),
        setup.identity,
        moment.now,
    )
    left = mart.keep("left_records", pa.table({"key": resolution.left}))
    owners = known.select("key", "owner_id")
    gone = owners.semi_join(left, "key").select("owner_id")
    moved = mart.keep("changed_membership", resolution.changed)
    before = owners.semi_join(moved, "key").select("owner_id")
    now = mart.keep("new_membership", resolution.membership.select(["key", "owner_id"]))
    of_dirty = now.semi_join(dirty, "key").select("owner_id")
    concerned = ibis.union(gone, moved.select("owner_id"), before, of_dirty, distinct=True)
    concerned = mart.keep(f"owners_{kind}", concerned)
    if kind is Kind.PERSON:
        changed = ibis.union(left, moved.select("key"), dirty.select("key"), distinct=True)
        mart.keep("resolved_records", changed.select(record="key"))
        parted = moved.select("key", into="owner_id").inner_join(owners, "key").select(subject="owner_id", into="into")
        back = mart.keep("came_back", _came_back(issued_before, resolution.issued))
        mart.keep("parted", parted.filter(parted.subject != parted.into).union(back, distinct=True))
    else:
        nowhere = missing(dirty, "key", now)
        mart.keep("moved_accounts", together(left, moved.select("key"), nowhere, distinct=True))
    mart.delete_keys("membership", left)
    mart.merge("membership", moved)
    mart.merge("issued", resolution.issued)
    components = pa.table({"component": resolution.touched_components})
    mart.replace_bucket("refused", "component", components, resolution.refused)
    _label(mart, kind, touched, resolution.components)
    return concerned, dict(resolution.counts)


def _came_back(before: pa.Table, issued: pa.Table) -> pa.Table:
    """The persons whose first record is called anew, as it was gone for a while: `subject`, and whom it went `into`."""
    new = issued.filter(pc.invert(pc.is_in(issued["key"], value_set=before["key"])))
    new = new.filter(pc.is_in(new["minted_by"], value_set=before["minted_by"]))
    into = new.select(["minted_by", "key"]).rename_columns(["minted_by", "into"])
    known = before.select(["minted_by", "key"]).rename_columns(["minted_by", "subject"])
    return known.join(into, "minted_by", join_type="inner").select(["subject", "into"])


def _label(mart: Mart, kind: Kind, touched: ir.Table, components: pa.Table) -> None:
    """Give the identifiers of touched records their component, and let go of the withdrawn ones, which have been seen."""
    identifier = mart.table("identifier")
    mine = identifier.filter(identifier.record_kind == kind.value).semi_join(touched, "record")
    gone = mart.keep("withdrawn_identifiers", mine.filter(mine.withdrawn_at.notnull()).select("key"))
    mart.delete_keys("identifier", gone)
    labels = mart.keep("labels", components.select(["record", "component"]))
    mart.update("identifier", "record", touched.left_join(labels, "record").select("record", "component"))


def _keep_accounts(setup: Setup, mart: Mart, owners: ir.Table) -> ir.Table:
    """Golden accounts of everybody who is concerned: by their records, or because their parent is another. Returns who that is."""
    members, record = _of_accounts(mart), mart.table(tables.record_table(Kind.ACCOUNT))
    moved = mart.kept("moved_accounts")
    parents = mart.keep("moved_parents", together(moved, merges.absorbed(mart, Kind.ACCOUNT, moved)))
    children = among(members, "key", among(record, "parent", parents, "key")).select("owner_id")
    owners = mart.keep("kept_accounts", together(owners.select("owner_id"), children, distinct=True))
    mine = mart.keep("kept_members", among(members, "owner_id", owners))
    records = among(record, "key", mine)
    versions = among(mart.table("record_version"), "record", mine, "key")
    placed = _placed(mart, _named(records, "parent"))
    golden = survivorship.golden_accounts(records, mine, placed, versions, setup.survivorship)
    mart.replace_bucket("account", "key", owners, golden)
    return owners


def _of_accounts(mart: Mart) -> ir.Table:
    return only(mart.table("membership"), kind=Kind.ACCOUNT).select("key", "owner_id")


@built_once
def _named(records: ir.Table, column: str) -> ir.Table:
    """The account records (`record`) that others name in a column."""
    return records.filter(records[column].notnull()).select(record=column).distinct()


def _placed(mart: Mart, named: ir.Table) -> ir.Table:
    """The account (`owner_id`) of each account record (`key`): of those among the named that were merged away, their survivor's."""
    members = _of_accounts(mart)
    unplaced = mart.keep("unplaced", missing(named, "record", members, "key"))
    if not mart.count(unplaced):
        return members
    pairs = merges.survivors(mart, Kind.ACCOUNT, unplaced)
    theirs = pairs.inner_join(members, pairs.survivor == members.key).select(key="record", owner_id="owner_id")
    return together(members, mart.keep("placed_by_merge", theirs))


def _employees(mart: Mart, accounts: ir.Table) -> ir.Table:
    """The records (`key`) of persons that name a record of these accounts, one that is in no account any more, or one that was merged
    into any of these."""
    members, record = mart.table("membership"), mart.table(tables.record_table(Kind.PERSON))
    theirs = among(_of_accounts(mart), "owner_id", accounts).select("key")
    known = mart.keep("employers", together(theirs, mart.kept("moved_accounts"), distinct=True))
    employers = mart.keep("all_employers", together(known, merges.absorbed(mart, Kind.ACCOUNT, known)))
    return among(among(record, "account", employers, "key"), "key", members).select("key")


def _keep_persons(setup: Setup, mart: Mart, owners: ir.Table, employees: ir.Table) -> None:
    """Golden persons of everybody who is concerned: by their records, or because their account is."""
    members = mart.table("membership")
    persons = only(members, kind=Kind.PERSON)
    record = mart.table(tables.record_table(Kind.PERSON))
    by_accounts = persons.semi_join(employees, "key").select("owner_id")
    subjects = owners.select("owner_id").union(by_accounts, distinct=True).select(subject="owner_id")
    subjects = mart.keep("subjects", subjects)
    count = mart.count(subjects)
    parts = -(-count // GOLDEN)
    for part in range(parts):
        here = subjects if parts == 1 else mart.keep("golden_subjects", _part(subjects, part, parts))
        mine = among(persons, "owner_id", here, "subject")
        records = among(record, "key", mine)
        known = among(mart.table("record_version"), "record", mine, "key")
        placed = _placed(mart, _named(records, "account"))
        golden = survivorship.golden_persons(records, mine, placed, known, setup.survivorship)
        mart.replace_bucket("person", "key", here, golden)


def _part(subjects: ir.Table, part: int, parts: int) -> ir.Table:
    """One of so many parts of the persons."""
    return subjects.filter((subjects.subject.hash() % parts + parts) % parts == part)


def judgements(state: State) -> pa.Table:
    """The human decisions, newest last."""
    rows = state.judgements()
    return pa.Table.from_pylist(
        [
            {
                "left": row.left,
                "right": row.right,
                "verdict": row.verdict,
                "decided_at": row.decided_at,
                "by": row.decided_by,
            }
            for row in rows
        ],
        schema=tables.JUDGEMENT,
    )
