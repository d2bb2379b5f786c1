"""Salesforce: an org read by SOQL and written by collections, both inside composite calls.

What decides the shape (REST API Developer Guide; each file beside this one names its own facts):
- a composite is one API call, so a quiet cycle over ten objects costs two and a thousand writes cost one;
- `Sforce-Limit-Info` on every answer tells the org's calls of the last 24 hours, by whatever client;
- an access token has no told life: it is used until a 401 says INVALID_SESSION_ID;
- client credentials must be asked for at the org's own My Domain URL, a JWT's audience is login or test.salesforce.com.

`salesforce_rest` (calls, descriptions, `classify`), `salesforce_query` (reading), `salesforce_writing`,
`salesforce_metadata` (set-up).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from connector import auth, http, log
from connector.budget import Quota
from connector.model import (
    Adapter,
    Capabilities,
    Change,
    Check,
    FieldSpec,
    Finding,
    Found,
    InstallStep,
    Keep,
    Kind,
    ObjectSchema,
    Outcome,
    Page,
    Request,
    Stream,
    StreamFailure,
    System,
    forget,
)
from connector.pacing import Pacing
from connector.section import Duration, Secret, Section, Wrong
from connector.sources import salesforce_metadata, salesforce_query, salesforce_writing
from connector.sources.salesforce_bulk_ingest import MAX_JOB_ROWS
from connector.sources.salesforce_collections import TASK_KEY
from connector.sources.salesforce_reading import FEATURE_FIELDS, SETTLED_AFTER, Habits
from connector.sources.salesforce_rest import (
    MAX_COLLECTION,
    MAX_QUERIES,
    Described,
    Org,
    classify,
    is_idempotent,
    usage,
)
from connector.sources.salesforce_writing import BULK_WRITE_FROM

PRODUCTION_LOGIN = "https://login.salesforce.com"
SANDBOX_LOGIN = "https://test.salesforce.com"
CLIENT = "connector/1"
#: From some 14,000 rows on a bulk query takes fewer calls than pages of 2,000: it takes seven (to create it, about four to
#: ask for its state, one for the list of result pages, one for each). Up to 20,000 the wait for its turn is not worth the
#: few calls that it saves.
BULK_FROM = 20_000

_log = log.get(__name__)


def _of_an_org(url: str) -> str:
    """`http.safe_url`, and not the one that stands in a file until somebody puts in their own."""
    if (urlsplit(url).hostname or "").startswith("your-domain."):
        raise ValueError("is not filled in yet: Setup → My Domain shows the org's address")
    return http.safe_url(url)


class SalesforceOptions(Section):
    """`[systems.<name>]` with `kind = "salesforce"`. Sign in with one of: client_secret, private_key, refresh_token."""

    kind: Literal["salesforce"] = Field(description="the kind of system")
    url: Annotated[str, AfterValidator(_of_an_org)] = Field(
        description="The org's My Domain URL, such as https://acme.my.salesforce.com."
    )
    client_id: str = Field(description="The consumer key of the org's External Client App or connected app.")
    client_secret: Secret | None = Field(
        default=None, description="The consumer secret: signs in by client credentials, or goes with a refresh token."
    )
    username: str | None = Field(default=None, description="The user to sign in as, with `private_key`.")
    private_key: Secret | None = Field(
        default=None, description='The RSA key in PEM form that signs a JWT for `username`, e.g. "file:server.key".'
    )
    refresh_token: Secret | None = Field(
        default=None, description="A refresh token that somebody granted; the app must not rotate it."
    )
    login_url: Annotated[str, AfterValidator(http.safe_url)] | None = Field(
        default=None,
        description="Where a JWT is addressed to; default https://login.salesforce.com, test for a sandbox org's URL.",
    )
    api_version: str = Field(default="62.0", pattern=r"^\d{2}\.0$", description="The REST API's version.")
    quota: Quota = Field(
        default_factory=lambda: Quota.model_validate({}), description="Our part of the org's calls of 24 hours."
    )
    bulk_from: int = Field(
        default=BULK_FROM, ge=1, description="A read of more rows than this goes through Bulk API 2.0."
    )
    bulk_write_from: int = Field(
        default=BULK_WRITE_FROM,
        ge=1,
        description="So many changes of one object or more go as one job of Bulk API 2.0.",
    )
    reconcile_every: Duration = Field(
        default=timedelta(days=1),
        description="How often a read goes back to the last time it did, and asks what was deleted for good.",
    )
    formulas_every: Duration = Field(
        default=timedelta(days=1),
        description="How often streams with a formula field are read whole: formulas change without a trace.",
    )
    timeout: Duration = Field(default=timedelta(seconds=60), description="How long to wait for an answer.")

    @model_validator(mode="after")
    def _has_one_way_to_sign_in(self) -> Self:
        ways = ("client_secret", "private_key", "username", "refresh_token")
        if self.private_key and not self.username:
            raise Wrong(("private_key needs username, the user to sign in as", ""), of=ways)
        if self.private_key and self.refresh_token:
            raise Wrong(("give private_key or refresh_token, not both", ""), of=ways)
        if not (self.client_secret or self.private_key or self.refresh_token):
            raise Wrong(("give client_secret, private_key with username, or refresh_token", ""), of=ways)
        return self


#: Who changed a record last, a user id (Object Reference, "System Fields").
EDITOR = "LastModifiedById"
STREAMS = (
    Stream("leads", Kind.PERSON, "Lead", "SystemModstamp", SETTLED_AFTER, modified_by=EDITOR),
    Stream("contacts", Kind.PERSON, "Contact", "SystemModstamp", SETTLED_AFTER, modified_by=EDITOR),
    Stream("accounts", Kind.ACCOUNT, "Account", "SystemModstamp", SETTLED_AFTER),
    Stream("opportunities", Kind.OPPORTUNITY, "Opportunity", "SystemModstamp", SETTLED_AFTER),
    Stream("contact_roles", Kind.CONTACT_ROLE, "OpportunityContactRole", "SystemModstamp", SETTLED_AFTER),
    Stream("tasks", Kind.ACTIVITY, "Task", "SystemModstamp", SETTLED_AFTER, own_tasks=True),
    Stream("events", Kind.ACTIVITY, "Event", "SystemModstamp", SETTLED_AFTER),
    Stream("campaign_members", Kind.ACTIVITY, "CampaignMember", "SystemModstamp", SETTLED_AFTER),
    Stream("campaigns", Kind.CAMPAIGN, "Campaign", "SystemModstamp", SETTLED_AFTER),
    Stream("cases", Kind.CASE, "Case", "SystemModstamp", SETTLED_AFTER),
    Stream("email_messages", Kind.ACTIVITY, "EmailMessageRelation", "SystemModstamp", SETTLED_AFTER, optional=True),
    Stream("task_relations", Kind.ACTIVITY, "TaskRelation", "SystemModstamp", SETTLED_AFTER, optional=True),
    Stream("event_relations", Kind.ACTIVITY, "EventRelation", "SystemModstamp", SETTLED_AFTER, optional=True),
    Stream("users", Kind.OWNER, "User", "SystemModstamp", SETTLED_AFTER, every=timedelta(days=1)),
)
#: Our outputs and the fields that `install` creates for them on Lead and Contact.
OUTPUTS: Mapping[str, str] = {
    "score": "Score__c",
    "grade": "Grade__c",
    "stage": "Stage__c",
    "stage_since": "Stage_Since__c",
    "reasons": "Score_Reasons__c",
    "person_id": "Person_Id__c",
}


def capabilities(bulk_from: int = BULK_WRITE_FROM) -> Capabilities:
    """What can be done: from so many changes on a bulk job is made."""
    return Capabilities(
        batch_size=MAX_QUERIES * MAX_COLLECTION,
        writable=("Lead", "Contact"),
        task_targets=("Contact", "Lead", "Account", "Opportunity", "Case"),
        outputs={"Lead": OUTPUTS, "Contact": OUTPUTS},
        task_key=("Task", TASK_KEY),
        has_unique_task_key=True,
        tells_deletes=True,
        describes_what_it_reads=True,
        cut=partial(salesforce_writing.cut, bulk_from=bulk_from),
        count_calls=partial(salesforce_writing.count_calls, bulk_from=bulk_from),
        count_waiting=partial(salesforce_writing.count_waiting, bulk_from=bulk_from),
        window=MAX_JOB_ROWS,
    )


CAPABILITIES = capabilities()


class SalesforceSource:
    """The reading side."""

    def __init__(self, org: Org, pacing: Pacing, habits: Habits) -> None:
        self._org = org
        self._habits = habits
        self._pacing = pacing

    def check(self, requests: Sequence[Request]) -> Check:
        """See `Source.check`. Two calls, the token apart."""
        user = salesforce_metadata.user(self._org)  # before the answer that may say that the quota is used up
        described = self._org.described([request.stream.object_type for request in requests], is_fresh=True)
        used = self._pacing.usage
        findings = [*_readable(requests, described), *_invisible(self._org.system, requests, described)]
        return Check(
            system=self._org.system,
            signed_in_as=str(user.get("preferred_username") or "a user whose name we may not read"),
            calls_used=used.used if used else None,
            calls_limit=used.limit if used else None,
            clock_skew_s=self._org.clock_skew_s,
            findings=tuple(findings),
        )

    def describe(self, object_types: Sequence[str]) -> Mapping[str, ObjectSchema]:
        """See `Source.describe`. One call for 25 objects, remembered while we are connected."""
        described = self._org.described(object_types)
        return {name: ObjectSchema(name, known.fields) for name, known in described.items()}

    def pages(self, requests: Sequence[Request]) -> Iterator[Page | StreamFailure]:
        """See `Source.pages`. Five pages a call."""
        return salesforce_query.pages(self._org, requests, self._habits)


class SalesforceTarget:
    """The writing side."""

    def __init__(self, org: Org, bulk_from: int) -> None:
        self._org = org
        self._bulk_from = bulk_from

    def install(self, specs: Sequence[FieldSpec], *, is_dry: bool) -> Sequence[InstallStep]:
        """See `Target.install`. One deployment."""
        return salesforce_metadata.install(self._org, specs, is_dry=is_dry)

    def write(self, changes: Sequence[Change], keep: Keep = forget) -> Sequence[Outcome]:
        """See `Target.write`. One call for 1,000 changes, or a bulk job."""
        return salesforce_writing.write(self._org, changes, keep, self._bulk_from)

    def find(self, changes: Sequence[Change]) -> Sequence[Found]:
        """See `Target.find`. One call for 1,000 changes; for those of a bulk job, what it says."""
        return salesforce_writing.find(self._org, changes)


def connect(name: str, options: SalesforceOptions) -> System:
    """A connected org; the first call signs in."""
    pacing = Pacing((), options.quota, learn=usage, system=name)
    session = http.session(
        name,
        options.url,
        classify=classify,
        is_idempotent=is_idempotent,
        bucket_of=lambda _: "",
        token=_token(name, options),
        pacing=pacing,
        timeout_s=(http.TIMEOUT_S[0], options.timeout.total_seconds()),
    )
    session.headers["Sforce-Call-Options"] = f"client={CLIENT}"
    org = Org(name, options.url, options.api_version, session, user=f"{options.client_id} {options.username}")
    habits = Habits(
        bulk_from=options.bulk_from,
        reconcile_every=options.reconcile_every,
        formulas_every=options.formulas_every,
        described=CAPABILITIES.writable,
        own=(*OUTPUTS.values(), TASK_KEY),
    )
    return System(
        name=name,
        kind="salesforce",
        source=SalesforceSource(org, pacing, habits),
        target=SalesforceTarget(org, options.bulk_write_from),
        calls=lambda: session.calls,
        close=session.close,
        governor=pacing,
        count_calls=partial(salesforce_writing.count_calls_of, org, bulk_from=options.bulk_write_from),
    )


def _token(name: str, options: SalesforceOptions) -> auth.TokenSource:
    token_url = f"{options.url}/services/oauth2/token"
    if options.private_key and options.username:
        return auth.jwt_bearer(
            name,
            token_url,
            client_id=options.client_id,
            username=options.username,
            private_key=options.private_key,
            audience=options.login_url or _audience(options.url),
        )
    if options.refresh_token:
        return auth.refreshing(
            name,
            token_url,
            client_id=options.client_id,
            client_secret=options.client_secret,
            refresh_token=options.refresh_token,
            on_rotate=lambda _: _warn_of_rotation(name),
        )
    secret = options.client_secret or SecretStr("")
    return auth.client_credentials(name, token_url, client_id=options.client_id, client_secret=secret)


def _audience(url: str) -> str:
    """`acme--test.sandbox.my.salesforce.com` is a sandbox org: its users live at test.salesforce.com."""
    return SANDBOX_LOGIN if ".sandbox." in (urlsplit(url).hostname or "") else PRODUCTION_LOGIN


def _warn_of_rotation(name: str) -> None:
    _log.warning("pull.refresh_token_rotated", system=name, mend="switch refresh token rotation off in the app")


def _readable(requests: Sequence[Request], described: Mapping[str, Described]) -> list[Finding]:
    names = [request.stream.object_type for request in requests if request.stream.object_type in described]
    return [Finding("ok", f"reads {', '.join(dict.fromkeys(names))}")] if names else []


def _invisible(system: str, requests: Sequence[Request], described: Mapping[str, Described]) -> Iterator[Finding]:
    for request in requests:
        stream = request.stream
        seen = described.get(stream.object_type)
        level = "warning" if stream.optional else "error"
        if seen is None:
            mend = f"{salesforce_metadata.GRANT_HINT} to {stream.object_type}"
            yield Finding(level, f"{stream.object_type} is not visible to this user", mend)
            continue
        for name in request.fields:
            if not seen.allows(name) and name not in (
                *FEATURE_FIELDS,
                TASK_KEY,
            ):  # one field of Task and Event: told as ours
                yield Finding(level, *_missing(system, stream, name))


def _missing(system: str, stream: Stream, name: str) -> tuple[str, str]:
    where = f"remove it from [mapping.{system}.{stream.name}]"
    if name.endswith("__c"):
        what = f"{stream.object_type}.{name} does not exist or is not visible to this user"
        return what, f"run `connector install {system}` if it is one of ours; else {where}"
    what = f"{stream.object_type}.{name} is not visible to this user"
    return what, f"{salesforce_metadata.GRANT_HINT} to it, or {where}"


SALESFORCE = Adapter(
    kind="salesforce",
    title="Salesforce",
    options=SalesforceOptions,
    streams=STREAMS,
    capabilities=CAPABILITIES,
    windows=(),
    classify=classify,
    connect=connect,
    suited=lambda options: capabilities(options.bulk_write_from),
)
