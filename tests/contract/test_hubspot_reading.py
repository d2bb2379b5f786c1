"""What reading HubSpot must not miss, against an imitated portal of one's own: crowds, merges, erasures, silent changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal

import orjson
import pyarrow as pa
import pytest
from pydantic import SecretStr

from connector.model import Page, Request, System
from connector.sources.hubspot import HUBSPOT, HubSpotOptions, connect
from tests.contract.hubspot_bench import QUICK
from tests.unit.sandbox.hubspot_portal import TOKEN, Portal, portal

Version = Literal["v3", "2026-09"]
CROWD, PAGE_ROWS = 25_000, 200
CONTACTS = next(stream for stream in HUBSPOT.streams if stream.name == "contacts")
FIELDS = ("email", "hs_additional_emails", "lastname", "hs_analytics_num_page_views", "associations.companies")
CALM_S = 5.0


@pytest.fixture
def hub() -> Iterator[Portal]:
    with portal() as made:
        yield made


@pytest.fixture(params=["v3", "2026-09"])
def version(request: pytest.FixtureRequest) -> Version:
    given: Version = request.param
    return given


def connected(hub: Portal, version: Version = "v3", **more: Any) -> System:
    options: dict[str, Any] = {**QUICK, "overlap": timedelta(0), **more}
    return connect("hubspot", HubSpotOptions(token=SecretStr(TOKEN), url=hub.url, api_version=version, **options))


def read(
    system: System, cursor: str | None = None, held: tuple[str, ...] = (), *, is_missed: bool = False
) -> tuple[list[dict[str, Any]], str]:
    """The rows that a pull of contacts gives, and the cursor behind them."""
    request = Request(CONTACTS, FIELDS, cursor, held=lambda: pa.array(held, pa.string()), is_missed=is_missed)
    pages = list(system.source.pages([request]))
    assert all(isinstance(page, Page) for page in pages), pages
    rows = [row for page in pages if isinstance(page, Page) for row in page.rows.to_pylist()]
    last = pages[-1]
    assert isinstance(last, Page)
    return [row | {"native": orjson.loads(row["native"])} for row in rows], str(last.cursor)


def gone(rows: list[dict[str, Any]]) -> dict[str, str | None]:
    """Record -> its survivor, of those that are not there any more."""
    return {row["native_id"]: row["merged_into"] for row in rows if row["is_deleted"]}


def act(hub: Portal, action: str, **more: Any) -> Any:
    return hub.call("POST", "/_sandbox/act", {"system": "hubspot", "action": action, **more}, 200)


def later(hub: Portal) -> None:
    """The next pull begins behind what the last one saw."""
    hub.call("POST", "/_sandbox/clock", {"shift_s": CALM_S}, 200)


def test_twenty_five_thousand_records_of_one_instant_come_once_each_at_the_price_of_their_pages(hub: Portal) -> None:
    system = connected(hub)
    _, cursor = read(system)
    later(hub)
    made = act(hub, "import", objects="contacts", count=CROWD, properties={"lastname": "Crowd {n}"})
    before = system.calls()
    rows, cursor = read(system, cursor)
    assert len(rows) == len({row["native_id"] for row in rows}) == made["count"]
    assert {row["modified_at"] for row in rows} == {rows[0]["modified_at"]}
    pages = CROWD // PAGE_ROWS
    associations = CROWD // 1_000
    assert system.calls() - before <= pages + associations + 1
    later(hub)
    assert read(system, cursor)[0] == []


def test_a_merge_leads_from_both_records_to_the_new_one_which_keeps_every_address(
    hub: Portal, version: Version
) -> None:
    system = connected(hub, version)
    first, second = hub.create(email="ann@x.com"), hub.create(email="ann@private.com")
    _, cursor = read(system)
    later(hub)
    body = {"primaryObjectId": first, "objectIdToMerge": second}
    survivor = hub.call("POST", "/crm/v3/objects/contacts/merge", body, 200)["id"]
    rows, _ = read(system, cursor)
    assert gone(rows) == {first: survivor, second: survivor}
    [living] = [row["native"] for row in rows if not row["is_deleted"]]
    assert {living["email"], living["hs_additional_emails"]} == {"ann@x.com", "ann@private.com"}


def test_that_a_record_was_archived_is_told_at_once_where_one_was_missed(hub: Portal) -> None:
    archived = hub.create(email="missed@x.com")
    system = connected(hub)
    _, cursor = read(system)
    later(hub)
    hub.call("DELETE", f"/crm/v3/objects/contacts/{archived}", status=204)
    rows, cursor = read(system, cursor, held=(archived,))
    assert gone(rows) == {}, "they are looked for once an hour"
    rows, _ = read(system, cursor, held=(archived,), is_missed=True)
    assert gone(rows) == {archived: None}


def test_an_archived_record_and_an_erased_one_are_told_to_be_gone(hub: Portal, version: Version) -> None:
    archived, erased, stays = (hub.create(email=f"{name}@x.com") for name in ("archived", "erased", "stays"))
    system = connected(hub, version, deletes_every=timedelta(0), refresh_every=timedelta(0))
    _, cursor = read(system)
    later(hub)
    hub.call("DELETE", f"/crm/v3/objects/contacts/{archived}", status=204)
    hub.call("POST", "/crm/v3/objects/contacts/gdpr-delete", {"objectId": erased}, 204)
    rows, _ = read(system, cursor, held=(archived, erased, stays))
    assert gone(rows) == {archived: None, erased: None}


def test_what_moves_no_modified_date_comes_when_everything_is_listed_anew(hub: Portal, version: Version) -> None:
    person, company = hub.create(email="ann@x.com"), hub.create("companies", name="Acme")
    later(hub)
    _, cursor = read(connected(hub, version))
    later(hub)
    act(hub, "set_hidden", objects="contacts", id=person, properties={"hs_analytics_num_page_views": "42"})
    link = {"inputs": [{"from": {"id": person}, "to": {"id": company}}]}
    hub.call("POST", "/crm/v4/associations/contacts/companies/batch/associate/default", link, 200)
    rows, cursor = read(connected(hub, version), cursor)
    assert rows == []
    [row] = read(connected(hub, version, refresh_every=timedelta(0)), cursor, held=(person,))[0]
    assert row["native"]["hs_analytics_num_page_views"] == "42"
    assert row["native"]["associations.companies"] == [company]


def test_the_version_of_the_api_is_one_option_and_every_call_goes_by_it(hub: Portal, version: Version) -> None:
    hub.create(email="ann@x.com")
    since = hub.call("GET", "/_sandbox/calls")["last_id"]
    rows, cursor = read(connected(hub, version))
    later(hub)
    read(connected(hub, version), cursor)
    assert len(rows) == 1
    paths = [each["path"] for each in hub.call("GET", f"/_sandbox/calls?since={since}&list")]
    assert paths
    assert all(("2026-09" in path) == (version == "2026-09") for path in paths), paths
