"""HubSpot's own Python client works against the imitated portal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hubspot import HubSpot

from tests.unit.sandbox.hubspot_portal import TOKEN, Portal, portal


@pytest.fixture(name="hub")
def _hub() -> Iterator[Portal]:
    with portal(world={"owners": [{"id": "1", "email": "o@x.com"}]}) as running:
        yield running


def test_the_client_writes_reads_searches_and_links(hub: Portal) -> None:
    client = HubSpot(access_token=TOKEN, host=hub.url)
    contacts, companies = client.crm.contacts, client.crm.companies
    person = contacts.basic_api.create({"properties": {"email": "A@x.com", "firstname": "Ann"}})
    company = companies.basic_api.create({"properties": {"name": "Acme", "domain": "x.com"}})
    assert contacts.basic_api.get_page(limit=10).results[0].properties["email"] == "a@x.com"
    updated = contacts.batch_api.update({"inputs": [{"id": person.id, "properties": {"phone": "1"}}]})
    assert updated.results[0].properties["phone"] == "1"
    found = contacts.search_api.do_search({"filterGroups": [], "limit": 200})
    assert (found.total, found.results[0].id) == (1, person.id)
    links = client.crm.associations.v4.batch_api
    links.create_default("contacts", "companies", {"inputs": [{"_from": {"id": person.id}, "to": {"id": company.id}}]})


def test_the_client_makes_tasks_properties_and_reads_the_account(hub: Portal) -> None:
    client = HubSpot(access_token=TOKEN, host=hub.url)
    tasks = client.crm.objects.tasks.batch_api
    made = tasks.create({"inputs": [{"properties": {"hs_timestamp": "0", "hs_task_subject": "Call"}}]})
    assert made.results[0].properties["hs_task_subject"] == "Call"
    given = {"name": "mine", "label": "Mine", "type": "string", "fieldType": "text", "groupName": "contactinformation"}
    assert client.crm.properties.core_api.create("contacts", given).name == "mine"
    assert len(client.crm.properties.core_api.get_all("contacts").results) > 90
    assert client.crm.owners.owners_api.get_page().results[0].email == "o@x.com"
    assert client.crm.pipelines.pipelines_api.get_all("deals").results[0].id == "default"


def test_the_client_makes_changes_and_removes_pipelines_and_stages(hub: Portal) -> None:
    pipelines, stages = (
        getattr(HubSpot(access_token=TOKEN, host=hub.url).crm.pipelines, name)
        for name in ("pipelines_api", "pipeline_stages_api")
    )
    first = {"label": "In", "displayOrder": 0, "metadata": {"probability": "0.5"}}
    made = pipelines.create("deals", {"label": "Renewals", "displayOrder": 1, "stages": [first]})
    assert pipelines.update("deals", made.id, {"label": "Renewal"}).label == "Renewal"
    won = stages.create("deals", made.id, {"label": "Won", "displayOrder": 1, "metadata": {"probability": "1.0"}})
    assert won.metadata == {"probability": "1.0", "isClosed": "true"}
    stages.update("deals", made.id, won.id, {"label": "Renewed", "metadata": {"probability": "0.9"}})
    assert stages.get_by_id("deals", made.id, won.id).label == "Renewed"
    deal = hub.create("deals", dealname="D", pipeline=made.id, dealstage=won.id)
    path = f"/crm/v3/pipelines/deals/{made.id}"
    assert hub.call("DELETE", f"{path}?validateReferencesBeforeDelete=true", status=400)["context"]["id"] == [deal]
    stages.archive("deals", made.id, won.id)
    assert [each.label for each in stages.get_all("deals", made.id).results] == ["In"]
    pipelines.archive("deals", made.id)
    hub.call("GET", path, status=404)
    hub.call("POST", "/crm/v3/pipelines/deals", {"label": "No stages", "displayOrder": 1, "stages": []}, 400)
    hub.call("POST", "/crm/v3/pipelines/deals/default/stages", {"label": "S", "displayOrder": 9, "metadata": {}}, 400)


def test_the_client_reads_and_sets_preferences_by_the_older_api(hub: Portal) -> None:
    record_id = hub.create(email="ann@x.com")
    preferences = HubSpot(access_token=TOKEN, host=hub.url).communication_preferences
    one = preferences.definition_api.get_page().subscription_definitions[0].id
    given = {"emailAddress": "Ann@x.com", "subscriptionId": one}
    assert preferences.status_api.subscribe(given).status == "SUBSCRIBED"
    assert preferences.status_api.unsubscribe(given).status == "NOT_SUBSCRIBED"
    refused = hub.call("POST", "/communication-preferences/v3/unsubscribe", given, 400)
    assert "already" in refused["message"]
    hub.call("POST", "/communication-preferences/v3/subscribe", given, 400)
    basis = {"legalBasis": "CONSENT_WITH_NOTICE", "legalBasisExplanation": "Asked for it."}
    assert preferences.status_api.subscribe({**given, **basis}).legal_basis == "CONSENT_WITH_NOTICE"
    hub.call("POST", "/communication-preferences/v4/statuses/ann@x.com/unsubscribe-all?channel=EMAIL", {}, 200)
    told = preferences.status_api.get_email_status("ann@x.com")
    assert told.recipient == "ann@x.com"
    assert {(each.status, each.source_of_status) for each in told.subscription_statuses} == {
        ("NOT_SUBSCRIBED", "PORTAL_WIDE_STATUS")
    }
    assert hub.properties("contacts", record_id, "hs_email_optout")["hs_email_optout"] == "true"


def test_the_client_merges_and_refreshes_its_token(hub: Portal) -> None:
    client = HubSpot(access_token=TOKEN, host=hub.url)
    ids = [client.crm.contacts.basic_api.create({"properties": {"email": each}}).id for each in ("a@x.com", "b@x.com")]
    merged = client.crm.contacts.basic_api.merge({"primaryObjectId": ids[0], "objectIdToMerge": ids[1]})
    assert merged.id not in ids
    tokens = client.oauth.tokens_api.create(
        grant_type="refresh_token",
        client_id="sandbox-client-id",
        client_secret="sandbox-client-secret",
        refresh_token="sandbox-refresh-token",
    )
    assert (
        HubSpot(access_token=tokens.access_token, host=hub.url).crm.contacts.basic_api.get_by_id(ids[0]).id == merged.id
    )


def test_the_client_sees_partial_failures_pages_of_search_and_erasure(hub: Portal) -> None:
    client = HubSpot(access_token=TOKEN, host=hub.url)
    rows = [
        {"id": f"{n}@x.com", "idProperty": "email", "properties": {"followercount": n}, "objectWriteTraceId": n}
        for n in ("1", "two", "3")
    ]
    answer, status, _ = client.crm.contacts.batch_api.upsert_with_http_info({"inputs": rows})
    assert (status, answer.num_errors, len(answer.results)) == (207, 1, 2)
    assert answer.errors[0].context == {"objectWriteTraceId": ["two"]}
    first = client.crm.contacts.search_api.do_search({"limit": 1})
    second = client.crm.contacts.search_api.do_search({"limit": 1, "after": first.paging.next.after})
    assert {first.results[0].id, second.results[0].id} == {each.id for each in answer.results}
    client.crm.contacts.basic_api.purge({"objectId": first.results[0].id})
    assert client.crm.contacts.search_api.do_search({}).total == 1
    found = client.crm.associations.v4.batch_api.get_page("contacts", "companies", {"inputs": [{"id": "1"}]})
    assert found.errors[0].sub_category == "crm.associations.NO_ASSOCIATIONS_FOUND"


def test_the_client_learns_the_types_of_older_associations(hub: Portal) -> None:
    types = HubSpot(access_token=TOKEN, host=hub.url).crm.associations.schema.types_api.get_all("contacts", "companies")
    assert {(each.id, each.name) for each in types.results} == {
        ("1", "contact_to_company"),
        ("279", "contact_to_company_unlabeled"),
    }
