"""hubspot-api-client over our own session: what answers mean, and the paths of both generations of the API.

Measured behaviour of hubspot-api-client 12.0.0 that shapes this file:

- Its transport is urllib3 with no timeout and retries that never apply to POST; so `api_factory` puts `RequestsRest` in
  its place, and the session underneath paces, retries and refreshes.
- Its typed models are ten to thirty times slower than JSON; so calls pass dicts and ask for `_preload_content=False`.
- Every access such as `client.crm.objects.batch_api` builds a new connection pool; so the API objects are made once.
- It writes only the numbered paths (v3, v4). HubSpot retires those (v4 on 2027-03-30, v1 to v3 from September 2027;
  changelog "Legacy APIs and legacy apps: what's going unsupported and when"), so `aimed` rewrites them when
  `api_version` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import orjson
import requests
from hubspot import HubSpot
from hubspot.discovery.discovery_base import DiscoveryBase

from connector import clock, http
from connector.errors import ProtocolError, RecordRejected
from connector.pacing import Usage
from connector.sources.hubspot_records import Listing, listing
from connector.verdicts import Classified, Verdict

ApiVersion = Literal["v3", "2026-09"]
Json = dict[str, Any]

#: The rate buckets, which run side by side (documentation "Usage guidelines").
BURST, SEARCH, ASSOCIATIONS = "burst", "search", "associations"

#: The prefix of a numbered path -> the prefix of the dated one. Forms and events are asked by their numbered paths in both.
DATED: Mapping[str, str] = {
    "/crm/v3/objects": "/crm/objects/2026-09",
    "/crm/v4/associations": "/crm/associations/2026-09",
    "/crm/v3/properties": "/crm/properties/2026-09",
    "/crm/v3/owners": "/crm/owners/2026-09",
    "/account-info/v3": "/account-info/2026-09",
    "/oauth/v1": "/oauth/2026-09",
}


def aimed(path: str, version: ApiVersion) -> str:
    """The path of the wanted API version for a path of the numbered one."""
    if version == "v3":
        return path
    for numbered, dated in DATED.items():
        if path == numbered or path.startswith(numbered + "/"):
            return (dated + path.removeprefix(numbered)).rstrip("/")
    return path


#: Status codes of HubSpot's edge after which nobody knows whether the call took effect.
UNCERTAIN = frozenset({408, 500, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526})
LOCK_S = 2.0
#: What a policy of the rate limiter asks for when the answer has no Retry-After.
POLICY_WAIT_S: Mapping[str, float] = {"SECONDLY": 1.0, "TEN_SECONDLY_ROLLING": 2.0}

QUOTA_HINT = "the quota starts anew at midnight in the time zone of the portal"
CHANGED_HINT = "HubSpot may have changed this API"
ASKED_AGAIN_HINT = "they are asked for again with the next run"
SCOPES_HINT = "give the service key or app the scopes, then run `connector check`"

_CATEGORIES: Mapping[str, Verdict] = {
    "EXPIRED_AUTHENTICATION": Verdict.REFRESH,
    "INVALID_AUTHENTICATION": Verdict.REFRESH,
    "MISSING_SCOPES": Verdict.FORBIDDEN,
    "OBJECT_NOT_FOUND": Verdict.CONFLICT,
    "CONFLICT": Verdict.CONFLICT,
    "OBJECT_ALREADY_EXISTS": Verdict.CONFLICT,
    "VALIDATION_ERROR": Verdict.REJECTED,
    "LOCKED": Verdict.RETRY,
}
_STATUSES: Mapping[int, Verdict] = {
    400: Verdict.REJECTED,
    401: Verdict.REFRESH,
    403: Verdict.FORBIDDEN,
    404: Verdict.CONFLICT,
    409: Verdict.CONFLICT,
    414: Verdict.REJECTED,
    423: Verdict.RETRY,
    477: Verdict.RETRY,
    530: Verdict.AUTH,
}


def classify(status: int, headers: Mapping[str, str], body: Any) -> Classified:
    """What an answer of HubSpot means: by the category in its body first, then by its status."""
    if 200 <= status < 300:
        return Classified(Verdict.OK)
    said: Mapping[str, Any] = body if isinstance(body, dict) else {}
    category = str(said.get("category") or said.get("errorType") or "")
    message = str(said.get("message") or "")
    policy = str(said.get("policyName") or "")
    verdict = _CATEGORIES.get(category) or _STATUSES.get(status)
    if verdict is None:
        verdict = Verdict.RETRY_IF_IDEMPOTENT if status in UNCERTAIN else Verdict.PROTOCOL
    wait_s = _seconds(headers.get("retry-after"))
    if category.startswith("RATE_LIMIT") or status == 429:
        if policy == "DAILY" or "daily limit" in message:
            return Classified(
                Verdict.QUOTA, policy or category, message, wait_s, "it starts anew at midnight of the portal"
            )
        verdict, wait_s = Verdict.TOO_FAST, wait_s or POLICY_WAIT_S.get(policy, 1.0)
    elif category == "LOCKED" or status == 423:
        wait_s = wait_s or LOCK_S
    return Classified(verdict, _code(said, category, policy), message, wait_s, _hint(verdict, said), named(said))


def named(said: Mapping[str, Any]) -> tuple[str, ...]:
    """The properties that an error is about, by its context and those of its causes."""
    inner = said.get("errors")
    told = [said, *(inner if isinstance(inner, list) else ())]
    contexts = [each.get("context") for each in told if isinstance(each, dict)]
    names = [name for each in contexts if isinstance(each, dict) for name in each.get("propertyName") or ()]
    return tuple(dict.fromkeys(map(str, names)))


def _code(said: Mapping[str, Any], category: str, policy: str) -> str:
    inner = said.get("errors")
    first = inner[0] if isinstance(inner, list) and inner and isinstance(inner[0], dict) else {}
    return str(first.get("code") or policy or category or said.get("errorType") or "")


def _hint(verdict: Verdict, said: Mapping[str, Any]) -> str:
    if verdict is not Verdict.FORBIDDEN:
        return ""
    context = said.get("context")
    scopes = context.get("requiredGranularScopes") if isinstance(context, dict) else None
    return f"missing scopes: {', '.join(map(str, scopes))}; {SCOPES_HINT}" if scopes else SCOPES_HINT


def _seconds(told: str | None) -> float | None:
    return float(told) if told and told.isdigit() else None


def is_idempotent(request: requests.PreparedRequest) -> bool:
    """Whether a call whose answer was lost may be sent again: reads, and definitions of properties. Never a write of records:
    somebody may have written the record since, and a workflow of the portal would run twice."""
    path = (request.path_url or "").partition("?")[0]
    is_definition = request.method == "PATCH" and "/properties/" in path
    return request.method == "GET" or is_definition or path.endswith(("/search", "/batch/read"))


def bucket_of(request: requests.PreparedRequest) -> str:
    """The rate bucket that a request belongs to."""
    path = (request.path_url or "").partition("?")[0]
    if path.endswith("/search"):
        return SEARCH
    return ASSOCIATIONS if "/associations/" in path else BURST


def usage(headers: Mapping[str, str]) -> Usage | None:
    """The daily quota from the headers of an answer; searches and OAuth apps do not tell."""
    limit, left = headers.get("x-hubspot-ratelimit-daily", ""), headers.get("x-hubspot-ratelimit-daily-remaining", "")
    return Usage(int(limit) - int(left), int(limit)) if limit.isdigit() and left.isdigit() else None


class RequestsRest:
    """What the generated client takes for its transport: the same calls, over one requests session."""

    def __init__(self, session: requests.Session, url: str, version: ApiVersion) -> None:
        self._session = session
        self._url = url
        self._version = version

    def request(
        self,
        method: str,
        url: str,
        query_params: Any = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        **_: Any,
    ) -> requests.Response:
        """Send one request of the generated client; raises what the session raises."""
        return self._session.request(
            method,
            self._url + aimed(url.removeprefix(self._url), self._version),
            params=query_params,
            headers={"Accept": "application/json", "Content-Type": "application/json"},
            data=None if body is None else orjson.dumps(body),
        )

    def __getattr__(self, method: str) -> Callable[..., requests.Response]:
        if method not in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            raise AttributeError(method)
        return lambda url, **options: self.request(method, url, **options)


def _as_it_is(body: Any) -> Any:
    """What we hand to the generated client is JSON: it need not walk through it for models and dates."""
    return body


class Api:
    """The calls that the adapter makes, each giving the parsed answer. Safe to share between threads."""

    def __init__(self, session: http.Session, url: str, version: ApiVersion, system: str) -> None:
        self._session = session
        self._url = url
        self._version: ApiVersion = version
        self._system = system
        rest = RequestsRest(session, url, version)

        def made(package: Any, name: str, config: Mapping[str, Any]) -> Any:
            api = DiscoveryBase._default_api_factory(package, name, config)
            api.api_client.rest_client = rest
            api.api_client.sanitize_for_serialization = _as_it_is
            return api

        client = HubSpot(host=url, api_factory=made)
        self._basic = client.crm.objects.basic_api
        self._batch = client.crm.objects.batch_api
        self._search = client.crm.objects.search_api
        self._associations = client.crm.associations.v4.batch_api
        self._properties = client.crm.properties.core_api
        self._property_batch = client.crm.properties.batch_api
        self._property_groups = client.crm.properties.groups_api
        self._owners = client.crm.owners.owners_api
        self._forms = client.marketing.forms.forms_api

    # -------------------------------------------------------------------------------------------------- records

    def search(self, object_type: str, body: Json) -> Listing:
        """One page of a search: at most 200 records."""
        return self._listing(self._search.do_search(object_type, body, _preload_content=False))

    def listed(
        self, object_type: str, properties: Sequence[str], after: str | None, *, is_archived: bool = False
    ) -> Listing:
        """One page of the list: at most 100 records, by growing id."""
        position = {} if after is None else {"after": after}
        return self._listing(
            self._basic.get_page(
                object_type,
                limit=LIST_PAGE,
                archived=_flag(is_archived),
                # one comma list: the client would repeat the parameter's name, and URLs end at 8,000 characters
                properties=[",".join(properties)],
                _preload_content=False,
                **position,
            )
        )

    def batch(self, object_type: str, verb: Literal["read", "update", "create"], body: Json) -> Json:
        """One batch call on at most 100 records; a partial failure (207) is an answer with `errors`."""
        return self._parsed(getattr(self._batch, verb)(object_type, body, _preload_content=False))

    def associated(self, from_type: str, to_type: str, inputs: Sequence[Json]) -> Json:
        """The associations of at most 1,000 records."""
        body = {"inputs": inputs}
        return self._parsed(self._associations.get_page(from_type, to_type, body, _preload_content=False))

    # -------------------------------------------------------------------------------------------------- schema

    def properties(self, object_type: str) -> list[Json]:
        """Every property of an object type."""
        return results(self._parsed(self._properties.get_all(object_type, _preload_content=False)))

    def property_groups(self, object_type: str) -> list[Json]:
        """Every property group of an object type."""
        return results(self._parsed(self._property_groups.get_all(object_type, _preload_content=False)))

    def create_group(self, object_type: str, body: Json) -> None:
        """Create a property group."""
        self._property_groups.create(object_type, body, _preload_content=False)

    def create_property(self, object_type: str, body: Json) -> None:
        """Create one property. Raises RecordRejected or MissingPermission when the portal does not take it."""
        self._properties.create(object_type, body, _preload_content=False)

    def create_properties(self, object_type: str, bodies: Sequence[Json]) -> Json:
        """Create at most 100 properties; what failed is in `errors`."""
        return self._parsed(self._property_batch.create(object_type, {"inputs": bodies}, _preload_content=False))

    def update_property(self, object_type: str, name: str, body: Json) -> None:
        """Change the definition of a property; a list of options replaces the old list."""
        self._properties.update(object_type, name, body, _preload_content=False)

    # -------------------------------------------------------------------------------------------------- others

    def owners(self, after: str | None, *, is_archived: bool) -> Json:
        """One page of the portal's owners."""
        position = {} if after is None else {"after": after}
        return self._parsed(
            self._owners.get_page(limit=100, archived=_flag(is_archived), _preload_content=False, **position)
        )

    def forms(self, after: str | None) -> Json:
        """One page of the portal's forms."""
        position = {} if after is None else {"after": after}
        return self._parsed(self._forms.get_page(limit=100, _preload_content=False, **position))

    def get(self, path: str, **params: str | int) -> Json:
        """A path that the client library does not have."""
        url = self._url + aimed(path, self._version)
        return self._parsed(self._session.get(url, params=params, headers={"Accept": "application/json"}))

    def _listing(self, response: requests.Response) -> Listing:
        try:
            return listing(response.content)
        except ValueError as error:
            results(self._parsed(response))
            raise ProtocolError("the answer is no page of records", hint=CHANGED_HINT, system=self._system) from error

    def _parsed(self, response: requests.Response) -> Json:
        answer = http.parse(response, self._system)
        if not isinstance(answer, dict):
            raise ProtocolError(
                "the answer is not a JSON object",
                hint="HubSpot may have changed this API, or something answers in its place",
                system=self._system,
                request_id=http.request_id(response.headers),
            )
        return answer


class ServerClock:
    """What time the server has, learned from the Date of its answers (whole seconds)."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)
        self._last_date = ""

    def hear(self, response: requests.Response) -> None:
        """Learn from an answer; to be given to the session as `on_answer`."""
        date = response.headers.get("Date", "")
        if not date or date == self._last_date:
            return
        self._last_date = date
        try:
            self._ahead = parsedate_to_datetime(date).astimezone(UTC) - clock.now()
        except ValueError:
            return

    @property
    def ahead_s(self) -> float:
        """By how much the server's clock is ahead of ours."""
        return self._ahead.total_seconds()

    def at(self, instant: datetime) -> datetime:
        """What the server's clock showed at an instant of ours, by what its answers have told until now; never later than
        that: the date of an answer is cut to its second and older than the moment in which we hear it. A cursor that is
        too early reads something twice, one too late would lose it."""
        return instant + self._ahead


LIST_PAGE = 100


def _flag(value: bool) -> str:
    return "true" if value else "false"


def results(answer: Json) -> list[Any]:
    """The rows of an answer. Raises ProtocolError when it has none."""
    rows = answer.get("results")
    if not isinstance(rows, list):
        raise ProtocolError("the answer has no list of results", hint=CHANGED_HINT)
    return rows


class Untold(RecordRejected):
    """An answer leaves open what there is: it must not look as if it were not there, and is asked for again."""


#: The category of "there is no such record", and how the subcategory of "this record has none" ends.
GONE, NONE = "OBJECT_NOT_FOUND", "NO_ASSOCIATIONS_FOUND"


def told(answer: Json, what: str) -> list[Any]:
    """The rows of a partial answer. Raises Untold for any other error in it than that a record is gone or has none."""
    for error in answer.get("errors") or ():
        category = str(error.get("category") or error.get("subCategory") or "")
        if category != GONE and not str(error.get("subCategory") or "").endswith(NONE):
            raise Untold(
                f"{what} were not told: {error.get('message') or category}", code=category, hint=ASKED_AGAIN_HINT
            )
    return results(answer)


def next_after(answer: Json) -> str | None:
    """Where the next page begins, or None after the last one."""
    after = ((answer.get("paging") or {}).get("next") or {}).get("after")
    return None if after in (None, "") else str(after)
