"""The SOAP API's calls for which REST has none: sign-in and sign-out, converting, merging, the recycle bin.

SOAP API Developer Guide, "login()" (gone from API version 65 on), "convertLead()", "merge()", "undelete()", "emptyRecycleBin()",
"getUserInfo()", "getServerTimestamp()"; partner and enterprise WSDL alike. Faults are 500. Records are written by REST.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from connector.sandbox.database import transaction
from connector.sandbox.salesforce import auth, conversion
from connector.sandbox.salesforce.ids import full_id
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.recycling import erase, is_in_bin, undelete
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.schema import SObject
from connector.sandbox.salesforce.seeding import ORGANIZATION_ID
from connector.sandbox.salesforce.writing import Author

NO_LOGIN_FROM = 65.0
MOST_IDS = 200
NAMESPACES = {
    "u": "urn:partner.soap.sforce.com", "c": "urn:enterprise.soap.sforce.com", "m": "http://soap.sforce.com/2006/04/metadata",
}  # fmt: skip
Operations = Mapping[str, Callable[["Asked"], list["Said"]]]

_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
    'xmlns="{namespace}" xmlns:sf="urn:fault.partner.soap.sforce.com" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>'
)
Said = dict[str, Any]
"""An element's children by name: a text, the children of a child, or a list where a name comes more than once."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One SOAP request: what is asked, for whom, at which address."""

    org: Org
    kind: str
    version: float
    base_url: str
    said: Said
    session: str = ""
    user_id: str = ""

    @property
    def author(self) -> Author:
        """Who writes; assignment rules have a header of their own here, and do not run."""
        return Author(self.org.access(self.user_id), runs_assignment_rules=False)


class FaultError(Exception):
    """The request as a whole is answered with a fault."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def answer(
    org: Org, kind: str, version: float, body: bytes, base_url: str, operations: Operations
) -> tuple[int, str, int]:
    """Status, XML and cost of `POST /services/Soap/{u|c|m}/{version}`."""
    namespace = NAMESPACES[kind]
    try:
        name, said, session = _read(body)
        asked = Asked(org, kind, version, base_url, said, session)
        if name == "login" and kind != "m":
            return 200, _ENVELOPE.format(namespace=namespace, body=_told("login", [_login(asked)])), 0
        if name not in operations:
            raise FaultError("INVALID_OPERATION", f"No operation available for request {{{namespace}}}{name}")
        user_id = auth.user_of(org, f"Bearer {session}")
        if user_id is None:
            text = "Invalid Session ID found in SessionHeader: Illegal Session. Session not found"
            raise FaultError("INVALID_SESSION_ID", text)
        with transaction(org.database):
            results = operations[name](Asked(org, kind, version, base_url, said, session, user_id))
        return 200, _ENVELOPE.format(namespace=namespace, body=_told(name, results)), 1
    except FaultError as fault:
        return 500, _ENVELOPE.format(namespace=namespace, body=_fault(fault)), 0
    except RefusedError as error:
        told = _fault(FaultError(error.code, error.message))
        return 500, _ENVELOPE.format(namespace=namespace, body=told), 1


def _read(body: bytes) -> tuple[str, Said, str]:
    """The operation, what it says, and the session of the header; raises FaultError."""
    try:
        if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
            raise ElementTree.ParseError
        root = ElementTree.fromstring(body)  # noqa: S314
    except ElementTree.ParseError:
        raise FaultError("INVALID_OPERATION", "the request is not a SOAP envelope") from None
    parts = {_local(each): each for each in root}
    inside = list(parts["Body"]) if "Body" in parts else []
    if not inside:
        raise FaultError("INVALID_OPERATION", "the request has no body")
    header = _children(parts["Header"]) if "Header" in parts else {}
    given = header.get("SessionHeader")
    said = _children(inside[0])
    return _local(inside[0]), said, str(given.get("sessionId", "")) if isinstance(given, dict) else ""


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _children(element: ElementTree.Element) -> Said:
    found: Said = {}
    for each in element:
        value: Any = _children(each) if len(each) else (each.text or "").strip()
        name = _local(each)
        found[name] = [*_list(found[name]), value] if name in found else value
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value in (None, "") else [value]


def _many(asked: Asked, name: str, most: int = MOST_IDS) -> list[Any]:
    found = _list(asked.said.get(name))
    if len(found) > most:
        raise FaultError(
            "EXCEEDED_ID_LIMIT", f"record limit reached. cannot submit more than {most} records in this call"
        )
    return found


# --------------------------------------------------------------------------------------------------------------- calls


def _login(asked: Asked) -> Said:
    if asked.version >= NO_LOGIN_FROM:
        raise FaultError("UNSUPPORTED_API_VERSION", "login is not available in this API version")
    username, password = (str(asked.said.get(name, "")) for name in ("username", "password"))
    user_id = auth.user_of_password(asked.org, username, password)
    if user_id is None:
        raise FaultError("INVALID_LOGIN", "Invalid username, password, security token; or user locked out.")
    made = auth.session(asked.org, user_id, asked.base_url)
    address = f"{asked.base_url}/services/Soap/{{}}/{asked.version}/{ORGANIZATION_ID[:15]}"
    person = _user(asked.org, user_id)
    return {
        "metadataServerUrl": address.format("m"), "passwordExpired": False, "sandbox": True,
        "serverUrl": address.format(asked.kind), "sessionId": made["access_token"], "userId": user_id, "userInfo": person,
    }  # fmt: skip


def _logout(asked: Asked) -> list[Said]:
    auth.revoke(asked.org, asked.session)
    return []


def _user(org: Org, user_id: str) -> Said:
    known = auth.user_info(org, user_id, "")
    return {
        "accessibilityMode": False, "currencySymbol": "€", "organizationId": ORGANIZATION_ID, "organizationMultiCurrency": False,
        "organizationName": "Sandbox", "sessionSecondsValid": int(org.context.settings.salesforce_session_s),
        "userEmail": known["email"], "userFullName": known["name"], "userId": user_id, "userLanguage": known["language"],
        "userLocale": known["locale"], "userName": known["preferred_username"], "userTimeZone": known["zoneinfo"],
        "userType": "Standard",
    }  # fmt: skip


def _timestamp(asked: Asked) -> list[Said]:
    return [{"timestamp": asked.org.now_text().replace("+0000", "Z")}]


def _convert(asked: Asked) -> list[Said]:
    return [_each(asked, _converted, each) for each in _many(asked, "leadConverts", 100)]


def _converted(asked: Asked, given: Said) -> Said:
    wanted = conversion.Conversion(
        status=str(given.get("convertedStatus", "")),
        account=_id_of(asked.org, given.get("accountId"), "Account"),
        contact=_id_of(asked.org, given.get("contactId"), "Contact"),
        owner=_id_of(asked.org, given.get("ownerId"), "User"),
        with_opportunity=str(given.get("doNotCreateOpportunity", "")).lower() not in ("true", "1"),
        opportunity_name=given.get("opportunityName") or None,
    )
    lead = _id_of(asked.org, given.get("leadId"), "Lead")
    if lead is None:
        raise RefusedError("REQUIRED_FIELD_MISSING", "leadId is required", ("leadId",))
    made = conversion.convert_lead(asked.org, asked.author, lead, wanted)
    return {
        "accountId": made["account"],
        "contactId": made["contact"],
        "leadId": lead,
        "opportunityId": made["opportunity"],
    }


def _merge(asked: Asked) -> list[Said]:
    """The WSDL calls a merge `request`, a widely used client `mergeRequests`."""
    given = _many(asked, "request") or _many(asked, "mergeRequests")
    return [_each(asked, _merged, each) for each in given]


def _merged(asked: Asked, given: Said) -> Said:
    master = given.get("masterRecord")
    if not isinstance(master, dict):
        raise RefusedError("REQUIRED_FIELD_MISSING", "masterRecord is required", ("masterRecord",))
    one, winner = _record(asked.org, master.get("Id"))
    losers = [_record(asked.org, each) for each in _list(given.get("recordToMergeIds"))]
    if any(other.name != one.name for other, _ in losers):
        raise RefusedError("INVALID_OPERATION", "Records to merge must be of one type")
    values = {name: value or None for name, value in master.items() if name not in ("Id", "type")}
    ids = [loser for _, loser in losers]
    moved = conversion.merge(asked.org, asked.author, one, winner, ids, values)
    return {"id": winner, "mergedRecordIds": ids, "updatedRelatedIds": moved}


def _undelete(asked: Asked) -> list[Said]:
    def bring_back(asked: Asked, given: Any) -> Said:
        one, native = _record(asked.org, given)
        undelete(asked.org, asked.user_id, one, native)
        return {"id": native}

    return [_each(asked, bring_back, each) for each in _many(asked, "ids")]


def _empty(asked: Asked) -> list[Said]:
    def remove(asked: Asked, given: Any) -> Said:
        one, native = _record(asked.org, given)
        if not is_in_bin(asked.org, one, native):
            raise RefusedError("INVALID_ID_FIELD", "entity is not in the recycle bin")
        erase(asked.org, one, native)
        return {"id": native}

    return [_each(asked, remove, each) for each in _many(asked, "ids")]


OPERATIONS: Operations = {
    "logout": _logout,
    "getUserInfo": lambda asked: [_user(asked.org, asked.user_id)],
    "getServerTimestamp": _timestamp,
    "convertLead": _convert,
    "merge": _merge,
    "undelete": _undelete,
    "emptyRecycleBin": _empty,
}


def _each(asked: Asked, work: Callable[[Asked, Any], Said], given: Any) -> Said:
    """One record of a call: what fails, fails alone."""
    try:
        with transaction(asked.org.database):
            return {**work(asked, given), "success": True}
    except RefusedError as error:
        asked.org.rolled_back()
        told: Said = {"message": error.message, "statusCode": error.code}
        return {"errors": [{**({"fields": list(error.fields)} if error.fields else {}), **told}], "success": False}


def _record(org: Org, given: Any) -> tuple[SObject, str]:
    native = full_id(given)
    one = org.schema.of_id(native) if native is not None else None
    if one is None or native is None:
        raise RefusedError("MALFORMED_ID", f"id value of incorrect type: {str(given)[:80]}")
    return one, native


def _id_of(org: Org, given: Any, name: str) -> str | None:
    if not given:
        return None
    one, native = _record(org, given)
    if one.name != name:
        raise RefusedError("INVALID_CROSS_REFERENCE_KEY", f"{native} is no {name}")
    return native


# ----------------------------------------------------------------------------------------------------------------- XML


def _told(name: str, results: list[Said]) -> str:
    inner = "".join(f"<result>{_xml(each)}</result>" for each in results)
    return f"<{name}Response>{inner}</{name}Response>"


def _xml(said: Mapping[str, Any]) -> str:
    parts = []
    for name, value in said.items():
        for each in value if isinstance(value, list) else [value]:
            if each is None:
                parts.append(f'<{name} xsi:nil="true"/>')
            elif isinstance(each, dict):
                parts.append(f"<{name}>{_xml(each)}</{name}>")
            else:
                parts.append(f"<{name}>{str(each).lower() if isinstance(each, bool) else escape(str(each))}</{name}>")
    return "".join(parts)


def _fault(fault: FaultError) -> str:
    text = escape(fault.text)
    parts = f"<sf:exceptionCode>{fault.code}</sf:exceptionCode><sf:exceptionMessage>{text}</sf:exceptionMessage>"
    told = f"<faultcode>sf:{fault.code}</faultcode><faultstring>{fault.code}: {text}</faultstring>"
    return f"<soapenv:Fault>{told}<detail><sf:fault>{parts}</sf:fault></detail></soapenv:Fault>"
