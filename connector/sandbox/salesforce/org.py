"""The imitated org in memory: its schema, who may see what, the next ids. Everything else is in the database."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from connector.sandbox.context import SALESFORCE, Context
from connector.sandbox.database import read_setting, write_setting
from connector.sandbox.salesforce.ids import native_id
from connector.sandbox.salesforce.instants import instant_text
from connector.sandbox.salesforce.locking import Locks
from connector.sandbox.salesforce.refusal import no_such_object
from connector.sandbox.salesforce.schema import Field, Schema, SObject

ADMINISTRATOR_PROFILE = "System Administrator"
FIRST_NEW_NUMBER = 62**5
"""Numbers below are left to the generated world."""

SCHEMA_CHANGED_AT = "salesforce_schema_changed_at"
SCHEMA_BEGAN_AT = datetime(2024, 1, 1, tzinfo=UTC)

GRANTING_OBJECTS = frozenset({"PermissionSetAssignment", "FieldPermissions", "PermissionSet"})

_GRANTS = """
SELECT f.Field AS field, max(f.PermissionsEdit) AS edit
FROM sf_FieldPermissions f JOIN sf_PermissionSetAssignment a ON a.PermissionSetId = f.ParentId
WHERE a.AssigneeId = ? AND f.PermissionsRead = 1 GROUP BY f.Field
"""

_MAY_HARD_DELETE = """
SELECT 1 FROM sf_PermissionSet p JOIN sf_PermissionSetAssignment a ON a.PermissionSetId = p.Id
WHERE a.AssigneeId = ? AND p.PermissionsBulkApiHardDelete = 1
"""


@dataclass(frozen=True, slots=True)
class Access:
    """What one user may see and write. `grants` maps "lead.score__c" to whether it may be edited; `limits` maps fields
    that were taken away to False (may be read) or None (hidden)."""

    user_id: str
    is_administrator: bool
    grants: dict[str, bool]
    limits: dict[str, bool | None]

    def sees(self, one: SObject, field: Field) -> bool:
        """Whether the field exists for this user."""
        return self.is_administrator or self._given(one, field) is not None

    def may_edit(self, one: SObject, field: Field) -> bool:
        """Whether this user may write the field, as far as field-level security goes."""
        return self.is_administrator or self._given(one, field) is True

    def _given(self, one: SObject, field: Field) -> bool | None:
        """True: read and write; False: read; None: the field does not exist for this user."""
        limit = self.limits.get(f"{one.name}.{field.name}".lower(), True)
        if not field.is_custom or limit is None:
            return limit
        granted = self._grant(one, field)
        return granted if granted is None else granted and limit

    def _grant(self, one: SObject, field: Field) -> bool | None:
        found = self.grants.get(f"{one.name}.{field.name}".lower())
        if found is None and one.is_activity:
            return self.grants.get(f"activity.{field.name}".lower())
        return found

    def visible(self, one: SObject) -> list[Field]:
        """The fields of an object that exist for this user, in order."""
        return [field for field in one.fields.values() if self.sees(one, field)]


class Org:
    """State of the org that is not worth a query each time."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.database: sqlite3.Connection = context.database
        self.schema = Schema(context.database)
        self._access: dict[str, Access] = {}
        self._next_numbers: dict[str, int] = {}
        self.running: dict[int, asyncio.Task[None]] = {}
        self.locks = Locks()
        self.duplicate_rules: dict[str, list[tuple[str, str]]] = {}
        self.next_due_at = datetime.min.replace(tzinfo=UTC)
        stored = read_setting(context.database, SCHEMA_CHANGED_AT)
        self.schema_changed_at = datetime.fromisoformat(stored) if stored else SCHEMA_BEGAN_AT

    def object(self, name: str) -> SObject:
        """The sObject of that name; raises INVALID_TYPE."""
        found = self.schema.find(name)
        if found is None:
            raise no_such_object(name)
        return found

    def access(self, user_id: str) -> Access:
        """What this user may see and write."""
        found = self._access.get(user_id)
        if found is None:
            found = self._access[user_id] = self._read_access(user_id)
        return found

    def _read_access(self, user_id: str) -> Access:
        profile = self.database.execute(
            "SELECT p.Name AS name FROM sf_User u JOIN sf_Profile p ON p.Id = u.ProfileId WHERE u.Id = ?", (user_id,)
        ).fetchone()
        grants = {row["field"].lower(): bool(row["edit"]) for row in self.database.execute(_GRANTS, (user_id,))}
        limits = {
            row["field"]: False if row["may_read"] else None
            for row in self.database.execute("SELECT field, may_read FROM sf_field_limit WHERE user_id = ?", (user_id,))
        }
        is_administrator = profile is not None and profile["name"] == ADMINISTRATOR_PROFILE
        return Access(user_id, is_administrator, grants, limits)

    def limit_field(self, user_id: str, one: SObject, field: Field, access: str) -> None:
        """Give a user `none`, `read` or `edit` access to a field (`edit`: nothing is taken away)."""
        key = f"{one.name}.{field.name}".lower()
        self.database.execute("DELETE FROM sf_field_limit WHERE user_id = ? AND field = ?", (user_id, key))
        if access != "edit":
            self.database.execute("INSERT INTO sf_field_limit VALUES (?, ?, ?)", (user_id, key, int(access == "read")))
        self.visibility_changed()

    def read_duplicate_rules(self) -> None:
        """Learn the duplicate rules of the org (see `duplicates`)."""
        self.duplicate_rules = {}
        for row in self.database.execute("SELECT object, field, action FROM sf_duplicate_rule"):
            self.duplicate_rules.setdefault(row["object"], []).append((row["field"], row["action"]))

    def other_with(self, one: SObject, field_name: str, value: Any, native: str | None) -> str | None:
        """The id of another live record that has this value."""
        row = self.database.execute(
            f'SELECT Id FROM {one.table} WHERE "{field_name}" = ? AND IsDeleted = 0 AND Id IS NOT ?', (value, native)
        ).fetchone()
        return None if row is None else str(row["Id"])

    def look_again_at(self, at: datetime) -> None:
        """See at `at`, or before, whether something is due (see `settling`)."""
        self.next_due_at = min(at, self.next_due_at)

    def may_hard_delete(self, user_id: str) -> bool:
        """Whether a permission set gives this user "Bulk API Hard Delete", which no profile has by itself."""
        return self.database.execute(_MAY_HARD_DELETE, (user_id,)).fetchone() is not None

    def visibility_changed(self) -> None:
        """Fields or permissions changed: forget who may see what; describes change with it."""
        self._access.clear()
        at = max(self.now().replace(microsecond=0), self.schema_changed_at + timedelta(seconds=1))
        self.schema_changed_at = at
        write_setting(self.database, SCHEMA_CHANGED_AT, at.isoformat())

    def rolled_back(self) -> None:
        """A transaction was undone: forget what it may have taught."""
        self._access.clear()
        self.schema.forget_unwritten()

    def new_id(self, prefix: str) -> str:
        """An id that no record had before."""
        number = self._next_numbers.get(prefix)
        if number is None:
            row = self.database.execute("SELECT number FROM sf_sequence WHERE prefix = ?", (prefix,)).fetchone()
            number = FIRST_NEW_NUMBER if row is None else row["number"]
        self._next_numbers[prefix] = number + 1
        self.database.execute("INSERT OR REPLACE INTO sf_sequence (prefix, number) VALUES (?, ?)", (prefix, number + 1))
        return native_id(prefix, number)

    def now(self) -> datetime:
        """The present instant by the sandbox's clock."""
        return self.context.clock.now()

    def now_text(self) -> str:
        """The present instant to the second, as the API writes it."""
        return instant_text(self.now())


_ORG_TABLES = """
CREATE TABLE IF NOT EXISTS sf_sequence (prefix TEXT PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sf_deleted (object TEXT NOT NULL, id TEXT NOT NULL, deleted_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS sf_deleted_at ON sf_deleted (object, deleted_at);
CREATE TABLE IF NOT EXISTS sf_gone_with (parent TEXT NOT NULL, object TEXT NOT NULL, id TEXT NOT NULL, row TEXT);
CREATE INDEX IF NOT EXISTS sf_gone_with_parent ON sf_gone_with (parent);
CREATE INDEX IF NOT EXISTS sf_gone_with_id ON sf_gone_with (id);
CREATE TABLE IF NOT EXISTS sf_locator (
    id TEXT PRIMARY KEY, query TEXT NOT NULL, is_all INTEGER NOT NULL, page_rows INTEGER NOT NULL,
    user_id TEXT NOT NULL, created_at TEXT NOT NULL, row_numbers BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS sf_session (
    token TEXT PRIMARY KEY, user_id TEXT NOT NULL, expires_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS sf_code (
    code TEXT PRIMARY KEY, redirect_uri TEXT NOT NULL, challenge TEXT NOT NULL, expires_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS sf_pending (
    number INTEGER PRIMARY KEY, due_at TEXT NOT NULL, stamp TEXT NOT NULL, payload TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS sf_duplicate_rule (object TEXT NOT NULL, field TEXT NOT NULL, action TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sf_field_limit (user_id TEXT NOT NULL, field TEXT NOT NULL, may_read INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sf_deployment (id TEXT PRIMARY KEY, result TEXT NOT NULL);
"""


def org_of(context: Context) -> Org:
    """The org of a context, made on first use."""
    found = context.parts.get(SALESFORCE)
    if not isinstance(found, Org):
        found = Org(context)
        if not context.database.in_transaction:
            context.database.executescript(_ORG_TABLES)
        found.schema.create_tables()
        found.read_duplicate_rules()
        context.parts[SALESFORCE] = found
    return found
