"""Duplicate rules: a record that equals another in one field is refused, unless the caller allows saving.

REST API Developer Guide, "Duplicate Rule Header": with `allowSave=true` a rule that only alerts lets the record pass; a rule that
blocks never does. A new org has none here; `duplicate_rule` (see `acting.act`) makes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.schema import SObject

ALERT, BLOCK = "alert", "block"


def put_rule(org: Org, one: SObject, field_name: str, action: str | None) -> None:
    """Make or change the rule of an object and field; no action removes it."""
    field = one.find(field_name)
    if field is None or action not in (ALERT, BLOCK, None):
        raise ValueError("a duplicate rule needs a field of the object, and alert or block (or null, to remove it)")
    org.database.execute("DELETE FROM sf_duplicate_rule WHERE object = ? AND field = ?", (one.name, field.name))
    if action is not None:
        org.database.execute("INSERT INTO sf_duplicate_rule VALUES (?, ?, ?)", (one.name, field.name, action))
    org.read_duplicate_rules()


def check_duplicates(
    org: Org, one: SObject, written: Mapping[str, Any], native: str | None, *, saves_duplicates: bool
) -> None:
    """Raises DUPLICATES_DETECTED."""
    for field_name, action in org.duplicate_rules.get(one.name, ()):
        value = written.get(field_name)
        if value is None or (saves_duplicates and action == ALERT):
            continue
        if org.other_with(one, field_name, value, native) is not None:
            raise RefusedError(
                "DUPLICATES_DETECTED",
                "Use one of these records?"
                if action == ALERT
                else "You're creating a duplicate record. We recommend you use an existing record instead.",
            )
