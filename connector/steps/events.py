"""What counts as an event of a person: activities as they were pulled, and what opportunities and cases say happened."""

from __future__ import annotations

from functools import reduce
from typing import Any

import ibis
import ibis.expr.types as ir

from connector import tables
from connector.expressions import built_once
from connector.mart import Mart
from connector.model import Kind

_COPY_WINDOW_S = 120
#: Kinds that the vendors' own synchronisation copies from one CRM to the other.
_COPIED = ("call_made", "meeting_booked", "meeting_held", "email_sent", "email_received")
#: Kinds of which one activity may belong to several records.
_SHARED = (*_COPIED, "task_done", "note_added", "sms_sent", "sms_received", "social_message")


def events(mart: Mart) -> ir.Table:
    """Activities that count, purchases of those who took part in a won opportunity, cases of those who opened them."""
    others = [mart.table(tables.record_table(kind)) for kind in (Kind.OPPORTUNITY, Kind.CONTACT_ROLE, Kind.CASE)]
    return _events(mart.table("activity"), *others)


@built_once
def _events(activity: ir.Table, opportunity: ir.Table, role: ir.Table, case: ir.Table) -> ir.Table:
    counted = activity.filter(
        activity.filtered_because.isnull() & activity.deleted_at.isnull() & activity.record.notnull()
    )
    return reduce(lambda left, right: left.union(right), [counted, _purchases(opportunity, role), _cases(case)])


def _purchases(opportunity: ir.Table, role: ir.Table) -> ir.Table:
    won = opportunity.filter(opportunity.is_won & opportunity.deleted_at.isnull())
    taking = role.filter(role.deleted_at.isnull()).select("opportunity", role_key="key", record="person")
    taken = taking.inner_join(won, taking.opportunity == won.key)
    purchases = _as_events(
        taken,
        key=taken.role_key + "|purchased",
        system=taken.system,
        stream=taken.object_type,
        native_id=taken.native_id,
        kind=ibis.literal("purchased"),
        channel=ibis.literal("deal"),
        happened_at=ibis.coalesce(taken.closed_at, taken.close_date.cast("timestamp('UTC', 6)")),
        record=taken.record,
        account=taken.account,
        opportunity=taken.opportunity,
        subject=taken.name,
        amount=taken.amount,
        properties=_as_json(currency=taken.currency),
    )
    return purchases.filter(purchases.happened_at.notnull() & purchases.record.notnull())


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
    named = mine.mutate(topic=_topic(mine), activity_id=_activity_id(mine))
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


def _topic(activity: ir.Table) -> ir.Value:
    return ibis.coalesce(activity.subject, "").lower().strip()
