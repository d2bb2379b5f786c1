"""Sign-in, versions, quota: what stands between a client and the org."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.unit.sandbox.salesforce_org import CLIENT, OrgClient, org

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.fixture(scope="module")
def client() -> Iterator[OrgClient]:
    with org() as opened:
        yield opened


def token(client: OrgClient, form: dict[str, str], **more: Any) -> requests.Response:
    return requests.post(f"{client.url}/services/oauth2/token", data=form, timeout=10, **more)


def assertion(**claims: Any) -> str:
    now = datetime.now(UTC)
    given = {
        "iss": CLIENT[0],
        "sub": "integration@northwind.example",
        "aud": "https://login.salesforce.com",
        "exp": now + timedelta(minutes=3),
    }
    payload = {name: value for name, value in {**given, **claims}.items() if value is not None}
    return jwt.encode(payload, KEY, algorithm="RS256")


def test_client_credentials_come_in_the_body_or_in_a_basic_header(client: OrgClient) -> None:
    form = {"grant_type": "client_credentials"}
    in_body = token(client, {**form, "client_id": CLIENT[0], "client_secret": CLIENT[1]}).json()
    in_header = token(client, form, auth=CLIENT).json()
    for body in (in_body, in_header):
        assert body["instance_url"] == client.url
        assert body["token_type"] == "Bearer"
        assert "expires_in" not in body
        assert int(body["issued_at"]) > 1_600_000_000_000


def test_a_chunked_token_request_is_understood(client: OrgClient) -> None:
    body = f"grant_type=client_credentials&client_id={CLIENT[0]}&client_secret={CLIENT[1]}".encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    chunks = iter([body[:20], body[20:]])
    answer = requests.post(f"{client.url}/services/oauth2/token", data=chunks, headers=headers, timeout=10)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "client_credentials"}, "invalid_client_id"),
        ({"grant_type": "client_credentials", "client_id": CLIENT[0], "client_secret": "x"}, "invalid_client"),
        ({"grant_type": "refresh_token", "client_id": CLIENT[0], "refresh_token": "x"}, "invalid_grant"),
        (
            {
                "grant_type": "password",
                "username": "a",
                "password": "b",
                "client_id": CLIENT[0],
                "client_secret": CLIENT[1],
            },
            "invalid_grant",
        ),
        ({"grant_type": "magic"}, "unsupported_grant_type"),
        ({"grant_type": GRANT, "assertion": "x.y.z"}, "invalid_grant"),
    ],
)
def test_wrong_credentials_are_refused_by_name(client: OrgClient, form: dict[str, str], error: str) -> None:
    answer = token(client, form)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert answer.json()["error_description"]


def test_a_signed_assertion_signs_its_user_in_once_the_key_is_registered(client: OrgClient) -> None:
    with org() as fresh:
        assert token(fresh, {"grant_type": GRANT, "assertion": assertion()}).json()["error"] == "invalid_grant"
    client.admin("POST", "/act", {"system": "salesforce", "action": "register_certificate", "pem": PUBLIC.decode()})
    at = datetime.now(UTC) + timedelta(minutes=3)
    for expiry in (int(at.timestamp()), str(int(at.timestamp()))):
        answer = token(client, {"grant_type": GRANT, "assertion": assertion(exp=expiry)})
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("claims", "description"),
    [
        ({"exp": datetime.now(UTC) - timedelta(minutes=1)}, "assertion expired"),
        ({"exp": datetime.now(UTC) + timedelta(hours=2)}, "invalid assertion"),
        ({"exp": None}, "invalid assertion"),
        ({"aud": "https://example.com"}, "audience is invalid"),
        ({"iss": "other"}, "client identifier invalid"),
        ({"sub": "nobody@example.com"}, "user hasn't approved this consumer"),
    ],
)
def test_a_wrong_assertion_says_what_is_wrong(client: OrgClient, claims: dict[str, Any], description: str) -> None:
    client.admin("POST", "/act", {"system": "salesforce", "action": "register_certificate", "pem": PUBLIC.decode()})
    answer = token(client, {"grant_type": GRANT, "assertion": assertion(**claims)})
    assert (answer.status_code, answer.json()["error_description"]) == (400, description)


def test_an_assertion_signed_by_another_key_is_refused(client: OrgClient) -> None:
    client.admin("POST", "/act", {"system": "salesforce", "action": "register_certificate", "pem": PUBLIC.decode()})
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    claims = jwt.decode(assertion(), options={"verify_signature": False})
    forged = jwt.encode(claims, other, algorithm="RS256")
    assert token(client, {"grant_type": GRANT, "assertion": forged}).json()["error"] == "invalid_grant"


def test_a_session_expires_and_a_revoked_one_ends(client: OrgClient) -> None:
    client.sign_in()
    client.context.clock.shift(7_201)
    assert client.call("GET", "/limits", status=401)[0]["errorCode"] == "INVALID_SESSION_ID"
    client.context.clock.shift_s = 0.0
    value = str(client.session.headers["Authorization"]).removeprefix("Bearer ")
    assert client.raw("POST", "/services/oauth2/revoke", data={"token": value}).status_code == 200
    assert client.raw("GET", "/limits").status_code == 401
    client.sign_in({"grant_type": "refresh_token", "client_id": CLIENT[0], "refresh_token": "sandbox-refresh-token"})
    assert client.call("GET", "/services/oauth2/userinfo")["preferred_username"] == "integration@northwind.example"


def test_a_basic_header_that_is_none_is_refused_politely(client: OrgClient) -> None:
    for text in ("Basic !!!", "Basic " + base64.b64encode(b"\xff\xfe").decode()):
        headers = {"Authorization": text}
        assert token(client, {"grant_type": "client_credentials"}, headers=headers).status_code == 400


def test_versions_are_told_to_anybody_and_bounded(client: OrgClient) -> None:
    versions = requests.get(f"{client.url}/services/data/", timeout=10).json()
    assert (versions[0]["label"], versions[0]["version"]) == ("Summer '14", "31.0")
    assert versions[-6] == {"label": "Spring '25", "url": "/services/data/v63.0", "version": "63.0"}
    assert client.call("GET", "/services/data/v30.0/limits", status=410)[0]["errorCode"] == "UNSUPPORTED_API_VERSION"
    assert client.raw("GET", "/services/data/v69.0/limits").status_code == 404
    for version in ("31.0", "50.0", "68.0"):
        assert client.raw("GET", f"/services/data/v{version}/limits").status_code == 200


def test_every_answer_tells_the_usage_and_a_used_up_quota_refuses() -> None:
    with org(salesforce_calls_per_day=3) as client:
        used = [client.raw("GET", "/limits").headers["Sforce-Limit-Info"] for _ in range(3)]
        assert used == [f"api-usage={number}/3" for number in (1, 2, 3)]
        refused = client.raw("GET", "/limits")
        assert refused.status_code == 403
        assert refused.json()[0]["errorCode"] == "REQUEST_LIMIT_EXCEEDED"
        assert refused.headers["Sforce-Limit-Info"] == "api-usage=3/3"
        assert "Sforce-Limit-Info" not in requests.get(f"{client.url}/services/data", timeout=10).headers
        client.admin("POST", "/limits", {"enabled": False})
        assert client.raw("GET", "/limits").status_code == 200


def test_a_browser_signs_in_by_consent_and_its_code_is_good_once() -> None:
    with org() as client:
        token, back = f"{client.url}/services/oauth2/token", "https://app.example/back?x=1"
        verifier = "v" * 64
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        asked = {"response_type": "code", "client_id": CLIENT[0], "redirect_uri": back, "state": "s 1"}

        def code(**more: str) -> str:
            answer = requests.get(
                f"{client.url}/services/oauth2/authorize", params={**asked, **more}, allow_redirects=False, timeout=10
            )
            assert answer.status_code == 302, answer.text
            location = urlsplit(answer.headers["Location"])
            said = parse_qs(location.query)
            assert (location.netloc, said["x"], said["state"]) == ("app.example", ["1"], ["s 1"])
            return said["code"][0]

        def redeem(**more: str) -> requests.Response:
            form = {"grant_type": "authorization_code", "client_id": CLIENT[0], "redirect_uri": back, **more}
            return requests.post(token, data=form, timeout=10)

        secret = {"client_secret": CLIENT[1]}
        given = code()
        made = redeem(code=given, **secret).json()
        client.session.headers["Authorization"] = f"Bearer {made['access_token']}"
        assert client.query("SELECT Id FROM User")["totalSize"] == 2
        client.sign_in({"grant_type": "refresh_token", "client_id": CLIENT[0], "refresh_token": made["refresh_token"]})
        assert redeem(code=given, **secret).json()["error"] == "invalid_grant"
        assert (
            redeem(code=code(), redirect_uri="https://other.example", **secret).json()["error"]
            == "redirect_uri_mismatch"
        )
        assert redeem(code=code(), client_secret="wrong").json()["error"] == "invalid_client"
        assert redeem(code=code(code_challenge=challenge), code_verifier="wrong").json()["error"] == "invalid_grant"
        assert "access_token" in redeem(code=code(code_challenge=challenge), code_verifier=verifier).json()
        client.admin("POST", "/clock", {"shift_s": 0})
        late = code()
        client.admin("POST", "/clock", {"shift_s": 1_000})
        assert redeem(code=late, **secret).json()["error_description"] == "expired authorization code"
        for wrong in ({"client_id": "x"}, {"response_type": "token"}, {"redirect_uri": "nowhere"}):
            params = {**asked, **wrong}
            refused = requests.get(
                f"{client.url}/services/oauth2/authorize", params=params, allow_redirects=False, timeout=10
            )
            assert (refused.status_code, "error" in refused.json()) == (400, True)
