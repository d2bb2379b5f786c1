"""What people and the org itself do in Salesforce, for tests and demos (`POST /_sandbox/act` with `system: salesforce`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from connector.sandbox.salesforce import auth
from connector.sandbox.salesforce.conversion import Conversion, convert_lead, merge
from connector.sandbox.salesforce.duplicates import put_rule
from connector.sandbox.salesforce.ids import full_id
from connector.sandbox.salesforce.instants import instant_text
from connector.sandbox.salesforce.lateness import commit_due, postpone
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.recycling import empty_old, gone_with, undelete
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.schema import SObject
from connector.sandbox.salesforce.seeding import ADMINISTRATOR_ID, INTEGRATION_USER_ID
from connector.sandbox.salesforce.writing import Author, create, delete, update

_LATE_ACTIONS = frozenset({"create", "update", "delete"})


def act(org: Org, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Do `payload["action"]`; raises ValueError when it cannot be done.

    - `create` {object, values}; `update` {id, values}; `delete` {id}: as a user with all rights, without assignment rules.
      `late_s` gives the change a SystemModstamp that many seconds in the past, as a transaction that commits late; with
      `lag_s` (or the setting `salesforce_commit_lag_s`) it is seen only that many seconds from now, with the stamp of now;
    - `convert_lead` {id, with_opportunity?}; `merge` {winner, loser}; `undelete` {id}: what only the SOAP API offers;
    - `field_security` {field: "Lead.Phone", access: none|read|edit, user?}: what a user (the integration user) may do with it;
    - `duplicate_rule` {object, field, on_match: alert|block|null}: see `duplicates`;
    - `register_certificate` {pem}: trust JWT assertions signed with its key; `expire_sessions`: end every session.
    """
    action = ACTIONS.get(str(payload.get("action")))
    if action is None:
        raise ValueError(f"unknown action; there are {', '.join(sorted(ACTIONS))}")
    lag_s = float(payload.get("lag_s", org.context.settings.salesforce_commit_lag_s))
    settle(org)
    try:
        if lag_s > 0 and payload["action"] in _LATE_ACTIONS:
            return postpone(org, payload, lag_s, action)
        return action(org, payload)
    except (RefusedError, ValueError, KeyError) as error:
        org.look_again_at(org.now())  # what time brought is undone with the rest
        if isinstance(error, RefusedError):
            raise ValueError(f"{error.code}: {error.message}") from None
        raise


def settle(org: Org) -> None:
    """Do what the passing of time brings: transactions that commit now, records that leave the recycle bin."""
    if org.now() >= org.next_due_at:
        next_commit_at = commit_due(org, lambda org, payload: ACTIONS[payload["action"]](org, payload))
        org.next_due_at = empty_old(org)
        if next_commit_at is not None:
            org.look_again_at(next_commit_at)


def _author(org: Org) -> Author:
    return Author(org.access(ADMINISTRATOR_ID), runs_assignment_rules=False)


def _object_of(org: Org, native: Any) -> tuple[SObject, str]:
    known = full_id(native)
    one = org.schema.of_id(known) if known is not None else None
    if one is None or known is None:
        raise ValueError("id names no record")
    return one, known


def _create(org: Org, payload: Mapping[str, Any]) -> dict[str, Any]:
    one = org.object(str(payload["object"]))
    native = create(org, _author(org), one, payload["values"], payload.get("id"))
    return _stamped(org, one, native, payload)


def _update(org: Org, payload: Mapping[str, Any]) -> dict[str, Any]:
    one, native = _object_of(org, payload["id"])
    update(org, _author(org), one, native, payload["values"])
    return _stamped(org, one, native, payload)


def _delete(org: Org, payload: Mapping[str, Any]) -> dict[str, Any]:
    one, native = _object_of(org, payload["id"])
    delete(org, _author(org), one, native)
    return _stamped(org, one, native, payload)


def _stamped(org: Org, one: SObject, native: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    stamp = payload.get("stamp")
    if payload.get("late_s"):
        stamp = instant_text(org.now() - timedelta(seconds=float(payload["late_s"])))
    if stamp is not None:
        names = ["SystemModstamp"]
        if payload.get("stamp"):
            names += ["LastModifiedDate", "CreatedDate"] if payload["action"] == "create" else ["LastModifiedDate"]
        assignments = ", ".join(f"{name} = ?" for name in names)
        for kind, each in [(one, native), *((org.object(row["object"]), row["id"]) for row in gone_with(org, native))]:
            statement = f"UPDATE {kind.table} SET {assignments} WHERE Id = ?"
            org.database.execute(statement, (*[stamp] * len(names), each))
    return {"id": native}


def _undelete(org: Org, payload: Mapping[str, Any]) -> dict[str, Any]:
    one, native = _object_of(org, payload["id"])
    undelete(org, ADMINISTRATOR_ID, one, native)
    return {"id": native}


def _field_security(org: Org, payload: Mapping[str, Any]) -> dict[str, Any]:
    object_name, _, name = str(payload["field"]).partition(".")
    one = org.object(object_name)
    field = one.find(name)
    if field is None or payload["access"] not in ("none", "read", "edit"):
        raise ValueError("field_security needs a field (Object.Field) and access: none, read or edit")
    org.limit_field(str(payload.get("user", INTEGRATION_USER_ID)), one, field, payload["access"])
    return {"field": f"{one.name}.{field.name}", "access": payload["access"]}


def _duplicate_rule(org: Org, payload: Mapping[str, Any]) -> dict[str, Any]:
    one = org.object(str(payload["object"]))
    put_rule(org, one, str(payload["field"]), payload.get("on_match"))
    return {"object": one.name, "field": payload["field"], "on_match": payload.get("on_match")}


def _convert_lead(org: Org, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Make a contact and account of a lead, and an opportunity when `with_opportunity` is given; the lead is frozen."""
    _, native = _object_of(org, payload["id"])
    wanted = Conversion(with_opportunity=bool(payload.get("with_opportunity")))
    return dict(convert_lead(org, _author(org), native, wanted))


def _merge(org: Org, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Merge one record into another of its type: children move, the loser goes to the recycle bin with MasterRecordId."""
    one, winner = _object_of(org, payload["winner"])
    other, loser = _object_of(org, payload["loser"])
    if one.name != other.name:
        raise ValueError("merge takes two leads, contacts or accounts")
    merge(org, _author(org), one, winner, [loser])
    return {"id": winner}


def _register_certificate(org: Org, payload: Mapping[str, Any]) -> dict[str, Any]:
    auth.register_certificate(org, str(payload["pem"]))
    return {"registered": True}


def _expire_sessions(org: Org, _: Mapping[str, Any]) -> dict[str, Any]:
    return {"expired": auth.expire_all(org)}


ACTIONS = {
    "create": _create,
    "update": _update,
    "delete": _delete,
    "undelete": _undelete,
    "field_security": _field_security,
    "duplicate_rule": _duplicate_rule,
    "convert_lead": _convert_lead,
    "merge": _merge,
    "register_certificate": _register_certificate,
    "expire_sessions": _expire_sessions,
}
