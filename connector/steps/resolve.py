"""Resolve: who is one person, who one account, and what is known of them. Only what is dirty, and what that touches."""

from __future__ import annotations

from dataclasses import dataclass, field

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from connector import identity, survivorship, tables
from connector.mart import Mart
from connector.model import Kind
from connector.state import State
from connector.steps.setup import Moment, Setup

RESOLVED = (Kind.ACCOUNT, Kind.PERSON)


@dataclass(frozen=True)
class Resolved:
    """What the step did: `records` looked at; persons whose members or values may differ are kept as scratch `subjects`."""

    records: int = 0
    counts: dict[str, dict[str, int]] = field(default_factory=dict)


def resolve(setup: Setup, mart: Mart, moment: Moment) -> Resolved:
    """Take the work queue as it stands, resolve accounts and persons, and give them their golden values.

    Leaves three scratch tables: `work` (the dirty rows that this run handles), `resolved_records`, and `subjects` (person ids).
    """
    _widen(setup, mart, moment)
    work = mart.keep("work", mart.table("dirty"))
    mart.keep("resolved_records", work.filter(ibis.literal(False)).select("record"))
    counts: dict[str, dict[str, int]] = {}
    records = 0
    nobody = mart.keep("nobody", work.filter(ibis.literal(False)).select(owner_id="record"))
    owners = dict.fromkeys(RESOLVED, nobody)
    accounts = work.filter(work.kind == Kind.ACCOUNT.value).select(key="record")
    exposed = mart.keep("exposed", identity.exposed(accounts, mart.table("identifier")))
    for kind in RESOLVED:
        dirty = work.filter(work.kind == kind.value).select(key="record")
        if kind is Kind.PERSON:
            dirty = dirty.union(exposed.select(key="record"), distinct=True)
        if not mart.count(dirty):
            continue
        owners[kind], counts[kind], touched = _resolve_kind(setup, mart, kind, dirty, moment)
        records += touched
    _keep_accounts(setup, mart, owners[Kind.ACCOUNT])
    _keep_persons(setup, mart, owners[Kind.PERSON], owners[Kind.ACCOUNT])
    return Resolved(records, counts)


def _widen(setup: Setup, mart: Mart, moment: Moment) -> None:
    """A changed identity or survivorship setting makes every record dirty; anything less looks only at what changed."""
    present = setup.fingerprints.get("identity", "")
    if setup.state.note("fingerprint:identity", present) == present:
        return
    for kind in RESOLVED:
        table = mart.table(tables.record_table(kind))
        rows = table.select(
            key=ibis.literal(f"{kind}|") + table.key,
            kind=ibis.literal(kind.value),
            record=table.key,
            run=ibis.literal(moment.run, "int64"),
        )
        mart.merge("dirty", rows)


def _resolve_kind(
    setup: Setup, mart: Mart, kind: Kind, dirty: ir.Table, moment: Moment
) -> tuple[ir.Table, dict[str, int], int]:
    """Resolve the touched components of one kind; returns the owners that were or are concerned (scratch table)."""
    identifier, membership, issued = mart.table("identifier"), mart.table("membership"), mart.table("issued")
    record = mart.table(tables.record_table(kind))
    touched = mart.keep(f"touched_{kind}", identity.touched(kind, dirty, identifier, membership, setup.identity))
    former = membership.filter(membership.kind == kind.value).semi_join(touched, membership.key == touched.record)
    known = mart.keep("former_membership", former)
    resolution = identity.resolve(
        kind,
        mart.arrow(identity.evidence(kind, touched, identifier)),
        mart.arrow(identity.facts(kind, touched, record)),
        mart.arrow(known),
        mart.arrow(identity.issued_of(kind, touched, issued)),
        judgements(setup.state),
        setup.identity,
        moment.now,
    )
    left = pa.table({"key": resolution.left})
    owners = known.select("key", "owner_id")
    gone = owners.semi_join(ibis.memtable(left), "key").select("owner_id")
    moved = ibis.memtable(resolution.changed).select("key", "owner_id")
    before = owners.semi_join(moved, "key").select("owner_id")
    now = ibis.memtable(resolution.membership).select("key", "owner_id")
    of_dirty = now.semi_join(dirty, "key").select("owner_id")
    concerned = ibis.union(gone, moved.select("owner_id"), before, of_dirty, distinct=True)
    concerned = mart.keep(f"owners_{kind}", concerned)
    if kind is Kind.PERSON:
        changed = ibis.union(ibis.memtable(left), moved.select("key"), dirty.select("key"), distinct=True)
        mart.keep("resolved_records", changed.select(record="key"))
    mart.delete_keys("membership", left)
    mart.merge("membership", resolution.changed)
    mart.merge("issued", resolution.issued)
    components = pa.table({"component": resolution.touched_components})
    mart.replace_bucket("refused", "component", components, resolution.refused)
    _label(mart, kind, touched, resolution.components)
    return concerned, dict(resolution.counts), mart.count(touched)


def _label(mart: Mart, kind: Kind, touched: ir.Table, components: pa.Table) -> None:
    """Give the identifiers of touched records their component, and let go of the withdrawn ones, which have been seen."""
    identifier = mart.table("identifier")
    mine = identifier.filter(identifier.record_kind == kind.value).semi_join(touched, "record")
    labels = ibis.memtable(components.select(["record", "component"])).rename(label="component")
    labelled = mine.left_join(labels, "record").drop("record_right")
    changed = labelled.filter(labelled.withdrawn_at.isnull() & ~labelled.component.identical_to(labelled.label))
    gone = mart.keep("withdrawn_identifiers", mine.filter(mine.withdrawn_at.notnull()).select("key"))
    mart.merge("identifier", changed.mutate(component=changed.label).drop("label"))
    mart.delete_keys("identifier", gone)


def _keep_accounts(setup: Setup, mart: Mart, owners: ir.Table) -> None:
    members = mart.table("membership")
    mine = members.filter(members.kind == Kind.ACCOUNT.value).semi_join(owners, "owner_id")
    records = mart.table(tables.record_table(Kind.ACCOUNT)).semi_join(mine, "key")
    versions = mart.table("record_version")
    golden = survivorship.golden_accounts(
        records,
        members.filter(members.kind == Kind.ACCOUNT.value),
        versions.semi_join(mine, versions.record == mine.key),
        setup.survivorship,
    )
    mart.replace_bucket("account", "key", owners.select("owner_id"), mart.keep("golden_accounts", golden))


def _keep_persons(setup: Setup, mart: Mart, owners: ir.Table, accounts: ir.Table) -> None:
    """Golden persons of everybody who is concerned: by their records, or because their account is."""
    members = mart.table("membership")
    persons = members.filter(members.kind == Kind.PERSON.value)
    of_accounts = members.filter(members.kind == Kind.ACCOUNT.value)
    account_records = of_accounts.semi_join(accounts, "owner_id")
    record = mart.table(tables.record_table(Kind.PERSON))
    employees = record.semi_join(account_records, record.account == account_records.key).select("key")
    by_accounts = persons.semi_join(employees, "key").select("owner_id")
    subjects = owners.select("owner_id").union(by_accounts, distinct=True).select(subject="owner_id")
    subjects = mart.keep("subjects", subjects)
    mine = persons.semi_join(subjects, persons.owner_id == subjects.subject)
    records = record.semi_join(mine, "key")
    versions = mart.table("record_version")
    known = versions.semi_join(mine, versions.record == mine.key)
    golden = survivorship.golden_persons(records, mine, of_accounts, known, setup.survivorship)
    mart.replace_bucket("person", "key", subjects, mart.keep("golden_persons", golden))


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
