"""Create, update, upsert and delete one record, with everything that the org does along the way.

Assignment rules run on create and on update of leads and cases unless `Sforce-Auto-Assign: FALSE` (REST API Developer Guide,
"Assignment Rule Header"); codes are the StatusCode enumeration of the SOAP API Developer Guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connector.sandbox.context import SALESFORCE
from connector.sandbox.salesforce.cascades import departure
from connector.sandbox.salesforce.derived import derive
from connector.sandbox.salesforce.duplicates import check_duplicates
from connector.sandbox.salesforce.ids import full_id
from connector.sandbox.salesforce.org import GRANTING_OBJECTS, Access, Org
from connector.sandbox.salesforce.recycling import keep_with
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.schema import Field, SObject
from connector.sandbox.salesforce.validation import check_unique, clean

ASSIGNED_OBJECTS = frozenset({"Lead", "Case"})
"""Objects with an active assignment rule: it gives every record to a queue."""

QUEUE_DEVELOPER_NAME = "Inbound"


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes, whether assignment rules run (`Sforce-Auto-Assign`, TRUE unless the header says FALSE), and whether records
    are saved in spite of duplicate rules that alert (`Sforce-Duplicate-Rule-Header: allowSave=true`)."""

    access: Access
    runs_assignment_rules: bool = True
    saves_duplicates: bool = False


def create(org: Org, author: Author, one: SObject, values: Mapping[str, Any], native: str | None = None) -> str:
    """Insert a record; gives its id (a new one, unless one was kept for it)."""
    if not one.is_createable:
        raise RefusedError("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", f"entity type {one.name} does not support create")
    written = clean(org, author.access, one, values, is_create=True)
    check_unique(org, one, written, None)
    check_duplicates(org, one, written, None, saves_duplicates=author.saves_duplicates)
    org.locks.take(one.name, None, written)
    native = native or org.new_id(one.prefix)
    owner = one.fields.get("OwnerId")
    if owner is not None and written.get("OwnerId") is None:
        written["OwnerId"] = author.access.user_id
    written |= derive(org, one.name, written, written)
    written |= _assignment(org, author, one)
    now = org.now_text()
    row = {
        **written,
        "Id": native,
        "IsDeleted": 0,
        "CreatedDate": now,
        "CreatedById": author.access.user_id,
        "LastModifiedDate": now,
        "LastModifiedById": author.access.user_id,
        "SystemModstamp": now,
    }
    row |= org.context.workflows.on_update(SALESFORCE, one.name, native, {}, row)
    columns = ", ".join(f'"{name}"' for name in row)
    org.database.execute(
        f"INSERT INTO {one.table} ({columns}) VALUES ({', '.join('?' * len(row))})", list(row.values())
    )
    relate(org, author, one, native, row, {})
    _forget(org, one)
    return native


def update(org: Org, author: Author, one: SObject, native: str, values: Mapping[str, Any]) -> None:
    """Change a live record; an unknown id is INVALID_CROSS_REFERENCE_KEY."""
    row = live_row(org, one, native)
    if not one.is_updateable:
        raise RefusedError("INSUFFICIENT_ACCESS_OR_READONLY", f"entity type {one.name} does not support update")
    if one.name == "Lead" and row["IsConverted"]:
        raise RefusedError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
    written = clean(org, author.access, one, values, is_create=False)
    check_unique(org, one, written, native)
    check_duplicates(org, one, written, native, saves_duplicates=author.saves_duplicates)
    org.locks.take(one.name, native, row)
    written |= derive(org, one.name, row | written, written)
    written |= _assignment(org, author, one)
    if org.context.workflows.watches(SALESFORCE, one.name):
        written |= org.context.workflows.on_update(SALESFORCE, one.name, native, row, written)
    now = org.now_text()
    written |= {"LastModifiedDate": now, "LastModifiedById": author.access.user_id, "SystemModstamp": now}
    assignments = ", ".join(f'"{name}" = ?' for name in written)
    org.database.execute(f"UPDATE {one.table} SET {assignments} WHERE Id = ?", [*written.values(), native])
    relate(org, author, one, native, written, row)
    _forget(org, one)


def relate(
    org: Org, author: Author, one: SObject, native: str, written: Mapping[str, Any], before: Mapping[str, Any]
) -> None:
    """Who an activity is with and what it is about are among its relations, which the org keeps by itself where activities
    are shared (Object Reference, "TaskRelation", "EventRelation")."""
    if not one.is_activity:
        return
    relation = org.object(f"{one.name}Relation")
    for name in ("WhoId", "WhatId"):
        old, new = before.get(name), written.get(name)
        if name not in written or new == old:
            continue
        if old:
            key = f"SELECT Id FROM {relation.table} WHERE {one.name}Id = ? AND RelationId = ?"
            for row in org.database.execute(key, (native, old)).fetchall():
                _remove(org, author, relation, row["Id"])
        held = f"SELECT 1 FROM {relation.table} WHERE {one.name}Id = ? AND RelationId = ? AND IsDeleted = 0"
        if new and org.database.execute(held, (native, new)).fetchone() is None:
            values = {f"{one.name}Id": native, "RelationId": new}
            values |= {"IsParent": True} if one.name == "Event" else {}
            create(org, author, relation, values)


def delete(org: Org, author: Author, one: SObject, native: str) -> None:
    """Delete a live record with what goes with it: into the recycle bin, or for good where the object has none.

    Raises DELETE_FAILED when something keeps it."""
    row = live_row(org, one, native)
    if not one.is_deletable:
        raise RefusedError("INSUFFICIENT_ACCESS_OR_READONLY", f"entity type {one.name} does not support delete")
    org.locks.take(one.name, native, row)
    leaving = departure(org, one, native)
    for each, kind in leaving.gone.items():
        org.locks.take(kind.name, each, {})
    for each, (activity, person) in leaving.staying.items():
        now = org.now_text()
        org.database.execute(
            f"UPDATE {activity.table} SET WhoId = ?, LastModifiedDate = ?, LastModifiedById = ?, SystemModstamp = ? "
            "WHERE Id = ?",
            (person, now, author.access.user_id, now, each),
        )
    for each, kind in leaving.gone.items():
        if each != native:
            keep_with(org, native, kind, each)
        _remove(org, author, kind, each)
    _forget(org, one)


def _remove(org: Org, author: Author, one: SObject, native: str) -> None:
    now = org.now_text()
    org.database.execute("INSERT INTO sf_deleted (object, id, deleted_at) VALUES (?, ?, ?)", (one.name, native, now))
    if one.is_undeletable:
        org.database.execute(
            f"UPDATE {one.table} SET IsDeleted = 1, LastModifiedDate = ?, LastModifiedById = ?, SystemModstamp = ? "
            "WHERE Id = ?",
            (now, author.access.user_id, now, native),
        )
    else:
        org.database.execute(f"DELETE FROM {one.table} WHERE Id = ?", (native,))


def live_row(org: Org, one: SObject, native: str) -> dict[str, Any]:
    """The columns of a live record; raises INVALID_CROSS_REFERENCE_KEY or ENTITY_IS_DELETED."""
    row = org.database.execute(f"SELECT * FROM {one.table} WHERE Id = ?", (native,)).fetchone()
    if row is None:
        gone = org.database.execute("SELECT 1 FROM sf_deleted WHERE object = ? AND id = ?", (one.name, native))
        if gone.fetchone() is not None:
            raise RefusedError("ENTITY_IS_DELETED", "entity is deleted")
        raise RefusedError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
    if row["IsDeleted"]:
        raise RefusedError("ENTITY_IS_DELETED", "entity is deleted")
    return dict(row)


def key_field(org: Org, author: Author, one: SObject, name: str) -> Field:
    """The field that an upsert is keyed by; raises NOT_FOUND when it is no external id (or hidden)."""
    field = one.find(name)
    if field is None or not field.is_id_lookup or not author.access.sees(one, field):
        raise RefusedError("NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {name}")
    return field


def matches(org: Org, one: SObject, field: Field, key: Any) -> list[str]:
    """Ids of the live records with this key."""
    if field.name == "Id":
        key = full_id(key)
        if key is None:
            raise RefusedError("MALFORMED_ID", "malformed id")
    rows = org.database.execute(
        f'SELECT Id FROM {one.table} WHERE "{field.name}" = ? AND IsDeleted = 0 ORDER BY Id', (key,)
    )
    return [row["Id"] for row in rows]


def _assignment(org: Org, author: Author, one: SObject) -> dict[str, Any]:
    """The assignment rule: it takes the record from its owner, on create and on update alike."""
    if not author.runs_assignment_rules or one.name not in ASSIGNED_OBJECTS:
        return {}
    queue = org.database.execute(
        "SELECT Id FROM sf_Group WHERE DeveloperName = ? AND IsDeleted = 0", (QUEUE_DEVELOPER_NAME,)
    ).fetchone()
    return {} if queue is None else {"OwnerId": queue["Id"]}


def _forget(org: Org, one: SObject) -> None:
    if one.name in GRANTING_OBJECTS:
        org.visibility_changed()
