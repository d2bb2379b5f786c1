"""Salesforce set-up: our fields and the permission set `Connector`, deployed as one zip by the REST metadata resource.

Facts this stands on (Metadata API Developer Guide, "Deploying with REST", "CustomField", "PermissionSet"):
- A field that was deployed is invisible to everybody until a permission set grants it; so the permission set is part of
  the zip, and is assigned to the user that we sign in as.
- Custom fields of tasks and events are defined on the object Activity and granted as `Task.X__c` and `Event.X__c`.
- Deploying what is there already changes it to what the zip says, so a second run is harmless.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

import orjson
from simple_salesforce import format_soql

from connector import clock, http
from connector.errors import ConnectorError, MissingPermission, ProtocolError, SystemUnavailable
from connector.model import FieldSchema, FieldSpec, InstallStep, Step
from connector.sources.salesforce_rest import Described, Org

PERMISSION_SET = "Connector"
GRANT_HINT = f'give the permission set "{PERMISSION_SET}" read access'
POLL_EVERY_S = 1.0
DEPLOY_WITHIN_S = 600.0
#: Objects whose fields are defined elsewhere: object -> where it is defined.
DEFINED_ON: Mapping[str, str] = {"Task": "Activity", "Event": "Activity"}
#: What the permission set lets us read, and of it what it lets us edit. Reading a child needs reading its parent.
READ = ("Account", "Campaign", "Case", "Contact", "Lead", "Opportunity")
EDIT = ("Contact", "Lead")
MIN_LONG_TEXT = 256
NAMESPACE = "http://soap.sforce.com/2006/04/metadata"
#: FieldSpec.type -> (metadata type, describe types that hold it as well)
TYPES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "text": ("Text", ("text",)),
    "long_text": ("LongTextArea", ("long_text",)),
    "number": ("Number", ("number",)),
    "picklist": ("Picklist", ("picklist",)),
    "date": ("Date", ("date",)),
    "datetime": ("DateTime", ("datetime",)),
}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same zip for the same content


def install(org: Org, specs: Sequence[FieldSpec], *, is_dry: bool) -> list[InstallStep]:
    """Create what is missing, grant access to all of it, and give ourselves the permission set.

    With `is_dry` only the steps are told. A field that is there with another type is left alone (DIFFERS).
    """
    described = org.described(sorted({_visible_on(spec) for spec in specs}), is_fresh=True)
    steps = [_step(org.system, spec, described.get(_visible_on(spec))) for spec in specs]
    set_id = _permission_set_id(org)
    user_id = user(org).get("user_id", "")
    is_assigned = bool(set_id) and _is_assigned(org, set_id, user_id)
    is_complete = bool(set_id) and all(step.step not in (Step.CREATE, Step.GRANT) for step in steps)
    grant = InstallStep(
        org.system,
        Step.EXISTS if is_complete and is_assigned else Step.GRANT,
        f"permission set {PERMISSION_SET}",
        "for the user we sign in as",
    )
    if is_dry or (is_complete and is_assigned):
        return [*steps, grant]
    wanted = [spec for spec, step in zip(specs, steps, strict=True) if step.step not in (Step.DIFFERS, Step.FAILED)]
    failures = [] if is_complete else _deploy(org, package(wanted, org.rest.sf_version))
    org.forget()
    if not failures and not is_assigned:
        failures = _assign(org, user_id)
    return [*steps, grant, *failures]


def _visible_on(spec: FieldSpec) -> str:
    """The object on whose description a field shows: Activity itself has none."""
    return "Task" if spec.object_type == "Activity" else spec.object_type


def _step(system: str, spec: FieldSpec, described: Described | None) -> InstallStep:
    what = f"{spec.object_type}.{spec.name}"
    if described is None:
        return InstallStep(system, Step.FAILED, what, f"{spec.object_type} is not visible to the user we sign in as")
    present = described.fields.get(spec.name)
    if present is None:
        return InstallStep(system, Step.CREATE, what, f"{spec.type}, {spec.label}")
    difference = _difference(spec, present)
    if difference:
        return InstallStep(system, Step.DIFFERS, what, difference)
    if not present.is_writable:
        return InstallStep(system, Step.GRANT, what, "the user we sign in as cannot write it")
    return InstallStep(system, Step.EXISTS, what)


def _difference(spec: FieldSpec, present: FieldSchema) -> str:
    """What keeps the field that is there from holding our values ("" for nothing)."""
    if present.type not in TYPES[spec.type][1]:
        return f"is a {present.type} field, should be {spec.type}"
    missing = [option for option in spec.options if option not in present.options]
    if present.is_restricted and missing:
        return f"lacks the values {', '.join(missing)}"
    if spec.type in ("text", "long_text") and present.length and present.length < spec.length:
        return f"holds {present.length} characters, should hold {spec.length}"
    if spec.is_unique and not present.is_unique:
        return "is not unique"
    return ""


# ------------------------------------------------------------------------------------------------------------ calls


def user(org: Org) -> Mapping[str, Any]:
    """Who we are signed in as: `user_id`, `organization_id`, `preferred_username` and more; empty if we may not ask."""
    try:
        return org.rest.oauth2("userinfo") or {}
    except MissingPermission:
        return {}


def _permission_set_id(org: Org) -> str:
    soql = format_soql("SELECT Id FROM PermissionSet WHERE Name = {name}", name=PERMISSION_SET)
    records = org.rest.query(soql)["records"]
    return str(records[0]["Id"]) if records else ""


def _is_assigned(org: Org, set_id: str, user_id: str) -> bool:
    soql = format_soql(
        "SELECT Id FROM PermissionSetAssignment WHERE PermissionSetId = {set_id} AND AssigneeId = {user_id}",
        set_id=set_id,
        user_id=user_id,
    )
    return bool(org.rest.query(soql)["records"])


def _assign(org: Org, user_id: str) -> list[InstallStep]:
    what = f"assignment of {PERMISSION_SET}"
    if not user_id:
        detail = "the user's id could not be read; assign the permission set in Setup"
        return [InstallStep(org.system, Step.FAILED, what, detail)]
    body = {"AssigneeId": user_id, "PermissionSetId": _permission_set_id(org)}
    try:
        org.rest.restful("sobjects/PermissionSetAssignment", method="POST", data=orjson.dumps(body))
    except ConnectorError as error:
        return [InstallStep(org.system, Step.FAILED, what, str(error))]
    return []


def _deploy(org: Org, package_zip: bytes) -> list[InstallStep]:
    """Deploy and wait. Gives a step for each component that failed."""
    options = {"deployOptions": {"rollbackOnError": True, "singlePackage": True, "checkOnly": False}}
    url = f"{org.rest.base_url}metadata/deployRequest"
    parts = {
        "json": (None, orjson.dumps(options), "application/json"),
        "file": ("deploy.zip", package_zip, "application/zip"),
    }
    request_id = http.parse(org.session.post(url, files=parts), org.system).get("id")
    if not request_id:
        raise ProtocolError("the deployment was taken without an id", system=org.system)
    until_s = clock.monotonic_s() + DEPLOY_WITHIN_S
    while clock.monotonic_s() < until_s:
        answer = org.rest.restful(f"metadata/deployRequest/{request_id}", params={"includeDetails": "true"})
        told = answer["deployResult"]
        if told.get("done") or told["status"] not in ("Pending", "InProgress", "Canceling"):
            return _failures(org.system, told)
        clock.sleep(POLL_EVERY_S)
    raise SystemUnavailable(
        f"the deployment {request_id} is not done after {DEPLOY_WITHIN_S:.0f} s",
        hint="see Setup, Deployment Status; then run the command again",
        system=org.system,
    )


def _failures(system: str, told: Mapping[str, Any]) -> list[InstallStep]:
    details = (told.get("details") or {}).get("componentFailures") or []
    failures = details if isinstance(details, list) else [details]
    steps = [
        InstallStep(system, Step.FAILED, str(failure.get("fullName")), str(failure.get("problem")))
        for failure in failures
    ]
    if not steps and told["status"] != "Succeeded":
        what = str(told.get("errorMessage") or told["status"])
        steps = [InstallStep(system, Step.FAILED, "deployment", what)]
    return steps


# ------------------------------------------------------------------------------------------------------------ the zip


def package(specs: Sequence[FieldSpec], api_version: str) -> bytes:
    """The zip of a metadata deployment: package.xml, one file per object, and the permission set."""
    by_object: dict[str, list[FieldSpec]] = {}
    for spec in specs:
        by_object.setdefault(DEFINED_ON.get(spec.object_type, spec.object_type), []).append(spec)
    files = {
        "package.xml": _manifest(by_object, api_version),
        **{f"objects/{name}.object": _object(fields) for name, fields in by_object.items()},
        f"permissionsets/{PERMISSION_SET}.permissionset": _permission_set(by_object),
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, _EPOCH), text)
    return made.getvalue()


def _manifest(by_object: Mapping[str, Sequence[FieldSpec]], api_version: str) -> str:
    names = dict.fromkeys(f"{name}.{field.name}" for name, fields in by_object.items() for field in fields)
    members = "".join(_tag("members", name) for name in names)
    sets = _tag("members", PERMISSION_SET)
    return _document(
        "Package",
        f"<types>{members}<name>CustomField</name></types>"
        f"<types>{sets}<name>PermissionSet</name></types>{_tag('version', api_version)}",
    )


def _object(fields: Sequence[FieldSpec]) -> str:
    by_name = {field.name: field for field in reversed(fields)}  # Task.X and Event.X are one field of Activity
    return _document("CustomObject", "".join(f"<fields>{_field(by_name[name])}</fields>" for name in sorted(by_name)))


def _field(spec: FieldSpec) -> str:
    parts = {"label": escape(spec.label), "required": "false", "type": TYPES[spec.type][0]}
    if spec.description:
        parts["description"] = escape(spec.description)
    match spec.type:
        case "text":
            parts["length"] = str(spec.length)
            if spec.is_unique:
                parts |= {"unique": "true", "externalId": "true", "caseSensitive": "true"}
        case "long_text":
            parts |= {"length": str(max(spec.length, MIN_LONG_TEXT)), "visibleLines": "4"}
        case "number":
            parts |= {"precision": str(spec.precision), "scale": str(spec.scale)}
        case "picklist":
            values = "".join(
                f"<value>{_tag('fullName', option)}<default>false</default>{_tag('label', option)}</value>"
                for option in spec.options
            )
            definition = f"<valueSetDefinition><sorted>false</sorted>{values}</valueSetDefinition>"
            parts["valueSet"] = f"<restricted>false</restricted>{definition}"
    inner = "".join(f"<{name}>{content}</{name}>" for name, content in sorted(parts.items()))
    return f"{_tag('fullName', spec.name)}{inner}"


def _permission_set(by_object: Mapping[str, Sequence[FieldSpec]]) -> str:
    granted = [
        f"{visible}.{field.name}"
        for name, fields in by_object.items()
        for visible in (("Task", "Event") if name == "Activity" else (name,))
        for field in fields
    ]
    fields_granted = "".join(
        f"<fieldPermissions><editable>true</editable>{_tag('field', name)}<readable>true</readable></fieldPermissions>"
        for name in sorted(set(granted))
    )
    objects_granted = "".join(_object_permission(name) for name in READ)
    return _document(
        "PermissionSet",
        f"<description>What the connector reads and writes</description>{fields_granted}"
        f"<hasActivationRequired>false</hasActivationRequired>{_tag('label', PERMISSION_SET)}{objects_granted}",
    )


def _object_permission(name: str) -> str:
    edit = "true" if name in EDIT else "false"
    return (
        "<objectPermissions><allowCreate>false</allowCreate><allowDelete>false</allowDelete>"
        f"<allowEdit>{edit}</allowEdit><allowRead>true</allowRead><modifyAllRecords>false</modifyAllRecords>"
        f"{_tag('object', name)}<viewAllRecords>true</viewAllRecords></objectPermissions>"
    )


def _tag(name: str, value: object) -> str:
    return f"<{name}>{escape(str(value))}</{name}>"


def _document(root: str, content: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{NAMESPACE}">{content}</{root}>\n'
