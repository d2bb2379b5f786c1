"""A value that no system should send, in a reply of either: set aside by name, and its record goes on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import responses

from connector import mapping
from connector.model import Page, Request, Stream
from connector.sources import hubspot_objects
from connector.sources.hubspot import HUBSPOT
from connector.sources.hubspot_records import Listing
from connector.sources.hubspot_search import Horizons
from connector.sources.salesforce import STREAMS
from tests.unit.sources.hubspot_portal import page_of
from tests.unit.sources.salesforce_double import Org, records, row

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ENDLESS = "e" * 10_000 + "@acme.example"


def _held_to_the_promise(system: str, stream: Stream, pages: Sequence[Page], email: str) -> None:
    rows = pa.concat_tables([page.rows for page in pages])
    mapped = mapping.apply(rows, mapping.load(system, {})[stream.name], system=system, region="US", outputs=(), now=NOW)
    assert mapped.records["first_name"].to_pylist() == ["Eve", "Ann"]
    assert mapped.records["email"].to_pylist() == [None, "ann@acme.example"]
    [aside] = mapped.quarantined.to_pylist()
    assert aside["record"] == mapped.records["key"][0].as_py()
    assert (aside["field"], aside["reason"]) == (email, "longer than 254 characters")
    assert ENDLESS not in str(mapped.quarantined.to_pylist()) + str(mapped.identifiers.to_pylist())


@responses.activate
def test_an_endless_email_out_of_salesforce() -> None:
    [stream] = [stream for stream in STREAMS if stream.name == "contacts"]
    rows = [row("003A", FirstName="Eve", Email=ENDLESS), row("003B", FirstName="Ann", Email="ann@acme.example")]
    system = Org(lambda part: records(*rows)).connect()
    pages: Any = list(system.source.pages([Request(stream, ("FirstName", "Email"))]))
    _held_to_the_promise("salesforce", stream, pages, "email")


def test_an_endless_email_out_of_hubspot() -> None:
    [stream] = [stream for stream in HUBSPOT.streams if stream.name == "contacts"]

    class Portal:
        def listed(self, *_: Any, **__: Any) -> Listing:
            people = [("1", "Eve", ENDLESS), ("2", "Ann", "ann@acme.example")]
            stamps = {"createdAt": "2025-11-04T03:44:52.657Z", "updatedAt": "2025-11-04T03:44:52.657Z"}
            rows = [{"id": i, "properties": {"firstname": n, "email": e}} | stamps for i, n, e in people]
            return page_of({"results": rows})

        def properties(self, _: str) -> list[dict[str, str]]:
            return [{"name": "hs_merged_object_ids"}, {"name": "lastmodifieddate"}]

    horizons = Horizons(lambda: 1_800_000_000_000, 30_000, 3_600_000, 86_400_000)
    portal: Any = Portal()
    pages = list(hubspot_objects.read(portal, Request(stream, ("firstname", "email")), horizons))
    _held_to_the_promise("hubspot", stream, pages, "email")
