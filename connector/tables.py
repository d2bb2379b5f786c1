"""Every table of the mart, declared once: the schemas that mapping, identity, scoring, lifecycle and plan agree on.

Keys are one string column named `key`, so that every engine can merge on it. Instants are UTC timestamps in microseconds.
Points are int64 billionths of a point: sums of doubles differ from run to run, integers never do.

Keys are made here and nowhere else:
    record      system|object_type|native_id          salesforce|Contact|003…
    visitor     system|visitor|<hash of type:value>   a trace that has only an identifier
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import pyarrow as pa

TEXT = pa.string()
INSTANT = pa.timestamp("us", tz="UTC")
INT = pa.int64()
BOOL = pa.bool_()
DATE = pa.date32()
MONEY = pa.decimal128(18, 2)

POINT = 1_000_000_000
#: Points from which on they show: what has faded to less is a line of its score, and no reason for it.
WEIGHTLESS = POINT // 20
#: So many reasons are in the text that is written.
REASONS_WRITTEN = 4
#: Why an activity does not count: it is a task that we made; a machine opened or clicked; another system, or another record of the
#: person, tells it too.
OWN, SCANNER, COPY = "own", "scanner", "copy"
VISITOR = "visitor"


def record_key(system: str, object_type: str, native_id: str) -> str:
    """The key of a record in every table."""
    return f"{system}|{object_type}|{native_id}"


def visitor_key(system: str, identifier_type: str, value: str) -> str:
    """The key of the record that stands for a bare identifier; the value itself is not readable in it."""
    digest = hashlib.blake2b(f"{identifier_type}:{value}".encode(), digest_size=10).hexdigest()
    return f"{system}|{VISITOR}|{digest}"


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


# ------------------------------------------------------------------------------------------------------------ pages

#: What an adapter hands over. `native` is one JSON object: native field -> value as the system sent it (null when unset),
#: nested names flattened with dots (`Who.Type`), and lists of associated ids under `associations.<object_type>`. An adapter that
#: has all native fields as columns of text (null when unset) adds them under their names: then no JSON is read again.
PAGE = _schema(
    native_id=TEXT,
    object_type=TEXT,
    created_at=INSTANT,
    modified_at=INSTANT,
    is_deleted=BOOL,
    merged_into=TEXT,
    native=TEXT,
)


def together(pages: Sequence[pa.Table]) -> pa.Table:
    """The rows of several pages; their native fields stay as columns if all pages have the same."""
    alike = {page.schema for page in pages if page.num_rows}
    if len(alike) == 1:
        return pa.concat_tables([page for page in pages if page.num_rows])
    return pa.concat_tables([page.select(PAGE.names) for page in pages])


# ---------------------------------------------------------------------------------------------------------- records

#: `version` is a hash of the canonical columns; `ingestion` the number given when the record was first seen;
#: `run` the run that last changed a canonical column; `merged_into` the key of the surviving record.
RECORD_HEADER = _schema(
    key=TEXT, system=TEXT, object_type=TEXT, native_id=TEXT, created_at=INSTANT, modified_at=INSTANT, deleted_at=INSTANT,
    merged_into=TEXT, native=TEXT, version=TEXT, ingestion=INT, run=INT,
)  # fmt: skip

PERSON_FIELDS = _schema(
    email=TEXT, phone=TEXT, mobile=TEXT, first_name=TEXT, last_name=TEXT, title=TEXT, seniority=TEXT, function=TEXT,
    company=TEXT, country=TEXT, region=TEXT, city=TEXT, postal_code=TEXT, street=TEXT, language=TEXT, birth_date=DATE,
    lead_source=TEXT, source_status=TEXT, crm_stage=TEXT, owner=TEXT, account=TEXT,
    is_email_opted_out=BOOL, is_call_opted_out=BOOL, is_sms_opted_out=BOOL, is_email_dead=BOOL, is_converted=BOOL,
)  # fmt: skip

ACCOUNT_FIELDS = _schema(
    name=TEXT, domain=TEXT, website=TEXT, phone=TEXT, industry=TEXT, employees=INT, annual_revenue=MONEY, country=TEXT,
    region=TEXT, city=TEXT, postal_code=TEXT, street=TEXT, account_type=TEXT, owner=TEXT, parent=TEXT,
)  # fmt: skip

OPPORTUNITY_FIELDS = _schema(
    name=TEXT, account=TEXT, amount=MONEY, currency=TEXT, stage=TEXT, is_closed=BOOL, is_won=BOOL, close_date=DATE,
    closed_at=INSTANT, owner=TEXT, lead_source=TEXT, campaign=TEXT,
)  # fmt: skip

CASE_FIELDS = _schema(
    subject=TEXT,
    status=TEXT,
    priority=TEXT,
    origin=TEXT,
    person=TEXT,
    account=TEXT,
    is_closed=BOOL,
    closed_at=INSTANT,
    owner=TEXT,
)

CAMPAIGN_FIELDS = _schema(name=TEXT, campaign_type=TEXT, status=TEXT, starts_on=DATE, ends_on=DATE)

#: The people of the customer's own company who own records: `native_id` is what `owner` columns hold. `user_id` is what the
#: system calls them where it says who changed a record, if that is another id.
OWNER_FIELDS = _schema(name=TEXT, email=TEXT, is_active=BOOL, user_id=TEXT)

#: Which persons take part in which opportunity. `opportunity` and `person` are record keys.
CONTACT_ROLE_FIELDS = _schema(opportunity=TEXT, person=TEXT, role=TEXT, is_primary=BOOL)

#: kind of record -> its canonical columns (without the header)
FIELDS: Mapping[str, pa.Schema] = {
    "person": PERSON_FIELDS,
    "account": ACCOUNT_FIELDS,
    "opportunity": OPPORTUNITY_FIELDS,
    "case": CASE_FIELDS,
    "campaign": CAMPAIGN_FIELDS,
    "contact_role": CONTACT_ROLE_FIELDS,
    "owner": OWNER_FIELDS,
}


def record_table(kind: str) -> str:
    """The name of the mart's table for records of this kind."""
    return f"{kind}_record"


def record_schema(kind: str) -> pa.Schema:
    """Header and canonical columns of the records of this kind."""
    return pa.schema([*RECORD_HEADER, *FIELDS[kind]])


#: key = record|field|changed_at. Append-only. The newest row of a field is its `changed_at` (unknown: the record's created_at).
RECORD_VERSION = _schema(key=TEXT, record=TEXT, field=TEXT, value=TEXT, changed_at=INSTANT, run=INT)

#: key = system|stream|native_id|record. `record` is a person or visitor record key (null when it belongs to nobody we know).
#: `filtered_because` is null, scanner, own or copy. `properties` is a JSON object of plain values.
ACTIVITY = _schema(
    key=TEXT, system=TEXT, stream=TEXT, native_id=TEXT, kind=TEXT, channel=TEXT, happened_at=INSTANT, record=TEXT,
    account=TEXT, opportunity=TEXT, campaign=TEXT, subject=TEXT, amount=MONEY, properties=TEXT, task_key=TEXT,
    filtered_because=TEXT, deleted_at=INSTANT, run=INT,
)  # fmt: skip

#: key = record|type|value. `value` is normalised, `raw` what the system wrote if that differs.
#: Rows are withdrawn, not deleted, until resolve has seen them.
IDENTIFIER = _schema(
    key=TEXT, record=TEXT, record_kind=TEXT, type=TEXT, value=TEXT, raw=TEXT, is_verified=BOOL, first_seen_at=INSTANT,
    last_seen_at=INSTANT, withdrawn_at=INSTANT, component=TEXT,
)  # fmt: skip

#: A human decision on two records (kept in the state): verdict is link or cut.
JUDGEMENT = _schema(left=TEXT, right=TEXT, verdict=TEXT, decided_at=INSTANT, by=TEXT)

# ---------------------------------------------------------------------------------------------------- persons, accounts

#: key = record key; `owner_id` is the person id or account id that the record belongs to; `kind` person or account.
MEMBERSHIP = _schema(key=TEXT, kind=TEXT, owner_id=TEXT, component=TEXT, ingestion=INT)

#: key = issued person or account id; `anchor` is the record that carries it now (it resolves to that record's person),
#: `minted_by` the record that it was made for. Never deleted: every id ever issued resolves.
ISSUED = _schema(key=TEXT, kind=TEXT, anchor=TEXT, ingestion=INT, retired_at=INSTANT, minted_by=TEXT)

#: A piece of evidence that was refused, with its sentence. key = hash; `component` lets them be replaced with it.
REFUSED = _schema(key=TEXT, kind=TEXT, component=TEXT, type=TEXT, value=TEXT, records=TEXT, reason=TEXT)

#: Golden persons: survivorship over the records' canonical columns, plus what is derived from them.
PERSON = pa.schema(
    [
        pa.field("key", TEXT),
        *[field for field in PERSON_FIELDS if field.name not in ("account", "is_converted")],
        pa.field("account", TEXT),  # account id
        pa.field("email_is_free", BOOL),  # the e-mail is at a free mail provider
        pa.field("name", TEXT),
        pa.field("created_at", INSTANT),
        pa.field("records", INT),
        pa.field("provenance", TEXT),  # JSON: field -> record key
        pa.field("version", TEXT),
    ]
)

ACCOUNT = pa.schema(
    [
        pa.field("key", TEXT),
        *[field for field in ACCOUNT_FIELDS if field.name != "parent"],
        pa.field("parent", TEXT),  # account id
        pa.field("created_at", INSTANT),
        pa.field("records", INT),
        pa.field("provenance", TEXT),
        pa.field("version", TEXT),
    ]
)

# ---------------------------------------------------------------------------------------------------- scores, stages

#: key = record|model|rule|day. `points` are decayed to the end of that UTC day.
ENGAGEMENT_DAY = _schema(
    key=TEXT, record=TEXT, model=TEXT, rule=TEXT, day=DATE, events=INT, points=INT, first_at=INSTANT, last_at=INSTANT
)

#: key = subject|model|rule. `half` is fit or engagement; `subject` a person id (or account id); points of now.
SCORE_LINE = _schema(
    key=TEXT,
    subject=TEXT,
    model=TEXT,
    rule=TEXT,
    half=TEXT,
    points=INT,
    text=TEXT,
    events=INT,
    first_at=INSTANT,
    last_at=INSTANT,
)

#: key = subject|model. score = fit + engagement = sum of its lines. `coverage_known` of `coverage_of` inputs are known.
#: `reasons` is a JSON list of {text, points, rule}; its texts carry dates, never ages.
SCORE = _schema(
    key=TEXT, subject=TEXT, model=TEXT, score=INT, fit=INT, engagement=INT, grade=TEXT, coverage_known=INT, coverage_of=INT,
    reasons=TEXT, scored_at=INSTANT, next_due_at=INSTANT,
)  # fmt: skip

#: key = subject|model|entered_at. `left_at` null: the present stage. `why` and `left_why` are sentences.
STAGE_INTERVAL = _schema(
    key=TEXT,
    subject=TEXT,
    model=TEXT,
    definition=TEXT,
    stage=TEXT,
    entered_at=INSTANT,
    left_at=INSTANT,
    why=TEXT,
    left_why=TEXT,
    run=INT,
)

#: key = subject|trigger. A trigger is armed, fires once (an episode), and is armed again below its rearm level.
TRIGGER = _schema(key=TEXT, subject=TEXT, trigger=TEXT, is_armed=BOOL, episode=INT, fired_at=INSTANT, why=TEXT, run=INT)

# ---------------------------------------------------------------------------------------------------- desired, observed

#: key = record|field. `output` is our name (score, grade, …), `field` the native one. Values are text as the system would show it.
DESIRED = _schema(
    key=TEXT, system=TEXT, object_type=TEXT, native_id=TEXT, record=TEXT, output=TEXT, field=TEXT, value=TEXT, lane=TEXT,
    reason=TEXT, subject=TEXT, revision=INT,
)  # fmt: skip

#: key = record|field. `observed_at` is the modified_at of the newest version of the record that we saw; `settled_at` our clock
#: at our last accepted write (from then on only a newer version changes the row: an index that lags tells the old one again).
#: `ours` is the value of that write; `edited_at` the version in which we first saw another one there (null: it is ours, or empty).
OBSERVED = _schema(
    key=TEXT, system=TEXT, object_type=TEXT, native_id=TEXT, record=TEXT, field=TEXT, value=TEXT, observed_at=INSTANT,
    settled_at=INSTANT, revision=INT, ours=TEXT, edited_at=INSTANT,
)  # fmt: skip

#: key = record|field|edited_at. Append-only: somebody changed what we had written. `editor` is a native user id, where told.
DRIFT = _schema(
    key=TEXT, system=TEXT, object_type=TEXT, record=TEXT, field=TEXT, ours=TEXT, theirs=TEXT, edited_at=INSTANT,
    seen_at=INSTANT, editor=TEXT, run=INT,
)  # fmt: skip

#: key = the task's dedupe key (trigger, person, episode).
DESIRED_TASK = _schema(
    key=TEXT, trigger=TEXT, subject=TEXT, record=TEXT, system=TEXT, object_type=TEXT, native_id=TEXT, title=TEXT, body=TEXT,
    due_at=INSTANT, priority=TEXT, owner=TEXT, reason=TEXT, revision=INT,
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------- work

#: key = system|stream
CHECKPOINT = _schema(key=TEXT, system=TEXT, stream=TEXT, cursor=TEXT, polled_at=INSTANT, run=INT)
#: key = kind|record: the work queue. kind: person, account (its identifiers or values changed) or event (an activity of it did)
DIRTY = _schema(key=TEXT, kind=TEXT, record=TEXT, run=INT)
#: key = subject|why: the next instant at which time alone changes something
DUE = _schema(key=TEXT, subject=TEXT, why=TEXT, due_at=INSTANT)
#: one row: what pairs this store with the state; `settings` is JSON: part of the configuration -> its fingerprint when all that
#: it concerns was queued or computed; `backup`: in a backup, with which state it was made
PAIR = _schema(key=TEXT, pair=TEXT, generation=INT, schema_version=INT, ingestion=INT, settings=TEXT, backup=TEXT)

#: table -> the columns of which its key is made: the store does not keep it beside them, a third of what these rows would hold.
DERIVED_KEYS: Mapping[str, tuple[str, ...]] = {"identifier": ("record", "type", "value")}

TABLES: Mapping[str, pa.Schema] = {
    **{record_table(kind): record_schema(kind) for kind in FIELDS},
    "record_version": RECORD_VERSION,
    "activity": ACTIVITY,
    "identifier": IDENTIFIER,
    "membership": MEMBERSHIP,
    "issued": ISSUED,
    "refused": REFUSED,
    "person": PERSON,
    "account": ACCOUNT,
    "engagement_day": ENGAGEMENT_DAY,
    "score_line": SCORE_LINE,
    "score": SCORE,
    "stage_interval": STAGE_INTERVAL,
    "trigger": TRIGGER,
    "desired": DESIRED,
    "observed": OBSERVED,
    "drift": DRIFT,
    "desired_task": DESIRED_TASK,
    "checkpoint": CHECKPOINT,
    "dirty": DIRTY,
    "due": DUE,
    "pair": PAIR,
}


def stored(name: str) -> pa.Schema:
    """The columns of a table that the store keeps."""
    schema = TABLES[name]
    return schema if name not in DERIVED_KEYS else schema.remove(schema.get_field_index("key"))
