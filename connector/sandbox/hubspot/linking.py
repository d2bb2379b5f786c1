"""The links between records, stored in both directions.

Rules of HubSpot that are kept: a primary company is also an ordinary one; a record's first company becomes its primary
one; there is one primary company at a time; a restored record has its links again.
Sources: https://developers.hubspot.com/docs/api-reference/crm-associations-v4/guide and
https://knowledge.hubspot.com/privacy-and-consent/understand-restorable-and-permanent-contact-deletions
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from connector.sandbox.hubspot.object_types import AssociationType, ObjectType
from connector.sandbox.hubspot.portal_types import PortalTypes
from connector.sandbox.hubspot.records import VARIABLES_AT_ONCE, fetch

PRIMARY_COMPANY_OF_CONTACT = 1
INLINE_MOST = 100
"""Links of one record in an answer of the objects API; more are said to exist by `paging`."""

_TABLE = """
CREATE TABLE IF NOT EXISTS {name} (
    from_type TEXT NOT NULL, from_id INTEGER NOT NULL, to_type TEXT NOT NULL, to_id INTEGER NOT NULL,
    type_id INTEGER NOT NULL, PRIMARY KEY (from_type, from_id, to_type, to_id, type_id)
) WITHOUT ROWID;
"""
FORMER = "hubspot_former_link"
"""The table of what archived records were linked to."""

TABLES = _TABLE.format(name="hubspot_link") + _TABLE.format(name=FORMER)

Link = tuple[str, int, str, int, int]
"""(from type, from id, to type, to id, type id)"""


def both_ways(link: AssociationType, from_id: int, to_id: int) -> list[Link]:
    """The two rows of one link."""
    return [
        (link.from_type, from_id, link.to_type, to_id, link.type_id),
        (link.to_type, to_id, link.from_type, from_id, link.reverse_id),
    ]


def insert(database: sqlite3.Connection, links: Iterable[Link]) -> None:
    """Store links; those that exist stay as they are."""
    database.executemany(
        "INSERT OR IGNORE INTO hubspot_link (from_type, from_id, to_type, to_id, type_id) VALUES (?, ?, ?, ?, ?)", links
    )


def connect(database: sqlite3.Connection, types: PortalTypes, link: AssociationType, from_id: int, to_id: int) -> None:
    """Make one link, with the ordinary one beside a labelled one, and what HubSpot adds where a company is at one end."""
    ends = (link.from_type, link.to_type)
    primary = next((each for each in types.links(*ends) if each.is_primary), None)
    if not link.is_primary:
        insert(database, both_ways(link, from_id, to_id))
    insert(database, both_ways(types.general(*ends), from_id, to_id))
    if primary is None:
        return
    held = _primary_company(database, primary, from_id, to_id)
    if link.is_primary or held is None:
        if held is not None:
            old = (from_id, held) if link.to_type == "companies" else (held, to_id)
            delete(database, both_ways(primary, *old))
        insert(database, both_ways(primary, from_id, to_id))
    _note_primary(database, (link.from_type, from_id), (link.to_type, to_id))


def _note_primary(database: sqlite3.Connection, *ends: tuple[str, int]) -> None:
    """Keep a contact's `associatedcompanyid` in step with its primary company; the modified date stays."""
    for kind, contact_id in ends:
        if kind == "contacts":
            row = database.execute(
                "SELECT to_id FROM hubspot_link WHERE from_type = 'contacts' AND from_id = ? AND to_type = 'companies'"
                " AND type_id = ?",
                (contact_id, PRIMARY_COMPANY_OF_CONTACT),
            ).fetchone()
            database.execute(
                "UPDATE hubspot_contacts SET properties = CASE WHEN ?1 IS NULL"
                " THEN json_remove(properties, '$.associatedcompanyid')"
                " ELSE json_set(properties, '$.associatedcompanyid', ?1) END WHERE id = ?2",
                (None if row is None else str(row["to_id"]), contact_id),
            )


def _primary_company(database: sqlite3.Connection, primary: AssociationType, from_id: int, to_id: int) -> int | None:
    """The primary company of the record at the other end of such a link, if it has one."""
    if primary.to_type == "companies":
        subject = (primary.from_type, from_id, primary.type_id)
    else:
        subject = (primary.to_type, to_id, primary.reverse_id)
    row = database.execute(
        "SELECT to_id FROM hubspot_link WHERE from_type = ? AND from_id = ? AND to_type = 'companies' AND type_id = ?",
        subject,
    ).fetchone()
    return None if row is None else int(row["to_id"])


def remove(database: sqlite3.Connection, link: AssociationType, from_id: int, to_id: int) -> None:
    """Remove one link."""
    delete(database, both_ways(link, from_id, to_id))
    if link.is_primary:
        _note_primary(database, (link.from_type, from_id), (link.to_type, to_id))


def delete(database: sqlite3.Connection, links: Iterable[Link]) -> None:
    """Remove links."""
    database.executemany(
        "DELETE FROM hubspot_link WHERE from_type = ? AND from_id = ? AND to_type = ? AND to_id = ? AND type_id = ?",
        links,
    )


def disconnect(database: sqlite3.Connection, from_type: str, from_id: int, to_type: str, to_id: int) -> None:
    """Remove every link between two records."""
    _delete_all(database, "hubspot_link", (from_type, from_id), (to_type, to_id))
    recount(database, [(from_type, from_id), (to_type, to_id)])
    if "companies" in (from_type, to_type):
        _note_primary(database, (from_type, from_id), (to_type, to_id))


def _delete_all(database: sqlite3.Connection, table: str, *ends: tuple[str, int]) -> None:
    statement = f"DELETE FROM {table} WHERE from_type = ? AND from_id = ? AND to_type = ? AND to_id = ?"
    database.executemany(statement, [(*one, *other) for one, other in (ends, ends[::-1])])


def put_aside(database: sqlite3.Connection, object_type: str, record_id: int) -> None:
    """Take every link of a record that is archived; `bring_back` makes them again."""
    database.execute(
        f"INSERT OR IGNORE INTO {FORMER} SELECT * FROM hubspot_link WHERE from_type = ? AND from_id = ?",
        (object_type, record_id),
    )
    database.execute(
        f"INSERT OR IGNORE INTO {FORMER} SELECT back.* FROM hubspot_link AS one JOIN hubspot_link AS back"
        " ON (back.from_type, back.from_id, back.to_type, back.to_id)"
        " = (one.to_type, one.to_id, one.from_type, one.from_id) WHERE one.from_type = ? AND one.from_id = ?",
        (object_type, record_id),
    )
    _cut(database, object_type, record_id)


def bring_back(database: sqlite3.Connection, types: PortalTypes, object_type: str, record_id: int) -> None:
    """Link a restored record as it was linked; what is archived itself waits until it is restored, too.

    What the other end was merged into takes its place; another company that became the primary one stays it.
    """
    rows = database.execute(
        f"SELECT to_type, to_id, type_id FROM {FORMER} WHERE from_type = ? AND from_id = ?", (object_type, record_id)
    ).fetchall()
    ends: list[tuple[str, int]] = []
    links: list[tuple[int, int]] = []
    for to_type, to_id, type_id in rows:
        other = types.find(to_type)
        found = fetch(database, other, [to_id]).get(to_id) if other is not None else None
        if found is not None and found.archived_ms is None:
            ends.append((to_type, found.id))
            links.append((type_id, found.id))
            _delete_all(database, FORMER, (object_type, record_id), (to_type, to_id))
    _relink(database, types, object_type, record_id, links)
    recount(database, [(object_type, record_id), *ends])


def forget(database: sqlite3.Connection, object_type: str, record_id: int) -> None:
    """Remove every link of a record, for good."""
    database.execute(
        f"DELETE FROM {FORMER} WHERE (from_type = ?1 AND from_id = ?2) OR (to_type = ?1 AND to_id = ?2)",
        (object_type, record_id),
    )
    _cut(database, object_type, record_id)


def _cut(database: sqlite3.Connection, object_type: str, record_id: int) -> None:
    rows = database.execute(
        "SELECT DISTINCT to_type, to_id FROM hubspot_link WHERE from_type = ? AND from_id = ?", (object_type, record_id)
    ).fetchall()
    for row in rows:
        disconnect(database, object_type, record_id, row["to_type"], row["to_id"])


def move(database: sqlite3.Connection, types: PortalTypes, object_type: str, old_id: int, new_id: int) -> None:
    """Give the links of a merged record to the survivor, whose own primary company stays the primary one."""
    rows = database.execute(
        "SELECT to_type, to_id, type_id FROM hubspot_link WHERE from_type = ? AND from_id = ?", (object_type, old_id)
    ).fetchall()
    _cut(database, object_type, old_id)
    _relink(database, types, object_type, new_id, [(row["type_id"], row["to_id"]) for row in rows])


def _relink(
    database: sqlite3.Connection, types: PortalTypes, object_type: str, record_id: int, links: Iterable[tuple[int, int]]
) -> None:
    """Make these links (type id, to id) anew; a primary company takes no other one's place."""
    known = [(types.link(object_type, type_id), to_id) for type_id, to_id in links]
    made = [(link, to_id) for link, to_id in known if link is not None]
    for link, to_id in sorted(made, key=lambda each: not each[0].is_primary):
        if not link.is_primary or _primary_company(database, link, record_id, to_id) is None:
            connect(database, types, link, record_id, to_id)


COUNTS: tuple[tuple[str, str, str], ...] = (
    ("companies", "contacts", "num_associated_contacts"),
    ("companies", "deals", "num_associated_deals"),
    ("contacts", "deals", "num_associated_deals"),
    ("deals", "contacts", "num_associated_contacts"),
)
"""Calculated properties: (type, type of the records that are counted, property)."""


def recount(database: sqlite3.Connection, ends: Iterable[tuple[str, int]]) -> None:
    """Bring the calculated counts of these records (type, id) up to date; their modified dates stay."""
    wanted = set(ends)
    for object_type, counted, name in COUNTS:
        database.executemany(
            f"UPDATE hubspot_{object_type} SET properties = json_set(properties, '$.{name}', (SELECT"
            " CAST(count(DISTINCT to_id) AS TEXT) FROM hubspot_link WHERE from_type = ?1 AND from_id = ?2"
            " AND to_type = ?3)) WHERE id = ?2",
            [(object_type, record_id, counted) for each, record_id in wanted if each == object_type],
        )


def linked(
    database: sqlite3.Connection, from_type: str, ids: Sequence[int], to_type: str
) -> dict[int, dict[int, list[int]]]:
    """The links of these records to records of another type: from id -> to id -> type ids, in ascending order."""
    found: dict[int, dict[int, list[int]]] = {}
    for start in range(0, len(ids), VARIABLES_AT_ONCE):
        some = ids[start : start + VARIABLES_AT_ONCE]
        rows = database.execute(
            "SELECT from_id, to_id, type_id FROM hubspot_link WHERE from_type = ? AND to_type = ?"
            f" AND from_id IN ({','.join('?' * len(some))}) ORDER BY from_id, to_id, type_id",
            (from_type, to_type, *some),
        )
        for from_id, to_id, type_id in rows:
            found.setdefault(from_id, {}).setdefault(to_id, []).append(type_id)
    return found


def inline_associations(
    database: sqlite3.Connection, types: PortalTypes, kind: ObjectType, ids: Sequence[int], other: ObjectType
) -> dict[int, dict[str, Any]]:
    """What the objects API shows under `associations.{other}`, by record id; records without links are left out.

    A link has an entry per type: `contact_to_company` for the labelled one, `contact_to_company_unlabeled` beside it.
    """
    names = types.names(kind, other)
    answer: dict[int, dict[str, Any]] = {}
    for from_id, targets in linked(database, kind.name, ids, other.name).items():
        shown = list(targets.items())[:INLINE_MOST]
        entries = [{"id": str(to_id), "type": names[type_id]} for to_id, type_ids in shown for type_id in type_ids]
        answer[from_id] = {"results": entries}
        if len(targets) > INLINE_MOST:
            answer[from_id]["paging"] = {"next": {"after": str(shown[-1][0])}}
    return answer
