"""The named people of the demo's story. Their names, e-mails and ids are the same in every world, large or small."""

from __future__ import annotations

from dataclasses import dataclass, replace

from connector.sandbox.world import org, portal
from connector.sandbox.world.activities import record_moments
from connector.sandbox.world.companies import landline_of, make_company
from connector.sandbox.world.deals import record_deals
from connector.sandbox.world.journey import Journey, moments_of
from connector.sandbox.world.mailings import Marketing, click
from connector.sandbox.world.marks import DAY_S
from connector.sandbox.world.model import CastMember, Company, Deal, Moment, Person
from connector.sandbox.world.people import Taken, person_named
from connector.sandbox.world.records import Scene
from connector.sandbox.world.words import words

#: Kind of moment -> days before today, and (days before today, page).
_ANNS_DEEDS = {
    "newsletter": (210,), "whitepaper": (47,), "webinar": (26,), "call": (33,), "trade_show": (73,), "sales_email": (32, 13),
}  # fmt: skip
_ANNS_PAGES = (
    (64, "/blog/cold-chain"), (63, "/"), (47, "/product/sensors"), (44, "/customers"), (19, "/product"), (12, "/pricing"),
    (5, "/pricing"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Stage:
    """Where the story is written."""

    scene: Scene
    marketing: Marketing
    taken: Taken
    companies: list[Company]


def add_cast(scene: Scene, marketing: Marketing, taken: Taken, companies: list[Company]) -> dict[str, CastMember]:
    """Write the story's people into both systems; gives them by role."""
    stage = _Stage(scene, marketing, taken, companies)
    northwind = _company(
        stage, "Northwind Logistics GmbH", "northwind", country="DE", employees=620, relation="prospect", owner=0
    )
    nordlys = _company(stage, "Nordlys Foods AS", "nordlys", country="NO", employees=340, relation="won", owner=1)
    rheintal = _company(
        stage, "Rheintal Werke AG", "rheintal-werke", country="DE", employees=1450, relation="prospect", owner=2
    )
    brandt = _company(
        stage, "Brandt Spedition GmbH", "brandt-spedition", country="DE", employees=48, relation="prospect", owner=0
    )
    havre = _company(stage, "Havre Lines SAS", "havre-lines", country="FR", employees=210, relation="prospect", owner=5)
    members = [
        _prospect(stage, northwind), _customer(stage, nordlys), _job_changer(stage, havre, northwind),
        *_family(stage, brandt), *_namesakes(stage, rheintal),
    ]  # fmt: skip
    return {member.role: member for member in members}


def _company(
    stage: _Stage, name: str, slug: str, *, country: str, employees: int, relation: str, owner: int
) -> Company:
    scene = stage.scene
    plan = words().countries[country]
    number = len(stage.companies) + 1
    drawn = make_company(scene.rng, number, scene.today, stage.taken.names, len(scene.org.users))
    city = plan.cities[0]
    company = replace(
        drawn, name=name, domain=f"{slug}.example", country=country, city=city, street=f"{plan.streets[0]} 12",
        industry=words().industry.items[0], employees=employees, switchboard=landline_of(plan, city[3], number, 0),
        relation=relation,
        owner=owner, known_since=scene.today - 800 * DAY_S, local_part="first.last", deals=[], people=[],
    )  # fmt: skip
    stage.taken.names.add(slug)
    stage.companies.append(company)
    company.salesforce_id = org.add_account(scene.org, scene.rng, company, None, scene.today)
    company.hubspot_id = portal.add_company(scene.portal, scene.rng, company, None, scene.today)
    scene.org.rows["Account"][-1].update(NumberOfEmployees=employees, BillingCountry=plan.name)
    scene.portal.world.objects["companies"][-1]["properties"].update(
        numberofemployees=str(employees), domain=company.domain, name=name
    )
    return company


def _person(stage: _Stage, company: Company, name: str, job: tuple[str, str, str]) -> Person:
    given, _, family = name.partition(" ")
    person = person_named(
        stage.scene.rng,
        company,
        stage.taken,
        (given, family),
        today=stage.scene.today,
        job=job,
    )
    person.first_seen_at, person.liveliness = stage.scene.today - 400 * DAY_S, 1.0
    company.people.append(person)
    return person


def _contact(stage: _Stage, person: Person, email: str, **shown: str | None) -> tuple[str, str, str]:
    """A Salesforce Contact; gives (system, object type, id)."""
    scene = stage.scene
    person.salesforce_since = person.first_seen_at
    person.contact_id = org.add_contact(scene.org, person, person.company, org.Shown(
        email=email, owner_id=scene.org.users[person.company.owner], created_at=person.first_seen_at, country="Germany",
        modified_at=scene.today - 30 * DAY_S, title=person.title, customer_number=person.customer_number or None,
        user_id=person.user_id or None, **shown,  # type: ignore[arg-type]
    ))  # fmt: skip
    scene.note(person.id, "salesforce", "Contact", person.contact_id)
    return "salesforce", "Contact", person.contact_id


def _hubspot_contact(
    stage: _Stage, person: Person, email: str, stage_name: str = "lead", **filled: str | None
) -> tuple[str, str, str]:
    """A HubSpot contact; gives (system, object type, id)."""
    scene = stage.scene
    person.hubspot_since, person.hubspot_email = person.first_seen_at, email
    person.hubspot_id = portal.add_contact(scene.portal, person, person.company, portal.Filled(
        email=email, lifecycle_stage=stage_name, created_at=person.first_seen_at, modified_at=scene.today - 20 * DAY_S,
        owner_id=scene.portal.owners[person.company.owner], **filled,  # type: ignore[arg-type]
    ))  # fmt: skip
    scene.note(person.id, "hubspot", "contacts", person.hubspot_id)
    return "hubspot", "contacts", person.hubspot_id


def _member(role: str, person: Person, emails: tuple[str, ...], *records: tuple[str, str, str]) -> CastMember:
    return CastMember(role, person.id, f"{person.given} {person.family}", emails, records)


def _prospect(stage: _Stage, company: Company) -> CastMember:
    """Ann Meyer: good fit, different traces in both systems, warm but not hot: what is missing is a demo request."""
    scene = stage.scene
    ann = _person(stage, company, "Ann Meyer", ("VP Operations", "operations", "vp"))
    shown = org.Shown(
        email=ann.work_email, owner_id=scene.org.users[0], created_at=ann.first_seen_at - 30 * DAY_S,
        modified_at=ann.first_seen_at, title=ann.title, country="Deutschland", cookie=ann.cookie,
    )  # fmt: skip
    lead_id = org.add_lead(scene.org, ann, company, shown, "Closed - Converted")
    scene.note(ann.id, "salesforce", "Lead", lead_id, "converted")
    contact = _contact(stage, ann, "Ann.Meyer@Northwind.example", phone=company.switchboard, mobile=_german(ann.mobile))
    org.convert(scene.org.rows["Lead"][-1], ann.contact_id, company.salesforce_id, ann.first_seen_at)
    private, profile = "ann.meyer.example@gmx.de", f"linkedin.com/in/{ann.linkedin}"
    second = _hubspot_contact(stage, ann, private, mobile=ann.mobile, linkedin=profile)
    first = _hubspot_contact(
        stage, ann, ann.work_email, title=ann.title, country="DE", cookie=ann.cookie, linkedin=f"https://www.{profile}/"
    )
    _warm_up(stage, ann)
    _add_other_meyer(stage, company)
    return _member("prospect", ann, (ann.work_email, private), contact, ("salesforce", "Lead", lead_id), first, second)


def _warm_up(stage: _Stage, ann: Person) -> None:
    """What Ann did so far; the days are counted back from today."""
    scene, today = stage.scene, stage.scene.today
    moments = [
        Moment(kind, today - day * DAY_S + 10 * 3600 + day * 61) for kind, days in _ANNS_DEEDS.items() for day in days
    ]
    moments += [Moment("page_view", today - day * DAY_S + 9 * 3600 + day * 53, path) for day, path in _ANNS_PAGES]
    record_moments(scene, ann, sorted(moments, key=lambda moment: (moment.at, moment.kind)), stage.marketing)
    for mailing in [one for one in stage.marketing.mailings if one.at < today - DAY_S][-2:]:
        click(scene, ann, mailing)


def _add_other_meyer(stage: _Stage, company: Company) -> None:
    """Arne Meyer, "A. Meyer" in HubSpot, shares nothing with Ann but the surname and the switchboard."""
    arne = _person(stage, company, "Arne Meyer", ("Disponent", "operations", "individual"))
    record = _hubspot_contact(stage, arne, "a.meyer@northwind.example", phone=company.switchboard)
    stage.scene.portal.world.objects["contacts"][-1]["properties"].update(firstname="A.")
    stage.scene.dirt.append(("switchboard", *record))


def _customer(stage: _Stage, company: Company) -> CastMember:
    """Lars Haugen bought, signs in every week and opens a case now and then."""
    scene, today = stage.scene, stage.scene.today
    company.deals = [Deal(today - 260 * DAY_S, today - 170 * DAY_S, "won", 84_000, is_renewal=False)]
    lars = _person(stage, company, "Lars Haugen", ("Logistics Manager", "operations", "manager"))
    lars.customer_number, lars.user_id, lars.is_user, lars.in_buying_group = "HL-100017", "u000000017", True, True
    lars.liveliness = 2.0
    contact = _contact(stage, lars, lars.work_email, mobile=lars.mobile, device=lars.device)
    hubspot = _hubspot_contact(stage, lars, lars.work_email, "customer", cookie=lars.cookie, device=lars.device)
    record_deals(scene, company)
    starts = tuple(today - day * DAY_S for day in (400, 340, 300, 275, 250, 170))
    journey = Journey(starts, ("unaware", "discover", "explore", "engage", "buy", "retain"))
    record_moments(scene, lars, moments_of(scene.rng, lars, journey, today), stage.marketing)
    return _member("customer", lars, (lars.work_email,), contact, hubspot)


def _job_changer(stage: _Stage, former: Company, company: Company) -> CastMember:
    """Claire Fontaine left Havre Lines for Northwind; mobile and profile came with her."""
    scene = stage.scene
    claire = _person(stage, company, "Claire Fontaine", ("Head of Warehousing", "operations", "director"))
    claire.mobile = "+33639984217"
    old = org.Shown(
        email="claire.fontaine@havre-lines.example", owner_id=scene.org.users[former.owner],
        created_at=scene.today - 790 * DAY_S,
        modified_at=scene.today - 430 * DAY_S, mobile="06 39 98 42 17", title="Responsable logistique",
        country="France",
        linkedin=f"https://www.linkedin.com/in/{claire.linkedin}",
    )  # fmt: skip
    old_id = org.add_contact(scene.org, claire, former, old)
    scene.note(claire.id, "salesforce", "Contact", old_id, "job_changer", "former_company")
    new = _hubspot_contact(
        stage,
        claire,
        claire.work_email,
        title=claire.title,
        mobile="+33 6 39 98 42 17",
        linkedin=f"http://fr.linkedin.com/in/{claire.linkedin}",
    )
    scene.dirt.append(("job_changer", *new))
    emails = (claire.work_email, "claire.fontaine@havre-lines.example")
    return _member("job_changer", claire, emails, new, ("salesforce", "Contact", old_id))


def _family(stage: _Stage, company: Company) -> tuple[CastMember, CastMember]:
    """Petra and Jonas Brandt give the same mobile number and are two people."""
    petra = _person(stage, company, "Petra Brandt", ("Geschäftsführerin", "general_management", "c_level"))
    jonas = _person(stage, company, "Jonas Brandt", ("Disponent", "operations", "individual"))
    jonas.mobile = petra.mobile
    one = _contact(stage, petra, petra.work_email, mobile=_german(petra.mobile))
    two = _hubspot_contact(stage, jonas, jonas.work_email, mobile=jonas.mobile)
    stage.scene.dirt.extend([("family_phone", *one), ("family_phone", *two)])
    return _member("family_a", petra, (petra.work_email,), one), _member("family_b", jonas, (jonas.work_email,), two)


def _namesakes(stage: _Stage, company: Company) -> tuple[CastMember, CastMember]:
    """Two people called Thomas Müller work for the same company, behind the same switchboard."""
    first = _person(stage, company, "Thomas Müller", ("Leiter Logistik", "operations", "director"))
    second = _person(stage, company, "Thomas Müller", ("IT Administrator", "it", "individual"))
    one = _contact(stage, first, first.work_email, phone=company.switchboard, mobile=_german(first.mobile))
    two = _contact(stage, second, second.work_email, phone=company.switchboard)
    three = _hubspot_contact(stage, second, second.work_email, phone=company.switchboard)
    stage.scene.dirt.extend(("namesake", *record) for record in (one, two, three))
    return _member("namesake_a", first, (first.work_email,), one), _member(
        "namesake_b", second, (second.work_email,), two, three
    )


def _german(mobile: str) -> str:
    """A German number as it is written at home."""
    return f"0{mobile[3:6]}/{mobile[6:]}"
