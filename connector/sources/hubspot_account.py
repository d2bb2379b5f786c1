"""Is everything there? The account, its quota, and each stream with the fields that are asked of it.

`GET /account-info/v3/details` and `/account-info/v3/api-usage/daily/private-apps`: HubSpot documentation "Account
information". An OAuth app has no daily limit of its own, and the second call tells it nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from connector.errors import MissingPermission, RecordRejected
from connector.model import Check, Finding, Request
from connector.sources.hubspot_client import Api, ServerClock
from connector.sources.hubspot_objects import ASSOCIATED
from connector.sources.hubspot_properties import NOT_UNIQUE, TASK_KEY

#: stream -> a call that shows whether it can be read, for those without properties
Probes = Mapping[str, Callable[[], object]]


def check(
    api: Api, system: str, server: ServerClock, requests: Sequence[Request], *, probes: Probes, portal_id: int | None
) -> Check:
    """What the portal says about itself and our access to it. Raises AuthError."""
    account = api.get("/account-info/v3/details")
    portal = account.get("portalId")
    used, limit = _quota(api)
    findings: list[Finding] = []
    if portal_id is not None and portal != portal_id:
        mend = "use the token of the other portal, or correct portal_id"
        findings.append(Finding("error", f"this is portal {portal}, not {portal_id}", mend))
    wrong = {request.stream.name: _checked(api, request, probes) for request in requests}
    readable = [name for name, found in wrong.items() if all(finding.level == "ok" for finding in found)]
    findings += [Finding("ok", f"reads {', '.join(readable)}")] if readable else []
    findings += [finding for found in wrong.values() for finding in found]
    signed_in_as = f"the app of portal {portal}, time zone {account.get('timeZone') or 'unknown'}"
    return Check(system, signed_in_as, used, limit, server.ahead_s, tuple(findings))


def _quota(api: Api) -> tuple[int | None, int | None]:
    try:
        told = api.get("/account-info/v3/api-usage/daily/private-apps").get("results") or ()
    except (MissingPermission, RecordRejected):
        return None, None
    counted = [each for each in told if isinstance(each, dict) and each.get("usageLimit")]
    return (int(counted[0]["currentUsage"]), int(counted[0]["usageLimit"])) if counted else (None, None)


def resets_at(api: Api) -> datetime | None:
    """When the portal's daily calls start anew. Raises what a call raises."""
    told = api.get("/account-info/v3/api-usage/daily/private-apps").get("results") or ()
    instants = [str(each["resetsAt"]) for each in told if isinstance(each, dict) and each.get("resetsAt")]
    return datetime.fromisoformat(instants[0]).astimezone(UTC) if instants else None


def _checked(api: Api, request: Request, probes: Probes) -> list[Finding]:
    """What stands in the way of reading one stream, and how its tasks are kept from being made twice."""
    stream = request.stream
    missing: list[str] = []
    told: list[Finding] = []
    try:
        if stream.name in probes:
            probes[stream.name]()
        else:
            known = {each["name"]: each for each in api.properties(stream.object_type)}
            if stream.object_type == "tasks" and TASK_KEY in known and not known[TASK_KEY].get("hasUniqueValue"):
                told.append(Finding("ok", f"tasks.{TASK_KEY} is {NOT_UNIQUE}"))
            missing = [name for name in request.fields if name not in known and not name.startswith(ASSOCIATED)]
            missing = [name for name in missing if name != stream.modified_by]  # then nobody is named
    except (MissingPermission, RecordRejected) as error:
        level = "warning" if stream.optional else "error"
        return [Finding(level, f"{stream.name} will not be read: {error}", error.hint)]
    mend = "create the property, correct its name in the mapping, or remove it from there"
    return told + [Finding("error", f"{stream.object_type}.{name} does not exist", mend) for name in missing]
