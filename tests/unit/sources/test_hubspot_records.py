"""A page of records: what reading needs is typed, values stay as they were sent, and what is no record is told."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from connector.sources.hubspot_records import Listing, extended, listing, told

STAMPS = '"createdAt": "2025-11-04T03:44:52.657Z", "updatedAt": 1762229092657'


def page(*records: str, more: str = "") -> Listing:
    return listing(f'{{"results": [{", ".join(records)}]{more}}}'.encode())


def record(number: int, properties: str = "{}") -> str:
    return f'{{"id": "{number}", "properties": {properties}, {STAMPS}}}'


def test_properties_stay_the_bytes_that_were_sent() -> None:
    sent = '{ "city" : "K\\u00f6ln", "name": "Zoë", "hs_note": null }'
    [found] = page(record(7, sent)).records
    assert bytes(found.properties).decode() == sent
    assert (found.id, found.created_at, found.updated_at) == ("7", "2025-11-04T03:44:52.657Z", 1762229092657)


def test_where_the_next_page_begins_and_how_many_there_are() -> None:
    found = page(record(1), more=', "total": 9, "paging": {"next": {"after": "52", "link": "x"}}')
    assert (found.after, found.total) == ("52", 9)
    for last in ("", ', "paging": null', ', "paging": {}', ', "paging": {"next": null}', ', "paging": {"next": {}}'):
        assert page(record(1), more=last).after is None
    assert page(more=', "paging": {"next": {"after": 100}}').after == "100"


@pytest.mark.parametrize(
    "odd",
    [
        "null", "17", '{"properties": {}}', '{"id": "3"}', '{"id": 3, "properties": {}}', '{"id": "", "properties": {}}',
        '{"id": "3", "properties": null}', '{"id": "3", "properties": []}',
    ],
)  # fmt: skip
def test_what_is_no_record_is_told_and_the_others_are_kept(odd: str) -> None:
    found = page(record(1), odd, record(2), more=', "paging": {"next": {"after": "2"}}')
    assert [each.id for each in found.records] == ["1", "2"]
    assert (len(found.malformed), found.after) == (1, "2")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"results": 3}', b'{"results": [{"id": "1", "properties": {"a": "\xff"}}]}',
     b'{"results": [{"id": "1", "properties": {"a": tru}}]}', b'{"results": [{"id": "1", "properties": {"a": 1'],
)  # fmt: skip
def test_what_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        listing(body)


@pytest.mark.parametrize(
    ("sent", "after"), [("{}", {}), ("{ }", {}), ('{"a": 1}', {"a": 1}), ('{"a": {}\n}', {"a": {}})]
)
def test_more_properties_are_added_to_those_that_were_sent(sent: str, after: dict[str, Any]) -> None:
    [found] = page(record(1, sent)).records
    more = {"associations.companies": ["5", "6"], "associations.deals": []}
    assert orjson.loads(extended(found, more)) == after | more


def test_the_last_change_and_what_was_absorbed_are_told_for_each_record() -> None:
    told_so = (
        '{"lastmodifieddate": "x", "hs_merged_object_ids": "7;8"}',
        '{"lastmodifieddate": 5, "other": [{}]}',
        "{}",
    )
    found = page(*(record(number, sent) for number, sent in enumerate(told_so)))
    by_one, by_other = (told(found.records, name) for name in ("lastmodifieddate", "hs_lastmodifieddate"))
    assert [(each.modified, each.merged) for each in by_one] == [("x", "7;8"), (5, None), (None, None)]
    assert [(each.modified, each.merged) for each in by_other] == [(None, "7;8"), (None, None), (None, None)]
    assert told([], "lastmodifieddate") == []
