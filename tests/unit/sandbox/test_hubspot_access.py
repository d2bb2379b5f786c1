"""Tokens, scopes, limits and headers of the imitated HubSpot."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from connector.sandbox.hubspot import issue_private_token
from tests.unit.sandbox.hubspot_portal import Portal, portal

CONTACTS = "/crm/v3/objects/contacts"
OAUTH = {"grant_type": "refresh_token", "client_id": "sandbox-client-id", "client_secret": "sandbox-client-secret"}


def test_a_call_needs_a_token_that_is_known() -> None:
    with portal() as hub:
        for header in ("", "Bearer pat-unknown", "Basic x"):
            answer = hub.raw("GET", "/crm/v3/objects/contacts", headers={"Authorization": header})
            assert answer.status_code == 401
            assert answer.json()["category"] == "INVALID_AUTHENTICATION"
            assert answer.json()["correlationId"] == answer.headers["X-HubSpot-Correlation-Id"]


def test_a_token_opens_what_its_scopes_say() -> None:
    with portal() as hub:
        issue_private_token(hub.context.database, "pat-narrow", ["crm.objects.contacts.read"])
        headers = {"Authorization": "Bearer pat-narrow"}
        assert hub.raw("GET", "/crm/v3/objects/contacts", headers=headers).status_code == 200
        for method, path, scope in (
            ("POST", "/crm/v3/objects/contacts", "crm.objects.contacts.write"),
            ("GET", "/crm/v3/objects/emails", "sales-email-read"),
            ("POST", "/crm/v3/properties/contacts", "crm.schemas.contacts.write"),
            ("GET", "/email/public/v1/events", "content"),
        ):
            answer = hub.raw(method, path, headers=headers, json={})
            assert answer.status_code == 403
            assert answer.json()["category"] == "MISSING_SCOPES"
            assert scope in answer.json()["context"]["requiredGranularScopes"]


def refresh(hub: Portal, path: str, **given: str) -> requests.Response:
    return requests.post(hub.url + path, data=OAUTH | {"refresh_token": "sandbox-refresh-token"} | given, timeout=10)


def test_a_refresh_token_gives_access_for_half_an_hour() -> None:
    with portal() as hub:
        for path in ("/oauth/v1/token", "/oauth/v3/token", "/oauth/2026-03/token", "/oauth/2026-09/token"):
            answer = refresh(hub, path).json()
            assert (answer["expires_in"], answer["token_type"]) == (1800, "bearer")
        headers = {"Authorization": f"Bearer {answer['access_token']}"}
        assert hub.raw("GET", "/crm/v3/objects/contacts", headers=headers).status_code == 200
        hub.context.clock.shift(1801)
        expired = hub.raw("GET", "/crm/v3/objects/contacts", headers=headers)
        assert (expired.status_code, expired.json()["category"]) == (401, "EXPIRED_AUTHENTICATION")


def test_a_wrong_refresh_token_is_named() -> None:
    with portal() as hub:
        answer = refresh(hub, "/oauth/v1/token", refresh_token="revoked")
        assert (answer.status_code, answer.json()["status"]) == (400, "BAD_REFRESH_TOKEN")
        assert refresh(hub, "/oauth/v1/token", client_secret="wrong").json()["status"] == "BAD_CLIENT_SECRET"


def test_only_the_first_version_takes_a_grant_from_the_query() -> None:
    with portal() as hub:
        given = OAUTH | {"refresh_token": "sandbox-refresh-token"}
        assert hub.raw("POST", "/oauth/v1/token", params=given).json()["expires_in"] == 1800
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert hub.raw("POST", "/oauth/v1/token", params=given, headers=form).json()["expires_in"] == 1800
        assert hub.raw("POST", "/oauth/v3/token", params=given).json()["status"] == "BAD_GRANT_TYPE"


def test_a_refused_grant_says_in_the_words_of_oauth_what_is_wrong() -> None:
    with portal() as hub:
        for given, status, error in (
            ({"client_id": "other"}, "BAD_CLIENT_ID", "invalid_client"),
            ({"client_secret": "wrong"}, "BAD_CLIENT_SECRET", "invalid_client"),
            ({"grant_type": "password"}, "BAD_GRANT_TYPE", "unsupported_grant_type"),
            ({"refresh_token": "revoked"}, "BAD_REFRESH_TOKEN", "invalid_grant"),
            ({"grant_type": "authorization_code"}, "BAD_AUTH_CODE", "invalid_grant"),
            ({"grant_type": "client_credentials", "scope": "all"}, "BAD_SCOPE", "invalid_scope"),
        ):
            for path in ("/oauth/v1/token", "/oauth/v3/token", "/oauth/2026-03/token"):
                answer = refresh(hub, path, **given)
                assert (answer.status_code, answer.json()["status"], answer.json()["error"]) == (400, status, error)


def test_later_versions_say_what_a_token_is_for() -> None:
    with portal() as hub:
        assert "token_use" not in refresh(hub, "/oauth/v1/token").json()
        assert refresh(hub, "/oauth/v3/token").json()["token_use"] == "access_token"
        app = refresh(hub, "/oauth/v3/token", grant_type="client_credentials").json()
        assert app["token_use"] == "client_credentials"


def test_the_burst_is_limited_per_token_and_its_headers_count_down() -> None:
    with portal(are_limits_on=True, hubspot_calls_per_10_s=3) as hub:
        left = [hub.raw("GET", "/crm/v3/objects/contacts").headers["X-HubSpot-RateLimit-Remaining"] for _ in range(3)]
        assert left == ["2", "1", "0"]
        refused = hub.raw("GET", "/crm/v3/objects/contacts")
        assert refused.status_code == 429
        assert refused.json()["policyName"] == "TEN_SECONDLY_ROLLING"
        issue_private_token(hub.context.database, "pat-other")
        other = {"Authorization": "Bearer pat-other"}
        assert hub.raw("GET", "/crm/v3/objects/contacts", headers=other).status_code == 200


def test_searches_have_their_own_limit_and_no_headers() -> None:
    with portal(are_limits_on=True, hubspot_calls_per_10_s=1) as hub:
        answers = [hub.raw("POST", "/crm/v3/objects/contacts/search", json={}) for _ in range(6)]
        assert [each.status_code for each in answers] == [200] * 5 + [429]
        assert answers[-1].json()["policyName"] == "SECONDLY"
        assert not any(name.startswith("X-HubSpot-RateLimit") for name in answers[0].headers)
        body = {"inputs": [{"id": "1"}]}
        for _ in range(3):
            hub.call("POST", "/crm/v4/associations/contacts/companies/batch/read", body, 207)


def test_the_day_has_a_limit_and_its_use_can_be_read() -> None:
    with portal(are_limits_on=True, hubspot_calls_per_day=3) as hub:
        for _ in range(2):
            assert hub.raw("GET", "/crm/v3/objects/contacts").status_code == 200
        [use] = hub.call("GET", "/account-info/v3/api-usage/daily/private-apps", status=200)["results"]
        assert (use["usageLimit"], use["currentUsage"]) == (3, 2)
        answer = hub.raw("GET", "/account-info/v3/details")
        assert (answer.status_code, answer.json()["policyName"]) == (429, "DAILY")


def test_every_call_is_logged_with_its_bucket_and_records() -> None:
    with portal() as hub:
        hub.create(email="a@x.com")
        hub.search("contacts")
        rows = hub.context.calls.rows()
        assert [(row["path"].rsplit("/", 1)[1], row["bucket"], row["records"]) for row in rows] == [
            ("contacts", "burst", 1),
            ("search", "search", 1),
        ]


def test_the_account_says_which_portal_it_is() -> None:
    with portal() as hub:
        assert hub.call("GET", "/account-info/2026-09/details", status=200)["portalId"] == 4711
        assert hub.call("GET", "/crm/v3/schemas", status=200) == {"results": []}


def test_all_tokens_of_the_oauth_app_share_its_lower_burst_and_have_no_daily_limit() -> None:
    limits = {"hubspot_calls_per_10_s": 50, "hubspot_oauth_calls_per_10_s": 2, "hubspot_calls_per_day": 0}
    with portal(are_limits_on=True, **limits) as hub:
        assert hub.raw("GET", CONTACTS).json()["policyName"] == "DAILY"
        form = {**OAUTH, "refresh_token": "sandbox-refresh-token"}
        answers = []
        for _ in range(3):
            token = hub.raw("POST", "/oauth/2026-09/token", data=form).json()["access_token"]
            answers.append(hub.raw("GET", CONTACTS, headers={"Authorization": f"Bearer {token}"}))
        assert [each.status_code for each in answers] == [200, 200, 429]
        assert answers[0].headers["X-HubSpot-RateLimit-Max"] == "2"
        assert "X-HubSpot-RateLimit-Daily" not in answers[0].headers
        assert answers[2].headers["X-HubSpot-RateLimit-Remaining"] == "0"
        refusal = answers[2].json()
        assert refusal["errorType"] == "RATE_LIMIT"
        assert refusal["requestId"]


def test_the_day_begins_anew_at_midnight() -> None:
    with portal(are_limits_on=True, hubspot_calls_per_day=1) as hub:
        answers = [hub.raw("GET", CONTACTS) for _ in range(2)]
        assert [each.status_code for each in answers] == [200, 429]
        now = hub.context.clock.now()
        hub.context.clock.set(now.replace(hour=0, minute=0, second=1) + timedelta(days=1))
        assert hub.raw("GET", CONTACTS).status_code == 200


def test_an_app_logs_in_with_a_code_that_is_good_once() -> None:
    with portal() as hub:
        verifier, back = "v" * 50, "https://app.example/back?x=1"
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        asked = {
            "client_id": "sandbox-client-id",
            "redirect_uri": back,
            "scope": "oauth crm.objects.contacts.read",
            "state": "s",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        sent = hub.raw("GET", "/oauth/authorize", params=asked, allow_redirects=False)
        query = parse_qs(urlsplit(sent.headers["Location"]).query)
        assert (sent.status_code, query["state"], query["x"]) == (302, ["s"], ["1"])
        form = {**OAUTH, "grant_type": "authorization_code", "code": query["code"][0], "redirect_uri": back}
        wrong = hub.raw("POST", "/oauth/v1/token", data={**form, "code": "other"})
        assert (wrong.status_code, wrong.json()["status"]) == (400, "BAD_AUTH_CODE")
        tokens = hub.raw("POST", "/oauth/v1/token", data={**form, "code_verifier": verifier}).json()
        again = hub.raw("POST", "/oauth/v1/token", data={**form, "code_verifier": verifier})
        assert again.status_code == 400
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert hub.raw("GET", CONTACTS, headers=headers).status_code == 200
        assert hub.raw("GET", "/crm/v3/objects/companies", headers=headers).status_code == 403
        info = hub.call("GET", f"/oauth/v1/access-tokens/{tokens['access_token']}", status=200)
        assert (info["hub_id"], set(info["scopes"])) == (4711, {"oauth", "crm.objects.contacts.read"})


def test_a_revoked_grant_gives_no_more_access() -> None:
    with portal() as hub:
        form = {**OAUTH, "refresh_token": "sandbox-refresh-token"}
        assert hub.raw("POST", "/oauth/2026-03/token", data=form).status_code == 200
        path = "/oauth/v1/refresh-tokens/sandbox-refresh-token"
        assert hub.call("GET", path, status=200)["token_type"] == "refresh"
        assert hub.raw("DELETE", path).status_code == 204
        refused = hub.raw("POST", "/oauth/2026-03/token", data=form)
        assert (refused.status_code, refused.json()["status"]) == (400, "BAD_REFRESH_TOKEN")


@pytest.mark.parametrize("version", ["v3", "2026-03", "2026-09"])
def test_a_token_is_described_and_revoked_by_the_later_paths(version: str) -> None:
    path = f"/oauth/{version}/token"
    with portal() as hub:
        made = refresh(hub, path).json()
        for name in ("access_token", "refresh_token"):
            form = {**OAUTH, "token": made[name]}
            told = hub.raw("POST", f"{path}/introspect", data=form).json()
            assert (told["active"], told["token_use"], told["hub_id"]) == (True, name, 4711)
        assert hub.raw("POST", f"{path}/introspect", data={"token": made[name]}).status_code == 400
        assert hub.raw("POST", f"{path}/revoke", data=form).status_code == 200
        assert hub.raw("POST", f"{path}/introspect", data=form).json() == {"active": False}
        assert refresh(hub, path).status_code == 400


def test_a_url_that_is_too_long_is_refused() -> None:
    with portal() as hub:
        assert hub.raw("GET", f"{CONTACTS}?properties={'x' * 20_000}").status_code == 414
