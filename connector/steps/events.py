"""What counts as an event of a person: activities as they were pulled, and what opportunities and cases say happened."""

from __future__ import annotations

from typing import Any

import ibis
import ibis.expr.types as ir

from connector import tables
from connector.expressions import among, built_once, only, together
from connector.mart import Mart
from connector.model import Kind

#: What counts as an event; when it changes, all events are folded anew, once.
RULES = 2
_COPY_WINDOW_S = 120
#: A deal that two systems tell of is closed in both on one day, be it in two time zones.
_SAME_DEAL_DAYS = 1
#: Kinds that the vendors' own synchronisation copies from one CRM to the other.
_COPIED = ("call_made", "meeting_booked", "meeting_held", "email_sent", "email_received")
#: Kinds of which one activity may belong to several records.
_SHARED = (*_COPIED, "task_done", "note_added", "sms_sent", "sms_received", "social_message")


def events(mart: Mart, records: ir.Table | None = None) -> ir.Table:
    """Activities that count, purchases of those who took part in a won opportunity, cases of those who opened them: of these person
    records (`record`), or of all."""
    names = ("activity", "membership", *map(tables.record_table, (Kind.OPPORTUNITY, Kind.CONTACT_ROLE, Kind.CASE)))
    activity, membership, opportunity, role, case = map(mart.table, names)
    return _events(activity, membership, opportunity, role, case, records)


@built_once
def _events(
    activity: ir.Table,
    membership: ir.Table,
    opportunity: ir.Table,
    role: ir.Table,
    case: ir.Table,
    records: ir.Table | None,
) -> ir.Table:
    counted = activity.filter(
        activity.filtered_because.isnull() & activity.deleted_at.isnull() & activity.record.notnull()
    )
    people = only(membership, kind=Kind.PERSON).select(record="key", whose="owner_id")
    if records is not None:
        people = among(people, "whose", among(people, "record", records))
    happened = together(counted, _purchases(opportunity, role, people), _cases(case))
    return happened if records is None else among(happened, "record", records)


def _purchases(opportunity: ir.Table, role: ir.Table, people: ir.Table) -> ir.Table:
    """One for each person and won opportunity, of however many of their records and in whatever roles they take part. `people` are
    all records (`record`) of the persons (`whose`) who are asked for."""
    won = opportunity.filter(opportunity.is_won & opportunity.deleted_at.isnull())
    taking = role.filter(role.deleted_at.isnull()).select("opportunity", role_key="key", record="person")
    taking = taking.inner_join(people, "record")
    taken = taking.inner_join(won, taking.opportunity == won.key)
    happened_at = ibis.coalesce(taken.closed_at, taken.close_date.cast("timestamp('UTC', 6)"))
    taken = _told_once(taken.mutate(happened_at=happened_at).filter(happened_at.notnull()))
    return _as_events(
        taken,
        key=taken.role_key + "|purchased",
        system=taken.system,
        stream=taken.object_type,
        native_id=taken.native_id,
        kind=ibis.literal("purchased"),
        channel=ibis.literal("deal"),
        happened_at=taken.happened_at,
        record=taken.record,
        account=taken.account,
        opportunity=taken.opportunity,
        subject=taken.name,
        amount=taken.amount,
        properties=_as_json(currency=taken.currency),
    )


def _told_once(taken: ir.Table) -> ir.Table:
    """Of who took part in a won opportunity (`whose`) the first row of each person, without those of the same deal in another system:
    of the same name, amount and, where both tell it, currency. The earlier one stays."""
    rows = taken.mutate(
        topic=_topic(taken.name).re_replace(r"\s+", ""),
        closed_on=ibis.coalesce(taken.close_date, taken.happened_at.cast("timestamp").date()),
    )
    order = [rows.closed_on, rows.happened_at, rows.role_key]
    before = ibis.window(group_by=["whose", "topic", "amount"], order_by=order)
    rows = rows.mutate(
        is_first=ibis.row_number().over(ibis.window(group_by=["whose", "opportunity"], order_by=order)) == 0,
        **{f"{name}_before": rows[name].lag().over(before) for name in ("system", "currency", "closed_on")},
    )
    is_near = rows.closed_on.delta(rows.closed_on_before, unit="day") <= _SAME_DEAL_DAYS
    is_alike = is_near & (rows.currency == rows.currency_before).fill_null(True)
    is_copy = ((rows.system != rows.system_before) & is_alike).fill_null(False)
    return rows.filter(rows.is_first & ~is_copy)


def _cases(case: ir.Table) -> ir.Table:
    live = case.filter(case.deleted_at.isnull() & case.person.notnull() & case.created_at.notnull())
    return _as_events(
        live,
        key=live.key + "|case_opened",
        system=live.system,
        stream=live.object_type,
        native_id=live.native_id,
        kind=ibis.literal("case_opened"),
        channel=ibis.literal("service"),
        happened_at=live.created_at,
        record=live.person,
        account=live.account,
        subject=live.subject,
    )


def _as_events(source: ir.Table, **columns: Any) -> ir.Table:
    """Rows in the shape of activities; what is not given is null."""
    types = ibis.schema(tables.ACTIVITY)
    return source.select(**{name: columns.get(name, ibis.null(types[name])).cast(types[name]) for name in types})


def _as_json(**values: ir.Value) -> ir.Value:
    """A JSON object of these texts."""
    return ibis.struct(values).cast("json").cast("string")


@built_once
def copies(activity: ir.Table, membership: ir.Table, subjects: ir.Table) -> ir.Table:
    """ACTIVITY rows of these persons whose verdict on being a copy changes: the same call, mail or meeting logged in two
    systems counts once, and so does one activity that two records of a person share. The earlier one stays."""
    owned = membership.semi_join(subjects, membership.owner_id == subjects.subject).select(
        record="key", owner="owner_id"
    )
    judged = activity.filter(
        activity.kind.isin(_SHARED)
        & activity.deleted_at.isnull()
        & (activity.filtered_because.isnull() | (activity.filtered_because == tables.COPY))
    )
    mine = judged.inner_join(owned, "record")
    named = mine.mutate(topic=_topic(mine.subject), activity_id=_activity_id(mine))
    before = ibis.window(group_by=["owner", "kind", "topic"], order_by=["happened_at", "key"])
    beside = named.mutate(system_before=named.system.lag().over(before), at_before=named.happened_at.lag().over(before))
    apart_s = beside.happened_at.epoch_seconds() - beside.at_before.epoch_seconds()
    is_synced = beside.kind.isin(_COPIED) & (beside.system != beside.system_before) & (apart_s <= _COPY_WINDOW_S)
    shared = ibis.window(group_by=["owner", "system", "activity_id"], order_by=["happened_at", "key"])
    beside = beside.mutate(is_synced=is_synced, is_shared=ibis.row_number().over(shared) > 0)
    is_copy = (beside.is_synced | beside.is_shared).fill_null(False)
    verdict = beside.mutate(because=ibis.ifelse(is_copy, ibis.literal(tables.COPY), ibis.null("string")))
    changed = verdict.filter(~verdict.because.identical_to(verdict.filtered_because))
    return changed.mutate(filtered_because=changed.because).select(*tables.ACTIVITY.names)


def _activity_id(activity: ir.Table) -> ir.Value:
    """The native id of an activity, be it told by the activity itself or by who takes part in it."""
    told = activity.properties.cast("json")["activity_id"].unwrap_as("string")
    return ibis.ifelse(activity.properties.contains('"activity_id"'), told, activity.native_id)


def _topic(subject: ir.Value) -> ir.Value:
    return ibis.coalesce(subject, "").lower().strip()
