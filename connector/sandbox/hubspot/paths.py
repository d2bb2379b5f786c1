"""Every path that is served, in the numbered versions and in the dated one.

Source: https://developers.hubspot.com/docs/api-reference (v3 and v4 paths) and
https://developers.hubspot.com/docs/developer-tooling/platform/versioning (dated paths)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from aiohttp import web

from connector.sandbox.context import Context
from connector.sandbox.hubspot import (
    account,
    crm_paths,
    journal,
    lists,
    marketing,
    oauth,
    older_marketing,
    older_records,
    older_subscriptions,
    pipeline_api,
    subscriptions,
    webhooks,
)
from connector.sandbox.hubspot.access import JOURNAL_SCOPES
from connector.sandbox.hubspot.catalog import Catalog
from connector.sandbox.hubspot.crm_paths import any_of, area, reads, writes_properties
from connector.sandbox.hubspot.limits import FREE, Limits
from connector.sandbox.hubspot.serving import Endpoint, responder, unknown

AREAS: Mapping[str, tuple[str, ...]] = {
    "objects": ("/crm/v3/objects", "/crm/objects/2026-09"),
    "v4 records": ("/crm/v4/objects",),
    "links": ("/crm/v4/objects", "/crm/objects/2026-09"),
    "associations": ("/crm/v4/associations", "/crm/associations/2026-09"),
    "older links": ("/crm/v3/objects",),
    "older associations": ("/crm/v3/associations",),
    "properties": ("/crm/v3/properties", "/crm/properties/2026-09"),
    "first properties": ("/properties/v1",),
    "second properties": ("/properties/v2",),
    "old contacts properties": ("/contacts/v2",),
    "old companies properties": ("/companies/v2",),
    "old deals properties": ("/deals/v1",),
    "pipelines": ("/crm/v3/pipelines", "/crm/pipelines/2026-09"),
    "old pipelines": ("/crm-pipelines/v1/pipelines",),
    "old deal pipelines": ("/deals/v1/pipelines",),
    "old forms": ("/forms/v2/forms",),
    "campaigns": ("/email/public/v1/campaigns",),
    "subscription kinds": ("/email/public/v1/subscriptions",),
    "mailings": ("/marketing-emails/v1/emails/with-statistics",),
    "subscriptions timeline": ("/email/public/v1/subscriptions/timeline",),
    "workflows": ("/automation/v3/workflows",),
    "lists": ("/crm/v3/lists", "/crm/lists/2026-09"),
    "users": ("/settings/v3/users", "/settings/users/2026-09"),
    "subscriptions": ("/communication-preferences/v4", "/communication-preferences/2026-09"),
    "older subscriptions": ("/communication-preferences/v3",),
    "old companies": ("/companies/v2/companies",),
    "old deals": ("/deals/v1/deal",),
    "old contacts": ("/contacts/v1",),
    "engagements": ("/engagements/v1/engagements",),
    "old owners": ("/owners/v2/owners",),
    "owners": ("/crm/v3/owners", "/crm/owners/2026-09"),
    "schemas": ("/crm/v3/schemas", "/crm-object-schemas/v3/schemas", "/crm-object-schemas/2026-09/schemas"),
    "account": ("/account-info/v3", "/account-info/2026-09"),
    "forms": ("/marketing/v3/forms", "/marketing/forms/2026-09"),
    "submissions": ("/form-integrations/v1/submissions/forms",),
    "email events": ("/email/public/v1/events",),
    "events": ("/events/v3/events", "/events/event-analytics/2026-09", "/events/event-occurrences/2026-09"),
    "webhooks": ("/webhooks/v3",),
    "journal": ("/webhooks-journal/journal/2026-09",),
    "journal subscriptions": ("/webhooks-journal/subscriptions/2026-09",),
    "journal files": ("/webhooks-journal/files",),
    "consent": ("/oauth/authorize",),
    "access tokens": ("/oauth/v1/access-tokens",),
    "refresh tokens": ("/oauth/v1/refresh-tokens",),
    "token work": ("/oauth/v3/token", "/oauth/2026-09/token"),
    "token": ("/oauth/v1/token", "/oauth/v3/token", "/oauth/2026-09/token"),
}


def _account_endpoints() -> Iterator[Endpoint]:
    yield from area(
        "pipelines",
        [
            ("GET", "/{type}", account.list_pipelines, reads),
            ("GET", "/{type}/{id}", account.get_pipeline, reads),
            ("GET", "/{type}/{id}/stages", account.list_stages, reads),
            ("POST", "/{type}", pipeline_api.create_pipeline, writes_properties),
            ("PATCH", "/{type}/{id}", pipeline_api.update_pipeline, writes_properties),
            ("PUT", "/{type}/{id}", pipeline_api.update_pipeline, writes_properties),
            ("DELETE", "/{type}/{id}", pipeline_api.delete_pipeline, writes_properties),
            ("POST", "/{type}/{id}/stages", pipeline_api.create_stage, writes_properties),
            ("GET", "/{type}/{id}/stages/{stage}", pipeline_api.get_stage, reads),
            ("PATCH", "/{type}/{id}/stages/{stage}", pipeline_api.update_stage, writes_properties),
            ("PUT", "/{type}/{id}/stages/{stage}", pipeline_api.update_stage, writes_properties),
            ("DELETE", "/{type}/{id}/stages/{stage}", pipeline_api.delete_stage, writes_properties),
        ],
    )
    yield from area("old pipelines", [("GET", "/{type}", account.list_old_pipelines, reads)])
    users = any_of("settings.users.read")
    yield from area("users", [("GET", "", account.list_users, users), ("GET", "/{id}", account.get_user, users)])
    owners = any_of("crm.objects.owners.read")
    yield from area("owners", [("GET", "", account.list_owners, owners), ("GET", "/{id}", account.get_owner, owners)])
    anyone = any_of()
    yield from area(
        "account",
        [
            ("GET", "/details", account.details, anyone),
            ("GET", "/api-usage/daily/private-apps", account.daily_use, anyone),
        ],
    )


def _oauth_endpoints() -> Iterator[Endpoint]:
    rows = [
        ("GET", "consent", "", oauth.authorize),
        ("POST", "token", "", oauth.token),
        ("POST", "token work", "/introspect", oauth.introspect),
        ("POST", "token work", "/revoke", oauth.revoke_named),
        ("GET", "access tokens", "/{token}", oauth.describe_access_token),
        ("GET", "refresh tokens", "/{token}", oauth.describe_refresh_token),
        ("DELETE", "refresh tokens", "/{token}", oauth.revoke),
    ]
    for method, name, suffix, work in rows:
        yield Endpoint(method, name, suffix, work, bucket=FREE, is_open=True)


def _webhook_endpoints() -> Iterator[Endpoint]:
    rows = [
        ("GET", "/{app}/settings", webhooks.get_settings),
        ("PUT", "/{app}/settings", webhooks.put_settings),
        ("DELETE", "/{app}/settings", webhooks.delete_settings),
        ("GET", "/{app}/subscriptions", webhooks.list_subscriptions),
        ("POST", "/{app}/subscriptions", webhooks.create_subscription),
        ("POST", "/{app}/subscriptions/batch/update", webhooks.update_subscriptions),
        ("GET", "/{app}/subscriptions/{id}", webhooks.get_subscription),
        ("PATCH", "/{app}/subscriptions/{id}", webhooks.update_subscription),
        ("DELETE", "/{app}/subscriptions/{id}", webhooks.delete_subscription),
    ]
    for method, suffix, work in rows:
        yield Endpoint(method, "webhooks", suffix, work, bucket=FREE, is_open=True)


def _journal_endpoints() -> Iterator[Endpoint]:
    reads, sees, changes = (any_of(scope) for scope in JOURNAL_SCOPES)
    rows = [
        ("GET", "journal", "/earliest", journal.one, reads),
        ("GET", "journal", "/latest", journal.one, reads),
        ("GET", "journal", "/offset/{offset}/next", journal.one, reads),
        ("GET", "journal", "/batch/earliest/{count}", journal.batch, reads),
        ("GET", "journal", "/batch/latest/{count}", journal.batch, reads),
        ("GET", "journal", "/batch/{offset}/next/{count}", journal.batch, reads),
        ("GET", "journal subscriptions", "", journal.list_subscriptions, sees),
        ("POST", "journal subscriptions", "", journal.create_subscription, changes),
        ("GET", "journal subscriptions", "/{id}", journal.get_subscription, sees),
        ("DELETE", "journal subscriptions", "/{id}", journal.delete_subscription, changes),
    ]
    for method, name, suffix, work, scopes in rows:
        yield Endpoint(method, name, suffix, work, scopes, FREE)
    yield Endpoint("GET", "journal files", "/{key}", journal.read_file, bucket=FREE, is_open=True)


def _marketing_endpoints() -> Iterator[Endpoint]:
    forms, content = any_of("forms"), any_of("content")
    events = any_of("business-intelligence", "behavioral_events.event_definitions.read_write")
    yield from area("forms", [("GET", "", marketing.list_forms, forms), ("GET", "/{id}", marketing.get_form, forms)])
    yield from area("submissions", [("GET", "/{id}", marketing.list_submissions, forms)])
    yield from area("email events", [("GET", "", marketing.list_email_events, content)])
    yield from area(
        "events",
        [("GET", "", marketing.list_events, events), ("GET", "/event-types", marketing.list_event_types, events)],
    )


def _list_endpoints() -> Iterator[Endpoint]:
    reads, writes = any_of("crm.lists.read"), any_of("crm.lists.write")
    yield from area(
        "lists",
        [
            ("POST", "/search", lists.search, reads),
            ("POST", "", lists.create_list, writes),
            ("GET", "", lists.get_lists, reads),
            ("GET", "/object-type-id/{type}/name/{name}", lists.get_list_by_name, reads),
            ("GET", "/records/{type}/{id}/memberships", lists.lists_of_record, reads),
            ("PUT", "/{id}/update-list-name", lists.rename_list, writes),
            ("PUT", "/{id}/update-list-filters", lists.change_filters, writes),
            ("PUT", "/{id}/restore", lists.restore_list, writes),
            ("DELETE", "/{id}/memberships", lists.remove_all_members, writes),
            ("GET", "/{id}", lists.get_list, reads),
            ("DELETE", "/{id}", lists.delete_list, writes),
            ("GET", "/{id}/memberships", lists.members, reads),
            ("GET", "/{id}/memberships/join-order", lists.members, reads),
            ("PUT", "/{id}/memberships/add-and-remove", lists.change_members, writes),
            ("PUT", "/{id}/memberships/add", lists.change_members, writes),
            ("PUT", "/{id}/memberships/remove", lists.change_members, writes),
        ],
    )


def _subscription_endpoints() -> Iterator[Endpoint]:
    either = "communication_preferences.read_write"
    kinds, reads = any_of("subscriptions-definition-read", either), any_of("subscriptions-status-read", either)
    writes, many = any_of("subscriptions-status-write", either), "communication_preferences.statuses.batch"
    batch, one = "/statuses/batch", "/statuses/{email}"
    yield from area(
        "subscriptions",
        [
            ("GET", "/definitions", subscriptions.definitions, kinds),
            ("POST", f"{batch}/read", subscriptions.batch_read, any_of(f"{many}.read")),
            ("POST", f"{batch}/unsubscribe-all/read", subscriptions.batch_wide, any_of(f"{many}.read")),
            ("POST", f"{batch}/unsubscribe-all", subscriptions.batch_unsubscribe_all, any_of(f"{many}.write")),
            ("GET", one, subscriptions.statuses, reads),
            ("POST", one, subscriptions.set_status, writes),
            ("GET", f"{one}/unsubscribe-all", subscriptions.wide_status, reads),
            ("POST", f"{one}/unsubscribe-all", subscriptions.unsubscribe_all, writes),
        ],
    )


def _older_record_endpoints() -> Iterator[Endpoint]:
    companies, deals = any_of("crm.objects.companies.read"), any_of("crm.objects.deals.read")
    contacts, owners = any_of("crm.objects.contacts.read"), any_of("crm.objects.owners.read")
    rows = [
        ("old companies", "/paged", older_records.list_companies, companies),
        ("old companies", "/recent/modified", older_records.recent_companies, companies),
        ("old companies", "/{id:\\d+}", older_records.get_company, companies),
        ("old deals", "/paged", older_records.list_deals, deals),
        ("old deals", "/recent/modified", older_records.recent_deals, deals),
        ("old deals", "/{id:\\d+}", older_records.get_deal, deals),
        ("old contacts", "/lists/all/contacts/all", older_records.list_contacts, contacts),
        ("old contacts", "/lists/recently_updated/contacts/recent", older_records.recent_contacts, contacts),
        ("old contacts", "/contact/vid/{id}/profile", older_records.get_contact, contacts),
        ("old contacts", "/contact/email/{email}/profile", older_records.get_contact_by_email, contacts),
        ("engagements", "/paged", older_records.list_engagements, contacts),
        ("engagements", "/recent/modified", older_records.recent_engagements, contacts),
        ("engagements", "/modified/after", older_records.engagements_after, contacts),
        ("engagements", "/{id:\\d+}", older_records.get_engagement, contacts),
        ("old owners", "", older_records.list_owners, owners),
        ("old deal pipelines", "", older_marketing.list_deal_pipelines, deals),
        ("old forms", "", older_marketing.list_forms, any_of("forms")),
        ("old forms", "/{id}", older_marketing.get_form, any_of("forms")),
        ("campaigns", "", older_marketing.list_campaigns, any_of("content")),
        ("campaigns", "/by-id", older_marketing.list_campaigns, any_of("content")),
        ("campaigns", "/{id:\\d+}", older_marketing.get_campaign, any_of("content")),
        ("subscription kinds", "", older_marketing.list_subscription_kinds, any_of("content")),
        ("mailings", "", older_marketing.list_mailings, any_of("content")),
        ("subscriptions timeline", "", older_marketing.subscriptions_timeline, any_of("content")),
        ("workflows", "", older_marketing.list_workflows, any_of("automation")),
    ]
    for name, suffix, work, scopes in rows:
        yield Endpoint("GET", name, suffix, work, scopes)


def _older_subscription_endpoints() -> Iterator[Endpoint]:
    either = "communication_preferences.read_write"
    writes = any_of("communication_preferences.write", "subscriptions-status-write", either)
    kinds = any_of("communication_preferences.read", "subscriptions-definition-read", either)
    reads = any_of("communication_preferences.read", "subscriptions-status-read", either)
    yield from area(
        "older subscriptions",
        [
            ("GET", "/definitions", older_subscriptions.definitions, kinds),
            ("GET", "/status/email/{email}", older_subscriptions.statuses, reads),
            ("POST", "/subscribe", older_subscriptions.subscribe, writes),
            ("POST", "/unsubscribe", older_subscriptions.unsubscribe, writes),
        ],
    )


GROUPS: tuple[Callable[[], Iterator[Endpoint]], ...] = (
    *crm_paths.GROUPS,
    _account_endpoints,
    _oauth_endpoints,
    _webhook_endpoints,
    _journal_endpoints,
    _marketing_endpoints,
    _list_endpoints,
    _subscription_endpoints,
    _older_subscription_endpoints,
    _older_record_endpoints,
)


def _prefixes(area: str) -> list[str]:
    """The paths of an area; the two dated versions have the same ones."""
    given = AREAS[area]
    older = [each.replace("/2026-09", "/2026-03") for each in given if "/2026-09" in each]
    return [*given, *(each for each in older if each not in given)]


def routes(context: Context, catalog: Catalog) -> list[web.RouteDef]:
    """All routes, each with and without a slash at its end."""
    limits = Limits()
    made: list[web.RouteDef] = []
    for group in GROUPS:
        for endpoint in group():
            answer = responder(context, catalog, limits, endpoint)
            for prefix in _prefixes(endpoint.area):
                path = f"{prefix}{endpoint.suffix}"
                made += [web.route(endpoint.method, path, answer), web.route(endpoint.method, f"{path}/", answer)]
    return [*made, web.route("*", "/{rest:.*}", unknown)]
