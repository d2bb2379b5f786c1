"""The CRM's own workflow engine in small: a field that crosses a line sets another field, and the firing is noted."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from connector.sandbox.clock import SandboxClock

SALESFORCE = "salesforce"
HUBSPOT = "hubspot"

OPERATORS = ("crosses_up", "equals", "changes_to")

DEFAULT_RULES: tuple[dict[str, str | None], ...] = (
    {
        "system": SALESFORCE, "object_type": "Lead", "name": "Hot lead: start working", "field": "Score__c",
        "operator": "crosses_up", "value": "70", "set_field": "Status", "set_value": "Working - Contacted",
    },
    {
        "system": SALESFORCE, "object_type": "Contact", "name": "Hot contact: tell the owner", "field": "Score__c",
        "operator": "crosses_up", "value": "70", "set_field": None, "set_value": None,
    },
    {
        "system": HUBSPOT, "object_type": "contacts", "name": "Hot contact: in progress", "field": "connector_score",
        "operator": "crosses_up", "value": "70", "set_field": "hs_lead_status", "set_value": "IN_PROGRESS",
    },
)  # fmt: skip


class Workflows:
    """Rules of both systems and what they did; rules live in table `workflow_rule`."""

    def __init__(self, database: sqlite3.Connection, clock: SandboxClock) -> None:
        self._database = database
        self._clock = clock
        self._rules: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._load()

    def _load(self) -> None:
        self._rules = {}
        for row in self._database.execute("SELECT * FROM workflow_rule ORDER BY id"):
            self._rules.setdefault((row["system"], row["object_type"]), []).append(dict(row))

    def seed(self) -> None:
        """Add the default rules."""
        for rule in DEFAULT_RULES:
            self.add(rule)

    def add(self, rule: Mapping[str, Any]) -> dict[str, Any]:
        """Add a rule (keys as the columns of `workflow_rule`); raises ValueError when it makes no sense."""
        missing = [key for key in ("system", "object_type", "name", "field", "operator", "value") if key not in rule]
        if missing or rule["operator"] not in OPERATORS:
            raise ValueError(f"a workflow rule needs {missing or 'an operator of ' + ', '.join(OPERATORS)}")
        names = ("system", "object_type", "name", "field", "operator", "value", "set_field", "set_value")
        values = [None if rule.get(name) is None else str(rule[name]) for name in names]
        cursor = self._database.execute(
            f"INSERT INTO workflow_rule ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", values
        )
        self._load()
        return {"id": cursor.lastrowid, **dict(zip(names, values, strict=True))}

    def remove(self, rule_id: int | None = None) -> None:
        """Remove one rule, or all of them."""
        self._database.execute("DELETE FROM workflow_rule WHERE ? IS NULL OR id = ?", (rule_id, rule_id))
        self._load()

    def rules(self) -> list[dict[str, Any]]:
        """All rules."""
        return [rule for rules in self._rules.values() for rule in rules]

    def firings(self, since_id: int = 0) -> list[dict[str, Any]]:
        """What fired after `since_id`, oldest first."""
        query = "SELECT * FROM workflow_firing WHERE id > ? ORDER BY id"
        return [dict(row) for row in self._database.execute(query, (since_id,))]

    def watches(self, system: str, object_type: str) -> bool:
        """Whether any rule looks at this object type; if not, `on_update` need not be called."""
        return (system, object_type) in self._rules

    def on_update(
        self, system: str, object_type: str, record_id: str, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Fire the rules that this update crosses; returns the field updates that the workflow makes.

        `before` is the record as it was, `after` at least the fields that were written. A value written again
        does not fire. Call it inside the transaction of the update, and apply what it returns without calling it again.
        """
        updates: dict[str, Any] = {}
        for rule in self._rules.get((system, object_type), ()):
            field = rule["field"]
            if field not in after or not _crosses(rule["operator"], rule["value"], before.get(field), after[field]):
                continue
            if rule["set_field"]:
                updates[rule["set_field"]] = rule["set_value"]
            detail = f"{field}: {before.get(field)} -> {after[field]}"
            self._database.execute(
                "INSERT INTO workflow_firing (rule, system, object_type, record_id, at, detail) VALUES (?,?,?,?,?,?)",
                (rule["name"], system, object_type, record_id, self._clock.now().isoformat(), detail),
            )
        return updates


def _crosses(operator: str, value: str, before: Any, after: Any) -> bool:
    if operator == "crosses_up":
        line, new, old = _number(value), _number(after), _number(before)
        return line is not None and new is not None and new >= line and (old is None or old < line)
    return str(after) == value and str(before) != value


def _number(value: Any) -> float | None:
    try:
        return None if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        return None
