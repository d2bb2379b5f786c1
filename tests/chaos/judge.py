"""What must be so once the world is quiet, whatever happened before; judged by the systems' own storage."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import Any

import duckdb

from connector.tables import DERIVED_KEYS
from tests.chaos.others import Others
from tests.chaos.storage import Storage, Values
from tests.e2e.crm import STAGE_DATES, differing
from tests.e2e.house import House

#: `[writeback] min_points`: a score that differs by less, with nothing else, is not written.
MIN_POINTS = 2.0
LINE = 25.0  # the level of the workflows
SCORES = {"Score__c", "connector_score"}
UNDO = "connector undo"  # the writer of what an undo froze
#: Columns of records that say how we came to know of them, not what they are.
_OUR_WAY = {"ingestion", "run", "version", "modified_at", "native", "filtered_because"}
_RECORDS = ("person_record", "account_record", "opportunity_record", "case_record", "activity")


@dataclass
class Crossings:
    """How often the score that each record should have rose over the line: its workflows may fire as often, and no more."""

    scores: dict[str, float] = field(default_factory=dict)
    rises: Counter[str] = field(default_factory=Counter)

    def follow(self, desired: dict[str, Values]) -> None:
        """What is desired after another run."""
        for record, fields in desired.items():
            score = next((float(value) for name, value in fields.items() if name in SCORES and value is not None), 0.0)
            if score >= LINE > self.scores.get(record, 0.0):
                self.rises[record] += 1
            self.scores[record] = score


#: Fields by which the house knows nobody, as its mapping does not name them.
UNREAD = ("LinkedIn__c", "Twitter__c")


@dataclass
class Purged:
    """People who were removed: the keys of their records, and the addresses, numbers, cookies and handles that nobody else had."""

    records: set[str] = field(default_factory=set)
    emails: set[str] = field(default_factory=set)
    marks: set[str] = field(default_factory=set)
    leads: set[str] = field(
        default_factory=set
    )  # that were theirs at some time; their contact may be somebody else's by now

    def has(self, record: str, values: Values) -> bool:
        """Whether a record is one of theirs, be it a new one with such an address or number."""
        told = [str(value).lower() for name, value in values.items() if value not in (None, "") and name not in UNREAD]
        told += str(values.get("hs_additional_emails") or "").lower().split(";")
        told += [each.rstrip("/").rsplit("/", 1)[1] for each in told if "/" in each]
        return record in self.records or not (self.emails | self.marks).isdisjoint(told)


@dataclass
class Judge:
    """Looks at everything; every violation is a sentence with record, field and both values."""

    house: House
    storage: Storage
    others: Others
    crossings: Crossings
    purged: Purged = field(default_factory=Purged)

    def know_departed(self) -> None:
        """Deleted records of purged people are theirs, too, though they were nobody's members any more; and leads that became a
        contact which is theirs, or was merged into one."""
        gone = self.storage.departed().items()
        self.purged.records |= {record for record, values in gone if self.purged.has(record, values)}
        self.know_leads()
        self.purged.records |= self.purged.leads

    def know_leads(self) -> None:
        """The leads whose contact is theirs now: told at each rest, as somebody may merge it into another's later."""
        self.purged.leads |= {lead for lead, into in self.storage.converted().items() if into in self.purged.records}

    def violations(self, mart: Values) -> list[str]:
        """All that is not as it must be. mart: what `look` said of it."""
        return [
            *self._values(mart["desired"]), *self._left_alone(), *self._known(mart["alive"]), *self._edits(), *self._tasks(mart["tasks"]),
            *self._firings(), *self._books(), *mart["wrong"],
        ]  # fmt: skip

    def look(self) -> Values:
        """What the mart holds: for a child to answer."""
        with duckdb.connect(str(self.house.stores[1]), read_only=True) as mart:
            tables = [name for (name,) in mart.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()]
            wrong = [f"mart dirty: {key} is left" for (key,) in mart.execute("SELECT key FROM dirty").fetchall()]
            for name in tables:
                key = f"({', '.join(DERIVED_KEYS.get(name, ('key',)))})"
                counted = f'SELECT count(*), count(DISTINCT {key}) FROM "{name}"'
                rows, keys = mart.execute(counted).fetchall()[0]
                if rows != keys:
                    wrong.append(f"mart {name}: {rows} rows with {keys} keys")
                for purged in sorted(self.purged.records | self.purged.emails):
                    if mart.execute(
                        f'SELECT count(*) FROM "{name}" t WHERE contains(t::VARCHAR, ?)', [purged]
                    ).fetchall()[0][0]:
                        wrong.append(f"mart {name}: it still has {purged}, who was purged")
            alive = (
                "SELECT key FROM person_record WHERE deleted_at IS NULL AND merged_into IS NULL "
                "AND NOT coalesce(is_converted, false) AND object_type != 'visitor'"
            )
            return {
                "desired": self.house.desired(),
                "alive": [key for (key,) in mart.execute(alive).fetchall()],
                "tasks": dict(mart.execute("SELECT key, record FROM desired_task").fetchall()),
                "wrong": wrong,
            }

    def desired(self) -> dict[str, Values]:
        """What should be written: for a child to answer."""
        return self.house.desired() if self.house.stores[1].exists() else {}

    # --------------------------------------------------------------------------------------------- the systems

    def _values(self, desired: dict[str, Values]) -> Iterator[str]:
        held, people, frozen = self.storage.written(), self.storage.people(), {key for key, *_ in self._frozen()}
        for record in sorted(desired.keys() ^ held.keys()):
            if record in held:
                if not self.purged.has(record, people[record]):
                    yield f"{record}: live, and nothing is desired of it"
            elif any(value not in (None, "") for value in desired[record].values()):
                yield f"{record}: desired, and not there"
        for record in sorted(desired.keys() & held.keys()):
            wanted = {name: value for name, value in desired[record].items() if f"{record}|{name}" not in frozen}
            found = differing({record: wanted}, held)
            if found and not _is_small(wanted, held[record], found):
                yield from found

    def _frozen(self) -> list[tuple[str, str, str, str, str]]:
        """The fields that are left alone at the last run: key, record, field, writer, since when."""
        active = "SELECT key, record, field, writer, since_at FROM freeze WHERE until_at > (SELECT max(computed_at) FROM run)"
        return [(key, record, name, writer, since) for key, record, name, writer, since in self.house.state(active)]

    def _left_alone(self) -> Iterator[str]:
        """A frozen field holds what the other writer left there, or what `undo` restored; what it only withdrew was not there."""
        held = self.storage.people()
        for _, record, name, writer, since in self._frozen():
            if (record, name) in self.others.doubtful:
                continue
            left = [self.others.ours[record, name]] if (record, name) in self.others.ours else []
            if writer == UNDO:
                left += self._restored(record, name, since)
            if record in held and left and all(differing({record: {name: value}}, held) for value in left):
                yield f"{record} {name}: {held[record].get(name)!r}, though it is frozen with {left} by {writer}"

    def _restored(self, record: str, name: str, since: str) -> list[Any]:
        """What the undo that froze a field was to bring back to it."""
        query = (
            "SELECT fields FROM outbox WHERE key LIKE 'undo-%' AND system || '|' || object_type || '|' || native_id = ? "
            "AND created_at >= ? ORDER BY id"
        )
        told = [json.loads(fields) for (fields,) in self.house.state(query, record, since)]
        return [fields[name] for fields in told if name in fields][-1:]

    def _known(self, alive: list[str]) -> Iterator[str]:
        held = {
            record: values for record, values in self.storage.people().items() if not self.purged.has(record, values)
        }
        for record in sorted(set(alive) ^ held.keys()):
            yield f"{record}: {'live in its system, not in the mart' if record in held else 'live in the mart, not in its system'}"

    def _edits(self) -> Iterator[str]:
        held = self.storage.people()
        for (record, name), value in self.others.edits.items():
            if record in held and held[record].get(name) != value:
                yield f"{record} {name}: {held[record].get(name)!r}, though somebody wrote {value!r}"

    def _tasks(self, desired: dict[str, str]) -> Iterator[str]:
        made = self.storage.tasks()
        for key, count in Counter(task["key"] for task in made).items():
            if count > 1:
                yield f"task {key}: made {count} times"
        same = Counter(
            (task["system"], task["subject"], str(task["due"])[:16], task["who"]) for task in made if task["who"]
        )
        for what, count in same.items():
            if count > 1:
                yield f"task {what}: there {count} times"
        there = {task["key"] for task in made}
        told = {
            key: (status, system)
            for key, status, system in self.house.state("SELECT key, status, system FROM outbox WHERE lane = 'task'")
        }
        alive, ids = self.storage.people(), {task["id"] for task in made}
        adopted = {key for key, native in self.house.state("SELECT key, native_id FROM task") if native in ids}
        there |= adopted  # one that was made before a restore stands for it
        for key, record in desired.items():
            is_withdrawn = told.get(key, ("",))[0] == "withdrawn"  # its run was taken back before it was made
            if key not in there and not is_withdrawn and (record in alive or key not in told):
                yield f"task {key} for {record}: desired, not made; the outbox says {told.get(key, 'nothing')}"

    def _firings(self) -> Iterator[str]:
        fired: dict[tuple[str, str], list[str]] = {}
        for each in self.storage.firings():
            record = f"{each['system']}|{each['object_type']}|{each['record_id']}"
            fired.setdefault((each["rule"], record), []).append(each["detail"])
        merged, carried = self.storage.merged(), self._carried()
        left = {rule: set(carried) for rule, _ in fired}
        for (rule, record), details in fired.items():
            allowed = self.crossings.rises[record] + 2 * self.others.scores[record]
            survivor = merged.get(record, record)
            late = sorted(each for each in left[rule] if merged.get(each) == survivor and each != record)
            used = late[: max(len(details) - allowed, 0)]
            left[rule].difference_update(used)
            allowed += len(used)
            if len(details) > allowed:
                yield f"{record}: {rule!r} fired {len(details)} times for {allowed} crossings: {'; '.join(details)}"

    def _carried(self) -> set[str]:
        """The records to which a score over the line was on its way when somebody merged them away: their survivor, which may be
        below it, got it. Once each: sent once more, it would be a bug of ours."""
        query = (
            "SELECT o.system || '|' || o.object_type || '|' || o.native_id, o.fields FROM outbox o "
            "JOIN delivery d ON d.outbox = o.id WHERE o.lane != 'task' AND d.result = 'conflict'"
        )
        told = [(record, json.loads(fields)) for record, fields in self.house.state(query)]
        return {record for record, fields in told if any(float(fields.get(each) or 0) >= LINE for each in SCORES)}

    # --------------------------------------------------------------------------------------------- our books

    def _books(self) -> Iterator[str]:
        state = self.house.state
        lost = "SELECT run, system, stream, pulled, applied + unchanged + filtered + quarantined AS kept FROM run_step WHERE pulled != kept"
        for run, system, stream, pulled, kept in state(lost):
            yield f"run {run} {system} {stream}: {pulled} pulled, {kept} accounted for"
        over = "('settled', 'superseded', 'withdrawn', 'quarantined')"
        open_ones = f"SELECT key, system, status, native_id, fields FROM outbox WHERE status NOT IN {over}"
        for key, system, status, native, fields in state(open_ones):
            yield f"outbox {key} of {system} {native}: still {status} ({fields})"
        for (verdict,) in state("PRAGMA integrity_check"):
            if verdict != "ok":
                yield f"state: {verdict}"
        for (run,) in state("SELECT id FROM run WHERE status = 'running'"):
            yield f"run {run}: never ended"


def _is_small(wanted: Values, held: Values, found: list[str]) -> bool:
    """Whether nothing differs that is written: a score by less than that, a stage's date that the system knows from earlier."""
    names = {line.split(": ")[0].rsplit(" ", 1)[1] for line in found}
    return all(
        wanted[name] is not None and held[name] is not None and _is_left(name, wanted[name], held[name])
        for name in names
    )


def _is_left(name: str, wanted: Any, held: Any) -> bool:
    if name in SCORES:
        return abs(float(wanted) - float(held)) < MIN_POINTS
    return name in STAGE_DATES and str(held)[:19] < str(wanted)[:19]


def contents(house: House) -> dict[str, dict[str, Any]]:
    """What a house knows of live records and counting activities, by key, without how it came to know: for a child to answer."""
    found: dict[str, dict[str, Any]] = {}
    with duckdb.connect(str(house.stores[1]), read_only=True) as mart:
        for table in _RECORDS:
            condition = "deleted_at IS NULL" + (
                " AND coalesce(filtered_because, 'copy') = 'copy'"
                if table == "activity"
                else " AND merged_into IS NULL"
            )
            reply = mart.execute(f"SELECT CAST(COLUMNS(*) AS VARCHAR) FROM {table} WHERE {condition}")
            names = [column[0] for column in reply.description or ()]
            for row in reply.fetchall():
                values = {name: str(value) for name, value in zip(names, row, strict=True) if name not in _OUR_WAY}
                found[f"{table} {values['key']}"] = values
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def departed(house: House) -> list[str]:
    """The records that a house knows to be deleted: for a child to answer."""
    with duckdb.connect(str(house.stores[1]), read_only=True) as mart:
        tables = [name for name in _RECORDS if name != "activity"]
        query = " UNION ALL ".join(f"SELECT key FROM {name} WHERE deleted_at IS NOT NULL" for name in tables)
        return sorted(key for (key,) in mart.execute(query).fetchall())


def _is_nobodys_in_hubspot(values: dict[str, Any]) -> bool:
    return values.get("record") == "None" and values["key"].startswith("hubspot|")


def of_the_living(known: dict[str, dict[str, Any]], gone: Set[str]) -> dict[str, dict[str, Any]]:
    """What a house knows, with the activities of deleted records as nobody's: a system that was asked after the deletion does not
    tell any more whose they were."""
    kept: dict[str, dict[str, Any]] = {}
    nobodys: dict[str, dict[str, Any]] = {}
    somebodys: set[str] = set()
    for key, values in known.items():
        record = values.get("record", "")
        if record in gone or record == "None":
            what = key.removesuffix(record) if record in gone else key
            nobodys[what] = {**values, "key": values["key"].removesuffix(record), "record": "None"}
        else:
            kept[key] = values
            somebodys.add(key.removesuffix(record))
    return kept | {what: values for what, values in nobodys.items() if what not in somebodys}


def unlike(
    ours: dict[str, dict[str, Any]], fresh: dict[str, dict[str, Any]], purged: Purged, deleted: Set[str] = frozenset()
) -> list[str]:
    """Where a house that went through everything differs from one that has just read it all, and knows those who were purged; of
    `deleted` records both know no activities. Of somebody who was purged and then deleted HubSpot tells activities as nobody's."""
    gone = purged.records | {values["key"] for values in fresh.values() if purged.has(values["key"], values)}
    fresh = {
        key: values
        for key, values in fresh.items()
        if not gone & {values["key"], values.get("record"), values.get("person")}
    }
    ours, fresh = of_the_living(ours, deleted), of_the_living(fresh, deleted)
    if any(record.startswith("hubspot|") for record in gone & deleted):
        fresh = {key: values for key, values in fresh.items() if key in ours or not _is_nobodys_in_hubspot(values)}
    found = [
        f"{key}: only in {'ours' if key in ours else 'a fresh house'}" for key in sorted(ours.keys() ^ fresh.keys())
    ]
    for key in sorted(ours.keys() & fresh.keys()):
        for name in sorted(ours[key].keys() | fresh[key].keys()):
            left, right = ours[key].get(name), fresh[key].get(name)
            if left != right:
                found.append(f"{key} {name}: {left!r} here, {right!r} in a fresh house")
    return found
