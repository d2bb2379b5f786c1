"""Records by the path that leads to them from another one: `/sobjects/Contact/003.../Account`, `/sobjects/Account/001.../Contacts`.

REST API Developer Guide, "sObject Relationships", "Traverse Relationships with Friendly URLs": five parents up, or one step down.
"""

from __future__ import annotations

import re

from connector.sandbox.salesforce import records
from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.refusal import RefusedError, no_such_column, not_found
from connector.sandbox.salesforce.schema import Field, SObject
from connector.sandbox.salesforce.soql_sql import MOST_STEPS

_FIELD = re.compile(r"\w+(\.\w+)*")


def read(call: Call, name: str, text: str, path: str) -> Answer:
    """A parent as `GET /sobjects/X/id` has it; children as a query has them. 404 when there is no parent."""
    *steps, last = path.split("/")
    one, native = _parent(call, name, text, steps)
    found = call.org.schema.child_of(one.name, last)
    if found is None or not call.access.sees(*found):
        return records.read(call, *_target(call, name, text, path))
    return _children(call, *found, native)


def change(call: Call, name: str, text: str, path: str) -> Answer:
    """`PATCH` of a parent."""
    return records.change(call, *_target(call, name, text, path))


def remove(call: Call, name: str, text: str, path: str) -> Answer:
    """`DELETE` of a parent."""
    return records.remove(call, *_target(call, name, text, path))


def _target(call: Call, name: str, text: str, path: str) -> tuple[str, str]:
    one, native = _parent(call, name, text, path.split("/"))
    return one.name, native


def _parent(call: Call, name: str, text: str, steps: list[str]) -> tuple[SObject, str]:
    one = records.resource(call, name)
    native = records.id_in_path(one, text)
    records.require_live(call, one, native)
    if len(steps) > MOST_STEPS:
        raise not_found()
    for step in steps:
        reference = one.relationships.get(step.lower())
        if reference is None or not call.access.sees(one, reference):
            raise not_found()
        statement = f'SELECT "{reference.name}" AS id FROM {one.table} WHERE Id = ?'
        row = call.org.database.execute(statement, (native,)).fetchone()
        target = call.org.schema.of_id(row["id"] or "") if row else None
        if target is None:
            raise not_found()
        one, native = target, row["id"]
    return one, native


def _children(call: Call, one: SObject, reference: Field, native: str) -> Answer:
    wanted = [part.strip() for part in call.query.get("fields", "").split(",") if part.strip()]
    for each in wanted:
        if not _FIELD.fullmatch(each):
            raise RefusedError("INVALID_FIELD", no_such_column(each, one.name))
    names = wanted or [field.name for field in call.access.visible(one)]
    soql = f"SELECT {', '.join(names)} FROM {one.name} WHERE {reference.name} = '{native}'"
    page = call.queries.run(soql, call.reader, include_deleted=False)
    return Answer(200, page, records=len(page["records"]))
