"""What goes with a record that is deleted, and what keeps it where it is.

SOAP API Developer Guide, "delete()", "undelete()"; Apex Developer Guide, "Referential Integrity When Deleting and Restoring
Records"; Salesforce Help, "Delete Accounts", "Considerations for Enabling Shared Activities" (of an activity that several share the
next person becomes the primary one). The texts of refusals are those that clients recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.schema import Field, SObject

CASCADES = frozenset(
    {
        ("Contact", "AccountId"), ("Opportunity", "AccountId"), ("EmailMessage", "ParentId"),
        ("Task", "WhoId"), ("Task", "WhatId"), ("Event", "WhoId"), ("Event", "WhatId"),
    }
)  # fmt: skip
"""Children that go to the recycle bin with the record that this field of theirs names."""

RESTRICTS = {("Case", "AccountId"): "CaseNumber", ("Case", "ContactId"): "CaseNumber"}
"""Children that keep the record that this field of theirs names, with the field that names them in the refusal."""

WON_KEEPS = ("Opportunity", "AccountId")
"""Opportunities go with their account unless they are won: then they keep it."""


@dataclass(frozen=True, slots=True)
class Departure:
    """Records that go together, the deleted one first, and activities that stay with the next person who shares them."""

    gone: Mapping[str, SObject]
    staying: Mapping[str, tuple[SObject, str]]


def is_cascade(child: SObject, reference: Field) -> bool:
    """Whether the child goes with the record that it refers to; all do that have no recycle bin of their own."""
    return (child.name, reference.name) in CASCADES or (not child.is_undeletable and reference.is_createable)


def is_restriction(child: SObject, reference: Field) -> bool:
    """Whether the child keeps the record that it refers to."""
    return (child.name, reference.name) in RESTRICTS


def departure(org: Org, one: SObject, native: str) -> Departure:
    """What would go with a live record; raises DELETE_FAILED when something keeps one of them."""
    gone = {native: one}
    shared: dict[str, SObject] = {}
    staying: dict[str, tuple[SObject, str]] = {}
    waiting = [native]
    while waiting:
        for each in waiting:
            shared |= _spread(org, gone, each)
        waiting = []
        for activity, child in shared.items():
            if activity in gone:
                continue
            other = _other_person(org, gone, child, activity)
            if other is not None:
                staying[activity] = (child, other)
            else:
                gone[activity] = child
                waiting.append(activity)
        shared = {}
    return Departure(gone, staying)


def _spread(org: Org, gone: dict[str, SObject], first: str) -> dict[str, SObject]:
    """Add to `gone` what goes with a record, and what goes with that; gives the activities of people who go."""
    activities: dict[str, SObject] = {}
    waiting = [first]
    while waiting:
        native = waiting.pop()
        _check_kept(org, gone[native], native)
        for child, reference in org.schema.children_of(gone[native].name):
            if not is_cascade(child, reference):
                continue
            for row in _live(org, child, reference.name, native):
                if reference.name == "WhoId":
                    activities[row["Id"]] = child
                elif row["Id"] not in gone:
                    gone[row["Id"]] = child
                    waiting.append(row["Id"])
    return activities


def _live(org: Org, child: SObject, name: str, native: str) -> list[Mapping[str, Any]]:
    statement = f'SELECT * FROM {child.table} WHERE "{name}" = ? AND IsDeleted = 0 ORDER BY Id'
    return [dict(row) for row in org.database.execute(statement, (native,))]


def _other_person(org: Org, gone: Mapping[str, SObject], activity: SObject, native: str) -> str | None:
    """Who shares an activity and stays."""
    related = _live(org, org.object(f"{activity.name}Relation"), f"{activity.name}Id", native)
    prefixes = tuple(org.object(name).prefix for name in ("Contact", "Lead"))
    people = (str(row["RelationId"]) for row in related)
    return next((each for each in people if each.startswith(prefixes) and each not in gone), None)


def _check_kept(org: Org, one: SObject, native: str) -> None:
    for child, reference in org.schema.children_of(one.name):
        key = (child.name, reference.name)
        if key in RESTRICTS:
            kept_by = [str(row[RESTRICTS[key]]) for row in _live(org, child, reference.name, native)]
            reason = f"it is associated with the following {child.label_plural.lower()}."
        elif key == WON_KEEPS:
            kept_by = [str(row["Name"]) for row in _live(org, child, reference.name, native) if row["IsWon"]]
            reason = (
                "some opportunities in that account were closed won. The opportunities that could not be deleted are "
                "shown below."
            )
        else:
            continue
        if kept_by:
            who = f"Your attempt to delete {_called(org, one, native)}"
            raise RefusedError(
                "DELETE_FAILED", f"{who} could not be completed because {reason}: {', '.join(kept_by)}\n"
            )


def _called(org: Org, one: SObject, native: str) -> str:
    row = dict(org.database.execute(f"SELECT * FROM {one.table} WHERE Id = ?", (native,)).fetchone())
    return " ".join(str(row[name]) for name in ("Salutation", "Name") if row.get(name))
