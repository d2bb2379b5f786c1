"""Where tokens come from, and that secrets stay where they are."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
import responses
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from connector import auth, clock
from connector.errors import AuthError, ProtocolError, SystemUnavailable
from connector.verdicts import Verdict

URL = "https://acme.example.com/token"
SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "sleep", lambda _: None)


def form(call: responses.Call) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(str(call.request.body)).items()}


class Issuer:
    """Gives t1, t2, …; slowly, so that threads meet."""

    def __init__(self, life_s: float | None = None, takes_s: float = 0.0) -> None:
        self.issued = 0
        self.life_s = life_s
        self.takes_s = takes_s

    def __call__(self) -> auth.Grant:
        time.sleep(self.takes_s)
        self.issued += 1
        return auth.Grant(SecretStr(f"t{self.issued}"), self.life_s)


def test_a_token_is_fetched_once_and_then_remembered() -> None:
    issuer = Issuer()
    source = auth.TokenSource(issuer)
    assert [source.token() for _ in range(3)] == ["t1"] * 3
    assert issuer.issued == 1


def test_many_threads_that_hold_the_same_stale_token_cause_one_refresh() -> None:
    issuer = Issuer(takes_s=0.02)
    source = auth.TokenSource(issuer)
    stale = source.token()
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(source.refresh(stale))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == ["t2"] * 8
    assert issuer.issued == 2


def test_a_token_is_renewed_when_four_fifths_of_its_life_are_over() -> None:
    now_s = 0.0
    source = auth.TokenSource(Issuer(life_s=1800), monotonic_s=lambda: now_s)
    assert source.token() == "t1"
    now_s = 1439.0
    assert source.token() == "t1"
    now_s = 1440.0
    assert source.token() == "t2"


def test_a_token_that_a_person_made_is_refused_for_good() -> None:
    source = auth.static("crm", SecretStr(SECRET))
    assert source.token() == SECRET
    with pytest.raises(AuthError, match="the token was refused") as caught:
        source.refresh(SECRET)
    assert "connector check crm" in caught.value.hint
    assert source.token() == SECRET


@responses.activate
def test_client_credentials_are_sent_as_a_form() -> None:
    responses.post(URL, json={"access_token": "a", "expires_in": 1800})
    source = auth.client_credentials("crm", URL, client_id="id", client_secret=SecretStr(SECRET))
    assert source.token() == "a"
    assert form(responses.calls[0]) == {
        "grant_type": "client_credentials",
        "client_id": "id",
        "client_secret": SECRET,
    }


@responses.activate
def test_a_jwt_says_who_asks_for_whom_and_lives_three_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: now)
    responses.post(URL, json={"access_token": "a"})
    audience = "https://login.example.com"
    source = auth.jwt_bearer(
        "crm", URL, client_id="id", username="sync@acme.com", private_key=SecretStr(pem), audience=audience
    )
    assert source.token() == "a"
    sent = form(responses.calls[0])
    claims = jwt.decode(
        sent["assertion"], key.public_key(), algorithms=["RS256"], audience=audience, options={"verify_exp": False}
    )
    assert sent["grant_type"] == auth.JWT_BEARER
    assert (claims["iss"], claims["sub"], claims["exp"]) == ("id", "sync@acme.com", int(now.timestamp()) + 180)


def signing() -> auth.TokenSource:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return auth.jwt_bearer("crm", URL, client_id="id", username="u", private_key=SecretStr(pem), audience="a")


@pytest.mark.parametrize(
    ("ahead_s", "code", "text"),
    [
        (412, "invalid_grant", "this machine's clock is 412 s ahead of the system's"),
        (-200, "invalid_grant", "this machine's clock is 200 s behind the system's"),
        (60, "invalid_grant", None),
        (412, "inactive_user", None),
        (None, "invalid_grant", None),
    ],
)
@responses.activate
def test_what_is_signed_by_a_wrong_clock_is_refused_for_that_and_not_for_our_credentials(
    monkeypatch: pytest.MonkeyPatch, ahead_s: int | None, code: str, text: str | None
) -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: now)
    dated = {} if ahead_s is None else {"Date": format_datetime(now - timedelta(seconds=ahead_s), usegmt=True)}
    responses.post(URL, status=400, json={"error": code, "error_description": "invalid assertion"}, headers=dated)
    source = signing()
    with pytest.raises(ProtocolError if text else AuthError, match=text or "invalid assertion") as caught:
        source.token()
    assert ("NTP" in caught.value.hint) is (text is not None)
    assert len(responses.calls) == 1


@pytest.mark.parametrize(
    ("code", "text", "hint"),
    [
        ("invalid_grant", "user hasn't approved this consumer", "pre-authorise"),
        ("invalid_grant", "invalid assertion", "upload the certificate"),
        ("invalid_app_access", "user is not admin approved to access this app", "pre-authorise"),
        ("invalid_grant", "audience is invalid", "renew the credentials"),
        ("inactive_user", "user is inactive", "renew the credentials"),
    ],
)
@responses.activate
def test_who_signs_and_is_not_known_is_told_to_make_key_and_user_known(code: str, text: str, hint: str) -> None:
    responses.post(URL, status=400, json={"error": code, "error_description": text})
    with pytest.raises(AuthError, match=text) as caught:
        signing().token()
    assert hint in caught.value.hint


def test_a_key_that_cannot_sign_is_an_error_that_does_not_show_it() -> None:
    source = auth.jwt_bearer(
        "crm", URL, client_id="id", username="u", private_key=SecretStr(f"not a key {SECRET}"), audience="a"
    )
    with pytest.raises(AuthError, match="cannot be used to sign") as caught:
        source.token()
    assert SECRET not in repr(caught.value) + caught.value.hint
    assert caught.value.__cause__ is None


@responses.activate
def test_a_rotated_refresh_token_is_handed_over_and_used_next() -> None:
    responses.post(URL, json={"access_token": "a1", "refresh_token": "r2"})
    responses.post(URL, json={"access_token": "a2", "refresh_token": "r2"})
    kept: list[str] = []
    source = auth.refreshing(
        "crm",
        URL,
        client_id="id",
        client_secret=None,
        refresh_token=SecretStr("r1"),
        on_rotate=lambda token: kept.append(token.get_secret_value()),
    )
    assert source.token() == "a1"
    assert source.refresh("a1") == "a2"
    assert [form(call)["refresh_token"] for call in responses.calls] == ["r1", "r2"]
    assert kept == ["r2"]
    assert "client_secret" not in form(responses.calls[0])


@responses.activate
def test_a_refused_grant_is_an_auth_error_at_once_with_the_servers_words() -> None:
    responses.post(URL, status=400, json={"error": "invalid_grant", "error_description": "user is locked"})
    source = auth.client_credentials("crm", URL, client_id="id", client_secret=SecretStr(SECRET))
    with pytest.raises(AuthError, match="user is locked") as caught:
        source.token()
    assert len(responses.calls) == 1
    assert SECRET not in repr(caught.value) + caught.value.hint


@responses.activate
def test_a_token_endpoint_that_stumbles_is_asked_again() -> None:
    responses.post(URL, status=503)
    responses.post(URL, status=500)
    responses.post(URL, json={"access_token": "a"})
    assert auth.client_credentials("crm", URL, client_id="id", client_secret=SecretStr(SECRET)).token() == "a"


@responses.activate
def test_a_refresh_token_grant_that_may_have_rotated_it_is_not_asked_again() -> None:
    responses.post(URL, status=500)
    source = auth.refreshing("crm", URL, client_id="id", client_secret=None, refresh_token=SecretStr("r"))
    with pytest.raises(SystemUnavailable):
        source.token()
    assert len(responses.calls) == 1


@responses.activate
@pytest.mark.parametrize(
    "answer",
    [
        {"status": 404},
        {"status": 404, "json": {"error": "Not Found"}},
        {"status": 401, "body": "<html>Who are you?</html>"},
        {"status": 302, "headers": {"Location": "https://elsewhere.example.com"}},
        {"status": 200, "body": "<html>Welcome</html>"},
        {"status": 200, "json": {"token_type": "Bearer"}},
    ],
)
def test_what_is_no_answer_of_a_token_endpoint_is_a_wrong_address_and_not_wrong_credentials(
    answer: dict[str, Any],
) -> None:
    responses.post(URL, **answer)
    with pytest.raises(ProtocolError) as caught:
        auth.client_credentials("crm", URL, client_id="id", client_secret=SecretStr(SECRET)).token()
    assert "see its `url`" in caught.value.hint


def test_secrets_do_not_show_in_representations() -> None:
    grant = auth.Grant(SecretStr(SECRET))
    source = auth.static("crm", SecretStr(SECRET))
    source.token()
    assert SECRET not in repr(grant) + repr(source) + str(vars(source))


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.OK),
        (400, Verdict.AUTH),
        (401, Verdict.AUTH),
        (403, Verdict.AUTH),
        (404, Verdict.PROTOCOL),
        (429, Verdict.RETRY),
        (500, Verdict.RETRY_IF_IDEMPOTENT),
        (503, Verdict.RETRY),
    ],
)
def test_what_a_token_endpoints_status_means(status: int, verdict: Verdict) -> None:
    assert auth.classify(status, {"retry-after": "3"}, {"error": "invalid_client"}).verdict is verdict


@responses.activate
def test_a_refresh_token_that_was_used_up_by_rotation_says_so() -> None:
    told = {"error": "invalid_grant", "error_description": "expired access/refresh token"}
    responses.post(URL, status=400, json=told)
    source = auth.refreshing("acme", URL, client_id="id", client_secret=None, refresh_token=SecretStr(SECRET))
    with pytest.raises(AuthError) as raised:
        source.token()
    assert "rotates" in raised.value.hint
    assert SECRET not in str(raised.value)
