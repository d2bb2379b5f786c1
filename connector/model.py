"""The nouns and the ports of the house: what a system hands over, what we hand back, and what an adapter promises.

Values here are frozen dataclasses; bulk data travels as Arrow tables whose schemas are declared in `connector.tables`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

import pyarrow as pa

from connector.budget import Governor
from connector.errors import ConnectorError
from connector.section import Section
from connector.verdicts import Classify

Value = str | int | float | bool | None


class Kind(StrEnum):
    """What a stream's records are to us."""

    PERSON = "person"
    ACCOUNT = "account"
    OPPORTUNITY = "opportunity"
    CONTACT_ROLE = "contact_role"
    CASE = "case"
    CAMPAIGN = "campaign"
    OWNER = "owner"
    ACTIVITY = "activity"


class Lane(StrEnum):
    """The order in which changes are delivered when quota is short; brakes hold lanes, never consent."""

    CONSENT = "consent"
    STAGE = "stage"
    TASK = "task"
    SCORE = "score"


LANES = (Lane.CONSENT, Lane.STAGE, Lane.TASK, Lane.SCORE)


# ---------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Stream:
    """A readable collection of one object type.

    `object_type` is the system's own name of the object (`Contact`, `contacts`) and part of every record key.
    `cursor_field` is the native field whose growth shows a change ("" when the stream has a cursor of another kind).
    `every` is the shortest interval between two polls, for streams that are dear to ask; zero means at each run.
    `modified_by` is the native field that names the user who changed a record last ("" when there is none).
    `own_tasks` marks the stream on which the tasks that we made come back.
    """

    name: str
    kind: Kind
    object_type: str
    cursor_field: str = ""
    lookback: timedelta = timedelta(0)
    every: timedelta = timedelta(0)
    modified_by: str = ""
    own_tasks: bool = False
    optional: bool = False  # a missing permission or edition is a warning of `check`, not a failure of the run


@dataclass(frozen=True, slots=True)
class Request:
    """What to read from one stream: the native fields, where the last run stopped (None: from the beginning), and the
    native ids that we `held` alive, for adapters that look which of them the system no longer has. `is_missed`: one of them
    was not there when it was written to, so that it is time to look."""

    stream: Stream
    fields: tuple[str, ...]
    cursor: str | None = None
    held: Callable[[], pa.Array[Any]] | None = None
    is_missed: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A unit of reading. `rows` has the columns of `tables.PAGE`, at least; `cursor` is to be saved once the rows are stored.

    `malformed` says why a record of the answer could not even be put into a row (no id, not an object).
    `total` is the system's own count of what this read will give, where it tells (for progress only).
    `hidden` are the fields that were asked for and that the system does not show us.
    `is_place`: the system has begun with something big; its cursor is to be kept at once, before there is a row.
    """

    stream: Stream
    rows: pa.Table
    cursor: str | None
    done: bool
    malformed: tuple[str, ...] = ()
    total: int | None = None
    hidden: tuple[str, ...] = ()
    is_place: bool = False


@dataclass(frozen=True, slots=True)
class StreamFailure:
    """This stream could not be read to its end; what came before it stands."""

    stream: Stream
    error: ConnectorError


@dataclass(frozen=True, slots=True)
class FieldSchema:
    """A native field as the system describes it. `type` is one of text, long_text, number, integer, bool, date, datetime,
    picklist, multi_picklist, email, phone, url, reference, id, other."""

    name: str
    type: str
    label: str = ""
    is_writable: bool = True
    length: int | None = None
    options: tuple[str, ...] = ()
    is_restricted: bool = False
    is_unique: bool = False
    is_calculated: bool = False  # its value may change without the record's stamp moving
    precision: int | None = None  # digits of a number, `scale` of them behind the point
    scale: int | None = None


@dataclass(frozen=True, slots=True)
class ObjectSchema:
    """A native object and its fields, as far as our credentials can see."""

    object_type: str
    fields: Mapping[str, FieldSchema]


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """A native field that we want to exist, for `install`. `type`: text, long_text, number, picklist, date, datetime."""

    object_type: str
    name: str
    label: str
    type: str
    length: int = 255
    precision: int = 5
    scale: int = 1
    options: tuple[str, ...] = ()
    is_unique: bool = False
    description: str = ""


class Step(StrEnum):
    """What `install` does, or found, for one thing."""

    CREATE = "create"
    EXISTS = "exists"
    DIFFERS = "differs"
    GRANT = "grant"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class InstallStep:
    """One line of what `install` will do or did: `what` names the thing (`Lead.Score__c`), `detail` says more."""

    system: str
    step: Step
    what: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `check`. `level` is ok, warning or error; `mend` says what a person can do."""

    level: str
    what: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """What a system says about itself and our access to it."""

    system: str
    signed_in_as: str
    calls_used: int | None
    calls_limit: int | None
    clock_skew_s: float
    findings: tuple[Finding, ...]


# ---------------------------------------------------------------------------------------------------------- writing


@dataclass(frozen=True, slots=True)
class Task:
    """A task for a salesperson, in canonical terms; the adapter knows its system's fields. `key` is our dedupe key."""

    key: str
    subject: str
    body: str
    due_at: datetime
    priority: str  # high, normal, low
    owner: str | None  # native user id, None for the system's default


@dataclass(frozen=True, slots=True)
class Change:
    """One intended write, with one outcome. Either `fields` (native field -> value after) or `task` is given.

    `before` holds the values that were observed when it was planned; `expected_version` the record's version then. `parent` is
    the record that some systems lock with this one; `receipt` what its system is to be asked by (see `Target.write`).
    """

    key: str
    system: str
    object_type: str
    native_id: str
    lane: Lane
    fields: Mapping[str, Value] = field(default_factory=dict)
    before: Mapping[str, Value] = field(default_factory=dict)
    task: Task | None = None
    reason: str = ""
    expected_version: str | None = None
    person: str | None = None
    parent: str = ""
    receipt: str = ""


class Result(StrEnum):
    """What became of a change."""

    ACCEPTED = "accepted"  # the system took it
    UNCHANGED = "unchanged"  # it was so already (a replayed task that the system has)
    REJECTED = "rejected"  # refused for good until the value, mapping or permission changes: quarantine
    CONFLICT = "conflict"  # the record is not what we thought (deleted, merged, converted): read and plan anew
    RETRY = "retry"  # certainly not written; may be sent again later
    WAIT = "wait"  # certainly not written: a quota of the system is used; goes again when it is not, costs no attempt
    STOP = "stop"  # certainly not written, nor would anything else be: a person must mend the system or our access
    UNKNOWN = "unknown"  # may or may not be written: to be settled by reading


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one change in one attempt. `native_id` is the id of a created or found task; `retry_after_s` is how long
    the system asked to be left alone, where it did (RETRY, WAIT), or is at work on it (UNKNOWN); `fields` are what a refusal names."""

    key: str
    result: Result
    native_id: str | None = None
    code: str = ""
    message: str = ""
    hint: str = ""
    request_id: str = ""
    retry_after_s: float | None = None
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What the system holds for a change whose outcome is unknown.

    For a task: `native_id` of the task with our key, or None. For fields: `values` as the system holds them now, None if gone.
    `outcome` instead of either where the system keeps one. `is_certain` is False while the answer may still be stale (an index
    that lags) or the system is still at work: ask again later.
    """

    key: str
    native_id: str | None = None
    values: Mapping[str, Value] | None = None
    is_certain: bool = True
    outcome: Outcome | None = None


#: Keeps a receipt with every change of the batch that is being written: kept when it returns, whatever breaks then.
Keep = Callable[[str], None]


def forget(receipt: str) -> None:
    """A `Keep` for those who write without an outbox."""
    del receipt


# ---------------------------------------------------------------------------------------------------------- ports


class Source(Protocol):
    """The reading side of a system."""

    def check(self, requests: Sequence[Request]) -> Check:
        """Sign in, ask for quota and clock, and say what of `requests` cannot be read and why. Raises AuthError."""

    def describe(self, object_types: Sequence[str]) -> Mapping[str, ObjectSchema]:
        """The objects and fields that our credentials can see; an invisible object is absent from the answer."""

    def pages(self, requests: Sequence[Request]) -> Iterator[Page | StreamFailure]:
        """Read every stream to its present end, in as few calls as the system allows; pages of streams may interleave.

        Every request ends with a page that is `done`, or with a StreamFailure. Raises AuthError, SystemUnavailable,
        QuotaExhausted or ProtocolError when the system as a whole cannot go on.
        """


class Target(Protocol):
    """The writing side of a system."""

    def install(self, specs: Sequence[FieldSpec], *, is_dry: bool) -> Sequence[InstallStep]:
        """Create the fields that do not exist, and grant access to them; with `is_dry` only say what would be done."""

    def write(self, changes: Sequence[Change], keep: Keep = forget) -> Sequence[Outcome]:
        """Deliver one batch (at most `capabilities.batch_size`): exactly one outcome per change, in order.

        Never raises for what one record did; raises AuthError, QuotaExhausted or ProtocolError only when certainly nothing
        of the batch was sent. A lost reply gives UNKNOWN outcomes. Where a system works on a batch by itself, the receipt to
        ask by is kept before it can begin; "" when reading the records tells instead.
        """

    def find(self, changes: Sequence[Change]) -> Sequence[Found]:
        """Read what became of changes whose outcome is unknown, those of one receipt together: one answer per change, in
        order."""


class Learned(Protocol):
    """What an adapter found out about its system and need not ask again when it is connected the next time."""

    def recall(self, kept: str) -> None:
        """Take up what `kept` said; "" when nothing did."""

    def kept(self) -> str:
        """What the next connection should know; "" when nothing. It must do no harm when it is true no more."""


@dataclass(frozen=True, slots=True)
class System:
    """A connected system: one account, with its two sides."""

    name: str
    kind: str
    source: Source
    target: Target | None
    calls: Callable[[], int]  # API calls made since it was connected, as the vendor counts them
    close: Callable[[], None]
    governor: Governor | None = None  # of its daily calls; None where nothing bounds them
    count_calls: Callable[[Sequence[Sequence[Change]]], int] | None = None  # of this account; None: as of its kind
    learned: Learned | None = None  # None where there is nothing to keep


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a kind of system can do; the contract suite holds an adapter to it.

    `cut` puts changes, in the order of their lanes, into what one `write` takes (else: batches of `batch_size`); it sees
    `window` of them at a time. `count_calls` is how many API calls `write` makes for such batches over a new connection when
    nothing is refused, lost or there already; `count_waiting` how many more it makes at most where it asks a system at work.
    """

    batch_size: int
    writable: tuple[str, ...]  # object types whose records take our fields
    task_targets: tuple[str, ...]  # object types that a task can be linked to, best first
    outputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # object type -> our output -> native field
    task_key: tuple[str, str] = ("", "")  # object type and native field of our task's dedupe key
    has_unique_task_key: bool = False
    mixes_in_batch: bool = True  # fields and tasks of several types fit one call; else each needs batches of its own
    tells_deletes: bool = False
    describes_what_it_reads: bool = False  # once a read gave its first page, `describe` of its objects makes no call
    cut: Callable[[Sequence[Change]], list[list[Change]]] | None = None
    count_calls: Callable[[Sequence[Sequence[Change]]], int] = len
    count_waiting: Callable[[Sequence[Sequence[Change]]], int] = lambda batches: 0
    window: int = 10_000


@dataclass(frozen=True, slots=True)
class Window:
    """A rate limit: at most `calls` in any `per_s` seconds, for calls of this `bucket`."""

    bucket: str
    calls: int
    per_s: float


@dataclass(frozen=True, slots=True)
class Adapter:
    """The declaration of a kind of system; `connector.sources.ADAPTERS` is the tuple of them all."""

    kind: str
    title: str
    options: type[Section]
    streams: tuple[Stream, ...]
    capabilities: Capabilities
    windows: tuple[Window, ...]
    classify: Classify
    connect: Callable[[str, Any], System]  # (name of the system, its options) -> connected system
    suited: Callable[[Any], Capabilities] | None = None  # its options -> what it can do with them, where they matter
