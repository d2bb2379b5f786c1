"""The configuration that `init` writes: short, commented, and good for most."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pycountry

from connector.http import safe_url
from connector.section import duration

#: What stands in the file until the real one is given.
URL = "https://YOUR-DOMAIN.my.salesforce.com"

#: Under what a browser shows an org whose API is at its My Domain (Salesforce Help "My Domain URL Formats").
_BROWSERS = r"\.(lightning\.force|my\.salesforce-setup)\.com$"

_SYSTEMS = {
    "salesforce": """[systems.salesforce]
kind = "salesforce"
url = "{url}"
client_id = "env:SF_CLIENT_ID"            # of an External Client App with the client credentials flow
client_secret = "env:SF_CLIENT_SECRET"    # secrets are only referred to: env:NAME, file:PATH or keyring:SERVICE/USER
""",
    "hubspot": """[systems.hubspot]
kind = "hubspot"
token = "env:HUBSPOT_TOKEN"               # a service key or the access token of a private app
""",
}

_REST = """[mapping]
region = "{region}"                              # numbers without a country prefix are read as numbers of this country

# Fit: who they are. Conditions are SQL predicates over golden fields; `connector explain` shows which of them counted.
[scoring.default]
fit = [
  {{ when = "person.seniority in ('c_level', 'vp')", points = 20, text = "VP or above" }},
  {{ when = "person.seniority = 'director'", points = 12, text = "director" }},
  {{ when = "account.employees between 200 and 5000", points = 15, text = "200 to 5,000 employees" }},
  {{ when = "account.country in ('US', 'CA', 'GB', 'DE')", points = 10, text = "target country" }},
  {{ when = "person.email_is_free", points = -10, text = "free e-mail address" }},
]
# Engagement: what they did. Points halve every half-life; `cap` is the most that one rule can give.
engagement = [
  {{ on = "form_submitted", where = "form.name like '%demo%'", points = 25, half_life_days = 30, text = "demo request" }},
  {{ on = "form_submitted", points = 6, half_life_days = 30, cap = 18, text = "form" }},
  {{ on = "meeting_held", points = 20, half_life_days = 45, cap = 40, text = "meeting" }},
  {{ on = "email_clicked", points = 3, half_life_days = 14, cap = 15, text = "e-mail click" }},
  {{ on = "page_viewed", points = 1, half_life_days = 14, cap = 10, text = "page view" }},
  {{ on = "unsubscribed", points = -15, half_life_days = 180, text = "unsubscribed" }},
]
grades = {{ A = 60, B = 40, C = 20 }}

# A task for the owner when somebody gets hot; once, until the score has been below `rearm_below` again.
[tasks.call_hot_lead]
when = "score crosses 60"
rearm_below = 50
subject = "Call {{{{ person.first_name or person.name }}}}: {{{{ reasons[0].text }}}}"
due = "1 working day"
system = "{first}"

[schedule]
sync = "every {every}"
"""

#: The kinds of systems that `init` offers.
KINDS = tuple(_SYSTEMS)

_CREDENTIALS = {
    "salesforce": "export SF_CLIENT_ID=…  SF_CLIENT_SECRET=…",
    "hubspot": "export HUBSPOT_TOKEN=…",
}


def text(kinds: Sequence[str], *, url: str, region: str, every: str) -> str:
    """The file for these kinds of systems."""
    systems = "\n".join(_SYSTEMS[kind].format(url=url) for kind in kinds)
    return (
        "# Every option with its default: config.example.toml. After a change: connector check\n\n"
        + systems
        + "\n"
        + _REST.format(region=region, every=every, first=kinds[0])
    )


def url(answer: str) -> str:
    """An answer as the address of a Salesforce org, be it the one that a browser shows. Raises ValueError."""
    given = answer.strip()
    given = given if "://" in given else f"https://{given}"
    found = re.fullmatch(r"(https?://)([\w-]+(?:\.[\w-]+)+|localhost)(:\d+)?(?:/\S*)?", given)
    if found is None:
        raise ValueError("an address such as https://acme.my.salesforce.com, please")
    return safe_url(found[1] + re.sub(_BROWSERS, ".my.salesforce.com", found[2]) + (found[3] or ""))


def region(answer: str) -> str:
    """An answer as a country code. Raises ValueError."""
    given = answer.strip().upper()
    if pycountry.countries.get(alpha_2=given) is None:
        raise ValueError("a country code of two letters such as DE, please")
    return given


def interval(answer: str) -> str:
    """An answer as the words after `every`. Raises ValueError."""
    given = answer.strip().removeprefix("every").strip()
    if duration(given) < timedelta(minutes=1):
        raise ValueError("at least a minute, please")
    return given


def next_steps(kinds: Sequence[str], config: Path, url: str = "") -> list[str]:
    """What to do next, line by line."""
    edit = [f"edit {config}: your Salesforce address is still {URL}"] if url == URL and "salesforce" in kinds else []
    option = "" if config == Path("connector.toml") else f" --config {config}"
    return [
        *edit,
        *(_CREDENTIALS[kind] for kind in kinds),
        f"connector check{option}      says what is missing, and how to mend it",
        f"connector install{option}    creates the fields that are written",
        f"connector plan{option}       shows what a sync would write",
        f"connector sync{option}       does it; connector run{option} does it on schedule",
    ]
