"""What a person does not want, and which of their addresses are dead: each with the record that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connector import tables
from connector.mart import Mart
from connector.model import Kind

#: field -> what it says; of a dead address the address itself goes before it.
WORDS: Mapping[str, str] = {
    "is_email_opted_out": "opted out of e-mail",
    "is_call_opted_out": "opted out of calls",
    "is_sms_opted_out": "opted out of SMS",
    "is_email_dead": "is dead: mail to it comes back",
}


def refusals(mart: Mart, keys: Sequence[str]) -> list[dict[str, Any]]:
    """What these records refuse: field, text, record, and since when, if it was not so from the beginning."""
    record, version = mart.table(tables.record_table(Kind.PERSON)), mart.table("record_version")
    mine = record.filter(record.key.isin(keys)).select("key", "email", "ingestion", *WORDS).order_by("ingestion")
    changed = version.filter(version.record.isin(keys) & version.field.isin(list(WORDS)))
    changed = changed.group_by("record", "field").agg(at=changed.changed_at.max())
    since = {(row["record"], row["field"]): row["at"] for row in mart.arrow(changed).to_pylist()}
    return [
        {"field": field, "text": _text(field, row), "record": row["key"], "since_at": since.get((row["key"], field))}
        for field, row in _refused(mart.arrow(mine).to_pylist())
    ]


def _refused(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(field, row) for field in WORDS for row in rows if row[field]]


def _text(field: str, row: Mapping[str, Any]) -> str:
    address = f"{row['email'] or 'an address'} " if field == "is_email_dead" else ""
    return address + WORDS[field]
