"""One Salesforce stream on its way to its present end: what it asks for, and the cursor that it goes on from.

The cursor is a JSON object. Between two reads: `low`, the SystemModstamp to go on from (instants are SOQL literals);
`reconciled`, when a read last went back a day; `deleted_low`, from when deletions are still to be asked for; `deletions_asked`,
when they last were; `hidden`, the fields that were asked for and not shown; `formulas`, that some are read, all of them last at
`refreshed`; `whole`, that the next read is to read everything; `sweep`, that it is to look which records are gone. In the
middle of a read also `at`, the instant of its first page, `of`, a fingerprint of its query, `mode`, and where it is:
`next`, a page's address, or `job`, a place in the results of a bulk query. `absent_at`: there was no such object then.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import orjson
import pyarrow as pa

from connector import clock
from connector.model import Request, Stream
from connector.sources.salesforce_bulk import Place
from connector.sources.salesforce_rest import Described, Org
from connector.sources.salesforce_rows import deleted_rows, pc

SETTLED_AFTER = timedelta(minutes=10)
#: Fields that exist only with a feature of the org: without it their absence is nothing to mend.
FEATURE_FIELDS = ("CurrencyIsoCode",)

#: What is read beside the fields asked for, where the object has it.
ALWAYS = ("Id", "CreatedDate", "SystemModstamp")
WITHOUT_DELETION = ("User",)
#: Who takes part in an activity or a mail -> what they take part in: a change of either changes what is to be known.
SHARED: Mapping[str, str] = {"TaskRelation": "Task", "EventRelation": "Event", "EmailMessageRelation": "EmailMessage"}
#: No stream reads these by themselves.
ONLY_SHARED = ("EmailMessage",)
#: Their deletions are asked for at every read that has room: they know no recycle bin, or (the others) are not queried then.
WITHOUT_BIN = ("CampaignMember", "OpportunityContactRole", *SHARED)
TOLD_DELETED = ("Opportunity", "Case", "Campaign", *WITHOUT_BIN)
#: An object that is not there (an edition, a feature, a permission) is looked for again after this.
ABSENT_FOR = timedelta(days=1)
MERGEABLE = ("Lead", "Contact", "Account")

#: Deleted rows stay in the recycle bin for 15 days, and /deleted looks back as far (REST API Developer Guide, "sObject Get
#: Deleted"; Salesforce Help, "Recycle Bin").
DELETED_WITHIN = timedelta(days=15)

#: How much a read takes: what changed, what changed in the last day, everything.
NEWS, DAY, WHOLE = "news", "day", "whole"
NOT_KNOWN = 1 << 62

_KEPT = ("reconciled", "refreshed", "formulas", "deleted_low")
_NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*")


@dataclass(frozen=True, slots=True)
class Habits:
    """How streams are read. `described` are the objects whose description is wanted at every read, `own` our fields."""

    bulk_from: int
    reconcile_every: timedelta
    formulas_every: timedelta
    described: Collection[str] = ()
    own: Collection[str] = ()


@dataclass
class Sweep:
    """The ids that we hold, and those that are alive as far as they have been read."""

    held: Any
    alive: list[Any] = field(default_factory=list)

    def gone(self, object_type: str) -> pa.Table | None:
        """Deletions of the ids that are not alive; None where the org shows no record at all: that is a permission."""
        alive = pa.chunked_array(self.alive, pa.string())
        if not len(alive):
            return None
        missing = self.held.filter(pc.invert(pc.is_in(self.held, value_set=alive)))
        return deleted_rows(object_type, [{"id": each} for each in missing.to_pylist()])


def sweep_soql(object_type: str) -> str:
    """The ids that are alive; by `queryAll`, which alone shows archived activities."""
    return f"SELECT Id FROM {object_type} WHERE IsDeleted = false"  # noqa: S608


@dataclass
class Reading:
    """One stream on its way to its present end."""

    request: Request
    habits: Habits
    saved: Mapping[str, Any]
    mode: str = NEWS
    soql: str = ""
    low: str | None = None  # SystemModstamp from which we read; None: from the beginning
    first_page_at: str | None = None
    deleted_low: str | None = None  # from when deletions that queryAll does not show are asked for
    deletions_asked: str = ""  # when they last were
    deletions: pa.Table | None = None  # to go out with the first page
    quiet_at: str | None = None  # nothing has changed up to then
    total: int | None = None  # how many rows the first page told
    next_path: str | None = None
    job: Place | None = None
    may_bulk: bool = True
    remaining: int = NOT_KNOWN  # rows to come
    attempts: int = 0
    described: Described | None = None  # what the query was made with
    looks: int = 0
    hidden: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    absent_at: str = ""
    held: Any = ()  # the ids that we held alive when it began, where deletions may have been missed since
    sweep: Sweep | None = None
    is_swept: bool = False
    is_over: bool = False

    @property
    def stream(self) -> Stream:
        """The stream that is read."""
        return self.request.stream

    @property
    def object_type(self) -> str:
        """The object that is read."""
        return self.request.stream.object_type

    @property
    def to_describe(self) -> tuple[str, ...]:
        """The objects whose description should come with the first page: the object is written to, a day has passed, or
        a field of theirs is hidden."""
        hidden = hidden_of(self)
        parent = SHARED.get(self.object_type, "")
        of_parent = any(name.startswith(f"{parent}.") for name in hidden) if parent else False
        is_wanted = self.mode != NEWS or self.object_type in self.habits.described or bool(hidden)
        return (*((self.object_type,) if is_wanted else ()), *((parent,) if of_parent else ()))

    @property
    def query(self) -> str:
        """The query of the present part of the read."""
        return self.soql if self.sweep is None else sweep_soql(self.object_type)

    def restart(self) -> None:
        """Read from the bound again: the place where we were is not there any more."""
        self.next_path = self.job = None
        self.remaining = NOT_KNOWN
        if self.sweep is not None:
            self.sweep = Sweep(self.sweep.held)
        else:
            self.first_page_at = None

    def end_part(self) -> pa.Table | None:
        """The part of the read that is under way came to its end: the ids that are alive come next, or it is over.

        Gives the rows of what turned out to be gone.
        """
        gone = None
        if self.sweep is not None:
            gone = self.sweep.gone(self.object_type)
            self.held, self.sweep, self.is_swept = (), None, True
        elif len(self.held):
            self.sweep, self.remaining = Sweep(self.held), NOT_KNOWN
        self.is_over = self.sweep is None
        return gone


def begin(org: Org, request: Request, habits: Habits) -> Reading:
    """A reading of what its cursor says is to come."""
    saved: dict[str, Any] = orjson.loads(request.cursor) if request.cursor else {}
    absent_at = saved.pop("absent_at", None)
    now = clock.now() + timedelta(seconds=org.clock_skew_s)
    reading = Reading(request, habits, saved, deletions_asked=saved.get("deletions_asked", ""))
    if absent_at and clock.is_within(ABSENT_FOR, datetime.fromisoformat(absent_at), now):
        reading.absent_at = absent_at
        return reading
    is_midway = bool(saved.get("of"))
    reading.mode = str(saved["mode"]) if saved.get("mode") else _mode(saved, habits, now)
    reading.low = saved.get("low") if is_midway else _low(saved, reading.mode)
    if reading.object_type in TOLD_DELETED:
        reading.deleted_low = saved.get("deleted_low", saved.get("low"))
    elif reading.object_type not in WITHOUT_DELETION and reading.mode != NEWS and not is_midway:
        reading.deleted_low = saved.get("deleted_low", saved.get("reconciled"))
    asked = wanted(request.stream, request.fields)
    reading.hidden = tuple(
        name for name in saved.get("hidden", ()) if name in asked
    )  # the others are not missed any more
    if saved.get("sweep") or (not is_midway and _may_have_missed(saved, now)):
        keep_held(reading)
    formulate(org, reading)
    if is_midway and saved["of"] == _fingerprint(reading.soql):
        reading.first_page_at, reading.next_path = saved.get("at"), saved.get("next")
        reading.job = Place(**saved["job"]) if saved.get("job") else None
    return reading


def keep_held(reading: Reading) -> None:
    """Deletions may have been missed: at its end the read is to look which of the ids that we hold are gone."""
    if reading.request.held and reading.object_type not in WITHOUT_DELETION:
        reading.held = reading.request.held()


def _may_have_missed(saved: Mapping[str, Any], now: datetime) -> bool:
    """Whether something was deleted so long ago, since the last read, that nothing tells it any more."""
    since = [saved[key] for key in ("low", "deleted_low") if saved.get(key)]
    return not since or now - datetime.fromisoformat(min(since)) >= DELETED_WITHIN


def _mode(saved: Mapping[str, Any], habits: Habits, now: datetime) -> str:
    if not saved.get("low") or saved.get("whole"):
        return WHOLE
    refreshed, reconciled = saved.get("refreshed"), saved.get("reconciled")
    if saved.get("formulas") and refreshed and now - datetime.fromisoformat(refreshed) >= habits.formulas_every:
        return WHOLE
    return DAY if reconciled and now - datetime.fromisoformat(reconciled) >= habits.reconcile_every else NEWS


def _low(saved: Mapping[str, Any], mode: str) -> str | None:
    if mode == WHOLE:
        return None
    low: str | None = saved.get("low")
    if mode == DAY and low:
        return min(low, literal(datetime.fromisoformat(saved["reconciled"]) - SETTLED_AFTER))
    return low


def formulate(org: Org, reading: Reading) -> None:
    """Make the query; a description that somebody asked for says what is hidden, else what the last read found."""
    stream, fields = reading.stream, reading.request.fields
    reading.described = org.remembered(stream.object_type)
    if reading.described is not None:
        names = wanted(stream, fields)
        reading.hidden = tuple(name for name in names if not _is_shown(org, reading, name))
    reading.soql = soql_of(stream, fields, reading.low, reading.hidden)


def take_shown(org: Org, reading: Reading) -> bool:
    """Whether a description that came with the first page shows what was hidden: the query is made anew then, to be asked at once, and
    reads all records, for these did not change by it; but not for the sake of fields that are ours."""
    shown = [name for name in reading.hidden if _is_shown(org, reading, name)]
    if not shown:
        return False
    if any(name.rpartition(".")[2] not in reading.habits.own for name in shown):
        reading.mode, reading.low = WHOLE, None
    formulate(org, reading)
    return True


def soql_of(stream: Stream, fields: Sequence[str], low: str | None, hidden: Collection[str] = ()) -> str:
    """The query of a stream: what was asked for, with what tells identity, change and deletion, but nothing hidden."""
    names = [name for name in wanted(stream, fields) if name not in hidden]
    where = f" WHERE SystemModstamp >= {low}" if low else ""
    if low and stream.object_type in SHARED:
        where += f" OR {SHARED[stream.object_type]}.SystemModstamp >= {low}"
    return f"SELECT {', '.join(names)} FROM {stream.object_type}{where} ORDER BY SystemModstamp, Id"  # noqa: S608 _NAME


def wanted(stream: Stream, fields: Sequence[str]) -> list[str]:
    """The names to select, hidden ones included."""
    names = dict.fromkeys((*ALWAYS, *_telling(stream.object_type), *fields))
    return [name for name in names if _NAME.fullmatch(name)]


def _telling(object_type: str) -> tuple[str, ...]:
    return (
        *(() if object_type in WITHOUT_DELETION else ("IsDeleted",)),
        *(("MasterRecordId",) if object_type in MERGEABLE else ()),
        *(("ConvertedContactId",) if object_type == "Lead" else ()),
    )


def _is_shown(org: Org, reading: Reading, name: str) -> bool:
    """Whether a field can be selected, as far as descriptions tell; one of another object (`Task.Subject`) by that one's."""
    described = org.remembered(reading.object_type)
    if described is None or not described.allows(name):
        return False
    relationship, _, field_name = name.partition(".")
    targets = described.relationships.get(relationship, ()) if field_name else ()
    target = org.remembered(targets[0]) if len(targets) == 1 else None
    return target.allows(field_name) if target else name not in reading.hidden or len(targets) != 1


def hidden_of(reading: Reading) -> tuple[str, ...]:
    """The fields that were asked for and are not shown to us, as far as this read knows; those of features apart."""
    return tuple(name for name in reading.hidden if name not in FEATURE_FIELDS)


def cursor(org: Org, reading: Reading) -> str:
    """Where to go on: from `low`, or in the middle of a read that began at `at`."""
    assert reading.first_page_at is not None
    said = {key: reading.saved[key] for key in _KEPT if key in reading.saved}
    known = org.remembered(reading.object_type)
    is_over = reading.sweep is not None or (reading.next_path is None and reading.job is None)
    if is_over:
        said |= _settled(org, reading, known)
    else:
        said |= {"at": reading.first_page_at, "of": _fingerprint(reading.soql), "mode": reading.mode}
        said |= {"next": reading.next_path} if reading.job is None else {"job": asdict(reading.job)}
        said |= {"low": reading.low} if reading.low else {}
    if len(reading.held):
        said["sweep"] = True
    if reading.deleted_low:
        said["deleted_low"] = reading.deleted_low
    if reading.deletions_asked:
        said["deletions_asked"] = reading.deletions_asked
    if reading.is_swept and "deleted_low" in said:
        said["deleted_low"] = said["low"]
    if still := [name for name in reading.hidden if not is_over or not _is_shown(org, reading, name)]:
        said["hidden"] = still
    return orjson.dumps(said).decode()


def _settled(org: Org, reading: Reading, known: Described | None) -> dict[str, Any]:
    """What the next read begins with."""
    at = str(reading.first_page_at)
    said: dict[str, Any] = {"low": literal(datetime.fromisoformat(at) - SETTLED_AFTER)}
    if reading.mode != NEWS or "reconciled" not in reading.saved:
        said["reconciled"] = at
    if reading.mode == WHOLE:
        said["refreshed"] = at
    if known is not None:
        asked = [known.fields[name] for name in reading.request.fields if name in known.fields]
        said["formulas"] = any(each.is_calculated for each in asked)
        before = [name for name in reading.hidden if name.rpartition(".")[2] not in reading.habits.own]
        if any(_is_shown(org, reading, name) for name in before):
            said["whole"] = True  # what was hidden is shown now: also in records that do not change
    return said


def literal(instant: datetime) -> str:
    """A SOQL datetime literal, in whole seconds."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _fingerprint(soql: str) -> str:
    return blake2b(soql.encode(), digest_size=8).hexdigest()
