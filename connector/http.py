"""One requests session per system, and below it one transport that every client library shares.

Each call passes: pacing, Authorization, timeout, send, read the whole body, `classify`, and what its verdict says:
return, send again, refresh the token once, or raise one of our errors. Client libraries keep their own way of building
requests; none of them retries, refreshes or waits any more.
"""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit, urlunsplit

import orjson
import requests
import tenacity
import urllib3
from requests.adapters import HTTPAdapter

from connector import clock
from connector.errors import (
    AuthError,
    ConnectorError,
    Interrupted,
    MissingPermission,
    ProtocolError,
    QuotaExhausted,
    RecordConflict,
    RecordRejected,
    SystemFailure,
    SystemUnavailable,
    TooFast,
    TransientError,
)
from connector.log import redact
from connector.pacing import Pacing
from connector.retries import Retries, Tries, pause
from connector.verdicts import Classified, Classify, Verdict

POOL_SIZE = 16
_FIRST_NOT_OK, _FIRST_ERROR = 300, 400
_DOWNLOAD_BYTES = 1 << 18
_BODY_BYTES = 1 << 20
_NEW_TOKEN_S = 2.0  # until a token that was just issued should be known everywhere in the system
TIMEOUT_S = (3.05, 60.0)  # to connect, between two bytes of the answer
BODY_KEPT_CHARACTERS = 2000
#: Where vendors put the id that their support asks for.
REQUEST_ID_HEADERS = ("x-hubspot-correlation-id", "x-sfdc-request-id", "x-request-id")

BucketOf = Callable[[requests.PreparedRequest], str]
IsIdempotent = Callable[[requests.PreparedRequest], bool]
OnAnswer = Callable[[requests.Response], None]


class Bearer(Protocol):
    """Where the access token comes from. Safe to share between threads."""

    def token(self) -> str:
        """The present token, fetched when there is none or it is nearly over. Raises AuthError."""
        ...

    def refresh(self, stale: str) -> str:
        """Another token than `stale`: one thread fetches it, the others get what it fetched. Raises AuthError."""
        ...


class Session(requests.Session):
    """A requests session that knows how many calls it sent, repeated ones included."""

    transport: _Transport

    @property
    def calls(self) -> int:
        """Requests that went out to the system."""
        return self.transport.calls


def session(
    system: str,
    base_url: str,
    *,
    classify: Classify,
    is_idempotent: IsIdempotent,
    bucket_of: BucketOf,
    token: Bearer | None,
    pacing: Pacing,
    retries: Retries = Retries(),
    timeout_s: tuple[float, float] = TIMEOUT_S,
    on_answer: OnAnswer | None = None,
) -> Session:
    """A session for one system.

    The token goes to the host of `base_url` only. A `base_url` of plain http (loopback) is used even where a client
    library builds https. `classify` sees the status, the headers (names in lower case) and, for a status of 300 and
    above, the body: parsed JSON, or text. `on_answer` sees every answer before it is judged.

    Calls raise AuthError, MissingPermission, QuotaExhausted, ProtocolError, RecordRejected, RecordConflict, or
    SystemUnavailable when retries are used up or the call may have taken effect and must not be sent again, and its kind
    Interrupted once the process is told to end: then nothing is sent again.
    """
    made = Session()
    made.transport = _Transport(
        _Settings(
            system, urlsplit(base_url), classify, is_idempotent, bucket_of, token, pacing, retries, timeout_s, on_answer
        )
    )
    made.mount("https://", made.transport)
    made.mount("http://", made.transport)
    made.trust_env = not is_loopback(base_url)  # no proxy stands before a server on this machine
    return made


_BETWEEN_HINT = "something between us and the system may have answered for it, such as a proxy or a maintenance page"


def parse(response: requests.Response, system: str = "", *, hint: str = _BETWEEN_HINT) -> Any:
    """The answer's JSON (None for an empty body). Raises ProtocolError, with the `hint`, when it is something else."""
    if not response.content:
        return None
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError:
        raise ProtocolError(
            f"the answer ({response.status_code}) is not JSON",
            body=_kept(response.text),
            hint=hint,
            system=system,
            request_id=request_id(response.headers),
        ) from None


_TOO_FAST_HINT = "see what else uses this system's calls; its limit may be lower than it is known to be"


class Sink(Protocol):
    """What takes bytes, and takes them from the beginning again; a file is one."""

    def seek(self, at: int, /) -> int: ...
    def truncate(self) -> int: ...
    def write(self, piece: bytes, /) -> int: ...


def download(
    session: Session,
    url: str,
    into: Sink,
    *,
    system: str,
    headers: Mapping[str, str],
    retries: Retries = Retries(),
) -> Mapping[str, str]:
    """Copy the body of a large answer into a file, piece by piece; from the beginning again when the connection breaks.

    Returns the answer's headers. Raises what calls of `session` raise.
    """

    def copy() -> Mapping[str, str]:
        into.seek(0)
        into.truncate()
        try:
            with session.get(url, headers=dict(headers), stream=True) as response:
                for piece in response.iter_content(_DOWNLOAD_BYTES):
                    into.write(piece)
                return response.headers
        except requests.exceptions.RequestException as error:
            what = f"the connection broke in the middle of an answer ({type(error).__name__})"
            raise TransientError(what, hint="check the network between", system=system) from error

    try:
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=tenacity.stop_after_attempt(retries.attempts),
            wait=tenacity.wait_random_exponential(multiplier=retries.first_wait_s, max=retries.max_wait_s),
            sleep=pause,
            reraise=True,
        )(copy)
    except (TransientError, Interrupted) as error:
        raise _unavailable(error, system, sent=True) from error


def error_of(told: Classified, system: str, *, status: int = 0, body: str = "", request_id: str = "") -> ConnectorError:
    """The error that stands for a verdict other than OK, on a whole answer or on a part of one."""
    what = redact(told.message) or f"HTTP {status}"
    message = f"{what} ({told.code})" if told.code else what
    is_elsewhere = _FIRST_NOT_OK <= status < _FIRST_ERROR
    hint = told.hint or ("the system leads to another address; see its `url`" if is_elsewhere else "")
    about = {"hint": hint, "system": system, "request_id": request_id}
    match told.verdict:
        case Verdict.RETRY | Verdict.RETRY_IF_IDEMPOTENT:
            sent = told.verdict is Verdict.RETRY_IF_IDEMPOTENT
            error: ConnectorError = TransientError(message, retry_after_s=told.retry_after_s, sent=sent, **about)
        case Verdict.TOO_FAST:
            about["hint"] = told.hint or _TOO_FAST_HINT
            error = TooFast(message, retry_after_s=told.retry_after_s, sent=False, **about)
        case Verdict.REFRESH | Verdict.AUTH:
            about["hint"] = told.hint or f"renew the credentials, then run `connector check {system}`"
            error = AuthError(message, **about)
        case Verdict.QUOTA:
            resets_at = clock.now() + timedelta(seconds=told.retry_after_s) if told.retry_after_s else None
            error = QuotaExhausted(message, resets_at=resets_at, **about)
        case Verdict.FORBIDDEN:
            error = MissingPermission(message, **about)
        case Verdict.REJECTED:
            error = RecordRejected(message, code=told.code, fields=told.fields, **about)
        case Verdict.CONFLICT:
            error = RecordConflict(message, code=told.code, fields=told.fields, **about)
        case _:
            error = ProtocolError(message, body=_kept(body), **about)
    return error


def request_id(headers: Mapping[str, str]) -> str:
    """The id under which the vendor's support finds this call, or ""."""
    return next((headers[name] for name in REQUEST_ID_HEADERS if name in headers), "")


def is_loopback(url: str) -> bool:
    """Whether the URL points to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def safe_url(url: str) -> str:
    """The URL without a trailing slash. Raises ValueError unless it is https, or http to this machine."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL such as https://acme.example.com")
    if parts.scheme == "http" and not is_loopback(url):
        raise ValueError("must start with https:// (plain http would show the token to the network)")
    return url.rstrip("/")


def was_sent(error: BaseException) -> bool:
    """Whether a request that failed in this way may have reached the system. False only when it certainly did not."""
    unsent = (
        requests.exceptions.ConnectTimeout,
        requests.exceptions.ProxyError,
        urllib3.exceptions.NewConnectionError,
        urllib3.exceptions.ConnectTimeoutError,
        ssl.SSLCertVerificationError,
    )
    todo: list[object] = [error]
    seen: set[int] = set()
    while todo:
        part = todo.pop()
        if not isinstance(part, BaseException) or id(part) in seen:
            continue
        if isinstance(part, unsent):
            return False
        seen.add(id(part))
        todo += [*part.args, getattr(part, "reason", None), part.__cause__]
    return True


@dataclass(frozen=True, slots=True)
class _Settings:
    system: str
    base: SplitResult
    classify: Classify
    is_idempotent: IsIdempotent
    bucket_of: BucketOf
    token: Bearer | None
    pacing: Pacing
    retries: Retries
    timeout_s: tuple[float, float]
    on_answer: OnAnswer | None


class _Transport(HTTPAdapter):
    """What stands between every client library and the network, for one system."""

    def __init__(self, settings: _Settings) -> None:
        super().__init__(pool_connections=4, pool_maxsize=POOL_SIZE, max_retries=0, pool_block=False)
        self.calls = 0
        self._to = settings
        self._lock = threading.Lock()

    def send(  # type: ignore[override]  # the library's own signature, with our default for the timeout
        self, request: requests.PreparedRequest, stream: bool = False, timeout: Any = None, **options: Any
    ) -> requests.Response:
        tries = Tries(self._to.retries, is_idempotent=partial(self._to.is_idempotent, request))
        try:
            return tenacity.Retrying(
                retry=tenacity.retry_if_exception(tries.may_repeat),
                stop=tries.is_enough,
                wait=tries.wait_s,
                sleep=pause,
                reraise=True,
            )(self._exchange, request, timeout or self._to.timeout_s, {**options, "stream": stream})
        except (TransientError, QuotaExhausted, SystemFailure) as error:
            if not isinstance(error, TransientError | Interrupted) and not tries.is_in_doubt:
                raise
            raise _unavailable(error, self._to.system, sent=tries.is_in_doubt) from error

    def _exchange(
        self, request: requests.PreparedRequest, timeout_s: Any, options: dict[str, Any]
    ) -> requests.Response:
        """Send once, and with a refreshed token where the one before is refused; that one, too, gets a second chance."""
        is_ours = self._aim(request)
        bucket = self._to.bucket_of(request)
        bearer = self._to.token if is_ours else None
        token = self._fetched(bearer.token) if bearer else None
        response, told = self._send_once(request, token, bucket, timeout_s, options)
        if told.verdict is Verdict.REFRESH and bearer and token:
            token = self._fetched(partial(bearer.refresh, token))
            response, told = self._send_once(request, token, bucket, timeout_s, options)
            if told.verdict is Verdict.REFRESH:
                pause(_NEW_TOKEN_S)
                response, told = self._send_once(request, token, bucket, timeout_s, options)
        if told.verdict is Verdict.OK:
            return response
        held_s = min(told.retry_after_s or 0.0, self._to.retries.max_wait_s)
        if told.verdict is Verdict.TOO_FAST:
            self._to.pacing.slow_down(bucket, held_s)
        elif held_s and told.verdict in (Verdict.RETRY, Verdict.RETRY_IF_IDEMPOTENT):
            self._to.pacing.pause(bucket, held_s)
        raise error_of(
            told,
            self._to.system,
            status=response.status_code,
            body=response.text,
            request_id=request_id(response.headers),
        )

    def _fetched(self, fetch: Callable[[], str]) -> str:
        """A token; where none can be had, the call it was for has had no effect."""
        try:
            return fetch()
        except SystemUnavailable as error:
            raise type(error)(str(error), sent=False, hint=error.hint, system=self._to.system) from error

    def _send_once(
        self, request: requests.PreparedRequest, token: str | None, bucket: str, timeout_s: Any, options: dict[str, Any]
    ) -> tuple[requests.Response, Classified]:
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        self._to.pacing.wait(bucket)
        with self._lock:
            self.calls += 1
        try:
            response = super().send(request, timeout=timeout_s, **options)
            is_streamed = options["stream"] and response.status_code < _FIRST_NOT_OK
            if not is_streamed:  # in one piece: the library takes 10 KB at a time and joins them
                response._content = b"".join(response.iter_content(_BODY_BYTES))
            # the body belongs to the exchange, for a connection may break in the middle of it; `download` sees to others
            body = b"" if is_streamed else response.content
        except requests.exceptions.RequestException as error:
            sent = was_sent(error)
            host = urlsplit(request.url or "").netloc
            what = f"the connection to {host} broke or timed out" if sent else f"no connection to {host} could be made"
            raise TransientError(
                f"{what} ({type(error).__name__})",
                sent=sent,
                hint="check the address of the system and the network between",
                system=self._to.system,
            ) from error
        headers = {name.lower(): value for name, value in response.headers.items()}
        self._to.pacing.observe(headers)
        if self._to.on_answer:
            self._to.on_answer(response)
        told = self._to.classify(response.status_code, headers, _body(response, body))
        self._to.pacing.answered(redact(told.message) or told.code if told.verdict is Verdict.QUOTA else "")
        return response, told

    def _aim(self, request: requests.PreparedRequest) -> bool:
        """Whether the request goes to the system itself; if so, it is sent over the system's own scheme."""
        parts = urlsplit(request.url or "")
        if parts.netloc != self._to.base.netloc:
            return False
        if parts.scheme != self._to.base.scheme:
            request.url = urlunsplit(parts._replace(scheme=self._to.base.scheme))
        return True


def _body(response: requests.Response, body: bytes) -> Any:
    if response.status_code < _FIRST_NOT_OK or not body:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return response.text[:BODY_KEPT_CHARACTERS]


def _unavailable(error: ConnectorError, system: str, *, sent: bool) -> SystemUnavailable:
    """What stands for a call that is not sent again: the system does not answer, or we were told to end."""
    made = Interrupted if clock.is_ending() else SystemUnavailable
    return made(str(error), sent=sent, hint=error.hint, system=system, request_id=error.request_id)


def _kept(text: str) -> str:
    return redact(text[:BODY_KEPT_CHARACTERS])
