"""Whether anything changed at all: asked of the streams that are quiet most of the time, without a query.

Facts this stands on (REST API Developer Guide, "sObject Get Updated", "sObject Get Deleted", "Composite"):
- A composite carries 25 requests, but only five queries; /updated and /deleted are no queries.
- /updated gives the ids of what was made or changed, up to 30 days back, in whole minutes; it does not tell deletions.
- It says up to when its answer is complete (`latestDateCovered`): a long transaction holds that back.
An answer that is none (no such object, too many ids, a span that it does not take) leads to the query.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pyarrow as pa

from connector import clock, tables
from connector.sources.salesforce_reading import NEWS, ONLY_SHARED, SETTLED_AFTER, SHARED, Reading, literal
from connector.sources.salesforce_rest import Answer, Org, Subrequest
from connector.sources.salesforce_rows import instants
from connector.verdicts import Verdict

#: With them, five streams that are asked at every read share a call with the questions about all others.
PROBED = (
    "Opportunity", "OpportunityContactRole", "CampaignMember", "Campaign", "Case", *SHARED,
)  # fmt: skip
UPDATED_WITHIN = timedelta(days=30)
#: The minute that is under way counts, too; the server's clock is known by an answer's date, which is up to a second older.
_MINUTE_UNDER_WAY = timedelta(minutes=1, seconds=2)


def is_probed(org: Org, reading: Reading) -> bool:
    """Whether it is asked first if there is anything to read: not in the middle of a read, nor when more is due."""
    if reading.object_type not in PROBED or reading.mode != NEWS or reading.first_page_at or len(reading.held):
        return False
    return reading.low is not None and _now(org) - datetime.fromisoformat(reading.low) < UPDATED_WITHIN


def asking(org: Org, reading: Reading) -> list[Subrequest]:
    """The questions for what changed since the reading's bound: of mails also the mail, which no stream reads."""
    end, parent = literal(_now(org) + _MINUTE_UNDER_WAY), SHARED.get(reading.object_type)
    names = (reading.object_type, *(name for name in ONLY_SHARED if name == parent))
    return [Subrequest(f"sobjects/{name}/updated/?start={reading.low}&end={end}") for name in names]


def take(reading: Reading, answers: Sequence[Answer], asked_at: datetime) -> None:
    """Note when nothing has changed up to; an answer that is none leaves that open."""
    quiet = [_quiet_until(answer, asked_at) for answer in answers]
    known = [at for at in quiet if at is not None]
    if len(known) == len(quiet):
        reading.quiet_at = literal(min(known))


def _quiet_until(answer: Answer, asked_at: datetime) -> datetime | None:
    body = answer.body
    if answer.told.verdict is not Verdict.OK or not isinstance(body, dict) or body.get("ids") != []:
        return None
    covered: datetime = instants(pa.array([body.get("latestDateCovered")], tables.TEXT))[0].as_py() or asked_at
    return min(asked_at, covered + SETTLED_AFTER)


def is_quiet(reading: Reading, parent: Reading | None) -> bool:
    """Whether there is nothing to read. Who takes part in an activity is read anew when the activity (`parent`) changes."""
    parent_type = SHARED.get(reading.object_type)
    is_told = parent_type is None or parent_type in ONLY_SHARED
    return reading.quiet_at is not None and (is_told or (parent is not None and parent.total == 0))


def _now(org: Org) -> datetime:
    return clock.now() + timedelta(seconds=org.clock_skew_s)
