"""Why: everything that is stored about one person, found by e-mail, phone, record, CRM id or person id."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import ibis
import ibis.expr.types as ir
import orjson

from connector import forecast, identifiers, tables
from connector.errors import ConnectorError
from connector.mart import Mart
from connector.model import Kind
from connector.report import consent, former
from connector.report.known_by import known_by
from connector.report.together import apart, near, together
from connector.state import State, freezes, outbox
from connector.steps import pair
from connector.steps.planned import editors, owners
from connector.steps.setup import Setup

_WRITES = 20


@dataclass(frozen=True)
class Explained:
    """One person, with the why of everything; plain values, ready to be shown or printed as JSON."""

    person: Mapping[str, Any]
    account: Mapping[str, Any] | None
    records: Sequence[Mapping[str, Any]]
    identifiers: Sequence[Mapping[str, Any]]  # what the records are known by, each once, and why it may join nobody
    evidence: Sequence[Mapping[str, Any]]  # the hops that lead from the first record to all others
    refused: Sequence[Mapping[str, Any]]  # with whom the records were not joined, and why
    provenance: Mapping[str, Mapping[str, Any]]  # field -> value, record
    score: Mapping[str, Any] | None
    lines: Sequence[Mapping[str, Any]]
    inputs: Mapping[str, Sequence[Mapping[str, Any]]]  # fit rule -> what it read: field, value, record that gave it
    crossing: (
        Mapping[str, Any] | None
    )  # what decay alone will change next: half, level, is_down, at, grade (if it changes)
    waits: Sequence[Mapping[str, Any]]  # what else time alone may change: why (dwell, fact, event) and due_at
    stages: Sequence[Mapping[str, Any]]
    tasks: Sequence[Mapping[str, Any]]
    writes: Sequence[Mapping[str, Any]]
    others: Sequence[Mapping[str, Any]]  # what somebody else made of our fields, and which are frozen for it
    owner: str
    consent: Sequence[
        Mapping[str, Any]
    ] = ()  # what they opted out of, and dead addresses: which record says so, since when
    found_by: str = ""  # the address without its tag, if nobody has the one that was asked for
    merged: Mapping[str, str] = field(
        default_factory=dict
    )  # the record that was asked for, if it was merged away -> into which


def explain(setup: Setup, asked: str, now: datetime) -> list[Explained]:
    """The persons that `asked` may mean; most often one. Raises ConnectorError when there is nobody, MartError
    when the mart is not the one that the state knows."""
    with setup.mart() as mart:
        pair.check(setup.state, mart)
        asked, base, merged = asked.strip(), "", dict[str, str]()
        found = find(setup, mart, asked)
        if not found:
            base = base_of(asked)
            found = _holders(mart, [base], "email_base")
        if not found:
            merged = former.survivors(mart, asked)
            members = mart.table("membership")
            found = _owners(mart, members.filter(members.key.isin(list(merged.values()))))
        if not found:
            raise nobody(mart)
        return [replace(_explained(setup, mart, key, now), found_by=base, merged=merged) for key in found]


# ------------------------------------------------------------------------------------------------------------ finding


def nobody(mart: Mart) -> ConnectorError:
    """That nobody is known by what was asked, with what to try; it may be too early to ask."""
    if not mart.count(mart.table("person").limit(1)):
        return ConnectorError("nobody is known yet", hint="`connector sync` reads the systems; ask again after it")
    return ConnectorError(
        "nobody is known by that", hint="try an e-mail, a phone number, a CRM record id or a person id"
    )


def find(setup: Setup, mart: Mart, asked: str) -> list[str]:
    """Person ids by identifier value, native id, record key, or an id that was ever issued."""
    members = mart.table("membership")
    persons = members.filter(members.kind == Kind.PERSON.value)
    issued = mart.table("issued")
    by_id = issued.filter((issued.key == asked.upper()) & (issued.kind == Kind.PERSON.value))
    by_id = persons.semi_join(by_id, persons.key == by_id.anchor)
    record = mart.table(tables.record_table(Kind.PERSON))
    named = record.filter(former.is_named(record, asked))
    by_record = persons.semi_join(named, persons.key == named.key)
    return _owners(mart, by_id) or sorted({*_owners(mart, by_record), *_holders(mart, values_of(setup, asked))})


def records(setup: Setup, mart: Mart, asked: str) -> list[str]:
    """The keys of all records of the persons whom `find` finds."""
    members, found = mart.table("membership"), find(setup, mart, asked)
    theirs = members.filter((members.kind == Kind.PERSON.value) & members.owner_id.isin(found or [""]))
    return [str(key) for key in mart.arrow(theirs.select("key"))["key"].to_pylist()]


def _holders(mart: Mart, values: Sequence[str], type_: str | None = None) -> list[str]:
    """The persons with a record that has one of these values."""
    identifier, members = mart.table("identifier"), mart.table("membership")
    held = identifier.filter(identifier.withdrawn_at.isnull() & identifier.value.isin(values))
    held = held if type_ is None else held.filter(held.type == type_)
    return _owners(mart, members.filter(members.kind == Kind.PERSON.value).semi_join(held, members.key == held.record))


def _owners(mart: Mart, members: ir.Table) -> list[str]:
    keys = mart.arrow(members.select("owner_id").distinct().order_by("owner_id"))["owner_id"].to_pylist()
    return [str(key) for key in keys]


def base_of(asked: str) -> str:
    """The address without its tag, if an address is asked for; else nothing."""
    return identifiers.email_base(identifiers.email(asked) or "") or ""


#: A number with its country's or area's prefix, whatever else is written there, or nothing but digits and what parts them.
_NUMBER = re.compile(r"[+0(].*|[\d\s()./–-]+", re.DOTALL)


def values_of(setup: Setup, asked: str) -> list[str]:
    """The normalised values that `asked` may stand for: it is not said of which type it is."""
    number = re.sub("^tel:", "", asked, flags=re.IGNORECASE)  # as a link has it (RFC 3966)
    made = [
        identifiers.email(asked) if "@" in asked else None,
        identifiers.phone(number, setup.region) if _NUMBER.fullmatch(number) else None,
        asked.lower(),
    ]
    return list(dict.fromkeys(value for value in made if value))


# ------------------------------------------------------------------------------------------------------------ one person


def _explained(setup: Setup, mart: Mart, key: str, now: datetime) -> Explained:
    person = _one(mart, mart.table("person"), key)
    account = _one(mart, mart.table("account"), person["account"]) if person.get("account") else None
    records = _records(mart, key)
    keys = [record["key"] for record in records]
    refused, merged = near(mart, keys), former.merged(mart, keys)
    model = setup.writeback.model
    score, line = mart.table("score"), mart.table("score_line")
    scores = mart.arrow(score.filter((score.subject == key) & (score.model == model))).to_pylist()
    interval, due = mart.table("stage_interval"), mart.table("due")
    return Explained(
        person=_without_provenance(person),
        account=_without_provenance(account) if account else None,
        records=records,
        identifiers=known_by(mart, keys, setup.identity),
        evidence=together(setup.state, mart, records, merged, refused, setup.identity),
        refused=apart(mart, keys, refused),
        provenance=_provenance(person),
        score=scores[0] if scores else None,
        lines=mart.arrow(
            line.filter((line.subject == key) & (line.model == model)).order_by(line.points.abs().desc())
        ).to_pylist(),
        inputs=_inputs(setup, person, account),
        crossing=_crossing(setup, mart, keys, scores[0], now) if scores else None,
        waits=mart.arrow(
            due.filter((due.subject == key) & (due.why != "decay")).select("why", "due_at").order_by("due_at")
        ).to_pylist(),
        stages=mart.arrow(interval.filter(interval.subject == key).order_by(interval.entered_at.desc())).to_pylist(),
        tasks=_tasks(mart, key, [*keys, *merged]),
        writes=_writes(setup.state, [*keys, *merged], former.of(mart, keys, merged)),
        others=_others(setup.state, mart, records),
        owner=_owner(mart, person),
        consent=consent.refusals(mart, keys),
    )


def _one(mart: Mart, table: ir.Table, key: str) -> Mapping[str, Any]:
    rows = mart.arrow(table.filter(table.key == key)).to_pylist()
    return rows[0] if rows else {"key": key}


def _records(mart: Mart, key: str) -> list[dict[str, Any]]:
    members, record = mart.table("membership"), mart.table(tables.record_table(Kind.PERSON))
    mine = record.semi_join(members.filter(members.owner_id == key), "key")
    name = (ibis.coalesce(mine.first_name, "") + " " + ibis.coalesce(mine.last_name, "")).strip()
    shown = mine.select(
        "key", "system", "object_type", "native_id", "created_at", "modified_at", "ingestion", "title", name=name
    )
    rows: list[dict[str, Any]] = mart.arrow(shown.order_by("ingestion")).to_pylist()
    return rows


def _without_provenance(golden: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in golden.items() if name != "provenance"}


def _provenance(person: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    told = orjson.loads(person.get("provenance") or "{}")
    return {
        name: {"value": person.get(name), "record": record}
        for name, record in told.items()
        if person.get(name) is not None
    }


def _inputs(
    setup: Setup, person: Mapping[str, Any], account: Mapping[str, Any] | None
) -> dict[str, list[dict[str, Any]]]:
    """What each fit rule read of the golden values (None: empty), and which record gave it."""
    golden = {"person": person, "account": account or {}}
    origin = {name: orjson.loads(row.get("provenance") or "{}") for name, row in golden.items()}
    model = setup.models.get(setup.writeback.model)
    read: dict[str, list[dict[str, Any]]] = {}
    for rule in model.fit if model else ():
        for known in rule.fields:
            table, name = known.split(".", 1)
            given = {"field": known, "value": golden[table].get(name), "record": origin[table].get(name)}
            read.setdefault(rule.id, []).append(given)
    return read


def _crossing(
    setup: Setup, mart: Mart, keys: Sequence[str], score: Mapping[str, Any], now: datetime
) -> dict[str, Any] | None:
    """When decay alone takes the score across a grade, or across a level that a stage or a task looks at."""
    model, day = setup.models[setup.writeback.model], mart.table("engagement_day")
    mine = day.filter((day.model == setup.writeback.model) & day.record.isin(keys))
    days = [forecast.Day(**row) for row in mart.arrow(mine.select("rule", "day", "events", "points")).to_pylist()]
    found = forecast.next_crossing(model, score["fit"], days, setup.levels, now)
    if found is None:
        return None
    begins = {level: grade for grade, level in model.grades.items()} if found.half == "score" else {}
    grade = begins.get(found.level)
    if grade is not None and found.is_down:
        grade = model.grade_names[model.grade_names.index(grade) + 1]
    return asdict(found) | {"grade": grade}


def _others(state: State, mart: Mart, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Who changed what we had written, newest first, and how long a field is frozen for it."""
    keys = [record["key"] for record in records]
    drift, names = mart.table("drift"), editors(mart)
    rows = mart.arrow(drift.filter(drift.record.isin(keys)).order_by(drift.seen_at.desc()).limit(_WRITES)).to_pylist()
    frozen = {row.key: row for row in freezes.known(state, keys)}
    made: list[dict[str, Any]] = []
    for row in rows:
        editor = names.get((row["system"], row["editor"] or ""), row["editor"] or "somebody")
        made.append(
            {"record": row["record"], "field": row["field"], "at": row["edited_at"], "ours": row["ours"],
             "theirs": row["theirs"], "editor": editor}
        )  # fmt: skip
    return made + [
        {"record": row.record, "field": row.field, "at": row.since_at, "frozen_until": row.until_at, "why": row.why}
        for row in frozen.values()
    ]


def _owner(mart: Mart, person: Mapping[str, Any]) -> str:
    by_id = {native_id: name for (_, native_id), name in owners(mart).items()}
    owner = person.get("owner") or ""
    return by_id.get(owner, owner)


def _tasks(mart: Mart, key: str, records: Sequence[str]) -> list[dict[str, Any]]:
    """The tasks that were drafted for this person, also by an id that they had before a merge."""
    draft, issued = mart.table("desired_task"), mart.table("issued")
    had = issued.filter((issued.kind == Kind.PERSON.value) & issued.anchor.isin(records)).select("key")
    mine = draft.filter((draft.subject == key) | draft.subject.isin(had.key))
    rows: list[dict[str, Any]] = mart.arrow(mine.order_by(draft.due_at.desc())).to_pylist()
    return rows


def _writes(state: State, keys: Sequence[str], went: Mapping[str, former.Went]) -> list[dict[str, Any]]:
    """What was to be written to this person's records, also to those that `went` into others, newest first: each change once,
    with how its last try ended."""
    tries: dict[int | None, list[dict[str, Any]]] = {}
    changes, mine = {}, set(keys)
    for change, delivery in outbox.history(state, [key.split("|", 2)[2] for key in keys]):
        record = tables.record_key(change.system, change.object_type, change.native_id)
        if record in mine:
            changes[change.id] = (change, went.get(record, former.Went("", "")))
            if delivery:
                tries.setdefault(change.id, []).append(
                    {"run": delivery.run, "at": delivery.at, "result": delivery.result, "code": delivery.code}
                )
    return [
        {
            "system": change.system, "object_type": change.object_type, "native_id": change.native_id, "how": gone.how, "into": gone.into,
            "status": change.status,
            "fields": change.fields, "before": change.before, "task": change.task.get("subject") if change.task else None,
            "held_because": change.held_because, "run": change.run, "at": change.created_at, "result": change.status, "code": "",
            **(tries[id_][0] if id_ in tries else {}),
            "tries": tries.get(id_, []),
        }
        for id_, (change, gone) in changes.items()
    ]  # fmt: skip
