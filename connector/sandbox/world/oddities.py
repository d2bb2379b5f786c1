"""What makes real customer data hard: namesakes, family phones, job changers, shared mailboxes, placeholders."""

from __future__ import annotations

from connector.sandbox.world import org, portal
from connector.sandbox.world.companies import mailbox_of
from connector.sandbox.world.marks import DAY_S
from connector.sandbox.world.model import Company, Person
from connector.sandbox.world.people import Taken, make_person, person_named
from connector.sandbox.world.records import Scene
from connector.sandbox.world.words import words

#: Shares of companies, or of people for job changers.
NAMESAKE_SHARE, FAMILY_SHARE, JOB_CHANGER_SHARE = 0.05, 0.05, 0.03
SHARED_MAILBOX_SHARE, PLACEHOLDER_SHARE = 0.12, 0.1

_PLACEHOLDERS = (
    ("Test", "Test", "test@test.com", "+49 123 456789"), ("asdf", "asdf", "asdf@asdf.com", "0000000000"),
    ("Unknown", "Unknown", "noreply@noreply.example", "1111111111"), ("n/a", "n/a", "none@none.com", "+49 123 456789"),
    ("Max", "Mustermann", "test@test.com", "0123456789"),
)  # fmt: skip


def make_odd(scene: Scene, company: Company, earlier: list[Company], taken: Taken) -> None:
    """Turn some of the company's people into hard cases, and add the ones that this takes."""
    rng = scene.rng
    if len(company.people) >= 4 and scene.chance(NAMESAKE_SHARE):
        _add_namesake(scene, company, rng.choice(company.people), taken)
    if scene.chance(FAMILY_SHARE):
        _add_relative(scene, company, rng.choice(company.people), taken)
    for person in company.people:
        if not person.oddities and scene.chance(JOB_CHANGER_SHARE):
            _let_change_jobs(scene, person, rng.choice(earlier), taken)
    if scene.chance(SHARED_MAILBOX_SHARE):
        for person in company.people[: rng.randint(2, 5)]:
            person.shared_email = f"info@{company.domain}"


def _add_namesake(scene: Scene, company: Company, person: Person, taken: Taken) -> None:
    entry = words().title.pick(scene.rng)
    twin = person_named(
        scene.rng, company, taken, (person.given, person.family), today=scene.today,
        job=(scene.rng.choice(entry["names"]), entry["function"], entry["seniority"]),
    )  # fmt: skip
    person.oddities, twin.oddities = ("namesake",), ("namesake",)
    company.people.append(twin)


def _add_relative(scene: Scene, company: Company, person: Person, taken: Taken) -> None:
    relative = make_person(scene.rng, company, scene.today, taken)
    if relative.given == person.given or person.oddities:
        return
    relative.family = person.family
    relative.work_email = taken.free_email(
        mailbox_of(company.local_part, relative.given, relative.family), company.domain
    )
    relative.mobile = person.mobile
    person.oddities, relative.oddities = ("family_phone",), ("family_phone",)
    company.people.append(relative)


def _let_change_jobs(scene: Scene, person: Person, former: Company, taken: Taken) -> None:
    if former is person.company or not former.salesforce_id:
        return
    person.oddities = ("job_changer",)
    person.former_company = former
    person.former_email = taken.free_email(mailbox_of(former.local_part, person.given, person.family), former.domain)
    person.first_seen_at = max(person.first_seen_at, scene.today - 500 * DAY_S)


# ------------------------------------------------------------------------------------------------- nobody's records


def add_nobodies(scene: Scene, company: Company, taken: Taken) -> None:
    """Records that stand for no single person: the company's mailbox, and what people type to get past a form."""
    if company.hubspot_id and any(person.shared_email for person in company.people):
        _add_mailbox(scene, company, taken)
    if scene.chance(PLACEHOLDER_SHARE):
        _add_placeholder(scene, company, taken)


def _add_mailbox(scene: Scene, company: Company, taken: Taken) -> None:
    nobody = person_named(scene.rng, company, taken, ("", "Info"), today=scene.today, job=("", "other", "unknown"))
    filled = portal.Filled(
        email=f"info@{company.domain}", phone=company.switchboard, created_at=nobody.first_seen_at,
        modified_at=nobody.first_seen_at + DAY_S, lifecycle_stage="lead", is_named=False,
    )  # fmt: skip
    contact_id = portal.add_contact(scene.portal, nobody, company, filled)
    scene.note(nobody.id, "hubspot", "contacts", contact_id, "shared_mailbox")


def _add_placeholder(scene: Scene, company: Company, taken: Taken) -> None:
    given, family, email, phone = scene.rng.choice(_PLACEHOLDERS)
    nobody = person_named(
        scene.rng, company, taken, (given, family), today=scene.today, job=("test", "other", "unknown")
    )
    shown = org.Shown(
        email=email, phone=phone, title="test", source="Web", owner_id=scene.org.users[company.owner],
        created_at=nobody.first_seen_at, modified_at=nobody.first_seen_at + 60,
    )  # fmt: skip
    lead_id = org.add_lead(scene.org, nobody, company, shown, "Open - Not Contacted")
    scene.note(nobody.id, "salesforce", "Lead", lead_id, "placeholder")
    if email not in taken.emails:
        taken.emails.add(email)
        filled = portal.Filled(
            email=email,
            phone=phone,
            created_at=nobody.first_seen_at,
            modified_at=nobody.first_seen_at + 60,
            lifecycle_stage="subscriber",
        )
        scene.note(
            nobody.id, "hubspot", "contacts", portal.add_contact(scene.portal, nobody, company, filled), "placeholder"
        )
