"""Computed in portions, the answer is the same as at once, also when a run is killed between two of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from sqlmodel import select

from connector import app, config, lifecycle, mapping, pipeline, tables
from connector.cli import starter
from connector.mart import Mart
from connector.mart.ingest import Group, ingest
from connector.model import Kind
from connector.state.models import Outbox
from connector.steps import plan as planning
from connector.steps import portions, resolve
from connector.steps.setup import Moment, Progress, Setup
from connector.summary import Summary

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MAPPINGS = mapping.load("hubspot", {})
PORTION = 40  # of 109 records: three portions
KINDS = {"companies": Kind.ACCOUNT, "contacts": Kind.PERSON, "calls": Kind.ACTIVITY}
COMPARED = {
    "membership": ("key", "owner_id", "component"),
    "identifier": ("key", "component", "withdrawn_at"),
    "refused": ("key", "component", "reason"),
    "account": ("key", "version"),
    "person": ("key", "version", "account", "provenance"),
    "score_line": ("key", "points"),
    "score": ("key", "score", "reasons", "next_due_at"),
    "stage_interval": ("key", "stage", "left_at", "why"),
    "trigger": ("key", "is_armed", "episode", "fired_at", "why"),
    "desired_task": ("key", "record"),
    "desired": ("key", "value", "reason", "subject"),
    "due": ("key", "due_at"),
    "dirty": ("key",),
}
Tables = Mapping[str, list[tuple[Any, ...]]]


def rows(stream: str) -> Iterator[dict[str, Any]]:
    """Sixty contacts at nine companies; each third shares an e-mail with the one before, each tenth a phone with the next."""
    for number in range({"companies": 9, "contacts": 60, "calls": 40}[stream]):
        yield {
            "native_id": str(number), "object_type": stream, "created_at": NOW - timedelta(days=90),
            "modified_at": NOW - timedelta(days=number % 7), "is_deleted": number == 59, "merged_into": None,
            "native": orjson.dumps(native(stream, number)).decode(),
        }  # fmt: skip


def native(stream: str, number: int) -> dict[str, Any]:
    if stream == "companies":
        return {"name": f"Firm {number}", "domain": f"firm{number}.example", "phone": "+493020000000"}
    if stream == "calls":
        at = (NOW - timedelta(days=number % 5)).isoformat()
        return {"hs_timestamp": at, "hs_call_title": f"Call {number}", "hs_call_status": "COMPLETED",
                "associations.contacts": [str(number)]}  # fmt: skip
    return {
        "email": f"person{number - (number % 3 == 1)}@firm{number % 9}.example", "firstname": f"Ann{number // 3}",
        "lastname": "Meyer", "jobtitle": "VP Sales", "associatedcompanyid": str(number % 9),
        "phone": f"+4930200{20_000 + number // 10 if number % 10 < 2 else number:05d}",
        "createdate": "2026-05-01T08:00:00.000Z",
    }  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def token() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUBSPOT_TOKEN", "a-token")
        yield


def built(folder: Path) -> Setup:
    """The service of a folder."""
    made = app.build(config.load(folder / "connector.toml"))
    task = {"when": "score > 5", "subject": "Call", "first_run_days": 3}
    return replace(made, tasks={"call": lifecycle.TaskSection.model_validate(task)})


@pytest.fixture(scope="module")
def pulled(token: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A house that has read everything and computed nothing."""
    folder = tmp_path_factory.mktemp("pulled")
    (folder / "connector.toml").write_text(starter.text(["hubspot"], url="", region="DE", every="15 minutes"))
    made = built(folder)
    with made.mart() as mart:
        for stream, kind in KINDS.items():
            page = pa.Table.from_pylist(list(rows(stream)), schema=tables.PAGE)
            mapped = mapping.apply(page, MAPPINGS[stream], system="hubspot", region="DE", outputs=(), now=NOW)
            ingest(mart, Group("hubspot", stream, kind, (mapped,), len(page), 0, "c"), run=1, now=NOW)
    made.state.close()
    return folder


@pytest.fixture(scope="module")
def at_rest(pulled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That house after a run that computed all of it at once."""
    folder = tmp_path_factory.mktemp("at_rest") / "house"
    shutil.copytree(pulled, folder)
    made = built(folder)
    with made.mart() as mart:
        pipeline.compute(made, mart, Moment(1, NOW), Progress(), Summary(1), is_in_one=True)
    made.state.close()
    return folder


@pytest.fixture
def setup(pulled: Path, tmp_path: Path) -> Setup:
    """A house that has computed nothing, for this test alone."""
    return built(Path(shutil.copytree(pulled, tmp_path / "house")))


@pytest.fixture
def settled(at_rest: Path, tmp_path: Path) -> Setup:
    """A house that has computed everything, for this test alone."""
    return built(Path(shutil.copytree(at_rest, tmp_path / "settled")))


def computed(setup: Setup, mart: Mart, run: int = 1, now: datetime = NOW) -> Summary:
    summary = Summary(run)
    pipeline.compute(setup, mart, Moment(run, now), Progress(), summary)
    return summary


def told(mart: Mart) -> Tables:
    return {
        name: sorted(tuple(row.values()) for row in mart.arrow(mart.table(name).select(*columns)).to_pylist())
        for name, columns in COMPARED.items()
    }


@pytest.fixture(scope="module")
def at_once(at_rest: Path) -> Tables:
    """What that run came to."""
    with built(at_rest).mart() as mart:
        return told(mart)


def test_portions_give_the_same_answer_as_all_at_once(
    setup: Setup, at_once: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    persons = {owner for record, owner, _ in at_once["membership"] if "|contacts|" in record}
    assert len(persons) < 59, "nobody is joined"
    assert at_once["desired_task"], "no trigger fires"
    assert at_once["dirty"] == []
    monkeypatch.setattr(portions, "RECORDS", PORTION)
    monkeypatch.setattr(resolve, "GOLDEN", 20)
    said: list[str] = []
    with setup.mart() as mart:
        progress = Progress(say=lambda step, text: said.append(step))
        pipeline.compute(setup, mart, Moment(1, NOW), progress, Summary(1))
        assert said.count("resolve") > 2
        assert told(mart) == at_once


def test_killed_between_portions_the_next_run_goes_on_and_nothing_is_done_twice(
    setup: Setup, at_once: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "RECORDS", 30)
    left: list[int] = []

    def killed_at_the_third(step: str, text: str) -> None:
        left.append(step == "stage")
        if sum(left) == 3:
            raise KeyboardInterrupt

    with setup.mart() as mart:
        with pytest.raises(KeyboardInterrupt):
            pipeline.compute(setup, mart, Moment(1, NOW), Progress(say=killed_at_the_third), Summary(1))
        waiting = mart.count(mart.table("dirty"))
        assert 0 < waiting < 109
        assert len(told(mart)["person"]) > 0
        computed(setup, mart, run=2)
        assert told(mart) == at_once


def test_asked_to_stop_it_ends_between_portions_and_the_next_run_goes_on(
    setup: Setup, at_once: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "RECORDS", 30)
    said: list[str] = []
    progress = Progress(say=lambda step, _: said.append(step), is_stopping=lambda: said.count("stage") == 2)
    run = setup.state.start_run("sync", NOW, "")
    stopped = pipeline.sync(setup, {}, Moment(run, NOW), progress)
    assert said[-1] == "stage"
    assert said.count("stage") == 2
    assert stopped.totals is None
    assert not setup.state.outbox_counts()
    assert not setup.state.is_computed_since(run - 1)
    following = setup.state.start_run("sync", NOW, "")
    summary = pipeline.sync(setup, {}, Moment(following, NOW), Progress())
    assert 0 < summary.resolved.records < 60, "it began anew"
    assert summary.planned
    with setup.mart() as mart:
        assert told(mart) == at_once


def test_asked_to_stop_while_it_plans_it_ends_between_portions_and_the_next_run_plans_the_rest(
    setup: Setup, settled: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "PORTION", 10)
    whole = pipeline.sync(setup, {}, Moment(setup.state.start_run("sync", NOW, ""), NOW), Progress())
    said: list[str] = []
    progress = Progress(say=lambda step, _: said.append(step), is_stopping=lambda: "plan" in said)
    stopped = pipeline.sync(settled, {}, Moment(settled.state.start_run("sync", NOW, ""), NOW), progress)
    assert 0 <= stopped.enqueued < whole.enqueued
    assert said[-1] == "plan"
    rest = pipeline.sync(settled, {}, Moment(settled.state.start_run("sync", NOW, ""), NOW), Progress())
    assert stopped.enqueued + rest.enqueued == whole.enqueued
    assert settled.state.outbox_counts() == setup.state.outbox_counts()


def test_what_a_brake_holds_is_not_let_go_by_a_run_that_was_stopped_before_it_knew_whether_it_is_wanted(
    setup: Setup,
) -> None:
    pipeline.sync(setup, {}, Moment(setup.state.start_run("sync", NOW, ""), NOW), Progress())
    with setup.state.session() as session:
        for row in session.exec(select(Outbox)).all():
            row.status, row.held_because = "held", "too many"
    with setup.mart() as mart:
        mart.tell(now=NOW, run=2)
        mart.append("dirty", mart.arrow(portions.dirty_rows(mart.table("membership").select(record="key"), "person")))
    progress = Progress(is_stopping=lambda: True)
    _, lifted, _ = pipeline.let_go(setup, {}, Moment(setup.state.start_run("apply", NOW, ""), NOW), progress)
    assert lifted == 0
    assert {status for status, _, _ in setup.state.outbox_counts()} == {"held"}


def test_a_changed_setting_is_computed_for_everybody_in_portions(
    settled: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    with settled.mart() as mart:
        pipeline.remember(settled, mart, Moment(settled.state.start_run("sync", NOW, ""), NOW))
        before = told(mart)
        monkeypatch.setattr(portions, "RECORDS", PORTION)
        renewed = replace(settled, fingerprints={**settled.fingerprints, "scoring": "other", "identity": "other"})
        summary = computed(renewed, mart, run=2)
        assert summary.scored.subjects >= len(before["person"])
        assert told(mart) == before


def test_what_a_wrong_clock_made_of_time_is_computed_anew_once_the_clock_is_right(
    setup: Setup, at_once: Tables
) -> None:
    with setup.mart() as mart:
        computed(setup, mart, now=NOW + timedelta(days=300))
        assert computed(setup, mart, run=2).scored.subjects == len(at_once["person"])
        for name in ("score", "score_line", "due"):
            assert told(mart)[name] == at_once[name]
        assert computed(setup, mart, run=3).scored.subjects == 0


def test_a_changed_setting_that_a_wrong_clock_began_to_compute_is_gone_on_with(
    settled: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    with settled.mart() as mart:
        monkeypatch.setattr(portions, "RECORDS", PORTION)
        renewed = with_scoring(settled, "other")
        killed_after_a_portion(renewed, mart, 2, now=NOW + timedelta(minutes=5))
        assert computed(renewed, mart, run=3).scored.subjects > 0
        assert not mart.count(mart.table("due").filter(mart.table("due").why == "changed"))


def killed_after_a_portion(setup: Setup, mart: Mart, run: int, now: datetime = NOW) -> None:
    """A run over these settings that ends before its second portion is resolved."""
    said: list[str] = []

    def say(step: str, text: str) -> None:
        said.append(step)
        if said.count("resolve") == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.compute(setup, mart, Moment(run, now), Progress(say=say), Summary(run))


def with_scoring(setup: Setup, fingerprint: str) -> Setup:
    return replace(setup, fingerprints={**setup.fingerprints, "scoring": fingerprint})


@pytest.mark.parametrize("is_first", [True, False], ids=["the first run", "a changed setting"])
def test_settings_that_change_after_a_kill_are_computed_for_those_too_who_were_done_before(
    setup: Setup, settled: Setup, monkeypatch: pytest.MonkeyPatch, *, is_first: bool
) -> None:
    house = setup if is_first else settled
    with house.mart() as mart:
        monkeypatch.setattr(portions, "RECORDS", PORTION)
        killed_after_a_portion(house if is_first else with_scoring(house, "other"), mart, 2)
        present = with_scoring(house, "third") if is_first else house
        summary = computed(present, mart, run=3)
        assert summary.scored.subjects >= mart.count(mart.table("person"))
        assert computed(present, mart, run=4).scored.subjects == 0


def test_a_changed_setting_that_was_cut_off_is_gone_on_with_and_not_begun_anew(
    settled: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    with settled.mart() as mart:
        monkeypatch.setattr(portions, "RECORDS", PORTION)
        renewed = replace(settled, fingerprints={**settled.fingerprints, "identity": "other"})
        killed_after_a_portion(renewed, mart, 2)
        waiting = mart.count(mart.table("dirty"))
        assert computed(renewed, mart, run=3).resolved.records <= waiting < mart.count(mart.table("membership"))


def test_a_plan_of_several_portions_is_computed_in_a_copy_and_leaves_nothing(
    setup: Setup, at_once: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked() -> tuple[int, list[str], int]:
        said: list[str] = []
        progress = Progress(say=lambda step, text: said.append(step))
        summary, shown = pipeline.look(setup, {}, Moment(setup.state.start_run("plan", NOW, ""), NOW), progress)
        assert shown is not None
        return summary.scored.subjects, sorted(each.key for each in shown.persons), said.count("resolve")

    persons, keys, portions_made = looked()
    assert keys
    assert (persons, portions_made) == (len(at_once["person"]), 1)
    files = sorted(each.name for each in setup.directory.iterdir())
    with setup.mart() as mart:
        before = told(mart)
    monkeypatch.setattr(portions, "RECORDS", PORTION)
    in_portions = looked()
    assert in_portions[2] > 2
    assert in_portions[1] == keys
    assert sorted(each.name for each in setup.directory.iterdir()) == files
    with setup.mart() as mart:
        assert told(mart) == before


@pytest.mark.parametrize("portion", [portions.RECORDS, PORTION], ids=["at once", "in a copy"])
@pytest.mark.parametrize("step", ["pull", "stage", "plan"])
def test_asked_to_stop_no_plan_is_made_and_nothing_is_left(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, portion: int, step: str
) -> None:
    monkeypatch.setattr(portions, "RECORDS", portion)
    monkeypatch.setattr(planning, "PORTION", 10)
    done, make = ["pull"], planning.planning.make

    def made(*given: Any) -> Any:
        done.append("plan")
        return make(*given)

    monkeypatch.setattr(planning.planning, "make", made)
    with setup.mart() as mart:
        before = told(mart)
    times = 2 if step == "plan" else 1  # the second portion comes from the open answer of the mart
    progress = Progress(say=lambda said, _: done.append(said), is_stopping=lambda: done.count(step) >= times)
    run = setup.state.start_run("plan", NOW, "")
    summary, shown = pipeline.look(setup, {}, Moment(run, NOW), progress)
    assert (shown, summary.totals) == (None, None)
    assert done.count(step) == times
    assert not setup.rehearsed_file.exists()
    with setup.mart() as mart:
        assert told(mart) == before


def test_what_is_wanted_follows_its_person_though_it_stays_the_same_and_is_no_news_then(settled: Setup) -> None:
    with settled.mart() as mart:
        before = {row["key"]: row for row in mart.arrow(mart.table("desired")).to_pylist()}
        [row] = [row for row in rows("contacts") if row["native_id"] == "1"]
        said = native("contacts", 1) | {"email": "one@home.example", "phone": "+493020099999"}
        row |= {"modified_at": NOW, "native": orjson.dumps(said).decode()}
        page = pa.Table.from_pylist([row], schema=tables.PAGE)
        mapped = mapping.apply(page, MAPPINGS["contacts"], system="hubspot", region="DE", outputs=(), now=NOW)
        ingest(mart, Group("hubspot", "contacts", Kind.PERSON, (mapped,), 1, 0, "c"), run=2, now=NOW)
        computed(settled, mart, run=2)
        people = {row["key"]: row["owner_id"] for row in mart.arrow(mart.table("membership")).to_pylist()}
        after = {row["key"]: row for row in mart.arrow(mart.table("desired")).to_pylist()}
    assert people["hubspot|contacts|0"] != people["hubspot|contacts|1"]
    assert all(row["subject"] == people[row["record"]] for row in after.values())
    same = {key for key, row in after.items() if row["value"] == before[key]["value"]}
    assert any(after[key]["subject"] != before[key]["subject"] for key in same)
    assert all(after[key]["revision"] == before[key]["revision"] for key in same)


@pytest.mark.parametrize("portion", [portions.RECORDS, PORTION], ids=["at once", "in portions"])
def test_a_task_that_a_run_was_without_makes_none_for_what_had_become_true_when_it_is_back(
    settled: Setup, monkeypatch: pytest.MonkeyPatch, portion: int
) -> None:
    quiet = lifecycle.TaskSection.model_validate({"when": "days_since('call_made') > 9", "subject": "Call"})

    def fired(how: str, run: int, days: int) -> int:
        fingerprints = settled.fingerprints | {"lifecycle": how}
        setup = replace(settled, tasks={"quiet": quiet} if how == "with" else {}, fingerprints=fingerprints)
        return computed(setup, mart, run=run, now=NOW + timedelta(days=days)).staged.fired

    monkeypatch.setattr(portions, "RECORDS", portion)
    with settled.mart() as mart:
        assert [fired("with", 2, 0), fired("without", 3, 1), fired("with", 4, 20), fired("with", 5, 21)] == [0, 0, 0, 0]
        trigger = mart.table("trigger").filter(mart.table("trigger").trigger == "quiet")
        assert mart.count(trigger.filter(trigger.subject != "")) > 0, "it became true for nobody"
        assert mart.arrow(trigger.filter(trigger.subject == ""))["is_armed"].to_pylist() == [True]
