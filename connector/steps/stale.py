"""What waits although it is over. A task that is not made yet (drafted, held, waiting or set aside) and that nothing asks for any
more: nobody wants to call a lead that has cooled down since, or write to somebody who has opted out. What is held of a record that
holds, or is to hold, something else by now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute

from connector import ownership, settlement, tables
from connector import plan as planning
from connector.expressions import NOW, built_once
from connector.mart import Mart
from connector.plan import as_text
from connector.state import outbox
from connector.steps import standing
from connector.steps.setup import Moment, Setup

pc: Any = pyarrow.compute
NO_TASK = "the configuration has no such task any more"
OVER = "its condition holds no longer"
ANEW = "it fired anew for this person"
_HELD = pa.schema([("number", pa.int64())] + [(name, tables.TEXT) for name in ("record", "field", "planned", "seen")])


def withdraw(setup: Setup, mart: Mart) -> None:
    """See that none of those that are in the outbox is ever made; each keeps why."""
    waiting = outbox.unmade(setup.state)
    over = _over(setup, mart, waiting.values())
    for reason in sorted(set(over.values())):
        numbers = [number for number, key in waiting.items() if over.get(key) == reason]
        outbox.withdraw_tasks(setup.state, numbers, reason)


def let_go(setup: Setup, mart: Mart, moment: Moment) -> list[str]:
    """Let go of held changes of fields that a plan would not make as they are: something else is wanted since, the system holds
    something else, or the field is not ours to write by now. The next plan compares their records anew. Returns these."""
    rows = [
        {"number": row.id, "record": settlement.record_key(row), "field": name, "planned": as_text(value),
         "seen": as_text(row.before.get(name))}
        for row in outbox.braked(setup.state)
        if not row.task
        for name, value in row.fields.items()
    ]  # fmt: skip
    if not rows:
        return []
    asked = mart.keep("asked_held", pa.Table.from_pylist(rows, schema=_HELD))
    mart.tell(now=moment.now, run=moment.run)
    differing = planning.diff(
        mart.table("desired").semi_join(asked.select("record").distinct(), "record"),
        mart.table("observed"),
        since=None,
        min_points=setup.writeback.min_points,
        now=NOW,
        rules=standing.rules(setup),
        frozen=standing.frozen(setup, mart, moment, is_dry=True),
    )
    wanted = differing.filter(differing.is_material & differing.left_because.isnull())
    both = asked.left_join(
        wanted.select("key", "value", "before", "edited_at"), asked.record + "|" + asked.field == wanted.key
    )
    is_as_seen = ownership.is_held_as(both.before, both.seen, both.edited_at.isnull())
    is_same = ownership.is_same_value(both.planned, both.value) & is_as_seen
    over = mart.arrow(both.filter(both.key.isnull() | ~is_same).select("number", "record").distinct()).to_pylist()
    outbox.let_go(setup.state, [row["number"] for row in over])
    return sorted({row["record"] for row in over})


def without(setup: Setup, mart: Mart, drafts: pa.Table) -> pa.Table:
    """DESIRED_TASK rows without those that are over before they were planned."""
    over = pa.array(_over(setup, mart, map(str, drafts["key"].to_pylist())), tables.TEXT)
    return drafts.filter(pc.invert(pc.is_in(drafts["key"], value_set=over)))


def _over(setup: Setup, mart: Mart, keys: Iterable[str]) -> Mapping[str, str]:
    """The tasks with these keys that are over, each with why."""
    asked = pa.table({"key": pa.array(sorted(set(keys)), tables.TEXT)})
    if not asked.num_rows:
        return {}
    drafts = [mart.table(name) for name in ("desired_task", "issued", "membership", "trigger")]
    rows = mart.arrow(_told(mart.keep("asked_drafts", asked), *drafts)).to_pylist()
    reasons = {row["key"]: _why(setup, row) for row in rows}
    return {key: reason for key, reason in reasons.items() if reason}


def _why(setup: Setup, row: Mapping[str, Any]) -> str:
    if row["trigger"] not in setup.tasks:
        return NO_TASK
    if row["is_armed"]:
        return OVER
    return ANEW if row["is_older"] else ""


@built_once
def _told(asked: ir.Table, draft: ir.Table, issued: ir.Table, members: ir.Table, trigger: ir.Table) -> ir.Table:
    """Of each task its trigger, whether that may fire again for its person, who may be another's by now, and whether there is a
    newer one of it for them."""
    whose = issued.select(whose="key", anchor="anchor")
    rows = draft.select("key", "trigger", "subject", "revision").left_join(whose, ibis._.subject == whose.whose)
    placed = members.select(member="key", owner="owner_id")
    rows = rows.left_join(placed, rows.anchor == placed.member)
    rows = rows.mutate(person=ibis.coalesce(rows.owner, rows.subject))
    newest = ibis.window(group_by=["person", "trigger"], order_by=[rows.revision.desc(), rows.key.desc()])
    ranked = rows.mutate(is_older=ibis.row_number().over(newest) > 0)
    mine = ranked.semi_join(asked, "key")
    armed = trigger.select(of="subject", named="trigger", is_armed="is_armed")
    told = mine.left_join(armed, (mine.person == armed.of) & (mine.trigger == armed.named))
    return told.select("key", "trigger", "is_older", is_armed=told.is_armed.fill_null(False))
