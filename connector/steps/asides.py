"""What a read sets aside: records that are none, values that cannot be mapped, fields that the system does not show us."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from connector.mapping import Mapped
from connector.model import Page, Stream
from connector.state.models import Quarantine

VALUE = "value"  # the kind of what could not be mapped


def found(
    system: str,
    stream: Stream,
    pages: Sequence[Page],
    mapped: Sequence[Mapped],
    now: datetime,
    *,
    hidden: Sequence[str] = (),
) -> list[Quarantine]:
    """Everything that these pages and what they were mapped to set aside; `hidden`: the fields that they came without."""
    return [
        *_lost(system, stream, pages, now),
        *_values(system, stream, mapped, now),
        *_hidden(system, stream, hidden, now),
    ]


def _lost(system: str, stream: Stream, pages: Sequence[Page], now: datetime) -> list[Quarantine]:
    """Records that could not even be put into a row."""
    malformed = [reason for page in pages for reason in page.malformed]
    return [
        Quarantine(
            key=f"record|{system}|{stream.name}|{reason}",
            kind="record",
            system=system,
            stream=stream.name,
            code="MALFORMED",
            reason=reason,
            first_at=now,
            last_at=now,
        )
        for reason in dict.fromkeys(malformed)
    ]


def hidden_key(system: str, stream: Stream) -> str:
    """Under what the hidden fields of a stream are set aside."""
    return f"hidden|{system}|{stream.name}"


def _hidden(system: str, stream: Stream, names: Sequence[str], now: datetime) -> list[Quarantine]:
    """Fields that were asked for and that the system does not show us: named until it does."""
    if not names:
        return []
    return [
        Quarantine(
            key=hidden_key(system, stream),
            kind="field",
            system=system,
            stream=stream.name,
            field=", ".join(names),
            code="HIDDEN_FIELD",
            reason=f"{stream.object_type} does not show us {', '.join(names)}: what we knew of it stays, what is new comes without",
            hint=f"run `connector check {system}`: it says what to do about each",
            first_at=now,
            last_at=now,
        )
    ]


def _values(system: str, stream: Stream, mapped: Sequence[Mapped], now: datetime) -> list[Quarantine]:
    """Values that could not be mapped; their records went on without them."""
    rows = [row for one in mapped for row in one.quarantined.to_pylist()]
    return [
        Quarantine(
            key=f"value|{row['record']}|{row['field']}",
            kind=VALUE if row["field"] else "record",
            system=system,
            stream=stream.name,
            record=row["record"] or "",
            field=row["field"] or "",
            code="UNMAPPABLE",
            reason=row["reason"],
            value_hash=row["value_hash"] or "",
            first_at=now,
            last_at=now,
        )
        for row in rows
    ]
