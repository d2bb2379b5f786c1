"""Reading through Bulk API 2.0 against the sandbox: the same rows as by REST, and going on after a crash."""

from __future__ import annotations

from itertools import islice

import orjson
import pytest

from connector import tables
from connector.model import Page, Request
from connector.sources.salesforce import STREAMS
from tests.contract.salesforce_bench import BULK_PAGE_ROWS, DATA, OtherUser, salesforce_bench

CONTACTS = next(stream for stream in STREAMS if stream.name == "contacts")
MAILS = next(stream for stream in STREAMS if stream.name == "email_messages")
FIELDS = ("LastName", "Account.Name", "HasOptedOutOfEmail", "Birthdate")
ODD = ('A "quoted", name', "back\\slash", "two\nlines\tand a tab", "naïve — 日本", "'#N/A")


@pytest.fixture
def urls(sandbox: dict[str, str]) -> str:
    return sandbox["salesforce"]


def rows(pages: list[Page]) -> dict[str, dict[str, object]]:
    found = [row for page in pages for row in page.rows.select(tables.PAGE.names).to_pylist()]
    assert len({row["native_id"] for row in found}) == len(found), "a row came twice"
    return {row["native_id"]: row | {"native": orjson.loads(row["native"])} for row in found}


def only_pages(bench: object, request: Request) -> list[Page]:
    items = list(bench.system.source.pages([request]))  # type: ignore[attr-defined]
    assert all(isinstance(item, Page) for item in items), items
    return items


def test_a_record_says_the_same_by_bulk_and_by_rest(urls: str) -> None:
    rest, bulk = salesforce_bench(urls), salesforce_bench(urls, bulk_from=1)
    rest.create(ODD)
    request = Request(CONTACTS, FIELDS)
    assert rows(only_pages(bulk, request)) == rows(only_pages(rest, request))


def test_whom_a_mail_names_says_the_same_by_bulk_and_by_rest(urls: str) -> None:
    rest, bulk = salesforce_bench(urls), salesforce_bench(urls, bulk_from=1)
    other = OtherUser(urls)
    (person,) = rest.create([rest.fresh("mailed")])
    for is_incoming, at in ((True, "2026-11-01T10:00:00Z"), (False, None)):
        mail = {"Subject": 'A "quoted", one', "Incoming": is_incoming, "Status": "3", "MessageDate": at}
        made = other.call("POST", f"{DATA}/sobjects/EmailMessage", mail)["id"]
        named = {"EmailMessageId": made, "RelationId": person, "RelationType": "ToAddress"}
        other.call("POST", f"{DATA}/sobjects/EmailMessageRelation", named)
    names = ("IsDeleted", "ActivityId", "Incoming", "Status", "MessageDate", "Subject")
    request = Request(MAILS, ("RelationId", *(f"EmailMessage.{name}" for name in names)))
    read = only_pages(bulk, request)
    assert any("job" in orjson.loads(page.cursor or "") for page in read)
    assert rows(read) == rows(only_pages(rest, request))


def test_a_back_fill_that_was_killed_goes_on_at_its_locator_and_makes_no_second_job(urls: str) -> None:
    bench = salesforce_bench(urls, bulk_from=1)
    bench.create([bench.fresh("resumed") for _ in range(3 * BULK_PAGE_ROWS)])
    whole = set(rows(only_pages(bench, Request(CONTACTS, FIELDS))))
    before = list(islice(bench.system.source.pages([Request(CONTACTS, FIELDS)]), 3))
    kept = [item for item in before if isinstance(item, Page)]
    assert kept[0].rows.num_rows == 0, "the job is to be kept before there is a result"
    place = orjson.loads(kept[-1].cursor or "")["job"]
    again = salesforce_bench(urls, bulk_from=1)
    rest = only_pages(again, Request(CONTACTS, FIELDS, kept[-1].cursor))
    assert all(orjson.loads(page.cursor or "").get("job", place)["job"] == place["job"] for page in rest)
    assert not set(rows(kept)) & set(rows(rest))
    assert set(rows(kept)) | set(rows(rest)) == whole
    assert "job" not in orjson.loads(rest[-1].cursor or "")


def test_a_job_that_is_gone_is_made_anew(urls: str) -> None:
    bench = salesforce_bench(urls, bulk_from=1)
    bench.create([bench.fresh("lost") for _ in range(5)])
    cursor = only_pages(bench, Request(CONTACTS, FIELDS))[0].cursor or ""
    gone = orjson.loads(cursor)
    gone["job"]["job"] = "750QQ0000000000YAX"
    read = only_pages(bench, Request(CONTACTS, FIELDS, orjson.dumps(gone).decode()))
    assert read[-1].done
    assert set(rows(read)) == set(rows(only_pages(salesforce_bench(urls), Request(CONTACTS, FIELDS))))
