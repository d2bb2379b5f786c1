"""What answers of HubSpot mean, which path a call takes, and that the client library runs over our session."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests
import responses
from pydantic import SecretStr

from connector import clock
from connector.errors import AuthError, MissingPermission, ProtocolError, QuotaExhausted, RecordRejected
from connector.model import Request
from connector.pacing import Usage
from connector.section import in_words
from connector.sources.hubspot import HUBSPOT, HubSpotOptions, connect
from connector.sources.hubspot_client import Api, aimed, bucket_of, classify, is_idempotent, usage
from connector.verdicts import Verdict

URL = "https://api.hubapi.com"


def error(category: str = "", **more: Any) -> dict[str, Any]:
    return {"status": "error", "message": "m", "correlationId": "c", "category": category, **more}


@pytest.mark.parametrize(
    ("status", "body", "verdict", "wait_s"),
    [
        (200, None, Verdict.OK, None),
        (207, None, Verdict.OK, None),
        (301, None, Verdict.PROTOCOL, None),
        (400, error("VALIDATION_ERROR"), Verdict.REJECTED, None),
        (400, error(), Verdict.REJECTED, None),
        (401, error("INVALID_AUTHENTICATION"), Verdict.REFRESH, None),
        (401, error("EXPIRED_AUTHENTICATION"), Verdict.REFRESH, None),
        (403, error("MISSING_SCOPES"), Verdict.FORBIDDEN, None),
        (404, error("OBJECT_NOT_FOUND"), Verdict.CONFLICT, None),
        (404, "<html>", Verdict.CONFLICT, None),
        (409, error("OBJECT_ALREADY_EXISTS"), Verdict.CONFLICT, None),
        (414, "<html>", Verdict.REJECTED, None),
        (423, error("LOCKED"), Verdict.RETRY, 2.0),
        (429, error("RATE_LIMITS", policyName="SECONDLY"), Verdict.TOO_FAST, 1.0),
        (429, {"errorType": "RATE_LIMIT", "policyName": "TEN_SECONDLY_ROLLING"}, Verdict.TOO_FAST, 2.0),
        (429, {"errorType": "RATE_LIMIT", "policyName": "DAILY", "message": "m"}, Verdict.QUOTA, None),
        (429, error("RATE_LIMITS", message="You have reached your daily limit."), Verdict.QUOTA, None),
        (429, None, Verdict.TOO_FAST, 1.0),
        (477, error("MIGRATION_IN_PROGRESS"), Verdict.RETRY, None),
        (500, error("INTERNAL_ERROR"), Verdict.RETRY_IF_IDEMPOTENT, None),
        (502, "<html>", Verdict.RETRY_IF_IDEMPOTENT, None),
        (524, "<html>", Verdict.RETRY_IF_IDEMPOTENT, None),
        (530, "<html>", Verdict.AUTH, None),
        (418, error("TEAPOT"), Verdict.PROTOCOL, None),
    ],
)
def test_an_answer_means_what_its_category_says_and_then_its_status(
    status: int, body: Any, verdict: Verdict, wait_s: float | None
) -> None:
    told = classify(status, {}, body)
    assert told.verdict is verdict
    assert told.retry_after_s == wait_s


def test_a_told_wait_is_kept() -> None:
    assert classify(429, {"retry-after": "7"}, error("RATE_LIMITS")).retry_after_s == 7.0


def test_the_code_of_the_first_inner_error_is_the_code() -> None:
    inner = [{"message": "m", "code": "PROPERTY_DOESNT_EXIST"}]
    assert classify(400, {}, error("VALIDATION_ERROR", errors=inner)).code == "PROPERTY_DOESNT_EXIST"


def test_missing_scopes_are_named() -> None:
    body = error("MISSING_SCOPES", context={"requiredGranularScopes": ["forms", "content"]})
    assert "forms, content" in classify(403, {}, body).hint


@pytest.mark.parametrize(
    ("path", "dated"),
    [
        ("/crm/v3/objects/contacts/search", "/crm/objects/2026-09/contacts/search"),
        ("/crm/v4/associations/deals/contacts/batch/read", "/crm/associations/2026-09/deals/contacts/batch/read"),
        ("/crm/v3/properties/contacts/groups", "/crm/properties/2026-09/contacts/groups"),
        ("/crm/v3/owners/", "/crm/owners/2026-09"),
        ("/account-info/v3/details", "/account-info/2026-09/details"),
        ("/oauth/v1/token", "/oauth/2026-09/token"),
        ("/email/public/v1/events", "/email/public/v1/events"),
    ],
)
def test_a_path_follows_the_version_of_the_api(path: str, dated: str) -> None:
    assert aimed(path, "v3") == path
    assert aimed(path, "2026-09") == dated


@pytest.mark.parametrize(
    ("method", "path", "bucket", "is_safe"),
    [
        ("POST", "/crm/v3/objects/contacts/search", "search", True),
        ("POST", "/crm/objects/2026-09/contacts/search", "search", True),
        ("POST", "/crm/v4/associations/deals/contacts/batch/read", "associations", True),
        ("GET", "/crm/v3/objects/contacts?limit=100", "burst", True),
        ("POST", "/crm/v3/objects/contacts/batch/update", "burst", False),
        ("POST", "/crm/v3/objects/tasks/batch/create", "burst", False),
        ("PATCH", "/crm/v3/objects/contacts/1", "burst", False),
        ("POST", "/crm/v3/properties/contacts", "burst", False),
        ("PATCH", "/crm/v3/properties/contacts/connector_stage", "burst", True),
    ],
)
def test_a_call_has_its_bucket_and_only_a_harmless_one_is_repeated(
    method: str, path: str, bucket: str, is_safe: bool
) -> None:
    request = requests.Request(method, URL + path).prepare()
    assert bucket_of(request) == bucket
    assert is_idempotent(request) is is_safe


def test_the_daily_quota_is_read_from_the_headers_where_they_tell() -> None:
    told = {"x-hubspot-ratelimit-daily": "625000", "x-hubspot-ratelimit-daily-remaining": "621898"}
    assert usage(told) == Usage(3102, 625000)
    assert usage({}) is None


# ------------------------------------------------------------------------------------------------ over our session


def system(**options: Any) -> Any:
    return connect("hubspot", HubSpotOptions(token=SecretStr("pat-secret"), **options))


def listing(rows: list[Any], **more: Any) -> dict[str, Any]:
    return {"results": rows, **more}


@responses.activate
def test_the_client_library_sends_over_our_session_with_one_list_of_properties() -> None:
    responses.get(f"{URL}/crm/v3/objects/contacts", json=listing([]))
    list(system().source.pages([Request(HUBSPOT.streams[0], ("email",))]))
    call = responses.calls[0].request
    assert call.headers["Authorization"] == "Bearer pat-secret"
    assert call.params == {  # type: ignore[attr-defined]
        "limit": "100",
        "archived": "false",
        "properties": "email,hs_merged_object_ids,lastmodifieddate",
    }


@responses.activate
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"status": 401, "json": error("INVALID_AUTHENTICATION")}, AuthError),
        ({"status": 429, "json": error("RATE_LIMITS", policyName="DAILY")}, QuotaExhausted),
        ({"status": 200, "body": "<html>maintenance</html>"}, ProtocolError),
        ({"status": 200, "json": ["not an object"]}, ProtocolError),
        ({"status": 200, "json": {"unexpected": 1}}, ProtocolError),
    ],
)
def test_what_concerns_the_whole_system_is_raised_out_of_the_pages(answer: Any, expected: type[Exception]) -> None:
    responses.get(f"{URL}/crm/v3/objects/contacts", **answer)
    with pytest.raises(expected):
        list(system().source.pages([Request(HUBSPOT.streams[0], ("email",))]))


@responses.activate
def test_a_create_that_may_have_taken_effect_is_sent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "sleep", lambda _: None)
    path = f"{URL}/crm/v3/objects/tasks/batch/create"
    responses.post(path, status=502, body="<html>")
    made = system()
    api: Api = made.target._api
    with pytest.raises(Exception, match="502") as raised:
        api.batch("tasks", "create", {"inputs": []})
    assert raised.value.sent is True  # type: ignore[attr-defined]
    assert len(responses.calls) == 1


@responses.activate
def test_an_oauth_app_refreshes_its_token_at_the_path_of_its_version() -> None:
    responses.post(f"{URL}/oauth/2026-09/token", json={"access_token": "fresh", "expires_in": 1800})
    responses.get(f"{URL}/crm/owners/2026-09", json=listing([]))
    options = HubSpotOptions(
        client_id="id", client_secret=SecretStr("s"), refresh_token=SecretStr("r"), api_version="2026-09"
    )
    owners = next(stream for stream in HUBSPOT.streams if stream.name == "owners")
    list(connect("hubspot", options).source.pages([Request(owners, ())]))
    assert responses.calls[1].request.headers["Authorization"] == "Bearer fresh"


@responses.activate
def test_nothing_is_written_to_another_portal_than_the_configured_one() -> None:
    responses.get(f"{URL}/account-info/v3/details", json={"portalId": 4712, "timeZone": "Europe/Berlin"})
    made = system(portal_id=4711)
    with pytest.raises(Exception, match=r"4711.*4712"):
        made.target.write([])


@responses.activate
def test_check_names_what_is_missing_and_what_is_not_allowed() -> None:
    responses.get(f"{URL}/account-info/v3/details", json={"portalId": 4711, "timeZone": "Europe/Berlin"})
    told = {"results": [{"usageLimit": 625000, "currentUsage": 3102}]}
    responses.get(f"{URL}/account-info/v3/api-usage/daily/private-apps", json=told)
    known = [{"name": name} for name in ("email", "lastmodifieddate", "hs_merged_object_ids")]
    responses.get(f"{URL}/crm/v3/properties/contacts", json=listing(known))
    responses.get(f"{URL}/email/public/v1/events", status=403, json=error("MISSING_SCOPES"))
    events = next(stream for stream in HUBSPOT.streams if stream.name == "email_events")
    wanted = [Request(HUBSPOT.streams[0], ("email", "shoe_size", "associations.companies")), Request(events, ())]
    found = system().source.check(wanted)
    assert found.signed_in_as == "the app of portal 4711, time zone Europe/Berlin"
    assert (found.calls_used, found.calls_limit) == (3102, 625000)
    assert [(each.level, each.what.split(":")[0]) for each in found.findings] == [
        ("error", "contacts.shoe_size does not exist"),
        ("warning", "email_events will not be read"),
    ]


@pytest.mark.parametrize(
    "given",
    [{}, {"client_id": "id"}, {"token": "t", "client_id": "id"}, {"token": "t", "url": "http://api.example.com"}],
)
def test_options_without_exactly_one_credential_or_over_plain_http_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"token|https"):
        HubSpotOptions(**given)


def test_a_rejected_stream_or_one_without_scope_fails_alone() -> None:
    with responses.RequestsMock() as mock:
        mock.get(f"{URL}/crm/v3/objects/contacts", status=403, json=error("MISSING_SCOPES"))
        mock.get(f"{URL}/crm/v3/objects/companies", status=400, json=error("VALIDATION_ERROR"))
        mock.get(f"{URL}/crm/v3/objects/deals", body=orjson.dumps(listing([])))
        items = list(system().source.pages([Request(stream, ()) for stream in HUBSPOT.streams[:3]]))
    told = {item.stream.name: getattr(item, "error", None) for item in items}
    assert isinstance(told["contacts"], MissingPermission)
    assert isinstance(told["companies"], RecordRejected)
    assert told["deals"] is None


def test_every_option_is_in_the_connectors_page() -> None:
    page = (Path(__file__).parents[3] / "docs" / "connectors" / "hubspot.md").read_text()
    options = page.partition("## Options")[2].partition("## ")[0]
    assert [name for name in HubSpotOptions.model_fields if f"`{name}`" not in options] == ["kind"]
    for name, told in HubSpotOptions.model_fields.items():
        default = told.default
        if isinstance(default, timedelta):
            assert f'| `{name}` | `"{in_words(default)}"` |' in options
        elif isinstance(default, int | float):
            assert f"| `{name}` | `{str(default).lower()}` |" in options
