"""Token life cycles: where access tokens come from, and who fetches the next one.

One thread fetches while the others wait for what it gets: a server that invalidates older tokens at each grant would
otherwise be asked again and again. Secrets stay inside `SecretStr`; no message, log or representation holds one.

Flows: RFC 6749 (client credentials, refresh token), RFC 7523 (JWT bearer); Salesforce Help "OAuth 2.0 JWT Bearer Flow";
HubSpot "Working with OAuth".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import jwt
import requests
from pydantic import SecretStr

from connector import clock, http
from connector.errors import AuthError, ProtocolError
from connector.pacing import Pacing
from connector.verdicts import Classified, Classify, Verdict

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
#: An assertion lives three minutes; Salesforce refuses one that lives longer than five.
ASSERTION_LIFE = timedelta(minutes=3)
#: One that is refused is refused for our clock when that is off by so much: it has expired there, or lives too long. Ten seconds are for
#: the way of the answer that tells.
CLOCK_OFF = timedelta(minutes=5) - ASSERTION_LIFE - timedelta(seconds=10)
#: A token with a known life is renewed when this part of it has passed.
RENEW_AT = 0.8

OnRotate = Callable[[SecretStr], None]


@dataclass(frozen=True, slots=True)
class Grant:
    """An access token as it was issued. `life_s` is None when the server does not tell."""

    access_token: SecretStr
    life_s: float | None = None


class TokenSource:
    """One access token, shared by all threads of a system. `fetch` gets a new one, or raises AuthError."""

    def __init__(self, fetch: Callable[[], Grant], *, monotonic_s: Callable[[], float] = clock.monotonic_s) -> None:
        self._fetch = fetch
        self._monotonic_s = monotonic_s
        self._grant: Grant | None = None
        self._renew_at_s: float | None = None
        self._lock = threading.Lock()

    def token(self) -> str:
        """The present token; fetched when there is none yet, or most of its life is over."""
        with self._lock:
            is_old = self._renew_at_s is not None and self._monotonic_s() >= self._renew_at_s
            if self._grant is None or is_old:
                self._grant = self._fetched()
            return self._grant.access_token.get_secret_value()

    def refresh(self, stale: str) -> str:
        """Another token than `stale`; whoever comes second gets what the first one fetched."""
        with self._lock:
            if self._grant is None or self._grant.access_token.get_secret_value() == stale:
                self._grant = self._fetched()
            return self._grant.access_token.get_secret_value()

    def _fetched(self) -> Grant:
        grant = self._fetch()
        self._renew_at_s = None if grant.life_s is None else self._monotonic_s() + RENEW_AT * grant.life_s
        return grant


def static(system: str, token: SecretStr) -> TokenSource:
    """A token that a person made and that cannot be refreshed: refused once, it stays refused."""
    is_given = False

    def fetch() -> Grant:
        nonlocal is_given
        if is_given:
            raise AuthError(
                "the token was refused",
                hint=f"make a new token, put it where the configuration says, then run `connector check {system}`",
                system=system,
            )
        is_given = True
        return Grant(token)

    return TokenSource(fetch)


def client_credentials(system: str, token_url: str, *, client_id: str, client_secret: SecretStr) -> TokenSource:
    """OAuth client credentials: the connector signs in as the application itself."""
    ask = _endpoint(system, token_url)
    return TokenSource(
        lambda: _grant(
            system,
            ask(
                {
                    "grant_type": "client_credentials",
                    "client_id": client_id,
                    "client_secret": client_secret.get_secret_value(),
                }
            ),
        )
    )


def jwt_bearer(
    system: str, token_url: str, *, client_id: str, username: str, private_key: SecretStr, audience: str
) -> TokenSource:
    """OAuth JWT bearer: an assertion signed with our private key (PEM, RSA) stands for the user."""
    ask = _endpoint(system, token_url, of_signed)

    def fetch() -> Grant:
        claims = {"iss": client_id, "sub": username, "aud": audience, "exp": clock.now() + ASSERTION_LIFE}
        try:
            assertion = jwt.encode(claims, private_key.get_secret_value(), algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError):
            raise AuthError(
                "the private key cannot be used to sign",
                hint="it must be an RSA key in PEM form, without a passphrase",
                system=system,
            ) from None
        return _grant(system, ask({"grant_type": JWT_BEARER, "assertion": assertion}))

    return TokenSource(fetch)


def refreshing(
    system: str,
    token_url: str,
    *,
    client_id: str,
    client_secret: SecretStr | None,
    refresh_token: SecretStr,
    on_rotate: OnRotate | None = None,
) -> TokenSource:
    """OAuth refresh token. `on_rotate` gets the next refresh token when the server gives another one."""
    ask = _endpoint(system, token_url)
    present = refresh_token

    def fetch() -> Grant:
        nonlocal present
        form = {
            "grant_type": "refresh_token",
            "client_id": client_id,
            "refresh_token": present.get_secret_value(),
        }
        if client_secret is not None:
            form["client_secret"] = client_secret.get_secret_value()
        answer = ask(form)
        following = answer.get("refresh_token")
        if isinstance(following, str) and following and following != present.get_secret_value():
            present = SecretStr(following)
            if on_rotate:
                on_rotate(present)
        return _grant(system, answer)

    return TokenSource(fetch)


#: What to do about a refresh token that is refused.
REFRESH_HINT = (
    "authorise again and give the new refresh token; where the app rotates them, each is good once: switch that off"
)

#: What to do about an assertion that is refused by one who knows neither its key nor its user (docs/connectors/salesforce.md, step 3).
SIGNED_HINT = "upload the certificate of `private_key` to the app, and pre-authorise `username` there, by profile or permission set"
_UNKNOWN_TO_THEM = ("invalid_grant", "invalid_app_access")

ADDRESS_HINT = "what answers there is no token endpoint of this system; see its `url`"
_NOT_HERE = (404, 405)


def classify(status: int, headers: Mapping[str, str], body: Any) -> Classified:
    """What a token endpoint's answer means (RFC 6749, section 5.2). A grant that was refused is never tried again.

    What names no error as a token endpoint does comes from somewhere else, and says nothing of our credentials.
    """
    if status < 300:
        return Classified(Verdict.OK)
    said = body if isinstance(body, dict) else {}
    code = str(said.get("error") or said.get("status") or "")
    if status in (429, 503):
        return Classified(Verdict.RETRY, code, f"the token endpoint answered {status}", _seconds(headers))
    if status >= 500:
        return Classified(Verdict.RETRY_IF_IDEMPOTENT, code, f"the token endpoint answered {status}")
    if not code or status in _NOT_HERE:
        return Classified(Verdict.PROTOCOL, code, f"the token endpoint answered {status}", hint=ADDRESS_HINT)
    message = str(said.get("error_description") or said.get("message") or f"the token endpoint answered {status}")
    hint = REFRESH_HINT if code == "invalid_grant" and "refresh" in message else ""
    return Classified(Verdict.AUTH, code, message, hint=hint)


def of_signed(status: int, headers: Mapping[str, str], body: Any) -> Classified:
    """As `classify`, of an assertion: one that is refused while the server's clock and ours differ says nothing of our credentials."""
    told = classify(status, headers, body)
    if told.verdict is Verdict.AUTH and told.code in _UNKNOWN_TO_THEM and "audience" not in told.message:
        told = replace(told, hint=SIGNED_HINT)
    if told.verdict is not Verdict.AUTH or told.code != "invalid_grant":
        return told
    try:
        answered_at = parsedate_to_datetime(headers.get("date", "")).astimezone(UTC)
    except ValueError:
        return told
    ahead = clock.now() - answered_at
    if abs(ahead) < CLOCK_OFF:
        return told
    way = "ahead of" if ahead > timedelta() else "behind"
    text = f"this machine's clock is {abs(ahead).total_seconds():,.0f} s {way} the system's, which refuses what is signed by it"
    return Classified(Verdict.PROTOCOL, told.code, text, hint="synchronise this machine's clock (NTP)")


def _seconds(headers: Mapping[str, str]) -> float | None:
    told = headers.get("retry-after", "")
    return float(told) if told.isdigit() else None


def _endpoint(
    system: str, token_url: str, classify: Classify = classify
) -> Callable[[Mapping[str, str]], dict[str, Any]]:
    session = http.session(
        system,
        token_url,
        classify=classify,
        is_idempotent=_is_repeatable,
        bucket_of=lambda _: "",
        token=None,
        pacing=Pacing(),
    )

    def ask(form: Mapping[str, str]) -> dict[str, Any]:
        said = http.parse(session.post(token_url, data=form), system, hint=ADDRESS_HINT)
        return said if isinstance(said, dict) else {}

    return ask


def _is_repeatable(request: requests.PreparedRequest) -> bool:
    """A grant that was lost on its way costs nothing, but a refresh token that was rotated away is gone."""
    return "grant_type=refresh_token" not in str(request.body)


def _grant(system: str, answer: Mapping[str, Any]) -> Grant:
    token = answer.get("access_token")
    if not isinstance(token, str) or not token:
        raise ProtocolError("the token endpoint gave no access token", hint=ADDRESS_HINT, system=system)
    life_s = answer.get("expires_in")
    return Grant(SecretStr(token), float(life_s) if isinstance(life_s, int | float) and life_s > 0 else None)
