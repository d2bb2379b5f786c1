"""Merging pages: counts add up, a replay changes nothing, what changed is dirty, what went is withdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import orjson
import pyarrow as pa
import pytest

from connector import mapping, tables
from connector.mart import Mart, MartSection, open_mart
from connector.mart.ingest import Counts, Group, ingest
from connector.model import Kind

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
MAPPINGS = mapping.load("hubspot", {})
KINDS = {
    "contacts": Kind.PERSON,
    "companies": Kind.ACCOUNT,
    "deals": Kind.OPPORTUNITY,
    "calls": Kind.ACTIVITY,
    "form_submissions": Kind.ACTIVITY,
    "web_events": Kind.ACTIVITY,
}


@pytest.fixture
def mart(tmp_path: Path) -> Iterator[Mart]:
    with open_mart(MartSection(), tmp_path) as opened:
        yield opened


def row(
    native_id: str, at: datetime = NOW, *, is_deleted: bool = False, merged_into: str | None = None, **native: Any
) -> dict[str, Any]:
    return {
        "native_id": native_id, "object_type": None, "created_at": NOW - timedelta(days=9), "modified_at": at,
        "is_deleted": is_deleted, "merged_into": merged_into, "native": orjson.dumps(native).decode(),
    }  # fmt: skip


def pull(
    mart: Mart,
    stream: str,
    *rows: dict[str, Any],
    run: int = 1,
    cursor: str | None = "c1",
    in_doubt: pa.Table | None = None,
    whole: tuple[str, ...] = (),
) -> Counts:
    page = pa.Table.from_pylist([{**each, "object_type": stream} for each in rows], schema=tables.PAGE)
    mapped = mapping.apply(page, MAPPINGS[stream], system="hubspot", region="DE", outputs=("connector_score",), now=NOW)
    group = Group("hubspot", stream, KINDS[stream], (mapped,), len(rows), 0, cursor, in_doubt=in_doubt, whole=whole)
    return ingest(mart, group, run=run, now=NOW)


def table(mart: Mart, name: str) -> list[dict[str, Any]]:
    return sorted(mart.arrow(mart.table(name)).to_pylist(), key=lambda each: each["key"])


def everything(mart: Mart) -> dict[str, list[dict[str, Any]]]:
    return {name: table(mart, name) for name in tables.TABLES}


def clear(mart: Mart) -> None:
    mart.delete_keys("dirty", mart.table("dirty").select("key"))


def test_what_is_pulled_is_applied_once_and_then_unchanged(mart: Mart) -> None:
    rows = [row("1", email="a@b.example", firstname="Ann"), row("2", email="c@d.example")]
    assert pull(mart, "contacts", *rows) == Counts(2, 2, 0, 0, 0)
    assert pull(mart, "contacts", *rows, run=2) == Counts(2, 0, 2, 0, 0)


def test_a_replay_of_pages_changes_no_byte_and_makes_nothing_dirty(mart: Mart) -> None:
    rows = [
        row("1", email="a@b.example", mobilephone="+49 170 1234567"),
        row("2", email="c@d.example", connector_score="12"),
    ]
    pull(mart, "contacts", *rows)
    clear(mart)
    before = everything(mart)
    pull(mart, "contacts", *rows)
    assert everything(mart) == before


def test_ingestion_numbers_go_up_in_the_order_of_first_sight_and_never_change(mart: Mart) -> None:
    pull(mart, "contacts", row("5"), row("3"))
    pull(mart, "contacts", row("1"), row("3", NOW + timedelta(hours=1), firstname="New"), run=2)
    numbers = {each["native_id"]: each["ingestion"] for each in table(mart, "person_record")}
    assert numbers == {"3": 1, "5": 2, "1": 3}


def test_a_changed_field_leaves_its_version_and_only_its_own(mart: Mart) -> None:
    pull(mart, "contacts", row("1", firstname="Ann", lastname="Meyer"))
    later = NOW + timedelta(hours=1)
    pull(mart, "contacts", row("1", later, firstname="Anna", lastname="Meyer"), run=2)
    versions = [
        (each["field"], each["value"], each["changed_at"], each["run"]) for each in table(mart, "record_version")
    ]
    assert versions == [("first_name", "Anna", later, 2)]


def test_our_own_write_coming_back_is_unchanged_and_makes_nothing_dirty(mart: Mart) -> None:
    pull(mart, "contacts", row("1", email="a@b.example"))
    clear(mart)
    later = NOW + timedelta(minutes=5)
    assert pull(mart, "contacts", row("1", later, email="a@b.example", connector_score="66"), run=2) == Counts(
        1, 0, 1, 0, 0
    )
    assert table(mart, "dirty") == []
    assert [(each["field"], each["value"], each["revision"]) for each in table(mart, "observed")] == [
        ("connector_score", "66", 2)
    ]


def test_an_older_version_that_a_lagging_index_tells_is_ignored(mart: Mart) -> None:
    pull(mart, "contacts", row("1", firstname="New"))
    assert pull(mart, "contacts", row("1", NOW - timedelta(hours=1), firstname="Old"), run=2).unchanged == 1
    assert table(mart, "person_record")[0]["first_name"] == "New"


def test_a_version_that_we_had_seen_before_our_write_does_not_undo_it(mart: Mart) -> None:
    seen, ours = NOW + timedelta(minutes=10), NOW + timedelta(minutes=11)
    record = "hubspot|contacts|1"
    settled = {
        "key": f"{record}|connector_score", "system": "hubspot", "object_type": "contacts", "native_id": "1", "record": record,
        "field": "connector_score", "value": "70", "observed_at": seen, "settled_at": ours, "revision": 2,
    }  # fmt: skip
    mart.merge("observed", pa.Table.from_pylist([settled], schema=tables.OBSERVED))
    pull(mart, "contacts", row("1", seen, connector_score="12"), run=3)
    assert table(mart, "observed")[0]["value"] == "70"
    pull(mart, "contacts", row("1", seen + timedelta(seconds=1), connector_score="12"), run=4)
    assert table(mart, "observed")[0]["value"] == "12"


def scores_that_we_wrote(mart: Mart, value: str) -> list[str]:
    """The score of contacts 1 and 2 as we wrote it last, and its keys."""
    settled = [
        {
            "key": f"hubspot|contacts|{native_id}|connector_score", "system": "hubspot", "object_type": "contacts",
            "native_id": native_id, "record": f"hubspot|contacts|{native_id}", "field": "connector_score", "value": value,
            "ours": value, "observed_at": NOW, "settled_at": NOW, "revision": 1,
        }
        for native_id in ("1", "2")
    ]  # fmt: skip
    mart.merge("observed", pa.Table.from_pylist(settled, schema=tables.OBSERVED))
    return [str(each["key"]) for each in settled]


def test_a_value_that_we_may_have_written_is_no_edit_of_somebody_and_any_other_is(mart: Mart) -> None:
    keys = scores_that_we_wrote(mart, "12")
    pull(mart, "contacts", row("1"), row("2"))
    later = NOW + timedelta(minutes=1)
    sent = pa.table({"key": keys, "value": ["70", "70"]})
    found = (row("1", later, connector_score="70.0"), row("2", later, connector_score="99"))
    pull(mart, "contacts", *found, run=2, in_doubt=sent)
    assert [(each["value"], each["edited_at"]) for each in table(mart, "observed")] == [("70", None), ("99", later)]
    assert [(each["record"], each["ours"], each["theirs"]) for each in table(mart, "drift")] == [
        ("hubspot|contacts|2", "12", "99")
    ]


@pytest.mark.parametrize(
    ("whole", "edits"),
    [(("connector_score",), [("2", "68")]), ((), [("1", "67"), ("2", "68")])],
    ids=["whole", "decimals"],
)
def test_a_number_that_a_field_without_decimals_rounded_is_no_edit_of_somebody_and_one_beside_ours_in_another_is(
    mart: Mart, whole: tuple[str, ...], edits: list[tuple[str, str]]
) -> None:
    scores_that_we_wrote(mart, "66.5")
    pull(mart, "contacts", row("1"), row("2"))
    later = NOW + timedelta(minutes=1)
    found = row("1", later, connector_score="67"), row("2", later, connector_score="68")
    pull(mart, "contacts", *found, run=2, whole=whole)
    drift = [(each["record"].rpartition("|")[2], each["theirs"]) for each in table(mart, "drift")]
    assert drift == edits
    assert [each["native_id"] for each in table(mart, "observed") if each["edited_at"]] == [each for each, _ in edits]


def test_a_deletion_keeps_what_was_known_and_is_dirty_once(mart: Mart) -> None:
    pull(mart, "contacts", row("1", email="a@b.example", firstname="Ann"))
    clear(mart)
    later = NOW + timedelta(hours=1)
    assert pull(mart, "contacts", row("1", later, is_deleted=True), run=2).applied == 1
    record = table(mart, "person_record")[0]
    assert record["first_name"] == "Ann"
    assert record["deleted_at"] == later
    assert [each["record"] for each in table(mart, "dirty")] == ["hubspot|contacts|1"]
    assert pull(mart, "contacts", row("1", later, is_deleted=True), run=3).unchanged == 1


def test_what_is_just_not_there_any_more_tells_no_instant_and_concerns_its_people_all_the_same(mart: Mart) -> None:
    pull(mart, "contacts", row("1", firstname="Ann"))
    pull(mart, "deals", row("7", dealname="Renewal", **{"associations.contacts": ["1"]}))
    for stream, number, dirty in (("contacts", "1", "person"), ("deals", "7", "event")):
        clear(mart)
        gone = row(number, is_deleted=True) | {"modified_at": None}
        assert pull(mart, stream, gone, run=2).applied == 1
        assert [each["key"] for each in table(mart, "dirty")] == [f"{dirty}|hubspot|contacts|1"]
        clear(mart)
        assert pull(mart, stream, gone, run=3).unchanged == 1
        back = row(number, **({"associations.contacts": ["1"]} if stream == "deals" else {"firstname": "Ann"}))
        assert pull(mart, stream, back, run=4).applied == 1, "somebody restored it"
        assert [each["key"] for each in table(mart, "dirty")] == [f"{dirty}|hubspot|contacts|1"]


def test_an_identifier_that_a_record_loses_is_withdrawn_and_comes_back_with_its_first_sighting(mart: Mart) -> None:
    pull(mart, "contacts", row("1", email="a@b.example"))
    first = {each["value"]: each["first_seen_at"] for each in table(mart, "identifier")}
    pull(mart, "contacts", row("1", NOW + timedelta(hours=1), email="other@b.example"), run=2)
    withdrawn = {
        each["value"]: each["withdrawn_at"] is not None for each in table(mart, "identifier") if each["type"] == "email"
    }
    assert withdrawn == {"a@b.example": True, "other@b.example": False}
    pull(mart, "contacts", row("1", NOW + timedelta(hours=2), email="a@b.example"), run=3)
    back = next(
        each for each in table(mart, "identifier") if each["value"] == "a@b.example" and each["type"] == "email"
    )
    assert back["withdrawn_at"] is None
    assert back["first_seen_at"] == first["a@b.example"]


def test_a_call_makes_its_contacts_dirty_as_events_and_a_lost_association_is_a_deletion(mart: Mart) -> None:
    call = {"hs_timestamp": "2026-10-30T10:00:00Z", "hs_call_title": "Hello"}
    pull(mart, "calls", row("9", **call, **{"associations.contacts": ["1", "2"]}))
    assert {each["key"] for each in table(mart, "dirty")} == {"event|hubspot|contacts|1", "event|hubspot|contacts|2"}
    clear(mart)
    counts = pull(mart, "calls", row("9", NOW + timedelta(hours=1), **call, **{"associations.contacts": ["1"]}), run=2)
    assert counts == Counts(1, 1, 0, 0, 0)
    gone = {each["record"]: each["deleted_at"] is not None for each in table(mart, "activity")}
    assert gone == {"hubspot|contacts|1": False, "hubspot|contacts|2": True}
    assert {each["record"] for each in table(mart, "dirty")} == {"hubspot|contacts|2"}


@pytest.mark.parametrize("order", [(3, 1, 2), (1, 2, 3), (2, 3, 1)])
def test_a_visitor_began_with_the_earliest_trace_whichever_came_first(mart: Mart, order: tuple[int, ...]) -> None:
    for run, day in enumerate(order, start=1):
        clear(mart)
        at = datetime(2026, 10, day, tzinfo=UTC)
        form = {"submittedAt": int(at.timestamp() * 1000), "email": "ann@b.example"}
        assert pull(mart, "form_submissions", row(f"{day}", **form), run=run) == Counts(1, 1, 0, 0, 0)
        [visitor] = table(mart, "person_record")
        is_earlier = day == min(order[:run])
        assert visitor["created_at"] == datetime(2026, 10, min(order[:run]), tzinfo=UTC)
        is_resolved_anew = f"person|{visitor['key']}" in {each["key"] for each in table(mart, "dirty")}
        assert is_resolved_anew == is_earlier
        assert (visitor["run"] == run) == is_earlier


def test_a_visitor_of_several_pages_in_one_group_began_with_the_earliest_of_their_traces(mart: Mart) -> None:
    days = (5, 2, 7)
    forms = [
        {"submittedAt": int(datetime(2026, 10, day, tzinfo=UTC).timestamp() * 1000), "email": "ann@b.example"}
        for day in days
    ]
    pages = [
        mapping.apply(
            pa.Table.from_pylist([row(f"{number}", **form) | {"object_type": "form"}], schema=tables.PAGE),
            MAPPINGS["form_submissions"], system="hubspot", region="DE", outputs=(), now=NOW,
        )
        for number, form in enumerate(forms)
    ]  # fmt: skip
    ingest(mart, Group("hubspot", "form_submissions", Kind.ACTIVITY, tuple(pages), 3, 0, None), run=1, now=NOW)
    [visitor] = table(mart, "person_record")
    assert visitor["created_at"] == datetime(2026, 10, 2, tzinfo=UTC)


def test_a_value_of_ours_that_a_survivor_has_from_who_was_merged_into_it_is_no_edit_of_somebody(mart: Mart) -> None:
    scores_that_we_wrote(mart, "12")
    pull(mart, "contacts", row("1"), row("2"))
    later = NOW + timedelta(minutes=1)
    merged = [row(one, later, is_deleted=True, merged_into=into) for one, into in (("1", "3"), ("2", "4"))]
    pull(
        mart, "contacts", *merged, row("3", later, connector_score="12.0"), row("4", later, connector_score="99"), run=2
    )
    edits = {each["native_id"]: each["edited_at"] for each in table(mart, "observed") if each["native_id"] in "34"}
    assert edits == {"3": None, "4": later}


def page_view(native_id: str, contact: str) -> dict[str, Any]:
    return row(native_id, eventType="e_visited_page", occurredAt="2026-10-30T10:00:00Z", objectId=contact)


def test_what_a_record_did_that_was_merged_away_is_its_survivors(mart: Mart) -> None:
    pull(mart, "contacts", row("1", email="a@b.example"), row("2", email="c@d.example"))
    pull(mart, "web_events", page_view("v1", "1"), page_view("v2", "2"))
    clear(mart)
    later = NOW + timedelta(hours=1)
    gone = row("1", later, is_deleted=True, merged_into="3")
    pull(mart, "contacts", gone, row("3", later, email="a@b.example"), run=2)

    def living() -> list[tuple[str, str]]:
        return [(each["native_id"], each["record"]) for each in table(mart, "activity") if each["deleted_at"] is None]

    assert living() == [("v1", "hubspot|contacts|3"), ("v2", "hubspot|contacts|2")]
    dirty = {each["key"] for each in table(mart, "dirty")}
    assert {"event|hubspot|contacts|1", "event|hubspot|contacts|3"} <= dirty
    before = everything(mart)
    assert pull(mart, "contacts", gone, run=3).applied == 0
    assert pull(mart, "web_events", page_view("v1", "3"), page_view("v1", "1"), run=3).applied == 0
    assert everything(mart) == {**before, "checkpoint": table(mart, "checkpoint")}
    pull(mart, "contacts", row("3", later, is_deleted=True, merged_into="4"), row("4", later), run=4)
    assert pull(mart, "web_events", page_view("v3", "1"), run=4).applied == 1
    assert living() == [("v1", "hubspot|contacts|4"), ("v2", "hubspot|contacts|2"), ("v3", "hubspot|contacts|4")]


def test_a_deal_of_a_record_that_was_merged_away_is_its_survivors(mart: Mart) -> None:
    pull(mart, "contacts", row("1"), row("2"))
    deal = {"dealname": "D", "associations.contacts": ["1", "2"]}
    pull(mart, "deals", row("9", **deal))
    later = NOW + timedelta(hours=1)
    pull(mart, "contacts", row("1", later, is_deleted=True, merged_into="3"), row("3", later), run=2)
    people = sorted(each["person"] for each in table(mart, "contact_role_record"))
    assert people == ["hubspot|contacts|2", "hubspot|contacts|3"]


def test_who_survived_a_merge_stays_known_when_the_deletion_is_told_again_without(mart: Mart) -> None:
    """What has left the recycle bin is told by another question than the merge was."""
    pull(mart, "contacts", row("1", email="a@b.example"), row("3", email="a@b.example"))
    later = NOW + timedelta(hours=1)
    merged, gone = row("1", later, is_deleted=True, merged_into="3"), row("1", later, is_deleted=True)

    def survivor() -> str | None:
        return next(each["merged_into"] for each in table(mart, "person_record") if each["native_id"] == "1")

    pull(mart, "contacts", gone, run=2)
    assert survivor() is None
    clear(mart)
    assert pull(mart, "contacts", merged, run=3).applied == 1
    assert "person|hubspot|contacts|1" in {each["key"] for each in table(mart, "dirty")}
    assert pull(mart, "contacts", gone, run=4).applied == 0
    assert survivor() == "hubspot|contacts|3"
    pull(mart, "contacts", row("1", later + timedelta(hours=1), email="a@b.example"), run=5)  # restored
    assert survivor() is None


def test_a_call_that_both_of_two_merged_records_took_part_in_is_the_survivors_once(mart: Mart) -> None:
    call = {"hs_timestamp": "2026-10-30T10:00:00Z", "associations.contacts": ["1", "2"]}
    pull(mart, "calls", row("9", **call))
    later = NOW + timedelta(hours=1)
    pull(mart, "contacts", *(row(one, later, is_deleted=True, merged_into="3") for one in ("1", "2")), run=2)
    living = [each["key"] for each in table(mart, "activity") if each["deleted_at"] is None]
    assert living == ["hubspot|calls|9|hubspot|contacts|3"]


def test_a_deleted_call_takes_all_its_rows_with_it(mart: Mart) -> None:
    call = {"hs_timestamp": "2026-10-30T10:00:00Z", "associations.contacts": ["1", "2"]}
    pull(mart, "calls", row("9", **call))
    pull(mart, "calls", row("9", NOW + timedelta(hours=1), is_deleted=True), run=2)
    assert all(each["deleted_at"] is not None for each in table(mart, "activity"))


def test_the_roles_of_a_deal_follow_its_associations(mart: Mart) -> None:
    deal = {
        "dealname": "Big",
        "dealstage": "closedwon",
        "amount": "100",
        "hs_is_closed_won": "true",
        "hs_is_closed": "true",
    }
    pull(mart, "deals", row("7", **deal, **{"associations.contacts": ["1", "2"]}))
    assert {each["person"] for each in table(mart, "contact_role_record")} == {
        "hubspot|contacts|1",
        "hubspot|contacts|2",
    }
    pull(mart, "deals", row("7", NOW + timedelta(hours=1), **deal, **{"associations.contacts": ["2"]}), run=2)
    assert {each["person"] for each in table(mart, "contact_role_record")} == {"hubspot|contacts|2"}


def test_who_takes_part_in_a_deal_no_longer_is_looked_at_again(mart: Mart) -> None:
    pull(mart, "deals", row("7", dealname="Renewal", **{"associations.contacts": ["1", "2"]}))
    clear(mart)
    pull(mart, "deals", row("7", dealname="Renewal", **{"associations.contacts": ["1"]}), run=2)
    assert [each["record"] for each in table(mart, "dirty")] == ["hubspot|contacts|2"]
    clear(mart)
    pull(mart, "deals", row("7", dealname="Renewal"), run=3)
    assert table(mart, "contact_role_record") == [], "also when nobody is left, of any deal of the group"
    assert [each["record"] for each in table(mart, "dirty")] == ["hubspot|contacts|1"]


def test_the_checkpoint_moves_with_the_rows_or_not_at_all(mart: Mart, monkeypatch: pytest.MonkeyPatch) -> None:
    pull(mart, "contacts", row("1"), cursor="first")
    real = Mart.merge

    def fails_at_the_checkpoint(self: Mart, name: str, rows: Any) -> None:
        if name == "checkpoint":
            raise RuntimeError("killed")
        real(self, name, rows)

    monkeypatch.setattr(Mart, "merge", fails_at_the_checkpoint)
    with pytest.raises(RuntimeError, match="killed"):
        pull(mart, "contacts", row("2"), cursor="second")
    assert [each["cursor"] for each in table(mart, "checkpoint")] == ["first"]
    assert [each["native_id"] for each in table(mart, "person_record")] == ["1"]


def test_a_record_without_an_id_is_quarantined_and_the_counts_still_add_up(mart: Mart) -> None:
    counts = pull(mart, "contacts", row("1", email="a@b.example"), row("", email="c@d.example"))
    assert counts == Counts(2, 1, 0, 0, 1)
    assert counts.is_conserved


def test_counts_that_lose_a_record_are_not_conserved() -> None:
    assert not Counts(pulled=3, applied=1, unchanged=1).is_conserved


# ------------------------------------------------------------------------------------------------ hidden fields


def test_a_known_activity_stays_as_it_was_while_a_field_is_hidden_a_deleted_one_goes_and_a_new_one_comes(
    mart: Mart,
) -> None:
    at = "2026-10-01T10:00:00Z"
    call = {"hs_call_title": "Discovery", "hs_timestamp": at, "associations.contacts": ["1"]}
    pull(mart, "calls", row("c1", **call), row("c2", **call))
    blurred = {"hs_timestamp": at, "associations.contacts": ["1"]}
    rows = [row("c1", **blurred), row("c2", is_deleted=True), row("c3", **blurred)]
    page = pa.Table.from_pylist([{**each, "object_type": "calls"} for each in rows], schema=tables.PAGE)
    mapped = mapping.apply(page, MAPPINGS["calls"], system="hubspot", region="DE", outputs=(), now=NOW)
    group = Group("hubspot", "calls", Kind.ACTIVITY, (mapped,), 3, 0, "c2", unsent=frozenset({"hs_call_title"}))
    assert ingest(mart, group, run=2, now=NOW) == Counts(3, 2, 1, 0, 0)
    found = {each["native_id"]: (each["subject"], each["deleted_at"] is None) for each in table(mart, "activity")}
    assert found == {"c1": ("Discovery", True), "c2": ("Discovery", False), "c3": (None, True)}


def test_a_task_that_is_opened_again_is_no_activity_any_more_and_one_again_when_it_is_done(mart: Mart) -> None:
    KINDS["tasks"] = Kind.ACTIVITY
    done = {"hs_task_status": "COMPLETED", "hs_timestamp": "2026-10-01T10:00:00Z", "associations.contacts": ["1"]}
    pull(mart, "tasks", row("t1", **done), row("t2", **done))
    clear(mart)
    opened = row("t1", NOW + timedelta(hours=1), **done | {"hs_task_status": "NOT_STARTED"})
    assert pull(mart, "tasks", opened, run=2) == Counts(1, 0, 0, 1, 0)
    alive = {each["native_id"]: each["deleted_at"] is None for each in table(mart, "activity")}
    assert alive == {"t1": False, "t2": True}
    assert [each["kind"] for each in table(mart, "dirty")] == ["event"]
    assert pull(mart, "tasks", row("t1", NOW + timedelta(hours=2), **done), run=3) == Counts(1, 1, 0, 0, 0)
    assert all(each["deleted_at"] is None for each in table(mart, "activity"))


def test_a_task_of_ours_stays_ours_while_its_key_is_hidden(mart: Mart) -> None:
    done = {"hs_task_status": "COMPLETED", "hs_timestamp": "2026-10-01T10:00:00Z", "associations.contacts": ["1"]}
    key = MAPPINGS["tasks"].activity.task_key  # type: ignore[union-attr]
    assert key
    KINDS["tasks"] = Kind.ACTIVITY
    pull(mart, "tasks", row("t1", **done, **{key: "ours"}))
    pull(mart, "tasks", row("t1", NOW + timedelta(hours=1), **done, hs_task_subject="Other"), run=2)
    (task,) = table(mart, "activity")
    assert (task["task_key"], task["filtered_because"], task["subject"]) == ("ours", "own", "Other")


def test_a_task_of_ours_counts_as_filtered_when_it_comes_and_when_it_changes_and_else_as_unchanged(mart: Mart) -> None:
    KINDS["tasks"] = Kind.ACTIVITY
    done = {"hs_task_status": "COMPLETED", "hs_timestamp": "2026-10-01T10:00:00Z", "associations.contacts": ["1", "2"]}
    key = MAPPINGS["tasks"].activity.task_key  # type: ignore[union-attr]
    assert key
    ours = {key: "ours", "hs_task_status": "NOT_STARTED", "associations.contacts": ["1"]}
    assert pull(mart, "tasks", row("t1", **ours), row("t2", **done)) == Counts(2, 1, 0, 1, 0)
    assert pull(mart, "tasks", row("t1", **ours), row("t2", **done), run=2) == Counts(2, 0, 2, 0, 0)
    later = row("t1", NOW + timedelta(hours=1), **done, **{key: "ours"})
    assert pull(mart, "tasks", later, row("t2", **done), run=3) == Counts(2, 0, 1, 1, 0)
    assert pull(mart, "tasks", row("t1", is_deleted=True), row("t2", is_deleted=True), run=4) == Counts(2, 1, 0, 1, 0)


def test_a_click_of_a_machine_counts_as_filtered_and_one_of_a_person_as_applied(mart: Mart) -> None:
    KINDS["email_events"] = Kind.ACTIVITY
    click = {"type": "CLICK", "recipient": "a@b.example", "created": "2026-10-01T10:00:00Z"}
    clicks = [row("e1", **click, filteredEvent=True), row("e2", **click, filteredEvent=False)]
    assert pull(mart, "email_events", *clicks) == Counts(2, 1, 0, 1, 0)
    assert pull(mart, "email_events", *clicks, run=2) == Counts(2, 0, 2, 0, 0)
    assert pull(mart, "email_events", row("e1", **click, filteredEvent=False), run=3) == Counts(1, 1, 0, 0, 0)


def test_a_copy_that_is_read_again_unchanged_stays_one(mart: Mart) -> None:
    KINDS["calls"] = Kind.ACTIVITY
    call = {"hs_call_title": "Discovery", "hs_timestamp": "2026-10-01T10:00:00Z", "associations.contacts": ["1"]}
    pull(mart, "calls", row("c1", **call))
    with mart.transaction():
        judged = mart.table("activity").mutate(filtered_because=ibis.literal(tables.COPY))
        mart.merge("activity", judged)
    assert pull(mart, "calls", row("c1", NOW + timedelta(hours=1), **call), run=2) == Counts(1, 0, 1, 0, 0)
    (kept,) = table(mart, "activity")
    assert (kept["filtered_because"], kept["run"]) == (tables.COPY, 1)


def test_a_deal_that_is_read_again_leaves_its_role_with_whom_its_contact_was_merged_into(mart: Mart) -> None:
    deal = row("7", dealname="D", **{"associations.contacts": ["2"]})
    pull(mart, "contacts", row("1"), row("2"))
    pull(mart, "deals", deal)
    pull(mart, "contacts", row("2", NOW + timedelta(hours=1), is_deleted=True, merged_into="1"), run=2)
    pull(mart, "deals", deal, run=3)
    assert [each["person"] for each in table(mart, "contact_role_record")] == ["hubspot|contacts|1"]
