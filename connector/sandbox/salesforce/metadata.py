"""Custom fields and permission sets by metadata: what a deployment does, and the Tooling API's CustomField.

Metadata API Developer Guide, "CustomField", "PermissionSet": a field that was deployed is invisible until a permission set grants
it; custom fields of tasks and events are defined on Activity.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree

from connector.sandbox.database import transaction
from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.schema import Field, SObject
from connector.sandbox.salesforce.seeding import load_rows

ACTIVITIES = ("Task", "Event")

FIELD_TYPES = {
    "Text": "string", "Number": "double", "Checkbox": "boolean", "Date": "date", "DateTime": "datetime",
    "Picklist": "picklist", "LongTextArea": "textarea", "TextArea": "textarea", "Email": "email", "Phone": "phone",
    "Url": "url", "Percent": "percent", "Currency": "currency",
}  # fmt: skip
_FORMULA_LENGTH = 1_300
"""What a formula that gives text is described with; its metadata carries no length."""
_LENGTHS = {"Email": 80, "Phone": 40, "Url": 255, "TextArea": 255, "Picklist": 255}


class DeploymentError(Exception):
    """A component that cannot be deployed: file name, full name, problem."""

    def __init__(self, component: str, problem: str) -> None:
        super().__init__(problem)
        self.component = component
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Component:
    """What became of one component of a deployment."""

    kind: str
    full_name: str
    file_name: str
    problem: str | None = None
    is_created: bool = False
    is_changed: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The item of componentSuccesses or componentFailures."""
        item: dict[str, Any] = {
            "componentType": self.kind,
            "fullName": self.full_name,
            "fileName": self.file_name,
            "success": self.problem is None,
            "created": self.is_created,
            "changed": self.is_changed or self.is_created,
            "deleted": False,
            "warning": False,
        }
        if self.problem is not None:
            item |= {"problem": self.problem, "problemType": "Error"}
        return item


class _UndoneError(Exception):
    """Rolls a deployment back: it failed, or only was to be checked."""


def run(org: Org, files: dict[str, bytes], options: dict[str, Any]) -> dict[str, Any]:
    """Deploy these files, or only check whether they could be; gives the deployResult."""
    is_check = options.get("checkOnly") is True
    components: list[Component] = []
    try:
        with transaction(org.database):
            components = _deploy_files(org, files)
            has_failed = any(component.problem for component in components)
            if is_check or (has_failed and options.get("rollbackOnError", True)):
                raise _UndoneError
    except _UndoneError:
        org.rolled_back()
    org.visibility_changed()
    failures = [component.as_dict() for component in components if component.problem]
    successes = [component.as_dict() for component in components if not component.problem]
    status = "Succeeded" if not failures else "Failed" if options.get("rollbackOnError", True) else "SucceededPartial"
    now = org.now_text()
    return {
        "status": status,
        "done": True,
        "success": not failures,
        "checkOnly": is_check,
        "rollbackOnError": options.get("rollbackOnError", True),
        "ignoreWarnings": options.get("ignoreWarnings", False),
        "runTestsEnabled": False,
        "numberComponentsTotal": len(components),
        "numberComponentsDeployed": len(successes),
        "numberComponentErrors": len(failures),
        "numberTestsTotal": 0,
        "numberTestsCompleted": 0,
        "numberTestErrors": 0,
        "createdDate": now,
        "startDate": now,
        "lastModifiedDate": now,
        "completedDate": now,
        "details": {
            "allComponentMessages": failures + successes,
            "componentFailures": failures,
            "componentSuccesses": successes,
            "retrieveResult": None,
            "runTestResult": {"numFailures": 0, "numTestsRun": 0, "totalTime": 0},
        },
    }


def _deploy_files(org: Org, files: dict[str, bytes]) -> list[Component]:
    root = next((name.removesuffix("package.xml") for name in files if name.endswith("package.xml")), None)
    if root is None:
        return [Component("", "package.xml", "package.xml", "No package.xml found")]
    found: list[Component] = []
    for folder, kind in (("objects/", _deploy_object), ("permissionsets/", _deploy_permission_set)):
        for name in sorted(files):
            if name.startswith(root + folder):
                found += kind(org, name, files[name])
    return found


def _parse(content: bytes) -> ElementTree.Element:
    root = ElementTree.fromstring(content)  # noqa: S314
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]


def _deploy_object(org: Org, name: str, content: bytes) -> list[Component]:
    object_name = _stem(name)
    found = []
    for element in _parse(content).iter("fields"):
        full_name = f"{object_name}.{element.findtext('fullName')}"
        try:
            is_new, is_changed = put_custom_field(org, object_name, _as_data(element))
            found.append(Component("CustomField", full_name, name, None, is_new, is_changed))
        except DeploymentError as error:
            found.append(Component("CustomField", full_name, name, error.problem))
    return found


def _as_data(element: ElementTree.Element) -> dict[str, Any]:
    """The XML of a field as the JSON that the Tooling API takes; values of a picklist become a list."""
    data: dict[str, Any] = {child.tag: (child.text or "").strip() for child in element if len(child) == 0}
    value_set = element.find("valueSet")
    if value_set is not None:
        values = [
            {"valueName": value.findtext("fullName"), "default": value.findtext("default") == "true"}
            for value in value_set.iter("value")
        ]
        data["valueSet"] = {
            "restricted": value_set.findtext("restricted") == "true",
            "valueSetDefinition": {"value": values},
        }
    return data


def put_custom_field(org: Org, object_name: str, data: dict[str, Any]) -> tuple[bool, bool]:
    """Create or change a custom field; tells (is new, is changed). A field of Activity stands on Task and Event."""
    names: Iterable[str] = ACTIVITIES if object_name == "Activity" else (object_name,)
    if object_name in ACTIVITIES:
        raise DeploymentError(
            object_name, f"Entity Enumeration Or ID: bad value for restricted picklist field: {object_name}"
        )
    is_new = is_changed = False
    for name in names:
        one = org.schema.find(name)
        if one is None:
            raise DeploymentError(object_name, f"Entity of type '{object_name}' is not available in this organization")
        field = _custom_field(data)
        if data.get("formula"):
            field = _with_formula(org, one, field, str(data["formula"]))
        before = one.fields.get(field.name)
        if before == field:
            continue
        if before is not None and before.type != field.type:
            raise DeploymentError(object_name, f"Cannot change type of field {field.name}")
        is_new = org.schema.put_field(name, field) or is_new
        is_changed = True
    return is_new, is_changed


def _custom_field(data: dict[str, Any]) -> Field:
    name, kind = str(data.get("fullName") or ""), str(data.get("type") or "")
    if not name.endswith("__c") or not name[0].isalpha():
        raise DeploymentError(name, f"Invalid custom field name: {name}")
    if kind not in FIELD_TYPES:
        raise DeploymentError(name, f"Field type {kind or 'missing'} is not supported")
    if not data.get("label"):
        raise DeploymentError(name, "Required field is missing: label")
    type_name = FIELD_TYPES[kind]
    length = _LENGTHS.get(kind, 0)
    if kind == "Text" and data.get("formula"):
        length = _FORMULA_LENGTH
    elif kind in ("Text", "LongTextArea"):
        length = _whole(data, name, "length", 255 if kind == "Text" else 131_072)
    precision = scale = 0
    if kind in ("Number", "Currency", "Percent"):
        precision, scale = _whole(data, name, "precision", 18), _whole(data, name, "scale", 18, 0)
    field = Field(
        name,
        type_name,
        length,
        precision,
        scale,
        label=str(data["label"]),
        is_required=_is_true(data, "required"),
        is_unique=_is_true(data, "unique"),
        is_external_id=_is_true(data, "externalId"),
        is_id_lookup=_is_true(data, "externalId"),
        is_case_sensitive=_is_true(data, "caseSensitive"),
        is_filterable=kind != "LongTextArea",
        default=_default(data, type_name),
        help_text=data.get("inlineHelpText") or None,
    )
    return _with_values(field, data, name) if kind == "Picklist" else field


def _with_formula(org: Org, one: SObject, field: Field, formula: str) -> Field:
    """A formula field. Of the formula language this org knows the path of a field (`Account.Industry`)."""
    try:
        path = org.schema.path(one, formula)
    except KeyError as missing:
        raise DeploymentError(field.name, f"Field {missing.args[0]} does not exist. Check spelling.") from None
    return replace(field, formula=path, is_createable=False, is_updateable=False, is_unique=False)


def _with_values(field: Field, data: dict[str, Any], name: str) -> Field:
    value_set = data.get("valueSet") or {}
    definition = (value_set.get("valueSetDefinition") or {}).get("value") or []
    values = tuple(str(value.get("valueName") or value.get("fullName")) for value in definition)
    if not values:
        raise DeploymentError(name, "Must specify a value set for a picklist field")
    default = next((v for v, spec in zip(values, definition, strict=True) if spec.get("default") is True), None)
    return replace(field, values=values, is_restricted=bool(value_set.get("restricted")), default=default)


def _is_true(data: dict[str, Any], key: str) -> bool:
    return str(data.get(key, "false")).lower() == "true"


def _default(data: dict[str, Any], type_name: str) -> Any:
    return _is_true(data, "defaultValue") if type_name == "boolean" else None


def _whole(data: dict[str, Any], name: str, key: str, most: int, least: int = 1) -> int:
    text = str(data.get(key, ""))
    if not text.isdigit() or not least <= int(text) <= most:
        raise DeploymentError(name, f"Must specify '{key}' between {least} and {most} for {name}")
    return int(text)


def _deploy_permission_set(org: Org, name: str, content: bytes) -> list[Component]:
    root, stem = _parse(content), _stem(name)
    grants = []
    for element in root.iter("fieldPermissions"):
        object_name, _, field_name = str(element.findtext("field")).partition(".")
        holder = "Task" if object_name == "Activity" else object_name
        one = org.schema.find(holder)
        field = one.find(field_name) if one is not None else None
        if one is None or field is None:
            problem = f"In field: field - no CustomField named {object_name}.{field_name} found"
            return [Component("PermissionSet", stem, name, problem)]
        if field.is_required:
            problem = f"You cannot deploy to a required field: {object_name}.{field_name}"
            return [Component("PermissionSet", stem, name, problem)]
        is_editable = element.findtext("editable") == "true"
        grants.append((holder, f"{object_name}.{field.name}", element.findtext("readable") == "true", is_editable))
    if not root.findtext("label"):
        return [Component("PermissionSet", stem, name, "Required field is missing: label")]
    is_new = _store_permission_set(org, stem, root, grants)
    return [Component("PermissionSet", stem, name, None, is_new, True)]


def _store_permission_set(
    org: Org, stem: str, root: ElementTree.Element, grants: list[tuple[str, str, bool, bool]]
) -> bool:
    database = org.database
    known = database.execute("SELECT Id FROM sf_PermissionSet WHERE Name = ?", (stem,)).fetchone()
    native = org.new_id("0PS") if known is None else str(known["Id"])
    if known is None:
        load_rows(org, {"PermissionSet": [{"Id": native, "Name": stem, "Label": root.findtext("label")}]})
    for field_type in ("FieldPermissions", "ObjectPermissions"):
        database.execute(f"DELETE FROM sf_{field_type} WHERE ParentId = ?", (native,))
    load_rows(
        org,
        {
            "FieldPermissions": [
                {
                    "Id": org.new_id("01k"),
                    "ParentId": native,
                    "SobjectType": object_name,
                    "Field": field,
                    "PermissionsRead": is_readable,
                    "PermissionsEdit": is_editable,
                }
                for object_name, field, is_readable, is_editable in grants
            ],
            "ObjectPermissions": [
                {
                    "Id": org.new_id("110"),
                    "ParentId": native,
                    "SobjectType": element.findtext("object"),
                    "PermissionsCreate": element.findtext("allowCreate") == "true",
                    "PermissionsRead": element.findtext("allowRead") == "true",
                    "PermissionsEdit": element.findtext("allowEdit") == "true",
                    "PermissionsDelete": element.findtext("allowDelete") == "true",
                }
                for element in root.iter("objectPermissions")
            ],
        },
    )
    return known is None


def tooling_field(call: Call) -> Answer:
    """`POST /tooling/sobjects/CustomField` `{"FullName": "Lead.Score__c", "Metadata": {...}}`."""
    body = call.body if isinstance(call.body, dict) else {}
    object_name, _, name = str(body.get("FullName") or "").partition(".")
    metadata = body.get("Metadata")
    if not name or not isinstance(metadata, dict):
        raise RefusedError("REQUIRED_FIELD_MISSING", "Required fields are missing: [FullName, Metadata]")
    try:
        is_new, _ = put_custom_field(call.org, object_name, {**metadata, "fullName": name})
    except DeploymentError as error:
        raise RefusedError("INVALID_INPUT", error.problem) from None
    if not is_new:
        raise RefusedError("DUPLICATE_DEVELOPER_NAME", f"There is already a field named {name} on {object_name}.")
    call.org.visibility_changed()
    return Answer(201, {"id": call.org.new_id("00N"), "success": True, "errors": [], "warnings": [], "infos": []})
