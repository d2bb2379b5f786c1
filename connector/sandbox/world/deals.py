"""Buying processes as rows: opportunities with contact roles in Salesforce, deals with associations in HubSpot."""

from __future__ import annotations

from connector.sandbox.world.marks import DAY_S, day_of, hubspot_time, salesforce_time
from connector.sandbox.world.model import Company, Deal, Person
from connector.sandbox.world.records import Scene

#: Salesforce's default open stages with their probability, and the stage of HubSpot's default pipeline at that height.
OPEN_STAGES = (
    ("Prospecting", 10, "appointmentscheduled"), ("Qualification", 10, "appointmentscheduled"),
    ("Needs Analysis", 20, "qualifiedtobuy"), ("Value Proposition", 50, "presentationscheduled"),
    ("Proposal/Price Quote", 75, "decisionmakerboughtin"), ("Negotiation/Review", 90, "contractsent"),
)  # fmt: skip

_ROLES = {
    "operations": "Decision Maker", "it": "Technical Buyer", "finance": "Economic Buyer", "procurement": "Evaluator",
    "general_management": "Executive Sponsor",
}  # fmt: skip


def record_deals(scene: Scene, company: Company) -> None:
    """Write the company's buying processes with the people who took part."""
    for deal in company.deals:
        home = scene.rng.choices(("salesforce", "both", "hubspot"), (60, 28, 12))[0]
        buyers = [person for person in company.people if person.in_buying_group]
        if not company.salesforce_id or not any(person.contact_id for person in buyers):
            home = "hubspot"
        stage = _stage_of(scene, deal)
        if home != "hubspot":
            _record_opportunity(scene, company, deal, stage, [person for person in buyers if person.contact_id])
        if home != "salesforce" and company.hubspot_id:
            _record_deal(scene, company, deal, stage, [person for person in buyers if person.hubspot_id])


def _stage_of(scene: Scene, deal: Deal) -> tuple[str, int, str]:
    if deal.outcome == "won":
        return "Closed Won", 100, "closedwon"
    if deal.outcome == "lost":
        return "Closed Lost", 0, "closedlost"
    age_days = (scene.today - deal.opened_at) // DAY_S
    return OPEN_STAGES[min(max(int(age_days / 22 + scene.rng.uniform(-0.6, 1.2)), 0), len(OPEN_STAGES) - 1)]


def _modified_at(scene: Scene, deal: Deal) -> int:
    return (
        deal.closed_at if deal.outcome != "open" else scene.rng.randint(min(deal.opened_at, scene.today), scene.today)
    )


def _name_of(company: Company, deal: Deal) -> str:
    return f"{company.name[:80]} - {'Harbourline Extension' if deal.is_renewal else 'Harbourline WMS'}"


def _record_opportunity(
    scene: Scene, company: Company, deal: Deal, stage: tuple[str, int, str], buyers: list[Person]
) -> None:
    rng, org = scene.rng, scene.org
    modified = _modified_at(scene, deal)
    opportunity_id = org.add("Opportunity", deal.opened_at, modified, {
        "AccountId": company.salesforce_id, "Name": _name_of(company, deal), "StageName": stage[0],
        "Amount": float(deal.amount),
        "Probability": float(stage[1]), "CloseDate": day_of(deal.closed_at), "IsClosed": deal.outcome != "open",
        "IsWon": deal.outcome == "won", "Type": "Existing Customer - Upgrade" if deal.is_renewal else "New Customer",
        "LeadSource": rng.choice(("Web", "Phone Inquiry", "Partner Referral", "Trade Show", "Other")),
        "CampaignId": _campaign_before(scene, deal),
        "NextStep": "Send quote" if deal.outcome == "open" else None, "OwnerId": org.users[company.owner],
        "LastStageChangeDate": salesforce_time(modified),
    })  # fmt: skip
    for number, person in enumerate(buyers):
        person.opportunity_id = opportunity_id
        org.add("OpportunityContactRole", deal.opened_at + number * 60, deal.opened_at + number * 60, {
            "OpportunityId": opportunity_id, "ContactId": person.contact_id,
            "Role": _ROLES.get(person.function, "Influencer"),
            "IsPrimary": number == 0,
        })  # fmt: skip


def _campaign_before(scene: Scene, deal: Deal) -> str | None:
    """The last event or webinar before the deal opened, which sales names as its source now and then."""
    if not scene.chance(0.35):
        return None
    opened_on = day_of(deal.opened_at)
    sources = [
        row
        for row in scene.org.rows["Campaign"]
        if row["Type"] in ("Webinar", "Trade Show") and row["StartDate"] < opened_on
    ]
    return str(max(sources, key=lambda row: (row["StartDate"], row["Id"]))["Id"]) if sources else None


def _record_deal(scene: Scene, company: Company, deal: Deal, stage: tuple[str, int, str], buyers: list[Person]) -> None:
    portal = scene.portal
    deal_id = portal.add("deals", deal.opened_at, _modified_at(scene, deal), {
        "dealname": _name_of(company, deal), "pipeline": "default", "dealstage": stage[2], "amount": str(deal.amount),
        "deal_currency_code": "EUR", "closedate": hubspot_time(deal.closed_at),
        "dealtype": "existingbusiness" if deal.is_renewal else "newbusiness",
        "hs_is_closed": "true" if deal.outcome != "open" else "false",
        "hs_is_closed_won": "true" if deal.outcome == "won" else "false",
        "hubspot_owner_id": portal.owners[company.owner],
    })  # fmt: skip
    portal.associate("deals", deal_id, "companies", company.hubspot_id, 5, 341)
    for person in buyers:
        person.deal_id = deal_id
        portal.associate("deals", deal_id, "contacts", person.hubspot_id, 3)
