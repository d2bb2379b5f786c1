"""The one transport under every client library."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import responses
import urllib3
from pydantic import SecretStr
from simple_salesforce import Salesforce

from connector import auth, clock, http
from connector.errors import (
    AuthError,
    ConnectorError,
    MissingPermission,
    ProtocolError,
    QuotaExhausted,
    RecordConflict,
    RecordRejected,
    SystemUnavailable,
)
from connector.model import Window
from connector.pacing import Pacing
from connector.verdicts import Classified, Verdict

BASE = "http://127.0.0.1:9"
URL = f"{BASE}/things"
STATUSES = {
    200: Verdict.OK,
    207: Verdict.OK,
    401: Verdict.REFRESH,
    402: Verdict.AUTH,
    403: Verdict.FORBIDDEN,
    404: Verdict.OK,
    409: Verdict.CONFLICT,
    422: Verdict.REJECTED,
    423: Verdict.QUOTA,
    429: Verdict.RETRY,
    500: Verdict.RETRY_IF_IDEMPOTENT,
}


def classify(status: int, headers: Mapping[str, str], body: Any) -> Classified:
    said = body if isinstance(body, dict) else {}
    wait_s = headers.get("retry-after")
    verdict = STATUSES.get(status, Verdict.PROTOCOL)
    return Classified(verdict, said.get("code", ""), said.get("message", ""), float(wait_s) if wait_s else None)


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(clock, "sleep", waits.append)
    return waits


def made(base_url: str = BASE, **changes: Any) -> http.Session:
    settings: dict[str, Any] = {
        "classify": classify,
        "is_idempotent": lambda request: request.method == "GET",
        "bucket_of": lambda _: "burst",
        "token": None,
        "pacing": Pacing(),
    }
    return http.session("crm", base_url, **settings | changes)


class Tokens:
    """t1, then t2, …"""

    def __init__(self) -> None:
        self.refreshed = 0

    def token(self) -> str:
        return f"t{self.refreshed + 1}"

    def refresh(self, stale: str) -> str:
        self.refreshed += 1
        return self.token()


# --------------------------------------------------------------------------------------------------- what is sent


@responses.activate
def test_the_token_goes_to_the_system_and_to_nobody_else() -> None:
    responses.get(URL, json={})
    responses.get("http://elsewhere.example/x", json={})
    session = made(token=Tokens())
    session.get(URL)
    session.get("http://elsewhere.example/x")
    assert responses.calls[0].request.headers["Authorization"] == "Bearer t1"
    assert "Authorization" not in responses.calls[1].request.headers


@responses.activate
def test_a_redirect_to_another_host_does_not_take_the_token_along() -> None:
    responses.get(URL, status=302, headers={"Location": "http://elsewhere.example/x"})
    responses.get("http://elsewhere.example/x", json={})
    accept = lambda *_: Classified(Verdict.OK)  # noqa: E731
    made(token=Tokens(), classify=accept).get(URL)
    assert "Authorization" not in responses.calls[1].request.headers


@responses.activate
def test_a_plain_http_target_is_reached_even_if_a_library_builds_https() -> None:
    responses.get(URL, json={"a": 1})
    assert http.parse(made().get(URL.replace("http:", "https:"))) == {"a": 1}


@responses.activate
def test_salesforces_library_passes_through_it() -> None:
    responses.get(f"{BASE}/services/data/v62.0/limits/", status=429)
    responses.get(f"{BASE}/services/data/v62.0/limits/", json={"DailyApiRequests": {}})
    session = made(token=Tokens())
    library = Salesforce(instance_url=BASE, session_id="", session=session, version="62.0")
    assert library.limits() == {"DailyApiRequests": {}}
    assert session.calls == 2
    assert responses.calls[1].request.headers["Authorization"] == "Bearer t1"


@responses.activate
def test_every_call_has_a_timeout_and_a_place_in_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    responses.get(URL, json={})
    waited: list[str] = []
    pacing = Pacing([Window("burst", 1, 10)])
    monkeypatch.setattr(pacing, "wait", waited.append)
    made(pacing=pacing, timeout_s=(1.0, 2.0)).get(URL)
    made(pacing=pacing).get(URL, timeout=7)
    timeouts = [call.request.req_kwargs["timeout"] for call in responses.calls]  # type: ignore[attr-defined]
    assert timeouts == [(1.0, 2.0), 7]
    assert waited == ["burst", "burst"]


# --------------------------------------------------------------------------------------------------- what comes back


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (402, AuthError),
        (403, MissingPermission),
        (409, RecordConflict),
        (418, ProtocolError),
        (422, RecordRejected),
        (423, QuotaExhausted),
    ],
)
@responses.activate
def test_a_refusal_is_our_error_with_the_vendors_words_and_is_not_sent_again(
    status: int, error: type[ConnectorError]
) -> None:
    responses.get(URL, status=status, json={"code": "X1", "message": "no"}, headers={"X-HubSpot-Correlation-Id": "abc"})
    with pytest.raises(error, match=r"no \(X1\)") as caught:
        made().get(URL)
    assert type(caught.value) is error
    assert (caught.value.system, caught.value.request_id) == ("crm", "abc")
    assert getattr(caught.value, "code", "X1") == "X1"
    assert len(responses.calls) == 1


@responses.activate
def test_an_answer_that_classify_accepts_is_handed_over_whatever_its_status() -> None:
    responses.get(URL, status=404, json={"code": "gone"})
    assert made().get(URL).status_code == 404


@responses.activate
def test_personal_values_and_tokens_in_a_vendors_words_do_not_reach_the_error() -> None:
    said = {"code": "X", "message": "bad value ann@acme.com, Bearer abc.def"}
    responses.get(URL, status=418, json=said)
    with pytest.raises(ProtocolError) as caught:
        made().get(URL)
    shown = f"{caught.value} {caught.value.body} {caught.value.hint}"
    assert "ann@acme.com" not in shown
    assert "abc.def" not in shown


@responses.activate
def test_classify_sees_parsed_json_or_text_and_header_names_in_lower_case() -> None:
    seen: list[Any] = []

    def watch(status: int, headers: Mapping[str, str], body: Any) -> Classified:
        seen.append((status, headers.get("x-a"), body))
        return Classified(Verdict.OK)

    responses.get(URL, json={"big": 1}, headers={"X-A": "1"})
    responses.get(URL, status=400, json={"a": 1})
    responses.get(URL, status=503, body="<html>down</html>")
    session = made(classify=watch)
    for _ in range(3):
        session.get(URL)
    assert seen == [(200, "1", None), (400, None, {"a": 1}), (503, None, "<html>down</html>")]


@responses.activate
def test_every_answer_is_seen_and_teaches_the_quota_even_a_refused_one() -> None:
    seen: list[int] = []
    pacing = Pacing(learn=lambda headers: None)
    learned: list[str] = []
    pacing.observe = lambda headers: learned.append(headers["x-used"])  # type: ignore[method-assign]
    responses.get(URL, status=422, headers={"X-Used": "7"})
    with pytest.raises(RecordRejected):
        made(pacing=pacing, on_answer=lambda response: seen.append(response.status_code)).get(URL)
    assert (seen, learned) == ([422], ["7"])


@responses.activate
def test_json_is_parsed_and_anything_else_is_refused_by_name() -> None:
    responses.get(URL, json={"é": [1, None]})
    responses.get(URL, body="<html>Maintenance of ann@acme.com</html>")
    responses.get(URL, status=200, body="")
    session = made()
    assert http.parse(session.get(URL)) == {"é": [1, None]}
    with pytest.raises(ProtocolError, match="not JSON") as caught:
        http.parse(session.get(URL), "crm")
    assert caught.value.body == f"<html>Maintenance of {caught.value.body.split()[2]}"
    assert "ann@acme.com" not in caught.value.body
    assert http.parse(session.get(URL)) is None


# --------------------------------------------------------------------------------------------------- again, or not


@responses.activate
def test_what_had_no_effect_is_sent_again_even_if_it_is_a_write(slept: list[float]) -> None:
    responses.post(URL, status=429)
    responses.post(URL, status=429)
    responses.post(URL, json={})
    session = made()
    assert session.post(URL, json={"a": 1}).status_code == 200
    assert session.calls == 3
    assert len(slept) == 2
    assert responses.calls[2].request.body == responses.calls[0].request.body


@responses.activate
def test_what_may_have_taken_effect_is_sent_again_only_if_it_is_idempotent() -> None:
    responses.post(URL, status=500)
    with pytest.raises(SystemUnavailable) as caught:
        made().post(URL)
    assert caught.value.sent
    assert len(responses.calls) == 1
    responses.get(URL, status=500)
    responses.get(URL, json={})
    assert made().get(URL).status_code == 200


@responses.activate
def test_retries_end_and_say_whether_the_call_may_have_taken_effect() -> None:
    responses.get(URL, status=429)
    with pytest.raises(SystemUnavailable) as caught:
        made(retries=http.Retries(attempts=3)).get(URL)
    assert len(responses.calls) == 3
    assert not caught.value.sent


@responses.activate
def test_one_ambiguous_attempt_keeps_the_whole_call_ambiguous() -> None:
    responses.get(URL, status=500)
    responses.get(URL, status=429)
    with pytest.raises(SystemUnavailable) as caught:
        made(retries=http.Retries(attempts=2)).get(URL)
    assert caught.value.sent


@responses.activate
def test_a_quota_that_ends_between_attempts_does_not_hide_that_the_first_may_have_taken_effect() -> None:
    responses.get(URL, status=500)
    responses.get(URL, status=423)
    with pytest.raises(SystemUnavailable) as caught:
        made().get(URL)
    assert caught.value.sent


@responses.activate
def test_the_wait_that_a_system_asks_for_is_kept_and_holds_the_others_too(slept: list[float]) -> None:
    responses.get(URL, status=429, headers={"Retry-After": "11"})
    responses.get(URL, json={})
    paused: list[tuple[str, float]] = []
    pacing = Pacing()
    pacing.pause = lambda bucket, seconds: paused.append((bucket, seconds))  # type: ignore[method-assign]
    made(pacing=pacing).get(URL)
    assert slept == [11.0]
    assert paused == [("burst", 11.0)]


@responses.activate
def test_a_wait_that_is_too_long_is_not_waited_for() -> None:
    responses.get(URL, status=429, headers={"Retry-After": "3600"})
    with pytest.raises(SystemUnavailable) as caught:
        made().get(URL)
    assert len(responses.calls) == 1
    assert not caught.value.sent


@responses.activate
def test_an_old_token_is_refreshed_once_and_the_call_keeps_its_headers_and_body() -> None:
    responses.post(URL, status=401)
    responses.post(URL, json={"ok": True})
    tokens = Tokens()
    made(token=tokens).post(URL, data=b"body", headers={"X-Mine": "kept"})
    again = responses.calls[1].request
    assert again.headers["Authorization"] == "Bearer t2"
    assert (again.headers["X-Mine"], again.body) == ("kept", b"body")
    assert tokens.refreshed == 1


@responses.activate
def test_a_new_token_that_is_refused_is_tried_once_more_after_a_moment(slept: list[float]) -> None:
    for _ in range(2):
        responses.get(URL, status=401)
    responses.get(URL, json={})
    tokens = Tokens()
    assert made(token=tokens).get(URL).status_code == 200
    assert responses.calls[2].request.headers["Authorization"] == "Bearer t2"
    assert (slept, tokens.refreshed) == ([2.0], 1)


@responses.activate
def test_a_new_token_that_stays_refused_is_an_auth_error() -> None:
    responses.get(URL, status=401, json={"code": "EXPIRED", "message": "expired"})
    tokens = Tokens()
    with pytest.raises(AuthError, match="expired") as caught:
        made(token=tokens).get(URL)
    assert len(responses.calls) == 3
    assert "connector check crm" in caught.value.hint


@responses.activate
def test_a_token_that_cannot_be_had_means_that_nothing_was_sent() -> None:
    class Down(Tokens):
        def token(self) -> str:
            raise SystemUnavailable("the token endpoint is down", sent=True)

    with pytest.raises(SystemUnavailable) as caught:
        made(token=Down()).post(URL)
    assert not caught.value.sent
    assert len(responses.calls) == 0


@responses.activate
def test_threads_with_one_old_token_cause_one_refresh() -> None:
    given: list[str] = []

    def issue() -> auth.Grant:
        given.append(f"t{len(given)}")
        return auth.Grant(SecretStr(given[-1]))

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        return (401 if request.headers["Authorization"] == "Bearer t0" else 200), {}, "{}"

    responses.add_callback("GET", URL, answer)
    session = made(token=auth.TokenSource(issue))
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: session.get(URL).status_code, range(8)))
    assert statuses == [200] * 8
    assert given == ["t0", "t1"]


# --------------------------------------------------------------------------------------------------- broken connections


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (requests.exceptions.ConnectTimeout("t"), False),
        (requests.exceptions.ProxyError("p"), False),
        (requests.exceptions.ReadTimeout("t"), True),
        (requests.exceptions.ChunkedEncodingError("c"), True),
        (
            requests.exceptions.ConnectionError(urllib3.exceptions.ProtocolError("aborted", ConnectionResetError())),
            True,
        ),
        (
            requests.exceptions.ConnectionError(
                urllib3.exceptions.MaxRetryError(
                    None,  # type: ignore[arg-type]
                    "/",
                    urllib3.exceptions.NewConnectionError(None, "refused"),  # type: ignore[arg-type]
                )
            ),
            False,
        ),
        (
            requests.exceptions.SSLError(
                urllib3.exceptions.MaxRetryError(
                    None,  # type: ignore[arg-type]
                    "/",
                    urllib3.exceptions.SSLError(ssl.SSLCertVerificationError(1, "certificate verify failed")),
                )
            ),
            False,
        ),
        (requests.exceptions.SSLError("in the middle"), True),
    ],
)
def test_only_a_request_that_certainly_did_not_leave_counts_as_not_sent(error: Exception, sent: bool) -> None:
    assert http.was_sent(error) is sent


Script = Callable[[socket.socket], None]


@pytest.fixture
def serve() -> Iterator[Callable[[list[Script]], str]]:
    """A real server on loopback that treats its n-th connection as the n-th script says."""
    listener = socket.create_server(("127.0.0.1", 0))

    def start(scripts: list[Script]) -> str:
        def run() -> None:
            for script in scripts:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    script(connection)

        threading.Thread(target=run, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    listener.close()


def drop(connection: socket.socket) -> None:
    connection.close()


def half(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")


def whole(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")


def test_a_dropped_connection_and_a_torn_body_are_read_again_for_a_read(serve: Callable[[list[Script]], str]) -> None:
    base = serve([drop, half, whole])
    session = made(base)
    assert http.parse(session.get(f"{base}/x")) == {}
    assert session.calls == 3


@pytest.mark.parametrize("script", [drop, half])
def test_a_write_whose_answer_was_lost_is_in_doubt_and_not_sent_again(
    serve: Callable[[list[Script]], str], script: Script
) -> None:
    base = serve([script, whole])
    session = made(base)
    with pytest.raises(SystemUnavailable, match="broke or timed out") as caught:
        session.post(f"{base}/x", json={})
    assert caught.value.sent
    assert session.calls == 1


def test_a_refused_connection_is_certainly_not_sent_and_tried_again_even_for_a_write() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    session = made(base, retries=http.Retries(attempts=3))
    with pytest.raises(SystemUnavailable, match=f"no connection to {base[7:]}") as caught:
        session.post(f"{base}/x", json={})
    assert not caught.value.sent
    assert session.calls == 3


# --------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "url", ["https://acme.my.salesforce.com/", "http://127.0.0.1:80", "http://localhost", "http://[::1]:1"]
)
def test_https_and_this_machine_are_safe_addresses(url: str) -> None:
    assert http.safe_url(url) == url.rstrip("/")


@pytest.mark.parametrize("url", ["http://acme.my.salesforce.com", "acme", "ftp://x", "http://10.0.0.1", ""])
def test_an_address_that_would_show_the_token_to_the_network_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        http.safe_url(url)
