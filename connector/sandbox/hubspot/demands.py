"""What the portal's admin demands of every record: the dated API versions hold writes to it, the numbered ones do not.

Source: https://developers.hubspot.com/changelog (crm-api-write-validation-enforcement)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from connector.sandbox.database import read_setting, write_setting
from connector.sandbox.hubspot.answers import ValueProblem
from connector.sandbox.hubspot.object_types import ObjectType
from connector.sandbox.hubspot.serving import Call

SETTING = "hubspot_demands_of_"


def demand(call: Call, kind: ObjectType, name: str, when: Mapping[str, str]) -> int:
    """From now on a record needs the property: when it is made, or as soon as it has all the values of `when`."""
    found = [*_demands(call, kind), {"property": name, "when": dict(when)}]
    write_setting(call.context.database, SETTING + kind.name, orjson.dumps(found).decode())
    return len(found)


def _demands(call: Call, kind: ObjectType) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(read_setting(call.context.database, SETTING + kind.name) or "[]")
    return found


def unmet(call: Call, kind: ObjectType, after: Mapping[str, str], *, is_new: bool) -> list[ValueProblem]:
    """What a record, as it would be after a write, lacks."""
    problems = []
    for each in _demands(call, kind):
        name, when = each["property"], each["when"]
        if after.get(name) or (not when and not is_new):
            continue
        if all(after.get(key) == value for key, value in when.items()):
            code = "MISSING_CONDITIONAL_REQUIRED_PROPERTY" if when else "MISSING_REQUIRED_PROPERTY"
            problems.append(ValueProblem(name, code, f"Property {name} is required."))
    return problems
