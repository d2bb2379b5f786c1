"""HubSpot: contacts, companies, deals, tickets, activities, events; our fields and tasks back into it.

Facts (HubSpot's developer documentation: "Usage guidelines", "Error handling", "CRM search", "Account information"):

- Three rate buckets run side by side: calls in general (100, 190 or 250 in any 10 s, by plan), searches (5 a second for
  the whole account, exempt from the first), and batch association calls (exempt from the first).
- The daily limit is shared with every other application of the account and starts anew at midnight in its time zone.
- Errors carry a `category`; validation errors carry `errors[].code`. 429 names its policy and only sometimes
  `Retry-After`. 423 is a lock of two seconds, 477 a move between data centres, 530 a malformed token at the edge.
- A token that ends is a service key or private app token; OAuth tokens live half an hour.

How it is read: `hubspot_search` (why), `hubspot_objects`, `hubspot_associations`, `hubspot_events`. How it is written:
`hubspot_batch`, `hubspot_values`, `hubspot_tasks`, `hubspot_properties`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from connector import auth, clock, http
from connector.budget import Quota
from connector.errors import (
    AuthError,
    ConfigError,
    MissingPermission,
    Problem,
    QuotaExhausted,
    RecordRejected,
)
from connector.model import (
    Adapter,
    Capabilities,
    Change,
    Check,
    FieldSpec,
    Found,
    InstallStep,
    Keep,
    Kind,
    ObjectSchema,
    Outcome,
    Page,
    Request,
    Result,
    Stream,
    StreamFailure,
    System,
    Window,
    forget,
)
from connector.pacing import Pacing
from connector.section import Duration, Secret, Section, Token, Wrong
from connector.sources import hubspot_account as account
from connector.sources import hubspot_batch as batch
from connector.sources import hubspot_cost as cost
from connector.sources import hubspot_events as events
from connector.sources import hubspot_objects as objects
from connector.sources import hubspot_properties as properties
from connector.sources import hubspot_tasks as tasks
from connector.sources.hubspot_client import (
    ASSOCIATIONS,
    BURST,
    SEARCH,
    Api,
    ApiVersion,
    ServerClock,
    aimed,
    bucket_of,
    classify,
    is_idempotent,
    usage,
)
from connector.sources.hubspot_search import Horizons, milliseconds
from connector.sources.hubspot_values import Definitions, Remembered, remembered_of
from connector.sources.parallel import interleaved

SETTLED_AFTER = timedelta(hours=1)

# ------------------------------------------------------------------------------------------------ options


class HubSpotOptions(Section):
    """`[systems.<name>]` with `kind = "hubspot"`: one portal."""

    kind: Literal["hubspot"] = Field("hubspot", description="the kind of system")
    token: Token | None = Field(None, description="access token of a service key or private app")
    client_id: str | None = Field(None, description="client id of an OAuth app, instead of a token")
    client_secret: Secret | None = Field(None, description="client secret of the OAuth app")
    refresh_token: Secret | None = Field(None, description="refresh token that installing the OAuth app gave")
    url: Annotated[str, AfterValidator(http.safe_url)] = Field(
        "https://api.hubapi.com", description="address of the API"
    )
    api_version: ApiVersion = Field(
        "v3", description="v3, or 2026-09 (where the portal's validation rules apply to what we write)"
    )
    portal_id: int | None = Field(None, description="refuse to write to any portal but this one")
    quota: Quota = Field(
        default_factory=lambda: Quota.model_validate({}), description="our part of the portal's daily calls"
    )
    calls_per_10_s: int = Field(190, gt=0, description="100 on Free and Starter, 190 on Professional and Enterprise")
    searches_per_s: int = Field(5, gt=0, description="searches a second; HubSpot allows the whole account 5")
    associations_per_s: int = Field(10, gt=0, description="calls a second that read associations")
    overlap: Duration = Field(timedelta(seconds=30), description="how far each pull looks back behind the last one")
    settled_after: Duration = Field(
        SETTLED_AFTER, description="when the search index is complete; once in that time a pull looks back so far"
    )
    deletes_every: Duration = Field(timedelta(hours=1), description="how often archived records are looked for")
    refresh_every: Duration = Field(
        timedelta(days=1),
        description="how often people, companies, deals and tickets are all listed anew, for what no modified date shows",
    )
    refresh_activities: Duration = Field(
        timedelta(days=30), description="activities made in this time are then read anew too, at most 20,000 of a type"
    )
    events_since: Duration = Field(timedelta(days=540), description="how far back the first pull of events goes")
    lifecycle_backward: bool = Field(
        False, description="move a lifecycle stage backward, by clearing it first; else HubSpot keeps the later stage"
    )
    web_event_types: tuple[str, ...] = Field(
        ("e_visited_page", "pe*"),
        min_length=1,
        description="behavioural events to read (Enterprise portals only); pe* are those that the portal defined",
    )

    @model_validator(mode="after")
    def _one_credential(self) -> HubSpotOptions:
        app = (self.client_id, self.client_secret, self.refresh_token)
        if (self.token is None) != all(app) or (self.token is not None and any(app)):
            what = "needs either token, or client_id, client_secret and refresh_token"
            raise Wrong((what, ""), of=("token", "client_id", "client_secret", "refresh_token"))
        return self


# ------------------------------------------------------------------------------------------------ constants

#: A rolling window seen from two clocks: leave a few calls free.
BURST_RESERVE = 0.96
#: HubSpot counts searches in a second; calls that left us a second apart may arrive closer.
SEARCH_WINDOW_S = 1.1

EVENTS_EVERY = timedelta(minutes=15)
OWNERS_EVERY = timedelta(days=1)

#: Streams whose rows are no CRM objects.
WITHOUT_PROPERTIES = ("form_submissions", "email_events", "web_events", "owners")
MODIFIED, CONTACT_MODIFIED = "hs_lastmodifieddate", "lastmodifieddate"
#: The user who changed a record last ("Updated by user ID" of the default properties); what an app writes carries the
#: user who installed the app.
EDITOR = "hs_updated_by_user_id"
#: Our outputs and the properties that `install` creates for them.
OUTPUTS: Mapping[str, str] = {
    "score": "connector_score",
    "grade": "connector_grade",
    "stage": "connector_stage",
    "stage_since": "connector_stage_since",
    "reasons": "connector_reasons",
    "person_id": "connector_person_id",
}
OWN = (*OUTPUTS.values(), properties.TASK_KEY)

THREADS = 4
PAGES_AHEAD = 8

# ------------------------------------------------------------------------------------------------ source


class HubSpotSource:
    """The reading side of one portal."""

    def __init__(self, name: str, options: HubSpotOptions, api: Api, server: ServerClock) -> None:
        self._name = name
        self._options = options
        self._api = api
        self._server = server

    def check(self, requests: Sequence[Request]) -> Check:
        """Sign in and say what of `requests` cannot be read. Raises AuthError."""
        api = self._api
        probes = {
            "form_submissions": lambda: api.forms(None),
            "email_events": lambda: api.get("/email/public/v1/events", limit=1),
            "web_events": lambda: api.get("/events/v3/events", objectType="contact", limit=1),
            "owners": lambda: api.owners(None, is_archived=False),
        }
        return account.check(api, self._name, self._server, requests, probes=probes, portal_id=self._options.portal_id)

    def describe(self, object_types: Sequence[str]) -> Mapping[str, ObjectSchema]:
        """The properties that our scopes can see, and the associations that we read as fields.

        Events and owners have no properties: they are absent.
        """
        return properties.describe(self._api, [each for each in object_types if each not in WITHOUT_PROPERTIES])

    def pages(self, requests: Sequence[Request]) -> Iterator[Page | StreamFailure]:
        """Read every stream to its present end, several at once."""
        readers = [partial(self._contained, request) for request in requests]
        yield from interleaved(readers, threads=THREADS, ahead=PAGES_AHEAD)

    def _contained(self, request: Request) -> Iterator[Page | StreamFailure]:
        try:
            yield from self._read(request)
        except (MissingPermission, RecordRejected) as error:
            yield StreamFailure(request.stream, error)

    def _read(self, request: Request) -> Iterator[Page]:
        begun_at = clock.now()
        horizons = Horizons(
            begun_ms=lambda: milliseconds(self._server.at(begun_at)),
            overlap_ms=_ms(self._options.overlap),
            settled_after_ms=_ms(self._options.settled_after),
            deletes_every_ms=0 if request.is_missed else _ms(self._options.deletes_every),
            refresh_every_ms=_ms(self._options.refresh_every),
            refresh_activities_ms=_ms(self._options.refresh_activities),
        )
        since_ms = milliseconds(begun_at - self._options.events_since)
        match request.stream.name:
            case "form_submissions":
                return events.form_submissions(self._api, request, horizons)
            case "email_events":
                return events.email_events(self._api, request, horizons, since_ms)
            case "web_events":
                return events.web_events(self._api, request, horizons, since_ms, self._options.web_event_types)
            case "owners":
                return events.owners(self._api, request, horizons)
            case _:
                return objects.read(self._api, request, horizons, OWN)


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)


# ------------------------------------------------------------------------------------------------ target


class HubSpotTarget:
    """The writing side of one portal."""

    def __init__(self, name: str, options: HubSpotOptions, api: Api, remembered: Remembered | None = None) -> None:
        self._name = name
        self._options = options
        self._api = api
        self._definitions = Definitions(api, remembered)
        self.task_key = tasks.TaskKey(self._definitions)
        self._is_right_portal = options.portal_id is None

    def install(self, specs: Sequence[FieldSpec], *, is_dry: bool) -> Sequence[InstallStep]:
        """Create the properties that do not exist; with `is_dry` only say which."""
        self._guard()
        self.task_key.forget()
        steps = properties.install(self._api, self._name, specs, is_dry=is_dry)
        if not is_dry:
            self.task_key.learn()
        return steps

    def write(self, changes: Sequence[Change], keep: Keep = forget) -> Sequence[Outcome]:
        """Deliver at most 100 changes: one outcome for each, in order. Where a key is not unique, the receipt is when it was."""
        self._guard()
        outcomes: dict[str, Outcome] = {}
        try:
            for outcome in self._delivered(changes, keep):
                outcomes[outcome.key] = outcome
        except (AuthError, QuotaExhausted) as error:
            if not outcomes:
                raise
            for change in changes:
                result = Result.WAIT if isinstance(error, QuotaExhausted) else Result.STOP
                outcomes.setdefault(change.key, Outcome(change.key, result, message=str(error), hint=error.hint))
        return [outcomes[change.key] for change in changes]

    def count_calls(self, batches: Sequence[Sequence[Change]]) -> int:
        """The calls that `write` makes for these batches when nothing is refused, lost or there already."""
        moves_back, asks_portal = self._options.lifecycle_backward, not self._is_right_portal
        return cost.counted(batches, self._definitions, self.task_key, asks_portal=asks_portal, moves_back=moves_back)

    def find(self, changes: Sequence[Change]) -> Sequence[Found]:
        """What the portal holds for changes whose outcome is unknown."""
        found: dict[str, Found] = {}
        for object_type, part in batch.by_object(changes):
            found |= {each.key: each for each in batch.find(self._api, object_type, part)}
        made = [change for change in changes if change.task is not None]
        if made:
            found |= {each.key: each for each in tasks.find(self._api, self.task_key, made)}
        return [found[change.key] for change in changes]

    def _delivered(self, changes: Sequence[Change], keep: Keep) -> Iterator[Outcome]:
        for object_type, part in batch.by_object(changes):
            moves_back = self._options.lifecycle_backward
            yield from batch.update(self._api, object_type, part, self._definitions, moves_back=moves_back)
        made = [change for change in changes if change.task is not None]
        if made:
            yield from tasks.deliver(self._api, self.task_key, made, keep)

    def _guard(self) -> None:
        """Raises ConfigError before anything is written to a portal that is not the configured one."""
        if self._is_right_portal:
            return
        portal = self._api.get("/account-info/v3/details").get("portalId")
        if portal != self._options.portal_id:
            path = f"systems.{self._name}.portal_id"
            raise ConfigError([Problem(path, f"is {self._options.portal_id}, the token belongs to portal {portal}")])
        self._is_right_portal = True


# ------------------------------------------------------------------------------------------------ declaration


def _windows(options: HubSpotOptions | None = None) -> tuple[Window, ...]:
    burst, search, associations = (
        (options.calls_per_10_s, options.searches_per_s, options.associations_per_s) if options else (190, 5, 10)
    )
    return (
        Window(BURST, max(int(burst * BURST_RESERVE), 1), per_s=10),
        Window(SEARCH, search, per_s=SEARCH_WINDOW_S),
        Window(ASSOCIATIONS, associations, per_s=1),
    )


def connect(name: str, options: HubSpotOptions) -> System:
    """A connected portal. Nothing is sent before the first call."""
    server = ServerClock()
    pacing = Pacing(
        _windows(options), options.quota, learn=usage, ask_reset=lambda: account.resets_at(api), system=name
    )
    session = http.session(
        name,
        options.url,
        classify=classify,
        is_idempotent=is_idempotent,
        bucket_of=bucket_of,
        token=_token(name, options),
        pacing=pacing,
        on_answer=server.hear,
    )
    api = Api(session, options.url, options.api_version, name)
    source = HubSpotSource(name, options, api, server)
    target = HubSpotTarget(name, options, api, remembered_of(options))
    count, key = target.count_calls, target.task_key
    return System(name, "hubspot", source, target, lambda: session.calls, session.close, pacing, count, key)


def _token(name: str, options: HubSpotOptions) -> auth.TokenSource:
    if options.token is not None:
        return auth.static(name, options.token)
    assert options.client_id is not None
    assert options.refresh_token is not None
    url = options.url + aimed("/oauth/v1/token", options.api_version)
    return auth.refreshing(
        name,
        url,
        client_id=options.client_id,
        client_secret=options.client_secret,
        refresh_token=options.refresh_token,
    )


def _object(name: str, kind: Kind, modified: str = MODIFIED, *, has_own_tasks: bool = False) -> Stream:
    return Stream(name, kind, name, modified, SETTLED_AFTER, modified_by=EDITOR, own_tasks=has_own_tasks)


HUBSPOT = Adapter(
    kind="hubspot",
    title="HubSpot",
    options=HubSpotOptions,
    streams=(
        _object("contacts", Kind.PERSON, CONTACT_MODIFIED),
        _object("companies", Kind.ACCOUNT),
        _object("deals", Kind.OPPORTUNITY),
        _object("tickets", Kind.CASE),
        _object("calls", Kind.ACTIVITY),
        _object("emails", Kind.ACTIVITY),
        _object("meetings", Kind.ACTIVITY),
        _object("notes", Kind.ACTIVITY),
        _object("tasks", Kind.ACTIVITY, has_own_tasks=True),
        _object("communications", Kind.ACTIVITY),
        Stream("form_submissions", Kind.ACTIVITY, "form_submissions", every=EVENTS_EVERY, optional=True),
        Stream("email_events", Kind.ACTIVITY, "email_events", every=EVENTS_EVERY, optional=True),
        Stream("web_events", Kind.ACTIVITY, "web_events", every=EVENTS_EVERY, optional=True),
        Stream("owners", Kind.OWNER, "owners", every=OWNERS_EVERY),
    ),
    capabilities=Capabilities(
        batch_size=batch.BATCH_SIZE,
        writable=("contacts",),
        task_targets=("contacts", "deals", "companies", "tickets"),
        outputs={"contacts": OUTPUTS},
        task_key=("tasks", properties.TASK_KEY),
        has_unique_task_key=True,  # where the portal refuses a unique property, keys are looked up before each write
        mixes_in_batch=False,
        tells_deletes=True,
        count_calls=cost.count_calls,
    ),
    windows=_windows(),
    classify=classify,
    connect=connect,
)
