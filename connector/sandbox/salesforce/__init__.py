"""A Salesforce-compatible REST API over the sandbox's database.

It imitates what Salesforce's REST API, Bulk API 2.0, SOQL, Metadata REST and object reference guides describe
(developer.salesforce.com) and refuses what they say is refused. SOAP and Bulk API 1.0 are not part of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from connector.sandbox.context import Context
from connector.sandbox.salesforce import acting, bulk_one, jobs, recycling, seeding, serving
from connector.sandbox.salesforce.org import org_of

__all__ = ["act", "counts", "create_tables", "load", "routes"]


def create_tables(context: Context) -> None:
    """Make the tables of the org where they are missing."""
    jobs.create_tables(org_of(context))
    bulk_one.create_tables(org_of(context))


def load(context: Context, objects: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Fill an empty org: records by object with native field names (`{"Lead": [{"Id": ..., "LastName": ...}]}`).

    Instants are aware datetimes or ISO 8601 text. What every org has (users, permissions) is added.
    """
    org = org_of(context)
    seeding.load_rows(org, objects)
    seeding.seed(org)
    recycling.begin(org)


def routes(context: Context) -> list[web.RouteDef]:
    """The routes of the API."""
    return serving.routes(org_of(context))


def act(context: Context, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Something a person does in Salesforce; see `acting.act`."""
    return acting.act(org_of(context), payload)


def counts(context: Context) -> dict[str, int]:
    """Live records by object."""
    org = org_of(context)
    return {
        one.name: org.database.execute(f"SELECT count(*) AS n FROM {one.table} WHERE IsDeleted = 0").fetchone()["n"]
        for one in org.schema.objects.values()
    }
