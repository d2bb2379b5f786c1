"""What reading Salesforce must not miss, against an imitated org of one's own: formulas, hidden fields, very wide objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from connector import clock
from connector.model import Page, Request, System
from connector.sources.salesforce import STREAMS, SalesforceOptions, connect
from connector.sources.salesforce_rest import Answer, Described, Org
from tests.unit.sandbox.salesforce_org import CLIENT, OrgClient, custom_object, org, permission_set

CONTACTS = next(stream for stream in STREAMS if stream.name == "contacts")
MAILS = next(stream for stream in STREAMS if stream.name == "email_messages")
#: An address (with its headers) may be so long; a query in a composite's body is longer here.
MAX_ADDRESS_BYTES = 16_384
WIDE = tuple(f"A_field_with_a_name_of_forty_letter_{number:03}__c" for number in range(400))


@pytest.fixture
def client() -> Iterator[OrgClient]:
    with org() as made:
        yield made


def connected(client: OrgClient, **more: Any) -> System:
    options: dict[str, Any] = {"kind": "salesforce", "url": client.url, "client_id": CLIENT[0], **more}
    return connect("salesforce", SalesforceOptions(**options, client_secret=SecretStr(CLIENT[1])))


def read(system: System, fields: tuple[str, ...], cursor: str | None = None) -> tuple[dict[str, dict[str, Any]], Page]:
    """The records that a pull of contacts gives, by id, and its last page."""
    pages = [page for page in system.source.pages([Request(CONTACTS, fields, cursor)]) if isinstance(page, Page)]
    rows = [row for page in pages for row in page.rows.to_pylist()]
    return {row["native_id"]: orjson.loads(row["native"]) for row in rows}, pages[-1]


def deploy(client: OrgClient, *fields: str) -> None:
    names = [each.partition("<fullName>")[2].partition("</fullName>")[0] for each in fields]
    files = {
        "objects/Contact.object": custom_object("".join(fields)),
        "permissionsets/Wide.permissionset": permission_set(*(f"Contact.{name}" for name in names)),
    }
    assert client.deploy(files)["success"]
    client.assign("Wide")


@pytest.fixture
def pass_time(client: OrgClient, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the org's clock, and ours with it."""

    def move(seconds: float) -> None:
        client.admin("POST", "/clock", {"shift_s": seconds})
        now = clock.now
        monkeypatch.setattr(clock, "now", lambda: now() + timedelta(seconds=seconds))

    return move


def test_a_formula_that_changed_without_a_stamp_comes_with_the_next_reading_of_everything(
    client: OrgClient, pass_time: Callable[[float], None]
) -> None:
    formula = "<type>Text</type><length>40</length><formula>Account.Industry</formula>"
    deploy(client, f"<fields><fullName>Branch__c</fullName><label>Branch</label>{formula}</fields>")
    company = client.create("Account", Name="Acme", Industry="Energy")
    person = client.create("Contact", LastName="Doe", AccountId=company)
    pass_time(1_200)
    rows, first = read(connected(client), ("Branch__c",))
    assert rows[person]["Branch__c"] == "Energy"
    pass_time(1_200)
    client.call("PATCH", f"/sobjects/Account/{company}", {"Industry": "Banking"}, 204)
    rows, second = read(connected(client), ("Branch__c",), first.cursor)
    assert rows == {}, "its stamp does not move, and a day has not passed"
    rows, _ = read(connected(client, formulas_every=timedelta(minutes=5)), ("Branch__c",), second.cursor)
    assert rows[person]["Branch__c"] == "Banking"


def test_a_hidden_field_is_named_and_the_rest_is_read_and_all_of_it_again_once_it_is_shown(
    client: OrgClient, pass_time: Callable[[float], None]
) -> None:
    person = client.create("Contact", LastName="Doe", Title="CEO")
    pass_time(1_200)
    hide = {"system": "salesforce", "action": "field_security", "field": "Contact.Title"}
    client.admin("POST", "/act", {**hide, "access": "none"})
    rows, page = read(connected(client), ("LastName", "Title"))
    assert (page.hidden, rows[person]["LastName"], "Title" in rows[person]) == (("Title",), "Doe", False)
    pass_time(1_200)
    client.admin("POST", "/act", {**hide, "access": "edit"})
    rows, page = read(connected(client), ("LastName", "Title"), page.cursor)
    assert (page.hidden, rows[person]["Title"]) == ((), "CEO")


def test_a_description_is_sent_anew_only_when_a_field_or_a_permission_changed(
    client: OrgClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses: list[int] = []
    understand = Org._as_described

    def heard(self: Org, object_type: str, answer: Answer) -> Described | None:
        statuses.append(answer.status)
        return understand(self, object_type, answer)

    monkeypatch.setattr(Org, "_as_described", heard)

    def describe() -> set[str]:
        return set(connected(client).source.describe(["Contact"])["Contact"].fields)

    first = describe()
    assert describe() == first
    made = "<fields><fullName>Room__c</fullName><label>Room</label><type>Text</type><length>9</length></fields>"
    deploy(client, made)
    assert describe() - first == {"Room__c"}
    assert statuses == [200, 304, 200]


def test_a_query_too_long_for_an_address_goes_in_a_body(client: OrgClient) -> None:
    text = "<type>Text</type><length>9</length>"
    deploy(client, *(f"<fields><fullName>{name}</fullName><label>{name}</label>{text}</fields>" for name in WIDE))
    person = client.create("Contact", LastName="Doe", **dict.fromkeys(WIDE, "x"))
    soql = f"SELECT {', '.join(WIDE)} FROM Contact"
    assert len(soql) > MAX_ADDRESS_BYTES
    assert client.raw("GET", "/query", params={"q": soql}).status_code == 414
    rows, page = read(connected(client), WIDE)
    assert ({rows[person][name] for name in WIDE}, page.hidden) == ({"x"}, ())


def test_a_hidden_field_of_the_mail_itself_is_named_and_whom_it_names_is_read(client: OrgClient) -> None:
    person = client.create("Contact", LastName="Doe")
    mail = client.create("EmailMessage", Subject="Secret", Incoming=True, Status="1")
    named = client.create("EmailMessageRelation", EmailMessageId=mail, RelationId=person, RelationType="FromAddress")
    hide = {"system": "salesforce", "action": "field_security", "field": "EmailMessage.Subject", "access": "none"}
    client.admin("POST", "/act", hide)
    request = Request(MAILS, ("RelationId", "EmailMessage.Subject", "EmailMessage.Incoming"))
    [page] = [page for page in connected(client).source.pages([request]) if isinstance(page, Page)]
    [row] = page.rows.to_pylist()
    assert (row["native_id"], page.hidden) == (named, ("EmailMessage.Subject",))
    assert orjson.loads(row["native"])["EmailMessage.Incoming"] is True


def test_of_streams_that_are_only_asked_for_news_nothing_is_missed_by_reading_every_second(
    client: OrgClient, pass_time: Callable[[float], None]
) -> None:
    """`/updated` leaves out the second that is under way, in which a record is made here just before each read."""
    names = ("leads", "contacts", "accounts", "tasks", "events", "opportunities", "campaigns", "cases")
    streams = {stream.name: stream for stream in STREAMS if stream.name in names}
    cursors: dict[str, str] = {}

    def pull() -> set[str]:
        requests = [Request(stream, ("Name",) if name == "campaigns" else (), cursors.get(name))
                    for name, stream in streams.items()]  # fmt: skip
        seen: set[str] = set()
        for page in connected(client).source.pages(requests):
            assert isinstance(page, Page), page
            cursors[page.stream.name] = page.cursor
            seen |= {row["native_id"] for row in page.rows.to_pylist()}
        return seen

    pull()
    pass_time(1_200)
    pull()
    made, seen = set(), set()
    for number in range(6):
        pass_time(1 if number % 2 else 45)
        made.add(client.create("Campaign", Name=f"Fair {number}"))
        made.add(client.create("Case", Subject=f"Broken {number}"))
        seen |= pull()
    pass_time(2)
    assert made <= seen | pull()
    pass_time(1_200)
    pull()
    since = client.admin("GET", "/calls")["last_id"]
    assert pull() == set()
    asked = client.admin("GET", f"/calls?since={since}&list=1")
    assert [row["cost"] for row in asked if row["cost"]] == [1], "quiet streams are only asked"


def test_after_a_pause_longer_than_deletions_are_told_those_of_the_last_days_are_asked_for_all_the_same(
    client: OrgClient, pass_time: Callable[[float], None]
) -> None:
    members = next(stream for stream in STREAMS if stream.name == "campaign_members")
    campaign = client.create("Campaign", Name="Fair")
    member = client.create("CampaignMember", CampaignId=campaign, LeadId=client.lead())
    (page,) = connected(client).source.pages([Request(members, ("Status",), None)])
    assert isinstance(page, Page)
    pass_time(20 * 86_400)
    client.sign_in()
    client.call("DELETE", f"/sobjects/CampaignMember/{member}", None, 204)
    pass_time(120)
    told = list(connected(client).source.pages([Request(members, ("Status",), page.cursor)]))
    rows = [row for each in told if isinstance(each, Page) for row in each.rows.to_pylist()]
    assert [(row["native_id"], row["is_deleted"]) for row in rows] == [(member, True)]
