"""Marketing: the mailings of the portal with their events, the forms, and the campaigns of the org.

Event shapes: HubSpot's e-mail analytics API v1 (`created` in ms; SENT, DELIVERED, OPEN, CLICK, BOUNCE, STATUSCHANGE)
and its form submissions API v1 (newest first there; here in order of time).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from connector.sandbox.world.companies import HISTORY_S
from connector.sandbox.world.journey import Journey
from connector.sandbox.world.marks import DAY_S, day_of, hubspot_time, milliseconds, uuid_of
from connector.sandbox.world.model import PORTAL_ID, Person, Row
from connector.sandbox.world.records import Scene

SITE = "https://www.harbourline.example"

#: form key -> name in the portal, page, and whether it is a request to be contacted
FORMS = {
    "newsletter": ("Newsletter sign-up", "/newsletter"),
    "whitepaper": ("Whitepaper: Warehouse sensors that pay", "/resources/warehouse-sensors"),
    "webinar": ("Webinar registration", "/webinars"),
    "demo": ("Book a demo", "/demo"),
    "contact_us": ("Contact us", "/contact"),
}

_BROWSERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/605.1.15",
)
#: Mail gateways follow every link before the recipient sees the message; half of them say so, half pose as a browser.
_SCANNERS = ("Mozilla/5.0 (compatible; MailGateway-LinkCheck/2.4)", _BROWSERS[0])
_LINKS = ("/", "/product", "/pricing", "/customers", "/resources/warehouse-sensors", "/demo", "/unsubscribe")

#: How likely somebody in a state opens a mailing, and clicks in one that was opened.
_ATTENTION = {
    "unaware": (0.12, 0.05), "discover": (0.28, 0.16), "explore": (0.46, 0.3), "engage": (0.6, 0.4), "buy": (0.5, 0.3),
    "retain": (0.3, 0.12), "cool": (0.07, 0.05),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mailing:
    """One e-mail to many. `reach` is the share of subscribers that gets it."""

    at: int
    subject: str
    campaign_id: int
    reach: float


@dataclass(frozen=True, slots=True)
class Marketing:
    """What was prepared for everybody: mailings in order of time, form guids by key, (day, campaign id) by kind."""

    mailings: tuple[Mailing, ...]
    forms: dict[str, str]
    campaigns: dict[str, tuple[tuple[int, str], ...]]


def prepare(scene: Scene) -> Marketing:
    """Forms, mailings and campaigns of the eighteen months."""
    rng = scene.rng
    forms = {key: uuid_of(rng) for key in FORMS}
    for key, (name, page) in FORMS.items():
        created = hubspot_time(scene.today - 900 * DAY_S)
        scene.portal.world.submissions[forms[key]] = []
        scene.portal.world.forms.append({
            "id": forms[key], "name": name, "createdAt": created, "updatedAt": created, "archived": False,
            "formType": "hubspot",
            "fieldGroups": [{"groupType": "default_group", "richTextType": "text", "fields": [
                {"objectTypeId": "0-1", "name": field, "label": label, "required": field == "email",
                 "hidden": field == "web_cookie",
                 "fieldType": "email" if field == "email" else "single_line_text"}
                for field, label in (("email", "E-mail"), ("firstname", "First name"), ("lastname", "Last name"),
                                     ("company", "Company"), ("mobilephone", "Mobile"), ("web_cookie", "Cookie"))
            ]}], "configuration": {"language": "en"}, "pageUrl": SITE + page,
        })  # fmt: skip
    return Marketing(_mailings(rng, scene.today), forms, _campaigns(scene))


def _mailings(rng: random.Random, today: int) -> tuple[Mailing, ...]:
    first = (today - HISTORY_S) // DAY_S
    monthly = [
        Mailing(
            (first + 9 + month * 30) * DAY_S + 8 * 3600 + 1800, f"Harbourline Log #{month + 31}", 180_400 + month, 0.75
        )
        for month in range(18)
    ]
    topics = (
        "Fewer empty pallets",
        "What a sensor costs",
        "Invitation: live from Hamburg",
        "The dock that plans itself",
        "Your WMS, measured",
    )
    series = [
        Mailing(
            (first + 20 + turn * 45 + rng.randint(0, 6)) * DAY_S + 13 * 3600,
            topics[turn % len(topics)],
            190_700 + turn,
            0.4,
        )
        for turn in range(12)
    ]
    return tuple(sorted((one for one in monthly + series if one.at < today), key=lambda one: one.at))


def _campaigns(scene: Scene) -> dict[str, tuple[tuple[int, str], ...]]:
    first, last = (scene.today - HISTORY_S) // DAY_S, scene.today // DAY_S
    plan = [("Webinar", f"Webinar: sensors in the warehouse {turn + 1}", first + 40 + turn * 80) for turn in range(7)]
    plan += [
        ("Trade Show", name, day)
        for name, day in (
            ("LogiExpo Stuttgart", first + 110),
            ("Dock & Depot London", first + 280),
            ("LogiExpo Stuttgart II", first + 475),
        )
    ]
    plan += [("Direct Mail", f"Pallet postcard {turn + 1}", first + 70 + turn * 180) for turn in range(3)]
    plan += [("Email", f"Outbound sequence {turn + 1}", first + 15 + turn * 90) for turn in range(6)]
    by_kind: dict[str, list[tuple[int, str]]] = {}
    for kind, name, day in plan:
        created = (day - 20) * DAY_S
        campaign_id = scene.org.add("Campaign", created, min(day * DAY_S, scene.today), {
            "Name": name, "Type": kind, "Status": "Completed" if day + 3 < last else "In Progress",
            "IsActive": day + 30 > last,
            "StartDate": day_of(day * DAY_S), "EndDate": day_of((day + 2) * DAY_S), "ParentId": None,
            "OwnerId": scene.org.users[3],
        })  # fmt: skip
        by_kind.setdefault(kind, []).append((day * DAY_S, campaign_id))
    return {kind: tuple(sorted(days)) for kind, days in by_kind.items()}


# ------------------------------------------------------------------------------------------------- e-mail events


def send_all(scene: Scene, person: Person, journey: Journey, marketing: Marketing) -> None:
    """Every mailing that this contact got, and what she (or her mail gateway) did with it."""
    rng = scene.rng
    if not person.hubspot_email or rng.random() < 0.35:
        return
    mailings = [one for one in marketing.mailings if one.at >= person.hubspot_since and rng.random() < one.reach]
    has_gateway = person.company.number % 33 == 13
    stop = rng.randrange(len(mailings)) if mailings and (person.is_opted_out or person.has_bounced) else len(mailings)
    for number, mailing in enumerate(mailings[: stop + 1]):
        sent = mailing.at + rng.randrange(1800)
        base = _send(scene, person, mailing, sent)
        if number == stop and person.has_bounced:
            _emit(
                scene,
                base,
                "BOUNCE",
                sent + 4,
                status="5.1.1",
                category="UNKNOWN_USER",
                response="550 5.1.1 user unknown",
            )
            return
        _emit(scene, base, "DELIVERED", sent + 3, response="250 OK")
        if has_gateway and rng.random() < 0.6:
            _scan(scene, base, sent, _SCANNERS[person.company.number % 2])
        reading = _read(scene, base, sent, journey.state_at(sent))
        if number == stop and person.is_opted_out:
            _emit(
                scene,
                base,
                "STATUSCHANGE",
                reading + 20,
                requestedBy="RECIPIENT",
                source="SOURCE_RECIPIENT",
                portalSubscriptionStatus="UNSUBSCRIBED",
            )


def _send(scene: Scene, person: Person, mailing: Mailing, at: int) -> Row:
    """The SENT event; gives what all later events of this message to this person carry."""
    base: Row = {
        "portalId": PORTAL_ID, "appId": 113, "recipient": person.hubspot_email,
        "emailCampaignId": mailing.campaign_id, "subject": mailing.subject,
    }  # fmt: skip
    sent = _emit(scene, base, "SENT", at, **{"from": "Harbourline <hello@harbourline.example>"})
    return {**base, "sentBy": {"id": sent["id"], "created": sent["created"]}}


def _emit(scene: Scene, base: Row, kind: str, at: int, **details: object) -> Row:
    """Make an event, and keep it unless it lies in the future."""
    event: Row = {"id": uuid_of(scene.rng), "created": milliseconds(at), "type": kind, **base, **details}
    if at < scene.today:
        scene.portal.world.email_events.append(event)
    return event


def _scan(scene: Scene, base: Row, sent: int, agent: str) -> None:
    """A gateway opens and follows many links within seconds of delivery."""
    at = sent + scene.rng.randint(4, 6)
    _emit(scene, base, "OPEN", at, userAgent=agent, deviceType="COMPUTER", filteredEvent=False, duration=0)
    for number in range(scene.rng.randint(4, len(_LINKS))):
        _emit(
            scene,
            base,
            "CLICK",
            at + number // 3,
            url=SITE + _LINKS[number],
            linkId=number,
            userAgent=agent,
            deviceType="COMPUTER",
            filteredEvent=False,
        )


def click(scene: Scene, person: Person, mailing: Mailing) -> None:
    """This mailing was sent to the person, who opened it and followed a link."""
    base = _send(scene, person, mailing, mailing.at)
    _emit(scene, base, "DELIVERED", mailing.at + 3, response="250 OK")
    seen = {"userAgent": _BROWSERS[0], "deviceType": "COMPUTER", "filteredEvent": False}
    _emit(scene, base, "OPEN", mailing.at + 5400, **seen, duration=21_000)
    _emit(scene, base, "CLICK", mailing.at + 5425, **seen, url=f"{SITE}/product", linkId=1)


def _read(scene: Scene, base: Row, sent: int, state: str) -> int:
    rng = scene.rng
    at = sent + int(rng.lognormvariate(9.2, 1.3))
    opens, clicks = _ATTENTION[state]
    if rng.random() >= opens:
        return at
    browser = rng.choice(_BROWSERS)
    device = "MOBILE" if "iPhone" in browser else "COMPUTER"
    _emit(
        scene,
        base,
        "OPEN",
        at,
        userAgent=browser,
        deviceType=device,
        filteredEvent=False,
        duration=rng.randint(800, 40_000),
    )
    if rng.random() < clicks:
        link = rng.randrange(len(_LINKS) - 1)
        _emit(
            scene,
            base,
            "CLICK",
            at + rng.randint(8, 90),
            url=SITE + _LINKS[link],
            linkId=link,
            userAgent=browser,
            deviceType=device,
            filteredEvent=False,
        )
    return at


def submit(scene: Scene, person: Person, key: str, at: int, guid: str) -> None:
    """A form filled in by the person; the hidden cookie field carries the tracking cookie of her browser."""
    rng = scene.rng
    values = [
        ("email", person.hubspot_email),
        ("firstname", person.given),
        ("lastname", person.family),
        ("company", person.company.name),
    ]
    if key in ("demo", "contact_us") and rng.random() < 0.5:
        values.append(("mobilephone", person.mobile))
    if rng.random() < 0.7:
        values.append(("web_cookie", person.cookie))
    scene.portal.world.submissions[guid].append({
        "conversionId": uuid_of(rng), "submittedAt": milliseconds(at), "pageUrl": SITE + FORMS[key][1],
        "values": [{"name": name, "value": value, "objectTypeId": "0-1"} for name, value in values],
    })  # fmt: skip
