"""Filling the org: the generated records as they come, and what every org has (users, profiles, the company's permissions)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from connector.sandbox.salesforce.ids import KEY_PREFIXES, native_id
from connector.sandbox.salesforce.instants import instant_text, read_date, read_instant
from connector.sandbox.salesforce.org import ADMINISTRATOR_PROFILE, Org
from connector.sandbox.salesforce.schema import Field, SObject
from connector.sandbox.salesforce.writing import QUEUE_DEVELOPER_NAME

_FIRST = 62**4
"""Numbers of the org's own records; the generated world stays below, what is created later above."""

ORGANIZATION_ID = native_id(KEY_PREFIXES["Organization"], _FIRST)
ADMINISTRATOR_ID = native_id(KEY_PREFIXES["User"], _FIRST)
INTEGRATION_USER_ID = native_id(KEY_PREFIXES["User"], _FIRST + 1)
ADMINISTRATOR_PROFILE_ID = native_id(KEY_PREFIXES["Profile"], _FIRST)
INTEGRATION_PROFILE_ID = native_id(KEY_PREFIXES["Profile"], _FIRST + 1)
SALES_PROFILE_ID = native_id(KEY_PREFIXES["Profile"], _FIRST + 2)
QUEUE_ID = native_id(KEY_PREFIXES["Group"], _FIRST)
COMPANY_FIELDS_ID = native_id(KEY_PREFIXES["PermissionSet"], _FIRST)
ADMINISTRATOR_USERNAME = "admin@northwind.example"


def load_rows(org: Org, objects: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Insert records with native field names, as they are; raises ValueError for an unknown object or field."""
    for name, rows in objects.items():
        one = org.schema.find(name)
        if one is None:
            raise ValueError(f"no object {name} in the org")
        _insert(org, one, list(rows))


def _insert(org: Org, one: SObject, rows: list[Mapping[str, Any]]) -> None:
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    unknown = [name for name in names if name not in one.fields]
    if unknown:
        raise ValueError(f"{one.name} has no fields {', '.join(unknown)}")
    now = org.now_text()
    defaults = {
        "CreatedDate": now,
        "CreatedById": ADMINISTRATOR_ID,
        "LastModifiedById": ADMINISTRATOR_ID,
        **{each.name: each.default for each in one.stored if each.default is not None},
    }
    columns = [one.fields[name] for name in names] + [
        one.fields[name] for name in (*defaults, "LastModifiedDate", "SystemModstamp") if name not in names
    ]
    statement = (
        f"INSERT INTO {one.table} ({', '.join(f'{chr(34)}{each.name}{chr(34)}' for each in columns)}) "
        f"VALUES ({', '.join('?' * len(columns))})"
    )
    org.database.executemany(statement, _values(org, one, columns, defaults, rows))


def _values(
    org: Org, one: SObject, columns: list[Field], defaults: Mapping[str, Any], rows: list[Mapping[str, Any]]
) -> Iterator[list[Any]]:
    """The column values of each record; deleted ones are noted, and left out where the object has no recycle bin."""
    note = "INSERT INTO sf_deleted (object, id, deleted_at) VALUES (?, ?, ?)"
    for row in rows:
        given = {**defaults, **row}
        given.setdefault("LastModifiedDate", given["CreatedDate"])
        given.setdefault("SystemModstamp", given["LastModifiedDate"])
        if given.get("IsDeleted"):
            deleted_at = stored_value(one.fields["SystemModstamp"], given["SystemModstamp"])
            org.database.execute(note, (one.name, given["Id"], deleted_at))
            if not one.is_undeletable:
                continue
        yield [stored_value(each, given.get(each.name)) for each in columns]


def stored_value(field: Field, value: Any) -> Any:
    """A generated value as the column holds it: instants and dates as text, booleans as 0 and 1."""
    if value is None or value == "":
        return 0 if field.type == "boolean" else None
    if field.type == "boolean":
        return int(value)
    if field.type == "datetime":
        text = read_instant(value) if isinstance(value, str) else instant_text(value)
        if text is None:
            raise ValueError(f"{field.name} is no instant")
        return f"{text[:19]}.000+0000"
    if field.type == "date":
        return read_date(value) if isinstance(value, str) else value.isoformat()[:10]
    return value


def seed(org: Org) -> None:
    """What every org has: organization, profiles, an administrator, the integration user, the queue, and the permission
    set that lets the company's users see its own custom fields."""
    settings = org.context.settings
    load_rows(
        org,
        {
            "Organization": [
                {"Id": ORGANIZATION_ID, "Name": "Sandbox", "OrganizationType": "Enterprise Edition", "IsSandbox": True}
            ],
            "Profile": [
                {"Id": ADMINISTRATOR_PROFILE_ID, "Name": ADMINISTRATOR_PROFILE},
                {"Id": INTEGRATION_PROFILE_ID, "Name": "Minimum Access - API Only Integrations"},
                {"Id": SALES_PROFILE_ID, "Name": "Standard User"},
            ],
            "Group": [
                {"Id": QUEUE_ID, "Name": "Inbound Leads", "DeveloperName": QUEUE_DEVELOPER_NAME, "Type": "Queue"}
            ],
            "User": [
                _user(ADMINISTRATOR_ID, ADMINISTRATOR_USERNAME, "Ada", "Admin", ADMINISTRATOR_PROFILE_ID),
                _user(INTEGRATION_USER_ID, settings.salesforce_username, "Integration", "User", INTEGRATION_PROFILE_ID),
            ],
            "PermissionSet": [{"Id": COMPANY_FIELDS_ID, "Name": "Company_Fields", "Label": "Company Fields"}],
            "PermissionSetAssignment": [
                {
                    "Id": native_id(KEY_PREFIXES["PermissionSetAssignment"], _FIRST),
                    "PermissionSetId": COMPANY_FIELDS_ID,
                    "AssigneeId": INTEGRATION_USER_ID,
                }
            ],
            "FieldPermissions": _company_grants(org),
        },
    )
    org.database.execute("UPDATE sf_User SET ProfileId = ? WHERE ProfileId IS NULL", (SALES_PROFILE_ID,))


def _user(native: str, username: str, first_name: str, last_name: str, profile_id: str) -> dict[str, Any]:
    return {
        "Id": native,
        "Username": username,
        "Email": username,
        "FirstName": first_name,
        "LastName": last_name,
        "Name": f"{first_name} {last_name}",
        "Alias": last_name[:8].lower(),
        "ProfileId": profile_id,
        "TimeZoneSidKey": "GMT",
    }


def _company_grants(org: Org) -> list[dict[str, Any]]:
    custom = [(one.name, each.name) for one in org.schema.objects.values() for each in one.stored if each.is_custom]
    return [
        {
            "Id": native_id(KEY_PREFIXES["FieldPermissions"], _FIRST + number),
            "ParentId": COMPANY_FIELDS_ID,
            "SobjectType": object_name,
            "Field": f"{object_name}.{name}",
            "PermissionsRead": True,
            "PermissionsEdit": True,
        }
        for number, (object_name, name) in enumerate(custom)
    ]
