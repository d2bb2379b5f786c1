"""Who took part in what: shared activities belong to each of their people, mails count once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.e2e import instant
from tests.e2e.world import World

SALESFORCE = {"system": "salesforce"}
#: `/deleted` tells whole minutes.
DELETION_SHOWS_AFTER = timedelta(seconds=70)
#: Counted activities of Salesforce: of whom, by the id of the activity itself or of the mail.
COUNTED = """
SELECT person.owner_id, coalesce(json_extract_string(a.properties, '$.activity_id'), a.native_id), count(*)
FROM activity a JOIN membership person ON person.key = a.record
WHERE a.system = 'salesforce' AND a.deleted_at IS NULL AND a.filtered_because IS NULL GROUP BY ALL
"""


def _make(world: World, sobject: str, **values: Any) -> str:
    return str(world.crms.tell("act", action="create", object=sobject, values=values, **SALESFORCE)["id"])


def _counted(world: World) -> dict[tuple[str, str], int]:
    return {(person, activity): count for person, activity, count in world.house.mart(COUNTED)}


def test_a_shared_activity_belongs_to_each_of_its_people_once_and_follows_its_changes(synced: World) -> None:
    house, crms = synced.house, synced.crms
    person_of = dict(
        house.mart("SELECT split_part(key, '|', 3), owner_id FROM membership WHERE key LIKE 'salesforce|%'")
    )
    seeded = crms.query("SELECT EventId, RelationId FROM EventRelation WHERE IsWhat = false")
    before = _counted(synced)
    missing = [one for one in seeded if before.get((person_of[one["RelationId"]], one["EventId"])) != 1]
    assert len(seeded) > 10
    assert missing == []
    assert set(before.values()) == {1}, "something counts twice for a person"

    first, second = (row["Id"] for row in crms.query("SELECT Id FROM Contact ORDER BY Id DESC LIMIT 2"))
    at = instant.now(-timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
    meeting = _make(synced, "Event", Subject="Workshop", WhoId=first, StartDateTime=at, DurationInMinutes=60)
    relation = _make(synced, "EventRelation", EventId=meeting, RelationId=second)
    mail = _make(synced, "EmailMessage", Subject="Hello", Incoming=True, Status="1", MessageDate=at)
    for kind in ("FromAddress", "CcAddress"):
        _make(synced, "EmailMessageRelation", EmailMessageId=mail, RelationId=second, RelationType=kind)
    crms.pass_second()
    house.sync()
    after = _counted(synced)
    new = {(person_of[first], meeting), (person_of[second], meeting), (person_of[second], mail)}
    assert {each: count for each, count in after.items() if each not in before} == dict.fromkeys(new, 1)

    crms.tell("act", action="update", id=meeting, values={"Subject": "Workshop, moved"}, **SALESFORCE)
    house.sync()
    subjects = house.mart(f"SELECT DISTINCT subject FROM activity WHERE properties LIKE '%{meeting}%'")
    assert subjects == [("Workshop, moved",)]

    for gone in (relation, mail):
        crms.tell("act", action="delete", id=gone, **SALESFORCE)
    task = _make(synced, "Task", Subject="Email: << Hello", TaskSubtype="Email", Status="Completed", WhoId=second)
    logged = _make(synced, "EmailMessage", Subject="Hello", Incoming=True, Status="1", MessageDate=at, ActivityId=task)
    _make(synced, "EmailMessageRelation", EmailMessageId=logged, RelationId=second, RelationType="FromAddress")
    crms.pass_days(DELETION_SHOWS_AFTER.total_seconds() / 86_400)
    house.sync(now=instant.now(DELETION_SHOWS_AFTER).isoformat())
    new = {(person_of[first], meeting), (person_of[second], task)}
    assert {each for each in _counted(synced) if each not in before} == new
