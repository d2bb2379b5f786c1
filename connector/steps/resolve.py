"""Resolve: who is one person, who one account, and what is known of them. Only what is dirty, and what that touches."""

from __future__ import annotations

from dataclasses import dataclass, field

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from sqlmodel import col, select

from connector import identity, survivorship, tables
from connector.mart import Mart
from connector.model import Kind
from connector.state import State
from connector.state.models import Judgement
from connector.steps.setup import Moment, Setup

RESOLVED = (Kind.ACCOUNT, Kind.PERSON)
JUDGEMENTS = pa.schema([("left", tables.TEXT), ("right", tables.TEXT), ("verdict", tables.TEXT), ("decided_at", tables.INSTANT), ("by", tables.TEXT)])


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
    touched_accounts = mart.keep("touched_accounts", work.filter(ibis.literal(False)).select(owner_id="record"))
    for kind in RESOLVED:
        dirty = work.filter(work.kind == kind.value).select(key="record")
        if not mart.count(dirty):
            continue
        owners, counts[kind], touched = _resolve_kind(setup, mart, kind, dirty, moment)
        records += touched
        if kind is Kind.ACCOUNT:
            touched_accounts = owners
            _keep_accounts(setup, mart, owners)
    _keep_persons(setup, mart, touched_accounts)
    return Resolved(records, counts)


def _widen(setup: Setup, mart: Mart, moment: Moment) -> None:
    """A changed identity or survivorship setting makes every record dirty; anything less looks only at what changed."""
    present = setup.fingerprints.get("identity", "")
    if setup.state.note("fingerprint:identity", present) == present:
        return
    for kind in RESOLVED:
        table = mart.table(tables.record_table(kind))
        rows = table.select(
            key=ibis.literal(f"{kind}|") + table.key, kind=ibis.literal(kind.value), record=table.key, run=ibis.literal(moment.run, "int64")
        )
        mart.merge("dirty", rows)


def _resolve_kind(setup: Setup, mart: Mart, kind: Kind, dirty: ir.Table, moment: Moment) -> tuple[ir.Table, dict[str, int], int]:
    """Resolve the touched components of one kind; returns the owners that were or are concerned (scratch table)."""
    identifier = mart.table("identifier")
    membership = mart.table("membership")
    mine = identifier.filter(identifier.record_kind == kind.value)
    members = membership.filter(membership.kind == kind.value)
    touched = mart.keep(f"touched_{kind}", identity.touched(kind.value, dirty, mine, members, setup.identity))
    former = members.semi_join(touched, members.key == touched.record)
    issued = mart.table("issued")
    resolution = identity.resolve(
        kind.value,
        mart.arrow(mine.semi_join(touched, "record")),
        mart.arrow(_facts(mart, kind).semi_join(touched, "record")),
        mart.arrow(former),
        mart.arrow(issued.filter(issued.kind == kind.value).semi_join(touched, issued.anchor == touched.record)),
        judgements(setup.state),
        setup.identity,
        moment.now,
    )
    both = former.select("owner_id").union(ibis.memtable(resolution.membership).select("owner_id"), distinct=True)
    owners = mart.keep(f"owners_{kind}", both)
    mart.replace_bucket("membership", "key", touched.select("record"), resolution.membership)
    mart.merge("issued", resolution.issued)
    mart.replace_bucket("refused", "component", ibis.memtable(resolution.touched_components).select("component"), resolution.refused)
    _label(mart, kind, touched, resolution.components)
    if kind is Kind.PERSON:
        mart.keep("resolved_records", touched.select("record"))
    return owners, dict(resolution.counts), mart.count(touched)


def _facts(mart: Mart, kind: Kind) -> ir.Table:
    """What identity needs to know of a record besides its identifiers."""
    table = mart.table(tables.record_table(kind))
    if kind is Kind.PERSON:
        parts = (ibis.coalesce(table.first_name, "") + " " + ibis.coalesce(table.last_name, "")).lower().strip()
        name = parts.re_replace(r"\s+", " ").nullif("")
    else:
        name = table.name.lower().strip().nullif("")
    return table.select(record=table.key, ingestion=table.ingestion, is_live=table.deleted_at.isnull(), name=name, merged_into=table.merged_into)


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
    golden = survivorship.golden_accounts(records, members.filter(members.kind == Kind.ACCOUNT.value), versions.semi_join(mine, versions.record == mine.key), setup.survivorship)
    mart.replace_bucket("account", "key", owners.select("owner_id"), mart.keep("golden_accounts", golden))


def _keep_persons(setup: Setup, mart: Mart, touched_accounts: ir.Table) -> None:
    """Golden persons of everybody who is concerned: by their records, or because their account is."""
    members = mart.table("membership")
    persons = members.filter(members.kind == Kind.PERSON.value)
    by_records = persons.semi_join(mart.kept("resolved_records"), persons.key == mart.kept("resolved_records").record).select("owner_id")
    account_records = members.filter(members.kind == Kind.ACCOUNT.value).semi_join(touched_accounts, "owner_id")
    record = mart.table(tables.record_table(Kind.PERSON))
    of_accounts = record.semi_join(account_records, record.account == account_records.key).select("key")
    by_accounts = persons.semi_join(of_accounts, "key").select("owner_id")
    concerned = by_records.union(by_accounts)
    if "owners_person" in _scratch(mart):
        concerned = concerned.union(mart.kept("owners_person").select("owner_id"))
    subjects = mart.keep("subjects", concerned.distinct().select(subject="owner_id"))
    mine = persons.semi_join(subjects, persons.owner_id == subjects.subject)
    records = record.semi_join(mine, "key")
    versions = mart.table("record_version")
    golden = survivorship.golden_persons(
        records, mine, members.filter(members.kind == Kind.ACCOUNT.value), versions.semi_join(mine, versions.record == mine.key), setup.survivorship
    )
    mart.replace_bucket("person", "key", subjects, mart.keep("golden_persons", golden))


def _scratch(mart: Mart) -> set[str]:
    rows = mart.connection.execute("SELECT table_name FROM duckdb_tables() WHERE temporary").fetchall()
    return {row[0] for row in rows}


def judgements(state: State) -> pa.Table:
    """The human decisions, newest last."""
    with state.session() as session:
        rows = session.exec(select(Judgement).order_by(col(Judgement.decided_at))).all()
    return pa.Table.from_pylist(
        [{"left": row.left, "right": row.right, "verdict": row.verdict, "decided_at": row.decided_at, "by": row.decided_by} for row in rows],
        schema=JUDGEMENTS,
    )
