"""Whose a field is: ours, ours while it is empty, a person's for a time, or nobody's to write; and who fights over it.

Pure: expressions over the observed values and what was seen of other writers (`tables.DRIFT`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

import ibis
import ibis.expr.types as ir
from pydantic import Field

from connector.expressions import Instant, built_once, earlier, instant_of
from connector.section import Duration, Section


class Owner(StrEnum):
    """Who has the last word on a field."""

    OWN = "own"  # always ours
    FILL = "fill"  # ours while it is empty
    DEFER = "defer"  # a person's edit stands until it expires
    ALERT = "alert"  # never written: a difference is shown as drift


#: A field that two writers fight over is left alone, whoever owns it.
FROZEN = "frozen"
#: What rounding to a whole number moves a number at most; the letters of a day in an instant's text.
_HALF, _DAY_LETTERS = Decimal("0.5"), 10


class Fights(Section):
    """`[writeback.fights]`: when somebody else keeps changing what we write."""

    edits: int = Field(3, ge=2, description="our value was changed by somebody else so many times")
    within: Duration = Field(timedelta(days=7), description="in this time: then the field is frozen for that record")
    freeze_for: Duration = Field(
        timedelta(days=7), description="how long it stays frozen, unless `connector unfreeze` ends it"
    )


@dataclass(frozen=True, slots=True)
class Rules:
    """Who owns what: (system, object type, native field) -> owner; what is not named is ours."""

    owners: Mapping[tuple[str, str, str], Owner] = field(default_factory=dict)
    defer_for: timedelta = timedelta(0)


def owner_of(ownership: Mapping[str, Owner], system: str, object_type: str, output: str) -> Owner:
    """The most specific of `system.object_type.output`, `system.output` and `output`; ours when none is named."""
    for name in (f"{system}.{object_type}.{output}", f"{system}.{output}", output):
        if name in ownership:
            return ownership[name]
    return Owner.OWN


def left_because(pairs: ir.Table, rules: Rules, frozen: ir.Table | None, now: Instant) -> ir.Value:
    """Why a field that differs is not written (fill, defer, alert, frozen), or null when it is.

    pairs: key, system, object_type, field, before (text), edited_at; frozen: keys of fields that are left alone.
    """
    cases = []
    is_there = pairs.before.nullif("").notnull()
    stands = (
        pairs.edited_at + ibis.interval(seconds=int(rules.defer_for.total_seconds())) > instant_of(now)
    ).fill_null(False)
    for (system, object_type, name), owner in rules.owners.items():
        is_it = (pairs.system == system) & (pairs.object_type == object_type) & (pairs.field == name)
        holds = {Owner.FILL: is_there, Owner.DEFER: stands, Owner.ALERT: ibis.literal(True)}.get(owner)
        if holds is not None:
            cases.append((is_it & holds, ibis.literal(owner.value)))
    if frozen is not None:
        cases.insert(0, (pairs.key.isin(frozen.key), ibis.literal(FROZEN)))
    return ibis.cases(*cases, else_=ibis.null("string")) if cases else ibis.null("string")


@built_once
def expired(observed: ir.Table, rules: Rules, after: Instant, now: Instant) -> ir.Table:
    """The records (record) of deferred fields whose person's edit ceased to stand between the two instants."""
    names = {name for (_, _, name), owner in rules.owners.items() if owner is Owner.DEFER}
    ends = observed.edited_at + ibis.interval(seconds=int(rules.defer_for.total_seconds()))
    over = observed.filter(observed.field.isin(sorted(names)) & (ends > instant_of(after)) & (ends <= instant_of(now)))
    return over.select("record").distinct()


def is_same_value(left: ir.Value, right: ir.Value) -> ir.Value:
    """Equal as a system would mean it, whatever the output: as text, as a number or as an instant; empty is none."""
    text = left.nullif("").identical_to(right.nullif(""))
    number = left.try_cast("decimal(18, 4)") == right.try_cast("decimal(18, 4)")
    instant = left.try_cast("timestamp") == right.try_cast("timestamp")
    return text | number.fill_null(False) | instant.fill_null(False)


def is_held_as(held: ir.Value, ours: ir.Value, may_round: ir.Value) -> ir.Value:
    """Whether a field that was given `ours` may show it as `held`: one without decimals rounds a number, one of dates keeps an
    instant's day.

    may_round: when it is read, whether it has no decimals; once it is read, whether nobody was found to have edited it.
    """
    whole, number = held.try_cast("decimal(18, 4)"), ours.try_cast("decimal(18, 4)")
    is_rounded = may_round & (whole == whole.round()) & ((whole - number).abs() <= _HALF)
    is_day = (
        held.try_cast("date").notnull() & ours.try_cast("timestamp").notnull() & (ours.substr(0, _DAY_LETTERS) == held)
    )
    return is_same_value(held, ours) | is_rounded.fill_null(False) | is_day.fill_null(False)


@built_once
def fights(drift: ir.Table, section: Fights, now: Instant) -> ir.Table:
    """The fields (record, field, system, edits, editor, ours, theirs, last_at) that somebody keeps changing after us."""
    recent = drift.filter(drift.seen_at.between(earlier(now, section.within), instant_of(now)))
    grouped = recent.group_by("record", "field", "system", "object_type").agg(
        edits=recent.count(),
        editor=recent.editor.argmax(recent.seen_at),
        ours=recent.ours.argmax(recent.seen_at),
        theirs=recent.theirs.argmax(recent.seen_at),
        last_at=recent.seen_at.max(),
    )
    return grouped.filter(grouped.edits >= section.edits)
