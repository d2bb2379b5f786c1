"""The persons of a plan, as a person would like to see them: name, title, account, and why their score is what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ibis
import orjson
import pyarrow as pa

from connector import tables
from connector.mart import Mart
from connector.model import Change, Kind
from connector.plan import Plan
from connector.steps.setup import Setup


@dataclass(frozen=True)
class Shown:
    """One person of a plan."""

    key: str
    name: str
    title: str
    account: str
    outputs: Mapping[str, tuple[Any, Any]]  # output -> (before, after), where it differs in some record
    reasons: Sequence[Mapping[str, Any]]
    changes: Sequence[Change]


def details(setup: Setup, mart: Mart, plan: Plan) -> list[Shown]:
    """Every person of the plan, those with tasks first, then the highest scores."""
    changes: dict[str, list[Change]] = {}
    for change in plan.changes:
        changes.setdefault(change.person or "", []).append(change)
    if not changes:
        return []
    subjects = ibis.memtable(pa.table({"subject": pa.array(list(changes), tables.TEXT)}))
    person, account, score = mart.table("person"), mart.table("account"), mart.table("score")
    mine = score.filter(score.model == setup.writeback.model)
    joined = subjects.left_join(person, subjects.subject == person.key).left_join(
        account, person.account == account.key, rname="account_{name}"
    )
    joined = joined.left_join(mine, joined.subject == mine.subject, rname="score_{name}")
    rows = mart.arrow(
        joined.select(
            "subject",
            "name",
            "email",
            "title",
            "reasons",
            "score",
            account=ibis.coalesce(joined.account_name, joined.company),
        )
    ).to_pylist()
    native = setup.written
    shown = [_shown(row, changes[row["subject"]], native) for row in rows]
    order = {row["subject"]: row["score"] or 0 for row in rows}
    return sorted(shown, key=lambda each: (not any(c.task for c in each.changes), -order[each.key], each.key))


def _shown(row: Mapping[str, Any], changes: Sequence[Change], native: Mapping[tuple[str, str, str], str]) -> Shown:
    outputs: dict[str, tuple[Any, Any]] = {}
    for change in changes:
        for field, after in change.fields.items():
            outputs.setdefault(
                native.get((change.system, change.object_type, field), field), (change.before.get(field), after)
            )
    reasons = [each for each in orjson.loads(row["reasons"] or "[]") if abs(each["points"]) >= tables.WEIGHTLESS]
    return Shown(
        row["subject"],
        row["name"] or row["email"] or "somebody",
        row["title"] or "",
        row["account"] or "",
        outputs,
        reasons,
        changes,
    )


def owners(mart: Mart) -> dict[tuple[str, str], str]:
    """The names of the customer's own people: (system, native id) -> name."""
    return _names(mart, "native_id")


def editors(mart: Mart) -> dict[tuple[str, str], str]:
    """The same people by the ids under which a system says who changed a record: (system, user id) -> name."""
    return _names(mart, "native_id") | _names(mart, "user_id")


def _names(mart: Mart, by: str) -> dict[tuple[str, str], str]:
    table = mart.table(tables.record_table(Kind.OWNER))
    rows = mart.arrow(table.select("system", "name", id=table[by])).to_pylist()
    return {(row["system"], row["id"]): row["name"] for row in rows if row["id"] and row["name"]}
