"""Tasks, made once.

A task carries our key in a property, and is created together with its link, in one atomic call. Where the portal accepted
the property as unique, a second task of a key is refused, and the one that is there is then looked up by its key. Where
it did not, the tasks of the record that each is linked to are looked through before anything is created. Neither way
goes through the search index, which lags.

Why create and not upsert: an upsert takes no associations (a kill between the two calls leaves a task that nobody
sees), and it would reopen a task that a salesperson has completed.

A create that got no answer is never repeated: its outcome is unknown until `find` has looked. Where the key is not unique,
such a create may still be at work when we look, and nothing would refuse the second one: so the instant of sending is
kept as its receipt, and that a task is not there counts only `LATE_COMMIT` later.

Property names and required values: HubSpot documentation "Tasks"; type ids of the links: "Associations".
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from connector import clock
from connector.errors import ConnectorError, MissingPermission, ProtocolError, RecordRejected, SystemUnavailable
from connector.model import Change, Found, Keep, Outcome, Result, Task, forget
from connector.sources import hubspot_associations as associations
from connector.sources import hubspot_batch as batch
from connector.sources.hubspot_client import GONE, Api, Json, Untold, results
from connector.sources.hubspot_properties import TASK_KEY
from connector.sources.hubspot_search import BY_ID
from connector.sources.hubspot_values import UNKNOWN_PROPERTY, Definitions

PRIORITIES: Mapping[str, str] = {"high": "HIGH", "normal": "MEDIUM", "low": "LOW"}


#: How long after it was sent a create that got no answer may still take effect: an edge that gives up waiting (524) does so
#: after minutes, and HubSpot's answers to batches never take that long (documentation "Error handling").
LATE_COMMIT = timedelta(minutes=15)
#: How long it is believed that the key is not unique.
PLAIN_FOR = timedelta(days=1)
_GONE_HINT = "it goes to another record of the person, if there is one"


class KeyMode(StrEnum):
    """How this portal holds our key of a task."""

    UNIQUE = "unique"
    PLAIN = "plain"
    ABSENT = "absent"


class TaskKey:
    """How this portal holds our key of a task: what its properties say, and that the key is not unique for a day from one connection
    to the next.

    Only that is kept. A unique property can be archived and made anew without, and no answer to a create would tell: a task that
    exists would be made twice. What is looked up before it is made is made once, whatever became of the property.
    """

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._plain_at: datetime | None = None  # when it was found not to be unique
        self._is_recalled = False

    def mode(self) -> KeyMode:
        """Asks for the properties where it is not known. Raises what asking for them raises."""
        if self._plain_at is not None and clock.is_within(PLAIN_FOR, self._plain_at, clock.now()):
            return KeyMode.PLAIN
        self._plain_at, self._is_recalled = None, False
        ours = self._definitions.of("tasks").get(TASK_KEY)
        if ours is None:
            return KeyMode.ABSENT
        if ours.get("hasUniqueValue"):
            return KeyMode.UNIQUE
        self._plain_at = clock.now()
        return KeyMode.PLAIN

    def learn(self) -> None:
        """Ask now. What cannot be learned now is asked for when there is a task."""
        with suppress(ConnectorError):
            self.mode()

    def is_old(self) -> bool:
        """Whether an earlier connection asked for it."""
        return self._is_recalled or self._definitions.is_old("tasks")

    def forget(self) -> None:
        """Ask again: it was installed, or may have been changed."""
        self._definitions.forget()
        self._plain_at = None

    def recall(self, kept: str) -> None:
        """Take up when an earlier connection found that the key is not unique."""
        self._plain_at, self._is_recalled = (datetime.fromisoformat(kept) if kept else None), bool(kept)

    def kept(self) -> str:
        """When the key was found not to be unique; "" when it was not."""
        return self._plain_at.isoformat() if self._plain_at is not None else ""


def deliver(api: Api, key: TaskKey, changes: Sequence[Change], keep: Keep = forget) -> Iterator[Outcome]:
    """Make the tasks that do not exist, in the way that this portal takes. Raises as `create` does."""
    try:
        mode, is_old = _fresh_mode(key), key.is_old()
    except (SystemUnavailable, MissingPermission, RecordRejected) as error:
        yield from (batch.unread(change, "properties of tasks", error) for change in changes)
        return
    refused: dict[str, Outcome] = {}
    for outcome in _kept_and_created(api, mode, changes, keep):
        if is_old and outcome.result is Result.REJECTED:
            refused[outcome.key] = outcome
        else:
            yield outcome
    if not refused:
        return
    fresh = _asked_again(key, mode)
    again = [change for change in changes if change.key in refused]
    yield from refused.values() if fresh is mode else _kept_and_created(api, fresh, again, keep)


def _kept_and_created(api: Api, mode: KeyMode, changes: Sequence[Change], keep: Keep) -> Iterator[Outcome]:
    if mode is KeyMode.PLAIN:
        keep(clock.now().isoformat())
    yield from create(api, mode, changes)


def _asked_again(key: TaskKey, mode: KeyMode) -> KeyMode:
    """How the key is held by now, when something was refused in the `mode` that we knew from before."""
    key.forget()
    try:
        return _fresh_mode(key)
    except ConnectorError:
        return mode  # then the refusal stands


def _fresh_mode(key: TaskKey) -> KeyMode:
    mode = key.mode()
    if mode is KeyMode.ABSENT:
        key.forget()  # it may be installed meanwhile
    return mode


def create(api: Api, mode: KeyMode, changes: Sequence[Change]) -> Iterator[Outcome]:
    """Make the tasks that do not exist, each key once. Raises AuthError and QuotaExhausted for what was not sent."""
    same: dict[str, list[Change]] = {}
    for change in changes:
        same.setdefault(_key(change), []).append(change)
    keys = {change.key: _key(change) for change in changes}
    for outcome in _created(api, mode, [twins[0] for twins in same.values()]):
        for change in same[keys[outcome.key]]:
            yield replace(outcome, key=change.key)


def _created(api: Api, mode: KeyMode, changes: Sequence[Change]) -> Iterator[Outcome]:
    if mode is KeyMode.ABSENT:
        yield from (_no_property(change) for change in changes)
        return
    try:
        known = lookup(api, mode, changes) if mode is KeyMode.PLAIN else {}
    except RecordRejected as error:
        if len(changes) == 1:
            yield _unseen(changes[0], error) if isinstance(error, Untold) else batch.failed(changes[0], error)
            return
        for part in _halves(changes):  # one of them is refused: it must not hold up the others
            yield from _created(api, mode, part)
        return
    except (SystemUnavailable, MissingPermission, ProtocolError) as error:
        yield from (_unseen(change, error) for change in changes)
        return
    yield from (
        Outcome(change.key, Result.UNCHANGED, known[_key(change)]) for change in changes if _key(change) in known
    )
    missing = [change for change in changes if _key(change) not in known]
    yield from _sent(api, mode, missing)


def _unseen(change: Change, error: ConnectorError) -> Outcome:
    """The outcome of a task that was not sent, since it may be there."""
    code = error.code if isinstance(error, RecordRejected) else ""
    return Outcome(change.key, Result.RETRY, None, code, f"could not look for the task: {error}", error.hint)


def _sent(api: Api, mode: KeyMode, changes: Sequence[Change]) -> Iterator[Outcome]:
    """The outcomes of creating these tasks; a refused batch is cut until only what is refused is left."""
    todo = [changes] if changes else []
    while todo:
        part = todo.pop()
        try:
            answer = api.batch("tasks", "create", {"inputs": [_input(change) for change in part]})
            rows = results(answer)
        except RecordRejected as error:
            if len(part) == 1:
                yield from _refused(api, mode, part, {_key(part[0]): batch.failed(part[0], error)})
            else:
                todo += _halves(part)
        except (SystemUnavailable, MissingPermission, ProtocolError) as error:
            yield from (batch.failed(change, error) for change in part)
        else:
            yield from _settled(api, mode, part, rows, answer.get("errors") or ())


def _halves(changes: Sequence[Change]) -> list[Sequence[Change]]:
    return [changes[: len(changes) // 2], changes[len(changes) // 2 :]]


def lookup(api: Api, mode: KeyMode, changes: Sequence[Change]) -> dict[str, str]:
    """The tasks that exist with our keys: key -> task id."""
    if mode is KeyMode.UNIQUE:
        keys = sorted({_key(change) for change in changes})
        held = batch.read(api, "tasks", keys, [TASK_KEY], id_property=TASK_KEY)
    else:
        candidates: set[str] = set()
        for object_type in {change.object_type for change in changes}:
            anchors = [change.native_id for change in changes if change.object_type == object_type]
            for linked in associations.associated(api, object_type, "tasks", anchors).values():
                candidates.update(linked)
        held = batch.read(api, "tasks", sorted(candidates), [TASK_KEY])
    return {row[TASK_KEY]: row["hs_object_id"] for row in held.values() if row.get(TASK_KEY)}


def find(api: Api, key: TaskKey, changes: Sequence[Change]) -> list[Found]:
    """Which of the tasks exist: one answer per change, in order."""
    mode = _fresh_mode(key)
    known = {} if mode is KeyMode.ABSENT else lookup(api, mode, changes)
    return [
        Found(change.key, known.get(_key(change)), is_certain=_key(change) in known or not _may_be_at_work(change))
        for change in changes
    ]


def _may_be_at_work(change: Change) -> bool:
    """Whether HubSpot may still be making the task that it did not answer for."""
    return bool(change.receipt) and clock.is_within(LATE_COMMIT, datetime.fromisoformat(change.receipt), clock.now())


def _settled(
    api: Api, mode: KeyMode, changes: Sequence[Change], rows: Sequence[Json], errors: Sequence[Json]
) -> Iterator[Outcome]:
    made = {str(row["properties"].get(TASK_KEY) or row.get("objectWriteTraceId")): str(row["id"]) for row in rows}
    of_row = batch.errors_by_row(errors)
    unmade: dict[str, Outcome] = {}
    rest: list[Change] = []
    for change in changes:
        key = _key(change)
        if key in made:
            yield Outcome(change.key, Result.ACCEPTED, made[key])
            continue
        rest.append(change)
        unmade[key] = (
            batch.refused(change, of_row[key])
            if key in of_row
            else Outcome(change.key, Result.UNKNOWN, message="the answer does not speak of this task")
        )
    if rest:
        yield from _refused(api, mode, rest, unmade)


def _refused(api: Api, mode: KeyMode, changes: Sequence[Change], told: Mapping[str, Outcome]) -> Iterator[Outcome]:
    """A refusal may mean that the key is taken: then the task is there, and that is what we wanted."""
    try:
        known = lookup(api, mode, changes)
    except (SystemUnavailable, MissingPermission, RecordRejected, ProtocolError) as error:
        for change in changes:
            message = f"refused, and whether it is there could not be read: {error}"
            yield replace(told[_key(change)], result=Result.UNKNOWN, message=message)
        return
    gone = _gone(
        api, [each for each in changes if told[_key(each)].result is Result.REJECTED and _key(each) not in known]
    )
    for change in changes:
        task_id = known.get(_key(change))
        if task_id is not None:
            yield Outcome(change.key, Result.UNCHANGED, task_id)
        elif change.key in gone:
            yield Outcome(change.key, Result.CONFLICT, code=GONE, message=batch.IS_GONE, hint=_GONE_HINT)
        else:
            yield told[_key(change)]


def _gone(api: Api, changes: Sequence[Change]) -> set[str]:
    """The keys of those whose record is gone: HubSpot's refusal is the same as of any other thing that is wrong."""
    gone: set[str] = set()
    for object_type in dict.fromkeys(each.object_type for each in changes):
        part = [each for each in changes if each.object_type == object_type]
        try:
            there = batch.read(api, object_type, [each.native_id for each in part], [BY_ID])
        except (SystemUnavailable, MissingPermission, RecordRejected, ProtocolError):
            continue  # then the refusal stands
        gone |= {each.key for each in part if each.native_id not in there}
    return gone


def _input(change: Change) -> Json:
    kind = {
        "associationCategory": "HUBSPOT_DEFINED",
        "associationTypeId": associations.TASK_TO[change.object_type],
    }
    return {
        "properties": properties(_task(change)),
        "associations": [{"to": {"id": change.native_id}, "types": [kind]}],
        "objectWriteTraceId": _key(change),
    }


def properties(task: Task) -> dict[str, str]:
    """A task in HubSpot's properties. `hs_timestamp` is the due date; the body is HTML, the subject is plain text."""
    due = task.due_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    values = {
        "hs_timestamp": due,
        "hs_task_subject": task.subject,
        "hs_task_body": _as_html(task.body),
        "hs_task_status": "NOT_STARTED",
        "hs_task_priority": PRIORITIES.get(task.priority, "MEDIUM"),
        "hs_task_type": "TODO",
        TASK_KEY: task.key,
    }
    return values | ({"hubspot_owner_id": task.owner} if task.owner else {})


def _as_html(text: str) -> str:
    """Plain text that reads the same as HTML: what people typed into a form is no markup, and lines stay lines."""
    return "<br>".join(html.escape(text).splitlines())


def _task(change: Change) -> Task:
    if change.task is None:
        raise ValueError("a change of fields is not a task")
    return change.task


def _key(change: Change) -> str:
    return _task(change).key


def _no_property(change: Change) -> Outcome:
    return Outcome(
        change.key,
        Result.REJECTED,
        code=UNKNOWN_PROPERTY,
        message=f"tasks have no property {TASK_KEY}, without which a task could be made twice",
        hint=f"run `connector install {change.system}`",
    )
