"""A HubSpot-compatible API: CRM records and links, properties, owners, pipelines, forms, e-mail and behavioural events.

It answers with HubSpot's paths (numbered and dated), bodies, error codes, headers and limits.
Source: https://developers.hubspot.com/docs/api-reference
"""

from __future__ import annotations

from aiohttp import web

from connector.sandbox.context import Context
from connector.sandbox.database import transaction
from connector.sandbox.hubspot import (
    access,
    account,
    catalog,
    journal,
    linking,
    lists,
    marketing,
    oauth,
    paths,
    portal_types,
    records,
    subscriptions,
    webhooks,
)
from connector.sandbox.hubspot.access import PORTAL_ID, issue_private_token
from connector.sandbox.hubspot.delivering import Delivery
from connector.sandbox.hubspot.filters import register_functions
from connector.sandbox.hubspot.property_api import allow_unique_on_activities
from connector.sandbox.hubspot.prospect import act
from connector.sandbox.hubspot.seed import load

__all__ = [
    "PORTAL_ID",
    "act",
    "allow_unique_on_activities",
    "counts",
    "create_tables",
    "issue_private_token",
    "load",
    "routes",
]


def create_tables(context: Context) -> None:
    """Make what is missing: tables, and in a new portal the default properties, groups and pipelines."""
    database = context.database
    for script in (
        access.TABLES,
        account.TABLES,
        catalog.TABLES,
        journal.TABLES,
        linking.TABLES,
        lists.TABLES,
        marketing.TABLES,
        oauth.TABLES,
        portal_types.TABLES,
        subscriptions.TABLES,
        webhooks.TABLES,
    ):
        database.executescript(script)
    records.create_tables(database)
    register_functions(database)
    if database.execute("SELECT count(*) FROM hubspot_property").fetchone()[0] == 0:
        with transaction(database):
            catalog.default_catalog(database, catalog.catalog_of(context))
            for name, bodies in account.default_pipelines().items():
                account.save_pipelines(database, name, bodies)
    catalog.catalog_of(context).reload(database)


def routes(context: Context) -> list[web.RouteDef]:
    """The aiohttp routes of the API; call `create_tables` before. From now on webhooks are sent."""
    webhooks.webhooks_of(context).on_event = Delivery(context).wake
    return paths.routes(context, catalog.catalog_of(context))


def counts(context: Context) -> dict[str, int]:
    """Live records by object type."""
    return {
        each.name: context.database.execute(f"SELECT count(*) FROM {each.table} WHERE archived_ms IS NULL").fetchone()[
            0
        ]
        for each in catalog.catalog_of(context).types.all
    }
